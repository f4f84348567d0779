//! How worker processes end.

use std::process::ExitStatus;

/// How a worker has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It had been told to leave, or was done.
    Left,
    /// The connection to it, or to its machine; what happened to it is not known.
    Unknown,
    /// It has failed by itself, or was made to.
    Failed,
    /// The system refused it a thread or a file.
    Starved,
    /// There is none that could work for us.
    Unfit,
}

/// How a worker process has ended, and its last words.
#[derive(Debug)]
pub(super) struct End {
    pub(super) how: How,
    pub(super) said: String,
}

#[derive(Debug)]
pub(super) enum How {
    ByItself(ExitStatus),
    /// We have ended it, for this reason.
    ByUs(Ending, String),
}
