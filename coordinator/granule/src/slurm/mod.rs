//! Slurm, as far as a sweep needs it: job scripts, and the states of jobs.
//!
//! Slurm places, limits and ends jobs. Nothing here decides about machines.

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

/// A job and its cluster. None means the cluster of this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) job: JobId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cluster: Option<String>,
}

impl Job {
    /// Returns the command that ends it.
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

/// The state of a job (Slurm's job state codes, `man squeue`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum JobState {
    /// In the queue, for this reason, in Slurm's word.
    Waiting { reason: String },
    /// On these nodes, in Slurm's notation. Also while it begins.
    Running { nodes: String },
    /// It has its nodes, but its processes are stopped: by Slurm, or by a signal.
    Suspended { is_by_signal: bool },
    /// Its processes are being ended.
    Ending,
    /// Over.
    Ended(JobEnding),
    /// Slurm does not know the job, or does not any more.
    Unknown,
}

impl JobState {
    /// Whether it has ended, or Slurm does not know it.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self, JobState::Ended(_) | JobState::Unknown)
    }

    /// Describes it for people, after the number of the job.
    pub(crate) fn describe(&self) -> String {
        match self {
            JobState::Waiting { reason } if reason.is_empty() || reason == "None" => "waits".to_owned(),
            JobState::Waiting { reason } => match reasons::advice(reason) {
                Some(advice) => format!("waits: {reason}: {advice}"),
                None => format!("waits: {reason}"),
            },
            JobState::Suspended { is_by_signal: false } => {
                "is suspended until Slurm or an operator resumes it".to_owned()
            }
            JobState::Suspended { is_by_signal: true } => {
                "is stopped by a signal: resume it with `scancel --signal=CONT`".to_owned()
            }
            JobState::Ending => "is ending".to_owned(),
            JobState::Running { nodes } => format!("runs on {nodes}"),
            JobState::Ended(ending) => ending.describe().to_owned(),
            JobState::Unknown => "is not known to Slurm".to_owned(),
        }
    }
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JobEnding {
    Completed,
    Failed,
    /// Its time limit was reached.
    TimedOut,
    Cancelled,
    /// Slurm ended it for jobs of higher priority.
    Preempted,
    /// A node that it needed has failed.
    NodeFailed,
    OutOfMemory,
}

impl JobEnding {
    /// Describes it for people.
    pub(crate) fn describe(self) -> &'static str {
        match self {
            JobEnding::Completed => "has ended",
            JobEnding::Failed => "has failed",
            JobEnding::TimedOut => "was ended by Slurm: its time limit was reached",
            JobEnding::Cancelled => "was cancelled",
            JobEnding::Preempted => "was ended by Slurm for a job of higher priority",
            JobEnding::NodeFailed => "was ended by Slurm: a node failed",
            JobEnding::OutOfMemory => "was ended by Slurm: it exceeded its memory limit",
        }
    }

    /// Returns what helps against it, other than submitting it again.
    pub(crate) fn help(self) -> Option<&'static str> {
        match self {
            JobEnding::TimedOut => Some("request more time with --time"),
            JobEnding::OutOfMemory => {
                Some("`granule plan` prints what a worker needs; request more with `-- --mem-per-cpu=…`")
            }
            _ => None,
        }
    }
}

/// Parses a state as `squeue` and `sacct` write it, with the reason or the nodes beside it.
pub(crate) fn state_of(word: &str, reason: &str, nodes: &str) -> JobState {
    // `sacct` appends the user: `CANCELLED by 1000`.
    let ending = match word.split_whitespace().next().unwrap_or_default() {
        "PENDING" | "REQUEUED" | "REQUEUE_HOLD" | "REQUEUE_FED" | "SPECIAL_EXIT" | "RESV_DEL_HOLD" => {
            return JobState::Waiting { reason: from_outside(reason) };
        }
        "CONFIGURING" | "RUNNING" | "SIGNALING" | "STAGE_OUT" | "RESIZING" => {
            return JobState::Running { nodes: from_outside(nodes) };
        }
        "COMPLETING" => return JobState::Ending,
        "SUSPENDED" | "STOPPED" => return JobState::Suspended { is_by_signal: word == "STOPPED" },
        "COMPLETED" => JobEnding::Completed,
        "TIMEOUT" | "DEADLINE" => JobEnding::TimedOut,
        "CANCELLED" | "REVOKED" => JobEnding::Cancelled,
        "PREEMPTED" => JobEnding::Preempted,
        "NODE_FAIL" => JobEnding::NodeFailed,
        "OUT_OF_MEMORY" => JobEnding::OutOfMemory,
        "FAILED" | "BOOT_FAIL" | "LAUNCH_FAILED" | "RECONFIG_FAIL" => JobEnding::Failed,
        _ => return JobState::Unknown,
    };
    JobState::Ended(ending)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_of_slurm_is_understood() {
        let waits = JobState::Waiting { reason: "Resources".into() };
        let runs = JobState::Running { nodes: "n[1-3]".into() };
        for (word, expected) in [
            ("PENDING", waits.clone()),
            ("REQUEUED", waits),
            ("RUNNING", runs),
            ("COMPLETING", JobState::Ending),
            ("SUSPENDED", JobState::Suspended { is_by_signal: false }),
            ("STOPPED", JobState::Suspended { is_by_signal: true }),
            ("COMPLETED", JobState::Ended(JobEnding::Completed)),
            ("CANCELLED by 1000", JobState::Ended(JobEnding::Cancelled)),
            ("OUT_OF_MEMORY", JobState::Ended(JobEnding::OutOfMemory)),
            ("NODE_FAIL", JobState::Ended(JobEnding::NodeFailed)),
            ("TIMEOUT", JobState::Ended(JobEnding::TimedOut)),
            ("", JobState::Unknown),
            ("SOMETHING_NEW", JobState::Unknown),
        ] {
            assert_eq!(state_of(word, "Resources", "n[1-3]"), expected, "{word}");
        }
    }
}
