//! The command line.

mod hints;

use std::net::SocketAddr;
use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{EnumValueParser, TypedValueParser as _};
use clap::{Args, Parser, Subcommand};
use granule_outputs::table::Format;
use granule_server::view::log::LogFormat;
use granule_sweep::Filter;

pub(crate) use self::hints::parse;
use crate::address;

/// Exit codes, and what `--help` and the manual say of them. docs/failures.md says the same, and a test
/// compares.
pub(crate) mod exit {
    /// Of `run`, `serve` and `ssh`.
    pub(crate) const OF_SWEEPS: &str = "Exit codes: 0 complete; 1 something outside failed; 2 wrong usage or sweep file; \
        3 not completed, trials set aside, or no host that can be used; 4 complete, but results differed; \
        129 hung up; 130, 143 interrupted, terminated.";
    pub(crate) const OF_SLURM: &str = "Exit codes: 0 complete, or submitted; 1 something outside failed; \
        2 wrong usage or sweep file; 3 the job ended before the sweep was complete; \
        129 hung up; 130, 143 interrupted, cancelled.";
    pub(crate) const OF_WORKER: &str = "Exit codes: 0 the coordinator said goodbye, or it left in good order; \
        1 refused, shut out, or no coordinator for too long; 2 wrong usage or access file; \
        130, 143 ended by a second signal.";
    pub(crate) const OF_STATUS: &str = "Exit codes: 0 shown, or with --follow: all trials are computed; \
        1 with --access: no coordinator; 2 wrong usage, or no output directory; \
        3 with --follow: trials set aside.";
    pub(crate) const OF_VERIFY: &str = "Exit codes: 0 all is as it was; 1 something outside failed, or a run is at it; \
        2 wrong usage; 3 something is not as it should be, or the sweep is not complete.";
    pub(crate) const OF_REPRODUCE: &str = "Exit codes: 0 the same, bit by bit; \
        1 something outside failed, or a run is at it; 2 wrong usage; 3 the store does not have the trial; \
        4 not the same.";
    /// Of `export`, `figures` and `report`.
    pub(crate) const OF_EXPORT: &str = "Exit codes: 0 written; 1 something outside failed, or a run is at it; \
        2 wrong usage; 3 trials are missing, or for figures and report no trial is stored.";
    pub(crate) const OF_STORE: &str = "Exit codes: 0 done, or whole; 1 something outside failed, or a run is at it; \
        2 wrong usage, or there is no such store; 3 verify: something is damaged; 4 merge: two stores differ in a trial.";

    pub(crate) use granule_system::exit::*;
}

/// Parameter sweeps of the cerebellar granular-layer model of Fore et al. (2020): the same bytes whatever the number of
/// workers, resumable at any time, and with `engine: brian2-2.2.1` byte for byte the original's data.
#[derive(Debug, Parser)]
#[command(
    version,
    long_version = crate::version::LONG.as_str(),
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage or sweep file, 3 sweep not completed, or files or \
                  stores not as they should be, 4 results of a trial differed, 129 hung up (SIGHUP), \
                  130 interrupted (Ctrl-C), 143 terminated."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a sweep on this machine; run it again to resume.
    #[command(after_help = exit::OF_SWEEPS)]
    Run(Run),
    /// Run a sweep with workers on other machines; run it again to resume.
    #[command(after_help = exit::OF_SWEEPS)]
    Serve(Serve),
    /// Compute for a coordinator, on this or another machine.
    #[command(after_help = exit::OF_WORKER)]
    Worker(Worker),
    /// Run a sweep with workers on machines that you can log in to with ssh; run it again to resume.
    #[command(after_help = exit::OF_SWEEPS)]
    Ssh(Ssh),
    /// Run a sweep as a Slurm job, from a login node; again to follow it, or to resume.
    #[command(after_help = exit::OF_SLURM)]
    Slurm(Slurm),
    /// Make the key and the access file of a coordinator before it runs, for `serve --identity`.
    Identity(Identity),
    /// Show what a running coordinator is at, or what was made of a sweep.
    #[command(after_help = exit::OF_STATUS)]
    Status(Status),
    /// Write a sweep file with comments, to begin with.
    Init(Init),
    /// Print the JSON Schema of sweep files, for editors.
    Schema,
    /// Say what a sweep asks for and what it will cost, and do nothing.
    Plan(Plan),
    /// Say which trials of a sweep will be computed, and why.
    Explain(Explain),
    /// Check the files of a finished sweep.
    #[command(after_help = exit::OF_VERIFY)]
    Verify(Verify),
    /// Compute one trial again and compare.
    #[command(after_help = exit::OF_REPRODUCE)]
    Reproduce(Reproduce),
    /// Write spikes, or rates over time, as one table.
    #[command(after_help = exit::OF_EXPORT)]
    Export(Export),
    /// Draw the paper's figures, and others of any sweep.
    ///
    /// Of a directory that has the output files of a seed and no manifest, the paper's figures are drawn.
    #[command(after_help = exit::OF_EXPORT)]
    Figures(Figures),
    /// Write one page about a sweep: figures, numbers, and where they come from.
    #[command(after_help = exit::OF_EXPORT)]
    Report(Report),
    /// Merge, check and prune stores.
    #[command(after_help = exit::OF_STORE)]
    Store(StoreArguments),
    /// Print completions for a shell.
    Completions(Completions),
    /// Print the manual page, or write those of all commands.
    Man(Man),
}

