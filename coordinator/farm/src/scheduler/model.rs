//! Tests the scheduler against a simple model of what can be observed from outside.
//!
//! A history is any sequence of [`Transition`]s: actions of workers, the store, time and users, sensible or not.
//! [`Outside`] carries it out and keeps its own records. These follow only from the events and the scheduler's
//! commands: stored trials, disputes, connected workers and their leases. After every event the two must agree. At the
//! end honest workers connect, and the sweep must end from any state.
//!
//! proptest makes a failing history as short as it can, and keeps its seed in `proptest-regressions/`. A history that
//! once failed and is understood is a test of its own, below.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};

use super::tests::{PARTS, connection, digest, finding, name, seconds, shape};
use super::*;
use granule_engine::stream::Index;

/// A plan, and the scheduler's settings.
#[derive(Clone, Debug)]
struct Setup {
    trials: u32,
    /// The numbers of trials that successive decisions ask for, ascending. If there are any, the number depends on
    /// decisions.
    raised: Vec<u32>,
    /// Variants, items of a trial and stream of each cohort.
    cohorts: Vec<(u32, u64, usize)>,
    /// The trials that are stored at the beginning, by bits.
    stored: u64,
    shard_trials: Option<u32>,
    audit_percent: f64,
    crash_limit: u32,
    loss_limit: u32,
    /// Workers of the history stay connected at the end, and keep their leases.
    is_held: bool,
}

const STREAMS: usize = 2;

/// Number of workers in the histories. Those that connect at the end have higher numbers.
const WORKERS: u8 = 5;

/// A lease that a worker names.
#[derive(Clone, Copy, Debug)]
enum Pick {
    /// A lease of its own.
    Own(u8),
    /// A lease that any worker was granted.
    Any(u8),
    /// Any number.
    Number(u32),
}

/// The findings that a worker reports.
#[derive(Clone, Copy, Debug)]
enum Count {
    Right,
    TooFew,
    Implausible,
}

/// An event outside the scheduler. If its worker, connection or lease does not exist, nothing happens.
#[derive(Clone, Debug)]
enum Transition {
    /// A worker connects, for the first time or again, and still holds some of its leases, by bits.
    Join {
        worker: u8,
        threads: u32,
        held: u64,
    },
    Offered {
        worker: u8,
    },
    Heard {
        worker: u8,
    },
    Beat {
        worker: u8,
        held: u64,
        last: Pick,
    },
    /// Any connection, past or present, ends.
    Disconnected {
        line: u8,
    },
    Draining {
        worker: u8,
    },
    /// A result of a lease, by number of the trial, right or wrong.
    Result {
        worker: u8,
        lease: Pick,
        which: u8,
        digest: u8,
    },
    /// All results of a lease, and then its end.
    All {
        worker: u8,
        lease: Pick,
        digest: u8,
    },
    /// A result of any trial, under any lease.
    Stray {
        worker: u8,
        lease: Pick,
        which: u16,
        digest: u8,
    },
    Surveyed {
        worker: u8,
        lease: Pick,
        count: Count,
    },
    Finished {
        worker: u8,
        lease: Pick,
    },
    HandedBack {
        worker: u8,
        lease: Pick,
    },
    Failed {
        worker: u8,
        lease: Pick,
    },
    Invalid {
        worker: u8,
    },
    ProcessDied {
        worker: Option<u8>,
    },
    Severed {
        worker: u8,
        is_death: bool,
    },
    /// The store carries out this many requests.
    Kept {
        count: u8,
    },
    /// This many milliseconds pass.
    Later {
        milliseconds: u32,
    },
    /// Time passes until the scheduler's next wake-up.
    Due,
    Stalled,
    /// The driver answers the request for a decision, if there is one.
    Decided,
    Drain,
}

/// The workers that have connected. They determine which transitions make sense.
#[derive(Clone, Debug)]
struct Reference {
    setup: Setup,
    here: BTreeSet<u8>,
}

impl Transition {
    /// Returns the acting worker, if it must have connected before.
    fn worker(&self) -> Option<u8> {
        match self {
            Transition::Offered { worker }
            | Transition::Heard { worker }
            | Transition::Beat { worker, .. }
            | Transition::Draining { worker }
            | Transition::Result { worker, .. }
            | Transition::All { worker, .. }
            | Transition::Stray { worker, .. }
            | Transition::Surveyed { worker, .. }
            | Transition::Finished { worker, .. }
            | Transition::HandedBack { worker, .. }
            | Transition::Failed { worker, .. }
            | Transition::Invalid { worker }
            | Transition::Severed { worker, .. } => Some(*worker),
            _ => None,
        }
    }
}

