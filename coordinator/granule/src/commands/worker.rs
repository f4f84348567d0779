//! `granule worker`: computes trials for a coordinator.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use granule_engine::Engines;
use granule_farm::session::{Introduction, Patience, SessionEnd};
use granule_program::Runner;
use granule_server::view::log::{self, line};
use granule_system::limits;
use granule_system::os;
use granule_system::standard::{StandardInput, StandardOutput};
use granule_system::threads;
use granule_text::plural;
use granule_worker::access::Access;
use granule_worker::program::Processes;
use granule_worker::{AnyStream, PIPED_GREETING, Way, WorkerConfig, WorkerError, WorkerProgress};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::sync::mpsc;

use crate::cli::{self, exit};
use crate::commands::signals::Signals;
use crate::commands::sweep_file::read_model;
use crate::commands::this_machine::{cores, host};
use crate::failure::Failure;

/// How long a worker looks for its coordinator by default.
const GIVE_UP_AFTER: Duration = Duration::from_secs(600);

/// Longest line of standard input, in bytes.
const LONGEST_ORDER: u64 = 64 << 10;

pub(crate) fn run(arguments: &cli::WorkerArgs) -> Result<(), Failure> {
    // By this code, its coordinator knows that the system refused a thread or a file, and does not count a death.
    let starved = if arguments.supervised { exit::STARVED } else { exit::FAILED };
    let runtime = threads::runtime().map_err(|error| Failure::caused_by(starved, &error, None))?;
    let threads = arguments.threads.unwrap_or_else(cores);
    let (way, name, threads) = if arguments.supervised {
        let (access, name) = orders(std::io::stdin().lock().lines().map_while(Result::ok))?;
        runtime
            .block_on(async { end_with_the_supervisor() })
            .map_err(|error| Failure::caused_by(starved, &error, None))?;
        (Way::Given(Box::new(access)), name, 1)
    } else if arguments.piped {
        let (way, name) = runtime.block_on(piped())?;
        (way, name, threads)
    } else {
        let Some(path) = &arguments.access else {
            let message = "error: missing --access FILE\n  help: pass the access file that `granule serve` \
                wrote, or a copy of it";
            return Err(Failure::new(exit::USAGE, message));
        };
        let way = if Access::is_read_once(path) {
            let access = Access::read(path);
            Way::Given(Box::new(access.map_err(|error| Failure::caused_by(exit::USAGE, &error, None))?))
        } else {
            Way::File { path: path.clone(), is_awaited: arguments.wait }
        };
        (way, rand::random(), threads)
    };
    // By this code, its coordinator knows that another worker on this machine could not compute either.
    let unfit = if arguments.supervised || arguments.piped { exit::UNFIT } else { exit::FAILED };
    let started = arguments.model.as_ref().map(|path| start_program(path, threads, unfit)).transpose()?;
    let (engines, packages, threads) = match &started {
        None => (crate::engines::ENGINES, BTreeMap::new(), threads),
        Some(started) => (started.engines, started.packages.clone(), started.threads),
    };
    let introduction = Introduction {
        engines,
        packages,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        threads,
        host: host(),
        process_id: std::process::id(),
        name,
    };
    let patience = Patience {
        give_up_after: arguments.give_up_after.unwrap_or(GIVE_UP_AFTER),
        idle_timeout: arguments.idle_timeout,
        time_limit: arguments.time_limit,
    };
    let (drain, drained) = mpsc::channel(1);
    let has_changed = Arc::new(Mutex::new(None));
    if let Some(started) = &started {
        let (drain, changed) = (drain.clone(), Arc::clone(&has_changed));
        started.processes.on_change(Box::new(move |what| {
            // A worker that drains already needs no second reason.
            let _ = drain.try_send(what.clone());
            changed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(what);
        }));
    }
    let config = WorkerConfig { way, introduction, patience };
    let is_watched = !arguments.supervised && !arguments.piped;
    let mut told = None;
    let tell = |progress: WorkerProgress| {
        // A supervisor sees this itself, and takes any output as last words. Repeated attempts to connect need no
        // repeated messages.
        if is_watched && told.as_ref() != Some(&progress) {
            tell(&progress);
            told = Some(progress);
        }
    };
    let result = runtime.block_on(async {
        tokio::spawn(listen_for_signals(drain));
        granule_worker::run(config, drained, tell).await
    });
    // So that their CPU time counts.
    started.iter().for_each(|started| started.processes.end());
    if let Some(what) = has_changed.lock().unwrap_or_else(PoisonError::into_inner).take() {
        let help = if arguments.supervised { "" } else { "\n  help: start the worker again" };
        return Err(Failure::new(unfit, format!("error: {what}{help}")));
    }
    match result {
        Ok(SessionEnd::Goodbye { reason }) => {
            if is_watched {
                line(&format!("done: {reason}"));
            }
            // Threads may still be computing results that are no longer needed.
            log::exit(0)
        }
        Ok(SessionEnd::Drained { reason }) => {
            if is_watched {
                line(&format!("drained: {reason}; the coordinator has all results"));
            }
            log::exit(arguments.leave_with)
        }
        Ok(SessionEnd::Refused { reason }) => {
            let code = if started.is_some() { unfit } else { exit::FAILED };
            Err(Failure::new(code, format!("error: the coordinator refuses this worker: {reason}")))
        }
        Ok(SessionEnd::GaveUp { after, undelivered }) => {
            let lost = if undelivered == 0 {
                String::new()
            } else {
                format!(
                    "; {} not delivered, which other workers must compute again",
                    plural(undelivered as u64, "result")
                )
            };
            let message = format!(
                "error: could not reach the coordinator for {} s{lost}\n  help: start the coordinator again, then \
                    this worker; --give-up-after sets how long it waits",
                after.as_secs()
            );
            Err(Failure::new(exit::FAILED, message))
        }
        Err(error) => {
            let code = match error {
                WorkerError::Thread(_) => starved,
                WorkerError::Access(_) => exit::USAGE,
                WorkerError::CutOff { .. } => exit::CUT_OFF,
                _ => exit::FAILED,
            };
            Err(Failure::caused_by(code, &error, None))
        }
    }
}

