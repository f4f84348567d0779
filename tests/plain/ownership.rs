//! Commands respect the user's files: what a command may write, replace and remove, and which files it trusts.

use std::fs::{self, File, FileTimes, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::{Value, json};

use crate::support::{self, Ended, Hashes, Place, Sweep, Trials};

/// Two conditions, two seeds, four trials: a fraction of a second.
fn tiny() -> Sweep<'static> {
    Sweep {
        engine: "pcg",
        network: [40, 200, 5],
        seeds: vec![1, 2],
        trials: 4,
        conditions: vec!["Control", "ACh"],
        ..Sweep::small()
    }
}

/// A sweep that shares only its name with [`tiny`].
fn other() -> Sweep<'static> {
    Sweep { network: [40, 190, 5], ..tiny() }
}

/// A directory in which `tiny` was run.
fn finished() -> Place {
    let place = Place::new();
    place.sweep("tiny.yaml", &tiny());
    run(&place, &[]).succeeded();
    place
}

fn run(place: &Place, arguments: &[&str]) -> Ended {
    place.run(&[&["run", "tiny.yaml", "--out", "out", "--workers", "1"], arguments].concat())
}

/// Runs `tiny` again without working workers, so that nothing can be computed.
fn run_without_workers(place: &Place) -> Ended {
    run(place, &["--worker-program", "/nowhere/to-be-found"]).succeeded()
}

fn json(ended: &Ended) -> Value {
    serde_json::from_str(ended.stdout.lines().next().expect("a line")).expect("JSON")
}

/// Every file below a directory, by path, with its content; links with their targets.
fn tree(place: &Place, directory: &str) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut waiting = vec![place.path(directory)];
    while let Some(path) = waiting.pop() {
        for entry in fs::read_dir(path).expect("a directory") {
            let path = entry.expect("an entry").path();
            let kind = fs::symlink_metadata(&path).expect("metadata").file_type();
            if kind.is_dir() {
                waiting.push(path);
            } else if kind.is_file() {
                found.push((path.display().to_string(), fs::read(&path).expect("a file")));
            } else {
                found.push((path.display().to_string(), Vec::new()));
            }
        }
    }
    found.sort();
    found
}

/// Expects that a command is refused and changes nothing.
#[track_caller]
fn refused(place: &Place, arguments: &[&str], parts: &[&str]) {
    let before = tree(place, "");
    let ended = place.run(arguments);
    let code = ended.code.filter(|code| [1, 2].contains(code)).expect("it is refused");
    ended.failed_with(code, parts);
    assert!(tree(place, "") == before, "{arguments:?} has changed files");
}

#[test]
fn a_directory_belongs_to_one_sweep() {
    let place = finished();
    let expected = place.outputs("out");
    place.write("named.yaml", tiny().to_yaml().replace("name: test", "name: b"));
    place.write("same.yaml", other().to_yaml());
    place.sweep("seeds.yaml", &Sweep { seeds: vec![3], ..tiny() });
    for (file, why) in [
        ("named.yaml", "this one has another name"),
        ("same.yaml", "no condition with the same parameters"),
        ("seeds.yaml", "no seed in common"),
    ] {
        let held = "out holds another sweep, `test` (conditions: Control, ACh; seeds: 1, 2; trials of each: 4; 22 files";
        for command in ["run", "slurm"] {
            refused(&place, &[command, file, "--out", "out"], &[held, why, "--out DIR", "--replace"]);
        }
        refused(&place, &["serve", file, "--out", "out", "--listen", "127.0.0.1:0"], &[held, why]);
        let planned = json(&place.run(&["plan", file, "--out", "out", "--json"]).succeeded());
        assert!(planned["refused"].as_str().is_some_and(|refused| refused.contains(why)), "{planned}");
        assert!(place.run(&["plan", file, "--out", "out"]).succeeded().stdout.contains(held));
        assert!(place.run(&["explain", file, "--out", "out"]).succeeded().stderr.contains(why));
    }
    assert_eq!(place.outputs("out"), expected);

    // With --replace, the run replaces it; the plan lists the files before.
    let planned = json(&place.run(&["plan", "same.yaml", "--out", "out", "--replace", "--json"]).succeeded());
    assert_eq!(
        (&planned["refused"], planned["files_replaced"].as_array().unwrap().len()),
        (&Value::Null, 22)
    );
    place.run(&["run", "same.yaml", "--out", "out", "--replace"]).succeeded();
    assert_eq!(place.outputs("out"), other().undisturbed());
    // Trials stay stored, so returning to the first sweep computes nothing.
    run(&place, &["--replace", "--worker-program", "/nowhere/to-be-found"]).succeeded();
    assert_eq!(place.outputs("out"), expected);
    assert_eq!(place.trials("out"), Trials { computed: 0, reused: 16 });
}

#[test]
fn a_sweep_that_is_extended_or_changed_keeps_its_directory() {
    let place = finished();
    let conditions = vec!["Control", "GABAzine", "ACh"];
    for changed in [
        Sweep { trials: 6, ..tiny() },
        Sweep { seeds: vec![2, 3], conditions, ..tiny() },
        Sweep { seeds: vec![2], conditions: vec!["ACh", "{ name: mine }"], ..tiny() },
    ] {
        place.sweep("tiny.yaml", &changed);
        run(&place, &[]).succeeded();
        assert_eq!(place.outputs("out"), changed.undisturbed());
    }
}

#[test]
fn an_interrupted_replacement_goes_on() {
    let place = finished();
    place.sweep("slow.yaml", &Sweep { engine: "pcg", ..Sweep::slow() });
    let arguments = ["run", "slow.yaml", "--out", "out", "--workers", "1", "--shard-trials", "1"];
    let mut running = place.start(&[&arguments[..], &["--replace"]].concat());
    running.until("it has begun", |_| place.path("out/sweep.json").exists().then_some(()));
    running.signal(Signal::SIGKILL);
    running.end();
    // The resumed run needs no second --replace: both sweeps are on record.
    place.run(&arguments).succeeded();
    assert_eq!(place.outputs("out"), Sweep { engine: "pcg", ..Sweep::slow() }.undisturbed());
    refused(&place, &["run", "tiny.yaml", "--out", "out"], &["holds another sweep"]);
}

