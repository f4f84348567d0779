//! Audits and disputes: the trials that are computed once more, and the votes on them.

use std::collections::{BTreeMap, BTreeSet};

use granule_engine::Digest;

use super::ids::{LeaseId, Place, Site, Time, TrialId, WorkerName};
use super::lease::Check;
use super::variants::Variants;

/// The open audits and disputes.
#[derive(Debug, Default)]
pub(super) struct Trust {
    pub(super) audits: BTreeMap<Place, Audit>,
    /// Audits without a lease, by the first worker that computed the trial. It must not compute the audit.
    pub(super) open_audits: BTreeMap<WorkerName, BTreeSet<Place>>,
    /// Audits between workers of one machine, with these workers. They count until a worker of another machine
    /// connects.
    pub(super) provisional: BTreeMap<Place, Vec<WorkerName>>,
    pub(super) disputes: BTreeMap<TrialId, Dispute>,
    /// Workers that have computed some of the variants of places that are not done. Empty if there are no audits.
    pub(super) partial: BTreeMap<Place, Vec<WorkerName>>,
    /// Increases by the percentage of audits with every trial, and decreases by 100 with every audit.
    pub(super) due: f64,
    /// Number of trials that were chosen for an audit.
    pub(super) sampled: u64,
    /// Number of trials that the store has been asked to remove.
    pub(super) discarding: u64,
    /// Since when no connected worker may compute some of the open checks.
    pub(super) alone_since: Option<Time>,
    pub(super) reinforcements: u32,
    /// Disputed trials that are set aside once the store has removed them.
    pub(super) unsettled: BTreeSet<TrialId>,
}

/// A trial that another worker is to compute once more.
#[derive(Debug)]
pub(super) struct Audit {
    /// The workers that have computed it, at least one.
    pub(super) authors: Vec<WorkerName>,
    pub(super) lease: Option<LeaseId>,
    pub(super) confirmed: Variants,
    /// Leases that ended without a result.
    pub(super) tries: u32,
}

/// A trial with different results.
#[derive(Debug)]
pub(super) struct Dispute {
    pub(super) lease: Option<LeaseId>,
    /// Leases that ended without a result.
    pub(super) tries: u32,
    pub(super) stored: Digest,
    pub(super) votes: Vec<Vote>,
}

/// A worker's result of a disputed trial.
#[derive(Clone, Copy, Debug)]
pub(super) struct Vote {
    pub(super) digest: Digest,
    /// `None` for the result of an earlier run.
    pub(super) voter: Option<(WorkerName, Site)>,
}

impl Vote {
    pub(super) fn machine(&self) -> Option<Site> {
        self.voter.map(|(_, site)| site.machine())
    }

    pub(super) fn is_trusted(&self) -> bool {
        self.voter.is_some_and(|(_, site)| site.is_trusted())
    }
}

impl Trust {
    /// Whether no check is open and no trial is being removed from the store.
    pub(super) fn is_settled(&self) -> bool {
        self.audits.is_empty() && self.is_undisputed()
    }

    /// Whether no result is disputed or being removed from the store. Audits may be open.
    pub(super) fn is_undisputed(&self) -> bool {
        self.disputes.is_empty() && self.discarding == 0
    }

    /// Whether any check is open. It may have to wait for another worker.
    pub(super) fn waits(&self) -> bool {
        !self.audits.is_empty() || !self.disputes.is_empty()
    }

    pub(super) fn has_open_checks(&self) -> bool {
        !self.open_audits.is_empty() || self.disputes.values().any(|dispute| dispute.lease.is_none())
    }

    /// Notes that a worker holds the lease of a check.
    pub(super) fn take(&mut self, check: Check, id: LeaseId) {
        match check {
            Check::Audit(place) => {
                self.close_audit(place);
                if let Some(audit) = self.audits.get_mut(&place) {
                    audit.lease = Some(id);
                }
            }
            Check::Dispute(trial) => {
                if let Some(dispute) = self.disputes.get_mut(&trial) {
                    dispute.lease = Some(id);
                }
            }
        }
    }

    /// Reopens a check whose lease ended without a result.
    pub(super) fn give_back(&mut self, check: Check, id: LeaseId) {
        match check {
            Check::Audit(place) => {
                if let Some(audit) = self.audits.get_mut(&place).filter(|audit| audit.lease == Some(id)) {
                    audit.tries += 1;
                    self.open_audit(place);
                }
            }
            Check::Dispute(trial) => {
                if let Some(dispute) = self.disputes.get_mut(&trial).filter(|of| of.lease == Some(id)) {
                    dispute.lease = None;
                    dispute.tries += 1;
                }
            }
        }
    }

    /// Reopens the check of a trial, because the result that was to check it does not count.
    pub(super) fn reopen(&mut self, id: TrialId) {
        self.open_audit(id.place());
        if let Some(dispute) = self.disputes.get_mut(&id) {
            dispute.lease = None;
        }
    }

    pub(super) fn open_audit(&mut self, place: Place) {
        if let Some(audit) = self.audits.get_mut(&place) {
            audit.lease = None;
            self.open_audits.entry(audit.authors[0]).or_default().insert(place);
        }
    }

    pub(super) fn close_audit(&mut self, place: Place) {
        let Some(audit) = self.audits.get(&place) else { return };
        let author = audit.authors[0];
        if let Some(open) = self.open_audits.get_mut(&author) {
            open.remove(&place);
            if open.is_empty() {
                self.open_audits.remove(&author);
            }
        }
    }

    /// Removes an audit, done or not.
    pub(super) fn end_audit(&mut self, place: Place) {
        self.close_audit(place);
        self.audits.remove(&place);
    }
}

impl Dispute {
    pub(super) fn voters(&self) -> impl Iterator<Item = (WorkerName, Site)> {
        self.votes.iter().filter_map(|vote| vote.voter)
    }

    /// Returns the number of different machines that have voted.
    pub(super) fn machines(&self) -> usize {
        self.votes.iter().filter_map(Vote::machine).collect::<BTreeSet<Site>>().len()
    }

    /// Whether a digest is believed. This is so if two machines agree on it; an earlier run counts as one of them
    /// beside a worker that the coordinator started. It is also so if such a worker and another voter agree, unless
    /// several machines have voted and a trusted worker disagrees.
    pub(super) fn believes(&self, digest: Digest) -> bool {
        let (agree, disagree): (Vec<&Vote>, Vec<&Vote>) =
            self.votes.iter().partition(|vote| vote.digest == digest);
        let machines = agree.iter().filter_map(|vote| vote.machine()).collect::<BTreeSet<Site>>().len();
        let is_trusted = agree.iter().any(|vote| vote.is_trusted());
        let was_before = agree.iter().any(|vote| vote.voter.is_none());
        let is_contested = self.machines() > 1 && disagree.iter().any(|vote| vote.is_trusted());
        machines + usize::from(was_before && is_trusted) >= 2
            || is_trusted && agree.len() >= 2 && !is_contested
    }
}
