//! Jobs of workers for a sweep that is served, as many as there is work for.

use std::fs;
use std::path::Path;
use std::time::Duration;

use granule_worker::files;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, timeout_at};

use super::watching::{Heard, Watching};
use super::{ASK_EVERY, Request, of_slurm, unfit};
use crate::cli::exit;
use crate::commands::entrance::ACCESS;
use crate::commands::signals::{self, Stop, Stopped};
use crate::failure::{Failure, plural, shell_path, shown};
use crate::slurm::JobId;
use crate::slurm::control::{self, SlurmError};
use crate::slurm::script::Shape;
use crate::view::board::Views;
use crate::view::log;
use crate::view::status::{SCHEMA, Snapshot};
use crate::view::stdout::{LastWords, say};
use crate::view::terminal::Terminal;

/// How long a coordinator may take to begin.
const TO_BEGIN: Duration = Duration::from_secs(10);

/// How long one that is gone may take to be started again; its workers look for it as long.
const TO_COME_BACK: Duration = Duration::from_secs(600);

/// No worker is started any more for what is done in this time.
const NEARLY: Duration = Duration::from_secs(30);

/// How long Slurm is asked in vain to take workers back.
const SILENT_FOR: Duration = Duration::from_secs(60);

/// Held as long as somebody keeps workers up.
const LOCK: &str = "workers.lock";

/// What is known of the workers' jobs.
const RECORD: &str = "workers.json";

/// Jobs of workers that were submitted and may not be over.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    schema: u32,
    /// Always `slurm_workers`.
    #[serde(rename = "type")]
    kind: String,
    jobs: Vec<JobId>,
}

/// How the keeping up of workers has ended.
enum End {
    /// The coordinator has ended.
    Over,
    /// It is gone, and has not come back.
    Gone,
    /// We were asked to.
    Stopped(Stop),
}

impl Request<'_> {
    /// Jobs of workers, as many as are asked for while there is work.
    pub(super) async fn attach(&self) -> Result<(), Failure> {
        let script = self.plan.worker_job(&self.arguments.idle_timeout).map_err(|error| unfit(&error))?;
        if self.arguments.dry_run {
            say(&script)?.done();
            return Ok(());
        }
        let _lock = self.lock(LOCK, "keeps up the workers of")?;
        // One that was ended without a word has left its workers, which count.
        let mut arrays = Arrays::find(self);
        let Some(watching) = Watching::within(&self.out, TO_BEGIN, true).await else {
            let message = format!(
                "error: no coordinator of {} can be reached: {} leads nowhere\n  help: start it first, on a machine that \
                 the nodes can reach: granule serve {} --listen 0.0.0.0:0",
                self.sweep.name,
                self.out.join(ACCESS).display(),
                shell_path(&self.arguments.sweep)
            );
            return Err(arrays.left(Failure::new(exit::FAILED, message)));
        };
        let path = self.keep("worker.sh", &script)?;
        let farewell = "ended at once: workers that run leave when they have nothing to do".to_owned();
        let stopped = signals::listen(farewell)
            .map_err(|error| arrays.left(Failure::caused_by(exit::FAILED, &error, None)))?;
        let end = self.keep_up(&path, watching, stopped, &mut arrays).await;
        // Nobody would look after them any more.
        let end = match end {
            Ok(end) => end,
            Err(failure) => return Err(arrays.left(failure)),
        };
        // What waits is of no use any more. Those that run leave when the coordinator says goodbye; if it did
        // not, they are told to, in good order.
        take_back(&arrays.jobs, matches!(end, End::Over))
            .await
            .map_err(|error| arrays.left(of_slurm(&error)))?;
        arrays.forget();
        match end {
            End::Over => {
                let out = shown(&self.out);
                LastWords::summary(format!("The coordinator has ended; no job is left. Its outputs: {out}\n"))
                    .say()
            }
            End::Gone => {
                let message = "error: the coordinator is gone and has not come back; the workers are taken back\n  \
                               help: start it again with its command, then this";
                Err(Failure::new(exit::INCOMPLETE, message))
            }
            End::Stopped(stop) => {
                Err(Failure::new(stop.code(), format!("{}: the workers are taken back", stop.word())))
            }
        }
    }

    /// Keeps up the number of workers until the coordinator has ended.
    async fn keep_up(
        &self,
        script: &Path,
        mut watching: Watching,
        mut stopped: Stopped,
        arrays: &mut Arrays<'_>,
    ) -> Result<End, Failure> {
        let limit = match self.plan.shape {
            Shape::Nodes(nodes) => nodes,
            Shape::Workers { workers, .. } => workers,
        };
        let views = Views::default();
        let _terminal = Terminal::follow(views.board());
        let (least, most) = ASK_EVERY;
        let mut pause = least;
        let mut work = 0;
        let mut shown = (0, 0);
        let mut is_silent = false;
        loop {
            // What is begun is done to its end: a job that was submitted unnoticed would be left.
            match arrays.top_up(script, limit.min(work)).await {
                Ok(counts) => {
                    is_silent = false;
                    if counts != shown {
                        let (waiting, running) = counts;
                        let text = format!("workers: {running} running, {waiting} waiting, at most {limit}");
                        log::event("slurm", &text);
                        shown = counts;
                        pause = least;
                    }
                }
                // One that cannot even be submitted would not be later.
                Err(error) if arrays.jobs.is_empty() => return Err(of_slurm(&error)),
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
                        return Ok(End::Stopped(kind.unwrap_or(Stop::Interrupt)));
                    }
                };
                match heard {
                    Ok(Some(Heard::Snapshot(snapshot))) => {
                        work = work_of(&snapshot);
                        views.put_up(*snapshot);
                    }
                    Ok(Some(Heard::Notice(_))) => {}
                    Ok(None) => {
                        let again = tokio::select! {
                            again = Watching::within(&self.out, TO_COME_BACK, false) => again,
                            _ = stopped.wait_for(Option::is_some) => continue,
                        };
                        match again {
                            Some(again) => watching = again,
                            None if self.out.join(ACCESS).exists() => return Ok(End::Gone),
                            None => return Ok(End::Over),
                        }
                    }
                    Err(_) => break,
                }
            }
        }
    }
}

