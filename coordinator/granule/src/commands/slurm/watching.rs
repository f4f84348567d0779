//! Receives the reports of a coordinator, wherever it runs.

use std::path::Path;
use std::time::{Duration, Instant};

use granule_proto::wire;
use granule_server::view::status::{Notice, Snapshot, understood};
use granule_worker::access::Access;
use granule_worker::connect::connect;
use granule_worker::{authorised, client};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::commands::entrance::ACCESS;

/// Pause between two attempts to reach a coordinator.
const AGAIN: Duration = Duration::from_millis(250);

/// A report of a coordinator.
pub(super) enum Heard {
    Snapshot(Box<Snapshot>),
    Notice(Notice),
}

/// A connection to a coordinator that sends reports.
pub(super) struct Watching {
    pub(super) heard: mpsc::Receiver<Heard>,
    listening: JoinHandle<()>,
    _stop: oneshot::Sender<()>,
}

impl Watching {
    /// Connects to the coordinator whose access file is in this directory, if it can be reached.
    pub(super) async fn start(out: &Path) -> Option<Watching> {
        let access = Access::read(&out.join(ACCESS)).ok()?;
        let (channel, _) = connect(&access).await.ok()?;
        let request = authorised(&access, wire::WatchRequest { follow: true });
        let mut reports = client(channel).watch(request).await.ok()?.into_inner();
        let (tell, heard) = mpsc::channel(64);
        let (stop, mut stopped) = oneshot::channel::<()>();
        let listening = tokio::spawn(async move {
            loop {
                let report = tokio::select! {
                    report = reports.message() => report,
                    _ = &mut stopped => return,
                };
                let Ok(Some(wire::Report { json })) = report else { return };
                let snapshot = understood::<Snapshot>(&json).filter(|of| of.kind == "snapshot");
                let heard = match snapshot {
                    Some(snapshot) => Heard::Snapshot(Box::new(snapshot)),
                    None => match understood::<Notice>(&json) {
                        Some(notice) => Heard::Notice(notice),
                        None => continue,
                    },
                };
                if tell.send(heard).await.is_err() {
                    return;
                }
            }
        });
        Some(Watching { heard, listening, _stop: stop })
    }

    /// The same for a coordinator that may not have started, or may be restarted; tries for so long. A complete sweep
    /// has no access file any more. Then this does not wait, unless `is_awaited`.
    pub(super) async fn within(out: &Path, patience: Duration, is_awaited: bool) -> Option<Watching> {
        let begun = Instant::now();
        loop {
            if let Some(watching) = Watching::start(out).await {
                return Some(watching);
            }
            if begun.elapsed() >= patience || !(is_awaited || out.join(ACCESS).exists()) {
                return None;
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Whether no more reports can arrive.
    pub(super) fn is_over(&self) -> bool {
        self.listening.is_finished() && self.heard.is_empty()
    }
}
