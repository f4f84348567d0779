//! The farm: pure state machines that lease trials to workers and read and write the messages about them.
//!
//! [`scheduler`] hands out shards of trials to workers, and [`session`] is a worker's half of the protocol.
//! [`catalogue`] maps trials between the names of the scheduler, the messages and the store. [`dialogue`] reads and
//! writes messages, and [`inbox`] turns workers' messages into events. A simulation runs whole histories with both
//! halves, under faults of every kind.
//!
//! Callers pass each event with its time. This crate must not use clocks, files, connections, threads or async code,
//! and must not depend on the store or the output files.

#![allow(missing_docs, reason = "read by this workspace alone")]

#[doc(hidden)]
pub mod bench;
pub mod catalogue;
pub mod dialogue;
#[cfg(test)]
mod fault_simulation;
pub mod inbox;
pub mod scheduler;
pub mod session;
