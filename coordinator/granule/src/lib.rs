//! `granule`: runs parameter sweeps of the cerebellar granular-layer model.
//!
//! ```text
//! sweep file → Plan → scheduler → leases → workers → spikes → store → outputs → manifest
//! ```
//!
//! This is a program. It is a library only so that its benchmarks and fuzzing can call its internals.

mod address;
mod batch;
#[doc(hidden)]
pub mod bench;
mod cli;
mod commands;
mod engines;
mod failure;
#[doc(hidden)]
pub mod fuzz;
mod gallery;
mod slurm;
mod stdout;
#[cfg(test)]
#[path = "../../../tests/support/stubs.rs"]
mod stubs;
mod version;

use std::process::ExitCode;

use granule_server::view::{self, stderr};

/// Runs the program: parses the command line, runs the command, and returns the exit code.
pub fn main() -> ExitCode {
    let (result, code) = match cli::parse() {
        Ok(cli) => (commands::obey(cli.command), 0),
        // clap returns help and versions as errors, too. They are printed to standard output, with exit code 0.
        Err(said) if said.use_stderr() => {
            let _ = said.print();
            (Ok(()), cli::exit::USAGE)
        }
        Err(said) => (stdout::reader_of(said.print()).map(stdout::StdoutReader::done), 0),
    };
    let code = result.map_or_else(
        |failure| {
            view::log::error(&failure.message);
            failure.code
        },
        |()| code,
    );
    stderr::settle();
    ExitCode::from(code)
}
