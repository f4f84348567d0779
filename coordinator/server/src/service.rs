//! The server: lets workers and watchers in and hands the driver what workers say. It decides nothing
//! else.
//!
//! Whoever comes has to show the coordinator's secret before anything is read of what it sends, and
//! off loopback over TLS only. `/health` and `/metrics` are on the same port.

use std::fmt;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response as HttpResponse};
use axum::routing::get;
use granule_engine::Engine;
use granule_engine::spikes::LARGEST_ENCODED;
use granule_farm::dialogue::{Introduction, Said, introduce, understand};
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

use crate::gate::{Connection, Held, Peer, Refusal};
use crate::host;
use crate::room::{Reservation, Room};
use crate::view::board::Board;
use crate::view::status::Snapshot;

/// What the driver hears from workers.
#[derive(Debug)]
pub enum FromService {
    Joined {
        connection: ConnectionId,
        introduction: Introduction,
        peer: SocketAddr,
        link: Link,
    },
    Said {
        connection: ConnectionId,
        said: Said,
        /// That a result has which came in parts, until it is stored.
        room: Option<Box<Reservation>>,
    },
    /// It sent what makes no sense.
    Nonsense {
        connection: ConnectionId,
        what: String,
    },
    Left {
        connection: ConnectionId,
    },
}

/// The way to a worker. Dropping it ends the connection.
pub type Link = mpsc::Sender<Result<wire::ToWorker, Status>>;

/// Messages of a worker that go to the driver at once.
const HEARD_AT_ONCE: usize = 64;

/// Bytes of spikes after which no more messages are gathered.
const BYTES_AT_ONCE: usize = 1 << 20;

/// How often the driver is told of a worker that waits until there is room for its result.
const WAITING_EVERY: Duration = Duration::from_secs(1);

/// Messages on their way to a worker, before it is taken for stuck.
const OUTGOING: usize = 4096;

/// How often a watcher gets a snapshot.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// How long a connection may take to say hello once it has shown the secret.
const HELLO_WITHIN: Duration = Duration::from_secs(10);

/// Requests that one connection may have open.
const REQUESTS: u32 = 16;

/// What the server is about.
pub struct Subject {
    pub secret: Secret,
    pub engine: &'static dyn Engine,
    /// The life of this process.
    pub epoch: u64,
    pub driver: mpsc::Sender<Vec<FromService>>,
    pub refusals: mpsc::Sender<Refusal>,
    pub board: Board,
}

