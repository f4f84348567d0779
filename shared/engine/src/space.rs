//! Parameters of a model as data: path, kind, unit, range, default and meaning of each, and values for all of them.
//!
//! Sweep files, content hashes, the wire and the manifest use a [`Space`], so that each parameter is described in one
//! place.

use std::fmt;
use std::sync::Arc;

use crate::hash::Hash;
use crate::key::SpaceKey;

/// All parameters of a model, and the other settings that a sweep file of this model may contain.
#[derive(Debug, PartialEq)]
pub struct Space {
    parameters: Vec<Parameter>,
    presets: Vec<Preset>,
    variables: Vec<Variable>,
    sharing: Option<Sharing>,
    reserved: Option<Reserved>,
    words: Words,
}

/// A parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Dotted path, the parameter's one name everywhere.
    pub path: &'static str,
    /// The kind of value that it takes.
    pub kind: Kind,
    /// The values it may take.
    pub range: Range,
    /// Meaning, in one line.
    pub meaning: &'static str,
    /// The value if a sweep file does not set the parameter.
    pub default: Value,
    /// The value that applied before this parameter existed; `None` for parameters of the first version.
    pub before: Option<Value>,
    /// Index in the space.
    place: usize,
}

/// A named condition that every sweep file can use: values that differ from the defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct Preset {
    /// Name in sweep files.
    pub name: &'static str,
    /// First part of the names of its output files.
    pub prefix: &'static str,
    /// Path and value of each parameter that differs.
    pub overrides: Vec<(&'static str, Value)>,
}

/// An environment variable that overrides the sweep file.
#[derive(Clone, Debug, PartialEq)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// The setting that it overrides.
    pub target: Target,
    /// Text printed if the variable switches a flag on by a value that looks like "off"; may be empty.
    pub remark: &'static str,
}

/// The setting that an environment variable overrides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A whole number: the parameter of this path.
    Count(&'static str),
    /// The flag of this path: on for any value but the empty one.
    Flag(&'static str),
    /// The number of trials.
    Trials,
    /// The one seed.
    Seed,
}

/// The choice whether the conditions of a seed share their random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sharing {
    /// Group of parameters with the key `sharing`. The group itself may also be given as `independent`.
    pub group: &'static str,
    /// Path of the parameter that numbers the random streams of conditions.
    pub stream: &'static str,
}

/// Names that no condition can have, because its output files could then have the names of other output files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reserved {
    /// Start of these names, in lower case.
    pub start: &'static str,
    /// The things whose names begin with `start`.
    pub of: &'static str,
}

/// Words for a model in messages and descriptions that do not follow from its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Words {
    /// The model, with its article.
    pub model: &'static str,
    /// The thing that each seed stands for.
    pub seed: &'static str,
    /// The thing that each preset is.
    pub preset: &'static str,
    /// A word for the names of conditions in examples.
    pub name: &'static str,
    /// An example of a comparison between a parameter and a value, for command lines; may be empty.
    pub comparison: &'static str,
}

impl Default for Words {
    fn default() -> Words {
        Words {
            model: "the model",
            seed: "the random numbers of a network",
            preset: "a condition of the model",
            name: "effect",
            comparison: "",
        }
    }
}

impl Space {
    /// Makes a space of these parameters, in the order that content hashes use.
    ///
    /// # Panics
    /// If a preset has a path or a value that the parameters do not take.
    pub fn new(parameters: Vec<Parameter>) -> Space {
        let mut parameters = parameters;
        parameters.iter_mut().enumerate().for_each(|(place, parameter)| parameter.place = place);
        Space {
            parameters,
            presets: Vec::new(),
            variables: Vec::new(),
            sharing: None,
            reserved: None,
            words: Words::default(),
        }
    }

    /// Adds presets.
    #[must_use]
    pub fn with_presets(mut self, presets: Vec<Preset>) -> Space {
        self.presets = presets;
        self
    }

    /// Adds environment variables.
    #[must_use]
    pub fn with_variables(mut self, variables: Vec<Variable>) -> Space {
        self.variables = variables;
        self
    }

