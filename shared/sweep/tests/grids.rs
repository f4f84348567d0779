//! Conditions that stand for many points: their values, order and names.

use std::sync::Arc;

use granule_engine::Value;
use granule_engine::space::CellFactor;
use granule_granular::ENGINES;
use granule_sweep::{Condition, ExplicitRecord, Overrides, Randomness, Record, Sweep, parse};

fn read(text: &str) -> Sweep {
    parse(ENGINES, "x.yaml", text.as_bytes(), "x", &Overrides::default())
        .unwrap_or_else(|errors| panic!("{text}\n{errors}"))
}

/// Conditions of one entry of the list, given without the braces around it.
fn points(entry: &str) -> Vec<Condition> {
    read(&format!("conditions:\n- {{ {entry} }}\n")).conditions.to_vec()
}

fn names(conditions: &[Condition]) -> Vec<&str> {
    conditions.iter().map(|condition| condition.name.as_str()).collect()
}

/// The values of a parameter, as text.
fn values(conditions: &[Condition], path: &str) -> Vec<String> {
    let value = |condition: &Condition| condition.model.values().get(path).unwrap().to_string();
    conditions.iter().map(value).collect()
}

/// The values that an axis of this parameter gives.
fn axis(path: &str, axis: &str) -> Vec<String> {
    values(&points(&format!("name: '{{index}}', grid: {{ {path}: {axis} }}")), path)
}

#[test]
fn the_first_axis_varies_slowest() {
    let found = points(
        "name: a, base: ACh, grid: { granule.tonic_factor: [0.2, 0.4], golgi.leak_reversal: [-55 mV, -53 mV, -0.05 V] }",
    );
    let expected = ["a-0.2--55", "a-0.2--53", "a-0.2--50", "a-0.4--55", "a-0.4--53", "a-0.4--50"];
    assert_eq!(names(&found), expected);
    assert_eq!(values(&found, "granule.tonic_factor"), ["0.2", "0.2", "0.2", "0.4", "0.4", "0.4"]);
    assert_eq!(values(&found, "golgi.leak_reversal"), ["-55", "-53", "-50", "-55", "-53", "-50"]);
    // Parameters without an axis keep the values of the base.
    assert_eq!(values(&found, "mossy_to_granule.scale"), ["0.4521"; 6]);
    assert!(found.iter().all(|condition| condition.prefix() == condition.name && condition.preset.is_none()));
}

#[test]
fn axes_of_a_zip_advance_together_after_those_of_the_grid() {
    let found = points(
        "name: a, zip: { granule.tonic_factor: [0, 1], golgi_to_granule.weight: [0 nS, 170 pS] }, \
         grid: { network.golgi_cells: [7, 9] }",
    );
    assert_eq!(names(&found), ["a-7-0-0", "a-7-1-0.17", "a-9-0-0", "a-9-1-0.17"]);
    assert_eq!(values(&found, "golgi_to_granule.weight"), ["0", "0.17", "0", "0.17"]);
    let alone = points("name: a, zip: { granule.tonic_factor: [0, 1] }");
    assert_eq!(names(&alone), ["a-0", "a-1"]);
}

#[test]
fn every_kind_of_parameter_can_be_an_axis() {
    let check = |path: &str, list: &str, expected: &[&str]| {
        let found = points(&format!("name: a, grid: {{ {path}: {list} }}"));
        let expected: Vec<String> = expected.iter().map(|value| format!("a-{value}")).collect();
        assert_eq!(names(&found), expected);
    };
    check("network.granule_cells", "[512, 4096]", &["512", "4096"]);
    check("weights.random", "[true, false]", &["true", "false"]);
    check("noise.first", "[golgi, granule]", &["golgi", "granule"]);
    check("stimulus.times", "[[], [1010 ms], [1.01 s, 1020 ms]]", &["none", "1010", "1010_1020"]);
    check("stimulus.active_fraction", "[0.05, 0.1]", &["0.05", "0.1"]);
    check(
        "granule.tonic_factor",
        "[1, { gamma: { mean: 0.4, sd: 0.07, seed: 1 } }]",
        &["1", "gamma0.4_0.07_1"],
    );
}

