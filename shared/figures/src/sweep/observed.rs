//! Counts the spikes of a condition and a seed.

use std::ops::Range;

use granule_engine::{Model, Spike, TrialSpikes};
use granule_statistics::estimate::Estimate;
use ndarray::Array2;

use super::Measure;

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
    /// Spikes of all driven cells in the window: sum over trials, and sum of squares.
    of_trials: (u64, u64),
    /// Of each driven cell.
    tallies: Vec<CellTally>,
    /// Spikes of each driven cell in the window of the current trial, and the step of the first.
    of_trial: Vec<(u32, u32)>,
    detail: Detail,
    /// Numbers of the driven cells, and their spikes in each ms that figures show; `None` unless requested.
    cells: Option<(Vec<u32>, Array2<u32>)>,
    /// Each returned number of the trials that have it.
    returned: Vec<Vec<f64>>,
}

/// Sums over trials of a driven cell. They are whole numbers, so that the order of the trials does not matter.
#[derive(Clone, Copy, Debug, Default)]
struct CellTally {
    /// Trials with a spike in the window.
    responded: u32,
    /// Spikes in the window, and their squares.
    spikes: u64,
    spikes_squared: u64,
    /// Steps from the window's beginning to the first spike in it, of trials with one, and their squares.
    first: u64,
    first_squared: u64,
}

impl CellTally {
    fn add(&mut self, spikes: u32, first: u32) {
        let (spikes, first) = (u64::from(spikes), u64::from(first));
        self.responded += u32::from(spikes > 0);
        self.spikes += spikes;
        self.spikes_squared += spikes * spikes;
        if spikes > 0 {
            self.first += first;
            self.first_squared += first * first;
        }
    }
}

/// Returns the sum of the squared differences of all pairs of n values, exactly, from n, their sum and the sum of their
/// squares. It is n (n - 1) times the sample variance.
fn spread(n: u32, sum: u64, squares: u64) -> u128 {
    u128::from(n) * u128::from(squares) - u128::from(sum) * u128::from(sum)
}

/// Returns mean and sample variance from the number of values, their sum, and the sum of their squares.
fn moments(n: u32, sum: u64, squares: u64) -> (f64, f64) {
    let spread = spread(n, sum, squares);
    let n = f64::from(n);
    (sum as f64 / n, spread as f64 / (n * (n - 1.0)))
}

/// Returns the mean; `None` without values.
fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, n) = values.fold((0.0, 0_u32), |(sum, n), value| (sum + value, n + 1));
    (n > 0).then(|| sum / f64::from(n))
}

/// The counts of one condition and seed.
#[derive(Clone, Debug)]
pub struct Observed {
    /// Seed of the trials.
    pub seed: u32,
    /// Number of counted trials.
    pub trials: u32,
    /// Number of driven cells.
    pub driven: u32,
    /// The window in which responses were counted.
    pub window: Window,
    /// Values of [`Measure::of`] the condition, in that order; `None` if nothing can be measured.
    pub measures: Vec<Option<f64>>,
    /// Mean and variance over trials of the spikes of all driven cells in the window; `None` with fewer than two trials.
    pub of_trials: Option<(f64, f64)>,
    /// Spikes over time; `None` unless requested.
    pub courses: Option<Courses>,
}

impl Observed {
    /// Returns d′ between this condition and another by the spikes of a trial; `None` if no spikes vary.
    pub(super) fn discriminability(&self, reference: &Observed) -> Option<f64> {
        let ((mean, variance), (of_reference, variance_of_reference)) =
            (self.of_trials?, reference.of_trials?);
        let spread = ((variance + variance_of_reference) / 2.0).sqrt();
        (spread > 0.0).then(|| (mean - of_reference) / spread)
    }
}

/// A condition with its observations, one for each seed.
pub type OfCondition<'a> = (&'a ObservedCondition, &'a [Observed]);

