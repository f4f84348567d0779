//! How fast a worker is, to size its shards.

use std::time::Duration;

/// The effort of one trial of so many variants, in tenths of the cost that they share: sharing costs about as much as ten
/// of them cost on top of it.
pub fn effort(cost_per_trial: f64, variants: u32) -> f64 {
    cost_per_trial.max(1.0) * f64::from(10 + variants)
}

/// Most trials in a shard.
const MOST_TRIALS: f64 = 4096.0;

/// A running estimate.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    effort_per_second: Option<f64>,
}

impl Pace {
    pub(super) fn observe(&mut self, effort: f64, took: Duration) {
        let seen = effort / took.as_secs_f64().max(1e-3);
        // Half of the new, half of the old: a change shows within a few leases.
        let old = self.effort_per_second.unwrap_or(seen);
        self.effort_per_second = Some((seen + old) / 2.0);
    }

    /// What this effort takes, in seconds; none while nothing is known.
    pub(super) fn seconds(&self, effort: f64) -> Option<f64> {
        self.effort_per_second.map(|pace| effort / pace)
    }

    /// Trials done in that time; one while nothing is known.
    pub(super) fn trials_within(&self, time: Duration, effort_per_trial: f64) -> u32 {
        let trials = self.effort_per_second.map_or(1.0, |pace| pace * time.as_secs_f64() / effort_per_trial);
        trials.clamp(1.0, MOST_TRIALS) as u32
    }
}
