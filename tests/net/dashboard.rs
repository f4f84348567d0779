//! The dashboard of a coordinator and the events that its pages receive: permitted requests, content, and correctness.
#![allow(clippy::print_stdout, reason = "what a test has to say")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Instant;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::{self, PATIENCE, Place, Running, Sweep, peak_kib};

/// A coordinator with a dashboard.
struct Shown {
    running: Running,
    /// The URL as granule prints it.
    url: String,
}

impl Shown {
    fn run(place: &Place, dashboard: &str, arguments: &[&str]) -> Shown {
        let always = ["run", "sweep.yaml", "--out", "out", "--dashboard", dashboard];
        let mut running = place.start(&[&always, arguments].concat());
        let url = running.until("it says where the dashboard is", |running| {
            let said = running.stderr();
            let line = said.lines().find_map(|line| line.strip_prefix("dashboard: "))?;
            // A machine may have several addresses.
            said.contains(" stored; ").then(|| line.split(" or ").next().unwrap_or(line).to_owned())
        });
        Shown { running, url }
    }

    /// `HOST:PORT` of the URL.
    fn host(&self) -> &str {
        let rest = self.url.strip_prefix("http://").expect("a URL");
        rest.split('/').next().expect("a host")
    }

    /// The address to connect to from this machine.
    fn address(&self) -> SocketAddr {
        let (_, port) = self.host().rsplit_once(':').expect("a port");
        SocketAddr::from(([127, 0, 0, 1], port.parse().expect("a port")))
    }

    fn get(&self, path: &str) -> Answer {
        request(self.address(), "GET", path, &[("Host", self.host())])
    }

    fn events(&self, watch: &[usize]) -> Events {
        Events::of(self.address(), self.host(), watch)
    }
}

struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

/// Sends a request, and reads until the server closes the connection.
fn request(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    write!(stream, "{method} {path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer}"));
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).expect("a status");
    let header =
        |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
    Answer { status, headers: lines.filter_map(header).collect(), body: body.to_owned() }
}

/// The events that a page receives, and the state that it derives from them.
struct Events {
    lines: BufReader<TcpStream>,
    ids: Vec<String>,
    snapshots: usize,
    changes: usize,
    epoch: String,
    subject: Value,
    head: Value,
    pairs: Vec<u64>,
    workers: BTreeMap<String, Value>,
    notices: Vec<Value>,
    spikes: BTreeMap<usize, Value>,
}

