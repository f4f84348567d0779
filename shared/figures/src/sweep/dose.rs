//! Figure of the measures against a parameter.

mod scatter;

use std::collections::{BTreeMap, BTreeSet};

use granule_engine::space::{CellFactor, Parameter, Space, Value};
use granule_statistics::estimate::Estimate;

use self::scatter::scatter;
use super::observed::{Observed, over_seeds};
use super::show::{
    MOST_LINES, WIDTH_MM, briefs, counted, layout, line, mean_over, measured, measures_of, ordered_line,
    scale_of, short, words, words_inside,
};
use super::{Measure, ObservedCondition, OfCondition};
use crate::drawing::{
    Canvas, Color, Dash, Legend, Mark, Panel, Point, Scale, Shape, Stroke, Swatch, Tick, grid,
};
use crate::{Column, Figure, Table, drawing};

/// A parameter with numbers that differ between conditions.
#[derive(Clone, Debug, PartialEq)]
pub struct DoseAxis {
    /// The parameter.
    pub parameter: &'static Parameter,
    /// The different values, in ascending order.
    pub values: Vec<f64>,
    /// All parameters of the engine.
    pub(super) space: &'static Space,
}

impl DoseAxis {
    /// Returns the words for the parameter, with the unit.
    pub(super) fn label(&self) -> String {
        let words = words(self.space, self.parameter);
        if self.parameter.unit().is_empty() { words } else { format!("{words} ({})", self.parameter.unit()) }
    }

    /// Returns the words for the parameter in the middle of a sentence.
    pub(super) fn words_inside(&self) -> String {
        words_inside(self.space, self.parameter)
    }

    /// Returns the path as a part of a figure's name.
    pub(super) fn name(&self) -> String {
        self.parameter.path.replace('.', "-")
    }
}

pub(super) fn number(parameter: &Parameter, condition: &ObservedCondition) -> Option<f64> {
    number_of(condition.model.values().of(parameter))
}

fn number_of(value: &Value) -> Option<f64> {
    match value {
        Value::Number(x) => Some(*x),
        Value::Count(n) => Some(f64::from(*n)),
        Value::Factor(CellFactor::Constant(x)) => Some(*x),
        _ => None,
    }
}

/// Rounds a value to four significant digits.
fn rounded(value: &Value) -> Value {
    let number = |x: f64| format!("{x:.3e}").parse().unwrap_or(x);
    match value {
        Value::Number(x) => Value::Number(number(*x)),
        Value::Numbers(list) => Value::Numbers(list.iter().copied().map(number).collect()),
        Value::Factor(CellFactor::Constant(x)) => Value::Factor(CellFactor::Constant(number(*x))),
        Value::Factor(CellFactor::Gamma { mean, sd, seed }) => {
            Value::Factor(CellFactor::Gamma { mean: number(*mean), sd: number(*sd), seed: *seed })
        }
        Value::Count(_) | Value::Flag(_) | Value::Choice(_) => value.clone(),
    }
}

/// Formats a value as sweep files write it, with its unit. A list has no brackets, unless it is empty.
fn text(parameter: &Parameter, value: &Value) -> String {
    let text = match value {
        Value::Numbers(list) if list.is_empty() => return value.to_string(),
        Value::Numbers(_) => value.to_string().trim_matches(['[', ']']).to_owned(),
        _ => value.to_string(),
    };
    let unit = match parameter.unit() {
        "" => String::new(),
        unit => format!(" {unit}"),
    };
    // A true minus sign, as on axes.
    format!("{}{unit}", text.replace('-', "\u{2212}"))
}

/// Whether the parameter is the number of a stream or a seed. Such a number is no dose.
pub(super) fn is_label(space: &Space, parameter: &Parameter) -> bool {
    let is_stream = space.sharing().is_some_and(|sharing| sharing.stream == parameter.path);
    is_stream || parameter.path.ends_with("seed")
}

