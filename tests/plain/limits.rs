//! Limits of the system: processes and threads, open files, and file systems without modes. A command works within the
//! limit, or ends with its name; it never panics.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use nix::unistd::geteuid;

use crate::support::{self, Ended, Hashes, Place, Sweep, copy_program, skip, wait_for};

/// The program under a limit of the shell's `ulimit`.
fn limited(place: &Place, limit: &str, arguments: &[&str]) -> Command {
    let mut command = place.command("bash");
    let run = format!("ulimit {limit} && exec \"$0\" \"$@\"");
    command.arg("-c").arg(run).arg(env!("CARGO_BIN_EXE_granule")).args(arguments);
    command
}

fn run_limited(place: &Place, limit: &str, arguments: &[&str]) -> Ended {
    Ended::from(limited(place, limit, arguments).output().expect("bash"))
}

fn sweep() -> Sweep<'static> {
    Sweep { network: [40, 200, 5], ..Sweep::small() }
}

/// Expects that a command has succeeded or named the limit. Returns whether it succeeded.
#[track_caller]
fn expect_done_or_named(what: &str, ended: &Ended, name: &str, value: u32) -> bool {
    assert!(!ended.stderr.contains("panicked"), "{what}: {ended:#?}");
    assert!(!ended.stderr.contains("--worker-program"), "{what}: {ended:#?}");
    if ended.code == Some(0) {
        return true;
    }
    assert_eq!(ended.code, Some(1), "{what}: {ended:#?}");
    assert!(ended.stderr.contains(name), "{what} does not name {name}: {ended:#?}");
    assert!(
        ended.stderr.contains(&format!("is limited to {value} ")),
        "{what} does not say {value}: {ended:#?}"
    );
    false
}

/// A user without other processes who may run the program here. Limits on processes do not apply to root.
struct User {
    place: Place,
    id: u32,
    program: PathBuf,
}

impl User {
    fn new() -> Option<User> {
        if !geteuid().is_root() {
            skip("a limit on processes counts those of other programs of the user");
            return None;
        }
        let place = Place::new();
        let program = place.path("granule");
        copy_program(&program);
        for (path, mode) in [(place.path(""), 0o777), (program.clone(), 0o755)] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("changed");
        }
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let next = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Some(User { place, id: 100_000 + 16 * (std::process::id() % 100_000) + next, program })
    }

    /// The program with this limit of processes and threads.
    fn command(&self, most: u32, arguments: &[&str]) -> Command {
        let id = self.id.to_string();
        let mut command = self.place.command("setpriv");
        command.args(["--reuid", &id, "--regid", &id, "--clear-groups", "bash", "-c"]);
        command.arg(format!("ulimit -u {most} && exec \"$0\" \"$@\"")).arg(&self.program).args(arguments);
        command
    }

    fn run(&self, most: u32, arguments: &[&str]) -> Ended {
        Ended::from(self.command(most, arguments).output().expect("setpriv (Debian: util-linux)"))
    }
}

#[test]
fn with_few_processes_and_threads_a_sweep_is_computed_with_fewer_or_the_limit_is_named() {
    let Some(user) = User::new() else { return };
    let place = &user.place;
    let undisturbed: Hashes = sweep().undisturbed();
    place.sweep("sweep.yaml", &sweep());
    let mut least = None;
    for most in 1..=12 {
        let out = format!("out-{most}");
        let ended = user.run(most, &["run", "sweep.yaml", "--out", &out, "--workers", "4"]);
        if expect_done_or_named(&format!("run of {most}"), &ended, "RLIMIT_NPROC", most) {
            least.get_or_insert(most);
            assert_eq!(place.outputs(&out), undisturbed, "{most}");
        } else {
            // After workers that starve together, one is tried alone, so luck does not decide.
            assert_eq!(least, None, "a sweep that {least:?} can compute, {most} cannot: {ended:#?}");
        }
    }
    // The coordinator with threads for signals and the store, and a worker with its computing thread.
    assert!(least.is_some_and(|least| least <= 7), "{least:?}");
    let out = format!("out-{}", least.expect("one"));
    for arguments in [
        &["verify", &out, "--all"][..],
        &["export", &out, "--to", "spikes.parquet", "--force"],
        &["figures", &out, "--format", "svg", "--force"],
        &["report", &out, "--force"],
        &["status", &out],
        &["explain", "sweep.yaml", "--out", &out],
        &["run", "sweep.yaml", "--out", &out],
    ] {
        for most in 1..=4 {
            let ended = user.run(most, arguments);
            let is_done = expect_done_or_named(&arguments.join(" "), &ended, "RLIMIT_NPROC", most);
            // Only `run` needs more than one thread: it waits for signals.
            assert!(is_done || (arguments[0] == "run" && most == 1), "{arguments:?} of {most}: {ended:#?}");
        }
    }
}

