//! Measures of a condition and a seed.

use granule_engine::{Model, Population, Returned};

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
    /// The same, of a model without a stimulus.
    Rate(usize, Population),
    /// The returned number with this index, mean over trials.
    Returned(usize, Returned),
}

impl Measure {
    /// Returns the measures of conditions like this one, in the order in which figures show them. The driven cells
    /// are of the first population. A model of the user's own has a rate for each population, and each returned number.
    pub fn of(model: &Model) -> Vec<Measure> {
        let populations = model.engine().populations();
        if model.engine().is_program() {
            let rates = populations.iter().enumerate().map(|(place, of)| Measure::Rate(place, *of));
            let numbers = model.engine().returns().iter().zip(&model.facts().returns).enumerate();
            let numbers = numbers.filter(|(_, (_, axes))| axes.is_empty());
            return rates.chain(numbers.map(|(place, (of, _))| Measure::Returned(place, *of))).collect();
        }
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
            Measure::Rate(_, population) => format!("{}_hz", population.name),
            Measure::Returned(_, returned) => returned.name.to_owned(),
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
            Measure::Rate(_, population) => format!("{} (Hz)", capitalised(population.cells)),
            Measure::Returned(_, Returned { name, unit: "", .. }) => capitalised(&name.replace('_', " ")),
            Measure::Returned(_, of) => format!("{} ({})", capitalised(&of.name.replace('_', " ")), of.unit),
        }
    }
}

fn capitalised(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().into_iter().flat_map(char::to_uppercase).chain(rest).collect()
}
