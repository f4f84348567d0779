//! The keys of a sweep file and of its conditions.

use granule_engine::Space;

/// The key of the format's version. A group of parameters may have the same name.
pub(crate) const FORMAT: &str = "granule";

/// The keys at the top that are not groups of parameters.
pub(crate) const KEYS: [&str; 8] =
    [FORMAT, "name", "engine", "seeds", "trials", "record", "set", "conditions"];

/// The keys of a condition.
pub(crate) const KEYS_OF_CONDITION: [&str; 7] =
    ["name", "base", "set", "grid", "zip", "latin_hypercube", "record"];

/// Returns whether a file can have this key at the top.
pub(crate) fn is_key(space: &Space, key: &str) -> bool {
    KEYS.contains(&key) || space.groups().contains(&key)
}
