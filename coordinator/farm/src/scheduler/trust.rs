//! Compares results of workers with those of others.
//!
//! A sample of trials is computed once more, by another worker (an audit). If two results of one trial differ, audited
//! or not, further workers compute it until two agree (a dispute). The scheduler quarantines the workers that disagree
//! with these. It removes from the store all trials that only they have computed in this run, and has them computed
//! again. If a dispute cannot be settled, its trial is set aside.
//!
//! A machine that computes wrongly may do so in all of its processes, and in the same way. One person with the access
//! file can also start any number of workers on it. So a machine has one vote in a dispute ([`Site::machine`]): no
//! number of workers at one address outvotes a worker elsewhere. If there is no second machine, workers that the
//! coordinator started itself decide.

use std::collections::{BTreeMap, BTreeSet};

use granule_engine::Digest;

use super::checks::{Audit, Dispute, Vote};
use super::cohort::SlotState;
use super::event::{Command, Report, Work};
use super::ids::{Place, Site, Time, TrialId, WorkerName};
use super::lease::{Check, LeaseKind};
use super::shape::CohortShape;
use super::state::Scheduler;
use super::variants::Variants;

/// Number of leases without a result after which only workers that have delivered get a check.
const MOST_TRIES: u32 = 3;

/// Workers that the coordinator starts itself to settle one dispute.
const REINFORCEMENTS: u32 = 2;

impl Scheduler {
    pub(super) fn is_quarantined(&self, name: WorkerName) -> bool {
        self.workers.get(&name).is_some_and(|worker| worker.quarantined.is_some())
    }