fn setups() -> impl Strategy<Value = Setup> {
    let cohort = (1..=3_u32, select(vec![0, 1000, 82_460_000]), 0..STREAMS);
    let shard_trials = prop_oneof![Just(None), (1..=4_u32).prop_map(Some)];
    let stored = prop_oneof![3 => Just(0), 1 => any::<u64>()];
    let audit_percent = select(vec![0.0, 0.0, 50.0, 100.0]);
    let limits = (prop_oneof![2..5_u32, Just(1000)], 1..=3_u32);
    let limits = (limits, any::<bool>());
    let raised = prop_oneof![1 => Just(Vec::new()), 1 => vec(1..=4_u32, 1..=3)];
    let trials = (1..=8_u32, raised).prop_map(|(trials, steps)| {
        let mut last = trials;
        let raise = |step| {
            last += step;
            last
        };
        (trials, steps.into_iter().map(raise).collect::<Vec<u32>>())
    });
    (trials, vec(cohort, 1..=3), stored, shard_trials, audit_percent, limits).prop_map(
        |(
            (trials, raised),
            cohorts,
            stored,
            shard_trials,
            audit_percent,
            ((crash_limit, loss_limit), is_held),
        )| {
            Setup {
                trials,
                raised,
                cohorts,
                stored,
                shard_trials,
                audit_percent,
                crash_limit,
                loss_limit,
                is_held,
            }
        },
    )
}

fn picks() -> impl Strategy<Value = Pick> {
    let numbers = prop_oneof![0..30_u32, Just(u32::MAX - 1), Just(u32::MAX)];
    prop_oneof![
        12 => any::<u8>().prop_map(Pick::Own),
        2 => any::<u8>().prop_map(Pick::Any),
        1 => numbers.prop_map(Pick::Number),
    ]
}

/// 0 stands for the right digest.
fn digests() -> impl Strategy<Value = u8> {
    prop_oneof![9 => Just(0), 1 => 1..3_u8]
}

impl ReferenceStateMachine for Reference {
    type State = Reference;
    type Transition = Transition;

    fn init_state() -> BoxedStrategy<Reference> {
        setups().prop_map(|setup| Reference { setup, here: BTreeSet::new() }).boxed()
    }

    fn transitions(state: &Reference) -> BoxedStrategy<Transition> {
        let join = (0..WORKERS, 1..=3_u32, prop_oneof![Just(0), any::<u64>(), Just(u64::MAX)])
            .prop_map(|(worker, threads, held)| Transition::Join { worker, threads, held });
        if state.here.is_empty() {
            return join.boxed();
        }
        let worker = select(state.here.iter().copied().collect::<Vec<u8>>());
        let worker = || worker.clone();
        let of_lease = || (worker(), picks());
        let held = prop_oneof![Just(0), any::<u64>(), Just(u64::MAX)];
        let counts =
            prop_oneof![8 => Just(Count::Right), 1 => Just(Count::TooFew), 1 => Just(Count::Implausible)];
        prop_oneof![
            8 => join,
            4 => worker().prop_map(|worker| Transition::Offered { worker }),
            4 => worker().prop_map(|worker| Transition::Heard { worker }),
            4 => (worker(), held, picks()).prop_map(|(worker, held, last)| Transition::Beat { worker, held, last }),
            4 => any::<u8>().prop_map(|line| Transition::Disconnected { line }),
            2 => worker().prop_map(|worker| Transition::Draining { worker }),
            12 => (of_lease(), any::<u8>(), digests()).prop_map(|((worker, lease), which, digest)| {
                Transition::Result { worker, lease, which, digest }
            }),
            14 => (of_lease(), digests())
                .prop_map(|((worker, lease), digest)| Transition::All { worker, lease, digest }),
            3 => (of_lease(), any::<u16>(), digests()).prop_map(|((worker, lease), which, digest)| {
                Transition::Stray { worker, lease, which, digest }
            }),
            10 => (of_lease(), counts)
                .prop_map(|((worker, lease), count)| Transition::Surveyed { worker, lease, count }),
            6 => of_lease().prop_map(|(worker, lease)| Transition::Finished { worker, lease }),
            3 => of_lease().prop_map(|(worker, lease)| Transition::HandedBack { worker, lease }),
            3 => of_lease().prop_map(|(worker, lease)| Transition::Failed { worker, lease }),
            1 => worker().prop_map(|worker| Transition::Invalid { worker }),
            3 => prop::option::weighted(0.9, 0..WORKERS)
                .prop_map(|worker| Transition::ProcessDied { worker }),
            2 => (worker(), any::<bool>())
                .prop_map(|(worker, is_death)| Transition::Severed { worker, is_death }),
            20 => (1..12_u8).prop_map(|count| Transition::Kept { count }),
            6 => (0..12_000_u32).prop_map(|milliseconds| Transition::Later { milliseconds }),
            10 => Just(Transition::Due),
            1 => Just(Transition::Stalled),
            10 => Just(Transition::Decided),
            1 => prop_oneof![9 => Just(Transition::Stalled), 1 => Just(Transition::Drain)],
        ]
        .boxed()
    }

