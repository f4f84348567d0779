//! What the tests of the whole program share: running it in a directory of its own and looking at
//! what it left.

#![allow(dead_code, unreachable_pub, reason = "every test binary uses another part of this")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use sha2::{Digest, Sha256};

/// Root of the repository.
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// A directory of its own, in which the program is run; removed at the end.
pub struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    /// An empty one.
    pub fn new() -> Place {
        Place { directory: tempfile::tempdir().expect("a temporary directory") }
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file in it.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).expect("a file can be written");
        path
    }

    /// The program, to be run here, without the environment's overrides.
    pub fn granule(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_granule"));
        command.current_dir(self.directory.path()).args(arguments);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("CHAT_") {
                command.env_remove(name);
            }
        }
        command
    }

    /// Runs the program to its end.
    pub fn run(&self, arguments: &[&str]) -> Ended {
        Ended::from(self.granule(arguments).output().expect("the program starts"))
    }

    /// Hashes of all `.npy` files below a directory, by file name without its seed's directory, if
    /// there is one seed only.
    pub fn hashes(&self, directory: &str) -> BTreeMap<String, String> {
        let directory = self.path(directory);
        let entries =
            fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        entries
            .map(|entry| entry.expect("a directory entry").path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "npy"))
            .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), sha256(&path)))
            .collect()
    }
}

/// How the program ended and what it printed.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Ended {
        Ended {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("text on standard output"),
            stderr: String::from_utf8(output.stderr).expect("text on standard error"),
        }
    }
}

impl Ended {
    /// Expects success.
    #[track_caller]
    pub fn succeeded(self) -> Ended {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self
    }

    /// Expects this exit code, a message with all these parts, and no panic.
    #[track_caller]
    pub fn failed_with(self, code: i32, parts: &[&str]) -> Ended {
        assert_eq!(self.code, Some(code), "{self:#?}");
        for part in parts {
            assert!(self.stderr.contains(part), "no `{part}` in:\n{}", self.stderr);
        }
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        self
    }
}

/// SHA-256 of a file, in hexadecimal.
pub fn sha256(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads `hash  name` lines.
pub fn expected(list: &str) -> BTreeMap<String, String> {
    list.lines()
        .map(|line| line.split_once("  ").expect("a hash and a name"))
        .map(|(hash, name)| (name.to_owned(), hash.to_owned()))
        .collect()
}
