//! A relay for TCP connections that disturbs them as networks do. It delays, throttles and stalls them, separates the
//! two ends, and resets connections.
//!
//! One thread with its own runtime has the listener and all connections. Random faults of a connection follow from the
//! relay's seed and the connection's number. Connections are numbered from 0 as they are accepted.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc as channels;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::hosts::Host;

/// The largest number of bytes in a chunk.
const CHUNK: usize = 16 << 10;

/// The largest number of chunks in one direction of a connection. The sender waits for further ones.
const UNDER_WAY: usize = 256;

/// The faults of every connection. By default there are none.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// The delay of each direction. The order of bytes is kept.
    pub delay: Duration,
    /// Bytes per second in each direction of a connection.
    pub throttle: Option<u64>,
    /// Each connection is reset at an age in this range.
    pub reset_every: Option<Range<Duration>>,
    /// Repeatedly: after a time in the first range, nothing passes for a time in the second.
    pub stall_every: Option<(Range<Duration>, Range<Duration>)>,
}

/// Counts of a relay's actions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Accepted connections.
    pub connections: u64,
    /// Accepted connections that neither end nor the relay has closed.
    pub open: u64,
    /// Connections that the target did not accept. The client's end is reset.
    pub refused: u64,
    /// Connections that the relay reset because of its faults.
    pub resets: u64,
    /// Times that a connection began to stall.
    pub stalls: u64,
    /// Bytes that passed, in both directions.
    pub bytes: u64,
}

/// A running relay. When it is dropped, its connections end.
pub struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// Starts a relay to `target` that listens at `bind`. The port may be 0.
    pub fn to(target: SocketAddr, bind: SocketAddr, seed: u64, faults: Faults) -> Relay {
        Relay::start(|| (), target, bind, seed, faults)
    }

    /// Starts a relay on this host. Both addresses are as seen from there.
    pub fn on(host: &Host, target: SocketAddr, bind: SocketAddr, seed: u64, faults: Faults) -> Relay {
        let namespace = host.namespace();
        Relay::start(move || namespace.enter(), target, bind, seed, faults)
    }

    fn start(
        enter: impl FnOnce() + Send + 'static,
        target: SocketAddr,
        bind: SocketAddr,
        seed: u64,
        faults: Faults,
    ) -> Relay {
        let shared = Arc::new(Shared {
            target,
            seed,
            faults,
            partition: watch::Sender::new(false),
            cuts: watch::Sender::new(0),
            ended: watch::Sender::new(false),
            connections: AtomicU64::new(0),
            closed: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            resets: AtomicU64::new(0),
            stalls: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        });
        let (sender, receiver) = channels::channel();
        let of_thread = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            enter();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let listener = TcpListener::bind(bind).await.expect("the relay's address is free");
                let _ = sender.send(listener.local_addr().expect("its address"));
                let mut ended = of_thread.ended.subscribe();
                tokio::select! {
                    () = accept(&listener, &of_thread) => {}
                    _ = ended.wait_for(|ended| *ended) => {}
                }
            });
        });
        let address = receiver.recv().expect("the relay starts");
        Relay { address, shared, thread: Some(thread) }
    }

    /// The address at which it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Separates the two ends, or joins them again. While they are separated, nothing passes, not even the end of a
    /// connection. Connections stay open, and new ones are accepted without a connection to the target. Bytes sent in
    /// this time pass afterwards.
    pub fn partition(&self, parted: bool) {
        self.shared.partition.send_replace(parted);
    }

    /// Resets all open connections.
    pub fn cut_all(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// The counts so far.
    pub fn counts(&self) -> Counts {
        let of = |count: &AtomicU64| count.load(Ordering::SeqCst);
        // Read in this order, so that no connection is counted as closed before it is counted as accepted.
        let closed = of(&self.shared.closed);
        let connections = of(&self.shared.connections);
        Counts {
            connections,
            open: connections - closed,
            refused: of(&self.shared.refused),
            resets: of(&self.shared.resets),
            stalls: of(&self.shared.stalls),
            bytes: of(&self.shared.bytes),
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.ended.send_replace(true);
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join)
            && !thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

/// State that the relay's thread and the test share.
struct Shared {
    target: SocketAddr,
    seed: u64,
    faults: Faults,
    partition: watch::Sender<bool>,
    /// How often all connections were cut.
    cuts: watch::Sender<u64>,
    ended: watch::Sender<bool>,
    connections: AtomicU64,
    closed: AtomicU64,
    refused: AtomicU64,
    resets: AtomicU64,
    stalls: AtomicU64,
    bytes: AtomicU64,
}

/// The reason for the end of a connection.
enum End {
    /// Both ends have closed their direction, and all bytes have passed.
    Closed,
    /// One end is gone; the other is reset.
    Broken,
    /// No process listens at the target.
    Refused,
    /// The relay cuts the connection.
    Cut,
}

async fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            // For example, there are no file descriptors left. There may be some later.
            sleep(Duration::from_millis(10)).await;
            continue;
        };
        let number = shared.connections.fetch_add(1, Ordering::SeqCst);
        // Subscribed before the task starts, so that the task misses no cut.
        let cuts = shared.cuts.subscribe();
        tokio::spawn(serve(Arc::clone(shared), number, cuts, client));
    }
}

