//! A short version of the fuzzing in `fuzz/`: every file of the corpus, and mutations of it.
//!
//! `GRANULE_FUZZ_INPUTS` sets the number of mutations of each file. `GRANULE_FUZZ_SEEDS=1` writes the generated files
//! of the corpus again.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use granule::fuzz::{TARGETS, seeds};
use rand::{Rng, RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use crate::support::root;

/// The default number of mutations of each file, which takes seconds for each target.
const INPUTS: [(&str, u64); 6] = [
    ("sweep", 10_000),
    ("wire", 50_000),
    ("store", 2_000),
    ("access", 50_000),
    ("model", 2_000),
    ("program", 50_000),
];

/// A limit far above the time that any input takes on any machine.
const LONGEST: Duration = Duration::from_secs(20);

/// Files of a directory below `fuzz/` by name; none if there is no such directory.
fn files(directory: &str) -> BTreeMap<String, Vec<u8>> {
    let directory = root().join("fuzz").join(directory);
    let Ok(entries) = fs::read_dir(&directory) else { return BTreeMap::new() };
    let read = |path: PathBuf| fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let name = |path: &Path| path.file_name().and_then(|name| name.to_str()).expect("text").to_owned();
    entries.map(|entry| entry.expect("an entry").path()).map(|path| (name(&path), read(path))).collect()
}

fn run(name: &str) {
    let (_, target) = TARGETS.into_iter().find(|(of, _)| *of == name).expect("a target");
    let mutations = match std::env::var("GRANULE_FUZZ_INPUTS") {
        Ok(count) => count.parse().expect("GRANULE_FUZZ_INPUTS is a number"),
        Err(_) => INPUTS.iter().find(|(of, _)| *of == name).expect("a target").1,
    };
    let corpus = files(&format!("corpus/{name}"));
    let regressions = files(&format!("regressions/{name}"));
    assert!(corpus.len() >= 4, "{} files", corpus.len());
    let pool: Vec<&[u8]> = corpus.values().chain(regressions.values()).map(Vec::as_slice).collect();
    let (mut inputs, mut accepted, mut slowest) = (0_u64, 0_u64, Duration::ZERO);
    let mut check = |bytes: &[u8], what: &dyn Fn() -> String| {
        let begun = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| target(bytes)));
        let took = begun.elapsed();
        let Ok(is_accepted) = outcome.as_ref().copied().map_err(drop) else {
            let path = keep(name, bytes);
            panic!("{}; the input is {}: see fuzz/README.md", what(), path.display());
        };
        assert!(took < LONGEST, "{}: {took:?}", what());
        inputs += 1;
        accepted += u64::from(is_accepted);
        slowest = slowest.max(took);
        is_accepted
    };

    // First the files themselves: valid files are accepted, so that mutations start near valid input.
    for (file, bytes) in &corpus {
        let is_accepted = check(bytes, &|| format!("corpus/{name}/{file}"));
        assert_eq!(is_accepted, file.starts_with("valid-"), "corpus/{name}/{file}");
    }
    for (file, bytes) in &regressions {
        check(bytes, &|| format!("regressions/{name}/{file}"));
    }
    let begun = Instant::now();
    for (at, bytes) in pool.iter().enumerate() {
        for seed in 0..mutations {
            let mut random = Pcg64Mcg::seed_from_u64(seed << 16 | at as u64);
            let input = mutated(bytes, &pool, &mut random);
            check(&input, &|| format!("mutation {seed} of file {at} of {name}"));
        }
    }
    let took = begun.elapsed().as_secs_f64();
    // Printed even if the output of passing tests is captured.
    let _ = writeln!(
        std::io::stderr(),
        "{name}: {inputs} inputs from {} files in {took:.1} s, {accepted} of them accepted; the slowest took {slowest:.1?}",
        pool.len()
    );
}

/// Keeps an input that failed.
fn keep(name: &str, bytes: &[u8]) -> PathBuf {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut file = format!("fuzz-{name}");
    let _ = write!(file, "-{hash:016x}");
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(file);
    fs::write(&path, bytes).expect("a file can be written");
    path
}

/// Returns bytes with one or more changes.
fn mutated(bytes: &[u8], pool: &[&[u8]], random: &mut impl Rng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..random.random_range(1..=4) {
        mutate(&mut bytes, pool, random);
    }
    // Mutations can double the length, so it is limited.
    bytes.truncate(1 << 17);
    bytes
}

