//! `granule status --follow`, and how runs and workers end when the terminal or the sweep ends.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;

use nix::sys::signal::Signal;
use pty_process::blocking::open;
use serde_json::Value;

use crate::support::{Ended, Place, Running, Sweep, copy_program, skip, wait_for};

/// A sweep that takes seconds, so that it can be followed and stopped.
fn sweep() -> Sweep<'static> {
    Sweep { trials: 400, ..Sweep::slow() }
}

fn place() -> Place {
    let place = Place::new();
    place.sweep("sweep.yaml", &sweep());
    place
}

fn run(place: &Place) -> Running {
    place.start(&["run", "sweep.yaml", "--out", "out", "--workers", "2"])
}

/// Waits until a coordinator has stored some trials, and not all.
fn until_it_computes(place: &Place, running: &mut Running) -> Value {
    running.until("trials are stored", |_| {
        place.status().filter(|status| status["trials"]["stored"].as_u64() > Some(0))
    })
}

/// The snapshots that a follower has printed so far.
fn snapshots(follower: &Running) -> Vec<Value> {
    let stdout = follower.stdout();
    let lines = stdout.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|report| report["type"] == "snapshot").collect()
}

#[test]
fn a_run_is_followed_through_kills_and_restarts_to_its_end() {
    let place = place();
    // The follower starts before the run.
    let mut follower = place.start(&["status", "out", "--follow", "--json"]);
    follower.until("it waits", |running| {
        running.stderr().contains("no coordinator is running in out; waiting").then_some(())
    });

    let mut first = run(&place);
    let status = until_it_computes(&place, &mut first);
    assert_eq!((&status["sweep"], &status["state"]), (&"test".into(), &"computing".into()));
    let beacon = place.path("out/.run.json");
    assert_eq!(fs::metadata(&beacon).expect("a file").permissions().mode() & 0o777, 0o600);
    follower.until("it sees the run", |running| (!snapshots(running).is_empty()).then_some(()));
    first.signal(Signal::SIGKILL);
    first.end();
    place.is_left_alone_but_for(follower.id());
    // The killed run's file remains, but its coordinator is gone.
    assert!(beacon.exists());
    let at_rest: Value =
        serde_json::from_str(&place.run(&["status", "out", "--json"]).succeeded().stdout).unwrap();
    assert_eq!((&at_rest["type"], &at_rest["state"]), (&"rest".into(), &"interrupted".into()));
    follower.until("it says that the run is gone", |running| {
        running.stderr().contains("has ended, and the sweep is not complete; waiting").then_some(())
    });

    let seen = snapshots(&follower).len();
    let mut second = run(&place);
    follower.until("it sees the second run", |running| (snapshots(running).len() > seen).then_some(()));
    second.until("it computes", |_| place.status());
    second.signal(Signal::SIGINT);
    second.end().failed_with(130, &["interrupted: "]);
    assert!(!beacon.exists());
    assert!(!follower.has_ended());

    run(&place).end().succeeded();
    follower.end().succeeded();
    assert!(!beacon.exists());
    assert_eq!(place.outputs("out"), sweep().undisturbed());
    // The follower does not wait, because the sweep is complete.
    place.run(&["status", "out", "--follow"]).succeeded();
}

/// The workers of an interrupted `serve` still need its access file, so a run keeps it.
#[test]
fn a_run_leaves_the_access_file_of_others_alone_until_the_sweep_is_complete() {
    let place = place();
    let mut served = place.serve(&[]);
    served.until("there is an access file", |_| place.path("out/access.json").exists().then_some(()));
    served.signal(Signal::SIGINT);
    served.end().failed_with(130, &[]);
    let access = fs::read(place.path("out/access.json")).expect("it is kept");
    let mut running = run(&place);
    until_it_computes(&place, &mut running);
    running.until("both workers are there", |_| {
        place.status().filter(|status| status["workers"].as_array().map(Vec::len) == Some(2))
    });
    assert_eq!(fs::read(place.path("out/access.json")).expect("it is kept"), access);
    running.end().succeeded();
    assert!(!place.path("out/access.json").exists() && !place.path("out/.run.json").exists());
}

#[test]
fn a_file_of_the_user_in_the_place_of_the_beacon_stays() {
    let place = Place::new();
    place.sweep("sweep.yaml", &Sweep::small());
    fs::create_dir(place.path("out")).expect("a directory");
    fs::write(place.path("out/.run.json"), "mine").expect("written");
    let ended = place.run(&["run", "sweep.yaml", "--out", "out"]).succeeded();
    assert!(
        ended.stderr.contains("out/.run.json exists and granule did not write it; move it away"),
        "{}",
        ended.stderr
    );
    assert_eq!(fs::read_to_string(place.path("out/.run.json")).expect("it is there"), "mine");
}

#[test]
fn a_hangup_ends_runs_and_workers_in_good_order() {
    let place = place();
    let mut coordinator = place.serve(&["--workers", "1"]);
    until_it_computes(&place, &mut coordinator);
    let mut worker = place.worker(&["--threads", "1"]);
    worker.until("it is connected", |running| running.stderr().contains("connected to").then_some(()));
    worker.signal(Signal::SIGHUP);
    let ended = worker.end().succeeded();
    assert!(ended.stderr.contains("draining: it got a signal (SIGHUP)"), "{}", ended.stderr);
    assert!(ended.stderr.contains("the coordinator has all results"), "{}", ended.stderr);
    // When a terminal closes, both the shell and the system send SIGHUP.
    coordinator.signal(Signal::SIGHUP);
    coordinator.signal(Signal::SIGHUP);
    let ended =
        coordinator.end().failed_with(129, &["workers finish their leases", "hung up: ", "to resume: "]);
    assert!(!ended.stderr.contains("stopped; all computed"), "{}", ended.stderr);

    let mut running = run(&place);
    until_it_computes(&place, &mut running);
    running.signal(Signal::SIGHUP);
    running.end().failed_with(129, &["hung up: ", "to resume: "]);
    run(&place).end().succeeded();
    assert_eq!(place.outputs("out"), sweep().undisturbed());
}

