//! The output files: the original's arrays, derived from the store.
//!
//! [`PlannedFiles`] lists the files of a sweep, and what determines the content of each. [`survey`] inspects an output
//! directory and decides which files a run may write, replace and remove there. [`write()`] makes the files that are
//! not in place. Each is written beside its place, synced, and renamed, so it is complete or absent. A run removes the
//! manifest first and writes it last.
//!
//! [`archive`] is an output directory while no run is in progress, with its store. [`selection`] reads some of its
//! trials, and [`histogram`] counts their spikes. [`research_object`] packs the files of a complete sweep. [`drawn`] reads
//! what figures and reports were drawn from. This crate must not depend on the protocol, the scheduler or the command
//! line.

#![allow(missing_docs, reason = "read by this workspace alone")]

pub mod archive;
pub mod complaint;
pub mod drawn;
mod errors;
mod file_record;
mod hashed;
pub mod histogram;
pub mod logs;
pub mod manifest;
mod npy;
mod pickle;
mod planned;
mod refusal;
pub mod research_object;
mod reserved;
mod resolved;
mod rows;
pub mod selection;
pub mod space;
pub mod stamps;
pub mod survey;
pub mod table;
mod write;

pub use errors::{EncodeError, OutputError, failed};
pub use file_record::KeptFile;
pub use hashed::HashedFile;
pub use pickle::{Fibers, ReadWeightsError, read_weights, read_weights_and_type};
pub use planned::{PlannedFile, PlannedFiles, directory_of_seed};
pub use reserved::is_reserved;
pub use rows::{rows, write_rows};
pub use write::{OutputSource, check_in_place, rederive, write};
