use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

const FRAME_HEAD_AND_ENTRY: usize = FRAME_HEAD + ENTRY;

fn key(i: u32) -> TrialKey {
    TrialKey(*blake3::hash(&i.to_le_bytes()).as_bytes())
}

fn stream(i: u32) -> StreamKey {
    StreamKey(key(i).0)
}

/// Endless bytes that look random, the same for the same seed.
struct Bytes(blake3::OutputReader);

impl Bytes {
    fn new(seed: u32) -> Bytes {
        Bytes(blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof())
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.0.fill(&mut bytes);
        bytes
    }

    fn below(&mut self, bound: usize) -> usize {
        let bytes = self.take(8);
        (u64::from_le_bytes(bytes.try_into().unwrap()) % bound as u64) as usize
    }
}

fn spikes(i: u32) -> Vec<u8> {
    let mut bytes = Bytes::new(i);
    let length = bytes.below(6000);
    bytes.take(length)
}

fn put(store: &Store, trials: impl IntoIterator<Item = u32>) -> Result<Vec<Put>, StoreError> {
    let values: Vec<_> = trials.into_iter().map(|i| (key(i), spikes(i))).collect();
    let batch: Vec<_> = values
        .iter()
        .map(|(key, spikes)| StoreEntry { key: *key, digest: Digest::of(spikes), spikes })
        .collect();
    store.put(&batch)
}

fn holds(store: &Store, i: u32) -> bool {
    let got = store.get(key(i)).unwrap();
    assert_eq!(got.is_some(), store.contains(key(i)));
    assert!(got.as_ref().is_none_or(|got| *got == spikes(i)), "trial {i}");
    got.is_some()
}

fn new_store() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("spikes.store");
    (directory, path)
}

