//! Which files were seen to be whole, so that they need not be hashed again.
//!
//! A stamp says which file a file is and when it last changed: device, inode, size and times. A file with the stamp
//! that it had when it was written, or hashed, is still what it was. A copied, moved, restored or changed file has
//! another stamp, and is hashed. The stamps of an output directory lie beside its manifest and hold for that very
//! manifest only. They are a cache: without them everything is hashed, and nothing else changes.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

use nix::sys::stat::FileStat;
use serde::{Deserialize, Serialize};

/// Their name in the output directory.
pub(crate) const NAME: &str = ".outputs.stamps.json";

/// Version of the format.
const FORMAT: u32 = 1;

/// A file that changed less than this before it was read may change again without its times changing: clocks of file
/// systems go in steps of up to two seconds. It may also be that the clocks of two machines differ by less.
const CERTAIN_AFTER: Duration = Duration::from_secs(3);

/// Which file it is, and when it last changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

/// Reads an open file by `read`, and gives its stamp if the stamp holds for what was read: the file did not change
/// meanwhile, and cannot have changed unnoticed.
pub(crate) fn stamped<T>(
    file: &File,
    read: impl FnOnce(&File) -> io::Result<T>,
) -> io::Result<(T, Option<Stamp>)> {
    let before = Stamp::of(&file.metadata()?);
    let found = read(file)?;
    let after = Stamp::of(&file.metadata()?);
    Ok((found, (before == after && after.is_certain()).then_some(after)))
}

/// What is known of the files of an output directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamps {
    format: u32,
    /// SHA-256 of the manifest for whose files they hold.
    manifest: String,
    /// By path.
    files: BTreeMap<String, Stamp>,
    /// Of the store, when all trials of the sweep were last seen to be whole in it.
    store: Option<Stamp>,
}

impl Stamps {
    /// Of these files, for the manifest with this SHA-256.
    pub(crate) fn new(manifest: String, files: BTreeMap<String, Stamp>, store: Option<Stamp>) -> Stamps {
        Stamps { format: FORMAT, manifest, files, store }
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

    /// The stamp of a file that granule has written or hashed here.
    pub(crate) fn file(&self, path: &str) -> Option<Stamp> {
        self.files.get(path).copied()
    }

    /// The stamp of the store.
    pub(crate) fn store(&self) -> Option<Stamp> {
        self.store
    }

    /// Whether a store with this stamp has all trials of the sweep, whole.
    pub(crate) fn trust_store(&self, stamp: Option<Stamp>) -> bool {
        stamp.is_some() && self.store == stamp
    }
}
