//! Who computes what, and when a sweep is done: a pure state machine.
//!
//! Everything that happens reaches [`Scheduler::handle`] as an [`Event`] with the time at which it
//! happened, and everything to be done comes back as [`Command`]s. There is no clock, no IO and no
//! async in here, and all collections are ordered: the same events give the same commands. The
//! driver around it decides nothing.
//!
//! A trial's slot is pending, leased or done, and done means stored for good. Work is leased to a
//! worker in shards ([`work`]); the lease ends when the worker says it has sent everything or gives
//! it back, when its process dies, or when it falls silent for too long, with a connection or without
//! ([`members`]). Whatever of it has not arrived by then is pending again. Results are taken whoever
//! sends them and whenever they come. Towards the end, idle workers compute again what slow ones have
//! ([`copies`]), and what a worker holds without progress is given to others as well ([`stalls`]).
//! How many leases a worker gets depends on what it has delivered ([`sites`]).
//!
//! A trial at which workers die becomes a suspect, is tried alone once there is nothing else, and
//! set aside in the end ([`suspects`]). One with more spikes than can be stored is given up by itself ([`large`]).
//! Workers whose results differ from those of others are found out, and what
//! they alone have computed is computed again ([`trust`]).
//!
//! A trial can only start where it is known where its items begin in the stream that it reads ([`granule_engine::stream`]). Streams
//! are therefore surveyed, by workers too, ahead of the trials that need it ([`survey`]).

mod cohort;
mod copies;
mod event;
mod ids;
mod large;
mod lease;
mod members;
#[cfg(test)]
mod model;
mod pace;
mod shape;
mod sites;
mod stalls;
#[cfg(test)]
mod strangers;
mod survey;
mod suspects;
#[cfg(test)]
mod tests;
mod trust;
mod variants;
mod work;
mod worker;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use cohort::{Cohort, Slot};
pub use event::{Command, Dropped, Event, Reason, Report, Work};
pub use ids::{ConnectionId, LeaseId, Place, Site, Time, TrialId, WorkerName};
use large::Large;
pub use large::TOO_LARGE;
use lease::Lease;
pub use pace::effort;
pub use shape::{CohortShape, Config, LEASE_TARGET, Shape};
use sites::{Machines, Sites};
use survey::Stream;
use suspects::Suspect;
use trust::Trust;
pub use variants::Variants;
use worker::Worker;
pub use worker::{WorkerState, WorkerView};

/// What has been done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Trials stored by this run.
    pub stored: u64,
    pub leases: u64,
    pub copies: u64,
    /// Leases that were taken from workers, or that these gave back.
    pub given_back: u64,
    pub disconnections: u64,
    pub returns: u64,
    /// Trials that were computed once more, with the same result.
    pub audited: u64,
    pub unaudited: u64,
    pub disagreements: u64,
    /// Disputes that were settled without a third machine.
    pub weakly_settled: u64,
    pub discarded: u64,
    pub quarantined: u64,
    pub set_aside: u64,
}

/// The scheduler.
///
/// What an event costs does not grow with the number of workers, trials and cohorts, but for the
/// depth of ordered collections. Only when time passes all workers are looked at.
#[derive(Debug)]
pub struct Scheduler {
    config: Config,
    cohorts: Vec<Cohort>,
    streams: Vec<Stream>,
    /// Cohorts that read each stream.
    readers: Vec<Vec<usize>>,
    /// All that were ever here.
    workers: BTreeMap<WorkerName, Worker>,
    connections: BTreeMap<ConnectionId, WorkerName>,
    /// Those of them that have gone, the oldest first.
    gone: VecDeque<WorkerName>,
    sites: Sites,
    machines: Machines,
    /// Number of the last place in a queue of workers.
    tickets: u64,
    /// Connected workers that can have another lease now.
    free: BTreeSet<WorkerName>,
    /// Leases that all connected workers may have.
    threads: u32,
    /// Connected workers that have delivered, and go on delivering.
    steady: usize,
    leases: BTreeMap<LeaseId, Lease>,
    next_lease: LeaseId,
    /// The longest time between two results of a lease.
    longest: Duration,
    /// Whether some leases had stalled at the last look.
    are_any_stalled: bool,
    /// Cohorts that may have something to hand out. The others have nothing pending, or wait for
    /// their stream to be counted by those who do that already.
    open: BTreeSet<usize>,
    pending: u64,
    /// Trials, in all variants, that are not stored, but for those set aside.
    unstored: u64,
    crashes: u32,
    suspects: BTreeMap<Place, Suspect>,
    set_aside: BTreeMap<Place, String>,
    large: Large,
    trust: Trust,
    tally: Tally,
    /// When to look again at what idle workers could do.
    next_look: Time,
    draining: bool,
    ended: bool,
    /// What there is to do since the last event, in order; empty between events.
    commands: Vec<Command>,
}

