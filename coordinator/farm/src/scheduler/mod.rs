//! Decides which worker computes which trials, and when a sweep is done: a pure state machine.
//!
//! Each event reaches [`Scheduler::handle`] as an [`Event`] with the time at which it happened. The scheduler returns
//! [`Command`]s. It has no clock, no IO and no async code, and all its collections are ordered: the same events give
//! the same commands. The driver around it decides nothing.
//!
//! A trial's slot is pending, leased or done; done means durably stored. Work is leased to workers in shards (`work`).
//! A lease ends when its worker reports that it has sent everything or hands the lease back. It also ends when the
//! worker's process dies, or is silent for too long, connected or not (`members`). Trials of the lease whose results
//! have not arrived by then are pending again. The scheduler accepts results from any worker at any time. Towards the
//! end, idle workers compute trials that slow workers hold (`copies`). Work that a worker holds without progress is
//! leased to others as well (`stalls`). The number of a worker's leases depends on its delivered results (`sites`).
//!
//! A trial at which workers die becomes a suspect. It is tried alone once no other work is left, and finally set aside
//! (`suspects`). A variant of a trial without a result is given up by itself (`large`). The
//! scheduler detects workers whose results differ from those of others. Trials that only they have computed are
//! computed again (`trust`).
//!
//! If the number of trials depends on their results, the scheduler knows only the trials that are certain to be needed.
//! When they are stored, it asks the driver for a decision ([`Command::Decide`]), and gets more trials or none
//! ([`Event::Raised`], [`Event::Enough`]). So no worker computes a trial that the sweep may not need. Audits continue
//! meanwhile.
//!
//! A trial can start only if the place of its first item in its stream is known ([`granule_engine::stream`]). So
//! workers also survey streams, ahead of the trials that need it (`survey`).

mod checks;
mod claims;
mod cohort;
mod copies;
mod event;
mod ids;
mod large;
mod lease;
mod losses;
mod members;
#[cfg(test)]
mod model;
mod pace;
mod shape;
mod sites;
mod stalls;
mod standing;
mod state;
#[cfg(test)]
mod strangers;
mod survey;
mod suspects;
#[cfg(test)]
mod tests;
mod trust;
mod variants;
mod work;
mod worker;

use std::time::Duration;

pub use event::{Command, Dropped, Event, Reason, Report, Work};
pub use ids::{ConnectionId, LeaseId, Place, Site, Time, TrialId, WorkerName};
pub use large::NO_RESULT;
pub use pace::effort;
pub use shape::{CohortShape, LEASE_TARGET, PlanShape, SchedulerConfig};
pub use state::{Scheduler, Tally};
use survey::SurveyedStream;
pub use variants::Variants;
pub use worker::{WorkerState, WorkerView};

/// Interval between looks at idle workers, stalled leases and open checks.
const LOOK_EVERY: Duration = Duration::from_millis(250);

