//! Sweeps over several hosts and over very bad networks: the outputs are the same.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "what a test has to say")]

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use granule_worker::access::Access;
use nix::sys::signal::Signal;
use rand::RngExt;
use rand_pcg::Pcg64;
use serde_json::Value;

use crate::support::hosts::{Host, Hosts, hosts_or_skip};
use crate::support::relay::{Counts, Faults, Relay};
use crate::support::served::{Served, all_end_well, connect, get, metric, tls};
use crate::support::{Hashes, Place, Running, Sweep, expected, root, wait_for};

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// The sweep with published hashes.
fn published() -> (PathBuf, Hashes) {
    let hashes = expected(include_str!("../expected/ci-10trials.sha256"));
    let of_seed = hashes.into_iter().map(|(name, hash)| (format!("seed-451/{name}"), hash));
    (root().join("sweeps/ci-10trials.yaml"), of_seed.collect())
}

/// Runs a command of the program on a host.
fn start_on(host: &Host, place: &Place, arguments: &[&str]) -> Running {
    place.start_this(host.runs(&place.granule(arguments)))
}

fn start_worker(host: &Host, place: &Place, access: &Path) -> Running {
    start_on(host, place, &["worker", "--access", access.to_str().unwrap(), "--threads", "1"])
}

/// All files below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory");
    let paths = entries.map(|entry| entry.expect("a directory entry").path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Names of the files that only their owner may read. Expects that no other file contains one of these words.
fn private_files(place: &Place, secrets: &[String]) -> Vec<String> {
    let mut private = Vec::new();
    for path in files(&place.path("")) {
        if fs::metadata(&path).expect("a file").permissions().mode() & 0o7777 == 0o600 {
            private.push(path.strip_prefix(place.path("")).unwrap().to_str().unwrap().to_owned());
        } else {
            expect_none(&path.display().to_string(), &fs::read(&path).expect("a file"), secrets);
        }
    }
    private.sort_unstable();
    private
}

#[track_caller]
fn expect_none(place: &str, bytes: &[u8], secrets: &[String]) {
    for secret in secrets {
        let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!found, "a secret is in {place}");
    }
}

/// Expects that every line is an object of the documented schema.
fn reports(stdout: &str) -> Vec<Value> {
    let parse =
        |line: &str| serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let reports: Vec<Value> = stdout.lines().map(parse).collect();
    assert!(reports.iter().all(|report| report["schema"] == 1), "{stdout}");
    reports
}

