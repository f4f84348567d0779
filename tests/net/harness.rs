//! Tests of the network tools: relays do what their settings state, and hosts reach each other.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use tokio::net::TcpSocket;

use crate::support::hosts::{hosts_or_skip, skipped};
use crate::support::relay::{Counts, Faults, Relay};
use crate::support::{self, PATIENCE, Place, wait_for};

/// Nothing else on the machine causes a silence of this length.
const SILENCE: Duration = Duration::from_millis(300);

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Returns all received bytes on every connection, until the other end closes its direction.
fn echo(listener: TcpListener) -> SocketAddr {
    let address = listener.local_addr().unwrap();
    // The thread ends with the process.
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(count @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..count]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// A relay to an echo.
fn relay(faults: Faults) -> Relay {
    Relay::to(echo(TcpListener::bind(ANY).unwrap()), ANY, 1, faults)
}

fn connect(address: SocketAddr) -> TcpStream {
    try_connect(address).expect("somebody listens")
}

fn try_connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Connects and expects a reset. The reset can be so early that the connection attempt fails.
#[track_caller]
fn connect_and_expect_reset(address: SocketAddr) {
    match try_connect(address) {
        Ok(mut stream) => expect_reset(&mut stream),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
}

/// Sends a byte and expects it back. Returns the time that this took.
#[track_caller]
fn ping(stream: &mut TcpStream) -> Duration {
    let begun = Instant::now();
    stream.write_all(b"p").expect("it can be sent");
    expect(stream, b"p");
    begun.elapsed()
}

#[track_caller]
fn expect(stream: &mut TcpStream, bytes: &[u8]) {
    let mut got = vec![0; bytes.len()];
    stream.read_exact(&mut got).expect("an answer");
    assert_eq!(got, bytes);
}

/// Returns the next byte, if there is one. A read with a timeout is interrupted if the whole process is stopped for a
/// moment. Then this function retries.
fn next(stream: &mut TcpStream) -> io::Result<Option<u8>> {
    loop {
        let mut byte = [0];
        match stream.read(&mut byte) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            read => return read.map(|count| (count > 0).then_some(byte[0])),
        }
    }
}

/// Expects no bytes and no end for a while.
#[track_caller]
fn expect_silence(stream: &mut TcpStream) {
    stream.set_read_timeout(Some(SILENCE)).unwrap();
    let error = next(stream).expect_err("nothing");
    assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
}

/// Expects that the connection is reset.
#[track_caller]
fn expect_reset(stream: &mut TcpStream) {
    let error = next(stream).expect_err("a reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

/// Bytes that differ at every position of four bytes.
fn pattern(length: usize) -> Vec<u8> {
    (0..length as u32 / 4).flat_map(u32::to_be_bytes).collect()
}

/// Sends bytes and closes this direction. Returns everything that comes back.
fn through(mut stream: TcpStream, bytes: &[u8]) -> Vec<u8> {
    let mut back = stream.try_clone().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || {
            stream.write_all(bytes).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
        });
        let mut got = Vec::new();
        back.read_to_end(&mut got).expect("an end");
        got
    })
}

#[test]
fn without_faults_everything_passes_and_so_does_the_end() {
    let relay = relay(Faults::default());
    let bytes = pattern(3 << 20);
    for _ in 0..2 {
        assert!(through(connect(relay.address()), &bytes) == bytes);
    }
    wait_for("both are closed", || (relay.counts().open == 0).then_some(()));
    let expected = Counts { connections: 2, bytes: 4 * bytes.len() as u64, ..Counts::default() };
    assert_eq!(relay.counts(), expected);
}

#[test]
fn what_is_delayed_comes_later_and_in_order() {
    let relay = relay(Faults { delay: ms(60), ..Faults::default() });
    let mut stream = connect(relay.address());
    for _ in 0..3 {
        let took = ping(&mut stream);
        assert!(took >= ms(120), "{took:?}");
    }
    // The fault is a delay and not a limited rate.
    let bytes = pattern(2 << 20);
    let begun = Instant::now();
    assert!(through(stream, &bytes) == bytes);
    let took = begun.elapsed();
    assert!(took >= ms(120) && took < ms(60) * (bytes.len() / 16384) as u32, "{took:?}");
}

#[test]
fn what_is_throttled_takes_its_time() {
    let relay = relay(Faults { throttle: Some(100_000), ..Faults::default() });
    let bytes = pattern(60_000);
    let begun = Instant::now();
    assert!(through(connect(relay.address()), &bytes) == bytes);
    // The first chunk passes without a delay.
    let took = begun.elapsed();
    assert!(took >= ms(550), "{took:?}");
}

