//! Which output files a condition has.

use crate::diagnostics::{Problem, Problems, quote};
use crate::suggest;
use crate::value::{Entry, entries, flag};
use crate::yaml::{self, Node};

/// Which output files are written for a condition. It decides nothing that is computed: what is
/// switched off can be switched on later, and is then written from the stored spikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Spike probabilities.
    pub probabilities: bool,
    /// Synapses from active fibres.
    pub connections: bool,
    /// Weights of the active fibres in each trial.
    pub weights: bool,
    /// Mean excitatory and inhibitory conductances; by far the largest files.
    pub conductances: bool,
    /// Drawn factors on tonic inhibition.
    pub tonic_factors: bool,
}

impl Default for Record {
    fn default() -> Record {
        Record {
            probabilities: true,
            connections: true,
            weights: true,
            conductances: true,
            tonic_factors: true,
        }
    }
}

impl Record {
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

    /// The keys of what is left out.
    #[must_use]
    pub fn left_out(mut self) -> Vec<&'static str> {
        let keys = KEYS.iter().map(|(key, _)| *key);
        keys.filter(|key| self.flag(key).is_some_and(|flag| !*flag)).collect()
    }

    /// All but what these keys stand for; none if one stands for nothing.
    pub fn without<'a>(keys: impl IntoIterator<Item = &'a str>) -> Option<Record> {
        let mut record = Record::default();
        for key in keys {
            *record.flag(key)? = false;
        }
        Some(record)
    }
}

/// The keys of `record`, and what each stands for.
pub(crate) const KEYS: [(&str, &str); 6] = [
    ("probabilities", "spike probabilities (SpikeProb)"),
    ("connections", "synapses from active fibres (Connections)"),
    ("weights", "weights of the active fibres in each trial (Weights)"),
    ("conductances", "mean conductances (CondE, CondI)"),
    ("tonic_factors", "drawn factors on tonic inhibition (TonicReduction)"),
    ("spikes", "the spikes of every trial, in the store; always kept"),
];

/// Reads `record`: what it does not name stays as in `base`.
pub(crate) fn record(node: &Node, base: Record, problems: &mut Problems) -> Record {
    let mut record = base;
    let yaml::Value::Map(map) = &node.value else {
        problems.add(|| {
            Problem::at(node.span, format!("`record` must be a mapping, not {}", node.shown()))
                .help("write it like `record: { conductances: false }`")
        });
        return record;
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
                    Problem::at(key_span, format!("unknown key {} in `record`", quote(key)))
                        .help(suggest::help(key, "the keys are", &keys))
                });
                continue;
            }
        };
        if let (Some(place), Some(flag)) = (place, flag(&format!("record.{key}"), value, problems)) {
            *place = flag;
        }
    }
    record
}