/// Returns the parameters of these conditions, which are all of one engine.
fn space_of<'a>(mut conditions: impl Iterator<Item = &'a ObservedCondition>) -> Option<&'static Space> {
    conditions.next().map(|condition| condition.model.values().space())
}

/// Returns the parameters that have at least three values among these conditions, in the documentation's
/// order.
pub fn axes(conditions: &[ObservedCondition]) -> Vec<DoseAxis> {
    let Some(space) = space_of(conditions.iter()) else { return Vec::new() };
    let doses = space.parameters().iter().filter(|parameter| !is_label(space, parameter));
    doses
        .map(|parameter| axis_of(space, parameter, conditions.iter()))
        .filter(|axis| axis.values.len() > 2)
        .collect()
}

/// Returns the parameters that have at least two values among these conditions, in the documentation's order.
pub(super) fn all_axes<'a>(conditions: impl Iterator<Item = &'a ObservedCondition> + Clone) -> Vec<DoseAxis> {
    let Some(space) = space_of(conditions.clone()) else { return Vec::new() };
    let doses = space.parameters().iter().filter(|parameter| !is_label(space, parameter));
    doses
        .map(|parameter| axis_of(space, parameter, conditions.clone()))
        .filter(|axis| axis.values.len() > 1)
        .collect()
}

/// Returns a parameter as an axis, with those of its values that are numbers.
fn axis_of<'a>(
    space: &'static Space,
    parameter: &'static Parameter,
    conditions: impl Iterator<Item = &'a ObservedCondition>,
) -> DoseAxis {
    let values = conditions.filter_map(|condition| number(parameter, condition));
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.dedup();
    DoseAxis { parameter, values, space }
}

/// A condition with its value on the axis, and its observations.
type Member<'a> = (f64, &'a ObservedCondition, &'a [Observed]);

/// Conditions that differ only on the axis. They form a line.
struct Group<'a> {
    /// Values of all other parameters.
    others: Vec<Value>,
    /// The conditions, ascending on the axis.
    members: Vec<Member<'a>>,
}

/// Most characters of a legend entry.
const MOST_LETTERS: usize = 90;

