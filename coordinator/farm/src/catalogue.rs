//! Maps a plan's trials between their names in the scheduler, in messages and in the store.

use std::collections::HashMap;
use std::ops::Range;

use granule_engine::spikes::MOST_SPIKES;
use granule_engine::stream::Index;
use granule_engine::{Engine, Fingerprint, Model, Returned, Spike, StreamKey, TrialKey, TrialSpikes};
use granule_proto::convert::{TrialName, TrialResult, WireSurvey, WireTrials, WireWork};
use granule_sweep::plan::Plan;

use crate::scheduler::{CohortShape, Place, PlanShape, TrialId, Work};

/// A plan, with the places of its cohorts, variants and streams.
#[derive(Clone, Debug)]
pub struct Catalogue<'a> {
    plan: &'a Plan,
    streams: Vec<StreamKey>,
    cohorts: Vec<CohortShape>,
    /// The cohort and variant of each seed and fingerprint.
    places: HashMap<(u32, Fingerprint), (u32, u32)>,
    /// Trials of each condition and seed that may be computed: those of the plan, or the first of them.
    trials: u32,
}

/// Why a result does not belong to a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misplaced {
    /// It is of another sweep, or of trials of this one that are not to be computed. It is of no use, but no sign of an error.
    Foreign,
    /// No trial of the plan can have it: cells or times are outside the model, or the spikes are too many.
    Impossible,
}

impl<'a> Catalogue<'a> {
    pub fn new(plan: &'a Plan) -> Catalogue<'a> {
        let mut streams: Vec<StreamKey> = Vec::new();
        let mut stream_places: HashMap<StreamKey, usize> = HashMap::new();
        let mut places = HashMap::new();
        let mut cohorts = Vec::with_capacity(plan.cohorts.len());
        for (at, cohort) in plan.cohorts.iter().enumerate() {
            let stream = *stream_places.entry(cohort.stream).or_insert_with(|| {
                streams.push(cohort.stream);
                streams.len() - 1
            });
            let variants = cohort.variants.len() as u32;
            cohorts.push(CohortShape {
                variants,
                items_per_trial: cohort.items_per_trial,
                cost_per_trial: cohort.cost_per_trial,
                stream,
            });
            for (variant, of) in cohort.variants.iter().enumerate() {
                places.insert((cohort.seed, of.fingerprint), (at as u32, variant as u32));
            }
        }
        Catalogue { plan, streams, cohorts, places, trials: plan.trials }
    }

    /// Sets the number of trials of each condition and seed that may be computed, up to that of the plan. Results of
    /// other trials are foreign.
    pub fn limit(&mut self, trials: u32) {
        self.trials = trials.min(self.plan.trials);
    }

    /// Returns the number of trials of each condition and seed that may be computed.
    pub fn limited_to(&self) -> u32 {
        self.trials
    }

    /// Returns the trials of these numbers, in all cohorts and variants.
    pub fn trials(&self, numbers: Range<u32>) -> impl Iterator<Item = TrialId> {
        let of_cohort = move |(cohort, shape): (u32, &CohortShape)| {
            let variants = 0..shape.variants;
            let numbers = numbers.clone();
            variants
                .flat_map(move |variant| numbers.clone().map(move |trial| TrialId { cohort, variant, trial }))
        };
        (0..).zip(&self.cohorts).flat_map(of_cohort)
    }

    pub fn engine(&self) -> &'static dyn Engine {
        self.plan.engine
    }

    /// Returns the shape of the plan for the scheduler, with the known findings of each stream.
    pub fn shape(&self, findings: impl Fn(StreamKey) -> Vec<u32>) -> PlanShape {
        let parts = self.plan.engine.parts();
        let known = |stream: &StreamKey| {
            let mut index = Index::new(parts);
            if parts.is_some() {
                findings(*stream).into_iter().for_each(|finding| index.push(finding));
            }
            index
        };
        let streams = self.streams.iter().map(known).collect();
        PlanShape { trials: self.trials, may_grow: false, cohorts: self.cohorts.clone(), streams }
    }

    /// Returns the trial that a result belongs to.
    ///
    /// # Errors
    /// If the plan does not have the trial, or if no trial of the plan can have these spikes.
    pub fn place(&self, result: &TrialResult) -> Result<(TrialId, TrialKey), Misplaced> {
        let id = self.place_of(result.name).ok_or(Misplaced::Foreign)?;
        let model = self.model(id.cohort, id.variant);
        let spikes = TrialSpikes::count(&result.spikes, &model.shape());
        if !spikes.is_ok_and(|spikes| spikes <= MOST_SPIKES) {
            return Err(Misplaced::Impossible);
        }
        Ok((id, self.key(id)))
    }

    /// Returns the trial of this name; `None` if the plan does not have it, or it is not to be computed.
    pub fn place_of(&self, TrialName { fingerprint, seed, trial }: TrialName) -> Option<TrialId> {
        let &(cohort, variant) = self.places.get(&(seed, fingerprint))?;
        (trial < self.trials).then_some(TrialId { cohort, variant, trial })
    }

    /// Whether the cells of a trial can fire so often that it has more spikes than can be stored.
    pub fn may_be_too_large(&self, id: TrialId) -> bool {
        self.model(id.cohort, id.variant).facts().most_spikes > MOST_SPIKES
    }

