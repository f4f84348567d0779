//! Connections to a coordinator: TCP, and TLS unless the coordinator is on this machine.
//!
//! The only proof of a coordinator's identity is its certificate, which the access file has. No authority
//! signs it, and neither its names nor its expiry are checked. The access file has the secret, so its owner
//! already gets it from the coordinator by a trusted way. An authority could add nothing to that. Checks of
//! names and dates would only cause failures: machines of a cluster seldom have names that the others agree
//! upon, and clocks are wrong. The other side must prove that it has the certificate's private key.

mod race;

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{
    WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, SignatureScheme,
};
use tonic::codegen::http::Uri;
use tonic::transport::{Channel, Endpoint};

use self::race::{Candidate, Race, interleaved};
use crate::access::{Access, Address};

/// Why a coordinator was not reached.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// There is no coordinator at the address, or not at present.
    #[error("cannot connect to the coordinator at {address}")]
    Unreachable {
        /// The address that was tried.
        address: String,
        /// Error of the attempt.
        source: io::Error,
    },
    /// The server has another certificate: it is another coordinator or an impostor.
    #[error(
        "the coordinator at {address} is not the one of this access file: its certificate differs; get a new \
            copy of the access file from the coordinator's output directory"
    )]
    WrongCertificate {
        /// Address of the server.
        address: String,
    },
    /// The access file has a certificate, but the server does not speak TLS.
    #[error(
        "the server at {address} does not speak TLS, so it is not the coordinator of this access file; get a \
            new copy of the access file from the coordinator's output directory"
    )]
    NotTls {
        /// Address of the server.
        address: String,
    },
    /// The server speaks TLS, but the access file has no certificate by which to verify it.
    #[error(
        "the server at {address} speaks TLS, but the access file has no certificate; get a new copy of the \
            access file from the coordinator's output directory"
    )]
    NeedsTls {
        /// Address of the server.
        address: String,
    },
    /// The address is invalid, or must not be used.
    #[error("`{address}` cannot be the address of a coordinator: {problem}")]
    Address {
        /// The address.
        address: String,
        /// Description of the error.
        problem: &'static str,
    },
    /// There are several addresses, and the coordinator was found at none.
    #[error("cannot reach the coordinator at any of its addresses: {}", listed(errors))]
    Nowhere {
        /// Error of each attempt, in the order in which they failed.
        errors: Vec<ConnectError>,
    },
}

impl ConnectError {
    /// Whether a later attempt may succeed. With several addresses, one such address suffices.
    #[must_use]
    pub fn is_worth_retrying(&self) -> bool {
        match self {
            ConnectError::Unreachable { .. } => true,
            ConnectError::Nowhere { errors } => errors.iter().any(ConnectError::is_worth_retrying),
            ConnectError::WrongCertificate { .. }
            | ConnectError::NotTls { .. }
            | ConnectError::NeedsTls { .. }
            | ConnectError::Address { .. } => false,
        }
    }
}

fn listed(errors: &[ConnectError]) -> String {
    let describe = |error: &ConnectError| match error {
        // Callers report the source of this error, but not those of the errors in its list.
        ConnectError::Unreachable { source, .. } => format!("{error} ({source})"),
        _ => error.to_string(),
    };
    errors.iter().map(describe).collect::<Vec<_>>().join("; ")
}

/// Time limit for opening a connection, and for resolving a name.
const PATIENCE: Duration = Duration::from_secs(10);

/// Most addresses of a name that are tried. More are unlikely to be of one machine.
const MOST_OF_A_NAME: usize = 16;

/// A connection to a coordinator.
#[derive(Debug)]
pub struct Connected {
    /// Channel for calls. If the connection is lost, calls on the channel fail; it does not reconnect.
    pub channel: Channel,
    /// Address in the access file at which the coordinator was found.
    pub address: String,
    /// Socket address of the coordinator, to be tried first the next time.
    pub place: SocketAddr,
}

/// Connects to a coordinator at the first address that succeeds. Returns the channel and that address.
///
/// # Errors
/// If no address succeeds.
pub async fn connect(access: &Access) -> Result<(Channel, String), ConnectError> {
    reconnect(access, None).await.map(|Connected { channel, address, .. }| (channel, address))
}

