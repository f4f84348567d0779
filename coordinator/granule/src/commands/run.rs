//! `granule run`: runs a sweep on this machine.

use std::path::PathBuf;
use std::time::Duration;

use granule_farm::scheduler::{LEASE_TARGET, SchedulerConfig};
use granule_server::driver::RunOptions;

use crate::cli::{self, exit};
use crate::commands::entrance::Entrance;
use crate::commands::sweep_run::{self, RunOrder};
use crate::commands::this_machine::cores;
use crate::commands::this_process::this_program;
use crate::failure::Failure;

pub(crate) fn run(arguments: &cli::RunArgs) -> Result<(), Failure> {
    if !arguments.listen.ip().is_loopback() {
        let message = format!(
            "error: `run` listens on loopback only, and {} is not\n  help: leave --listen out, or use \
             127.0.0.1:PORT; `granule serve` is for workers on other machines",
            arguments.listen
        );
        return Err(Failure::new(exit::USAGE, message));
    }
    let workers = arguments.workers.unwrap_or_else(cores);
    let program = program(arguments.common.worker_program.as_ref())?;
    sweep_run::run(
        &RunOrder::of(&arguments.common),
        |out| Entrance::local(arguments.listen, out),
        |sweep| RunOptions {
            sweep: sweep.name.clone(),
            workers,
            program,
            ssh: None,
            scheduler: config(&arguments.common, workers),
            drain_within: Duration::ZERO,
            give_up_after: None,
            tells_of_workers: false,
            metrics: None,
        },
    )
}

/// Returns the executable that worker processes run.
pub(crate) fn program(given: Option<&PathBuf>) -> Result<PathBuf, Failure> {
    match given {
        Some(program) => Ok(program.clone()),
        None => this_program().map_err(|error| Failure::caused_by(exit::FAILED, &error, None)),
    }
}

/// Returns the scheduler's configuration for so many worker processes of ours.
pub(crate) fn config(arguments: &cli::SweepArgs, workers: u32) -> SchedulerConfig {
    SchedulerConfig {
        lease_ttl: Duration::from_secs(arguments.lease_seconds.into()),
        lease_target: LEASE_TARGET,
        shard_trials: arguments.shard_trials,
        crash_limit: 4 + workers,
        loss_limit: 12,
        audit_percent: arguments.audit,
    }
}
