//! Identities that are made before their coordinators run, and workers that report an early exit by their exit code.

use std::fs;
use std::net::TcpListener;

use nix::sys::signal::Signal;

use crate::support::{Place, Running, Sweep};

const FILES: [&str; 2] = ["identity/coordinator.pem", "identity/access.json"];

/// A directory with an identity for a free local address.
fn prepared() -> (Place, String) {
    let place = Place::new();
    place.sweep("sweep.yaml", &Sweep::small());
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    let address = free.to_string();
    let made = place.run(&["identity", "identity", "--advertise", &address]).succeeded();
    assert!(FILES.iter().all(|file| made.stdout.contains(file)), "{}", made.stdout);
    (place, address)
}

fn worker(place: &Place, arguments: &[&str]) -> Running {
    place.start(&[&["worker", "--access", FILES[1], "--threads", "1"], arguments].concat())
}

#[test]
fn a_sweep_leaves_its_identity_for_the_next() {
    let (place, address) = prepared();
    let read = || FILES.map(|file| fs::read(place.path(file)).expect("a file"));
    let before = read();
    for out in ["one", "two"] {
        let serve = place.start(&[
            "serve",
            "sweep.yaml",
            "--out",
            out,
            "--listen",
            &address,
            "--identity",
            "identity",
        ]);
        worker(&place, &[]).end().succeeded();
        let ended = serve.end().succeeded();
        assert!(ended.stderr.contains("(made by `granule identity`)"), "{}", ended.stderr);
        assert_eq!(read(), before);
        for file in ["coordinator.pem", "access.json"] {
            assert!(!place.path(out).join(file).exists(), "{file}");
        }
    }
}

#[test]
fn what_is_there_is_never_written_over() {
    let (place, address) = prepared();
    let again = ["identity", "identity", "--advertise", &address];
    place.run(&again).failed_with(1, &["identity/coordinator.pem already exists", "name another directory"]);
    fs::remove_file(place.path(FILES[0])).expect("removed");
    place.run(&again).failed_with(1, &["identity/access.json already exists"]);
    assert!(!place.path(FILES[0]).exists());
}

#[test]
fn what_makes_no_sense_is_said() {
    let (place, address) = prepared();
    let other = ["identity", "other", "--advertise"];
    for wrong in ["granule", "0.0.0.0:7000", "fd00::1"] {
        place.run(&[&other[..], &[wrong]].concat()).failed_with(2, &[wrong, "host:port"]);
    }
    place.run(&[&other[..], &[&address]].concat()).succeeded();
    fs::copy(place.path(FILES[1]), place.path("other/access.json")).expect("copied");
    let serve = |arguments: &[&str]| place.serve(arguments).end();
    serve(&["--identity", "other"]).failed_with(1, &["other/access.json is not for", "`granule identity`"]);
    serve(&["--identity", "none"]).failed_with(1, &["none/coordinator.pem"]);
    serve(&["--identity", "other", "--advertise", "x"]).failed_with(2, &["cannot be used with"]);
}

#[test]
fn a_worker_that_leaves_early_says_so_if_it_is_to() {
    let (place, _) = prepared();
    for (arguments, code) in [(&[][..], 0), (&["--leave-with", "143"][..], 143)] {
        let mut worker = worker(&place, arguments);
        worker.until("it looks for its coordinator", |worker| {
            worker.stderr().contains("not connected").then_some(())
        });
        worker.signal(Signal::SIGTERM);
        let ended = worker.end();
        assert_eq!(ended.code, Some(code), "{}", ended.stderr);
    }
}