#[test]
fn files_that_are_not_granules_stay() {
    // Files of other programs with the name of a record.
    for name in ["manifest.json", "sweep.json", "outputs.pending.json"] {
        let place = Place::new();
        place.sweep("tiny.yaml", &tiny());
        fs::create_dir(place.path("out")).expect("made");
        place.write(&format!("out/{name}"), r#"{"name": "a web app", "icons": []}"#);
        for arguments in [&[][..], &["--replace"]] {
            let run = [&["run", "tiny.yaml", "--out", "out"], arguments].concat();
            refused(&place, &run, &[name, "is not a record of granule", "move it away"]);
        }
        place.run(&["status", "out"]).failed_with(1, &[name, "is not a record of granule"]);
    }
    // Files at the places of outputs that are in no record.
    let place = Place::new();
    place.sweep("tiny.yaml", &tiny());
    fs::create_dir_all(place.path("out/seed-1")).expect("made");
    place.write("out/seed-1/controlWeights.npy", "of the original program");
    let said = ["such as seed-1/controlWeights.npy, and granule's record does not list it", "--replace"];
    refused(&place, &["run", "tiny.yaml", "--out", "out"], &said);
    let planned = json(&place.run(&["plan", "tiny.yaml", "--out", "out", "--json"]).succeeded());
    assert_eq!(planned["files_replaced"], json!(["seed-1/controlWeights.npy"]));
    run(&place, &["--replace"]).succeeded();
    assert_eq!(place.outputs("out"), tiny().undisturbed());
    // Links and directories at these places stay, even with --replace.
    let place = Place::new();
    place.sweep("tiny.yaml", &tiny());
    fs::create_dir_all(place.path("out")).expect("made");
    fs::create_dir_all(place.path("elsewhere")).expect("made");
    symlink("../elsewhere", place.path("out/seed-2")).expect("a link");
    let run = ["run", "tiny.yaml", "--out", "out", "--replace"];
    refused(
        &place,
        &run,
        &["out/seed-2 is a symbolic link, but granule writes outputs at this path", "move it away"],
    );
    fs::remove_file(place.path("out/seed-2")).expect("removed");
    fs::create_dir_all(place.path("out/seed-2/achCondE.npy")).expect("made");
    refused(&place, &run, &["out/seed-2/achCondE.npy is a directory"]);
}

#[test]
fn a_file_that_appears_during_a_run_is_not_replaced() {
    let place = Place::new();
    let slow = Sweep { engine: "pcg", ..Sweep::slow() };
    place.sweep("tiny.yaml", &slow);
    let mut running =
        place.start(&["run", "tiny.yaml", "--out", "out", "--workers", "1", "--shard-trials", "1"]);
    running.until("it has begun", |_| place.path("out/sweep.json").exists().then_some(()));
    fs::create_dir_all(place.path("out/seed-451")).expect("made");
    place.write("out/seed-451/achWeights.npy", "mine");
    let ended = running.end();
    ended.failed_with(1, &["granule's record does not list it", "seed-451/achWeights.npy", "--replace"]);
    assert_eq!(fs::read(place.path("out/seed-451/achWeights.npy")).expect("a file"), b"mine");
    fs::remove_file(place.path("out/seed-451/achWeights.npy")).expect("removed");
    run_without_workers(&place);
    assert_eq!(place.outputs("out"), slow.undisturbed());
}

#[test]
fn lists_alone_remove_nothing() {
    let place = finished();
    fs::create_dir(place.path("victim")).expect("made");
    let theirs = [
        "victim/achCondE.npy",
        "out/notes.txt",
        "out/seed-1/thesis.npy",
        "out/seed-1/averageSpikeProb.npy",
        "out/seed-1/randomized_achSpikeProb.npy.unfinished",
        "out/access.json",
        "out/coordinator.pem",
    ];
    theirs.iter().for_each(|name| drop(place.write(name, name)));
    symlink("../victim", place.path("out/seed-7")).expect("a link");
    let paths = [
        "seed-7/achCondE.npy",
        "seed-1/../../victim/achCondE.npy",
        "../victim/achCondE.npy",
        "notes.txt",
        "store.granule",
        "access.json",
        "coordinator.pem",
        "manifest.json",
        "seed-1/thesis.npy",
        "seed-1/averageSpikeProb.npy",
    ];
    let mut manifest = place.manifest("out");
    for path in paths {
        let place = place.path("out").join(path);
        let (bytes, sha256) = (fs::metadata(&place).map_or(0, |of| of.len()), support::sha256(&place));
        let record = json!({ "path": path, "bytes": bytes, "sha256": sha256, "identity": "0" });
        manifest["files"].as_array_mut().expect("a list").push(record);
    }
    place.write("out/manifest.json", manifest.to_string());
    let pending: Vec<&str> = paths.into_iter().filter(|path| !path.contains("average")).collect();
    place.write("out/outputs.pending.json", json!(pending).to_string());
    let less = Sweep { conditions: vec!["Control"], ..tiny() };
    place.sweep("tiny.yaml", &less);
    run(&place, &["--worker-program", "/nowhere/to-be-found"]).succeeded();
    for name in theirs {
        assert_eq!(fs::read_to_string(place.path(name)).expect(name), name);
    }
    let ours: Hashes =
        place.outputs("out").into_iter().filter(|(name, _)| less.undisturbed().contains_key(name)).collect();
    assert_eq!(ours, less.undisturbed());
    assert!(!place.path("out/seed-1/achCondE.npy").exists());
}

#[test]
fn a_file_that_was_changed_is_not_removed() {
    let place = finished();
    place.write("out/seed-1/achWeights.npy", "my own notes");
    place.sweep("tiny.yaml", &Sweep { conditions: vec!["Control"], ..tiny() });
    let planned = json(&place.run(&["plan", "tiny.yaml", "--out", "out", "--json"]).succeeded());
    assert_eq!(planned["files_left"], json!(["seed-1/achWeights.npy"]));
    assert_eq!(planned["files_removed"].as_array().map(Vec::len), Some(11));
    let ended = run_without_workers(&place);
    assert!(
        ended
            .stderr
            .contains("note: kept seed-1/achWeights.npy: it was changed, or its path has a symbolic link"),
        "{ended:#?}"
    );
    assert!(ended.stdout.contains("11 files of an earlier sweep removed"), "{ended:#?}");
    assert_eq!(fs::read_to_string(place.path("out/seed-1/achWeights.npy")).expect("a file"), "my own notes");
}

#[test]
fn a_slip_of_an_option_costs_no_file() {
    let place = finished();
    for name in ["thesis.tex", "table.csv", "table.parquet", "table.npz", "page.html", "empty.yaml"] {
        place.write(name, "condition;seed\n<html>\n");
    }
    let serve =
        ["serve", "tiny.yaml", "--out", "served", "--listen", "127.0.0.1:0", "--access", "thesis.tex"];
    let before = fs::read(place.path("thesis.tex")).expect("a file");
    place.run(&serve).failed_with(2, &["thesis.tex exists and is not an access file of granule", "--force"]);
    assert_eq!(fs::read(place.path("thesis.tex")).expect("a file"), before);
    for (arguments, what) in [
        (&["export", "out", "--to", "tiny.yaml", "--format", "csv"][..], "a CSV table that granule wrote"),
        (&["export", "out", "--to", "table.csv"], "a CSV table that granule wrote"),
        (&["export", "out", "--to", "table.parquet"], "a Parquet table that granule wrote"),
        (&["export", "out", "--psth", "table.npz"], "an NPZ table that granule wrote"),
        (
            &["export", "out", "--psth", "out/manifest.json", "--format", "csv", "--force"],
            "is a file of the sweep",
        ),
        (
            &["export", "out", "--to", "out/store.granule", "--format", "csv", "--force"],
            "is a file of the sweep",
        ),
        (&["report", "out", "--to", "page.html"], "a report that granule wrote"),
        (&["report", "out", "--to", "thesis.tex"], "name a file that ends in .html"),
        (&["export", "out", "--to", "out", "--format", "csv"], "is a directory, not a file"),
    ] {
        refused(&place, arguments, &[what]);
    }
    let before = tree(&place, "");
    place.run(&["init", "tiny.yaml"]).failed_with(1, &["tiny.yaml"]);
    place
        .run(&["store", "merge", "thesis.tex", "out/store.granule"])
        .failed_with(1, &["thesis.tex is not a readable store"]);
    assert!(tree(&place, "") == before);
    // Files that granule wrote are replaced, and others only with --force.
    for forced in [false, true] {
        for (name, option) in [("a.csv", "--to"), ("a.parquet", "--to"), ("a.npz", "--psth")] {
            for _ in 0..2 {
                let name = if forced { name.replace("a.", "table.") } else { name.to_owned() };
                let force: &[&str] = if forced { &["--force"] } else { &[] };
                place.run(&[&["export", "out", option, &name], force].concat()).succeeded();
            }
        }
    }
    for _ in 0..2 {
        place.run(&["report", "out"]).succeeded();
        place.run(&["figures", "out"]).succeeded();
        place.run(&["man", "man"]).succeeded();
    }
    place.write("man/granule-run.1", "mine");
    refused(
        &place,
        &["man", "man"],
        &["man/granule-run.1 exists and is not a manual page that granule wrote"],
    );
}

#[test]
fn figures_replace_and_remove_what_granule_drew_and_nothing_else() {
    let place = finished();
    place.run(&["figures", "out"]).succeeded();
    let index = || {
        serde_json::from_slice::<Value>(&fs::read(place.path("out/figures/figures.json")).unwrap()).unwrap()
    };
    // A figure that the user has changed.
    let retouched = place.path("out/figures/psth.svg");
    let drawn = fs::read(&retouched).expect("a figure");
    fs::write(&retouched, [&drawn[..], b"<!-- mine -->"].concat()).expect("written");
    refused(
        &place,
        &["figures", "out"],
        &["psth.svg exists and is not a figure of this sweep by granule", "--force"],
    );
    // A file that was added to the index by hand, even with its hash.
    let theirs = place.write("out/figures/thesis.pdf", "mine");
    fs::create_dir(place.path("victim")).expect("made");
    place.write("victim/photo.png", "mine");
    symlink("../../victim", place.path("out/figures/seed-9")).expect("a link");
    let mut changed = index();
    for (path, at) in [("thesis.pdf", theirs.clone()), ("seed-9/photo.png", place.path("victim/photo.png"))] {
        changed["figures"][0]["files"].as_array_mut().expect("a list").push(path.into());
        changed["sha256"][path] = if path == "thesis.pdf" { "0".into() } else { support::sha256(&at).into() };
    }
    place.write("out/figures/figures.json", changed.to_string());
    place.run(&["figures", "out", "--force", "--format", "svg"]).succeeded();
    assert!(theirs.exists() && place.path("victim/photo.png").exists());
    assert_eq!(fs::read(&retouched).expect("a figure"), drawn);
    assert!(!place.path("out/figures/psth.pdf").exists(), "what was drawn before and is not drawn now goes");
    // A directory of the user.
    fs::create_dir(place.path("pictures")).expect("made");
    place.write("pictures/raster.png", "a photo");
    place
        .run(&["figures", "out", "--to", "pictures"])
        .failed_with(2, &["pictures/raster.png exists", "--force"]);
    assert_eq!(fs::read_to_string(place.path("pictures/raster.png")).expect("a file"), "a photo");
    fs::remove_file(place.path("pictures/raster.png")).expect("removed");
    place.run(&["figures", "out", "--to", "pictures"]).succeeded();
    // A drawing of version 0.1.0 has no hashes.
    let mut old = index();
    for key in ["sha256", "manifest"] {
        old.as_object_mut().expect("an object").remove(key);
    }
    place.write("out/figures/figures.json", old.to_string());
    place.run(&["figures", "out"]).succeeded();
}

#[test]
fn drawings_know_what_they_were_drawn_from() {
    let place = finished();
    place.run(&["figures", "out"]).succeeded();
    place.run(&["report", "out"]).succeeded();
    place.run(&["verify", "out"]).succeeded();
    assert!(!run_without_workers(&place).stderr.contains("earlier state"));
    place.sweep("tiny.yaml", &Sweep { trials: 5, ..tiny() });
    let ended = run(&place, &[]).succeeded();
    for drawing in ["out/figures", "out/report.html"] {
        assert!(
            ended
                .stderr
                .contains(&format!("note: {drawing} shows an earlier state of the sweep; draw it again"))
        );
        assert!(
            place
                .run(&["status", "out"])
                .succeeded()
                .stdout
                .contains(&format!("{drawing} shows an earlier state"))
        );
    }
    let ended = place
        .run(&["verify", "out"])
        .failed_with(3, &["help: draw again: granule figures out; granule report out"]);
    assert!(ended.stdout.contains("stale: figures: drawn from an earlier state of the sweep"), "{ended:#?}");
    // The advice, unchanged.
    place.run(&["figures", "out"]).succeeded();
    place.run(&["report", "out"]).succeeded();
    place.run(&["verify", "out"]).succeeded();
}

#[test]
fn temporary_names_touch_no_file_of_the_user() {
    let place = finished();
    place.write("victim", "theirs");
    for name in ["spikes.csv.unfinished", "out/report.html.unfinished", "out/manifest.json.unfinished"] {
        symlink(place.path("victim"), place.path(name)).expect("a link");
    }
    place.write("out/seed-1/notes.unfinished", "mine");
    place.write("out/store.granule.unfinished", "mine");
    place.run(&["export", "out", "--to", "spikes.csv"]).succeeded();
    place.run(&["report", "out"]).succeeded();
    place.run(&["store", "prune", "out/store.granule", "--keep", "tiny.yaml"]).succeeded();
    place.sweep("tiny.yaml", &Sweep { trials: 5, ..tiny() });
    run(&place, &[]).succeeded();
    for (name, text) in [
        ("victim", "theirs"),
        ("out/seed-1/notes.unfinished", "mine"),
        ("out/store.granule.unfinished", "mine"),
    ] {
        assert_eq!(fs::read_to_string(place.path(name)).expect(name), text);
    }
    assert!(place.path("spikes.csv.unfinished").is_symlink());
    let left = tree(&place, "").into_iter().filter(|(name, _)| name.contains(".granule-")).count();
    assert_eq!(left, 0, "nothing unfinished is left");
}

#[test]
fn two_of_the_same_at_once_do_not_mix() {
    let place = finished();
    let alone = |arguments: &[&str], file: &str| {
        place.run(arguments).succeeded();
        fs::read(place.path(file)).expect("a file")
    };
    let tables = [
        alone(&["export", "out", "--to", "t.csv"], "t.csv"),
        alone(&["export", "out", "--to", "t.csv", "--conditions", "ACh"], "t.csv"),
    ];
    for _ in 0..8 {
        let one = place.start(&["export", "out", "--to", "t.csv"]);
        let other = place.start(&["export", "out", "--to", "t.csv", "--conditions", "ACh"]);
        one.end().succeeded();
        other.end().succeeded();
        assert!(tables.contains(&fs::read(place.path("t.csv")).expect("a table")));
    }
    for _ in 0..4 {
        let both = [(); 2].map(|()| place.start(&["figures", "out"])).map(support::Running::end);
        assert!(both.iter().any(|ended| ended.code == Some(0)), "{both:?}");
        for ended in both.iter().filter(|ended| ended.code != Some(0)) {
            assert!(
                ended.stderr.contains("another granule process is drawing into out/figures"),
                "{ended:#?}"
            );
        }
        place.run(&["figures", "out"]).succeeded();
    }
    // With the same store: each prune completes or is refused.
    place.run(&["export", "out", "--to", "before.csv"]).succeeded();
    for _ in 0..4 {
        let prune = ["store", "prune", "out/store.granule", "--keep", "tiny.yaml"];
        let both = [(); 2].map(|()| place.start(&prune)).map(support::Running::end);
        assert!(both.iter().any(|ended| ended.code == Some(0)), "{both:?}");
    }
    place.run(&["export", "out", "--to", "after.csv"]).succeeded();
    assert_eq!(fs::read(place.path("before.csv")).unwrap(), fs::read(place.path("after.csv")).unwrap());
    // One command writes both files of an identity.
    let identity = ["identity", "ours", "--advertise", "node1:7000"];
    let both = [(); 2].map(|()| place.start(&identity)).map(support::Running::end);
    assert_eq!(both.iter().filter(|ended| ended.code == Some(0)).count(), 1, "{both:?}");
    let serve = [
        "serve",
        "tiny.yaml",
        "--out",
        "served",
        "--listen",
        "127.0.0.1:0",
        "--identity",
        "ours",
        "--workers",
        "1",
    ];
    place.run(&serve).succeeded();
}

/// Swaps the files of the two seeds.
fn swap_seeds(place: &Place) {
    for (from, to) in [("out/seed-1", "aside"), ("out/seed-2", "out/seed-1"), ("aside", "out/seed-2")] {
        fs::rename(place.path(from), place.path(to)).expect("moved");
    }
}

fn copy(from: &Path, to: &Path) {
    let options = if to.exists() { "-aT" } else { "-a" };
    let status = std::process::Command::new("cp").arg(options).args([from, to]).status();
    assert!(status.expect("cp").success());
}

#[test]
fn what_was_moved_or_restored_is_looked_at_again() {
    let expected = tiny().undisturbed();
    let check = |what: &str, spoil: &dyn Fn(&Place)| {
        let place = finished();
        // The stamps exist and are used.
        assert!(run_without_workers(&place).stdout.contains("already complete"), "{what}");
        spoil(&place);
        let status = json(&place.run(&["status", "out", "--json"]).succeeded());
        assert_eq!(status["state"], "incomplete", "{what}");
        let ended = place.run(&["figures", "out", "--to", "pictures"]);
        assert_ne!(ended.code, Some(101), "{what}");
        run_without_workers(&place);
        assert_eq!(place.outputs("out"), expected, "{what}");
        assert!(run_without_workers(&place).stdout.contains("already complete"), "{what}");
    };
    check("seeds swapped", &swap_seeds);
    check("one seed's folder copied over the other's, with its times", &|place| {
        copy(&place.path("out/seed-2"), &place.path("out/seed-1"));
    });
    check("a file of the same length, with the times of the old one", &|place| {
        let path = place.path("out/seed-1/randomized_achSpikeProb.npy");
        let times = fs::metadata(&path).expect("a file");
        let times =
            FileTimes::new().set_modified(times.modified().unwrap()).set_accessed(times.accessed().unwrap());
        let mut bytes = fs::read(&path).expect("a file");
        *bytes.last_mut().expect("bytes") ^= 1;
        fs::write(&path, bytes).expect("written");
        File::options().write(true).open(&path).expect("a file").set_times(times).expect("set");
    });
    check("a link to the other seed's file", &|place| {
        let path = place.path("out/seed-1/controlCondE.npy");
        fs::remove_file(&path).expect("removed");
        fs::hard_link(place.path("out/seed-2/controlCondE.npy"), path).expect("a link");
    });
    // An equal copy is also complete: moved or copied, with stamps or without.
    let place = finished();
    fs::rename(place.path("out"), place.path("moved")).expect("moved");
    copy(&place.path("moved"), &place.path("out"));
    assert!(run_without_workers(&place).stdout.contains("already complete"));
    for stamps in ["", "{", "{\"format\":99}"] {
        place.write("out/.outputs.stamps.json", stamps);
        assert!(run_without_workers(&place).stdout.contains("already complete"));
    }
    // Stamps of another state are not trusted.
    let stamps = fs::read(place.path("out/.outputs.stamps.json")).expect("stamps");
    swap_seeds(&place);
    run_without_workers(&place);
    swap_seeds(&place);
    place.write("out/.outputs.stamps.json", stamps);
    run_without_workers(&place);
    assert_eq!(place.outputs("out"), expected);
}

#[test]
fn figures_are_not_drawn_from_files_that_changed_places() {
    let place = Place::new();
    let paper = Sweep { conditions: vec!["Control", "GABAzine", "ACh"], network: [60, 200, 7], ..tiny() };
    place.sweep("tiny.yaml", &paper);
    run(&place, &[]).succeeded();
    swap_seeds(&place);
    for command in ["figures", "report"] {
        place
            .run(&[command, "out"])
            .failed_with(1, &["out/seed-1/control", ": it has ", " bytes instead of ", "granule verify"]);
    }
    place.run(&["verify", "out"]).failed_with(3, &["run the sweep again with --out out"]);
    run_without_workers(&place);
    place.run(&["figures", "out"]).succeeded();
}

/// Flips a bit in the spikes of the first trial of a store, and keeps the modification time or not.
fn flip(place: &Place, store: &str, keeps_times: bool) {
    let path = place.path(store);
    let mut bytes = fs::read(&path).expect("a store");
    let length = bytes.len();
    let modified = fs::metadata(&path).expect("a store").modified().expect("a time");
    // The values of a frame follow its directory. The last frame ends with padding.
    let at =
        (length / 2..length).find(|at| bytes[at - 40..*at].iter().filter(|byte| **byte != 0).count() > 30);
    bytes[at.expect("spikes")] ^= 1;
    fs::write(&path, bytes).expect("written");
    if keeps_times {
        File::options().write(true).open(&path).expect("a store").set_modified(modified).expect("set");
    }
}

#[test]
fn what_verify_advises_repairs_a_damaged_store() {
    for keeps_times in [false, true] {
        let place = finished();
        let expected = place.outputs("out");
        // With a frame after it, damage to this frame does not look like an unfinished write.
        place.write("more.yaml", other().to_yaml());
        place.run(&["run", "more.yaml", "--out", "more", "--store", "out/store.granule"]).succeeded();
        flip(&place, "out/store.granule", keeps_times);
        let ended = place.run(&["verify", "out"]);
        if ended.code == Some(0) {
            // The flipped bit belongs to the other sweep.
            place.run(&["verify", "more"]).failed_with(3, &["run the sweep again with --out more"]);
            place.run(&["run", "more.yaml", "--out", "more"]).succeeded();
            place.run(&["verify", "more"]).succeeded();
            continue;
        }
        ended.failed_with(3, &["run the sweep again with --out out"]);
        run(&place, &[]).succeeded();
        place.run(&["verify", "out"]).succeeded();
        place.run(&["export", "out", "--to", "spikes.csv"]).succeeded();
        assert_eq!(place.outputs("out"), expected);
    }
}

/// Stores values that are no spikes under the keys of a sweep's trials, with correct digests.
fn spoil_values(place: &Place) {
    let text = fs::read(place.path("tiny.yaml")).expect("a sweep");
    let values: Vec<(granule_engine::TrialKey, Vec<u8>)> = {
        let overrides = granule_sweep::Overrides::default();
        let sweep = granule_sweep::parse(granule_granular::ENGINES, "tiny.yaml", &text, "tiny", &overrides);
        let plan = granule_sweep::Plan::new(&sweep.expect("a sweep"));
        let of = |at: usize, variant: usize| (0..plan.trials).map(move |trial| (at, variant, trial));
        let all = (0..plan.cohorts.len())
            .flat_map(|at| (0..plan.cohorts[at].variants.len()).flat_map(move |variant| of(at, variant)));
        all.map(|(at, variant, trial)| (plan.key(at, variant, trial), vec![0xff; 40])).collect()
    };
    granule::bench::replace_values(&place.path("out/store.granule"), &values).expect("a store");
}

#[test]
fn values_that_are_no_spikes_are_found_at_once_and_repaired_together() {
    let place = finished();
    let expected = place.outputs("out");
    spoil_values(&place);
    let explained = json(&place.run(&["explain", "tiny.yaml", "--out", "out", "--json"]).succeeded());
    assert_eq!((explained["reused"].as_u64(), explained["to_compute"].as_u64()), (Some(0), Some(16)));
    let verified = json(&place.run(&["verify", "out", "--json"]).failed_with(3, &[]));
    assert_eq!(verified["problems"].as_array().map(Vec::len), Some(16), "{verified}");
    let ended = run(&place, &[]).succeeded();
    let rounds =
        ended.stderr.lines().filter(|line| line.contains("damaged in the store, to be computed again"));
    assert_eq!(rounds.collect::<Vec<_>>(), ["note: 16 trials damaged in the store, to be computed again"]);
    place.run(&["verify", "out"]).succeeded();
    assert_eq!(place.outputs("out"), expected);
}

#[test]
fn a_store_that_lies_elsewhere_is_found_again() {
    let place = Place::new();
    place.sweep("tiny.yaml", &tiny());
    run(&place, &["--store", "s.granule"]).succeeded();
    let more = Sweep { trials: 6, ..tiny() };
    place.sweep("tiny.yaml", &more);
    // Without the option, all commands use the same store.
    let planned = json(&place.run(&["plan", "tiny.yaml", "--out", "out", "--json"]).succeeded());
    assert_eq!((planned["stored"].as_u64(), planned["missing"].as_u64()), (Some(16), Some(8)));
    run(&place, &[]).succeeded();
    assert_eq!(place.trials("out"), Trials { computed: 8, reused: 16 });
    assert!(!place.path("out/store.granule").exists());
    // Both are moved together.
    fs::create_dir_all(place.path("far/away")).expect("made");
    for name in ["out", "s.granule"] {
        fs::rename(place.path(name), place.path("far/away").join(name)).expect("moved");
    }
    let out = "far/away/out";
    for arguments in
        [&["figures", out][..], &["verify", out], &["export", out, "--to", "t.csv"], &["report", out]]
    {
        place.run(arguments).succeeded();
    }
    let explained = json(&place.run(&["explain", "tiny.yaml", "--out", out, "--json"]).succeeded());
    assert_eq!(explained["to_compute"], 0);
    // A copy uses its own store, not that of the original.
    copy(&place.path("far/away"), &place.path("copied"));
    let before = fs::read(place.path("far/away/s.granule")).expect("a store");
    place.sweep("tiny.yaml", &Sweep { trials: 7, ..tiny() });
    place.run(&["run", "tiny.yaml", "--out", "copied/out"]).succeeded();
    assert!(fs::read(place.path("far/away/s.granule")).expect("a store") == before);
    // If the store is lost, commands name it and compute nothing.
    fs::rename(place.path("copied/s.granule"), place.path("hidden")).expect("moved");
    let lost = [
        "s.granule, which does not exist",
        "name its new place with --store FILE",
        "--store copied/out/store.granule",
    ];
    for command in ["run", "plan", "explain"] {
        place.run(&[command, "tiny.yaml", "--out", "copied/out"]).failed_with(1, &lost);
    }
    // Both pieces of advice in the message work.
    let ended = place.run(&["run", "tiny.yaml", "--out", "copied/out", "--store", "hidden"]).succeeded();
    assert!(ended.stdout.contains("already complete"), "{ended:#?}");
    // Later commands find the store there.
    place.run(&["export", "copied/out", "--to", "t.csv"]).succeeded();
    fs::rename(place.path("hidden"), place.path("gone")).expect("moved");
    let ended = place
        .run(&["run", "tiny.yaml", "--out", "copied/out", "--store", "copied/out/store.granule"])
        .succeeded();
    assert!(ended.stderr.contains("28 trials listed in the manifest are not in the store"), "{ended:#?}");
}

#[test]
fn what_is_computed_again_is_said_before() {
    let place = finished();
    fs::remove_file(place.path("out/store.granule")).expect("removed");
    let ended = run(&place, &[]).succeeded();
    assert!(
        ended.stderr.contains("note: 16 trials listed in the manifest are not in the store"),
        "{ended:#?}"
    );
}

#[test]
fn a_run_holds_its_directory_and_not_its_name() {
    let place = Place::new();
    let slow = Sweep { engine: "pcg", ..Sweep::slow() };
    place.sweep("slow.yaml", &slow);
    place.sweep("tiny.yaml", &tiny());
    let mut running =
        place.start(&["run", "slow.yaml", "--out", "out", "--workers", "1", "--shard-trials", "1"]);
    running.until("trials are stored", |_| (place.length("out/store.granule") > 16 * 4096).then_some(()));
    fs::rename(place.path("out"), place.path("moved")).expect("moved");
    run(&place, &[]).succeeded();
    let first = running.end().succeeded();
    assert!(first.stdout.contains("/moved"), "{first:#?}");
    assert_eq!(place.outputs("moved"), slow.undisturbed());
    assert_eq!(place.outputs("out"), tiny().undisturbed());
    place.run(&["verify", "moved"]).succeeded();
    place.run(&["verify", "out"]).succeeded();
}

#[test]
fn odd_files_hang_no_command() {
    let place = finished();
    let odd = |path: &str, kind: &str| {
        let path = place.path(path);
        let _ = fs::remove_file(&path);
        match kind {
            "a pipe" => mkfifo(&path, Mode::from_bits_truncate(0o600)).expect("a pipe"),
            "a device" => symlink("/dev/zero", &path).expect("a link"),
            _ => fs::create_dir(&path).expect("a directory"),
        }
    };
    // Each command ends, and names the file and the problem.
    for kind in ["a pipe", "a device", "a directory"] {
        for name in ["odd.yaml", "odd.granule", "odd.json"] {
            odd(name, kind);
        }
        place.run(&["run", "odd.yaml", "--out", "other"]).failed_with(2, &["odd.yaml", kind]);
        place.run(&["plan", "odd.yaml"]).failed_with(2, &["odd.yaml", kind]);
        place
            .run(&["store", "prune", "out/store.granule", "--keep", "odd.yaml"])
            .failed_with(2, &["odd.yaml", kind]);
        for arguments in [
            &["run", "tiny.yaml", "--out", "other", "--store", "odd.granule"][..],
            &["plan", "tiny.yaml", "--store", "odd.granule"],
            &["export", "out", "--to", "x.csv", "--store", "odd.granule"],
            &["verify", "out", "--store", "odd.granule"],
            &["store", "verify", "odd.granule"],
            &["store", "merge", "new.granule", "odd.granule"],
            &["store", "merge", "odd.granule", "out/store.granule"],
        ] {
            let ended = place.run(arguments);
            assert!(matches!(ended.code, Some(1 | 2)), "{arguments:?} of {kind}: {ended:#?}");
            assert!(ended.stderr.contains("odd.granule"), "{arguments:?} of {kind}: {ended:#?}");
        }
        place.run(&["worker", "--access", "odd.json"]).failed_with(2, &["odd.json"]);
        place.run(&["status", "--access", "odd.json"]).failed_with(1, &["odd.json"]);
        place.run(&["ssh", "@odd.json", "tiny.yaml"]).failed_with(2, &["odd.json"]);
        for name in ["odd.yaml", "odd.granule", "odd.json"] {
            let path = place.path(name);
            let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir(&path));
        }
    }
    // In the place of granule's own files.
    for kind in ["a pipe", "a device", "a directory"] {
        for name in ["manifest.json", "sweep.json", "outputs.pending.json", ".outputs.stamps.json"] {
            let place = finished();
            let path = place.path("out").join(name);
            let _ = fs::remove_file(&path);
            match kind {
                "a pipe" => mkfifo(&path, Mode::from_bits_truncate(0o600)).expect("a pipe"),
                "a device" => symlink("/dev/zero", &path).expect("a link"),
                _ => fs::create_dir(&path).expect("a directory"),
            }
            for command in ["status", "verify", "figures", "report"] {
                let ended = place.run(&[command, "out"]);
                assert_eq!(ended.code, Some(1), "{command}, {name}, {kind}: {ended:#?}");
            }
            let kind = if kind == "a device" { "a symbolic link" } else { kind };
            refused(&place, &["run", "tiny.yaml", "--out", "out"], &[name, kind]);
        }
    }
    // In the place of an output.
    let path = place.path("out/seed-1/achCondE.npy");
    fs::remove_file(&path).expect("removed");
    mkfifo(&path, Mode::from_bits_truncate(0o600)).expect("a pipe");
    let verified =
        json(&place.run(&["verify", "out", "--json"]).failed_with(3, &["move the unreadable files away"]));
    assert_eq!(verified["problems"][0]["problem"], "unreadable");
    refused(&place, &["run", "tiny.yaml", "--out", "out"], &["achCondE.npy is a pipe"]);
    fs::remove_file(&path).expect("removed");
    run_without_workers(&place);
    place.run(&["verify", "out"]).succeeded();
}

