//! `granule`: runs parameter sweeps of the cerebellar granular-layer model.
//!
//! ```text
//! sweep file → Plan → scheduler → leases → workers → spikes → store → outputs → manifest
//! ```
//!
//! A program, and a library only so that its benchmarks and fuzzing can reach into it.

#[doc(hidden)]
pub mod bench;
mod cli;
mod commands;
mod driver;
mod failure;
#[doc(hidden)]
pub mod fuzz;
mod launch;
mod outputs;
mod scheduler;
mod service;
mod store;
mod view;

use std::process::ExitCode;

use clap::Parser;

/// The program: reads the command line and does what it says.
pub fn main() -> ExitCode {
    let result = match cli::Cli::parse().command {
        cli::Command::Run(arguments) => commands::run::run(&arguments),
        cli::Command::Worker(arguments) => commands::worker::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            view::progress::line(&failure.message);
            ExitCode::from(failure.code)
        }
    }
}
