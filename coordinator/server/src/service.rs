//! The server: admits workers and watchers, and passes the workers' messages to the driver. It decides nothing else.
//!
//! A client must show the coordinator's secret before anything that it sends is read, and off loopback only over TLS.
//! `/health` and `/metrics` are on the same port.

use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response as HttpResponse};
use axum::routing::get;
use granule_engine::Engine;
use granule_engine::spikes::LARGEST_ENCODED;
use granule_farm::dialogue::{Said, WorkerHello, agree, introduce, understand};
use granule_farm::scheduler::ConnectionId;
use granule_proto::convert::WireError;
use granule_proto::parts::Assembly;
use granule_proto::wire::coordinator_server::{Coordinator, CoordinatorServer};
use granule_proto::{AUTHORIZATION, LARGEST_MESSAGE, LARGEST_OF_WORKER, wire};
use granule_text::from_outside;
use granule_worker::access::Secret;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

use crate::gate::{ClosedConnection, Connection, HeldBody, Peer};
use crate::host;
use crate::room::{Reservation, Room};
use crate::view::board::Board;
use crate::view::status::Snapshot;

/// A message from the service to the driver.
#[derive(Debug)]
pub enum FromService {
    Joined {
        connection: ConnectionId,
        introduction: WorkerHello,
        peer: SocketAddr,
        link: Link,
    },
    Said {
        connection: ConnectionId,
        said: Said,
        /// The room of a result that arrived in parts, until it is stored.
        room: Option<Box<Reservation>>,
    },
    /// The worker sent a malformed message.
    Nonsense {
        connection: ConnectionId,
        what: String,
    },
    Left {
        connection: ConnectionId,
    },
}

/// The channel to a worker. Dropping it ends the connection.
pub type Link = mpsc::Sender<Result<wire::ToWorker, Status>>;

/// Most messages of a worker that are passed to the driver at once.
const HEARD_AT_ONCE: usize = 64;

/// Bytes of spikes after which no more messages are gathered.
const BYTES_AT_ONCE: usize = 1 << 20;

/// How often the driver is notified of a worker that waits for room for its result.
const WAITING_EVERY: Duration = Duration::from_secs(1);

/// Messages that may wait for a worker. A worker with more is taken to be stuck.
const OUTGOING: usize = 4096;

/// How often a watcher gets a snapshot.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// How long a worker may take to send its hello after it has shown the secret.
const HELLO_WITHIN: Duration = Duration::from_secs(10);

/// Most open requests of one connection.
const REQUESTS: u32 = 16;

/// The versions that the first worker's program reported, by package; `None` before. Workers that report others are
/// refused, if the engine needs equal versions.
pub type Packages = Arc<Mutex<Option<BTreeMap<String, String>>>>;

/// Everything that the server needs.
pub struct Subject {
    pub secret: Secret,
    pub engine: &'static dyn Engine,
    pub packages: Packages,
    /// A random number that identifies this run of the coordinator.
    pub epoch: u64,
    pub driver: mpsc::Sender<Vec<FromService>>,
    pub refusals: mpsc::Sender<ClosedConnection>,
    pub board: Board,
}

/// Serves these connections until `stop` resolves.
pub async fn serve(
    connections: impl Stream<Item = std::io::Result<Connection>> + Send + 'static,
    subject: Subject,
    stop: oneshot::Receiver<()>,
) -> Result<(), tonic::transport::Error> {
    let door = AccessCheck {
        secret: blake3::hash(format!("Bearer {}", subject.secret.expose()).as_bytes()),
        refusals: subject.refusals,
    };
    let pages = pages(door.clone(), subject.board.clone());
    let service = Service {
        door,
        engine: subject.engine,
        packages: subject.packages,
        epoch: subject.epoch,
        driver: subject.driver,
        board: subject.board,
        connections: AtomicU64::new(0),
        room: Room::new(LARGEST_ENCODED),
    };
    let service = CoordinatorServer::new(service)
        .max_decoding_message_size(LARGEST_OF_WORKER)
        .max_encoding_message_size(LARGEST_MESSAGE);
    answer(connections, Routes::from(pages).add_service(service), stop).await
}

