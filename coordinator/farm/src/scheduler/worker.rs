//! The scheduler's record of a worker.

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
    /// Number of delivered results and surveys.
    pub(super) delivered: u32,
    /// It holds a lease without progress, and has delivered nothing since the scheduler noticed this. Or it holds as
    /// many leases as it may, all without progress.
    pub(super) is_stalled: bool,
    /// Its contribution to sums over workers.
    pub(super) share: Share,
    /// It is in the queue of workers that have left.
    pub(super) is_queued: bool,
    pub(super) draining: bool,
    /// Why it is quarantined, if it is.
    pub(super) quarantined: Option<String>,
    /// Its last connection ended soon after a sign of life. Unless it returns, its process has probably died.
    pub(super) vanished: bool,
    /// Leases that it did not list when it returned. They end once it has sent its earlier results.
    pub(super) unspoken: Vec<LeaseId>,
    /// Work of failed leases since it last finished one: whether it was a survey, and where it began.
    pub(super) strikes: BTreeSet<(bool, Place)>,
    /// Number of failed leases since then.
    pub(super) faults: u32,
    /// Trials of this run that are stored with its result.
    pub(super) authored: Vec<TrialId>,
    pub(super) stored: u64,
    /// Whether the audit of its first trial has been decided on.
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

    /// Whether it has delivered anything, or is trusted.
    pub(super) fn is_proven(&self) -> bool {
        self.site.is_trusted() || self.delivered > 0
    }

    /// Returns the number of leases that it may have at a time: one at first, and two more for each result.
    pub(super) fn room(&self) -> u32 {
        if self.site.is_trusted() {
            return self.threads;
        }
        self.threads.min(self.delivered.saturating_mul(2).saturating_add(1))
    }

    /// Whether it can be expected to compute any trial that can be computed. It must be proven or hold its first lease,
    /// and have neither stalled nor failed.
    pub(super) fn is_hopeful(&self) -> bool {
        self.share.room > 0
            && !self.is_stalled
            && self.faults == 0
            && (self.is_proven() || !self.leases.is_empty())
    }

    /// Whether its last sign of life is recent. A line that fails is silent for a while before it ends. If a process
    /// ends, its connection is closed at once.
    pub(super) fn was_well(&self, now: Time, lease_ttl: Duration) -> bool {
        now.saturating_sub(self.heard) < lease_ttl / 3
    }
}

/// The public view of a worker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WorkerView {
    pub name: WorkerName,
    pub state: WorkerState,
    pub threads: u32,
    pub leases: usize,
    /// Stored trials that it was the first to compute.
    pub stored: u64,
    pub heard: Time,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WorkerState {
    Working,
    Idle,
    Draining,
    /// Not connected, but with leases.
    Lost,
    Gone,
    Quarantined,
}

impl WorkerState {
    /// Returns the name of the state in snapshots.
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

/// A worker's contribution to its site's standing and to the scheduler's sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) here: bool,
    pub(super) steady: bool,
    pub(super) unproven: bool,
    /// Leases that it may have.
    pub(super) room: u32,
    /// Its number among the waiting workers of its site.
    pub(super) waiting: Option<u64>,
}
