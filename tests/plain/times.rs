//! Whole numbers from decimals: steps, bins and counts, from the sweep file to the output files. Version 0.1.0 computed
//! some of them differently; its directories are tested, too.

use std::fs;
use std::process::Command;

use crate::support::{Place, Trials, root};

/// A sweep with exactly one spike per cell in every millisecond.
const EVERY_MS: &str = "
granule: { noise_sigma: 0 nS, threshold: -80 mV, refractory: 1 ms }
golgi: { noise_sigma: 0 nS }
stimulus: { times: [] }
network: { mossy_fibers: 10, granule_cells: 3, golgi_cells: 2 }
trials: 2
conditions: [Control]
";

/// The numbers of an array of doubles.
fn numbers(place: &Place, path: &str) -> Vec<f64> {
    let bytes = fs::read(place.path(path)).expect("an array");
    let header = usize::from(u16::from_le_bytes([bytes[8], bytes[9]])) + 10;
    bytes[header..].as_chunks().0.iter().map(|number| f64::from_le_bytes(*number)).collect()
}

/// Spikes of granule cells in each millisecond, by `export --psth`.
fn psth(place: &Place) -> Vec<u64> {
    place.run(&["export", "out", "--psth", "psth.csv", "--bin", "1", "--force"]).succeeded();
    let text = fs::read_to_string(place.path("psth.csv")).expect("a table");
    let rows = text.lines().filter(|row| row.contains(",granule,"));
    rows.map(|row| row.split(',').nth(5).and_then(|count| count.parse().ok()).expect("a count")).collect()
}

#[test]
fn a_spike_counts_in_its_millisecond() {
    // For each step, up to three milliseconds without a spike by the original's rule.
    for (step, duration, lost) in [
        ("0.1 ms", 2050, vec![0, 2001, 2005]),
        ("0.008 ms", 60, vec![0, 7, 14]),
        ("0.025 ms", 600, vec![0]),
        ("0.3333333333 ms", 90, vec![89]),
    ] {
        let place = Place::new();
        let time = format!("time: {{ step: {step}, duration: {duration} ms }}\n{EVERY_MS}");
        place.write("sweep.yaml", format!("engine: pcg\n{time}"));
        place.run(&["run", "sweep.yaml", "--out", "out", "--workers", "1"]).succeeded();
        let probability = numbers(&place, "out/seed-451/randomized_controlSpikeProb.npy");
        assert_eq!(probability.len(), 3 * duration, "{step}");
        assert!(probability.iter().all(|p| *p == 1.0), "{step}: {probability:?}");
        assert_eq!(psth(&place), vec![6; duration], "{step}");

        // The original's rule, which engine `brian2-2.2.1` keeps.
        place.write("sweep.yaml", format!("engine: brian2-2.2.1\n{time}"));
        place.run(&["run", "sweep.yaml", "--out", "out", "--replace"]).succeeded();
        let probability = numbers(&place, "out/seed-451/randomized_controlSpikeProb.npy");
        let empty: Vec<usize> = (0..duration).filter(|ms| probability[*ms] == 0.0).take(3).collect();
        assert_eq!(empty, lost, "{step}");
        assert_eq!(psth(&place), vec![6; duration], "{step}");
    }
}

#[test]
fn with_the_originals_rule_whole_milliseconds_fall_short() {
    let place = Place::new();
    let time = "time: { step: 0.008 ms, duration: 60 ms }";
    place.write("sweep.yaml", format!("engine: brian2-2.2.1\n{time}\n{EVERY_MS}"));
    place.run(&["run", "sweep.yaml", "--out", "out"]).succeeded();
    let probability = numbers(&place, "out/seed-451/randomized_controlSpikeProb.npy");
    let empty: Vec<usize> = (0..60).filter(|ms| probability[*ms] == 0.0).collect();
    assert_eq!(empty[..6], [0, 7, 14, 17, 21, 25]);
}

