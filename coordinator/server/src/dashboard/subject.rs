//! What a sweep is, for its pages: all that does not change while it runs.

use granule_sweep::Sweep;
use serde::Serialize;

use super::counts::bin_ms;

/// A sweep.
#[derive(Debug, Serialize)]
pub(super) struct Subject {
    sweep: String,
    engine: &'static str,
    granule: &'static str,
    seeds: Vec<u32>,
    /// Trials of each condition and seed.
    trials: u32,
    pub(super) conditions: Vec<Condition>,
}

#[derive(Debug, Serialize)]
pub(super) struct Condition {
    name: String,
    granule_cells: u32,
    golgi_cells: u32,
    duration_ms: u32,
    bin_ms: u32,
    stimulus_ms: Vec<f64>,
}

/// Spikes of the stimulus that are shown.
const MOST_TIMES: usize = 50;

impl Subject {
    pub(super) fn new(sweep: &Sweep) -> Subject {
        let condition = |condition: &granule_sweep::Condition| {
            let model = &condition.model;
            let parameters = model.parameters();
            Condition {
                name: condition.name.clone(),
                granule_cells: parameters.network.granule_cells,
                golgi_cells: parameters.network.golgi_cells,
                duration_ms: model.steps() / model.steps_per_ms(),
                bin_ms: bin_ms(model),
                stimulus_ms: parameters.stimulus.times_ms.iter().copied().take(MOST_TIMES).collect(),
            }
        };
        Subject {
            sweep: sweep.name.clone(),
            engine: sweep.engine.name(),
            granule: env!("CARGO_PKG_VERSION"),
            seeds: sweep.seeds.clone(),
            trials: sweep.trials,
            conditions: sweep.conditions.iter().map(condition).collect(),
        }
    }
}
