//! Resuming: however a run ends, the next run uses the stored trials and gives the same bytes. If the sweep is
//! complete, a run computes only new trials.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, SystemTime};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::{self, Ended, Hashes, Place, Running, Sweep, Trials, send};

/// The sweep file and the output directory. Paths of users can have spaces and quotes.
const SWEEP: &str = "it's mine.yaml";
const OUT: &str = "my out";

/// The path of a file in the output directory.
fn out(name: &str) -> String {
    format!("{OUT}/{name}")
}

/// Trials of the slow sweep.
const SLOW_TRIALS: u64 = 180;

/// Outputs of the slow sweep.
fn undisturbed() -> &'static Hashes {
    static HASHES: OnceLock<Hashes> = OnceLock::new();
    HASHES.get_or_init(|| Sweep::slow().undisturbed())
}

/// A directory with this sweep file.
fn place_of(sweep: &Sweep<'_>) -> Place {
    let place = Place::new();
    place.sweep(SWEEP, sweep);
    place
}

/// Starts or resumes the sweep.
fn start(place: &Place, arguments: &[&str]) -> Running {
    place.start(&[&["run", SWEEP, "--out", OUT], arguments].concat())
}

/// Runs the sweep without working workers, so that nothing can be computed.
fn run_without_workers(place: &Place) -> Ended {
    start(place, &["--worker-program", "/nowhere/to-be-found"]).end().succeeded()
}

/// Waits until some trials are stored. The store is then longer than its head and the noise counts.
fn wait_for_trials(place: &Place, running: &mut Running) {
    running.until("trials are stored", |_| (place.length(&out("store.granule")) > 16 * 4096).then_some(()));
}

fn kill_everything(place: &Place) {
    place.processes().into_iter().for_each(|id| send(id, Signal::SIGKILL));
}

/// Expects that every array in place is complete and belongs to one of these sweeps. If there is a manifest, the files
/// that it lists must be all files of one of the sweeps, and in place.
#[track_caller]
fn check_whole(place: &Place, expected: &[&Hashes]) {
    let outputs = place.outputs(OUT);
    for (name, hash) in &outputs {
        assert!(expected.iter().any(|expected| expected.get(name) == Some(hash)), "{name}");
    }
    if place.path(&out("manifest.json")).exists() {
        let manifest = place.manifest(OUT);
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let file = |file: &Value| (text(&file["path"]), text(&file["sha256"]));
        let listed: Hashes = manifest["files"].as_array().expect("a list").iter().map(file).collect();
        assert_eq!(outputs, listed);
        assert!(expected.contains(&&listed));
    }
}

#[test]
fn a_killed_run_goes_on_where_it_was() {
    for everything in [false, true] {
        let place = place_of(&Sweep::slow());
        let mut running = start(&place, &["--workers", "2", "--shard-trials", "1"]);
        wait_for_trials(&place, &mut running);
        if everything {
            kill_everything(&place);
        } else {
            running.signal(Signal::SIGKILL);
        }
        assert_eq!(running.end().code, None);
        check_whole(&place, &[undisturbed()]);
        start(&place, &["--workers", "1"]).end().succeeded();
        assert_eq!(place.outputs(OUT), *undisturbed());
        let Trials { computed, reused } = place.trials(OUT);
        assert!(reused > 0 && computed > 0, "{computed} computed, {reused} reused");
        assert_eq!(computed + reused, SLOW_TRIALS);
    }
}

