use granule_engine::Value;

use super::axis::*;
use super::lines::SEED;
use super::*;
use crate::sweep::show::{MOST_LINES, brief, ordered_line};
use crate::sweep::tests::{
    assert_close, condition, factor, has_text, joined, leak, legend, measured, names, numbers, of_seed,
    sweep, texts,
};
use crate::sweep::{Measure, Observed, ObservedCondition, measures};

#[test]
fn parameters_that_differ_are_axes() {
    let (conditions, observed) = sweep();
    let found = axes(&conditions);
    assert_eq!(found.len(), 2);
    let paths: Vec<&str> = found.iter().map(|axis| axis.parameter.path).collect();
    assert_eq!(paths, ["granule.tonic_factor", "golgi.leak_reversal"]);
    // The factor 0 is that of GABAzine.
    assert_eq!(found[0].values, [0.0, 0.25, 0.5, 1.0]);
    assert_eq!(found[1].values, [-53.0, -51.0, -50.5]);
    let labels: Vec<String> = found.iter().map(DoseAxis::label).collect();
    assert_eq!(labels, ["Factor on tonic inhibition", "Golgi cell leak reversal potential (mV)"]);
    // Two values are enough for a map, but not for a line.
    assert_eq!(all_axes(conditions.iter()).len(), 3);
    let of = joined(&conditions, &observed);
    let figure = only(responses(&of, &found[0]));
    assert_eq!(figure.name, "dose-response-granule-tonic_factor");
    let csv = figure.tables[0].csv();
    assert_eq!(csv.lines().count(), 1 + conditions.len());
    // Each leak reversal has a line with three factors. The columns of parameters are those of the table of measures.
    let leaks = numbers(&figure.tables[0], "golgi_leak_reversal_mV");
    assert_eq!([-53.0, -50.5].map(|leak| leaks.iter().filter(|found| **found == Some(leak)).count()), [3, 3]);
    let of_measures = measures(&of);
    let is_parameter = |name: &&str| *name != "seed" && names(&of_measures).contains(name);
    let found: Vec<&str> = names(&figure.tables[0]).into_iter().filter(is_parameter).collect();
    let count = found.len();
    assert_eq!(found, names(&of_measures)[..count]);
    assert!(count > 4 && names(&of_measures)[count] == "seed" && csv.is_ascii(), "{csv}");
    // Control and GABAzine are on no line, so parameters in which only they differ are in no line's name.
    assert_eq!(lines(&figure), ["Golgi cell leak reversal potential:", "\u{2212}53 mV", "\u{2212}50.5 mV"]);
    assert!(
        figure.description.ends_with(" Not in the figure: Control and GABAzine."),
        "{}",
        figure.description
    );
    let mean = (observed[2][0].measures[0].expect("one") + observed[2][1].measures[0].expect("one")) / 2.0;
    assert!(csv.contains(&format!(",2,{mean},")), "{mean} in {csv}");
    // Conditions that differ only in numbers of streams have no axis.
    let seeds: Vec<ObservedCondition> =
        (0..4).map(|seed| condition("x", "Control", &[("weights.seed", Value::Count(seed))])).collect();
    assert_eq!(axes(&seeds), []);
}

/// Returns the only one of these figures.
#[track_caller]
fn only(mut figures: Vec<Figure>) -> Figure {
    assert_eq!(figures.len(), 1, "{figures:?}");
    figures.remove(0)
}

/// Returns the texts of the legend about lines and columns.
fn lines(figure: &Figure) -> Vec<String> {
    let is_name = |text: &String| !text.contains("interval over") && text != "a seed";
    legend(figure).into_iter().map(|(_, text)| text).filter(is_name).collect()
}

