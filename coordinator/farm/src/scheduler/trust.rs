//! What workers say, held against what others say.
//!
//! A sample of trials is computed once more, by another worker (an audit). Whenever two digests of
//! one trial meet, however they came about, further workers compute it until two agree (a dispute);
//! who said otherwise is shut out, and all that only this worker has computed in this run is taken
//! out of the store and computed again. What cannot be settled is set aside.
//!
//! A machine that computes wrongly may do so in all of its processes, and in the same way, and one person with the
//! access file can start any number of workers on it. So in a dispute a machine has one voice ([`Site::machine`]):
//! no number of workers at one address outvotes a worker elsewhere. Where there is no second machine, workers that
//! the coordinator started itself decide.

use std::collections::{BTreeMap, BTreeSet};

use granule_engine::Digest;

use super::checks::{Audit, Dispute, Vote};
use super::cohort::SlotState;
use super::event::{Command, Report, Work};
use super::ids::{Place, Site, Time, TrialId, WorkerName};
use super::lease::{Check, Kind};
use super::shape::CohortShape;
use super::state::Scheduler;
use super::variants::Variants;

/// Leases of a check that may come to nothing before it is only for workers that have delivered.
const MOST_TRIES: u32 = 3;

/// Workers of our own that are started to settle one dispute.
const REINFORCEMENTS: u32 = 2;

impl Scheduler {
    pub(super) fn is_quarantined(&self, name: WorkerName) -> bool {
        self.workers.get(&name).is_some_and(|worker| worker.quarantined.is_some())
    }

    /// A worker was the first to compute a variant of a place. If that is done, it is perhaps one of the
    /// sample.
    pub(super) fn sample(&mut self, author: WorkerName, place: Place, is_done: bool) {
        let percent = self.config.audit_percent;
        if percent <= 0.0 {
            return;
        }
        let trust = &mut self.trust;
        let authors = trust.partial.entry(place).or_default();
        if !authors.contains(&author) {
            authors.push(author);
        }
        if !is_done {
            return;
        }
        let authors = trust.partial.remove(&place).unwrap_or_default();
        let worker = self.workers.get_mut(&author);
        let is_first =
            worker.is_some_and(|of| !std::mem::replace(&mut of.is_sampled, true) && !of.site.is_trusted());
        if is_first || self.tally.audited == 0 && trust.audits.is_empty() {
            // Of the smallest sweep, one at least; and the first that a worker has delivered.
            trust.due = trust.due.max(100.0 - percent);
        }
        trust.due += percent;
        if trust.due >= 100.0 - 1e-9 {
            trust.due -= 100.0;
            trust
                .audits
                .insert(place, Audit { authors, lease: None, confirmed: Variants::default(), tries: 0 });
            trust.open_audit(place);
        }
    }

    /// A worker has computed what was stored already, with the same result.
    pub(super) fn on_confirmed(&mut self, name: WorkerName, id: TrialId) {
        let place = id.place();
        if self.is_quarantined(name) {
            return self.trust.reopen(id);
        }
        if let Some(dispute) = self.trust.disputes.get(&id) {
            let stored = dispute.stored;
            self.vote(id, stored, name);
        }
        // Of a place whose variants were completed after one was disputed there can be both.
        let Some(audit) = self.trust.audits.get(&place) else { return };
        if !self.is_independent(name, audit.authors.iter().copied()) {
            // It was when it got the lease, if it got one for this: since then workers of another
            // machine have come.
            let is_its = |id| self.leases.get(&id).is_none_or(|lease| lease.worker == Some(name));
            if audit.lease.is_some_and(is_its) {
                self.trust.open_audit(place);
            }
            return;
        }
        let expected = self.computable(place);
        let Some(audit) = self.trust.audits.get_mut(&place) else { return };
        audit.confirmed.insert(id.variant);
        if audit.confirmed != expected {
            return;
        }
        let mut authors = audit.authors.clone();
        self.trust.end_audit(place);
        self.tally.audited += 1;
        authors.push(name);
        let is_trusted = |name| self.workers.get(name).is_some_and(|worker| worker.site.is_trusted());
        if !self.has_several_machines() && !authors.iter().any(is_trusted) {
            self.trust.provisional.insert(place, authors);
        }
    }

