use granule_engine::space::CellFactor;

use super::*;
use crate::sweep::tests::{
    assert_close, condition, factor, has_text, joined, leak, legend, measured, names, numbers, texts,
};
use crate::sweep::{Observed, ObservedCondition};

const FACTORS: [f64; 3] = [0.25, 0.5, 0.75];
const LEAKS: [f64; 2] = [-53.0, -51.0];

/// Returns the combinations of these factors and leak reversals, with other settings.
fn combinations(factors: &[f64], leaks: &[f64], set: &[(&str, Value)]) -> Vec<ObservedCondition> {
    let pairs = factors.iter().flat_map(|x| leaks.iter().map(|y| (*x, *y)));
    pairs
        .map(|(x, y)| condition(&format!("f{x}-l{y}"), "Control", &[&[factor(x), leak(y)], set].concat()))
        .collect()
}

/// Returns observations with these values of the first measure, one for each condition.
fn one_each(values: &[f64]) -> Vec<Vec<Observed>> {
    values.iter().map(|value| measured(&[*value])).collect()
}

fn drawn(conditions: &[ObservedCondition], observed: &[Vec<Observed>]) -> Vec<Figure> {
    let figures = matrices(&joined(conditions, observed));
    figures.iter().for_each(|figure| figure.check_layout(&figure.name));
    figures
}

#[test]
fn every_combination_is_a_field_with_its_mean() {
    let conditions = combinations(&FACTORS, &LEAKS, &[]);
    let mut observed = one_each(&[0.1, 0.2, 0.3, 0.4, 0.5, 0.6]);
    observed[5] = measured(&[0.5, 0.9]);
    let figures = drawn(&conditions, &observed);
    let [figure] = &figures[..] else { panic!("{figures:?}") };
    assert_eq!(figure.name, "matrix-granule-tonic_factor-golgi-leak_reversal");
    let title = "Measures against factor on tonic inhibition and Golgi cell leak reversal potential";
    assert_eq!(figure.title, title);
    let table = &figure.tables[0];
    assert_eq!(table.name, "means");
    let expected =
        ["condition", "granule_tonic_factor", "golgi_leak_reversal_mV", "response_probability_mean"];
    assert_eq!(names(table)[..4], expected);
    // Rows are by leak reversal, then by factor.
    let some = |values: &[f64]| -> Vec<Option<f64>> { values.iter().copied().map(Some).collect() };
    assert_close(&numbers(table, expected[1]), &some(&[FACTORS, FACTORS].concat()));
    assert_close(&numbers(table, expected[2]), &some(&[-53.0, -53.0, -53.0, -51.0, -51.0, -51.0]));
    assert_close(&numbers(table, expected[3]), &some(&[0.1, 0.3, 0.5, 0.2, 0.4, 0.7]));
    assert_eq!(numbers(table, "fano_factor_mean"), [None; 6]);
    // All means are printed once. The largest has three digits, and the others as many decimals.
    let shown = figure.texts();
    for text in ["0.100", "0.200", "0.300", "0.400", "0.500", "0.700"] {
        assert_eq!(shown.iter().filter(|found| *found == text).count(), 1, "{text} in {shown:?}");
    }
    assert_eq!(shown.iter().filter(|text| *text == "cannot be measured").count(), 9);
    assert!(has_text(figure, "\u{2212}53") && has_text(figure, "0.75"), "{shown:?}");
}

