//! Parts that the figures of sweeps share: colours, sizes, words, and the layout with one panel per
//! condition.

use std::collections::BTreeSet;

use granule_engine::space::{Parameter, Space};
use granule_engine::{Model, Population};

use super::measure::capitalised;
use super::observed::OfCondition;
use super::{Measure, Observed, ObservedCondition};
use crate::drawing::{Color, Dash, Mark, Panel, Ramp, Scale, Stroke, Swatch};

/// Width of a figure over two columns of a journal, in mm.
pub(super) const WIDTH_MM: f64 = 174.0;

/// Largest height of a figure in mm. With its caption, it fits on a page of A4.
pub(super) const MOST_MM: f64 = 235.0;

/// Colours of populations. They differ from the colours of the paper's conditions and of the classes of cells.
const POPULATIONS: [Color; 4] =
    [Color::rgb(94, 60, 20), Color::rgb(230, 159, 0), Color::rgb(64, 160, 180), Color::rgb(120, 120, 120)];

/// Describes what drives the first population, in words. The engine does not provide them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drive {
    /// The driven cells, such as `granule cells with input from active mossy fibres`.
    pub driven: &'static str,
    /// The events at the times of the stimulus, such as `spikes of the mossy fibres`. `None` for a model without a
    /// stimulus, of which figures show all cells of the first population.
    pub stimulus: Option<&'static str>,
}

impl Drive {
    /// Returns the words for the cells of the first population that figures show.
    pub(super) fn cells(&self, populations: &[Population]) -> String {
        let cells = first_cells(populations);
        if self.stimulus.is_some() { format!("driven {cells}") } else { cells.to_owned() }
    }

    /// Returns the label of an axis with these cells, in the order of their response.
    pub(super) fn axis(&self) -> &'static str {
        if self.stimulus.is_some() { "Driven cells, by response" } else { "Cells, by number of spikes" }
    }

    /// Returns the note for a panel without these cells.
    pub(super) fn none(&self) -> &'static str {
        if self.stimulus.is_some() { "no driven cells" } else { "no cells" }
    }

    /// Returns the sentence about the lines at the stimulus, with a space before it.
    pub(super) fn of_lines(&self) -> String {
        self.stimulus.map_or(String::new(), |what| format!(" Dotted lines are {what}."))
    }

    /// Returns the legend entry of these lines.
    pub(super) fn entry(&self) -> Option<(Swatch, String)> {
        self.stimulus.map(|_| (Swatch::Line(stimulus()), "stimulus".to_owned()))
    }

    /// Returns the driven cells and the cells of all other populations, as words that follow `of`.
    pub(super) fn and_others(&self, populations: &[Population]) -> String {
        let mut all = self.driven.to_owned();
        let others = populations.iter().skip(1);
        for (left, population) in (0..others.len()).rev().zip(others) {
            all.push_str(if left == 0 { " and of " } else { ", of " });
            all.push_str(population.cells);
        }
        all
    }
}

/// Returns the populations of these models, which are all of one engine.
pub(super) fn populations_of<'a>(mut models: impl Iterator<Item = &'a Model>) -> &'static [Population] {
    models.next().map_or(&[], |model| model.engine().populations())
}

/// Returns the measures of these conditions, which are all of one engine.
pub(super) fn measures_of(conditions: &[(&ObservedCondition, &[Observed])]) -> Vec<Measure> {
    conditions.first().map_or_else(Vec::new, |(condition, _)| Measure::of(&condition.model))
}

/// Returns the words for the cells of the first population.
pub(super) fn first_cells(populations: &[Population]) -> &'static str {
    populations.first().map_or("cells", |population| population.cells)
}

/// Returns the colour of the population with this index.
pub(super) fn color(place: usize) -> Color {
    POPULATIONS[place % POPULATIONS.len()]
}

/// Returns the style of a line among so many that are ordered: the first is pale, the last dark.
pub(super) fn ordered_line(index: usize, of: usize) -> Stroke {
    let fraction = if of > 1 { index as f64 / (of - 1) as f64 } else { 1.0 };
    Stroke::solid(Ramp::LINES.at(fraction), 1.0)
}

