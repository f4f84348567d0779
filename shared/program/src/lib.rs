//! A user's own model as an engine.
//!
//! A model file describes the model: its parameters, its populations, and the program that computes its trials.
//! [`Program`] makes an [`Engine`](granule_engine::Engine) of it. All other code (sweep files, scheduler, wire, store,
//! figures) uses this engine like those of granule.
//!
//! ```text
//! model file, contents of its files → Program (identity, space, populations)
//!                        protocol: requests to the program, and its answers
//!                        files: output files
//! ```
//!
//! This crate starts no process. A worker attaches a [`Runner`], which does. Everything else is pure, except that
//! [`Program::of`] keeps each program that it makes, so that equal sources give one program.

mod files;
mod program;
pub mod protocol;
pub mod templates;

pub use program::{Program, Runner};