#[test]
fn what_is_put_is_got_also_after_opening_again() {
    let (_directory, path) = new_store();
    let store = Store::open(&path).unwrap();
    assert_eq!(store.found(), Found::default());
    assert_eq!(put(&store, 0..200).unwrap(), vec![Put::New; 200]);
    assert_eq!(put(&store, 200..201).unwrap(), [Put::New]);
    assert_eq!(put(&store, []).unwrap(), []);
    // Some values are copied into their frame, others are written separately.
    let large = [1, LARGE - 1, LARGE, LARGE + 300_000, 5, LARGE + 1].map(|length| Bytes::new(7).take(length));
    let entry = |(i, spikes): (u32, &'_ Vec<u8>)| (key(201 + i), Digest::of(spikes), spikes.clone());
    let large: Vec<(TrialKey, Digest, Vec<u8>)> = (0..).zip(&large).map(entry).collect();
    let entries: Vec<StoreEntry<'_>> =
        large.iter().map(|(key, digest, spikes)| StoreEntry { key: *key, digest: *digest, spikes }).collect();
    store.put(&entries).unwrap();
    store.push_spans(stream(0), 0, &[5, 6]).unwrap();
    store.push_spans(stream(0), 2, &[7]).unwrap();
    drop(store);

    let store = Store::open(&path).unwrap();
    assert_eq!(store.found(), Found { trials: 207, ..Found::default() });
    assert!((0..201).all(|i| holds(&store, i)));
    for (key, _, spikes) in large {
        assert!(store.get(key).unwrap().unwrap() == spikes);
    }
    assert!(!holds(&store, 300));
    assert_eq!(store.spans(stream(0)), [5, 6, 7]);
    assert_eq!(store.damaged().unwrap(), []);
}

#[test]
fn a_second_put_is_the_same_or_differs() {
    let (_directory, path) = new_store();
    let store = Store::open(&path).unwrap();
    let entry = |i, spikes| StoreEntry { key: key(i), digest: Digest::of(spikes), spikes };
    let differs = Put::Differs { stored: Digest::of(b"a") };
    let answers = store.put(&[entry(0, b"a"), entry(0, b"a"), entry(0, b"b"), entry(1, b"")]).unwrap();
    assert_eq!(answers, [Put::New, Put::Same, differs, Put::New]);
    let length = path.metadata().unwrap().len();
    assert_eq!(
        store.put(&[entry(0, b"b"), entry(0, b"a"), entry(1, b"")]).unwrap(),
        [differs, Put::Same, Put::Same]
    );
    assert_eq!(path.metadata().unwrap().len(), length, "nothing to write");
    assert_eq!(store.get(key(0)).unwrap().unwrap(), b"a");

    let wrong = StoreEntry { key: key(3), digest: Digest::of(b"a"), spikes: b"b" };
    assert!(
        matches!(store.put(&[entry(2, b"c"), wrong]), Err(StoreError::Mislabelled { key: k }) if k == key(3))
    );
    assert!(!store.contains(key(2)));

    store.remove(&[key(0), key(9)]).unwrap();
    assert!(!store.contains(key(0)));
    assert_eq!(store.put(&[entry(0, b"b")]).unwrap(), [Put::New]);
    drop(store);
    assert_eq!(Store::open(&path).unwrap().get(key(0)).unwrap().unwrap(), b"b");
}

#[test]
fn spans_only_continue() {
    let (_directory, path) = new_store();
    let store = Store::open(&path).unwrap();
    let error = store.push_spans(stream(0), 1, &[5]).unwrap_err();
    assert!(matches!(error, StoreError::Gap { stored: 0, first: 1, .. }), "{error}");
    store.push_spans(stream(0), 0, &[]).unwrap();
    store.push_spans(stream(0), 0, &[5, 6]).unwrap();
    store.push_spans(stream(0), 0, &[5]).unwrap();
    store.push_spans(stream(0), 1, &[6, 7, 8]).unwrap();
    let error = store.push_spans(stream(0), 2, &[7, 9, 1]).unwrap_err();
    assert!(matches!(error, StoreError::Conflict { index: 3, stored: 8, offered: 9, .. }), "{error}");
    assert!(matches!(store.push_spans(stream(0), 5, &[]), Err(StoreError::Gap { stored: 4, .. })));
    store.push_spans(stream(1), 0, &[1]).unwrap();
    drop(store);
    let store = Store::open(&path).unwrap();
    assert_eq!(store.spans(stream(0)), [5, 6, 7, 8]);
    assert_eq!(store.spans(stream(1)), [1]);
    assert_eq!(store.spans(stream(2)), Vec::<u32>::new());
}

#[derive(Clone, Debug)]
enum Step {
    Put(Vec<u32>),
    Remove(Vec<u32>),
    Push { first: u32, count: u32 },
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let trials = || proptest::collection::vec(0_u32..12, 0..5);
    let step = prop_oneof![
        trials().prop_map(Step::Put),
        trials().prop_map(Step::Remove),
        (0_u32..9, 0_u32..5).prop_map(|(first, count)| Step::Push { first, count }),
        Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 1..20)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_store_does_as_a_map_would(steps in steps()) {
        let (_directory, path) = new_store();
        let mut store = Some(Store::open(&path).unwrap());
        let mut trials = std::collections::BTreeSet::new();
        let mut spans = 0;
        for step in steps {
            let open = store.as_ref().unwrap();
            match step {
                Step::Put(batch) => {
                    let expected: Vec<_> = (batch.iter())
                        .map(|&i| if trials.insert(i) { Put::New } else { Put::Same })
                        .collect();
                    prop_assert_eq!(put(open, batch).unwrap(), expected);
                }
                Step::Remove(batch) => {
                    open.remove(&batch.iter().map(|&i| key(i)).collect::<Vec<_>>()).unwrap();
                    trials.retain(|i| !batch.contains(i));
                }
                Step::Push { first, count } => {
                    let counts: Vec<u32> = (first..first + count).collect();
                    prop_assert_eq!(open.push_spans(stream(0), first, &counts).is_ok(), first <= spans);
                    if first <= spans {
                        spans = spans.max(first + count);
                    }
                }
                Step::Reopen => {
                    drop(store.take());
                    let again = Store::open(&path).unwrap();
                    prop_assert_eq!(again.found(), Found { trials: trials.len(), ..Found::default() });
                    store = Some(again);
                }
            }
            let open = store.as_ref().unwrap();
            for i in 0..12 {
                prop_assert_eq!(holds(open, i), trials.contains(&i));
            }
            prop_assert_eq!(open.spans(stream(0)), (0..spans).collect::<Vec<_>>());
        }
    }
}

/// Runs [`child`] in another process, after these shell commands.
fn spawn(role: &str, path: &Path, before: &str) -> Child {
    let (_, module) = module_path!().split_once("::").unwrap();
    Command::new("sh")
        .args(["-c", &format!("{before} exec \"$0\" \"$@\"")])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &format!("{module}::child"), "--nocapture", "--test-threads=1"])
        .envs([("GRANULE_STORE_ROLE", role.as_ref()), ("GRANULE_STORE_PATH", path.as_os_str())])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// No test by itself: the tests below run this in another process.
