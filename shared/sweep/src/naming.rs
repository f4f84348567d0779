//! Rules for the names of conditions and sweeps.
//!
//! The names of output files start with a name. It also appears in CSV tables, in figures and in the report. It must
//! therefore be safe in a path, and every program that reads a table must read it as text. The same functions check
//! sweep files and manifests.

use granule_engine::space::{Reserved, Space};

use crate::examples;
use crate::text::{one_line, quote};

/// Largest length of a condition's name. It starts the names of the condition's output files.
const MOST_CONDITION_CHARS: usize = 80;

/// Largest length of a sweep's name.
const MOST_SWEEP_CHARS: usize = 100;

/// Largest length of a model's name.
const MOST_MODEL_CHARS: usize = 60;

/// Cells that `pandas.read_csv` reads as missing values by default, except those that are invalid names for another
/// reason.
const MISSING: [&str; 8] = ["-NaN", "-nan", "NA", "NULL", "NaN", "None", "nan", "null"];

/// The reason why a name is rejected, in one line, and a remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct NameProblem {
    message: String,
    help: String,
    fault: Fault,
}

/// The part of a name that breaks a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Characters,
    Length,
    /// Another start makes the name valid.
    Start,
}

impl NameProblem {
    /// Returns a remedy, in one line.
    #[must_use]
    pub fn help(&self) -> &str {
        &self.help
    }

    /// Returns a remedy for the name of a point of a condition with axes.
    pub(crate) fn help_at(&self, space: &Space, point: usize) -> String {
        let what = match self.fault {
            Fault::Characters => "use only those characters around the placeholders".to_owned(),
            Fault::Length => "shorten it with `{index}`, which stands for the number of the point".to_owned(),
            Fault::Start => {
                format!("start the name with a word, as in `{}-{{index}}`", space.words().name)
            }
        };
        format!("this is the name of point {point}; {what}")
    }

    fn new(message: &str, help: &str, fault: Fault) -> NameProblem {
        NameProblem { message: one_line(message), help: one_line(help), fault }
    }

    fn of(subject: &str, UnfitName { what, fitting, fault }: UnfitName) -> NameProblem {
        NameProblem::new(&format!("{subject} {what}"), &format!("write `{fitting}`"), fault)
    }
}

/// Checks the name of a condition that is not a preset used as such.
///
/// # Errors
/// The first rule that the name breaks.
///
/// ```
/// use granule_sweep::check_condition_name;
///
/// let space = granule_granular::space();
/// assert!(check_condition_name(space, "half-tonic").is_ok());
/// let problem = check_condition_name(space, "NA").unwrap_err();
/// assert_eq!(problem.to_string(), "a condition's name cannot be `NA`: pandas reads it as a missing value");
/// assert_eq!(problem.help(), "write `condition-NA`");
/// ```
pub fn check_condition_name(space: &Space, name: &str) -> Result<(), NameProblem> {
    if let Some(unfit) = unfit_condition(space, name) {
        return Err(NameProblem::of("a condition's name", unfit));
    }
    if space.preset(name).is_some() {
        return Err(NameProblem::new(
            &format!("{} is the name of a preset", quote(name)),
            "give this condition another name",
            Fault::Start,
        ));
    }
    match space.reserved() {
        Some(Reserved { start, of }) if name.to_ascii_lowercase().starts_with(start) => {
            Err(NameProblem::new(
                &format!("a condition's name cannot start with `{start}`"),
                &format!("{of} start with it; give this condition another name"),
                Fault::Start,
            ))
        }
        _ => Ok(()),
    }
}

/// Checks the name of a sweep, which names its output directory.
///
/// # Errors
/// The first rule that the name breaks.
pub fn check_sweep_name(name: &str) -> Result<(), NameProblem> {
    unfit_sweep(name).map_or(Ok(()), |unfit| Err(NameProblem::of("a sweep's name", unfit)))
}

/// Returns the start of the names of a condition's output files. If `is_preset` (a preset used as such), it is the
/// preset's own prefix, else the name of the condition.
#[must_use]
pub fn prefix_of<'a>(space: &Space, name: &'a str, is_preset: bool) -> &'a str {
    space.preset(name).filter(|_| is_preset).map_or(name, |preset| preset.prefix)
}

/// The problem of a name, to be read after "a name", and a valid name. It is as close to the wrong name as possible,
/// else an example.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UnfitName {
    pub(crate) what: String,
    pub(crate) fitting: String,
    fault: Fault,
}

/// Returns the problem of the name of a sweep, if it has one.
pub(crate) fn unfit_sweep(name: &str) -> Option<UnfitName> {
    unfit_for_files(name, MOST_SWEEP_CHARS, || "my-sweep".to_owned())
}

/// Returns the problem of the name of a model, if it has one.
pub(crate) fn unfit_model(name: &str) -> Option<UnfitName> {
    unfit_for_files(name, MOST_MODEL_CHARS, || "my-model".to_owned())
}

