//! The store: the spikes of trials and the span counts of noise streams, in one file that outlives the process.
//!
//! # Format
//!
//! The file is a log. It only grows, in blocks of 4096 bytes. All numbers are little-endian, all hashes BLAKE3.
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
//! The two hashes of a frame are keyed with the salt, which is random and never leaves the file. They also cover the
//! frame's place. So only a frame that this store wrote at this place is valid. Bytes that a worker sends as spikes are
//! not, nor is a block left over from a deleted file.
//!
//! # Commit
//!
//! The store writes one frame at the end of the file (large values in writes of their own), calls `fdatasync`, and then
//! acknowledges. The disk has no other state that must agree with it. The index is in memory, about 200 bytes a trial.
//! Opening rebuilds it from the directories, and reads spikes of the last frame only.
//!
//! # Failures
//!
//! - *Kill or power cut*: every frame except the last was durable before the next was begun. If any hash of the last
//!   frame is wrong, the frame was never acknowledged. Opening cuts it off; [`Found::unfinished_bytes`] counts it. A
//!   complete frame that was never acknowledged is kept, and opening syncs it before it returns. As frames begin a
//!   block, no block with acknowledged data is ever written again, and no torn write can reach it.
//! - *Full disk*: the frame is cut off again, the call fails, and the store continues.
//! - *`fdatasync` fails*: the content of the disk is unknown, and a second call would not show it. The frame is cut
//!   off, and the store accepts nothing until it is opened again.
//! - *Damage* (flipped bits, zeroed or swapped blocks, a truncated file) costs only what it hit. If a value does not
//!   match its digest, every read of it returns [`StoreError::Damaged`]. A damaged directory costs its frame; opening
//!   finds the next one behind it ([`Found::damaged_bytes`]). Damage at the end of the file looks like an unfinished
//!   write, and is treated as one. Only damage to the first block makes the store unreadable. Everything that is lost
//!   can be computed again.
//!
//! # Assumptions
//!
//! The file system is local, or a network one with a working `flock` and one machine at a time. `fsync` makes data
//! durable. A write damages no block outside itself. The store finds damage, but not malice: a program that can write
//! the file can read the salt.
//!
//! # Why not a database
//!
//! redb 4.6 was tried first. Of 3000 stores with random damage, opened in the usual way, every third made it panic or
//! return wrong bytes. With its full check on opening, none did. But then any flipped bit refuses the whole store, and
//! the check reads every byte of it. Damage after the check still causes panics or wrong bytes: in half of 1000 cases,
//! while the others hit nothing in use. Here values are large and immutable, each has its own digest, and no caller
//! reads ranges. A log with an index in memory does all of that with fewer ways to fail.
//!
//! # Boundaries
//!
//! The store knows only the keys of trials and the bytes of spikes. It must not depend on plans, output files or the
//! protocol.

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

/// Version of the format. Each change of the format increases it.
const VERSION: u32 = 1;
const FILE_MAGIC: [u8; 16] = *b"granule store\r\n\0";
const FRAME_MAGIC: [u8; 8] = *b"\xf5granule";
/// The smallest unit of writes: the largest sector in use, and a page.
const BLOCK: u64 = 4096;
/// Bytes of a store without trials.
pub const EMPTY: u64 = BLOCK;
const FILE_HEAD: usize = 84;
const FRAME_HEAD: usize = 88;
const ENTRY: usize = 73;
/// Values of at least this many bytes are written separately, which avoids a copy.
const LARGE: usize = 1 << 20;

/// Spikes to put into the store.
#[derive(Clone, Copy, Debug)]
pub struct StoreEntry<'a> {
    pub key: TrialKey,
    pub digest: Digest,
    /// Its encoded spikes. The store accepts any bytes.
    pub spikes: &'a [u8],
}

/// The answer to a [`StoreEntry`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// The store did not have the trial, or only damaged. It has the trial now.
    New,
    /// The store already has the same spikes.
    Same,
    /// The store has different spikes of this trial, and keeps them. The computation was wrong or not deterministic.
    Differs {
        /// The digest of the stored spikes.
        stored: Digest,
    },
}

/// A trial in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredTrial {
    pub key: TrialKey,
    pub digest: Digest,
    /// Length of its encoded spikes.
    pub bytes: u64,
}

