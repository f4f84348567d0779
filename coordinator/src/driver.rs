//! The loop around the scheduler: what happens goes in as events, and the commands that come out
//! are carried out. It decides nothing.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use granule_proto::convert::{Survey, TrialName, TrialResult, Trials, Work as WireWork};
use granule_proto::wire;
use granule_sim::network::Wiring;
use granule_sim::noise::{NoiseIndex, shipped_counts};
use granule_sim::spikes::{Digest, TrialSpikes};
use granule_sweep::key::{Fingerprint, StreamKey, TrialKey};
use granule_sweep::plan::{Cohort, Plan};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{mpsc, oneshot, watch};

use crate::launch::{Exited, Program, Workers};
use crate::scheduler::{
    CohortShape, Command, Config, Event, Reason, Scheduler, Shape, TrialId, Work, WorkerId,
};
use crate::service::{self, FromService, Link};
use crate::store::{Entry, Put, Store, StoreError};
use crate::view::progress::Progress;

/// How to run.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Worker processes to start.
    pub(crate) workers: u32,
    /// Where to listen for them.
    pub(crate) listen: SocketAddr,
    /// The executable they run.
    pub(crate) program: PathBuf,
    pub(crate) scheduler: Config,
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
    #[error(
        "determinism alarm: {trial} was computed twice with different spikes (digest {stored} is stored, \
         worker process {worker} now sent {received}). Nothing was overwritten. One of the machines computes wrongly, \
         or two builds of granule differ: please report this"
    )]
    Disagreement { trial: String, stored: Digest, received: Digest, worker: u32 },
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

/// Computes everything of the plan that the store lacks.
pub(crate) async fn compute(
    plan: &Plan,
    store: &Arc<Store>,
    options: &Options,
    progress: &mut Progress,
    interrupted: watch::Receiver<bool>,
) -> Result<(), ComputeError> {
    let address = options.listen;
    let listener = listen(address).map_err(|source| ComputeError::Listen { address, source })?;
    compute_for(listener, secret(), plan, store, options, progress, interrupted).await
}

/// The same for workers that come to this listener and know this secret.
pub(crate) async fn compute_for(
    listener: TcpListener,
    secret: String,
    plan: &Plan,
    store: &Arc<Store>,
    options: &Options,
    progress: &mut Progress,
    interrupted: watch::Receiver<bool>,
) -> Result<(), ComputeError> {
    unpack_shipped_counts(plan, store)?;
    let address = options.listen;
    let address = listener.local_addr().map_err(|source| ComputeError::Listen { address, source })?;
    let (to_driver, from_service) = mpsc::channel(HEARD);
    let (stop_server, stop) = oneshot::channel();
    let mut server = tokio::spawn(service::serve(listener, secret.clone(), plan.engine, to_driver, stop));
    let (exits, exited) = mpsc::unbounded_channel();
    let connect_within = options.scheduler.lease_ttl;
    let workers =
        Workers::new(Program { path: options.program.clone(), address, secret, connect_within }, exits);
    let (to_store, requests) = mpsc::channel(UNSTORED);
    let (answers, stored) = mpsc::unbounded_channel();
    let keeper = std::thread::Builder::new()
        .name("store".into())
        .spawn({
            let store = Arc::clone(store);
            move || keep(&store, requests, &answers)
        })
        .map_err(|source| ComputeError::Start { program: "store thread".into(), source })?;

    let mut driver = Driver::new(plan, store, options, progress, workers, to_store);
    let outcome = tokio::select! {
        outcome = driver.run(from_service, exited, stored, interrupted) => outcome,
        ended = &mut server => match ended {
            Ok(Err(source)) => Err(ComputeError::Serve(source)),
            _ => Err(ComputeError::Abandoned("the server for workers ended unexpectedly".into())),
        },
    };
    let patience = if outcome.is_ok() { PATIENCE } else { Duration::ZERO };
    let Driver { workers, to_store, .. } = driver;
    workers.end(patience).await;
    // What was taken is stored, whatever the outcome.
    drop(to_store);
    let _ = tokio::task::spawn_blocking(move || keeper.join()).await;
    let _ = stop_server.send(());
    server.abort();
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

/// 256 bits that nobody else knows, in hexadecimal.
fn secret() -> String {
    let mut bytes = [0_u8; 32];
    rand::fill(&mut bytes);
    crate::outputs::hex(&bytes)
}

/// The store's thread ended without saying why.
fn store_gone() -> ComputeError {
    ComputeError::Abandoned(
        "the thread that keeps the store ended unexpectedly; this is a bug in granule".into(),
    )
}

/// What the store is asked to keep.
enum Keep {
    Trial { worker: WorkerId, id: TrialId, key: TrialKey, result: TrialResult },
    Spans { stream: StreamKey, first: u32, accepted: Vec<u32> },
}

/// A trial that the store has kept.
struct Kept {
    worker: WorkerId,
    id: TrialId,
    received: Digest,
    put: Put,
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
        let answer = keep_batch(store, &batch);
        let has_failed = answer.is_err();
        let _ = answers.send(answer);
        if has_failed {
            // Whoever sends more hears of this first.
            while requests.blocking_recv().is_some() {}
            return;
        }
        batch.clear();
    }
}