#[test]
fn rules_make_the_values_that_people_mean() {
    let tonic = "granule.tonic_factor";
    let check = |path: &str, rule: &str, expected: &[&str]| assert_eq!(axis(path, rule), expected, "{rule}");
    check(tonic, "{ linspace: [0.3, 1.0, 8] }", &["0.3", "0.4", "0.5", "0.6", "0.7", "0.8", "0.9", "1"]);
    check(
        "golgi.leak_reversal",
        "{ linspace: [-56 mV, -0.05 V, 7] }",
        &["-56", "-55", "-54", "-53", "-52", "-51", "-50"],
    );
    check("golgi.leak_reversal", "{ linspace: [-50 mV, -51 mV, 3] }", &["-50", "-50.5", "-51"]);
    check(
        "excitatory.reversal",
        "{ linspace: [-0.3 mV, 0.3 mV, 7] }",
        &["-0.3", "-0.2", "-0.1", "0", "0.1", "0.2", "0.3"],
    );
    check("network.granule_cells", "{ linspace: [512, 2048, 4] }", &["512", "1024", "1536", "2048"]);
    // The end is excluded, even if the last step rounds to it.
    check(tonic, "{ arange: [0, 0.3, 0.1] }", &["0", "0.1", "0.2"]);
    check(tonic, "{ arange: [0, 0.35, 0.1] }", &["0", "0.1", "0.2", "0.3"]);
    check("golgi.reset", "{ arange: [-55 mV, -58 mV, -1 mV] }", &["-55", "-56", "-57"]);
    check("golgi_to_granule.weight", "{ arange: [0.1 nS, 0.7 nS, 200 pS] }", &["0.1", "0.3", "0.5"]);
    check("weights.seed", "{ arange: [1, 4, 1] }", &["1", "2", "3"]);
    // In double precision, the values would include each of these ends or lack the step before it.
    check(tonic, "{ arange: [0.1, 0.4, 0.1] }", &["0.1", "0.2", "0.3"]);
    check(tonic, "{ arange: [1, 1.3, 0.1] }", &["1", "1.1", "1.2"]);
    check(tonic, "{ arange: [0, 1, 0.3333333333] }", &["0", "0.3333333333", "0.6666666666", "0.9999999999"]);
    check(tonic, "{ arange: [0, 1.0000000001, 0.5] }", &["0", "0.5", "1"]);
    check("granule.refractory", "{ arange: [0.05 ms, 0.45 ms, 100 us] }", &["0.05", "0.15", "0.25", "0.35"]);
    check("golgi.reset", "{ arange: [-0.3 mV, 0.1 mV, 0.1 mV] }", &["-0.3", "-0.2", "-0.1", "0"]);
    check("golgi_to_granule.weight", "{ logspace: [0.01 nS, 1 nS, 3] }", &["0.01", "0.1", "1"]);
    check(tonic, "{ logspace: [8, 0.5, 5] }", &["8", "4", "2", "1", "0.5"]);
    check("network.granule_cells", "{ logspace: [100, 10000, 5] }", &["100", "316", "1000", "3162", "10000"]);
}

