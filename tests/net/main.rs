//! Tests of coordinators and workers over a network: over loopback, relays and network namespaces.

#[path = "../support/mod.rs"]
mod support;

#[cfg(target_os = "linux")]
mod chaos;
mod dashboard;
#[cfg(target_os = "linux")]
mod doors;
#[cfg(target_os = "linux")]
mod following;
#[cfg(target_os = "linux")]
mod forged;
#[cfg(target_os = "linux")]
mod harness;
#[cfg(target_os = "linux")]
mod hosts;
#[cfg(target_os = "linux")]
mod identity;
#[cfg(target_os = "linux")]
mod ports;
#[cfg(target_os = "linux")]
mod trust;
