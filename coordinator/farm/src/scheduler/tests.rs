//! Tests the scheduler with simulated workers, time and faults. A seed reproduces any failure.

use std::collections::BTreeMap;
use std::ops::Range;

use granule_engine::Digest;
use nix::time::{ClockId, clock_gettime};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::cohort::SlotState;
use super::event::Reason;
use super::suspects::HOPELESS;
use super::worker::Worker;
use super::*;
use crate::bench::Life;
use granule_engine::stream::{Index, Parts};

const CONFIG: SchedulerConfig = SchedulerConfig {
    lease_ttl: Duration::from_secs(10),
    lease_target: Duration::from_secs(2),
    shard_trials: None,
    crash_limit: 4,
    loss_limit: 12,
    audit_percent: 0.0,
    audits_alone: false,
};

/// The parts of the simulated streams.
pub(super) const PARTS: Parts = Parts { items_per_finding: 2, mean: 3_926_990.8, sd: 918.0 };

/// Returns the finding of a part, as simulated workers count it.
pub(super) fn finding(part: u32) -> u32 {
    3_923_000 + (part * 7919) % 8_000
}

fn index(parts: u32) -> Index {
    let mut index = Index::new(Some(PARTS));
    (0..parts).for_each(|part| index.push(finding(part)));
    index
}

pub(super) fn shape(trials: u32, cohorts: &[(u32, u64, usize)], streams: usize) -> PlanShape {
    let cohort = |&(variants, items_per_trial, stream)| CohortShape {
        variants,
        items_per_trial,
        cost_per_trial: items_per_trial as f64,
        stream,
    };
    let cohorts = cohorts.iter().map(cohort).collect();
    PlanShape { trials, may_grow: false, cohorts, streams: vec![Index::new(Some(PARTS)); streams] }
}

pub(super) fn name(number: u64) -> WorkerName {
    WorkerName(u128::from(number).to_be_bytes())
}

pub(super) fn connection(number: u64) -> ConnectionId {
    ConnectionId(number)
}

/// The first connection of a new worker of this number, on a host of its own that the coordinator logged in to.
fn joined(number: u64, threads: u32) -> Event {
    let site = Site::Host(number);
    Event::Joined { connection: connection(number), worker: name(number), site, threads, held: vec![] }
}

pub(super) fn seconds(s: f64) -> Time {
    Duration::from_secs_f64(s)
}

impl Scheduler {
    /// Checks everything that must hold after every event.
    pub fn check(&self) {
        let mut pending = 0;
        let mut unstored = 0;
        let mut undone: BTreeMap<LeaseId, (u32, u32)> = BTreeMap::new();
        for (at, cohort) in self.cohorts.iter().enumerate() {
            let mut here = 0;
            for (trial, slot) in cohort.slots.iter().enumerate() {
                let trial = trial as u32;
                unstored += u64::from(cohort.unstored_of(trial).len());
                if cohort.is_pending(slot) {
                    here += 1;
                    assert!(trial >= cohort.first_pending);
                } else if let Some(id) = slot.lease()
                    && let Some(lease) = self.leases.get(&id)
                {
                    let (Work::Trials { cohort: of, trials, variants, .. }, lease::LeaseKind::Own) =
                        (&lease.work, lease.kind)
                    else {
                        panic!("a survey, a copy or a check holds a trial")
                    };
                    assert!(*of as usize == at && trials.contains(&trial));
                    assert_eq!(slot.missing.without(*variants).len(), 0);
                    let count = undone.entry(id).or_default();
                    count.0 += slot.missing.len();
                    count.1 += u32::from(!cohort.is_done(slot));
                } else if slot.state() == SlotState::Suspect {
                    assert!(self.suspects.contains_key(&Place { cohort: at as u32, trial }));
                } else if slot.state() == SlotState::SetAside {
                    assert!(self.set_aside.contains_key(&Place { cohort: at as u32, trial }));
                    unstored -= u64::from(cohort.unstored_of(trial).len());
                } else {
                    assert!(cohort.is_done(slot), "leased to nobody");
                }
            }
            assert_eq!(here, cohort.pending);
            pending += u64::from(here);
            // A cohort that is not open has no work to lease.
            if here > 0 && !self.open.contains(&at) {
                let stream = &self.streams[cohort.shape.stream];
                let first = cohort.slots.iter().position(|slot| cohort.is_pending(slot)).unwrap();
                assert_eq!(stream.locate(first as u64 * cohort.shape.items_per_trial), None);
                assert_eq!(stream.next_parts(), None);
            }
        }
        assert_eq!(pending, self.pending);
        assert_eq!(unstored, self.unstored);
        for (id, lease) in &self.leases {
            if let Some(worker) = lease.worker {
                assert!(self.workers[&worker].leases.contains(id));
            }
            assert_eq!(
                (lease.missing, lease.undone),
                undone.get(id).copied().unwrap_or_default(),
                "{id:?} {lease:?}"
            );
        }
        for (name, worker) in &self.workers {
            assert!(worker.leases.iter().all(|lease| self.is_of(*lease, *name)));
            let takes = self
                .workers()
                .find(|view| view.name == *name)
                .is_some_and(|view| matches!(view.state, WorkerState::Working | WorkerState::Idle));
            let has_room = worker.leases.len() < worker.room() as usize && !worker.is_stalled;
            assert_eq!(worker.share.room, if takes { worker.room() } else { 0 });
            let standing = &self.sites[&worker.site];
            let waits = worker.share.waiting.is_some();
            if let Some(ticket) = worker.share.waiting {
                assert!(!worker.is_proven());
                assert_eq!(standing.place(ticket), Some(*name));
            }
            assert!(!worker.is_stalled || !worker.leases.is_empty());
            let is_alone = worker.leases.iter().any(|lease| self.is_of_one(*lease));
            // A worker that cannot get a lease, and whose leases have all stalled, is not waited for.
            let is_full = worker.leases.len() >= worker.room() as usize || is_alone;
            let have_stalled = worker.leases.iter().all(|lease| self.leases[lease].is_stalled);
            assert!(worker.is_stalled || worker.leases.is_empty() || !(is_full && have_stalled));
            assert!(!is_alone || worker.leases.len() == 1);
            assert_eq!(self.free.contains(name) || waits, takes && has_room && !is_alone);
            assert!(!(self.free.contains(name) && waits));
            if let Some(connection) = worker.connection {
                assert_eq!(self.connections[&connection], *name);
            }
        }
        assert!(self.connections.iter().all(|(id, name)| self.workers[name].connection == Some(*id)));
        let takes = |view: &WorkerView| matches!(view.state, WorkerState::Working | WorkerState::Idle);
        let takes = |name: &&WorkerName| self.workers().any(|view| view.name == **name && takes(&view));
        let rooms = self.workers.keys().filter(takes).map(|name| self.workers[name].room());
        assert_eq!(self.threads, rooms.sum::<u32>());
        let steady = |worker: &&Worker| worker.share.steady;
        assert_eq!(self.steady, self.workers.values().filter(steady).count());
        for (site, standing) in &self.sites {
            let shares =
                self.workers.values().filter(|worker| worker.site == *site).map(|worker| worker.share);
            assert_eq!(standing.sums(), standing::sums_of(shares));
        }
        assert!(
            self.draining
                || self.ended
                || self.unstored == 0
                || !self.leases.is_empty()
                || self.free.is_empty(),
            "workers are idle, and there is work"
        );
    }
}