/// Workers that have something to do, at most: what is nearly over is so before another job would have begun.
fn work_of(snapshot: &Snapshot) -> u32 {
    let is_over = snapshot.state != "computing" || snapshot.left().is_some_and(|left| left < NEARLY);
    let missing = snapshot.trials.total.saturating_sub(snapshot.trials.stored);
    if is_over { 0 } else { u32::try_from(missing).unwrap_or(u32::MAX) }
}

/// The jobs of workers that were submitted, also by a command before that was ended without a word.
struct Arrays<'a> {
    request: &'a Request<'a>,
    jobs: Vec<JobId>,
}

impl<'a> Arrays<'a> {
    /// Those that are written down.
    fn find(request: &'a Request<'a>) -> Arrays<'a> {
        let written = files::read(&request.logs.join(RECORD), super::LONGEST_RECORD).unwrap_or_default();
        let written =
            serde_json::from_slice::<Record>(&written).ok().filter(|record| record.schema == SCHEMA);
        Arrays { request, jobs: written.map(|record| record.jobs).unwrap_or_default() }
    }

    /// Submits what is missing of so many; gives how many wait and run.
    async fn top_up(&mut self, script: &Path, wanted: u32) -> Result<(u32, u32), SlurmError> {
        let (waiting, running) = control::count(&self.jobs).await?;
        if wanted > waiting + running {
            self.jobs.push(control::submit(script, Some(wanted - waiting - running)).await?);
            let record = Record { schema: SCHEMA, kind: "slurm_workers".to_owned(), jobs: self.jobs.clone() };
            let json = serde_json::to_string(&record).expect("text and numbers can be written");
            // It is for the next command, if this one does not end as it should.
            let _ = self.request.keep(RECORD, &format!("{json}\n"));
        }
        Ok((waiting, running))
    }

    /// None of them is there any more.
    fn forget(&self) {
        let _ = fs::remove_file(self.request.logs.join(RECORD));
    }

    /// Says which may be left.
    fn left(&self, failure: Failure) -> Failure {
        if self.jobs.is_empty() {
            return failure;
        }
        let jobs = self.jobs.iter().map(JobId::to_string).collect::<Vec<_>>().join(" ");
        let message =
            format!("{}\n  workers may be left; to take them back: scancel {jobs}", failure.message);
        Failure::new(failure.code, message)
    }
}

/// Takes back jobs, those that wait only or all, and waits until none of them is left; a controller that does not
/// answer is asked again for a while.
async fn take_back(jobs: &[JobId], waiting_only: bool) -> Result<(), SlurmError> {
    let mut silent_since: Option<Instant> = None;
    let mut shown = (0, 0);
    let mut is_told = false;
    loop {
        // Who is told to leave once more leaves at once.
        let told = if is_told { Ok(()) } else { control::cancel(jobs, waiting_only).await };
        is_told = told.is_ok();
        match (control::count(jobs).await, told) {
            // Slurm refuses to cancel what has just ended; what counts is that nothing is left.
            (Ok((0, 0)), _) => return Ok(()),
            (Ok(left), Ok(())) => {
                silent_since = None;
                let (waiting, running) = left;
                if left != shown {
                    let workers = plural((waiting + running).into(), "worker");
                    log::event("slurm", &format!("{workers} to leave"));
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