#[test]
fn random_values_are_of_their_axis_alone() {
    let ten = axis("granule.tonic_factor", "{ random: { uniform: [0.2, 1], count: 10, seed: 3 } }");
    let more = axis("granule.tonic_factor", "{ random: { uniform: [0.2, 1], count: 12, seed: 3 } }");
    assert_eq!(more[..10], ten);
    assert!(ten.iter().all(|value| (0.2..=1.0).contains(&value.parse::<f64>().unwrap())), "{ten:?}");
    let other = axis("granule.tonic_factor", "{ random: { uniform: [0.2, 1], count: 10, seed: 4 } }");
    assert_ne!(ten, other);
    // An earlier axis does not change the values.
    let both = points(
        "name: '{index}', grid: { golgi.reset: [-55 mV], \
         granule.tonic_factor: { random: { uniform: [0.2, 1], count: 10, seed: 3 } } }",
    );
    assert_eq!(values(&both, "granule.tonic_factor"), ten);
    let log =
        axis("golgi_to_granule.weight", "{ random: { loguniform: [0.01 nS, 1 nS], count: 100, seed: 3 } }");
    let below = log.iter().filter(|value| value.parse::<f64>().unwrap() < 0.1).count();
    assert!((30..70).contains(&below), "{below}");
    let normal = axis("golgi.leak_reversal", "{ random: { normal: [-51 mV, 2 mV], count: 100, seed: 3 } }");
    let below = normal.iter().filter(|value| value.parse::<f64>().unwrap() < -51.0).count();
    assert!((30..70).contains(&below), "{below}");
    let counts = axis("network.golgi_cells", "{ random: { uniform: [5, 7], count: 60, seed: 3 } }");
    for cells in ["5", "6", "7"] {
        assert!(counts.iter().filter(|value| *value == cells).count() > 8, "{counts:?}");
    }
}

#[test]
fn a_latin_hypercube_meets_every_part_of_every_axis() {
    let text = "name: 'lhs-{index}', latin_hypercube: { count: 20, seed: 1, axes: { \
                granule.tonic_factor: { uniform: [0, 2] }, golgi_to_granule.weight: { loguniform: [0.01 nS, 1 nS] }, \
                golgi.leak_reversal: { normal: [-51 mV, 1 mV] } } }";
    let found = points(text);
    assert_eq!(found.len(), 20);
    assert_eq!((found[0].name.as_str(), found[19].name.as_str()), ("lhs-0", "lhs-19"));
    let parts = |values: &[String], part: &dyn Fn(f64) -> f64| {
        let mut parts: Vec<usize> =
            values.iter().map(|value| part(value.parse().unwrap()) as usize).collect();
        parts.sort_unstable();
        parts
    };
    let all: Vec<usize> = (0..20).collect();
    let tonic = values(&found, "granule.tonic_factor");
    assert_eq!(parts(&tonic, &|x| x * 10.0), all);
    assert_eq!(parts(&values(&found, "golgi_to_granule.weight"), &|x| (x / 0.01).log10() * 10.0), all);
    let leak = values(&found, "golgi.leak_reversal");
    assert_eq!(leak.iter().filter(|value| value.parse::<f64>().unwrap() < -51.0).count(), 10);
    // Without one axis, the values of the others are the same.
    let fewer = points(&text.replace("golgi_to_granule.weight: { loguniform: [0.01 nS, 1 nS] }, ", ""));
    assert_eq!(values(&fewer, "granule.tonic_factor"), tonic);
    assert_eq!(values(&fewer, "golgi.leak_reversal"), leak);
    // It is one axis, after those of the grid.
    let with_grid = points(&format!("{text}, grid: {{ network.golgi_cells: [7, 9] }}"));
    assert_eq!(with_grid.len(), 40);
    assert_eq!(values(&with_grid[20..], "granule.tonic_factor"), tonic);
}

#[test]
fn names_are_made_from_values() {
    let found =
        points("name: 'tonic-{granule.tonic_factor}_{index}', grid: { granule.tonic_factor: [0.20, 4e-1] }");
    assert_eq!(names(&found), ["tonic-0.2_0", "tonic-0.4_1"]);
    let thirds = points("name: t, grid: { granule.tonic_factor: { linspace: [0, 1, 4] } }");
    assert_eq!(names(&thirds), ["t-0", "t-0.333333", "t-0.666667", "t-1"]);
    // The placeholder for the number distinguishes equal points.
    let twice = points("name: '{index}', grid: { granule.tonic_factor: [1, 1] }");
    assert_eq!(names(&twice), ["0", "1"]);
}

