//! Facts that engines derive from the values of a condition.

use crate::key::{CohortKey, Fingerprint};
use crate::time::TimeAxis;

/// The identity of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Identity of its results.
    pub fingerprint: Fingerprint,
    /// The fingerprint that version 0.1.0 computed for it.
    pub fingerprint_0_1_0: Fingerprint,
    /// Conditions of a seed with equal cohort keys can be computed together.
    pub cohort: CohortKey,
}

/// The facts about a condition that the other parts of granule need, besides its [`Identity`]. Many conditions of a sweep
/// have the same facts.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// Size of each population, in the order of [`Engine::populations`](crate::Engine::populations).
    pub sizes: Vec<u32>,
    /// Lengths of the axes of each returned number or array, in the order of
    /// [`Engine::returns`](crate::Engine::returns); none for a number.
    pub returns: Vec<Vec<u32>>,
    /// Time axis of a trial.
    pub time: TimeAxis,
    /// Number of items of the stream that a trial reads.
    pub items_per_trial: u64,
    /// Cost of a trial that its conditions share, in any unit that is the same for all conditions.
    pub cost_per_trial: f64,
    /// Largest number of spikes that a trial can have.
    pub most_spikes: u64,
    /// Times of the stimuli, ascending, ms.
    pub stimuli_ms: Vec<f64>,
    /// The steps in which these times fall, ascending.
    pub stimulus_steps: Vec<u32>,
}

/// The error of values that contradict each other, although each is in range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Inconsistent {
    /// The contradiction.
    pub message: String,
    /// The parameters involved. Messages point at the first.
    pub paths: Vec<&'static str>,
    /// A remedy, in one line.
    pub remedy: String,
}