fn unfit_condition(space: &Space, name: &str) -> Option<UnfitName> {
    const WORD: &str = "condition";
    let instead = |what: String| {
        Some(UnfitName { what, fitting: prefixed(WORD, name, MOST_CONDITION_CHARS), fault: Fault::Start })
    };
    if let Some(unfit) = unfit_for_files(name, MOST_CONDITION_CHARS, || examples::name(space)) {
        return Some(unfit);
    }
    if MISSING.contains(&name) {
        return instead(format!("cannot be {}: pandas reads it as a missing value", quote(name)));
    }
    if name.starts_with('-') && !is_negative_number(name) {
        return instead(format!(
            "must not start with `-` unless it is a number: spreadsheets would read {} as a formula",
            quote(name)
        ));
    }
    None
}

/// Checks characters and length.
fn unfit_for_files(name: &str, most_chars: usize, example: impl Fn() -> String) -> Option<UnfitName> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let (what, fault) = if name.is_empty() {
        ("must not be empty".to_owned(), Fault::Start)
    } else if !name.chars().all(fits) {
        let what = format!("can have letters, digits, `.`, `_` and `-` only; {} has others", quote(name));
        (what, Fault::Characters)
    } else if name.starts_with('.') {
        (format!("cannot start with a dot, as in {}", quote(name)), Fault::Start)
    } else if name.len() > most_chars {
        (format!("can have at most {most_chars} characters, not {}", name.len()), Fault::Length)
    } else {
        return None;
    };
    let fitting: String = name
        .chars()
        .map(|c| if fits(c) { c } else { '-' })
        .skip_while(|c| matches!(c, '.' | '-'))
        .take(most_chars)
        .collect();
    let is_right = fitting.contains(|c: char| c.is_ascii_alphanumeric()) && !MISSING.contains(&&*fitting);
    Some(UnfitName { what, fitting: if is_right { fitting } else { example() }, fault })
}

/// Adds a word before the name, which corrects a wrong start.
fn prefixed(word: &str, name: &str, most_chars: usize) -> String {
    format!("{word}-{}", name.trim_start_matches('-')).chars().take(most_chars).collect()
}

/// Returns whether a name is a number below 0, such as the value of an axis. Every program reads it as that number.
fn is_negative_number(name: &str) -> bool {
    let digits = name.strip_prefix('-').unwrap_or(name);
    digits.starts_with(|c: char| c.is_ascii_digit()) && digits.parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests {
    use granule_granular::space;

    use super::*;

    /// The values that pandas 3.0 documents as `na_values` of `read_csv`.
    const PANDAS: [&str; 19] = [
        "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>",
        "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null",
    ];

    #[test]
    fn every_refused_name_has_a_remedy_that_is_right() {
        let others = [
            "=HYPERLINK(\"http://x\",\"y\")",
            "=1",
            "+1",
            "@x",
            "-x",
            "-53--54",
            "-inf",
            "-",
            "--",
            "-.",
            "-1-",
            ".x",
            "../../x",
            "a/b",
            "a b",
            "脳",
            "\u{1b}[31m",
            "/nan",
            ".NA",
            "+None",
            "{index}",
        ];
        let too_long = ["x".repeat(81), "\n".repeat(500)];
        let all = PANDAS.iter().chain(&others).copied().chain(too_long.iter().map(String::as_str));
        for name in all {
            let problem = check_condition_name(space(), name).expect_err(name);
            let remedy = problem.help().strip_prefix("write `").and_then(|rest| rest.strip_suffix('`'));
            let remedy = remedy.unwrap_or_else(|| panic!("{name}: {}", problem.help()));
            assert_eq!(check_condition_name(space(), remedy), Ok(()), "{name}");
            assert!(problem.to_string().chars().all(|c| !c.is_control()), "{problem}");
        }
        for name in ["", "..", "a/b", "脳", &"x".repeat(101)] {
            let problem = check_sweep_name(name).expect_err(name);
            let remedy = problem.help().strip_prefix("write `").and_then(|rest| rest.strip_suffix('`'));
            assert_eq!(check_sweep_name(remedy.expect("a remedy")), Ok(()), "{name}");
        }
    }

    #[test]
    fn other_names_stay_as_they_were() {
        for name in [
            "half-tonic",
            "1",
            "1e3",
            "true",
            "none",
            "na",
            "a-0.2--55",
            "tonic-0.3-leak-53",
            "-53",
            "-0.5",
            "-1e-7",
            "con",
            "nul.0",
            "aux",
            "NA-1",
            "nan_",
            "random",
            "_",
            "a.",
            "inf",
            "gaba",
            "control",
        ] {
            assert_eq!(check_condition_name(space(), name), Ok(()), "{name}");
        }
        for name in ["paper", "2024.a_b-C", "-x", "NA", "ACh", "randomized_x"] {
            assert_eq!(check_sweep_name(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn prefixes_are_the_presets_own_or_the_name() {
        assert_eq!(prefix_of(space(), "GABAzine", true), "gaba");
        assert_eq!(prefix_of(space(), "GABAzine", false), "GABAzine");
        assert_eq!(prefix_of(space(), "half-tonic", false), "half-tonic");
        assert_eq!(prefix_of(space(), "half-tonic", true), "half-tonic");
    }
}