/// What `run` and `serve` have in common.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// The sweep file.
    pub(crate) sweep: PathBuf,
    /// Where outputs, manifest and store lie [default: out/NAME-OF-THE-SWEEP].
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Where trials are stored [default: where the last run stored them, else store.granule beside the outputs].
    #[arg(long, value_name = "FILE")]
    pub(crate) store: Option<PathBuf>,
    /// Replace what another sweep wrote to the output directory, and files there that no record lists.
    #[arg(long)]
    pub(crate) replace: bool,
    /// Percent of trials that are computed once more, by another worker, and compared.
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0, value_parser = percent)]
    pub(crate) audit: f64,
    /// Serve a page at this address that shows the sweep live, such as 127.0.0.1:7001, or at this port of this machine
    /// alone; port 0 takes a free one. Its URL is printed; off loopback it has a token in it.
    #[arg(long, value_name = "ADDR", value_parser = address::of_this_machine)]
    pub(crate) dashboard: Option<SocketAddr>,
    /// Print what was done as JSON, one object on one line, however it ends.
    #[arg(long)]
    pub(crate) json: bool,
    /// How messages are written to standard error.
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = EnumValueParser::<Said>::new().map(LogFormat::from))]
    pub(crate) log_format: LogFormat,
    /// Trials handed to a worker at a time [default: about two seconds of work]. Never changes results.
    #[arg(long, value_name = "N", value_parser = whole(1, u32::MAX), hide_short_help = true)]
    pub(crate) shard_trials: Option<u32>,
    /// Seconds without a sign of life after which a worker is given up.
    #[arg(long, value_name = "S", default_value_t = 30, value_parser = whole(1, 86400), hide_short_help = true)]
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
    #[arg(long, value_name = "N", value_parser = whole(1, 1024))]
    pub(crate) workers: Option<u32>,
    /// Loopback address on which the coordinator listens for its workers; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0", value_parser = address::of_this_machine)]
    pub(crate) listen: SocketAddr,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Address on which to listen for workers, such as 10.0.0.5:7000; a port alone listens on all networks, as
    /// 0.0.0.0:7000 does; port 0 takes a free one. Off loopback everything is encrypted.
    #[arg(long, value_name = "ADDR", value_parser = address::of_all_networks)]
    pub(crate) listen: SocketAddr,
    /// Name or address at which workers reach this machine, if it is another [default: its addresses].
    #[arg(long, value_name = "HOST[:PORT]")]
    pub(crate) advertise: Option<String>,
    /// The network interface over which workers reach this machine, such as ib0 [default: all].
    #[arg(long, value_name = "NAME", conflicts_with = "advertise")]
    pub(crate) interface: Option<String>,
    /// Where to write the access file that workers need [default: access.json beside the outputs]. The file system must
    /// keep the modes of files.
    #[arg(long, value_name = "FILE")]
    pub(crate) access: Option<PathBuf>,
    /// Replace a file at --access that is not an access file.
    #[arg(long)]
    pub(crate) force: bool,
    /// A certificate of your own, PEM, with its chain [default: one is made].
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(crate) certificate: Option<PathBuf>,
    /// The private key of that certificate, PEM.
    #[arg(long, value_name = "FILE", requires = "certificate")]
    pub(crate) key: Option<PathBuf>,
    /// Directory that `granule identity` has made: its key and access file are used, and left as they are.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["advertise", "interface", "access", "certificate", "key"])]
    pub(crate) identity: Option<PathBuf>,
    /// Worker processes to start on this machine, too.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = whole(0, 1024))]
    pub(crate) workers: u32,
    /// Give up when no worker was there for this time, as in 90s, 45m or 2h30m [default: never].
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) give_up_after: Option<Duration>,
    /// Loopback address, or port, of /metrics and /health without a secret, such as 127.0.0.1:9464; port 0 takes a free
    /// one. The URL is printed.
    #[arg(long, value_name = "ADDR", value_parser = loopback)]
    pub(crate) metrics: Option<SocketAddr>,
}

