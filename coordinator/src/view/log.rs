//! What is said on standard error: lines for people, or JSON for programs.
//!
//! Everything goes through `tracing`, under one target, so that both say the same. What happens at a
//! time has a field `event` and is dated. Lines go around the bars of [`super::terminal`] if there are any.

use std::fmt::{self, Write as _};
use std::io::{IsTerminal, Write as _};
use std::sync::{Mutex, OnceLock, PoisonError};

use clap::ValueEnum;
use indicatif::{MultiProgress, ProgressDrawTarget};
use jiff::{Timestamp, Zoned};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::failure::printable;

/// The target of all that granule says.
pub(crate) const TARGET: &str = "granule";

/// How things are said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

static FORMAT: OnceLock<LogFormat> = OnceLock::new();
static BARS: Mutex<Option<MultiProgress>> = Mutex::new(None);

/// Decides how things are said from now on. Only the first call counts.
pub(crate) fn init(format: LogFormat) {
    if FORMAT.set(format).is_err() {
        return;
    }
    // Libraries have much to say that is of no use to who runs a sweep.
    let ours = |most| filter_fn(move |metadata| metadata.target() == TARGET && *metadata.level() <= most);
    let registry = tracing_subscriber::registry();
    let _ = match format {
        LogFormat::Text => registry.with(Lines.with_filter(ours(Level::INFO))).try_init(),
        LogFormat::Json => {
            let json = tracing_subscriber::fmt::layer().json().with_writer(std::io::stderr);
            registry.with(json.with_filter(ours(Level::DEBUG))).try_init()
        }
    };
}

/// Whether bars can be drawn.
pub(crate) fn is_for_people_at_a_terminal() -> bool {
    FORMAT.get() != Some(&LogFormat::Json) && std::io::stderr().is_terminal()
}

/// Lines go around these bars from now on.
pub(crate) fn set_bars(bars: MultiProgress) {
    *BARS.lock().unwrap_or_else(PoisonError::into_inner) = Some(bars);
}

/// Takes the bars away, if there are any, and leaves the screen to what is said next.
pub(crate) fn clear_bars() {
    if let Some(bars) = BARS.lock().unwrap_or_else(PoisonError::into_inner).take() {
        let _ = bars.clear();
        // Bars that finish one by one would leave the first of them on the screen.
        bars.set_draw_target(ProgressDrawTarget::hidden());
    }
}

/// Says something.
pub(crate) fn line(text: &str) {
    if FORMAT.get().is_some() {
        tracing::info!(target: TARGET, "{text}");
    } else {
        show(text);
    }
}

/// Says what happens now.
pub(crate) fn event(event: &'static str, text: &str) {
    tracing::info!(target: TARGET, event, "{text}");
}

/// Says what went wrong.
pub(crate) fn error(text: &str) {
    if FORMAT.get().is_some() {
        tracing::error!(target: TARGET, "{text}");
    } else {
        show(text);
    }
}

/// A line, or several, on standard error, which may be closed.
fn show(text: &str) {
    let text = printable(text);
    match &*BARS.lock().unwrap_or_else(PoisonError::into_inner) {
        Some(bars) => drop(bars.println(text)),
        None => drop(writeln!(std::io::stderr(), "{text}")),
    }
}

/// Writes the message of an event, with the time if it happened at one, and nothing else of it.
struct Lines;

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut message = Message::default();
        event.record(&mut message);
        let Message { text, is_dated } = message;
        match (is_dated, std::io::stderr().is_terminal()) {
            (false, _) => show(&text),
            // Who sits there knows the day, and where they are.
            (true, true) => show(&format!("{} {text}", Zoned::now().strftime("%H:%M:%S"))),
            (true, false) => show(&format!("{} {text}", Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ"))),
        }
    }
}

#[derive(Default)]
struct Message {
    text: String,
    is_dated: bool,
}

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => drop(write!(self.text, "{value:?}")),
            "event" => self.is_dated = true,
            _ => {}
        }
    }
}
