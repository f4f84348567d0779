//! The events that the scheduler handles, and the commands that it returns.

use std::collections::BTreeSet;
use std::ops::Range;

use granule_engine::Digest;

use super::ids::{ConnectionId, LeaseId, Place, Site, TrialId, WorkerName};
use super::variants::Variants;
use granule_engine::stream::Start;

/// An event. Its `lease` is `None` if the worker named a number that no lease can have.
#[derive(Clone, Debug)]
pub enum Event {
    /// A worker has connected, and still holds these leases of this coordinator process.
    Joined { connection: ConnectionId, worker: WorkerName, site: Site, threads: u32, held: Vec<LeaseId> },
    /// The worker has sent all results that it held when it connected.
    Offered { connection: ConnectionId },
    /// A message that has no other effect than to be a sign of life.
    Heard { connection: ConnectionId },
    /// A heartbeat, with the leases that the worker holds and the last one that it has received.
    Beat { connection: ConnectionId, held: Vec<LeaseId>, last: Option<LeaseId> },
    /// A connection has ended.
    Disconnected { connection: ConnectionId },
    /// A worker takes no more leases.
    Draining { connection: ConnectionId },
    /// A result has arrived and is on its way to the store.
    Received { connection: ConnectionId, lease: Option<LeaseId>, trial: TrialId },
    /// A part of a result of this lease has arrived, or waits until the coordinator has room for it.
    Part { connection: ConnectionId, lease: Option<LeaseId> },
    /// A worker reports that a trial has no result: it has too many spikes, or the user's program failed at it. No
    /// result of this trial is stored.
    NoResult { connection: ConnectionId, lease: Option<LeaseId>, trial: TrialId },
    /// The store holds a worker's result of a trial, or an equal one from before.
    Stored { worker: WorkerName, trial: TrialId },
    /// A worker's result differs from the stored one.
    Disagreed { worker: WorkerName, trial: TrialId, stored: Digest, received: Digest },
    /// The store has removed trials.
    Discarded { trials: Vec<TrialId> },
    /// A worker has counted the parts of a stream that its lease asked for.
    Surveyed { connection: ConnectionId, lease: Option<LeaseId>, findings: Vec<u32> },
    /// A worker has sent everything that a lease asked for.
    Finished { connection: ConnectionId, lease: Option<LeaseId> },
    /// A worker returns a lease unfinished.
    HandedBack { connection: ConnectionId, lease: Option<LeaseId> },
    /// A worker cannot compute what a lease asks for.
    Failed { connection: ConnectionId, lease: Option<LeaseId>, reason: String },
    /// A worker sent something that no worker of this sweep can have computed.
    Invalid { connection: ConnectionId, what: String },
    /// A worker process of the coordinator ended without having been asked to.
    ProcessDied { worker: Option<WorkerName>, description: String },
    /// The only connection that a worker can have has ended. `is_death`: its process is known to have died; otherwise
    /// it may have.
    Severed { worker: WorkerName, description: String, is_death: bool },
    /// Time has passed.
    WakeUp,
    /// The coordinator itself did not run for a while. Workers' silence during that time has no meaning.
    Stalled,
    /// The sweep needs more trials of each variant: this many in all. `stored` are those of the new ones that are stored
    /// already. It answers [`Command::Decide`].
    Raised { trials: u32, stored: BTreeSet<TrialId> },
    /// The sweep needs no more trials. It answers [`Command::Decide`].
    Enough,
    /// The coordinator was asked to end, so the scheduler grants no more leases.
    Drain,
}

