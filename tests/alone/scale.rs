//! Sweeps of many trials, and of many conditions and seeds.

use std::fs;
use std::thread;
use std::time::Duration;

use granule::bench::Shelf;
use granule_granular::ENGINES;
use granule_sweep::{Overrides, Plan, parse};
use nix::sys::signal::Signal;

use crate::support::{Place, can_trace, peak_kib, told};

/// The largest memory of a coordinator for a million trials.
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

/// Returns the peak memory in KiB of a coordinator that has planned everything and started a worker.
fn peak(place: &Place, stored: u64) -> u64 {
    place.write("sweep.yaml", a_million_trials());
    // A worker that never connects.
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
    let _turn = crate::turn(module_path!());
    let peak = peak(&Place::new(), 0);
    assert!(peak < MOST_KIB, "{peak} KiB");
}

#[test]
fn a_million_stored_trials_fit_in_300_mib() {
    let _turn = crate::turn(module_path!());
    let place = Place::new();
    let text = a_million_trials();
    let sweep = parse(ENGINES, "sweep.yaml", text.as_bytes(), "sweep", &Overrides::default());
    fs::create_dir(place.path("out")).expect("a directory");
    let shelf = Shelf::open(&place.path("out/store.granule")).expect("a store");
    let stored = shelf.fill(&Plan::new(&sweep.expect("a sweep"))).expect("room on the disk");
    drop(shelf);
    let peak = peak(&place, stored);
    assert!(peak < MOST_KIB, "{peak} KiB");
}

/// Returns a sweep of 5 ms trials in the smallest network. It records only rates, or everything if `is_all_recorded`.
fn short_trials(conditions: u32, seeds: u32, trials: u32, is_all_recorded: bool) -> String {
    let record = if is_all_recorded {
        "record: all\n"
    } else {
        "record: { probabilities: true, weights: false, connections: false }\n"
    };
    format!(
        "network: {{ mossy_fibers: 20, granule_cells: 4, golgi_cells: 1 }}\ntime: {{ duration: 5 ms }}\n\
         set: {{ stimulus.times: [] }}\n{record}seeds: 1..{seeds}\ntrials: {trials}\nconditions:\n  \
         - {{ name: c, base: Control, grid: {{ granule.tonic_factor: {{ linspace: [0.1, 2, {conditions}] }} }} }}\n"
    )
}

/// The coordinator's memory in bytes that `granule plan` assumes for each trial.
const BYTES_PER_TRIAL: u64 = 250;

#[test]
fn two_hundred_conditions_of_ten_seeds_are_run_to_their_end() {
    let _turn = crate::turn(module_path!());
    let run = |seeds: u32| {
        let place = Place::new();
        place.write("sweep.yaml", short_trials(200, seeds, 50, false));
        let mut running = place.start(&["run", "sweep.yaml", "--out", "out", "--workers", "2", "--json"]);
        let mut peak = 0;
        while !running.has_ended() {
            peak = peak_kib(running.id()).unwrap_or(peak);
            thread::sleep(Duration::from_millis(5));
        }
        let ended = running.end().succeeded();
        let told: serde_json::Value = serde_json::from_str(&ended.stdout).expect("one object");
        let trials = u64::from(200 * seeds * 50);
        assert_eq!((&told["state"], &told["trials"]["computed"]), (&"complete".into(), &trials.into()));
        assert_eq!(told["files"]["written"], 200 * seeds);
        assert_eq!(place.outputs("out").len() as u32, 200 * seeds);
        (trials, peak)
    };
    let (few, many) = (run(2), run(10));
    told(&format!("{} trials: {} KiB; {} trials: {} KiB", few.0, few.1, many.0, many.1));
    let most = few.1 + BYTES_PER_TRIAL * (many.0 - few.0) / 1024;
    assert!(many.1 < most, "{} KiB, at most {most} are meant", many.1);
}

/// The cost of a file does not depend on the number of files.
#[test]
fn every_file_is_synced_once_and_every_directory_read_once() {
    let _turn = crate::turn(module_path!());
    if !can_trace() {
        return;
    }
    let calls = |conditions: u32| {
        let place = Place::new();
        place.write("sweep.yaml", short_trials(conditions, 2, 1, true));
        let granule = place.granule(&["run", "sweep.yaml", "--out", "out", "--workers", "1"]);
        let mut strace = place.command("strace");
        strace.args(["-f", "-y", "-o", "calls", "-e", "trace=fsync,getdents64"]);
        strace.arg(granule.get_program()).args(granule.get_args());
        place.start_this(strace).end().succeeded();
        let calls = fs::read_to_string(place.path("calls")).expect("what was called");
        let count = |call: &str| {
            let is_here = |line: &&str| line.contains(call) && line.contains("/out");
            calls.lines().filter(is_here).count()
        };
        let files = place.manifest("out")["files"].as_array().expect("a list").len();
        assert_eq!(files, 2 * 5 * conditions as usize);
        (files, count("fsync("), count("getdents64("))
    };
    let (few, many) = (calls(4), calls(40));
    assert_eq!(
        many.1 - few.1,
        many.0 - few.0,
        "syncs of {} and {} files: {} and {}",
        few.0,
        many.0,
        few.1,
        many.1
    );
    assert!(few.2 > 0, "directories are looked at");
    assert_eq!(few.2, many.2, "directories are read more often for more files");
}
