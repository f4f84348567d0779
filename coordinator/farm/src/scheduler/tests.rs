//! The scheduler under hand-made events: regressions, and what neither the model nor whole histories look at, such as
//! who gets what, when, and at what price.

use std::collections::BTreeMap;
use std::ops::Range;

use granule_engine::Digest;
use nix::time::{ClockId, clock_gettime};

use super::cohort::SlotState;
use super::event::Reason;
use super::suspects::HOPELESS;
use super::worker::Worker;
use super::*;
use crate::bench::Life;
use granule_engine::stream::{Index, Parts};

const CONFIG: Config = Config {
    lease_ttl: Duration::from_secs(10),
    lease_target: Duration::from_secs(2),
    shard_trials: None,
    crash_limit: 4,
    loss_limit: 12,
    audit_percent: 0.0,
};

const SINGLE: Config = Config { shard_trials: Some(1), ..CONFIG };

/// Those of the simulated streams.
pub(super) const PARTS: Parts = Parts { items_per_finding: 2, mean: 3_926_990.8, sd: 918.0 };

/// What the simulated workers find of a part.
pub(super) fn finding(part: u32) -> u32 {
    3_923_000 + (part * 7919) % 8_000
}

pub(super) fn shape(trials: u32, cohorts: &[(u32, u64, usize)], streams: usize) -> Shape {
    let cohort = |&(variants, items_per_trial, stream)| CohortShape {
        variants,
        items_per_trial,
        cost_per_trial: items_per_trial as f64,
        stream,
    };
    let cohorts = cohorts.iter().map(cohort).collect();
    Shape { trials, cohorts, streams: vec![Index::new(Some(PARTS)); streams] }
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
    /// What must hold after every event.
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
                    let (Work::Trials { cohort: of, trials, variants, .. }, lease::Kind::Own) =
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
            // A cohort that is passed over has nothing to hand out.
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

/// Items of a trial of the paper.
const ITEMS: u64 = 4123 * 20_000;

/// A sweep, and how it went.
struct Run {
    /// How often each trial was computed.
    computed: BTreeMap<TrialId, u32>,
    largest_shard: u32,
    took: Time,
}

/// Has workers that do as they should, and need 0.3 s for a trial, compute what is not stored.
fn run(
    config: Config,
    shape: Shape,
    stored: impl Fn(TrialId) -> bool,
    (workers, threads): (u64, u32),
) -> Run {
    let mut scheduler = Scheduler::new(config, shape, stored);
    let mut run = Run { computed: BTreeMap::new(), largest_shard: 0, took: Time::ZERO };
    let mut agenda: BTreeMap<(Time, u64), Event> =
        (0..workers).map(|worker| ((Time::ZERO, worker), joined(worker, threads))).collect();
    let mut number = workers;
    loop {
        let due = agenda.keys().next().copied();
        let (time, event) = match scheduler.wake_up() {
            Some(wake) if due.is_none_or(|(due, _)| wake < due) => (wake, Event::WakeUp),
            _ => (due.expect("something is to happen").0, agenda.pop_first().expect("just seen").1),
        };
        run.took = run.took.max(time);
        let mut at = |after: f64, event| {
            number += 1;
            agenda.insert((run.took + seconds(after), number), event);
        };
        for command in scheduler.handle(run.took, event) {
            match command {
                Command::Grant { connection, lease, work: Work::Survey { parts, .. } } => {
                    let takes = 0.01 * parts.len() as f64;
                    let findings = parts.map(finding).collect();
                    at(takes, Event::Surveyed { connection, lease: Some(lease), findings });
                    at(takes, Event::Finished { connection, lease: Some(lease) });
                }
                Command::Grant { connection, lease, work: Work::Trials { cohort, trials, variants, .. } } => {
                    run.largest_shard = run.largest_shard.max(trials.len() as u32);
                    let mut after = 0.0;
                    for trial in trials {
                        after += 0.3;
                        for variant in variants.iter() {
                            let trial = TrialId { cohort, variant, trial };
                            *run.computed.entry(trial).or_default() += 1;
                            at(after, Event::Received { connection, lease: Some(lease), trial });
                            at(after + 0.1, Event::Stored { worker: name(connection.0), trial });
                        }
                    }
                    at(after, Event::Finished { connection, lease: Some(lease) });
                }
                Command::Complete => return run,
                _ => {}
            }
        }
        scheduler.check();
    }
}

#[test]
fn an_undisturbed_sweep_computes_every_trial_once() {
    for (threads, workers) in [(1, 1), (1, 2), (1, 5), (4, 3)] {
        let shape = shape(100, &[(3, ITEMS, 0), (1, ITEMS / 2, 0), (2, 1000, 1)], 2);
        let run = run(CONFIG, shape, |_| false, (workers, threads));
        assert_eq!(run.computed.len(), 600);
        assert!(run.computed.values().all(|times| *times == 1));
        // All threads had work nearly all the time.
        let ideal = 300.0 * 0.3 / f64::from(threads * workers as u32);
        assert!(run.took.as_secs_f64() < ideal * 1.25 + 4.0, "{:?} for {ideal}", run.took);
    }
}

#[test]
fn shards_last_about_as_long_as_they_should_and_hold_only_what_is_not_stored() {
    for (shard_trials, largest) in [(None, 5..=7), (Some(13), 13..=13)] {
        let config = Config { shard_trials, ..CONFIG };
        let run = run(config, shape(400, &[(3, ITEMS, 0)], 1), |_| false, (1, 1));
        assert!(largest.contains(&run.largest_shard), "{} trials of 0.3 s", run.largest_shard);
    }
    let stored = |id: TrialId| id.trial < 20 || id.variant == 1 || id.trial % 7 == 3;
    let computed = run(CONFIG, shape(60, &[(3, ITEMS, 0)], 1), stored, (2, 1)).computed;
    assert!(computed.keys().all(|id| !stored(*id)));
    assert_eq!(computed.len(), 2 * (20..60).filter(|trial| trial % 7 != 3).count());
}

/// A scheduler with a plan of one cohort whose trials start at once, and what the joining of its workers led to.
fn with_workers(config: Config, trials: u32, workers: &[(u64, u32)]) -> (Scheduler, Vec<Command>) {
    let mut scheduler = Scheduler::new(config, shape(trials, &[(1, 0, 0)], 1), |_| false);
    let mut commands = Vec::new();
    for &(worker, threads) in workers {
        commands.extend(scheduler.handle(Time::ZERO, joined(worker, threads)));
    }
    (scheduler, commands)
}

/// Leases granted: connection, lease, trials.
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
    let config = Config { shard_trials: Some(2), ..CONFIG };
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
    // From the second time on it was alone, and last, and three workers died of it.
    assert_eq!(end, Some(3));
    assert_eq!(order, [0..2, 2..4, 4..6, 1..2, 1..2, 1..2]);
    let set_aside: Vec<(Place, &str)> = scheduler.set_aside().collect();
    let [(place, reason)] = set_aside[..] else { panic!("{set_aside:?}") };
    assert_eq!(place, Place { cohort: 0, trial: poison });
    assert_eq!(reason, "tried 4 times; the last time, its worker was killed by signal 9");
}

