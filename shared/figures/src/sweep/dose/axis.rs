//! The axis of a parameter, and the groups of conditions that differ in this parameter alone.

use std::collections::{BTreeMap, BTreeSet};

use granule_engine::space::{CellFactor, Parameter, Space, Value};

use super::super::compare::named;
use super::super::observed::{Observed, over_seeds};
use super::super::show::{briefs, words, words_inside};
use super::super::{Measure, ObservedCondition, OfCondition};
use crate::drawing::{self, Scale, Tick};
use crate::{Column, Table};

/// A parameter with numbers that differ between conditions.
#[derive(Clone, Debug, PartialEq)]
pub struct DoseAxis {
    /// The parameter.
    pub parameter: &'static Parameter,
    /// The different values, in ascending order.
    pub values: Vec<f64>,
    /// All parameters of the engine.
    pub(in crate::sweep) space: &'static Space,
}

impl DoseAxis {
    /// Returns the words for the parameter, with the unit.
    pub(in crate::sweep) fn label(&self) -> String {
        let words = words(self.space, self.parameter);
        if self.parameter.unit().is_empty() { words } else { format!("{words} ({})", self.parameter.unit()) }
    }

    /// Returns the words for the parameter in the middle of a sentence.
    pub(in crate::sweep) fn words_inside(&self) -> String {
        words_inside(self.space, self.parameter)
    }

    /// Returns the path as a part of a figure's name.
    pub(in crate::sweep) fn name(&self) -> String {
        self.parameter.path.replace('.', "-")
    }
}

pub(in crate::sweep) fn number(parameter: &Parameter, condition: &ObservedCondition) -> Option<f64> {
    number_of(condition.model.values().of(parameter))
}

pub(super) fn number_of(value: &Value) -> Option<f64> {
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
pub(in crate::sweep) fn is_label(space: &Space, parameter: &Parameter) -> bool {
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
pub(in crate::sweep) fn all_axes<'a>(
    conditions: impl Iterator<Item = &'a ObservedCondition> + Clone,
) -> Vec<DoseAxis> {
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

/// The value of a condition on the axis, its place in the sweep, and its observations.
pub(super) type Member<'a> = (f64, usize, &'a [Observed]);

/// Conditions that differ only on the axis. They form a line.
pub(super) struct Group<'a> {
    /// Values of all other parameters.
    pub(super) others: Vec<Value>,
    /// The conditions, ascending on the axis.
    pub(super) members: Vec<Member<'a>>,
}

/// Fewest conditions of a line, and most lines that need not share their values.
const LEAST_MEMBERS: usize = 3;
const MOST_SERIES: usize = 3;

/// Whether groups are lines of a grid, or a few series that have most of the conditions. A grid repeats its values: a line of
/// it has more than half of all values on the axis. In random samples, Latin hypercubes and designs for Sobol' indices,
/// conditions share the values of the other parameters by accident, if at all.
pub(super) fn has_lines(groups: &[&Group<'_>], axis: &DoseAxis) -> bool {
    let lengths = groups.iter().map(|group| group.members.len());
    let lines: Vec<usize> = lengths.clone().filter(|members| *members >= LEAST_MEMBERS).collect();
    let is_of_grid = |members: &usize| 2 * members > axis.values.len();
    let has_most = 2 * lines.iter().sum::<usize>() > lengths.sum();
    lines.iter().any(is_of_grid) || (has_most && lines.len() <= MOST_SERIES)
}

/// Returns the parameters that distinguish lines.
pub(super) fn others(space: &'static Space, axis: &DoseAxis) -> Vec<&'static Parameter> {
    let is_other =
        |parameter: &&Parameter| parameter.path != axis.parameter.path && !is_label(space, parameter);
    space.parameters().iter().filter(is_other).collect()
}

/// Groups the conditions that differ only on the axis, in the order of the sweep.
pub(super) fn groups<'a>(
    conditions: &[(&'a ObservedCondition, &'a [Observed])],
    along: &Parameter,
    others: &[&Parameter],
) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    let mut places: BTreeMap<Vec<String>, usize> = BTreeMap::new();
    for (at, &(condition, observed)) in conditions.iter().enumerate() {
        let Some(x) = number(along, condition) else { continue };
        let values: Vec<Value> =
            others.iter().map(|parameter| condition.model.values().of(parameter).clone()).collect();
        let place = *places.entry(values.iter().map(Value::to_string).collect()).or_insert(groups.len());
        if place == groups.len() {
            groups.push(Group { others: values, members: Vec::new() });
        }
        groups[place].members.push((x, at, observed));
    }
    for group in &mut groups {
        group.members.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    groups
}

/// Sorts the groups by the values that distinguish them, if these are numbers.
pub(super) fn in_order<'a, 'b>(mut groups: Vec<&'b Group<'a>>) -> Vec<&'b Group<'a>> {
    let count = groups.first().map_or(0, |group| group.others.len());
    let differs = |i: &usize| groups.iter().any(|group| group.others[*i] != groups[0].others[*i]);
    let differing: Vec<usize> = (0..count).filter(differs).collect();
    let numbers = |group: &Group<'_>| -> Option<Vec<f64>> {
        differing.iter().map(|&i| number_of(&group.others[i])).collect()
    };
    if groups.iter().any(|group| numbers(group).is_none()) {
        return groups;
    }
    groups.sort_by(|a, b| {
        let pairs = numbers(a).into_iter().flatten().zip(numbers(b).into_iter().flatten());
        pairs.map(|(a, b)| a.total_cmp(&b)).find(|order| order.is_ne()).unwrap_or(std::cmp::Ordering::Equal)
    });
    groups
}

