//! Why a run ended early, and what people are told of it.

use std::io;

use granule_outputs::OutputError;
use granule_server::driver::ComputeError;
use granule_store::StoreError;
use granule_system::exit;

use crate::commands::entrance::EntranceError;
use crate::commands::signals::Stop;
use crate::commands::this_process::command_line;
use crate::failure::{Failure, plural};

/// Trials that are named at the end; the manifest names all.
const NAMED: usize = 3;

/// Why a run ended early.
#[derive(Debug)]
pub(super) enum End {
    Compute(ComputeError),
    Output(OutputError),
    Entrance(EntranceError),
    Interrupted {
        stop: Stop,
        stored: u64,
        total: u64,
    },
    /// All has been done, but not all could be.
    Incomplete {
        set_aside: usize,
        /// Of those that no further run can compute, which they are and why.
        too_large: Vec<String>,
    },
    /// All has been done, but workers did not agree.
    Disagreed {
        count: u64,
        /// Disputes that no third machine settled.
        weakly_settled: u64,
    },
}

impl End {
    /// For people, who go on with this command.
    pub(super) fn into_failure(self, resume: &str) -> Failure {
        match self {
            End::Interrupted { stop, stored, total } => {
                let message =
                    format!("{}: {stored} of {total} trials are stored\n  to resume: {resume}", stop.word());
                Failure::new(stop.code(), message)
            }
            End::Compute(error) => {
                let (code, help) = match &error {
                    ComputeError::Listen { .. } => {
                        (exit::FAILED, Some("leave --listen out to take a free port".to_owned()))
                    }
                    ComputeError::Login { .. } => {
                        (exit::FAILED, Some("install OpenSSH's client; Debian: openssh-client".to_owned()))
                    }
                    ComputeError::Hosts { probe, .. } => (
                        exit::INCOMPLETE,
                        Some(format!(
                            "this must answer without asking for anything, with version {} (--granule says where it \
                             is): {probe}\n  then: {resume}",
                            env!("CARGO_PKG_VERSION")
                        )),
                    ),
                    ComputeError::Start { .. } => (
                        exit::FAILED,
                        Some("--worker-program must name an executable file that runs granule".to_owned()),
                    ),
                    ComputeError::Thread(_) | ComputeError::Starved { .. } => (exit::FAILED, None),
                    ComputeError::Store(error) => (exit::FAILED, store_help(error)),
                    ComputeError::Abandoned(_) => {
                        (exit::INCOMPLETE, Some(format!("what was computed is stored; to resume: {resume}")))
                    }
                    ComputeError::Serve(_) | ComputeError::Interrupted => (exit::FAILED, None),
                };
                Failure::caused_by(code, &error, help.as_deref())
            }
            End::Entrance(error) => Failure::caused_by(error.code(), &error, error.help().as_deref()),
            End::Incomplete { set_aside, too_large } => {
                let mut named: String =
                    too_large.iter().take(NAMED).map(|trial| format!("\n  {trial}")).collect();
                if too_large.len() > NAMED {
                    named.push_str(&format!("\n  and {} more, for the same reason", too_large.len() - NAMED));
                }
                let again = match set_aside - too_large.len() {
                    0 => "change these conditions in the sweep file, then",
                    _ if too_large.is_empty() => "to try them again",
                    _ => "change these conditions in the sweep file; to try the others again",
                };
                Failure::new(
                    exit::INCOMPLETE,
                    format!(
                        "error: {} could not be computed; the files of their conditions and seeds are withheld, and \
                         manifest.json says which{named}\n  help: all else is in place; {again}: {resume}",
                        plural(set_aside as u64, "trial")
                    ),
                )
            }
            End::Disagreed { count, weakly_settled } => {
                let results = plural(count, "result");
                let settled = match weakly_settled {
                    0 => "each was settled by a third machine, and the files are those that two machines agree on"
                        .to_owned(),
                    weak => format!(
                        "{} had to be settled without a third, independent machine, so the files may be wrong",
                        plural(weak, "dispute")
                    ),
                };
                Failure::new(
                    exit::DISAGREED,
                    format!(
                        "error: {results} of workers differed from those stored, which must never happen; {settled}\n  \
                         help: manifest.json names the workers and trials; check those machines, or compare their builds \
                         of granule"
                    ),
                )
            }
            End::Output(error) => {
                let help = match &error {
                    OutputError::Store(error) => store_help(error),
                    OutputError::Refused(refusal) => Some(format!(
                        "{}\n  what was computed is stored; to resume: {resume}",
                        refusal.help()
                    )),
                    _ => Some(format!("what was computed is stored; when this is mended: {resume}")),
                };
                Failure::caused_by(exit::FAILED, &error, help.as_deref())
            }
        }
    }
}

/// The other errors of the store say themselves what to do.
pub(super) fn store_help(error: &StoreError) -> Option<String> {
    // Of a store that was deleted nothing is kept.
    let is_outside =
        matches!(error, StoreError::Io { source, .. } if source.kind() != io::ErrorKind::NotFound);
    is_outside.then(|| format!("what was stored is kept; when this is mended: {}", command_line()))
}

/// What to do about a store that cannot be opened: the sweep's own, or one that was given.
pub(super) fn opening_help(error: &StoreError, is_own: bool) -> Option<String> {
    match error {
        StoreError::Corrupted { .. } | StoreError::Version { .. } if is_own => {
            Some("move it away and run again: all that a store holds can be computed anew".to_owned())
        }
        StoreError::Corrupted { .. } => {
            Some("--store takes a store of granule, or the name of a file to be made".to_owned())
        }
        error => store_help(error),
    }
}
