//! Submits jobs of workers for a served sweep, as many as there is work for.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use granule_server::view::board::Views;
use granule_server::view::log;
use granule_server::view::status::{SCHEMA, Snapshot, now};
use granule_server::view::terminal::Terminal;
use granule_system::exit;
use granule_system::files;
use granule_text::plural;
use granule_text::words::brief;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, timeout_at};

use super::record::{LONGEST_RECORD, REMEMBERED_FOR};
use super::watching::{Heard, Watching};
use super::{ASK_EVERY, LAST_LINES, Request, end_of, of_slurm, unfit};
use crate::commands::entrance::ACCESS;
use crate::commands::signals::{self, Stop, Stopped};
use crate::failure::{Failure, shell_path, shown};
use crate::slurm::control::{self, Slurm, SlurmError};
use crate::slurm::script::WorkerLayout;
use crate::slurm::{Job, JobEnding, JobId, JobState};
use crate::stdout::{LastWords, say};

/// How long a coordinator may take to start.
const TO_BEGIN: Duration = Duration::from_secs(10);

/// How long a coordinator that has ended may take to be restarted. Its workers look for it as long.
const TO_COME_BACK: Duration = Duration::from_secs(600);

/// If less time than this is left, no more workers are started.
const NEARLY: Duration = Duration::from_secs(30);

/// How long requests to cancel workers may fail.
const SILENT_FOR: Duration = Duration::from_secs(60);

/// Held while a command keeps up the workers.
const LOCK: &str = "workers.lock";

/// Name of the record of the workers' jobs.
const RECORD: &str = "workers.json";

/// A worker that ends within this time after its start has ended early.
const EARLY: Duration = Duration::from_secs(60);

/// The pause after workers that ended early: the first, and the longest. Each is twice the previous one.
const AFTER_EARLY: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(300));

/// How often in a row workers may end early while no other runs.
const MOST_EARLY: u32 = 3;

/// Pause before more workers are submitted after Slurm has refused more.
const AFTER_REFUSAL: Duration = Duration::from_secs(60);

/// Jobs of workers that were submitted and may not be over.
#[derive(Debug, Serialize, Deserialize)]
struct ArraysRecord {
    schema: u32,
    /// Always `slurm_workers`.
    #[serde(rename = "type")]
    kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cluster: Option<String>,
    arrays: Vec<JobArray>,
}

/// An array of jobs of workers.
#[derive(Debug, Serialize, Deserialize)]
struct JobArray {
    job: JobId,
    /// Number of workers in it, with numbers from 0.
    tasks: u32,
    /// RFC 3339, UTC.
    submitted: String,
}

impl JobArray {
    /// Whether Slurm would still list a task of it: waiting, running, or ended a short time ago.
    fn is_remembered(&self) -> bool {
        let age =
            |submitted: jiff::Timestamp| jiff::Timestamp::now().duration_since(submitted).unsigned_abs();
        self.submitted.parse().is_ok_and(|submitted| age(submitted) < REMEMBERED_FOR)
    }
}

/// Numbers of workers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct TaskCounts {
    waiting: u32,
    running: u32,
    /// The reason that some wait.
    why: Option<String>,
}

impl TaskCounts {
    fn all(&self) -> u32 {
        self.waiting + self.running
    }
}

/// The reason that workers are no longer kept up.
enum WatchEnd {
    /// The coordinator has ended.
    Over,
    /// The coordinator has ended, and was not restarted.
    Gone,
    /// The user asked to stop.
    Stopped(Stop),
    /// Workers end soon after their start.
    Hopeless(Failure),
}

