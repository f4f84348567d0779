//! The loop around the scheduler. It passes what happens to the scheduler as events, and carries out the commands that
//! the scheduler returns. It decides nothing.

mod error;
mod keeper;
mod quotas;
mod state;
mod telling;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use granule_engine::Digest;
use granule_engine::spikes::MOST_SPIKES;
use granule_farm::dialogue::{self, Said, WorkerHello, failure_in_short};
use granule_farm::inbox::{self, Step};
use granule_farm::scheduler::{
    Command, ConnectionId, Dropped, Event, Reason, Report, Site, Tally, TrialId, WorkerName,
};
use granule_proto::wire;
use granule_store::{Put, Store};
use granule_sweep::plan::Plan;
use granule_system::limits;
use granule_text::words::brief;
use granule_worker::access::{Access, Secret};
use granule_worker::program::START_WITHIN;
use nix::errno::Errno;
use rustls_pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_rustls::rustls::ServerConfig;

pub use self::error::ComputeError;
use self::keeper::{Answer, Keep, Keeper, StoreDone};
use self::state::{Driver, Known, MOST_KEPT};
pub use self::state::{Growth, Records, RunOptions, TrialRule, Verdict};
use crate::gate::{self, ClosedConnection};
use crate::launch::{Ending, Exited, Gone, Program, Workers};
use crate::room::Reservation;
use crate::service::{self, FromService, Subject};
use crate::view::board::Views;
use crate::view::log::line;
use crate::view::progress::Progress;

/// The TLS configuration of a coordinator, and the certificate by which workers recognize it.
#[derive(Clone, Debug)]
pub struct Tls {
    pub config: Arc<ServerConfig>,
    pub certificate: CertificateDer<'static>,
}

/// The port that workers connect to, and what they need to be admitted.
#[derive(Debug)]
pub struct Reception {
    pub listener: TcpListener,
    pub tls: Option<Tls>,
    pub secret: Secret,
}

