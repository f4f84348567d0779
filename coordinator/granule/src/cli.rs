//! The command line.

mod hints;

use std::net::SocketAddr;
use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{EnumValueParser, TypedValueParser as _};
use clap::{Args, Parser, Subcommand};
use granule_engine::Space;
use granule_outputs::table::Format;
use granule_server::view::log::LogFormat;
use granule_sweep::Filter;

pub(crate) use self::hints::parse;
use crate::address;
use crate::failure::Failure;

/// Exit codes, and their description in `--help` and the manual. A test compares docs/failures.md with it.
pub(crate) mod exit {
    /// Of `run`, `serve`, `ssh` and `batch`.
    pub(crate) const OF_SWEEPS: &str = "Exit codes: 0 complete; \
        1 a file, the disk or the network failed, or the system refuses worker processes; \
        2 wrong usage or sweep file; 3 incomplete: trials were set aside, or all workers failed or were absent; \
        4 results of a trial differed; 129 hung up; 130, 143 interrupted, terminated.";
    pub(crate) const OF_SLURM: &str = "Exit codes: 0 complete, or submitted; 1 a file, the disk or Slurm failed; \
        2 wrong usage or sweep file; 3 the job ended before the sweep was complete; \
        129 hung up; 130, 143 interrupted, cancelled.";
    pub(crate) const OF_WORKER: &str = "Exit codes: 0 the sweep is complete, or the worker drained; \
        1 refused, quarantined, or no coordinator for too long; 2 wrong usage or access file; \
        130, 143 ended by a second signal.";
    pub(crate) const OF_STATUS: &str = "Exit codes: 0 printed (with --follow: all trials are computed); \
        1 no coordinator answers (with --access); 2 wrong usage, or no output directory; \
        3 trials were set aside (with --follow).";
    pub(crate) const OF_VERIFY: &str = "Exit codes: 0 everything matches; 1 a file cannot be read, or a run is in progress; \
        2 wrong usage; 3 a file or trial does not match, or the sweep is incomplete.";
    pub(crate) const OF_IDENTIFY: &str = "Exit codes: 0 all files are identified; 1 a file cannot be read; 2 wrong usage; \
        3 a file is not identified.";
    pub(crate) const OF_REPRODUCE: &str = "Exit codes: 0 equal spikes; \
        1 a file cannot be read, or a run is in progress; 2 wrong usage; 3 the store does not have the trial; \
        4 different spikes.";
    pub(crate) const OF_TRY: &str = "Exit codes: 0 both results are equal; 1 the program failed, or gave a wrong answer; \
        2 wrong usage or model file; 4 the two results differ.";
    /// Of `export`, `figures` and `report`.
    pub(crate) const OF_EXPORT: &str = "Exit codes: 0 written; 1 a file cannot be read or written, or a run is in progress (export); \
        2 wrong usage; 3 trials are missing or a file does not match (export), or no trial is stored (figures, report).";
    pub(crate) const OF_STORE: &str = "Exit codes: 0 done; 1 a file cannot be read or written, or a run is in progress; \
        2 wrong usage, or the store does not exist; 3 verify: the store is damaged; \
        4 merge: two stores have different spikes for a trial.";

    pub(crate) use granule_system::exit::*;
}

