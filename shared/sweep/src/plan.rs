//! From a sweep to the trials it needs.

use granule_sim::Engine;
use granule_sim::trial::{normals_per_trial, share_noise};

use crate::key::{Fingerprint, StreamKey, TrialKey};
use crate::{Condition, Sweep};

/// Everything a sweep asks to be computed: cohorts × their variants × trials.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The engine.
    pub engine: Engine,
    /// Trials of every condition and seed.
    pub trials: u32,
    /// The conditions, as in the sweep.
    pub conditions: Vec<Condition>,
    /// Seed after seed; within a seed, one for each group of conditions that share noise.
    pub cohorts: Vec<Cohort>,
}

/// Conditions of one seed that share wiring and noise and are computed together.
#[derive(Clone, Debug)]
pub struct Cohort {
    /// The seed.
    pub seed: u32,
    /// The noise they share.
    pub stream: StreamKey,
    /// Normals a trial takes from it.
    pub normals_per_trial: u64,
    /// What has to be computed, each once.
    pub variants: Vec<Variant>,
}

/// A condition of a cohort, under all its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    /// Its identity.
    pub fingerprint: Fingerprint,
    /// Conditions of the sweep that are this one, by index; at least one.
    pub conditions: Vec<usize>,
}

impl Plan {
    /// The plan of a sweep.
    pub fn new(sweep: &Sweep) -> Plan {
        let fingerprints: Vec<Fingerprint> = sweep
            .conditions
            .iter()
            .map(|condition| Fingerprint::new(sweep.engine, condition.model.parameters()))
            .collect();
        // Which conditions go together is the same for every seed.
        let mut groups: Vec<Vec<Variant>> = Vec::new();
        for (i, condition) in sweep.conditions.iter().enumerate() {
            let model = |variant: &Variant| &sweep.conditions[variant.conditions[0]].model;
            let group = match groups.iter().position(|group| share_noise(model(&group[0]), &condition.model))
            {
                Some(at) => &mut groups[at],
                None => {
                    groups.push(Vec::new());
                    groups.last_mut().expect("just pushed")
                }
            };
            match group.iter_mut().find(|variant| variant.fingerprint == fingerprints[i]) {
                Some(variant) => variant.conditions.push(i),
                None => group.push(Variant { fingerprint: fingerprints[i], conditions: vec![i] }),
            }
        }
        let cohort = |seed: u32, variants: &Vec<Variant>| {
            let model = &sweep.conditions[variants[0].conditions[0]].model;
            Cohort {
                seed,
                stream: StreamKey::new(sweep.engine, model, seed),
                normals_per_trial: normals_per_trial(model),
                variants: variants.clone(),
            }
        };
        Plan {
            engine: sweep.engine,
            trials: sweep.trials,
            conditions: sweep.conditions.clone(),
            cohorts: sweep
                .seeds
                .iter()
                .flat_map(|&seed| groups.iter().map(move |variants| (seed, variants)))
                .map(|(seed, variants)| cohort(seed, variants))
                .collect(),
        }
    }

    /// Distinct trials, over all conditions and seeds.
    pub fn len(&self) -> u64 {
        let variants: u64 = self.cohorts.iter().map(|cohort| cohort.variants.len() as u64).sum();
        variants * u64::from(self.trials)
    }

    /// Whether there is nothing to compute.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The key of a trial of a cohort's variant.
    ///
    /// # Panics
    /// If the plan has no such cohort or variant.
    pub fn key(&self, cohort: usize, variant: usize, trial: u32) -> TrialKey {
        let cohort = &self.cohorts[cohort];
        cohort.variants[variant].fingerprint.trial(cohort.seed, trial)
    }

    /// The cohort and variant that compute a condition for a seed.
    pub fn find(&self, condition: usize, seed: u32) -> Option<(usize, usize)> {
        self.cohorts.iter().enumerate().filter(|(_, cohort)| cohort.seed == seed).find_map(|(at, cohort)| {
            let variant =
                cohort.variants.iter().position(|variant| variant.conditions.contains(&condition))?;
            Some((at, variant))
        })
    }
}
