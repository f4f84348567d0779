//! The progress of a run for people: bars on a terminal, or a line in a log from time to time.
//!
//! It is one of the watchers of the board, in the thread that writes to standard error. So nothing waits for a
//! terminal.

use std::time::{Duration, Instant};

use granule_text::one_line;
use granule_text::plural;
use granule_text::words::{brief, clock_in, pace};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Zoned;

use super::board::Board;
use super::log;
use super::status::{ConditionStatus, Snapshot};
use super::stderr::{self, Drawing, Show};

/// Least and greatest time between two lines of a log. In between, it is one `LINES_PART`-th of the time so far.
const LINES_EVERY: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(600));
const LINES_PART: u32 = 20;

/// Conditions that get a bar of their own; more would push the overall one off the screen.
const MOST_BARS: usize = 12;

/// Shows a board until it is dropped.
pub struct Terminal(());

impl Terminal {
    /// Starts to show this board.
    pub fn follow(board: Board) -> Terminal {
        stderr::draw(Some(Drawing { board, sink: || Box::new(Sink::new()) }));
        Terminal(())
    }
}

impl Drop for Terminal {
    /// Removes the bars before any later message is written.
    fn drop(&mut self) {
        stderr::draw(None);
    }
}

/// The form in which progress is shown.
enum Sink {
    Bars { started: Instant, bars: Option<Bars> },
    Lines { started: Instant, last: Instant, stored: Option<u64> },
}

impl Sink {
    fn new() -> Sink {
        let started = Instant::now();
        if log::has_bars() {
            Sink::Bars { started, bars: None }
        } else {
            Sink::Lines { started, last: started, stored: None }
        }
    }
}

impl Show for Sink {
    fn show(&mut self, snapshot: &Snapshot) {
        if snapshot.trials.total == 0 {
            return;
        }
        match self {
            Sink::Bars { started, bars } => {
                bars.get_or_insert_with(|| Bars::new(snapshot)).show(snapshot, started.elapsed());
            }
            Sink::Lines { started, last, stored } => {
                let before = *stored.get_or_insert(snapshot.trials.stored);
                let (least, most) = LINES_EVERY;
                let pause = (started.elapsed() / LINES_PART).clamp(least, most);
                // Readers of a log need a line from time to time, even if nothing changes.
                let is_due = last.elapsed() >= if before == snapshot.trials.stored { most } else { pause };
                if is_due {
                    *last = Instant::now();
                    *stored = Some(snapshot.trials.stored);
                    log::event("progress", &line_of(snapshot));
                }
            }
        }
    }

    fn print(&self, text: &str) -> bool {
        matches!(self, Sink::Bars { bars: Some(bars), .. } if bars.print(text))
    }

    fn clear(self: Box<Self>) {
        if let Sink::Bars { bars: Some(bars), .. } = *self {
            let _ = bars.all.clear();
            // Finishing the bars one by one would leave the first of them on the screen.
            bars.all.set_draw_target(ProgressDrawTarget::hidden());
        }
    }
}

/// Bars on a terminal, one below the other.
struct Bars {
    all: MultiProgress,
    _blank: ProgressBar,
    overall: ProgressBar,
    conditions: Vec<ProgressBar>,
    /// Number of complete conditions, if there are too many for a bar each.
    complete: Option<ProgressBar>,
    /// The current activity.
    status: ProgressBar,
    /// Troubles, a line for each kind.
    troubles: Vec<ProgressBar>,
}

/// A line below the bars.
const TEXT: &str = "  {wide_msg}";