#[test]
fn a_worker_computes_with_the_threads_that_there_are() {
    let Some(user) = User::new() else { return };
    let place = &user.place;
    place.sweep("sweep.yaml", &sweep());
    let coordinator = place.serve(&[]);
    wait_for("there is an access file", || place.path("out/access.json").exists().then_some(()));
    std::os::unix::fs::chown(place.path("out/access.json"), Some(user.id), None).expect("given away");
    fs::set_permissions(place.path("out"), fs::Permissions::from_mode(0o755)).expect("changed");
    let worker = |most| user.run(most, &["worker", "--access", "out/access.json", "--threads", "8"]);
    let ended = worker(1).failed_with(1, &["error: cannot start a computing thread"]);
    expect_done_or_named("a worker", &ended, "RLIMIT_NPROC", 1);
    let ended = worker(3).succeeded();
    assert!(ended.stderr.contains("computing with 2 threads only"), "{}", ended.stderr);
    assert!(ended.stderr.contains("is limited to 3 processes and threads"), "{}", ended.stderr);
    assert!(ended.stderr.contains(", 2 threads\n"), "{}", ended.stderr);
    coordinator.end().succeeded();
    assert_eq!(place.outputs("out"), sweep().undisturbed());
}

#[test]
fn with_few_files_a_sweep_is_computed_or_the_limit_is_named() {
    let place = Place::new();
    let undisturbed = sweep().undisturbed();
    place.sweep("sweep.yaml", &sweep());
    let mut least = None;
    // With a lower limit, the program cannot be loaded.
    for most in (4..=40).step_by(2) {
        let (out, limit) = (format!("out-{most}"), format!("-n {most}"));
        let ended = run_limited(&place, &limit, &["run", "sweep.yaml", "--out", &out, "--workers", "2"]);
        if expect_done_or_named(&format!("run of {most}"), &ended, "RLIMIT_NOFILE", most) {
            least.get_or_insert(most);
            assert_eq!(place.outputs(&out), undisturbed, "{most}");
        } else {
            // Workers that starve together are tried again one at a time, so luck does not decide.
            assert_eq!(least, None, "a sweep that {least:?} can compute, {most} cannot: {ended:#?}");
        }
    }
    assert!(least.is_some_and(|least| least <= 26), "{least:?}");
    place.run(&["run", "sweep.yaml", "--out", "out"]).succeeded();
    for arguments in [
        &["verify", "out", "--all"][..],
        &["export", "out", "--to", "spikes.csv", "--force"],
        &["figures", "out", "--format", "svg", "--force"],
        &["report", "out", "--force"],
        &["status", "out"],
        &["serve", "sweep.yaml", "--out", "out", "--listen", "127.0.0.1:0"],
    ] {
        for most in (4..=16).step_by(3) {
            let ended = run_limited(&place, &format!("-n {most}"), arguments);
            expect_done_or_named(&arguments.join(" "), &ended, "RLIMIT_NOFILE", most);
        }
        run_limited(&place, "-n 24", arguments).succeeded();
    }
}