/// Probabilities of faults.
#[derive(Clone, Copy)]
struct Faults {
    crash: f64,
    hang: f64,
    repeat: f64,
}

const NONE: Faults = Faults { crash: 0.0, hang: 0.0, repeat: 0.0 };

/// Simulated workers, network and store.
struct World {
    rng: Pcg64Mcg,
    faults: Faults,
    scheduler: Scheduler,
    /// Future events, by time and a number that makes the keys unique.
    agenda: BTreeMap<(Time, u64), Event>,
    number: u64,
    workers: BTreeMap<u64, bool>,
    now: Time,
    computed: BTreeMap<TrialId, u32>,
    largest_shard: u32,
    end: Option<Command>,
}

impl World {
    fn new(
        seed: u64,
        faults: Faults,
        config: SchedulerConfig,
        shape: PlanShape,
        stored: impl Fn(TrialId) -> bool,
    ) -> World {
        World {
            rng: Pcg64Mcg::seed_from_u64(seed),
            faults,
            scheduler: Scheduler::new(config, shape, stored),
            agenda: BTreeMap::new(),
            number: 0,
            workers: BTreeMap::new(),
            now: Time::ZERO,
            computed: BTreeMap::new(),
            largest_shard: 0,
            end: None,
        }
    }

    fn at(&mut self, time: Time, event: Event) {
        self.number += 1;
        self.agenda.insert((time, self.number), event);
    }

    fn join(&mut self, threads: u32) {
        self.number += 1;
        let worker = self.number;
        self.workers.insert(worker, true);
        self.at(self.now, joined(worker, threads));
    }

    fn run(&mut self) {
        let mut steps = 0;
        while self.end.is_none() {
            steps += 1;
            assert!(steps < 200_000, "no end in sight");
            let wake = self.scheduler.wake_up();
            let next = self.agenda.keys().next().copied();
            let event = match (wake, next) {
                (Some(wake), Some((time, _))) if wake < time => {
                    self.now = self.now.max(wake);
                    Event::WakeUp
                }
                (_, Some(key)) => {
                    self.now = self.now.max(key.0);
                    self.agenda.remove(&key).expect("just seen")
                }
                (Some(wake), None) => {
                    self.now = self.now.max(wake);
                    Event::WakeUp
                }
                (None, None) => panic!("nothing is left to happen, and the sweep is not done"),
            };
            for command in self.scheduler.handle(self.now, event) {
                self.obey(command);
            }
            self.scheduler.check();
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Grant { connection, lease, work } => {
                let alive = self.workers.get(&connection.0).copied().unwrap_or(false);
                if alive {
                    self.compute(connection.0, lease, work);
                }
            }
            Command::Drop { connection, .. } => {
                self.workers.remove(&connection.0);
                self.join(1);
            }
            Command::Replace | Command::Reinforce => self.join(1),
            Command::Discard { trials } => self.at(self.now, Event::Discarded { trials }),
            Command::Welcome { .. }
            | Command::Revoke { .. }
            | Command::Report(_)
            | Command::Forget { .. }
            | Command::Acknowledge { .. }
            | Command::KeepFindings { .. } => {}
            Command::Decide => panic!("the number of trials is fixed"),
            Command::Complete | Command::Drained | Command::Abandon(_) => self.end = Some(command),
        }
    }

    fn compute(&mut self, worker: u64, lease: LeaseId, work: Work) {
        let connection = connection(worker);
        let mut time = self.now;
        let crashes = self.rng.random_bool(self.faults.crash);
        let hangs = self.rng.random_bool(self.faults.hang);
        match work {
            Work::Survey { parts, .. } => {
                if !crashes && !hangs {
                    time += seconds(0.01 * parts.len() as f64);
                    self.at(
                        time,
                        Event::Surveyed {
                            connection,
                            lease: Some(lease),
                            findings: parts.map(finding).collect(),
                        },
                    );
                }
            }
            Work::Trials { cohort, trials, variants, start } => {
                self.largest_shard = self.largest_shard.max(trials.len() as u32);
                let item =
                    u64::from(trials.start) * self.scheduler.cohorts[cohort as usize].shape.items_per_trial;
                assert_eq!(Some(start), index(index(0).parts_to_reach(item) + 1).locate(item));
                let stop = if crashes || hangs { self.rng.random_range(trials.clone()) } else { trials.end };
                for trial in trials.start..stop {
                    time += seconds(0.3);
                    for variant in variants.iter() {
                        let trial = TrialId { cohort, variant, trial };
                        *self.computed.entry(trial).or_default() += 1;
                        let repeats = if self.rng.random_bool(self.faults.repeat) { 2 } else { 1 };
                        for _ in 0..repeats {
                            self.at(time, Event::Received { connection, lease: Some(lease), trial });
                            let stored = time + seconds(self.rng.random_range(0.001..0.2));
                            self.at(stored, Event::Stored { worker: name(worker), trial });
                        }
                    }
                }
            }
        }
        if crashes {
            self.workers.insert(worker, false);
            self.at(time, Event::Disconnected { connection });
            let description = "was killed".to_owned();
            self.at(time, Event::ProcessDied { worker: Some(name(worker)), description });
        } else if hangs {
            self.workers.insert(worker, false);
        } else {
            self.at(time, Event::Finished { connection, lease: Some(lease) });
        }
    }

    fn all_stored(&self) -> bool {
        self.scheduler.cohorts.iter().all(|cohort| cohort.slots.iter().all(|slot| cohort.is_done(slot)))
    }
}

const ITEMS: u64 = 4123 * 20_000;

#[test]
fn an_undisturbed_sweep_computes_every_trial_once() {
    for (threads, workers) in [(1, 1), (1, 2), (1, 5), (4, 3)] {
        let shape = shape(100, &[(3, ITEMS, 0), (1, ITEMS / 2, 0), (2, 1000, 1)], 2);
        let mut world = World::new(1, NONE, CONFIG, shape, |_| false);
        (0..workers).for_each(|_| world.join(threads));
        world.run();
        assert_eq!(world.end, Some(Command::Complete));
        assert_eq!(world.computed.len(), 600);
        assert!(world.computed.values().all(|times| *times == 1));
        // All threads had work nearly all the time.
        let ideal = 300.0 * 0.3 / f64::from(threads * workers);
        assert!(world.now.as_secs_f64() < ideal * 1.25 + 4.0, "{:?} for {ideal}", world.now);
    }
}

