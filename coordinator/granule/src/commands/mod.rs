//! One file a subcommand, and what several have in common.

pub(crate) mod beacon;
pub(crate) mod entrance;
pub(crate) mod explain;
pub(crate) mod export;
pub(crate) mod figures;
pub(crate) mod identity;
pub(crate) mod init;
pub(crate) mod job;
pub(crate) mod manual;
pub(crate) mod plan;
pub(crate) mod report;
pub(crate) mod reproduce;
pub(crate) mod rest;
pub(crate) mod run;
pub(crate) mod schema;
pub(crate) mod serve;
pub(crate) mod signals;
pub(crate) mod slurm;
pub(crate) mod ssh;
pub(crate) mod status;
pub(crate) mod store;
pub(crate) mod sweep_file;
pub(crate) mod target;
pub(crate) mod this_machine;
pub(crate) mod this_process;
pub(crate) mod verify;
pub(crate) mod worker;

use granule_server::view::log::{self, LogFormat};
use granule_system::limits;

use crate::cli;
use crate::failure::Failure;

/// Does what a command line says.
///
/// # Errors
/// When it cannot be done, with the exit code of the program.
pub(crate) fn obey(command: cli::Command) -> Result<(), Failure> {
    limits::raise_files();
    log::init(match &command {
        cli::Command::Run(cli::Run { common, .. })
        | cli::Command::Serve(cli::Serve { common, .. })
        | cli::Command::Ssh(cli::Ssh { common, .. }) => common.log_format,
        cli::Command::Worker(arguments) => arguments.log_format,
        _ => LogFormat::Text,
    });
    match command {
        cli::Command::Run(arguments) => run::run(&arguments),
        cli::Command::Serve(arguments) => serve::run(&arguments),
        cli::Command::Worker(arguments) => worker::run(&arguments),
        cli::Command::Identity(arguments) => identity::run(&arguments),
        cli::Command::Plan(arguments) => plan::run(&arguments),
        cli::Command::Explain(arguments) => explain::run(&arguments),
        cli::Command::Slurm(arguments) => slurm::run(&arguments),
        cli::Command::Ssh(arguments) => ssh::run(&arguments),
        cli::Command::Status(arguments) => status::run(&arguments),
        cli::Command::Init(arguments) => init::run(&arguments),
        cli::Command::Schema => schema::run(),
        cli::Command::Verify(arguments) => verify::run(&arguments),
        cli::Command::Reproduce(arguments) => reproduce::run(&arguments),
        cli::Command::Export(arguments) => export::run(&arguments),
        cli::Command::Figures(arguments) => figures::run(&arguments),
        cli::Command::Report(arguments) => report::run(&arguments),
        cli::Command::Store(arguments) => store::run(&arguments.command),
        cli::Command::Completions(arguments) => manual::completions(&arguments),
        cli::Command::Man(arguments) => manual::man(&arguments),
    }
}
