//! Figure of the measures against a parameter.

mod axis;
mod lines;
mod scatter;

pub use self::axis::{DoseAxis, axes};
pub(super) use self::axis::{all_axes, is_label, number};
use self::axis::{groups, has_lines, in_order, others};
use self::lines::lines;
use self::scatter::scatter;
use super::OfCondition;
use crate::Figure;

/// Draws the measures against a parameter. In a grid or a series of values: mean and 95 % interval over seeds, and a line for
/// each combination of the other parameters. One of these has colours, from pale to dark if it is a number; combinations of
/// the rest have columns of panels. A single line also has those of its seeds. Returns several figures if the panels do not
/// fit on a page.
///
/// A sweep that samples its parameters has a point for each condition instead, and so has one with too many combinations for
/// columns. For fewer than 8 conditions, it has no figure.
pub fn responses(conditions: &[OfCondition<'_>], axis: &DoseAxis) -> Vec<Figure> {
    let groups = groups(conditions, axis.parameter, &others(axis.space, axis));
    let groups = in_order(groups.iter().collect());
    let is_grid = has_lines(&groups, axis);
    let of_lines = is_grid.then(|| lines(conditions, &groups, axis)).flatten();
    of_lines.unwrap_or_else(|| scatter(conditions, &groups, axis, is_grid).into_iter().collect())
}

#[cfg(test)]
mod tests;
