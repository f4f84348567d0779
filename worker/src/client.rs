//! The connections to a coordinator, one after another.
//!
//! The [`Session`] decides; what it wants is done here: connect, send, compute, wait.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use granule_farm::session::Output;
use granule_farm::session::{End, Instruction, Introduction, Patience, Session};
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

/// How to reach a coordinator, and as whom.
#[derive(Clone, Debug)]
pub struct Config {
    /// The way in.
    pub way: Way,
    /// What to say of ourselves; the number of threads is how many are started at most.
    pub introduction: Introduction,
    /// When to end by ourselves.
    pub patience: Patience,
}

/// The way to a coordinator.
#[derive(Clone, Debug)]
pub enum Way {
    /// What this access file says; it is read before every attempt, as it may have been renewed.
    File {
        /// Where it is.
        path: PathBuf,
        /// Whether it is waited for, should it not be there yet, as a coordinator is.
        is_awaited: bool,
    },
    /// This one.
    Given(Box<Access>),
    /// What is connected already, once, with this access.
    Open(Box<Access>, Arc<Mutex<Option<Box<dyn Stream>>>>),
}

/// A connection of any kind.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + fmt::Debug {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + fmt::Debug> Stream for T {}

impl Way {
    /// What to use now.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn access(&self) -> Result<Access, AccessError> {
        match self {
            Way::File { path, .. } => Access::read(path),
            Way::Given(access) | Way::Open(access, _) => Ok((**access).clone()),
        }
    }
}

/// What a worker is at, for whoever shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It is welcome at this address.
    Connected {
        /// Where.
        address: String,
        /// Threads that compute.
        threads: u32,
    },
    /// The system refused some of the threads.
    FewThreads {
        /// Threads that compute.
        threads: u32,
        /// What the system said, and its code.
        reason: (String, Option<i32>),
    },
    /// There is no connection, for this reason; it is tried again.
    Disconnected {
        /// Why.
        reason: String,
    },
    /// It is about to leave.
    Draining {
        /// Why.
        reason: String,
    },
}

/// Why a worker ended.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// There is no access to a coordinator.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// What is there is not the coordinator.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The coordinator refused.
    #[error("the coordinator at {address} refused: {reason}")]
    Refused {
        /// Where it is.
        address: String,
        /// What it said.
        reason: String,
    },
    /// The coordinator said something that makes no sense.
    #[error("the coordinator at {address} sent something this version does not understand")]
    Message {
        /// Where it is.
        address: String,
        /// What was wrong.
        source: WireError,
    },
    /// A computing thread could not be started.
    #[error("cannot start a computing thread")]
    Thread(#[source] std::io::Error),
    /// The only connection there can be has ended.
    #[error("the connection to the coordinator has ended: {reason}")]
    CutOff {
        /// How.
        reason: String,
    },
}

/// Messages on their way out, before the pool has to wait.
const OUTGOING: usize = 16;

/// An open call.
struct Line {
    address: String,
    place: Option<SocketAddr>,
    sender: mpsc::Sender<wire::FromWorker>,
    /// For what is sent when there is nothing else.
    parts: mpsc::Sender<wire::FromWorker>,
    incoming: Streaming<wire::ToWorker>,
}

/// What is sent: parts of large results only when there is nothing else. It ends with the rest.
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

/// What the loop waits for.
enum Happened {
    Called(Result<Line, CallError>),
    Heard(Result<Option<wire::ToWorker>, Status>),
    /// There is room for a message; none if the call has ended.
    Room(Option<mpsc::OwnedPermit<wire::FromWorker>>),
    /// And for a part.
    RoomForPart(Option<mpsc::OwnedPermit<wire::FromWorker>>),
    Computed(Output),
    Drain(String),
    Time,
}

/// How an attempt to call ended.
enum CallError {
    /// It may work another time.
    Lost(String),
    /// It will not.
    Fatal(WorkerError),
    /// The access file is not there any more.
    Gone(WorkerError),
}

type Attempt = Pin<Box<dyn Future<Output = Result<Line, CallError>> + Send>>;

