//! `granule serve`: runs a sweep with workers on other machines.

use std::time::Duration;

use granule_server::driver::RunOptions;

use crate::cli;
use crate::commands::entrance::Entrance;
use crate::commands::run::{config, program};
use crate::commands::sweep_file::model_path;
use crate::commands::sweep_run::{self, RunOrder};
use crate::failure::Failure;

/// How long leases may take to end after an interrupt.
pub(crate) const DRAIN_WITHIN: Duration = Duration::from_secs(15);

pub(crate) fn run(arguments: &cli::Serve) -> Result<(), Failure> {
    let program = program(arguments.common.worker_program.as_ref())?;
    sweep_run::run(
        &RunOrder::of(&arguments.common),
        |out| Entrance::served(arguments, out),
        |sweep| RunOptions {
            sweep: sweep.name.clone(),
            workers: arguments.workers,
            program,
            ssh: None,
            scheduler: config(&arguments.common, arguments.workers, sweep),
            drain_within: DRAIN_WITHIN,
            give_up_after: arguments.give_up_after,
            tells_of_workers: true,
            metrics: arguments.metrics,
            model: model_path(&arguments.common.sweep, sweep),
            packages: None,
            records: None,
            growth: None,
        },
    )
}
