//! A coordinator that every host can reach. Attackers, even with its secret, must not stop its sweep, nor make it much
//! slower or need much more memory.
#![cfg(target_os = "linux")]
#![allow(clippy::print_stdout, reason = "what a test has to say")]

mod support;

use std::fs;
use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use granule_engine::spikes::LARGEST_ENCODED;
use granule_granular::ENGINES;
use granule_proto::convert::engine_to_wire;
use granule_proto::parts::PART;
use granule_proto::wire::from_worker::Message;
use granule_proto::{AUTHORIZATION, LARGEST_OF_WORKER, PROTOCOL, wire};
use granule_worker::access::{Access, Secret};
use granule_worker::connect::connect as connect_channel;
use granule_worker::{authorised, client};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use prost::Message as _;
use support::served::{Served, connect, first_flight, tls};
use support::{Hashes, PATIENCE, Place, Sweep, happened, peak_kib, wait_for};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::{Service as _, http};
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Channel;

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Connections in a flood.
const FLOOD: usize = 2000;
const WAVES: usize = 4;

/// The largest number of connections that an attack keeps open.
const HELD: usize = 100;

/// The number of times that each kind of false worker joins.
const JOINS: u64 = 2;

/// The largest permitted factor of the sweep's duration under attack. The attackers compute on the same machine, which
/// may have only two cores.
const SLOWER: f64 = 4.0;

/// The largest permitted factor of the coordinator's memory under attack. A thousand connections in the middle of a
/// handshake need memory. One message may be as large as the largest spikes of a trial.
const MORE_MEMORY: u64 = 6;

/// A sweep that takes seconds.
fn sweep() -> Sweep<'static> {
    Sweep { trials: 120, ..Sweep::slow() }
}

/// A kind of attack, which is repeated until the attackers are stopped.
struct Attack {
    name: &'static str,
    times: Arc<AtomicU64>,
}

/// Everything that the attackers know.
#[derive(Clone)]
struct Target {
    address: SocketAddr,
    access: Access,
    is_over: Arc<AtomicBool>,
}

impl Target {
    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    /// Connects to the coordinator, if it still runs.
    fn connect(&self) -> Option<TcpStream> {
        connect(self.address).ok()
    }
}

/// Running attacks.
struct Attackers {
    target: Target,
    attacks: Vec<Attack>,
    threads: Vec<thread::JoinHandle<()>>,
    runtime: Runtime,
}

impl Attackers {
    fn new(target: Target) -> Attackers {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        Attackers { target, attacks: vec![], threads: vec![], runtime: runtime.expect("a runtime") }
    }

    fn attack(&mut self, name: &'static str) -> (Target, Arc<AtomicU64>) {
        let times = Arc::new(AtomicU64::new(0));
        self.attacks.push(Attack { name, times: Arc::clone(&times) });
        (self.target.clone(), times)
    }

    /// Repeats this attack in a thread, with a pause. Keeps the last [`HELD`] results open.
    fn again<T: 'static>(
        &mut self,
        name: &'static str,
        pause: Duration,
        mut attack: impl FnMut(&Target) -> Option<T> + Send + 'static,
    ) {
        let (target, times) = self.attack(name);
        self.threads.push(thread::spawn(move || {
            let mut held = std::collections::VecDeque::new();
            while !target.is_over() {
                held.extend(attack(&target));
                if held.len() > HELD {
                    held.pop_front();
                }
                times.fetch_add(1, Ordering::SeqCst);
                thread::sleep(pause);
            }
        }));
    }

    /// Calls the coordinator repeatedly with this body, which is sent unchanged. Makes at most `most` calls.
    fn call(
        &mut self,
        name: &'static str,
        most: u64,
        body: impl Fn(&Target) -> Body + Send + Sync + 'static,
    ) {
        let (target, times) = self.attack(name);
        self.runtime.spawn(async move {
            while !target.is_over() && times.load(Ordering::SeqCst) < most {
                if let Ok((channel, _)) = connect_channel(&target.access).await {
                    let answer = call(channel, &target.access, body(&target));
                    // Some calls last until the coordinator's timeout.
                    let _ = tokio::time::timeout(ms(3000), answer).await;
                    times.fetch_add(1, Ordering::SeqCst);
                }
                tokio::time::sleep(ms(20)).await;
            }
        });
    }

    /// Waits until each attack has run.
    fn have_all_begun(&self) {
        wait_for("all attacks have begun", || self.idle().is_empty().then_some(()));
    }

    fn idle(&self) -> Vec<&'static str> {
        let idle = self.attacks.iter().filter(|attack| attack.times.load(Ordering::SeqCst) == 0);
        idle.map(|attack| attack.name).collect()
    }

    /// Stops the attacks. Returns how often each ran.
    fn end(self) -> String {
        self.target.is_over.store(true, Ordering::SeqCst);
        self.threads.into_iter().for_each(|thread| thread.join().expect("an attacker"));
        self.runtime.shutdown_background();
        let counts = self
            .attacks
            .iter()
            .map(|attack| format!("{} × {}", attack.times.load(Ordering::SeqCst), attack.name));
        counts.collect::<Vec<_>>().join(", ")
    }
}