#[test]
fn a_point_can_be_a_base() {
    let sweep = read(
        "
conditions:
  - { name: 'tonic-{granule.tonic_factor}', grid: { granule.tonic_factor: [0.2, 0.4] } }
  - { name: more, base: tonic-0.4, set: { golgi.leak_reversal: -53 mV } }
  - { name: leak, base: tonic-0.2, grid: { golgi.leak_reversal: [-53 mV] } }
",
    );
    let tonic = |at: usize| sweep.conditions[at].model.values().get("granule.tonic_factor");
    assert_eq!(names(&sweep.conditions), ["tonic-0.2", "tonic-0.4", "more", "leak--53"]);
    let factor = |x| Value::Factor(CellFactor::Constant(x));
    assert_eq!([tonic(2), tonic(3)], [Some(&factor(0.4)), Some(&factor(0.2))]);
}

#[test]
fn limits_are_within() {
    let found = points(
        "name: '{index}', grid: { granule.tonic_factor: { linspace: [0, 1, 100] }, weights.seed: { arange: [0, 100, 1] } }",
    );
    assert_eq!(found.len(), 10_000);
    assert_eq!(found[9_999].name, "9999");
    assert_eq!(values(&found[101..102], "weights.seed"), ["1"]);
}

#[test]
fn seeds_are_listed_ranges_or_drawn() {
    let seeds = |text: &str| read(&format!("seeds: {text}\nconditions: [Control]")).seeds;
    assert_eq!(seeds("[451, 1..3]"), [451, 1, 2, 3]);
    assert_eq!(seeds("1..20"), (1..=20).collect::<Vec<u32>>());
    assert_eq!(seeds("7..7"), [7]);
    assert_eq!(seeds("4294967290..4294967295").len(), 6);
    assert_eq!(seeds("1..100000").len(), 100_000);
    let twenty = seeds("{ count: 20, seed: 7 }");
    assert_eq!(seeds("{ count: 25, seed: 7 }")[..20], twenty);
    assert_ne!(seeds("{ count: 20, seed: 8 }"), twenty);
    let mut sorted = twenty.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(sorted.len(), 20);
}

#[test]
fn groups_at_the_top_are_for_all_conditions() {
    let sweep = read(
        "
granule: { tonic_factor: 0.5, noise_sigma: 0.06 nS }
stimulus: { times: [510 ms], active_fraction: 0.2 }
time: { duration: 1 s }
mossy_to_granule: { scale: 0.9 }
noise: { tau: 25 ms, sharing: common }
set: { golgi.reset: -56 mV }
conditions:
  - GABAzine
  - { name: a, set: { granule.noise_sigma: 0.07 nS, golgi.reset: -57 mV } }
  - { name: b, base: ACh }
",
    );
    let text = |path: &str| values(&sweep.conditions, path);
    // A preset has precedence over the top, and `set` over all.
    assert!(text("granule.tonic_factor")[2].starts_with("gamma"));
    assert_eq!(text("granule.tonic_factor")[..2], ["0", "0.5"]);
    assert_eq!(text("mossy_to_granule.scale"), ["0.9", "0.9", "0.4521"]);
    assert_eq!(text("granule.noise_sigma"), ["0.06", "0.07", "0.06"]);
    assert_eq!(text("golgi.reset"), ["-56", "-57", "-56"]);
    assert_eq!(text("noise.tau"), ["25"; 3]);
    assert_eq!(text("stimulus.times"), ["[510]"; 3]);
    assert_eq!(text("time.duration"), ["1000"; 3]);
    assert_eq!(sweep.randomness, Randomness::Common);
    assert_eq!(read("noise: common\nconditions: [Control]").randomness, Randomness::Common);
}

