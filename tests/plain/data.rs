//! The commands around a sweep: plan, explain, status at rest, verify, reproduce, stores, export. The commands of their
//! page run line by line.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

use granule_engine::Spike;
use granule_granular::derive::SpikeCounts;
use granule_granular::{ENGINES, layer_of};
use granule_sweep::{Overrides, parse};
use nix::sys::signal::Signal;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::RowAccessor;
use serde_json::Value;

use crate::support::{self, Ended, Place, Sweep, Trials, expected, root, sha256};

/// The JSON report of a command.
fn json(ended: &Ended) -> Value {
    let mut lines = ended.stdout.lines();
    let report = serde_json::from_str(lines.next().expect("a line")).expect("JSON");
    assert_eq!(lines.next(), None, "one object on one line");
    report
}

fn report(place: &Place, arguments: &[&str]) -> Value {
    let ended = place.run(&[arguments, &["--json"]].concat()).succeeded();
    assert_eq!(ended.stderr, "", "{arguments:?}");
    json(&ended)
}

/// A directory in which this sweep has been run.
fn finished(sweep: &Sweep<'_>) -> Place {
    let place = Place::new();
    place.sweep("sweep.yaml", sweep);
    place.run(&["run", "sweep.yaml", "--out", "out", "--workers", "2"]).succeeded();
    place
}

/// Flips a bit in the spikes of one trial, in a store of this number of trials.
fn damage(place: &Place, store: &str, trials: u64) {
    // With a frame after them, damage to these trials does not look like an unfinished write.
    place.sweep(
        "other.yaml",
        &Sweep { seeds: vec![99], trials: 1, conditions: vec!["Control"], ..Sweep::small() },
    );
    place.run(&["run", "other.yaml", "--out", "other", "--store", store, "--workers", "1"]).succeeded();
    let whole = fs::read(place.path(store)).expect("the store");
    for block in 1..whole.len() / 4096 {
        for at in (161..1500).step_by(37) {
            let mut spoilt = whole.clone();
            spoilt[block * 4096 + at] ^= 1;
            fs::write(place.path(store), spoilt).expect("it can be written");
            let found = json(&place.run(&["store", "verify", store, "--json"]));
            let damaged = found["trials_damaged"].as_array().expect("a list").len();
            if damaged == 1 && found["trials"] == trials && found["unfinished_bytes"] == 0 {
                return;
            }
        }
    }
    panic!("no bit whose damage costs one trial");
}

const WITHOUT_WORKERS: [&str; 2] = ["--worker-program", "/nowhere/to-be-found"];

/// A manifest is text, so it cannot name such a store.
#[test]
fn a_store_whose_path_is_no_text() {
    let place = Place::new();
    place.sweep("x.yaml", &Sweep::small());
    let odd = place.path("").join(OsStr::from_bytes(b"od\xffd"));
    fs::create_dir(&odd).expect("the file system takes any bytes");
    let run = |out: &Path, store: &Path| {
        let mut command = place.granule(&["run", "x.yaml", "--out"]);
        command.arg(out).arg("--store").arg(store);
        place.start_this(command).end()
    };
    let refused = run(Path::new("out"), &odd.join("s.granule"));
    refused.failed_with(2, &["od\u{fffd}d/s.granule is not UTF-8", "help: put it into the output directory"]);
    // Below the output directory, the manifest has the path relative to that directory.
    run(&odd, &odd.join("s.granule")).succeeded();
    let mut verify = place.granule(&["verify"]);
    place
        .start_this({
            verify.arg(&odd);
            verify
        })
        .end()
        .succeeded();
}

#[test]
fn halves_from_two_machines_are_the_whole() {
    let whole = Sweep { seeds: vec![7, 451], trials: 4, ..Sweep::small() };
    let place = Place::new();
    place.sweep("whole.yaml", &whole);
    // Parts by seed and by condition, which overlap.
    place.sweep("a.yaml", &Sweep { seeds: vec![7], ..whole.clone() });
    place.sweep("b.yaml", &Sweep { conditions: vec!["ACh", "Control"], ..whole.clone() });
    place.sweep("c.yaml", &Sweep { conditions: vec!["GABAzine"], seeds: vec![451], ..whole.clone() });
    for name in ["a", "b", "c"] {
        let (file, store) = (format!("{name}.yaml"), format!("{name}.granule"));
        place.run(&["run", &file, "--out", name, "--store", &store, "--workers", "2"]).succeeded();
        assert!(!place.path(&format!("{name}/store.granule")).exists());
        let noted = place.manifest(name)["run"]["store"].as_str().expect("a path").to_owned();
        assert!(Path::new(&noted).is_absolute() && noted.ends_with(&store), "{noted}");
        // Other commands find the store at that path.
        report(&place, &["verify", name]);
    }
    let merged = report(&place, &["store", "merge", "all.granule", "a.granule", "b.granule", "c.granule"]);
    assert_eq!((merged["trials_added"].as_u64(), merged["trials"].as_u64()), (Some(24), Some(24)));
    assert!(merged["spans_added"].as_u64() > Some(0), "{merged}");
    let arguments = ["run", "whole.yaml", "--out", "whole", "--store", "all.granule"];
    place.run(&[&arguments[..], &WITHOUT_WORKERS].concat()).succeeded();
    assert_eq!(place.trials("whole"), Trials { computed: 0, reused: 24 });
    assert_eq!(place.outputs("whole"), whole.undisturbed());

    // After pruning, the store has only the kept trials.
    let before = fs::read(place.path("all.granule")).unwrap();
    let prune = ["store", "prune", "all.granule", "--keep", "a.yaml", "c.yaml"];
    let dry = report(&place, &[&prune[..], &["--dry-run"]].concat());
    assert!(fs::read(place.path("all.granule")).unwrap() == before);
    let done = report(&place, &prune);
    for pruned in [&dry, &done] {
        assert_eq!(pruned["trials_kept"], 16, "{pruned}");
        assert_eq!(pruned["trials_dropped"], 8, "{pruned}");
    }
    assert_eq!(done["bytes_after"], place.length("all.granule"));
    assert!(place.length("all.granule") < before.len() as u64);
    assert!(!place.path("all.granule.unfinished").exists());
    let arguments = ["run", "whole.yaml", "--out", "again", "--store", "all.granule", "--workers", "2"];
    place.run(&arguments).succeeded();
    assert_eq!(place.trials("again"), Trials { computed: 8, reused: 16 });
    assert_eq!(place.outputs("again"), place.outputs("whole"));
    place
        .run(&["store", "merge", "x.granule", "nowhere"])
        .failed_with(2, &["nowhere does not exist; expected a store"]);
    for arguments in [&["prune", "nowhere", "--keep", "a.yaml"][..], &["verify", "nowhere"]] {
        place
            .run(&[&["store"], arguments].concat())
            .failed_with(2, &["nowhere does not exist; expected a store"]);
    }
}