#[test]
fn hosts_share_a_sweep_and_nobody_reads_a_secret() {
    let Some(hosts) = hosts_or_skip(3) else { return };
    let place = Place::new();
    let (sweep, expected) = published();
    let open_pages = SocketAddr::from((Ipv4Addr::LOCALHOST, 9464));
    let arguments = [sweep.to_str().unwrap(), "--shard-trials", "1", "--metrics", &open_pages.to_string()];
    let served = Served::start(&place, Some(hosts.host(0)), &arguments);
    assert_eq!(served.address().ip(), hosts.host(0).address());
    let copy = served.copy(&place, "copy.json", None);
    let access = Access::read(&copy).expect("the copy is one");
    let secret = served.secret().to_owned();
    let key = fs::read_to_string(place.path("out/coordinator.pem")).expect("a key");
    let key = key.split("-----").nth(2).expect("what is between the first two lines of dashes");
    let mut secrets: Vec<String> = key.lines().filter(|line| line.len() > 20).map(str::to_owned).collect();
    assert!(!secrets.is_empty());
    secrets.push(secret.clone());

    // `granule status` from another host.
    let status = |i: usize, more: &[&str]| {
        let always = ["status", "--access", copy.to_str().unwrap(), "--json"];
        start_on(hosts.host(i), &place, &[&always, more].concat())
    };
    let mut follower = status(1, &["--follow"]);
    follower.until("there is a report", |running| running.stdout().contains('\n').then_some(()));
    let once = status(2, &[]).end().succeeded();
    let [snapshot] = &reports(&once.stdout)[..] else { panic!("{}", once.stdout) };
    assert_eq!((&snapshot["type"], &snapshot["state"]), (&"snapshot".into(), &"computing".into()));
    assert_eq!(snapshot["trials"]["total"], 30);

    // The pages are encrypted, and need the secret if they show anything about the sweep.
    let page = |path: &str, secret: Option<&str>| {
        let stream = hosts.host(2).inside(|| connect(served.address())).expect("it listens");
        get(tls(&access, stream, &[]).expect("it speaks TLS"), path, secret)
    };
    assert_eq!(page("/health", None), (200, "computing\n".to_owned()));
    assert_eq!(page("/metrics", None).0, 401);
    assert_eq!(page("/metrics", Some("wrong")).0, 401);
    let (status, metrics) = page("/metrics", Some(&secret));
    assert_eq!((status, metric(&metrics, "granule_trials")), (200, 30.0));
    // The other port serves pages in plain text without a secret, on the coordinator's host only.
    let open_page =
        |path: &str| get(hosts.host(0).inside(|| connect(open_pages)).expect("it listens"), path, None);
    assert_eq!(open_page("/health"), (200, "computing\n".to_owned()));
    assert_eq!(metric(&open_page("/metrics").1, "granule_trials_stored"), 0.0);
    let elsewhere = SocketAddr::new(hosts.host(0).address(), open_pages.port());
    assert!(hosts.host(1).inside(|| connect(elsewhere)).is_err());
    // In plain text, the port with TLS only answers with the reason.
    let plain = hosts.host(1).inside(|| connect(served.address())).expect("it listens");
    let (status, reason) = get(plain, "/metrics", None);
    assert_eq!(status, 401);
    assert!(reason.contains("TLS only"), "{reason}");

    // While the coordinator is suspended, no process can end, so all can be inspected.
    served.running.signal(Signal::SIGSTOP);
    let mut workers: Vec<Running> = [1, 1, 2].map(|i| start_worker(hosts.host(i), &place, &copy)).into();
    wait_for("all workers run", || (served.running.workers().len() == 3).then_some(()));
    let processes = place.processes();
    assert_eq!(processes.len(), 5);
    // While a process starts its program, both files are empty.
    wait_for("all have started their programs", || {
        let is_there = |what: &str| fs::read(what).is_ok_and(|bytes| !bytes.is_empty());
        let has_both =
            |id: &u32| ["cmdline", "environ"].iter().all(|what| is_there(&format!("/proc/{id}/{what}")));
        processes.iter().all(has_both).then_some(())
    });
    for process in processes {
        for what in ["cmdline", "environ"] {
            let bytes = fs::read(format!("/proc/{process}/{what}")).expect("it runs");
            assert!(!bytes.is_empty());
            expect_none(&format!("{what} of {process}"), &bytes, &secrets);
        }
    }
    assert_eq!(private_files(&place, &secrets), ["copy.json", "out/access.json", "out/coordinator.pem"]);
    served.running.signal(Signal::SIGCONT);

    let ended = served.running.end().succeeded();
    for host in [1, 2] {
        let joined = format!(" joined from {}:", hosts.host(host).address());
        assert!(ended.stderr.contains(&joined), "{}", ended.stderr);
    }
    assert_eq!(place.outputs("out"), expected);
    assert_eq!(private_files(&place, &secrets), ["copy.json"]);
    let followed = follower.end().succeeded();
    let last = reports(&followed.stdout).pop().expect("a report");
    assert!(last["state"] == "done" || last["state"] == "writing", "{last}");
    let mut printed = vec![ended, once, followed];
    printed.extend(workers.drain(..).map(|worker| worker.end().succeeded()));
    for ended in printed {
        expect_none("what was printed", format!("{}{}", ended.stdout, ended.stderr).as_bytes(), &secrets);
    }
    place.is_left_alone();
}

/// How a host is cut off from the coordinator for a while.
#[derive(Clone, Copy, Debug)]
enum Partition {
    /// The relay passes no more bytes, but its connections stay open.
    Relay,
    /// The cable is pulled.
    Cable,
}