#[derive(Debug, Args)]
pub(crate) struct Worker {
    /// The access file of the coordinator, or a copy of it; - is standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "supervised")]
    pub(crate) access: Option<PathBuf>,
    /// Wait for the access file, too, should it not be there yet.
    #[arg(long, requires = "access")]
    pub(crate) wait: bool,
    /// Trials to compute side by side [default: the machine's cores].
    #[arg(long, value_name = "N", value_parser = whole(1, 1024))]
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
    /// Exit code when it leaves before the sweep is complete, as it was told to or its time was over.
    #[arg(long, value_name = "CODE", default_value_t = 0)]
    pub(crate) leave_with: u8,
    /// How messages are written to standard error.
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = EnumValueParser::<Said>::new().map(LogFormat::from))]
    pub(crate) log_format: LogFormat,
    /// Take access and name from standard input and end when that closes; `run` and `serve` start
    /// their own workers so.
    #[arg(long, hide = true)]
    pub(crate) supervised: bool,
    /// The same, and speak to the coordinator over standard input and output; `ssh` starts its workers so.
    #[arg(long, hide = true, conflicts_with_all = ["supervised", "access"])]
    pub(crate) piped: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Ssh {
    /// Machines to log in to, as `ssh` knows them: node1,ann@node2, or @FILE with one a line. 8/node3 computes eight
    /// trials side by side there [default: the machine's cores].
    pub(crate) hosts: String,
    #[command(flatten)]
    pub(crate) common: Common,
    /// Worker processes to start on this machine, too.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = whole(0, 1024))]
    pub(crate) workers: u32,
    /// The granule of those machines: a name, or a path from the home directory there.
    #[arg(long, value_name = "FILE", default_value = "granule")]
    pub(crate) granule: String,
    /// Give up when no worker was there for this time, as in 90s, 45m or 2h30m.
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration)]
    pub(crate) give_up_after: Duration,
    /// Options for ssh, as they are.
    #[arg(last = true, value_name = "SSH OPTIONS")]
    pub(crate) options: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Slurm {
    /// The sweep file.
    pub(crate) sweep: PathBuf,
    /// Where outputs, manifest, store, job script and logs lie, on a file system that the nodes share
    /// [default: out/NAME-OF-THE-SWEEP].
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Where trials are stored [default: where the last run stored them, else store.granule beside the outputs].
    #[arg(long, value_name = "FILE")]
    pub(crate) store: Option<PathBuf>,
    /// Replace what another sweep wrote to the output directory, and files there that no record lists.
    #[arg(long, conflicts_with = "attach")]
    pub(crate) replace: bool,
    /// Replace a job script in the output directory that was changed, or is not granule's.
    #[arg(long)]
    pub(crate) force: bool,
    /// Nodes, each with a worker on all of its cores.
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "workers", value_parser = whole(1, 100_000))]
    pub(crate) nodes: u32,
    /// Workers, wherever there are cores for them.
    #[arg(long, value_name = "N", value_parser = whole(1, 100_000))]
    pub(crate) workers: Option<u32>,
    /// Cores of each of these workers.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "workers", value_parser = whole(1, 1024))]
    pub(crate) cores: u32,
    /// How long the job may take, as Slurm writes it: minutes, 2:00:00 or 1-12.
    #[arg(long, value_name = "TIME")]
    pub(crate) time: Option<String>,
    /// Slurm's partition.
    #[arg(long, value_name = "NAME")]
    pub(crate) partition: Option<String>,
    /// A file with shell commands for the beginning of the job script: modules, an environment, exports.
    #[arg(long, value_name = "FILE")]
    pub(crate) setup: Option<PathBuf>,
    /// The network interface over which the nodes reach the coordinator, such as ib0 [default: all].
    #[arg(long, value_name = "NAME", conflicts_with = "attach")]
    pub(crate) interface: Option<String>,
    /// Percent of trials that are computed once more, by another worker, and compared.
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0, value_parser = percent, conflicts_with = "attach")]
    pub(crate) audit: f64,
    /// Add workers to the sweep's `granule serve`, which runs elsewhere, as jobs of their own: up to --nodes or
    /// --workers of them, while there is work.
    #[arg(long, conflicts_with_all = ["detach", "store"])]
    pub(crate) attach: bool,
    /// Submit, and do not wait for the end.
    #[arg(long)]
    pub(crate) detach: bool,
    /// Show the script, and submit nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// The granule that the nodes run [default: this one].
    #[arg(long, value_name = "FILE")]
    pub(crate) granule: Option<PathBuf>,
    /// Trials handed to a worker at a time [default: about two seconds of work]. Never changes results.
    #[arg(long, value_name = "N", value_parser = whole(1, u32::MAX), hide_short_help = true)]
    pub(crate) shard_trials: Option<u32>,
    /// Time without work after which the workers of --attach leave.
    #[arg(long, value_name = "TIME", default_value = "2m", requires = "attach", value_parser = duration_as_given, hide_short_help = true)]
    pub(crate) idle_timeout: String,
    /// Options for sbatch, as they are.
    #[arg(last = true, value_name = "SBATCH OPTIONS")]
    pub(crate) options: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Identity {
    /// Directory for `coordinator.pem` and `access.json`.
    pub(crate) directory: PathBuf,
    /// Name or address at which workers will reach the coordinator.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) advertise: String,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// The output directory of a sweep, while a run is in progress there or at rest.
    pub(crate) out: Option<PathBuf>,
    /// Its access file, or a copy, instead.
    #[arg(long, value_name = "FILE", conflicts_with = "out")]
    pub(crate) access: Option<PathBuf>,
    /// Go on until all trials are computed. A coordinator that has not started yet, or is gone, is waited for.
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

/// A sweep and where its outputs are or will be.
#[derive(Debug, Args)]
pub(crate) struct Planned {
    /// The sweep file.
    pub(crate) sweep: PathBuf,
    /// Where outputs, manifest and store lie, or will [default: out/NAME-OF-THE-SWEEP].
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Where trials are stored [default: where the last run of the sweep stored them, else DIR/store.granule].
    #[arg(long, value_name = "FILE")]
    pub(crate) store: Option<PathBuf>,
    /// As `granule run --replace`.
    #[arg(long)]
    pub(crate) replace: bool,
    /// Print JSON, one object on one line.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Plan {
    #[command(flatten)]
    pub(crate) planned: Planned,
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    #[command(flatten)]
    pub(crate) planned: Planned,
    #[command(flatten)]
    pub(crate) only: Only,
    /// Only this trial, from 0.
    #[arg(long, value_name = "N", value_parser = trial)]
    pub(crate) trial: Option<u32>,
}

/// An output directory at rest.
#[derive(Debug, Args)]
pub(crate) struct Resting {
    /// The output directory.
    pub(crate) out: PathBuf,
    /// Where its trials are stored [default: where the last run stored them].
    #[arg(long, value_name = "FILE")]
    pub(crate) store: Option<PathBuf>,
    /// Print JSON, one object on one line.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    pub(crate) resting: Resting,
    /// Derive every file anew from the stored spikes, not only the spike probabilities.
    #[arg(long, conflicts_with = "files_only")]
    pub(crate) all: bool,
    /// Do without the store.
    #[arg(long)]
    pub(crate) files_only: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Reproduce {
    #[command(flatten)]
    pub(crate) resting: Resting,
    /// The condition.
    #[arg(long, value_name = "NAME")]
    pub(crate) condition: String,
    /// The seed.
    #[arg(long, value_name = "SEED", value_parser = one_seed)]
    pub(crate) seed: u32,
    /// The trial, from 0.
    #[arg(long, value_name = "N", value_parser = trial)]
    pub(crate) trial: u32,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["to", "psth"]))]
