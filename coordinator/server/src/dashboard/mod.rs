//! The dashboard: a page that a coordinator serves while it runs.
//!
//! It only reads. The driver publishes its state, as for other watchers, and passes on the spikes that were stored. All
//! else is done in threads of its own, so that no viewer delays the sweep, nor do many.

pub mod counts;
mod feed;
mod pages;
mod subject;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use granule_store::Store;
use granule_sweep::{Plan, Sweep};
use granule_system::threads;
use tokio::net::TcpListener;
use tokio::sync::broadcast::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;
use tonic::service::Routes;

use self::counts::Counts;
use self::feed::Feed;
pub use self::feed::RunEnd;
use self::pages::{PageAccess, Token};
use self::subject::ShownSweep;
use crate::driver::listen;
use crate::gate::{self, Limits};
use crate::identity;
use crate::service::answer;
use crate::view::board::{Board, Views};
use crate::view::log::line;

/// How often pages get changes.
const TELL_EVERY: Duration = Duration::from_millis(500);

/// How long the end of a run may wait until pages have received it.
const PATIENCE: Duration = Duration::from_secs(2);

/// Limits on the connections of pages.
const LIMITS: Limits = Limits { unauthenticated: 64, connections: 512, lookers: 128, ..Limits::SERVICE };

/// A dashboard that is being served.
#[derive(Debug)]
pub struct Dashboard {
    /// Its URLs, for people.
    pub urls: Vec<String>,
    counts: Arc<Counts>,
    end: oneshot::Sender<RunEnd>,
    server: JoinHandle<io::Result<()>>,
    reader: JoinHandle<()>,
}

impl Dashboard {
    /// Serves the dashboard of this sweep at this address. From now on, spikes are counted through `views`.
    ///
    /// # Errors
    /// If the address cannot be bound, or no thread can be started.
    pub fn open(
        address: SocketAddr,
        sweep: &Sweep,
        plan: &Arc<Plan>,
        store: &Arc<Store>,
        views: &mut Views,
    ) -> io::Result<Dashboard> {
        // The listener is used in another runtime than this one.
        let listener = listen(address)?.into_std()?;
        let address = listener.local_addr()?;
        let token = (!address.ip().to_canonical().is_loopback()).then(Token::generate);
        let door = PageAccess { address, token };
        // A machine without a network still has the address that it listens on.
        let places = identity::addresses(address, None, None).unwrap_or_else(|_| vec![address.to_string()]);
        let urls = door.urls(&places);

        let (counts, asked) = Counts::new(Arc::clone(plan));
        let counts = Arc::new(counts);
        views.counts = Some(Arc::clone(&counts));
        let feed = Arc::new(Feed::new(&ShownSweep::new(sweep), Arc::clone(&counts)));
        let reader = {
            let (counts, store) = (Arc::clone(&counts), Arc::clone(store));
            std::thread::Builder::new().name("counts".into()).spawn(move || counts.read(&store, &asked))?
        };
        let (end, ended) = oneshot::channel();
        let board = views.board();
        let pages = pages::pages(door, Arc::clone(&feed));
        let behind = Arc::clone(&counts);
        let serve = async move {
            // Strangers are not reported: browsers open connections that they do not use.
            let (refusals, _) = mpsc::channel(1);
            let connections = gate::open(TcpListener::from_std(listener)?, None, LIMITS, refusals);
            let (stop, stopped) = oneshot::channel();
            let mut server = tokio::spawn(answer(connections, Routes::from(pages), stopped));
            tell(&feed, board, &behind, ended).await;
            let _ = stop.send(());
            // Let the last events reach the pages.
            let _ = tokio::time::timeout(PATIENCE, &mut server).await;
            io::Result::Ok(())
        };
        let server = std::thread::Builder::new()
            .name("dashboard".into())
            .spawn(move || threads::runtime()?.block_on(serve))?;
        Ok(Dashboard { urls, counts, end, server, reader })
    }

    /// Sends all pages how the run ended, and ends the dashboard.
    pub fn end(self, end: RunEnd) {
        let Dashboard { counts, end: teller, server, reader, .. } = self;
        // If the server has ended, there is no page.
        let _ = teller.send(end);
        let served = server.join();
        counts.end();
        let _ = reader.join();
        if let Ok(Err(error)) = served {
            line(&format!("note: the dashboard could not be served: {error}"));
        }
    }
}

/// Sends pages the changes, until the end.
async fn tell(feed: &Feed, board: Board, counts: &Counts, mut ended: oneshot::Receiver<RunEnd>) {
    let Board { snapshots, notices } = board;
    let mut notices = notices.subscribe();
    let mut tick = tokio::time::interval(TELL_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let end = tokio::select! {
            _ = tick.tick() => None,
            end = &mut ended => match end {
                Ok(end) => Some(end),
                // The run failed before it could send its end. That is reported elsewhere.
                Err(_) => return,
            },
        };
        if end.is_some() {
            // The last histograms must have all spikes, because pages keep showing them.
            let begun = Instant::now();
            while counts.is_behind() && begun.elapsed() < PATIENCE {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        let mut news = Vec::new();
        loop {
            match notices.try_recv() {
                Ok(notice) => news.push(notice),
                Err(TryRecvError::Lagged(_)) => {}
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        let now = snapshots.borrow().clone();
        feed.tell(now, news, end.as_ref());
        if end.is_some() {
            return;
        }
    }
}
