//! Decides how many trials a sweep needs, from stored trials: `trials: { until: … }` ([`Until`]).
//!
//! Each decision follows from the rule and the results of the first trials. Neither the order of results nor other trials
//! in the store affect it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use granule_engine::TrialSpikes;
use granule_outputs::manifest::Decision;
use granule_server::driver::{TrialRule, Verdict};
use granule_statistics::estimate::half_width_by_trials;
use granule_store::{Store, StoreError};
use granule_sweep::{Plan, Sweep, Until};
use granule_system::threads::side_by_side;
use granule_text::plural;
use rayon::prelude::*;

use crate::gallery::{of_trial, place_of, shown_cells};

/// The rule of a sweep, and what it has measured so far.
#[derive(Debug)]
pub(super) struct Precision {
    until: Until,
    plan: Arc<Plan>,
    /// Names of the conditions.
    names: Vec<String>,
    seeds: usize,
    store: Arc<Store>,
    /// Trials of each condition and seed that are certain to be needed.
    needed: AtomicU32,
    /// The measure of each trial so far, by cohort and variant: 8 bytes each. NaN if the trial has none.
    measured: Mutex<Vec<Vec<f64>>>,
}

/// The decisions so far.
pub(super) enum Course {
    /// The number of trials is decided.
    Decided(Vec<Decision>),
    /// More trials must be computed.
    Open,
}

impl Precision {
    /// Returns the rule of a sweep, before the first decision. `None` if the number of trials is decided.
    pub(super) fn new(sweep: &Sweep, plan: &Arc<Plan>, store: &Arc<Store>) -> Option<Precision> {
        let until = sweep.undecided()?.clone();
        Some(Precision {
            needed: AtomicU32::new(until.checkpoints().next().unwrap_or(until.at_most)),
            until,
            names: sweep.conditions.iter().map(|condition| condition.name.clone()).collect(),
            seeds: sweep.seeds.len(),
            measured: Mutex::new(vec![Vec::new(); pairs(plan).count()]),
            plan: Arc::clone(plan),
            store: Arc::clone(store),
        })
    }

    /// Trials of each condition and seed that are certain to be needed.
    pub(super) fn needed(&self) -> u32 {
        self.needed.load(Ordering::Relaxed)
    }

    /// Decides from the beginning, as long as there are enough trials. The first `computed` trials of each condition and
    /// seed are stored or set aside. Further ones count if they are stored.
    pub(super) fn follow(&self, computed: u32) -> Result<Course, StoreError> {
        let mut decisions = Vec::new();
        let mut before = 0;
        for trials in self.until.checkpoints() {
            self.needed.store(trials, Ordering::Relaxed);
            let is_stored = |trial| self.is_stored(trial);
            if trials > computed && !(before..trials).all(is_stored) {
                return Ok(Course::Open);
            }
            before = trials;
            let decision = self.look(trials)?;
            let is_last = self.next(&decision).is_none();
            decisions.push(decision);
            if is_last {
                break;
            }
        }
        Ok(Course::Decided(decisions))
    }

    fn is_stored(&self, trial: u32) -> bool {
        pairs(&self.plan).all(|(cohort, variant)| self.store.contains(self.plan.key(cohort, variant, trial)))
    }

    /// Returns the precision after this many trials.
    fn look(&self, trials: u32) -> Result<Decision, StoreError> {
        let measured = &mut *self.measured.lock().unwrap_or_else(PoisonError::into_inner);
        let all: Vec<(usize, usize)> = pairs(&self.plan).collect();
        side_by_side(|| {
            measured
                .par_iter_mut()
                .zip(&all)
                .try_for_each(|(values, pair)| self.measure(*pair, values, trials))
        })?;
        let mut before = Vec::with_capacity(self.plan.cohorts.len());
        let mut count = 0;
        for cohort in &self.plan.cohorts {
            before.push(count);
            count += cohort.variants.len();
        }
        let half_width = |condition: usize| {
            let of_seed = |seed: usize| {
                let (cohort, variant) = self.plan.place(condition, seed);
                let values = measured[before[cohort] + variant].iter().take(trials as usize);
                values.copied().filter(|value| !value.is_nan()).collect::<Vec<f64>>()
            };
            half_width_by_trials(&(0..self.seeds).map(of_seed).collect::<Vec<_>>())
        };
        let width = |of: &(usize, Option<f64>)| of.1.unwrap_or(f64::INFINITY);
        let widths = (0..self.names.len()).map(|condition| (condition, half_width(condition)));
        // The first of equal ones.
        let (condition, half_width) = widths
            .reduce(|widest, of| if width(&of) > width(&widest) { of } else { widest })
            .expect("a sweep has a condition");
        Ok(Decision { trials, condition: self.names[condition].clone(), half_width })
    }

