//! A worker: takes leases from a coordinator, computes them, sends back spikes.
//!
//! `session` is the worker's half of the protocol as a pure state machine, [`pool`] the threads
//! that compute, and [`run`] the connections between them and a coordinator, which [`access`] says
//! how to reach and [`connect`] opens.

pub mod access;
mod client;
pub mod connect;
pub mod pool;

pub use client::{Config, Progress, Stream, Way, WorkerError, authorised, client, run};

/// What a worker that speaks over its standard streams says first, on a line of its own, before its version.
pub const PIPED_GREETING: &str = "granule worker ";
