//! A number of trials that depends on the results: `trials: { until: … }`.

use crate::diagnostics::{Problem, Problems};
use crate::limits::MOST_TRIALS;
use crate::suggest;
use crate::text::quote;
use crate::units;
use crate::value::{ValueEntry, count, entries};
use crate::vocabulary::{KEYS_OF_TRIALS, KEYS_OF_UNTIL};
use crate::yaml::{self, Node};
use granule_engine::space::Unit;

/// Trials after which precision is judged first, unless the file sets `at_least`.
pub(crate) const AT_LEAST: u32 = 20;

/// Fewest trials with a standard deviation.
pub(crate) const FEWEST: u32 = 2;

const FORM: &str = "write `{ until: { measure: …, half_width: … }, at_most: 400 }`";

/// The rule that ends a sweep: trials are computed until a measure is precise in every condition. All conditions and seeds
/// get the same number of trials.
#[derive(Clone, Debug, PartialEq)]
pub struct Until {
    /// The name of a measure that each trial has. This crate does not know which measures exist.
    pub measure: String,
    /// Half the width of the 95 % interval of the measure's mean that is precise enough, in the unit of the measure: above
    /// 0 and finite.
    pub half_width: f64,
    /// The number of trials after which precision is judged first: from 2 to `at_most`.
    pub at_least: u32,
    /// The number of trials at which the sweep ends, precise or not.
    pub at_most: u32,
    /// Whether the rule was applied, so that the sweep's number of trials is final.
    pub is_decided: bool,
}

impl Until {
    /// Returns the numbers of trials at which precision is judged, ascending. They follow from the rule alone, so no number
    /// of trials depends on the order of results. Each is a quarter larger than the one before, rounded up.
    pub fn checkpoints(&self) -> impl Iterator<Item = u32> + use<> {
        let at_most = self.at_most;
        let next = move |&trials: &u32| {
            (trials < at_most).then(|| trials.saturating_add(trials.div_ceil(4)).min(at_most))
        };
        std::iter::successors(Some(self.at_least.min(at_most)), next)
    }
}

/// Reads `trials`: a number, or a rule. Returns the number of trials, at most, and the rule.
pub(crate) fn trials(node: &Node, problems: &mut Problems) -> Option<(u32, Option<Until>)> {
    let yaml::Content::Map(map) = &node.value else {
        return Some((count("trials", 1, MOST_TRIALS, node, problems)?, None));
    };
    let before = problems.count();
    let (mut rule, mut at_least, mut at_most) = (None, None, None);
    let (mut has_rule, mut least_span) = (false, None);
    for ValueEntry { key, key_span, value } in entries(map, problems) {
        match key {
            "until" => (has_rule, rule) = (true, until(value, problems)),
            "at_least" => {
                at_least = count("trials.at_least", FEWEST, MOST_TRIALS, value, problems);
                least_span = Some(value.span);
            }
            "at_most" => at_most = count("trials.at_most", FEWEST, MOST_TRIALS, value, problems),
            _ => problems.add(|| {
                let help = match KEYS_OF_UNTIL.contains(&key) {
                    true => format!("it goes into `until`: `until: {{ {key}: … }}`"),
                    false => suggest::help(key, "the keys are", &KEYS_OF_TRIALS),
                };
                Problem::at(key_span, format!("unknown key {} in `trials`", quote(key))).help(help)
            }),
        }
    }
    if problems.count() == before && !(has_rule && at_most.is_some()) {
        problems.add(|| {
            Problem::at(node.span, "`trials` needs a whole number, or `until` and `at_most`").help(FORM)
        });
    }
    let (at_most, (measure, half_width)) = (at_most?, rule?);
    if let Some((least, span)) = at_least.zip(least_span).filter(|(least, _)| *least > at_most) {
        problems.add(|| {
            let message =
                format!("`trials.at_least` is {least}, more than `trials.at_most`, which is {at_most}");
            Problem::at(span, message).help(format!("write `{at_most}` or less"))
        });
        return None;
    }
    let at_least = at_least.unwrap_or(AT_LEAST.min(at_most));
    Some((at_most, Some(Until { measure, half_width, at_least, at_most, is_decided: false })))
}

/// Reads `until`: the measure and the half-width.
fn until(node: &Node, problems: &mut Problems) -> Option<(String, f64)> {
    let yaml::Content::Map(map) = &node.value else {
        problems.add(|| {
            let message = format!("`trials.until` must be a mapping, not {}", node.shown());
            Problem::at(node.span, message).help("write `{ measure: …, half_width: … }`")
        });
        return None;
    };
    let before = problems.count();
    let (mut measure, mut half_width) = (None, None);
    for ValueEntry { key, key_span, value } in entries(map, problems) {
        match key {
            "measure" => measure = name(value, problems),
            "half_width" => half_width = positive(value, problems),
            _ => problems.add(|| {
                let help = match KEYS_OF_TRIALS.contains(&key) {
                    true => format!("it goes beside `until`: `trials: {{ until: {{ … }}, {key}: … }}`"),
                    false => suggest::help(key, "the keys are", &KEYS_OF_UNTIL),
                };
                Problem::at(key_span, format!("unknown key {} in `trials.until`", quote(key))).help(help)
            }),
        }
    }
    if problems.count() == before && (measure.is_none() || half_width.is_none()) {
        problems.add(|| {
            Problem::at(node.span, "`trials.until` needs `measure` and `half_width`")
                .help("write `{ measure: …, half_width: … }`")
        });
    }
    measure.zip(half_width)
}

fn name(node: &Node, problems: &mut Problems) -> Option<String> {
    match &node.value {
        yaml::Content::Scalar { text, .. } if !text.is_empty() => Some(text.clone()),
        _ => {
            problems.add(|| {
                let message =
                    format!("`trials.until.measure` must be the name of a measure, not {}", node.shown());
                Problem::at(node.span, message)
                    .help("write the name of a column of `granule export --trials`")
            });
            None
        }
    }
}

fn positive(node: &Node, problems: &mut Problems) -> Option<f64> {
    const PATH: &str = "trials.until.half_width";
    const EXAMPLE: &str = "0.01";
    let (message, help) = match &node.value {
        yaml::Content::Scalar { text, .. } => match units::quantity(text, Unit::One) {
            Ok(value) if value > 0.0 && value.is_finite() => return Some(value),
            Ok(_) => (
                format!("`{PATH}` must be above 0 and finite, not {}", node.shown()),
                format!("write it like `{EXAMPLE}`"),
            ),
            Err(unfit) => unfit.describe(PATH, text, Unit::One, EXAMPLE),
        },
        _ => (
            format!("`{PATH}` must be a number in the unit of the measure, not {}", node.kind()),
            format!("write it like `{EXAMPLE}`"),
        ),
    };
    problems.add(|| Problem::at(node.span, message).help(help));
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoints_grow_by_a_quarter_up_to_the_end() {
        let of = |at_least, at_most| -> Vec<u32> {
            let until = Until { measure: "x".into(), half_width: 1.0, at_least, at_most, is_decided: false };
            until.checkpoints().collect()
        };
        assert_eq!(of(20, 60), [20, 25, 32, 40, 50, 60]);
        assert_eq!(of(2, 8), [2, 3, 4, 5, 7, 8]);
        assert_eq!(of(7, 7), [7]);
        assert!(of(2, 1_000_000).len() < 70);
    }
}
