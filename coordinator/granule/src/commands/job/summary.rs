//! What a run did, for programs.

use std::path::Path;

use granule_outputs::manifest;
use granule_server::driver::Outcome;
use granule_system::exit;
use serde::Serialize;

use crate::stdout::Head;

/// What has been computed, over all times that something was.
#[derive(Default)]
pub(super) struct Computed {
    pub(super) trials: u64,
    pub(super) outcome: Outcome,
}

/// What has been done so far.
#[derive(Default)]
pub(super) struct Done {
    pub(super) computed: Computed,
    pub(super) files: FileCounts,
    /// Whether the manifest in place is of this sweep.
    pub(super) has_manifest: bool,
    /// For people, once all is in place.
    pub(super) summary: Option<String>,
}

/// Output files.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct FileCounts {
    pub(super) written: u64,
    /// That were already as they should be.
    pub(super) reused: u64,
    /// Of an earlier sweep.
    pub(super) removed: u64,
}

/// Different trials, each of one condition and seed.
#[derive(Debug, Serialize)]
struct TrialCounts {
    total: u64,
    /// By this run.
    computed: u64,
    /// Stored before.
    reused: u64,
    set_aside: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct RunSummary {
    #[serde(flatten)]
    head: Head,
    sweep: String,
    /// `complete`, `incomplete`, `disagreed`, `hung_up`, `interrupted`, `terminated` or `failed`.
    state: &'static str,
    trials: TrialCounts,
    files: FileCounts,
    seconds: f64,
    /// Of all processes on this machine.
    cpu_seconds: f64,
    out: String,
    store: String,
    /// None unless the manifest in place is of this sweep.
    manifest: Option<String>,
}

/// What is known of a run when it ends.
pub(super) struct Facts<'a> {
    pub(super) sweep: &'a str,
    /// Different trials.
    pub(super) total: u64,
    /// Of them, those that are stored by now.
    pub(super) stored: u64,
    pub(super) seconds: f64,
    pub(super) cpu_seconds: f64,
    pub(super) out: &'a Path,
    pub(super) store: &'a Path,
}

impl RunSummary {
    /// What was done by a run that ends with this exit code.
    pub(super) fn new(code: u8, done: &Done, facts: &Facts<'_>) -> RunSummary {
        let Done { computed, files, has_manifest, .. } = done;
        let Facts { sweep, total, stored, seconds, cpu_seconds, out, store } = *facts;
        RunSummary {
            head: Head::of("run"),
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

/// What an exit code says.
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
