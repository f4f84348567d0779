//! Leases: which work is leased, which results count, and what happens to the rest.

use std::ops::Bound;

use super::cohort::SlotState;
use super::event::{Command, Work};
use super::ids::{ConnectionId, LeaseId, Place, Time, TrialId, WorkerName};
use super::lease::{Lease, LeaseKind};
use super::pace;
use super::state::Scheduler;
use super::variants::Variants;

impl Scheduler {
    /// Whether this worker holds this lease.
    pub(super) fn is_of(&self, lease: LeaseId, worker: WorkerName) -> bool {
        self.leases.get(&lease).is_some_and(|lease| lease.worker == Some(worker))
    }

    /// Whether a lease is of one trial, and its worker has no other lease.
    pub(super) fn is_of_one(&self, id: LeaseId) -> bool {
        self.leases.get(&id).is_some_and(|lease| lease.is_alone)
    }

    /// Returns the first trial of a lease whose result has not arrived.
    pub(super) fn first_missing(&self, id: LeaseId) -> Option<Place> {
        let Lease { work: Work::Trials { cohort: at, trials, .. }, kind, .. } = self.leases.get(&id)? else {
            return None;
        };
        let cohort = &self.cohorts[*at as usize];
        let is_missing = |trial: &u32| {
            let slot = &cohort.slots[*trial as usize];
            match kind {
                LeaseKind::Own => slot.lease() == Some(id) && !slot.missing.is_empty(),
                LeaseKind::Copy { .. } => !cohort.is_done(slot),
                LeaseKind::Check { .. } => false,
            }
        };
        let trial = trials.clone().find(is_missing)?;
        Some(Place { cohort: *at, trial })
    }

    pub(super) fn on_received(&mut self, now: Time, connection: ConnectionId, id: LeaseId, trial: TrialId) {
        let Some(name) = self.hear(now, connection) else { return };
        let Some(lease) = self.leases.get_mut(&id).filter(|lease| lease.worker == Some(name)) else { return };
        // Only results that the lease asked for count as progress, and each only once.
        if !lease.receive(trial) {
            return;
        }
        let slot = &mut self.cohorts[trial.cohort as usize].slots[trial.trial as usize];
        self.longest = self.longest.max(now.saturating_sub(lease.progress));
        (lease.progress, lease.delivered, lease.is_stalled) = (now, now, false);
        match &mut lease.kind {
            LeaseKind::Own if slot.lease() == Some(id) && slot.missing.remove(trial.variant) => {
                lease.missing -= 1
            }
            LeaseKind::Check { of, missing } if of.place() == trial.place() => {
                missing.remove(trial.variant);
            }
            _ => {}
        }
        self.deliver(name);
    }

    pub(super) fn on_stored(&mut self, name: WorkerName, id: TrialId) {
        let place = id.place();
        self.take_back(id);
        let is_first = self.slot(place).stored.insert(id.variant);
        let mut is_quarantined = false;
        if let Some(worker) = self.workers.get_mut(&name) {
            if let Some(connection) = worker.connection {
                self.commands.push(Command::Acknowledge { connection, trial: id });
            }
            if is_first {
                is_quarantined = worker.quarantined.is_some();
                worker.stored += 1;
                worker.authored.push(id);
                if worker.delivered == 0 || worker.is_stalled {
                    // The result was computed under a lease that has ended, so it has not counted as delivered yet.
                    self.deliver(name);
                }
            }
        }
        if !is_first {
            return self.on_confirmed(name, id);
        }
        self.crashes = 0;
        self.tally.stored += 1;
        let is_done = self.settle(id);
        self.sample(name, place, is_done);
        if is_quarantined {
            // The result was on its way to the store when its author was quarantined.
            self.discard(vec![id]);
        }
    }

    /// Notes that a variant of a place is stored, or counts as stored. Returns whether all variants are.
    pub(super) fn settle(&mut self, id: TrialId) -> bool {
        let place = id.place();
        let cohort = &mut self.cohorts[place.cohort as usize];
        let slot = &mut cohort.slots[place.trial as usize];
        let is_done = slot.stored == cohort.variants;
        let state = slot.state();
        if state == SlotState::SetAside {
            // The result arrived after its trial was set aside.
            if is_done {
                slot.set(SlotState::Free);
                self.set_aside.remove(&place);
            }
            return is_done;
        }
        self.unstored -= 1;
        if let SlotState::Leased(lease) = state
            && let Some(of) = self.leases.get_mut(&lease)
        {
            // If another worker delivered the result, the lease need not deliver it any more.
            of.missing -= u32::from(slot.missing.remove(id.variant));
            of.undone -= u32::from(is_done);
            self.end_if_settled(lease);
        } else if is_done {
            slot.set(SlotState::Free);
            if state == SlotState::Free {
                cohort.pending -= 1;
                self.pending -= 1;
            }
        }
        if is_done {
            self.suspects.remove(&place);
        }
        is_done
    }

