//! Reads a node of the tree as a value of a parameter, a count, a flag or a name.
//!
//! Each function here returns what it read, or reports why it could not.

use std::collections::HashMap;

use granule_engine::space::{CellFactor, Kind, Parameter, Range, Rejected, Space, Unit, Value, Values};

use crate::diagnostics::{Problem, Problems, line_number};
use crate::examples::{example, whole_example, with_unit};
use crate::suggest;
use crate::text::{Span, quote};
use crate::units;
use crate::yaml::{self, Node};

/// Largest number of quantities in a list.
pub(crate) const MOST_QUANTITIES: usize = 10_000;

/// An entry of a mapping whose key is a word.
#[derive(Clone, Copy)]
pub(crate) struct ValueEntry<'a> {
    pub(crate) key: &'a str,
    pub(crate) key_span: Span,
    pub(crate) value: &'a Node,
}

/// Returns the entries of a mapping, each key once.
pub(crate) fn entries<'a>(map: &'a [(Node, Node)], problems: &mut Problems) -> Vec<ValueEntry<'a>> {
    let mut first = HashMap::new();
    let mut entries = Vec::with_capacity(map.len());
    for (key_node, value) in map {
        let yaml::Content::Scalar { text: key, .. } = &key_node.value else {
            let key = key_node.kind();
            problems.add(|| {
                Problem::at(key_node.span, format!("a key must be a word, not {key}"))
                    .help("write `key: value`")
            });
            continue;
        };
        if let Some(&position) = first.get(key.as_str()) {
            let text = problems.text();
            problems.add(|| {
                let line = line_number(text, position);
                Problem::at(key_node.span, format!("duplicate key {}", quote(key)))
                    .help(format!("it is already on line {line}; keep one of them"))
            });
            continue;
        }
        first.insert(key.as_str(), key_node.span.start);
        entries.push(ValueEntry { key, key_span: key_node.span, value });
    }
    entries
}

/// Sets a parameter from a node of any kind. Returns whether the value is valid.
pub(crate) fn set(parameter: &Parameter, node: &Node, values: &mut Values, problems: &mut Problems) -> bool {
    let Some(value) = checked(parameter, node, problems) else { return false };
    values.set(parameter, value).expect("its range has been looked at");
    true
}

/// Reads the value of a node, and checks that the parameter can take it.
pub(crate) fn checked(parameter: &Parameter, node: &Node, problems: &mut Problems) -> Option<Value> {
    let value = value(parameter, node, problems)?;
    match parameter.check(&value) {
        Ok(()) => Some(value),
        Err(rejected) => {
            problems.add(|| {
                let culprit = culprit(node, &value, &rejected);
                let help = in_range(parameter, culprit, &rejected);
                Problem::at(culprit.span, rejected.to_string()).help(help)
            });
            None
        }
    }
}

/// Returns the problem of an unknown parameter.
pub(crate) fn unknown_parameter(space: &Space, path: &str, span: Span) -> Problem {
    let paths = || space.parameters().iter().map(|parameter| parameter.path);
    let in_group = |known: &&str| known.split_once('.').is_some_and(|(group, _)| group == path);
    let help = match (paths().find(in_group), suggest::nearest_path(path, paths())) {
        (Some(first), _) => format!("write dotted paths, such as `{first}: …`"),
        (None, Some(nearest)) => format!("did you mean `{nearest}`?"),
        (None, None) if space.parameters().is_empty() => "the model has no parameters".to_owned(),
        (None, None) => format!("parameters are in the groups {}", suggest::list(&space.groups())),
    };
    Problem::at(span, format!("unknown parameter {}", quote(path))).help(help)
}

