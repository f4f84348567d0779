//! What engines say of conditions.

use crate::key::{CohortKey, Fingerprint};
use crate::time::TimeAxis;

/// What an engine says of a condition, as far as others need it.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// Size of each population, in the order of [`Engine::populations`](crate::Engine::populations).
    pub sizes: Vec<u32>,
    /// Time axis of a trial.
    pub time: TimeAxis,
    /// Identity of the condition.
    pub fingerprint: Fingerprint,
    /// The identity that version 0.1.0 gave to it.
    pub fingerprint_0_1_0: Fingerprint,
    /// Conditions of a seed with equal cohort keys can be computed together.
    pub cohort: CohortKey,
    /// Items of the stream that a trial reads.
    pub items_per_trial: u64,
    /// Cost of a trial without the part of each condition, in any unit that all conditions share.
    pub cost_per_trial: f64,
    /// Spikes that a trial can have at most.
    pub most_spikes: u64,
    /// Times at which something is done to the network, ascending, ms.
    pub stimuli_ms: Vec<f64>,
    /// The steps that these times fall in, ascending.
    pub stimulus_steps: Vec<u32>,
}

/// Values that are each in range do not make a model together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Inconsistent {
    /// What does not fit.
    pub message: String,
    /// Parameters that have a part in it; the one to point at first.
    pub paths: Vec<&'static str>,
    /// What to do about it, in one line.
    pub remedy: String,
}