    /// A second machine is here: what was audited by workers of the first alone is audited again.
    pub(super) fn reconsider(&mut self) {
        for (place, authors) in std::mem::take(&mut self.trust.provisional) {
            self.tally.audited -= 1;
            self.trust
                .audits
                .insert(place, Audit { authors, lease: None, confirmed: Variants::default(), tries: 0 });
            self.trust.open_audit(place);
            let CohortShape { items_per_trial, stream, .. } = self.cohorts[place.cohort as usize].shape;
            self.streams[stream].want(u64::from(place.trial) * items_per_trial);
        }
    }

    /// The worker whose result of a trial is stored, if it is of this run.
    fn author(&self, id: TrialId) -> Option<WorkerName> {
        self.workers.iter().find(|(_, worker)| worker.authored.contains(&id)).map(|(name, _)| *name)
    }

    /// Forgets who has computed what is gone. Returns, for the trials of which other variants are left,
    /// who has computed these.
    fn forget_authors(&mut self, gone: &[TrialId]) -> BTreeMap<Place, Vec<WorkerName>> {
        let places: BTreeSet<Place> = gone.iter().map(|id| id.place()).collect();
        let gone: BTreeSet<TrialId> = gone.iter().copied().collect();
        let mut left: BTreeMap<Place, Vec<WorkerName>> = BTreeMap::new();
        for (&name, worker) in &mut self.workers {
            worker.authored.retain(|id| !gone.contains(id));
            for place in worker.authored.iter().map(|id| id.place()).filter(|place| places.contains(place)) {
                let authors = left.entry(place).or_default();
                if authors.last() != Some(&name) {
                    authors.push(name);
                }
            }
        }
        left
    }

    pub(super) fn on_disagreed(&mut self, name: WorkerName, id: TrialId, stored: Digest, received: Digest) {
        // It need not keep it any longer: what it said is noted down.
        if let Some(connection) = self.workers.get(&name).and_then(|worker| worker.connection) {
            self.commands.push(Command::Acknowledge { connection, trial: id });
        }
        let place = id.place();
        if self.is_quarantined(name) {
            return self.trust.reopen(id);
        }
        let stored_by = self.author(id);
        self.tally.disagreements += 1;
        self.commands.push(Command::Report(Report::Disagreed { trial: id, stored_by, worker: name }));
        self.trust.end_audit(place);
        let voter = stored_by.and_then(|name| Some((name, self.workers.get(&name)?.site)));
        let dispute =
            || Dispute { lease: None, tries: 0, stored, votes: vec![Vote { digest: stored, voter }] };
        self.trust.disputes.entry(id).or_insert_with(dispute);
        // What an earlier run has stored this one has not looked for.
        let CohortShape { items_per_trial, stream, .. } = self.cohorts[place.cohort as usize].shape;
        self.streams[stream].want(u64::from(place.trial) * items_per_trial);
        self.reopen(stream);
        self.vote(id, received, name);
    }

    /// Notes down what a worker says of a disputed trial, and settles the dispute if one digest is believed.
    fn vote(&mut self, id: TrialId, digest: Digest, name: WorkerName) {
        let Some(site) = self.site(name) else { return };
        let Some(dispute) = self.trust.disputes.get_mut(&id) else { return };
        dispute.lease = None;
        if dispute.voters().any(|(voter, _)| voter == name) {
            // Itself again. If it says something else now, that does not make it more credible.
            return;
        }
        dispute.votes.push(Vote { digest, voter: Some((name, site)) });
        if !dispute.believes(digest) {
            return;
        }
        let dispute = self.trust.disputes.remove(&id).expect("just seen");
        self.trust.reinforcements = 0;
        let stored_is_right = dispute.stored == digest;
        let machines = dispute.machines();
        self.tally.weakly_settled += u64::from(machines < 3);
        self.commands.push(Command::Report(Report::Settled { trial: id, stored_is_right, machines }));
        let mut wrong = Vec::new();
        if !stored_is_right {
            if let Some(author) = self.author(id).and_then(|name| self.workers.get_mut(&name)) {
                author.authored.retain(|authored| *authored != id);
            }
            wrong.push(id);
        }
        for vote in dispute.votes.iter().filter(|vote| vote.digest != digest) {
            if let Some((voter, _)) = vote.voter {
                let reason = "it computes wrongly: others agreed on different spikes of a trial";
                wrong.extend(self.distrusted(voter));
                self.quarantine(voter, reason);
            }
        }
        self.discard(wrong);
    }

