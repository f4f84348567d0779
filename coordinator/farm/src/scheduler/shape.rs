//! The input of a scheduler: the shape of a plan, and the configuration.

use std::time::Duration;

use granule_engine::stream::Index;

/// The parts of a plan that the scheduler needs.
#[derive(Clone, Debug)]
pub struct PlanShape {
    /// Trials of each variant at the beginning.
    pub trials: u32,
    /// Whether the number of trials depends on their results. Then the scheduler asks for a decision
    /// ([`super::Command::Decide`]) when all are stored or set aside.
    pub may_grow: bool,
    pub cohorts: Vec<CohortShape>,
    /// The known findings of each stream.
    pub streams: Vec<Index>,
}

#[derive(Clone, Copy, Debug)]
pub struct CohortShape {
    /// At most `Variants::MOST`.
    pub variants: u32,
    /// Items of its stream that a trial reads. The next trial starts after them.
    pub items_per_trial: u64,
    /// The cost of the part of a trial that its variants share, in any unit.
    pub cost_per_trial: f64,
    /// Index into [`PlanShape::streams`].
    pub stream: usize,
}

/// How long a lease should keep a worker busy by default.
pub const LEASE_TARGET: Duration = Duration::from_secs(2);

/// The scheduler's settings.
#[derive(Clone, Copy, Debug)]
pub struct SchedulerConfig {
    /// A worker that is silent for this long loses its leases.
    pub lease_ttl: Duration,
    /// How long a lease should keep a worker busy.
    pub lease_target: Duration,
    /// Trials per shard. If `None`, the scheduler chooses.
    pub shard_trials: Option<u32>,
    /// Number of deaths of the coordinator's own worker processes, without a stored trial in between, that ends the
    /// run.
    pub crash_limit: u32,
    /// Weight of losses at which a trial is set aside. A vanished worker weighs 1; a certain death weighs 4.
    pub loss_limit: u32,
    /// Percentage of trials that another worker computes once more.
    pub audit_percent: f64,
    /// Whether a worker audits its own trials while there is no other worker. This finds a program that gives
    /// different results each time; it does not find a wrong machine.
    pub audits_alone: bool,
}
