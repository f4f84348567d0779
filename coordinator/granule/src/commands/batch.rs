//! `granule batch`: runs a sweep with workers that are jobs of a batch system.
//!
//! The coordinator runs here. Each job is one worker, which finds the coordinator by the access file. A job that ends
//! before the sweep is complete is submitted again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use granule_server::driver::RunOptions;
use granule_server::view::log::line;
use granule_system::files;
use granule_text::{from_outside, plural};
use nix::sys::signal::{Signal, raise};

use crate::batch::{BatchError, BatchJobState, BatchSystem, Placeholders, SYSTEMS};
use crate::cli::{self, exit};
use crate::commands::entrance::{Entrance, EntranceError, Starter};
use crate::commands::run::{config, program};
use crate::commands::serve::DRAIN_WITHIN;
use crate::commands::sweep_file::model_path;
use crate::commands::sweep_run::{self, RunOrder};
use crate::commands::target::{self, TargetKind};
use crate::failure::{Failure, shell_path, shown};

/// Directory of the scripts and logs of jobs, in the output directory.
pub(crate) const DIRECTORY: &str = "batch";

/// The name of the system, and the numbers of the jobs that wait or run, one on each line.
const JOBS: &str = "jobs.txt";

/// The beginning of its first line.
const HEAD: &str = "system: ";

/// Longest file of jobs, and of a batch system, in bytes.
const LONGEST: u64 = 1 << 20;

/// Pause between two queries of the batch system, which other users query, too.
const ASK_EVERY: Duration = Duration::from_secs(10);

/// A job that ends this soon after its submission has failed.
const TOO_SOON: Duration = Duration::from_secs(60);

/// Number of failed jobs, one after the other, that ends the run. The same number of submissions that fail ends it if no
/// job is left.
const MOST_FAILURES: u32 = 3;

/// How long cancelled jobs may take to end.
const ENDS_WITHIN: Duration = Duration::from_secs(10);

/// Pause between two queries about cancelled jobs.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Most jobs that a message names.
const MOST_NAMED: usize = 5;

/// How long before the time limit of its job a worker drains.
const DRAINS_BEFORE: Duration = Duration::from_secs(60);

pub(crate) fn run(arguments: &cli::Batch) -> Result<(), Failure> {
    let common = &arguments.common;
    let system = system(&arguments.system)?;
    system.check_options(&arguments.options).map_err(|error| {
        let named = shown(Path::new(&arguments.system));
        let message = format!("error: cannot use {named}\n  because: {error}\n  help: {}", error.help());
        Failure::new(exit::USAGE, message)
    })?;
    let granule = match &arguments.granule {
        // A name without a directory is looked for in the PATH of the nodes.
        Some(name) if name.components().count() == 1 => name.clone(),
        Some(path) => std::path::absolute(path).unwrap_or_else(|_| path.clone()),
        None => std::env::current_exe().map_err(|error| Failure::caused_by(exit::FAILED, &error, None))?,
    };
    let program = program(common.worker_program.as_ref())?;
    let known: OnceLock<Arc<Jobs>> = OnceLock::new();
    let result = sweep_run::run(
        &RunOrder::of(common),
        |out| {
            let place = out.path().join(DIRECTORY);
            let place = std::path::absolute(&place).unwrap_or(place);
            let jobs = known.get_or_init(|| Arc::new(Jobs::new(system, arguments, granule, place)));
            Entrance::for_jobs(arguments.listen, arguments.interface.clone(), out, Arc::clone(jobs) as _)
        },
        |sweep| {
            if let Some(jobs) = known.get() {
                let model = model_path(&common.sweep, sweep);
                let _ = jobs.sweep.set((sweep.name.clone(), model));
            }
            RunOptions {
                sweep: sweep.name.clone(),
                workers: 0,
                program,
                ssh: None,
                scheduler: config(common, 0, sweep),
                drain_within: DRAIN_WITHIN,
                give_up_after: arguments.give_up_after,
                tells_of_workers: true,
                metrics: None,
                model: model_path(&common.sweep, sweep),
                packages: None,
                records: None,
                growth: None,
            }
        },
    );
    let Some(jobs) = known.get() else { return result };
    jobs.cancel();
    let why = jobs.state().failure.take();
    result.map_err(|failure| match why {
        Some(why) => Failure::new(exit::FAILED, format!("{why}\n  {}", failure.message)),
        None => failure,
    })
}

