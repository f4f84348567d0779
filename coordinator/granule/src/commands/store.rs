//! `granule store`: works on stores as files, without running a sweep.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use granule_engine::Digest;
use granule_engine::{StreamKey, TrialKey};
use granule_outputs::archive::{ArchiveError, check_no_directory, no_store};
use granule_server::view::log::line;
use granule_store::{Put, Store, StoreEntry, StoreError, StoredTrial};
use granule_sweep::{Overrides, Plan};
use granule_system::files::Directory;
use granule_text::{one_line, plural};
use indicatif::DecimalBytes;
use nix::sys::stat::Mode;
use serde::Serialize;

use crate::cli::{self, exit};
use crate::commands::sweep_file::{overrides, read_text, understand};
use crate::commands::sweep_run::check_size;
use crate::failure::Failure;
use crate::stdout::{ReportHead, StdoutReader, both, say, say_json};

/// Spikes that are stored in one batch, in bytes.
const BATCH: usize = 8 << 20;

pub(crate) fn run(command: &cli::StoreCommand) -> Result<(), Failure> {
    match command {
        cli::StoreCommand::Merge(arguments) => merge(arguments),
        cli::StoreCommand::Verify(arguments) => verify(arguments),
        cli::StoreCommand::Prune(arguments) => prune(arguments),
    }
}

#[derive(Debug, Serialize)]
struct Merged {
    #[serde(flatten)]
    head: ReportHead,
    into: String,
    /// Trials that the store did not have.
    trials_added: u64,
    /// Trials that it has now.
    trials: u64,
    /// Trials of the other stores that were damaged and in no other store.
    trials_damaged: u64,
    /// Spans of noise streams that it did not have.
    spans_added: u64,
}

fn merge(arguments: &cli::StoreMerge) -> Result<(), Failure> {
    let report = merged(arguments)?;
    if report.trials_damaged > 0 {
        let count = plural(report.trials_damaged, "damaged trial");
        line(&format!("note: skipped {count}; runs compute damaged trials again"));
    }
    if arguments.json {
        say_json(&report)?.done();
    } else {
        say(&format!(
            "{}: {} added from {}, {} in all\n",
            report.into,
            plural(report.trials_added, "trial"),
            plural(arguments.from.len() as u64, "store"),
            plural(report.trials, "trial")
        ))?
        .done();
    }
    Ok(())
}

fn merged(arguments: &cli::StoreMerge) -> Result<Merged, Failure> {
    check_no_directory(&arguments.into)?;
    let from = arguments.from.iter().map(|path| read(path)).collect::<Result<Vec<_>, Failure>>()?;
    if let Some(same) = arguments.from.iter().find(|from| is_same(from, &arguments.into)) {
        let message =
            format!("error: {} is the store to merge into\n  help: leave it out of the list", same.display());
        return Err(Failure::new(exit::USAGE, message));
    }
    // Existing stores are checked before a new file is made.
    let known = match Store::read(&arguments.into) {
        Ok(store) => vec![store],
        Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(failed(&error)),
    };
    check_trials(&known, &from)?;
    let streams = check_streams(&known, &from)?;
    drop(known);

    let into = Store::open(&arguments.into).map_err(|error| failed(&error))?;
    let mut report = Merged {
        head: ReportHead::of("merged"),
        into: arguments.into.display().to_string(),
        trials_added: 0,
        trials: 0,
        trials_damaged: 0,
        spans_added: 0,
    };
    let mut damaged: BTreeSet<TrialKey> = BTreeSet::new();
    for store in &from {
        let lacked: Vec<StoredTrial> =
            store.trials().into_iter().filter(|held| !matches!(into.get(held.key), Ok(Some(_)))).collect();
        let (added, unreadable) = copy(store, &into, &lacked)?;
        report.trials_added += added;
        damaged.extend(unreadable);
    }
    damaged.retain(|key| !matches!(into.get(*key), Ok(Some(_))));
    report.trials_damaged = damaged.len() as u64;
    for (stream, spans) in streams {
        let known = into.spans(stream).len();
        if spans.len() > known {
            into.push_spans(stream, 0, &spans).map_err(|error| failed(&error))?;
            report.spans_added += (spans.len() - known) as u64;
        }
    }
    report.trials = into.trials().len() as u64;
    Ok(report)
}

fn is_same(a: &Path, b: &Path) -> bool {
    let identity = |path: &Path| fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino())).ok();
    identity(a).is_some() && identity(a) == identity(b)
}

