//! A relay for TCP connections that does to them what networks do: it delays and throttles, stalls,
//! parts the two ends from each other, and cuts connections off.
//!
//! One thread with a runtime of its own has the listener and all connections. What happens by chance
//! to a connection follows from the relay's seed and the connection's number, from 0 in the order in
//! which they are accepted.

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

/// Most bytes that travel together.
const CHUNK: usize = 16 << 10;

/// Chunks under way in one direction of a connection; behind them, the sender has to wait.
const UNDER_WAY: usize = 256;

/// What happens to every connection. The default is nothing.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// What each way takes longer; the order is kept.
    pub delay: Duration,
    /// Bytes a second that pass in each direction of a connection.
    pub throttle: Option<u64>,
    /// Each connection is reset when it is of an age in this range.
    pub reset_every: Option<Range<Duration>>,
    /// Again and again: after a time in the first range, nothing passes for one in the second.
    pub stall_every: Option<(Range<Duration>, Range<Duration>)>,
}

/// What a relay has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections accepted.
    pub connections: u64,
    /// Those of them that neither end has closed, nor the relay.
    pub open: u64,
    /// Connections that the target did not accept; their other end is reset.
    pub refused: u64,
    /// Connections that the relay has reset for no reason but its faults.
    pub resets: u64,
    /// Times that a connection began to stall.
    pub stalls: u64,
    /// Bytes that passed, both ways.
    pub bytes: u64,
}

/// A relay at work; when it is dropped, its connections end.
pub struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// Starts one that listens at an address, of which the port may be 0, and leads to another.
    pub fn to(target: SocketAddr, bind: SocketAddr, seed: u64, faults: Faults) -> Relay {
        Relay::start(|| (), target, bind, seed, faults)
    }

    /// Starts one on this host: both addresses are as seen from there.
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

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Parts the two ends from each other, or brings them together again. In between nothing passes,
    /// not even that an end has closed; connections stay open, and new ones are accepted but lead
    /// nowhere. What was sent meanwhile passes afterwards.
    pub fn partition(&self, parted: bool) {
        self.shared.partition.send_replace(parted);
    }

    /// Resets all connections that there are.
    pub fn cut_all(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// What it has done so far.
    pub fn counts(&self) -> Counts {
        let of = |count: &AtomicU64| count.load(Ordering::SeqCst);
        // In this order: none is closed that was not accepted.
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

/// What the thread and the test have in common.
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

/// Why a connection is over.
enum End {
    /// Both ends have closed their direction, and everything has passed.
    Closed,
    /// One end is gone; the other is to notice.
    Broken,
    /// There is nobody at the target.
    Refused,
    /// The relay cuts it.
    Cut,
}

async fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            // Out of file descriptors, for example: there may be some later.
            sleep(Duration::from_millis(10)).await;
            continue;
        };
        let number = shared.connections.fetch_add(1, Ordering::SeqCst);
        // From here on: a cut must not miss it.
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
            // With no time to linger, closing sends a reset.
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

/// Stalls a connection now and then.
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

/// Connects to the target and carries bytes until both ends have closed or one is gone.
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
    // Delays are made here and nowhere else.
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

/// Carries what comes from one end to the other, and the news that no more will come.
async fn carry(
    shared: &Shared,
    gate: &Gate<'_>,
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
) -> io::Result<()> {
    let Faults { delay, throttle, .. } = shared.faults;
    // Of a throttled connection small enough that they come evenly.
    let chunk_bytes =
        throttle.map_or(CHUNK, |rate| usize::try_from(rate / 50).unwrap_or(CHUNK).clamp(1, CHUNK));
    let (sender, mut receiver) = mpsc::channel(UNDER_WAY);
    let reading = async move {
        loop {
            let mut chunk = vec![0; chunk_bytes];
            let read = from.read(&mut chunk).await;
            let due = Instant::now() + delay;
            let Ok(count) = read else {
                // That an end is gone takes its time, too.
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

/// Writes bytes, none of them while the gate is shut.
async fn write(shared: &Shared, gate: &Gate<'_>, to: &WriteHalf<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        gate.opens().await;
        to.writable().await?;
        // What passed is counted before the gate can shut, too.
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

/// What everything has to pass.
struct Gate<'a> {
    partition: &'a watch::Sender<bool>,
    stalled: &'a watch::Sender<bool>,
}

impl Gate<'_> {
    /// Waits until it is open.
    async fn opens(&self) {
        while self.if_open(|| ()).is_none() {
            // Whoever could shut it for ever is borrowed here.
            let _ = self.partition.subscribe().wait_for(|shut| !shut).await;
            let _ = self.stalled.subscribe().wait_for(|shut| !shut).await;
        }
    }

    /// Does something unless it is shut. It does not shut meanwhile: once it has been shut, nothing
    /// passes any more.
    fn if_open<T>(&self, work: impl FnOnce() -> T) -> Option<T> {
        let (parted, stalled) = (self.partition.borrow(), self.stalled.borrow());
        (!*parted && !*stalled).then(work)
    }
}