pub(crate) struct Export {
    #[command(flatten)]
    pub(crate) resting: Resting,
    /// Write all spikes to this file: .parquet, .npz or .csv; - is standard output, as CSV.
    #[arg(long, value_name = "FILE")]
    pub(crate) to: Option<PathBuf>,
    /// Write spike counts and rates over time to this file: .parquet, .npz or .csv; - is standard output, as CSV.
    #[arg(long, value_name = "FILE")]
    pub(crate) psth: Option<PathBuf>,
    /// Width of a bin of --psth in ms, a whole number of steps.
    #[arg(long, value_name = "MS", default_value_t = 1.0, requires = "psth", value_parser = milliseconds)]
    pub(crate) bin: f64,
    #[command(flatten)]
    pub(crate) only: Only,
    /// Replace a file that is not a table of granule.
    #[arg(long)]
    pub(crate) force: bool,
    /// Format of the file [default: what its name ends with].
    #[arg(long, value_name = "FORMAT", value_parser = EnumValueParser::<TableFormat>::new().map(Format::from))]
    pub(crate) format: Option<Format>,
}

/// [`LogFormat`], as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Said {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

impl From<Said> for LogFormat {
    fn from(said: Said) -> LogFormat {
        match said {
            Said::Text => LogFormat::Text,
            Said::Json => LogFormat::Json,
        }
    }
}

