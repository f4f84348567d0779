//! The paper's data at full size, within the limits of a laptop. Every byte must be right, in less than 400 MiB of
//! memory and 3 minutes on 2 cores.
#![allow(clippy::print_stderr, reason = "the figures are of interest where the test passes, too")]

use std::time::Instant;

use nix::sys::resource::{UsageWho, getrusage};

use crate::support::{Place, expected, root};

/// The limit for all processes together.
const MOST_MEMORY_MIB: u64 = 400;

/// 3 minutes on 2 cores, as CPU time: other work on the machine hardly changes it.
const MOST_CPU_SECONDS: f64 = 360.0;

/// CPU time in seconds of all children that have ended, including those of other tests.
fn spent_by_children() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("usage of children");
    let spent = [usage.user_time(), usage.system_time()];
    spent.iter().map(|time| time.tv_sec() as f64 + time.tv_usec() as f64 * 1e-6).sum()
}

#[test]
fn the_paper_is_reproduced_within_a_laptops_means() {
    let _turn = crate::turn(module_path!());
    let place = Place::new();
    let sweep = root().join("sweeps/paper.yaml");
    let before = spent_by_children();
    let begun = Instant::now();
    let seen = place.watch(&["run", sweep.to_str().unwrap(), "--out", "out", "--workers", "2"]);
    let wall = begun.elapsed().as_secs_f64();
    let run = &place.manifest("out")["run"];
    let cpu_seconds = run["cpu_seconds"].as_f64().expect("a number");
    let peak_mib = seen.peak_kib / 1024;
    eprintln!("paper: {cpu_seconds:.1} s of CPU time, {wall:.1} s of time, at most {peak_mib} MiB");

    assert_eq!(place.hashes("out/seed-451"), expected(include_str!("../expected/paper.sha256")));
    assert_eq!(seen.most_processes, 3, "all processes were seen");
    assert!((10..MOST_MEMORY_MIB).contains(&peak_mib), "{peak_mib} MiB");
    assert!(cpu_seconds < MOST_CPU_SECONDS, "{cpu_seconds} s of CPU time");
    // The manifest's CPU time is correct: it lacks only the time after the manifest was written.
    let spent = spent_by_children() - before;
    assert!(cpu_seconds <= spent && cpu_seconds > 0.95 * spent, "{cpu_seconds} s told, {spent} s spent");
}
