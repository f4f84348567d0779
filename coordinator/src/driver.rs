//! The loop around the scheduler: what happens goes in as events, and the commands that come out
//! are carried out. It decides nothing.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use granule_proto::convert::TrialResult;
use granule_proto::wire;
use granule_sim::Engine;
use granule_sim::network::Wiring;
use granule_sim::noise::shipped_counts;
use granule_sim::spikes::Digest;
use granule_sweep::key::{StreamKey, TrialKey};
use granule_sweep::plan::{Cohort, Plan};
use granule_worker::access::{Access, Secret};
use rustls_pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio_rustls::rustls::ServerConfig;

use crate::catalogue::{Catalogue, Misplaced};
use crate::dialogue::{self, Introduction, Said};
use crate::failure::plural;
use crate::gate::{self, Refusal};
use crate::launch::{Exited, Program, Workers};
use crate::scheduler::{
    Command, Config, ConnectionId, Dropped, Event, Report, Scheduler, Site, Tally, TrialId, WorkerName,
    WorkerState, WorkerView,
};
use crate::service::{self, Board, FromService, Link, NOTICES, Subject};
use crate::store::{Entry, Put, Store, StoreError};
use crate::view::log;
use crate::view::progress::Progress;
use crate::view::status::{Counts, Notice, SCHEMA, Snapshot, Trials, WorkerStatus, now};

/// How to run.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Name of the sweep, for people.
    pub(crate) sweep: String,
    /// Worker processes to start.
    pub(crate) workers: u32,
    /// The executable they run.
    pub(crate) program: PathBuf,
    pub(crate) scheduler: Config,
    /// How long leases may take to end when we are asked to.
    pub(crate) drain_within: Duration,
    /// Whether people are told of workers that come and go.
    pub(crate) tells_of_workers: bool,
    /// Where metrics are to be had without a secret.
    pub(crate) metrics: Option<SocketAddr>,
}

/// How a coordinator speaks TLS, and the certificate that it is known by.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) certificate: CertificateDer<'static>,
}

/// Where workers come to, and what they need for that.
#[derive(Debug)]
pub(crate) struct Door {
    pub(crate) listener: TcpListener,
    pub(crate) tls: Option<Tls>,
    pub(crate) secret: Secret,
}

impl Door {
    /// What our own workers need to come in.
    fn access(&self) -> io::Result<Access> {
        let mut address = self.listener.local_addr()?;
        match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
            IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
            _ => {}
        }
        Ok(Access {
            addresses: vec![address.to_string()],
            certificate: self.tls.as_ref().map(|tls| tls.certificate.clone()),
            secret: self.secret.clone(),
        })
    }
}

/// What has come of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    /// Trials that are not stored, as nobody could compute them, and why.
    pub(crate) set_aside: Vec<(TrialId, String)>,
    pub(crate) tally: Tally,
    /// Workers that nothing is taken from any more, and why.
    pub(crate) quarantined: Vec<String>,
    /// Results that were not those stored.
    pub(crate) disagreements: Vec<String>,
    /// Workers that were there.
    pub(crate) workers: u64,
}

impl Outcome {
    /// What has come of two runs, one after the other.
    pub(crate) fn add(&mut self, later: Outcome) {
        self.set_aside = later.set_aside;
        self.tally.audited += later.tally.audited;
        self.tally.unaudited += later.tally.unaudited;
        self.quarantined.extend(later.quarantined);
        self.disagreements.extend(later.disagreements);
        self.workers += later.workers;
    }
}

/// Why the trials of a sweep were not all computed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ComputeError {
    #[error("cannot listen on {address}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("cannot start worker process {}", program.display())]
    Start { program: PathBuf, source: io::Error },
    #[error("the server for workers failed")]
    Serve(#[source] tonic::transport::Error),
    #[error("{0}")]
    Abandoned(String),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("interrupted")]
    Interrupted,
}

/// How often the view is refreshed and processes are looked after.
const TICK: Duration = Duration::from_millis(250);

