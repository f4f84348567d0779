//! The simulation core of granule: a spiking model of the cerebellar granular layer.
//!
//! Everything here is a pure function of its arguments. There is no IO, no clock, no async and no
//! global state, so that the spikes of a trial depend on nothing but its parameters, seed and index.
//!
//! ```text
//! Parameters → Model → Network (wiring) ┐
//!                      Weights          ├→ simulate → TrialSpikes → derive → arrays
//!                      NoiseStart       ┘
//! ```

pub mod clock;
pub mod derive;
pub mod isa;
mod kernel;
pub mod model;
pub mod network;
pub mod noise;
pub mod parameters;
pub mod random;
pub mod spikes;
pub mod trial;
pub mod weights;

pub use model::{Inconsistent, Model};
pub use parameters::Parameters;

/// How trials are computed. Results of different engines are never mixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Engine {
    /// Own streams for every cell, trial and purpose (docs/engines.md): any part can be computed alone.
    Pcg,
    /// Every bit as the original program under Brian2 2.2.1 and numpy 1.21.
    Brian2_2_2_1,
}

impl Engine {
    /// All engines, the default first.
    pub const ALL: &[Engine] = &[Engine::Pcg, Engine::Brian2_2_2_1];

    /// The name in sweep files, on the wire and in manifests.
    pub fn name(self) -> &'static str {
        match self {
            Engine::Pcg => "pcg",
            Engine::Brian2_2_2_1 => "brian2-2.2.1",
        }
    }

    /// Counts the changes of this engine's spikes. Part of every trial's key: a result of an older
    /// revision is never taken for one of this.
    pub fn revision(self) -> u32 {
        match self {
            Engine::Pcg | Engine::Brian2_2_2_1 => 1,
        }
    }

    /// The engine of this name.
    pub fn named(name: &str) -> Option<Engine> {
        Engine::ALL.iter().copied().find(|engine| engine.name() == name)
    }
}