#[test]
fn larger_means_are_higher_and_darker() {
    let conditions = combinations(&FACTORS[..2], &LEAKS, &[]);
    let figure = drawn(&conditions, &one_each(&[1.0, 2.0, 3.0, 4.0])).remove(0);
    let boxes = figure.text_boxes();
    let at = |text: &str| {
        boxes.iter().find(|(found, _)| found == text).map(|(_, at)| (at[0], at[1])).expect("text")
    };
    let ([(x1, y1), (x2, y2)], (x3, y3)) = (["1.00", "2.00"].map(at), at("3.00"));
    // The leak reversal increases upwards, and the factor to the right.
    assert!(y2 < y1 && (x1 - x2).abs() < 1.0 && x3 > x1 && (y1 - y3).abs() < 1.0);
    let svg = figure.svg();
    let document = roxmltree::Document::parse(&svg).expect("XML");
    let color = |text: &str| {
        let node = document.descendants().find(|node| node.has_tag_name("text") && node.text() == Some(text));
        node.expect("a text").attribute("fill").unwrap_or("#000000").to_owned()
    };
    // Numbers can be read on light and dark fields.
    assert_eq!((color("1.00"), color("4.00")), ("#000000".to_owned(), "#ffffff".to_owned()));
}

#[test]
fn few_or_scattered_conditions_are_no_map() {
    let conditions = combinations(&FACTORS, &LEAKS, &[]);
    let observed = one_each(&[0.1, 0.2, 0.3, 0.4, 0.5, 0.6]);
    let count = |fields: &[usize]| {
        let conditions: Vec<ObservedCondition> = fields.iter().map(|at| conditions[*at].clone()).collect();
        let observed: Vec<Vec<Observed>> = fields.iter().map(|at| observed[*at].clone()).collect();
        drawn(&conditions, &observed).len()
    };
    assert_eq!([count(&[0, 1, 2, 3, 4, 5]), count(&[0, 1, 2, 4, 5]), count(&[0, 1, 2, 3])], [1, 1, 1]);
    // Three fields are too few. Of a row alone, one parameter is no axis.
    assert_eq!([count(&[0, 1, 2]), count(&[0, 2, 4]), count(&[])], [0, 0, 0]);
    let diagonal: Vec<ObservedCondition> = (0..8)
        .map(|i| condition("d", "Control", &[factor(f64::from(i)), leak(-50.0 - f64::from(i))]))
        .collect();
    assert!(drawn(&diagonal, &one_each(&[1.0; 8])).is_empty());
}

#[test]
fn fields_without_a_condition_or_a_value_stay_empty() {
    let mut conditions = combinations(&FACTORS, &LEAKS, &[]);
    let mut observed = one_each(&[0.1, 0.2, 0.3, 0.4, 0.5, 0.6]);
    conditions.remove(1);
    observed.remove(1);
    observed[1][0].measures.fill(None);
    let figure = drawn(&conditions, &observed).remove(0);
    let table = &figure.tables[0];
    assert_close(
        &numbers(table, "response_probability_mean"),
        &[Some(0.1), None, Some(0.5), Some(0.4), Some(0.6)],
    );
    let printed = figure.texts().iter().filter(|text| text.starts_with("0.") && text.len() == 5).count();
    assert_eq!(printed, 4, "{:?}", figure.texts());
    let svg = figure.svg();
    assert!(!svg.contains("NaN"));
    // A value that is missing is grey, in the map and in the legend. A condition that is missing is blank.
    let grey = Ramp::MISSING.at(0.0).to_string();
    assert_eq!(svg.matches(&grey).count(), 2);
    for text in ["cannot be measured", "blank: no such condition in the sweep"] {
        assert!(legend(&figure).iter().any(|(_, found)| found == text), "{text}");
    }
    for sentence in
        ["In grey fields, the measure cannot be measured.", "Blank fields are no conditions of the sweep."]
    {
        assert!(figure.description.contains(sentence), "{}", figure.description);
    }
}

#[test]
fn empty_fields_have_no_colour_even_if_all_means_are_equal() {
    for values in [[0.0; 5], [0.1, 0.2, 0.3, 0.4, 0.5]] {
        let mut conditions = combinations(&FACTORS, &LEAKS, &[]);
        conditions.remove(1);
        let figure = drawn(&conditions, &one_each(&values)).remove(0);
        let svg = figure.svg();
        let document = roxmltree::Document::parse(&svg).expect("XML");
        let is_cut = |node: &roxmltree::Node<'_, '_>| node.attribute("overflow") == Some("hidden");
        let shapes = document.descendants().filter(is_cut).flat_map(|frame| frame.children());
        let fields = shapes.filter(|shape| shape.has_tag_name("rect")).count();
        assert_eq!(fields, 5, "{svg}");
    }
}

