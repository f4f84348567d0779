//! `granule slurm`: runs a sweep as a job on a cluster and follows it to its end, or adds workers to a served sweep.

mod attach;
mod record;
mod watching;

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf, absolute};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use granule_outputs::PlannedFiles;
use granule_outputs::archive::{self, ArchiveError};
use granule_outputs::manifest::ResolvedSweep;
use granule_outputs::survey::DirectorySurvey;
use granule_server::view::board::Views;
use granule_server::view::log::{self, line};
use granule_server::view::status::{SCHEMA, now};
use granule_server::view::terminal::Terminal;
use granule_sweep::Sweep;
use granule_system::threads;
use granule_system::{files, private};
use granule_text::from_outside;
use granule_text::plural;
use granule_worker::access::{Access, AccessError};
use nix::fcntl::OFlag;

use self::record::{Asked, DIRECTORY, JobRecord, RECORD};
use self::watching::{Heard, Watching};
use crate::cli::{self, exit};
use crate::commands::directory_status::{self, SlurmJob};
use crate::commands::entrance::ACCESS;
use crate::commands::signals::Signals;
use crate::commands::sweep_file::{model_path, read_sweep, trials_of};
use crate::commands::sweep_run::{check_size, directory_of};
use crate::commands::target;
use crate::commands::this_process::command_line;
use crate::engines::ENGINES;
use crate::failure::{Failure, shell_path, shown};
use crate::slurm::control::{self, Slurm, SlurmError};
use crate::slurm::options::SlurmOptions;
use crate::slurm::script::{JobPlan, SCRIPT, Serving, UnreadableWord, WorkerLayout};
use crate::slurm::{Job, JobEnding, JobState};
use crate::stdout::{LastWords, say};

/// Held while a job is submitted, so that two commands at once do not submit two.
const LOCK: &str = "job.lock";

/// Pause between two queries of Slurm, which other users query, too: at first, and at most.
const ASK_EVERY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));

/// How long Slurm may not know a job that it has accepted, as after a restart of its controller.
const UNKNOWN_FOR: Duration = Duration::from_secs(60);

/// Pause between two attempts to take a lock.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// How long a job must have ended unsuccessfully before that is taken as final.
const ENDED_FOR: Duration = Duration::from_secs(4);

/// Lines of a log that are shown when a job has failed.
const LAST_LINES: usize = 12;

/// Longest file of `--setup`, in bytes.
const LONGEST_SETUP: u64 = 1 << 16;

/// The user's request, with paths that are valid on every node.
struct Request<'a> {
    arguments: &'a cli::SlurmArgs,
    sweep: Sweep,
    out: PathBuf,
    logs: PathBuf,
    plan: JobPlan,
}

pub(crate) fn run(arguments: &cli::SlurmArgs) -> Result<(), Failure> {
    let runtime = threads::runtime().map_err(|error| Failure::caused_by(exit::FAILED, &error, None))?;
    if arguments.attach {
        let request = Request::new(arguments)?;
        return runtime.block_on(request.attach());
    }
    // If the sweep file was changed while its job ran, another job is needed.
    while runtime.block_on(Request::new(arguments)?.run())? == Next::Again {}
    Ok(())
}

/// The next step after a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Nothing,
    /// The job has done what it was submitted for, but more is requested now.
    Again,
}

