//! What things are called.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

/// Time since the driver started.
pub type Time = Duration;

/// A worker process, whatever connection it uses: what it calls itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerName(pub [u8; 16]);

impl fmt::Debug for WorkerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WorkerName({:032x})", u128::from_be_bytes(self.0))
    }
}

/// A connection of a worker; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// A lease; never used twice. As many as there are would take decades to grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(NonZeroU32);

impl LeaseId {
    pub(super) const FIRST: LeaseId = LeaseId(NonZeroU32::MIN);

    /// The lease of this number; none for a number that is never given to one.
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

/// A trial of the plan: of this cohort's variant.
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

/// Where a worker runs, as far as the worker cannot choose it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Site {
    /// The coordinator's machine: a process that the coordinator started.
    Own,
    /// The coordinator's machine: a worker that connects over loopback.
    Loopback,
    /// A host that the coordinator logged in to.
    Host(u64),
    /// The network address of the connection.
    Address(u64),
}

impl Site {
    /// Whether the coordinator started the worker itself.
    pub(super) fn is_trusted(self) -> bool {
        matches!(self, Site::Own | Site::Host(_))
    }

    /// The machine, which computes wrongly in all of its processes if it does in one.
    pub(super) fn machine(self) -> Site {
        match self {
            Site::Loopback => Site::Own,
            site => site,
        }
    }
}
