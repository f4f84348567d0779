//! The store: the spikes of trials and the span counts of noise streams, in one file that outlives
//! the process.
//!
//! # Format
//!
//! A log. The file only ever grows, in blocks of 4096 bytes; all numbers are little-endian, all
//! hashes BLAKE3.
//!
//! ```text
//! file    magic (16) · version (4) · salt (32) · hash of these (32)          in the first block
//!         frame …                                                            each begins a block
//! frame   magic (8) · entries (8) · bytes of values (8) · directory's hash (32) · hash of these (32)
//!         directory: per entry  kind (1) · length of the value (8) · key (32) · digest of the value (32)
//!         values, one behind another · zeros up to the next block
//! entry   1 spikes of a trial: key is its TrialKey, the value its encoding
//!         2 a trial taken out: key is its TrialKey, no value
//!         3 spans of a stream: key is its StreamKey, the value the first one's index and the counts, u32 each
//! ```
//!
//! The two hashes of a frame are keyed with the salt, which is random and never leaves the file, and
//! cover the frame's place. So nothing but a frame that this store wrote at this place passes for
//! one: no bytes that a worker sends as spikes, no block left over from a deleted file.
//!
//! # Commit
//!
//! One write of one frame at the end of the file (large values in writes of their own), then `fdatasync`, then the answer. There is no
//! other state on the disk to agree with: the index is in memory, about 200 bytes a trial, and is
//! rebuilt from the directories on opening, without reading the values.
//!
//! # What can fail
//!
//! - *Killed, or power cut*: every frame but the last was on the disk before the next was begun. If
//!   the last is not whole by every hash it has, nobody was told of it, and opening cuts it off;
//!   [`Found::unfinished_bytes`] counts it. A whole frame that nobody was told of is kept, and
//!   opening syncs before it says so. As frames begin a block, no block with acknowledged data is
//!   ever written again, and no torn write can reach it.
//! - *Disk full*: the frame is cut off again, the call fails, the store goes on.
//! - *`fdatasync` fails*: nobody knows then what is on the disk, and asking again would not tell. The
//!   frame is cut off, and the store takes nothing more until it is opened anew.
//! - *Damage* (flipped bits, zeroed or swapped blocks, a file cut short): costs what it hit. A value
//!   that is not what its digest says is [`StoreError::Damaged`] whenever it is read; a directory
//!   that is not whole costs its frame, and opening finds the next one behind it
//!   ([`Found::damaged_bytes`]). At the end of the file it looks like a write that was never finished,
//!   and is treated so. Only damage to the first block makes the store unreadable. All of
//!   this can be computed anew.
//!
//! # What is assumed
//!
//! A local file system (or a network one with working `flock`, and one machine at a time); `fsync`
//! means it; a write damages no block outside itself. Damage is found, malice is not: who can write
//! the file can read the salt.
//!
//! # Why not a database
//!
//! redb 4.6 was tried first. Of 3000 stores with random damage it opened, in its usual way, every
//! third only to panic or to return wrong bytes. With its full check on opening none did so; but then
//! any flipped bit refuses the whole store, the check reads every byte of it, and damage that comes
//! after the check still panics or passes (of 1000 cases, half; the others hit nothing in use).
//! Here values are large, immutable, each with a digest of its own, and nobody asks for ranges: a log
//! with an index in memory does all of that in fewer ways to fail.
//!
//! # What it must not know
//!
//! Of trials it knows their keys, and of spikes their bytes. It must not know plans, output files or the protocol.

#![allow(missing_docs, reason = "read by this workspace alone")]

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, TryLockError};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use granule_engine::Digest;
use granule_engine::{StreamKey, TrialKey};
use granule_system::files::{harmless, sync_name};
use granule_system::stamp::{Seal, Stamp};
use nix::errno::Errno;

/// Counts the changes of the format.
const VERSION: u32 = 1;
const FILE_MAGIC: [u8; 16] = *b"granule store\r\n\0";
const FRAME_MAGIC: [u8; 8] = *b"\xf5granule";
/// What is written at a time, at least: the largest sector in use, and a page.
const BLOCK: u64 = 4096;
const FILE_HEAD: usize = 84;
const FRAME_HEAD: usize = 88;
const ENTRY: usize = 73;
/// A value of so many bytes is written by itself, and not copied for that.
const LARGE: usize = 1 << 20;

/// Spikes to put.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The trial.
    pub key: TrialKey,
    /// What its spikes hash to.
    pub digest: Digest,
    /// Its encoded spikes; any bytes, here.
    pub spikes: &'a [u8],
}