impl Request<'_> {
    /// Submits jobs of workers, as many as requested, while there is work.
    pub(super) async fn attach(&self) -> Result<(), Failure> {
        let script = self.plan.worker_job(&self.arguments.idle_timeout).map_err(|error| unfit(&error))?;
        if self.arguments.dry_run {
            say(&script)?.done();
            return Ok(());
        }
        let _lock = self.lock(LOCK, "`granule slurm --attach` is running for", Duration::ZERO).await?;
        // A command that was killed has left its workers, which count.
        let mut arrays = JobArrays::find(self);
        let Some(watching) = Watching::within(&self.out, TO_BEGIN, true).await else {
            let message = format!(
                "error: no coordinator of {} can be reached: {} is missing or outdated\n  help: start it first, \
                    on a machine that \
                 the nodes can reach: granule serve {} --listen 0.0.0.0:0",
                self.sweep.name,
                self.out.join(ACCESS).display(),
                shell_path(&self.arguments.sweep)
            );
            return Err(arrays.left(Failure::new(exit::FAILED, message)));
        };
        let path = self.keep("worker.sh", &script)?;
        let farewell = "stopped; running workers drain when they have no work".to_owned();
        let stopped = signals::listen(farewell)
            .map_err(|error| arrays.left(Failure::caused_by(exit::FAILED, &error, None)))?;
        let end = self.keep_up(&path, watching, stopped, &mut arrays).await;
        // On a failure, no command looks after the workers any more: print which are left.
        let end = match end {
            Ok(end) => end,
            Err(failure) => return Err(arrays.left(failure)),
        };
        // Waiting workers are of no use any more. Running ones leave when the coordinator says goodbye. If it did not,
        // they are asked to leave.
        arrays
            .take_back(matches!(end, WatchEnd::Over))
            .await
            .map_err(|error| arrays.left(of_slurm(&error)))?;
        arrays.forget();
        match end {
            WatchEnd::Over => {
                let out = shown(&self.out);
                LastWords::summary(format!("The coordinator has ended; no job is left. Its outputs: {out}\n"))
                    .say()
            }
            WatchEnd::Gone => {
                let message = "error: the coordinator has ended and was not restarted; cancelled the workers\n  \
                               help: start the coordinator again with its command, then run this command again";
                Err(Failure::new(exit::INCOMPLETE, message))
            }
            WatchEnd::Hopeless(failure) => Err(failure),
            WatchEnd::Stopped(stop) => {
                Err(Failure::new(stop.code(), format!("{}: cancelled the workers", stop.word())))
            }
        }
    }

    /// Keeps up the number of workers until the coordinator has ended.
    async fn keep_up(
        &self,
        script: &Path,
        mut watching: Watching,
        mut stopped: Stopped,
        arrays: &mut JobArrays<'_>,
    ) -> Result<WatchEnd, Failure> {
        let limit = match self.plan.shape {
            WorkerLayout::Nodes(nodes) => nodes,
            WorkerLayout::Workers { workers, .. } => workers,
        };
        let views = Views::default();
        let _terminal = Terminal::follow(views.board());
        let (least, most) = ASK_EVERY;
        let mut pause = least;
        let mut work = None;
        let mut shown = TaskCounts::default();
        let mut is_silent = false;
        loop {
            // This is never cancelled: a job that was submitted but not recorded would be left.
            match arrays.top_up(script, work.map(|work: u32| limit.min(work))).await {
                Ok(counts) => {
                    is_silent = false;
                    if let Some(failure) = arrays.hopeless(&counts) {
                        return Ok(WatchEnd::Hopeless(failure));
                    }
                    if counts != shown {
                        let TaskCounts { waiting, running, why } = &counts;
                        let why = why.as_ref().map(|why| format!("; {why}")).unwrap_or_default();
                        let text =
                            format!("workers: {running} running, {waiting} waiting, at most {limit}{why}");
                        log::event("slurm", &text);
                        shown = counts;
                        pause = least;
                    }
                }
                // If not even the first worker can be submitted, later attempts would fail, too.
                Err(error) if arrays.arrays.is_empty() => return Err(of_slurm(&error)),
                Err(error) if !is_silent => {
                    is_silent = true;
                    log::event("slurm", &format!("{error}; trying again"));
                }
                Err(_) => {}
            }
            let until = Instant::now() + pause;
            pause = (pause * 3 / 2).min(most);
            loop {
                let heard = tokio::select! {
                    heard = timeout_at(until, watching.heard.recv()) => heard,
                    kind = stopped.wait_for(Option::is_some) => {
                        let kind = kind.ok().and_then(|kind| *kind);
                        return Ok(WatchEnd::Stopped(kind.unwrap_or(Stop::Interrupt)));
                    }
                };
                match heard {
                    Ok(Some(Heard::Snapshot(snapshot))) => {
                        work = Some(work_of(&snapshot));
                        views.put_up(*snapshot);
                    }
                    Ok(Some(Heard::Notice(_))) => {}
                    Ok(None) => {
                        if self.out.join(ACCESS).exists() {
                            log::event(
                                "slurm",
                                "the coordinator does not answer; waiting for it, without submitting more workers",
                            );
                            // A worker that starts now would find no coordinator.
                            let _ = arrays.slurm.cancel(&arrays.jobs(), true).await;
                        }
                        let again = tokio::select! {
                            again = Watching::within(&self.out, TO_COME_BACK, false) => again,
                            _ = stopped.wait_for(Option::is_some) => continue,
                        };
                        match again {
                            Some(again) => watching = again,
                            None if self.out.join(ACCESS).exists() => return Ok(WatchEnd::Gone),
                            None => return Ok(WatchEnd::Over),
                        }
                    }
                    Err(_) => break,
                }
            }
        }
    }
}

