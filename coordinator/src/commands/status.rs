//! `granule status`: what a running coordinator is at, or what was made of a sweep at rest.

use std::path::Path;
use std::time::{Duration, Instant};

use granule_proto::wire;
use granule_worker::access::{Access, AccessError};
use granule_worker::connect::connect;
use granule_worker::{authorised, client};
use serde_json::Value;
use tonic::transport::Channel;

use crate::archive::check_directory;
use crate::cli::{self, exit};
use crate::commands::entrance::ACCESS;
use crate::commands::{rest, slurm};
use crate::failure::{Failure, plural};
use crate::view;
use crate::view::status::{Notice, Snapshot};

/// Time between two summaries for people who follow.
const SUMMARY_EVERY: Duration = Duration::from_secs(5);

const GONE: &str = "it may be writing its files; if it was stopped, start it again with the same command, and it goes \
                    on where it was";

pub(crate) fn run(arguments: &cli::Status) -> Result<(), Failure> {
    let path = match (&arguments.access, &arguments.out) {
        (Some(access), _) => access.clone(),
        (None, Some(out)) => {
            check_directory(out)?;
            out.join(ACCESS)
        }
        (None, None) => {
            let message = "error: whose status?\n  help: say the output directory of a running `granule serve`, \
                           or --access FILE";
            return Err(Failure::new(exit::USAGE, message));
        }
    };
    // Of a directory there is something to say without a coordinator, too, unless one is to be followed.
    let at_rest = arguments.out.as_deref().filter(|_| !arguments.follow);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::caused_by(exit::FAILED, &error, None))?;
    runtime.block_on(async {
        let access = match (Access::read(&path), at_rest) {
            (Ok(access), _) => access,
            (Err(AccessError::File(file)), Some(out)) if file.is_not_found() => {
                return rest::run(out, arguments.json, slurm::last_job(out).await);
            }
            (Err(error), _) => return Err(no_access(&path, &error)),
        };
        match (connect(&access).await, at_rest) {
            (Ok((channel, address)), _) => watch(channel, &address, &access, arguments).await,
            (Err(_), Some(out)) => rest::run(out, arguments.json, slurm::last_job(out).await),
            (Err(error), None) => Err(Failure::caused_by(exit::FAILED, &error, Some(GONE))),
        }
    })
}

fn no_access(path: &Path, error: &AccessError) -> Failure {
    let is_missing = matches!(error, AccessError::File(file) if file.is_not_found());
    let help = "`granule serve` writes it when it starts, and removes it when its sweep is complete; \
                OUT/manifest.json says what has been done";
    if is_missing {
        let message =
            format!("error: no coordinator is running here: there is no {}\n  help: {help}", path.display());
        return Failure::new(exit::FAILED, message);
    }
    Failure::caused_by(exit::FAILED, error, None)
}

async fn watch(
    channel: Channel,
    address: &str,
    access: &Access,
    arguments: &cli::Status,
) -> Result<(), Failure> {
    let request = authorised(access, wire::WatchRequest { follow: arguments.follow });
    let refused = |status: tonic::Status| {
        let message = format!("error: the coordinator at {address} refused: {}", status.message());
        Failure::new(exit::FAILED, message)
    };
    let mut reports = client(channel).watch(request).await.map_err(refused)?.into_inner();
    let mut view = View { arguments, shown: None, last: Snapshot::default() };
    while let Ok(Some(wire::Report { json })) = reports.message().await {
        if !view.show(&json) {
            // Nobody reads on.
            return Ok(());
        }
    }
    if !arguments.follow {
        return Ok(());
    }
    if !view.last.is_computed() {
        let message = format!("error: the coordinator at {address} is gone\n  help: {GONE}");
        return Err(Failure::new(exit::FAILED, message));
    }
    match view.last.counts.trials_set_aside {
        0 => Ok(()),
        count => {
            let message = format!(
                "error: {} could not be computed\n  help: the coordinator says why, and so does its manifest.json",
                plural(count, "trial")
            );
            Err(Failure::new(exit::INCOMPLETE, message))
        }
    }
}

struct View<'a> {
    arguments: &'a cli::Status,
    shown: Option<Instant>,
    last: Snapshot,
}

impl View<'_> {
    /// Shows a report; false once nobody wants to see any.
    fn show(&mut self, json: &str) -> bool {
        let report: Value = serde_json::from_str(json).unwrap_or_default();
        let snapshot = (report["type"] == "snapshot").then(|| serde_json::from_str::<Snapshot>(json).ok());
        let snapshot = snapshot.flatten();
        let was_over = self.last.is_over();
        if let Some(snapshot) = &snapshot {
            self.last.clone_from(snapshot);
        }
        if self.arguments.json {
            return say(json);
        }
        match snapshot {
            Some(snapshot) if !self.arguments.follow => say(snapshot.to_text().trim_end()),
            Some(snapshot) => {
                let is_due = self.shown.is_none_or(|shown| shown.elapsed() >= SUMMARY_EVERY);
                if !is_due && (was_over || !snapshot.is_over()) {
                    return true;
                }
                self.shown = Some(Instant::now());
                say(&format!("{} {}", snapshot.time, snapshot.headline()))
            }
            None => match serde_json::from_str::<Notice>(json) {
                Ok(notice) => say(&format!("{} {}", notice.time, notice.text)),
                Err(_) => true,
            },
        }
    }
}

/// A line on standard output; false if that is closed.
fn say(text: &str) -> bool {
    view::say(&format!("{text}\n"))
}