impl Reception {
    /// Returns the access for the worker processes that this coordinator starts.
    pub fn access(&self) -> io::Result<Access> {
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

/// The outcome of a run.
#[derive(Clone, Debug, Default)]
pub struct RunOutcome {
    /// Trials that are not stored because they were set aside, and why.
    pub set_aside: Vec<(TrialId, String)>,
    /// Those of them that were computed and have no result, for the same reason each time.
    pub without_result: Vec<TrialId>,
    /// Versions that the user's program reports, by package.
    pub packages: BTreeMap<String, String>,
    pub tally: Tally,
    /// Quarantined workers, and why.
    pub quarantined: Vec<String>,
    /// Results that differed from the stored ones.
    pub disagreements: Vec<String>,
    /// Number of workers that joined.
    pub workers: u64,
}

impl RunOutcome {
    /// Adds the outcome of a later run. Its `set_aside`, `without_result` and `packages` replace the earlier ones.
    pub fn add(&mut self, later: RunOutcome) {
        self.set_aside = later.set_aside;
        self.without_result = later.without_result;
        self.packages = later.packages;
        self.tally.audited += later.tally.audited;
        self.tally.unaudited += later.tally.unaudited;
        self.tally.disagreements += later.tally.disagreements;
        self.tally.weakly_settled += later.tally.weakly_settled;
        self.quarantined.extend(later.quarantined);
        self.disagreements.extend(later.disagreements);
        self.workers += later.workers;
    }
}

/// How often the view is refreshed and processes are checked.
const TICK: Duration = Duration::from_millis(250);

/// If two ticks are further apart than this, this process itself was suspended or starved.
const STALL: Duration = Duration::from_secs(1);

/// How long workers may take to exit by themselves, and the server to send its last messages.
const PATIENCE: Duration = Duration::from_secs(2);

/// Deliveries from workers that may wait for the driver, and the number that it takes at once. Each delivery alone
/// would cost more than its message, mainly to wake a thread.
const HEARD: usize = 16;

/// Refusals that may wait for the driver. Further ones are not reported.
const REFUSALS: usize = 64;

/// Least time between two notices about refusals.
const REFUSALS_EVERY: Duration = Duration::from_secs(5);

/// Returns the site of a connection from this address.
fn site_of(peer: IpAddr) -> Site {
    match gate::origin(peer) {
        // Loopback has many addresses.
        _ if peer.to_canonical().is_loopback() => Site::Loopback,
        IpAddr::V4(ip) => Site::Address(u64::from(ip.to_bits())),
        // `origin` leaves the first 64 bits. The top bit is set, so no IPv4 address is equal; addresses in use begin
        // with 001 or 1.
        IpAddr::V6(ip) => Site::Address((ip.to_bits() >> 64) as u64 | 1 << 63),
    }
}

/// Returns the site of a host that is reached by `ssh`, derived from its name in the list of hosts.
fn site_of_host(host: &str) -> Site {
    let hash = blake3::hash(host.as_bytes());
    Site::Host(u64::from_le_bytes(*hash.as_bytes().first_chunk().expect("a hash has 32 bytes")))
}

/// Writes into the store what need not be computed. Call it before workers can connect.
pub fn prepare(plan: &Plan, store: &Store) -> Result<(), ComputeError> {
    Ok(keeper::unpack_shipped_counts(plan, store)?)
}

/// Computes all trials of the plan that the store lacks, with the workers that connect to `door`.
pub async fn compute(
    door: Reception,
    plan: &Plan,
    store: &Arc<Store>,
    options: &RunOptions,
    progress: &mut Progress,
    views: &Views,
    interrupted: watch::Receiver<bool>,
) -> Result<RunOutcome, ComputeError> {
    let no_address = |source| ComputeError::Listen { address: SocketAddr::from(([0; 4], 0)), source };
    let access = door.access().map_err(no_address)?;
    let (to_driver, from_service) = mpsc::channel(HEARD);
    let (refusals, refused) = mpsc::channel(REFUSALS);
    let (stop_server, stop) = oneshot::channel();
    let board = views.board();
    let pages = match options.metrics {
        None => None,
        Some(address) => {
            let wrong = |source| ComputeError::Listen { address, source };
            let listener = listen(address).map_err(wrong)?;
            line(&format!("metrics: http://{}/metrics", listener.local_addr().map_err(wrong)?));
            // Refusals of this port are not reported.
            let (strangers, _) = mpsc::channel(1);
            let connections = gate::open(listener, None, gate::Limits::PAGES, strangers);
            let (stop, stopped) = oneshot::channel();
            Some((tokio::spawn(service::answer(connections, service::open_pages(&board), stopped)), stop))
        }
    };
    let (exits, exited) = mpsc::unbounded_channel();
    // A worker starts the user's program before it connects.
    let starting = options.model.as_ref().map_or(Duration::ZERO, |_| START_WITHIN);
    let connect_within = options.scheduler.lease_ttl + starting;
    let (path, model, ssh) = (options.program.clone(), options.model.clone(), options.ssh.clone());
    let workers = Workers::new(Program { path, model, ssh, access, connect_within }, exits);
    let (keeper, stored) = Keeper::start(store).map_err(ComputeError::Thread)?;
    let mut driver = Driver::new(plan, store, options, progress, views, workers, keeper);
    let subject = Subject {
        secret: door.secret,
        engine: plan.engine,
        packages: Arc::clone(&driver.packages),
        epoch: driver.epoch,
        driver: to_driver,
        refusals: refusals.clone(),
        board,
    };
    // A worker process of ours takes three files, or five over `ssh`. The store and the outputs need some, too.
    let hosts = options.ssh.as_ref().map_or(0, |ssh| ssh.hosts.len());
    let workers = options.workers as usize;
    let own = 12 + 3 * workers + 5 * hosts;
    let left = limits::files_left().saturating_sub(own).max(workers + hosts + 1);
    let limits = gate::Limits::SERVICE.with_files(left);
    let connections = gate::open(door.listener, door.tls.map(|tls| tls.config), limits, refusals);
    let mut server = tokio::spawn(service::serve(connections, subject, stop));

    let outcome = tokio::select! {
        outcome = driver.run(from_service, refused, exited, stored, interrupted) => outcome,
        ended = &mut server => match ended {
            Ok(Err(source)) => Err(ComputeError::Serve(source)),
            _ => Err(ComputeError::Abandoned("the server for workers ended unexpectedly".into())),
        },
    };
    driver.put_up(if outcome.is_ok() { "done" } else { "ended" });
    let patience = if outcome.is_ok() { PATIENCE } else { Duration::ZERO };
    let Driver { workers, keeper, links, .. } = driver;
    drop(links);
    let _ = stop_server.send(());
    workers.end(patience).await;
    // All accepted results are stored, whatever the outcome.
    keeper.end().await;
    if outcome.is_ok() {
        // Let the last messages reach the workers and watchers that are still connected.
        let _ = tokio::time::timeout(PATIENCE, &mut server).await;
    }
    server.abort();
    if let Some((pages, _)) = pages {
        pages.abort();
    }
    outcome
}

/// Listens for workers. A thousand may connect at once, so the backlog is long. If it were full, the system would delay
/// connections for seconds, or report them as accepted when they are not.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    match listen_on(address) {
        // On a machine without IPv6, all addresses are those of IPv4.
        Err(error) if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) && has_no_address(&error) => {
            listen_on(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port()))
        }
        listening => listening,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the machine has no address of the requested family.