#[test]
fn where_workers_only_die_the_run_ends() {
    let (mut scheduler, _) = with_workers(SINGLE, 20, &[(0, 1)]);
    let dies = |scheduler: &mut Scheduler, worker| {
        let death = Event::ProcessDied { worker: Some(name(worker)), description: "died".into() };
        let last = scheduler.handle(Time::ZERO, death).pop();
        scheduler.check();
        scheduler.handle(Time::ZERO, joined(worker + 1, 1));
        last
    };
    // A trial that is stored in between makes up for those before.
    assert!((0..3).all(|worker| dies(&mut scheduler, worker) == Some(Command::Replace)));
    scheduler.handle(Time::ZERO, Event::Stored { worker: name(0), trial: id(9) });
    assert!((3..6).all(|worker| dies(&mut scheduler, worker) == Some(Command::Replace)));
    let last = dies(&mut scheduler, 6);
    assert!(matches!(last, Some(Command::Abandon(Reason::Crashes { count: 4, .. }))), "{last:?}");
    // Where none is, and they may die as often as they like, no trial can be computed.
    let (mut scheduler, _) = with_workers(Config { crash_limit: 1000, ..SINGLE }, 20, &[(0, 1)]);
    let end =
        (0..100).find_map(|worker| dies(&mut scheduler, worker).filter(|last| *last != Command::Replace));
    assert!(matches!(end, Some(Command::Abandon(Reason::Nothing { count: HOPELESS, .. }))), "{end:?}");
}

