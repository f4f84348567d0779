//! The data of pages, as server-sent events: first everything, then changes.
//!
//! Each event is written once, not once a page. A page that is too slow misses frames and gets everything again.
//! Nothing waits for it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;
use serde::Serialize;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::mpsc;

use super::counts::Counts;
use super::subject::ShownSweep;
use crate::view::status::{DifferentTrials, Notice, Parcel, RunCounts as Tally, Snapshot, WorkerStatus};

/// Most conditions that a page can show together.
pub(super) const MOST_WATCHED: usize = 12;

/// Most notices that a new page gets.
const NOTICES: usize = 300;

/// Frames that a page may be behind before it gets everything again.
const FRAMES: usize = 16;

/// Histograms are most of the data, and need not be in each frame.
const FRAMES_PER_HISTOGRAM: u64 = 2;

/// The silence of a worker is sent in steps of so many seconds.
const SILENCE: u64 = 5;

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RunEnd {
    /// Whether the sweep is complete.
    pub is_complete: bool,
    /// For people.
    pub text: String,
}

/// The source of the events for pages.
#[derive(Debug)]
pub(super) struct Feed {
    /// A random number that identifies this run of the coordinator.
    epoch: String,
    /// The data that do not change, as JSON.
    subject: String,
    counts: Arc<Counts>,
    conditions: usize,
    state: Mutex<FeedState>,
    frames: broadcast::Sender<Arc<Update>>,
}

#[derive(Debug, Default)]
struct FeedState {
    /// Number of the last frame.
    version: u64,
    told: Arc<Snapshot>,
    end: Option<RunEnd>,
    /// The last notices, each with its number.
    notices: VecDeque<(u64, Arc<Notice>)>,
    next_notice: u64,
    /// Everything, as it was written for a page that connected since the last frame.
    everything: Option<Bytes>,
    watched: BTreeMap<usize, WatchedCondition>,
}

/// A condition that pages show.
#[derive(Debug, Default)]
struct WatchedCondition {
    pages: usize,
    /// Version of the counts that were last written.
    version: u64,
    event: Bytes,
}

/// A frame: everything that has changed since the previous one.
#[derive(Debug)]
struct Update {
    version: u64,
    changes: Bytes,
    /// Events with spikes, by condition.
    histograms: BTreeMap<usize, Bytes>,
    is_last: bool,
}

/// The state of a run, without that of its conditions and workers.
#[derive(Serialize)]
struct RunHead<'a> {
    state: &'a str,
    elapsed_seconds: f64,
    trials: DifferentTrials,
    /// Trials of each condition and seed that are known to be needed.
    trials_each: u64,
    trials_per_second: f64,
    seconds_left: Option<f64>,
    spans: Parcel,
    files: Parcel,
    counts: Tally,
    end: Option<&'a RunEnd>,
}

/// A worker, as pages get it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct ShownWorker<'a> {
    id: &'a str,
    name: &'a str,
    address: &'a str,
    state: &'a str,
    threads: u32,
    leases: u64,
    trials: u64,
    /// Rounded down to a multiple of `SILENCE`. 0 if the worker is gone or quarantined.
    silent_seconds: u64,
}

#[derive(Serialize)]
struct Told<'a> {
    seq: u64,
    time: &'a str,
    event: &'a str,
    is_trouble: bool,
    text: &'a str,
}

#[derive(Serialize)]
struct Everything<'a> {
    head: RunHead<'a>,
    pairs: &'a [u32],
    workers: Vec<ShownWorker<'a>>,
    notices: Vec<Told<'a>>,
}

#[derive(Serialize)]
struct ConditionChanges<'a> {
    head: RunHead<'a>,
    /// Index and number of trials.
    pairs: Vec<(usize, u32)>,
    workers: Vec<ShownWorker<'a>>,
    notices: Vec<Told<'a>>,
}

#[derive(Serialize)]
struct Spikes<'a> {
    condition: usize,
    trials: u64,
    /// Spikes in each bin, by population.
    counts: &'a [Vec<u64>],
}

impl Feed {
    pub(super) fn new(subject: &ShownSweep, counts: Arc<Counts>) -> Feed {
        Feed {
            epoch: format!("{:016x}", rand::random::<u64>()),
            subject: to_json(subject),
            counts,
            conditions: subject.conditions.len(),
            state: Mutex::default(),
            frames: broadcast::Sender::new(FRAMES),
        }
    }

