//! What is compared: the paper's conditions, and what a cell's response does between them.

use serde::Serialize;

use crate::drawing::{Color, Dash};

/// A condition of the paper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Condition {
    /// Nothing applied.
    Control,
    /// Inhibition blocked.
    Gabazine,
    /// Muscarinic receptors activated.
    Ach,
}

impl Condition {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Condition; 3] = [Condition::Control, Condition::Gabazine, Condition::Ach];

    /// The name in sweep files and pictures.
    pub fn name(self) -> &'static str {
        match self {
            Condition::Control => "Control",
            Condition::Gabazine => "GABAzine",
            Condition::Ach => "ACh",
        }
    }

    /// The name in columns of tables, and before the names of output files.
    pub fn prefix(self) -> &'static str {
        match self {
            Condition::Control => "control",
            Condition::Gabazine => "gaba",
            Condition::Ach => "ach",
        }
    }

    /// The colour wherever conditions have one, of Okabe and Ito's palette, which colour-blind readers can tell apart.
    pub fn color(self) -> Color {
        match self {
            Condition::Control => Color::BLACK,
            Condition::Gabazine => Color::rgb(213, 94, 0),
            Condition::Ach => Color::rgb(0, 114, 178),
        }
    }

    /// How lines are broken in all pictures, for those who read them in greyscale.
    pub fn dash(self) -> Dash {
        match self {
            Condition::Control | Condition::Gabazine => Dash::Solid,
            Condition::Ach => Dash::Dashed,
        }
    }
}

/// What the peak of a cell's spike probability does under ACh, compared with Control.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// It grows.
    Increase,
    /// It shrinks, perhaps to nothing.
    Decrease,
    /// It stays the same.
    Equal,
}

impl Change {
    /// All of them.
    pub const ALL: [Change; 3] = [Change::Increase, Change::Decrease, Change::Equal];

    /// Those that the figures compare.
    pub const COMPARED: [Change; 2] = [Change::Increase, Change::Decrease];

    /// Where a peak relative to Control belongs.
    pub fn of(relative_peak: f64) -> Change {
        if relative_peak > 1.0 {
            Change::Increase
        } else if relative_peak < 1.0 {
            Change::Decrease
        } else {
            Change::Equal
        }
    }

    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Change::Increase => "increase",
            Change::Decrease => "decrease",
            Change::Equal => "equal",
        }
    }

    /// The colour in all pictures. Not that of a condition.
    pub fn color(self) -> Color {
        match self {
            Change::Increase => Color::rgb(143, 45, 131),
            Change::Decrease => Color::rgb(0, 158, 115),
            Change::Equal => Color::rgb(119, 119, 119),
        }
    }

    /// How lines are broken in all pictures, for those who read them in greyscale.
    pub fn dash(self) -> Dash {
        match self {
            Change::Increase => Dash::Solid,
            Change::Decrease => Dash::Dashed,
            Change::Equal => Dash::Dotted,
        }
    }
}