fn has_no_address(error: &io::Error) -> bool {
    let errors = [Errno::EAFNOSUPPORT, Errno::EADDRNOTAVAIL];
    error.raw_os_error().is_some_and(|raw| errors.contains(&Errno::from_raw(raw)))
}

fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A coordinator that restarts on its port need not wait until its old connections expire.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(4096)
}

async fn until_set(flag: &mut watch::Receiver<bool>) {
    // The result holds a lock. Drop it at once.
    let _ = flag.wait_for(|is_set| *is_set).await;
}

impl Driver<'_> {
    async fn run(
        &mut self,
        mut from_service: mpsc::Receiver<Vec<FromService>>,
        mut refused: mpsc::Receiver<ClosedConnection>,
        mut exited: mpsc::UnboundedReceiver<Exited>,
        mut stored: mpsc::UnboundedReceiver<Answer>,
        mut interrupted: watch::Receiver<bool>,
    ) -> Result<RunOutcome, ComputeError> {
        for _ in 0..self.options.workers {
            self.start_worker()?;
        }
        self.workers.start_others().map_err(ComputeError::Login)?;
        self.put_up("computing");
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut last_tick = Instant::now();
        let mut drain_until: Option<Instant> = None;
        let mut last_here = Instant::now();
        // All trials may be stored already.
        let mut events = vec![Event::WakeUp];
        let mut heard = Vec::with_capacity(HEARD);
        loop {
            for event in events.drain(..) {
                let ended = match event {
                    Event::Disconnected { connection } => Some(connection),
                    _ => None,
                };
                for command in self.scheduler.handle(self.started.elapsed(), event) {
                    if let Some(end) = self.obey(command).await? {
                        return end;
                    }
                }
                // The scheduler has handled all earlier events by now. So a worker that it quarantined still gets its
                // goodbye.
                if let Some(connection) = ended {
                    self.forget(connection);
                }
            }
            tokio::select! {
                biased;
                () = until_set(&mut interrupted), if drain_until.is_none() => {
                    if self.options.drain_within.is_zero() {
                        return Err(ComputeError::Interrupted);
                    }
                    let within = self.options.drain_within;
                    drain_until = Some(Instant::now() + within);
                    let text = format!("ending: workers finish their leases, which may take {} s; a second \
                        signal ends the run at once", within.as_secs());
                    self.notice("draining", None, true, text);
                    events.push(Event::Drain);
                }
                Some(ClosedConnection { peer, reason }) = refused.recv() => self.on_refused(peer, &reason),
                answer = stored.recv() => {
                    for kept in answer.ok_or_else(|| ComputeError::of_thread("keeps the store"))?? {
                        self.on_kept(kept, &mut events);
                    }
                }
                verdict = async { self.verdict.as_mut().expect("checked below").await },
                    if self.verdict.is_some() =>
                {
                    self.verdict = None;
                    let verdict = verdict.map_err(|_| ComputeError::of_thread("decides how many trials are needed"))?;
                    events.push(self.on_verdict(verdict?));
                }
                Some(ended) = exited.recv() => self.on_exited(ended, drain_until.is_some(), &mut events)?,
                _ = tick.tick() => {
                    self.progress.tick();
                    self.put_up(if drain_until.is_some() { "draining" } else { "computing" });
                    let now = self.started.elapsed();
                    if self.keeper.was_slow() || last_tick.elapsed() > STALL {
                        // This process was suspended or starved, or waited for the disk. Messages that workers sent
                        // meanwhile are still unread.
                        events.push(Event::Stalled);
                    } else {
                        self.workers.kill_unconnected();
                    }
                    if drain_until.is_none() {
                        self.workers.start_others().map_err(ComputeError::Login)?;
                    }
                    last_tick = Instant::now();
                    if !self.links.is_empty() {
                        last_here = last_tick;
                    }
                    if let Some(patience) = self.options.give_up_after
                        && last_here.elapsed() > patience
                    {
                        let text = format!("no worker was connected for {}", brief(patience));
                        return Err(ComputeError::Abandoned(text));
                    }
                    if self.scheduler.wake_up().is_some_and(|due| due <= now) {
                        events.push(Event::WakeUp);
                    }
                    if drain_until.is_some_and(|until| until <= last_tick) {
                        return Err(ComputeError::Interrupted);
                    }
                }
                // Last, so that stored results are acknowledged before more are taken. Otherwise, acknowledgements
                // would pile up and reach a worker all at once.
                1.. = from_service.recv_many(&mut heard, HEARD) => {
                    for heard in heard.drain(..).flatten() {
                        self.on_heard(heard, &mut events).await?;
                    }
                }
            }
        }
    }

    async fn on_heard(&mut self, heard: FromService, events: &mut Vec<Event>) -> Result<(), ComputeError> {
        match heard {
            FromService::Joined { connection, introduction, peer, link } => {
                let WorkerHello { worker, threads, host, process_id, held, packages } = introduction;
                self.workers.joined(worker);
                self.links.insert(connection, link);
                self.names.insert(connection, worker);
                let is_ours = self.workers.process_id(worker).is_some();
                let (site, from) = match self.workers.host(worker) {
                    Some(host) => (site_of_host(host), format!("ssh {host}")),
                    None if is_ours => (Site::Own, peer.to_string()),
                    None => (site_of(peer.ip()), peer.to_string()),
                };
                let known = Known { host, process_id, from, is_ours, packages };
                if self.joined == 0
                    && let (Some(records), Some(versions)) = (&self.options.records, &*lock(&self.packages))
                {
                    records.versions(versions);
                }
                self.joined += u64::from(self.known.insert(worker, known).is_none());
                events.push(Event::Joined { connection, worker, site, threads, held });
            }
            FromService::Said { connection, said, room } => {
                self.on_said(connection, said, room, events).await?;
            }
            FromService::Nonsense { connection, what } => events.push(Event::Invalid { connection, what }),
            FromService::Left { connection } => events.push(Event::Disconnected { connection }),
        }
        Ok(())
    }

    /// Removes a connection that has ended and on which the last messages were sent.
    fn forget(&mut self, connection: ConnectionId) {
        self.links.remove(&connection);
        if let Some(worker) = self.names.remove(&connection)
            && !self.names.values().any(|other| *other == worker)
        {
            self.workers.left(worker);
        }
    }

    fn on_exited(
        &mut self,
        exited: Exited,
        is_draining: bool,
        events: &mut Vec<Event>,
    ) -> Result<(), ComputeError> {
        let Some(gone) = self.workers.exited(&exited) else { return Ok(()) };
        let Exited { worker, process_id, description, .. } = exited;
        match gone {
            // All workers of ours may have starved at the same time, each for want of what the others had. One alone
            // may have enough.
            Gone::Here { ending: Ending::Starved, was_alone: false } if !self.workers.are_any_here() => {
                if !is_draining {
                    let text = format!("the last worker process {description}; trying with one alone");
                    self.notice("worker_starved", None, true, text);
                    self.start_worker()?;
                }
            }
            // The remaining workers compute its share.
            Gone::Here { ending: Ending::Starved, .. } => self.has_fewer(description)?,
            // Another worker here would have the same program.
            Gone::Here { ending: Ending::Unfit, .. } => {
                let text = description.replacen("; its last output: error: ", ": ", 1).replace(" / ", "\n");
                return Err(ComputeError::Program(format!("a worker process {text}")));
            }
            Gone::Here { .. } => {
                self.deaths += 1;
                let text = format!("worker process {process_id} {description}");
                self.notice("worker_died", Some(worker), true, text);
                events.push(Event::ProcessDied { worker: Some(worker), description });
            }
            Gone::There { host, is_death, verdict } => {
                let event = match verdict.again {
                    _ if is_death => "worker_died",
                    Some(_) => "host_lost",
                    None => "host_dropped",
                };
                self.deaths += u64::from(is_death);
                let again = match verdict.again {
                    // No worker is started any more.
                    _ if is_draining => String::new(),
                    Some(again) => format!("; trying again in {}", brief(again)),
                    None => "; granule no longer uses this host".to_owned(),
                };
                let known = self.known.contains_key(&worker).then_some(worker);
                let hopeless = self.workers.is_hopeless().filter(|_| !is_draining);
                // When the last host fails, one error reports all of them.
                let is_for_people = verdict.is_news && hopeless.is_none();
                self.notice(event, known, is_for_people, format!("{host} {description}{again}"));
                events.push(Event::Severed { worker, description, is_death });
                if let (Some(complaints), Some(ssh)) = (hopeless, &self.options.ssh) {
                    return Err(ComputeError::Hosts { complaints, probe: ssh.probe(&host) });
                }
            }
        }
        Ok(())
    }

    async fn on_said(
        &mut self,
        connection: ConnectionId,
        said: Said,
        room: Option<Box<Reservation>>,
        events: &mut Vec<Event>,
    ) -> Result<(), ComputeError> {
        let Some(&worker) = self.names.get(&connection) else { return Ok(()) };
        if let Said::Draining { reason } = &said {
            let text = format!("{} drains: {reason}", self.describe(worker));
            self.notice("worker_draining", Some(worker), self.options.tells_of_workers, text);
        }
        let digest = |trial| {
            let is_stored = self.scheduler.is_stored(trial);
            self.store.digest(self.catalogue.key(trial)).filter(|_| is_stored)
        };
        let mut room = room;
        for step in inbox::steps(&self.catalogue, connection, worker, said, digest) {
            match step {
                Step::Handle(event) => events.push(event),
                Step::Store { trial, key, result } => {
                    let room = room.take();
                    // This waits while the store is busy. Meanwhile the driver takes nothing more from workers.
                    self.keeper.ask(Keep::Trial { worker, trial, key, result, room }).await?;
                }
                Step::Reply(message) => self.send(connection, message),
                Step::Failed { trial, how } => self.on_failure(worker, trial, how),
                Step::Contradicted { trial, stored } => self.keep_disagreement(format!(
                    "{}: {} reports too many spikes to store, but the store has a result for this trial \
                        (digest {stored})",
                    self.catalogue.describe(trial),
                    self.describe(worker),
                )),
            }
        }
        Ok(())
    }

    /// Records how the user's program failed at a trial.
    fn on_failure(&mut self, worker: WorkerName, trial: TrialId, how: String) {
        let short = failure_in_short(&how);
        let text = format!(
            "{}: the program failed with {}: {short}",
            self.catalogue.describe(trial),
            self.describe(worker)
        );
        self.notice("trial_failed", Some(worker), false, text);
        if let Some(records) = &self.options.records {
            let (condition, seed) = (self.catalogue.conditions(trial)[0], self.catalogue.seed(trial));
            records.failure(condition, seed, trial.trial, &how);
        }
        self.last_failure = Some(how.clone());
        let has_room = self.failures.len() < MOST_KEPT || self.failures.contains_key(&trial);
        self.failures.insert(trial, if has_room { how } else { String::new() });
    }

    /// Keeps the description of a disagreement for the manifest.
    fn keep_disagreement(&mut self, text: String) {
        if self.disagreements.len() < MOST_KEPT {
            self.disagreements.push(text);
        }
    }

    fn on_kept(&mut self, kept: StoreDone, events: &mut Vec<Event>) {
        match kept {
            StoreDone::Discarded { trials } => {
                for trial in &trials {
                    let seed = self.catalogue.seed(*trial);
                    self.progress.retreat(self.catalogue.conditions(*trial), seed);
                }
                if let Some(counts) = &self.views.counts {
                    counts.discard(&trials);
                }
                events.push(Event::Discarded { trials });
            }
            StoreDone::Trial { worker, trial, put, result, room: _room } => {
                let stored: Option<Digest> = match put {
                    Put::Differs { stored } => {
                        let before =
                            self.store.get(self.catalogue.key(trial)).ok().flatten().unwrap_or_default();
                        let difference = self.catalogue.first_difference(trial, &before, &result.spikes);
                        self.keep_disagreement(format!(
                            "{}: {} sent spikes (digest {}) that differ from the stored ones (digest \
                                {stored}); {difference}",
                            self.catalogue.describe(trial),
                            self.describe(worker),
                            result.digest,
                        ));
                        self.difference = difference;
                        Some(stored)
                    }
                    Put::New => {
                        self.failures.remove(&trial);
                        let seed = self.catalogue.seed(trial);
                        self.progress.advance(self.catalogue.conditions(trial), seed);
                        if let Some(counts) = &self.views.counts {
                            counts.add(trial, &result.spikes);
                        }
                        None
                    }
                    Put::Same => None,
                };
                events.push(inbox::stored(worker, trial, result.digest, stored));
            }
        }
    }

    /// Starts a thread that decides whether the sweep needs more trials.
    fn decide(&mut self) -> Result<(), ComputeError> {
        let growth = self.options.growth.as_ref().expect("otherwise the scheduler asks for no decision");
        let (rule, trials) = (Arc::clone(&growth.rule), self.catalogue.limited_to());
        let (answer, verdict) = oneshot::channel();
        // If the run has ended meanwhile, nothing receives the answer.
        let decide = move || drop(answer.send(rule.decide(trials)));
        std::thread::Builder::new().name("decision".into()).spawn(decide).map_err(ComputeError::Thread)?;
        self.verdict = Some(verdict);
        Ok(())
    }

    /// Returns the event of a decision. Further trials are known from now on.
    fn on_verdict(&mut self, Verdict { next, text }: Verdict) -> Event {
        self.notice("trials_decided", None, true, text);
        let Some(trials) = next else { return Event::Enough };
        let before = self.catalogue.limited_to();
        self.catalogue.limit(trials);
        let mut stored = BTreeSet::new();
        for id in self.catalogue.trials(before..trials) {
            let is_stored = self.store.contains(self.catalogue.key(id));
            self.progress.need(self.catalogue.conditions(id), self.catalogue.seed(id), is_stored);
            if is_stored {
                stored.insert(id);
            }
        }
        Event::Raised { trials, stored }
    }

    fn on_refused(&mut self, peer: SocketAddr, reason: &str) {
        self.refusals += 1;
        let (last, count) = self.refused.unwrap_or_else(|| (Instant::now() - REFUSALS_EVERY, 0));
        if last.elapsed() < REFUSALS_EVERY {
            self.refused = Some((last, count + 1));
            return;
        }
        let others = if count == 0 { String::new() } else { format!(" (others meanwhile: {count})") };
        self.refused = Some((Instant::now(), 0));
        self.notice("refused", None, true, format!("refused {peer}: {reason}{others}"));
    }

    /// Carries out a command. Returns the outcome if the command ends the run.
    async fn obey(
        &mut self,
        command: Command,
    ) -> Result<Option<Result<RunOutcome, ComputeError>>, ComputeError> {
        if let Some((connection, message)) =
            dialogue::message(&self.catalogue, &command, self.epoch, self.heartbeat_ms())
        {
            self.send_message(connection, message);
            return Ok(None);
        }
        match command {
            Command::Drop { connection, why } => self.cut_off(connection, why),
            Command::KeepFindings { stream, first, findings } => {
                let stream = self.catalogue.stream(stream);
                let keep = Keep::Findings { stream, first, findings };
                self.keeper.ask(keep).await?;
            }
            Command::Discard { trials } => {
                let trials = trials.into_iter().map(|id| (id, self.catalogue.key(id))).collect();
                self.keeper.ask(Keep::Discard { trials }).await?;
            }
            Command::Decide => self.decide()?,
            Command::Replace => {
                if self.options.workers > 0 {
                    self.start_worker()?;
                }
            }
            Command::Reinforce => {
                let text = "two workers disagree: starting one more here to settle it".to_owned();
                self.notice("reinforced", None, true, text);
                self.start_worker()?;
            }
            Command::Report(Report::Disagreed { trial, stored_by, worker }) if self.engine.is_program() => {
                return self.end_at_disagreement(trial, stored_by, worker).await.map(|end| Some(Err(end)));
            }
            Command::Report(report) => self.report(report),
            Command::Forget { worker } => drop(self.known.remove(&worker)),
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
                let advice = match reason {
                    Reason::NoResults { .. } => match &self.last_failure {
                        Some(how) => {
                            let how = how.replace('\n', "\n    ");
                            let text = format!(
                                "{reason}; the program failed each time; the last failure:\n    {how}"
                            );
                            return Ok(Some(Err(ComputeError::Program(text))));
                        }
                        None => format!(
                            ": each has more than {MOST_SPIKES} spikes; {}",
                            self.engine.to_spike_less(None)
                        ),
                    },
                    _ => String::new(),
                };
                return Ok(Some(Err(ComputeError::Abandoned(format!("{reason}{advice}")))));
            }
            // Sent as messages above.
            Command::Welcome { .. }
            | Command::Grant { .. }
            | Command::Revoke { .. }
            | Command::Acknowledge { .. } => {}
        }
        Ok(None)
    }

    /// Returns the error that ends the run, because the user's program gave two results for a trial. Neither is known to
    /// be right, so the stored one is removed.
    async fn end_at_disagreement(
        &mut self,
        trial: TrialId,
        stored_by: Option<WorkerName>,
        worker: WorkerName,
    ) -> Result<ComputeError, ComputeError> {
        self.report(Report::Disagreed { trial, stored_by, worker });
        self.keeper.ask(Keep::Discard { trials: vec![(trial, self.catalogue.key(trial))] }).await?;
        let of = |worker: WorkerName| {
            let known = self.known.get(&worker);
            let packages = known.map(|known| &known.packages).into_iter().flatten();
            let packages: Vec<String> = packages.map(|(name, version)| format!("{name} {version}")).collect();
            let host = known.map_or("?", |known| &known.host);
            format!("{} on {host} ({})", self.describe(worker), packages.join(", "))
        };
        let author = stored_by.map_or("an earlier run".to_owned(), of);
        let authors = if stored_by == Some(worker) {
            format!("{author} computed it twice")
        } else {
            format!("{author} and {} computed it", of(worker))
        };
        Ok(ComputeError::Disagreed {
            trial: self.catalogue.describe(trial),
            authors,
            difference: std::mem::take(&mut self.difference),
        })
    }

    fn outcome(&self) -> RunOutcome {
        let mut set_aside = Vec::new();
        for (place, reason) in self.scheduler.set_aside() {
            for variant in self.scheduler.unstored_of(place).iter() {
                let id = TrialId { cohort: place.cohort, variant, trial: place.trial };
                set_aside.push((id, reason.to_owned()));
            }
        }
        let without_result: Vec<TrialId> = self.scheduler.without_result().collect();
        set_aside.extend(without_result.iter().map(|id| (*id, self.why_without_result(*id))));
        RunOutcome {
            set_aside,
            without_result,
            packages: lock(&self.packages).clone().unwrap_or_default(),
            tally: self.scheduler.tally(),
            quarantined: self.quarantined.clone(),
            disagreements: self.disagreements.clone(),
            workers: self.joined,
        }
    }

    /// Returns why a trial has no result, for the user.
    pub(super) fn why_without_result(&self, id: TrialId) -> String {
        match self.failures.get(&id).map(String::as_str) {
            Some("") => {
                "the program failed; the reason was not kept, because too many trials failed".to_owned()
            }
            Some(how) => format!("the program failed: {how}"),
            None => self.catalogue.too_large_reason(id),
        }
    }

    fn start_worker(&mut self) -> Result<(), ComputeError> {
        match self.workers.start() {
            Err(error) if limits::behind_io(&error).is_some() && self.workers.are_any_here() => {
                self.has_fewer(format!("cannot be started: {error}"))
            }
            started => started.map_err(|source| {
                let program = self.options.program.clone();
                ComputeError::Start { program, source }
            }),
        }
    }

    /// Continues without a worker process that a limit of the system prevents, if there are or may be other workers.
    fn has_fewer(&mut self, description: String) -> Result<(), ComputeError> {
        if !self.workers.are_any_here() && !self.options.tells_of_workers {
            return Err(ComputeError::Starved { description });
        }
        let text = format!("continuing with fewer worker processes: one {description}");
        self.notice("worker_starved", None, true, text);
        Ok(())
    }

    fn heartbeat_ms(&self) -> u32 {
        (self.options.scheduler.lease_ttl / 10).as_millis().clamp(10, 5000) as u32
    }

    fn send(&mut self, connection: ConnectionId, message: wire::to_worker::Message) {
        self.send_message(connection, wire::ToWorker { message: Some(message) });
    }

    fn send_message(&mut self, connection: ConnectionId, message: wire::ToWorker) {
        let Some(link) = self.links.get(&connection) else { return };
        match link.try_send(Ok(message)) {
            Ok(()) => {}
            // The connection has ended, and its own event follows. The worker may reconnect.
            Err(TrySendError::Closed(_)) => drop(self.links.remove(&connection)),
            Err(TrySendError::Full(_)) => {
                self.links.remove(&connection);
                if let Some(worker) = self.names.get(&connection) {
                    self.workers.kill(*worker, "did not read from its connection");
                }
            }
        }
    }

    /// Ends a connection. If the reason concerns the worker, and its process is ours, ends the process, too.
    fn cut_off(&mut self, connection: ConnectionId, why: Dropped) {
        let is_for_good = matches!(why, Dropped::Quarantined(_));
        let reason = match why {
            Dropped::Superseded => None,
            Dropped::Silent => {
                let ttl = self.options.scheduler.lease_ttl.as_secs_f64();
                Some(format!("sent no heartbeat for {ttl} s and was killed"))
            }
            Dropped::Quarantined(reason) => {
                let goodbye = wire::Goodbye { reason: reason.clone(), refused: true };
                self.send(connection, wire::to_worker::Message::Goodbye(goodbye));
                Some(format!("is quarantined: {reason}"))
            }
        };
        self.links.remove(&connection);
        let worker = self.names.get(&connection);
        match (reason, worker) {
            (Some(reason), Some(worker)) if is_for_good => self.workers.dismiss(*worker, &reason),
            (Some(reason), Some(worker)) => self.workers.kill(*worker, &reason),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_is_what_a_worker_cannot_choose() {
        let of = |ip: &str| site_of(ip.parse().expect("an address"));
        for here in ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(of(here), Site::Loopback, "{here}");
        }
        assert_eq!(of("10.0.0.1"), of("::ffff:10.0.0.1"));
        assert_eq!(of("fd00:1:2:3::1"), of("fd00:1:2:3:ffff:ffff:ffff:ffff"));
        let places = ["10.0.0.1", "10.0.0.2", "fd00:1:2:3::1", "fd00:1:2:4::1", "127.0.0.1"].map(of);
        let different: std::collections::BTreeSet<Site> = places.into_iter().collect();
        assert_eq!(different.len(), places.len());
    }
}
