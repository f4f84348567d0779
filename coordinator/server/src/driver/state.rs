//! What the loop around the scheduler knows of a run.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use granule_engine::Engine;
use granule_farm::catalogue::Catalogue;
use granule_farm::scheduler::{Config, ConnectionId, Scheduler, WorkerName};
use granule_store::Store;
use granule_sweep::plan::Plan;

use super::keeper::Keeper;
use super::quotas::Quotas;
use crate::launch::Workers;
use crate::launch::ssh::Ssh;
use crate::service::Link;
use crate::view::board::Views;
use crate::view::progress::Progress;

/// Disagreements and quarantined workers that are kept for the manifest. Their numbers are counted beyond that.
pub(super) const MOST_KEPT: usize = 1000;

/// How to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name of the sweep, for people.
    pub sweep: String,
    /// Worker processes to start.
    pub workers: u32,
    /// The executable they run.
    pub program: PathBuf,
    /// Machines on which there are workers, too.
    pub ssh: Option<Ssh>,
    pub scheduler: Config,
    /// How long leases may take to end when we are asked to.
    pub drain_within: Duration,
    /// How long there may be no worker, if not for ever.
    pub give_up_after: Option<Duration>,
    /// Whether people are told of workers that come and go.
    pub tells_of_workers: bool,
    /// Where metrics are to be had without a secret.
    pub metrics: Option<SocketAddr>,
}

pub(super) struct Driver<'a> {
    pub(super) options: &'a Options,
    pub(super) catalogue: Catalogue<'a>,
    pub(super) engine: &'static dyn Engine,
    pub(super) store: Arc<Store>,
    pub(super) progress: &'a mut Progress,
    pub(super) views: &'a Views,
    pub(super) scheduler: Scheduler,
    pub(super) started: Instant,
    pub(super) epoch: u64,
    /// Our own processes.
    pub(super) workers: Workers,
    pub(super) links: BTreeMap<ConnectionId, Link>,
    /// Who is at the other end of each connection.
    pub(super) names: BTreeMap<ConnectionId, WorkerName>,
    /// Workers that the scheduler knows.
    pub(super) known: BTreeMap<WorkerName, Known>,
    pub(super) keeper: Keeper,
    pub(super) deaths: u64,
    pub(super) refusals: u64,
    pub(super) disagreements: Vec<String>,
    pub(super) quarantined: Vec<String>,
    pub(super) quotas: Quotas,
    /// Workers that were ever here.
    pub(super) joined: u64,
    /// When people were last told of somebody who was not let in, and how many there were since.
    pub(super) refused: Option<(Instant, u64)>,
}

/// What is known of a worker, for people.
pub(super) struct Known {
    pub(super) host: String,
    pub(super) process_id: u32,
    /// Where it has come from.
    pub(super) from: String,
    pub(super) is_ours: bool,
}

impl<'a> Driver<'a> {
    pub(super) fn new(
        plan: &'a Plan,
        store: &Arc<Store>,
        options: &'a Options,
        progress: &'a mut Progress,
        views: &'a Views,
        workers: Workers,
        keeper: Keeper,
    ) -> Driver<'a> {
        let catalogue = Catalogue::new(plan);
        let shape = catalogue.shape(|stream| store.spans(stream));
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
            quotas: Quotas::default(),
            joined: 0,
            refused: None,
        }
    }
}