#[test]
fn shards_last_about_as_long_as_they_should() {
    let mut world = World::new(1, NONE, CONFIG, shape(400, &[(3, ITEMS, 0)], 1), |_| false);
    world.join(1);
    world.run();
    assert!((5..=7).contains(&world.largest_shard), "{} trials of 0.3 s", world.largest_shard);

    let config = SchedulerConfig { shard_trials: Some(13), ..CONFIG };
    let mut world = World::new(1, NONE, config, shape(50, &[(3, ITEMS, 0)], 1), |_| false);
    world.join(1);
    world.run();
    assert_eq!(world.largest_shard, 13);
}

#[test]
fn only_what_is_not_stored_is_computed() {
    let stored = |id: TrialId| id.trial < 20 || id.variant == 1 || id.trial % 7 == 3;
    let mut world = World::new(3, NONE, CONFIG, shape(60, &[(3, ITEMS, 0)], 1), stored);
    world.join(1);
    world.join(1);
    world.run();
    assert!(world.computed.keys().all(|id| !stored(*id)));
    assert!(world.all_stored());
}

#[test]
fn a_finished_sweep_is_complete_at_once() {
    let mut scheduler = Scheduler::new(CONFIG, shape(10, &[(3, 1000, 0)], 1), |_| true);
    assert_eq!(scheduler.handle(Time::ZERO, Event::WakeUp), [Command::Complete]);
    assert_eq!(scheduler.handle(Time::ZERO, Event::WakeUp), []);
}

#[test]
fn crashes_hangs_and_repeats_lose_nothing() {
    for seed in 0..300 {
        let faults = Faults { crash: 0.05, hang: 0.05, repeat: 0.2 };
        let config = SchedulerConfig { crash_limit: 1000, loss_limit: 1000, ..CONFIG };
        let shape = shape(40, &[(3, ITEMS, 0), (1, ITEMS, 1)], 2);
        let mut world = World::new(seed, faults, config, shape, |id| id.trial % 11 == 5);
        (0..1 + seed % 5).for_each(|_| world.join(1 + (seed % 3) as u32));
        world.run();
        assert_eq!(world.end, Some(Command::Complete), "seed {seed}");
        assert!(world.all_stored(), "seed {seed}");
    }
}

#[test]
fn workers_that_die_again_and_again_end_the_run() {
    let faults = Faults { crash: 1.0, ..NONE };
    let config = SchedulerConfig { shard_trials: Some(1), ..CONFIG };
    let mut world = World::new(5, faults, config, shape(40, &[(3, 1000, 0)], 1), |_| false);
    world.join(1);
    world.run();
    let Some(Command::Abandon(reason)) = &world.end else { panic!("{:?}", world.end) };
    assert!(matches!(reason, Reason::Crashes { count: 4, .. }), "{reason}");
}

/// Returns a scheduler for one cohort whose trials start at once, and its commands after these workers joined.
fn with_workers(config: SchedulerConfig, trials: u32, workers: &[(u64, u32)]) -> (Scheduler, Vec<Command>) {
    let mut scheduler = Scheduler::new(config, shape(trials, &[(1, 0, 0)], 1), |_| false);
    let mut commands = Vec::new();
    for &(worker, threads) in workers {
        commands.extend(scheduler.handle(Time::ZERO, joined(worker, threads)));
    }
    (scheduler, commands)
}

/// Returns the granted leases: connection, lease, trials.
fn granted(commands: &[Command]) -> Vec<(ConnectionId, LeaseId, Range<u32>)> {
    let grant = |command: &Command| match command {
        Command::Grant { connection, lease, work: Work::Trials { trials, .. } } => {
            Some((*connection, *lease, trials.clone()))
        }
        _ => None,
    };
    commands.iter().filter_map(grant).collect()
}

fn id(trial: u32) -> TrialId {
    TrialId { cohort: 0, variant: 0, trial }
}

/// A worker delivers trials, which are stored at once.
fn deliver(
    scheduler: &mut Scheduler,
    at: Time,
    worker: u64,
    lease: LeaseId,
    trials: Range<u32>,
) -> Vec<Command> {
    let mut commands = Vec::new();
    for trial in trials {
        let received =
            Event::Received { connection: connection(worker), lease: Some(lease), trial: id(trial) };
        commands.extend(scheduler.handle(at, received));
        commands.extend(scheduler.handle(at, Event::Stored { worker: name(worker), trial: id(trial) }));
    }
    scheduler.check();
    commands
}

fn finish(scheduler: &mut Scheduler, at: Time, worker: u64, lease: LeaseId) -> Vec<Command> {
    let commands =
        scheduler.handle(at, Event::Finished { connection: connection(worker), lease: Some(lease) });
    scheduler.check();
    commands
}

#[test]
fn a_trial_that_kills_its_workers_is_set_aside_and_the_rest_goes_on() {
    let config = SchedulerConfig { shard_trials: Some(2), ..CONFIG };
    let (mut scheduler, mut commands) = with_workers(config, 6, &[(0, 1)]);
    let poison = 1;
    let mut order = Vec::new();
    let mut end = None;
    for worker in 0..20 {
        let mut died = false;
        while let [(_, lease, trials)] = &granted(&commands)[..] {
            order.push(trials.clone());
            if trials.contains(&poison) {
                deliver(&mut scheduler, Time::ZERO, worker, *lease, trials.start..poison);
                let description = "was killed by signal 9".to_owned();
                let death = Event::ProcessDied { worker: Some(name(worker)), description };
                commands = scheduler.handle(Time::ZERO, death);
                died = true;
                break;
            }
            deliver(&mut scheduler, Time::ZERO, worker, *lease, trials.clone());
            commands = finish(&mut scheduler, Time::ZERO, worker, *lease);
        }
        if commands.contains(&Command::Complete) {
            end = Some(worker);
            break;
        }
        assert!(died && commands.contains(&Command::Replace), "{commands:?}");
        commands = scheduler.handle(Time::ZERO, joined(worker + 1, 1));
    }
    // From its second lease on, the trial was leased alone, and last. Three workers died of it.
    assert_eq!(end, Some(3));
    assert_eq!(order, [0..2, 2..4, 4..6, 1..2, 1..2, 1..2]);
    let set_aside: Vec<(Place, &str)> = scheduler.set_aside().collect();
    let [(place, reason)] = set_aside[..] else { panic!("{set_aside:?}") };
    assert_eq!(place, Place { cohort: 0, trial: poison });
    assert_eq!(
        reason,
        "failed 4 times, most recently because the worker that computed it was killed by signal 9"
    );
}

fn is_too_large(scheduler: &mut Scheduler, worker: u64, lease: LeaseId, trial: TrialId) -> Vec<Command> {
    let event = Event::NoResult { connection: connection(worker), lease: Some(lease), trial };
    let commands = scheduler.handle(Time::ZERO, event);
    scheduler.check();
    commands
}