    /// Adds the choice of common or independent random numbers.
    #[must_use]
    pub fn with_sharing(mut self, sharing: Sharing) -> Space {
        self.sharing = Some(sharing);
        self
    }

    /// Adds names that no condition can have.
    #[must_use]
    pub fn with_reserved(mut self, reserved: Reserved) -> Space {
        self.reserved = Some(reserved);
        self
    }

    /// Sets the words for the model.
    #[must_use]
    pub fn with_words(mut self, words: Words) -> Space {
        self.words = words;
        self
    }

    /// Returns all parameters, in order.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// Returns the parameter of this path.
    pub fn parameter(&self, path: &str) -> Option<&Parameter> {
        self.parameters.iter().find(|parameter| parameter.path == path)
    }

    /// Returns the groups of parameters (the first parts of paths), in order.
    pub fn groups(&self) -> Vec<&'static str> {
        let mut groups: Vec<&str> = Vec::new();
        for (group, _) in self.parameters.iter().filter_map(|parameter| parameter.path.split_once('.')) {
            if !groups.contains(&group) {
                groups.push(group);
            }
        }
        groups
    }

    /// Returns the parameters that are in no group, in order.
    pub fn ungrouped(&self) -> impl Iterator<Item = &Parameter> {
        self.parameters.iter().filter(|parameter| !parameter.path.contains('.'))
    }

    /// Returns all presets, in order.
    pub fn presets(&self) -> &[Preset] {
        &self.presets
    }

    /// Returns the preset of this name.
    pub fn preset(&self, name: &str) -> Option<&Preset> {
        self.presets.iter().find(|preset| preset.name == name)
    }

    /// Returns the environment variables that override the sweep file.
    pub fn variables(&self) -> &[Variable] {
        &self.variables
    }

    /// Returns the choice of common or independent random numbers, if the model has one.
    pub fn sharing(&self) -> Option<Sharing> {
        self.sharing
    }

    /// Returns the names that no condition can have, if any.
    pub fn reserved(&self) -> Option<Reserved> {
        self.reserved
    }

    /// Returns the words for the model.
    pub fn words(&self) -> Words {
        self.words
    }

    /// Returns the defaults of all parameters.
    pub fn defaults(&'static self) -> Values {
        Values { space: self, changes: Arc::default() }
    }

    /// Returns the identity of the space. Programs whose spaces have equal keys interpret values alike.
    pub fn key(&self) -> SpaceKey {
        let mut hash = Hash::plain("granule space");
        for Parameter { path, kind, range, default, before, .. } in &self.parameters {
            hash.text(path);
            hash.text(&format!("{kind:?} {range:?}"));
            hash.value(default);
            hash.number(u32::from(before.is_some()));
            before.iter().for_each(|before| hash.value(before));
        }
        SpaceKey(hash.finish())
    }
}

impl Parameter {
    /// Makes a parameter that every version has had.
    pub fn new(
        path: &'static str,
        kind: Kind,
        range: Range,
        default: Value,
        meaning: &'static str,
    ) -> Parameter {
        Parameter { path, kind, range, meaning, default, before: None, place: 0 }
    }

    /// Whether this is the value that applied before the parameter existed.
    pub fn is_as_before(&self, value: &Value) -> bool {
        self.before.as_ref().is_some_and(|before| before.is_same(value))
    }

    /// Marks the parameter as added later. Before, `before` applied; conditions with this value keep their keys.
    #[must_use]
    pub fn added_with(mut self, before: Value) -> Parameter {
        self.before = Some(before);
        self
    }

