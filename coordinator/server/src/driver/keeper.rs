//! The store's thread: what has come from workers is made durable in batches, in the order in which it came.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use granule_engine::{StreamKey, TrialKey};
use granule_farm::scheduler::{TrialId, WorkerName};
use granule_proto::convert::TrialResult;
use granule_store::{Entry, Put, Store, StoreError};
use granule_sweep::plan::{Cohort, Plan};
use tokio::sync::{mpsc, oneshot};

use super::error::ComputeError;
use crate::room::Reservation;

/// Results taken from workers that wait to be stored.
const UNSTORED: usize = 256;

/// So few results are not stored before others have had a moment to come.
const FEW: usize = 16;
const GATHER: Duration = Duration::from_millis(1);

/// Longer than this nobody waits for a disk that works.
const LONG: Duration = Duration::from_millis(250);

/// What the store is asked for, in order.
pub(super) enum Keep {
    Trial {
        worker: WorkerName,
        trial: TrialId,
        key: TrialKey,
        result: TrialResult,
        /// In memory, until it is stored.
        room: Option<Box<Reservation>>,
    },
    Findings {
        stream: StreamKey,
        first: u32,
        findings: Vec<u32>,
    },
    Discard {
        trials: Vec<(TrialId, TrialKey)>,
    },
}

/// What the store has done, in the order in which it was asked.
pub(super) enum Kept {
    Trial {
        worker: WorkerName,
        trial: TrialId,
        put: Put,
        result: TrialResult,
        room: Option<Box<Reservation>>,
    },
    Discarded {
        trials: Vec<TrialId>,
    },
}

/// What the store answers to a batch of requests.
pub(super) type Answer = Result<Vec<Kept>, StoreError>;

/// The store's thread, for those who ask it for something.
pub(super) struct Keeper {
    requests: mpsc::Sender<Keep>,
    thread: JoinHandle<()>,
    /// Resolved when the thread ends.
    ended: oneshot::Receiver<()>,
    is_slow: bool,
}

impl Keeper {
    /// Starts the thread, and gives what hears its answers.
    pub(super) fn start(store: &Arc<Store>) -> io::Result<(Keeper, mpsc::UnboundedReceiver<Answer>)> {
        let (requests, to_do) = mpsc::channel(UNSTORED);
        let (answers, answered) = mpsc::unbounded_channel();
        let store = Arc::clone(store);
        let (end, ended) = oneshot::channel();
        let keep = move || {
            let _end: oneshot::Sender<()> = end;
            keep(&store, to_do, &answers);
        };
        let thread = std::thread::Builder::new().name("store".into()).spawn(keep)?;
        Ok((Keeper { requests, thread, ended, is_slow: false }, answered))
    }

    /// Asks for something; waits while too much has been asked for that is not yet done.
    pub(super) async fn ask(&mut self, keep: Keep) -> Result<(), ComputeError> {
        let since = Instant::now();
        self.requests.send(keep).await.map_err(|_| gone())?;
        self.is_slow |= since.elapsed() > LONG;
        Ok(())
    }

    /// Whether somebody had to wait for long since this was last called.
    pub(super) fn was_slow(&mut self) -> bool {
        std::mem::take(&mut self.is_slow)
    }

    /// Waits until all that was asked for is done.
    pub(super) async fn end(self) {
        drop(self.requests);
        let _ = self.ended.await;
        let _ = self.thread.join();
    }
}

/// The thread ended without saying why.
pub(super) fn gone() -> ComputeError {
    ComputeError::Abandoned(
        "the thread that keeps the store ended unexpectedly; this is a bug in granule".into(),
    )
}

