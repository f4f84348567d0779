//! One worker that is five times as slow as another does not hold up the end of a sweep.
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

/// How often the slow worker is let run, and for how long. It is a fifth.
const PERIOD: Duration = Duration::from_millis(20);
const RUNS_FOR: Duration = Duration::from_millis(4);

/// What the time to compute all may be of the ideal: that of two workers who both work until the end.
const MOST: f64 = 1.15;

/// Attempts, of which the best counts: the machine may be busy with something else at the wrong time.
const ATTEMPTS: usize = 3;

/// Up to this part of the sweep nothing is near its end, and both workers are at work: how fast they
/// are then is what they could do all the time.
const STEADY: f64 = 0.75;

/// Takes ten seconds and more with one core and a fifth.
fn sweep() -> Sweep<'static> {
    Sweep { trials: 560, ..Sweep::slow() }
}

/// Has a process run a fifth of the time, until this is dropped.
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
                // What sleeps is woken late: it is not to have more than its fifth for that.
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

/// Time on a processor that a process has had, in ticks of a hundredth of a second.
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

/// What was seen at a time.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// Since the coordinator began, in seconds.
    at: f64,
    stored: f64,
    /// By the fast and the slow worker.
    ticks: [u64; 2],
}

/// Trials for each tick of the processor between two times, of which the first is the earlier.
fn speed(from: Seen, to: Seen) -> f64 {
    (to.stored - from.stored) / used(from, to)
}

/// Ticks between two times, of both.
fn used(from: Seen, to: Seen) -> f64 {
    let of = |i: usize| (to.ticks[i] - from.ticks[i]) as f64;
    of(0) + of(1)
}

/// A run of which the first part is the fast worker's alone.
struct Race {
    served: Served,
    access: Access,
    workers: Vec<Running>,
}

impl Race {
    /// What the coordinator has just put up.
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

    /// Waits until so much is stored, and for the moment when that was put up.
    fn until(&self, part: f64) -> Seen {
        let most = f64::from(3 * sweep().trials) * part;
        let mut last: Option<Seen> = None;
        wait_for("enough is stored", || {
            let seen = self.look();
            let is_new = last.is_some_and(|last| last.at < seen.at);
            last = Some(seen);
            // A look takes a little, and the coordinator is not to be kept from its work.
            thread::sleep(Duration::from_millis(25));
            (is_new && seen.stored >= most).then_some(seen)
        })
    }
}

/// How much longer than ideal a sweep takes with a fast worker and a slow one.
///
/// The ideal is reckoned from processor time, so that it does not matter if the machine has other
/// things to do: what the fast worker alone gets done with it, and how much of it the two have while
/// both are at work.
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
    assert!(!ended.stderr.contains("is given up"), "{}", ended.stderr);
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
