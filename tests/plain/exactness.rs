//! The files are the original's, byte for byte: the configuration with hashes that its authors published, and those
//! that `oracle/` computed. They do not depend on how a sweep is put together.

use std::fs;

use serde::Deserialize;

use crate::support::{Hashes, Place, Sweep, Trials, expected, root};

#[test]
fn the_published_configuration() {
    let place = Place::new();
    let sweep = root().join("sweeps/ci-10trials.yaml");
    place.run(&["run", sweep.to_str().unwrap(), "--out", "out"]).succeeded();
    assert_eq!(place.hashes("out/seed-451"), expected(include_str!("../expected/ci-10trials.sha256")));
}

/// The 48 files of which the original's authors publish hashes. One simulation gives those of all three platforms.
#[test]
fn the_published_files_of_every_platform() {
    let place = Place::new();
    let sweep = fs::read_to_string(root().join("sweeps/ci-10trials.yaml")).expect("a sweep");
    let published = [
        ("linux-64", include_str!("../expected/ci-10trials.sha256"), "30 trials computed, 0 reused", 16),
        ("osx-64", include_str!("../expected/ci-10trials.osx-64.sha256"), "0 trials computed, 30 reused", 6),
        ("win-64", include_str!("../expected/ci-10trials.win-64.sha256"), "0 trials computed, 30 reused", 9),
    ];
    for (platform, list, trials, files) in published {
        place.write("sweep.yaml", format!("{sweep}\nplatform: {platform}\n"));
        let planned = place.run(&["plan", "sweep.yaml", "--out", "out"]).succeeded();
        assert!(planned.stdout.contains(&format!("writing: {files} files")), "{}", planned.stdout);
        let ran = place.run(&["run", "sweep.yaml", "--out", "out"]).succeeded();
        assert!(ran.stdout.contains(trials), "{}", ran.stdout);
        assert_eq!(place.hashes("out/seed-451"), expected(list), "{platform}");
        place.run(&["verify", "out", "--all"]).succeeded();
        let found = place.run(&["identify", "out"]).succeeded().stdout;
        let summary =
            format!("16 files, 16 identified: they come from sweep ci-10trials, platform {platform}\n");
        assert!(found.ends_with(&summary), "{found}");
    }
    // Without the key, the sweep is that of Linux, and its manifest is as it was before the key existed.
    place.write("sweep.yaml", sweep);
    place.run(&["run", "sweep.yaml", "--out", "out"]).succeeded();
    assert_eq!(place.hashes("out/seed-451"), expected(published[0].1));
    assert!(!place.manifest("out").to_string().contains("platform"));
    let other = "error: `platform` is `osx-64`, but engine `pcg` makes the same files for every platform";
    place.write("pcg.yaml", "engine: pcg\nplatform: osx-64\nconditions: [Control]\n");
    place.run(&["plan", "pcg.yaml"]).failed_with(2, &[other, "help: write `engine: brian2-2.2.1`"]);
}

