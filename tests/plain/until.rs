//! Sweeps whose number of trials depends on the precision of a measure: `trials: { until: … }`.

use std::collections::BTreeMap;
use std::fs;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::{Hashes, Place, Trials};

/// A sweep that needs more than the first trials, and fewer than the most.
const SWEEP: &str = "
name: until
network: { mossy_fibers: 39, granule_cells: 96, golgi_cells: 4 }
seeds: [451, 452]
trials: { until: { measure: response_probability, half_width: 0.03 }, at_least: 4, at_most: 200 }
conditions: [Control, GABAzine, { name: again, base: Control }]
";

fn place_of(sweep: &str) -> Place {
    let place = Place::new();
    place.write("sweep.yaml", sweep);
    place
}

const RUN: [&str; 4] = ["run", "sweep.yaml", "--out", "out"];

/// All arrays, and what the manifest says of the number of trials.
fn results(place: &Place) -> (Hashes, Value, Value) {
    let manifest = place.manifest("out");
    (place.outputs("out"), manifest["sweep"].clone(), manifest["decisions"].clone())
}

fn trials(place: &Place) -> u64 {
    place.manifest("out")["sweep"]["trials"].as_u64().expect("a number")
}

/// Expects that each decision follows from the table of trials, by the definition in docs/sweeps.md.
fn check_decisions(place: &Place, measure: &str, goal: f64, most: u64) {
    let table = place.run(&["export", "out", "--trials", "-"]).succeeded().stdout;
    let mut lines = table.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let head = lines.next().expect("a header");
    let column = |name: &str| head.iter().position(|of| *of == name).expect("a column");
    let [condition, seed, trial, value] = ["condition", "seed", "trial", measure].map(column);
    let mut values: BTreeMap<(String, String), Vec<f64>> = BTreeMap::new();
    for line in lines {
        let of = values.entry((line[condition].to_owned(), line[seed].to_owned())).or_default();
        assert_eq!(line[trial], of.len().to_string());
        of.push(line[value].parse().expect("a number"));
    }
    let manifest = place.manifest("out");
    let decisions = manifest["decisions"].as_array().expect("decisions").clone();
    assert!(decisions.len() > 1, "{decisions:?}");
    for (at, decision) in decisions.iter().enumerate() {
        let n = decision["trials"].as_u64().expect("a number");
        let is_last = at + 1 == decisions.len();
        if let Some(next) = decisions.get(at + 1) {
            assert_eq!(next["trials"].as_u64(), Some((n + n.div_ceil(4)).min(most)));
        }
        let mut names: Vec<&str> = values.keys().map(|(name, _)| name.as_str()).collect();
        names.dedup();
        let errors = names.iter().map(|name| {
            let of_name: Vec<&Vec<f64>> =
                values.iter().filter(|((of, _), _)| of == name).map(|(_, values)| values).collect();
            let variance = |values: &[f64]| {
                let mean = values.iter().sum::<f64>() / n as f64;
                values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n as f64 - 1.0)
            };
            let seeds = of_name.len() as f64;
            let sum: f64 = of_name.iter().map(|values| variance(&values[..n as usize]) / n as f64).sum();
            (*name, sum.sqrt() / seeds, seeds * (n as f64 - 1.0))
        });
        let (_, error, degrees) = errors.max_by(|a, b| a.1.total_cmp(&b.1)).expect("a condition");
        let found = decision["half_width"].as_f64().expect("a number");
        // Student's t is above the normal quantile, and below this bound from six degrees of freedom on.
        assert!(degrees >= 6.0 && found > 1.9599 * error && found < 2.447 * error, "{decision}: {error}");
        assert!((found <= goal) == is_last || is_last && n == most, "{decision}");
    }
    assert_eq!(manifest["sweep"]["trials"], decisions.last().expect("a decision")["trials"]);
}