/// Spikes over time.
#[derive(Clone, Debug)]
pub struct Courses {
    /// The range of the courses, in ms of the trial.
    pub ms: Range<usize>,
    /// Rate of each population in each ms, Hz. For the first population it is the rate of the driven cells.
    pub rates_hz: Vec<Vec<f64>>,
    /// Numbers of the driven cells, and their spikes per trial in each ms: (cells, ms). `None` unless requested.
    pub cells: Option<(Vec<u32>, Array2<f64>)>,
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
        let cells =
            (detail == Detail::Cells).then(|| (driven.to_vec(), Array2::zeros((driven.len(), shown.len()))));
        Counter {
            window,
            shown,
            model: model.clone(),
            places,
            driven: driven.len(),
            trials: 0,
            driven_spikes: vec![0; bins],
            spikes: vec![vec![0; bins]; sizes.len()],
            of_trials: (0, 0),
            tallies: vec![CellTally::default(); driven.len()],
            of_trial: vec![(0, 0); driven.len()],
            detail,
            cells,
            returned: vec![Vec::new(); model.facts().returns.len()],
        }
    }

    /// Counts the spikes of a trial.
    pub fn add(&mut self, spikes: &TrialSpikes) {
        self.trials += 1;
        for (numbers, elements) in self.returned.iter_mut().zip(&spikes.values) {
            if let [number] = elements[..]
                && !number.is_nan()
            {
                numbers.push(number);
            }
        }
        self.of_trial.fill((0, u32::MAX));
        let begin = self.window.ms.start as u32 * self.model.time().steps_per_ms;
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
            if self.window.ms.contains(&at) {
                let (spikes, first) = &mut self.of_trial[place];
                (*spikes, *first) = (*spikes + 1, (*first).min(spike.step - begin));
            }
            if let Some((_, cells)) = &mut self.cells
                && self.shown.contains(&at)
            {
                cells[[place, at - self.shown.start]] += 1;
            }
        }
        let all: u64 = self.of_trial.iter().map(|(spikes, _)| u64::from(*spikes)).sum();
        self.of_trials = (self.of_trials.0 + all, self.of_trials.1 + all * all);
        for (tally, &(spikes, first)) in self.tallies.iter_mut().zip(&self.of_trial) {
            tally.add(spikes, first);
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
        let tallies = || self.tallies.iter();
        let time = self.model.time();
        let per_step = 1.0 / f64::from(time.steps_per_ms);
        let stimulus = self.model.facts().stimulus_steps.iter().min().map(|step| f64::from(*step) * per_step);
        let zero = self.window.ms.start as f64 - stimulus.unwrap_or(self.window.ms.start as f64);
        let ratio = |(above, below): (f64, f64)| (below > 0.0).then(|| above / below);
        let value = |measure: Measure| match measure {
            Measure::Probability => {
                each.map(|each| tallies().map(|of| u64::from(of.responded)).sum::<u64>() as f64 / each)
            }
            Measure::Response => each.map(|each| sum(&self.driven_spikes, window.clone()) / each),
            Measure::Peak => each.map(|each| most / each),
            Measure::Reliable => each.map(|_| {
                tallies().filter(|of| 2 * u64::from(of.responded) >= u64::from(self.trials)).count() as f64
                    / driven
            }),
            Measure::Latency => {
                let (steps, firsts) = tallies()
                    .fold((0, 0), |(steps, firsts), of| (steps + of.first, firsts + u64::from(of.responded)));
                ratio((steps as f64, firsts as f64)).map(|mean| zero + mean * per_step)
            }
            Measure::Jitter => {
                let (squares, pairs) = tallies().fold((0, 0), |(squares, pairs), of| {
                    let trials = u128::from(of.responded);
                    // Each pair counts once here, with its squared difference, and twice below: half the mean is the variance.
                    let own = spread(of.responded, of.first, of.first_squared);
                    (squares + own, pairs + trials * trials.saturating_sub(1))
                });
                ratio((squares as f64, pairs as f64)).map(|variance| variance.sqrt() * per_step)
            }
            Measure::Fano if self.trials > 1 => {
                let of_cells = tallies().map(|of| moments(self.trials, of.spikes, of.spikes_squared));
                ratio(of_cells.fold((0.0, 0.0), |sums, (mean, variance)| (sums.0 + variance, sums.1 + mean)))
            }
            Measure::Fano => None,
            Measure::Before(place, _) => {
                per(sum(&self.spikes[place], 0..window.start), cells[place], window.start)
            }
            Measure::During(place, _) | Measure::Rate(place, _) => {
                per(sum(&self.spikes[place], window.clone()), cells[place], window.len())
            }
            Measure::Returned(place, _) => {
                // In ascending order, so that the order of the trials does not matter.
                let mut numbers = self.returned[place].clone();
                numbers.sort_by(f64::total_cmp);
                mean(numbers.into_iter())
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
                cells: self.cells.as_ref().map(|(driven, of)| {
                    (driven.clone(), of.mapv(|count| f64::from(count) / trials.max(1.0)))
                }),
                ms: self.shown.clone(),
            }
        });
        let has_spread = self.trials > 1 && self.driven > 0;
        let of_trials = has_spread.then(|| moments(self.trials, self.of_trials.0, self.of_trials.1));
        let driven = self.driven as u32;
        Observed { seed, trials: self.trials, driven, window: self.window, measures, of_trials, courses }
    }
}

fn count(counts: &mut [u64], at: usize) {
    if let Some(count) = counts.get_mut(at) {
        *count += 1;
    }
}

/// Returns the estimate of a measure over the seeds that have it.
pub(super) fn over_seeds(observed: &[Observed], measure: usize) -> Estimate {
    let values: Vec<f64> = observed.iter().filter_map(|of| of.measures[measure]).collect();
    Estimate::of(&values)
}

#[cfg(test)]
mod tests;
