//! `granule status`: what a running coordinator is at, or what was made of a sweep at rest.

use std::path::Path;
use std::time::{Duration, Instant};

use granule_outputs::archive::{ArchiveError, check_directory, keep_still};
use granule_outputs::survey::Survey;
use granule_proto::wire;
use granule_server::view::log;
use granule_server::view::status::{Notice, Snapshot, now, understood};
use granule_system::threads;
use granule_text::from_outside;
use granule_text::words::escaped_json;
use granule_worker::access::{Access, AccessError};
use granule_worker::connect::{Connected, reconnect};
use granule_worker::{authorised, client};
use serde_json::Value;
use tonic::Streaming;

use crate::cli::{self, exit};
use crate::commands::entrance::ACCESS;
use crate::commands::rest::Rest;
use crate::commands::{beacon, rest, slurm};
use crate::engines::ENGINES;
use crate::failure::{Failure, plural};
use crate::stdout::{self, Reader};

/// Time between two summaries for people who follow.
const SUMMARY_EVERY: Duration = Duration::from_secs(5);

/// Time between two attempts to reach a coordinator that is followed: at first, and at last.
const AGAIN: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// How long a coordinator of which there is only the access file is waited for. Workers wait as long.
const PATIENCE: Duration = Duration::from_secs(600);

const GONE: &str = "it may be writing its files; if it was stopped, start it again with the same command, and it goes \
                    on where it was";

pub(crate) fn run(arguments: &cli::Status) -> Result<(), Failure> {
    let place = match (&arguments.access, &arguments.out) {
        (Some(access), _) => Place::Access(access),
        (None, Some(out)) => {
            check_directory(out)?;
            Place::Directory(out)
        }
        (None, None) => {
            let message = "error: missing DIR: which sweep's status?\n  help: name the output directory of a sweep, or --access FILE";
            return Err(Failure::new(exit::USAGE, message));
        }
    };
    let runtime = threads::runtime().map_err(|error| Failure::caused_by(exit::FAILED, &error, None))?;
    runtime.block_on(async {
        let mut view = View { arguments, shown: None, last: Snapshot::default() };
        if arguments.follow { follow(&place, &mut view).await } else { look(&place, &mut view).await }
    })
}

/// Where the access to a coordinator is read from.
enum Place<'a> {
    Access(&'a Path),
    /// An output directory, of which there is something to say without a coordinator, too.
    Directory(&'a Path),
}

impl Place<'_> {
    /// Ways to a coordinator; none where there is none.
    fn ways(&self) -> Result<Vec<Access>, Failure> {
        let (beacon, path) = match self {
            Place::Access(path) => (None, path.to_path_buf()),
            Place::Directory(out) => (beacon::find(out), out.join(ACCESS)),
        };
        let access = match Access::read(&path) {
            Ok(access) => Some(access),
            Err(AccessError::File(file)) if file.is_not_found() => None,
            // A run in this directory has its own way.
            Err(_) if beacon.is_some() => None,
            // It is another user's, who lets others see the rest.
            Err(AccessError::File(file)) if file.is_denied() && matches!(self, Place::Directory(_)) => None,
            Err(error) => return Err(Failure::caused_by(exit::FAILED, &error, None)),
        };
        Ok(beacon.into_iter().chain(access).collect())
    }

    /// Whether there is a way to a coordinator that is not for this user.
    fn is_for_others(&self) -> bool {
        let Place::Directory(out) = self else { return false };
        let access = Access::read(&out.join(ACCESS));
        matches!(access, Err(AccessError::File(file)) if file.is_denied())
    }

    /// For people.
    fn display(&self) -> std::path::Display<'_> {
        match self {
            Place::Access(path) | Place::Directory(path) => path.display(),
        }
    }
}

/// Shows what a coordinator is at, or else the directory at rest.
async fn look(place: &Place<'_>, view: &mut View<'_>) -> Result<(), Failure> {
    let mut problem = None;
    for access in place.ways()? {
        let reports = match reconnect(&access, None).await {
            Ok(connected) => watch(connected, &access, false).await,
            Err(error) => Err(Failure::caused_by(exit::FAILED, &error, Some(GONE))),
        };
        match reports {
            Ok(mut reports) => {
                while let Ok(Some(wire::Report { json })) = reports.message().await {
                    if view.show(&json)? == Reader::IsGone {
                        break;
                    }
                }
                return Ok(());
            }
            Err(failure) => problem = Some(failure),
        }
    }
    match (place, problem) {
        (Place::Directory(out), _) => rest::run(out, view.arguments.json, slurm::last_job(out).await),
        (Place::Access(_), Some(problem)) => Err(problem),
        (Place::Access(path), None) => Err(no_access(path)),
    }
}

