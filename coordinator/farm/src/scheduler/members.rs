//! Workers: how they connect, leave, return, fall silent and are quarantined.

use std::collections::BTreeSet;

use super::event::{Command, Dropped, Reason, Report, Work};
use super::ids::{ConnectionId, LeaseId, Place, Site, Time, WorkerName};
use super::losses::Loss;
use super::state::Scheduler;
use super::worker::{Worker, WorkerState, WorkerView};

/// Number of failed leases in a row, of different work, at which a worker is quarantined. A lease fails if its worker
/// reports so, finishes it without its results, or hands it back without a reason.
const STRIKES: usize = 5;

/// The same limit for leases of any work.
const FAULTS: u32 = 20;

/// Limit on the records of workers that have left and have no stored results.
const MOST_GONE: usize = 1024;

impl Scheduler {
    /// Returns all workers that have ever connected, except those whose records were dropped.
    pub fn workers(&self) -> impl Iterator<Item = WorkerView> {
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

    /// Returns the worker of a connection, and notes the sign of life.
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
    ) {
        let is_new = !self.workers.contains_key(&name);
        if !self.admit(site, connection) {
            return;
        }
        let worker = self.workers.entry(name).or_insert_with(|| Worker::new(site, threads, now));
        if let Some(reason) = &worker.quarantined {
            self.commands.push(Command::Drop { connection, why: Dropped::Quarantined(reason.clone()) });
            return;
        }
        if let Some(old) = worker.connection.replace(connection) {
            self.connections.remove(&old);
            self.commands.push(Command::Drop { connection: old, why: Dropped::Superseded });
        }
        (worker.threads, worker.heard, worker.draining, worker.vanished) = (threads, now, false, false);
        let held: BTreeSet<LeaseId> = held.iter().copied().collect();
        let (kept, unspoken) = worker.leases.iter().partition(|lease| held.contains(lease));
        worker.unspoken = unspoken;
        self.connections.insert(connection, name);
        self.update(name);
        self.commands.push(Command::Welcome { connection, kept });
        if !is_new {
            self.tally.returns += 1;
        }
        self.commands.push(Command::Report(if is_new {
            Report::Joined { worker: name }
        } else {
            Report::Returned { worker: name }
        }));
    }

    /// The worker has sent all results that it held when it connected. So the leases that it did not list then have
    /// ended.
    pub(super) fn on_offered(&mut self, now: Time, connection: ConnectionId) {
        let Some(name) = self.hear(now, connection) else { return };
        let worker = self.workers.get_mut(&name).expect("just heard of");
        for lease in std::mem::take(&mut worker.unspoken) {
            self.close(now, name, lease);
        }
    }

    /// Ends leases that a heartbeat does not list: the worker has finished them, or has never received them.
    pub(super) fn on_beat(
        &mut self,
        now: Time,
        connection: ConnectionId,
        held: &[LeaseId],
        last: Option<LeaseId>,
    ) {
        let Some(name) = self.hear(now, connection) else { return };
        // A worker sends its earlier results before its first heartbeat.
        self.on_offered(now, connection);
        let ttl = self.config.lease_ttl;
        let held: BTreeSet<LeaseId> = held.iter().copied().collect();
        let is_over = |lease: &LeaseId| {
            // A lease can be on its way, but only for a lease time.
            let is_late = self.leases.get(lease).is_some_and(|of| of.granted + ttl <= now);
            !held.contains(lease) && (Some(*lease) <= last || is_late)
        };
        let over: Vec<LeaseId> = self.workers[&name].leases.iter().copied().filter(is_over).collect();
        for lease in over {
            self.close(now, name, lease);
        }
    }

    pub(super) fn on_draining(&mut self, now: Time, connection: ConnectionId) {
        let Some(name) = self.hear(now, connection) else { return };
        let worker = self.workers.get_mut(&name).expect("just heard of");
        if !std::mem::replace(&mut worker.draining, true) {
            self.update(name);
            self.commands.push(Command::Report(Report::Draining { worker: name }));
        }
    }

