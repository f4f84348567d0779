//! Coordinators and workers that do not match: mismatched versions, secrets, certificates. Both print the reason and
//! what to do.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::thread;
use std::time::Duration;

use granule_granular::ENGINES;
use granule_proto::convert::engine_to_wire;
use granule_proto::wire::coordinator_client::CoordinatorClient;
use granule_proto::{AUTHORIZATION, PROTOCOL, wire};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tonic::transport::Endpoint;
use tonic::{Code, Status};

use crate::support::{Ended, Place, Running, Sweep, happened};

/// A coordinator that waits for workers, and its access file.
struct Served {
    place: Place,
    serve: Running,
    access: Value,
}

impl Served {
    fn start(arguments: &[&str]) -> Served {
        Served::start_sweep(&Sweep::small(), arguments)
    }

    fn start_sweep(sweep: &Sweep, arguments: &[&str]) -> Served {
        let place = Place::new();
        place.sweep("sweep.yaml", sweep);
        let mut serve = place.serve(arguments);
        let access = serve.until("there is an access file", |_| fs::read(place.path("out/access.json")).ok());
        let access = serde_json::from_slice(&access).expect("JSON");
        // The coordinator listens before it writes the access file, and prints the line after that.
        serve.until("it is ready", |serve| serve.stderr().contains("to add workers: ").then_some(()));
        Served { place, serve, access }
    }

    /// Encrypted, although on loopback.
    fn with_tls() -> Served {
        Served::start(&["--advertise", "127.0.0.1"])
    }

    fn address(&self) -> &str {
        self.access["addresses"][0].as_str().expect("text")
    }

    fn secret(&self) -> &str {
        self.access["secret"].as_str().expect("text")
    }

    /// Runs a worker with this access file in its own directory.
    fn worker_with(&self, access: &Value) -> Ended {
        let place = Place::new();
        let path = place.write("copy.json", access.to_string());
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("it can be changed");
        let ended = place.start(&["worker", "--access", "copy.json", "--threads", "1"]).end();
        assert!(!ended.stderr.contains(self.secret()), "{}", ended.stderr);
        ended
    }

    /// Expects that the coordinator prints this reason, and then completes the sweep with a matching worker.
    #[track_caller]
    fn refused(mut self, reason: &str) {
        let line = format!(": {reason}");
        self.serve.until("the coordinator says why", |serve| {
            let stderr = serve.stderr();
            happened(&stderr)
                .any(|said| said.starts_with("refused 127.0.0.1:") && said.contains(&line))
                .then_some(())
        });
        self.goes_on();
    }

    #[track_caller]
    fn goes_on(self) {
        let worker = self.place.worker(&["--threads", "1"]);
        let ended = self.serve.end().succeeded();
        assert!(!ended.stderr.contains(self.access["secret"].as_str().expect("text")), "{}", ended.stderr);
        worker.end().succeeded();
        assert_eq!(self.place.trials("out").computed, 9);
        // A refused worker has no effect on trials or other workers.
        let harm =
            [" is set aside: ", " is quarantined: "].into_iter().find(|harm| ended.stderr.contains(harm));
        assert_eq!(harm, None, "{}", ended.stderr);
        self.place.is_left_alone();
    }
}

/// Returns a copy with another value.
fn with(access: &Value, key: &str, value: Value) -> Value {
    let mut access = access.clone();
    access[key] = value;
    access
}

/// A well-formed secret that belongs to no coordinator.
fn wrong_secret() -> Value {
    Value::from("0123456789abcdef".repeat(4))
}

fn hello(protocol: u32, engines: Vec<wire::Engine>) -> wire::Hello {
    wire::Hello {
        protocol,
        version: "9.8.7".into(),
        engines,
        threads: 1,
        host: "elsewhere".into(),
        process_id: 77,
        name: vec![7; 16],
        epoch: 0,
        held: Vec::new(),
        packages: Vec::new(),
    }
}

/// Sends a message to a coordinator in plain text. Returns the first answer, or the error.
fn say(address: &str, secret: &str, first: wire::from_worker::Message) -> Result<wire::ToWorker, Status> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        let unreachable = |error: tonic::transport::Error| Status::unavailable(error.to_string());
        let channel = endpoint.connect().await.map_err(unreachable)?;
        let (sender, outgoing) = tokio::sync::mpsc::channel(1);
        let message = wire::FromWorker { message: Some(first) };
        sender.send(message).await.expect("there is room");
        let mut request = tonic::Request::new(tokio_stream::wrappers::ReceiverStream::new(outgoing));
        let bearer = format!("Bearer {secret}").parse().expect("visible ASCII");
        request.metadata_mut().insert(AUTHORIZATION, bearer);
        let call = async {
            let mut answers = CoordinatorClient::new(channel).work(request).await?.into_inner();
            answers.message().await?.ok_or_else(|| Status::aborted("nothing"))
        };
        let answer = tokio::time::timeout(Duration::from_secs(60), call).await;
        answer.expect("it answers within a minute")
    })
}

