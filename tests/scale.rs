//! Sweeps of a million trials.
#![cfg(target_os = "linux")]

mod support;

use std::fs;

use granule::bench::Shelf;
use granule_sweep::{Overrides, Plan, parse};
use nix::sys::signal::Signal;
use support::Place;

/// Most memory that a coordinator may take for a million trials.
const MOST_KIB: u64 = 300 << 10;

const TRIALS: u64 = 10 * 100 * 1000;

/// Ten conditions, a hundred seeds, a thousand trials.
fn a_million_trials() -> String {
    let seeds: Vec<u32> = (0..100).collect();
    let own: String = (1..=7)
        .map(|i| format!("  - {{ name: own{i}, set: {{ granule.tonic_factor: 0.{i} }} }}\n"))
        .collect();
    format!(
        "network: {{ mossy_fibers: 60, granule_cells: 48, golgi_cells: 7 }}\nseeds: {seeds:?}\ntrials: 1000\n\
         conditions:\n  - Control\n  - GABAzine\n  - ACh\n{own}"
    )
}

/// The most memory that the coordinator had in use by the time it has planned everything and has
/// started a worker, in KiB.
fn peak(place: &Place, stored: u64) -> u64 {
    place.write("sweep.yaml", a_million_trials());
    // One that never connects.
    let program = place.script("idle", "read access; read name; read more");
    let program = program.to_str().expect("text");
    let arguments = ["--out", "out", "--workers", "1", "--worker-program", program];
    let mut running = place.start(&[&["run", "sweep.yaml"], &arguments[..]].concat());
    running.until("a worker runs", |running| (!running.workers().is_empty()).then_some(()));
    let status = fs::read_to_string(format!("/proc/{}/status", running.id())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its peak");
    let peak = line.trim().trim_end_matches(" kB").parse().expect("a number");
    running.signal(Signal::SIGTERM);
    let said = format!("{stored} of {TRIALS} trials are stored");
    running.end().failed_with(143, &[&said]);
    peak
}

#[test]
fn a_million_planned_trials_fit_in_300_mib() {
    let peak = peak(&Place::new(), 0);
    assert!(peak < MOST_KIB, "{peak} KiB");
}

#[test]
fn a_million_stored_trials_fit_in_300_mib() {
    let place = Place::new();
    let overrides = Overrides::default();
    let sweep = parse("sweep.yaml", a_million_trials().as_bytes(), "sweep", &overrides).expect("a sweep");
    fs::create_dir(place.path("out")).expect("a directory");
    let shelf = Shelf::open(&place.path("out/store.granule")).expect("a store");
    let stored = shelf.fill(&Plan::new(&sweep)).expect("room on the disk");
    drop(shelf);
    let peak = peak(&place, stored);
    assert!(peak < MOST_KIB, "{peak} KiB");
}
