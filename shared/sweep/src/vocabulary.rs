//! The keys of sweep files and model files, and the words for these files in messages.

use std::sync::LazyLock;

use granule_engine::{Parameter, Space};

/// The kind of file that a text is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Language {
    /// A sweep file that sets parameters of this space.
    Sweep(&'static Space),
    /// A table of conditions that set parameters of this space.
    Table(&'static Space),
    /// A model file.
    Model,
}

impl From<&'static Space> for Language {
    fn from(space: &'static Space) -> Language {
        Language::Sweep(space)
    }
}

impl Language {
    /// Returns the parameters that a text can set. A model file declares its own.
    pub(crate) fn space(self) -> &'static Space {
        static NONE: LazyLock<Space> = LazyLock::new(|| Space::new(Vec::new()));
        match self {
            Language::Sweep(space) | Language::Table(space) => space,
            Language::Model => &NONE,
        }
    }

    /// Returns whether a colon after this word ends a key.
    pub(crate) fn is_any_key(self, word: &str) -> bool {
        match self {
            Language::Sweep(space) => {
                is_key(space, word)
                    || KEYS_OF_CONDITION.contains(&word)
                    || KEYS_OF_TRIALS.contains(&word)
                    || KEYS_OF_UNTIL.contains(&word)
                    || space.parameter(word).is_some()
            }
            Language::Table(_) => false,
            Language::Model => {
                let lists: [&[&str]; 4] =
                    [&KEYS_OF_MODEL, &KEYS_OF_PARAMETER, &KEYS_OF_RETURN, &KEYS_OF_LIMITS];
                lists.into_iter().any(|keys| keys.contains(&word))
            }
        }
    }
}

/// The key of the version of the format of model files.
pub(crate) const FORMAT_OF_MODEL: &str = "granule-model";

/// The keys at the top of a model file.
pub(crate) const KEYS_OF_MODEL: [&str; 13] = [
    FORMAT_OF_MODEL,
    "name",
    "about",
    "program",
    "files",
    "parameters",
    "populations",
    "duration",
    "resolution",
    "returns",
    "threads",
    "limits",
    "versions_may_differ",
];

/// The keys of a parameter of a model file.
pub(crate) const KEYS_OF_PARAMETER: [&str; 5] = ["default", "range", "kind", "choices", "about"];

/// The keys of something that a trial returns, in a model file.
pub(crate) const KEYS_OF_RETURN: [&str; 3] = ["unit", "shape", "about"];

/// The keys of `limits` in a model file.
pub(crate) const KEYS_OF_LIMITS: [&str; 2] = ["time", "memory"];

/// The keys of a rule for the number of trials, and of its `until`.
pub(crate) const KEYS_OF_TRIALS: [&str; 3] = ["until", "at_least", "at_most"];
pub(crate) const KEYS_OF_UNTIL: [&str; 2] = ["measure", "half_width"];

/// The key of the format's version. A group of parameters may have the same name.
pub(crate) const FORMAT: &str = "granule";

/// The key of the path of a model file.
pub(crate) const MODEL: &str = "model";

/// The keys at the top that are not groups of parameters.
pub(crate) const KEYS: [&str; 9] =
    [FORMAT, "name", "engine", MODEL, "seeds", "trials", "record", "set", "conditions"];

/// The keys of a condition.
pub(crate) const KEYS_OF_CONDITION: [&str; 9] =
    ["name", "base", "set", "grid", "zip", "latin_hypercube", "sobol", TABLE, "record"];

/// The key of the path of a table.
pub(crate) const TABLE: &str = "table";

/// Returns whether a file can have this key at the top.
pub(crate) fn is_key(space: &Space, key: &str) -> bool {
    KEYS.contains(&key) || space.groups().contains(&key) || ungrouped(space).any(|of| of.path == key)
}

/// Returns the parameters that are keys at the top. A parameter with the name of another key is set in `set`.
pub(crate) fn ungrouped(space: &Space) -> impl Iterator<Item = &Parameter> {
    let groups = space.groups();
    space.ungrouped().filter(move |of| !KEYS.contains(&of.path) && !groups.contains(&of.path))
}
