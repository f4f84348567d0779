use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};

use granule_proto::AUTHORIZATION;
use granule_proto::wire;
use granule_proto::wire::coordinator_client::CoordinatorClient;
use granule_proto::wire::coordinator_server::{Coordinator, CoordinatorServer};
use granule_worker::access::{Access, Secret};
use granule_worker::connect::{ConnectError, connect};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use proptest::prelude::*;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;
use tokio_stream::StreamExt as _;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status, Streaming};

use super::*;
use crate::identity::Identity;

/// Anything that takes longer has failed.
const AGES: Duration = Duration::from_secs(60);

/// A deadline that all permitted actions meet with a wide margin.
const LATER: Duration = Duration::from_secs(3);

/// A server that admits workers, and answers each of their messages with a goodbye.
struct Doorkeeper {
    secret: Secret,
}

#[tonic::async_trait]
impl Coordinator for Doorkeeper {
    type WorkStream = HeldBody<ReceiverStream<Result<wire::ToWorker, Status>>>;
    type WatchStream = ReceiverStream<Result<wire::Report, Status>>;

    async fn watch(&self, _: Request<wire::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("there is nothing to see"))
    }

    async fn work(
        &self,
        request: Request<Streaming<wire::FromWorker>>,
    ) -> Result<Response<Self::WorkStream>, Status> {
        let peer = request.extensions().get::<Peer>().expect("the gate gives it").clone();
        if !peer.is_private {
            return Err(Status::failed_precondition("this is no place for plain text"));
        }
        let expected = format!("Bearer {}", self.secret.expose());
        if request.metadata().get(AUTHORIZATION).is_none_or(|value| value.as_bytes() != expected.as_bytes()) {
            return Err(Status::unauthenticated("another secret"));
        }
        let admission = peer.admit();
        let mut incoming = request.into_inner();
        let (link, outgoing) = mpsc::channel(1);
        tokio::spawn(async move {
            while let Ok(Some(_)) = incoming.message().await {
                let goodbye = wire::Goodbye { reason: peer.address.to_string(), refused: false };
                let message = Some(wire::to_worker::Message::Goodbye(goodbye));
                let _ = link.send(Ok(wire::ToWorker { message })).await;
            }
        });
        Ok(Response::new(HeldBody::new(ReceiverStream::new(outgoing), Some(admission))))
    }
}

struct Running {
    access: Access,
    address: SocketAddr,
    refusals: mpsc::Receiver<ClosedConnection>,
    stop: oneshot::Sender<()>,
    _place: TempDir,
}

impl Running {
    async fn start(is_tls: bool, limits: Limits) -> Running {
        let listener = crate::driver::listen("127.0.0.1:0".parse().expect("an address")).expect("a port");
        let address = listener.local_addr().expect("an address");
        let place = tempfile::tempdir().expect("a directory");
        let (identity, _) =
            Identity::load_or_make(place.path(), &place.path().join("access.json")).expect("an identity");
        let mut access = identity.access(vec![address.to_string()]);
        if !is_tls {
            access.certificate = None;
        }
        let (sender, refusals) = mpsc::channel(10_000);
        let connections = open(listener, is_tls.then(|| identity.server_config()), limits, sender);
        let (stop, stopped) = oneshot::channel();
        let service = CoordinatorServer::new(Doorkeeper { secret: access.secret.clone() });
        tokio::spawn(async move {
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming_shutdown(connections, async {
                    let _ = stopped.await;
                })
                .await
                .expect("served");
        });
        Running { access, address, refusals, stop, _place: place }
    }

    /// Connects, and sends nothing.
    async fn stranger(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("connected")
    }

    /// The next refusal.
    async fn refusal(&mut self) -> ClosedConnection {
        timeout(AGES, self.refusals.recv()).await.expect("in time").expect("the gate is there")
    }
}

/// A worker that was admitted.
struct Worker {
    messages: mpsc::Sender<wire::FromWorker>,
    replies: Streaming<wire::ToWorker>,
}

