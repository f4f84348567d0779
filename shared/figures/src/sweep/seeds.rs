//! Figure of the differences between seeds, and tables of the measures.

use super::observed::{Observed, over_seeds};
use super::show::{WIDTH_MM, counted, layout, measured, measures_of, short};
use super::{Measure, ObservedCondition};
use crate::analysis::Summary;
use crate::drawing::{Axis, Canvas, Color, Legend, Mark, Panel, Point, Scale, Shape, Stroke, Swatch, grid};
use crate::{Column, Figure, Table};

/// Diameter of points, in points of print, and their colour. Conditions are distinguished by numbers.
const DIAMETER: f64 = 3.0;
const SEED: Color = Color::rgb(119, 119, 119);

/// Draws every measure of every seed, with mean and standard error over seeds. Conditions are side by side.
pub fn seeds(conditions: &[(&ObservedCondition, &[Observed])]) -> Figure {
    let of = measures_of(conditions);
    let panels: Vec<Panel> = (0..)
        .zip('A'..)
        .zip(&of)
        .map(|((i, letter), measure)| panel(conditions, i, *measure).letter(letter))
        .collect();
    let mut entries = vec![
        (Swatch::Point(Shape::Disc, DIAMETER, SEED), "a seed".to_owned()),
        (Swatch::Line(Stroke::solid(Color::BLACK, 1.0)), "mean ± standard error".to_owned()),
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
    let count = conditions.iter().map(|(_, observed)| observed.len()).max().unwrap_or(0);
    let description = format!(
        "{} of {}: one point for each of {count} seeds, and mean and standard error over seeds.",
        measured(of.len()),
        counted(conditions.len(), "condition")
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
    let y = Axis::new(Scale::from_zero(all.iter().copied(), 0.08), &measure.label());
    let mut panel = Panel::new(x, y);
    for (i, (_, observed)) in conditions.iter().enumerate() {
        let values = values(observed);
        let last = values.len().saturating_sub(1).max(1) as f64;
        // Points are side by side, in the order of the seeds.
        let place = |k: usize| i as f64 - 0.3 + 0.6 * if values.len() > 1 { k as f64 / last } else { 0.5 };
        let points = values.iter().enumerate().map(|(k, &y)| Point {
            x: place(k),
            y,
            diameter: DIAMETER,
            color: SEED,
        });
        panel.add(Mark::Points { points: points.collect(), shape: Shape::Disc });
        let Summary { mean, sem, .. } = Summary::of(&values);
        if let Some(mean) = mean {
            let stroke = Stroke::solid(Color::BLACK, 1.0);
            let x = i as f64;
            panel.add(Mark::Line { points: vec![(x - 0.2, mean), (x + 0.2, mean)], stroke });
            panel
                .add(Mark::ErrorBars { points: sem.map(|sem| (x, mean, sem)).into_iter().collect(), stroke });
        }
    }
    if all.is_empty() {
        panel.note("cannot be measured");
    }
    panel
}

/// Returns the table of every measure of every condition and seed.
pub fn measures(conditions: &[(&ObservedCondition, &[Observed])]) -> Table {
    let rows = || {
        conditions
            .iter()
            .flat_map(|(condition, observed)| observed.iter().map(move |of| (&condition.name, of)))
    };
    let mut columns = vec![
        Column::text("condition", rows().map(|(name, _)| name.clone())),
        Column::whole("seed", rows().map(|(_, of)| of.seed as usize)),
        Column::whole("trials", rows().map(|(_, of)| of.trials as usize)),
    ];
    for (i, measure) in measures_of(conditions).into_iter().enumerate() {
        columns.push(Column::optional(measure.name(), rows().map(|(_, of)| of.measures[i])));
    }
    Table::new("measures", columns)
}

/// Returns the table of mean and standard error over seeds of every measure of every condition.
pub fn means(conditions: &[(&ObservedCondition, &[Observed])]) -> Table {
    let mut columns = vec![
        Column::text("condition", conditions.iter().map(|(condition, _)| condition.name.clone())),
        Column::whole("seeds", conditions.iter().map(|(_, observed)| observed.len())),
    ];
    for (i, measure) in measures_of(conditions).into_iter().enumerate() {
        let of = |(_, observed): &(&ObservedCondition, &[Observed])| over_seeds(observed, i);
        let name = measure.name();
        columns.push(Column::optional(format!("{name}_mean"), conditions.iter().map(of).map(|of| of.mean)));
        columns.push(Column::optional(format!("{name}_sem"), conditions.iter().map(of).map(|of| of.sem)));
    }
    Table::new("means", columns)
}
