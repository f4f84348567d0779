//! Properties of every sweep: a result depends only on the values that determine it.
//!
//! Sweeps are drawn at random from the test runner's fixed seed, so a failure repeats in every run.

use std::collections::BTreeMap;
use std::fs;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::support::{Hashes, Place, Sweep, Trials};

/// A condition in a sweep file, without its name.
#[derive(Clone, Debug)]
struct Drawn {
    base: &'static str,
    set: BTreeMap<&'static str, String>,
}

impl Drawn {
    fn named(&self, name: &str, record: &str) -> String {
        let set: Vec<String> = self.set.iter().map(|(path, value)| format!("{path}: {value}")).collect();
        let Drawn { base, .. } = self;
        format!("  - {{ name: {name}, base: {base}, record: {record}, set: {{ {} }} }}\n", set.join(", "))
    }
}

/// Conditions of a few ms, in which cells are active.
fn condition() -> impl Strategy<Value = Drawn> {
    let step = prop::sample::select(vec!["0.1 ms", "0.05 ms", "0.04 ms", "0.2 ms"]);
    let base = prop::sample::select(vec!["Control", "GABAzine", "ACh"]);
    let number = |from: i32, to: i32, places: i32, unit: &'static str| {
        (from..to)
            .prop_map(move |x| format!("{} {unit}", f64::from(x) / f64::from(10_i32.pow(places as u32))))
    };
    let golgi_cells = (1..6_u32).prop_map(|cells| cells.to_string());
    let fraction = (1..100_i32).prop_map(|percent| format!("{}", f64::from(percent) / 100.0));
    let random = any::<bool>().prop_map(|random| random.to_string());
    let times = (
        step,
        number(0, 400, 2, "ms"),
        number(0, 400, 2, "ms"),
        number(200, 1500, 2, "ms"),
        number(-5200, -4900, 2, "mV"),
    );
    (base, golgi_cells, fraction, random, times).prop_map(|(base, golgi_cells, fraction, random, times)| {
        let (step, delay, refractory, stimulus, leak) = times;
        let set = [
            ("network.golgi_cells", golgi_cells),
            ("stimulus.active_fraction", fraction),
            ("weights.random", random),
            ("time.step", step.to_owned()),
            ("golgi_to_granule.delay", delay),
            ("granule.refractory", refractory),
            ("stimulus.times", format!("[{stimulus}]")),
            ("golgi.leak_reversal", leak),
            ("granule.tonic_conductance", "0.2 nS".to_owned()),
            ("mossy_to_granule.scale", "3".to_owned()),
        ];
        Drawn { base, set: set.into() }
    })
}

/// Whole sweeps: the engine, seeds, trials and conditions.
fn sweep() -> impl Strategy<Value = (&'static str, Vec<u32>, u32, Vec<Drawn>)> {
    let engine = prop::sample::select(vec!["pcg", "brian2-2.2.1"]);
    let seeds = prop::collection::btree_set(0..1000_u32, 1..3).prop_map(|seeds| seeds.into_iter().collect());
    (engine, seeds, 2..5_u32, prop::collection::vec(condition(), 2..5))
}

/// Runs a sweep in its own directory. Returns the hashes of all files.
fn run(engine: &str, seeds: &[u32], trials: u32, conditions: &str) -> Hashes {
    let place = Place::new();
    let text = format!(
        "engine: {engine}\nname: x\nseeds: {seeds:?}\ntrials: {trials}\nnetwork: {{ mossy_fibers: 20, granule_cells: 12 }}\n\
         time: {{ duration: 20 ms }}\nconditions:\n{conditions}"
    );
    place.write("sweep.yaml", text);
    place.run(&["run", "sweep.yaml", "--out", "out", "--workers", "1", "--shard-trials", "2"]).succeeded();
    place.run(&["export", "out", "--to", "spikes.csv"]).succeeded();
    let mut all = place.outputs("out");
    // The spikes of each condition, seed and trial, like files.
    let table = fs::read_to_string(place.path("spikes.csv")).expect("a table");
    let mut spikes: BTreeMap<String, String> = BTreeMap::new();
    for row in table.lines().skip(1) {
        let (trial, spike) = row.match_indices(',').nth(2).map(|(at, _)| row.split_at(at)).expect("columns");
        spikes.entry(trial.to_owned()).or_default().push_str(spike);
    }
    assert!(!spikes.is_empty() || table.lines().count() == 1);
    all.extend(spikes);
    all
}

