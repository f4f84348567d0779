//! How the program ends when it does not succeed.

use std::error::Error;

/// A message for people and an exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    /// May have several lines.
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(code: u8, message: impl Into<String>) -> Failure {
        Failure { code, message: message.into() }
    }

    /// `error: …`, with every cause on a line of its own, and what to do about it.
    pub(crate) fn caused_by(code: u8, error: &dyn Error, help: Option<&str>) -> Failure {
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
        if let Some(help) = help {
            message.push_str(&format!("\n  help: {help}"));
        }
        Failure { code, message }
    }
}
