//! Which output files are written for a condition.

use crate::diagnostics::{Problem, Problems};
use crate::suggest;
use crate::text::quote;
use crate::value::{Entry, entries, flag};
use crate::yaml::{self, Node};

/// Which output files are written for a condition. It decides nothing that is computed: a file that is
/// switched on later is written from the stored spikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Spike probabilities: a number for every granule cell and ms, almost all of them 0.
    pub probabilities: bool,
    /// Synapses from active fibres.
    pub connections: bool,
    /// Weights of the active fibres in each trial.
    pub weights: bool,
    /// Mean excitatory and inhibitory conductances: two numbers for every driven cell and ms.
    pub conductances: bool,
    /// Drawn factors on tonic inhibition.
    pub tonic_factors: bool,
}

impl Record {
    /// All files.
    pub const ALL: Record = Record {
        probabilities: true,
        connections: true,
        weights: true,
        conductances: true,
        tonic_factors: true,
    };

    /// What is written for a condition where the sweep file sets nothing. A preset used as such has all files,
    /// as in the paper's program. Other conditions leave out the two matrices with a row for each cell and a
    /// column for each ms, which are nearly all of the output.
    #[must_use]
    pub fn by_default(is_preset: bool) -> Record {
        Record { probabilities: is_preset, conductances: is_preset, ..Record::ALL }
    }

    /// The files of either.
    #[must_use]
    pub fn or(self, other: Record) -> Record {
        Record {
            probabilities: self.probabilities || other.probabilities,
            connections: self.connections || other.connections,
            weights: self.weights || other.weights,
            conductances: self.conductances || other.conductances,
            tonic_factors: self.tonic_factors || other.tonic_factors,
        }
    }

    fn flag(&mut self, key: &str) -> Option<&mut bool> {
        match key {
            "probabilities" => Some(&mut self.probabilities),
            "connections" => Some(&mut self.connections),
            "weights" => Some(&mut self.weights),
            "conductances" => Some(&mut self.conductances),
            "tonic_factors" => Some(&mut self.tonic_factors),
            _ => None,
        }
    }

    /// Whether the files of this key are written; no key has others.
    pub(crate) fn has(mut self, key: &str) -> bool {
        self.flag(key).is_some_and(|flag| *flag)
    }

    /// The keys that are switched off.
    #[must_use]
    pub fn left_out(self) -> Vec<&'static str> {
        FILES.into_iter().filter(|key| !self.has(key)).collect()
    }

    /// All files but those of these keys; `None` if one of them is unknown.
    pub fn without<'a>(keys: impl IntoIterator<Item = &'a str>) -> Option<Record> {
        let mut record = Record::ALL;
        for key in keys {
            *record.flag(key)? = false;
        }
        Some(record)
    }
}

/// The keys of `record` that a sweep file sets for a condition, in the condition or at the top. The others,
/// which are `None`, have their default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExplicitRecord {
    /// As [`Record::probabilities`].
    pub probabilities: Option<bool>,
    /// As [`Record::connections`].
    pub connections: Option<bool>,
    /// As [`Record::weights`].
    pub weights: Option<bool>,
    /// As [`Record::conductances`].
    pub conductances: Option<bool>,
    /// As [`Record::tonic_factors`].
    pub tonic_factors: Option<bool>,
}

impl From<Record> for ExplicitRecord {
    /// Every key is set.
    fn from(record: Record) -> ExplicitRecord {
        let Record { probabilities, connections, weights, conductances, tonic_factors } = record;
        ExplicitRecord {
            probabilities: Some(probabilities),
            connections: Some(connections),
            weights: Some(weights),
            conductances: Some(conductances),
            tonic_factors: Some(tonic_factors),
        }
    }
}

impl ExplicitRecord {
    /// What is written: the keys that are set, and `default` for the others.
    #[must_use]
    pub fn or(self, default: Record) -> Record {
        Record {
            probabilities: self.probabilities.unwrap_or(default.probabilities),
            connections: self.connections.unwrap_or(default.connections),
            weights: self.weights.unwrap_or(default.weights),
            conductances: self.conductances.unwrap_or(default.conductances),
            tonic_factors: self.tonic_factors.unwrap_or(default.tonic_factors),
        }
    }

