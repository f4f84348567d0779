//! The store's thread. It makes results durable in batches, in the order in which they arrive.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use granule_engine::{StreamKey, TrialKey};
use granule_farm::scheduler::{TrialId, WorkerName};
use granule_proto::convert::TrialResult;
use granule_store::{Put, Store, StoreEntry, StoreError};
use granule_sweep::plan::{Cohort, Plan};
use tokio::sync::{mpsc, oneshot};

use super::error::ComputeError;
use crate::room::Reservation;

/// Most results that wait to be stored.
const UNSTORED: usize = 256;

/// A batch smaller than this waits for `GATHER`, so that more results can join it.
const FEW: usize = 16;
const GATHER: Duration = Duration::from_millis(1);

/// With a working disk, requests wait for less than this.
const LONG: Duration = Duration::from_millis(250);

/// A request to the store. Requests are handled in order.
pub(super) enum Keep {
    Trial {
        worker: WorkerName,
        trial: TrialId,
        key: TrialKey,
        result: TrialResult,
        /// The result's reserved memory, until it is stored.
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

/// A request that the store has handled. The order is that of the requests.
pub(super) enum StoreDone {
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

/// The store's answer to a batch of requests.
pub(super) type Answer = Result<Vec<StoreDone>, StoreError>;

/// The handle of the store's thread.
pub(super) struct Keeper {
    requests: mpsc::Sender<Keep>,
    thread: JoinHandle<()>,
    /// Resolved when the thread ends.
    ended: oneshot::Receiver<()>,
    is_slow: bool,
}

impl Keeper {
    /// Starts the thread. Returns its handle and the receiver of its answers.
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

    /// Sends a request. Waits while too many are unfinished.
    pub(super) async fn ask(&mut self, keep: Keep) -> Result<(), ComputeError> {
        let since = Instant::now();
        self.requests.send(keep).await.map_err(|_| ComputeError::of_thread("keeps the store"))?;
        self.is_slow |= since.elapsed() > LONG;
        Ok(())
    }

    /// Whether a request had to wait for longer than `LONG` since the last call.
    pub(super) fn was_slow(&mut self) -> bool {
        std::mem::take(&mut self.is_slow)
    }

    /// Waits until all requests are done and the thread has ended.
    pub(super) async fn end(self) {
        drop(self.requests);
        let _ = self.ended.await;
        let _ = self.thread.join();
    }
}

/// The store's thread: takes all requests that have arrived and makes them durable together.
fn keep(store: &Store, mut requests: mpsc::Receiver<Keep>, answers: &mpsc::UnboundedSender<Answer>) {
    let mut batch = Vec::new();
    while requests.blocking_recv_many(&mut batch, UNSTORED) > 0 {
        if batch.len() < FEW {
            // A commit costs as much as many results, whatever their number. Let some gather.
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
            // The channel stays open, so that the driver receives this error first, and not that of a failed request.
            while requests.blocking_recv().is_some() {}
            return;
        }
    }
}

fn keep_batch(store: &Store, batch: impl Iterator<Item = Keep>) -> Answer {
    let mut kept = Vec::new();
    let mut trials: Vec<TrialToStore> = Vec::new();
    for request in batch {
        match request {
            Keep::Trial { worker, trial, key, result, room } => {
                trials.push(TrialToStore { worker, trial, key, result, room })
            }
            Keep::Findings { stream, first, findings } => store.push_spans(stream, first, &findings)?,
            Keep::Discard { trials: gone } => {
                put(store, &mut trials, &mut kept)?;
                let keys: Vec<TrialKey> = gone.iter().map(|(_, key)| *key).collect();
                store.remove(&keys)?;
                kept.push(StoreDone::Discarded { trials: gone.into_iter().map(|(id, _)| id).collect() });
            }
        }
    }
    put(store, &mut trials, &mut kept)?;
    Ok(kept)
}

struct TrialToStore {
    worker: WorkerName,
    trial: TrialId,
    key: TrialKey,
    result: TrialResult,
    room: Option<Box<Reservation>>,
}

fn put(store: &Store, trials: &mut Vec<TrialToStore>, kept: &mut Vec<StoreDone>) -> Result<(), StoreError> {
    fn entry(trial: &TrialToStore) -> StoreEntry<'_> {
        StoreEntry { key: trial.key, digest: trial.result.digest, spikes: &trial.result.spikes }
    }
    let entries: Vec<StoreEntry<'_>> = trials.iter().map(entry).collect();
    let puts = store.put(&entries)?;
    kept.extend(trials.drain(..).zip(puts).map(|(TrialToStore { worker, trial, result, room, .. }, put)| {
        StoreDone::Trial { worker, trial, put, result, room }
    }));
    Ok(())
}

/// Writes into the store those counts of a plan's streams that are included in the program.
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
