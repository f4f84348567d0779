//! Leases and their purposes.

use super::event::Work;
use super::ids::{LeaseId, Place, Time, TrialId, WorkerName};
use super::variants::Variants;

/// A worker's right to compute trials or to count parts.
#[derive(Debug)]
pub(super) struct Lease {
    /// `None` once the worker has sent everything.
    pub(super) worker: Option<WorkerName>,
    pub(super) granted: Time,
    /// When a result of it, or a part of one, last arrived.
    pub(super) progress: Time,
    /// When a whole result of it last arrived.
    pub(super) delivered: Time,
    pub(super) work: Work,
    pub(super) kind: LeaseKind,
    /// It is of one trial, and its worker has no other lease.
    pub(super) is_alone: bool,
    /// Number of results that have not arrived.
    pub(super) missing: u32,
    /// Number of slots that are not done.
    pub(super) undone: u32,
    /// The variants that have arrived of each of its trials; empty if none has.
    received: Vec<Variants>,
    /// Whether the parts that it asked for have been counted.
    pub(super) is_counted: bool,
    /// It has made no progress for so long that other workers get its work as well.
    pub(super) is_stalled: bool,
    /// Its worker was informed that nothing more of it is needed.
    pub(super) is_revoked: bool,
    pub(super) copies: Vec<LeaseId>,
}

impl Lease {
    pub(super) fn new(worker: WorkerName, now: Time, work: Work, kind: LeaseKind) -> Lease {
        Lease {
            worker: Some(worker),
            granted: now,
            progress: now,
            delivered: now,
            work,
            kind,
            is_alone: false,
            missing: 0,
            undone: 0,
            received: Vec::new(),
            is_counted: false,
            is_stalled: false,
            is_revoked: false,
            copies: Vec::new(),
        }
    }

    /// Whether any result that it asked for has arrived.
    pub(super) fn has_received(&self) -> bool {
        !self.received.is_empty()
    }

    /// Notes that a result has arrived. Returns `false` if the lease did not ask for it, or has it already.
    pub(super) fn receive(&mut self, id: TrialId) -> bool {
        let Work::Trials { cohort, trials, variants, .. } = &self.work else { return false };
        if *cohort != id.cohort || !trials.contains(&id.trial) || !variants.contains(id.variant) {
            return false;
        }
        if self.received.is_empty() {
            self.received = vec![Variants::default(); trials.len()];
        }
        self.received[(id.trial - trials.start) as usize].insert(id.variant)
    }
}

/// The purpose of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LeaseKind {
    /// Its slots belong to no other lease.
    Own,
    /// Trials of another lease, whose worker is slow.
    Copy { of: LeaseId },
    /// A trial that another worker has computed. `missing` are the variants whose results have not arrived.
    Check { of: Check, missing: Variants },
}

/// The audit or dispute that a lease serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    Audit(Place),
    Dispute(TrialId),
}

impl Check {
    pub(super) fn place(self) -> Place {
        match self {
            Check::Audit(place) => place,
            Check::Dispute(id) => id.place(),
        }
    }
}