/// A pause between two ticks in which we ourselves were not running.
const STALL: Duration = Duration::from_secs(1);

/// How long workers may take to end once they are told to.
const PATIENCE: Duration = Duration::from_secs(2);

/// Results taken from workers that wait to be stored.
const UNSTORED: usize = 256;

/// So few results are not stored before others have had a moment to come.
const FEW: usize = 16;
const GATHER: Duration = Duration::from_millis(1);

/// Deliveries of workers that wait for the driver, and that it takes at a time: what is done for each
/// of them alone, waking a thread above all, would cost more than a message.
const HEARD: usize = 16;

/// Words about those who are not let in that wait for the driver; more are not heard.
const REFUSALS: usize = 64;

/// Time between two words about those who are not let in.
const REFUSALS_EVERY: Duration = Duration::from_secs(5);

/// What tells machines apart: what they call themselves.
fn site_of(host: &str) -> u64 {
    let hash = blake3::hash(host.as_bytes());
    u64::from_le_bytes(*hash.as_bytes().first_chunk().expect("a hash has 32 bytes"))
}

/// Computes everything of the plan that the store lacks, with workers that come to this door.
pub(crate) async fn compute(
    door: Door,
    plan: &Plan,
    store: &Arc<Store>,
    options: &Options,
    progress: &mut Progress,
    interrupted: watch::Receiver<bool>,
) -> Result<Outcome, ComputeError> {
    unpack_shipped_counts(plan, store)?;
    let no_address = |source| ComputeError::Listen { address: SocketAddr::from(([0; 4], 0)), source };
    let access = door.access().map_err(no_address)?;
    let (to_driver, from_service) = mpsc::channel(HEARD);
    let (refusals, refused) = mpsc::channel(REFUSALS);
    let (stop_server, stop) = oneshot::channel();
    let (snapshots, board) = watch::channel(Arc::default());
    let board = Board { snapshots: board, notices: broadcast::channel(NOTICES).0 };
    let pages = match options.metrics {
        None => None,
        Some(address) => {
            let listener = listen(address).map_err(|source| ComputeError::Listen { address, source })?;
            Some(tokio::spawn(service::serve_pages(listener, service::open_pages(&board))))
        }
    };
    let epoch = rand::random::<u64>().max(1);
    let subject = Subject {
        secret: door.secret,
        engine: plan.engine,
        epoch,
        driver: to_driver,
        refusals: refusals.clone(),
        board: board.clone(),
    };
    let connections =
        gate::open(door.listener, door.tls.map(|tls| tls.config), gate::Limits::default(), refusals);
    let mut server = tokio::spawn(service::serve(connections, subject, stop));
    let (exits, exited) = mpsc::unbounded_channel();
    let connect_within = options.scheduler.lease_ttl;
    let workers = Workers::new(Program { path: options.program.clone(), access, connect_within }, exits);
    let (to_store, requests) = mpsc::channel(UNSTORED);
    let (answers, stored) = mpsc::unbounded_channel();
    let keeper = std::thread::Builder::new()
        .name("store".into())
        .spawn({
            let store = Arc::clone(store);
            move || keep(&store, requests, &answers)
        })
        .map_err(|source| ComputeError::Start { program: "store thread".into(), source })?;

    let mut driver = Driver::new(plan, store, options, progress, workers, to_store, epoch);
    driver.snapshots = Some(snapshots);
    driver.notices = Some(board.notices);
    let outcome = tokio::select! {
        outcome = driver.run(from_service, refused, exited, stored, interrupted) => outcome,
        ended = &mut server => match ended {
            Ok(Err(source)) => Err(ComputeError::Serve(source)),
            _ => Err(ComputeError::Abandoned("the server for workers ended unexpectedly".into())),
        },
    };
    driver.put_up(if outcome.is_ok() { "done" } else { "ended" });
    let patience = if outcome.is_ok() { PATIENCE } else { Duration::ZERO };
    let Driver { workers, to_store, links, .. } = driver;
    drop(links);
    let _ = stop_server.send(());
    workers.end(patience).await;
    // What was taken is stored, whatever the outcome.
    drop(to_store);
    let _ = tokio::task::spawn_blocking(move || keeper.join()).await;
    if outcome.is_ok() {
        // What has been said last is to reach those who are still there.
        let _ = tokio::time::timeout(PATIENCE, &mut server).await;
    }
    server.abort();
    if let Some(pages) = pages {
        pages.abort();
    }
    outcome
}