    /// Ends a lease once all of its slots are done, and revokes everything that is still computed of it.
    pub(super) fn end_if_settled(&mut self, id: LeaseId) {
        let Some(lease) = self.leases.get_mut(&id).filter(|lease| lease.undone == 0) else { return };
        let copies = std::mem::take(&mut lease.copies);
        let is_busy = lease.worker.is_some();
        if !is_busy {
            self.leases.remove(&id);
        }
        for id in copies.into_iter().chain(is_busy.then_some(id)) {
            self.revoke(id);
        }
    }

    /// Informs a worker that nothing more of its lease is needed.
    pub(super) fn revoke(&mut self, id: LeaseId) {
        let Some(lease) = self.leases.get_mut(&id) else { return };
        let Some(worker) = lease.worker.and_then(|name| self.workers.get(&name)) else { return };
        lease.is_revoked = true;
        if let Some(connection) = worker.connection {
            self.commands.push(Command::Revoke { connection, lease: id });
        }
    }

    pub(super) fn on_surveyed(
        &mut self,
        now: Time,
        connection: ConnectionId,
        id: LeaseId,
        findings: Vec<u32>,
    ) {
        let Some(name) = self.hear(now, connection) else { return };
        let Some(lease) = self.leases.get_mut(&id).filter(|lease| lease.worker == Some(name)) else { return };
        let Work::Survey { cohort, parts } = &lease.work else { return };
        if std::mem::replace(&mut lease.is_counted, true) {
            return;
        }
        (lease.progress, lease.is_stalled) = (now, false);
        let stream = self.cohorts[*cohort as usize].shape.stream;
        let of = &mut self.streams[stream];
        if findings.len() != parts.len() || !findings.iter().all(|finding| of.is_plausible(*finding)) {
            // If these findings were accepted, every later trial would start at a wrong place.
            return self.quarantine(name, "it counted the random numbers of a part wrongly");
        }
        if let Some((first, findings)) = of.counted(parts.start, findings) {
            self.commands.push(Command::KeepFindings { stream, first, findings });
        }
        self.reopen(stream);
        self.deliver(name);
    }

    /// Opens the cohorts that may wait for a stream, because the stream has changed.
    pub(super) fn reopen(&mut self, stream: usize) {
        let has_pending = |at: &usize| self.cohorts[*at].pending > 0;
        self.open.extend(self.readers[stream].iter().copied().filter(has_pending));
    }

    pub(super) fn on_finished(&mut self, now: Time, connection: ConnectionId, id: LeaseId) {
        let Some(name) = self.hear(now, connection) else { return };
        let Some(lease) = self.leases.get(&id).filter(|lease| lease.worker == Some(name)) else { return };
        let lacks_results = match &lease.work {
            Work::Trials { .. } => lease.missing > 0 || !lease.has_received() && !lease.is_revoked,
            Work::Survey { .. } => !lease.is_counted,
        };
        if let Work::Trials { cohort, trials, variants, .. } = &lease.work
            && !lacks_results
        {
            let shape = &self.cohorts[*cohort as usize].shape;
            let effort = pace::effort(shape.cost_per_trial, variants.len()) * trials.len() as f64;
            let took = now.saturating_sub(lease.granted);
            self.workers.get_mut(&name).expect("just heard of").pace.observe(effort, took);
        }
        if lacks_results {
            self.strike(name, id, "it reports leases as finished without delivering their results");
        } else {
            self.absolve(name);
        }
        self.close(now, name, id);
    }

    /// Ends a lease after its worker has sent everything of it.
    pub(super) fn close(&mut self, now: Time, name: WorkerName, id: LeaseId) {
        let Some(lease) = self.leases.get_mut(&id).filter(|lease| lease.worker == Some(name)) else { return };
        lease.progress = lease.progress.max(now);
        if lease.missing > 0 {
            return self.release(name, id);
        }
        lease.worker = None;
        match lease.kind {
            LeaseKind::Check { missing, .. } if !missing.is_empty() => self.give_back(id),
            // The store's answer is still to come.
            LeaseKind::Check { .. } => drop(self.leases.remove(&id)),
            LeaseKind::Copy { of } => {
                self.leases.remove(&id);
                if let Some(of) = self.leases.get_mut(&of) {
                    of.copies.retain(|copy| *copy != id);
                }
            }
            LeaseKind::Own if lease.undone == 0 => self.give_back(id),
            // All results have arrived. Slots stay leased until their results are stored.
            LeaseKind::Own => {}
        }
        self.let_go(name, id);
    }

