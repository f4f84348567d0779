//! Figures and reports of incomplete sweeps: at rest, and during a run.

use std::fs;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::{Place, Running, Sweep};

const CONDITIONS: [&str; 4] = ["Control", "GABAzine", "ACh", "{ name: same, base: Control }"];

/// Three seeds of ten trials. The store has all trials of the first seed, four of the second and none of the third.
fn unfinished() -> Place {
    let place = Place::new();
    let sweep =
        Sweep { seeds: vec![7, 8, 451], trials: 10, conditions: CONDITIONS.to_vec(), ..Sweep::small() };
    for (seed, trials) in [(7, 10), (8, 4)] {
        place.sweep("part.yaml", &Sweep { seeds: vec![seed], trials, ..sweep.clone() });
        let out = format!("part-{seed}");
        place.run(&["run", "part.yaml", "--out", &out, "--store", "shared.granule"]).succeeded();
    }
    place.sweep("sweep.yaml", &sweep);
    place
}

/// A coordinator without workers.
fn begun(place: &Place) -> Running {
    let mut served = place.serve(&["--store", "shared.granule"]);
    served.until("workers can come", |running| running.stderr().contains("to add workers: ").then_some(()));
    served
}

fn object(text: &str) -> Value {
    serde_json::from_str(text).expect("one object")
}

fn names(report: &Value) -> Vec<(Option<u64>, &str)> {
    let figures = report["figures"].as_array().expect("figures");
    figures.iter().map(|of| (of["seed"].as_u64(), of["name"].as_str().expect("a name"))).collect()
}

const OF_PAPER: [&str; 6] =
    ["spike-probability", "connections", "conductances", "distributions", "densities", "summary"];