fn no_access(path: &Path) -> Failure {
    let message = format!(
        "error: no coordinator is running here: there is no {}\n  help: `granule serve` writes it when it starts, and \
         removes it when its sweep is complete; OUT/manifest.json says what has been done",
        path.display()
    );
    Failure::new(exit::FAILED, message)
}

/// Shows what goes on until all trials are computed. A coordinator that is not there is waited for.
async fn follow(place: &Place<'_>, view: &mut View<'_>) -> Result<(), Failure> {
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
                Err(error) if matches!(place, Place::Access(_)) => {
                    return Err(Failure::caused_by(exit::FAILED, &error, None));
                }
                Err(_) => continue,
            };
            last = Some(connected.place);
            let address = connected.address.clone();
            let mut reports = match watch(connected, &access, true).await {
                Ok(reports) => reports,
                // A killed run's port may have become another's.
                Err(_) if matches!(place, Place::Directory(_)) => continue,
                Err(failure) => return Err(failure),
            };
            while let Ok(Some(wire::Report { json })) = reports.message().await {
                if view.show(&json)? == Reader::IsGone {
                    return Ok(());
                }
            }
            if view.last.is_computed() {
                return ended(view.last.counts.trials_set_aside);
            }
            (gone, alone_since, pause) = (Some(address), None, least);
            break;
        }
        if let Place::Directory(out) = place
            && let Some(set_aside) = finished(out)?
        {
            if last.is_none() {
                // Nothing of it was followed.
                rest::run(out, view.arguments.json, slurm::last_job(out).await)?;
            }
            return ended(set_aside);
        }
        if let Place::Access(path) = place {
            match (is_there, alone_since) {
                // The coordinator removes it when its sweep is complete.
                (false, _) if last.is_some() => return ended(view.last.counts.trials_set_aside),
                (false, _) => return Err(no_access(path)),
                (true, Some(since)) if since.elapsed() >= PATIENCE => {
                    let message = format!(
                        "error: no coordinator was found for {} s\n  help: {GONE}",
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
                    format!("the coordinator at {address} is gone, and the sweep is not complete")
                }
                None if place.is_for_others() => {
                    format!(
                        "the coordinator in {} answers its owner only; this is what is stored",
                        place.display()
                    )
                }
                None => format!("no coordinator is running in {}", place.display()),
            };
            log::event("waiting", &format!("{text}; waiting for the end (Ctrl-C ends this)"));
        }
        if let Place::Directory(out) = place {
            let job = slurm::last_job(out).await.map(|job| job.to_text());
            if job.is_some() && job != told {
                job.iter().for_each(|text| log::event("slurm", text.trim_end()));
                told = job;
            }
            if place.is_for_others()
                && let Ok(rest) = rest::look(out)
                && view.show_rest(&rest)? == Reader::IsGone
            {
                return Ok(());
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(most);
    }
}

/// How many trials the run has set aside that finished the sweep in this directory; none while there is no such run, or
/// another is in progress.
fn finished(out: &Path) -> Result<Option<u64>, Failure> {
    match keep_still(out) {
        Err(ArchiveError::InUse { .. }) => return Ok(None),
        held => drop(held?),
    }
    let survey = Survey::new(ENGINES, out).map_err(ArchiveError::from)?;
    let manifest = survey.manifest.filter(|_| survey.under_way.is_none());
    Ok(manifest.map(|manifest| manifest.set_aside.len() as u64))
}

/// How a sweep that is complete has ended.
fn ended(set_aside: u64) -> Result<(), Failure> {
    if set_aside == 0 {
        return Ok(());
    }
    let message = format!(
        "error: {} could not be computed\n  help: the coordinator says why, and so does its manifest.json",
        plural(set_aside, "trial")
    );
    Err(Failure::new(exit::INCOMPLETE, message))
}

/// What a coordinator reports.
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
    /// Shows what is stored of a sweep whose coordinator cannot be asked.
    fn show_rest(&mut self, rest: &Rest) -> Result<Reader, Failure> {
        if self.shown.is_some_and(|shown| shown.elapsed() < SUMMARY_EVERY) {
            return Ok(Reader::Reads);
        }
        self.shown = Some(Instant::now());
        if self.arguments.json {
            return stdout::say_json(rest);
        }
        say(&format!("{} {}", now(), rest.headline()))
    }

    /// Shows a report.
    fn show(&mut self, json: &str) -> Result<Reader, Failure> {
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
                    return Ok(Reader::Reads);
                }
                self.shown = Some(Instant::now());
                say(&format!("{} {}", snapshot.time, snapshot.headline()))
            }
            None => match understood::<Notice>(json) {
                Some(notice) => say(&format!("{} {}", notice.time, notice.text)),
                None => Ok(Reader::Reads),
            },
        }
    }
}

/// A line, or several, on standard output.
fn say(text: &str) -> Result<Reader, Failure> {
    stdout::say(&format!("{text}\n"))
}
