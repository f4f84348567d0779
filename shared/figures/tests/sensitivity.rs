//! Which conditions of a sweep are points, which indices they have, and what the table and the figure show.

use granule_engine::{Model, Value, space::CellFactor};
use granule_figures::Table;
use granule_figures::sweep::{
    Index, Measure, Observed, ObservedCondition, OfCondition, Sensitivity, Window, influences, sensitivity,
};
use granule_granular::Method;
use granule_statistics::Resampling;
use granule_statistics::sensitivity::sobol;
use granule_statistics::sequence::Saltelli;

const TONIC: &str = "granule.tonic_factor";
const LEAK: &str = "golgi.leak_reversal";

/// A condition with a tonic factor and a leak reversal, and other parameters.
fn condition(tonic: f64, leak: f64, others: &[(&str, Value)]) -> ObservedCondition {
    let engine = Method::Pcg.engine();
    let mut values = engine.space().defaults();
    let set = [(TONIC, Value::Factor(CellFactor::Constant(tonic))), (LEAK, Value::Number(leak))];
    for (path, value) in set.iter().chain(others) {
        values.set(engine.space().parameter(path).expect("a parameter"), value.clone()).expect("in range");
    }
    ObservedCondition { name: "c".to_owned(), model: Model::new(engine, values).expect("consistent") }
}

/// Observations of two seeds whose means are these values of the first measures. The others are missing.
fn observed(values: &[Option<f64>], of: &ObservedCondition) -> Vec<Observed> {
    let seed = |(seed, shift): (u32, f64)| {
        let mut measures: Vec<Option<f64>> =
            values.iter().map(|value| Some(value.as_ref()? + shift)).collect();
        measures.resize(Measure::of(&of.model).len(), None);
        Observed {
            seed,
            trials: 1,
            driven: 3,
            window: Window { ms: 1000..1060 },
            measures,
            of_trials: None,
            courses: None,
        }
    };
    [(1, -0.5), (2, 0.5)].map(seed).into()
}

/// Returns the sensitivity of conditions whose first measure is a function of the tonic factor and the leak reversal.
fn analysed(
    conditions: &[ObservedCondition],
    output: impl Fn(f64, f64) -> Option<f64>,
) -> Option<Sensitivity> {
    let outputs: Vec<Vec<Observed>> =
        conditions.iter().map(|of| observed(&[output(tonic(of), leak(of))], of)).collect();
    let of: Vec<OfCondition<'_>> =
        conditions.iter().zip(&outputs).map(|(of, observed)| (of, &observed[..])).collect();
    sensitivity(&of, &[])
}

fn value<'a>(of: &'a ObservedCondition, path: &str) -> &'a Value {
    let values = of.model.values();
    values.of(values.space().parameter(path).expect("a parameter"))
}

fn tonic(of: &ObservedCondition) -> f64 {
    let Value::Factor(CellFactor::Constant(x)) = value(of, TONIC) else { panic!("no constant") };
    *x
}

fn leak(of: &ObservedCondition) -> f64 {
    let Value::Number(x) = value(of, LEAK) else { panic!("no number") };
    *x
}

/// A Saltelli design whose first axis is the leak reversal, which comes after the tonic factor in the parameters' order.
fn design(base_points: usize) -> (Saltelli, Vec<ObservedCondition>) {
    let design = Saltelli { base_points, inputs: 2 };
    let points = design.points().expect("a small design");
    (design, points.rows().into_iter().map(|x| condition(x[1], -55.0 + 5.0 * x[0], &[])).collect())
}

fn sample(count: u32) -> Vec<ObservedCondition> {
    let of = |i: u32| f64::from(i * 7 % 11) / 11.0;
    (0..count).map(|i| condition(of(i), -50.0 - f64::from(i) / 10.0, &[])).collect()
}

fn effect(of: &Sensitivity, parameter: usize, index: Index) -> (f64, f64, f64) {
    let measure = of.measures()[0];
    let effect = of.of(measure, parameter, index).expect("an index").effect.expect("a value");
    (effect.value, effect.low, effect.high)
}

fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-9, "{found} != {expected}");
}