fn check<S: Strategy>(cases: u32, strategy: &S, test: impl Fn(S::Value)) {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let outcome = TestRunner::new_with_rng(config, rng).run(strategy, |value| {
        test(value);
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

/// The files whose names contain `name`, with `name` removed.
fn of_condition(all: &Hashes, name: &str) -> Hashes {
    let own = all.iter().filter(|(path, _)| path.contains(name));
    own.map(|(path, hash)| (path.replacen(name, "", 1), hash.clone())).collect()
}

fn list(conditions: &[Drawn], record: &str) -> String {
    (0..).zip(conditions).map(|(at, drawn)| drawn.named(&format!("c{at}c"), record)).collect()
}

#[test]
fn a_trial_does_not_depend_on_which_others_are_in_the_sweep() {
    check(8, &sweep(), |(engine, seeds, trials, conditions)| {
        let together = run(engine, &seeds, trials, &list(&conditions, "all"));
        assert!(together.keys().any(|path| path.starts_with("c0c,")), "there are spikes: {conditions:?}");
        // Each condition, and each seed, alone.
        for (at, drawn) in conditions.iter().enumerate() {
            let name = format!("c{at}c");
            let alone = run(engine, &seeds[..1], trials, &drawn.named(&name, "all"));
            let same: Hashes = of_condition(&together, &name)
                .into_iter()
                .filter(|(path, _)| {
                    let seed = seeds[0].to_string();
                    path.starts_with(&format!("seed-{seed}/")) || path.starts_with(&format!(",{seed},"))
                })
                .collect();
            assert_eq!(of_condition(&alone, &name), same, "{name}: {drawn:?}");
        }
        // With fewer trials, the spikes of the remaining trials are the same.
        let fewer = run(engine, &seeds, trials - 1, &list(&conditions, "all"));
        let spikes = |all: &Hashes| -> Hashes {
            let of_trials = all.iter().filter(|(path, _)| !path.starts_with("seed-"));
            of_trials
                .filter(|(path, _)| !path.ends_with(&format!(",{}", trials - 1)))
                .map(|(path, spikes)| (path.clone(), spikes.clone()))
                .collect()
        };
        assert_eq!(spikes(&fewer), spikes(&together));
    });
}

#[test]
fn equal_parameters_under_two_names_give_equal_files() {
    check(6, &sweep(), |(engine, seeds, trials, conditions)| {
        let twice = list(&conditions, "all") + &conditions[0].named("twin", "all");
        let all = run(engine, &seeds, trials, &twice);
        assert_eq!(of_condition(&all, "c0c"), of_condition(&all, "twin"));
        assert!(!of_condition(&all, "twin").is_empty());
    });
}

#[test]
fn what_is_recorded_changes_nothing_else() {
    check(6, &sweep(), |(engine, seeds, trials, conditions)| {
        let all = run(engine, &seeds, trials, &list(&conditions, "all"));
        for record in
            ["{ probabilities: false }", "{ conductances: false, weights: false }", "{ connections: false }"]
        {
            let some = run(engine, &seeds, trials, &list(&conditions, record));
            let has_less = conditions.iter().any(|drawn| drawn.set["weights.random"] == "true");
            assert!(some.len() < all.len() || !has_less, "{record}");
            for (path, hash) in &some {
                assert_eq!(all.get(path), Some(hash), "{path} with {record}");
            }
        }
    });
}

/// If an axis gets more values, or a grid more axes with the old values, the old points are unchanged.
#[test]
fn nested_designs_keep_their_points() {
    let axes = (prop::collection::btree_set(1..60_i32, 2..4), 1..5_i32, 1..4_u32);
    check(4, &(condition(), axes), |(drawn, (weights, step, draws))| {
        let set: Vec<String> = drawn.set.iter().map(|(path, value)| format!("{path}: {value}")).collect();
        let of = |name: &str, axes: &str| {
            let base = drawn.base;
            format!(
                "  - {{ name: '{name}', base: {base}, record: all, set: {{ {} }}, {axes} }}\n",
                set.join(", ")
            )
        };
        let values: Vec<String> = weights.iter().map(|weight| format!("0.{weight:02} nS")).collect();
        let weight = "golgi_to_granule.weight";
        let sigma = "granule.noise_sigma";
        let check = |small: &str, large: &str| {
            let [small, large] = [small, large].map(|conditions| run("pcg", &[3], 2, conditions));
            assert!(!small.is_empty() && small.len() < large.len());
            for (path, hash) in &small {
                assert_eq!(large.get(path), Some(hash), "{path}");
            }
        };
        let name = format!("p-{{{weight}}}-{{{sigma}}}");
        let grid = |values: &[String], sigmas: &str| {
            of(&name, &format!("grid: {{ {weight}: [{}], {sigma}: [{sigmas}] }}", values.join(", ")))
        };
        check(&grid(&values[1..], "0.05 nS"), &grid(&values, "0.01 nS, 0.05 nS"));
        let name = format!("p-{{{weight}}}");
        let arange = |end: i32| {
            of(&name, &format!("grid: {{ {weight}: {{ arange: [0.1 nS, 0.{end} nS, 0.0{step} nS] }} }}"))
        };
        check(&arange(2), &arange(3));
        let random = |count: u32| {
            let rule = format!("{{ uniform: [0.1 nS, 0.5 nS], count: {count}, seed: 5 }}");
            of("p-{index}", &format!("grid: {{ {weight}: {{ random: {rule} }} }}"))
        };
        check(&random(draws), &random(draws + 2));
    });
}

/// As for `brian2-2.2.1`: workers, shards and resuming change nothing.
#[test]
fn workers_and_shards_change_nothing_of_pcg() {
    let sweep = Sweep { engine: "pcg", seeds: vec![451, 7], trials: 9, ..Sweep::small() };
    let undisturbed = sweep.undisturbed();
    let place = Place::new();
    place.sweep("first.yaml", &Sweep { seeds: vec![7], trials: 4, ..sweep });
    place.run(&["run", "first.yaml", "--out", "out", "--workers", "1"]).succeeded();
    place.sweep("sweep.yaml", &Sweep { engine: "pcg", seeds: vec![451, 7], trials: 9, ..Sweep::small() });
    place.run(&["run", "sweep.yaml", "--out", "out", "--workers", "3", "--shard-trials", "2"]).succeeded();
    assert_eq!(place.trials("out"), Trials { computed: 42, reused: 12 });
    assert_eq!(place.outputs("out"), undisturbed);
}
