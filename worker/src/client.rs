//! The connection to a coordinator.

use std::time::Duration;

use granule_proto::convert::WireError;
use granule_proto::wire::coordinator_client::CoordinatorClient;
use granule_proto::{AUTHORIZATION, LARGEST_MESSAGE, wire};
use tokio::sync::mpsc;
use tokio::time::{Instant, interval_at};
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Endpoint;

use crate::pool::Pool;
use crate::session::{Instruction, Introduction, Session};

/// How to reach a coordinator, and as whom.
#[derive(Clone, Debug)]
pub struct Config {
    /// `host:port` of the coordinator.
    pub address: String,
    /// Its secret.
    pub secret: String,
    /// What to say of ourselves; the number of threads is how many are started.
    pub introduction: Introduction,
}

/// Why a worker ended without being told to.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The address is none.
    #[error("`{address}` is no address of a coordinator; write host:port")]
    Address {
        /// What was given.
        address: String,
    },
    /// The secret cannot be sent.
    #[error("the coordinator's secret has characters that cannot be sent")]
    Secret,
    /// No connection.
    #[error("cannot connect to the coordinator at {address}")]
    Connect {
        /// Where it was looked for.
        address: String,
        /// What the system said.
        source: tonic::transport::Error,
    },
    /// The coordinator refused.
    #[error("the coordinator at {address} refused: {reason}")]
    Refused {
        /// Where it is.
        address: String,
        /// What it said.
        reason: String,
    },
    /// The connection ended.
    #[error("the connection to the coordinator at {address} was lost")]
    Lost {
        /// Where it was.
        address: String,
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
    /// A computing thread panicked.
    #[error("a computing thread ended unexpectedly; this is a bug in granule")]
    Panicked,
}

/// Results and messages on their way out, before the pool has to wait.
const OUTGOING: usize = 16;

/// Works for a coordinator until it says goodbye; returns its reason.
///
/// # Errors
/// When there is no coordinator, it refuses, or the connection ends before its goodbye.
pub async fn run(config: Config) -> Result<String, WorkerError> {
    let Config { address, secret, introduction } = config;
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|_| WorkerError::Address { address: address.clone() })?
        .connect_timeout(Duration::from_secs(10))
        .tcp_nodelay(true)
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(30));
    let bearer: MetadataValue<Ascii> = format!("Bearer {secret}").parse().map_err(|_| WorkerError::Secret)?;
    let channel = endpoint
        .connect()
        .await
        .map_err(|source| WorkerError::Connect { address: address.clone(), source })?;
    let mut client = CoordinatorClient::new(channel)
        .max_decoding_message_size(LARGEST_MESSAGE)
        .max_encoding_message_size(LARGEST_MESSAGE);

    let (outputs, mut computed) = mpsc::channel(OUTGOING);
    let pool = Pool::start(introduction.threads, &outputs).map_err(WorkerError::Thread)?;
    let mut session = Session::new(introduction);

    let (sender, outgoing) = mpsc::channel(OUTGOING);
    let lost = || WorkerError::Lost { address: address.clone() };
    for instruction in session.on_connected() {
        if let Instruction::Send(message) = instruction {
            sender.send(from_worker(message)).await.map_err(|_| lost())?;
        }
    }
    let mut request = tonic::Request::new(ReceiverStream::new(outgoing));
    request.metadata_mut().insert(AUTHORIZATION, bearer);
    let refused = |status: tonic::Status| match status.code() {
        tonic::Code::Unauthenticated | tonic::Code::FailedPrecondition | tonic::Code::InvalidArgument => {
            WorkerError::Refused { address: address.clone(), reason: status.message().to_owned() }
        }
        _ => lost(),
    };
    let mut incoming = client.work(request).await.map_err(refused)?.into_inner();

    let mut period = Duration::from_secs(1);
    let mut heartbeat = interval_at(Instant::now() + period, period);
    loop {
        let instruction = tokio::select! {
            message = incoming.message() => {
                let message = message.map_err(refused)?.ok_or_else(lost)?;
                session
                    .on_message(message)
                    .map_err(|source| WorkerError::Message { address: address.clone(), source })?
            }
            output = computed.recv() => {
                // We hold a sender ourselves: the channel does not close.
                output.map(|output| session.on_output(output))
            }
            _ = heartbeat.tick() => {
                if pool.has_panicked() {
                    return Err(WorkerError::Panicked);
                }
                Some(Instruction::Send(wire::from_worker::Message::Heartbeat(wire::Heartbeat {})))
            }
        };
        match instruction {
            None => {}
            Some(Instruction::Send(message)) => {
                sender.send(from_worker(message)).await.map_err(|_| lost())?;
            }
            Some(Instruction::Compute { lease, work }) => pool.compute(lease, work),
            Some(Instruction::HeartbeatEvery { milliseconds }) => {
                period = Duration::from_millis(milliseconds.into());
                heartbeat = interval_at(Instant::now() + period, period);
            }
            Some(Instruction::Stop { reason }) => return Ok(reason),
        }
    }
}

fn from_worker(message: wire::from_worker::Message) -> wire::FromWorker {
    wire::FromWorker { message: Some(message) }
}
