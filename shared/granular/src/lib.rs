//! The cerebellar granular layer: a spiking network model, and two engines that compute it.
//!
//! Everything here is a pure function of its arguments. There is no IO, no clock, no async and no global state. The
//! spikes of a trial therefore depend only on its parameters, seed and index.
//!
//! ```text
//! Parameters → Layer → Network (wiring) ┐
//!                      Weights          ├→ simulate → TrialSpikes → derive → arrays
//!                      Start            ┘
//! ```
//!
//! [`Method`] implements [`granule_engine::Engine`] with these functions.

pub mod clock;
pub mod derive;
mod engine;
mod files;
pub mod isa;
mod kernel;
pub mod layer;
mod method;
pub mod network;
pub mod noise;
pub mod parameters;
pub mod random;
mod template;
pub mod trial;
pub mod version_0_1_0;
pub mod weights;

pub use engine::layer_of;
pub use layer::{Layer, LayerInconsistent};
pub use method::{ENGINES, Method};
pub use parameters::{Parameters, space};

/// Index of the granule cells among the populations.
pub const GRANULE: usize = 0;
/// Index of the Golgi cells among the populations.
pub const GOLGI: usize = 1;