/// Returns help for a value that is out of its range: the text to write instead.
fn in_range(parameter: &Parameter, node: &Node, rejected: &Rejected) -> String {
    let Rejected::OutOfRange { range, unit: symbol, found, .. } = *rejected else {
        return format!("write it like `{}`", whole_example(parameter));
    };
    // Probably a wrong prefix: the number is valid in the parameter's own unit.
    if let yaml::Content::Scalar { text, .. } = &node.value
        && let Some((number, unit)) = units::split(text)
        && unit != symbol
        && number.parse().is_ok_and(|x| range.contains(x))
    {
        return format!("did you mean `{number} {symbol}`?");
    }
    match range {
        Range::Between(low, _) if found < low => format!("write `{}` or more", with_unit(low, symbol)),
        Range::Between(_, high) => format!("write `{}` or less", with_unit(high, symbol)),
        Range::NonNegative => format!("write `{}` or more", with_unit(0.0, symbol)),
        Range::Positive | Range::Finite => format!("write it like `{}`", example(parameter)),
    }
}

/// Returns the innermost node that contains a rejected value.
fn culprit<'a>(node: &'a Node, value: &Value, rejected: &Rejected) -> &'a Node {
    match (&node.value, value, rejected) {
        (yaml::Content::List(items), Value::Numbers(numbers), Rejected::OutOfRange { found, .. }) => {
            let at = numbers.iter().position(|number| number == found);
            at.and_then(|at| items.get(at)).unwrap_or(node)
        }
        _ => node,
    }
}

/// Reads the value of a node, without checking its range.
pub(crate) fn value(parameter: &Parameter, node: &Node, problems: &mut Problems) -> Option<Value> {
    let path = parameter.path;
    match parameter.kind {
        Kind::Quantity(unit) => number(path, unit, &example(parameter), node, problems).map(Value::Number),
        Kind::Quantities(unit) => numbers(parameter, unit, node, problems).map(Value::Numbers),
        Kind::Count => {
            let (least, most) = count_range(parameter.range);
            count(path, least, most, node, problems).map(Value::Count)
        }
        Kind::Flag => flag(path, node, problems).map(Value::Flag),
        Kind::Factor => factor(parameter, node, problems).map(Value::Factor),
        Kind::Choice(names) => choice(path, names, node, problems).map(|chosen| Value::Choice(names[chosen])),
    }
}

/// Returns the smallest and the largest count of a range.
pub(crate) fn count_range(range: Range) -> (u32, u32) {
    match range {
        // Casts of floats saturate.
        Range::Between(low, high) => (low as u32, high as u32),
        Range::Positive => (1, u32::MAX),
        Range::NonNegative | Range::Finite => (0, u32::MAX),
    }
}

/// Reads a number in this unit.
pub(crate) fn number(
    path: &str,
    unit: Unit,
    example: &str,
    node: &Node,
    problems: &mut Problems,
) -> Option<f64> {
    let yaml::Content::Scalar { text, .. } = &node.value else {
        problems.add(|| {
            let what = if unit == Unit::One { "a number" } else { "a number with a unit" };
            Problem::at(node.span, format!("`{path}` must be {what}, not {}", node.kind()))
                .help(format!("write it like `{example}`"))
        });
        return None;
    };
    match units::quantity(text, unit) {
        Ok(value) => Some(value),
        Err(unfit) => {
            problems.add(|| {
                let (message, help) = unfit.describe(path, text, unit, example);
                Problem::at(node.span, message).help(help)
            });
            None
        }
    }
}

fn numbers(parameter: &Parameter, unit: Unit, node: &Node, problems: &mut Problems) -> Option<Vec<f64>> {
    let (path, example) = (parameter.path, example(parameter));
    let yaml::Content::List(items) = &node.value else {
        problems.add(|| {
            Problem::at(node.span, format!("`{path}` must be a list, not {}", node.shown()))
                .help(format!("write it like `[{example}]`"))
        });
        return None;
    };
    if items.len() > MOST_QUANTITIES {
        problems.add(|| {
            let message =
                format!("`{path}` has {} entries; at most {MOST_QUANTITIES} are possible", items.len());
            Problem::at(node.span, message).help("use fewer")
        });
        return None;
    }
    // Read all items, to report each wrong one.
    let read: Vec<Option<f64>> =
        items.iter().map(|item| number(path, unit, &example, item, problems)).collect();
    read.into_iter().collect()
}

