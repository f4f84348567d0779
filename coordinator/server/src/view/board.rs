//! Where a run puts up what there is to see, and where others look.

use std::sync::Arc;

use tokio::sync::{broadcast, watch};

use super::status::{Notice, Snapshot};
use crate::dashboard::counts::Counts;

/// Notices that a watcher may be behind before it misses some.
const NOTICES: usize = 1024;

/// What a run shows of itself, from its beginning to its end.
#[derive(Debug)]
pub struct Views {
    snapshots: watch::Sender<Arc<Snapshot>>,
    notices: broadcast::Sender<Arc<Notice>>,
    /// Of spikes, if there is a dashboard.
    pub counts: Option<Arc<Counts>>,
}

/// What those who watch see.
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
    /// For those who watch.
    pub fn board(&self) -> Board {
        Board { snapshots: self.snapshots.subscribe(), notices: self.notices.clone() }
    }

    /// This is what the run is at.
    pub fn put_up(&self, snapshot: Snapshot) {
        self.snapshots.send_replace(Arc::new(snapshot));
    }

    /// Changes what the run is at.
    pub fn alter(&self, change: impl FnOnce(&mut Snapshot)) {
        self.snapshots.send_modify(|snapshot| change(Arc::make_mut(snapshot)));
    }

    /// Something happened.
    pub fn notify(&self, notice: Notice) {
        // Nobody may be watching.
        let _ = self.notices.send(Arc::new(notice));
    }
}
