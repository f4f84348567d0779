//! Who computes what, and when a sweep is done: a pure state machine.
//!
//! Everything that happens reaches [`Scheduler::handle`] as an [`Event`] with the time at which it
//! happened, and everything to be done comes back as [`Command`]s. There is no clock, no IO and no
//! async in here, and all collections are ordered: the same events give the same commands. The
//! driver around it decides nothing.
//!
//! A trial's slot is pending, leased or done, and done means stored for good. Work is leased to a
//! worker in shards; the lease ends when the worker says it has sent everything, when it leaves, or
//! when it falls silent. Whatever of it has not arrived by then is pending again. Results are taken
//! whoever sends them and whenever they come.
//!
//! A trial can only start where the place of its noise is known. The seed's noise stream is
//! therefore surveyed, by workers too, ahead of the trials that need it.

mod noise;
mod pace;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use granule_sim::noise::{NoiseIndex, NoiseStart};

use noise::Stream;
use pace::Pace;

/// Time since the driver started.
pub(crate) type Time = Duration;

/// A connected worker; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WorkerId(pub(crate) u64);

/// A lease; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LeaseId(pub(crate) u64);

/// A trial of the plan: of this cohort's variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TrialId {
    pub(crate) cohort: u32,
    pub(crate) variant: u32,
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
    /// Crashes of worker processes without a stored trial in between, and of workers at one trial,
    /// that end the run.
    pub(crate) crash_limit: u32,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A worker is ready for that many leases at a time.
    Joined { worker: WorkerId, threads: u32 },
    /// A sign of life.
    Heard { worker: WorkerId },
    /// The connection to a worker ended.
    Left { worker: WorkerId },
    /// A result came in; it is on its way to the store.
    Received { lease: LeaseId, trial: TrialId },
    /// A result is stored for good, now or before.
    Stored { worker: WorkerId, trial: TrialId },
    /// Spans of a noise stream have been counted.
    Surveyed { lease: LeaseId, accepted: Vec<u32> },
    /// A worker has sent everything a lease asked for.
    Finished { lease: LeaseId },
    /// A worker cannot do what a lease asks for.
    Failed { lease: LeaseId, reason: String },
    /// A worker process ended without being told to.
    ProcessDied { description: String },
    /// Time has passed.
    WakeUp,
    /// We ourselves were not running for a while: nobody's silence in that time means anything.
    Stalled,
}

/// Something to be done.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Command {
    /// Send a lease.
    Grant { worker: WorkerId, lease: LeaseId, work: Work },
    /// Tell a worker that a result is stored.
    Acknowledge { worker: WorkerId, trial: TrialId },
    /// End the connection to a worker that fell silent.
    Drop { worker: WorkerId },
    /// Keep the counts of these spans, the first of them being this.
    KeepSpans { stream: usize, first: u32, accepted: Vec<u32> },
    /// Start a worker process in place of one that died.
    Replace,
    /// All trials are stored.
    Complete,
    /// The sweep cannot be finished.
    Abandon(Reason),
}

/// What a lease gives a right to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Work {
    /// Trials of these variants of a cohort.
    Trials { cohort: u32, trials: Range<u32>, variants: Vec<u32>, start: NoiseStart },
    /// Spans of the noise stream that this cohort reads.
    Survey { cohort: u32, spans: Range<u32> },
}

/// Why a sweep cannot be finished.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Reason {
    /// Worker processes die again and again.
    #[error("{count} worker processes died without a single trial stored in between; the last one {last}")]
    Crashes { count: u32, last: String },
    /// Workers die at one trial.
    #[error("{count} workers were given the same trial and did not deliver it")]
    Poison { trial: TrialId, count: u32 },
    /// A worker refuses its work.
    #[error("a worker cannot compute what it was given: {reason}")]
    Refused { reason: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    Pending,
    Leased(LeaseId),
    Done,
}

/// A trial of a cohort in all its variants.
#[derive(Debug)]
struct Cohort {
    shape: CohortShape,
    slots: Vec<Slot>,
    /// Stored trials, `trial · variants + variant`.
    stored: Vec<bool>,
    /// No slot below this is pending.
    first_pending: u32,
    pending: u32,
}

