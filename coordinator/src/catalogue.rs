//! A plan's trials by the three names they have: the scheduler's, the wire's and the store's.

use std::collections::HashMap;

use granule_proto::convert::{Survey, TrialName, TrialResult, Trials, Work as WireWork};
use granule_sim::noise::{NoiseStart, SPAN_ATTEMPTS};
use granule_sim::spikes::{MOST_SPIKES, Spike, TrialSpikes};
use granule_sim::{Engine, Model};
use granule_sweep::key::{Fingerprint, StreamKey, TrialKey};
use granule_sweep::plan::Plan;

use crate::scheduler::stream::{Index, Parts, Start};
use crate::scheduler::{CohortShape, Place, Shape, TrialId, Work};

/// A plan and where everything in it is.
#[derive(Debug)]
pub(crate) struct Catalogue<'a> {
    plan: &'a Plan,
    streams: Vec<StreamKey>,
    cohorts: Vec<CohortShape>,
    /// Which cohort and variant a result belongs to.
    places: HashMap<(u32, Fingerprint), (u32, u32)>,
}

/// A part of a stream of noise is a span: of its attempts, each of which has a chance of π/4, those that are accepted
/// are counted, and each of them gives two normals.
pub(crate) fn span() -> Parts {
    let chance = std::f64::consts::FRAC_PI_4;
    let attempts = SPAN_ATTEMPTS as f64;
    let sd = (attempts * chance * (1.0 - chance)).sqrt();
    Parts { items_per_finding: 2, mean: attempts * chance, sd }
}

fn noise_start(Start { part, skip }: Start) -> NoiseStart {
    NoiseStart { attempt: u64::from(part) * SPAN_ATTEMPTS, skip }
}

/// Why a result has no place in a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misplaced {
    /// It is of another sweep, or of more trials of this one: of no use, but no sign of anything.
    Foreign,
    /// It is none: cells or times that there are not.
    Impossible,
}

impl<'a> Catalogue<'a> {
    pub(crate) fn new(plan: &'a Plan) -> Catalogue<'a> {
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
                items_per_trial: cohort.normals_per_trial,
                cost_per_trial: cohort.normals_per_trial as f64,
                stream,
            });
            for (variant, of) in cohort.variants.iter().enumerate() {
                places.insert((cohort.seed, of.fingerprint), (at as u32, variant as u32));
            }
        }
        Catalogue { plan, streams, cohorts, places }
    }

    /// What the scheduler needs to know, with the counts of spans that are known of each stream.
    pub(crate) fn shape(&self, spans: impl Fn(StreamKey) -> Vec<u32>) -> Shape {
        let known = |stream: &StreamKey| {
            if self.plan.engine == Engine::Pcg {
                return Index::free();
            }
            let mut index = Index::new(span());
            spans(*stream).into_iter().for_each(|accepted| index.push(accepted));
            index
        };
        let streams = self.streams.iter().map(known).collect();
        Shape { trials: self.plan.trials, cohorts: self.cohorts.clone(), streams }
    }

    /// Which trial a result is of.
    ///
    /// # Errors
    /// When it is of none of this plan, or when no trial of the plan can have these spikes.
    pub(crate) fn place(&self, result: &TrialResult) -> Result<(TrialId, TrialKey), Misplaced> {
        let id = self.place_of(result.name).ok_or(Misplaced::Foreign)?;
        let model = self.model(id.cohort, id.variant);
        let spikes = TrialSpikes::count(&result.spikes, model.parameters().network, model.steps());
        if !spikes.is_ok_and(|spikes| spikes <= MOST_SPIKES) {
            return Err(Misplaced::Impossible);
        }
        Ok((id, self.key(id)))
    }

    /// The trial of this name; none if the plan does not have it.
    pub(crate) fn place_of(&self, TrialName { fingerprint, seed, trial }: TrialName) -> Option<TrialId> {
        let &(cohort, variant) = self.places.get(&(seed, fingerprint))?;
        (trial < self.plan.trials).then_some(TrialId { cohort, variant, trial })
    }

    /// Whether the cells of a trial can fire so often that it has more spikes than are stored.
    pub(crate) fn may_be_too_large(&self, id: TrialId) -> bool {
        self.model(id.cohort, id.variant).most_spikes() > MOST_SPIKES
    }

    /// Why a trial that is too large is not stored, and what to do, for people.
    pub(crate) fn too_large_reason(&self, id: TrialId) -> String {
        let parameters = self.model(id.cohort, id.variant).parameters();
        format!(
            "it has more than {MOST_SPIKES} spikes, the most that granule stores of a trial, and will have them \
             again: make the condition's cells fire less (`granule.refractory` is {} ms, `golgi.refractory` {} ms) or \
             its trials shorter (`time.duration` is {} ms)",
            parameters.granule.refractory_ms, parameters.golgi.refractory_ms, parameters.time.duration_ms
        )
    }

    pub(crate) fn name(&self, id: TrialId) -> TrialName {
        let cohort = &self.plan.cohorts[id.cohort as usize];
        let fingerprint = cohort.variants[id.variant as usize].fingerprint;
        TrialName { fingerprint, seed: cohort.seed, trial: id.trial }
    }

    pub(crate) fn key(&self, id: TrialId) -> TrialKey {
        self.plan.key(id.cohort as usize, id.variant as usize, id.trial)
    }

    pub(crate) fn stream(&self, stream: usize) -> StreamKey {
        self.streams[stream]
    }

    /// Work as it is told to a worker.
    pub(crate) fn work(&self, work: &Work) -> WireWork {
        match work {
            Work::Trials { cohort, trials, variants, start } => WireWork::Trials(Trials {
                engine: self.plan.engine,
                seed: self.plan.cohorts[*cohort as usize].seed,
                first: trials.start,
                count: trials.len() as u32,
                start: noise_start(*start),
                models: variants.iter().map(|variant| self.model(*cohort, variant).clone()).collect(),
            }),
            Work::Survey { cohort, parts } => WireWork::Survey(Survey {
                engine: self.plan.engine,
                seed: self.plan.cohorts[*cohort as usize].seed,
                model: Box::new(self.model(*cohort, 0).clone()),
                first: parts.start,
                count: parts.len() as u32,
            }),
        }
    }

    /// Conditions of the sweep that a trial belongs to.
    pub(crate) fn conditions(&self, id: TrialId) -> &'a [usize] {
        &self.plan.cohorts[id.cohort as usize].variants[id.variant as usize].conditions
    }

    /// The seed of a trial, by its index in the sweep.
    pub(crate) fn seed(&self, id: TrialId) -> usize {
        self.plan.seed_of(id.cohort as usize)
    }

    /// For people.
    pub(crate) fn describe(&self, id: TrialId) -> String {
        let name = &self.plan.conditions[self.conditions(id)[0]].name;
        format!("trial {} of condition {name}, seed {}", id.trial, self.plan.cohorts[id.cohort as usize].seed)
    }

    /// For people.
    pub(crate) fn describe_place(&self, place: Place) -> String {
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

    /// Where the spikes of a trial first differ, for people.
    pub(crate) fn first_difference(&self, id: TrialId, stored: &[u8], received: &[u8]) -> String {
        let (Some(stored), Some(received)) = (self.decode(id, stored), self.decode(id, received)) else {
            return "the spikes stored cannot be read".to_owned();
        };
        let step_ms = self.model(id.cohort, id.variant).parameters().time.step_ms;
        first_difference(step_ms, &stored, &received, "received")
    }

    fn decode(&self, id: TrialId, spikes: &[u8]) -> Option<TrialSpikes> {
        let model = self.model(id.cohort, id.variant);
        TrialSpikes::decode(spikes, model.parameters().network, model.steps()).ok()
    }

    fn model(&self, cohort: u32, variant: u32) -> &Model {
        let variant = &self.plan.cohorts[cohort as usize].variants[variant as usize];
        &self.plan.conditions[variant.conditions[0]].model
    }
}

