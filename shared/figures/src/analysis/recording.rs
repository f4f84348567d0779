//! The input of an analysis: the arrays of one seed, as a sweep writes them.

use std::collections::BTreeMap;

use ndarray::{ArrayView1, ArrayView2};

use crate::PaperCondition;

/// Weight in nS in each trial, by active mossy fibre.
pub type RecordedWeights = BTreeMap<i64, Vec<f64>>;

/// The arrays of one seed in the paper's three conditions.
#[derive(Clone, Debug)]
pub struct Recording<'a> {
    /// Arrays of Control.
    pub control: Responses<'a>,
    /// Arrays of GABAzine.
    pub gabazine: Responses<'a>,
    /// Arrays of ACh.
    pub ach: Responses<'a>,
    /// Conductances of the driven cells in Control; `None` if not recorded.
    pub conductances: Option<DrivenConductances<'a>>,
    /// Factor on tonic inhibition under ACh, per driven cell; `None` if not recorded.
    pub tonic_factors: Option<ArrayView1<'a, f64>>,
}

impl<'a> Recording<'a> {
    /// Returns the arrays of a condition.
    pub fn responses(&self, condition: PaperCondition) -> &Responses<'a> {
        match condition {
            PaperCondition::Control => &self.control,
            PaperCondition::Gabazine => &self.gabazine,
            PaperCondition::Ach => &self.ach,
        }
    }
}

/// The arrays of one condition.
#[derive(Clone, Debug)]
pub struct Responses<'a> {
    /// Fraction of trials with a spike, per ms: (granule cells, ms).
    pub probability: ArrayView2<'a, f64>,
    /// Mossy fibre and granule cell of every synapse from an active fibre: (synapses, 2). Required for
    /// Control; those of other conditions must be equal to them. With fixed weights no file has them, but
    /// they follow from the sweep: see `Structure::active_connections` in the crate `granule-granular`.
    pub connections: Option<ArrayView2<'a, i32>>,
    /// Weights must be equal in all conditions that have them. With fixed weights there are none.
    pub weights: Option<&'a RecordedWeights>,
}

/// Conductances of the driven cells in nS: (driven cells, ms).
#[derive(Clone, Debug)]
pub struct DrivenConductances<'a> {
    /// Sum over a cell's excitatory synapses.
    pub excitation: ArrayView2<'a, f64>,
    /// Sum over a cell's inhibitory synapses.
    pub inhibition: ArrayView2<'a, f64>,
}