    /// Returns why a trial with too many spikes is not stored and what to change, for the user.
    pub fn too_large_reason(&self, id: TrialId) -> String {
        let advice = self.plan.engine.to_spike_less(Some(self.model(id.cohort, id.variant)));
        format!(
            "it has more than {MOST_SPIKES} spikes, the limit for one trial; a retry would give the same \
                spikes; {advice}"
        )
    }

    pub fn name(&self, id: TrialId) -> TrialName {
        let cohort = &self.plan.cohorts[id.cohort as usize];
        let fingerprint = cohort.variants[id.variant as usize].fingerprint;
        TrialName { fingerprint, seed: cohort.seed, trial: id.trial }
    }

    pub fn key(&self, id: TrialId) -> TrialKey {
        self.plan.key(id.cohort as usize, id.variant as usize, id.trial)
    }

    pub fn stream(&self, stream: usize) -> StreamKey {
        self.streams[stream]
    }

    /// Converts work to its form in messages.
    pub fn work(&self, work: &Work) -> WireWork {
        match work {
            Work::Trials { cohort, trials, variants, start } => WireWork::Trials(WireTrials {
                engine: self.plan.engine,
                seed: self.plan.cohorts[*cohort as usize].seed,
                first: trials.start,
                count: trials.len() as u32,
                start: *start,
                models: variants.iter().map(|variant| self.model(*cohort, variant).clone()).collect(),
            }),
            Work::Survey { cohort, parts } => WireWork::Survey(WireSurvey {
                engine: self.plan.engine,
                seed: self.plan.cohorts[*cohort as usize].seed,
                model: Box::new(self.model(*cohort, 0).clone()),
                first: parts.start,
                count: parts.len() as u32,
            }),
        }
    }

    /// Returns the conditions of the sweep that a trial belongs to, by index.
    pub fn conditions(&self, id: TrialId) -> &'a [usize] {
        &self.plan.cohorts[id.cohort as usize].variants[id.variant as usize].conditions
    }

    /// Returns the index of a trial's seed in the sweep.
    pub fn seed(&self, id: TrialId) -> usize {
        self.plan.seed_of(id.cohort as usize)
    }

    /// Describes a trial for the user.
    pub fn describe(&self, id: TrialId) -> String {
        let name = &self.plan.conditions[self.conditions(id)[0]].name;
        format!("trial {} of condition {name}, seed {}", id.trial, self.plan.cohorts[id.cohort as usize].seed)
    }

    /// Describes a trial in all its variants for the user.
    pub fn describe_place(&self, place: Place) -> String {
        let cohort = &self.plan.cohorts[place.cohort as usize];
        let names: Vec<&str> = cohort
            .variants
            .iter()
            .flat_map(|variant| &variant.conditions)
            .map(|condition| self.plan.conditions[*condition].name.as_str())
            .collect();
        let conditions = if names.len() == 1 { "condition" } else { "conditions" };
        format!("trial {} of {conditions} {}, seed {}", place.trial, names.join(", "), cohort.seed)
    }

    /// Describes for the user where two encoded results of a trial first differ.
    pub fn first_difference(&self, id: TrialId, stored: &[u8], received: &[u8]) -> String {
        let (Some(stored), Some(received)) = (self.decode(id, stored), self.decode(id, received)) else {
            return "the stored spikes cannot be read".to_owned();
        };
        first_difference(self.model(id.cohort, id.variant), &stored, &received, "received")
    }

    fn decode(&self, id: TrialId, spikes: &[u8]) -> Option<TrialSpikes> {
        let model = self.model(id.cohort, id.variant);
        TrialSpikes::decode(spikes, &model.shape()).ok()
    }

    fn model(&self, cohort: u32, variant: u32) -> &Model {
        self.plan.model(cohort as usize, variant as usize)
    }
}

/// Describes for the user where two results of a trial first differ. `other` is a word for the second one, such as
/// "received".
pub fn first_difference(model: &Model, stored: &TrialSpikes, others: &TrialSpikes, other: &str) -> String {
    let step_ms = model.time().step_ms;
    let engine = model.engine();
    let populations = engine.populations().iter().zip(stored.trains.iter().zip(&others.trains));
    for (population, (a, b)) in populations {
        let differs = (0..a.len().max(b.len())).find(|&at| a.get(at) != b.get(at));
        let Some(at) = differs else { continue };
        let tell = |spike: Option<&Spike>| {
            spike.map_or("none".to_owned(), |spike| {
                format!("cell {} at {:.3} ms", spike.cell, f64::from(spike.step) * step_ms)
            })
        };
        return format!(
            "{}: spike {at} (counted from 0) is the first that differs: {} stored, {} {other}",
            population.cells,
            tell(a.get(at)),
            tell(b.get(at))
        );
    }
    for (returned, (a, b)) in engine.returns().iter().zip(stored.values.iter().zip(&others.values)) {
        let differs = a.iter().zip(b).position(|(a, b)| a != b && !(a.is_nan() && b.is_nan()));
        let Some(at) = differs else { continue };
        let place = if a.len() > 1 { format!("element {at} of ") } else { String::new() };
        let Returned { name, unit, .. } = returned;
        return format!("{place}`{name}` differs: {} {unit} stored, {} {unit} {other}", a[at], b[at]);
    }
    "the results are equal, but their encodings differ".to_owned()
}