/// Checks that no trial has two results.
fn check_trials(known: &[Store], from: &[Store]) -> Result<(), Failure> {
    let mut seen: BTreeMap<TrialKey, (Digest, &Path)> = BTreeMap::new();
    for store in known.iter().chain(from) {
        for StoredTrial { key, digest, .. } in store.trials() {
            let (other, path) = *seen.entry(key).or_insert((digest, store.path()));
            if other != digest {
                let message = format!(
                    "error: trial {key} has different spikes in {} ({other}) and in {} ({digest}); this must \
                        never happen; nothing was changed\n  help: `granule reproduce` shows which result is \
                        right; check the machine that wrote the other store, and its build of granule",
                    path.display(),
                    store.path().display()
                );
                return Err(Failure::new(exit::DISAGREED, message));
            }
        }
    }
    Ok(())
}

/// Checks that the counts of noise streams agree. Returns the longest counts of each stream.
fn check_streams(known: &[Store], from: &[Store]) -> Result<BTreeMap<StreamKey, Vec<u32>>, Failure> {
    let mut most: BTreeMap<StreamKey, Vec<u32>> = BTreeMap::new();
    for store in known.iter().chain(from) {
        for (stream, spans) in store.streams() {
            let longest = most.entry(stream).or_default();
            if let Some(at) = longest.iter().zip(&spans).position(|(a, b)| a != b) {
                let message = format!(
                    "error: part {at} of noise stream {stream} has {} random numbers in {}, but {} in another \
                     store; this must never happen; nothing was changed\n  help: check the machines that wrote \
                     these stores, and their builds of granule",
                    spans[at],
                    store.path().display(),
                    longest[at]
                );
                return Err(Failure::new(exit::DISAGREED, message));
            }
            if spans.len() > longest.len() {
                *longest = spans;
            }
        }
    }
    Ok(most)
}

/// Stores these trials in another store. Returns how many were added, and which are damaged.
fn copy(from: &Store, into: &Store, trials: &[StoredTrial]) -> Result<(u64, Vec<TrialKey>), Failure> {
    let mut damaged = Vec::new();
    let mut batch: Vec<(StoredTrial, Vec<u8>)> = Vec::new();
    let mut bytes = 0;
    let mut added = 0;
    let mut put = |batch: &mut Vec<(StoredTrial, Vec<u8>)>| {
        let entries: Vec<StoreEntry<'_>> = batch
            .iter()
            .map(|(held, spikes)| StoreEntry { key: held.key, digest: held.digest, spikes })
            .collect();
        for (entry, put) in entries.iter().zip(into.put(&entries).map_err(|error| failed(&error))?) {
            match put {
                Put::New => added += 1,
                Put::Same => {}
                Put::Differs { .. } => {
                    let message = format!(
                        "error: another process stored a different result for trial {} at the same time\n  \
                            help: `granule reproduce` shows which result is right",
                        entry.key
                    );
                    return Err(Failure::new(exit::DISAGREED, message));
                }
            }
        }
        batch.clear();
        Ok::<(), Failure>(())
    };
    for &held in trials {
        match from.get(held.key) {
            Ok(Some(spikes)) => {
                bytes += spikes.len();
                batch.push((held, spikes));
            }
            Ok(None) | Err(StoreError::Damaged { .. }) => damaged.push(held.key),
            Err(error) => return Err(failed(&error)),
        }
        if bytes >= BATCH {
            put(&mut batch)?;
            bytes = 0;
        }
    }
    put(&mut batch)?;
    Ok((added, damaged))
}

#[derive(Debug, Serialize)]
struct Verified {
    #[serde(flatten)]
    head: ReportHead,
    store: String,
    /// Trials that are whole.
    trials: u64,
    /// Keys of trials whose spikes are damaged.
    trials_damaged: Vec<String>,
    /// Bytes of blocks that cannot be read.
    damaged_bytes: u64,
    /// Bytes of a last write that was never finished. The next run removes them.
    unfinished_bytes: u64,
    /// Noise streams, and spans of all of them.
    streams: u64,
    spans: u64,
    bytes: u64,
}

/// Reads all of a store, and returns what it has.
fn verified(path: &Path) -> Result<Verified, Failure> {
    let store = read(path)?;
    let damaged = store.damaged().map_err(|error| failed(&error))?;
    let found = store.found();
    let streams = store.streams();
    Ok(Verified {
        head: ReportHead::of("store_verified"),
        store: path.display().to_string(),
        trials: (found.trials - damaged.len()) as u64,
        trials_damaged: damaged.iter().map(TrialKey::to_string).collect(),
        damaged_bytes: found.damaged_bytes,
        unfinished_bytes: found.unfinished_bytes,
        streams: streams.len() as u64,
        spans: streams.iter().map(|(_, spans)| spans.len() as u64).sum(),
        bytes: length(path),
    })
}

