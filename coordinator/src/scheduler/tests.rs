//! The scheduler under simulated workers, time and faults. One seed replays any failure.

use std::collections::BTreeMap;

use granule_sim::noise::spans_to_reach;
use nix::time::{ClockId, clock_gettime};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::*;
use crate::bench::Life;

const CONFIG: Config = Config {
    lease_ttl: Duration::from_secs(10),
    lease_target: Duration::from_secs(2),
    shard_trials: None,
    crash_limit: 4,
};

/// Accepted attempts of a span, as the simulated workers count them.
fn accepted(span: u32) -> u32 {
    3_923_000 + (span * 7919) % 8_000
}

fn index(spans: u32) -> NoiseIndex {
    let mut index = NoiseIndex::new();
    (0..spans).for_each(|span| index.push(accepted(span)));
    index
}

fn shape(trials: u32, cohorts: &[(u32, u64, usize)], streams: usize) -> Shape {
    let cohort = |&(variants, normals_per_trial, stream)| CohortShape { variants, normals_per_trial, stream };
    Shape { trials, cohorts: cohorts.iter().map(cohort).collect(), streams: vec![NoiseIndex::new(); streams] }
}

fn seconds(s: f64) -> Time {
    Duration::from_secs_f64(s)
}

impl Scheduler {
    /// What must hold after every event.
    fn check(&self) {
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
                } else if let Some(lease) = self.leases.get(&slot.lease) {
                    let Work::Trials { cohort: of, trials, variants, .. } = &lease.work else {
                        panic!("a survey holds a trial")
                    };
                    assert!(*of as usize == at && trials.contains(&trial));
                    assert_eq!(slot.missing.without(*variants).len(), 0);
                    let count = undone.entry(slot.lease).or_default();
                    count.0 += slot.missing.len();
                    count.1 += u32::from(!cohort.is_done(slot));
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
                assert_eq!(stream.locate(first as u64 * cohort.shape.normals_per_trial), None);
                assert_eq!(stream.next_spans(), None);
            }
        }
        assert_eq!(pending, self.pending);
        assert_eq!(unstored, self.unstored);
        for (id, lease) in &self.leases {
            if let Some(worker) = lease.worker {
                assert!(self.workers[&worker].leases.contains(id));
            }
            assert_eq!((lease.missing, lease.undone), undone.get(id).copied().unwrap_or_default());
        }
        for (id, worker) in &self.workers {
            assert!(worker.leases.len() <= worker.threads as usize);
            assert_eq!(self.free.contains(id), worker.leases.len() < worker.threads as usize);
        }
        assert!(self.free.iter().all(|id| self.workers.contains_key(id)));
        assert_eq!(self.threads, self.workers.values().map(|worker| worker.threads).sum::<u32>());
    }
}

/// How badly things go.
#[derive(Clone, Copy)]
struct Faults {
    crash: f64,
    hang: f64,
    repeat: f64,
}

const NONE: Faults = Faults { crash: 0.0, hang: 0.0, repeat: 0.0 };

/// Workers, a network and a store, all of them made up.
struct World {
    rng: Pcg64Mcg,
    faults: Faults,
    scheduler: Scheduler,
    /// What is to happen, by time and a number that keeps them apart.
    agenda: BTreeMap<(Time, u64), Event>,
    number: u64,
    workers: BTreeMap<WorkerId, bool>,
    now: Time,
    computed: BTreeMap<TrialId, u32>,
    largest_shard: u32,
    end: Option<Command>,
}

