//! `granule`: runs parameter sweeps of the cerebellar granular-layer model.
//!
//! ```text
//! sweep file → Plan → scheduler → leases → workers → spikes → store → outputs → manifest
//! ```
//!
//! A program, and a library only so that its benchmarks and fuzzing can reach into it.

mod address;
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

/// The program: reads the command line and does what it says.
pub fn main() -> ExitCode {
    let (result, code) = match cli::parse() {
        Ok(cli) => (commands::obey(cli.command), 0),
        // Help and versions are no errors to clap's caller; they are printed all the same.
        Err(said) if said.use_stderr() => {
            let _ = said.print();
            (Ok(()), cli::exit::USAGE)
        }
        Err(said) => (stdout::reader_of(said.print()).map(stdout::Reader::done), 0),
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
