//! Arithmetic over parameters: the sizes, the duration and the shapes of a model file.
//!
//! An expression is computed exactly: every number is a fraction of two decimals. Quantities are computed in units
//! without prefixes, such as seconds. A result that is a time is returned in milliseconds.

use std::fmt;
use std::ops::Range;

use bigdecimal::BigDecimal;
use granule_engine::Values;
use granule_engine::decimal::decimal;
use granule_engine::space::{Parameter, Value};

use crate::examples::with_unit;
use crate::suggest;
use crate::text::quote;
use crate::units::{self, Powers};

/// Largest length of an expression. It bounds the time and the memory to compute it.
const MOST_CHARS: usize = 500;

/// Deepest nesting of parentheses and signs. Reading them uses the stack.
const MOST_DEPTH: usize = 32;

/// Largest length of a number, and the largest power of ten of one.
const MOST_DIGITS: usize = 50;
const MOST_EXPONENT: i64 = 100;

/// An expression of numbers and parameters.
///
/// `Display` writes it as it is in the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Arithmetic {
    text: String,
    tree: Tree,
    /// Power of ten from the unit without prefix to the unit of the result.
    power: i64,
    paths: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
enum Tree {
    Number(BigDecimal),
    /// A parameter, and the power of ten of its unit's prefix.
    Parameter(String, i64),
    Negative(Box<Tree>),
    Both(Operation, Box<Tree>, Box<Tree>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Plus,
    Minus,
    Times,
    Over,
}

impl Arithmetic {
    /// Computes the expression for values of the parameters.
    ///
    /// A parameter with a unit counts in that unit. The result is a number, or milliseconds if it is a time. It is exact,
    /// except for a quotient with more than 100 digits, which is rounded to 100 digits.
    ///
    /// # Errors
    /// If the expression divides by zero, or a parameter has no number. The message names the expression and the
    /// parameters with their values.
    pub fn evaluate(&self, values: &Values) -> Result<BigDecimal, String> {
        self.evaluate_with(&|path| {
            let parameter = values.space().parameter(path)?;
            operand(parameter, values.of(parameter))
        })
    }

    /// Computes the expression, and checks that it is a whole number from `least` to 4294967295.
    ///
    /// # Errors
    /// As [`Arithmetic::evaluate`], or if the result is not such a number. The message names the expression, its value,
    /// and the parameters with their values.
    pub fn whole(&self, values: &Values, least: u32) -> Result<u32, String> {
        self.whole_with(least, &|path| {
            let parameter = values.space().parameter(path)?;
            operand(parameter, values.of(parameter))
        })
    }

    /// Returns the paths of the parameters in the expression, each once, in order.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.paths.iter().map(String::as_str)
    }

    pub(crate) fn evaluate_with(&self, lookup: &Lookup<'_>) -> Result<BigDecimal, String> {
        let fraction = self.tree.value(lookup).map_err(|fault| {
            let why = match fault {
                Fault::DivisionByZero => "divides by zero".to_owned(),
                Fault::NoNumber(path) => {
                    format!("needs the parameter {}, which is not a number", quote(&path))
                }
            };
            format!("{} {why}{}", quote(&self.text), self.for_these(lookup))
        })?;
        Ok(shift(fraction.decimal(), self.power))
    }

    pub(crate) fn whole_with(&self, least: u32, lookup: &Lookup<'_>) -> Result<u32, String> {
        let x = self.evaluate_with(lookup)?;
        let fault = if !x.is_integer() {
            "which is not a whole number".to_owned()
        } else if x < least {
            format!("which is less than {least}")
        } else if x > u32::MAX {
            format!("which is more than {}", u32::MAX)
        } else if let Ok(whole) = x.with_scale(0).to_plain_string().parse() {
            return Ok(whole);
        } else {
            "which is not a whole number".to_owned()
        };
        Err(self.unfit(&x, &fault, lookup))
    }

    /// Returns a message: the expression, its value, what is wrong with it, and the parameters.
    pub(crate) fn unfit(&self, value: &BigDecimal, fault: &str, lookup: &Lookup<'_>) -> String {
        let unit = if self.power == MILLISECONDS { " ms" } else { "" };
        let value = format!("{}{unit}", shown(value));
        let is_literal = self.text == value;
        let is = if is_literal { String::new() } else { format!(" is {value}") };
        let comma = if is_literal { "" } else { "," };
        let fault = if is_literal { fault.trim_start_matches("which ") } else { fault };
        format!("{}{is}{comma} {fault}{}", quote(&self.text), self.for_these(lookup))
    }

