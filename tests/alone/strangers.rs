//! A sweep with one honest worker on its own host, under attack from another host. The attackers hold the access file
//! and do everything that it permits, at once. The bytes must be right, and the sweep not much slower.
#![allow(clippy::print_stdout, reason = "what a test has to say")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use granule_engine::TrialSpikes;
use granule_granular::ENGINES;
use granule_proto::convert::{TrialName, WireWork, engine_to_wire};
use granule_proto::wire::from_worker::Message;
use granule_proto::wire::{self, FromWorker, to_worker};
use granule_proto::{PROTOCOL, convert::TrialResult};
use granule_worker::access::Access;
use granule_worker::connect::connect;
use granule_worker::{authorised, client};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::support::hosts::{Host, Namespace, hosts_or_skip};
use crate::support::served::Served;
use crate::support::{self, Hashes, Place, Sweep, peak_kib};

/// The largest permitted factor of the sweep's duration under attack.
const SLOWER: f64 = 3.0;

/// Text that would look like a dated line of its own in a log.
const FORGERY: &str = "evil\n2026-01-01T00:00:00Z the sweep is complete\u{202e}";

/// The behaviour of an attacker.
#[derive(Clone, Copy, Debug)]
enum Habit {
    /// Claims 4096 threads, keeps every lease, and sends heartbeats.
    Holds,
    /// Sends results without spikes for all trials.
    Lies,
    /// Fails four leases and leaves.
    Fails,
    /// Sends hello and leaves.
    Greets,
    /// Hands back every lease.
    HandsBack,
}

const HABITS: [Habit; 5] = [Habit::Holds, Habit::Lies, Habit::Fails, Habit::Greets, Habit::HandsBack];

/// Simultaneous workers, each with a name of its own, per habit.
const NAMES: usize = 8;

fn message(message: Message) -> FromWorker {
    FromWorker { message: Some(message) }
}

fn hello(habit: Habit) -> FromWorker {
    message(Message::Hello(wire::Hello {
        protocol: PROTOCOL,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        engines: ENGINES.iter().copied().map(engine_to_wire).collect(),
        threads: if matches!(habit, Habit::Holds) { 4096 } else { 4 },
        host: format!("{FORGERY}{}", "x".repeat(5000)),
        process_id: rand::random(),
        name: rand::random::<[u8; 16]>().to_vec(),
        epoch: 0,
        held: vec![],
        packages: Vec::new(),
    }))
}

/// Returns results without spikes for all trials of a lease.
fn lies(lease: u64, work: WireWork) -> Vec<FromWorker> {
    let WireWork::Trials(work) = work else { return Vec::new() };
    let mut lies = Vec::new();
    for trial in work.first..work.first + work.count {
        for model in &work.models {
            let name = TrialName { fingerprint: model.fingerprint(), seed: work.seed, trial };
            let silence = TrialSpikes::of(vec![Vec::new(); model.sizes().len()]);
            let result = TrialResult::new(name, silence.encode());
            lies.push(message(Message::Trial(result.to_wire(lease))));
        }
    }
    lies.push(message(Message::Finished(wire::Finished { lease })));
    lies
}

/// One session of an attacker: from its hello until it or the coordinator ends the session.
async fn live(access: &Access, habit: Habit) -> Option<()> {
    let (channel, _) = connect(access).await.ok()?;
    let (say, outgoing) = mpsc::channel(64);
    say.send(hello(habit)).await.ok()?;
    let request = authorised(access, ReceiverStream::new(outgoing));
    let mut incoming = client(channel).work(request).await.ok()?.into_inner();
    let mut held = Vec::new();
    let mut last = 0;
    let mut failed = 0;
    let mut beat = tokio::time::interval(Duration::from_millis(100));
    loop {
        let heard = tokio::select! {
            heard = incoming.message() => heard.ok()??,
            _ = beat.tick() => {
                let beat = wire::Heartbeat { held: held.clone(), last };
                say.send(message(Message::Heartbeat(beat))).await.ok()?;
                continue;
            }
        };
        match heard.message? {
            to_worker::Message::Welcome(_) if matches!(habit, Habit::Greets) => return Some(()),
            to_worker::Message::Welcome(_) => {
                say.send(message(Message::Offered(wire::Offered {}))).await.ok()?;
            }
            to_worker::Message::Lease(lease) => {
                last = lease.id;
                match habit {
                    Habit::Holds | Habit::Greets => held.push(lease.id),
                    Habit::Lies => {
                        for lie in lies(lease.id, WireWork::from_wire(ENGINES, lease.work).ok()?) {
                            say.send(lie).await.ok()?;
                        }
                    }
                    Habit::Fails => {
                        let fail = wire::Failed { lease: lease.id, reason: FORGERY.to_owned() };
                        say.send(message(Message::Failed(fail))).await.ok()?;
                        failed += 1;
                        if failed == 4 {
                            return Some(());
                        }
                    }
                    Habit::HandsBack => {
                        let back = wire::HandedBack { lease: lease.id };
                        say.send(message(Message::HandedBack(back))).await.ok()?;
                    }
                }
            }
            to_worker::Message::Goodbye(_) => return Some(()),
            _ => {}
        }
    }
}

/// Attackers on a host.
struct Strangers {
    is_over: Arc<AtomicBool>,
    lives: Arc<[AtomicU64; HABITS.len()]>,
    thread: thread::JoinHandle<()>,
}

