//! The server: waits for workers, drives the scheduler and shows a run.
//!
//! [`driver`] is the loop around the scheduler. [`gate`], [`host`] and [`service`] decide which requests are admitted,
//! and [`service`] receives the workers' messages. [`room`] is the memory for large results, [`identity`] has the key
//! and the certificate, and [`launch`] starts worker processes. [`dashboard`] is the page that shows a run. [`view`] is
//! its state, for people and programs.
//!
//! This crate must not depend on the command line, and it writes no output files.

#![allow(missing_docs, reason = "read by this workspace alone")]

pub mod dashboard;
pub mod driver;
pub mod gate;
pub mod host;
pub mod identity;
pub mod launch;
pub mod room;
pub mod service;
#[cfg(test)]
#[path = "../../../tests/support/stubs.rs"]
mod stubs;
pub mod view;