fn is_too_large(scheduler: &mut Scheduler, worker: u64, lease: LeaseId, trial: TrialId) -> Vec<Command> {
    let event = Event::TooLarge { connection: connection(worker), lease: Some(lease), trial };
    let commands = scheduler.handle(Time::ZERO, event);
    scheduler.check();
    commands
}

#[test]
fn a_trial_that_is_too_large_costs_neither_its_worker_nor_its_neighbours_anything() {
    for workers in [1, 2] {
        let config = Config { shard_trials: Some(3), ..CONFIG };
        let mut scheduler = Scheduler::new(config, shape(3, &[(2, 0, 0)], 1), |_| false);
        let mut commands = Vec::new();
        for worker in 0..workers {
            commands.extend(scheduler.handle(Time::ZERO, joined(worker, 1)));
        }
        // With two of them, the second is free to compute it, too.
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
                        // Said twice, it counts once.
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
        assert_eq!(scheduler.too_large().collect::<Vec<_>>(), [large]);
        assert!(scheduler.set_aside().next().is_none());
        assert_eq!((scheduler.tally().stored, scheduler.tally().quarantined), (5, 0));
        assert!(commands.contains(&Command::Report(Report::TooLarge { trial: large })));
    }
}

#[test]
fn whoever_has_no_lease_of_a_trial_cannot_say_that_it_is_too_large() {
    let (mut scheduler, commands) = with_workers(SINGLE, 2, &[(0, 1), (1, 1)]);
    let [(_, first, _), (_, second, _)] = &granted(&commands)[..] else { panic!("{commands:?}") };
    let never = LeaseId::new(77).expect("a number of a lease");
    for (worker, lease, trial) in [(0, *first, 1), (0, *second, 1), (1, *first, 0), (1, never, 1)] {
        is_too_large(&mut scheduler, worker, lease, id(trial));
    }
    assert!(scheduler.large_is_empty());
}

