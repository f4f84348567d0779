//! The worker's connections to a coordinator, one at a time.
//!
//! The [`Session`] decides. This module carries out its instructions: connect, send, compute, wait.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use granule_farm::session::PoolOutput;
use granule_farm::session::{Instruction, Introduction, Patience, Session, SessionEnd};
use granule_proto::convert::WireError;
use granule_proto::wire::coordinator_client::CoordinatorClient;
use granule_proto::{AUTHORIZATION, LARGEST_MESSAGE, wire};
use granule_text::{from_outside, one_line};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use crate::access::{Access, AccessError};
use crate::connect::{ConnectError, Connected, PIPED, over, reconnect};
use crate::pool::Pool;

/// How a worker reaches a coordinator, introduces itself and ends.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// Way to the coordinator.
    pub way: Way,
    /// The worker's description of itself. It starts at most this number of threads.
    pub introduction: Introduction,
    /// When the worker ends by itself.
    pub patience: Patience,
}

/// The way to a coordinator.
#[derive(Clone, Debug)]
pub enum Way {
    /// As this access file states. It is read before every attempt, because it may have been renewed.
    File {
        /// Path of the file.
        path: PathBuf,
        /// Whether the worker waits for a file that does not exist yet, as it waits for a coordinator.
        is_awaited: bool,
    },
    /// With this access.
    Given(Box<Access>),
    /// Over an open connection, with this access. The connection can be used once.
    Open(Box<Access>, Arc<Mutex<Option<Box<dyn AnyStream>>>>),
}

/// An open connection of any kind.
pub trait AnyStream: AsyncRead + AsyncWrite + Send + Unpin + fmt::Debug {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + fmt::Debug> AnyStream for T {}

impl Way {
    /// Returns the access to use now.
    ///
    /// # Errors
    /// If the file cannot be used.
    pub fn access(&self) -> Result<Access, AccessError> {
        match self {
            Way::File { path, .. } => Access::read(path),
            Way::Given(access) | Way::Open(access, _) => Ok((**access).clone()),
        }
    }
}

/// Changes of a worker's state, for display.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkerProgress {
    /// The coordinator has admitted the worker.
    Connected {
        /// Address of the coordinator.
        address: String,
        /// Number of computing threads.
        threads: u32,
    },
    /// The system refused some of the computing threads.
    FewThreads {
        /// Number of computing threads.
        threads: u32,
        /// Message of the system's error, and its code.
        reason: (String, Option<i32>),
    },
    /// There is no connection. The worker will try again.
    Disconnected {
        /// Why there is no connection.
        reason: String,
    },
    /// The worker drains.
    Draining {
        /// Why it drains.
        reason: String,
    },
}

/// Why a worker failed.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The access file cannot be used.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The coordinator cannot be reached, and a later attempt would fail, too.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The coordinator refused the worker.
    #[error("the coordinator at {address} refused: {reason}")]
    Refused {
        /// Address of the coordinator.
        address: String,
        /// The coordinator's reason.
        reason: String,
    },
    /// The coordinator sent an invalid message.
    #[error("the coordinator at {address} sent a message that this version cannot read")]
    Message {
        /// Address of the coordinator.
        address: String,
        /// Error in the message.
        source: WireError,
    },
    /// The system refused all computing threads.
    #[error("cannot start a computing thread")]
    Thread(#[source] std::io::Error),
    /// The only possible connection has ended.
    #[error("the connection to the coordinator has ended: {reason}")]
    CutOff {
        /// How the connection ended.
        reason: String,
    },
}

/// Most messages that wait to be sent before the pool must wait.
const OUTGOING: usize = 16;

/// An open call of the coordinator's `Work`.
struct OpenCall {
    address: String,
    place: Option<SocketAddr>,
    sender: mpsc::Sender<wire::FromWorker>,
    /// For parts, which are sent only if no other message waits.
    parts: mpsc::Sender<wire::FromWorker>,
    incoming: Streaming<wire::ToWorker>,
}

/// The stream of sent messages. Parts of large results are sent only if no other message waits. The stream
/// ends with `urgent`.
struct Outgoing {
    urgent: mpsc::Receiver<wire::FromWorker>,
    parts: mpsc::Receiver<wire::FromWorker>,
}

