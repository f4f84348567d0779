//! The board on which a run publishes its state, for watchers.

use std::sync::Arc;

use tokio::sync::{broadcast, watch};

use super::status::{Notice, Snapshot};
use crate::dashboard::counts::Counts;

/// Notices that a watcher may be behind before it misses some.
const NOTICES: usize = 1024;

/// The publishing side of the board, from the beginning of a run to its end.
#[derive(Debug)]
pub struct Views {
    snapshots: watch::Sender<Arc<Snapshot>>,
    notices: broadcast::Sender<Arc<Notice>>,
    /// Counts of spikes, if there is a dashboard.
    pub counts: Option<Arc<Counts>>,
}

/// The reading side of the board, for a watcher.
#[derive(Clone, Debug)]
pub struct Board {
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    pub notices: broadcast::Sender<Arc<Notice>>,
}

impl Default for Views {
    fn default() -> Views {
        Views { snapshots: watch::Sender::default(), notices: broadcast::Sender::new(NOTICES), counts: None }
    }
}

impl Views {
    /// Returns the board for a watcher.
    pub fn board(&self) -> Board {
        Board { snapshots: self.snapshots.subscribe(), notices: self.notices.clone() }
    }

    /// Publishes this state of the run.
    pub fn put_up(&self, snapshot: Snapshot) {
        self.snapshots.send_replace(Arc::new(snapshot));
    }

    /// Changes the published state of the run.
    pub fn alter(&self, change: impl FnOnce(&mut Snapshot)) {
        self.snapshots.send_modify(|snapshot| change(Arc::make_mut(snapshot)));
    }

    /// Publishes a notice.
    pub fn notify(&self, notice: Notice) {
        // Without a watcher, sending fails.
        let _ = self.notices.send(Arc::new(notice));
    }
}
