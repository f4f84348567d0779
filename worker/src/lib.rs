//! A worker: takes leases from a coordinator, computes them, sends back spikes.
//!
//! [`session`] is the worker's half of the protocol as a pure state machine, [`pool`] the threads
//! that compute, and [`run`] the connections between them and a coordinator, which [`access`] says
//! how to reach and [`connect`] opens.

pub mod access;
mod client;
pub mod connect;
pub mod pool;
pub mod private;
pub mod session;

pub use client::{Config, Progress, Way, WorkerError, authorised, client, run};
