//! Memory does not depend on the amount of computed results.
#![allow(clippy::print_stderr, reason = "the figures are of interest where the test passes, too")]

use granule::bench::Shelf;
use granule_engine::{Spike, TrialSpikes};
use granule_granular::ENGINES;
use granule_sweep::{Overrides, Plan, parse};

use crate::support::Place;

/// Four times as many trials need no more memory: results are in the store.
#[test]
fn memory_does_not_grow_with_the_number_of_trials() {
    let _turn = crate::turn(module_path!());
    let peak_kib = |trials: u32| {
        let place = Place::new();
        let text = format!(
            "network: {{ mossy_fibers: 78, granule_cells: 512, golgi_cells: 7 }}\ntrials: {trials}\n\
             conditions: [Control, GABAzine, ACh]\n"
        );
        place.write("many.yaml", &text);
        place.watch(&["run", "many.yaml", "--out", "out", "--workers", "2"]).peak_kib
    };
    let (few, many) = (peak_kib(100), peak_kib(400));
    eprintln!("100 trials: at most {} MiB; 400 trials: {} MiB", few / 1024, many / 1024);
    assert!(many < few + (8 << 10), "{few} KiB with 100 trials, {many} KiB with 400");
}

/// A table of more spikes needs no more memory either: the writer holds one trial, or one row group of Parquet.
#[test]
fn memory_does_not_grow_with_the_rows_of_a_table() {
    let _turn = crate::turn(module_path!());
    // Three and twelve row groups of Parquet. The first few row groups differ in size and leave gaps in memory, which
    // later row groups fill.
    const SPIKES: u32 = 8000;
    const MOST_MORE_KIB: u64 = 4 << 10;
    let peaks_kib = |trials: u32| {
        let place = Place::new();
        let text = format!(
            "network: {{ mossy_fibers: 60, granule_cells: 48, golgi_cells: 7 }}\ntrials: {trials}\n\
             record: {{ probabilities: false, conductances: false, weights: false }}\nconditions: [Control]\n"
        );
        place.write("sweep.yaml", &text);
        let sweep = parse(ENGINES, "sweep.yaml", text.as_bytes(), "sweep", &Overrides::default());
        let plan = Plan::new(&sweep.expect("a sweep"));
        let granule = (0..SPIKES).map(|i| Spike { step: i * 5 / 2, cell: i * 31 % 48 }).collect();
        let spikes = TrialSpikes::of(vec![granule, Vec::new()]).encode();
        let batch: Vec<_> = (0..trials).map(|trial| (plan.key(0, 0, trial), spikes.clone())).collect();
        Shelf::open(&place.path("store")).expect("a store").put(&batch).expect("room on the disk");
        place.run(&["run", "sweep.yaml", "--out", "out", "--store", "store"]).succeeded();
        ["x.csv", "x.npz", "x.parquet"].map(|name| {
            let peak = place.watch(&["export", "out", "--to", name]).peak_kib;
            assert!(place.length(name) > u64::from(trials * SPIKES) && peak > 0, "{name}: {peak} KiB");
            peak
        })
    };
    let (few, many) = (peaks_kib(100), peaks_kib(400));
    eprintln!("800,000 rows as CSV, NPZ and Parquet: {few:?} KiB; 3,200,000 rows: {many:?} KiB");
    for (few, many) in few.into_iter().zip(many) {
        assert!(many < few + MOST_MORE_KIB, "{few} KiB for 800,000 rows, {many} KiB for 3,200,000");
    }
}
