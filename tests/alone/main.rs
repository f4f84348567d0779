//! Tests that measure time or memory, or take every processor. `cargo test` runs one program at a time, so that tests
//! of other programs do not disturb these. Within this one, modules take turns.

use std::sync::{Condvar, Mutex, PoisonError};

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

/// The module whose tests run, and how many of them.
static TURN: (Mutex<(String, usize)>, Condvar) = (Mutex::new((String::new(), 0)), Condvar::new());

/// Held by a test while it runs.
struct Turn;

/// Waits until no test of another module runs. Tests of one module may run side by side.
fn turn(module: &str) -> Turn {
    let module = module.split("::").nth(1).unwrap_or_default();
    let (state, changed) = &TURN;
    let state = state.lock().unwrap_or_else(PoisonError::into_inner);
    let is_other = |(running, count): &mut (String, usize)| *count > 0 && running != module;
    let mut state = changed.wait_while(state, is_other).unwrap_or_else(PoisonError::into_inner);
    *state = (module.to_owned(), state.1 + 1);
    Turn
}

impl Drop for Turn {
    fn drop(&mut self) {
        let (state, changed) = &TURN;
        state.lock().unwrap_or_else(PoisonError::into_inner).1 -= 1;
        changed.notify_all();
    }
}
