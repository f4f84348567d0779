//! Weights of the active mossy fibres, and factors per cell.

use crate::parameters::{CellFactor, Parameters, Weights};
use crate::random::numpy::RandomState;

/// The mean weight of each active fibre, in nS, in order of the fibres.
pub fn mean_weights(weights: &Weights, active: usize) -> Vec<f64> {
    let mut state = RandomState::new(weights.seed);
    (0..active).map(|_| state.gamma(weights.mean_nsiemens, weights.sd_nsiemens)).collect()
}

/// Per-trial seeds of the weights, for the first `trials` trials.
pub fn trial_seeds(weights: &Weights, trials: u32) -> Vec<u32> {
    let mut state = RandomState::new(weights.trial_seed);
    (0..trials).map(|_| state.integer(1, 1000)).collect()
}

/// The weight of each active fibre in one trial, in nS: a draw from a gamma distribution whose
/// standard deviation equals its mean, from a generator that is made anew for every fibre.
pub fn trial_weights(means: &[f64], trial_seed: u32) -> Vec<f64> {
    let fresh = RandomState::new(trial_seed);
    means.iter().map(|&mean| fresh.clone().gamma(mean, mean)).collect()
}

/// Random weights of a run of trials.
#[derive(Clone, Debug, PartialEq)]
pub struct RandomWeights {
    means: Vec<f64>,
    seeds: Vec<u32>,
}

impl RandomWeights {
    /// The weights of the first `trials` trials, for `active` fibres; none where they are fixed.
    pub fn new(parameters: &Parameters, active: usize, trials: u32) -> Option<RandomWeights> {
        let weights = &parameters.weights;
        weights.random.then(|| RandomWeights {
            means: mean_weights(weights, active),
            seeds: trial_seeds(weights, trials),
        })
    }

    /// The weight of each active fibre in this trial, in nS.
    ///
    /// # Panics
    /// If the trial lies outside the run.
    pub fn of_trial(&self, trial: u32) -> Vec<f64> {
        trial_weights(&self.means, self.seeds[trial as usize])
    }
}

/// The factor of each cell.
pub fn cell_factors(factor: &CellFactor, cells: u32) -> Vec<f64> {
    match *factor {
        CellFactor::Constant(x) => vec![x; cells as usize],
        CellFactor::Gamma { mean, sd, seed } => {
            let mut state = RandomState::new(seed);
            (0..cells).map(|_| state.gamma(mean, sd)).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fibres_draw_from_equal_generators() {
        // The same generator for every fibre: where the shape is the same, so is the draw.
        let weights = trial_weights(&[0.25, 0.5, 0.25], 837);
        assert_eq!(weights[0], weights[2]);
        assert_eq!(weights[1], 2.0 * weights[0]);
    }

    #[test]
    fn trials_do_not_depend_on_how_many_there_are() {
        let parameters = Parameters::default();
        let few = RandomWeights::new(&parameters, 8, 3).unwrap();
        let many = RandomWeights::new(&parameters, 8, 300).unwrap();
        assert_eq!(few.of_trial(2), many.of_trial(2));
        assert_eq!(trial_seeds(&parameters.weights, 4), [837, 321, 256, 818]);
    }

    #[test]
    fn fixed_weights_are_not_drawn() {
        let mut parameters = Parameters::default();
        parameters.weights.random = false;
        assert_eq!(RandomWeights::new(&parameters, 8, 3), None);
    }
}