/// What became of an [`Entry`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// The store did not have the trial, or had it damaged, and has it now.
    New,
    /// The store has the same spikes already.
    Same,
    /// The store has other spikes of this trial, and keeps them: a determinism alarm.
    Differs {
        /// The digest of the spikes that the store has.
        stored: Digest,
    },
}

/// A trial in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The trial.
    pub key: TrialKey,
    /// What its spikes hash to.
    pub digest: Digest,
    /// Length of its encoded spikes.
    pub bytes: u64,
}

/// What opening found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Trials the store holds.
    pub trials: usize,
    /// Bytes of a last write that was never finished nor acknowledged, now cut off. Damage to the end
    /// of the file looks the same.
    pub unfinished_bytes: u64,
    /// Bytes of damaged blocks, and of frames that they made unreadable: what these held counts as
    /// missing. They stay in the file and are found at every opening.
    pub damaged_bytes: u64,
}

/// Why the store cannot do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process, or another [`Store`] of this one, has the file.
    #[error("the store {} is in use by another granule: wait until it ends, or stop it", path.display())]
    InUse {
        /// The store's file.
        path: PathBuf,
    },
    /// Nothing could keep two processes from writing to one store.
    #[error(
        "the store {} is on a file system without locks, which keep two runs apart: put it on another with \
         --store FILE, or have this one mounted with them (Lustre: `-o flock`; NFS: not `nolock`)",
        path.display()
    )]
    NoLocks {
        /// The store's file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is a store of another format.
    #[error(
        "the store {} has format {found}, but this granule knows format {VERSION}: use the granule that made it",
        path.display()
    )]
    Version {
        /// The store's file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// The file as a whole is not, or no longer, a store.
    #[error("{} cannot be read as a store: {what}", path.display())]
    Corrupted {
        /// The store's file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The spikes of one trial are not what was put.
    #[error("the store {} has damaged spikes of trial {key}: they must be computed anew", path.display())]
    Damaged {
        /// The store's file.
        path: PathBuf,
        /// The trial; [`Store::remove`] makes room for it.
        key: TrialKey,
    },
    /// An entry's digest is not the digest of its spikes. Nothing of its batch was put.
    #[error("the spikes put for trial {key} do not have the digest that came with them")]
    Mislabelled {
        /// The trial.
        key: TrialKey,
    },
    /// The spans pushed are not those stored. Nothing was pushed.
    #[error("span {index} of noise stream {stream} has {offered} draws, but {stored} in the store")]
    Conflict {
        /// The stream.
        stream: StreamKey,
        /// The first span that differs.
        index: usize,
        /// Its count in the store.
        stored: u32,
        /// Its count as pushed.
        offered: u32,
    },
    /// The spans pushed do not follow those stored. Nothing was pushed.
    #[error("spans of noise stream {stream} pushed from {first}, but only {stored} are stored")]
    Gap {
        /// The stream.
        stream: StreamKey,
        /// Spans in the store.
        stored: usize,
        /// The first one pushed.
        first: u32,
    },
    /// The operating system refused.
    #[error("cannot {doing} the store {}: {source}", path.display())]
    Io {
        /// The store's file.
        path: PathBuf,
        /// What was tried, as a verb that takes the store.
        doing: &'static str,
        /// Why not.
        source: io::Error,
    },
}

fn not_locked(path: &Path, error: TryLockError) -> StoreError {
    let path = path.to_owned();
    match error {
        TryLockError::WouldBlock => StoreError::InUse { path },
        TryLockError::Error(source) if has_no_locks(&source) => StoreError::NoLocks { path, source },
        TryLockError::Error(source) => StoreError::Io { path, doing: "lock", source },
    }
}

fn has_no_locks(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw);
    error.kind() == io::ErrorKind::Unsupported || code == Some(Errno::ENOLCK)
}

/// An open store; no other process can open it meanwhile.
///
/// All calls block, and may come from several threads: reads go on while a write waits for the disk.
#[derive(Debug)]
pub struct Store {
    log: Log,
    index: RwLock<Index>,
    tail: Mutex<Tail>,
    found: Found,
}