    /// Returns the parameters with their values, in parentheses; nothing if there are none.
    fn for_these(&self, lookup: &Lookup<'_>) -> String {
        let value = |path: &str| Some(format!("`{path}` is {}", lookup(path)?.shown));
        let values: Vec<String> = self.paths().filter_map(value).collect();
        if values.is_empty() { String::new() } else { format!(" ({})", values.join(", ")) }
    }
}

impl fmt::Display for Arithmetic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The value of a parameter in an expression.
pub(crate) struct Operand {
    number: BigDecimal,
    /// With its unit, for messages.
    shown: String,
}

/// Returns the value of a parameter. `None` if there is no such parameter, or its value is not a number.
pub(crate) type Lookup<'a> = dyn Fn(&str) -> Option<Operand> + 'a;

/// Returns the value of a parameter as an operand; `None` if it is not a number.
pub(crate) fn operand(parameter: &Parameter, value: &Value) -> Option<Operand> {
    match value {
        Value::Number(x) => Operand::number(*x, parameter.unit()),
        Value::Count(n) => Some(Operand::count(*n)),
        _ => None,
    }
}

impl Operand {
    /// Returns a number in this unit; `None` if it is not finite.
    pub(crate) fn number(x: f64, unit: &str) -> Option<Operand> {
        x.is_finite().then(|| Operand { number: decimal(x), shown: with_unit(x, unit) })
    }

    pub(crate) fn count(n: u32) -> Operand {
        Operand { number: BigDecimal::from(n), shown: n.to_string() }
    }
}

enum Fault {
    DivisionByZero,
    NoNumber(String),
}

/// A quotient of two decimals that is not computed before the end. Therefore `1 / 3 * 3` is 1.
struct Fraction {
    top: BigDecimal,
    bottom: BigDecimal,
}

impl Fraction {
    fn whole(top: BigDecimal) -> Fraction {
        Fraction { top, bottom: BigDecimal::from(1) }
    }

    fn decimal(self) -> BigDecimal {
        if self.bottom == 1 { self.top } else { self.top / self.bottom }
    }
}

impl Tree {
    fn value(&self, lookup: &Lookup<'_>) -> Result<Fraction, Fault> {
        match self {
            Tree::Number(x) => Ok(Fraction::whole(x.clone())),
            Tree::Parameter(path, power) => {
                let operand = lookup(path).ok_or_else(|| Fault::NoNumber(path.clone()))?;
                Ok(Fraction::whole(shift(operand.number, *power)))
            }
            Tree::Negative(of) => {
                let Fraction { top, bottom } = of.value(lookup)?;
                Ok(Fraction { top: -top, bottom })
            }
            Tree::Both(operation, left, right) => {
                let (a, b) = (left.value(lookup)?, right.value(lookup)?);
                match operation {
                    Operation::Plus => Ok(Fraction {
                        top: &a.top * &b.bottom + &b.top * &a.bottom,
                        bottom: a.bottom * b.bottom,
                    }),
                    Operation::Minus => Ok(Fraction {
                        top: &a.top * &b.bottom - &b.top * &a.bottom,
                        bottom: a.bottom * b.bottom,
                    }),
                    Operation::Times => Ok(Fraction { top: a.top * b.top, bottom: a.bottom * b.bottom }),
                    Operation::Over if b.top == 0 => Err(Fault::DivisionByZero),
                    Operation::Over => Ok(Fraction { top: a.top * b.bottom, bottom: a.bottom * b.top }),
                }
            }
        }
    }
}

/// Power of ten from seconds to milliseconds.
const MILLISECONDS: i64 = 3;

/// Multiplies by a power of ten.
fn shift(x: BigDecimal, power: i64) -> BigDecimal {
    let (digits, scale) = x.into_bigint_and_scale();
    BigDecimal::new(digits, scale - power)
}

/// Formats a number for messages: all of its digits if they are few.
fn shown(x: &BigDecimal) -> String {
    const MOST: u64 = 15;
    let rounded = if x.digits() > MOST { x.with_prec(MOST).normalized() } else { x.normalized() };
    let is_short = rounded.order_of_magnitude().abs() <= 20;
    let about = if rounded == *x { "" } else { "about " };
    if is_short {
        format!("{about}{}", rounded.to_plain_string())
    } else {
        format!("{about}{}", rounded.to_scientific_notation())
    }
}