/// Serves these connections until `stop` is resolved.
pub async fn serve(
    connections: impl Stream<Item = std::io::Result<Connection>> + Send + 'static,
    subject: Subject,
    stop: oneshot::Receiver<()>,
) -> Result<(), tonic::transport::Error> {
    let door = Door {
        secret: blake3::hash(format!("Bearer {}", subject.secret.expose()).as_bytes()),
        refusals: subject.refusals,
    };
    let pages = pages(door.clone(), subject.board.clone());
    let service = Service {
        door,
        engine: subject.engine,
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

/// Answers what is asked on these connections, of whichever port, until `stop` is resolved.
///
/// How long a connection may take, and how many there are, is the gate's affair; here is what one may ask for.
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

/// Who may come in.
#[derive(Clone)]
struct Door {
    /// Hash of the header that others must send; hashes compare in constant time.
    secret: blake3::Hash,
    refusals: mpsc::Sender<Refusal>,
}

impl Door {
    /// Lets a request in, which then has to say how long it is answered, or says why not.
    fn admit(&self, peer: Option<&Peer>, headers: &HeaderMap) -> Result<(), &'static str> {
        if peer.is_some_and(|peer| !peer.is_private) {
            return self.refuse(
                peer,
                "this coordinator speaks TLS only: connect with its access file, `granule worker --access FILE`",
            );
        }
        let shown = headers.get(AUTHORIZATION).map(|value| blake3::hash(value.as_bytes()));
        if shown != Some(self.secret) {
            return self
                .refuse(peer, "the secret is wrong: use the access file that this coordinator has written");
        }
        Ok(())
    }

    fn refuse(&self, peer: Option<&Peer>, reason: &'static str) -> Result<(), &'static str> {
        self.report(peer, reason.to_owned());
        Err(reason)
    }

    /// Tells the driver, which may be busy: it is told of as many as it has time for.
    fn report(&self, peer: Option<&Peer>, reason: String) {
        if let Some(peer) = peer {
            let _ = self.refusals.try_send(Refusal { peer: peer.address, reason });
        }
    }
}

struct Service {
    door: Door,
    engine: &'static dyn Engine,
    epoch: u64,
    driver: mpsc::Sender<Vec<FromService>>,
    board: Board,
    connections: AtomicU64,
    /// For results in parts, of all connections.
    room: Arc<Room>,
}

/// Who is at the other end.
fn peer_of<T>(request: &Request<T>) -> Option<Peer> {
    request.extensions().get::<Peer>().cloned()
}

fn headers_of<T>(request: &Request<T>) -> HeaderMap {
    request.metadata().clone().into_headers()
}

#[tonic::async_trait]
impl Coordinator for Service {
    type WorkStream = Held<ReceiverStream<Result<wire::ToWorker, Status>>>;
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
            _ => return Err(Status::invalid_argument("a worker has to say hello first")),
        };
        let introduction = introduce(hello, self.engine, self.epoch).map_err(|reason| {
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
        let (answer, ended) = Held::new(ReceiverStream::new(outgoing), admission).until_its_end();
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
            // Of its own, as waiting takes note of what passes.
            let (mut ends, mut is_over) = (snapshots.clone(), false);
            loop {
                let json = tokio::select! {
                    biased;
                    // How it ended is told at once, as this process may end, too.
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
                        // The next snapshot has what was missed.
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
        Ok(Response::new(Box::pin(Held::new(ReceiverStream::new(outgoing), admission))))
    }
}

/// The first snapshot of a sweep that is over.
async fn over(snapshots: &mut watch::Receiver<Arc<Snapshot>>) -> Option<String> {
    snapshots.wait_for(|snapshot| snapshot.is_over()).await.ok().map(|snapshot| snapshot.to_json())
}

/// Hands on what a worker says, until it stops or stops making sense.
///
/// All that has arrived goes at once: with many workers that send much, each message alone would
/// have to wait its turn, and what answers it would leave alone, too.
struct Listener<'a> {
    connection: ConnectionId,
    driver: &'a mpsc::Sender<Vec<FromService>>,
    room: Arc<Room>,
    /// The result in parts that is arriving, and the room that it has.
    assembly: Assembly,
    reservation: Option<Box<Reservation>>,
    heard: Vec<FromService>,
    /// Bytes of spikes in there.
    bytes: usize,
    /// Resolves when nothing can be said to the worker any more.
    ended: oneshot::Receiver<()>,
}

/// What came of listening.
enum Heard {
    Message(wire::FromWorker),
    /// The worker has ended the call, or the line did.
    End,
    /// It sent what is no message.
    Nonsense(String),
    /// The room for the result that is arriving is needed for others.
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

    /// Listens to the end; gives a reason if it was we who ended it.
    async fn listen(&mut self, incoming: &mut Streaming<wire::FromWorker>) -> Option<String> {
        loop {
            let mut next = Some(self.next(incoming).await);
            while let Some(heard) = next.take() {
                let nonsense = match heard {
                    Heard::Message(message) => {
                        if !self.make_room_for(&message).await {
                            return None;
                        }
                        self.understand(message).err().map(|error| error.to_string())
                    }
                    Heard::Nonsense(what) => Some(what),
                    Heard::End => {
                        self.hand_on().await;
                        return None;
                    }
                    Heard::RoomIsNeeded => {
                        return Some("sent a large result more slowly than others could wait for".to_owned());
                    }
                };
                if let Some(error) = nonsense {
                    let what = format!("a message that makes no sense: {}", from_outside(&error));
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

    /// Waits for what comes next.
    async fn next(&self, incoming: &mut Streaming<wire::FromWorker>) -> Heard {
        let room_is_needed = async {
            match &self.reservation {
                Some(reservation) => reservation.is_to_end().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            message = incoming.message() => Heard::from(message),
            () = room_is_needed => Heard::RoomIsNeeded,
        }
    }

    /// Waits until there is room for a result that is announced; false if the driver or the connection has ended.
    ///
    /// The worker is not heard meanwhile, and that is not its fault.
    async fn make_room_for(&mut self, message: &wire::FromWorker) -> bool {
        let bytes = self.assembly.wants(message);
        if bytes == 0 {
            return true;
        }
        // What is arriving is given up for it; and what it waits for may wait to be handed on.
        (self.assembly, self.reservation) = (Assembly::default(), None);
        if !self.hand_on().await {
            return false;
        }
        let lease = match &message.message {
            Some(wire::from_worker::Message::Trial(result)) => result.lease,
            _ => 0,
        };
        // A result of more bytes than there are is refused when it is looked at.
        let mut reserving = pin!(Arc::clone(&self.room).reserve(bytes.min(LARGEST_ENCODED)));
        let mut tick = tokio::time::interval(WAITING_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                // The worker is gone, or was cut off.
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
            // It is whole, or was given up.
            room = self.reservation.take();
            room.iter().for_each(|of| of.is_whole());
        }
        self.bytes += bytes;
        self.heard.extend(said.map(|said| FromService::Said { connection: self.connection, said, room }));
        Ok(())
    }

    /// Hands on what was heard; false if the driver has ended.
    async fn hand_on(&mut self) -> bool {
        self.bytes = 0;
        self.heard.is_empty() || self.driver.send(std::mem::take(&mut self.heard)).await.is_ok()
    }
}

impl From<Result<Option<wire::FromWorker>, Status>> for Heard {
    fn from(message: Result<Option<wire::FromWorker>, Status>) -> Heard {
        match message {
            Ok(Some(message)) => Heard::Message(message),
            Err(status) if is_nonsense(&status) => Heard::Nonsense(status.message().to_owned()),
            Ok(None) | Err(_) => Heard::End,
        }
    }
}

/// Whether this is the fault of what was sent, and not of the line.
fn is_nonsense(status: &Status) -> bool {
    // What the line did has a cause.
    let is_of_decoding = matches!(status.code(), tonic::Code::Internal | tonic::Code::OutOfRange);
    is_of_decoding && std::error::Error::source(status).is_none()
}

/// What comes next, if it is here.
async fn arrived(incoming: &mut Streaming<wire::FromWorker>) -> Option<Heard> {
    poll_fn(|context| {
        Poll::Ready(match Pin::new(&mut *incoming).poll_next(context) {
            Poll::Ready(message) => Some(Heard::from(message.transpose())),
            Poll::Pending => None,
        })
    })
    .await
}

/// What is there for others than workers: `/health` for anybody, `/metrics` for who has the secret.
fn pages(door: Door, board: Board) -> Router {
    let health = {
        let board = board.clone();
        move |request: axum::extract::Request| async move {
            // From elsewhere a request may name this machine in any way, and no browser has led it here by a false one.
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

/// The same two pages without a secret, for a server on loopback.
pub fn open_pages(board: &Board) -> Routes {
    let page = |answer: fn(&Board) -> HttpResponse| {
        let board = board.clone();
        get(async move |request: axum::extract::Request| {
            refuse_host(&request).unwrap_or_else(|| answer(&board))
        })
    };
    Routes::from(Router::new().route("/health", page(state)).route("/metrics", page(exposition)))
}

/// Refuses a request that does not name this machine, or comes from a page of another site.
fn refuse_host(request: &axum::extract::Request) -> Option<HttpResponse> {
    let named = host::named(request);
    let is_meant = host::is_this_machine(named) && !host::is_of_another_site(request.headers(), named);
    let refusal = "This page is for this machine: ask for 127.0.0.1 or localhost.\n";
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
        let door = Door { secret: blake3::hash(b"Bearer open"), refusals };
        let connections = AtomicU64::new(0);
        let service = Service {
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
        // Computed, and written, between two ticks.
        state("done");
        state("writing");
        drop(views);
        assert_eq!(next().await.as_deref(), Some("writing"));
        assert_eq!(next().await, None);
    }
}
