use super::*;
use crate::sweep::tests::{condition, has_text, joined, leak, legend, of_seed, place, texts};
use crate::sweep::{Measure, Observed, ObservedCondition, Window};

/// Returns so many conditions with names of this start, each with these seeds.
fn conditions(start: &str, count: usize, seeds: u32) -> (Vec<ObservedCondition>, Vec<Vec<Observed>>) {
    let conditions = (0..count)
        .map(|i| condition(&format!("{start}{i}"), "Control", &[leak(-50.0 - 0.25 * i as f64)]))
        .collect();
    let value = |at: usize, seed: u32| f64::from(seed * seed) * 0.01 + at as f64 * f64::from(seed);
    let of_condition =
        |at: usize| (1..=seeds).map(|seed| of_seed(seed, &[(Measure::Response, value(at, seed))])).collect();
    (conditions, (0..count).map(of_condition).collect())
}

/// Returns the texts of the drawing that are among these, from top to bottom.
fn from_top(figure: &Figure, wanted: &[String]) -> Vec<String> {
    let mut found = figure.text_boxes();
    found.retain(|(text, _)| wanted.contains(text));
    found.sort_by(|a, b| a.1[1].total_cmp(&b.1[1]));
    found.into_iter().map(|(text, _)| text).collect()
}

#[test]
fn a_figure_has_twenty_four_conditions_besides_the_reference() {
    for (others, expected) in [
        (1, vec!["differences"]),
        (24, vec!["differences"]),
        (25, vec!["differences-1", "differences-2"]),
        (49, vec!["differences-1", "differences-2", "differences-3"]),
    ] {
        let (conditions, observed) = conditions("of-", others + 1, 2);
        // The reference is in the middle.
        let reference = others / 2;
        let figures = forest(&joined(&conditions, &observed), reference);
        let names: Vec<&str> = figures.iter().map(|figure| figure.name.as_str()).collect();
        assert_eq!(names, expected);
        let mut rest: Vec<String> = conditions.iter().map(|of| of.name.clone()).collect();
        let name = rest.remove(reference);
        for (figure, rows) in figures.iter().zip(rest.chunks(24)) {
            figure.check_layout(&figure.name);
            // The first panel of both rows of panels has names.
            assert_eq!(from_top(figure, rows), [rows, rows].concat());
            for other in rest.iter().filter(|other| !rows.contains(other)) {
                assert!(!has_text(figure, other), "{other} is in {}", figure.name);
            }
            assert!(!has_text(figure, &name));
            assert_eq!(figure.title, format!("Differences to {name}"));
            // The table has all conditions.
            assert_eq!(figure.tables[0].rows(), others * 10);
            assert!(!texts(&figure.tables[0], "condition").contains(&name));
        }
    }
}

#[test]
fn only_names_that_fit_are_beside_the_panels() {
    for (length, is_beside) in [(30, true), (31, false)] {
        let (conditions, observed) = conditions(&"a-long-name-of-a-condition-with-m"[..length - 1], 4, 2);
        let figure = forest(&joined(&conditions, &observed), 0).remove(0);
        figure.check_layout("names");
        let names: Vec<String> = conditions[1..].iter().map(|of| of.name.clone()).collect();
        let numbers = ["1", "2", "3"].map(str::to_owned);
        if is_beside {
            assert_eq!(from_top(&figure, &names), [&names[..], &names].concat());
            assert!(legend(&figure).len() == 3 && !has_text(&figure, "Condition"));
        } else {
            let entries: Vec<String> = legend(&figure).into_iter().map(|(_, text)| text).skip(3).collect();
            assert_eq!(
                entries,
                ["1", "2", "3"].map(|n| format!("{n}: {}", names[n.parse::<usize>().expect("a number") - 1]))
            );
            assert!(from_top(&figure, &names).is_empty() && has_text(&figure, "Condition"));
            let found = figure.text_boxes().into_iter().filter(|(text, _)| numbers.contains(text)).count();
            assert!(found >= 3 * 5, "{:?}", figure.texts());
        }
    }
}

#[test]
fn the_legend_says_whether_there_is_an_interval() {
    let entries = |seeds: u32| -> Vec<String> {
        let (conditions, observed) = conditions("of-", 3, seeds);
        let figure = forest(&joined(&conditions, &observed), 0).remove(0);
        figure.check_layout("intervals");
        legend(&figure).into_iter().map(|(_, text)| text).collect()
    };
    let n = "n: seeds with both values; no interval if there is one";
    assert_eq!(entries(5), ["minus of-0: mean, 95 % interval over seeds, paired", "a seed", n]);
    assert_eq!(entries(1), ["minus of-0", "one seed: no interval over seeds"]);
}

