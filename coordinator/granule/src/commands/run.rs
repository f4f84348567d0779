//! `granule run`: runs a sweep on this machine.

use std::path::PathBuf;
use std::time::Duration;

use granule_farm::scheduler::{LEASE_TARGET, SchedulerConfig};
use granule_server::driver::RunOptions;
use granule_sweep::Sweep;
use granule_system::os;

use crate::cli::{self, exit};
use crate::commands::entrance::Entrance;
use crate::commands::sweep_file::model_path;
use crate::commands::sweep_run::{self, RunOrder};
use crate::commands::this_machine::cores;
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
    let program = program(arguments.common.worker_program.as_ref())?;
    sweep_run::run(
        &RunOrder::of(&arguments.common),
        |out| Entrance::local(arguments.listen, out),
        |sweep| {
            let workers = arguments.workers.unwrap_or_else(|| (cores() / sweep.engine.threads()).max(1));
            RunOptions {
                sweep: sweep.name.clone(),
                workers,
                program,
                ssh: None,
                scheduler: config(&arguments.common, workers, sweep),
                drain_within: Duration::ZERO,
                give_up_after: None,
                tells_of_workers: false,
                metrics: None,
                model: model_path(&arguments.common.sweep, sweep),
                packages: None,
                records: None,
                growth: None,
            }
        },
    )
}

/// Returns the executable that worker processes run.
pub(crate) fn program(given: Option<&PathBuf>) -> Result<PathBuf, Failure> {
    match given {
        Some(program) => Ok(program.clone()),
        None => os::this_program().map_err(|error| Failure::caused_by(exit::FAILED, &error, None)),
    }
}

/// Percentage of the trials of a user's program that are audited by default. A hundredth of the trials of each node is
/// computed twice, so a wrong node is found within a few hundred trials. The cost is a hundredth of the run.
const AUDITED: f64 = 1.0;

/// Returns the scheduler's configuration for so many worker processes of ours.
pub(crate) fn config(arguments: &cli::SweepArgs, workers: u32, sweep: &Sweep) -> SchedulerConfig {
    let is_program = sweep.engine.is_program();
    SchedulerConfig {
        lease_ttl: Duration::from_secs(arguments.lease_seconds.into()),
        lease_target: LEASE_TARGET,
        shard_trials: arguments.shard_trials,
        crash_limit: 4 + workers,
        loss_limit: 12,
        audit_percent: arguments.audit.unwrap_or(if is_program { AUDITED } else { 0.0 }),
        audits_alone: is_program,
    }
}