#[test]
fn what_is_no_store_is_called_what_it_is() {
    let place = finished(&Sweep::small());
    fs::create_dir(place.path("empty")).expect("a directory");
    let before = place.outputs("out");
    let refused = |arguments: &[&str], code: i32, told: &str| {
        let ended = place.run(arguments).failed_with(code, &[told]);
        // These files belong to the user.
        assert!(!ended.stderr.contains("ove it away"), "{ended:#?}");
    };
    let meant = "error: out is a directory; expected a store\n  help: did you mean out/store.granule?";
    for arguments in [
        &["store", "merge", "m.granule", "out"][..],
        &["store", "merge", "out", "out/store.granule"],
        &["store", "verify", "out"],
        &["store", "prune", "out", "--keep", "sweep.yaml"],
        &["run", "sweep.yaml", "--out", "other", "--store", "out"],
        &["plan", "sweep.yaml", "--store", "out"],
    ] {
        refused(arguments, 2, meant);
    }
    refused(
        &["store", "verify", "empty"],
        2,
        "empty is a directory; expected a store\n  help: name a file; ",
    );
    for (file, kind) in [
        ("sweep.yaml", "it is text, perhaps a sweep file"),
        ("out/manifest.json", "it is text, perhaps JSON"),
        ("out/seed-451/controlCondE.npy", "it is a numpy array"),
    ] {
        let told = format!("{file} is not a readable store: {kind}\n");
        refused(&["store", "merge", "m.granule", file], 1, &told);
        refused(&["store", "verify", file], 1, &told);
        refused(&["store", "prune", file, "--keep", "sweep.yaml"], 1, &told);
        refused(&["run", "sweep.yaml", "--out", "other", "--store", file], 1, &told);
    }
    assert!(!place.path("m.granule").exists());
    assert_eq!(place.outputs("out"), before);
}

/// A variable of the original program may be set by accident. It must not drop trials that the file alone would keep.
#[test]
fn overrides_make_prune_drop_nothing() {
    let place = finished(&Sweep { trials: 4, ..Sweep::small() });
    let prune = |file: &str, variable: &str, value: &str| {
        let mut command =
            place.granule(&["store", "prune", "out/store.granule", "--keep", file, "--json", "--dry-run"]);
        command.env(variable, value);
        place.start_this(command).end().succeeded()
    };
    let counts = |ended: &Ended| {
        let told = json(ended);
        (told["trials_kept"].as_u64(), told["trials_dropped"].as_u64())
    };
    for (variable, value) in [
        ("CHAT_NUM_TRIAL", "1"),
        ("CHAT_SEED_TRIAL", "7"),
        ("CHAT_NUM_GRC", "40"),
        ("CHAT_RANDOM_WEIGHTS", ""),
    ] {
        let ended = prune("sweep.yaml", variable, value);
        assert_eq!(counts(&ended), (Some(12), Some(0)), "{variable}");
        assert!(
            ended.stderr.contains("note: trials of sweep.yaml without the overrides are kept as well"),
            "{ended:#?}"
        );
    }
    // Nor does it drop trials that were computed with it.
    place.sweep("less.yaml", &Sweep { trials: 2, ..Sweep::small() });
    assert_eq!(counts(&prune("less.yaml", "CHAT_NUM_TRIAL", "3")), (Some(9), Some(3)));
    // A variable that changes nothing has no effect.
    let ended = prune("less.yaml", "CHAT_NUM_TRIAL", "2");
    assert_eq!(counts(&ended), (Some(6), Some(6)));
    assert!(!ended.stderr.contains("without the overrides"), "{ended:#?}");
}

#[test]
fn one_run_at_a_time_has_an_output_directory_wherever_its_store_is() {
    let place = Place::new();
    place.sweep("sweep.yaml", &Sweep::slow());
    let run = ["run", "sweep.yaml", "--out", "out", "--workers", "2", "--shard-trials", "1"];
    let mut first = place.start(&[&run[..], &["--store", "a.granule"]].concat());
    first.until("trials are stored", |_| (place.length("a.granule") > 16 * 4096).then_some(()));
    let status = report(&place, &["status", "out"]);
    assert_eq!((status["type"].as_str(), status["state"].as_str()), (Some("snapshot"), Some("computing")));
    assert!(status["trials"]["stored"].as_u64() > Some(0), "{status}");
    for store in [&["--store", "b.granule"][..], &[]] {
        place
            .run(&[&run[..], store].concat())
            .failed_with(1, &["is in use by another granule process", "wait until"]);
    }
    for reader in [&["export", "out", "--to", "x.csv"][..], &["store", "verify", "a.granule"]] {
        place.run(reader).failed_with(1, &["is in use by another granule process"]);
    }
    place.run(&["verify", "out"]).failed_with(3, &["the sweep in out is not complete"]);
    first.signal(Signal::SIGINT);
    first.end().failed_with(130, &[]);

    let status = report(&place, &["status", "out"]);
    assert_eq!(status["state"], "interrupted");
    let stored = status["trials"]["stored"].as_u64().expect("a number");
    assert!((1..180).contains(&stored), "{status}");
    assert_eq!(status["trials"]["total"], 180);
    assert_eq!(status["last_run"], Value::Null);
    let text = place.run(&["status", "out"]).succeeded().stdout;
    assert!(
        text.contains(&format!("\ntest: interrupted; run the same command to resume, {stored} of 180 ")),
        "{text}"
    );
    // Stored trials can be inspected, and missing trials are reported.
    place
        .run(&["export", "out", "--to", "x.csv"])
        .failed_with(3, &["is not stored\n  help: run the sweep to its end"]);
    assert!(!place.path("x.csv").exists());
    let planned = report(&place, &["plan", "sweep.yaml", "--out", "out", "--store", "a.granule"]);
    assert_eq!((planned["stored"].as_u64(), planned["missing"].as_u64()), (Some(stored), Some(180 - stored)));
    // Without --store, `plan` reads the recorded store, as `run` does.
    assert_eq!(report(&place, &["plan", "sweep.yaml", "--out", "out"])["stored"], stored);
    let explained = report(&place, &["explain", "sweep.yaml", "--out", "out", "--store", "a.granule"]);
    assert_eq!(explained["reused"], stored);
    assert!(explained["entries"].as_array().unwrap().iter().any(|entry| entry["why"] == "not_stored"));
}

#[test]
fn a_directory_at_rest_tells_what_was_made() {
    let place = finished(&Sweep { seeds: vec![451, 5], ..Sweep::small() });
    let status = report(&place, &["status", "out"]);
    assert_eq!(status["state"], "complete");
    assert_eq!(status["trials"], serde_json::json!({ "total": 18, "stored": 18 }));
    assert_eq!(status["last_run"], place.manifest("out")["run"]);
    let pair = |status: &Value, at: usize| status["pairs"][at].clone();
    assert_eq!(
        pair(&status, 5),
        serde_json::json!({ "condition": "ACh", "seed": 5, "total": 3, "stored": 3, "set_aside": 0, "files": 6, "files_in_place": 6 })
    );
    fs::remove_file(place.path("out/seed-5/tonicReduction.npy")).unwrap();
    let status = report(&place, &["status", "out"]);
    assert_eq!(
        (status["state"].as_str(), pair(&status, 5)["files_in_place"].as_u64()),
        (Some("incomplete"), Some(5))
    );
    // A directory without a sweep is an error.
    fs::create_dir(place.path("empty")).unwrap();
    place
        .run(&["status", "empty"])
        .failed_with(2, &["empty is not an output directory of granule", "help: "]);
    // A killed coordinator leaves its access file, but does not answer.
    let mut served = place.start(&["serve", "sweep.yaml", "--out", "served", "--listen", "127.0.0.1:0"]);
    served.until("workers can come", |running| running.stderr().contains("to add workers: ").then_some(()));
    served.signal(Signal::SIGKILL);
    served.end();
    assert!(place.path("served/access.json").exists());
    assert_eq!(report(&place, &["status", "served"])["state"], "interrupted");
    place
        .run(&["status", "--access", "nowhere.json", "--follow"])
        .failed_with(1, &["no coordinator is running here", "help: "]);
}