#[test]
fn connections_are_reset_at_the_age_that_the_seed_gives() {
    let ages = |seed: u64| {
        let faults = Faults { reset_every: Some(ms(50)..ms(1000)), ..Faults::default() };
        let relay = Relay::to(echo(TcpListener::bind(ANY).unwrap()), ANY, seed, faults);
        let mut ages = Vec::new();
        for _ in 0..3 {
            let begun = Instant::now();
            connect_and_expect_reset(relay.address());
            ages.push(begun.elapsed());
        }
        wait_for("they are counted", || (relay.counts().resets == 3).then_some(()));
        assert_eq!(relay.counts().connections, 3);
        ages
    };
    let [first, again] = [7, 7].map(ages);
    assert!(first.iter().chain(&again).all(|age| *age >= ms(50)), "{first:?}, {again:?}");
    // Load on the machine makes resets later, never earlier, and rarely by this much all three times.
    let alike = first.iter().zip(&again).filter(|(one, other)| one.abs_diff(**other) < ms(100));
    assert!(alike.count() > 0, "{first:?}, {again:?}");
}

#[test]
fn a_stalled_connection_goes_on() {
    let stall_every = Some((ms(30)..ms(40), ms(400)..ms(500)));
    let relay = relay(Faults { stall_every, ..Faults::default() });
    let mut stream = connect(relay.address());
    let mut slowest = Duration::ZERO;
    wait_for("a stall is met", || {
        slowest = slowest.max(ping(&mut stream));
        (slowest >= ms(200)).then_some(())
    });
    assert!(relay.counts().stalls >= 1);
    assert_eq!(relay.counts().resets, 0);
    ping(&mut stream);
}

#[test]
fn across_a_partition_nothing_passes_and_nothing_is_lost() {
    let relay = relay(Faults::default());
    let mut before = connect(relay.address());
    let mut closing = connect(relay.address());
    ping(&mut before);
    ping(&mut closing);
    relay.partition(true);
    let passed = relay.counts().bytes;
    before.write_all(b"before").unwrap();
    let mut during = connect(relay.address());
    during.write_all(b"during").unwrap();
    closing.shutdown(Shutdown::Write).unwrap();
    expect_silence(&mut before);
    expect_silence(&mut during);
    expect_silence(&mut closing);
    assert_eq!(relay.counts().bytes, passed);
    assert_eq!(relay.counts().open, 3);
    relay.partition(false);
    expect(&mut before, b"before");
    expect(&mut during, b"during");
    assert_eq!(next(&mut closing).expect("an end"), None);
    ping(&mut before);
}

#[test]
fn all_connections_are_cut_at_once_also_across_a_partition() {
    let relay = relay(Faults::default());
    for parted in [false, true] {
        let mut streams: Vec<TcpStream> = (0..5).map(|_| connect(relay.address())).collect();
        for stream in &mut streams {
            ping(stream);
        }
        relay.partition(parted);
        relay.cut_all();
        streams.iter_mut().for_each(expect_reset);
        wait_for("all are closed", || (relay.counts().open == 0).then_some(()));
        relay.partition(false);
    }
    assert_eq!(relay.counts().resets, 10);
    ping(&mut connect(relay.address()));
}

#[test]
fn where_nobody_listens_a_connection_is_reset() {
    // The port is bound, so that no other test listens there meanwhile.
    let nobody = TcpSocket::new_v4().unwrap();
    nobody.bind(ANY).unwrap();
    let relay = Relay::to(nobody.local_addr().unwrap(), ANY, 1, Faults::default());
    connect_and_expect_reset(relay.address());
    wait_for("it is counted", || (relay.counts().refused == 1).then_some(()));
    assert_eq!(relay.counts().resets, 0);
}

#[test]
fn an_end_that_is_reset_resets_the_other() {
    let listener = TcpListener::bind(ANY).unwrap();
    let relay = Relay::to(listener.local_addr().unwrap(), ANY, 1, Faults::default());
    let mut stream = connect(relay.address());
    let (mut other, _) = listener.accept().unwrap();
    stream.write_all(b"two").unwrap();
    other.read_exact(&mut [0]).unwrap();
    wait_for("all has come", || (relay.counts().bytes == 3).then_some(()));
    // Closing a socket with unread bytes sends a reset.
    drop(other);
    expect_reset(&mut stream);
}

