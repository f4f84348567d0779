//! Runs the scheduler for benchmarks and for tests of speed. Nothing else uses it, and it may change at any time.

use std::collections::VecDeque;
use std::time::Duration;

use granule_engine::stream::{Index, Parts};

use crate::scheduler::{
    CohortShape, Command, ConnectionId, Event, LEASE_TARGET, PlanShape, Scheduler, SchedulerConfig, Site,
    Time, TrialId, Work, WorkerName,
};

/// The stream parts of engine `brian2-2.2.1`.
const PARTS: Parts = Parts { items_per_finding: 2, mean: 3_926_990.8, sd: 918.0 };

/// The size of a plan, and of the farm that computes it.
#[derive(Clone, Copy, Debug)]
pub struct Life {
    /// Workers of one thread each.
    pub workers: u32,
    /// Cohorts, each with a noise stream of its own.
    pub cohorts: u32,
    /// Variants of each cohort.
    pub variants: u32,
    /// Trials of each variant.
    pub trials: u32,
    /// Trials per shard.
    pub shard: u32,
}

impl Life {
    /// Returns the number of trials, in all variants.
    pub fn len(&self) -> u64 {
        u64::from(self.cohorts) * u64::from(self.variants) * u64::from(self.trials)
    }

    /// Whether the plan has no trials.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Runs the plan with workers that need no time. Results are stored after their lease has finished. Returns the
    /// number of events.
    ///
    /// # Panics
    /// If the scheduler does not complete the plan.
    pub fn live(&self) -> u64 {
        let cohort = |i| CohortShape {
            variants: self.variants,
            items_per_trial: 1_000_000,
            cost_per_trial: 1e6,
            stream: i as usize,
        };
        let shape = PlanShape {
            may_grow: false,
            trials: self.trials,
            cohorts: (0..self.cohorts).map(cohort).collect(),
            streams: vec![Index::new(Some(PARTS)); self.cohorts as usize],
        };
        let mut scheduler = Scheduler::new(config(Some(self.shard)), shape, |_| false);
        let mut granted = VecDeque::new();
        let mut is_complete = false;
        let mut events = 0;
        let mut happen = |event, granted: &mut VecDeque<_>| {
            events += 1;
            for command in scheduler.handle(Time::from_micros(events), event) {
                match command {
                    Command::Grant { connection, lease, work } => {
                        granted.push_back((connection, lease, work))
                    }
                    Command::Complete => is_complete = true,
                    Command::Abandon(reason) => panic!("{reason}"),
                    _ => {}
                }
            }
        };
        for worker in 0..u64::from(self.workers) {
            let name = WorkerName(u128::from(worker).to_be_bytes());
            let connection = ConnectionId(worker);
            happen(
                Event::Joined {
                    connection,
                    worker: name,
                    site: Site::Address(worker),
                    threads: 1,
                    held: vec![],
                },
                &mut granted,
            );
        }
        while let Some((connection, lease, work)) = granted.pop_front() {
            match work {
                Work::Survey { parts, .. } => {
                    let findings = vec![PARTS.mean as u32; parts.len()];
                    happen(Event::Surveyed { connection, lease: Some(lease), findings }, &mut granted);
                    happen(Event::Finished { connection, lease: Some(lease) }, &mut granted);
                }
                Work::Trials { cohort, trials, variants, .. } => {
                    let of_trial =
                        |trial| variants.iter().map(move |variant| TrialId { cohort, variant, trial });
                    let ids: Vec<TrialId> = trials.flat_map(of_trial).collect();
                    for &trial in &ids {
                        happen(Event::Received { connection, lease: Some(lease), trial }, &mut granted);
                    }
                    happen(Event::Finished { connection, lease: Some(lease) }, &mut granted);
                    let worker = WorkerName(u128::from(connection.0).to_be_bytes());
                    for &trial in &ids {
                        happen(Event::Stored { worker, trial }, &mut granted);
                    }
                }
            }
        }
        assert!(is_complete);
        events
    }
}

/// Returns the configuration of schedulers in benchmarks.
pub fn config(shard_trials: Option<u32>) -> SchedulerConfig {
    SchedulerConfig {
        audits_alone: false,
        // The workers of benchmarks send no heartbeats, and a disk that other processes write to may stall for long.
        lease_ttl: Duration::from_secs(600),
        lease_target: LEASE_TARGET,
        shard_trials,
        crash_limit: 4,
        loss_limit: 12,
        audit_percent: 0.0,
    }
}
