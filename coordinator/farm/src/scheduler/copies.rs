//! What idle workers do when nothing is pending: the same as slow ones, from the other end.
//!
//! A lease of a worker that is slow, stuck or gone would hold up the sweep. A worker with nothing to
//! do takes the last of its trials, as many as the two would share by their pace, if it is likely to
//! be done with them sooner. Whoever is first is taken, and the other is told to stop.

use std::ops::Range;

use super::event::{Command, Report, Work};
use super::ids::{LeaseId, Place, Time, WorkerName};
use super::lease::{Kind, Lease};
use super::pace;
use super::state::Scheduler;
use super::variants::Variants;

/// How much sooner than the slow worker the idle one should be done.
const SOONER: f64 = 1.3;

/// What a copy takes besides computing, in seconds.
const OVERHEAD: f64 = 0.05;

impl Scheduler {
    /// Has idle workers compute what slow ones have.
    pub(super) fn copy(&mut self, now: Time) {
        if self.pending > 0 {
            return;
        }
        let left = |(id, lease): (&LeaseId, &Lease)| Some((self.seconds_left(now, *id, lease)?, *id));
        let mut leases: Vec<(f64, LeaseId)> = self.leases.iter().filter_map(left).collect();
        // The last of them would hold up the sweep longest.
        leases.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)));
        while let Some((left, id)) = leases.pop() {
            let Some((idle, work)) = self.help(now, id, left) else { continue };
            let Work::Trials { cohort, trials, .. } = &work else { return };
            let slow = self.leases[&id].worker.expect("only leases with a worker are copied");
            let place = Place { cohort: *cohort, trial: trials.start };
            let trials = trials.len() as u32;
            self.commands.push(Command::Report(Report::Copied { place, trials, slow, idle }));
            self.tally.copies += 1;
            self.grant(now, idle, work, Kind::Copy { of: id });
            // What is left of it may be worth a copy, too.
            if let Some(left) = self.seconds_left(now, id, &self.leases[&id]) {
                let at = leases.partition_point(|of| of.0.total_cmp(&left).then(id.cmp(&of.1)).is_lt());
                leases.insert(at, (left, id));
            }
        }
    }

    /// How long a lease will take, by what is not copied of it yet.
    fn seconds_left(&self, now: Time, id: LeaseId, lease: &Lease) -> Option<f64> {
        let (Some(name), Kind::Own) = (lease.worker, lease.kind) else { return None };
        let open = self.open_trials(now, id, lease)?;
        let worker = &self.workers[&name];
        let shape = &self.cohorts[open.cohort as usize].shape;
        let idle_for = now.saturating_sub(lease.progress).as_secs_f64();
        let per_trial = worker.pace.seconds(pace::effort(shape.cost_per_trial, open.variants.len()));
        let count = f64::from(open.count);
        Some(match per_trial {
            _ if worker.connection.is_none() || lease.is_stalled => f64::INFINITY,
            Some(per_trial) => (count * per_trial - idle_for).max(0.0),
            // Nothing has come of it, and nothing is known of the worker: as long again.
            None => count * idle_for,
        })
    }

    /// What is open of a lease.
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
        // A suspect is tried by one worker at a time, unless that takes too long.
        let is_suspect = self.suspects.contains_key(&Place { cohort: *at, trial: first? });
        if is_suspect && now < lease.granted + self.config.lease_ttl {
            return None;
        }
        Some(Open { cohort: *at, variants: *variants, count, run })
    }

    /// The trials that a copy is computing, unless it has stalled.
    fn copied(&self, copy: LeaseId) -> Option<Range<u32>> {
        let lease = self.leases.get(&copy).filter(|lease| lease.worker.is_some() && !lease.is_stalled)?;
        let Work::Trials { trials, .. } = &lease.work else { return None };
        Some(trials.clone())
    }

    /// What of a lease the fastest idle worker should do, if any should.
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
        // The last ones: the slow worker comes to them last.
        let mut work = self.single(Place { cohort, trial: run.end - share }, variants)?;
        if let Work::Trials { trials, .. } = &mut work {
            trials.end = run.end;
        }
        Some((name, work))
    }
}

/// Trials of a lease that are neither done nor copied.
struct Open {
    cohort: u32,
    variants: Variants,
    count: u32,
    /// The last of them that follow each other.
    run: Range<u32>,
}
