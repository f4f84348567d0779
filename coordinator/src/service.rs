//! The gRPC server: lets workers in and hands the driver what they say. It decides nothing else.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use granule_proto::convert::{TrialResult, WireError, engine_from_wire};
use granule_proto::wire::coordinator_server::{Coordinator, CoordinatorServer};
use granule_proto::{AUTHORIZATION, LARGEST_MESSAGE, PROTOCOL, wire};
use granule_sim::Engine;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::Stream as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

use crate::scheduler::{LeaseId, WorkerId};

/// What the driver hears from workers.
#[derive(Debug)]
pub(crate) enum FromService {
    Joined { worker: WorkerId, threads: u32, process_id: u32, link: Link },
    Heard { worker: WorkerId },
    Trial { worker: WorkerId, lease: LeaseId, result: TrialResult },
    Survey { worker: WorkerId, lease: LeaseId, accepted: Vec<u32> },
    Finished { worker: WorkerId, lease: LeaseId },
    Failed { worker: WorkerId, lease: LeaseId, reason: String },
    Left { worker: WorkerId },
}

/// The way to a worker. Dropping it ends the connection.
pub(crate) type Link = mpsc::Sender<Result<wire::ToWorker, Status>>;

/// Messages of a worker that go to the driver at once.
const HEARD_AT_ONCE: usize = 64;

/// Messages on their way to a worker, before it is taken for stuck.
const OUTGOING: usize = 4096;

/// How long a connection may take to say hello.
const HELLO_WITHIN: Duration = Duration::from_secs(10);

/// Serves workers on this listener until `stop` is resolved.
pub(crate) async fn serve(
    listener: TcpListener,
    secret: String,
    engine: Engine,
    driver: mpsc::Sender<Vec<FromService>>,
    stop: oneshot::Receiver<()>,
) -> Result<(), tonic::transport::Error> {
    let service = Service {
        secret: blake3::hash(format!("Bearer {secret}").as_bytes()),
        engine,
        driver,
        workers: AtomicU64::new(0),
    };
    let service = CoordinatorServer::new(service)
        .max_decoding_message_size(LARGEST_MESSAGE)
        .max_encoding_message_size(LARGEST_MESSAGE);
    // The option of the server of this name does nothing for a listener of our own, and without it a
    // lease can wait for the worker's system to acknowledge the message before.
    let connections = TcpIncoming::from(listener).with_nodelay(Some(true));
    tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(Duration::from_secs(10)))
        .http2_keepalive_timeout(Some(Duration::from_secs(30)))
        .add_service(service)
        .serve_with_incoming_shutdown(connections, async {
            let _ = stop.await;
        })
        .await
}

struct Service {
    /// Hash of the header that workers must send; hashes compare in constant time.
    secret: blake3::Hash,
    engine: Engine,
    driver: mpsc::Sender<Vec<FromService>>,
    workers: AtomicU64,
}

#[tonic::async_trait]
impl Coordinator for Service {
    type WorkStream = ReceiverStream<Result<wire::ToWorker, Status>>;

    async fn work(
        &self,
        request: Request<Streaming<wire::FromWorker>>,
    ) -> Result<Response<Self::WorkStream>, Status> {
        let header = request.metadata().get(AUTHORIZATION).map(|value| blake3::hash(value.as_bytes()));
        if header != Some(self.secret) {
            return Err(Status::unauthenticated(
                "the secret is wrong; use the one this coordinator was started with",
            ));
        }
        let mut incoming = request.into_inner();
        let hello = match tokio::time::timeout(HELLO_WITHIN, incoming.message()).await {
            Ok(Ok(Some(wire::FromWorker { message: Some(wire::from_worker::Message::Hello(hello)) }))) => {
                hello
            }
            Ok(Err(status)) => return Err(status),
            _ => return Err(Status::invalid_argument("a worker has to say hello first")),
        };
        self.admit(&hello)?;

        let worker = WorkerId(self.workers.fetch_add(1, Ordering::Relaxed) + 1);
        let (link, outgoing) = mpsc::channel(OUTGOING);
        let joined = FromService::Joined {
            worker,
            threads: hello.threads.clamp(1, 4096),
            process_id: hello.process_id,
            link,
        };
        let gone = |_| Status::unavailable("the coordinator is ending");
        self.driver.send(vec![joined]).await.map_err(gone)?;
        let driver = self.driver.clone();
        tokio::spawn(async move {
            listen(worker, &mut incoming, &driver).await;
            let _ = driver.send(vec![FromService::Left { worker }]).await;
        });
        Ok(Response::new(ReceiverStream::new(outgoing)))
    }
}

impl Service {
    fn admit(&self, hello: &wire::Hello) -> Result<(), Status> {
        let ours = env!("CARGO_PKG_VERSION");
        let theirs = &hello.version;
        if hello.protocol != PROTOCOL {
            return Err(Status::failed_precondition(format!(
                "this coordinator (granule {ours}) speaks protocol {PROTOCOL}, the worker (granule {theirs}) {}; \
                 run the same version on both sides",
                hello.protocol
            )));
        }
        let has_engine =
            hello.engines.iter().any(|engine| engine_from_wire(Some(engine.clone())) == Ok(self.engine));
        if !has_engine {
            return Err(Status::failed_precondition(format!(
                "the worker (granule {theirs}) does not have engine {} revision {} of this coordinator (granule {ours}); \
                 run the same version on both sides",
                self.engine.name(),
                self.engine.revision()
            )));
        }
        Ok(())
    }
}

/// Hands on what a worker says, until it stops or stops making sense.
///
/// All that has arrived goes at once: with many workers that send much, each message alone would
/// have to wait its turn, and what answers it would leave alone, too.
async fn listen(
    worker: WorkerId,
    incoming: &mut Streaming<wire::FromWorker>,
    driver: &mpsc::Sender<Vec<FromService>>,
) {
    let mut makes_sense = true;
    while makes_sense && let Ok(Some(first)) = incoming.message().await {
        let mut heard = Vec::new();
        let mut next = Some(first);
        while let Some(message) = next.take() {
            match understand(worker, message) {
                Ok(understood) => heard.push(understood),
                Err(_) => makes_sense = false,
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

fn understand(worker: WorkerId, message: wire::FromWorker) -> Result<FromService, WireError> {
    use wire::from_worker::Message;
    Ok(match message.message.ok_or(WireError::Missing("message"))? {
        Message::Hello(_) | Message::Heartbeat(_) => FromService::Heard { worker },
        Message::Trial(result) => {
            let lease = lease_id(result.lease);
            FromService::Trial { worker, lease, result: TrialResult::from_wire(result)? }
        }
        Message::Survey(wire::SurveyResult { lease, accepted }) => {
            FromService::Survey { worker, lease: lease_id(lease), accepted }
        }
        Message::Finished(wire::Finished { lease }) => {
            FromService::Finished { worker, lease: lease_id(lease) }
        }
        Message::Failed(wire::Failed { lease, reason }) => {
            FromService::Failed { worker, lease: lease_id(lease), reason }
        }
    })
}

/// The lease of this number; none for a number that was never given to one.
fn lease_id(number: u64) -> LeaseId {
    number.try_into().map_or(LeaseId::NONE, LeaseId)
}
