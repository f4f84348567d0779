//! A coordinator and workers that are killed, suspended and stopped repeatedly, at random and at every write; full
//! disks and flipped bits. The outputs must be those of an undisturbed run, and no process may remain.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;
use serde_json::Value;

use crate::support::{
    Ended, Hashes, Place, Running, Sweep, Trials, can_trace, is_stopped, skip, told, wait_for,
};

/// Trials of the slow sweep.
const SLOW_TRIALS: u64 = 180;

/// Outputs of the slow sweep.
fn undisturbed() -> &'static Hashes {
    static HASHES: OnceLock<Hashes> = OnceLock::new();
    HASHES.get_or_init(|| Sweep::slow().undisturbed())
}

/// A sweep that takes long enough to be disturbed many times.
fn long() -> Sweep<'static> {
    Sweep { trials: 160, ..Sweep::slow() }
}

/// Trials of the long sweep.
const LONG_TRIALS: u64 = 480;

/// Outputs of the long sweep.
fn undisturbed_long() -> &'static Hashes {
    static HASHES: OnceLock<Hashes> = OnceLock::new();
    HASHES.get_or_init(|| long().undisturbed())
}

/// A directory with this sweep file.
fn place_of(sweep: &Sweep<'_>) -> Place {
    let place = Place::new();
    place.sweep("sweep.yaml", sweep);
    place
}

