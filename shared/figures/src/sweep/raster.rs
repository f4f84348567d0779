//! Spikes of one trial.

use std::ops::Range;

use granule_sim::Model;
use granule_sim::spikes::TrialSpikes;

use super::show::{GOLGI, GRANULE, WIDTH_MM, add_stimulus, counted, layout, short, stimulus};
use crate::drawing::{Axis, Canvas, Legend, Mark, Panel, Scale, Stroke, Swatch, grid};
use crate::{Column, Figure, Table};

/// A trial of a condition.
#[derive(Clone, Debug)]
pub struct Trial<'a> {
    /// Name of the condition.
    pub condition: &'a str,
    /// Its parameters.
    pub model: &'a Model,
    /// Its driven granule cells, ascending.
    pub driven: &'a [u32],
    /// The spikes.
    pub spikes: &'a TrialSpikes,
}

/// Spikes of driven granule cells, and above them of Golgi cells, of one trial in each condition.
pub fn raster(trials: &[Trial<'_>], seed: u32, trial: u32, ms: &Range<usize>) -> Figure {
    let panels: Vec<Panel> = trials.iter().map(|trial| panel(trial, ms)).collect();
    let (columns, height) = layout(panels.len(), 3, 52.0);
    let mut canvas = Canvas::new(WIDTH_MM, height + 8.0);
    let area = canvas.area().inset(1.0, 1.0, 1.0, 2.0);
    let entry = |color, text: &str| (Swatch::Line(Stroke::solid(color, 1.5)), text.to_owned());
    let entries = vec![
        entry(GRANULE, "driven granule cells"),
        entry(GOLGI, "Golgi cells, on top"),
        (Swatch::Line(stimulus()), "stimulus".to_owned()),
        (Swatch::None, format!("trial {trial} of seed {seed}")),
    ];
    let rest = Legend::new(entries).draw(&mut canvas, area);
    grid(&mut canvas, rest, columns, &panels);
    let description = format!(
        "Every spike of trial {trial} of seed {seed} from {} to {} ms, of granule cells with input from active mossy \
         fibres and of Golgi cells, in {}. Dotted lines are spikes of the mossy fibres.",
        ms.start,
        ms.end,
        counted(trials.len(), "condition")
    );
    let title = format!("Spikes of trial {trial} of seed {seed}");
    Figure::new("raster", title, description, canvas, vec![table(trials, ms)])
}

/// Spikes of a trial within these ms: granule cells that are driven, then Golgi cells; (cell, time).
fn within(trial: &Trial<'_>, ms: &Range<usize>) -> [Vec<(u32, f64)>; 2] {
    let per_ms = f64::from(trial.model.steps_per_ms());
    let is_in = |time: f64| time >= ms.start as f64 && time < ms.end as f64;
    let TrialSpikes { granule, golgi } = trial.spikes;
    let times = |spikes: &[granule_sim::spikes::Spike]| {
        spikes.iter().map(|spike| (spike.cell, f64::from(spike.step) / per_ms)).collect::<Vec<_>>()
    };
    let mut found = [times(granule), times(golgi)];
    found[0].retain(|&(cell, time)| is_in(time) && trial.driven.binary_search(&cell).is_ok());
    found[1].retain(|&(_, time)| is_in(time));
    found
}

fn panel(trial: &Trial<'_>, ms: &Range<usize>) -> Panel {
    let driven = trial.driven.len() as f64;
    let golgi = f64::from(trial.model.parameters().network.golgi_cells);
    // Golgi cells take the upper fifth, whatever their number.
    let band = 0.25 * driven.max(1.0);
    let x = Scale::linear(ms.start as f64, ms.end as f64);
    let y = Scale::linear(0.0, driven.max(1.0) + band);
    let cells = Scale::linear(0.0, driven.max(1.0)).ticks(5);
    let y = Axis::new(y, "Driven granule cell").with_ticks(cells);
    let mut panel = Panel::new(Axis::new(x, "Time (ms)"), y).title(short(trial.condition, 34));
    add_stimulus(&mut panel, trial.model);
    let [granule_spikes, golgi_spikes] = within(trial, ms);
    if granule_spikes.is_empty() && golgi_spikes.is_empty() {
        panel.note("no spikes");
    }
    let row = |(cell, time): (u32, f64)| {
        let place = trial.driven.binary_search(&cell).unwrap_or(0);
        (place as f64 + 0.5, vec![time])
    };
    panel.add(Mark::Raster {
        rows: granule_spikes.into_iter().map(row).collect(),
        height: driven / 110.0,
        stroke: Stroke::solid(GRANULE, 0.6),
    });
    let golgi_row = |(cell, time): (u32, f64)| (driven + band * (f64::from(cell) + 0.5) / golgi, vec![time]);
    panel.add(Mark::Raster {
        rows: golgi_spikes.into_iter().map(golgi_row).collect(),
        height: (band / golgi * 0.8).max(driven / 110.0),
        stroke: Stroke::solid(GOLGI, 0.8),
    });
    panel
}

fn table(trials: &[Trial<'_>], ms: &Range<usize>) -> Table {
    let (mut conditions, mut populations, mut cells, mut times) = (vec![], vec![], vec![], vec![]);
    for trial in trials {
        for (population, spikes) in ["granule", "golgi"].into_iter().zip(within(trial, ms)) {
            for (cell, time) in spikes {
                conditions.push(trial.condition.to_owned());
                populations.push(population.to_owned());
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
