//! Files: one way to open them, and one way to write them.
//!
//! **Reading.** [`open`] and [`read`] accept only regular files. They never wait for another process, as
//! opening a named pipe does, and read at most a stated number of bytes.
//!
//! **Writing.** [`Whole`] writes to a new file with a unique name, makes it durable, and renames it to its
//! place. The file appears whole or not at all. If two processes write the same file, they do not interfere,
//! and the last rename wins.
//!
//! **Directories.** [`Directory`] is an open directory. It stays the same directory if its name changes.
//! Operations on a name in it follow no link, except [`Directory::below_linked`].

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, TryLockError};
use std::io::{self, BufWriter, Read as _, Seek, SeekFrom, Write};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use rustix::fs::{RenameFlags, renameat_with};
use rustix::io::Errno as CallErrno;

use crate::os;

/// Opens a file for reading. Follows links.
///
/// # Errors
/// If it is not a regular file, or if the system refuses.
pub fn open(path: &Path) -> io::Result<File> {
    let file = fs::OpenOptions::new().read(true).custom_flags(harmless().bits()).open(path)?;
    check_regular(&file)?;
    Ok(file)
}

/// Returns flags for an open that never waits (as for the other end of a pipe) and has no side effect (as on
/// a terminal).
#[must_use]
pub fn harmless() -> OFlag {
    OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC
}

/// Checks that an open file is a regular file.
///
/// # Errors
/// If it is not.
pub fn check_regular(file: &File) -> io::Result<()> {
    let mode = file.metadata()?.mode();
    match kind_of(mode) {
        "a file" => Ok(()),
        kind => Err(io::Error::new(io::ErrorKind::InvalidInput, format!("it is {kind}, not a regular file"))),
    }
}

/// Returns the kind of file that a mode stands for, in words with an article.
#[must_use]
pub fn kind_of(mode: u32) -> &'static str {
    match os::file_type(mode) {
        SFlag::S_IFREG => "a file",
        SFlag::S_IFDIR => "a directory",
        SFlag::S_IFLNK => "a symbolic link",
        SFlag::S_IFIFO => "a pipe",
        SFlag::S_IFSOCK => "a socket",
        _ => "a device",
    }
}

/// Returns the kind of file of a status, as [`kind_of`].
#[must_use]
pub fn kind_of_stat(stat: &FileStat) -> &'static str {
    kind_of(os::mode(stat))
}

/// Reads a regular file of at most `limit` bytes.
///
/// # Errors
/// As [`open`]; [`io::ErrorKind::FileTooLarge`] if the file is longer.
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    read_open(open(path)?, limit)
}

/// Reads an open file of at most `limit` bytes.
///
/// # Errors
/// [`io::ErrorKind::FileTooLarge`] if the file is longer; if the system refuses.
pub fn read_open(file: File, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // The length is checked before anything is read. The file may still grow meanwhile.
    let mut length = file.metadata()?.len();
    if length <= limit {
        file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
        length = bytes.len() as u64;
    }
    if length > limit {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it has more than the {limit} bytes that such a file can have"),
        ));
    }
    Ok(bytes)
}

/// Writes a file whole and durably, and replaces a file of that name. Removes the unfinished files of killed
/// processes in its directory.
///
/// # Errors
/// If the system refuses. Then no unfinished file remains.
pub fn put(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (directory, name) = Directory::of(path)?;
    directory.remove_leftovers()?;
    let mut file = directory.write(&name, Mode::from_bits_truncate(0o666))?;
    file.write_all(bytes)?;
    file.commit()?;
    directory.sync()
}

/// Makes the name of this file or directory durable.
///
/// # Errors
/// If the system refuses.
pub fn sync_name(path: &Path) -> io::Result<()> {
    path.canonicalize()?.parent().map_or(Ok(()), |parent| sync_names(&File::open(parent)?))
}

/// Makes the names in an open directory durable.
fn sync_names(directory: &File) -> io::Result<()> {
    match directory.sync_all() {
        // Some network file systems cannot sync a directory, and need not.
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
            Ok(())
        }
        result => result,
    }
}