    /// Returns the symbol of its unit; empty if it has none.
    pub fn unit(&self) -> &'static str {
        match self.kind {
            Kind::Quantity(unit) | Kind::Quantities(unit) => unit.symbol(),
            _ => "",
        }
    }

    /// Checks that the parameter can take a value.
    ///
    /// # Errors
    /// When the value is of the wrong kind or out of range.
    pub fn check(&self, value: &Value) -> Result<(), Rejected> {
        let out_of_range =
            |range, unit, found| Err(Rejected::OutOfRange { path: self.path, range, unit, found });
        let numbers: &[f64] = match (value, self.kind) {
            (Value::Number(x), Kind::Quantity(_)) => &[*x],
            (Value::Count(n), Kind::Count) => &[f64::from(*n)],
            (Value::Numbers(list), Kind::Quantities(_)) => list,
            (Value::Factor(CellFactor::Constant(x)), Kind::Factor) => &[*x],
            (Value::Factor(CellFactor::Gamma { mean, sd, .. }), Kind::Factor) => {
                // The mean and the standard deviation of a gamma distribution are above zero.
                if let Some(&found) = [mean, sd].into_iter().find(|x| !Range::Positive.contains(**x)) {
                    return out_of_range(Range::Positive, "", found);
                }
                &[]
            }
            (Value::Flag(_), Kind::Flag) => &[],
            (Value::Choice(name), Kind::Choice(names)) if names.contains(name) => &[],
            _ => return Err(Rejected::WrongKind { path: self.path }),
        };
        match numbers.iter().find(|x| !self.range.contains(**x)) {
            Some(&found) => out_of_range(self.range, self.unit(), found),
            None => Ok(()),
        }
    }
}

/// A value for each parameter of a space. It has the size of those that differ from the defaults, because a sweep can have
/// a million conditions.
#[derive(Clone)]
pub struct Values {
    space: &'static Space,
    /// Values that were set to another than the default, with the place of their parameter, in order.
    changes: Arc<Vec<(u16, Value)>>,
}

impl Values {
    /// Returns the space of the values.
    pub fn space(&self) -> &'static Space {
        self.space
    }

    /// Returns the value of this parameter.
    ///
    /// # Panics
    /// If the parameter is of another space.
    pub fn of(&self, parameter: &Parameter) -> &Value {
        match self.change(parameter) {
            Ok(at) => &self.changes[at].1,
            Err(_) => &self.space.parameters[parameter.place].default,
        }
    }

    /// Returns the value of the parameter of this path.
    pub fn get(&self, path: &str) -> Option<&Value> {
        self.space.parameter(path).map(|parameter| self.of(parameter))
    }

    /// Iterates over all parameters with their values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&'static Parameter, &Value)> {
        self.space.parameters.iter().map(|parameter| (parameter, self.of(parameter)))
    }

    /// Sets a parameter.
    ///
    /// # Errors
    /// When the parameter cannot take the value. The values are then unchanged.
    pub fn set(&mut self, parameter: &Parameter, value: Value) -> Result<(), Rejected> {
        parameter.check(&value)?;
        if self.of(parameter).is_identical(&value) {
            return Ok(());
        }
        let found = self.change(parameter);
        let changes = Arc::make_mut(&mut self.changes);
        match found {
            Ok(at) => changes[at].1 = value,
            Err(at) => changes.insert(at, (parameter.place as u16, value)),
        }
        Ok(())
    }

    /// Returns the index of a parameter's change, or the index at which it would be.
    fn change(&self, parameter: &Parameter) -> Result<usize, usize> {
        self.changes.binary_search_by_key(&parameter.place, |(place, _)| usize::from(*place))
    }

    /// Returns the values with those of a preset.
    ///
    /// # Panics
    /// If the space does not take the values of the preset.
    #[must_use]
    pub fn with(mut self, preset: &Preset) -> Values {
        for (path, value) in &preset.overrides {
            let parameter = self.space.parameter(path).unwrap_or_else(|| panic!("no parameter `{path}`"));
            self.set(parameter, value.clone()).unwrap_or_else(|rejected| panic!("{rejected}"));
        }
        self
    }
}

impl PartialEq for Values {
    fn eq(&self, other: &Values) -> bool {
        // A value may have been set to the default again.
        std::ptr::eq(self.space, other.space) && self.iter().eq(other.iter())
    }
}

impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(parameter, value)| (parameter.path, value))).finish()
    }
}