impl Worker {
    async fn over(channel: Channel, secret: &Secret) -> Result<Worker, Status> {
        let (messages, outgoing) = mpsc::channel(1);
        let mut request = Request::new(ReceiverStream::new(outgoing));
        let bearer = format!("Bearer {}", secret.expose()).parse().expect("a header");
        request.metadata_mut().insert(AUTHORIZATION, bearer);
        let replies = CoordinatorClient::new(channel).work(request).await?.into_inner();
        Ok(Worker { messages, replies })
    }

    async fn join(access: &Access) -> Worker {
        let (channel, _) = connect(access).await.expect("connected");
        Worker::over(channel, &access.secret).await.expect("let in")
    }

    async fn is_served(&mut self) -> bool {
        let sent = self.messages.send(wire::FromWorker { message: None }).await;
        sent.is_ok() && matches!(timeout(AGES, self.replies.message()).await, Ok(Ok(Some(_))))
    }
}

/// Reads until the other side closes.
async fn until_closed(stream: &mut TcpStream) {
    let mut rest = [0; 256];
    let closed = async { while stream.read(&mut rest).await.is_ok_and(|count| count > 0) {} };
    timeout(AGES, closed).await.expect("it is closed");
}

fn is_open(stream: &TcpStream) -> bool {
    // The server may have begun HTTP/2 with a silent client.
    let mut rest = [0; 256];
    loop {
        match stream.try_read(&mut rest) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
    }
}

fn limits(authenticate_within: Duration) -> Limits {
    Limits { authenticate_within, ..Limits::SERVICE }
}

#[tokio::test]
async fn workers_are_let_in_and_stay() {
    for is_tls in [true, false] {
        let running = Running::start(is_tls, limits(LATER)).await;
        let began = Instant::now();
        let mut worker = Worker::join(&running.access).await;
        assert!(worker.is_served().await);
        tokio::time::sleep_until(began + LATER * 3 / 2).await;
        assert!(worker.is_served().await, "the deadline is for those that are not let in");
    }
}

#[tokio::test]
async fn who_has_another_secret_is_closed_at_the_deadline() {
    for is_tls in [true, false] {
        let mut running = Running::start(is_tls, limits(Duration::from_millis(500))).await;
        let (channel, _) = connect(&running.access).await.expect("connected");
        let wrong = Secret::generate();
        // On a very busy machine, the connection may already be closed.
        if let Err(status) = Worker::over(channel.clone(), &wrong).await {
            assert!(matches!(status.code(), Code::Unauthenticated | Code::Unavailable), "{status}");
        }
        let refusal = running.refusal().await;
        assert_eq!(refusal.reason, "did not authenticate within 500ms");
        let closed = async {
            while Worker::over(channel.clone(), &wrong).await.err().map(|status| status.code())
                == Some(Code::Unauthenticated)
            {}
        };
        timeout(AGES, closed).await.expect("the connection is closed, even to who goes on asking");
    }
}

#[tokio::test]
async fn another_certificate_is_noticed_on_both_sides() {
    let mut running = Running::start(true, Limits::SERVICE).await;
    let other = Running::start(true, Limits::SERVICE).await;
    let access = Access {
        addresses: running.access.addresses.clone(),
        certificate: other.access.certificate.clone(),
        ..running.access.clone()
    };
    let error = connect(&access).await.map(|(_, address)| address).expect_err("another coordinator");
    assert!(matches!(error, ConnectError::WrongCertificate { .. }), "{error}");
    let refusal = running.refusal().await;
    assert!(refusal.reason.contains("outdated or of another coordinator"), "{}", refusal.reason);
    assert!(refusal.peer.ip().is_loopback());
}

#[tokio::test]
async fn plain_text_where_tls_is_spoken_is_answered() {
    let running = Running::start(true, Limits::SERVICE).await;
    let access = Access { certificate: None, ..running.access.clone() };
    let (channel, _) = connect(&access).await.expect("HTTP/2 is answered");
    let status = Worker::over(channel, &access.secret).await.err().expect("not let in");
    assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
    assert_eq!(status.message(), "this is no place for plain text");
}

