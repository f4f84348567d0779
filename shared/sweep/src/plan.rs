//! The plan of a sweep: the trials that it needs.

use std::collections::HashMap;
use std::sync::Arc;

use granule_engine::{CohortKey, Engine, Fingerprint, Model, StreamKey, TrialKey};

use crate::condition::Condition;
use crate::file::Sweep;
use crate::limits::{MOST_FILES, SizeProblem};

/// Largest number of conditions that are computed together. With more conditions, sharing saves little, and a trial of
/// a cohort is the smallest unit of work for a worker.
const MOST_VARIANTS: usize = 16;

/// All trials of a sweep: cohorts × their variants × trials.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The engine.
    pub engine: &'static dyn Engine,
    /// Number of trials of every condition and seed.
    pub trials: u32,
    /// The conditions, as in the sweep.
    pub conditions: Arc<Vec<Condition>>,
    /// Ordered by seed; within a seed, one cohort for each group of conditions that are computed together.
    pub cohorts: Vec<Cohort>,
    /// For each condition, its group and its variant in the group; the same for every seed.
    places: Vec<(u32, u8)>,
    /// Number of cohorts of a seed.
    groups: usize,
}

/// Conditions of one seed that are computed together.
#[derive(Clone, Debug)]
pub struct Cohort {
    /// The seed.
    pub seed: u32,
    /// The stream of random numbers that the conditions share.
    pub stream: StreamKey,
    /// Number of items of the stream that a trial reads.
    pub items_per_trial: u64,
    /// Cost of a trial that its variants share, computed by the engine.
    pub cost_per_trial: f64,
    /// The distinct conditions, each computed once. Cohorts of several seeds share them.
    pub variants: Arc<[Variant]>,
}

/// A condition of a cohort, with all its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    /// Identity of the condition.
    pub fingerprint: Fingerprint,
    /// Indices of the sweep's conditions that are this variant; at least one.
    pub conditions: Vec<usize>,
}

impl Plan {
    /// Makes the plan of a sweep.
    pub fn new(sweep: &Sweep) -> Plan {
        // The groups of conditions are the same for every seed.
        let mut groups: Vec<Vec<Variant>> = Vec::new();
        let mut places = Vec::with_capacity(sweep.conditions.len());
        let model = |variant: &Variant| &sweep.conditions[variant.conditions[0]].model;
        let mut known: HashMap<Fingerprint, (u32, u8)> = HashMap::with_capacity(sweep.conditions.len());
        // The last group of each cohort key. The others are full.
        let mut open: HashMap<CohortKey, usize> = HashMap::new();
        for (i, condition) in sweep.conditions.iter().enumerate() {
            let fingerprint = condition.model.fingerprint();
            let place = *known.entry(fingerprint).or_insert_with(|| {
                let last = open.entry(condition.model.cohort()).or_insert(usize::MAX);
                if groups.get(*last).is_none_or(|group| group.len() == MOST_VARIANTS) {
                    *last = groups.len();
                    groups.push(Vec::with_capacity(1));
                }
                let group = *last;
                groups[group].push(Variant { fingerprint, conditions: vec![i] });
                (group as u32, (groups[group].len() - 1) as u8)
            });
            let (group, variant) = (place.0 as usize, usize::from(place.1));
            let conditions = &mut groups[group][variant].conditions;
            if conditions[0] != i {
                conditions.push(i);
            }
            places.push(place);
        }
        drop(known);
        let groups: Vec<Arc<[Variant]>> = groups.into_iter().map(Arc::from).collect();
        let cohort = |seed: u32, variants: &Arc<[Variant]>| {
            let model = model(&variants[0]);
            Cohort {
                seed,
                stream: sweep.engine.stream(model, seed),
                items_per_trial: model.facts().items_per_trial,
                cost_per_trial: model.facts().cost_per_trial,
                variants: Arc::clone(variants),
            }
        };
        Plan {
            engine: sweep.engine,
            trials: sweep.trials,
            conditions: Arc::clone(&sweep.conditions),
            cohorts: sweep
                .seeds
                .iter()
                .flat_map(|&seed| groups.iter().map(move |variants| (seed, variants)))
                .map(|(seed, variants)| cohort(seed, variants))
                .collect(),
            places,
            groups: groups.len(),
        }
    }

    /// Returns the number of distinct trials, over all conditions and seeds.
    pub fn len(&self) -> u64 {
        let variants: u64 = self.cohorts.iter().map(|cohort| cohort.variants.len() as u64).sum();
        variants * u64::from(self.trials)
    }

    /// Returns whether there is nothing to compute.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the key of a trial of a cohort's variant.
    ///
    /// # Panics
    /// If the plan has no such cohort or variant.
    pub fn key(&self, cohort: usize, variant: usize, trial: u32) -> TrialKey {
        let cohort = &self.cohorts[cohort];
        cohort.variants[variant].fingerprint.trial(cohort.seed, trial)
    }

