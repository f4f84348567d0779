//! Identifiers of workers, connections, leases and trials.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

/// Time since the driver started.
pub type Time = Duration;

/// The name that a worker process drew when it started. It is the same on all of its connections.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerName(pub [u8; 16]);

impl fmt::Debug for WorkerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WorkerName({:032x})", u128::from_be_bytes(self.0))
    }
}

/// A connection of a worker. Numbers are never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// A lease. Numbers are never used twice; granting all of them would take decades.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(NonZeroU32);

impl LeaseId {
    pub(super) const FIRST: LeaseId = LeaseId(NonZeroU32::MIN);

    /// Returns the lease of this number, or `None` if no lease can have it.
    pub fn new(number: u64) -> Option<LeaseId> {
        u32::try_from(number).ok().and_then(NonZeroU32::new).map(LeaseId)
    }

    pub fn number(self) -> u32 {
        self.0.get()
    }

    pub(super) fn next(self) -> LeaseId {
        LeaseId(self.0.checked_add(1).expect("decades have not passed"))
    }
}

/// A trial of one variant of a cohort, by indices into the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrialId {
    pub cohort: u32,
    pub variant: u32,
    pub trial: u32,
}

impl TrialId {
    pub(super) fn place(self) -> Place {
        Place { cohort: self.cohort, trial: self.trial }
    }
}

/// A trial of a cohort in all its variants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    pub cohort: u32,
    pub trial: u32,
}

/// The location of a worker, as the coordinator sees it. The worker cannot choose it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Site {
    /// A process that the coordinator started on its own machine.
    Own,
    /// A worker on the coordinator's machine that connects over loopback.
    Loopback,
    /// A host to which the coordinator logged in.
    Host(u64),
    /// The network address of the connection.
    Address(u64),
}

impl Site {
    /// Whether the coordinator started the worker itself.
    pub(super) fn is_trusted(self) -> bool {
        matches!(self, Site::Own | Site::Host(_))
    }

    /// The worker's machine. If one process of a machine computes wrongly, all of its processes may.
    pub(super) fn machine(self) -> Site {
        match self {
            Site::Loopback => Site::Own,
            site => site,
        }
    }
}
