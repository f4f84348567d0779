//! Errors of writing and reading outputs.

use std::io;
use std::path::{Path, PathBuf};

use granule_engine::TrialKey;
use granule_store::StoreError;

use crate::npy::NpyError;
use crate::pickle::WeightsError;
use crate::refusal::Refusal;

/// Why outputs were not written.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// A file could not be written.
    #[error("cannot {doing} {}", path.display())]
    Io { path: PathBuf, doing: &'static str, source: io::Error },
    /// A file could not be encoded.
    #[error("cannot write {}", path.display())]
    Encode { path: PathBuf, source: EncodeError },
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A trial is not in the store, or its spikes do not fit its condition.
    #[error("trial {key} is missing or damaged in the store")]
    Missing { key: TrialKey },
    /// A path of the outputs is occupied by a file that granule did not write.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Another program has changed a file after the run had put it in place.
    #[error("{} was changed or removed while the run was writing", path.display())]
    Disturbed { path: PathBuf },
    /// The user asked to stop.
    #[error("interrupted")]
    Interrupted,
}

/// Why an array could not be encoded.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    #[error(transparent)]
    Npy(#[from] NpyError),
    #[error(transparent)]
    Pickle(#[from] WeightsError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Returns a function for `map_err` that adds the failed action and the path.
pub fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OutputError {
    let path = path.to_owned();
    move |source| OutputError::Io { path, doing, source }
}