/// A parameter as expressions see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Declared {
    /// A number in the unit of this symbol, which may be empty.
    Number(&'static str),
    /// Another value, with an article.
    Other(&'static str),
    /// The parameter has been reported.
    Wrong,
}

/// The names that an expression can contain.
#[derive(Default)]
pub(crate) struct Scope<'a> {
    pub(crate) parameters: Vec<(&'a str, Declared)>,
    /// Names that look like parameters, but are not: populations.
    pub(crate) populations: Vec<&'a str>,
    /// Whether there may be other parameters, which could not be read.
    pub(crate) is_incomplete: bool,
}

/// The first problem of an expression.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    /// Bytes of the expression.
    pub(crate) range: Range<usize>,
    pub(crate) message: String,
    pub(crate) help: String,
}

/// Reads an expression. `what` names it in messages, and `wanted` is the unit of its result, a number or a time.
///
/// # Errors
/// The first problem; `None` if it has been reported with a parameter.
pub(crate) fn read(
    text: &str,
    what: &str,
    wanted: Powers,
    scope: &Scope<'_>,
) -> Result<Arithmetic, Option<Mistake>> {
    let whole = 0..text.len();
    if text.trim().is_empty() {
        return Err(mistake(whole, format!("{what} is empty"), "write a number or arithmetic of parameters"));
    }
    let chars = text.chars().count();
    if chars > MOST_CHARS {
        let message = format!("{what} has {chars} characters; at most {MOST_CHARS} are possible");
        return Err(mistake(whole, message, "use shorter arithmetic"));
    }
    let mut reader = Reader { text, at: 0, depth: 0, scope, paths: Vec::new() };
    let (tree, powers) = reader.sum()?;
    reader.end()?;
    if powers != wanted {
        return Err(wrong_unit(text, what, powers, wanted));
    }
    let power = if wanted == Powers::TIME { MILLISECONDS } else { 0 };
    Ok(Arithmetic { text: text.trim().to_owned(), tree, power, paths: reader.paths })
}

fn mistake(range: Range<usize>, message: impl Into<String>, help: impl Into<String>) -> Option<Mistake> {
    Some(Mistake { range, message: message.into(), help: help.into() })
}

fn wrong_unit(text: &str, what: &str, found: Powers, wanted: Powers) -> Option<Mistake> {
    let (is, must) = (found.in_words(), wanted.in_words());
    let message = format!("{what} must be {must}, but {} is {is}", quote(text));
    let literal = units::split(text.trim());
    let help = match literal {
        Some((number, "")) => format!("write `{number} ms`"),
        Some((number, _)) if wanted == Powers::NUMBER => format!("write `{number}`"),
        _ if wanted == Powers::TIME && found == Powers::NUMBER => {
            "multiply it by a time, such as `1 ms`".to_owned()
        }
        _ if wanted == Powers::NUMBER => format!("divide it by {is}"),
        _ => "write a quantity such as `500 ms`, or arithmetic that results in a time".to_owned(),
    };
    mistake(0..text.len(), message, help)
}

struct Reader<'a> {
    text: &'a str,
    /// Position of the next byte.
    at: usize,
    depth: usize,
    scope: &'a Scope<'a>,
    paths: Vec<String>,
}

type Read<T> = Result<T, Option<Mistake>>;