/// Returns the file of a system that granule knows.
pub(crate) fn file_of(name: &str) -> Result<&'static str, Failure> {
    let found = SYSTEMS.iter().find(|(known, _)| *known == name);
    found.map(|(_, text)| *text).ok_or_else(|| {
        let names: Vec<&str> = SYSTEMS.iter().map(|(name, _)| *name).collect();
        let message = format!(
            "error: no batch system `{}`\n  help: the systems are {}",
            name.escape_debug(),
            names.join(", ")
        );
        Failure::new(exit::USAGE, message)
    })
}

/// Whether the user named the file of a system.
fn is_file(named: &str) -> bool {
    named.contains('/') || Path::new(named).extension().is_some()
}

/// Returns a system by its name, or by the path of its file.
fn system(named: &str) -> Result<BatchSystem, Failure> {
    let path = Path::new(named);
    let text = match is_file(named) {
        false => file_of(named)?.to_owned(),
        true => {
            let bytes = files::read(path, LONGEST).map_err(|error| {
                let message = format!("error: cannot read {}\n  because: {error}", path.display());
                Failure::new(exit::USAGE, message)
            })?;
            String::from_utf8_lossy(&bytes).into_owned()
        }
    };
    BatchSystem::parse(&text).map_err(|error| {
        let message =
            format!("error: cannot use {}\n  because: {error}\n  help: {}", shown(path), error.help());
        Failure::new(exit::USAGE, message)
    })
}

/// The jobs of a run.
#[derive(Debug)]
struct Jobs {
    system: BatchSystem,
    /// The system as the user named it.
    named: String,
    wanted: u32,
    threads: u32,
    time: Option<Duration>,
    options: Vec<String>,
    /// The program on the nodes.
    granule: PathBuf,
    /// Directory of scripts and logs.
    place: PathBuf,
    /// Name of the sweep, and the path of its model file.
    sweep: OnceLock<(String, Option<PathBuf>)>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The jobs that wait or run, by number, with the time of their submission and their log. Those of an earlier
    /// coordinator have no time.
    alive: BTreeMap<String, (Option<Instant>, PathBuf)>,
    /// Number of the last script.
    last: u32,
    /// Jobs that failed, without another in between.
    failures: u32,
    /// Submissions that failed, without another in between.
    refusals: u32,
    /// Held jobs that a message has named.
    held: BTreeSet<String>,
    /// Whether the last query failed. Only the first of several prints a message.
    is_silent: bool,
    is_watched: bool,
    /// Jobs that the last query did not find, with its time. Some systems do not know a new job at once, so two queries
    /// count.
    missing: BTreeMap<String, Instant>,
    /// Whether all trials are computed. Jobs that end then are not replaced.
    rests: bool,
    /// Whether the run is over, and no more jobs are submitted.
    is_over: bool,
    /// Why this process ended the run.
    failure: Option<String>,
}

