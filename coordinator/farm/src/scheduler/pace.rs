//! A worker's speed, which determines the size of its shards.

use std::time::Duration;

/// Returns the effort of one trial of this many variants, in tenths of the shared cost. Computing the shared part costs
/// about as much as computing ten variants.
pub fn effort(cost_per_trial: f64, variants: u32) -> f64 {
    cost_per_trial.max(1.0) * f64::from(10 + variants)
}

/// Limit on the trials of a shard.
const MOST_TRIALS: f64 = 4096.0;

/// A running estimate of a worker's speed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    effort_per_second: Option<f64>,
}

impl Pace {
    pub(super) fn observe(&mut self, effort: f64, took: Duration) {
        let seen = effort / took.as_secs_f64().max(1e-3);
        // The mean of old and new: the estimate follows a change within a few leases.
        let old = self.effort_per_second.unwrap_or(seen);
        self.effort_per_second = Some((seen + old) / 2.0);
    }

    /// Returns the seconds that this effort takes; `None` while the speed is unknown.
    pub(super) fn seconds(&self, effort: f64) -> Option<f64> {
        self.effort_per_second.map(|pace| effort / pace)
    }

    /// Returns the number of trials that fit into this time; one while the speed is unknown.
    pub(super) fn trials_within(&self, time: Duration, effort_per_trial: f64) -> u32 {
        let trials = self.effort_per_second.map_or(1.0, |pace| pace * time.as_secs_f64() / effort_per_trial);
        trials.clamp(1.0, MOST_TRIALS) as u32
    }
}
