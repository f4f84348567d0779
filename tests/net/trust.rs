//! A worker that computes wrongly, and a trial that kills its workers, with real processes. A proxy between them and
//! the coordinator changes their messages, or kills them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread;

use granule_engine::{Digest, TrialSpikes};
use granule_proto::wire::coordinator_client::CoordinatorClient;
use granule_proto::wire::coordinator_server::{Coordinator, CoordinatorServer};
use granule_proto::wire::{self, FromWorker, ToWorker, from_worker, lease, to_worker};
use granule_proto::{AUTHORIZATION, LARGEST_MESSAGE};
use nix::sys::signal::Signal;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

use crate::support::{Place, Running, Sweep, send, wait_for};

/// How the proxy interferes.
#[derive(Clone, Copy)]
enum Meddling {
    /// Removes the spikes of every result.
    Lies,
    /// Makes the digest of every result wrong.
    Damages,
    /// Kills each worker that gets this trial of this seed.
    Kills { seed: u32, trial: u32 },
}

impl Meddling {
    fn change(self, message: &mut FromWorker) {
        let Some(from_worker::Message::Trial(result)) = &mut message.message else { return };
        match self {
            Meddling::Lies => {
                result.spikes = TrialSpikes::of(vec![Vec::new(); 2]).encode();
                result.digest = Digest::of(&result.spikes).0.to_vec();
            }
            Meddling::Damages => result.digest[0] ^= 1,
            Meddling::Kills { .. } => {}
        }
    }

    fn strike(self, message: &ToWorker, process_id: u32) {
        let Meddling::Kills { seed, trial } = self else { return };
        if let Some(to_worker::Message::Lease(wire::Lease { work: Some(lease::Work::Trials(work)), .. })) =
            &message.message
            && work.seed == seed
            && (work.first..work.first + work.count).contains(&trial)
        {
            send(process_id, Signal::SIGKILL);
        }
    }
}

/// A proxy that passes all messages to a coordinator, except for its interference.
struct Meddler {
    coordinator: String,
    meddling: Meddling,
}

#[tonic::async_trait]
impl Coordinator for Meddler {
    type WorkStream = ReceiverStream<Result<ToWorker, Status>>;
    type WatchStream = ReceiverStream<Result<wire::Report, Status>>;

    async fn work(
        &self,
        request: Request<Streaming<FromWorker>>,
    ) -> Result<Response<Self::WorkStream>, Status> {
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", self.coordinator));
        let channel = endpoint.expect("an address").connect().await;
        let channel = channel.map_err(|_| Status::unavailable("no coordinator"))?;
        let mut client = CoordinatorClient::new(channel).max_decoding_message_size(LARGEST_MESSAGE);
        let secret = request.metadata().get(AUTHORIZATION).cloned();
        let mut from_worker = request.into_inner();
        let meddling = self.meddling;
        let process_id = Arc::new(Mutex::new(0));
        let (up, outgoing) = mpsc::channel(16);
        let known = Arc::clone(&process_id);
        tokio::spawn(async move {
            while let Ok(Some(mut message)) = from_worker.message().await {
                if let Some(from_worker::Message::Hello(hello)) = &message.message {
                    *known.lock().expect("a number") = hello.process_id;
                }
                meddling.change(&mut message);
                if up.send(message).await.is_err() {
                    return;
                }
            }
        });
        let mut request = Request::new(ReceiverStream::new(outgoing));
        request.metadata_mut().insert(AUTHORIZATION, secret.expect("a secret"));
        let mut to_worker = client.work(request).await?.into_inner();
        let (down, incoming) = mpsc::channel(16);
        tokio::spawn(async move {
            while let Ok(Some(message)) = to_worker.message().await {
                meddling.strike(&message, *process_id.lock().expect("a number"));
                if down.send(Ok(message)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(incoming)))
    }

    async fn watch(&self, _: Request<wire::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("nobody watches"))
    }
}

/// Starts a proxy for workers, and writes their access file.
fn meddle(place: &Place, access: &str, meddling: Meddling) {
    let mut content: Value = serde_json::from_slice(
        &std::fs::read(place.path("out/access.json")).expect("the coordinator's access file"),
    )
    .expect("JSON");
    let coordinator = content["addresses"][0].as_str().expect("an address").to_owned();
    let (tell, told) = std::sync::mpsc::channel::<SocketAddr>();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            tell.send(listener.local_addr().expect("an address")).expect("somebody waits");
            let service = CoordinatorServer::new(Meddler { coordinator, meddling })
                .max_decoding_message_size(LARGEST_MESSAGE);
            let server = tonic::transport::Server::builder().add_service(service);
            let _ = server.serve_with_incoming(TcpListenerStream::new(listener)).await;
        });
    });
    content["addresses"] = serde_json::json!([told.recv().expect("an address").to_string()]);
    let path = place.write(access, content.to_string());
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(path, private).expect("it is ours");
}

/// Starts `granule serve` and waits until workers can connect.
fn serve(place: &Place, arguments: &[&str]) -> Running {
    let always = ["serve", "sweep.yaml", "--out", "out", "--listen", "127.0.0.1:0"];
    let mut running = place.start(&[&always, arguments].concat());
    running.until("workers can come", |running| running.stderr().contains("to add workers: ").then_some(()));
    running
}

fn worker(place: &Place, access: &str) -> Running {
    place.start(&["worker", "--access", access, "--threads", "1", "--give-up-after", "5s"])
}