/// Run parameter sweeps of a spiking model: the cerebellar granular layer of Fore et al. (2020), or a model of your own,
/// in any language. The output has the same bytes for any number of workers, and a sweep can be resumed at any time.
/// With `engine: brian2-2.2.1`, the output is byte for byte that of the paper's Brian2 program.
#[derive(Debug, Parser)]
#[command(
    version,
    long_version = crate::version::LONG.as_str(),
    after_help = "Exit codes: 0 done; 1 failed; 2 wrong usage or sweep file; 3 sweep incomplete, or files do not \
                  match; 4 results of a trial differed; 129 hung up (SIGHUP); 130 interrupted (Ctrl-C); \
                  143 terminated."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: CommandArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CommandArgs {
    /// Run a sweep on this machine, or resume it.
    #[command(after_help = exit::OF_SWEEPS)]
    Run(RunArgs),
    /// Run a sweep with workers on other machines, or resume it.
    #[command(after_help = exit::OF_SWEEPS)]
    Serve(Serve),
    /// Compute trials for a coordinator, on this or another machine.
    #[command(after_help = exit::OF_WORKER)]
    Worker(WorkerArgs),
    /// Run a sweep with workers that are started over ssh, or resume it.
    #[command(after_help = exit::OF_SWEEPS)]
    Ssh(SshArgs),
    /// Run a sweep as a Slurm job, from a login node. Run the command again to follow or resume it.
    #[command(after_help = exit::OF_SLURM)]
    Slurm(SlurmArgs),
    /// Run a sweep with workers that are jobs of a batch system, such as PBS, Grid Engine, LSF or HTCondor, or resume it.
    #[command(after_help = exit::OF_SWEEPS)]
    Batch(Batch),
    /// Make the key and the access file of a coordinator before it starts, for `serve --identity`.
    Identity(IdentityArgs),
    /// Print the progress of a running sweep, or the state of an output directory.
    #[command(after_help = exit::OF_STATUS)]
    Status(Status),
    /// Write a commented sweep file to start from, a model of your own, or the file of a batch system.
    Init(Init),
    /// Print the JSON Schema of sweep files or of model files, for editors.
    Schema(SchemaArgs),
    /// Compute one trial of a model of your own twice, in the foreground, and compare the results.
    #[command(after_help = exit::OF_TRY)]
    Try(Try),
    /// Run a program of the user's for a worker. Workers start this themselves.
    #[command(hide = true)]
    Guard(Guard),
    /// Print how many trials a sweep has, and estimates of time, disk and memory, without running it.
    Plan(PlanArgs),
    /// Print which trials a run would compute, and why.
    Explain(Explain),
    /// Check the files of a complete sweep.
    #[command(after_help = exit::OF_VERIFY)]
    Verify(Verify),
    /// Find out from which sweep and platform the files in a folder come, by their content.
    ///
    /// The files of the original program differ in their last bits between Linux, macOS and Windows. Files of the sweeps
    /// `ci-10trials` and `paper` are known. For files of another sweep, run the sweep and name its output directory.
    #[command(after_help = exit::OF_IDENTIFY)]
    Identify(Identify),
    /// Compute one trial again and compare it with the stored one.
    #[command(after_help = exit::OF_REPRODUCE)]
    Reproduce(Reproduce),
    /// Write spikes, rates over time, or numbers for each trial to a table; or a complete sweep to a research object.
    #[command(after_help = exit::OF_EXPORT)]
    Export(Export),
    /// Draw the paper's figures, and figures of any sweep.
    ///
    /// For a directory with the output files of one seed and no manifest, granule draws the paper's figures.
    #[command(after_help = exit::OF_EXPORT)]
    Figures(Figures),
    /// Write one HTML page about a sweep: figures, numbers, parameters.
    #[command(after_help = exit::OF_EXPORT)]
    Report(ReportArgs),
    /// Merge, check and prune stores.
    #[command(after_help = exit::OF_STORE)]
    Store(StoreArguments),
    /// Print completions for a shell.
    Completions(Completions),
    /// Print the manual, or write a manual page for each command.
    Man(Man),
}