fn factor(parameter: &Parameter, node: &Node, problems: &mut Problems) -> Option<CellFactor> {
    const FORM: &str = "write a number, or `{ gamma: { mean: 0.4, sd: 0.07, seed: 1 } }`";
    let path = parameter.path;
    if matches!(node.value, yaml::Content::Scalar { .. }) {
        return number(path, Unit::One, &example(parameter), node, problems).map(CellFactor::Constant);
    }
    let gamma = match only_entry(node) {
        Some(("gamma", value)) => value,
        Some((name, value)) => {
            problems.add(|| {
                let message = format!("`{path}` accepts the distribution `gamma` only, not {}", quote(name));
                Problem::at(node.span, message).help(match &value.value {
                    yaml::Content::Scalar { text, .. } if units::quantity(text, Unit::One).is_ok() => {
                        FORM.replacen("a number", &quote(text), 1)
                    }
                    _ => FORM.to_owned(),
                })
            });
            return None;
        }
        None => {
            problems.add(|| {
                let message = format!("`{path}` must be a number or a distribution, not {}", node.kind());
                Problem::at(node.span, message).help(FORM)
            });
            return None;
        }
    };
    let yaml::Content::Map(map) = &gamma.value else {
        problems.add(|| {
            let message =
                format!("`gamma` must be a mapping with `mean`, `sd` and `seed`, not {}", gamma.kind());
            Problem::at(gamma.span, message).help(FORM)
        });
        return None;
    };
    let before = problems.count();
    let (mut mean, mut sd, mut seed) = (None, None, None);
    for entry in entries(map, problems) {
        let path = format!("{path}.gamma.{}", entry.key);
        match entry.key {
            "mean" => mean = positive(&path, "0.4", entry.value, problems),
            "sd" => sd = positive(&path, "0.07", entry.value, problems),
            "seed" => seed = count(&path, 0, u32::MAX, entry.value, problems),
            key => problems.add(|| {
                Problem::at(entry.key_span, format!("unknown key {} in `gamma`", quote(key)))
                    .help(suggest::help(key, "the keys are", &["mean", "sd", "seed"]))
            }),
        }
    }
    match (mean, sd, seed) {
        (Some(mean), Some(sd), Some(seed)) => Some(CellFactor::Gamma { mean, sd, seed }),
        _ => {
            // A key with a wrong value has been reported.
            if problems.count() == before {
                problems.add(|| Problem::at(gamma.span, "`gamma` needs `mean`, `sd` and `seed`").help(FORM));
            }
            None
        }
    }
}

fn positive(path: &str, example: &str, node: &Node, problems: &mut Problems) -> Option<f64> {
    let x = number(path, Unit::One, example, node, problems)?;
    if x > 0.0 {
        return Some(x);
    }
    problems.add(|| {
        Problem::at(node.span, format!("`{path}` must be above 0, not {x}"))
            .help(format!("write it like `{example}`"))
    });
    None
}

/// Returns the only entry of a mapping.
fn only_entry(node: &Node) -> Option<(&str, &Node)> {
    let yaml::Content::Map(map) = &node.value else { return None };
    match map.as_slice() {
        [(Node { value: yaml::Content::Scalar { text, .. }, .. }, value)] => Some((text, value)),
        _ => None,
    }
}

/// Reads a whole number between `least` and `most`.
pub(crate) fn count(path: &str, least: u32, most: u32, node: &Node, problems: &mut Problems) -> Option<u32> {
    count_of(&format!("`{path}`"), least, most, node, problems)
}