    pub(super) fn on_disconnected(&mut self, now: Time, connection: ConnectionId) {
        let Some(&name) = self.connections.get(&connection) else { return };
        self.hang_up(name);
        self.tally.disconnections += 1;
        let ttl = self.config.lease_ttl;
        let worker = self.workers.get_mut(&name).expect("it was connected");
        worker.vanished = worker.was_well(now, ttl);
        self.commands.push(Command::Report(if worker.leases.is_empty() {
            Report::Left { worker: name }
        } else {
            Report::Lost { worker: name }
        }));
    }

    /// Removes the connection of a worker. The worker keeps its leases.
    fn hang_up(&mut self, name: WorkerName) -> Option<ConnectionId> {
        let worker = self.workers.get_mut(&name)?;
        let connection = worker.connection.take()?;
        self.connections.remove(&connection);
        if !std::mem::replace(&mut worker.is_queued, true) {
            self.gone.push_back(name);
        }
        self.update(name);
        Some(connection)
    }

    /// Takes all leases from a worker. With `died`, the worker counts as lost at the current trial of each. Returns the
    /// number of leases.
    fn dispossess(&mut self, name: WorkerName, died: Option<Loss<'_>>) -> usize {
        let Some(worker) = self.workers.get_mut(&name) else { return 0 };
        worker.unspoken.clear();
        let leases = std::mem::take(&mut worker.leases);
        for &id in &leases {
            // The worker's current trial is the first one whose result has not arrived.
            let at = self.first_missing(id);
            let is_alone = self.is_of_one(id);
            self.give_back(id);
            if let (Some(at), Some(loss)) = (at, died) {
                self.lose(name, at, loss.of(is_alone));
            }
        }
        self.update(name);
        leases.len()
    }

    /// Drops records of workers that have left, the earliest first, if there are too many. Records with leases or
    /// stored results are kept, as these results may turn out to be wrong.
    pub(super) fn forget(&mut self) {
        for _ in MOST_GONE..self.gone.len() {
            let Some(name) = self.gone.pop_front() else { return };
            let Some(worker) = self.workers.get_mut(&name) else { continue };
            worker.is_queued = false;
            if worker.connection.is_some() {
                continue;
            }
            if worker.leases.is_empty() && worker.authored.is_empty() {
                self.workers.remove(&name);
                self.commands.push(Command::Forget { worker: name });
            } else {
                worker.is_queued = true;
                self.gone.push_back(name);
            }
        }
    }

    /// Takes the leases from workers that were silent, connected or not, for a lease time.
    pub(super) fn expire(&mut self, now: Time) {
        let ttl = self.config.lease_ttl;
        let is_silent = |worker: &Worker| !worker.leases.is_empty() && worker.heard + ttl <= now;
        let silent: Vec<WorkerName> =
            self.workers.iter().filter(|(_, worker)| is_silent(worker)).map(|(name, _)| *name).collect();
        for name in silent {
            let connection = self.hang_up(name);
            if let Some(connection) = connection {
                self.commands.push(Command::Drop { connection, why: Dropped::Silent });
            }
            let has_died = connection.is_none() && self.workers[&name].vanished;
            let died = has_died
                .then_some(Loss::perhaps("the worker that computed it disconnected and did not reconnect"));
            let leases = self.dispossess(name, died);
            self.commands.push(Command::Report(Report::GivenUp { worker: name, leases }));
        }
    }

    pub(super) fn on_died(&mut self, worker: Option<WorkerName>, description: String) {
        self.crashes += 1;
        if let Some(name) = worker.filter(|name| self.workers.contains_key(name)) {
            self.hang_up(name);
            self.dispossess(name, Some(Loss::surely(&format!("the worker that computed it {description}"))));
        }
        if self.crashes >= self.config.crash_limit {
            let reason = Reason::Crashes { count: self.crashes, last: description };
            self.end(Command::Abandon(reason));
        } else if !self.ended {
            self.commands.push(Command::Replace);
        }
    }

