//! The server: what waits for workers, drives the scheduler and shows a run.
//!
//! [`driver`] is the loop around the scheduler. [`gate`], [`host`] and [`service`] decide who comes in, by which name, and
//! what they say; [`room`] is the memory for large results, [`identity`] has key and certificate, and [`launch`] starts worker
//! processes of our own. [`dashboard`] is the page that shows a run, and [`view`] is what people and programs see of it.
//!
//! This crate must not know the command line, and it does not write output files.

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
