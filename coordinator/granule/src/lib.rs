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

use granule_server::view::log::LogFormat;
use granule_server::view::{self, stderr};
use granule_system::limits;

use crate::failure::Failure;

/// The program: reads the command line and does what it says.
pub fn main() -> ExitCode {
    let (result, code) = match cli::parse() {
        Ok(cli) => (obey(cli.command), 0),
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

fn obey(command: cli::Command) -> Result<(), Failure> {
    limits::raise_files();
    view::log::init(match &command {
        cli::Command::Run(cli::Run { common, .. })
        | cli::Command::Serve(cli::Serve { common, .. })
        | cli::Command::Ssh(cli::Ssh { common, .. }) => common.log_format,
        cli::Command::Worker(arguments) => arguments.log_format,
        _ => LogFormat::Text,
    });
    match command {
        cli::Command::Run(arguments) => commands::run::run(&arguments),
        cli::Command::Serve(arguments) => commands::serve::run(&arguments),
        cli::Command::Worker(arguments) => commands::worker::run(&arguments),
        cli::Command::Identity(arguments) => commands::identity::run(&arguments),
        cli::Command::Plan(arguments) => commands::plan::run(&arguments),
        cli::Command::Explain(arguments) => commands::explain::run(&arguments),
        cli::Command::Slurm(arguments) => commands::slurm::run(&arguments),
        cli::Command::Ssh(arguments) => commands::ssh::run(&arguments),
        cli::Command::Status(arguments) => commands::status::run(&arguments),
        cli::Command::Init(arguments) => commands::init::run(&arguments),
        cli::Command::Schema => commands::schema::run(),
        cli::Command::Verify(arguments) => commands::verify::run(&arguments),
        cli::Command::Reproduce(arguments) => commands::reproduce::run(&arguments),
        cli::Command::Export(arguments) => commands::export::run(&arguments),
        cli::Command::Figures(arguments) => commands::figures::run(&arguments),
        cli::Command::Report(arguments) => commands::report::run(&arguments),
        cli::Command::Store(arguments) => commands::store::run(&arguments.command),
        cli::Command::Completions(arguments) => commands::manual::completions(&arguments),
        cli::Command::Man(arguments) => commands::manual::man(&arguments),
    }
}
