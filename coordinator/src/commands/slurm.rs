//! `granule slurm`: a sweep as a job on a cluster, followed to its end; or workers for one that is served.

mod attach;
mod watching;

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf, absolute};
use std::time::{Duration, Instant};

use granule_sweep::{Plan as SweepPlan, Sweep};
use granule_worker::{files, private};
use nix::fcntl::OFlag;
use serde::{Deserialize, Serialize};

use self::watching::{Heard, Watching};
use crate::archive::{self, ArchiveError};
use crate::cli::{self, exit};
use crate::commands::entrance::ACCESS;
use crate::commands::job::{check_size, command_line, directory_of};
use crate::commands::rest::{self, SlurmJob};
use crate::commands::signals::Signals;
use crate::commands::sweep_file::read_sweep;
use crate::commands::target;
use crate::failure::{Failure, shell_path, shown};
use crate::outputs;
use crate::outputs::manifest::ResolvedSweep;
use crate::outputs::survey::Survey;
use crate::slurm::control::{self, SlurmError};
use crate::slurm::script::{Plan, SCRIPT, Serving, Shape, Unfit};
use crate::slurm::{Ending, JobId, State};
use crate::threads;
use crate::view::board::Views;
use crate::view::log::{self, line};
use crate::view::status::{SCHEMA, now};
use crate::view::stdout::{LastWords, say};
use crate::view::terminal::Terminal;

/// Where the script, its logs and what is known of the job lie, in the output directory.
const DIRECTORY: &str = "slurm";

/// What is known of the last job.
const RECORD: &str = "job.json";

/// Held while a job is submitted, so that two commands at once do not submit two.
const LOCK: &str = "job.lock";

/// Time between two questions to Slurm, which others ask, too: soon at first, rarely later.
const ASK_EVERY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));

/// How long Slurm may not know a job that it has taken, as after a controller was started anew.
const UNKNOWN_FOR: Duration = Duration::from_secs(60);

/// How long Slurm remembers every job, at least (`MinJobAge` is 300 s).
const REMEMBERED_FOR: Duration = Duration::from_secs(240);

/// How long a job must have ended other than well before that is believed.
const ENDED_FOR: Duration = Duration::from_secs(4);

/// Longest record of jobs that is read, in bytes.
const LONGEST_RECORD: u64 = 1 << 24;

/// Lines of a log that are shown when a job has failed.
const LAST_LINES: usize = 12;

/// A job that was submitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    schema: u32,
    /// Always `slurm_job`.
    #[serde(rename = "type")]
    kind: String,
    job: JobId,
    /// RFC 3339, UTC.
    submitted: String,
    log: PathBuf,
}

/// What is asked for, with paths that hold on every node.
struct Request<'a> {
    arguments: &'a cli::Slurm,
    sweep: Sweep,
    out: PathBuf,
    logs: PathBuf,
    plan: Plan,
}

pub(crate) fn run(arguments: &cli::Slurm) -> Result<(), Failure> {
    let mut sweep = read_sweep(&arguments.sweep)?;
    check_size(&arguments.sweep, &sweep)?;
    let out = whole(&directory_of(&sweep, arguments.out.as_deref()))?;
    archive::survey(&out, &mut sweep)?;
    if out.join(DIRECTORY).is_symlink() {
        let message = format!(
            "error: {} is a symbolic link\n  help: move it away: granule writes scripts and logs to a directory there",
            out.join(DIRECTORY).display()
        );
        return Err(Failure::new(exit::FAILED, message));
    }
    let logs = out.join(DIRECTORY);
    let granule = match &arguments.granule {
        Some(path) => whole(path)?,
        None => std::env::current_exe().map_err(|error| Failure::caused_by(exit::FAILED, &error, None))?,
    };
    let shape = match arguments.workers {
        Some(workers) => Shape::Workers { workers, cores: arguments.cores },
        None => Shape::Nodes(arguments.nodes),
    };
    let plan = Plan {
        name: sweep.name.clone(),
        command: command_line(),
        granule,
        out: out.clone(),
        logs: logs.clone(),
        shape,
        time: arguments.time.clone(),
        partition: arguments.partition.clone(),
        options: arguments.options.clone(),
    };
    let request = Request { arguments, sweep, out, logs, plan };
    let runtime = threads::runtime().map_err(|error| Failure::caused_by(exit::FAILED, &error, None))?;
    runtime.block_on(async { if arguments.attach { request.attach().await } else { request.run().await } })
}

