//! A worker: takes leases from a coordinator, computes them, sends back spikes.
//!
//! [`session`] is the worker's half of the protocol as a pure state machine, [`pool`] the threads
//! that compute, and [`run`] the connections between them and a coordinator, which [`access`] says
//! how to reach and [`connect`] opens.

pub mod access;
mod client;
pub mod connect;
pub mod files;
pub mod pool;
pub mod private;
pub mod session;
pub mod shell;
pub mod standard;
pub mod text;

pub use client::{Config, Progress, Stream, Way, WorkerError, authorised, client, run};

/// What a worker that speaks over its standard streams says first, on a line of its own, before its version.
pub const PIPED_GREETING: &str = "granule worker ";
