//! The data of a sweep, for its pages, that do not change while it runs.

use granule_sweep::Sweep;
use serde::Serialize;

use super::counts::bin_ms;

/// A sweep, as pages get it.
#[derive(Debug, Serialize)]
pub(super) struct ShownSweep {
    sweep: String,
    engine: &'static str,
    granule: &'static str,
    seeds: Vec<u32>,
    populations: Vec<ShownPopulation>,
    pub(super) conditions: Vec<ShownCondition>,
}

#[derive(Debug, Serialize)]
struct ShownPopulation {
    /// The population's name, for people.
    label: String,
}

#[derive(Debug, Serialize)]
pub(super) struct ShownCondition {
    name: String,
    /// Cells of each population.
    sizes: Vec<u32>,
    duration_ms: u32,
    bin_ms: u32,
    stimulus_ms: Vec<f64>,
}

/// Most spikes of the stimulus that are shown.
const MOST_TIMES: usize = 50;

impl ShownSweep {
    pub(super) fn new(sweep: &Sweep) -> ShownSweep {
        let condition = |condition: &granule_sweep::Condition| {
            let model = &condition.model;
            ShownCondition {
                name: condition.name.clone(),
                sizes: model.sizes().to_vec(),
                duration_ms: model.time().bins() as u32,
                bin_ms: bin_ms(model),
                stimulus_ms: model.facts().stimuli_ms.iter().copied().take(MOST_TIMES).collect(),
            }
        };
        ShownSweep {
            sweep: sweep.name.clone(),
            engine: sweep.engine.name(),
            granule: env!("CARGO_PKG_VERSION"),
            seeds: sweep.seeds.clone(),
            populations: sweep
                .engine
                .populations()
                .iter()
                .map(|of| ShownPopulation { label: format!("all {}", of.cells) })
                .collect(),
            conditions: sweep.conditions.iter().map(condition).collect(),
        }
    }
}
