//! Notices and snapshots of a run, for people, logs and watchers.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use granule_farm::dialogue::failure_in_short;
use granule_farm::scheduler::{Report, WorkerName, WorkerState, WorkerView};
use granule_system::hex;
use granule_text::plural;

use super::state::{Driver, Known, MOST_KEPT};
use crate::view::log;
use crate::view::status::{DifferentTrials, Notice, Parcel, RunCounts, SCHEMA, Snapshot, WorkerStatus, now};

/// Most workers in a snapshot that have left or are quarantined. Further ones are only counted.
const GONE_SHOWN: usize = 256;

impl Driver<'_> {
    pub(super) fn report(&mut self, report: Report) {
        let tells = self.options.tells_of_workers;
        let name = |worker: &WorkerName| self.describe(*worker);
        let (event, worker, is_for_people, text) = match &report {
            Report::Joined { worker } => {
                let threads = self.scheduler.workers().find(|view| view.name == *worker);
                let threads = threads.map_or(0, |view| view.threads);
                let from = self.known.get(worker).map_or("", |known| &known.from);
                let threads = plural(threads.into(), "thread");
                let text = format!("{} joined from {from}, {threads}", name(worker));
                ("worker_joined", Some(*worker), tells, text)
            }
            Report::Returned { worker } => {
                ("worker_returned", Some(*worker), tells, format!("{} reconnected", name(worker)))
            }
            Report::Lost { worker } => {
                let hope = if self.workers.host(*worker).is_some() { "" } else { "; it may reconnect" };
                let text = format!("{} lost its connection{hope}", name(worker));
                ("worker_lost", Some(*worker), tells, text)
            }
            Report::Left { worker } => (
                "worker_left",
                Some(*worker),
                tells,
                format!("{} disconnected and holds no leases", name(worker)),
            ),
            // The worker's own message, with its reason, was reported.
            Report::Draining { .. } => return,
            Report::GivenUp { worker, leases } => {
                let leases = plural(*leases as u64, "lease");
                let text = format!("{} lost its {leases}, which other workers get", name(worker));
                ("worker_given_up", Some(*worker), tells, text)
            }
            Report::Quarantined { worker, reason } => (
                "worker_quarantined",
                Some(*worker),
                true,
                format!("{} is quarantined: {reason}", name(worker)),
            ),
            Report::Copied { place, trials, slow, idle } => {
                let text = format!(
                    "{} also computes {} of {}, starting with {}",
                    name(idle),
                    plural((*trials).into(), "trial"),
                    name(slow),
                    self.catalogue.describe_place(*place)
                );
                ("lease_copied", Some(*idle), false, text)
            }
            Report::SetAside { place, reason } => {
                let text = format!("{} is set aside: {reason}", self.catalogue.describe_place(*place));
                ("trial_set_aside", None, true, text)
            }
            Report::NoResult { trial } => {
                let reason = match self.failures.get(trial) {
                    Some(how) => format!("the program failed: {}", failure_in_short(how)),
                    None => self.catalogue.too_large_reason(*trial),
                };
                let text = format!("{} is set aside: {reason}", self.catalogue.describe(*trial));
                ("trial_set_aside", None, true, text)
            }
            Report::Disagreed { trial, stored_by, worker } => {
                let author = stored_by.map_or("an earlier run".to_owned(), |worker| self.describe(worker));
                let of = self.catalogue.describe(*trial);
                let kept = self.disagreements.iter().rev().find_map(|text| text.strip_prefix(&of));
                let text = format!(
                    "disagreement: {} and {author} computed different results for {of}{}",
                    name(worker),
                    kept.unwrap_or_default()
                );
                ("disagreement", Some(*worker), true, text)
            }
            Report::Settled { trial, stored_is_right, machines } => {
                let verdict = if *stored_is_right { "were kept" } else { "were replaced" };
                let caveat = if *machines < 3 { ", but no third machine computed this trial" } else { "" };
                let trial = self.catalogue.describe(*trial);
                let text = format!("settled: {trial}: the stored spikes {verdict}{caveat}");
                ("settled", None, true, text)
            }
            Report::Distrusted { worker, trials } => {
                let text = format!(
                    "{} that only {} computed must be computed again",
                    plural(*trials as u64, "trial"),
                    name(worker)
                );
                ("distrusted", Some(*worker), true, text)
            }
            Report::Unaudited { trials } => {
                let text =
                    format!("{} not audited: no other worker was available", plural(*trials as u64, "trial"));
                ("unaudited", None, true, text)
            }
        };
        if let Report::Quarantined { reason, .. } = &report
            && self.quarantined.len() < MOST_KEPT
        {
            self.quarantined
                .push(format!("{}: {reason}", worker.map_or(String::new(), |of| self.describe(of))));
        }
        self.notice(event, worker, is_for_people, text);
    }

    /// Reports an event to people, logs and watchers, unless its quota is used up.
    pub(super) fn notice(
        &mut self,
        event: &'static str,
        worker: Option<WorkerName>,
        is_for_people: bool,
        mut text: String,
    ) {
        match self.quotas.take(event, Instant::now()) {
            None => return,
            Some(0) => {}
            Some(left_out) => {
                text.push_str(&format!(" (notices of this kind that were left out: {left_out})"))
            }
        }
        let worker = worker.map(|worker| self.describe(worker));
        let name = worker.as_deref().unwrap_or_default();
        if is_for_people {
            tracing::info!(target: log::TARGET, event, worker = name, "{text}");
        } else {
            tracing::debug!(target: log::TARGET, event, worker = name, "{text}");
        }
        self.views.notify(Notice::new(event, worker, text));
    }

    /// Returns a worker's name for people.
    pub(super) fn describe(&self, worker: WorkerName) -> String {
        match self.known.get(&worker) {
            Some(Known { process_id, is_ours: true, .. }) => format!("worker process {process_id}"),
            Some(Known { host, process_id, .. }) => format!("worker {host}/{process_id}"),
            None => "a worker".to_owned(),
        }
    }

    /// Publishes a snapshot of the run to all watchers.
    pub(super) fn put_up(&self, state: &str) {
        let elapsed = self.started.elapsed();
        let (total, stored, reused) = self.progress.trials();
        let tally = self.scheduler.tally();
        let (counted, spans) = self.scheduler.parts();
        let views: Vec<WorkerView> = self.scheduler.workers().collect();
        let mut worker_states = BTreeMap::new();
        views.iter().for_each(|view| *worker_states.entry(view.state.name().to_owned()).or_default() += 1);
        let (mut views, mut gone): (Vec<_>, Vec<_>) =
            views.into_iter().partition(|view| view.state <= WorkerState::Lost);
        gone.sort_by_key(|view| std::cmp::Reverse(view.heard));
        views.extend(gone.into_iter().take(GONE_SHOWN));
        views.sort_by_key(|view| view.name);
        let workers = views.iter().map(|view| self.status_of(view, elapsed)).collect();
        let snapshot = Snapshot {
            schema: SCHEMA,
            kind: "snapshot".to_owned(),
            time: now(),
            sweep: self.options.sweep.clone(),
            state: state.to_owned(),
            granule: env!("CARGO_PKG_VERSION").to_owned(),
            engine: self.engine.name().to_owned(),
            engine_revision: self.engine.revision(),
            elapsed_seconds: elapsed.as_secs_f64(),
            trials: DifferentTrials { total, stored, reused },
            trials_per_second: self.progress.rate(),
            seconds_left: self.progress.left().map(|left| left.as_secs_f64()),
            conditions: self.progress.parts().to_vec(),
            pairs: self.progress.pairs().to_vec(),
            spans: Parcel { total: spans, done: counted },
            files: Parcel::default(),
            workers,
            worker_states,
            counts: RunCounts {
                leases: tally.leases,
                copied_leases: tally.copies,
                leases_given_back: tally.given_back,
                disconnections: tally.disconnections,
                returns: tally.returns,
                worker_deaths: self.deaths,
                audited: tally.audited,
                unaudited: tally.unaudited,
                disagreements: tally.disagreements,
                discarded_trials: tally.discarded,
                quarantined_workers: tally.quarantined,
                trials_set_aside: tally.set_aside,
                refused: self.refusals,
            },
        };
        self.views.put_up(snapshot);
    }

    fn status_of(&self, view: &WorkerView, elapsed: Duration) -> WorkerStatus {
        let known = self.known.get(&view.name);
        WorkerStatus {
            id: hex(&view.name.0[..8]),
            name: known.map_or(String::new(), |known| format!("{}/{}", known.host, known.process_id)),
            host: known.map_or(String::new(), |known| known.host.clone()),
            process_id: known.map_or(0, |known| known.process_id),
            address: known.map_or(String::new(), |known| known.from.clone()),
            state: view.state.name().to_owned(),
            threads: view.threads,
            leases: view.leases as u64,
            trials: view.stored,
            silent_seconds: elapsed.saturating_sub(view.heard).as_secs_f64(),
        }
    }
}
