//! What the scheduler is told, and what it says.

use std::ops::Range;

use granule_engine::spikes::{Digest, MOST_SPIKES};

use super::ids::{ConnectionId, LeaseId, Place, Site, TrialId, WorkerName};
use super::variants::Variants;
use granule_engine::stream::Start;

/// Something that happened. A lease that a worker speaks of is none if there cannot be one of that number.
#[derive(Clone, Debug)]
pub enum Event {
    /// A worker has connected, and is still at these leases of ours.
    Joined { connection: ConnectionId, worker: WorkerName, site: Site, threads: u32, held: Vec<LeaseId> },
    /// It has sent everything it had when it connected.
    Offered { connection: ConnectionId },
    /// A sign of life.
    Heard { connection: ConnectionId },
    /// A sign of life with the leases that a worker is at, and the last one that has reached it.
    Beat { connection: ConnectionId, held: Vec<LeaseId>, last: Option<LeaseId> },
    /// A connection has ended.
    Disconnected { connection: ConnectionId },
    /// A worker wants no more leases.
    Draining { connection: ConnectionId },
    /// A result came in; it is on its way to the store.
    Received { connection: ConnectionId, lease: Option<LeaseId>, trial: TrialId },
    /// A part of a result of this lease came in, or waits until there is room for it.
    Part { connection: ConnectionId, lease: Option<LeaseId> },
    /// A trial, of which no result is stored, has too many spikes.
    TooLarge { connection: ConnectionId, lease: Option<LeaseId>, trial: TrialId },
    /// A result is stored for good, now or before.
    Stored { worker: WorkerName, trial: TrialId },
    /// A result is not the one that is stored.
    Disagreed { worker: WorkerName, trial: TrialId, stored: Digest, received: Digest },
    /// Trials have been taken out of the store.
    Discarded { trials: Vec<TrialId> },
    /// Parts of a stream have been counted.
    Surveyed { connection: ConnectionId, lease: Option<LeaseId>, findings: Vec<u32> },
    /// A worker has sent everything a lease asked for.
    Finished { connection: ConnectionId, lease: Option<LeaseId> },
    /// A worker does not go on with a lease.
    HandedBack { connection: ConnectionId, lease: Option<LeaseId> },
    /// A worker cannot do what a lease asks for.
    Failed { connection: ConnectionId, lease: Option<LeaseId>, reason: String },
    /// A worker sent what no worker of this sweep can have computed.
    Invalid { connection: ConnectionId, what: String },
    /// A worker process of ours ended without being told to.
    ProcessDied { worker: Option<WorkerName>, description: String },
    /// The only way to a worker has ended: it cannot come back. It may have died, and has if that is known.
    Severed { worker: WorkerName, description: String, is_death: bool },
    /// Time has passed.
    WakeUp,
    /// We ourselves were not running for a while: nobody's silence in that time means anything.
    Stalled,
    /// We are to end: nothing more is handed out.
    Drain,
}

/// Something to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Let a worker in; it goes on with these leases and no others.
    Welcome { connection: ConnectionId, kept: Vec<LeaseId> },
    /// Send a lease.
    Grant { connection: ConnectionId, lease: LeaseId, work: Work },
    /// Tell a worker that nothing more of a lease is needed.
    Revoke { connection: ConnectionId, lease: LeaseId },
    /// Tell a worker that a result is stored.
    Acknowledge { connection: ConnectionId, trial: TrialId },
    /// End a connection.
    Drop { connection: ConnectionId, why: Dropped },
    /// Keep what was found of these parts, the first of them being this.
    KeepFindings { stream: usize, first: u32, findings: Vec<u32> },
    /// Take these trials out of the store, and say when that is done.
    Discard { trials: Vec<TrialId> },
    /// A worker that has gone is not spoken of any more.
    Forget { worker: WorkerName },
    /// Start a worker process of ours, if there are to be any, in place of one that died.
    Replace,
    /// Start a worker process of ours: two others do not agree.
    Reinforce,
    /// Tell people.
    Report(Report),
    /// All trials are stored, but those that were set aside.
    Complete,
    /// Nobody has a lease any more, as was asked for.
    Drained,
    /// The sweep cannot be finished.
    Abandon(Reason),
}

/// Why a connection is ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// The worker was not heard of.
    Silent,
    /// It has another.
    Superseded,
    /// Nothing is taken from the worker any more.
    Quarantined(String),
}

/// What people should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// A worker is here for the first time.
    Joined { worker: WorkerName },
    /// A worker is back.
    Returned { worker: WorkerName },
    /// The connection to a worker with leases has ended.
    Lost { worker: WorkerName },
    /// A worker without leases has gone.
    Left { worker: WorkerName },
    /// A worker wants no more leases.
    Draining { worker: WorkerName },
    /// What a worker had is for others.
    GivenUp { worker: WorkerName, leases: usize },
    /// Nothing is taken from a worker any more.
    Quarantined { worker: WorkerName, reason: String },
    /// An idle worker computes what a slower one has, too.
    Copied { place: Place, trials: u32, slow: WorkerName, idle: WorkerName },
    /// A trial is not tried any more.
    SetAside { place: Place, reason: String },
    /// A trial is not tried any more, as it has too many spikes.
    TooLarge { trial: TrialId },
    /// Two workers have computed a trial with different spikes. The first is none of this run if the
    /// trial was stored by an earlier one.
    Disagreed { trial: TrialId, stored_by: Option<WorkerName>, worker: WorkerName },
    /// It is decided what a trial's spikes are; so many machines had computed it.
    Settled { trial: TrialId, stored_is_right: bool, machines: usize },
    /// Trials that only a worker which computes wrongly had computed, and that are computed again.
    Distrusted { worker: WorkerName, trials: usize },
    /// There was nobody to compute these once more.
    Unaudited { trials: usize },
}

/// What a lease gives a right to.
#[derive(Clone, Debug, PartialEq)]
pub enum Work {
    /// Trials of these variants of a cohort.
    Trials { cohort: u32, trials: Range<u32>, variants: Variants, start: Start },
    /// Parts of the stream that this cohort reads.
    Survey { cohort: u32, parts: Range<u32> },
}

/// Why a sweep cannot be finished.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Worker processes die again and again.
    #[error("{count} worker processes died without a single trial stored in between; the last one {last}")]
    Crashes { count: u32, last: String },
    /// Workers die at whatever they are given.
    #[error(
        "no worker could compute anything: {count} trials were tried again and again; of the last one, {last}"
    )]
    Nothing { count: usize, last: String },
    /// Nothing that was computed can be stored.
    #[error(
        "no trial could be stored: each of the {count} that were computed has more than {MOST_SPIKES} spikes"
    )]
    TooLarge { count: usize },
}