/// Returns the most workers that have work. A run that is nearly over ends before another job would start.
fn work_of(snapshot: &Snapshot) -> u32 {
    let is_over = snapshot.state != "computing" || snapshot.left().is_some_and(|left| left < NEARLY);
    let missing = snapshot.trials.total.saturating_sub(snapshot.trials.stored);
    if is_over { 0 } else { u32::try_from(missing).unwrap_or(u32::MAX) }
}

/// The workers' jobs that were submitted, also by an earlier command that was killed.
struct JobArrays<'a> {
    request: &'a Request<'a>,
    slurm: Slurm,
    arrays: Vec<JobArray>,
    /// Workers that have ended early, and how often in a row some did.
    early: BTreeSet<(JobId, u32)>,
    strikes: u32,
    /// Whether the workers that an earlier command left have been counted. Their early ends are not reported.
    is_counted: bool,
    /// The last job that was submitted before workers last ended early.
    judged: JobId,
    /// No worker is submitted before this time.
    not_before: Option<Instant>,
    /// Most workers that Slurm accepts at a time.
    most: u32,
    /// Whether Slurm has refused more, and this was reported.
    is_refused: bool,
}

impl<'a> JobArrays<'a> {
    /// Reads the recorded jobs.
    fn find(request: &'a Request<'a>) -> JobArrays<'a> {
        let written = files::read(&request.logs.join(RECORD), LONGEST_RECORD).unwrap_or_default();
        let written =
            serde_json::from_slice::<ArraysRecord>(&written).ok().filter(|record| record.schema == SCHEMA);
        let (cluster, arrays) =
            written.map(|ArraysRecord { cluster, arrays, .. }| (cluster, arrays)).unwrap_or_default();
        JobArrays {
            request,
            slurm: Slurm { cluster },
            arrays,
            early: BTreeSet::new(),
            strikes: 0,
            is_counted: false,
            judged: JobId(0),
            not_before: None,
            most: u32::MAX,
            is_refused: false,
        }
    }

    fn jobs(&self) -> Vec<JobId> {
        self.arrays.iter().map(|array| array.job).collect()
    }

    /// Counts workers, and notes those that have ended early. A worker that Slurm does not list counts as waiting, as
    /// long as Slurm would still list it if it had ended. So there are never too many.
    async fn count(&mut self, wanted: Option<u32>) -> Result<TaskCounts, SlurmError> {
        let tasks = self.slurm.tasks(&self.jobs()).await?;
        let mut counts = TaskCounts::default();
        let mut is_early = false;
        let mut over = BTreeSet::new();
        let mut waiting = Vec::new();
        for array in &self.arrays {
            let before = counts.all();
            for number in 0..array.tasks {
                let task = tasks.iter().find(|task| (task.job, task.number) == (array.job, number));
                let Some(task) = task else {
                    counts.waiting += u32::from(array.is_remembered());
                    continue;
                };
                match &task.state {
                    JobState::Waiting { .. } => {
                        counts.waiting += 1;
                        waiting.push((task.job, task.number));
                        counts.why.get_or_insert_with(|| task.state.describe());
                    }
                    JobState::Running { .. } | JobState::Suspended { .. } | JobState::Ending => {
                        counts.running += 1
                    }
                    // Cancelled workers did not end by themselves, and workers leave when no work is left.
                    JobState::Ended(ending)
                        if task.ran < EARLY && *ending != JobEnding::Cancelled && wanted != Some(0) =>
                    {
                        let is_new = self.early.insert((task.job, task.number));
                        // The others of an array that was judged may end a little later.
                        is_early |= is_new && task.job > self.judged;
                    }
                    JobState::Ended(_) | JobState::Unknown => {}
                }
                // A worker that was submitted after the last early end has run for long enough.
                if task.job > self.judged && task.ran >= EARLY {
                    self.strikes = 0;
                }
            }
            if counts.all() == before && !array.is_remembered() {
                over.insert(array.job);
            }
        }
        self.arrays.retain(|array| !over.contains(&array.job));
        // An earlier command may have asked for more workers. When little work is left, waiting ones start too late.
        let surplus = wanted.map_or(0, |wanted| counts.all().saturating_sub(wanted)) as usize;
        let surplus = waiting.split_off(waiting.len().saturating_sub(surplus));
        if !surplus.is_empty() {
            self.slurm.cancel_tasks(&surplus).await?;
            counts.waiting -= surplus.len() as u32;
        }
        if std::mem::replace(&mut self.is_counted, true) && is_early {
            self.strikes += 1;
            self.judged = self.arrays.iter().map(|array| array.job).max().unwrap_or(self.judged);
            let (first, longest) = AFTER_EARLY;
            let pause = (first * 2_u32.saturating_pow(self.strikes - 1)).min(longest);
            self.not_before = Some(Instant::now() + pause);
            let text = format!(
                "workers ended within a minute after they started; submitting no more for {}",
                brief(pause)
            );
            log::event("slurm", &format!("{text}{}", self.last_words()));
        }
        Ok(counts)
    }

    /// Submits the workers that are missing. Returns how many wait and run.
    async fn top_up(&mut self, script: &Path, wanted: Option<u32>) -> Result<TaskCounts, SlurmError> {
        let counts = self.count(wanted).await?;
        let mut missing = wanted.unwrap_or(0).saturating_sub(counts.all()).min(self.most);
        if self.not_before.is_some_and(|time| Instant::now() < time) {
            missing = 0;
        }
        while missing > 0 {
            match control::submit(script, Some(missing), &self.request.options()).await {
                Ok(Job { job, cluster }) => {
                    self.slurm.cluster = cluster;
                    self.arrays.push(JobArray { job, tasks: missing, submitted: now() });
                    self.most = missing.saturating_mul(2).max(self.most);
                    self.write();
                    break;
                }
                // A limit on the size of arrays, or on jobs that wait.
                Err(error) if error.is_too_many() && missing > 1 => {
                    missing /= 2;
                    self.most = missing;
                }
                Err(error) if error.is_too_many() && counts.all() > 0 => {
                    if !std::mem::replace(&mut self.is_refused, true) {
                        log::event(
                            "slurm",
                            &format!("cannot have more workers than {} at present: {error}", counts.all()),
                        );
                    }
                    self.not_before = Some(Instant::now() + AFTER_REFUSAL);
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(counts)
    }

    /// Records the jobs for the next command, in case this one is killed.
    fn write(&self) {
        let arrays = self.arrays.iter().map(|JobArray { job, tasks, submitted }| JobArray {
            job: *job,
            tasks: *tasks,
            submitted: submitted.clone(),
        });
        let kind = "slurm_workers".to_owned();
        let record = ArraysRecord {
            schema: SCHEMA,
            kind,
            cluster: self.slurm.cluster.clone(),
            arrays: arrays.collect(),
        };
        let json = serde_json::to_string(&record).expect("text and numbers can be written");
        let _ = self.request.keep(RECORD, &format!("{json}\n"));
    }

    /// Returns the failure that ends submitting, if all workers end soon after their start.
    fn hopeless(&self, counts: &TaskCounts) -> Option<Failure> {
        if self.strikes < MOST_EARLY || counts.running > 0 {
            return None;
        }
        let message = format!(
            "error: {} ended within a minute after the start, and no other worker is running{}\n  help: find \
                the cause in the log or with `sacct`, then run this again",
            plural(self.early.len() as u64, "worker"),
            self.last_words()
        );
        Some(Failure::new(exit::INCOMPLETE, message))
    }

    /// Returns the end of the log of the last worker that ended early.
    fn last_words(&self) -> String {
        let Some((job, number)) = self.early.last() else { return String::new() };
        let path = self.request.logs.join(format!("worker-{job}_{number}.log"));
        let log = end_of(&path).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        if lines.is_empty() {
            return String::new();
        }
        let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
        format!("\n  the end of {}:\n    {}", path.display(), last.join("\n    "))
    }

    /// Removes the record. No worker is left.
    fn forget(&self) {
        let _ = fs::remove_file(self.request.logs.join(RECORD));
    }

    /// Adds to a failure which workers may be left.
    fn left(&self, failure: Failure) -> Failure {
        if self.arrays.is_empty() {
            return failure;
        }
        let jobs = self.arrays.iter().map(|array| {
            let cluster = self.slurm.cluster.clone();
            Job { job: array.job, cluster }.scancel()
        });
        let commands = jobs.collect::<Vec<_>>().join("; ");
        let message = format!("{}\n  some workers may be left; to cancel them: {commands}", failure.message);
        Failure::new(failure.code, message)
    }

    /// Cancels jobs, all or only those that wait, and waits until none of them is left. If the controller does not
    /// answer, it is asked again for a while.
    async fn take_back(&self, waiting_only: bool) -> Result<(), SlurmError> {
        let jobs = self.jobs();
        let mut silent_since: Option<Instant> = None;
        let mut shown = 0;
        let mut is_told = false;
        loop {
            // A second signal would end a worker at once, so each worker gets only one.
            let told = if is_told { Ok(()) } else { self.slurm.cancel(&jobs, waiting_only).await };
            is_told = told.is_ok();
            let left = self
                .slurm
                .tasks(&jobs)
                .await
                .map(|tasks| tasks.iter().filter(|of| !of.state.is_over()).count());
            match (left, told) {
                // Slurm may refuse to cancel a job that has ended meanwhile. The result counts: no job is left.
                (Ok(0), _) => return Ok(()),
                (Ok(left), Ok(())) => {
                    silent_since = None;
                    if left != shown {
                        log::event("slurm", &format!("waiting for {} to end", plural(left as u64, "worker")));
                        shown = left;
                    }
                }
                (Err(error), _) | (Ok(_), Err(error)) => {
                    if silent_since.is_none() {
                        log::event("slurm", &format!("{error}; trying again"));
                    }
                    if silent_since.get_or_insert_with(Instant::now).elapsed() >= SILENT_FOR {
                        return Err(error);
                    }
                }
            }
            sleep(ASK_EVERY.0 * 2).await;
        }
    }
}