#[test]
fn a_file_without_end_is_not_read_to_it() {
    let place = finished();
    // Sparse files that are longer than any memory.
    for name in ["long.yaml", "long.json"] {
        let file = File::create(place.path(name)).expect("made");
        file.set_permissions(Permissions::from_mode(0o600)).expect("set");
        file.set_len(1 << 42).expect("long");
    }
    place.run(&["run", "long.yaml"]).failed_with(2, &["the file is larger than 1 MiB", "long.yaml"]);
    place.run(&["worker", "--access", "long.json"]).failed_with(2, &["long.json has more than"]);
    place.run(&["ssh", "@long.json", "tiny.yaml"]).failed_with(2, &["long.json"]);
    File::options()
        .write(true)
        .open(place.path("out/manifest.json"))
        .expect("a file")
        .set_len(1 << 42)
        .expect("long");
    place.run(&["status", "out"]).failed_with(1, &["manifest.json is not a record of granule"]);
}

#[test]
fn the_disk_is_compared_before_anything_is_computed() {
    let place = Place::new();
    place.write("big.yaml", tiny().to_yaml().replace("granule_cells: 200", "granule_cells: 60000"));
    fs::create_dir(place.path("small")).expect("made");
    let mount = |size: &str| {
        let mounted = place.command("mount").args(["-t", "tmpfs", "-o", size, "tmpfs", "small"]).status();
        mounted.is_ok_and(|status| status.success())
    };
    if !mount("size=2m") {
        return support::skip("a tmpfs cannot be mounted");
    }
    let planned = json(&place.run(&["plan", "big.yaml", "--out", "small/out", "--json"]).succeeded());
    let run = place.run(&["run", "big.yaml", "--out", "small/out"]);
    let made = fs::read_dir(place.path("small")).expect("a directory").count();
    let unmounted = place.command("umount").arg("small").status();
    assert!(unmounted.expect("umount").success());
    assert!(planned["free_bytes"].as_u64().is_some_and(|free| free <= 2 << 20), "{planned}");
    assert!(planned["disk"].as_str().is_some_and(|disk| disk.contains("is too small")), "{planned}");
    run.failed_with(1, &["the disk is too small: ", "are free at", "help: free some space"]);
    assert_eq!(made, 0, "nothing is written");
}

