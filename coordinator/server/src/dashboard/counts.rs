//! Spikes by condition and bin of time, for the pages that show a condition.
//!
//! A condition is counted once a page first shows it. Its stored trials are read in the background, and later ones are
//! counted when they are stored. A bit for each trial records whether it is counted, so none is counted twice. When
//! trials are taken out of the store, their conditions are counted anew.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use granule_engine::{Model, TrialSpikes};
use granule_farm::scheduler::TrialId;
use granule_outputs::histogram::SpikeHistogram;
use granule_store::Store;
use granule_sweep::plan::Plan;

/// Width of a bin, except for trials so long that they would have more than `MOST_BINS`.
const BIN_MS: u32 = 5;
const MOST_BINS: u32 = 1000;

/// Returns the width of the bins in which spikes of a model's trials are counted, in ms.
pub fn bin_ms(model: &Model) -> u32 {
    let duration_ms = model.time().bins() as u32;
    BIN_MS * duration_ms.div_ceil(BIN_MS * MOST_BINS).max(1)
}

/// Counts of spikes.
#[derive(Debug)]
pub struct Counts {
    plan: Arc<Plan>,
    /// Number of trials in the cohorts before each.
    before: Vec<u64>,
    state: Mutex<CountingState>,
}

#[derive(Debug)]
struct CountingState {
    /// Which trials are counted: a bit each, by cohort, then variant.
    counted: Vec<u64>,
    /// By condition. Of several with equal parameters, only the first is counted.
    conditions: Vec<Option<ConditionCounts>>,
    /// Sends the conditions whose stored trials have to be read. Dropping it ends the reader.
    to_read: Option<Sender<usize>>,
    /// Conditions that were sent and are not yet read.
    unread: usize,
}

#[derive(Debug)]
struct ConditionCounts {
    histogram: SpikeHistogram,
    /// Increases with every change.
    version: u64,
    /// Increases when counting starts anew. Trials that were read from the store before that are void.
    life: u64,
}

impl Counts {
    /// Returns the counts of a plan, still empty, and the receiver for [`Counts::read`], which reads stored trials.
    pub fn new(plan: Arc<Plan>) -> (Counts, Receiver<usize>) {
        let mut trials = 0;
        let mut before = Vec::with_capacity(plan.cohorts.len());
        for cohort in &plan.cohorts {
            before.push(trials);
            trials += cohort.variants.len() as u64 * u64::from(plan.trials);
        }
        let (to_read, asked) = channel();
        let state = CountingState {
            counted: vec![0; trials.div_ceil(64) as usize],
            conditions: plan.conditions.iter().map(|_| None).collect(),
            to_read: Some(to_read),
            unread: 0,
        };
        (Counts { plan, before, state: Mutex::new(state) }, asked)
    }

    /// Starts to count this condition.
    pub fn watch(&self, condition: usize) {
        let condition = self.stand_in(condition);
        let state = &mut *self.state();
        if state.conditions[condition].is_none() {
            let model = &self.plan.conditions[condition].model;
            let histogram = SpikeHistogram::new(model, bin_ms(model) * model.time().steps_per_ms);
            state.conditions[condition] = Some(ConditionCounts { histogram, version: 1, life: 0 });
            state.ask(condition);
        }
    }

    /// Returns the counts of a watched condition and their version, if that differs from this one.
    pub fn later_than(&self, condition: usize, version: u64) -> Option<(u64, SpikeHistogram)> {
        let condition = self.stand_in(condition);
        let state = self.state();
        let counted = state.conditions[condition].as_ref()?;
        (counted.version != version).then(|| (counted.version, counted.histogram.clone()))
    }

    /// Counts a trial that was stored.
    pub fn add(&self, id: TrialId, encoded: &[u8]) {
        let condition = self.condition(id);
        let Some(life) = self.life(condition) else { return };
        self.count(id, condition, life, encoded);
    }

