//! Claims of workers that trials are too large.

use std::collections::{BTreeMap, BTreeSet};

use super::ids::{LeaseId, Site, TrialId, WorkerName};

/// Trials that are too large.
#[derive(Debug, Default)]
pub(super) struct Large {
    /// Who has said so of trials that are tried again, and under which lease.
    pub(super) claims: BTreeMap<TrialId, Vec<Claim>>,
    pub(super) given_up: BTreeSet<TrialId>,
}

/// A worker has found too many spikes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    pub(super) worker: WorkerName,
    pub(super) site: Site,
    pub(super) lease: LeaseId,
}