#[test]
fn access_files_and_keys_of_others_stay() {
    let place = finished();
    // A run removes the access file and key of a killed `serve`. These files belong to the user and stay.
    for name in ["out/access.json", "out/coordinator.pem"] {
        place.write(name, "mine");
    }
    run_without_workers(&place);
    place.sweep("tiny.yaml", &Sweep { trials: 5, ..tiny() });
    run(&place, &[]).succeeded();
    for name in ["out/access.json", "out/coordinator.pem"] {
        assert_eq!(fs::read_to_string(place.path(name)).expect("a file"), "mine");
    }
    place.sweep("tiny.yaml", &Sweep { trials: 6, ..tiny() });
    let serve = ["serve", "tiny.yaml", "--out", "out", "--listen", "0.0.0.0:0", "--workers", "1"];
    place.run(&serve).failed_with(2, &["out/access.json exists and is not an access file of granule"]);
    fs::remove_file(place.path("out/access.json")).expect("removed");
    fs::set_permissions(place.path("out/coordinator.pem"), Permissions::from_mode(0o600)).expect("set");
    place.run(&serve).failed_with(1, &["out/coordinator.pem already exists"]);
    fs::remove_file(place.path("out/coordinator.pem")).expect("removed");
    // The coordinator removes its own access file and key at the end.
    let mut running = place.start(&[&serve[..], &["--shard-trials", "1"]].concat());
    running.until("there is an access file", |_| place.path("out/access.json").exists().then_some(()));
    running.end().succeeded();
    assert!(!place.path("out/access.json").exists() && !place.path("out/coordinator.pem").exists());
}

