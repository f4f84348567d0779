//! Errors of the computation of a sweep.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use granule_store::StoreError;

use crate::launch::ssh::PROGRAM;

/// The reason that not all trials of a sweep were computed.
#[derive(Debug, thiserror::Error)]
pub enum ComputeError {
    #[error("cannot listen on {address}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("cannot start worker process {}", program.display())]
    Start { program: PathBuf, source: io::Error },
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
    #[error("worker processes cannot compute here\n  because: a worker process {description}")]
    Starved { description: String },
    #[error("cannot run `{}`", PROGRAM)]
    Login(#[source] io::Error),
    #[error("no host can be used{}", listed(complaints))]
    Hosts {
        complaints: Vec<String>,
        /// A command with which the user can find the cause.
        probe: String,
    },
    #[error("the server for workers failed")]
    Serve(#[source] tonic::transport::Error),
    #[error("{0}")]
    Abandoned(String),
    /// The user's program cannot be run, or fails at every trial.
    #[error("{0}")]
    Program(String),
    /// The user's program gave two results for one trial.
    #[error("the program gave different results for {trial}\n  because: {authors}: {difference}")]
    Disagreed { trial: String, authors: String, difference: String },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("interrupted")]
    Interrupted,
}

impl ComputeError {
    /// Returns the error for a thread that ended without reporting one.
    pub(super) fn of_thread(what: &str) -> ComputeError {
        ComputeError::Abandoned(format!(
            "the thread that {what} ended unexpectedly; this is a bug in granule"
        ))
    }
}

fn listed(complaints: &[String]) -> String {
    complaints.iter().map(|complaint| format!("\n  {complaint}")).collect()
}