#[derive(Debug)]
struct Worker {
    threads: u32,
    leases: Vec<LeaseId>,
    heard: Time,
    pace: Pace,
}

#[derive(Debug)]
struct Lease {
    /// None once the worker has sent everything or is gone.
    worker: Option<WorkerId>,
    granted: Time,
    work: Work,
    /// Trials that have not arrived.
    missing: BTreeSet<TrialId>,
}

/// The scheduler.
#[derive(Debug)]
pub(crate) struct Scheduler {
    config: Config,
    cohorts: Vec<Cohort>,
    streams: Vec<Stream>,
    workers: BTreeMap<WorkerId, Worker>,
    leases: BTreeMap<LeaseId, Lease>,
    last_lease: u64,
    /// No cohort below this has pending slots.
    first_open: usize,
    pending: u64,
    /// Trials, in all variants, that are not stored.
    unstored: u64,
    crashes: u32,
    losses: BTreeMap<TrialId, u32>,
    ended: bool,
}

impl Scheduler {
    /// A scheduler for this plan, of which `is_stored` says what is there already.
    pub(crate) fn new(config: Config, shape: Shape, is_stored: impl Fn(TrialId) -> bool) -> Scheduler {
        let trials = shape.trials;
        let mut unstored = 0;
        let mut cohorts = Vec::with_capacity(shape.cohorts.len());
        for (at, &of) in shape.cohorts.iter().enumerate() {
            let stored: Vec<bool> = (0..trials)
                .flat_map(|trial| (0..of.variants).map(move |variant| (trial, variant)))
                .map(|(trial, variant)| is_stored(TrialId { cohort: at as u32, variant, trial }))
                .collect();
            unstored += stored.iter().filter(|stored| !**stored).count() as u64;
            let slots: Vec<Slot> = stored
                .chunks(of.variants as usize)
                .map(
                    |variants| if variants.iter().all(|stored| *stored) { Slot::Done } else { Slot::Pending },
                )
                .collect();
            let pending = slots.iter().filter(|slot| **slot == Slot::Pending).count() as u32;
            cohorts.push(Cohort { shape: of, slots, stored, first_pending: 0, pending });
        }
        let mut streams: Vec<Stream> = shape.streams.into_iter().map(Stream::new).collect();
        for cohort in &cohorts {
            if let Some(last) = cohort.slots.iter().rposition(|slot| *slot == Slot::Pending) {
                streams[cohort.shape.stream].want(last as u64 * cohort.shape.normals_per_trial);
            }
        }
        Scheduler {
            config,
            pending: cohorts.iter().map(|cohort| u64::from(cohort.pending)).sum(),
            cohorts,
            streams,
            workers: BTreeMap::new(),
            leases: BTreeMap::new(),
            last_lease: 0,
            first_open: 0,
            unstored,
            crashes: 0,
            losses: BTreeMap::new(),
            ended: false,
        }
    }

    /// Takes in what happened and says what to do, in order.
    pub(crate) fn handle(&mut self, now: Time, event: Event) -> Vec<Command> {
        let mut commands = Vec::new();
        if self.ended {
            return commands;
        }
        match event {
            Event::Joined { worker, threads } => {
                let joined =
                    Worker { threads: threads.max(1), leases: Vec::new(), heard: now, pace: Pace::default() };
                self.workers.insert(worker, joined);
            }
            Event::Heard { worker } => self.on_heard(now, worker),
            Event::Left { worker } => self.on_left(worker, &mut commands),
            Event::Received { lease, trial } => {
                if let Some(lease) = self.leases.get_mut(&lease) {
                    lease.missing.remove(&trial);
                }
            }
            Event::Stored { worker, trial } => self.on_stored(worker, trial, &mut commands),
            Event::Surveyed { lease, accepted } => self.on_surveyed(lease, accepted, &mut commands),
            Event::Finished { lease } => self.on_finished(now, lease, &mut commands),
            Event::Failed { lease, reason } => {
                if self.leases.contains_key(&lease) {
                    self.abandon(Reason::Refused { reason }, &mut commands);
                }
            }
            Event::ProcessDied { description } => {
                self.crashes += 1;
                if self.crashes >= self.config.crash_limit {
                    self.abandon(Reason::Crashes { count: self.crashes, last: description }, &mut commands);
                } else {
                    commands.push(Command::Replace);
                }
            }
            Event::WakeUp => self.expire(now, &mut commands),
            Event::Stalled => self.workers.values_mut().for_each(|worker| worker.heard = now),
        }
        if !self.ended && self.unstored == 0 {
            self.ended = true;
            commands.push(Command::Complete);
        }
        if !self.ended {
            self.assign(now, &mut commands);
        }
        commands
    }

