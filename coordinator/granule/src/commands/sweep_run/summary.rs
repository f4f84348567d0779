//! The summary of a run, for programs.

use std::path::Path;

use granule_outputs::manifest;
use granule_server::driver::RunOutcome;
use granule_system::exit;
use serde::Serialize;

use crate::stdout::ReportHead;

/// The trials that were computed, over all rounds of computing in this run.
#[derive(Default)]
pub(super) struct Computed {
    pub(super) trials: u64,
    pub(super) outcome: RunOutcome,
}

/// The work that is done so far.
#[derive(Default)]
pub(super) struct Done {
    pub(super) computed: Computed,
    pub(super) files: FileCounts,
    /// Whether the manifest in place is of this sweep.
    pub(super) has_manifest: bool,
    /// The summary for people, once all is in place.
    pub(super) summary: Option<String>,
}

/// Numbers of output files.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct FileCounts {
    pub(super) written: u64,
    /// Files that were already as they should be.
    pub(super) reused: u64,
    /// Files of an earlier sweep.
    pub(super) removed: u64,
}

/// Different trials, each of one condition and seed.
#[derive(Debug, Serialize)]
struct TrialCounts {
    total: u64,
    /// Computed by this run.
    computed: u64,
    /// Stored before this run.
    reused: u64,
    set_aside: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct RunSummary {
    #[serde(flatten)]
    head: ReportHead,
    sweep: String,
    /// `complete`, `incomplete`, `disagreed`, `hung_up`, `interrupted`, `terminated` or `failed`.
    state: &'static str,
    trials: TrialCounts,
    files: FileCounts,
    seconds: f64,
    /// CPU time of all processes on this machine.
    cpu_seconds: f64,
    out: String,
    store: String,
    /// None unless the manifest in place is of this sweep.
    manifest: Option<String>,
}

/// Facts about a run at its end.
pub(super) struct RunFacts<'a> {
    pub(super) sweep: &'a str,
    /// Different trials.
    pub(super) total: u64,
    /// Those of them that are stored by now.
    pub(super) stored: u64,
    pub(super) seconds: f64,
    pub(super) cpu_seconds: f64,
    pub(super) out: &'a Path,
    pub(super) store: &'a Path,
}

impl RunSummary {
    /// Returns the summary of a run that ends with this exit code.
    pub(super) fn new(code: u8, done: &Done, facts: &RunFacts<'_>) -> RunSummary {
        let Done { computed, files, has_manifest, .. } = done;
        let RunFacts { sweep, total, stored, seconds, cpu_seconds, out, store } = *facts;
        RunSummary {
            head: ReportHead::of("run"),
            sweep: sweep.to_owned(),
            state: state_of(code),
            trials: TrialCounts {
                total,
                computed: computed.trials,
                reused: stored.saturating_sub(computed.trials),
                set_aside: computed.outcome.set_aside.len() as u64,
            },
            files: *files,
            seconds,
            cpu_seconds,
            out: out.display().to_string(),
            store: store.display().to_string(),
            manifest: has_manifest.then(|| out.join(manifest::NAME).display().to_string()),
        }
    }
}

/// Returns the state that an exit code stands for.
fn state_of(code: u8) -> &'static str {
    match code {
        0 => "complete",
        exit::INCOMPLETE => "incomplete",
        exit::DISAGREED => "disagreed",
        exit::HUNG_UP => "hung_up",
        exit::INTERRUPTED => "interrupted",
        exit::TERMINATED => "terminated",
        _ => "failed",
    }
}
