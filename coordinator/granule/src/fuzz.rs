//! Targets for fuzzing. Each takes any bytes as input from outside. None of it may panic, and accepted input must be
//! what it seems. `fuzz/` and `tests/plain/fuzz_corpus.rs` call this. Nothing else uses it, and its interface may
//! change at any time.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use granule_engine::{
    Digest, Engine, Fingerprint, Model, NoResult, Source, Spike, Start, StreamKey, TrialKey, TrialShape,
    TrialSpikes,
};
use granule_farm::dialogue::{introduce, understand};
use granule_granular::{ENGINES, Method, space};
use granule_program::Program;
use granule_program::protocol::Answer;
use granule_proto::PROTOCOL;
use granule_proto::convert::{
    TrialName, TrialResult, WireSurvey, WireTrials, WireWork, condition_from_wire, engine_to_wire,
};
use granule_proto::parts::Assembly;
use granule_proto::wire::{self, from_worker, to_worker};
use granule_store::{Put, Store, StoreEntry, StoreError};
use granule_sweep::{Overrides, Plan, parse, parse_model};
use granule_worker::access::{Access, Address};
use prost::Message;

/// Takes any bytes. Returns whether it accepted them.
pub type FuzzTarget = fn(&[u8]) -> bool;

/// All targets, by name.
pub const TARGETS: [(&str, FuzzTarget); 6] = [
    ("sweep", sweep),
    ("wire", wire),
    ("store", store),
    ("access", access),
    ("model", model),
    ("program", program),
];

/// Takes a sweep file. It must give a sweep whose plan has the promised size and places, or problems that can be shown.
///
/// # Panics
/// If it is neither.
pub fn sweep(bytes: &[u8]) -> bool {
    let sweep = match parse(ENGINES, "sweep.yaml", bytes, "sweep", &Overrides::default()) {
        Ok(sweep) => sweep,
        Err(problems) => {
            assert!(!problems.listed().is_empty());
            let shown = problems.to_string();
            assert!(!shown.is_empty());
            assert!(shown.chars().all(|c| c == '\n' || !c.is_control()), "{shown:?}");
            return false;
        }
    };
    let plan = Plan::new(&sweep);
    assert!(sweep.conditions.len() <= 1_000_000);
    let names: BTreeSet<String> =
        sweep.conditions.iter().map(|condition| condition.prefix().to_ascii_lowercase()).collect();
    assert_eq!(names.len(), sweep.conditions.len(), "two conditions would write to the same files");
    let fingerprints: Vec<Fingerprint> =
        sweep.conditions.iter().map(|condition| condition.model.fingerprint()).collect();
    let distinct = fingerprints.iter().collect::<BTreeSet<_>>().len() as u64;
    let seeds = sweep.seeds.len() as u64;
    assert!(!plan.is_empty());
    assert_eq!(plan.len(), distinct * seeds * u64::from(sweep.trials));
    for (at, &seed) in sweep.seeds.iter().enumerate() {
        for (i, fingerprint) in fingerprints.iter().enumerate() {
            let (cohort, variant) = plan.place(i, at);
            assert_eq!(plan.key(cohort, variant, 0), fingerprint.trial(seed, 0));
        }
    }
    true
}

/// Takes a model file. It must give a model with sizes at its defaults, or problems that can be shown.
///
/// # Panics
/// If it is neither.
pub fn model(bytes: &[u8]) -> bool {
    match parse_model("model.yaml", bytes) {
        Ok(model) => {
            assert!(!model.populations.is_empty() || !model.returns.is_empty());
            let _ = granule_sweep::model_of(bytes);
            true
        }
        Err(problems) => {
            let shown = problems.to_string();
            assert!(!shown.is_empty() && !problems.listed().is_empty());
            assert!(shown.chars().all(|c| c == '\n' || !c.is_control()), "{shown:?}");
            false
        }
    }
}

