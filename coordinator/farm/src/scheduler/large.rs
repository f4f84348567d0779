//! Results that take long to arrive, and trials without a result.
//!
//! A trial has no result if it has more spikes than can be stored, or if the user's program failed at it. It counts
//! against its own variant only, not against the worker or the other variants of the place. A single worker may be
//! wrong, or lie, so the trial is computed again, alone. It is given up once two workers have claimed that it has no
//! result, or [`CLAIMS`] leases have ended so. Claims of one site are not enough while a worker elsewhere can try it. A
//! trial that was given up counts as stored wherever the scheduler asks what is left to do.

use std::collections::BTreeSet;

use granule_engine::Digest;

use super::claims::Claim;
use super::cohort::SlotState;
use super::event::{Command, Reason, Report};
use super::ids::{ConnectionId, LeaseId, Place, Site, Time, TrialId, WorkerName};
use super::state::Scheduler;
use super::suspects::HOPELESS;
use super::variants::Variants;
use super::worker::Worker;

/// Number of leases, of any workers, with a claim after which a trial is given up.
const CLAIMS: usize = 3;

/// How long parts keep a lease without a whole result, in lease times.
const PARTS_FOR: u32 = 4;

/// Limit on the recorded claims of a trial.
const MOST_CLAIMS: usize = 64;

/// Stands for the digest of a result, if a worker claims that a trial has none and others have one.
pub const NO_RESULT: Digest = Digest([0xff; 32]);

impl Scheduler {
    /// Trials that were given up because they have no result.
    pub fn without_result(&self) -> impl Iterator<Item = TrialId> {
        self.large.given_up.iter().copied()
    }

    /// Whether a result of this trial is stored.
    pub fn is_stored(&self, id: TrialId) -> bool {
        self.slot_of(id).contains(id.variant) && !self.large.given_up.contains(&id)
    }

    /// Variants of a place that are not given up.
    pub(super) fn computable(&self, place: Place) -> Variants {
        let mut variants = self.cohorts[place.cohort as usize].variants;
        for variant in variants.iter() {
            if self.large.given_up.contains(&TrialId { cohort: place.cohort, variant, trial: place.trial }) {
                variants.remove(variant);
            }
        }
        variants
    }

    /// Handles a part of a result that has arrived, or that waits for room. It may count as progress.
    pub(super) fn on_part(&mut self, now: Time, connection: ConnectionId, id: LeaseId) {
        let Some(name) = self.hear(now, connection) else { return };
        // A worker that has delivered nothing may send parts without end. So its parts are no progress, and those of
        // other workers only for a limited time.
        let is_proven = self.workers.get(&name).is_some_and(Worker::is_proven);
        let Some(lease) = self.leases.get_mut(&id).filter(|lease| lease.worker == Some(name)) else { return };
        if is_proven && now < lease.delivered + PARTS_FOR * self.config.lease_ttl {
            lease.progress = now;
        }
    }

    pub(super) fn on_no_result(
        &mut self,
        now: Time,
        connection: ConnectionId,
        id: Option<LeaseId>,
        trial: TrialId,
    ) {
        let Some(name) = self.hear(now, connection) else { return };
        self.commands.push(Command::Acknowledge { connection, trial });
        let (Some(site), Some(id)) = (self.site(name), id) else { return };
        let Some(lease) = self.leases.get_mut(&id).filter(|lease| lease.worker == Some(name)) else { return };
        // A claim counts like a result, and only once per lease.
        if !lease.receive(trial) {
            return;
        }
        lease.progress = now;
        if self.slot_of(trial).contains(trial.variant) {
            // The trial cannot be audited: the user's program fails at it now.
            if self.trust.audits.contains_key(&trial.place()) {
                self.trust.end_audit(trial.place());
                self.tally.unaudited += 1;
            }
            return;
        }
        let claims = self.large.claims.entry(trial).or_default();
        if claims.len() < MOST_CLAIMS {
            claims.push(Claim { worker: name, site, lease: id });
        }
        let leases: BTreeSet<LeaseId> = claims.iter().map(|claim| claim.lease).collect();
        let workers: BTreeSet<WorkerName> = claims.iter().map(|claim| claim.worker).collect();
        let sites: BTreeSet<Site> = claims.iter().map(|claim| claim.site).collect();
        let place = trial.place();
        let can_try = |worker: &Worker| self.is_hopeful_of(worker, place) && !sites.contains(&worker.site);
        let is_certain = leases.len() >= CLAIMS || workers.len() > 1;
        if is_certain && !self.workers.values().any(can_try) {
            self.give_up(name, trial);
        } else if self.slot(trial.place()).lease() == Some(id) {
            self.suspect(trial.place(), "a worker reported no result");
            self.detach(trial.place());
        }
    }

    /// Whether a worker of this site has claimed that a variant of a place has no result.
    pub(super) fn has_claimed(&self, site: Site, place: Place) -> bool {
        let Place { cohort, trial } = place;
        let first = TrialId { cohort, trial, variant: 0 };
        let of_place = self.large.claims.range(first..).take_while(|(id, _)| id.cohort == cohort);
        let mut claims = of_place.filter(|(id, _)| id.trial == trial).flat_map(|(_, claims)| claims);
        claims.any(|claim| claim.site == site)
    }

    /// Removes a place from its lease, for another lease.
    fn detach(&mut self, place: Place) {
        let slot = self.slot(place);
        let (id, missing) = (slot.lease(), slot.missing);
        let Some(id) = id else { return };
        let Some(lease) = self.leases.get_mut(&id) else { return };
        lease.missing -= missing.len();
        lease.undone -= 1;
        self.return_slot(place);
        self.end_if_settled(id);
    }

    /// Gives up a trial: it counts as stored from now on.
    fn give_up(&mut self, name: WorkerName, id: TrialId) {
        self.large.claims.remove(&id);
        self.large.given_up.insert(id);
        self.slot(id.place()).stored.insert(id.variant);
        self.tally.set_aside += 1;
        self.commands.push(Command::Report(Report::NoResult { trial: id }));
        let is_done = self.settle(id);
        if !self.computable(id.place()).is_empty() {
            self.sample(name, id.place(), is_done);
        }
        let count = self.large.given_up.len();
        if self.tally.stored == 0 && count >= HOPELESS {
            self.end(Command::Abandon(Reason::NoResults { count }));
        }
    }

    /// Takes back that a trial was given up, if it was: a result has arrived, so the trial has one.
    pub(super) fn take_back(&mut self, id: TrialId) {
        if !self.large.given_up.remove(&id) {
            return;
        }
        self.tally.set_aside -= 1;
        let place = id.place();
        let cohort = &mut self.cohorts[place.cohort as usize];
        let slot = &mut cohort.slots[place.trial as usize];
        let was_done = slot.stored == cohort.variants;
        slot.stored.remove(id.variant);
        if slot.state() == SlotState::SetAside {
            return;
        }
        self.unstored += 1;
        if let Some(lease) = slot.lease().and_then(|id| self.leases.get_mut(&id)) {
            lease.undone += u32::from(was_done);
        } else if was_done {
            self.return_slot(place);
        }
    }

    #[cfg(test)]
    pub(super) fn large_is_empty(&self) -> bool {
        self.large.claims.is_empty() && self.large.given_up.is_empty()
    }

    /// Returns the variants of a trial's place that are stored or given up.
    fn slot_of(&self, id: TrialId) -> Variants {
        self.cohorts[id.cohort as usize].slots[id.trial as usize].stored
    }
}
