//! A worker that is five times as slow as another does not delay the end of a sweep.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "what a test has to say")]

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use granule_worker::access::Access;
use nix::sys::signal::Signal;

use crate::support::served::{Served, connect, get, metric, tls};
use crate::support::{Place, Running, Sweep, send, wait_for};

/// The slow worker's period, and how long it runs in each. The share is a fifth.
const PERIOD: Duration = Duration::from_millis(20);
const RUNS_FOR: Duration = Duration::from_millis(4);

/// The largest permitted ratio of the duration to the ideal, in which both workers compute until the end.
const MOST: f64 = 1.15;

/// The best attempt counts, because the machine may be busy at the wrong time.
const ATTEMPTS: usize = 3;

/// Until this part of the sweep is stored, the end is far and both workers compute. Their speed in this time is their
/// full speed.
const STEADY: f64 = 0.75;

/// Takes at least ten seconds with one core and a fifth.
fn sweep() -> Sweep<'static> {
    Sweep { trials: 560, ..Sweep::slow() }
}

/// Limits a process to a fifth of the time, until this is dropped.
struct Slowed {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Slowed {
    fn new(process: u32) -> Slowed {
        let is_over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&is_over);
        let thread = thread::spawn(move || {
            let (begun, before) = (Instant::now(), ticks(process).unwrap_or(0));
            while !seen.load(Ordering::SeqCst) {
                // A sleeping thread is woken late. Processor time is checked, so that the process still gets no more
                // than a fifth.
                let used = Duration::from_millis(10 * (ticks(process).unwrap_or(before) - before));
                if used * 5 <= begun.elapsed() {
                    send(process, Signal::SIGCONT);
                    thread::sleep(RUNS_FOR);
                    send(process, Signal::SIGSTOP);
                }
                thread::sleep(PERIOD - RUNS_FOR);
            }
            send(process, Signal::SIGCONT);
        });
        Slowed { is_over, thread: Some(thread) }
    }
}

impl Drop for Slowed {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Processor time of a process, in ticks of a hundredth of a second.
fn ticks(process: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
}

fn worker(place: &Place, access: &str, core: usize) -> Running {
    let mut command = place.command("taskset");
    let program = env!("CARGO_BIN_EXE_granule");
    command.args(["-c", &core.to_string(), program, "worker", "--access", access, "--threads", "1"]);
    place.start_this(command)
}

/// Measurements at one time.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// Seconds since the start of the coordinator.
    at: f64,
    stored: f64,
    /// Processor time of the fast and the slow worker.
    ticks: [u64; 2],
}

/// Trials per tick of processor time, between an earlier and a later time.
fn speed(from: Seen, to: Seen) -> f64 {
    (to.stored - from.stored) / used(from, to)
}

/// Processor time of both workers between two times, in ticks.
fn used(from: Seen, to: Seen) -> f64 {
    let of = |i: usize| (to.ticks[i] - from.ticks[i]) as f64;
    of(0) + of(1)
}

/// A run in whose first part only the fast worker computes.
struct Race {
    served: Served,
    access: Access,
    workers: Vec<Running>,
}

impl Race {
    /// Reads the coordinator's metrics, which it updates at intervals.
    fn look(&self) -> Seen {
        let stream = connect(self.served.address()).expect("it listens");
        let stream = tls(&self.access, stream, &[]).expect("it speaks TLS");
        let (_, page) = get(stream, "/metrics", Some(self.served.secret()));
        let of = |i: usize| self.workers.get(i).and_then(|worker| ticks(worker.id())).unwrap_or(0);
        Seen {
            at: metric(&page, "granule_elapsed_seconds"),
            stored: metric(&page, "granule_trials_stored"),
            ticks: [of(0), of(1)],
        }
    }

    /// Waits until this part of the sweep is stored and the metrics have been updated.
    fn until(&self, part: f64) -> Seen {
        let most = f64::from(3 * sweep().trials) * part;
        let mut last: Option<Seen> = None;
        wait_for("enough is stored", || {
            let seen = self.look();
            let is_new = last.is_some_and(|last| last.at < seen.at);
            last = Some(seen);
            // Each request takes the coordinator a little time, so requests are rare.
            thread::sleep(Duration::from_millis(25));
            (is_new && seen.stored >= most).then_some(seen)
        })
    }
}

/// Returns the ratio of a sweep's duration with a fast and a slow worker to the ideal duration.
///
/// The ideal is derived from processor time, so that other load on the machine does not matter. It uses two measured
/// rates: trials per processor time of the fast worker alone, and processor time of both workers while both compute.
fn attempt() -> f64 {
    let place = Place::new();
    let path = place.sweep("sweep.yaml", &sweep());
    let served = Served::start(&place, None, &[path.to_str().unwrap()]);
    let began = Instant::now();
    let copy = served.copy(&place, "copy.json", None);
    let access = Access::read(&copy).expect("a copy");
    let copy = copy.to_str().unwrap();
    let mut race = Race { served, access, workers: vec![worker(&place, copy, 0)] };
    let first = race.until(0.02);
    let alone = race.until(0.2);
    let speed = speed(first, alone);

    race.workers.push(worker(&place, copy, 1));
    let slowed = Slowed::new(race.workers[1].id());
    let both = race.look();
    let steady = race.until(STEADY);
    race.served
        .running
        .until("all is computed", |running| running.stderr().contains("writing ").then_some(()));
    let end = began.elapsed().as_secs_f64();
    drop(slowed);
    let share = |i: usize| (steady.ticks[i] - both.ticks[i]) as f64 / 100.0 / (steady.at - both.at);
    let rate = speed * used(both, steady) / (steady.at - both.at);
    let left = f64::from(3 * sweep().trials) - both.stored;
    let (ideal, took) = (left / rate, end - both.at);
    println!(
        "processors: {:.2} and {:.2}; ideal {ideal:.2} s, it was {took:.2} s: × {:.3}",
        share(0),
        share(1),
        took / ideal
    );
    let ended = race.served.running.end().succeeded();
    assert!(!ended.stderr.contains("which other workers get"), "{}", ended.stderr);
    assert!(took >= 8.0, "{took} s is too short to tell");
    fs::remove_file(copy).expect("the copy");
    race.workers.into_iter().for_each(|worker| drop(worker.end().succeeded()));
    took / ideal
}

#[test]
fn a_slow_worker_does_not_hold_up_the_end() {
    let _turn = crate::turn(module_path!());
    let mut best = f64::INFINITY;
    for _ in 0..ATTEMPTS {
        best = best.min(attempt());
        if best <= MOST {
            return;
        }
    }
    panic!("at best × {best:.3}, and not × {MOST}");
}