    /// When [`Event::WakeUp`] is due, if nothing happens before.
    pub(crate) fn wake_up(&self) -> Option<Time> {
        let busy = self.workers.values().filter(|worker| !worker.leases.is_empty());
        busy.map(|worker| worker.heard + self.config.lease_ttl).min()
    }

    fn on_heard(&mut self, now: Time, worker: WorkerId) {
        if let Some(worker) = self.workers.get_mut(&worker) {
            worker.heard = worker.heard.max(now);
        }
    }

    fn on_left(&mut self, worker: WorkerId, commands: &mut Vec<Command>) {
        let Some(worker) = self.workers.remove(&worker) else { return };
        for id in worker.leases {
            let Some(lease) = self.leases.get(&id) else { continue };
            // What it was at is the first trial that did not arrive.
            if let Some(&at) = lease.missing.first() {
                self.lose(at, commands);
            }
            self.give_back(id);
        }
    }

    /// Counts that a worker was given a trial and did not deliver it.
    fn lose(&mut self, trial: TrialId, commands: &mut Vec<Command>) {
        let losses = self.losses.entry(trial).or_default();
        *losses += 1;
        let count = *losses;
        if count >= self.config.crash_limit {
            self.abandon(Reason::Poison { trial, count }, commands);
        }
    }

    fn on_stored(&mut self, worker: WorkerId, id: TrialId, commands: &mut Vec<Command>) {
        if self.workers.contains_key(&worker) {
            commands.push(Command::Acknowledge { worker, trial: id });
        }
        let cohort = &mut self.cohorts[id.cohort as usize];
        let variants = cohort.shape.variants as usize;
        let row = id.trial as usize * variants..(id.trial as usize + 1) * variants;
        if std::mem::replace(&mut cohort.stored[row.start + id.variant as usize], true) {
            return;
        }
        self.crashes = 0;
        self.unstored -= 1;
        if cohort.stored[row].iter().all(|stored| *stored) {
            let slot = &mut cohort.slots[id.trial as usize];
            match *slot {
                Slot::Pending => {
                    cohort.pending -= 1;
                    self.pending -= 1;
                }
                Slot::Leased(lease) => self.forget_if_settled(lease, id.cohort, id.trial),
                Slot::Done => {}
            }
            self.cohorts[id.cohort as usize].slots[id.trial as usize] = Slot::Done;
        }
    }

    /// Drops a lease that nobody works at any more once the last of its slots but this is done.
    fn forget_if_settled(&mut self, id: LeaseId, cohort: u32, done: u32) {
        let Some(Lease { worker: None, work: Work::Trials { trials, .. }, .. }) = self.leases.get(&id) else {
            return;
        };
        let slots = &self.cohorts[cohort as usize].slots;
        let waits = |trial: u32| trial != done && slots[trial as usize] == Slot::Leased(id);
        if !trials.clone().any(waits) {
            self.leases.remove(&id);
        }
    }

