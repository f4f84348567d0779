//! Raster of the spikes of one trial.

use std::ops::Range;

use granule_engine::{Model, Spike, TrialSpikes};

use super::show::{Drive, WIDTH_MM, add_stimulus, color, counted, layout, populations_of, short};
use crate::drawing::{Axis, Canvas, Color, Legend, Mark, Panel, Scale, Stroke, Swatch, grid};
use crate::{Column, Figure, Table};

/// A trial of a condition, to be drawn.
#[derive(Clone, Debug)]
pub struct RasterTrial<'a> {
    /// Name of the condition.
    pub condition: &'a str,
    /// Engine and parameters of the condition.
    pub model: &'a Model,
    /// Indices of the driven cells, in ascending order.
    pub driven: &'a [u32],
    /// Spikes of the trial.
    pub spikes: &'a TrialSpikes,
}

/// Draws the spikes of one trial in each condition: those of driven cells, and above them those of other
/// populations.
pub fn raster(
    trials: &[RasterTrial<'_>],
    (seed, trial): (u32, u32),
    ms: &Range<usize>,
    drive: Drive,
) -> Figure {
    let populations = populations_of(trials.iter().map(|trial| trial.model));
    let panels: Vec<Panel> = trials.iter().map(|trial| panel(trial, ms, drive)).collect();
    let (columns, height) = layout(panels.len(), 3, 52.0);
    let mut canvas = Canvas::new(WIDTH_MM, height + 8.0);
    let area = canvas.area().inset(1.0, 1.0, 1.0, 2.0);
    let entry = |place, text| (Swatch::Line(Stroke::solid(color(place), 1.5)), text);
    let mut entries = vec![entry(0, drive.cells(populations))];
    for (place, population) in populations.iter().enumerate().skip(1) {
        let at = if place + 1 == populations.len() { "on top" } else { "above" };
        entries.push(entry(place, format!("{}, {at}", population.cells)));
    }
    entries.extend(drive.entry());
    entries.push((Swatch::None, format!("trial {trial} of seed {seed}")));
    let rest = Legend::new(entries).draw(&mut canvas, area);
    grid(&mut canvas, rest, columns, &panels);
    let description = format!(
        "Every spike of trial {trial} of seed {seed} from {} to {} ms, of {}, in {}.{}",
        ms.start,
        ms.end,
        drive.and_others(populations),
        counted(trials.len(), "condition"),
        drive.of_lines()
    );
    let title = format!("Spikes of trial {trial} of seed {seed}");
    Figure::new("raster", title, description, canvas, vec![table(trials, ms)])
}

/// Returns the spikes within this range, by population: (cell, time in ms). Of the first population, returns
/// those of driven cells.
fn within(trial: &RasterTrial<'_>, ms: &Range<usize>) -> Vec<Vec<(u32, f64)>> {
    let per_ms = f64::from(trial.model.time().steps_per_ms);
    let is_in = |time: f64| time >= ms.start as f64 && time < ms.end as f64;
    let is_shown = |place: usize, cell: u32| place > 0 || trial.driven.binary_search(&cell).is_ok();
    let shown = |(place, train): (usize, &Vec<Spike>)| {
        let times = train.iter().map(|spike| (spike.cell, f64::from(spike.step) / per_ms));
        times.filter(|&(cell, time)| is_in(time) && is_shown(place, cell)).collect()
    };
    trial.spikes.trains.iter().enumerate().map(shown).collect()
}

fn panel(trial: &RasterTrial<'_>, ms: &Range<usize>, drive: Drive) -> Panel {
    let driven = trial.driven.len() as f64;
    let populations = trial.model.engine().populations();
    // With two populations the second takes the upper fifth, regardless of the number of its cells.
    let band = 0.25 * driven.max(1.0);
    let x = Scale::linear(ms.start as f64, ms.end as f64);
    let y = Scale::linear(0.0, driven.max(1.0) + band * populations.len().saturating_sub(1) as f64);
    let cells = Scale::linear(0.0, driven.max(1.0)).ticks(5);
    let first = populations.first().map_or("cell", |population| population.cell);
    let label = if drive.stimulus.is_some() { format!("Driven {first}") } else { first.to_owned() };
    let y = Axis::new(y, &label).with_ticks(cells);
    let mut panel = Panel::new(Axis::new(x, "Time (ms)"), y).title(short(trial.condition, 34));
    add_stimulus(&mut panel, trial.model);
    let of = within(trial, ms);
    if of.iter().all(Vec::is_empty) {
        panel.note("no spikes");
    }
    let mut of = of.into_iter();
    let row = |(cell, time): (u32, f64)| {
        let place = trial.driven.binary_search(&cell).unwrap_or(0);
        (place as f64 + 0.5, vec![time])
    };
    panel.add(Mark::Raster {
        rows: of.next().unwrap_or_default().into_iter().map(row).collect(),
        height: driven / 110.0,
        stroke: Stroke::solid(color(0), 0.6),
    });
    for ((place, spikes), cells) in (1..).zip(of).zip(trial.model.sizes().iter().skip(1)) {
        let (below, cells) = (driven.max(1.0) + band * (place - 1) as f64, f64::from(*cells));
        panel.add(Mark::Across { at: below, stroke: Stroke::solid(Color::GREY, 0.4) });
        // A gap below separates the populations.
        let (first, height) = (below + 0.15 * band, 0.85 * band);
        let row = |(cell, time): (u32, f64)| (first + height * (f64::from(cell) + 0.5) / cells, vec![time]);
        panel.add(Mark::Raster {
            rows: spikes.into_iter().map(row).collect(),
            height: (height / cells * 0.8).max(driven / 110.0),
            stroke: Stroke::solid(color(place), 0.8),
        });
    }
    panel
}

fn table(trials: &[RasterTrial<'_>], ms: &Range<usize>) -> Table {
    let (mut conditions, mut populations, mut cells, mut times) = (vec![], vec![], vec![], vec![]);
    for trial in trials {
        for (population, spikes) in trial.model.engine().populations().iter().zip(within(trial, ms)) {
            for (cell, time) in spikes {
                conditions.push(trial.condition.to_owned());
                populations.push(population.name);
                cells.push(cell as usize);
                times.push(time);
            }
        }
    }
    Table::new(
        "spikes",
        vec![
            Column::text("condition", conditions),
            Column::text("population", populations),
            Column::whole("cell", cells),
            Column::numbers("time_ms", times),
        ],
    )
}