    fn preconditions(state: &Reference, transition: &Transition) -> bool {
        transition.worker().is_none_or(|worker| state.here.contains(&worker))
    }

    fn apply(mut state: Reference, transition: &Transition) -> Reference {
        if let Transition::Join { worker, .. } = transition {
            state.here.insert(*worker);
        }
        state
    }
}

/// A connection.
#[derive(Debug)]
struct Line {
    worker: u8,
    threads: u32,
    is_up: bool,
    is_draining: bool,
    /// Leases that its worker received on it, or kept, and has not ended.
    has: BTreeSet<LeaseId>,
}

/// A request to the store.
#[derive(Debug)]
enum Keep {
    Trial { worker: u8, id: TrialId, digest: u8 },
    Discard(Vec<TrialId>),
}

/// Everything except the scheduler, and checks of the scheduler.
#[derive(Debug)]
struct Outside {
    scheduler: Scheduler,
    setup: Setup,
    /// Trials that are known to be needed.
    trials: u32,
    /// Further trials that decisions will ask for, the next first.
    raised: VecDeque<u32>,
    is_deciding: bool,
    now: Time,
    /// Connections, by number.
    lines: Vec<Line>,
    /// All leases that were ever granted.
    leases: BTreeMap<LeaseId, (u8, Work)>,
    /// The digest of each stored trial, and its author; `None` if an earlier run computed it.
    store: BTreeMap<TrialId, (u8, Option<u8>)>,
    pipeline: VecDeque<Keep>,
    streams: Vec<Index>,
    quarantined: BTreeSet<u8>,
    disputes: BTreeSet<TrialId>,
    discarding: usize,
    set_aside: BTreeSet<Place>,
    /// A copy that was reported and has not been granted yet.
    copied: Option<(Place, u32, WorkerName)>,
    /// Number of workers that the scheduler has asked for.
    wanted: u32,
    is_draining: bool,
    end: Option<Command>,
}

/// Returns the site of a worker. Two workers share an address; honest ones are on hosts of their own.
fn site(worker: u8) -> Site {
    match worker {
        0 | 1 => Site::Address(0),
        2 => Site::Own,
        3 => Site::Loopback,
        4 => Site::Address(4),
        honest => Site::Host(honest.into()),
    }
}

fn number(worker: WorkerName) -> u8 {
    worker.0[15]
}

impl Outside {
    fn new(setup: &Setup) -> Outside {
        let config = SchedulerConfig {
            lease_ttl: seconds(10.0),
            lease_target: seconds(2.0),
            shard_trials: setup.shard_trials,
            crash_limit: setup.crash_limit,
            loss_limit: setup.loss_limit,
            audit_percent: setup.audit_percent,
            audits_alone: false,
        };
        let mut outside = Outside {
            scheduler: Scheduler::new(config, shape(0, &[], STREAMS), |_| false),
            setup: setup.clone(),
            trials: setup.trials,
            raised: setup.raised.iter().copied().collect(),
            is_deciding: false,
            now: Time::ZERO,
            lines: Vec::new(),
            leases: BTreeMap::new(),
            store: BTreeMap::new(),
            pipeline: VecDeque::new(),
            streams: vec![Index::new(Some(PARTS)); STREAMS],
            quarantined: BTreeSet::new(),
            disputes: BTreeSet::new(),
            discarding: 0,
            set_aside: BTreeSet::new(),
            copied: None,
            wanted: 0,
            is_draining: false,
            end: None,
        };
        // Trials beyond those that are needed may be stored, too.
        let most = setup.raised.last().copied().unwrap_or(setup.trials);
        let ids = outside.trials_in(0..most).into_iter().enumerate();
        let stored = ids.filter(|(at, _)| setup.stored >> (at % 64) & 1 == 1);
        outside.store = stored.map(|(_, id)| (id, (0, None))).collect();
        let shape =
            PlanShape { may_grow: !setup.raised.is_empty(), ..shape(setup.trials, &setup.cohorts, STREAMS) };
        outside.scheduler = Scheduler::new(config, shape, |id| outside.store.contains_key(&id));
        outside.event(Event::WakeUp);
        outside
    }

    /// All trials that are known to be needed.
    fn trials(&self) -> Vec<TrialId> {
        self.trials_in(0..self.trials)
    }

    fn trials_in(&self, numbers: Range<u32>) -> Vec<TrialId> {
        let mut trials = Vec::new();
        for (cohort, &(variants, ..)) in (0..).zip(&self.setup.cohorts) {
            let of_trial = |trial| (0..variants).map(move |variant| TrialId { cohort, variant, trial });
            trials.extend(numbers.clone().flat_map(of_trial));
        }
        trials
    }

