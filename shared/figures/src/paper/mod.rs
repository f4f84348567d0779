//! The six figures of the original program, of an analysis.
//!
//! Each is a function from an [`Analysis`]; where an analysis has nothing to show, a panel says so.

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

/// All six, in the original's order.
pub fn all(analysis: &Analysis) -> Vec<Figure> {
    let of = [spike_probability, connections, conductances, distributions, densities, summary];
    of.iter().map(|figure| figure(analysis)).collect()
}

#[cfg(test)]
mod tests;
