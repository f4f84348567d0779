//! Figures that compare cells that increase with cells that decrease: histograms, densities and means.

use super::common::{LINE, TWO_COLUMNS_MM, class_entry, note_if_empty, stroke, with_zero};
use crate::analysis::{Histogram, Quantity};
use crate::drawing::{Axis, Canvas, Legend, Mark, Panel, Point, Scale, Shape, Stroke, Swatch, grid, steps};
use crate::{Analysis, Change, Column, Figure, Table};

const LETTERS: [char; 4] = ['A', 'B', 'C', 'D'];

/// Draws one panel for each quantity, with a line for each class.
fn four_panels(
    analysis: &Analysis,
    lines: impl Fn(Quantity, Change) -> Option<Vec<(f64, f64)>>,
    height_mm: f64,
) -> Canvas {
    let panel = |(quantity, letter): (Quantity, char)| {
        let found = Change::COMPARED.map(|change| (change, lines(quantity, change).unwrap_or_default()));
        let points = || found.iter().flat_map(|(_, line)| line.iter().copied());
        let x: Vec<f64> = points().map(|point| point.0).collect();
        let is_empty = x.is_empty();
        let x = Scale::around(x, 0.02);
        let y = Scale::from_zero(points().map(|point| point.1), 0.06);
        let density = if quantity == Quantity::TonicReduction { "Density" } else { "Density (nS^{−1})" };
        let mut panel = Panel::new(Axis::new(x, quantity.label()), Axis::new(y, density)).letter(letter);
        for (change, line) in found {
            panel.add(Mark::Line { points: line, stroke: stroke(change) });
        }
        note_if_empty(&mut panel, analysis, is_empty);
        panel
    };
    let panels: Vec<Panel> = Quantity::ALL.into_iter().zip(LETTERS).map(panel).collect();
    let mut canvas = Canvas::new(TWO_COLUMNS_MM, height_mm);
    let area = canvas.area().inset(1.0, 1.0, 1.0, 2.0);
    let entry = |change| class_entry(analysis, change, Swatch::Line(stroke(change)));
    let rest = Legend::new(Change::COMPARED.map(entry).into()).draw(&mut canvas, area);
    grid(&mut canvas, rest, 2, &panels);
    canvas
}

const WHAT: &str = "mean excitatory (A), inhibitory (B) and net conductance (C) in Control, and reduction of tonic \
                    inhibition under ACh (D), for cells whose response to the stimulus increases under ACh (solid) \
                    and for those whose response decreases (dashed)";

/// Draws histograms of each quantity for both classes, as densities.
pub fn distributions(analysis: &Analysis) -> Figure {
    let outline = |quantity, change| {
        let histogram = analysis.histogram(quantity, change)?;
        Some(steps(histogram.edge(0), histogram.width, &histogram.densities()))
    };
    let canvas = four_panels(analysis, outline, 112.0);
    let bins = |quantity, change| -> Vec<[f64; 3]> {
        let of = |histogram: Histogram| {
            let densities = histogram.densities();
            let bin = |i: usize| [histogram.edge(i), histogram.counts[i] as f64, densities[i]];
            (0..densities.len()).map(bin).collect()
        };
        analysis.histogram(quantity, change).map_or_else(Vec::new, of)
    };
    let table = long_table("histograms", ["bin_from", "cells", "density"], bins);
    let description = format!("Histograms, as densities, of {WHAT}. Bins are 0.1 nS wide, and 0.01 in D.");
    Figure::new("distributions", "Distributions of inputs", description, canvas, vec![table])
}

/// Draws kernel densities of each quantity for both classes.
pub fn densities(analysis: &Analysis) -> Figure {
    let curve = |quantity, change| Some(analysis.density(quantity, change)?.curve());
    let canvas = four_panels(analysis, curve, 112.0);
    let points = |quantity, change| -> Vec<[f64; 2]> {
        curve(quantity, change).unwrap_or_default().into_iter().map(|(x, density)| [x, density]).collect()
    };
    let table = long_table("densities", ["value", "density"], points);
    let description = format!(
        "Kernel densities of {WHAT}. Kernels are Gaussian, with a bandwidth of 0.1 nS, and of 0.01 in D."
    );
    Figure::new("densities", "Densities of inputs", description, canvas, vec![table])
}

