//! Figures of any sweep: spikes over time, their dependence on parameters, and differences between seeds.
//!
//! ```text
//! spikes of trials → Counter → Observed (a condition and a seed) → psth, heat_map, responses, seeds → Figure
//! spikes of a trial → RasterTrial → raster → Figure
//! conductances of a condition → Traces → conductances → Figure
//! ```
//!
//! Populations and parameters are those of the engine. Of the first population, figures show the driven
//! cells. The caller states which cells are driven, and describes them in words with a [`Drive`].

mod compare;
mod dose;
mod forest;
mod heat;
mod influence;
mod matrix;
mod measure;
mod observed;
mod raster;
mod seeds;
mod sensitivity;
mod show;
mod time;
mod traces;
mod varied;

pub use compare::{comparison, estimates, measures};
pub use dose::{DoseAxis, axes, responses};
pub use forest::forest;
pub use heat::heat_map;
pub use influence::influences;
pub use matrix::matrices;
pub use measure::Measure;
pub use observed::{Counter, Courses, Detail, Observed, ObservedCondition, OfCondition, Window};
pub use raster::{RasterTrial, raster};
pub use seeds::seeds;
pub use sensitivity::{Index, Influence, Sensitivity, sensitivity};
pub use show::{Drive, spread};
pub use time::psth;
pub use traces::{Traces, conductances};
pub use varied::{Varied, VariedValue, free, varied};

/// Most conditions that a figure shows one by one.
pub const MOST_SHOWN: usize = 12;

#[cfg(test)]
mod tests;
