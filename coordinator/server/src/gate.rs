//! The gate of every port: takes connections from a listener, speaks TLS with them, and hands on those that do.
//!
//! Whoever reaches the listener can connect, so nothing that a stranger does or omits may keep workers
//! out. A connection stays while it has a request that was *admitted*, as the service does once the secret was
//! right: a worker's or a watcher's call, or the events of a page. Any other has until a deadline, for the handshake,
//! its requests and their answers together, however slowly it writes or reads; then it is closed. When the last
//! admitted request of a connection has ended, it has as long again.
//!
//! Of those that are not admitted there is a limit. When it is reached, the oldest of the address with the most of
//! them makes room for a new one: a worker shows its secret within milliseconds, so a flood would have to open as
//! many connections in that time to push it out. Of those that only look on, the oldest makes room for a new one,
//! too. Handshakes run side by side, never where connections are accepted.

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

/// What strangers are granted.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long a connection may take from being accepted to being admitted, or without an admitted request.
    pub authenticate_within: Duration,
    /// Connections that are not admitted yet.
    pub unauthenticated: usize,
    /// All connections.
    pub connections: usize,
    /// Connections that look on.
    pub lookers: usize,
}

impl Limits {
    /// Of the port that workers come to.
    pub const SERVICE: Limits = Limits {
        authenticate_within: Duration::from_secs(10),
        unauthenticated: 1024,
        connections: 8192,
        lookers: 256,
    };

    /// Of a port with pages that need no secret.
    pub const PAGES: Limits = Limits { unauthenticated: 64, connections: 128, lookers: 0, ..Limits::SERVICE };
}

impl Limits {
    /// The same, with no more connections than this process can open files.
    pub fn with_files(self, files: usize) -> Limits {
        let connections = self.connections.min(files.max(1));
        let [unauthenticated, lookers] =
            [self.unauthenticated, self.lookers].map(|limit| limit.min(connections));
        Limits { connections, unauthenticated, lookers, ..self }
    }

    /// Why there cannot be more connections, for people.
    fn why(&self) -> String {
        const FEW: usize = 64;
        let limit = (limits::files_left() < FEW).then(|| format!(": {}", limits::of_files()));
        let connections = plural(self.connections as u64, "connection");
        format!("it has {connections} already, and takes no more{}", limit.unwrap_or_default())
    }
}

/// A connection that was closed by us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub peer: SocketAddr,
    /// For people: `did not authenticate within 10 s`.
    pub reason: String,
}

/// Connections on their way to the server.
const ON_THEIR_WAY: usize = 64;

/// How long no connection is accepted after the system could not give us one.
const BACK_OFF: Duration = Duration::from_millis(20);

/// Takes connections until what this gives is dropped. With no TLS all go on in plain text.
///
/// Refusals for which there is no room are not reported.
pub fn open(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    limits: Limits,
    refusals: mpsc::Sender<Refusal>,
) -> ReceiverStream<io::Result<Connection>> {
    let (server, connections) = mpsc::channel(ON_THEIR_WAY);
    let gate = Arc::new(Gate { limits, refusals, crowd: Mutex::default() });
    tokio::spawn(gate.take(listener, tls.map(TlsAcceptor::from), server));
    ReceiverStream::new(connections)
}