/// The unit of a quantity's value. Sweep files may use any prefix of the same dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A bare number.
    One,
    /// Milliseconds.
    Millisecond,
    /// Millivolts.
    Millivolt,
    /// Nanosiemens.
    Nanosiemens,
    /// Picofarads.
    Picofarad,
    /// Another unit, by its symbol with its prefix: `uA`, `Hz`, `s`. The language of sweep files defines the symbols. A
    /// unit with a variant of its own is never written as this one.
    Other(&'static str),
}

impl Unit {
    /// Returns the symbol as written in sweep files; empty for a bare number.
    pub fn symbol(self) -> &'static str {
        match self {
            Unit::One => "",
            Unit::Millisecond => "ms",
            Unit::Millivolt => "mV",
            Unit::Nanosiemens => "nS",
            Unit::Picofarad => "pF",
            Unit::Other(symbol) => symbol,
        }
    }
}

/// A factor with a separate value for each cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CellFactor {
    /// The same for every cell.
    Constant(f64),
    /// One draw per cell, in order of the cells, from a gamma distribution.
    Gamma {
        /// Mean of the distribution.
        mean: f64,
        /// Standard deviation of the distribution.
        sd: f64,
        /// Seed of a generator that is used for these draws only.
        seed: u32,
    },
}

/// A value of a parameter, in the unit that its [`Kind`] states.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A quantity, in the parameter's unit.
    Number(f64),
    /// A whole number.
    Count(u32),
    /// True or false.
    Flag(bool),
    /// Several quantities, in the parameter's unit. Their order does not count.
    Numbers(Vec<f64>),
    /// A factor per cell.
    Factor(CellFactor),
    /// One of several names.
    Choice(&'static str),
}

impl Value {
    /// Returns whether both values have the same bits, so that also 0 and −0 differ. May return false for equal
    /// distributions.
    pub fn is_identical(&self, other: &Value) -> bool {
        let same = |a: &f64, b: &f64| a.to_bits() == b.to_bits();
        match (self, other) {
            (Value::Number(a), Value::Number(b)) => same(a, b),
            (Value::Numbers(a), Value::Numbers(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
            }
            (Value::Factor(CellFactor::Constant(a)), Value::Factor(CellFactor::Constant(b))) => same(a, b),
            (Value::Factor(_), Value::Factor(_)) => false,
            (a, b) => a == b,
        }
    }

    /// Returns whether both values mean the same: lists of numbers are compared without their order.
    pub fn is_same(&self, other: &Value) -> bool {
        let sorted = |list: &[f64]| {
            let mut list = list.to_vec();
            list.sort_by(f64::total_cmp);
            list
        };
        match (self, other) {
            (Value::Numbers(a), Value::Numbers(b)) => sorted(a) == sorted(b),
            (a, b) => a == b,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Number(x) => write!(f, "{x}"),
            Value::Count(n) => write!(f, "{n}"),
            Value::Flag(b) => write!(f, "{b}"),
            Value::Numbers(list) => {
                let list: Vec<String> = list.iter().map(f64::to_string).collect();
                write!(f, "[{}]", list.join(", "))
            }
            Value::Factor(CellFactor::Constant(x)) => write!(f, "{x}"),
            Value::Factor(CellFactor::Gamma { mean, sd, seed }) => {
                write!(f, "gamma(mean: {mean}, sd: {sd}, seed: {seed})")
            }
            Value::Choice(name) => f.write_str(name),
        }
    }
}

/// The kind of [`Value`] that a parameter takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// [`Value::Number`] in this unit.
    Quantity(Unit),
    /// [`Value::Count`].
    Count,
    /// [`Value::Flag`].
    Flag,
    /// [`Value::Numbers`] in this unit.
    Quantities(Unit),
    /// [`Value::Factor`].
    Factor,
    /// [`Value::Choice`], one of these.
    Choice(&'static [&'static str]),
}

/// The values that a quantity or a count may take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Range {
    /// Any finite number.
    Finite,
    /// Finite and above zero.
    Positive,
    /// Finite and not below zero.
    NonNegative,
    /// From the first to the second number, both included.
    Between(f64, f64),
}