    /// Sends pages the changes since the last call.
    pub(super) fn tell(&self, now: Arc<Snapshot>, news: Vec<Arc<Notice>>, end: Option<&RunEnd>) {
        let state = &mut *self.state();
        let is_last = end.is_some();
        let first_new = state.next_notice;
        for notice in news {
            state.notices.push_back((state.next_notice, notice));
            state.next_notice += 1;
        }
        while state.notices.len() > NOTICES {
            state.notices.pop_front();
        }
        state.version += 1;
        state.everything = None;
        state.end = end.cloned();
        let before = std::mem::replace(&mut state.told, now);
        if self.frames.receiver_count() == 0 {
            return;
        }
        let changes = match changes(&before, &state.told) {
            Some((pairs, workers)) => {
                let notices = told(&state.notices, first_new);
                let head = head(&state.told, state.end.as_ref());
                self.event(
                    "changes",
                    state.version,
                    &to_json(&ConditionChanges { head, pairs, workers, notices }),
                )
            }
            // Another run of the same sweep has begun, or the first one, or workers have left the list.
            None => self.everything(state),
        };
        let mut histograms = BTreeMap::new();
        let is_due = is_last || state.version.is_multiple_of(FRAMES_PER_HISTOGRAM);
        for (&condition, watched) in &mut state.watched {
            if is_due && self.write_down(condition, watched) {
                histograms.insert(condition, watched.event.clone());
            }
        }
        let frame = Update { version: state.version, changes, histograms, is_last };
        // The pages may have disconnected meanwhile.
        let _ = self.frames.send(Arc::new(frame));
    }

    /// Sends a page everything, and then changes, until it disconnects or the run has ended. The page shows these
    /// conditions; numbers without a condition are ignored.
    pub(super) async fn follow(self: Arc<Self>, conditions: Vec<usize>, page: mpsc::Sender<Bytes>) {
        let watch = Watch::new(&self, conditions);
        let (mut seen, mut is_last, mut told, mut frames) = self.join(&watch.conditions);
        loop {
            if page.send(told).await.is_err() || is_last {
                return;
            }
            (seen, is_last, told) = loop {
                let frame = tokio::select! {
                    frame = frames.recv() => frame,
                    () = page.closed() => return,
                };
                match frame {
                    Ok(frame) if frame.version > seen => {
                        break (frame.version, frame.is_last, frame.text_for(&watch.conditions));
                    }
                    Ok(_) => {}
                    Err(RecvError::Lagged(_)) => {
                        let (version, is_last, all, _) = self.join(&watch.conditions);
                        break (version, is_last, all);
                    }
                    Err(RecvError::Closed) => return,
                }
            };
        }
    }

    /// Returns everything as it is now, and the receiver of the following frames.
    fn join(&self, conditions: &[usize]) -> (u64, bool, Bytes, broadcast::Receiver<Arc<Update>>) {
        let state = &mut *self.state();
        let mut text = self.everything(state).to_vec();
        for condition in conditions {
            if let Some(watched) = state.watched.get_mut(condition) {
                if watched.event.is_empty() {
                    self.write_down(*condition, watched);
                }
                text.extend_from_slice(&watched.event);
            }
        }
        (state.version, state.end.is_some(), text.into(), self.frames.subscribe())
    }

