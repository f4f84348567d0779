//! What a condition is measured by.

use serde::Serialize;

/// A number of a condition and a seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Measure {
    /// Spikes of a driven granule cell in the window, mean over cells and trials.
    Response,
    /// Largest mean spike count of driven granule cells in a ms of the window.
    Peak,
    /// Fraction of the driven granule cells that spike in the window in any trial.
    Responding,
    /// Rate of all granule cells before the window, Hz.
    Background,
    /// Rate of Golgi cells before the window, Hz.
    GolgiBefore,
    /// Rate of Golgi cells in the window, Hz.
    GolgiDuring,
}

impl Measure {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Measure; 6] = [
        Measure::Response,
        Measure::Peak,
        Measure::Responding,
        Measure::Background,
        Measure::GolgiBefore,
        Measure::GolgiDuring,
    ];

    /// The name in tables, with the unit.
    pub fn name(self) -> &'static str {
        match self {
            Measure::Response => "spikes_per_driven_cell",
            Measure::Peak => "peak_spikes_per_ms",
            Measure::Responding => "responding_fraction",
            Measure::Background => "granule_before_hz",
            Measure::GolgiBefore => "golgi_before_hz",
            Measure::GolgiDuring => "golgi_during_hz",
        }
    }

    /// What stands at an axis.
    pub fn label(self) -> &'static str {
        match self {
            Measure::Response => "Spikes per driven cell",
            Measure::Peak => "Peak (spikes/cell/ms)",
            Measure::Responding => "Cells that respond (fraction)",
            Measure::Background => "Granule cells, before (Hz)",
            Measure::GolgiBefore => "Golgi cells, before (Hz)",
            Measure::GolgiDuring => "Golgi cells, during (Hz)",
        }
    }
}