    pub(super) fn on_handed_back(&mut self, connection: ConnectionId, id: LeaseId) {
        let Some(&name) = self.connections.get(&connection) else { return };
        if !self.is_of(id, name) {
            return;
        }
        if !self.leases[&id].is_revoked && !self.workers[&name].draining && !self.draining {
            self.strike(name, id, "it returns leases that it does not hold");
        }
        self.release(name, id);
    }

    /// Ends a worker's lease, with or without results.
    pub(super) fn release(&mut self, name: WorkerName, id: LeaseId) {
        self.give_back(id);
        self.let_go(name, id);
    }

    fn let_go(&mut self, name: WorkerName, id: LeaseId) {
        if let Some(worker) = self.workers.get_mut(&name) {
            worker.leases.retain(|lease| *lease != id);
            self.update(name);
        }
    }

    /// Ends a lease. Its work that is not done is pending again.
    pub(super) fn give_back(&mut self, id: LeaseId) {
        let Some(lease) = self.leases.remove(&id) else { return };
        match (lease.kind, lease.work) {
            (LeaseKind::Copy { of }, _) => {
                if let Some(of) = self.leases.get_mut(&of) {
                    of.copies.retain(|copy| *copy != id);
                }
            }
            (LeaseKind::Check { of, .. }, _) => self.trust.give_back(of, id),
            (_, Work::Survey { cohort, parts }) => {
                let stream = self.cohorts[cohort as usize].shape.stream;
                self.streams[stream].give_back(parts);
                self.reopen(stream);
            }
            (LeaseKind::Own, Work::Trials { cohort: at, trials, .. }) => {
                self.tally.given_back += u64::from(lease.undone > 0);
                for trial in trials {
                    let place = Place { cohort: at, trial };
                    let cohort = &self.cohorts[at as usize];
                    let slot = &cohort.slots[trial as usize];
                    if slot.lease() == Some(id) && !cohort.is_done(slot) {
                        self.return_slot(place);
                    }
                }
            }
        }
    }

    /// Frees a slot that is not done and not leased any more.
    pub(super) fn return_slot(&mut self, place: Place) {
        let is_suspect = self.suspects.contains_key(&place);
        let slot = self.slot(place);
        slot.missing = Variants::default();
        if is_suspect {
            slot.set(SlotState::Suspect);
            return;
        }
        slot.set(SlotState::Free);
        let cohort = &mut self.cohorts[place.cohort as usize];
        cohort.pending += 1;
        cohort.first_pending = cohort.first_pending.min(place.trial);
        self.pending += 1;
        self.open.insert(place.cohort as usize);
        let item = u64::from(place.trial) * cohort.shape.items_per_trial;
        self.streams[cohort.shape.stream].want(item);
    }

    /// Grants leases until no free worker or no work is left.
    pub(super) fn assign(&mut self, now: Time) {
        let mut after = Bound::Unbounded;
        while let Some(&name) = self.free.range((after, Bound::Unbounded)).next() {
            if self.has_to_wait(name) {
                continue;
            }
            match self.next_work(name) {
                Some((work, kind)) => self.grant(now, name, work, kind),
                // Checks and suspects depend on the worker, so another worker may get some. All other work is for any
                // worker.
                None if self.trust.has_open_checks() || !self.suspects.is_empty() => {
                    after = Bound::Excluded(name)
                }
                None => return,
            }
        }
    }

    pub(super) fn grant(&mut self, now: Time, name: WorkerName, work: Work, kind: LeaseKind) {
        let id = self.next_lease;
        self.next_lease = id.next();
        let worker = self.workers.get_mut(&name).expect("only known workers are free");
        let Some(connection) = worker.connection else { return };
        if worker.leases.is_empty() {
            // A worker without leases need not send signs of life, so its silence until now does not count.
            worker.heard = worker.heard.max(now);
        }
        worker.leases.push(id);
        self.tally.leases += 1;
        let mut lease = Lease::new(name, now, work, kind);
        self.take(id, &mut lease);
        self.commands.push(Command::Grant { connection, lease: id, work: lease.work.clone() });
        self.leases.insert(id, lease);
        self.update(name);
    }