impl Reader<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    /// Skips spaces, and returns the next character.
    fn peek(&mut self) -> Option<char> {
        self.at = self.text.len() - self.rest().trim_start().len();
        self.rest().chars().next()
    }

    /// Reads one of two operators.
    fn operator(&mut self, of: [(char, Operation); 2]) -> Option<Operation> {
        let next = self.peek()?;
        let (_, operation) = of.into_iter().find(|(symbol, _)| *symbol == next)?;
        self.at += 1;
        Some(operation)
    }

    fn sum(&mut self) -> Read<(Tree, Powers)> {
        self.peek();
        let start = self.at;
        let (mut left, powers) = self.product()?;
        while let Some(operation) = self.operator([('+', Operation::Plus), ('-', Operation::Minus)]) {
            let (right, other) = self.product()?;
            if other != powers {
                return Err(self.unequal(start..self.at, operation, powers, other));
            }
            left = Tree::Both(operation, Box::new(left), Box::new(right));
        }
        Ok((left, powers))
    }

    fn unequal(
        &self,
        range: Range<usize>,
        operation: Operation,
        left: Powers,
        right: Powers,
    ) -> Option<Mistake> {
        let (left, right) = (left.in_words(), right.in_words());
        let message = match operation {
            Operation::Plus => format!("{} adds {left} and {right}", quote(&self.text[range.clone()])),
            _ => format!("{} subtracts {right} from {left}", quote(&self.text[range.clone()])),
        };
        mistake(range, message, "both sides of `+` and `-` must have the same kind of unit")
    }

    fn product(&mut self) -> Read<(Tree, Powers)> {
        let (mut left, mut powers) = self.factor()?;
        while let Some(operation) = self.operator([('*', Operation::Times), ('/', Operation::Over)]) {
            if matches!(self.rest().chars().next(), Some('*' | '/')) {
                let range = self.at - 1..self.at + 1;
                let (what, help) = match operation {
                    Operation::Times => {
                        ("`**` is not an operator", "write a power as a product, as in `x * x`")
                    }
                    _ => ("`//` is not an operator", "write `/`; the division is exact"),
                };
                return Err(mistake(range, what, help));
            }
            let (right, other) = self.factor()?;
            powers = if operation == Operation::Times { powers.times(other) } else { powers.over(other) };
            left = Tree::Both(operation, Box::new(left), Box::new(right));
        }
        Ok((left, powers))
    }

    fn factor(&mut self) -> Read<(Tree, Powers)> {
        let next = self.peek();
        let start = self.at;
        match next {
            Some('+' | '-' | '(') => {
                if self.depth == MOST_DEPTH {
                    let message = format!("parentheses and signs are nested more than {MOST_DEPTH} deep");
                    return Err(mistake(start..start + 1, message, "remove the ones that are not needed"));
                }
                self.depth += 1;
                self.at += 1;
                let (tree, powers) =
                    if next == Some('(') { self.parentheses(start)? } else { self.factor()? };
                self.depth -= 1;
                let tree = if next == Some('-') { Tree::Negative(Box::new(tree)) } else { tree };
                Ok((tree, powers))
            }
            Some('0'..='9' | '.') => self.number(),
            Some(c) if is_start_of_word(c) => self.parameter(),
            Some(c) => Err(unexpected(c, start)),
            None => {
                let range = self.text.trim_end().len()..self.text.len();
                Err(mistake(
                    range,
                    "the arithmetic ends too early",
                    "write a number or a parameter at its end",
                ))
            }
        }
    }

    fn parentheses(&mut self, start: usize) -> Read<(Tree, Powers)> {
        let inner = self.sum()?;
        match self.peek() {
            Some(')') => {
                self.at += 1;
                Ok(inner)
            }
            None => Err(mistake(start..start + 1, "`(` has no `)`", "add the missing `)`")),
            Some(_) => Err(self.junk()),
        }
    }

    /// Returns the problem that the expression does not end here.
    fn junk(&mut self) -> Option<Mistake> {
        let start = self.at;
        match self.peek() {
            Some(')') => mistake(start..start + 1, "`)` has no `(`", "remove it, or add the missing `(`"),
            Some('(') => self.no_operator(start..start + 1),
            Some(c) if c.is_ascii_digit() || c == '.' || is_start_of_word(c) => {
                let end = start + self.rest().find(|c| !is_in_word(c)).unwrap_or(self.rest().len());
                self.no_operator(start..end)
            }
            Some(c) => unexpected(c, start),
            None => None,
        }
    }

    fn no_operator(&self, range: Range<usize>) -> Option<Mistake> {
        let message = format!("an operator is missing before {}", quote(&self.text[range.clone()]));
        mistake(range, message, "write `+`, `-`, `*` or `/` between the two")
    }

    fn end(&mut self) -> Read<()> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.junk()),
        }
    }

    /// Reads a number with or without a unit.
    fn number(&mut self) -> Read<(Tree, Powers)> {
        let start = self.at;
        let length = length_of_number(self.rest());
        let text = &self.text[start..start + length];
        self.at += length;
        let parsed = text.parse::<BigDecimal>().ok().filter(|_| length <= MOST_DIGITS);
        let parsed = parsed.filter(|_| text.bytes().any(|b| b.is_ascii_digit()));
        let is_small = |x: &BigDecimal| x.order_of_magnitude().abs() <= MOST_EXPONENT;
        let Some(x) = parsed.filter(|x| is_small(x) && x.fractional_digit_count().abs() <= 2 * MOST_EXPONENT)
        else {
            let message = format!("{} is not a number that arithmetic can use", quote(text));
            return Err(mistake(
                start..self.at,
                message,
                format!("write a number with at most {MOST_DIGITS} digits, as in `0.25`"),
            ));
        };
        if !self.peek().is_some_and(is_start_of_word) {
            return Ok((Tree::Number(x), Powers::NUMBER));
        }
        let word_at = self.at;
        let length = self.rest().find(|c| !is_in_word(c)).unwrap_or(self.rest().len());
        let word = &self.text[word_at..word_at + length];
        if word.contains('.') {
            let message = format!("an operator is missing between `{text}` and {}", quote(word));
            return Err(mistake(start..word_at + length, message, format!("write `{text} * {word}`")));
        }
        let Some((powers, power)) = units::powers(word) else {
            let message = format!("unknown unit {}", quote(word));
            return Err(mistake(start..word_at + length, message, units::help_for_unknown(text, word)));
        };
        self.at += length;
        Ok((Tree::Number(shift(x, power)), powers))
    }

    fn parameter(&mut self) -> Read<(Tree, Powers)> {
        let start = self.at;
        let length = self.rest().find(|c| !is_in_word(c)).unwrap_or(self.rest().len());
        let path = &self.text[start..start + length];
        self.at += length;
        let range = start..self.at;
        if self.peek() == Some('(') {
            let message = format!("arithmetic has no functions such as {}", quote(path));
            return Err(mistake(range, message, "use `+`, `-`, `*`, `/` and parentheses only"));
        }
        let declared = self.scope.parameters.iter().find(|(known, _)| *known == path);
        match declared.map(|(_, declared)| *declared) {
            Some(Declared::Number(symbol)) => {
                let (powers, power) = units::powers(symbol).unwrap_or_default();
                if !self.paths.iter().any(|known| known == path) {
                    self.paths.push(path.to_owned());
                }
                Ok((Tree::Parameter(path.to_owned(), power), powers))
            }
            Some(Declared::Other(kind)) => {
                let message = format!("`{path}` is {kind}, and arithmetic takes numbers only");
                Err(mistake(range, message, "use a parameter that is a number, a count or a quantity"))
            }
            Some(Declared::Wrong) => Err(None),
            None if self.scope.is_incomplete => Err(None),
            None => Err(self.unknown(path, range)),
        }
    }

    fn unknown(&self, path: &str, range: Range<usize>) -> Option<Mistake> {
        let Scope { parameters, populations, .. } = self.scope;
        let numbers = parameters.iter().filter(|(_, of)| !matches!(of, Declared::Other(_)));
        let numbers = numbers.map(|(path, _)| *path);
        let help = match suggest::nearest_path(path, numbers.clone()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if populations.contains(&path) => {
                "arithmetic contains parameters, not populations; write the arithmetic of that population here"
                    .to_owned()
            }
            None if numbers.clone().next().is_none() => {
                "declare it in `parameters`, with a number as its default".to_owned()
            }
            None => {
                let known: Vec<&str> = numbers.take(10).collect();
                format!("declare it in `parameters`, or use one that is declared, such as {}", suggest::list(&known).replace(" and ", " or "))
            }
        };
        mistake(range, format!("unknown parameter {}", quote(path)), help)
    }
}

