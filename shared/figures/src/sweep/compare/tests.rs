use granule_engine::Value;

use super::*;
use crate::sweep::Window;
use crate::sweep::tests::{
    Program, assert_close, condition, condition_of, factor, joined, leak, names, numbers, of_seed, texts,
};

/// The 0.975 quantile of Student's t distribution with four degrees of freedom, as tables print it.
const T_OF_FOUR: f64 = 2.776_445_105;

const MEASURES: [&str; 10] = [
    "response_probability",
    "spikes_per_driven_cell",
    "peak_spikes_per_ms",
    "reliable_fraction",
    "first_spike_latency_ms",
    "first_spike_jitter_ms",
    "fano_factor",
    "granule_before_hz",
    "golgi_before_hz",
    "golgi_during_hz",
];

/// Returns the observations of these seeds with these numbers of spikes per driven cell.
fn responses(of: &[(u32, f64)]) -> Vec<Observed> {
    of.iter().map(|&(seed, value)| of_seed(seed, &[(Measure::Response, value)])).collect()
}

/// Returns the row of a measure and a condition.
fn row(table: &Table, condition: &str, measure: &str) -> usize {
    let is_row = |pair: (&String, &String)| pair.0 == condition && pair.1 == measure;
    let found = texts(table, "condition").iter().zip(texts(table, "measure")).position(is_row);
    found.unwrap_or_else(|| panic!("no {measure} of {condition}"))
}

/// Returns these columns of a row.
fn cells(table: &Table, row: usize, columns: &[&str]) -> Vec<Option<f64>> {
    columns.iter().map(|column| numbers(table, column)[row]).collect()
}

const ESTIMATE: [&str; 5] = ["seeds", "sd", "sem", "low_95", "high_95"];

#[test]
fn five_pairs_have_the_interval_of_four_degrees_of_freedom() {
    let conditions = [condition("Control", "Control", &[]), condition("leaky", "Control", &[leak(-53.0)])];
    let observed = [
        responses(&[(1, 10.0), (2, 12.0), (3, 9.0), (4, 11.0), (5, 8.0)]),
        responses(&[(1, 11.0), (2, 14.0), (3, 12.0), (4, 15.0), (5, 13.0)]),
    ];
    let of = joined(&conditions, &observed);
    let table = comparison(&of, 0);
    assert_eq!(table.name, "differences");
    let fixed = ["reference", "measure", "unit", "seeds", "difference", "sd", "sem", "low_95", "high_95"];
    let all = [&["condition", "golgi_leak_reversal_mV"][..], &fixed, &["effect_size_dz", "p"]].concat();
    assert_eq!(names(&table), all);
    assert!(texts(&table, "condition").iter().all(|name| name == "leaky"));
    assert_eq!(texts(&table, "measure"), MEASURES);
    assert!(texts(&table, "reference").iter().all(|name| name == "Control"));
    assert_eq!(texts(&table, "unit"), ["", "", "1/ms", "", "ms", "ms", "", "Hz", "Hz", "Hz"]);
    assert_eq!(numbers(&table, "golgi_leak_reversal_mV"), [Some(-53.0); 10]);

    // The differences are 1 to 5: mean 3 and variance 10 / 4.
    let row = row(&table, "leaky", "spikes_per_driven_cell");
    let (sd, sem) = (2.5_f64.sqrt(), 0.5_f64.sqrt());
    let half = T_OF_FOUR * sem;
    let expected = [5.0, sd, sem, 3.0 - half, 3.0 + half].map(Some);
    assert_close(&cells(&table, row, &ESTIMATE), &expected);
    // Of t with four degrees of freedom, P(T < t) = 1/2 + 3/8 · t / √(1 + t²/4) · (1 − t² / (12 + 3 t²)).
    let t: f64 = 3.0 / sem;
    let below = 0.5 + 0.375 * t / (1.0 + t * t / 4.0).sqrt() * (1.0 - t * t / (12.0 + 3.0 * t * t));
    let rest = ["difference", "effect_size_dz", "p"];
    assert_close(&cells(&table, row, &rest), &[Some(3.0), Some(3.0 / sd), Some(2.0 * (1.0 - below))]);
    // Other measures have no values.
    let none = [Some(0.0), None, None, None, None, None, None, None];
    assert_eq!(cells(&table, row + 1, &[&ESTIMATE[..], &rest].concat()), none);

    let table = estimates(&of);
    assert_eq!(table.name, "estimates");
    let fixed = ["measure", "unit", "seeds", "mean", "sd", "sem", "low_95", "high_95"];
    assert_eq!(names(&table), [&["condition", "golgi_leak_reversal_mV"][..], &fixed].concat());
    assert_eq!(table.rows(), 20);
    assert_eq!(texts(&table, "measure"), [MEASURES, MEASURES].concat());
    let row = self::row(&table, "Control", "spikes_per_driven_cell");
    let expected = [5.0, sd, sem, 10.0 - half, 10.0 + half, 10.0, -51.0].map(Some);
    let columns = [&ESTIMATE[..], &["mean", "golgi_leak_reversal_mV"]].concat();
    assert_close(&cells(&table, row, &columns), &expected);
}

