//! What is wrong with what was asked for.

/// A message for people, which may have several lines, and the exit code that goes with it.
#[derive(Debug)]
pub struct Complaint {
    pub code: u8,
    pub message: String,
}

impl Complaint {
    pub(crate) fn new(code: u8, message: impl Into<String>) -> Complaint {
        Complaint { code, message: message.into() }
    }
}