/// Calls `Work` with any bytes as the worker's messages, and reads the answer.
async fn call(mut channel: Channel, access: &Access, body: Body) -> Result<(), tonic::transport::Error> {
    let request = http::Request::post("http://coordinator/granule.v1.Coordinator/Work")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header(AUTHORIZATION, format!("Bearer {}", access.secret.expose()))
        .body(tonic::body::Body::new(body))
        .expect("a request");
    poll_fn(|context| channel.poll_ready(context)).await?;
    let answer = channel.call(request).await?;
    let _ = axum::body::to_bytes(Body::new(answer.into_body()), usize::MAX).await;
    Ok(())
}

/// Frames a message as gRPC does.
fn frame(message: &[u8]) -> Vec<u8> {
    framed_as(u32::try_from(message.len()).expect("it is short"), message)
}

/// Frames a message with any length.
fn framed_as(length: u32, message: &[u8]) -> Vec<u8> {
    [&[0], &length.to_be_bytes()[..], message].concat()
}

fn say(message: Message) -> Vec<u8> {
    frame(&wire::FromWorker { message: Some(message) }.encode_to_vec())
}

/// The first message of a worker, with a name that no worker has had.
fn hello() -> Vec<u8> {
    say(Message::Hello(wire::Hello {
        protocol: PROTOCOL,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        engines: ENGINES.iter().copied().map(engine_to_wire).collect(),
        threads: 1,
        host: "elsewhere".to_owned(),
        process_id: 1,
        name: rand::random::<[u8; 16]>().to_vec(),
        epoch: 0,
        held: vec![],
        packages: Vec::new(),
    }))
}

/// Returns a body that sends `first`, and then `again` every millisecond until the attackers are stopped.
fn for_ever(target: &Target, first: Vec<u8>, again: Vec<u8>) -> Body {
    let (sender, receiver) = mpsc::channel::<Result<Bytes, std::io::Error>>(4);
    let target = target.clone();
    tokio::spawn(async move {
        let again = Bytes::from(again);
        let mut next = Bytes::from(first);
        while !target.is_over() && sender.send(Ok(next)).await.is_ok() {
            next = again.clone();
            tokio::time::sleep(ms(1)).await;
        }
    });
    Body::from_stream(ReceiverStream::new(receiver))
}

/// Random bytes that are no valid message.
fn garbage(length: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..length).map(|_| rand::random()).collect();
    // This byte prevents a message that is valid by chance.
    bytes[0] = 0xff;
    bytes
}

/// Sends these bytes, and reads until the coordinator answers or closes, or the timeout.
fn tell(mut stream: impl Read + Write, bytes: &[u8]) {
    if stream.write_all(bytes).is_ok() {
        let _ = stream.read(&mut [0; 1024]);
    }
}

/// Sets short timeouts on a connection.
fn brief(stream: TcpStream) -> TcpStream {
    let _ = stream.set_read_timeout(Some(ms(100)));
    let _ = stream.set_write_timeout(Some(ms(1000)));
    stream
}

