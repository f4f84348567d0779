//! Access to the program's internals for benchmarks, and for tests of speed, memory and figures. Nothing else uses it,
//! and its interface may change at any time.

use std::error::Error;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use granule_farm::bench::Life;
pub use granule_outputs::{ReadWeightsError, read_weights};

use granule_engine::{Digest, TrialKey, TrialSpikes};
use granule_farm::bench::config;
use granule_outputs::{HashedFile, write_rows};
use granule_server::driver::{self, Reception, RunOptions};
use granule_server::view::board::Views;
use granule_server::view::progress::Progress;
use granule_server::view::status::ConditionStatus;
use granule_store::{Put, Store, StoreEntry};
use granule_sweep::Plan;
use granule_worker::access::Secret;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// Returns the runtime that the coordinator uses.
///
/// # Errors
/// When the system has no more threads.
pub fn runtime() -> std::io::Result<Runtime> {
    granule_system::threads::runtime()
}

/// Listens for workers, as `granule run` does.
///
/// # Errors
/// When the address cannot be bound.
pub fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    driver::listen(address)
}

/// Computes the trials of a plan that the store at this path lacks, as `granule run` does, with workers that connect by
/// themselves.
///
/// # Errors
/// As `granule run`. Also after ten minutes, because its workers are gone by then.
pub async fn coordinate(
    plan: Arc<Plan>,
    store: PathBuf,
    listener: TcpListener,
    secret: String,
    shard_trials: Option<u32>,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let store = Arc::new(Store::open(&store)?);
    let options = RunOptions {
        sweep: "bench".into(),
        workers: 0,
        program: "none".into(),
        ssh: None,
        scheduler: config(shard_trials),
        drain_within: Duration::ZERO,
        give_up_after: None,
        tells_of_workers: false,
        metrics: None,
        model: None,
        packages: None,
        records: None,
        growth: None,
    };
    let total = plan.len() / plan.conditions.len() as u64;
    let part = |condition: &granule_sweep::Condition| ConditionStatus {
        name: condition.name.clone(),
        total,
        stored: 0,
    };
    let parts: Vec<ConditionStatus> = plan.conditions.iter().map(part).collect();
    let pairs =
        vec![0; parts.len() * plan.cohorts.last().map_or(0, |_| plan.seed_of(plan.cohorts.len() - 1) + 1)];
    let mut progress = Progress::new(parts, pairs, plan.len(), 0);
    let (_interrupt, interrupted) = watch::channel(false);
    let door = Reception { listener, tls: None, secret: Secret::parse(&secret)? };
    let views = Views::default();
    let computing = driver::compute(door, &plan, &store, &options, &mut progress, &views, interrupted);
    tokio::time::timeout(Duration::from_secs(600), computing).await??;
    Ok(())
}

/// Writes a matrix of these rows like an output file: encoded, hashed, synced, put in place.
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

/// Puts these values into the store at this path. They replace what it has of these trials.
///
/// # Errors
/// As `granule run`.
pub fn replace_values(path: &Path, values: &[(TrialKey, Vec<u8>)]) -> Result<(), Box<dyn Error>> {
    let store = Store::open(path)?;
    store.remove(&values.iter().map(|(key, _)| *key).collect::<Vec<_>>())?;
    let entry = |(key, spikes): &'_ (TrialKey, Vec<u8>)| (*key, Digest::of(spikes), spikes.clone());
    let entries: Vec<_> = values.iter().map(entry).collect();
    let entries =
        entries.iter().map(|(key, digest, spikes)| StoreEntry { key: *key, digest: *digest, spikes });
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

    /// Returns the number of trials in it when it was opened.
    pub fn found(&self) -> usize {
        self.0.found().trials
    }

    /// Stores encoded spikes durably.
    ///
    /// # Errors
    /// As `granule run`.
    ///
    /// # Panics
    /// If one of the trials was stored before.
    pub fn put(&self, batch: &[(TrialKey, Vec<u8>)]) -> Result<(), Box<dyn Error>> {
        let entry = |(key, spikes): &'_ (TrialKey, Vec<u8>)| (*key, Digest::of(spikes));
        let labels: Vec<_> = batch.iter().map(entry).collect();
        let entries: Vec<StoreEntry<'_>> = labels
            .into_iter()
            .zip(batch)
            .map(|((key, digest), (_, spikes))| StoreEntry { key, digest, spikes })
            .collect();
        assert!(self.0.put(&entries)?.iter().all(|put| *put == Put::New));
        Ok(())
    }

    /// Stores trials without a spike: all of a plan except the last of every condition and seed. Returns their number.
    ///
    /// # Errors
    /// As `granule run`.
    pub fn fill(&self, plan: &Plan) -> Result<u64, Box<dyn Error>> {
        let trains = vec![Vec::new(); plan.engine.populations().len()];
        let silence = TrialSpikes::of(trains).encode();
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