#[test]
fn killed_over_and_over_it_gets_there() {
    let place = place_of(&Sweep::slow());
    let ways: [&[&str]; 4] = [
        &["--workers", "2", "--shard-trials", "1"],
        &["--workers", "1", "--shard-trials", "7"],
        &["--workers", "3"],
        &["--workers", "2", "--shard-trials", "100"],
    ];
    let kill = |running: Running, everything: bool| {
        if everything {
            kill_everything(&place);
        } else {
            running.signal(Signal::SIGKILL);
        }
        let was_killed = running.end().code.is_none();
        check_whole(&place, &[undisturbed()]);
        was_killed
    };
    // Milliseconds from the start, from before the first file exists to the middle of the trials.
    let delays = [0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 150, 350, 80, 250, 30, 200, 400];
    for (i, delay) in delays.into_iter().enumerate() {
        let running = start(&place, ways[i % ways.len()]);
        thread::sleep(Duration::from_millis(delay));
        kill(running, i % 3 == 2);
    }
    // Now from the time at which the run begins to write outputs.
    let mut killed_while_writing = 0;
    for (i, delay) in [0, 2, 5, 10, 20, 40, 60, 90, 130, 180, 240, 300].into_iter().enumerate() {
        // Arrays of earlier rounds are removed, because the run would not write them again.
        let _ = fs::remove_file(place.path(&out("manifest.json")));
        let _ = fs::remove_dir_all(place.path(&out("seed-451")));
        let mut running = start(&place, ways[i % ways.len()]);
        running.until("outputs are written", |running| {
            running.stderr().lines().any(|line| line.starts_with("writing ")).then_some(())
        });
        thread::sleep(Duration::from_millis(delay));
        killed_while_writing += usize::from(kill(running, i % 2 == 0));
    }
    assert!(killed_while_writing > 0);
    start(&place, &[]).end().succeeded();
    assert_eq!(place.outputs(OUT), *undisturbed());
    check_whole(&place, &[undisturbed()]);
    let Trials { computed, reused } = place.trials(OUT);
    assert_eq!(computed + reused, SLOW_TRIALS);
    assert_eq!(others(&place), [".outputs.stamps.json", "manifest.json", "store.granule"]);
    place.is_left_alone();
}

#[test]
fn killed_while_it_replaces_the_outputs_of_another_sweep() {
    // Equal conditions under many names: little to compute, much to write.
    let names: Vec<String> = ('a'..='f').map(|name| format!("{{ name: {name} }}")).collect();
    let conditions = names.iter().map(String::as_str).collect();
    let sweep = Sweep { network: [78, 512, 7], conditions, trials: 2, ..Sweep::small() };
    // The same file names with other content.
    let sweeps = [sweep.clone(), Sweep { trials: 3, ..sweep }];
    let hashes = sweeps.clone().map(|sweep| sweep.undisturbed());
    let place = place_of(&sweeps[0]);
    start(&place, &[]).end().succeeded();
    let mut killed_while_writing = 0;
    for sweep in [1, 0, 1, 0, 1] {
        place.sweep(SWEEP, &sweeps[sweep]);
        let inodes = || {
            let arrays = ('a'..='f').map(|name| place.path(&out(&format!("seed-451/{name}Weights.npy"))));
            arrays.map(|path| fs::metadata(path).map_or(0, |metadata| metadata.ino())).collect::<Vec<_>>()
        };
        let before = inodes();
        let mut running = start(&place, &["--workers", "1"]);
        running.until("an array is replaced", |_| (inodes() != before).then_some(()));
        running.signal(Signal::SIGKILL);
        assert_eq!(running.end().code, None);
        check_whole(&place, &[&hashes[0], &hashes[1]]);
        // On a busy machine, all files may be in place before the signal is sent. Then the manifest is in place, too.
        if place.path(&out("manifest.json")).exists() {
            assert_eq!(place.outputs(OUT), hashes[sweep]);
        } else {
            killed_while_writing += 1;
        }
    }
    assert!(killed_while_writing > 0);
    for sweep in [0, 1] {
        place.sweep(SWEEP, &sweeps[sweep]);
        run_without_workers(&place);
        assert_eq!(place.outputs(OUT), hashes[sweep]);
        check_whole(&place, &[&hashes[sweep]]);
    }
}

#[test]
fn what_a_killed_run_wrote_is_known_to_the_next_sweep() {
    let less = Sweep { network: [78, 512, 7], conditions: vec!["Control"], trials: 2, ..Sweep::small() };
    let more = Sweep { conditions: vec!["Control", "ACh", "GABAzine"], seeds: vec![451, 7], ..less.clone() };
    let expected = less.undisturbed();
    for (signal, code) in [(Signal::SIGKILL, None), (Signal::SIGINT, Some(130))] {
        let place = place_of(&less);
        start(&place, &[]).end().succeeded();
        for theirs in ["notes.txt", "seed-451/notes.npy.txt"] {
            place.write(&out(theirs), "of the user");
        }
        place.sweep(SWEEP, &more);
        let mut running = start(&place, &["--workers", "2"]);
        let array = place.path(&out("seed-7/controlCondE.npy"));
        running.until("the second seed is written", |_| array.exists().then_some(()));
        running.signal(signal);
        assert_eq!(running.end().code, code);

        place.sweep(SWEEP, &less);
        run_without_workers(&place);
        assert_eq!(place.outputs(OUT), expected);
        let left =
            [".outputs.stamps.json", "manifest.json", "notes.txt", "seed-451/notes.npy.txt", "store.granule"];
        assert_eq!(others(&place), left);
        assert!(!place.path(&out("seed-7")).exists());
    }
}