/// Draws mean and standard error of each quantity for both classes.
pub fn summary(analysis: &Analysis) -> Figure {
    const SHOWN: [Change; 2] = [Change::Decrease, Change::Increase];
    let panel = |(quantity, letter): (Quantity, char)| {
        let summaries = SHOWN.map(|change| (change, analysis.summary(quantity, change)));
        let ends = summaries.iter().flat_map(|(_, summary)| {
            let sem = summary.sem.unwrap_or(0.0);
            summary.mean.into_iter().flat_map(move |mean| [mean - sem, mean + sem])
        });
        let ends: Vec<f64> = ends.collect();
        let y = match quantity {
            // The values are far from 0 and close together.
            Quantity::TonicReduction if !ends.is_empty() => Scale::around(ends.iter().copied(), 0.25),
            _ => with_zero(ends.iter().copied()),
        };
        let names = Axis::names(&SHOWN.map(Change::name), "");
        let mut panel = Panel::new(names, Axis::new(y, quantity.label())).letter(letter);
        if let Scale::Linear { low, .. } = y
            && low < 0.0
        {
            panel.add(Mark::Across { at: 0.0, stroke: Stroke::solid(crate::drawing::Color::GREY, 0.5) });
        }
        for (x, (change, summary)) in (0..).map(f64::from).zip(summaries) {
            let Some(mean) = summary.mean else { continue };
            let point = Point { x, y: mean, diameter: 4.5, color: change.color() };
            panel.add(Mark::Points { points: vec![point], shape: Shape::Disc });
            if let Some(sem) = summary.sem {
                let stroke = Stroke::solid(change.color(), LINE);
                panel.add(Mark::ErrorBars { points: vec![(x, mean, sem)], stroke });
            }
        }
        note_if_empty(&mut panel, analysis, ends.is_empty());
        panel
    };
    let panels: Vec<Panel> = Quantity::ALL.into_iter().zip(LETTERS).map(panel).collect();
    let mut canvas = Canvas::new(TWO_COLUMNS_MM, 58.0);
    let area = canvas.area().inset(1.0, 1.0, 1.0, 2.0);
    let entry =
        |change: Change| class_entry(analysis, change, Swatch::Point(Shape::Disc, 5.0, change.color()));
    let rest = Legend::new(SHOWN.map(entry).into()).draw(&mut canvas, area);
    grid(&mut canvas, rest, 4, &panels);

    let rows: Vec<_> = Quantity::ALL
        .iter()
        .flat_map(|&quantity| SHOWN.map(|change| (quantity, change, analysis.summary(quantity, change))))
        .collect();
    let table = Table::new(
        "summary",
        vec![
            Column::text("quantity", rows.iter().map(|row| row.0.name())),
            Column::text("change", rows.iter().map(|row| row.1.name())),
            Column::whole("cells", rows.iter().map(|row| row.2.n)),
            Column::optional("mean", rows.iter().map(|row| row.2.mean)),
            Column::optional("sem", rows.iter().map(|row| row.2.sem)),
        ],
    );
    let description = "Mean and standard error of the mean over cells whose response decreases and over those whose \
                       response increases under ACh: mean excitatory (A), inhibitory (B) and net conductance (C) in \
                       Control, and reduction of tonic inhibition (D, whose axis does not begin at 0).";
    Figure::new(
        "summary",
        "Mean inputs of cells that decrease and increase",
        description,
        canvas,
        vec![table],
    )
}

/// Returns a table with a row for every quantity, class and item.
fn long_table<const N: usize>(
    name: &'static str,
    names: [&'static str; N],
    items: impl Fn(Quantity, Change) -> Vec<[f64; N]>,
) -> Table {
    let all: Vec<(Quantity, Change, [f64; N])> = Quantity::ALL
        .iter()
        .flat_map(|&quantity| Change::COMPARED.map(|change| (quantity, change)))
        .flat_map(|(quantity, change)| {
            items(quantity, change).into_iter().map(move |item| (quantity, change, item))
        })
        .collect();
    let mut columns = vec![
        Column::text("quantity", all.iter().map(|row| row.0.name())),
        Column::text("change", all.iter().map(|row| row.1.name())),
    ];
    columns.extend(
        names.iter().enumerate().map(|(i, &name)| Column::numbers(name, all.iter().map(|row| row.2[i]))),
    );
    Table::new(name, columns)
}