/// Draws the figures against the tonic factor, of every combination of three factors and these settings.
fn against_factors(settings: &[Vec<(&str, Value)>]) -> Vec<Figure> {
    let factors = [0.25, 0.5, 1.0].map(factor);
    let conditions: Vec<ObservedCondition> = factors
        .iter()
        .flat_map(|factor| settings.iter().map(move |of| [std::slice::from_ref(factor), &of[..]].concat()))
        .map(|set| condition("c", "Control", &set))
        .collect();
    let observed = measured(&[1.0]);
    let of: Vec<(&ObservedCondition, &[Observed])> =
        conditions.iter().map(|condition| (condition, &observed[..])).collect();
    let axis = axes(&conditions).into_iter().find(|axis| axis.parameter.path == "granule.tonic_factor");
    let figures = responses(&of, &axis.expect("three values"));
    figures.iter().for_each(|figure| figure.check_layout(&figure.name));
    figures
}

#[test]
fn lines_are_told_apart_as_sweep_files_write_values() {
    let times = |times: &[f64]| vec![("stimulus.times", Value::Numbers(times.to_vec()))];
    let figure = only(against_factors(&[times(&[10.0]), times(&[10.0, 15.0]), times(&[])]));
    let expected = ["Spike times of the active mossy fibres:", "10 ms", "10, 15 ms", "[]"];
    assert_eq!(lines(&figure), expected);

    // Names have four digits, and more if they would be equal otherwise.
    let of = |leaks: &[f64]| {
        let settings: Vec<_> = leaks.iter().map(|x| vec![leak(*x)]).collect();
        lines(&only(against_factors(&settings)))[1..].to_vec()
    };
    let name = |leak: &str| format!("\u{2212}{leak} mV");
    assert_eq!(of(&[-53.123_456, -51.0]), ["53.12", "51"].map(name));
    assert_eq!(of(&[-51.000_001, -51.0]), ["51.000001", "51"].map(name));
}

#[test]
fn lines_whose_names_are_cut_have_numbers() {
    let times = |last: f64| {
        let times: Vec<f64> = (0..20).map(|i| 500.0 + f64::from(i)).chain([last]).collect();
        vec![("stimulus.times", Value::Numbers(times))]
    };
    let figure = only(against_factors(&[times(700.0), times(800.0), times(900.0)]));
    let entries = lines(&figure);
    assert_eq!(entries.len(), 4);
    for (number, entry) in (1..).zip(&entries[1..]) {
        assert!(entry.starts_with(&format!("{number}: 500, ")) && entry.ends_with('…'), "{entry}");
    }
    let csv = figure.tables[0].csv();
    assert!(csv.starts_with("line,condition,stimulus_times_ms,granule_tonic_factor,"), "{csv}");
    assert_eq!(csv.lines().filter(|line| line.starts_with("2,c,") && line.contains("519, 800]")).count(), 3);
}

/// Returns conditions with these factors and leak reversals.
fn points(values: impl IntoIterator<Item = (f64, f64)>) -> Vec<ObservedCondition> {
    values.into_iter().map(|(x, y)| condition("p", "Control", &[factor(x), leak(y)])).collect()
}

/// Draws the figure of each axis, with a mean of 1 and 2 over two seeds for every condition.
fn doses(conditions: &[ObservedCondition]) -> Vec<Figure> {
    let observed: Vec<Vec<Observed>> = conditions.iter().map(|_| measured(&[1.0, 2.0])).collect();
    let of = joined(conditions, &observed);
    let figures: Vec<Figure> = axes(conditions).iter().flat_map(|axis| responses(&of, axis)).collect();
    figures.iter().for_each(|figure| figure.check_layout(&figure.name));
    figures
}

/// Whether the figure has a point for each condition and no lines.
fn is_scatter(figure: &Figure) -> bool {
    figure.description.contains(": a point for each of ")
}

/// Returns the number of points in the first panel.
fn count_points(figure: &Figure) -> usize {
    let svg = figure.svg();
    let document = roxmltree::Document::parse(&svg).expect("XML");
    let panel = document.root_element().children().find(|node| node.has_tag_name("g")).expect("a panel");
    panel.descendants().filter(|node| node.has_tag_name("circle")).count()
}