impl Events {
    fn of(address: SocketAddr, host: &str, watch: &[usize]) -> Events {
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        let watch: Vec<String> = watch.iter().map(usize::to_string).collect();
        // HTTP 1.0, so that the answer has no chunks.
        write!(stream, "GET /events?watch={} HTTP/1.0\r\nHost: {host}\r\n\r\n", watch.join("%2C"))
            .expect("it reads");
        let mut lines = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(lines.read_line(&mut head).expect("text"), 0, "{head}");
        }
        assert!(head.contains(" 200 ") && head.contains("content-type: text/event-stream"), "{head}");
        Events {
            lines,
            ids: Vec::new(),
            snapshots: 0,
            changes: 0,
            epoch: String::new(),
            subject: Value::Null,
            head: Value::Null,
            pairs: Vec::new(),
            workers: BTreeMap::new(),
            notices: Vec::new(),
            spikes: BTreeMap::new(),
        }
    }

    /// Reads the next event and updates the state; false at the end.
    fn next(&mut self) -> bool {
        let (mut name, mut data) = (String::new(), String::new());
        loop {
            let mut line = String::new();
            // If a coordinator is killed, its connections are reset.
            if self.lines.read_line(&mut line).unwrap_or(0) == 0 {
                return false;
            }
            match line.trim_end_matches('\n').split_once(": ") {
                Some(("event", value)) => name = value.to_owned(),
                Some(("data", value)) => data = value.to_owned(),
                Some(("id", value)) => self.ids.push(value.to_owned()),
                None if line == "\n" => break,
                _ => panic!("no line of an event: {line}"),
            }
        }
        let data: Value = serde_json::from_str(&data).unwrap_or_else(|error| panic!("{error}: {data}"));
        let worker = |worker: &Value| (worker["id"].as_str().expect("a name").to_owned(), worker.clone());
        let list = |value: &Value| value.as_array().expect("a list").clone();
        match name.as_str() {
            "snapshot" => {
                self.snapshots += 1;
                self.epoch = data["epoch"].as_str().expect("an epoch").to_owned();
                self.subject = data["subject"].clone();
                let run = &data["run"];
                self.head = run["head"].clone();
                self.pairs =
                    list(&run["pairs"]).iter().map(|count| count.as_u64().expect("a count")).collect();
                self.workers = list(&run["workers"]).iter().map(worker).collect();
                self.notices = list(&run["notices"]);
            }
            "changes" => {
                self.changes += 1;
                self.head = data["head"].clone();
                for change in list(&data["pairs"]) {
                    self.pairs[change[0].as_u64().expect("a place") as usize] =
                        change[1].as_u64().expect("a count");
                }
                self.workers.extend(list(&data["workers"]).iter().map(worker));
                self.notices.extend(list(&data["notices"]));
            }
            "spikes" => {
                self.spikes.insert(data["condition"].as_u64().expect("a condition") as usize, data);
                return true;
            }
            _ => panic!("who knows of {name}?"),
        }
        let stored = self.head["trials"]["stored"].as_u64().expect("a count");
        // The trials of `same` are those of Control, and count once.
        let conditions = self.subject["conditions"].as_array().map_or(1, Vec::len).max(1);
        let pairs = self.pairs.chunks((self.pairs.len() / conditions).max(1));
        let names = self.subject["conditions"].as_array().into_iter().flatten();
        let different: u64 = (names.zip(pairs))
            .filter(|(name, _)| **name != "same" && name["name"] != "same")
            .map(|(_, pairs)| pairs.iter().sum::<u64>())
            .sum();
        assert!(self.pairs.is_empty() || different == stored, "{:?} of {}", self.pairs, self.head);
        true
    }

    /// Reads events until this holds.
    #[track_caller]
    fn until(&mut self, what: &str, holds: impl Fn(&Events) -> bool) {
        while !holds(self) {
            assert!(self.next(), "it ended before {what}: {}", self.head);
        }
    }

    fn stored(&self) -> u64 {
        self.head["trials"]["stored"].as_u64().unwrap_or(0)
    }

    /// Numbers of the received frames.
    fn versions(&self) -> Vec<u64> {
        let number = |id: &String| id.rsplit_once('-').and_then(|(_, number)| number.parse().ok());
        self.ids.iter().map(|id| number(id).unwrap_or_else(|| panic!("{id}"))).collect()
    }
}

/// Spikes by condition, population and bin of 5 ms, from `granule export`.
fn exported(place: &Place) -> BTreeMap<(String, String), Vec<u64>> {
    place.run(&["export", "out", "--psth", "psth.csv", "--bin", "5"]).succeeded();
    let table = fs::read_to_string(place.path("psth.csv")).expect("a table");
    let mut counts: BTreeMap<(String, String), Vec<u64>> = BTreeMap::new();
    for line in table.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let [condition, _, population, time_ms, bin_ms, spikes, _] = fields[..] else { panic!("{line}") };
        assert_eq!(bin_ms.parse::<f64>().ok(), Some(5.0), "{line}");
        let bin = (time_ms.parse::<f64>().expect("a time") / 5.0).round() as usize;
        let of = counts.entry((condition.to_owned(), population.to_owned())).or_default();
        of.resize(of.len().max(bin + 1), 0);
        of[bin] += spikes.parse::<u64>().expect("a count");
    }
    counts
}

/// Expects that a page has received all spikes of all conditions.
#[track_caller]
fn expect_all_spikes(place: &Place, events: &Events) {
    let exported = exported(place);
    let conditions = events.subject["conditions"].as_array().expect("conditions");
    assert_eq!(exported.len(), 2 * conditions.len());
    let mut spikes = 0;
    for (at, condition) in conditions.iter().enumerate() {
        let name = condition["name"].as_str().expect("a name");
        assert_eq!(condition["bin_ms"], 5, "{name}");
        for (place, population) in ["granule", "golgi"].into_iter().enumerate() {
            let told: Vec<u64> =
                serde_json::from_value(events.spikes[&at]["counts"][place].clone()).expect("counts");
            assert_eq!(told, exported[&(name.to_owned(), population.to_owned())], "{name}, {population}");
            spikes += told.iter().sum::<u64>();
        }
    }
    assert!(spikes > 100, "{spikes}");
}

