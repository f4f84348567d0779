//! An output file, as it is recorded.

use granule_system::stamp::Seal;
use serde::{Deserialize, Serialize};

/// An output file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Below the output directory, with `/`.
    pub path: String,
    pub bytes: u64,
    pub sha256: String,
    /// Hash of everything that decides its bytes.
    pub identity: String,
}

/// A file that is in place: what the manifest says of it, and its seal if its content was looked at.
pub type Kept = (FileRecord, Option<Seal>);