impl Range {
    /// Returns whether the range includes a number.
    pub fn contains(self, x: f64) -> bool {
        x.is_finite()
            && match self {
                Range::Finite => true,
                Range::Positive => x > 0.0,
                Range::NonNegative => x >= 0.0,
                Range::Between(low, high) => (low..=high).contains(&x),
            }
    }

    /// Returns the range as words for messages, with the symbol of its unit.
    pub fn in_words(self, unit: &str) -> String {
        let unit = if unit.is_empty() { String::new() } else { format!(" {unit}") };
        match self {
            Range::Finite => "a finite number".to_owned(),
            Range::Positive => format!("above 0{unit}"),
            Range::NonNegative => format!("0{unit} or above"),
            Range::Between(low, high) => format!("between {low} and {high}{unit}"),
        }
    }
}

/// The reason why a parameter cannot take a value.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Rejected {
    /// The value is of another kind than the parameter.
    #[error("`{path}` cannot take this kind of value")]
    WrongKind {
        /// The parameter's path.
        path: &'static str,
    },
    /// The value lies outside the parameter's range.
    #[error("`{path}` must be {}, not {}", range.in_words(unit), in_short(*found))]
    OutOfRange {
        /// The parameter's path.
        path: &'static str,
        /// The values that it can take.
        range: Range,
        /// Symbol of the parameter's unit.
        unit: &'static str,
        /// The rejected value.
        found: f64,
    },
}

/// Formats a number for messages: with an exponent if it has many digits before the point.
pub fn in_short(x: f64) -> String {
    if x.abs() < 1e15 { x.to_string() } else { format!("{x:e}") }
}

impl Hash {
    /// Adds a value with its kind.
    pub fn value(&mut self, value: &Value) {
        match value {
            Value::Number(x) => {
                self.number(0);
                self.float(*x);
            }
            Value::Count(n) => {
                self.number(1);
                self.number(*n);
            }
            Value::Flag(flag) => {
                self.number(2);
                self.number(u32::from(*flag));
            }
            Value::Numbers(list) => {
                // A list of numbers is a set: its order is not part of the hash.
                let mut sorted = list.clone();
                sorted.sort_by(f64::total_cmp);
                self.number(3);
                self.number(sorted.len() as u32);
                sorted.into_iter().for_each(|x| self.float(x));
            }
            Value::Factor(CellFactor::Constant(x)) => {
                self.number(4);
                self.float(*x);
            }
            Value::Factor(CellFactor::Gamma { mean, sd, seed }) => {
                self.number(5);
                self.float(*mean);
                self.float(*sd);
                self.number(*seed);
            }
            Value::Choice(name) => {
                self.number(6);
                self.text(name);
            }
        }
    }