/// Works for a coordinator until the session ends. `drain`, resolved, has the worker leave in good order.
///
/// # Errors
/// When it is refused, or cannot begin.
pub async fn run(
    config: Config,
    mut drain: mpsc::Receiver<String>,
    mut tell: impl FnMut(Progress),
) -> Result<End, WorkerError> {
    let Config { way, mut introduction, patience } = config;
    let is_awaited = matches!(way, Way::File { is_awaited: true, .. });
    let is_once = matches!(way, Way::Open(..));
    // What is wrong with a file is said at once. One that was there is removed when the sweep has ended.
    let mut was_there = match way.access() {
        Err(AccessError::File(file)) if is_awaited && file.is_not_found() => false,
        access => access.map(|_| true)?,
    };
    let (outputs, mut computed) = mpsc::channel::<Output>(OUTGOING);
    let (pool, refused) = Pool::start(introduction.threads, &outputs).map_err(WorkerError::Thread)?;
    let threads = pool.threads();
    introduction.threads = threads;
    if let Some(refused) = refused {
        tell(Progress::FewThreads { threads, reason: (refused.to_string(), refused.raw_os_error()) });
    }
    let seed = u64::from_le_bytes(*introduction.name.first_chunk().expect("a name has 16 bytes"));
    let mut session = Session::new(introduction, patience, seed);
    let started = Instant::now();

    let mut attempt: Option<Attempt> = None;
    let mut line: Option<Line> = None;
    let mut outgoing: VecDeque<wire::FromWorker> = VecDeque::new();
    // Where the coordinator was found the last time.
    let mut last: Option<SocketAddr> = None;
    let mut was_up = false;
    let mut has_said_farewell = false;
    let mut instructions: VecDeque<Instruction> = VecDeque::new();
    loop {
        instructions.extend(session.on_time(started.elapsed()));
        while let Some(instruction) = instructions.pop_front() {
            match instruction {
                Instruction::Connect { hello } => attempt = Some(Box::pin(call(way.clone(), last, hello))),
                Instruction::Disconnect => (line, attempt) = (None, None),
                Instruction::Send(message) => outgoing.push_back(from_worker(message)),
                Instruction::Compute { ticket, work } => pool.compute(ticket, work),
                Instruction::Cancel { ticket } => pool.cancel(ticket),
                Instruction::Stop(end) => {
                    if let Some(line) = line.take() {
                        farewell(line, outgoing).await;
                    }
                    return Ok(end);
                }
            }
        }
        if line.is_none() {
            outgoing.clear();
        }
        if let Some(reason) = session.leaves().filter(|_| !has_said_farewell) {
            tell(Progress::Draining { reason: reason.to_owned() });
            has_said_farewell = true;
        }
        let address = || line.as_ref().map_or(String::new(), |line| line.address.clone());
        if session.is_up() && !was_up {
            tell(Progress::Connected { address: address(), threads });
        }
        was_up = session.is_up();
        was_there |= was_up;
        let wake = session.wake_up().map(|due| started + due);
        let may_take = !session.is_full() && outgoing.len() < OUTGOING;
        let (sender, parts, incoming) = match &mut line {
            Some(line) => (Some(&line.sender), Some(&line.parts), Some(&mut line.incoming)),
            None => (None, None, None),
        };
        let happened = tokio::select! {
            called = maybe(&mut attempt) => Happened::Called(called),
            heard = hear(incoming) => Happened::Heard(heard),
            permit = room(sender), if !outgoing.is_empty() => Happened::Room(permit),
            permit = room(parts), if session.has_parts() => Happened::RoomForPart(permit),
            // We hold a sender ourselves: the channel does not close.
            Some(output) = computed.recv(), if may_take => Happened::Computed(output),
            Some(reason) = drain.recv() => Happened::Drain(reason),
            () = sleep_until(wake) => Happened::Time,
        };
        let now = started.elapsed();
        let lost = match happened {
            Happened::Called(called) => {
                attempt = None;
                match called {
                    Ok(open) => {
                        last = open.place;
                        line = Some(open);
                        None
                    }
                    Err(CallError::Lost(reason)) => Some(reason),
                    Err(CallError::Gone(_)) if was_there => {
                        let reason = "the access file is gone: the sweep has ended".to_owned();
                        return Ok(End::Goodbye { reason });
                    }
                    Err(CallError::Gone(error)) if is_awaited => Some(full(&error)),
                    Err(CallError::Fatal(error) | CallError::Gone(error)) => return Err(error),
                }
            }
            Happened::Heard(Ok(Some(message))) => {
                match session.on_message(now, message) {
                    Ok(more) => instructions.extend(more),
                    Err(source) => {
                        let address = line.map_or(String::new(), |line| line.address);
                        return Err(WorkerError::Message { address, source });
                    }
                }
                None
            }
            Happened::Heard(Ok(None)) => Some("the coordinator ended the connection".to_owned()),
            Happened::Heard(Err(status)) => Some(describe(&status)),
            Happened::Room(Some(permit)) => {
                if let Some(message) = outgoing.pop_front() {
                    permit.send(message);
                }
                None
            }
            Happened::RoomForPart(Some(permit)) => {
                if let Some(part) = session.next_part(now) {
                    permit.send(from_worker(part));
                }
                None
            }
            Happened::Room(None) | Happened::RoomForPart(None) => Some("the connection was lost".to_owned()),
            Happened::Computed(output) => {
                instructions.extend(session.on_output(now, output));
                None
            }
            Happened::Drain(reason) => {
                instructions.extend(session.drain(now, &reason));
                None
            }
            Happened::Time => None,
        };
        if let Some(reason) = lost {
            if is_once {
                return Err(WorkerError::CutOff { reason });
            }
            tell(Progress::Disconnected { reason });
            (line, was_up) = (None, false);
            instructions.extend(session.on_disconnected(now));
        }
    }
}

