//! Tests that measure time or memory, or take every processor. `cargo test` runs one program at a time, so that tests
//! of other programs do not disturb these. Within this one, modules take turns.

#[path = "../support/mod.rs"]
mod support;

#[cfg(target_os = "linux")]
mod large;
#[cfg(target_os = "linux")]
mod memory;
#[cfg(target_os = "linux")]
mod paper;
#[cfg(target_os = "linux")]
mod scale;
mod speed;
#[cfg(target_os = "linux")]
mod strangers;
#[cfg(target_os = "linux")]
mod tail;
mod validation;