#[test]
fn every_seed_has_a_row_with_all_measures() {
    let conditions = [
        condition("Control", "Control", &[]),
        condition("ACh", "ACh", &[]),
        condition("few", "Control", &[("stimulus.times", Value::Numbers(vec![510.0, 515.5]))]),
    ];
    let mut observed = [responses(&[(7, 1.5), (451, 2.5)]), responses(&[(7, 3.5)]), responses(&[])];
    observed[1][0].trials = 34;
    observed[1][0].measures[8] = Some(6.25);
    let table = measures(&joined(&conditions, &observed));
    assert_eq!(table.name, "measures");
    let parameters = [
        "stimulus_times_ms",
        "granule_tonic_factor",
        "granule_tonic_factor_sd",
        "golgi_leak_reversal_mV",
        "mossy_to_granule_scale",
        "mossy_to_golgi_scale",
    ];
    let expected =
        [&["condition"][..], &parameters, &["seed", "trials", "window_from_ms", "window_to_ms"], &MEASURES]
            .concat();
    assert_eq!(names(&table), expected);
    let csv = table.csv();
    let expected = [
        "Control,\"[1010, 1020, 1030]\",1,0,-51,1,1,7,1,1000,1060,,1.5,,,,,,,,",
        "Control,\"[1010, 1020, 1030]\",1,0,-51,1,1,451,1,1000,1060,,2.5,,,,,,,,",
        "ACh,\"[1010, 1020, 1030]\",0.4,0.07,-55,0.4521,0.4578,7,34,1000,1060,,3.5,,,,,,,6.25,",
    ];
    assert_eq!(csv.lines().skip(1).collect::<Vec<_>>(), expected);
    // A condition without a seed still has estimates.
    let table = estimates(&joined(&conditions, &observed));
    let row = row(&table, "few", "spikes_per_driven_cell");
    assert_eq!(texts(&table, "stimulus_times_ms")[row], "[510, 515.5]");
    assert_eq!(cells(&table, row, &["seeds", "mean", "sd"]), [Some(0.0), None, None]);
}

#[test]
fn only_common_seeds_with_values_are_paired() {
    let conditions = [condition("a", "Control", &[leak(-53.0)]), condition("b", "Control", &[])];
    // Seeds are in another order. Seed 9 is only in one condition, and seed 3 has no value in the other.
    let mut observed = [
        responses(&[(1, 5.0), (2, 7.0), (3, 1.0), (4, 2.0), (9, 100.0)]),
        responses(&[(4, 1.0), (8, 50.0), (3, 6.0), (2, 3.0), (1, 2.0)]),
    ];
    observed[1][2].measures[1] = None;
    let of = joined(&conditions, &observed);
    let expected: &[(u32, f64)] = &[(1, 3.0), (2, 4.0), (4, 1.0)];
    let all = differences(&of, 1);
    assert!(all.iter().all(|of| of.condition == 0) && all.len() == 10);
    assert_eq!(all[1].contrast, Contrast::Of(Measure::Response));
    assert_eq!(all[1].of_seeds, expected);
    let table = comparison(&of, 1);
    let row = row(&table, "a", "spikes_per_driven_cell");
    assert_eq!(cells(&table, row, &["seeds", "difference"]), [Some(3.0), Some(8.0 / 3.0)]);
    assert_eq!(texts(&table, "reference")[row], "b");

    // The other way round, differences have the other sign.
    let back = differences(&of, 0);
    let mut found = back[1].of_seeds.clone();
    found.sort_by_key(|of| of.0);
    assert_eq!(
        (back[1].condition, &found[..]),
        (1, &expected.iter().map(|of| (of.0, -of.1)).collect::<Vec<_>>()[..])
    );
}