/// Expects the output directory to be free or that of this sweep, as the job will; gives the path of the store.
fn look(out: &Path, sweep: &Sweep, arguments: &cli::Slurm) -> Result<PathBuf, Failure> {
    let resolved = ResolvedSweep::of(sweep);
    let survey = Survey::new(out).map_err(ArchiveError::from)?;
    survey.check(&resolved, arguments.replace).map_err(ArchiveError::from)?;
    // Files that changed are hashed by the job, not by the login node: only what is in the way counts here.
    let planned = outputs::plan(sweep, &SweepPlan::new(sweep));
    let changes = survey.assumed_changes(&planned).map_err(ArchiveError::from)?;
    changes.check(out, arguments.replace).map_err(ArchiveError::from)?;
    Ok(archive::store_of_run(out, arguments.store.as_deref(), &survey, &resolved)?)
}

/// A path from the root.
fn whole(path: &Path) -> Result<PathBuf, Failure> {
    absolute(path).map_err(|error| Failure::caused_by(exit::FAILED, &error, None))
}

fn unfit(error: &Unfit) -> Failure {
    Failure::caused_by(exit::USAGE, error, Some(error.help))
}

fn of_slurm(error: &SlurmError) -> Failure {
    Failure::caused_by(exit::FAILED, error, error.help())
}