/// Answers the requests on these connections, of any port, until `stop` resolves.
///
/// The gate limits the number of connections and their time. The limits here are on their requests.
pub async fn answer(
    connections: impl Stream<Item = std::io::Result<Connection>> + Send + 'static,
    routes: Routes,
    stop: oneshot::Receiver<()>,
) -> Result<(), tonic::transport::Error> {
    tonic::transport::Server::builder()
        .accept_http1(true)
        .max_concurrent_streams(REQUESTS)
        .http2_max_header_list_size(16 << 10)
        .http2_keepalive_interval(Some(Duration::from_secs(10)))
        .http2_keepalive_timeout(Some(Duration::from_secs(20)))
        .add_routes(routes)
        .serve_with_incoming_shutdown(connections, async {
            let _ = stop.await;
        })
        .await
}

/// The condition for being admitted.
#[derive(Clone)]
struct AccessCheck {
    /// Hash of the header that clients must send. Hashes compare in constant time.
    secret: blake3::Hash,
    refusals: mpsc::Sender<ClosedConnection>,
}

impl AccessCheck {
    /// Admits a request, or returns the reason why not. The caller then keeps its connection while it is answered.
    fn admit(&self, peer: Option<&Peer>, headers: &HeaderMap) -> Result<(), &'static str> {
        if peer.is_some_and(|peer| !peer.is_private) {
            return self.refuse(
                peer,
                "this coordinator accepts TLS only: connect with its access file, `granule worker --access FILE`",
            );
        }
        let shown = headers.get(AUTHORIZATION).map(|value| blake3::hash(value.as_bytes()));
        if shown != Some(self.secret) {
            return self.refuse(peer, "wrong secret: use the access file of this coordinator");
        }
        Ok(())
    }

    fn refuse(&self, peer: Option<&Peer>, reason: &'static str) -> Result<(), &'static str> {
        self.report(peer, reason.to_owned());
        Err(reason)
    }

    /// Reports a refusal to the driver. If the driver is too busy, the refusal is dropped.
    fn report(&self, peer: Option<&Peer>, reason: String) {
        if let Some(peer) = peer {
            let _ = self.refusals.try_send(ClosedConnection { peer: peer.address, reason });
        }
    }
}

struct Service {
    door: AccessCheck,
    engine: &'static dyn Engine,
    packages: Packages,
    epoch: u64,
    driver: mpsc::Sender<Vec<FromService>>,
    board: Board,
    connections: AtomicU64,
    /// Memory for results in parts, of all connections.
    room: Arc<Room>,
}

/// Returns the client of a request's connection.
fn peer_of<T>(request: &Request<T>) -> Option<Peer> {
    request.extensions().get::<Peer>().cloned()
}

fn headers_of<T>(request: &Request<T>) -> HeaderMap {
    request.metadata().clone().into_headers()
}

#[tonic::async_trait]
impl Coordinator for Service {
    type WorkStream = HeldBody<ReceiverStream<Result<wire::ToWorker, Status>>>;
    type WatchStream = Pin<Box<dyn Stream<Item = Result<wire::Report, Status>> + Send>>;