/// Arguments of every command that runs a sweep.
#[derive(Debug, Args)]
pub(crate) struct SweepArgs {
    /// The sweep file.
    pub(crate) sweep: PathBuf,
    /// Output directory, with manifest and store [default: out/NAME-OF-THE-SWEEP].
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// The store [default: that of the last run, else store.granule in the output directory].
    #[arg(long, value_name = "FILE")]
    pub(crate) store: Option<PathBuf>,
    /// Replace files of another sweep in the output directory, and files that granule's records do not list.
    #[arg(long)]
    pub(crate) replace: bool,
    /// Percent of the trials to audit: another worker computes them again, and granule compares. The default is 1 for a
    /// model of your own, and 0 for granule's engines.
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub(crate) audit: Option<f64>,
    /// Serve the dashboard at this address, such as 127.0.0.1:7001. A port alone means loopback; port 0 uses a free one.
    /// granule prints the URL, which has a token if the address is not loopback.
    #[arg(long, value_name = "ADDR", value_parser = address::of_this_machine)]
    pub(crate) dashboard: Option<SocketAddr>,
    /// Print a summary as one line of JSON at the end, also after a failure.
    #[arg(long)]
    pub(crate) json: bool,
    /// Format of messages on standard error.
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = EnumValueParser::<LogFormatArg>::new().map(LogFormat::from))]
    pub(crate) log_format: LogFormat,
    /// Trials in a shard, the unit that granule leases to a worker [default: about two seconds of work].
    /// Results do not depend on it.
    #[arg(long, value_name = "N", value_parser = whole(1, u32::MAX), hide_short_help = true)]
    pub(crate) shard_trials: Option<u32>,
    /// If a worker sends no message for this many seconds, its trials go to other workers.
    #[arg(long, value_name = "S", default_value_t = 30, value_parser = whole(1, 86400), hide_short_help = true)]
    pub(crate) lease_seconds: u32,
    /// Executable of the coordinator's own worker processes [default: this one].
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    pub(crate) worker_program: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) common: SweepArgs,
    /// Worker processes to start [default: the machine's cores, divided by the threads that a trial of your own model
    /// uses].
    #[arg(long, value_name = "N", value_parser = whole(1, 1024))]
    pub(crate) workers: Option<u32>,
    /// Loopback address at which the coordinator listens for its workers; port 0 uses a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0", value_parser = address::of_this_machine)]
    pub(crate) listen: SocketAddr,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) common: SweepArgs,
    /// Address at which to listen for workers, such as 10.0.0.5:7000. A port alone listens on all interfaces,
    /// like 0.0.0.0:7000; port 0 uses a free one. Connections that are not on loopback are encrypted.
    #[arg(long, value_name = "ADDR", value_parser = address::of_all_networks)]
    pub(crate) listen: SocketAddr,
    /// Name or address at which workers reach this machine, if it differs from the machine's own [default: its addresses].
    #[arg(long, value_name = "HOST[:PORT]")]
    pub(crate) advertise: Option<String>,
    /// The network interface over which workers reach this machine, such as ib0 [default: all].
    #[arg(long, value_name = "NAME", conflicts_with = "advertise")]
    pub(crate) interface: Option<String>,
    /// Where to write the access file for workers [default: access.json in the output directory]. The file system must
    /// support Unix file modes.
    #[arg(long, value_name = "FILE")]
    pub(crate) access: Option<PathBuf>,
    /// Replace a file at --access that is not an access file.
    #[arg(long)]
    pub(crate) force: bool,
    /// Your own certificate, PEM, with its chain [default: granule makes one].
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(crate) certificate: Option<PathBuf>,
    /// The private key of that certificate, PEM.
    #[arg(long, value_name = "FILE", requires = "certificate")]
    pub(crate) key: Option<PathBuf>,
    /// Use the key and the access file in this directory, which `granule identity` made.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["advertise", "interface", "access", "certificate", "key"])]
    pub(crate) identity: Option<PathBuf>,
    /// Worker processes to start on this machine.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = whole(0, 1024))]
    pub(crate) workers: u32,
    /// Stop if no worker is connected for this long, such as 90s, 45m or 2h30m [default: never].
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) give_up_after: Option<Duration>,
    /// Serve /metrics and /health without a secret at this loopback address or port, such as 127.0.0.1:9464; port 0 uses
    /// a free one. granule prints the URL.
    #[arg(long, value_name = "ADDR", value_parser = loopback)]
    pub(crate) metrics: Option<SocketAddr>,
}