/// Takes the answer of a program to the request for a trial: a line, and the block after it. It must give a result with
/// an encoding, or a text that can be shown.
///
/// # Panics
/// If it is neither.
pub fn program(bytes: &[u8]) -> bool {
    static MODEL: LazyLock<Model> = LazyLock::new(|| {
        let text = "granule-model: 1\nname: fuzz\nprogram: [fuzz]\nfiles: [fuzz]\npopulations: { first: 10, second: 3 }\n\
                    duration: 100 ms\nreturns: { rate: { unit: Hz }, course: { shape: [2, 3] } }\n";
        let source = Source { text: text.to_owned(), files: Vec::new() };
        let engine = Program::of("model.yaml", source).expect("a model file").engine();
        Model::new(engine, engine.space().defaults()).expect("its defaults are right")
    });
    let (line, block) = match bytes.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&bytes[..end], &bytes[end + 1..]),
        None => (bytes, &[][..]),
    };
    let answer = match Answer::parse(line) {
        Ok(answer) => answer,
        Err(problem) => {
            assert!(!problem.is_empty());
            return false;
        }
    };
    // A worker waits for the whole block.
    if answer.bytes() != block.len() as u64 {
        return false;
    }
    if answer.check_id(1).is_err() {
        return false;
    }
    match answer.result(&MODEL, block) {
        Ok(result) => {
            let encoded = result.encode();
            assert_eq!(TrialSpikes::count(&encoded, &MODEL.shape()), Ok(result.len()));
            assert_eq!(TrialSpikes::decode(&encoded, &MODEL.shape()), Ok(result));
            true
        }
        Err(why) => {
            assert!(!why.to_string().is_empty());
            false
        }
    }
}

/// Takes a message of either side, or the spikes of a trial. It must be refused, or be the same after it is encoded and
/// decoded.
///
/// # Panics
/// If it is neither.
pub fn wire(bytes: &[u8]) -> bool {
    // All three are tried, whichever accepts. Many messages of one side pass for messages of the other side with
    // unknown fields.
    let from_worker = wire::FromWorker::decode(bytes).is_ok_and(|message| {
        let is_whole = message.encode_to_vec() == bytes;
        message.message.is_some_and(of_worker) && is_whole
    });
    let to_worker = wire::ToWorker::decode(bytes).is_ok_and(|message| {
        let is_whole = message.encode_to_vec() == bytes;
        message.message.is_some_and(of_coordinator) && is_whole
    });
    [from_worker, to_worker, spikes(bytes)].contains(&true)
}

fn of_worker(message: from_worker::Message) -> bool {
    use from_worker::Message;
    match message {
        Message::Hello(hello) => introduce(hello, exact(), 1).is_ok(),
        Message::Trial(result) if result.length == 0 => {
            let lease = result.lease;
            let Ok(result) = TrialResult::from_wire(result) else { return false };
            assert_eq!(Digest::of(&result.spikes), result.digest);
            assert_eq!(TrialResult::from_wire(result.to_wire(lease)).as_ref(), Ok(&result));
            spikes(&result.spikes);
            true
        }
        message => understand(wire::FromWorker { message: Some(message) }, &mut Assembly::default()).is_ok(),
    }
}

fn of_coordinator(message: to_worker::Message) -> bool {
    use to_worker::Message;
    match message {
        Message::Lease(lease) => {
            // Conditions are checked even if something else is wrong with their work.
            let conditions = match &lease.work {
                Some(wire::lease::Work::Trials(work)) => work.conditions.clone(),
                Some(wire::lease::Work::Survey(work)) => work.condition.clone().into_iter().collect(),
                None => Vec::new(),
            };
            for condition in conditions {
                let _ = condition_from_wire(Method::Pcg.engine(), condition);
            }
            let Ok(work) = WireWork::from_wire(ENGINES, lease.work) else { return false };
            assert_eq!(WireWork::from_wire(ENGINES, Some(work.to_wire())).as_ref(), Ok(&work));
            let (seed, models) = match work {
                WireWork::Trials(work) => (work.seed, work.models),
                WireWork::Survey(work) => (work.seed, vec![*work.model]),
            };
            for model in models {
                let _ = model.fingerprint().trial(seed, 0);
                let _ = model.engine().stream(&model, seed);
            }
            true
        }
        Message::Acknowledged(acknowledged) => {
            let Ok(name) = TrialName::from_wire(acknowledged) else { return false };
            assert_eq!(TrialName::from_wire(name.to_wire()), Ok(name));
            true
        }
        Message::Welcome(_) | Message::Goodbye(_) | Message::Revoked(_) => true,
    }
}