#[test]
fn conditions_that_share_nothing_are_points_if_there_are_many() {
    let of = |count: u32| points((0..count).map(|i| (f64::from(i) / 10.0, -50.0 - f64::from(i) / 10.0)));
    assert_eq!((axes(&of(7)).len(), doses(&of(7)).len(), doses(&of(8)).len()), (2, 0, 2));
    for figure in doses(&of(8)) {
        assert!(is_scatter(&figure));
        assert_eq!((count_points(&figure), legend(&figure).len()), (8, 2));
        assert!(
            has_text(&figure, "a condition: mean over 2 seeds with 1 trial each"),
            "{:?}",
            figure.texts()
        );
        assert!(has_text(&figure, "n = 8") && has_text(&figure, "n = 0"), "{:?}", figure.texts());
    }
}

#[test]
fn all_conditions_of_a_sample_are_points_even_if_some_share_values() {
    // Saltelli's scheme: two conditions of a base point share the other parameter.
    let base = [(0.1, -50.0, 0.6, -51.0), (0.2, -52.0, 0.7, -53.0), (0.3, -54.0, 0.8, -55.0)];
    let blocks = base.iter().flat_map(|&(a, b, c, d)| [(a, b), (c, b), (a, d), (c, d)]);
    let figures = doses(&points(blocks));
    assert_eq!(
        figures.iter().map(|figure| (is_scatter(figure), count_points(figure))).collect::<Vec<_>>(),
        [(true, 12), (true, 12)]
    );
    // By accident, four conditions share a leak reversal.
    let scattered = (0..40).map(|i| (f64::from(i) / 100.0, -50.0 - f64::from(i % 10)));
    let figures = doses(&points(scattered));
    assert!(is_scatter(&figures[0]) && count_points(&figures[0]) == 40);
}

#[test]
fn grids_and_series_have_lines() {
    // A grid with a gap, and conditions beside it.
    let mut grid: Vec<(f64, f64)> =
        (1..6).flat_map(|x| [-50.0, -52.0, -54.0].map(|y| (f64::from(x) / 10.0, y))).collect();
    grid.remove(7);
    grid.extend([(0.9, -57.0), (1.0, -58.0)]);
    // Each parameter is varied alone.
    let alone =
        (1..6).map(|x| (f64::from(x) / 10.0, -51.0)).chain((1..6).map(|y| (1.0, -51.0 - f64::from(y))));
    // Two series without common values.
    let series = (1..5).flat_map(|i| [(f64::from(i) / 10.0, -50.0), (f64::from(i) / 10.0 + 0.05, -54.0)]);
    for (values, count) in [(grid, 2), (alone.collect(), 2), (series.collect(), 1)] {
        let figures = doses(&points(values));
        assert_eq!(figures.len(), count);
        assert!(!figures.iter().any(is_scatter));
    }
}

#[test]
fn many_points_are_smaller_and_more_than_2000_are_some_of_them() {
    let of = |count: u32| {
        let values = (0..count).map(|i| (f64::from(i) / 2500.0, -50.0 - f64::from(i) / 2500.0));
        let conditions = points(values);
        let observed: Vec<Vec<Observed>> = conditions.iter().map(|_| measured(&[1.0])).collect();
        only(responses(&joined(&conditions, &observed), &axes(&conditions)[0]))
    };
    let figure = of(2500);
    assert_eq!((count_points(&figure), figure.tables[0].rows()), (2000, 2500));
    assert!(figure.description.contains("The sweep has 2500 conditions"), "{}", figure.description);
    assert!(has_text(&figure, "n = 2000"));
    assert!(!of(101).description.contains("The sweep has"));
}