#[derive(Debug, Args)]
pub(crate) struct Batch {
    #[command(flatten)]
    pub(crate) common: SweepArgs,
    /// The batch system: htcondor, local, lsf, pbs, sge or slurm; or the path of its file.
    #[arg(long, value_name = "SYSTEM")]
    pub(crate) system: String,
    /// Jobs to keep in the queue or running; each is one worker.
    #[arg(long, value_name = "N", value_parser = whole(1, 10_000))]
    pub(crate) jobs: u32,
    /// Cores of each job: trials that it computes at a time.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = whole(1, 1024))]
    pub(crate) threads: u32,
    /// Time limit of each job, such as 45m, 2h30m or 12:00:00 [default: that of the queue]. One minute before, its worker
    /// drains.
    #[arg(long, value_name = "TIME", value_parser = limit)]
    pub(crate) time: Option<Duration>,
    /// Address at which to listen for workers; by default a free port on all interfaces.
    #[arg(long, value_name = "ADDR", default_value = "0", value_parser = address::of_all_networks)]
    pub(crate) listen: SocketAddr,
    /// The network interface over which workers reach this machine, such as ib0 [default: all].
    #[arg(long, value_name = "NAME")]
    pub(crate) interface: Option<String>,
    /// The program on the nodes, as a path, or as a name in the PATH of the nodes [default: this one].
    #[arg(long, value_name = "FILE")]
    pub(crate) granule: Option<PathBuf>,
    /// Stop if no worker is connected for this long, such as 90s, 45m or 2h30m [default: never].
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) give_up_after: Option<Duration>,
    /// Further options for the command that submits a job, such as a queue.
    #[arg(last = true, value_name = "OPTIONS")]
    pub(crate) options: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct WorkerArgs {
    /// The access file of the coordinator, or a copy; - reads standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "supervised")]
    pub(crate) access: Option<PathBuf>,
    /// Wait for the access file if it does not exist yet.
    #[arg(long, requires = "access")]
    pub(crate) wait: bool,
    /// Trials to compute at a time [default: the machine's cores].
    #[arg(long, value_name = "N", value_parser = whole(1, 1024))]
    pub(crate) threads: Option<u32>,
    /// Drain after running for this long: 90s, 45m, 2h30m, or 12:00:00 for 12 hours.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) time_limit: Option<Duration>,
    /// Drain if the coordinator gives this worker no work for this long.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) idle_timeout: Option<Duration>,
    /// Stop if the worker cannot reach a coordinator for this long [default: 10m].
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) give_up_after: Option<Duration>,
    /// Exit code if the worker drains before the sweep is complete: on a signal, at its time limit or at its
    /// idle timeout.
    #[arg(long, value_name = "CODE", default_value_t = 0)]
    pub(crate) leave_with: u8,
    /// Format of messages on standard error.
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = EnumValueParser::<LogFormatArg>::new().map(LogFormat::from))]
    pub(crate) log_format: LogFormat,
    /// Read access and name from standard input, and end when it closes. `run` and `serve` start their workers this way.
    #[arg(long, hide = true)]
    pub(crate) supervised: bool,
    /// Run the program of this model file, for a sweep of this model. A worker runs no other program.
    #[arg(long, value_name = "FILE")]
    pub(crate) model: Option<PathBuf>,
    /// The same, with the connection to the coordinator over standard input and output. `ssh` starts its workers this way.
    #[arg(long, hide = true, conflicts_with_all = ["supervised", "access"])]
    pub(crate) piped: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SshArgs {
    /// Hosts as `ssh` names them, such as node1,ann@node2, or @FILE with one host a line. 8/node3 computes eight trials
    /// at a time there [default: the machine's cores].
    pub(crate) hosts: String,
    #[command(flatten)]
    pub(crate) common: SweepArgs,
    /// Worker processes to start on this machine.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = whole(0, 1024))]
    pub(crate) workers: u32,
    /// The program granule on those machines: a name, or a path from the home directory there.
    #[arg(long, value_name = "FILE", default_value = "granule")]
    pub(crate) granule: String,
    /// The model file on those machines, for a sweep of a model of your own [default: the same path as here].
    #[arg(long, value_name = "FILE")]
    pub(crate) model: Option<String>,
    /// Stop if no worker is connected for this long, such as 90s, 45m or 2h30m.
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration)]
    pub(crate) give_up_after: Duration,
    /// Options for ssh, passed unchanged.
    #[arg(last = true, value_name = "SSH OPTIONS")]
    pub(crate) options: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct SlurmArgs {
    /// The sweep file.
    pub(crate) sweep: PathBuf,
    /// Output directory, with manifest, store, job script and logs, on a file system that the nodes share
    /// [default: out/NAME-OF-THE-SWEEP].
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// The store [default: that of the last run, else store.granule in the output directory].
    #[arg(long, value_name = "FILE")]
    pub(crate) store: Option<PathBuf>,
    /// Replace files of another sweep in the output directory, and files that granule's records do not list.
    #[arg(long, conflicts_with = "attach")]
    pub(crate) replace: bool,
    /// Replace a job script in the output directory that was changed, or that granule did not write.
    #[arg(long)]
    pub(crate) force: bool,
    /// Nodes, each with a worker on all of its cores.
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "workers", value_parser = whole(1, 100_000))]
    pub(crate) nodes: u32,
    /// Workers, on any nodes with free cores.
    #[arg(long, value_name = "N", value_parser = whole(1, 100_000))]
    pub(crate) workers: Option<u32>,
    /// Cores for each worker, with --workers.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "workers", value_parser = whole(1, 1024))]
    pub(crate) cores: u32,
    /// Time limit of the job in Slurm's format: minutes, 2:00:00, or 1-12 (1 day 12 hours)
    /// [default: that of the partition].
    #[arg(long, value_name = "TIME")]
    pub(crate) time: Option<String>,
    /// Slurm's partition.
    #[arg(long, value_name = "NAME")]
    pub(crate) partition: Option<String>,
    /// A file with shell commands that the job script runs first: modules, environments, exports.
    #[arg(long, value_name = "FILE")]
    pub(crate) setup: Option<PathBuf>,
    /// The network interface over which the nodes reach the coordinator, such as ib0 [default: all].
    #[arg(long, value_name = "NAME", conflicts_with = "attach")]
    pub(crate) interface: Option<String>,
    /// The model file on the nodes, for a sweep of a model of your own [default: the one of the sweep file].
    #[arg(long, value_name = "FILE")]
    pub(crate) model: Option<PathBuf>,
    /// Percent of the trials to audit: another worker computes them again, and granule compares. The default is 1 for a
    /// model of your own, and 0 for granule's engines.
    #[arg(long, value_name = "PERCENT", value_parser = percent, conflicts_with = "attach")]
    pub(crate) audit: Option<f64>,
    /// Submit workers for a coordinator (`granule serve`) of this sweep that is running elsewhere. Each
    /// worker is one Slurm job. granule keeps up to --nodes or --workers of them queued or running while trials remain.
    #[arg(long, conflicts_with_all = ["detach", "store"])]
    pub(crate) attach: bool,
    /// Submit the job and return at once.
    #[arg(long)]
    pub(crate) detach: bool,
    /// Print the script without submitting it.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// The program granule on the nodes [default: this one].
    #[arg(long, value_name = "FILE")]
    pub(crate) granule: Option<PathBuf>,
    /// Trials in a shard, the unit that granule leases to a worker [default: about two seconds of work].
    /// Results do not depend on it.
    #[arg(long, value_name = "N", value_parser = whole(1, u32::MAX), hide_short_help = true)]
    pub(crate) shard_trials: Option<u32>,
    /// With --attach, a worker drains if it has no work for this long.
    #[arg(long, value_name = "TIME", default_value = "2m", requires = "attach", value_parser = duration_as_given, hide_short_help = true)]
    pub(crate) idle_timeout: String,
    /// Options for sbatch, passed unchanged.
    #[arg(last = true, value_name = "SBATCH OPTIONS")]
    pub(crate) options: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct IdentityArgs {
    /// Directory for `coordinator.pem` and `access.json`.
    pub(crate) directory: PathBuf,
    /// Name or address at which workers will reach the coordinator.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) advertise: String,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// The output directory of a sweep, during or after a run.
    pub(crate) out: Option<PathBuf>,
    /// Query the coordinator that this access file (or a copy of it) names.
    #[arg(long, value_name = "FILE", conflicts_with = "out")]
    pub(crate) access: Option<PathBuf>,
    /// Keep printing until all trials are computed. If no coordinator is running, wait until one starts.
    #[arg(long)]
    pub(crate) follow: bool,
    /// Print JSON, one object a line.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// The file to write, or with --model the model file, such as lif.model.yaml; - prints a single file. An existing file
    /// is not changed [default: sweep.yaml, or my-model.model.yaml].
    pub(crate) file: Option<PathBuf>,
    /// Write a model of your own: a model file, a program in this language and a sweep file.
    #[arg(long, value_name = "LANGUAGE")]
    pub(crate) model: Option<Language>,
    /// Write the file of a batch system, to change it for your site: htcondor, local, lsf, pbs, sge or slurm. `granule batch
    /// --system FILE` uses it [default FILE: SYSTEM.batch.yaml].
    #[arg(long, value_name = "SYSTEM", conflicts_with = "model")]
    pub(crate) batch: Option<String>,
}

