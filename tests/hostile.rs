//! A coordinator that everybody can reach: whatever strangers do, and even who has its secret, its
//! sweep goes on, about as fast as before and in about as much memory.
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

/// Connections that a flood opens.
const FLOOD: usize = 2000;
const WAVES: usize = 4;

/// Connections that an attack keeps open, at most.
const HELD: usize = 100;

/// How often each kind of false worker joins.
const JOINS: u64 = 2;

/// How much longer the sweep may take under attack. The attackers compute on the same machine, and it
/// may have two cores.
const SLOWER: f64 = 4.0;

/// How much more memory its coordinator may take: a thousand strangers in the middle of a handshake
/// are not for nothing, and one message may be as large as the spikes of a trial can be.
const MORE_MEMORY: u64 = 6;

/// A sweep of seconds.
fn sweep() -> Sweep<'static> {
    Sweep { trials: 120, ..Sweep::slow() }
}

/// What one kind of attacker does over and over, until it is over.
struct Attack {
    name: &'static str,
    times: Arc<AtomicU64>,
}

/// All that they know.
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

    /// A connection, while there is anybody.
    fn connect(&self) -> Option<TcpStream> {
        connect(self.address).ok()
    }
}

/// Attackers at work.
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

    /// Does this in a thread, with a pause; what it gives is kept open, but not all of it.
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

    /// Calls the coordinator with this body, which is sent as it is, again and again, but so often at most.
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
                    // Some of them wait for as long as the coordinator has patience.
                    let _ = tokio::time::timeout(ms(3000), answer).await;
                    times.fetch_add(1, Ordering::SeqCst);
                }
                tokio::time::sleep(ms(20)).await;
            }
        });
    }

    /// Waits until all have begun.
    fn have_all_begun(&self) {
        wait_for("all attacks have begun", || self.idle().is_empty().then_some(()));
    }

    fn idle(&self) -> Vec<&'static str> {
        let idle = self.attacks.iter().filter(|attack| attack.times.load(Ordering::SeqCst) == 0);
        idle.map(|attack| attack.name).collect()
    }

    /// Ends them; what they have done.
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

/// Calls `Work` with any bytes as what the worker says; reads whatever is answered.
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

/// A message as gRPC frames it.
fn frame(message: &[u8]) -> Vec<u8> {
    framed_as(u32::try_from(message.len()).expect("it is short"), message)
}

/// The same with any length.
fn framed_as(length: u32, message: &[u8]) -> Vec<u8> {
    [&[0], &length.to_be_bytes()[..], message].concat()
}

fn say(message: Message) -> Vec<u8> {
    frame(&wire::FromWorker { message: Some(message) }.encode_to_vec())
}

/// What a worker begins with; nobody has been called so before.
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
    }))
}

/// A body that says this, and the same of another kind every millisecond, until it is over.
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

/// Bytes without a meaning.
fn garbage(length: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..length).map(|_| rand::random()).collect();
    // Not by chance one with a meaning.
    bytes[0] = 0xff;
    bytes
}

/// Sends this and reads until the other side has had enough, or a moment has passed.
fn tell(mut stream: impl Read + Write, bytes: &[u8]) {
    if stream.write_all(bytes).is_ok() {
        let _ = stream.read(&mut [0; 1024]);
    }
}

/// A connection on which nobody is waited for.
fn brief(stream: TcpStream) -> TcpStream {
    let _ = stream.set_read_timeout(Some(ms(100)));
    let _ = stream.set_write_timeout(Some(ms(1000)));
    stream
}

/// All of it at once.
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
        // A flood, in waves, and then no more.
        waves.next()?;
        let wave: Vec<TcpStream> = (0..FLOOD / WAVES).filter_map(|_| target.connect()).collect();
        Some(wave)
    });

    // In HTTP/2, without the secret.
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

    // With it.
    all.call("garbage for a hello", u64::MAX, |_| Body::from(frame(&garbage(1000))));
    all.call("no frames", u64::MAX, |_| Body::from(garbage(1000)));
    all.call("a gigantic length", u64::MAX, |_| Body::from(framed_as(u32::MAX, &[1, 2, 3])));
    all.call("a length just allowed, and a trickle", u64::MAX, |target| {
        for_ever(target, framed_as(LARGEST_OF_WORKER as u32, &[0; 16]), vec![0; 16])
    });
    all
}

/// What joins as a worker and is none. Each is given what real workers have to wait for then, until
/// it is shut out or its lease is over: who has the secret is trusted not to do so for ever.
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

/// What there is to say of a run.
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
        assert!(has_ended || begun.elapsed() < PATIENCE / 4, "no end:\n{}", served.running.stderr());
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

/// The attackers need files, too.
fn raise_file_limit() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("there is a limit");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("it can be raised");
    assert!(hard > 4 * FLOOD as u64, "no more than {hard} files can be open");
}

#[test]
fn a_sweep_under_attack_goes_on() {
    raise_file_limit();
    let quiet = run(false);
    let attacked = run(true);
    let ratio = attacked.took.as_secs_f64() / quiet.took.as_secs_f64();
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