/// Like [`connect`], but tries the place of the last connection first.
///
/// # Errors
/// As [`connect`].
pub async fn reconnect(access: &Access, last: Option<SocketAddr>) -> Result<Connected, ConnectError> {
    let mut errors = Vec::new();
    let mut race = Race::new(last);
    let mut steps: JoinSet<ConnectStep> = JoinSet::new();
    let (reach, mut reached) = mpsc::unbounded_channel();
    for (of, address) in access.addresses.iter().enumerate() {
        match address.parse::<Address>() {
            Ok(Address { host, port }) => {
                steps.spawn(async move {
                    let found = timeout(PATIENCE, resolve(host, port)).await;
                    ConnectStep::Resolved(of, found.unwrap_or_else(|_| Err(late())))
                });
            }
            Err(_) => {
                let problem = "write host:port";
                errors.push(ConnectError::Address { address: address.clone(), problem });
            }
        }
    }
    let begun = Instant::now();
    loop {
        let due = race.due().map(|due| begun + due);
        if due.is_none() && steps.is_empty() {
            break;
        }
        let step = tokio::select! {
            biased;
            Some(step) = steps.join_next() => step,
            Some(candidate) = reached.recv() => {
                race.reached(candidate, begun.elapsed());
                continue;
            }
            () = sleep_until(due.unwrap_or(begun)), if due.is_some() => {
                let Some(candidate) = race.begin(begun.elapsed()) else { continue };
                let attempt = Attempt {
                    name: access.addresses[candidate.of].clone(),
                    candidate,
                    certificate: access.certificate.clone(),
                    reach: reach.clone(),
                };
                steps.spawn(async move {
                    let late = attempt.unreachable(late());
                    let ended = timeout(PATIENCE, attempt.run()).await;
                    ConnectStep::Tried(candidate, ended.unwrap_or(Err(late)))
                });
                continue;
            }
        };
        match step.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())) {
            ConnectStep::Resolved(of, Ok(found)) => race.add(of, found),
            ConnectStep::Resolved(of, Err(source)) => {
                errors.push(ConnectError::Unreachable { address: access.addresses[of].clone(), source });
            }
            ConnectStep::Tried(Candidate { of, address: place }, Ok(channel)) => {
                return Ok(Connected { channel, address: access.addresses[of].clone(), place });
            }
            ConnectStep::Tried(candidate, Err(error)) => {
                race.failed(candidate);
                errors.push(error);
            }
        }
    }
    Err(match errors.len() {
        0 => ConnectError::Address { address: String::new(), problem: "the access file has none" },
        1 => errors.remove(0),
        _ => ConnectError::Nowhere { errors },
    })
}

/// The result of a step of [`reconnect`].
enum ConnectStep {
    /// Socket addresses of the access file's address with this index.
    Resolved(usize, io::Result<Vec<SocketAddr>>),
    Tried(Candidate, Result<Channel, ConnectError>),
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("there was no answer within {} s", PATIENCE.as_secs()))
}

/// Resolves a name or an IP address to socket addresses, in the order in which to try them.
async fn resolve(host: String, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    // The call may take long. Tokio's threads for such calls panic if the system refuses them.
    let (tell, told) = oneshot::channel();
    let ask = move || {
        let found = (host.as_str(), port).to_socket_addrs();
        // The receiver is dropped once a connection is found.
        let _ = tell.send(found.map(|found| interleaved(found.take(MOST_OF_A_NAME))));
    };
    std::thread::Builder::new().name("resolver".into()).spawn(ask)?;
    let found = told.await.map_err(io::Error::other)??;
    if found.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    }
    Ok(found)
}

/// Address that messages show for a coordinator that is reached over an open connection.
pub const PIPED: &str = "coordinator";

/// Connects to a coordinator over an open connection.
///
/// # Errors
/// If HTTP/2 cannot be opened on it.
pub async fn over<S>(stream: S) -> Result<Channel, ConnectError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    channel(PIPED, stream).await
}

/// An attempt to connect to one socket address.
struct Attempt {
    /// The address in the access file.
    name: String,
    candidate: Candidate,
    certificate: Option<CertificateDer<'static>>,
    /// Receives the candidate once a server is reached.
    reach: mpsc::UnboundedSender<Candidate>,
}

impl Attempt {
    /// Returns the place for display.
    fn place(&self) -> String {
        let place = self.candidate.address.to_string();
        if self.name == place { place } else { format!("{} ({place})", self.name) }
    }

    fn unreachable(&self, source: io::Error) -> ConnectError {
        ConnectError::Unreachable { address: self.place(), source }
    }

    async fn run(self) -> Result<Channel, ConnectError> {
        let place = self.candidate.address;
        // A name may resolve to any address, also the name of this machine.
        if self.certificate.is_none() && !place.ip().to_canonical().is_loopback() {
            let problem = "it is not on this machine, and the access file has no certificate";
            return Err(ConnectError::Address { address: self.place(), problem });
        }
        let stream = TcpStream::connect(place).await.map_err(|error| self.unreachable(error))?;
        // If the receiver is gone, another attempt has succeeded.
        let _ = self.reach.send(self.candidate);
        // Leases and results must not wait until the other side has acknowledged the previous message.
        stream.set_nodelay(true).map_err(|error| self.unreachable(error))?;
        let (stream, first_byte) = WatchedConnection::new(stream);
        match &self.certificate {
            Some(certificate) => {
                connect_tls(&self.place(), &self.name, stream, first_byte, certificate.clone()).await
            }
            None => connect_plain(&self.place(), &self.name, stream, first_byte).await,
        }
    }
}