/// How often idle workers are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

impl Scheduler {
    /// A scheduler for this plan, of which `is_stored` says what is there already.
    pub fn new(config: Config, shape: Shape, is_stored: impl Fn(TrialId) -> bool) -> Scheduler {
        let mut unstored = 0;
        let mut cohorts = Vec::with_capacity(shape.cohorts.len());
        let mut streams: Vec<Stream> = shape.streams.into_iter().map(Stream::new).collect();
        let mut readers = vec![Vec::new(); streams.len()];
        for (at, of) in shape.cohorts.into_iter().enumerate() {
            let variants = Variants::first(of.variants);
            let slot = |trial| {
                let mut stored = Variants::default();
                for variant in variants.iter() {
                    if is_stored(TrialId { cohort: at as u32, variant, trial }) {
                        stored.insert(variant);
                    }
                }
                Slot::new(stored)
            };
            let slots = (0..shape.trials).map(slot).collect();
            let mut cohort = Cohort { shape: of, variants, slots, first_pending: 0, pending: 0 };
            for slot in &cohort.slots {
                unstored += u64::from(variants.without(slot.stored).len());
                cohort.pending += u32::from(cohort.is_pending(slot));
            }
            if let Some(last) = cohort.slots.iter().rposition(|slot| cohort.is_pending(slot)) {
                streams[of.stream].want(last as u64 * of.items_per_trial);
            }
            readers[of.stream].push(at);
            cohorts.push(cohort);
        }
        Scheduler {
            config,
            pending: cohorts.iter().map(|cohort| u64::from(cohort.pending)).sum(),
            open: (0..cohorts.len()).collect(),
            cohorts,
            streams,
            readers,
            workers: BTreeMap::new(),
            connections: BTreeMap::new(),
            gone: VecDeque::new(),
            sites: Sites::new(),
            machines: Machines::new(),
            tickets: 0,
            free: BTreeSet::new(),
            threads: 0,
            steady: 0,
            leases: BTreeMap::new(),
            next_lease: LeaseId::FIRST,
            longest: Duration::ZERO,
            are_any_stalled: false,
            unstored,
            crashes: 0,
            suspects: BTreeMap::new(),
            set_aside: BTreeMap::new(),
            large: Large::default(),
            trust: Trust::default(),
            tally: Tally::default(),
            next_look: Time::ZERO,
            draining: false,
            ended: false,
            commands: Vec::new(),
        }
    }