#[test]
fn a_clock_that_was_set_back_hides_nothing() {
    let place = finished();
    let expected = place.outputs("out");
    // All files have times in the future.
    for (path, _) in tree(&place, "out") {
        let file = File::options().append(true).open(&path).expect("a file");
        file.set_modified(SystemTime::now() + Duration::from_secs(86_400)).expect("set");
    }
    assert!(run_without_workers(&place).stdout.contains("already complete"));
    let path = place.path("out/seed-2/controlCondI.npy");
    let before = fs::metadata(&path).expect("a file");
    let mut bytes = fs::read(&path).expect("a file");
    *bytes.last_mut().expect("bytes") ^= 1;
    let mut file = File::options().write(true).open(&path).expect("a file");
    file.write_all(&bytes).expect("written");
    file.set_modified(before.modified().expect("a time")).expect("set");
    assert_eq!(fs::metadata(&path).expect("a file").ino(), before.ino());
    run_without_workers(&place);
    assert_eq!(place.outputs("out"), expected);
}

/// A directory with a sweep of version 0.1.0: `sweep.yaml` and `out`.
fn earlier() -> Place {
    let place = Place::new();
    copy(&support::root().join("tests/earlier/0.1.0"), &place.path(""));
    place
}

#[test]
fn directories_and_stores_of_version_0_1_0_stay_valid() {
    let place = earlier();
    let before = place.outputs("out");
    assert_eq!(before.len(), 32);
    let run = ["run", "sweep.yaml", "--out", "out", "--worker-program", "/nowhere/to-be-found"];
    for _ in 0..2 {
        let ended = place.run(&run).succeeded();
        assert!(ended.stdout.contains("Sweep earlier is already complete: 32 files"), "{ended:#?}");
    }
    place.run(&["verify", "out", "--all"]).succeeded();
    for command in ["figures", "report"] {
        place.run(&[command, "out"]).succeeded();
    }
    // If the sweep is extended, a run keeps its kinds of files and computes only the new trials.
    let text = fs::read_to_string(place.path("sweep.yaml")).expect("a sweep");
    place.write("sweep.yaml", text.replace("trials: 2", "trials: 3"));
    place.run(&["run", "sweep.yaml", "--out", "out"]).succeeded();
    assert_eq!(place.trials("out"), Trials { computed: 6, reused: 12 });
    assert_eq!(place.outputs("out").keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());

    // A store beside the directory, moved since. Version 0.1.0 recorded only its absolute path.
    let place = earlier();
    fs::rename(place.path("out/store.granule"), place.path("s.granule")).expect("moved");
    let mut manifest = place.manifest("out");
    manifest["run"]["store"] = "/elsewhere/s.granule".into();
    place.write("out/manifest.json", manifest.to_string());
    place.run(&["verify", "out"]).succeeded();
    assert!(place.run(&run).succeeded().stdout.contains("already complete"));

    // A run that was interrupted while writing: it left a list of paths, and the sweep.
    let interrupted = || {
        let place = earlier();
        let manifest = place.manifest("out");
        let files = manifest["files"].as_array().expect("a list");
        let paths: Vec<&Value> = files.iter().map(|file| &file["path"]).collect();
        place.write("out/outputs.pending.json", json!(paths).to_string());
        let under_way =
            json!({ "format": 1, "sweep": manifest["sweep"], "store": "store.granule", "started": "" });
        place.write("out/sweep.json", under_way.to_string());
        fs::remove_file(place.path("out/manifest.json")).expect("removed");
        place
    };
    let place = interrupted();
    fs::remove_file(place.path("out/seed-2/mineWeights.npy")).expect("removed");
    place.write("out/seed-1/noteWeights.npy", "mine");
    place.run(&run).succeeded();
    assert!(place.path("out/seed-1/noteWeights.npy").exists());
    let mut outputs = place.outputs("out");
    outputs.remove("seed-1/noteWeights.npy");
    assert_eq!(outputs, before);
    // The list has no hashes, so these files may belong to the user.
    let place = interrupted();
    place.write("out/seed-2/mineWeights.npy", "mine");
    let text = fs::read_to_string(place.path("sweep.yaml")).expect("a sweep");
    place.write("sweep.yaml", text.replace("seeds: [1, 2]", "seeds: [1]"));
    let ended = place.run(&run).succeeded();
    assert!(ended.stderr.contains("note: kept seed-2/mineWeights.npy: it was changed"), "{ended:#?}");
    assert_eq!(fs::read_to_string(place.path("out/seed-2/mineWeights.npy")).expect("a file"), "mine");
}