    pub(super) fn on_severed(&mut self, now: Time, name: WorkerName, description: &str, is_death: bool) {
        let ttl = self.config.lease_ttl;
        let Some(worker) = self.workers.get(&name) else { return };
        let has_vanished = match worker.connection {
            Some(_) => worker.was_well(now, ttl),
            None => worker.vanished,
        };
        let reason = format!("the worker that computed it {description}");
        let loss = match (is_death, has_vanished) {
            (true, _) => Some(Loss::surely(&reason)),
            (false, true) => Some(Loss::perhaps(&reason)),
            (false, false) => None,
        };
        self.hang_up(name);
        let leases = self.dispossess(name, loss);
        if leases > 0 {
            self.commands.push(Command::Report(Report::GivenUp { worker: name, leases }));
        }
    }

    pub(super) fn on_failed(&mut self, now: Time, connection: ConnectionId, lease: LeaseId, reason: String) {
        let Some(name) = self.hear(now, connection) else { return };
        if !self.is_of(lease, name) {
            return;
        }
        let at = self.first_missing(lease);
        let is_alone = self.is_of_one(lease);
        self.strike(name, lease, &format!("all its leases failed: {reason}"));
        self.release(name, lease);
        if let Some(at) = at {
            let reason = format!("a worker reported: {reason}");
            self.lose(name, at, Loss::claimed(&reason).of(is_alone));
        }
    }

    /// Counts a failed lease against its worker and site.
    pub(super) fn strike(&mut self, name: WorkerName, lease: LeaseId, reason: &str) {
        let Some(lease) = self.leases.get(&lease) else { return };
        let what = match &lease.work {
            Work::Survey { cohort, parts } => (true, Place { cohort: *cohort, trial: parts.start }),
            Work::Trials { cohort, trials, .. } => (false, Place { cohort: *cohort, trial: trials.start }),
        };
        let Some(worker) = self.workers.get_mut(&name) else { return };
        worker.strikes.insert(what);
        worker.faults += 1;
        let (site, is_enough) = (worker.site, worker.strikes.len() >= STRIKES || worker.faults >= FAULTS);
        if is_enough {
            self.quarantine(name, reason);
        }
        self.blame(site);
    }

    /// Resets the failures of a worker that has done its work.
    pub(super) fn absolve(&mut self, name: WorkerName) {
        if let Some(worker) = self.workers.get_mut(&name) {
            worker.strikes.clear();
            worker.faults = 0;
            let site = worker.site;
            self.absolve_site(site);
        }
    }

    /// Counts a delivered result or survey.
    pub(super) fn deliver(&mut self, name: WorkerName) {
        let Some(worker) = self.workers.get_mut(&name) else { return };
        let room = worker.room();
        worker.delivered = worker.delivered.saturating_add(1);
        if std::mem::take(&mut worker.is_stalled) || room < worker.threads || worker.delivered == 1 {
            self.update(name);
        }
    }

    /// Quarantines a worker: takes its connection and leases, and accepts nothing more from it.
    pub(super) fn quarantine(&mut self, name: WorkerName, reason: &str) {
        let Some(worker) = self.workers.get_mut(&name) else { return };
        if worker.quarantined.is_some() {
            return;
        }
        worker.quarantined = Some(reason.to_owned());
        let site = worker.site;
        self.tally.quarantined += 1;
        if let Some(connection) = self.hang_up(name) {
            self.commands.push(Command::Drop { connection, why: Dropped::Quarantined(reason.to_owned()) });
        }
        self.dispossess(name, None);
        self.commands.push(Command::Report(Report::Quarantined { worker: name, reason: reason.to_owned() }));
        self.refuse(site);
    }
}