/// A random generator with a new seed, or that of `GRANULE_CHAOS_SEED`. The seed is printed.
fn chance() -> Pcg64 {
    let given = std::env::var("GRANULE_CHAOS_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = given.unwrap_or_else(rand::random);
    told(&format!("seed {seed}"));
    Pcg64::seed_from_u64(seed)
}

fn pause(random: &mut Pcg64, milliseconds: std::ops::Range<u64>) {
    thread::sleep(Duration::from_millis(random.random_range(milliseconds)));
}

/// The number of stored trials in a status report.
fn stored(status: &Value) -> u64 {
    status["trials"]["stored"].as_u64().expect("a number")
}

/// Waits until this number of trials is stored.
#[track_caller]
fn wait_for_trials(place: &Place, serve: &mut Running, trials: u64) {
    serve.until("trials are stored", |_| (stored(&place.status()?) >= trials).then_some(()));
}

/// Expects that a worker has ended with exit code 0.
#[track_caller]
fn ended_well(worker: Running) -> Ended {
    worker.end().succeeded()
}

#[test]
fn workers_are_killed_and_suspended_at_random() {
    let expected = undisturbed_long();
    let mut random = chance();
    let place = place_of(&long());
    let mut serve = place.serve(&["--lease-seconds", "2", "--shard-trials", "1"]);
    let start = || place.worker(&["--threads", "1"]);
    let mut workers: Vec<(Running, bool)> = (0..4).map(|_| (start(), false)).collect();
    let (mut kills, mut stops, mut wakes) = (0, 0, 0);
    // The last part runs undisturbed, so that a worker started last still connects in time.
    let mut most = 0;
    while most < LONG_TRIALS * 3 / 5 {
        let victim = random.random_range(0..workers.len());
        let (worker, is_suspended) = &mut workers[victim];
        // The first actions are three kills and three stops, because the test needs as many.
        let action = match (kills, stops) {
            (0..3, _) => 0,
            (_, 0..3) if !*is_suspended => 2,
            _ => random.random_range(0..5),
        };
        match action {
            0 | 1 => {
                worker.signal(Signal::SIGKILL);
                kills += 1;
                let (killed, _) = std::mem::replace(&mut workers[victim], (start(), false));
                assert_eq!(killed.end().code, None);
            }
            2 | 3 if !*is_suspended => {
                worker.signal(Signal::SIGSTOP);
                *is_suspended = true;
                stops += 1;
            }
            _ if *is_suspended => {
                worker.signal(Signal::SIGCONT);
                *is_suspended = false;
                wakes += 1;
            }
            _ => {}
        }
        if workers.iter().all(|(_, is_suspended)| *is_suspended) {
            // This is sometimes long enough for the coordinator to give up all workers.
            pause(&mut random, 500..4000);
            workers.iter().for_each(|(worker, _)| worker.signal(Signal::SIGCONT));
            wakes += workers.len();
            workers.iter_mut().for_each(|(_, is_suspended)| *is_suspended = false);
        }
        pause(&mut random, 0..300);
        assert!(!serve.has_ended(), "{}", serve.stderr());
        most = place.status().map_or(most, |status| stored(&status));
    }
    workers.iter().for_each(|(worker, _)| worker.signal(Signal::SIGCONT));
    let ended = serve.end().succeeded();
    let given_up = ended.stderr.matches(", which other workers get").count();
    told(&format!("{kills} kills, {stops} stops, {wakes} wakes, {given_up} workers given up"));
    for (worker, _) in workers {
        ended_well(worker);
    }
    assert!(kills >= 3 && stops >= 3, "{kills} kills, {stops} stops: too few to mean anything");
    assert_eq!(place.outputs("out"), *expected);
    assert_eq!(place.trials("out"), Trials { computed: LONG_TRIALS, reused: 0 });
    assert!(!place.path("out/access.json").exists());
    place.is_left_alone();
}

#[test]
fn the_coordinator_is_killed_again_and_again() {
    const KILLS: u64 = 12;
    let expected = undisturbed_long();
    let mut random = chance();
    let place = place_of(&long());
    let start = || place.serve(&["--lease-seconds", "2", "--shard-trials", "1"]);
    let mut serve = start();
    let workers: Vec<Running> = (0..3).map(|_| place.worker(&["--threads", "1"])).collect();
    let access = serve.until("there is an access file", |_| fs::read(place.path("out/access.json")).ok());
    let mut leases = 0;
    for kill in 1..=KILLS {
        // Each run gets a little further.
        wait_for_trials(&place, &mut serve, LONG_TRIALS * kill / (KILLS + 3));
        pause(&mut random, 0..100);
        let status = serve.until("it says what it is at", |_| place.status());
        leases += status["counts"]["leases"].as_u64().expect("a number");
        assert_eq!(status["counts"]["quarantined_workers"], 0, "{status:#}");
        serve.signal(Signal::SIGKILL);
        assert_eq!(serve.end().code, None);
        pause(&mut random, 0..400);
        serve = start();
    }
    wait_for_trials(&place, &mut serve, LONG_TRIALS * (KILLS + 1) / (KILLS + 3));
    assert_eq!(fs::read(place.path("out/access.json")).expect("a file"), access, "the way in is the same");
    let ended = serve.end().succeeded();
    for worker in workers {
        let ended = ended_well(worker);
        assert!(ended.stderr.contains("done: "), "{}", ended.stderr);
        let connected = ended.stderr.matches("connected to 127.0.0.1:").count();
        assert!(connected >= 2, "{}", ended.stderr);
    }
    assert!(!ended.stderr.contains("quarantined") && !ended.stderr.contains("set aside"), "{}", ended.stderr);
    assert_eq!(place.outputs("out"), *expected);
    let Trials { computed, reused } = place.trials("out");
    assert_eq!(computed + reused, LONG_TRIALS);
    assert!(reused >= LONG_TRIALS * KILLS / (KILLS + 3), "{reused} reused");
    // A lease is a trial in all three conditions, or a part of a noise survey. A kill of the coordinator costs at most
    // the leases in progress, of each of three workers.
    told(&format!(
        "{KILLS} kills, {leases} leases until the last, {reused} trials in three conditions reused"
    ));
    assert!(leases <= reused / 3 + KILLS * 3 * 4, "{leases} leases, {reused} trials reused");
    place.is_left_alone();
}

#[test]
fn a_suspended_coordinator_blames_nobody() {
    const STOPS: u64 = 2;
    let place = place_of(&Sweep::slow());
    let mut serve = place.serve(&["--lease-seconds", "2", "--shard-trials", "1"]);
    let workers = [place.worker(&["--threads", "1"]), place.worker(&["--threads", "2"])];
    for stop in 1..=STOPS {
        wait_for_trials(&place, &mut serve, SLOW_TRIALS * stop / (STOPS + 3));
        serve.signal(Signal::SIGSTOP);
        serve.until("it is suspended", |serve| is_stopped(serve.id()).then_some(()));
        // This sleep is the tested time: longer than leases hold.
        thread::sleep(Duration::from_millis(2500 + 1000 * stop));
        serve.signal(Signal::SIGCONT);
    }
    let ended = serve.end().succeeded();
    for word in ["which other workers get", "quarantined", "set aside", "lost its connection"] {
        assert!(!ended.stderr.contains(word), "{}", ended.stderr);
    }
    workers.into_iter().for_each(|worker| drop(ended_well(worker)));
    told(&format!("{STOPS} stops of up to {} s", 2 + STOPS));
    assert_eq!(place.outputs("out"), *undisturbed());
    assert_eq!(place.trials("out"), Trials { computed: SLOW_TRIALS, reused: 0 });
    place.is_left_alone();
}

#[test]
fn a_coordinator_killed_when_all_is_done_sends_its_workers_home_when_it_is_started_again() {
    for tls in [&[][..], &["--advertise", "127.0.0.1"]] {
        let place = place_of(&Sweep::slow());
        let mut serve = place.serve(&[tls, &["--lease-seconds", "2"]].concat());
        let files = ["out/access.json", "out/coordinator.pem"].map(|file| place.path(file));
        let copy = |file: &std::path::PathBuf| file.with_extension("kept");
        serve.until("there is an access file", |_| files[0].exists().then_some(()));
        let kept = files.iter().filter(|file| file.exists());
        kept.for_each(|file| assert!(fs::copy(file, copy(file)).is_ok()));
        // Started during the run, and suspended so that it does not receive the end of the sweep.
        let mut late = place.worker(&["--threads", "1"]);
        late.until("it is connected", |worker| worker.stderr().contains("connected to").then_some(()));
        late.signal(Signal::SIGSTOP);
        let worker = place.worker(&["--threads", "1"]);
        serve.end().succeeded();
        ended_well(worker);
        // The state after a kill between writing the manifest and removing the access file and key.
        files.iter().filter(|file| copy(file).exists()).for_each(|file| {
            fs::rename(copy(file), file).expect("it can be moved");
        });
        late.signal(Signal::SIGCONT);
        late.until("it looks for its coordinator", |worker| {
            worker.stderr().contains("not connected").then_some(())
        });
        let again = place.serve(tls).end().succeeded();
        assert!(again.stdout.contains("is already complete"), "{again:#?}");
        let ended = ended_well(late);
        assert!(ended.stderr.contains("done: the access file is gone"), "{}", ended.stderr);
        assert!(files.iter().all(|file| !file.exists()));
        place.is_left_alone();
    }
}

#[test]
fn where_there_are_no_locks_nothing_is_written_and_all_can_be_read() {
    if !can_trace() {
        return;
    }
    let place = place_of(&Sweep::small());
    let run = ["run", "sweep.yaml", "--out", "out", "--workers", "1"];
    // As on Lustre mounted without locks, and on NFS whose server has no lock manager.
    for error in ["ENOSYS", "EOPNOTSUPP", "ENOLCK"] {
        let without_locks = |arguments: &[&str]| {
            let granule = place.granule(arguments);
            let mut strace = place.command("strace");
            strace.args([
                "-f",
                "-o",
                "calls",
                "-e",
                "trace=flock",
                "-e",
                &format!("inject=flock:error={error}"),
            ]);
            strace.arg(granule.get_program()).args(granule.get_args());
            place.start_this(strace).end()
        };
        let ended = without_locks(&run);
        ended
            .failed_with(1, &["store.granule is on a file system without locks", "--store FILE", "-o flock"]);
        assert_eq!(place.length("out/store.granule"), 0, "nothing is written");
        // An output directory made elsewhere can be read.
        place.run(&run).succeeded();
        without_locks(&["verify", "out", "--all"]).succeeded();
        without_locks(&["status", "out"]).succeeded();
        without_locks(&["export", "out", "--to", "spikes.csv"]).succeeded();
        fs::remove_dir_all(place.path("out")).expect("removed");
    }
}

/// All files in a directory and those below it.
fn files(place: &Place, directory: &str) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(place.path(directory)).expect("a directory") {
        let entry = entry.expect("a directory entry");
        let name = format!("{directory}/{}", entry.file_name().to_str().expect("text"));
        if entry.file_type().expect("a type").is_dir() {
            names.extend(files(place, &name));
        } else {
            names.push(name);
        }
    }
    names.sort();
    names
}

