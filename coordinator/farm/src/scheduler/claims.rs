//! Claims of workers that trials have no result.

use std::collections::{BTreeMap, BTreeSet};

use super::ids::{LeaseId, Site, TrialId, WorkerName};

/// Trials that were claimed to have no result.
#[derive(Debug, Default)]
pub(super) struct Large {
    /// Claims on trials that are tried again.
    pub(super) claims: BTreeMap<TrialId, Vec<Claim>>,
    pub(super) given_up: BTreeSet<TrialId>,
}

/// A worker's claim that a trial has too many spikes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    pub(super) worker: WorkerName,
    pub(super) site: Site,
    pub(super) lease: LeaseId,
}