impl Jobs {
    fn new(system: BatchSystem, arguments: &cli::Batch, granule: PathBuf, place: PathBuf) -> Jobs {
        Jobs {
            system,
            named: match is_file(&arguments.system) {
                true => std::path::absolute(&arguments.system)
                    .map_or_else(|_| arguments.system.clone(), |path| path.display().to_string()),
                false => arguments.system.clone(),
            },
            wanted: arguments.jobs,
            threads: arguments.threads,
            time: arguments.time,
            options: arguments.options.clone(),
            granule,
            place,
            sweep: OnceLock::new(),
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the output directory.
    fn out(&self) -> String {
        self.place.parent().unwrap_or(&self.place).display().to_string()
    }

    fn job_state(&self, job: &str) -> Result<BatchJobState, BatchError> {
        self.system.state(job, &self.out())
    }

    /// Finds the jobs of a coordinator that was killed. Returns how many there are.
    fn adopt(&self, state: &mut State) -> Result<usize, EntranceError> {
        let path = self.place.join(JOBS);
        let bytes = match files::read(&path, LONGEST) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(source) => return Err(EntranceError::ReadJobs { path, source }),
        };
        let text = String::from_utf8_lossy(&bytes);
        let mut lines = text.lines().filter(|line| !line.is_empty());
        match lines.next() {
            Some(head) if head == self.head() => {}
            Some(head) => {
                let system = from_outside(head.trim_start_matches(HEAD));
                return Err(EntranceError::OtherJobs { path, system });
            }
            None => return Ok(0),
        }
        for job in lines {
            // A job is dropped only if the system reports its end.
            if !matches!(self.job_state(job), Ok(BatchJobState::Ended)) {
                state.alive.insert(job.to_owned(), (None, self.place.clone()));
            }
        }
        // Their logs stay as they are.
        let is_free = |number: &u32| !self.place.join(format!("job-{number}.job")).exists();
        state.last = (1..).find(|number| state.alive.is_empty() || is_free(number)).unwrap_or(1) - 1;
        Ok(state.alive.len())
    }

    /// Returns the first line of the file of jobs.
    fn head(&self) -> String {
        format!("{HEAD}{}", self.named)
    }

    /// Submits jobs until there are as many as requested, or no more are needed. If the system refuses one, prints a note:
    /// a server may not answer for a while, and the other jobs continue without it.
    ///
    /// # Errors
    /// If no job is left after several refusals, or if trying again is useless.
    fn fill_up(&self, access: &Path) -> Result<(), EntranceError> {
        loop {
            // The lock is released between two submissions, so that the run can end there.
            let mut state = self.state();
            if state.alive.len() as u32 >= self.wanted || state.rests || state.is_over {
                return Ok(());
            }
            if let Err(error) = self.submit(&mut state, access) {
                state.refusals += 1;
                let is_left = !state.alive.is_empty() || state.is_watched && state.refusals < MOST_FAILURES;
                if !error.is_passing() || !is_left {
                    return Err(error);
                }
                if state.refusals == 1 {
                    line(&format!("note: cannot submit another job: {error}; trying again"));
                }
                return Ok(());
            }
            state.refusals = 0;
        }
    }

    /// Submits a job.
    fn submit(&self, state: &mut State, access: &Path) -> Result<(), EntranceError> {
        let number = state.last + 1;
        let (log, values) = self.write(number, access)?;
        let job = self.system.submit(&values, &self.options)?;
        state.last = number;
        state.alive.insert(job, (Some(Instant::now()), log));
        self.note(state)
    }

    /// Writes the script of a job. Returns the path of its log, and the values of placeholders.
    fn write(&self, number: u32, access: &Path) -> Result<(PathBuf, Placeholders), EntranceError> {
        let path = |ending: &str| self.place.join(format!("job-{number}.{ending}"));
        let (script, job_script, log) = (path("job"), path("sh"), path("log"));
        let (name, model) = self.sweep.get().cloned().unwrap_or_default();
        let mut command = format!(
            "{} worker --access {} --wait --threads {}",
            shell_path(&self.granule),
            shell_path(access),
            self.threads
        );
        if let Some(time) =
            self.time.and_then(|time| time.checked_sub(DRAINS_BEFORE)).filter(|time| !time.is_zero())
        {
            command.push_str(&format!(" --time-limit {}s", time.as_secs()));
        }
        if let Some(model) = model {
            command.push_str(&format!(" --model {}", shell_path(model)));
        }
        let seconds = self.time.map(|time| time.as_secs());
        let values: Placeholders = BTreeMap::from([
            ("name", Some(job_name(&name, number))),
            ("out", Some(self.out())),
            ("script", Some(script.display().to_string())),
            ("command", Some(command.clone())),
            ("job_script", Some(job_script.display().to_string())),
            ("log", Some(log.display().to_string())),
            ("threads", Some(self.threads.to_string())),
            ("time", seconds.map(|s| format!("{:02}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60))),
            ("minutes", seconds.map(|s| s.div_ceil(60).to_string())),
            ("seconds", seconds.map(|s| s.to_string())),
        ]);
        for (path, text, mode) in [
            (&script, self.system.script(&values)?, 0o644),
            (&job_script, format!("#!/bin/sh\nexec {command}\n"), 0o755),
        ] {
            if target::check(path, TargetKind::Script, false).is_err() {
                return Err(EntranceError::NotScript { path: path.clone() });
            }
            let put = || {
                use std::os::unix::fs::PermissionsExt as _;
                files::put(path, target::with_hash(&text).as_bytes())?;
                fs::set_permissions(path, fs::Permissions::from_mode(mode))
            };
            put().map_err(|source| EntranceError::Jobs { path: path.clone(), source })?;
        }
        Ok((log, values))
    }

    /// Writes down the jobs that wait or run, for the case that this process is killed.
    fn note(&self, state: &State) -> Result<(), EntranceError> {
        let path = self.place.join(JOBS);
        let mut text = self.head() + "\n";
        state.alive.keys().for_each(|job| text.extend([job, "\n"]));
        files::put(&path, text.as_bytes()).map_err(|source| EntranceError::Jobs { path, source })
    }

    /// Looks after the jobs until the run is over.
    fn watch(&self, access: &Path) {
        let mut pause = ASK_EVERY;
        loop {
            std::thread::sleep(pause);
            let begun = Instant::now();
            if !self.look(access, pause) {
                return;
            }
            // A slow server is asked less often.
            pause = ASK_EVERY.max(4 * begun.elapsed());
        }
    }

    /// Replaces jobs that have ended. `pause` is the time since the last query. Returns whether the run continues.
    fn look(&self, access: &Path, pause: Duration) -> bool {
        let jobs: Vec<String> = self.state().alive.keys().cloned().collect();
        let states: Vec<_> = jobs.into_iter().map(|job| (self.job_state(&job), job)).collect();
        let mut state = self.state();
        if state.is_over {
            return false;
        }
        if state.rests {
            return true;
        }
        self.report(&mut state, &states);
        let ended = states.into_iter().filter(|(found, _)| matches!(found, Ok(BatchJobState::Ended)));
        let before = std::mem::take(&mut state.missing);
        for (_, job) in ended {
            let Some(missing) = before.get(&job) else {
                state.missing.insert(job, Instant::now());
                continue;
            };
            let Some((submitted, log)) = state.alive.remove(&job) else { continue };
            // A slow server reports the end late.
            let too_soon = TOO_SOON.max(2 * pause);
            let is_failure = submitted.is_some_and(|of| missing.duration_since(of) < too_soon);
            state.failures = if is_failure { state.failures + 1 } else { 0 };
            line(&format!("job {job} has ended; its log: {}", shown(&log)));
        }
        if state.failures >= MOST_FAILURES {
            let help = "their logs may say why; `granule init --batch` writes the file of a system";
            let why =
                format!("error: {MOST_FAILURES} jobs ended soon after their submission\n  help: {help}");
            return self.give_up(state, why);
        }
        drop(state);
        let filled = self.fill_up(access);
        let state = self.state();
        match filled {
            _ if state.is_over => false,
            // Trials that are all computed need no job.
            Err(error) if !state.rests => {
                let help = error.help().map_or(String::new(), |help| format!("\n  help: {help}"));
                self.give_up(state, format!("error: {error}{help}"))
            }
            _ => true,
        }
    }

    /// Prints notes about held jobs, and about a query that failed. A failed query leaves the state of its job open.
    fn report(&self, state: &mut State, states: &[(Result<BatchJobState, BatchError>, String)]) {
        let failed = states.iter().find_map(|(found, job)| Some((found.as_ref().err()?, job)));
        if let Some((error, job)) = failed.filter(|_| !state.is_silent) {
            line(&format!("note: the state of job {job} is not known: {error}; trying again"));
        }
        state.is_silent = failed.is_some();
        for (found, job) in states {
            match found {
                Ok(BatchJobState::Held) => {
                    if state.held.insert(job.clone()) {
                        line(&format!(
                            "note: job {job} is held: it stays in the queue until you release it; if you cancel it, \
                                granule submits another one"
                        ));
                    }
                }
                Ok(_) => drop(state.held.remove(job)),
                Err(_) => {}
            }
        }
    }

    /// Ends the run, as after the signal of a user: all that counts is stored.
    fn give_up(&self, mut state: MutexGuard<'_, State>, why: String) -> bool {
        state.is_over = true;
        state.failure = Some(why);
        drop(state);
        let _ = raise(Signal::SIGTERM);
        false
    }

    /// Cancels the jobs that are left.
    fn cancel(&self) {
        let mut state = self.state();
        state.is_over = true;
        // A complete sweep starts no jobs. Those of a killed coordinator are not of this run.
        if !state.is_watched && state.alive.is_empty() {
            return;
        }
        match self.cancel_all(&mut state) {
            Some(error) => self.report_left(&state, &error),
            None => drop(fs::remove_file(self.place.join(JOBS))),
        }
    }

    /// Cancels jobs. Waits a while for those that could not be cancelled: most workers have ended with the sweep, so their
    /// jobs are ending, too. Returns the reason if jobs are left.
    fn cancel_all(&self, state: &mut State) -> Option<BatchError> {
        let out = self.out();
        let mut why = None;
        let jobs: Vec<String> = state.alive.keys().cloned().collect();
        for job in jobs {
            match self.system.cancel(&job, &out) {
                Ok(()) => drop(state.alive.remove(&job)),
                // The other commands would take as long.
                Err(error @ BatchError::Silent { .. }) => return Some(error),
                Err(error) => drop(why.get_or_insert(error)),
            }
        }
        let begun = Instant::now();
        let mut answers = true;
        while !state.alive.is_empty() && answers && begun.elapsed() < ENDS_WITHIN {
            state.alive.retain(|job, _| {
                let found = if answers { self.job_state(job).ok() } else { None };
                answers = found.is_some();
                found != Some(BatchJobState::Ended)
            });
            if !state.alive.is_empty() && answers {
                std::thread::sleep(LOOK_AGAIN);
            }
        }
        why.filter(|_| !state.alive.is_empty())
    }

    /// Prints which jobs are left, and keeps their numbers.
    fn report_left(&self, state: &State, error: &BatchError) {
        let noted = self.note(state).is_ok().then(|| self.place.join(JOBS));
        let command = |job: &String| self.system.cancel_command(job, &self.out());
        let named: Vec<String> = state.alive.keys().take(MOST_NAMED).map(command).collect();
        let more = noted.map_or(String::new(), |path| format!("; all are in {}", shown(&path)));
        line(&format!(
            "note: {} could not be cancelled: {error}\n  to cancel: {}{more}",
            plural(state.alive.len() as u64, "job"),
            named.join("; "),
        ));
    }
}

/// Returns the name of a job. The systems take letters, digits and a few signs, and some of them a letter first.
fn job_name(sweep: &str, number: u32) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let plain: String = sweep.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    let begins_with_letter = plain.starts_with(|c: char| c.is_ascii_alphabetic());
    format!("{}{plain}-{number}", if begins_with_letter { "" } else { "granule-" })
}

impl Starter for Jobs {
    fn start(self: Arc<Self>, access: &Path) -> Result<(), EntranceError> {
        let wrong = |source| EntranceError::Jobs { path: self.place.clone(), source };
        let is_link = fs::symlink_metadata(&self.place).is_ok_and(|found| !found.is_dir());
        if is_link {
            return Err(wrong(std::io::ErrorKind::NotADirectory.into()));
        }
        fs::create_dir_all(&self.place).map_err(wrong)?;
        let access = std::path::absolute(access).map_err(wrong)?;
        let mut state = self.state();
        // Jobs may have ended while this coordinator rested.
        state.alive.retain(|job, _| !matches!(self.job_state(job), Ok(BatchJobState::Ended)));
        let adopted = if state.alive.is_empty() { self.adopt(&mut state)? } else { 0 };
        state.rests = false;
        let before = state.alive.len();
        drop(state);
        self.fill_up(&access)?;
        let mut state = self.state();
        let submitted = state.alive.len().saturating_sub(before);
        let found = match adopted {
            0 => String::new(),
            _ => format!("found: {} of an earlier run; ", plural(adopted as u64, "job")),
        };
        line(&format!(
            "{found}submitted: {}; scripts and logs: {}",
            plural(submitted as u64, "job"),
            shown(&self.place)
        ));
        if !std::mem::replace(&mut state.is_watched, true) {
            let jobs = Arc::clone(&self);
            std::thread::spawn(move || jobs.watch(&access));
        }
        Ok(())
    }

    fn rest(&self) {
        self.state().rests = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns two wanted jobs of a system with these commands, in a directory of their own.
    fn jobs(place: &Path, submit: &str, status: &str, cancel: &str) -> Jobs {
        let text = format!(
            "granule-batch: 1\nsubmit: [{submit}]\njob: '{{job}}'\nstatus: [{status}]\nheld: [on hold]\n\
             cancel: [{cancel}]\nscript: '{{command}}'\n"
        );
        Jobs {
            system: BatchSystem::parse(&text).unwrap(),
            named: "test".to_owned(),
            wanted: 2,
            threads: 1,
            time: None,
            options: Vec::new(),
            granule: PathBuf::from("granule"),
            place: place.to_owned(),
            sweep: OnceLock::new(),
            state: Mutex::default(),
        }
    }

    const SUBMIT: &str = "basename, '{script}', .job";
    /// Knows no job.
    const UNKNOWN: &str = "'true', '{job}'";
    const FAILS: &str = "sh, -c, 'echo no server >&2; exit 1', sh, '{job}'";

    fn alive(jobs: &Jobs) -> Vec<String> {
        jobs.state().alive.keys().cloned().collect()
    }

    #[test]
    fn jobs_are_replaced_only_while_trials_are_computed() {
        let place = tempfile::tempdir().unwrap();
        let jobs = jobs(place.path(), SUBMIT, UNKNOWN, UNKNOWN);
        let access = place.path().join("access.json");
        jobs.fill_up(&access).unwrap();
        assert_eq!(alive(&jobs), ["job-1", "job-2"]);
        assert!(jobs.look(&access, ASK_EVERY));
        assert_eq!(alive(&jobs), ["job-1", "job-2"], "one query may be too early");
        jobs.rest();
        assert!(jobs.look(&access, ASK_EVERY) && jobs.look(&access, ASK_EVERY));
        assert_eq!(alive(&jobs), ["job-1", "job-2"], "workers end when all trials are computed");
        jobs.state().rests = false;
        // As if they had run for a while, or were submitted earlier.
        let long = Instant::now().checked_sub(2 * TOO_SOON).unwrap();
        jobs.state().alive.insert("job-1".to_owned(), (Some(long), PathBuf::new()));
        jobs.state().alive.insert("job-2".to_owned(), (None, PathBuf::new()));
        assert!(jobs.look(&access, ASK_EVERY) && jobs.look(&access, ASK_EVERY));
        assert_eq!(alive(&jobs), ["job-3", "job-4"]);
        assert_eq!(jobs.state().failures, 0);
        // The next two end at once. A slow server reports it late.
        jobs.state().alive.values_mut().for_each(|(submitted, _)| *submitted = Some(long));
        assert!(jobs.look(&access, 2 * TOO_SOON) && jobs.look(&access, 2 * TOO_SOON));
        assert_eq!((alive(&jobs), jobs.state().failures), (vec!["job-5".to_owned(), "job-6".to_owned()], 2));
        jobs.cancel();
        assert!(!jobs.look(&access, ASK_EVERY));
        assert!(!place.path().join(JOBS).exists());
    }

    #[test]
    fn a_server_that_does_not_answer_ends_no_job() {
        let place = tempfile::tempdir().unwrap();
        let access = place.path().join("access.json");
        let first = jobs(place.path(), SUBMIT, FAILS, FAILS);
        first.fill_up(&access).unwrap();
        for _ in 0..3 {
            assert!(first.look(&access, ASK_EVERY));
        }
        assert_eq!(alive(&first), ["job-1", "job-2"]);
        assert!(first.state().is_silent);
        // Jobs that could not be cancelled stay in the file, and the next coordinator finds them.
        first.cancel();
        let listed = fs::read_to_string(place.path().join(JOBS)).unwrap();
        assert_eq!(listed, "system: test\njob-1\njob-2\n");
        let second = jobs(place.path(), SUBMIT, FAILS, UNKNOWN);
        assert_eq!(second.adopt(&mut second.state()).unwrap(), 2);
        second.state().is_watched = true;
        second.cancel();
        assert!(!place.path().join(JOBS).exists());
        let other = Jobs { named: "pbs".to_owned(), ..jobs(place.path(), SUBMIT, FAILS, FAILS) };
        fs::write(place.path().join(JOBS), listed).unwrap();
        let error = other.adopt(&mut other.state()).unwrap_err();
        assert!(error.to_string().ends_with("with another batch system (`test`)"), "{error}");
    }

    #[test]
    fn a_refused_submission_ends_the_run_only_if_no_job_is_left() {
        let place = tempfile::tempdir().unwrap();
        let access = place.path().join("access.json");
        // Only one job fits in the queue.
        let submit = "sh, -c, 'case $1 in */job-1.job) echo 1;; *) exit 1;; esac', sh, '{script}'";
        let jobs = jobs(place.path(), submit, "echo, on hold, '{job}'", UNKNOWN);
        jobs.fill_up(&access).unwrap();
        assert_eq!((alive(&jobs), jobs.state().refusals), (vec!["1".to_owned()], 1));
        assert!(
            jobs.look(&access, ASK_EVERY) && jobs.look(&access, ASK_EVERY) && jobs.look(&access, ASK_EVERY)
        );
        assert_eq!(jobs.state().refusals, 4);
        assert!(jobs.state().held.contains("1"));
        jobs.state().alive.clear();
        jobs.fill_up(&access).unwrap_err();
    }

    #[test]
    fn names_of_jobs_suit_all_systems() {
        assert_eq!(job_name("dose", 3), "dose-3");
        assert_eq!(job_name("2026 dose", 3), "granule-2026_dose-3");
    }
}
