//! Measures of a condition and a seed.

use granule_engine::Population;

/// A number that describes a condition and a seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Spikes per driven cell in the window, mean over cells and trials.
    Response,
    /// Largest mean spike count of driven cells in a ms of the window.
    Peak,
    /// Fraction of the driven cells that spike in the window in any trial.
    Responding,
    /// Rate of all cells of the population with this index before the window, Hz.
    Before(usize, Population),
    /// Rate of all cells of the population with this index in the window, Hz.
    During(usize, Population),
}

impl Measure {
    /// Returns the measures for these populations, in the order in which figures show them. The driven cells
    /// are of the first population.
    pub fn of(populations: &[Population]) -> Vec<Measure> {
        let mut measures = vec![Measure::Response, Measure::Peak, Measure::Responding];
        for (place, &population) in populations.iter().enumerate() {
            measures.push(Measure::Before(place, population));
            if place > 0 {
                measures.push(Measure::During(place, population));
            }
        }
        measures
    }

    /// Returns the name in tables, with the unit.
    pub fn name(self) -> String {
        match self {
            Measure::Response => "spikes_per_driven_cell".to_owned(),
            Measure::Peak => "peak_spikes_per_ms".to_owned(),
            Measure::Responding => "responding_fraction".to_owned(),
            Measure::Before(_, population) => format!("{}_before_hz", population.name),
            Measure::During(_, population) => format!("{}_during_hz", population.name),
        }
    }

    /// Returns the label of an axis.
    pub fn label(self) -> String {
        match self {
            Measure::Response => "Spikes per driven cell".to_owned(),
            Measure::Peak => "Peak (spikes/cell/ms)".to_owned(),
            Measure::Responding => "Cells that respond (fraction)".to_owned(),
            Measure::Before(_, population) => format!("{}, before (Hz)", capitalised(population.cells)),
            Measure::During(_, population) => format!("{}, during (Hz)", capitalised(population.cells)),
        }
    }
}

fn capitalised(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().into_iter().flat_map(char::to_uppercase).chain(rest).collect()
}