#[test]
fn a_trial_that_is_too_large_costs_neither_its_worker_nor_its_neighbours_anything() {
    for workers in [1, 2] {
        let config = SchedulerConfig { shard_trials: Some(3), ..CONFIG };
        let mut scheduler = Scheduler::new(config, shape(3, &[(2, 0, 0)], 1), |_| false);
        let mut commands = Vec::new();
        for worker in 0..workers {
            commands.extend(scheduler.handle(Time::ZERO, joined(worker, 1)));
        }
        // With two workers, the second one is free to compute the trial, too.
        let large = TrialId { cohort: 0, variant: 1, trial: 1 };
        let mut claims = 0;
        while let Some((of, lease, trials)) = granted(&commands).first().cloned() {
            let worker = of.0;
            let variants = scheduler.leases[&lease].work.clone();
            let Work::Trials { variants, .. } = variants else { panic!("{variants:?}") };
            commands.remove(0);
            commands.retain(|command| !matches!(command, Command::Grant { lease: of, .. } if *of == lease));
            for trial in trials {
                for variant in variants.iter() {
                    let id = TrialId { cohort: 0, variant, trial };
                    if id == large {
                        let told = is_too_large(&mut scheduler, worker, lease, id);
                        assert!(told.contains(&Command::Acknowledge { connection: of, trial: id }));
                        claims += 1;
                        // A repeated claim counts once.
                        commands.extend(told);
                        commands.extend(is_too_large(&mut scheduler, worker, lease, id));
                        continue;
                    }
                    let received = Event::Received { connection: of, lease: Some(lease), trial: id };
                    commands.extend(scheduler.handle(Time::ZERO, received));
                    let stored = Event::Stored { worker: name(worker), trial: id };
                    commands.extend(scheduler.handle(Time::ZERO, stored));
                    scheduler.check();
                }
            }
            commands.extend(finish(&mut scheduler, Time::ZERO, worker, lease));
        }
        assert!(commands.contains(&Command::Complete), "{commands:?}");
        assert_eq!(claims, if workers == 1 { 3 } else { 2 });
        assert_eq!(scheduler.without_result().collect::<Vec<_>>(), [large]);
        assert!(scheduler.set_aside().next().is_none());
        assert_eq!((scheduler.tally().stored, scheduler.tally().quarantined), (5, 0));
        assert!(commands.contains(&Command::Report(Report::NoResult { trial: large })));
    }
}

#[test]
fn whoever_has_no_lease_of_a_trial_cannot_say_that_it_is_too_large() {
    let config = SchedulerConfig { shard_trials: Some(1), ..CONFIG };
    let (mut scheduler, commands) = with_workers(config, 2, &[(0, 1), (1, 1)]);
    let [(_, first, _), (_, second, _)] = &granted(&commands)[..] else { panic!("{commands:?}") };
    for (worker, lease, trial) in [
        (0, *first, 1),
        (0, *second, 1),
        (1, *first, 0),
        (1, LeaseId::new(77).expect("a number of a lease"), 1),
    ] {
        is_too_large(&mut scheduler, worker, lease, id(trial));
    }
    assert!(scheduler.large_is_empty());
}

#[test]
fn a_trial_that_was_said_to_be_too_large_and_is_not_is_taken() {
    let config = SchedulerConfig { shard_trials: Some(1), ..CONFIG };
    let (mut scheduler, mut commands) = with_workers(config, 2, &[(0, 1)]);
    let mut others = 0;
    while scheduler.without_result().count() == 0 {
        let [(_, lease, trials)] = &granted(&commands)[..] else { panic!("{commands:?}") };
        let (lease, trials) = (*lease, trials.clone());
        commands = if trials == (0..1) {
            is_too_large(&mut scheduler, 0, lease, id(0))
        } else {
            // The trial is tried again after all other work.
            others += 1;
            scheduler.handle(
                Time::ZERO,
                Event::Received { connection: connection(0), lease: Some(lease), trial: id(1) },
            )
        };
        commands.extend(finish(&mut scheduler, Time::ZERO, 0, lease));
    }
    assert_eq!(others, 1);
    scheduler.handle(Time::ZERO, Event::Stored { worker: name(0), trial: id(0) });
    scheduler.check();
    assert_eq!((scheduler.without_result().count(), scheduler.tally().set_aside), (0, 0));
    let last = scheduler.handle(Time::ZERO, Event::Stored { worker: name(0), trial: id(1) });
    assert!(last.contains(&Command::Complete));
}

#[test]
fn parts_of_a_result_keep_its_lease() {
    let (mut scheduler, commands) = with_workers(CONFIG, 1, &[(0, 1)]);
    let [(_, lease, _)] = &granted(&commands)[..] else { panic!("{commands:?}") };
    for second in 1..100 {
        let part = Event::Part { connection: connection(0), lease: Some(*lease) };
        scheduler.handle(seconds(second.into()), part);
        scheduler.handle(seconds(second.into()), Event::WakeUp);
        assert!(scheduler.leases.contains_key(lease));
    }
}

/// Returns how many workers are severed while they compute a trial until it is set aside.
fn severed_until_set_aside(is_death: bool) -> u64 {
    let config = SchedulerConfig { shard_trials: Some(1), crash_limit: 1, ..CONFIG };
    let (mut scheduler, mut commands) = with_workers(config, 1, &[(0, 1)]);
    for worker in 0.. {
        let granted = granted(&commands);
        assert!(matches!(&granted[..], [(_, _, trials)] if *trials == (0..1)), "{commands:?}");
        let description = "was cut off".to_owned();
        commands =
            scheduler.handle(Time::ZERO, Event::Severed { worker: name(worker), description, is_death });
        scheduler.check();
        assert!(commands.contains(&Command::Report(Report::GivenUp { worker: name(worker), leases: 1 })));
        // The scheduler does not replace a severed worker, and does not count it as a crash of the coordinator's
        // processes.
        assert!(!commands.iter().any(|command| matches!(command, Command::Replace | Command::Abandon(_))));
        if scheduler.set_aside().next().is_some() {
            assert_eq!(commands.last(), Some(&Command::Complete));
            return worker + 1;
        }
        // Its trial is available to other workers at once.
        commands = scheduler.handle(Time::ZERO, joined(worker + 1, 1));
    }
    unreachable!("it goes on until the trial is set aside")
}

#[test]
fn a_worker_that_is_severed_has_nothing_any_more_and_what_killed_it_counts_more_than_what_may_have() {
    // The first loss has no weight, because the trial was not yet leased as a suspect.
    assert_eq!(severed_until_set_aside(true), 1 + 3);
    assert_eq!(severed_until_set_aside(false), 1 + 12);
}