#[test]
fn whatever_is_not_as_it_was_is_found() {
    let check = |what: &str, problem: &str, spoil: &dyn Fn(&Place)| {
        let place = finished(&Sweep::small());
        let good = report(&place, &["verify", "out", "--all"]);
        assert_eq!((good["files"].as_u64(), good["files_derived"].as_u64()), (Some(16), Some(16)));
        assert_eq!((good["trials"].as_u64(), good["problems"].as_array().unwrap().len()), (Some(9), 0));
        spoil(&place);
        let ended = place.run(&["verify", "out", "--json"]).failed_with(3, &["error: 1 problem with out"]);
        let found = json(&ended);
        assert_eq!(found["problems"][0]["problem"], problem, "{what}: {found}");
        // With `--files-only`, problems with the store do not count.
        let code = place.run(&["verify", "out", "--files-only"]).code;
        assert_eq!(code == Some(0), ["no_store", "trial_damaged"].contains(&problem), "{what}");
        place.run(&["run", "sweep.yaml", "--out", "out", "--workers", "2"]).succeeded();
    };
    let array = "out/seed-451/gabaCondI.npy";
    check("a file deleted", "missing", &|place| fs::remove_file(place.path(array)).unwrap());
    check("a bit flipped", "changed", &|place| {
        let mut bytes = fs::read(place.path(array)).unwrap();
        bytes[5000] ^= 4;
        fs::write(place.path(array), bytes).unwrap();
    });
    check("a file cut short", "changed", &|place| {
        File::options().write(true).open(place.path(array)).unwrap().set_len(100).unwrap();
    });
    check("an array of somebody else", "foreign", &|place| {
        place.write("out/seed-451/mine.npy", "");
    });
    check("no store", "no_store", &|place| fs::remove_file(place.path("out/store.granule")).unwrap());
    check("a damaged trial", "trial_damaged", &|place| damage(place, "out/store.granule", 9));
}

/// Files that differ from those of the stored spikes are a problem.
#[test]
fn files_that_the_spikes_do_not_give_are_found() {
    let place = finished(&Sweep::small());
    let mut manifest = place.manifest("out");
    let path = "seed-451/randomized_achSpikeProb.npy";
    let mut bytes = fs::read(place.path(&format!("out/{path}"))).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    let file = place.write(&format!("out/{path}"), bytes);
    let files = manifest["files"].as_array_mut().unwrap();
    let record = files.iter_mut().find(|record| record["path"] == path).unwrap();
    record["sha256"] = support::sha256(&file).into();
    place.write("out/manifest.json", manifest.to_string());
    let found = json(&place.run(&["verify", "out", "--json"]).failed_with(3, &[]));
    assert_eq!(
        (&found["problems"][0]["problem"], &found["problems"][0]["what"]),
        (&"differs".into(), &path.into())
    );
    place.run(&["verify", "out", "--files-only"]).succeeded();
}

#[test]
fn trials_come_out_again_as_they_are_stored() {
    let place = finished(&Sweep { seeds: vec![451, 9], trials: 40, network: [60, 256, 7], ..Sweep::small() });
    for (condition, seed, trial) in [("Control", "451", "0"), ("GABAzine", "9", "39"), ("ACh", "451", "23")] {
        let place_of = ["--condition", condition, "--seed", seed, "--trial", trial];
        let same = report(&place, &[&["reproduce", "out"][..], &place_of].concat());
        assert_eq!(same["result"], "same", "{same}");
        assert_eq!(same["computed"], same["stored"]);
        assert_eq!(same["difference"], Value::Null);
    }
    let wrong = |arguments: [&str; 3], part: &str| {
        let [condition, seed, trial] = arguments;
        let place_of = ["reproduce", "out", "--condition", condition, "--seed", seed, "--trial", trial];
        place.run(&place_of).failed_with(2, &[part]);
    };
    wrong(["Contrl", "451", "0"], "did you mean `Control`? the conditions are Control, GABAzine, ACh");
    wrong(["Control", "450", "0"], "has no seed 450\n  help: it has 451,9");
    wrong(
        ["Control", "451", "40"],
        "has no trial 40\n  help: it has 40 trials, counted from 0: choose one of 0..39",
    );
    // An edited manifest does not count as the sweep that was run.
    let mut manifest = place.manifest("out");
    manifest["sweep"]["conditions"][0]["parameters"]["golgi.leak_reversal"] = "-53 mV".into();
    place.write("out/manifest.json", manifest.to_string());
    let place_of = ["reproduce", "out", "--condition", "ACh", "--seed", "9", "--trial", "1"];
    place.run(&place_of).failed_with(1, &["cannot use the sweep in out", "condition Control"]);
}

#[test]
fn names_and_sizes_of_a_hostile_manifest_reach_no_file() {
    let place = finished(&Sweep { conditions: vec!["Control", "{ name: mine }"], ..Sweep::small() });
    let original = place.manifest("out");
    let hostile = |path: &str, value: Value, why: &str| {
        let mut manifest = original.clone();
        *manifest.pointer_mut(path).expect("it is there") = value;
        place.write("out/manifest.json", manifest.to_string());
        for arguments in [
            &["figures", "out"][..],
            &["report", "out"],
            &["export", "out", "--to", "spikes.csv"],
            &["verify", "out"],
            &["status", "out"],
            &["reproduce", "out", "--condition", "Control", "--seed", "451", "--trial", "0"],
        ] {
            place.run(arguments).failed_with(1, &["cannot use the sweep in out", why]);
        }
        let found: Vec<_> =
            fs::read_dir(place.path("out")).unwrap().map(|of| of.unwrap().file_name()).collect();
        assert_eq!(found.len(), 4, "{found:?}");
        assert!(!place.path("spikes.csv").exists() && !place.path("x").exists());
    };
    let own = "/sweep/conditions/1";
    for (name, why) in [
        ("=HYPERLINK(\"http://x\",\"y\")", "`=HYPERLINK(\"http://x\",\"y\")` has others"),
        ("NA", "cannot be `NA`: pandas reads it as a missing value"),
        ("../../x", "`../../x` has others"),
        ("<script>", "`<script>` has others"),
    ] {
        hostile(&format!("{own}/name"), name.into(), why);
    }
    hostile(&format!("{own}/prefix"), "../../x".into(), "start with \"../../x\"; expected \"mine\"");
    hostile("/sweep/name", "../../x".into(), "a sweep's name can have letters");
    hostile("/sweep/seeds", vec![451, 451].into(), "seed 451 occurs twice");
    hostile("/sweep/trials", 4_000_000_000_u32.into(), "asks for 4000000000 trials");
    place.write("out/manifest.json", original.to_string());
    place.run(&["verify", "out"]).succeeded();
}