#[tokio::test]
async fn tls_where_plain_text_is_spoken_is_an_error_that_says_so() {
    let running = Running::start(false, Limits::SERVICE).await;
    let other = Running::start(true, Limits::SERVICE).await;
    let access = Access { certificate: other.access.certificate.clone(), ..running.access.clone() };
    let error = connect(&access).await.map(|(_, address)| address).expect_err("no TLS");
    assert!(matches!(error, ConnectError::NotTls { .. }), "{error}");
}

#[tokio::test]
async fn who_stops_half_way_is_closed_and_keeps_nobody_out() {
    for is_tls in [true, false] {
        let mut running = Running::start(is_tls, limits(LATER)).await;
        let began = Instant::now();
        let mut strangers = Vec::new();
        for said in [&b""[..], &[HANDSHAKE], &[HANDSHAKE, 3, 1, 2, 0, 1], b"PR", b"PRI * HTTP/2.0\r\n"] {
            let mut stranger = running.stranger().await;
            stranger.write_all(said).await.expect("sent");
            strangers.push(stranger);
        }
        // Sends a little more all the time, as part of a record that never ends.
        let mut dripping = running.stranger().await;
        let drip = tokio::spawn(async move {
            let mut sent = dripping.write_all(&[HANDSHAKE, 3, 1, 0x3f, 0xff, 1]).await;
            while sent.is_ok() {
                sleep(Duration::from_millis(20)).await;
                sent = dripping.write_all(&[0]).await;
            }
        });
        let mut worker = Worker::join(&running.access).await;
        assert!(worker.is_served().await);
        // The server ends connections that cannot become HTTP/2, and may have done so already.
        let waiting = strangers.iter().filter(|stranger| is_open(stranger)).count();
        assert!(waiting >= if is_tls { 4 } else { 1 }, "the worker did not wait for them: {waiting}");
        for stranger in &mut strangers {
            until_closed(stranger).await;
        }
        assert!(began.elapsed() >= LATER, "not before the deadline");
        timeout(AGES, drip).await.expect("closed").expect("no panic");
        assert!(worker.is_served().await);
        let refusal = running.refusal().await;
        assert_eq!(refusal.reason, "did not authenticate within 3s");
    }
}

#[tokio::test]
async fn what_is_neither_tls_nor_http_is_closed_at_once() {
    let mut running = Running::start(true, Limits::SERVICE).await;
    for said in [&b"SSH-2.0-OpenSSH\r\n"[..], b"\0", b"PRX", b"GETS"] {
        let mut stranger = running.stranger().await;
        stranger.write_all(said).await.expect("sent");
        until_closed(&mut stranger).await;
        let refusal = running.refusal().await;
        assert_eq!(refusal.reason, "spoke neither TLS nor HTTP");
        assert_eq!(refusal.peer, stranger.local_addr().expect("an address"));
    }
    let mut stranger = running.stranger().await;
    stranger.write_all(&[HANDSHAKE, 3, 1, 0, 4, 9, 9, 9, 9]).await.expect("sent");
    until_closed(&mut stranger).await;
    let refusal = running.refusal().await;
    assert!(refusal.reason.starts_with("failed the TLS handshake"), "{}", refusal.reason);
    // A client that only checks whether the port is open is not reported.
    drop(running.stranger().await);
    let mut worker = Worker::join(&running.access).await;
    assert!(worker.is_served().await);
    assert!(running.refusals.try_recv().is_err());
}

/// Raises the limit on open files as far as the system allows.
fn open_many_files() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("our own limit");
}

