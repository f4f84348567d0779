//! Sweeps over a real OpenSSH: every machine has a network namespace and an sshd.
#![cfg(target_os = "linux")]

#[path = "../support/mod.rs"]
mod support;

mod guide;
mod sweeps;
