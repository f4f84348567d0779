//! The sites of workers, and how much work they get before they have delivered any.
//!
//! A worker that connects with the access file chooses its name, its host name and its number of threads. It cannot
//! choose its network address. So votes on disputed trials, failures, and leases of workers that have delivered nothing
//! are counted by [`Site`].
//!
//! An *unproven* worker has delivered nothing in this run. It gets one lease, and a site has a bounded number of such
//! leases. The other unproven workers wait in the order in which they connected. Each delivered result adds room for
//! two more leases. A worker that the coordinator started itself is *trusted*: it is proven from the start.

use super::event::{Command, Dropped};
use super::ids::{ConnectionId, Site, WorkerName};
use super::standing::Standing;
use super::state::Scheduler;
use super::worker::Share;

/// Limit on the connected workers of a site that have delivered nothing. Further workers are not admitted.
const MOST_UNPROVEN: usize = 4096;

/// Number of quarantined workers at which the whole site is quarantined, unless it has a steady worker.
const MOST_REFUSED: u32 = 8;

/// Number of failures in a row, of any workers, at which the whole site is quarantined, unless it has a steady worker.
const MOST_FAULTS: u32 = 40;

/// Number of sites above which those without workers are dropped.
const MOST_SITES: usize = 4096;

impl Scheduler {
    /// Recomputes a worker's share after any change, and whether it can have another lease.
    pub(super) fn update(&mut self, name: WorkerName) {
        let Some(worker) = self.workers.get_mut(&name) else { return };
        let is_here = worker.connection.is_some() && worker.quarantined.is_none();
        let takes_leases = is_here && !worker.draining;
        let room = if takes_leases { worker.room() } else { 0 };
        // A worker that tries a suspect gets no other lease.
        let is_alone = |id| self.leases.get(id).is_some_and(|lease| lease.is_alone);
        let is_full =
            worker.leases.len() >= worker.room() as usize || worker.leases.first().is_some_and(is_alone);
        // It stays stalled although it has delivered: no lease that it may have is expected to end.
        let has_stalled = |id| self.leases.get(id).is_some_and(|lease| lease.is_stalled);
        worker.is_stalled |= is_full && worker.leases.iter().all(has_stalled);
        worker.is_stalled &= !worker.leases.is_empty();
        let is_free = takes_leases && !worker.is_stalled && !is_full;
        let is_proven = worker.is_proven();
        let before = worker.share;
        let share = Share {
            here: is_here,
            steady: takes_leases && is_proven && !worker.is_stalled,
            unproven: is_here && !is_proven && !worker.is_stalled && !worker.leases.is_empty(),
            room,
            waiting: before.waiting.filter(|_| is_free && !is_proven),
        };
        if is_free && share.waiting.is_none() {
            self.free.insert(name);
        } else {
            self.free.remove(&name);
        }
        if share == before {
            return;
        }
        worker.share = share;
        self.threads = self.threads - before.room + share.room;
        self.steady = self.steady + usize::from(share.steady) - usize::from(before.steady);
        let site = worker.site;
        let standing = self.sites.entry(site).or_default();
        let count = |of: &mut usize, now: bool, then: bool| *of = *of + usize::from(now) - usize::from(then);
        count(&mut standing.here, share.here, before.here);
        count(&mut standing.steady, share.steady, before.steady);
        count(&mut standing.unproven, share.unproven, before.unproven);
        if let Some(ticket) = before.waiting.filter(|_| share.waiting.is_none()) {
            standing.waiting.remove(&ticket);
        }
        self.call_up(site);
    }

    /// Frees the next waiting worker of a site for its first lease, if the site has room.
    fn call_up(&mut self, site: Site) {
        let Some(standing) = self.sites.get_mut(&site) else { return };
        if !standing.has_room() {
            return;
        }
        if let Some((_, name)) = standing.waiting.pop_first() {
            self.workers.get_mut(&name).expect("it waits").share.waiting = None;
            self.free.insert(name);
        }
    }

    /// Whether a free worker is proven, or its site has room for another lease of an unproven worker.
    pub(super) fn may_have_lease(&self, name: WorkerName) -> bool {
        let worker = &self.workers[&name];
        worker.is_proven() || self.sites.get(&worker.site).is_none_or(Standing::has_room)
    }