#[test]
fn a_coordinator_that_may_have_no_more_files_says_so() {
    let place = Place::new();
    place.sweep("sweep.yaml", &sweep());
    let arguments = ["serve", "sweep.yaml", "--out", "out", "--listen", "127.0.0.1:0"];
    let mut coordinator = place.start_this(limited(&place, "-n 40", &arguments));
    let address: SocketAddr = coordinator.until("it listens", |_| {
        let text = fs::read(place.path("out/access.json")).ok()?;
        let access: serde_json::Value = serde_json::from_slice(&text).ok()?;
        access["addresses"][0].as_str()?.parse().ok()
    });
    let crowd: Vec<TcpStream> =
        (0..60).map(|_| TcpStream::connect(address).expect("the backlog has room")).collect();
    coordinator.until("the limit is named", |running| {
        let told = running.stderr();
        told.contains("refused 127.0.0.1")
            .then(|| assert!(told.contains("is limited to 40 open files"), "{told}"))
    });
    // A worker can still connect.
    place.worker(&["--threads", "1"]).end().succeeded();
    drop(crowd);
    coordinator.end().succeeded();
}

/// A library for LD_PRELOAD with which all files below a path with `modeless` seem open to everybody.
fn shim(place: &Place) -> Option<PathBuf> {
    let library = place.path("shim.so");
    let source = support::root().join("tests/support/modeless.c");
    let built =
        Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).arg("-ldl").status();
    match built {
        Ok(status) if status.success() => Some(library),
        _ => {
            skip("`cc` cannot make a shared library");
            None
        }
    }
}

#[test]
fn where_modes_are_not_kept_no_secret_is_written() {
    let place = Place::new();
    let Some(library) = shim(&place) else { return };
    place.sweep("sweep.yaml", &sweep());
    fs::create_dir(place.path("modeless")).expect("a directory");
    let command = |arguments: &[&str]| {
        let mut command = place.granule(arguments);
        command.env("LD_PRELOAD", &library);
        command
    };
    let run = |arguments: &[&str]| Ended::from(command(arguments).output().expect("the program starts"));
    let left = |name: &str| -> Vec<String> {
        let entries =
            fs::read_dir(place.path(name)).map(|entries| entries.flatten().collect()).unwrap_or(vec![]);
        entries.iter().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    };
    let why = ["does not support file modes", "help: "];
    let serve = ["serve", "sweep.yaml", "--out", "modeless/out", "--listen"];
    let plain = [&serve[..], &["127.0.0.1:0"]].concat();
    run(&plain).failed_with(2, &[&why[..], &["access.json", "--access FILE"]].concat());
    let encrypted = [&serve[..], &["127.0.0.1:0", "--advertise", "127.0.0.1"]].concat();
    run(&encrypted).failed_with(2, &[&why[..], &["coordinator.pem", "granule identity"]].concat());
    assert_eq!(left("modeless/out"), [""; 0]);
    run(&["identity", "modeless/identity", "--advertise", "a:1"]).failed_with(2, &why);
    assert_eq!(left("modeless/identity"), [""; 0]);

    // The advice in the messages works.
    let mut coordinator = place.start_this(command(&[&plain[..], &["--access", "access.json"]].concat()));
    coordinator.until("workers can come", |_| place.path("access.json").exists().then_some(()));
    place.start(&["worker", "--access", "access.json"]).end().succeeded();
    coordinator.end().succeeded();
    assert_eq!(place.outputs("modeless/out"), sweep().undisturbed());

    // A run on this machine needs no access file for its workers.
    let ended = run(&["run", "sweep.yaml", "--out", "modeless/run"]).succeeded();
    assert!(ended.stderr.contains("note: `granule status` cannot show the progress"), "{}", ended.stderr);
    assert!(!left("modeless/run").contains(&".run.json".to_owned()));
    assert_eq!(place.outputs("modeless/run"), place.outputs("modeless/out"));
}
