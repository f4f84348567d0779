//! Stamps of files: the identity of a file and its last change.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

use nix::sys::stat::FileStat;
use serde::{Deserialize, Serialize};

use crate::os;

/// A file that changed less than this before it was read may change again without its times changing. The
/// clocks of file systems have steps of up to two seconds, and the clocks of two machines may differ by less
/// than this.
const CERTAIN_AFTER: Duration = Duration::from_secs(3);

/// Identity of a file, with the time of its last change.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    /// Time of the last change of content, in seconds and nanoseconds. A program can set it.
    modified: (i64, i64),
    /// Time of the last change of content, name or permissions, by the file system. A program cannot set it.
    changed: (i64, i64),
}

impl PartialEq for Stamp {
    /// Ignores the device number. On network file systems it differs between machines, and often after a
    /// restart. The time of change and the inode distinguish files of two devices.
    fn eq(&self, other: &Stamp) -> bool {
        let Stamp { device: _, inode, bytes, modified, changed } = self;
        (*inode, *bytes, *modified, *changed) == (other.inode, other.bytes, other.modified, other.changed)
    }
}

impl Eq for Stamp {}

/// The stamp of a file whose content is known.
#[derive(Clone, Copy, Debug)]
pub struct Seal {
    pub stamp: Stamp,
    /// Whether any later change of the file changes the stamp.
    is_certain: bool,
}

impl Seal {
    /// Returns the seal of a file that this process has put in place at this moment. If the clock of the file
    /// system has whole seconds, a further change could have the same times; then the seal is not certain.
    pub fn of_written(metadata: &Metadata) -> Seal {
        let stamp = Stamp::of(metadata);
        Seal { stamp, is_certain: stamp.changed.1 != 0 }
    }

    /// Returns the seal of a file whose stamp is known to be certain.
    pub fn certain(stamp: Stamp) -> Seal {
        Seal { stamp, is_certain: true }
    }

    /// Returns the stamp if it remains reliable later.
    pub fn lasting(self) -> Option<Stamp> {
        self.is_certain.then_some(self.stamp)
    }
}

impl Stamp {
    /// Returns the stamp of a file with this metadata.
    pub fn of(metadata: &Metadata) -> Stamp {
        Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Returns the stamp of a file with this status.
    pub fn of_stat(stat: &FileStat) -> Stamp {
        Stamp {
            device: os::device(stat),
            inode: stat.st_ino,
            bytes: u64::try_from(stat.st_size).unwrap_or_default(),
            modified: (stat.st_mtime, stat.st_mtime_nsec),
            changed: (stat.st_ctime, stat.st_ctime_nsec),
        }
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether any later change of the file will change the stamp, by the clock of this machine.
    fn is_certain(&self) -> bool {
        let Ok(now) = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) else { return false };
        let changed = Duration::from_secs(u64::try_from(self.changed.0).unwrap_or(u64::MAX));
        changed.saturating_add(CERTAIN_AFTER) < now
    }
}

/// Reads an open file with `read`, and seals the result. If the file changed meanwhile, there is no seal.
pub fn sealed<T>(file: &File, read: impl FnOnce(&File) -> io::Result<T>) -> io::Result<(T, Option<Seal>)> {
    let before = Stamp::of(&file.metadata()?);
    let found = read(file)?;
    let stamp = Stamp::of(&file.metadata()?);
    Ok((found, (before == stamp).then(|| Seal { stamp, is_certain: stamp.is_certain() })))
}
