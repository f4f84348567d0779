//! Which files were seen to be whole, so that they need not be hashed again.
//!
//! A stamp says which file a file is and when it last changed: device, inode, size and times. A file with the stamp
//! that it had when it was written, or hashed, is still what it was. A copied, moved, restored or changed file has
//! another stamp, and is hashed. The stamps of an output directory lie beside its manifest and hold for that very
//! manifest only. They are a cache: without them everything is hashed, and nothing else changes.
//!
//! One kind of change leaves no trace in the times of a file: a write through a memory map to a page that the same map had
//! changed before. `granule verify` finds it.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

use granule_sweep::key::Fingerprint;
use nix::sys::stat::FileStat;
use serde::{Deserialize, Serialize};

use super::Kept;
use super::manifest::ResolvedSweep;

/// Their name in the output directory.
pub(crate) const NAME: &str = ".outputs.stamps.json";

/// Version of the format.
const FORMAT: u32 = 1;

/// A file that changed less than this before it was read may change again without its times changing: clocks of file
/// systems go in steps of up to two seconds. It may also be that the clocks of two machines differ by less.
const CERTAIN_AFTER: Duration = Duration::from_secs(3);

/// Which file it is, and when it last changed.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    /// The file system's own time of the last change of content, name or permissions. Unlike the time of
    /// modification, a program cannot set it.
    changed: (i64, i64),
}

impl PartialEq for Stamp {
    /// Network file systems have another device number on every machine, and often after every start. The time of change
    /// and the inode tell files of two devices apart.
    fn eq(&self, other: &Stamp) -> bool {
        let Stamp { device: _, inode, bytes, modified, changed } = self;
        (*inode, *bytes, *modified, *changed) == (other.inode, other.bytes, other.modified, other.changed)
    }
}

impl Eq for Stamp {}

/// The stamp of a file whose content is known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seal {
    pub(crate) stamp: Stamp,
    /// Whether any later change of the file changes the stamp.
    is_certain: bool,
}

impl Seal {
    /// Of a file that this process has just put in place. Where the clock of the file system goes in whole seconds, a
    /// further change could have the same times.
    pub(crate) fn of_written(metadata: &Metadata) -> Seal {
        let stamp = Stamp::of(metadata);
        Seal { stamp, is_certain: stamp.changed.1 != 0 }
    }

    /// Of a file that has a stamp which is certain.
    pub(crate) fn certain(stamp: Stamp) -> Seal {
        Seal { stamp, is_certain: true }
    }

    /// The stamp, if it can be relied on later.
    pub(crate) fn lasting(self) -> Option<Stamp> {
        self.is_certain.then_some(self.stamp)
    }
}

impl Stamp {
    /// Of a file, by what the system says of it.
    pub(crate) fn of(metadata: &Metadata) -> Stamp {
        Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// The same.
    pub(crate) fn of_stat(stat: &FileStat) -> Stamp {
        Stamp {
            device: stat.st_dev,
            inode: stat.st_ino,
            bytes: u64::try_from(stat.st_size).unwrap_or_default(),
            modified: (stat.st_mtime, stat.st_mtime_nsec),
            changed: (stat.st_ctime, stat.st_ctime_nsec),
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether any later change of the file will change the stamp, by the clock of this machine.
    fn is_certain(&self) -> bool {
        let Ok(now) = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) else { return false };
        let changed = Duration::from_secs(u64::try_from(self.changed.0).unwrap_or(u64::MAX));
        changed.saturating_add(CERTAIN_AFTER) < now
    }
}

/// Reads an open file by `read`, and seals what was read; there is no seal if the file changed meanwhile.
pub(crate) fn sealed<T>(
    file: &File,
    read: impl FnOnce(&File) -> io::Result<T>,
) -> io::Result<(T, Option<Seal>)> {
    let before = Stamp::of(&file.metadata()?);
    let found = read(file)?;
    let stamp = Stamp::of(&file.metadata()?);
    Ok((found, (before == stamp).then(|| Seal { stamp, is_certain: stamp.is_certain() })))
}

/// A file that was written or hashed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// None if it is not certain that the stamp changes with the file.
    pub(crate) stamp: Option<Stamp>,
    pub(crate) sha256: String,
}

impl Seen {
    /// Of files that are in place, by path.
    pub(crate) fn of<'a>(kept: impl Iterator<Item = &'a Kept>) -> BTreeMap<String, Seen> {
        let seen = kept.map(|(record, seal)| {
            let stamp = seal.and_then(Seal::lasting);
            (record.path.clone(), Seen { stamp, sha256: record.sha256.clone() })
        });
        seen.collect()
    }
}

/// Whether these bytes are stamps, of any format, or what is left of some.
pub(crate) fn is_replaceable(bytes: &[u8]) -> bool {
    const BEGINNING: &[u8] = b"{\"format\":";
    bytes.starts_with(BEGINNING) || BEGINNING.starts_with(bytes)
}

/// By what a sweep is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SweepId {
    pub(crate) name: String,
    pub(crate) seeds: Vec<u32>,
    /// Of each condition.
    pub(crate) fingerprints: Vec<String>,
}

impl SweepId {
    pub(crate) fn of(sweep: &ResolvedSweep) -> SweepId {
        let fingerprints = sweep.conditions.iter().map(|of| of.fingerprint.clone()).collect();
        SweepId { name: sweep.name.clone(), seeds: sweep.seeds.clone(), fingerprints }
    }

    /// With the fingerprints that version 0.1.0 gave to its conditions, too.
    pub(crate) fn with_version_0_1_0(mut self, sweep: &ResolvedSweep) -> SweepId {
        let conditions = sweep.restore().map(|sweep| sweep.conditions).unwrap_or_default();
        let fingerprints = conditions.iter().map(|of| Fingerprint::in_version_0_1_0(&of.model).to_string());
        self.fingerprints.extend(fingerprints);
        self
    }
}

/// What is known of the files of an output directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamps {
    format: u32,
    /// The sweep whose files they are, should the manifest be lost.
    pub(crate) sweep: SweepId,
    /// SHA-256 of the manifest for whose files they hold.
    manifest: String,
    /// By path.
    files: BTreeMap<String, Seen>,
    /// Of the store, when all trials of the sweep were last seen to be whole in it.
    store: Option<Stamp>,
}

impl Stamps {
    /// Of these files, for the manifest with this SHA-256.
    pub(crate) fn new(
        sweep: SweepId,
        manifest: String,
        files: BTreeMap<String, Seen>,
        store: Option<Stamp>,
    ) -> Stamps {
        Stamps { format: FORMAT, sweep, manifest, files, store }
    }

    /// Reads them; none if they are of another format or cannot be understood.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Stamps> {
        serde_json::from_slice::<Stamps>(bytes).ok().filter(|stamps| stamps.format == FORMAT)
    }

    /// As they are written.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("text and numbers can be written")
    }

    /// Whether they hold for the manifest with this SHA-256.
    pub(crate) fn are_of(&self, manifest: &str) -> bool {
        self.manifest == manifest
    }

    /// What is known of a file that granule has written or hashed here.
    pub(crate) fn seen(&self, path: &str) -> Option<&Seen> {
        self.files.get(path)
    }

    /// Whether a store with this stamp has all trials of the sweep, whole.
    pub(crate) fn trust_store(&self, stamp: Option<Stamp>) -> bool {
        stamp.is_some() && self.store == stamp
    }
}