/// As [`count`], for a number without a path. `what` names it in messages.
pub(crate) fn count_of(
    what: &str,
    least: u32,
    most: u32,
    node: &Node,
    problems: &mut Problems,
) -> Option<u32> {
    let text = match &node.value {
        yaml::Content::Scalar { text, quoted: false } => text.as_str(),
        yaml::Content::Scalar { text, quoted: true } => {
            problems.add(|| {
                Problem::at(node.span, format!("{what} must be a whole number, not a text"))
                    .help(format!("remove the quotes around {}", quote(text)))
            });
            return None;
        }
        _ => {
            problems.add(|| {
                Problem::at(node.span, format!("{what} must be a whole number, not {}", node.kind()))
                    .help(format!("write it like `{}`", 10.clamp(least, most)))
            });
            return None;
        }
    };
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_integer = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let has_leading_zero = digits.len() > 1 && digits.starts_with('0');
    if !is_integer || has_leading_zero {
        problems.add(|| {
            let within = |n: &f64| (f64::from(least)..=f64::from(most)).contains(n);
            let help = match in_digits(text) {
                Some(x) if x.fract() == 0.0 && within(&x) => format!("write `{x}`"),
                Some(x) if within(&x.floor()) && within(&x.ceil()) => {
                    format!("write `{}` or `{}`", x.floor(), x.ceil())
                }
                Some(x) if x > most.into() => format!("write `{most}` or less"),
                _ => format!("write it like `{}`", 10.clamp(least, most)),
            };
            Problem::at(node.span, format!("{what} must be a whole number, not {}", node.shown())).help(help)
        });
        return None;
    }
    match text.parse::<i128>() {
        Ok(n) if (i128::from(least)..=i128::from(most)).contains(&n) => u32::try_from(n).ok(),
        _ => {
            problems.add(|| {
                let shown = quote(text);
                let help = match text.starts_with('-') || text.parse().is_ok_and(|n: i128| n < least.into()) {
                    true => format!("write `{least}` or more"),
                    false => format!("write `{most}` or less"),
                };
                Problem::at(node.span, format!("{what} must be between {least} and {most}, not {shown}"))
                    .help(help)
            });
            None
        }
    }
}

/// Returns the number that a text probably means, also if it is written as in other languages.
fn in_digits(text: &str) -> Option<f64> {
    // Three digits follow a comma between thousands. Another number of digits follows a decimal comma.
    let has_thousands = text.split(',').skip(1).all(|group| group.len() == 3);
    let plain = if has_thousands { text.replace(['_', ','], "") } else { text.replace('_', "") };
    let of_radix = |prefix: &str, radix| {
        let digits = plain.strip_prefix(prefix)?;
        u32::from_str_radix(digits, radix).ok().filter(|_| !digits.starts_with('+'))
    };
    let known = of_radix("0x", 16).or_else(|| of_radix("0o", 8)).or_else(|| of_radix("0b", 2));
    known.map(f64::from).or_else(|| units::quantity(&plain, Unit::One).ok())
}

/// Reads `true` or `false`.
pub(crate) fn flag(path: &str, node: &Node, problems: &mut Problems) -> Option<bool> {
    let (text, quoted) = match &node.value {
        yaml::Content::Scalar { text, quoted } => (text.as_str(), *quoted),
        _ => ("", false),
    };
    let meant = match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "y" | "1" => Some(true),
        "false" | "no" | "off" | "n" | "0" => Some(false),
        _ => None,
    };
    let is_spelled_right = matches!(text, "true" | "True" | "TRUE" | "false" | "False" | "FALSE");
    if is_spelled_right && !quoted {
        return meant;
    }
    problems.add(|| {
        let (found, help) = match meant {
            _ if is_spelled_right => {
                ("a text".to_owned(), format!("remove the quotes around {}", quote(text)))
            }
            Some(meant) => (node.shown(), format!("write `{meant}`")),
            None => (node.shown(), "write one of the two".to_owned()),
        };
        Problem::at(node.span, format!("`{path}` must be `true` or `false`, not {found}")).help(help)
    });
    None
}

/// Reads one of several words; returns its index among them.
pub(crate) fn choice(path: &str, words: &[&str], node: &Node, problems: &mut Problems) -> Option<usize> {
    let chosen = match &node.value {
        yaml::Content::Scalar { text, .. } => words.iter().position(|word| word == text),
        _ => None,
    };
    if chosen.is_none() {
        problems.add(|| {
            let message = format!("`{path}` cannot be {}", node.shown());
            let help = match &node.value {
                yaml::Content::Scalar { text, .. } => suggest::help(text, "known values:", words),
                _ => format!("known values: {}", suggest::list(words)),
            };
            Problem::at(node.span, message).help(help)
        });
    }
    chosen
}
