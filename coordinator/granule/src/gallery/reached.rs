//! The precision that the mean of a measure has reached in each condition.

use granule_outputs::OutputError;
use granule_outputs::selection::{Pair, Selection};
use granule_statistics::estimate::half_width_by_trials;

use super::shown_cells;
use crate::commands::sweep_run::{of_trial, place_of};

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