impl Store {
    /// Opens the store at this path, or makes it where there is none. Its directory must exist.
    ///
    /// An empty file, or one block of zeros, counts as none: a power cut while a store is made leaves
    /// that, and nothing is lost by it.
    ///
    /// # Errors
    /// [`StoreError::InUse`], [`StoreError::NoLocks`], [`StoreError::Version`], [`StoreError::Corrupted`],
    /// [`StoreError::Io`].
    pub fn open(path: &Path) -> Result<Store, StoreError> {
        let fail = |doing| move |source| StoreError::Io { path: path.to_owned(), doing, source };
        let mut attempts = 0..8;
        let file = loop {
            let mut options = File::options();
            let file = options.read(true).write(true).create(true).truncate(false);
            let file = file.custom_flags(harmless().bits()).open(path).map_err(fail("open"))?;
            check_kind(&file, path)?;
            file.try_lock().map_err(|error| not_locked(path, error))?;
            // Another process may have put another store there since it was opened, as pruning does.
            let opened = file.metadata().map_err(fail("open"))?;
            let is_same = |there: fs::Metadata| (there.dev(), there.ino()) == (opened.dev(), opened.ino());
            // Some network file systems number files anew whenever they are asked.
            if fs::metadata(path).is_ok_and(is_same) || attempts.next().is_none() {
                break file;
            }
        };

        Store::in_file(file, path)
    }

