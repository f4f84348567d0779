//! Copies: if nothing is pending, idle workers compute trials of slow ones, from the other end.
//!
//! A lease of a worker that is slow, stuck or gone would delay the sweep. An idle worker gets the last of its trials,
//! if it would probably finish them sooner. The two share the trials in proportion to their paces. The first result
//! counts, and the other worker's lease is revoked.

use std::ops::Range;

use super::event::{Command, Report, Work};
use super::ids::{LeaseId, Place, Time, WorkerName};
use super::lease::{Lease, LeaseKind};
use super::pace;
use super::state::Scheduler;
use super::variants::Variants;

/// How many times sooner than the slow worker the idle one should finish.
const SOONER: f64 = 1.3;

/// Time that a copy takes in addition to computing, in seconds.
const OVERHEAD: f64 = 0.05;

impl Scheduler {
    /// Grants copies of slow workers' trials to idle workers.
    pub(super) fn copy(&mut self, now: Time) {
        if self.pending > 0 {
            return;
        }
        let left = |(id, lease): (&LeaseId, &Lease)| Some((self.seconds_left(now, *id, lease)?, *id));
        let mut leases: Vec<(f64, LeaseId)> = self.leases.iter().filter_map(left).collect();
        // The last of these would delay the sweep longest.
        leases.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)));
        while let Some((left, id)) = leases.pop() {
            let Some((idle, work)) = self.help(now, id, left) else { continue };
            let Work::Trials { cohort, trials, .. } = &work else { return };
            let slow = self.leases[&id].worker.expect("only leases with a worker are copied");
            let place = Place { cohort: *cohort, trial: trials.start };
            let trials = trials.len() as u32;
            self.commands.push(Command::Report(Report::Copied { place, trials, slow, idle }));
            self.tally.copies += 1;
            self.grant(now, idle, work, LeaseKind::Copy { of: id });
            // The rest of the lease may also be worth a copy.
            if let Some(left) = self.seconds_left(now, id, &self.leases[&id]) {
                let at = leases.partition_point(|of| of.0.total_cmp(&left).then(id.cmp(&of.1)).is_lt());
                leases.insert(at, (left, id));
            }
        }
    }

    /// Estimates the seconds that a lease will take, without the trials that are already copied.
    fn seconds_left(&self, now: Time, id: LeaseId, lease: &Lease) -> Option<f64> {
        let (Some(name), LeaseKind::Own) = (lease.worker, lease.kind) else { return None };
        let open = self.open_trials(now, id, lease)?;
        let worker = &self.workers[&name];
        let shape = &self.cohorts[open.cohort as usize].shape;
        let idle_for = now.saturating_sub(lease.progress).as_secs_f64();
        let per_trial = worker.pace.seconds(pace::effort(shape.cost_per_trial, open.variants.len()));
        let count = f64::from(open.count);
        Some(match per_trial {
            _ if worker.connection.is_none() || lease.is_stalled => f64::INFINITY,
            Some(per_trial) => (count * per_trial - idle_for).max(0.0),
            // The worker's pace is unknown: each trial is assumed to take as long as the lease has made no progress.
            None => count * idle_for,
        })
    }

    /// Returns the trials of a lease that are neither delivered, done nor copied.
    fn open_trials(&self, now: Time, id: LeaseId, lease: &Lease) -> Option<Open> {
        let Work::Trials { cohort: at, trials, variants, .. } = &lease.work else { return None };
        let cohort = &self.cohorts[*at as usize];
        let copies: Vec<Range<u32>> = lease.copies.iter().filter_map(|copy| self.copied(*copy)).collect();
        let is_open = |trial: &u32| {
            let slot = &cohort.slots[*trial as usize];
            slot.lease() == Some(id)
                && !cohort.is_done(slot)
                && !slot.missing.is_empty()
                && !copies.iter().any(|copied| copied.contains(trial))
        };
        let (mut first, mut count, mut run) = (None, 0, 0..0);
        for trial in trials.clone().filter(is_open) {
            first.get_or_insert(trial);
            count += 1;
            run = if run.end == trial { run.start..trial + 1 } else { trial..trial + 1 };
        }
        // Only one worker tries a suspect at a time, but for no longer than a lease time.
        let is_suspect = self.suspects.contains_key(&Place { cohort: *at, trial: first? });
        if is_suspect && now < lease.granted + self.config.lease_ttl {
            return None;
        }
        Some(Open { cohort: *at, variants: *variants, count, run })
    }

    /// Returns the trials of a copy, unless it has ended or stalled.
    fn copied(&self, copy: LeaseId) -> Option<Range<u32>> {
        let lease = self.leases.get(&copy).filter(|lease| lease.worker.is_some() && !lease.is_stalled)?;
        let Work::Trials { trials, .. } = &lease.work else { return None };
        Some(trials.clone())
    }

    /// Returns the fastest idle worker, and the trials of a lease that it should compute, if it should compute any.
    fn help(&self, now: Time, id: LeaseId, left: f64) -> Option<(WorkerName, Work)> {
        let lease = &self.leases[&id];
        let Open { cohort, variants, count, run } = self.open_trials(now, id, lease)?;
        let slow = &self.workers[&lease.worker?];
        let effort = pace::effort(self.cohorts[cohort as usize].shape.cost_per_trial, variants.len());
        let seconds = |name: &WorkerName| self.workers[name].pace.seconds(effort);
        let may_help = |name: &&WorkerName| Some(**name) != lease.worker && self.may_have_lease(**name);
        let candidates = self.free.iter().filter(may_help);
        let (name, per_trial) = candidates
            .map(|name| (*name, seconds(name)))
            .min_by(|a, b| a.1.unwrap_or(f64::INFINITY).total_cmp(&b.1.unwrap_or(f64::INFINITY)))?;
        let share = match (slow.pace.seconds(effort), per_trial) {
            (Some(slow), Some(fast)) if left.is_finite() => slow / (slow + fast),
            _ if left.is_finite() => 0.5,
            _ => 1.0,
        };
        let share = ((f64::from(count) * share).ceil() as u32).clamp(1, run.len() as u32);
        let needed = per_trial.map_or(0.0, |per_trial| per_trial * f64::from(share)) + OVERHEAD;
        if needed * SOONER > left {
            return None;
        }
        // The idle worker gets the last trials, because the slow worker reaches them last.
        let mut work = self.single(Place { cohort, trial: run.end - share }, variants)?;
        if let Work::Trials { trials, .. } = &mut work {
            trials.end = run.end;
        }
        Some((name, work))
    }
}

/// The trials of a lease that are neither delivered, done nor copied.
struct Open {
    cohort: u32,
    variants: Variants,
    count: u32,
    /// The last contiguous range of them.
    run: Range<u32>,
}
