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

/// Planning a million conditions takes less than 1.3 GB: each takes so much that the memory is proportional to them.
#[test]
fn a_planned_condition_takes_less_than_1300_bytes() {
    let _turn = crate::turn(module_path!());
    let peak_kib = |conditions: u32| {
        let place = Place::new();
        place.write("sweep.yaml", "trials: 1\nconditions: { table: points.csv }\n");
        let row = |i: u32| format!("-5{}.{i:06},0.{i:06},0.{i:05}\n", i % 5);
        let rows: String = (1..=conditions).map(row).collect();
        let header = "golgi.leak_reversal [mV],granule.tonic_factor,golgi_to_granule.weight [nS]\n";
        place.write("points.csv", format!("{header}{rows}"));
        place.watch(&["plan", "sweep.yaml"]).peak_kib
    };
    let (few, many) = (peak_kib(10_000), peak_kib(60_000));
    let bytes = (many - few) * 1024 / 50_000;
    eprintln!("planning takes {bytes} bytes a condition");
    assert!((100..1300).contains(&bytes), "{few} KiB for 10,000 conditions, {many} KiB for 60,000");
}
