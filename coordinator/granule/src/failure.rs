//! The failure of a command: a message and an exit code.

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
// Their results need no further escaping.
pub(crate) use granule_system::shell::{shell_path, shell_word};

/// A message for people and an exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    /// One line or several.
    pub(crate) message: String,
}

impl Failure {
    /// Makes a failure. In the message, further lines begin with a space; all other line feeds are escaped.
    pub(crate) fn new(code: u8, message: impl AsRef<str>) -> Failure {
        Failure { code, message: text::message(message.as_ref()) }
    }

    /// Makes a failure of diagnostics that show lines of a text, as compilers do.
    pub(crate) fn of_text(code: u8, diagnostics: &str) -> Failure {
        Failure { code, message: text::lines(diagnostics) }
    }

    /// Makes `error: …`, with each cause on a line of its own, and what to do about it. If the error comes from a limit
    /// of the system, that is about the limit.
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
                (exit::USAGE, Some("name the output directory of a run, such as out/NAME"))
            }
            ArchiveError::InUse { .. } => (exit::FAILED, Some("wait until it ends, or stop it")),
            ArchiveError::Foreign { .. } => (
                exit::FAILED,
                Some("use the version of granule that wrote it, or run the sweep again with this one"),
            ),
            ArchiveError::Incomplete { .. } => {
                (exit::INCOMPLETE, Some("run it to its end; `granule status` shows what is missing"))
            }
            ArchiveError::NoStore { .. } => (
                exit::FAILED,
                Some(
                    "if the store was moved, name its new place with --store FILE; otherwise run the sweep \
                        again to write a new one",
                ),
            ),
            ArchiveError::Store(StoreError::Corrupted { .. }) => (
                exit::FAILED,
                Some(
                    "if this is the store of the sweep, move it away and run the sweep again; the run \
                        computes its trials again",
                ),
            ),
            ArchiveError::LostStore { out, .. } => {
                let help = format!(
                    "name its new place with --store FILE; to compute all trials again into a new one: --store {}",
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

/// Returns a path for people, on one line.
pub(crate) fn shown(path: impl AsRef<Path>) -> String {
    text::one_line(&path.as_ref().to_string_lossy())
}