fn spikes(bytes: &[u8]) -> bool {
    let returns = [vec![], vec![2, 2]];
    let of_spikes = |sizes, steps| TrialShape { sizes, steps, returns: &[] };
    let shapes = [
        of_spikes(&[5000, 30], 20_000),
        of_spikes(&[512, 7], 60_000),
        of_spikes(&[u32::MAX, u32::MAX], u32::MAX),
        of_spikes(&[100], 1000),
        of_spikes(&[40, 30, 20], 1000),
        TrialShape { sizes: &[100], steps: 1000, returns: &returns },
    ];
    let accepted = shapes.map(|shape| {
        let spikes = TrialSpikes::decode(bytes, &shape);
        let count = TrialSpikes::count(bytes, &shape);
        assert_eq!(count, spikes.as_ref().map(TrialSpikes::len).map_err(|error| *error));
        spikes.is_ok_and(|spikes| {
            assert_eq!(spikes.encode(), bytes);
            true
        })
    });
    accepted.contains(&true)
}

/// Takes an access file. It must be the same after it is written and read, or give an error that can be shown to
/// anyone.
///
/// # Panics
/// If it is neither.
pub fn access(bytes: &[u8]) -> bool {
    match Access::parse(bytes) {
        Ok(access) => {
            let json = access.to_json();
            let again = Access::parse(json.as_bytes()).expect("it was one");
            assert_eq!((&again.addresses, &again.certificate), (&access.addresses, &access.certificate));
            assert_eq!((again.secret.expose(), again.to_json()), (access.secret.expose(), json));
            for address in &access.addresses {
                let parsed: Address = address.parse().expect("a checked address");
                assert!(access.certificate.is_some() || parsed.is_loopback(), "{address}");
            }
            true
        }
        Err(error) => {
            let told = format!("{error} {error:?}");
            assert!(told.chars().all(|c| !c.is_control()), "{told:?}");
            assert!(told.len() < 2000, "{told}");
            let found = serde_json::from_slice::<serde_json::Value>(bytes).ok();
            let secret = found.as_ref().and_then(|file| file["secret"].as_str()).unwrap_or("");
            // If the secret is an address as well, the error may show that address.
            let count = String::from_utf8_lossy(bytes).matches(secret).count();
            assert!(secret.len() < 32 || count != 1 || !told.contains(secret), "the secret is told");
            false
        }
    }
}

/// Takes the file of a store, as it is and once more with right hashes. It must be refused, or every value that is read
/// must have the digest that it was stored with. Values that are stored then must stay.
///
/// # Panics
/// If it is neither.
pub fn store(bytes: &[u8]) -> bool {
    let accepted = open(bytes);
    // A program that can write the file can make the hashes right. Such values may be anything, but reading them must
    // not panic either.
    open(&with_right_hashes(bytes));
    accepted
}