/// A store and a manifest of each engine, which version 0.2.0 wrote before engines became an interface. All trials are
/// reused, no worker is started, and all files have the recorded bytes.
#[test]
fn stores_of_each_engine_are_reused_whole() {
    for engine in ["pcg", "brian2-2.2.1"] {
        let place = Place::new();
        fs::create_dir(place.path("out")).expect("a directory");
        copy(&support::root().join(format!("tests/earlier/0.2.0/{engine}")), &place.path("out"));
        fs::rename(place.path("out/sweep.yaml"), place.path("sweep.yaml")).expect("moved");
        let recorded = place.manifest("out");
        let run = ["run", "sweep.yaml", "--out", "out", "--worker-program", "/nowhere/to-be-found"];
        place.run(&run).succeeded();
        assert_eq!(place.trials("out"), Trials { computed: 0, reused: 30 }, "{engine}");
        let now = place.manifest("out");
        assert_eq!(now["sweep"], recorded["sweep"], "{engine}");
        assert_eq!(now["files"], recorded["files"], "{engine}");
        assert_eq!(now["files"].as_array().map(Vec::len), Some(44), "{engine}");
    }
}

/// The time is compared with that of hashing the files.
#[test]
fn a_finished_sweep_is_recognised_without_reading_its_files() {
    let place = Place::new();
    let sweep = Sweep { network: [40, 1000, 5], seeds: (1..=4).collect(), ..tiny() };
    place.sweep("tiny.yaml", &sweep);
    run(&place, &[]).succeeded();
    let time = || {
        let begun = std::time::Instant::now();
        assert!(run_without_workers(&place).stdout.contains("already complete"));
        begun.elapsed()
    };
    let trusted = (0..3).map(|_| time()).min().expect("times");
    let hashed = (0..3).map(|_| {
        fs::remove_file(place.path("out/.outputs.stamps.json")).expect("removed");
        time()
    });
    let hashed = hashed.min().expect("times");
    support::told(&format!("{trusted:?} by stamps, {hashed:?} by hashing"));
    assert!(trusted * 4 < hashed, "{trusted:?} by stamps, {hashed:?} by hashing");
}

