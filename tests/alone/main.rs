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

use std::sync::{Condvar, Mutex, PoisonError};

/// The module that has the turn, and how many of its tests run.
static RUNNING: Mutex<(&str, u32)> = Mutex::new(("", 0));
static ENDED: Condvar = Condvar::new();

/// While a test has this, only tests of its module run.
struct Turn;

/// Waits until no test of another module runs. Each test calls this first, with its `module_path!()`.
fn turn(path: &'static str) -> Turn {
    // Submodules belong to the module of this program that they are in.
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
