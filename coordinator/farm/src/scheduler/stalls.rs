//! Leases are kept by progress, not by signs of life.
//!
//! A worker may hold a lease without delivering: it hangs, is far slower than others, or never intends to deliver. Its
//! heartbeats keep the connection, so silence does not end the lease. A lease is *stalled* after no progress for
//! several times the expected time. The worker keeps it, and its late results still count. But other workers get the
//! same work: trials by copies ([`super::copies`]), parts of streams and checks here. The worker gets no other lease
//! until it delivers, and no work waits for it. If all leases that it may have are stalled, it must deliver a result of
//! one of them. A result of an earlier lease does not show that they will end.

use std::collections::BTreeMap;
use std::time::Duration;

use super::event::Work;
use super::ids::{LeaseId, Site, Time};
use super::lease::{Lease, LeaseKind};
use super::pace;
use super::state::Scheduler;
use super::worker::Worker;

/// Multiple of a trial's expected time after which a lease without progress is stalled.
const STUCK: f64 = 3.0;

/// Time that every lease gets in addition: for latency, and for other work on the worker's machine.
const GRACE: Duration = Duration::from_secs(1);

/// How many times slower than typical a worker of unknown pace may be.
const SLOWER: f64 = 10.0;

/// Limit on the time without progress, in lease times. A trial of this run that took longer raises it.
const LONGEST: u32 = 4;

/// Time without progress after which a lease of parts is stalled. Counting parts takes some tenths of a second.
const SURVEY: Duration = Duration::from_secs(3);

impl Scheduler {
    /// Marks leases that have stalled, and makes their work available to other workers.
    pub(super) fn note_stalls(&mut self, now: Time) {
        let typical = self.typical_pace();
        let is_stalled = |lease: &Lease| {
            let idle_for = now.saturating_sub(lease.progress);
            !lease.is_stalled && lease.worker.is_some() && idle_for >= self.patience(lease, typical)
        };
        let stalled: Vec<LeaseId> =
            self.leases.iter().filter(|(_, lease)| is_stalled(lease)).map(|(id, _)| *id).collect();
        self.are_any_stalled = !stalled.is_empty() || self.leases.values().any(|lease| lease.is_stalled);
        for id in stalled {
            let Some(lease) = self.leases.get_mut(&id) else { continue };
            lease.is_stalled = true;
            let Some(name) = lease.worker else { continue };
            match (&lease.work, lease.kind) {
                (Work::Survey { cohort, parts }, _) => {
                    let stream = self.cohorts[*cohort as usize].shape.stream;
                    self.streams[stream].give_back(parts.clone());
                    self.reopen(stream);
                }
                (_, LeaseKind::Check { of, .. }) => self.trust.give_back(of, id),
                // Idle workers copy the open trials.
                (_, LeaseKind::Own | LeaseKind::Copy { .. }) => {}
            }
            self.workers.get_mut(&name).expect("it has a lease").is_stalled = true;
            self.update(name);
        }
    }

    /// Returns the typical seconds per unit of effort: the median over sites. For each site, the fastest worker counts
    /// that is connected and has delivered.
    fn typical_pace(&self) -> Option<f64> {
        let mut sites: BTreeMap<Site, f64> = BTreeMap::new();
        let delivers = |worker: &&Worker| worker.share.here && worker.delivered > 0;
        for worker in self.workers.values().filter(delivers) {
            if let Some(pace) = worker.pace.seconds(1.0) {
                sites.entry(worker.site).and_modify(|fastest| *fastest = fastest.min(pace)).or_insert(pace);
            }
        }
        let mut paces: Vec<f64> = sites.into_values().collect();
        paces.sort_by(f64::total_cmp);
        paces.get(paces.len() / 2).copied()
    }

    /// Returns the time without progress after which a lease is stalled.
    fn patience(&self, lease: &Lease, typical: Option<f64>) -> Duration {
        let Work::Trials { cohort, variants, .. } = &lease.work else { return SURVEY };
        let shape = &self.cohorts[*cohort as usize].shape;
        let effort = pace::effort(shape.cost_per_trial, variants.len());
        let ttl = self.config.lease_ttl;
        let time = |seconds: f64| {
            Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX).saturating_add(GRACE)
        };
        let own = lease.worker.and_then(|name| self.workers[&name].pace.seconds(effort));
        let expected = own.map(|seconds| STUCK * seconds).or(typical.map(|pace| SLOWER * pace * effort));
        let patience = expected.map_or(ttl, time);
        // A pace may stem from trials of another kind and predict this kind poorly. So the longest time of this run is
        // a limit, too.
        let patience = patience.min((LONGEST * ttl).max(self.longest.mul_f64(STUCK)));
        // Only one worker tries a suspect at a time, so it gets at least a lease time.
        if lease.is_alone { patience.max(ttl) } else { patience }
    }
}
