//! Simulates whole histories of a sweep under faults. The scheduler, the workers' sessions and the messages are real;
//! the network, clocks, pools and store are simulated.
//!
//! A history follows from its seed. A failure prints the seed. This command runs the history again and prints its
//! events:
//!
//! ```text
//! GRANULE_HISTORY=SEED cargo test --release -p granule-farm --lib fault_simulation -- --nocapture
//! ```
//!
//! `GRANULE_HISTORIES=N` sets the number of histories.
//!
//! - *Safety*, after every event: the scheduler's records are consistent. Acknowledged results are stored. Stored
//!   results are right, unless a worker lies.
//! - *At the end*: every trial is stored and right, except one that kills its workers.
//! - *Liveness*: once faults stop, the sweep ends.

#![allow(clippy::print_stderr, reason = "what a test has to say")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use granule_engine::{Digest, Engine, NoResult, Spike, StreamKey, TrialKey, TrialSpikes};
use granule_proto::convert::{TrialName, TrialResult, WireWork};
use granule_proto::parts::{Assembly, PART};
use granule_proto::wire;
use granule_sweep::{Overrides, Plan};

use crate::session::PoolOutput;
use crate::session::{Instruction, Introduction, Patience, Session, SessionEnd};
use granule_toy::{ENGINES, finding};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use crate::catalogue::Catalogue;
use crate::dialogue;
use crate::inbox::{self, Step};
use crate::scheduler::{
    Command, ConnectionId, Event, Place, PlanShape, Report, Scheduler, SchedulerConfig, Site, Time, TrialId,
    WorkerName,
};

const SWEEP: &str = "seeds: [1, 2]\ntrials: 8\nconditions: [Base, Strong, Weak]\n";

/// Time at which faults stop, in seconds.
const FAULTS_UNTIL: f64 = 200.0;

/// Seconds that the sweep may take after that. This is several times all lease times and the workers' patience.
const THEN_WITHIN: f64 = 3000.0;

/// The faults and how often they happen. Times between two faults are random, around these.
#[derive(Clone, Copy, Debug)]
struct Faults {
    /// Seconds between two resets of a connection.
    reset: f64,
    /// Seconds between two partitions of a worker from the coordinator.
    partition: f64,
    /// Seconds between two crashes of a worker.
    crash: f64,
    /// Seconds between two freezes of a process.
    freeze: f64,
    /// Seconds between two crashes of the coordinator.
    coordinator: f64,
    /// Seconds between two jumps of a clock.
    jump: f64,
    /// Seconds between two requests to a worker or the coordinator to leave.
    drain: f64,
    /// Probabilities for each message.
    loss: f64,
    duplication: f64,
    reordering: f64,
    /// Longest delay of a message, in seconds.
    delay: f64,
    /// Probability that a result of the lying worker is wrong; 0 if there is no such worker.
    lie: f64,
    /// Whether a trial kills its workers.
    poison: bool,
    /// Whether a trial of a condition has too many spikes.
    large: bool,
    /// Most bytes of spikes in a message. Some results need several messages, or all do.
    part: usize,
}

impl Faults {
    /// Returns random faults, each of them absent from many histories.
    fn of(rng: &mut Pcg64Mcg) -> Faults {
        let mut every = |least: f64, most: f64| {
            if rng.random_bool(0.5) { rng.random_range(least..most) } else { f64::INFINITY }
        };
        let [reset, partition, crash, freeze] =
            [every(2.0, 40.0), every(10.0, 80.0), every(5.0, 60.0), every(10.0, 80.0)];
        let [coordinator, jump, drain] = [every(10.0, 100.0), every(20.0, 100.0), every(20.0, 100.0)];
        let mut chance = |most: f64| if rng.random_bool(0.3) { rng.random_range(0.0..most) } else { 0.0 };
        let [loss, duplication, reordering] = [chance(0.1), chance(0.2), chance(0.2)];
        let delay = if rng.random_bool(0.5) { 0.01 } else { rng.random_range(0.01..3.0) };
        let lie = if rng.random_bool(0.15) { rng.random_range(0.05..1.0) } else { 0.0 };
        let poison = rng.random_bool(0.1);
        let large = !poison && lie == 0.0 && rng.random_bool(0.2);
        let part = if rng.random_bool(0.5) { PART } else { rng.random_range(1..6) };
        Faults {
            reset,
            partition,
            crash,
            freeze,
            coordinator,
            jump,
            drain,
            loss,
            duplication,
            reordering,
            delay,
            lie,
            poison,
            large,
            part,
        }
    }
}

/// An event in the future.
#[derive(Debug)]
enum Happening {
    /// A message arrives.
    ToCoordinator {
        line: usize,
        message: wire::FromWorker,
    },
    ToWorker {
        line: usize,
        message: wire::ToWorker,
    },
    /// An end of a connection notices that the connection is dead.
    CoordinatorHearsEnd {
        line: usize,
    },
    WorkerHearsEnd {
        line: usize,
    },
    /// An attempt to connect fails.
    NoConnection {
        worker: usize,
        life: u64,
    },
    /// A thread of a worker reaches the next step of its work.
    Step {
        worker: usize,
        life: u64,
        thread: usize,
    },
    /// A worker can send the next part of its results.
    Part {
        worker: usize,
        line: usize,
    },
    /// Time passes for a worker.
    WorkerTime {
        worker: usize,
        life: u64,
    },
    /// Time passes for the coordinator.
    Tick,
    /// The driver answers a request for a decision.
    Decided {
        life: u64,
    },
    /// The store has carried out a request.
    Kept {
        life: u64,
    },
    /// Faults.
    Reset,
    Partition,
    Heal {
        worker: usize,
    },
    Crash,
    Start {
        worker: usize,
    },
    Freeze,
    CoordinatorCrash,
    CoordinatorStart,
    Jump,
    Drain,
}

