//! The gate: takes connections from a listener, speaks TLS with them, and hands on those that do.
//!
//! Whoever reaches the listener can connect, so nothing that a stranger does or omits may keep workers
//! out. A connection has until a deadline to be *admitted*, which the service does once the secret was
//! right; then it is closed. Of those that wait for it there is a limit, and the oldest makes room for
//! a new one: a worker shows its secret within milliseconds, so a flood would have to open as many
//! connections in that time to push it out. Handshakes run side by side, never where connections are
//! accepted.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

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

use crate::limits;

/// What strangers are granted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// How long a connection may take from being accepted to being admitted.
    pub(crate) authenticate_within: Duration,
    /// Connections that are not admitted yet.
    pub(crate) unauthenticated: usize,
    /// All connections.
    pub(crate) connections: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { authenticate_within: Duration::from_secs(10), unauthenticated: 1024, connections: 8192 }
    }
}

impl Limits {
    /// The same, with no more connections than this process can open files.
    pub(crate) fn with_files(files: usize) -> Limits {
        let all = Limits::default();
        let connections = all.connections.min(files.max(1));
        Limits { connections, unauthenticated: all.unauthenticated.min(connections), ..all }
    }

    /// Why there cannot be more connections, for people.
    fn why(&self) -> String {
        const FEW: usize = 64;
        let limit = (limits::files_left() < FEW).then(|| format!(": {}", limits::of_files()));
        format!("there are {} connections already{}", self.connections, limit.unwrap_or_default())
    }
}

/// A connection that was closed by us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) peer: SocketAddr,
    /// For people: `did not authenticate within 10 s`.
    pub(crate) reason: String,
}

/// Connections on their way to the server.
const ON_THEIR_WAY: usize = 64;

/// How long no connection is accepted after the system could not give us one.
const BACK_OFF: Duration = Duration::from_millis(20);

/// Takes connections until what this gives is dropped. With no TLS all go on in plain text.
///
/// Refusals for which there is no room are not reported.
pub(crate) fn open(
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

/// All connections that there are.
#[derive(Debug, Default)]
struct Crowd {
    /// Those that are not admitted, by number; the oldest has the lowest, and the first deadline.
    waiting: BTreeMap<u64, Waiting>,
    /// How many there are, admitted or not.
    connections: usize,
    /// Number of the next.
    next: u64,
}

#[derive(Debug)]
struct Waiting {
    peer: SocketAddr,
    deadline: Instant,
    /// Dropped, it closes the connection.
    verdict: oneshot::Sender<Admitted>,
}

#[derive(Debug)]
struct Admitted;

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
                    let half = self.crowd().waiting.len().div_ceil(2);
                    for _ in 0..half {
                        self.close_oldest(&reason);
                    }
                    sleep(BACK_OFF).await;
                    self.close_late();
                }
            }
        }
        self.crowd().waiting.clear();
    }

    fn crowd(&self) -> MutexGuard<'_, Crowd> {
        // It makes sense after every operation.
        self.crowd.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a new connection in; none if there is no room that could be made.
    fn enter(self: &Arc<Self>, peer: SocketAddr) -> Option<(Ticket, Verdict)> {
        let (is_full, is_crowded) = {
            let crowd = self.crowd();
            let is_crowded = crowd.waiting.len() >= self.limits.unauthenticated;
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
        let (verdict, heard) = oneshot::channel();
        let deadline = Instant::now() + self.limits.authenticate_within;
        let mut crowd = self.crowd();
        let number = crowd.next;
        crowd.next += 1;
        crowd.connections += 1;
        crowd.waiting.insert(number, Waiting { peer, deadline, verdict });
        Some((Ticket { gate: Arc::clone(self), number, peer }, Verdict(Some(heard))))
    }

    fn is_half_full(&self) -> bool {
        self.crowd().waiting.len() > self.limits.unauthenticated / 2
    }

    /// Closes the connection that has waited longest; false if none waits.
    fn close_oldest(&self, reason: &str) -> bool {
        let oldest = self.crowd().waiting.pop_first();
        oldest.map(|(_, oldest)| self.report(oldest.peer, reason.to_owned())).is_some()
    }

    /// Closes those whose deadline has passed.
    fn close_late(&self) {
        let now = Instant::now();
        let mut late = Vec::new();
        let mut crowd = self.crowd();
        while let Some(oldest) = crowd.waiting.first_entry().filter(|oldest| oldest.get().deadline <= now) {
            late.push(oldest.remove());
        }
        drop(crowd);
        let limit = self.limits.authenticate_within;
        for late in late {
            self.report(late.peer, format!("did not authenticate within {limit:?}"));
        }
    }

    /// Resolved at the first deadline; never, if nothing waits. Deadlines only come later, so nobody
    /// who is let in meanwhile has an earlier one.
    async fn oldest_is_late(&self) {
        let first = self.crowd().waiting.first_key_value().map(|(_, oldest)| oldest.deadline);
        match first {
            Some(deadline) => sleep_until(deadline).await,
            None => std::future::pending().await,
        }
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
        crowd.waiting.remove(&self.number);
        crowd.connections -= 1;
    }
}

/// What becomes of a connection; nothing any more once it is admitted.
#[derive(Debug)]
struct Verdict(Option<oneshot::Receiver<Admitted>>);

impl Verdict {
    /// An error when the connection is to be closed. The task is woken when it is.
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let Some(heard) = &mut self.0 else { return Ok(()) };
        match Pin::new(heard).poll(context) {
            Poll::Pending => Ok(()),
            Poll::Ready(Ok(Admitted)) => {
                self.0 = None;
                Ok(())
            }
            Poll::Ready(Err(_)) => {
                // Asked again, it is to say the same, and a receiver answers once.
                let (_, closed) = oneshot::channel();
                self.0 = Some(closed);
                Err(io::Error::new(io::ErrorKind::TimedOut, "the connection was not authenticated in time"))
            }
        }
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
pub(crate) struct Connection {
    stream: Stream,
    is_private: bool,
    verdict: Verdict,
    ticket: Ticket,
}

/// Who is at the other end of a connection; requests have it among their extensions.
#[derive(Clone)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    /// Nobody else can listen: it is TLS, or has never left this machine. Plain text where TLS is spoken
    /// is not, wherever it comes from.
    pub(crate) is_private: bool,
    gate: Arc<Gate>,
    number: u64,
}

impl Peer {
    /// Lets the connection stay, if it has not been closed: its secret was right.
    pub(crate) fn admit(&self) {
        let waiting = self.gate.crowd().waiting.remove(&self.number);
        if let Some(waiting) = waiting {
            let _ = waiting.verdict.send(Admitted);
        }
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
