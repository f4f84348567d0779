//! What benchmarks, and tests of speed, memory and figures, need of the program's insides. Nothing else
//! uses it, and nothing here is promised to stay.

use std::error::Error;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

<<<<<<< HEAD:coordinator/granule/src/bench.rs
pub use granule_farm::bench::Life;
use granule_farm::bench::config;
use granule_outputs::{HashedFile, write_rows};
=======
>>>>>>> sched:coordinator/src/bench.rs
use granule_sim::spikes::{Digest, TrialSpikes};
use granule_store::{Entry, Put, Store};
use granule_sweep::Plan;
use granule_sweep::key::TrialKey;
use granule_worker::access::Secret;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;

<<<<<<< HEAD:coordinator/granule/src/bench.rs
pub use granule_outputs::{ReadWeightsError, read_weights};
use granule_server::driver::{self, Door, Options};
use granule_server::view::board::Views;
use granule_server::view::progress::Progress;
use granule_server::view::status::Part;
=======
use crate::catalogue::span;
use crate::driver::{self, Door, Options};
use crate::outputs::{HashedFile, write_rows};
pub use crate::outputs::{ReadWeightsError, read_weights};
use crate::scheduler::stream::Index;
use crate::scheduler::{
    CohortShape, Command, Config, ConnectionId, Event, Scheduler, Shape, Site, Time, TrialId, Work,
    WorkerName,
};
use crate::store::{Entry, Put, Store};
use crate::view::board::Views;
use crate::view::progress::Progress;
use crate::view::status::Part;

/// A plan, as far as the scheduler sees it, and who computes it.
#[derive(Clone, Copy, Debug)]
pub struct Life {
    /// Workers of one thread each.
    pub workers: u32,
    /// Cohorts, each with a noise stream of its own.
    pub cohorts: u32,
    /// Variants of each.
    pub variants: u32,
    /// Trials of each variant.
    pub trials: u32,
    /// Trials of a shard.
    pub shard: u32,
}

impl Life {
    /// Trials in all variants.
    pub fn len(&self) -> u64 {
        u64::from(self.cohorts) * u64::from(self.variants) * u64::from(self.trials)
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Has the scheduler hand everything out to workers that need no time, and whose results are
    /// stored after their lease has been finished. Returns how many events that took.
    ///
    /// # Panics
    /// If the scheduler does not get to the end of it.
    pub fn live(&self) -> u64 {
        let cohort = |i| CohortShape {
            variants: self.variants,
            items_per_trial: 1_000_000,
            cost_per_trial: 1e6,
            stream: i as usize,
        };
        let shape = Shape {
            trials: self.trials,
            cohorts: (0..self.cohorts).map(cohort).collect(),
            streams: vec![Index::new(span()); self.cohorts as usize],
        };
        let mut scheduler = Scheduler::new(config(Some(self.shard)), shape, |_| false);
        let mut granted = VecDeque::new();
        let mut is_complete = false;
        let mut events = 0;
        let mut happen = |event, granted: &mut VecDeque<_>| {
            events += 1;
            for command in scheduler.handle(Time::from_micros(events), event) {
                match command {
                    Command::Grant { connection, lease, work } => {
                        granted.push_back((connection, lease, work))
                    }
                    Command::Complete => is_complete = true,
                    Command::Abandon(reason) => panic!("{reason}"),
                    _ => {}
                }
            }
        };
        for worker in 0..u64::from(self.workers) {
            let name = WorkerName(u128::from(worker).to_be_bytes());
            let connection = ConnectionId(worker);
            happen(
                Event::Joined {
                    connection,
                    worker: name,
                    site: Site::Address(worker),
                    threads: 1,
                    held: vec![],
                },
                &mut granted,
            );
        }
        while let Some((connection, lease, work)) = granted.pop_front() {
            match work {
                Work::Survey { parts, .. } => {
                    let findings = vec![span().mean as u32; parts.len()];
                    happen(Event::Surveyed { connection, lease: Some(lease), findings }, &mut granted);
                    happen(Event::Finished { connection, lease: Some(lease) }, &mut granted);
                }
                Work::Trials { cohort, trials, variants, .. } => {
                    let of_trial =
                        |trial| variants.iter().map(move |variant| TrialId { cohort, variant, trial });
                    let ids: Vec<TrialId> = trials.flat_map(of_trial).collect();
                    for &trial in &ids {
                        happen(Event::Received { connection, lease: Some(lease), trial }, &mut granted);
                    }
                    happen(Event::Finished { connection, lease: Some(lease) }, &mut granted);
                    let worker = WorkerName(u128::from(connection.0).to_be_bytes());
                    for &trial in &ids {
                        happen(Event::Stored { worker, trial }, &mut granted);
                    }
                }
            }
        }
        assert!(is_complete);
        events
    }
}

fn config(shard_trials: Option<u32>) -> Config {
    Config {
        // Workers of benchmarks have no heartbeats, and a disk that others write to may stall for long.
        lease_ttl: Duration::from_secs(600),
        lease_target: Duration::from_secs(2),
        shard_trials,
        crash_limit: 4,
        loss_limit: 12,
        audit_percent: 0.0,
    }
}
>>>>>>> sched:coordinator/src/bench.rs

/// What the coordinator runs in.
///
/// # Errors
/// When the system has no more threads.
pub fn runtime() -> std::io::Result<Runtime> {
    granule_system::threads::runtime()
}

/// Listens for workers, as `granule run` does.
///
/// # Errors
/// When the address is not to be had.
pub fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    driver::listen(address)
}

