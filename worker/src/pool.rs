//! The threads that compute.

use std::any::Any;
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;

use granule_engine::spikes::MOST_SPIKES;
use granule_engine::{Fingerprint, Model, Shard, TrialSpikes};
use granule_farm::session::Output;
use granule_proto::convert::{Survey, TrialName, TrialResult, Trials, Work};
use tokio::sync::mpsc as tokio_mpsc;

/// Threads that compute pieces of work, each one at a time.
#[derive(Debug)]
pub struct Pool {
    work: mpsc::Sender<(u64, Work)>,
    threads: u32,
    cancelled: Arc<Mutex<BTreeSet<u64>>>,
}

impl Pool {
    /// Starts the threads, fewer if the system refuses some; gives why it did. Outputs that nobody takes stop them from
    /// going on: the channel bounds what lies here.
    ///
    /// # Errors
    /// When the system refuses all of them.
    pub fn start(
        threads: u32,
        outputs: &tokio_mpsc::Sender<Output>,
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

    /// How many threads there are.
    #[must_use]
    pub fn threads(&self) -> u32 {
        self.threads
    }

    /// Queues a piece of work.
    pub fn compute(&self, ticket: u64, work: Work) {
        // The threads end when the outputs are not wanted any more, and then this is not either.
        let _ = self.work.send((ticket, work));
    }

    /// Has a piece of work end after the trial that it is at.
    pub fn cancel(&self, ticket: u64) {
        lock(&self.cancelled).insert(ticket);
    }
}

struct Thread {
    queue: Arc<Mutex<mpsc::Receiver<(u64, Work)>>>,
    cancelled: Arc<Mutex<BTreeSet<u64>>>,
    outputs: tokio_mpsc::Sender<Output>,
}

/// How a piece of work came to its end.
enum WorkEnd {
    Finished,
    Cancelled,
    Failed(String),
    /// Nobody takes outputs any more.
    Unwanted,
}

impl Thread {
    fn serve(&self) {
        loop {
            let next = lock(&self.queue).recv();
            let Ok((ticket, work)) = next else { return };
            // A bug of ours is the end of this work only: its trial is named, and others go on.
            let end = catch_unwind(AssertUnwindSafe(|| match &work {
                Work::Trials(work) => self.trials(ticket, work),
                Work::Survey(work) => self.survey(ticket, work),
            }))
            .unwrap_or_else(|panic| WorkEnd::Failed(describe(&*panic)));
            lock(&self.cancelled).remove(&ticket);
            let last = match end {
                WorkEnd::Finished => Output::Finished { ticket },
                WorkEnd::Cancelled => Output::HandedBack { ticket },
                WorkEnd::Failed(reason) => Output::Failed { ticket, reason },
                WorkEnd::Unwanted => return,
            };
            if !self.hand_out(last) {
                return;
            }
        }
    }

    fn hand_out(&self, output: Output) -> bool {
        self.outputs.blocking_send(output).is_ok()
    }

    fn is_cancelled(&self, ticket: u64) -> bool {
        lock(&self.cancelled).contains(&ticket)
    }

    fn trials(&self, ticket: u64, work: &Trials) -> WorkEnd {
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
        let computed = work.engine.compute(&shard, &mut |trial, spikes| {
            let is_wanted = self.hand_out_trial(ticket, work.seed, trial, &fingerprints, spikes);
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

    /// Hands out what came of a trial of these conditions. False if nobody takes it.
    fn hand_out_trial(
        &self,
        ticket: u64,
        seed: u32,
        trial: u32,
        fingerprints: &[Fingerprint],
        spikes: Vec<Option<TrialSpikes>>,
    ) -> bool {
        let mut too_large = Vec::new();
        for (&fingerprint, spikes) in fingerprints.iter().zip(spikes) {
            let name = TrialName { fingerprint, seed, trial };
            let Some(spikes) = spikes else {
                too_large.push(Output::TooLarge { ticket, name });
                continue;
            };
            let encoded = spikes.encode();
            // Of a large trial, both would be twice the memory while the result waits to be taken.
            drop(spikes);
            if !self.hand_out(Output::Trial { ticket, result: TrialResult::new(name, encoded) }) {
                return false;
            }
        }
        // Last: what others have to compute again for it has then been sent.
        too_large.into_iter().all(|output| self.hand_out(output))
    }

    fn survey(&self, ticket: u64, work: &Survey) -> WorkEnd {
        if self.is_cancelled(ticket) {
            return WorkEnd::Cancelled;
        }
        let parts = work.first..work.first.saturating_add(work.count);
        match work.engine.survey(&work.model, work.seed, parts) {
            Err(error) => WorkEnd::Failed(error.to_string()),
            Ok(findings) => match self.hand_out(Output::Survey { ticket, findings }) {
                true => WorkEnd::Finished,
                false => WorkEnd::Unwanted,
            },
        }
    }
}

/// What a panic said.
fn describe(panic: &(dyn Any + Send)) -> String {
    let said = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
    format!("the computing thread panicked, which is a bug in granule: {}", said.unwrap_or("no message"))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing behind these locks is ever left half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