/// All files in the output directory except the arrays, in order.
fn others(place: &Place) -> Vec<String> {
    let directory = place.path(OUT);
    let name = |path: PathBuf| path.strip_prefix(&directory).unwrap().to_str().unwrap().to_owned();
    files(place).into_keys().map(name).filter(|name| !name.ends_with(".npy")).collect()
}

/// All files in the output directory, with inode and modification time.
fn files(place: &Place) -> BTreeMap<PathBuf, (u64, SystemTime)> {
    let mut files = BTreeMap::new();
    let mut directories = vec![place.path(OUT)];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("a directory") {
            let entry = entry.expect("a directory entry");
            let metadata = entry.metadata().expect("metadata");
            if metadata.is_dir() {
                directories.push(entry.path());
            } else {
                files.insert(entry.path(), (metadata.ino(), metadata.modified().expect("a time")));
            }
        }
    }
    files
}

#[test]
fn an_interrupted_run_says_how_to_go_on() {
    let check = |signals: &[Signal], code: i32, word: &str| {
        let place = place_of(&Sweep::slow());
        let mut running = start(&place, &["--workers", "2", "--shard-trials", "1"]);
        wait_for_trials(&place, &mut running);
        signals.iter().for_each(|&signal| running.signal(signal));
        let ended = running.end();
        place.is_left_alone();
        check_whole(&place, &[undisturbed()]);
        assert!(!place.path(&out("manifest.json")).exists());
        assert_eq!(ended.code, Some(code), "{ended:#?}");
        assert_eq!(ended.stdout, "");
        // Slurm may send SIGTERM twice at once, so two of them count as one signal. A second SIGINT ends the run at
        // once.
        let is_at_once = signals == [Signal::SIGINT; 2];
        let stored = (!is_at_once).then(|| {
            let line = ended.stderr.lines().find_map(|line| line.strip_prefix(word)).expect("a line");
            let count = line.strip_prefix(": ").and_then(|line| line.split_once(" of 180 trials are stored"));
            count.expect("a count").0.parse::<u64>().expect("a number")
        });
        match ended.stderr.split_once("  to resume: ") {
            Some((_, command)) => {
                let shell = place.command("/bin/sh").args(["-c", command]).output();
                Ended::from(shell.expect("a shell")).succeeded();
            }
            // After a second SIGINT, the run prints no advice.
            None if is_at_once => drop(start(&place, &[]).end().succeeded()),
            None => panic!("{ended:#?}"),
        }
        assert_eq!(place.outputs(OUT), *undisturbed());
        let Trials { computed, reused } = place.trials(OUT);
        assert!(reused > 0, "{computed} computed");
        assert_eq!(computed + reused, SLOW_TRIALS);
        assert!(stored.is_none_or(|stored| stored == reused), "{stored:?} stored, {reused} reused");
    };
    check(&[Signal::SIGINT], 130, "interrupted");
    check(&[Signal::SIGTERM], 143, "terminated");
    check(&[Signal::SIGTERM; 2], 143, "terminated");
    check(&[Signal::SIGINT; 2], 130, "interrupted");
}

#[test]
fn what_an_interrupted_run_did_is_told_as_json() {
    for (signal, code, state) in [(Signal::SIGINT, 130, "interrupted"), (Signal::SIGTERM, 143, "terminated")]
    {
        let place = place_of(&Sweep::slow());
        let mut running = start(&place, &["--workers", "2", "--shard-trials", "1", "--json"]);
        wait_for_trials(&place, &mut running);
        running.signal(signal);
        let ended = running.end().failed_with(code, &["of 180 trials are stored\n  to resume: "]);
        let told: Value = serde_json::from_str(&ended.stdout).expect("one object");
        assert_eq!(told["state"], state);
        let trials = &told["trials"];
        let computed = trials["computed"].as_u64().expect("a number");
        assert!(
            ended.stderr.contains(&format!("{state}: {computed} of 180 trials are stored")),
            "{ended:#?}"
        );
        assert_eq!((&trials["total"], &trials["reused"]), (&SLOW_TRIALS.into(), &0.into()));
        assert_eq!((&told["files"]["written"], &told["manifest"]), (&0.into(), &Value::Null));
    }
}

