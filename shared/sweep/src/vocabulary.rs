//! The keys of a sweep file and of its conditions.

use granule_sim::parameters::FIELDS;

/// The keys at the top that are no group of parameters. `granule` is both: as a number it is the format's version.
pub(crate) const KEYS: [&str; 8] =
    ["granule", "name", "engine", "seeds", "trials", "record", "set", "conditions"];

/// The keys of a condition.
pub(crate) const KEYS_OF_CONDITION: [&str; 7] =
    ["name", "base", "set", "grid", "zip", "latin_hypercube", "record"];

/// The groups of parameters, in order of the table.
pub(crate) fn groups() -> Vec<&'static str> {
    let mut groups: Vec<&str> =
        FIELDS.iter().filter_map(|field| field.path.split_once('.')).map(|(group, _)| group).collect();
    let mut seen = Vec::new();
    groups.retain(|group| {
        let is_new = !seen.contains(group);
        seen.push(*group);
        is_new
    });
    groups
}

/// Whether a file has this key at the top.
pub(crate) fn is_key(key: &str) -> bool {
    KEYS.contains(&key) || groups().contains(&key)
}