/// A bin width is a decimal. It may be no whole number of steps.
#[test]
fn a_bin_is_a_whole_number_of_steps() {
    let place = Place::new();
    place.write("sweep.yaml", format!("time: {{ duration: 30 ms }}\n{EVERY_MS}"));
    place.run(&["run", "sweep.yaml", "--out", "out"]).succeeded();
    let export = |bin: &str| place.run(&["export", "out", "--psth", "psth.csv", "--bin", bin, "--force"]);
    for bin in ["0.1", "0.3", "0.7", "1e-1", "30"] {
        export(bin).succeeded();
    }
    for bin in ["0.30000001", "0.05", "0.1000000001", "30.1", "0"] {
        let ended = export(bin);
        assert_eq!(ended.code, Some(2), "{bin}: {ended:#?}");
    }
}

/// A directory with two sweeps of version 0.1.0.
fn earlier() -> Place {
    let place = Place::new();
    let from = root().join("tests/earlier/0.1.0-steps");
    let copied = Command::new("cp").arg("-aT").args([from, place.path("")]).status();
    assert!(copied.expect("cp").success());
    place
}

#[test]
fn only_what_version_0_1_0_made_otherwise_is_made_again() {
    for (sweep, computed, files) in [("pcg", 6, 17), ("exact", 4, 10)] {
        let (file, out) = (format!("{sweep}.yaml"), format!("out/{sweep}"));
        let place = earlier();
        let explained = place.run(&["explain", &file]).succeeded();
        assert!(explained.stdout.contains("golgi_to_granule.delay"), "{explained:#?}");
        assert!(explained.stdout.contains("3 steps in version 0.1.0 -> 4 steps"), "{explained:#?}");
        let ended = place.run(&["verify", &out]);
        assert_eq!(ended.code, Some(3), "{ended:#?}");
        let outdated = ended.stdout.lines().filter(|line| line.starts_with("  outdated: ")).count();
        // Outdated files, and conditions without a trial that can be found.
        let problems = files + computed / 2;
        assert_eq!(outdated as u64, problems, "{ended:#?}");
        assert!(ended.stderr.contains(&format!("error: {problems} problems")), "{ended:#?}");
        // Unchanged conditions can be used before the next run.
        place.run(&["status", &out]).succeeded();
        place.run(&["export", &out, "--to", "spikes.csv", "--conditions", "Control,silent"]).succeeded();
        place
            .run(&["reproduce", &out, "--condition", "whole-steps", "--seed", "1", "--trial", "0"])
            .succeeded();
        let unchanged = ["figures", &out, "--conditions", "Control,short-steps", "--to", "drawn"];
        let ended = place.run(&unchanged).succeeded();
        // One of the two sweeps has different bins.
        assert_eq!(
            ended.stderr.contains("version 0.1.0 computed 1 file of these figures"),
            sweep == "pcg",
            "{ended:#?}"
        );
        for command in [&["export", &out, "--to", "all.csv"][..], &["figures", &out]] {
            assert_eq!(place.run(command).code, Some(3), "{command:?}");
        }
        let before = place.outputs(&out);
        let ended = place.run(&["run", &file]).succeeded();
        assert_eq!(place.trials(&out), Trials { computed, reused: 16 - computed }, "{sweep}");
        let reused = place.manifest(&out)["run"]["files_reused"].as_u64();
        assert_eq!(reused, Some(40 - files), "{sweep}: {ended:#?}");
        let after = place.outputs(&out);
        assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
        // The directory equals that of a fresh run.
        place.run(&["run", &file, "--out", "new"]).succeeded();
        assert_eq!(place.outputs("new"), after, "{sweep}");
        assert_ne!(before, after, "{sweep}");
        place.run(&["verify", &out, "--all"]).succeeded();
        assert!(place.run(&["run", &file]).succeeded().stdout.contains("already complete"));
    }
}