#[test]
fn means_and_intervals_are_those_of_the_seeds() {
    let conditions = [0.25, 0.5, 1.0].map(|x| condition("c", "Control", &[factor(x)]));
    let mut observed = [measured(&[1.0, 3.0]), measured(&[2.0, 6.0]), measured(&[5.0])];
    observed[1].push(of_seed(9, &[(Measure::Fano, 1.0)]));
    let figure = only(responses(&joined(&conditions, &observed), &axes(&conditions)[0]));
    let table = &figure.tables[0];
    let parts = ["mean", "low_95", "high_95"].map(|part| format!("response_probability_{part}"));
    let expected = ["condition", "granule_tonic_factor", "seeds", &parts[0], &parts[1], &parts[2]];
    assert_eq!(names(table)[..6], expected);
    assert_eq!(names(table).len(), 3 + 3 * 10);
    assert_eq!(texts(table, "condition"), ["c"; 3].map(str::to_owned));
    assert_eq!(numbers(table, expected[1]), [Some(0.25), Some(0.5), Some(1.0)]);
    // The third seed of the second condition lacks this measure.
    assert_eq!(numbers(table, "seeds"), [Some(2.0), Some(3.0), Some(1.0)]);
    assert_close(&numbers(table, &parts[0]), &[Some(2.0), Some(4.0), Some(5.0)]);
    // The standard error of 1 and 3 is 1, that of 2 and 6 is 2. The quantile of one degree of freedom is tan(0.475 π).
    let t = (0.475 * std::f64::consts::PI).tan();
    assert_close(&numbers(table, &parts[1]), &[Some(2.0 - t), Some(4.0 - 2.0 * t), None]);
    assert_close(&numbers(table, &parts[2]), &[Some(2.0 + t), Some(4.0 + 2.0 * t), None]);
}

/// Returns the colours of the legend's lines.
fn colors(figure: &Figure) -> Vec<String> {
    legend(figure).into_iter().filter(|(_, text)| text != "a seed").filter_map(|(color, _)| color).collect()
}

/// Returns the colours of so many lines, from pale to dark.
fn shades(count: usize) -> Vec<String> {
    (0..count).map(|i| ordered_line(i, count).color.to_string()).collect()
}

#[test]
fn lines_that_one_number_distinguishes_are_in_its_order() {
    let settings: Vec<_> = [-50.5, -53.0, -51.0, -60.0].iter().map(|x| vec![leak(*x)]).collect();
    let figure = only(against_factors(&settings));
    let name = |leak: &str| format!("\u{2212}{leak} mV");
    assert_eq!(lines(&figure)[1..], ["60", "53", "51", "50.5"].map(name));
    assert_eq!(colors(&figure), shades(4));
    // The table has the same order.
    let leaks = numbers(&figure.tables[0], "golgi_leak_reversal_mV");
    let expected = [-60.0, -53.0, -51.0, -50.5].map(|leak| [Some(leak); 3]);
    assert_eq!(leaks, expected.concat());

    // Names and flags have no order, so lines keep that of the sweep, and have dashes.
    let first = |name: &'static str| vec![("noise.first", Value::Choice(name))];
    let figure = only(against_factors(&[first("granule"), first("golgi")]));
    assert_eq!(lines(&figure)[1..], ["granule", "golgi"]);
    assert!(figure.svg().contains("stroke-dasharray"));
}

