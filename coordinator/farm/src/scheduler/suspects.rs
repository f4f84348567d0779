//! Suspects: trials at which workers die or fail. They are tried alone, and finally set aside.
//!
//! A worker's report of a failure is only a claim, unless the coordinator started its process. Claims set a trial aside
//! only if workers elsewhere, and workers that fail at nothing else, have tried it, as far as there are any. So a
//! worker that only claims to fail cannot keep others from computing a trial.

use super::cohort::SlotState;
use super::event::{Command, Reason, Report, Work};
use super::ids::{LeaseId, Place, Site, WorkerName};
use super::lease::LeaseKind;
use super::losses::Loss;
use super::state::Scheduler;
use super::worker::Worker;

/// Number of workers, and of addresses, that must have lost a trial before claims set it aside. If fewer workers fail
/// at nothing else, fewer suffice.
const MANY: usize = 8;

/// The run ends if this many trials are set aside and none is stored.
pub(super) const HOPELESS: usize = 10;

impl Scheduler {
    /// Returns a suspect for this worker to try alone. If any worker is steady, only proven ones get suspects.
    pub(super) fn next_suspect(&self, name: WorkerName) -> Option<(Work, LeaseKind)> {
        if self.suspects.is_empty() || self.steady > 0 && !self.workers[&name].is_proven() {
            return None;
        }
        let is_free = |place: &&Place| {
            let cohort = &self.cohorts[place.cohort as usize];
            cohort.slots[place.trial as usize].state() == SlotState::Suspect
        };
        let may_try = |place: &&Place| self.may_try(self.workers[&name].site, **place);
        let work = self.suspects.keys().filter(is_free).filter(may_try).find_map(|&place| {
            let variants = self.cohorts[place.cohort as usize].unstored_of(place.trial);
            self.single(place, variants)
        });
        Some((work?, LeaseKind::Own))
    }

    /// Whether a worker of this site should try a suspect. It should not if its site has claimed enough and a worker
    /// elsewhere can try it.
    fn may_try(&self, site: Site, place: Place) -> bool {
        let claimed = &self.suspects[&place].claimed;
        let is_enough = |site: Site| {
            claimed.get(&site).is_some_and(|weight| *weight >= self.config.loss_limit.div_ceil(2))
                || self.has_claimed(site, place)
        };
        let can_try = |worker: &Worker| {
            self.is_hopeful_of(worker, place)
                && !claimed.contains_key(&worker.site)
                && !self.has_claimed(worker.site, place)
        };
        !is_enough(site) || !self.workers.values().any(can_try)
    }

    /// Whether a worker can be expected to compute a trial that can be computed. A worker that has delivered nothing,
    /// and holds no lease but of this trial, has shown nothing.
    pub(super) fn is_hopeful_of(&self, worker: &Worker, place: Place) -> bool {
        let is_other = |id: &LeaseId| match self.leases.get(id).map(|lease| &lease.work) {
            Some(Work::Trials { cohort, trials, .. }) => {
                (*cohort, trials.clone()) != (place.cohort, place.trial..place.trial + 1)
            }
            Some(Work::Survey { .. }) => true,
            None => false,
        };
        worker.is_hopeful() && (worker.is_proven() || worker.leases.iter().any(is_other))
    }

    /// Makes a trial that is not done a suspect: it is tried alone from now on.
    pub(super) fn suspect(&mut self, place: Place, reason: &str) {
        reason.clone_into(&mut self.suspects.entry(place).or_default().reason);
        let cohort = &mut self.cohorts[place.cohort as usize];
        let slot = &mut cohort.slots[place.trial as usize];
        if slot.state() == SlotState::Free {
            slot.set(SlotState::Suspect);
            cohort.pending -= 1;
            self.pending -= 1;
        }
    }

    /// Counts that a worker lost a trial. The trial becomes a suspect, and is set aside after enough losses.
    pub(super) fn lose(&mut self, name: WorkerName, place: Place, loss: Loss<'_>) {
        let cohort = &self.cohorts[place.cohort as usize];
        let slot = &cohort.slots[place.trial as usize];
        if slot.stored == cohort.variants || slot.state() == SlotState::SetAside {
            return;
        }
        self.suspect(place, loss.reason);
        let is_free = self.slot(place).state() == SlotState::Suspect;
        let suspect = self.suspects.entry(place).or_default();
        suspect.losses = suspect.losses.saturating_add(1);
        let weight = loss.weight;
        if loss.is_certain {
            suspect.certain = suspect.certain.saturating_add(weight);
        } else if let Some(worker) = self.workers.get(&name) {
            let claimed = suspect.claimed.entry(worker.site).or_default();
            *claimed = claimed.saturating_add(weight);
            // `is_proven` is right here: a worker that died of the trial is no longer steady.
            if worker.is_proven() && suspect.tried_by.len() < MANY {
                suspect.tried_by.insert(name);
            }
        }
        if is_free && self.is_enough(place) {
            let suspect = &self.suspects[&place];
            let reason = format!("failed {} times, most recently because {}", suspect.losses, suspect.reason);
            self.put_aside(place, reason);
        }
    }

    /// Whether the losses are enough to set a trial aside. Claims are not enough while a worker at an address without
    /// claims can try it, up to [`MANY`] addresses. The same holds for any worker that fails at nothing else, up to
    /// [`MANY`] workers.
    fn is_enough(&self, place: Place) -> bool {
        let limit = self.config.loss_limit;
        let suspect = &self.suspects[&place];
        if suspect.certain >= limit {
            return true;
        }
        let untried = |(name, worker): &(&WorkerName, &Worker)| {
            !suspect.tried_by.contains(name) && self.is_hopeful_of(worker, place)
        };
        let mut others = self.workers.iter().filter(untried).map(|(_, worker)| worker.site).peekable();
        let is_tried_by_many = suspect.tried_by.len() >= MANY || others.peek().is_none();
        let is_tried_everywhere =
            suspect.claimed.len() >= MANY || others.all(|site| suspect.claimed.contains_key(&site));
        let claimed = suspect.claimed.values().fold(0_u32, |sum, weight| sum.saturating_add(*weight));
        is_tried_by_many && is_tried_everywhere && suspect.certain.saturating_add(claimed) >= limit
    }

    /// Sets a trial aside that is neither leased nor pending.
    pub(super) fn put_aside(&mut self, place: Place, reason: String) {
        let cohort = &mut self.cohorts[place.cohort as usize];
        let slot = &mut cohort.slots[place.trial as usize];
        slot.set(SlotState::SetAside);
        self.unstored -= u64::from(cohort.variants.without(slot.stored).len());
        self.suspects.remove(&place);
        self.tally.set_aside += 1;
        self.commands.push(Command::Report(Report::SetAside { place, reason: reason.clone() }));
        self.set_aside.insert(place, reason.clone());
        if self.tally.stored > 0 {
            // The run continues with the other trials.
            self.crashes = 0;
        } else if self.set_aside.len() >= HOPELESS {
            let reason = Reason::Nothing { count: self.set_aside.len(), last: reason };
            self.end(Command::Abandon(reason));
        }
    }
}
