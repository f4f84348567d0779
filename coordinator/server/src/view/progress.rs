//! How far a run has come, and how fast: numbers only, which [`super::terminal`] and others show.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::status::Part;

/// How far a run has come, in different trials. Conditions with equal parameters share theirs, so that the trials of
/// conditions can add up to more.
pub struct Progress {
    total: u64,
    done: u64,
    reused: u64,
    started: Instant,
    pace: Pace,
    parts: Vec<Part>,
    /// What is stored by condition and seed, the seeds of a condition side by side.
    pairs: Vec<u32>,
}

impl Progress {
    /// Progress over these conditions, with what is stored by condition and seed, the seeds of a condition
    /// side by side; and of all different trials.
    pub fn new(parts: Vec<Part>, pairs: Vec<u32>, total: u64, stored: u64) -> Progress {
        let pace = Pace::new(stored);
        Progress { total, done: stored, reused: stored, started: Instant::now(), pace, parts, pairs }
    }

    /// One more trial of these conditions, which share it, and a seed is stored.
    pub fn advance(&mut self, conditions: &[usize], seed: usize) {
        self.done += 1;
        for &condition in conditions {
            self.parts[condition].stored += 1;
            *self.pair(condition, seed) += 1;
        }
    }

    /// One trial of these conditions, which share it, and a seed is no longer stored.
    pub fn retreat(&mut self, conditions: &[usize], seed: usize) {
        self.done = self.done.saturating_sub(1);
        for &condition in conditions {
            self.parts[condition].stored = self.parts[condition].stored.saturating_sub(1);
            let pair = self.pair(condition, seed);
            *pair = pair.saturating_sub(1);
        }
    }

    fn pair(&mut self, condition: usize, seed: usize) -> &mut u32 {
        let seeds = self.pairs.len() / self.parts.len();
        &mut self.pairs[condition * seeds + seed]
    }

    /// Conditions and what is stored of each.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// What is stored by condition and seed, the seeds of a condition side by side.
    pub fn pairs(&self) -> &[u32] {
        &self.pairs
    }

    /// All different trials, those that are stored, and those that were stored at the beginning.
    pub fn trials(&self) -> (u64, u64, u64) {
        (self.total, self.done, self.reused)
    }

    /// Time has passed.
    pub fn tick(&mut self) {
        self.pace.note(self.started.elapsed(), self.done);
    }

    /// Trials per second of late.
    pub fn rate(&self) -> f64 {
        self.pace.rate(self.started.elapsed(), self.done)
    }

    /// How long the rest will take at that rate.
    pub fn left(&self) -> Option<Duration> {
        let left = self.total.saturating_sub(self.done) as f64 / self.rate();
        Duration::try_from_secs_f64(left).ok()
    }
}

/// Trials per second over the last ten minutes, or over the last twenty trials if those took longer:
/// workers that came or went hours ago say nothing of how it goes on.
struct Pace {
    /// When how many were done, the oldest first; a sample only if there was something new.
    samples: VecDeque<(Duration, u64)>,
}

impl Pace {
    const LATELY: Duration = Duration::from_secs(600);
    const ENOUGH: u64 = 20;
    /// Between two samples.
    const EVERY: Duration = Duration::from_secs(5);

    fn new(done: u64) -> Pace {
        Pace { samples: VecDeque::from([(Duration::ZERO, done)]) }
    }

    fn note(&mut self, now: Duration, done: u64) {
        let (last, known) = *self.samples.back().expect("there is one at least");
        if done > known && now.saturating_sub(last) >= Self::EVERY {
            self.samples.push_back((now, done));
        }
        // The second is the first to go on from, if it is long ago and enough has been done since.
        while let Some(&(then, before)) = self.samples.get(1)
            && now.saturating_sub(then) >= Self::LATELY
            && done.saturating_sub(before) >= Self::ENOUGH
        {
            self.samples.pop_front();
        }
    }

    fn rate(&self, now: Duration, done: u64) -> f64 {
        let (since, before) = self.samples[0];
        done.saturating_sub(before) as f64 / now.saturating_sub(since).as_secs_f64().max(1e-3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pace after trials that are done at these times, in seconds, looked at four times a second.
    fn pace(until: u64, done_at: impl Fn(f64) -> u64) -> (Pace, f64) {
        let mut pace = Pace::new(0);
        for quarter in 1..=until * 4 {
            let now = quarter as f64 / 4.0;
            pace.note(Duration::from_secs_f64(now), done_at(now));
        }
        let rate = pace.rate(Duration::from_secs(until), done_at(until as f64));
        (pace, rate)
    }

    #[test]
    fn a_trial_that_conditions_share_counts_once() {
        let part = |name: &str| Part { name: name.into(), total: 10, stored: 1 };
        let mut progress = Progress::new(vec![part("a"), part("b"), part("c")], vec![1; 3], 20, 2);
        progress.advance(&[0, 2], 0);
        progress.advance(&[1], 0);
        assert_eq!(progress.trials(), (20, 4, 2));
        assert_eq!(progress.parts().iter().map(|part| part.stored).collect::<Vec<_>>(), [2, 2, 2]);
        progress.retreat(&[0, 2], 0);
        assert_eq!(progress.trials(), (20, 3, 2));
        assert_eq!(progress.pairs(), [1, 2, 1]);
    }

    #[test]
    fn a_short_run_has_the_pace_of_all_of_it() {
        assert_eq!(pace(10, |now| now as u64).1, 1.0);
        assert_eq!(pace(10, |_| 0).1, 0.0);
    }

    #[test]
    fn what_was_hours_ago_does_not_count() {
        // One trial a second for three hours, then nine more workers.
        let hours = 3 * 3600;
        let done = |now: f64| (now + 9.0 * (now - f64::from(hours)).max(0.0)) as u64;
        let (_, rate) = pace(hours as u64 + 700, done);
        assert!((rate - 10.0).abs() < 0.1, "{rate}");
    }

    #[test]
    fn rare_trials_are_looked_at_for_longer() {
        // One in ten minutes: what counts is the last twenty of them, and little is kept.
        let (pace, rate) = pace(36 * 3600, |now| (now / 600.0) as u64);
        assert!((rate * 600.0 - 1.0).abs() < 0.05, "{rate}");
        assert!(pace.samples.len() <= 22, "{}", pace.samples.len());
    }

    #[test]
    fn little_is_kept_of_many_trials() {
        let (pace, rate) = pace(5 * 3600, |now| (now * 1000.0) as u64);
        assert!((rate - 1000.0).abs() < 1.0, "{rate}");
        assert!(pace.samples.len() <= 122, "{}", pace.samples.len());
    }
}
