//! Workers that join late, die, hang or never connect. The run gives the same bytes, or ends with the reason. No
//! process remains.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::{
    Ended, Hashes, Place, Running, Sweep, copy_program, expected, happened, is_stopped, root, send,
};

/// Outputs of the slow sweep.
fn undisturbed() -> &'static Hashes {
    static HASHES: OnceLock<Hashes> = OnceLock::new();
    HASHES.get_or_init(|| Sweep::slow().undisturbed())
}

/// Starts the slow sweep, one trial per shard.
fn start(place: &Place, arguments: &[&str]) -> Running {
    place.sweep("sweep.yaml", &Sweep::slow());
    let always = ["run", "sweep.yaml", "--out", "out", "--shard-trials", "1"];
    place.start(&[&always, arguments].concat())
}

/// Waits until the store has grown by this number of blocks.
fn wait_for_growth(place: &Place, running: &mut Running, blocks: u64) {
    let before = place.length("out/store.granule");
    running.until("more is stored", |_| {
        (place.length("out/store.granule") >= before + blocks * 4096).then_some(())
    });
}

#[test]
fn neither_the_number_of_workers_nor_the_size_of_shards_changes_a_byte() {
    let sweep = root().join("sweeps/ci-10trials.yaml");
    let expected = expected(include_str!("../expected/ci-10trials.sha256"));
    for workers in ["1", "2", "5"] {
        for shard in ["1", "3", "100"] {
            let place = Place::new();
            let sweep = sweep.to_str().unwrap();
            let arguments = ["--out", "out", "--workers", workers, "--shard-trials", shard];
            place.run(&[&["run", sweep], &arguments[..]].concat()).succeeded();
            assert_eq!(place.hashes("out/seed-451"), expected, "{workers} workers, {shard} trials a shard");
            assert_eq!(place.manifest("out")["run"]["workers"].to_string(), workers);
        }
    }
}

#[test]
fn killed_workers_are_replaced_and_missed_by_nobody() {
    let place = Place::new();
    let mut running = start(&place, &["--workers", "2"]);
    let mut killed = Vec::new();
    // First one worker at its start, and then one or all of them whenever the store has grown.
    for count in [1, 2, 1, 2, 1, 2] {
        let workers = running.until("a worker runs", |running| {
            let workers = running.workers();
            (!workers.is_empty()).then_some(workers)
        });
        for &worker in workers.iter().rev().take(count) {
            send(worker, Signal::SIGKILL);
            killed.push(worker);
        }
        wait_for_growth(&place, &mut running, 8);
    }
    let ended = running.end().succeeded();
    assert!(killed.len() >= 6);
    for worker in killed {
        let line = format!("worker process {worker} was killed by signal 9\n");
        assert!(ended.stderr.contains(&line), "no `{line}` in:\n{}", ended.stderr);
    }
    assert_eq!(place.outputs("out"), *undisturbed());
    place.is_left_alone();
}

#[test]
fn workers_that_fall_silent_are_given_up_and_replaced() {
    for all in [false, true] {
        let place = Place::new();
        let mut running = start(&place, &["--workers", "2", "--lease-seconds", "2"]);
        wait_for_growth(&place, &mut running, 12);
        let mut stopped = running.workers();
        assert_eq!(stopped.len(), 2);
        stopped.truncate(if all { 2 } else { 1 });
        stopped.iter().for_each(|&worker| send(worker, Signal::SIGSTOP));
        running.until("the silent workers are gone", |running| {
            let workers = running.workers();
            stopped.iter().all(|worker| !workers.contains(worker)).then_some(())
        });
        let ended = running.end().succeeded();
        for worker in stopped {
            let line = format!("worker process {worker} sent no heartbeat for 2 s and was killed\n");
            assert!(ended.stderr.contains(&line), "no `{line}` in:\n{}", ended.stderr);
        }
        assert_eq!(place.outputs("out"), *undisturbed());
        place.is_left_alone();
    }
}

#[test]
fn a_suspended_coordinator_blames_no_worker_for_its_own_silence() {
    let place = Place::new();
    let mut running = start(&place, &["--workers", "2", "--lease-seconds", "2"]);
    wait_for_growth(&place, &mut running, 12);
    running.signal(Signal::SIGSTOP);
    thread::sleep(Duration::from_secs(5));
    running.signal(Signal::SIGCONT);
    let ended = running.end().succeeded();
    assert!(!ended.stderr.contains("worker process"), "{}", ended.stderr);
    assert_eq!(place.outputs("out"), *undisturbed());
    place.is_left_alone();
}

#[test]
fn a_program_that_is_replaced_while_it_runs_goes_on_as_it_was() {
    let place = Place::new();
    place.sweep("sweep.yaml", &Sweep::slow());
    let copy = place.path("granule");
    copy_program(&copy);
    let mut command = place.command(copy.to_str().unwrap());
    command.args(["run", "sweep.yaml", "--out", "out", "--workers", "1", "--shard-trials", "1"]);
    let mut running = place.start_this(command);
    wait_for_growth(&place, &mut running, 8);
    fs::remove_file(&copy).expect("it can be removed");
    place.script("granule", "exit 9");
    let worker = running.workers()[0];
    send(worker, Signal::SIGKILL);
    let ended = running.end().succeeded();
    let line = format!("worker process {worker} was killed by signal 9\n");
    assert!(ended.stderr.contains(&line), "no `{line}` in:\n{}", ended.stderr);
    assert_eq!(place.outputs("out"), *undisturbed());
}

