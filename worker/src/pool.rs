//! The threads that compute.

use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};

use granule_proto::LARGEST_MESSAGE;
use granule_proto::convert::{Survey, TrialName, TrialResult, Trials, Work};
use granule_sim::isa::Isa;
use granule_sim::network::{Network, Wiring};
use granule_sim::noise::{NormalStream, count_accepted};
use granule_sim::trial::Cohort;
use granule_sweep::key::Fingerprint;
use tokio::sync::mpsc as tokio_mpsc;

/// What the pool hands out.
#[derive(Debug)]
pub enum Output {
    /// A trial is done.
    Trial {
        /// The lease it was computed under.
        lease: u64,
        /// Its spikes.
        result: TrialResult,
    },
    /// A survey is done.
    Survey {
        /// The lease it was computed under.
        lease: u64,
        /// Accepted attempts of each span.
        accepted: Vec<u32>,
    },
    /// Everything of a lease has been handed out.
    Finished {
        /// The lease.
        lease: u64,
    },
    /// A lease cannot be computed.
    Failed {
        /// The lease.
        lease: u64,
        /// Why.
        reason: String,
    },
}

/// Threads that compute leases, each one at a time.
#[derive(Debug)]
pub struct Pool {
    work: mpsc::Sender<(u64, Work)>,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    /// Starts the threads. Outputs that nobody takes stop them from going on: the channel bounds
    /// what lies here.
    ///
    /// # Errors
    /// When the system has no more threads.
    pub fn start(threads: u32, outputs: &tokio_mpsc::Sender<Output>) -> std::io::Result<Pool> {
        let (work, queue) = mpsc::channel();
        let queue = Arc::new(Mutex::new(queue));
        let threads = (0..threads)
            .map(|i| {
                let queue = Arc::clone(&queue);
                let outputs = outputs.clone();
                thread::Builder::new().name(format!("compute-{i}")).spawn(move || serve(&queue, &outputs))
            })
            .collect::<Result<_, _>>()?;
        Ok(Pool { work, threads })
    }

    /// Queues a lease.
    pub fn compute(&self, lease: u64, work: Work) {
        // The threads outlive the pool's handle; where all have panicked, `has_panicked` tells.
        let _ = self.work.send((lease, work));
    }

    /// Whether a thread is gone.
    pub fn has_panicked(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }
}

fn serve(queue: &Mutex<mpsc::Receiver<(u64, Work)>>, outputs: &tokio_mpsc::Sender<Output>) {
    loop {
        let Ok((lease, work)) = queue.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).recv() else {
            return;
        };
        let hand_out = |output| outputs.blocking_send(output).is_ok();
        let goes_on = match work {
            Work::Trials(work) => trials(lease, &work, hand_out),
            Work::Survey(work) => hand_out(Output::Survey { lease, accepted: survey(&work) }),
        };
        if !(goes_on && hand_out(Output::Finished { lease })) {
            return;
        }
    }
}

/// Computes trials; false once nobody wants them.
fn trials(lease: u64, work: &Trials, hand_out: impl Fn(Output) -> bool) -> bool {
    let isa = Isa::best();
    let Some(end) = work.first.checked_add(work.count) else {
        return hand_out(Output::Failed { lease, reason: "the trials are out of range".into() });
    };
    let cohort = match Cohort::new(isa, &work.models, work.seed, end) {
        Ok(cohort) => cohort,
        Err(error) => return hand_out(Output::Failed { lease, reason: error.to_string() }),
    };
    let fingerprints: Vec<Fingerprint> =
        work.models.iter().map(|model| Fingerprint::new(work.engine, model.parameters())).collect();
    let mut noise = NormalStream::new(isa, cohort.network().noise_origin, work.start);
    (work.first..end).all(|trial| {
        let spikes = cohort.simulate(trial, &mut noise);
        fingerprints.iter().zip(spikes).all(|(&fingerprint, spikes)| {
            let name = TrialName { fingerprint, seed: work.seed, trial };
            let encoded = spikes.encode();
            if encoded.len() > LARGEST_MESSAGE / 2 {
                let reason = format!("trial {trial} has {} MB of spikes", encoded.len() >> 20);
                return hand_out(Output::Failed { lease, reason });
            }
            hand_out(Output::Trial { lease, result: TrialResult::new(name, encoded) })
        })
    })
}

fn survey(work: &Survey) -> Vec<u32> {
    let network = Network::new(Wiring::of(&work.model), work.seed);
    count_accepted(Isa::best(), network.noise_origin, work.first, work.count)
}