#[test]
fn other_parameters_are_side_by_side() {
    let scale = |x: f64| ("mossy_to_golgi.scale", Value::Number(x));
    let of = |scales: &[f64]| {
        let conditions: Vec<ObservedCondition> =
            scales.iter().flat_map(|x| combinations(&FACTORS, &LEAKS, &[scale(*x)])).collect();
        let values: Vec<f64> = (1..=conditions.len()).map(|value| value as f64).collect();
        drawn(&conditions, &one_each(&values))
    };
    let figures = of(&[0.5, 1.5]);
    // There are maps for each pair of the three parameters. Ten rows of measures need two pages.
    let names: Vec<&str> = figures.iter().map(|figure| figure.name.as_str()).collect();
    let pairs = [
        "granule-tonic_factor-golgi-leak_reversal",
        "granule-tonic_factor-mossy_to_golgi-scale",
        "golgi-leak_reversal-mossy_to_golgi-scale",
    ];
    let expected = pairs.iter().flat_map(|pair| [1, 2].map(|page| format!("matrix-{pair}-{page}")));
    assert_eq!(names, expected.collect::<Vec<_>>());
    assert!(figures.iter().all(|figure| figure.height_mm() <= MOST_MM + 1.0));
    let table = &figures[0].tables[0];
    let of_golgi = |x: f64| format!("mossy_to_golgi.scale {x}");
    let scales = numbers(table, "mossy_to_golgi_scale");
    assert_eq!(scales, [vec![Some(0.5); 6], vec![Some(1.5); 6]].concat());
    for (number, x) in [(1, 0.5), (2, 1.5)] {
        assert!(has_text(&figures[0], &format!("{number}: {}", of_golgi(x))));
        // Each of five measures has a panel for each combination.
        let start = format!("{number}: ");
        let found = figures[0].texts().iter().filter(|text| text.starts_with(&start)).count();
        assert_eq!(found, 6, "{:?}", figures[0].texts());
    }
    assert!(!figures[0].description.contains("more combination"));
    // Colours are the same in all panels of a measure: the least mean of both is 1, the largest 12.
    assert!(has_text(&figures[0], "1.0") && has_text(&figures[0], "12.0"));

    let many = of(&[0.5, 1.0, 1.5, 2.0, 2.5]).remove(0);
    assert!(many.description.contains("The table has 1 more combination of"), "{}", many.description);
    assert_eq!(many.tables[0].rows(), 30);
    assert!(many.texts().iter().all(|text| !text.ends_with(&of_golgi(2.5))));
}

#[test]
fn presets_beside_a_grid_do_not_hide_it() {
    let mut conditions: Vec<ObservedCondition> =
        ["Control", "GABAzine", "ACh"].map(|base| condition(base, base, &[])).into();
    conditions.extend(combinations(&FACTORS, &[-60.0, -57.5], &[]));
    let figures = drawn(&conditions, &one_each(&[1.0; 9]));
    let [figure] = &figures[..] else {
        panic!("{:?}", figures.iter().map(|of| &of.name).collect::<Vec<_>>())
    };
    // Control has a leak reversal of its own, and is no field.
    assert!(texts(&figure.tables[0], "condition").iter().all(|name| name.starts_with('f')));
    assert_eq!(figure.tables[0].rows(), 6);
    assert!(
        figure.description.ends_with(" Not in the figure: Control, GABAzine and ACh."),
        "{}",
        figure.description
    );
    assert!(!figure.description.contains("Blank fields"));
}

