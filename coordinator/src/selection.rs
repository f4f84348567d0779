//! Trials at rest: those of some conditions and seeds of a sweep, read from its store.

use granule_sim::Model;
use granule_sim::spikes::TrialSpikes;
use granule_sweep::key::TrialKey;
use granule_sweep::{Plan, Sweep};
use rayon::prelude::*;

use crate::archive::Archive;
use crate::cli::exit;
use crate::failure::Failure;
use crate::outputs::OutputError;
use crate::store::{Store, StoreError};
use crate::threads::side_by_side;

/// A condition and a seed, by their index, and which trials there are of them.
pub(crate) struct Pair {
    pub(crate) condition: usize,
    pub(crate) seed: usize,
    pub(crate) trials: Vec<u32>,
}

/// Trials of some conditions and seeds.
pub(crate) struct Selection<'a> {
    pub(crate) sweep: &'a Sweep,
    plan: &'a Plan,
    store: &'a Store,
    /// A condition after the other, both in the order of the sweep.
    pub(crate) pairs: Vec<Pair>,
    /// Trials that were set aside and are not among them.
    pub(crate) left_out: u64,
}

impl<'a> Selection<'a> {
    /// All trials of these conditions and seeds, by their index, but for those that were set aside.
    ///
    /// # Errors
    /// When another is not stored.
    pub(crate) fn new(
        archive: &Archive,
        (sweep, plan): (&'a Sweep, &'a Plan),
        store: &'a Store,
        conditions: &[usize],
        seeds: &[usize],
    ) -> Result<Selection<'a>, Failure> {
        let set_aside = |condition: usize, seed: usize, trial: u32| {
            archive.manifest().into_iter().flat_map(|manifest| &manifest.set_aside).any(|aside| {
                (aside.seed, aside.trial) == (sweep.seeds[seed], trial)
                    && aside.condition == sweep.conditions[condition].name
            })
        };
        let mut pairs = Vec::with_capacity(conditions.len() * seeds.len());
        let mut left_out = 0;
        for (&condition, &seed) in
            conditions.iter().flat_map(|condition| seeds.iter().map(move |seed| (condition, seed)))
        {
            let (cohort, variant) = plan.place(condition, seed);
            let mut trials = Vec::with_capacity(plan.trials as usize);
            for trial in 0..plan.trials {
                if store.contains(plan.key(cohort, variant, trial)) {
                    trials.push(trial);
                } else if set_aside(condition, seed, trial) {
                    left_out += 1;
                } else {
                    let name = &sweep.conditions[condition].name;
                    let message = format!(
                        "error: trial {trial} of condition {name}, seed {}, is not stored\n  help: run the sweep to its \
                         end, or leave that out with --conditions and --seeds",
                        sweep.seeds[seed]
                    );
                    return Err(Failure::new(exit::INCOMPLETE, message));
                }
            }
            pairs.push(Pair { condition, seed, trials });
        }
        Ok(Selection { sweep, plan, store, pairs, left_out })
    }

    /// The spikes of a trial.
    ///
    /// # Errors
    /// When the store has lost it.
    pub(crate) fn spikes(&self, pair: &Pair, trial: u32) -> Result<TrialSpikes, OutputError> {
        let (cohort, variant) = self.plan.place(pair.condition, pair.seed);
        let key = self.plan.key(cohort, variant, trial);
        let bytes = self.store.get(key)?.ok_or(OutputError::Missing { key })?;
        let model = &self.sweep.conditions[pair.condition].model;
        TrialSpikes::decode(&bytes, model.parameters().network, model.steps())
            .map_err(|_| OutputError::Missing { key })
    }
}