/// A connection.
#[derive(Debug)]
struct Line {
    worker: usize,
    life: u64,
    /// The coordinator's number for it; `None` until the hello has arrived.
    connection: Option<ConnectionId>,
    is_dead: bool,
    /// When the last message of each direction arrives. Messages keep their order.
    last: [Time; 2],
}

/// A worker's process, from start to crash.
struct Worker {
    life: u64,
    name: WorkerName,
    session: Option<Session>,
    started: Time,
    line: Option<usize>,
    queue: VecDeque<(u64, WireWork)>,
    threads: Vec<Option<Task>>,
    cancelled: BTreeSet<u64>,
    seconds_per_trial: f64,
    is_liar: bool,
    is_ours: bool,
    is_partitioned: bool,
    /// The next of its parts is scheduled.
    is_sending: bool,
    /// It does nothing before this time.
    frozen_until: Time,
    /// Added to its clock.
    jumped: Time,
    timer: Time,
}

impl Worker {
    /// Makes a worker that has not been started.
    fn new(seconds_per_trial: f64, is_liar: bool, is_ours: bool) -> Worker {
        Worker {
            life: 0,
            name: WorkerName([0; 16]),
            session: None,
            started: Time::ZERO,
            line: None,
            queue: VecDeque::new(),
            threads: Vec::new(),
            cancelled: BTreeSet::new(),
            seconds_per_trial,
            is_liar,
            is_ours,
            is_partitioned: false,
            is_sending: false,
            frozen_until: Time::ZERO,
            jumped: Time::ZERO,
            timer: Time::MAX,
        }
    }
}

/// A piece of work that a thread computes.
struct Task {
    ticket: u64,
    work: WireWork,
    done: u32,
}

/// A request to the store.
enum Keep {
    Trial { worker: WorkerName, trial: TrialId, key: TrialKey, result: TrialResult },
    Findings { stream: StreamKey, first: u32, findings: Vec<u32> },
    Discard { trials: Vec<TrialId> },
}

/// The coordinator's process, from start to crash.
struct Coordinator {
    scheduler: Scheduler,
    epoch: u64,
    /// Lines by the coordinator's numbers for them.
    lines: BTreeMap<ConnectionId, usize>,
    names: BTreeMap<ConnectionId, WorkerName>,
    assemblies: BTreeMap<ConnectionId, Assembly>,
    pipeline: VecDeque<Keep>,
}

struct History<'a> {
    rng: Pcg64Mcg,
    seed: u64,
    faults: Faults,
    config: SchedulerConfig,
    catalogue: Catalogue<'a>,
    /// The numbers of trials after which a decision is made; none if their number is fixed.
    checkpoints: &'static [u32],
    now: Time,
    agenda: BTreeMap<(Time, u64), Happening>,
    number: u64,
    lives: u64,
    lines: Vec<Line>,
    workers: Vec<Worker>,
    coordinator: Option<Coordinator>,
    coordinator_frozen_until: Time,
    coordinator_jumped: Time,
    /// These outlive the coordinator: results and findings.
    store: BTreeMap<TrialKey, Digest>,
    findings: BTreeMap<StreamKey, Vec<u32>>,
    is_over: bool,
    disagreements: u64,
    counts: Counts,
    story: Option<String>,
    poison: Option<(u32, u32)>,
    /// The trial with too many spikes.
    large: Option<TrialName>,
    /// Disputed trials. Their results are acknowledged without being stored.
    disputed: BTreeSet<TrialId>,
}

/// Counts over all histories.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    events: u64,
    crashes: u64,
    coordinator_crashes: u64,
    resets: u64,
    partitions: u64,
    lost: u64,
    lies: u64,
    parts: u64,
    /// Histories with a lying worker, and trials of these that could not be settled.
    lying: u64,
    unsettled: u64,
}

/// Returns the right spikes of a trial, encoded.
fn truth(name: &TrialName) -> Vec<u8> {
    let step = u32::from(name.fingerprint.0[0]) % 150 + name.seed * 7 + name.trial;
    one_spike(Spike { step, cell: name.trial % 48 })
}

fn lie(name: &TrialName, which: u32) -> Vec<u8> {
    one_spike(Spike { step: which % 150, cell: 20 + name.trial % 28 })
}

/// Returns the encoded spikes of a trial in which a cell of the first population spikes once.
fn one_spike(spike: Spike) -> Vec<u8> {
    TrialSpikes::of(vec![vec![spike], Vec::new(), Vec::new()]).encode()
}

fn seconds(s: f64) -> Time {
    Duration::from_secs_f64(s)
}

