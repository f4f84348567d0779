//! The gate of a port: accepts connections from a listener, does their TLS handshakes, and passes them to the server.
//!
//! Any client that reaches the listener can connect, so no action or omission of a stranger may keep workers out. A
//! connection stays while it has a request that was *admitted*. The service admits a request once its secret was right:
//! a worker's or a watcher's call, or the events of a page. Any other connection has a deadline for the handshake, its
//! requests and their answers together, however slowly it writes or reads. Then the gate closes it. When the last
//! admitted request of a connection has ended, the connection has as long again.
//!
//! The number of connections that are not admitted is limited. When the limit is reached, the address with the most of
//! them loses its oldest. A worker shows its secret within milliseconds. So a flood would have to open as many
//! connections in that time to push it out. The number of connections that watch is limited as well: the oldest makes
//! room for a new one. Handshakes run concurrently, never in the task that accepts connections.

mod crowd;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use granule_system::limits;
use granule_text::plural;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{AlertDescription, Error as TlsError, ServerConfig};
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

pub use self::crowd::origin;
use self::crowd::{Crowd, Seat};

/// Limits on the connections of a port.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long a connection may take from being accepted to being admitted, or stay without an admitted request.
    pub authenticate_within: Duration,
    /// Most connections that are not admitted yet.
    pub unauthenticated: usize,
    /// Most connections in total.
    pub connections: usize,
    /// Most connections that watch.
    pub lookers: usize,
}

impl Limits {
    /// The limits of the port that workers connect to.
    pub const SERVICE: Limits = Limits {
        authenticate_within: Duration::from_secs(10),
        unauthenticated: 1024,
        connections: 8192,
        lookers: 256,
    };

    /// The limits of a port with pages that need no secret.
    pub const PAGES: Limits = Limits { unauthenticated: 64, connections: 128, lookers: 0, ..Limits::SERVICE };
}

impl Limits {
    /// Returns these limits, with at most as many connections as this process can open files.
    pub fn with_files(self, files: usize) -> Limits {
        let connections = self.connections.min(files.max(1));
        let [unauthenticated, lookers] =
            [self.unauthenticated, self.lookers].map(|limit| limit.min(connections));
        Limits { connections, unauthenticated, lookers, ..self }
    }

    /// Returns the reason that no more connections are accepted, for people.
    fn why(&self) -> String {
        const FEW: usize = 64;
        let limit = (limits::files_left() < FEW).then(|| format!(": {}", limits::of_files()));
        let connections = plural(self.connections as u64, "connection");
        format!("the coordinator has {connections} and accepts no more{}", limit.unwrap_or_default())
    }
}

/// A connection that was closed, or whose request was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosedConnection {
    pub peer: SocketAddr,
    /// For people: `did not authenticate within 10 s`.
    pub reason: String,
}

/// Connections that may wait for the server.
const ON_THEIR_WAY: usize = 64;

/// Pause after the system could not accept a connection.
const BACK_OFF: Duration = Duration::from_millis(20);

/// Reason for which a waiting connection is closed.
const TO_MAKE_ROOM: &str = "closed before authentication, to make room for new connections";

/// Accepts connections until the returned stream is dropped. Without TLS, all connections use plain text.
///
/// A refusal is not reported while the channel for refusals is full.
pub fn open(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    limits: Limits,
    refusals: mpsc::Sender<ClosedConnection>,
) -> ReceiverStream<io::Result<Connection>> {
    let (server, connections) = mpsc::channel(ON_THEIR_WAY);
    let gate = Arc::new(Gate { limits, refusals, crowd: Mutex::default() });
    tokio::spawn(gate.take(listener, tls.map(TlsAcceptor::from), server));
    ReceiverStream::new(connections)
}

#[derive(Debug)]
struct Gate {
    limits: Limits,
    refusals: mpsc::Sender<ClosedConnection>,
    crowd: Mutex<Crowd>,
}