#[test]
fn a_worker_that_computes_wrongly_is_found_out() {
    // A second honest worker at the same address does not change the outcome.
    for others in [2, 1] {
        let place = Place::new();
        let sweep = Sweep { trials: 40, ..Sweep::small() };
        place.sweep("sweep.yaml", &sweep);
        let coordinator = serve(&place, &["--audit", "100", "--shard-trials", "2", "--lease-seconds", "4"]);
        meddle(&place, "liar.json", Meddling::Lies);
        // The first worker to connect gets work before the others.
        let mut liar = worker(&place, "liar.json");
        liar.until("the liar is in", |liar| liar.stderr().contains("connected to").then_some(()));
        let honest: Vec<Running> = (0..others).map(|_| worker(&place, "out/access.json")).collect();
        let liar_id = liar.id();
        let ended = coordinator.end().failed_with(
            4,
            &[
                "disagreement: worker ",
                &format!("/{liar_id}"),
                "computed different results for trial ",
                " is the first that differs: ",
                ": the stored spikes were ",
                "is quarantined: it computed wrong spikes",
                "differed from the stored ones; this must never happen",
            ],
        );
        assert!(ended.stdout.contains("Sweep test is complete: 120 trials computed, 0 reused"), "{ended:#?}");
        liar.end().failed_with(1, &["the coordinator refuses this worker: it computed wrong spikes"]);
        honest.into_iter().for_each(|worker| drop(worker.end().succeeded()));
        assert_eq!(place.outputs("out"), sweep.undisturbed());
        let manifest = place.manifest("out");
        let disagreements = manifest["run"]["disagreements"].as_array().expect("a list").len();
        assert!(disagreements >= 1, "{manifest:#}");
        assert_eq!(manifest["run"]["workers_shut_out"].as_array().expect("a list").len(), 1);
        // All workers have the same address. So only a worker that the coordinator starts itself can settle the
        // disagreement.
        assert!(ended.stderr.contains("starting one more here"), "{}", ended.stderr);
        assert!(ended.stderr.contains("no third machine could settle "), "{}", ended.stderr);
        // The stored results are right: the next run succeeds.
        place.run(&["run", "sweep.yaml", "--out", "out"]).succeeded();
        place.is_left_alone();
    }
}

#[test]
fn a_worker_whose_results_are_damaged_is_told_why_it_is_shut_out() {
    let place = Place::new();
    let sweep = Sweep { trials: 4, ..Sweep::small() };
    place.sweep("sweep.yaml", &sweep);
    let coordinator = serve(&place, &["--lease-seconds", "4"]);
    meddle(&place, "damaged.json", Meddling::Damages);
    let reason = "it sent a malformed message: the spikes do not match their digest";
    let said = format!("the coordinator refuses this worker: {reason}");
    worker(&place, "damaged.json").end().failed_with(1, &[&said]);
    let honest = worker(&place, "out/access.json");
    let ended = coordinator.end().succeeded();
    assert!(ended.stderr.contains(&format!("is quarantined: {reason}")), "{}", ended.stderr);
    honest.end().succeeded();
    assert_eq!(place.outputs("out"), sweep.undisturbed());
}

#[test]
fn a_trial_that_kills_its_workers_is_set_aside_and_tried_by_the_next_run() {
    let place = Place::new();
    let sweep = Sweep { seeds: vec![451, 452], trials: 4, ..Sweep::small() };
    place.sweep("sweep.yaml", &sweep);
    let mut coordinator = serve(&place, &["--lease-seconds", "1", "--shard-trials", "2"]);
    let follower = place.start(&["status", "out", "--follow"]);
    meddle(&place, "doomed.json", Meddling::Kills { seed: 451, trial: 2 });
    let mut deaths = 0;
    let mut doomed = worker(&place, "doomed.json");
    wait_for("the coordinator ends", || {
        if doomed.has_ended() && !coordinator.has_ended() {
            deaths += 1;
            doomed = worker(&place, "doomed.json");
        }
        coordinator.has_ended().then_some(())
    });
    // The coordinator sees lost connections, not deaths, so many are needed until the trial is set aside.
    assert!(deaths >= 12, "{deaths} deaths");
    let reason =
        "times, most recently because the worker that computed it disconnected and did not reconnect";
    let withheld = "error: 3 trials were set aside; the files of their conditions and seeds were not written";
    let ended = coordinator.end().failed_with(
        3,
        &[
            "trial 2 of conditions Control, GABAzine, ACh, seed 451 is set aside: failed ",
            reason,
            withheld,
            "to retry: ",
        ],
    );
    assert!(ended.stdout.contains("is NOT complete: 21 trials computed, 0 reused"), "{ended:#?}");

    follower.end().failed_with(
        3,
        &["error: 1 trial was set aside\n  help: the coordinator's log and manifest.json give the reasons"],
    );

    let manifest = place.manifest("out");
    let set_aside = manifest["set_aside"].as_array().expect("a list");
    assert_eq!(set_aside.len(), 3);
    assert_eq!((&set_aside[0]["condition"], &set_aside[0]["trial"]), (&"Control".into(), &2.into()));
    let outputs = place.outputs("out");
    assert!(outputs.len() == 16 && outputs.keys().all(|name| name.starts_with("seed-452/")), "{outputs:#?}");

    place.run(&["run", "sweep.yaml", "--out", "out"]).succeeded();
    let trials = place.trials("out");
    assert_eq!((trials.computed, trials.reused), (3, 21));
    assert_eq!(place.outputs("out"), sweep.undisturbed());
}
