//! The scheduler's record of each site.

use std::collections::{BTreeMap, BTreeSet};

use super::ids::{Site, WorkerName};
#[cfg(test)]
use super::worker::Share;

/// Limit on the unproven workers of a site with a lease. Each steady worker adds one; each quarantined worker halves
/// it.
const UNPROVEN: usize = 64;

/// Lower bound of this limit.
const UNPROVEN_AT_LEAST: usize = 8;

/// The workers of a site, and their failures.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// Connected workers.
    pub(super) here: usize,
    /// Connected workers that have delivered, take leases and have not stalled.
    pub(super) steady: usize,
    /// Unproven workers that hold a lease and have not stalled.
    pub(super) unproven: usize,
    /// Unproven workers that wait for a lease, by their number in the queue.
    pub(super) waiting: BTreeMap<u64, WorkerName>,
    /// Number of workers that were quarantined.
    pub(super) refused: u32,
    /// Number of failures since one of its workers did its work.
    pub(super) faults: u32,
    /// Why the site is quarantined, if it is.
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
    /// Returns the waiting worker of this number.
    pub(super) fn place(&self, ticket: u64) -> Option<WorkerName> {
        self.waiting.get(&ticket).copied()
    }

    /// Returns the numbers of workers that are connected, steady, unproven with a lease, and waiting.
    pub(super) fn sums(&self) -> [usize; 4] {
        [self.here, self.steady, self.unproven, self.waiting.len()]
    }
}

/// Returns the same numbers, from workers' shares.
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

/// The records of all sites.
pub(super) type Sites = BTreeMap<Site, Standing>;
/// The machines whose workers have ever connected.
pub(super) type Machines = BTreeSet<Site>;