#[test]
fn a_plan_says_what_a_sweep_asks_for() {
    let place = Place::new();
    let conditions =
        vec!["Control", "{ name: again, base: Control }", "{ name: x, set: { network.granule_cells: 40 } }"];
    let sweep = Sweep { conditions, seeds: vec![1, 2], ..Sweep::small() };
    place.sweep("sweep.yaml", &sweep);
    let plan = report(&place, &["plan", "sweep.yaml"]);
    // Files that are not recorded take no space.
    place.sweep("few.yaml", &Sweep { record: "{ probabilities: true, conductances: false }", ..sweep });
    let few = report(&place, &["plan", "few.yaml"]);
    fs::remove_file(place.path("few.yaml")).unwrap();
    let number =
        |plan: &Value, name: &str| plan[name].as_u64().unwrap_or_else(|| panic!("no {name} in {plan}"));
    for (name, value) in [
        ("conditions", 3),
        ("seeds", 2),
        ("trials_each", 3),
        ("trials_asked", 18),
        ("trials", 12),
        ("stored", 0),
        ("missing", 12),
        ("conditions_computed_once", 1),
        ("cohorts", 4),
        ("output_files", 30),
        ("files_to_write", 30),
    ] {
        assert_eq!(number(&plan, name), value, "{name}");
    }
    assert!(plan["core_seconds"].as_f64().is_some_and(|time| time > 0.0 && time < 60.0), "{plan}");
    let seconds = |plan: &Value, at: usize| plan["writing_seconds"][at].as_f64().expect("a number");
    assert!(
        0.0 < seconds(&plan, 0) && seconds(&plan, 0) < seconds(&plan, 1) && seconds(&plan, 1) < 1.0,
        "{plan}"
    );
    let text = place.run(&["plan", "sweep.yaml"]).succeeded().stdout;
    assert!(text.contains("\nwriting: 30 files (30 new), each flushed to disk: about "), "{text}");
    assert_eq!(fs::read_dir(place.path("")).unwrap().count(), 1, "nothing is written");

    place.run(&["run", "sweep.yaml", "--workers", "2"]).succeeded();
    let after = report(&place, &["plan", "sweep.yaml"]);
    assert_eq!((number(&after, "stored"), number(&after, "missing"), number(&after, "shards")), (12, 0, 0));
    assert_eq!((after["core_seconds"].as_f64(), number(&after, "store_bytes")), (Some(0.0), 0));
    assert_eq!((number(&after, "files_to_write"), seconds(&after, 1)), (0, 0.0));
    let text = place.run(&["plan", "sweep.yaml"]).succeeded().stdout;
    assert!(text.contains("\nwriting: nothing; all files are up to date\n"), "{text}");
    // The plan's numbers are those of the written files.
    let files = place.manifest("out/test")["files"].as_array().unwrap().clone();
    let written: u64 = files.iter().map(|file| file["bytes"].as_u64().unwrap()).sum();
    assert_eq!(files.len() as u64, number(&plan, "output_files"));
    let conductances = files.iter().filter(|file| file["path"].as_str().unwrap().contains("Cond"));
    let conductances: u64 = conductances.map(|file| file["bytes"].as_u64().unwrap()).sum();
    let said = number(&few, "output_bytes");
    let left = written - conductances;
    assert!(said > left * 8 / 10 && said < left * 12 / 10, "{said} said, {left} without conductances");
    let said = number(&plan, "output_bytes");
    assert!(said > written * 8 / 10 && said < written * 12 / 10, "{said} said, {written} written");
}

#[test]
fn a_large_sweep_is_planned_in_no_time() {
    let place = Place::new();
    let conditions: Vec<String> =
        (0..200).map(|i| format!("{{ name: c{i}, set: {{ granule.tonic_factor: 0.{i:03} }} }}")).collect();
    let sweep = Sweep {
        network: [315, 4096, 27],
        conditions: conditions.iter().map(String::as_str).collect(),
        seeds: (0..20).collect(),
        trials: 50,
        ..Sweep::small()
    };
    place.sweep("sweep.yaml", &sweep);
    // The command needs less than a second of processor time. The limit has whole seconds.
    let granule = place.granule(&["plan", "sweep.yaml", "--json"]);
    let mut shell = place.command("/bin/sh");
    shell.args(["-c", "ulimit -t 2; exec \"$0\" \"$@\""]).arg(granule.get_program()).args(granule.get_args());
    let ended = Ended::from(shell.output().expect("a shell")).succeeded();
    let plan = json(&ended);
    assert_eq!((plan["trials"].as_u64(), plan["cohorts"].as_u64()), (Some(200_000), Some(20 * 13)));
}

#[test]
fn why_trials_are_computed_is_explained() {
    let place = Place::new();
    let explain = |sweep: &Sweep<'_>, more: &[&str]| {
        place.sweep("sweep.yaml", sweep);
        report(&place, &[&["explain", "sweep.yaml", "--out", "out"][..], more].concat())
    };
    let whys = |report: &Value| -> Vec<(String, u64, String, u64)> {
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let number = |value: &Value| value.as_u64().expect("a number");
        let of = |entry: &Value| {
            (text(&entry["condition"]), number(&entry["seed"]), text(&entry["why"]), number(&entry["count"]))
        };
        report["entries"].as_array().expect("entries").iter().map(of).collect()
    };
    let entry = |condition: &str, seed, why: &str, count| (condition.to_owned(), seed, why.to_owned(), count);
    let base = Sweep { conditions: vec!["Control", "{ name: mine, base: ACh }"], ..Sweep::small() };
    let fresh = explain(&base, &[]);
    assert_eq!(
        whys(&fresh),
        [entry("Control", 451, "nothing_known", 3), entry("mine", 451, "nothing_known", 3)]
    );
    assert!(!place.path("out").exists());
    place.run(&["run", "sweep.yaml", "--out", "out", "--workers", "2"]).succeeded();
    assert_eq!(
        whys(&explain(&base, &[])),
        [entry("Control", 451, "stored", 3), entry("mine", 451, "stored", 3)]
    );

    let more = Sweep { trials: 5, seeds: vec![451, 8], ..base.clone() };
    let explained = explain(&more, &["--condition", "Control"]);
    assert_eq!(
        whys(&explained),
        [
            entry("Control", 451, "stored", 3),
            entry("Control", 451, "new_trial", 2),
            entry("Control", 8, "new_seed", 5)
        ]
    );
    assert_eq!(explained["entries"][1]["trials"], serde_json::json!([[3, 4]]));
    let one = explain(&more, &["--condition", "mine", "--seed", "451", "--trial", "4"]);
    assert_eq!(whys(&one), [entry("mine", 451, "new_trial", 1)]);
    assert_eq!((one["reused"].as_u64(), one["to_compute"].as_u64()), (Some(0), Some(1)));

    // A changed parameter, a parameter that does not affect spikes, and a new condition near an old one.
    let conditions = vec![
        "{ name: mine, set: { golgi.leak_reversal: -53 mV, mossy_to_golgi.weight: 1 nS }, base: ACh }",
        "{ name: near, base: Control, set: { granule.tonic_factor: 0.5 } }",
        "{ name: idle, base: Control, set: { mossy_to_golgi.weight: 1 nS } }",
    ];
    let explained = explain(&Sweep { conditions, ..base.clone() }, &[]);
    assert_eq!(
        whys(&explained),
        [
            entry("mine", 451, "parameters", 3),
            entry("near", 451, "parameters", 3),
            entry("idle", 451, "stored", 3)
        ]
    );
    let change =
        |path: &str, old: &str, new: &str| serde_json::json!([{ "parameter": path, "old": old, "new": new }]);
    assert_eq!(explained["entries"][0]["changes"], change("golgi.leak_reversal", "-55 mV", "-53 mV"));
    assert_eq!(explained["entries"][1]["changes"], change("granule.tonic_factor", "1", "0.5"));
    assert_eq!(explained["entries"][1]["nearest"], "Control");
    // In another directory, with the same store: trials that the store lacks are missing.
    let elsewhere = ["explain", "sweep.yaml", "--out", "fresh", "--store", "out/store.granule"];
    let text = place.run(&elsewhere).succeeded().stdout;
    let missing = "trials 0..2: to compute: not in the store, and there is no earlier sweep to compare with";
    assert_eq!(
        text,
        format!(
            "  mine, near, seed 451, {missing}\n  idle, seed 451, trials 0..2: reused: stored with the same key\n\
             test: 3 trials reused, 6 to be computed\n"
        )
    );
    let text = place.run(&["explain", "sweep.yaml", "--out", "out"]).succeeded().stdout;
    let line = "mine, seed 451, trials 0..2: to compute: different parameters from those of mine: \
        golgi.leak_reversal -55 mV -> -53 mV";
    assert!(text.contains(line), "{text}");

    // A trial that was set aside, a damaged trial, and a trial of another engine revision.
    damage(&place, "out/store.granule", 6);
    let whys_now = whys(&explain(&base, &[]));
    assert_eq!(whys_now.iter().filter(|of| of.2 == "damaged").map(|of| of.3).collect::<Vec<_>>(), [1]);
    let mut manifest = place.manifest("out");
    manifest["set_aside"] =
        serde_json::json!([{ "condition": "mine", "seed": 451, "trial": 1, "reason": "it kills" }]);
    place.write("out/manifest.json", manifest.to_string());
    fs::remove_file(place.path("out/store.granule")).unwrap();
    let mine = explain(&base, &["--condition", "mine"]);
    assert_eq!(whys(&mine), [entry("mine", 451, "set_aside", 1), entry("mine", 451, "not_stored", 2)]);
    manifest["sweep"]["engine_revision"] = 0.into();
    place.write("out/manifest.json", manifest.to_string());
    let engine = explain(&base, &["--trial", "0"]);
    assert_eq!(whys(&engine), [entry("Control", 451, "engine", 1), entry("mine", 451, "engine", 1)]);
    assert!(engine["entries"][0]["text"].as_str().unwrap().contains("revision 0 -> "), "{engine}");
}