impl Gate {
    async fn take(
        self: Arc<Self>,
        listener: TcpListener,
        tls: Option<TlsAcceptor>,
        server: mpsc::Sender<io::Result<Connection>>,
    ) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.oldest_is_late() => {
                    self.close_late();
                    continue;
                }
                () = server.closed() => break,
            };
            match accepted {
                Ok((stream, peer)) => {
                    // A socket that listens on all IPv6 addresses reports IPv4 addresses in another form.
                    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                    let Some((ticket, verdict)) = self.enter(peer) else { continue };
                    // If this fails, reading the stream will fail, too.
                    let _ = stream.set_nodelay(true);
                    tokio::spawn(show_in(stream, tls.clone(), ticket, verdict, server.clone()));
                    // Many workers may connect at once. Those already accepted may proceed before new ones push them
                    // out.
                    if self.is_half_full() {
                        yield_now().await;
                    }
                }
                // The connection ended before it was accepted.
                Err(error) if is_of_the_connection(&error) => {}
                // Too many files are open in this process or in the system. The cause passes, and the server continues.
                // Half of the waiting connections make room. Otherwise, many strangers could enforce a pause before
                // each further connection.
                Err(error) => {
                    let limit = limits::behind_io(&error).unwrap_or_else(|| error.to_string());
                    let reason = format!("{TO_MAKE_ROOM}: {limit}");
                    let half = self.crowd().deadlines.len().div_ceil(2);
                    for _ in 0..half {
                        self.close_oldest(&reason);
                    }
                    sleep(BACK_OFF).await;
                    self.close_late();
                }
            }
        }
        self.crowd().close_strangers();
    }

    fn crowd(&self) -> MutexGuard<'_, Crowd> {
        // The state is consistent after every operation.
        self.crowd.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a new connection. Returns none if no room can be made for it.
    fn enter(self: &Arc<Self>, peer: SocketAddr) -> Option<(Ticket, ClosingSignal)> {
        let (is_full, is_crowded) = {
            let crowd = self.crowd();
            let is_crowded = crowd.deadlines.len() >= self.limits.unauthenticated;
            (crowd.connections >= self.limits.connections, is_crowded)
        };
        let is_room_made = if is_full {
            self.close_oldest(&format!("{TO_MAKE_ROOM}: {}", self.limits.why()))
        } else {
            !is_crowded || self.close_oldest(TO_MAKE_ROOM)
        };
        if !is_room_made {
            self.report(peer, self.limits.why());
            return None;
        }
        let (open, closed) = oneshot::channel();
        let deadline = Instant::now() + self.limits.authenticate_within;
        let mut crowd = self.crowd();
        let number = crowd.number();
        crowd.connections += 1;
        crowd
            .seats
            .insert(number, Seat { peer, deadline: None, admitted: 0, was_admitted: false, _open: open });
        crowd.wait(number, deadline);
        Some((Ticket { gate: Arc::clone(self), number, peer }, ClosingSignal(Some(closed))))
    }

    fn is_half_full(&self) -> bool {
        self.crowd().deadlines.len() > self.limits.unauthenticated / 2
    }

    /// Closes the waiting connection that has to make room first. Returns false if none waits.
    fn close_oldest(&self, reason: &str) -> bool {
        let mut crowd = self.crowd();
        let closed = crowd.first_to_go().and_then(|number| crowd.close(number));
        drop(crowd);
        closed.map(|peer| self.report(peer, reason.to_owned())).is_some()
    }

    /// Closes the connections whose deadline has passed.
    fn close_late(&self) {
        let now = Instant::now();
        let mut late = Vec::new();
        let mut crowd = self.crowd();
        while let Some((_, number)) =
            crowd.deadlines.first().copied().filter(|(deadline, _)| *deadline <= now)
        {
            let is_stranger = crowd.seats.get(&number).is_some_and(|seat| !seat.was_admitted);
            late.extend(crowd.close(number).filter(|_| is_stranger));
        }
        drop(crowd);
        let limit = self.limits.authenticate_within;
        for peer in late {
            self.report(peer, format!("did not authenticate within {limit:?}"));
        }
    }

    /// Resolves at the first deadline. A later connection has a later deadline, so none that is accepted meanwhile has
    /// an earlier one.
    async fn oldest_is_late(&self) {
        let first = self.crowd().deadlines.first().map(|(deadline, _)| *deadline);
        match first {
            Some(deadline) => sleep_until(deadline).await,
            // An admitted connection may wait again later, and accepting does not notice that.
            None => sleep(self.limits.authenticate_within).await,
        }
    }

    /// Admits a request of a connection. If too many connections watch, a new one takes the place of the oldest.
    fn admit(self: &Arc<Self>, number: u64, looks_on: bool) -> Admission {
        let mut crowd = self.crowd();
        crowd.wait_no_more(number);
        if let Some(seat) = crowd.seats.get_mut(&number) {
            seat.admitted += 1;
            seat.was_admitted = true;
        }
        let looker = looks_on.then(|| {
            if crowd.lookers.len() >= self.limits.lookers
                && let Some((_, oldest)) = crowd.lookers.pop_first()
            {
                crowd.close(oldest);
            }
            let looker = crowd.number();
            crowd.lookers.insert(looker, number);
            looker
        });
        Admission { gate: Arc::clone(self), number, looker }
    }

    fn report(&self, peer: SocketAddr, reason: String) {
        let _ = self.refusals.try_send(ClosedConnection { peer, reason });
    }
}

