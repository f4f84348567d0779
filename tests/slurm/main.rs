//! Sweeps on a real Slurm: controllers and nodes that are daemons on this machine.
#![cfg(target_os = "linux")]

#[path = "../support/mod.rs"]
mod support;

mod accounting;
mod sweeps;