    /// Counts the conditions of these trials anew, because the trials are no longer stored.
    pub fn discard(&self, trials: &[TrialId]) {
        let mut conditions: Vec<usize> = trials.iter().map(|id| self.condition(*id)).collect();
        conditions.sort_unstable();
        conditions.dedup();
        let state = &mut *self.state();
        for condition in conditions {
            let Some(counted) = &mut state.conditions[condition] else { continue };
            let model = &self.plan.conditions[condition].model;
            counted.histogram = SpikeHistogram::new(model, bin_ms(model) * model.time().steps_per_ms);
            counted.version += 1;
            counted.life += 1;
            for (id, bit) in self.trials(condition) {
                debug_assert_eq!(self.condition(id), condition);
                state.counted[(bit / 64) as usize] &= !(1 << (bit % 64));
            }
            state.ask(condition);
        }
    }

    /// Whether stored trials are still being read.
    pub fn is_behind(&self) -> bool {
        self.state().unread > 0
    }

    /// Reads the stored trials of the conditions that are requested, until no more requests can arrive.
    pub fn read(&self, store: &Store, asked: &Receiver<usize>) {
        while let Ok(condition) = asked.recv() {
            for (id, bit) in self.trials(condition) {
                let (life, is_counted) = {
                    let state = self.state();
                    if state.to_read.is_none() {
                        return;
                    }
                    let life = state.conditions[condition].as_ref().map(|counted| counted.life);
                    (life, state.counted[(bit / 64) as usize] & 1 << (bit % 64) != 0)
                };
                let key = self.plan.key(id.cohort as usize, id.variant as usize, id.trial);
                // Damaged trials are skipped here. The parts of a run that need them find and recompute them.
                if let Some(life) = life.filter(|_| !is_counted)
                    && let Ok(Some(encoded)) = store.get(key)
                {
                    self.count(id, condition, life, &encoded);
                }
            }
            self.state().unread -= 1;
        }
    }

    /// Ends the reader.
    pub fn end(&self) {
        self.state().to_read = None;
    }

    /// Counts a trial, unless it is counted already, or counting has started anew since `life`.
    fn count(&self, id: TrialId, condition: usize, life: u64, encoded: &[u8]) {
        let model = &self.plan.conditions[condition].model;
        let Ok(spikes) = TrialSpikes::decode(encoded, &model.shape()) else {
            return;
        };
        let bit = self.bit(id);
        let state = &mut *self.state();
        let Some(counted) = &mut state.conditions[condition] else { return };
        let word = &mut state.counted[(bit / 64) as usize];
        if counted.life == life && *word & 1 << (bit % 64) == 0 {
            *word |= 1 << (bit % 64);
            counted.histogram.add(&spikes);
            counted.version += 1;
        }
    }

    fn state(&self) -> MutexGuard<'_, CountingState> {
        // The state is consistent after every operation.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn life(&self, condition: usize) -> Option<u64> {
        self.state().conditions[condition].as_ref().map(|counted| counted.life)
    }

    fn bit(&self, id: TrialId) -> u64 {
        let trials = u64::from(self.plan.trials);
        self.before[id.cohort as usize] + u64::from(id.variant) * trials + u64::from(id.trial)
    }

    /// Returns all trials of a condition, and their bits.
    fn trials(&self, condition: usize) -> impl Iterator<Item = (TrialId, u64)> {
        let seeds = self.plan.cohorts.len().checked_sub(1).map_or(0, |last| self.plan.seed_of(last) + 1);
        (0..seeds).flat_map(move |seed| {
            let (cohort, variant) = self.plan.place(condition, seed);
            (0..self.plan.trials).map(move |trial| {
                let id = TrialId { cohort: cohort as u32, variant: variant as u32, trial };
                (id, self.bit(id))
            })
        })
    }

    /// Returns the condition of a trial. If several share it, returns the first.
    fn condition(&self, id: TrialId) -> usize {
        self.plan.cohorts[id.cohort as usize].variants[id.variant as usize].conditions[0]
    }

    /// Returns the first condition with the same parameters.
    fn stand_in(&self, condition: usize) -> usize {
        let (cohort, variant) = self.plan.place(condition, 0);
        self.plan.cohorts[cohort].variants[variant].conditions[0]
    }
}

impl CountingState {
    fn ask(&mut self, condition: usize) {
        if let Some(to_read) = &self.to_read
            && to_read.send(condition).is_ok()
        {
            self.unread += 1;
        }
    }
}

#[cfg(test)]
mod tests;