#[test]
fn another_version_of_the_protocol_or_the_engine() {
    use wire::from_worker::Message;
    let served = Served::start(&[]);
    let answer = say(served.address(), served.secret(), Message::Hello(hello(PROTOCOL + 1, Vec::new())));
    let status = answer.expect_err("it is refused");
    assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
    let ours = env!("CARGO_PKG_VERSION");
    let reason = format!(
        "this coordinator (granule {ours}) speaks protocol {PROTOCOL}, the worker (granule 9.8.7) {}; \
         run the same version on both sides",
        PROTOCOL + 1
    );
    assert_eq!(status.message(), reason);
    served.refused(&reason);

    let served = Served::start(&[]);
    let engines = vec![wire::Engine { name: "another".into(), revision: 3, space: vec![7; 32] }];
    let answer = say(served.address(), served.secret(), Message::Hello(hello(PROTOCOL, engines)));
    let status = answer.expect_err("it is refused");
    assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
    assert!(status.message().starts_with("the worker (granule 9.8.7) does not have engine "), "{status}");
    assert!(status.message().ends_with("; run the same version on both sides"), "{status}");
    served.refused("the worker (granule 9.8.7) does not have engine ");

    // A worker that does not send hello.
    let served = Served::start(&[]);
    let beat = Message::Heartbeat(wire::Heartbeat { held: Vec::new(), last: 0 });
    let status = say(served.address(), served.secret(), beat).expect_err("it is refused");
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "the first message must be Hello"));
    served.goes_on();
}

/// If it were accepted, it would fail every lease, and each trial would become a suspect.
#[test]
fn a_worker_whose_engine_has_other_parameters() {
    use wire::from_worker::Message;
    let served = Served::start(&[]);
    let with_another_space = |mut engine: wire::Engine| {
        engine.space[0] ^= 1;
        engine
    };
    let engines: Vec<wire::Engine> =
        ENGINES.iter().copied().map(engine_to_wire).map(with_another_space).collect();
    let ours = env!("CARGO_PKG_VERSION");
    let reason = format!(
        "engine brian2-2.2.1 has different parameters in the worker (granule 9.8.7) and in this coordinator \
            (granule \
         {ours}); run the same version on both sides"
    );
    // More workers than the failures that set a trial aside.
    for name in 0..6 {
        let hello = wire::Hello { name: vec![name; 16], ..hello(PROTOCOL, engines.clone()) };
        let answer = say(served.address(), served.secret(), Message::Hello(hello));
        let status = answer.expect_err("it is refused");
        assert_eq!((status.code(), status.message()), (Code::FailedPrecondition, &*reason));
    }
    let status = served.place.run(&["status", "out", "--json"]).succeeded().stdout;
    let status: Value = serde_json::from_str(&status).expect("JSON");
    assert_eq!((&status["workers"], &status["counts"]["leases"]), (&json!([]), &json!(0)), "{status}");
    served.refused(&reason);
}

#[test]
fn a_worker_of_a_coordinator_of_another_version() {
    // A coordinator with a later protocol that lacks this call would answer so.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let place = Place::new();
    let access = json!({
        "granule_access": 1, "addresses": [address], "secret": wrong_secret(),
    });
    let path = place.write("access.json", access.to_string());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it can be changed");
    let arguments = ["worker", "--access", "access.json", "--threads", "1", "--give-up-after", "1s"];
    let ended = place.start(&arguments).end();
    let said = "the server there is not a coordinator";
    ended.failed_with(
        1,
        &[said, "error: could not reach the coordinator for 1 s\n  help: start the coordinator again"],
    );

    // For an access file of another version, the message states which program to change.
    let newer = with(&access, "granule_access", 2.into());
    fs::write(&path, newer.to_string()).expect("it can be written");
    let parts =
        ["access.json cannot be used", "version 2, but this granule reads version 1", "run the same granule"];
    place.run(&arguments).failed_with(2, &parts);
}

#[test]
fn a_wrong_secret() {
    for tls in [false, true] {
        let served = if tls { Served::with_tls() } else { Served::start(&[]) };
        let ended = served.worker_with(&with(&served.access, "secret", wrong_secret()));
        let reason = "wrong secret: use the access file of this coordinator";
        ended.failed_with(1, &[&format!("error: the coordinator at {} refused: {reason}", served.address())]);

        // `granule status` needs the secret, too.
        let path =
            served.place.write("copy.json", with(&served.access, "secret", wrong_secret()).to_string());
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("it can be changed");
        served.place.run(&["status", "--access", "copy.json"]).failed_with(1, &["refused: ", reason]);
        served.refused(reason);
    }
}

