//! Files that only their owner can access: created so from the first moment, and read only while they are so.

use std::ffi::OsStr;
use std::fs::DirBuilder;
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::sys::stat::Mode;
use nix::unistd::geteuid;

use crate::files::{self, Directory, Whole};
use crate::shell::shell_path;

/// Why a private file was not read.
#[derive(Debug, thiserror::Error)]
pub enum PrivateError {
    /// The file does not exist, or the system refuses.
    #[error("cannot read {}", path.display())]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// Error of the system.
        source: io::Error,
    },
    /// The path is a directory, a pipe or a device.
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// Other users can access the file.
    #[error("{} is readable by other users (mode {mode:03o}); run `chmod 600 {}`, and make a new one if another \
        user may have read it; where modes cannot be changed, \
             copy it to another file system",
            path.display(), shell_path(path))]
    Open {
        /// Path of the file.
        path: PathBuf,
        /// Permission bits of the file.
        mode: u32,
    },
    /// The file is longer than the caller's limit.
    #[error(
        "{} has more than {limit} bytes, so it is not a key, a certificate or an access file",
        path.display()
    )]
    TooLong {
        /// Path of the file.
        path: PathBuf,
        /// Most bytes that the file may have.
        limit: u64,
    },
}

impl PrivateError {
    /// Whether the file does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, PrivateError::Read { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// Whether the permissions deny this user access to the file.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        matches!(self, PrivateError::Read { source, .. } if source.kind() == io::ErrorKind::PermissionDenied)
    }
}

/// Permissions of group and others, which a private file must not have.
pub const OTHERS: u32 = 0o077;

/// Reads a file of at most `limit` bytes that has none of the permissions `forbidden`.
///
/// # Errors
/// If it cannot be read, or must not be trusted.
pub fn read(path: &Path, forbidden: u32, limit: u64) -> Result<Vec<u8>, PrivateError> {
    let failed = |source| PrivateError::Read { path: path.to_owned(), source };
    let file = files::open(path).map_err(|source| match source.kind() {
        io::ErrorKind::InvalidInput => PrivateError::NotAFile { path: path.to_owned() },
        _ => failed(source),
    })?;
    let metadata = file.metadata().map_err(failed)?;
    let mode = metadata.permissions().mode() & 0o777;
    if is_open(mode, forbidden, metadata.uid(), geteuid().as_raw()) {
        return Err(PrivateError::Open { path: path.to_owned(), mode });
    }
    files::read_open(file, limit).map_err(|source| match source.kind() {
        io::ErrorKind::FileTooLarge => PrivateError::TooLong { path: path.to_owned(), limit },
        _ => failed(source),
    })
}

/// Whether a file of this mode and owner has forbidden permissions.
///
/// A file that root owns may be readable by its group, because containers receive secrets in this way. Root
/// chose the members of that group.
fn is_open(mode: u32, forbidden: u32, owner: u32, reader: u32) -> bool {
    const GROUP_READS: u32 = 0o040;
    let is_given_by_root = owner == 0 && reader != 0;
    let forbidden = if is_given_by_root { forbidden & !GROUP_READS } else { forbidden };
    mode & forbidden != 0
}

/// Writes a file for its owner alone, whole or not at all, and replaces a file of that name.
///
/// # Errors
/// If the system refuses, or if the file system keeps no modes, so that other users could read the file.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).create(parent)?;
    }
    let (directory, name) = Directory::of(path)?;
    directory.remove_leftovers()?;
    write_in(&directory, &name, bytes)
}

/// Like [`write()`], for a file of this name in an open directory.
///
/// # Errors
/// As [`write()`]; [`io::ErrorKind::Unsupported`] if the file system keeps no modes. Then nothing is written.
pub fn write_in(directory: &Directory, name: &OsStr, bytes: &[u8]) -> io::Result<()> {
    let mut file = directory.write(name, Mode::from_bits_truncate(0o600))?;
    // The mode is checked before the file has anything secret in it.
    check_mode(directory, &file)?;
    file.write_all(bytes)?;
    file.commit()?;
    directory.sync()
}

/// Checks that a file for its owner alone can be written here. No file remains.
///
/// # Errors
/// As [`write()`], if the directory exists.
pub fn check_place(path: &Path) -> io::Result<()> {
    let Ok((directory, name)) = Directory::of(path) else { return Ok(()) };
    let file = directory.write(&name, Mode::from_bits_truncate(0o600))?;
    check_mode(&directory, &file)
}

/// Checks that a new file has no permissions of group and others, as it was created.
fn check_mode(directory: &Directory, file: &Whole) -> io::Result<()> {
    if file.open_file().metadata()?.mode() & OTHERS != 0 {
        return Err(io::Error::new(io::ErrorKind::Unsupported, Modeless(directory.path().to_owned())));
    }
    Ok(())
}

/// A file system that keeps no modes of files, such as FAT, exFAT, CIFS or a drive of Windows in WSL.
#[derive(Debug, thiserror::Error)]
#[error("the file system of {} does not support file modes, so other users could read the secret", .0.display())]
struct Modeless(PathBuf);

/// Whether a file could not be written because its file system keeps no modes.
#[must_use]
pub fn is_modeless(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|error| error.is::<Modeless>())
}

#[cfg(test)]
mod tests {
    use std::fs;

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