impl<'a> Request<'a> {
    fn new(arguments: &'a cli::SlurmArgs) -> Result<Request<'a>, Failure> {
        let options = SlurmOptions::new(arguments.options.clone());
        if let Some((word, instead)) = options.contradiction() {
            let message = format!("error: `{}` contradicts granule's own options for sbatch", shown(word));
            return Err(Failure::new(exit::USAGE, format!("{message}\n  help: {instead}")));
        }
        let mut sweep = read_sweep(&arguments.sweep)?;
        check_size(&arguments.sweep, &sweep)?;
        let out = whole(&directory_of(&sweep, arguments.out.as_deref()))?;
        archive::survey(ENGINES, &out, &mut sweep)?;
        if out.join(DIRECTORY).is_symlink() {
            let message = format!(
                "error: {} is a symbolic link\n  help: move it away: granule writes scripts and logs to a \
                    directory there",
                out.join(DIRECTORY).display()
            );
            return Err(Failure::new(exit::FAILED, message));
        }
        let logs = out.join(DIRECTORY);
        let granule = match &arguments.granule {
            Some(path) => whole(path)?,
            None => {
                std::env::current_exe().map_err(|error| Failure::caused_by(exit::FAILED, &error, None))?
            }
        };
        let shape = match arguments.workers {
            Some(workers) => WorkerLayout::Workers { workers, cores: arguments.cores },
            None => WorkerLayout::Nodes(arguments.nodes),
        };
        let plan = JobPlan {
            name: sweep.name.clone(),
            command: command_line(),
            granule,
            out: out.clone(),
            logs: logs.clone(),
            shape,
            time: arguments.time.clone(),
            partition: arguments.partition.clone(),
            options: arguments.options.clone(),
            setup: arguments.setup.as_deref().map(setup).transpose()?,
            model: model_path(&arguments.sweep, &sweep).map(|here| arguments.model.clone().unwrap_or(here)),
        };
        Ok(Request { arguments, sweep, out, logs, plan })
    }

    /// Returns all options for `sbatch` that were given, also by granule's own options.
    fn options(&self) -> SlurmOptions {
        let time = self.arguments.time.iter().map(|_| "--time".to_owned());
        let partition = self.arguments.partition.iter().map(|_| "--partition".to_owned());
        SlurmOptions::new(time.chain(partition).chain(self.arguments.options.iter().cloned()).collect())
    }
}

/// Reads the commands in a file of `--setup`, and checks them.
fn setup(path: &Path) -> Result<String, Failure> {
    let wrong = |problem: &str| {
        Failure::new(
            exit::USAGE,
            format!("error: cannot use {} with --setup\n  because: {problem}", shown(path)),
        )
    };
    let bytes = files::read(path, LONGEST_SETUP).map_err(|error| wrong(&error.to_string()))?;
    match String::from_utf8(bytes) {
        Ok(text) if text.contains('\0') => Err(wrong("it is not text")),
        // Slurm reads such a line as its options, wherever it is.
        Ok(text) if text.lines().any(|line| line.starts_with("#SBATCH")) => {
            Err(wrong("it has an `#SBATCH` line; write options for sbatch after `--`"))
        }
        Ok(text) => match Command::new("bash").arg("-n").arg(path).stdin(Stdio::null()).output() {
            Ok(checked) if !checked.status.success() => {
                let said = String::from_utf8_lossy(&checked.stderr);
                Err(wrong(&format!("bash cannot parse it: {}", from_outside(said.trim()))))
            }
            _ => Ok(text),
        },
        Err(_) => Err(wrong("it is not UTF-8")),
    }
}

/// Checks that the output directory is free or that of this sweep, as the job will. Returns the path of the store.
fn look(out: &Path, sweep: &Sweep, arguments: &cli::SlurmArgs) -> Result<PathBuf, Failure> {
    let survey = DirectorySurvey::new(ENGINES, out).map_err(ArchiveError::from)?;
    survey.check(sweep, arguments.replace).map_err(ArchiveError::from)?;
    // The job hashes changed files, not the login node. Here, only files that are in the way count.
    let planned = PlannedFiles::new(sweep);
    let changes = survey.assumed_changes(&planned).map_err(ArchiveError::from)?;
    changes.check(out, arguments.replace).map_err(ArchiveError::from)?;
    Ok(archive::store_of_run(out, arguments.store.as_deref(), &survey, sweep)?)
}

/// Returns the path from the root.
fn whole(path: &Path) -> Result<PathBuf, Failure> {
    absolute(path).map_err(|error| Failure::caused_by(exit::FAILED, &error, None))
}

fn unfit(error: &UnreadableWord) -> Failure {
    Failure::caused_by(exit::USAGE, error, Some(error.help))
}

fn of_slurm(error: &SlurmError) -> Failure {
    Failure::caused_by(exit::FAILED, error, error.help())
}

impl Request<'_> {
    /// Runs a job that is the whole sweep.
    async fn run(&self) -> Result<Next, Failure> {
        let store = look(&self.out, &self.sweep, self.arguments)?;
        let serving = Serving {
            sweep: whole(&self.arguments.sweep)?,
            store: whole(&store)?,
            options: self.serve_options(),
            variables: granule_sweep::from_variables(granule_granular::space(), |name| {
                // They override granule's own model only.
                std::env::var_os(name).filter(|_| !self.sweep.engine.is_program())
            })
            .map_err(|error| Failure::caused_by(exit::USAGE, &error, None))?
            .0
            .variables(granule_granular::space()),
        };
        let script = self.plan.sweep_job(&serving).map_err(|error| unfit(&error))?;
        if self.arguments.dry_run {
            say(&script)?.done();
            return Ok(Next::Nothing);
        }
        if directory_status::is_complete(&self.out, &self.sweep) {
            return self.is_done().await;
        }
        let asked = self.asked(&serving);
        // From here on, a job that is submitted must be recorded before this ends.
        let mut signals = Signals::new().map_err(|error| Failure::caused_by(exit::FAILED, &error, None))?;
        let (record, joined) = {
            let find = async {
                // The other command is done as soon as Slurm has answered.
                let lock = self.lock(LOCK, "`granule slurm` is submitting", 2 * UNKNOWN_FOR).await?;
                Ok::<_, Failure>((lock, self.under_way().await?))
            };
            let (_lock, under_way) = tokio::select! {
                found = find => found?,
                stop = signals.next() => return Err(Failure::new(stop.code(), stop.word())),
            };
            match under_way {
                Some(record) => (record, true),
                // The job of another command may have ended while this one waited.
                None if directory_status::is_complete(&self.out, &self.sweep) => return self.is_done().await,
                None => (self.submit(&script, asked.clone()).await?, false),
            }
        };
        let job = &record.job;
        let other = record.asked.as_ref().filter(|_| joined).filter(|of| of.sweep != asked.sweep);
        if joined {
            line(&format!("job {job} is already submitted"));
            if let Some(difference) = record.asked.as_ref().and_then(|of| of.difference(&asked)) {
                let then = match other {
                    Some(_) if self.arguments.detach => "",
                    Some(_) => "; granule submits the remaining trials when that job has ended",
                    None => "; it keeps these settings",
                };
                line(&format!("note: the job was submitted {difference}{then}"));
            }
        }
        let how = format!("granule status {}", shell_path(&self.out));
        if self.arguments.detach {
            if other.is_some() {
                let message = format!(
                    "error: job {job} computes the earlier version of the sweep file; granule submitted no job \
                        for the new trials\n  help: run this again when the job has ended; without --detach, \
                        granule waits for that and submits the remaining trials"
                );
                return Err(Failure::new(exit::INCOMPLETE, message));
            }
            let log = shown(&record.log);
            let text = format!("Slurm job {job}; to see its progress: {how}; its log: {log}\n");
            return LastWords::summary(text).say().map(|()| Next::Nothing);
        }
        tokio::select! {
            ended = self.follow(&record) => self.end(&record, ended?, other.is_some()),
            stop = signals.next() => Err(Failure::new(stop.code(), format!(
                "no longer following job {job}; it keeps running\n  to follow it: {}\n  to see its progress: \
                    {how}\n  \
                 to end it: {}",
                command_line(),
                job.scancel(),
            ))),
        }
    }