    /// Notes that a worker was the first to compute a variant of a place. If the place is done, it may be sampled for
    /// an audit.
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
            // Even the smallest sweep has one audit, and the first place of each worker that is not trusted is audited.
            trust.due = trust.due.max(100.0 - percent);
        }
        trust.due += percent;
        // One trial of each 100 / percent is audited, and its place among them changes. If it were always the first one, it
        // could always be the first trial of a seed. Multiples of the golden ratio, without their whole part, are evenly spread.
        const GOLDEN: f64 = 0.618_033_988_749_894_9;
        let place_among = ((trust.sampled + 1) as f64 * GOLDEN).fract();
        if trust.due >= 100.0 * place_among {
            trust.due -= 100.0;
            trust.sampled += 1;
            trust
                .audits
                .insert(place, Audit { authors, lease: None, confirmed: Variants::default(), tries: 0 });
            trust.open_audit(place);
        }
    }

    /// Handles a result that equals the stored one: a vote in a dispute, or a confirmation in an audit.
    pub(super) fn on_confirmed(&mut self, name: WorkerName, id: TrialId) {
        let place = id.place();
        if self.is_quarantined(name) {
            return self.trust.reopen(id);
        }
        if let Some(dispute) = self.trust.disputes.get(&id) {
            let stored = dispute.stored;
            self.vote(id, stored, name);
        }
        // A place can have an audit and a dispute, if its other variants were completed after the dispute began.
        let Some(audit) = self.trust.audits.get(&place) else { return };
        if !self.may_audit(name, audit.authors.iter().copied()) {
            // The worker was independent when it got the lease, if it got one for this audit. Since then, workers of
            // another machine have connected.
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

    /// Repeats the audits between workers of one machine, because a second machine has connected.
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

    /// Returns the worker whose result of a trial is stored, if it is of this run.
    fn author(&self, id: TrialId) -> Option<WorkerName> {
        self.workers.iter().find(|(_, worker)| worker.authored.contains(&id)).map(|(name, _)| *name)
    }

    /// Removes trials that are no longer stored from their authors' lists. Returns the authors of the other stored
    /// variants, for each place that has any.
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
        // The worker need not keep its result: the digest is recorded as a vote.
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
        // If an earlier run stored the trial, this run may not have located its start yet.
        let CohortShape { items_per_trial, stream, .. } = self.cohorts[place.cohort as usize].shape;
        self.streams[stream].want(u64::from(place.trial) * items_per_trial);
        self.reopen(stream);
        self.vote(id, received, name);
    }

    /// Records a worker's digest of a disputed trial, and settles the dispute if the digest is believed.
    fn vote(&mut self, id: TrialId, digest: Digest, name: WorkerName) {
        let Some(site) = self.site(name) else { return };
        let Some(dispute) = self.trust.disputes.get_mut(&id) else { return };
        dispute.lease = None;
        if dispute.voters().any(|(voter, _)| voter == name) {
            // Each worker has one vote. A second, different digest does not make it more credible.
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
                let reason = "it computed wrong spikes: other workers agreed on different spikes for a trial";
                wrong.extend(self.distrusted(voter));
                self.quarantine(voter, reason);
            }
        }
        self.discard(wrong);
    }

    /// Whether a worker's result of a trial adds to these workers' results: it is on another machine. While all workers
    /// are on one machine, any other worker adds to them.
    fn is_independent(&self, name: WorkerName, mut of: impl Iterator<Item = WorkerName>) -> bool {
        let several = self.has_several_machines();
        let machine = |name: WorkerName| self.site(name).map(Site::machine);
        !of.any(|other| other == name || several && machine(other) == machine(name))
    }

    /// Whether a worker may audit a trial that these workers have computed.
    fn may_audit(&self, name: WorkerName, authors: impl Iterator<Item = WorkerName>) -> bool {
        let is_alone = || {
            let mut others = self.workers.iter().filter(|(other, _)| **other != name);
            others.all(|(_, worker)| worker.connection.is_none() || worker.quarantined.is_some())
        };
        self.is_independent(name, authors) || self.config.audits_alone && is_alone()
    }

    /// Whether a worker's vote can settle a dispute. Its machine must not have voted; or the coordinator started the
    /// worker, and no trusted worker on another machine has voted.
    fn may_vote(&self, name: WorkerName, dispute: &Dispute) -> bool {
        let Some(site) = self.site(name) else { return false };
        if dispute.voters().any(|(voter, _)| voter == name) {
            return false;
        }
        let is_elsewhere = |of: Site| of.machine() != site.machine();
        dispute.voters().all(|(_, of)| is_elsewhere(of))
            || site.is_trusted() && dispute.voters().all(|(_, of)| !(of.is_trusted() && is_elsewhere(of)))
    }

    /// Takes all trials that only this worker has computed.
    pub(super) fn distrusted(&mut self, name: WorkerName) -> Vec<TrialId> {
        let Some(worker) = self.workers.get_mut(&name) else { return Vec::new() };
        let trials = std::mem::take(&mut worker.authored);
        if !trials.is_empty() {
            self.commands.push(Command::Report(Report::Distrusted { worker: name, trials: trials.len() }));
        }
        trials
    }

    /// Asks the store to remove trials. They count as stored until it reports that it has.
    pub(super) fn discard(&mut self, trials: Vec<TrialId>) {
        if !trials.is_empty() {
            self.trust.discarding += trials.len() as u64;
            self.commands.push(Command::Discard { trials });
        }
    }

    /// Makes trials that the store has removed pending again, or sets them aside.
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
            // Further results do not confirm the removed one.
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
                // The lease will not deliver the removed variant, so the place is left to another lease.
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
            let reason =
                "workers computed different spikes for it, and no third worker was available to settle this";
            self.put_aside(place, reason.to_owned());
        }
    }

    /// Returns a check that this worker may do: it has not computed the trial itself.
    pub(super) fn next_check(&self, name: WorkerName) -> Option<(Work, LeaseKind)> {
        if !self.trust.has_open_checks() {
            return None;
        }
        let disputes = self.trust.disputes.iter().filter(|(_, dispute)| dispute.lease.is_none());
        for (&id, dispute) in disputes {
            let may_vote = |name| self.may_vote(name, dispute);
            if may_vote(name) && self.is_first_choice(name, dispute.tries, may_vote) {
                let mut variants = Variants::default();
                variants.insert(id.variant);
                let kind = LeaseKind::Check { of: Check::Dispute(id), missing: variants };
                if let Some(work) = self.single(id.place(), variants) {
                    return Some((work, kind));
                }
            }
        }
        let authors = |place: &Place| self.trust.audits[place].authors.iter().copied();
        let may_do = |place: &&Place| {
            let may_audit = |name| self.may_audit(name, authors(place));
            may_audit(name) && self.is_first_choice(name, self.trust.audits[*place].tries, may_audit)
        };
        let open = self.trust.open_audits.iter();
        let others = open.filter(|(author, _)| **author != name || self.config.audits_alone);
        others.flat_map(|(_, places)| places).filter(may_do).find_map(|&place| {
            let variants = self.computable(place);
            let kind = LeaseKind::Check { of: Check::Audit(place), missing: variants };
            Some((self.single(place, variants)?, kind))
        })
    }

    /// Whether a worker should do a check that these workers may do. A worker that has delivered nothing should only if
    /// no steady worker can, and only until several leases have ended without a result.
    fn is_first_choice(&self, name: WorkerName, tries: u32, may_do: impl Fn(WorkerName) -> bool) -> bool {
        let is_steady = |name: WorkerName| self.workers[&name].share.steady;
        let can_any = || self.workers.keys().any(|&other| is_steady(other) && may_do(other));
        self.workers[&name].is_proven() || tries < MOST_TRIES && !can_any()
    }

    /// Ends checks that no connected worker can do. Audits are dropped after a lease time; disputes first get more
    /// workers.
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
            !here.iter().any(|name| may_come(*name, audit.tries) && self.may_audit(*name, authors()))
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