/// Starts all attacks except [`false_workers`].
fn everything(target: Target) -> Attackers {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let mut all = Attackers::new(target);
    all.again("garbage", ms(20), |target| {
        tell(brief(target.connect()?), &garbage(512));
        None::<()>
    });
    all.again("half of a ClientHello", ms(20), |target| {
        let mut stream = target.connect()?;
        stream.write_all(&first_flight(&target.access)[..100]).ok()?;
        Some(stream)
    });
    all.again("a ClientHello that is none", ms(20), |target| {
        tell(brief(target.connect()?), &[&[0x16, 3, 1, 2, 0][..], &garbage(512)].concat());
        None::<()>
    });
    all.again("half of a preface in plain text", ms(20), |target| {
        let mut stream = target.connect()?;
        stream.write_all(&PREFACE[..10]).ok()?;
        Some(stream)
    });
    all.again("half of a preface", ms(20), |target| {
        let mut stream = tls(&target.access, target.connect()?, &[b"h2"]).ok()?;
        stream.write_all(&PREFACE[..10]).and_then(|()| stream.flush()).ok()?;
        Some(stream)
    });
    all.again("TLS and then nothing", ms(20), |target| tls(&target.access, target.connect()?, &[b"h2"]).ok());
    all.again("garbage over TLS", ms(20), |target| {
        tell(tls(&target.access, brief(target.connect()?), &[b"h2"]).ok()?, &garbage(4096));
        None::<()>
    });
    all.again("huge headers", ms(50), |target| {
        let stream = tls(&target.access, brief(target.connect()?), &[]).ok()?;
        let header = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\n\r\n", "x".repeat(1 << 20));
        tell(stream, header.as_bytes());
        None::<()>
    });
    let mut waves = 0..WAVES;
    all.again("connections that say nothing", ms(500), move |target| {
        // A flood in waves. After the last wave, this attack does nothing.
        waves.next()?;
        let wave: Vec<TcpStream> = (0..FLOOD / WAVES).filter_map(|_| target.connect()).collect();
        Some(wave)
    });

    // Over HTTP/2, in the head of the request.
    let (target, times) = all.attack("a wrong secret");
    all.runtime.spawn(async move {
        let wrong = Access { secret: Secret::generate(), ..target.access.clone() };
        while !target.is_over() {
            if let Ok((channel, _)) = connect_channel(&wrong).await {
                for _ in 0..10 {
                    let request = authorised(&wrong, tokio_stream::pending());
                    let refused = client(channel.clone()).work(request).await;
                    assert!(refused.is_err());
                    times.fetch_add(1, Ordering::SeqCst);
                }
            }
            tokio::time::sleep(ms(10)).await;
        }
    });
    let (target, times) = all.attack("huge headers in HTTP/2");
    all.runtime.spawn(async move {
        let mut request = authorised(&target.access, ());
        let long: AsciiMetadataValue = "x".repeat(15 << 10).parse().expect("a value");
        for _ in 0..20 {
            request.metadata_mut().append("x-more", long.clone());
        }
        let headers = request.metadata().clone();
        while !target.is_over() {
            if let Ok((channel, _)) = connect_channel(&target.access).await {
                let mut request = tonic::Request::new(tokio_stream::pending());
                *request.metadata_mut() = headers.clone();
                let _ = tokio::time::timeout(ms(3000), client(channel).work(request)).await;
                times.fetch_add(1, Ordering::SeqCst);
            }
            tokio::time::sleep(ms(20)).await;
        }
    });

    // With the secret, in the body of the request.
    all.call("garbage for a hello", u64::MAX, |_| Body::from(frame(&garbage(1000))));
    all.call("no frames", u64::MAX, |_| Body::from(garbage(1000)));
    all.call("a gigantic length", u64::MAX, |_| Body::from(framed_as(u32::MAX, &[1, 2, 3])));
    all.call("a length just allowed, and a trickle", u64::MAX, |target| {
        for_ever(target, framed_as(LARGEST_OF_WORKER as u32, &[0; 16]), vec![0; 16])
    });
    all
}

/// Clients that join as workers, but do not work. Each gets leases, for which real workers have to wait until it is
/// quarantined or its lease expires. The secret's holders are trusted not to repeat this for ever, so each kind joins
/// [`JOINS`] times.
fn false_workers(all: &mut Attackers) {
    all.call("garbage after the hello", JOINS, |_| Body::from([hello(), frame(&garbage(1000))].concat()));
    all.call("a gigantic length after the hello", JOINS, |_| {
        Body::from([hello(), framed_as(u32::MAX, &[])].concat())
    });
    all.call("messages that say nothing", JOINS, |target| for_ever(target, hello(), frame(&[])));
    all.call("results that are none", JOINS, |target| {
        let none = wire::TrialResult {
            lease: 1,
            fingerprint: vec![7; 32],
            seed: 451,
            trial: 0,
            spikes: garbage(2000),
            digest: vec![7; 32],
            length: 0,
        };
        let first = [hello(), say(Message::Offered(wire::Offered {}))].concat();
        for_ever(target, first, say(Message::Trial(none)))
    });
    all.call("results that are announced and never come", JOINS, |target| {
        let announced = wire::TrialResult {
            lease: 1,
            fingerprint: vec![7; 32],
            seed: 451,
            trial: 0,
            spikes: vec![],
            digest: vec![7; 32],
            length: LARGEST_ENCODED,
        };
        let part = |offset| wire::Part { digest: vec![7; 32], offset, spikes: garbage(PART) };
        let first = [hello(), say(Message::Trial(announced)), say(Message::Part(part(0)))].concat();
        for_ever(target, first, say(Message::Part(wire::Part { spikes: vec![], ..part(PART as u64) })))
    });
    all.call("heartbeats without an end", JOINS, |target| {
        let beat = say(Message::Heartbeat(wire::Heartbeat { held: (0..100).collect(), last: u64::MAX }));
        for_ever(target, hello(), beat.repeat(32))
    });
    all.call("a worker that never does anything", JOINS, |target| {
        let first = [hello(), say(Message::Offered(wire::Offered {}))].concat();
        for_ever(target, first, vec![])
    });
}

