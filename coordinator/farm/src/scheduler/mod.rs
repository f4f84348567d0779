//! Who computes what, and when a sweep is done: a pure state machine.
//!
//! Everything that happens reaches [`Scheduler::handle`] as an [`Event`] with the time at which it
//! happened, and everything to be done comes back as [`Command`]s. There is no clock, no IO and no
//! async in here, and all collections are ordered: the same events give the same commands. The
//! driver around it decides nothing.
//!
//! A trial's slot is pending, leased or done, and done means stored for good. Work is leased to a
//! worker in shards (`work`); the lease ends when the worker says it has sent everything or gives
//! it back, when its process dies, or when it falls silent for too long, with a connection or without
//! (`members`). Whatever of it has not arrived by then is pending again. Results are taken whoever
//! sends them and whenever they come. Towards the end, idle workers compute again what slow ones have
//! (`copies`), and what a worker holds without progress is given to others as well (`stalls`).
//! How many leases a worker gets depends on what it has delivered (`sites`).
//!
//! A trial at which workers die becomes a suspect, is tried alone once there is nothing else, and
//! set aside in the end (`suspects`). One with more spikes than can be stored is given up by itself (`large`).
//! Workers whose results differ from those of others are found out, and what
//! they alone have computed is computed again (`trust`).
//!
//! A trial can only start where it is known where its items begin in the stream that it reads ([`granule_engine::stream`]). Streams
//! are therefore surveyed, by workers too, ahead of the trials that need it (`survey`).

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
pub use large::TOO_LARGE;
pub use pace::effort;
pub use shape::{CohortShape, Config, LEASE_TARGET, Shape};
pub use state::{Scheduler, Tally};
use survey::Stream;
pub use variants::Variants;
pub use worker::{WorkerState, WorkerView};

/// How often idle workers are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

impl Scheduler {
    /// Takes in what happened and says what to do, in order.
    pub fn handle(&mut self, now: Time, event: Event) -> Vec<Command> {
        if self.ended {
            return Vec::new();
        }
        // What says nothing new leaves everything as it was.
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
            Event::TooLarge { connection, lease, trial } => {
                self.on_too_large(now, connection, lease, trial);
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
            Event::Drain => self.on_drain(),
        }
        if !self.ended && self.unstored == 0 && self.trust.is_settled() {
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

    /// When [`Event::WakeUp`] is due, if nothing happens before.
    pub fn wake_up(&self) -> Option<Time> {
        let busy = self.workers.values().filter(|worker| !worker.leases.is_empty());
        let expiry = busy.map(|worker| worker.heard + self.config.lease_ttl).min();
        let is_idle = !(self.free.is_empty() || self.leases.is_empty()) || self.is_anybody_waiting();
        let looks = !self.draining && (is_idle || self.trust.waits());
        let look = looks.then_some(self.next_look);
        expiry.into_iter().chain(look).min()
    }

    /// Parts of streams that are counted, and those that have to be before all trials can begin.
    pub fn parts(&self) -> (u64, u64) {
        self.streams
            .iter()
            .map(Stream::progress)
            .fold((0, 0), |(a, b), (counted, total)| (a + counted, b + total))
    }

    /// What has been done so far.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Trials that were set aside, and why.
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