    /// Opens the store in this file, which is locked and open for reading and writing, or makes it there.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn in_file(file: File, path: &Path) -> Result<Store, StoreError> {
        let fail = |doing| move |source| StoreError::Io { path: path.to_owned(), doing, source };
        let salt = match salt_of(&file, path)? {
            Some(salt) => salt,
            None => make(&file).map_err(fail("make"))?,
        };
        let log = Log { file, path: path.to_owned(), salt };
        let (index, end, found) = log.replay().map_err(fail("read"))?;
        if found.unfinished_bytes > 0 {
            log.file.set_len(end).map_err(fail("repair"))?;
        }
        // A process killed between write and sync leaves a whole frame in the page cache: before
        // anyone is told that it is here, it must be. Likewise the file's name in its directory.
        log.file.sync_all().map_err(fail("sync"))?;
        sync_name(path).map_err(fail("sync the directory of"))?;
        Ok(Store { log, index: RwLock::new(index), tail: Mutex::new(Tail { end, failed: false }), found })
    }

    /// Opens the store at this path to be read, and changes nothing. Others can read it meanwhile, and
    /// nobody writes, unless this machine has no locks on this file system and another has.
    ///
    /// # Errors
    /// As those of [`Self::open`] but for [`StoreError::NoLocks`], and [`StoreError::Io`] where there is none.
    pub fn read(path: &Path) -> Result<Store, StoreError> {
        let file = open_to_read(path)?;
        match file.try_lock_shared() {
            // Nobody on this machine writes where there are no locks, and what others write is whole or not there.
            Err(TryLockError::Error(error)) if has_no_locks(&error) => {}
            locked => locked.map_err(|error| not_locked(path, error))?,
        }
        Store::replayed(file, path)
    }

    /// Reads what the store at this path holds at the moment, also while somebody writes to it. It is not
    /// locked: nobody who wants to write is held up.
    ///
    /// # Errors
    /// As those of [`Self::read`], but for [`StoreError::InUse`].
    pub fn glance(path: &Path) -> Result<Store, StoreError> {
        Store::replayed(open_to_read(path)?, path)
    }

    fn replayed(file: File, path: &Path) -> Result<Store, StoreError> {
        let fail = |doing| move |source| StoreError::Io { path: path.to_owned(), doing, source };
        let salt = salt_of(&file, path)?.unwrap_or_default();
        let log = Log { file, path: path.to_owned(), salt };
        let (index, end, found) = log.replay().map_err(fail("read"))?;
        let tail = Mutex::new(Tail { end, failed: false });
        Ok(Store { log, index: RwLock::new(index), tail, found })
    }

    /// Which file it is, and when it last changed; none if the system does not say.
    pub fn stamp(&self) -> Option<Stamp> {
        self.log.file.metadata().ok().and_then(|metadata| Seal::of_written(&metadata).lasting())
    }

    /// Whether its path leads to it.
    pub fn is_in_place(&self) -> bool {
        let identity = |found: fs::Metadata| (found.dev(), found.ino());
        let there = fs::metadata(&self.log.path).map(identity).ok();
        there.is_some() && there == self.log.file.metadata().map(identity).ok()
    }

    /// Expects that there is a store at this path, of this format.
    ///
    /// # Errors
    /// As those of [`Self::read`], but for locks.
    pub fn probe(path: &Path) -> Result<(), StoreError> {
        salt_of(&open_to_read(path)?, path).map(drop)
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.log.path
    }

    /// Whether it holds no trial.
    pub fn is_empty(&self) -> bool {
        self.index().trials.is_empty()
    }

    /// Whether it holds one of these trials.
    pub fn has_any_of(&self, keys: impl IntoIterator<Item = TrialKey>) -> bool {
        keys.into_iter().any(|key| self.contains(key))
    }

    /// Every trial it holds, in the order in which they were put: key, digest and bytes of the spikes.
    pub fn trials(&self) -> Vec<Held> {
        let index = self.index();
        let mut held: Vec<(u64, Held)> = (index.trials.iter())
            .map(|(&key, place)| (place.at, Held { key, digest: place.digest, bytes: place.length }))
            .collect();
        held.sort_unstable_by_key(|&(at, held)| (at, held.key));
        held.into_iter().map(|(_, held)| held).collect()
    }

    /// Every noise stream that it holds span counts of, ascending, and these.
    pub fn streams(&self) -> Vec<(StreamKey, Vec<u32>)> {
        self.index().spans.iter().map(|(&stream, spans)| (stream, spans.clone())).collect()
    }

    /// What opening found.
    pub fn found(&self) -> Found {
        self.found
    }

    /// Whether the store has spikes of this trial. Whether they are undamaged, reading them tells.
    pub fn contains(&self, key: TrialKey) -> bool {
        self.index().trials.contains_key(&key)
    }

    /// What the spikes of this trial hash to.
    pub fn digest(&self, key: TrialKey) -> Option<Digest> {
        self.index().trials.get(&key).map(|place| place.digest)
    }

    /// The encoded spikes of this trial: exactly the bytes put.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when they no longer are; [`StoreError::Io`].
    pub fn get(&self, key: TrialKey) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(place) = self.index().trials.get(&key).copied() else { return Ok(None) };
        match self.log.value(place).map_err(|source| self.failed("read", source))? {
            Some(spikes) => Ok(Some(spikes)),
            None => Err(StoreError::Damaged { path: self.log.path.clone(), key }),
        }
    }

    /// Reads all spikes: the trials that have damaged ones, in no order that means anything but
    /// always the same.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn damaged(&self) -> Result<Vec<TrialKey>, StoreError> {
        let mut places: Vec<_> =
            self.index().trials.iter().map(|(&key, &place)| (place.at, key, place)).collect();
        places.sort_unstable_by_key(|&(at, key, _)| (at, key));
        let mut damaged = Vec::new();
        for (_, key, place) in places {
            if self.log.value(place).map_err(|source| self.failed("read", source))?.is_none() {
                damaged.push(key);
            }
        }
        Ok(damaged)
    }

    /// Puts spikes of trials, all of them or none; on return they are durable.
    ///
    /// The answers are in the order of the entries, of which two may have the same key. The same
    /// spikes are [`Put::Same`] only if what is stored is read and found whole, else they are put
    /// again: either way the caller may forget them.
    ///
    /// # Errors
    /// [`StoreError::Mislabelled`]; [`StoreError::Io`], for example when the disk is full, and then
    /// for good if the disk failed to sync. Nothing of the batch is stored then.
    pub fn put(&self, batch: &[Entry<'_>]) -> Result<Vec<Put>, StoreError> {
        if let Some(entry) = batch.iter().find(|entry| Digest::of(entry.spikes) != entry.digest) {
            return Err(StoreError::Mislabelled { key: entry.key });
        }
        let mut tail = self.tail();
        let mut fresh: HashMap<TrialKey, Digest> = HashMap::new();
        let mut parts = Vec::new();
        let mut answers = Vec::with_capacity(batch.len());
        for entry in batch {
            let place = self.index().trials.get(&entry.key).copied();
            let stored = fresh.get(&entry.key).copied().or(place.map(|place| place.digest));
            let answer = match (stored, place) {
                (Some(stored), _) if stored != entry.digest => Put::Differs { stored },
                (Some(_), Some(place)) if !fresh.contains_key(&entry.key) => {
                    match self.log.value(place).map_err(|source| self.failed("read", source))? {
                        Some(_) => Put::Same,
                        None => Put::New,
                    }
                }
                (Some(_), _) => Put::Same,
                (None, _) => Put::New,
            };
            if answer == Put::New {
                fresh.insert(entry.key, entry.digest);
                parts.push(Part {
                    kind: Kind::Spikes,
                    key: entry.key.0,
                    digest: entry.digest,
                    value: entry.spikes,
                });
            }
            answers.push(answer);
        }
        self.append(&mut tail, &parts)?;
        Ok(answers)
    }

    /// Takes trials out, all of them or none, so that they can be put anew; on return that is
    /// durable. The file does not shrink.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn remove(&self, keys: &[TrialKey]) -> Result<(), StoreError> {
        let mut tail = self.tail();
        let digest = Digest::of(&[]);
        let parts: Vec<_> = (keys.iter().filter(|&&key| self.contains(key)))
            .map(|key| Part { kind: Kind::Removal, key: key.0, digest, value: &[] })
            .collect();
        self.append(&mut tail, &parts)
    }

    /// The span counts stored of this noise stream, from its first on.
    pub fn spans(&self, stream: StreamKey) -> Vec<u32> {
        self.index().spans.get(&stream).cloned().unwrap_or_default()
    }

    /// Appends the counts of this stream's spans from `first` on; on return they are durable. Those
    /// that are stored already must be the same.
    ///
    /// # Errors
    /// [`StoreError::Conflict`], [`StoreError::Gap`], [`StoreError::Io`].
    pub fn push_spans(&self, stream: StreamKey, first: u32, accepted: &[u32]) -> Result<(), StoreError> {
        let mut tail = self.tail();
        let index = self.index();
        let stored = index.spans.get(&stream).map_or(&[][..], |spans| spans);
        let (Some(overlap), Ok(from)) = (stored.get(first as usize..), u32::try_from(stored.len())) else {
            return Err(StoreError::Gap { stream, stored: stored.len(), first });
        };
        let differs = overlap.iter().zip(accepted).position(|(stored, offered)| stored != offered);
        if let Some(at) = differs {
            let (stored, offered) = (overlap[at], accepted[at]);
            return Err(StoreError::Conflict { stream, index: first as usize + at, stored, offered });
        }
        let Some(more @ [_, ..]) = accepted.get(overlap.len()..) else { return Ok(()) };
        let value: Vec<u8> =
            std::iter::once(&from).chain(more).flat_map(|number| number.to_le_bytes()).collect();
        drop(index);
        let part = Part { kind: Kind::Spans, key: stream.0, digest: Digest::of(&value), value: &value };
        self.append(&mut tail, &[part])
    }

    /// Makes a frame of these durable, then known.
    fn append(&self, tail: &mut Tail, parts: &[Part<'_>]) -> Result<(), StoreError> {
        if parts.is_empty() {
            return Ok(());
        }
        let (pieces, places) = self.log.frame(tail.end, parts);
        let end = tail.end + pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
        self.log.write(tail, &pieces).map_err(|source| self.failed("write to", source))?;
        tail.end = end;
        // Behind the sync: what is not durable must not be known to readers either.
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        for (part, place) in parts.iter().zip(places) {
            index.apply(part.kind, part.key, place, part.value);
        }
        Ok(())
    }

    // A panic elsewhere while a lock was held leaves nothing half-changed behind it: the index
    // changes in single steps, the tail after the write.

    fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, doing: &'static str, source: io::Error) -> StoreError {
        StoreError::Io { path: self.log.path.clone(), doing, source }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // Closing the file would do, unless a process is being started right now: between its fork
        // and its exec it has the file, and with it the lock, too.
        let _ = self.log.file.unlock();
    }
}

