//! Benchmarks of the coordinator: the scheduler alone, the whole coordinator with workers that compute nothing, the
//! store, and output files.
//!
//! Times are per trial (or per shard, where a shard is one trial of one condition). The workers run in a second process
//! of this program, so that this process's CPU time is the coordinator's alone.

use std::cell::Cell;
use std::hint::black_box;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group};
use granule::bench::{Life, Shelf, coordinate, listen, write_matrix};
use granule_engine::{Fingerprint, TrialKey, TrialSpikes};
use granule_granular::ENGINES;
use granule_granular::noise::SPAN_ATTEMPTS;
use granule_proto::convert::{TrialName, TrialResult, condition_from_wire, engine_to_wire};
use granule_proto::wire::coordinator_client::CoordinatorClient;
use granule_proto::{AUTHORIZATION, PROTOCOL, wire};
use granule_sweep::{Overrides, Plan, parse};
use nix::sys::resource::{UsageWho, getrusage};
use tokio::sync::{Barrier, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};

const SECRET: &str = "a-secret-that-is-none-for-nobody-to-keep";

/// The environment variable of the workers' process: the coordinator's address and the number of connections.
const WORKERS: &str = "GRANULE_BENCH_WORKERS";

fn main() {
    if let Ok(told) = std::env::var(WORKERS) {
        let (address, count) = told.split_once(' ').expect("an address and a number");
        return idle_workers(address, count.parse().expect("a number"));
    }
    groups();
    Criterion::default().configure_from_args().final_summary();
}

criterion_group!(groups, scheduler, dispatch, store, outputs);

fn scheduler(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("scheduler");
    for (name, variants, shard) in [("shards of 1 trial", 1, 1), ("shards of 64 trials", 10, 64)] {
        for workers in [8, 64, 1000] {
            let life = Life { workers, cohorts: 10, variants, trials: 20_000 / variants, shard };
            let id =
                |what: &str| BenchmarkId::new(format!("{name}, per {what}"), format!("{workers} workers"));
            group.throughput(Throughput::Elements(1));
            for (what, of) in [("event", None), ("trial", Some(life.len()))] {
                group.bench_function(id(what), |bencher| {
                    bencher.iter_custom(|iterations| {
                        let begun = Instant::now();
                        let events = black_box(life.live());
                        scaled(begun.elapsed(), of.unwrap_or(events), iterations)
                    });
                });
            }
        }
    }
    group.finish();
}

/// Extrapolates the time for `iterations` from the time for `done`.
fn scaled(took: Duration, done: u64, iterations: u64) -> Duration {
    took.mul_f64(iterations as f64 / done as f64)
}

fn dispatch(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("dispatch");
    group.throughput(Throughput::Elements(1));
    for (name, conditions, shard) in
        [("shards of 1 trial", "[Control]", 1), ("shards of 300 trials", "[Control, GABAzine, ACh]", 100)]
    {
        for connections in [1, 8, 64, 1000] {
            // Enough trials that the first leases, granted before the measurement starts, do not count.
            let trials = if shard == 1 { 6_000.max(20 * connections) } else { 30_000.max(400 * connections) };
            let text = format!(
                "network: {{ mossy_fibers: 40, granule_cells: 16, golgi_cells: 3 }}\nseeds: [1, 2, 3, 4]\n\
                 trials: {}\nconditions: {conditions}\n",
                trials / 4
            );
            let sweep = parse(ENGINES, "bench", text.as_bytes(), "bench", &Overrides::default())
                .unwrap_or_else(|error| panic!("{error}"));
            let plan = Arc::new(Plan::new(&sweep));
            for (what, is_cpu) in [("wall", false), ("CPU", true)] {
                let id = BenchmarkId::new(
                    format!("{name}, {what} per trial"),
                    format!("{connections} connections"),
                );
                group.bench_function(id, |bencher| {
                    bencher.iter_custom(|iterations| {
                        let used = run(&plan, connections, shard);
                        scaled(if is_cpu { used.cpu } else { used.wall }, plan.len(), iterations)
                    });
                });
            }
        }
    }
    group.finish();
}

