//! Selects stored trials: those of some conditions and seeds of a sweep.

use std::collections::{BTreeSet, HashSet};
use std::ops::RangeInclusive;

use granule_engine::{Fingerprint, Model, TrialKey, TrialSpikes};
use granule_store::{Store, StoreError};
use granule_sweep::{Filter, Plan, Sweep};
use granule_system::exit;
use granule_system::threads::side_by_side;
use granule_text::plural;
use granule_text::words::{ranges, runs};
use rayon::prelude::*;

use crate::OutputError;
use crate::archive::Archive;
use crate::complaint::Complaint;
use crate::manifest::SetAside;

/// A condition and a seed, by index, and their stored trials.
pub struct Pair {
    pub condition: usize,
    pub seed: usize,
    pub trials: Vec<u32>,
}

/// The stored trials of some conditions and seeds.
pub struct Selection<'a> {
    pub sweep: &'a Sweep,
    plan: &'a Plan,
    store: &'a Store,
    /// Ordered by condition, then by seed, as in the sweep.
    pub pairs: Vec<Pair>,
    /// Number of chosen trials that were set aside and are left out.
    pub left_out: u64,
    /// Number of different chosen trials, and how many of them are stored.
    pub total: u64,
    pub stored: u64,
    /// The first chosen trial that is neither stored nor set aside: condition, seed and trial.
    missing: Option<(usize, usize, u32)>,
}

impl<'a> Selection<'a> {
    /// Selects all trials of these conditions and seeds, by index, except those that were set aside.
    ///
    /// # Errors
    /// If any other trial is not stored.
    pub fn new(
        archive: &Archive,
        (sweep, plan): (&'a Sweep, &'a Plan),
        store: &'a Store,
        conditions: &[usize],
        seeds: &[usize],
    ) -> Result<Selection<'a>, Complaint> {
        let set_aside = archive.manifest().map_or(&[][..], |manifest| &manifest.set_aside);
        let selection = Selection::gather(set_aside, (sweep, plan), store, conditions, seeds);
        let Some((condition, seed, trial)) = selection.missing else { return Ok(selection) };
        let message = format!(
            "error: trial {trial} of condition {}, seed {}, is not stored\n  help: run the sweep to its end, or \
                choose others with --conditions and --seeds",
            sweep.conditions[condition].name, sweep.seeds[seed]
        );
        Err(Complaint::new(exit::INCOMPLETE, message))
    }

    /// Selects the trials of these conditions and seeds, by index, that are stored so far.
    ///
    /// # Errors
    /// If none is stored.
    pub fn so_far(
        (sweep, plan): (&'a Sweep, &'a Plan),
        store: &'a Store,
        conditions: &[usize],
        seeds: &[usize],
    ) -> Result<Selection<'a>, Complaint> {
        let mut selection = Selection::gather(&[], (sweep, plan), store, conditions, seeds);
        selection.pairs.retain(|pair| !pair.trials.is_empty());
        if selection.pairs.is_empty() {
            let message = format!(
                "error: no trial {}of sweep {} is stored yet\n  help: let the sweep run for a while first",
                if conditions.len() * seeds.len() < sweep.conditions.len() * sweep.seeds.len() {
                    "of the chosen conditions and seeds "
                } else {
                    ""
                },
                sweep.name
            );
            return Err(Complaint::new(exit::INCOMPLETE, message));
        }
        Ok(selection)
    }

    fn gather(
        set_aside: &[SetAside],
        (sweep, plan): (&'a Sweep, &'a Plan),
        store: &'a Store,
        conditions: &[usize],
        seeds: &[usize],
    ) -> Selection<'a> {
        let is_set_aside = |condition: usize, seed: usize, trial: u32| {
            set_aside.iter().any(|aside| {
                (aside.seed, aside.trial) == (sweep.seeds[seed], trial)
                    && aside.condition == sweep.conditions[condition].name
            })
        };
        let pairs = Vec::with_capacity(conditions.len() * seeds.len());
        let mut found =
            Selection { sweep, plan, store, pairs, left_out: 0, total: 0, stored: 0, missing: None };
        // Conditions with equal parameters share their trials.
        let mut counted: HashSet<(usize, usize)> = HashSet::new();
        for (&condition, &seed) in
            conditions.iter().flat_map(|condition| seeds.iter().map(move |seed| (condition, seed)))
        {
            let (cohort, variant) = plan.place(condition, seed);
            let mut trials = Vec::with_capacity(plan.trials as usize);
            for trial in 0..plan.trials {
                if store.contains(plan.key(cohort, variant, trial)) {
                    trials.push(trial);
                } else if is_set_aside(condition, seed, trial) {
                    found.left_out += 1;
                } else {
                    found.missing.get_or_insert((condition, seed, trial));
                }
            }
            if counted.insert((cohort, variant)) {
                found.total += u64::from(plan.trials);
                found.stored += trials.len() as u64;
            }
            found.pairs.push(Pair { condition, seed, trials });
        }
        found
    }

    /// Whether all trials of a condition and a seed are stored.
    pub fn is_whole(&self, pair: &Pair) -> bool {
        pair.trials.len() == self.plan.trials as usize
    }

    /// Returns the spikes of a trial.
    ///
    /// # Errors
    /// If the store has lost the trial.
    pub fn spikes(&self, pair: &Pair, trial: u32) -> Result<TrialSpikes, OutputError> {
        let (cohort, variant) = self.plan.place(pair.condition, pair.seed);
        let key = self.plan.key(cohort, variant, trial);
        let bytes = self.store.get(key)?.ok_or(OutputError::Missing { key })?;
        let model = &self.sweep.conditions[pair.condition].model;
        TrialSpikes::decode(&bytes, &model.shape()).map_err(|_| OutputError::Missing { key })
    }
}