/// Where the next frame goes. Its lock is the right to write.
#[derive(Debug)]
struct Tail {
    end: u64,
    /// The disk did not sync, or did not take back a frame: see the module's documentation.
    failed: bool,
}

/// What the log holds.
#[derive(Debug, Default)]
struct Index {
    trials: HashMap<TrialKey, Place>,
    spans: BTreeMap<StreamKey, Vec<u32>>,
}

impl Index {
    /// Follows an entry whose value is whole (of spikes: unseen). Whether it fits what is there.
    fn apply(&mut self, kind: Kind, key: [u8; 32], place: Place, value: &[u8]) -> bool {
        match kind {
            Kind::Spikes => {
                self.trials.insert(TrialKey(key), place);
                true
            }
            Kind::Removal => {
                self.trials.remove(&TrialKey(key));
                true
            }
            Kind::Spans => {
                let (numbers, []) = value.as_chunks::<4>() else { return false };
                let mut numbers = numbers.iter().map(|&bytes| u32::from_le_bytes(bytes));
                let spans = self.spans.entry(StreamKey(key)).or_default();
                // Behind a damaged frame there is a gap; what lies beyond it will be pushed again.
                let fits = numbers.next().is_some_and(|first| first as usize == spans.len());
                if fits {
                    spans.extend(numbers);
                }
                fits
            }
        }
    }
}

/// Where a value is, and what it must hash to.
#[derive(Clone, Copy, Debug)]
struct Place {
    at: u64,
    length: u64,
    digest: Digest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Spikes = 1,
    Removal = 2,
    Spans = 3,
}