#[test]
fn child() {
    let Ok(role) = std::env::var("GRANULE_STORE_ROLE") else { return };
    let path = PathBuf::from(std::env::var_os("GRANULE_STORE_PATH").unwrap());
    let say = |word: &str| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "\n> {word}").unwrap();
        out.flush().unwrap();
    };
    match (role.as_str(), Store::open(&path)) {
        ("open", Ok(_)) => say("opened"),
        ("open", Err(error)) => say(&error.to_string()),
        ("write", Ok(store)) => {
            for i in (0_u32..).filter(|&i| !store.contains(key(i))) {
                put(&store, [i]).unwrap();
                let next = store.spans(stream(0)).len() as u32;
                store.push_spans(stream(0), next, &[next]).unwrap();
                say(&i.to_string());
            }
        }
        ("fill", Ok(store)) => {
            let mut full = 0_u32..;
            let (stored, error) =
                full.find_map(|i| put(&store, [2 * i, 2 * i + 1]).err().map(|e| (i, e))).unwrap();
            say(&stored.to_string());
            say(&error.to_string());
            // Neither trial of the batch is stored, its space is freed, and smaller batches may still fit.
            assert!(!store.contains(key(2 * stored)) && !store.contains(key(2 * stored + 1)));
            assert_eq!(path.metadata().unwrap().len(), store.tail().end);
            assert!((0..2 * stored).all(|i| holds(&store, i)));
            let after: Vec<_> = (0..40)
                .map(|_| {
                    store.put(&[StoreEntry { key: key(u32::MAX), digest: Digest::of(b"x"), spikes: b"x" }])
                })
                .collect();
            say(if after.iter().all(|result| result.is_ok()) { "goes on" } else { "full for one, too" });
        }
        (role, result) => panic!("{role}: {result:?}"),
    }
}

fn words(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.map_while(Result::ok).filter_map(|line| line.strip_prefix("> ").map(str::to_owned))
}

#[test]
fn a_store_is_opened_once_at_a_time() {
    let (_directory, path) = new_store();
    let store = Store::open(&path).unwrap();
    assert!(matches!(Store::open(&path), Err(StoreError::InUse { .. })));
    let mut other = spawn("open", &path, "");
    let answer: Vec<_> = words(&mut other).collect();
    other.wait().unwrap();
    let message = format!(
        "the store {} is in use by another granule process: wait until it ends, or stop it",
        path.display()
    );
    assert_eq!(answer, [message]);
    drop(store);
    let mut other = spawn("open", &path, "");
    assert_eq!(words(&mut other).collect::<Vec<_>>(), ["opened"]);
    other.wait().unwrap();
}

#[test]
fn a_killed_process_loses_nothing_acknowledged() {
    let (_directory, path) = new_store();
    let mut acknowledged = 0;
    for round in 0..12_u64 {
        let mut writer = spawn("write", &path, "");
        let mut words = words(&mut writer);
        let first = words.next().unwrap();
        std::thread::sleep(Duration::from_micros(1700 * round * round));
        writer.kill().unwrap();
        let last = words.last().unwrap_or(first);
        acknowledged = last.parse::<u32>().unwrap() + 1;
        writer.wait().unwrap();
        let store = Store::open(&path).unwrap();
        assert_eq!(store.found().damaged_bytes, 0);
        assert!((0..acknowledged).all(|i| holds(&store, i)), "round {round}");
        assert!(!holds(&store, acknowledged + 1));
        let spans = store.spans(stream(0));
        assert!(spans.iter().copied().eq(0..spans.len() as u32));
        // A kill between the two writes of a trial loses a span.
        assert!(spans.len() as u64 >= u64::from(acknowledged) - round - 1);
    }
    assert!(acknowledged > 12);
}

