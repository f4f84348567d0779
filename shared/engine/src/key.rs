//! Identity of what is computed: content hashes of everything that decides a result, and of nothing else. No worker,
//! shard, thread, host, condition name or sweep name is part of them.

use std::fmt;

use crate::engine::Engine;
use crate::space::{CellFactor, Value, Values};

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
    /// Identity of a condition: engine, its revision, and the parameters that reach a result.
    Fingerprint
}
hash_type! {
    /// Identity of a trial: a condition's [`Fingerprint`], a seed and an index.
    TrialKey
}
hash_type! {
    /// Identity of a stream of random numbers that trials of a seed read.
    StreamKey
}
hash_type! {
    /// Conditions with equal cohort keys can be computed together for a seed.
    CohortKey
}
hash_type! {
    /// Identity of a parameter space: paths, kinds, ranges and defaults of all parameters.
    SpaceKey
}

impl Fingerprint {
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

/// A hash of values that cannot be confused with one another.
#[derive(Clone, Debug)]
pub struct Hash(blake3::Hasher);

impl Hash {
    /// A hash for this purpose, of an engine and its revision.
    pub fn new(purpose: &str, engine: &dyn Engine) -> Hash {
        let mut hash = Hash::plain(purpose);
        hash.text(engine.name());
        hash.number(engine.revision());
        hash
    }

    /// A hash for this purpose.
    pub fn plain(purpose: &str) -> Hash {
        let mut hash = Hash(blake3::Hasher::new());
        hash.text(purpose);
        hash
    }

    /// Adds a text.
    pub fn text(&mut self, text: &str) {
        self.number(text.len() as u32);
        self.0.update(text.as_bytes());
    }

    /// Adds a number.
    pub fn number(&mut self, number: u32) {
        self.0.update(&number.to_le_bytes());
    }

    /// Adds a number; 0 and −0 are the same.
    pub fn float(&mut self, x: f64) {
        // Adding 0 makes −0 and 0 one.
        self.0.update(&(x + 0.0).to_bits().to_le_bytes());
    }

    /// Adds a value with its kind.
    pub fn value(&mut self, value: &Value) {
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
                // A list of numbers is a set: its order does not count.
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
            Value::Choice(name) => {
                self.number(6);
                self.text(name);
            }
        }
    }

    /// Adds these parameters, each with its path. A parameter that was added to the model later counts only where it
    /// differs from what held before it existed, so that adding it changes no key.
    pub fn values(&mut self, values: &Values, mut is_part: impl FnMut(&str) -> bool) {
        for (parameter, value) in values.iter() {
            let is_as_before = parameter.before.as_ref().is_some_and(|before| before.is_same(value));
            if !is_as_before && is_part(parameter.path) {
                self.text(parameter.path);
                self.value(value);
            }
        }
    }

    /// The hash of all that was added.
    pub fn finish(&self) -> [u8; 32] {
        *self.0.finalize().as_bytes()
    }
}