#[test]
fn a_worker_that_went_quiet_before_it_was_severed_speaks_against_no_trial() {
    for hears_of_the_connection_first in [false, true] {
        let config = SchedulerConfig { shard_trials: Some(1), loss_limit: 1, ..CONFIG };
        let (mut scheduler, _) = with_workers(config, 1, &[(0, 1)]);
        let now = CONFIG.lease_ttl / 2;
        if hears_of_the_connection_first {
            scheduler.handle(now, Event::Disconnected { connection: connection(0) });
        }
        let description = "was cut off".to_owned();
        let commands =
            scheduler.handle(now, Event::Severed { worker: name(0), description, is_death: false });
        assert_eq!(commands, [Command::Report(Report::GivenUp { worker: name(0), leases: 1 })]);
        assert_eq!(granted(&scheduler.handle(now, joined(1, 1))).len(), 1);
        scheduler.check();
    }
}

#[test]
fn where_nothing_can_be_computed_the_run_ends() {
    let config = SchedulerConfig { shard_trials: Some(1), crash_limit: 1000, ..CONFIG };
    let (mut scheduler, _) = with_workers(config, 20, &[(0, 1)]);
    for worker in 0..100 {
        let death = Event::ProcessDied { worker: Some(name(worker)), description: "died".into() };
        if let Some(Command::Abandon(reason)) = scheduler.handle(Time::ZERO, death).last() {
            assert!(matches!(reason, Reason::Nothing { count: HOPELESS, .. }), "{reason}");
            return;
        }
        scheduler.handle(Time::ZERO, joined(worker + 1, 1));
        scheduler.check();
    }
    panic!("no end");
}

#[test]
fn a_lease_lives_as_long_as_its_worker_is_heard() {
    let (mut scheduler, _) = with_workers(CONFIG, 4, &[(1, 1)]);
    let heard = Event::Heard { connection: connection(1) };
    assert_eq!(scheduler.wake_up(), Some(seconds(10.0)));
    scheduler.handle(seconds(9.0), heard);
    assert_eq!(scheduler.handle(seconds(10.0), Event::WakeUp), []);
    assert_eq!(scheduler.wake_up(), Some(seconds(19.0)));
    assert_eq!(
        scheduler.handle(seconds(19.0), Event::WakeUp),
        [
            Command::Drop { connection: connection(1), why: Dropped::Silent },
            Command::Report(Report::GivenUp { worker: name(1), leases: 1 })
        ]
    );
    // A late result is still accepted.
    scheduler.handle(seconds(20.0), Event::Stored { worker: name(1), trial: id(0) });
    scheduler.check();
    assert!(scheduler.cohorts[0].is_done(&scheduler.cohorts[0].slots[0]));
}

#[test]
fn a_worker_that_comes_back_goes_on_with_its_leases() {
    let config = SchedulerConfig { shard_trials: Some(2), ..CONFIG };
    let (mut scheduler, commands) = with_workers(config, 8, &[(1, 3)]);
    let leases: Vec<LeaseId> = granted(&commands).iter().map(|(_, lease, _)| *lease).collect();
    scheduler.handle(seconds(1.0), Event::Disconnected { connection: connection(1) });
    scheduler.check();
    // The worker still holds the first lease. It has finished the second; the results are on their way. It has never
    // received the third.
    let back = Event::Joined {
        connection: connection(2),
        worker: name(1),
        site: Site::Address(1),
        threads: 3,
        held: vec![leases[0]],
    };
    let commands = scheduler.handle(seconds(2.0), back);
    assert_eq!(commands[0], Command::Welcome { connection: connection(2), kept: vec![leases[0]] });
    assert_eq!(granted(&commands), []);
    for trial in 2..4 {
        let received =
            Event::Received { connection: connection(2), lease: Some(leases[1]), trial: id(trial) };
        scheduler.handle(seconds(2.0), received);
    }
    let commands = scheduler.handle(seconds(2.0), Event::Offered { connection: connection(2) });
    scheduler.check();
    assert_eq!(scheduler.tally().given_back, 1);
    let again: Vec<Range<u32>> = granted(&commands).into_iter().map(|(_, _, trials)| trials).collect();
    assert_eq!(again, [4..6, 6..8]);
}

#[test]
fn leases_that_were_lost_on_the_way_are_missed() {
    let (mut scheduler, commands) = with_workers(CONFIG, 9, &[(1, 1)]);
    let [(_, lease, _)] = granted(&commands)[..] else { panic!("{commands:?}") };
    let beat = |held: &[LeaseId], last| Event::Beat { connection: connection(1), held: held.to_vec(), last };
    // The lease may be on its way.
    assert_eq!(scheduler.handle(seconds(1.0), beat(&[], None)), []);
    assert_eq!(scheduler.handle(seconds(2.0), beat(&[lease], Some(lease))), []);
    // The worker no longer holds it, and has reported no end.
    let commands = scheduler.handle(seconds(3.0), beat(&[], Some(lease)));
    assert_eq!(granted(&commands).len(), 1, "{commands:?}");
    scheduler.check();
    // A lease cannot be on its way for ever.
    let lease = granted(&commands)[0].1;
    for second in 4..13 {
        assert_eq!(scheduler.handle(seconds(f64::from(second)), beat(&[], None)), []);
    }
    let commands = scheduler.handle(seconds(13.0), beat(&[], None));
    assert!(granted(&commands)[0].1 > lease);
}

#[test]
fn leases_that_a_worker_came_back_without_are_not_its_own_for_ever() {
    let (mut scheduler, commands) = with_workers(CONFIG, 9, &[(1, 1)]);
    let [(_, lease, _)] = granted(&commands)[..] else { panic!("{commands:?}") };
    let back = Event::Joined {
        connection: connection(2),
        worker: name(1),
        site: Site::Address(1),
        threads: 1,
        held: vec![],
    };
    scheduler.handle(seconds(1.0), back);
    // The worker never reports that it has offered everything, but sends heartbeats.
    let beat = Event::Beat { connection: connection(2), held: vec![], last: Some(lease) };
    let commands = scheduler.handle(seconds(2.0), beat);
    assert!(granted(&commands)[0].1 > lease);
    scheduler.check();
}

#[test]
fn a_second_connection_of_a_worker_takes_the_place_of_the_first() {
    let (mut scheduler, commands) = with_workers(CONFIG, 4, &[(1, 1)]);
    let [(_, lease, _)] = granted(&commands)[..] else { panic!("{commands:?}") };
    let again = Event::Joined {
        connection: connection(2),
        worker: name(1),
        site: Site::Address(1),
        threads: 1,
        held: vec![lease],
    };
    let commands = scheduler.handle(seconds(1.0), again);
    assert_eq!(commands[0], Command::Drop { connection: connection(1), why: Dropped::Superseded });
    assert_eq!(commands[1], Command::Welcome { connection: connection(2), kept: vec![lease] });
    // The end of the first connection has no effect any more.
    assert_eq!(scheduler.handle(seconds(2.0), Event::Disconnected { connection: connection(1) }), []);
    scheduler.check();
}