fn store(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("store");
    group.throughput(Throughput::Elements(1));
    for batch in [1, 16, 256] {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let shelf = Shelf::open(&directory.path().join("store")).expect("a store");
        let spikes = vec![7; 4000];
        let number = Cell::new(0_u64);
        let next = || {
            number.set(number.get() + 1);
            TrialKey(std::array::from_fn(|i| number.get().to_le_bytes()[i % 8]))
        };
        group.bench_function(
            BenchmarkId::new("put 4 kB, per trial", format!("batches of {batch}")),
            |bencher| {
                bencher.iter_custom(|iterations| {
                    let batches = iterations.div_ceil(batch);
                    let entries: Vec<Vec<_>> = (0..batches)
                        .map(|_| (0..batch).map(|_| (next(), spikes.clone())).collect())
                        .collect();
                    let begun = Instant::now();
                    entries.iter().for_each(|entries| shelf.put(entries).expect("room on the disk"));
                    scaled(begun.elapsed(), batches * batch, iterations)
                });
            },
        );
    }
    group.finish();
}

/// The throughput of writing the paper's spike probability file, in bytes.
fn outputs(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("outputs");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let place = directory.path().join("matrix.npy");
    let rows: Vec<Vec<f64>> = (0..4096).map(|i| vec![f64::from(i) / 100.0; 2000]).collect();
    group.throughput(Throughput::Bytes(4096 * 2000 * 8));
    group.sample_size(10);
    group.bench_function("4096 × 2000 matrix, in place", |bencher| {
        bencher.iter(|| write_matrix(&place, &rows).expect("room on the disk"));
    });
    group.finish();
}

/// The time that a run used.
struct Used {
    wall: Duration,
    /// CPU time of the coordinator.
    cpu: Duration,
}

/// Runs a plan with workers that compute nothing.
fn run(plan: &Arc<Plan>, connections: u32, shard: u32) -> Used {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let runtime = granule::bench::runtime().expect("a runtime");
    runtime.block_on(async {
        let listener = listen(([127, 0, 0, 1], 0).into()).expect("a port");
        let address = listener.local_addr().expect("an address");
        let go = tokio::task::spawn_blocking(move || {
            let workers = Workers::start(address, connections);
            (cpu_time(), Instant::now(), workers.go())
        });
        let store = directory.path().join("store");
        let coordinator = coordinate(Arc::clone(plan), store, listener, SECRET.to_owned(), Some(shard));
        tokio::spawn(coordinator).await.expect("no panic").expect("it can be computed");
        let (cpu, wall) = (cpu_time(), Instant::now());
        let (cpu_before, begun, mut workers) = go.await.expect("it went");
        let ended = workers.wait().expect("a process");
        assert!(ended.success(), "a worker was cut off: {ended}");
        Used { wall: wall - begun, cpu: cpu - cpu_before }
    })
}

fn cpu_time() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("an account");
    [usage.user_time(), usage.system_time()]
        .iter()
        .map(|time| Duration::new(time.tv_sec() as u64, time.tv_usec() as u32 * 1000))
        .sum()
}

/// The process of the workers. All of them have connected.
struct Workers(Child);