#[derive(Debug)]
struct Gate {
    limits: Limits,
    refusals: mpsc::Sender<Refusal>,
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
                    // What listens on all addresses of IPv6 has those of IPv4 in another form.
                    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                    let Some((ticket, verdict)) = self.enter(peer) else { continue };
                    // What is wrong with it will be seen at once when it is read.
                    let _ = stream.set_nodelay(true);
                    tokio::spawn(show_in(stream, tls.clone(), ticket, verdict, server.clone()));
                    // Many workers may come at once: before they push each other out, those that are
                    // here may go on.
                    if self.is_half_full() {
                        yield_now().await;
                    }
                }
                // It was there, and has gone again.
                Err(error) if is_of_the_connection(&error) => {}
                // We have too many files open, or the system has; the reason passes, and the server goes
                // on. Half of those that wait make room, so that many strangers cannot have each
                // accepted after a pause.
                Err(error) => {
                    let limit = limits::behind_io(&error).unwrap_or_else(|| error.to_string());
                    let reason =
                        format!("was not authenticated yet when another could not be accepted: {limit}");
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
        // It makes sense after every operation.
        self.crowd.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a new connection in; none if there is no room that could be made.
    fn enter(self: &Arc<Self>, peer: SocketAddr) -> Option<(Ticket, Verdict)> {
        let (is_full, is_crowded) = {
            let crowd = self.crowd();
            let is_crowded = crowd.deadlines.len() >= self.limits.unauthenticated;
            (crowd.connections >= self.limits.connections, is_crowded)
        };
        let is_room_made = if is_full {
            self.close_oldest(&format!(
                "was the oldest that was not authenticated, and {}",
                self.limits.why()
            ))
        } else {
            !is_crowded || self.close_oldest("was the oldest of too many that were not authenticated")
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
        Some((Ticket { gate: Arc::clone(self), number, peer }, Verdict(Some(closed))))
    }

    fn is_half_full(&self) -> bool {
        self.crowd().deadlines.len() > self.limits.unauthenticated / 2
    }

    /// Closes a connection that waits; false if none does.
    fn close_oldest(&self, reason: &str) -> bool {
        let mut crowd = self.crowd();
        let closed = crowd.first_to_go().and_then(|number| crowd.close(number));
        drop(crowd);
        closed.map(|peer| self.report(peer, reason.to_owned())).is_some()
    }

    /// Closes those whose deadline has passed.
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

    /// Resolved at the first deadline; never, if nothing waits. Deadlines only come later, so nobody
    /// who is let in meanwhile has an earlier one.
    async fn oldest_is_late(&self) {
        let first = self.crowd().deadlines.first().map(|(deadline, _)| *deadline);
        match first {
            Some(deadline) => sleep_until(deadline).await,
            // Those that have waited before may wait again, and are not accepted for that.
            None => sleep(self.limits.authenticate_within).await,
        }
    }

    /// A request of a connection is admitted. One that only looks on may take the place of another.
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
        let _ = self.refusals.try_send(Refusal { peer, reason });
    }
}

/// Whether accepting failed because of who came, not because of us.
fn is_of_the_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// Counts a connection as there, until it is dropped.
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

/// Keeps a connection while one of its requests is admitted.
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

/// What answers a request that was admitted; while there is more of it, its connection stays.
#[derive(Debug)]
pub struct Held<S> {
    stream: S,
    _admission: Option<Admission>,
    /// Dropped with the rest.
    _end: Option<oneshot::Sender<()>>,
}

impl<S> Held<S> {
    pub fn new(stream: S, admission: Option<Admission>) -> Held<S> {
        Held { stream, _admission: admission, _end: None }
    }

    /// The same, and what resolves when it has ended, for whatever reason.
    pub fn until_its_end(self) -> (Held<S>, oneshot::Receiver<()>) {
        let (end, ended) = oneshot::channel();
        (Held { _end: Some(end), ..self }, ended)
    }
}

impl<S: tokio_stream::Stream + Unpin> tokio_stream::Stream for Held<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<S::Item>> {
        Pin::new(&mut self.stream).poll_next(context)
    }
}

/// Tells a connection when it is to be closed.
#[derive(Debug)]
struct Verdict(Option<oneshot::Receiver<()>>);

impl Verdict {
    /// An error when the connection is to be closed. The task is woken when it is.
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        // Asked again, it says the same; a receiver answers once.
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

    /// Resolved when the connection is to be closed.
    async fn is_to_close(&mut self) {
        std::future::poll_fn(|context| match self.check(context) {
            Err(_) => Poll::Ready(()),
            Ok(()) => Poll::Pending,
        })
        .await;
    }
}

