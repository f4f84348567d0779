//! Parts that the figures of sweeps share: colours, sizes, words, and the layout with one panel per
//! condition.

use granule_engine::{Model, Population};

use super::{Measure, Observed, ObservedCondition};
use crate::drawing::{Color, Dash, Mark, Panel, Stroke, Swatch};

/// Width of a figure over two columns of a journal, in mm.
pub(super) const WIDTH_MM: f64 = 174.0;

/// Colours that colour-blind readers can distinguish (Okabe and Ito).
const PALETTE: [Color; 7] = [
    Color::rgb(0, 114, 178),
    Color::rgb(213, 94, 0),
    Color::rgb(0, 158, 115),
    Color::rgb(204, 121, 167),
    Color::rgb(86, 180, 233),
    Color::rgb(230, 159, 0),
    Color::BLACK,
];

/// Describes what drives the first population, in words. The engine does not provide them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drive {
    /// The driven cells, such as `granule cells with input from active mossy fibres`.
    pub driven: &'static str,
    /// The events at the times of the stimulus, such as `spikes of the mossy fibres`. `None` for a model without a
    /// stimulus, of which figures show all cells of the first population.
    pub stimulus: Option<&'static str>,
}

impl Drive {
    /// Returns the words for the cells of the first population that figures show.
    pub(super) fn cells(&self, populations: &[Population]) -> String {
        let cells = first_cells(populations);
        if self.stimulus.is_some() { format!("driven {cells}") } else { cells.to_owned() }
    }

    /// Returns the label of an axis with these cells, in the order of their response.
    pub(super) fn axis(&self) -> &'static str {
        if self.stimulus.is_some() { "Driven cells, by response" } else { "Cells, by number of spikes" }
    }

    /// Returns the note for a panel without these cells.
    pub(super) fn none(&self) -> &'static str {
        if self.stimulus.is_some() { "no driven cells" } else { "no cells" }
    }

    /// Returns the sentence about the lines at the stimulus, with a space before it.
    pub(super) fn of_lines(&self) -> String {
        self.stimulus.map_or(String::new(), |what| format!(" Dotted lines are {what}."))
    }

    /// Returns the legend entry of these lines.
    pub(super) fn entry(&self) -> Option<(Swatch, String)> {
        self.stimulus.map(|_| (Swatch::Line(stimulus()), "stimulus".to_owned()))
    }

    /// Returns the driven cells and the cells of all other populations, as words that follow `of`.
    pub(super) fn and_others(&self, populations: &[Population]) -> String {
        let mut all = self.driven.to_owned();
        let others = populations.iter().skip(1);
        for (left, population) in (0..others.len()).rev().zip(others) {
            all.push_str(if left == 0 { " and of " } else { ", of " });
            all.push_str(population.cells);
        }
        all
    }
}

/// Returns the populations of these models, which are all of one engine.
pub(super) fn populations_of<'a>(mut models: impl Iterator<Item = &'a Model>) -> &'static [Population] {
    models.next().map_or(&[], |model| model.engine().populations())
}

/// Returns the measures of these conditions, which are all of one engine.
pub(super) fn measures_of(conditions: &[(&ObservedCondition, &[Observed])]) -> Vec<Measure> {
    conditions.first().map_or_else(Vec::new, |(condition, _)| Measure::of(&condition.model))
}

/// Returns the words for the cells of the first population.
pub(super) fn first_cells(populations: &[Population]) -> &'static str {
    populations.first().map_or("cells", |population| population.cells)
}

/// Returns the colour of the population with this index.
pub(super) fn color(place: usize) -> Color {
    PALETTE[place % PALETTE.len()]
}

/// Returns the style of the line with this index.
pub(super) fn line(index: usize) -> Stroke {
    let dash = [Dash::Solid, Dash::Dashed, Dash::Dotted][(index / PALETTE.len()) % 3];
    Stroke { color: PALETTE[index % PALETTE.len()], width: 1.0, dash }
}

/// Number of lines whose styles differ.
pub(super) const MOST_LINES: usize = 3 * PALETTE.len();

pub(super) fn stimulus() -> Stroke {
    Stroke { color: Color::rgb(130, 130, 130), width: 0.5, dash: Dash::Dotted }
}

/// Returns the number of columns of panels, and the height of the figure in mm.
pub(super) fn layout(panels: usize, most_columns: usize, panel_mm: f64) -> (usize, f64) {
    let columns = panels.clamp(1, most_columns);
    (columns, panels.div_ceil(columns).max(1) as f64 * panel_mm)
}

/// Shortens a name to at most `most` characters, to fit above a panel.
pub(super) fn short(name: &str, most: usize) -> String {
    if name.chars().count() <= most {
        return name.to_owned();
    }
    let head: String = name.chars().take(most.saturating_sub(1)).collect();
    format!("{head}…")
}

/// Returns a count with its noun, in the plural unless the count is 1.
pub(super) fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Returns the number of measures, as the beginning of a sentence.
pub(super) fn measured(count: usize) -> String {
    match count {
        4 => "Four measures".to_owned(),
        6 => "Six measures".to_owned(),
        8 => "Eight measures".to_owned(),
        _ => counted(count, "measure"),
    }
}

/// Adds a line at each stimulus to a panel whose x axis is the time in ms.
pub(super) fn add_stimulus(panel: &mut Panel, model: &Model) {
    for &step in &model.facts().stimulus_steps {
        let at = f64::from(step) / f64::from(model.time().steps_per_ms);
        panel.add(Mark::Down { at, stroke: stimulus() });
    }
}
