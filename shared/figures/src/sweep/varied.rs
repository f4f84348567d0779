//! Parameters that differ between conditions, as columns of tables.

use std::collections::BTreeSet;

use granule_engine::Model;
use granule_engine::space::{CellFactor, Kind, Parameter, Space, Value};

use super::show::words;

/// A column that distinguishes conditions: a parameter that differs between them.
#[derive(Clone, Debug)]
pub struct Varied {
    /// The parameter.
    pub parameter: &'static Parameter,
    /// Name of the column: the path with `_` for `.`, and the unit.
    pub name: String,
    /// The part of the value that the column has.
    part: Part,
    /// All parameters of the engine.
    space: &'static Space,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// The value, or the mean of a distribution.
    Value,
    /// The standard deviation of a distribution; 0 for a constant.
    Spread,
}

/// A value of such a column.
#[derive(Clone, Debug, PartialEq)]
pub enum VariedValue {
    /// A number, in the unit of the column's name.
    Number(f64),
    /// A choice, a flag or a list, as sweep files write it.
    Text(String),
}

impl Varied {
    /// Whether the values are numbers.
    pub fn is_number(&self) -> bool {
        matches!(self.parameter.kind, Kind::Quantity(_) | Kind::Count | Kind::Factor)
    }

    /// Returns words for the column, without the unit.
    pub fn words(&self) -> String {
        match self.part {
            Part::Value => words(self.space, self.parameter),
            Part::Spread => format!("{}, sd", words(self.space, self.parameter)),
        }
    }

    /// Returns the value of a condition with this model.
    pub fn value(&self, model: &Model) -> VariedValue {
        let of_factor =
            |mean: f64, sd: f64| VariedValue::Number(if self.part == Part::Value { mean } else { sd });
        match model.values().of(self.parameter) {
            Value::Number(x) => VariedValue::Number(*x),
            Value::Count(n) => VariedValue::Number(f64::from(*n)),
            Value::Factor(CellFactor::Constant(x)) => of_factor(*x, 0.0),
            Value::Factor(CellFactor::Gamma { mean, sd, .. }) => of_factor(*mean, *sd),
            value => VariedValue::Text(value.to_string()),
        }
    }

    /// Returns the number of a condition with this model.
    pub fn number(&self, model: &Model) -> Option<f64> {
        match self.value(model) {
            VariedValue::Number(x) => Some(x),
            VariedValue::Text(_) => None,
        }
    }
}

/// Returns a column for each parameter that differs between these models, which are of one engine. A parameter with
/// distributions has a second column for their standard deviations.
pub fn varied<'a>(models: impl Iterator<Item = &'a Model> + Clone) -> Vec<Varied> {
    let Some(first) = models.clone().next() else { return Vec::new() };
    let space = first.values().space();
    let mut columns = Vec::new();
    for parameter in space.parameters() {
        let values = || models.clone().map(|model| model.values().of(parameter));
        if values().all(|value| value == first.values().of(parameter)) {
            continue;
        }
        let name = format!("{}{}", parameter.path.replace('.', "_"), suffix(parameter.unit()));
        let has_spread = values().any(|value| matches!(value, Value::Factor(CellFactor::Gamma { .. })));
        let spread =
            has_spread.then(|| Varied { parameter, name: format!("{name}_sd"), part: Part::Spread, space });
        columns.push(Varied { parameter, name, part: Part::Value, space });
        columns.extend(spread);
    }
    columns
}

/// Returns the name of a column, changed as long as it is taken.
pub fn free(mut name: String, taken: &BTreeSet<String>) -> String {
    while taken.contains(&name) {
        name.push_str("_set");
    }
    name
}

/// Returns the end of a column's name for a unit: letters, digits and `_`.
fn suffix(unit: &str) -> String {
    if unit.is_empty() {
        return String::new();
    }
    let mut name = "_".to_owned();
    for c in unit.chars() {
        match c {
            '/' => name.push_str("_per_"),
            'µ' | 'μ' => name.push('u'),
            'Ω' => name.push_str("ohm"),
            '²' => name.push('2'),
            '³' => name.push('3'),
            '%' => name.push_str("percent"),
            c if c.is_ascii_alphanumeric() => name.push(c),
            _ => name.push('_'),
        }
    }
    name
}

#[cfg(test)]
mod tests;