#[test]
fn killed_at_every_write_it_goes_on() {
    if !can_trace() {
        return;
    }
    let sweep = Sweep { network: [40, 32, 5], seeds: vec![451, 7], trials: 4, ..Sweep::small() };
    let run = ["run", "sweep.yaml", "--out", "out", "--workers", "1", "--shard-trials", "1"];
    let origin = place_of(&sweep);
    origin.run(&run).succeeded();
    let (expected, there) = (origin.outputs("out"), files(&origin, "out"));
    let begun = Instant::now();
    let mut kills = Vec::new();
    // strace sends the signal at the start of the call, which then has no effect. So the program is killed before a
    // write to the store, and between the write and its sync. Then it is killed before each sync and rename of output
    // files and the manifest.
    for (call, store_only) in [("pwrite64", true), ("fdatasync", true), ("fsync", false), ("/^rename", false)]
    {
        let mut reused = 0;
        let mut count = 0;
        let mut rounds = 0;
        let mut number = 0;
        // strace counts the calls of each thread. Every thread makes a finite number of calls, so the loop ends.
        loop {
            number += 1;
            let place = place_of(&sweep);
            let granule = place.granule(&run);
            let mut strace = place.command("strace");
            strace.args(["-f", "-o", "calls", "-e", &format!("trace={call}")]);
            strace.args(["-e", &format!("inject={call}:signal=SIGKILL:when={number}")]);
            if store_only {
                let directory = place.path("").canonicalize().expect("a directory");
                strace.arg("-P").arg(directory.join("out/store.granule"));
            }
            strace.arg(granule.get_program()).args(granule.get_args());
            let ended = place.start_this(strace).end();
            if ended.code == Some(0) {
                assert_eq!(place.outputs("out"), expected, "{call} {number}");
                // If the store waits and then takes all results at once, no round reuses a trial. Then all rounds are
                // repeated.
                rounds += 1;
                if reused > 0 || rounds == 4 {
                    break;
                }
                number = 0;
                continue;
            }
            assert_eq!(ended.code, None, "{call} {number}: {ended:#?}");
            if (call, number) == ("pwrite64", 1) {
                assert_eq!(place.length("out/store.granule"), 0, "the write was not done");
            }
            if (call, number) == ("fdatasync", 1) {
                assert!(place.length("out/store.granule") > 4096, "the write was done");
            }
            count += 1;
            for (name, hash) in place.outputs("out") {
                assert_eq!(expected.get(&name), Some(&hash), "{call} {number}: {name}");
            }
            let ended = place.run(&run).succeeded();
            assert!(!ended.stderr.contains("damaged"), "{call} {number}: {}", ended.stderr);
            assert_eq!(place.outputs("out"), expected, "{call} {number}");
            assert_eq!(files(&place, "out"), there, "{call} {number}");
            if !ended.stdout.contains("is already complete") {
                let trials = place.trials("out");
                assert_eq!(trials.computed + trials.reused, 24, "{call} {number}");
                // Once outputs are written, all trials are stored. Only the first syncs are earlier: those of the new
                // store, of the sweep's record, and of the file by which the run is found.
                assert!(store_only || trials.reused == 24 || number <= 8, "{call} {number}: {trials:?}");
                reused = reused.max(trials.reused);
            }
            place.is_left_alone();
        }
        assert!(count >= 3 && reused > 0, "{call}: {count} kills, {reused} trials reused at most");
        kills.push(format!("{count} at {call}"));
    }
    told(&format!("{} kills in {:.0} s", kills.join(", "), begun.elapsed().as_secs_f64()));
}