/// A file that is being written has this prefix, then 16 hexadecimal digits, then [`UNFINISHED`].
const TEMPORARY: &str = ".granule-";

/// See [`TEMPORARY`].
const UNFINISHED: &str = ".unfinished";

/// Whether this is the name of a file that a [`Whole`] has not finished.
#[must_use]
pub fn is_temporary(name: &OsStr) -> bool {
    let digits = |name: &str| Some(name.strip_prefix(TEMPORARY)?.strip_suffix(UNFINISHED)?.to_owned());
    name.to_str().and_then(digits).is_some_and(|digits| {
        digits.len() == 16 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// An open directory, with the path by which it was opened.
#[derive(Clone, Debug)]
pub struct Directory {
    handle: Arc<File>,
    path: PathBuf,
}

impl Directory {
    /// Opens a directory. Links in the path are followed.
    ///
    /// # Errors
    /// If it is not a directory, or if the system refuses.
    pub fn open(path: &Path) -> io::Result<Directory> {
        let handle = fs::OpenOptions::new()
            .read(true)
            .custom_flags((harmless() | OFlag::O_DIRECTORY).bits())
            .open(path)?;
        Ok(Directory { handle: Arc::new(handle), path: path.to_owned() })
    }

    /// Opens a directory. If there is none, creates it durably.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn create(path: &Path) -> io::Result<Directory> {
        let new: Vec<&Path> =
            path.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists()).collect();
        Directory::check_links(path)?;
        fs::create_dir_all(path)?;
        for path in new {
            match sync_name(path) {
                // A directory that is writable but not readable cannot be synced.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
                synced => synced?,
            }
        }
        Directory::open(path)
    }

    /// Checks that no part of the path is a symbolic link to nothing, so that a directory could be created
    /// there.
    ///
    /// # Errors
    /// If a part is such a link; the message names it.
    pub fn check_links(path: &Path) -> io::Result<()> {
        let mut absent = path.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists());
        let Some((link, target)) = absent.find_map(|path| Some((path, fs::read_link(path).ok()?))) else {
            return Ok(());
        };
        let (link, target) = (link.display(), target.display());
        let message = format!("{link} is a symbolic link to {target}, which does not exist");
        Err(io::Error::new(io::ErrorKind::NotFound, message))
    }

    /// Opens the directory of a file that is to be written. Returns it with the file's name.
    ///
    /// # Errors
    /// If the path does not end with a name, or if the directory cannot be opened.
    pub fn of(file: &Path) -> io::Result<(Directory, OsString)> {
        let Some(name) = file.file_name() else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the path does not end with a file's name",
            ));
        };
        let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
        Ok((Directory::open(parent.unwrap_or(Path::new(".")))?, name.to_owned()))
    }

    /// Returns the path by which the directory was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns a path that leads to the directory now. This is the path by which it was opened, unless the
    /// directory was moved and the system knows its new path.
    #[must_use]
    pub fn current_path(&self) -> PathBuf {
        if self.is_at(&self.path) {
            return self.path.clone();
        }
        let found = os::path_of(&self.handle).filter(|path| self.is_at(path));
        found.unwrap_or_else(|| self.path.clone())
    }

    /// Whether this path leads to the directory.
    #[must_use]
    pub fn is_at(&self, path: &Path) -> bool {
        let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        match (fs::metadata(path), self.handle.metadata()) {
            (Ok(there), Ok(here)) => identity(there) == identity(here),
            _ => false,
        }
    }

    /// Opens the directory of this name in this one, also through a link. It is for reading only, not for
    /// writing.
    ///
    /// # Errors
    /// As [`Self::below`].
    pub fn below_linked(&self, name: &OsStr) -> io::Result<Directory> {
        let handle = openat(self.handle.as_fd(), name, harmless() | OFlag::O_DIRECTORY, Mode::empty())?;
        Ok(Directory { handle: Arc::new(handle.into()), path: self.path.join(name) })
    }

    /// Opens the directory of this name in this one. The name must not be a link.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotADirectory`] if it is something else; if the system refuses.
    pub fn below(&self, name: &OsStr) -> io::Result<Directory> {
        let flags = harmless() | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
        let opened = openat(self.handle.as_fd(), name, flags, Mode::empty());
        let handle = opened.map_err(|error| match self.stat(name) {
            Ok(Some(stat)) if kind_of_stat(&stat) != "a directory" => io::Error::new(
                io::ErrorKind::NotADirectory,
                format!("it is {}, not a directory", kind_of_stat(&stat)),
            ),
            _ => error.into(),
        })?;
        Ok(Directory { handle: Arc::new(handle.into()), path: self.path.join(name) })
    }

    /// Opens the directory of this name in this one. If there is none, creates it.
    ///
    /// # Errors
    /// As [`Self::below`].
    pub fn create_below(&self, name: &OsStr) -> io::Result<Directory> {
        match mkdirat(self.handle.as_fd(), name, Mode::from_bits_truncate(0o777)) {
            Ok(()) | Err(Errno::EEXIST) => self.below(name),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the status of the file of this name, or of a link itself; `None` if there is no such file.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn stat(&self, name: &OsStr) -> io::Result<Option<FileStat>> {
        match fstatat(self.handle.as_fd(), name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::ENOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens a file of this name for reading.
    ///
    /// # Errors
    /// If it is a link or no regular file, or if the system refuses.
    pub fn open_file(&self, name: &OsStr) -> io::Result<File> {
        let flags = harmless() | OFlag::O_RDONLY | OFlag::O_NOFOLLOW;
        let file = match openat(self.handle.as_fd(), name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::ELOOP) => {
                let message = "it is a symbolic link, not a regular file";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
            }
            Err(error) => return Err(error.into()),
        };
        check_regular(&file)?;
        Ok(file)
    }

    /// Returns the names in the directory, sorted.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn names(&self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        let mut opened =
            Dir::openat(self.handle.as_fd(), ".", harmless() | OFlag::O_DIRECTORY, Mode::empty())?;
        for entry in opened.iter() {
            let name = OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned();
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// Begins to write a file of this name. Its permissions are `mode` without those in the umask.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn write(&self, name: &OsStr, mode: Mode) -> io::Result<Whole> {
        loop {
            let temporary = format!("{TEMPORARY}{:016x}{UNFINISHED}", rand::random::<u64>());
            let flags = harmless() | OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW;
            let file = match openat(self.handle.as_fd(), temporary.as_str(), flags, mode) {
                Ok(file) => File::from(file),
                Err(Errno::EEXIST) => continue,
                Err(error) => return Err(error.into()),
            };
            // The lock marks the file as being written. Until it is locked, a process that cleans up may
            // remove it.
            let is_locked = !matches!(file.try_lock(), Err(TryLockError::WouldBlock));
            if is_locked && file.metadata()?.nlink() > 0 {
                return Ok(Whole {
                    directory: self.clone(),
                    name: name.to_owned(),
                    temporary,
                    file: Some(BufWriter::with_capacity(BUFFER, file)),
                    is_durable: false,
                });
            }
        }
    }

    /// Removes a regular file of this name. Returns whether there was one. Files of other kinds stay.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn remove(&self, name: &OsStr) -> io::Result<bool> {
        match self.stat(name)? {
            Some(stat) if kind_of_stat(&stat) == "a file" => {}
            _ => return Ok(false),
        }
        match unlinkat(self.handle.as_fd(), name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes a directory of this name if it is empty.
    pub fn remove_if_empty(&self, name: &OsStr) {
        let _ = unlinkat(self.handle.as_fd(), name, UnlinkatFlags::RemoveDir);
    }

    /// Removes unfinished files of killed processes: files of a temporary name that no process has locked. On
    /// a file system without locks they stay.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn remove_leftovers(&self) -> io::Result<()> {
        for name in self.names()?.into_iter().filter(|name| is_temporary(name)) {
            if self.open_file(&name).is_ok_and(|file| file.try_lock().is_ok()) {
                self.remove(&name)?;
            }
        }
        Ok(())
    }

    /// Makes the names in the directory durable.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn sync(&self) -> io::Result<()> {
        sync_names(&self.handle)
    }

    /// Returns the open directory itself, for locks and system calls.
    #[must_use]
    pub fn handle(&self) -> &File {
        &self.handle
    }
}

/// Size of the buffer of a file that is written, in bytes.
pub const BUFFER: usize = 1 << 18;

/// A file that appears under its name when it is whole. If it is dropped before that, no file remains.
#[derive(Debug)]
pub struct Whole {
    directory: Directory,
    name: OsString,
    temporary: String,
    /// `None` once the file is in place.
    file: Option<BufWriter<File>>,
    is_durable: bool,
}

impl Whole {
    /// Returns the path at which the file will appear.
    #[must_use]
    pub fn place(&self) -> PathBuf {
        self.directory.path.join(&self.name)
    }

    /// Returns the file itself: open for reading and writing, and locked.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn open_file(&self) -> &File {
        self.file.as_ref().expect("a file is committed once").get_ref()
    }

    /// Makes the written content durable, unless it already is.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn sync(&mut self) -> io::Result<()> {
        if !self.is_durable {
            let file = self.file.as_mut().expect("a file is committed once");
            file.flush()?;
            file.get_ref().sync_all()?;
            self.is_durable = true;
        }
        Ok(())
    }

    /// Renames the file to its place, and returns it open. Its content is durable; [`Directory::sync`] makes
    /// its name durable.
    ///
    /// # Errors
    /// If the system refuses. Then no unfinished file remains.
    pub fn commit(mut self) -> io::Result<File> {
        self.sync()?;
        let directory = self.directory.handle.as_fd();
        renameat(directory, self.temporary.as_str(), directory, self.name.as_os_str())?;
        self.opened()
    }

    /// Like [`Self::commit`], but never replaces another file.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] if there is one; if the system refuses. Then no unfinished file
    /// remains.
    pub fn commit_new(mut self) -> io::Result<File> {
        self.sync()?;
        let directory = self.directory.handle.as_fd();
        let (from, to) = (self.temporary.as_str(), self.name.as_os_str());
        // rustix calls the kernel: glibc has had this function only since 2.28, and the wheel supports 2.17.
        match renameat_with(directory, from, directory, to, RenameFlags::NOREPLACE) {
            // Some file systems cannot do this in one step, so the check and the rename are two.
            Err(CallErrno::INVAL | CallErrno::NOSYS) => match self.directory.stat(to)? {
                Some(_) => return Err(io::ErrorKind::AlreadyExists.into()),
                None => renameat(directory, from, directory, to)?,
            },
            renamed => renamed?,
        }
        self.opened()
    }

    fn opened(&mut self) -> io::Result<File> {
        let file = self.file.take().expect("a file is committed once");
        file.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

impl Write for Whole {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.is_durable = false;
        self.file.as_mut().expect("a file is committed once").write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().expect("a file is committed once").flush()
    }
}

