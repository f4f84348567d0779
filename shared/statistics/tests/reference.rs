//! The statistics are the numbers of scipy, mpmath, statsmodels and SALib (`reference/make.py`).

use granule_statistics::estimate::{Estimate, Paired, half_width_by_trials};
use granule_statistics::sensitivity::{Effect, linear_model, partial_ranks, sobol};
use granule_statistics::sequence::{Saltelli, Sobol};
use granule_statistics::{Resampling, StudentT};
use ndarray::Array2;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

const TOLERANCE: f64 = 1e-10;

fn reference(part: &str) -> Value {
    let mut all: Value = serde_json::from_str(include_str!("reference/values.json")).expect("JSON");
    all[part].take()
}

fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(values) => values.iter().map(|value| value.as_f64().expect("a number")).collect(),
        value => vec![value.as_f64().expect("a number")],
    }
}

fn size(value: &Value) -> usize {
    value.as_u64().expect("a size") as usize
}

fn rows(value: &Value) -> impl Iterator<Item = &Value> {
    let rows = value.as_array().expect("rows");
    assert!(!rows.is_empty());
    rows.iter()
}

/// Expects the numbers of a reference, in their order.
#[track_caller]
fn check(what: &str, found: impl IntoIterator<Item = f64>, expected: &Value) {
    let found: Vec<f64> = found.into_iter().collect();
    let expected = numbers(expected);
    assert_eq!(found.len(), expected.len(), "{what}");
    for (at, (found, expected)) in found.into_iter().zip(expected).enumerate() {
        let close = (found - expected).abs() <= TOLERANCE * expected.abs();
        assert!(close, "{what}[{at}]: {found} != {expected}");
    }
}

#[test]
fn student_t_is_that_of_scipy_and_mpmath() {
    let all = reference("student");
    for row in rows(&all["exact"]) {
        let student = StudentT::new(size(&row["degrees"])).expect("degrees");
        let at = |of: &str| numbers(&row[of]).into_iter();
        check("cdf", at("t").map(|t| student.cdf(t)), &row["cdf"]);
        check("two_sided", at("t").map(|t| student.two_sided(t)), &row["two_sided"]);
        check("quantile", at("p").map(|p| student.quantile(p)), &row["quantile"]);
    }
    let students = (1..=1000).map(|degrees| StudentT::new(degrees).expect("degrees"));
    for t in ["-2.5", "1.3"] {
        let found = students.clone().map(|student| student.cdf(t.parse().expect("a number")));
        check(t, found, &all["every"]["cdf"][t]);
    }
    for p in ["0.025", "0.9"] {
        let found = students.clone().map(|student| student.quantile(p.parse().expect("a number")));
        check(p, found, &all["every"]["quantile"][p]);
    }
}

#[test]
fn estimates_are_those_of_scipy() {
    for row in rows(&reference("estimates")) {
        let found = Estimate::of(&numbers(&row["values"]));
        let parts = [found.mean, found.sd, found.sem, found.low, found.high];
        for (what, found) in ["mean", "sd", "sem", "low", "high"].iter().zip(parts) {
            check(what, found, &row[what]);
        }
    }
}

#[test]
fn the_interval_by_trials_is_that_of_scipy() {
    for row in rows(&reference("trials")) {
        let seeds: Vec<Vec<f64>> = rows(&row["seeds"]).map(numbers).collect();
        check("half_width", half_width_by_trials(&seeds), &row["half_width"]);
    }
}

#[test]
fn pairs_are_compared_as_by_scipy() {
    for row in rows(&reference("paired")) {
        let [values, reference] = ["values", "reference"].map(|of| numbers(&row[of]));
        let found = Paired::of(&values, &reference).expect("pairs");
        check("low", found.difference.low, &row["low"]);
        check("high", found.difference.high, &row["high"]);
        check("d_z", found.d_z, &row["d_z"]);
        check("p", found.p, &row["p"]);
    }
}

#[test]
fn regressions_are_those_of_statsmodels() {
    for row in rows(&reference("regressions")) {
        let values: Vec<Vec<f64>> = rows(&row["inputs"]).map(numbers).collect();
        let inputs =
            Array2::from_shape_fn((values.len(), values[0].len()), |(row, input)| values[row][input]);
        let output = numbers(&row["output"]);
        let model = linear_model(inputs.view(), &output).expect("a linear model");
        check("R²", [model.r_squared], &row["r_squared"]);
        let partial = partial_ranks(inputs.view(), &output).expect("correlations");
        let partial: Vec<Effect> = partial.into_iter().map(|effect| effect.expect("defined")).collect();
        for (what, effects) in [("src", model.coefficients), ("prcc", partial)] {
            check(what, effects.iter().map(|effect| effect.value), &row[what]["value"]);
            check(what, effects.iter().map(|effect| effect.low), &row[what]["low"]);
            check(what, effects.iter().map(|effect| effect.high), &row[what]["high"]);
        }
    }
}

#[test]
fn sobol_indices_are_those_of_salib() {
    for row in rows(&reference("sobol")) {
        let design = Saltelli { base_points: size(&row["base_points"]), inputs: size(&row["inputs"]) };
        let resampling = Resampling { resamples: 10_000, seed: 451 };
        let found = sobol(&numbers(&row["output"]), design, resampling).expect("indices");
        for (what, effects) in [("first", found.first), ("total", found.total)] {
            check(what, effects.iter().map(|effect| effect.value), &row[what]);
            // Both have a standard error of 0.7 %.
            for (effect, half) in effects.iter().zip(numbers(&row[format!("{what}_half")])) {
                let found = (effect.high - effect.low) / 2.0;
                assert!((found - half).abs() <= 0.05 * half, "{what}: {effect:?}, {half}");
            }
        }
    }
}

#[test]
fn sequences_are_those_of_scipy() {
    for row in rows(&reference("sequences")) {
        let sequence = Sobol::new(size(&row["dimensions"])).expect("few dimensions");
        let points: Vec<Vec<f64>> = sequence.take(size(&row["points"])).collect();
        assert_eq!(points.last(), Some(&numbers(&row["last"])));
        assert_eq!(digest(points.iter().flatten()), row["sha256"], "{}", row["dimensions"]);
    }
}

#[test]
fn designs_are_those_of_salib() {
    for row in rows(&reference("designs")) {
        let design = Saltelli { base_points: size(&row["base_points"]), inputs: size(&row["inputs"]) };
        let points = design.points().expect("a design");
        assert_eq!(digest(&points), row["sha256"], "{design:?}");
    }
}

/// SHA-256 of doubles in little-endian order, as text.
fn digest<'a>(values: impl IntoIterator<Item = &'a f64>) -> String {
    let bytes: Vec<u8> = values.into_iter().flat_map(|value| value.to_le_bytes()).collect();
    Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