/// Runs `work` in a thread with its own mount namespace. No other process sees its mounts, which end with the thread
/// and its processes. Skips the test with the reason if such a namespace cannot be made.
fn with_mounts_of_its_own(work: impl FnOnce() + Send) {
    let enter = || {
        unshare(CloneFlags::CLONE_NEWNS).map_err(|error| format!("no mounts of its own: {error}"))?;
        mount(&["--make-rprivate", "/"])
    };
    let result = thread::scope(|scope| {
        let thread = scope.spawn(|| enter().map(|()| work()));
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    if let Err(why) = result {
        skip(&why);
    }
}

/// Free bytes on the file system of this directory.
fn free(directory: &Path) -> u64 {
    let said = nix::sys::statvfs::statvfs(directory).expect("a file system");
    said.blocks_available() * said.fragment_size()
}

fn mount(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("mount").args(arguments).output();
    let output = output.map_err(|error| format!("`mount` cannot be run: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("`mount {}`: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}

#[test]
fn a_disk_that_is_full_while_serving() {
    let place = place_of(&Sweep::slow());
    with_mounts_of_its_own(|| {
        let out = place.path("out");
        fs::create_dir(&out).expect("a directory");
        let size = |options: &str| {
            let mounted = mount(&["-t", "tmpfs", "-o", options, "tmpfs", out.to_str().expect("text")]);
            mounted.expect("a file system in memory");
        };
        let serve = || place.serve(&["--shard-trials", "1", "--lease-seconds", "2"]);
        // Fills the disk except for `rest` bytes, as another program would after the coordinator has started.
        let fill = |rest: u64| {
            let mut filler = File::create(out.join("filler")).expect("a file");
            let chunk = vec![1; 1 << 12];
            while free(&out) > rest + chunk.len() as u64 {
                filler.write_all(&chunk).expect("there is room");
            }
        };
        size("size=64m");
        let first = serve();
        wait_for("there is an access file", || out.join("access.json").exists().then_some(()));
        // Some of the 180 trials fit.
        fill(100 << 10);
        let mut workers = [place.worker(&["--threads", "1"]), place.worker(&["--threads", "2"])];
        let help = "help: all stored trials are kept; after you fix this: ";
        let message = "error: cannot write to the store out/store.granule: No space left on device";
        let ended = first.end().failed_with(1, &[message, help, "serve sweep.yaml --out out"]);
        assert_eq!(ended.stdout, "");
        let access = fs::read(place.path("out/access.json")).expect("the way in is kept");

        // The disk is still full. Now the coordinator detects this at its start, and keeps the access file that workers
        // have.
        serve()
            .end()
            .failed_with(1, &["error: the disk is too small: ", "are free at", "help: free some space"]);
        assert_eq!(fs::read(place.path("out/access.json")).expect("the way in is kept"), access);
        for worker in &mut workers {
            worker.until("it has lost its coordinator", |worker| {
                worker.stderr().contains("not connected: ").then_some(())
            });
        }

        // All trials fit, but the outputs do not.
        fs::remove_file(out.join("filler")).expect("it is there");
        let second = serve();
        wait_for("it has begun", || second.stderr().contains(" of 180 stored; ").then_some(()));
        fill(3 << 20);
        let help = "help: all computed trials are stored; after you fix this: ";
        let ended =
            second.end().failed_with(1, &["error: cannot write out/seed-451/", "No space left", help]);
        let count = |stderr: &str| {
            let (before, _) = stderr.split_once(" of 180 stored; ").expect("a count");
            before.rsplit(' ').next().and_then(|count| count.parse::<u64>().ok()).expect("a number")
        };
        let kept = count(&ended.stderr);
        assert!((1..SLOW_TRIALS).contains(&kept), "{kept} kept");
        for worker in workers {
            let ended = ended_well(worker);
            assert!(ended.stderr.matches("connected to 127.0.0.1:").count() >= 2, "{}", ended.stderr);
        }

        fs::remove_file(out.join("filler")).expect("it is there");
        let ended = serve().end().succeeded();
        assert_eq!(count(&ended.stderr), SLOW_TRIALS);
        assert_eq!(place.outputs("out"), *undisturbed());
        assert_eq!(place.trials("out"), Trials { computed: 0, reused: SLOW_TRIALS });
        place.is_left_alone();
        told(&format!("{kept} of {SLOW_TRIALS} trials were stored when the disk was full"));
    });
}

/// Returns the cost of a flipped bit at each byte of a store: a number of trials, or the whole store.
fn costs(store: &[u8]) -> Vec<Option<u64>> {
    const BLOCK: usize = 4096;
    const FILE_HEAD: usize = 84;
    const HEAD: usize = 88;
    const ENTRY: usize = 73;
    let number = |at: usize| u64::from_le_bytes(store[at..at + 8].try_into().expect("8 bytes")) as usize;
    let mut costs = vec![Some(0); store.len()];
    costs[..FILE_HEAD].fill(None);
    let mut frames = Vec::new();
    let mut at = BLOCK;
    while at < store.len() && store[at..].starts_with(b"\xf5granule") {
        let directory = at + HEAD;
        let values = directory + number(at + 8) * ENTRY;
        let mut next = values;
        let mut lengths = Vec::new();
        for entry in (directory..values).step_by(ENTRY) {
            lengths.push((next..next + number(entry + 1), u64::from(store[entry] == 1)));
            next += number(entry + 1);
        }
        let trials: u64 = lengths.iter().map(|(_, trials)| trials).sum();
        costs[at..values].fill(Some(trials));
        for (value, trials) in lengths {
            costs[value].fill(Some(trials));
        }
        frames.push((at..next, trials));
        at = next.next_multiple_of(BLOCK);
    }
    assert_eq!(at, store.len(), "frames fill the store");
    // Damage to the last frame looks like an unfinished write, which costs all trials of the frame.
    let (last, trials) = frames.pop().expect("a frame");
    costs[last].fill(Some(trials));
    costs
}

#[test]
fn a_flipped_bit_anywhere_is_never_used() {
    const FLIPS: usize = 105;
    let mut random = chance();
    let less = Sweep { network: [40, 32, 5], trials: 2, ..Sweep::small() };
    let more = Sweep { trials: 3, ..less.clone() };
    let place = place_of(&less);
    let run = ["run", "sweep.yaml", "--out", "out", "--workers", "1", "--shard-trials", "1"];
    place.run(&run).succeeded();
    let store = fs::read(place.path("out/store.granule")).expect("the store");
    let costs = costs(&store);
    let costly: Vec<usize> = (0..store.len()).filter(|&at| costs[at] != Some(0)).collect();
    let begun = Instant::now();
    let mut recomputed = 0;
    let mut unreadable = 0;
    // First the finished sweep, then a sweep with a further trial of each condition to compute.
    for (sweep, missing) in [(&less, 0), (&more, 3)] {
        let expected = sweep.undisturbed();
        let total = 3 * u64::from(sweep.trials);
        for flip in 0..FLIPS {
            // Few bytes are in use: every second flip hits one of these.
            let at = if flip % 2 == 0 {
                random.random_range(0..store.len())
            } else {
                costly[random.random_range(0..costly.len())]
            };
            let bit = random.random_range(0..8);
            let what = format!("bit {bit} of byte {at}, {total} trials");
            let mut spoilt = store.clone();
            spoilt[at] ^= 1 << bit;
            let place = place_of(sweep);
            fs::create_dir(place.path("out")).expect("a directory");
            let path = place.write("out/store.granule", &spoilt);
            let ended = place.run(&run);
            assert!(!ended.stderr.contains("panicked"), "{what}: {ended:#?}");
            let Some(cost) = costs[at] else {
                let parts = ["error: ", "store.granule", "move it away and run the sweep again"];
                ended.failed_with(1, &parts);
                assert!(fs::read(path).expect("the store") == spoilt, "{what}: it is left as it is");
                unreadable += 1;
                continue;
            };
            let ended = ended.succeeded();
            assert_eq!(place.outputs("out"), expected, "{what}");
            let computed = cost + missing;
            assert_eq!(place.trials("out"), Trials { computed, reused: total - computed }, "{what}");
            assert!(cost == 0 || ended.stderr.contains("note: "), "{what}: {}", ended.stderr);
            recomputed += cost;
        }
    }
    told(&format!(
        "{} flips cost {recomputed} trials and {unreadable} stores, in {:.0} s",
        2 * FLIPS,
        begun.elapsed().as_secs_f64()
    ));
    assert!(recomputed > 0);
}

#[test]
fn a_worker_that_is_told_to_leave_takes_nothing_with_it() {
    let place = place_of(&Sweep::slow());
    let mut serve = place.serve(&["--shard-trials", "5"]);
    let stays = place.worker(&["--threads", "1"]);
    let mut leaves = place.worker(&["--threads", "2"]);
    leaves.until("it is connected", |worker| worker.stderr().contains("connected to").then_some(()));
    wait_for_trials(&place, &mut serve, 20);
    leaves.signal(Signal::SIGTERM);
    let process = leaves.id();
    let ended = ended_well(leaves);
    let said = "drained: it got a signal (SIGTERM); the coordinator has all results\n";
    assert!(ended.stderr.ends_with(said), "{}", ended.stderr);
    let of_it = format!("/{process} ");
    serve.until("the coordinator knows", |serve| {
        let stderr = serve.stderr();
        let lines: Vec<_> = stderr.lines().filter(|line| line.contains(&of_it)).collect();
        let says = |word: &str| lines.iter().any(|line| line.ends_with(word));
        (says("drains: it got a signal (SIGTERM)") && says(" disconnected and holds no leases")).then_some(())
    });

    // If the coordinator does not answer, a worker with results to deliver waits for it. A second signal ends the
    // worker.
    let mut hurried = place.worker(&["--threads", "1"]);
    hurried.until("it is connected", |worker| worker.stderr().contains("connected to").then_some(()));
    wait_for_trials(&place, &mut serve, 50);
    serve.signal(Signal::SIGSTOP);
    serve.until("it is suspended", |serve| is_stopped(serve.id()).then_some(()));
    hurried.signal(Signal::SIGTERM);
    hurried.until("it is about to leave", |worker| {
        worker
            .stderr()
            .contains("draining: it got a signal (SIGTERM); a second signal stops it at once\n")
            .then_some(())
    });
    // A second SIGTERM so soon could count as the same event.
    hurried.signal(Signal::SIGINT);
    hurried.end().failed_with(130, &[]);
    serve.signal(Signal::SIGCONT);

    let ended = serve.end().succeeded();
    for word in ["quarantined", "set aside", "which other workers get"] {
        assert!(!ended.stderr.contains(word), "{}", ended.stderr);
    }
    ended_well(stays);
    assert_eq!(place.outputs("out"), *undisturbed());
    assert_eq!(place.trials("out"), Trials { computed: SLOW_TRIALS, reused: 0 });
    place.is_left_alone();
}

#[test]
fn a_coordinator_that_is_told_to_end_is_waited_for() {
    let place = place_of(&Sweep::slow());
    let start = || place.serve(&["--shard-trials", "3"]);
    let all_connected = |workers: &mut [Running], times: u64| {
        for worker in workers {
            worker.until("it has found its coordinator", |worker| {
                let connections = worker.stderr().matches("Z connected to 127.0.0.1:").count() as u64;
                (connections >= times).then_some(())
            });
        }
    };
    let mut serve = start();
    let mut workers = [place.worker(&["--threads", "1"]), place.worker(&["--threads", "1"])];
    for (times, signal, code, word) in
        [(1, Signal::SIGTERM, 143, "terminated"), (2, Signal::SIGINT, 130, "interrupted")]
    {
        all_connected(&mut workers, times);
        wait_for_trials(&place, &mut serve, 30 * times);
        serve.signal(signal);
        let begun = Instant::now();
        let ended = serve.end();
        // The coordinator calls in leases for up to 15 s, and here waits for at most one trial.
        assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
        let line = format!("{word}: ");
        let ended = ended
            .failed_with(code, &[&line, " of 180 trials are stored\n  to resume: ", " serve sweep.yaml"]);
        assert_eq!(ended.stdout, "");
        for worker in &mut workers {
            worker.until("it has lost its coordinator", |worker| {
                (worker.stderr().matches("not connected: ").count() as u64 >= times).then_some(())
            });
        }
        serve = start();
    }
    all_connected(&mut workers, 3);
    serve.end().succeeded();
    workers.into_iter().for_each(|worker| drop(ended_well(worker)));
    assert_eq!(place.outputs("out"), *undisturbed());
    let Trials { computed, reused } = place.trials("out");
    assert!(reused >= 60 && computed + reused == SLOW_TRIALS, "{computed} computed, {reused} reused");
    place.is_left_alone();
}

#[test]
fn workers_leave_when_their_time_is_over_or_there_is_nothing_to_do() {
    let place = place_of(&Sweep::slow());
    let mut serve = place.serve(&["--shard-trials", "1"]);
    let mut limited = place.worker(&["--threads", "1", "--time-limit", "6s"]);
    let mut idle = place.worker(&["--threads", "1", "--idle-timeout", "1s"]);
    for worker in [&mut limited, &mut idle] {
        worker.until("it is connected", |worker| worker.stderr().contains("connected to").then_some(()));
    }
    // While the coordinator does not answer, the workers have no work, but they wait to deliver their results.
    wait_for_trials(&place, &mut serve, 10);
    serve.signal(Signal::SIGSTOP);
    // This sleep is the tested time: longer than the time limit and the idle timeout.
    thread::sleep(Duration::from_secs(8));
    assert!(!limited.has_ended() && !idle.has_ended(), "they have something to deliver");
    serve.signal(Signal::SIGCONT);
    for (worker, why) in
        [(limited, "its time limit is reached"), (idle, "it had no work for its idle timeout")]
    {
        let left = format!("drained: {why}; the coordinator has all results\n");
        let ended = ended_well(worker);
        assert!(ended.stderr.ends_with(&left), "{}", ended.stderr);
    }
    let last = place.worker(&["--threads", "1"]);
    let ended = serve.end().succeeded();
    assert!(!ended.stderr.contains("which other workers get"), "{}", ended.stderr);
    ended_well(last);
    assert_eq!(place.outputs("out"), *undisturbed());
    place.is_left_alone();
}
