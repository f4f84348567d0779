//! The points of a condition: `grid`, `zip`, `latin_hypercube`, `sobol` and `table`.

use std::ops::Range;

use granule_engine::Value;

use crate::axis::{DrawnAxis, GridAxis, MOST_AXES, axis, distributed, latin, saltelli};
use crate::design::Saltelli;
use crate::diagnostics::{Problem, Problems};
use crate::examples;
use crate::limits::MOST_CONDITIONS;
use crate::suggest;
use crate::table::{Table, TableFiles};
use crate::text::{Span, quote};
use crate::value::{self, ValueEntry, entries, unknown_parameter};
use crate::yaml;

/// The points of a condition: one for each combination of its dimensions, the first of which varies slowest. Without
/// dimensions, there is one point.
#[derive(Default)]
pub(crate) struct Points {
    /// All axes: those of `grid` first, then of `zip`, `latin_hypercube`, `sobol` and `table`.
    pub(crate) axes: Vec<GridAxis>,
    dimensions: Vec<GridDimension>,
    /// Names of the rows of `table`, if it has names.
    names: Option<Vec<String>>,
    /// The design, if it is one of `sobol`.
    pub(crate) design: Option<Saltelli>,
}

/// The keys of a condition that make points.
#[derive(Clone, Copy, Default)]
pub(crate) struct PointKeys<'a> {
    pub(crate) grid: Option<ValueEntry<'a>>,
    pub(crate) zip: Option<ValueEntry<'a>>,
    pub(crate) latin_hypercube: Option<ValueEntry<'a>>,
    pub(crate) sobol: Option<ValueEntry<'a>>,
    pub(crate) table: Option<ValueEntry<'a>>,
}

impl<'a> PointKeys<'a> {
    /// Returns the keys that the condition has.
    pub(crate) fn iter(&self) -> impl Iterator<Item = ValueEntry<'a>> {
        [self.grid, self.zip, self.latin_hypercube, self.sobol, self.table].into_iter().flatten()
    }
}

/// Axes that advance together, and their common length.
struct GridDimension {
    axes: Range<usize>,
    len: usize,
}

impl Points {
    /// Returns whether the condition is a single point because it has no axes.
    pub(crate) fn is_one(&self) -> bool {
        self.axes.is_empty()
    }

    /// Returns the number of points; `None` if it overflows.
    pub(crate) fn len(&self) -> Option<usize> {
        self.dimensions.iter().try_fold(1_usize, |product, dimension| product.checked_mul(dimension.len))
    }

    /// Returns the lengths of the dimensions, such as 3 × 4.
    pub(crate) fn shape(&self) -> String {
        let lengths: Vec<String> =
            self.dimensions.iter().map(|dimension| dimension.len.to_string()).collect();
        lengths.join(" × ")
    }

    /// Returns the value of every axis at a point, each with its position.
    pub(crate) fn at(&self, point: usize) -> Vec<&(Value, Span)> {
        let mut values = Vec::with_capacity(self.axes.len());
        let mut rest = point;
        for dimension in self.dimensions.iter().rev() {
            let at = rest % dimension.len;
            rest /= dimension.len;
            // Backwards, because the whole list is reversed at the end.
            values.extend(self.axes[dimension.axes.clone()].iter().rev().map(|axis| &axis.values[at]));
        }
        values.reverse();
        values
    }

    /// Returns whether the rows of a table have names.
    pub(crate) fn has_names(&self) -> bool {
        self.names.is_some()
    }

    /// Returns the name of the row of the table at a point. The rows vary fastest.
    pub(crate) fn name_of_row(&self, point: usize) -> &str {
        self.names.as_ref().map_or("", |names| &names[point % names.len()])
    }

