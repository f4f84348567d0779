//! What is known of a worker.

use std::collections::BTreeSet;
use std::time::Duration;

use super::ids::{ConnectionId, LeaseId, Place, Site, Time, TrialId, WorkerName};
use super::pace::Pace;

/// A worker, connected or not.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) site: Site,
    pub(super) connection: Option<ConnectionId>,
    pub(super) threads: u32,
    pub(super) leases: Vec<LeaseId>,
    pub(super) heard: Time,
    pub(super) pace: Pace,
    /// Results that it has delivered.
    pub(super) delivered: u32,
    /// It holds a lease without progress, and has delivered nothing since that was noticed.
    pub(super) is_stalled: bool,
    /// What it adds to sums over workers.
    pub(super) share: Share,
    /// It is in the queue of workers that have gone.
    pub(super) is_queued: bool,
    /// It takes no more leases.
    pub(super) draining: bool,
    /// Nothing is taken from it any more, for this reason.
    pub(super) quarantined: Option<String>,
    /// Its last connection ended while it was alive: unless it comes back, its process has died.
    pub(super) vanished: bool,
    /// Leases that it did not speak of when it came back: they are over once it has offered all it has.
    pub(super) unspoken: Vec<LeaseId>,
    /// What it failed at since it last finished a lease.
    pub(super) strikes: BTreeSet<(bool, Place)>,
    /// How often it has failed since then.
    pub(super) faults: u32,
    /// Trials that are stored as it has computed them, in this run.
    pub(super) authored: Vec<TrialId>,
    pub(super) stored: u64,
    /// Whether an audit of its first trial has been decided on.
    pub(super) is_sampled: bool,
}

impl Worker {
    pub(super) fn new(site: Site, threads: u32, now: Time) -> Worker {
        Worker {
            site,
            connection: None,
            threads,
            leases: Vec::new(),
            heard: now,
            pace: Pace::default(),
            delivered: 0,
            is_stalled: false,
            share: Share::default(),
            is_queued: false,
            draining: false,
            quarantined: None,
            vanished: false,
            unspoken: Vec::new(),
            strikes: BTreeSet::new(),
            faults: 0,
            authored: Vec::new(),
            stored: 0,
            is_sampled: false,
        }
    }

    /// Whether it has delivered anything, or need not.
    pub(super) fn is_proven(&self) -> bool {
        self.site.is_trusted() || self.delivered > 0
    }

    /// Leases that it may have at a time: one at first, and two more for each result.
    pub(super) fn room(&self) -> u32 {
        if self.site.is_trusted() {
            return self.threads;
        }
        self.threads.min(self.delivered.saturating_mul(2).saturating_add(1))
    }

    /// Whether it can be expected to compute a trial, if that can be computed: it delivers, or is at its first lease,
    /// and fails at nothing.
    pub(super) fn is_hopeful(&self) -> bool {
        self.share.room > 0
            && !self.is_stalled
            && self.faults == 0
            && (self.is_proven() || !self.leases.is_empty())
    }

    /// Whether it was heard of lately. A line that went quiet first has failed; one that is closed at once, its
    /// process has closed.
    pub(super) fn was_well(&self, now: Time, lease_ttl: Duration) -> bool {
        now.saturating_sub(self.heard) < lease_ttl / 3
    }
}

/// A worker as others see it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WorkerView {
    pub name: WorkerName,
    pub state: WorkerState,
    pub threads: u32,
    pub leases: usize,
    /// Trials stored that it was the first to compute.
    pub stored: u64,
    pub heard: Time,
}

/// What a worker is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WorkerState {
    Working,
    Idle,
    Draining,
    /// Not connected, but it has leases.
    Lost,
    Gone,
    Quarantined,
}

impl WorkerState {
    /// Its name in snapshots.
    pub fn name(self) -> &'static str {
        match self {
            WorkerState::Working => "working",
            WorkerState::Idle => "idle",
            WorkerState::Draining => "draining",
            WorkerState::Lost => "lost",
            WorkerState::Gone => "gone",
            WorkerState::Quarantined => "quarantined",
        }
    }
}

/// What a worker adds to its site's standing, and to the sums of the scheduler.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) here: bool,
    pub(super) steady: bool,
    pub(super) unproven: bool,
    /// Leases that it may have.
    pub(super) room: u32,
    /// Its place among those that wait.
    pub(super) waiting: Option<u64>,
}