/// Whether a condition has several seeds, and so its means have an interval over seeds.
pub(super) fn has_intervals(conditions: &[OfCondition<'_>]) -> bool {
    conditions.iter().any(|(_, observed)| observed.len() > 1)
}

/// Returns the legend's words for intervals over the seeds of these conditions, or for their lack.
pub(super) fn interval(conditions: &[OfCondition<'_>]) -> String {
    let sample = sample(conditions);
    match has_intervals(conditions) {
        true => format!("95 % interval over {sample}"),
        false => format!("{sample}: no interval over seeds"),
    }
}

/// Returns the legend's words for means over the seeds of these conditions.
pub(super) fn mean_over(conditions: &[OfCondition<'_>]) -> String {
    if has_intervals(conditions) { format!("mean, {}", interval(conditions)) } else { interval(conditions) }
}

/// Most lines of a panel: their colours and intervals can still be distinguished.
pub(super) const MOST_LINES: usize = 6;

/// Returns the indices of `most` of so many items, at equal distances with the first and the last; all if they are fewer.
pub fn spread(count: usize, most: usize) -> Vec<usize> {
    let most = most.min(count);
    (0..most).map(|i| i * (count - 1) / (most - 1).max(1)).collect()
}

/// Divides items into pages of at most `most`, all of about the same length.
pub(super) fn pages<T>(items: &[T], most: usize) -> Vec<&[T]> {
    let pages = items.len().div_ceil(most.max(1)).max(1);
    items.chunks(items.len().div_ceil(pages).max(1)).collect()
}

pub(super) fn stimulus() -> Stroke {
    Stroke { color: Color::rgb(130, 130, 130), width: 0.5, dash: Dash::Dotted }
}

/// Returns words for a parameter of this space: the beginning of its meaning. If that is too long, or also the beginning
/// of another meaning, returns the path.
pub(super) fn words(space: &Space, parameter: &Parameter) -> String {
    const MOST: usize = 60;
    let is_same = |other: &&Parameter| beginning(other) == beginning(parameter);
    let is_unique = space.parameters().iter().filter(is_same).count() < 2;
    let words = beginning(parameter);
    if words.is_empty() || words.chars().count() > MOST || !is_unique {
        return parameter.path.to_owned();
    }
    capitalised(words)
}

/// Returns words for a parameter in the middle of a sentence.
pub(super) fn words_inside(space: &Space, parameter: &Parameter) -> String {
    let words = words(space, parameter);
    if words == parameter.path { words } else { lower(&words) }
}

fn beginning(parameter: &Parameter) -> &'static str {
    parameter.meaning.split([';', ',', '(', ':']).next().unwrap_or("").trim()
}

/// Breaks words into two lines of about equal length if they have more than `most` letters. Words without a space stay as
/// they are.
pub(super) fn wrapped(words: &str, most: usize) -> String {
    if words.chars().count() <= most {
        return words.to_owned();
    }
    let longer = |at: usize| words[..at].chars().count().max(words[at + 1..].chars().count());
    let spaces = words.match_indices(' ').map(|(at, _)| at);
    spaces
        .min_by_key(|at| longer(*at))
        .map_or_else(|| words.to_owned(), |at| format!("{}\n{}", &words[..at], &words[at + 1..]))
}

/// Returns words for the middle of a sentence. An abbreviation and a name stay as they are.
fn lower(words: &str) -> String {
    let mut rest = words.chars();
    let (Some(first), second) = (rest.next(), rest.clone().next()) else { return String::new() };
    match second {
        Some(second) if second.is_lowercase() && !words.starts_with("Golgi") => {
            first.to_lowercase().chain(rest).collect()
        }
        _ => words.to_owned(),
    }
}

/// Returns the scale of an axis with values of a measure. It begins at zero, unless the values are far from zero
/// compared with their range.
pub(super) fn scale_of(values: impl Iterator<Item = f64> + Clone) -> Scale {
    let low = values.clone().fold(f64::INFINITY, f64::min);
    let high = values.clone().fold(f64::NEG_INFINITY, f64::max);
    if low >= 0.0 && low < 0.5 * high { Scale::from_zero([high], 0.06) } else { Scale::around(values, 0.08) }
}

/// Returns the number of columns of panels, and the height of the figure in mm.
pub(super) fn layout(panels: usize, most_columns: usize, panel_mm: f64) -> (usize, f64) {
    let columns = panels.clamp(1, most_columns);
    (columns, panels.div_ceil(columns).max(1) as f64 * panel_mm)
}

/// Shortens a name to at most `most` characters, to fit above a panel.
pub(super) fn short(name: &str, most: usize) -> String {
    if name.chars().count() <= most {
        return name.to_owned();
    }
    let head: String = name.chars().take(most.saturating_sub(1)).collect();
    format!("{head}…")
}

/// Returns a number with three significant digits.
pub(super) fn brief(value: f64) -> String {
    with_digits(value, 3)
}

/// Returns different numbers with three significant digits, or as many more as are needed to distinguish them.
pub(super) fn briefs(values: &[f64]) -> Vec<String> {
    let all =
        |digits: usize| -> Vec<String> { values.iter().map(|value| with_digits(*value, digits)).collect() };
    let are_different = |texts: &Vec<String>| texts.iter().collect::<BTreeSet<_>>().len() == texts.len();
    // Seventeen digits distinguish any two numbers.
    (3..17).map(all).find(are_different).unwrap_or_else(|| all(17))
}

fn with_digits(value: f64, digits: usize) -> String {
    let rounded: f64 = format!("{value:.*e}", digits - 1).parse().unwrap_or(value);
    let text = if rounded != 0.0 && !(1e-3..1e5).contains(&rounded.abs()) {
        format!("{rounded:e}")
    } else {
        rounded.to_string()
    };
    text.replace('-', "\u{2212}")
}

/// Returns a count with its noun, in the plural unless the count is 1.
pub(super) fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Returns the number of measures, as the beginning of a sentence.
pub(super) fn measured(count: usize) -> String {
    match count {
        4 => "Four measures".to_owned(),
        6 => "Six measures".to_owned(),
        10 => "Ten measures".to_owned(),
        _ => counted(count, "measure"),
    }
}

/// Returns the words for seeds and trials of these conditions, such as `2 seeds with 10 trials each`.
pub(super) fn sample(conditions: &[OfCondition<'_>]) -> String {
    let seeds = ranged(conditions.iter().map(|(_, of)| of.len()), "seed");
    let trials = conditions.iter().flat_map(|(_, of)| *of).map(|of| of.trials as usize);
    let each = if seeds == counted(1, "seed") { "" } else { " each" };
    format!("{seeds} with {}{each}", ranged(trials, "trial"))
}

/// Returns the sentence about conditions that a figure does not show, with a space before it; empty if there are none.
pub(super) fn not_in_figure(conditions: &[OfCondition<'_>], left_out: &[usize]) -> String {
    const MOST: usize = 3;
    if left_out.is_empty() {
        return String::new();
    }
    let named = if left_out.len() > MOST + 1 { &left_out[..MOST] } else { left_out };
    let mut names: Vec<&str> = named.iter().map(|at| conditions[*at].0.name.as_str()).collect();
    let more = format!("{} more", left_out.len() - named.len());
    if named.len() < left_out.len() {
        names.push(&more);
    }
    let last = names.pop().unwrap_or_default();
    let names = if names.is_empty() { last.to_owned() } else { format!("{} and {last}", names.join(", ")) };
    format!(" Not in the figure: {names}.")
}

/// Returns a count with its noun, or the least and the largest of several counts.
pub(super) fn ranged(counts: impl Iterator<Item = usize> + Clone, what: &str) -> String {
    let noun = if counts.clone().max() == Some(1) { "" } else { "s" };
    format!("{} {what}{noun}", range(counts))
}

/// Returns the least and the largest of several counts, or the count if they are equal.
pub(super) fn range(counts: impl Iterator<Item = usize> + Clone) -> String {
    let (least, most) = (counts.clone().min().unwrap_or(0), counts.max().unwrap_or(0));
    if least == most { most.to_string() } else { format!("{least} to {most}") }
}

/// Adds a line at each stimulus to a panel whose x axis is the time in ms.
pub(super) fn add_stimulus(panel: &mut Panel, model: &Model) {
    for &step in &model.facts().stimulus_steps {
        let at = f64::from(step) / f64::from(model.time().steps_per_ms);
        panel.add(Mark::Down { at, stroke: stimulus() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use granule_engine::Value;
    use granule_engine::space::{Kind, Range, Unit};

    use crate::condition::{Change, PaperCondition};
    use crate::sweep::tests::{condition, measured};

    #[test]
    fn numbers_are_brief_but_different() {
        assert_eq!([0.0, 0.123_45, 1234.5, -0.5].map(brief), ["0", "0.123", "1230", "\u{2212}0.5"]);
        assert_eq!([1e-4, 2.5e6, 0.001, 99_999.0].map(brief), ["1e\u{2212}4", "2.5e6", "0.001", "1e5"]);
        assert_eq!(briefs(&[-60.25, -51.0]), ["\u{2212}60.2", "\u{2212}51"]);
        assert_eq!(briefs(&[10.0, 10.05, 10.1]), ["10", "10.05", "10.1"]);
        assert_eq!(briefs(&[1.0, 1.0 + f64::EPSILON]), ["1", "1.0000000000000002"]);
        assert_eq!(briefs(&[]), [""; 0]);
    }

    #[test]
    fn words_for_parameters_are_those_of_the_model_file() {
        let parameter = |path, about| {
            Parameter::new(path, Kind::Quantity(Unit::One), Range::Finite, Value::Number(1.0), about)
        };
        let about = "fraction of the variance that all cells share";
        let long = "a text that is so long that it would not fit on two lines below a panel";
        let space = Space::new(vec![parameter("input.shared", about), parameter("input.long", long)]);
        let of = |path: &str| words(&space, space.parameter(path).expect("a parameter"));
        assert_eq!(of("input.shared"), "Fraction of the variance that all cells share");
        assert_eq!(of("input.long"), "input.long");
    }

    #[test]
    fn words_for_parameters_are_unique() {
        let space = granule_granular::Method::Pcg.engine().space();
        let of = |path: &str| {
            let parameter = space.parameter(path).expect("a parameter");
            (words(space, parameter), words_inside(space, parameter))
        };
        let leak = "Golgi cell leak reversal potential";
        assert_eq!(of("golgi.leak_reversal"), (leak.to_owned(), leak.to_owned()));
        let (start, inside) = of("golgi_to_granule.weight");
        assert_eq!(
            [&start[..], &inside],
            ["Weight of a Golgi-cell synapse", "weight of a Golgi-cell synapse"]
        );
        // Two parameters are a "factor on the weight".
        let path = "mossy_to_golgi.scale";
        assert_eq!(of(path), (path.to_owned(), path.to_owned()));
        let all: Vec<String> = space.parameters().iter().map(|of| words(space, of)).collect();
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "{all:?}");
        assert_eq!(
            ["GABA weight", "Golgi cell", "Weight", ""].map(lower),
            ["GABA weight", "Golgi cell", "weight", ""]
        );
    }

    #[test]
    fn means_over_several_seeds_have_an_interval() {
        let condition = condition("c", "Control", &[]);
        let mut observed = measured(&[1.0, 2.0]);
        observed[1].trials = 4;
        let of = |seeds: usize| mean_over(&[(&condition, &observed[..seeds]), (&condition, &observed[..1])]);
        let expected = [
            "1 seed with 1 trial: no interval over seeds",
            "mean, 95 % interval over 1 to 2 seeds with 1 to 4 trials each",
        ];
        assert_eq!([1, 2].map(of), expected);
        assert_eq!(mean_over(&[]), "0 seeds with 0 trials each: no interval over seeds");
    }

    #[test]
    fn ordered_lines_are_pale_first_and_can_be_seen() {
        for of in 1..=MOST_LINES {
            let brightness: Vec<f64> = (0..of).map(|i| ordered_line(i, of).color.brightness()).collect();
            assert!(brightness.windows(2).all(|pair| pair[1] < pair[0]), "{brightness:?}");
            assert!(brightness[0] < 210.0 && brightness[of - 1] < 50.0, "{brightness:?}");
        }
    }

    #[test]
    fn colors_of_lines_have_no_other_meaning() {
        let conditions = PaperCondition::ALL.map(PaperCondition::color);
        let others =
            [&conditions[..], &Change::ALL.map(Change::color), &POPULATIONS, &[Color::GREY]].concat();
        let apart = |a: Color, b: Color| {
            let channels = [(a.red, b.red), (a.green, b.green), (a.blue, b.blue)];
            channels.map(|(a, b)| a.abs_diff(b)).into_iter().max().expect("three")
        };
        for of in 1..=MOST_LINES {
            for color in (0..of).map(|i| ordered_line(i, of).color) {
                assert!(others.iter().all(|other| apart(color, *other) >= 32), "{color}");
            }
        }
    }

    #[test]
    fn pages_have_about_the_same_length() {
        let items: Vec<usize> = (0..12).collect();
        let lengths = |most: usize| pages(&items, most).iter().map(|page| page.len()).collect::<Vec<_>>();
        let expected = [vec![12], vec![6, 6], vec![4; 3], vec![1; 12]];
        assert_eq!([12, 11, 5, 0].map(lengths), expected);
        assert!(pages::<usize>(&[], 5).is_empty());
    }

    #[test]
    fn some_of_many_are_at_equal_distances() {
        let expected = [vec![0, 2, 4, 6, 8, 11], vec![0, 1, 2], vec![], vec![0]];
        assert_eq!([(12, 6), (3, 6), (0, 6), (5, 1)].map(|(count, most)| spread(count, most)), expected);
    }
}