    /// Whether a trial is stored in all its variants.
    fn is_stored(&self, place: Place) -> bool {
        let Place { cohort, trial } = place;
        let variants = self.setup.cohorts[cohort as usize].0;
        (0..variants).all(|variant| self.store.contains_key(&TrialId { cohort, variant, trial }))
    }

    /// Returns the connection that a worker has, if any.
    fn line(&self, worker: u8) -> Option<usize> {
        self.lines.iter().rposition(|line| line.is_up && line.worker == worker)
    }

    /// Returns the last connection that a worker had, or has.
    fn last_line(&self, worker: u8) -> usize {
        let line = self.lines.iter().rposition(|line| line.worker == worker);
        line.expect("it has been here")
    }

    fn pick(&self, worker: u8, pick: Pick) -> Option<LeaseId> {
        let nth = |leases: &mut dyn ExactSizeIterator<Item = &LeaseId>, nth: u8| {
            let at = usize::from(nth) % leases.len().max(1);
            leases.nth(at).copied()
        };
        match pick {
            Pick::Own(at) => nth(&mut self.lines[self.last_line(worker)].has.iter(), at),
            Pick::Any(at) => nth(&mut self.leases.keys(), at),
            Pick::Number(number) => LeaseId::new(number.into()),
        }
    }

    /// Returns the results that a lease asks for.
    fn asked(&self, lease: Option<LeaseId>) -> Vec<TrialId> {
        let lease = lease.and_then(|lease| self.leases.get(&lease));
        let Some((_, Work::Trials { cohort, trials, variants, .. })) = lease else {
            return Vec::new();
        };
        let of_trial =
            |trial| variants.iter().map(move |variant| TrialId { cohort: *cohort, variant, trial });
        trials.clone().flat_map(of_trial).collect()
    }

    fn join(&mut self, worker: u8, threads: u32, held: Vec<LeaseId>) {
        let line = self.lines.len();
        let has = BTreeSet::new();
        self.lines.push(Line { worker, threads, is_up: false, is_draining: false, has });
        let joined = Event::Joined {
            connection: connection(line as u64),
            worker: name(worker.into()),
            site: site(worker),
            threads,
            held,
        };
        self.event(joined);
        assert_eq!(self.lines[line].is_up, self.end.is_none() && !self.quarantined.contains(&worker));
    }

    /// A result arrives, and is on its way to the store.
    fn result(&mut self, worker: u8, lease: Option<LeaseId>, id: TrialId, digest: u8) {
        let connection = connection(self.last_line(worker) as u64);
        self.event(Event::Received { connection, lease, trial: id });
        self.pipeline.push_back(Keep::Trial { worker, id, digest });
    }

    /// Passes on an event that ends a lease for its worker.
    fn over(&mut self, worker: u8, lease: Option<LeaseId>, event: impl FnOnce(ConnectionId) -> Event) {
        let line = self.last_line(worker);
        self.lines[line].has.retain(|of| Some(*of) != lease);
        self.event(event(connection(line as u64)));
    }

    fn survey(&mut self, worker: u8, lease: Option<LeaseId>, count: Count) {
        let parts = match lease.and_then(|lease| self.leases.get(&lease)) {
            Some((_, Work::Survey { parts, .. })) => parts.clone(),
            _ => 0..32,
        };
        let mut findings: Vec<u32> = parts.map(finding).collect();
        match count {
            Count::Right => {}
            Count::TooFew => drop(findings.pop()),
            Count::Implausible => findings.iter_mut().for_each(|count| *count -= 20_000),
        }
        let connection = connection(self.last_line(worker) as u64);
        self.event(Event::Surveyed { connection, lease, findings });
    }

    /// Carries out the oldest request to the store.
    fn keep(&mut self) {
        match self.pipeline.pop_front() {
            None => {}
            Some(Keep::Discard(trials)) => {
                for id in &trials {
                    self.store.remove(id);
                    self.disputes.remove(id);
                }
                self.discarding -= trials.len();
                self.event(Event::Discarded { trials });
            }
            Some(Keep::Trial { worker, id, digest: received }) => {
                let (stored, _) = *self.store.entry(id).or_insert((received, Some(worker)));
                if self.is_stored(id.place()) {
                    self.set_aside.remove(&id.place());
                }
                let of = name(worker.into());
                let [stored, received] = [stored, received].map(digest);
                let commands = self.event(if stored == received {
                    Event::Stored { worker: of, trial: id }
                } else {
                    Event::Disagreed { worker: of, trial: id, stored, received }
                });
                // If the worker was connected when the result was stored, it gets an acknowledgement.
                let told: Vec<&Command> = commands
                    .iter()
                    .filter(|command| matches!(command, Command::Acknowledge { .. }))
                    .collect();
                let line = self.lines.iter().rposition(|line| line.worker == worker);
                let was_up = |line: &usize| {
                    let connection = connection(*line as u64);
                    let is_dropped = |command: &Command| matches!(command, Command::Drop { connection: of, .. } if *of == connection);
                    self.lines[*line].is_up || commands.iter().any(is_dropped)
                };
                match line.filter(was_up) {
                    Some(line) if !commands.is_empty() || self.end.is_none() => {
                        let connection = connection(line as u64);
                        assert_eq!(told, [&Command::Acknowledge { connection, trial: id }]);
                    }
                    _ => assert!(told.is_empty(), "{told:?}"),
                }
            }
        }
    }

