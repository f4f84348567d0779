//! Identity of what is computed: content hashes of everything that decides a result, and of nothing
//! else. No worker, shard, thread, host, condition name or sweep name is part of them.

use std::fmt;

use granule_sim::parameters::{CellFactor, FIELDS, Parameters, Value};
use granule_sim::{Engine, Model};

mod version_0_1_0;

pub use version_0_1_0::{Recounted, has_other_bins, recounted};

macro_rules! hash_type {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 32]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
    };
}

hash_type! {
    /// Identity of a condition: engine, its revision, the parameters that reach a spike, and the steps that are made of
    /// them where version 0.1.0 made others.
    Fingerprint
}
hash_type! {
    /// Identity of a trial: a condition's [`Fingerprint`], a seed and an index.
    TrialKey
}
hash_type! {
    /// Identity of a noise stream: engine, seed and wiring.
    StreamKey
}

impl Fingerprint {
    /// The fingerprint of this model.
    pub fn new(model: &Model) -> Fingerprint {
        let mut hash = Fingerprint::of_parameters(model);
        for Recounted { path, now, .. } in recounted(model) {
            hash.text(path);
            hash.number(now.len() as u32);
            now.into_iter().for_each(|number| hash.number(number));
        }
        Fingerprint(hash.finish())
    }

    /// The fingerprint that version 0.1.0 gave to the same parameters. It is another one where that version made
    /// other steps of them.
    pub fn in_version_0_1_0(model: &Model) -> Fingerprint {
        Fingerprint(Fingerprint::of_parameters(model).finish())
    }

    fn of_parameters(model: &Model) -> Hash {
        let (engine, parameters) = (model.engine(), model.parameters());
        let mut hash = Hash::new("granule condition", engine);
        for field in FIELDS.iter().filter(|field| !is_idle(field.path, engine, parameters)) {
            hash.text(field.path);
            hash.value(&field.get(parameters));
        }
        hash
    }

    /// The key of a trial of this condition.
    pub fn trial(self, seed: u32, index: u32) -> TrialKey {
        let mut hash = blake3::Hasher::new();
        hash.update(b"granule trial\0");
        hash.update(&self.0);
        hash.update(&seed.to_le_bytes());
        hash.update(&index.to_le_bytes());
        TrialKey(*hash.finalize().as_bytes())
    }
}

/// Whether the parameter of this path reaches no spike and is no part of a [`Fingerprint`].
///
/// Weights are either random or fixed: what describes the other kind is idle. So is what describes the
/// noise of another engine.
pub fn is_idle(path: &str, engine: Engine, parameters: &Parameters) -> bool {
    match (path, engine) {
        ("noise.first", Engine::Pcg) | ("noise.stream", Engine::Brian2_2_2_1) => true,
        ("mossy_to_granule.weight" | "mossy_to_golgi.weight", _) => parameters.weights.random,
        _ => !parameters.weights.random && path.starts_with("weights.") && path != "weights.random",
    }
}

impl StreamKey {
    /// The key of the noise stream that trials of this model read.
    pub fn new(model: &Model, seed: u32) -> StreamKey {
        let mut hash = Hash::new("granule noise", model.engine());
        hash.number(seed);
        for field in FIELDS {
            let decides_wiring = field.path.starts_with("network.") || field.path.ends_with(".convergence");
            if decides_wiring {
                hash.text(field.path);
                hash.value(&field.get(model.parameters()));
            }
        }
        StreamKey(hash.finish())
    }
}

/// A hash of values that cannot be confused with one another.
struct Hash(blake3::Hasher);

