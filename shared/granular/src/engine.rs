//! The granular layer as an [`Engine`]: the interface that the rest of granule uses.

use std::collections::BTreeSet;
use std::ops::Range;

use granule_engine::key::Hash;
use granule_engine::output::{Derive, File, FileKind};
use granule_engine::spikes::MOST_SPIKES;
use granule_engine::stream::Parts;
use granule_engine::{
    CohortKey, Engine, Facts, Fingerprint, Identity, Inconsistent, Memory, Model, NoResult, Note, Population,
    Recounted, Shard, Space, StreamKey, Take, TimeAxis, Unable, Values,
};

use crate::files::{Arrays, KINDS, can_name, files};
use crate::isa::Isa;
use crate::network::{Network, Wiring};
use crate::noise::{self, count_accepted, shipped_counts};
use crate::template::template;
use crate::trial::{ReadyCohort, normals_per_trial};
use crate::version_0_1_0::recounted;
use crate::{Layer, Method, Parameters, space};

const POPULATIONS: &[Population] = &[
    Population { name: "granule", cell: "granule cell", cells: "granule cells" },
    Population { name: "golgi", cell: "Golgi cell", cells: "Golgi cells" },
];

/// Returns the layer of a condition of engine `pcg` or `brian2-2.2.1`.
///
/// # Panics
/// If the condition is of another engine.
pub fn layer_of(model: &Model) -> Layer {
    let method = Method::named(model.engine().name()).expect("a condition of the granular layer");
    Layer::new(method, Parameters::of(model.values())).expect("its engine has checked it")
}

fn layers_of<'a>(models: impl IntoIterator<Item = &'a Model>) -> Vec<Layer> {
    models.into_iter().map(layer_of).collect()
}