#[test]
fn large_maps_have_fewer_names_and_no_numbers() {
    let factors: Vec<f64> = (0..40).map(|i| 0.125 + 0.025 * f64::from(i)).collect();
    let leaks: Vec<f64> = (0..12).map(|i| -60.25 + f64::from(i)).collect();
    let conditions = combinations(&factors, &leaks, &[]);
    let values: Vec<f64> = (0..480).map(|i| 1000.0 + f64::from(i)).collect();
    let figure = drawn(&conditions, &one_each(&values)).remove(0);
    let shown = figure.texts();
    assert!(!shown.iter().any(|text| text == "1000" || text == "1479"), "{shown:?}");
    // Instead, the legend has the least and the largest mean. Names of the first column and the first row are left.
    assert!(has_text(&figure, "Response probability: 1000 to 1479"), "{shown:?}");
    assert!(!figure.description.contains("Numbers are the means"));
    assert!(has_text(&figure, "0.125") && has_text(&figure, "\u{2212}60.2"), "{shown:?}");
    assert_eq!(figure.tables[0].rows(), 480);
    // Of 41 values, there is no map.
    let factors: Vec<f64> = (0..41).map(|i| 0.125 + 0.025 * f64::from(i)).collect();
    let conditions = combinations(&factors, &LEAKS, &[]);
    assert!(drawn(&conditions, &one_each(&[1.0; 82])).is_empty());
}

#[test]
fn maps_of_six_by_eight_fields_have_numbers_if_these_fit() {
    let factors: Vec<f64> = (1..7).map(|i| 0.125 * f64::from(i)).collect();
    let leaks: Vec<f64> = (0..8).map(|i| -60.25 + f64::from(i)).collect();
    for largest in [9.0, 1e-7, 123_456.0] {
        let conditions = combinations(&factors, &leaks, &[]);
        let values: Vec<f64> = (0..48).map(|i| largest * (1.0 - f64::from(i) / 50.0)).collect();
        drawn(&conditions, &one_each(&values));
        // Three combinations of another parameter leave less space.
        let scales = [0.5, 1.5, 2.5].map(|x| ("mossy_to_golgi.scale", Value::Number(x)));
        let conditions: Vec<ObservedCondition> =
            scales.iter().flat_map(|set| combinations(&factors, &leaks, std::slice::from_ref(set))).collect();
        let values = [&values[..], &values, &values].concat();
        drawn(&conditions, &one_each(&values));
    }
}

#[test]
fn distributions_are_no_numbers_of_an_axis() {
    let gamma = |mean: f64| {
        let factor = CellFactor::Gamma { mean, sd: 0.1, seed: 1 };
        ("granule.tonic_factor", Value::Factor(factor))
    };
    let conditions: Vec<ObservedCondition> = [0.2, 0.4, 0.6]
        .iter()
        .flat_map(|mean| LEAKS.map(|y| condition("g", "Control", &[gamma(*mean), leak(y)])))
        .collect();
    assert!(drawn(&conditions, &one_each(&[1.0; 6])).is_empty());
}

#[test]
fn numbers_of_a_map_have_the_same_decimals() {
    let of = |low: f64, high: f64| [0.5, 12.0, -3.25].map(|value| aligned(value, low, high));
    assert_eq!(of(-3.25, 12.0), ["0.5", "12.0", "\u{2212}3.2"]);
    assert_eq!(of(-1234.0, 12.0), ["0", "12", "\u{2212}3"]);
    assert_eq!(of(0.01, 0.05), ["0.5000", "12.0000", "\u{2212}3.2500"]);
    assert_eq!([aligned(2e6, 0.0, 2e6), aligned(0.0, 0.0, 0.0)], ["2e6", "0"]);
}

#[test]
fn squares_of_a_design_for_sensitivity_are_no_map() {
    // Each square has its own values on the axes, and another value of a third parameter.
    let square = |at: usize| {
        let i = at as f64;
        let weight = ("weights.mean", Value::Number(0.1 + 0.01 * i));
        combinations(&[0.1 + i, 0.2 + i], &[-50.0 - i, -50.5 - i], &[weight])
    };
    let conditions: Vec<ObservedCondition> = (0..4).flat_map(square).collect();
    assert!(drawn(&conditions, &one_each(&[1.0; 16])).is_empty());
    assert_eq!(drawn(&conditions[..4], &one_each(&[1.0; 4])).len(), 1);
}
