//! Weights of the active mossy fibres, and factors per cell.

use granule_engine::space::CellFactor;

use crate::Method;
use crate::parameters::{Parameters, Weights};
use crate::random::keyed::Streams;
use crate::random::numpy::RandomState;

/// Draws the mean weight of each active fibre, in nS, in order of the fibres.
pub fn mean_weights(weights: &Weights, active: usize) -> Vec<f64> {
    let mut state = RandomState::new(weights.seed);
    (0..active).map(|_| state.gamma(weights.mean_nsiemens, weights.sd_nsiemens)).collect()
}

/// Draws the seed of the weights of each of the first `trials` trials.
pub fn trial_seeds(weights: &Weights, trials: u32) -> Vec<u32> {
    let mut state = RandomState::new(weights.trial_seed);
    (0..trials).map(|_| state.integer(1, 1000)).collect()
}

/// Draws the weight of each active fibre in one trial, in nS. The distribution is a gamma distribution whose standard
/// deviation equals its mean. Each fibre draws from a new generator with the same seed.
pub fn trial_weights(means: &[f64], trial_seed: u32) -> Vec<f64> {
    let fresh = RandomState::new(trial_seed);
    means.iter().map(|&mean| fresh.clone().gamma(mean, mean)).collect()
}

/// Random weights of a sequence of trials.
#[derive(Clone, Debug)]
pub struct RandomWeights {
    means: Vec<f64>,
    draws: Draws,
}

/// Source of the draws of each trial. With either engine, all fibres of a trial have the same draw, scaled by their
/// means.
#[derive(Clone, Debug)]
enum Draws {
    /// A seed for each trial.
    Seeded(Vec<u32>),
    /// The seed of the network and the seed of trials.
    Keyed([u32; 2]),
}

impl RandomWeights {
    /// Prepares the weights of the first `trials` trials, for these active fibres. Returns `None` if weights are fixed.
    pub fn new(
        engine: Method,
        parameters: &Parameters,
        seed: u32,
        active: &[u32],
        trials: u32,
    ) -> Option<RandomWeights> {
        let weights = &parameters.weights;
        weights.random.then(|| match engine {
            Method::Pcg => {
                let of_fibers = Streams::new("mean weight", &[seed, weights.seed]);
                let mean =
                    |&fiber: &u32| of_fibers.scalars(fiber).gamma(weights.mean_nsiemens, weights.sd_nsiemens);
                RandomWeights {
                    means: active.iter().map(mean).collect(),
                    draws: Draws::Keyed([seed, weights.trial_seed]),
                }
            }
            Method::Brian2_2_2_1 => RandomWeights {
                means: mean_weights(weights, active.len()),
                draws: Draws::Seeded(trial_seeds(weights, trials)),
            },
        })
    }

    /// Draws the weight of each active fibre in this trial, in nS.
    ///
    /// # Panics
    /// If the trial is not one of the first `trials` trials.
    pub fn of_trial(&self, trial: u32) -> Vec<f64> {
        match &self.draws {
            Draws::Seeded(seeds) => trial_weights(&self.means, seeds[trial as usize]),
            Draws::Keyed(seeds) => {
                let draw = Streams::new("weight of a trial", seeds).scalars(trial).exponential();
                self.means.iter().map(|mean| mean * draw).collect()
            }
        }
    }
}

/// Returns the factor of each cell.
pub fn cell_factors(engine: Method, factor: &CellFactor, seed: u32, cells: u32) -> Vec<f64> {
    match (*factor, engine) {
        (CellFactor::Constant(x), _) => vec![x; cells as usize],
        (CellFactor::Gamma { mean, sd, seed: own }, Method::Pcg) => {
            let streams = Streams::new("factor of a cell", &[seed, own]);
            (0..cells).map(|cell| streams.scalars(cell).gamma(mean, sd)).collect()
        }
        (CellFactor::Gamma { mean, sd, seed: own }, Method::Brian2_2_2_1) => {
            let mut state = RandomState::new(own);
            (0..cells).map(|_| state.gamma(mean, sd)).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fibres_draw_from_equal_generators() {
        // Every fibre has the same generator: equal shapes give equal draws.
        let weights = trial_weights(&[0.25, 0.5, 0.25], 837);
        assert_eq!(weights[0], weights[2]);
        assert_eq!(weights[1], 2.0 * weights[0]);
    }

    #[test]
    fn trials_do_not_depend_on_how_many_there_are() {
        let parameters = Parameters::default();
        for engine in Method::ALL.iter().copied() {
            let of = |trials| RandomWeights::new(engine, &parameters, 451, &[3, 5, 8], trials).unwrap();
            assert_eq!(of(3).of_trial(2), of(300).of_trial(2));
        }
        assert_eq!(trial_seeds(&parameters.weights, 4), [837, 321, 256, 818]);
    }

    #[test]
    fn fixed_weights_are_not_drawn() {
        let mut parameters = Parameters::default();
        parameters.weights.random = false;
        for engine in Method::ALL.iter().copied() {
            assert!(RandomWeights::new(engine, &parameters, 451, &[3, 5], 3).is_none());
        }
    }

    #[test]
    fn keyed_weights_and_factors_belong_to_their_fibre_and_cell() {
        let of = |active: &[u32]| {
            RandomWeights::new(Method::Pcg, &Parameters::default(), 451, active, 3).unwrap().of_trial(1)
        };
        assert_eq!(of(&[3, 5, 8])[1..], of(&[5, 8]));
        let factor = CellFactor::Gamma { mean: 0.4, sd: 0.07, seed: 1 };
        let many = cell_factors(Method::Pcg, &factor, 451, 1000);
        assert!(many.starts_with(&cell_factors(Method::Pcg, &factor, 451, 10)));
        assert_ne!(many[..10], cell_factors(Method::Pcg, &factor, 452, 10));
    }
}
