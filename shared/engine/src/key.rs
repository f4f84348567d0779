//! Identity of results: content hashes of everything that determines a result, and of nothing else. No worker, shard,
//! thread, host, condition name or sweep name is part of them.

use std::fmt;

pub use crate::hash::Hash;

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
    /// Identity of a condition: a hash of the engine, its revision, and the parameters that affect a result.
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
    /// Key of a cohort: conditions with equal cohort keys can be computed together for a seed.
    CohortKey
}
hash_type! {
    /// Identity of a parameter space: paths, kinds, ranges and defaults of all parameters.
    SpaceKey
}

impl Fingerprint {
    /// Returns the key of a trial of this condition.
    pub fn trial(self, seed: u32, index: u32) -> TrialKey {
        let mut hash = blake3::Hasher::new();
        hash.update(b"granule trial\0");
        hash.update(&self.0);
        hash.update(&seed.to_le_bytes());
        hash.update(&index.to_le_bytes());
        TrialKey(*hash.finalize().as_bytes())
    }
}