/// The program of a model of the user's own, started.
struct StartedProgram {
    engines: Engines,
    processes: Arc<Processes>,
    /// Versions that the program reports.
    packages: BTreeMap<String, String>,
    /// Trials to compute at a time.
    threads: u32,
}

/// Starts the program of a model file.
fn start_program(path: &Path, threads: u32, unfit: u8) -> Result<StartedProgram, Failure> {
    let is_ours = unfit == exit::UNFIT;
    let (model, program) = read_model(path).map_err(|failure| match is_ours {
        true => Failure { code: unfit, ..failure },
        false => failure,
    })?;
    let granule = os::this_program().map_err(|error| Failure::caused_by(exit::FAILED, &error, None))?;
    // A worker uses all the threads that it may use, and no more.
    let threads = (threads / program.file().threads).max(1);
    let processes = Arc::new(Processes::new(model, program, granule, threads));
    let packages = processes.versions().map_err(|error| {
        let help = "`granule try MODEL` runs the program in the foreground";
        Failure::caused_by(unfit, &error, Some(help).filter(|_| !is_ours))
    })?;
    let runner: Arc<dyn Runner> = Arc::clone(&processes) as _;
    program.attach(&runner);
    Ok(StartedProgram { engines: vec![program.engine()].leak(), processes, packages, threads })
}

fn tell(progress: &WorkerProgress) {
    let (event, text) = match progress {
        WorkerProgress::Connected { address, threads } => {
            ("connected", format!("connected to {address}, {}", plural((*threads).into(), "thread")))
        }
        WorkerProgress::FewThreads { threads, reason: (reason, code) } => {
            let limit =
                code.map(std::io::Error::from_raw_os_error).and_then(|error| limits::behind_io(&error));
            let limit = limit.map(|limit| format!(": {limit}")).unwrap_or_default();
            (
                "few_threads",
                format!("computing with {} only: {reason}{limit}", plural((*threads).into(), "thread")),
            )
        }
        WorkerProgress::Disconnected { reason } => {
            ("disconnected", format!("not connected: {reason}; trying again"))
        }
        WorkerProgress::Draining { reason } => {
            ("draining", format!("draining: {reason}; a second signal stops it at once"))
        }
    };
    log::event(event, &text);
}

/// Drains the worker on the first signal, and ends it at once on the second.
async fn listen_for_signals(drain: mpsc::Sender<String>) {
    // Without handlers, the signals end the process, which loses nothing either.
    let Ok(mut signals) = Signals::new() else { return drain.closed().await };
    let stop = signals.next().await;
    let _ = drain.send(format!("it got a signal ({})", stop.name())).await;
    log::exit(signals.next().await.code())
}

/// Parses the orders of the supervisor on standard input: the access to the coordinator, and this worker's name.
fn orders(mut lines: impl Iterator<Item = String>) -> Result<(Access, [u8; 16]), Failure> {
    let (Some(access), Some(name)) = (lines.next(), lines.next()) else {
        let message = "error: --supervised and --piped are only for workers that granule starts";
        return Err(Failure::new(exit::USAGE, message));
    };
    let access =
        Access::parse(access.as_bytes()).map_err(|error| Failure::caused_by(exit::USAGE, &error, None))?;
    let name = u128::from_str_radix(name.trim_end(), 16)
        .map_err(|error| Failure::caused_by(exit::USAGE, &error, None))?;
    Ok((access, name.to_be_bytes()))
}

/// Connects to a coordinator over the standard streams: sends the greeting, and reads the orders.
async fn piped() -> Result<(Way, [u8; 16]), Failure> {
    let failed = |error| Failure::caused_by(exit::CUT_OFF, &error, None);
    let mut output = StandardOutput::of(io::stdout()).map_err(failed)?;
    // The last line of a login script's output may have no end.
    let greeting = format!("\n{PIPED_GREETING}{}\n", env!("CARGO_PKG_VERSION"));
    output.write_all(greeting.as_bytes()).await.map_err(failed)?;
    output.flush().await.map_err(failed)?;
    // All bytes after the orders belong to the connection, also those that are read with the orders.
    let mut input = BufReader::new(StandardInput::of(io::stdin()).map_err(failed)?);
    let mut lines = [String::new(), String::new()];
    for line in &mut lines {
        (&mut input).take(LONGEST_ORDER).read_line(line).await.map_err(failed)?;
    }
    let (access, name) = orders(lines.into_iter().filter(|line| !line.is_empty()))?;
    let stream: Box<dyn AnyStream> = Box::new(tokio::io::join(input, output));
    Ok((Way::Open(Box::new(access), Arc::new(Mutex::new(Some(stream)))), name))
}

/// Ends the process when standard input closes, as it does however the supervisor ends. Must be called in a runtime.
fn end_with_the_supervisor() -> io::Result<()> {
    let mut input = StandardInput::of(io::stdin())?;
    tokio::spawn(async move {
        let mut buffer = [0; 64];
        while input.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
        log::exit(exit::FAILED)
    });
    Ok(())
}
