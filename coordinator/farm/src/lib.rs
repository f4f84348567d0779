//! The farm: pure state machines that lease trials to workers and read and write the messages about them.
//!
//! [`scheduler`] hands out shards of trials to workers, and [`session`] is a worker's half of the protocol. [`catalogue`] has
//! the names of what is computed. [`dialogue`] reads and writes messages, and [`inbox`] turns what workers say into events. A simulation plays
//! whole histories with both halves, under faults of every kind.
//!
//! Whatever happens is handed in together with its time. This crate must not know clocks, files, connections, threads or
//! async code, and it must not know the store or the output files.

#![allow(missing_docs, reason = "read by this workspace alone")]

#[doc(hidden)]
pub mod bench;
pub mod catalogue;
pub mod dialogue;
pub mod inbox;
pub mod scheduler;
pub mod session;
#[cfg(test)]
mod simulation;