/// A sweep that takes seconds, with two seeds and two names for the same parameters.
fn slow() -> String {
    let sweep = Sweep { seeds: vec![451, 452], trials: 40, ..Sweep::slow() };
    sweep.to_yaml().replace("ACh]", "ACh, { name: same, base: Control }]")
}

#[test]
fn the_page_trusts_nobody_but_itself() {
    let place = Place::new();
    place.write("sweep.yaml", slow());
    let shown = Shown::run(&place, "127.0.0.1:0", &[]);
    assert_eq!(shown.url, format!("http://{}/", shown.address()));
    let page = shown.get("/");
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/dashboard.js", "text/javascript; charset=utf-8"),
        ("/dashboard.css", "text/css; charset=utf-8"),
        ("/icon.svg", "image/svg+xml"),
    ] {
        let answer = shown.get(path);
        assert_eq!((answer.status, answer.headers["content-type"].as_str()), (200, kind), "{path}");
        assert!(!answer.body.is_empty(), "{path}");
        assert!(path == "/" || page.body.contains(&format!("\"{path}\"")), "nothing leads to {path}");
    }
    for answer in
        [page, shown.get("/nowhere"), request(shown.address(), "GET", "/", &[("Host", "evil.example")])]
    {
        let policy: Vec<&str> = answer.headers["content-security-policy"].split("; ").collect();
        let own = ["script-src 'self'", "style-src 'self'", "img-src 'self'", "connect-src 'self'"];
        let none = ["default-src 'none'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"];
        assert_eq!(policy, [&none[..1], &own, &none[1..]].concat());
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
        assert_eq!(answer.headers["referrer-policy"], "no-referrer");
        assert_eq!(answer.headers["cache-control"], "no-store");
    }
    for (host, status) in [
        (shown.host().to_owned(), 200),
        (format!("localhost:{}", shown.address().port()), 200),
        ("evil.example".to_owned(), 403),
        (format!("evil.example:{}", shown.address().port()), 403),
        // A tunnel from another port.
        (format!("127.0.0.1:{}", shown.address().port() ^ 1), 200),
    ] {
        for path in ["/", "/events", "/dashboard.js", "/nowhere"] {
            if (path, status) != ("/events", 200) && (path, status) != ("/nowhere", 200) {
                assert_eq!(
                    request(shown.address(), "GET", path, &[("Host", &host)]).status,
                    status,
                    "{host} {path}"
                );
            }
        }
    }
    assert_eq!(request(shown.address(), "GET", "/", &[]).status, 403, "without a host");
    let of_others = [("Host", shown.host()), ("Sec-Fetch-Site", "cross-site")];
    assert_eq!(request(shown.address(), "GET", "/events", &of_others).status, 403);
    assert_eq!(shown.get("/nowhere").status, 404);
    for method in ["POST", "PUT", "DELETE", "HEAD", "OPTIONS"] {
        let answer =
            request(shown.address(), method, "/", &[("Host", shown.host()), ("Content-Length", "0")]);
        assert_eq!((answer.status, answer.headers["allow"].as_str()), (405, "GET"), "{method}");
    }
}

#[test]
fn off_loopback_a_token_is_needed() {
    let place = Place::new();
    place.write("sweep.yaml", slow());
    let shown = Shown::run(&place, "0.0.0.0:0", &["--log-format", "text"]);
    let (_, token) = shown.url.split_once("/?token=").expect("a token");
    assert!(token.len() == 32 && token.bytes().all(|byte| byte.is_ascii_hexdigit()), "{token}");
    let host = ("Host", shown.host());
    let get = |path: &str, cookie: &str| request(shown.address(), "GET", path, &[host, ("Cookie", cookie)]);
    for path in [
        "/",
        "/events",
        "/dashboard.js",
        "/nowhere",
        "/?token=",
        "/?token=0",
        &format!("/events?token={token}"),
    ] {
        let answer = request(shown.address(), "GET", path, &[host]);
        assert_eq!(answer.status, 401, "{path}");
        assert!(answer.body.starts_with("This page needs its token: "), "{}", answer.body);
    }
    let answer = request(shown.address(), "GET", &format!("/?token={token}"), &[host]);
    assert_eq!((answer.status, answer.headers["location"].as_str()), (303, "/"));
    let cookie = answer.headers["set-cookie"].as_str();
    let name = format!("granule-{}", shown.address().port());
    assert_eq!(cookie, format!("{name}={token}; HttpOnly; SameSite=Strict; Path=/"));
    let shown_cookie = cookie.split(';').next().expect("a cookie");
    assert_eq!(get("/", shown_cookie).status, 200);
    assert_eq!(get("/", &format!("a=b; {shown_cookie}; c=d")).status, 200);
    assert_eq!(get("/", &format!("{name}={}", token.replace(|_: char| true, "0"))).status, 401);
    assert_eq!(get("/nowhere", shown_cookie).status, 404);
    assert_eq!(
        shown.running.stderr().matches(token).count(),
        shown.running.stderr().matches("?token=").count()
    );
    assert!(!shown.running.stdout().contains(token));
}

