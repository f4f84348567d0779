//! Workers: how they come, go, come back, fall silent and are shut out.

use std::collections::BTreeSet;
use std::time::Duration;

use super::pace::Pace;
use super::{
    Command, ConnectionId, Dropped, HOPELESS, LeaseId, Place, Reason, Report, Scheduler, Site, Time, TrialId,
    Work, WorkerName,
};

/// How much a death speaks for it that the trial was to blame: a failure that the worker tells of, or
/// the end of a process of our own.
const SURELY: u32 = 4;

/// A worker that closed its connection and did not come back: perhaps it was killed for another reason,
/// or it was the line.
const PERHAPS: u32 = 1;

/// Leases in a row, of different work, that a worker may fail at or finish without delivering.
const STRIKES: usize = 5;

/// A worker, connected or not.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) site: Site,
    pub(super) connection: Option<ConnectionId>,
    pub(super) threads: u32,
    pub(super) leases: Vec<LeaseId>,
    pub(super) heard: Time,
    pub(super) pace: Pace,
    /// It takes no more leases.
    draining: bool,
    /// Nothing is taken from it any more, for this reason.
    pub(super) quarantined: Option<String>,
    /// Its last connection ended while it was alive: unless it comes back, its process has died.
    vanished: bool,
    /// Leases that it did not speak of when it came back: they are over once it has offered all it has.
    unspoken: Vec<LeaseId>,
    /// What it failed at since it last finished a lease.
    strikes: BTreeSet<(bool, Place)>,
    /// Trials that are stored as it has computed them, in this run.
    pub(super) authored: Vec<TrialId>,
    pub(super) stored: u64,
}

impl Worker {
    /// Whether it was heard of lately. A line that went quiet first has failed; one that is closed at once, its
    /// process has closed.
    fn was_well(&self, now: Time, lease_ttl: Duration) -> bool {
        now.saturating_sub(self.heard) < lease_ttl / 3
    }
}

/// A worker as others see it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct WorkerView {
    pub(crate) name: WorkerName,
    pub(crate) state: WorkerState,
    pub(crate) threads: u32,
    pub(crate) leases: usize,
    /// Trials stored that it was the first to compute.
    pub(crate) stored: u64,
    pub(crate) heard: Time,
}

/// What a worker is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WorkerState {
    Working,
    Idle,
    Draining,
    /// Not connected, but it has leases.
    Lost,
    Gone,
    Quarantined,
}

impl Scheduler {
    /// All workers that were ever here.
    pub(crate) fn workers(&self) -> impl Iterator<Item = WorkerView> {
        self.workers.iter().map(|(&name, worker)| WorkerView {
            name,
            state: match worker {
                Worker { quarantined: Some(_), .. } => WorkerState::Quarantined,
                Worker { connection: None, leases, .. } if leases.is_empty() => WorkerState::Gone,
                Worker { connection: None, .. } => WorkerState::Lost,
                Worker { draining: true, .. } => WorkerState::Draining,
                Worker { leases, .. } if leases.is_empty() => WorkerState::Idle,
                _ => WorkerState::Working,
            },
            threads: worker.threads,
            leases: worker.leases.len(),
            stored: worker.stored,
            heard: worker.heard,
        })
    }

    /// Who is at the other end of a connection; that is a sign of life.
    pub(super) fn hear(&mut self, now: Time, connection: ConnectionId) -> Option<WorkerName> {
        let name = *self.connections.get(&connection)?;
        let worker = self.workers.get_mut(&name)?;
        worker.heard = worker.heard.max(now);
        Some(name)
    }

