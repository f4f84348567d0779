//! Files for their owner alone: made so from the first moment, and read only while they are.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use crate::shell::shell_path;

/// Why a file is not read.
#[derive(Debug, thiserror::Error)]
pub enum PrivateError {
    /// There is none, or the system does not let us.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is a directory, a pipe or a device.
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// What it is not.
        path: PathBuf,
    },
    /// Others can get at it.
    #[error("{} is open to other users of this machine (its mode is {mode:03o}); \
             run `chmod 600 {}`, and make a new one if another user may have read it",
            path.display(), shell_path(path))]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Nothing that we read is so long.
    #[error("{} is longer than {limit} bytes, it cannot be the right file", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// What it may have.
        limit: u64,
    },
}

impl PrivateError {
    /// Whether there is no such file.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, PrivateError::Read { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Permissions that nobody but the owner may have.
pub const OTHERS: u32 = 0o077;

/// What is in a file of at most `limit` bytes, of whose permissions none is `forbidden`.
///
/// # Errors
/// When it cannot be read, or must not be trusted.
pub fn read(path: &Path, forbidden: u32, limit: u64) -> Result<Vec<u8>, PrivateError> {
    let failed = |source| PrivateError::Read { path: path.to_owned(), source };
    // Asked before it is opened, as opening a pipe waits for who writes into it.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(PrivateError::NotAFile { path: path.to_owned() });
    }
    let file = File::open(path).map_err(failed)?;
    // And again of what was opened: the name may stand for another file by now.
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(PrivateError::NotAFile { path: path.to_owned() });
    }
    let mode = metadata.permissions().mode() & 0o777;
    if is_open(mode, forbidden, metadata.uid(), geteuid().as_raw()) {
        return Err(PrivateError::Open { path: path.to_owned(), mode });
    }
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(PrivateError::TooLong { path: path.to_owned(), limit });
    }
    Ok(bytes)
}

/// Whether a file of this mode and owner has permissions that are forbidden.
///
/// A file of root's can reach another user through its group only: so containers are given their
/// secrets. Who is in that group, root has said.
fn is_open(mode: u32, forbidden: u32, owner: u32, reader: u32) -> bool {
    const GROUP_READS: u32 = 0o040;
    let is_given_by_root = owner == 0 && reader != 0;
    let forbidden = if is_given_by_root { forbidden & !GROUP_READS } else { forbidden };
    mode & forbidden != 0
}

/// Puts a file for its owner alone in this place, whole or not at all.
///
/// # Errors
/// What the system said.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let Some(name) = path.file_name() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it has no name of a file"));
    };
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    DirBuilder::new().recursive(true).create(directory)?;
    let mut unfinished = name.to_owned();
    unfinished.push(format!(".{:016x}.unfinished", rand::random::<u64>()));
    let unfinished = directory.join(unfinished);
    let written =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished).and_then(|mut file| {
            let written = file.write_all(bytes).and_then(|()| file.sync_all());
            written.and_then(|()| fs::rename(&unfinished, path)).inspect_err(|_| {
                let _ = fs::remove_file(&unfinished);
            })
        });
    written?;
    match File::open(directory)?.sync_all() {
        // Some network file systems cannot, and have no need to.
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
            Ok(())
        }
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("a file").permissions().mode() & 0o7777
    }

    #[test]
    fn what_is_written_is_the_owners_and_replaces_what_was_there() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("inner/key");
        write(&path, b"one").expect("written");
        assert_eq!(mode(&path), 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("changed");
        write(&path, b"two").expect("written");
        assert_eq!(mode(&path), 0o600);
        assert_eq!(read(&path, OTHERS, 3).expect("read"), b"two");
        let left = fs::read_dir(directory.path().join("inner")).expect("a directory").count();
        assert_eq!(left, 1, "nothing unfinished is left");
    }

    #[test]
    fn a_failed_write_leaves_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("key");
        fs::create_dir(&path).expect("made");
        write(&path, b"one").expect_err("a directory is in the way");
        assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 1);
        write(Path::new("/"), b"one").expect_err("no name");
    }

    #[test]
    fn what_others_can_get_at_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("key");
        write(&path, b"one").expect("written");
        for open in [0o640, 0o620, 0o604, 0o602, 0o644] {
            fs::set_permissions(&path, fs::Permissions::from_mode(open)).expect("changed");
            let error = read(&path, OTHERS, 10).expect_err("others can get at it");
            let PrivateError::Open { mode, .. } = error else { panic!("{error}") };
            assert_eq!(mode, open);
            let text = error.to_string();
            assert!(text.contains(&format!("`chmod 600 {}`", shell_path(&path))), "{text}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).expect("changed");
        read(&path, OTHERS, 10).expect("nobody else");
    }

    #[test]
    fn root_may_give_a_file_through_its_group() {
        const US: u32 = 1000;
        assert!(!is_open(0o440, OTHERS, 0, US) && !is_open(0o640, OTHERS, 0, US));
        assert!(is_open(0o440, OTHERS, US, US), "a file of our own");
        assert!(is_open(0o440, OTHERS, 0, 0), "root's own, read by root");
        assert!(is_open(0o440, OTHERS, US + 1, US), "another user's");
        for open in [0o460, 0o450, 0o444, 0o442, 0o441] {
            assert!(is_open(open, OTHERS, 0, US), "{open:o}");
        }
    }

    #[test]
    fn only_regular_files_of_some_length_are_read() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("key");
        assert!(read(&path, OTHERS, 10).expect_err("nothing there").is_not_found());
        let error = read(directory.path(), OTHERS, 10).expect_err("a directory");
        assert!(matches!(error, PrivateError::NotAFile { .. }), "{error}");
        let error = read(Path::new("/dev/null"), OTHERS, 10).expect_err("a device");
        assert!(matches!(error, PrivateError::NotAFile { .. }), "{error}");
        write(&path, b"0123456789").expect("written");
        read(&path, OTHERS, 10).expect("just so long");
        let error = read(&path, OTHERS, 9).expect_err("too long");
        assert!(matches!(error, PrivateError::TooLong { .. }), "{error}");
    }
}