/// The result of opening a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Number of stored trials.
    pub trials: usize,
    /// Bytes of a last write that was never finished or acknowledged. [`Store::open`] cuts them off. Damage to the end
    /// of the file looks the same.
    pub unfinished_bytes: u64,
    /// Bytes of damaged blocks, and of frames that these made unreadable. Their content counts as missing. The bytes
    /// stay in the file and are found at every opening.
    pub damaged_bytes: u64,
}

/// Why a call of the store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process, or another [`Store`] of this one, has locked the file.
    #[error(
        "the store {} is in use by another granule process: wait until it ends, or stop it",
        path.display()
    )]
    InUse {
        /// The store's file.
        path: PathBuf,
    },
    /// The file system has no locks, so two processes could write to one store.
    #[error(
        "the store {} is on a file system without locks, so two runs could write to it: put it on another with \
            --store FILE, or mount this one with locks (Lustre: `-o flock`; NFS: without `nolock`)",
        path.display()
    )]
    NoLocks {
        /// The store's file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The file is a store of another format.
    #[error(
        "the store {} has format {found}, but this granule reads format {VERSION}: use the version of granule \
            that wrote it",
        path.display()
    )]
    Version {
        /// The store's file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// The file as a whole is not, or no longer, a store.
    #[error("{} is not a readable store: {what}", path.display())]
    Corrupted {
        /// The store's file.
        path: PathBuf,
        /// The reason, as a clause.
        what: &'static str,
    },
    /// The stored spikes of a trial do not match their digest.
    #[error(
        "the store {} has damaged spikes of trial {key}; a run of the sweep computes it again",
        path.display()
    )]
    Damaged {
        /// The store's file.
        path: PathBuf,
        /// The trial. After [`Store::remove`], it can be put again.
        key: TrialKey,
    },
    /// An entry's digest is not the digest of its spikes. Nothing of its batch was stored.
    #[error("the spikes received for trial {key} do not match their digest")]
    Mislabelled {
        /// The trial.
        key: TrialKey,
    },
    /// The pushed spans differ from those stored. Nothing was stored.
    #[error("part {index} of noise stream {stream} has {offered} random numbers, but the store has {stored}")]
    Conflict {
        stream: StreamKey,
        /// The first span that differs.
        index: usize,
        /// Its count in the store.
        stored: u32,
        /// Its pushed count.
        offered: u32,
    },
    /// The pushed spans do not follow those stored. Nothing was stored.
    #[error("got noise stream {stream} from part {first} on, but the store has only {stored} parts of it")]
    Gap {
        stream: StreamKey,
        /// Number of stored spans.
        stored: usize,
        /// The first pushed span.
        first: u32,
    },
    /// The operating system reported an error.
    #[error("cannot {doing} the store {}: {source}", path.display())]
    Io {
        /// The store's file.
        path: PathBuf,
        /// The failed action, as a verb whose object is the store.
        doing: &'static str,
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

/// An open store. While one is open for writing, other processes can only use [`Store::glance`].
///
/// All calls block, and may come from several threads. Reads continue while a write waits for the disk.
#[derive(Debug)]
pub struct Store {
    log: Log,
    index: RwLock<LogIndex>,
    tail: Mutex<Tail>,
    found: Found,
}

impl Store {
    /// Opens the store at this path, or makes one if there is none. Its directory must exist.
    ///
    /// An empty file, or one block of zeros, counts as none. A power cut while a store is made leaves such a file, and
    /// no data is lost.
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
            // Another process may have replaced the file after it was opened, as `granule store prune` does.
            let opened = file.metadata().map_err(fail("open"))?;
            let is_same = |there: fs::Metadata| (there.dev(), there.ino()) == (opened.dev(), opened.ino());
            // Some network file systems report another inode at every call, so the number of attempts is limited.
            if fs::metadata(path).is_ok_and(is_same) || attempts.next().is_none() {
                break file;
            }
        };

        Store::in_file(file, path)
    }

    /// Opens the store in this file, or makes it there. The file must be locked, and open for reading and writing.
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
        // A process that was killed between write and sync leaves a complete frame in the page cache. This frame must
        // be durable before any caller can see it. The same applies to the file's name in its directory.
        log.file.sync_all().map_err(fail("sync"))?;
        sync_name(path).map_err(fail("sync the directory of"))?;
        Ok(Store { log, index: RwLock::new(index), tail: Mutex::new(Tail { end, failed: false }), found })
    }

    /// Opens the store at this path for reading, and changes nothing. Meanwhile, other processes can read it but not
    /// write. There is one exception: without locks on this machine, another machine with locks may write.
    ///
    /// # Errors
    /// Those of [`Self::open`] except [`StoreError::NoLocks`]; [`StoreError::Io`] if there is no store.
    pub fn read(path: &Path) -> Result<Store, StoreError> {
        let file = open_to_read(path)?;
        match file.try_lock_shared() {
            // Without locks, no process on this machine writes. A frame from another machine is complete or invalid.
            Err(TryLockError::Error(error)) if has_no_locks(&error) => {}
            locked => locked.map_err(|error| not_locked(path, error))?,
        }
        Store::replayed(file, path)
    }

    /// Reads the present content of the store at this path, even while another process writes to it. The file is not
    /// locked, so no writer has to wait.
    ///
    /// # Errors
    /// Those of [`Self::read`] except [`StoreError::InUse`].
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

    /// Returns the stamp of the file; `None` if a later change might not change it.
    pub fn stamp(&self) -> Option<Stamp> {
        self.log.file.metadata().ok().and_then(|metadata| Seal::of_written(&metadata).lasting())
    }

    /// Whether its path still leads to this file.
    pub fn is_in_place(&self) -> bool {
        let identity = |found: fs::Metadata| (found.dev(), found.ino());
        let there = fs::metadata(&self.log.path).map(identity).ok();
        there.is_some() && there == self.log.file.metadata().map(identity).ok()
    }

    /// Checks that the file at this path is a store of this format, or empty.
    ///
    /// # Errors
    /// Those of [`Self::read`], except those of locks.
    pub fn probe(path: &Path) -> Result<(), StoreError> {
        salt_of(&open_to_read(path)?, path).map(drop)
    }

    pub fn path(&self) -> &Path {
        &self.log.path
    }

    pub fn is_empty(&self) -> bool {
        self.index().trials.is_empty()
    }

    /// Whether it holds any of these trials.
    pub fn has_any_of(&self, keys: impl IntoIterator<Item = TrialKey>) -> bool {
        keys.into_iter().any(|key| self.contains(key))
    }

    /// Returns every trial, in the order in which they were put.
    pub fn trials(&self) -> Vec<StoredTrial> {
        let index = self.index();
        let mut held: Vec<(u64, StoredTrial)> = (index.trials.iter())
            .map(|(&key, place)| (place.at, StoredTrial { key, digest: place.digest, bytes: place.length }))
            .collect();
        held.sort_unstable_by_key(|&(at, held)| (at, held.key));
        held.into_iter().map(|(_, held)| held).collect()
    }

    /// Returns the span counts of every noise stream, in ascending order of the streams.
    pub fn streams(&self) -> Vec<(StreamKey, Vec<u32>)> {
        self.index().spans.iter().map(|(&stream, spans)| (stream, spans.clone())).collect()
    }

    pub fn found(&self) -> Found {
        self.found
    }

    /// Whether the store has spikes of this trial. Only reading them shows whether they are undamaged.
    pub fn contains(&self, key: TrialKey) -> bool {
        self.index().trials.contains_key(&key)
    }

    /// Returns the digest of this trial's spikes.
    pub fn digest(&self, key: TrialKey) -> Option<Digest> {
        self.index().trials.get(&key).map(|place| place.digest)
    }

    /// Returns the encoded spikes of this trial: exactly the bytes that were put.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if the stored bytes have changed; [`StoreError::Io`].
    pub fn get(&self, key: TrialKey) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(place) = self.index().trials.get(&key).copied() else { return Ok(None) };
        match self.log.value(place).map_err(|source| self.failed("read", source))? {
            Some(spikes) => Ok(Some(spikes)),
            None => Err(StoreError::Damaged { path: self.log.path.clone(), key }),
        }
    }

    /// Reads all spikes. Returns the trials with damaged ones, in the order of the file.
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

    /// Puts spikes of trials, all of them or none. On return they are durable.
    ///
    /// The answers are in the order of the entries; two entries may have the same key. The answer is [`Put::Same`] only
    /// if the stored spikes were read and are undamaged. Damaged ones are put again. In both cases the caller need not
    /// keep its spikes.
    ///
    /// # Errors
    /// [`StoreError::Mislabelled`]; [`StoreError::Io`], for example if the disk is full. Nothing of the batch is stored
    /// then. If the disk failed to sync, all later calls fail, too.
    pub fn put(&self, batch: &[StoreEntry<'_>]) -> Result<Vec<Put>, StoreError> {
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
                parts.push(EntryPart {
                    kind: BlockKind::Spikes,
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

    /// Removes trials, all of them or none, so that they can be put again. On return this is durable. The file does not
    /// shrink.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn remove(&self, keys: &[TrialKey]) -> Result<(), StoreError> {
        let mut tail = self.tail();
        let digest = Digest::of(&[]);
        let parts: Vec<_> = (keys.iter().filter(|&&key| self.contains(key)))
            .map(|key| EntryPart { kind: BlockKind::Removal, key: key.0, digest, value: &[] })
            .collect();
        self.append(&mut tail, &parts)
    }

    /// Returns the stored span counts of this noise stream, from its first span on.
    pub fn spans(&self, stream: StreamKey) -> Vec<u32> {
        self.index().spans.get(&stream).cloned().unwrap_or_default()
    }

    /// Appends the counts of this stream's spans from `first` on. On return they are durable. Counts of spans that are
    /// already stored must be the same.
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
        let part =
            EntryPart { kind: BlockKind::Spans, key: stream.0, digest: Digest::of(&value), value: &value };
        self.append(&mut tail, &[part])
    }

    /// Makes a frame of these entries durable, then adds it to the index.
    fn append(&self, tail: &mut Tail, parts: &[EntryPart<'_>]) -> Result<(), StoreError> {
        if parts.is_empty() {
            return Ok(());
        }
        let (pieces, places) = self.log.frame(tail.end, parts);
        let end = tail.end + pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
        self.log.write(tail, &pieces).map_err(|source| self.failed("write to", source))?;
        tail.end = end;
        // After the sync, because readers must not see anything that is not durable.
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        for (part, place) in parts.iter().zip(places) {
            index.apply(part.kind, part.key, place, part.value);
        }
        Ok(())
    }

    // If another thread panics while it holds a lock, no state is half-changed: the index changes in single steps, and
    // the tail after the write.

    fn index(&self) -> RwLockReadGuard<'_, LogIndex> {
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
        // Closing the file would also unlock it, except while a process is being started. Between its fork and its
        // exec, that process has the file and the lock, too.
        let _ = self.log.file.unlock();
    }
}

/// The place of the next frame. Its lock is the right to write.
#[derive(Debug)]
struct Tail {
    end: u64,
    /// The disk did not sync, or a frame could not be cut off: see the module's documentation.
    failed: bool,
}

/// The content of the log.
#[derive(Debug, Default)]
struct LogIndex {
    trials: HashMap<TrialKey, ValuePlace>,
    spans: BTreeMap<StreamKey, Vec<u32>>,
}

impl LogIndex {
    /// Applies an entry with a valid value. (Spikes are not read.) Returns whether it fits the index.
    fn apply(&mut self, kind: BlockKind, key: [u8; 32], place: ValuePlace, value: &[u8]) -> bool {
        match kind {
            BlockKind::Spikes => {
                self.trials.insert(TrialKey(key), place);
                true
            }
            BlockKind::Removal => {
                self.trials.remove(&TrialKey(key));
                true
            }
            BlockKind::Spans => {
                let (numbers, []) = value.as_chunks::<4>() else { return false };
                let mut numbers = numbers.iter().map(|&bytes| u32::from_le_bytes(bytes));
                let spans = self.spans.entry(StreamKey(key)).or_default();
                // Behind a damaged frame there is a gap. The spans beyond it will be pushed again.
                let fits = numbers.next().is_some_and(|first| first as usize == spans.len());
                if fits {
                    spans.extend(numbers);
                }
                fits
            }
        }
    }
}

/// The place of a value, and its digest.
#[derive(Clone, Copy, Debug)]
struct ValuePlace {
    at: u64,
    length: u64,
    digest: Digest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BlockKind {
    Spikes = 1,
    Removal = 2,
    Spans = 3,
}

/// An entry to write.
struct EntryPart<'a> {
    kind: BlockKind,
    key: [u8; 32],
    digest: Digest,
    value: &'a [u8],
}

/// A frame with a valid directory.
struct WholeFrame {
    begin: u64,
    end: u64,
    entries: Vec<(BlockKind, [u8; 32], ValuePlace)>,
}

/// The store's file.
#[derive(Debug)]
struct Log {
    file: File,
    path: PathBuf,
    salt: [u8; 32],
}

impl Log {
    /// Returns the bytes of a frame at this place, in pieces, and the places of its values. Large values are not
    /// copied.
    fn frame<'a>(&self, at: u64, parts: &[EntryPart<'a>]) -> (Vec<Cow<'a, [u8]>>, Vec<ValuePlace>) {
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
            places.push(ValuePlace { at: next, length, digest: part.digest });
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
            return Err(io::Error::other("the disk failed earlier; run again after you fix it"));
        }
        if self.file.metadata()?.nlink() == 0 {
            // The file is deleted: everything that is written to it would be lost when this process ends.
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
            // This cuts the frame off. An incomplete one is never valid, but takes space. A complete one must not be
            // found at the next opening, because this call fails.
            tail.failed |= self.file.set_len(tail.end).is_err();
        }
        synced
    }

    /// Returns the value at this place; `None` if it does not match its digest.
    fn value(&self, place: ValuePlace) -> io::Result<Option<Vec<u8>>> {
        let bytes = self.bytes(place.at, place.length)?;
        Ok(bytes.filter(|bytes| Digest::of(bytes) == place.digest))
    }

    /// Returns this many bytes from here; `None` if the file ends earlier.
    fn bytes(&self, at: u64, length: u64) -> io::Result<Option<Vec<u8>>> {
        // If the file was truncated, the buffer must not be larger than the file.
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

    /// Returns the frame at this place, if there is one with a valid directory.
    fn frame_at(&self, at: u64) -> io::Result<Option<WholeFrame>> {
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

        // The hash shows that this store wrote the numbers. But the file may have been truncated since.
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
                [1] => BlockKind::Spikes,
                [2] => BlockKind::Removal,
                [3] => BlockKind::Spans,
                _ => return Ok(None),
            };
            let length = number(&mut entry);
            let key = take::<32>(&mut entry);
            entries.push((
                kind,
                key,
                ValuePlace { at: next, length, digest: Digest(take::<32>(&mut entry)) },
            ));
            next = next.saturating_add(length);
        }
        // Every frame of this store passes this check. Without it, the end of the frame might not be the end of its
        // values.
        if next != values_at.saturating_add(values) {
            return Ok(None);
        }
        Ok(Some(WholeFrame { begin: at, end, entries }))
    }

    /// Reads the log from its beginning. Returns the index, the end of the last frame, and the result for the caller.
    fn replay(&self) -> io::Result<(LogIndex, u64, Found)> {
        let length = self.file.metadata()?.len();
        let mut index = LogIndex::default();
        let mut found = Found::default();
        // A frame is applied once it is known whether it is the last.
        let mut last: Option<WholeFrame> = None;
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
            // Only a frame that reaches the end of the file can be unfinished: a frame is durable before the next is
            // begun.
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

    fn is_whole(&self, frame: &WholeFrame) -> io::Result<bool> {
        for &(_, _, place) in &frame.entries {
            if self.value(place)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Applies a frame to the index. Returns the number of its bytes that are damaged or do not fit.
    fn apply(&self, index: &mut LogIndex, frame: &WholeFrame) -> io::Result<u64> {
        let mut damaged = 0;
        for &(kind, key, place) in &frame.entries {
            let value = if kind == BlockKind::Spans { self.value(place)? } else { Some(Vec::new()) };
            if !value.is_some_and(|value| index.apply(kind, key, place, &value)) {
                damaged += place.length;
            }
        }
        Ok(damaged)
    }

    /// Returns the hash of a part of the frame at this place.
    fn hash(&self, at: u64, bytes: &[u8]) -> [u8; 32] {
        *blake3::Hasher::new_keyed(&self.salt).update(&at.to_le_bytes()).update(bytes).finalize().as_bytes()
    }
}

/// The content of the first block.
enum StoreHead {
    /// Nothing was ever stored in the file.
    None,
    Of {
        version: u32,
        salt: [u8; 32],
    },
    Unknown(&'static str),
}

/// Reads the first block. Magic, version and hash are at the same place in all versions.
fn read_head(file: &File) -> io::Result<StoreHead> {
    let length = file.metadata()?.len();
    let mut block = vec![0; length.min(BLOCK) as usize];
    file.read_exact_at(&mut block, 0)?;
    if length <= BLOCK && block.iter().all(|&byte| byte == 0) {
        return Ok(StoreHead::None);
    }
    if !block.starts_with(&FILE_MAGIC) {
        return Ok(StoreHead::Unknown(looks_like(&block)));
    }
    let Some(head) = block.first_chunk::<FILE_HEAD>() else {
        return Ok(StoreHead::Unknown("it is truncated"));
    };
    let (told, hash) = head.split_at(FILE_HEAD - 32);
    if blake3::hash(told).as_bytes() != hash {
        return Ok(StoreHead::Unknown("its first block is damaged"));
    }
    let mut rest = &told[FILE_MAGIC.len()..];
    let version = u32::from_le_bytes(take(&mut rest));
    Ok(StoreHead::Of { version, salt: take(&mut rest) })
}

/// Guesses from its beginning what kind of file this is, if it is no store.
fn looks_like(block: &[u8]) -> &'static str {
    const KINDS: [(&[u8], &str); 4] = [
        (b"\x93NUMPY", "it is a numpy array"),
        (b"PAR1", "it is a Parquet table"),
        (b"PK\x03\x04", "it is an archive"),
        (b"SQLite format 3\0", "it is an SQLite database"),
    ];
    if let Some((_, kind)) = KINDS.iter().find(|(magic, _)| block.starts_with(magic)) {
        return kind;
    }
    if FILE_MAGIC.starts_with(block) {
        return "it is truncated";
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
        Some('{' | '[') if is_text => "it is text, perhaps JSON",
        _ if is_text => "it is text, perhaps a sweep file",
        _ => "it does not start like a store",
    }
}

/// Returns the salt of a store of this format; `None` if nothing was ever stored in the file.
fn salt_of(file: &File, path: &Path) -> Result<Option<[u8; 32]>, StoreError> {
    let head =
        read_head(file).map_err(|source| StoreError::Io { path: path.to_owned(), doing: "read", source })?;
    match head {
        StoreHead::None => Ok(None),
        StoreHead::Of { version: VERSION, salt } => Ok(Some(salt)),
        StoreHead::Of { version, .. } => Err(StoreError::Version { path: path.to_owned(), found: version }),
        StoreHead::Unknown(what) => Err(StoreError::Corrupted { path: path.to_owned(), what }),
    }
}

fn open_to_read(path: &Path) -> Result<File, StoreError> {
    let opened = File::options().read(true).custom_flags(harmless().bits()).open(path);
    let file = opened.map_err(|source| StoreError::Io { path: path.to_owned(), doing: "open", source })?;
    check_kind(&file, path)?;
    Ok(file)
}

/// Checks that this is a regular file. Others, such as pipes and `/dev/full`, have no end to append to.
fn check_kind(file: &File, path: &Path) -> Result<(), StoreError> {
    let fail = |source| StoreError::Io { path: path.to_owned(), doing: "open", source };
    let kind = file.metadata().map_err(fail)?;
    if kind.is_file() {
        return Ok(());
    }
    let what = if kind.is_dir() { "it is a directory" } else { "it is not a regular file" };
    Err(StoreError::Corrupted { path: path.to_owned(), what })
}

/// Writes the first block of a new store. Returns its salt.
fn make(file: &File) -> io::Result<[u8; 32]> {
    let mut salt = [0; 32];
    for (i, bytes) in salt.chunks_exact_mut(8).enumerate() {
        // The standard library's source of random numbers: the operating system provides its keys.
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
        // Half a first block would look like a damaged store; an empty file looks like a new one.
        let _ = file.set_len(0);
    }
    made.map(|()| salt)
}

/// Takes the next bytes. The caller has checked that the slice is long enough.
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