#[test]
fn one_seed_has_a_difference_but_no_interval() {
    let conditions = [condition("a", "Control", &[]), condition("b", "Control", &[leak(-53.0)])];
    let observed = [responses(&[(1, 5.0)]), responses(&[(1, 7.0)])];
    let of = joined(&conditions, &observed);
    let table = comparison(&of, 0);
    let row = row(&table, "b", "spikes_per_driven_cell");
    assert_eq!(cells(&table, row, &["difference"]), [Some(2.0)]);
    assert_eq!(cells(&table, row, &ESTIMATE), [Some(1.0), None, None, None, None]);
    assert_eq!(cells(&table, row, &["effect_size_dz", "p"]), [None, None]);
    let table = estimates(&of);
    let row = self::row(&table, "b", "spikes_per_driven_cell");
    assert_eq!(cells(&table, row, &["mean", "low_95", "high_95"]), [Some(7.0), None, None]);
}

#[test]
fn conditions_with_trials_are_discriminated() {
    let conditions = [condition("a", "Control", &[]), condition("b", "Control", &[leak(-53.0)])];
    let mut observed = [responses(&[(1, 5.0), (2, 5.0)]), responses(&[(1, 7.0), (2, 7.0)])];
    observed[0][0].of_trials = Some((2.0, 8.0));
    observed[1][0].of_trials = Some((5.0, 2.0));
    // The second seed has no variance.
    (observed[0][1].of_trials, observed[1][1].of_trials) = (Some((2.0, 0.0)), Some((5.0, 0.0)));
    let table = comparison(&joined(&conditions, &observed), 0);
    assert_eq!(texts(&table, "measure").last().map(String::as_str), Some("d_prime"));
    let row = row(&table, "b", "d_prime");
    assert_close(&cells(&table, row, &["seeds", "difference"]), &[Some(1.0), Some(3.0 / 5.0_f64.sqrt())]);
    assert_eq!(texts(&table, "unit")[row], "");
}

#[test]
fn nothing_is_compared_without_a_reference() {
    let conditions = [condition("a", "Control", &[factor(0.5)])];
    let observed = [responses(&[(1, 5.0)])];
    let of = joined(&conditions, &observed);
    for reference in [0, 1, 7] {
        let table = comparison(&of, reference);
        // A single condition has no parameters that differ.
        assert_eq!((table.rows(), names(&table)[..2].to_vec()), (0, vec!["condition", "reference"]));
    }
    assert_eq!((measures(&[]).rows(), estimates(&[]).rows(), comparison(&[], 0).rows()), (0, 0, 0));
}

#[test]
fn no_two_columns_have_one_name() {
    let set = |x: f64, choice: &'static str| {
        let number = Value::Number(x);
        let set = [
            ("sd", number.clone()),
            ("seed", Value::Count(x as u32)),
            ("relay_hz", number.clone()),
            ("rise", number),
            ("reference", Value::Choice(choice)),
        ];
        condition_of(&Program, choice, "Base", &set)
    };
    let conditions = [set(2.0, "slow"), set(3.0, "fast")];
    let observed = |value: f64| Observed {
        seed: 1,
        trials: 1,
        window: Window { ms: 0..100 },
        driven: 1,
        measures: vec![Some(value); 5],
        of_trials: None,
        courses: None,
    };
    let observed = [vec![observed(1.0)], vec![observed(2.0)]];
    let of = joined(&conditions, &observed);
    let table = measures(&of);
    let expected =
        ["condition", "sd", "seed_set", "relay_hz_set", "rise_1_per_ms", "reference", "seed", "trials"];
    assert_eq!(names(&table)[..8], expected);
    assert_eq!(
        (numbers(&table, "relay_hz_set"), numbers(&table, "relay_hz")),
        (vec![Some(2.0), Some(3.0)], vec![Some(1.0), Some(2.0)])
    );
    assert_eq!(
        names(&estimates(&of))[..6],
        ["condition", "sd_set", "seed", "relay_hz", "rise_1_per_ms", "reference"]
    );
    let table = comparison(&of, 0);
    assert_eq!(
        names(&table)[..7],
        ["condition", "sd_set", "seed", "relay_hz", "rise_1_per_ms", "reference_set", "reference"]
    );
    assert_eq!(
        (texts(&table, "reference_set")[0].as_str(), texts(&table, "reference")[0].as_str()),
        ("fast", "slow")
    );
}
