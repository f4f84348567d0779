//! `granule status`: shows the state of a running coordinator, or of a sweep at rest.

use std::path::Path;
use std::time::{Duration, Instant};

use granule_outputs::archive::{ArchiveError, check_directory, keep_still};
use granule_outputs::survey::DirectorySurvey;
use granule_proto::wire;
use granule_server::view::log;
use granule_server::view::status::{Notice, Snapshot, now, understood};
use granule_system::threads;
use granule_text::from_outside;
use granule_text::plural;
use granule_text::words::escaped_json;
use granule_worker::access::{Access, AccessError};
use granule_worker::connect::{Connected, reconnect};
use granule_worker::{authorised, client};
use serde_json::Value;
use tonic::Streaming;

use crate::cli::{self, exit};
use crate::commands::directory_status::Rest;
use crate::commands::entrance::ACCESS;
use crate::commands::{beacon, directory_status, slurm};
use crate::engines::ENGINES;
use crate::failure::Failure;
use crate::stdout::{self, StdoutReader};

/// Time between two summaries for people with --follow.
const SUMMARY_EVERY: Duration = Duration::from_secs(5);

/// Pause between two attempts to reach a followed coordinator: at first, and at most.
const AGAIN: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// How long this waits for a coordinator of which there is only the access file. Workers wait as long.
const PATIENCE: Duration = Duration::from_secs(600);

const GONE: &str =
    "it may be writing its files. If it was stopped, start it again with the same command; it resumes";

pub(crate) fn run(arguments: &cli::Status) -> Result<(), Failure> {
    let place = match (&arguments.access, &arguments.out) {
        (Some(access), _) => AccessPlace::Access(access),
        (None, Some(out)) => {
            check_directory(out)?;
            AccessPlace::Directory(out)
        }
        (None, None) => {
            let message =
                "error: missing DIR\n  help: name the output directory of a sweep, or pass --access FILE";
            return Err(Failure::new(exit::USAGE, message));
        }
    };
    let runtime = threads::runtime().map_err(|error| Failure::caused_by(exit::FAILED, &error, None))?;
    runtime.block_on(async {
        let mut view = View { arguments, shown: None, last: Snapshot::default() };
        if arguments.follow { follow(&place, &mut view).await } else { look(&place, &mut view).await }
    })
}

/// The place from which the access to a coordinator is read.
enum AccessPlace<'a> {
    Access(&'a Path),
    /// An output directory. Its state can be shown without a coordinator, too.
    Directory(&'a Path),
}

impl AccessPlace<'_> {
    /// Returns the ways to a coordinator. Empty if there is none.
    fn ways(&self) -> Result<Vec<Access>, Failure> {
        let (beacon, path) = match self {
            AccessPlace::Access(path) => (None, path.to_path_buf()),
            AccessPlace::Directory(out) => (beacon::find(out), out.join(ACCESS)),
        };
        let access = match Access::read(&path) {
            Ok(access) => Some(access),
            Err(AccessError::File(file)) if file.is_not_found() => None,
            // The run in this directory has its own file for access.
            Err(_) if beacon.is_some() => None,
            // The access file is another user's, who lets others see the rest.
            Err(AccessError::File(file)) if file.is_denied() && matches!(self, AccessPlace::Directory(_)) => {
                None
            }
            Err(error) => return Err(Failure::caused_by(exit::FAILED, &error, None)),
        };
        Ok(beacon.into_iter().chain(access).collect())
    }

    /// Whether there is an access file that this user may not read.
    fn is_for_others(&self) -> bool {
        let AccessPlace::Directory(out) = self else { return false };
        let access = Access::read(&out.join(ACCESS));
        matches!(access, Err(AccessError::File(file)) if file.is_denied())
    }

    /// Returns the path for people.
    fn display(&self) -> std::path::Display<'_> {
        match self {
            AccessPlace::Access(path) | AccessPlace::Directory(path) => path.display(),
        }
    }
}

