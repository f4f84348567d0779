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
mod variants;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use granule_sim::noise::{NoiseIndex, NoiseStart};

use noise::Stream;
use pace::Pace;
pub(crate) use variants::Variants;

/// Time since the driver started.
pub(crate) type Time = Duration;

/// A connected worker; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WorkerId(pub(crate) u64);

/// A lease; never used twice. As many as there are would take decades to grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LeaseId(pub(crate) u32);

impl LeaseId {
    /// None.
    pub(crate) const NONE: LeaseId = LeaseId(0);
}

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
    /// Workers die at one trial.
    #[error("{count} workers were given the same trial and did not deliver it")]
    Poison { trial: TrialId, count: u32 },
    /// A worker refuses its work.
    #[error("a worker cannot compute what it was given: {reason}")]
    Refused { reason: String },
}

/// A trial of a cohort in all its variants. There can be millions, so it is small.
#[derive(Clone, Copy, Debug)]
struct Slot {
    /// The last lease it was part of; none if that was given back, or there was none.
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

#[derive(Debug)]
struct Worker {
    threads: u32,
    leases: Vec<LeaseId>,
    heard: Time,
    pace: Pace,
}

#[derive(Debug)]
struct Lease {
    /// None once the worker has sent everything.
    worker: Option<WorkerId>,
    granted: Time,
    work: Work,
    /// Results that have not arrived.
    missing: u32,
    /// Slots that are not done.
    undone: u32,
}

/// The scheduler.
///
/// What an event costs does not grow with the number of workers, trials and cohorts, but for the
/// depth of ordered collections.
#[derive(Debug)]
pub(crate) struct Scheduler {
    config: Config,
    cohorts: Vec<Cohort>,
    streams: Vec<Stream>,
    /// Cohorts that read each stream.
    readers: Vec<Vec<usize>>,
    workers: BTreeMap<WorkerId, Worker>,
    /// Workers that have fewer leases than threads.
    free: BTreeSet<WorkerId>,
    /// Threads of all workers.
    threads: u32,
    leases: BTreeMap<LeaseId, Lease>,
    last_lease: LeaseId,
    /// Cohorts that may have something to hand out. The others have nothing pending, or wait for
    /// their noise stream to be counted by those who do that already.
    open: BTreeSet<usize>,
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
            free: BTreeSet::new(),
            threads: 0,
            leases: BTreeMap::new(),
            last_lease: LeaseId::NONE,
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
                let threads = threads.max(1);
                let joined = Worker { threads, leases: Vec::new(), heard: now, pace: Pace::default() };
                self.workers.insert(worker, joined);
                self.free.insert(worker);
                self.threads += threads;
            }
            Event::Heard { worker } => self.on_heard(now, worker),
            Event::Left { worker } => self.on_left(worker, &mut commands),
            Event::Received { lease, trial } => self.on_received(lease, trial),
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
        let Some(left) = self.workers.remove(&worker) else { return };
        self.free.remove(&worker);
        self.threads -= left.threads;
        for id in left.leases {
            // What it was at is the first trial that did not arrive.
            if let Some(at) = self.first_missing(id) {
                self.lose(at, commands);
            }
            self.give_back(id);
        }
    }

    /// The first trial of a lease that did not arrive.
    fn first_missing(&self, id: LeaseId) -> Option<TrialId> {
        let Lease { work: Work::Trials { cohort, trials, .. }, .. } = self.leases.get(&id)? else {
            return None;
        };
        let slots = &self.cohorts[*cohort as usize].slots;
        trials.clone().find_map(|trial| {
            let variant = slots[trial as usize].missing.iter().next()?;
            Some(TrialId { cohort: *cohort, variant, trial })
        })
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

    fn on_received(&mut self, id: LeaseId, trial: TrialId) {
        let slot = &mut self.cohorts[trial.cohort as usize].slots[trial.trial as usize];
        if let Some(lease) = self.leases.get_mut(&id)
            && slot.lease == id
            && slot.missing.remove(trial.variant)
        {
            lease.missing -= 1;
        }
    }

    fn on_stored(&mut self, worker: WorkerId, id: TrialId, commands: &mut Vec<Command>) {
        if self.workers.contains_key(&worker) {
            commands.push(Command::Acknowledge { worker, trial: id });
        }
        let cohort = &mut self.cohorts[id.cohort as usize];
        let slot = &mut cohort.slots[id.trial as usize];
        if !slot.stored.insert(id.variant) {
            return;
        }
        self.crashes = 0;
        self.unstored -= 1;
        if slot.stored != cohort.variants {
            return;
        }
        let lease = slot.lease;
        if lease == LeaseId::NONE {
            cohort.pending -= 1;
            self.pending -= 1;
        } else if let Some(of) = self.leases.get_mut(&lease) {
            of.undone -= 1;
            self.forget_if_settled(lease);
        }
    }

    /// Drops a lease that nobody works at any more once all of its slots are done.
    fn forget_if_settled(&mut self, id: LeaseId) {
        if let Some(Lease { worker: None, undone: 0, .. }) = self.leases.get(&id) {
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
        self.reopen(stream);
    }

    /// Something has changed about a noise stream: those that waited for it may look again.
    fn reopen(&mut self, stream: usize) {
        let has_pending = |at: &usize| self.cohorts[*at].pending > 0;
        self.open.extend(self.readers[stream].iter().copied().filter(has_pending));
    }

    fn on_finished(&mut self, now: Time, id: LeaseId, commands: &mut Vec<Command>) {
        let Some(lease) = self.leases.get_mut(&id) else { return };
        let Some(worker_id) = lease.worker.take() else { return };
        let Some(worker) = self.workers.get_mut(&worker_id) else { return };
        worker.leases.retain(|lease| *lease != id);
        self.free.insert(worker_id);
        match &lease.work {
            Work::Survey { .. } => self.give_back(id),
            Work::Trials { cohort, trials, variants, .. } => {
                let shape = self.cohorts[*cohort as usize].shape;
                let effort = pace::effort(&shape, *variants) * trials.len() as f64;
                worker.pace.observe(effort, now.saturating_sub(lease.granted));
                if lease.missing == 0 {
                    // All has arrived; what is not stored yet stays leased until it is.
                    self.forget_if_settled(id);
                } else {
                    let undelivered = self.first_missing(id);
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
                self.reopen(stream);
            }
            Work::Trials { cohort: at, trials, .. } => {
                let cohort = &mut self.cohorts[at as usize];
                for trial in trials.clone() {
                    if !cohort.is_done(&cohort.slots[trial as usize]) {
                        cohort.slots[trial as usize].lease = LeaseId::NONE;
                    }
                }
                cohort.first_pending = cohort.first_pending.min(trials.start);
                cohort.pending += lease.undone;
                self.pending += u64::from(lease.undone);
                self.open.insert(at as usize);
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
        while let Some(&id) = self.free.first() {
            let Some(work) = self.next_work(id) else { return };
            self.last_lease.0 += 1;
            let lease = self.last_lease;
            let (missing, undone) = self.take(lease, &work);
            let worker = self.workers.get_mut(&id).expect("only known workers are free");
            if worker.leases.is_empty() {
                // It owed no sign of life while it had nothing to do.
                worker.heard = worker.heard.max(now);
            }
            worker.leases.push(lease);
            if worker.leases.len() == worker.threads as usize {
                self.free.remove(&id);
            }
            let of = Lease { worker: Some(id), granted: now, work: work.clone(), missing, undone };
            self.leases.insert(lease, of);
            commands.push(Command::Grant { worker: id, lease, work });
        }
    }

    /// Marks work as leased; returns how many results are to arrive, and for how many slots.
    fn take(&mut self, lease: LeaseId, work: &Work) -> (u32, u32) {
        match work {
            Work::Survey { cohort, spans } => {
                let stream = self.cohorts[*cohort as usize].shape.stream;
                self.streams[stream].take(spans.clone());
                (0, 0)
            }
            Work::Trials { cohort, trials, variants, .. } => {
                let cohort = &mut self.cohorts[*cohort as usize];
                let slots = trials.len() as u32;
                for slot in &mut cohort.slots[trials.start as usize..trials.end as usize] {
                    (slot.lease, slot.missing) = (lease, *variants);
                }
                cohort.first_pending = trials.end;
                cohort.pending -= slots;
                self.pending -= u64::from(slots);
                (slots * variants.len(), slots)
            }
        }
    }

    fn next_work(&mut self, worker: WorkerId) -> Option<Work> {
        while let Some(&at) = self.open.first() {
            let work = self.next_of_cohort(at, worker);
            if work.is_some() {
                return work;
            }
            self.open.remove(&at);
        }
        None
    }

    /// What the first pending trial of a cohort calls for. Where that is nothing, it is nothing for
    /// any worker, until the cohort's stream changes or some of its trials are given back.
    fn next_of_cohort(&mut self, at: usize, worker: WorkerId) -> Option<Work> {
        let cohort = &mut self.cohorts[at];
        if cohort.pending == 0 {
            return None;
        }
        while !cohort.is_pending(&cohort.slots[cohort.first_pending as usize]) {
            cohort.first_pending += 1;
        }
        let cohort = &self.cohorts[at];
        let shape = &cohort.shape;
        let first = cohort.first_pending;
        let stream = &self.streams[shape.stream];
        let variants = cohort.unstored_of(first);
        let shard = self.shard_trials(worker, pace::effort(shape, variants));

        let located = |trial: u32| stream.locate(u64::from(trial) * shape.normals_per_trial);
        // The survey has to stay ahead of all threads, by what each may take next.
        let next = shard.saturating_mul(self.threads.saturating_mul(2));
        let ahead = first.saturating_add(next).min(cohort.slots.len() as u32 - 1);
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
        let is_alike = |&trial: &u32| {
            cohort.is_pending(&cohort.slots[trial as usize]) && cohort.unstored_of(trial) == variants
        };
        let end = (first..cohort.slots.len() as u32)
            .take(shard as usize)
            .take_while(is_alike)
            .last()
            .expect("the first trial is pending")
            + 1;
        Some(Work::Trials { cohort: at as u32, trials: first..end, variants, start })
    }

    /// Trials for the next shard of a worker.
    fn shard_trials(&self, worker: WorkerId, effort_per_trial: f64) -> u32 {
        if let Some(trials) = self.config.shard_trials {
            return trials.max(1);
        }
        let pace = &self.workers[&worker].pace;
        let wanted = pace.trials_within(self.config.lease_target, effort_per_trial);
        // Towards the end, no worker should hold much while others have nothing.
        let fair = self.pending.div_ceil(2 * u64::from(self.threads.max(1)));
        wanted.min(fair.try_into().unwrap_or(u32::MAX)).max(1)
    }

    fn abandon(&mut self, reason: Reason, commands: &mut Vec<Command>) {
        if !self.ended {
            self.ended = true;
            commands.push(Command::Abandon(reason));
        }
    }
}