/// An instruction to the driver.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Admit a worker. It keeps these leases; all its other leases are void.
    Welcome { connection: ConnectionId, kept: Vec<LeaseId> },
    /// Send a lease.
    Grant { connection: ConnectionId, lease: LeaseId, work: Work },
    /// Inform a worker that nothing more of a lease is needed.
    Revoke { connection: ConnectionId, lease: LeaseId },
    /// Inform a worker that it need not keep a result: it is stored, or recorded as a claim or a vote.
    Acknowledge { connection: ConnectionId, trial: TrialId },
    /// End a connection.
    Drop { connection: ConnectionId, why: Dropped },
    /// Store these findings of successive parts. `first` is the first part.
    KeepFindings { stream: usize, first: u32, findings: Vec<u32> },
    /// Remove these trials from the store, then report this with [`Event::Discarded`].
    Discard { trials: Vec<TrialId> },
    /// Drop all records of a worker that has left; the scheduler has dropped its own.
    Forget { worker: WorkerName },
    /// Start a worker process in place of one that died, if the coordinator starts workers.
    Replace,
    /// Start one more worker process, because two workers disagree.
    Reinforce,
    /// Report this to the user.
    Report(Report),
    /// Decide whether the sweep needs more trials: all trials so far are stored or set aside, and no result is disputed.
    /// Answer with [`Event::Raised`] or [`Event::Enough`].
    Decide,
    /// All trials are stored or set aside.
    Complete,
    /// No worker holds a lease any more, as [`Event::Drain`] asked.
    Drained,
    /// The sweep cannot be finished.
    Abandon(Reason),
}

/// Why the scheduler ends a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// The worker was silent for a lease time.
    Silent,
    /// The worker has opened another connection.
    Superseded,
    /// The worker is quarantined or not admitted, for this reason.
    Quarantined(String),
}

/// A report to the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// A worker has connected for the first time.
    Joined { worker: WorkerName },
    /// A worker has connected again.
    Returned { worker: WorkerName },
    /// The connection to a worker with leases has ended.
    Lost { worker: WorkerName },
    /// The connection to a worker without leases has ended.
    Left { worker: WorkerName },
    /// A worker takes no more leases.
    Draining { worker: WorkerName },
    /// The scheduler has taken this many leases from a worker, for others.
    GivenUp { worker: WorkerName, leases: usize },
    /// A worker is quarantined, for this reason.
    Quarantined { worker: WorkerName, reason: String },
    /// An idle worker also computes trials that a slower one holds.
    Copied { place: Place, trials: u32, slow: WorkerName, idle: WorkerName },
    /// A trial is set aside, in all its variants.
    SetAside { place: Place, reason: String },
    /// A trial of one variant is given up, because it has no result.
    NoResult { trial: TrialId },
    /// Two workers have computed different spikes of a trial. `stored_by` is `None` if an earlier run stored the trial.
    Disagreed { trial: TrialId, stored_by: Option<WorkerName>, worker: WorkerName },
    /// A dispute on a trial's spikes is settled. `machines` counts the machines that have computed the trial.
    Settled { trial: TrialId, stored_is_right: bool, machines: usize },
    /// Trials that only a wrong worker had computed are computed again.
    Distrusted { worker: WorkerName, trials: usize },
    /// No worker was available to audit these trials.
    Unaudited { trials: usize },
}

/// The work that a lease covers.
#[derive(Clone, Debug, PartialEq)]
pub enum Work {
    /// Trials of these variants of a cohort. `start` is the start of the first trial in its stream.
    Trials { cohort: u32, trials: Range<u32>, variants: Variants, start: Start },
    /// Parts to count of the stream that this cohort reads.
    Survey { cohort: u32, parts: Range<u32> },
}

/// Why a sweep cannot be finished.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Worker processes died repeatedly.
    #[error(
        "{count} worker processes died in a row, and no trial was stored in between; the last one {last}"
    )]
    Crashes { count: u32, last: String },
    /// Workers failed at every trial that they tried.
    #[error("no trial could be computed: {count} were set aside, and none was stored; the last one: {last}")]
    Nothing { count: usize, last: String },
    /// No computed trial has a result.
    #[error("no trial could be stored: none of the {count} that were computed has a result")]
    NoResults { count: usize },
}
