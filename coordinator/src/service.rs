//! The server: lets workers and watchers in and hands the driver what workers say. It decides nothing
//! else.
//!
//! Whoever comes has to show the coordinator's secret before anything is read of what it sends, and
//! off loopback over TLS only. `/health` and `/metrics` are on the same port.

use std::fmt;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response as HttpResponse};
use axum::routing::get;
use granule_proto::wire::coordinator_server::{Coordinator, CoordinatorServer};
use granule_proto::{AUTHORIZATION, LARGEST_MESSAGE, wire};
use granule_sim::Engine;
use granule_worker::access::Secret;
use granule_worker::text::from_outside;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

use crate::dialogue::{Introduction, Said, introduce, understand};
use crate::gate::{Connection, Peer, Refusal};
use crate::scheduler::ConnectionId;
use crate::view::board::Board;
use crate::view::status::Snapshot;

/// What the driver hears from workers.
#[derive(Debug)]
pub(crate) enum FromService {
    Joined {
        connection: ConnectionId,
        introduction: Introduction,
        peer: SocketAddr,
        link: Link,
    },
    Said {
        connection: ConnectionId,
        said: Said,
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
pub(crate) type Link = mpsc::Sender<Result<wire::ToWorker, Status>>;

/// Messages of a worker that go to the driver at once.
const HEARD_AT_ONCE: usize = 64;

/// Messages on their way to a worker, before it is taken for stuck.
const OUTGOING: usize = 4096;

/// How often a watcher gets a snapshot.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// How long a connection may take to say hello once it has shown the secret.
const HELLO_WITHIN: Duration = Duration::from_secs(10);

/// Requests that one connection may have open.
const REQUESTS: u32 = 16;

/// What the server is about.
pub(crate) struct Subject {
    pub(crate) secret: Secret,
    pub(crate) engine: Engine,
    /// The life of this process.
    pub(crate) epoch: u64,
    pub(crate) driver: mpsc::Sender<Vec<FromService>>,
    pub(crate) refusals: mpsc::Sender<Refusal>,
    pub(crate) board: Board,
}

/// Serves these connections until `stop` is resolved.
pub(crate) async fn serve(
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
    };
    let service = CoordinatorServer::new(service)
        .max_decoding_message_size(LARGEST_MESSAGE)
        .max_encoding_message_size(LARGEST_MESSAGE);
    let routes = Routes::from(pages).add_service(service);
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
    /// Lets a request in, or says why not.
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
        if let Some(peer) = peer {
            peer.admit();
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
    engine: Engine,
    epoch: u64,
    driver: mpsc::Sender<Vec<FromService>>,
    board: Board,
    connections: AtomicU64,
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
    type WorkStream = ReceiverStream<Result<wire::ToWorker, Status>>;
    type WatchStream = Pin<Box<dyn Stream<Item = Result<wire::Report, Status>> + Send>>;

    async fn work(
        &self,
        request: Request<Streaming<wire::FromWorker>>,
    ) -> Result<Response<Self::WorkStream>, Status> {
        let peer = peer_of(&request);
        self.door.admit(peer.as_ref(), &headers_of(&request)).map_err(Status::unauthenticated)?;
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
        let peer = peer.map_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)), |peer| peer.address);
        let joined = FromService::Joined { connection, introduction, peer, link };
        let gone = |_| Status::unavailable("the coordinator is ending");
        self.driver.send(vec![joined]).await.map_err(gone)?;
        let driver = self.driver.clone();
        tokio::spawn(async move {
            listen(connection, &mut incoming, &driver).await;
            let _ = driver.send(vec![FromService::Left { connection }]).await;
        });
        Ok(Response::new(ReceiverStream::new(outgoing)))
    }

    async fn watch(
        &self,
        request: Request<wire::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let peer = peer_of(&request);
        self.door.admit(peer.as_ref(), &headers_of(&request)).map_err(Status::unauthenticated)?;
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
        Ok(Response::new(Box::pin(ReceiverStream::new(outgoing))))
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
async fn listen(
    connection: ConnectionId,
    incoming: &mut Streaming<wire::FromWorker>,
    driver: &mpsc::Sender<Vec<FromService>>,
) {
    let mut makes_sense = true;
    while makes_sense && let Ok(Some(first)) = incoming.message().await {
        let mut heard = Vec::new();
        let mut next = Some(first);
        while let Some(message) = next.take() {
            match understand(message) {
                Ok(said) => heard.extend(said.map(|said| FromService::Said { connection, said })),
                Err(error) => {
                    makes_sense = false;
                    let what = format!("a message that makes no sense: {}", from_outside(&error.to_string()));
                    heard.push(FromService::Nonsense { connection, what });
                }
            }
            if makes_sense && heard.len() < HEARD_AT_ONCE {
                next = arrived(incoming).await;
            }
        }
        if driver.send(heard).await.is_err() {
            return;
        }
    }
}

/// The next message, if it is here.
async fn arrived(incoming: &mut Streaming<wire::FromWorker>) -> Option<wire::FromWorker> {
    poll_fn(|context| {
        Poll::Ready(match Pin::new(&mut *incoming).poll_next(context) {
            Poll::Ready(Some(Ok(message))) => Some(message),
            // An end and an error are met again by who waits for more.
            Poll::Ready(_) | Poll::Pending => None,
        })
    })
    .await
}

/// What is there for others than workers: `/health` for anybody, `/metrics` for who has the secret.
fn pages(door: Door, board: Board) -> Router {
    let health = {
        let board = board.clone();
        move || async move { text(StatusCode::OK, &format!("{}\n", board.snapshots.borrow().state)) }
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
pub(crate) fn open_pages(board: &Board) -> Router {
    let health = board.clone();
    let metrics = board.clone();
    Router::new()
        .route(
            "/health",
            get(async move || text(StatusCode::OK, &format!("{}\n", health.snapshots.borrow().state))),
        )
        .route("/metrics", get(async move || exposition(&metrics)))
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

/// Serves pages on a listener until the task is dropped.
pub(crate) async fn serve_pages(listener: tokio::net::TcpListener, pages: Router) {
    // It ends with the task only: what goes wrong with a connection is that connection's end.
    let _ = axum::serve(listener, pages).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::board::Views;
    use granule_sim::Engine;
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
        let service =
            Service { door, engine: Engine::Pcg, epoch: 1, driver, board: views.board(), connections };
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