fn verify(arguments: &cli::StoreVerify) -> Result<(), Failure> {
    let report = verified(&arguments.file)?;
    let said = if arguments.json { say_json(&report) } else { say(&report.to_text()) };
    both(report.verdict(), said.map(StdoutReader::done))
}

impl Verified {
    fn to_text(&self) -> String {
        let mut text = format!(
            "{}: {} intact, {} damaged; {} of {}; {}\n",
            one_line(&self.store),
            plural(self.trials, "trial"),
            self.trials_damaged.len(),
            plural(self.spans, "part"),
            plural(self.streams, "noise stream"),
            DecimalBytes(self.bytes)
        );
        for key in &self.trials_damaged {
            text.push_str(&format!("  damaged: trial {key}\n"));
        }
        if self.unfinished_bytes > 0 {
            text.push_str(&format!("  the last write is incomplete: {} bytes\n", self.unfinished_bytes));
        }
        text
    }

    fn verdict(&self) -> Result<(), Failure> {
        if self.trials_damaged.is_empty() && self.damaged_bytes == 0 {
            return Ok(());
        }
        let message = format!(
            "error: {} is damaged: {} with damaged spikes, and {} bytes that cannot be read\n  help: the next run of a sweep \
                computes again the trials that it needs; `granule store prune` leaves damaged ones out of the \
                file",
            self.store,
            plural(self.trials_damaged.len() as u64, "trial"),
            self.damaged_bytes
        );
        Err(Failure::new(exit::INCOMPLETE, message))
    }
}

#[derive(Debug, Serialize)]
struct Pruned {
    #[serde(flatten)]
    head: ReportHead,
    store: String,
    dry_run: bool,
    trials_kept: u64,
    trials_dropped: u64,
    /// Trials that a sweep needs, but whose spikes are damaged; they are dropped.
    trials_damaged: u64,
    bytes_before: u64,
    bytes_after: u64,
}

fn prune(arguments: &cli::StorePrune) -> Result<(), Failure> {
    check_no_directory(&arguments.file)?;
    let needed = needed(&arguments.keep)?;
    // The file itself, if a link leads to it.
    let path = fs::canonicalize(&arguments.file).unwrap_or_else(|_| arguments.file.clone());
    let exists = path.exists();
    let open = if arguments.dry_run || !exists { Store::read } else { Store::open };
    let store = open(&path).map_err(|error| cannot_open(error, &arguments.file))?;
    let all = store.trials();
    let wanted: Vec<StoredTrial> = all.iter().copied().filter(|held| needed.contains(&held.key)).collect();
    if wanted.is_empty() && !all.is_empty() && !arguments.dry_run {
        let message = format!(
            "error: these sweeps need none of the {} in {}; nothing was dropped\n  help: check that `engine` \
                and the CHAT_* variables are those of the run; to start over, delete the store",
            plural(all.len() as u64, "trial"),
            arguments.file.display()
        );
        return Err(Failure::new(exit::USAGE, message));
    }
    let mut report = Pruned {
        head: ReportHead::of("pruned"),
        store: arguments.file.display().to_string(),
        dry_run: arguments.dry_run,
        trials_kept: wanted.len() as u64,
        trials_dropped: (all.len() - wanted.len()) as u64,
        trials_damaged: 0,
        bytes_before: length(&path),
        bytes_after: 0,
    };
    if arguments.dry_run {
        let damaged: BTreeSet<TrialKey> =
            store.damaged().map_err(|error| failed(&error))?.into_iter().collect();
        let (lost, kept): (Vec<&StoredTrial>, Vec<&StoredTrial>) =
            wanted.iter().partition(|held| damaged.contains(&held.key));
        report.trials_kept = kept.len() as u64;
        report.trials_damaged = lost.len() as u64;
        report.bytes_after = kept.iter().map(|held| held.bytes).sum();
    } else {
        (report.trials_kept, report.trials_damaged) = compact(&store, &path, &wanted)?;
        report.bytes_after = length(&path);
    }
    if report.trials_damaged > 0 {
        let count = plural(report.trials_damaged, "trial");
        line(&format!("note: not kept because of damage: {count}"));
    }
    if arguments.json {
        say_json(&report)?.done();
        return Ok(());
    }
    say(&format!(
        "{}: {} {}, {} dropped; {} before, {}{}\n",
        report.store,
        plural(report.trials_kept, "trial"),
        if report.dry_run { "would be kept" } else { "kept" },
        report.trials_dropped + report.trials_damaged,
        DecimalBytes(report.bytes_before),
        if report.dry_run { "about " } else { "" },
        DecimalBytes(report.bytes_after)
    ))?
    .done();
    Ok(())
}

