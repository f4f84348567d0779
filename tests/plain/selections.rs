//! Options that select parts of a sweep: conditions by name, pattern and value, and seeds as in sweep files.

use std::collections::BTreeSet;
use std::fs;

use crate::support::{Place, Sweep};

fn finished() -> Place {
    let place = Place::new();
    let grid = "{ name: 'leak{golgi.leak_reversal}-{granule.tonic_factor}', grid: { golgi.leak_reversal: [-53 mV, -51 mV], \
                granule.tonic_factor: [0.25, 0.5] } }";
    let sweep = Sweep {
        network: [40, 16, 5],
        engine: "pcg",
        seeds: vec![1, 2, 3, 451],
        trials: 1,
        conditions: vec!["Control", "ACh", grid],
        record: "{}",
        ..Sweep::small()
    };
    place.sweep("sweep.yaml", &sweep);
    place.run(&["run", "sweep.yaml", "--out", "out"]).succeeded();
    place
}

/// Conditions and seeds in a table of the selection.
fn chosen(place: &Place, arguments: &[&str]) -> (Vec<String>, Vec<u32>) {
    let arguments = [&["export", "out", "--psth", "table.csv", "--bin", "2000"], arguments].concat();
    place.run(&arguments).succeeded();
    let table = fs::read_to_string(place.path("table.csv")).expect("a table");
    let (mut conditions, mut seeds) = (Vec::new(), BTreeSet::new());
    for line in table.lines().skip(1) {
        let mut cells = line.split(',');
        let condition = cells.next().expect("a condition").to_owned();
        if !conditions.contains(&condition) {
            conditions.push(condition);
        }
        seeds.insert(cells.next().and_then(|seed| seed.parse().ok()).expect("a seed"));
    }
    (conditions, seeds.into_iter().collect())
}

#[test]
fn conditions_are_chosen_by_pattern_and_by_value() {
    let place = finished();
    let check = |arguments: &[&str], expected: &[&str]| {
        assert_eq!(chosen(&place, arguments).0, expected, "{arguments:?}");
    };
    check(&["--conditions", "ACh,Control"], &["Control", "ACh"]);
    check(&["--conditions", "leak-53*"], &["leak-53-0.25", "leak-53-0.5"]);
    check(&["--conditions", "*-0.5,ACh"], &["ACh", "leak-53-0.5", "leak-51-0.5"]);
    check(&["--conditions", "???"], &["ACh"]);
    check(&["--where", "granule.tonic_factor=0.5"], &["leak-53-0.5", "leak-51-0.5"]);
    check(&["--where", "golgi.leak_reversal=-0.053 V"], &["leak-53-0.25", "leak-53-0.5"]);
    check(&["--where", "golgi.leak_reversal>-53 mV,granule.tonic_factor<0.5"], &["leak-51-0.25"]);
    check(
        &["--where", "golgi.leak_reversal>=-53 mV", "--where", "granule.tonic_factor<=0.25"],
        &["leak-53-0.25", "leak-51-0.25"],
    );
    check(&["--where", "granule.tonic_factor=1", "--conditions", "C*"], &["Control"]);
    // Other commands have the same options.
    let report = place.run(&["report", "out", "--conditions", "leak-53*", "--seeds", "1..2"]).succeeded();
    assert!(report.stdout.contains("figures in out/report.html"), "{}", report.stdout);
    let page = fs::read_to_string(place.path("out/report.html")).expect("a page");
    assert!(page.contains(">leak-53-0.5<"));
    let explained =
        place.run(&["explain", "sweep.yaml", "--out", "out", "--where", "granule.tonic_factor=0.5"]);
    let stdout = explained.succeeded().stdout;
    assert!(stdout.ends_with("test: 8 trials reused, 0 to be computed\n"), "{stdout}");
    let explained =
        place.run(&["explain", "sweep.yaml", "--out", "out", "--condition", "ACh", "--seed", "451"]);
    assert_eq!(explained.succeeded().stdout.lines().count(), 2);
}

#[test]
fn seeds_are_chosen_as_sweep_files_have_them() {
    let place = finished();
    let check = |seeds: &str, expected: &[u32]| {
        assert_eq!(chosen(&place, &["--seeds", seeds]).1, expected, "{seeds}");
    };
    check("1..2", &[1, 2]);
    check("1-2", &[1, 2]);
    check("2..1000", &[2, 3, 451]);
    check("451,1", &[1, 451]);
    check("1..2,451", &[1, 2, 451]);
    // Output uses the same notation.
    let status = place.run(&["status", "out"]).succeeded().stdout;
    assert!(status.contains(" seeds 1..3,451 "), "{status}");
    let explained = place.run(&["explain", "sweep.yaml", "--out", "out"]).succeeded().stdout;
    assert!(explained.contains(", seeds 1..3,451, trial 0: "), "{explained}");
}

