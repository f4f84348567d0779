//! Leases, and what they are for.

use super::event::Work;
use super::ids::{LeaseId, Place, Time, TrialId, WorkerName};
use super::variants::Variants;

/// A worker's right to work.
#[derive(Debug)]
pub(super) struct Lease {
    /// None once the worker has sent everything.
    pub(super) worker: Option<WorkerName>,
    pub(super) granted: Time,
    /// When a result of it came in last, or a part of one.
    pub(super) progress: Time,
    /// When a whole result did.
    pub(super) delivered: Time,
    pub(super) work: Work,
    pub(super) kind: Kind,
    /// It is of one trial, and its worker has nothing else.
    pub(super) is_alone: bool,
    /// Results that have not arrived.
    pub(super) missing: u32,
    /// Slots that are not done.
    pub(super) undone: u32,
    /// What has arrived of each of its trials; empty if nothing has.
    received: Vec<Variants>,
    /// Whether the parts that it asked for have been counted.
    pub(super) is_counted: bool,
    /// Nothing has come of it for so long that it is given to others as well.
    pub(super) is_stalled: bool,
    /// Its worker was told that nothing more of it is needed.
    pub(super) is_revoked: bool,
    pub(super) copies: Vec<LeaseId>,
}

impl Lease {
    pub(super) fn new(worker: WorkerName, now: Time, work: Work, kind: Kind) -> Lease {
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

    /// Whether anything that it asked for has arrived.
    pub(super) fn has_received(&self) -> bool {
        !self.received.is_empty()
    }

    /// Notes that a result has arrived. False if the lease did not ask for it, or has it already.
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

/// What a lease is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Its slots are nobody else's.
    Own,
    /// Part of another lease, which is slow.
    Copy { of: LeaseId },
    /// What another worker has computed. Of these variants nothing has arrived yet.
    Check { of: Check, missing: Variants },
}

/// What a worker is to check.
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