/// The condition has a new fingerprint, and the store, which was moved, has no usable trial.
#[test]
fn a_directory_of_which_everything_is_made_again_stays_its_sweeps() {
    let place = earlier();
    let before = place.outputs("out/alone");
    assert_eq!(before.len(), 5, "0.1.0 recorded every kind of file by default");
    place.run(&["run", "alone.yaml"]).succeeded();
    assert_eq!(place.trials("out/alone"), Trials { computed: 2, reused: 0 });
    assert_eq!(place.outputs("out/alone").keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
    let manifest = place.manifest("out/alone");
    // The noise stream that `noise: independent` gave the condition in version 0.1.0.
    assert_eq!(manifest["sweep"]["conditions"][0]["parameters"]["noise.stream"], "1265771774");
    assert!(!place.path("out/alone/store.granule").exists(), "the store beside it is used");
    place.run(&["verify", "out/alone", "--all"]).succeeded();
}

/// A missing trial is a problem, even if version 0.1.0 computed other steps.
#[test]
fn damage_of_a_recounted_condition_is_found() {
    let place = Place::new();
    let text = fs::read_to_string(root().join("tests/earlier/0.1.0-steps/alone.yaml")).expect("a sweep");
    place.write("sweep.yaml", text);
    place.run(&["run", "sweep.yaml", "--out", "out"]).succeeded();
    place.run(&["verify", "out"]).succeeded();
    fs::remove_file(place.path("out/store.granule")).expect("removed");
    place.write("other.yaml", "name: other\ntrials: 1\nnetwork: { granule_cells: 4, golgi_cells: 4 }\ntime: { duration: 20 ms }\nstimulus: { times: [] }\nconditions: [Control]\n");
    place.run(&["run", "other.yaml", "--out", "other"]).succeeded();
    fs::copy(place.path("other/store.granule"), place.path("out/store.granule")).expect("copied");
    let ended = place.run(&["verify", "out"]);
    assert_eq!(ended.code, Some(3), "{ended:#?}");
    assert!(ended.stdout.contains("trial missing: trial 0 of condition half-step"), "{ended:#?}");
}

/// Derives the steps of a delay from the conductance that remains of a spike in step 0.
#[test]
fn a_delay_of_half_a_step_is_what_the_engine_makes_of_it() {
    let steps = |engine: &str, delay: &str| {
        let place = Place::new();
        let text = format!(
            "engine: {engine}\ntrials: 1\nnetwork: {{ mossy_fibers: 2, granule_cells: 1, golgi_cells: 1 }}\n\
             time: {{ step: 0.1 ms, duration: 3 ms }}\nstimulus: {{ times: [], active_fraction: 1 }}\n\
             mossy_to_granule: {{ convergence: 2 }}\ngolgi: {{ noise_sigma: 0 nS, threshold: -70 mV }}\n\
             golgi_to_granule: {{ convergence: 1, delay: {delay} }}\nconditions: [Control]\n"
        );
        place.write("sweep.yaml", text);
        place.run(&["run", "sweep.yaml", "--out", "out"]).succeeded();
        let conductance = numbers(&place, "out/seed-451/controlCondI.npy");
        // The third sample has the conductance of step 19: 0.17 nS, which decays in each step after the arrival.
        let decays = (conductance[2] / 0.17).ln() / f64::ln(1.0 - 0.1 / 20.0);
        18 - decays.round() as i32
    };
    // The result of `int(x*ms/(0.1*ms) + 0.5)` in Python, where `ms` is 0.001.
    for (delay, half_up, brian2) in [
        ("0.05 ms", 1, 1),
        ("150 us", 2, 1),
        ("0.25 ms", 3, 3),
        ("0.35 ms", 4, 4),
        ("0.45 ms", 5, 5),
        ("0.55 ms", 6, 6),
        ("0.85 ms", 9, 9),
        ("1.15 ms", 12, 12),
        ("0.3 ms", 3, 3),
    ] {
        assert_eq!((steps("pcg", delay), steps("brian2-2.2.1", delay)), (half_up, brian2), "{delay}");
    }
}
