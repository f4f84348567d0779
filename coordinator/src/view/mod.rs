//! What a person, or a program that watches, sees of a run.

pub(crate) mod board;
pub(crate) mod log;
pub(crate) mod progress;
pub(crate) mod status;
pub(crate) mod terminal;
pub(crate) mod words;

use std::io::Write;

use serde::Serialize;

use crate::failure::printable;

/// Writes to standard output; false if that is closed.
pub(crate) fn say(text: &str) -> bool {
    let mut stdout = std::io::stdout();
    stdout.write_all(printable(text).as_bytes()).and_then(|()| stdout.flush()).is_ok()
}

/// Writes an object to standard output, as a line of JSON; false if that is closed.
pub(crate) fn say_json(report: &impl Serialize) -> bool {
    let json = serde_json::to_string(report).expect("text and numbers can be written");
    say(&format!("{json}\n"))
}
