//! A condition that its engine has checked.

use std::sync::Arc;

use crate::engine::Engine;
use crate::key::{CohortKey, Fingerprint};
use crate::space::Values;
use crate::time::TimeAxis;

/// A condition that its engine has checked: an engine, the values of all parameters, and what follows from them.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    engine: &'static dyn Engine,
    values: Values,
    facts: Arc<Facts>,
}

/// What an engine says of a condition, as far as others need it.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// Size of each population, in the order of [`Engine::populations`].
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

impl Model {
    /// Checks the values against each other.
    ///
    /// # Errors
    /// The first contradiction that the engine finds.
    pub fn new(engine: &'static dyn Engine, values: Values) -> Result<Model, Inconsistent> {
        let facts = Arc::new(engine.check(&values)?);
        Ok(Model { engine, values, facts })
    }

    /// The engine that computes it.
    pub fn engine(&self) -> &'static dyn Engine {
        self.engine
    }

    /// The values of all parameters.
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// What follows from the values.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Identity of the condition.
    pub fn fingerprint(&self) -> Fingerprint {
        self.facts.fingerprint
    }

    /// Time axis of a trial.
    pub fn time(&self) -> &TimeAxis {
        &self.facts.time
    }

    /// Size of each population.
    pub fn sizes(&self) -> &[u32] {
        &self.facts.sizes
    }
}
