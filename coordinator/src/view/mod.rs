//! What a person, or a program that watches, sees of a run.

pub(crate) mod log;
pub(crate) mod progress;
pub(crate) mod status;
