//! Environment variables that override the sweep file.

use std::ffi::{OsStr, OsString};

use granule_engine::space::{Space, Target, Value, Values, Variable};

use crate::limits::MOST_TRIALS;
use crate::text::one_line;
use crate::value::count_range;

/// Values that override those of a sweep file. The default overrides nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides {
    /// Variable, path of the parameter that it sets, and a value that the parameter can take.
    parameters: Vec<(&'static str, &'static str, Value)>,
    pub(crate) trials: Option<u32>,
    pub(crate) seed: Option<u32>,
}

impl Overrides {
    /// Returns whether a parameter is overridden.
    pub(crate) fn sets(&self, path: &str) -> bool {
        self.parameters.iter().any(|(_, of, _)| *of == path)
    }

    /// Applies the values to those from which all conditions start. Parameters of another space are left out.
    pub(crate) fn apply(&self, mut values: Values) -> Values {
        for (_, path, value) in &self.parameters {
            if let Some(parameter) = values.space().parameter(path) {
                let taken = values.set(parameter, value.clone());
                debug_assert_eq!(taken, Ok(()));
            }
        }
        values
    }

    /// Returns all variables of a space, each with a value that gives the same override. A variable without a value
    /// overrides nothing and must not be set.
    pub fn variables(&self, space: &'static Space) -> Vec<(&'static str, Option<String>)> {
        let parameter = |variable: &str| {
            let (_, _, value) = self.parameters.iter().find(|(name, _, _)| *name == variable)?;
            Some(match value {
                Value::Flag(is_on) => if *is_on { "true" } else { "" }.to_owned(),
                value => value.to_string(),
            })
        };
        let number = |variable: &Variable| {
            let value = match variable.target {
                Target::Count(_) | Target::Flag(_) => parameter(variable.name),
                Target::Trials => self.trials.map(|trials| trials.to_string()),
                Target::Seed => self.seed.map(|seed| seed.to_string()),
            };
            (variable.name, value)
        };
        in_order(space).map(number).collect()
    }

    /// Returns the variables that set parameters.
    pub(crate) fn parameter_variables(&self) -> Vec<&'static str> {
        self.parameters.iter().map(|(variable, _, _)| *variable).collect()
    }
}

/// Returns the variables of a space in the order in which they are read: flags after numbers.
fn in_order(space: &'static Space) -> impl Iterator<Item = &'static Variable> {
    let is_flag = |variable: &&Variable| matches!(variable.target, Target::Flag(_));
    let numbers = space.variables().iter().filter(move |variable| !is_flag(variable));
    numbers.chain(space.variables().iter().filter(is_flag))
}

/// The reason why an environment variable cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvironmentError {
    /// It is set to the empty text.
    #[error("{variable} is empty; unset it, or set it to a whole number between {least} and {most}")]
    Empty {
        /// Its name.
        variable: &'static str,
        /// The smallest valid number.
        least: u32,
        /// The largest valid number.
        most: u32,
    },
    /// It is not a whole number, or too small or too large.
    #[error("{variable} must be a whole number between {least} and {most}, not `{value}`")]
    Unusable {
        /// Its name.
        variable: &'static str,
        /// Its value, with control characters escaped.
        value: String,
        /// The smallest valid number.
        least: u32,
        /// The largest valid number.
        most: u32,
    },
}

/// Reads the variables of a space through `get`, which returns the value of a variable that is set.
///
/// Also returns a line about each variable found, to print to the user. For a flag, every value except the empty one
/// means true, including `False`.
///
/// # Errors
/// The first variable whose value cannot be used.
pub fn from_variables(
    space: &'static Space,
    get: impl Fn(&str) -> Option<OsString>,
) -> Result<(Overrides, Vec<String>), EnvironmentError> {
    let mut overrides = Overrides::default();
    let mut notices = Vec::new();
    for &Variable { name: variable, target, remark } in in_order(space) {
        let Some(value) = get(variable) else { continue };
        let whole = |least, most| number(variable, &value, least, most);
        let notice = match target {
            Target::Count(path) => {
                let range = space.parameter(path).map(|parameter| count_range(parameter.range));
                let (least, most) = range.unwrap_or((0, u32::MAX));
                let number = whole(least, most)?;
                overrides.parameters.push((variable, path, Value::Count(number)));
                format!("{variable}={number} overrides {path}")
            }
            Target::Trials => {
                let number = whole(1, MOST_TRIALS)?;
                overrides.trials = Some(number);
                format!("{variable}={number} overrides trials")
            }
            Target::Seed => {
                let number = whole(0, u32::MAX)?;
                overrides.seed = Some(number);
                format!("{variable}={number} overrides seeds")
            }
            Target::Flag(path) => {
                let is_on = !value.is_empty();
                overrides.parameters.push((variable, path, Value::Flag(is_on)));
                let value = one_line(&value.to_string_lossy());
                let looks_off =
                    ["false", "0", "no", "off"].contains(&value.trim().to_ascii_lowercase().as_str());
                let remark =
                    if looks_off && !remark.is_empty() { format!("; {remark}") } else { String::new() };
                format!("{variable}={value} sets {path} to {is_on}{remark}")
            }
        };
        notices.push(notice);
    }
    Ok((overrides, notices))
}