/// Draws the measures against a parameter. In a grid or a series of values: mean and 95 % interval over seeds, and a line for
/// each combination of the other parameters. If these differ in one number, lines are in its order, from pale to dark. A
/// single line also has those of its seeds. A sweep that samples its parameters has a point for each condition instead; for
/// fewer than 8 conditions, returns `None`.
pub fn responses(conditions: &[OfCondition<'_>], axis: &DoseAxis) -> Option<Figure> {
    let space = space_of(conditions.iter().map(|(condition, _)| *condition))?;
    let others = others(space, axis);
    let groups = groups(conditions, axis.parameter, &others);
    let (groups, _) = in_order(groups.iter().collect());
    if !has_lines(&groups, axis) {
        return scatter(conditions, &groups, axis);
    }
    let drawn: Vec<&Group<'_>> = groups.iter().copied().filter(|group| group.members.len() > 1).collect();
    // Groups that are not drawn may differ in more.
    let (mut drawn, is_ordered) = in_order(drawn);
    let hidden = drawn.len().saturating_sub(MOST_LINES);
    drawn.truncate(drawn.len() - hidden);
    let measures = measures_of(conditions);
    let style = if is_ordered { Style::Ordered(drawn.len()) } else { Style::Lines };
    let panels: Vec<Panel> = (0..)
        .zip('A'..)
        .zip(&measures)
        .map(|((i, letter), measure)| panel(&drawn, style, axis, i, *measure).letter(letter))
        .collect();

    let mut entries = Vec::new();
    let mut is_numbered = false;
    if drawn.len() > 1 {
        let names = names(space, &drawn, &others);
        is_numbered = names.iter().any(|name| name.chars().count() > MOST_LETTERS);
        entries.extend(names.into_iter().enumerate().map(|(i, name)| {
            let name = if is_numbered { format!("{}: {name}", i + 1) } else { name };
            (Swatch::Line(style.stroke(i)), short(&name, MOST_LETTERS))
        }));
    }
    let seeds = conditions.iter().map(|(_, observed)| observed.len()).max().unwrap_or(0);
    if seeds > 1 {
        if drawn.len() == 1 {
            entries.push((Swatch::Line(SEED), "a seed".to_owned()));
        }
        entries.push((Swatch::None, mean_over(seeds)));
    }
    let legend = Legend::new(entries);
    let (columns, height) = layout(panels.len(), 3, 53.0);
    let mut canvas = Canvas::new(WIDTH_MM, height + legend.height_mm(WIDTH_MM));
    let area = canvas.area().inset(1.0, 1.0, 1.0, 2.0);
    let rest = legend.draw(&mut canvas, area);
    grid(&mut canvas, rest, columns, &panels);

    let mut description = format!(
        "{} against {}, of {}: mean and 95 % interval over seeds, if there are several.",
        measured(measures.len()),
        axis.label(),
        counted(drawn.iter().map(|group| group.members.len()).sum(), "condition")
    );
    if is_numbered {
        description.push_str(" The table lists the full name of each numbered line.");
    }
    if hidden > 0 {
        description.push_str(&format!(" Lines that only the table has: {hidden}."));
    }
    let name = format!("dose-response-{}", axis.name());
    let title = format!("Responses against {}", axis.words_inside());
    let lines = is_numbered.then_some(&drawn[..]);
    let table = table(&groups, &others, lines, axis, &measures);
    Some(Figure::new(name, title, description, canvas, vec![table]))
}

/// Fewest conditions of a line, and most lines that need not share their values.
const LEAST_MEMBERS: usize = 3;
const MOST_SERIES: usize = 3;

/// Whether groups are lines of a grid, or a few series that have most of the conditions. A grid repeats its values: a line of
/// it has more than half of all values on the axis. In random samples, Latin hypercubes and designs for Sobol' indices,
/// conditions share the values of the other parameters by accident, if at all.
fn has_lines(groups: &[&Group<'_>], axis: &DoseAxis) -> bool {
    let lengths = groups.iter().map(|group| group.members.len());
    let lines: Vec<usize> = lengths.clone().filter(|members| *members >= LEAST_MEMBERS).collect();
    let is_of_grid = |members: &usize| 2 * members > axis.values.len();
    let has_most = 2 * lines.iter().sum::<usize>() > lengths.sum();
    lines.iter().any(is_of_grid) || (has_most && lines.len() <= MOST_SERIES)
}

/// Returns the parameters that distinguish lines.
fn others(space: &'static Space, axis: &DoseAxis) -> Vec<&'static Parameter> {
    let is_other =
        |parameter: &&Parameter| parameter.path != axis.parameter.path && !is_label(space, parameter);
    space.parameters().iter().filter(is_other).collect()
}

/// Groups the conditions that differ only on the axis, in the order of the sweep.
fn groups<'a>(
    conditions: &[(&'a ObservedCondition, &'a [Observed])],
    along: &Parameter,
    others: &[&Parameter],
) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    let mut places: BTreeMap<Vec<String>, usize> = BTreeMap::new();
    for &(condition, observed) in conditions {
        let Some(x) = number(along, condition) else { continue };
        let values: Vec<Value> =
            others.iter().map(|parameter| condition.model.values().of(parameter).clone()).collect();
        let place = *places.entry(values.iter().map(Value::to_string).collect()).or_insert(groups.len());
        if place == groups.len() {
            groups.push(Group { others: values, members: Vec::new() });
        }
        groups[place].members.push((x, condition, observed));
    }
    for group in &mut groups {
        group.members.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    groups
}

/// Sorts the groups by the values that distinguish them, if these are numbers. Returns whether one number does so alone.
fn in_order<'a, 'b>(mut groups: Vec<&'b Group<'a>>) -> (Vec<&'b Group<'a>>, bool) {
    let count = groups.first().map_or(0, |group| group.others.len());
    let differs = |i: &usize| groups.iter().any(|group| group.others[*i] != groups[0].others[*i]);
    let differing: Vec<usize> = (0..count).filter(differs).collect();
    let numbers = |group: &Group<'_>| -> Option<Vec<f64>> {
        differing.iter().map(|&i| number_of(&group.others[i])).collect()
    };
    if groups.iter().any(|group| numbers(group).is_none()) {
        return (groups, false);
    }
    groups.sort_by(|a, b| {
        let pairs = numbers(a).into_iter().flatten().zip(numbers(b).into_iter().flatten());
        pairs.map(|(a, b)| a.total_cmp(&b)).find(|order| order.is_ne()).unwrap_or(std::cmp::Ordering::Equal)
    });
    (groups, differing.len() == 1)
}

/// Returns a unique name for each group: its values of the parameters that differ between the groups.
fn names(space: &Space, groups: &[&Group<'_>], others: &[&Parameter]) -> Vec<String> {
    let mut parts: Vec<Vec<String>> = vec![Vec::new(); groups.len()];
    for (i, parameter) in others.iter().enumerate() {
        let texts = |of: fn(&Value) -> Value| -> Vec<String> {
            groups.iter().map(|group| text(parameter, &of(&group.others[i]))).collect()
        };
        let different = |texts: &[String]| texts.iter().collect::<BTreeSet<_>>().len();
        let (exact, rounded) = (texts(Value::clone), texts(rounded));
        if different(&exact) < 2 {
            continue;
        }
        let texts = if different(&rounded) == different(&exact) { rounded } else { exact };
        for (parts, text) in parts.iter_mut().zip(texts) {
            parts.push(format!("{} {text}", words(space, parameter)));
        }
    }
    parts.into_iter().map(|parts| parts.join(", ")).collect()
}

/// Diameter of points, in points of print.
const DIAMETER: f64 = 3.5;

/// Returns a logarithmic scale if the values are positive and span a factor of 20 or more, else a linear one.
fn scale(values: &[f64]) -> Scale {
    match (values.first(), values.last()) {
        (Some(&low), Some(&high)) if low > 0.0 && high / low >= 20.0 => Scale::log(low / 1.3, high * 1.3),
        _ => Scale::around(values.iter().copied(), 0.06),
    }
}

/// Most values of a parameter that are all marked on its axis.
const MOST_TICKS: usize = 6;

/// Returns the axis of a panel. A few values have a tick each.
fn x_axis(axis: &DoseAxis) -> drawing::Axis {
    let x = drawing::Axis::new(scale(&axis.values), &axis.label());
    if axis.values.len() > MOST_TICKS {
        return x;
    }
    let ticks = axis.values.iter().zip(briefs(&axis.values));
    x.with_ticks(ticks.map(|(&value, label)| Tick { value, label }).collect())
}

/// Largest shift of lines against each other, and of the first against the last, as fractions of the axis.
const WIDEST_SHIFT: f64 = 0.02;
const WIDEST_SPREAD: f64 = 0.07;

/// Style of the line of a seed.
const SEED: Stroke = Stroke { color: Color::rgb(170, 170, 170), width: 0.4, dash: Dash::Solid };

/// How lines are drawn.
#[derive(Clone, Copy)]
enum Style {
    Lines,
    /// So many lines in the order of a number.
    Ordered(usize),
}

impl Style {
    fn stroke(self, i: usize) -> Stroke {
        match self {
            Style::Lines => line(i),
            Style::Ordered(of) => ordered_line(i, of),
        }
    }
}

fn panel(groups: &[&Group<'_>], style: Style, axis: &DoseAxis, which: usize, measure: Measure) -> Panel {
    let of = |group: &Group<'_>| -> Vec<(f64, Estimate)> {
        let estimate = |&(x, _, observed): &Member<'_>| (x, over_seeds(observed, which));
        group.members.iter().map(estimate).filter(|(_, of)| of.mean.is_some()).collect()
    };
    let seeds = if groups.len() == 1 { of_seeds(groups[0], which) } else { vec![] };
    let ends =
        groups.iter().flat_map(|group| of(group)).flat_map(|(_, of)| [of.mean, of.low, of.high]).flatten();
    let ends: Vec<f64> = ends.chain(seeds.iter().flatten().map(|(_, y)| *y)).collect();
    let x = x_axis(axis);
    let scale = x.scale;
    let apart = axis.values.windows(2).map(|pair| scale.fraction(pair[1]) - scale.fraction(pair[0]));
    let nearest = apart.fold(1.0, f64::min);
    let mut panel = Panel::new(x, drawing::Axis::new(scale_of(ends.iter().copied()), &measure.label()));
    for points in seeds {
        panel.add(Mark::Line { points, stroke: SEED });
    }
    for (i, group) in groups.iter().enumerate() {
        let stroke = style.stroke(i);
        // Lines are shifted against each other, so that they do not hide each other.
        let shift = i as f64 - (groups.len() - 1) as f64 / 2.0;
        let shift = shift * WIDEST_SHIFT.min(WIDEST_SPREAD.min(0.5 * nearest) / groups.len() as f64);
        let points: Vec<(f64, f64, Option<f64>)> = (of(group).into_iter())
            .filter_map(|(x, of)| {
                Some((
                    scale.shifted(x, shift),
                    of.mean?,
                    of.high.zip(of.mean).map(|(high, mean)| high - mean),
                ))
            })
            .collect();
        let line = points.iter().map(|&(x, y, _)| (x, y)).collect();
        panel.add(Mark::Line { points: line, stroke });
        let bars = points.iter().filter_map(|&(x, y, half)| half.map(|half| (x, y, half))).collect();
        panel.add(Mark::ErrorBars { points: bars, stroke: Stroke::solid(stroke.color, 0.7) });
        let point = |(x, y, _)| Point { x, y, diameter: DIAMETER, color: stroke.color };
        panel.add(Mark::Points { points: points.into_iter().map(point).collect(), shape: Shape::Disc });
    }
    if ends.is_empty() {
        panel.note("cannot be measured");
    }
    panel
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

/// Returns the table with a row for each condition. `lines` are the groups whose lines have numbers.
fn table(
    groups: &[&Group<'_>],
    others: &[&Parameter],
    lines: Option<&[&Group<'_>]>,
    axis: &DoseAxis,
    measures: &[Measure],
) -> Table {
    let names = names(axis.space, groups, others);
    let rows: Vec<(&Group<'_>, &String, &Member<'_>)> = groups
        .iter()
        .copied()
        .zip(&names)
        .flat_map(|(group, name)| group.members.iter().map(move |member| (group, name, member)))
        .collect();
    let mut columns = vec![
        Column::text("condition", rows.iter().map(|(_, _, (_, condition, _))| condition.name.clone())),
        Column::text("others", rows.iter().map(|(_, name, _)| (*name).clone())),
        Column::numbers(axis.label(), rows.iter().map(|(_, _, (x, ..))| *x)),
        Column::whole("seeds", rows.iter().map(|(_, _, (_, _, observed))| observed.len())),
    ];
    if let Some(lines) = lines {
        let number = |group: &Group<'_>| lines.iter().position(|line| std::ptr::eq(*line, group));
        let numbers = rows.iter().map(|(group, ..)| number(group).map(|i| (i + 1) as f64));
        columns.insert(0, Column::optional("line", numbers));
    }
    for (i, measure) in measures.iter().enumerate() {
        let of = || rows.iter().map(|(_, _, (_, _, observed))| over_seeds(observed, i));
        columns.push(Column::optional(format!("{}_mean", measure.name()), of().map(|of| of.mean)));
        columns.push(Column::optional(format!("{}_low_95", measure.name()), of().map(|of| of.low)));
        columns.push(Column::optional(format!("{}_high_95", measure.name()), of().map(|of| of.high)));
    }
    Table::new("responses", columns)
}

#[cfg(test)]
mod tests;
