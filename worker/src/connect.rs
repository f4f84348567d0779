//! The way to a coordinator: TCP, and TLS unless it is on this machine.
//!
//! A coordinator is known by its certificate, which is in the access file, and by nothing else: no
//! authority vouches for it, its names are not looked at, nor is when it expires. The access file
//! comes from the coordinator itself by a way that its owner trusts, as it has the secret in it; so
//! there is nothing that an authority could add, while names and dates could only get in the way.
//! Machines of a cluster seldom have names that the others agree upon, and clocks are wrong. What is
//! checked is that the other side has the private key that belongs to the certificate.

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
    /// Nothing is there, or not now.
    #[error("cannot connect to the coordinator at {address}")]
    Unreachable {
        /// Where it was looked for.
        address: String,
        /// What happened.
        source: io::Error,
    },
    /// Another coordinator, or somebody who would like to be it.
    #[error(
        "the coordinator at {address} is not the one that this access file is for: its certificate is another; \
         get a fresh copy of the access file from the coordinator's output directory"
    )]
    WrongCertificate {
        /// Where it is.
        address: String,
    },
    /// We speak TLS, they do not.
    #[error(
        "what listens at {address} does not speak TLS, so it is not the coordinator that this access file is for; \
         get a fresh copy of the access file from the coordinator's output directory"
    )]
    NotTls {
        /// Where it is.
        address: String,
    },
    /// They speak TLS, and we have no certificate to know them by.
    #[error(
        "what listens at {address} speaks TLS, and the access file has no certificate to know it by; \
         get a fresh copy of the access file from the coordinator's output directory"
    )]
    NeedsTls {
        /// Where it is.
        address: String,
    },
    /// The address is none, or none that may be used.
    #[error("`{address}` cannot be the address of a coordinator: {problem}")]
    Address {
        /// What was given.
        address: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// It has several addresses, and is found at none of them.
    #[error("the coordinator is found at none of its addresses: {}", listed(errors))]
    Nowhere {
        /// Why, of each in turn.
        errors: Vec<ConnectError>,
    },
}

impl ConnectError {
    /// Whether it may work a little later. If one of several addresses may, all may.
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
        // The causes of one among several are told by nobody else.
        ConnectError::Unreachable { source, .. } => format!("{error} ({source})"),
        _ => error.to_string(),
    };
    errors.iter().map(describe).collect::<Vec<_>>().join("; ")
}

/// How long a coordinator may take to open a connection, and the system to find the addresses of a name.
const PATIENCE: Duration = Duration::from_secs(10);

/// Addresses of a name that are tried; more are hardly those of one machine.
const MOST_OF_A_NAME: usize = 16;

/// A connection to a coordinator.
#[derive(Debug)]
pub struct Connected {
    /// What calls go through. When the connection is lost, what is called on it fails, and nothing connects anew.
    pub channel: Channel,
    /// The address in the access file at which it was found.
    pub address: String,
    /// Where that leads, to be tried first the next time.
    pub place: SocketAddr,
}

/// Connects to a coordinator at the address where it is found first; gives that address, too.
///
/// # Errors
/// When it is found at no address.
pub async fn connect(access: &Access) -> Result<(Channel, String), ConnectError> {
    reconnect(access, None).await.map(|Connected { channel, address, .. }| (channel, address))
}

