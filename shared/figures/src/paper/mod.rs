//! The six figures of the original program, drawn from an analysis.
//!
//! Each is a function of an [`Analysis`]. If an analysis has nothing to show, the panel has a note with the
//! reason.

mod common;
mod connections;
mod inputs;
mod scatter;
mod spikes;

pub use connections::connections;
pub use inputs::{densities, distributions, summary};
pub use scatter::conductances;
pub use spikes::spike_probability;

use crate::{Analysis, Figure};

/// Draws all six figures, in the original's order.
pub fn all(analysis: &Analysis) -> Vec<Figure> {
    let of = [spike_probability, connections, conductances, distributions, densities, summary];
    of.iter().map(|figure| figure(analysis)).collect()
}

#[cfg(test)]
mod tests;
