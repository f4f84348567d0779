//! Lines of a grid or a few series: colours for one other parameter, columns of panels for the rest.

use std::collections::BTreeSet;

use granule_engine::space::{Parameter, Value};
use granule_statistics::estimate::Estimate;

use super::super::observed::over_seeds;
use super::super::show::{
    MOST_LINES, MOST_MM, WIDTH_MM, counted, has_intervals, layout, mean_over, measured, measures_of,
    not_in_figure, ordered_line, pages, scale_of, short, spread, words, words_inside,
};
use super::super::{Measure, OfCondition};
use super::axis::{DIAMETER, DoseAxis, Group, Member, number_of, table, text_of, x_axis};
use crate::Figure;
use crate::drawing::{
    self, Along, Canvas, Color, Dash, Legend, Mark, Panel, Point, Scale, Shape, Stroke, Swatch, grid,
};

/// Most columns of panels: on a page, and in all.
const COLUMNS: usize = 3;
const MOST_FACETS: usize = 9;

/// Heights of panels in mm: of those of a measure each, and of those in columns.
const PANEL_MM: f64 = 53.0;
const FACET_MM: f64 = 43.0;

/// Most characters of a legend entry, and of a title.
const MOST_LETTERS: usize = 90;
const MOST_TITLE: usize = 30;

/// Largest shift of lines against each other, and of the first against the last, as fractions of the axis.
const WIDEST_SHIFT: f64 = 0.02;
const WIDEST_SPREAD: f64 = 0.07;

/// Style of the line of a seed.
pub(super) const SEED: Stroke = Stroke { color: Color::rgb(170, 170, 170), width: 0.4, dash: Dash::Solid };

/// The lines of a figure.
struct Lines<'a> {
    /// The parameter that colours distinguish, by its place among the others. None for a single line or if all lines have a
    /// column of their own.
    colored: Option<usize>,
    /// Its values that have a colour, and the number of all.
    shades: Vec<&'a Value>,
    count: usize,
    /// Whether these values are numbers, so that colours are in their order.
    is_ordered: bool,
    /// The parameters that columns distinguish.
    across: Vec<usize>,
    facets: Vec<Facet<'a>>,
}

/// A column of panels: a combination of the parameters that colours do not distinguish.
struct Facet<'a> {
    values: Vec<&'a Value>,
    /// Lines with the place of their value among the shades.
    lines: Vec<(usize, &'a Group<'a>)>,
}

impl<'a> Lines<'a> {
    /// Distributes groups over colours and columns. Of the parameters that differ, the one with the most values has colours;
    /// numbers take precedence.
    fn new(groups: &[&'a Group<'a>]) -> Lines<'a> {
        let others = groups.first().map_or(0, |group| group.others.len());
        let values = |i: usize| different(groups.iter().map(|group| &group.others[i]));
        let differing: Vec<usize> = (0..others).filter(|i| values(*i).len() > 1).collect();
        let are_numbers = |i: usize| values(i).iter().all(|value| number_of(value).is_some());
        // Of equal ones, the first.
        let colored = differing.iter().copied().rev().max_by_key(|i| (are_numbers(*i), values(*i).len()));
        let across: Vec<usize> = differing.into_iter().filter(|i| Some(*i) != colored).collect();
        let mut shades = colored.map_or_else(Vec::new, values);
        let is_ordered = colored.is_some_and(are_numbers);
        if is_ordered {
            shades.sort_by(|a, b| number_of(a).partial_cmp(&number_of(b)).expect("numbers are ordered"));
        }
        let count = shades.len();
        let shades: Vec<&Value> = spread(count, MOST_LINES).into_iter().map(|at| shades[at]).collect();
        let mut lines =
            Lines { colored, shades, count, is_ordered, across: across.clone(), facets: Vec::new() };
        for group in groups {
            let values: Vec<&Value> = across.iter().map(|i| &group.others[*i]).collect();
            let shade =
                colored.map_or(Some(0), |i| lines.shades.iter().position(|of| **of == group.others[i]));
            let place = lines.facets.iter().position(|facet| facet.values == values);
            let place = place.unwrap_or_else(|| {
                lines.facets.push(Facet { values, lines: Vec::new() });
                lines.facets.len() - 1
            });
            lines.facets[place].lines.extend(shade.map(|shade| (shade, *group)));
        }
        lines
    }

    fn stroke(&self, shade: usize) -> Stroke {
        let stroke = ordered_line(shade, self.shades.len().max(1));
        let dash = [Dash::Solid, Dash::Dashed, Dash::Dotted][shade % 3];
        if self.is_ordered { stroke } else { Stroke { dash, ..stroke } }
    }

    fn groups(&self) -> impl Iterator<Item = &'a Group<'a>> + Clone + '_ {
        self.facets.iter().flat_map(|facet| facet.lines.iter().map(|(_, group)| *group))
    }

    /// Returns the axis with the values of these lines. Other conditions may have others.
    fn axis(&self, axis: &DoseAxis) -> DoseAxis {
        let members = self.groups().flat_map(|group| &group.members);
        let mut values: Vec<f64> = members.map(|(x, ..)| *x).collect();
        values.sort_by(f64::total_cmp);
        values.dedup();
        DoseAxis { values, ..*axis }
    }

    /// Returns the number of a group's line, from 1. A group without a colour has none.
    fn number(&self, group: &Group<'_>) -> Option<usize> {
        let mut all = self.facets.iter().flat_map(|facet| &facet.lines);
        all.find(|(_, line)| std::ptr::eq(*line, group)).map(|(shade, _)| shade + 1)
    }
}