/// Whether accepting failed because of the client, not because of this machine.
fn is_of_the_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// Counts a connection until it is dropped.
#[derive(Debug)]
struct Ticket {
    gate: Arc<Gate>,
    number: u64,
    peer: SocketAddr,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut crowd = self.gate.crowd();
        crowd.close(self.number);
        crowd.connections -= 1;
    }
}

/// Keeps a connection open while one of its requests is admitted.
#[derive(Debug)]
pub struct Admission {
    gate: Arc<Gate>,
    number: u64,
    looker: Option<u64>,
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut crowd = self.gate.crowd();
        if let Some(looker) = self.looker {
            crowd.lookers.remove(&looker);
        }
        let Some(seat) = crowd.seats.get_mut(&self.number) else { return };
        seat.admitted -= 1;
        if seat.admitted == 0 {
            crowd.wait(self.number, Instant::now() + self.gate.limits.authenticate_within);
        }
    }
}

/// The body of the answer to an admitted request. Its connection stays open until the body ends.
#[derive(Debug)]
pub struct HeldBody<S> {
    stream: S,
    _admission: Option<Admission>,
    /// Dropped with the body.
    _end: Option<oneshot::Sender<()>>,
}

impl<S> HeldBody<S> {
    pub fn new(stream: S, admission: Option<Admission>) -> HeldBody<S> {
        HeldBody { stream, _admission: admission, _end: None }
    }

    /// Returns the body, and a receiver that resolves when the body has ended, for whatever reason.
    pub fn until_its_end(self) -> (HeldBody<S>, oneshot::Receiver<()>) {
        let (end, ended) = oneshot::channel();
        (HeldBody { _end: Some(end), ..self }, ended)
    }
}

impl<S: tokio_stream::Stream + Unpin> tokio_stream::Stream for HeldBody<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<S::Item>> {
        Pin::new(&mut self.stream).poll_next(context)
    }
}

/// Signals that a connection is to be closed.
#[derive(Debug)]
struct ClosingSignal(Option<oneshot::Receiver<()>>);