    pub(crate) fn flag(&mut self, key: &str) -> Option<&mut Option<bool>> {
        match key {
            "probabilities" => Some(&mut self.probabilities),
            "connections" => Some(&mut self.connections),
            "weights" => Some(&mut self.weights),
            "conductances" => Some(&mut self.conductances),
            "tonic_factors" => Some(&mut self.tonic_factors),
            _ => None,
        }
    }
}

/// The keys that stand for files.
pub(crate) const FILES: [&str; 5] =
    ["probabilities", "connections", "weights", "conductances", "tonic_factors"];

/// The keys of `record`, and what each stands for.
pub(crate) const KEYS: [(&str, &str); 6] = [
    ("probabilities", "spike probabilities (SpikeProb); by default for presets only"),
    ("connections", "synapses from active fibres (Connections)"),
    ("weights", "weights of the active fibres in each trial (Weights)"),
    ("conductances", "mean conductances (CondE, CondI); by default for presets only"),
    ("tonic_factors", "drawn factors on tonic inhibition (TonicReduction)"),
    ("spikes", "the spikes of every trial, in the store; always kept"),
];

/// The word that switches all files on.
pub(crate) const ALL: &str = "all";

/// Reads `record`: all files, or a key for each that is to be set. The others stay as in `base`.
pub(crate) fn record(node: &Node, base: ExplicitRecord, problems: &mut Problems) -> ExplicitRecord {
    let mut record = base;
    let map = match &node.value {
        yaml::Value::Scalar { text, .. } if text == ALL => return Record::ALL.into(),
        yaml::Value::Map(map) => map,
        _ => {
            problems.add(|| {
                Problem::at(node.span, format!("`record` must be `{ALL}` or a mapping, not {}", node.shown()))
                    .help(instead_of(node))
            });
            return record;
        }
    };
    for Entry { key, key_span, value } in entries(map, problems) {
        let place = match key {
            _ if record.flag(key).is_some() => record.flag(key),
            "spikes" => {
                if flag("record.spikes", value, problems) == Some(false) {
                    problems.add(|| {
                        Problem::at(
                            value.span,
                            "the spikes cannot be left out: all output files follow from them",
                        )
                        .help("they are small; remove `spikes`")
                    });
                }
                continue;
            }
            _ => {
                problems.add(|| {
                    let keys = KEYS.map(|(key, _)| key);
                    let help = match key {
                        ALL => format!("write `record: {ALL}`"),
                        _ => suggest::help(key, "the keys are", &keys),
                    };
                    Problem::at(key_span, format!("unknown key {} in `record`", quote(key))).help(help)
                });
                continue;
            }
        };
        if let (Some(place), Some(flag)) = (place, flag(&format!("record.{key}"), value, problems)) {
            *place = Some(flag);
        }
    }
    record
}

/// What to write instead of something that is neither `all` nor a mapping.
fn instead_of(node: &Node) -> String {
    let general = || format!("write `{ALL}`, or name files as in `record: {{ conductances: true }}`");
    let each = |keys: &[&str], is_on: bool| {
        let keys: Vec<String> = keys.iter().map(|key| format!("{key}: {is_on}")).collect();
        format!("write `{{ {} }}`", keys.join(", "))
    };
    let key_of = |item: &Node| match &item.value {
        yaml::Value::Scalar { text, .. } => FILES.into_iter().find(|key| key == text),
        _ => None,
    };
    match &node.value {
        yaml::Value::Scalar { text, .. } => match (text.to_ascii_lowercase().as_str(), key_of(node)) {
            (_, Some(key)) => each(&[key], true),
            ("none" | "nothing" | "false" | "no" | "off", _) => each(&FILES, false),
            ("true" | "yes" | "on" | "everything", _) => format!("write `{ALL}`"),
            _ => match suggest::nearest(text, [ALL]) {
                Some(near) => format!("did you mean `{near}`?"),
                None => general(),
            },
        },
        yaml::Value::List(items) if !items.is_empty() => {
            let keys: Option<Vec<&str>> = items.iter().map(key_of).collect();
            keys.map_or_else(general, |keys| each(&keys, true))
        }
        _ => general(),
    }
}