#[tokio::test]
async fn a_crowd_that_says_nothing_keeps_nobody_out() {
    open_many_files();
    for is_tls in [true, false] {
        let limits = Limits { unauthenticated: 64, authenticate_within: AGES * 10, ..Limits::SERVICE };
        let mut running = Running::start(is_tls, limits).await;
        let mut settled = Worker::join(&running.access).await;
        let mut crowd = Vec::new();
        for _ in 0..2000 {
            crowd.push(running.stranger().await);
        }
        let mut worker = Worker::join(&running.access).await;
        assert!(worker.is_served().await);
        assert!(settled.is_served().await, "who was let in stays");
        // The oldest made room for the others, and one more for the worker.
        let (old, young) = crowd.split_at_mut(2000 - 64);
        for stranger in old {
            until_closed(stranger).await;
            let refusal = running.refusal().await;
            assert_eq!(refusal.peer, stranger.local_addr().expect("an address"));
            assert!(refusal.reason.contains("to make room for new connections"), "{}", refusal.reason);
        }
        let left = young.iter().filter(|stranger| is_open(stranger)).count();
        assert!((62..=64).contains(&left), "{left}");
    }
}

/// Runs in a process of its own that may open fewer files than strangers connect.
#[tokio::test]
async fn who_takes_all_files_keeps_nobody_out_for_long() {
    const ROLE: &str = "GRANULE_TEST_FEW_FILES";
    if std::env::var_os(ROLE).is_some() {
        let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
        setrlimit(Resource::RLIMIT_NOFILE, 100, most).expect("a lower limit");
        let running = Running::start(false, Limits::SERVICE).await;
        let mut stdout = tokio::io::stdout();
        let access = format!("\n{}\n", running.access.to_json());
        stdout.write_all(access.as_bytes()).await.expect("written");
        stdout.flush().await.expect("written");
        return std::future::pending().await;
    }
    open_many_files();
    let name = "gate::tests::who_takes_all_files_keeps_nobody_out_for_long";
    let mut server = tokio::process::Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", name, "--nocapture", "--test-threads", "1"])
        .env(ROLE, "server")
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("started");
    let mut lines = tokio::io::BufReader::new(server.stdout.take().expect("a pipe")).lines();
    let access = loop {
        let line = timeout(AGES, lines.next_line()).await.expect("in time").expect("read").expect("a line");
        if line.starts_with('{') {
            break Access::parse(line.as_bytes()).expect("an access file");
        }
    };
    let mut settled = Worker::join(&access).await;
    let mut crowd = Vec::new();
    for _ in 0..1000 {
        crowd.push(TcpStream::connect(&*access.addresses[0]).await.expect("connected"));
    }
    let mut worker = Worker::join(&access).await;
    assert!(worker.is_served().await);
    assert!(settled.is_served().await, "who was let in stays");
    let open = crowd.iter().filter(|stranger| is_open(stranger)).count();
    assert!(open < 100, "{open}");
}

/// Connects endlessly, as fast as possible, in a thread of its own.
#[tokio::test]
async fn a_flood_keeps_nobody_out_for_long() {
    open_many_files();
    for is_tls in [true, false] {
        let running = Running::start(is_tls, Limits::SERVICE).await;
        let address = running.address;
        let enough = Arc::new(AtomicBool::new(false));
        let flood = std::thread::spawn({
            let enough = Arc::clone(&enough);
            move || {
                let mut held = std::collections::VecDeque::new();
                let mut made = 0_u64;
                while !enough.load(Ordering::Relaxed) {
                    held.extend(std::net::TcpStream::connect(address));
                    made += 1;
                    if held.len() > 2000 {
                        held.pop_front();
                    }
                }
                made
            }
        });
        let mut attempts = 0;
        let mut workers = Vec::new();
        while workers.len() < 10 {
            attempts += 1;
            assert!(attempts <= 40, "{} of 40 attempts", workers.len());
            let Ok((channel, _)) = connect(&running.access).await else { continue };
            if let Ok(worker) = Worker::over(channel, &running.access.secret).await {
                workers.push(worker);
            }
        }
        enough.store(true, Ordering::Relaxed);
        flood.join().expect("no panic");
        for worker in &mut workers {
            assert!(worker.is_served().await);
        }
    }
}