impl Engine for Method {
    fn name(&self) -> &'static str {
        match self {
            Method::Pcg => "pcg",
            Method::Brian2_2_2_1 => "brian2-2.2.1",
        }
    }

    fn revision(&self) -> u32 {
        match self {
            Method::Pcg | Method::Brian2_2_2_1 => 1,
        }
    }

    fn space(&self) -> &'static Space {
        space()
    }

    fn populations(&self) -> &'static [Population] {
        POPULATIONS
    }

    fn check(&self, values: &Values) -> Result<(Identity, Facts), Inconsistent> {
        let layer = Layer::new(*self, Parameters::of(values)).map_err(|error| Inconsistent {
            message: error.to_string(),
            paths: error.paths(),
            remedy: error.remedy(),
        })?;
        let parameters = layer.parameters();
        let mut hash = Hash::new("granule condition", self);
        hash.values(values, |path| !is_idle(path, *self, parameters));
        let fingerprint_0_1_0 = Fingerprint(hash.finish());
        for Recounted { path, now, .. } in recounted(&layer) {
            hash.text(path);
            hash.number(now.len() as u32);
            now.into_iter().for_each(|number| hash.number(number));
        }
        let mut stimuli_ms = parameters.stimulus.times_ms.clone();
        stimuli_ms.sort_by(f64::total_cmp);
        let items_per_trial = normals_per_trial(&layer);
        let identity = Identity {
            fingerprint: Fingerprint(hash.finish()),
            fingerprint_0_1_0,
            cohort: cohort_key(&layer),
        };
        let facts = Facts {
            sizes: vec![parameters.network.granule_cells, parameters.network.golgi_cells],
            returns: Vec::new(),
            time: TimeAxis {
                step_ms: parameters.time.step_ms,
                steps_per_ms: layer.steps_per_ms(),
                steps: layer.steps(),
            },
            items_per_trial,
            cost_per_trial: items_per_trial as f64,
            most_spikes: layer.most_spikes(),
            stimuli_ms,
            stimulus_steps: layer.stimulus_steps().to_vec(),
        };
        Ok((identity, facts))
    }

    fn is_idle(&self, path: &str, values: &Values) -> bool {
        is_idle(path, *self, &Parameters::of(values))
    }

    fn shares_always(&self) -> Option<&'static str> {
        match self {
            Method::Pcg => None,
            Method::Brian2_2_2_1 => Some("the exact engine's conditions always share one noise stream"),
        }
    }

    fn notes(&self, model: &Model) -> Vec<Note> {
        let parameters = Parameters::of(model.values());
        let size = parameters.network;
        let projections = [
            (
                "mossy_to_granule.convergence",
                "mossy fibres",
                parameters.mossy_to_granule.convergence,
                size.mossy_fibers,
            ),
            (
                "mossy_to_golgi.convergence",
                "mossy fibres",
                parameters.mossy_to_golgi.convergence,
                size.mossy_fibers,
            ),
            (
                "golgi_to_granule.convergence",
                "Golgi cells",
                parameters.golgi_to_granule.convergence,
                size.golgi_cells,
            ),
        ];
        let exceeds =
            projections.into_iter().filter(|(_, _, convergence, cells)| *convergence > f64::from(*cells));
        let mut notes: Vec<Note> = exceeds
            .map(|(subject, presynaptic, convergence, cells)| Note {
                subject,
                text: format!(
                    "`{subject}` is {convergence}, but there are only {cells} {presynaptic}; each cell gets one \
                     synapse from every one of them"
                ),
            })
            .collect();
        let most = model.facts().most_spikes;
        if most > MOST_SPIKES {
            notes.push(Note {
                subject: "spikes",
                text: format!(
                    "if all cells fire as often as `granule.refractory` and `golgi.refractory` allow, a trial has \
                     {most} spikes; granule sets aside trials with more than {MOST_SPIKES}"
                ),
            });
        }
        notes
    }

    fn to_spike_less(&self, model: Option<&Model>) -> String {
        let Some(model) = model else {
            return "make the cells fire less (`granule.refractory`, `golgi.refractory`), or trials shorter \
                    (`time.duration`)"
                .to_owned();
        };
        let parameters = Parameters::of(model.values());
        format!(
            "make the condition's cells fire less (`granule.refractory` is {} ms, `golgi.refractory` {} ms) or its \
             trials shorter (`time.duration` is {} ms)",
            parameters.granule.refractory_ms, parameters.golgi.refractory_ms, parameters.time.duration_ms
        )
    }

    fn recounted(&self, model: &Model) -> Vec<Recounted> {
        recounted(&layer_of(model))
    }

    fn parts(&self) -> Option<Parts> {
        match self {
            Method::Pcg => None,
            Method::Brian2_2_2_1 => Some(noise::parts()),
        }
    }

    fn stream(&self, model: &Model, seed: u32) -> StreamKey {
        let mut hash = Hash::new("granule noise", self);
        hash.number(seed);
        hash.values(model.values(), |path| path.starts_with("network.") || path.ends_with(".convergence"));
        StreamKey(hash.finish())
    }

    fn shipped(&self, model: &Model, seed: u32) -> Vec<u32> {
        match self {
            Method::Pcg => Vec::new(),
            Method::Brian2_2_2_1 => {
                shipped_counts(Wiring::of_parameters(&Parameters::of(model.values())), seed)
            }
        }
    }

    fn survey(&self, model: &Model, seed: u32, parts: Range<u32>) -> Result<Vec<u32>, Unable> {
        let network = Network::new(*self, Wiring::of_parameters(&Parameters::of(model.values())), seed);
        let Some(origin) = network.noise_origin else {
            return Err(Unable(format!("engine {} has no noise stream to survey", self.name())));
        };
        Ok(count_accepted(Isa::best(), origin, parts.start, parts.len() as u32))
    }

    fn compute(&self, shard: &Shard<'_>, take: &mut Take<'_>) -> Result<(), Unable> {
        let layers = layers_of(shard.models);
        let cohort = ReadyCohort::new(Isa::best(), &layers, shard.seed, shard.trials.end)
            .map_err(|error| Unable(error.to_string()))?;
        let mut trials = cohort.trials(shard.start);
        for trial in shard.trials.clone() {
            let results = trials.simulate_within(trial, shard.most_spikes);
            let results = results.into_iter().map(|spikes| spikes.ok_or(NoResult::TooLarge)).collect();
            if take(trial, results).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn kinds(&self) -> &'static [FileKind] {
        KINDS
    }

    fn files(&self, model: &Model, prefix: &str, preset: Option<&str>, trials: u32) -> Vec<File> {
        files(&layer_of(model), prefix, preset, trials)
    }

    fn can_name(&self, name: &str) -> bool {
        can_name(name)
    }

    fn derive(&self, model: &Model, seed: u32, trials: u32, _: &[&str]) -> Box<dyn Derive> {
        Box::new(Arrays::new(&layer_of(model), seed, trials))
    }

    fn memory(&self, models: &[&Model], trials: u32) -> Memory {
        let layers = layers_of(models.iter().copied());
        let Some(first) = layers.first() else { return Memory::default() };
        let parameters = first.parameters();
        let size = parameters.network;
        let synapses = parameters.mossy_to_granule.convergence * f64::from(size.granule_cells)
            + parameters.mossy_to_golgi.convergence * f64::from(size.golgi_cells)
            + parameters.golgi_to_granule.convergence * f64::from(size.granule_cells);
        let taus: BTreeSet<u64> =
            layers.iter().map(|layer| layer.parameters().noise.tau_ms.to_bits()).collect();
        let rows = taus.len() as u64 * 8 * (size.noisy_cells() * 16).max(1 << 16);
        let state = layers.len() as u64 * 64 * size.noisy_cells();
        Memory {
            compute: 4 * synapses as u64 + rows + state,
            derive: layers.iter().map(|layer| bytes_to_derive(layer, trials)).max().unwrap_or(0),
        }
    }

    fn shortened(&self, model: &Model, items: u64) -> Option<Model> {
        let mut parameters = Parameters::of(model.values());
        let per_ms = parameters.network.noisy_cells() * u64::from(model.time().steps_per_ms);
        let most_ms = (items / per_ms.max(1)).max(1) as f64;
        if parameters.time.duration_ms <= most_ms {
            return Some(model.clone());
        }
        parameters.time.duration_ms = most_ms;
        parameters.stimulus.times_ms.retain(|time| *time < most_ms - parameters.time.step_ms);
        Model::new(self.engine(), parameters.values().ok()?).ok()
    }

    fn template(&self) -> String {
        template()
    }
}

