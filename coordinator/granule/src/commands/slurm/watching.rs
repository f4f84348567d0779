//! Listening to a coordinator, wherever it runs.

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

/// Time between two attempts to reach one that should be there.
const AGAIN: Duration = Duration::from_millis(250);

/// What a coordinator says.
pub(super) enum Heard {
    Snapshot(Box<Snapshot>),
    Notice(Notice),
}

/// A coordinator that is listened to, wherever it runs.
pub(super) struct Watching {
    pub(super) heard: mpsc::Receiver<Heard>,
    listening: JoinHandle<()>,
    _stop: oneshot::Sender<()>,
}

impl Watching {
    /// Listens to the coordinator whose access file lies there, if it can be reached.
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

    /// The same, of one that may not have begun, or may be started again, for so long. What is complete has no
    /// access file any more; then there is nobody to wait for unless `is_awaited`.
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

    /// Whether there is nobody to hear from any more.
    pub(super) fn is_over(&self) -> bool {
        self.listening.is_finished() && self.heard.is_empty()
    }
}
