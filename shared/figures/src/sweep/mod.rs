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

mod dose;
mod heat;
mod measure;
mod observed;
mod raster;
mod seeds;
mod show;
mod time;
mod traces;

pub use dose::{DoseAxis, axes, responses};
pub use heat::heat_map;
pub use measure::Measure;
pub use observed::{Counter, Courses, Detail, Observed, ObservedCondition, Window};
pub use raster::{RasterTrial, raster};
pub use seeds::{means, measures, seeds};
pub use show::Drive;
pub use time::psth;
pub use traces::{Traces, conductances};

/// Most conditions that a figure shows one by one.
pub const MOST_SHOWN: usize = 12;

#[cfg(test)]
mod tests;
