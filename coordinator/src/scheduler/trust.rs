//! What workers say, held against what others say.
//!
//! A sample of trials is computed once more, by another worker (an audit). Whenever two digests of
//! one trial meet, however they came about, further workers compute it until two agree (a dispute);
//! who said otherwise is shut out, and all that only this worker has computed in this run is taken
//! out of the store and computed again. What cannot be settled is set aside.
//!
//! A machine that computes wrongly may do so in all of its processes, and in the same way. Where there
//! are workers on several machines, those of one count as one.

use std::collections::{BTreeMap, BTreeSet};

use granule_sim::spikes::Digest;

use super::work::Kind;
use super::{
    CohortShape, Command, LeaseId, Place, Report, Scheduler, Time, TrialId, Variants, Work, WorkerName,
};

/// Workers of our own that are started to settle one dispute.
const REINFORCEMENTS: u32 = 2;

/// Audits and disputes.
#[derive(Debug, Default)]
pub(super) struct Trust {
    audits: BTreeMap<Place, Audit>,
    /// Audits that nobody has a lease of, by a worker that must not do them.
    open_audits: BTreeMap<WorkerName, BTreeSet<Place>>,
    disputes: BTreeMap<TrialId, Dispute>,
    /// Who has computed some of the variants of places that are not done. Only where there are audits.
    partial: BTreeMap<Place, Vec<WorkerName>>,
    /// Grows with every trial by the percentage of audits.
    due: f64,
    /// Trials that the store has been asked to take out.
    discarding: u64,
    /// Since when nobody was here who could check what there is to check.
    alone_since: Option<Time>,
    reinforcements: u32,
    /// Disputed trials that are to be set aside once they are out of the store.
    unsettled: BTreeSet<TrialId>,
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

/// A trial that is to be computed once more.
#[derive(Debug)]
struct Audit {
    /// Workers that have computed it, of which there is one at least.
    authors: Vec<WorkerName>,
    lease: Option<LeaseId>,
    confirmed: Variants,
}

/// A trial of which there are different results.
#[derive(Debug)]
struct Dispute {
    lease: Option<LeaseId>,
    stored: Digest,
    /// Who says what; none is an earlier run.
    votes: Vec<(Digest, Option<WorkerName>)>,
}

impl Trust {
    /// Whether there is nothing left to check or to take out.
    pub(super) fn is_settled(&self) -> bool {
        self.audits.is_empty() && self.disputes.is_empty() && self.discarding == 0
    }

