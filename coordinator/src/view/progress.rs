//! Progress on standard error: bars on a terminal, now and then a line elsewhere.

use std::path::Path;
use std::time::{Duration, Instant};

use super::log::{self, line};
use super::status::Part;
use crate::failure::printable;
use indicatif::{HumanDuration, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Time between two lines off a terminal, growing with the length of the run.
const LINES_EVERY: Duration = Duration::from_secs(5);

/// Conditions that get a bar of their own; more would push the overall one off the screen.
const MOST_BARS: usize = 12;

/// Progress of a run, in trials.
pub(crate) struct Progress {
    total: u64,
    done: u64,
    reused: u64,
    started: Instant,
    parts: Vec<Part>,
    /// What is stored by condition and seed, the seeds of a condition side by side.
    pairs: Vec<u32>,
    sink: Sink,
}

enum Sink {
    Bars { all: MultiProgress, overall: ProgressBar, conditions: Vec<ProgressBar> },
    Lines { last: Instant, shown: u64 },
}

impl Progress {
    /// Progress over these conditions, with what is stored by condition and seed, the seeds of a condition
    /// side by side.
    pub(crate) fn new(parts: Vec<Part>, pairs: Vec<u32>) -> Progress {
        let total = parts.iter().map(|part| part.total).sum();
        let done = parts.iter().map(|part| part.stored).sum();
        let sink = if log::is_for_people_at_a_terminal() {
            bars(&parts, total, done)
        } else {
            Sink::Lines { last: Instant::now(), shown: done }
        };
        Progress { total, done, reused: done, started: Instant::now(), parts, pairs, sink }
    }

    /// One more trial of a condition and a seed is stored.
    pub(crate) fn advance(&mut self, condition: usize, seed: usize) {
        self.done += 1;
        self.parts[condition].stored += 1;
        *self.pair(condition, seed) += 1;
        self.show(condition);
    }

    /// One trial of a condition and a seed is no longer stored.
    pub(crate) fn retreat(&mut self, condition: usize, seed: usize) {
        self.done = self.done.saturating_sub(1);
        self.parts[condition].stored = self.parts[condition].stored.saturating_sub(1);
        let pair = self.pair(condition, seed);
        *pair = pair.saturating_sub(1);
        self.show(condition);
    }

    fn pair(&mut self, condition: usize, seed: usize) -> &mut u32 {
        let seeds = self.pairs.len() / self.parts.len();
        &mut self.pairs[condition * seeds + seed]
    }

    fn show(&self, condition: usize) {
        if let Sink::Bars { overall, conditions, .. } = &self.sink {
            overall.set_position(self.done);
            if let Some(bar) = conditions.get(condition) {
                bar.set_position(self.parts[condition].stored);
            }
        }
    }

    /// Conditions and what is stored of each.
    pub(crate) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// What is stored by condition and seed, the seeds of a condition side by side.
    pub(crate) fn pairs(&self) -> &[u32] {
        &self.pairs
    }

    /// All trials, those that are stored, and those that were stored at the beginning.
    pub(crate) fn trials(&self) -> (u64, u64, u64) {
        (self.total, self.done, self.reused)
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self) {
        let rate = self.rate();
        let left = self.left();
        let elapsed = self.started.elapsed();
        match &mut self.sink {
            Sink::Bars { overall, .. } => {
                overall.set_message(match left {
                    Some(left) => format!("{rate:.1} trials/s, {} left", brief(left)),
                    None => String::new(),
                });
                overall.tick();
            }
            Sink::Lines { last, shown } => {
                let pause = LINES_EVERY.max(elapsed / 20);
                if last.elapsed() >= pause && *shown != self.done {
                    *last = Instant::now();
                    *shown = self.done;
                    let percent = 100 * self.done / self.total.max(1);
                    let left = left.map_or(String::new(), |left| format!(", {} left", brief(left)));
                    let of_conditions = if self.parts.len() <= MOST_BARS {
                        let part = |part: &Part| format!("{} {}/{}", part.name, part.stored, part.total);
                        format!(": {}", self.parts.iter().map(part).collect::<Vec<_>>().join(", "))
                    } else {
                        String::new()
                    };
                    line(&format!(
                        "{}/{} trials ({percent} %), {rate:.1} trials/s{left}{of_conditions}",
                        self.done, self.total
                    ));
                }
            }
        }
    }

    /// Takes the bars away.
    pub(crate) fn finish(self) {
        if let Sink::Bars { all, .. } = self.sink {
            log::set_bars(None);
            let _ = all.clear();
            // Bars that finish one by one would leave the first of them on the screen.
            all.set_draw_target(ProgressDrawTarget::hidden());
        }
    }

    /// Trials per second of this run.
    pub(crate) fn rate(&self) -> f64 {
        self.done.saturating_sub(self.reused) as f64 / self.started.elapsed().as_secs_f64().max(1e-3)
    }

    /// How long the rest will take at that rate.
    pub(crate) fn left(&self) -> Option<Duration> {
        let rate = self.rate();
        (rate > 0.0).then(|| Duration::from_secs_f64(self.total.saturating_sub(self.done) as f64 / rate))
    }
}

/// Progress of writing files: a bar on a terminal, one line elsewhere.
pub(crate) struct Files {
    bar: ProgressBar,
}

impl Files {
    /// So many files are to be written there.
    pub(crate) fn new(count: usize, out: &Path) -> Files {
        if count > 0 && !log::is_for_people_at_a_terminal() {
            let files = if count == 1 { "file" } else { "files" };
            line(&format!("writing {count} {files} to {}", out.display()));
        }
        let target = if log::is_for_people_at_a_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(count as u64), target);
        bar.set_style(style("files    {bar:24} {pos}/{len}  {msg}"));
        bar.set_message(printable(&format!("to {}", out.display())));
        Files { bar }
    }

    /// One more is in place.
    pub(crate) fn advance(&self) {
        self.bar.inc(1);
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// `3.1 s`, `42 s`, `12 minutes`, `5 hours`.
pub(crate) fn brief(duration: Duration) -> String {
    if duration < Duration::from_secs(10) {
        format!("{:.1} s", duration.as_secs_f64())
    } else if duration < Duration::from_secs(100) {
        format!("{:.0} s", duration.as_secs_f64())
    } else {
        HumanDuration(duration).to_string()
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is a constant").progress_chars("█▉▊▋▌▍▎▏ ")
}

fn bars(parts: &[Part], total: u64, done: u64) -> Sink {
    let style = |template: &str| {
        ProgressStyle::with_template(template)
            .expect("the template is a constant")
            .progress_chars("█▉▊▋▌▍▎▏ ")
    };
    let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
    let width = parts.iter().map(|part| part.name.chars().count()).max().unwrap_or(0).clamp(5, 24);
    let bar = |name: &str, total: u64, done: u64, template: &str| {
        let bar = all.add(ProgressBar::new(total));
        bar.set_style(style(template));
        bar.set_prefix(format!("{name:width$.width$}"));
        bar.set_position(done);
        bar
    };
    let overall = bar("trials", total, done, "{prefix} {bar:24} {pos}/{len}  {msg}");
    let conditions = if parts.len() <= MOST_BARS {
        parts
            .iter()
            .map(|part| bar(&part.name, part.total, part.stored, "{prefix} {bar:24} {pos}/{len}"))
            .collect()
    } else {
        Vec::new()
    };
    log::set_bars(Some(all.clone()));
    Sink::Bars { all, overall, conditions }
}