#[tokio::test]
async fn there_is_room_for_so_many() {
    let limits = Limits { connections: 3, ..Limits::SERVICE };
    let mut running = Running::start(true, limits).await;
    let mut workers = Vec::new();
    for _ in 0..3 {
        workers.push(Worker::join(&running.access).await);
    }
    let mut stranger = running.stranger().await;
    until_closed(&mut stranger).await;
    let refusal = running.refusal().await;
    assert!(refusal.reason.contains("3 connections"), "{}", refusal.reason);
    for worker in &mut workers {
        assert!(worker.is_served().await);
    }
    workers.pop();
    let one_more = async {
        loop {
            if let Ok((channel, _)) = connect(&running.access).await {
                return Worker::over(channel, &running.access.secret).await;
            }
        }
    };
    let mut worker = timeout(AGES, one_more).await.expect("room").expect("let in");
    assert!(worker.is_served().await);
}

#[tokio::test]
async fn many_workers_can_come_at_once() {
    open_many_files();
    let mut running = Running::start(true, Limits::SERVICE).await;
    let mut joining = tokio::task::JoinSet::new();
    for _ in 0..500 {
        let access = running.access.clone();
        joining.spawn(async move { Worker::join(&access).await });
    }
    let mut workers = timeout(AGES, joining.join_all()).await.expect("all join");
    for worker in &mut workers {
        assert!(worker.is_served().await);
    }
    assert!(running.refusals.try_recv().is_err());
}

#[tokio::test]
async fn it_ends_with_the_server() {
    let running = Running::start(true, Limits::SERVICE).await;
    let mut silent = running.stranger().await;
    let mut half = running.stranger().await;
    half.write_all(b"PRI * HTTP/2.0\r\n").await.expect("sent");
    let mut worker = Worker::join(&running.access).await;
    assert!(worker.is_served().await);
    running.stop.send(()).expect("it runs");
    until_closed(&mut silent).await;
    until_closed(&mut half).await;
    let refused = async { while TcpStream::connect(running.address).await.is_ok() {} };
    timeout(AGES, refused).await.expect("nobody listens any more");
}

/// The bytes that were read to find the protocol are read again, however they arrive.
#[tokio::test]
async fn no_byte_is_lost() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    for said in [&b"PRI * HTTP/2.0\r\n"[..], b"GET / HTTP/1.1\r\n", b"\x16\x03\x01", b"PRX", b"P", b""] {
        for at_once in [1, 3, 100] {
            let mut client = TcpStream::connect(address).await.expect("connected");
            let (stream, _) = listener.accept().await.expect("accepted");
            let mut stream = HalfRead::new(stream);
            let send = async {
                for piece in said.chunks(at_once) {
                    client.write_all(piece).await.expect("sent");
                    sleep(Duration::from_millis(1)).await;
                }
                client.shutdown().await.expect("sent");
            };
            let read = async {
                let found = stream.opening().await;
                let mut bytes: Vec<u8> = Vec::new();
                let mut piece = [0; 3];
                loop {
                    match stream.read(&mut piece).await.expect("read") {
                        0 => break,
                        count => bytes.extend(&piece[..count]),
                    }
                }
                (found, bytes)
            };
            let ((), (found, bytes)) = tokio::join!(send, read);
            assert_eq!(bytes, said);
            let whole = opening(said).unwrap_or(Opening::Nothing);
            assert_eq!(found, whole, "{said:?}");
        }
    }
}

#[test]
fn errors_of_connections_are_told_from_ours() {
    assert!(is_of_the_connection(&ErrorKind::ConnectionAborted.into()));
    assert!(!is_of_the_connection(&io::Error::from_raw_os_error(nix::errno::Errno::EMFILE as i32)));
}

proptest! {
    #[test]
    fn four_bytes_tell_how_a_connection_begins(bytes in prop::collection::vec(any::<u8>(), 0..8)) {
        let found = opening(&bytes);
        prop_assert!(found.is_some() || bytes.len() < 4);
        // More bytes change nothing.
        if let Some(found) = found {
            for more in 0..=255 {
                prop_assert_eq!(opening(&[&bytes[..], &[more]].concat()), Some(found));
            }
        }
    }
}

