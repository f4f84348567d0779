//! The interface between a model and the rest of granule.
//!
//! An [`Engine`] computes trials of one model. All other code (sweep files, scheduler, wire, store, output files) uses
//! a model through this crate only. The crate describes parameters as data ([`space`]), spikes by population
//! ([`spikes`]), content hashes ([`key`]), streams of random numbers ([`stream`]) and output files ([`output`]).
//!
//! Everything in this crate is pure: it uses no IO, no clock, no threads and no global state.

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
    Engine, Engines, Memory, Model, NoResult, Note, Population, Recounted, Returned, Shard, Source, Take,
    Unable, engine_of,
};
pub use facts::{Facts, Identity, Inconsistent};
pub use key::{CohortKey, Fingerprint, StreamKey, TrialKey};
pub use space::{Parameter, Preset, Space, Value, Values};
pub use spikes::{Digest, Spike, TrialShape, TrialSpikes};
pub use stream::Start;
pub use time::TimeAxis;