impl tokio_stream::Stream for Outgoing {
    type Item = wire::FromWorker;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<wire::FromWorker>> {
        if let Poll::Ready(message) = self.urgent.poll_recv(context) {
            return Poll::Ready(message);
        }
        match self.parts.poll_recv(context) {
            Poll::Ready(Some(part)) => Poll::Ready(Some(part)),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

/// An event that the loop waits for.
enum Happened {
    Called(Result<OpenCall, CallError>),
    Heard(Result<Option<wire::ToWorker>, Status>),
    /// There is room for a message; `None` if the call has ended.
    Room(Option<mpsc::OwnedPermit<wire::FromWorker>>),
    /// There is room for a part; `None` if the call has ended.
    RoomForPart(Option<mpsc::OwnedPermit<wire::FromWorker>>),
    Computed(PoolOutput),
    Drain(String),
    Time,
}

/// How an attempt to call failed.
enum CallError {
    /// A later attempt may succeed.
    Lost(String),
    /// A later attempt would fail, too.
    Fatal(WorkerError),
    /// The access file does not exist.
    Gone(WorkerError),
}

type OpeningCall = Pin<Box<dyn Future<Output = Result<OpenCall, CallError>> + Send>>;

/// Works for a coordinator until the session ends. A reason received from `drain` makes the worker drain.
///
/// # Errors
/// If the worker cannot start, cannot reach the coordinator at all, or is refused; if its only connection
/// ends.
pub async fn run(
    config: WorkerConfig,
    mut drain: mpsc::Receiver<String>,
    mut tell: impl FnMut(WorkerProgress),
) -> Result<SessionEnd, WorkerError> {
    let WorkerConfig { way, mut introduction, patience } = config;
    let is_awaited = matches!(way, Way::File { is_awaited: true, .. });
    // An invalid file is reported at once. A file that existed and is gone was removed because the sweep has
    // ended.
    let was_there = match way.access() {
        Err(AccessError::File(file)) if is_awaited && file.is_not_found() => false,
        access => access.map(|_| true)?,
    };
    let (outputs, mut computed) = mpsc::channel::<PoolOutput>(OUTGOING);
    let (pool, refused) = Pool::start(introduction.threads, &outputs).map_err(WorkerError::Thread)?;
    let threads = pool.threads();
    introduction.threads = threads;
    if let Some(refused) = refused {
        tell(WorkerProgress::FewThreads { threads, reason: (refused.to_string(), refused.raw_os_error()) });
    }
    let seed = u64::from_le_bytes(*introduction.name.first_chunk().expect("a name has 16 bytes"));
    let mut worker = WorkerLoop {
        session: Session::new(introduction, patience, seed),
        started: Instant::now(),
        pool,
        threads,
        way,
        tell,
        attempt: None,
        line: None,
        outgoing: VecDeque::new(),
        instructions: VecDeque::new(),
        last: None,
        was_there,
        was_up: false,
        has_said_farewell: false,
    };
    loop {
        if let Some(end) = worker.obey().await {
            return Ok(end);
        }
        worker.announce();
        let happened = worker.wait(&mut computed, &mut drain).await;
        if let Some(end) = worker.take_in(happened)? {
            return Ok(end);
        }
    }
}

/// A worker: its session, and the parts that carry out the session's instructions.
struct WorkerLoop<T> {
    session: Session,
    started: Instant,
    pool: Pool,
    threads: u32,
    way: Way,
    tell: T,
    attempt: Option<OpeningCall>,
    line: Option<OpenCall>,
    outgoing: VecDeque<wire::FromWorker>,
    instructions: VecDeque<Instruction>,
    /// Where the coordinator was last reached.
    last: Option<SocketAddr>,
    /// Whether an access file or a connection has existed at any time.
    was_there: bool,
    was_up: bool,
    has_said_farewell: bool,
}

impl<T: FnMut(WorkerProgress)> WorkerLoop<T> {
    /// Carries out the session's instructions. Returns how the session ended, if it has.
    async fn obey(&mut self) -> Option<SessionEnd> {
        self.instructions.extend(self.session.on_time(self.started.elapsed()));
        while let Some(instruction) = self.instructions.pop_front() {
            match instruction {
                Instruction::Connect { hello } => {
                    self.attempt = Some(Box::pin(call(self.way.clone(), self.last, hello)));
                }
                Instruction::Disconnect => (self.line, self.attempt) = (None, None),
                Instruction::Send(message) => self.outgoing.push_back(from_worker(message)),
                Instruction::Compute { ticket, work } => self.pool.compute(ticket, work),
                Instruction::Cancel { ticket } => self.pool.cancel(ticket),
                Instruction::Stop(end) => {
                    if let Some(line) = self.line.take() {
                        farewell(line, std::mem::take(&mut self.outgoing)).await;
                    }
                    return Some(end);
                }
            }
        }
        if self.line.is_none() {
            self.outgoing.clear();
        }
        None
    }

    /// Reports changes of the worker's state.
    fn announce(&mut self) {
        if let Some(reason) = self.session.leaves().filter(|_| !self.has_said_farewell) {
            (self.tell)(WorkerProgress::Draining { reason: reason.to_owned() });
            self.has_said_farewell = true;
        }
        let is_up = self.session.is_up();
        if is_up && !self.was_up {
            let address = self.address();
            (self.tell)(WorkerProgress::Connected { address, threads: self.threads });
        }
        self.was_up = is_up;
        self.was_there |= is_up;
    }

    /// Returns the address of the coordinator; empty without a connection.
    fn address(&self) -> String {
        self.line.as_ref().map_or(String::new(), |line| line.address.clone())
    }

    async fn wait(
        &mut self,
        computed: &mut mpsc::Receiver<PoolOutput>,
        drain: &mut mpsc::Receiver<String>,
    ) -> Happened {
        let wake = self.session.wake_up().map(|due| self.started + due);
        let may_take = !self.session.is_full() && self.outgoing.len() < OUTGOING;
        let (sender, parts, incoming) = match &mut self.line {
            Some(line) => (Some(&line.sender), Some(&line.parts), Some(&mut line.incoming)),
            None => (None, None, None),
        };
        tokio::select! {
            called = maybe(&mut self.attempt) => Happened::Called(called),
            heard = hear(incoming) => Happened::Heard(heard),
            permit = room(sender), if !self.outgoing.is_empty() => Happened::Room(permit),
            permit = room(parts), if self.session.has_parts() => Happened::RoomForPart(permit),
            // `run` holds a sender, so the channel does not close.
            Some(output) = computed.recv(), if may_take => Happened::Computed(output),
            Some(reason) = drain.recv() => Happened::Drain(reason),
            () = sleep_until(wake) => Happened::Time,
        }
    }

    /// Handles the result of an attempt to call. Returns how the session ended, if it has.
    fn on_called(&mut self, called: Result<OpenCall, CallError>) -> Result<Option<SessionEnd>, WorkerError> {
        self.attempt = None;
        let is_awaited = matches!(self.way, Way::File { is_awaited: true, .. });
        match called {
            Ok(line) => {
                self.last = line.place;
                self.line = Some(line);
            }
            Err(CallError::Lost(reason)) => self.on_lost(reason)?,
            Err(CallError::Gone(_)) if self.was_there => {
                let reason = "the access file is gone: the sweep has ended".to_owned();
                return Ok(Some(SessionEnd::Goodbye { reason }));
            }
            Err(CallError::Gone(error)) if is_awaited => self.on_lost(full(&error))?,
            Err(CallError::Fatal(error) | CallError::Gone(error)) => return Err(error),
        }
        Ok(None)
    }

    /// Handles an event. Returns how the session ended, if it has.
    fn take_in(&mut self, happened: Happened) -> Result<Option<SessionEnd>, WorkerError> {
        let now = self.started.elapsed();
        match happened {
            Happened::Called(called) => return self.on_called(called),
            Happened::Heard(Ok(Some(message))) => match self.session.on_message(now, message) {
                Ok(more) => self.instructions.extend(more),
                Err(source) => return Err(WorkerError::Message { address: self.address(), source }),
            },
            Happened::Heard(Ok(None)) => self.on_lost("the coordinator ended the connection".to_owned())?,
            Happened::Heard(Err(status)) => self.on_lost(describe(&status))?,
            Happened::Room(None) | Happened::RoomForPart(None) => {
                self.on_lost("the connection was lost".to_owned())?;
            }
            Happened::Room(Some(permit)) => {
                if let Some(message) = self.outgoing.pop_front() {
                    permit.send(message);
                }
            }
            Happened::RoomForPart(Some(permit)) => {
                if let Some(part) = self.session.next_part(now) {
                    permit.send(from_worker(part));
                }
            }
            Happened::Computed(output) => self.instructions.extend(self.session.on_output(now, output)),
            Happened::Drain(reason) => self.instructions.extend(self.session.drain(now, &reason)),
            Happened::Time => {}
        }
        Ok(None)
    }

    /// Handles the end of a connection. The worker continues, unless it was the only possible connection.
    fn on_lost(&mut self, reason: String) -> Result<(), WorkerError> {
        if matches!(self.way, Way::Open(..)) {
            return Err(WorkerError::CutOff { reason });
        }
        (self.tell)(WorkerProgress::Disconnected { reason });
        (self.line, self.was_up) = (None, false);
        self.instructions.extend(self.session.on_disconnected(self.started.elapsed()));
        Ok(())
    }
}

/// Calls the coordinator, first where it was last reached, and sends Hello.
async fn call(way: Way, last: Option<SocketAddr>, hello: wire::Hello) -> Result<OpenCall, CallError> {
    let access = way.access().map_err(|error| match &error {
        AccessError::File(file) if file.is_not_found() => CallError::Gone(error.into()),
        _ => CallError::Fatal(error.into()),
    })?;
    let connected = match &way {
        Way::Open(_, stream) => {
            let stream = stream.lock().unwrap_or_else(PoisonError::into_inner).take();
            match stream {
                Some(stream) => over(stream).await.map(|channel| (channel, PIPED.to_owned(), None)),
                None => return Err(CallError::Lost("a worker over ssh cannot connect again".to_owned())),
            }
        }
        Way::File { .. } | Way::Given(_) => reconnect(&access, last)
            .await
            .map(|Connected { channel, address, place }| (channel, address, Some(place))),
    };
    let (channel, address, place) = match connected {
        Ok(connected) => connected,
        Err(error) if error.is_worth_retrying() => return Err(CallError::Lost(full(&error))),
        Err(error) => return Err(CallError::Fatal(error.into())),
    };
    let mut client = client(channel);
    let (sender, urgent) = mpsc::channel(OUTGOING);
    // The channel holds one part, so that a message waits for one part at most.
    let (parts, following) = mpsc::channel(1);
    let _ = sender.send(from_worker(wire::from_worker::Message::Hello(hello))).await;
    let request = authorised(&access, Outgoing { urgent, parts: following });
    match client.work(request).await {
        Ok(response) => Ok(OpenCall { address, place, sender, parts, incoming: response.into_inner() }),
        Err(status) => match status.code() {
            Code::Unauthenticated
            | Code::FailedPrecondition
            | Code::InvalidArgument
            | Code::Unimplemented => {
                let reason = from_outside(status.message());
                Err(CallError::Fatal(WorkerError::Refused { address, reason }))
            }
            _ => Err(CallError::Lost(describe(&status))),
        },
    }
}

/// Returns a client of the coordinator at the other end of this channel.
pub fn client(channel: Channel) -> CoordinatorClient<Channel> {
    CoordinatorClient::new(channel)
        .max_decoding_message_size(LARGEST_MESSAGE)
        .max_encoding_message_size(LARGEST_MESSAGE)
}

/// Returns a request that carries the secret of this access.
pub fn authorised<T>(access: &Access, message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    let bearer = format!("Bearer {}", access.secret.expose());
    let mut bearer: MetadataValue<Ascii> = bearer.parse().expect("a secret is visible ASCII");
    bearer.set_sensitive(true);
    request.metadata_mut().insert(AUTHORIZATION, bearer);
    request
}

/// Sends the remaining messages as far as the coordinator accepts them. Then waits until it ends the call,
/// for 2 s at most.
async fn farewell(mut line: OpenCall, outgoing: VecDeque<wire::FromWorker>) {
    let all = async {
        for message in outgoing {
            if line.sender.send(message).await.is_err() {
                return;
            }
        }
        drop(line.sender);
        while let Ok(Some(_)) = line.incoming.message().await {}
    };
    let _ = tokio::time::timeout(Duration::from_secs(2), all).await;
}

async fn maybe(attempt: &mut Option<OpeningCall>) -> Result<OpenCall, CallError> {
    match attempt {
        Some(attempt) => attempt.await,
        None => std::future::pending().await,
    }
}

async fn hear(incoming: Option<&mut Streaming<wire::ToWorker>>) -> Result<Option<wire::ToWorker>, Status> {
    match incoming {
        Some(incoming) => incoming.message().await,
        None => std::future::pending().await,
    }
}

async fn room(
    sender: Option<&mpsc::Sender<wire::FromWorker>>,
) -> Option<mpsc::OwnedPermit<wire::FromWorker>> {
    match sender {
        Some(sender) => sender.clone().reserve_owned().await.ok(),
        None => std::future::pending().await,
    }
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake).await,
        None => std::future::pending().await,
    }
}

fn from_worker(message: wire::from_worker::Message) -> wire::FromWorker {
    wire::FromWorker { message: Some(message) }
}

/// Returns why a call ended, for display.
fn describe(status: &Status) -> String {
    if status.message().is_empty() { status.code().to_string() } else { from_outside(status.message()) }
}

/// Returns an error with its sources, on one line.
fn full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    one_line(&text)
}
