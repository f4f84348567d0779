//! The paper's conditions, and the classes of cells by the change of their response.

use serde::Serialize;

use crate::drawing::{Color, Dash};

/// A condition of the paper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum PaperCondition {
    /// No drug is applied.
    Control,
    /// Inhibition is blocked.
    Gabazine,
    /// Muscarinic receptors are activated.
    Ach,
}

impl PaperCondition {
    /// All conditions, in the order in which figures show them.
    pub const ALL: [PaperCondition; 3] =
        [PaperCondition::Control, PaperCondition::Gabazine, PaperCondition::Ach];

    /// Returns the name in sweep files and pictures.
    pub fn name(self) -> &'static str {
        match self {
            PaperCondition::Control => "Control",
            PaperCondition::Gabazine => "GABAzine",
            PaperCondition::Ach => "ACh",
        }
    }

    /// Returns the name in columns of tables, which is also the prefix of output files' names.
    pub fn prefix(self) -> &'static str {
        match self {
            PaperCondition::Control => "control",
            PaperCondition::Gabazine => "gaba",
            PaperCondition::Ach => "ach",
        }
    }

    /// Returns the colour in all pictures. It is from Okabe and Ito's palette, which colour-blind readers can
    /// distinguish.
    pub fn color(self) -> Color {
        match self {
            PaperCondition::Control => Color::BLACK,
            PaperCondition::Gabazine => Color::rgb(213, 94, 0),
            PaperCondition::Ach => Color::rgb(0, 114, 178),
        }
    }

    /// Returns the dash pattern in all pictures, which distinguishes lines in greyscale.
    pub fn dash(self) -> Dash {
        match self {
            PaperCondition::Control | PaperCondition::Gabazine => Dash::Solid,
            PaperCondition::Ach => Dash::Dashed,
        }
    }
}

/// The change of the peak of a cell's spike probability from Control to ACh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// The peak grows.
    Increase,
    /// The peak shrinks, possibly to 0.
    Decrease,
    /// The peak stays the same.
    Equal,
}

impl Change {
    /// All classes.
    pub const ALL: [Change; 3] = [Change::Increase, Change::Decrease, Change::Equal];

    /// The classes that the figures compare.
    pub const COMPARED: [Change; 2] = [Change::Increase, Change::Decrease];

    /// Returns the class of a peak under ACh, given relative to the peak in Control.
    pub fn of(relative_peak: f64) -> Change {
        if relative_peak > 1.0 {
            Change::Increase
        } else if relative_peak < 1.0 {
            Change::Decrease
        } else {
            Change::Equal
        }
    }

    /// Returns the name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Change::Increase => "increase",
            Change::Decrease => "decrease",
            Change::Equal => "equal",
        }
    }

    /// Returns the colour in all pictures. It differs from the colours of conditions.
    pub fn color(self) -> Color {
        match self {
            Change::Increase => Color::rgb(143, 45, 131),
            Change::Decrease => Color::rgb(0, 158, 115),
            Change::Equal => Color::rgb(119, 119, 119),
        }
    }

    /// Returns the dash pattern in all pictures, which distinguishes lines in greyscale.
    pub fn dash(self) -> Dash {
        match self {
            Change::Increase => Dash::Solid,
            Change::Decrease => Dash::Dashed,
            Change::Equal => Dash::Dotted,
        }
    }
}