    pub(super) fn on_joined(
        &mut self,
        now: Time,
        connection: ConnectionId,
        (name, site): (WorkerName, Site),
        threads: u32,
        held: &[LeaseId],
        commands: &mut Vec<Command>,
    ) {
        let is_new = !self.workers.contains_key(&name);
        let worker = self.workers.entry(name).or_insert_with(|| Worker {
            site,
            connection: None,
            threads,
            leases: Vec::new(),
            heard: now,
            pace: Pace::default(),
            draining: false,
            quarantined: None,
            vanished: false,
            unspoken: Vec::new(),
            strikes: BTreeSet::new(),
            authored: Vec::new(),
            stored: 0,
        });
        if let Some(reason) = &worker.quarantined {
            commands.push(Command::Drop { connection, why: Dropped::Quarantined(reason.clone()) });
            return;
        }
        if let Some(old) = worker.connection.replace(connection) {
            self.connections.remove(&old);
            self.threads -= if worker.draining { 0 } else { worker.threads };
            commands.push(Command::Drop { connection: old, why: Dropped::Superseded });
        }
        (worker.threads, worker.heard, worker.draining, worker.vanished) = (threads, now, false, false);
        let (kept, unspoken) = worker.leases.iter().partition(|lease| held.contains(lease));
        worker.unspoken = unspoken;
        self.connections.insert(connection, name);
        self.threads += threads;
        self.update_free(name);
        commands.push(Command::Welcome { connection, kept });
        if !is_new {
            self.tally.returns += 1;
        }
        commands.push(Command::Report(if is_new {
            Report::Joined { worker: name }
        } else {
            Report::Returned { worker: name }
        }));
    }

    /// What it had when it came back is here: the leases it did not speak of are over.
    pub(super) fn on_offered(&mut self, now: Time, connection: ConnectionId) {
        let Some(name) = self.hear(now, connection) else { return };
        let worker = self.workers.get_mut(&name).expect("just heard of");
        for lease in std::mem::take(&mut worker.unspoken) {
            self.close(now, name, lease);
        }
    }

    /// Leases that a worker does not have are over: it has finished or never seen them.
    pub(super) fn on_beat(&mut self, now: Time, connection: ConnectionId, held: &[LeaseId], last: LeaseId) {
        let Some(name) = self.hear(now, connection) else { return };
        // What it had was sent before this.
        self.on_offered(now, connection);
        let ttl = self.config.lease_ttl;
        let is_over = |lease: &LeaseId| {
            // A lease can be on its way, but not for ever.
            let is_late = self.leases.get(lease).is_some_and(|of| of.granted + ttl <= now);
            !held.contains(lease) && (*lease <= last || is_late)
        };
        let over: Vec<LeaseId> = self.workers[&name].leases.iter().copied().filter(is_over).collect();
        for lease in over {
            self.close(now, name, lease);
        }
    }

    pub(super) fn on_draining(&mut self, now: Time, connection: ConnectionId, commands: &mut Vec<Command>) {
        let Some(name) = self.hear(now, connection) else { return };
        let worker = self.workers.get_mut(&name).expect("just heard of");
        if !std::mem::replace(&mut worker.draining, true) {
            self.threads -= worker.threads;
            self.free.remove(&name);
            commands.push(Command::Report(Report::Draining { worker: name }));
        }
    }

    pub(super) fn on_disconnected(
        &mut self,
        now: Time,
        connection: ConnectionId,
        commands: &mut Vec<Command>,
    ) {
        let Some(&name) = self.connections.get(&connection) else { return };
        self.hang_up(name);
        self.tally.disconnections += 1;
        let ttl = self.config.lease_ttl;
        let worker = self.workers.get_mut(&name).expect("it was connected");
        worker.vanished = worker.was_well(now, ttl);
        commands.push(Command::Report(if worker.leases.is_empty() {
            Report::Left { worker: name }
        } else {
            Report::Lost { worker: name }
        }));
    }

    /// Forgets the connection of a worker; it keeps its leases.
    fn hang_up(&mut self, name: WorkerName) -> Option<ConnectionId> {
        let worker = self.workers.get_mut(&name)?;
        let connection = worker.connection.take()?;
        self.connections.remove(&connection);
        self.threads -= if worker.draining { 0 } else { worker.threads };
        self.free.remove(&name);
        Some(connection)
    }