/// Shows the state of a coordinator or, if none answers, of the directory at rest.
async fn look(place: &AccessPlace<'_>, view: &mut View<'_>) -> Result<(), Failure> {
    let mut problem = None;
    for access in place.ways()? {
        let reports = match reconnect(&access, None).await {
            Ok(connected) => watch(connected, &access, false).await,
            Err(error) => Err(Failure::caused_by(exit::FAILED, &error, Some(GONE))),
        };
        match reports {
            Ok(mut reports) => {
                while let Ok(Some(wire::Report { json })) = reports.message().await {
                    if view.show(&json)? == StdoutReader::IsGone {
                        break;
                    }
                }
                return Ok(());
            }
            Err(failure) => problem = Some(failure),
        }
    }
    match (place, problem) {
        (AccessPlace::Directory(out), _) => {
            directory_status::run(out, view.arguments.json, slurm::last_job(out).await)
        }
        (AccessPlace::Access(_), Some(problem)) => Err(problem),
        (AccessPlace::Access(path), None) => Err(no_access(path)),
    }
}

fn no_access(path: &Path) -> Failure {
    let message = format!(
        "error: no coordinator is running here: {} does not exist\n  help: `granule serve` writes it at its \
            start and removes it when its sweep is complete. For a complete sweep, see OUT/manifest.json",
        path.display()
    );
    Failure::new(exit::FAILED, message)
}