/// Files of any sweep are identified by those that it makes for each platform.
#[test]
fn old_files_are_identified() {
    let place = Place::new();
    let sweep = Sweep {
        seeds: vec![3, 9],
        trials: 5,
        conditions: vec!["ACh", "{ name: same, base: ACh }", "{ name: mine }"],
        ..Sweep::small()
    };
    let of = |platform: &str| format!("{}\nplatform: {platform}\n", sweep.to_yaml());
    place.write("sweep.yaml", of("osx-64"));
    place.run(&["run", "sweep.yaml", "--out", "old"]).succeeded();
    fs::rename(place.path("old/seed-3/achCondE.npy"), place.path("old/renamed.npy")).expect("a file");
    let unknown = place.run(&["identify", "old/seed-3"]).failed_with(
        3,
        &[
            "not identified\n  help: write a sweep file with the parameters that you think they have",
            "--of OUT",
        ],
    );
    assert!(
        unknown.stdout.contains("achWeights.npy") && unknown.stdout.contains("not identified: weights of ")
    );
    place.write("sweep.yaml", of("linux-64"));
    place.run(&["run", "sweep.yaml", "--out", "out"]).succeeded();
    let found = place.run(&["identify", "old", "--of", "out"]).succeeded().stdout;
    assert!(found.contains("renamed.npy") && found.contains("achCondE.npy of sweep test, seed 3"), "{found}");
    assert!(found.contains("linux-64 and osx-64"), "{found}");
    assert!(found.ends_with("they come from sweep test, platform osx-64\n"), "{found}");
    // A changed byte is not identified.
    let path = place.path("old/renamed.npy");
    let mut bytes = fs::read(&path).expect("a file");
    *bytes.last_mut().expect("a byte") ^= 1;
    fs::write(&path, bytes).expect("room");
    let found =
        place.run(&["identify", "old", "--of", "out"]).failed_with(3, &["error: 1 file not identified"]);
    assert!(found.stdout.contains("not identified: an array of "), "{}", found.stdout);
    // An engine without platforms.
    place.write("sweep.yaml", Sweep { engine: "pcg", ..sweep }.to_yaml());
    place.run(&["run", "sweep.yaml", "--out", "pcg"]).succeeded();
    let found = place.run(&["identify", "pcg", "--of", "pcg"]).succeeded().stdout;
    assert!(found.ends_with("they come from sweep test\n"), "{found}");
    // One file; what else is there; a name of Windows; equal files of two seeds.
    let found = place.run(&["identify", "pcg/seed-9/achWeights.npy", "--of", "pcg"]).succeeded().stdout;
    assert!(found.contains("sweep test, seed 9, engine pcg"), "{found}");
    place.run(&["identify", "sweep.yaml"]).failed_with(3, &["error: 1 file not identified"]);
    fs::rename(place.path("pcg/seed-9/achWeights.npy"), place.path("pcg/seed-9/W.NPY")).expect("a file");
    fs::create_dir_all(place.path("pcg/a/b/c/d/seed-3")).expect("directories");
    fs::rename(place.path("pcg/seed-3/achWeights.npy"), place.path("pcg/a/b/c/d/seed-3/achWeights.npy"))
        .expect("a file");
    std::os::unix::fs::symlink("nothing", place.path("pcg/link.npy")).expect("a link");
    let found = place.run(&["identify", "pcg", "--of", "pcg"]).succeeded().stdout;
    assert!(found.contains("seed-9/W.NPY ") && found.contains("a/b/c/d/seed-3/achWeights.npy "), "{found}");
    assert!(found.contains("other files, 1 special file\n"), "{found}");
    let whole = fs::read(place.path("old/seed-9/achWeights.npy")).expect("a file");
    fs::create_dir(place.path("part")).expect("a directory");
    place.write("part/achWeights.npy", &whole[..whole.len() / 2]);
    let found = place.run(&["identify", "part"]).failed_with(3, &["1 file not identified"]).stdout;
    assert!(found.contains("an object of Python, but not complete weights"), "{found}");
    fs::create_dir(place.path("empty")).expect("a directory");
    place.run(&["identify", "empty"]).failed_with(2, &["error: empty has no .npy files"]);
}

/// A case of the oracle.
#[derive(Deserialize)]
struct Case {
    name: String,
    note: String,
    mossy: u32,
    granule: u32,
    golgi: u32,
    trials: u32,
    seed: u32,
    weight_seed: u32,
    fixed_weights: bool,
    conditions: Vec<String>,
}