#[test]
fn each_panel_has_the_number_of_seeds_with_its_measure() {
    let (conditions, mut observed) = conditions("of-", 3, 4);
    let peak = place(Measure::Peak);
    // Of the second measure, two rows have one and two seeds.
    for (at, seeds) in [(0, 4), (1, 1), (2, 2)] {
        observed[at][..seeds].iter_mut().for_each(|of| of.measures[peak] = Some(1.0));
    }
    let figure = forest(&joined(&conditions, &observed), 0).remove(0);
    figure.check_layout("numbers of seeds");
    let n: Vec<String> = figure.texts().into_iter().filter(|text| text.starts_with("n = ")).collect();
    assert_eq!(n, ["n = 0", "n = 4", "n = 1 to 2", "n = 0", "n = 0"]);
    let words = "95 % interval over the seeds that have both values";
    assert!(figure.description.contains(words) && !figure.description.contains("4 seeds"));
}

#[test]
fn means_intervals_and_seeds_are_drawn_for_each_row() {
    let (conditions, observed) = conditions("of-", 3, 4);
    let count = |observed: &[Vec<Observed>]| {
        let figure = forest(&joined(&conditions, observed), 0).remove(0);
        let svg = figure.svg();
        let document = roxmltree::Document::parse(&svg).expect("XML");
        let inside = |tag: &str, attribute: &str, value: &str| {
            let is_inside = |node: &roxmltree::Node<'_, '_>| {
                node.parent().is_some_and(|parent| parent.attribute("overflow").is_some())
            };
            let nodes = document.descendants().filter(|node| node.has_tag_name(tag)).filter(is_inside);
            nodes.filter(|node| node.attribute(attribute) == Some(value)).count()
        };
        let noted = figure.texts().iter().filter(|text| *text == "cannot be measured").count();
        let seed = SEED.to_string();
        (
            inside("circle", "fill", "#000000"),
            inside("circle", "stroke", &seed),
            inside("path", "stroke", "#000000"),
            noted,
        )
    };
    // One of five measures has values, of two conditions with four seeds each.
    assert_eq!(count(&observed), (2, 8, 2, 4));
    let one: Vec<Vec<Observed>> = observed.iter().map(|of| of[..1].to_vec()).collect();
    assert_eq!(count(&one), (2, 0, 0, 4));
    let mut missing = observed.clone();
    missing[1].iter_mut().for_each(|of| of.measures.fill(None));
    assert_eq!(count(&missing), (1, 4, 1, 4));
}

#[test]
fn spreads_over_trials_are_only_in_the_table() {
    let (conditions, mut observed) = conditions("of-", 2, 2);
    let labels = |observed: &[Vec<Observed>]| -> Vec<String> {
        let all = contrasts(&joined(&conditions, observed));
        shown(&all).into_iter().map(Contrast::label).collect()
    };
    let expected = [
        "Response probability",
        "Spikes per driven cell",
        "Peak (spikes/cell/ms)",
        "First spike (ms)",
        "Golgi cells, during (Hz)",
    ];
    assert_eq!(labels(&observed), expected);
    observed[0][0].of_trials = Some((1.0, 1.0));
    assert_eq!(labels(&observed), [&expected[..], &["d′ of spikes in a trial"]].concat());
}

#[test]
fn there_is_no_figure_of_nothing() {
    let (conditions, observed) = conditions("of-", 2, 2);
    let of = joined(&conditions, &observed);
    assert!(forest(&[], 0).is_empty() && forest(&of[..1], 0).is_empty() && forest(&of, 2).is_empty());
}

#[test]
fn of_very_many_conditions_some_are_drawn() {
    let (conditions, observed) = conditions("of-", 201, 2);
    let figures = forest(&joined(&conditions, &observed), 0);
    assert_eq!(figures.len(), 4);
    let drawn: Vec<String> = conditions.iter().map(|of| of.name.clone()).collect();
    let drawn: Vec<String> = figures.iter().flat_map(|figure| from_top(figure, &drawn)).collect();
    // Both rows of panels have names.
    assert_eq!(drawn.len(), 2 * 96);
    assert_eq!((drawn[0].as_str(), drawn[1].as_str()), ("of-1", "of-3"));
    let text = "All figures together show 96 of 200 conditions, at equal distances in the sweep";
    assert!(figures.iter().all(|figure| figure.description.contains(text)));
}

#[test]
fn the_description_names_conditions_with_another_window() {
    let (conditions, mut observed) = conditions("c", 3, 2);
    let description =
        |observed: &[Vec<Observed>]| forest(&joined(&conditions, observed), 0).remove(0).description;
    assert!(!description(&observed).contains("window"));
    observed[2].iter_mut().for_each(|of| of.window = Window { ms: 1000..1330 });
    let text = description(&observed);
    assert!(text.contains("Responses of c2 are counted in another window than those of c0,"), "{text}");
}