/// The records of all conditions.
fn records(sweep: &Sweep) -> Vec<Record> {
    sweep.conditions.iter().map(|condition| condition.record).collect()
}

/// All files but those of these keys.
fn without(keys: &[&str]) -> Record {
    Record::without(ENGINES[0].kinds(), keys.iter().copied()).expect("known keys")
}

/// All files.
fn all() -> Record {
    without(&[])
}

/// The files that a condition without a preset records by default.
fn short() -> Record {
    without(&["probabilities", "conductances"])
}

#[test]
fn presets_record_everything_and_other_conditions_no_matrices() {
    let list = "
conditions:
  - Control
  - { name: a, base: ACh }
  - { name: b, grid: { granule.tonic_factor: [0, 1] } }
  - { name: c, zip: { granule.tonic_factor: [0, 1] } }
  - { name: 'd{index}', latin_hypercube: { count: 1, seed: 1, axes: { granule.tonic_factor: { uniform: [0, 1] } } } }
  - ACh
";
    let expected = [&[all()][..], &[short(); 6], &[all()]].concat();
    assert_eq!(records(&read(list)), expected);
    assert_eq!(records(&read(&format!("record: {{}}{list}"))), expected);
    assert_eq!(records(&read(&format!("record: all{list}"))), [all(); 8]);
    assert_eq!(records(&read(&format!("record: 'all'{list}"))), [all(); 8]);
    let no_weights = |record: Record| without(&[record.left_out(), vec!["weights"]].concat());
    let expected: Vec<Record> = expected.into_iter().map(no_weights).collect();
    assert_eq!(records(&read(&format!("record: {{ weights: false }}{list}"))), expected);
}

#[test]
fn what_is_recorded_is_chosen_for_all_and_for_each() {
    let sweep = read(
        "
record: { conductances: false, spikes: true }
conditions:
  - Control
  - { name: a, record: { weights: false } }
  - { name: b, record: { conductances: true }, grid: { granule.tonic_factor: [0, 1] } }
  - { name: c, record: all }
",
    );
    let conductances = without(&["probabilities"]);
    assert_eq!(
        records(&sweep),
        [
            without(&["conductances"]),
            without(&["probabilities", "conductances", "weights"]),
            conductances,
            conductances,
            all()
        ]
    );
    // A key at the top applies to every condition, also to those without a preset.
    let sweep = read("record: { probabilities: true }\nconditions: [Control, { name: a }]");
    assert_eq!(records(&sweep), [all(), without(&["conductances"])]);
}

#[test]
fn files_of_an_earlier_sweep_stay_unless_the_file_says_otherwise() {
    let mut sweep = read(
        "
record: { weights: false }
conditions:
  - Control
  - { name: a }
  - { name: b, record: { conductances: false, weights: true } }
",
    );
    let before = sweep.clone();
    let none = without(&["probabilities", "connections", "weights", "conductances", "tonic_factors"]);
    for condition in Arc::make_mut(&mut sweep.conditions) {
        condition.inherit_record(none);
    }
    assert_eq!(sweep, before, "what is on by default stays on");
    for condition in Arc::make_mut(&mut sweep.conditions) {
        condition.inherit_record(all());
    }
    assert_eq!(records(&sweep), [without(&["weights"]), without(&["weights"]), without(&["conductances"])]);
    // Again, with an earlier sweep that recorded less: only defaults and the earlier sweep count.
    for condition in Arc::make_mut(&mut sweep.conditions) {
        condition.inherit_record(without(&["tonic_factors", "conductances"]));
    }
    assert_eq!(records(&sweep)[1], without(&["weights", "conductances"]));
}

#[test]
fn conditions_are_equal_whether_their_record_is_said_or_not() {
    let [said, unsaid] =
        ["{ name: a, record: { conductances: false, probabilities: false } }", "{ name: a }"]
            .map(|condition| read(&format!("conditions: [{condition}]")));
    assert_eq!(said, unsaid);
    assert_eq!(said.conditions[0].explicit.get("conductances"), Some(false));
    assert_eq!(unsaid.conditions[0].explicit, ExplicitRecord::none(ENGINES[0].kinds()));
    assert_ne!(said, read("conditions: [{ name: a, record: all }]"));
}

