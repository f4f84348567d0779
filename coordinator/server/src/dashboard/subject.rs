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
    populations: Vec<Population>,
    pub(super) conditions: Vec<Condition>,
}

#[derive(Debug, Serialize)]
struct Population {
    /// For people.
    label: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Condition {
    name: String,
    /// Cells of each population.
    sizes: Vec<u32>,
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
            Condition {
                name: condition.name.clone(),
                sizes: model.sizes().to_vec(),
                duration_ms: model.time().bins() as u32,
                bin_ms: bin_ms(model),
                stimulus_ms: model.facts().stimuli_ms.iter().copied().take(MOST_TIMES).collect(),
            }
        };
        Subject {
            sweep: sweep.name.clone(),
            engine: sweep.engine.name(),
            granule: env!("CARGO_PKG_VERSION"),
            seeds: sweep.seeds.clone(),
            trials: sweep.trials,
            populations: sweep
                .engine
                .populations()
                .iter()
                .map(|of| Population { label: format!("all {}", of.cells) })
                .collect(),
            conditions: sweep.conditions.iter().map(condition).collect(),
        }
    }
}
