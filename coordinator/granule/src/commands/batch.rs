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

/// Returns a system by its name, or by the path of its file.
fn system(named: &str) -> Result<BatchSystem, Failure> {
    let path = Path::new(named);
    let is_file = path.extension().is_some() || named.contains('/');
    let text = match is_file {
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
    /// The jobs that wait or run, by number, with the time of their submission and their log.
    alive: BTreeMap<String, (Instant, PathBuf)>,
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
    /// Jobs that the last query did not find. Some systems do not know a new job at once, so two queries count.
    missing: BTreeSet<String>,
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
            named: arguments.system.clone(),
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
            Some(head) => return Err(EntranceError::OtherJobs { path, system: from_outside(head) }),
            None => return Ok(0),
        }
        for job in lines {
            if self.job_state(job)? != BatchJobState::Ended {
                state.alive.insert(job.to_owned(), (Instant::now(), self.place.clone()));
            }
        }
        // Their logs stay as they are.
        let is_free = |number: &u32| !self.place.join(format!("job-{number}.job")).exists();
        state.last = (1..).find(|number| state.alive.is_empty() || is_free(number)).unwrap_or(1) - 1;
        Ok(state.alive.len())
    }

    /// Returns the first line of the file of jobs.
    fn head(&self) -> String {
        format!("system: {}", self.named)
    }

    /// Submits jobs until there are as many as requested, or the run is over. Returns how many it submitted.
    fn fill_up(&self, access: &Path) -> Result<usize, EntranceError> {
        for submitted in 0.. {
            // Not held for long, so that the run can end in between.
            let mut state = self.state();
            if state.alive.len() as u32 >= self.wanted || state.is_over {
                return Ok(submitted);
            }
            let number = state.last + 1;
            let (log, values) = self.write(number, access)?;
            let job = self.system.submit(&values, &self.options)?;
            state.last = number;
            state.alive.insert(job, (Instant::now(), log));
            self.note(&state)?;
        }
        Ok(0)
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
            if !self.look(access) {
                return;
            }
            // A slow server is asked less often.
            pause = ASK_EVERY.max(4 * begun.elapsed());
        }
    }

    /// Replaces jobs that have ended. Returns whether the run continues.
    fn look(&self, access: &Path) -> bool {
        let jobs: Vec<String> = self.state().alive.keys().cloned().collect();
        let states: Vec<_> = jobs.into_iter().map(|job| (self.job_state(&job), job)).collect();
        let mut state = self.state();
        if state.is_over {
            return false;
        }
        if state.rests {
            return true;
        }
        self.tell(&mut state, &states);
        let ended = states.into_iter().filter(|(found, _)| matches!(found, Ok(BatchJobState::Ended)));
        let before = std::mem::take(&mut state.missing);
        let (ended, missing): (Vec<String>, Vec<String>) =
            ended.map(|(_, job)| job).partition(|job| before.contains(job));
        state.missing.extend(missing);
        for job in ended {
            let Some((submitted, log)) = state.alive.remove(&job) else { continue };
            let is_failure = submitted.elapsed() < TOO_SOON;
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
        let mut state = self.state();
        let Err(error) = filled else {
            state.refusals = 0;
            return true;
        };
        state.refusals += 1;
        // A server may be away for a while. The other jobs continue without it.
        if error.is_passing() && (!state.alive.is_empty() || state.refusals < MOST_FAILURES) {
            if state.refusals == 1 {
                line(&format!("note: cannot submit another job: {error}; trying again"));
            }
            return true;
        }
        let help = error.help().map_or(String::new(), |help| format!("\n  help: {help}"));
        self.give_up(state, format!("error: {error}{help}"))
    }

    /// Prints notes about held jobs, and about a query that failed. A failed query leaves the state of its job open.
    fn tell(&self, state: &mut State, states: &[(Result<BatchJobState, BatchError>, String)]) {
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
        let out = self.out();
        let mut why = None;
        let jobs: Vec<String> = state.alive.keys().cloned().collect();
        for job in jobs {
            match self.system.cancel(&job, &out) {
                Ok(()) => drop(state.alive.remove(&job)),
                Err(error) => {
                    let is_silent = matches!(error, BatchError::Silent { .. });
                    why.get_or_insert(error);
                    // The other commands would take as long.
                    if is_silent {
                        break;
                    }
                }
            }
        }
        // Most workers have ended with the sweep, so their jobs are ending, too, or not known by now.
        let begun = Instant::now();
        while let Some(error) = why.take_if(|error| !matches!(error, BatchError::Silent { .. })) {
            state.alive.retain(|job, _| !matches!(self.job_state(job), Ok(BatchJobState::Ended)));
            if state.alive.is_empty() || begun.elapsed() >= ENDS_WITHIN {
                why = Some(error);
                break;
            }
            why = Some(error);
            std::thread::sleep(LOOK_AGAIN);
        }
        match why {
            Some(error) if !state.alive.is_empty() => {
                let noted = self.note(&state).is_ok().then(|| self.place.join(JOBS));
                let named: Vec<String> = state
                    .alive
                    .keys()
                    .take(MOST_NAMED)
                    .map(|job| self.system.cancel_command(job, &out))
                    .collect();
                let more = noted.map_or(String::new(), |path| format!("; all are in {}", shown(&path)));
                line(&format!(
                    "note: {} could not be cancelled: {error}\n  to cancel: {}{more}",
                    plural(state.alive.len() as u64, "job"),
                    named.join("; "),
                ));
            }
            _ => drop(fs::remove_file(self.place.join(JOBS))),
        }
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
        drop(state);
        let submitted = self.fill_up(&access)?;
        let found = match adopted {
            0 => String::new(),
            _ => format!("found: {} of an earlier run; ", plural(adopted as u64, "job")),
        };
        line(&format!(
            "{found}submitted: {}; scripts and logs: {}",
            plural(submitted as u64, "job"),
            shown(&self.place)
        ));
        let mut state = self.state();
        state.rests = false;
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

    /// Returns jobs of a system that does not know any job, in a directory of their own.
    fn jobs(place: &Path) -> Jobs {
        let text = "granule-batch: 1\nsubmit: [basename, '{script}', .job]\njob: '{job}'\nstatus: ['false', '{job}']\n\
                    cancel: ['true', '{job}']\nscript: '{command}'\n";
        Jobs {
            system: BatchSystem::parse(text).unwrap(),
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

    fn alive(jobs: &Jobs) -> Vec<String> {
        jobs.state().alive.keys().cloned().collect()
    }

    #[test]
    fn jobs_are_replaced_only_while_trials_are_computed() {
        let place = tempfile::tempdir().unwrap();
        let jobs = jobs(place.path());
        let access = place.path().join("access.json");
        assert_eq!(jobs.fill_up(&access).unwrap(), 2);
        assert_eq!(alive(&jobs), ["job-1", "job-2"]);
        assert!(jobs.look(&access));
        assert_eq!(alive(&jobs), ["job-1", "job-2"], "one query may be too early");
        jobs.rest();
        assert!(jobs.look(&access) && jobs.look(&access));
        assert_eq!(alive(&jobs), ["job-1", "job-2"], "workers end when all trials are computed");
        jobs.state().rests = false;
        // As if they had run for a while.
        let long = Instant::now().checked_sub(2 * TOO_SOON).unwrap();
        jobs.state().alive.values_mut().for_each(|(submitted, _)| *submitted = long);
        assert!(jobs.look(&access) && jobs.look(&access));
        assert_eq!(alive(&jobs), ["job-3", "job-4"]);
        jobs.cancel();
        assert!(!jobs.look(&access));
        assert!(!place.path().join(JOBS).exists());
    }
}