async fn serve(shared: Arc<Shared>, number: u64, mut cuts: watch::Receiver<u64>, mut client: TcpStream) {
    let faults = &shared.faults;
    let mut random = Pcg64::new(u128::from(shared.seed), u128::from(number));
    let reset_after = faults.reset_every.clone().map(|range| random.random_range(range));
    let stalls_from = Pcg64::from_rng(&mut random);
    let stalled = watch::Sender::new(false);
    let mut target = None;
    let end = tokio::select! {
        end = connect(&shared, &stalled, &mut client, &mut target) => end,
        () = after(reset_after) => End::Cut,
        _ = cuts.changed() => End::Cut,
        () = stall(&shared, &stalled, stalls_from) => End::Cut,
    };
    match end {
        End::Closed => {}
        End::Broken | End::Refused | End::Cut => {
            // Without time to linger, closing sends a reset.
            let _ = client.set_zero_linger();
            if let Some(target) = &target {
                let _ = target.set_zero_linger();
            }
        }
    }
    drop((client, target));
    match end {
        End::Closed | End::Broken => {}
        End::Refused => drop(shared.refused.fetch_add(1, Ordering::SeqCst)),
        End::Cut => drop(shared.resets.fetch_add(1, Ordering::SeqCst)),
    }
    shared.closed.fetch_add(1, Ordering::SeqCst);
}

async fn after(time: Option<Duration>) {
    match time {
        Some(time) => sleep(time).await,
        None => pending().await,
    }
}

/// Stalls a connection at random times.
async fn stall(shared: &Shared, stalled: &watch::Sender<bool>, mut random: Pcg64) {
    let Some((after, during)) = shared.faults.stall_every.clone() else { return pending().await };
    loop {
        sleep(random.random_range(after.clone())).await;
        shared.stalls.fetch_add(1, Ordering::SeqCst);
        stalled.send_replace(true);
        sleep(random.random_range(during.clone())).await;
        stalled.send_replace(false);
    }
}

/// Connects to the target. Carries bytes until both ends have closed or one is gone.
async fn connect(
    shared: &Shared,
    stalled: &watch::Sender<bool>,
    client: &mut TcpStream,
    target: &mut Option<TcpStream>,
) -> End {
    let gate = Gate { partition: &shared.partition, stalled };
    gate.opens().await;
    let Ok(connected) = TcpStream::connect(shared.target).await else { return End::Refused };
    let target = target.insert(connected);
    // Only the relay's own delays apply.
    if client.set_nodelay(true).and(target.set_nodelay(true)).is_err() {
        return End::Broken;
    }
    let (from_client, to_client) = client.split();
    let (from_target, to_target) = target.split();
    let there = carry(shared, &gate, from_client, to_target);
    let back = carry(shared, &gate, from_target, to_client);
    match tokio::try_join!(there, back) {
        Ok(_) => End::Closed,
        Err(_) => End::Broken,
    }
}

/// Carries bytes from one end to the other, and then the end of the stream.
async fn carry(
    shared: &Shared,
    gate: &Gate<'_>,
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
) -> io::Result<()> {
    let Faults { delay, throttle, .. } = shared.faults;
    // For a throttled connection, chunks are so small that they arrive evenly.
    let chunk_bytes =
        throttle.map_or(CHUNK, |rate| usize::try_from(rate / 50).unwrap_or(CHUNK).clamp(1, CHUNK));
    let (sender, mut receiver) = mpsc::channel(UNDER_WAY);
    let reading = async move {
        loop {
            let mut chunk = vec![0; chunk_bytes];
            let read = from.read(&mut chunk).await;
            let due = Instant::now() + delay;
            let Ok(count) = read else {
                // The reset of an end is delayed, too.
                sleep_until(due).await;
                gate.opens().await;
                return read.map(drop);
            };
            chunk.truncate(count);
            if sender.send((due, chunk)).await.is_err() || count == 0 {
                return Ok(());
            }
        }
    };
    let writing = async {
        let mut free = Instant::now();
        while let Some((due, chunk)) = receiver.recv().await {
            sleep_until(due.max(free)).await;
            if chunk.is_empty() {
                gate.opens().await;
                return to.shutdown().await;
            }
            write(shared, gate, &to, &chunk).await?;
            if let Some(rate) = throttle {
                free = free.max(due) + Duration::from_secs_f64(chunk.len() as f64 / rate as f64);
            }
        }
        Ok(())
    };
    tokio::try_join!(reading, writing).map(drop)
}

/// Writes bytes, but none while the gate is shut.
async fn write(shared: &Shared, gate: &Gate<'_>, to: &WriteHalf<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        gate.opens().await;
        to.writable().await?;
        // Bytes are also counted before the gate can shut.
        let written = gate.if_open(|| {
            to.try_write(bytes).inspect(|&count| {
                shared.bytes.fetch_add(count as u64, Ordering::SeqCst);
            })
        });
        match written {
            Some(Ok(count)) => bytes = &bytes[count..],
            Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
            Some(Err(error)) => return Err(error),
            None => {}
        }
    }
    Ok(())
}

/// The gate that all bytes pass.
struct Gate<'a> {
    partition: &'a watch::Sender<bool>,
    stalled: &'a watch::Sender<bool>,
}

impl Gate<'_> {
    /// Waits until the gate is open.
    async fn opens(&self) {
        while self.if_open(|| ()).is_none() {
            // The senders are borrowed here, so both outlive this wait.
            let _ = self.partition.subscribe().wait_for(|shut| !shut).await;
            let _ = self.stalled.subscribe().wait_for(|shut| !shut).await;
        }
    }

    /// Runs `work` unless the gate is shut. The gate cannot shut while `work` runs, so nothing passes a shut gate.
    fn if_open<T>(&self, work: impl FnOnce() -> T) -> Option<T> {
        let (parted, stalled) = (self.partition.borrow(), self.stalled.borrow());
        (!*parted && !*stalled).then(work)
    }
}