/// The same; the place where it was found the last time is tried first.
///
/// # Errors
/// As [`connect`].
pub async fn reconnect(access: &Access, last: Option<SocketAddr>) -> Result<Connected, ConnectError> {
    let mut errors = Vec::new();
    let mut race = Race::new(last);
    let mut steps: JoinSet<Step> = JoinSet::new();
    let (reach, mut reached) = mpsc::unbounded_channel();
    for (of, address) in access.addresses.iter().enumerate() {
        match address.parse::<Address>() {
            Ok(Address { host, port }) => {
                steps.spawn(async move {
                    let found = timeout(PATIENCE, resolve(host, port)).await;
                    Step::Resolved(of, found.unwrap_or_else(|_| Err(late())))
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
                    Step::Tried(candidate, ended.unwrap_or(Err(late)))
                });
                continue;
            }
        };
        match step.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())) {
            Step::Resolved(of, Ok(found)) => race.add(of, found),
            Step::Resolved(of, Err(source)) => {
                errors.push(ConnectError::Unreachable { address: access.addresses[of].clone(), source });
            }
            Step::Tried(Candidate { of, address: place }, Ok(channel)) => {
                return Ok(Connected { channel, address: access.addresses[of].clone(), place });
            }
            Step::Tried(candidate, Err(error)) => {
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

/// What has come of a part of the way.
enum Step {
    /// The addresses of a name.
    Resolved(usize, io::Result<Vec<SocketAddr>>),
    Tried(Candidate, Result<Channel, ConnectError>),
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("there was no answer within {} s", PATIENCE.as_secs()))
}

/// Where a name or an address leads, in the order in which to try.
async fn resolve(host: String, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    // The system may take long, and tokio's threads for that panic where there are none.
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

/// What a coordinator is called that is reached over what leads there already.
pub const PIPED: &str = "coordinator";

/// Speaks to a coordinator over what leads there already.
///
/// # Errors
/// When nothing can be said.
pub async fn over<S>(stream: S) -> Result<Channel, ConnectError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    channel(PIPED, stream).await
}

/// An attempt to connect to one place.
struct Attempt {
    /// As the access file has it.
    name: String,
    candidate: Candidate,
    certificate: Option<CertificateDer<'static>>,
    /// Told when a server is reached.
    reach: mpsc::UnboundedSender<Candidate>,
}

impl Attempt {
    /// Where it leads, for people.
    fn place(&self) -> String {
        let place = self.candidate.address.to_string();
        if self.name == place { place } else { format!("{} ({place})", self.name) }
    }

    fn unreachable(&self, source: io::Error) -> ConnectError {
        ConnectError::Unreachable { address: self.place(), source }
    }

    async fn run(self) -> Result<Channel, ConnectError> {
        let place = self.candidate.address;
        // Names can lead anywhere, also that of this machine.
        if self.certificate.is_none() && !place.ip().to_canonical().is_loopback() {
            let problem = "it is not on this machine, and there is no certificate to know it by";
            return Err(ConnectError::Address { address: self.place(), problem });
        }
        let stream = TcpStream::connect(place).await.map_err(|error| self.unreachable(error))?;
        // If nobody listens any more, another attempt has succeeded.
        let _ = self.reach.send(self.candidate);
        // A lease or a result is not to wait for the other side to acknowledge the message before.
        stream.set_nodelay(true).map_err(|error| self.unreachable(error))?;
        let (stream, first_byte) = Watched::new(stream);
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
    stream: Watched,
    mut first_byte: oneshot::Receiver<u8>,
    certificate: CertificateDer<'static>,
) -> Result<Channel, ConnectError> {
    let unreachable = |source| ConnectError::Unreachable { address: address.to_owned(), source };
    let config = client_config(certificate).map_err(|error| unreachable(io::Error::other(error)))?;
    // Nobody looks at it: it is not sent, and the certificate is not asked for it.
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
    stream: Watched,
    first_byte: oneshot::Receiver<u8>,
) -> Result<Channel, ConnectError> {
    let unreachable = |kind, problem: &str| {
        let source = io::Error::new(kind, problem);
        ConnectError::Unreachable { address: address.to_owned(), source }
    };
    let channel = channel(name, stream).await?;
    // HTTP/2 is open as soon as we have spoken; only the answer tells whether anybody understood.
    match first_byte.await {
        Ok(HTTP2) => Ok(channel),
        Ok(byte) if TLS_RECORDS.contains(&byte) => {
            Err(ConnectError::NeedsTls { address: address.to_owned() })
        }
        Ok(_) => Err(unreachable(io::ErrorKind::InvalidData, "what answers there is no coordinator")),
        Err(_) => Err(unreachable(io::ErrorKind::UnexpectedEof, "it closed the connection")),
    }
}

/// How every record of TLS begins: with its type.
const TLS_RECORDS: std::ops::RangeInclusive<u8> = 20..=24;

/// How an HTTP/2 server begins: with the length of its settings, which are shorter than 65,536 bytes.
const HTTP2: u8 = 0;

/// HTTP/2 over what is connected already.
async fn channel<S>(address: &str, stream: S) -> Result<Channel, ConnectError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let wrong =
        |_| ConnectError::Address { address: address.to_owned(), problem: "it does not fit into an URL" };
    // The scheme is for show: what is below HTTP/2 is our own.
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
    // The certificate is to be seen each time.
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// Accepts one certificate, from who has its key.
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

/// A connection that tells the first byte that it reads.
struct Watched {
    stream: TcpStream,
    first_byte: Option<oneshot::Sender<u8>>,
}

impl Watched {
    fn new(stream: TcpStream) -> (Watched, oneshot::Receiver<u8>) {
        let (sender, receiver) = oneshot::channel();
        (Watched { stream, first_byte: Some(sender) }, receiver)
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = ready!(Pin::new(&mut self.stream).poll_read(context, buffer));
        if let Some(&byte) = buffer.filled().get(before) {
            if let Some(sender) = self.first_byte.take() {
                // Nobody needs to want to know.
                let _ = sender.send(byte);
            }
        } else if buffer.remaining() > 0 {
            // An end or an error: there will be none.
            self.first_byte = None;
        }
        Poll::Ready(result)
    }
}

impl AsyncWrite for Watched {
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