#[test]
fn the_number_of_trials_depends_on_nothing_but_the_file() {
    let undisturbed = {
        let place = place_of(SWEEP);
        let plan = place.run(&["plan", "sweep.yaml", "--out", "out"]).succeeded().stdout;
        assert!(plan.contains("2 seeds × 4 to 200 trials = at most 1200 trials"), "{plan}");
        assert!(plan.contains("until response_probability is known to ± 0.03"), "{plan}");
        let ended = place.run(&[&RUN[..], &["--workers", "1"]].concat()).succeeded();
        assert!(ended.stderr.contains("4 trials are not enough: "), "{}", ended.stderr);
        assert!(
            ended.stderr.contains(&format!("{} trials are enough: ", trials(&place))),
            "{}",
            ended.stderr
        );
        check_decisions(&place, "response_probability", 0.03, 200);
        let count = trials(&place);
        assert!((5..200).contains(&count), "{count}");
        // Conditions with equal parameters are computed once.
        assert_eq!(place.trials("out"), Trials { computed: 4 * count, reused: 0 });
        // The same command does nothing, and others read the directory as any other.
        let again = place.run(&RUN).succeeded();
        assert!(again.stdout.contains("already complete"), "{}", again.stdout);
        let plan = place.run(&["plan", "sweep.yaml", "--out", "out"]).succeeded().stdout;
        assert!(
            plan.contains(&format!("× {count} trials = ")) && plan.contains("to compute: 0 trials"),
            "{plan}"
        );
        let explain = place.run(&["explain", "sweep.yaml", "--out", "out"]).succeeded().stdout;
        assert!(explain.contains(&format!("number of trials: {count}, decided by")), "{explain}");
        assert!(explain.contains("    after 4: ± 0."), "{explain}");
        place.run(&["verify", "out"]).succeeded();
        place.run(&["report", "out", "--to", "report.html"]).succeeded();
        let page = fs::read_to_string(place.path("report.html")).expect("a report");
        assert!(
            page.contains(&format!("Every condition reached the goal with {count} trials: the widest")),
            "{page}"
        );
        results(&place)
    };

    let place = place_of(SWEEP);
    place.run(&[&RUN[..], &["--workers", "5", "--shard-trials", "1"]].concat()).succeeded();
    assert_eq!(results(&place), undisturbed);

    // Trials that are stored before, here for another rule, change nothing.
    let place = place_of(&SWEEP.replace("half_width: 0.03", "half_width: 1e-9").replace("200", "150"));
    let ended = place.run(&RUN).succeeded();
    let note =
        "note: 150 trials are the limit, and not enough: the interval of response_probability is widest in";
    assert!(ended.stderr.contains(note), "{}", ended.stderr);
    assert_eq!(trials(&place), 150);
    // The report does not state that the goal was reached.
    place.run(&["report", "out", "--to", "report.html"]).succeeded();
    let page = fs::read_to_string(place.path("report.html")).expect("a report");
    assert!(page.contains("The simulation ended at the limit of 150 trials without the goal: the widest"));
    assert!(page.contains(" 0 of 3 conditions reached it; 3 did not (Control ± 0."), "{page}");
    place.write("sweep.yaml", SWEEP);
    place.run(&RUN).succeeded();
    assert_eq!(results(&place), undisturbed);
    assert_eq!(place.trials("out").computed, 0);
}

#[test]
fn a_killed_run_decides_as_one_that_was_not() {
    let slow = SWEEP.replace("granule_cells: 96", "granule_cells: 200").replace("0.03", "0.02");
    let undisturbed = {
        let place = place_of(&slow);
        place.run(&RUN).succeeded();
        results(&place)
    };
    let place = place_of(&slow);
    let mut kills = 0;
    for blocks in [24, 60, 110] {
        let mut running = place.start(&[&RUN[..], &["--workers", "2", "--shard-trials", "1"]].concat());
        let is_far = |place: &Place| place.length("out/store.granule") > blocks * 4096;
        running.until("trials are stored", |_| {
            (is_far(&place) || place.path("out/manifest.json").exists()).then_some(())
        });
        running.signal(Signal::SIGKILL);
        kills += u32::from(running.end().code.is_none());
        let status = place.run(&["status", "out"]).succeeded().stdout;
        assert!(status.contains("of at most ") || status.contains("complete"), "{status}");
    }
    assert!(kills > 0);
    place.run(&[&RUN[..], &["--workers", "1"]].concat()).succeeded();
    assert_eq!(results(&place), undisturbed);
}