/// Returns whether the parameter of this path affects no spike.
///
/// Weights are either random or fixed; the parameters of the other kind are idle. The parameters of the other engine's
/// noise are idle as well.
fn is_idle(path: &str, method: Method, parameters: &Parameters) -> bool {
    match (path, method) {
        ("noise.first", Method::Pcg) | ("noise.stream", Method::Brian2_2_2_1) | ("platform", _) => true,
        ("mossy_to_granule.weight" | "mossy_to_golgi.weight", _) => parameters.weights.random,
        _ => !parameters.weights.random && path.starts_with("weights.") && path != "weights.random",
    }
}

/// Returns the cohort key: conditions of a seed with the same wiring, noise and number of steps have equal keys.
fn cohort_key(layer: &Layer) -> CohortKey {
    let Wiring { size, mossy_to_granule, mossy_to_golgi, golgi_to_granule } = Wiring::of(layer);
    let mut hash = Hash::new("granule cohort", &layer.method());
    [size.mossy_fibers, size.granule_cells, size.golgi_cells].into_iter().for_each(|n| hash.number(n));
    [mossy_to_granule, mossy_to_golgi, golgi_to_granule].into_iter().for_each(|x| hash.float(x));
    hash.number(layer.steps());
    hash.number(match layer.method() {
        Method::Pcg => layer.parameters().noise.stream,
        Method::Brian2_2_2_1 => 0,
    });
    CohortKey(hash.finish())
}

/// Returns the memory to derive the files of a condition and a seed, in bytes.
fn bytes_to_derive(layer: &Layer, trials: u32) -> u64 {
    let size = layer.parameters().network;
    let counts = 4 * layer.bins() as u64 * u64::from(size.granule_cells);
    // Rows of several files that are computed in parallel, and Golgi spikes at about 50 per second.
    let rows = 5 * 256 * 8 * layer.bins() as u64;
    let seconds = layer.parameters().time.duration_ms * 1e-3;
    let golgi = f64::from(trials) * f64::from(size.golgi_cells) * 50.0 * seconds * 8.0;
    counts + rows + golgi as u64
}

#[cfg(test)]
mod tests {
    use granule_engine::Value;
    use granule_engine::space::{CellFactor, Parameter};

    use super::*;
    use crate::ENGINES;

    fn other(parameter: &Parameter, value: &Value) -> Value {
        match (parameter.path, value) {
            ("time.step" | "weights.sd", _) => Value::Number(0.05),
            ("time.duration", _) => Value::Number(2001.0),
            (_, Value::Number(x)) => Value::Number(x + 0.5),
            (_, Value::Count(n)) => Value::Count(n + 1),
            (_, Value::Flag(flag)) => Value::Flag(!flag),
            (_, Value::Numbers(_)) => Value::Numbers(vec![1.0]),
            (_, Value::Factor(_)) => Value::Factor(CellFactor::Gamma { mean: 1.0, sd: 1.0, seed: 1 }),
            ("platform", _) => Value::Choice("osx-64"),
            (_, Value::Choice(_)) => Value::Choice("granule"),
        }
    }

    fn values(set: &[(&str, Value)]) -> Values {
        let mut values = space().defaults();
        for (path, value) in set {
            values.set(space().parameter(path).unwrap(), value.clone()).unwrap();
        }
        values
    }