    /// Adds the parameters for which `is_part` is true, each with its path. A parameter that was added to the model
    /// later is skipped if it has the value that applied before it existed. Adding a parameter therefore changes no
    /// key.
    pub fn values(&mut self, values: &Values, mut is_part: impl FnMut(&str) -> bool) {
        for (parameter, value) in values.iter() {
            if !parameter.is_as_before(value) && is_part(parameter.path) {
                self.text(parameter.path);
                self.value(value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(more: Vec<Parameter>) -> &'static Space {
        let parameters = vec![
            Parameter::new(
                "cell.capacitance",
                Kind::Quantity(Unit::Picofarad),
                Range::Positive,
                Value::Number(3.1),
                "",
            ),
            Parameter::new("cell.count", Kind::Count, Range::Between(1.0, 10.0), Value::Count(4), ""),
            Parameter::new(
                "cell.factor",
                Kind::Factor,
                Range::NonNegative,
                Value::Factor(CellFactor::Constant(1.0)),
                "",
            ),
            Parameter::new(
                "input.times",
                Kind::Quantities(Unit::Millisecond),
                Range::NonNegative,
                Value::Numbers(vec![]),
                "",
            ),
            Parameter::new("order", Kind::Choice(&["a", "b"]), Range::Finite, Value::Choice("a"), ""),
        ];
        Box::leak(Box::new(Space::new(parameters.into_iter().chain(more).collect())))
    }

    #[test]
    fn values_are_those_that_were_set_or_defaults() {
        let space = space(Vec::new());
        let [count, factor, order] =
            ["cell.count", "cell.factor", "order"].map(|path| space.parameter(path).expect("a parameter"));
        let mut values = space.defaults();
        let before = values.clone();
        values.set(order, Value::Choice("b")).expect("a choice");
        values.set(count, Value::Count(7)).expect("in range");
        let found: Vec<&Value> = values.iter().map(|(_, value)| value).collect();
        let of = |path| before.get(path).expect("a parameter");
        let (capacitance, factors, times) = (of("cell.capacitance"), of("cell.factor"), of("input.times"));
        assert_eq!(found, [capacitance, &Value::Count(7), factors, times, &Value::Choice("b")]);
        assert_ne!(values, before);
        assert_eq!((values.of(count), before.of(count)), (&Value::Count(7), &Value::Count(4)));
        values.set(order, Value::Choice("a")).expect("a choice");
        values.set(count, Value::Count(11)).expect_err("out of range");
        values.set(count, Value::Count(4)).expect("in range");
        assert_eq!(values, before);
        // The sign of 0 is in the text of a manifest.
        for zero in [0.0, -0.0, 0.0_f64] {
            values.set(factor, Value::Factor(CellFactor::Constant(zero))).expect("in range");
            let Value::Factor(CellFactor::Constant(found)) = values.of(factor) else { panic!("{values:?}") };
            assert_eq!(found.to_bits(), zero.to_bits());
        }
    }

    #[test]
    fn values_out_of_range_or_of_the_wrong_kind_change_nothing() {
        let space = space(Vec::new());
        let check = |path: &str, value: Value, message: &str| {
            let mut values = space.defaults();
            let error = values.set(space.parameter(path).unwrap(), value).unwrap_err();
            assert_eq!(error.to_string(), message);
            assert_eq!(values, space.defaults());
        };
        check("cell.capacitance", Value::Number(0.0), "`cell.capacitance` must be above 0 pF, not 0");
        check("cell.count", Value::Count(0), "`cell.count` must be between 1 and 10, not 0");
        let gamma = CellFactor::Gamma { mean: 0.4, sd: 0.0, seed: 1 };
        check("cell.factor", Value::Factor(gamma), "`cell.factor` must be above 0, not 0");
        check("cell.count", Value::Flag(true), "`cell.count` cannot take this kind of value");
        check("order", Value::Choice("c"), "`order` cannot take this kind of value");
        check("input.times", Value::Numbers(vec![1.0, -1.0]), "`input.times` must be 0 ms or above, not -1");
    }

    #[test]
    fn a_parameter_that_is_added_later_changes_no_hash_until_it_is_set() {
        let hash = |values: &Values| {
            let mut hash = Hash::plain("test");
            hash.values(values, |_| true);
            hash.finish()
        };
        let later = || {
            let more = Parameter::new("cell.shift", Kind::Count, Range::Finite, Value::Count(0), "");
            more.added_with(Value::Count(0))
        };
        let (before, now) = (space(Vec::new()), space(vec![later()]));
        let mut values = now.defaults();
        assert_eq!(hash(&before.defaults()), hash(&values));
        values.set(now.parameter("cell.shift").unwrap(), Value::Count(1)).unwrap();
        assert_ne!(hash(&before.defaults()), hash(&values));
        assert_ne!(before.key(), now.key());
        // If the default differs from the value before, the hash includes the default.
        let other = Parameter { default: Value::Count(1), ..later() };
        assert_eq!(hash(&space(vec![other]).defaults()), hash(&values));
    }

    #[test]
    fn the_order_of_a_list_does_not_count() {
        let list = |list: &[f64]| Value::Numbers(list.to_vec());
        assert!(list(&[1.0, 2.0]).is_same(&list(&[2.0, 1.0])));
        assert!(!list(&[1.0, 2.0]).is_same(&list(&[2.0])));
    }
}
