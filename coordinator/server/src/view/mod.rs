//! What a person, or a program that watches, sees of a run.

pub mod board;
mod events;
pub mod log;
pub mod progress;
pub mod status;
pub mod stderr;
pub mod terminal;