#[test]
fn workers_that_fail_at_every_other_start_are_good_enough() {
    let place = Place::new();
    let body = format!(
        "starts=$(cat starts 2>/dev/null || echo 0)\necho $((starts + 1)) > starts\n\
         [ $((starts % 2)) = 0 ] && exit 5\nexec '{}' \"$@\"",
        env!("CARGO_BIN_EXE_granule")
    );
    let program = place.script("unreliable", &body);
    place.sweep("sweep.yaml", &Sweep::small());
    let arguments = ["--workers", "2", "--worker-program", program.to_str().unwrap()];
    let running = place.start(&[&["run", "sweep.yaml", "--out", "out"], &arguments[..]].concat());
    let ended = running.end().succeeded();
    assert!(ended.stderr.contains(" exited with code 5\n"), "{}", ended.stderr);
    assert_eq!(place.outputs("out"), Sweep::small().undisturbed());
    place.is_left_alone();
}

/// Runs a sweep with this program as its workers.
fn run_with(place: &Place, program: &Path, workers: u32) -> Ended {
    place.sweep("sweep.yaml", &Sweep::small());
    let workers = workers.to_string();
    let arguments = ["--workers", &workers, "--lease-seconds", "1", "--worker-program"];
    let program = program.to_str().unwrap();
    place.start(&[&["run", "sweep.yaml", "--out", "out"], &arguments[..], &[program]].concat()).end()
}

#[test]
fn workers_that_die_again_and_again_end_the_run() {
    let check = |program: &dyn Fn(&Place) -> PathBuf, how: &str| {
        for workers in [1, 3] {
            let place = Place::new();
            let ended = run_with(&place, &program(&place), workers);
            let died = 4 + workers;
            let summary = format!(
                "error: {died} worker processes died in a row, and no trial was stored in between; the last \
                 one {how}"
            );
            let ended =
                ended.failed_with(3, &[&summary, "help: all computed trials are stored; to resume: "]);
            let deaths = happened(&ended.stderr).filter(|said| said.starts_with("worker process "));
            let deaths: Vec<&str> = deaths.collect();
            assert!(deaths.iter().all(|line| line.ends_with(how)), "{deaths:#?}");
            assert_eq!(deaths.len(), died as usize, "{deaths:#?}");
            assert!(!place.path("out/manifest.json").exists());
            place.is_left_alone();
            // The failed run leaves nothing that prevents the next one.
            place.run(&["run", "sweep.yaml", "--out", "out"]).succeeded();
        }
    };
    check(&|_| "/bin/false".into(), "exited with code 1");
    check(&|_| "/bin/true".into(), "exited with code 0");
    check(&|place| place.script("suicide", "kill -KILL $$"), "was killed by signal 9");
    check(
        &|place| place.script("talker", "echo one >&2; echo two >&2; exit 7"),
        "exited with code 7; its last output: one / two",
    );
    check(&|place| place.script("sleeper", "exec sleep 1000"), "did not connect within 1 s");
}

#[test]
fn a_worker_program_that_cannot_be_started_is_named() {
    let check = |program: &dyn Fn(&Place) -> PathBuf, because: &str| {
        let place = Place::new();
        let program = program(&place);
        let start = format!("error: cannot start worker process {}", program.display());
        let help = "help: --worker-program must name an executable file";
        run_with(&place, &program, 2).failed_with(1, &[&start, because, help]);
        place.is_left_alone();
    };
    check(&|place| place.path("nothing-here"), "because: No such file or directory");
    check(&|place| place.write("no-program", "text"), "because: Permission denied");
    check(&|place| place.path(""), "because: Permission denied");
    check(&|place| place.executable("garbage", "\u{1}\u{2}\u{3}"), "because: Exec format error");
}

#[test]
fn no_worker_outlives_its_coordinator() {
    let check = |signal: Signal, code: Option<i32>, stop_a_worker: bool| {
        let place = Place::new();
        let mut running = start(&place, &["--workers", "3"]);
        wait_for_growth(&place, &mut running, 6);
        let workers = running.workers();
        assert_eq!(workers.len(), 3);
        assert_eq!(place.processes().len(), 4);
        if stop_a_worker {
            send(workers[0], Signal::SIGSTOP);
            running.until("a worker is stopped", |_| is_stopped(workers[0]).then_some(()));
        }
        running.signal(signal);
        assert_eq!(running.end().code, code, "{signal}");
        place.is_left_alone();
    };
    for stop_a_worker in [false, true] {
        check(Signal::SIGKILL, None, stop_a_worker);
        check(Signal::SIGINT, Some(130), stop_a_worker);
        check(Signal::SIGTERM, Some(143), stop_a_worker);
    }
}
