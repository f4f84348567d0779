//! Runs the commands that messages advise, with stub programs that record their arguments. Unit tests of several crates
//! include this file.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// A directory in which commands run, with stub programs first in PATH.
pub(crate) struct Stubs {
    pub(crate) directory: TempDir,
    // Programs and records are separate, because a command that runs by mistake may write into `directory`.
    apart: TempDir,
}

impl Stubs {
    pub(crate) fn new() -> Stubs {
        let directory = || tempfile::tempdir().expect("a directory");
        let stubs = Stubs { directory: directory(), apart: directory() };
        [stubs.programs(), stubs.records()]
            .iter()
            .for_each(|path| fs::create_dir(path).expect("a directory"));
        stubs
    }

    pub(crate) fn programs(&self) -> PathBuf {
        self.apart.path().join("programs")
    }

    pub(crate) fn records(&self) -> PathBuf {
        self.apart.path().join("records")
    }

    /// Makes a program that records its arguments in a file and then runs `then` in `sh`. The file is named after the
    /// program, and for `granule` after the subcommand.
    pub(crate) fn add(&self, program: &Path, then: &str) {
        let name = program.file_name().expect("a name").to_str().expect("a name in UTF-8");
        let name = if name == "granule" { "$1" } else { name };
        let text = format!(
            "#!/bin/sh\nprintf '%s\\0' \"$@\" >\"$RECORDS/{name}.part\"\n\
             mv \"$RECORDS/{name}.part\" \"$RECORDS/{name}\"\n{then}\n"
        );
        // A shell writes the file. If this process had it open for writing, a process that another test starts would
        // inherit it. The file could then not be executed for a moment.
        let write = "printf %s \"$1\" >\"$0\" && chmod +x \"$0\"";
        let status = Command::new("/bin/sh").arg("-c").arg(write).arg(program).arg(text).status();
        assert!(status.expect("a shell").success(), "{}", program.display());
    }

    /// Runs a command in a shell.
    pub(crate) fn run(&self, shell: &str, command: &str) -> Output {
        let mut path = self.programs().into_os_string();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        let mut shell = Command::new(shell);
        shell.arg("-c").arg(command).current_dir(self.directory.path()).stdin(Stdio::null());
        shell.env("PATH", path).env("RECORDS", self.records()).env("SLURM_JOB_ID", "7");
        shell.output().expect("a shell")
    }

    /// The recorded arguments of a program.
    pub(crate) fn told(&self, name: &str) -> Vec<OsString> {
        let record = fs::read(self.records().join(name)).expect("a record");
        let words = record.strip_suffix(b"\0").unwrap_or_default().split(|byte| *byte == 0);
        words.map(|word| OsStr::from_bytes(word).to_owned()).collect()
    }
}
