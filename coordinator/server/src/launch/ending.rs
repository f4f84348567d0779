//! How worker processes end.

use std::process::ExitStatus;

/// The kind of end of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It was asked to leave, or its work was done.
    Left,
    /// The connection to it or to its machine ended. The fate of the worker is unknown.
    Unknown,
    /// It exited with an error, or was killed by a signal.
    Failed,
    /// The system refused it a thread or a file.
    Starved,
    /// The host has no worker that this coordinator can use.
    Unfit,
}

/// How a worker process ended, and the last lines of its standard error.
#[derive(Debug)]
pub(super) struct ProcessEnd {
    pub(super) how: How,
    pub(super) said: String,
}

#[derive(Debug)]
pub(super) enum How {
    ByItself(ExitStatus),
    /// The coordinator ended it, for this reason.
    ByUs(Ending, String),
}