    /// Whether somebody may be waited for.
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
                if self.audits.get(&place).is_some_and(|audit| audit.lease == Some(id)) {
                    self.open_audit(place);
                }
            }
            Check::Dispute(trial) => {
                if let Some(dispute) = self.disputes.get_mut(&trial).filter(|of| of.lease == Some(id)) {
                    dispute.lease = None;
                }
            }
        }
    }

    /// What was to check this does not count.
    fn reopen(&mut self, id: TrialId) {
        self.open_audit(id.place());
        if let Some(dispute) = self.disputes.get_mut(&id) {
            dispute.lease = None;
        }
    }

    fn open_audit(&mut self, place: Place) {
        if let Some(audit) = self.audits.get_mut(&place) {
            audit.lease = None;
            self.open_audits.entry(audit.authors[0]).or_default().insert(place);
        }
    }

    fn close_audit(&mut self, place: Place) {
        let Some(audit) = self.audits.get(&place) else { return };
        let author = audit.authors[0];
        if let Some(open) = self.open_audits.get_mut(&author) {
            open.remove(&place);
            if open.is_empty() {
                self.open_audits.remove(&author);
            }
        }
    }

    /// Does without an audit; whether there was one.
    fn end_audit(&mut self, place: Place) -> bool {
        self.close_audit(place);
        self.audits.remove(&place).is_some()
    }
}

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
        if self.tally.audited == 0 && trust.audits.is_empty() {
            // Of the smallest sweep, one at least.
            trust.due = trust.due.max(100.0 - percent);
        }
        trust.due += percent;
        if trust.due >= 100.0 - 1e-9 {
            trust.due -= 100.0;
            trust.audits.insert(place, Audit { authors, lease: None, confirmed: Variants::default() });
            trust.open_audit(place);
        }
    }

    /// A worker has computed what was stored already, with the same result.
    pub(super) fn on_confirmed(&mut self, name: WorkerName, id: TrialId, commands: &mut Vec<Command>) {
        let place = id.place();
        if self.is_quarantined(name) {
            return self.trust.reopen(id);
        }
        if let Some(dispute) = self.trust.disputes.get(&id) {
            let stored = dispute.stored;
            self.vote(id, stored, name, commands);
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
        if audit.confirmed == expected {
            self.trust.end_audit(place);
            self.tally.audited += 1;
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

    pub(super) fn on_disagreed(
        &mut self,
        name: WorkerName,
        id: TrialId,
        stored: Digest,
        received: Digest,
        commands: &mut Vec<Command>,
    ) {
        // It need not keep it any longer: what it said is noted down.
        if let Some(connection) = self.workers.get(&name).and_then(|worker| worker.connection) {
            commands.push(Command::Acknowledge { connection, trial: id });
        }
        let place = id.place();
        if self.is_quarantined(name) {
            return self.trust.reopen(id);
        }
        let stored_by = self.author(id);
        self.tally.disagreements += 1;
        commands.push(Command::Report(Report::Disagreed { trial: id, stored_by, worker: name }));
        self.trust.end_audit(place);
        let votes = || Dispute { lease: None, stored, votes: vec![(stored, stored_by)] };
        self.trust.disputes.entry(id).or_insert_with(votes);
        // What an earlier run has stored this one has not looked for.
        let CohortShape { normals_per_trial, stream, .. } = self.cohorts[place.cohort as usize].shape;
        self.streams[stream].want(u64::from(place.trial) * normals_per_trial);
        self.reopen(stream);
        self.vote(id, received, name, commands);
    }

    /// Notes down what a worker says of a disputed trial. Two that agree are believed.
    fn vote(&mut self, id: TrialId, digest: Digest, name: WorkerName, commands: &mut Vec<Command>) {
        let Some(dispute) = self.trust.disputes.get_mut(&id) else { return };
        dispute.lease = None;
        if dispute.votes.iter().any(|(_, voter)| *voter == Some(name)) {
            // Itself again. If it says something else now, that does not make it more credible.
            return;
        }
        dispute.votes.push((digest, Some(name)));
        let votes = dispute.votes.iter().filter(|(said, _)| *said == digest);
        let voters: Vec<Option<WorkerName>> = votes.map(|(_, voter)| *voter).collect();
        if self.independent(voters.into_iter()) < 2 {
            return;
        }
        let dispute = self.trust.disputes.remove(&id).expect("just seen");
        self.trust.reinforcements = 0;
        let stored_is_right = dispute.stored == digest;
        commands.push(Command::Report(Report::Settled { trial: id, stored_is_right }));
        let mut wrong = Vec::new();
        if !stored_is_right {
            wrong.push(id);
        }
        for (said, voter) in dispute.votes {
            if let Some(voter) = voter.filter(|_| said != digest) {
                let reason = "it computes wrongly: two others agreed on different spikes of a trial";
                self.quarantine(voter, reason, commands);
                wrong.extend(self.distrusted(voter, commands));
            }
        }
        wrong.sort_unstable();
        wrong.dedup();
        self.discard(wrong, commands);
    }

    /// How many of these are independent of each other. An earlier run is of all.
    fn independent(&self, voters: impl Iterator<Item = Option<WorkerName>>) -> usize {
        if !self.has_several_sites() {
            return voters.count();
        }
        let site = |voter: Option<WorkerName>| voter.map(|name| self.workers[&name].site);
        voters.map(site).collect::<BTreeSet<_>>().len()
    }

    /// Whether workers of more than one machine were ever here.
    fn has_several_sites(&self) -> bool {
        let mut sites = self.workers.values().map(|worker| worker.site);
        let first = sites.next();
        sites.any(|site| Some(site) != first)
    }

    /// Whether what this worker says adds to what these have said.
    fn is_independent(&self, name: WorkerName, mut of: impl Iterator<Item = WorkerName>) -> bool {
        let several = self.has_several_sites();
        let site = |name: WorkerName| self.workers[&name].site;
        !of.any(|other| other == name || several && site(other) == site(name))
    }

    /// All that only this worker has computed.
    fn distrusted(&mut self, name: WorkerName, commands: &mut Vec<Command>) -> Vec<TrialId> {
        let Some(worker) = self.workers.get_mut(&name) else { return Vec::new() };
        let trials = std::mem::take(&mut worker.authored);
        commands.push(Command::Report(Report::Distrusted { worker: name, trials: trials.len() }));
        trials
    }

    /// Has trials taken out of the store. They count as stored until that is done.
    pub(super) fn discard(&mut self, trials: Vec<TrialId>, commands: &mut Vec<Command>) {
        if !trials.is_empty() {
            self.trust.discarding += trials.len() as u64;
            commands.push(Command::Discard { trials });
        }
    }

    /// Trials are no longer in the store: they are pending again, or set aside.
    pub(super) fn on_discarded(&mut self, trials: &[TrialId], commands: &mut Vec<Command>) {
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
            self.trust.partial.remove(&place);
            if let Some(authors) = authors.get(&place).filter(|_| self.config.audit_percent > 0.0) {
                self.trust.partial.insert(place, authors.clone());
            }
            self.trust.disputes.remove(&id);
            let (lease, missing) = (slot.lease, slot.missing);
            if lease == LeaseId::ASIDE {
                continue;
            }
            self.unstored += 1;
            if let Some(of) = self.leases.get_mut(&lease) {
                // The lease did not ask for it: the place is for another.
                of.missing -= missing.len();
                of.undone -= u32::from(!was_done);
                self.return_slot(place);
                self.end_if_settled(lease, commands);
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
            if slot.lease != LeaseId::NONE || slot.stored == cohort.variants {
                continue;
            }
            slot.lease = LeaseId::SUSPECT;
            cohort.pending -= 1;
            self.pending -= 1;
            let reason = "workers do not agree on its spikes, and there was no other to settle it".to_owned();
            self.put_aside(place, reason, commands);
        }
    }

    /// A check that this worker may do: it has not computed the trial itself.
    pub(super) fn next_check(&self, name: WorkerName) -> Option<(Work, Kind)> {
        if !self.trust.has_open_checks() {
            return None;
        }
        let disputes = self.trust.disputes.iter().filter(|(_, dispute)| dispute.lease.is_none());
        for (&id, dispute) in disputes {
            if self.is_independent(name, dispute.voters()) {
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
        let may_do = |place: &&Place| self.is_independent(name, authors(place));
        others.flat_map(|(_, places)| places).filter(may_do).find_map(|&place| {
            let variants = self.computable(place);
            let kind = Kind::Check { of: Check::Audit(place), missing: variants };
            Some((self.single(place, variants)?, kind))
        })
    }

    /// Does without checks that there is nobody for.
    pub(super) fn look_after_checks(&mut self, now: Time, commands: &mut Vec<Command>) {
        let is_here = |name: &WorkerName| {
            let worker = &self.workers[name];
            worker.quarantined.is_none() && (worker.connection.is_some() || !worker.leases.is_empty())
        };
        let here: Vec<WorkerName> = self.workers.keys().copied().filter(|name| is_here(name)).collect();
        let cannot_do = |audit: &Audit| {
            !here.iter().any(|name| self.is_independent(*name, audit.authors.iter().copied()))
        };
        let unaudited: Vec<Place> = (self.trust.audits.iter())
            .filter(|(_, audit)| cannot_do(audit))
            .map(|(place, _)| *place)
            .collect();
        let cannot_vote =
            |dispute: &Dispute| !here.iter().any(|name| self.is_independent(*name, dispute.voters()));
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
                commands.push(Command::Reinforce);
            }
            return;
        };
        if now.saturating_sub(since) < self.config.lease_ttl {
            return;
        }
        self.trust.alone_since = None;
        if self.unstored == 0 && !unaudited.is_empty() {
            self.tally.unaudited += unaudited.len() as u64;
            commands.push(Command::Report(Report::Unaudited { trials: unaudited.len() }));
            for place in unaudited {
                self.trust.end_audit(place);
            }
        }
        if !unsettled.is_empty() && self.trust.reinforcements >= REINFORCEMENTS {
            for id in &unsettled {
                self.trust.disputes.remove(id);
                self.trust.unsettled.insert(*id);
            }
            self.discard(unsettled, commands);
        }
    }
}

impl Dispute {
    fn voters(&self) -> impl Iterator<Item = WorkerName> {
        self.votes.iter().filter_map(|(_, voter)| *voter)
    }
}
