//! Tests that need only the program and files.

#[path = "../support/mod.rs"]
mod support;

#[cfg(target_os = "linux")]
mod batch;
mod cli;
#[cfg(target_os = "linux")]
mod cluster;
mod cookbook;
#[cfg(target_os = "linux")]
mod data;
mod exactness;
mod figures;
mod fuzz_corpus;
mod gallery;
mod hints;
#[cfg(target_os = "linux")]
mod limits;
#[cfg(target_os = "linux")]
mod output;
#[cfg(target_os = "linux")]
mod own_model;
#[cfg(target_os = "linux")]
mod ownership;
mod preliminary;
mod properties;
#[cfg(target_os = "linux")]
mod resume;
mod selections;
#[cfg(target_os = "linux")]
mod terminal;
mod times;
mod until;
