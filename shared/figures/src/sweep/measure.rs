//! Measures of a condition and a seed.

use granule_engine::{Model, Population, Returned};

/// A number that describes a condition and a seed. Its expected value does not depend on the number of trials, except
/// that [`Measure::Peak`] and [`Measure::Reliable`] are slightly biased with few spikes. docs/figures.md has the formulas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Probability that a driven cell spikes in the window of a trial, mean over cells.
    Probability,
    /// Spikes per driven cell in the window, mean over cells and trials.
    Response,
    /// Largest mean spike count of driven cells in a ms of the window.
    Peak,
    /// Fraction of the driven cells that spike in the window in at least half of the trials.
    Reliable,
    /// Time from the first stimulus to the first spike of a driven cell in the window, ms. It is the mean over all cells
    /// and trials with a spike.
    Latency,
    /// Standard deviation over trials of that time, ms. It is the root of half the mean squared difference, over all pairs
    /// of trials in which the same cell spikes. For a single cell, this is the sample standard deviation.
    Jitter,
    /// Variance over trials of a driven cell's spikes in the window, mean over cells, divided by the mean over cells and
    /// trials.
    Fano,
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
        let mut measures = vec![
            Measure::Probability,
            Measure::Response,
            Measure::Peak,
            Measure::Reliable,
            Measure::Latency,
            Measure::Jitter,
            Measure::Fano,
        ];
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
            Measure::Probability => "response_probability".to_owned(),
            Measure::Response => "spikes_per_driven_cell".to_owned(),
            Measure::Peak => "peak_spikes_per_ms".to_owned(),
            Measure::Reliable => "reliable_fraction".to_owned(),
            Measure::Latency => "first_spike_latency_ms".to_owned(),
            Measure::Jitter => "first_spike_jitter_ms".to_owned(),
            Measure::Fano => "fano_factor".to_owned(),
            Measure::Before(_, population) => format!("{}_before_hz", population.name),
            Measure::During(_, population) => format!("{}_during_hz", population.name),
            Measure::Rate(_, population) => format!("{}_hz", population.name),
            Measure::Returned(_, returned) => returned.name.to_owned(),
        }
    }

    /// Whether one trial has this measure.
    pub fn is_of_trial(self) -> bool {
        !matches!(self, Measure::Reliable | Measure::Jitter | Measure::Fano)
    }

    /// Whether figures and reports with little room show the measure.
    pub fn is_main(self) -> bool {
        !matches!(self, Measure::Reliable | Measure::Jitter | Measure::Fano | Measure::Before(..))
    }

    /// Returns the definition, for people.
    pub fn definition(self) -> String {
        match self {
            Measure::Probability => {
                "fraction of the trials in which a driven cell spikes in the window; mean over cells".to_owned()
            }
            Measure::Response => "spikes of a driven cell in the window; mean over trials and cells".to_owned(),
            Measure::Peak => {
                "spikes of a driven cell in one ms, mean over trials and cells; the largest value in the window".to_owned()
            }
            Measure::Reliable => {
                "fraction of the driven cells that spike in the window in at least half of the trials".to_owned()
            }
            Measure::Latency => "time from the first stimulus to a driven cell's first spike in the window; mean over all \
                                 cells and trials with one"
                .to_owned(),
            Measure::Jitter => "standard deviation of that time over trials: root of half the mean squared difference, over \
                                all pairs of trials in which the same cell spikes"
                .to_owned(),
            Measure::Fano => "variance over trials of a driven cell's number of spikes in the window, mean over cells; divided \
                              by the mean over cells and trials"
                .to_owned(),
            Measure::Before(_, population) => {
                format!("rate of all {}, from the beginning of the trial to the window", population.cells)
            }
            Measure::During(_, population) | Measure::Rate(_, population) => {
                format!("rate of all {} in the window", population.cells)
            }
            Measure::Returned(_, returned) if returned.about.is_empty() => {
                "returned by the program; mean over trials".to_owned()
            }
            Measure::Returned(_, returned) => format!("{}; mean over trials", returned.about),
        }
    }

    /// Returns the unit, for tables with a row for each measure; empty for none.
    pub fn unit(self) -> &'static str {
        match self {
            Measure::Probability | Measure::Response | Measure::Reliable | Measure::Fano => "",
            Measure::Peak => "1/ms",
            Measure::Latency | Measure::Jitter => "ms",
            Measure::Before(..) | Measure::During(..) | Measure::Rate(..) => "Hz",
            Measure::Returned(_, returned) => returned.unit,
        }
    }

    /// Returns the label of an axis.
    pub fn label(self) -> String {
        match self {
            Measure::Probability => "Response probability".to_owned(),
            Measure::Response => "Spikes per driven cell".to_owned(),
            Measure::Peak => "Peak (spikes/cell/ms)".to_owned(),
            Measure::Reliable => "Reliable cells (fraction)".to_owned(),
            Measure::Latency => "First spike (ms)".to_owned(),
            Measure::Jitter => "Jitter (ms)".to_owned(),
            Measure::Fano => "Fano factor".to_owned(),
            Measure::Before(_, population) => format!("{}, before (Hz)", capitalised(population.cells)),
            Measure::During(_, population) => format!("{}, during (Hz)", capitalised(population.cells)),
            Measure::Rate(_, population) => format!("{} (Hz)", capitalised(population.cells)),
            Measure::Returned(_, Returned { name, unit: "", .. }) => capitalised(&name.replace('_', " ")),
            Measure::Returned(_, of) => format!("{} ({})", capitalised(&of.name.replace('_', " ")), of.unit),
        }
    }
}

pub(super) fn capitalised(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().into_iter().flat_map(char::to_uppercase).chain(rest).collect()
}
