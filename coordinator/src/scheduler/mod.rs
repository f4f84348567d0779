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
//! A trial can only start where the place of its noise is known. The seed's noise stream is
//! therefore surveyed, by workers too, ahead of the trials that need it.

mod copies;
mod large;
mod members;
#[cfg(test)]
mod model;
mod noise;
mod pace;
mod sites;
mod stalls;
#[cfg(test)]
mod strangers;
mod suspects;
#[cfg(test)]
mod tests;
mod trust;
mod variants;
mod work;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::ops::Range;
use std::time::Duration;

use granule_sim::noise::{NoiseIndex, NoiseStart};
use granule_sim::spikes::{Digest, MOST_SPIKES};

use large::Large;
pub(crate) use large::TOO_LARGE;
use members::Worker;
pub(crate) use members::{WorkerState, WorkerView};
use noise::Stream;
pub(crate) use sites::Site;
use sites::{Machines, Sites};
use suspects::Suspect;
use trust::Trust;
pub(crate) use variants::Variants;
use work::Lease;

/// Time since the driver started.
pub(crate) type Time = Duration;

/// A worker process, whatever connection it uses: what it calls itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WorkerName(pub(crate) [u8; 16]);

impl fmt::Debug for WorkerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WorkerName({:032x})", u128::from_be_bytes(self.0))
    }
}

/// A connection of a worker; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ConnectionId(pub(crate) u64);

/// A lease; never used twice. As many as there are would take decades to grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LeaseId(pub(crate) u32);

impl LeaseId {
    /// None.
    pub(crate) const NONE: LeaseId = LeaseId(0);
    /// In a slot: none, and nobody is to get it along with others.
    const SUSPECT: LeaseId = LeaseId(u32::MAX);
    /// In a slot: none, and nobody is to get it.
    const ASIDE: LeaseId = LeaseId(u32::MAX - 1);
}

/// A trial of the plan: of this cohort's variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TrialId {
    pub(crate) cohort: u32,
    pub(crate) variant: u32,
    pub(crate) trial: u32,
}

impl TrialId {
    fn place(self) -> Place {
        Place { cohort: self.cohort, trial: self.trial }
    }
}

/// A trial of a cohort in all its variants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    pub(crate) cohort: u32,
    pub(crate) trial: u32,
}

/// What the scheduler needs to know of a plan.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) trials: u32,
    pub(crate) cohorts: Vec<CohortShape>,
    /// What is known of each noise stream.
    pub(crate) streams: Vec<NoiseIndex>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct CohortShape {
    /// At most [`Variants::MOST`].
    pub(crate) variants: u32,
    pub(crate) normals_per_trial: u64,
    /// Index of its noise stream.
    pub(crate) stream: usize,
}

/// How the scheduler goes about it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Config {
    /// A worker not heard of for this long has lost its leases.
    pub(crate) lease_ttl: Duration,
    /// How long a lease should keep a worker busy.
    pub(crate) lease_target: Duration,
    /// Trials per shard, if not to be chosen by the scheduler.
    pub(crate) shard_trials: Option<u32>,
    /// Worker processes of ours that may die without a trial stored in between.
    pub(crate) crash_limit: u32,
    /// How much has to speak for it that a trial kills its workers before it is set aside: so many
    /// workers that vanished with it, or a quarter of that many deaths of which there is no doubt.
    pub(crate) loss_limit: u32,
    /// Percent of trials that are computed once more, by another worker.
    pub(crate) audit_percent: f64,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A worker has connected, and is still at these leases of ours.
    Joined { connection: ConnectionId, worker: WorkerName, site: Site, threads: u32, held: Vec<LeaseId> },
    /// It has sent everything it had when it connected.
    Offered { connection: ConnectionId },
    /// A sign of life.
    Heard { connection: ConnectionId },
    /// A sign of life with the leases that a worker is at, and the last one that has reached it.
    Beat { connection: ConnectionId, held: Vec<LeaseId>, last: LeaseId },
    /// A connection has ended.
    Disconnected { connection: ConnectionId },
    /// A worker wants no more leases.
    Draining { connection: ConnectionId },
    /// A result came in; it is on its way to the store.
    Received { connection: ConnectionId, lease: LeaseId, trial: TrialId },
    /// A part of a result of this lease came in, or waits until there is room for it.
    Part { connection: ConnectionId, lease: LeaseId },
    /// A trial, of which no result is stored, has too many spikes.
    TooLarge { connection: ConnectionId, lease: LeaseId, trial: TrialId },
    /// A result is stored for good, now or before.
    Stored { worker: WorkerName, trial: TrialId },
    /// A result is not the one that is stored.
    Disagreed { worker: WorkerName, trial: TrialId, stored: Digest, received: Digest },
    /// Trials have been taken out of the store.
    Discarded { trials: Vec<TrialId> },
    /// Spans of a noise stream have been counted.
    Surveyed { connection: ConnectionId, lease: LeaseId, accepted: Vec<u32> },
    /// A worker has sent everything a lease asked for.
    Finished { connection: ConnectionId, lease: LeaseId },
    /// A worker does not go on with a lease.
    HandedBack { connection: ConnectionId, lease: LeaseId },
    /// A worker cannot do what a lease asks for.
    Failed { connection: ConnectionId, lease: LeaseId, reason: String },
    /// A worker sent what no worker of this sweep can have computed.
    Invalid { connection: ConnectionId, what: String },
    /// A worker process of ours ended without being told to.
    ProcessDied { worker: Option<WorkerName>, description: String },
    /// The only way to a worker has ended: it cannot come back. It may have died, and has if that is known.
    Severed { worker: WorkerName, description: String, is_death: bool },
    /// Time has passed.
    WakeUp,
    /// We ourselves were not running for a while: nobody's silence in that time means anything.
    Stalled,
    /// We are to end: nothing more is handed out.
    Drain,
}