/// [`Format`], as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum TableFormat {
    /// Apache Parquet.
    Parquet,
    /// An archive of one numpy array a column.
    Npz,
    /// Comma-separated values.
    Csv,
}

impl From<TableFormat> for Format {
    fn from(format: TableFormat) -> Format {
        match format {
            TableFormat::Parquet => Format::Parquet,
            TableFormat::Npz => Format::Npz,
            TableFormat::Csv => Format::Csv,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Figures {
    #[command(flatten)]
    pub(crate) resting: Resting,
    /// Where figures are written [default: `figures` in the output directory].
    #[arg(long, value_name = "DIR")]
    pub(crate) to: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) chosen: Chosen,
    /// Formats of the pictures.
    #[arg(long, value_name = "FORMATS", value_delimiter = ',', default_values = ["pdf", "svg", "png"])]
    pub(crate) format: Vec<Picture>,
    /// Replace files that granule did not draw, or that were changed since.
    #[arg(long)]
    pub(crate) force: bool,
    /// Resolution of PNG files.
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = whole(30, 1200))]
    pub(crate) dpi: u32,
}

#[derive(Debug, Args)]
pub(crate) struct Report {
    #[command(flatten)]
    pub(crate) resting: Resting,
    /// The page [default: `report.html` in the output directory].
    #[arg(long, value_name = "FILE")]
    pub(crate) to: Option<PathBuf>,
    /// Replace a file that is not a report of granule.
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) chosen: Chosen,
}

/// Conditions and seeds of a sweep; all of them if nothing is given.
#[derive(Debug, Args)]
pub(crate) struct Only {
    /// Only these conditions; in a name, * stands for any characters and ? for one.
    #[arg(long, alias = "condition", value_name = "NAMES", value_delimiter = ',')]
    pub(crate) conditions: Vec<String>,
    /// Only conditions with these values, as in `granule.tonic_factor=1`; =, <, >, <= or >=, and units as in a sweep
    /// file. Of several, separated by commas or given one by one, all must hold.
    #[arg(long = "where", value_name = "VALUES", value_parser = filters)]
    pub(crate) wheres: Vec<Filters>,
    /// Only these seeds, as in a sweep file: 7, or 1..20 with both ends included; several separated by commas.
    #[arg(long, alias = "seed", value_name = "SEEDS", value_delimiter = ',', value_parser = granule_sweep::parse_seeds)]
    pub(crate) seeds: Vec<RangeInclusive<u32>>,
}

impl Only {
    /// All filters.
    pub(crate) fn filters(&self) -> impl Iterator<Item = &Filter> {
        self.wheres.iter().flat_map(|filters| &filters.0)
    }

    /// The first option that chooses something.
    pub(crate) fn given(&self) -> Option<&'static str> {
        let given = [
            ("--conditions", self.conditions.is_empty()),
            ("--where", self.wheres.is_empty()),
            ("--seeds", self.seeds.is_empty()),
        ];
        given.into_iter().find(|(_, is_empty)| !is_empty).map(|(option, _)| option)
    }
}

/// Filters of one `--where`.
#[derive(Clone, Debug)]
pub(crate) struct Filters(Vec<Filter>);

fn filters(text: &str) -> Result<Filters, String> {
    Filter::parse_all(granule_granular::space(), text).map(Filters)
}