#[test]
fn what_nohup_started_goes_on() {
    let place = place();
    let nohup = |arguments: &[&str]| {
        let mut command = place.command("nohup");
        command.arg(env!("CARGO_BIN_EXE_granule")).args(arguments);
        place.start_this(command)
    };
    let mut coordinator = nohup(&["serve", "sweep.yaml", "--out", "out", "--listen", "127.0.0.1:0"]);
    coordinator.until("there is an access file", |_| place.path("out/access.json").exists().then_some(()));
    let mut worker = nohup(&["worker", "--access", "out/access.json", "--threads", "1"]);
    until_it_computes(&place, &mut coordinator);
    coordinator.signal(Signal::SIGHUP);
    worker.signal(Signal::SIGHUP);
    worker.until("there are more trials", |_| {
        place.status().filter(|status| status["trials"]["stored"].as_u64() > Some(20))
    });
    worker.end().succeeded();
    coordinator.end().succeeded();
    assert_eq!(place.outputs("out"), sweep().undisturbed());
}

/// Messages are then lost, as lines and as JSON.
#[test]
fn a_terminal_that_is_gone_stops_nothing() {
    for format in ["text", "json"] {
        let place = place();
        let (pty, pts) = open().expect("a terminal");
        let arguments = ["run", "sweep.yaml", "--out", "out", "--workers", "2", "--log-format", format];
        // The terminal is the controlling terminal of the program's session. Otherwise the system would send no SIGHUP.
        let command = pty_process::blocking::Command::from(place.granule(&arguments)).env("TERM", "xterm");
        let mut child = command.spawn(pts).expect("the program starts");
        let id = child.id();
        wait_for("it computes", || {
            place.status().filter(|status| status["trials"]["stored"].as_u64() > Some(0))
        });
        drop(pty);
        // The system sends SIGHUP, because this is the session's terminal.
        let status = wait_for("it ends", || child.try_wait().expect("a child"));
        assert_eq!(status.code(), Some(129), "{format}, process {id}");
        run(&place).end().succeeded();
        assert_eq!(place.outputs("out"), sweep().undisturbed());
    }
}

/// Standard error is not writable from the beginning.
#[test]
fn messages_that_cannot_be_written_stop_nothing() {
    for format in ["text", "json"] {
        let place = Place::new();
        place.sweep("sweep.yaml", &Sweep::small());
        let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("a device");
        let mut command = place.granule(&["run", "sweep.yaml", "--out", "out", "--log-format", format]);
        let status = command.stderr(full).status().expect("the program starts");
        assert_eq!(status.code(), Some(0), "{format}");
        assert_eq!(place.outputs("out"), Sweep::small().undisturbed());
    }
}

/// The sweep completes after a worker has read the access file, and before the coordinator accepts the worker.
#[test]
fn a_worker_that_comes_too_late_is_told_that_the_sweep_has_ended() {
    let place = Place::new();
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let access = serde_json::json!({
        "granule_access": 1,
        "addresses": [silent.local_addr().expect("an address").to_string()],
        "secret": "0123456789012345678901234567890123456789"
    });
    let path = place.write("access.json", access.to_string());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("changed");
    for wait in [false, true] {
        let mut arguments = vec!["worker", "--access", "access.json"];
        arguments.extend(wait.then_some("--wait"));
        fs::write(&path, access.to_string()).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("changed");
        let mut worker = place.start(&arguments);
        let (connection, _) = silent.accept().expect("a worker comes");
        fs::remove_file(&path).expect("removed");
        drop(connection);
        worker.until("it notices", |running| running.stderr().contains("not connected").then_some(()));
        let ended = worker.end().succeeded();
        assert!(
            ended.stderr.contains("done: the access file is gone: the sweep has ended"),
            "{}",
            ended.stderr
        );
    }
    // If the access file never existed, the worker fails.
    place.run(&["worker", "--access", "access.json"]).failed_with(2, &["cannot read access.json"]);
}

#[test]
fn a_colleague_sees_what_is_stored_and_is_not_let_in() {
    const NOBODY: u32 = 65_534;
    if !nix::unistd::geteuid().is_root() {
        return skip("only root can be another user");
    }
    let place = place();
    fs::set_permissions(place.path(""), fs::Permissions::from_mode(0o755)).expect("a mode");
    copy_program(&place.path("granule"));
    let colleague = |arguments: &[&str]| {
        let mut command = place.command(place.path("granule").to_str().expect("text"));
        command.args(arguments).uid(NOBODY).gid(NOBODY);
        command
    };
    let mut run = place.start(&["serve", "sweep.yaml", "--out", "out", "--listen", "127.0.0.1:0"]);
    run.until("there is an access file", |_| place.path("out/access.json").exists().then_some(()));
    let worker = place.start(&["worker", "--access", "out/access.json"]);
    until_it_computes(&place, &mut run);
    let seen = Ended::from(colleague(&["status", "out"]).output().expect("it starts")).succeeded();
    assert!(seen.stdout.contains("in use by another granule process, "), "{seen:#?}");
    let mut follower = place.start_this(colleague(&["status", "out", "--follow"]));
    follower.until("it is told", |follower| {
        let is_told = follower.stderr().contains("may ask its coordinator; showing what is stored");
        (is_told && follower.stdout().contains("in use by another granule process, ")).then_some(())
    });
    run.end().succeeded();
    worker.end().succeeded();
    follower.end().succeeded();
}
