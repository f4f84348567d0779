//! A worker takes leases from a coordinator, computes them and sends back spikes.
//!
//! The worker's half of the protocol is a pure state machine, `granule_farm::session`. [`pool`] has the
//! threads that compute. [`run`] connects both to a coordinator. [`access`] has the access file, and
//! [`connect`] opens connections.

pub mod access;
mod client;
pub mod connect;
pub mod model;
pub mod pool;
pub mod program;

pub use client::{AnyStream, Way, WorkerConfig, WorkerError, WorkerProgress, authorised, client, run};

/// First output of a worker that is connected by its standard streams, on a separate line. Its version
/// follows.
pub const PIPED_GREETING: &str = "granule worker ";