#[test]
fn of_two_other_parameters_one_has_columns() {
    let both = |x: f64, y: f64| vec![leak(x), ("mossy_to_golgi.scale", Value::Number(y))];
    let settings: Vec<_> =
        [0.5, 2.0].iter().flat_map(|y| [-50.0, -53.0, -55.0].map(|x| both(x, *y))).collect();
    let figures = against_factors(&settings);
    // Ten measures in two columns need two pages.
    let names: Vec<&str> = figures.iter().map(|figure| figure.name.as_str()).collect();
    assert_eq!(names, [1, 2].map(|page| format!("dose-response-granule-tonic_factor-{page}")));
    let measures = [["Response probability", "First spike (ms)"], ["Jitter (ms)", "Fano factor"]];
    for (figure, measures) in figures.iter().zip(measures) {
        let expected = [
            "Golgi cell leak reversal potential:",
            "\u{2212}55 mV",
            "\u{2212}53 mV",
            "\u{2212}50 mV",
            "columns: mossy_to_golgi.scale",
        ];
        assert_eq!((lines(figure), colors(figure)), (expected.map(str::to_owned).into(), shades(3)));
        let count = |text: &str| figure.texts().iter().filter(|found| *found == text).count();
        assert!(measures.iter().all(|measure| count(measure) == 2), "{:?}", figure.texts());
        assert_eq!(figure.tables[0].rows(), 18);
        assert!(figure.description.starts_with("5 measures"), "{}", figure.description);
        let words = "Each column is a value of mossy_to_golgi.scale.";
        assert!(figure.description.contains(words), "{}", figure.description);
    }
    // A flag has columns, because it has no order.
    let flagged = |x: f64, is: bool| vec![leak(x), ("weights.random", Value::Flag(is))];
    let settings = [flagged(-50.0, true), flagged(-53.0, true), flagged(-50.0, false), flagged(-53.0, false)];
    assert!(
        lines(&against_factors(&settings)[0])
            .last()
            .is_some_and(|text| text.starts_with("columns: Draw the weights"))
    );
}

#[test]
fn more_columns_continue_on_other_pages_and_too_many_are_points() {
    let settings = |columns: u32| -> Vec<Vec<(&str, Value)>> {
        let of = |column: u32| ("mossy_to_golgi.scale", Value::Number(0.5 + f64::from(column)));
        let more = |column: u32| ("weights.mean", Value::Number(0.1 + 0.01 * f64::from(column)));
        (0..columns).map(|column| vec![of(column), more(column)]).collect()
    };
    let figures = against_factors(&settings(4));
    // Two pages of measures for each two columns.
    assert_eq!(figures.len(), 4);
    let has_column = |column: &str| figures.iter().map(|figure| has_text(figure, column)).collect::<Vec<_>>();
    assert_eq!(has_column("1.5"), [true, true, false, false]);
    assert_eq!(has_column("3.5"), [false, false, true, true]);
    // Ten combinations are too many.
    let figure = only(against_factors(&settings(10)));
    assert!(is_scatter(&figure));
    assert!(figure.description.contains("The other parameters have too many combinations for lines."));
}

#[test]
fn of_many_values_some_at_equal_distances_have_a_line() {
    let settings: Vec<_> = (0..11).map(|i| vec![leak(-60.0 + f64::from(i))]).collect();
    let figure = only(against_factors(&settings));
    let name = |leak: i32| format!("\u{2212}{leak} mV");
    assert_eq!(lines(&figure)[1..], [60, 58, 56, 54, 52, 50].map(name));
    let words = "The figure has 6 of its 11 values, at equal distances; the table has all.";
    assert!(figure.description.contains(words), "{}", figure.description);
    assert_eq!(figure.tables[0].rows(), 33);
}

#[test]
fn conditions_that_are_on_no_line_do_not_change_the_order() {
    // GABAzine and ACh have other weights, but no line.
    let mut conditions: Vec<ObservedCondition> =
        ["Control", "GABAzine", "ACh"].map(|base| condition(base, base, &[])).into();
    for y in [-50.5, -53.0] {
        conditions.extend([0.25, 0.5, 0.75].map(|x| condition("c", "Control", &[factor(x), leak(y)])));
    }
    let observed: Vec<Vec<Observed>> = conditions.iter().map(|_| measured(&[1.0])).collect();
    let axis = axes(&conditions).into_iter().find(|axis| axis.parameter.path == "granule.tonic_factor");
    let figure = only(responses(&joined(&conditions, &observed), &axis.expect("values")));
    assert_eq!(lines(&figure)[1..], ["53", "50.5"].map(|leak| format!("\u{2212}{leak} mV")));
    assert_eq!(colors(&figure), shades(2));
}