impl<'a> History<'a> {
    fn new(seed: u64, catalogue: &'a Catalogue<'a>, is_told: bool) -> History<'a> {
        let mut rng = Pcg64Mcg::seed_from_u64(seed);
        let faults = Faults::of(&mut rng);
        let config = SchedulerConfig {
            lease_ttl: seconds(rng.random_range(3.0..30.0)),
            lease_target: seconds(2.0),
            shard_trials: if rng.random_bool(0.5) { None } else { Some(rng.random_range(1..5)) },
            crash_limit: 1_000_000,
            loss_limit: if faults.poison { 12 } else { 1_000_000 },
            audit_percent: if faults.lie > 0.0 { 100.0 } else { [0.0, 0.0, 30.0][rng.random_range(0..3)] },
            audits_alone: false,
        };
        // If workers crashed at random, a trial that kills its workers would not be the only one to be set aside.
        let faults = if faults.poison {
            Faults { crash: f64::INFINITY, freeze: f64::INFINITY, ..faults }
        } else {
            faults
        };
        // A restarted coordinator does not audit trials that are already stored.
        let faults = if faults.lie > 0.0 { Faults { coordinator: f64::INFINITY, ..faults } } else { faults };
        let poison = faults.poison.then(|| (rng.random_range(1..3), rng.random_range(0..8)));
        let large = faults.large.then(|| {
            let cohort = rng.random_range(0..2);
            let variant = rng.random_range(0..3);
            catalogue.name(TrialId { cohort, variant, trial: rng.random_range(0..8) })
        });
        let mut history = History {
            rng,
            seed,
            faults,
            config,
            catalogue: catalogue.clone(),
            checkpoints: if seed % 4 < 2 { &[] } else { &[3, 5, 8] },
            now: Time::ZERO,
            agenda: BTreeMap::new(),
            number: 0,
            lives: 0,
            lines: Vec::new(),
            workers: Vec::new(),
            coordinator: None,
            coordinator_frozen_until: Time::ZERO,
            coordinator_jumped: Time::ZERO,
            store: BTreeMap::new(),
            findings: BTreeMap::new(),
            is_over: false,
            disagreements: 0,
            counts: Counts::default(),
            story: is_told.then(String::new),
            poison,
            large,
            disputed: BTreeSet::new(),
        };
        let count = history.rng.random_range(1..6_usize);
        // Two honest workers are needed to detect a lying one.
        let count = if faults.lie > 0.0 { count.max(3) } else { count };
        for at in 0..count {
            let seconds_per_trial = history.rng.random_range(0.05..0.5);
            let slowness = if history.rng.random_bool(0.2) { 8.0 } else { 1.0 };
            let is_liar = faults.lie > 0.0 && at == 0;
            history.workers.push(Worker::new(seconds_per_trial * slowness, is_liar, at == 1));
            let start = history.random(5.0);
            history.at(start, Happening::Start { worker: at });
        }
        history.start_coordinator();
        history.at(Time::ZERO, Happening::Tick);
        for (every, fault) in [
            (faults.reset, Happening::Reset),
            (faults.partition, Happening::Partition),
            (faults.crash, Happening::Crash),
            (faults.freeze, Happening::Freeze),
            (faults.coordinator, Happening::CoordinatorCrash),
            (faults.jump, Happening::Jump),
            (faults.drain, Happening::Drain),
        ] {
            history.again(every, fault);
        }
        history
    }

    fn tell(&mut self, what: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            let _ = writeln!(story, "{:10.3} {}", self.now.as_secs_f64(), what());
        }
    }

    fn at(&mut self, time: Time, what: Happening) {
        self.number += 1;
        self.agenda.insert((time.max(self.now), self.number), what);
    }

    fn random(&mut self, most: f64) -> Time {
        self.now + seconds(self.rng.random_range(0.0..most))
    }

    /// Schedules a fault again after about `every` seconds, until faults stop.
    fn again(&mut self, every: f64, fault: Happening) {
        if every.is_finite() {
            let next = self.now + seconds(every * self.rng.random_range(0.2..1.8));
            if next < seconds(FAULTS_UNTIL) {
                self.at(next, fault);
            }
        }
    }

    fn play(&mut self) {
        while !self.is_over {
            let ((time, number), what) = self.agenda.pop_first().expect("there is always a tick");
            assert!(time < seconds(FAULTS_UNTIL + THEN_WITHIN), "the sweep does not end");
            self.now = time;
            self.counts.events += 1;
            if let Some(until) = self.frozen(&what) {
                // Frozen events keep their order.
                self.agenda.insert((until, number), what);
                continue;
            }
            self.happen(what);
        }
    }

    /// Returns the time until which the process of this event is frozen, if it is.
    fn frozen(&self, what: &Happening) -> Option<Time> {
        let until = match what {
            Happening::ToCoordinator { .. }
            | Happening::CoordinatorHearsEnd { .. }
            | Happening::Tick
            | Happening::Decided { .. }
            | Happening::Kept { .. } => self.coordinator_frozen_until,
            Happening::ToWorker { line, .. } | Happening::WorkerHearsEnd { line } => {
                self.workers[self.lines[*line].worker].frozen_until
            }
            Happening::NoConnection { worker, .. }
            | Happening::Step { worker, .. }
            | Happening::Part { worker, .. }
            | Happening::WorkerTime { worker, .. } => self.workers[*worker].frozen_until,
            _ => Time::ZERO,
        };
        (until > self.now).then_some(until)
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::ToCoordinator { line, message } => self.coordinator_hears(line, message),
            Happening::ToWorker { line, message } => {
                let Line { worker, life, is_dead, .. } = self.lines[line];
                if !is_dead && self.workers[worker].life == life {
                    self.worker_hears(worker, message);
                }
            }
            Happening::CoordinatorHearsEnd { line } => {
                if let Some(connection) = self.lines[line].connection
                    && self.coordinator.as_mut().is_some_and(|of| of.lines.remove(&connection).is_some())
                {
                    self.event(Event::Disconnected { connection });
                }
            }
            Happening::WorkerHearsEnd { line } => {
                let Line { worker, life, .. } = self.lines[line];
                if self.workers[worker].life == life && self.workers[worker].line == Some(line) {
                    self.worker_is_disconnected(worker);
                }
            }
            Happening::NoConnection { worker, life } => {
                if self.workers[worker].life == life && self.workers[worker].line.is_none() {
                    self.worker_is_disconnected(worker);
                }
            }
            Happening::Step { worker, life, thread } => {
                if self.workers[worker].life == life {
                    self.step(worker, thread);
                }
            }
            Happening::Part { worker, line } => {
                self.workers[worker].is_sending = false;
                if self.workers[worker].line == Some(line) {
                    let now = self.time_of(worker);
                    let part = self.workers[worker].session.as_mut().and_then(|of| of.next_part(now));
                    if let Some(part) = part {
                        self.counts.parts += 1;
                        self.send(line, Some(part), None);
                    }
                }
                self.send_parts(worker);
            }
            Happening::WorkerTime { worker, life } => {
                if self.workers[worker].life == life {
                    let now = self.time_of(worker);
                    self.workers[worker].timer = Time::MAX;
                    if let Some(session) = &mut self.workers[worker].session {
                        let instructions = session.on_time(now);
                        self.follow(worker, instructions);
                    }
                }
            }
            Happening::Tick => {
                if self.coordinator.is_some() {
                    let now = self.now + self.coordinator_jumped;
                    let due = self.coordinator.as_ref().and_then(|of| of.scheduler.wake_up());
                    if due.is_some_and(|due| due <= now) {
                        self.event(Event::WakeUp);
                    }
                }
                self.at(self.now + seconds(0.25), Happening::Tick);
            }
            Happening::Decided { life } => {
                if self.coordinator.as_ref().is_some_and(|of| of.epoch == life) {
                    self.decide();
                }
            }
            Happening::Kept { life } => {
                if self.coordinator.as_ref().is_some_and(|of| of.epoch == life) {
                    self.keep();
                }
            }
            Happening::Reset => {
                let alive: Vec<usize> =
                    (0..self.lines.len()).filter(|line| !self.lines[*line].is_dead).collect();
                if !alive.is_empty() {
                    let line = alive[self.rng.random_range(0..alive.len())];
                    self.counts.resets += 1;
                    self.cut(line);
                }
                self.again(self.faults.reset, Happening::Reset);
            }
            Happening::Partition => {
                let worker = self.rng.random_range(0..self.workers.len());
                self.workers[worker].is_partitioned = true;
                self.counts.partitions += 1;
                self.tell(|| format!("partition of worker {worker}"));
                let heal = self.random(60.0);
                self.at(heal, Happening::Heal { worker });
                self.again(self.faults.partition, Happening::Partition);
            }
            Happening::Heal { worker } => {
                self.workers[worker].is_partitioned = false;
                // After so long a silence, both ends have closed the connection.
                if let Some(line) = self.workers[worker].line {
                    self.cut(line);
                }
            }
            Happening::Crash => {
                let worker = self.rng.random_range(0..self.workers.len());
                self.crash(worker);
                self.again(self.faults.crash, Happening::Crash);
            }
            Happening::Start { worker } => self.start_worker(worker),
            Happening::Freeze => {
                let until = self.random(40.0);
                let at = self.rng.random_range(0..=self.workers.len());
                self.tell(|| format!("freeze of {at} until {until:?}"));
                match self.workers.get_mut(at) {
                    Some(worker) => worker.frozen_until = until,
                    None => {
                        self.coordinator_frozen_until = until;
                        if until > self.now + seconds(1.0) && self.coordinator.is_some() {
                            // The driver notices this before any other event.
                            self.now = until;
                            self.event(Event::Stalled);
                        }
                    }
                }
                self.again(self.faults.freeze, Happening::Freeze);
            }
            Happening::CoordinatorCrash => {
                if self.coordinator.is_some() {
                    self.counts.coordinator_crashes += 1;
                    self.stop_coordinator();
                }
                self.again(self.faults.coordinator, Happening::CoordinatorCrash);
            }
            Happening::CoordinatorStart => self.start_coordinator(),
            Happening::Jump => {
                let by = seconds(self.rng.random_range(0.0..100.0));
                let at = self.rng.random_range(0..=self.workers.len());
                self.tell(|| format!("clock of {at} jumps by {by:?}"));
                match self.workers.get_mut(at) {
                    Some(worker) => worker.jumped += by,
                    None => self.coordinator_jumped += by,
                }
                self.again(self.faults.jump, Happening::Jump);
            }
            Happening::Drain => {
                let coordinator = usize::from(self.faults.lie == 0.0);
                let at = self.rng.random_range(0..self.workers.len() + coordinator);
                self.tell(|| format!("{at} is asked to leave"));
                if at < self.workers.len() {
                    let now = self.time_of(at);
                    if let Some(session) = &mut self.workers[at].session {
                        let instructions = session.drain(now, "it was told to");
                        self.follow(at, instructions);
                    }
                } else if self.coordinator.is_some() {
                    self.event(Event::Drain);
                }
                self.again(self.faults.drain, Happening::Drain);
            }
        }
    }

    // The network.

    fn connect(&mut self, worker: usize, hello: wire::Hello) {
        let life = self.workers[worker].life;
        if self.coordinator.is_none() || self.workers[worker].is_partitioned {
            let later = self.now + seconds(self.rng.random_range(0.001..5.0));
            return self.at(later, Happening::NoConnection { worker, life });
        }
        let line = self.lines.len();
        self.lines.push(Line { worker, life, connection: None, is_dead: false, last: [self.now; 2] });
        self.workers[worker].line = Some(line);
        self.send(line, Some(wire::from_worker::Message::Hello(hello)), None);
    }

    /// Sends a message in one of the two directions.
    fn send(
        &mut self,
        line: usize,
        to_coordinator: Option<wire::from_worker::Message>,
        to_worker: Option<wire::ToWorker>,
    ) {
        if self.lines[line].is_dead {
            return;
        }
        let way = usize::from(to_worker.is_some());
        let is_hello = matches!(to_coordinator, Some(wire::from_worker::Message::Hello(_)));
        if self.rng.random_bool(self.faults.loss) && !is_hello && self.now < seconds(FAULTS_UNTIL) {
            self.counts.lost += 1;
            return;
        }
        let copies = 1 + usize::from(self.rng.random_bool(self.faults.duplication) && !is_hello);
        for _ in 0..copies {
            let mut time = self.now + seconds(self.rng.random_range(0.000_1..self.faults.delay));
            let is_reordered =
                self.rng.random_bool(self.faults.reordering) && self.now < seconds(FAULTS_UNTIL);
            if !is_reordered {
                time = time.max(self.lines[line].last[way]);
                self.lines[line].last[way] = time;
            }
            let what = match (&to_coordinator, &to_worker) {
                (Some(message), _) => {
                    let message = wire::FromWorker { message: Some(message.clone()) };
                    Happening::ToCoordinator { line, message }
                }
                (_, Some(message)) => Happening::ToWorker { line, message: message.clone() },
                (None, None) => return,
            };
            self.at(time, what);
        }
    }

    /// Kills a connection. Both of its ends notice this later.
    fn cut(&mut self, line: usize) {
        if std::mem::replace(&mut self.lines[line].is_dead, true) {
            return;
        }
        self.tell(|| format!("line {line} is cut"));
        let [a, b] = [self.random(1.0), self.random(1.0)];
        self.at(a, Happening::CoordinatorHearsEnd { line });
        self.at(b, Happening::WorkerHearsEnd { line });
    }

    // The coordinator.

    fn start_coordinator(&mut self) {
        if self.coordinator.is_some() {
            return;
        }
        self.lives += 1;
        self.tell(|| "the coordinator starts".to_owned());
        // Decisions are made again from the first one, with the stored trials.
        let open = self.checkpoints.iter().copied().find(|trials| !self.are_stored(*trials));
        self.catalogue.limit(open.or(self.checkpoints.last().copied()).unwrap_or(u32::MAX));
        let shape = self.catalogue.shape(|stream| self.findings.get(&stream).cloned().unwrap_or_default());
        let is_stored = |id: TrialId| self.store.contains_key(&self.catalogue.key(id));
        let shape = PlanShape { may_grow: !self.checkpoints.is_empty(), ..shape };
        let scheduler = Scheduler::new(self.config, shape, is_stored);
        self.coordinator_jumped = Time::ZERO;
        self.coordinator = Some(Coordinator {
            scheduler,
            epoch: self.lives,
            lines: BTreeMap::new(),
            names: BTreeMap::new(),
            assemblies: BTreeMap::new(),
            pipeline: VecDeque::new(),
        });
        self.event(Event::WakeUp);
    }

    /// Whether this many trials are stored, in all cohorts and variants.
    fn are_stored(&self, trials: u32) -> bool {
        self.catalogue.trials(0..trials).all(|id| self.store.contains_key(&self.catalogue.key(id)))
    }

    /// Answers a request for a decision: the sweep needs more trials, until the last number.
    fn decide(&mut self) {
        let before = self.catalogue.limited_to();
        let event = match self.checkpoints.iter().copied().find(|trials| *trials > before) {
            Some(trials) => {
                self.catalogue.limit(trials);
                let new = self.catalogue.trials(before..trials);
                let stored = new.filter(|id| self.store.contains_key(&self.catalogue.key(*id))).collect();
                Event::Raised { trials, stored }
            }
            None => Event::Enough,
        };
        self.event(event);
    }

    /// Stops the coordinator, and starts it again after a while. Requests to the store that are not carried out are
    /// lost.
    fn stop_coordinator(&mut self) {
        self.tell(|| "the coordinator stops".to_owned());
        self.coordinator = None;
        for line in 0..self.lines.len() {
            self.cut(line);
        }
        let later = self.random(20.0);
        self.at(later, Happening::CoordinatorStart);
    }

    fn coordinator_hears(&mut self, line: usize, message: wire::FromWorker) {
        if self.lines[line].is_dead || self.workers[self.lines[line].worker].is_partitioned {
            // During a partition, TCP repeats the message. Afterwards the connection is dead, so the message never
            // arrives.
            return;
        }
        let Some(coordinator) = &mut self.coordinator else { return };
        let Some(connection) = self.lines[line].connection else {
            let Some(wire::from_worker::Message::Hello(hello)) = message.message else { return };
            self.number += 1;
            let connection = ConnectionId(self.number);
            self.lines[line].connection = Some(connection);
            let introduction = dialogue::introduce(hello, self.catalogue.engine(), coordinator.epoch)
                .expect("it is one of ours");
            let machine = introduction.process_id.into();
            let is_ours = self.workers[self.lines[line].worker].is_ours;
            coordinator.lines.insert(connection, line);
            coordinator.names.insert(connection, introduction.worker);
            return self.event(Event::Joined {
                connection,
                worker: introduction.worker,
                site: if is_ours { Site::Host(machine) } else { Site::Address(machine) },
                threads: introduction.threads,
                held: introduction.held,
            });
        };
        let worker = coordinator.names[&connection];
        let assembly = coordinator.assemblies.entry(connection).or_default();
        let Some(said) = dialogue::understand(message, assembly).expect("it makes sense") else { return };
        let is_stored = |trial| coordinator.scheduler.is_stored(trial);
        let digest = |trial| self.store.get(&self.catalogue.key(trial)).copied().filter(|_| is_stored(trial));
        for step in inbox::steps(&self.catalogue, connection, worker, said, digest) {
            match step {
                Step::Handle(event) => {
                    let is_expected = match &event {
                        Event::Invalid { .. } | Event::Disagreed { .. } => false,
                        Event::NoResult { trial, .. } => self.large == Some(self.catalogue.name(*trial)),
                        _ => true,
                    };
                    assert!(is_expected, "{event:?}");
                    self.event(event);
                }
                Step::Store { trial, key, result } => {
                    self.ask_store(Keep::Trial { worker, trial, key, result });
                }
                // A restarted coordinator may need fewer trials, if it has to compute some of the first ones again.
                Step::Reply(reply) if !self.checkpoints.is_empty() => {
                    let wire::to_worker::Message::Acknowledged(of) = &reply else { panic!("{reply:?}") };
                    assert!(of.trial >= self.catalogue.limited_to(), "{of:?}");
                    if let Some(&line) = self.coordinator.as_ref().and_then(|of| of.lines.get(&connection)) {
                        self.send(line, None, Some(wire::ToWorker { message: Some(reply) }));
                    }
                }
                Step::Reply(_) | Step::Failed { .. } | Step::Contradicted { .. } => {
                    panic!("{step:?} of a result of this sweep")
                }
            }
        }
    }

    fn event(&mut self, event: Event) {
        let now = self.now + self.coordinator_jumped;
        let Some(coordinator) = &mut self.coordinator else { return };
        let epoch = coordinator.epoch;
        let told = self.story.is_some().then(|| format!("event {event:?}"));
        let commands = coordinator.scheduler.handle(now, event);
        coordinator.scheduler.check();
        if let Some(told) = told {
            self.tell(|| format!("{told} -> {commands:?}"));
        }
        for command in commands {
            self.obey(command, epoch);
        }
    }

    fn obey(&mut self, command: Command, epoch: u64) {
        if let Command::Acknowledge { trial, .. } = &command {
            // Acknowledged results are stored, except those of large and disputed trials.
            let is_stored = self.store.contains_key(&self.catalogue.key(*trial));
            let is_large = self.large == Some(self.catalogue.name(*trial));
            assert!(
                is_stored || is_large || self.disputed.contains(trial),
                "{trial:?} is acknowledged, but not stored"
            );
        }
        let heartbeat_ms = (self.config.lease_ttl / 10).as_millis() as u32;
        if let Some((connection, message)) = dialogue::message(&self.catalogue, &command, epoch, heartbeat_ms)
        {
            if let Some(&line) = self.coordinator.as_ref().and_then(|of| of.lines.get(&connection)) {
                self.send(line, None, Some(message));
            }
            return;
        }
        match command {
            Command::Drop { connection, why } => {
                let line = self.coordinator.as_mut().and_then(|of| of.lines.remove(&connection));
                if let Some(line) = line {
                    if let crate::scheduler::Dropped::Quarantined(reason) = why {
                        let goodbye = wire::Goodbye { reason, refused: true };
                        let message = Some(wire::to_worker::Message::Goodbye(goodbye));
                        let worker = self.lines[line].worker;
                        if self.workers[worker].life == self.lines[line].life
                            && !self.workers[worker].is_partitioned
                        {
                            self.worker_hears(worker, wire::ToWorker { message });
                        }
                    }
                    self.cut(line);
                }
            }
            Command::KeepFindings { stream, first, findings } => {
                let stream = self.catalogue.stream(stream);
                self.ask_store(Keep::Findings { stream, first, findings });
            }
            Command::Discard { trials } => self.ask_store(Keep::Discard { trials }),
            Command::Report(Report::Disagreed { trial, .. }) => {
                assert!(self.faults.lie > 0.0, "two digests of {trial:?}");
                self.disagreements += 1;
                self.disputed.insert(trial);
            }
            Command::Decide => {
                let decided = self.random(3.0);
                self.at(decided, Happening::Decided { life: epoch });
            }
            Command::Complete => self.is_over = true,
            Command::Drained => self.stop_coordinator(),
            Command::Abandon(reason) => panic!("{reason}"),
            Command::Reinforce => {
                let worker = self.workers.len();
                self.workers.push(Worker::new(0.2, false, true));
                self.at(self.now + seconds(0.1), Happening::Start { worker });
            }
            // `Replace` needs no action here, because `end` starts a crashed worker again.
            _ => {}
        }
    }

    fn ask_store(&mut self, what: Keep) {
        let done = self.now + seconds(self.rng.random_range(0.001..0.2));
        let Some(coordinator) = &mut self.coordinator else { return };
        coordinator.pipeline.push_back(what);
        let life = coordinator.epoch;
        self.at(done, Happening::Kept { life });
    }

    /// Carries out the oldest request to the store.
    fn keep(&mut self) {
        let Some(next) = self.coordinator.as_mut().and_then(|of| of.pipeline.pop_front()) else { return };
        match next {
            Keep::Findings { stream, first, findings } => {
                let known = self.findings.entry(stream).or_default();
                assert!(first as usize <= known.len(), "a gap in the findings of a stream");
                known.truncate(first as usize);
                known.extend(findings);
            }
            Keep::Discard { trials } => {
                for trial in &trials {
                    self.store.remove(&self.catalogue.key(*trial));
                }
                self.event(Event::Discarded { trials });
            }
            Keep::Trial { worker, trial, key, result } => {
                let received = result.digest;
                let is_true = received == Digest::of(&truth(&result.name));
                assert!(is_true || self.faults.lie > 0.0, "a wrong result without a liar");
                let stored = *self.store.entry(key).or_insert(received);
                if stored != received {
                    self.disputed.insert(trial);
                }
                self.event(inbox::stored(worker, trial, received, Some(stored)));
            }
        }
    }

    // Workers.

    fn time_of(&self, worker: usize) -> Time {
        self.now + self.workers[worker].jumped - self.workers[worker].started
    }

    fn start_worker(&mut self, at: usize) {
        if self.workers[at].session.is_some() {
            return;
        }
        self.lives += 1;
        let name = WorkerName(self.rng.random::<u128>().to_be_bytes());
        let threads = self.rng.random_range(1..4);
        self.tell(|| format!("worker {at} starts as {name:?} with {threads} threads"));
        let introduction = Introduction {
            packages: BTreeMap::new(),
            version: "1".into(),
            engines: ENGINES,
            threads,
            host: "simulated".into(),
            process_id: at as u32,
            name: name.0,
        };
        let patience = Patience { give_up_after: seconds(400.0), idle_timeout: None, time_limit: None };
        let seed = self.rng.random();
        let worker = &mut self.workers[at];
        worker.life = self.lives;
        worker.name = name;
        worker.session = Some(Session::new(introduction, patience, seed).with_parts_of(self.faults.part));
        worker.is_sending = false;
        worker.started = self.now;
        worker.jumped = Time::ZERO;
        worker.line = None;
        worker.queue.clear();
        worker.cancelled.clear();
        worker.threads = (0..threads).map(|_| None).collect();
        worker.timer = Time::MAX;
        self.follow(at, Vec::new());
    }

    /// Crashes a worker's process. Another takes its place after a while.
    fn crash(&mut self, at: usize) {
        if self.workers[at].session.is_none() {
            return;
        }
        self.counts.crashes += 1;
        self.tell(|| format!("worker {at} dies"));
        let name = self.workers[at].name;
        self.end(at);
        if self.workers[at].is_ours {
            self.event(Event::ProcessDied { worker: Some(name), description: "was killed".into() });
        }
    }

    /// Ends a worker's process, and schedules the start of another.
    fn end(&mut self, at: usize) {
        self.workers[at].session = None;
        self.workers[at].life = 0;
        if let Some(line) = self.workers[at].line.take() {
            self.cut(line);
        }
        let later = self.random(20.0);
        self.at(later, Happening::Start { worker: at });
    }

    fn worker_hears(&mut self, at: usize, message: wire::ToWorker) {
        if self.workers[at].is_partitioned {
            return;
        }
        let now = self.time_of(at);
        let Some(session) = &mut self.workers[at].session else { return };
        let instructions = session.on_message(now, message).expect("it makes sense");
        self.follow(at, instructions);
    }

    fn worker_is_disconnected(&mut self, at: usize) {
        let now = self.time_of(at);
        self.workers[at].line = None;
        if let Some(session) = &mut self.workers[at].session {
            let instructions = session.on_disconnected(now);
            self.follow(at, instructions);
        }
    }

    fn follow(&mut self, at: usize, instructions: Vec<Instruction>) {
        for instruction in instructions {
            match instruction {
                Instruction::Connect { hello } => self.connect(at, hello),
                Instruction::Disconnect => {
                    if let Some(line) = self.workers[at].line.take() {
                        self.cut(line);
                    }
                }
                Instruction::Send(message) => {
                    if let Some(line) = self.workers[at].line {
                        self.send(line, Some(message), None);
                    }
                }
                Instruction::Compute { ticket, work } => {
                    self.workers[at].queue.push_back((ticket, work));
                    self.feed(at);
                }
                Instruction::Cancel { ticket } => drop(self.workers[at].cancelled.insert(ticket)),
                Instruction::Stop(end) => {
                    self.tell(|| format!("worker {at} ends: {end:?}"));
                    if let SessionEnd::Drained { .. } = end {
                        let left = self.workers[at].session.as_ref().map_or(0, Session::unacknowledged);
                        assert_eq!(left, 0, "it left with results");
                    }
                    return self.end(at);
                }
            }
        }
        self.send_parts(at);
        let worker = &self.workers[at];
        let Some(due) = worker.session.as_ref().and_then(Session::wake_up) else { return };
        // The time on the simulation's clock. If the worker's clock has jumped, it may already be over.
        let due = (due + worker.started).saturating_sub(worker.jumped).max(self.now);
        if due < worker.timer {
            let life = worker.life;
            self.workers[at].timer = due;
            self.at(due, Happening::WorkerTime { worker: at, life });
        }
    }

    /// Schedules the next part that a worker has to send.
    fn send_parts(&mut self, at: usize) {
        let worker = &self.workers[at];
        let Some(line) = worker.line else { return };
        if !worker.is_sending && worker.session.as_ref().is_some_and(Session::has_parts) {
            let soon = self.random(0.1);
            self.workers[at].is_sending = true;
            self.at(soon, Happening::Part { worker: at, line });
        }
    }

    /// Gives work to idle threads.
    fn feed(&mut self, at: usize) {
        while let Some(thread) = self.workers[at].threads.iter().position(Option::is_none)
            && let Some((ticket, work)) = self.workers[at].queue.pop_front()
        {
            self.workers[at].threads[thread] = Some(Task { ticket, work, done: 0 });
            self.next_step(at, thread);
        }
    }

    fn next_step(&mut self, at: usize, thread: usize) {
        let life = self.workers[at].life;
        let takes = self.workers[at].seconds_per_trial * self.rng.random_range(0.8..1.2);
        self.at(self.now + seconds(takes), Happening::Step { worker: at, life, thread });
    }

    /// Carries out the next step of a thread's work: one trial, or a whole survey.
    fn step(&mut self, at: usize, thread: usize) {
        let Some(Task { ticket, work, done }) = self.workers[at].threads[thread].take() else { return };
        if self.workers[at].cancelled.remove(&ticket) {
            return self.output(at, vec![PoolOutput::HandedBack { ticket }]);
        }
        match work {
            WireWork::Survey(survey) => {
                let findings = (survey.first..survey.first + survey.count).map(finding).collect();
                self.output(
                    at,
                    vec![PoolOutput::Survey { ticket, findings }, PoolOutput::Finished { ticket }],
                );
            }
            WireWork::Trials(work) => {
                let trial = work.first + done;
                if self.poison == Some((work.seed, trial)) {
                    return self.crash(at);
                }
                let (mut outputs, mut too_large) = (Vec::new(), None);
                for model in &work.models {
                    let fingerprint = model.fingerprint();
                    let name = TrialName { fingerprint, seed: work.seed, trial };
                    let lies = self.workers[at].is_liar && self.rng.random_bool(self.faults.lie);
                    let spikes = if lies {
                        self.counts.lies += 1;
                        lie(&name, self.rng.random_range(0..5000))
                    } else {
                        truth(&name)
                    };
                    if self.large == Some(name) {
                        too_large = Some(PoolOutput::NoResult { ticket, name, why: NoResult::TooLarge });
                    } else {
                        outputs.push(PoolOutput::Trial { ticket, result: TrialResult::new(name, spikes) });
                    }
                }
                outputs.extend(too_large);
                let is_last = done + 1 == work.count;
                if is_last {
                    outputs.push(PoolOutput::Finished { ticket });
                } else {
                    let task = Task { ticket, work: WireWork::Trials(work), done: done + 1 };
                    self.workers[at].threads[thread] = Some(task);
                    self.next_step(at, thread);
                }
                self.output(at, outputs);
            }
        }
    }

    fn output(&mut self, at: usize, outputs: Vec<PoolOutput>) {
        let now = self.time_of(at);
        for output in outputs {
            let Some(session) = &mut self.workers[at].session else { return };
            let instructions = session.on_output(now, output);
            self.follow(at, instructions);
        }
        self.feed(at);
    }

    // The end.

    fn check_end(&self, plan: &Plan) -> u64 {
        let coordinator = self.coordinator.as_ref().expect("it has said that the sweep is complete");
        let set_aside: Vec<Place> = coordinator.scheduler.set_aside().map(|(place, _)| place).collect();
        let mut expected = Vec::new();
        for (at, cohort) in plan.cohorts.iter().enumerate() {
            for trial in 0..plan.trials {
                let place = Place { cohort: at as u32, trial };
                let is_poison = self.poison == Some((cohort.seed, trial));
                let mut is_missing = false;
                for variant in 0..cohort.variants.len() as u32 {
                    let id = TrialId { cohort: at as u32, variant, trial };
                    if self.large == Some(self.catalogue.name(id)) {
                        assert!(!self.store.contains_key(&self.catalogue.key(id)));
                        assert_eq!(coordinator.scheduler.without_result().collect::<Vec<_>>(), [id]);
                        continue;
                    }
                    let right = Digest::of(&truth(&self.catalogue.name(id)));
                    match self.store.get(&self.catalogue.key(id)) {
                        Some(stored) if *stored == right => {}
                        // If only the lying worker is left, no audit detects it; the tally counts the missing audits.
                        Some(_) if coordinator.scheduler.tally().unaudited > 0 => {}
                        Some(_) => panic!("{id:?} is stored, but wrong"),
                        None => is_missing = true,
                    }
                }
                // If a worker lies while others come and go, some disputes cannot be settled; their trials are set
                // aside.
                let is_said = self.faults.lie > 0.0 && set_aside.contains(&place);
                assert!(!is_missing || is_poison || is_said, "{place:?} is missing");
                if is_missing {
                    expected.push(place);
                }
            }
        }
        assert_eq!(set_aside, expected);
        set_aside.len() as u64
    }
}

