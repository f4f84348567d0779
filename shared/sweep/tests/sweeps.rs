//! Valid sweep files, and their meaning.

use granule_engine::space::CellFactor;
use granule_granular::parameters::{LayerPopulation, PRESETS, preset};
use granule_granular::{ENGINES, Parameters, space};
use granule_sweep::{Condition, Overrides, Sweep, Until, from_variables, parse};

fn read(text: &str) -> Sweep {
    read_with(text, &Overrides::default())
}

fn read_with(text: &str, overrides: &Overrides) -> Sweep {
    parse(ENGINES, "x.yaml", text.as_bytes(), "x", overrides)
        .unwrap_or_else(|errors| panic!("{text}\n{errors}"))
}

fn environment(variables: &[(&str, &str)]) -> Overrides {
    from_variables(space(), |name| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| value.into()))
        .unwrap()
        .0
}

fn parameters(condition: &Condition) -> Parameters {
    Parameters::of(condition.model.values())
}

fn until(text: &str) -> (u32, Option<Until>) {
    let sweep = read(&format!("trials: {text}\nconditions: [Control]"));
    (sweep.trials, sweep.until)
}

#[test]
fn the_number_of_trials_may_depend_on_a_measure() {
    let rule = |at_least, at_most| {
        let measure = "response_probability".to_owned();
        (at_most, Some(Until { measure, half_width: 0.01, at_least, at_most, is_decided: false }))
    };
    let precise = "until: { measure: response_probability, half_width: 0.01 }";
    assert_eq!(until(&format!("{{ {precise}, at_least: 30, at_most: 400 }}")), rule(30, 400));
    assert_eq!(until(&format!("{{ at_most: 400, {precise} }}")), rule(20, 400));
    assert_eq!(
        until(&format!("{{ {precise}, at_most: 10 }}")),
        rule(10, 10),
        "the limit is below the default"
    );
    let block =
        "\n  until:\n    measure: response_probability\n    half_width: 1e-2\n  at_least: 2\n  at_most: 2";
    assert_eq!(until(block), rule(2, 2));
    assert_eq!(until("7"), (7, None));
    let overrides = environment(&[("CHAT_NUM_TRIAL", "5")]);
    let text = format!("trials: {{ {precise}, at_most: 400 }}\nconditions: [Control]");
    let sweep = read_with(&text, &overrides);
    assert_eq!((sweep.trials, sweep.until), (5, None), "a number replaces the rule");
}

const PAPER: &str = "
granule: 1                         # format version
name: paper
engine: brian2-2.2.1
network: { mossy_fibers: 315, granule_cells: 4096, golgi_cells: 27 }
weights: { random: true, seed: 35 }
seeds: [451]
trials: 100
conditions: [Control, GABAzine, ACh]
";

#[test]
fn the_papers_sweep() {
    let sweep = read(PAPER);
    assert_eq!((sweep.name.as_str(), sweep.engine.name()), ("paper", "brian2-2.2.1"));
    assert_eq!((sweep.seeds.as_slice(), sweep.trials), ([451].as_slice(), 100));
    assert_eq!(parameters(&sweep.conditions[0]), Parameters::default());
    assert_eq!(sweep.conditions.len(), PRESETS.len());
    for (condition, preset) in sweep.conditions.iter().zip(PRESETS) {
        assert_eq!(parameters(condition), Parameters::default().with(preset.overrides).unwrap());
        assert_eq!((condition.name.as_str(), condition.prefix()), (preset.name, preset.prefix));
        assert_eq!(condition.preset, Some(preset.name));
    }
}

#[test]
fn everything_but_the_conditions_has_the_papers_value_by_default() {
    let smallest = read("conditions: [Control, GABAzine, ACh]");
    assert_eq!(smallest.name, "x");
    assert_eq!(smallest.engine.name(), "pcg", "the one thing that is not as in the paper");
    let with_its_engine = read(&PAPER.replace("engine: brian2-2.2.1", "engine: pcg"));
    assert_eq!(smallest, Sweep { name: "x".to_owned(), ..with_its_engine });
    // Encoding, line ends and YAML style do not matter.
    let crlf = format!("\u{feff}{}", PAPER.replace('\n', "\r\n"));
    assert_eq!(read(&crlf), read(PAPER));
    let json = r#"{"name": "paper", "engine": "brian2-2.2.1", "seeds": [451], "conditions": ["Control", "GABAzine", "ACh"]}"#;
    assert_eq!(read(json), read(PAPER));
}

/// Reads a condition named `c` with these fields.
fn condition(fields: &str) -> Condition {
    let sweep = read(&format!("conditions: [{{ name: c, {fields} }}]"));
    let [condition] = &sweep.conditions[..] else { panic!("one condition") };
    assert_eq!((condition.name.as_str(), condition.prefix(), condition.preset), ("c", "c", None));
    condition.clone()
}