    /// Answers the request for a decision, if there is one.
    fn decide(&mut self) {
        if !std::mem::take(&mut self.is_deciding) {
            return;
        }
        let event = match self.raised.pop_front() {
            Some(trials) => {
                let new = self.trials_in(self.trials..trials);
                self.trials = trials;
                let stored = new.into_iter().filter(|id| self.store.contains_key(id)).collect();
                Event::Raised { trials, stored }
            }
            None => Event::Enough,
        };
        self.event(event);
    }

    fn wake_up(&mut self) {
        self.event(Event::WakeUp);
        if self.end.is_none() {
            let due = self.scheduler.wake_up();
            assert!(due.is_none_or(|due| due > self.now), "it would wake up again at once");
        }
    }

    fn carry_out(&mut self, transition: Transition) {
        let at = |line: usize| connection(line as u64);
        match transition {
            Transition::Join { worker, threads, held } => {
                let of_worker = self.leases.iter().filter(|(_, (of, _))| *of == worker);
                let of_worker = of_worker.map(|(lease, _)| *lease);
                self.join(worker, threads, some(of_worker, held));
            }
            Transition::Offered { worker } => {
                self.event(Event::Offered { connection: at(self.last_line(worker)) }).clear()
            }
            Transition::Heard { worker } => {
                self.event(Event::Heard { connection: at(self.last_line(worker)) }).clear()
            }
            Transition::Beat { worker, held, last } => {
                let line = self.last_line(worker);
                let last = self.pick(worker, last);
                let held = some(self.lines[line].has.iter().copied(), held);
                // The worker may not have received the leases that it does not list.
                self.lines[line].has.retain(|lease| held.contains(lease));
                self.event(Event::Beat { connection: at(line), held, last });
            }
            Transition::Disconnected { line } if !self.lines.is_empty() => {
                let line = usize::from(line) % self.lines.len();
                self.lines[line].is_up = false;
                self.event(Event::Disconnected { connection: at(line) });
            }
            Transition::Disconnected { .. } => {}
            Transition::Draining { worker } => {
                let line = self.last_line(worker);
                self.lines[line].is_draining = true;
                self.event(Event::Draining { connection: at(line) });
            }
            Transition::Result { worker, lease, which, digest } => {
                let lease = self.pick(worker, lease);
                let asked = self.asked(lease);
                if !asked.is_empty() {
                    self.result(worker, lease, asked[usize::from(which) % asked.len()], digest);
                }
            }
            Transition::All { worker, lease, digest } => {
                let lease = self.pick(worker, lease);
                for id in self.asked(lease) {
                    self.result(worker, lease, id, digest);
                }
                self.over(worker, lease, |connection| Event::Finished { connection, lease });
            }
            Transition::Stray { worker, lease, which, digest } => {
                let lease = self.pick(worker, lease);
                let trials = self.trials();
                self.result(worker, lease, trials[usize::from(which) % trials.len()], digest);
            }
            Transition::Surveyed { worker, lease, count } => {
                let lease = self.pick(worker, lease);
                self.survey(worker, lease, count);
            }
            Transition::Finished { worker, lease } => {
                let lease = self.pick(worker, lease);
                self.over(worker, lease, |connection| Event::Finished { connection, lease });
            }
            Transition::HandedBack { worker, lease } => {
                let lease = self.pick(worker, lease);
                self.over(worker, lease, |connection| Event::HandedBack { connection, lease });
            }
            Transition::Failed { worker, lease } => {
                let lease = self.pick(worker, lease);
                self.over(worker, lease, |connection| Event::Failed {
                    connection,
                    lease,
                    reason: "it cannot".into(),
                });
            }
            Transition::Invalid { worker } => {
                let connection = at(self.last_line(worker));
                self.event(Event::Invalid { connection, what: "nonsense".into() });
            }
            Transition::ProcessDied { worker } => {
                if let Some(line) = worker.and_then(|worker| self.line(worker)) {
                    self.lines[line].is_up = false;
                }
                let worker = worker.map(|worker| name(worker.into()));
                self.event(Event::ProcessDied { worker, description: "was killed".into() });
            }
            Transition::Severed { worker, is_death } => {
                if let Some(line) = self.line(worker) {
                    self.lines[line].is_up = false;
                }
                let worker = name(worker.into());
                self.event(Event::Severed { worker, description: "was cut off".into(), is_death });
            }
            Transition::Kept { count } => (0..count).for_each(|_| self.keep()),
            Transition::Later { milliseconds } => {
                self.now += Duration::from_millis(milliseconds.into());
                self.wake_up();
            }
            Transition::Due => {
                self.now = self.scheduler.wake_up().unwrap_or(self.now).max(self.now);
                self.wake_up();
            }
            Transition::Stalled => drop(self.event(Event::Stalled)),
            Transition::Decided => self.decide(),
            Transition::Drain => {
                self.is_draining = true;
                self.event(Event::Drain);
            }
        }
    }