#[test]
fn only_the_holder_of_a_lease_can_end_it() {
    let (mut scheduler, commands) = with_workers(CONFIG, 4, &[(1, 1), (2, 1)]);
    let (_, lease, _) = granted(&commands)[0].clone();
    let other = connection(2);
    for event in [
        Event::Finished { connection: other, lease: Some(lease) },
        Event::HandedBack { connection: other, lease: Some(lease) },
        Event::Failed { connection: other, lease: Some(lease), reason: "no".into() },
    ] {
        scheduler.handle(Time::ZERO, event);
        assert!(scheduler.is_of(lease, name(1)));
    }
}

#[test]
fn our_own_absence_is_nobodys_silence() {
    let (mut scheduler, _) = with_workers(CONFIG, 4, &[(1, 1)]);
    assert_eq!(scheduler.handle(seconds(100.0), Event::Stalled), []);
    assert_eq!(scheduler.handle(seconds(100.0), Event::WakeUp), []);
    let commands = scheduler.handle(seconds(110.0), Event::WakeUp);
    assert_eq!(commands[0], Command::Drop { connection: connection(1), why: Dropped::Silent });
}

#[test]
fn a_worker_that_only_fails_is_shut_out_and_stays_so() {
    let config = SchedulerConfig { shard_trials: Some(1), ..CONFIG };
    let (mut scheduler, mut commands) = with_workers(config, 40, &[(1, 1)]);
    let mut failures = 0;
    while let [(_, lease, _)] = granted(&commands)[..] {
        failures += 1;
        let reason = "no such engine".to_owned();
        commands = scheduler
            .handle(Time::ZERO, Event::Failed { connection: connection(1), lease: Some(lease), reason });
        scheduler.check();
    }
    assert_eq!(failures, 5);
    assert!(matches!(&commands[0], Command::Drop { why: Dropped::Quarantined(_), .. }), "{commands:?}");
    let commands = scheduler.handle(
        Time::ZERO,
        Event::Joined {
            connection: connection(9),
            worker: name(1),
            site: Site::Address(1),
            threads: 1,
            held: vec![],
        },
    );
    assert!(matches!(&commands[..], [Command::Drop { why: Dropped::Quarantined(_), .. }]), "{commands:?}");
    // The other trials are for other workers. So are those that the worker failed at, but last.
    let commands = scheduler.handle(Time::ZERO, joined(2, 40));
    assert_eq!(granted(&commands).len(), 35);
}

#[test]
fn a_wrong_survey_is_not_believed() {
    for findings in [vec![finding(0); 3], vec![finding(0) - 20_000; 32], vec![]] {
        let mut scheduler = Scheduler::new(CONFIG, shape(100, &[(1, ITEMS, 0)], 1), |id| id.trial < 50);
        let commands = scheduler.handle(Time::ZERO, joined(1, 1));
        let Some(Command::Grant { lease, work: Work::Survey { .. }, .. }) = commands.last() else {
            panic!("{commands:?}")
        };
        let surveyed = Event::Surveyed { connection: connection(1), lease: Some(*lease), findings };
        let commands = scheduler.handle(Time::ZERO, surveyed);
        assert!(matches!(commands[0], Command::Drop { why: Dropped::Quarantined(_), .. }), "{commands:?}");
        assert!(!commands.iter().any(|command| matches!(command, Command::KeepFindings { .. })));
    }
}

#[test]
fn idle_workers_help_slow_ones_with_what_these_come_to_last() {
    let config = SchedulerConfig { shard_trials: Some(8), ..CONFIG };
    let (mut scheduler, commands) = with_workers(config, 16, &[(1, 1), (2, 1)]);
    let [(_, slow, _), (_, fast, _)] = granted(&commands)[..] else { panic!("{commands:?}") };
    deliver(&mut scheduler, seconds(1.0), 2, fast, 8..16);
    finish(&mut scheduler, seconds(1.0), 2, fast);
    deliver(&mut scheduler, seconds(1.0), 1, slow, 0..1);
    // The slow worker has seven trials left, and its pace is unknown.
    let commands = scheduler.handle(seconds(1.5), Event::WakeUp);
    let [(to, copy, trials)] = &granted(&commands)[..] else { panic!("{commands:?}") };
    assert_eq!((*to, trials.clone()), (connection(2), 4..8));
    scheduler.check();
    // The first result counts, and the other worker's lease is revoked.
    deliver(&mut scheduler, seconds(2.0), 2, *copy, 4..8);
    finish(&mut scheduler, seconds(2.0), 2, *copy);
    let commands = deliver(&mut scheduler, seconds(2.0), 1, slow, 1..4);
    let revoke = Command::Revoke { connection: connection(1), lease: slow };
    assert!(commands.contains(&revoke), "{commands:?}");
    assert_eq!(commands.last(), Some(&Command::Complete));
    assert_eq!(scheduler.tally().copies, 1);
}

#[test]
fn workers_that_are_as_fast_do_not_do_each_others_work() {
    let config = SchedulerConfig { shard_trials: Some(2), ..CONFIG };
    let (mut scheduler, commands) = with_workers(config, 8, &[(1, 1), (2, 1)]);
    let mut leases: BTreeMap<u64, LeaseId> =
        granted(&commands).into_iter().map(|(connection, lease, _)| (connection.0, lease)).collect();
    let mut done = 0;
    for round in 0..2 {
        let at = seconds(f64::from(round + 1));
        for worker in [1, 2] {
            deliver(&mut scheduler, at, worker, leases[&worker], done..done + 2);
            done += 2;
            // The second worker keeps its last lease.
            if (round, worker) != (1, 2) {
                let commands = finish(&mut scheduler, at, worker, leases[&worker]);
                leases.extend(
                    granted(&commands).into_iter().map(|(connection, lease, _)| (connection.0, lease)),
                );
            }
        }
    }
    assert_eq!(scheduler.tally().copies, 0);
}

pub(super) fn digest(byte: u8) -> Digest {
    Digest([byte; 32])
}

#[test]
fn an_audit_is_for_another_worker() {
    let config = SchedulerConfig { shard_trials: Some(4), audit_percent: 50.0, ..CONFIG };
    let (mut scheduler, commands) = with_workers(config, 4, &[(1, 1)]);
    let (_, lease, _) = granted(&commands)[0].clone();
    deliver(&mut scheduler, Time::ZERO, 1, lease, 0..4);
    let commands = finish(&mut scheduler, Time::ZERO, 1, lease);
    assert_eq!(commands, [], "the same worker is not asked, and the sweep not complete");
    let mut commands = scheduler.handle(Time::ZERO, joined(2, 1));
    let mut audited = Vec::new();
    while let [(_, lease, trials)] = &granted(&commands)[..] {
        audited.push(trials.start);
        deliver(&mut scheduler, Time::ZERO, 2, *lease, trials.clone());
        commands = finish(&mut scheduler, Time::ZERO, 2, *lease);
    }
    assert_eq!((audited, scheduler.tally().audited), (vec![0, 1], 2));
    assert!(scheduler.ended);
}

