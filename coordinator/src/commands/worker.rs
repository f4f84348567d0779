//! `granule worker`: computes for a coordinator.

use std::io::{BufRead as _, Read as _};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use granule_worker::access::Access;
use granule_worker::session::{End, Introduction, Patience};
use granule_worker::{Config, PIPED_GREETING, Progress, Stream, Way, WorkerError};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::cli::{self, exit};
use crate::commands::run::cores;
use crate::failure::{Failure, plural};
use crate::view::log::{self, line};

/// How long a worker looks for its coordinator, if it is not told.
const GIVE_UP_AFTER: Duration = Duration::from_secs(600);

/// Bytes of the longest line that we are told on standard input.
const LONGEST_ORDER: u64 = 64 << 10;

pub(crate) fn run(arguments: &cli::Worker) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::caused_by(exit::FAILED, &error, None))?;
    let threads = arguments.threads.unwrap_or_else(cores);
    let (way, name, threads) = if arguments.supervised {
        let (access, name) = orders(std::io::stdin().lock().lines().map_while(Result::ok))?;
        end_with_the_supervisor()?;
        (Way::Given(Box::new(access)), name, 1)
    } else if arguments.piped {
        let (way, name) = runtime.block_on(piped())?;
        (way, name, threads)
    } else {
        let Some(path) = &arguments.access else {
            let message = "error: which coordinator?\n  help: --access FILE, with the file that `granule serve` has \
                           written, or a copy of it";
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
    let introduction = Introduction {
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
    let config = Config { way, introduction, patience };
    let is_watched = !arguments.supervised && !arguments.piped;
    let mut told = None;
    let tell = |progress: Progress| {
        // A supervisor sees for itself, and takes what is said for last words. Nobody wants to read
        // of every attempt that comes to nothing.
        if is_watched && told.as_ref() != Some(&progress) {
            tell(&progress, threads);
            told = Some(progress);
        }
    };
    let result = runtime.block_on(async {
        tokio::spawn(listen_for_signals(drain));
        granule_worker::run(config, drained, tell).await
    });
    // Standard input may be read for ever.
    runtime.shutdown_background();
    match result {
        Ok(End::Goodbye { reason }) => {
            if is_watched {
                line(&format!("done: {reason}"));
            }
            // The computing threads may be in the middle of something nobody wants any more.
            std::process::exit(0);
        }
        Ok(End::Drained { reason }) => {
            if is_watched {
                line(&format!("left: {reason}; everything computed was delivered"));
            }
            std::process::exit(arguments.leave_with.into());
        }
        Ok(End::Refused { reason }) => Err(Failure::new(
            exit::FAILED,
            format!("error: the coordinator takes nothing more from this worker: {reason}"),
        )),
        Ok(End::GaveUp { after, undelivered }) => {
            let lost = if undelivered == 0 {
                String::new()
            } else {
                format!("; {} not delivered, to be computed again", plural(undelivered as u64, "result"))
            };
            let message = format!(
                "error: no coordinator was found for {} s{lost}\n  help: start the coordinator again with its command, \
                 then this worker; --give-up-after has it look longer",
                after.as_secs()
            );
            Err(Failure::new(exit::FAILED, message))
        }
        Err(error) => {
            let code = match error {
                WorkerError::Access(_) => exit::USAGE,
                WorkerError::CutOff { .. } => exit::CUT_OFF,
                _ => exit::FAILED,
            };
            Err(Failure::caused_by(code, &error, None))
        }
    }
}

fn tell(progress: &Progress, threads: u32) {
    let (event, text) = match progress {
        Progress::Connected { address } => {
            ("connected", format!("connected to {address}, {}", plural(threads.into(), "thread")))
        }
        Progress::Disconnected { reason } => {
            ("disconnected", format!("not connected: {reason}; trying again"))
        }
        Progress::Draining { reason } => {
            ("draining", format!("leaving: {reason}; once more to stop at once"))
        }
    };
    log::event(event, &text);
}

/// The first SIGTERM or SIGINT has the worker leave in good order, the second ends it at once.
async fn listen_for_signals(drain: mpsc::Sender<String>) {
    let (Ok(mut interrupts), Ok(mut terminations)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        // Without handlers the signals end the process, which loses nothing either.
        return drain.closed().await;
    };
    let mut is_draining = false;
    loop {
        let (name, code) = tokio::select! {
            _ = interrupts.recv() => ("SIGINT", exit::INTERRUPTED),
            _ = terminations.recv() => ("SIGTERM", exit::TERMINATED),
        };
        if is_draining {
            std::process::exit(code.into());
        }
        is_draining = true;
        let _ = drain.send(format!("it was told to ({name})")).await;
    }
}

/// What our supervisor says on standard input: how to reach it, and who we are.
fn orders(mut lines: impl Iterator<Item = String>) -> Result<(Access, [u8; 16]), Failure> {
    let (Some(access), Some(name)) = (lines.next(), lines.next()) else {
        let message = "error: --supervised and --piped are for workers that granule itself starts";
        return Err(Failure::new(exit::USAGE, message));
    };
    let access =
        Access::parse(access.as_bytes()).map_err(|error| Failure::caused_by(exit::USAGE, &error, None))?;
    let name = u128::from_str_radix(name.trim_end(), 16)
        .map_err(|error| Failure::caused_by(exit::USAGE, &error, None))?;
    Ok((access, name.to_be_bytes()))
}

/// A coordinator at the other end of our standard streams: says who we are, and hears who we are to be.
async fn piped() -> Result<(Way, [u8; 16]), Failure> {
    let failed = |error| Failure::caused_by(exit::CUT_OFF, &error, None);
    let mut output = tokio::io::stdout();
    // What a login script has printed may have no end of its line.
    let greeting = format!("\n{PIPED_GREETING}{}\n", env!("CARGO_PKG_VERSION"));
    output.write_all(greeting.as_bytes()).await.map_err(failed)?;
    output.flush().await.map_err(failed)?;
    // What follows the orders is for the connection, also what is read with them.
    let mut input = BufReader::new(tokio::io::stdin());
    let mut lines = [String::new(), String::new()];
    for line in &mut lines {
        (&mut input).take(LONGEST_ORDER).read_line(line).await.map_err(failed)?;
    }
    let (access, name) = orders(lines.into_iter().filter(|line| !line.is_empty()))?;
    let stream: Box<dyn Stream> = Box::new(tokio::io::join(input, output));
    Ok((Way::Open(Box::new(access), Arc::new(Mutex::new(Some(stream)))), name))
}

/// However the supervisor ends, its end of our standard input closes.
fn end_with_the_supervisor() -> Result<(), Failure> {
    let watch = || {
        let mut buffer = [0; 64];
        while std::io::stdin().lock().read(&mut buffer).is_ok_and(|count| count > 0) {}
        std::process::exit(i32::from(exit::FAILED));
    };
    std::thread::Builder::new()
        .name("supervisor".into())
        .spawn(watch)
        .map(|_| ())
        .map_err(|error| Failure::caused_by(exit::FAILED, &error, None))
}

/// Name of this machine.
pub(crate) fn host() -> String {
    nix::unistd::gethostname()
        .map_or_else(|_| "unknown".to_owned(), |name| name.to_string_lossy().into_owned())
}
