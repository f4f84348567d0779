use granule_engine::Value;
use granule_engine::space::CellFactor;

use super::*;
use crate::sweep::show::brief;
use crate::sweep::tests::{
    assert_close, condition, factor, has_text, joined, leak, legend, measured, names, numbers, of_seed,
    sweep, texts,
};

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
    let figure = responses(&of, &found[0]).expect("lines");
    assert_eq!(figure.name, "dose-response-granule-tonic_factor");
    let csv = figure.tables[0].csv();
    assert_eq!(csv.lines().count(), 1 + conditions.len());
    // Each leak reversal has a line with three factors, and is in its name.
    let names = ["53", "50.5"].map(|leak| format!("Golgi cell leak reversal potential \u{2212}{leak} mV"));
    let of_line = |name: &String| csv.lines().filter(|line| line.contains(name)).count();
    assert_eq!(names.each_ref().map(of_line), [3, 3]);
    // Control and GABAzine are on no line, so parameters in which only they differ are in no line's name.
    assert_eq!(lines(&figure), names);
    assert!(csv.contains("Weight of a Golgi-cell synapse 0 nS"), "{csv}");
    let mean = (observed[2][0].measures[0].expect("one") + observed[2][1].measures[0].expect("one")) / 2.0;
    assert!(csv.contains(&format!(",2,{mean},")), "{mean} in {csv}");
    // Conditions that differ only in numbers of streams have no axis.
    let seeds: Vec<ObservedCondition> =
        (0..4).map(|seed| condition("x", "Control", &[("weights.seed", Value::Count(seed))])).collect();
    assert_eq!(axes(&seeds), []);
}

/// Returns the texts of the legend that name lines.
fn lines(figure: &Figure) -> Vec<String> {
    let is_name = |text: &String| !text.starts_with("mean, ") && text != "a seed";
    legend(figure).into_iter().map(|(_, text)| text).filter(is_name).collect()
}

/// Draws the figure against the tonic factor, of every combination of three factors and these settings.
fn against_factors(settings: &[Vec<(&str, Value)>]) -> Figure {
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
    responses(&of, &axis.expect("three values")).expect("lines")
}

#[test]
fn lines_are_told_apart_as_sweep_files_write_values() {
    let times = |times: &[f64]| ("stimulus.times", Value::Numbers(times.to_vec()));
    let random = |is: bool| ("weights.random", Value::Flag(is));
    let figure = against_factors(&[
        vec![times(&[10.0]), random(true)],
        vec![times(&[10.0, 15.0]), random(false)],
        vec![times(&[]), random(false)],
    ]);
    let (times, random) = ("Spike times of the active mossy fibres", "Draw the weights of mossy fibres");
    let expected = [
        format!("{times} 10 ms, {random} true"),
        format!("{times} 10, 15 ms, {random} false"),
        format!("{times} [], {random} false"),
    ];
    assert_eq!(lines(&figure), expected);
    assert!(!figure.tables[0].csv().contains('('), "{}", figure.tables[0].csv());

    // Names have four digits, and more if they would be equal otherwise.
    let of = |leaks: &[f64]| {
        let settings: Vec<_> = leaks.iter().map(|x| vec![leak(*x)]).collect();
        lines(&against_factors(&settings))
    };
    let name = |leak: &str| format!("Golgi cell leak reversal potential \u{2212}{leak} mV");
    assert_eq!(of(&[-53.123_456, -51.0]), ["53.12", "51"].map(name));
    assert_eq!(of(&[-51.000_001, -51.0]), ["51.000001", "51"].map(name));
}

#[test]
fn lines_whose_names_are_cut_have_numbers() {
    let times = |last: f64| {
        let times: Vec<f64> = (0..20).map(|i| 500.0 + f64::from(i)).chain([last]).collect();
        vec![("stimulus.times", Value::Numbers(times))]
    };
    let figure = against_factors(&[times(700.0), times(800.0), times(900.0)]);
    figure.check_layout("numbered");
    let entries = lines(&figure);
    assert_eq!(entries.len(), 3);
    for (number, entry) in (1..).zip(&entries) {
        assert!(
            entry.starts_with(&format!("{number}: Spike times of the active mossy fibres 500, ")),
            "{entry}"
        );
    }
    let csv = figure.tables[0].csv();
    assert!(csv.starts_with("line,condition,others,"), "{csv}");
    assert_eq!(
        csv.lines().filter(|line| line.starts_with("2,c,") && line.contains("519, 800 ms")).count(),
        3
    );
}

#[test]
fn conditions_that_share_nothing_are_points_if_there_are_many() {
    let conditions: Vec<ObservedCondition> = (0..8)
        .map(|i| {
            let x = f64::from(i) / 10.0;
            let set = [
                ("granule.tonic_factor", Value::Factor(CellFactor::Constant(x))),
                ("golgi.leak_reversal", Value::Number(-50.0 - x)),
            ];
            condition("x", "Control", &set)
        })
        .collect();
    let observed: Vec<Vec<Observed>> = conditions.iter().map(|_| measured(&[1.0])).collect();
    let doses = |count: usize| -> Vec<Figure> {
        let of: Vec<(&ObservedCondition, &[Observed])> =
            conditions[..count].iter().zip(&observed).map(|(of, observed)| (of, &observed[..])).collect();
        axes(&conditions[..count]).iter().filter_map(|axis| responses(&of, axis)).collect()
    };
    assert_eq!((axes(&conditions[..7]).len(), doses(7).len(), doses(8).len()), (2, 0, 2));
    for figure in doses(8) {
        assert!(figure.description.contains("so each condition is a point"));
        assert!(figure.svg().contains("a condition; other parameters differ, too"));
        figure.check_layout("points");
    }
}