#[test]
fn an_audit_is_done_again_if_a_better_auditor_comes_meanwhile() {
    let config = SchedulerConfig { audit_percent: 100.0, ..CONFIG };
    let (mut scheduler, commands) = with_workers(config, 1, &[(1, 1)]);
    let (_, lease, _) = granted(&commands)[0].clone();
    deliver(&mut scheduler, Time::ZERO, 1, lease, 0..1);
    finish(&mut scheduler, Time::ZERO, 1, lease);
    // A worker on the same machine may audit while no other machine is connected.
    let beside = Event::Joined {
        connection: connection(2),
        worker: name(2),
        site: Site::Host(1),
        threads: 1,
        held: vec![],
    };
    let commands = scheduler.handle(Time::ZERO, beside);
    let [(_, audit, _)] = granted(&commands)[..] else { panic!("{commands:?}") };
    let commands = scheduler.handle(Time::ZERO, joined(3, 1));
    assert_eq!(granted(&commands), []);
    let commands =
        [deliver(&mut scheduler, Time::ZERO, 2, audit, 0..1), finish(&mut scheduler, Time::ZERO, 2, audit)]
            .concat();
    assert_eq!(scheduler.tally().audited, 0);
    let [(to, lease, _)] = granted(&commands)[..] else { panic!("{commands:?}") };
    assert_eq!(to, connection(3));
    deliver(&mut scheduler, Time::ZERO, 3, lease, 0..1);
    assert_eq!(scheduler.tally().audited, 1);
    assert!(scheduler.ended);
}

#[test]
fn an_audit_that_nobody_can_do_is_done_without() {
    let config = SchedulerConfig { audit_percent: 100.0, ..CONFIG };
    let (mut scheduler, commands) = with_workers(config, 1, &[(1, 1)]);
    let (_, lease, _) = granted(&commands)[0].clone();
    deliver(&mut scheduler, Time::ZERO, 1, lease, 0..1);
    finish(&mut scheduler, Time::ZERO, 1, lease);
    let mut last = Vec::new();
    while !scheduler.ended {
        let wake = scheduler.wake_up().expect("something to wait for");
        assert!(wake < seconds(20.0));
        last = scheduler.handle(wake, Event::WakeUp);
    }
    assert_eq!(last, [Command::Report(Report::Unaudited { trials: 1 }), Command::Complete]);
}

/// Returns a scheduler of two trials, one of which is to be audited. Its auditor, worker 2, has stalled with it. Then a
/// result of an earlier lease of the auditor is stored, the last one of the sweep.
fn with_a_stuck_auditor() -> (Scheduler, Time) {
    let config = SchedulerConfig { shard_trials: Some(1), audit_percent: 1.0, ..CONFIG };
    let (mut scheduler, commands) = with_workers(config, 2, &[(1, 1)]);
    let (_, lease, _) = granted(&commands)[0].clone();
    deliver(&mut scheduler, Time::ZERO, 1, lease, 0..1);
    finish(&mut scheduler, Time::ZERO, 1, lease);
    let commands = scheduler.handle(Time::ZERO, joined(2, 1));
    assert_eq!(granted(&commands)[0].2, 0..1);
    let now = stay(&mut scheduler, Time::ZERO, seconds(15.0));
    scheduler.handle(now, Event::Received { connection: connection(2), lease: None, trial: id(1) });
    scheduler.handle(now, Event::Stored { worker: name(2), trial: id(1) });
    scheduler.check();
    (scheduler, now)
}

/// Lets time pass. The workers send signs of life and nothing else.
fn stay(scheduler: &mut Scheduler, mut now: Time, until: Time) -> Time {
    while now < until && !scheduler.ended {
        now += LOOK_EVERY;
        for worker in 1..3 {
            scheduler.handle(now, Event::Heard { connection: connection(worker) });
        }
        scheduler.handle(now, Event::WakeUp);
        scheduler.check();
    }
    now
}

#[test]
fn an_audit_does_not_wait_for_a_worker_whose_leases_have_all_stalled() {
    let (mut scheduler, now) = with_a_stuck_auditor();
    stay(&mut scheduler, now, now + seconds(60.0));
    assert!(scheduler.ended);
    assert_eq!(scheduler.tally().unaudited, 1);
}

#[test]
fn a_new_worker_gets_the_audit_of_one_whose_leases_have_all_stalled() {
    let (mut scheduler, now) = with_a_stuck_auditor();
    // It has delivered nothing, so it gets checks only if no steady worker can do them.
    let (connection, worker, site) = (connection(3), name(3), Site::Address(3));
    let stranger = Event::Joined { connection, worker, site, threads: 1, held: vec![] };
    let commands = scheduler.handle(now, stranger);
    let [(to, audit, _)] = granted(&commands)[..] else { panic!("{commands:?}") };
    assert_eq!(to, connection);
    deliver(&mut scheduler, now, 3, audit, 0..1);
    assert!(scheduler.ended);
    assert_eq!(scheduler.tally().audited, 1);
}

#[test]
fn a_worker_that_lies_is_found_out_and_what_it_did_is_done_again() {
    let config = SchedulerConfig { shard_trials: Some(2), audit_percent: 50.0, ..CONFIG };
    let (mut scheduler, commands) = with_workers(config, 4, &[(1, 1)]);
    let (_, lease, _) = granted(&commands)[0].clone();
    // The lying worker computes all trials; the first of them is audited.
    deliver(&mut scheduler, Time::ZERO, 1, lease, 0..2);
    let commands = finish(&mut scheduler, Time::ZERO, 1, lease);
    let (_, lease, _) = granted(&commands)[0].clone();
    deliver(&mut scheduler, Time::ZERO, 1, lease, 2..4);
    finish(&mut scheduler, Time::ZERO, 1, lease);
    let commands = scheduler.handle(Time::ZERO, joined(2, 1));
    let (_, audit, _) = granted(&commands)[0].clone();
    let received = Event::Received { connection: connection(2), lease: Some(audit), trial: id(0) };
    scheduler.handle(Time::ZERO, received);
    let disagreed = |worker, said| Event::Disagreed {
        worker: name(worker),
        trial: id(0),
        stored: digest(1),
        received: digest(said),
    };
    let commands = scheduler.handle(Time::ZERO, disagreed(2, 2));
    let alarm = Report::Disagreed { trial: id(0), stored_by: Some(name(1)), worker: name(2) };
    assert!(commands.contains(&Command::Report(alarm)), "{commands:?}");
    finish(&mut scheduler, Time::ZERO, 2, audit);
    // Neither of the two may settle the dispute.
    let commands = scheduler.handle(Time::ZERO, joined(3, 1));
    let (to, check, trials) = granted(&commands)[0].clone();
    assert_eq!((to, trials), (connection(3), 0..1));
    scheduler
        .handle(Time::ZERO, Event::Received { connection: connection(3), lease: Some(check), trial: id(0) });
    let commands = scheduler.handle(Time::ZERO, disagreed(3, 2));
    assert!(commands.contains(&Command::Report(Report::Settled {
        trial: id(0),
        stored_is_right: false,
        machines: 3
    })));
    let all: Vec<TrialId> = (0..4).map(id).collect();
    assert!(commands.contains(&Command::Discard { trials: all.clone() }), "{commands:?}");
    assert!(commands.iter().any(|command| matches!(
        command,
        Command::Drop { connection: ConnectionId(1), why: Dropped::Quarantined(_) }
    )));
    assert!(!scheduler.ended, "until it is out of the store it is not done, and then not either");
    scheduler.handle(Time::ZERO, Event::Discarded { trials: all });
    scheduler.check();
    assert_eq!(scheduler.unstored, 4);
    let commands = finish(&mut scheduler, Time::ZERO, 3, check);
    assert!(!granted(&commands).is_empty());
}