    /// Takes its leases from a worker. At each it has died if there is a reason to think so.
    fn dispossess(
        &mut self,
        name: WorkerName,
        died: Option<(u32, &str)>,
        commands: &mut Vec<Command>,
    ) -> usize {
        let Some(worker) = self.workers.get_mut(&name) else { return 0 };
        worker.unspoken.clear();
        let leases = std::mem::take(&mut worker.leases);
        for &id in &leases {
            // What it was at is the first trial that did not arrive.
            let at = self.first_missing(id);
            let is_alone = self.is_of_one(id);
            self.give_back(id);
            if let (Some(at), Some((weight, reason))) = (at, died) {
                self.lose(at, if is_alone { weight } else { 0 }, reason, commands);
            }
        }
        self.update_free(name);
        leases.len()
    }

    /// Whether a worker can have another lease, once more.
    pub(super) fn update_free(&mut self, name: WorkerName) {
        let worker = &self.workers[&name];
        let takes_leases = worker.connection.is_some() && !worker.draining && worker.quarantined.is_none();
        let is_busy = worker.leases.len() >= worker.threads as usize;
        if takes_leases && !is_busy && !self.tries_suspect(worker) {
            self.free.insert(name);
        } else {
            self.free.remove(&name);
        }
    }

    /// Takes their leases from workers that fell silent, or did not come back.
    pub(super) fn expire(&mut self, now: Time, commands: &mut Vec<Command>) {
        let ttl = self.config.lease_ttl;
        let is_silent = |worker: &Worker| !worker.leases.is_empty() && worker.heard + ttl <= now;
        let silent: Vec<WorkerName> =
            self.workers.iter().filter(|(_, worker)| is_silent(worker)).map(|(name, _)| *name).collect();
        for name in silent {
            let connection = self.hang_up(name);
            if let Some(connection) = connection {
                commands.push(Command::Drop { connection, why: Dropped::Silent });
            }
            let has_died = connection.is_none() && self.workers[&name].vanished;
            let died = has_died.then_some((PERHAPS, "its worker vanished and did not come back"));
            let leases = self.dispossess(name, died, commands);
            commands.push(Command::Report(Report::GivenUp { worker: name, leases }));
        }
    }

    pub(super) fn on_died(
        &mut self,
        worker: Option<WorkerName>,
        description: String,
        commands: &mut Vec<Command>,
    ) {
        self.crashes += 1;
        if let Some(name) = worker.filter(|name| self.workers.contains_key(name)) {
            self.hang_up(name);
            self.dispossess(name, Some((SURELY, &format!("its worker {description}"))), commands);
        }
        if self.crashes >= self.config.crash_limit {
            let reason = Reason::Crashes { count: self.crashes, last: description };
            self.end(Command::Abandon(reason), commands);
        } else if !self.ended {
            commands.push(Command::Replace);
        }
    }

    pub(super) fn on_severed(
        &mut self,
        now: Time,
        name: WorkerName,
        description: &str,
        is_death: bool,
        commands: &mut Vec<Command>,
    ) {
        let ttl = self.config.lease_ttl;
        let Some(worker) = self.workers.get(&name) else { return };
        let has_vanished = match worker.connection {
            Some(_) => worker.was_well(now, ttl),
            None => worker.vanished,
        };
        let weight = match (is_death, has_vanished) {
            (true, _) => Some(SURELY),
            (false, true) => Some(PERHAPS),
            (false, false) => None,
        };
        let reason = format!("its worker {description}");
        self.hang_up(name);
        let leases = self.dispossess(name, weight.map(|weight| (weight, &*reason)), commands);
        if leases > 0 {
            commands.push(Command::Report(Report::GivenUp { worker: name, leases }));
        }
    }

    pub(super) fn on_failed(
        &mut self,
        now: Time,
        connection: ConnectionId,
        lease: LeaseId,
        reason: String,
        commands: &mut Vec<Command>,
    ) {
        let Some(name) = self.hear(now, connection) else { return };
        if !self.is_of(lease, name) {
            return;
        }
        let at = self.first_missing(lease);
        let is_alone = self.is_of_one(lease);
        self.strike(name, lease, &format!("it fails at everything: {reason}"), commands);
        self.release(name, lease);
        if let Some(at) = at {
            let weight = if is_alone { SURELY } else { 0 };
            self.lose(at, weight, &format!("a worker said: {reason}"), commands);
        }
    }

