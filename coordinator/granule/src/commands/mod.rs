//! One file for each subcommand, and what several have in common.

pub(crate) mod batch;
pub(crate) mod beacon;
pub(crate) mod directory_status;
pub(crate) mod entrance;
pub(crate) mod explain;
pub(crate) mod export;
pub(crate) mod figures;
pub(crate) mod guard;
pub(crate) mod identify;
pub(crate) mod identity;
pub(crate) mod init;
pub(crate) mod manual;
pub(crate) mod plan;
pub(crate) mod report;
pub(crate) mod reproduce;
pub(crate) mod run;
pub(crate) mod schema;
pub(crate) mod serve;
pub(crate) mod signals;
pub(crate) mod slurm;
pub(crate) mod ssh;
pub(crate) mod status;
pub(crate) mod store;
pub(crate) mod sweep_file;
pub(crate) mod sweep_run;
pub(crate) mod target;
pub(crate) mod this_machine;
pub(crate) mod this_process;
pub(crate) mod trying;
pub(crate) mod verify;
pub(crate) mod worker;

use granule_server::view::log::{self, LogFormat};
use granule_system::limits;

use crate::cli;
use crate::failure::Failure;

/// Runs a command.
///
/// # Errors
/// When it fails, with the exit code of the program.
pub(crate) fn obey(command: cli::CommandArgs) -> Result<(), Failure> {
    limits::raise_files();
    log::init(match &command {
        cli::CommandArgs::Run(cli::RunArgs { common, .. })
        | cli::CommandArgs::Serve(cli::Serve { common, .. })
        | cli::CommandArgs::Ssh(cli::SshArgs { common, .. })
        | cli::CommandArgs::Batch(cli::Batch { common, .. }) => common.log_format,
        cli::CommandArgs::Worker(arguments) => arguments.log_format,
        _ => LogFormat::Text,
    });
    match command {
        cli::CommandArgs::Run(arguments) => run::run(&arguments),
        cli::CommandArgs::Serve(arguments) => serve::run(&arguments),
        cli::CommandArgs::Worker(arguments) => worker::run(&arguments),
        cli::CommandArgs::Batch(arguments) => batch::run(&arguments),
        cli::CommandArgs::Identity(arguments) => identity::run(&arguments),
        cli::CommandArgs::Plan(arguments) => plan::run(&arguments),
        cli::CommandArgs::Explain(arguments) => explain::run(&arguments),
        cli::CommandArgs::Slurm(arguments) => slurm::run(&arguments),
        cli::CommandArgs::Ssh(arguments) => ssh::run(&arguments),
        cli::CommandArgs::Status(arguments) => status::run(&arguments),
        cli::CommandArgs::Init(arguments) => init::run(&arguments),
        cli::CommandArgs::Schema(arguments) => schema::run(&arguments),
        cli::CommandArgs::Try(arguments) => trying::run(&arguments),
        cli::CommandArgs::Guard(arguments) => guard::run(&arguments),
        cli::CommandArgs::Verify(arguments) => verify::run(&arguments),
        cli::CommandArgs::Identify(arguments) => identify::run(&arguments),
        cli::CommandArgs::Reproduce(arguments) => reproduce::run(&arguments),
        cli::CommandArgs::Export(arguments) => export::run(&arguments),
        cli::CommandArgs::Figures(arguments) => figures::run(&arguments),
        cli::CommandArgs::Report(arguments) => report::run(&arguments),
        cli::CommandArgs::Store(arguments) => store::run(&arguments.command),
        cli::CommandArgs::Completions(arguments) => manual::completions(&arguments),
        cli::CommandArgs::Man(arguments) => manual::man(&arguments),
    }
}