    fn on_surveyed(&mut self, id: LeaseId, accepted: Vec<u32>, commands: &mut Vec<Command>) {
        let Some(Lease { work: Work::Survey { cohort, spans }, .. }) = self.leases.get(&id) else { return };
        if accepted.len() != spans.len() || !accepted.iter().all(|accepted| noise::is_plausible(*accepted)) {
            // Believed, it would shift the noise of every later trial.
            let reason = "it counted the attempts of a noise stream wrongly".to_owned();
            return self.abandon(Reason::Refused { reason }, commands);
        }
        let stream = self.cohorts[*cohort as usize].shape.stream;
        if let Some((first, accepted)) = self.streams[stream].counted(spans.start, accepted) {
            commands.push(Command::KeepSpans { stream, first, accepted });
        }
    }

    fn on_finished(&mut self, now: Time, id: LeaseId, commands: &mut Vec<Command>) {
        let Some(lease) = self.leases.get_mut(&id) else { return };
        let Some(worker) = lease.worker.take().and_then(|worker| self.workers.get_mut(&worker)) else {
            return;
        };
        worker.leases.retain(|lease| *lease != id);
        match &lease.work {
            Work::Survey { .. } => self.give_back(id),
            Work::Trials { cohort, trials, variants, .. } => {
                let shape = self.cohorts[*cohort as usize].shape;
                let effort = pace::effort(&shape, variants.len()) * trials.len() as f64;
                worker.pace.observe(effort, now.saturating_sub(lease.granted));
                if lease.missing.is_empty() {
                    let slots = &self.cohorts[*cohort as usize].slots;
                    // All has arrived; what is not stored yet stays leased until it is.
                    if !trials.clone().any(|trial| slots[trial as usize] == Slot::Leased(id)) {
                        self.leases.remove(&id);
                    }
                } else {
                    let undelivered = lease.missing.first().copied();
                    self.give_back(id);
                    undelivered.into_iter().for_each(|trial| self.lose(trial, commands));
                }
            }
        }
    }

    /// Ends a lease: what of it is not done is pending again.
    fn give_back(&mut self, id: LeaseId) {
        let Some(lease) = self.leases.remove(&id) else { return };
        match lease.work {
            Work::Survey { cohort, spans } => {
                let stream = self.cohorts[cohort as usize].shape.stream;
                self.streams[stream].give_back(spans);
            }
            Work::Trials { cohort: at, trials, .. } => {
                let cohort = &mut self.cohorts[at as usize];
                for trial in trials {
                    if cohort.slots[trial as usize] == Slot::Leased(id) {
                        cohort.slots[trial as usize] = Slot::Pending;
                        cohort.first_pending = cohort.first_pending.min(trial);
                        cohort.pending += 1;
                        self.pending += 1;
                        self.first_open = self.first_open.min(at as usize);
                    }
                }
            }
        }
    }

    /// Takes their leases from workers that fell silent.
    fn expire(&mut self, now: Time, commands: &mut Vec<Command>) {
        let ttl = self.config.lease_ttl;
        let is_silent = |worker: &Worker| !worker.leases.is_empty() && worker.heard + ttl <= now;
        let silent: Vec<WorkerId> =
            self.workers.iter().filter(|(_, worker)| is_silent(worker)).map(|(id, _)| *id).collect();
        for worker in silent {
            commands.push(Command::Drop { worker });
            self.on_left(worker, commands);
        }
    }

    fn assign(&mut self, now: Time, commands: &mut Vec<Command>) {
        let ids: Vec<WorkerId> = self.workers.keys().copied().collect();
        for id in ids {
            while self.workers[&id].leases.len() < self.workers[&id].threads as usize {
                let Some(work) = self.next_work(id) else { return };
                self.last_lease += 1;
                let lease = LeaseId(self.last_lease);
                let missing = self.take(lease, &work);
                self.leases
                    .insert(lease, Lease { worker: Some(id), granted: now, work: work.clone(), missing });
                let worker = self.workers.get_mut(&id).expect("only known workers are assigned work");
                if worker.leases.is_empty() {
                    // It owed no sign of life while it had nothing to do.
                    worker.heard = worker.heard.max(now);
                }
                worker.leases.push(lease);
                commands.push(Command::Grant { worker: id, lease, work });
            }
        }
    }