impl Request<'_> {
    /// A job that is the whole sweep.
    async fn run(&self) -> Result<(), Failure> {
        let store = look(&self.out, &self.sweep, self.arguments)?;
        let serving = Serving {
            sweep: whole(&self.arguments.sweep)?,
            store: whole(&store)?,
            options: self.serve_options(),
            variables: granule_sweep::from_variables(|name| std::env::var_os(name))
                .map_err(|error| Failure::caused_by(exit::USAGE, &error, None))?
                .0
                .variables(),
        };
        let script = self.plan.sweep_job(&serving).map_err(|error| unfit(&error))?;
        if self.arguments.dry_run {
            say(&script)?.done();
            return Ok(());
        }
        if rest::is_complete(&self.out, &self.sweep) {
            say(&format!("Sweep {} is complete already, in {}\n", self.sweep.name, shown(&self.out)))?.done();
            return Ok(());
        }
        // From here on: what is submitted must be written down before this ends.
        let mut signals = Signals::new().map_err(|error| Failure::caused_by(exit::FAILED, &error, None))?;
        let record = {
            let _lock = self.lock(LOCK, "submits")?;
            let under_way = tokio::select! {
                under_way = self.under_way() => under_way?,
                stop = signals.next() => return Err(Failure::new(stop.code(), stop.word())),
            };
            match under_way {
                Some(record) => {
                    line(&format!("job {} is under way already", record.job));
                    record
                }
                None => self.submit(&script).await?,
            }
        };
        let job = record.job;
        let how = format!("granule status {}", shell_path(&self.out));
        if self.arguments.detach {
            let log = shown(&record.log);
            let text = format!("Slurm job {job}; to see what it is at: {how}; its log: {log}\n");
            return LastWords::summary(text).say();
        }
        tokio::select! {
            ended = self.follow(&record) => self.end(&record, ended?),
            stop = signals.next() => Err(Failure::new(stop.code(), format!(
                "job {job} goes on without being followed\n  to follow it: {}\n  to see what it is at: {how}\n  \
                 to end it: scancel {job}",
                command_line()
            ))),
        }
    }

    /// What the coordinator is told beyond its paths.
    fn serve_options(&self) -> Vec<String> {
        let cli::Slurm { interface, audit, shard_trials, replace, .. } = self.arguments;
        let mut options = Vec::new();
        if *replace {
            options.push("--replace".to_owned());
        }
        if let Some(interface) = interface {
            options.extend(["--interface".to_owned(), interface.clone()]);
        }
        if *audit > 0.0 {
            options.extend(["--audit".to_owned(), audit.to_string()]);
        }
        if let Some(trials) = shard_trials {
            options.extend(["--shard-trials".to_owned(), trials.to_string()]);
        }
        options
    }

    /// The job that was submitted before, if it still waits or runs.
    async fn under_way(&self) -> Result<Option<Record>, Failure> {
        let Some(record) = Record::find(&self.out) else { return Ok(None) };
        let begun = Instant::now();
        loop {
            match control::look(record.job).await.map_err(|error| of_slurm(&error))? {
                State::Waiting { .. } | State::Running { .. } => return Ok(Some(record)),
                State::Ended(Ending::Completed | Ending::Cancelled) => return Ok(None),
                State::Unknown if record.is_old() || begun.elapsed() >= UNKNOWN_FOR => return Ok(None),
                State::Unknown => tokio::time::sleep(ASK_EVERY.0).await,
                // On its way back into the queue a job seems to have failed for a moment.
                State::Ended(_) if begun.elapsed() >= ENDED_FOR => return Ok(None),
                State::Ended(_) => tokio::time::sleep(ASK_EVERY.0).await,
            }
        }
    }

    /// Keeps others from doing the same, as long as it lives.
    fn lock(&self, name: &str, what: &str) -> Result<fs::File, Failure> {
        let path = self.logs.join(name);
        let open = || -> std::io::Result<fs::File> {
            fs::create_dir_all(&self.logs)?;
            let flags = files::harmless() | OFlag::O_NOFOLLOW;
            let file =
                fs::File::options().create(true).append(true).custom_flags(flags.bits()).open(&path)?;
            files::check_regular(&file)?;
            Ok(file)
        };
        let file = open().map_err(|error| {
            let message = format!("error: cannot write {}\n  because: {error}", path.display());
            Failure::new(exit::FAILED, message)
        })?;
        match file.try_lock() {
            // Where there are no locks, the store's own refuses the second coordinator.
            Ok(()) | Err(fs::TryLockError::Error(_)) => Ok(file),
            Err(fs::TryLockError::WouldBlock) => Err(Failure::new(
                exit::FAILED,
                format!(
                    "error: another `granule slurm` {what} {} at this moment\n  help: wait until it has ended",
                    self.sweep.name
                ),
            )),
        }
    }

    /// Keeps the script, and submits it.
    async fn submit(&self, script: &str) -> Result<Record, Failure> {
        let path = self.keep(SCRIPT, script)?;
        // The job would fail when it starts.
        private::check_place(&self.out.join(ACCESS)).map_err(|error| {
            let code = if private::is_modeless(&error) { exit::USAGE } else { exit::FAILED };
            Failure::caused_by(code, &error, Some("choose another directory with --out"))
        })?;
        let job = control::submit(&path, None).await.map_err(|error| of_slurm(&error))?;
        let record = Record {
            schema: SCHEMA,
            kind: "slurm_job".to_owned(),
            job,
            submitted: now(),
            log: self.logs.join(format!("{job}.log")),
        };
        let json = serde_json::to_string(&record).expect("text and numbers can be written");
        self.keep(RECORD, &format!("{json}\n"))?;
        line(&format!("job {job} is submitted; its script: {}", path.display()));
        Ok(record)
    }

    /// Writes a file beside the outputs.
    fn keep(&self, name: &str, text: &str) -> Result<PathBuf, Failure> {
        let path = self.logs.join(name);
        let is_script = name.ends_with(".sh");
        let text = if is_script { target::with_hash(text) } else { text.to_owned() };
        if is_script {
            target::check(&path, target::Kind::Script, self.arguments.force)?;
        }
        fs::create_dir_all(&self.logs).and_then(|()| files::put(&path, text.as_bytes())).map_err(
            |error| {
                let message = format!("error: cannot write {}\n  because: {error}", path.display());
                Failure::new(exit::FAILED, message)
            },
        )?;
        Ok(path)
    }

    /// Tells what the job is at until it is over.
    async fn follow(&self, record: &Record) -> Result<State, Failure> {
        let views = Views::default();
        let terminal = Terminal::follow(views.board());
        let mut watching: Option<Watching> = None;
        let mut seen = State::Unknown;
        let mut unknown_since: Option<Instant> = None;
        let mut ended_since: Option<Instant> = None;
        let mut is_silent = false;
        let (least, most) = ASK_EVERY;
        let mut pause = least;
        let ended = loop {
            match control::look(record.job).await {
                Ok(State::Unknown) => {
                    if unknown_since.get_or_insert_with(Instant::now).elapsed() >= UNKNOWN_FOR {
                        break State::Unknown;
                    }
                }
                Ok(state) => {
                    unknown_since = None;
                    is_silent = false;
                    if state != seen {
                        if !matches!(state, State::Ended(_)) {
                            self.tell(record.job, &state);
                        }
                        pause = least;
                    }
                    // On its way back into the queue a job seems to have failed for a moment.
                    let is_final = match state {
                        State::Ended(Ending::Completed) => true,
                        State::Ended(_) => {
                            ended_since.get_or_insert_with(Instant::now).elapsed() >= ENDED_FOR
                        }
                        _ => {
                            ended_since = None;
                            false
                        }
                    };
                    if is_final {
                        self.tell(record.job, &state);
                        break state;
                    }
                    seen = state;
                }
                // Jobs go on without Slurm's controller.
                Err(error) if !is_silent => {
                    is_silent = true;
                    log::event("slurm", &format!("{error}; trying again"));
                }
                Err(_) => {}
            }
            let until = tokio::time::Instant::now() + pause;
            pause = (pause * 3 / 2).min(most);
            if !matches!(seen, State::Running { .. }) {
                watching = None;
                tokio::time::sleep_until(until).await;
                continue;
            }
            if watching.as_ref().is_none_or(Watching::is_over) {
                watching = Watching::start(&self.out).await;
            }
            // Until Slurm is asked again, or there is nobody to hear from.
            while let Some(watching) = &mut watching {
                match tokio::time::timeout_at(until, watching.heard.recv()).await {
                    Ok(Some(Heard::Snapshot(snapshot))) => {
                        let is_over = snapshot.is_over();
                        views.put_up(*snapshot);
                        if is_over {
                            pause = least;
                        }
                    }
                    Ok(Some(Heard::Notice(notice))) if notice.is_trouble => {
                        log::event("notice", &notice.text)
                    }
                    Ok(Some(Heard::Notice(_))) => {}
                    Ok(None) | Err(_) => break,
                }
            }
            tokio::time::sleep_until(until).await;
        };
        drop(watching);
        drop(terminal);
        Ok(ended)
    }

    fn tell(&self, job: JobId, state: &State) {
        log::event("slurm", &format!("job {job} {}", state.describe()));
    }

    /// What has come of it: what Slurm says is one thing, what lies there the other.
    fn end(&self, record: &Record, state: State) -> Result<(), Failure> {
        let job = record.job;
        let rest = rest::look(&self.out);
        // What lies there may be of an earlier run, unless this one has ended well.
        let is_well = matches!(state, State::Ended(Ending::Completed) | State::Unknown);
        if let Ok(rest) = &rest
            && rest.is_complete()
            && is_well
        {
            return LastWords::summary(rest.to_text()).say();
        }
        let (word, help, code) = match state {
            State::Ended(ending) => {
                let code = if ending == Ending::Cancelled { exit::TERMINATED } else { exit::INCOMPLETE };
                (ending.describe(), ending.help(), code)
            }
            _ => ("is not known to Slurm any more", None, exit::INCOMPLETE),
        };
        let log = end_of(&record.log).unwrap_or_default();
        // With `--no-kill` Slurm itself does not say why.
        let node = failed_node(&log).filter(|_| state == State::Ended(Ending::Failed));
        let with = node.map(|node| format!(" with its node {node}")).unwrap_or_default();
        let mut message = format!("error: job {job} {word}{with}, and the sweep is not complete");
        if let Ok(rest) = &rest {
            message.push_str(&format!("\n  {}", rest.headline()));
        }
        let lines: Vec<&str> = log.lines().collect();
        let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
        if !last.is_empty() {
            message.push_str(&format!("\n  the end of its log, {}:", record.log.display()));
            last.iter().for_each(|line| message.push_str(&format!("\n    {line}")));
        }
        if let Some(help) = help {
            message.push_str(&format!("\n  help: {help}"));
        }
        message.push_str(&format!("\n  to go on: {}", command_line()));
        Err(Failure::new(code, message))
    }
}