#[test]
fn hosts_reach_each_other_until_a_cable_is_pulled() {
    let Some(hosts) = hosts_or_skip(3) else { return };
    let listen = |i: usize| {
        let host = hosts.host(i);
        echo(host.inside(|| TcpListener::bind((host.address(), 0)).unwrap()))
    };
    let addresses = [0, 1, 2].map(listen);
    for (i, address) in addresses.into_iter().enumerate() {
        assert_eq!(address.ip(), hosts.host(i).address());
        for from in 0..3 {
            ping(&mut hosts.host(from).inside(|| connect(address)));
        }
    }

    let mut cut = hosts.host(1).inside(|| connect(addresses[0]));
    let mut other = hosts.host(2).inside(|| connect(addresses[0]));
    ping(&mut cut);
    ping(&mut other);
    hosts.link(1, false);
    cut.write_all(b"later").unwrap();
    expect_silence(&mut cut);
    ping(&mut other);
    hosts.link(1, true);
    expect(&mut cut, b"later");
    ping(&mut hosts.host(1).inside(|| connect(addresses[0])));
}

#[test]
fn programs_run_on_hosts_as_they_would_anywhere() {
    let Some(hosts) = hosts_or_skip(2) else { return };
    let place = Place::new();
    let script = place.script("look", "echo $MARK $CHAT_MARK $*; pwd; cat /proc/net/dev");
    let mut command = place.command(script.to_str().unwrap());
    command.args(["one", "two three"]).env("MARK", "mark").env_remove("CHAT_MARK");
    let ended = place.start_this(hosts.host(1).runs(&command)).end().succeeded();
    let directory = place.path("").canonicalize().unwrap();
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert_eq!(lines[0], "mark one two three");
    assert_eq!(lines[1], directory.to_str().unwrap().trim_end_matches('/'));
    let mut devices: Vec<&str> =
        lines[2..].iter().filter_map(|line| line.split_once(':')).map(|of| of.0.trim()).collect();
    devices.sort_unstable();
    assert_eq!(devices, ["eth0", "lo"]);

    // The program itself runs on each host, with local workers over that host's loopback.
    place.sweep("sweep.yaml", &support::Sweep::small());
    for (i, out) in ["first", "second"].into_iter().enumerate() {
        let command = place.granule(&["run", "sweep.yaml", "--out", out, "--workers", "2"]);
        place.start_this(hosts.host(i).runs(&command)).end().succeeded();
    }
    assert_eq!(place.outputs("first"), place.outputs("second"));
    place.is_left_alone();
}

#[test]
fn a_relay_stands_on_a_host_between_two_others() {
    let Some(hosts) = hosts_or_skip(3) else { return };
    let [client, middle, server] = [0, 1, 2].map(|i| hosts.host(i));
    let target = echo(server.inside(|| TcpListener::bind((server.address(), 0)).unwrap()));
    let bind = SocketAddr::new(middle.address(), 0);
    let relay = Relay::on(middle, target, bind, 1, Faults { delay: ms(20), ..Faults::default() });
    let mut stream = client.inside(|| connect(relay.address()));
    assert!(ping(&mut stream) >= ms(40));
    // The server sees the pulled cable only through the relay.
    hosts.link(0, false);
    ping(&mut server.inside(|| connect(relay.address())));
    stream.write_all(b"later").unwrap();
    expect_silence(&mut stream);
    hosts.link(0, true);
    expect(&mut stream, b"later");
    relay.cut_all();
    expect_reset(&mut stream);
}

#[test]
fn hosts_are_slow_where_the_kernel_can_delay() {
    let Some(hosts) = hosts_or_skip(2) else { return };
    if !hosts.delay(1, 50) {
        skipped("the kernel has no netem");
        return;
    }
    let address = echo(hosts.host(0).inside(|| TcpListener::bind((hosts.host(0).address(), 0)).unwrap()));
    let took = ping(&mut hosts.host(1).inside(|| connect(address)));
    assert!(took >= ms(100), "{took:?}");
}

#[test]
fn tests_with_hosts_of_the_same_addresses_do_not_meet() {
    let Some(first) = hosts_or_skip(1) else { return };
    let Some(second) = hosts_or_skip(2) else { return };
    assert_eq!(first.host(0).address(), second.host(0).address());
    let bind =
        |host: &support::hosts::Host| host.inside(|| TcpListener::bind((host.address(), 4600)).unwrap());
    let (of_first, of_second) = (bind(first.host(0)), bind(second.host(0)));
    let address = of_second.local_addr().unwrap();
    assert_eq!(of_first.local_addr().unwrap(), address);
    let mut stream = second.host(1).inside(|| connect(address));
    let (mut other, _) = of_second.accept().unwrap();
    stream.write_all(b"to the second").unwrap();
    expect(&mut other, b"to the second");
    of_first.set_nonblocking(true).unwrap();
    assert!(of_first.accept().is_err());
}
