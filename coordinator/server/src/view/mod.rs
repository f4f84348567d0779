//! The state of a run, as people and watching programs see it.

pub mod board;
mod events;
pub mod log;
pub mod progress;
pub mod status;
pub mod stderr;
pub mod terminal;
