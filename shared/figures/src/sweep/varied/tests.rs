use granule_engine::Value;

use super::*;
use crate::sweep::tests::{condition, leak};

fn columns(models: &[Model]) -> Vec<(String, Vec<VariedValue>)> {
    let column = |of: Varied| {
        let values: Vec<VariedValue> = models.iter().map(|model| of.value(model)).collect();
        for (value, model) in values.iter().zip(models) {
            let number = match value {
                VariedValue::Number(x) => Some(*x),
                VariedValue::Text(_) => None,
            };
            assert_eq!((of.number(model), of.is_number()), (number, number.is_some()), "{}", of.name);
        }
        (of.name, values)
    };
    varied(models.iter()).into_iter().map(column).collect()
}

fn model(base: &str, set: &[(&str, Value)]) -> Model {
    condition("c", base, set).model
}

fn of_numbers(values: &[f64]) -> Vec<VariedValue> {
    values.iter().copied().map(VariedValue::Number).collect()
}

fn of_texts(values: &[&str]) -> Vec<VariedValue> {
    values.iter().map(|text| VariedValue::Text((*text).to_owned())).collect()
}

#[test]
fn presets_differ_in_their_overrides() {
    let found = columns(&["Control", "GABAzine", "ACh"].map(|base| model(base, &[])));
    let expected = [
        ("noise_first", of_texts(&["golgi", "granule", "golgi"])),
        // A constant factor has no spread.
        ("granule_tonic_factor", of_numbers(&[1.0, 0.0, 0.4])),
        ("granule_tonic_factor_sd", of_numbers(&[0.0, 0.0, 0.07])),
        ("golgi_leak_reversal_mV", of_numbers(&[-51.0, -51.0, -55.0])),
        ("mossy_to_granule_scale", of_numbers(&[1.0, 1.0, 0.4521])),
        ("mossy_to_golgi_scale", of_numbers(&[1.0, 1.0, 0.4578])),
        ("golgi_to_granule_weight_nS", of_numbers(&[0.17, 0.0, 0.17])),
    ];
    assert_eq!(found, expected.map(|(name, values)| (name.to_owned(), values)));
}

#[test]
fn values_that_are_no_numbers_are_texts() {
    let set = [
        ("weights.random", Value::Flag(false)),
        ("weights.seed", Value::Count(9)),
        ("stimulus.times", Value::Numbers(vec![510.0, 520.5])),
        ("noise.first", Value::Choice("granule")),
    ];
    let found = columns(&[model("Control", &[]), model("Control", &set)]);
    let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["stimulus_times_ms", "weights_random", "weights_seed", "noise_first"]);
    let last: Vec<VariedValue> = found.iter().map(|(_, values)| values[1].clone()).collect();
    let text = |text: &str| VariedValue::Text(text.to_owned());
    assert_eq!(last, [text("[510, 520.5]"), text("false"), VariedValue::Number(9.0), text("granule")]);
}

#[test]
fn only_differences_have_columns() {
    assert!(columns(&[]).is_empty());
    assert!(columns(&[model("ACh", &[])]).is_empty());
    assert!(columns(&[model("ACh", &[]), model("ACh", &[])]).is_empty());
    // Constants have no spread. The later models count, too.
    let constant =
        |x: f64| model("Control", &[("granule.tonic_factor", Value::Factor(CellFactor::Constant(x)))]);
    let found = columns(&[constant(0.5), constant(0.5), constant(0.25)]);
    assert_eq!(found, [("granule_tonic_factor".to_owned(), of_numbers(&[0.5, 0.5, 0.25]))]);
    let found = columns(&[-51.0, -53.5].map(|x| model("Control", &[leak(x)])));
    assert_eq!(found, [("golgi_leak_reversal_mV".to_owned(), of_numbers(&[-51.0, -53.5]))]);
    // Distributions that differ only in their seed have equal numbers.
    let gamma = |seed: u32| {
        let factor = CellFactor::Gamma { mean: 0.5, sd: 0.25, seed };
        model("Control", &[("granule.tonic_factor", Value::Factor(factor))])
    };
    let [mean, sd] = &columns(&[gamma(1), gamma(2)])[..] else { panic!() };
    assert_eq!((&mean.1, &sd.1), (&of_numbers(&[0.5, 0.5]), &of_numbers(&[0.25, 0.25])));
}

#[test]
fn names_that_are_taken_are_changed() {
    let taken: BTreeSet<String> = ["mean", "seed"].map(str::to_owned).into();
    let free = |name: &str| super::free(name.to_owned(), &taken);
    assert_eq!([free("mean"), free("seeds")], ["mean_set", "seeds"]);
    let taken: BTreeSet<String> = ["mean", "mean_set"].map(str::to_owned).into();
    assert_eq!(super::free("mean".to_owned(), &taken), "mean_set_set");
}

#[test]
fn units_are_ends_of_names() {
    let units = ["", "mV", "1/ms", "µA", "μA", "MΩ", "mm²", "mm³", "%", "kHz·s"];
    let expected = ["", "_mV", "_1_per_ms", "_uA", "_uA", "_Mohm", "_mm2", "_mm3", "_percent", "_kHz_s"];
    assert_eq!(units.map(suffix), expected);
}