#[test]
fn what_chooses_nothing_is_an_error_that_lists_what_there_is() {
    let place = finished();
    let all = "the conditions are Control, ACh, leak-53-0.25, leak-53-0.5, leak-51-0.25, leak-51-0.5";
    for (arguments, parts) in [
        (
            ["--conditions", "Contrl"],
            ["has no condition `Contrl`", "help: did you mean `Control`? the conditions are Control, ACh, "],
        ),
        (["--conditions", "leek-*"], ["no condition of sweep test matches `leek-*`", all]),
        (
            ["--where", "granule.tonic_factor=0.7"],
            [
                "no condition of sweep test has granule.tonic_factor=0.7",
                "the values of granule.tonic_factor are 1, ",
            ],
        ),
        (
            ["--where", "granule.tonic_factor=0.5,golgi.leak_reversal<-53 mV"],
            [
                "has granule.tonic_factor=0.5 and golgi.leak_reversal<-53 mV",
                "each filter fits a condition, but no condition fits all",
            ],
        ),
        (["--where", "granule.tonic_factr=1"], ["invalid value", "did you mean `granule.tonic_factor`?"]),
        (["--where", "golgi.leak_reversal=-53"], ["needs a unit", "write `-53 mV`"]),
        (["--seeds", "9"], ["sweep test has no seed 9", "help: it has 1..3,451"]),
        (["--seeds", "4..450"], ["none of the seeds 4..450", "help: it has 1..3,451"]),
        (["--seeds", "1.."], ["`1..` is neither a seed nor a range of seeds", "`1..20`, both ends included"]),
        (["--seeds", "3..1"], ["the range `3..1` ends before it begins", "write `1..3`"]),
        (["--seeds", "4294967296"], ["a seed is at most 4294967295", "invalid value"]),
    ] {
        for command in [
            &["export", "out", "--to", "x.csv"][..],
            &["figures", "out"],
            &["explain", "sweep.yaml", "--out", "out"],
        ] {
            place.run(&[command, &arguments].concat()).failed_with(2, &parts);
        }
    }
    let reproduce = ["reproduce", "out", "--condition", "ACh", "--trial", "0", "--seed"];
    place.run(&[&reproduce[..], &["1..2"]].concat()).failed_with(2, &["`1..2` is a range; choose one seed"]);
}

#[test]
fn conditions_that_are_alike_share_a_line_and_the_sum_comes_last() {
    let place = Place::new();
    let grid =
        "{ name: 'leak{granule.tonic_factor}', grid: { granule.tonic_factor: { linspace: [0.1, 1, 20] } } }";
    let sweep = Sweep {
        network: [40, 16, 5],
        engine: "pcg",
        seeds: vec![1, 2],
        trials: 5,
        // The last point of the grid equals Control.
        conditions: vec!["Control", "GABAzine", grid],
        record: "{}",
        ..Sweep::small()
    };
    place.sweep("sweep.yaml", &sweep);
    // The plan counts different trials: 21 different conditions.
    let plan = place.run(&["plan", "sweep.yaml", "--out", "out"]).succeeded().stdout;
    assert!(plan.contains("= 220 trials, 210 of them distinct (1 condition equal to another; "), "{plan}");
    assert!(plan.contains("to compute: 210 trials (0 stored)"), "{plan}");
    let explained = place.run(&["explain", "sweep.yaml", "--out", "out"]).succeeded().stdout;
    let lines: Vec<&str> = explained.lines().collect();
    assert_eq!(lines.len(), 3, "{explained}");
    assert!(
        lines[0].starts_with("  all 22 conditions, seeds 1..2, trials 0..4: to compute: "),
        "{explained}"
    );
    assert!(lines[1].contains("share trials; the total below counts each trial once"), "{explained}");
    assert_eq!(lines[2], "test: 0 trials reused, 210 to be computed");
    let ended = place.run(&["run", "sweep.yaml", "--out", "out", "--json"]).succeeded();
    assert!(ended.stderr.contains("0 of 210 distinct trials stored"), "{}", ended.stderr);
    let done: serde_json::Value = serde_json::from_str(&ended.stdout).expect("an object");
    assert_eq!(done["trials"]["total"], 210);
    let status = place.run(&["status", "out"]).succeeded().stdout;
    let lines: Vec<&str> = status.lines().collect();
    assert!(lines.len() <= 8, "{status}");
    assert_eq!(lines.last(), Some(&"test: complete, 210 of 210 trials stored (100 %)"), "{status}");
    assert!(status.contains("leak* (20 conditions)"), "{status}");
}