fn open(bytes: &[u8]) -> bool {
    let scratch = Scratch::new();
    fs::write(&scratch.0, bytes).expect("a file can be written");
    let store = match Store::open(&scratch.0) {
        Ok(store) => store,
        Err(StoreError::Corrupted { .. } | StoreError::Version { .. }) => return false,
        Err(error) => panic!("{error}"),
    };
    let digests = digests(bytes);
    let readable = values(&store, &digests);
    let damaged = store.damaged().expect("it can be read");
    assert!(damaged.iter().all(|key| store.contains(*key) && !readable.contains_key(key)));
    let held = digests.keys().filter(|key| store.contains(TrialKey(**key))).count();
    assert_eq!(held, store.found().trials);
    assert_eq!(held, readable.len() + damaged.len());

    // The values of the store stay, and damaged trials can be stored anew.
    let of_number = |number: u64| *blake3::hash(&number.to_le_bytes()).as_bytes();
    // A fuzzer that observes comparisons of keys may have put this key into the file.
    let own = TrialKey((0..).map(of_number).find(|key| !digests.contains_key(key)).expect("a new key"));
    let mut expected = readable;
    let new: Vec<StoreEntry<'_>> = damaged
        .iter()
        .chain([&own])
        .map(|&key| StoreEntry { key, digest: Digest::of(b"put"), spikes: b"put" })
        .collect();
    store.remove(&damaged).expect("it can be written");
    assert_eq!(store.put(&new).expect("it can be written"), vec![Put::New; new.len()]);
    let counts = store.spans(StreamKey(own.0)).len() as u32;
    store.push_spans(StreamKey(own.0), counts, &[1, 2]).expect("it can be written");
    expected.extend(new.iter().map(|entry| (entry.key, b"put".to_vec())));
    drop(store);
    let store = Store::open(&scratch.0).expect("it opens again");
    assert_eq!(store.found().trials, expected.len());
    assert_eq!(store.found().unfinished_bytes, 0);
    for (key, value) in expected {
        assert_eq!(store.get(key).expect("it is whole"), Some(value));
    }
    assert_eq!(store.spans(StreamKey(own.0)).len() as u32, counts + 2);
    true
}