#[test]
fn connections_that_say_nothing_are_closed() {
    let place = Place::new();
    place.write("sweep.yaml", slow().replace("trials: 40", "trials: 4000"));
    let shown = Shown::run(&place, "127.0.0.1:0", &["--workers", "1"]);
    let mut silent = TcpStream::connect(shown.address()).expect("it listens");
    silent.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    let mut slow = TcpStream::connect(shown.address()).expect("it listens");
    slow.write_all(b"GET / HTTP/1.1\r\nHost: ").expect("it reads");
    let begun = Instant::now();
    assert!(!matches!(silent.read(&mut [0]), Ok(1..)));
    assert!(!matches!(slow.read(&mut [0]), Ok(1..)));
    let patience = begun.elapsed();
    assert!((5..60).contains(&patience.as_secs()), "{patience:?}");
}

#[test]
fn a_page_is_told_all_and_then_what_changes_and_all_of_it_is_true() {
    let place = Place::new();
    place.write("sweep.yaml", slow());
    let shown = Shown::run(&place, "127.0.0.1:0", &["--workers", "2"]);
    let mut events = shown.events(&[0, 1, 2, 3, 4, 400]);
    events.until("trials are stored", |events| events.stored() > 0);
    assert_eq!(events.subject["sweep"], "test");
    assert_eq!(events.subject["seeds"], serde_json::json!([451, 452]));
    assert_eq!(events.pairs.len(), 8);
    assert_eq!(events.head["trials"]["total"], 240, "what conditions share counts once");
    assert_eq!(events.head["state"], "computing");
    events.until("both workers are there", |events| events.workers.len() == 2);
    let victim = shown.running.workers()[0];
    support::send(victim, Signal::SIGKILL);
    let died = format!("worker process {victim} was killed by signal 9");
    events.until("the death is told", |events| {
        events.notices.iter().any(|notice| notice["event"] == "worker_died" && notice["text"] == *died)
    });
    events.until("it is replaced", |events| events.workers.len() == 3);

    // A page that connects later, or again, receives the same state.
    let mut late = shown.events(&[]);
    assert!(late.next());
    assert_eq!((&late.epoch, &late.subject), (&events.epoch, &events.subject));
    assert_eq!(late.workers.len(), 3);
    assert!(late.notices.iter().any(|notice| notice["text"] == *died));
    late.until("the end", |late| !late.head["end"].is_null());
    assert!(!late.next(), "nothing follows the end");
    assert!(late.spikes.is_empty(), "nobody asked for them");

    events.until("the end", |events| !events.head["end"].is_null());
    while events.next() {}
    assert_eq!(events.head["end"]["is_complete"], true);
    assert_eq!(events.pairs, [40; 8]);
    assert_eq!(events.head["files"]["done"], events.head["files"]["total"]);
    assert!(events.head["files"]["done"].as_u64() > Some(0));
    assert_eq!(events.pairs, late.pairs);
    let versions = events.versions();
    assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
    assert!(events.snapshots <= 3 && events.changes > 3, "{} {}", events.snapshots, events.changes);
    shown.running.end().succeeded();
    expect_all_spikes(&place, &events);
}