#[tokio::test]
async fn whoever_has_nothing_to_do_any_more_has_no_place() {
    let listener = crate::driver::listen("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let address = listener.local_addr().expect("an address");
    let (refusals, mut refused) = mpsc::channel(1);
    let mut connections = open(listener, None, limits(LATER), refusals);
    let _ours = TcpStream::connect(address).await.expect("connected");
    let mut theirs = connections.next().await.expect("the gate is there").expect("a connection");
    let mut buffer = [0; 1];
    let (first, second) = (theirs.connect_info().admit(), theirs.connect_info().admit());
    drop(first);
    assert!(
        timeout(LATER + LATER / 2, theirs.read(&mut buffer)).await.is_err(),
        "a request is being answered"
    );
    drop(second);
    let begun = Instant::now();
    assert!(timeout(AGES, theirs.read(&mut buffer)).await.expect("it is closed").is_err());
    assert!(begun.elapsed() > LATER / 2);
    assert!(refused.try_recv().is_err(), "it is no stranger");
}

#[tokio::test]
async fn a_crowd_from_one_address_pushes_out_its_own() {
    let limits = Limits { unauthenticated: 8, ..limits(AGES) };
    let running = Running::start(false, limits).await;
    let other = tokio::net::TcpSocket::new_v4().expect("a socket");
    other.bind("127.0.0.2:0".parse().expect("an address")).expect("it is of loopback");
    let other = other.connect(running.address).await.expect("connected");
    let mut crowd = Vec::new();
    for _ in 0..30 {
        crowd.push(running.stranger().await);
    }
    until_closed(&mut crowd[10]).await;
    assert!(is_open(&other));
    assert!(is_open(crowd.last().expect("there are some")));
}

#[tokio::test]
async fn of_too_many_that_look_on_the_oldest_goes() {
    let listener = crate::driver::listen("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let address = listener.local_addr().expect("an address");
    let (refusals, _refused) = mpsc::channel(1);
    let limits = Limits { lookers: 2, ..limits(AGES) };
    let mut connections = open(listener, None, limits, refusals);
    let mut looking = Vec::new();
    for _ in 0..3 {
        let ours = TcpStream::connect(address).await.expect("connected");
        let theirs = connections.next().await.expect("the gate is there").expect("a connection");
        let admission = theirs.connect_info().admit_looker();
        looking.push((ours, theirs, admission));
    }
    let mut ends = Vec::new();
    for (_, theirs, _) in &mut looking {
        let read = timeout(Duration::from_millis(50), theirs.read(&mut [0; 1])).await;
        ends.push(read.is_ok_and(|read| read.is_err()));
    }
    assert_eq!(ends, [true, false, false]);
}

#[tokio::test]
async fn when_the_gate_ends_strangers_go_and_answers_are_ended() {
    let listener = crate::driver::listen("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let address = listener.local_addr().expect("an address");
    let (refusals, _refused) = mpsc::channel(1);
    let mut connections = open(listener, None, Limits::SERVICE, refusals);
    let mut theirs = Vec::new();
    let mut ours = Vec::new();
    for _ in 0..2 {
        ours.push(TcpStream::connect(address).await.expect("connected"));
        theirs.push(connections.next().await.expect("the gate is there").expect("a connection"));
    }
    // Its request was admitted, and the end of the answer is still to be sent.
    drop(theirs[0].connect_info().admit());
    drop(connections);
    let mut buffer = [0; 7];
    assert!(timeout(AGES, theirs[1].read(&mut buffer)).await.expect("it is closed").is_err());
    theirs[0].write_all(b"goodbye").await.expect("it is open");
    timeout(AGES, ours[0].read_exact(&mut buffer)).await.expect("in time").expect("it is sent");
    assert_eq!(&buffer, b"goodbye");
}
