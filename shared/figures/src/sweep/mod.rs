//! Figures of any sweep: what its trials did over time, how that depends on parameters, and how much it
//! differs between seeds.
//!
//! ```text
//! spikes of trials → Counter → Observed (a condition and a seed) → psth, heat_map, responses, seeds → Figure
//! spikes of a trial → Trial → raster                       conductances of a condition → traces
//! ```
//!
//! Populations and parameters are those of the engine. Cells of the first population are looked at if they are driven:
//! the caller says which are, and a [`Drive`] says it in words.

mod dose;
mod heat;
mod measure;
mod observed;
mod raster;
mod seeds;
mod show;
mod time;
mod traces;

pub use dose::{Axis, axes, responses};
pub use heat::heat_map;
pub use measure::Measure;
pub use observed::{Condition, Counter, Courses, Observed, Window};
pub use raster::{Trial, raster};
pub use seeds::{means, measures, seeds};
pub use show::Drive;
pub use time::psth;
pub use traces::{Traces, conductances};

/// So many conditions can be shown one by one in a figure.
pub const MOST_SHOWN: usize = 12;

#[cfg(test)]
mod tests;