impl Bars {
    fn new(snapshot: &Snapshot) -> Bars {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let columns = columns();
        let parts: &[ConditionStatus] =
            if snapshot.conditions.len() <= MOST_BARS { &snapshot.conditions } else { &[] };
        let layout = Layout::new(&snapshot.sweep, parts, snapshot.trials.total, columns);
        let bar = |name: &str, total: u64| {
            let bar = all.add(ProgressBar::new(total));
            bar.set_style(style(&layout.template()));
            bar.set_prefix(layout.prefix(name));
            bar
        };
        // The cursor rests at the right edge. So `^C` typed by the user wraps to a new line, and all is redrawn one
        // line lower. The line left above is this one, which is empty.
        let blank = all.add(ProgressBar::new(1));
        blank.set_style(style(" "));
        blank.tick();
        let overall = bar(&snapshot.sweep, snapshot.trials.total);
        let conditions = parts.iter().map(|part| bar(&format!("  {}", part.name), part.total)).collect();
        let many = snapshot.conditions.len();
        let complete = (many > MOST_BARS).then(|| bar("  conditions", many as u64));
        let status = all.add(ProgressBar::new(1));
        status.set_style(style(TEXT));
        Bars { all, _blank: blank, overall, conditions, complete, status, troubles: Vec::new() }
    }

    /// Prints text above the bars. Returns false if they are hidden, because they would swallow it.
    fn print(&self, text: &str) -> bool {
        !self.all.is_hidden() && self.all.println(text.trim_end_matches('\n')).is_ok()
    }

    fn show(&mut self, snapshot: &Snapshot, elapsed: Duration) {
        self.overall.set_length(snapshot.trials.total);
        self.overall.set_position(snapshot.trials.stored);
        self.overall.set_message(brief(elapsed));
        for (bar, part) in self.conditions.iter().zip(&snapshot.conditions) {
            bar.set_length(part.total);
            bar.set_position(part.stored);
        }
        if let Some(bar) = &self.complete {
            let complete = snapshot.conditions.iter().filter(|part| part.stored >= part.total).count();
            bar.set_position(complete as u64);
            bar.set_message("complete");
        }
        self.status.set_message(one_line(&fitting(&status_of(snapshot, &Zoned::now()), columns() - 3)));
        let troubles = snapshot.counts.troubles();
        while self.troubles.len() < troubles.len() {
            let bar = self.all.add(ProgressBar::new(1));
            bar.set_style(style(TEXT));
            self.troubles.push(bar);
        }
        for (bar, trouble) in self.troubles.iter().zip(&troubles) {
            bar.set_message(format!("! {trouble}"));
        }
    }
}

/// Returns the columns of the terminal: at least 20, and 80 if they are unknown.
fn columns() -> usize {
    console::Term::stderr().size_checked().map_or(80, |(_, columns)| usize::from(columns).max(20))
}

/// Joins as many parts as fit, at least the first. A part that is cut in the middle could mislead.
fn fitting(parts: &[String], columns: usize) -> String {
    let mut text = String::new();
    for part in parts {
        let more = if text.is_empty() { part.clone() } else { format!(" · {part}") };
        if !text.is_empty() && text.chars().count() + more.chars().count() > columns {
            break;
        }
        text.push_str(&more);
    }
    text
}

/// Widths of the columns of bars.
struct Layout {
    name: usize,
    bar: usize,
    digits: usize,
}

impl Layout {
    /// Chooses widths with which all fits into so many columns, if those are enough.
    fn new(sweep: &str, parts: &[ConditionStatus], total: u64, columns: usize) -> Layout {
        let names = parts.iter().map(|part| part.name.chars().count() + 2);
        let longest = names.chain([sweep.chars().count(), "  conditions".len()]).max().unwrap_or(0);
        let digits = total.to_string().len();
        // Two spaces between columns, a percentage, and a time such as `12 min 34 s` at the end.
        let rest = 2 + 2 + "100 %".len() + 2 + (2 * digits + 1) + 2 + "12 min 34 s".len();
        let room = columns.saturating_sub(rest + 1);
        let name = longest.min(26).min(room.saturating_sub(4).max(12));
        Layout { name, bar: room.saturating_sub(name).clamp(4, 40), digits }
    }