impl Strangers {
    fn come(host: Arc<Namespace>, access: Access) -> Strangers {
        let is_over = Arc::new(AtomicBool::new(false));
        let lives: Arc<[AtomicU64; HABITS.len()]> = Arc::default();
        let (over, counts) = (Arc::clone(&is_over), Arc::clone(&lives));
        let thread = thread::spawn(move || {
            host.enter();
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let mut tasks = tokio::task::JoinSet::new();
                for (at, habit) in HABITS.into_iter().cycle().take(NAMES * HABITS.len()).enumerate() {
                    let (access, over, counts) = (access.clone(), Arc::clone(&over), Arc::clone(&counts));
                    tasks.spawn(async move {
                        while !over.load(Ordering::SeqCst) {
                            // Workers that keep their leases stay until the timeout. A worker that is disconnected
                            // returns under a new name.
                            let life = live(&access, habit);
                            let _ = tokio::time::timeout(Duration::from_secs(60), life).await;
                            counts[at % HABITS.len()].fetch_add(1, Ordering::SeqCst);
                            tokio::time::sleep(Duration::from_millis(100)).await;
                        }
                    });
                }
                while !over.load(Ordering::SeqCst) {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                tasks.abort_all();
            });
        });
        Strangers { is_over, lives, thread }
    }

    /// Stops the attackers. Returns the number of sessions of each habit.
    fn leave(self) -> Vec<(Habit, u64)> {
        self.is_over.store(true, Ordering::SeqCst);
        self.thread.join().expect("it does not panic");
        HABITS.into_iter().zip(self.lives.iter().map(|lives| lives.load(Ordering::SeqCst))).collect()
    }
}

/// The measurements of a run.
struct Run {
    took: Duration,
    peak_kib: u64,
    stderr: String,
    outputs: Hashes,
}

/// Runs the sweep with one worker on the last host.
fn run(hosts: [&Host; 3], sweep: &Sweep<'_>, is_attacked: bool) -> Run {
    let place = Place::new();
    let path = place.sweep("sweep.yaml", sweep);
    let arguments = [path.to_str().unwrap(), "--lease-seconds", "2", "--audit", "20"];
    let mut served = Served::start(&place, Some(hosts[0]), &arguments);
    let copy = served.copy(&place, "copy.json", None);
    let access = Access::read(&copy).expect("a copy");
    let begun = Instant::now();
    let worker = ["worker", "--access", copy.to_str().unwrap(), "--threads", "1"];
    let mut worker = place.start_this(hosts[2].runs(&place.granule(&worker)));
    // Without this worker, attackers with one address could compute the whole sweep, and no result would be compared.
    worker.until("it is connected", |worker| worker.stderr().contains("connected to ").then_some(()));
    let strangers = is_attacked.then(|| Strangers::come(hosts[1].namespace(), access));
    let mut peak = 0;
    support::wait_for("the sweep ends", || {
        peak = peak.max(peak_kib(served.running.id()).unwrap_or(0));
        let has_ended = served.running.has_ended();
        assert!(has_ended || begun.elapsed() < Duration::from_secs(300), "{}", served.running.stderr());
        has_ended.then_some(())
    });
    let took = begun.elapsed();
    if let Some(strangers) = strangers {
        let lives = strangers.leave();
        println!("lives: {lives:?}");
        // Workers that keep their leases may still be in their first session.
        assert!(lives[1..].iter().all(|(_, lives)| *lives > 0), "{lives:?}");
    }
    let ended = served.running.end();
    println!("exit code {:?}", ended.code);
    assert!(matches!(ended.code, Some(0 | 4)), "{}", ended.stderr);
    worker.end().succeeded();
    Run { took, peak_kib: peak, stderr: ended.stderr, outputs: place.outputs("out") }
}

#[test]
fn a_sweep_among_strangers_ends_with_the_right_bytes() {
    let _turn = crate::turn(module_path!());
    let Some(hosts) = hosts_or_skip(3) else { return };
    let hosts = [0, 1, 2].map(|i| hosts.host(i));
    for engine in ["brian2-2.2.1", "pcg"] {
        // A seed without shipped noise counts.
        let sweep = Sweep { engine, seeds: vec![7], trials: 200, ..Sweep::slow() };
        let quiet = run(hosts, &sweep, false);
        let mut attacked = run(hosts, &sweep, true);
        let ratio = |attacked: &Run| attacked.took.as_secs_f64() / quiet.took.as_secs_f64();
        if ratio(&attacked) >= SLOWER {
            // Other load on the machine can only increase the ratio, so a second run may lower it.
            attacked = run(hosts, &sweep, true);
        }
        let ratio = ratio(&attacked);
        println!("{engine}: {:?} and among strangers {:?}: × {ratio:.2}", quiet.took, attacked.took);
        println!("{} KiB and among strangers {} KiB", quiet.peak_kib, attacked.peak_kib);
        println!("{} bytes of log", attacked.stderr.len());
        assert_eq!(attacked.outputs, quiet.outputs);
        assert!(ratio < SLOWER, "× {ratio:.2}\n{}", attacked.stderr);
        assert!(attacked.peak_kib < 4 * quiet.peak_kib, "{} KiB", attacked.peak_kib);
        assert!(attacked.stderr.len() < 4 << 20, "{} bytes of log", attacked.stderr.len());
        let is_forged = |line: &str| line.starts_with("2026-01-01T") || line.contains('\u{202e}');
        assert!(!attacked.stderr.lines().any(is_forged), "{}", attacked.stderr);
    }
}