/// A file that a run keeps stays even if the run is killed and resumed.
#[test]
fn what_stays_stays_when_a_run_is_interrupted() {
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let place = Place::new();
        let conditions = vec!["Control", "ACh", "GABAzine"];
        let a = Sweep { network: [40, 2000, 5], trials: 2, seeds: (1..=6).collect(), conditions, ..tiny() };
        place.sweep("tiny.yaml", &a);
        run(&place, &[]).succeeded();
        place.write("out/seed-1/achWeights.npy", "my notes");
        let b = Sweep { trials: 3, conditions: vec!["Control"], ..a };
        place.sweep("tiny.yaml", &b);
        let mut running = place.start(&["run", "tiny.yaml", "--out", "out", "--workers", "1"]);
        running.until("files are written", |_| place.path("out/outputs.pending.json").exists().then_some(()));
        running.signal(signal);
        running.end();
        // If a file appears meanwhile in a place where nothing was written yet, it belongs to the user, too.
        let theirs = place.path("out/seed-6/controlWeights.npy");
        let is_written = place.length("out/outputs.pending.json") > 0 && theirs.exists();
        run(&place, &[]).succeeded();
        assert_eq!(fs::read_to_string(place.path("out/seed-1/achWeights.npy")).expect("a file"), "my notes");
        let mut outputs = place.outputs("out");
        outputs.remove("seed-1/achWeights.npy");
        assert_eq!(outputs, b.undisturbed(), "{is_written}");
        assert!(!place.path("out/outputs.pending.json").exists());
    }
}

/// Runs a sweep under `strace`, which kills it at a call.
fn killed_at(place: &Place, file: &str, call: &str, number: u32) {
    let granule = place.granule(&["run", file, "--out", "out", "--workers", "1"]);
    let mut strace = place.command("strace");
    strace.args(["-f", "-o", "calls", "-e", &format!("trace={call}")]);
    strace.args(["-e", &format!("inject={call}:signal=SIGKILL:when={number}")]);
    strace.arg(granule.get_program()).args(granule.get_args());
    assert_eq!(place.start_this(strace).end().code, None, "killed at {call} {number}");
}

/// After a kill between manifest and cleanup, the journal contains two states.
#[test]
fn stamps_vouch_for_the_bytes_that_they_were_taken_of() {
    if !support::can_trace() {
        return;
    }
    let of = |factor: &'static str| Sweep {
        conditions: vec!["Control", if factor == "0.5" { X5 } else { X3 }],
        ..tiny()
    };
    const X5: &str = "{ name: X, set: { granule.tonic_factor: 0.5 } }";
    const X3: &str = "{ name: X, set: { granule.tonic_factor: 0.3 } }";
    let place = Place::new();
    place.sweep("a.yaml", &of("0.5"));
    place.sweep("b.yaml", &of("0.3"));
    place.run(&["run", "a.yaml", "--out", "out"]).succeeded();
    for number in [1, 2] {
        killed_at(&place, "b.yaml", "unlinkat", number);
        let ended = place.run(&["run", "a.yaml", "--out", "out"]).succeeded();
        assert_eq!(place.outputs("out"), of("0.5").undisturbed(), "{number}: {ended:#?}");
        place.run(&["verify", "out"]).succeeded();
    }
}

/// The journal may list a path before its file exists.
#[test]
fn a_file_that_is_on_record_and_is_another_is_not_replaced() {
    if !support::can_trace() {
        return;
    }
    let place = Place::new();
    place.sweep("tiny.yaml", &tiny());
    // Renames happen for the sweep's record, the file by which the run is found, the journal and two arrays.
    killed_at(&place, "tiny.yaml", "renameat,renameat2", 4);
    let path = "seed-1/achCondE.npy";
    let journal = fs::read_to_string(place.path("out/outputs.pending.json")).expect("a journal");
    assert!(journal.contains(path) && !place.path("out").join(path).exists(), "{journal}");
    place.write(&format!("out/{path}"), "mine");
    refused(&place, &["run", "tiny.yaml", "--out", "out"], &["granule's record does not list it", path]);
    fs::remove_file(place.path("out").join(path)).expect("removed");
    run(&place, &[]).succeeded();
    assert_eq!(place.outputs("out"), tiny().undisturbed());
    let left = tree(&place, "out").into_iter().filter(|(name, _)| name.contains(".granule-")).count();
    assert_eq!(left, 0, "nothing unfinished is left");
}

