//! How measures depend on a parameter.

use std::collections::BTreeMap;

use granule_sim::parameters::{CellFactor, FIELDS, Field, Kind, Value, field};

use super::observed::{Observed, over_seeds};
use super::show::{MOST_LINES, WIDTH_MM, counted, line, short};
use super::{Condition, Measure};
use crate::analysis::Summary;
use crate::drawing::{Canvas, Legend, Mark, Panel, Point, Scale, Shape, Swatch, grid};
use crate::{Column, Figure, Table, drawing};

/// A parameter that differs between conditions and is a number.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// Its path.
    pub path: &'static str,
    /// Its unit; empty for none.
    pub unit: &'static str,
    /// Its values, ascending.
    pub values: Vec<f64>,
}

impl Axis {
    /// The path with the unit.
    fn label(&self) -> String {
        if self.unit.is_empty() { self.path.to_owned() } else { format!("{} ({})", self.path, self.unit) }
    }
}

fn number(field: &Field, condition: &Condition) -> Option<f64> {
    match field.get(condition.model.parameters()) {
        Value::Number(x) => Some(x),
        Value::Count(n) => Some(f64::from(n)),
        Value::Factor(CellFactor::Constant(x)) => Some(x),
        _ => None,
    }
}

/// What a parameter is, to tell conditions apart.
fn text(field: &Field, condition: &Condition) -> String {
    match field.get(condition.model.parameters()) {
        Value::Number(x) | Value::Factor(CellFactor::Constant(x)) => x.to_string(),
        Value::Count(n) => n.to_string(),
        other => format!("{other:?}"),
    }
}

/// Numbers of streams and seeds are no doses.
fn is_label(field: &Field) -> bool {
    field.path == "noise.stream" || field.path.ends_with("seed")
}

/// Parameters that have three values or more among these conditions, in the order of the documentation.
pub fn axes(conditions: &[Condition]) -> Vec<Axis> {
    FIELDS.iter().filter_map(|field| axis(field, conditions)).filter(|axis| axis.values.len() > 2).collect()
}

/// A parameter as an axis; none if it is no number in any condition.
fn axis(field: &Field, conditions: &[Condition]) -> Option<Axis> {
    if is_label(field) {
        return None;
    }
    let mut values: Vec<f64> = conditions.iter().filter_map(|condition| number(field, condition)).collect();
    values.sort_by(f64::total_cmp);
    values.dedup();
    let unit = match field.kind {
        Kind::Quantity(unit) => unit.symbol(),
        _ => "",
    };
    (!values.is_empty()).then_some(Axis { path: field.path, unit, values })
}

/// A line: conditions that differ by the axis only.
struct Group<'a> {
    /// What else they have that others do not.
    name: String,
    /// By the value of the axis.
    members: Vec<(f64, &'a Condition, &'a [Observed])>,
}

/// How the measures depend on a parameter, mean and standard error over seeds; a line for each combination
/// of the other parameters, or single points where no two conditions share one.
pub fn responses(conditions: &[(&Condition, &[Observed])], axis: &Axis) -> Figure {
    let groups = groups(conditions, axis);
    let is_scatter = groups.iter().all(|group| group.members.len() < 2);
    let shown: Vec<&Group<'_>> = match is_scatter {
        true => groups.iter().collect(),
        false => groups.iter().filter(|group| group.members.len() > 1).take(MOST_LINES).collect(),
    };
    let panels: Vec<Panel> = (0..)
        .zip('A'..)
        .zip(Measure::ALL)
        .map(|((i, letter), measure)| panel(&shown, is_scatter, axis, i, measure).letter(letter))
        .collect();
    let mut canvas = Canvas::new(WIDTH_MM, 110.0);
    let area = canvas.area().inset(1.0, 1.0, 1.0, 2.0);
    let mut entries = Vec::new();
    if !is_scatter && shown.len() > 1 {
        let entry = |(i, group): (usize, &&Group<'_>)| (Swatch::Line(line(i)), short(&group.name, 90));
        entries.extend(shown.iter().enumerate().map(entry));
    }
    let rest = Legend::new(entries).draw(&mut canvas, area);
    grid(&mut canvas, rest, 3, &panels);
    let hidden = groups.iter().filter(|group| group.members.len() > 1).count().saturating_sub(MOST_LINES);
    let mut description = format!(
        "Six measures against {}, of {}: mean and standard error over seeds.",
        axis.label(),
        counted(shown.iter().map(|group| group.members.len()).sum(), "condition")
    );
    if is_scatter {
        description
            .push_str(" Every condition differs from every other in more than this, so each is a point.");
    }
    if hidden > 0 && !is_scatter {
        description.push_str(&format!(" {hidden} more lines are in the table only."));
    }
    let name = format!("dose-response-{}", axis.path.replace('.', "-"));
    let title = format!("Responses against {}", axis.path);
    Figure::new(name, title, description, canvas, vec![table(&groups, axis)])
}

