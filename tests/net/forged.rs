//! Text from outside that imitates granule's own lines. In all output, it stays on one line, and hidden characters are
//! escaped.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use granule_granular::ENGINES;
use granule_proto::convert::engine_to_wire;
use granule_proto::wire::from_worker::Message;
use granule_proto::{PROTOCOL, wire};
use granule_text::is_hidden;
use granule_worker::access::Access;
use granule_worker::connect::connect;
use granule_worker::{authorised, client};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::support::served::Served;
use crate::support::{Place, Sweep, wait_for};

/// The beginning of a log line, which would follow a line feed in the text.
const DATE: &str = "2001-02-03T04:05:06Z";

/// Text with all characters that could forge output, and a word to find it.
fn forged(word: &str) -> String {
    format!(
        "{word}\n{DATE} all is well\r\u{1b}[2J\u{9b}1m\u{202e}\u{2066}\u{200f}\u{200b}\u{2028}\u{feff}\u{85}"
    )
}

/// The escaped form of that text.
fn escaped(word: &str) -> String {
    let escapes = r"\u{d}\u{1b}[2J\u{9b}1m\u{202e}\u{2066}\u{200f}\u{200b}\u{2028}\u{feff}\u{85}";
    format!(r"{word}\u{{a}}{DATE} all is well{escapes}")
}

/// Expects the words in the text, and no forged line or hidden character.
#[track_caller]
fn check(what: &str, text: &str, words: &[&str]) {
    let hidden: Vec<char> = text.chars().filter(|c| is_hidden(*c) && *c != '\n').collect();
    assert!(hidden.is_empty(), "{what}: {hidden:?} in\n{text}");
    assert!(!text.lines().any(|line| line.starts_with(DATE)), "{what}:\n{text}");
    for word in words {
        assert!(text.contains(&escaped(word)), "{what}: no {word} in\n{text}");
    }
}

fn hello() -> wire::Hello {
    wire::Hello {
        protocol: PROTOCOL,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        engines: ENGINES.iter().copied().map(engine_to_wire).collect(),
        threads: 1,
        host: forged("host"),
        process_id: 77,
        name: vec![7; 16],
        epoch: 0,
        held: vec![],
        packages: Vec::new(),
    }
}

/// A worker that can send any message.
struct Forger {
    say: mpsc::Sender<wire::FromWorker>,
    hear: Streaming<wire::ToWorker>,
}

impl Forger {
    async fn join(access: &Access, hello: wire::Hello) -> Result<Forger, Status> {
        let (channel, _) = connect(access).await.expect("a coordinator");
        let (say, outgoing) = mpsc::channel(8);
        let message = wire::FromWorker { message: Some(Message::Hello(hello)) };
        say.send(message).await.expect("there is room");
        let request = authorised(access, ReceiverStream::new(outgoing));
        let hear = client(channel).work(request).await?.into_inner();
        Ok(Forger { say, hear })
    }

    async fn say(&self, message: Message) {
        self.say.send(wire::FromWorker { message: Some(message) }).await.expect("it is heard");
    }
}

/// Reads the page's events until they contain all these words.
fn feed(address: SocketAddr, words: &[&str]) -> String {
    let mut stream = TcpStream::connect(address).expect("a page");
    write!(stream, "GET /events HTTP/1.0\r\nHost: {address}\r\n\r\n").expect("a request");
    let mut read = Vec::new();
    let mut buffer = [0; 4096];
    wait_for("the page is told", || {
        let count = stream.read(&mut buffer).expect("a feed");
        assert!(count > 0, "it ended: {}", String::from_utf8_lossy(&read));
        read.extend(&buffer[..count]);
        let text = String::from_utf8_lossy(&read);
        // JSON escapes the backslashes again.
        words.iter().all(|word| text.contains(&escaped(word).replace('\\', "\\\\"))).then_some(())
    });
    let text = String::from_utf8(read).expect("text");
    text.replace("\r\n", "\n")
}

