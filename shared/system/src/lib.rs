//! Access to the operating system.
//!
//! - [`files`]: the one way to open a file, and the one way to write one
//! - [`private`]: files that only their owner can access
//! - [`stamp`]: the identity of a file and its last change
//! - [`standard`]: the standard streams as connections
//! - [`shell`]: words in the form that shells read
//! - [`threads`]: as many threads as the system allows
//! - [`limits`]: the limit that causes an error
//! - [`memory`]: the memory of processes
//! - [`os`]: where operating systems differ
//! - [`exit`]: the exit codes
//!
//! This crate must not depend on sweeps, stores, outputs or the protocol. Of the workspace it uses only the
//! crate that escapes text.

#![allow(missing_docs, reason = "read by this workspace alone")]

pub mod exit;
pub mod files;
pub mod limits;
pub mod memory;
pub mod os;
pub mod private;
pub mod shell;
pub mod stamp;
pub mod standard;
pub mod threads;

/// Formats bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