/// A language of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Language {
    /// Python with numpy.
    Python,
    /// C without any library.
    C,
}

#[derive(Debug, Args)]
pub(crate) struct SchemaArgs {
    /// Print the schema of model files.
    #[arg(long)]
    pub(crate) model: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Try {
    /// The model file.
    pub(crate) model: PathBuf,
    /// A parameter and its value, such as synapse.weight='2 nS'. May be repeated.
    #[arg(long, value_name = "PATH=VALUE")]
    pub(crate) set: Vec<String>,
    /// The seed.
    #[arg(long, value_name = "SEED", default_value = "1", value_parser = one_seed)]
    pub(crate) seed: u32,
    /// The trial; trials are numbered from 0.
    #[arg(long, value_name = "N", default_value = "0", value_parser = trial)]
    pub(crate) trial: u32,
}

#[derive(Debug, Args)]
pub(crate) struct Guard {
    /// Process id of the worker.
    #[arg(long)]
    pub(crate) parent: i32,
    /// Limit on the memory of the program's processes, in bytes.
    #[arg(long)]
    pub(crate) memory: Option<u64>,
    /// The program and its arguments.
    #[arg(last = true, required = true)]
    pub(crate) program: Vec<std::ffi::OsString>,
}

/// A sweep and where its outputs are or will be.
#[derive(Debug, Args)]
pub(crate) struct PlannedArgs {
    /// The sweep file.
    pub(crate) sweep: PathBuf,
    /// Output directory, with manifest and store [default: out/NAME-OF-THE-SWEEP].
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// The store [default: that of the last run of the sweep, else DIR/store.granule].
    #[arg(long, value_name = "FILE")]
    pub(crate) store: Option<PathBuf>,
    /// Assume `granule run --replace`.
    #[arg(long)]
    pub(crate) replace: bool,
    /// Print JSON, one object on one line.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) planned: PlannedArgs,
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    #[command(flatten)]
    pub(crate) planned: PlannedArgs,
    #[command(flatten)]
    pub(crate) only: Only,
    /// Only this trial; trials are numbered from 0.
    #[arg(long, value_name = "N", value_parser = trial)]
    pub(crate) trial: Option<u32>,
}

/// An output directory at rest.
#[derive(Debug, Args)]
pub(crate) struct Resting {
    /// The output directory.
    pub(crate) out: PathBuf,
    /// The store [default: that of the last run].
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
    /// Derive every file from the stored spikes again, not only the spike probabilities.
    #[arg(long, conflicts_with = "files_only")]
    pub(crate) all: bool,
    /// Check the files only, without the store.
    #[arg(long)]
    pub(crate) files_only: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Identify {
    /// The folder, or one file. Folders in it are searched, too.
    pub(crate) folder: PathBuf,
    /// The output directory of a complete sweep. Its files are derived for each platform and compared.
    #[arg(long, value_name = "OUT")]
    pub(crate) of: Option<PathBuf>,
    /// The store of that sweep [default: that of its last run].
    #[arg(long, value_name = "FILE", requires = "of")]
    pub(crate) store: Option<PathBuf>,
    /// Print JSON, one object on one line.
    #[arg(long)]
    pub(crate) json: bool,
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
    /// The trial; trials are numbered from 0.
    #[arg(long, value_name = "N", value_parser = trial)]
    pub(crate) trial: u32,
    /// The model file, for a sweep of a model of your own.
    #[arg(long, value_name = "FILE")]
    pub(crate) model: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["to", "psth", "measures", "trials", "research_object"]).multiple(true))]