/// Finds out how a connection speaks, and hands it to the server.
async fn show_in(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    ticket: Ticket,
    mut verdict: Verdict,
    server: mpsc::Sender<io::Result<Connection>>,
) {
    let stream = tokio::select! {
        prepared = prepare(stream, tls) => prepared,
        // Who closes it says why.
        () = verdict.is_to_close() => return,
        () = server.closed() => return,
    };
    let (stream, is_private) = match stream {
        Ok(Some(stream)) => {
            let is_private = match &stream {
                Stream::Tls(_) => true,
                Stream::Plain(_) => ticket.peer.ip().to_canonical().is_loopback(),
                Stream::PlainWhereTlsIsSpoken(_) => false,
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

/// What can be spoken on a connection; nothing if it was closed before anything was said.
async fn prepare(stream: TcpStream, tls: Option<TlsAcceptor>) -> Result<Option<Stream>, String> {
    let mut stream = Begun::new(stream);
    let Some(tls) = tls else { return Ok(Some(Stream::Plain(stream))) };
    match stream.opening().await {
        Opening::Tls => match tls.accept(stream).await {
            Ok(stream) => Ok(Some(Stream::Tls(Box::new(stream)))),
            Err(error) => Err(describe(&error)),
        },
        Opening::Http => Ok(Some(Stream::PlainWhereTlsIsSpoken(stream))),
        Opening::Nothing => Ok(None),
        Opening::Other => Err("spoke neither TLS nor HTTP".to_owned()),
    }
}

/// Why there was no handshake, for people.
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
            "did not accept the certificate: it has the access file of another coordinator, or an old one"
                .to_owned()
        }
        alert => format!("ended the TLS handshake: {alert:?}"),
    }
}

/// How a connection begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opening {
    Tls,
    /// HTTP/2, or a method of HTTP/1, in plain text.
    Http,
    /// It ended before that could be told.
    Nothing,
    Other,
}

/// The first byte of TLS: a record of its handshake.
const HANDSHAKE: u8 = 0x16;

/// Beginnings of HTTP/2 and of the methods of HTTP/1; none begins another.
const HTTP: [&[u8]; 10] =
    [b"PRI ", b"GET ", b"HEAD", b"POST", b"PUT ", b"DELE", b"CONN", b"OPTI", b"TRAC", b"PATC"];

/// What these first bytes open; nothing if more are needed to tell.
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

/// A connection of which the beginning was read, and is read again.
#[derive(Debug)]
struct Begun {
    stream: TcpStream,
    head: [u8; 4],
    /// Of the head: how much was read, and how much of that was read again.
    filled: usize,
    given: usize,
}

impl Begun {
    fn new(stream: TcpStream) -> Begun {
        Begun { stream, head: [0; 4], filled: 0, given: 0 }
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

impl AsyncRead for Begun {
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

impl AsyncWrite for Begun {
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
enum Stream {
    Plain(Begun),
    PlainWhereTlsIsSpoken(Begun),
    Tls(Box<TlsStream<Begun>>),
}

/// A connection for the server. Until it is admitted, it may come to an end at any time.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    is_private: bool,
    verdict: Verdict,
    ticket: Ticket,
}

/// Who is at the other end of a connection; requests have it among their extensions.
#[derive(Clone)]
pub struct Peer {
    pub address: SocketAddr,
    /// Nobody else can listen: it is TLS, or has never left this machine. Plain text where TLS is spoken
    /// is not, wherever it comes from.
    pub is_private: bool,
    gate: Arc<Gate>,
    number: u64,
}

impl Peer {
    /// Lets the connection stay, if it has not been closed, while a request is answered: its secret was right.
    pub fn admit(&self) -> Admission {
        self.gate.admit(self.number, false)
    }

    /// The same for one that looks on for as long as it likes. If there are too many, the oldest is closed.
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

/// Does this with the stream, whatever it is, unless it is to be closed.
macro_rules! on_stream {
    ($connection:ident, $context:ident, $stream:ident => $action:expr) => {{
        let connection = &mut *$connection;
        if let Err(error) = connection.verdict.check($context) {
            return Poll::Ready(Err(error));
        }
        match &mut connection.stream {
            Stream::Plain(stream) | Stream::PlainWhereTlsIsSpoken(stream) => {
                let $stream = Pin::new(stream);
                $action
            }
            Stream::Tls(stream) => {
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
            Stream::Plain(stream) | Stream::PlainWhereTlsIsSpoken(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }
}

#[cfg(test)]
mod tests;