    async fn work(
        &self,
        request: Request<Streaming<wire::FromWorker>>,
    ) -> Result<Response<Self::WorkStream>, Status> {
        let peer = peer_of(&request);
        self.door.admit(peer.as_ref(), &headers_of(&request)).map_err(Status::unauthenticated)?;
        let admission = peer.as_ref().map(Peer::admit);
        let mut incoming = request.into_inner();
        let hello = match tokio::time::timeout(HELLO_WITHIN, incoming.message()).await {
            Ok(Ok(Some(wire::FromWorker { message: Some(wire::from_worker::Message::Hello(hello)) }))) => {
                hello
            }
            Ok(Err(status)) => return Err(status),
            _ => return Err(Status::invalid_argument("the first message must be Hello")),
        };
        let introduction = introduce(hello, self.engine, self.epoch).and_then(|introduction| {
            let mut packages = self.packages.lock().unwrap_or_else(PoisonError::into_inner);
            agree(self.engine, &mut packages, &introduction.packages)?;
            Ok(introduction)
        });
        let introduction = introduction.map_err(|reason| {
            self.door.report(peer.as_ref(), reason.clone());
            Status::failed_precondition(reason)
        })?;

        let connection = ConnectionId(self.connections.fetch_add(1, Ordering::Relaxed) + 1);
        let (link, outgoing) = mpsc::channel(OUTGOING);
        let from = peer.clone();
        let peer = peer.map_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)), |peer| peer.address);
        let joined = FromService::Joined { connection, introduction, peer, link };
        let gone = |_| Status::unavailable("the coordinator is ending");
        self.driver.send(vec![joined]).await.map_err(gone)?;
        let (driver, room, door) = (self.driver.clone(), Arc::clone(&self.room), self.door.clone());
        let (answer, ended) = HeldBody::new(ReceiverStream::new(outgoing), admission).until_its_end();
        tokio::spawn(async move {
            let mut listener = Listener::new(connection, &driver, room, ended);
            if let Some(reason) = listener.listen(&mut incoming).await {
                door.report(from.as_ref(), reason);
            }
            drop(listener);
            let _ = driver.send(vec![FromService::Left { connection }]).await;
        });
        Ok(Response::new(answer))
    }

    async fn watch(
        &self,
        request: Request<wire::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let peer = peer_of(&request);
        self.door.admit(peer.as_ref(), &headers_of(&request)).map_err(Status::unauthenticated)?;
        let admission = peer.as_ref().map(Peer::admit_looker);
        let follow = request.into_inner().follow;
        let (reports, outgoing) = mpsc::channel(16);
        let mut snapshots = self.board.snapshots.clone();
        let mut notices = self.board.notices.subscribe();
        let now = snapshots.borrow_and_update().to_json();
        tokio::spawn(async move {
            let report = |json| Ok(wire::Report { json });
            if reports.send(report(now)).await.is_err() || !follow {
                return;
            }
            let mut tick = tokio::time::interval(WATCH_EVERY);
            tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            // A receiver of its own, because waiting marks values as seen.
            let (mut ends, mut is_over) = (snapshots.clone(), false);
            loop {
                let json = tokio::select! {
                    biased;
                    // The end is sent at once, because this process may exit, too.
                    over = over(&mut ends), if !is_over => match over {
                        Some(json) => {
                            is_over = true;
                            snapshots.mark_unchanged();
                            json
                        }
                        None => return,
                    },
                    _ = tick.tick() => match snapshots.has_changed() {
                        Ok(true) => snapshots.borrow_and_update().to_json(),
                        Ok(false) => continue,
                        Err(_) => return,
                    },
                    notice = notices.recv() => match notice {
                        Ok(notice) => notice.to_json(),
                        // The next snapshot includes what was missed.
                        Err(broadcast::error::RecvError::Lagged(_)) => continue,
                        Err(broadcast::error::RecvError::Closed) => return,
                    },
                    () = reports.closed() => return,
                };
                if reports.send(report(json)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(HeldBody::new(ReceiverStream::new(outgoing), admission))))
    }
}

/// Returns the first snapshot of a sweep that is over.
async fn over(snapshots: &mut watch::Receiver<Arc<Snapshot>>) -> Option<String> {
    snapshots.wait_for(|snapshot| snapshot.is_over()).await.ok().map(|snapshot| snapshot.to_json())
}

/// Passes a worker's messages to the driver, until they end or one is malformed.
///
/// All messages that have arrived are passed at once. With many workers that send much, each single message would have
/// to wait its turn, and so would each answer to one.
struct Listener<'a> {
    connection: ConnectionId,
    driver: &'a mpsc::Sender<Vec<FromService>>,
    room: Arc<Room>,
    /// The result in parts that is arriving, and its room.
    assembly: Assembly,
    reservation: Option<Box<Reservation>>,
    heard: Vec<FromService>,
    /// Bytes of spikes in `heard`.
    bytes: usize,
    /// Resolves when nothing more can be sent to the worker.
    ended: oneshot::Receiver<()>,
}

/// The result of waiting for a message.
enum FirstMessage {
    Message(wire::FromWorker),
    /// The worker ended the call, or the connection failed.
    End,
    /// A message could not be decoded.
    Nonsense(String),
    /// Other results need the room of the one that is arriving.
    RoomIsNeeded,
}

impl<'a> Listener<'a> {
    fn new(
        connection: ConnectionId,
        driver: &'a mpsc::Sender<Vec<FromService>>,
        room: Arc<Room>,
        ended: oneshot::Receiver<()>,
    ) -> Self {
        let (assembly, reservation, heard) = (Assembly::default(), None, Vec::new());
        Listener { connection, driver, room, assembly, reservation, heard, bytes: 0, ended }
    }