    /// Returns everything, as an event.
    fn everything(&self, state: &mut FeedState) -> Bytes {
        if let Some(text) = &state.everything {
            return text.clone();
        }
        let of_run = to_json(&Everything {
            head: head(&state.told, state.end.as_ref()),
            pairs: &state.told.pairs,
            workers: state.told.workers.iter().map(worker).collect(),
            notices: told(&state.notices, 0),
        });
        let (epoch, subject) = (&self.epoch, &self.subject);
        let json = format!(r#"{{"epoch":"{epoch}","subject":{subject},"run":{of_run}}}"#);
        let text = self.event("snapshot", state.version, &json);
        state.everything = Some(text.clone());
        text
    }

    /// Writes the counts of a condition as an event, if they have changed. Returns whether they have.
    fn write_down(&self, condition: usize, watched: &mut WatchedCondition) -> bool {
        let Some((version, counted)) = self.counts.later_than(condition, watched.version) else {
            return false;
        };
        let spikes = Spikes { condition, trials: counted.trials, counts: &counted.counts };
        let text = format!("event: spikes\ndata: {}\n\n", to_json(&spikes));
        (watched.version, watched.event) = (version, text.into());
        true
    }

    /// Formats an event. JSON has no line breaks outside of its strings, and escapes those in them.
    fn event(&self, name: &str, version: u64, json: &str) -> Bytes {
        format!("event: {name}\nid: {}-{version}\ndata: {json}\n\n", self.epoch).into()
    }

    fn state(&self) -> MutexGuard<'_, FeedState> {
        // The state is consistent after every operation.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Update {
    fn text_for(&self, conditions: &[usize]) -> Bytes {
        let histograms: Vec<&Bytes> =
            conditions.iter().filter_map(|condition| self.histograms.get(condition)).collect();
        if histograms.is_empty() {
            return self.changes.clone();
        }
        let mut text = self.changes.to_vec();
        histograms.into_iter().for_each(|event| text.extend_from_slice(event));
        text.into()
    }
}

/// The conditions that a page shows.
struct Watch {
    feed: Arc<Feed>,
    conditions: Vec<usize>,
}

impl Watch {
    fn new(feed: &Arc<Feed>, mut conditions: Vec<usize>) -> Watch {
        conditions.retain(|condition| *condition < feed.conditions);
        conditions.sort_unstable();
        conditions.dedup();
        conditions.truncate(MOST_WATCHED);
        conditions.iter().for_each(|condition| feed.counts.watch(*condition));
        let state = &mut *feed.state();
        for condition in &conditions {
            state.watched.entry(*condition).or_default().pages += 1;
        }
        Watch { feed: Arc::clone(feed), conditions }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let state = &mut *self.feed.state();
        for condition in &self.conditions {
            if let Some(watched) = state.watched.get_mut(condition) {
                watched.pages -= 1;
                if watched.pages == 0 {
                    state.watched.remove(condition);
                }
            }
        }
    }
}

/// Changed pairs with their index, and changed workers.
type Changed<'a> = (Vec<(usize, u32)>, Vec<ShownWorker<'a>>);

/// Returns the pairs and workers that have changed. Returns none if these are not the same pairs, or if workers have
/// left the list.
fn changes<'a>(before: &Snapshot, now: &'a Snapshot) -> Option<Changed<'a>> {
    if before.pairs.len() != now.pairs.len() {
        return None;
    }
    let pairs = before.pairs.iter().zip(&now.pairs).enumerate();
    let pairs = pairs.filter(|(_, (before, now))| before != now).map(|(at, (_, now))| (at, *now)).collect();
    let known: HashMap<&str, ShownWorker<'_>> =
        before.workers.iter().map(|status| (status.id.as_str(), worker(status))).collect();
    let mut seen = 0;
    let mut workers = Vec::new();
    for status in &now.workers {
        let now = worker(status);
        match known.get(status.id.as_str()) {
            Some(before) => {
                seen += 1;
                if *before != now {
                    workers.push(now);
                }
            }
            None => workers.push(now),
        }
    }
    (seen == known.len()).then_some((pairs, workers))
}

fn head<'a>(snapshot: &'a Snapshot, end: Option<&'a RunEnd>) -> RunHead<'a> {
    RunHead {
        state: &snapshot.state,
        elapsed_seconds: snapshot.elapsed_seconds,
        trials: snapshot.trials,
        trials_each: (snapshot.conditions.first()).map_or(0, |first| {
            first.total * snapshot.conditions.len() as u64 / (snapshot.pairs.len() as u64).max(1)
        }),
        trials_per_second: snapshot.trials_per_second,
        seconds_left: snapshot.seconds_left,
        spans: snapshot.spans,
        files: snapshot.files,
        counts: snapshot.counts,
        end,
    }
}

fn worker(status: &WorkerStatus) -> ShownWorker<'_> {
    let WorkerStatus { id, name, address, state, threads, leases, trials, silent_seconds, .. } = status;
    let is_gone = state == "gone" || state == "quarantined";
    let silent = if is_gone { 0 } else { *silent_seconds as u64 / SILENCE * SILENCE };
    ShownWorker {
        id,
        name,
        address,
        state,
        threads: *threads,
        leases: *leases,
        trials: *trials,
        silent_seconds: silent,
    }
}

fn told(notices: &VecDeque<(u64, Arc<Notice>)>, from: u64) -> Vec<Told<'_>> {
    let notices = notices.iter().filter(|(seq, _)| *seq >= from);
    notices
        .map(|(seq, notice)| Told {
            seq: *seq,
            time: &notice.time,
            event: &notice.event,
            is_trouble: notice.is_trouble,
            text: &notice.text,
        })
        .collect()
}

fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("text and numbers can be written")
}

#[cfg(test)]
mod tests;
