//! The record of an output file.

use granule_system::stamp::Seal;
use serde::{Deserialize, Serialize};

/// An output file, as the manifest records it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Path below the output directory, with `/`.
    pub path: String,
    pub bytes: u64,
    pub sha256: String,
    /// Hash of everything that determines its bytes.
    pub identity: String,
}

/// The record of a file in place, and its seal if its content was checked.
pub type KeptFile = (FileRecord, Option<Seal>);