async fn connect_tls(
    address: &str,
    name: &str,
    stream: WatchedConnection,
    mut first_byte: oneshot::Receiver<u8>,
    certificate: CertificateDer<'static>,
) -> Result<Channel, ConnectError> {
    let unreachable = |source| ConnectError::Unreachable { address: address.to_owned(), source };
    let config = client_config(certificate).map_err(|error| unreachable(io::Error::other(error)))?;
    // The name has no effect: it is not sent, and the certificate is not checked for it.
    let shown = ServerName::try_from("coordinator").expect("it is a name");
    let stream = match TlsConnector::from(Arc::new(config)).connect(shown, stream).await {
        Ok(stream) => stream,
        Err(error) => {
            let address = address.to_owned();
            return Err(match (tls_error(&error), first_byte.try_recv()) {
                (Some(TlsError::InvalidCertificate(_)), _) => ConnectError::WrongCertificate { address },
                (_, Ok(byte)) if !TLS_RECORDS.contains(&byte) => ConnectError::NotTls { address },
                _ => ConnectError::Unreachable { address, source: error },
            });
        }
    };
    channel(name, stream).await
}

async fn connect_plain(
    address: &str,
    name: &str,
    stream: WatchedConnection,
    first_byte: oneshot::Receiver<u8>,
) -> Result<Channel, ConnectError> {
    let unreachable = |kind, problem: &str| {
        let source = io::Error::new(kind, problem);
        ConnectError::Unreachable { address: address.to_owned(), source }
    };
    let channel = channel(name, stream).await?;
    // HTTP/2 is open once this side has sent its preface. Only the answer shows that the server understood
    // it.
    match first_byte.await {
        Ok(HTTP2) => Ok(channel),
        Ok(byte) if TLS_RECORDS.contains(&byte) => {
            Err(ConnectError::NeedsTls { address: address.to_owned() })
        }
        Ok(_) => Err(unreachable(io::ErrorKind::InvalidData, "the server there is not a coordinator")),
        Err(_) => Err(unreachable(io::ErrorKind::UnexpectedEof, "it closed the connection")),
    }
}

/// First byte of every TLS record: its type.
const TLS_RECORDS: std::ops::RangeInclusive<u8> = 20..=24;

/// First byte from an HTTP/2 server: the high byte of the length of its settings, which are shorter than
/// 65,536 bytes.
const HTTP2: u8 = 0;

/// Opens HTTP/2 over an open connection.
async fn channel<S>(address: &str, stream: S) -> Result<Channel, ConnectError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let wrong =
        |_| ConnectError::Address { address: address.to_owned(), problem: "it cannot be part of a URL" };
    // The scheme has no effect: the connection below HTTP/2 is already open.
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(wrong)?
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(30));
    let mut stream = Some(TokioIo::new(stream));
    let once = tower::service_fn(move |_: Uri| {
        let stream = stream.take();
        async move { stream.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected)) }
    });
    endpoint.connect_with_connector(once).await.map_err(|error| ConnectError::Unreachable {
        address: address.to_owned(),
        source: io::Error::other(error),
    })
}

fn tls_error(error: &io::Error) -> Option<&TlsError> {
    error.get_ref()?.downcast_ref()
}

fn client_config(certificate: CertificateDer<'static>) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pinned { certificate, algorithms }))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.enable_sni = false;
    // The server must show its certificate each time.
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// Accepts one certificate, from a server that has its private key.
#[derive(Debug)]
struct Pinned {
    certificate: CertificateDer<'static>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        if end_entity.as_ref() == self.certificate.as_ref() {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(TlsError::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// A connection that reports the first byte that it reads.
struct WatchedConnection {
    stream: TcpStream,
    first_byte: Option<oneshot::Sender<u8>>,
}

impl WatchedConnection {
    fn new(stream: TcpStream) -> (WatchedConnection, oneshot::Receiver<u8>) {
        let (sender, receiver) = oneshot::channel();
        (WatchedConnection { stream, first_byte: Some(sender) }, receiver)
    }
}

impl AsyncRead for WatchedConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = ready!(Pin::new(&mut self.stream).poll_read(context, buffer));
        if let Some(&byte) = buffer.filled().get(before) {
            if let Some(sender) = self.first_byte.take() {
                // The receiver may have been dropped.
                let _ = sender.send(byte);
            }
        } else if buffer.remaining() > 0 {
            // The connection has ended or failed, so no first byte will arrive.
            self.first_byte = None;
        }
        Poll::Ready(result)
    }
}

impl AsyncWrite for WatchedConnection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests;