#[test]
fn where_two_differ_and_there_is_no_third_one_is_called_and_else_the_trial_is_set_aside() {
    let (mut scheduler, commands) = with_workers(CONFIG, 2, &[(1, 1)]);
    let (_, lease, _) = granted(&commands)[0].clone();
    deliver(&mut scheduler, Time::ZERO, 1, lease, 0..1);
    let event = Event::Disagreed { worker: name(2), trial: id(0), stored: digest(1), received: digest(2) };
    scheduler.handle(Time::ZERO, joined(2, 1));
    scheduler.handle(Time::ZERO, event);
    let mut reinforcements = 0;
    let mut now = Time::ZERO;
    while !scheduler.ended && now < seconds(100.0) {
        now += LOOK_EVERY;
        for worker in [1, 2] {
            scheduler.handle(now, Event::Heard { connection: connection(worker) });
        }
        for command in scheduler.handle(now, Event::WakeUp) {
            match command {
                Command::Reinforce => reinforcements += 1,
                Command::Discard { trials } => drop(scheduler.handle(now, Event::Discarded { trials })),
                _ => {}
            }
        }
        scheduler.check();
        let open = scheduler
            .leases
            .iter()
            .find(|(_, lease)| lease.worker.is_some())
            .map(|(id, of)| (*id, of.worker));
        if let Some((lease, Some(worker))) = open {
            let worker = u128::from_be_bytes(worker.0) as u64;
            deliver(&mut scheduler, now, worker, lease, 1..2);
            finish(&mut scheduler, now, worker, lease);
        }
    }
    assert_eq!(reinforcements, 2);
    let set_aside: Vec<Place> = scheduler.set_aside().map(|(place, _)| place).collect();
    assert_eq!(set_aside, [id(0).place()]);
    assert!(scheduler.ended);
}

#[test]
fn a_coordinator_that_ends_calls_its_leases_in() {
    let (mut scheduler, commands) = with_workers(CONFIG, 4, &[(1, 1), (2, 1)]);
    let [(_, a, _), (_, b, _)] = granted(&commands)[..] else { panic!("{commands:?}") };
    let commands = scheduler.handle(Time::ZERO, Event::Drain);
    let revoke = |worker, lease| Command::Revoke { connection: connection(worker), lease };
    assert_eq!(commands, [revoke(1, a), revoke(2, b)]);
    assert_eq!(
        scheduler.handle(Time::ZERO, Event::HandedBack { connection: connection(1), lease: Some(a) }),
        []
    );
    let commands =
        scheduler.handle(Time::ZERO, Event::HandedBack { connection: connection(2), lease: Some(b) });
    assert_eq!(commands, [Command::Drained]);
}

#[test]
fn a_worker_that_leaves_gets_nothing_more() {
    let (mut scheduler, commands) = with_workers(CONFIG, 40, &[(1, 2)]);
    let leases: Vec<LeaseId> = granted(&commands).iter().map(|(_, lease, _)| *lease).collect();
    scheduler.handle(Time::ZERO, Event::Draining { connection: connection(1) });
    for lease in leases {
        let commands =
            scheduler.handle(Time::ZERO, Event::HandedBack { connection: connection(1), lease: Some(lease) });
        assert_eq!(granted(&commands), []);
        scheduler.check();
    }
    assert_eq!(scheduler.tally().set_aside, 0);
    let commands = scheduler.handle(seconds(1.0), Event::Disconnected { connection: connection(1) });
    assert_eq!(commands, [Command::Report(Report::Left { worker: name(1) })]);
}

#[test]
fn parts_arrive_in_any_order_and_are_counted_once() {
    let mut stream = SurveyedStream::new(Index::new(Some(PARTS)));
    stream.want(600_000_000);
    let a = stream.next_parts().unwrap();
    stream.take(a.clone());
    let b = stream.next_parts().unwrap();
    stream.take(b.clone());
    assert_eq!((a.clone(), b.start), (0..32, 32));
    assert_eq!(stream.counted(b.start, b.clone().map(finding).collect()), None);
    stream.give_back(b.clone());
    let (first, known) = stream.counted(a.start, a.clone().map(finding).collect()).unwrap();
    assert_eq!((first, known.len()), (0, (a.len() + b.len())));
    assert_eq!(stream.counted(a.start, a.clone().map(finding).collect()), None);
    assert_eq!(stream.locate(1_000_000), index(1).locate(1_000_000));
}

/// Returns how many times more CPU time an event takes in one life than in another. Each time is the least of several
/// tries, taken in turn, because other processes can only increase it.
fn ratio(of: Life, to: Life) -> f64 {
    let per_event = |life: &Life| {
        let time = || {
            Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("a clock")).as_secs_f64()
        };
        let begun = time();
        let events = life.live();
        (time() - begun) / events as f64
    };
    let mut least = [f64::INFINITY; 2];
    for _ in 0..7 {
        for (least, life) in least.iter_mut().zip([&of, &to]) {
            *least = least.min(per_event(life));
        }
    }
    least[0] / least[1]
}

const FEW: Life = Life { workers: 8, cohorts: 4, variants: 1, trials: 10_000, shard: 1 };

#[test]
fn a_decision_for_a_thousand_workers_costs_about_as_much_as_for_eight() {
    // When the scheduler looked at every worker, the ratio was a hundred.
    let ratio = ratio(Life { workers: 1000, ..FEW }, FEW);
    assert!(ratio < 4.0, "{ratio}");
}

#[test]
fn a_decision_among_a_million_trials_costs_about_as_much_as_among_ten_thousand() {
    let of = |cohorts, trials| Life { workers: 64, cohorts, variants: 1, trials, shard: 16 };
    let ratio = ratio(of(100, 10_000), of(1, 10_000));
    assert!(ratio < 3.0, "{ratio}");
}

#[test]
fn storing_a_trial_of_a_large_shard_costs_about_as_much_as_of_a_small_one() {
    let of = |shard| Life { workers: 8, cohorts: 2, variants: 1, trials: 20_000, shard };
    let ratio = ratio(of(4096), of(64));
    assert!(ratio < 3.0, "{ratio}");
}