fn keep_batch(store: &Store, batch: &[Keep]) -> Answer {
    let mut entries = Vec::new();
    let mut senders = Vec::new();
    for request in batch {
        match request {
            Keep::Trial { worker, id, key, result } => {
                entries.push(Entry { key: *key, digest: result.digest, spikes: &result.spikes });
                senders.push((*worker, *id, result.digest));
            }
            Keep::Spans { stream, first, accepted } => store.push_spans(*stream, *first, accepted)?,
        }
    }
    let puts = store.put(&entries)?;
    let kept = |((worker, id, received), put)| Kept { worker, id, received, put };
    Ok(senders.into_iter().zip(puts).map(kept).collect())
}

/// Puts into the store what comes with the program of the streams that a plan reads.
fn unpack_shipped_counts(plan: &Plan, store: &Store) -> Result<(), StoreError> {
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
    plan: &'a Plan,
    options: &'a Options,
    progress: &'a mut Progress,
    scheduler: Scheduler,
    started: Instant,
    workers: Workers,
    links: BTreeMap<WorkerId, Link>,
    process_ids: BTreeMap<WorkerId, u32>,
    to_store: mpsc::Sender<Keep>,
    streams: Vec<StreamKey>,
    /// Which cohort and variant a result belongs to.
    places: HashMap<(u32, Fingerprint), (u32, u32)>,
}