impl Seek for Whole {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.file.as_mut().expect("a file is committed once").seek(position)
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        if let Some(file) = self.file.take() {
            // The file is removed, so its buffer need not be written.
            let _ = file.into_parts();
            let _ =
                unlinkat(self.directory.handle.as_fd(), self.temporary.as_str(), UnlinkatFlags::NoRemoveDir);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use nix::unistd::mkfifo;

    use super::*;

    fn mode() -> Mode {
        Mode::from_bits_truncate(0o666)
    }

    #[test]
    fn only_regular_files_are_read_and_no_more_of_them_than_expected() {
        let place = tempfile::tempdir().expect("a directory");
        let at = |name: &str| place.path().join(name);
        mkfifo(&at("pipe"), Mode::from_bits_truncate(0o600)).expect("a pipe");
        symlink("/dev/zero", at("zeros")).expect("a link");
        fs::write(at("file"), "0123456789").expect("written");
        for (name, kind) in [("pipe", "a pipe"), ("zeros", "a device"), (".", "a directory")] {
            let error = read(&at(name), 10).expect_err(name);
            assert_eq!(error.to_string(), format!("it is {kind}, not a regular file"));
        }
        assert_eq!(read(&at("file"), 10).expect("just so long"), b"0123456789");
        assert_eq!(read(&at("file"), 9).expect_err("longer").kind(), io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn a_file_is_written_whole_beside_what_others_have_there() {
        let place = tempfile::tempdir().expect("a directory");
        let at = |name: &str| place.path().join(name);
        fs::write(at("victim"), "theirs").expect("written");
        symlink(at("victim"), at("table")).expect("a link");
        fs::write(at("table.unfinished"), "theirs, too").expect("written");
        let directory = Directory::open(place.path()).expect("opened");
        let (mut one, mut other) = (
            directory.write(OsStr::new("table"), mode()).expect("begun"),
            directory.write(OsStr::new("table"), mode()).expect("begun"),
        );
        one.write_all(b"one").expect("written");
        other.write_all(b"other").expect("written");
        other.commit().expect("in place");
        one.commit().expect("in place");
        let mut new = directory.write(OsStr::new("table"), mode()).expect("begun");
        new.write_all(b"new").expect("written");
        assert_eq!(new.commit_new().expect_err("there is one").kind(), io::ErrorKind::AlreadyExists);
        let mut new = directory.write(OsStr::new("new"), mode()).expect("begun");
        new.write_all(b"new").expect("written");
        new.commit_new().expect("in place");
        drop(directory.write(OsStr::new("third"), mode()).expect("begun"));
        assert_eq!(fs::read_to_string(at("table")).expect("text"), "one");
        assert_eq!(fs::read_to_string(at("victim")).expect("text"), "theirs");
        assert_eq!(directory.names().expect("names"), ["new", "table", "table.unfinished", "victim"]);
    }

    #[test]
    fn only_what_no_process_is_writing_is_cleaned_up() {
        let place = tempfile::tempdir().expect("a directory");
        let directory = Directory::open(place.path()).expect("opened");
        let mut writing = directory.write(OsStr::new("file"), mode()).expect("begun");
        let orphan = ".granule-0123456789abcdef.unfinished";
        for name in [orphan, ".granule-0123456789abcdeg.unfinished", "my.unfinished", "x.npy.unfinished"] {
            fs::write(place.path().join(name), "").expect("written");
        }
        directory.remove_leftovers().expect("cleaned up");
        writing.write_all(b"whole").expect("written");
        writing.commit().expect("in place");
        let left = [".granule-0123456789abcdeg.unfinished", "file", "my.unfinished", "x.npy.unfinished"];
        assert_eq!(directory.names().expect("names"), left);
    }

    #[test]
    fn no_link_is_followed_below_a_directory() {
        let place = tempfile::tempdir().expect("a directory");
        let at = |name: &str| place.path().join(name);
        fs::create_dir_all(at("elsewhere")).expect("made");
        fs::write(at("elsewhere/thesis"), "theirs").expect("written");
        fs::create_dir(at("out")).expect("made");
        symlink(at("elsewhere"), at("out/seed-1")).expect("a link");
        symlink(at("elsewhere/thesis"), at("out/link")).expect("a link");
        let out = Directory::open(&at("out")).expect("opened");
        for open in [Directory::below, Directory::create_below] {
            let error = open(&out, OsStr::new("seed-1")).expect_err("a link");
            assert_eq!(error.to_string(), "it is a symbolic link, not a directory");
        }
        assert!(!out.remove(OsStr::new("link")).expect("looked at"));
        assert!(at("out/link").is_symlink() && at("elsewhere/thesis").exists());
    }

    #[test]
    fn a_directory_stays_the_same_when_it_is_moved() {
        let place = tempfile::tempdir().expect("a directory");
        let at = |name: &str| place.path().join(name);
        let out = Directory::create(&at("a/out")).expect("made");
        fs::rename(at("a/out"), at("a/moved")).expect("moved");
        fs::create_dir(at("a/out")).expect("made");
        let mut file = out.write(OsStr::new("file"), mode()).expect("begun");
        file.write_all(b"x").expect("written");
        file.commit().expect("in place");
        assert!(at("a/moved/file").exists() && !at("a/out/file").exists());
        assert!(!out.is_at(&at("a/out")));
        assert_eq!(out.current_path().file_name(), Some(OsStr::new("moved")));
    }
}
