//! Filters choose conditions by values of their parameters, as on a command line: `PATH=VALUE`.
//!
//! A value is written as in a sweep file, with its unit.

use granule_engine::space::{CellFactor, Kind, Parameter, Space, Value, Values};

use crate::diagnostics::Problems;
use crate::examples;
use crate::suggest;
use crate::text::{Span, quote};
use crate::value::value;
use crate::yaml::{self, Node};

/// The signs of comparison, the longer ones first.
const COMPARISONS: [(&str, Comparison); 5] = [
    ("<=", Comparison::AtMost),
    (">=", Comparison::AtLeast),
    ("=", Comparison::Equal),
    ("<", Comparison::Below),
    (">", Comparison::Above),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    Below,
    Above,
    AtMost,
    AtLeast,
}

/// A parameter, and the values of it that are wanted.
#[derive(Clone, Debug)]
pub struct Filter {
    parameter: &'static Parameter,
    comparison: Comparison,
    wanted: Value,
    text: String,
}

impl Filter {
    /// Reads `PATH=VALUE`, or one of `<`, `>`, `<=` and `>=` in place of `=`.
    ///
    /// # Errors
    /// The problem and a remedy, in one line.
    pub fn parse(space: &'static Space, text: &str) -> Result<Filter, String> {
        let wrong = |what: String| format!("{what}; write it like {}", examples::comparisons(space));
        let Some(at) = text.find(['<', '>', '=']) else {
            return Err(wrong(format!("{} has no operator and value", quote(text))));
        };
        let (path, rest) = (text[..at].trim(), &text[at..]);
        let found = COMPARISONS.iter().find_map(|(sign, of)| Some((rest.strip_prefix(sign)?.trim(), *of)));
        let (wanted, comparison) = found.expect("it begins with one of the signs");
        let Some(parameter) = space.parameter(path) else {
            let help = match suggest::nearest_path(
                path,
                space.parameters().iter().map(|parameter| parameter.path),
            ) {
                Some(nearest) => format!("did you mean `{nearest}`?"),
                None => "docs/parameters.md lists all".to_owned(),
            };
            return Err(format!("unknown parameter {}; {help}", quote(path)));
        };
        let wanted = read(space, parameter, wanted)?;
        let filter = Filter { parameter, comparison, wanted, text: text.trim().to_owned() };
        let is_ordered = matches!(parameter.kind, Kind::Quantity(_) | Kind::Count | Kind::Factor);
        if comparison != Comparison::Equal && !(is_ordered && number(&filter.wanted).is_some()) {
            return Err(format!("values of `{path}` have no order; compare them with `=`"));
        }
        Ok(filter)
    }

    /// Reads several filters, separated by commas.
    ///
    /// # Errors
    /// The errors of [`Self::parse`].
    ///
    /// ```
    /// use granule_sweep::Filter;
    ///
    /// let space = granule_granular::space();
    /// let filters = Filter::parse_all(space, "granule.tonic_factor<=0.5, golgi.leak_reversal=-53 mV").unwrap();
    /// assert_eq!(filters.len(), 2);
    /// ```
    pub fn parse_all(space: &'static Space, text: &str) -> Result<Vec<Filter>, String> {
        // A comma within brackets belongs to a list.
        let mut depth = 0_usize;
        text.split(|c| {
            match c {
                '[' | '{' => depth += 1,
                ']' | '}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            c == ',' && depth == 0
        })
        .map(|text| Filter::parse(space, text))
        .collect()
    }

    /// Returns the path of the parameter.
    #[must_use]
    pub fn path(&self) -> &'static str {
        self.parameter.path
    }

    /// Returns the filter as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns whether the parameter has one of the wanted values.
    #[must_use]
    pub fn holds(&self, values: &Values) -> bool {
        let found = values.of(self.parameter);
        if self.comparison == Comparison::Equal {
            return *found == self.wanted;
        }
        let Some((found, wanted)) = number(found).zip(number(&self.wanted)) else { return false };
        match self.comparison {
            Comparison::Equal => found == wanted,
            Comparison::Below => found < wanted,
            Comparison::Above => found > wanted,
            Comparison::AtMost => found <= wanted,
            Comparison::AtLeast => found >= wanted,
        }
    }

