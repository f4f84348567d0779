//! How the program ends when it does not succeed.

use std::error::Error;
use std::path::Path;

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

/// A path for people, on one line.
pub(crate) fn shown(path: impl AsRef<Path>) -> String {
    text::one_line(&path.as_ref().to_string_lossy())
}