pub(crate) struct Export {
    #[command(flatten)]
    pub(crate) resting: Resting,
    /// Write all spikes to this file: .parquet, .npz, .csv or .json; - is standard output, as CSV or JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) to: Option<PathBuf>,
    /// Write spike counts and rates over time to this file: .parquet, .npz, .csv or .json; - is standard output.
    #[arg(long, value_name = "FILE")]
    pub(crate) psth: Option<PathBuf>,
    /// Write the measures of every condition and seed to this file: .parquet, .npz, .csv or .json; - is standard output.
    /// Parameters that differ between conditions have columns, too.
    #[arg(long, value_name = "FILE")]
    pub(crate) measures: Option<PathBuf>,
    /// The same for every trial, with the number of spikes of each population.
    #[arg(long, value_name = "FILE")]
    pub(crate) trials: Option<PathBuf>,
    /// Write the output files of a complete sweep, and their description as a Workflow Run RO-Crate, to this zip file.
    #[arg(long = "crate", value_name = "FILE", conflicts_with_all = ["to", "psth", "measures", "trials", "conditions", "wheres", "seeds", "format"])]
    pub(crate) research_object: Option<PathBuf>,
    /// Web address of the licence of the data in the crate [default: the crate states that no licence was chosen].
    #[arg(long, value_name = "URL", requires = "research_object", conflicts_with_all = ["to", "psth", "measures", "trials"], value_parser = web_address)]
    pub(crate) license: Option<String>,
    /// Width of a bin of --psth in ms, a whole number of steps.
    #[arg(long, value_name = "MS", default_value_t = 1.0, requires = "psth", value_parser = milliseconds)]
    pub(crate) bin: f64,
    /// The response window of --measures and --trials in ms of a trial. FROM is included, TO is not [default: from 10 ms
    /// before the first stimulus to 30 ms after the last].
    #[arg(long, value_name = "FROM..TO", value_parser = window)]
    pub(crate) window: Option<Range<usize>>,
    #[command(flatten)]
    pub(crate) only: Only,
    /// Replace an existing file even if granule did not write it.
    #[arg(long)]
    pub(crate) force: bool,
    /// Format of the file [default: by the ending of its name].
    #[arg(long, value_name = "FORMAT", value_parser = EnumValueParser::<TableFormat>::new().map(Format::from))]
    pub(crate) format: Option<Format>,
}