/// The end of a log, which may be of any length.
fn end_of(log: &Path) -> std::io::Result<String> {
    const MOST: u64 = 1 << 16;
    let mut file = files::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MOST)))?;
    let mut bytes = Vec::new();
    file.take(MOST).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The node whose end ended the job, as `srun` says it in the job's log.
fn failed_node(log: &str) -> Option<&str> {
    log.lines()
        .rev()
        .take(LAST_LINES)
        .find_map(|line| line.split("Node failure on ").nth(1)?.split_whitespace().next())
}

impl Record {
    /// Whether Slurm may have forgotten it in good order.
    fn is_old(&self) -> bool {
        let age = |submitted: jiff::Timestamp| jiff::Timestamp::now().duration_since(submitted);
        let submitted = self.submitted.parse().ok();
        submitted.is_none_or(|submitted| {
            age(submitted) > jiff::SignedDuration::try_from(REMEMBERED_FOR).unwrap_or_default()
        })
    }

    /// The job that was submitted last for the sweep of this directory.
    fn find(out: &Path) -> Option<Record> {
        let bytes = files::read(&out.join(DIRECTORY).join(RECORD), LONGEST_RECORD).ok()?;
        serde_json::from_slice::<Record>(&bytes).ok().filter(|record| record.schema == SCHEMA)
    }
}

/// What the job is at that was submitted last for this directory.
pub(crate) async fn last_job(out: &Path) -> Option<SlurmJob> {
    let record = Record::find(out)?;
    let state = control::look(record.job).await;
    Some(SlurmJob::new(record.job, &state, &record.log))
}
