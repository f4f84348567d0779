//! What a scheduler is given: the shape of a plan, and how to go about it.

use std::time::Duration;

use granule_engine::stream::Index;

/// What the scheduler needs to know of a plan.
#[derive(Clone, Debug)]
pub struct Shape {
    pub trials: u32,
    pub cohorts: Vec<CohortShape>,
    /// What is known of each stream.
    pub streams: Vec<Index>,
}

#[derive(Clone, Copy, Debug)]
pub struct CohortShape {
    /// At most `Variants::MOST`.
    pub variants: u32,
    /// Items of its stream that a trial reads; the next begins behind them.
    pub items_per_trial: u64,
    /// What a trial costs to compute, in any unit, as far as variants share it.
    pub cost_per_trial: f64,
    /// Index of its stream.
    pub stream: usize,
}

/// How long a lease keeps a worker busy, unless something else is asked for.
pub const LEASE_TARGET: Duration = Duration::from_secs(2);

/// How the scheduler goes about it.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// A worker not heard of for this long has lost its leases.
    pub lease_ttl: Duration,
    /// How long a lease should keep a worker busy.
    pub lease_target: Duration,
    /// Trials per shard, if not to be chosen by the scheduler.
    pub shard_trials: Option<u32>,
    /// Worker processes of ours that may die without a trial stored in between.
    pub crash_limit: u32,
    /// How much has to speak for it that a trial kills its workers before it is set aside: so many
    /// workers that vanished with it, or a quarter of that many deaths of which there is no doubt.
    pub loss_limit: u32,
    /// Percent of trials that are computed once more, by another worker.
    pub audit_percent: f64,
}
