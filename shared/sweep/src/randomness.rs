//! The choice whether the conditions of a sweep share their random numbers.

use std::collections::HashMap;

use granule_engine::space::{Sharing, Value};
use granule_engine::{Engine, Engines, Fingerprint};

use crate::condition::Condition;
use crate::diagnostics::{Problem, Problems};
use crate::text::Span;
use crate::value;
use crate::yaml::{self, Node};

/// The key of this choice, in the group of parameters of the random numbers.
pub(crate) const SHARING: &str = "sharing";

/// Whether the conditions of a seed share their random numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Randomness {
    /// All conditions of a seed have the same random numbers, trial by trial.
    #[default]
    Common,
    /// Each condition has its own random numbers.
    Independent,
}

impl Randomness {
    /// All choices, the default first.
    pub const ALL: [Randomness; 2] = [Randomness::Common, Randomness::Independent];

    /// Returns the name in sweep files.
    pub fn name(self) -> &'static str {
        match self {
            Randomness::Common => "common",
            Randomness::Independent => "independent",
        }
    }

    /// Returns the entry of a sweep file that sets this choice, with a group of parameters as its key.
    fn with_group(self, group: &str) -> String {
        format!("{group}: {}", self.name())
    }
}

/// Reads the group of the random numbers: `independent` alone, or [`SHARING`] among its parameters. `engine` is `None`
/// if it is unknown.
pub(crate) fn randomness(
    sharing: Sharing,
    node: &Node,
    engines: Engines,
    engine: Option<&'static dyn Engine>,
    problems: &mut Problems,
) -> Option<Randomness> {
    let Sharing { group, .. } = sharing;
    let names = Randomness::ALL.map(Randomness::name);
    let node = match &node.value {
        yaml::Content::Map(map) => map.iter().find_map(|(key, value)| match &key.value {
            yaml::Content::Scalar { text, .. } if text == SHARING => Some(value),
            _ => None,
        })?,
        yaml::Content::Scalar { .. } => node,
        // The reader of groups reports any other node.
        _ => return None,
    };
    let randomness = Randomness::ALL[value::choice(&format!("{group}.{SHARING}"), &names, node, problems)?];
    if randomness == Randomness::Independent
        && let Some(engine) = engine
        && let Some(reason) = engine.shares_always()
    {
        problems.add(|| {
            let independent = randomness.with_group(group);
            let message = format!("engine `{}` does not support `{independent}`: {reason}", engine.name());
            let has_a_choice = |other: &&&dyn Engine| {
                std::ptr::eq(other.space(), engine.space()) && other.shares_always().is_none()
            };
            Problem::at(node.span, message).help(match engines.iter().find(has_a_choice) {
                Some(other) => format!("write `engine: {}`, or leave `{independent}` out", other.name()),
                None => format!("leave it out, or write `{}`", Randomness::Common.name()),
            })
        });
        return None;
    }
    Some(randomness)
}

/// Gives each condition the number of its random numbers, which is computed from its parameters. A condition therefore
/// keeps its random numbers if other conditions change. Equal conditions have equal random numbers.
pub(crate) fn make_independent(
    sharing: Sharing,
    conditions: &mut [Condition],
    span: Span,
    problems: &mut Problems,
) {
    let Sharing { group, stream } = sharing;
    let Some(parameter) = problems.space().parameter(stream) else { return };
    let independent = Randomness::Independent.with_group(group);
    let mut owners: HashMap<u32, (usize, Fingerprint)> = HashMap::new();
    for at in 0..conditions.len() {
        let Condition { name, model, .. } = &conditions[at];
        let own = model.values().of(parameter);
        if *own != parameter.default {
            problems.add(|| {
                let message = format!(
                    "`{independent}` gives each condition its own {group}, but `{name}` sets `{stream}` to {own}"
                );
                Problem::at(span, message).help("leave one of the two out")
            });
            continue;
        }
        // The number is the same as in version 0.1.0.
        let fingerprint = model.fingerprint_0_1_0();
        let [first, ..] = *fingerprint.0.as_chunks().0 else { unreachable!("32 bytes are eight times four") };
        let number = u32::from_le_bytes(first);
        match owners.get(&number) {
            None => drop(owners.insert(number, (at, fingerprint))),
            Some((_, other)) if *other == fingerprint => {}
            Some((other, _)) => {
                let other = &conditions[*other].name;
                problems.add(|| {
                    let message = format!(
                        "`{other}` and `{name}` have the same {group} stream by chance (for two conditions, \
                         the probability is 2^-32)"
                    );
                    Problem::at(span, message)
                        .help(format!("leave `{independent}` out, and set `{stream}` in each"))
                });
            }
        }
        let mut values = model.values().clone();
        values.set(parameter, Value::Count(number)).expect("it takes every count");
        conditions[at].model =
            model.with_values(values).expect("it was consistent, and this number has no part in that");
    }
}
