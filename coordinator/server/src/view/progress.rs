//! The progress of a run and its rate: numbers only, which [`super::terminal`] and others show.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::status::ConditionStatus;

/// The progress of a run, in different trials. Conditions with equal parameters share their trials, so the trials of
/// all conditions can add up to more.
pub struct Progress {
    total: u64,
    done: u64,
    reused: u64,
    started: Instant,
    pace: TrialPace,
    parts: Vec<ConditionStatus>,
    /// Stored trials by condition and seed. The seeds of a condition are adjacent.
    pairs: Vec<u32>,
}

impl Progress {
    /// Returns the progress of these conditions. `pairs` has the stored trials by condition and seed, with the seeds of
    /// a condition adjacent. `total` and `stored` count different trials.
    pub fn new(parts: Vec<ConditionStatus>, pairs: Vec<u32>, total: u64, stored: u64) -> Progress {
        let pace = TrialPace::new(stored);
        Progress { total, done: stored, reused: stored, started: Instant::now(), pace, parts, pairs }
    }

    /// Notes that one more trial of this seed is stored. These conditions share it.
    pub fn advance(&mut self, conditions: &[usize], seed: usize) {
        self.done += 1;
        for &condition in conditions {
            self.parts[condition].stored += 1;
            *self.pair(condition, seed) += 1;
        }
    }

    /// Notes that a trial of this seed is no longer stored. These conditions share it.
    pub fn retreat(&mut self, conditions: &[usize], seed: usize) {
        self.done = self.done.saturating_sub(1);
        for &condition in conditions {
            self.parts[condition].stored = self.parts[condition].stored.saturating_sub(1);
            let pair = self.pair(condition, seed);
            *pair = pair.saturating_sub(1);
        }
    }

    /// Notes that the sweep needs one more trial of this seed, which may be stored already. These conditions share it.
    pub fn need(&mut self, conditions: &[usize], seed: usize, is_stored: bool) {
        self.total += 1;
        conditions.iter().for_each(|&condition| self.parts[condition].total += 1);
        if is_stored {
            self.reused += 1;
            self.pace.reuse();
            self.advance(conditions, seed);
        }
    }

    fn pair(&mut self, condition: usize, seed: usize) -> &mut u32 {
        let seeds = self.pairs.len() / self.parts.len();
        &mut self.pairs[condition * seeds + seed]
    }

    /// Returns the conditions, with the number of stored trials of each.
    pub fn parts(&self) -> &[ConditionStatus] {
        &self.parts
    }

    /// Returns the stored trials by condition and seed. The seeds of a condition are adjacent.
    pub fn pairs(&self) -> &[u32] {
        &self.pairs
    }

    /// Returns the numbers of all different trials, of the stored ones, and of those stored at the start.
    pub fn trials(&self) -> (u64, u64, u64) {
        (self.total, self.done, self.reused)
    }

    /// Takes a sample of the pace, if one is due.
    pub fn tick(&mut self) {
        self.pace.note(self.started.elapsed(), self.done);
    }

    /// Returns the recent rate, in trials per second.
    pub fn rate(&self) -> f64 {
        self.pace.rate(self.started.elapsed(), self.done)
    }

    /// Returns the time that the rest takes at that rate.
    pub fn left(&self) -> Option<Duration> {
        let left = self.total.saturating_sub(self.done) as f64 / self.rate();
        Duration::try_from_secs_f64(left).ok()
    }
}

/// Trials per second over the last ten minutes, or over the last twenty trials if those took longer. Workers that
/// joined or left hours ago do not affect the rate.
struct TrialPace {
    /// Times, with the number of trials done by then, the oldest first. A sample is taken only if that number grew.
    samples: VecDeque<(Duration, u64)>,
}

impl TrialPace {
    const LATELY: Duration = Duration::from_secs(600);
    const ENOUGH: u64 = 20;
    /// Least time between two samples.
    const EVERY: Duration = Duration::from_secs(5);

    fn new(done: u64) -> TrialPace {
        TrialPace { samples: VecDeque::from([(Duration::ZERO, done)]) }
    }

    fn note(&mut self, now: Duration, done: u64) {
        let (last, known) = *self.samples.back().expect("there is one at least");
        if done > known && now.saturating_sub(last) >= Self::EVERY {
            self.samples.push_back((now, done));
        }
        // The second sample becomes the first, if it is old enough and enough trials were done since.
        while let Some(&(then, before)) = self.samples.get(1)
            && now.saturating_sub(then) >= Self::LATELY
            && done.saturating_sub(before) >= Self::ENOUGH
        {
            self.samples.pop_front();
        }
    }

    /// Notes that a trial is done that was not computed, so that the pace does not change.
    fn reuse(&mut self) {
        self.samples.iter_mut().for_each(|(_, done)| *done += 1);
    }

    fn rate(&self, now: Duration, done: u64) -> f64 {
        let (since, before) = self.samples[0];
        done.saturating_sub(before) as f64 / now.saturating_sub(since).as_secs_f64().max(1e-3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the pace after trials that are done at these times, in seconds, sampled four times a second.
    fn pace(until: u64, done_at: impl Fn(f64) -> u64) -> (TrialPace, f64) {
        let mut pace = TrialPace::new(0);
        for quarter in 1..=until * 4 {
            let now = quarter as f64 / 4.0;
            pace.note(Duration::from_secs_f64(now), done_at(now));
        }
        let rate = pace.rate(Duration::from_secs(until), done_at(until as f64));
        (pace, rate)
    }

    #[test]
    fn a_trial_that_conditions_share_counts_once() {
        let part = |name: &str| ConditionStatus { name: name.into(), total: 10, stored: 1 };
        let mut progress = Progress::new(vec![part("a"), part("b"), part("c")], vec![1; 3], 20, 2);
        progress.advance(&[0, 2], 0);
        progress.advance(&[1], 0);
        assert_eq!(progress.trials(), (20, 4, 2));
        assert_eq!(progress.parts().iter().map(|part| part.stored).collect::<Vec<_>>(), [2, 2, 2]);
        progress.retreat(&[0, 2], 0);
        assert_eq!(progress.trials(), (20, 3, 2));
        assert_eq!(progress.pairs(), [1, 2, 1]);
        let rate = progress.pace.rate(Duration::from_secs(1), progress.done);
        progress.need(&[0, 2], 0, true);
        progress.need(&[1], 0, false);
        assert_eq!((progress.trials(), progress.parts()[1].total), ((22, 4, 3), 11));
        assert_eq!(
            progress.pace.rate(Duration::from_secs(1), progress.done),
            rate,
            "a stored trial took no time"
        );
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
        // One in ten minutes: the last twenty of them count, and few samples are kept.
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