    /// Counts that a worker did not do what it was given.
    pub(super) fn strike(
        &mut self,
        name: WorkerName,
        lease: LeaseId,
        reason: &str,
        commands: &mut Vec<Command>,
    ) {
        let Some(lease) = self.leases.get(&lease) else { return };
        let what = match &lease.work {
            Work::Survey { cohort, spans } => (true, Place { cohort: *cohort, trial: spans.start }),
            Work::Trials { cohort, trials, .. } => (false, Place { cohort: *cohort, trial: trials.start }),
        };
        let Some(worker) = self.workers.get_mut(&name) else { return };
        worker.strikes.insert(what);
        if worker.strikes.len() >= STRIKES {
            self.quarantine(name, reason, commands);
        }
    }

    /// A worker has done what it was given.
    pub(super) fn absolve(&mut self, name: WorkerName) {
        if let Some(worker) = self.workers.get_mut(&name) {
            worker.strikes.clear();
        }
    }

    /// Takes nothing from a worker any more.
    pub(super) fn quarantine(&mut self, name: WorkerName, reason: &str, commands: &mut Vec<Command>) {
        let Some(worker) = self.workers.get_mut(&name) else { return };
        if worker.quarantined.is_some() {
            return;
        }
        worker.quarantined = Some(reason.to_owned());
        self.tally.quarantined += 1;
        if let Some(connection) = self.hang_up(name) {
            commands.push(Command::Drop { connection, why: Dropped::Quarantined(reason.to_owned()) });
        }
        self.dispossess(name, None, commands);
        commands.push(Command::Report(Report::Quarantined { worker: name, reason: reason.to_owned() }));
    }

    /// Whether a worker has a trial at which others died. It has nothing else then.
    fn tries_suspect(&self, worker: &Worker) -> bool {
        worker.leases.first().is_some_and(|lease| self.is_of_one(*lease))
    }

    /// Counts that a trial took its worker with it. It is tried alone from now on, when there is nothing
    /// else, and in the end no more. Where a worker dies with more than one trial, the one that it was
    /// at is only a guess.
    pub(super) fn lose(&mut self, place: Place, weight: u32, reason: &str, commands: &mut Vec<Command>) {
        let cohort = &mut self.cohorts[place.cohort as usize];
        let slot = &mut cohort.slots[place.trial as usize];
        if slot.stored == cohort.variants || slot.lease == LeaseId::ASIDE {
            return;
        }
        let suspect = self.suspects.entry(place).or_default();
        suspect.losses += 1;
        suspect.weight += weight;
        reason.clone_into(&mut suspect.reason);
        let is_enough = suspect.weight >= self.config.loss_limit;
        if slot.lease == LeaseId::NONE {
            slot.lease = LeaseId::SUSPECT;
            cohort.pending -= 1;
            self.pending -= 1;
        }
        if is_enough && slot.lease == LeaseId::SUSPECT {
            let reason = format!("tried {} times; the last time, {reason}", suspect.losses);
            self.put_aside(place, reason, commands);
        }
    }

    /// Gives up a trial that nobody has a lease of and that is not pending.
    pub(super) fn put_aside(&mut self, place: Place, reason: String, commands: &mut Vec<Command>) {
        let cohort = &mut self.cohorts[place.cohort as usize];
        let slot = &mut cohort.slots[place.trial as usize];
        slot.lease = LeaseId::ASIDE;
        self.unstored -= u64::from(cohort.variants.without(slot.stored).len());
        self.suspects.remove(&place);
        self.tally.set_aside += 1;
        commands.push(Command::Report(Report::SetAside { place, reason: reason.clone() }));
        self.set_aside.insert(place, reason.clone());
        if self.tally.stored > 0 {
            // The rest goes on.
            self.crashes = 0;
        } else if self.set_aside.len() >= HOPELESS {
            let reason = Reason::Nothing { count: self.set_aside.len(), last: reason };
            self.end(Command::Abandon(reason), commands);
        }
    }
}
