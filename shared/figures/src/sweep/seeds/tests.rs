use std::collections::BTreeSet;

use super::*;
use crate::sweep::tests::{condition, has_text, joined, leak, legend, of_seed, sweep};

#[test]
fn seeds_have_one_colour_and_conditions_numbers() {
    let (conditions, observed) = sweep();
    let figure = seeds(&joined(&conditions, &observed));
    let svg = figure.svg();
    let document = roxmltree::Document::parse(&svg).expect("XML");
    let discs = document.descendants().filter(|node| node.has_tag_name("circle"));
    let colors: BTreeSet<_> = discs.filter_map(|disc| disc.attribute("fill")).collect();
    assert_eq!(colors.len(), 1, "{colors:?}");
    assert!(svg.contains(">1: Control<") && svg.contains(">2: GABAzine<"));
    assert!(has_text(&figure, "mean, 95 % interval over 2 seeds with 3 trials each"));
    // The table is that of all measures.
    assert_eq!(figure.tables, [measures(&joined(&conditions, &observed))]);
}

/// Returns the lines of seeds in the figure's panels.
fn lines(observed: &[Vec<Observed>]) -> usize {
    let conditions: Vec<ObservedCondition> = (0..observed.len())
        .map(|i| condition(&format!("c{i}"), "Control", &[leak(-50.0 - i as f64)]))
        .collect();
    let figure = seeds(&joined(&conditions, observed));
    figure.check_layout("seeds");
    let svg = figure.svg();
    let document = roxmltree::Document::parse(&svg).expect("XML");
    let color = PAIRED.color.to_string();
    document.descendants().filter(|node| node.attribute("stroke") == Some(&color)).count()
}

fn observed(seeds: &[u32]) -> Vec<Observed> {
    let of = |seed: u32| of_seed(seed, &[(Measure::Response, f64::from(seed)), (Measure::Fano, 0.5)]);
    seeds.iter().copied().map(of).collect()
}

#[test]
fn seeds_are_joined_if_all_conditions_have_them() {
    let same = [observed(&[1, 2, 5]), observed(&[1, 2, 5]), observed(&[1, 2, 5])];
    // Three seeds in two panels.
    assert_eq!(lines(&same), 6);
    let with = |last: &[u32]| lines(&[observed(&[1, 2, 5]), observed(&[1, 2, 5]), observed(last)]);
    // Fewer, more, other seeds, and another order.
    assert_eq!([with(&[1, 2]), with(&[1, 2, 5, 7]), with(&[1, 2, 6]), with(&[5, 2, 1]), with(&[])], [0; 5]);
    // A missing value concerns only its measure.
    let mut missing = same.clone();
    missing[1][2].measures[crate::sweep::tests::place(Measure::Fano)] = None;
    assert_eq!(lines(&missing), 3);
    // One seed or one condition has no lines.
    assert_eq!([lines(&[observed(&[1]), observed(&[1])]), lines(&same[..1])], [0, 0]);
}

#[test]
fn lines_meet_the_points_of_their_seed() {
    let conditions = [condition("a", "Control", &[]), condition("b", "Control", &[leak(-53.0)])];
    let observed = [observed(&[1, 2, 5]), observed(&[1, 2, 5])];
    let found = of_seeds(&joined(&conditions, &observed), 1);
    let expected = [
        vec![(place(0, 0, 3), 1.0), (place(1, 0, 3), 1.0)],
        vec![(place(0, 1, 3), 2.0), (place(1, 1, 3), 2.0)],
        vec![(place(0, 2, 3), 5.0), (place(1, 2, 3), 5.0)],
    ];
    assert_eq!(found, expected);
    // A single seed is in the middle.
    assert_eq!([place(2, 0, 1), place(0, 1, 3), place(1, 0, 3)], [2.0, 0.0, 0.7]);
}

#[test]
fn one_seed_has_no_interval() {
    let conditions = [condition("a", "Control", &[])];
    let entries = |seeds: &[u32]| -> Vec<String> {
        let observed = [observed(seeds)];
        let figure = super::seeds(&joined(&conditions, &observed));
        legend(&figure).into_iter().map(|(_, text)| text).collect()
    };
    assert_eq!(entries(&[1]), ["a seed", "1 seed with 1 trial: no interval over seeds", "a"]);
    assert_eq!(entries(&[1, 2]), ["a seed", "mean, 95 % interval over 2 seeds with 1 trial each", "a"]);
}