/// `SALib.sample.sobol.sample(problem, 4, calc_second_order=False, scramble=False)` of SALib 1.6, for the bounds
/// [0, 1], [0.05, 0.5] and [-55, -50].
const SALIB: [[f64; 3]; 20] = [
    [0.0, 0.05, -55.0],
    [0.0, 0.05, -55.0],
    [0.0, 0.05, -55.0],
    [0.0, 0.05, -55.0],
    [0.0, 0.05, -55.0],
    [0.5, 0.275, -52.5],
    [0.5, 0.275, -52.5],
    [0.5, 0.275, -52.5],
    [0.5, 0.275, -52.5],
    [0.5, 0.275, -52.5],
    [0.75, 0.1625, -53.75],
    [0.25, 0.1625, -53.75],
    [0.75, 0.3875, -53.75],
    [0.75, 0.1625, -51.25],
    [0.25, 0.3875, -51.25],
    [0.25, 0.3875, -51.25],
    [0.75, 0.3875, -51.25],
    [0.25, 0.1625, -51.25],
    [0.25, 0.3875, -53.75],
    [0.75, 0.1625, -53.75],
];

const THREE_AXES: &str = "granule.tonic_factor: { uniform: [0, 1] }, golgi_to_granule.weight: { uniform: [0.05 nS, 0.5 nS] }, \
                          golgi.leak_reversal: { uniform: [-55 mV, -50 mV] }";

#[test]
fn sobol_has_the_points_of_salib_in_their_order() {
    let sweep = read(&format!(
        "conditions:\n- GABAzine\n- {{ name: 's{{index}}', base: ACh, sobol: {{ count: 4, axes: {{ {THREE_AXES} }} }} }}\n- ACh"
    ));
    let found: Vec<[f64; 3]> = sweep.conditions[1..21]
        .iter()
        .map(|condition| {
            ["granule.tonic_factor", "golgi_to_granule.weight", "golgi.leak_reversal"].map(|path| {
                match condition.model.values().get(path) {
                    Some(Value::Number(x) | Value::Factor(CellFactor::Constant(x))) => *x,
                    other => panic!("{other:?}"),
                }
            })
        })
        .collect();
    assert_eq!(found, SALIB);
    assert_eq!(sweep.conditions[20].name, "s19");
    let [design] = sweep.designs.as_slice() else { panic!("{:?}", sweep.designs) };
    assert_eq!((design.first, design.base_points, design.conditions()), (1, 4, 1..21));
    let paths: Vec<&str> = design.axes.iter().map(|(path, _)| *path).collect();
    assert_eq!(paths, ["granule.tonic_factor", "golgi_to_granule.weight", "golgi.leak_reversal"]);
    assert!(sweep.has_design(design));
}

#[test]
fn normal_axes_of_sobol_are_symmetric() {
    let sweep = read(
        "conditions: [{ name: 's{index}', sobol: { count: 8, axes: { golgi.leak_reversal: { normal: [-51 mV, 1 mV] } } } }]",
    );
    let mut of_a: Vec<f64> =
        sweep.conditions.iter().step_by(3).map(|of| number(of, "golgi.leak_reversal")).collect();
    of_a.sort_by(f64::total_cmp);
    let centre = |(low, high): (&f64, &f64)| (low + high) / 2.0;
    assert!(of_a.iter().zip(of_a.iter().rev()).map(centre).all(|x| (x + 51.0).abs() < 1e-9), "{of_a:?}");
    assert!(of_a[0] > -53.0 && of_a.windows(2).all(|pair| pair[0] < pair[1]));
}

