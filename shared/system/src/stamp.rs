//! Stamps of files: which file a file is, and when it last changed.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

use nix::sys::stat::FileStat;
use serde::{Deserialize, Serialize};

/// A file that changed less than this before it was read may change again without its times changing: clocks of file
/// systems go in steps of up to two seconds. It may also be that the clocks of two machines differ by less.
const CERTAIN_AFTER: Duration = Duration::from_secs(3);

/// Which file it is, and when it last changed.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Stamp {
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
pub struct Seal {
    pub stamp: Stamp,
    /// Whether any later change of the file changes the stamp.
    is_certain: bool,
}

impl Seal {
    /// Of a file that this process has just put in place. Where the clock of the file system goes in whole seconds, a
    /// further change could have the same times.
    pub fn of_written(metadata: &Metadata) -> Seal {
        let stamp = Stamp::of(metadata);
        Seal { stamp, is_certain: stamp.changed.1 != 0 }
    }

    /// Of a file that has a stamp which is certain.
    pub fn certain(stamp: Stamp) -> Seal {
        Seal { stamp, is_certain: true }
    }

    /// The stamp, if it can be relied on later.
    pub fn lasting(self) -> Option<Stamp> {
        self.is_certain.then_some(self.stamp)
    }
}

impl Stamp {
    /// Of a file, by what the system says of it.
    pub fn of(metadata: &Metadata) -> Stamp {
        Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// The same.
    pub fn of_stat(stat: &FileStat) -> Stamp {
        Stamp {
            device: stat.st_dev,
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

/// Reads an open file by `read`, and seals what was read; there is no seal if the file changed meanwhile.
pub fn sealed<T>(file: &File, read: impl FnOnce(&File) -> io::Result<T>) -> io::Result<(T, Option<Seal>)> {
    let before = Stamp::of(&file.metadata()?);
    let found = read(file)?;
    let stamp = Stamp::of(&file.metadata()?);
    Ok((found, (before == stamp).then(|| Seal { stamp, is_certain: stamp.is_certain() })))
}