#[test]
fn a_full_disk_refuses_and_loses_nothing() {
    let (_directory, path) = new_store();
    // A limit on the size of files, reported by an error instead of a signal.
    let mut child = spawn("fill", &path, "trap '' XFSZ; ulimit -f 200;");
    let said: Vec<_> = words(&mut child).collect();
    assert!(child.wait().unwrap().success(), "{said:?}");
    let [stored, message, end] = &said[..] else { panic!("{said:?}") };
    assert!(message.starts_with(&format!("cannot write to the store {}: ", path.display())), "{message}");
    assert!(message.contains("File too large"), "{message}");
    assert!(["goes on", "full for one, too"].contains(&end.as_str()));
    let stored: u32 = stored.parse().unwrap();
    assert!(stored > 3);
    let store = Store::open(&path).unwrap();
    assert_eq!((store.found().unfinished_bytes, store.found().damaged_bytes), (0, 0));
    assert!((0..2 * stored).all(|i| holds(&store, i)));
    assert_eq!(put(&store, [2 * stored]).unwrap(), [Put::New]);
}

/// Returns the bytes of a store of small batches, and for each batch its end in the file and its trials.
fn image() -> (Vec<u8>, Vec<(usize, std::ops::Range<u32>)>) {
    let (_directory, path) = new_store();
    let store = Store::open(&path).unwrap();
    let mut batches = Vec::new();
    let mut next = 0;
    for size in [1, 3, 70, 1, 1, 2, 5, 1, 4] {
        put(&store, next..next + size).unwrap();
        batches.push((path.metadata().unwrap().len() as usize, next..next + size));
        store.push_spans(stream(0), next, &(next..next + size).collect::<Vec<_>>()).unwrap();
        next += size;
    }
    (std::fs::read(&path).unwrap(), batches)
}

#[test]
fn after_a_power_cut_every_batch_is_there_or_was_never_acknowledged() {
    let (_directory, path) = new_store();
    let (image, batches) = image();
    let check = |bytes: &[u8], acknowledged: usize, attempted: usize, what: &str| {
        std::fs::write(&path, bytes).unwrap();
        for opening in 0..2 {
            let store = Store::open(&path).unwrap();
            assert_eq!(store.found().damaged_bytes, 0, "{what}");
            assert!(opening == 0 || store.found().unfinished_bytes == 0, "{what}");
            for (end, trials) in &batches {
                let is_there = trials.clone().map(|i| holds(&store, i)).collect::<Vec<_>>();
                assert!(is_there.iter().all(|&this| this == is_there[0]), "{what}: a batch is atomic");
                assert!(is_there[0] || *end > acknowledged, "{what}: acknowledged");
                assert!(!is_there[0] || *end <= attempted, "{what}: out of nowhere");
            }
            assert_eq!(put(&store, [1000]).unwrap(), [if opening == 0 { Put::New } else { Put::Same }]);
        }
    };
    let mut random = Bytes::new(1);
    let mut ends: Vec<usize> = batches.iter().map(|&(end, _)| end).collect();
    ends.insert(0, BLOCK as usize);
    for window in ends.windows(2) {
        let [before, end] = window else { unreachable!() };
        // Between two puts, spans are pushed.
        let before = if *before == BLOCK as usize { *before } else { before + BLOCK as usize };
        // The file was cut off while it grew: everything before this place is written.
        let cuts = [
            before,
            before + 1,
            before + FRAME_HEAD,
            before + FRAME_HEAD_AND_ENTRY,
            end - 4097,
            end - 1,
            *end,
        ];
        for cut in cuts.into_iter().filter(|&cut| cut >= before) {
            check(&image[..cut], before, *end, &format!("cut at {cut}"));
        }
        // Sectors of the last frame are written in any order, so some are missing.
        for case in 0..6 {
            let mut bytes = image[..*end].to_vec();
            for sector in bytes[before..].chunks_mut(512) {
                if random.below(4) == 0 {
                    sector.fill(0);
                }
            }
            check(&bytes, before, *end, &format!("sectors missing before {end}, case {case}"));
        }
    }
    // Power cuts while the store itself was made.
    for bytes in [&[][..], &[0; 84], &[0; BLOCK as usize], &image[..84]] {
        check(bytes, 0, 0, "made");
    }
}