/// A plan whose stream has to be surveyed, and one whose trials can start at once.
fn plans() -> [Plan; 2] {
    let [free, stream] = ENGINES else { panic!("two engines") };
    [*stream, *free].map(plan)
}

fn plan(engine: &dyn Engine) -> Plan {
    let sweep = format!("engine: {}\n{SWEEP}", engine.name());
    let sweep = granule_sweep::parse(ENGINES, "sweep", sweep.as_bytes(), "sweep", &Overrides::default());
    Plan::new(&sweep.expect("a sweep"))
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

/// Runs a history; panics if it fails.
fn play(seed: u64, plan: &Plan, catalogue: &Catalogue<'_>, is_told: bool) -> Counts {
    let mut history = History::new(seed, catalogue, is_told);
    let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        history.play();
        let set_aside = history.check_end(plan);
        if history.faults.lie > 0.0 {
            history.counts.lying += 1;
            history.counts.unsettled += set_aside;
        }
    }));
    if let Some(story) = &history.story {
        let scheduler = history.coordinator.as_ref().map(|of| &of.scheduler);
        eprintln!("{:?}\n{:?}\n{story}\n{scheduler:#?}", history.faults, history.config);
    }
    if let Err(panic) = played {
        eprintln!("history {} failed; GRANULE_HISTORY={} tells it", history.seed, history.seed);
        std::panic::resume_unwind(panic);
    }
    history.counts
}

