//! The threads that compute.

use std::any::Any;
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;

use granule_engine::spikes::MOST_SPIKES;
use granule_engine::{Fingerprint, Model, NoResult, Shard, TrialSpikes};
use granule_farm::session::PoolOutput;
use granule_proto::convert::{TrialName, TrialResult, WireSurvey, WireTrials, WireWork};
use tokio::sync::mpsc as tokio_mpsc;

/// Threads that compute pieces of work. Each thread computes one piece at a time.
#[derive(Debug)]
pub struct Pool {
    work: mpsc::Sender<(u64, WireWork)>,
    threads: u32,
    cancelled: Arc<Mutex<BTreeSet<u64>>>,
}

impl Pool {
    /// Starts the threads. If the system refuses some, starts fewer and returns the error. The channel of
    /// outputs is bounded: if outputs are not taken, the threads wait.
    ///
    /// # Errors
    /// If the system refuses all threads.
    pub fn start(
        threads: u32,
        outputs: &tokio_mpsc::Sender<PoolOutput>,
    ) -> std::io::Result<(Pool, Option<std::io::Error>)> {
        let (work, queue) = mpsc::channel();
        let queue = Arc::new(Mutex::new(queue));
        let cancelled = Arc::new(Mutex::new(BTreeSet::new()));
        for i in 0..threads {
            let thread = Thread {
                queue: Arc::clone(&queue),
                cancelled: Arc::clone(&cancelled),
                outputs: outputs.clone(),
            };
            match thread::Builder::new().name(format!("compute-{i}")).spawn(move || thread.serve()) {
                Ok(_) => {}
                Err(refused) if i == 0 => return Err(refused),
                Err(refused) => return Ok((Pool { work, threads: i, cancelled }, Some(refused))),
            }
        }
        Ok((Pool { work, threads, cancelled }, None))
    }

    /// Number of threads.
    #[must_use]
    pub fn threads(&self) -> u32 {
        self.threads
    }

    /// Queues a piece of work.
    pub fn compute(&self, ticket: u64, work: WireWork) {
        // The threads end when outputs are no longer taken. Then this piece of work is not needed either.
        let _ = self.work.send((ticket, work));
    }

    /// Ends a piece of work after its current trial.
    pub fn cancel(&self, ticket: u64) {
        lock(&self.cancelled).insert(ticket);
    }
}

struct Thread {
    queue: Arc<Mutex<mpsc::Receiver<(u64, WireWork)>>>,
    cancelled: Arc<Mutex<BTreeSet<u64>>>,
    outputs: tokio_mpsc::Sender<PoolOutput>,
}

/// How a piece of work ended.
enum WorkEnd {
    Finished,
    Cancelled,
    Failed(String),
    /// The receiver of outputs is gone.
    Unwanted,
}

impl Thread {
    fn serve(&self) {
        loop {
            let next = lock(&self.queue).recv();
            let Ok((ticket, work)) = next else { return };
            // A panic is a bug in granule. It ends only this piece of work, so that its trial can be named
            // and other work continues.
            let end = catch_unwind(AssertUnwindSafe(|| match &work {
                WireWork::Trials(work) => self.trials(ticket, work),
                WireWork::Survey(work) => self.survey(ticket, work),
            }))
            .unwrap_or_else(|panic| WorkEnd::Failed(describe(&*panic)));
            lock(&self.cancelled).remove(&ticket);
            let last = match end {
                WorkEnd::Finished => PoolOutput::Finished { ticket },
                WorkEnd::Cancelled => PoolOutput::HandedBack { ticket },
                WorkEnd::Failed(reason) => PoolOutput::Failed { ticket, reason },
                WorkEnd::Unwanted => return,
            };
            if !self.hand_out(last) {
                return;
            }
        }
    }

    fn hand_out(&self, output: PoolOutput) -> bool {
        self.outputs.blocking_send(output).is_ok()
    }

    fn is_cancelled(&self, ticket: u64) -> bool {
        lock(&self.cancelled).contains(&ticket)
    }

    fn trials(&self, ticket: u64, work: &WireTrials) -> WorkEnd {
        if self.is_cancelled(ticket) {
            return WorkEnd::Cancelled;
        }
        let Some(end) = work.first.checked_add(work.count) else {
            return WorkEnd::Failed("the trials are out of range".into());
        };
        let shard = Shard {
            models: &work.models,
            seed: work.seed,
            trials: work.first..end,
            start: work.start,
            most_spikes: MOST_SPIKES,
        };
        let fingerprints: Vec<Fingerprint> = work.models.iter().map(Model::fingerprint).collect();
        let mut end = WorkEnd::Finished;
        let computed = work.engine.compute(&shard, &mut |trial, results| {
            let is_wanted = self.hand_out_trial(ticket, work.seed, trial, &fingerprints, results);
            if !is_wanted {
                end = WorkEnd::Unwanted;
            } else if trial + 1 < shard.trials.end && self.is_cancelled(ticket) {
                end = WorkEnd::Cancelled;
            } else {
                return ControlFlow::Continue(());
            }
            ControlFlow::Break(())
        });
        computed.map_or_else(|error| WorkEnd::Failed(error.to_string()), |()| end)
    }

    /// Sends the results of a trial of these conditions. Returns false if the receiver of outputs is gone.
    fn hand_out_trial(
        &self,
        ticket: u64,
        seed: u32,
        trial: u32,
        fingerprints: &[Fingerprint],
        results: Vec<Result<TrialSpikes, NoResult>>,
    ) -> bool {
        let mut without = Vec::new();
        for (&fingerprint, result) in fingerprints.iter().zip(results) {
            let name = TrialName { fingerprint, seed, trial };
            let spikes = match result {
                Ok(spikes) => spikes,
                Err(why) => {
                    without.push(PoolOutput::NoResult { ticket, name, why });
                    continue;
                }
            };
            let encoded = spikes.encode();
            // Spikes and encoded spikes of a large trial would take twice the memory while the result waits
            // to be taken.
            drop(spikes);
            if !self.hand_out(PoolOutput::Trial { ticket, result: TrialResult::new(name, encoded) }) {
                return false;
            }
        }
        // These are last. A trial without a result is computed again elsewhere; by then all other results have been
        // sent.
        without.into_iter().all(|output| self.hand_out(output))
    }

    fn survey(&self, ticket: u64, work: &WireSurvey) -> WorkEnd {
        if self.is_cancelled(ticket) {
            return WorkEnd::Cancelled;
        }
        let parts = work.first..work.first.saturating_add(work.count);
        match work.engine.survey(&work.model, work.seed, parts) {
            Err(error) => WorkEnd::Failed(error.to_string()),
            Ok(findings) => match self.hand_out(PoolOutput::Survey { ticket, findings }) {
                true => WorkEnd::Finished,
                false => WorkEnd::Unwanted,
            },
        }
    }
}

/// Returns an error text with the message of a panic.
fn describe(panic: &(dyn Any + Send)) -> String {
    let said = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
    format!("the computing thread panicked, which is a bug in granule: {}", said.unwrap_or("no message"))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Data behind these locks is never left half changed, so it is valid after a panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