#[test]
fn every_kind_of_parameter_can_be_set() {
    let check = |set: &str, change: fn(&mut Parameters)| {
        let mut expected = Parameters::default();
        change(&mut expected);
        assert_ne!(expected, Parameters::default(), "{set}");
        assert_eq!(parameters(&condition(&format!("set: {{ {set} }}"))), expected, "{set}");
    };
    check("golgi.leak_reversal: -53 mV", |p| p.golgi.leak_reversal_mvolt = -53.0);
    check("golgi.leak_reversal: \"-0.053 V\"", |p| p.golgi.leak_reversal_mvolt = -53.0);
    check("golgi_to_granule.weight: 180pS", |p| p.golgi_to_granule.weight_nsiemens = 0.18);
    check("granule.capacitance: 0.0032 nF", |p| p.granule.capacitance_pfarad = 3.2);
    check("time.duration: 3 s", |p| p.time.duration_ms = 3000.0);
    check("golgi_to_granule.delay: 1500 µs", |p| p.golgi_to_granule.delay_ms = 1.5);
    check("mossy_to_granule.scale: 4.521e-1", |p| p.mossy_to_granule.scale = 0.4521);
    check("granule.tonic_factor: 0.5", |p| p.tonic.factor = CellFactor::Constant(0.5));
    check("granule.tonic_factor: { gamma: { mean: 0.4, sd: 0.07, seed: 1 } }", |p| {
        p.tonic.factor = CellFactor::Gamma { mean: 0.4, sd: 0.07, seed: 1 };
    });
    check("stimulus.times: [1010 ms, 1.02 s]", |p| p.stimulus.times_ms = vec![1010.0, 1020.0]);
    check("stimulus.times: []", |p| p.stimulus.times_ms = Vec::new());
    check("noise.first: granule", |p| p.noise.first = LayerPopulation::Granule);
    check("weights.random: False", |p| p.weights.random = false);
    check("weights.trial_seed: 4294967295", |p| p.weights.trial_seed = u32::MAX);
    check("network.golgi_cells: 1000000", |p| p.network.golgi_cells = 1_000_000);
}

#[test]
fn a_condition_starts_from_its_base() {
    let defaults = Parameters::default();
    assert_eq!(parameters(&condition("")), defaults);
    assert_eq!(parameters(&condition("base: Control")), defaults);
    let ach = defaults.clone().with(preset("ACh").unwrap().overrides).unwrap();
    assert_eq!(parameters(&condition("base: ACh")), ach);

    // Precedence: the base at the top of the file, then the preset, then each `set` in turn.
    let sweep = read(
        "
network: { golgi_cells: 9 }
weights: { random: false, mean: 0.2 nS }
conditions:
  - ACh
  - { name: first, base: ACh, set: { golgi.leak_reversal: -54 mV, golgi.reset: -56 mV } }
  - name: second
    base: first
    set: { golgi.leak_reversal: -53 mV, network.golgi_cells: 8 }
",
    );
    let mut expected = ach;
    expected.network.golgi_cells = 9;
    expected.weights.random = false;
    expected.weights.mean_nsiemens = 0.2;
    assert_eq!(parameters(&sweep.conditions[0]), expected);
    expected.golgi.leak_reversal_mvolt = -54.0;
    expected.golgi.reset_mvolt = -56.0;
    assert_eq!(parameters(&sweep.conditions[1]), expected);
    expected.golgi.leak_reversal_mvolt = -53.0;
    expected.network.golgi_cells = 8;
    assert_eq!(parameters(&sweep.conditions[2]), expected);
}

#[test]
fn limits_are_within() {
    let sweep = read(
        "
name: 2024.a_b-C
seeds: [0, 4294967295, 7]
trials: 1000000
conditions: [{ name: _x-1.Y }, Control]
",
    );
    assert_eq!((sweep.name.as_str(), sweep.trials), ("2024.a_b-C", 1_000_000));
    assert_eq!(sweep.seeds, [0, u32::MAX, 7]);
    let longest = "n".repeat(80);
    assert_eq!(read(&format!("conditions: [name: {longest}]")).conditions[0].name, longest);
    let seeds: Vec<String> = (0..100_000).map(|seed| seed.to_string()).collect();
    let many = read(&format!("seeds: [{}]\nconditions: [Control]", seeds.join(",")));
    assert_eq!((many.seeds.len(), many.seeds[99_999]), (100_000, 99_999));
    let names: String = (0..10_000).map(|i| format!("- name: c{i}\n")).collect();
    assert_eq!(read(&format!("conditions:\n{names}")).conditions.len(), 10_000);
}

#[test]
fn the_environment_wins_over_the_file() {
    let overrides = environment(&[
        ("CHAT_NUM_MF", "78"),
        ("CHAT_NUM_GRC", "1024"),
        ("CHAT_NUM_GOC", "7"),
        ("CHAT_NUM_TRIAL", "10"),
        ("CHAT_RANDOM_WEIGHTS", ""),
        ("CHAT_SEED_TRIAL", "12"),
        ("CHAT_SEED_WEIGHT_MEANS", "34"),
    ]);
    let conditions = |golgi_cells: u32| {
        format!("conditions: [Control, {{ name: c, set: {{ network.golgi_cells: {golgi_cells} }} }}]")
    };
    // The environment also overrides a condition's own settings.
    let file = PAPER.replace("conditions: [Control, GABAzine, ACh]", &conditions(5));
    let sweep = read_with(&file, &overrides);
    let file = conditions(7);
    let written = read(&format!(
        "
name: paper
engine: brian2-2.2.1
network: {{ mossy_fibers: 78, granule_cells: 1024, golgi_cells: 7 }}
weights: {{ random: false, seed: 34 }}
seeds: [12]
trials: 10
{file}
"
    ));
    assert_eq!(sweep, written);
    assert_eq!(parameters(&sweep.conditions[1]).network.golgi_cells, 7);
}
