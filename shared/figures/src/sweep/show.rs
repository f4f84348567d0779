//! What the figures of sweeps share: colours of conditions, and panels, one a condition.

use granule_sim::Model;

use crate::drawing::{Color, Dash, Mark, Panel, Stroke};

/// Width of two columns of a journal, in mm.
pub(super) const WIDTH_MM: f64 = 174.0;

/// Colours that colour-blind readers can tell apart (Okabe and Ito).
const PALETTE: [Color; 7] = [
    Color::rgb(0, 114, 178),
    Color::rgb(213, 94, 0),
    Color::rgb(0, 158, 115),
    Color::rgb(204, 121, 167),
    Color::rgb(86, 180, 233),
    Color::rgb(230, 159, 0),
    Color::BLACK,
];

/// Of granule cells, and of Golgi cells.
pub(super) const GRANULE: Color = Color::rgb(0, 114, 178);
pub(super) const GOLGI: Color = Color::rgb(213, 94, 0);

/// Looks of the line of this index.
pub(super) fn line(index: usize) -> Stroke {
    let dash = [Dash::Solid, Dash::Dashed, Dash::Dotted][(index / PALETTE.len()) % 3];
    Stroke { color: PALETTE[index % PALETTE.len()], width: 1.0, dash }
}

/// Lines that can be told apart.
pub(super) const MOST_LINES: usize = 3 * PALETTE.len();

pub(super) fn stimulus() -> Stroke {
    Stroke { color: Color::rgb(130, 130, 130), width: 0.5, dash: Dash::Dotted }
}

/// Columns of panels, and the height in mm of a figure of so many of this height.
pub(super) fn layout(panels: usize, most_columns: usize, panel_mm: f64) -> (usize, f64) {
    let columns = panels.clamp(1, most_columns);
    (columns, panels.div_ceil(columns).max(1) as f64 * panel_mm)
}

/// A name that fits above a panel.
pub(super) fn short(name: &str, most: usize) -> String {
    if name.chars().count() <= most {
        return name.to_owned();
    }
    let head: String = name.chars().take(most.saturating_sub(1)).collect();
    format!("{head}…")
}

/// So many of something, in words.
pub(super) fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// A line at each spike of the mossy fibres, in a panel whose x axis is the time in ms.
pub(super) fn add_stimulus(panel: &mut Panel, model: &Model) {
    for step in model.stimulus_steps() {
        let at = f64::from(*step) / f64::from(model.steps_per_ms());
        panel.add(Mark::Down { at, stroke: stimulus() });
    }
}