#[test]
fn every_case_of_the_oracle() {
    let lists = root().join("tests/oracle/expected");
    let cases = fs::read(lists.join("cases.json")).expect("the oracle's cases");
    let cases: Vec<Case> = serde_json::from_slice(&cases).expect("the oracle's cases");

    let mut named: Vec<String> = cases.iter().map(|case| format!("{}.sha256", case.name)).collect();
    let mut found: Vec<String> = fs::read_dir(&lists)
        .expect("the oracle's hashes")
        .map(|entry| entry.expect("a directory entry").file_name().into_string().expect("text"))
        .filter(|name| name.ends_with(".sha256"))
        .collect();
    named.sort();
    found.sort();
    assert_eq!(named, found);

    let wrong: Vec<String> = cases
        .iter()
        .filter_map(|case| {
            let list = fs::read_to_string(lists.join(format!("{}.sha256", case.name))).expect("hashes");
            let error = check_case(case, &expected(&list)).err()?;
            Some(format!("{} ({}): {error}", case.name, case.note))
        })
        .collect();
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

fn check_case(case: &Case, expected: &Hashes) -> Result<(), String> {
    let place = Place::new();
    let sweep = format!(
        "engine: brian2-2.2.1\n\
         network: {{ mossy_fibers: {}, granule_cells: {}, golgi_cells: {} }}\n\
         weights: {{ random: {}, seed: {} }}\n\
         seeds: [{}]\ntrials: {}\nconditions: [{}]\n",
        case.mossy,
        case.granule,
        case.golgi,
        !case.fixed_weights,
        case.weight_seed,
        case.seed,
        case.trials,
        case.conditions.join(", ")
    );
    place.write("case.yaml", sweep);
    let ended = place.run(&["run", "case.yaml", "--out", "out", "--workers", "2"]);
    if ended.code != Some(0) {
        return Err(format!("{ended:#?}"));
    }
    let made = place.hashes(&format!("out/seed-{}", case.seed));
    let different: Vec<&str> = made
        .keys()
        .chain(expected.keys().filter(|name| !made.contains_key(*name)))
        .filter(|name| made.get(*name) != expected.get(*name))
        .map(String::as_str)
        .collect();
    if different.is_empty() { Ok(()) } else { Err(different.join(", ")) }
}

/// Runs a sweep. Returns the hashes of its files and its counts of trials.
fn run(sweep: &Sweep<'_>) -> (Hashes, Trials) {
    let place = Place::new();
    place.sweep("sweep.yaml", sweep);
    place.run(&["run", "sweep.yaml", "--out", "out", "--workers", "2"]).succeeded();
    (place.outputs("out"), place.trials("out"))
}

/// The files of a condition, with names that do not depend on the condition.
fn of(files: &Hashes, prefix: &str) -> Hashes {
    let is_ach = prefix == "ach";
    files
        .iter()
        .filter_map(|(name, hash)| {
            let (_, file) = name.split_once('/')?;
            let plain = file.strip_prefix("randomized_").unwrap_or(file);
            let kind = match plain.strip_prefix(prefix) {
                Some(kind) => kind,
                None if is_ach && file == "tonicReduction.npy" => "TonicReduction.npy",
                None => return None,
            };
            Some((kind.to_owned(), hash.clone()))
        })
        .collect()
}

/// All ordered selections of these.
fn arrangements<'a>(of: &[&'a str]) -> Vec<Vec<&'a str>> {
    let mut all = Vec::new();
    for (i, &first) in of.iter().enumerate() {
        let others = [&of[..i], &of[i + 1..]].concat();
        all.push(vec![first]);
        all.extend(arrangements(&others).into_iter().map(|rest| [vec![first], rest].concat()));
    }
    all
}

#[test]
fn which_conditions_run_together_in_which_order_changes_no_byte() {
    let all = ["Control", "GABAzine", "ACh"];
    assert_eq!(arrangements(&all).len(), 15);
    for weights in ["{ random: true, seed: 43 }", "{ random: false }"] {
        let base = Sweep { weights, ..Sweep::small() };
        let alone = |condition| {
            let (files, _) = run(&Sweep { conditions: vec![condition], ..base.clone() });
            assert!(!files.is_empty());
            files
        };
        let alone = all.map(|condition| (condition, alone(condition)));
        for conditions in arrangements(&all) {
            let parts = alone.iter().filter(|(condition, _)| conditions.contains(condition));
            let expected: Hashes = parts.flat_map(|(_, files)| files.clone()).collect();
            let (files, _) = run(&Sweep { conditions: conditions.clone(), ..base.clone() });
            assert_eq!(files, expected, "{conditions:?}, weights {weights}");
        }
    }
}

#[test]
fn several_seeds_in_one_sweep_are_the_same_as_each_alone() {
    let seeds = [451, 0, 4_294_967_295, 452];
    let of_seeds = |seeds: &[u32]| run(&Sweep { seeds: seeds.to_vec(), ..Sweep::small() });
    let alone: Hashes = seeds.iter().flat_map(|&seed| of_seeds(&[seed]).0).collect();
    assert_eq!(alone.len(), 4 * 16);
    let (together, trials) = of_seeds(&seeds);
    assert_eq!(together, alone);
    assert_eq!(trials, Trials { computed: 4 * 3 * 3, reused: 0 });
    assert_eq!(of_seeds(&[452, 4_294_967_295, 0, 451]).0, alone);
}