#[test]
fn seeds_of_which_the_same_can_be_said_share_a_line() {
    let place = Place::new();
    let seeds: Vec<u32> = (1..=20).chain([451]).collect();
    let sweep = Sweep {
        seeds,
        trials: 1,
        network: [40, 16, 5],
        conditions: vec!["Control"],
        engine: "pcg",
        ..Sweep::small()
    };
    place.sweep("sweep.yaml", &sweep);
    place.run(&["run", "sweep.yaml", "--out", "out", "--workers", "2"]).succeeded();
    fs::remove_file(place.path("out/seed-7/controlCondE.npy")).expect("it is there");
    let text = place.run(&["status", "out"]).succeeded().stdout;
    let lines: Vec<String> =
        text.lines().take(2).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let expected =
        ["Control seeds 1..6,8..20,451 1/1 stored 5/5 files, each", "Control seed 7 1/1 stored 4/5 files"];
    assert_eq!(lines, expected, "{text}");
    assert_eq!(report(&place, &["status", "out"])["pairs"].as_array().map(Vec::len), Some(21));

    place.sweep("sweep.yaml", &Sweep { trials: 3, seeds: (1..=25).collect(), ..sweep });
    let explain = |more: &[&str]| {
        let ended = place.run(&[&["explain", "sweep.yaml", "--out", "out"], more].concat()).succeeded();
        let mut lines: Vec<String> = ended.stdout.lines().map(str::to_owned).collect();
        assert!(lines.pop().is_some_and(|sum| sum.starts_with("test: ")));
        lines
    };
    let (stored, fewer) = (
        "trial 0: reused: stored with the same key",
        "trials 1..2: to compute: the last sweep had fewer trials",
    );
    let new = "trials 0..2: to compute: the last sweep did not have this seed";
    assert_eq!(
        explain(&[]),
        [
            format!("  Control, seeds 1..20, {stored}"),
            format!("  Control, seeds 1..20, {fewer}"),
            format!("  Control, seeds 21..25, {new}")
        ]
    );
    assert_eq!(explain(&["--condition", "Control"]).len(), 2 * 20 + 5);
    assert_eq!(explain(&["--seed", "22"]), [format!("  Control, seed 22, {new}")]);
    let explained = report(&place, &["explain", "sweep.yaml", "--out", "out"]);
    assert_eq!(explained["entries"].as_array().map(Vec::len), Some(2 * 20 + 5));
}

/// A row of a table: one spike.
#[derive(Clone, Debug, PartialEq, PartialOrd)]
struct Row {
    condition: String,
    seed: u32,
    trial: u32,
    population: String,
    cell: u32,
    time_ms: f64,
}

fn parquet_rows(path: &Path) -> Vec<Row> {
    let reader = SerializedFileReader::new(File::open(path).expect("the table")).expect("Parquet");
    let rows = reader.get_row_iter(None).expect("rows");
    rows.map(|row| {
        let row = row.expect("a row");
        Row {
            condition: row.get_string(0).unwrap().clone(),
            seed: row.get_uint(1).unwrap(),
            trial: row.get_uint(2).unwrap(),
            population: row.get_string(3).unwrap().clone(),
            cell: row.get_uint(4).unwrap(),
            time_ms: row.get_double(5).unwrap(),
        }
    })
    .collect()
}

fn csv_rows(path: &Path) -> Vec<Row> {
    let mut reader = csv::Reader::from_path(path).expect("the table");
    let header = reader.headers().expect("a header").iter().collect::<Vec<_>>().join(",");
    assert_eq!(header, "condition,seed,trial,population,cell,time_ms");
    let row = |record: csv::StringRecord| Row {
        condition: record[0].to_owned(),
        seed: record[1].parse().unwrap(),
        trial: record[2].parse().unwrap(),
        population: record[3].to_owned(),
        cell: record[4].parse().unwrap(),
        time_ms: record[5].parse().unwrap(),
    };
    reader.records().map(|record| row(record.expect("a row"))).collect()
}

/// The elements of an array of float64.
fn f64_array(path: &Path) -> Vec<f64> {
    let bytes = fs::read(path).expect("an array");
    let (elements, []) = bytes[128..].as_chunks::<8>() else { panic!("no whole elements") };
    elements.iter().map(|&element| f64::from_le_bytes(element)).collect()
}