/// Returns the stored trials of a sweep whose spikes are damaged, or cannot be spikes of their condition. Reads all of
/// them.
///
/// # Errors
/// If the store cannot be read; [`OutputError::Interrupted`].
pub fn damaged(
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

/// Whether the stored spikes of a trial are damaged, or cannot be spikes of its model.
pub fn is_damaged(store: &Store, key: TrialKey, model: &Model) -> Result<bool, StoreError> {
    match store.get(key) {
        Ok(Some(spikes)) => Ok(TrialSpikes::decode(&spikes, &model.shape()).is_err()),
        Ok(None) => Ok(false),
        Err(StoreError::Damaged { .. }) => Ok(true),
        Err(error) => Err(error),
    }
}

/// Returns the number of different trials of a plan that are stored.
pub fn stored(plan: &Plan, store: &Store) -> u64 {
    let variants = plan
        .cohorts
        .iter()
        .flat_map(|cohort| cohort.variants.iter().map(|variant| (cohort.seed, variant.fingerprint)));
    let is_stored = |(seed, of): (u32, Fingerprint), trial| store.contains(of.trial(seed, trial));
    variants.map(|of| (0..plan.trials).filter(|&trial| is_stored(of, trial)).count() as u64).sum()
}

/// Returns the indices of the chosen conditions, each once and in the order of the sweep. Without patterns and filters,
/// all are chosen.
///
/// # Errors
/// If a name, a pattern or the filters fit no condition.
pub fn conditions_of<'f>(
    sweep: &Sweep,
    patterns: &[String],
    filters: impl Iterator<Item = &'f Filter>,
) -> Result<Vec<usize>, Complaint> {
    let all = chosen(sweep.conditions.len(), patterns, |pattern| conditions_like(sweep, pattern))?;
    let filters: Vec<&Filter> = filters.collect();
    let holds = |filter: &Filter, at: usize| filter.holds(sweep.conditions[at].model.values());
    let found: Vec<usize> =
        all.iter().copied().filter(|&at| filters.iter().all(|filter| holds(filter, at))).collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let text: Vec<&str> = filters.iter().map(|filter| filter.text()).collect();
    let help = match filters.iter().find(|filter| !all.iter().any(|&at| holds(filter, at))) {
        Some(filter) => {
            let mut values: Vec<String> =
                all.iter().map(|&at| filter.value_of(sweep.conditions[at].model.values())).collect();
            let mut seen = HashSet::new();
            values.retain(|value| seen.insert(value.clone()));
            format!("the values of {} are {}", filter.path(), some(&values))
        }
        None => "each filter fits a condition, but no condition fits all; use fewer filters".to_owned(),
    };
    let message =
        format!("error: no condition of sweep {} has {}\n  help: {help}", sweep.name, text.join(" and "));
    Err(Complaint::new(exit::USAGE, message))
}

/// Returns the indices of the chosen seeds, each once and in the order of the sweep. Without ranges, all are chosen.
///
/// # Errors
/// If a seed, or every seed of a range, is not in the sweep.
pub fn seeds_of(sweep: &Sweep, ranges: &[RangeInclusive<u32>]) -> Result<Vec<usize>, Complaint> {
    chosen(sweep.seeds.len(), ranges, |range| {
        let places = (0..).zip(&sweep.seeds).filter(|(_, seed)| range.contains(seed));
        let places: Vec<usize> = places.map(|(at, _)| at).collect();
        if places.is_empty() { Err(no_seed(sweep, range)) } else { Ok(places) }
    })
}

fn chosen<T>(
    count: usize,
    asked: &[T],
    places: impl Fn(&T) -> Result<Vec<usize>, Complaint>,
) -> Result<Vec<usize>, Complaint> {
    if asked.is_empty() {
        return Ok((0..count).collect());
    }
    let places = asked.iter().map(places).collect::<Result<Vec<Vec<usize>>, Complaint>>()?;
    Ok(places.into_iter().flatten().collect::<BTreeSet<usize>>().into_iter().collect())
}