    /// Marks work as leased; returns the trials that are to arrive.
    fn take(&mut self, lease: LeaseId, work: &Work) -> BTreeSet<TrialId> {
        match work {
            Work::Survey { cohort, spans } => {
                let stream = self.cohorts[*cohort as usize].shape.stream;
                self.streams[stream].take(spans.clone());
                BTreeSet::new()
            }
            Work::Trials { cohort: at, trials, variants, .. } => {
                let cohort = &mut self.cohorts[*at as usize];
                for trial in trials.clone() {
                    cohort.slots[trial as usize] = Slot::Leased(lease);
                }
                cohort.first_pending = trials.end;
                cohort.pending -= trials.len() as u32;
                self.pending -= trials.len() as u64;
                let of_trial =
                    |trial| variants.iter().map(move |&variant| TrialId { cohort: *at, variant, trial });
                trials.clone().flat_map(of_trial).collect()
            }
        }
    }

    fn next_work(&mut self, worker: WorkerId) -> Option<Work> {
        while self.cohorts.get(self.first_open).is_some_and(|cohort| cohort.pending == 0) {
            self.first_open += 1;
        }
        (self.first_open..self.cohorts.len()).find_map(|at| self.next_of_cohort(at, worker))
    }

    fn next_of_cohort(&mut self, at: usize, worker: WorkerId) -> Option<Work> {
        let cohort = &mut self.cohorts[at];
        if cohort.pending == 0 {
            return None;
        }
        while cohort.slots[cohort.first_pending as usize] != Slot::Pending {
            cohort.first_pending += 1;
        }
        let cohort = &self.cohorts[at];
        let shape = &cohort.shape;
        let first = cohort.first_pending;
        let stream = &self.streams[shape.stream];
        let is_pending = |trial: u32| cohort.slots[trial as usize] == Slot::Pending;
        let variants = self.unstored_of(at, first);
        let shard = self.shard_trials(worker, pace::effort(shape, variants.len()));

        let located = |trial: u32| stream.locate(u64::from(trial) * shape.normals_per_trial);
        let threads: u32 = self.workers.values().map(|worker| worker.threads).sum();
        // The survey has to stay ahead of all threads, by what each may take next.
        let ahead =
            first.saturating_add(shard.saturating_mul(2 * threads)).min(cohort.slots.len() as u32 - 1);
        let survey = || {
            let spans = stream.next_spans()?;
            Some(Work::Survey { cohort: at as u32, spans })
        };
        if located(ahead).is_none()
            && let Some(work) = survey()
        {
            return Some(work);
        }
        let Some(start) = located(first) else { return survey() };
        let end = (first..cohort.slots.len() as u32)
            .take(shard as usize)
            .take_while(|&trial| is_pending(trial) && self.unstored_of(at, trial) == variants)
            .last()
            .expect("the first trial is pending")
            + 1;
        Some(Work::Trials { cohort: at as u32, trials: first..end, variants, start })
    }

    /// Variants of a trial that are not stored.
    fn unstored_of(&self, cohort: usize, trial: u32) -> Vec<u32> {
        let cohort = &self.cohorts[cohort];
        let variants = cohort.shape.variants;
        let stored = &cohort.stored[(trial * variants) as usize..((trial + 1) * variants) as usize];
        (0..variants).filter(|&variant| !stored[variant as usize]).collect()
    }

    /// Trials for the next shard of a worker.
    fn shard_trials(&self, worker: WorkerId, effort_per_trial: f64) -> u32 {
        if let Some(trials) = self.config.shard_trials {
            return trials.max(1);
        }
        let pace = &self.workers[&worker].pace;
        let wanted = pace.trials_within(self.config.lease_target, effort_per_trial);
        // Towards the end, no worker should hold much while others have nothing.
        let threads: u64 = self.workers.values().map(|worker| u64::from(worker.threads)).sum();
        let fair = self.pending.div_ceil(2 * threads.max(1));
        wanted.min(fair.try_into().unwrap_or(u32::MAX)).max(1)
    }

    fn abandon(&mut self, reason: Reason, commands: &mut Vec<Command>) {
        if !self.ended {
            self.ended = true;
            commands.push(Command::Abandon(reason));
        }
    }
}