#[test]
fn access_files_that_are_not_there_or_open_to_others() {
    let place = Place::new();
    let parts = ["error: cannot read nowhere.json", "No such file or directory"];
    place.run(&["worker", "--access", "nowhere.json"]).failed_with(2, &parts);
    place
        .run(&["status", "--access", "nowhere.json"])
        .failed_with(1, &["nowhere.json does not exist", "help: "]);
    place.run(&["worker"]).failed_with(2, &["error: missing --access FILE\n  help: pass the access file"]);

    let served = Served::start(&[]);
    let path = served.place.path("out/access.json");
    let mode = || fs::metadata(&path).expect("a file").permissions().mode() & 0o777;
    assert_eq!(mode(), 0o600);
    for open in [0o640, 0o604, 0o660] {
        fs::set_permissions(&path, fs::Permissions::from_mode(open)).expect("it can be changed");
        let parts = ["out/access.json is readable by other users", "chmod 600 out/access.json"];
        served.place.worker(&[]).end().failed_with(2, &parts);
        served.place.run(&["status", "out"]).failed_with(1, &parts);
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it can be changed");
    served.goes_on();
}

#[test]
fn the_certificate_of_another_coordinator() {
    let served = Served::with_tls();
    let other = Served::with_tls();
    let access = with(&other.access, "addresses", served.access["addresses"].clone());
    let ended = served.worker_with(&access);
    let parts = [
        &*format!("error: the coordinator at {} is not the one of this access file", served.address()),
        "its certificate differs",
        "get a new copy of the access file",
    ];
    let ended = ended.failed_with(1, &parts);
    assert!(!ended.stderr.contains(other.secret()), "{}", ended.stderr);
    served.refused("did not accept the certificate: its access file is outdated or of another coordinator");
    other.goes_on();
}

#[test]
fn plain_text_where_tls_is_spoken_and_the_other_way_round() {
    let tls = Served::with_tls();
    let plain = Served::start(&[]);
    // A worker with an access file without a certificate, for a port with TLS. The port answers HTTP in plain text with
    // the reason, and the worker prints it.
    let access = with(&plain.access, "addresses", tls.access["addresses"].clone());
    let ended = tls.worker_with(&access);
    let reason =
        "this coordinator accepts TLS only: connect with its access file, `granule worker --access FILE`";
    ended.failed_with(1, &[&format!("error: the coordinator at {} refused: {reason}", tls.address())]);

    // A client with the right secret in plain text, which the coordinator must not accept.
    let first = wire::from_worker::Message::Hello(hello(PROTOCOL, Vec::new()));
    let status = say(tls.address(), tls.secret(), first).expect_err("it is refused");
    assert_eq!((status.code(), status.message()), (Code::Unauthenticated, reason));

    // A browser.
    let mut stream = TcpStream::connect(tls.address()).expect("it listens");
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").expect("it listens");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("text");
    assert!(answer.starts_with("HTTP/1.1 401 ") && answer.contains(reason), "{answer}");
    tls.refused(reason);

    // A worker with TLS, for a port in plain text.
    let tls = Served::with_tls();
    let access = with(&tls.access, "addresses", plain.access["addresses"].clone());
    let parts = [
        &*format!("error: the server at {} does not speak TLS", plain.address()),
        "get a new copy of the access file",
    ];
    plain.worker_with(&access).failed_with(1, &parts);
    plain.goes_on();
    tls.goes_on();
}

#[test]
fn a_renewed_identity_is_not_the_old_one() {
    // Long enough that the worker is stopped before the end.
    let Served { place, mut serve, access } =
        Served::start_sweep(&Sweep::slow(), &["--advertise", "127.0.0.1"]);
    let mut worker = place.worker(&["--threads", "1"]);
    worker.until("it is connected", |worker| worker.stderr().contains("connected to").then_some(()));
    worker.signal(Signal::SIGSTOP);
    serve.signal(Signal::SIGKILL);
    assert_eq!(serve.end().code, None);
    // Without its key, the coordinator makes a new key and a new access file. Copies of the old access file are
    // outdated.
    fs::remove_file(place.path("out/coordinator.pem")).expect("there is a key");
    serve = place.serve(&["--advertise", "127.0.0.1"]);
    serve.until("it is ready", |serve| serve.stderr().contains("to add workers: ").then_some(()));
    let renewed: Value =
        serde_json::from_slice(&fs::read(place.path("out/access.json")).expect("a file")).expect("JSON");
    assert!(renewed["certificate"] != access["certificate"] && renewed["secret"] != access["secret"]);
    assert_eq!(renewed["addresses"], access["addresses"], "the port is the same");
    assert!(serve.stderr().contains("coordinator.pem is missing"), "{}", serve.stderr());
    let served = Served { place, serve, access: renewed };
    let parts = ["is not the one of this access file", "get a new copy of the access file"];
    served.worker_with(&access).failed_with(1, &parts);
    // A worker that reads the original file gets the new one.
    worker.signal(Signal::SIGCONT);
    served.serve.end().succeeded();
    let ended = worker.end().succeeded();
    assert!(ended.stderr.matches("connected to 127.0.0.1:").count() >= 2, "{}", ended.stderr);
    served.place.is_left_alone();
}