/// The values of lines and columns in words.
struct Words {
    /// The values that have a colour, and whether they have numbers because the legend cuts them.
    shades: Vec<String>,
    is_numbered: bool,
    /// The titles of the columns, and whether panels have numbers instead because a title is too long.
    titles: Vec<String>,
    has_numbers: bool,
}

impl Words {
    fn new(lines: &Lines<'_>, others: &[&Parameter]) -> Words {
        let shades = lines.colored.map_or_else(Vec::new, |i| text_of(others[i], &lines.shades));
        let mut titles: Vec<Vec<String>> = vec![Vec::new(); lines.facets.len()];
        for (place, i) in lines.across.iter().enumerate() {
            let values: Vec<&Value> = lines.facets.iter().map(|facet| facet.values[place]).collect();
            for (title, text) in titles.iter_mut().zip(text_of(others[*i], &values)) {
                title.push(text);
            }
        }
        let titles: Vec<String> = titles.into_iter().map(|parts| parts.join(", ")).collect();
        let is_longer = |texts: &[String], most: usize| texts.iter().any(|text| text.chars().count() > most);
        Words {
            is_numbered: is_longer(&shades, MOST_LETTERS),
            has_numbers: is_longer(&titles, MOST_TITLE),
            shades,
            titles,
        }
    }

    /// Returns the title of a column's panels.
    fn title(&self, place: usize) -> String {
        if self.has_numbers { (place + 1).to_string() } else { self.titles[place].clone() }
    }
}

/// The columns and the measures of a page, each with its place.
type Page<'a> = (&'a [usize], &'a [(usize, Measure)]);

/// Returns the different values, in the order of their first occurrence.
fn different<'a>(values: impl Iterator<Item = &'a Value>) -> Vec<&'a Value> {
    let mut seen = BTreeSet::new();
    values.filter(|value| seen.insert(value.to_string())).collect()
}