impl World {
    fn new(
        seed: u64,
        faults: Faults,
        config: Config,
        shape: Shape,
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
        let worker = WorkerId(self.number);
        self.workers.insert(worker, true);
        self.at(self.now, Event::Joined { worker, threads });
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
            Command::Grant { worker, lease, work } => {
                let alive = self.workers.get(&worker).copied().unwrap_or(false);
                if alive {
                    self.compute(worker, lease, work);
                }
            }
            Command::Drop { worker } => {
                self.workers.remove(&worker);
                self.join(1);
            }
            Command::Replace => self.join(1),
            Command::Acknowledge { .. } | Command::KeepSpans { .. } => {}
            Command::Complete | Command::Abandon(_) => self.end = Some(command),
        }
    }

    fn compute(&mut self, worker: WorkerId, lease: LeaseId, work: Work) {
        let mut time = self.now;
        let crashes = self.rng.random_bool(self.faults.crash);
        let hangs = self.rng.random_bool(self.faults.hang);
        match work {
            Work::Survey { spans, .. } => {
                if !crashes && !hangs {
                    time += seconds(0.01 * spans.len() as f64);
                    self.at(time, Event::Surveyed { lease, accepted: spans.map(accepted).collect() });
                }
            }
            Work::Trials { cohort, trials, variants, start } => {
                self.largest_shard = self.largest_shard.max(trials.len() as u32);
                let normal =
                    u64::from(trials.start) * self.scheduler.cohorts[cohort as usize].shape.normals_per_trial;
                assert_eq!(Some(start), index(spans_to_reach(normal) + 1).locate(normal));
                let stop = if crashes || hangs { self.rng.random_range(trials.clone()) } else { trials.end };
                for trial in trials.start..stop {
                    time += seconds(0.3);
                    for variant in variants.iter() {
                        let trial = TrialId { cohort, variant, trial };
                        *self.computed.entry(trial).or_default() += 1;
                        let repeats = if self.rng.random_bool(self.faults.repeat) { 2 } else { 1 };
                        for _ in 0..repeats {
                            self.at(time, Event::Heard { worker });
                            self.at(time, Event::Received { lease, trial });
                            let stored = time + seconds(self.rng.random_range(0.001..0.2));
                            self.at(stored, Event::Stored { worker, trial });
                        }
                    }
                }
            }
        }
        if crashes {
            self.workers.insert(worker, false);
            self.at(time, Event::Left { worker });
            self.at(time, Event::ProcessDied { description: "was killed".into() });
        } else if hangs {
            self.workers.insert(worker, false);
        } else {
            self.at(time, Event::Heard { worker });
            self.at(time, Event::Finished { lease });
        }
    }

    fn all_stored(&self) -> bool {
        self.scheduler.cohorts.iter().all(|cohort| cohort.slots.iter().all(|slot| cohort.is_done(slot)))
    }
}

const PAPER_NORMALS: u64 = 4123 * 20_000;