    /// Whether what this worker says of a trial adds to what these have said: it is on another machine, or, while all
    /// workers are on one machine, another worker.
    fn is_independent(&self, name: WorkerName, mut of: impl Iterator<Item = WorkerName>) -> bool {
        let several = self.has_several_machines();
        let machine = |name: WorkerName| self.site(name).map(Site::machine);
        !of.any(|other| other == name || several && machine(other) == machine(name))
    }

    /// Whether a worker's vote can settle a dispute: it is on a machine that has not voted, or the coordinator
    /// started it, and no trusted worker elsewhere has voted.
    fn may_vote(&self, name: WorkerName, dispute: &Dispute) -> bool {
        let Some(site) = self.site(name) else { return false };
        if dispute.voters().any(|(voter, _)| voter == name) {
            return false;
        }
        let is_elsewhere = |of: Site| of.machine() != site.machine();
        dispute.voters().all(|(_, of)| is_elsewhere(of))
            || site.is_trusted() && dispute.voters().all(|(_, of)| !(of.is_trusted() && is_elsewhere(of)))
    }

    /// All that only this worker has computed.
    pub(super) fn distrusted(&mut self, name: WorkerName) -> Vec<TrialId> {
        let Some(worker) = self.workers.get_mut(&name) else { return Vec::new() };
        let trials = std::mem::take(&mut worker.authored);
        if !trials.is_empty() {
            self.commands.push(Command::Report(Report::Distrusted { worker: name, trials: trials.len() }));
        }
        trials
    }

    /// Has trials taken out of the store. They count as stored until that is done.
    pub(super) fn discard(&mut self, trials: Vec<TrialId>) {
        if !trials.is_empty() {
            self.trust.discarding += trials.len() as u64;
            self.commands.push(Command::Discard { trials });
        }
    }

    /// Trials are no longer in the store: they are pending again, or set aside.
    pub(super) fn on_discarded(&mut self, trials: &[TrialId]) {
        self.trust.discarding -= trials.len() as u64;
        self.tally.discarded += trials.len() as u64;
        let authors = self.forget_authors(trials);
        for &id in trials {
            let place = id.place();
            let cohort = &mut self.cohorts[place.cohort as usize];
            let slot = &mut cohort.slots[place.trial as usize];
            let was_done = slot.stored == cohort.variants;
            if !slot.stored.remove(id.variant) {
                continue;
            }
            // Another result of it is no confirmation of what is gone.
            self.trust.end_audit(place);
            if self.trust.provisional.remove(&place).is_some() {
                self.tally.audited -= 1;
            }
            self.trust.partial.remove(&place);
            if let Some(authors) = authors.get(&place).filter(|_| self.config.audit_percent > 0.0) {
                self.trust.partial.insert(place, authors.clone());
            }
            self.trust.disputes.remove(&id);
            let missing = slot.missing;
            if slot.state() == SlotState::SetAside {
                continue;
            }
            self.unstored += 1;
            if let Some(lease) = slot.lease()
                && let Some(of) = self.leases.get_mut(&lease)
            {
                // The lease did not ask for it: the place is for another.
                of.missing -= missing.len();
                of.undone -= u32::from(!was_done);
                self.return_slot(place);
                self.end_if_settled(lease);
            } else if was_done {
                self.return_slot(place);
            }
        }
        for id in trials {
            let place = id.place();
            if !self.trust.unsettled.remove(id) {
                continue;
            }
            let cohort = &mut self.cohorts[place.cohort as usize];
            let slot = &mut cohort.slots[place.trial as usize];
            if slot.state() != SlotState::Free || slot.stored == cohort.variants {
                continue;
            }
            slot.set(SlotState::Suspect);
            cohort.pending -= 1;
            self.pending -= 1;
            let reason = "workers do not agree on its spikes, and there was no other to settle it".to_owned();
            self.put_aside(place, reason);
        }
    }