    async fn is_done(&self) -> Result<Next, Failure> {
        say(&format!("Sweep {} is already complete, in {}\n", self.sweep.name, shown(&self.out)))?.done();
        self.tell_of_rest().await;
        Ok(Next::Nothing)
    }

    /// Prints a note if a job of a complete sweep still waits or runs, and Slurm reports that at once.
    async fn tell_of_rest(&self) {
        let Some(JobRecord { job, .. }) = JobRecord::find(&self.out) else { return };
        let slurm = Slurm { cluster: job.cluster.clone() };
        let state = tokio::time::timeout(ENDED_FOR, slurm.look(job.job)).await;
        if let Ok(Ok(
            state @ (JobState::Waiting { .. } | JobState::Running { .. } | JobState::Suspended { .. }),
        )) = state
        {
            line(&format!("note: job {job} {}; to end it: {}", state.describe(), job.scancel()));
        }
    }

    /// Returns the present request.
    fn asked(&self, serving: &Serving) -> Asked {
        let resolved = ResolvedSweep::of(&self.sweep);
        let Sweep { conditions, seeds, .. } = &self.sweep;
        Asked {
            sweep: resolved.fingerprint(),
            size: format!(
                "{} × {} × {}",
                plural(conditions.len() as u64, "condition"),
                plural(seeds.len() as u64, "seed"),
                trials_of(&self.sweep)
            ),
            options: self.plan.asked().into_iter().chain(serving.options.iter().cloned()).collect(),
        }
    }