    /// Reads the keys of a condition. Returns `None` if one of them is wrong.
    pub(crate) fn read(
        keys: PointKeys<'_>,
        tables: TableFiles<'_>,
        problems: &mut Problems,
    ) -> Option<Points> {
        let before = problems.count();
        let mut points = Points::default();
        if let Some(entry) = keys.grid {
            for axis in axes(&entry, problems) {
                points.push(vec![axis]);
            }
        }
        if let Some(entry) = keys.zip {
            let axes = axes(&entry, problems);
            if let Some((first, others)) = axes.split_first() {
                for other in others.iter().filter(|other| other.values.len() != first.values.len()) {
                    problems.add(|| lengths_differ(first, other));
                }
                points.push(axes);
            }
        }
        if let Some(entry) = keys.latin_hypercube {
            let axes = hypercube(&entry, problems);
            points.push(axes);
        }
        if let Some(entry) = keys.sobol {
            if let Some(other) = keys.iter().find(|other| other.key != entry.key) {
                problems.add(|| {
                    let message = format!("a condition cannot have both `sobol` and `{}`", other.key);
                    Problem::at(entry.key_span, message)
                        .help("write a condition with `sobol` for each value of the other axes")
                });
            }
            if let Some((axes, design)) = sobol(&entry, problems) {
                points.push(axes);
                points.design = Some(design);
            }
        }
        if let Some(entry) = keys.table
            && let Some(Table { axes, names }) = tables.read(&entry, problems)
        {
            points.push(axes);
            points.names = names;
        }
        points.report_repeated(problems);
        (problems.count() == before).then_some(points)
    }

    /// Adds a dimension.
    fn push(&mut self, axes: Vec<GridAxis>) {
        let Some(first) = axes.first() else { return };
        let len = first.values.len();
        let start = self.axes.len();
        self.axes.extend(axes);
        self.dimensions.push(GridDimension { axes: start..self.axes.len(), len });
    }

    fn report_repeated(&self, problems: &mut Problems) {
        for (at, axis) in self.axes.iter().enumerate() {
            if self.axes[..at].iter().any(|other| other.parameter.path == axis.parameter.path) {
                problems.add(|| {
                    Problem::at(
                        axis.span,
                        format!("`{}` is on two axes of this condition", axis.parameter.path),
                    )
                    .help("keep one of them")
                });
            }
        }
    }
}

fn lengths_differ(first: &GridAxis, other: &GridAxis) -> Problem {
    let values = |axis: &GridAxis| match axis.values.len() {
        1 => "1 value".to_owned(),
        n => format!("{n} values"),
    };
    let message = format!(
        "`{}` has {}, but `{}` has {}: the axes of a `zip` advance together",
        other.parameter.path,
        values(other),
        first.parameter.path,
        values(first)
    );
    Problem::at(other.span, message)
        .help("give all axes the same number of values, or put them into `grid` for all combinations")
}

/// Reads the axes of `grid` or `zip`; returns the valid ones.
fn axes(entry: &ValueEntry<'_>, problems: &mut Problems) -> Vec<GridAxis> {
    let &ValueEntry { key: word, value: node, .. } = entry;
    let space = problems.space();
    let example = format!("write it like `{word}: {{ {} }}`", examples::axis(space));
    let map = match &node.value {
        yaml::Content::Map(map) if !map.is_empty() => map,
        yaml::Content::Map(_) => {
            problems.add(|| Problem::at(node.span, format!("`{word}` has no axes")).help(example));
            return Vec::new();
        }
        _ => {
            problems.add(|| {
                Problem::at(
                    node.span,
                    format!("`{word}` must be a mapping of parameters to values, not {}", node.shown()),
                )
                .help(example)
            });
            return Vec::new();
        }
    };
    let mut axes = Vec::new();
    for ValueEntry { key, key_span, value } in entries(map, problems) {
        match space.parameter(key) {
            Some(parameter) => axes.extend(axis(parameter, key_span, value, problems)),
            None => problems.add(|| unknown_parameter(space, key, key_span)),
        }
    }
    axes
}

/// The entries of `latin_hypercube` or `sobol`.
struct Draw {
    count: u32,
    /// Position of `count`.
    span: Span,
    /// 0 for `sobol`, which has no seed.
    seed: u32,
    /// The valid axes, at least one if no problem was reported.
    axes: Vec<DrawnAxis>,
}

/// Reads the axes of `latin_hypercube`; returns the valid ones.
fn hypercube(entry: &ValueEntry<'_>, problems: &mut Problems) -> Vec<GridAxis> {
    let Some(draw) = draw(entry, &["count", "seed", "axes"], problems) else { return Vec::new() };
    let Draw { count, seed, axes, .. } = draw;
    axes.iter().filter_map(|axis| latin(axis, count as usize, seed, problems)).collect()
}