fn unexpected(c: char, at: usize) -> Option<Mistake> {
    let help = match c {
        '×' | '·' | '∗' | '⋅' => "write `*`",
        '÷' | '∕' | '⁄' | ':' => "write `/`",
        ',' => "write the decimal point as `.`, and nothing between thousands",
        '^' => "write a power as a product, as in `x * x`",
        '*' | '/' => "write a number or a parameter before it",
        '[' | ']' | '{' | '}' => "use parentheses, `(` and `)`",
        ')' => "write a number or a parameter before it, or remove it",
        _ => "arithmetic has numbers, units, parameters, `+`, `-`, `*`, `/` and parentheses",
    };
    mistake(at..at + c.len_utf8(), format!("unexpected {} in arithmetic", quote(&c.to_string())), help)
}

fn is_start_of_word(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

fn is_in_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '.')
}

/// Returns the number of bytes of the number at the start of a text: digits, a point, digits, an exponent.
fn length_of_number(text: &str) -> usize {
    let digits = |from: usize| text.bytes().skip(from).take_while(u8::is_ascii_digit).count();
    let mut end = digits(0);
    if text[end..].starts_with('.') {
        end += 1 + digits(end + 1);
    }
    if text[end..].starts_with(['e', 'E']) {
        let sign = usize::from(text[end + 1..].starts_with(['+', '-']));
        match digits(end + 1 + sign) {
            0 => {}
            exponent => end += 1 + sign + exponent,
        }
    }
    end
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `a.count` is 4000, `a.share` 0.8, `a.none` 0, `a.s` 0.5 s, `a.ms` 20 ms, `a.rate` 5 Hz, `a.pf` 200 pF and `a.ns`
    /// 10 nS.
    const NUMBERS: [(&str, f64, &str); 8] = [
        ("a.count", 4000.0, ""),
        ("a.share", 0.8, ""),
        ("a.none", 0.0, ""),
        ("a.s", 0.5, "s"),
        ("a.ms", 20.0, "ms"),
        ("a.rate", 5.0, "Hz"),
        ("a.pf", 200.0, "pF"),
        ("a.ns", 10.0, "nS"),
    ];

    fn scope() -> Scope<'static> {
        let parameters = NUMBERS.map(|(path, _, unit)| (path, Declared::Number(unit)));
        Scope { parameters: parameters.to_vec(), ..Scope::default() }
    }

    fn lookup(path: &str) -> Option<Operand> {
        let (_, x, unit) = NUMBERS.into_iter().find(|(of, _, _)| *of == path)?;
        Operand::number(x, unit)
    }

    fn read_as(text: &str, wanted: Powers) -> Arithmetic {
        read(text, "x", wanted, &scope()).unwrap_or_else(|mistake| panic!("{text}: {mistake:?}"))
    }

    fn value(text: &str, wanted: Powers) -> String {
        match read_as(text, wanted).evaluate_with(&lookup) {
            Ok(x) => x.normalized().to_plain_string(),
            Err(fault) => fault,
        }
    }

    #[test]
    fn numbers_are_exact() {
        let check = |text: &str, expected: &str| assert_eq!(value(text, Powers::NUMBER), expected, "{text}");
        check("a.share * a.count", "3200");
        check("0.8 * 4000", "3200");
        check("0.1 + 0.2", "0.3");
        check("1 - 0.9", "0.1");
        check("1 / 4", "0.25");
        check("1 / 3 * 3", "1");
        check("a.count / 3 * 3", "4000");
        check("1 / 3", &format!("0.{}", "3".repeat(100)));
        check("2 / 3 + 1 / 3", "1");
        check("1e20 + 1 - 1e20", "1");
        check("123456789012345678901234567890 * 10", "1234567890123456789012345678900");
        check(".5 + 5. + 1E1 + 1e-1", "15.6");
    }

    #[test]
    fn products_come_before_sums_and_equal_operators_from_left_to_right() {
        let check = |text: &str, expected: &str| assert_eq!(value(text, Powers::NUMBER), expected, "{text}");
        check("2 + 3 * 4", "14");
        check("(2 + 3) * 4", "20");
        check("2 * 3 + 4", "10");
        check("10 - 3 - 2", "5");
        check("100 / 10 / 5", "2");
        check("100 / (10 / 5)", "50");
        check("-2 * 3", "-6");
        check("2 * -3", "-6");
        check("2 - -3", "5");
        check("-(2 + 3)", "-5");
        check("+2--3", "5");
        check("- - 2", "2");
        check("a.count-1", "3999");
        check("  a.count  ", "4000");
    }

    #[test]
    fn units_are_converted_exactly() {
        let number = |text: &str, expected: &str| assert_eq!(value(text, Powers::NUMBER), expected, "{text}");
        number("a.s / a.ms", "25");
        number("a.rate * a.s", "2.5");
        number("(a.s + a.ms) / 1 ms", "520");
        number("500 ms / 0.1 ms", "5000");
        number("1 / (a.rate * 1 s)", "0.2");
        let time = |text: &str, expected: &str| assert_eq!(value(text, Powers::TIME), expected, "{text}");
        time("500 ms", "500");
        time("0.5 s", "500");
        time("500ms", "500");
        time("a.s", "500");
        time("a.s + 3 * a.ms", "560");
        time("a.pf / a.ns", "20");
        time("1 / a.rate", "200");
        time("5 * 1 \u{b5}s", "0.005");
        time("2 V * 3 pF / 6 pA", "1000");
    }

    #[test]
    fn units_that_do_not_fit_are_mistakes() {
        let check = |text: &str, wanted: Powers, message: &str| {
            let mistake = read(text, "x", wanted, &scope()).expect_err(text).expect("a mistake");
            assert_eq!(mistake.message, message);
        };
        check("a.s + 1", Powers::TIME, "`a.s + 1` adds a time and a number");
        check("a.s - a.ns", Powers::TIME, "`a.s - a.ns` subtracts a conductance from a time");
        check("a.s * a.s", Powers::TIME, "x must be a time, but `a.s * a.s` is a quantity in s^2");
        check("a.s", Powers::NUMBER, "x must be a number, but `a.s` is a time");
        check("a.count", Powers::TIME, "x must be a time, but `a.count` is a number");
    }

    #[test]
    fn faults_name_the_expression_and_its_parameters() {
        let fault = |text: &str| read_as(text, Powers::NUMBER).whole_with(1, &lookup).expect_err(text);
        assert_eq!(
            fault("a.count / (a.none * 5)"),
            "`a.count / (a.none * 5)` divides by zero (`a.count` is 4000, `a.none` is 0)"
        );
        assert_eq!(
            fault("a.count / 3"),
            "`a.count / 3` is about 1333.33333333333, which is not a whole number (`a.count` is 4000)"
        );
        assert_eq!(fault("a.none"), "`a.none` is 0, which is less than 1 (`a.none` is 0)");
        assert_eq!(
            fault("a.count * 1e30"),
            "`a.count * 1e30` is 4e33, which is more than 4294967295 (`a.count` is 4000)"
        );
        assert_eq!(fault("0.5"), "`0.5` is not a whole number");
        let arithmetic = read_as(" a.count * a.share * a.count ", Powers::NUMBER);
        assert_eq!(arithmetic.to_string(), "a.count * a.share * a.count");
        assert_eq!(arithmetic.paths().collect::<Vec<_>>(), ["a.count", "a.share"]);
        let missing = read_as("a.count", Powers::NUMBER).evaluate_with(&|_| None).expect_err("no value");
        assert_eq!(missing, "`a.count` needs the parameter `a.count`, which is not a number");
    }

    #[test]
    fn the_largest_expressions_are_computed() {
        for operator in ["*", "/", "+", "-"] {
            let text = vec!["1e-100"; 60].join(operator);
            let _ = value(&text, Powers::NUMBER);
            let text = format!("1 + 1e100 {operator} {}", vec!["1e100"; 60].join("*"));
            let _ = read_as(&text, Powers::NUMBER).whole_with(1, &lookup);
        }
    }

    /// Pieces of expressions.
    fn piece() -> impl Strategy<Value = String> {
        let pieces = [
            "a.count", "a.s", "a.none", "1", "0.5", "2e3", "ms", "s", " ", "+", "-", "*", "/", "(", ")", ".",
            "e", "µ", "×", ",", "\u{2126}",
        ];
        prop_oneof![
            19 => proptest::sample::select(pieces.to_vec()).prop_map(str::to_owned),
            1 => "\\PC{0,4}",
        ]
    }

    /// Either reads an expression and computes it, or reports a mistake within it.
    fn check(text: &str) -> Result<(), TestCaseError> {
        for wanted in [Powers::NUMBER, Powers::TIME] {
            match read(text, "x", wanted, &scope()) {
                Ok(arithmetic) => {
                    let _ = arithmetic.whole_with(0, &lookup);
                }
                Err(mistake) => {
                    let mistake = mistake.expect("no parameter is wrong");
                    prop_assert!(text.get(mistake.range.clone()).is_some(), "{:?}", mistake);
                    prop_assert!(!mistake.message.is_empty() && !mistake.help.is_empty());
                }
            }
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn any_text(text in "\\PC{0,60}") {
            check(&text)?;
        }

        #[test]
        fn any_pieces(pieces in proptest::collection::vec(piece(), 0..30)) {
            check(&pieces.concat())?;
        }

        /// Sums and products of whole numbers are those of whole numbers.
        #[test]
        fn whole_numbers_are_exact(a in -10_000i64..10_000, b in -10_000i64..10_000, c in 1i64..10_000) {
            let text = format!("({a} + {b}) * {c} - {a} * {b} / {c} * {c}");
            prop_assert_eq!(value(&text, Powers::NUMBER), ((a + b) * c - a * b).to_string());
        }
    }
}