/// [`LogFormat`], as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum LogFormatArg {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

impl From<LogFormatArg> for LogFormat {
    fn from(said: LogFormatArg) -> LogFormat {
        match said {
            LogFormatArg::Text => LogFormat::Text,
            LogFormatArg::Json => LogFormat::Json,
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
    /// An array of one object a row.
    Json,
}

impl From<TableFormat> for Format {
    fn from(format: TableFormat) -> Format {
        match format {
            TableFormat::Parquet => Format::Parquet,
            TableFormat::Npz => Format::Npz,
            TableFormat::Csv => Format::Csv,
            TableFormat::Json => Format::Json,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Figures {
    #[command(flatten)]
    pub(crate) resting: Resting,
    /// Directory for the figures [default: `figures` in the output directory].
    #[arg(long, value_name = "DIR")]
    pub(crate) to: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) chosen: Chosen,
    /// Formats of the pictures, separated by commas.
    #[arg(long, value_name = "FORMATS", value_delimiter = ',', default_values = ["pdf", "svg", "png"])]
    pub(crate) format: Vec<PictureFormat>,
    /// Replace files that granule did not draw, or that were changed.
    #[arg(long)]
    pub(crate) force: bool,
    /// Resolution of PNG files.
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = whole(30, 1200))]
    pub(crate) dpi: u32,
}

#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    #[command(flatten)]
    pub(crate) resting: Resting,
    /// The page [default: `report.html` in the output directory].
    #[arg(long, value_name = "FILE")]
    pub(crate) to: Option<PathBuf>,
    /// Replace an existing file even if granule did not write it.
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) chosen: Chosen,
}

/// Conditions and seeds of a sweep; all of them if nothing is given.
#[derive(Debug, Args)]
pub(crate) struct Only {
    /// Only these conditions. In a name, * matches any characters and ? matches one.
    #[arg(long, alias = "condition", value_name = "NAMES", value_delimiter = ',')]
    pub(crate) conditions: Vec<String>,
    /// Only conditions with these values, such as `granule.tonic_factor=1`; operators =, <, >, <= and >=, units as in a
    /// sweep file. If there are several, separated by commas or in several options, all must hold.
    #[arg(long = "where", value_name = "VALUES")]
    pub(crate) wheres: Vec<String>,
    /// Only these seeds, such as 7, or 1..20 with both ends included. Separate several by commas.
    #[arg(long, alias = "seed", value_name = "SEEDS", value_delimiter = ',', value_parser = granule_sweep::parse_seeds)]
    pub(crate) seeds: Vec<RangeInclusive<u32>>,
}

impl Only {
    /// Returns all filters, for a sweep with these parameters.
    ///
    /// # Errors
    /// When a filter cannot be read.
    pub(crate) fn filters(&self, space: &'static Space) -> Result<Vec<Filter>, Failure> {
        let filters = self.wheres.iter().map(|text| {
            Filter::parse_all(space, text).map_err(|problem| {
                let message = format!("error: invalid value '{text}' for '--where <VALUES>': {problem}");
                Failure::new(exit::USAGE, message)
            })
        });
        Ok(filters.collect::<Result<Vec<_>, _>>()?.concat())
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

/// The part of a sweep to draw.
#[derive(Debug, Args)]
pub(crate) struct Chosen {
    #[command(flatten)]
    pub(crate) only: Only,
    /// The response window in ms of a trial. FROM is included, TO is not [default: from 10 ms before the first stimulus
    /// to 30 ms after the last].
    #[arg(long, value_name = "FROM..TO", value_parser = window)]
    pub(crate) window: Option<Range<usize>>,
    /// The trial of the raster [default: 0].
    #[arg(long, value_name = "N", value_parser = trial)]
    pub(crate) trial: Option<u32>,
    /// The condition with which all others are compared [default: Control, or the first].
    #[arg(long, value_name = "CONDITION")]
    pub(crate) reference: Option<String>,
}

fn window(text: &str) -> Result<Range<usize>, String> {
    let wrong = || "expected FROM..TO in whole ms, such as 1000..1060".to_owned();
    let (from, to) = text.split_once("..").ok_or_else(wrong)?;
    let [from, to] = [from, to].map(|ms| ms.trim().parse::<usize>().map_err(|_| wrong()));
    let window = from?..to?;
    // An integral needs two points.
    if window.len() < 2 { Err("expected at least 2 ms".to_owned()) } else { Ok(window) }
}

/// Format of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum PictureFormat {
    /// Vectors with embedded fonts.
    Pdf,
    /// Vectors, with searchable text.
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
    /// Add missing trials from other stores to a store.
    Merge(StoreMerge),
    /// Read and check a whole store.
    Verify(StoreVerify),
    /// Drop the trials that no given sweep needs.
    Prune(StorePrune),
}

#[derive(Debug, Args)]
pub(crate) struct StoreMerge {
    /// The store to add to; it is created if it does not exist.
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
    /// Sweep files whose trials are kept. Name the store before this option, because it takes all names that follow.
    #[arg(long, value_name = "SWEEP", required = true, num_args = 1..)]
    pub(crate) keep: Vec<PathBuf>,
    /// Print what would be dropped, without dropping it.
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
    /// Directory for a page for each command [default: print one page for all].
    pub(crate) directory: Option<PathBuf>,
    /// Replace existing files even if granule did not write them.
    #[arg(long)]
    pub(crate) force: bool,
}

/// A time, as people and Slurm write it.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || {
        format!(
            "`{text}` is not a duration; write it like 90s, 45m, 2h30m or 12:00:00 (hours:minutes:seconds)"
        )
    };
    if let Ok(seconds) = text.parse::<u32>() {
        return Ok(Duration::from_secs(seconds.into()));
    }
    let duration: jiff::SignedDuration = text.parse().map_err(|_| wrong())?;
    Duration::try_from(duration).map_err(|_| wrong())
}