#[test]
fn one_line_has_a_line_for_each_complete_seed() {
    let conditions = [0.25, 0.5, 1.0].map(|x| condition("c", "Control", &[factor(x)]));
    let count = |observed: &[Vec<Observed>]| {
        let figure = only(responses(&joined(&conditions, observed), &axes(&conditions)[0]));
        figure.check_layout("seeds");
        let svg = figure.svg();
        let document = roxmltree::Document::parse(&svg).expect("XML");
        let color = SEED.color.to_string();
        let is_inside = |node: &roxmltree::Node<'_, '_>| {
            node.parent().is_some_and(|parent| parent.attribute("overflow").is_some())
        };
        let seeds = document.descendants().filter(|node| node.attribute("stroke") == Some(&color));
        (seeds.filter(is_inside).count(), has_text(&figure, "a seed"))
    };
    let all = || vec![measured(&[1.0, 2.0, 4.0]), measured(&[2.0, 3.0, 5.0]), measured(&[1.0, 0.5, 7.0])];
    assert_eq!(count(&all()), (3, true));
    let mut missing = all();
    missing[1].remove(1);
    assert_eq!(count(&missing), (2, true));
    assert_eq!(count(&[measured(&[1.0]), measured(&[2.0]), measured(&[3.0])]), (0, false));
    // Several lines have no room for those of seeds.
    let figure = only(against_factors(&[vec![leak(-53.0)], vec![leak(-51.0)]]));
    assert!(!has_text(&figure, "a seed"));
}

#[test]
fn values_that_are_close_have_no_overlapping_numbers() {
    for values in [[0.25, 0.26, 0.27, 4.0], [10.0, 10.05, 10.1, 19.9], [1e-4, 1.1e-4, 1.2e-4, 5e-2]] {
        let conditions = values.map(|x| condition("c", "Control", &[factor(x)]));
        let observed = values.map(|x| measured(&[x, 2.0 * x]));
        let figure = only(responses(&joined(&conditions, &observed), &axes(&conditions)[0]));
        figure.check_layout("close values");
        assert!([values[0], values[3]].iter().all(|value| has_text(&figure, &brief(*value))), "{values:?}");
    }
}

#[test]
fn many_lines_stay_apart_within_the_frame() {
    let settings: Vec<_> = (0..MOST_LINES).map(|i| vec![leak(-50.0 - i as f64)]).collect();
    let figure = only(against_factors(&settings));
    let svg = figure.svg();
    let document = roxmltree::Document::parse(&svg).expect("XML");
    let panel = document.root_element().children().find(|node| node.has_tag_name("g")).expect("a panel");
    let number = |node: roxmltree::Node<'_, '_>, name: &str| -> f64 {
        node.attribute(name).and_then(|text| text.parse().ok()).expect("a number")
    };
    let frame = panel.children().find(|node| node.has_tag_name("svg")).expect("a frame");
    let width = number(frame, "width");
    let points = panel.descendants().filter(|node| node.has_tag_name("circle"));
    let mut places: Vec<f64> = points.map(|node| number(node, "cx")).collect();
    places.sort_by(f64::total_cmp);
    assert_eq!(places.len(), 3 * MOST_LINES);
    // Points are not cut, and those of a value are nearer to each other than to those of another.
    assert!(places[0] > DIAMETER / 2.0 && width - places[places.len() - 1] > DIAMETER / 2.0, "{places:?}");
    for of in places.chunks(MOST_LINES) {
        assert!(of.windows(2).all(|pair| pair[1] > pair[0]), "{places:?}");
    }
    assert!(places[MOST_LINES] - places[MOST_LINES - 1] > places[MOST_LINES - 1] - places[0], "{places:?}");
}