#[test]
fn damage_costs_what_it_hit_and_nothing_else() {
    let (_directory, path) = new_store();
    let (image, batches) = image();
    let blocks = image.len() / BLOCK as usize;
    let (mut refused, mut lost, mut unscathed) = (0, 0, 0);
    for case in 0..200 {
        let mut random = Bytes::new(1_000_000 + case);
        let mut bytes = image.clone();
        // Heads and directories are small, and random places would hit them too rarely.
        let at = match random.below(20) {
            0 => random.below(FILE_HEAD),
            1..10 => random.below(blocks) * BLOCK as usize + random.below(200),
            _ => random.below(image.len()),
        };
        let length = match random.below(3) {
            0 => 1,
            1 => 1 + random.below(600),
            _ => 1 + random.below(40_000),
        };
        let mut hit = at..(at + length).min(image.len());
        match random.below(5) {
            0 => bytes[hit.clone()].iter_mut().for_each(|byte| *byte ^= 0x10),
            1 => bytes[hit.clone()].fill(0),
            2 => bytes[hit.clone()].copy_from_slice(&random.take(hit.len())),
            3 => {
                bytes.truncate(at);
                hit.end = image.len();
            }
            // A misplaced copy of other blocks, including valid frames.
            _ => {
                hit.start -= hit.start % BLOCK as usize;
                let from = random.below(blocks) * BLOCK as usize;
                let length = hit.len().min(image.len() - from);
                hit.end = hit.start + length;
                bytes[hit.clone()].copy_from_slice(&image[from..from + length]);
            }
        }
        std::fs::write(&path, &bytes).unwrap();
        let store = match Store::open(&path) {
            Ok(store) => store,
            Err(StoreError::Corrupted { .. }) if hit.start < FILE_HEAD => {
                refused += 1;
                continue;
            }
            Err(error) => panic!("case {case}: {error}"),
        };
        // The batches follow one another in the file, each with a block of spans behind it.
        let mut begin = BLOCK as usize;
        let mut is_clean = true;
        for (end, trials) in &batches {
            let is_hit =
                hit.start < *end && hit.end > begin && bytes.get(begin..*end) != Some(&image[begin..*end]);
            for i in trials.clone() {
                match store.get(key(i)) {
                    Ok(Some(got)) => assert_eq!(got, spikes(i), "case {case}"),
                    Ok(None) => assert!(is_hit, "case {case}: trial {i} is missing"),
                    Err(StoreError::Damaged { key: named, .. }) => {
                        assert!(is_hit && named == key(i), "case {case}")
                    }
                    Err(error) => panic!("case {case}: {error}"),
                }
            }
            is_clean &= !is_hit;
            begin = end + BLOCK as usize;
        }
        if is_clean {
            unscathed += 1
        } else {
            lost += 1
        }
        let spans = store.spans(stream(0));
        assert!(spans.iter().copied().eq(0..spans.len() as u32), "case {case}");

        // The damage is repaired, for this and every later opening.
        let damaged = store.damaged().unwrap();
        assert!(damaged.is_empty() || !is_clean, "case {case}");
        store.remove(&damaged).unwrap();
        put(&store, 0..88).unwrap();
        store
            .push_spans(stream(0), spans.len() as u32, &(spans.len() as u32..88).collect::<Vec<_>>())
            .unwrap();
        drop(store);
        let store = Store::open(&path).unwrap();
        assert!((0..88).all(|i| holds(&store, i)), "case {case}");
        assert_eq!(store.spans(stream(0)), (0..88).collect::<Vec<_>>(), "case {case}");
    }
    assert!(refused > 3 && lost > 100 && unscathed > 5, "{refused} {lost} {unscathed}");
}

#[test]
fn damage_under_an_open_store_is_seen_and_healed_by_the_next_put() {
    let (_directory, path) = new_store();
    let store = Store::open(&path).unwrap();
    put(&store, 0..3).unwrap();
    let place = store.index().trials[&key(1)];
    let file = File::options().write(true).open(&path).unwrap();
    file.write_all_at(&[!spikes(1)[0]], place.at).unwrap();

    let error = store.get(key(1)).unwrap_err();
    let message = format!(
        "the store {} has damaged spikes of trial {}; a run of the sweep computes it again",
        path.display(),
        key(1)
    );
    assert_eq!(error.to_string(), message);
    assert_eq!(store.damaged().unwrap(), [key(1)]);
    assert_eq!(put(&store, 0..3).unwrap(), [Put::Same, Put::New, Put::Same]);
    assert!(holds(&store, 1));

    file.set_len(100).unwrap();
    assert_eq!(store.damaged().unwrap(), [0, 2, 1].map(key));
}