    /// Returns the parameter's value among these, as written in a sweep file.
    #[must_use]
    pub fn value_of(&self, values: &Values) -> String {
        let value = values.of(self.parameter);
        match self.parameter.kind {
            Kind::Quantity(unit) => format!("{value} {}", unit.symbol()).trim_end().to_owned(),
            Kind::Quantities(unit) => format!("{value} ({})", unit.symbol()),
            _ => value.to_string(),
        }
    }
}

/// Reads a value of a parameter.
fn read(space: &'static Space, parameter: &Parameter, text: &str) -> Result<Value, String> {
    let told = |problems: Problems<'_>| {
        let diagnostics = problems.finish("")?;
        let first = diagnostics.listed().first()?;
        Some(format!("{}; {}", first.message(), first.help()))
    };
    let mut problems = Problems::of(space, text);
    let node = if text.starts_with(['[', '{']) {
        yaml::load(space.into(), text)
    } else {
        let value = yaml::Content::Scalar { text: text.to_owned(), quoted: false };
        Ok(Node { span: Span { start: 0, end: text.len() }, value })
    };
    let read = match node {
        Ok(node) => value(parameter, &node, &mut problems),
        Err(problem) => {
            problems.add(|| problem);
            None
        }
    };
    match told(problems) {
        None => Ok(read.expect("a value that cannot be read is reported")),
        Some(problem) => Err(problem),
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) | Value::Factor(CellFactor::Constant(number)) => Some(*number),
        Value::Count(count) => Some(f64::from(*count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use granule_granular::{Parameters, space};

    use super::*;

    fn holds(text: &str) -> bool {
        Filter::parse(space(), text).expect("a filter").holds(&space().defaults())
    }

    #[test]
    fn values_are_compared_in_any_unit() {
        let at = Parameters::default().golgi.leak_reversal_mvolt;
        let volts = at / 1000.0;
        for text in [
            format!("golgi.leak_reversal={at} mV"),
            format!("golgi.leak_reversal = {volts} V"),
            format!("golgi.leak_reversal<={at} mV"),
            format!("golgi.leak_reversal>={at}mV"),
            format!("golgi.leak_reversal>{} mV", at - 1.0),
            format!("golgi.leak_reversal<{} mV", at + 1.0),
        ] {
            assert!(holds(&text), "{text}");
        }
        for text in [
            format!("golgi.leak_reversal={} mV", at + 0.5),
            format!("golgi.leak_reversal<{at} mV"),
            format!("golgi.leak_reversal>{at} mV"),
        ] {
            assert!(!holds(&text), "{text}");
        }
        assert!(holds("granule.tonic_factor=1") && !holds("granule.tonic_factor<1"));
    }

    #[test]
    fn a_list_has_commas_of_its_own() {
        let all = Filter::parse_all(space(), "stimulus.times=[1000 ms, 1010 ms],granule.tonic_factor>0.5");
        let paths: Vec<&str> = all.expect("two filters").iter().map(Filter::path).collect();
        assert_eq!(paths, ["stimulus.times", "granule.tonic_factor"]);
    }

    #[test]
    fn what_is_no_filter_is_refused_with_what_to_write() {
        for (text, why) in [
            ("", "has no operator and value; write it like `granule.tonic_factor=1`"),
            ("granule.tonic_factor", "`granule.tonic_factor` has no operator and value"),
            ("granule.tonic_facto=1", "did you mean `granule.tonic_factor`?"),
            ("=1", "unknown parameter ``"),
            ("golgi.leak_reversal=-53", "`golgi.leak_reversal` needs a unit; write `-53 mV`"),
            ("granule.tonic_factor=", "must be a number, not ``"),
            ("granule.tonic_factor==1", "must be a number, not `=1`"),
            ("stimulus.times=[1000 ms", "not valid YAML"),
            ("stimulus.times<[1000 ms]", "values of `stimulus.times` have no order; compare them with `=`"),
            ("weights.random>true", "values of `weights.random` have no order"),
        ] {
            let error = Filter::parse(space(), text).expect_err(text);
            assert!(error.contains(why) && !error.contains('\n'), "{text}: {error}");
        }
    }
}
