//! A worker: takes leases from a coordinator, computes them, sends back spikes.
//!
//! [`session`] is the worker's half of the protocol as a pure state machine, [`pool`] the threads
//! that compute, and [`run`] the connection between them and a coordinator.

mod client;
pub mod pool;
pub mod session;

pub use client::{Config, WorkerError, run};