#[test]
fn equal_conditions_are_computed_once_and_written_under_each_name() {
    let base = Sweep { network: [60, 64, 7], ..Sweep::small() };
    let (files, trials) = run(&Sweep {
        conditions: vec![
            "Control",
            "{ name: x, base: Control }",
            "{ name: y, base: x }",
            "{ name: z, set: { granule.tonic_factor: 1, golgi.leak_reversal: -0.051 V } }",
            "ACh",
            "{ name: w, base: ACh }",
        ],
        ..base
    });
    assert_eq!(trials, Trials { computed: 2 * 3, reused: 0 });
    let control = of(&files, "control");
    assert_eq!(control.len(), 5);
    for prefix in ["x", "y", "z"] {
        assert_eq!(of(&files, prefix), control, "{prefix}");
    }
    let ach = of(&files, "ach");
    assert_eq!(ach.len(), 6);
    assert_eq!(of(&files, "w"), ach);
    assert_ne!(ach["SpikeProb.npy"], control["SpikeProb.npy"]);
}

#[test]
fn what_a_condition_sets_reaches_the_simulation() {
    // Each preset, written as changes of another preset.
    let check = |preset: &str, prefix: &str, set: &[&str]| {
        let spelled_out = |set: &[&str]| {
            let base = if prefix == "control" { "ACh" } else { "Control" };
            let condition = format!("{{ name: x, base: {base}, set: {{ {} }} }}", set.join(", "));
            run(&Sweep { conditions: vec![preset, &condition], ..Sweep::small() })
        };
        let (files, trials) = spelled_out(set);
        assert_eq!(of(&files, "x"), of(&files, prefix), "{preset}");
        assert_eq!(trials.computed, 3, "{preset}");
        // Without one of the changes, the files differ.
        for (i, without) in set.iter().enumerate() {
            let (files, trials) = spelled_out(&[&set[..i], &set[i + 1..]].concat());
            assert_ne!(of(&files, "x"), of(&files, prefix), "{preset} without {without}");
            assert_eq!(trials.computed, 2 * 3, "{preset} without {without}");
        }
    };
    check(
        "GABAzine",
        "gaba",
        &["granule.tonic_factor: 0", "golgi_to_granule.weight: 0 nS", "noise.first: granule"],
    );
    check(
        "ACh",
        "ach",
        &[
            "granule.tonic_factor: { gamma: { mean: 0.4, sd: 0.07, seed: 1 } }",
            "mossy_to_granule.scale: 0.4521",
            "mossy_to_golgi.scale: 0.4578",
            "golgi.leak_reversal: -55 mV",
        ],
    );
    check(
        "Control",
        "control",
        &[
            "granule.tonic_factor: 1",
            "mossy_to_granule.scale: 1",
            "mossy_to_golgi.scale: 1",
            "golgi.leak_reversal: -51 mV",
        ],
    );
}

#[test]
fn networks_of_different_sizes_fit_in_one_sweep() {
    // A condition, and the sweep in which a preset has the same parameters.
    let base = Sweep { network: [60, 64, 7], ..Sweep::small() };
    let control = ("Control", "control");
    let ach = ("ACh", "ach");
    let variations: [(&str, &str, (&str, &str), Sweep<'_>); 4] = [
        (
            "small",
            "{ name: small, base: ACh, set: { network.granule_cells: 32, network.golgi_cells: 5 } }",
            ach,
            Sweep { network: [60, 32, 5], ..base.clone() },
        ),
        (
            "large",
            "{ name: large, set: { network.mossy_fibers: 100, network.granule_cells: 300 } }",
            control,
            Sweep { network: [100, 300, 7], ..base.clone() },
        ),
        (
            "fixed",
            "{ name: fixed, base: small, set: { weights.random: false } }",
            ach,
            Sweep { network: [60, 32, 5], weights: "{ random: false }", ..base.clone() },
        ),
        (
            "other",
            "{ name: other, base: Control, set: { weights.seed: 43 } }",
            control,
            Sweep { weights: "{ seed: 43 }", ..base.clone() },
        ),
    ];
    let mut conditions = vec!["Control", "GABAzine", "ACh"];
    conditions.extend(variations.iter().map(|(_, condition, ..)| *condition));
    let (together, trials) = run(&Sweep { conditions, ..base.clone() });
    assert_eq!(trials, Trials { computed: 7 * 3, reused: 0 });
    let (presets, _) = run(&base);
    for prefix in ["control", "gaba", "ach"] {
        assert_eq!(of(&together, prefix), of(&presets, prefix), "{prefix}");
    }
    for (name, _, (preset, prefix), sweep) in variations {
        let (alone, _) = run(&Sweep { conditions: vec![preset], ..sweep });
        let expected = of(&alone, prefix);
        assert!(!expected.is_empty(), "{name}");
        assert_eq!(of(&together, name), expected, "{name}");
    }
}
