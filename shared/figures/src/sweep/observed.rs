//! Counts the spikes of a condition and a seed.

use std::ops::Range;

use granule_engine::{Model, Spike, TrialSpikes};
use ndarray::Array2;

use super::Measure;
use crate::analysis::Summary;

/// The milliseconds in which responses are measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// The range in ms of a trial; its end is excluded.
    pub ms: Range<usize>,
}

impl Window {
    /// Returns the window for a model: from 10 ms before the first stimulus to 30 ms after the last. It has
    /// at least 60 ms, unless the trial ends earlier. For the paper's stimuli it is 1000 to 1060 ms. Without
    /// a stimulus it is the whole trial.
    pub fn of(model: &Model) -> Window {
        const BEFORE: usize = 10;
        const AFTER: usize = 30;
        const LEAST: usize = 60;
        let bins = model.time().bins();
        let stimuli =
            || model.facts().stimulus_steps.iter().map(|step| (step / model.time().steps_per_ms) as usize);
        let Some((first, last)) = stimuli().min().zip(stimuli().max()) else {
            return Window { ms: 0..bins };
        };
        let start = first.saturating_sub(BEFORE);
        Window { ms: start..(last + AFTER).max(start + LEAST).min(bins) }
    }

    /// Returns the range that figures show: the window, and a quarter of its length on both sides, within the
    /// trial.
    pub fn shown(&self, bins: usize) -> Range<usize> {
        let more = self.ms.len() / 4;
        self.ms.start.saturating_sub(more)..(self.ms.end + more).min(bins)
    }
}

/// A condition of a sweep.
#[derive(Clone, Debug)]
pub struct ObservedCondition {
    /// Name in the sweep.
    pub name: String,
    /// Engine and parameters.
    pub model: Model,
}

/// The counts that figures need besides the measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// None.
    Measures,
    /// Spikes of each population over time.
    Rates,
    /// Also those of each driven cell, which take memory.
    Cells,
}

/// Counts spikes of the trials of one condition and seed.
#[derive(Clone, Debug)]
pub struct Counter {
    window: Window,
    shown: Range<usize>,
    model: Model,
    /// For each cell of the first population, its index among the driven cells; `None` if it is not driven.
    places: Vec<Option<u32>>,
    driven: usize,
    trials: u32,
    /// Spikes of all driven cells in each ms.
    driven_spikes: Vec<u64>,
    /// Spikes of all cells of each population in each ms.
    spikes: Vec<Vec<u64>>,
    /// For each driven cell, the number of trials with a spike in the window.
    responded: Vec<u32>,
    detail: Detail,
    /// Spikes of each driven cell in each ms that figures show; `None` unless requested.
    cells: Option<Array2<u32>>,
    /// Sum of each returned number, and the number of trials that have it.
    returned: Vec<(f64, u32)>,
}

/// The counts of one condition and seed.
#[derive(Clone, Debug)]
pub struct Observed {
    /// Seed of the trials.
    pub seed: u32,
    /// Number of counted trials.
    pub trials: u32,
    /// Values of [`Measure::of`] the condition, in that order; `None` if nothing can be measured.
    pub measures: Vec<Option<f64>>,
    /// Spikes over time; `None` unless requested.
    pub courses: Option<Courses>,
}

/// Spikes over time.
#[derive(Clone, Debug)]
pub struct Courses {
    /// The range of the courses, in ms of the trial.
    pub ms: Range<usize>,
    /// Rate of each population in each ms, Hz. For the first population it is the rate of the driven cells.
    pub rates_hz: Vec<Vec<f64>>,
    /// Spikes per trial of each driven cell in each ms: (cells, ms). `None` unless requested.
    pub cells: Option<Array2<f64>>,
}

impl Counter {
    /// Creates a counter for a condition with these driven cells of the first population.
    pub fn new(model: &Model, driven: &[u32], window: Window, detail: Detail) -> Counter {
        let sizes = model.sizes();
        let mut places = vec![None; sizes.first().map_or(0, |cells| *cells as usize)];
        for (place, &cell) in (0..).zip(driven) {
            if let Some(entry) = places.get_mut(cell as usize) {
                *entry = Some(place);
            }
        }
        let bins = model.time().bins();
        let shown = window.shown(bins);
        let cells = (detail == Detail::Cells).then(|| Array2::zeros((driven.len(), shown.len())));
        Counter {
            window,
            shown,
            model: model.clone(),
            places,
            driven: driven.len(),
            trials: 0,
            driven_spikes: vec![0; bins],
            spikes: vec![vec![0; bins]; sizes.len()],
            responded: vec![0; driven.len()],
            detail,
            cells,
            returned: vec![(0.0, 0); model.facts().returns.len()],
        }
    }