/// Returns the trials of these sweeps, both with the overrides of the environment and without. A variable that was left
/// set must not remove any trial.
fn needed(keep: &[PathBuf]) -> Result<BTreeSet<TrialKey>, Failure> {
    let mut needed = BTreeSet::new();
    let overrides = overrides()?;
    for path in keep {
        let text = read_text(path)?;
        let sweep = understand(path, &text, &overrides)?;
        let plain = understand(path, &text, &Overrides::default())?;
        if sweep != plain {
            line(&format!("note: trials of {} without the overrides are kept as well", path.display()));
        }
        for sweep in [Some(&sweep), Some(&plain).filter(|plain| **plain != sweep)].into_iter().flatten() {
            check_size(path, sweep)?;
            let plan = Plan::new(sweep);
            for cohort in &plan.cohorts {
                for variant in cohort.variants.iter() {
                    let key = |trial| variant.fingerprint.trial(cohort.seed, trial);
                    needed.extend((0..plan.trials).map(key));
                }
            }
        }
    }
    Ok(needed)
}

/// Makes a store of these trials and all noise counts beside this one, and renames it into its place.
fn compact(store: &Store, path: &Path, wanted: &[StoredTrial]) -> Result<(u64, u64), Failure> {
    let cannot = |doing: &'static str| {
        move |error: io::Error| {
            let message = format!("error: cannot {doing} {}\n  because: {error}", path.display());
            Failure::new(exit::FAILED, message)
        }
    };
    let (directory, name) = Directory::of(path).map_err(cannot("replace"))?;
    // A prune that was killed may have left files.
    directory.remove_leftovers().map_err(cannot("remove unfinished files beside"))?;
    let file = directory.write(&name, Mode::from_bits_truncate(0o600)).map_err(cannot("replace"))?;
    let open = file.open_file().try_clone().map_err(cannot("replace"))?;
    let (new, kept, damaged) = fill(store, open, path, wanted)?;
    // Users who had access to the file keep it.
    fs::metadata(path)
        .and_then(|of| file.open_file().set_permissions(of.permissions()))
        .map_err(cannot("copy the permissions of"))?;
    // If root runs this, the store of another user stays that user's.
    if let Ok(of) = fs::metadata(path) {
        let _ = std::os::unix::fs::fchown(file.open_file(), Some(of.uid()), Some(of.gid()));
    }
    // It stays locked until it is in place.
    file.commit().map_err(cannot("replace"))?;
    drop(new);
    directory.sync().map_err(cannot("replace"))?;
    Ok((kept, damaged))
}

fn fill(
    store: &Store,
    file: File,
    path: &Path,
    wanted: &[StoredTrial],
) -> Result<(Store, u64, u64), Failure> {
    let new = Store::in_file(file, path).map_err(|error| failed(&error))?;
    let (kept, damaged) = copy(store, &new, wanted)?;
    for (stream, spans) in store.streams() {
        new.push_spans(stream, 0, &spans).map_err(|error| failed(&error))?;
    }
    Ok((new, kept, damaged.len() as u64))
}

fn read(path: &Path) -> Result<Store, Failure> {
    check_no_directory(path)?;
    Store::read(path).map_err(|error| cannot_open(error, path))
}