#[test]
fn a_coordinator_that_is_started_again_is_another_and_counts_what_was_stored() {
    let place = Place::new();
    place.write("sweep.yaml", slow());
    let shown = Shown::run(&place, "127.0.0.1:0", &["--workers", "1"]);
    let address = shown.address().to_string();
    let mut before = shown.events(&[1]);
    before.until("some are stored", |events| events.stored() > 30);
    shown.running.signal(Signal::SIGKILL);
    while before.next() {}
    assert!(before.head["end"].is_null());
    shown.running.end();
    place.is_left_alone();

    let again = Shown::run(&place, &address, &["--workers", "2"]);
    assert_eq!(again.url, format!("http://{address}/"), "the same port");
    let mut events = again.events(&[0, 1, 2, 3]);
    events.until("the end", |events| !events.head["end"].is_null());
    while events.next() {}
    assert_ne!(events.epoch, before.epoch);
    assert!(events.head["trials"]["reused"].as_u64().expect("a count") >= before.stored());
    again.running.end().succeeded();
    expect_all_spikes(&place, &events);

    // A complete sweep has no dashboard.
    let ended = place.run(&["run", "sweep.yaml", "--out", "out", "--dashboard", &address]).succeeded();
    assert!(
        ended.stdout.contains("is already complete") && !ended.stderr.contains("dashboard: "),
        "{ended:?}"
    );
}

#[test]
fn a_run_that_is_interrupted_says_so_and_how_to_go_on() {
    let place = Place::new();
    place.write("sweep.yaml", slow());
    let shown = Shown::run(&place, "127.0.0.1:0", &["--workers", "1"]);
    let mut events = shown.events(&[]);
    events.until("some are stored", |events| events.stored() > 0);
    shown.running.signal(Signal::SIGTERM);
    events.until("the end", |events| !events.head["end"].is_null());
    assert_eq!(events.head["end"]["is_complete"], false);
    let text = events.head["end"]["text"].as_str().expect("text");
    assert!(text.starts_with("terminated: ") && text.contains("to resume: "), "{text}");
    shown.running.end().failed_with(143, &["terminated: "]);
}

#[test]
fn an_address_that_is_not_to_be_had_is_an_error() {
    let place = Place::new();
    place.sweep("sweep.yaml", &Sweep::small());
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let run = |address: &str| place.run(&["run", "sweep.yaml", "--out", "out", "--dashboard", address]);
    let parts = [
        format!("error: cannot serve the dashboard at {address}"),
        "in use".into(),
        "use port 0 for a free one".into(),
    ];
    run(&address).failed_with(1, &parts.each_ref().map(String::as_str));
    run("somewhere").failed_with(2, &["--dashboard <ADDR>"]);
}

/// Together, the pages watch each of a thousand conditions. They do not read the events that they receive.
#[test]
fn memory_does_not_grow_with_pages_that_do_not_follow() {
    let place = Place::new();
    let yaml = "name: many\nnetwork: { mossy_fibers: 40, granule_cells: 32, golgi_cells: 5 }\ntrials: 6\n\
                record: { probabilities: false, connections: false, weights: false, conductances: false }\n\
                conditions:\n  - name: tonic-{granule.tonic_factor}\n    \
                grid: { granule.tonic_factor: { linspace: [0, 2, 1000] } }\n";
    place.write("sweep.yaml", yaml);
    let peak = |pages: usize| {
        let _ = fs::remove_dir_all(place.path("out"));
        let mut shown = Shown::run(&place, "127.0.0.1:0", &["--workers", "2"]);
        let page = |at: usize| shown.events(&(at * 12..(at + 1) * 12).collect::<Vec<usize>>());
        let silent: Vec<Events> = (0..pages).map(page).collect();
        let mut events = shown.events(&[999]);
        let mut most = 0;
        while events.next() {
            most = most.max(peak_kib(shown.running.id()).unwrap_or(0));
        }
        assert_eq!(events.head["end"]["is_complete"], true, "pages that do not read hold up nobody");
        assert_eq!(events.stored(), 6000);
        assert_eq!(events.spikes[&999]["trials"], 6);
        drop(silent);
        shown.running.until("it ends", |_| Some(()));
        shown.running.end().succeeded();
        most
    };
    let (few, many) = (peak(0), peak(84));
    // The counts of a condition take 6 kB, and a little more as text. Each connection has buffers.
    assert!(many < few + (32 << 10), "{few} KiB, {many} KiB");
}
