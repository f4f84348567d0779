//! Points instead of lines, for sweeps that sample their parameters.

use super::super::observed::over_seeds;
use super::super::show::{WIDTH_MM, counted, layout, measured, measures_of, ordered_line, sample, scale_of};
use super::super::{Measure, OfCondition};
use super::axis::{DoseAxis, Group, number, table, x_axis};
use crate::Figure;
use crate::drawing::{self, Along, Canvas, Legend, Mark, Panel, Point, Shape, Swatch, grid};

/// Fewest points that are drawn; fewer show little.
const LEAST_POINTS: usize = 8;

/// Most points of a panel. Files with more would be large, and points would hide each other.
const MOST_POINTS: usize = 2000;

/// Draws a point for each condition that has a number on the axis: the mean over seeds, in a panel for each measure. Of more
/// than [`MOST_POINTS`] conditions, draws some at equal distances in the order of the parameter. Returns `None` for fewer than
/// [`LEAST_POINTS`]. `is_grid` states that the conditions have lines, but too many.
pub(super) fn scatter(
    conditions: &[OfCondition<'_>],
    groups: &[&Group<'_>],
    axis: &DoseAxis,
    is_grid: bool,
) -> Option<Figure> {
    let placed = conditions.iter().filter_map(|of| Some((number(axis.parameter, of.0)?, *of)));
    let mut all: Vec<(f64, OfCondition<'_>)> = placed.collect();
    if all.len() < LEAST_POINTS {
        return None;
    }
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let count = all.len();
    let shown: Vec<(f64, OfCondition<'_>)> =
        (0..count.min(MOST_POINTS)).map(|i| all[i * count / count.min(MOST_POINTS)]).collect();
    let measures = measures_of(conditions);
    let diameter = diameter(shown.len());
    let panels: Vec<Panel> = (0..)
        .zip('A'..)
        .zip(&measures)
        .map(|((i, letter), measure)| panel(&shown, axis, (i, *measure), diameter).letter(letter))
        .collect();
    let of: Vec<OfCondition<'_>> = shown.iter().map(|(_, of)| *of).collect();
    let swatch = Swatch::Point(Shape::Dot, diameter, ordered_line(0, 1).color);
    let legend = Legend::new(vec![
        (swatch, format!("a condition: mean over {}", sample(&of))),
        (Swatch::None, "n: number of conditions".to_owned()),
    ]);
    let (columns, height) = layout(panels.len(), 3, 53.0);
    let mut canvas = Canvas::new(WIDTH_MM, height + legend.height_mm(WIDTH_MM));
    let area = canvas.area().inset(1.0, 1.0, 1.0, 2.0);
    let rest = legend.draw(&mut canvas, area);
    grid(&mut canvas, rest, columns, &panels);

    let why = match is_grid {
        true => "The other parameters have too many combinations for lines.",
        false => {
            "The sweep samples its parameters, so conditions with neighbouring values also differ in other parameters, and \
             no lines join them."
        }
    };
    let mut description = format!(
        "{} against {}: a point for each of {}, the mean over {}. {why} n is the number of conditions.",
        measured(measures.len()),
        axis.label(),
        counted(shown.len(), "condition"),
        sample(&of)
    );
    if count > shown.len() {
        description.push_str(&format!(
            " The sweep has {count} conditions; these are at equal distances in the order of the parameter. The table has \
             all."
        ));
    }
    let name = format!("dose-response-{}", axis.name());
    let title = format!("Responses against {}", axis.words_inside());
    Some(Figure::new(name, title, description, canvas, vec![table(conditions, groups, None, &measures)]))
}

/// Returns the diameter of so many points, in points of print.
fn diameter(count: usize) -> f64 {
    match count {
        0..=100 => 3.0,
        101..=500 => 2.3,
        _ => 1.7,
    }
}

fn panel(
    shown: &[(f64, OfCondition<'_>)],
    axis: &DoseAxis,
    (which, measure): (usize, Measure),
    diameter: f64,
) -> Panel {
    let color = ordered_line(0, 1).color;
    let point = |&(x, (_, observed)): &(f64, OfCondition<'_>)| Some((x, over_seeds(observed, which).mean?));
    let found: Vec<(f64, f64)> = shown.iter().filter_map(point).collect();
    let y = drawing::Axis::new(scale_of(found.iter().map(|(_, y)| *y)), &measure.label());
    let mut panel = Panel::new(x_axis(axis), y).title(format!("n = {}", found.len()));
    if found.is_empty() {
        panel.without_values("cannot be measured", Along::Y);
    }
    let points = found.into_iter().map(|(x, y)| Point { x, y, diameter, color }).collect();
    panel.add(Mark::Points { points, shape: Shape::Dot });
    panel
}