impl Hash {
    fn new(purpose: &str, engine: Engine) -> Hash {
        let mut hash = Hash(blake3::Hasher::new());
        hash.text(purpose);
        hash.text(engine.name());
        hash.number(engine.revision());
        hash
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u32);
        self.0.update(text.as_bytes());
    }

    fn number(&mut self, number: u32) {
        self.0.update(&number.to_le_bytes());
    }

    fn float(&mut self, x: f64) {
        // Adding 0 makes −0 and 0 one.
        self.0.update(&(x + 0.0).to_bits().to_le_bytes());
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Number(x) => {
                self.number(0);
                self.float(*x);
            }
            Value::Count(n) => {
                self.number(1);
                self.number(*n);
            }
            Value::Flag(flag) => {
                self.number(2);
                self.number(u32::from(*flag));
            }
            Value::Numbers(list) => {
                // Every list of the model is a set: stimulus times in another order are the same.
                let mut sorted = list.clone();
                sorted.sort_by(f64::total_cmp);
                self.number(3);
                self.number(sorted.len() as u32);
                sorted.into_iter().for_each(|x| self.float(x));
            }
            Value::Factor(CellFactor::Constant(x)) => {
                self.number(4);
                self.float(*x);
            }
            Value::Factor(CellFactor::Gamma { mean, sd, seed }) => {
                self.number(5);
                self.float(*mean);
                self.float(*sd);
                self.number(*seed);
            }
            Value::Population(population) => {
                self.number(6);
                self.text(population.name());
            }
        }
    }

    fn finish(&self) -> [u8; 32] {
        *self.0.finalize().as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use granule_sim::parameters::{Field, Population};

    const ENGINE: Engine = Engine::Brian2_2_2_1;

    fn other(field: &Field, value: &Value) -> Value {
        match (field.path, value) {
            ("time.step" | "weights.sd", _) => Value::Number(0.05),
            ("time.duration", _) => Value::Number(2001.0),
            (_, Value::Number(x)) => Value::Number(x + 0.5),
            (_, Value::Count(n)) => Value::Count(n + 1),
            (_, Value::Flag(flag)) => Value::Flag(!flag),
            (_, Value::Numbers(_)) => Value::Numbers(vec![1.0]),
            (_, Value::Factor(_)) => Value::Factor(CellFactor::Gamma { mean: 1.0, sd: 1.0, seed: 1 }),
            (_, Value::Population(_)) => Value::Population(Population::Granule),
        }
    }

    #[test]
    fn every_parameter_counts_unless_it_is_idle() {
        for (random, engine) in [true, false]
            .into_iter()
            .flat_map(|random| Engine::ALL.iter().map(move |&engine| (random, engine)))
        {
            let mut base = Parameters::default();
            base.weights.random = random;
            for field in FIELDS {
                let mut changed = base.clone();
                field.set(&mut changed, other(field, &field.get(&base))).unwrap();
                let is_idle = match field.path {
                    "mossy_to_granule.weight" | "mossy_to_golgi.weight" => random,
                    "weights.seed" | "weights.trial_seed" | "weights.mean" | "weights.sd" => !random,
                    "noise.first" => engine == Engine::Pcg,
                    "noise.stream" => engine == Engine::Brian2_2_2_1,
                    _ => false,
                };
                let of = |parameters: &Parameters| {
                    Fingerprint::new(&Model::new(engine, parameters.clone()).unwrap())
                };
                let same = of(&changed) == of(&base);
                assert_eq!(same, is_idle, "{}", field.path);
            }
        }
    }

    #[test]
    fn trials_differ_by_seed_and_index() {
        let fingerprint = Fingerprint::new(&Model::new(ENGINE, Parameters::default()).unwrap());
        assert_ne!(fingerprint.trial(1, 2), fingerprint.trial(2, 1));
        assert_ne!(fingerprint.trial(1, 2), fingerprint.trial(1, 3));
    }

    /// A change here makes every stored result unknown: do it knowingly, with the engine's revision.
    #[test]
    fn keys_stay_as_they_are() {
        let fingerprint = Fingerprint::new(&Model::new(ENGINE, Parameters::default()).unwrap());
        assert_eq!(
            fingerprint.to_string(),
            "4b7dbe9cf260ab843f4a1c9a9341f854f9fa24ac54d9db49c947598c2d1f765c"
        );
        assert_eq!(
            fingerprint.trial(451, 0).to_string(),
            "99a46ec393f4dfb0c6d39b40b2f6e19b098403308d51a90ba4f3dae6b2984915"
        );
        // With the steps of a delay of which version 0.1.0 made others.
        let mut parameters = Parameters::default();
        parameters.golgi_to_granule.delay_ms = 0.35;
        let recounted = Model::new(Engine::Pcg, parameters).unwrap();
        assert_eq!(
            Fingerprint::new(&recounted).to_string(),
            "1f0760f22ea91b69eed2ab30c47bda7f3324490dc06f1bb441e6f5774bca85f1"
        );
    }
}
