//! The reasons that a run ended early, and the messages about them.

use std::io;

use granule_outputs::OutputError;
use granule_server::driver::ComputeError;
use granule_store::StoreError;
use granule_system::exit;
use granule_text::plural;

use crate::commands::entrance::EntranceError;
use crate::commands::signals::Stop;
use crate::commands::this_process::command_line;
use crate::failure::Failure;

/// Trials that the message names. The manifest names all.
const NAMED: usize = 3;

/// The reason that a run ended early.
#[derive(Debug)]
pub(super) enum EarlyEnd {
    Compute(ComputeError),
    Output(OutputError),
    Entrance(EntranceError),
    Interrupted {
        stop: Stop,
        stored: u64,
        total: u64,
    },
    /// All work is done, but some trials are set aside.
    Incomplete {
        set_aside: usize,
        /// Descriptions of those that no further run can compute, with the reason.
        without_result: Vec<String>,
        /// Whether these failed in the user's program.
        is_program: bool,
    },
    /// All work is done, but results of workers differed.
    Disagreed {
        count: u64,
        /// Disputes that no third machine settled.
        weakly_settled: u64,
    },
}

impl EarlyEnd {
    /// Returns the message for people. `resume` is the command that resumes the run.
    pub(super) fn into_failure(self, resume: &str) -> Failure {
        match self {
            EarlyEnd::Interrupted { stop, stored, total } => {
                let message =
                    format!("{}: {stored} of {total} trials are stored\n  to resume: {resume}", stop.word());
                Failure::new(stop.code(), message)
            }
            EarlyEnd::Compute(error) => {
                let (code, help) = match &error {
                    ComputeError::Listen { .. } => {
                        (exit::FAILED, Some("leave --listen out to use a free port".to_owned()))
                    }
                    ComputeError::Login { .. } => (
                        exit::FAILED,
                        Some("install the OpenSSH client; on Debian: openssh-client".to_owned()),
                    ),
                    ComputeError::Hosts { probe, .. } => (
                        exit::INCOMPLETE,
                        Some(format!(
                            "this command must print version {} without prompting (--granule sets the program): \
                                {probe}\n  then: {resume}",
                            env!("CARGO_PKG_VERSION")
                        )),
                    ),
                    ComputeError::Start { .. } => (
                        exit::FAILED,
                        Some("--worker-program must name an executable file that runs granule".to_owned()),
                    ),
                    ComputeError::Thread(_) | ComputeError::Starved { .. } => (exit::FAILED, None),
                    ComputeError::Store(error) => (exit::FAILED, store_help(error)),
                    ComputeError::Program(_) => (
                        exit::INCOMPLETE,
                        Some(format!(
                            "`granule try MODEL` runs one trial in the foreground; when it works: {resume}\n  if a file of \
                             the model has changed, all trials are new: add --replace"
                        )),
                    ),
                    ComputeError::Abandoned(_) => (
                        exit::INCOMPLETE,
                        Some(format!("all computed trials are stored; to resume: {resume}")),
                    ),
                    ComputeError::Disagreed { .. } => (
                        exit::DISAGREED,
                        Some(format!("{MAY_DEPEND}. Neither result of this trial was kept")),
                    ),
                    ComputeError::Serve(_) | ComputeError::Interrupted => (exit::FAILED, None),
                };
                Failure::caused_by(code, &error, help.as_deref())
            }
            EarlyEnd::Entrance(error) => Failure::caused_by(error.code(), &error, error.help().as_deref()),
            EarlyEnd::Incomplete { set_aside, without_result, is_program } => {
                let mut named: String =
                    without_result.iter().take(NAMED).map(|trial| format!("\n  {trial}")).collect();
                if without_result.len() > NAMED {
                    let reason = if is_program { "" } else { ", for the same reason" };
                    named.push_str(&format!("\n  and {} more{reason}", without_result.len() - NAMED));
                }
                let again = match set_aside - without_result.len() {
                    _ if is_program => {
                        "correct the program and add --replace, because all trials of a changed program are new; or \
                         retry as it is"
                    }
                    0 => "change these conditions in the sweep file, then",
                    _ if without_result.is_empty() => "to retry",
                    _ => "change these conditions in the sweep file; to retry the other trials",
                };
                let (were, their, these) = match set_aside {
                    1 => ("was", "its condition and seed", "this trial"),
                    _ => ("were", "their conditions and seeds", "these trials"),
                };
                Failure::new(
                    exit::INCOMPLETE,
                    format!(
                        "error: {} {were} set aside; the files of {their} were not written; manifest.json \
                            lists {these}{named}\n  help: all other files are written; {again}: {resume}",
                        plural(set_aside as u64, "trial")
                    ),
                )
            }
            EarlyEnd::Disagreed { count, weakly_settled } => {
                let results = plural(count, "result");
                let settled = match weakly_settled {
                    0 => "a third machine settled each, and the files hold the results that two machines agree on"
                        .to_owned(),
                    weak => format!(
                        "no third machine could settle {}, so the files may be wrong",
                        plural(weak, "disagreement")
                    ),
                };
                Failure::new(
                    exit::DISAGREED,
                    format!(
                        "error: {results} of workers differed from the stored ones; this must never happen; \
                            {settled}\n  \
                         help: manifest.json names the workers and trials; check those machines, or compare their builds \
                         of granule"
                    ),
                )
            }
            EarlyEnd::Output(error) => {
                let help = match &error {
                    OutputError::Store(error) => store_help(error),
                    OutputError::Refused(refusal) => Some(format!(
                        "{}\n  all computed trials are stored; to resume: {resume}",
                        refusal.help()
                    )),
                    _ => Some(format!("all computed trials are stored; after you fix this: {resume}")),
                };
                Failure::caused_by(exit::FAILED, &error, help.as_deref())
            }
        }
    }
}

/// The advice about a program with different results for one trial.
pub(crate) const MAY_DEPEND: &str = "a result may depend on the parameters, `seed` and `trial` only. Seed all random \
    numbers of the program from `seed` and `trial` (docs/programs.md has the rule), use no clock, and let no earlier \
    trial change what the program keeps. If it does so already, the two machines or their packages compute differently. \
    `granule try MODEL` compares results of two processes";

/// Returns what to do about an error outside the store. The store's other errors state that themselves.
pub(super) fn store_help(error: &StoreError) -> Option<String> {
    // A deleted store keeps nothing.
    let is_outside =
        matches!(error, StoreError::Io { source, .. } if source.kind() != io::ErrorKind::NotFound);
    is_outside.then(|| format!("all stored trials are kept; after you fix this: {}", command_line()))
}

/// Returns what to do about a store that cannot be opened: the sweep's own, or one that the user named.
pub(super) fn opening_help(error: &StoreError, is_own: bool) -> Option<String> {
    match error {
        StoreError::Corrupted { .. } | StoreError::Version { .. } if is_own => {
            Some("move it away and run the sweep again; the run computes its trials again".to_owned())
        }
        StoreError::Corrupted { .. } => {
            Some("--store needs a store of granule, or the name of a new file".to_owned())
        }
        error => store_help(error),
    }
}
