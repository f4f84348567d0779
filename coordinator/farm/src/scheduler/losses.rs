//! How workers lose trials, and trials that they have lost.

use std::collections::{BTreeMap, BTreeSet};

use super::ids::{Site, WorkerName};

/// How much a death speaks for it that the trial was to blame: a failure that the worker tells of, or the end of a
/// process of our own.
const SURELY: u32 = 4;

/// A worker that closed its connection and did not come back: perhaps it was killed for another reason, or it was the
/// line.
const PERHAPS: u32 = 1;

/// How a worker lost a trial.
#[derive(Clone, Copy, Debug)]
pub(super) struct Loss<'a> {
    pub(super) weight: u32,
    /// The coordinator saw it: the process was its own.
    pub(super) is_certain: bool,
    pub(super) reason: &'a str,
}

impl<'a> Loss<'a> {
    /// A process of the coordinator's own has died.
    pub(super) fn surely(reason: &'a str) -> Loss<'a> {
        Loss { weight: SURELY, is_certain: true, reason }
    }

    /// A worker says that it failed.
    pub(super) fn claimed(reason: &'a str) -> Loss<'a> {
        Loss { weight: SURELY, is_certain: false, reason }
    }

    /// A worker has closed its connection and did not come back.
    pub(super) fn perhaps(reason: &'a str) -> Loss<'a> {
        Loss { weight: PERHAPS, is_certain: false, reason }
    }

    /// The same if the worker had this trial alone. With others, the one that it was at is only a guess.
    pub(super) fn of(self, is_alone: bool) -> Loss<'a> {
        Loss { weight: if is_alone { self.weight } else { 0 }, ..self }
    }
}

/// A trial at which workers died or failed.
#[derive(Clone, Debug, Default)]
pub(super) struct Suspect {
    pub(super) losses: u32,
    /// How much certain losses speak for it.
    pub(super) certain: u32,
    /// How much claims do, by site.
    pub(super) claimed: BTreeMap<Site, u32>,
    /// Steady workers that lost it.
    pub(super) tried_by: BTreeSet<WorkerName>,
    pub(super) reason: String,
}
