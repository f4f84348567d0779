//! `granule ssh`: runs a sweep with workers on machines that the user can log in to.

use std::net::{Ipv4Addr, SocketAddr};

use granule_server::driver::RunOptions;
use granule_server::launch::hosts::hosts;
use granule_server::launch::ssh::Ssh;

use crate::cli::{self, exit};
use crate::commands::entrance::Entrance;
use crate::commands::run::{config, program};
use crate::commands::serve::DRAIN_WITHIN;
use crate::commands::sweep_file::model_path;
use crate::commands::sweep_run::{self, RunOrder};
use crate::failure::Failure;

pub(crate) fn run(arguments: &cli::SshArgs) -> Result<(), Failure> {
    let hosts = hosts(&arguments.hosts)
        .map_err(|error| Failure::caused_by(exit::USAGE, &error, Some(&error.help())))?;
    // The shell there would read a leading `-` as an option of its `exec`, and `ssh` as an option of its own.
    let granule = &arguments.granule;
    if granule.is_empty() || granule.starts_with('-') || granule.chars().any(char::is_control) {
        let message = format!(
            "error: --granule cannot be `{}`\n  help: give a name in the PATH of those machines, or a path from \
                the home directory there. It must have no control characters; write ./ before a leading -",
            granule.escape_debug()
        );
        return Err(Failure::new(exit::USAGE, message));
    }
    let program = program(arguments.common.worker_program.as_ref())?;
    let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let count = hosts.len();
    sweep_run::run(
        &RunOrder::of(&arguments.common),
        |out| Entrance::over_ssh(here, out, count),
        |sweep| {
            let model = model_path(&arguments.common.sweep, sweep);
            let there = arguments.model.clone();
            let there =
                model.as_ref().map(|here| there.unwrap_or_else(|| here.to_string_lossy().into_owned()));
            RunOptions {
                sweep: sweep.name.clone(),
                workers: arguments.workers,
                program,
                ssh: Some(Ssh {
                    hosts,
                    granule: granule.clone(),
                    options: arguments.options.clone(),
                    model: there,
                }),
                scheduler: config(&arguments.common, arguments.workers, sweep),
                drain_within: DRAIN_WITHIN,
                give_up_after: Some(arguments.give_up_after),
                tells_of_workers: true,
                metrics: None,
                model,
                packages: None,
                records: None,
                growth: None,
            }
        },
    )
}