/// Returns a random number in each trial. Trial 2 of seed 3 fails if `failing` is 1.
const PROGRAM: &str = r#"
import json, os, random
requests, answers = os.fdopen(3, "rb"), os.fdopen(4, "wb", buffering=0)
def say(answer):
    answers.write(json.dumps(answer).encode() + b"\n")
json.loads(requests.readline())
say({"granule": 1, "versions": {}})
for line in requests:
    request = json.loads(line)
    draw = random.Random(f"{request['condition']} {request['seed']} {request['trial']}")
    if request["parameters"]["test.failing"] and (request["seed"], request["trial"]) == (3, 2):
        say({"id": request["id"], "error": "no fibres"})
    else:
        say({"id": request["id"], "values": {"size": draw.gauss(10, request["parameters"]["test.spread"])}})
"#;

const MODEL: &str = "
granule-model: 1
name: numbers
program: [python3, program.py]
files: [program.py]
parameters:
  test.spread: { default: 1 }
  test.failing: { default: 0 }
returns:
  size: { unit: mV, about: a size }
";

fn own_place(failing: u8) -> Place {
    let place = Place::new();
    place.write("program.py", PROGRAM);
    place.write("numbers.model.yaml", MODEL);
    place.write(
        "sweep.yaml",
        format!(
            "model: numbers.model.yaml\nseeds: [3, 5]\nset: {{ test.failing: {failing} }}\n\
             trials: {{ until: {{ measure: size, half_width: 0.4 }}, at_least: 4, at_most: 300 }}\n\
             conditions: [{{ name: narrow }}, {{ name: wide, set: {{ test.spread: 2 }} }}]\n"
        ),
    );
    place
}

#[test]
fn the_number_may_depend_on_what_an_own_model_returns() {
    let place = own_place(0);
    place.run(&[&RUN[..], &["--workers", "2"]].concat()).succeeded();
    check_decisions(&place, "size", 0.4, 300);
    assert_eq!(place.manifest("out")["decisions"][0]["condition"], "wide");
    let again = own_place(0);
    again.run(&[&RUN[..], &["--workers", "1"]].concat()).succeeded();
    assert_eq!(results(&again), results(&place));

    // A trial that was set aside has no value; the others decide. The run is incomplete, as without a rule.
    let failing = own_place(1);
    failing.run(&[&RUN[..], &["--workers", "2"]].concat()).failed_with(3, &["2 trials were set aside"]);
    let manifest = failing.manifest("out");
    assert!((5..300).contains(&trials(&failing)), "{manifest:#}");
    assert_eq!(manifest["set_aside"].as_array().map(Vec::len), Some(2), "{manifest:#}");
    let sweep = fs::read_to_string(place.path("sweep.yaml")).expect("a file");
    place.write("sweep.yaml", sweep.replace("measure: size", "measure: sise"));
    place.run(&RUN).failed_with(2, &["did you mean `size`?"]);
}

#[test]
fn measures_are_checked_before_anything_is_computed() {
    let place = place_of(&SWEEP.replace("response_probability", "respnse_probability"));
    let serve = &["serve", "--listen", "127.0.0.1:0"][..];
    for command in [&["run"][..], &["plan"], &["explain"], serve] {
        let expected = ["unknown measure `respnse_probability`", "did you mean `response_probability`?"];
        place.run(&[command, &["sweep.yaml"]].concat()).failed_with(2, &expected);
    }
    place.write("sweep.yaml", SWEEP.replace("response_probability", "fano_factor"));
    place
        .run(&RUN)
        .failed_with(2, &["a single trial does not have the measure `fano_factor`", "peak_spikes_per_ms"]);
    assert!(!place.path("out").exists());
}