#[test]
fn what_is_there_of_an_unfinished_sweep_is_drawn_and_marked() {
    let place = unfinished();
    let served = begun(&place);
    // During a run, which locks the directory and the store.
    let during = place.run(&["figures", "out", "--json"]).succeeded();
    served.signal(Signal::SIGTERM);
    assert_eq!(served.end().code, Some(143));
    let ended = place.run(&["figures", "out", "--to", "again"]).succeeded();
    let report = object(&during.stdout);
    // Conditions with equal parameters share their trials.
    let counts = json!({ "drawn": 42, "chosen": 90, "stored": 42, "total": 90 });
    assert_eq!(report["preliminary"], counts);
    assert_eq!(report["manifest"], Value::Null);
    let of_sweep = ["differences", "seeds", "psth", "raster", "heat-map", "conductance-traces"];
    let mut expected: Vec<(Option<u64>, &str)> = of_sweep.map(|name| (None, name)).to_vec();
    expected.extend(OF_PAPER.map(|name| (Some(7), name)));
    assert_eq!(names(&report), expected);
    let mark = "preliminary: 42 of 90 trials";
    for figure in report["figures"].as_array().expect("figures") {
        assert!(figure["title"].as_str().expect("a title").ends_with(&format!(" ({mark})")), "{figure}");
        for file in figure["files"].as_array().expect("files") {
            let file = file.as_str().expect("a path");
            let bytes = fs::read(place.path("out/figures").join(file)).expect("it was written");
            if file.ends_with(".svg") {
                let svg = String::from_utf8(bytes).expect("text");
                let title = format!("({mark})</title>");
                assert!(svg.contains(&title) && svg.contains(&format!(">{mark}<")), "{file}");
            } else if file.ends_with(".json") {
                let numbers = object(&String::from_utf8(bytes).expect("text"));
                assert_eq!(
                    (&numbers["preliminary"], &numbers["manifest"]),
                    (&counts, &Value::Null),
                    "{file}"
                );
            }
        }
    }
    let notes = report["notes"].to_string();
    for note in [
        mark,
        "left out all 4 conditions, seed 451: no trial is stored yet",
        "no figures of the paper for seeds 8,451: trials of Control, GABAzine or ACh are missing",
    ] {
        assert!(notes.contains(note), "no `{note}` in {notes}");
        assert!(ended.stderr.contains(note), "no `{note}` in {}", ended.stderr);
    }
    assert!(ended.stdout.ends_with(&format!("; {mark}\n")), "{}", ended.stdout);
    let measures = fs::read_to_string(place.path("out/figures/measures.csv")).expect("a table");
    assert_eq!(measures.lines().count(), 1 + 2 * 4, "{measures}");
    assert!(measures.lines().any(|line| line.starts_with("ACh,") && line.contains(",8,4,")), "{measures}");

    // The figures of a complete part have the final numbers.
    place.run(&["figures", "out", "--seeds", "7", "--to", "whole", "--format", "svg"]).succeeded();
    place.run(&["run", "sweep.yaml", "--out", "out", "--store", "shared.granule"]).succeeded();
    place.run(&["figures", "out", "--seeds", "7", "--to", "final", "--format", "svg"]).succeeded();
    let read =
        |path: &str| fs::read_to_string(place.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    let mark = "preliminary: all 30 chosen trials; 42 of 90 trials of the sweep are stored";
    for file in ["psth", "conductance-traces", "seed-7/summary", "seed-7/conductances", "seed-7/densities"] {
        let numbers = |of: &str| object(&read(&format!("{of}/{file}.json")))["tables"].clone();
        assert_eq!(numbers("whole"), numbers("final"), "{file}");
        assert!(read(&format!("whole/{file}.svg")).contains(mark), "{file}");
        assert!(!read(&format!("final/{file}.svg")).contains("preliminary"), "{file}");
    }
}

#[test]
fn what_was_drawn_before_the_end_does_not_pass_for_final() {
    let place = unfinished();
    let served = begun(&place);
    served.signal(Signal::SIGTERM);
    served.end();
    place.run(&["figures", "out", "--format", "svg"]).succeeded();
    let ended = place.run(&["report", "out"]).succeeded();
    let mark = "preliminary: 42 of 90 trials";
    assert!(ended.stdout.ends_with(&format!("; {mark}\n")), "{}", ended.stdout);
    let page = fs::read_to_string(place.path("out/report.html")).expect("it was written");
    assert!(page.contains(&format!("<strong>{mark}</strong>")), "{page}");
    assert!(
        page.contains("<title>test: preliminary report</title>") && page.contains("42 of 90 stored so far")
    );
    assert!(!page.contains("granule-manifest") && !page.contains("id=\"files\""));
    let stale = || object(&place.run(&["status", "out", "--json"]).succeeded().stdout)["stale"].clone();
    assert_eq!(stale(), json!([]));
    // The same sweep with more trials, and then complete.
    let both = json!(["out/figures", "out/report.html"]);
    place.run(&["run", "part.yaml", "--out", "more", "--store", "shared.granule"]).succeeded();
    assert_eq!(stale(), json!([]));
    let further =
        fs::read_to_string(place.path("part.yaml")).expect("a sweep").replace("trials: 4", "trials: 5");
    place.write("part.yaml", further);
    place.run(&["run", "part.yaml", "--out", "more", "--store", "shared.granule"]).succeeded();
    assert_eq!(stale(), both);
    let ended = place.run(&["run", "sweep.yaml", "--out", "out", "--store", "shared.granule"]).succeeded();
    for path in ["out/figures", "out/report.html"] {
        let note = format!("note: {path} shows an earlier state of the sweep; draw it again");
        assert!(ended.stderr.contains(&note), "{}", ended.stderr);
    }
    assert_eq!(stale(), both);
    let ended = place.run(&["verify", "out"]).failed_with(3, &["draw again: granule figures out"]);
    assert!(ended.stdout.contains("stale: figures: drawn from an earlier state"), "{}", ended.stdout);
    // The final figures replace them completely.
    place.run(&["figures", "out", "--format", "svg"]).succeeded();
    place.run(&["report", "out"]).succeeded();
    assert_eq!(stale(), json!([]));
    for file in ["out/figures/psth.svg", "out/figures/figures.json", "out/report.html"] {
        let text = fs::read_to_string(place.path(file)).expect("it was written");
        assert!(!text.contains("preliminary"), "{file}");
    }
}

#[test]
fn nothing_is_drawn_of_nothing() {
    let place = unfinished();
    let served = begun(&place);
    let seed = ["figures", "out", "--seeds", "451"];
    place.run(&seed).failed_with(3, &["no trial of the chosen conditions and seeds of sweep ", "help: "]);
    place
        .run(&["figures", "out", "--trial", "10"])
        .failed_with(2, &["has no trial 10", "choose one of 0..9"]);
    assert!(!place.path("out/figures").exists());
    // The trial in the raster must be stored for all conditions.
    let arguments = ["figures", "out", "--seeds", "8", "--trial", "7", "--format", "svg", "--json"];
    let report = object(&place.run(&arguments).succeeded().stdout);
    assert!(names(&report).iter().all(|(_, name)| *name != "raster"), "{report}");
    assert!(
        report["notes"].to_string().contains("left out the raster and the heat map: they need trial 7"),
        "{report}"
    );
    served.signal(Signal::SIGTERM);
    served.end();
}