    /// Marks work as leased.
    fn take(&mut self, id: LeaseId, lease: &mut Lease) {
        match (&lease.work, lease.kind) {
            (Work::Survey { cohort, parts }, _) => {
                let stream = self.cohorts[*cohort as usize].shape.stream;
                self.streams[stream].take(parts.clone());
            }
            (Work::Trials { cohort, trials, variants, .. }, LeaseKind::Own) => {
                let cohort = &mut self.cohorts[*cohort as usize];
                let slots = trials.len() as u32;
                // Suspects are not pending, and are leased alone.
                let mut pending = 0;
                for slot in &mut cohort.slots[trials.start as usize..trials.end as usize] {
                    pending += u32::from(slot.state() == SlotState::Free);
                    slot.set(SlotState::Leased(id));
                    slot.missing = *variants;
                }
                lease.is_alone = pending == 0;
                if pending > 0 {
                    cohort.first_pending = trials.end;
                }
                cohort.pending -= pending;
                self.pending -= u64::from(pending);
                (lease.missing, lease.undone) = (slots * variants.len(), slots);
            }
            (Work::Trials { .. }, LeaseKind::Copy { of }) => {
                if let Some(of) = self.leases.get_mut(&of) {
                    of.copies.push(id);
                }
            }
            (Work::Trials { .. }, LeaseKind::Check { of, .. }) => self.trust.take(of, id),
        }
    }

    fn next_work(&mut self, name: WorkerName) -> Option<(Work, LeaseKind)> {
        if let Some(check) = self.next_check(name) {
            return Some(check);
        }
        while let Some(&at) = self.open.first() {
            if let Some(work) = self.next_of_cohort(at, name) {
                return Some((work, LeaseKind::Own));
            }
            self.open.remove(&at);
        }
        if let Some(survey) = self.next_survey() {
            return Some((survey, LeaseKind::Own));
        }
        // A worker with other leases gets no suspect: if it died, these would be lost as well.
        if self.workers[&name].leases.is_empty() { self.next_suspect(name) } else { None }
    }

    /// Returns the work that the first pending trial of a cohort needs. If there is none, no worker can get any from
    /// this cohort until its stream changes or some of its trials are given back.
    fn next_of_cohort(&mut self, at: usize, name: WorkerName) -> Option<Work> {
        let cohort = &mut self.cohorts[at];
        if cohort.pending == 0 {
            return None;
        }
        while !cohort.is_pending(&cohort.slots[cohort.first_pending as usize]) {
            cohort.first_pending += 1;
        }
        let cohort = &self.cohorts[at];
        let shape = &cohort.shape;
        let first = cohort.first_pending;
        let stream = &self.streams[shape.stream];
        let variants = cohort.unstored_of(first);
        let shard = self.shard_trials(name, pace::effort(shape.cost_per_trial, variants.len()));

        let located = |trial: u32| stream.locate(u64::from(trial) * shape.items_per_trial);
        // The survey has to stay ahead of all threads, by two shards for each.
        let next = shard.saturating_mul(self.threads.saturating_mul(2));
        let ahead = first.saturating_add(next).min(cohort.slots.len() as u32 - 1);
        let survey = || {
            let parts = stream.next_parts()?;
            Some(Work::Survey { cohort: at as u32, parts })
        };
        if located(ahead).is_none()
            && let Some(work) = survey()
        {
            return Some(work);
        }
        let Some(start) = located(first) else { return survey() };
        let is_alike = |&trial: &u32| {
            cohort.is_pending(&cohort.slots[trial as usize]) && cohort.unstored_of(trial) == variants
        };
        let end = (first..cohort.slots.len() as u32)
            .take(shard as usize)
            .take_while(is_alike)
            .last()
            .expect("the first trial is pending")
            + 1;
        Some(Work::Trials { cohort: at as u32, trials: first..end, variants, start })
    }

    /// Returns parts that are needed to find the start of a check, a suspect or a copy. These trials are not pending,
    /// so no cohort asks for the parts.
    fn next_survey(&self) -> Option<Work> {
        if !self.trust.has_open_checks() && self.suspects.is_empty() && !self.are_any_stalled {
            return None;
        }
        let mut streams = self.streams.iter().zip(&self.readers);
        streams.find_map(|(stream, readers)| {
            let &cohort = readers.first()?;
            Some(Work::Survey { cohort: cohort as u32, parts: stream.next_parts()? })
        })
    }

    /// Returns work of one trial, if its start is known.
    pub(super) fn single(&self, place: Place, variants: Variants) -> Option<Work> {
        let shape = &self.cohorts[place.cohort as usize].shape;
        let start = self.streams[shape.stream].locate(u64::from(place.trial) * shape.items_per_trial)?;
        Some(Work::Trials { cohort: place.cohort, trials: place.trial..place.trial + 1, variants, start })
    }

    /// Returns the number of trials in a worker's next shard.
    fn shard_trials(&self, name: WorkerName, effort_per_trial: f64) -> u32 {
        if let Some(trials) = self.config.shard_trials {
            return trials.max(1);
        }
        let pace = &self.workers[&name].pace;
        let wanted = pace.trials_within(self.config.lease_target, effort_per_trial);
        // Towards the end, no worker should hold many trials while others have none.
        let fair = self.pending.div_ceil(2 * u64::from(self.threads.max(1)));
        wanted.min(fair.try_into().unwrap_or(u32::MAX)).max(1)
    }
}