fn mutate(bytes: &mut Vec<u8>, pool: &[&[u8]], random: &mut impl Rng) {
    const NUMBERS: [u64; 12] = [
        0,
        1,
        0x7f,
        0x80,
        0xff,
        0x1000,
        0xffff,
        i32::MAX as u64,
        u32::MAX as u64,
        i64::MAX as u64,
        u64::MAX - 4095,
        u64::MAX,
    ];
    const WORDS: [&str; 16] = [
        "-1",
        "0",
        "1e999",
        "99999999999999999999",
        "0.1",
        "nan",
        "~",
        "[]",
        "{}",
        "'",
        "\"",
        ": ",
        "- ",
        "\t",
        "&a ",
        "µ\u{301}\u{202e}",
    ];
    let piece = some(bytes.len(), random);
    match random.random_range(0..11) {
        0 if !bytes.is_empty() => {
            let at = random.random_range(0..bytes.len());
            bytes[at] ^= 1 << random.random_range(0..8);
        }
        1 if !bytes.is_empty() => {
            let at = random.random_range(0..bytes.len());
            bytes[at] = random.random();
        }
        2 => bytes.truncate(piece.start),
        3 => drop(bytes.drain(piece)),
        4 => {
            let copy = bytes[piece].to_vec();
            insert(bytes, &copy, random);
        }
        5 => {
            // Replaces a piece by a piece of another input.
            let other = pool[random.random_range(0..pool.len())];
            let of_other = some(other.len(), random);
            bytes.splice(piece, other[of_other].iter().copied());
        }
        6 => {
            // Replaces the end by the end of another input.
            let other = pool[random.random_range(0..pool.len())];
            bytes.truncate(piece.start);
            bytes.extend(&other[piece.start.min(other.len())..]);
        }
        7 => {
            // Writes a binary number at any place, or at a multiple of 8, where numbers can be.
            let number = NUMBERS[random.random_range(0..NUMBERS.len())].to_le_bytes();
            let width = [1, 2, 4, 8][random.random_range(0..4)];
            let at = random.random_range(0..=bytes.len());
            let at = if random.random_bool(0.5) { at / 8 * 8 } else { at };
            let end = (at + width).min(bytes.len());
            bytes[at..end].copy_from_slice(&number[..end - at]);
        }
        8 => number_in_text(bytes, random),
        9 => insert(bytes, WORDS[random.random_range(0..WORDS.len())].as_bytes(), random),
        _ => {
            // Copies a block over another block, as a disk error would.
            let blocks = bytes.len() / 4096;
            if blocks > 1 {
                let [from, to] = [0, 1].map(|_| random.random_range(0..blocks) * 4096);
                bytes.copy_within(from..from + 4096, to);
            } else {
                bytes.reverse();
            }
        }
    }
}

/// A range within this length, mostly a short one.
fn some(length: usize, random: &mut impl Rng) -> Range<usize> {
    let start = random.random_range(0..=length);
    let most = if random.random_bool(0.8) { (length - start).min(40) } else { length - start };
    start..start + random.random_range(0..=most)
}

fn insert(bytes: &mut Vec<u8>, what: &[u8], random: &mut impl Rng) {
    let at = random.random_range(0..=bytes.len());
    bytes.splice(at..at, what.iter().copied());
}

/// Changes one of the decimal numbers.
fn number_in_text(bytes: &mut Vec<u8>, random: &mut impl Rng) {
    let is_digit = |at: &usize| bytes[*at].is_ascii_digit();
    let starts: Vec<usize> =
        (0..bytes.len()).filter(|at| is_digit(at) && (*at == 0 || !is_digit(&(at - 1)))).collect();
    if starts.is_empty() {
        return;
    }
    let start = starts[random.random_range(0..starts.len())];
    let end = (start..bytes.len()).find(|at| !is_digit(at)).unwrap_or(bytes.len());
    let digits = String::from_utf8(bytes[start..end].to_vec()).expect("digits");
    let new = match random.random_range(0..6) {
        0 => format!("-{digits}"),
        1 => format!("{digits}0"),
        2 => digits.parse::<u128>().map_or(digits.clone(), |number| (number + 1).to_string()),
        3 => digits.parse::<u128>().map_or(digits.clone(), |number| number.saturating_sub(1).to_string()),
        4 => format!("{digits}e{}", random.random_range(-400..400)),
        _ => random.random::<u64>().to_string(),
    };
    bytes.splice(start..end, new.into_bytes());
}

#[test]
fn sweep_files() {
    run("sweep");
}

#[test]
fn messages() {
    run("wire");
}

#[test]
fn stores() {
    run("store");
}

#[test]
fn model_files() {
    run("model");
}

#[test]
fn answers_of_programs() {
    run("program");
}

#[test]
fn access_files() {
    run("access");
}

#[test]
fn seeds_that_programs_make_are_accepted() {
    let write = std::env::var_os("GRANULE_FUZZ_SEEDS").is_some();
    for (name, file, bytes) in seeds() {
        let (_, target) = TARGETS.into_iter().find(|(of, _)| *of == name).expect("a target");
        assert!(target(&bytes), "{name}/{file}");
        let path = root().join("fuzz/corpus").join(name).join(format!("valid-{file}"));
        if write {
            fs::create_dir_all(path.parent().expect("a directory")).expect("it can be made");
            fs::write(&path, bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
        assert!(path.is_file(), "no {}: GRANULE_FUZZ_SEEDS=1 writes it", path.display());
    }
}