    /// Receives messages until the end. Returns the reason if the coordinator ended the call to free room.
    async fn listen(&mut self, incoming: &mut Streaming<wire::FromWorker>) -> Option<String> {
        loop {
            let mut next = Some(self.next(incoming).await);
            while let Some(heard) = next.take() {
                let nonsense = match heard {
                    FirstMessage::Message(message) => {
                        if !self.make_room_for(&message).await {
                            return None;
                        }
                        self.understand(message).err().map(|error| error.to_string())
                    }
                    FirstMessage::Nonsense(what) => Some(what),
                    FirstMessage::End => {
                        self.hand_on().await;
                        return None;
                    }
                    FirstMessage::RoomIsNeeded => {
                        return Some("sent a large result too slowly while others waited".to_owned());
                    }
                };
                if let Some(error) = nonsense {
                    let what = format!("a malformed message: {}", from_outside(&error));
                    self.heard.push(FromService::Nonsense { connection: self.connection, what });
                    self.hand_on().await;
                    return None;
                }
                if self.heard.len() < HEARD_AT_ONCE && self.bytes < BYTES_AT_ONCE {
                    next = arrived(incoming).await;
                }
            }
            if !self.hand_on().await {
                return None;
            }
        }
    }

    /// Waits for the next message.
    async fn next(&self, incoming: &mut Streaming<wire::FromWorker>) -> FirstMessage {
        let room_is_needed = async {
            match &self.reservation {
                Some(reservation) => reservation.is_to_end().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            message = incoming.message() => FirstMessage::from(message),
            () = room_is_needed => FirstMessage::RoomIsNeeded,
        }
    }

    /// Waits until there is room for an announced result. Returns false if the driver or the connection has ended.
    ///
    /// Nothing is read from the worker meanwhile. That is not its fault, so the driver gets signs of life instead.
    async fn make_room_for(&mut self, message: &wire::FromWorker) -> bool {
        let bytes = self.assembly.wants(message);
        if bytes == 0 {
            return true;
        }
        // The result that is arriving is given up for this one. The room may depend on gathered messages: pass them on.
        (self.assembly, self.reservation) = (Assembly::default(), None);
        if !self.hand_on().await {
            return false;
        }
        let lease = match &message.message {
            Some(wire::from_worker::Message::Trial(result)) => result.lease,
            _ => 0,
        };
        // A result of more bytes than the room has is refused when it is decoded.
        let mut reserving = pin!(Arc::clone(&self.room).reserve(bytes.min(LARGEST_ENCODED)));
        let mut tick = tokio::time::interval(WAITING_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                // The worker has left, or was cut off.
                _ = &mut self.ended => return false,
                reservation = &mut reserving => {
                    self.reservation = Some(reservation);
                    return true;
                }
                _ = tick.tick() => {
                    let said = Said::part(lease);
                    let waiting = FromService::Said { connection: self.connection, said, room: None };
                    if self.driver.send(vec![waiting]).await.is_err() {
                        return false;
                    }
                }
            }
        }
    }

    fn understand(&mut self, message: wire::FromWorker) -> Result<(), WireError> {
        let bytes = match &message.message {
            Some(wire::from_worker::Message::Trial(result)) => result.spikes.len(),
            Some(wire::from_worker::Message::Part(part)) => part.spikes.len(),
            _ => 0,
        };
        let was_unfinished = self.assembly.is_unfinished();
        let said = understand(message, &mut self.assembly)?;
        let mut room = None;
        if self.assembly.is_unfinished() {
            if let Some(reservation) = &self.reservation {
                reservation.arrived(bytes);
            }
        } else if was_unfinished || self.reservation.is_some() {
            // The result is complete, or was given up.
            room = self.reservation.take();
            room.iter().for_each(|of| of.is_whole());
        }
        self.bytes += bytes;
        self.heard.extend(said.map(|said| FromService::Said { connection: self.connection, said, room }));
        Ok(())
    }

    /// Passes the gathered messages on. Returns false if the driver has ended.
    async fn hand_on(&mut self) -> bool {
        self.bytes = 0;
        self.heard.is_empty() || self.driver.send(std::mem::take(&mut self.heard)).await.is_ok()
    }
}

impl From<Result<Option<wire::FromWorker>, Status>> for FirstMessage {
    fn from(message: Result<Option<wire::FromWorker>, Status>) -> FirstMessage {
        match message {
            Ok(Some(message)) => FirstMessage::Message(message),
            Err(status) if is_nonsense(&status) => FirstMessage::Nonsense(status.message().to_owned()),
            Ok(None) | Err(_) => FirstMessage::End,
        }
    }
}

/// Whether the error is the fault of the message, and not of the connection.
fn is_nonsense(status: &Status) -> bool {
    // An error of the connection has a cause.
    let is_of_decoding = matches!(status.code(), tonic::Code::Internal | tonic::Code::OutOfRange);
    is_of_decoding && std::error::Error::source(status).is_none()
}