impl Scheduler {
    /// Handles an event. Returns the commands that follow, in order.
    pub fn handle(&mut self, now: Time, event: Event) -> Vec<Command> {
        if self.ended {
            return Vec::new();
        }
        // These events make neither work nor workers available, so no lease can be granted after them.
        let says_nothing = matches!(event, Event::Heard { .. } | Event::Part { .. });
        match event {
            Event::Joined { connection, worker, site, threads, held } => {
                self.on_joined(now, connection, (worker, site), threads.max(1), &held);
            }
            Event::Offered { connection } => self.on_offered(now, connection),
            Event::Heard { connection } => drop(self.hear(now, connection)),
            Event::Beat { connection, held, last } => self.on_beat(now, connection, &held, last),
            Event::Disconnected { connection } => self.on_disconnected(now, connection),
            Event::Draining { connection } => self.on_draining(now, connection),
            Event::Received { connection, lease: Some(lease), trial } => {
                self.on_received(now, connection, lease, trial)
            }
            Event::Part { connection, lease: Some(lease) } => self.on_part(now, connection, lease),
            Event::NoResult { connection, lease, trial } => {
                self.on_no_result(now, connection, lease, trial);
            }
            Event::Stored { worker, trial } => self.on_stored(worker, trial),
            Event::Disagreed { worker, trial, stored, received } => {
                self.on_disagreed(worker, trial, stored, received);
            }
            Event::Discarded { trials } => self.on_discarded(&trials),
            Event::Surveyed { connection, lease: Some(lease), findings } => {
                self.on_surveyed(now, connection, lease, findings);
            }
            Event::Finished { connection, lease: Some(lease) } => self.on_finished(now, connection, lease),
            Event::HandedBack { connection, lease: Some(lease) } => {
                self.hear(now, connection);
                self.on_handed_back(connection, lease);
            }
            Event::Failed { connection, lease: Some(lease), reason } => {
                self.on_failed(now, connection, lease, reason);
            }
            Event::Invalid { connection, what } => {
                if let Some(&worker) = self.connections.get(&connection) {
                    self.quarantine(worker, &format!("it sent {what}"));
                }
            }
            Event::ProcessDied { worker, description } => self.on_died(worker, description),
            Event::Severed { worker, description, is_death } => {
                self.on_severed(now, worker, &description, is_death);
            }
            Event::Received { connection, lease: None, .. }
            | Event::Part { connection, lease: None }
            | Event::Surveyed { connection, lease: None, .. }
            | Event::Finished { connection, lease: None }
            | Event::HandedBack { connection, lease: None }
            | Event::Failed { connection, lease: None, .. } => drop(self.hear(now, connection)),
            Event::WakeUp => self.on_wake_up(now),
            Event::Stalled => {
                self.workers.values_mut().for_each(|worker| worker.heard = now);
                self.leases.values_mut().for_each(|lease| (lease.progress, lease.delivered) = (now, now));
            }
            Event::Raised { trials, stored } => {
                self.is_deciding = false;
                self.grow(trials, |id| stored.contains(&id));
            }
            Event::Enough => (self.may_grow, self.is_deciding) = (false, false),
            Event::Drain => self.on_drain(),
        }
        if self.may_grow {
            let can_decide = self.unstored == 0 && self.trust.is_undisputed();
            if can_decide && !(self.is_deciding || self.ended || self.draining) {
                self.is_deciding = true;
                self.commands.push(Command::Decide);
            }
        } else if !self.ended && self.unstored == 0 && self.trust.is_settled() {
            self.end(Command::Complete);
        }
        if self.draining && !self.ended && !self.leases.values().any(|lease| lease.worker.is_some()) {
            self.end(Command::Drained);
        }
        if !self.ended && !self.draining && !says_nothing {
            self.assign(now);
        }
        self.forget();
        std::mem::take(&mut self.commands)
    }

    /// Returns the time at which [`Event::WakeUp`] is due, if no other event comes first.
    pub fn wake_up(&self) -> Option<Time> {
        let busy = self.workers.values().filter(|worker| !worker.leases.is_empty());
        let expiry = busy.map(|worker| worker.heard + self.config.lease_ttl).min();
        let is_idle = !(self.free.is_empty() || self.leases.is_empty()) || self.is_anybody_waiting();
        let looks = !self.draining && (is_idle || self.trust.waits());
        let look = looks.then_some(self.next_look);
        expiry.into_iter().chain(look).min()
    }

    /// Returns the number of counted parts of all streams, and of those that must be counted before all trials can
    /// start.
    pub fn parts(&self) -> (u64, u64) {
        self.streams
            .iter()
            .map(SurveyedStream::progress)
            .fold((0, 0), |(a, b), (counted, total)| (a + counted, b + total))
    }

    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Trials that were set aside, with reasons.
    pub fn set_aside(&self) -> impl Iterator<Item = (Place, &str)> {
        self.set_aside.iter().map(|(place, reason)| (*place, reason.as_str()))
    }

    /// Variants of a trial that are not stored.
    pub fn unstored_of(&self, place: Place) -> Variants {
        self.cohorts[place.cohort as usize].unstored_of(place.trial)
    }

    fn on_wake_up(&mut self, now: Time) {
        self.expire(now);
        if self.next_look <= now && !self.ended && !self.draining {
            self.next_look = now + LOOK_EVERY;
            self.note_stalls(now);
            self.assign(now);
            self.copy(now);
            self.look_after_checks(now);
        }
    }

    fn on_drain(&mut self) {
        self.draining = true;
        for lease in self.leases.keys().copied().collect::<Vec<_>>() {
            self.revoke(lease);
        }
    }
}