/// Something to be done.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Command {
    /// Let a worker in; it goes on with these leases and no others.
    Welcome { connection: ConnectionId, kept: Vec<LeaseId> },
    /// Send a lease.
    Grant { connection: ConnectionId, lease: LeaseId, work: Work },
    /// Tell a worker that nothing more of a lease is needed.
    Revoke { connection: ConnectionId, lease: LeaseId },
    /// Tell a worker that a result is stored.
    Acknowledge { connection: ConnectionId, trial: TrialId },
    /// End a connection.
    Drop { connection: ConnectionId, why: Dropped },
    /// Keep the counts of these spans, the first of them being this.
    KeepSpans { stream: usize, first: u32, accepted: Vec<u32> },
    /// Take these trials out of the store, and say when that is done.
    Discard { trials: Vec<TrialId> },
    /// A worker that has gone is not spoken of any more.
    Forget { worker: WorkerName },
    /// Start a worker process of ours, if there are to be any, in place of one that died.
    Replace,
    /// Start a worker process of ours: two others do not agree.
    Reinforce,
    /// Tell people.
    Report(Report),
    /// All trials are stored, but those that were set aside.
    Complete,
    /// Nobody has a lease any more, as was asked for.
    Drained,
    /// The sweep cannot be finished.
    Abandon(Reason),
}

/// Why a connection is ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// The worker was not heard of.
    Silent,
    /// It has another.
    Superseded,
    /// Nothing is taken from the worker any more.
    Quarantined(String),
}

/// What people should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// A worker is here for the first time.
    Joined { worker: WorkerName },
    /// A worker is back.
    Returned { worker: WorkerName },
    /// The connection to a worker with leases has ended.
    Lost { worker: WorkerName },
    /// A worker without leases has gone.
    Left { worker: WorkerName },
    /// A worker wants no more leases.
    Draining { worker: WorkerName },
    /// What a worker had is for others.
    GivenUp { worker: WorkerName, leases: usize },
    /// Nothing is taken from a worker any more.
    Quarantined { worker: WorkerName, reason: String },
    /// An idle worker computes what a slower one has, too.
    Copied { place: Place, trials: u32, slow: WorkerName, idle: WorkerName },
    /// A trial is not tried any more.
    SetAside { place: Place, reason: String },
    /// A trial is not tried any more, as it has too many spikes.
    TooLarge { trial: TrialId },
    /// Two workers have computed a trial with different spikes. The first is none of this run if the
    /// trial was stored by an earlier one.
    Disagreed { trial: TrialId, stored_by: Option<WorkerName>, worker: WorkerName },
    /// It is decided what a trial's spikes are; so many machines had computed it.
    Settled { trial: TrialId, stored_is_right: bool, machines: usize },
    /// Trials that only a worker which computes wrongly had computed, and that are computed again.
    Distrusted { worker: WorkerName, trials: usize },
    /// There was nobody to compute these once more.
    Unaudited { trials: usize },
}

/// What a lease gives a right to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Work {
    /// Trials of these variants of a cohort.
    Trials { cohort: u32, trials: Range<u32>, variants: Variants, start: NoiseStart },
    /// Spans of the noise stream that this cohort reads.
    Survey { cohort: u32, spans: Range<u32> },
}

/// Why a sweep cannot be finished.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Reason {
    /// Worker processes die again and again.
    #[error("{count} worker processes died without a single trial stored in between; the last one {last}")]
    Crashes { count: u32, last: String },
    /// Workers die at whatever they are given.
    #[error(
        "no worker could compute anything: {count} trials were tried again and again; of the last one, {last}"
    )]
    Nothing { count: usize, last: String },
    /// Nothing that was computed can be stored.
    #[error(
        "no trial could be stored: each of the {count} that were computed has more than {MOST_SPIKES} spikes; make \
         the cells fire less (`granule.refractory`, `golgi.refractory`), or trials shorter (`time.duration`)"
    )]
    TooLarge { count: usize },
}

/// Trials that may be set aside before anything has been stored.
const HOPELESS: usize = 10;

/// A trial of a cohort in all its variants. There can be millions, so it is small.
#[derive(Clone, Copy, Debug)]
struct Slot {
    /// The last lease it was part of; none if that was given back, or there was none. Copies and
    /// checks do not count.
    lease: LeaseId,
    stored: Variants,
    /// What the lease asked for and has not arrived.
    missing: Variants,
}

