//! Errors in what the user asked for.

/// A message for the user, which may have several lines, and its exit code.
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