impl ClosingSignal {
    /// Returns an error once the connection is to be closed. The task is woken then.
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        // A receiver must be polled only until it resolves. Later calls return the same error.
        let is_closed = self.0.as_mut().is_none_or(|closed| Pin::new(closed).poll(context).is_ready());
        if is_closed {
            self.0 = None;
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the connection was not authenticated in time",
            ));
        }
        Ok(())
    }

    /// Resolves when the connection is to be closed.
    async fn is_to_close(&mut self) {
        std::future::poll_fn(|context| match self.check(context) {
            Err(_) => Poll::Ready(()),
            Ok(()) => Poll::Pending,
        })
        .await;
    }
}

/// Finds the protocol of a connection, and passes it to the server.
async fn show_in(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    ticket: Ticket,
    mut verdict: ClosingSignal,
    server: mpsc::Sender<io::Result<Connection>>,
) {
    let stream = tokio::select! {
        prepared = prepare(stream, tls) => prepared,
        // The caller that closes it reports the reason.
        () = verdict.is_to_close() => return,
        () = server.closed() => return,
    };
    let (stream, is_private) = match stream {
        Ok(Some(stream)) => {
            let is_private = match &stream {
                GatedStream::Tls(_) => true,
                GatedStream::Plain(_) => ticket.peer.ip().to_canonical().is_loopback(),
                GatedStream::PlainWhereTlsIsSpoken(_) => false,
            };
            (stream, is_private)
        }
        Ok(None) => return,
        Err(reason) => return ticket.gate.report(ticket.peer, reason),
    };
    let place = tokio::select! {
        place = server.reserve() => place,
        () = verdict.is_to_close() => return,
    };
    if let Ok(place) = place {
        place.send(Ok(Connection { stream, is_private, verdict, ticket }));
    }
}

/// Returns the stream for a connection's protocol, or none if the connection ended before that was known.
async fn prepare(stream: TcpStream, tls: Option<TlsAcceptor>) -> Result<Option<GatedStream>, String> {
    let mut stream = HalfRead::new(stream);
    let Some(tls) = tls else { return Ok(Some(GatedStream::Plain(stream))) };
    match stream.opening().await {
        Opening::Tls => match tls.accept(stream).await {
            Ok(stream) => Ok(Some(GatedStream::Tls(Box::new(stream)))),
            Err(error) => Err(describe(&error)),
        },
        Opening::Http => Ok(Some(GatedStream::PlainWhereTlsIsSpoken(stream))),
        Opening::Nothing => Ok(None),
        Opening::Other => Err("spoke neither TLS nor HTTP".to_owned()),
    }
}

/// Returns the reason that a handshake failed, for people.
fn describe(error: &io::Error) -> String {
    let alert = match error.get_ref().and_then(|error| error.downcast_ref()) {
        Some(TlsError::AlertReceived(alert)) => alert,
        _ => return format!("failed the TLS handshake: {error}"),
    };
    match alert {
        AlertDescription::AccessDenied
        | AlertDescription::BadCertificate
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnknownCA => {
            "did not accept the certificate: its access file is outdated or of another coordinator".to_owned()
        }
        alert => format!("ended the TLS handshake: {alert:?}"),
    }
}

/// The protocol with which a connection begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opening {
    Tls,
    /// HTTP/2, or a method of HTTP/1, in plain text.
    Http,
    /// The connection ended before its protocol was known.
    Nothing,
    Other,
}

/// The first byte of TLS: a record of its handshake.
const HANDSHAKE: u8 = 0x16;

/// Beginnings of HTTP/2 and of the methods of HTTP/1. None begins with another.
const HTTP: [&[u8]; 10] =
    [b"PRI ", b"GET ", b"HEAD", b"POST", b"PUT ", b"DELE", b"CONN", b"OPTI", b"TRAC", b"PATC"];

/// Returns the protocol that begins with these bytes, or none if more bytes are needed.
fn opening(bytes: &[u8]) -> Option<Opening> {
    if bytes.first() == Some(&HANDSHAKE) {
        return Some(Opening::Tls);
    }
    if HTTP.iter().any(|method| bytes.starts_with(method)) {
        return Some(Opening::Http);
    }
    let may_be = HTTP.iter().any(|method| method.starts_with(bytes));
    (!may_be).then_some(Opening::Other)
}