#[test]
fn the_table_of_the_published_sweep_has_the_spikes_of_its_files() {
    let place = Place::new();
    let file = root().join("sweeps/ci-10trials.yaml");
    let file = file.to_str().expect("text");
    place.run(&["run", file, "--out", "out", "--workers", "2"]).succeeded();
    assert_eq!(place.hashes("out/seed-451"), expected(include_str!("../expected/ci-10trials.sha256")));
    let told = report(&place, &["export", "out", "--to", "spikes.parquet"]);
    let rows = parquet_rows(&place.path("spikes.parquet"));
    assert_eq!(told["tables"][0]["rows"], rows.len());
    assert_eq!(told["tables"][0]["bytes"], place.length("spikes.parquet"));

    // Spike by spike, the table equals the recording of the original program: trial, cell and step of every granule
    // spike, ascending, a line each.
    for (condition, recorded) in [
        ("Control", "e30b66f225ac082b80c1e00ec70f5ac55139b4afefb8e9cb224c520b9f4384dd"),
        ("GABAzine", "5e58ca193d06316ca1a70082da6b3fb4f86eb272f64284a2ef5f7fce9af97f01"),
        ("ACh", "42c638d0918209b455dc976d1a8550b78ced8c10c2576e86606855a472400922"),
    ] {
        let of_condition =
            rows.iter().filter(|row| row.condition == condition && row.population == "granule");
        let mut spikes: Vec<[u32; 3]> =
            of_condition.map(|row| [row.trial, row.cell, (row.time_ms * 10.0).round() as u32]).collect();
        spikes.sort_unstable();
        let lines: String =
            spikes.iter().map(|[trial, cell, step]| format!("{trial} {cell} {step}\n")).collect();
        place.write("spikes", lines);
        assert_eq!(sha256(&place.path("spikes")), recorded, "{condition}");
    }

    // The published files of spike probabilities follow from the table alone.
    let text = fs::read(file).unwrap();
    let sweep = parse(ENGINES, "x.yaml", &text, "x", &Overrides::default()).unwrap();
    let mut seen = 0;
    for condition in sweep.conditions.iter() {
        let layer = layer_of(&condition.model);
        let mut counts = SpikeCounts::new(&layer);
        for trial in 0..sweep.trials {
            let is_here = |row: &&Row| row.condition == condition.name && row.trial == trial;
            let of_trial: Vec<&Row> = rows.iter().filter(is_here).collect();
            assert!(of_trial.iter().all(|row| row.seed == 451));
            let spike = |row: &&Row| Spike {
                step: (row.time_ms * f64::from(layer.steps_per_ms())).round() as u32,
                cell: row.cell,
            };
            let of = |population: &str| -> Vec<Spike> {
                of_trial.iter().filter(|row| row.population == population).map(spike).collect()
            };
            let (granule, golgi) = (of("granule"), of("golgi"));
            assert!(granule.is_sorted() && golgi.is_sorted());
            assert!(golgi.iter().all(|spike| spike.cell < 7));
            seen += granule.len() + golgi.len();
            counts.add(&granule);
        }
        let saved =
            f64_array(&place.path(&format!("out/seed-451/randomized_{}SpikeProb.npy", condition.prefix())));
        let cells = layer.parameters().network.granule_cells;
        let from_table: Vec<f64> = (0..cells).flat_map(|cell| counts.probability(cell)).collect();
        assert!(saved == from_table, "{}", condition.name);
        assert!(saved.iter().any(|&probability| probability > 0.0));
    }
    assert_eq!(seen, rows.len());

    // The other format has the same rows, also for a part.
    place.run(&["export", "out", "--to", "spikes.txt", "--format", "csv"]).succeeded();
    assert!(csv_rows(&place.path("spikes.txt")) == rows);
    place
        .run(&["export", "out", "--to", "part.csv", "--conditions", "ACh,Control", "--seeds", "451"])
        .succeeded();
    // Standard output gets the same table, and the report goes to standard error.
    for more in [&["--format", "csv"][..], &["--json"]] {
        let piped = place.run(&[&["export", "out", "--to", "-"][..], more].concat()).succeeded();
        assert!(piped.stdout == fs::read_to_string(place.path("spikes.txt")).unwrap());
        let told = if more == ["--json"] { "\"file\":\"-\"" } else { " to standard output, " };
        assert!(piped.stderr.contains(told), "{}", piped.stderr);
    }
    assert!(!place.path("-").exists());
    // A reader that stops early ends the command.
    let granule = place.granule(&["export", "out", "--psth", "-"]);
    let mut shell = place.command("/bin/sh");
    shell.args(["-c", "(\"$0\" \"$@\"; echo \"code $?\" >&2) | head -n 1"]);
    shell.arg(granule.get_program()).args(granule.get_args());
    let head = Ended::from(shell.output().expect("a shell")).succeeded();
    assert_eq!(head.stdout, "condition,seed,population,time_ms,bin_ms,spikes,rate_hz\n");
    assert_eq!(head.stderr, "code 0\n");
    let part: Vec<Row> = rows.iter().filter(|row| row.condition != "GABAzine").cloned().collect();
    assert!(csv_rows(&place.path("part.csv")) == part);

    // Rates are counts of the same spikes.
    place.run(&["export", "out", "--psth", "psth.csv", "--bin", "0.7"]).succeeded();
    let mut table = csv::Reader::from_path(place.path("psth.csv")).unwrap();
    let mut bins: BTreeMap<(String, String, u32), u64> = BTreeMap::new();
    for row in &rows {
        let step = (row.time_ms * 10.0).round() as u32;
        *bins.entry((row.condition.clone(), row.population.clone(), step / 7)).or_default() += 1;
    }
    let mut count = 0;
    for record in table.records() {
        let record = record.unwrap();
        let number = |at: usize| record[at].parse::<f64>().unwrap();
        let bin = (number(3) * 10.0 / 7.0).round() as u32;
        let cells = if &record[2] == "golgi" { 7.0 } else { 1024.0 };
        let spikes = bins.remove(&(record[0].to_owned(), record[2].to_owned(), bin)).unwrap_or(0);
        assert_eq!(number(5), spikes as f64, "{record:?}");
        let rate = spikes as f64 / (cells * 10.0 * number(4) * 1e-3);
        assert!((number(6) - rate).abs() <= 1e-9 * rate, "{record:?}");
        count += 1;
    }
    assert!(bins.is_empty());
    // 20,000 steps: the last bin has only one.
    assert_eq!(count, 3 * 2 * 20_000_u32.div_ceil(7));
}

#[test]
fn json_has_the_rows_of_csv() {
    let place = finished(&Sweep::small());
    for table in ["--to", "--psth", "--measures", "--trials"] {
        let csv = place.run(&["export", "out", table, "-"]).succeeded().stdout;
        let json = place.run(&["export", "out", table, "-", "--format", "json"]).succeeded().stdout;
        // Granule's own file is replaced.
        for _ in 0..2 {
            place.run(&["export", "out", table, "table.json"]).succeeded();
            assert_eq!(fs::read_to_string(place.path("table.json")).expect("a file"), json);
        }
        let rows: Vec<serde_json::Map<String, Value>> = serde_json::from_str(&json).expect("an array");
        let mut reader = csv::Reader::from_reader(csv.as_bytes());
        let names: Vec<String> = reader.headers().expect("a header").iter().map(str::to_owned).collect();
        let records: Vec<csv::StringRecord> = reader.records().map(|record| record.expect("a row")).collect();
        assert!(!rows.is_empty() && rows.len() == records.len(), "{table}: {} rows", rows.len());
        for (row, record) in rows.iter().zip(&records) {
            assert_eq!(row.len(), names.len());
            for (name, text) in names.iter().zip(record) {
                match &row[name] {
                    Value::Null => assert_eq!(text, "NaN"),
                    Value::String(word) => assert_eq!(text, word),
                    number => assert_eq!(number.as_f64(), text.parse().ok(), "{name}"),
                }
            }
        }
        place.write("table.json", "[\n{\"condition\":\"mine\"}\n]\n");
        place
            .run(&["export", "out", table, "table.json"])
            .failed_with(2, &["not a JSON table that granule wrote"]);
        fs::remove_file(place.path("table.json")).expect("a file");
    }
}