impl Workers {
    fn start(address: SocketAddr, connections: u32) -> Workers {
        let mut child = Command::new(std::env::current_exe().expect("a program"))
            .env(WORKERS, format!("{address} {connections}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().expect("a pipe")).read_line(&mut line).expect("a line");
        assert_eq!(line, "connected\n");
        Workers(child)
    }

    fn go(mut self) -> Child {
        self.0.stdin.as_mut().expect("a pipe").write_all(b"go\n").expect("it listens");
        self.0
    }
}

/// Connects `count` workers and waits for a line on standard input. Then answers for each worker until the coordinator
/// sends goodbye.
fn idle_workers(address: &str, count: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let barrier = Arc::new(Barrier::new(count + 1));
        let workers: Vec<_> = (0..count as u128)
            .map(|name| {
                let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
                let barrier = Arc::clone(&barrier);
                tokio::spawn(async move {
                    let channel = endpoint.tcp_nodelay(true).connect().await.expect("a coordinator");
                    idle_worker(channel, &barrier, name).await;
                })
            })
            .collect();
        barrier.wait().await;
        writeln!(std::io::stdout(), "connected").expect("it is read");
        std::io::stdin().read_line(&mut String::new()).expect("a line");
        barrier.wait().await;
        for worker in workers {
            worker.await.expect("it works");
        }
    });
}

async fn idle_worker(channel: Channel, barrier: &Barrier, name: u128) {
    use wire::from_worker::Message;
    let (outgoing, messages) = mpsc::channel(64);
    let send = async |message| outgoing.send(wire::FromWorker { message: Some(message) }).await.is_ok();
    let hello = wire::Hello {
        protocol: PROTOCOL,
        version: "bench".into(),
        engines: ENGINES.iter().copied().map(engine_to_wire).collect(),
        threads: 1,
        host: "here".into(),
        process_id: std::process::id(),
        name: name.to_be_bytes().to_vec(),
        epoch: 0,
        held: Vec::new(),
        packages: Vec::new(),
    };
    send(Message::Hello(hello)).await;
    let mut request = tonic::Request::new(ReceiverStream::new(messages));
    request.metadata_mut().insert(AUTHORIZATION, format!("Bearer {SECRET}").parse().expect("text"));
    let mut incoming = CoordinatorClient::new(channel).work(request).await.expect("a welcome").into_inner();
    incoming.message().await.expect("a welcome");
    // All workers have connected. The second wait lasts until the measurement starts.
    barrier.wait().await;
    barrier.wait().await;
    let silence = TrialSpikes::of(vec![Vec::new(); ENGINES[0].populations().len()]).encode();
    let mut known: (Vec<wire::Condition>, Vec<Fingerprint>) = Default::default();
    loop {
        let message = incoming.message().await;
        let lease = match message.map(|message| message.and_then(|message| message.message)) {
            Ok(Some(wire::to_worker::Message::Lease(lease))) => lease,
            Ok(Some(wire::to_worker::Message::Goodbye(goodbye))) => {
                assert!(!goodbye.refused, "{}", goodbye.reason);
                return;
            }
            Ok(Some(_)) => continue,
            lost => panic!("the coordinator said nothing of an end: {lost:?}"),
        };
        let wire::Lease { id: lease, work: Some(work) } = lease else { panic!("no work: {lease:?}") };
        match work {
            wire::lease::Work::Survey(survey) => {
                let likely = (SPAN_ATTEMPTS as f64 * std::f64::consts::FRAC_PI_4) as u32;
                let findings = vec![likely; survey.count as usize];
                send(Message::Survey(wire::SurveyResult { lease, findings })).await;
            }
            wire::lease::Work::Trials(work) => {
                if known.0 != work.conditions {
                    let fingerprint = |condition: &wire::Condition| {
                        let model = condition_from_wire(ENGINES[0], condition.clone());
                        model.expect("a condition").fingerprint()
                    };
                    known = (work.conditions.clone(), work.conditions.iter().map(fingerprint).collect());
                }
                for trial in work.first..work.first + work.count {
                    for &fingerprint in &known.1 {
                        let name = TrialName { fingerprint, seed: work.seed, trial };
                        let result = TrialResult::new(name, silence.clone());
                        if !send(Message::Trial(result.to_wire(lease))).await {
                            // The receive at the top of the loop reports the reason.
                            break;
                        }
                    }
                }
            }
        }
        send(Message::Finished(wire::Finished { lease })).await;
    }
}
