//! The points of a condition: `grid`, `zip` and `latin_hypercube`.

use std::ops::Range;

use granule_engine::Value;

use crate::axis::{GridAxis, axis, latin};
use crate::diagnostics::{Problem, Problems};
use crate::examples;
use crate::limits::MOST_CONDITIONS;
use crate::suggest;
use crate::text::{Span, quote};
use crate::value::{self, ValueEntry, entries, unknown_parameter};
use crate::yaml;

/// The points of a condition: one for each combination of its dimensions, the first of which varies slowest. Without
/// dimensions, there is one point.
#[derive(Default)]
pub(crate) struct Points {
    /// All axes: those of `grid` first, then of `zip`, then of `latin_hypercube`.
    pub(crate) axes: Vec<GridAxis>,
    dimensions: Vec<GridDimension>,
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

    /// Reads the keys of a condition. Returns `None` if one of them is wrong.
    pub(crate) fn read(
        [grid, zip, latin_hypercube]: [Option<ValueEntry<'_>>; 3],
        problems: &mut Problems,
    ) -> Option<Points> {
        let before = problems.count();
        let mut points = Points::default();
        if let Some(entry) = grid {
            for axis in axes(&entry, problems) {
                points.push(vec![axis]);
            }
        }
        if let Some(entry) = zip {
            let axes = axes(&entry, problems);
            if let Some((first, others)) = axes.split_first() {
                for other in others.iter().filter(|other| other.values.len() != first.values.len()) {
                    problems.add(|| lengths_differ(first, other));
                }
                points.push(axes);
            }
        }
        if let Some(entry) = latin_hypercube {
            let axes = hypercube(&entry, problems);
            points.push(axes);
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

/// Reads the axes of `latin_hypercube`; returns the valid ones.
fn hypercube(entry: &ValueEntry<'_>, problems: &mut Problems) -> Vec<GridAxis> {
    const KEYS: [&str; 3] = ["count", "seed", "axes"];
    let space = problems.space();
    let form = || format!("write it like `{{ count: 50, seed: 1, axes: {{ {} }} }}`", examples::drawn(space));
    let node = entry.value;
    let yaml::Content::Map(map) = &node.value else {
        problems.add(|| {
            Problem::at(
                node.span,
                format!(
                    "`latin_hypercube` must be a mapping with `count`, `seed` and `axes`, not {}",
                    node.shown()
                ),
            )
            .help(form())
        });
        return Vec::new();
    };
    let before = problems.count();
    let (mut count, mut seed, mut axes) = (None, None, None);
    for entry in entries(map, problems) {
        match entry.key {
            "count" => {
                count =
                    value::count("latin_hypercube.count", 1, MOST_CONDITIONS as u32, entry.value, problems);
            }
            "seed" => seed = value::count("latin_hypercube.seed", 0, u32::MAX, entry.value, problems),
            "axes" => axes = Some(entry.value),
            key => problems.add(|| {
                Problem::at(entry.key_span, format!("unknown key {} in `latin_hypercube`", quote(key))).help(
                    match space.parameter(key) {
                        Some(_) => format!("parameters go into `axes: {{ {key}: … }}`"),
                        None => suggest::help(key, "the keys are", &KEYS),
                    },
                )
            }),
        }
    }
    let (Some(count), Some(seed), Some(axes)) = (count, seed, axes) else {
        // A key with a wrong value has been reported.
        if problems.count() == before {
            problems.add(|| {
                Problem::at(node.span, "`latin_hypercube` needs `count`, `seed` and `axes`").help(form())
            });
        }
        return Vec::new();
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
            return Vec::new();
        }
    };
    let mut read = Vec::new();
    for ValueEntry { key, key_span, value } in entries(map, problems) {
        match space.parameter(key) {
            Some(parameter) => read.extend(latin(parameter, key_span, value, count as usize, seed, problems)),
            None => problems.add(|| unknown_parameter(space, key, key_span)),
        }
    }
    read
}
