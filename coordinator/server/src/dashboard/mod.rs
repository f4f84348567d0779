//! The dashboard: a page that a coordinator serves while it runs.
//!
//! It only looks. The driver puts up what it is at, as for others that watch, and hands over the
//! spikes that were stored; all else is done in threads of its own, so that nobody who looks, or many,
//! hold up the sweep.

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
pub use self::feed::End;
use self::feed::Feed;
use self::pages::{Door, Token};
use self::subject::Subject;
use crate::driver::listen;
use crate::gate::{self, Limits};
use crate::identity;
use crate::service::answer;
use crate::view::board::{Board, Views};
use crate::view::log::line;

/// How often pages are told what has changed.
const TELL_EVERY: Duration = Duration::from_millis(500);

/// How long the end may be held up until pages know of it.
const PATIENCE: Duration = Duration::from_secs(2);

/// Who may connect.
const LIMITS: Limits = Limits { unauthenticated: 64, connections: 512, lookers: 128, ..Limits::SERVICE };

/// A dashboard that is served.
#[derive(Debug)]
pub struct Dashboard {
    /// For people: where it is.
    pub urls: Vec<String>,
    counts: Arc<Counts>,
    end: oneshot::Sender<End>,
    server: JoinHandle<io::Result<()>>,
    reader: JoinHandle<()>,
}

impl Dashboard {
    /// Serves the view of this sweep at this address; spikes are counted with `views` from now on.
    ///
    /// # Errors
    /// When the address is not to be had, or no thread.
    pub fn open(
        address: SocketAddr,
        sweep: &Sweep,
        plan: &Arc<Plan>,
        store: &Arc<Store>,
        views: &mut Views,
    ) -> io::Result<Dashboard> {
        // It is for another runtime than the one that it was made in.
        let listener = listen(address)?.into_std()?;
        let address = listener.local_addr()?;
        let token = (!address.ip().to_canonical().is_loopback()).then(Token::generate);
        let door = Door { address, token };
        // A machine without a network can still be told where it listens.
        let places = identity::addresses(address, None, None).unwrap_or_else(|_| vec![address.to_string()]);
        let urls = door.urls(&places);

        let (counts, asked) = Counts::new(Arc::clone(plan));
        let counts = Arc::new(counts);
        views.counts = Some(Arc::clone(&counts));
        let feed = Arc::new(Feed::new(&Subject::new(sweep), Arc::clone(&counts)));
        let reader = {
            let (counts, store) = (Arc::clone(&counts), Arc::clone(store));
            std::thread::Builder::new().name("counts".into()).spawn(move || counts.read(&store, &asked))?
        };
        let (end, ended) = oneshot::channel();
        let board = views.board();
        let pages = pages::pages(door, Arc::clone(&feed));
        let behind = Arc::clone(&counts);
        let serve = async move {
            // Nobody is told of strangers: browsers open connections that they do not use.
            let (refusals, _) = mpsc::channel(1);
            let connections = gate::open(TcpListener::from_std(listener)?, None, LIMITS, refusals);
            let (stop, stopped) = oneshot::channel();
            let mut server = tokio::spawn(answer(connections, Routes::from(pages), stopped));
            tell(&feed, board, &behind, ended).await;
            let _ = stop.send(());
            // What was said last is to reach those who listen.
            let _ = tokio::time::timeout(PATIENCE, &mut server).await;
            io::Result::Ok(())
        };
        let server = std::thread::Builder::new()
            .name("dashboard".into())
            .spawn(move || threads::runtime()?.block_on(serve))?;
        Ok(Dashboard { urls, counts, end, server, reader })
    }

    /// Tells all who look how it ended, and ends.
    pub fn end(self, end: End) {
        let Dashboard { counts, end: teller, server, reader, .. } = self;
        // If it has ended, there is nobody to tell.
        let _ = teller.send(end);
        let served = server.join();
        counts.end();
        let _ = reader.join();
        if let Ok(Err(error)) = served {
            line(&format!("note: the dashboard could not be served: {error}"));
        }
    }
}

/// Tells pages what happens, until the end.
async fn tell(feed: &Feed, board: Board, counts: &Counts, mut ended: oneshot::Receiver<End>) {
    let Board { snapshots, notices } = board;
    let mut notices = notices.subscribe();
    let mut tick = tokio::time::interval(TELL_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let end = tokio::select! {
            _ = tick.tick() => None,
            end = &mut ended => match end {
                Ok(end) => Some(end),
                // Whoever was to tell has failed; that is said elsewhere.
                Err(_) => return,
            },
        };
        if end.is_some() {
            // Histograms are to have all spikes; those who look keep what they were told last.
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