/// The measurements of a run.
struct Run {
    took: Duration,
    peak_kib: u64,
    stderr: String,
    outputs: Hashes,
    attacks: String,
}

/// Runs the sweep with two workers.
fn run(is_attacked: bool) -> Run {
    let place = Place::new();
    let path = place.sweep("sweep.yaml", &sweep());
    let mut served = Served::start(&place, None, &[path.to_str().unwrap(), "--lease-seconds", "2"]);
    let copy = served.copy(&place, "copy.json", None);
    let access = Access::read(&copy).expect("a copy");
    let target = Target { address: served.address(), access, is_over: Arc::default() };
    let mut attackers = is_attacked.then(|| everything(target));
    if let Some(attackers) = &attackers {
        attackers.have_all_begun();
    }
    let begun = Instant::now();
    let worker = ["worker", "--access", copy.to_str().unwrap(), "--threads", "1"];
    let workers = [(); 2].map(|()| place.start(&worker));
    served
        .running
        .until("something is stored", |_| (place.length("out/store.granule") > 4 * 4096).then_some(()));
    attackers.iter_mut().for_each(false_workers);
    let mut peak = 0;
    wait_for("the sweep ends", || {
        peak = peak.max(peak_kib(served.running.id()).unwrap_or(0));
        let has_ended = served.running.has_ended();
        assert!(has_ended || begun.elapsed() < PATIENCE, "no end:\n{}", served.running.stderr());
        has_ended.then_some(())
    });
    let took = begun.elapsed();
    if let Some(attackers) = &attackers {
        assert_eq!(attackers.idle(), [""; 0], "attacks that did not take place");
    }
    let attacks = attackers.map_or(String::new(), Attackers::end);
    let ended = served.running.end().succeeded();
    fs::remove_file(copy).expect("the copy");
    workers.into_iter().for_each(|worker| drop(worker.end().succeeded()));
    Run { took, peak_kib: peak, stderr: ended.stderr, outputs: place.outputs("out"), attacks }
}

/// Raises the limit of open files, because the attackers need files, too.
fn raise_file_limit() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("there is a limit");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("it can be raised");
    assert!(hard > 4 * FLOOD as u64, "no more than {hard} files can be open");
}

#[test]
fn a_sweep_under_attack_goes_on() {
    raise_file_limit();
    let compare = || {
        let (quiet, attacked) = (run(false), run(true));
        let ratio = attacked.took.as_secs_f64() / quiet.took.as_secs_f64();
        (quiet, attacked, ratio)
    };
    // Other programs may have begun in between.
    let (quiet, attacked, ratio) =
        Some(compare()).filter(|(.., ratio)| *ratio < SLOWER).unwrap_or_else(compare);
    println!("{:?} and under attack {:?}: × {ratio:.2}", quiet.took, attacked.took);
    println!("{} KiB and under attack {} KiB", quiet.peak_kib, attacked.peak_kib);
    println!("{}", attacked.attacks);
    println!("{}", attacked.stderr);
    assert_eq!(attacked.outputs, quiet.outputs);
    assert!(ratio < SLOWER, "× {ratio:.2}");
    assert!(attacked.peak_kib < MORE_MEMORY * quiet.peak_kib, "{} KiB", attacked.peak_kib);
    let refused = happened(&attacked.stderr).filter(|said| said.starts_with("refused ")).count() as u64;
    assert!((1..=attacked.took.as_secs() / 5 + 4).contains(&refused), "{}", attacked.stderr);
    assert!(!attacked.stderr.contains("panicked"), "{}", attacked.stderr);
}

#[test]
fn a_coordinator_has_as_many_connections_as_the_system_allows() {
    let place = Place::new();
    place.sweep("sweep.yaml", &sweep());
    let mut command = place.command("/bin/sh");
    let script = "ulimit -Sn 256; exec \"$0\" serve sweep.yaml --out out --listen 127.0.0.1:0";
    command.args(["-c", script, env!("CARGO_BIN_EXE_granule")]);
    let mut running = place.start_this(command);
    running.until("there is an access file", |_| place.path("out/access.json").exists().then_some(()));
    let limits = fs::read_to_string(format!("/proc/{}/limits", running.id())).expect("its limits");
    let limits = limits.lines().find_map(|line| line.strip_prefix("Max open files")).expect("that of files");
    let [soft, hard] = [0, 1].map(|i| limits.split_whitespace().nth(i).expect("a number"));
    assert_eq!(soft, hard);
}