/// An entry to write.
struct Part<'a> {
    kind: Kind,
    key: [u8; 32],
    digest: Digest,
    value: &'a [u8],
}

/// A frame whose directory is whole.
struct Frame {
    begin: u64,
    end: u64,
    entries: Vec<(Kind, [u8; 32], Place)>,
}

/// The file.
#[derive(Debug)]
struct Log {
    file: File,
    path: PathBuf,
    salt: [u8; 32],
}

impl Log {
    /// The bytes of a frame at this place, piece by piece, and where its values will be. Large values are not copied.
    fn frame<'a>(&self, at: u64, parts: &[Part<'a>]) -> (Vec<Cow<'a, [u8]>>, Vec<Place>) {
        let values: usize = parts.iter().map(|part| part.value.len()).sum();
        let mut directory = Vec::with_capacity(parts.len() * ENTRY);
        let mut places = Vec::with_capacity(parts.len());
        let mut next = at + (FRAME_HEAD + parts.len() * ENTRY) as u64;
        for part in parts {
            let length = part.value.len() as u64;
            directory.push(part.kind as u8);
            directory.extend(length.to_le_bytes());
            directory.extend(part.key);
            directory.extend(part.digest.0);
            places.push(Place { at: next, length, digest: part.digest });
            next += length;
        }
        let mut bytes = Vec::with_capacity(FRAME_HEAD + directory.len());
        bytes.extend(FRAME_MAGIC);
        bytes.extend((parts.len() as u64).to_le_bytes());
        bytes.extend((values as u64).to_le_bytes());
        bytes.extend(self.hash(at, &directory));
        bytes.extend(self.hash(at, &bytes));
        bytes.extend(directory);
        let mut pieces = Vec::new();
        for part in parts {
            if part.value.len() < LARGE {
                bytes.extend(part.value);
                continue;
            }
            pieces.push(Cow::Owned(std::mem::take(&mut bytes)));
            pieces.push(Cow::Borrowed(part.value));
        }
        let padding = next.next_multiple_of(BLOCK) - next;
        bytes.resize(bytes.len() + padding as usize, 0);
        pieces.push(Cow::Owned(bytes));
        (pieces, places)
    }

    /// Writes a frame to the end, durably or not at all.
    fn write(&self, tail: &mut Tail, pieces: &[Cow<'_, [u8]>]) -> io::Result<()> {
        if tail.failed {
            return Err(io::Error::other("the disk failed before; run again once it is in order"));
        }
        if self.file.metadata()?.nlink() == 0 {
            // It would all go to a file that is gone when this process is.
            return Err(io::Error::new(io::ErrorKind::NotFound, "its file was deleted; run again"));
        }
        let mut at = tail.end;
        let written = pieces.iter().try_for_each(|piece| {
            let written = self.file.write_all_at(piece, at);
            at += piece.len() as u64;
            written
        });
        let synced = written.and_then(|()| {
            let synced = self.file.sync_data();
            tail.failed = synced.is_err();
            synced
        });
        if synced.is_err() {
            // What of the frame is there would not pass for one unless it is all there, but gives its
            // room back, and is not to be believed by the next one to open the store.
            tail.failed |= self.file.set_len(tail.end).is_err();
        }
        synced
    }

    /// The value at this place; none if it is not the one that was put there.
    fn value(&self, place: Place) -> io::Result<Option<Vec<u8>>> {
        let bytes = self.bytes(place.at, place.length)?;
        Ok(bytes.filter(|bytes| Digest::of(bytes) == place.digest))
    }

    /// So many bytes from here; none if the file ends before.
    fn bytes(&self, at: u64, length: u64) -> io::Result<Option<Vec<u8>>> {
        // A file cut short must not make us reserve more than there is.
        let there = self.file.metadata()?.len();
        let (true, Ok(length)) = (at.saturating_add(length) <= there, usize::try_from(length)) else {
            return Ok(None);
        };
        let mut bytes = vec![0; length];
        match self.file.read_exact_at(&mut bytes, at) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            result => result.map(|()| Some(bytes)),
        }
    }

    /// The frame at this place, if there is one with a whole directory.
    fn frame_at(&self, at: u64) -> io::Result<Option<Frame>> {
        let Some(mut bytes) = self.bytes(at, BLOCK)? else { return Ok(None) };
        let head = bytes.first_chunk::<FRAME_HEAD>();
        let Some(head) = head.filter(|head| head.starts_with(&FRAME_MAGIC)) else { return Ok(None) };
        let (told, hash) = head.split_at(FRAME_HEAD - 32);
        if self.hash(at, told) != hash {
            return Ok(None);
        }
        let mut rest = &told[FRAME_MAGIC.len()..];
        let (count, values) = (number(&mut rest), number(&mut rest));
        let directory_hash = rest.to_owned();

        // The numbers are ours, by the hash; the file may still have been cut since.
        let directory_bytes = count.saturating_mul(ENTRY as u64);
        let values_at = (at + FRAME_HEAD as u64).saturating_add(directory_bytes);
        let end = values_at.saturating_add(values).checked_next_multiple_of(BLOCK);
        if values_at > at + BLOCK {
            match self.bytes(at, values_at - at)? {
                Some(longer) => bytes = longer,
                None => return Ok(None),
            }
        }
        let directory = &bytes[FRAME_HEAD..(values_at - at) as usize];
        let Some(end) = end.filter(|_| self.hash(at, directory)[..] == directory_hash[..]) else {
            return Ok(None);
        };

        let mut next = values_at;
        let mut entries = Vec::with_capacity(directory.len() / ENTRY);
        for mut entry in directory.chunks_exact(ENTRY) {
            let kind = match take::<1>(&mut entry) {
                [1] => Kind::Spikes,
                [2] => Kind::Removal,
                [3] => Kind::Spans,
                _ => return Ok(None),
            };
            let length = number(&mut entry);
            let key = take::<32>(&mut entry);
            entries.push((kind, key, Place { at: next, length, digest: Digest(take::<32>(&mut entry)) }));
            next = next.saturating_add(length);
        }
        // Of ours, too; else it would end where no frame can, or not where its values do.
        if next != values_at.saturating_add(values) {
            return Ok(None);
        }
        Ok(Some(Frame { begin: at, end, entries }))
    }

    /// Reads the log from its beginning: what it holds, where it ends, and what was found.
    fn replay(&self) -> io::Result<(Index, u64, Found)> {
        let length = self.file.metadata()?.len();
        let mut index = Index::default();
        let mut found = Found::default();
        // A frame is applied when it is known whether it is the last.
        let mut last: Option<Frame> = None;
        let mut end = BLOCK;
        let mut at = BLOCK;
        while at < length {
            let Some(frame) = self.frame_at(at)? else {
                at += BLOCK;
                continue;
            };
            found.damaged_bytes += frame.begin - end;
            if let Some(before) = last.take() {
                found.damaged_bytes += self.apply(&mut index, &before)?;
            }
            (at, end) = (frame.end, frame.end);
            last = Some(frame);
        }
        if let Some(frame) = last {
            // Only if it reaches to the end of the file can it be one that was never finished: had
            // anything been begun behind it, it was durable.
            if length <= end && !self.is_whole(&frame)? {
                end = frame.begin;
            } else {
                found.damaged_bytes += self.apply(&mut index, &frame)?;
            }
        }
        found.trials = index.trials.len();
        found.unfinished_bytes = length.saturating_sub(end);
        Ok((index, end, found))
    }

    fn is_whole(&self, frame: &Frame) -> io::Result<bool> {
        for &(_, _, place) in &frame.entries {
            if self.value(place)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Follows a frame; returns the bytes of it that are damaged or lead nowhere.
    fn apply(&self, index: &mut Index, frame: &Frame) -> io::Result<u64> {
        let mut damaged = 0;
        for &(kind, key, place) in &frame.entries {
            let value = if kind == Kind::Spans { self.value(place)? } else { Some(Vec::new()) };
            if !value.is_some_and(|value| index.apply(kind, key, place, &value)) {
                damaged += place.length;
            }
        }
        Ok(damaged)
    }

    /// The hash of part of a frame that is at this place.
    fn hash(&self, at: u64, bytes: &[u8]) -> [u8; 32] {
        *blake3::Hasher::new_keyed(&self.salt).update(&at.to_le_bytes()).update(bytes).finalize().as_bytes()
    }
}

/// What the first block says.
enum Head {
    /// Nothing was ever stored here.
    None,
    Of {
        version: u32,
        salt: [u8; 32],
    },
    Unknown(&'static str),
}

/// Reads the first block. Magic, version and hash are at the same place in all versions.
fn read_head(file: &File) -> io::Result<Head> {
    let length = file.metadata()?.len();
    let mut block = vec![0; length.min(BLOCK) as usize];
    file.read_exact_at(&mut block, 0)?;
    if length <= BLOCK && block.iter().all(|&byte| byte == 0) {
        return Ok(Head::None);
    }
    if !block.starts_with(&FILE_MAGIC) {
        return Ok(Head::Unknown(looks_like(&block)));
    }
    let Some(head) = block.first_chunk::<FILE_HEAD>() else { return Ok(Head::Unknown("it is cut short")) };
    let (told, hash) = head.split_at(FILE_HEAD - 32);
    if blake3::hash(told).as_bytes() != hash {
        return Ok(Head::Unknown("its first block is damaged"));
    }
    let mut rest = &told[FILE_MAGIC.len()..];
    let version = u32::from_le_bytes(take(&mut rest));
    Ok(Head::Of { version, salt: take(&mut rest) })
}

/// What a file is that is no store, by its beginning.
fn looks_like(block: &[u8]) -> &'static str {
    const KINDS: [(&[u8], &str); 4] = [
        (b"\x93NUMPY", "it is a numpy array"),
        (b"PAR1", "it is a Parquet table"),
        (b"PK\x03\x04", "it is an archive"),
        (b"SQLite format 3\0", "it is a database of SQLite"),
    ];
    if let Some((_, kind)) = KINDS.iter().find(|(magic, _)| block.starts_with(magic)) {
        return kind;
    }
    if FILE_MAGIC.starts_with(block) {
        return "it is cut short";
    }
    // The block may end within a character.
    let text = match std::str::from_utf8(block) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&block[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => "\0",
    };
    let is_text = !text.chars().any(|c| c.is_control() && !c.is_whitespace());
    match text.trim_start().chars().next() {
        Some('{' | '[') if is_text => "it is text, as JSON is",
        _ if is_text => "it is text, as a sweep file is",
        _ => "it does not begin as one",
    }
}

/// The salt of a store of this format; none where nothing was ever stored.
fn salt_of(file: &File, path: &Path) -> Result<Option<[u8; 32]>, StoreError> {
    let head =
        read_head(file).map_err(|source| StoreError::Io { path: path.to_owned(), doing: "read", source })?;
    match head {
        Head::None => Ok(None),
        Head::Of { version: VERSION, salt } => Ok(Some(salt)),
        Head::Of { version, .. } => Err(StoreError::Version { path: path.to_owned(), found: version }),
        Head::Unknown(what) => Err(StoreError::Corrupted { path: path.to_owned(), what }),
    }
}

fn open_to_read(path: &Path) -> Result<File, StoreError> {
    let opened = File::options().read(true).custom_flags(harmless().bits()).open(path);
    let file = opened.map_err(|source| StoreError::Io { path: path.to_owned(), doing: "open", source })?;
    check_kind(&file, path)?;
    Ok(file)
}

/// Anything but a regular file has no end to append to: a pipe, /dev/full.
fn check_kind(file: &File, path: &Path) -> Result<(), StoreError> {
    let fail = |source| StoreError::Io { path: path.to_owned(), doing: "open", source };
    let kind = file.metadata().map_err(fail)?;
    if kind.is_file() {
        return Ok(());
    }
    let what = if kind.is_dir() { "it is a directory" } else { "it is not a regular file" };
    Err(StoreError::Corrupted { path: path.to_owned(), what })
}

/// Writes the first block of a new store; its salt.
fn make(file: &File) -> io::Result<[u8; 32]> {
    let mut salt = [0; 32];
    for (i, bytes) in salt.chunks_exact_mut(8).enumerate() {
        // The standard library's way to random numbers: each state is keyed by the operating system.
        bytes.copy_from_slice(&RandomState::new().hash_one(i).to_le_bytes());
    }
    let mut block = Vec::with_capacity(BLOCK as usize);
    block.extend(FILE_MAGIC);
    block.extend(VERSION.to_le_bytes());
    block.extend(salt);
    block.extend(blake3::hash(&block).as_bytes());
    block.resize(BLOCK as usize, 0);
    let made = file.write_all_at(&block, 0).and_then(|()| file.sync_all());
    if made.is_err() {
        // Half a head would be taken for a damaged store, nothing at all for a new one.
        let _ = file.set_len(0);
    }
    made.map(|()| salt)
}

/// The next bytes of what is long enough by construction.
fn take<const N: usize>(bytes: &mut &[u8]) -> [u8; N] {
    let (taken, rest) = bytes.split_first_chunk().expect("the caller has split off enough");
    *bytes = rest;
    *taken
}

fn number(bytes: &mut &[u8]) -> u64 {
    u64::from_le_bytes(take(bytes))
}

#[cfg(test)]
mod tests;
