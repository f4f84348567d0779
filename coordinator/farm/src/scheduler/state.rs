//! The state of the scheduler.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::checks::Trust;
use super::claims::Large;
use super::cohort::{CohortTrials, Slot};
use super::event::Command;
use super::ids::{ConnectionId, LeaseId, Place, Time, TrialId, WorkerName};
use super::lease::Lease;
use super::losses::Suspect;
use super::shape::{CohortShape, PlanShape, SchedulerConfig};
use super::standing::{Machines, Sites};
use super::survey::SurveyedStream;
use super::variants::Variants;
use super::worker::Worker;

/// Totals of this run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Trials stored by this run.
    pub stored: u64,
    pub leases: u64,
    pub copies: u64,
    /// Leases that were taken from workers, or handed back, before all of their trials were done.
    pub given_back: u64,
    pub disconnections: u64,
    pub returns: u64,
    /// Trials that another worker computed once more, with the same result.
    pub audited: u64,
    pub unaudited: u64,
    pub disagreements: u64,
    /// Disputes that were settled with votes of fewer than three machines.
    pub weakly_settled: u64,
    pub discarded: u64,
    pub quarantined: u64,
    pub set_aside: u64,
}

/// The scheduler.
///
/// The cost of an event does not grow with the number of workers, trials and cohorts, except for the depth of ordered
/// collections. Only [`super::Event::WakeUp`] looks at all workers.
#[derive(Debug)]
pub struct Scheduler {
    pub(super) config: SchedulerConfig,
    pub(super) cohorts: Vec<CohortTrials>,
    pub(super) streams: Vec<SurveyedStream>,
    /// The cohorts that read each stream.
    pub(super) readers: Vec<Vec<usize>>,
    /// All workers that have ever connected, until `forget` removes them.
    pub(super) workers: BTreeMap<WorkerName, Worker>,
    pub(super) connections: BTreeMap<ConnectionId, WorkerName>,
    /// Workers that have left, the earliest first.
    pub(super) gone: VecDeque<WorkerName>,
    pub(super) sites: Sites,
    pub(super) machines: Machines,
    /// The last number that was given to a waiting worker.
    pub(super) tickets: u64,
    /// Connected workers that can have another lease now.
    pub(super) free: BTreeSet<WorkerName>,
    /// Number of leases that all connected workers together may have.
    pub(super) threads: u32,
    /// Connected workers that have delivered, take leases and have not stalled.
    pub(super) steady: usize,
    pub(super) leases: BTreeMap<LeaseId, Lease>,
    pub(super) next_lease: LeaseId,
    /// The longest time between two results of a lease.
    pub(super) longest: Duration,
    /// Whether any lease was stalled at the last look.
    pub(super) are_any_stalled: bool,
    /// Cohorts that may have work to lease. All others have nothing pending, or wait for parts of their stream that
    /// workers are already counting.
    pub(super) open: BTreeSet<usize>,
    pub(super) pending: u64,
    /// Number of trials, by variant, that are neither stored nor set aside.
    pub(super) unstored: u64,
    /// Whether the sweep may need more trials than the cohorts have.
    pub(super) may_grow: bool,
    /// Whether the driver was asked if it does, and has not answered.
    pub(super) is_deciding: bool,
    pub(super) crashes: u32,
    pub(super) suspects: BTreeMap<Place, Suspect>,
    pub(super) set_aside: BTreeMap<Place, String>,
    pub(super) large: Large,
    pub(super) trust: Trust,
    pub(super) tally: Tally,
    /// When the next look at idle workers is due.
    pub(super) next_look: Time,
    pub(super) draining: bool,
    pub(super) ended: bool,
    /// The commands of the current event, in order. Empty between events.
    pub(super) commands: Vec<Command>,
}

impl Scheduler {
    /// Makes a scheduler for this plan. `is_stored` returns whether a trial is already stored.
    pub fn new(config: SchedulerConfig, shape: PlanShape, is_stored: impl Fn(TrialId) -> bool) -> Scheduler {
        let PlanShape { trials, may_grow, cohorts, streams } = shape;
        let mut readers = vec![Vec::new(); streams.len()];
        cohorts.iter().enumerate().for_each(|(at, of)| readers[of.stream].push(at));
        let cohort = |shape: CohortShape| CohortTrials {
            shape,
            variants: Variants::first(shape.variants),
            slots: Vec::new(),
            first_pending: 0,
            pending: 0,
        };
        let mut scheduler = Scheduler {
            config,
            pending: 0,
            open: BTreeSet::new(),
            cohorts: cohorts.into_iter().map(cohort).collect(),
            streams: streams.into_iter().map(SurveyedStream::new).collect(),
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
            unstored: 0,
            may_grow,
            is_deciding: false,
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
        };
        scheduler.grow(trials, is_stored);
        scheduler
    }

    /// Adds trials to every cohort, up to this number. `is_stored` returns whether a new trial is already stored.
    pub(super) fn grow(&mut self, trials: u32, is_stored: impl Fn(TrialId) -> bool) {
        for (at, cohort) in self.cohorts.iter_mut().enumerate() {
            let new = cohort.slots.len() as u32..trials;
            cohort.slots.reserve_exact(new.len());
            let mut last_pending = None;
            for trial in new {
                let mut stored = Variants::default();
                for variant in cohort.variants.iter() {
                    if is_stored(TrialId { cohort: at as u32, variant, trial }) {
                        stored.insert(variant);
                    }
                }
                let slot = Slot::new(stored);
                self.unstored += u64::from(cohort.variants.without(stored).len());
                if cohort.is_pending(&slot) {
                    last_pending = Some(trial);
                    cohort.pending += 1;
                    self.pending += 1;
                }
                cohort.slots.push(slot);
            }
            if let Some(last) = last_pending {
                self.streams[cohort.shape.stream].want(u64::from(last) * cohort.shape.items_per_trial);
                self.open.insert(at);
            }
        }
    }

    pub(super) fn slot(&mut self, place: Place) -> &mut Slot {
        &mut self.cohorts[place.cohort as usize].slots[place.trial as usize]
    }

    pub(super) fn end(&mut self, how: Command) {
        if !self.ended {
            self.ended = true;
            self.commands.push(how);
        }
    }
}
