use granule_engine::{Digest, Spike};
use granule_store::StoreEntry;
use granule_sweep::{Overrides, parse};
use granule_toy::ENGINES;
use tempfile::TempDir;

use super::*;

/// Two seeds and three trials of three conditions, two of which have equal parameters.
const SWEEP: &str = "engine: toy\nseeds: [1, 2]\ntrials: 3\n\
                     conditions: [Strong, Base, { name: again, base: Base }]\n";

struct Shelf {
    counts: Arc<Counts>,
    asked: Receiver<usize>,
    plan: Arc<Plan>,
    store: Store,
    _directory: TempDir,
}

impl Shelf {
    fn new() -> Shelf {
        let sweep = parse(ENGINES, "x.yaml", SWEEP.as_bytes(), "x", &Overrides::default()).expect("a sweep");
        let plan = Arc::new(Plan::new(&sweep));
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open(&directory.path().join("store")).expect("a store");
        let (counts, asked) = Counts::new(Arc::clone(&plan));
        Shelf { counts: Arc::new(counts), asked, plan, store, _directory: directory }
    }

    fn id(&self, condition: usize, seed: usize, trial: u32) -> TrialId {
        let (cohort, variant) = self.plan.place(condition, seed);
        TrialId { cohort: cohort as u32, variant: variant as u32, trial }
    }

    /// Stores a trial with a spike at this step.
    fn store(&self, id: TrialId, step: u32) -> Vec<u8> {
        let key = self.plan.key(id.cohort as usize, id.variant as usize, id.trial);
        let spikes = spikes(step);
        let entry = StoreEntry { key, digest: Digest::of(&spikes), spikes: &spikes };
        self.store.put(&[entry]).expect("there is room");
        spikes
    }

    fn remove(&self, id: TrialId) {
        let key = self.plan.key(id.cohort as usize, id.variant as usize, id.trial);
        self.store.remove(&[key]).expect("there is room");
    }

    /// Reads the conditions that were requested until now.
    fn read(&self) {
        let (later, now) = channel();
        while let Ok(condition) = self.asked.try_recv() {
            later.send(condition).expect("it is heard");
        }
        drop(later);
        self.counts.read(&self.store, &now);
    }

    /// Trials and granule spikes in the first two bins.
    fn counted(&self, condition: usize) -> (u64, [u64; 2]) {
        let (_, histogram) = self.counts.later_than(condition, 0).expect("it is watched");
        (histogram.trials, [histogram.counts[0][0], histogram.counts[0][1]])
    }
}

fn spikes(step: u32) -> Vec<u8> {
    TrialSpikes::of(vec![vec![Spike { step, cell: 0 }], Vec::new(), Vec::new()]).encode()
}

#[test]
fn what_is_stored_and_what_comes_is_counted_once() {
    let shelf = Shelf::new();
    shelf.store(shelf.id(1, 0, 0), 0);
    shelf.store(shelf.id(0, 0, 0), 0);
    let early = shelf.store(shelf.id(1, 1, 2), 10);
    shelf.counts.add(shelf.id(1, 1, 2), &early);
    assert!(shelf.counts.later_than(1, 0).is_none(), "nobody looks");

    // Of two conditions with equal parameters, either may be watched.
    shelf.counts.watch(2);
    shelf.counts.watch(1);
    assert!(shelf.counts.is_behind());
    let late = shelf.store(shelf.id(1, 0, 1), 19);
    shelf.counts.add(shelf.id(1, 0, 1), &late);
    assert_eq!(shelf.counted(1), (1, [0, 1]));
    shelf.read();
    assert!(!shelf.counts.is_behind());
    assert_eq!(shelf.counted(1), (3, [1, 2]));
    assert_eq!(shelf.counted(2), (3, [1, 2]));
    shelf.counts.add(shelf.id(1, 0, 0), &spikes(0));
    assert_eq!(shelf.counted(1), (3, [1, 2]), "it was counted");
    let (version, _) = shelf.counts.later_than(1, 0).expect("it is watched");
    assert!(shelf.counts.later_than(1, version).is_none());
}

#[test]
fn trials_that_are_taken_out_are_not_counted_any_more() {
    let shelf = Shelf::new();
    shelf.store(shelf.id(0, 0, 0), 0);
    shelf.store(shelf.id(0, 1, 0), 0);
    shelf.store(shelf.id(1, 0, 0), 0);
    shelf.counts.watch(0);
    shelf.counts.watch(1);
    shelf.read();
    assert_eq!((shelf.counted(0), shelf.counted(1)), ((2, [2, 0]), (1, [1, 0])));
    shelf.remove(shelf.id(0, 1, 0));
    shelf.counts.discard(&[shelf.id(0, 1, 0)]);
    assert_eq!(shelf.counted(0), (0, [0, 0]), "until it is read again");
    let again = shelf.store(shelf.id(0, 1, 0), 10);
    shelf.counts.add(shelf.id(0, 1, 0), &again);
    shelf.read();
    assert_eq!((shelf.counted(0), shelf.counted(1)), ((2, [1, 1]), (1, [1, 0])));
}

/// The reader has read the spikes, and not yet counted them, when the trial is discarded.
#[test]
fn what_was_read_before_is_void() {
    let shelf = Shelf::new();
    let id = shelf.id(0, 0, 0);
    shelf.counts.watch(0);
    let life = shelf.counts.life(0).expect("it is watched");
    shelf.counts.discard(&[id]);
    shelf.counts.count(id, 0, life, &spikes(0));
    assert_eq!(shelf.counted(0), (0, [0, 0]));
    shelf.counts.add(id, &spikes(10));
    assert_eq!(shelf.counted(0), (1, [0, 1]));
}

#[test]
fn the_reader_ends_when_it_is_told_to() {
    let shelf = Shelf::new();
    shelf.store(shelf.id(0, 0, 0), 0);
    shelf.counts.watch(0);
    shelf.counts.end();
    shelf.counts.read(&shelf.store, &shelf.asked);
    assert_eq!(shelf.counted(0), (0, [0, 0]));
}

#[test]
fn long_trials_have_wider_bins() {
    let bin = |duration: &str| {
        let text = format!("time: {{ duration: {duration} }}\nconditions: [Base]\n");
        let sweep = parse(ENGINES, "x.yaml", text.as_bytes(), "x", &Overrides::default())
            .unwrap_or_else(|error| panic!("{error}"));
        bin_ms(&sweep.conditions[0].model)
    };
    assert_eq!([bin("2000 ms"), bin("5000 ms"), bin("5001 ms"), bin("20 s")], [5, 5, 10, 20]);
}