#[test]
fn damage_to_the_last_finished_frame_is_no_unfinished_write() {
    let (_directory, path) = new_store();
    let store = Store::open(&path).unwrap();
    put(&store, 0..3).unwrap();
    let place = store.index().trials[&key(1)];
    let end = store.tail().end;
    drop(store);
    let file = File::options().write(true).open(&path).unwrap();
    file.write_all_at(&[!spikes(1)[0]], place.at).unwrap();
    // The beginning of a next frame, which is only written after the last one is durable.
    file.write_all_at(&FRAME_MAGIC, end).unwrap();
    for unfinished_bytes in [8, 0] {
        let found = Found { trials: 3, unfinished_bytes, damaged_bytes: 0 };
        let store = Store::open(&path).unwrap();
        if unfinished_bytes > 0 {
            assert_eq!(store.found(), found);
            assert_eq!(store.damaged().unwrap(), [key(1)]);
            store.remove(&[key(1)]).unwrap();
        } else {
            assert_eq!(store.found(), Found { trials: 2, ..found });
        }
        assert!(holds(&store, 0) && holds(&store, 2));
    }
}

#[test]
fn a_deleted_store_acknowledges_nothing() {
    let (_directory, path) = new_store();
    let store = Store::open(&path).unwrap();
    put(&store, 0..3).unwrap();
    std::fs::remove_file(&path).unwrap();
    let message = format!("cannot write to the store {}: its file was deleted; run again", path.display());
    assert_eq!(put(&store, 3..4).unwrap_err().to_string(), message);
}

#[test]
fn what_is_no_store_is_refused_and_left_alone() {
    let (directory, path) = new_store();
    let unreadable = |what: &str| format!("{} is not a readable store: {what}", path.display());
    drop(Store::open(&path).unwrap());
    let head = std::fs::read(&path).unwrap();
    let mut newer = head[..FILE_HEAD - 32].to_vec();
    newer[FILE_MAGIC.len()] = 2;
    newer.extend(blake3::hash(&newer).as_bytes());
    let mut flipped = head.clone();
    flipped[30] ^= 1;
    let version = format!(
        "the store {} has format 2, but this granule reads format 1: use the version of granule that wrote it",
        path.display()
    );
    let check = |bytes: &[u8], message: &str| {
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(Store::open(&path).unwrap_err().to_string(), message);
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    };
    check(b"conditions: [Control]\n", &unreadable("it is text, perhaps a sweep file"));
    check("{ \"µ\": 1 }".repeat(1000).as_bytes(), &unreadable("it is text, perhaps JSON"));
    check(&"é".repeat(4096).as_bytes()[1..], &unreadable("it does not start like a store"));
    check("é".repeat(4096).as_bytes(), &unreadable("it is text, perhaps a sweep file"));
    check(format!("x{}", "é".repeat(4096)).as_bytes(), &unreadable("it is text, perhaps a sweep file"));
    check(b"\x93NUMPY\x01\0v\0", &unreadable("it is a numpy array"));
    check(b"PAR1\x15", &unreadable("it is a Parquet table"));
    check(&Bytes::new(0).take(100_000), &unreadable("it does not start like a store"));
    check(&[0; 4097], &unreadable("it does not start like a store"));
    check(&head[..10], &unreadable("it is truncated"));
    check(&head[..83], &unreadable("it is truncated"));
    check(&flipped, &unreadable("its first block is damaged"));
    check(&newer, &version);

    let check = |path: &Path, message: &str| {
        let error = Store::open(path).unwrap_err().to_string();
        assert!(error.starts_with(message), "{error}");
    };
    check(directory.path(), &format!("cannot open the store {}: Is a directory", directory.path().display()));
    let nowhere = directory.path().join("no/such.store");
    check(&nowhere, &format!("cannot open the store {}: No such file", nowhere.display()));
    check(Path::new("/dev/full"), "/dev/full is not a readable store: it is not a regular file");
}

#[test]
fn threads_share_a_store() {
    let (_directory, path) = new_store();
    let store = Store::open(&path).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4_u32 {
            let store = &store;
            scope.spawn(move || {
                for i in 0..10 {
                    put(store, [i, 100 * thread + i]).unwrap();
                    assert!(holds(store, i) && holds(store, 100 * thread + i));
                }
            });
        }
    });
    assert_eq!(store.damaged().unwrap(), []);
}