#[test]
fn a_run_is_interrupted_while_it_writes_outputs() {
    // Equal conditions under many names: little to compute, much to write.
    let names: Vec<String> = ('a'..='j').map(|name| format!("{{ name: {name} }}")).collect();
    let conditions = names.iter().map(String::as_str).collect();
    let sweep = Sweep { network: [78, 1024, 7], conditions, ..Sweep::small() };
    let place = place_of(&sweep);
    let mut running = start(&place, &["--workers", "1"]);
    let first = place.path(&out("seed-451/randomized_aSpikeProb.npy"));
    running.until("an array is written", |_| first.exists().then_some(()));
    running.signal(Signal::SIGINT);
    let stored = "interrupted: 3 of 3 trials are stored\n  to resume: ";
    running.end().failed_with(130, &[stored]);
    // No manifest and no unfinished file, but a record of the sweeps whose files may exist.
    assert_eq!(others(&place), ["outputs.pending.json", "store.granule", "sweep.json"]);
    let written = place.outputs(OUT);
    assert!((1..10 * 5).contains(&written.len()), "{} arrays are written", written.len());

    run_without_workers(&place);
    let outputs = place.outputs(OUT);
    assert_eq!(outputs.len(), 10 * 5);
    assert!(written.iter().all(|(name, hash)| outputs.get(name) == Some(hash)));
    assert_eq!(place.trials(OUT), Trials { computed: 0, reused: 3 });
    assert_eq!(others(&place), [".outputs.stamps.json", "manifest.json", "store.granule"]);
}

#[test]
fn a_finished_sweep_is_left_as_it_is() {
    let place = place_of(&Sweep::small());
    start(&place, &[]).end().succeeded();
    let before = files(&place);
    let ended = run_without_workers(&place);
    assert!(ended.stdout.starts_with("Sweep test is already complete: 16 files, "), "{}", ended.stdout);
    assert_eq!(files(&place), before);
}

#[test]
fn files_that_are_not_as_they_were_are_written_again_from_the_store() {
    let expected = Sweep::small().undisturbed();
    // The number of the 16 arrays that are reused unchanged.
    let check = |what: &str, files_reused: u64, spoil: &dyn Fn(&Place)| {
        let place = place_of(&Sweep::small());
        start(&place, &[]).end().succeeded();
        let before = files(&place);
        spoil(&place);
        run_without_workers(&place);
        assert_eq!(place.outputs(OUT), expected, "{what}");
        check_whole(&place, &[&expected]);
        assert_eq!(place.trials(OUT), Trials { computed: 0, reused: 9 }, "{what}");
        assert_eq!(place.manifest(OUT)["run"]["files_reused"], files_reused, "{what}");
        let after = files(&place);
        let is_array = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "npy");
        let untouched = before.iter().filter(|(path, file)| is_array(path) && after.get(*path) == Some(file));
        assert_eq!(untouched.count() as u64, files_reused, "{what}");
    };
    let array = |place: &Place| place.path(&out("seed-451/controlCondE.npy"));
    let set_modified = |path: PathBuf, time: SystemTime| {
        let file = File::options().write(true).open(path).expect("a file");
        file.set_modified(time).expect("a time can be set");
    };
    let change = |place: &Place| {
        wait_for_the_clock(place);
        let mut bytes = fs::read(array(place)).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(array(place), bytes).unwrap();
    };
    check("an array deleted", 15, &|place| fs::remove_file(array(place)).unwrap());
    check("an array changed", 15, &change);
    check("an array changed, as if long ago", 15, &|place| {
        change(place);
        set_modified(array(place), SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000));
    });
    check("an array cut short", 15, &|place| {
        let bytes = fs::read(array(place)).unwrap();
        fs::write(array(place), &bytes[..bytes.len() - 1]).unwrap();
    });
    check("a seed's directory deleted", 0, &|place| {
        fs::remove_dir_all(place.path(&out("seed-451"))).unwrap();
    });
    check("the manifest deleted", 0, &|place| fs::remove_file(place.path(&out("manifest.json"))).unwrap());
    check("the manifest spoilt", 0, &|place| fs::write(place.path(&out("manifest.json")), "{").unwrap());

    // Only the time changed: the run reads the file and finds it correct.
    let place = place_of(&Sweep::small());
    start(&place, &[]).end().succeeded();
    set_modified(array(&place), SystemTime::now() + Duration::from_secs(5));
    assert!(run_without_workers(&place).stdout.contains(" is already complete: "));
}

