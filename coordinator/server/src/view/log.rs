//! Messages on standard error: lines for people, or JSON for programs.
//!
//! All messages pass through `tracing` under one target, so both formats have the same ones. An event that happens at a
//! time has a field `event` and is dated. Nothing here waits for the terminal: [`super::stderr`] writes.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal};
use std::panic::{self, PanicHookInfo};
use std::sync::OnceLock;

use granule_text as text;
use granule_text::words::escaped_json;
use jiff::{Timestamp, Zoned};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

pub use super::events::{TARGET, event};
use super::stderr;

/// Format of the messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

static FORMAT: OnceLock<LogFormat> = OnceLock::new();

/// Sets the format of all further messages. Only the first call has an effect.
pub fn init(format: LogFormat) {
    if FORMAT.set(format).is_err() {
        return;
    }
    // Many messages of libraries are of no use to the user of a sweep.
    let ours = |most| filter_fn(move |metadata| metadata.target() == TARGET && *metadata.level() <= most);
    let registry = tracing_subscriber::registry();
    let _ = match format {
        LogFormat::Text => registry.with(Lines.with_filter(ours(Level::INFO))).try_init(),
        LogFormat::Json => {
            let json = tracing_subscriber::fmt::layer().json().with_writer(|| JsonLines);
            registry.with(json.with_filter(ours(Level::DEBUG))).try_init()
        }
    };
    let by_default = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if stderr::is_writing_here() { by_default(panic) } else { tell_of_panic(panic) }
    }));
}

/// Reports a panic like any other error: the thread that panics must not wait for the terminal either.
fn tell_of_panic(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let mut text = format!("thread '{}' {panic}", thread.name().unwrap_or("<unnamed>"));
    let trace = Backtrace::capture();
    if trace.status() == BacktraceStatus::Captured {
        text.push_str(&format!("\n{trace}"));
    }
    error(&text);
    // The panic may end the process.
    stderr::settle();
}

/// Whether bars are drawn. A terminal that cannot move its cursor gets dated lines, as a file does.
pub fn has_bars() -> bool {
    FORMAT.get() != Some(&LogFormat::Json)
        && io::stderr().is_terminal()
        && moves_its_cursor(std::env::var("TERM").ok().as_deref())
}

/// Whether a terminal with this value of TERM can move its cursor. The names are those of the terminfo database for
/// terminals that cannot, and for terminals of an unknown kind.
fn moves_its_cursor(term: Option<&str>) -> bool {
    !matches!(
        term,
        None | Some(
            "" | "dumb"
                | "unknown"
                | "network"
                | "dialup"
                | "ethernet"
                | "lpr"
                | "printer"
                | "glasstty"
                | "hardcopy"
        )
    )
}

/// Prints a message.
pub fn line(text: &str) {
    let text = text::message(text);
    if FORMAT.get().is_some() {
        tracing::info!(target: TARGET, "{text}");
    } else {
        stderr::put(text);
    }
}

/// Prints an error.
pub fn error(text: &str) {
    if FORMAT.get().is_some() {
        tracing::error!(target: TARGET, "{text}");
    } else {
        stderr::put(text::lines(text));
    }
}

/// Ends the process once all lines are written, or if standard error is stuck.
pub fn exit(code: u8) -> ! {
    stderr::settle();
    std::process::exit(code.into())
}

/// Writes the message of an event, with the time if the event is dated, and no other field.
struct Lines;

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut message = Message::default();
        event.record(&mut message);
        let Message { text, is_dated } = message;
        let text = text::lines(&text);
        stderr::put(match (is_dated, has_bars()) {
            (false, _) => text,
            // A user at the terminal knows the date and the time zone.
            (true, true) => format!("{} {text}", Zoned::now().strftime("%H:%M:%S")),
            (true, false) => format!("{} {text}", Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ")),
        });
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

/// Takes a line of JSON at a time.
struct JsonLines;

impl io::Write for JsonLines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        stderr::put(escaped_json(String::from_utf8_lossy(line).trim_end()));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_that_cannot_move_their_cursor_have_no_bars() {
        assert!(
            ["xterm-256color", "screen", "linux", "vt100"]
                .into_iter()
                .all(|term| moves_its_cursor(Some(term)))
        );
        assert!(
            [None, Some(""), Some("dumb"), Some("unknown")].into_iter().all(|term| !moves_its_cursor(term))
        );
    }
}