/// Times and numbers of the disturbances.
const KILLS: usize = 10;
const KILL_EVERY: Duration = ms(2900);
const PARTED_FROM: Duration = ms(6000);
const PARTED_FOR: Duration = ms(20_000);
const RESETS: u64 = 10;
const STALLS: u64 = 10;

/// The pace during the disturbances: workers that are ahead are slowed down, so that the run does not end too early.
/// When a partition ends, the results behind it arrive all at once. So the limit is far from the end.
const ALL_WITHIN: Duration = ms(60_000);
const MOST_BEFORE_THE_END: f64 = 0.5;

/// A slowed worker runs for this time in each interval: enough to keep its connection, and hardly more.
const RUN_FOR: Duration = ms(5);
const RUN_EVERY: Duration = ms(400);

/// Two hosts with two workers each, behind relays.
struct Sites<'a> {
    hosts: &'a Hosts,
    place: &'a Place,
    relays: Vec<Relay>,
    access: Vec<PathBuf>,
    /// Workers, each with the index of its host.
    workers: Vec<(usize, Running)>,
}

impl<'a> Sites<'a> {
    fn new(hosts: &'a Hosts, place: &'a Place, served: &Served, seed: u64) -> Sites<'a> {
        let faults = Faults {
            delay: ms(50),
            reset_every: Some(ms(2000)..ms(9000)),
            stall_every: Some((ms(500)..ms(3000), ms(100)..ms(1500))),
            ..Faults::default()
        };
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut sites = Sites { hosts, place, relays: vec![], access: vec![], workers: vec![] };
        for site in 0..2 {
            let relay =
                Relay::on(hosts.host(1 + site), served.address(), any, seed + site as u64, faults.clone());
            sites.access.push(served.copy(place, &format!("copy{site}.json"), Some(relay.address())));
            sites.relays.push(relay);
        }
        (0..4).for_each(|i| sites.start(i % 2));
        sites
    }

    fn start(&mut self, site: usize) {
        let worker = start_worker(self.hosts.host(1 + site), self.place, &self.access[site]);
        self.workers.push((site, worker));
    }

    /// Kills a worker with SIGKILL, and starts another in its place.
    fn kill(&mut self, random: &mut Pcg64) {
        let (site, worker) = self.workers.swap_remove(random.random_range(0..self.workers.len()));
        worker.signal(Signal::SIGKILL);
        let ended = worker.end();
        assert_eq!(ended.code, None, "a worker ended by itself: {ended:?}");
        self.start(site);
    }

    fn part(&self, partition: Partition, parted: bool) {
        match partition {
            Partition::Relay => self.relays[0].partition(parted),
            Partition::Cable => self.hosts.link(1, !parted),
        }
    }

    /// Resumes or suspends all workers.
    fn run(&self, run: bool) {
        let signal = if run { Signal::SIGCONT } else { Signal::SIGSTOP };
        self.workers.iter().for_each(|(_, worker)| worker.signal(signal));
    }

    fn counts(&self) -> Counts {
        let sum = |mut sum: Counts, of: Counts| {
            sum.connections += of.connections;
            sum.resets += of.resets;
            sum.stalls += of.stalls;
            sum.bytes += of.bytes;
            sum
        };
        self.relays.iter().map(Relay::counts).fold(Counts::default(), sum)
    }
}