/// Returns the values of these trials that the store can read.
fn values(store: &Store, digests: &BTreeMap<[u8; 32], BTreeSet<[u8; 32]>>) -> BTreeMap<TrialKey, Vec<u8>> {
    let mut values = BTreeMap::new();
    for (&key, digests) in digests {
        match store.get(TrialKey(key)) {
            Ok(Some(value)) => {
                assert!(digests.contains(&Digest::of(&value).0));
                values.insert(TrialKey(key), value);
            }
            Ok(None) | Err(StoreError::Damaged { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    values
}

// The format of a store's file is implemented here again, because the first implementation is under test.

const BLOCK: usize = 4096;
const FILE_HEAD: usize = 84;
const FRAME_HEAD: usize = 88;
const ENTRY: usize = 73;

/// Returns frames that may be there, and the directory of each as far as it is in the file.
fn frames(bytes: &[u8]) -> Vec<(usize, Range<usize>)> {
    let mut frames = Vec::new();
    for at in (BLOCK..bytes.len()).step_by(BLOCK) {
        let Some(head) = bytes.get(at..at + FRAME_HEAD) else { continue };
        if head.starts_with(b"\xf5granule") {
            let count = u64::from_le_bytes(head[8..16].try_into().expect("eight bytes"));
            let length = usize::try_from(count).unwrap_or(usize::MAX).saturating_mul(ENTRY);
            let begin = at + FRAME_HEAD;
            frames.push((at, begin..begin.saturating_add(length).min(bytes.len())));
        }
    }
    frames
}

/// Returns the digests that the file has for each trial, in whole frames or not.
fn digests(bytes: &[u8]) -> BTreeMap<[u8; 32], BTreeSet<[u8; 32]>> {
    let mut digests: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for (_, directory) in frames(bytes) {
        for entry in bytes[directory].chunks_exact(ENTRY) {
            let [key, digest] = [9, 41].map(|at| entry[at..at + 32].try_into().expect("32 bytes"));
            digests.entry(key).or_default().insert(digest);
        }
    }
    digests
}

/// Returns the file with a valid head, and with frames whose hashes are right, whatever they contain.
fn with_right_hashes(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if bytes.len() < FILE_HEAD {
        return bytes;
    }
    bytes[..16].copy_from_slice(b"granule store\r\n\0");
    bytes[16..20].copy_from_slice(&1_u32.to_le_bytes());
    let told = *blake3::hash(&bytes[..FILE_HEAD - 32]).as_bytes();
    bytes[FILE_HEAD - 32..FILE_HEAD].copy_from_slice(&told);
    let salt: [u8; 32] = bytes[20..52].try_into().expect("32 bytes");
    for (at, directory) in frames(&bytes) {
        // Without its digest, the counts of a noise stream are not read.
        let mut value = directory.end;
        for entry in directory.clone().step_by(ENTRY).filter(|entry| entry + ENTRY <= directory.end) {
            let length = u64::from_le_bytes(bytes[entry + 1..entry + 9].try_into().expect("eight bytes"));
            let end = value.saturating_add(usize::try_from(length).unwrap_or(usize::MAX));
            if bytes[entry] == 3
                && let Some(value) = bytes.get(value..end)
            {
                let digest = Digest::of(value).0;
                bytes[entry + 41..entry + ENTRY].copy_from_slice(&digest);
            }
            value = end;
        }
        let hash = |bytes: &[u8]| {
            let mut hasher = blake3::Hasher::new_keyed(&salt);
            *hasher.update(&(at as u64).to_le_bytes()).update(bytes).finalize().as_bytes()
        };
        let of_directory = hash(&bytes[directory]);
        bytes[at + 24..at + 56].copy_from_slice(&of_directory);
        let of_head = hash(&bytes[at..at + 56]);
        bytes[at + 56..at + FRAME_HEAD].copy_from_slice(&of_head);
    }
    bytes
}

/// A unique path. Dropping this removes the file.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        // A store waits for the disk at every step. Memory is faster, if the system has a directory in it.
        let memory = Path::new("/dev/shm");
        let directory = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        Scratch(directory.join(format!("granule-fuzz-{}-{count}", std::process::id())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Returns inputs to start from that cannot be written by hand: target, name and bytes. All are accepted.
///
/// # Panics
/// If no file can be written.
pub fn seeds() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let mut seeds = vec![
        ("store", "new", store_of(|_| ())),
        ("store", "trials", store_of(|store| put(store, 0..3))),
        (
            "store",
            "history",
            store_of(|store| {
                store.push_spans(StreamKey([9; 32]), 0, &[3_926_991, 3_927_004]).expect("it can be written");
                put(store, 0..2);
                put(store, 2..3);
                store.remove(&[key(1), key(2)]).expect("it can be written");
                put(store, 2..3);
                store.push_spans(StreamKey([9; 32]), 2, &[3_926_000]).expect("it can be written");
            }),
        ),
        // A directory of more than one block.
        ("store", "many", store_of(|store| put(store, 0..60))),
    ];
    seeds.extend(messages().map(|(name, bytes)| ("wire", name, bytes)));
    seeds
}

fn exact() -> &'static dyn Engine {
    Method::Brian2_2_2_1.engine()
}

/// Returns a message of every kind, and the spikes of a trial by themselves.
fn messages() -> impl Iterator<Item = (&'static str, Vec<u8>)> {
    use {from_worker::Message as From, to_worker::Message as To};
    let spike = |step, cell| Spike { step, cell };
    let granule = vec![spike(0, 3), spike(0, 4), spike(170, 0), spike(19_999, 511)];
    let golgi = vec![spike(5, 6), spike(300, 1)];
    let spikes = TrialSpikes::of(vec![granule, golgi]);
    let name = TrialName { fingerprint: Fingerprint([7; 32]), seed: 451, trial: 99 };
    let engine = exact();
    let hello = wire::Hello {
        protocol: PROTOCOL,
        version: "0.1.0".to_owned(),
        engines: vec![engine_to_wire(engine)],
        threads: 4,
        host: "host".to_owned(),
        process_id: 1234,
        name: vec![5; 16],
        epoch: 77,
        held: vec![3, 300],
        packages: vec![wire::Package { name: "numpy".to_owned(), version: "2.3".to_owned() }],
    };
    let result = TrialResult::new(name, spikes.encode());
    let from_worker = [
        ("hello", From::Hello(hello)),
        ("heartbeat", From::Heartbeat(wire::Heartbeat { held: vec![299, 300], last: 300 })),
        ("offered", From::Offered(wire::Offered {})),
        ("draining", From::Draining(wire::Draining { reason: "told to".to_owned() })),
        ("handed-back", From::HandedBack(wire::HandedBack { lease: 300 })),
        ("trial", From::Trial(result.to_wire(300))),
        ("announcement", From::Trial(result.announcement(300))),
        ("part", From::Part(result.part(3, 5).expect("a part").0)),
        ("no-result", From::NoResult(name.no_result(300, &NoResult::Failed("exit".to_owned())))),
        ("surveyed", From::Survey(wire::SurveyResult { lease: 2, findings: vec![3_926_991, 3_927_004] })),
        ("finished", From::Finished(wire::Finished { lease: 300 })),
        ("failed", From::Failed(wire::Failed { lease: 300, reason: "for no reason".to_owned() })),
    ];
    let presets = space().presets().iter().map(|preset| space().defaults().with(preset));
    let models: Vec<Model> = presets.map(|values| Model::new(engine, values).expect("a preset")).collect();
    let survey = WireWork::Survey(WireSurvey {
        engine,
        seed: 7,
        model: Box::new(models[0].clone()),
        first: 3,
        count: 4,
    });
    let start = Start { part: 1, skip: 6 };
    let trials = WireWork::Trials(WireTrials { engine, seed: 451, first: 3, count: 4, start, models });
    let lease = |id, work: WireWork| To::Lease(wire::Lease { id, work: Some(work.to_wire()) });
    let to_worker = [
        ("welcome", To::Welcome(wire::Welcome { heartbeat_ms: 1000, epoch: 77, kept: vec![3] })),
        ("revoked", To::Revoked(wire::Revoked { lease: 300 })),
        ("lease-of-trials", lease(300, trials)),
        ("lease-of-a-survey", lease(2, survey)),
        ("acknowledged", To::Acknowledged(name.to_wire())),
        (
            "goodbye",
            To::Goodbye(wire::Goodbye { reason: "the sweep is complete".to_owned(), refused: false }),
        ),
    ];
    let encoded = |message| wire::FromWorker { message: Some(message) }.encode_to_vec();
    let from_worker = from_worker.map(|(name, message)| (name, encoded(message)));
    let encoded = |message| wire::ToWorker { message: Some(message) }.encode_to_vec();
    let to_worker = to_worker.map(|(name, message)| (name, encoded(message)));
    from_worker.into_iter().chain(to_worker).chain([("spikes", spikes.encode())])
}

fn key(i: u8) -> TrialKey {
    TrialKey([i; 32])
}

fn put(store: &Store, trials: Range<u8>) {
    let spikes: Vec<(TrialKey, Vec<u8>)> = trials.map(|i| (key(i), vec![i; 7 * usize::from(i)])).collect();
    fn entry((key, spikes): &(TrialKey, Vec<u8>)) -> StoreEntry<'_> {
        StoreEntry { key: *key, digest: Digest::of(spikes), spikes }
    }
    let batch: Vec<StoreEntry<'_>> = spikes.iter().map(entry).collect();
    store.put(&batch).expect("it can be written");
}

fn store_of(fill: impl FnOnce(&Store)) -> Vec<u8> {
    let scratch = Scratch::new();
    fill(&Store::open(&scratch.0).expect("a new store"));
    fs::read(&scratch.0).expect("its file")
}
