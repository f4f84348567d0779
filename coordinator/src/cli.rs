//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::view::log::LogFormat;

/// Exit codes, as documented in `--help` and the README.
pub(crate) mod exit {
    /// Something outside the sweep went wrong: files, network, the system.
    pub(crate) const FAILED: u8 = 1;
    /// The command line, the environment or the sweep file is wrong. clap uses the same.
    pub(crate) const USAGE: u8 = 2;
    /// The sweep could not be computed to its end.
    pub(crate) const INCOMPLETE: u8 = 3;
    /// All was computed, but results of workers differed.
    pub(crate) const DISAGREED: u8 = 4;
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
                  4 completed, but results of workers differed, 130 interrupted (Ctrl-C), 143 terminated."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a sweep on this machine; run it again to resume.
    Run(Run),
    /// Run a sweep with workers on other machines; run it again to resume.
    Serve(Serve),
    /// Compute for a coordinator, on this or another machine.
    Worker(Worker),
    /// Show what a running coordinator is at.
    Status(Status),
    /// Write a sweep file with comments, to begin with.
    Init(Init),
    /// Print the JSON Schema of sweep files, for editors.
    Schema,
}

/// What `run` and `serve` have in common.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// The sweep file.
    pub(crate) sweep: PathBuf,
    /// Where outputs, manifest and store lie [default: out/NAME-OF-THE-SWEEP].
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Percent of trials that are computed once more, by another worker, and compared.
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0, value_parser = percent)]
    pub(crate) audit: f64,
    /// How messages are written to standard error.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
    /// Trials handed to a worker at a time [default: about two seconds of work]. Never changes results.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), hide_short_help = true)]
    pub(crate) shard_trials: Option<u32>,
    /// Seconds without a sign of life after which a worker is given up.
    #[arg(long, value_name = "S", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=86400), hide_short_help = true)]
    pub(crate) lease_seconds: u32,
    /// Executable that worker processes of the coordinator's own run [default: this one].
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    pub(crate) worker_program: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Worker processes to start [default: the machine's cores].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) workers: Option<u32>,
    /// Loopback address on which the coordinator listens for its workers; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub(crate) listen: SocketAddr,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Address on which to listen for workers, such as 0.0.0.0:7000; port 0 takes a free one. Off
    /// loopback everything is encrypted.
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: SocketAddr,
    /// Name or address at which workers reach this machine, if it is another [default: its addresses].
    #[arg(long, value_name = "HOST[:PORT]")]
    pub(crate) advertise: Option<String>,
    /// Where to write the access file that workers need [default: access.json beside the outputs].
    #[arg(long, value_name = "FILE")]
    pub(crate) access: Option<PathBuf>,
    /// A certificate of your own, PEM, with its chain [default: one is made].
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(crate) certificate: Option<PathBuf>,
    /// The private key of that certificate, PEM.
    #[arg(long, value_name = "FILE", requires = "certificate")]
    pub(crate) key: Option<PathBuf>,
    /// Worker processes to start on this machine, too.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1024))]
    pub(crate) workers: u32,
    /// Loopback address of /metrics and /health without a secret, such as 127.0.0.1:9464.
    #[arg(long, value_name = "ADDR", value_parser = loopback)]
    pub(crate) metrics: Option<SocketAddr>,
}

#[derive(Debug, Args)]
pub(crate) struct Worker {
    /// The access file of the coordinator, or a copy of it.
    #[arg(long, value_name = "FILE", conflicts_with = "supervised")]
    pub(crate) access: Option<PathBuf>,
    /// Trials to compute side by side [default: the machine's cores].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) threads: Option<u32>,
    /// Leave after this time, as in 90s, 45m, 2h30m or 12:00:00.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) time_limit: Option<Duration>,
    /// Leave when there was nothing to do for this time.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) idle_timeout: Option<Duration>,
    /// Give up when there was no coordinator for this time [default: 10m].
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) give_up_after: Option<Duration>,
    /// How messages are written to standard error.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
    /// Take access and name from standard input and end when that closes; `run` and `serve` start
    /// their own workers so.
    #[arg(long, hide = true)]
    pub(crate) supervised: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// The output directory of a running `granule serve`.
    pub(crate) out: Option<PathBuf>,
    /// Its access file, or a copy, instead.
    #[arg(long, value_name = "FILE", conflicts_with = "out")]
    pub(crate) access: Option<PathBuf>,
    /// Go on until the coordinator ends.
    #[arg(long)]
    pub(crate) follow: bool,
    /// Print JSON, one object a line.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// The file to write; one that is there is left as it is.
    #[arg(default_value = "sweep.yaml")]
    pub(crate) file: PathBuf,
}

/// A time, as people and Slurm write it.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no time; write it as 90s, 45m, 2h30m or 12:00:00");
    if let Ok(seconds) = text.parse::<u32>() {
        return Ok(Duration::from_secs(seconds.into()));
    }
    let duration: jiff::SignedDuration = text.parse().map_err(|_| wrong())?;
    Duration::try_from(duration).map_err(|_| wrong())
}

fn percent(text: &str) -> Result<f64, String> {
    let percent = text.trim_end_matches('%').parse::<f64>().ok();
    percent
        .filter(|percent| (0.0..=100.0).contains(percent))
        .ok_or_else(|| format!("`{text}` is no percentage between 0 and 100"))
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|_| format!("`{text}` is no address; write IP:PORT"))?;
    if address.ip().is_loopback() {
        return Ok(address);
    }
    Err("what needs no secret is for this machine only: use 127.0.0.1:PORT; elsewhere, /metrics is on the \
         address of --listen, with the secret of the access file"
        .to_owned())
}