/// A time limit. A number without a unit would be seconds here and minutes in Slurm.
fn limit(text: &str) -> Result<Duration, String> {
    let limit = duration(text)?;
    if limit.is_zero() || text.parse::<u32>().is_ok() {
        return Err(format!(
            "`{text}` is not a time limit; write it like 90s, 45m, 2h30m or 12:00:00 (hours:minutes:seconds)"
        ));
    }
    Ok(limit)
}

/// A time that a worker will read.
fn duration_as_given(text: &str) -> Result<String, String> {
    duration(text).map(|_| text.to_owned())
}

fn one_seed(text: &str) -> Result<u32, String> {
    let range = granule_sweep::parse_seeds(text)?;
    let is_one = range.start() == range.end();
    is_one.then_some(*range.start()).ok_or_else(|| format!("`{text}` is a range; choose one seed"))
}

/// A whole number within these bounds.
fn whole(least: u32, most: u32) -> impl Fn(&str) -> Result<u32, String> + Clone + Send + Sync + 'static {
    move |text| {
        let number = text.parse::<u32>().ok().filter(|number| (least..=most).contains(number));
        number.ok_or_else(|| match most {
            u32::MAX => format!("`{text}` is not a whole number of at least {least}"),
            _ => format!("`{text}` is not a whole number from {least} to {most}"),
        })
    }
}

/// The number of a trial.
fn trial(text: &str) -> Result<u32, String> {
    let is_range = text.contains("..") || text.contains('-') || text.contains(',');
    text.parse().map_err(|_| match is_range {
        true => format!("`{text}` is a range; choose one trial"),
        false => format!("`{text}` is not the number of a trial; trials are numbered from 0"),
    })
}

/// A time in milliseconds, with or without its unit.
fn milliseconds(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix("ms").unwrap_or(text).trim_end();
    number.parse().map_err(|_| format!("`{text}` is not a time in milliseconds; write it like 0.5"))
}

fn web_address(text: &str) -> Result<String, String> {
    let is_in_uri = |c: char| c.is_ascii_graphic() && !"\"<>\\^`{|}".contains(c);
    let host = text.strip_prefix("https://").or(text.strip_prefix("http://"));
    match host.is_some_and(|host| !host.is_empty()) && text.chars().all(is_in_uri) {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "`{text}` is not a web address; write it like https://creativecommons.org/licenses/by/4.0/"
        )),
    }
}

fn percent(text: &str) -> Result<f64, String> {
    let percent = text.trim_end_matches('%').parse::<f64>().ok();
    percent
        .filter(|percent| (0.0..=100.0).contains(percent))
        .ok_or_else(|| format!("`{text}` is not a percentage between 0 and 100"))
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address = address::of_this_machine(text)?;
    if address.ip().is_loopback() {
        return Ok(address);
    }
    Err("metrics without a secret are served on loopback only: use 127.0.0.1:PORT. From other machines, read \
        /metrics at the address of --listen, with the secret of the access file"
        .to_owned())
}