/// Listens for workers, of which a thousand may come at once: those that find no room are put off for
/// seconds, or taken for accepted when they are not.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A coordinator that is started again on its port need not wait for what is left of its connections.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(4096)
}

async fn until_set(flag: &mut watch::Receiver<bool>) {
    // What this gives holds a lock, and must not be held any longer.
    let _ = flag.wait_for(|is_set| *is_set).await;
}

/// The store's thread ended without saying why.
fn store_gone() -> ComputeError {
    ComputeError::Abandoned(
        "the thread that keeps the store ended unexpectedly; this is a bug in granule".into(),
    )
}

/// What the store is asked for, in order.
enum Keep {
    Trial { worker: WorkerName, id: TrialId, key: TrialKey, result: TrialResult },
    Spans { stream: StreamKey, first: u32, accepted: Vec<u32> },
    Discard { trials: Vec<(TrialId, TrialKey)> },
}

/// What the store has done, in the order in which it was asked.
enum Kept {
    Trial { worker: WorkerName, id: TrialId, put: Put, result: TrialResult },
    Discarded { trials: Vec<TrialId> },
}

/// What the store answers to a batch of requests.
type Answer = Result<Vec<Kept>, StoreError>;

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
    let mut trials = Vec::new();
    for request in batch {
        match request {
            Keep::Trial { worker, id, key, result } => trials.push((worker, id, key, result)),
            Keep::Spans { stream, first, accepted } => store.push_spans(stream, first, &accepted)?,
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

fn put(
    store: &Store,
    trials: &mut Vec<(WorkerName, TrialId, TrialKey, TrialResult)>,
    kept: &mut Vec<Kept>,
) -> Result<(), StoreError> {
    let entry = |(_, _, key, result): &'_ (WorkerName, TrialId, TrialKey, TrialResult)| (*key, result.digest);
    let labels: Vec<(TrialKey, Digest)> = trials.iter().map(entry).collect();
    let entries: Vec<Entry<'_>> = labels
        .iter()
        .zip(trials.iter())
        .map(|(&(key, digest), (_, _, _, result))| Entry { key, digest, spikes: &result.spikes })
        .collect();
    let puts = store.put(&entries)?;
    kept.extend(trials.drain(..).zip(puts).map(|((worker, id, _, result), put)| Kept::Trial {
        worker,
        id,
        put,
        result,
    }));
    Ok(())
}

/// Puts into the store what comes with the program of the streams that a plan reads.
fn unpack_shipped_counts(plan: &Plan, store: &Store) -> Result<(), StoreError> {
    if plan.engine != Engine::Brian2_2_2_1 {
        return Ok(());
    }
    for Cohort { seed, stream, variants, .. } in &plan.cohorts {
        let model = &plan.conditions[variants[0].conditions[0]].model;
        let shipped = shipped_counts(Wiring::of(model), *seed);
        if shipped.len() > store.spans(*stream).len() {
            store.push_spans(*stream, 0, &shipped)?;
        }
    }
    Ok(())
}

struct Driver<'a> {
    options: &'a Options,
    catalogue: Catalogue<'a>,
    engine: Engine,
    store: Arc<Store>,
    progress: &'a mut Progress,
    scheduler: Scheduler,
    started: Instant,
    epoch: u64,
    /// Our own processes.
    workers: Workers,
    links: BTreeMap<ConnectionId, Link>,
    /// Who is at the other end of each connection.
    names: BTreeMap<ConnectionId, WorkerName>,
    /// Workers that were ever here.
    known: BTreeMap<WorkerName, Known>,
    to_store: mpsc::Sender<Keep>,
    snapshots: Option<watch::Sender<Arc<Snapshot>>>,
    notices: Option<broadcast::Sender<Arc<Notice>>>,
    deaths: u64,
    refusals: u64,
    disagreements: Vec<String>,
    quarantined: Vec<String>,
    /// When people were last told of somebody who was not let in, and how many there were since.
    refused: Option<(Instant, u64)>,
}

/// What is known of a worker, for people.
struct Known {
    host: String,
    process_id: u32,
    peer: SocketAddr,
    is_ours: bool,
}

impl<'a> Driver<'a> {
    fn new(
        plan: &'a Plan,
        store: &Arc<Store>,
        options: &'a Options,
        progress: &'a mut Progress,
        workers: Workers,
        to_store: mpsc::Sender<Keep>,
        epoch: u64,
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
            scheduler,
            started: Instant::now(),
            epoch,
            workers,
            links: BTreeMap::new(),
            names: BTreeMap::new(),
            known: BTreeMap::new(),
            to_store,
            snapshots: None,
            notices: None,
            deaths: 0,
            refusals: 0,
            disagreements: Vec::new(),
            quarantined: Vec::new(),
            refused: None,
        }
    }

    async fn run(
        &mut self,
        mut from_service: mpsc::Receiver<Vec<FromService>>,
        mut refused: mpsc::Receiver<Refusal>,
        mut exited: mpsc::UnboundedReceiver<Exited>,
        mut stored: mpsc::UnboundedReceiver<Answer>,
        mut interrupted: watch::Receiver<bool>,
    ) -> Result<Outcome, ComputeError> {
        for _ in 0..self.options.workers {
            self.start_worker()?;
        }
        self.put_up("computing");
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut last_tick = Instant::now();
        let mut drain_until: Option<Instant> = None;
        // What is stored already may be all there is.
        let mut events = vec![Event::WakeUp];
        let mut heard = Vec::with_capacity(HEARD);
        loop {
            for event in events.drain(..) {
                for command in self.scheduler.handle(self.started.elapsed(), event) {
                    if let Some(end) = self.obey(command).await? {
                        return end;
                    }
                }
            }
            tokio::select! {
                () = until_set(&mut interrupted), if drain_until.is_none() => {
                    if self.options.drain_within.is_zero() {
                        return Err(ComputeError::Interrupted);
                    }
                    let within = self.options.drain_within;
                    drain_until = Some(Instant::now() + within);
                    let text = format!("ending: leases are called in, which may take {} s; again to end at once", within.as_secs());
                    self.notice("draining", None, true, text);
                    events.push(Event::Drain);
                }
                1.. = from_service.recv_many(&mut heard, HEARD) => {
                    for heard in heard.drain(..).flatten() {
                        self.on_heard(heard, &mut events).await?;
                    }
                }
                Some(Refusal { peer, reason }) = refused.recv() => self.on_refused(peer, &reason),
                answer = stored.recv() => {
                    for kept in answer.ok_or_else(store_gone)?? {
                        self.on_kept(kept, &mut events);
                    }
                }
                Some(Exited { worker, process_id, description }) = exited.recv() => {
                    if self.workers.exited(worker) {
                        self.deaths += 1;
                        let text = format!("worker process {process_id} {description}");
                        self.notice("worker_died", Some(worker), true, text);
                        events.push(Event::ProcessDied { worker: Some(worker), description });
                    }
                }
                _ = tick.tick() => {
                    self.progress.tick();
                    self.put_up(if drain_until.is_some() { "draining" } else { "computing" });
                    let now = self.started.elapsed();
                    if last_tick.elapsed() > STALL {
                        // Suspended, or starved: what workers sent meanwhile is yet to be read.
                        events.push(Event::Stalled);
                    } else {
                        self.workers.kill_unconnected();
                    }
                    last_tick = Instant::now();
                    if self.scheduler.wake_up().is_some_and(|due| due <= now) {
                        events.push(Event::WakeUp);
                    }
                    if drain_until.is_some_and(|until| until <= last_tick) {
                        return Err(ComputeError::Interrupted);
                    }
                }
            }
        }
    }

    async fn on_heard(&mut self, heard: FromService, events: &mut Vec<Event>) -> Result<(), ComputeError> {
        match heard {
            FromService::Joined { connection, introduction, peer, link } => {
                let Introduction { worker, threads, host, process_id, held } = introduction;
                self.workers.joined(worker);
                self.links.insert(connection, link);
                self.names.insert(connection, worker);
                let is_ours = self.workers.process_id(worker).is_some();
                let site = Site(site_of(&host));
                self.known.insert(worker, Known { host, process_id, peer, is_ours });
                events.push(Event::Joined { connection, worker, site, threads, held });
            }
            FromService::Said { connection, said } => self.on_said(connection, said, events).await?,
            FromService::Nonsense { connection, what } => events.push(Event::Invalid { connection, what }),
            FromService::Left { connection } => {
                self.links.remove(&connection);
                if let Some(worker) = self.names.remove(&connection)
                    && !self.names.values().any(|other| *other == worker)
                {
                    self.workers.left(worker);
                }
                events.push(Event::Disconnected { connection });
            }
        }
        Ok(())
    }

    async fn on_said(
        &mut self,
        connection: ConnectionId,
        said: Said,
        events: &mut Vec<Event>,
    ) -> Result<(), ComputeError> {
        let Some(&worker) = self.names.get(&connection) else { return Ok(()) };
        events.push(match said {
            Said::Beat { held, last } => Event::Beat { connection, held, last },
            Said::Offered => Event::Offered { connection },
            Said::Draining { reason } => {
                let text = format!("{} leaves: {reason}", self.describe(worker));
                self.notice("worker_draining", Some(worker), self.options.tells_of_workers, text);
                Event::Draining { connection }
            }
            Said::Trial { lease, result } => match self.catalogue.place(&result) {
                Ok((id, key)) => {
                    events.push(Event::Received { connection, lease, trial: id });
                    // Waits while the store is busy; meanwhile nothing more is taken from workers.
                    let keep = Keep::Trial { worker, id, key, result };
                    self.to_store.send(keep).await.map_err(|_| store_gone())?;
                    return Ok(());
                }
                Err(Misplaced::Foreign) => {
                    // It was computed for another sweep, or another coordinator: it is to forget it.
                    let name = result.name.to_wire();
                    self.send(connection, wire::to_worker::Message::Acknowledged(name));
                    Event::Heard { connection }
                }
                Err(Misplaced::Impossible) => {
                    Event::Invalid { connection, what: "spikes of cells or times that there are not".into() }
                }
            },
            Said::Survey { lease, accepted } => Event::Surveyed { connection, lease, accepted },
            Said::Finished { lease } => Event::Finished { connection, lease },
            Said::HandedBack { lease } => Event::HandedBack { connection, lease },
            Said::Failed { lease, reason } => Event::Failed { connection, lease, reason },
        });
        Ok(())
    }

    fn on_kept(&mut self, kept: Kept, events: &mut Vec<Event>) {
        match kept {
            Kept::Discarded { trials } => {
                for trial in &trials {
                    self.catalogue.conditions(*trial).iter().for_each(|at| self.progress.retreat(*at));
                }
                events.push(Event::Discarded { trials });
            }
            Kept::Trial { worker, id, put: Put::Differs { stored }, result } => {
                let before = self.store.get(self.catalogue.key(id)).ok().flatten().unwrap_or_default();
                let difference = self.catalogue.first_difference(id, &before, &result.spikes);
                self.disagreements.push(format!(
                    "{}: {} sent other spikes (digest {}) than those stored (digest {stored}); {difference}",
                    self.catalogue.describe(id),
                    self.describe(worker),
                    result.digest,
                ));
                events.push(Event::Disagreed { worker, trial: id, stored, received: result.digest });
            }
            Kept::Trial { worker, id, put, .. } => {
                if put == Put::New {
                    self.catalogue.conditions(id).iter().for_each(|at| self.progress.advance(*at));
                }
                events.push(Event::Stored { worker, trial: id });
            }
        }
    }

    fn on_refused(&mut self, peer: SocketAddr, reason: &str) {
        self.refusals += 1;
        let (last, count) = self.refused.unwrap_or_else(|| (Instant::now() - REFUSALS_EVERY, 0));
        if last.elapsed() < REFUSALS_EVERY {
            self.refused = Some((last, count + 1));
            return;
        }
        let others = if count == 0 { String::new() } else { format!(" ({count} others meanwhile)") };
        self.refused = Some((Instant::now(), 0));
        self.notice("refused", None, true, format!("refused {peer}: {reason}{others}"));
    }

    /// Carries out a command; gives the end, if it is one.
    async fn obey(
        &mut self,
        command: Command,
    ) -> Result<Option<Result<Outcome, ComputeError>>, ComputeError> {
        if let Some((connection, message)) =
            dialogue::message(&self.catalogue, &command, self.epoch, self.heartbeat_ms())
        {
            self.send_message(connection, message);
            return Ok(None);
        }
        match command {
            Command::Drop { connection, why } => self.cut_off(connection, why),
            Command::KeepSpans { stream, first, accepted } => {
                let stream = self.catalogue.stream(stream);
                let keep = Keep::Spans { stream, first, accepted };
                self.to_store.send(keep).await.map_err(|_| store_gone())?;
            }
            Command::Discard { trials } => {
                let trials = trials.into_iter().map(|id| (id, self.catalogue.key(id))).collect();
                self.to_store.send(Keep::Discard { trials }).await.map_err(|_| store_gone())?;
            }
            Command::Replace => {
                if self.options.workers > 0 {
                    self.start_worker()?;
                }
            }
            Command::Reinforce => {
                let text = "two workers do not agree: one more is started here to settle it".to_owned();
                self.notice("reinforced", None, true, text);
                self.start_worker()?;
            }
            Command::Report(report) => self.report(report),
            Command::Complete => {
                let goodbye = wire::Goodbye { reason: "the sweep is complete".into(), refused: false };
                let connections: Vec<ConnectionId> = self.links.keys().copied().collect();
                for connection in connections {
                    self.send(connection, wire::to_worker::Message::Goodbye(goodbye.clone()));
                }
                return Ok(Some(Ok(self.outcome())));
            }
            Command::Drained => return Ok(Some(Err(ComputeError::Interrupted))),
            Command::Abandon(reason) => {
                return Ok(Some(Err(ComputeError::Abandoned(reason.to_string()))));
            }
            // Those were messages.
            Command::Welcome { .. }
            | Command::Grant { .. }
            | Command::Revoke { .. }
            | Command::Acknowledge { .. } => {}
        }
        Ok(None)
    }

    fn outcome(&self) -> Outcome {
        let mut set_aside = Vec::new();
        for (place, reason) in self.scheduler.set_aside() {
            for variant in self.scheduler.unstored_of(place).iter() {
                let id = TrialId { cohort: place.cohort, variant, trial: place.trial };
                set_aside.push((id, reason.to_owned()));
            }
        }
        Outcome {
            set_aside,
            tally: self.scheduler.tally(),
            quarantined: self.quarantined.clone(),
            disagreements: self.disagreements.clone(),
            workers: self.known.len() as u64,
        }
    }

    fn start_worker(&mut self) -> Result<(), ComputeError> {
        let program = self.options.program.clone();
        self.workers.start().map_err(|source| ComputeError::Start { program, source })
    }

    fn heartbeat_ms(&self) -> u32 {
        (self.options.scheduler.lease_ttl / 10).as_millis().clamp(10, 5000) as u32
    }

    fn send(&mut self, connection: ConnectionId, message: wire::to_worker::Message) {
        self.send_message(connection, wire::ToWorker { message: Some(message) });
    }

    fn send_message(&mut self, connection: ConnectionId, message: wire::ToWorker) {
        let Some(link) = self.links.get(&connection) else { return };
        if link.try_send(Ok(message)).is_err() {
            // That it has left is heard of when the connection has ended.
            self.links.remove(&connection);
            if let Some(worker) = self.names.get(&connection) {
                self.workers.kill(*worker, "did not take what it was sent");
            }
        }
    }

    /// Ends a connection, and if there is something about its worker, and its process is ours, that too.
    fn cut_off(&mut self, connection: ConnectionId, why: Dropped) {
        let reason = match why {
            Dropped::Superseded => None,
            Dropped::Silent => {
                let ttl = self.options.scheduler.lease_ttl.as_secs_f64();
                Some(format!("was not heard of for {ttl} s and was ended"))
            }
            Dropped::Quarantined(reason) => {
                let goodbye = wire::Goodbye { reason: reason.clone(), refused: true };
                self.send(connection, wire::to_worker::Message::Goodbye(goodbye));
                Some(format!("is shut out: {reason}"))
            }
        };
        self.links.remove(&connection);
        if let (Some(reason), Some(worker)) = (reason, self.names.get(&connection)) {
            self.workers.kill(*worker, &reason);
        }
    }

    fn report(&mut self, report: Report) {
        let tells = self.options.tells_of_workers;
        let name = |worker: &WorkerName| self.describe(*worker);
        let (event, worker, is_for_people, text) = match &report {
            Report::Joined { worker } => {
                let threads = self.scheduler.workers().find(|view| view.name == *worker);
                let threads = threads.map_or(0, |view| view.threads);
                let from = self.known.get(worker).map_or(String::new(), |known| known.peer.to_string());
                let threads = plural(threads.into(), "thread");
                let text = format!("{} joined from {from}, {threads}", name(worker));
                ("worker_joined", Some(*worker), tells, text)
            }
            Report::Returned { worker } => {
                ("worker_returned", Some(*worker), tells, format!("{} is back", name(worker)))
            }
            Report::Lost { worker } => {
                let text = format!("{} lost its connection; it may come back", name(worker));
                ("worker_lost", Some(*worker), tells, text)
            }
            Report::Left { worker } => {
                ("worker_left", Some(*worker), tells, format!("{} is gone", name(worker)))
            }
            // It has said so itself, and why.
            Report::Draining { .. } => return,
            Report::GivenUp { worker, leases } => {
                let leases = plural(*leases as u64, "lease");
                let text = format!("{} is given up; its {leases} for others", name(worker));
                ("worker_given_up", Some(*worker), tells, text)
            }
            Report::Quarantined { worker, reason } => {
                ("worker_quarantined", Some(*worker), true, format!("{} is shut out: {reason}", name(worker)))
            }
            Report::Copied { place, trials, slow, idle } => {
                let text = format!(
                    "{} computes {} that {} has, too, from {}",
                    name(idle),
                    plural((*trials).into(), "trial"),
                    name(slow),
                    self.catalogue.describe_place(*place)
                );
                ("lease_copied", Some(*idle), false, text)
            }
            Report::SetAside { place, reason } => {
                let text = format!("{} is set aside: {reason}", self.catalogue.describe_place(*place));
                ("trial_set_aside", None, true, text)
            }
            Report::Disagreed { trial, stored_by, worker } => {
                let author = stored_by.map_or("an earlier run".to_owned(), |worker| self.describe(worker));
                let difference = self.disagreements.last().map_or("", |text| text);
                let text = format!(
                    "determinism alarm: {} and {author} have computed {} with different spikes. {difference}",
                    name(worker),
                    self.catalogue.describe(*trial)
                );
                ("disagreement", Some(*worker), true, text)
            }
            Report::Settled { trial, stored_is_right } => {
                let verdict = if *stored_is_right { "stay" } else { "are replaced" };
                let text =
                    format!("settled: the spikes stored of {} {verdict}", self.catalogue.describe(*trial));
                ("settled", None, true, text)
            }
            Report::Distrusted { worker, trials } => {
                let text =
                    format!("{} of {} to be computed again", plural(*trials as u64, "trial"), name(worker));
                ("distrusted", Some(*worker), true, text)
            }
            Report::Unaudited { trials } => {
                let text = format!(
                    "{} not computed once more: there was no other worker",
                    plural(*trials as u64, "trial")
                );
                ("unaudited", None, true, text)
            }
        };
        if let Report::Quarantined { reason, .. } = &report {
            self.quarantined
                .push(format!("{}: {reason}", worker.map_or(String::new(), |of| self.describe(of))));
        }
        self.notice(event, worker, is_for_people, text);
    }

    /// Tells people, logs and watchers.
    fn notice(&self, event: &'static str, worker: Option<WorkerName>, is_for_people: bool, text: String) {
        let worker = worker.map(|worker| self.describe(worker));
        let name = worker.as_deref().unwrap_or_default();
        if is_for_people {
            tracing::info!(target: log::TARGET, event, worker = name, "{text}");
        } else {
            tracing::debug!(target: log::TARGET, event, worker = name, "{text}");
        }
        if let Some(notices) = &self.notices {
            let _ = notices.send(Arc::new(Notice::new(event, worker, text)));
        }
    }

    /// A worker's name for people.
    fn describe(&self, worker: WorkerName) -> String {
        match self.known.get(&worker) {
            Some(Known { process_id, is_ours: true, .. }) => format!("worker process {process_id}"),
            Some(Known { host, process_id, .. }) => format!("worker {host}/{process_id}"),
            None => "a worker".to_owned(),
        }
    }

    /// Shows what the sweep is at to whoever watches.
    fn put_up(&self, state: &str) {
        let Some(snapshots) = &self.snapshots else { return };
        let elapsed = self.started.elapsed();
        let (total, stored, reused) = self.progress.trials();
        let tally = self.scheduler.tally();
        let snapshot = Snapshot {
            schema: SCHEMA,
            kind: "snapshot".to_owned(),
            time: now(),
            sweep: self.options.sweep.clone(),
            state: state.to_owned(),
            granule: env!("CARGO_PKG_VERSION").to_owned(),
            engine: self.engine.name().to_owned(),
            engine_revision: self.engine.revision(),
            elapsed_seconds: elapsed.as_secs_f64(),
            trials: Trials { total, stored, reused },
            trials_per_second: self.progress.rate(),
            seconds_left: self.progress.left().map(|left| left.as_secs_f64()),
            conditions: self.progress.parts().to_vec(),
            workers: self.scheduler.workers().map(|view| self.status_of(&view, elapsed)).collect(),
            counts: Counts {
                leases: tally.leases,
                copied_leases: tally.copies,
                leases_given_back: tally.given_back,
                disconnections: tally.disconnections,
                returns: tally.returns,
                worker_deaths: self.deaths,
                audited: tally.audited,
                unaudited: tally.unaudited,
                disagreements: tally.disagreements,
                discarded_trials: tally.discarded,
                quarantined_workers: tally.quarantined,
                trials_set_aside: tally.set_aside,
                refused: self.refusals,
            },
        };
        snapshots.send_replace(Arc::new(snapshot));
    }

    fn status_of(&self, view: &WorkerView, elapsed: Duration) -> WorkerStatus {
        let known = self.known.get(&view.name);
        let state = match view.state {
            WorkerState::Working => "working",
            WorkerState::Idle => "idle",
            WorkerState::Draining => "draining",
            WorkerState::Lost => "lost",
            WorkerState::Gone => "gone",
            WorkerState::Quarantined => "quarantined",
        };
        WorkerStatus {
            name: known.map_or(String::new(), |known| format!("{}/{}", known.host, known.process_id)),
            host: known.map_or(String::new(), |known| known.host.clone()),
            process_id: known.map_or(0, |known| known.process_id),
            address: known.map_or(String::new(), |known| known.peer.to_string()),
            state: state.to_owned(),
            threads: view.threads,
            leases: view.leases as u64,
            trials: view.stored,
            silent_seconds: elapsed.saturating_sub(view.heard).as_secs_f64(),
        }
    }
}
