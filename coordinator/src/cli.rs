//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Exit codes, as documented in `--help` and the README.
pub(crate) mod exit {
    /// Something outside the sweep went wrong: files, network, the system.
    pub(crate) const FAILED: u8 = 1;
    /// The command line, the environment or the sweep file is wrong. clap uses the same.
    pub(crate) const USAGE: u8 = 2;
    /// The sweep could not be computed to its end.
    pub(crate) const INCOMPLETE: u8 = 3;
    /// Ended by Ctrl-C (128 + SIGINT).
    pub(crate) const INTERRUPTED: u8 = 130;
    /// Ended by SIGTERM (128 + SIGTERM).
    pub(crate) const TERMINATED: u8 = 143;
}

/// Parameter sweeps of the cerebellar granular-layer model of Fore et al. (2020): byte for byte the
/// original's data, whatever the number of workers, resumable at any time.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage or sweep file, 3 sweep not completed, \
                  130 interrupted (Ctrl-C), 143 terminated."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a sweep on this machine; run it again to resume.
    Run(Run),
    /// Work for a coordinator; `run` starts these by itself.
    #[command(hide = true)]
    Worker(Worker),
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The sweep file.
    pub(crate) sweep: PathBuf,
    /// Where outputs, manifest and store lie [default: out/NAME-OF-THE-SWEEP].
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Worker processes to start [default: the machine's cores].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) workers: Option<u32>,
    /// Loopback address on which the coordinator listens for its workers; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub(crate) listen: SocketAddr,
    /// Trials handed to a worker at a time [default: about two seconds of work]. Never changes results.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), hide_short_help = true)]
    pub(crate) shard_trials: Option<u32>,
    /// Seconds without a sign of life after which a worker is given up and replaced.
    #[arg(long, value_name = "S", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=86400), hide_short_help = true)]
    pub(crate) lease_seconds: u32,
    /// Executable that worker processes run [default: this one].
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    pub(crate) worker_program: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Worker {
    /// Address of the coordinator.
    #[arg(long, value_name = "ADDR")]
    pub(crate) connect: String,
    /// Read the secret from standard input and end when that closes.
    #[arg(long, required = true)]
    pub(crate) supervised: bool,
}