fn number(variable: &'static str, value: &OsStr, least: u32, most: u32) -> Result<u32, EnvironmentError> {
    if value.is_empty() {
        return Err(EnvironmentError::Empty { variable, least, most });
    }
    // Only digits: `parse` alone would also accept a sign.
    let digits = value.to_str().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    match digits.and_then(|digits| digits.parse().ok()) {
        Some(number) if (least..=most).contains(&number) => Ok(number),
        _ => {
            let value = one_line(&value.to_string_lossy());
            Err(EnvironmentError::Unusable { variable, value, least, most })
        }
    }
}

#[cfg(test)]
mod tests {
    use granule_granular::{Parameters, space};

    use super::*;

    fn read(set: &[(&str, &str)]) -> Result<(Overrides, Vec<String>), EnvironmentError> {
        from_variables(space(), |name| set.iter().find(|(n, _)| *n == name).map(|(_, value)| value.into()))
    }

    #[test]
    fn every_variable_has_its_place() {
        let (overrides, notices) = read(&[
            ("CHAT_NUM_MF", "78"),
            ("CHAT_NUM_GRC", "1024"),
            ("CHAT_NUM_GOC", "7"),
            ("CHAT_NUM_TRIAL", "10"),
            ("CHAT_RANDOM_WEIGHTS", ""),
            ("CHAT_SEED_TRIAL", "4294967295"),
            ("CHAT_SEED_WEIGHT_MEANS", "0"),
            ("CHAT_SOMETHING_ELSE", "x"),
        ])
        .unwrap();
        let parameters = Parameters::of(&overrides.apply(space().defaults()));
        let network = parameters.network;
        assert_eq!((network.mossy_fibers, network.granule_cells, network.golgi_cells), (78, 1024, 7));
        assert_eq!((parameters.weights.random, parameters.weights.seed), (false, 0));
        assert_eq!((overrides.trials, overrides.seed), (Some(10), Some(u32::MAX)));
        assert_eq!(
            notices,
            [
                "CHAT_NUM_MF=78 overrides network.mossy_fibers",
                "CHAT_NUM_GRC=1024 overrides network.granule_cells",
                "CHAT_NUM_GOC=7 overrides network.golgi_cells",
                "CHAT_SEED_WEIGHT_MEANS=0 overrides weights.seed",
                "CHAT_NUM_TRIAL=10 overrides trials",
                "CHAT_SEED_TRIAL=4294967295 overrides seeds",
                "CHAT_RANDOM_WEIGHTS= sets weights.random to false",
            ]
        );
        assert_eq!(read(&[]), Ok((Overrides::default(), Vec::new())));
    }

    #[test]
    fn random_weights_are_on_for_any_value() {
        let check = |value: &str, notice: &str| {
            let (overrides, notices) = read(&[("CHAT_RANDOM_WEIGHTS", value)]).unwrap();
            assert!(Parameters::of(&overrides.apply(space().defaults())).weights.random);
            assert_eq!(notices, [notice]);
        };
        check("1", "CHAT_RANDOM_WEIGHTS=1 sets weights.random to true");
        check("\u{1b}c", "CHAT_RANDOM_WEIGHTS=\\u{1b}c sets weights.random to true");
        for no in ["False", "0", "NO", "off", " false "] {
            let notice = format!(
                "CHAT_RANDOM_WEIGHTS={no} sets weights.random to true; the original program takes any \
                 non-empty value as true; use an empty value to turn random weights off"
            );
            check(no, &notice);
        }
    }

    #[test]
    fn what_is_no_number_in_range_is_an_error() {
        let check = |variable: &str, value: &str, message: &str| {
            assert_eq!(read(&[(variable, value)]).unwrap_err().to_string(), message);
        };
        let trials = "CHAT_NUM_TRIAL must be a whole number between 1 and 1000000, not";
        check("CHAT_NUM_TRIAL", "ten", &format!("{trials} `ten`"));
        check("CHAT_NUM_TRIAL", "0", &format!("{trials} `0`"));
        check("CHAT_NUM_TRIAL", "-5", &format!("{trials} `-5`"));
        check("CHAT_NUM_TRIAL", "+5", &format!("{trials} `+5`"));
        check("CHAT_NUM_TRIAL", "2.5", &format!("{trials} `2.5`"));
        check("CHAT_NUM_TRIAL", " 5", &format!("{trials} ` 5`"));
        check("CHAT_NUM_TRIAL", "1000001", &format!("{trials} `1000001`"));
        check("CHAT_NUM_TRIAL", "5\u{1b}[2J\n", &format!("{trials} `5\\u{{1b}}[2J\\u{{a}}`"));
        check(
            "CHAT_NUM_TRIAL",
            "",
            "CHAT_NUM_TRIAL is empty; unset it, or set it to a whole number between 1 and 1000000",
        );
        check("CHAT_NUM_GOC", "0", "CHAT_NUM_GOC must be a whole number between 1 and 1000000, not `0`");
        check(
            "CHAT_SEED_TRIAL",
            "4294967296",
            "CHAT_SEED_TRIAL must be a whole number between 0 and 4294967295, not `4294967296`",
        );
    }

    #[cfg(unix)]
    #[test]
    fn bytes_that_are_no_text_are_an_error() {
        use std::os::unix::ffi::OsStringExt;
        let error = from_variables(space(), |name| {
            (name == "CHAT_NUM_MF").then(|| OsString::from_vec(vec![b'7', 0xff]))
        });
        assert_eq!(
            error.unwrap_err().to_string(),
            "CHAT_NUM_MF must be a whole number between 1 and 1000000, not `7�`"
        );
    }
}