/// Runs a sweep, one trial per lease, under all disturbances.
fn survives(sweep: &Path, expected: &Hashes, partition: Partition, seed: u64) {
    let Some(hosts) = hosts_or_skip(3) else { return };
    let sweep = sweep.to_str().unwrap();
    // Outputs and length of the store of an undisturbed run.
    let quiet = Place::new();
    quiet.run(&["run", sweep, "--out", "out", "--workers", "2", "--shard-trials", "1"]).succeeded();
    let undisturbed = quiet.outputs("out");
    assert!(expected.iter().all(|(name, hash)| undisturbed.get(name) == Some(hash)));
    let all = quiet.length("out/store.granule") as f64;

    let place = Place::new();
    let arguments = [sweep, "--shard-trials", "1", "--lease-seconds", "4"];
    let mut served = Served::start(&place, Some(hosts.host(0)), &arguments);
    let mut random = Pcg64::new(u128::from(seed), 1);
    let mut sites = Sites::new(&hosts, &place, &served, seed);
    let begun = Instant::now();
    let mut kills = 0;
    // The length of the store at the beginning and at the end of the partition.
    let (mut parted, mut together) = (None, None);
    loop {
        let now = begun.elapsed();
        let stored = place.length("out/store.granule");
        let counts = sites.counts();
        assert!(
            !served.running.has_ended(),
            "it ended before all had happened: {kills} kills, {counts:?}, {now:?}"
        );
        if kills < KILLS && now >= KILL_EVERY * (kills as u32 + 1) {
            sites.kill(&mut random);
            kills += 1;
        }
        if parted.is_none() && now >= PARTED_FROM {
            sites.part(partition, true);
            parted = Some(stored);
        }
        if together.is_none() && now >= PARTED_FROM + PARTED_FOR {
            sites.part(partition, false);
            together = Some(stored);
        }
        if kills == KILLS && together.is_some() && counts.resets >= RESETS && counts.stalls >= STALLS {
            break;
        }
        let most = (now.as_secs_f64() / ALL_WITHIN.as_secs_f64()).min(MOST_BEFORE_THE_END);
        let is_ahead = stored as f64 >= most * all;
        sites.run(!is_ahead || now.as_millis() % RUN_EVERY.as_millis() < RUN_FOR.as_millis());
        thread::sleep(ms(1));
    }
    sites.run(true);
    sites.part(partition, false);
    println!("{partition:?}: {kills} kills, {:?}, {:?}", sites.counts(), begun.elapsed());
    served.running.end().succeeded();
    assert!(together > parted, "nothing was stored while a host was parted: {parted:?}, {together:?}");
    assert_eq!(place.outputs("out"), undisturbed);
    // A worker that has not received the end sees that the access file is gone.
    sites.access.iter().for_each(|path| fs::remove_file(path).expect("a copy"));
    for (_, worker) in sites.workers {
        // A worker that was never accepted ends with an error.
        let ended = worker.end();
        assert!(matches!(ended.code, Some(0..=2)), "{ended:?}");
    }
    place.is_left_alone();
}

#[test]
fn resets_stalls_kills_and_a_partition_do_not_change_the_published_hashes() {
    let (sweep, hashes) = published();
    survives(&sweep, &hashes, Partition::Relay, 1);
}

#[test]
fn nor_do_they_with_a_cable_pulled_where_there_is_more_to_do() {
    let (sweep, hashes) = published();
    let text = fs::read_to_string(sweep).expect("the sweep");
    let more = text.replace("seeds: [451]", "seeds: [451, 452, 453, 454]");
    assert_ne!(text, more);
    let place = Place::new();
    survives(&place.write("sweep.yaml", more), &hashes, Partition::Cable, 2);
}

/// A sweep of several seconds, in many short trials.
fn longer() -> Sweep<'static> {
    Sweep { trials: 200, ..Sweep::slow() }
}

