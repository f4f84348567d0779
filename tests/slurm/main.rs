//! Sweeps on a real Slurm: controllers and nodes that are daemons on this machine.
#![cfg(target_os = "linux")]

#[path = "../support/mod.rs"]
mod support;

mod accounting;
mod sweeps;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Only one test at a time has clusters, because they share two processors.
static CLUSTER: Mutex<()> = Mutex::new(());

/// Waits until no other test has clusters.
fn turn() -> MutexGuard<'static, ()> {
    CLUSTER.lock().unwrap_or_else(PoisonError::into_inner)
}
