//! How the program ends when it does not succeed.

use std::error::Error;

// Nothing in them is escaped by `printable`.
pub(crate) use granule_worker::shell::{shell_path, shell_word};

/// A message for people and an exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    /// May have several lines.
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(code: u8, message: impl AsRef<str>) -> Failure {
        Failure { code, message: printable(message.as_ref()) }
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
        Failure::new(code, message)
    }
}

/// `1 trial`, `2 trials`.
pub(crate) fn plural(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// The text without what a terminal would obey: names of files are in it as they came.
pub(crate) fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\n' {
            printable.extend(c.escape_unicode());
        } else {
            printable.push(c);
        }
    }
    printable
}
