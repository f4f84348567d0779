//! Files that are hashed while they are written.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use granule_system::files::{Directory, Whole};
use granule_system::hex;
use granule_system::stamp::Seal;
use nix::sys::stat::Mode;
use sha2::{Digest as _, Sha256};

use crate::errors::{OutputError, failed};
use crate::refusal::Refusal;

/// A file that is hashed while it is written. It appears under its name once it is complete.
#[derive(Debug)]
pub struct HashedFile {
    file: Whole,
    hash: Sha256,
    pub(crate) bytes: u64,
}

impl HashedFile {
    /// Starts to write the file at this path.
    pub fn create(path: &Path) -> Result<HashedFile, OutputError> {
        let (directory, name) = Directory::of(path).map_err(failed("create", path))?;
        let file = directory.write(&name, Mode::from_bits_truncate(0o666)).map_err(failed("create", path))?;
        Ok(HashedFile::of(file))
    }

    /// Starts to write a file of this name.
    pub fn create_in(directory: &Directory, name: &str) -> Result<HashedFile, OutputError> {
        let file = directory.write(OsStr::new(name), Mode::from_bits_truncate(0o666));
        Ok(HashedFile::of(file.map_err(failed("create", &directory.path().join(name)))?))
    }

    fn of(file: Whole) -> HashedFile {
        HashedFile { file, hash: Sha256::new(), bytes: 0 }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.file.place()
    }

    /// Makes everything durable that has been written.
    pub(crate) fn sync(&mut self) -> Result<(), OutputError> {
        self.file.sync().map_err(failed("write", &self.path()))
    }

    /// Returns the number of bytes written so far, and their SHA-256.
    pub(crate) fn written(&self) -> (u64, String) {
        (self.bytes, hex(&self.hash.clone().finalize()))
    }

    /// Puts the file in its place, durably except for the directory. It replaces another file only if `replaces`.
    pub(crate) fn put_in_place(self, replaces: bool) -> Result<Seal, OutputError> {
        let path = self.path();
        let put = if replaces { self.file.commit() } else { self.file.commit_new() };
        let stamp = put.and_then(|file| Ok(Seal::of_written(&file.metadata()?)));
        stamp.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => {
                let what = "appeared during this run, and granule did not write it".to_owned();
                Refusal::Taken { path, what }.into()
            }
            _ => failed("move into place", &path)(error),
        })
    }

    /// Puts the file in its place, durably except for the directory. Returns its length and SHA-256.
    pub fn commit(mut self) -> Result<(u64, String), OutputError> {
        self.sync()?;
        let written = self.written();
        self.put_in_place(true)?;
        Ok(written)
    }
}

impl Write for HashedFile {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.file.write(buffer)?;
        self.hash.update(&buffer[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