/// Returns the next message, if it has arrived.
async fn arrived(incoming: &mut Streaming<wire::FromWorker>) -> Option<FirstMessage> {
    poll_fn(|context| {
        Poll::Ready(match Pin::new(&mut *incoming).poll_next(context) {
            Poll::Ready(message) => Some(FirstMessage::from(message.transpose())),
            Poll::Pending => None,
        })
    })
    .await
}

/// Returns the pages for others than workers: `/health` for everyone, `/metrics` for clients with the secret.
fn pages(door: AccessCheck, board: Board) -> Router {
    let health = {
        let board = board.clone();
        move |request: axum::extract::Request| async move {
            // A request from elsewhere may use any name of this machine. No browser was led here by a false one.
            let is_from_here = |peer: &Peer| peer.address.ip().to_canonical().is_loopback();
            if request.extensions().get::<Peer>().is_none_or(is_from_here)
                && let Some(refusal) = refuse_host(&request)
            {
                return refusal;
            }
            state(&board)
        }
    };
    let metrics = move |request: axum::extract::Request| async move {
        let peer = request.extensions().get::<Peer>();
        match door.admit(peer, request.headers()) {
            Ok(()) => exposition(&board),
            Err(reason) => text(StatusCode::UNAUTHORIZED, &format!("{reason}\n")),
        }
    };
    Router::new().route("/health", get(health)).route("/metrics", get(metrics))
}

/// Returns the same two pages without a secret, for a server on loopback.
pub fn open_pages(board: &Board) -> Routes {
    let page = |answer: fn(&Board) -> HttpResponse| {
        let board = board.clone();
        get(async move |request: axum::extract::Request| {
            refuse_host(&request).unwrap_or_else(|| answer(&board))
        })
    };
    Routes::from(Router::new().route("/health", page(state)).route("/metrics", page(exposition)))
}

/// Refuses a request that does not name this machine, or that a page of another site sent.
fn refuse_host(request: &axum::extract::Request) -> Option<HttpResponse> {
    let named = host::named(request);
    let is_meant = host::is_this_machine(named) && !host::is_of_another_site(request.headers(), named);
    let refusal = "This page is only for this machine: use 127.0.0.1 or localhost.\n";
    (!is_meant).then(|| text(StatusCode::FORBIDDEN, refusal))
}

fn state(board: &Board) -> HttpResponse {
    text(StatusCode::OK, &format!("{}\n", board.snapshots.borrow().state))
}

fn exposition(board: &Board) -> HttpResponse {
    let body = board.snapshots.borrow().to_prometheus();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], body).into_response()
}

fn text(status: StatusCode, body: &str) -> HttpResponse {
    (status, body.to_owned()).into_response()
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject").field("engine", &self.engine).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::view::board::Views;
    use tokio_stream::StreamExt;

    #[tokio::test]
    async fn who_follows_is_told_that_a_sweep_is_over_before_its_coordinator_ends() {
        let views = Views::default();
        let state = |state: &str| views.alter(|now| now.state = state.to_owned());
        state("computing");
        let (driver, _from_service) = mpsc::channel(1);
        let (refusals, _refused) = mpsc::channel(1);
        let door = AccessCheck { secret: blake3::hash(b"Bearer open"), refusals };
        let connections = AtomicU64::new(0);
        let service = Service {
            packages: Packages::default(),
            door,
            engine: &granule_toy::Toy::Free,
            epoch: 1,
            driver,
            board: views.board(),
            connections,
            room: Room::new(0),
        };
        let mut request = Request::new(wire::WatchRequest { follow: true });
        request.metadata_mut().insert(AUTHORIZATION, "Bearer open".parse().expect("it is ASCII"));
        let mut reports = service.watch(request).await.expect("it is let in").into_inner();
        let mut next = async || {
            let report = reports.next().await?.expect("nothing fails");
            Some(serde_json::from_str::<Snapshot>(&report.json).expect("a snapshot").state)
        };
        assert_eq!(next().await.as_deref(), Some("computing"));
        state("draining");
        assert_eq!(next().await.as_deref(), Some("draining"));
        // The run is computed, and then writes, between two ticks.
        state("done");
        state("writing");
        drop(views);
        assert_eq!(next().await.as_deref(), Some("writing"));
        assert_eq!(next().await, None);
    }
}