#[test]
fn nothing_that_a_worker_says_forges_a_line() {
    let place = Place::new();
    place.sweep("sweep.yaml", &Sweep::slow());
    let arguments = ["sweep.yaml", "--dashboard", "127.0.0.1:0"];
    let mut served = Served::start(&place, None, &arguments);
    let access = fs::read(place.path("out/access.json")).expect("an access file");
    let access = Access::parse(&access).expect("access");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let mut followed = place.start(&["status", "out", "--follow"]);
    let mut followed_in_json = place.start(&["status", "out", "--follow", "--json"]);
    followed.until("it follows", |running| running.stdout().contains("trials stored").then_some(()));
    followed_in_json.until("it follows", |running| (!running.stdout().is_empty()).then_some(()));

    // An accepted worker announces that it leaves, and sends a message that makes no sense.
    let forger = runtime.block_on(async {
        let mut forger = Forger::join(&access, hello()).await.expect("it is let in");
        forger.hear.message().await.expect("a welcome");
        forger.say(Message::Draining(wire::Draining { reason: forged("draining") })).await;
        forger
    });
    served.running.until("it leaves", |running| running.stderr().contains(" drains: ").then_some(()));
    let status = wait_for("it is seen", || {
        let status = place.run(&["status", "out"]).succeeded().stdout;
        status.contains("; 1 worker").then_some(status)
    });
    // Names are shortened there.
    check("status", &status, &[]);
    assert!(status.contains(r"host\u{a}2001"), "{status}");
    let json = place.run(&["status", "out", "--json"]).succeeded().stdout;
    check("status --json", &json, &[]);
    let snapshot: serde_json::Value = serde_json::from_str(&json).expect("one object");
    check("status --json", snapshot["workers"][0]["host"].as_str().expect("a host"), &["host"]);
    let log = served.running.stderr();
    let url = log.lines().find_map(|line| line.strip_prefix("dashboard: http://")).expect("a page");
    let address = url.trim_end_matches('/').parse().expect("an address");
    let wrong = wire::TrialResult { lease: 1, spikes: vec![1], digest: vec![0; 32], ..Default::default() };
    runtime.block_on(forger.say(Message::Trial(wrong)));
    served
        .running
        .until("it is shut out", |running| running.stderr().contains(" is quarantined: ").then_some(()));
    check("the dashboard", &feed(address, &["host"]), &[]);

    // A refused worker.
    let refused = wire::Hello { protocol: PROTOCOL + 1, version: forged("version"), ..hello() };
    let status = runtime.block_on(Forger::join(&access, refused)).err().expect("it is refused");
    check("what it is told", status.message(), &["version"]);
    served
        .running
        .until("that is told", |running| running.stderr().contains("speaks protocol").then_some(()));
    drop(forger);

    place.worker(&["--threads", "2"]).end().succeeded();
    let ended = served.running.end().succeeded();
    check("the log", &ended.stderr, &["host", "draining", "version"]);
    check("status --follow", &followed.end().stdout, &["host", "draining", "version"]);
    let followed = followed_in_json.end().stdout;
    check("status --follow --json", &followed, &[]);
    for line in followed.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    }

    let manifest = place.manifest("out");
    check("the manifest", manifest["run"]["workers_shut_out"][0].as_str().expect("a worker"), &["host"]);
    place.run(&["report", "out"]).succeeded();
    let page = fs::read_to_string(place.path("out/report.html")).expect("a page");
    let visible = page.split("<script").next().unwrap_or_default();
    check("the report", visible, &["host"]);
    check("status at rest", &place.run(&["status", "out"]).succeeded().stdout, &[]);
}

/// File names are text from outside, too.
#[test]
fn nothing_that_a_file_is_called_forges_a_line() {
    let place = Place::new();
    place.sweep("sweep.yaml", &Sweep::small());
    place.run(&["run", "sweep.yaml", "--out", "out"]).succeeded();
    let name = format!("{}.npy", forged("file"));
    place.write(&format!("out/seed-451/{name}"), "x");
    let verified = place.run(&["verify", "out"]);
    assert_eq!(verified.code, Some(3), "{verified:#?}");
    check("verify", &verified.stdout, &["file"]);
    check("verify", &verified.stderr, &[]);
    let json = place.run(&["verify", "out", "--json"]).stdout;
    check("verify --json", &json, &[]);
    let report: serde_json::Value = serde_json::from_str(&json).expect("one object");
    assert_eq!(report["problems"][0]["what"], format!("seed-451/{name}"), "a program gets the name as it is");
    // A sweep file, a directory, and a store of such a name.
    let nowhere = forged("nowhere");
    for arguments in [
        &["run", &nowhere][..],
        &["verify", &nowhere],
        &["status", &nowhere],
        &["explain", "sweep.yaml", "--out", "out", "--store", &nowhere],
        &["store", "verify", &nowhere],
        &["worker", "--access", &nowhere],
        &["figures", &nowhere],
        &["export", "out", "--to", &nowhere],
    ] {
        let ended = place.run(arguments);
        check(&format!("{arguments:?}"), &ended.stderr, &[]);
        check(&format!("{arguments:?}"), &ended.stdout, &[]);
    }
    let elsewhere = forged("elsewhere");
    let ended = place.run(&["run", "sweep.yaml", "--out", &elsewhere]).succeeded();
    check("run", &ended.stderr, &["elsewhere"]);
    check("run", &ended.stdout, &["elsewhere"]);
}