#[test]
fn a_cable_out_for_less_than_a_lease_and_for_more() {
    let Some(hosts) = hosts_or_skip(3) else { return };
    let undisturbed = longer().undisturbed();
    for (lease, down) in [("10", ms(3000)), ("2", ms(6000))] {
        let place = Place::new();
        let sweep = place.sweep("sweep.yaml", &longer());
        let arguments = [sweep.to_str().unwrap(), "--shard-trials", "1", "--lease-seconds", lease];
        let mut served = Served::start(&place, Some(hosts.host(0)), &arguments);
        let copy = served.copy(&place, "copy.json", None);
        let mut workers = vec![start_worker(hosts.host(1), &place, &copy)];
        let stored = || place.length("out/store.granule");
        served.running.until("something is stored", |_| (stored() >= 12 * 4096).then_some(()));
        hosts.link(1, false);
        let pulled = Instant::now();
        let is_longer = lease == "2";
        thread::sleep(down / 3);
        let before = stored();
        if is_longer {
            // The remaining worker gets all trials, including those that the other had leased.
            workers.push(start_worker(hosts.host(2), &place, &copy));
            served.running.until("the other goes on", |_| (stored() > before + 8 * 4096).then_some(()));
        }
        thread::sleep(down.saturating_sub(pulled.elapsed()));
        assert!(is_longer || stored() == before, "something came through");
        hosts.link(1, true);
        let mended = Instant::now();
        if !is_longer {
            served.running.until("it goes on", |_| (stored() > before).then_some(()));
            println!("{down:?} without a cable, and {:?} more", mended.elapsed());
        }
        let ended = served.running.end().succeeded();
        let is_given_up = ended.stderr.contains(", which other workers get");
        assert_eq!(is_given_up, is_longer, "{}", ended.stderr);
        assert_eq!(place.outputs("out"), undisturbed);
        fs::remove_file(copy).expect("the copy");
        all_end_well(workers);
        place.is_left_alone();
    }
}

/// The coordinator's name has two addresses: first one that never answers, then the right one.
#[test]
fn a_name_with_a_silent_address_before_the_right_one_leads_to_the_coordinator() {
    let Some(hosts) = hosts_or_skip(2) else { return };
    let place = Place::new();
    place.sweep("sweep.yaml", &Sweep::small());
    let address = hosts.host(0).address();
    let silent = hosts.host(1).silent_address();
    let names =
        place.write("hosts", format!("127.0.0.1 localhost\n{silent} coordinator\n{address} coordinator\n"));
    let served = Served::start(&place, Some(hosts.host(0)), &["sweep.yaml", "--advertise", "coordinator"]);
    let copy = served.copy(&place, "copy.json", None);
    let there = |arguments: &[&str]| hosts.host(1).runs_with_names(&place.granule(arguments), &names);
    let status = place.start_this(there(&["status", "--access", copy.to_str().unwrap(), "--json"]));
    let status = status.end().succeeded();
    assert_eq!(reports(&status.stdout)[0]["state"], "computing");
    let worker = place.start_this(there(&["worker", "--access", copy.to_str().unwrap(), "--threads", "1"]));
    served.running.end().succeeded();
    let ended = worker.end().succeeded();
    assert!(!ended.stderr.contains("not connected"), "{}", ended.stderr);
    assert_eq!(place.outputs("out"), Sweep::small().undisturbed());
}

/// Two halves of the sweep with published hashes, which have some conditions in common. Each host computes one in its
/// own directory. Then one store is copied to the other host and merged.
#[test]
fn halves_of_two_hosts_are_merged_to_the_whole() {
    let Some(hosts) = hosts_or_skip(2) else { return };
    let (sweep, published) = published();
    let whole = fs::read_to_string(&sweep).expect("a sweep");
    let all = "conditions: [Control, GABAzine, ACh]";
    assert!(whole.contains(all), "{whole}");
    let places = [Place::new(), Place::new()];
    let halves = ["conditions: [ACh, GABAzine]", "conditions: [Control, ACh]"];
    thread::scope(|scope| {
        for ((i, place), half) in places.iter().enumerate().zip(halves) {
            place.write("half.yaml", whole.replace(all, half));
            let host = hosts.host(i);
            scope.spawn(move || {
                start_on(host, place, &["run", "half.yaml", "--out", "half"]).end().succeeded()
            });
        }
    });
    let [first, second] = &places;
    fs::copy(second.path("half/store.granule"), first.path("theirs.granule")).expect("a store is one file");
    first.run(&["store", "merge", "all.granule", "half/store.granule", "theirs.granule"]).succeeded();
    first.write("whole.yaml", whole);
    let run = ["run", "whole.yaml", "--store", "all.granule", "--out", "out"];
    let ended = first.run(&run).succeeded();
    assert!(ended.stdout.contains("0 trials computed, 30 reused"), "{}", ended.stdout);
    assert_eq!(first.outputs("out"), published);
}