    fn template(&self) -> String {
        let Layout { bar, digits, .. } = self;
        format!("{{prefix}}  {{bar:{bar}}}  {{percent:>3}} %  {{pos:>{digits}}}/{{len:<{digits}}}  {{msg}}")
    }

    /// Returns a name, padded or cut to the width of its column.
    fn prefix(&self, name: &str) -> String {
        let name = one_line(name);
        let width = self.name;
        if name.chars().count() > width {
            let cut: String = name.chars().take(width - 1).collect();
            format!("{cut}…")
        } else {
            format!("{name:width$}")
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is valid").progress_chars("█▉▊▋▌▍▎▏ ")
}

/// Returns the current activity as parts of a line, the most important first.
fn status_of(snapshot: &Snapshot, now: &Zoned) -> Vec<String> {
    let here = snapshot.workers.iter().filter(|worker| worker.is_here());
    let (workers, leases) = here.fold((0, 0), |(workers, leases), of| (workers + 1, leases + of.leases));
    let lost = snapshot.workers.iter().filter(|worker| worker.state == "lost").count();
    let workers_in_words = match lost {
        0 => plural(workers, "worker"),
        lost => format!("{} ({lost} lost)", plural(workers, "worker")),
    };
    let trials = snapshot.trials;
    match snapshot.state.as_str() {
        "writing" => vec![format!("writing files: {} of {}", snapshot.files.done, snapshot.files.total)],
        "draining" => vec![
            format!("ending: workers finish {}", plural(leases, "lease")),
            "press Ctrl-C again to end at once".to_owned(),
        ],
        "done" => vec!["all trials are computed".to_owned()],
        "ended" => vec!["ending".to_owned()],
        _ if workers == 0 => vec!["waiting for workers".to_owned()],
        _ if snapshot.spans.done < snapshot.spans.total && trials.stored == trials.reused => vec![
            format!(
                "preparing: counted random numbers in {} of {} parts of the noise",
                snapshot.spans.done, snapshot.spans.total
            ),
            workers_in_words,
        ],
        _ => {
            let mut parts = vec![workers_in_words];
            if trials.stored > trials.reused {
                parts.push(pace(snapshot.trials_per_second));
            }
            if let Some(left) = snapshot.left() {
                parts.push(format!("{} left", brief(left)));
                parts.extend(clock_in(left, now).map(|clock| format!("until about {clock}")));
            }
            parts
        }
    }
}

/// Returns a line for a log.
fn line_of(snapshot: &Snapshot) -> String {
    let trials = snapshot.trials;
    let percent = 100 * trials.stored / trials.total.max(1);
    let of_conditions = if snapshot.conditions.len() <= MOST_BARS {
        let part = |part: &ConditionStatus| format!("{} {}/{}", part.name, part.stored, part.total);
        snapshot.conditions.iter().map(part).collect::<Vec<_>>().join(", ")
    } else {
        let complete = snapshot.conditions.iter().filter(|part| part.stored >= part.total).count();
        format!("{complete} of {} conditions complete", snapshot.conditions.len())
    };
    let mut line = format!(
        "{}/{} trials ({percent} %) · {} · {of_conditions}",
        trials.stored,
        trials.total,
        status_of(snapshot, &Zoned::now()).join(" · ")
    );
    let troubles = snapshot.counts.troubles();
    if !troubles.is_empty() {
        line.push_str(&format!(" · ! {}", troubles.join(", ")));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::status::{DifferentTrials, Parcel, RunCounts, WorkerStatus};

    fn snapshot() -> Snapshot {
        let part = |name: &str, stored| ConditionStatus { name: name.into(), total: 1000, stored };
        Snapshot {
            sweep: "paper".into(),
            state: "computing".into(),
            trials: DifferentTrials { total: 3000, stored: 1300, reused: 0 },
            trials_per_second: 0.1,
            seconds_left: Some(17_000.0),
            conditions: vec![part("Control", 1000), part("GABAzine", 300), part("ACh", 0)],
            workers: vec![WorkerStatus { state: "working".into(), leases: 2, ..Default::default() }; 10],
            ..Default::default()
        }
    }

    #[test]
    fn the_status_says_what_goes_on() {
        let now: Zoned = "2026-11-28T22:50:00+01:00[+01:00]".parse().expect("a time");
        let check = |change: &dyn Fn(&mut Snapshot), expected: &str| {
            let mut snapshot = snapshot();
            change(&mut snapshot);
            assert_eq!(status_of(&snapshot, &now).join(" · "), expected);
        };
        check(&|_| {}, "10 workers · 6.0 trials/min · 4 h 43 min left · until about 03:33");
        check(&|now| now.workers.clear(), "waiting for workers");
        check(
            &|now| now.workers[1..].iter_mut().for_each(|of| of.state = "gone".into()),
            "1 worker · 6.0 trials/min · 4 h 43 min left · until about 03:33",
        );
        check(
            &|now| now.workers[8..].iter_mut().for_each(|of| of.state = "lost".into()),
            "10 workers (2 lost) · 6.0 trials/min · 4 h 43 min left · until about 03:33",
        );
        check(
            &|now| (now.trials.reused, now.spans) = (1300, Parcel { total: 12, done: 3 }),
            "preparing: counted random numbers in 3 of 12 parts of the noise · 10 workers",
        );
        check(&|now| (now.trials.reused, now.seconds_left) = (1300, None), "10 workers");
        check(
            &|now| now.state = "draining".into(),
            "ending: workers finish 20 leases · press Ctrl-C again to end at once",
        );
        check(
            &|now| (now.state, now.files) = ("writing".into(), Parcel { total: 16, done: 7 }),
            "writing files: 7 of 16",
        );
    }

    #[test]
    fn a_line_of_a_log_says_it_all() {
        let mut snapshot = snapshot();
        snapshot.seconds_left = Some(90.0);
        snapshot.counts = RunCounts { worker_deaths: 2, trials_set_aside: 1, ..Default::default() };
        assert_eq!(
            line_of(&snapshot),
            "1300/3000 trials (43 %) · 10 workers · 6.0 trials/min · 90 s left · Control 1000/1000, GABAzine \
                300/1000, \
             ACh 0/1000 · ! 1 trial set aside, 2 worker processes died"
        );
        snapshot.conditions = vec![ConditionStatus { total: 10, stored: 10, ..Default::default() }; 200];
        assert!(line_of(&snapshot).contains(" · 200 of 200 conditions complete · "));
    }

    #[test]
    fn what_does_not_fit_is_left_out_and_not_cut() {
        let parts = ["10 workers", "6.0 trials/min", "4 h 43 min left"].map(str::to_owned);
        for (columns, expected) in [
            (80, "10 workers · 6.0 trials/min · 4 h 43 min left"),
            (45, "10 workers · 6.0 trials/min · 4 h 43 min left"),
            (44, "10 workers · 6.0 trials/min"),
            (26, "10 workers"),
            (5, "10 workers"),
        ] {
            assert_eq!(fitting(&parts, columns), expected, "{columns}");
        }
    }

    #[test]
    fn bars_fit_where_they_are() {
        for columns in [60, 80, 120, 400] {
            for total in [1, 12, 123_456] {
                let parts = [ConditionStatus {
                    name: "tonic-0.123456789012345678901234567".into(),
                    ..Default::default()
                }];
                let layout = Layout::new("paper", &parts, total, columns);
                let counts = format!("  100 %  {total}/{total}  59 min 59 s");
                let width = layout.name + 2 + layout.bar + counts.len();
                assert!(width < columns, "{width} of {columns}");
                assert_eq!(layout.prefix("paper").chars().count(), layout.name);
                assert_eq!(layout.prefix(&parts[0].name).chars().count(), layout.name);
            }
        }
    }
}