/// Computes what the store at this path lacks of a plan, as `granule run` does, with workers that
/// connect by themselves.
///
/// # Errors
/// As `granule run`, and after ten minutes: its workers are gone then.
pub async fn coordinate(
    plan: Arc<Plan>,
    store: PathBuf,
    listener: TcpListener,
    secret: String,
    shard_trials: Option<u32>,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let store = Arc::new(Store::open(&store)?);
    let options = Options {
        sweep: "bench".into(),
        workers: 0,
        program: "none".into(),
        ssh: None,
        scheduler: config(shard_trials),
        drain_within: Duration::ZERO,
        give_up_after: None,
        tells_of_workers: false,
        metrics: None,
    };
    let total = plan.len() / plan.conditions.len() as u64;
    let part = |condition: &granule_sweep::Condition| Part { name: condition.name.clone(), total, stored: 0 };
    let parts: Vec<Part> = plan.conditions.iter().map(part).collect();
    let pairs =
        vec![0; parts.len() * plan.cohorts.last().map_or(0, |_| plan.seed_of(plan.cohorts.len() - 1) + 1)];
    let mut progress = Progress::new(parts, pairs, plan.len(), 0);
    let (_interrupt, interrupted) = watch::channel(false);
    let door = Door { listener, tls: None, secret: Secret::parse(&secret)? };
    let views = Views::default();
    let computing = driver::compute(door, &plan, &store, &options, &mut progress, &views, interrupted);
    tokio::time::timeout(Duration::from_secs(600), computing).await??;
    Ok(())
}

/// Writes a matrix of these rows as an output file is written: encoded, hashed, synced, put in place.
///
/// # Errors
/// When it cannot be written.
pub fn write_matrix(place: &Path, rows: &[Vec<f64>]) -> Result<(), Box<dyn Error>> {
    let mut writer = HashedFile::create(place)?;
    let cells: Vec<u32> = (0..rows.len() as u32).collect();
    let bins = rows.first().map_or(0, Vec::len);
    write_rows(&mut writer, &cells, bins, |cell| rows[cell as usize].clone(), &|| false)?;
    writer.commit()?;
    Ok(())
}

/// Puts these values into the store at this path, in place of what it has of these trials.
///
/// # Errors
/// As `granule run`.
pub fn replace_values(path: &Path, values: &[(TrialKey, Vec<u8>)]) -> Result<(), Box<dyn Error>> {
    let store = Store::open(path)?;
    store.remove(&values.iter().map(|(key, _)| *key).collect::<Vec<_>>())?;
    let entry = |(key, spikes): &'_ (TrialKey, Vec<u8>)| (*key, Digest::of(spikes), spikes.clone());
    let entries: Vec<_> = values.iter().map(entry).collect();
    let entries = entries.iter().map(|(key, digest, spikes)| Entry { key: *key, digest: *digest, spikes });
    store.put(&entries.collect::<Vec<_>>())?;
    Ok(())
}

/// A store of results.
#[derive(Debug)]
pub struct Shelf(Store);

impl Shelf {
    /// Opens or makes the store at this path.
    ///
    /// # Errors
    /// As `granule run`.
    pub fn open(path: &Path) -> Result<Shelf, Box<dyn Error>> {
        Ok(Shelf(Store::open(path)?))
    }

    /// Trials that were there when it was opened.
    pub fn found(&self) -> usize {
        self.0.found().trials
    }

    /// Puts encoded spikes, durably.
    ///
    /// # Errors
    /// As `granule run`.
    ///
    /// # Panics
    /// If one of them was there.
    pub fn put(&self, batch: &[(TrialKey, Vec<u8>)]) -> Result<(), Box<dyn Error>> {
        let entry = |(key, spikes): &'_ (TrialKey, Vec<u8>)| (*key, Digest::of(spikes));
        let labels: Vec<_> = batch.iter().map(entry).collect();
        let entries: Vec<Entry<'_>> = labels
            .into_iter()
            .zip(batch)
            .map(|((key, digest), (_, spikes))| Entry { key, digest, spikes })
            .collect();
        assert!(self.0.put(&entries)?.iter().all(|put| *put == Put::New));
        Ok(())
    }

    /// Puts trials without a spike: all of a plan but the last of every condition and seed. Returns
    /// how many.
    ///
    /// # Errors
    /// As `granule run`.
    pub fn fill(&self, plan: &Plan) -> Result<u64, Box<dyn Error>> {
        let silence = TrialSpikes::default().encode();
        let mut count = 0;
        for (at, cohort) in plan.cohorts.iter().enumerate() {
            let of_variant = |variant| (0..plan.trials - 1).map(move |trial| plan.key(at, variant, trial));
            let keys = (0..cohort.variants.len()).flat_map(of_variant);
            let batch: Vec<_> = keys.map(|key| (key, silence.clone())).collect();
            self.put(&batch)?;
            count += batch.len() as u64;
        }
        Ok(count)
    }
}
