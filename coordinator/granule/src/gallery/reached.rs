//! The measures of single trials, and the precision that their mean has reached in each condition.

use granule_engine::{Model, TrialSpikes};
use granule_figures::sweep::{Counter, Detail, Measure, Window};
use granule_outputs::OutputError;
use granule_outputs::selection::{Pair, Selection};
use granule_statistics::estimate::half_width_by_trials;

use super::cells::shown_cells;

/// The precision of a condition.
#[derive(Debug)]
pub(crate) struct Reached {
    pub(crate) condition: String,
    /// Half the width of the 95 % interval due to trials, in the unit of the measure. None without an interval.
    pub(crate) half_width: Option<f64>,
}

/// Returns the precision of this measure in each condition of a selection, from all of its trials.
///
/// # Errors
/// If the spikes of a trial cannot be read.
pub(super) fn reached(selection: &Selection<'_>, measure: &str) -> Result<Vec<Reached>, OutputError> {
    let of_condition = |pairs: &[Pair]| {
        let values =
            pairs.iter().map(|pair| values(selection, pair, measure)).collect::<Result<Vec<_>, _>>()?;
        let condition = selection.sweep.conditions[pairs[0].condition].name.clone();
        Ok(Reached { condition, half_width: half_width_by_trials(&values) })
    };
    selection.pairs.chunk_by(|a, b| a.condition == b.condition).map(of_condition).collect()
}

/// Returns the values of the trials that have one.
fn values(selection: &Selection<'_>, pair: &Pair, measure: &str) -> Result<Vec<f64>, OutputError> {
    let model = &selection.sweep.conditions[pair.condition].model;
    let driven = shown_cells(model, selection.sweep.seeds[pair.seed]);
    let Some(place) = place_of(model, measure) else { return Ok(Vec::new()) };
    let value = |&trial: &u32| {
        Ok(of_trial(model, &driven, &selection.spikes(pair, trial)?, place).filter(|value| !value.is_nan()))
    };
    pair.trials.iter().map(value).filter_map(Result::transpose).collect()
}

/// Returns the measures that a trial of this model has, with their places in [`Measure::of`].
pub(crate) fn measures(model: &Model) -> impl Iterator<Item = (usize, Measure)> {
    Measure::of(model).into_iter().enumerate().filter(|(_, measure)| measure.is_of_trial())
}

/// Returns the place of a measure of a trial in [`Measure::of`], by its name.
pub(crate) fn place_of(model: &Model, name: &str) -> Option<usize> {
    measures(model).find(|(_, measure)| measure.name() == name).map(|(at, _)| at)
}

/// Returns the measure with this place of one trial, in the measure's unit. `None` if the trial has no value.
pub(crate) fn of_trial(model: &Model, driven: &[u32], spikes: &TrialSpikes, place: usize) -> Option<f64> {
    let mut counter = Counter::new(model, driven, Window::of(model), Detail::Measures);
    counter.add(spikes);
    // The seed only labels the result.
    counter.finish(0).measures[place]
}