    /// Queues a free worker if it may not have a lease now. Returns whether it has to wait.
    pub(super) fn has_to_wait(&mut self, name: WorkerName) -> bool {
        if self.may_have_lease(name) {
            return false;
        }
        let site = self.workers[&name].site;
        self.tickets += 1;
        self.free.remove(&name);
        self.sites.entry(site).or_default().waiting.insert(self.tickets, name);
        self.workers.get_mut(&name).expect("just seen").share.waiting = Some(self.tickets);
        true
    }

    /// Whether any worker waits for its first lease.
    pub(super) fn is_anybody_waiting(&self) -> bool {
        self.sites.values().any(|standing| !standing.waiting.is_empty())
    }

    /// Counts a worker's failure against its site.
    pub(super) fn blame(&mut self, site: Site) {
        let standing = self.sites.entry(site).or_default();
        standing.faults += 1;
        if standing.faults >= MOST_FAULTS && standing.steady == 0 {
            let reason = format!("workers at this address failed {} leases in a row", standing.faults);
            self.shut_out(site, &reason, false);
        }
    }

    /// Resets the failures of a site, because one of its workers has done its work.
    pub(super) fn absolve_site(&mut self, site: Site) {
        if let Some(standing) = self.sites.get_mut(&site) {
            standing.faults = 0;
        }
    }

    /// Counts a quarantined worker against its site. The whole site may be quarantined, too.
    pub(super) fn refuse(&mut self, site: Site) {
        let standing = self.sites.entry(site).or_default();
        standing.refused += 1;
        if standing.refused >= MOST_REFUSED && standing.steady == 0 {
            let reason = format!("{} workers at this address were quarantined", standing.refused);
            self.shut_out(site, &reason, true);
        }
    }

    /// Quarantines a site. If its workers computed wrongly, all trials that only they have computed are computed again.
    fn shut_out(&mut self, site: Site, reason: &str, is_wrong: bool) {
        let standing = self.sites.entry(site).or_default();
        if site.is_trusted() || standing.shut_out.is_some() {
            return;
        }
        standing.shut_out = Some(reason.to_owned());
        let of_site = self.workers.iter().filter(|(_, worker)| worker.site == site);
        let names: Vec<WorkerName> = of_site.map(|(name, _)| *name).collect();
        let mut trials = Vec::new();
        for name in names {
            self.quarantine(name, reason);
            if is_wrong {
                trials.extend(self.distrusted(name));
            }
        }
        self.discard(trials);
    }

    /// Notes the machine of a new worker. Returns `false` and drops the connection if the site is quarantined or
    /// crowded.
    pub(super) fn admit(&mut self, site: Site, connection: ConnectionId) -> bool {
        if let Some(reason) = self.sites.get(&site).and_then(|standing| standing.shut_out.clone()) {
            self.commands.push(Command::Drop { connection, why: Dropped::Quarantined(reason) });
            return false;
        }
        let is_crowd = |standing: &Standing| standing.here - standing.steady >= MOST_UNPROVEN;
        if !site.is_trusted() && self.sites.get(&site).is_some_and(is_crowd) {
            let reason = format!(
                "{MOST_UNPROVEN} workers at this address, the limit, are connected and have not delivered a \
                    result; start the worker again later"
            );
            self.commands.push(Command::Drop { connection, why: Dropped::Quarantined(reason) });
            return false;
        }
        if self.machines.len() < MOST_SITES
            && self.machines.insert(site.machine())
            && self.machines.len() == 2
        {
            self.reconsider();
        }
        if self.sites.len() >= MOST_SITES {
            // Quarantined sites are kept as long as there is room for them.
            self.sites.retain(|_, standing| standing.here > 0 || standing.shut_out.is_some());
            if self.sites.len() >= MOST_SITES {
                self.sites.retain(|_, standing| standing.here > 0);
            }
        }
        true
    }

    /// Returns the site of a worker, if the scheduler still has its record.
    pub(super) fn site(&self, name: WorkerName) -> Option<Site> {
        self.workers.get(&name).map(|worker| worker.site)
    }

    /// Whether workers of more than one machine have ever connected.
    pub(super) fn has_several_machines(&self) -> bool {
        self.machines.len() > 1
    }
}