    /// A check that this worker may do: it has not computed the trial itself.
    pub(super) fn next_check(&self, name: WorkerName) -> Option<(Work, Kind)> {
        if !self.trust.has_open_checks() {
            return None;
        }
        let disputes = self.trust.disputes.iter().filter(|(_, dispute)| dispute.lease.is_none());
        for (&id, dispute) in disputes {
            let may_vote = |name| self.may_vote(name, dispute);
            if may_vote(name) && self.is_first_choice(name, dispute.tries, may_vote) {
                let mut variants = Variants::default();
                variants.insert(id.variant);
                let kind = Kind::Check { of: Check::Dispute(id), missing: variants };
                if let Some(work) = self.single(id.place(), variants) {
                    return Some((work, kind));
                }
            }
        }
        let others = self.trust.open_audits.iter().filter(|(author, _)| **author != name);
        let authors = |place: &Place| self.trust.audits[place].authors.iter().copied();
        let may_do = |place: &&Place| {
            let is_independent = |name| self.is_independent(name, authors(place));
            is_independent(name)
                && self.is_first_choice(name, self.trust.audits[*place].tries, is_independent)
        };
        others.flat_map(|(_, places)| places).filter(may_do).find_map(|&place| {
            let variants = self.computable(place);
            let kind = Kind::Check { of: Check::Audit(place), missing: variants };
            Some((self.single(place, variants)?, kind))
        })
    }

    /// Whether a worker should do a check that these may do: one that has delivered nothing does only if no steady
    /// worker can, and not after several leases have come to nothing.
    fn is_first_choice(&self, name: WorkerName, tries: u32, may_do: impl Fn(WorkerName) -> bool) -> bool {
        let is_steady = |name: WorkerName| self.workers[&name].share.steady;
        let can_any = || self.workers.keys().any(|&other| is_steady(other) && may_do(other));
        self.workers[&name].is_proven() || tries < MOST_TRIES && !can_any()
    }

    /// Does without checks that there is nobody for.
    pub(super) fn look_after_checks(&mut self, now: Time) {
        let is_here = |name: &WorkerName| {
            let worker = &self.workers[name];
            let may_deliver = worker.share.room > 0 || !worker.leases.is_empty();
            worker.quarantined.is_none() && !worker.is_stalled && may_deliver
        };
        let here: Vec<WorkerName> = self.workers.keys().copied().filter(|name| is_here(name)).collect();
        let may_come = |name: WorkerName, tries: u32| tries < MOST_TRIES || self.workers[&name].is_proven();
        let cannot_do = |audit: &Audit| {
            let authors = || audit.authors.iter().copied();
            !here.iter().any(|name| may_come(*name, audit.tries) && self.is_independent(*name, authors()))
        };
        let unaudited: Vec<Place> = (self.trust.audits.iter())
            .filter(|(_, audit)| cannot_do(audit))
            .map(|(place, _)| *place)
            .collect();
        let cannot_vote = |dispute: &Dispute| {
            !here.iter().any(|name| may_come(*name, dispute.tries) && self.may_vote(*name, dispute))
        };
        let unsettled: Vec<TrialId> = (self.trust.disputes.iter())
            .filter(|(_, dispute)| cannot_vote(dispute))
            .map(|(id, _)| *id)
            .collect();
        if self.unstored > 0 && unsettled.is_empty() || unaudited.is_empty() && unsettled.is_empty() {
            self.trust.alone_since = None;
            return;
        }
        let Some(since) = self.trust.alone_since else {
            self.trust.alone_since = Some(now);
            if !unsettled.is_empty() && self.trust.reinforcements < REINFORCEMENTS {
                self.trust.reinforcements += 1;
                self.commands.push(Command::Reinforce);
            }
            return;
        };
        if now.saturating_sub(since) < self.config.lease_ttl {
            return;
        }
        self.trust.alone_since = None;
        if self.unstored == 0 && !unaudited.is_empty() {
            self.tally.unaudited += unaudited.len() as u64;
            self.commands.push(Command::Report(Report::Unaudited { trials: unaudited.len() }));
            for place in unaudited {
                self.trust.end_audit(place);
            }
        }
        if !unsettled.is_empty() && self.trust.reinforcements >= REINFORCEMENTS {
            for id in &unsettled {
                self.trust.disputes.remove(id);
                self.trust.unsettled.insert(*id);
            }
            self.discard(unsettled);
        }
    }
}