/// A connection whose first bytes were read to find its protocol, and are then read again.
#[derive(Debug)]
struct HalfRead {
    stream: TcpStream,
    head: [u8; 4],
    /// Bytes of the head that were read, and how many of them were read again.
    filled: usize,
    given: usize,
}

impl HalfRead {
    fn new(stream: TcpStream) -> HalfRead {
        HalfRead { stream, head: [0; 4], filled: 0, given: 0 }
    }

    async fn opening(&mut self) -> Opening {
        loop {
            if let Some(opening) = opening(&self.head[..self.filled]) {
                return opening;
            }
            match self.stream.read(&mut self.head[self.filled..]).await {
                Ok(0) | Err(_) => return Opening::Nothing,
                Ok(count) => self.filled += count,
            }
        }
    }
}

impl AsyncRead for HalfRead {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.given < self.filled {
            let count = buffer.remaining().min(self.filled - self.given);
            buffer.put_slice(&self.head[self.given..self.given + count]);
            self.given += count;
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for HalfRead {
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

#[derive(Debug)]
enum GatedStream {
    Plain(HalfRead),
    PlainWhereTlsIsSpoken(HalfRead),
    Tls(Box<TlsStream<HalfRead>>),
}

/// A connection for the server. Until it is admitted, the gate may close it at any time.
#[derive(Debug)]
pub struct Connection {
    stream: GatedStream,
    is_private: bool,
    verdict: ClosingSignal,
    ticket: Ticket,
}

/// The client of a connection. Requests have it among their extensions.
#[derive(Clone)]
pub struct Peer {
    pub address: SocketAddr,
    /// Whether no third party can read the connection: it uses TLS, or does not leave this machine. Plain text on a
    /// port with TLS is never private, whatever its source.
    pub is_private: bool,
    gate: Arc<Gate>,
    number: u64,
}

impl Peer {
    /// Keeps an open connection open while a request with the right secret is answered.
    pub fn admit(&self) -> Admission {
        self.gate.admit(self.number, false)
    }

    /// The same for a request that watches without a time limit. If too many watch, the oldest connection is closed.
    pub fn admit_looker(&self) -> Admission {
        self.gate.admit(self.number, true)
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Peer { address, is_private, .. } = self;
        f.debug_struct("Peer")
            .field("address", address)
            .field("is_private", is_private)
            .finish_non_exhaustive()
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        let Ticket { gate, number, peer } = &self.ticket;
        Peer { address: *peer, is_private: self.is_private, gate: Arc::clone(gate), number: *number }
    }
}

/// Acts on the stream of either kind, unless the connection is to be closed.
macro_rules! on_stream {
    ($connection:ident, $context:ident, $stream:ident => $action:expr) => {{
        let connection = &mut *$connection;
        if let Err(error) = connection.verdict.check($context) {
            return Poll::Ready(Err(error));
        }
        match &mut connection.stream {
            GatedStream::Plain(stream) | GatedStream::PlainWhereTlsIsSpoken(stream) => {
                let $stream = Pin::new(stream);
                $action
            }
            GatedStream::Tls(stream) => {
                let $stream = Pin::new(stream.as_mut());
                $action
            }
        }
    }};
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        on_stream!(self, context, stream => stream.poll_read(context, buffer))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        on_stream!(self, context, stream => stream.poll_write(context, bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, context, stream => stream.poll_flush(context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, context, stream => stream.poll_shutdown(context))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on_stream!(self, context, stream => stream.poll_write_vectored(context, bytes))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            GatedStream::Plain(stream) | GatedStream::PlainWhereTlsIsSpoken(stream) => {
                stream.is_write_vectored()
            }
            GatedStream::Tls(stream) => stream.is_write_vectored(),
        }
    }
}

#[cfg(test)]
mod tests;