    /// Measures the trials of a cohort's variant that are not measured yet, up to this number.
    fn measure(
        &self,
        (cohort, variant): (usize, usize),
        values: &mut Vec<f64>,
        trials: u32,
    ) -> Result<(), StoreError> {
        let new = values.len() as u32..trials;
        if new.is_empty() {
            return Ok(());
        }
        let model = self.plan.model(cohort, variant);
        let driven = shown_cells(model, self.plan.cohorts[cohort].seed);
        let place = place_of(model, &self.until.measure);
        for trial in new {
            let key = self.plan.key(cohort, variant, trial);
            let stored = self.store.get(key)?.map(|bytes| TrialSpikes::decode(&bytes, &model.shape()));
            // A trial that was set aside has no value. One that cannot be decoded is found before files are written.
            let value = stored
                .and_then(Result::ok)
                .zip(place)
                .and_then(|(spikes, place)| of_trial(model, &driven, &spikes, place));
            values.push(value.unwrap_or(f64::NAN));
        }
        Ok(())
    }

    /// Returns the number of trials of the next decision, if the sweep needs more trials.
    fn next(&self, decision: &Decision) -> Option<u32> {
        let next = || self.until.checkpoints().find(|trials| *trials > decision.trials);
        if self.is_reached(decision) { None } else { next() }
    }

    /// Describes a decision for people.
    pub(super) fn describe(&self, decision: &Decision) -> String {
        let Until { measure, half_width: goal, .. } = &self.until;
        let Decision { trials, condition, half_width } = decision;
        let found = match half_width {
            Some(found) => {
                format!("the interval of {measure} is widest in condition {condition}, ± {}", short(*found))
            }
            None => format!(
                "{measure} has no interval in condition {condition}, because a seed has fewer than two trials with a value"
            ),
        };
        let trials = plural((*trials).into(), "trial");
        match self.next(decision) {
            Some(next) => {
                format!("{trials} are not enough: {found}; the goal is ± {goal}; continuing to {next}")
            }
            None if self.is_reached(decision) => {
                format!("{trials} are enough: {found}; the goal is ± {goal}")
            }
            None => format!("note: {trials} are the limit, and not enough: {found}; the goal is ± {goal}"),
        }
    }

    /// Whether the measure is precise in every condition.
    fn is_reached(&self, decision: &Decision) -> bool {
        decision.half_width.is_some_and(|half_width| half_width <= self.until.half_width)
    }
}

impl TrialRule for Precision {
    fn decide(&self, trials: u32) -> Result<Verdict, StoreError> {
        let decision = self.look(trials)?;
        let next = self.next(&decision);
        self.needed.store(next.unwrap_or(trials), Ordering::Relaxed);
        Ok(Verdict { next, text: self.describe(&decision) })
    }
}

/// Returns all cohorts with their variants.
fn pairs(plan: &Plan) -> impl Iterator<Item = (usize, usize)> {
    let of = |(at, cohort): (usize, &granule_sweep::plan::Cohort)| {
        (0..cohort.variants.len()).map(move |variant| (at, variant))
    };
    plan.cohorts.iter().enumerate().flat_map(of)
}

/// Formats a number with three digits.
pub(crate) fn short(x: f64) -> String {
    let digits = 2 - x.abs().log10().floor().clamp(-12.0, 12.0) as i32;
    if x == 0.0 { "0".to_owned() } else { format!("{x:.*}", digits.max(0) as usize) }
}