    /// Returns the model of a cohort's variant.
    ///
    /// # Panics
    /// If the plan has no such cohort or variant.
    pub fn model(&self, cohort: usize, variant: usize) -> &Model {
        &self.conditions[self.cohorts[cohort].variants[variant].conditions[0]].model
    }

    /// Returns the seed of a cohort, as an index in the sweep.
    pub fn seed_of(&self, cohort: usize) -> usize {
        cohort / self.groups
    }

    /// Returns the cohort and the variant that compute a condition for a seed. Condition and seed are indices in the
    /// sweep.
    ///
    /// # Panics
    /// If the sweep has no such condition.
    pub fn place(&self, condition: usize, seed: usize) -> (usize, usize) {
        let (group, variant) = self.places[condition];
        (seed * self.groups + group as usize, variant.into())
    }
}

/// Checks that a sweep does not make too many output files.
///
/// # Errors
/// If it does.
pub fn check_files(sweep: &Sweep) -> Result<(), SizeProblem> {
    let of_seed: u64 = sweep.conditions.iter().map(|of| of.files(sweep.trials).count() as u64).sum();
    match of_seed * sweep.seeds.len() as u64 {
        count if count > MOST_FILES => Err(SizeProblem(format!(
            "asks for {count} output files, more than the {MOST_FILES} a sweep can have"
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use granule_granular::ENGINES;

    use super::*;
    use crate::{Overrides, parse};

    fn plan(text: &str) -> (Sweep, Plan) {
        let sweep = parse(ENGINES, "test.yaml", text.as_bytes(), "test", &Overrides::default()).unwrap();
        let plan = Plan::new(&sweep);
        (sweep, plan)
    }

    const MIXED: &str = "
seeds: [5, 3]
trials: 4
conditions:
  - Control
  - { name: small, set: { network.granule_cells: 10 } }
  - ACh
  - { name: again, base: Control }
  - { name: small-ach, base: ACh, set: { network.granule_cells: 10 } }
";

    #[test]
    fn conditions_that_share_noise_go_together_and_equal_ones_are_computed_once() {
        let (_, plan) = plan(MIXED);
        let of = |cohort: &Cohort| -> (u32, Vec<Vec<usize>>) {
            (cohort.seed, cohort.variants.iter().map(|variant| variant.conditions.clone()).collect())
        };
        let large = vec![vec![0, 3], vec![2]];
        let small = vec![vec![1], vec![4]];
        let found: Vec<_> = plan.cohorts.iter().map(of).collect();
        assert_eq!(found, [(5, large.clone()), (5, small.clone()), (3, large), (3, small)]);
        assert_eq!(plan.len(), 2 * 4 * 4);
    }

    #[test]
    fn every_condition_and_seed_has_its_place() {
        let (sweep, plan) = plan(MIXED);
        for (at, &seed) in sweep.seeds.iter().enumerate() {
            for (i, condition) in sweep.conditions.iter().enumerate() {
                let (cohort, variant) = plan.place(i, at);
                let fingerprint = condition.model.fingerprint();
                assert_eq!(plan.cohorts[cohort].seed, seed);
                assert_eq!(plan.cohorts[cohort].variants[variant].fingerprint, fingerprint);
                assert_eq!(plan.key(cohort, variant, 2), fingerprint.trial(seed, 2));
                assert_eq!(plan.model(cohort, variant).fingerprint(), fingerprint);
            }
        }
    }

    #[test]
    fn many_conditions_are_several_cohorts_of_one_stream() {
        let set = |i: usize| format!("  - {{ name: c{i}, set: {{ granule.tonic_factor: 0.{i:02} }} }}\n");
        let text = format!("conditions:\n{}", (0..40).map(set).collect::<String>());
        let (_, plan) = plan(&text);
        let sizes: Vec<usize> = plan.cohorts.iter().map(|cohort| cohort.variants.len()).collect();
        assert_eq!(sizes, [16, 16, 8]);
        assert!(plan.cohorts.iter().all(|cohort| cohort.stream == plan.cohorts[0].stream));
        assert_eq!(plan.place(39, 0), (2, 7));
    }

    #[test]
    fn streams_differ_by_seed_and_wiring_only() {
        let (_, plan) = plan(MIXED);
        let streams: std::collections::BTreeSet<_> =
            plan.cohorts.iter().map(|cohort| cohort.stream).collect();
        assert_eq!(streams.len(), 4);
        let longer = "conditions: [Control, { name: long, set: { time.duration: 3 s } }]";
        let (_, plan) = self::plan(longer);
        assert_eq!(plan.cohorts.len(), 2, "trials of another length take other parts of the stream");
        assert_eq!(plan.cohorts[0].stream, plan.cohorts[1].stream);
    }
}