    /// Passes an event to the scheduler, and checks the commands.
    fn event(&mut self, event: Event) -> Vec<Command> {
        let was_over = self.end.is_some();
        let commands = self.scheduler.handle(self.now, event);
        self.scheduler.check();
        assert!(!was_over || commands.is_empty(), "after the end: {commands:?}");
        for command in &commands {
            self.observe(command);
        }
        assert_eq!(self.copied, None, "announced, and not granted");
        commands
    }

    fn observe(&mut self, command: &Command) {
        assert_eq!(self.end, None, "and then {command:?}");
        let line = |connection: &ConnectionId| connection.0 as usize;
        match command {
            Command::Welcome { connection, kept } => {
                let line = line(connection);
                let worker = self.lines[line].worker;
                assert!(!self.quarantined.contains(&worker));
                assert_eq!(self.line(worker), None, "it has another connection");
                assert!(kept.iter().all(|lease| self.leases[lease].0 == worker));
                self.lines[line].is_up = true;
                self.lines[line].has = kept.iter().copied().collect();
            }
            Command::Grant { connection, lease, work } => self.granted(line(connection), *lease, work),
            Command::Revoke { connection, lease } => {
                let line = &self.lines[line(connection)];
                assert!(line.is_up && self.leases[lease].0 == line.worker);
            }
            Command::Acknowledge { connection, trial } => {
                assert!(self.lines[line(connection)].is_up);
                assert!(self.store.contains_key(trial));
            }
            Command::Drop { connection, why } => {
                let line = &mut self.lines[line(connection)];
                line.is_up = false;
                if let Dropped::Quarantined(_) = why {
                    self.quarantined.insert(line.worker);
                }
            }
            Command::KeepFindings { stream, first, findings: counts } => {
                let index = &mut self.streams[*stream];
                assert_eq!(*first, index.parts(), "a gap");
                assert!((*first..).map(finding).zip(counts).all(|(right, count)| right == *count));
                counts.iter().for_each(|count| index.push(*count));
            }
            Command::Discard { trials } => {
                let different: BTreeSet<&TrialId> = trials.iter().collect();
                assert!(!trials.is_empty() && different.len() == trials.len());
                self.discarding += trials.len();
                self.pipeline.push_back(Keep::Discard(trials.clone()));
            }
            Command::Report(report) => self.reported(report),
            Command::Forget { .. } => panic!("so few are remembered"),
            Command::Replace | Command::Reinforce => self.wanted += 1,
            Command::Decide => {
                assert!(!self.is_deciding && !self.setup.raised.is_empty() && !self.is_draining);
                assert_eq!(self.open(), None);
                self.is_deciding = true;
            }
            Command::Complete => {
                assert_eq!((self.open(), self.raised.len()), (None, 0));
                self.end = Some(command.clone());
            }
            Command::Drained => {
                assert!(self.is_draining);
                self.end = Some(command.clone());
            }
            Command::Abandon(_) => self.end = Some(command.clone()),
        }
    }

    fn reported(&mut self, report: &Report) {
        match report {
            Report::Quarantined { worker, .. } => drop(self.quarantined.insert(number(*worker))),
            Report::Disagreed { trial, .. } => drop(self.disputes.insert(*trial)),
            Report::Settled { trial, .. } => assert!(self.disputes.remove(trial)),
            Report::SetAside { place, .. } => {
                assert!(!self.is_stored(*place) && self.set_aside.insert(*place));
            }
            Report::Copied { place, trials, slow, idle } => {
                assert!(slow != idle);
                self.copied = Some((*place, *trials, *idle));
            }
            _ => {}
        }
    }