    #[test]
    fn every_parameter_counts_unless_it_is_idle() {
        for (random, engine) in
            [true, false].into_iter().flat_map(|random| ENGINES.iter().map(move |of| (random, *of)))
        {
            let base = values(&[("weights.random", Value::Flag(random))]);
            for parameter in space().parameters() {
                let mut changed = base.clone();
                changed.set(parameter, other(parameter, base.of(parameter))).unwrap();
                if parameter.path == "platform" && engine.name() == "pcg" {
                    assert!(engine.check(&changed).is_err());
                    continue;
                }
                let is_idle = match parameter.path {
                    "mossy_to_granule.weight" | "mossy_to_golgi.weight" => random,
                    "weights.seed" | "weights.trial_seed" | "weights.mean" | "weights.sd" => !random,
                    "noise.first" => engine.name() == "pcg",
                    "platform" => true,
                    "noise.stream" => engine.name() == "brian2-2.2.1",
                    _ => false,
                };
                let of = |values: &Values| engine.check(values).unwrap().0.fingerprint;
                assert_eq!(of(&changed) == of(&base), is_idle, "{}", parameter.path);
            }
        }
    }

    #[test]
    fn trials_differ_by_seed_and_index() {
        let fingerprint = Method::Pcg.check(&space().defaults()).unwrap().0.fingerprint;
        assert_ne!(fingerprint.trial(1, 2), fingerprint.trial(2, 1));
        assert_ne!(fingerprint.trial(1, 2), fingerprint.trial(1, 3));
    }

    /// A change of these keys makes all stored results unusable. Change them only on purpose, with the engine's
    /// revision.
    #[test]
    fn keys_stay_as_they_are() {
        let exact = Model::new(&Method::Brian2_2_2_1, space().defaults()).unwrap();
        assert_eq!(
            exact.fingerprint().to_string(),
            "4b7dbe9cf260ab843f4a1c9a9341f854f9fa24ac54d9db49c947598c2d1f765c"
        );
        assert_eq!(
            exact.fingerprint().trial(451, 0).to_string(),
            "99a46ec393f4dfb0c6d39b40b2f6e19b098403308d51a90ba4f3dae6b2984915"
        );
        // A delay from which version 0.1.0 computed another number of steps.
        let delay = values(&[("golgi_to_granule.delay", Value::Number(0.35))]);
        assert_eq!(
            Method::Pcg.check(&delay).unwrap().0.fingerprint.to_string(),
            "1f0760f22ea91b69eed2ab30c47bda7f3324490dc06f1bb441e6f5774bca85f1"
        );
    }

    /// The example of CONTRIBUTING.md: after a parameter with a default is added, all keys in stores stay valid.
    #[test]
    fn an_added_parameter_changes_no_key_until_it_is_set() {
        let kind = granule_engine::space::Kind::Quantity(granule_engine::space::Unit::Millivolt);
        let range = granule_engine::space::Range::Finite;
        let added = Parameter::new("golgi.threshold_noise", kind, range, Value::Number(0.0), "example")
            .added_with(Value::Number(0.0));
        let grown: &'static Space =
            Box::leak(Box::new(Space::new([space().parameters(), &[added]].concat())));
        let hash = |values: &Values| {
            let mut hash = Hash::new("granule condition", &Method::Pcg);
            hash.values(values, |_| true);
            hash.finish()
        };
        for preset in space().presets() {
            let (before, mut now) = (space().defaults().with(preset), grown.defaults().with(preset));
            assert_eq!(hash(&before), hash(&now), "{}", preset.name);
            now.set(grown.parameter("golgi.threshold_noise").unwrap(), Value::Number(0.5)).unwrap();
            assert_ne!(hash(&before), hash(&now), "{}", preset.name);
        }
        assert_ne!(grown.key(), space().key());
    }

    #[test]
    fn conditions_are_computed_together_if_they_share_wiring_steps_and_noise() {
        let key = |engine: &dyn Engine, set: &[(&str, Value)]| engine.check(&values(set)).unwrap().0.cohort;
        let [pcg, exact] = [ENGINES[0], ENGINES[1]];
        assert_ne!(key(pcg, &[]), key(exact, &[]));
        let leak = [("golgi.leak_reversal", Value::Number(-55.0))];
        let stream = [("noise.stream", Value::Count(1))];
        for engine in [pcg, exact] {
            assert_eq!(key(engine, &leak), key(engine, &[]));
            for (path, value) in [
                ("network.golgi_cells", Value::Count(28)),
                ("golgi_to_granule.convergence", Value::Number(5.0)),
                ("time.duration", Value::Number(2001.0)),
            ] {
                assert_ne!(key(engine, &[(path, value)]), key(engine, &[]), "{path}");
            }
        }
        assert_ne!(key(pcg, &stream), key(pcg, &[]));
        assert_eq!(key(exact, &stream), key(exact, &[]));
    }
}