/// Reads `sobol`; returns its axes with their values. Returns `None` if a problem was found.
fn sobol(entry: &ValueEntry<'_>, problems: &mut Problems) -> Option<(Vec<GridAxis>, Saltelli)> {
    let before = problems.count();
    let Draw { count, span, axes, .. } = draw(entry, &["count", "axes"], problems)?;
    if !count.is_power_of_two() {
        problems.add(|| {
            let above = count.next_power_of_two();
            Problem::at(span, format!("`sobol.count` must be a power of two, not `{count}`"))
                .help(format!("write `{}` or `{above}`", above / 2))
        });
    }
    if axes.len() > MOST_AXES {
        problems.add(|| {
            let message = format!("`sobol` has {} axes; at most {MOST_AXES} are possible", axes.len());
            Problem::at(entry.key_span, message).help("put the parameters that matter least into `set`")
        });
    }
    let (rows, of_all) = (axes.len() + 2, count as usize * (axes.len() + 2));
    if of_all > MOST_CONDITIONS {
        problems.add(|| {
            let message = format!(
                "`sobol` needs {count} × ({} + 2) = {of_all} conditions; at most {MOST_CONDITIONS} are possible",
                axes.len()
            );
            let most = (MOST_CONDITIONS / rows).max(1).next_power_of_two();
            let most = if most * rows > MOST_CONDITIONS { most / 2 } else { most };
            Problem::at(span, message).help(format!("write `{most}` or less, or use fewer axes"))
        });
    }
    if problems.count() > before {
        return None;
    }
    let values = saltelli(&axes, count, problems)?;
    let axes = axes.iter().map(|axis| (axis.parameter.path, axis.distribution)).collect();
    Some((values, Saltelli { base_points: count, axes }))
}

/// Reads the entries of `latin_hypercube` or `sobol`.
fn draw(entry: &ValueEntry<'_>, keys: &[&str], problems: &mut Problems) -> Option<Draw> {
    let &ValueEntry { key: word, value: node, .. } = entry;
    let space = problems.space();
    let all = suggest::list(keys);
    let form = || {
        let (count, seed) = if keys.contains(&"seed") { (50, "seed: 1, ") } else { (64, "") };
        format!("write it like `{{ count: {count}, {seed}axes: {{ {} }} }}`", examples::drawn(space))
    };
    let yaml::Content::Map(map) = &node.value else {
        problems.add(|| {
            let message = format!("`{word}` must be a mapping with {all}, not {}", node.shown());
            Problem::at(node.span, message).help(form())
        });
        return None;
    };
    let before = problems.count();
    let (mut count, mut seed, mut axes) = (None, None, None);
    for entry in entries(map, problems) {
        let path = || format!("{word}.{}", entry.key);
        match entry.key {
            "count" => {
                count = value::count(&path(), 1, MOST_CONDITIONS as u32, entry.value, problems)
                    .map(|count| (count, entry.value.span));
            }
            "seed" if keys.contains(&"seed") => {
                seed = value::count(&path(), 0, u32::MAX, entry.value, problems);
            }
            "axes" => axes = Some(entry.value),
            key => problems.add(|| {
                Problem::at(entry.key_span, format!("unknown key {} in `{word}`", quote(key))).help(
                    match (space.parameter(key), key) {
                        (Some(_), _) => format!("parameters go into `axes: {{ {key}: … }}`"),
                        (None, "seed") => "remove it; the Sobol' sequence has no seed".to_owned(),
                        (None, _) => suggest::help(key, "the keys are", keys),
                    },
                )
            }),
        }
    }
    let seed = if keys.contains(&"seed") { seed } else { Some(0) };
    let (Some((count, span)), Some(seed), Some(axes)) = (count, seed, axes) else {
        // A key with a wrong value has been reported.
        if problems.count() == before {
            problems.add(|| Problem::at(node.span, format!("`{word}` needs {all}")).help(form()));
        }
        return None;
    };
    let map = match &axes.value {
        yaml::Content::Map(map) if !map.is_empty() => map,
        _ => {
            problems.add(|| {
                let found = if matches!(axes.value, yaml::Content::Map(_)) { "empty" } else { axes.kind() };
                Problem::at(
                    axes.span,
                    format!("`axes` must be a mapping of parameters to distributions, not {found}"),
                )
                .help(form())
            });
            return None;
        }
    };
    let mut read = Vec::new();
    for ValueEntry { key, key_span, value } in entries(map, problems) {
        match space.parameter(key) {
            Some(parameter) => read.extend(distributed(parameter, key_span, value, problems)),
            None => problems.add(|| unknown_parameter(space, key, key_span)),
        }
    }
    Some(Draw { count, span, seed, axes: read })
}