    /// Returns the coordinator's options, without its paths.
    fn serve_options(&self) -> Vec<String> {
        let cli::SlurmArgs { interface, audit, shard_trials, replace, .. } = self.arguments;
        let mut options = Vec::new();
        if *replace {
            options.push("--replace".to_owned());
        }
        if let Some(interface) = interface {
            options.extend(["--interface".to_owned(), interface.clone()]);
        }
        if let Some(audit) = audit {
            options.extend(["--audit".to_owned(), audit.to_string()]);
        }
        if let Some(trials) = shard_trials {
            options.extend(["--shard-trials".to_owned(), trials.to_string()]);
        }
        options
    }

    /// Finds the job of this directory that waits or runs. It is the last one that granule submitted, or a job of the
    /// same script that a user submitted by hand.
    async fn under_way(&self) -> Result<Option<JobRecord>, Failure> {
        if let Some(record) = self.last_under_way().await? {
            return Ok(Some(record));
        }
        let script = self.logs.join(SCRIPT);
        let cluster = JobRecord::find(&self.out).and_then(|record| record.job.cluster);
        let slurm = Slurm { cluster: cluster.clone() };
        if script.exists()
            && let Some(job) = slurm.find(&script).await.map_err(|error| of_slurm(&error))?
        {
            return Ok(Some(self.note(Job { job, cluster }, None)?));
        }
        // While another granule uses the store, a job would end at once.
        match archive::keep_still(&self.out) {
            Err(error @ ArchiveError::InUse { .. }) => Err(error.into()),
            _ => Ok(None),
        }
    }

    /// Returns the job that was submitted before, if it still waits or runs.
    async fn last_under_way(&self) -> Result<Option<JobRecord>, Failure> {
        let Some(record) = JobRecord::find(&self.out) else { return Ok(None) };
        let slurm = Slurm { cluster: record.job.cluster.clone() };
        let begun = Instant::now();
        let mut is_told = false;
        loop {
            match slurm.look(record.job.job).await.map_err(|error| of_slurm(&error))? {
                JobState::Waiting { .. } | JobState::Running { .. } | JobState::Suspended { .. } => {
                    return Ok(Some(record));
                }
                JobState::Ended(JobEnding::Completed | JobEnding::Cancelled) => return Ok(None),
                JobState::Unknown if record.is_old() || begun.elapsed() >= UNKNOWN_FOR => return Ok(None),
                state @ (JobState::Unknown | JobState::Ending) => {
                    // A short wait needs no message.
                    if !is_told && begun.elapsed() >= ENDED_FOR {
                        is_told = true;
                        line(&format!(
                            "job {} {}; waiting until Slurm reports its end",
                            record.job,
                            state.describe()
                        ));
                    }
                    tokio::time::sleep(ASK_EVERY.0).await;
                }
                // While a job is requeued, it seems to have failed for a moment.
                JobState::Ended(_) if begun.elapsed() >= ENDED_FOR => return Ok(None),
                JobState::Ended(_) => tokio::time::sleep(ASK_EVERY.0).await,
            }
        }
    }