fn curved(tonic: f64, leak: f64) -> f64 {
    tonic * tonic - 0.3 * leak + tonic * leak
}

#[test]
fn a_design_is_recognised_by_its_points() {
    let (design, conditions) = design(32);
    let found = analysed(&conditions, |tonic, leak| Some(curved(tonic, leak))).expect("a design");
    assert_eq!((found.base_points, found.shown()), (Some(32), [Index::First, Index::Total]));
    let output: Vec<f64> = conditions.iter().map(|of| curved(tonic(of), leak(of))).collect();
    let expected = sobol(&output, design, Resampling { resamples: 1000, seed: 451 }).expect("indices");
    // The design's first axis is the second parameter.
    for (parameter, input) in [(0, 1), (1, 0)] {
        for (index, expected) in
            [(Index::First, expected.first[input]), (Index::Total, expected.total[input])]
        {
            let (value, low, high) = effect(&found, parameter, index);
            close(value, expected.value);
            close(low, expected.low);
            close(high, expected.high);
        }
    }
    // The first two base points have equal A and B, which regressions use once.
    let measure = found.measures()[0];
    assert_eq!(found.of(measure, 0, Index::First).map(|of| of.points), Some(128));
    assert_eq!(found.of(measure, 0, Index::Src).map(|of| of.points), Some(62));
    // The other measures have no value at all.
    assert!(
        found.notes.iter().any(|note| note.contains("no value in 128 of 128 conditions")),
        "{:?}",
        found.notes
    );

    // A change of one point breaks the design.
    let mut changed = conditions.clone();
    changed[5] = condition(0.123, -51.0, &[]);
    let found = analysed(&changed, |tonic, leak| Some(curved(tonic, leak))).expect("a sample");
    assert_eq!((found.base_points, found.shown()), (None, [Index::Src, Index::Prcc]));
    assert!(analysed(&self::design(2).1, |tonic, _| Some(tonic)).is_none());
}

#[test]
fn a_point_without_a_value_is_left_out_of_regressions_only() {
    let (_, conditions) = design(32);
    let missing = tonic(&conditions[40]);
    let without = conditions.iter().filter(|of| tonic(of) == missing).count();
    assert!(without > 0 && without < 20);
    let found = analysed(&conditions, |tonic, leak| (tonic != missing).then(|| curved(tonic, leak)))
        .expect("a design");
    let note = format!("no Sobol' indices of response_probability: no value in {without} of 128 conditions");
    assert!(found.notes.contains(&note), "{:?}", found.notes);
    // The design then shows its regressions.
    assert_eq!(found.shown(), [Index::Src, Index::Prcc]);
    assert_eq!(found.measures().len(), 1);
    let table = found.table().csv();
    assert!(table.contains(",src,") && !table.contains("sobol"), "{table}");
}

#[test]
fn coefficients_are_those_of_the_points() {
    // The tonic factor and the leak reversal, each divided by its standard deviation, have the same effect.
    let conditions = sample(11);
    let spread = |of: fn(&ObservedCondition) -> f64| {
        let values: Vec<f64> = conditions.iter().map(of).collect();
        let mean = values.iter().sum::<f64>() / 11.0;
        values.iter().map(|x| (x - mean).powi(2)).sum::<f64>().sqrt()
    };
    let (a, b) = (spread(tonic), spread(leak));
    let found = analysed(&conditions, |tonic, leak| Some(tonic / a - leak / b)).expect("a sample");
    let [(first, low, high), (second, ..)] = [0, 1].map(|parameter| effect(&found, parameter, Index::Src));
    close(first, -second);
    close(low, first);
    close(high, first);
    let measure = found.measures()[0];
    close(found.of(measure, 0, Index::Src).and_then(|of| of.r_squared).expect("R²"), 1.0);

    let Table { columns, .. } = found.table();
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    let expected =
        ["measure", "unit", "parameter", "index", "value", "low_95", "high_95", "points", "r_squared"];
    assert_eq!(names, expected);
    let csv = found.table().csv();
    let begins: Vec<String> =
        csv.lines().skip(1).map(|line| line.split(',').take(4).collect::<Vec<_>>().join(",")).collect();
    let of = |parameter: &str, index: &str| format!("response_probability,,{parameter},{index}");
    let (tonic, leak) = ("granule_tonic_factor", "golgi_leak_reversal_mV");
    assert_eq!(begins.len(), 4, "{csv}");
    for expected in [of(tonic, "src"), of(tonic, "prcc"), of(leak, "src"), of(leak, "prcc")] {
        assert!(begins.contains(&expected), "no {expected} in {csv}");
    }
}