/// Where the spikes of a trial first differ from those stored, for people; `other` is what the others
/// were.
pub(crate) fn first_difference(
    step_ms: f64,
    stored: &TrialSpikes,
    others: &TrialSpikes,
    other: &str,
) -> String {
    for (what, a, b) in
        [("granule", &stored.granule, &others.granule), ("Golgi", &stored.golgi, &others.golgi)]
    {
        let differs = (0..a.len().max(b.len())).find(|&at| a.get(at) != b.get(at));
        let Some(at) = differs else { continue };
        let tell = |spike: Option<&Spike>| {
            spike.map_or("none".to_owned(), |spike| {
                format!("cell {} at {:.3} ms", spike.cell, f64::from(spike.step) * step_ms)
            })
        };
        return format!(
            "the first spike of a {what} cell that differs is number {at}: {} stored, {} {other}",
            tell(a.get(at)),
            tell(b.get(at))
        );
    }
    "the spikes are the same, but not their encoding".to_owned()
}

#[test]
fn trials_start_where_their_noise_does() {
    use granule_sim::noise::{NoiseIndex, spans_to_reach};

    let (mut index, mut noise) = (Index::new(span()), NoiseIndex::new());
    for count in (0..40).map(|span| 3_923_000 + span * 7919 % 8000) {
        index.push(count);
        noise.push(count);
    }
    for normal in (0..330_000_000).step_by(99_991).chain([noise.normals() - 1, noise.normals()]) {
        assert_eq!(index.locate(normal).map(noise_start), noise.locate(normal));
        assert_eq!(index.parts_to_reach(normal), spans_to_reach(normal));
    }
    let (mean, sd) = (3_926_991_u32, 918);
    let limits = [mean - 10 * sd - 11, mean - 10 * sd + 11, mean + 10 * sd - 11, mean + 10 * sd + 11];
    assert_eq!(limits.map(|count| index.is_plausible(count)), [false, true, true, false]);
}