#[test]
fn a_table_is_there_whole_or_not_at_all() {
    let place = finished(&Sweep::small());
    let wrong = |arguments: &[&str], parts: &[&str]| {
        place.run(&[&["export", "out"][..], arguments].concat()).failed_with(2, parts);
    };
    wrong(&[], &["required arguments were not provided", "--to <FILE>"]);
    wrong(&["--to", "-", "--format", "parquet"], &["standard output takes CSV and JSON only", "a file"]);
    wrong(&["--psth", "-", "--format", "npz"], &["standard output takes CSV and JSON only"]);
    wrong(&["--to", "spikes"], &["unknown format of spikes", ".parquet, .npz, .csv or .json"]);
    wrong(&["--to", "x.csv", "--conditions", "Contrl"], &["no condition `Contrl`"]);
    wrong(&["--to", "x.csv", "--seeds", "1"], &["no seed 1"]);
    wrong(
        &["--psth", "x.csv", "--bin", "0.25"],
        &["a bin of 0.25 ms does not fit: a bin must be a whole number of steps of 0.1 ms"],
    );
    wrong(&["--psth", "x.csv", "--bin", "0"], &["a bin of 0 ms"]);
    place.run(&["export", "out", "--to", "nowhere/x.csv"]).failed_with(1, &["nowhere/x.csv: cannot create"]);
    damage(&place, "out/store.granule", 9);
    for name in ["x.csv", "x.parquet", "x.npz"] {
        place
            .run(&["export", "out", "--to", name])
            .failed_with(1, &["damaged spikes of trial", "run the sweep again"]);
    }
    let left: Vec<_> =
        fs::read_dir(place.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with('x')), "{left:?}");
}

/// Runs a script of Python on an archive, with the library's own reader.
fn python_on(place: &Place, archive: &str, script: &str) -> String {
    let mut python = place.command("python3");
    python.args([
        "-c",
        &format!("import json, sys, zipfile\narchive = zipfile.ZipFile(sys.argv[1])\n{script}"),
        archive,
    ]);
    Ended::from(python.output().expect("python3")).succeeded().stdout
}

#[test]
fn a_research_object_has_the_files_of_the_sweep() {
    let place = finished(&Sweep {
        seeds: vec![451, 5],
        conditions: vec!["Control", "{ name: mine }"],
        ..Sweep::small()
    });
    let told = report(&place, &["export", "out", "--crate", "sweep.zip"]);
    let before = fs::read(place.path("sweep.zip")).expect("the archive");
    assert_eq!(told["crate"]["bytes"], before.len());
    // No run and no time changes it. It needs no store, and replaces an earlier one.
    fs::rename(place.path("out/store.granule"), place.path("moved")).expect("it can be moved");
    let again = place.run(&["export", "out", "--crate", "sweep.zip"]).succeeded();
    assert!(
        again.stdout.starts_with("test: ") && again.stdout.contains(" files to sweep.zip, "),
        "{again:#?}"
    );
    assert!(fs::read(place.path("sweep.zip")).expect("the archive") == before);
    fs::rename(place.path("moved"), place.path("out/store.granule")).expect("it can be moved back");

    // Another reader gets the same files, and all dates are the same.
    let names = python_on(
        &place,
        "sweep.zip",
        "assert archive.testzip() is None\n\
         assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}\n\
         archive.extractall('unpacked')\nprint(*archive.namelist(), sep='\\n')",
    );
    let names: Vec<&str> = names.lines().collect();
    let manifest = place.manifest("out");
    let files = manifest["files"].as_array().expect("files");
    assert_eq!(told["crate"]["files"], names.len());
    assert_eq!(names[0], "ro-crate-metadata.json");
    assert!(names[1..].is_sorted() && names.len() == files.len() + 4, "{names:?}");
    // The author's sweep file is there as it was written.
    let written = fs::read(place.path("unpacked/sweep-as-written.yaml")).expect("the author's file");
    assert_eq!(written, fs::read(place.path("sweep.yaml")).expect("a sweep file"));
    // The unpacked archive is an output directory again, and its sweep file is that of the sweep.
    place.run(&["verify", "unpacked", "--files-only"]).succeeded();
    assert_eq!(place.outputs("unpacked"), place.outputs("out"));
    let planned = report(&place, &["plan", "unpacked/sweep.yaml", "--out", "out"]);
    assert_eq!((&planned["missing"], &planned["files_to_write"]), (&0.into(), &0.into()));

    let text = fs::read_to_string(place.path("unpacked/ro-crate-metadata.json")).expect("the description");
    let described: Value = serde_json::from_str(&text).expect("JSON");
    let graph = described["@graph"].as_array().expect("entities");
    let entity = |id: &str| {
        let mut found = graph.iter().filter(|entity| entity["@id"] == id);
        let entity = found.next().unwrap_or_else(|| panic!("no {id}")).clone();
        assert!(found.next().is_none(), "two entities {id}");
        entity
    };
    let parts: Vec<String> = entity("./")["hasPart"]
        .as_array()
        .expect("parts")
        .iter()
        .map(|part| part["@id"].as_str().expect("a path").to_owned())
        .collect();
    for name in &names[1..] {
        assert!(parts.contains(&(*name).to_owned()), "{name}");
        let file = entity(name);
        let path = place.path(&format!("unpacked/{name}"));
        assert_eq!(file["sha256"], sha256(&path), "{name}");
        assert_eq!(file["contentSize"], fs::metadata(&path).expect("a file").len().to_string(), "{name}");
    }
    assert_eq!(parts.len(), names.len() - 1);
    let run = entity("#run");
    let started = manifest["run"]["started"].as_str().expect("a time").replace('Z', "+00:00");
    assert_eq!(run["startTime"], started);
    assert_eq!(run["endTime"], entity("./")["datePublished"]);
    assert!(run["endTime"].as_str() >= run["startTime"].as_str(), "{run}");
    assert_eq!(entity("#value-key-seeds")["value"], serde_json::json!([451, 5]));
    assert_eq!(entity("#value-parameter-time.step")["value"], "0.1 ms");
    let version = entity("#granule")["softwareVersion"].as_str().expect("a version").to_owned();
    assert!(version.starts_with(manifest["granule"].as_str().expect("a version")), "{version}");
    assert_eq!(entity("sweep.yaml")["isBasedOn"]["@id"], "sweep-as-written.yaml");
    assert_eq!(entity("./")["license"]["@id"], "#no-licence");
    // Every reference within the description leads to an entity.
    let ids: Vec<&str> = graph.iter().filter_map(|entity| entity["@id"].as_str()).collect();
    for reference in text.split("\"@id\": \"#").skip(1).map(|rest| rest.split('"').next().unwrap_or_default())
    {
        assert!(ids.contains(&format!("#{reference}").as_str()), "#{reference}");
    }

    let url = "https://creativecommons.org/publicdomain/zero/1.0/";
    place.run(&["export", "out", "--crate", "licensed.zip", "--license", url]).succeeded();
    let license = python_on(
        &place,
        "licensed.zip",
        "graph = json.loads(archive.read('ro-crate-metadata.json'))['@graph']\n\
         print(next(entity for entity in graph if entity['@id'] == './')['license']['@id'], end='')",
    );
    assert_eq!(license, url);
}

