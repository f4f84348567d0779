//! Slurm, as far as a sweep needs it: job scripts, and what Slurm says of jobs.
//!
//! Slurm places, limits and ends; nothing here decides about machines.

pub(crate) mod control;
pub(crate) mod options;
pub(crate) mod reasons;
pub(crate) mod script;

use std::fmt;

use granule_system::shell::shell_word;
use granule_text::from_outside;
use serde::{Deserialize, Serialize};

/// The number that Slurm gives a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct JobId(pub(crate) u64);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A job, and the cluster that it is on; none is the one of this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) job: JobId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cluster: Option<String>,
}

impl Job {
    /// What to run to end it.
    pub(crate) fn scancel(&self) -> String {
        let cluster = self.cluster.iter().map(|cluster| format!("--clusters={} ", shell_word(cluster)));
        format!("scancel {}{}", cluster.collect::<String>(), self.job)
    }
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cluster {
            Some(cluster) => write!(f, "{} on cluster {}", self.job, from_outside(cluster)),
            None => self.job.fmt(f),
        }
    }
}

/// What a job is at (Slurm's job state codes, `man squeue`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// In the queue, for this reason, in Slurm's word.
    Waiting { reason: String },
    /// On these nodes, in Slurm's notation; also while it begins.
    Running { nodes: String },
    /// It has its nodes, but its processes are stopped: by Slurm, or by a signal.
    Suspended { is_by_signal: bool },
    /// Its processes are being ended.
    Ending,
    /// Over.
    Ended(Ending),
    /// Slurm does not know such a job, or no longer.
    Unknown,
}

impl State {
    /// Whether it has ended, or Slurm does not know it.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self, State::Ended(_) | State::Unknown)
    }

    /// For people, after the number of the job.
    pub(crate) fn describe(&self) -> String {
        match self {
            State::Waiting { reason } if reason.is_empty() || reason == "None" => "waits".to_owned(),
            State::Waiting { reason } => match reasons::advice(reason) {
                Some(advice) => format!("waits: {reason}: {advice}"),
                None => format!("waits: {reason}"),
            },
            State::Suspended { is_by_signal: false } => {
                "is suspended: it goes on when Slurm or one of its operators resumes it".to_owned()
            }
            State::Suspended { is_by_signal: true } => {
                "is stopped by a signal: `scancel --signal=CONT` lets it go on".to_owned()
            }
            State::Ending => "is ending".to_owned(),
            State::Running { nodes } => format!("runs on {nodes}"),
            State::Ended(ending) => ending.describe().to_owned(),
            State::Unknown => "is not known to Slurm".to_owned(),
        }
    }
}

/// How a job has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Completed,
    Failed,
    /// Its wall time was over.
    TimedOut,
    Cancelled,
    /// Others came first.
    Preempted,
    /// A node that it could not do without has failed.
    NodeFailed,
    OutOfMemory,
}

impl Ending {
    /// For people.
    pub(crate) fn describe(self) -> &'static str {
        match self {
            Ending::Completed => "has ended",
            Ending::Failed => "has failed",
            Ending::TimedOut => "was ended by Slurm: its time was over",
            Ending::Cancelled => "was cancelled",
            Ending::Preempted => "was ended by Slurm for a job that comes first",
            Ending::NodeFailed => "was ended by Slurm: a node has failed",
            Ending::OutOfMemory => "was ended by Slurm: it took more memory than it may",
        }
    }

    /// What helps against it, but for doing the same once more.
    pub(crate) fn help(self) -> Option<&'static str> {
        match self {
            Ending::TimedOut => Some("--time gives it longer"),
            Ending::OutOfMemory => {
                Some("`granule plan` says what a worker takes; ask for more with `-- --mem-per-cpu=…`")
            }
            _ => None,
        }
    }
}

/// Understands a state as `squeue` and `sacct` write it, with the reason or the nodes beside it.
pub(crate) fn state_of(word: &str, reason: &str, nodes: &str) -> State {
    // `sacct` says by whom: `CANCELLED by 1000`.
    let ending = match word.split_whitespace().next().unwrap_or_default() {
        "PENDING" | "REQUEUED" | "REQUEUE_HOLD" | "REQUEUE_FED" | "SPECIAL_EXIT" | "RESV_DEL_HOLD" => {
            return State::Waiting { reason: from_outside(reason) };
        }
        "CONFIGURING" | "RUNNING" | "SIGNALING" | "STAGE_OUT" | "RESIZING" => {
            return State::Running { nodes: from_outside(nodes) };
        }
        "COMPLETING" => return State::Ending,
        "SUSPENDED" | "STOPPED" => return State::Suspended { is_by_signal: word == "STOPPED" },
        "COMPLETED" => Ending::Completed,
        "TIMEOUT" | "DEADLINE" => Ending::TimedOut,
        "CANCELLED" | "REVOKED" => Ending::Cancelled,
        "PREEMPTED" => Ending::Preempted,
        "NODE_FAIL" => Ending::NodeFailed,
        "OUT_OF_MEMORY" => Ending::OutOfMemory,
        "FAILED" | "BOOT_FAIL" | "LAUNCH_FAILED" | "RECONFIG_FAIL" => Ending::Failed,
        _ => return State::Unknown,
    };
    State::Ended(ending)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_of_slurm_is_understood() {
        let waits = State::Waiting { reason: "Resources".into() };
        let runs = State::Running { nodes: "n[1-3]".into() };
        for (word, expected) in [
            ("PENDING", waits.clone()),
            ("REQUEUED", waits),
            ("RUNNING", runs),
            ("COMPLETING", State::Ending),
            ("SUSPENDED", State::Suspended { is_by_signal: false }),
            ("STOPPED", State::Suspended { is_by_signal: true }),
            ("COMPLETED", State::Ended(Ending::Completed)),
            ("CANCELLED by 1000", State::Ended(Ending::Cancelled)),
            ("OUT_OF_MEMORY", State::Ended(Ending::OutOfMemory)),
            ("NODE_FAIL", State::Ended(Ending::NodeFailed)),
            ("TIMEOUT", State::Ended(Ending::TimedOut)),
            ("", State::Unknown),
            ("SOMETHING_NEW", State::Unknown),
        ] {
            assert_eq!(state_of(word, "Resources", "n[1-3]"), expected, "{word}");
        }
    }
}