#[test]
fn an_undisturbed_sweep_computes_every_trial_once() {
    for (threads, workers) in [(1, 1), (1, 2), (1, 5), (4, 3)] {
        let shape = shape(100, &[(3, PAPER_NORMALS, 0), (1, PAPER_NORMALS / 2, 0), (2, 1000, 1)], 2);
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
    let mut world = World::new(1, NONE, CONFIG, shape(400, &[(3, PAPER_NORMALS, 0)], 1), |_| false);
    world.join(1);
    world.run();
    assert!((5..=7).contains(&world.largest_shard), "{} trials of 0.3 s", world.largest_shard);

    let config = Config { shard_trials: Some(13), ..CONFIG };
    let mut world = World::new(1, NONE, config, shape(50, &[(3, PAPER_NORMALS, 0)], 1), |_| false);
    world.join(1);
    world.run();
    assert_eq!(world.largest_shard, 13);
}

#[test]
fn only_what_is_not_stored_is_computed() {
    let stored = |id: TrialId| id.trial < 20 || id.variant == 1 || id.trial % 7 == 3;
    let mut world = World::new(3, NONE, CONFIG, shape(60, &[(3, PAPER_NORMALS, 0)], 1), stored);
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
        let config = Config { crash_limit: 1000, ..CONFIG };
        let shape = shape(40, &[(3, PAPER_NORMALS, 0), (1, PAPER_NORMALS, 1)], 2);
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
    let config = Config { shard_trials: Some(1), ..CONFIG };
    let mut world = World::new(5, faults, config, shape(40, &[(3, 1000, 0)], 1), |_| false);
    world.join(1);
    world.run();
    let Some(Command::Abandon(reason)) = &world.end else { panic!("{:?}", world.end) };
    assert!(matches!(reason, Reason::Crashes { count: 4, .. } | Reason::Poison { count: 4, .. }), "{reason}");
}

#[test]
fn a_trial_that_kills_its_workers_ends_the_run_and_is_named() {
    let mut scheduler =
        Scheduler::new(Config { shard_trials: Some(2), ..CONFIG }, shape(4, &[(1, 0, 0)], 1), |_| false);
    let poison = TrialId { cohort: 0, variant: 0, trial: 1 };
    for n in 0..4 {
        let worker = WorkerId(n);
        let commands = scheduler.handle(Time::ZERO, Event::Joined { worker, threads: 1 });
        let Some(Command::Grant { lease, work: Work::Trials { trials, .. }, .. }) = commands.first() else {
            panic!("{commands:?}")
        };
        for trial in trials.clone().take_while(|&trial| trial != poison.trial) {
            let trial = TrialId { trial, ..poison };
            scheduler.handle(Time::ZERO, Event::Received { lease: *lease, trial });
            scheduler.handle(Time::ZERO, Event::Stored { worker, trial });
        }
        let commands = scheduler.handle(Time::ZERO, Event::Left { worker });
        let expected = (n == 3).then_some(Command::Abandon(Reason::Poison { trial: poison, count: 4 }));
        assert_eq!(commands.first(), expected.as_ref());
    }
}

#[test]
fn a_lease_lives_as_long_as_its_worker_is_heard() {
    let mut scheduler = Scheduler::new(CONFIG, shape(4, &[(1, 0, 0)], 1), |_| false);
    let worker = WorkerId(1);
    assert_eq!(scheduler.wake_up(), None);
    scheduler.handle(Time::ZERO, Event::Joined { worker, threads: 1 });
    assert_eq!(scheduler.wake_up(), Some(seconds(10.0)));
    scheduler.handle(seconds(9.0), Event::Heard { worker });
    assert_eq!(scheduler.handle(seconds(10.0), Event::WakeUp), []);
    assert_eq!(scheduler.wake_up(), Some(seconds(19.0)));
    assert_eq!(scheduler.handle(seconds(19.0), Event::WakeUp), [Command::Drop { worker }]);
    // A result that comes late all the same is taken.
    let trial = TrialId { cohort: 0, variant: 0, trial: 0 };
    scheduler.handle(seconds(20.0), Event::Stored { worker, trial });
    scheduler.check();
    assert!(scheduler.cohorts[0].is_done(&scheduler.cohorts[0].slots[0]));
}

#[test]
fn our_own_absence_is_nobodys_silence() {
    let mut scheduler = Scheduler::new(CONFIG, shape(4, &[(1, 0, 0)], 1), |_| false);
    let worker = WorkerId(1);
    scheduler.handle(Time::ZERO, Event::Joined { worker, threads: 1 });
    assert_eq!(scheduler.handle(seconds(100.0), Event::Stalled), []);
    assert_eq!(scheduler.handle(seconds(100.0), Event::WakeUp), []);
    assert_eq!(scheduler.handle(seconds(110.0), Event::WakeUp), [Command::Drop { worker }]);
}

#[test]
fn a_refusal_ends_the_run() {
    let mut scheduler = Scheduler::new(CONFIG, shape(4, &[(1, 0, 0)], 1), |_| false);
    scheduler.handle(Time::ZERO, Event::Joined { worker: WorkerId(1), threads: 1 });
    let reason = "no such engine".to_owned();
    assert_eq!(
        scheduler.handle(Time::ZERO, Event::Failed { lease: LeaseId(1), reason: reason.clone() }),
        [Command::Abandon(Reason::Refused { reason })]
    );
}

#[test]
fn a_wrong_survey_is_not_believed() {
    for accepted in [vec![accepted(0); 3], vec![accepted(0) - 20_000; 32], vec![]] {
        let mut scheduler =
            Scheduler::new(CONFIG, shape(100, &[(1, PAPER_NORMALS, 0)], 1), |id| id.trial < 50);
        let joined = Event::Joined { worker: WorkerId(1), threads: 1 };
        let commands = scheduler.handle(Time::ZERO, joined);
        let [Command::Grant { lease, work: Work::Survey { .. }, .. }] = commands[..] else {
            panic!("{commands:?}")
        };
        let commands = scheduler.handle(Time::ZERO, Event::Surveyed { lease, accepted });
        assert!(matches!(commands[..], [Command::Abandon(Reason::Refused { .. })]), "{commands:?}");
    }
}

#[test]
fn a_worker_that_delivers_nothing_is_not_asked_for_ever() {
    let mut scheduler = Scheduler::new(CONFIG, shape(4, &[(1, 0, 0)], 1), |_| false);
    let mut commands = scheduler.handle(Time::ZERO, Event::Joined { worker: WorkerId(1), threads: 1 });
    for _ in 0..4 {
        let [Command::Grant { lease, .. }] = commands[..] else { panic!("{commands:?}") };
        commands = scheduler.handle(Time::ZERO, Event::Finished { lease });
    }
    let trial = TrialId { cohort: 0, variant: 0, trial: 0 };
    assert_eq!(commands, [Command::Abandon(Reason::Poison { trial, count: 4 })]);
}

#[test]
fn spans_arrive_in_any_order_and_are_counted_once() {
    let mut stream = Stream::new(NoiseIndex::new());
    stream.want(600_000_000);
    let a = stream.next_spans().unwrap();
    stream.take(a.clone());
    let b = stream.next_spans().unwrap();
    stream.take(b.clone());
    assert_eq!((a.clone(), b.start), (0..32, 32));
    assert_eq!(stream.counted(b.start, b.clone().map(accepted).collect()), None);
    stream.give_back(b.clone());
    let (first, known) = stream.counted(a.start, a.clone().map(accepted).collect()).unwrap();
    assert_eq!((first, known.len()), (0, (a.len() + b.len())));
    assert_eq!(stream.counted(a.start, a.clone().map(accepted).collect()), None);
    assert_eq!(stream.locate(1_000_000), index(1).locate(1_000_000));
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

const FEW: Life = Life { workers: 8, cohorts: 4, variants: 1, trials: 10_000, shard: 1 };

#[test]
fn a_decision_for_a_thousand_workers_costs_about_as_much_as_for_eight() {
    // Looking at every worker made it a hundred.
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
