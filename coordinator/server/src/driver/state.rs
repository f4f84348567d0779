//! The state of the loop around the scheduler.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use granule_engine::Engine;
use granule_farm::catalogue::Catalogue;
use granule_farm::scheduler::{ConnectionId, PlanShape, Scheduler, SchedulerConfig, TrialId, WorkerName};
use granule_store::{Store, StoreError};
use granule_sweep::plan::Plan;
use tokio::sync::oneshot;

use super::keeper::Keeper;
use super::quotas::Quotas;
use crate::launch::Workers;
use crate::launch::ssh::Ssh;
use crate::service::{Link, Packages};
use crate::view::board::Views;
use crate::view::progress::Progress;

/// Most disagreements and quarantined workers that are kept for the manifest. Further ones are only counted.
pub(super) const MOST_KEPT: usize = 1000;

/// Options of a run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Name of the sweep, for people.
    pub sweep: String,
    /// Worker processes to start.
    pub workers: u32,
    /// The executable that they run.
    pub program: PathBuf,
    /// Hosts on which workers are started, too.
    pub ssh: Option<Ssh>,
    pub scheduler: SchedulerConfig,
    /// How long leases may take to end after an interrupt. Zero ends the run at once.
    pub drain_within: Duration,
    /// The run fails if no worker is connected for this long. None waits forever.
    pub give_up_after: Option<Duration>,
    /// Whether workers that connect and leave are reported to people.
    pub tells_of_workers: bool,
    /// Address of the metrics page that needs no secret.
    pub metrics: Option<SocketAddr>,
    /// The model file, if the trials are computed by the user's program.
    pub model: Option<PathBuf>,
    /// Versions that the user's program reported in an earlier run of the sweep, by package.
    pub packages: Option<BTreeMap<String, String>>,
    /// Records what the user's program reports.
    pub records: Option<Arc<dyn Records>>,
    /// Decides how many of the plan's trials are computed. If none, all are.
    pub growth: Option<Growth>,
}

/// A number of trials that grows.
#[derive(Clone, Debug)]
pub struct Growth {
    /// Trials of each condition and seed that are certain to be needed.
    pub trials: u32,
    pub rule: Arc<dyn TrialRule>,
}

/// Decides how many trials a sweep needs.
pub trait TrialRule: fmt::Debug + Send + Sync {
    /// Decides after this many trials of each condition and seed. All of them are stored, except those that were set
    /// aside. Reads the store, so it has a thread of its own.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn decide(&self, trials: u32) -> Result<Verdict, StoreError>;
}

/// A decision on the number of trials.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The number of trials that the sweep needs at least; `None` if the present number is enough.
    pub next: Option<u32>,
    /// The reason, for people.
    pub text: String,
}

/// Records what the user's program reports, as soon as it does.
pub trait Records: fmt::Debug + Send + Sync {
    /// Records the versions that the program of the first worker reports, by package.
    fn versions(&self, versions: &BTreeMap<String, String>);

    /// Records how the program failed at a trial of this condition and seed, by index.
    fn failure(&self, condition: usize, seed: usize, trial: u32, how: &str);
}

pub(super) struct Driver<'a> {
    pub(super) options: &'a RunOptions,
    pub(super) catalogue: Catalogue<'a>,
    pub(super) engine: &'static dyn Engine,
    pub(super) store: Arc<Store>,
    pub(super) progress: &'a mut Progress,
    pub(super) views: &'a Views,
    pub(super) scheduler: Scheduler,
    pub(super) started: Instant,
    pub(super) epoch: u64,
    /// The worker processes that the coordinator started.
    pub(super) workers: Workers,
    pub(super) links: BTreeMap<ConnectionId, Link>,
    /// The worker at the other end of each connection.
    pub(super) names: BTreeMap<ConnectionId, WorkerName>,
    /// Workers that the scheduler knows.
    pub(super) known: BTreeMap<WorkerName, Known>,
    pub(super) keeper: Keeper,
    pub(super) deaths: u64,
    pub(super) refusals: u64,
    pub(super) disagreements: Vec<String>,
    pub(super) quarantined: Vec<String>,
    /// How the user's program failed at trials that are not stored. The text is empty if there are too many.
    pub(super) failures: BTreeMap<TrialId, String>,
    /// The last of these failures.
    pub(super) last_failure: Option<String>,
    /// How the last two different results of a trial differ.
    pub(super) difference: String,
    /// Versions that the user's program reports.
    pub(super) packages: Packages,
    pub(super) quotas: Quotas,
    /// Number of workers that have joined.
    pub(super) joined: u64,
    /// Time of the last notice about a refusal, and the number of refusals since.
    pub(super) refused: Option<(Instant, u64)>,
    /// The decision on the number of trials that is being made.
    pub(super) verdict: Option<oneshot::Receiver<Result<Verdict, StoreError>>>,
}

/// A worker as messages describe it.
pub(super) struct Known {
    pub(super) host: String,
    pub(super) process_id: u32,
    /// Where it connected from: an address, or `ssh HOST`.
    pub(super) from: String,
    pub(super) is_ours: bool,
    /// Versions that the user's program reports there.
    pub(super) packages: BTreeMap<String, String>,
}

impl<'a> Driver<'a> {
    pub(super) fn new(
        plan: &'a Plan,
        store: &Arc<Store>,
        options: &'a RunOptions,
        progress: &'a mut Progress,
        views: &'a Views,
        workers: Workers,
        keeper: Keeper,
    ) -> Driver<'a> {
        let mut catalogue = Catalogue::new(plan);
        if let Some(growth) = &options.growth {
            catalogue.limit(growth.trials);
        }
        let may_grow = options.growth.is_some();
        let shape = PlanShape { may_grow, ..catalogue.shape(|stream| store.spans(stream)) };
        let scheduler = Scheduler::new(options.scheduler, shape, |id| store.contains(catalogue.key(id)));
        Driver {
            options,
            catalogue,
            engine: plan.engine,
            store: Arc::clone(store),
            progress,
            views,
            scheduler,
            started: Instant::now(),
            epoch: rand::random::<u64>().max(1),
            workers,
            links: BTreeMap::new(),
            names: BTreeMap::new(),
            known: BTreeMap::new(),
            keeper,
            deaths: 0,
            refusals: 0,
            disagreements: Vec::new(),
            quarantined: Vec::new(),
            failures: BTreeMap::new(),
            last_failure: None,
            difference: String::new(),
            packages: Arc::new(Mutex::new(options.packages.clone())),
            quotas: Quotas::default(),
            joined: 0,
            refused: None,
            verdict: None,
        }
    }
}