fn number(condition: &Condition, path: &str) -> f64 {
    match condition.model.values().get(path) {
        Some(Value::Number(x)) => *x,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_design_whose_axis_the_environment_overrides_is_none() {
    let (overrides, _) = granule_sweep::from_variables(granule_granular::space(), |name| {
        (name == "CHAT_NUM_GOC").then(|| "5".into())
    })
    .unwrap();
    let designs = |axis: &str| {
        let text = format!(
            "conditions: [{{ name: 's{{index}}', sobol: {{ count: 2, axes: {{ {axis}: {{ uniform: [1, 3] }} }} }} }}]"
        );
        parse(ENGINES, "x.yaml", text.as_bytes(), "x", &overrides).unwrap().designs.len()
    };
    assert_eq!((designs("network.golgi_cells"), designs("network.granule_cells")), (0, 1));
}

fn read_table(sweep: &str, table: &str) -> Sweep {
    let tables = granule_sweep::Tables::from([("points.csv".to_owned(), Ok(table.as_bytes().to_vec()))]);
    granule_sweep::parse_with_tables(ENGINES, "x.yaml", sweep.as_bytes(), "x", &Overrides::default(), &tables)
        .unwrap_or_else(|errors| panic!("{table}\n{errors}"))
}

#[test]
fn a_table_is_the_same_as_its_conditions() {
    let table = "\u{feff}name,golgi.leak_reversal [V], granule.tonic_factor ,golgi_to_granule.weight [pS],weights.random,\
                 noise.first,network.golgi_cells\r\n\"a\",-0.053,0.5,170,TRUE,granule,5\r\n\r\nB.1,-54e-3,1,100,false,golgi,6.0";
    let written = read(
        "conditions:
- { name: a, base: ACh, set: { golgi.leak_reversal: -53 mV, granule.tonic_factor: 0.5, golgi_to_granule.weight: 170 pS,
    weights.random: true, noise.first: granule, network.golgi_cells: 5 } }
- { name: B.1, base: ACh, set: { golgi.leak_reversal: -54 mV, granule.tonic_factor: 1, golgi_to_granule.weight: 100 pS,
    weights.random: false, noise.first: golgi, network.golgi_cells: 6 } }",
    );
    assert_eq!(read_table("conditions: { table: points.csv, base: ACh }", table), written);
    assert_eq!(read_table("conditions: [{ base: ACh, table: points.csv }]", table), written);
    assert_eq!(granule_sweep::tables_of(b"conditions: { table: points.csv }"), ["points.csv"]);
    assert_eq!(
        granule_sweep::tables_of(b"conditions: [{ table: a }, Control, { table: b }, { table: a }]"),
        ["a", "b"]
    );
    assert_eq!(granule_sweep::tables_of(b"conditions: { table: [a] }"), [""; 0]);
}

#[test]
fn rows_of_a_table_have_names() {
    let check = |entry: &str, table: &str, expected: &[&str]| {
        assert_eq!(
            names(&read_table(&format!("conditions: [{entry}]"), table).conditions),
            expected,
            "{entry}"
        );
    };
    let plain = "granule.tonic_factor\n0.5\n1\n";
    let named = "granule.tonic_factor,name\n0.5,a\n1,b\n";
    check("{ table: points.csv }", plain, &["point-0", "point-1"]);
    check("{ table: points.csv }", named, &["a", "b"]);
    check("{ table: points.csv, name: 'p-{name}-{index}' }", named, &["p-a-0", "p-b-1"]);
    check("{ table: points.csv, name: p }", plain, &["p-0.5", "p-1"]);
    check(
        "{ table: points.csv, name: '{name}{golgi.reset}', grid: { golgi.reset: [-56 mV, -57 mV] } }",
        named,
        &["a-56", "b-56", "a-57", "b-57"],
    );
    check(
        "{ table: points.csv }, { name: c, base: b, set: { golgi.reset: -56 mV } }",
        named,
        &["a", "b", "c"],
    );
}
