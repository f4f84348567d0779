//! What the scheduler knows.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::checks::Trust;
use super::claims::Large;
use super::cohort::{Cohort, Slot};
use super::event::Command;
use super::ids::{ConnectionId, LeaseId, Place, Time, TrialId, WorkerName};
use super::lease::Lease;
use super::losses::Suspect;
use super::shape::{Config, Shape};
use super::standing::{Machines, Sites};
use super::survey::Stream;
use super::variants::Variants;
use super::worker::Worker;

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
    pub(super) config: Config,
    pub(super) cohorts: Vec<Cohort>,
    pub(super) streams: Vec<Stream>,
    /// Cohorts that read each stream.
    pub(super) readers: Vec<Vec<usize>>,
    /// All that were ever here.
    pub(super) workers: BTreeMap<WorkerName, Worker>,
    pub(super) connections: BTreeMap<ConnectionId, WorkerName>,
    /// Those of them that have gone, the oldest first.
    pub(super) gone: VecDeque<WorkerName>,
    pub(super) sites: Sites,
    pub(super) machines: Machines,
    /// Number of the last place in a queue of workers.
    pub(super) tickets: u64,
    /// Connected workers that can have another lease now.
    pub(super) free: BTreeSet<WorkerName>,
    /// Leases that all connected workers may have.
    pub(super) threads: u32,
    /// Connected workers that have delivered, and go on delivering.
    pub(super) steady: usize,
    pub(super) leases: BTreeMap<LeaseId, Lease>,
    pub(super) next_lease: LeaseId,
    /// The longest time between two results of a lease.
    pub(super) longest: Duration,
    /// Whether some leases had stalled at the last look.
    pub(super) are_any_stalled: bool,
    /// Cohorts that may have something to hand out. The others have nothing pending, or wait for
    /// their stream to be counted by those who do that already.
    pub(super) open: BTreeSet<usize>,
    pub(super) pending: u64,
    /// Trials, in all variants, that are not stored, but for those set aside.
    pub(super) unstored: u64,
    pub(super) crashes: u32,
    pub(super) suspects: BTreeMap<Place, Suspect>,
    pub(super) set_aside: BTreeMap<Place, String>,
    pub(super) large: Large,
    pub(super) trust: Trust,
    pub(super) tally: Tally,
    /// When to look again at what idle workers could do.
    pub(super) next_look: Time,
    pub(super) draining: bool,
    pub(super) ended: bool,
    /// What there is to do since the last event, in order; empty between events.
    pub(super) commands: Vec<Command>,
}

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