/// Waits until a file that changes now is seen as younger than the manifest.
fn wait_for_the_clock(place: &Place) {
    let changed = |metadata: fs::Metadata| (metadata.ctime(), metadata.ctime_nsec());
    let manifest = changed(fs::metadata(place.path(&out("manifest.json"))).expect("a manifest"));
    support::wait_for("the clock of the file system goes on", || {
        let probe = place.write("probe", "");
        (changed(fs::metadata(probe).expect("a file")) > manifest).then_some(())
    });
}

#[test]
fn a_sweep_that_changes_computes_only_what_is_new() {
    let place = Place::new();
    let base = Sweep { conditions: vec!["Control", "ACh"], ..Sweep::small() };
    let step = |sweep: &Sweep<'_>, computed: u64, reused: u64, files_reused: u64, removed: &str| {
        place.sweep(SWEEP, sweep);
        // A sweep without a common trial needs --replace.
        let is_another = sweep.weights.contains("false") || removed.starts_with("2 files");
        let replace: &[&str] = if is_another { &["--replace"] } else { &[] };
        let ended = start(&place, &[&["--workers", "2"], replace].concat()).end().succeeded();
        assert_eq!(place.trials(OUT), Trials { computed, reused }, "{sweep:?}");
        let are = if computed == 1 { "trial" } else { "trials" };
        let summary = format!("{computed} {are} computed, {reused} reused");
        assert!(ended.stdout.contains(&summary), "{sweep:?}: {}", ended.stdout);
        assert_eq!(place.manifest(OUT)["run"]["files_reused"], files_reused, "{sweep:?}");
        let line = ended.stdout.lines().find(|line| line.ends_with(" of an earlier sweep removed"));
        assert_eq!(line.unwrap_or_default().trim_start(), removed, "{sweep:?}");
        let fresh = sweep.undisturbed();
        assert_eq!(place.outputs(OUT), fresh, "{sweep:?}");
        check_whole(&place, &[&fresh]);
        let seeds = fs::read_dir(place.path(OUT)).unwrap();
        let seeds = seeds.filter(|entry| entry.as_ref().unwrap().file_type().unwrap().is_dir());
        assert_eq!(seeds.count(), sweep.seeds.len(), "{sweep:?}");
    };
    step(&base, 6, 0, 0, "");
    let more = Sweep { trials: 5, ..base.clone() };
    step(&more, 4, 6, 0, "");
    let fewer = Sweep { trials: 4, ..base.clone() };
    step(&fewer, 0, 8, 0, "");
    let conditions = Sweep { conditions: vec!["Control", "GABAzine", "ACh"], ..fewer };
    step(&conditions, 4, 8, 11, "");
    let seeds = Sweep { seeds: vec![7, 451], ..conditions };
    step(&seeds, 12, 12, 16, "");
    let custom = Sweep { conditions: vec!["ACh", "GABAzine", "{ name: x, base: ACh }", "Control"], ..seeds };
    step(&custom, 0, 24, 32, "");
    let less = Sweep { conditions: vec!["GABAzine", "Control"], ..custom };
    step(&less, 0, 16, 20, "24 files of an earlier sweep removed");
    let one_seed = Sweep { seeds: vec![7], ..less };
    step(&one_seed, 0, 8, 10, "10 files of an earlier sweep removed");
    let fixed = Sweep { weights: "{ random: false }", ..one_seed };
    step(&fixed, 8, 0, 0, "10 files of an earlier sweep removed");
    step(&base, 0, 6, 0, "2 files of an earlier sweep removed");
}