    fn granted(&mut self, line: usize, lease: LeaseId, work: &Work) {
        let Line { worker, threads, is_up, is_draining, ref has } = self.lines[line];
        assert!(is_up && !is_draining && !self.quarantined.contains(&worker) && !self.is_draining);
        assert!(has.len() < threads as usize, "it has {has:?} and {threads} threads");
        assert!(self.leases.keys().next_back().is_none_or(|last| *last < lease), "{lease:?} again");
        let copied = self.copied.take();
        if let Work::Trials { cohort, trials, variants, start } = work {
            assert!(!trials.is_empty() && trials.end <= self.trials && !variants.is_empty());
            let (all, items, stream) = self.setup.cohorts[*cohort as usize];
            let first = u64::from(trials.start) * items;
            assert_eq!(self.streams[stream].locate(first), Some(*start), "it starts elsewhere");
            let place = Place { cohort: *cohort, trial: trials.start };
            self.leases.insert(lease, (worker, work.clone()));
            let asked = self.asked(Some(lease));
            assert!(asked.iter().all(|id| id.variant < all));
            if let Some((of, count, idle)) = copied {
                assert_eq!((of, count, idle), (place, trials.len() as u32, name(worker.into())));
            } else if asked.iter().any(|id| self.store.contains_key(id)) {
                // Stored trials are computed again only for a check, and not by their authors.
                let is_dispute = asked.len() == 1 && self.disputes.contains(&asked[0]);
                let is_audit = trials.len() == 1 && self.is_stored(place) && self.setup.audit_percent > 0.0;
                assert!(is_dispute || is_audit && variants.len() == all, "{work:?} is stored");
                assert!(asked.iter().all(|id| self.store[id].1 != Some(worker)), "{work:?} is its own");
            }
        } else {
            assert_eq!(copied, None);
            self.leases.insert(lease, (worker, work.clone()));
        }
        self.lines[line].has.insert(lease);
    }

    /// Returns something that is still to be done, as far as this can be observed.
    fn open(&self) -> Option<String> {
        let is_missing = |id: &TrialId| !self.store.contains_key(id) && !self.set_aside.contains(&id.place());
        if let Some(id) = self.trials().into_iter().find(is_missing) {
            return Some(format!("{id:?} is not stored"));
        }
        if let Some(id) = self.disputes.first() {
            return Some(format!("{id:?} is disputed"));
        }
        (self.discarding > 0).then(|| "something is in the store that is to be taken out".to_owned())
    }

    /// Checks everything that holds at any time.
    fn check(&self) {
        if self.end.is_some() {
            return;
        }
        if self.setup.audit_percent == 0.0 && !self.is_deciding && !self.is_draining {
            assert_ne!(self.open(), None, "it is complete");
        }
        let set_aside: BTreeSet<Place> = self.scheduler.set_aside().map(|(place, _)| place).collect();
        assert_eq!(set_aside, self.set_aside);
        for TrialId { cohort, trial, variant } in self.trials() {
            let is_unstored =
                self.scheduler.unstored_of(Place { cohort, trial }).iter().any(|of| of == variant);
            assert_eq!(is_unstored, !self.store.contains_key(&TrialId { cohort, variant, trial }));
        }
        for view in self.scheduler.workers() {
            let worker = number(view.name);
            let is_here =
                matches!(view.state, WorkerState::Working | WorkerState::Idle | WorkerState::Draining);
            let line = self.line(worker);
            assert_eq!(is_here, line.is_some(), "worker {worker} is {:?}", view.state);
            assert_eq!(view.state == WorkerState::Quarantined, self.quarantined.contains(&worker));
            if let Some(line) = line {
                assert_eq!(view.state == WorkerState::Draining, self.lines[line].is_draining);
                assert!(self.lines[line].has.len() <= view.leases, "{:?}", self.lines[line]);
            }
        }
    }

    /// Ends the history without further faults: honest workers connect, and the sweep must end.
    fn come_to_an_end(&mut self) {
        for line in 0..self.lines.len() {
            if self.lines[line].is_up && self.lines[line].is_draining {
                self.carry_out(Transition::Disconnected { line: line as u8 });
            }
        }
        let mut honest = WORKERS..u8::MAX;
        self.wanted = 3;
        let latest = self.now + seconds(2000.0);
        // The driver of a draining coordinator waits for leases for a limited time only, so they are not held here.
        let is_held = self.setup.is_held && !self.is_draining;
        while self.end.is_none() {
            assert!(self.now < latest, "it does not end: {:?}", self.open());
            while self.wanted > 0 {
                self.wanted -= 1;
                self.join(honest.next().expect("enough of them"), 2, Vec::new());
            }
            while !self.pipeline.is_empty() {
                self.keep();
            }
            self.decide();
            for line in 0..self.lines.len() {
                let Line { worker, is_up, .. } = self.lines[line];
                if !is_up || worker < WORKERS && !is_held {
                    continue;
                }
                self.event(Event::Heard { connection: connection(line as u64) });
                if worker < WORKERS {
                    continue;
                }
                for lease in self.lines[line].has.clone() {
                    if let Work::Survey { .. } = self.leases[&lease].1 {
                        self.survey(worker, Some(lease), Count::Right);
                    }
                    for id in self.asked(Some(lease)) {
                        self.result(worker, Some(lease), id, 0);
                    }
                    self.over(worker, Some(lease), |connection| Event::Finished {
                        connection,
                        lease: Some(lease),
                    });
                }
                // If two workers lied alike before, their result was believed, and an honest worker is quarantined.
                if !self.lines[line].is_up {
                    self.wanted += 1;
                }
            }
            self.check();
            self.now += LOOK_EVERY;
            self.wake_up();
        }
    }
}

