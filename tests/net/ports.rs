//! Every port of a coordinator under misuse. Requests are answered, even if many other clients send none, do not finish
//! theirs, or stay. Pages are served only under this machine's names.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::support::{PATIENCE, Place, Running};

/// A coordinator that waits for workers, on loopback and in plain text.
struct Open {
    _running: Running,
    workers: SocketAddr,
    metrics: SocketAddr,
    dashboard: SocketAddr,
}

impl Open {
    fn start(place: &Place) -> Open {
        place.write("sweep.yaml", "trials: 3\nconditions: [Control]\n");
        let mut running = place.serve(&["--metrics", "127.0.0.1:0", "--dashboard", "127.0.0.1:0"]);
        let dashboard = running.until("it says where the dashboard is", |running| {
            let said = running.stderr();
            let url = said.lines().find_map(|line| line.strip_prefix("dashboard: http://"))?;
            said.contains("to add workers: ").then(|| url.trim_end_matches('/').parse().expect("an address"))
        });
        let metrics = running.until("it says where metrics are", |running| {
            let said = running.stderr();
            let url = said.lines().find_map(|line| line.strip_prefix("metrics: http://"))?;
            Some(url.strip_suffix("/metrics").expect("a page").parse().expect("an address"))
        });
        let access = std::fs::read(place.path("out/access.json")).expect("an access file");
        let access: serde_json::Value = serde_json::from_slice(&access).expect("JSON");
        let workers = access["addresses"][0].as_str().expect("an address").parse().expect("an address");
        Open { _running: running, workers, metrics, dashboard }
    }

    /// Each port, and a page of it that needs no secret.
    fn pages(&self) -> [(SocketAddr, &'static str); 3] {
        [(self.workers, "/health"), (self.metrics, "/metrics"), (self.dashboard, "/")]
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    stream
}

/// Sends a request on a connection. Returns the status when the head of the answer is complete.
fn ask(stream: &mut TcpStream, path: &str, headers: &str) -> u16 {
    write!(stream, "GET {path} HTTP/1.1\r\n{headers}\r\n").expect("it reads");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("an answer");
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("text");
    head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status")
}

fn is_answered(address: SocketAddr, path: &str) {
    assert_eq!(ask(&mut connect(address), path, &format!("Host: {address}\r\n")), 200, "{address}{path}");
}

/// Reads to the end. Returns the time that this took.
fn until_closed(mut stream: TcpStream) -> Duration {
    let begun = Instant::now();
    loop {
        match stream.read(&mut [0; 4096]) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => {
                assert!(!matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "it stays");
                break;
            }
        }
    }
    begun.elapsed()
}

#[test]
fn whoever_does_not_end_a_request_or_has_none_any_more_is_closed_and_others_are_answered() {
    let place = Place::new();
    let open = Open::start(&place);
    for (address, path) in open.pages() {
        // More connections than the coordinator keeps without a secret.
        let crowd: Vec<TcpStream> = (0..1100)
            .map(|i| {
                let mut stream = connect(address);
                let begun = [&b"GET / HTTP/1.1\r\nHost: "[..], b"", b"PRI * HTTP/2.0\r\n"][i % 3];
                // The coordinator may already have closed some connections to make room.
                let _ = stream.write_all(begun);
                stream
            })
            .collect();
        is_answered(address, path);
        // Keeps its connection, and sends no further request.
        let mut idle = connect(address);
        assert_eq!(ask(&mut idle, path, &format!("Host: {address}\r\n")), 200);
        // Sends many requests, and reads no answer.
        let mut deaf = connect(address);
        let asked = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").repeat(2000);
        deaf.set_write_timeout(Some(Duration::from_millis(100))).expect("a timeout can be set");
        let _ = deaf.write_all(asked.as_bytes());
        // Single bytes do not extend the timeout.
        let mut slow = connect(address);
        let begun = Instant::now();
        while slow.write_all(b"x").is_ok() {
            assert!(begun.elapsed() < PATIENCE / 2, "{address} waits for ever");
            std::thread::sleep(Duration::from_millis(100));
        }
        for stream in crowd.into_iter().chain([idle, deaf]) {
            let took = until_closed(stream);
            assert!(took < PATIENCE / 2, "{address}: {took:?}");
        }
    }
}

#[test]
fn pages_without_a_secret_are_for_this_machine_under_its_own_names() {
    let place = Place::new();
    let open = Open::start(&place);
    for (address, path) in open.pages() {
        let port = address.port();
        for (headers, status) in [
            (format!("Host: 127.0.0.1:{port}\r\n"), 200),
            (format!("Host: localhost:{}\r\n", port ^ 1), 200),
            (format!("Host: evil.example:{port}\r\n"), 403),
            ("Host: 127.0.0.1.evil.example\r\n".to_owned(), 403),
        ] {
            assert_eq!(ask(&mut connect(address), path, &headers), status, "{address}{path}: {headers}");
        }
    }
    let foreign = format!("Host: {}\r\nSec-Fetch-Site: cross-site\r\n", open.metrics);
    assert_eq!(ask(&mut connect(open.metrics), "/metrics", &foreign), 403);
    let foreign = format!("Host: {}\r\nOrigin: http://evil.example\r\n", open.dashboard);
    assert_eq!(ask(&mut connect(open.dashboard), "/events", &foreign), 403);
}

#[test]
fn pages_that_are_held_open_make_room_for_new_ones() {
    let place = Place::new();
    let open = Open::start(&place);
    let look = || {
        let mut stream = connect(open.dashboard);
        assert_eq!(ask(&mut stream, "/events", &format!("Host: {}\r\n", open.dashboard)), 200);
        stream
    };
    let oldest = look();
    let held: Vec<TcpStream> = (0..300).map(|_| look()).collect();
    assert!(until_closed(oldest) < PATIENCE / 2);
    is_answered(open.dashboard, "/");
    // The last of them still receives events.
    let mut last = held.into_iter().next_back().expect("there are some");
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(15) {
        assert!(last.read(&mut [0; 4096]).is_ok_and(|count| count > 0));
        if begun.elapsed() > Duration::from_secs(12) {
            return;
        }
    }
    panic!("it was told nothing");
}