/// Shows the progress until all trials are computed. Waits for a coordinator that does not answer.
async fn follow(place: &AccessPlace<'_>, view: &mut View<'_>) -> Result<(), Failure> {
    let (least, most) = AGAIN;
    let mut last = None;
    let mut pause = least;
    let mut alone_since: Option<Instant> = None;
    let mut told = None;
    loop {
        let ways = place.ways()?;
        let is_there = !ways.is_empty();
        let mut gone = None;
        for access in ways {
            let connected = match reconnect(&access, last).await {
                Ok(connected) => connected,
                Err(error) if error.is_worth_retrying() => continue,
                Err(error) if matches!(place, AccessPlace::Access(_)) => {
                    return Err(Failure::caused_by(exit::FAILED, &error, None));
                }
                Err(_) => continue,
            };
            last = Some(connected.place);
            let address = connected.address.clone();
            let mut reports = match watch(connected, &access, true).await {
                Ok(reports) => reports,
                // The port of a killed run may belong to another process now.
                Err(_) if matches!(place, AccessPlace::Directory(_)) => continue,
                Err(failure) => return Err(failure),
            };
            while let Ok(Some(wire::Report { json })) = reports.message().await {
                if view.show(&json)? == StdoutReader::IsGone {
                    return Ok(());
                }
            }
            if view.last.is_computed() {
                return ended(view.last.counts.trials_set_aside);
            }
            (gone, alone_since, pause) = (Some(address), None, least);
            break;
        }
        if let AccessPlace::Directory(out) = place
            && let Some(set_aside) = finished(out)?
        {
            if last.is_none() {
                // Nothing was followed, so show the state.
                directory_status::run(out, view.arguments.json, slurm::last_job(out).await)?;
            }
            return ended(set_aside);
        }
        if let AccessPlace::Access(path) = place {
            match (is_there, alone_since) {
                // The coordinator removes the file when its sweep is complete.
                (false, _) if last.is_some() => return ended(view.last.counts.trials_set_aside),
                (false, _) => return Err(no_access(path)),
                (true, Some(since)) if since.elapsed() >= PATIENCE => {
                    let message = format!(
                        "error: could not reach the coordinator for {} s\n  help: {GONE}",
                        PATIENCE.as_secs()
                    );
                    return Err(Failure::new(exit::FAILED, message));
                }
                _ => {}
            }
        }
        if alone_since.is_none() {
            alone_since = Some(Instant::now());
            let text = match gone {
                Some(address) => {
                    format!("the coordinator at {address} has ended, and the sweep is not complete")
                }
                None if place.is_for_others() => {
                    format!(
                        "only the owner of {} may ask its coordinator; showing what is stored",
                        place.display()
                    )
                }
                None => format!("no coordinator is running in {}", place.display()),
            };
            log::event(
                "waiting",
                &format!("{text}; waiting until the sweep is complete (Ctrl-C stops waiting)"),
            );
        }
        if let AccessPlace::Directory(out) = place {
            let job = slurm::last_job(out).await.map(|job| job.to_text());
            if job.is_some() && job != told {
                job.iter().for_each(|text| log::event("slurm", text.trim_end()));
                told = job;
            }
            if place.is_for_others()
                && let Ok(rest) = directory_status::look(out)
                && view.show_rest(&rest)? == StdoutReader::IsGone
            {
                return Ok(());
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(most);
    }
}

/// Returns how many trials were set aside by the run that finished the sweep in this directory. None if there is no
/// such run, or another is in progress.
fn finished(out: &Path) -> Result<Option<u64>, Failure> {
    match keep_still(out) {
        Err(ArchiveError::InUse { .. }) => return Ok(None),
        held => drop(held?),
    }
    let survey = DirectorySurvey::new(ENGINES, out).map_err(ArchiveError::from)?;
    let manifest = survey.manifest.filter(|_| survey.under_way.is_none());
    Ok(manifest.map(|manifest| manifest.set_aside.len() as u64))
}

/// Returns the result of following a complete sweep.
fn ended(set_aside: u64) -> Result<(), Failure> {
    if set_aside == 0 {
        return Ok(());
    }
    let were = if set_aside == 1 { "was" } else { "were" };
    let message = format!(
        "error: {} {were} set aside\n  help: the coordinator's log and manifest.json give the reasons",
        plural(set_aside, "trial")
    );
    Err(Failure::new(exit::INCOMPLETE, message))
}

/// Returns the reports of a coordinator.
async fn watch(
    Connected { channel, address, .. }: Connected,
    access: &Access,
    follow: bool,
) -> Result<Streaming<wire::Report>, Failure> {
    let request = authorised(access, wire::WatchRequest { follow });
    let refused = |status: tonic::Status| {
        let message =
            format!("error: the coordinator at {address} refused: {}", from_outside(status.message()));
        Failure::new(exit::FAILED, message)
    };
    Ok(client(channel).watch(request).await.map_err(refused)?.into_inner())
}

struct View<'a> {
    arguments: &'a cli::Status,
    shown: Option<Instant>,
    last: Snapshot,
}

impl View<'_> {
    /// Shows the stored state of a sweep whose coordinator cannot be asked.
    fn show_rest(&mut self, rest: &Rest) -> Result<StdoutReader, Failure> {
        if self.shown.is_some_and(|shown| shown.elapsed() < SUMMARY_EVERY) {
            return Ok(StdoutReader::Reads);
        }
        self.shown = Some(Instant::now());
        if self.arguments.json {
            return stdout::say_json(rest);
        }
        say(&format!("{} {}", now(), rest.headline()))
    }

    /// Shows a report.
    fn show(&mut self, json: &str) -> Result<StdoutReader, Failure> {
        let report: Value = serde_json::from_str(json).unwrap_or_default();
        let snapshot = (report["type"] == "snapshot").then(|| understood::<Snapshot>(json));
        let snapshot = snapshot.flatten();
        let was_over = self.last.is_over();
        if let Some(snapshot) = &snapshot {
            self.last.clone_from(snapshot);
        }
        if self.arguments.json {
            return say(&escaped_json(json));
        }
        match snapshot {
            Some(snapshot) if !self.arguments.follow => say(snapshot.to_text().trim_end()),
            Some(snapshot) => {
                let is_due = self.shown.is_none_or(|shown| shown.elapsed() >= SUMMARY_EVERY);
                if !is_due && (was_over || !snapshot.is_over()) {
                    return Ok(StdoutReader::Reads);
                }
                self.shown = Some(Instant::now());
                say(&format!("{} {}", snapshot.time, snapshot.headline()))
            }
            None => match understood::<Notice>(json) {
                Some(notice) => say(&format!("{} {}", notice.time, notice.text)),
                None => Ok(StdoutReader::Reads),
            },
        }
    }
}

/// Prints a line, or several, to standard output.
fn say(text: &str) -> Result<StdoutReader, Failure> {
    stdout::say(&format!("{text}\n"))
}