/// Calls the coordinator, first where it was found the last time, and says hello.
async fn call(way: Way, last: Option<SocketAddr>, hello: wire::Hello) -> Result<Line, CallError> {
    let access = way.access().map_err(|error| match &error {
        AccessError::File(file) if file.is_not_found() => CallError::Gone(error.into()),
        _ => CallError::Fatal(error.into()),
    })?;
    let connected = match &way {
        Way::Open(_, stream) => {
            let stream = stream.lock().unwrap_or_else(PoisonError::into_inner).take();
            match stream {
                Some(stream) => over(stream).await.map(|channel| (channel, PIPED.to_owned(), None)),
                None => return Err(CallError::Lost("it was used".to_owned())),
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
    // One at a time: whatever waits behind a part waits for that one only.
    let (parts, following) = mpsc::channel(1);
    let _ = sender.send(from_worker(wire::from_worker::Message::Hello(hello))).await;
    let request = authorised(&access, Outgoing { urgent, parts: following });
    match client.work(request).await {
        Ok(response) => Ok(Line { address, place, sender, parts, incoming: response.into_inner() }),
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

/// A client of the coordinator at the other end of this channel.
pub fn client(channel: Channel) -> CoordinatorClient<Channel> {
    CoordinatorClient::new(channel)
        .max_decoding_message_size(LARGEST_MESSAGE)
        .max_encoding_message_size(LARGEST_MESSAGE)
}

/// A request with the secret of this access.
pub fn authorised<T>(access: &Access, message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    let bearer = format!("Bearer {}", access.secret.expose());
    let mut bearer: MetadataValue<Ascii> = bearer.parse().expect("a secret is visible ASCII");
    bearer.set_sensitive(true);
    request.metadata_mut().insert(AUTHORIZATION, bearer);
    request
}

/// Sends what is left to be said, as far as the coordinator takes it, and waits until it hangs up.
async fn farewell(mut line: Line, outgoing: VecDeque<wire::FromWorker>) {
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

async fn maybe(attempt: &mut Option<Attempt>) -> Result<Line, CallError> {
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

/// Why a call ended, for people.
fn describe(status: &Status) -> String {
    if status.message().is_empty() { status.code().to_string() } else { from_outside(status.message()) }
}

/// An error with its causes.
fn full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    one_line(&text)
}