#[test]
fn histories_end_well() {
    let plans = plans();
    let catalogues = plans.each_ref().map(Catalogue::new);
    let play = |seed: u64, is_told| {
        let which = (seed % 2) as usize;
        play(seed, &plans[which], &catalogues[which], is_told)
    };
    if let Some(seed) = number("GRANULE_HISTORY") {
        play(seed, true);
        return;
    }
    let histories = number("GRANULE_HISTORIES").unwrap_or(20_000);
    let next = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let total: Vec<Counts> = std::thread::scope(|scope| {
        let play_some = || {
            let mut all = Counts::default();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= histories {
                    return all;
                }
                let counts = play(seed, false);
                all = all.and(&counts);
            }
        };
        let players: Vec<_> = (0..threads).map(|_| scope.spawn(play_some)).collect();
        players.into_iter().map(|player| player.join().expect("its own message has been shown")).collect()
    });
    let all = total.iter().fold(Counts::default(), |all, counts| all.and(counts));
    eprintln!("{histories} histories: {all:?}");
    // Faults of every kind must have happened often.
    if histories >= 1000 {
        let Counts { crashes, coordinator_crashes, resets, partitions, lost, lies, parts, .. } = all;
        for count in [crashes, coordinator_crashes, resets, partitions, lost, lies, parts] {
            assert!(count > histories / 10, "{all:?}");
        }
        assert!(all.unsettled < all.lying / 4, "{all:?}");
    }
}

impl Counts {
    fn and(self, other: &Counts) -> Counts {
        Counts {
            events: self.events + other.events,
            crashes: self.crashes + other.crashes,
            coordinator_crashes: self.coordinator_crashes + other.coordinator_crashes,
            resets: self.resets + other.resets,
            partitions: self.partitions + other.partitions,
            lost: self.lost + other.lost,
            lies: self.lies + other.lies,
            parts: self.parts + other.parts,
            lying: self.lying + other.lying,
            unsettled: self.unsettled + other.unsettled,
        }
    }
}