/// Returns values in words, with four significant digits, or with all if these are needed to distinguish them.
pub(super) fn text_of(parameter: &Parameter, values: &[&Value]) -> Vec<String> {
    let texts = |of: fn(&Value) -> Value| -> Vec<String> {
        values.iter().map(|value| text(parameter, &of(value))).collect()
    };
    let different = |texts: &[String]| texts.iter().collect::<BTreeSet<_>>().len();
    let (exact, rounded) = (texts(Value::clone), texts(rounded));
    if different(&rounded) == different(&exact) { rounded } else { exact }
}

/// Diameter of points, in points of print.
pub(super) const DIAMETER: f64 = 3.5;

/// Returns a logarithmic scale if the values are positive and span a factor of 20 or more, else a linear one.
pub(super) fn scale(values: &[f64]) -> Scale {
    match (values.first(), values.last()) {
        (Some(&low), Some(&high)) if low > 0.0 && high / low >= 20.0 => Scale::log(low / 1.3, high * 1.3),
        _ => Scale::around(values.iter().copied(), 0.06),
    }
}

/// Most values of a parameter that are all marked on its axis.
const MOST_TICKS: usize = 6;

/// Returns the axis of a panel. A few values have a tick each.
pub(super) fn x_axis(axis: &DoseAxis) -> drawing::Axis {
    let x = drawing::Axis::new(scale(&axis.values), &axis.label());
    if axis.values.len() > MOST_TICKS {
        return x;
    }
    let ticks = axis.values.iter().zip(briefs(&axis.values));
    x.with_ticks(ticks.map(|(&value, label)| Tick { value, label }).collect())
}

/// Returns the table with a row for each condition on the axis: its parameters, as in the table of measures, and the estimates.
/// `numbers` are those of the groups' lines, if lines have numbers.
pub(super) fn table(
    conditions: &[OfCondition<'_>],
    groups: &[&Group<'_>],
    numbers: Option<Vec<Option<usize>>>,
    measures: &[Measure],
) -> Table {
    let rows: Vec<&Member<'_>> = groups.iter().flat_map(|group| &group.members).collect();
    let mut columns = vec![Column::whole("seeds", rows.iter().map(|(_, _, observed)| observed.len()))];
    for (i, measure) in measures.iter().enumerate() {
        let of = || rows.iter().map(|(_, _, observed)| over_seeds(observed, i));
        columns.push(Column::optional(format!("{}_mean", measure.name()), of().map(|of| of.mean)));
        columns.push(Column::optional(format!("{}_low_95", measure.name()), of().map(|of| of.low)));
        columns.push(Column::optional(format!("{}_high_95", measure.name()), of().map(|of| of.high)));
    }
    let mut columns = named(conditions, rows.iter().map(|(_, at, _)| at), columns);
    if let Some(numbers) = numbers {
        let of_rows =
            groups.iter().zip(numbers).flat_map(|(group, number)| vec![number; group.members.len()]);
        columns.insert(0, Column::optional("line", of_rows.map(|number| number.map(|of| of as f64))));
    }
    Table::new("responses", columns)
}