/// Draws groups with at least two conditions as lines. Returns several figures if the panels do not fit on a page, and
/// `None` if there are too many columns.
pub(super) fn lines(
    conditions: &[OfCondition<'_>],
    groups: &[&Group<'_>],
    axis: &DoseAxis,
) -> Option<Vec<Figure>> {
    let others = super::axis::others(axis.space, axis);
    let drawn: Vec<&Group<'_>> = groups.iter().copied().filter(|group| group.members.len() > 1).collect();
    let mut lines = Lines::new(&drawn);
    if lines.facets.len() > MOST_FACETS {
        return None;
    }
    // All lines of a column may have values without a colour.
    lines.facets.retain(|facet| !facet.lines.is_empty());
    let axis = lines.axis(axis);
    let words = Words::new(&lines, &others);
    let legend = Legend::new(entries(conditions, &lines, &others, &words));
    let measures: Vec<(usize, Measure)> = measures_of(conditions).into_iter().enumerate().collect();
    let has_columns = lines.facets.len() > 1;
    let panel_mm = if has_columns { FACET_MM } else { PANEL_MM };
    let rows = ((MOST_MM - legend.height_mm(WIDTH_MM)) / panel_mm) as usize;
    // If columns are combinations of parameters, each measure has a row.
    let at_once = if has_columns { rows } else { rows * COLUMNS };
    let places: Vec<usize> = (0..lines.facets.len()).collect();
    let of_pages: Vec<Page<'_>> = pages(&places, COLUMNS)
        .into_iter()
        .flat_map(|facets| pages(&measures, at_once).into_iter().map(move |of| (facets, of)))
        .collect();
    let numbers = groups.iter().map(|group| lines.number(group)).collect();
    let of: Vec<Measure> = measures.iter().map(|(_, measure)| *measure).collect();
    let table = table(conditions, groups, words.is_numbered.then_some(numbers), &of);
    let description = describe(conditions, &lines, &others, &axis, words.is_numbered);
    let page = |(number, (facets, measures)): (usize, &Page<'_>)| {
        let titled = |place: usize, of| panel(&lines, place, &axis, of).title(words.title(place));
        let panels = measures.iter().flat_map(|of| facets.iter().map(move |place| titled(*place, *of)));
        let panels: Vec<Panel> = ('A'..).zip(panels).map(|(letter, panel)| panel.letter(letter)).collect();
        let most = if has_columns { facets.len() } else { COLUMNS };
        let (columns, height) = layout(panels.len(), most, panel_mm);
        let mut canvas = Canvas::new(WIDTH_MM, height + legend.height_mm(WIDTH_MM));
        let area = canvas.area().inset(1.0, 1.0, 1.0, 2.0);
        let rest = legend.draw(&mut canvas, area);
        grid(&mut canvas, rest, columns, &panels);
        let number = if of_pages.len() > 1 { format!("-{}", number + 1) } else { String::new() };
        let name = format!("dose-response-{}{number}", axis.name());
        let title = format!("Responses against {}", axis.words_inside());
        let description = format!("{} against {}{description}", measured(measures.len()), axis.label());
        Figure::new(name, title, description, canvas, vec![table.clone()])
    };
    Some(of_pages.iter().enumerate().map(page).collect())
}

/// Returns the entries of the legend. Names that the legend cuts have numbers, and so have long titles.
fn entries(
    conditions: &[OfCondition<'_>],
    lines: &Lines<'_>,
    others: &[&Parameter],
    texts: &Words,
) -> Vec<(Swatch, String)> {
    let Some((first, _)) = conditions.first() else { return Vec::new() };
    let words = |i: usize| words(first.model.values().space(), others[i]);
    let mut entries = Vec::new();
    if let Some(i) = lines.colored {
        entries.push((Swatch::None, format!("{}:", words(i))));
    }
    entries.extend(texts.shades.iter().enumerate().map(|(i, text)| {
        let text = if texts.is_numbered { format!("{}: {text}", i + 1) } else { text.clone() };
        (Swatch::Line(lines.stroke(i)), short(&text, MOST_LETTERS))
    }));
    if !lines.across.is_empty() {
        let names: Vec<String> = lines.across.iter().map(|i| words(*i)).collect();
        entries.push((Swatch::None, short(&format!("columns: {}", names.join(", ")), MOST_LETTERS)));
    }
    if texts.has_numbers {
        let numbered = (1..).zip(&texts.titles).map(|(number, title)| format!("{number}: {title}"));
        entries.extend(numbered.map(|text| (Swatch::None, short(&text, MOST_LETTERS))));
    }
    if has_intervals(conditions) && lines.groups().count() == 1 {
        entries.push((Swatch::Line(SEED), "a seed".to_owned()));
    }
    entries.push((Swatch::None, mean_over(conditions)));
    entries
}

/// Returns the description, after the parameter on the axis.
fn describe(
    conditions: &[OfCondition<'_>],
    lines: &Lines<'_>,
    others: &[&Parameter],
    axis: &DoseAxis,
    is_numbered: bool,
) -> String {
    let inside = |i: usize| words_inside(axis.space, others[i]);
    let count = lines.groups().map(|group| group.members.len()).sum();
    let mut text = format!(", of {}: {}.", counted(count, "condition"), mean_over(conditions));
    if let Some(i) = lines.colored {
        let order = if lines.is_ordered { ", from pale to dark" } else { "" };
        text.push_str(&format!(" Each line is a value of {}{order}.", inside(i)));
        if lines.count > lines.shades.len() {
            text.push_str(&format!(
                " The figure has {} of its {} values, at equal distances; the table has all.",
                lines.shades.len(),
                lines.count
            ));
        }
    }
    if !lines.across.is_empty() {
        let names: Vec<String> = lines.across.iter().map(|i| inside(*i)).collect();
        text.push_str(&format!(
            " Each column is a value of {}. A measure has the same scale in all columns.",
            names.join(" and ")
        ));
    }
    if is_numbered {
        text.push_str(" The table lists the full value of each numbered line.");
    }
    let drawn: BTreeSet<usize> =
        lines.groups().flat_map(|group| group.members.iter().map(|(_, at, _)| *at)).collect();
    let left_out: Vec<usize> = (0..conditions.len()).filter(|at| !drawn.contains(at)).collect();
    text + &not_in_figure(conditions, &left_out)
}

/// Returns the estimates of a group, along the axis.
fn estimates(group: &Group<'_>, which: usize) -> Vec<(f64, Estimate)> {
    let estimate = |&(x, _, observed): &Member<'_>| (x, over_seeds(observed, which));
    group.members.iter().map(estimate).filter(|(_, of)| of.mean.is_some()).collect()
}

fn panel(lines: &Lines<'_>, facet: usize, axis: &DoseAxis, (which, measure): (usize, Measure)) -> Panel {
    let single = if lines.groups().count() == 1 { lines.groups().next() } else { None };
    let seeds = single.map_or_else(Vec::new, |group| of_seeds(group, which));
    // The scale is that of all columns.
    let all = lines.groups().flat_map(|group| estimates(group, which));
    let ends = all.flat_map(|(_, of)| [of.mean, of.low, of.high]).flatten();
    let ends: Vec<f64> = ends.chain(seeds.iter().flatten().map(|(_, y)| *y)).collect();
    let x = x_axis(axis);
    let scale = x.scale;
    let mut panel = Panel::new(x, drawing::Axis::new(scale_of(ends.iter().copied()), &measure.label()));
    for points in seeds {
        panel.add(Mark::Line { points, stroke: SEED });
    }
    let mut is_empty = true;
    for (shade, group) in &lines.facets[facet].lines {
        let found = estimates(group, which);
        is_empty &= found.is_empty();
        add_line(&mut panel, &found, lines.stroke(*shade), (scale, shift(lines, axis, scale, *shade)));
    }
    if is_empty {
        panel.without_values("cannot be measured", Along::Y);
    }
    panel
}

/// Returns the shift of a line, as a fraction of the axis. Lines are shifted against each other, so that they do not hide each
/// other.
fn shift(lines: &Lines<'_>, axis: &DoseAxis, scale: Scale, shade: usize) -> f64 {
    let apart = axis.values.windows(2).map(|pair| scale.fraction(pair[1]) - scale.fraction(pair[0]));
    let nearest = apart.fold(1.0, f64::min);
    let count = lines.shades.len().max(1);
    let from_middle = shade as f64 - (count - 1) as f64 / 2.0;
    from_middle * WIDEST_SHIFT.min(WIDEST_SPREAD.min(0.5 * nearest) / count as f64)
}

/// Adds a line with its intervals and points, shifted along the axis.
fn add_line(panel: &mut Panel, found: &[(f64, Estimate)], stroke: Stroke, (scale, shift): (Scale, f64)) {
    let point = |(x, of): &(f64, Estimate)| {
        let mean = of.mean?;
        Some((scale.shifted(*x, shift), mean, of.high.map(|high| high - mean)))
    };
    let points: Vec<(f64, f64, Option<f64>)> = found.iter().filter_map(point).collect();
    let line = points.iter().map(|&(x, y, _)| (x, y)).collect();
    panel.add(Mark::Line { points: line, stroke });
    let bars = points.iter().filter_map(|&(x, y, half)| half.map(|half| (x, y, half))).collect();
    panel.add(Mark::ErrorBars { points: bars, stroke: Stroke::solid(stroke.color, 0.7) });
    let point = |(x, y, _)| Point { x, y, diameter: DIAMETER, color: stroke.color };
    panel.add(Mark::Points { points: points.into_iter().map(point).collect(), shape: Shape::Disc });
}

/// Returns the line of each seed that has a value for every member of the group, if there are several.
fn of_seeds(group: &Group<'_>, which: usize) -> Vec<Vec<(f64, f64)>> {
    let Some((_, _, first)) = group.members.first().filter(|(_, _, of)| of.len() > 1) else {
        return Vec::new();
    };
    let of_seed = |seed: u32| {
        let value = |(x, _, of): &Member<'_>| {
            let observed = of.iter().find(|of| of.seed == seed)?;
            Some((*x, observed.measures[which]?))
        };
        group.members.iter().map(value).collect::<Option<Vec<_>>>()
    };
    first.iter().filter_map(|of| of_seed(of.seed)).collect()
}