#[test]
fn a_damaged_store_costs_what_was_damaged() {
    const BLOCK: usize = 4096;
    let sweep = Sweep::small();
    let expected = sweep.undisturbed();
    let origin = place_of(&sweep);
    // Each run stores its trial in its own block, at any speed of the machine.
    for trials in 1..=sweep.trials {
        origin.sweep(SWEEP, &Sweep { trials, ..sweep.clone() });
        start(&origin, &["--workers", "1"]).end().succeeded();
    }
    let store = fs::read(origin.path(&out("store.granule"))).expect("the store");
    let blocks = store.len() / BLOCK;
    assert!(blocks >= 4, "{blocks} blocks");

    // Runs the sweep on a damaged store. Returns the number of computed trials and standard error.
    let run = |what: &str, spoilt: &[u8]| {
        let place = place_of(&sweep);
        fs::create_dir(place.path(OUT)).expect("a directory");
        place.write(&out("store.granule"), spoilt);
        let ended = start(&place, &["--workers", "2"]).end();
        if ended.code == Some(0) {
            let Trials { computed, reused } = place.trials(OUT);
            assert_eq!(computed + reused, 9, "{what}");
            assert_eq!(place.outputs(OUT), expected, "{what}");
            assert!(run_without_workers(&place).stdout.contains(" is already complete: "), "{what}");
            return (computed, ended.stderr);
        }
        // The advice in the message works.
        let ended =
            ended.failed_with(1, &["is not a readable store", "move it away and run the sweep again"]);
        assert!(!place.path(&out("manifest.json")).exists(), "{what}");
        fs::rename(place.path(&out("store.granule")), place.path("away")).expect("it can be moved");
        start(&place, &["--workers", "2"]).end().succeeded();
        assert_eq!(place.outputs(OUT), expected, "{what}");
        (u64::MAX, ended.stderr)
    };

    assert_eq!(run("nothing", &store).0, 0);
    // A flipped bit near the beginning of a block, where a frame has its directory, and a later one.
    let mut lost = 0;
    for block in 0..blocks {
        for at in [20, 1000] {
            let what = format!("byte {at} of block {block}");
            let mut spoilt = store.clone();
            spoilt[block * BLOCK + at] ^= 0x10;
            let (computed, stderr) = run(&what, &spoilt);
            assert_eq!(computed == u64::MAX, block == 0 && at == 20, "{what}");
            if computed != u64::MAX {
                // Trials that are stored together are lost together, but no others.
                assert!(computed <= 6, "{what}: {computed} computed");
                // Damage at the end of the file looks like an unfinished write, which is no damage.
                let is_last = block == blocks - 1;
                assert!(computed == 0 || is_last || stderr.contains("note: "), "{what}:\n{stderr}");
                lost += computed;
            }
        }
    }
    assert!(lost > 0);
    // A file that is cut to some length, down to 0, and a file with other bytes at its end.
    for length in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, store.len() / 2, store.len() - BLOCK, store.len() - 1] {
        let (computed, _) = run(&format!("cut to {length} bytes"), &store[..length]);
        assert!(computed > 0 || length + BLOCK > store.len(), "cut to {length} bytes");
    }
    assert_eq!(run("more behind it", &[&store[..], &[0xa5; 3 * BLOCK]].concat()).0, 0);
    assert_eq!(run("something else", &[0xa5; 3 * BLOCK]).0, u64::MAX);
}

#[test]
fn one_run_at_a_time_has_the_output_directory() {
    let place = place_of(&Sweep::slow());
    let mut first = start(&place, &["--workers", "2", "--shard-trials", "1"]);
    wait_for_trials(&place, &mut first);
    // While the first run is suspended, it cannot end before the others have tried.
    first.signal(Signal::SIGSTOP);
    for _ in 0..3 {
        let second = start(&place, &["--workers", "2"]).end();
        second.failed_with(1, &["is in use by another granule process", "wait until it ends, or stop it"]);
    }
    first.signal(Signal::SIGCONT);
    first.end().succeeded();
    assert_eq!(place.outputs(OUT), *undisturbed());
    assert_eq!(place.trials(OUT), Trials { computed: SLOW_TRIALS, reused: 0 });
}
