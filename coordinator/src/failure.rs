//! How the program ends when it does not succeed.

use std::error::Error;
use std::path::Path;

use granule_worker::text;

use crate::limits;
// Nothing in them has to be escaped once more.
pub(crate) use granule_worker::shell::{shell_path, shell_word};

/// A message for people and an exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    /// May have several lines.
    pub(crate) message: String,
}

impl Failure {
    /// Of such lines those that go on begin with a space; no other line feed is one of ours.
    pub(crate) fn new(code: u8, message: impl AsRef<str>) -> Failure {
        Failure { code, message: text::message(message.as_ref()) }
    }

    /// What is wrong with a text, shown with lines of it, as compilers do.
    pub(crate) fn of_text(code: u8, diagnostics: &str) -> Failure {
        Failure { code, message: text::lines(diagnostics) }
    }

    /// `error: …`, with every cause on a line of its own, and what to do about it: about the limit that it comes from,
    /// if it comes from one.
    pub(crate) fn caused_by(code: u8, error: &(dyn Error + 'static), help: Option<&str>) -> Failure {
        let mut message = format!("error: {error}");
        let mut said = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            let text = error.to_string();
            if !said.contains(&text) {
                message.push_str(&format!("\n  because: {text}"));
                said = text;
            }
            cause = error.source();
        }
        let limit = limits::behind(error);
        if let Some(help) = limit.as_deref().or(help) {
            message.push_str(&format!("\n  help: {help}"));
        }
        Failure::new(code, message)
    }
}

/// `1 trial`, `2 trials`.
pub(crate) fn plural(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// A path for people, on one line.
pub(crate) fn shown(path: impl AsRef<Path>) -> String {
    text::one_line(&path.as_ref().to_string_lossy())
}

/// Runs the commands that messages advise, with stub programs that record their arguments.
#[cfg(test)]
pub(crate) mod stubs {
    use std::ffi::{OsStr, OsString};
    use std::fs;
    use std::os::unix::ffi::OsStrExt as _;
    use std::path::{Path, PathBuf};
    use std::process::{Command, Output, Stdio};

    use tempfile::TempDir;

    /// A directory in which commands are run, with programs that are found first.
    pub(crate) struct Stubs {
        pub(crate) directory: TempDir,
        // What is run by mistake may write into the other.
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

        /// Makes a program that writes its words into a file, and then does this in `sh`. The file has the name of the
        /// program, or for `granule` that of its subcommand.
        pub(crate) fn add(&self, program: &Path, then: &str) {
            let name = program.file_name().expect("a name").to_str().expect("a name in UTF-8");
            let name = if name == "granule" { "$1" } else { name };
            let text = format!(
                "#!/bin/sh\nprintf '%s\\0' \"$@\" >\"$RECORDS/{name}.part\"\n\
                 mv \"$RECORDS/{name}.part\" \"$RECORDS/{name}\"\n{then}\n"
            );
            // A shell writes it: were it open for writing here while another test starts a process, it would be open
            // there for a moment, too, and could not be executed.
            let write = "printf %s \"$1\" >\"$0\" && chmod +x \"$0\"";
            let status = Command::new("/bin/sh").arg("-c").arg(write).arg(program).arg(text).status();
            assert!(status.expect("a shell").success(), "{}", program.display());
        }

        /// Has a shell run a command.
        pub(crate) fn run(&self, shell: &str, command: &str) -> Output {
            let mut path = self.programs().into_os_string();
            path.push(":");
            path.push(std::env::var_os("PATH").unwrap_or_default());
            let mut shell = Command::new(shell);
            shell.arg("-c").arg(command).current_dir(self.directory.path()).stdin(Stdio::null());
            shell.env("PATH", path).env("RECORDS", self.records()).env("SLURM_JOB_ID", "7");
            shell.output().expect("a shell")
        }

        /// What a program was told.
        pub(crate) fn told(&self, name: &str) -> Vec<OsString> {
            let record = fs::read(self.records().join(name)).expect("a record");
            let words = record.strip_suffix(b"\0").unwrap_or_default().split(|byte| *byte == 0);
            words.map(|word| OsStr::from_bytes(word).to_owned()).collect()
        }
    }
}