#[test]
fn means_and_intervals_are_those_of_the_seeds() {
    let conditions = [0.25, 0.5, 1.0].map(|x| condition("c", "Control", &[factor(x)]));
    let mut observed = [measured(&[1.0, 3.0]), measured(&[2.0, 6.0]), measured(&[5.0])];
    observed[1].push(of_seed(9, &[(Measure::Fano, 1.0)]));
    let figure = responses(&joined(&conditions, &observed), &axes(&conditions)[0]).expect("a line");
    let table = &figure.tables[0];
    let parts = ["mean", "low_95", "high_95"].map(|part| format!("response_probability_{part}"));
    let expected =
        ["condition", "others", "Factor on tonic inhibition", "seeds", &parts[0], &parts[1], &parts[2]];
    assert_eq!(names(table)[..7], expected);
    assert_eq!(names(table).len(), 4 + 3 * 10);
    assert_eq!(
        (texts(table, "condition"), texts(table, "others")),
        (&["c"; 3].map(str::to_owned)[..], &[""; 3].map(str::to_owned)[..])
    );
    assert_eq!(numbers(table, expected[2]), [Some(0.25), Some(0.5), Some(1.0)]);
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

#[test]
fn lines_that_one_number_distinguishes_are_in_its_order() {
    let settings: Vec<_> = [-50.5, -53.0, -51.0, -60.0].iter().map(|x| vec![leak(*x)]).collect();
    let figure = against_factors(&settings);
    figure.check_layout("ordered");
    let name = |leak: &str| format!("Golgi cell leak reversal potential \u{2212}{leak} mV");
    assert_eq!(lines(&figure), ["60", "53", "51", "50.5"].map(name));
    let expected: Vec<String> = (0..4).map(|i| ordered_line(i, 4).color.to_string()).collect();
    assert_eq!(colors(&figure), expected);
    let brightness: Vec<f64> = (0..4).map(|i| ordered_line(i, 4).color.brightness()).collect();
    assert!(brightness.windows(2).all(|pair| pair[1] < pair[0]) && brightness[0] < 230.0, "{brightness:?}");
    // The table has the same order.
    let others = texts(&figure.tables[0], "others");
    assert_eq!(others.iter().step_by(3).collect::<Vec<_>>(), lines(&figure).iter().collect::<Vec<_>>());

    // Two numbers distinguish these lines. They are in order, but their colours have none.
    let both = |x: f64, y: f64| vec![leak(x), ("mossy_to_golgi.scale", Value::Number(y))];
    let figure = against_factors(&[both(-50.0, 0.5), both(-53.0, 2.0), both(-53.0, 0.5)]);
    let ends: Vec<String> =
        lines(&figure).iter().map(|name| name.replace("Golgi cell leak reversal potential ", "")).collect();
    let other = "mossy_to_golgi.scale";
    let expected = [
        format!("\u{2212}53 mV, {other} 0.5"),
        format!("\u{2212}53 mV, {other} 2"),
        format!("\u{2212}50 mV, {other} 0.5"),
    ];
    assert_eq!(ends, expected);
    assert_eq!(colors(&figure), [0, 1, 2].map(|i| line(i).color.to_string()));

    // Names and flags have no order, so lines keep that of the sweep.
    let first = |x: f64, name: &'static str| vec![leak(x), ("noise.first", Value::Choice(name))];
    let figure = against_factors(&[first(-50.0, "granule"), first(-53.0, "golgi")]);
    assert!(lines(&figure)[0].contains("granule") && lines(&figure)[1].contains("golgi"));
    assert_eq!(colors(&figure), [0, 1].map(|i| line(i).color.to_string()));
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
    let figure = responses(&joined(&conditions, &observed), &axis.expect("values")).expect("lines");
    let name = |leak: &str| format!("Golgi cell leak reversal potential \u{2212}{leak} mV");
    assert_eq!(lines(&figure), ["53", "50.5"].map(name));
    assert_eq!(colors(&figure), [0, 1].map(|i| ordered_line(i, 2).color.to_string()));
}

#[test]
fn one_line_has_a_line_for_each_complete_seed() {
    let conditions = [0.25, 0.5, 1.0].map(|x| condition("c", "Control", &[factor(x)]));
    let count = |observed: &[Vec<Observed>]| {
        let figure = responses(&joined(&conditions, observed), &axes(&conditions)[0]).expect("a line");
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
    let figure = against_factors(&[vec![leak(-53.0)], vec![leak(-51.0)]]);
    assert!(!has_text(&figure, "a seed"));
}

#[test]
fn values_that_are_close_have_no_overlapping_numbers() {
    for values in [[0.25, 0.26, 0.27, 4.0], [10.0, 10.05, 10.1, 19.9], [1e-4, 1.1e-4, 1.2e-4, 5e-2]] {
        let conditions = values.map(|x| condition("c", "Control", &[factor(x)]));
        let observed = values.map(|x| measured(&[x, 2.0 * x]));
        let figure = responses(&joined(&conditions, &observed), &axes(&conditions)[0]).expect("a line");
        figure.check_layout("close values");
        assert!([values[0], values[3]].iter().all(|value| has_text(&figure, &brief(*value))), "{values:?}");
    }
}

#[test]
fn many_lines_stay_apart_within_the_frame() {
    let settings: Vec<_> = (0..MOST_LINES).map(|i| vec![leak(-50.0 - i as f64)]).collect();
    let figure = against_factors(&settings);
    figure.check_layout("many lines");
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
