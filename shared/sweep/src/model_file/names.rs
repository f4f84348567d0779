//! Names in a model file: of populations, results, and the parts of a parameter's path.

use crate::diagnostics::Problem;
use crate::text::{Span, quote};

/// Returns whether a text is a name in a model file: a letter from a to z, then such letters, digits and `_`.
pub(super) fn is_name(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(is_part) && text.len() <= MOST_NAME
}

/// Largest length of a name in a model file.
pub(super) const MOST_NAME: usize = 40;

/// Returns the problem of a text that is not a name. `what` has an article: "a population".
pub(super) fn unfit_name(what: &str, name: &str, span: Span) -> Problem {
    let message = match name.len() > MOST_NAME {
        true => format!(
            "the name of {what} can have at most {MOST_NAME} characters, not {}",
            name.chars().count()
        ),
        false => format!(
            "the name of {what} cannot be {}",
            if name.is_empty() { "empty".to_owned() } else { quote(name) }
        ),
    };
    let fitting = fitting_name(name);
    Problem::at(span, message).help(match is_name(&fitting) && fitting != name {
        true => format!("write `{fitting}`"),
        false => "use letters from a to z, digits and `_`, with a letter first".to_owned(),
    })
}

/// Returns the name that is most like a text; perhaps not a name. `meanRate (Hz)` becomes `mean_rate_hz`.
pub(super) fn fitting_name(text: &str) -> String {
    let mut fitting = String::new();
    let mut before = '_';
    for c in text.chars() {
        let begins_word = c.is_ascii_uppercase() && before.is_ascii_lowercase();
        if (begins_word || !c.is_ascii_alphanumeric()) && !fitting.ends_with('_') && !fitting.is_empty() {
            fitting.push('_');
        }
        if c.is_ascii_alphanumeric() {
            fitting.push(c.to_ascii_lowercase());
        }
        before = c;
    }
    fitting.chars().take(MOST_NAME).collect::<String>().trim_end_matches('_').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_suggested_are_names() {
        let check = |text: &str, fitting: &str| assert_eq!(fitting_name(text), fitting);
        check("meanRate", "mean_rate");
        check("rate (Hz)", "rate_hz");
        check("Excitatory", "excitatory");
        check("__x__", "x");
        check("", "");
        assert!(!is_name(&fitting_name("2nd")));
    }
}