    /// Takes in what happened and says what to do, in order.
    pub fn handle(&mut self, now: Time, event: Event) -> Vec<Command> {
        if self.ended {
            return Vec::new();
        }
        // What says nothing new leaves everything as it was.
        let says_nothing = matches!(event, Event::Heard { .. } | Event::Part { .. });
        match event {
            Event::Joined { connection, worker, site, threads, held } => {
                self.on_joined(now, connection, (worker, site), threads.max(1), &held);
            }
            Event::Offered { connection } => self.on_offered(now, connection),
            Event::Heard { connection } => drop(self.hear(now, connection)),
            Event::Beat { connection, held, last } => self.on_beat(now, connection, &held, last),
            Event::Disconnected { connection } => self.on_disconnected(now, connection),
            Event::Draining { connection } => self.on_draining(now, connection),
            Event::Received { connection, lease: Some(lease), trial } => {
                self.on_received(now, connection, lease, trial)
            }
            Event::Part { connection, lease: Some(lease) } => self.on_part(now, connection, lease),
            Event::TooLarge { connection, lease, trial } => {
                self.on_too_large(now, connection, lease, trial);
            }
            Event::Stored { worker, trial } => self.on_stored(worker, trial),
            Event::Disagreed { worker, trial, stored, received } => {
                self.on_disagreed(worker, trial, stored, received);
            }
            Event::Discarded { trials } => self.on_discarded(&trials),
            Event::Surveyed { connection, lease: Some(lease), findings } => {
                self.on_surveyed(now, connection, lease, findings);
            }
            Event::Finished { connection, lease: Some(lease) } => self.on_finished(now, connection, lease),
            Event::HandedBack { connection, lease: Some(lease) } => {
                self.hear(now, connection);
                self.on_handed_back(connection, lease);
            }
            Event::Failed { connection, lease: Some(lease), reason } => {
                self.on_failed(now, connection, lease, reason);
            }
            Event::Invalid { connection, what } => {
                if let Some(&worker) = self.connections.get(&connection) {
                    self.quarantine(worker, &format!("it sent {what}"));
                }
            }
            Event::ProcessDied { worker, description } => self.on_died(worker, description),
            Event::Severed { worker, description, is_death } => {
                self.on_severed(now, worker, &description, is_death);
            }
            Event::Received { connection, lease: None, .. }
            | Event::Part { connection, lease: None }
            | Event::Surveyed { connection, lease: None, .. }
            | Event::Finished { connection, lease: None }
            | Event::HandedBack { connection, lease: None }
            | Event::Failed { connection, lease: None, .. } => drop(self.hear(now, connection)),
            Event::WakeUp => self.on_wake_up(now),
            Event::Stalled => {
                self.workers.values_mut().for_each(|worker| worker.heard = now);
                self.leases.values_mut().for_each(|lease| (lease.progress, lease.delivered) = (now, now));
            }
            Event::Drain => self.on_drain(),
        }
        if !self.ended && self.unstored == 0 && self.trust.is_settled() {
            self.end(Command::Complete);
        }
        if self.draining && !self.ended && !self.leases.values().any(|lease| lease.worker.is_some()) {
            self.end(Command::Drained);
        }
        if !self.ended && !self.draining && !says_nothing {
            self.assign(now);
        }
        self.forget();
        std::mem::take(&mut self.commands)
    }

    /// When [`Event::WakeUp`] is due, if nothing happens before.
    pub fn wake_up(&self) -> Option<Time> {
        let busy = self.workers.values().filter(|worker| !worker.leases.is_empty());
        let expiry = busy.map(|worker| worker.heard + self.config.lease_ttl).min();
        let is_idle = !(self.free.is_empty() || self.leases.is_empty()) || self.is_anybody_waiting();
        let looks = !self.draining && (is_idle || self.trust.waits());
        let look = looks.then_some(self.next_look);
        expiry.into_iter().chain(look).min()
    }

    /// Parts of streams that are counted, and those that have to be before all trials can begin.
    pub fn parts(&self) -> (u64, u64) {
        self.streams
            .iter()
            .map(Stream::progress)
            .fold((0, 0), |(a, b), (counted, total)| (a + counted, b + total))
    }

    /// What has been done so far.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Trials that were set aside, and why.
    pub fn set_aside(&self) -> impl Iterator<Item = (Place, &str)> {
        self.set_aside.iter().map(|(place, reason)| (*place, reason.as_str()))
    }

    /// Variants of a trial that are not stored.
    pub fn unstored_of(&self, place: Place) -> Variants {
        self.cohorts[place.cohort as usize].unstored_of(place.trial)
    }

    fn on_wake_up(&mut self, now: Time) {
        self.expire(now);
        if self.next_look <= now && !self.ended && !self.draining {
            self.next_look = now + LOOK_EVERY;
            self.note_stalls(now);
            self.assign(now);
            self.copy(now);
            self.look_after_checks(now);
        }
    }

    fn on_drain(&mut self) {
        self.draining = true;
        for lease in self.leases.keys().copied().collect::<Vec<_>>() {
            self.revoke(lease);
        }
    }

    fn slot(&mut self, place: Place) -> &mut Slot {
        &mut self.cohorts[place.cohort as usize].slots[place.trial as usize]
    }

    fn end(&mut self, how: Command) {
        if !self.ended {
            self.ended = true;
            self.commands.push(how);
        }
    }
}
