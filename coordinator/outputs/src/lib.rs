//! The output files: the original's arrays, derived from the store.
//!
//! [`plan`] lists the files of a sweep and what identifies the content of each. [`survey`] looks at an output
//! directory and decides which files a run may write, replace and remove there. [`write()`] makes the files that
//! are not in place: each is written beside its place, synced, and renamed, so that it is there whole or not at
//! all. The manifest is removed first and written last.
//!
//! [`archive`] is an output directory at rest, with its store; [`selection`] has some of its trials, [`histogram`] counts
//! spikes, and [`drawn`] says what figures and reports were drawn from. This crate must not know the protocol, the scheduler
//! or the command line.

#![allow(missing_docs, reason = "read by this workspace alone")]

pub mod archive;
pub mod complaint;
pub mod drawn;
mod errors;
mod file_record;
mod hashed;
pub mod histogram;
pub mod manifest;
mod npy;
mod pickle;
mod planned;
mod refusal;
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
pub use file_record::Kept;
pub use hashed::HashedFile;
pub use pickle::{ReadWeightsError, read_weights};
pub use planned::{Planned, directory_of_seed, plan};
pub use reserved::is_reserved;
pub use rows::{rows, write_rows};
pub use write::{Source, check_in_place, rederive, write};
