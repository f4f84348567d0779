//! What an analysis needs of one seed: the arrays that a sweep writes.

use std::collections::BTreeMap;

use ndarray::{ArrayView1, ArrayView2};

use crate::Condition;

/// Active mossy fibre → its weight in nS in each trial.
pub type Weights = BTreeMap<i64, Vec<f64>>;

/// The arrays of one seed in the paper's three conditions.
#[derive(Clone, Debug)]
pub struct Recording<'a> {
    /// Under Control.
    pub control: Responses<'a>,
    /// Under GABAzine.
    pub gabazine: Responses<'a>,
    /// Under ACh.
    pub ach: Responses<'a>,
    /// Of the driven cells under Control; none where they were not recorded.
    pub conductances: Option<Conductances<'a>>,
    /// Factor on tonic inhibition under ACh of each driven cell; none where it was not recorded.
    pub tonic_factors: Option<ArrayView1<'a, f64>>,
}

impl<'a> Recording<'a> {
    /// What was recorded in a condition.
    pub fn responses(&self, condition: Condition) -> &Responses<'a> {
        match condition {
            Condition::Control => &self.control,
            Condition::Gabazine => &self.gabazine,
            Condition::Ach => &self.ach,
        }
    }
}

/// What was recorded in one condition.
#[derive(Clone, Debug)]
pub struct Responses<'a> {
    /// Fraction of trials with a spike: (granule cells, ms).
    pub probability: ArrayView2<'a, f64>,
    /// Mossy fibre and granule cell of every synapse from an active fibre: (synapses, 2). Needed of Control;
    /// of the others compared with that. No file has them with fixed weights, but they follow from the sweep:
    /// `active_connections` of granule-sim's `Structure`.
    pub connections: Option<ArrayView2<'a, i32>>,
    /// Compared between conditions where there are any; none with fixed weights.
    pub weights: Option<&'a Weights>,
}

/// Conductances of the driven cells, in nS: (driven cells, ms).
#[derive(Clone, Debug)]
pub struct Conductances<'a> {
    /// Summed over excitatory synapses.
    pub excitation: ArrayView2<'a, f64>,
    /// Summed over inhibitory synapses.
    pub inhibition: ArrayView2<'a, f64>,
}