/// The store's thread: takes whatever has come in and makes it durable at once.
fn keep(store: &Store, mut requests: mpsc::Receiver<Keep>, answers: &mpsc::UnboundedSender<Answer>) {
    let mut batch = Vec::new();
    while requests.blocking_recv_many(&mut batch, UNSTORED) > 0 {
        if batch.len() < FEW {
            // A commit costs as much as many results, whatever their number: let some gather.
            std::thread::sleep(GATHER);
            while batch.len() < UNSTORED
                && let Ok(request) = requests.try_recv()
            {
                batch.push(request);
            }
        }
        let answer = keep_batch(store, batch.drain(..));
        let has_failed = answer.is_err();
        let _ = answers.send(answer);
        if has_failed {
            // Whoever sends more hears of this first.
            while requests.blocking_recv().is_some() {}
            return;
        }
    }
}

fn keep_batch(store: &Store, batch: impl Iterator<Item = Keep>) -> Answer {
    let mut kept = Vec::new();
    let mut trials: Vec<Trial> = Vec::new();
    for request in batch {
        match request {
            Keep::Trial { worker, trial, key, result, room } => {
                trials.push(Trial { worker, trial, key, result, room })
            }
            Keep::Findings { stream, first, findings } => store.push_spans(stream, first, &findings)?,
            Keep::Discard { trials: gone } => {
                put(store, &mut trials, &mut kept)?;
                let keys: Vec<TrialKey> = gone.iter().map(|(_, key)| *key).collect();
                store.remove(&keys)?;
                kept.push(Kept::Discarded { trials: gone.into_iter().map(|(id, _)| id).collect() });
            }
        }
    }
    put(store, &mut trials, &mut kept)?;
    Ok(kept)
}

/// A result to be stored.
struct Trial {
    worker: WorkerName,
    trial: TrialId,
    key: TrialKey,
    result: TrialResult,
    room: Option<Box<Reservation>>,
}

fn put(store: &Store, trials: &mut Vec<Trial>, kept: &mut Vec<Kept>) -> Result<(), StoreError> {
    fn entry(trial: &Trial) -> Entry<'_> {
        Entry { key: trial.key, digest: trial.result.digest, spikes: &trial.result.spikes }
    }
    let entries: Vec<Entry<'_>> = trials.iter().map(entry).collect();
    let puts = store.put(&entries)?;
    kept.extend(trials.drain(..).zip(puts).map(|(Trial { worker, trial, result, room, .. }, put)| {
        Kept::Trial { worker, trial, put, result, room }
    }));
    Ok(())
}

/// Puts into the store what comes with the program of the streams that a plan reads.
pub(super) fn unpack_shipped_counts(plan: &Plan, store: &Store) -> Result<(), StoreError> {
    for (at, Cohort { seed, stream, .. }) in plan.cohorts.iter().enumerate() {
        let shipped = plan.engine.shipped(plan.model(at, 0), *seed);
        if shipped.len() > store.spans(*stream).len() {
            store.push_spans(*stream, 0, &shipped)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing() -> Keep {
        Keep::Discard { trials: Vec::new() }
    }

    #[tokio::test]
    async fn a_long_wait_for_the_disk_is_told_once() {
        let (requests, mut to_do) = mpsc::channel(1);
        let (end, ended) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let _end = end;
            std::thread::sleep(LONG + Duration::from_millis(1));
            while to_do.blocking_recv().is_some() {}
        });
        let mut keeper = Keeper { requests, thread, ended, is_slow: false };
        keeper.ask(nothing()).await.expect("there is room for one");
        keeper.ask(nothing()).await.expect("it is taken in the end");
        assert!(keeper.was_slow());
        assert!(!keeper.was_slow());
        keeper.end().await;
    }

    #[tokio::test]
    async fn a_thread_that_has_ended_is_noticed() {
        let (requests, to_do) = mpsc::channel(1);
        drop(to_do);
        let (_, ended) = oneshot::channel();
        let mut keeper = Keeper { requests, thread: std::thread::spawn(|| ()), ended, is_slow: false };
        assert!(matches!(keeper.ask(nothing()).await, Err(ComputeError::Abandoned(_))));
    }
}