#[test]
fn a_research_object_is_there_whole_or_not_at_all() {
    let place = finished(&Sweep::small());
    let export = |more: &[&str]| place.run(&[&["export", "out"][..], more].concat());
    let names = || {
        let entries = fs::read_dir(place.path("")).expect("a directory");
        let mut names: Vec<_> = entries.map(|entry| entry.expect("an entry").file_name()).collect();
        names.sort();
        names
    };
    let before = names();
    for (arguments, part) in [
        (&["--crate", "-"][..], "cannot be written to standard output"),
        (&["--crate", "x.zip", "--to", "x.csv"], "cannot be used with"),
        (&["--crate", "x.zip", "--seeds", "451"], "cannot be used with"),
        (&["--crate", "x.zip", "--license", "MIT"], "`MIT` is not a web address"),
        (&["--to", "x.csv", "--license", "https://example.org"], "cannot be used with"),
        (&["--crate", "out/manifest.json", "--force"], "is a file of the sweep"),
        (&["--crate", "out"], "is a directory, not a file"),
    ] {
        export(arguments).failed_with(2, &[part]);
    }
    let array = "out/seed-451/gabaCondI.npy";
    let whole = fs::read(place.path(array)).expect("the array");
    let mut flipped = whole.clone();
    flipped[5000] ^= 4;
    for (bytes, part) in [
        (flipped.as_slice(), "gabaCondI.npy has SHA-256 "),
        (&whole[..100], "gabaCondI.npy is 100 bytes long instead of "),
    ] {
        place.write(array, bytes);
        export(&["--crate", "x.zip"]).failed_with(3, &[part, "granule verify out lists all problems"]);
    }
    fs::remove_file(place.path(array)).expect("removed");
    export(&["--crate", "x.zip"]).failed_with(3, &["gabaCondI.npy does not exist"]);
    place.write(array, &whole);
    // A manifest may come from anywhere. Its paths become names in the archive.
    let manifest = fs::read(place.path("out/manifest.json")).expect("the manifest");
    let mut hostile = place.manifest("out");
    hostile["files"][0]["path"] = "../x.npy".into();
    place.write("out/manifest.json", hostile.to_string());
    export(&["--crate", "x.zip"]).failed_with(3, &["the manifest lists ../x.npy, but its sweep does not"]);
    hostile["files"][0]["path"] = hostile["files"][1]["path"].clone();
    place.write("out/manifest.json", hostile.to_string());
    export(&["--crate", "x.zip"]).failed_with(3, &["but its sweep does not have this file"]);
    place.write("out/manifest.json", manifest);
    assert_eq!(names(), before);

    // Another program's archive stays.
    let other = "import zipfile; zipfile.ZipFile('x.zip', 'w').writestr('ro-crate-metadata.json', '{}')";
    Ended::from(place.command("python3").args(["-c", other]).output().expect("python3")).succeeded();
    export(&["--crate", "x.zip"]).failed_with(2, &["not a research object that granule wrote", "--force"]);
    export(&["--crate", "x.zip", "--force"]).succeeded();
    export(&["--crate", "x.zip"]).succeeded();

    // An interrupted run leaves an incomplete sweep.
    fs::rename(place.path("out/manifest.json"), place.path("out/sweep.json")).expect("renamed");
    let mut record: Value =
        serde_json::from_slice(&fs::read(place.path("out/sweep.json")).expect("it")).expect("JSON");
    record["format"] = 1.into();
    record["started"] = record["run"]["started"].clone();
    place.write("out/sweep.json", record.to_string());
    export(&["--crate", "y.zip"]).failed_with(3, &["the sweep in out is not complete", "granule status"]);
    assert!(!place.path("y.zip").exists());
}

/// Lines of the page's console blocks.
fn commands() -> Vec<String> {
    let page = fs::read_to_string(root().join("docs/data.md")).expect("the page");
    let blocks = page.split("```console\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default());
    let lines = blocks.flat_map(str::lines);
    lines
        .map(|line| line.strip_prefix("$ ").unwrap_or_else(|| panic!("no prompt: {line}")).to_owned())
        .collect()
}

#[test]
fn every_command_of_the_page_does_what_it_says() {
    let place = Place::new();
    std::os::unix::fs::symlink(root().join("sweeps"), place.path("sweeps")).expect("a link");
    let programs = Path::new(env!("CARGO_BIN_EXE_granule")).parent().expect("a directory");
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default());
    let commands = commands();
    assert!(commands.len() > 15, "{commands:?}");
    for line in &commands {
        let mut shell: Command = place.command("/bin/sh");
        shell.args(["-c", &format!("exec {line}")]).env("PATH", &path);
        let ended = place.start_this(shell).end();
        assert_eq!(ended.code, Some(0), "{line}: {ended:#?}");
        let is_silent = line.contains(" man ");
        assert_eq!(ended.stdout.is_empty(), is_silent, "{line}: {ended:#?}");
        if line.ends_with("--json") {
            assert_eq!(json(&ended)["schema"], 1, "{line}");
        }
    }
    assert_eq!(place.hashes("again/seed-451"), expected(include_str!("../expected/ci-10trials.sha256")));
    for file in ["spikes.parquet", "control.npz", "psth.csv", "manual/granule-store-merge.1"] {
        assert!(place.length(file) > 0, "{file}");
    }
    // Every subcommand has a manual page.
    let help = place.run(&["help"]).succeeded().stdout;
    let list = help.split("Commands:\n").nth(1).and_then(|rest| rest.split("\n\n").next()).expect("a list");
    let words = list.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names: Vec<&str> = words.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.len() > 10, "{help}");
    for name in names.into_iter().filter(|name| *name != "help") {
        assert!(place.path(&format!("manual/granule-{name}.1")).exists(), "{name}");
    }
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = place.run(&["completions", shell]).succeeded().stdout;
        assert!(script.contains("reproduce") && script.contains("files-only"), "{shell}");
    }
}

#[test]
fn a_run_after_its_store_was_lost_computes_it_again() {
    let place = Place::new();
    place.sweep("sweep.yaml", &Sweep::small());
    let run = || place.run(&["run", "sweep.yaml", "--out", "out", "--workers", "1"]).succeeded();
    run();
    let outputs = place.outputs("out");
    assert!(run().stdout.contains("is already complete"));
    fs::remove_file(place.path("out/store.granule")).expect("it was there");
    assert!(place.run(&["verify", "out"]).code != Some(0));
    run();
    assert_eq!(place.trials("out"), Trials { computed: 9, reused: 0 });
    assert_eq!(place.outputs("out"), outputs);
    place.run(&["verify", "out"]).succeeded();
}

#[test]
fn tables_and_pruned_stores_take_the_place_of_nothing_else() {
    let place = Place::new();
    place.sweep("sweep.yaml", &Sweep::small());
    place.run(&["run", "sweep.yaml", "--out", "out", "--workers", "1"]).succeeded();
    let refused = |arguments: &[&str], told: &str| {
        place.run(arguments).failed_with(2, &[told]);
    };
    let export = |to: &str, told: &str| refused(&["export", "out", "--format", "csv", "--to", to], told);
    export("out/store.granule", "is a file of the sweep");
    export("out/manifest.json", "is a file of the sweep");
    export("out/seed-451/controlConnections.npy", "is not a CSV table that granule wrote");
    export("out", "is a directory, not a file");
    // If a sweep needs no trial of the store, it is probably the wrong sweep.
    place.sweep("other.yaml", &Sweep { engine: "pcg", ..Sweep::small() });
    refused(&["store", "prune", "out/store.granule", "--keep", "other.yaml"], "nothing was dropped");
    place.run(&["verify", "out"]).succeeded();
    place.run(&["export", "out", "--to", "x.csv"]).succeeded();
    place.run(&["export", "out", "--to", "x.csv"]).succeeded();
}
