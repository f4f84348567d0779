//! Figure of the differences between seeds.

use granule_statistics::estimate::Estimate;

use super::compare::measures;
use super::observed::Observed;
use super::show::{WIDTH_MM, counted, layout, mean_over, measured, measures_of, scale_of, short};
use super::{Measure, ObservedCondition};
use crate::Figure;
use crate::drawing::{
    Along, Axis, Canvas, Color, Dash, Legend, Mark, Panel, Point, Shape, Stroke, Swatch, grid,
};

/// Diameter of points, in points of print, and their colour. Conditions are distinguished by numbers.
const DIAMETER: f64 = 3.0;
const SEED: Color = Color::rgb(119, 119, 119);

/// Style of the line that joins the points of a seed.
const PAIRED: Stroke = Stroke { color: Color::rgb(190, 190, 190), width: 0.4, dash: Dash::Solid };

/// Draws every measure of every seed, with mean and 95 % interval over seeds. Conditions are side by side.
pub fn seeds(conditions: &[(&ObservedCondition, &[Observed])]) -> Figure {
    let of = measures_of(conditions);
    let panels: Vec<Panel> = (0..)
        .zip('A'..)
        .zip(&of)
        .map(|((i, letter), measure)| panel(conditions, i, *measure).letter(letter))
        .collect();
    let count = conditions.iter().map(|(_, observed)| observed.len()).max().unwrap_or(0);
    let mut entries = vec![
        (Swatch::Point(Shape::Disc, DIAMETER, SEED), "a seed".to_owned()),
        (Swatch::Line(Stroke::solid(Color::BLACK, 1.0)), mean_over(conditions)),
    ];
    entries.extend((1..).zip(conditions).map(|(number, (condition, _))| {
        let name = &condition.name;
        let text = if conditions.len() > 1 { format!("{number}: {name}") } else { name.clone() };
        (Swatch::None, short(&text, 60))
    }));
    let legend = Legend::new(entries);
    let (columns, height) = layout(panels.len(), 3, 53.0);
    let mut canvas = Canvas::new(WIDTH_MM, height + legend.height_mm(WIDTH_MM));
    let area = canvas.area().inset(1.0, 1.0, 1.0, 2.0);
    let rest = legend.draw(&mut canvas, area);
    grid(&mut canvas, rest, columns, &panels);
    let description = format!(
        "{} of {}: one point for each of {}, and {}.",
        measured(of.len()),
        counted(conditions.len(), "condition"),
        counted(count, "seed"),
        mean_over(conditions)
    );
    let table = measures(conditions);
    Figure::new("seeds", "Differences between seeds", description, canvas, vec![table])
}

fn panel(conditions: &[(&ObservedCondition, &[Observed])], which: usize, measure: Measure) -> Panel {
    let values =
        |observed: &[Observed]| -> Vec<f64> { observed.iter().filter_map(|of| of.measures[which]).collect() };
    let all: Vec<f64> = conditions.iter().flat_map(|(_, observed)| values(observed)).collect();
    let numbers: Vec<String> = (1..=conditions.len()).map(|i| i.to_string()).collect();
    let names: Vec<&str> = numbers.iter().map(String::as_str).collect();
    let label = if conditions.len() > 1 { "Condition" } else { "" };
    let x = if conditions.len() > 1 { Axis::names(&names, label) } else { Axis::names(&[""], label) };
    let estimates = conditions.iter().map(|(_, observed)| Estimate::of(&values(observed)));
    let ends: Vec<f64> = estimates.flat_map(|of| [of.low, of.high]).flatten().collect();
    let y = Axis::new(scale_of(all.iter().chain(&ends).copied()), &measure.label());
    let mut panel = Panel::new(x, y);
    for points in of_seeds(conditions, which) {
        panel.add(Mark::Line { points, stroke: PAIRED });
    }
    for (i, (_, observed)) in conditions.iter().enumerate() {
        let values = values(observed);
        let place = |k: usize| place(i, k, values.len());
        let points = values.iter().enumerate().map(|(k, &y)| Point {
            x: place(k),
            y,
            diameter: DIAMETER,
            color: SEED,
        });
        panel.add(Mark::Points { points: points.collect(), shape: Shape::Disc });
        let Estimate { mean, low, .. } = Estimate::of(&values);
        if let Some(mean) = mean {
            let stroke = Stroke::solid(Color::BLACK, 1.0);
            let x = i as f64;
            panel.add(Mark::Line { points: vec![(x - 0.2, mean), (x + 0.2, mean)], stroke });
            panel.add(Mark::ErrorBars {
                points: low.map(|low| (x, mean, mean - low)).into_iter().collect(),
                stroke,
            });
        }
    }
    if all.is_empty() {
        panel.without_values("cannot be measured", Along::Y);
    }
    panel
}

/// Returns the x of a seed's point. Points of a condition are side by side, in the order of the seeds.
fn place(condition: usize, seed: usize, seeds: usize) -> f64 {
    let fraction = if seeds > 1 { seed as f64 / (seeds - 1) as f64 } else { 0.5 };
    condition as f64 - 0.3 + 0.6 * fraction
}

/// Returns the line of each seed through its points, if all conditions have the same seeds and values.
fn of_seeds(conditions: &[(&ObservedCondition, &[Observed])], which: usize) -> Vec<Vec<(f64, f64)>> {
    let Some((_, first)) = conditions.first().filter(|(_, first)| conditions.len() > 1 && first.len() > 1)
    else {
        return Vec::new();
    };
    let value = |(i, (_, observed)): (usize, &(&ObservedCondition, &[Observed])), k: usize| {
        let of = observed.get(k).filter(|of| of.seed == first[k].seed && observed.len() == first.len())?;
        Some((place(i, k, first.len()), of.measures[which]?))
    };
    let line = |k: usize| conditions.iter().enumerate().map(|of| value(of, k)).collect::<Option<Vec<_>>>();
    (0..first.len()).map(line).collect::<Option<_>>().unwrap_or_default()
}

#[cfg(test)]
mod tests;