/// Returns the failure to open a store. A missing store was misnamed, because the user names each store of these
/// commands.
fn cannot_open(error: StoreError, path: &Path) -> Failure {
    match no_store(error, path) {
        ArchiveError::NoStore { path } => {
            Failure::new(exit::USAGE, format!("error: {} does not exist; expected a store", path.display()))
        }
        ArchiveError::Store(error) => failed(&error),
        error => error.into(),
    }
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

fn failed(error: &(dyn std::error::Error + 'static)) -> Failure {
    Failure::caused_by(exit::FAILED, error, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> TrialKey {
        TrialKey([n; 32])
    }

    /// A store with these trials and spans of one stream.
    fn store(path: &Path, trials: &[(u8, &[u8])], spans: &[u32]) {
        let store = Store::open(path).unwrap();
        for &(n, spikes) in trials {
            store.put(&[StoreEntry { key: key(n), digest: Digest::of(spikes), spikes }]).unwrap();
        }
        store.push_spans(StreamKey([7; 32]), 0, spans).unwrap();
    }

    fn merge_of(into: &Path, from: &[&Path]) -> Result<Merged, Failure> {
        let from = from.iter().map(|path| path.to_path_buf()).collect();
        merged(&cli::StoreMerge { into: into.to_owned(), from, json: true })
    }

    #[test]
    fn what_a_store_lacks_is_added() {
        let directory = tempfile::tempdir().unwrap();
        let [a, b, c, into] = ["a", "b", "c", "into"].map(|name| directory.path().join(name));
        store(&a, &[(1, b"one"), (2, b"two")], &[5, 6]);
        store(&b, &[(2, b"two"), (3, b"three")], &[5, 6, 7]);
        store(&c, &[(4, b"four")], &[5]);
        merge_of(&into, &[&a, &b]).unwrap();
        merge_of(&c, &[&into, &a]).unwrap();
        for path in [&into, &c] {
            let merged = Store::read(path).unwrap();
            for (n, spikes) in [(1, &b"one"[..]), (2, b"two"), (3, b"three")] {
                assert_eq!(merged.get(key(n)).unwrap().as_deref(), Some(spikes));
            }
            assert_eq!(merged.contains(key(4)), path == &c);
            assert_eq!(merged.spans(StreamKey([7; 32])), [5, 6, 7]);
        }
        // The second time, nothing is new.
        let before = fs::read(&into).unwrap();
        assert_eq!(merge_of(&into, &[&a, &b]).unwrap().trials_added, 0);
        assert!(fs::read(&into).unwrap() == before);
    }

    #[test]
    fn nothing_is_merged_where_anything_differs() {
        let directory = tempfile::tempdir().unwrap();
        let [a, b, c, into, new] = ["a", "b", "c", "into", "new"].map(|name| directory.path().join(name));
        store(&a, &[(1, b"one")], &[5]);
        store(&b, &[(3, b"three"), (1, b"another")], &[5]);
        store(&c, &[(3, b"three")], &[6]);
        store(&into, &[(1, b"one")], &[5]);
        let before = fs::read(&into).unwrap();
        let differs = |failure: Failure, parts: &[&str]| {
            assert_eq!(failure.code, exit::DISAGREED);
            for part in parts {
                assert!(failure.message.contains(part), "no `{part}` in {}", failure.message);
            }
        };
        differs(merge_of(&into, &[&b]).unwrap_err(), &[&key(1).to_string(), "nothing was changed"]);
        differs(merge_of(&into, &[&c]).unwrap_err(), &["part 0 of noise stream 0707", "nothing was changed"]);
        assert!(fs::read(&into).unwrap() == before);
        // The same if the store to add to has neither.
        differs(merge_of(&new, &[&a, &b]).unwrap_err(), &[&key(1).to_string()]);
        differs(merge_of(&new, &[&a, &c]).unwrap_err(), &["part 0"]);
        assert!(!new.exists());
        assert_eq!(merge_of(&into, &[&a, &into]).unwrap_err().code, exit::USAGE);
        assert_eq!(merge_of(&into, &[&new]).unwrap_err().code, exit::USAGE);
    }

    #[test]
    fn damage_is_passed_over_and_healed() {
        let directory = tempfile::tempdir().unwrap();
        let [bad, good, into] = ["bad", "good", "into"].map(|name| directory.path().join(name));
        let spikes = [b'x'; 3000];
        store(&bad, &[(1, &spikes), (2, b"two")], &[5]);
        store(&good, &[(1, &spikes)], &[5]);
        let mut bytes = fs::read(&bad).unwrap();
        let at = bytes.windows(100).position(|window| window == [b'x'; 100]).unwrap();
        bytes[at] = b'y';
        fs::write(&bad, bytes).unwrap();
        let damaged = |path: &Path| verified(path).unwrap().trials_damaged;
        assert_eq!(damaged(&bad), [key(1).to_string()]);
        let report = merge_of(&into, &[&bad]).unwrap();
        assert_eq!((report.trials_added, report.trials_damaged, report.trials), (1, 1, 1));
        assert!(damaged(&into).is_empty());
        assert_eq!(merge_of(&bad, &[&good]).unwrap().trials_added, 1);
        assert!(damaged(&bad).is_empty());
    }
}