/// What of a sweep is drawn.
#[derive(Debug, Args)]
pub(crate) struct Chosen {
    #[command(flatten)]
    pub(crate) only: Only,
    /// The ms of a trial in which responses are looked for [default: those around the stimulus].
    #[arg(long, value_name = "FROM..TO", value_parser = window)]
    pub(crate) window: Option<Range<usize>>,
    /// The trial whose spikes are shown one by one [default: 0].
    #[arg(long, value_name = "N", value_parser = trial)]
    pub(crate) trial: Option<u32>,
}

fn window(text: &str) -> Result<Range<usize>, String> {
    let wrong = || "it is FROM..TO in whole ms, such as 1000..1060".to_owned();
    let (from, to) = text.split_once("..").ok_or_else(wrong)?;
    let [from, to] = [from, to].map(|ms| ms.trim().parse::<usize>().map_err(|_| wrong()));
    let window = from?..to?;
    // An integral needs two points.
    if window.len() < 2 { Err("it has at least 2 ms".to_owned()) } else { Ok(window) }
}

/// Format of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Picture {
    /// Vectors with embedded fonts.
    Pdf,
    /// Vectors, with text as text.
    Svg,
    /// Pixels.
    Png,
}

#[derive(Debug, Args)]
pub(crate) struct StoreArguments {
    #[command(subcommand)]
    pub(crate) command: StoreCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Add to a store what it lacks of others.
    Merge(StoreMerge),
    /// Read everything in a store and check it.
    Verify(StoreVerify),
    /// Drop trials that no sweep needs.
    Prune(StorePrune),
}

#[derive(Debug, Args)]
pub(crate) struct StoreMerge {
    /// The store to add to; made if there is none.
    pub(crate) into: PathBuf,
    /// The stores to add.
    #[arg(required = true)]
    pub(crate) from: Vec<PathBuf>,
    /// Print JSON, one object on one line.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct StoreVerify {
    /// The store.
    pub(crate) file: PathBuf,
    /// Print JSON, one object on one line.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct StorePrune {
    /// The store.
    pub(crate) file: PathBuf,
    /// Sweep files whose trials are kept.
    #[arg(long, value_name = "SWEEP", required = true, num_args = 1..)]
    pub(crate) keep: Vec<PathBuf>,
    /// Say what would be dropped, and drop nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print JSON, one object on one line.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell.
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub(crate) struct Man {
    /// Where to write a page for each command [default: one page for all, on standard output].
    pub(crate) directory: Option<PathBuf>,
    /// Replace files that are not pages of granule's manual.
    #[arg(long)]
    pub(crate) force: bool,
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

/// A time that a worker will read.
fn duration_as_given(text: &str) -> Result<String, String> {
    duration(text).map(|_| text.to_owned())
}

fn one_seed(text: &str) -> Result<u32, String> {
    let range = granule_sweep::parse_seeds(text)?;
    let is_one = range.start() == range.end();
    is_one.then_some(*range.start()).ok_or_else(|| format!("`{text}` is a range; choose one seed of it"))
}

/// A whole number within these bounds.
fn whole(least: u32, most: u32) -> impl Fn(&str) -> Result<u32, String> + Clone + Send + Sync + 'static {
    move |text| {
        let number = text.parse::<u32>().ok().filter(|number| (least..=most).contains(number));
        number.ok_or_else(|| match most {
            u32::MAX => format!("`{text}` is no whole number from {least} on"),
            _ => format!("`{text}` is no whole number from {least} to {most}"),
        })
    }
}

/// The number of a trial.
fn trial(text: &str) -> Result<u32, String> {
    let is_range = text.contains("..") || text.contains('-') || text.contains(',');
    text.parse().map_err(|_| match is_range {
        true => format!("`{text}` is a range; choose one trial"),
        false => format!("`{text}` is no number of a trial; trials count from 0"),
    })
}

/// A time in milliseconds, with or without its unit.
fn milliseconds(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix("ms").unwrap_or(text).trim_end();
    number.parse().map_err(|_| format!("`{text}` is no time in milliseconds; write it like 0.5"))
}

fn percent(text: &str) -> Result<f64, String> {
    let percent = text.trim_end_matches('%').parse::<f64>().ok();
    percent
        .filter(|percent| (0.0..=100.0).contains(percent))
        .ok_or_else(|| format!("`{text}` is no percentage between 0 and 100"))
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address = address::of_this_machine(text)?;
    if address.ip().is_loopback() {
        return Ok(address);
    }
    Err("what needs no secret is for this machine only: use 127.0.0.1:PORT; elsewhere, /metrics is on the \
         address of --listen, with the secret of the access file"
        .to_owned())
}