/// Returns the conditions whose names fit a pattern.
fn conditions_like(sweep: &Sweep, pattern: &str) -> Result<Vec<usize>, Complaint> {
    // No name of a condition has these characters.
    if !pattern.contains(['*', '?']) {
        return condition_of(sweep, pattern).map(|at| vec![at]);
    }
    let names = (0..).zip(sweep.conditions.iter());
    let found: Vec<usize> =
        names.filter(|(_, condition)| fits(pattern, &condition.name)).map(|(at, _)| at).collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let what = format!("no condition of sweep {} matches `{pattern}`", sweep.name);
    Err(not_a_condition(sweep, &what, &pattern.replace(['*', '?'], "")))
}

/// Whether a name fits a pattern, in which `*` stands for any characters and `?` for one.
fn fits(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    // The place of the last `*`, and how much of the name it covers.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&of) if of == '?' || of == name[n] => (p, n) = (p + 1, n + 1),
            _ => match star {
                Some((at, reached)) => {
                    star = Some((at, reached + 1));
                    (p, n) = (at + 1, reached + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&of| of == '*')
}

/// Returns the index of the condition of this name.
///
/// # Errors
/// If the sweep has none.
pub fn condition_of(sweep: &Sweep, name: &str) -> Result<usize, Complaint> {
    sweep.conditions.iter().position(|condition| condition.name == name).ok_or_else(|| {
        not_a_condition(sweep, &format!("sweep {} has no condition `{name}`", sweep.name), name)
    })
}

fn not_a_condition(sweep: &Sweep, what: &str, name: &str) -> Complaint {
    let names: Vec<String> = sweep.conditions.iter().map(|condition| condition.name.clone()).collect();
    let meant = match granule_sweep::nearest(name, names.iter().map(String::as_str)) {
        Some(meant) => format!("did you mean `{meant}`? "),
        None => String::new(),
    };
    Complaint::new(exit::USAGE, format!("error: {what}\n  help: {meant}the conditions are {}", some(&names)))
}

/// Joins the first of these words.
fn some(words: &[String]) -> String {
    const MOST: usize = 12;
    match words.get(..MOST) {
        Some(first) if words.len() > MOST => format!("{}, … ({} in all)", first.join(", "), words.len()),
        _ => words.join(", "),
    }
}

/// Returns the index of this seed in the sweep.
///
/// # Errors
/// If the sweep does not have it.
pub fn seed_of(sweep: &Sweep, seed: u32) -> Result<usize, Complaint> {
    let place = sweep.seeds.iter().position(|&of| of == seed);
    place.ok_or_else(|| no_seed(sweep, &(seed..=seed)))
}

fn no_seed(sweep: &Sweep, range: &RangeInclusive<u32>) -> Complaint {
    let what = ranges(&[(*range.start(), *range.end())], 1);
    let what = if range.start() == range.end() {
        format!("no seed {what}")
    } else {
        format!("none of the seeds {what}")
    };
    let message =
        format!("error: sweep {} has {what}\n  help: it has {}", sweep.name, ranges(&runs(&sweep.seeds), 12));
    Complaint::new(exit::USAGE, message)
}

/// Checks that the sweep has a trial of this number.
///
/// # Errors
/// If it has fewer trials.
pub fn check_trial(sweep: &Sweep, trial: u32) -> Result<(), Complaint> {
    if trial < sweep.trials {
        return Ok(());
    }
    let message = format!(
        "error: sweep {} has no trial {trial}\n  help: it has {}, counted from 0: choose one of {}",
        sweep.name,
        plural(sweep.trials.into(), "trial"),
        ranges(&[(0, sweep.trials - 1)], 1)
    );
    Err(Complaint::new(exit::USAGE, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_whole_names() {
        for (pattern, name) in [
            ("*", ""),
            ("*", "leak-1"),
            ("leak-*", "leak-"),
            ("leak-*", "leak-53"),
            ("*-53", "tonic-0.3-leak-53"),
            ("t*-*-53", "tonic-0.3-leak-53"),
            ("leak-?", "leak-1"),
            ("???", "ACh"),
            ("*a*a*b", "aabab"),
            ("µ?", "µé"),
        ] {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("?", ""),
            ("leak-*", "leak"),
            ("leak-*", "a-leak-1"),
            ("leak-?", "leak-10"),
            ("*a", "ab"),
            ("leak-*", "Leak-1"),
        ] {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
        // A hostile pattern does not take exponential time.
        assert!(!fits(&"*a".repeat(40), &"a".repeat(39)));
    }
}