#[test]
fn a_pending_list_that_was_put_back_removes_nothing() {
    let place = finished();
    let expected = place.outputs("out");
    fs::create_dir(place.path("out/seed-7")).expect("made");
    for list in [
        json!(["seed-7/mineWeights.npy", "seed-1/mineCondE.npy"]),
        json!({ "format": 2, "sweeps": [], "files": ["seed-7/mineWeights.npy", "seed-1/mineCondE.npy"] }),
    ] {
        for name in ["out/seed-7/mineWeights.npy", "out/seed-1/mineCondE.npy"] {
            place.write(name, "mine");
        }
        place.write("out/outputs.pending.json", list.to_string());
        assert!(run_without_workers(&place).stdout.contains("already complete"));
        assert!(!place.path("out/outputs.pending.json").exists(), "it means nothing beside a manifest");
        for name in ["out/seed-7/mineWeights.npy", "out/seed-1/mineCondE.npy"] {
            assert_eq!(fs::read_to_string(place.path(name)).expect(name), "mine");
            fs::remove_file(place.path(name)).expect("removed");
        }
    }
    assert_eq!(place.outputs("out"), expected);
}

#[test]
fn a_store_has_no_name_that_something_else_has() {
    let place = finished();
    for name in ["manifest.json", ".outputs.stamps.json", "sweep.json", "seed-1/store", "report.html"] {
        let store = format!("out/{name}");
        refused(
            &place,
            &["run", "tiny.yaml", "--out", "out", "--store", &store],
            &[&store, "choose another"],
        );
    }
    place.sweep("tiny.yaml", &Sweep { trials: 5, ..tiny() });
    let access = ["--access", "out/store.granule", "--force"];
    let serve = ["serve", "tiny.yaml", "--out", "out", "--listen", "127.0.0.1:0"];
    refused(&place, &[&serve[..], &access].concat(), &["out/store.granule exists and is not an access file"]);
}

/// A run that fails before it has done anything leaves a finished sweep unchanged.
#[test]
fn a_run_that_cannot_begin_leaves_a_finished_sweep() {
    let place = finished();
    place.sweep("tiny.yaml", &Sweep { trials: 5, ..tiny() });
    place.write("junk", "junk");
    for arguments in [
        &["run", "tiny.yaml", "--out", "out", "--worker-program", "junk"][..],
        &["serve", "tiny.yaml", "--out", "out", "--listen", "127.0.0.1:0", "--access", "junk"],
        &["serve", "tiny.yaml", "--out", "out", "--listen", "0.0.0.0:0", "--interface", "nowhere0"],
        &["serve", "tiny.yaml", "--out", "out", "--listen", "0.0.0.0:0", "--identity", "nowhere"],
    ] {
        assert_ne!(place.run(arguments).code, Some(0), "{arguments:?}");
        place.run(&["verify", "out"]).succeeded();
    }
}

#[test]
fn files_that_change_while_others_are_written_are_noticed() {
    let place = Place::new();
    let sweep = Sweep { network: [40, 2000, 5], trials: 2, seeds: (1..=8).collect(), ..tiny() };
    place.sweep("tiny.yaml", &sweep);
    let mut running = place.start(&["run", "tiny.yaml", "--out", "out", "--workers", "1"]);
    running.until("the third seed is written", |_| place.path("out/seed-3").exists().then_some(()));
    fs::rename(place.path("out/seed-1"), place.path("moved")).expect("moved");
    running.end().failed_with(1, &["out/seed-1/", "was changed or removed while the run was writing"]);
    run_without_workers(&place);
    assert_eq!(place.outputs("out"), sweep.undisturbed());
}

#[test]
fn a_manifest_that_is_damaged_or_lost_is_written_anew() {
    for spoil in ["{", "", "removed"] {
        let place = finished();
        let path = place.path("out/manifest.json");
        match spoil {
            "removed" => fs::remove_file(&path).expect("removed"),
            text => fs::write(&path, text).expect("written"),
        }
        // A copy has no valid stamps, so only hashes identify the files.
        copy(&place.path("out"), &place.path("copied"));
        for out in ["out", "copied"] {
            refused(&place, &["run", "tiny.yaml", "--out", out, "--store", "junk/x"], &["junk/x"]);
            place.run(&["run", "tiny.yaml", "--out", out]).succeeded();
            place.run(&["verify", out]).succeeded();
            assert_eq!(place.trials(out), Trials { computed: 0, reused: 16 }, "{spoil}");
        }
        place.write("named.yaml", tiny().to_yaml().replace("name: test", "name: b"));
        fs::remove_file(&path).expect("removed");
        refused(&place, &["run", "named.yaml", "--out", "out"], &["holds another sweep, `test`"]);
    }
}

/// Figures of two sweeps in one directory.
#[test]
fn figures_of_another_sweep_are_not_replaced() {
    let place = finished();
    place.write("b.yaml", other().to_yaml().replace("name: test", "name: b"));
    place.run(&["run", "b.yaml", "--out", "b"]).succeeded();
    place.run(&["figures", "out", "--to", "pictures"]).succeeded();
    let before = tree(&place, "pictures");
    place
        .run(&["figures", "b", "--to", "pictures"])
        .failed_with(2, &["a figure of this sweep by granule", "--force"]);
    assert!(tree(&place, "pictures") == before);
    place.run(&["figures", "nothere"]).failed_with(2, &[]);
    assert!(!place.path("nothere").exists(), "a refused command makes nothing");
    fs::create_dir(place.path("elsewhere")).expect("made");
    symlink("../elsewhere", place.path("out/figures")).expect("a link");
    refused(&place, &["figures", "out"], &["out/figures is a symbolic link", "--to"]);
}

/// An output directory of version 0.1.0 with a condition that is not a preset.
#[test]
fn the_shorter_default_removes_no_file() {
    let place = Place::new();
    let own = Sweep { conditions: vec!["Control", "{ name: mine, base: ACh }"], ..tiny() };
    place.sweep("tiny.yaml", &own);
    run(&place, &[]).succeeded();
    let all = place.outputs("out");
    assert!(all.contains_key("seed-1/mineCondE.npy"));
    fs::remove_file(place.path("out/.outputs.stamps.json")).expect("removed");
    // A sweep file of version 0.1.0 has no `record` key.
    let short = Sweep { record: "{}", ..own.clone() };
    place.sweep("tiny.yaml", &short);
    assert!(run_without_workers(&place).stdout.contains("already complete"));
    place.sweep("tiny.yaml", &Sweep { trials: 5, ..short.clone() });
    run(&place, &[]).succeeded();
    assert_eq!(place.outputs("out"), Sweep { trials: 5, ..own }.undisturbed());
    // A new directory gets fewer files, and explicitly excluded files are removed.
    place.run(&["run", "tiny.yaml", "--out", "new"]).succeeded();
    assert!(
        !place.path("new/seed-1/mineCondE.npy").exists() && place.path("new/seed-1/mineWeights.npy").exists()
    );
    place.sweep("tiny.yaml", &Sweep { record: "{ probabilities: false }", ..short });
    run(&place, &[]).succeeded();
    assert!(!place.outputs("out").keys().any(|name| name.contains("SpikeProb")));
}