impl<'a> Driver<'a> {
    fn new(
        plan: &'a Plan,
        store: &Store,
        options: &'a Options,
        progress: &'a mut Progress,
        workers: Workers,
        to_store: mpsc::Sender<Keep>,
    ) -> Driver<'a> {
        let mut streams: Vec<StreamKey> = Vec::new();
        let mut stream_places: HashMap<StreamKey, usize> = HashMap::new();
        let mut places = HashMap::new();
        let mut cohorts = Vec::with_capacity(plan.cohorts.len());
        for (at, cohort) in plan.cohorts.iter().enumerate() {
            let stream = *stream_places.entry(cohort.stream).or_insert_with(|| {
                streams.push(cohort.stream);
                streams.len() - 1
            });
            let variants = cohort.variants.len() as u32;
            cohorts.push(CohortShape { variants, normals_per_trial: cohort.normals_per_trial, stream });
            for (variant, of) in cohort.variants.iter().enumerate() {
                places.insert((cohort.seed, of.fingerprint), (at as u32, variant as u32));
            }
        }
        let known = |stream: &StreamKey| {
            let mut index = NoiseIndex::new();
            store.spans(*stream).into_iter().for_each(|accepted| index.push(accepted));
            index
        };
        let shape = Shape { trials: plan.trials, cohorts, streams: streams.iter().map(known).collect() };
        let is_stored =
            |id: TrialId| store.contains(plan.key(id.cohort as usize, id.variant as usize, id.trial));
        let scheduler = Scheduler::new(options.scheduler, shape, is_stored);
        Driver {
            plan,
            options,
            progress,
            scheduler,
            started: Instant::now(),
            workers,
            links: BTreeMap::new(),
            process_ids: BTreeMap::new(),
            to_store,
            streams,
            places,
        }
    }

    async fn run(
        &mut self,
        mut from_service: mpsc::Receiver<Vec<FromService>>,
        mut exited: mpsc::UnboundedReceiver<Exited>,
        mut stored: mpsc::UnboundedReceiver<Answer>,
        mut interrupted: watch::Receiver<bool>,
    ) -> Result<(), ComputeError> {
        for _ in 0..self.options.workers {
            self.start_worker()?;
        }
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut last_tick = Instant::now();
        // What is stored already may be all there is.
        let mut events = vec![Event::WakeUp];
        let mut heard = Vec::with_capacity(HEARD);
        loop {
            for event in events.drain(..) {
                for command in self.scheduler.handle(self.started.elapsed(), event) {
                    if self.obey(command).await? {
                        return Ok(());
                    }
                }
            }
            tokio::select! {
                () = until_set(&mut interrupted) => return Err(ComputeError::Interrupted),
                1.. = from_service.recv_many(&mut heard, HEARD) => {
                    for heard in heard.drain(..).flatten() {
                        self.on_heard(heard, &mut events).await?;
                    }
                }
                answer = stored.recv() => {
                    for kept in answer.ok_or_else(store_gone)?? {
                        self.on_kept(kept, &mut events)?;
                    }
                }
                Some(Exited { process_id, description }) = exited.recv() => {
                    if self.workers.exited(process_id) {
                        self.progress.note(&format!("worker process {process_id} {description}"));
                        events.push(Event::ProcessDied { description });
                    }
                }
                _ = tick.tick() => {
                    self.progress.tick();
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
                }
            }
        }
    }

    async fn on_heard(&mut self, heard: FromService, events: &mut Vec<Event>) -> Result<(), ComputeError> {
        match heard {
            FromService::Joined { worker, threads, process_id, link } => {
                let heartbeat = self.options.scheduler.lease_ttl / 10;
                let heartbeat_ms = heartbeat.as_millis().clamp(10, 5000) as u32;
                self.workers.joined(process_id);
                self.links.insert(worker, link);
                self.process_ids.insert(worker, process_id);
                self.send(worker, wire::to_worker::Message::Welcome(wire::Welcome { heartbeat_ms }));
                events.push(Event::Joined { worker, threads });
            }
            FromService::Heard { worker } => events.push(Event::Heard { worker }),
            FromService::Trial { worker, lease, result } => {
                events.push(Event::Heard { worker });
                match self.place(&result) {
                    Some((id, key)) => {
                        events.push(Event::Received { lease, trial: id });
                        // Waits while the store is busy; meanwhile nothing more is taken from workers.
                        let keep = Keep::Trial { worker, id, key, result };
                        self.to_store.send(keep).await.map_err(|_| store_gone())?;
                    }
                    // Not of this sweep, or not spikes of its model: of no use, and so is its sender.
                    None => self.cut_off(worker, "sent a result that is none of this sweep's"),
                }
            }
            FromService::Survey { worker, lease, accepted } => {
                events.push(Event::Heard { worker });
                events.push(Event::Surveyed { lease, accepted });
            }
            FromService::Finished { worker, lease } => {
                events.push(Event::Heard { worker });
                events.push(Event::Finished { lease });
            }
            FromService::Failed { worker, lease, reason } => {
                events.push(Event::Heard { worker });
                events.push(Event::Failed { lease, reason });
            }
            FromService::Left { worker } => {
                self.links.remove(&worker);
                if let Some(process_id) = self.process_ids.remove(&worker) {
                    self.workers.left(process_id);
                }
                events.push(Event::Left { worker });
            }
        }
        Ok(())
    }

    /// Which trial a result is of, if it is one of this plan and its spikes are possible.
    fn place(&self, result: &TrialResult) -> Option<(TrialId, TrialKey)> {
        let TrialName { fingerprint, seed, trial } = result.name;
        let &(cohort, variant) = self.places.get(&(seed, fingerprint))?;
        if trial >= self.plan.trials {
            return None;
        }
        let model = self.model(cohort, variant);
        TrialSpikes::decode(&result.spikes, model.parameters().network, model.steps()).ok()?;
        Some((TrialId { cohort, variant, trial }, fingerprint.trial(seed, trial)))
    }

    fn on_kept(&mut self, kept: Kept, events: &mut Vec<Event>) -> Result<(), ComputeError> {
        let Kept { worker, id, received, put } = kept;
        if let Put::Differs { stored } = put {
            return Err(ComputeError::Disagreement {
                trial: self.describe(id),
                stored,
                received,
                worker: self.process_ids.get(&worker).copied().unwrap_or_default(),
            });
        }
        if put == Put::New {
            let variant = &self.plan.cohorts[id.cohort as usize].variants[id.variant as usize];
            variant.conditions.iter().for_each(|condition| self.progress.advance(*condition));
        }
        events.push(Event::Stored { worker, trial: id });
        Ok(())
    }

    /// Carries out a command; true when the sweep is complete.
    async fn obey(&mut self, command: Command) -> Result<bool, ComputeError> {
        match command {
            Command::Grant { worker, lease, work } => {
                let work = self.describe_work(&work);
                let lease = wire::Lease { id: lease.0.into(), work: Some(work.to_wire()) };
                self.send(worker, wire::to_worker::Message::Lease(lease));
            }
            Command::Acknowledge { worker, trial } => {
                let cohort = &self.plan.cohorts[trial.cohort as usize];
                let fingerprint = cohort.variants[trial.variant as usize].fingerprint;
                let name = TrialName { fingerprint, seed: cohort.seed, trial: trial.trial };
                self.send(worker, wire::to_worker::Message::Acknowledged(name.to_wire()));
            }
            Command::Drop { worker } => {
                let ttl = self.options.scheduler.lease_ttl.as_secs_f64();
                self.cut_off(worker, &format!("was not heard of for {ttl} s and was ended"));
            }
            Command::KeepSpans { stream, first, accepted } => {
                let stream = self.streams[stream];
                let keep = Keep::Spans { stream, first, accepted };
                self.to_store.send(keep).await.map_err(|_| store_gone())?;
            }
            Command::Replace => self.start_worker()?,
            Command::Complete => {
                let goodbye = wire::Goodbye { reason: "the sweep is complete".into() };
                let workers: Vec<WorkerId> = self.links.keys().copied().collect();
                for worker in workers {
                    self.send(worker, wire::to_worker::Message::Goodbye(goodbye.clone()));
                }
                return Ok(true);
            }
            Command::Abandon(reason) => {
                let at = match &reason {
                    Reason::Poison { trial, .. } => format!(" ({})", self.describe(*trial)),
                    Reason::Crashes { .. } | Reason::Refused { .. } => String::new(),
                };
                return Err(ComputeError::Abandoned(format!("{reason}{at}")));
            }
        }
        Ok(false)
    }

    fn start_worker(&mut self) -> Result<(), ComputeError> {
        let program = self.options.program.clone();
        self.workers.start().map_err(|source| ComputeError::Start { program, source })
    }

    fn send(&mut self, worker: WorkerId, message: wire::to_worker::Message) {
        let Some(link) = self.links.get(&worker) else { return };
        if link.try_send(Ok(wire::ToWorker { message: Some(message) })).is_err() {
            self.cut_off(worker, "did not take what it was sent");
        }
    }

    /// Ends the connection to a worker, and its process if that is ours. That it has left is heard
    /// of when the connection has ended.
    fn cut_off(&mut self, worker: WorkerId, reason: &str) {
        self.links.remove(&worker);
        if let Some(process_id) = self.process_ids.get(&worker) {
            self.workers.kill(*process_id, reason);
        }
    }

    fn model(&self, cohort: u32, variant: u32) -> &granule_sim::Model {
        let variant = &self.plan.cohorts[cohort as usize].variants[variant as usize];
        &self.plan.conditions[variant.conditions[0]].model
    }

    fn describe_work(&self, work: &Work) -> WireWork {
        match work {
            Work::Trials { cohort, trials, variants, start } => WireWork::Trials(Trials {
                engine: self.plan.engine,
                seed: self.plan.cohorts[*cohort as usize].seed,
                first: trials.start,
                count: trials.len() as u32,
                start: *start,
                models: variants.iter().map(|variant| self.model(*cohort, variant).clone()).collect(),
            }),
            Work::Survey { cohort, spans } => WireWork::Survey(Survey {
                engine: self.plan.engine,
                seed: self.plan.cohorts[*cohort as usize].seed,
                model: Box::new(self.model(*cohort, 0).clone()),
                first: spans.start,
                count: spans.len() as u32,
            }),
        }
    }

    fn describe(&self, id: TrialId) -> String {
        let cohort = &self.plan.cohorts[id.cohort as usize];
        let condition = cohort.variants[id.variant as usize].conditions[0];
        let name = &self.plan.conditions[condition].name;
        format!("trial {} of condition {name}, seed {}", id.trial, cohort.seed)
    }
}