    /// Keeps others from doing the same while the file is open. If another does, waits for it, at most for `patience`.
    async fn lock(&self, name: &str, what: &str, patience: Duration) -> Result<fs::File, Failure> {
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
        let begun = Instant::now();
        loop {
            match file.try_lock() {
                // On a file system without locks, the store's own lock refuses the second coordinator.
                Ok(()) | Err(fs::TryLockError::Error(_)) => return Ok(file),
                Err(fs::TryLockError::WouldBlock) if begun.elapsed() >= patience => {
                    let what = format!("error: another {what} {}", self.sweep.name);
                    return Err(Failure::new(
                        exit::FAILED,
                        format!("{what}\n  help: run this again when that has ended"),
                    ));
                }
                Err(fs::TryLockError::WouldBlock) => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
    }

    /// Writes the script, and submits it.
    async fn submit(&self, script: &str, asked: Asked) -> Result<JobRecord, Failure> {
        let path = self.keep(SCRIPT, script)?;
        // Otherwise, the job would fail when it starts.
        if let Err(AccessError::File(file)) = Access::read(&self.out.join(ACCESS))
            && file.is_denied()
        {
            let message = format!(
                "error: {} belongs to another user: only its owner may read its {ACCESS}",
                shown(&self.out)
            );
            let help = "choose another directory with --out, or ask its owner to resume the sweep";
            return Err(Failure::new(exit::FAILED, format!("{message}\n  help: {help}")));
        }
        private::check_place(&self.out.join(ACCESS)).map_err(|error| {
            let code = if private::is_modeless(&error) { exit::USAGE } else { exit::FAILED };
            Failure::caused_by(code, &error, Some("choose another directory with --out"))
        })?;
        let job = control::submit(&path, None, &self.options()).await.map_err(|error| of_slurm(&error))?;
        let record = self.note(job, Some(asked))?;
        line(&format!("job {} is submitted; its script: {}", record.job, path.display()));
        Ok(record)
    }

    /// Records the job.
    fn note(&self, job: Job, asked: Option<Asked>) -> Result<JobRecord, Failure> {
        let log = self.logs.join(format!("{}.log", job.job));
        let kind = "slurm_job".to_owned();
        let record = JobRecord { schema: SCHEMA, kind, job, submitted: now(), log, asked };
        let json = serde_json::to_string(&record).expect("text and numbers can be written");
        self.keep(RECORD, &format!("{json}\n"))?;
        Ok(record)
    }

    /// Writes a file beside the outputs.
    fn keep(&self, name: &str, text: &str) -> Result<PathBuf, Failure> {
        let path = self.logs.join(name);
        let is_script = name.ends_with(".sh");
        let text = if is_script { target::with_hash(text) } else { text.to_owned() };
        if is_script {
            target::check(&path, target::TargetKind::Script, self.arguments.force)?;
        }
        fs::create_dir_all(&self.logs).and_then(|()| files::put(&path, text.as_bytes())).map_err(
            |error| {
                let message = format!("error: cannot write {}\n  because: {error}", path.display());
                Failure::new(exit::FAILED, message)
            },
        )?;
        Ok(path)
    }

    /// Reports the state and the progress of a job until it is over.
    async fn follow(&self, record: &JobRecord) -> Result<JobState, Failure> {
        let views = Views::default();
        let terminal = Terminal::follow(views.board());
        let mut watching: Option<Watching> = None;
        let mut seen = JobState::Unknown;
        let mut unknown_since: Option<Instant> = None;
        let mut ended_since: Option<Instant> = None;
        let mut is_silent = false;
        let slurm = Slurm { cluster: record.job.cluster.clone() };
        let (least, most) = ASK_EVERY;
        let mut pause = least;
        let ended = loop {
            match slurm.look(record.job.job).await {
                Ok(JobState::Unknown) => {
                    if unknown_since.get_or_insert_with(Instant::now).elapsed() >= UNKNOWN_FOR {
                        break JobState::Unknown;
                    }
                }
                Ok(state) => {
                    unknown_since = None;
                    is_silent = false;
                    if state != seen {
                        if !matches!(state, JobState::Ended(_)) {
                            tell(&record.job, &state);
                        }
                        pause = least;
                    }
                    // While a job is requeued, it seems to have failed for a moment.
                    let is_final = match state {
                        JobState::Ended(JobEnding::Completed) => true,
                        JobState::Ended(_) => {
                            ended_since.get_or_insert_with(Instant::now).elapsed() >= ENDED_FOR
                        }
                        _ => {
                            ended_since = None;
                            false
                        }
                    };
                    if is_final {
                        tell(&record.job, &state);
                        break state;
                    }
                    seen = state;
                }
                // Jobs continue without Slurm's controller.
                Err(error) if !is_silent => {
                    is_silent = true;
                    log::event("slurm", &format!("{error}; trying again"));
                }
                Err(_) => {}
            }
            let until = tokio::time::Instant::now() + pause;
            pause = (pause * 3 / 2).min(most);
            if !matches!(seen, JobState::Running { .. }) {
                watching = None;
                tokio::time::sleep_until(until).await;
                continue;
            }
            if watching.as_ref().is_none_or(Watching::is_over) {
                watching = Watching::start(&self.out).await;
            }
            // Until the next query of Slurm, or until the coordinator has ended.
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

    /// Returns the result. The state in Slurm and the state of the directory may differ. `is_of_another` states that
    /// the job was submitted for another sweep than the requested one.
    fn end(&self, record: &JobRecord, state: JobState, is_of_another: bool) -> Result<Next, Failure> {
        let job = &record.job;
        let rest = directory_status::look(&self.out);
        let complete = rest.as_ref().ok().filter(|rest| rest.is_complete());
        // Slurm reports this of a job that has computed its sweep. Another command may have submitted the next job
        // since, which uses the directory now.
        let has_completed = state == JobState::Ended(JobEnding::Completed);
        if complete.is_some() || has_completed {
            let is_well = has_completed || state == JobState::Unknown;
            // The sweep file may have been changed since.
            let mut sweep = read_sweep(&self.arguments.sweep).inspect_err(|_| {
                line(&format!(
                    "job {job} {}; the earlier version of the sweep is complete",
                    state.describe()
                ));
            })?;
            archive::survey(ENGINES, &self.out, &mut sweep)?;
            if let Some(rest) = complete
                && directory_status::is_complete(&self.out, &sweep)
            {
                if !is_well {
                    line(&format!("note: job {job} {}, but the sweep is complete", state.describe()));
                }
                return LastWords::summary(rest.to_text()).say().map(|()| Next::Nothing);
            }
            let is_changed = ResolvedSweep::of(&sweep) != ResolvedSweep::of(&self.sweep);
            if is_well && (is_changed || is_of_another) {
                line(&format!(
                    "job {job} has computed the earlier version of the sweep; another job computes the remaining \
                        trials"
                ));
                return Ok(Next::Again);
            }
        }
        let (word, help, code) = match state {
            JobState::Ended(ending) => {
                let code = if ending == JobEnding::Cancelled { exit::TERMINATED } else { exit::INCOMPLETE };
                (ending.describe(), ending.help(), code)
            }
            _ => ("is no longer known to Slurm", None, exit::INCOMPLETE),
        };
        let log = end_of(&record.log).unwrap_or_default();
        // With `--no-kill`, Slurm itself does not report the reason.
        let help = if is_out_of_memory(&log) { JobEnding::OutOfMemory.help() } else { help };
        let node = failed_node(&log).filter(|_| state == JobState::Ended(JobEnding::Failed));
        let with = node.map(|node| format!(" (node {node})")).unwrap_or_default();
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
        let help = help.or(lines.is_empty().then_some(
            "its log is empty: the script ended before the coordinator started; check the commands of \
                --setup and the output of `sacct`",
        ));
        if let Some(help) = help {
            message.push_str(&format!("\n  help: {help}"));
        }
        message.push_str(&format!("\n  to resume: {}", command_line()));
        Err(Failure::new(code, message))
    }
}

fn tell(job: &Job, state: &JobState) {
    log::event("slurm", &format!("job {job} {}", state.describe()));
}

/// Whether a log reports that a process was killed because of its memory. Slurm may report that as any failure.
fn is_out_of_memory(log: &str) -> bool {
    let said = log.to_ascii_lowercase();
    ["oom-kill", "oom_kill", "oom killed", "out of memory", "out-of-memory"]
        .iter()
        .any(|words| said.contains(words))
}

/// Returns the end of a log, which may be of any length.
fn end_of(log: &Path) -> std::io::Result<String> {
    const MOST: u64 = 1 << 16;
    let mut file = files::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MOST)))?;
    let mut bytes = Vec::new();
    file.take(MOST).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Returns the node whose failure ended the job, as `srun` reports it in the job's log.
fn failed_node(log: &str) -> Option<&str> {
    log.lines()
        .rev()
        .take(LAST_LINES)
        .find_map(|line| line.split("Node failure on ").nth(1)?.split_whitespace().next())
}

/// Returns the state of the last job that was submitted for this directory.
pub(crate) async fn last_job(out: &Path) -> Option<SlurmJob> {
    let record = JobRecord::find(out)?;
    let slurm = Slurm { cluster: record.job.cluster.clone() };
    let state = slurm.look(record.job.job).await;
    Some(SlurmJob::new(&record.job, &state, &record.log))
}

#[cfg(test)]
mod tests {
    use super::is_out_of_memory;

    #[test]
    fn a_log_tells_of_memory_in_whichever_words() {
        for log in [
            "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=7.0. Some of your processes may have \
                been killed",
            "srun: error: n1: task 0: Out Of Memory",
            "slurmstepd: error: Detected 1 oom_kill event in StepId=7.batch",
        ] {
            assert!(is_out_of_memory(log), "{log}");
        }
        assert!(!is_out_of_memory("srun: error: n1: task 0: Exited with exit code 1"));
    }
}
