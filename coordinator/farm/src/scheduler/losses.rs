//! How workers lose trials, and the weights of these losses.

use std::collections::{BTreeMap, BTreeSet};

use super::ids::{Site, WorkerName};

/// Weight of a death that the coordinator observed, or of a failure that the worker reports.
const SURELY: u32 = 4;

/// Weight of a worker that closed its connection and did not return. It may have been killed for another reason, or the
/// line may have failed.
const PERHAPS: u32 = 1;

/// The loss of a trial by a worker.
#[derive(Clone, Copy, Debug)]
pub(super) struct Loss<'a> {
    pub(super) weight: u32,
    /// The coordinator itself observed the death.
    pub(super) is_certain: bool,
    pub(super) reason: &'a str,
}

impl<'a> Loss<'a> {
    /// The death of a process that the coordinator observed.
    pub(super) fn surely(reason: &'a str) -> Loss<'a> {
        Loss { weight: SURELY, is_certain: true, reason }
    }

    /// A failure that a worker reports.
    pub(super) fn claimed(reason: &'a str) -> Loss<'a> {
        Loss { weight: SURELY, is_certain: false, reason }
    }

    /// A worker closed its connection and did not return.
    pub(super) fn perhaps(reason: &'a str) -> Loss<'a> {
        Loss { weight: PERHAPS, is_certain: false, reason }
    }

    /// Keeps the weight only if the worker had this trial alone. With other trials, it is only a guess which one was
    /// running.
    pub(super) fn of(self, is_alone: bool) -> Loss<'a> {
        Loss { weight: if is_alone { self.weight } else { 0 }, ..self }
    }
}

/// A trial at which workers died or failed.
#[derive(Clone, Debug, Default)]
pub(super) struct Suspect {
    pub(super) losses: u32,
    /// Weight of certain losses.
    pub(super) certain: u32,
    /// Weight of claims, by site.
    pub(super) claimed: BTreeMap<Site, u32>,
    /// Proven workers that lost it.
    pub(super) tried_by: BTreeSet<WorkerName>,
    pub(super) reason: String,
}