/// Returns some of these leases, by bits.
fn some(of: impl Iterator<Item = LeaseId>, bits: u64) -> Vec<LeaseId> {
    of.enumerate().filter(|(at, _)| bits >> (at % 64) & 1 == 1).map(|(_, lease)| lease).collect()
}

impl StateMachineTest for Outside {
    type SystemUnderTest = Outside;
    type Reference = Reference;

    fn init_test(reference: &Reference) -> Outside {
        Outside::new(&reference.setup)
    }

    fn apply(mut outside: Outside, _: &Reference, transition: Transition) -> Outside {
        outside.carry_out(transition);
        outside
    }

    fn check_invariants(outside: &Outside, _: &Reference) {
        outside.check();
    }

    fn teardown(mut outside: Outside, _: Reference) {
        outside.come_to_an_end();
    }
}

prop_state_machine! {
    #![proptest_config(ProptestConfig { cases: 10_000, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn any_history_can_be_accounted_for_and_comes_to_an_end(sequential 1..100 => Outside);
}

/// Returns a setup in which little happens by chance.
fn small(variants: u32, trials: u32) -> Setup {
    Setup {
        trials,
        raised: Vec::new(),
        cohorts: vec![(variants, 0, 0)],
        stored: 0,
        shard_trials: None,
        audit_percent: 0.0,
        crash_limit: 1000,
        loss_limit: 12,
        is_held: false,
    }
}

/// Carries out a history that once failed, to its end.
fn play(setup: Setup, history: Vec<Transition>) -> Outside {
    let mut outside = Outside::new(&setup);
    for transition in history {
        outside.carry_out(transition);
        outside.check();
    }
    outside.come_to_an_end();
    outside
}

const OWN: Pick = Pick::Own(0);

fn join(worker: u8, threads: u32) -> Transition {
    Transition::Join { worker, threads, held: 0 }
}

#[test]
fn a_worker_with_two_threads_tries_one_suspect_at_a_time() {
    let setup = Setup { shard_trials: Some(1), ..small(1, 2) };
    let dies = |worker| Transition::ProcessDied { worker: Some(worker) };
    play(setup, vec![join(0, 2), dies(0), join(1, 2), join(2, 2), dies(1), join(3, 2)]);
}

#[test]
fn what_a_worker_holds_is_delivered_by_others() {
    let setup = Setup {
        cohorts: vec![(1, 1000, 0)],
        shard_trials: Some(2),
        loss_limit: 1,
        is_held: true,
        ..small(1, 2)
    };
    let result = Transition::Result { worker: 3, lease: Pick::Own(5), which: 56, digest: 0 };
    play(setup, vec![join(0, 1), join(3, 3), result]);
}

#[test]
fn nobody_is_replaced_after_the_end() {
    let setup = Setup { shard_trials: Some(1), loss_limit: 1, ..small(1, 20) };
    let dies = Transition::ProcessDied { worker: Some(0) };
    let outside = play(setup, [join(0, 1), dies].into_iter().cycle().take(120).collect());
    assert!(matches!(outside.end, Some(Command::Abandon(_))));
}

#[test]
fn a_dispute_outlives_a_voter_that_is_shut_out_before_its_vote_is_stored() {
    let stray = |worker, digest| Transition::Stray { worker, lease: Pick::Number(0), which: 0, digest };
    let mut history = vec![join(0, 1), stray(0, 0), join(1, 1), stray(1, 1), Transition::Kept { count: 2 }];
    history.extend([join(2, 3), Transition::All { worker: 2, lease: OWN, digest: 0 }]);
    history.extend([Transition::Invalid { worker: 2 }, Transition::Kept { count: 9 }]);
    play(small(1, 1), history);
}

#[test]
fn what_is_stored_is_of_whom_it_is_from_and_of_no_one_before() {
    // The first author is quarantined and its result discarded. The second may not vote on its own result.
    let stray = |worker, digest| Transition::Stray { worker, lease: Pick::Number(0), which: 0, digest };
    let kept = || Transition::Kept { count: 3 };
    let mut history = vec![join(0, 1), join(1, 1), stray(0, 0), Transition::Invalid { worker: 0 }, kept()];
    history.extend([stray(1, 0), kept(), join(2, 1), stray(2, 1), kept()]);
    let outside = play(small(1, 1), history);
    assert!(!outside.quarantined.contains(&1));
}

#[test]
fn a_sweep_grows_until_its_decisions_end_it() {
    let setup = Setup { raised: vec![3, 4], stored: 0b1_0101, shard_trials: Some(2), ..small(2, 2) };
    let outside = play(setup, vec![join(0, 1), Transition::Decided]);
    assert_eq!((outside.end, outside.trials, outside.store.len()), (Some(Command::Complete), 4, 8));
}