/// The trials of a cohort.
#[derive(Debug)]
struct Cohort {
    shape: CohortShape,
    /// All there are.
    variants: Variants,
    slots: Vec<Slot>,
    /// No slot below this is pending.
    first_pending: u32,
    pending: u32,
}

impl Cohort {
    fn is_done(&self, slot: &Slot) -> bool {
        slot.stored == self.variants
    }

    fn is_pending(&self, slot: &Slot) -> bool {
        slot.lease == LeaseId::NONE && !self.is_done(slot)
    }

    /// Variants of a trial that are not stored.
    fn unstored_of(&self, trial: u32) -> Variants {
        self.variants.without(self.slots[trial as usize].stored)
    }
}

/// What has been done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Trials stored by this run.
    pub(crate) stored: u64,
    pub(crate) leases: u64,
    pub(crate) copies: u64,
    /// Leases that were taken from workers, or that these gave back.
    pub(crate) given_back: u64,
    pub(crate) disconnections: u64,
    pub(crate) returns: u64,
    /// Trials that were computed once more, with the same result.
    pub(crate) audited: u64,
    pub(crate) unaudited: u64,
    pub(crate) disagreements: u64,
    /// Disputes that were settled without a third machine.
    pub(crate) weakly_settled: u64,
    pub(crate) discarded: u64,
    pub(crate) quarantined: u64,
    pub(crate) set_aside: u64,
}

/// The scheduler.
///
/// What an event costs does not grow with the number of workers, trials and cohorts, but for the
/// depth of ordered collections. Only when time passes all workers are looked at.
#[derive(Debug)]
pub(crate) struct Scheduler {
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
    last_lease: LeaseId,
    /// The longest time between two results of a lease.
    longest: Duration,
    /// Whether some leases had stalled at the last look.
    are_any_stalled: bool,
    /// Cohorts that may have something to hand out. The others have nothing pending, or wait for
    /// their noise stream to be counted by those who do that already.
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
    pub(crate) fn new(config: Config, shape: Shape, is_stored: impl Fn(TrialId) -> bool) -> Scheduler {
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
                Slot { lease: LeaseId::NONE, stored, missing: Variants::default() }
            };
            let slots = (0..shape.trials).map(slot).collect();
            let mut cohort = Cohort { shape: of, variants, slots, first_pending: 0, pending: 0 };
            for slot in &cohort.slots {
                unstored += u64::from(variants.without(slot.stored).len());
                cohort.pending += u32::from(cohort.is_pending(slot));
            }
            if let Some(last) = cohort.slots.iter().rposition(|slot| cohort.is_pending(slot)) {
                streams[of.stream].want(last as u64 * of.normals_per_trial);
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
            last_lease: LeaseId::NONE,
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
    pub(crate) fn handle(&mut self, now: Time, event: Event) -> Vec<Command> {
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
            Event::Received { connection, lease, trial } => self.on_received(now, connection, lease, trial),
            Event::Part { connection, lease } => self.on_part(now, connection, lease),
            Event::TooLarge { connection, lease, trial } => {
                self.on_too_large(now, connection, lease, trial);
            }
            Event::Stored { worker, trial } => self.on_stored(worker, trial),
            Event::Disagreed { worker, trial, stored, received } => {
                self.on_disagreed(worker, trial, stored, received);
            }
            Event::Discarded { trials } => self.on_discarded(&trials),
            Event::Surveyed { connection, lease, accepted } => {
                self.on_surveyed(now, connection, lease, accepted);
            }
            Event::Finished { connection, lease } => self.on_finished(now, connection, lease),
            Event::HandedBack { connection, lease } => {
                self.hear(now, connection);
                self.on_handed_back(connection, lease);
            }
            Event::Failed { connection, lease, reason } => {
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
    pub(crate) fn wake_up(&self) -> Option<Time> {
        let busy = self.workers.values().filter(|worker| !worker.leases.is_empty());
        let expiry = busy.map(|worker| worker.heard + self.config.lease_ttl).min();
        let is_idle = !(self.free.is_empty() || self.leases.is_empty()) || self.is_anybody_waiting();
        let looks = !self.draining && (is_idle || self.trust.waits());
        let look = looks.then_some(self.next_look);
        expiry.into_iter().chain(look).min()
    }

    /// Spans of noise that are counted, and those that have to be before all trials can begin.
    pub(crate) fn spans(&self) -> (u64, u64) {
        self.streams
            .iter()
            .map(Stream::progress)
            .fold((0, 0), |(a, b), (counted, total)| (a + counted, b + total))
    }

    /// What has been done so far.
    pub(crate) fn tally(&self) -> Tally {
        self.tally
    }

    /// Trials that were set aside, and why.
    pub(crate) fn set_aside(&self) -> impl Iterator<Item = (Place, &str)> {
        self.set_aside.iter().map(|(place, reason)| (*place, reason.as_str()))
    }

    /// Variants of a trial that are not stored.
    pub(crate) fn unstored_of(&self, place: Place) -> Variants {
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