    /// Counts the spikes of a trial.
    pub fn add(&mut self, spikes: &TrialSpikes) {
        self.trials += 1;
        for ((sum, trials), elements) in self.returned.iter_mut().zip(&spikes.values) {
            if let [number] = elements[..]
                && !number.is_nan()
            {
                (*sum, *trials) = (*sum + number, *trials + 1);
            }
        }
        let mut last_trial = vec![false; self.driven];
        let per_ms = self.model.time().steps_per_ms;
        let ms = |spike: &Spike| (spike.step / per_ms) as usize;
        for (counts, train) in self.spikes.iter_mut().zip(&spikes.trains) {
            train.iter().for_each(|spike| count(counts, ms(spike)));
        }
        for spike in spikes.trains.first().into_iter().flatten() {
            let at = ms(spike);
            let Some(place) = self.places.get(spike.cell as usize).copied().flatten() else { continue };
            let place = place as usize;
            count(&mut self.driven_spikes, at);
            if self.window.ms.contains(&at) && !std::mem::replace(&mut last_trial[place], true) {
                self.responded[place] += 1;
            }
            if let Some(cells) = &mut self.cells
                && self.shown.contains(&at)
            {
                cells[[place, at - self.shown.start]] += 1;
            }
        }
    }

    /// Returns the counts of all trials, for this seed.
    pub fn finish(self, seed: u32) -> Observed {
        let trials = f64::from(self.trials);
        let driven = self.driven as f64;
        let cells: Vec<f64> = self.model.sizes().iter().copied().map(f64::from).collect();
        let window = self.window.ms.clone();
        let sum = |counts: &[u64], ms: Range<usize>| counts[ms].iter().sum::<u64>() as f64;
        let per = |spikes: f64, cells: f64, ms: usize| {
            let observed = cells * trials * ms as f64 * 1e-3;
            (observed > 0.0).then(|| spikes / observed)
        };
        let most = self.driven_spikes[window.clone()].iter().max().copied().unwrap_or(0) as f64;
        let each = (driven * trials > 0.0).then_some(driven * trials);
        let responding = self.responded.iter().filter(|trials| **trials > 0).count() as f64;
        let value = |measure: Measure| match measure {
            Measure::Response => each.map(|each| sum(&self.driven_spikes, window.clone()) / each),
            Measure::Peak => each.map(|each| most / each),
            Measure::Responding => each.map(|_| responding / driven),
            Measure::Before(place, _) => {
                per(sum(&self.spikes[place], 0..window.start), cells[place], window.start)
            }
            Measure::During(place, _) | Measure::Rate(place, _) => {
                per(sum(&self.spikes[place], window.clone()), cells[place], window.len())
            }
            Measure::Returned(place, _) => {
                let (sum, trials) = self.returned[place];
                (trials > 0).then(|| sum / f64::from(trials))
            }
        };
        let measures = Measure::of(&self.model).into_iter().map(value).collect();
        let courses = (self.detail != Detail::Measures).then(|| {
            let rate = |counts: &[u64], cells: f64| {
                counts[self.shown.clone()]
                    .iter()
                    .map(|&count| per(count as f64, cells, 1).unwrap_or(0.0))
                    .collect()
            };
            let others = self.spikes.iter().zip(&cells).skip(1).map(|(counts, cells)| rate(counts, *cells));
            Courses {
                rates_hz: std::iter::once(rate(&self.driven_spikes, driven)).chain(others).collect(),
                cells: self.cells.as_ref().map(|of| of.mapv(|count| f64::from(count) / trials.max(1.0))),
                ms: self.shown.clone(),
            }
        });
        Observed { seed, trials: self.trials, measures, courses }
    }
}

fn count(counts: &mut [u64], at: usize) {
    if let Some(count) = counts.get_mut(at) {
        *count += 1;
    }
}

/// Returns mean and standard error of a measure over the seeds that have it.
pub(super) fn over_seeds(observed: &[Observed], measure: usize) -> Summary {
    let values: Vec<f64> = observed.iter().filter_map(|of| of.measures[measure]).collect();
    Summary::of(&values)
}