/// Stored trials of a sweep that are not what they should be: their spikes are damaged, or cannot be spikes of their
/// condition. Reads all of them.
///
/// # Errors
/// When the store cannot be read; [`OutputError::Interrupted`].
pub(crate) fn damaged(
    sweep: &Sweep,
    plan: &Plan,
    store: &Store,
    is_interrupted: &(dyn Fn() -> bool + Sync),
) -> Result<Vec<TrialKey>, OutputError> {
    if store.is_empty() {
        return Ok(Vec::new());
    }
    let all: Vec<(TrialKey, &Model)> = plan
        .cohorts
        .iter()
        .flat_map(|cohort| cohort.variants.iter().map(move |variant| (cohort.seed, variant)))
        .flat_map(|(seed, variant)| {
            let model = &sweep.conditions[variant.conditions[0]].model;
            (0..plan.trials).map(move |trial| (variant.fingerprint.trial(seed, trial), model))
        })
        .filter(|(key, _)| store.contains(*key))
        .collect();
    let found = side_by_side(|| {
        let found = all.par_iter().map(|&(key, model)| {
            if is_interrupted() {
                return Err(OutputError::Interrupted);
            }
            Ok(is_damaged(store, key, model)?.then_some(key))
        });
        found.collect::<Result<Vec<_>, OutputError>>()
    })?;
    Ok(found.into_iter().flatten().collect())
}

/// Whether a trial is stored, and not what it should be.
pub(crate) fn is_damaged(store: &Store, key: TrialKey, model: &Model) -> Result<bool, StoreError> {
    match store.get(key) {
        Ok(Some(spikes)) => {
            Ok(TrialSpikes::decode(&spikes, model.parameters().network, model.steps()).is_err())
        }
        Ok(None) => Ok(false),
        Err(StoreError::Damaged { .. }) => Ok(true),
        Err(error) => Err(error),
    }
}

/// Indices of the conditions of these names, each once and in the order of the sweep; of all if there
/// are no names.
pub(crate) fn conditions_of(sweep: &Sweep, names: &[String]) -> Result<Vec<usize>, Failure> {
    chosen(sweep.conditions.len(), names, |name| condition_of(sweep, name))
}

/// Indices of these seeds, each once and in the order of the sweep; of all if none are given.
pub(crate) fn seeds_of(sweep: &Sweep, seeds: &[u32]) -> Result<Vec<usize>, Failure> {
    chosen(sweep.seeds.len(), seeds, |seed| seed_of(sweep, *seed))
}

fn chosen<T>(
    count: usize,
    asked: &[T],
    place: impl Fn(&T) -> Result<usize, Failure>,
) -> Result<Vec<usize>, Failure> {
    if asked.is_empty() {
        return Ok((0..count).collect());
    }
    let mut places = asked.iter().map(place).collect::<Result<Vec<usize>, Failure>>()?;
    places.sort_unstable();
    places.dedup();
    Ok(places)
}

/// The condition of this name, by index.
pub(crate) fn condition_of(sweep: &Sweep, name: &str) -> Result<usize, Failure> {
    sweep.conditions.iter().position(|condition| condition.name == name).ok_or_else(|| {
        let names: Vec<&str> = sweep.conditions.iter().map(|condition| condition.name.as_str()).collect();
        let some =
            if names.len() > 12 { format!("{}, …", names[..12].join(", ")) } else { names.join(", ") };
        let message = format!("error: sweep {} has no condition `{name}`\n  help: it has {some}", sweep.name);
        Failure::new(exit::USAGE, message)
    })
}

/// The place of this seed in the sweep.
pub(crate) fn seed_of(sweep: &Sweep, seed: u32) -> Result<usize, Failure> {
    sweep.seeds.iter().position(|&of| of == seed).ok_or_else(|| {
        let seeds: Vec<String> = sweep.seeds.iter().take(12).map(u32::to_string).collect();
        let more = if sweep.seeds.len() > 12 { ", …" } else { "" };
        let message = format!(
            "error: sweep {} has no seed {seed}\n  help: it has {}{more}",
            sweep.name,
            seeds.join(", ")
        );
        Failure::new(exit::USAGE, message)
    })
}
