//! The paper's data at full size, on a laptop's budget: every byte, in less than 1 GiB of memory and
//! 3 minutes on 2 cores.
#![cfg(target_os = "linux")]
#![allow(clippy::print_stderr, reason = "the figures are of interest where the test passes, too")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use support::{Place, expected, root};

/// For all processes together.
const MOST_MEMORY_MIB: u64 = 1024;

/// 3 minutes on 2 cores, in CPU time, which other work on the machine hardly changes.
const MOST_CPU_SECONDS: f64 = 360.0;

#[test]
fn the_paper_is_reproduced_within_a_laptops_means() {
    let place = Place::new();
    let sweep = root().join("sweeps/paper.yaml");
    let begun = Instant::now();
    let mut running = place.start(&["run", sweep.to_str().unwrap(), "--out", "out", "--workers", "2"]);
    let mut peaks_kib = BTreeMap::new();
    let mut most_processes = 0;
    while !running.has_ended() {
        assert!(begun.elapsed() < Duration::from_secs(3600), "no end after an hour");
        let processes = place.processes();
        most_processes = most_processes.max(processes.len());
        peaks_kib.extend(processes.into_iter().filter_map(|process| Some((process, peak_kib(process)?))));
        thread::sleep(Duration::from_millis(20));
    }
    running.end().succeeded();
    let wall = begun.elapsed().as_secs_f64();
    let run = &place.manifest("out")["run"];
    let cpu_seconds = run["cpu_seconds"].as_f64().expect("a number");
    // No less than what they ever had together.
    let peak_mib = peaks_kib.values().sum::<u64>() / 1024;
    eprintln!("paper: {cpu_seconds:.1} s of CPU time, {wall:.1} s of time, at most {peak_mib} MiB");

    assert_eq!(place.hashes("out/seed-451"), expected(include_str!("expected/paper.sha256")));
    assert_eq!(most_processes, 3, "all processes were seen");
    assert!((10..MOST_MEMORY_MIB).contains(&peak_mib), "{peak_mib} MiB");
    assert!(cpu_seconds < MOST_CPU_SECONDS, "{cpu_seconds} s of CPU time");
    // The manifest tells the truth: it misses no more than its own end.
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("usage of children");
    let spent = [usage.user_time(), usage.system_time()];
    let spent: f64 = spent.iter().map(|time| time.tv_sec() as f64 + time.tv_usec() as f64 * 1e-6).sum();
    assert!(cpu_seconds <= spent && cpu_seconds > 0.95 * spent, "{cpu_seconds} s told, {spent} s spent");
}

/// The most memory that a process ever had, shared or not; none once it is gone.
fn peak_kib(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    peak.trim().strip_suffix(" kB")?.parse().ok()
}