fn groups<'a>(conditions: &[(&'a Condition, &'a [Observed])], axis: &Axis) -> Vec<Group<'a>> {
    let Some(along) = field(axis.path) else { return Vec::new() };
    let others: Vec<&Field> =
        FIELDS.iter().filter(|field| field.path != axis.path && !is_label(field)).collect();
    let mut found: BTreeMap<Vec<String>, (usize, Group<'a>)> = BTreeMap::new();
    for (place, &(condition, observed)) in conditions.iter().enumerate() {
        let Some(x) = number(along, condition) else { continue };
        let key = others.iter().map(|field| text(field, condition)).collect();
        let none = || (place, Group { name: String::new(), members: Vec::new() });
        found.entry(key).or_insert_with(none).1.members.push((x, condition, observed));
    }
    let differing: Vec<usize> = (0..others.len())
        .filter(|&i| {
            let mut values = found.keys().map(|key| &key[i]);
            let first = values.next();
            values.any(|value| Some(value) != first)
        })
        .collect();
    let mut groups: Vec<(usize, Group<'a>)> = found
        .into_iter()
        .map(|(key, (place, mut group))| {
            let part = |&i: &usize| {
                let unit = match others[i].kind {
                    Kind::Quantity(unit) if !unit.symbol().is_empty() => format!(" {}", unit.symbol()),
                    _ => String::new(),
                };
                // A true minus, as at axes.
                format!("{} = {}{unit}", others[i].path, key[i].replace('-', "\u{2212}"))
            };
            group.name = differing.iter().map(part).collect::<Vec<_>>().join(", ");
            group.members.sort_by(|a, b| a.0.total_cmp(&b.0));
            (place, group)
        })
        .collect();
    // In the order of the sweep.
    groups.sort_by_key(|(place, _)| *place);
    groups.into_iter().map(|(_, group)| group).collect()
}

/// Mean and standard error of a measure over the seeds of a condition.
/// Logarithmic for positive values over more than an order of magnitude.
fn scale(values: &[f64]) -> Scale {
    match (values.first(), values.last()) {
        (Some(&low), Some(&high)) if low > 0.0 && high / low >= 20.0 => Scale::log(low / 1.3, high * 1.3),
        _ => Scale::around(values.iter().copied(), 0.06),
    }
}

fn panel(groups: &[&Group<'_>], is_scatter: bool, axis: &Axis, which: usize, measure: Measure) -> Panel {
    let of = |group: &Group<'_>| -> Vec<(f64, f64, Option<f64>)> {
        let point = |&(x, _, observed): &(f64, &Condition, &[Observed])| {
            let Summary { mean, sem, .. } = over_seeds(observed, which);
            mean.map(|mean| (x, mean, sem))
        };
        group.members.iter().filter_map(point).collect()
    };
    let tops = groups.iter().flat_map(|group| of(group)).map(|(_, mean, sem)| mean + sem.unwrap_or(0.0));
    let y = Scale::from_zero(tops, 0.06);
    let label = axis.label();
    let x = drawing::Axis::new(scale(&axis.values), &label);
    let mut panel = Panel::new(x, drawing::Axis::new(y, measure.label()));
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
        let point = |(x, y, _)| Point { x, y, diameter: 3.5, color: stroke.color };
        panel.add(Mark::Points { points: points.into_iter().map(point).collect(), shape: Shape::Disc });
    }
    if is_empty {
        panel.note("cannot be measured");
    }
    panel
}

fn table(groups: &[Group<'_>], axis: &Axis) -> Table {
    let rows = || groups.iter().flat_map(|group| group.members.iter().map(move |member| (group, member)));
    let mut columns = vec![
        Column::text("condition", rows().map(|(_, (_, condition, _))| condition.name.clone())),
        Column::text("others", rows().map(|(group, _)| group.name.clone())),
        Column::numbers(axis.label(), rows().map(|(_, (x, ..))| *x)),
        Column::whole("seeds", rows().map(|(_, (_, _, observed))| observed.len())),
    ];
    for (i, measure) in Measure::ALL.into_iter().enumerate() {
        let of =
            |(_, (_, _, observed)): (&Group<'_>, &(f64, &Condition, &[Observed]))| over_seeds(observed, i);
        columns.push(Column::optional(format!("{}_mean", measure.name()), rows().map(of).map(|of| of.mean)));
        columns.push(Column::optional(format!("{}_sem", measure.name()), rows().map(of).map(|of| of.sem)));
    }
    Table::new("responses", columns)
}
