//! What a model is to the rest of granule.
//!
//! An [`Engine`] computes trials of one model. Everything that orchestrates (sweep files, scheduler, wire, store,
//! output files) knows a model by what this crate describes: parameters as data ([`space`]), spikes by population
//! ([`spikes`]), content hashes ([`key`]), streams of random numbers ([`stream`]) and output files ([`output`]).
//!
//! Everything here is pure: no IO, no clock, no threads, no global state.

pub mod decimal;
pub mod elementary;
mod engine;
mod facts;
mod hash;
pub mod key;
pub mod output;
pub mod space;
pub mod spikes;
pub mod stream;
mod time;

pub use engine::{
    Engine, Engines, Memory, Model, Note, Population, Recounted, Shard, Take, Unable, engine_of,
};
pub use facts::{Facts, Inconsistent};
pub use key::{CohortKey, Fingerprint, StreamKey, TrialKey};
pub use space::{Parameter, Preset, Space, Value, Values};
pub use spikes::{Digest, Spike, TrialSpikes};
pub use stream::Start;
pub use time::TimeAxis;