#[test]
fn points_are_conditions_of_one_sample() {
    let linear = |tonic: f64, leak: f64| Some(tonic + leak);
    let points = |conditions: &[ObservedCondition]| {
        let found = analysed(conditions, linear)?;
        Some(found.of(found.measures()[0], 0, Index::Src)?.points)
    };
    assert_eq!(points(&sample(8)), Some(8));
    assert_eq!(points(&sample(7)), None);
    // A parameter in which a condition differs from all others, and one that is no number.
    let weight = ("golgi_to_granule.weight", Value::Number(0.0));
    let other = [condition(0.5, -51.0, &[weight])];
    let flag = [condition(0.5, -51.0, &[("weights.random", Value::Flag(false))])];
    for others in [other, flag] {
        let all = [&others[..], &sample(10)].concat();
        assert_eq!(points(&all), Some(10));
        let found = analysed(&all, linear).expect("a sample");
        assert!(found.notes[0].contains("of 10 conditions; they leave out c, outside"), "{:?}", found.notes);
    }
    // One parameter.
    let one: Vec<ObservedCondition> = (0..20).map(|i| condition(f64::from(i) / 20.0, -51.0, &[])).collect();
    assert_eq!(points(&one), None);
    // A seed is no parameter.
    let seeds: Vec<ObservedCondition> = (0..20)
        .map(|i| condition(f64::from(i) / 20.0, -51.0, &[("weights.seed", Value::Count(i))]))
        .collect();
    assert_eq!(points(&seeds), None);
    // A grid, also one whose rows are blocks of a design.
    let grid: Vec<ObservedCondition> =
        (0..8).flat_map(|i| [-52.0, -51.0].map(|leak| condition(f64::from(i) / 8.0, leak, &[]))).collect();
    assert_eq!(points(&grid), Some(16));
    assert_eq!(analysed(&grid, linear).and_then(|of| of.base_points), None);
}

#[test]
fn what_cannot_be_analysed_has_a_reason() {
    let found = analysed(&sample(9), |_, _| Some(0.25)).expect("a sample");
    assert!(
        found
            .notes
            .contains(&"no SRC and PRCC of response_probability: the measure does not vary".to_owned())
    );
    let line: Vec<ObservedCondition> =
        (0..9).map(|i| condition(f64::from(i) / 9.0, -50.0 - f64::from(i), &[])).collect();
    let found = analysed(&line, |tonic, _| Some(tonic)).expect("a sample");
    let notes = found.notes.join("\n");
    assert!(notes.contains("follow linearly from"), "{notes}");
    assert!(influences(&found).is_empty());
}

#[test]
fn the_figure_names_parameters_and_numbers_of_points() {
    let (_, designed) = design(16);
    for (conditions, texts) in [
        (&designed[..], ["n = 64", "first order: variance by the parameter alone", "16 base points"]),
        (&sample(20)[..], ["n = 20", "standardised regression coefficient (SRC)", "R² = "]),
    ] {
        let found = analysed(conditions, |tonic, leak| Some(curved(tonic, leak))).expect("indices");
        let figures = influences(&found);
        assert_eq!(figures.iter().map(|figure| figure.name.as_str()).collect::<Vec<_>>(), ["sensitivity"]);
        let svg = figures[0].svg();
        let document = roxmltree::Document::parse(&svg).expect("XML");
        let drawn: String =
            document.descendants().filter_map(|node| node.text()).collect::<Vec<_>>().join("\n");
        for text in texts {
            assert!(drawn.contains(text), "no {text} in {drawn}");
        }
        for parameter in &found.parameters {
            let words = parameter.words();
            let first = words.split(' ').next().expect("a word");
            assert!(drawn.contains(first), "no {words} in {drawn}");
        }
    }
}
