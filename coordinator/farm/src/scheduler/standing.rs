//! What is known of the sites from which workers come.

use std::collections::{BTreeMap, BTreeSet};

use super::ids::{Site, WorkerName};
#[cfg(test)]
use super::worker::Share;

/// Unproven workers of a site that may have a lease at the same time; one more for each proven worker of it.
const UNPROVEN: usize = 64;

/// The same for a site of which many workers were quarantined.
const UNPROVEN_AT_LEAST: usize = 8;

/// What is known of a site.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// Connected workers.
    pub(super) here: usize,
    /// Connected workers that have delivered, and go on delivering.
    pub(super) steady: usize,
    /// Unproven workers that have a lease and no reason to be given up yet.
    pub(super) unproven: usize,
    /// Unproven workers without a lease, in the order in which they came.
    pub(super) waiting: BTreeMap<u64, WorkerName>,
    /// Workers that were quarantined.
    pub(super) refused: u32,
    /// Failures since any of its workers delivered.
    pub(super) faults: u32,
    /// Why nothing is taken from any of its workers, if that is so.
    pub(super) shut_out: Option<String>,
}

impl Standing {
    /// Whether another unproven worker may have a lease.
    pub(super) fn has_room(&self) -> bool {
        self.unproven < ((UNPROVEN + self.steady) >> self.refused.min(16)).max(UNPROVEN_AT_LEAST)
    }
}

#[cfg(test)]
impl Standing {
    /// Who has this place in the queue.
    pub(super) fn place(&self, ticket: u64) -> Option<WorkerName> {
        self.waiting.get(&ticket).copied()
    }

    /// Workers that are here, steady, unproven with a lease, and waiting.
    pub(super) fn sums(&self) -> [usize; 4] {
        [self.here, self.steady, self.unproven, self.waiting.len()]
    }
}

/// The same, of shares.
#[cfg(test)]
pub(super) fn sums_of(shares: impl Iterator<Item = Share>) -> [usize; 4] {
    shares.fold([0; 4], |[here, steady, unproven, waiting], share| {
        let one = usize::from;
        [
            here + one(share.here),
            steady + one(share.steady),
            unproven + one(share.unproven),
            waiting + one(share.waiting.is_some()),
        ]
    })
}

/// Machines that were ever here, and who waits where.
pub(super) type Sites = BTreeMap<Site, Standing>;
pub(super) type Machines = BTreeSet<Site>;
