//! Names of conditions that are made from their values.

use granule_engine::space::{CellFactor, Value};

use crate::axis::GridAxis;
use crate::diagnostics::{Problem, Problems};
use crate::suggest;
use crate::table::NAME;
use crate::text::{Span, quote};

/// The placeholder for a point's number.
const INDEX: &str = "index";

/// A name with placeholders.
pub(crate) struct Template<'a> {
    parts: Vec<NamePart<'a>>,
}

enum NamePart<'a> {
    Text(&'a str),
    /// The value of this axis.
    Value(usize),
    /// The number of the point, from 0.
    Index,
    /// The name of the point's row in a table.
    Row,
}

impl<'a> Template<'a> {
    /// Reads a name. A name without placeholders gets the value of every axis appended. `has_names` states whether the
    /// points are rows with names.
    pub(crate) fn read(
        name: &'a str,
        span: Span,
        axes: &[GridAxis],
        has_names: bool,
        problems: &mut Problems,
    ) -> Option<Template<'a>> {
        let before = problems.count();
        let mut parts = Vec::new();
        let mut rest = name;
        while let Some(open) = rest.find('{') {
            parts.push(NamePart::Text(&rest[..open]));
            let Some(len) = rest[open..].find('}') else {
                problems.add(|| {
                    Problem::at(span, "a placeholder in the name has no end")
                        .help(format!("close it with `}}`, as in `{{{INDEX}}}`"))
                });
                return None;
            };
            let inner = &rest[open + 1..open + len];
            rest = &rest[open + len + 1..];
            if inner == INDEX {
                parts.push(NamePart::Index);
            } else if inner == NAME && has_names {
                parts.push(NamePart::Row);
            } else if let Some(at) = axes.iter().position(|axis| axis.parameter.path == inner) {
                parts.push(NamePart::Value(at));
            } else {
                problems.add(|| unknown_placeholder(inner, span, axes));
            }
        }
        parts.push(NamePart::Text(rest));
        if parts.len() == 1 {
            for at in 0..axes.len() {
                parts.extend([NamePart::Text("-"), NamePart::Value(at)]);
            }
        }
        (problems.count() == before).then_some(Template { parts })
    }

    /// Returns the name of a point, from its number, the values of the axes there, and the name of its row.
    pub(crate) fn name(&self, point: usize, values: &[&Value], row: &str) -> String {
        let part = |part: &NamePart<'_>| match *part {
            NamePart::Text(text) => text.to_owned(),
            NamePart::Value(at) => in_name(values[at]),
            NamePart::Index => point.to_string(),
            NamePart::Row => row.to_owned(),
        };
        self.parts.iter().map(part).collect()
    }

    /// Returns whether the value of this axis is in the name.
    pub(crate) fn shows(&self, axis: usize) -> bool {
        self.parts.iter().any(|part| matches!(part, NamePart::Value(at) if *at == axis))
    }
}

fn unknown_placeholder(inner: &str, span: Span, axes: &[GridAxis]) -> Problem {
    let message = format!(
        "the name has a placeholder {}, but the condition has no such axis",
        quote(&format!("{{{inner}}}"))
    );
    let paths: Vec<&str> = axes.iter().map(|axis| axis.parameter.path).collect();
    Problem::at(span, message).help(match suggest::nearest_path(inner, paths.iter().copied()) {
        Some(path) => format!("did you mean `{{{path}}}`?"),
        None if axes.is_empty() => {
            "placeholders stand for axes; add `grid: { … }`, or remove the placeholder".to_owned()
        }
        None => {
            let known: Vec<String> = paths.iter().chain(&[INDEX]).map(|path| format!("{{{path}}}")).collect();
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            format!("the placeholders are {}", suggest::list(&known))
        }
    })
}

/// Formats a value as part of a name: digits, letters, `.`, `_` and `-`.
fn in_name(value: &Value) -> String {
    match value {
        Value::Number(x) | Value::Factor(CellFactor::Constant(x)) => number(*x),
        Value::Numbers(list) if list.is_empty() => "none".to_owned(),
        Value::Numbers(list) => list.iter().map(|&x| number(x)).collect::<Vec<_>>().join("_"),
        Value::Factor(CellFactor::Gamma { mean, sd, seed }) => {
            format!("gamma{}_{}_{seed}", number(*mean), number(*sd))
        }
        Value::Count(_) | Value::Flag(_) | Value::Choice(_) => value.to_string(),
    }
}

/// Formats a number with as few decimals as possible: at most six digits, unless it has more before the point.
fn number(x: f64) -> String {
    const DIGITS: i32 = 6;
    let scientific = format!("{x:.*e}", DIGITS as usize - 1);
    let exponent = scientific.split_once('e').and_then(|(_, exponent)| exponent.parse::<i32>().ok());
    let exponent = exponent.unwrap_or(0);
    if x != 0.0 && !(-5..15).contains(&exponent) {
        let rounded: f64 = scientific.parse().unwrap_or(x);
        return format!("{rounded:e}");
    }
    let places = (DIGITS - 1 - exponent).max(0) as usize;
    let rounded: f64 = format!("{x:.places$}").parse().unwrap_or(x);
    rounded.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_in_names() {
        let check = |x: f64, name: &str| assert_eq!(number(x), name);
        check(0.5, "0.5");
        check(-53.0, "-53");
        check(0.0, "0");
        check(1_010.25, "1010.25");
        check(1.0 / 3.0, "0.333333");
        check(999_999.96, "1000000");
        check(123_456_789.0, "123456789");
        check(1e-7, "1e-7");
        check(1e300, "1e300");
        check(0.1 + 0.2, "0.3");
    }

    #[test]
    fn every_kind_of_value_is_fit_for_file_names() {
        let space = granule_granular::space();
        let mut values: Vec<Value> =
            space.parameters().iter().map(|parameter| parameter.default.clone()).collect();
        values.push(Value::Numbers(Vec::new()));
        values.push(Value::Factor(CellFactor::Gamma { mean: 0.4, sd: 0.07, seed: 1 }));
        for value in values {
            let name = in_name(&value);
            assert_eq!(crate::check_condition_name(space, &format!("x{name}")), Ok(()), "{name}");
        }
    }
}
