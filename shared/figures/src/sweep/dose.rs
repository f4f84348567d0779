//! Figure of the measures against a parameter.

use std::collections::{BTreeMap, BTreeSet};

use granule_engine::space::{CellFactor, Parameter, Space, Value};

use super::observed::{Observed, over_seeds};
use super::show::{MOST_LINES, WIDTH_MM, counted, layout, line, measured, measures_of, short};
use super::{Measure, ObservedCondition};
use crate::analysis::Summary;
use crate::drawing::{Canvas, Legend, Mark, Panel, Point, Scale, Shape, Swatch, grid};
use crate::{Column, Figure, Table, drawing};

/// A parameter with numbers that differ between conditions.
#[derive(Clone, Debug, PartialEq)]
pub struct DoseAxis {
    /// Path of the parameter.
    pub path: &'static str,
    /// Unit of the values; empty for none.
    pub unit: &'static str,
    /// The different values, in ascending order.
    pub values: Vec<f64>,
}

impl DoseAxis {
    /// Returns the path with the unit.
    fn label(&self) -> String {
        if self.unit.is_empty() { self.path.to_owned() } else { format!("{} ({})", self.path, self.unit) }
    }
}

fn number(parameter: &Parameter, condition: &ObservedCondition) -> Option<f64> {
    match condition.model.values().of(parameter) {
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
fn is_label(space: &Space, parameter: &Parameter) -> bool {
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
    doses.map(|parameter| axis(parameter, conditions)).filter(|axis| axis.values.len() > 2).collect()
}

/// Returns a parameter as an axis, with those of its values that are numbers.
fn axis(parameter: &Parameter, conditions: &[ObservedCondition]) -> DoseAxis {
    let values = conditions.iter().filter_map(|condition| number(parameter, condition));
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.dedup();
    DoseAxis { path: parameter.path, unit: parameter.unit(), values }
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

/// Fewest single points that are drawn; fewer show little.
const LEAST_POINTS: usize = 8;

/// Most characters of a legend entry.
const MOST_LETTERS: usize = 90;

/// Draws the measures against a parameter: mean and standard error over seeds, and a line for each
/// combination of the other parameters. If no two conditions share a combination, draws single points for 8
/// or more conditions; for fewer, returns `None`.
pub fn responses(conditions: &[(&ObservedCondition, &[Observed])], axis: &DoseAxis) -> Option<Figure> {
    let space = space_of(conditions.iter().map(|(condition, _)| *condition))?;
    let others = others(space, axis);
    let groups = groups(conditions, space.parameter(axis.path)?, &others);
    let mut drawn: Vec<&Group<'_>> = groups.iter().filter(|group| group.members.len() > 1).collect();
    let is_scatter = drawn.is_empty();
    if is_scatter {
        if groups.len() < LEAST_POINTS {
            return None;
        }
        drawn = groups.iter().collect();
    }
    let hidden = if is_scatter { 0 } else { drawn.len().saturating_sub(MOST_LINES) };
    drawn.truncate(drawn.len() - hidden);
    let measures = measures_of(conditions);
    let panels: Vec<Panel> = (0..)
        .zip('A'..)
        .zip(&measures)
        .map(|((i, letter), measure)| panel(&drawn, is_scatter, axis, i, *measure).letter(letter))
        .collect();

    let mut entries = Vec::new();
    let mut is_numbered = false;
    if is_scatter {
        let swatch = Swatch::Point(Shape::Disc, DIAMETER, line(0).color);
        entries.push((swatch, "a condition; other parameters differ, too".to_owned()));
    } else if drawn.len() > 1 {
        let names = names(&drawn, &others);
        is_numbered = names.iter().any(|name| name.chars().count() > MOST_LETTERS);
        entries.extend(names.into_iter().enumerate().map(|(i, name)| {
            let name = if is_numbered { format!("{}: {name}", i + 1) } else { name };
            (Swatch::Line(line(i)), short(&name, MOST_LETTERS))
        }));
    }
    let legend = Legend::new(entries);
    let (columns, height) = layout(panels.len(), 3, 53.0);
    let mut canvas = Canvas::new(WIDTH_MM, height + legend.height_mm(WIDTH_MM));
    let area = canvas.area().inset(1.0, 1.0, 1.0, 2.0);
    let rest = legend.draw(&mut canvas, area);
    grid(&mut canvas, rest, columns, &panels);

    let mut description = format!(
        "{} against {}, of {}: mean and standard error over seeds.",
        measured(measures.len()),
        axis.label(),
        counted(drawn.iter().map(|group| group.members.len()).sum(), "condition")
    );
    if is_scatter {
        description
            .push_str(" Any two conditions also differ in other parameters, so each condition is a point.");
    }
    if is_numbered {
        description.push_str(" The table lists the full name of each numbered line.");
    }
    if hidden > 0 {
        description.push_str(&format!(" Lines that only the table has: {hidden}."));
    }
    let name = format!("dose-response-{}", axis.path.replace('.', "-"));
    let title = format!("Responses against {}", axis.path);
    let lines = is_numbered.then_some(&drawn[..]);
    let table = table(&groups, &others, lines, axis, &measures);
    Some(Figure::new(name, title, description, canvas, vec![table]))
}

/// Returns the parameters that distinguish lines.
fn others(space: &'static Space, axis: &DoseAxis) -> Vec<&'static Parameter> {
    let is_other = |parameter: &&Parameter| parameter.path != axis.path && !is_label(space, parameter);
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

/// Returns a unique name for each group: its values of the parameters that differ between the groups.
fn names(groups: &[&Group<'_>], others: &[&Parameter]) -> Vec<String> {
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
            parts.push(format!("{} = {text}", parameter.path));
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

fn panel(groups: &[&Group<'_>], is_scatter: bool, axis: &DoseAxis, which: usize, measure: Measure) -> Panel {
    let of = |group: &Group<'_>| -> Vec<(f64, f64, Option<f64>)> {
        let point = |&(x, _, observed): &Member<'_>| {
            let Summary { mean, sem, .. } = over_seeds(observed, which);
            mean.map(|mean| (x, mean, sem))
        };
        group.members.iter().filter_map(point).collect()
    };
    let tops = groups.iter().flat_map(|group| of(group)).map(|(_, mean, sem)| mean + sem.unwrap_or(0.0));
    let y = Scale::from_zero(tops, 0.06);
    let label = axis.label();
    let x = drawing::Axis::new(scale(&axis.values), &label);
    let mut panel = Panel::new(x, drawing::Axis::new(y, &measure.label()));
    let mut is_empty = true;
    for (i, group) in groups.iter().enumerate() {
        let points = of(group);
        is_empty &= points.is_empty();
        let stroke = line(if is_scatter { 0 } else { i });
        if !is_scatter {
            let line = points.iter().map(|&(x, y, _)| (x, y)).collect();
            panel.add(Mark::Line { points: line, stroke });
        }
        let bars = points.iter().filter_map(|&(x, y, sem)| sem.map(|sem| (x, y, sem))).collect();
        panel.add(Mark::ErrorBars { points: bars, stroke: drawing::Stroke::solid(stroke.color, 0.7) });
        let point = |(x, y, _)| Point { x, y, diameter: DIAMETER, color: stroke.color };
        panel.add(Mark::Points { points: points.into_iter().map(point).collect(), shape: Shape::Disc });
    }
    if is_empty {
        panel.note("cannot be measured");
    }
    panel
}

/// Returns the table with a row for each condition. `lines` are the groups whose lines have numbers.
fn table(
    groups: &[Group<'_>],
    others: &[&Parameter],
    lines: Option<&[&Group<'_>]>,
    axis: &DoseAxis,
    measures: &[Measure],
) -> Table {
    let all: Vec<&Group<'_>> = groups.iter().collect();
    let names = names(&all, others);
    let rows: Vec<(&Group<'_>, &String, &Member<'_>)> = groups
        .iter()
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
        columns.push(Column::optional(format!("{}_sem", measure.name()), of().map(|of| of.sem)));
    }
    Table::new("responses", columns)
}
