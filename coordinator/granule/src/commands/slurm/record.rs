//! The record of the job that was submitted last for an output directory.

use std::path::{Path, PathBuf};
use std::time::Duration;

use granule_server::view::status::SCHEMA;
use granule_system::files;
use serde::{Deserialize, Serialize};

use crate::slurm::Job;

/// Directory of the script, its logs and the record, in the output directory.
pub(super) const DIRECTORY: &str = "slurm";

/// Name of the record of the last job.
pub(super) const RECORD: &str = "job.json";

/// How long Slurm keeps every job, at least (`MinJobAge` is 300 s).
pub(super) const REMEMBERED_FOR: Duration = Duration::from_secs(240);

/// Longest record of jobs that is read, in bytes.
pub(super) const LONGEST_RECORD: u64 = 1 << 24;

/// A job that was submitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct JobRecord {
    pub(super) schema: u32,
    /// Always `slurm_job`.
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(flatten)]
    pub(super) job: Job,
    /// RFC 3339, UTC.
    pub(super) submitted: String,
    pub(super) log: PathBuf,
    /// The request that it was submitted for. None for jobs of version 0.1.0, and for scripts that were submitted by
    /// hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) asked: Option<Asked>,
}

/// The request that a job is submitted for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Asked {
    /// Hash of the resolved sweep.
    pub(super) sweep: String,
    /// Its size, for people.
    pub(super) size: String,
    /// The request to Slurm and to the coordinator, as their options.
    pub(super) options: Vec<String>,
}

impl Asked {
    /// Returns how this differs from the present request, for people. None if it does not.
    pub(super) fn difference(&self, now: &Asked) -> Option<String> {
        let mut words = Vec::new();
        if self.sweep != now.sweep {
            words.push(match self.size == now.size {
                true => "with different parameter values".to_owned(),
                false => format!("with {} (now {})", self.size, now.size),
            });
        }
        let only = |of: &Asked, other: &Asked| -> String {
            let only: Vec<&str> = (of.options.iter().filter(|word| !other.options.contains(word)))
                .map(String::as_str)
                .collect();
            only.join(" ")
        };
        match (only(self, now), only(now, self)) {
            (there, here) if there.is_empty() && here.is_empty() => {}
            (there, here) if there.is_empty() => words.push(format!("without {here}")),
            (there, here) if here.is_empty() => words.push(format!("with {there}")),
            (there, here) => words.push(format!("with {there} (now {here})")),
        }
        (!words.is_empty()).then(|| words.join(", and "))
    }
}

impl JobRecord {
    /// Whether it is so old that Slurm may have removed it as usual.
    pub(super) fn is_old(&self) -> bool {
        let age = |submitted: jiff::Timestamp| jiff::Timestamp::now().duration_since(submitted);
        let submitted = self.submitted.parse().ok();
        submitted.is_none_or(|submitted| {
            age(submitted) > jiff::SignedDuration::try_from(REMEMBERED_FOR).unwrap_or_default()
        })
    }

    /// Returns the job that was submitted last for the sweep of this directory.
    pub(super) fn find(out: &Path) -> Option<JobRecord> {
        let bytes = files::read(&out.join(DIRECTORY).join(RECORD), LONGEST_RECORD).ok()?;
        serde_json::from_slice::<JobRecord>(&bytes).ok().filter(|record| record.schema == SCHEMA)
    }
}