#[test]
fn a_trial_that_was_said_to_be_too_large_and_is_not_is_taken() {
    let (mut scheduler, mut commands) = with_workers(SINGLE, 2, &[(0, 1)]);
    let mut others = 0;
    while scheduler.too_large().count() == 0 {
        let [(_, lease, trials)] = &granted(&commands)[..] else { panic!("{commands:?}") };
        let (lease, trials) = (*lease, trials.clone());
        commands = if trials == (0..1) {
            is_too_large(&mut scheduler, 0, lease, id(0))
        } else {
            // It is tried again when there is nothing else.
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
    assert_eq!((scheduler.too_large().count(), scheduler.tally().set_aside), (0, 0));
    let last = scheduler.handle(Time::ZERO, Event::Stored { worker: name(0), trial: id(1) });
    assert!(last.contains(&Command::Complete));
}

/// How many workers a trial is given to that are severed with it, until it is set aside.
fn severed_until_set_aside(is_death: bool) -> u64 {
    let config = Config { shard_trials: Some(1), crash_limit: 1, ..CONFIG };
    let (mut scheduler, mut commands) = with_workers(config, 1, &[(0, 1)]);
    for worker in 0.. {
        let granted = granted(&commands);
        assert!(matches!(&granted[..], [(_, _, trials)] if *trials == (0..1)), "{commands:?}");
        let description = "was cut off".to_owned();
        commands =
            scheduler.handle(Time::ZERO, Event::Severed { worker: name(worker), description, is_death });
        scheduler.check();
        assert!(commands.contains(&Command::Report(Report::GivenUp { worker: name(worker), leases: 1 })));
        // Whether it is replaced is decided elsewhere, and it is no crash of a process of ours.
        assert!(!commands.iter().any(|command| matches!(command, Command::Replace | Command::Abandon(_))));
        if scheduler.set_aside().next().is_some() {
            assert_eq!(commands.last(), Some(&Command::Complete));
            return worker + 1;
        }
        // What it had is for others at once.
        commands = scheduler.handle(Time::ZERO, joined(worker + 1, 1));
    }
    unreachable!("it goes on until the trial is set aside")
}

#[test]
fn a_worker_that_is_severed_has_nothing_any_more_and_what_killed_it_counts_more_than_what_may_have() {
    // The first time nothing was suspected, which counts for nothing.
    assert_eq!(severed_until_set_aside(true), 1 + 3);
    assert_eq!(severed_until_set_aside(false), 1 + 12);
}

#[test]
fn a_worker_that_went_quiet_before_it_was_severed_speaks_against_no_trial() {
    for hears_of_the_connection_first in [false, true] {
        let config = Config { shard_trials: Some(1), loss_limit: 1, ..CONFIG };
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
    // Parts of results keep it, too, and our own absence is nobody's silence.
    let (mut scheduler, commands) = with_workers(CONFIG, 1, &[(1, 1)]);
    let lease = Some(granted(&commands)[0].1);
    for second in 1..100 {
        scheduler.handle(seconds(second.into()), Event::Part { connection: connection(1), lease });
        assert_eq!(scheduler.handle(seconds(second.into()), Event::WakeUp), []);
    }
    assert_eq!(scheduler.handle(seconds(200.0), Event::Stalled), []);
    assert_eq!(scheduler.handle(seconds(200.0), Event::WakeUp), []);
    let commands = scheduler.handle(seconds(210.0), Event::WakeUp);
    assert_eq!(commands[0], Command::Drop { connection: connection(1), why: Dropped::Silent });
    // A result that comes late all the same is taken.
    scheduler.handle(seconds(220.0), Event::Stored { worker: name(1), trial: id(0) });
    scheduler.check();
    assert!(scheduler.cohorts[0].is_done(&scheduler.cohorts[0].slots[0]));
}

/// A worker that was here connects again, and is still at these leases.
fn back(held: &[LeaseId], threads: u32) -> Event {
    let (connection, worker, site) = (connection(2), name(1), Site::Address(1));
    Event::Joined { connection, worker, site, threads, held: held.to_vec() }
}

#[test]
fn a_worker_that_comes_back_goes_on_with_its_leases() {
    let config = Config { shard_trials: Some(2), ..CONFIG };
    let (mut scheduler, commands) = with_workers(config, 8, &[(1, 3)]);
    let leases: Vec<LeaseId> = granted(&commands).iter().map(|(_, lease, _)| *lease).collect();
    scheduler.handle(seconds(1.0), Event::Disconnected { connection: connection(1) });
    scheduler.check();
    // One it is still at; one it has finished, and the results are on their way; one it never got.
    let commands = scheduler.handle(seconds(2.0), back(&leases[..1], 3));
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
    // It may be on its way.
    assert_eq!(scheduler.handle(seconds(1.0), beat(&[], None)), []);
    assert_eq!(scheduler.handle(seconds(2.0), beat(&[lease], Some(lease))), []);
    // The worker has it no more, and said nothing of an end.
    let commands = scheduler.handle(seconds(3.0), beat(&[], Some(lease)));
    assert_eq!(granted(&commands).len(), 1, "{commands:?}");
    scheduler.check();
    // A lease that does not arrive is not on its way for ever.
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
    scheduler.handle(seconds(1.0), back(&[], 1));
    // It never says that it has offered all it has, but goes on.
    let beat = Event::Beat { connection: connection(2), held: vec![], last: Some(lease) };
    let commands = scheduler.handle(seconds(2.0), beat);
    assert!(granted(&commands)[0].1 > lease);
    scheduler.check();
}

#[test]
fn a_worker_that_only_fails_is_shut_out_and_stays_so() {
    let (mut scheduler, mut commands) = with_workers(SINGLE, 40, &[(1, 1)]);
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
    let commands = scheduler.handle(Time::ZERO, back(&[], 1));
    assert!(matches!(&commands[..], [Command::Drop { why: Dropped::Quarantined(_), .. }]), "{commands:?}");
    // The rest is for others, and what it failed at, too, but last.
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
    let config = Config { shard_trials: Some(8), ..CONFIG };
    let (mut scheduler, commands) = with_workers(config, 16, &[(1, 1), (2, 1)]);
    let [(_, slow, _), (_, fast, _)] = granted(&commands)[..] else { panic!("{commands:?}") };
    deliver(&mut scheduler, seconds(1.0), 2, fast, 8..16);
    finish(&mut scheduler, seconds(1.0), 2, fast);
    deliver(&mut scheduler, seconds(1.0), 1, slow, 0..1);
    // Seven are left to the slow one, of which nothing is known but that it has been at it.
    let commands = scheduler.handle(seconds(1.5), Event::WakeUp);
    let [(to, copy, trials)] = &granted(&commands)[..] else { panic!("{commands:?}") };
    assert_eq!((*to, trials.clone()), (connection(2), 4..8));
    scheduler.check();
    // Whoever is first is taken, and the other is told.
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
    let config = Config { shard_trials: Some(2), ..CONFIG };
    let (mut scheduler, commands) = with_workers(config, 8, &[(1, 1), (2, 1)]);
    let mut leases: BTreeMap<u64, LeaseId> =
        granted(&commands).into_iter().map(|(connection, lease, _)| (connection.0, lease)).collect();
    let mut done = 0;
    for round in 0..2 {
        let at = seconds(f64::from(round + 1));
        for worker in [1, 2] {
            deliver(&mut scheduler, at, worker, leases[&worker], done..done + 2);
            done += 2;
            // The second one is still at its last lease.
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
    let config = Config { shard_trials: Some(4), audit_percent: 50.0, ..CONFIG };
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
    assert_eq!((audited, scheduler.tally().audited), (vec![0, 2], 2));
    assert!(scheduler.ended);
}

#[test]
fn an_audit_is_done_again_if_a_better_auditor_comes_meanwhile() {
    let config = Config { audit_percent: 100.0, ..CONFIG };
    let (mut scheduler, commands) = with_workers(config, 1, &[(1, 1)]);
    let (_, lease, _) = granted(&commands)[0].clone();
    deliver(&mut scheduler, Time::ZERO, 1, lease, 0..1);
    finish(&mut scheduler, Time::ZERO, 1, lease);
    // One of the same machine is good enough while there is no other.
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
    let config = Config { audit_percent: 100.0, ..CONFIG };
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

/// How much more of the thread's time an event takes in one life than in another. The least of
/// several tries each, taken in turn: what else the machine does can only add to them.
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

#[test]
fn what_an_event_costs_does_not_grow_with_workers_trials_or_shards() {
    let of = |workers, cohorts, trials, shard| Life { workers, cohorts, variants: 1, trials, shard };
    // Looking at every worker made the first a hundred.
    for (what, large, small, most) in [
        ("a thousand workers", of(1000, 4, 10_000, 1), of(8, 4, 10_000, 1), 4.0),
        ("a million trials", of(64, 100, 10_000, 16), of(64, 1, 10_000, 16), 3.0),
        ("large shards", of(8, 2, 20_000, 4096), of(8, 2, 20_000, 64), 3.0),
    ] {
        let ratio = ratio(large, small);
        assert!(ratio < most, "{what}: {ratio}");
    }
}
