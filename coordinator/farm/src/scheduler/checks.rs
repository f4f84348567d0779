//! Audits and disputes: which trials are to be computed once more, and what was said of them.

use std::collections::{BTreeMap, BTreeSet};

use granule_engine::Digest;

use super::ids::{LeaseId, Place, Site, Time, TrialId, WorkerName};
use super::lease::Check;
use super::variants::Variants;

/// Audits and disputes.
#[derive(Debug, Default)]
pub(super) struct Trust {
    pub(super) audits: BTreeMap<Place, Audit>,
    /// Audits that no worker holds a lease of, by the worker that must not compute them.
    pub(super) open_audits: BTreeMap<WorkerName, BTreeSet<Place>>,
    /// Audits between workers of one address, and who computed them: they count until workers come from elsewhere.
    pub(super) provisional: BTreeMap<Place, Vec<WorkerName>>,
    pub(super) disputes: BTreeMap<TrialId, Dispute>,
    /// Who has computed some of the variants of places that are not done. Only where there are audits.
    pub(super) partial: BTreeMap<Place, Vec<WorkerName>>,
    /// Grows with every trial by the percentage of audits.
    pub(super) due: f64,
    /// Trials that the store has been asked to take out.
    pub(super) discarding: u64,
    /// Since when no connected worker may compute the open checks.
    pub(super) alone_since: Option<Time>,
    pub(super) reinforcements: u32,
    /// Disputed trials that are to be set aside once they are out of the store.
    pub(super) unsettled: BTreeSet<TrialId>,
}

/// A trial that is to be computed once more.
#[derive(Debug)]
pub(super) struct Audit {
    /// Workers that have computed it, of which there is one at least.
    pub(super) authors: Vec<WorkerName>,
    pub(super) lease: Option<LeaseId>,
    pub(super) confirmed: Variants,
    /// Leases that have come to nothing.
    pub(super) tries: u32,
}

/// A trial of which there are different results.
#[derive(Debug)]
pub(super) struct Dispute {
    pub(super) lease: Option<LeaseId>,
    /// Leases that have come to nothing.
    pub(super) tries: u32,
    pub(super) stored: Digest,
    pub(super) votes: Vec<Vote>,
}

/// What a worker says of a disputed trial.
#[derive(Clone, Copy, Debug)]
pub(super) struct Vote {
    pub(super) digest: Digest,
    /// None for an earlier run.
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
    /// Whether there is nothing left to check or to take out.
    pub(super) fn is_settled(&self) -> bool {
        self.audits.is_empty() && self.disputes.is_empty() && self.discarding == 0
    }

    /// Whether the scheduler may wait for another worker.
    pub(super) fn waits(&self) -> bool {
        !self.audits.is_empty() || !self.disputes.is_empty()
    }

    pub(super) fn has_open_checks(&self) -> bool {
        !self.open_audits.is_empty() || self.disputes.values().any(|dispute| dispute.lease.is_none())
    }

    /// A worker has a lease of a check.
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

    /// The lease of a check has come to nothing.
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

    /// What was to check this does not count.
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

    /// Does without an audit.
    pub(super) fn end_audit(&mut self, place: Place) {
        self.close_audit(place);
        self.audits.remove(&place);
    }
}

impl Dispute {
    pub(super) fn voters(&self) -> impl Iterator<Item = (WorkerName, Site)> {
        self.votes.iter().filter_map(|vote| vote.voter)
    }

    /// Different machines that have voted.
    pub(super) fn machines(&self) -> usize {
        self.votes.iter().filter_map(Vote::machine).collect::<BTreeSet<Site>>().len()
    }

    /// Whether a digest is to be believed: two machines agree on it, where an earlier run counts beside a worker that
    /// the coordinator started; or such a worker and another voter do, and no trusted worker elsewhere disagrees.
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
