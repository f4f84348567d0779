//! What the programs ask of the operating system.
//!
//! [`files`] is the one way to open a file and the one way to write one, [`private`] has files for their owner alone, and
//! [`stamp`] says which file a file is and when it last changed, and [`standard`] has the standard streams as connections. [`shell`] writes words as a shell takes them, [`threads`] starts as
//! many threads as the system allows, [`limits`] says which limit an error comes from, and [`exit`] has the exit codes.
//!
//! This crate must not know sweeps, stores, outputs or the protocol. Of our crates it needs the one that escapes text.

#![allow(missing_docs, reason = "read by this workspace alone")]

pub mod exit;
pub mod files;
pub mod limits;
pub mod private;
pub mod shell;
pub mod stamp;
pub mod standard;
pub mod threads;

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
