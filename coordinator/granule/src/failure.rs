//! How the program ends when it does not succeed.

use std::error::Error;
use std::path::Path;

use granule_outputs::OutputError;
use granule_outputs::archive::ArchiveError;
use granule_outputs::complaint::Complaint;
use granule_outputs::manifest::STORE;
use granule_store::StoreError;
use granule_system::exit;
use granule_system::limits;
use granule_text as text;
// Nothing in them has to be escaped once more.
pub(crate) use granule_system::shell::{shell_path, shell_word};
pub(crate) use granule_text::plural;

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

impl From<Complaint> for Failure {
    fn from(complaint: Complaint) -> Failure {
        Failure::new(complaint.code, complaint.message)
    }
}

impl From<ArchiveError> for Failure {
    fn from(error: ArchiveError) -> Failure {
        let (code, help) = match &error {
            ArchiveError::NoSweep { .. } | ArchiveError::NoDirectory { .. } => {
                (exit::USAGE, Some("say the directory that `granule run` has written, such as out/NAME"))
            }
            ArchiveError::InUse { .. } => (exit::FAILED, Some("wait until it ends, or stop it")),
            ArchiveError::Foreign { .. } => {
                (exit::FAILED, Some("use the granule that made it, or run the sweep again with this one"))
            }
            ArchiveError::Incomplete { .. } => {
                (exit::INCOMPLETE, Some("run it to its end; `granule status` says what is missing"))
            }
            ArchiveError::NoStore { .. } => (
                exit::FAILED,
                Some("say where it is with --store FILE, or run the sweep again to make it anew"),
            ),
            ArchiveError::Store(StoreError::Corrupted { .. }) => (
                exit::FAILED,
                Some(
                    "if it is that of the sweep, move it away and run again: all that a store holds can be \
                     computed anew",
                ),
            ),
            ArchiveError::LostStore { out, .. } => {
                let help = format!(
                    "--store FILE says where it is now; to compute all trials again into a new one: --store {}",
                    shell_path(out.join(STORE))
                );
                return Failure::caused_by(exit::FAILED, &error, Some(&help));
            }
            ArchiveError::Record(trouble) => (exit::FAILED, Some(trouble.help())),
            ArchiveError::Refused(refusal) => (refusal.code(), Some(refusal.help())),
            ArchiveError::Output(OutputError::Refused(refusal)) => (exit::FAILED, Some(refusal.help())),
            ArchiveError::Store(_) | ArchiveError::Output(_) => (exit::FAILED, None),
        };
        Failure::caused_by(code, &error, help)
    }
}

/// A path for people, on one line.
pub(crate) fn shown(path: impl AsRef<Path>) -> String {
    text::one_line(&path.as_ref().to_string_lossy())
}
