//! Tests that measure time or memory, or use every processor. `cargo test` runs one program at a time, so tests of
//! other programs do not disturb these. Within this program, modules take turns.

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

use std::sync::{Condvar, Mutex, PoisonError};

/// The module that has the turn, and the number of its running tests.
static RUNNING: Mutex<(&str, u32)> = Mutex::new(("", 0));
static ENDED: Condvar = Condvar::new();

/// While a test holds this value, only tests of its module run.
struct Turn;

/// Waits until no test of another module runs. Each test calls this first, with its `module_path!()`.
fn turn(path: &'static str) -> Turn {
    // Submodules take the turn of their top module.
    let module = path.split("::").nth(1).expect("a module");
    let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    let mut running = ENDED
        .wait_while(running, |(of, count)| *count > 0 && *of != module)
        .unwrap_or_else(PoisonError::into_inner);
    *running = (module, running.1 + 1);
    Turn
}

impl Drop for Turn {
    fn drop(&mut self) {
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).1 -= 1;
        ENDED.notify_all();
    }
}
