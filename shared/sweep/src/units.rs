//! Numbers with units, converted exactly.
//!
//! A prefix shifts the decimal exponent in the text, and the text is parsed once. Therefore `170 pS`, `0.17 nS` and
//! `1.7e-10 S` are the same double, the nearest to 0.17 nS.

use granule_engine::space::Unit;

use crate::suggest;
use crate::text::quote;

/// Largest length of a number. Beyond it, decimal parsing is no longer exact at every exponent.
const MOST_BYTES: usize = 200;

/// The dimension of a quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Dimension {
    /// The symbol of its unit without a prefix, then other spellings of it.
    symbols: &'static [&'static str],
    name: &'static str,
    article: &'static str,
    /// Its unit as a product of powers.
    powers: Powers,
    /// The symbol with each prefix, in the order of [`SHORT_PREFIXES`].
    prefixed: [&'static str; 9],
}

/// A product of powers of the units [`BASE`]. All zero for a bare number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Powers([i32; 5]);

/// The units of which the units of all dimensions are products.
const BASE: [&str; 5] = ["s", "V", "A", "m", "M"];

impl Powers {
    /// A bare number.
    pub(crate) const NUMBER: Powers = Powers([0; 5]);

    /// A time.
    pub(crate) const TIME: Powers = Powers([1, 0, 0, 0, 0]);

    /// Multiplies two units.
    pub(crate) fn times(self, other: Powers) -> Powers {
        Powers(std::array::from_fn(|at| self.0[at] + other.0[at]))
    }

    /// Divides two units.
    pub(crate) fn over(self, other: Powers) -> Powers {
        Powers(std::array::from_fn(|at| self.0[at] - other.0[at]))
    }

    /// Returns the dimension with its article, for messages.
    pub(crate) fn in_words(self) -> String {
        if self == Powers::NUMBER {
            return "a number".to_owned();
        }
        if let Some(of) = DIMENSIONS.iter().find(|dimension| dimension.powers == self) {
            return format!("{} {}", of.article, of.name);
        }
        let factor = |(symbol, power): (&str, i32)| match power {
            0 => None,
            1 => Some(symbol.to_owned()),
            _ => Some(format!("{symbol}^{power}")),
        };
        let factors: Vec<String> = BASE.into_iter().zip(self.0).filter_map(factor).collect();
        format!("a quantity in {}", factors.join(" "))
    }
}

/// The prefixes that symbols of parameters have.
const SHORT_PREFIXES: [&str; 9] = ["f", "p", "n", "u", "m", "", "k", "M", "G"];

/// Makes a dimension. Its arguments are the symbol of its unit with other spellings, its name with an article, and its
/// unit as powers of the units [`BASE`].
macro_rules! dimension {
    ($symbol:literal $(or $other:literal)*, $article:literal, $name:literal, $powers:expr) => {
        Dimension {
            symbols: &[$symbol $(, $other)*],
            name: $name,
            article: $article,
            powers: Powers($powers),
            prefixed: [
                concat!("f", $symbol),
                concat!("p", $symbol),
                concat!("n", $symbol),
                concat!("u", $symbol),
                concat!("m", $symbol),
                $symbol,
                concat!("k", $symbol),
                concat!("M", $symbol),
                concat!("G", $symbol),
            ],
        }
    };
}

const DIMENSIONS: [Dimension; 9] = [
    dimension!("s", "a", "time", [1, 0, 0, 0, 0]),
    dimension!("V", "a", "voltage", [0, 1, 0, 0, 0]),
    dimension!("S", "a", "conductance", [0, -1, 1, 0, 0]),
    dimension!("F", "a", "capacitance", [1, -1, 1, 0, 0]),
    dimension!("A", "a", "current", [0, 0, 1, 0, 0]),
    dimension!("Hz", "a", "frequency", [-1, 0, 0, 0, 0]),
    // The Greek letter, and the sign of the unit that looks like it.
    dimension!("Ohm" or "\u{3a9}" or "\u{2126}", "a", "resistance", [0, 1, -1, 0, 0]),
    dimension!("m", "a", "length", [0, 0, 0, 1, 0]),
    dimension!("M", "a", "concentration", [0, 0, 0, 0, 1]),
];

/// Prefixes and their powers of ten. Both micro signs, U+00B5 and U+03BC, are in use.
const PREFIXES: [(&str, i64); 11] = [
    ("f", -15),
    ("p", -12),
    ("n", -9),
    ("u", -6),
    ("\u{b5}", -6),
    ("\u{3bc}", -6),
    ("m", -3),
    ("", 0),
    ("k", 3),
    ("M", 6),
    ("G", 9),
];

/// The reason why a text is not a quantity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum UnfitQuantity {
    /// The text is not a number followed by at most one unit.
    Junk,
    /// The number has no unit, but needs one.
    NoUnit { number: String },
    /// The number has a unit, but must be a bare number.
    NeedlessUnit { number: String },
    /// The unit is unknown.
    UnknownUnit { number: String, unit: String },
    /// The unit is of another dimension.
    WrongDimension { number: String, unit: String, name: &'static str, article: &'static str },
    /// The number does not fit a double, or is not zero but would become zero.
    OutOfRange,
}

/// Returns the unit of this symbol. A micro prefix may be `u`, `µ` or `μ`, and an ohm `Ohm` or `Ω`: all spellings of a
/// symbol give one unit. An empty symbol is the unit of bare numbers. Returns `None` if the symbol is unknown.
///
/// ```
/// use granule_engine::space::Unit;
/// use granule_sweep::unit_of;
///
/// assert_eq!(unit_of("mV"), Some(Unit::Millivolt));
/// assert_eq!(unit_of("µA"), Some(Unit::Other("uA")));
/// assert_eq!(unit_of("MΩ"), Some(Unit::Other("MOhm")));
/// assert_eq!(unit_of("mv"), None);
/// ```
#[must_use]
pub fn unit_of(symbol: &str) -> Option<Unit> {
    const OWN: [Unit; 5] =
        [Unit::One, Unit::Millisecond, Unit::Millivolt, Unit::Nanosiemens, Unit::Picofarad];
    if let Some(own) = OWN.into_iter().find(|unit| unit.symbol() == symbol) {
        return Some(own);
    }
    let (dimension, exponent) = known_unit(symbol)?;
    let exponent_of = |prefix: &str| PREFIXES.iter().find(|(of, _)| *of == prefix).map(|(_, power)| *power);
    let place = SHORT_PREFIXES.iter().position(|prefix| exponent_of(prefix) == Some(exponent))?;
    Some(Unit::Other(dimension.prefixed[place]))
}

/// Returns a unit as a product of powers of units without prefixes, and the power of ten that its prefix is. Returns
/// `None` for an unknown symbol.
pub(crate) fn powers(unit: &str) -> Option<(Powers, i64)> {
    match unit {
        "" => Some((Powers::NUMBER, 0)),
        _ => known_unit(unit).map(|(dimension, exponent)| (dimension.powers, exponent)),
    }
}

/// Returns a number of minutes, hours, days or seconds in seconds, if the unit is one of their names.
pub(crate) fn in_seconds(number: &str, unit: &str) -> Option<f64> {
    let seconds = match unit {
        "sec" | "secs" | "second" | "seconds" => 1.0,
        "min" | "mins" | "minute" | "minutes" => 60.0,
        "h" | "hr" | "hour" | "hours" => 3600.0,
        "d" | "day" | "days" => 86400.0,
        _ => return None,
    };
    number.parse::<f64>().ok().map(|number| number * seconds).filter(|x| x.is_finite())
}

/// Returns help for an unknown unit after a number: the unit that differs in upper and lower case only, or all units.
pub(crate) fn help_for_unknown(number: &str, unit: &str) -> String {
    if let Some(seconds) = in_seconds(number, unit) {
        return format!("write `{seconds} s`");
    }
    let lower = unit.to_lowercase();
    let known = DIMENSIONS.iter().flat_map(|dimension| dimension.prefixed);
    // `mv` is `mV` sooner than `MV`.
    let alike = known.filter(|known| known.to_lowercase() == lower);
    let agreeing = |known: &&str| known.chars().zip(unit.chars()).filter(|(a, b)| a == b).count();
    match alike.max_by_key(agreeing) {
        Some(known) => format!("did you mean `{number} {known}`?"),
        None => {
            let symbols = DIMENSIONS.map(|dimension| dimension.symbols[0]);
            let prefixes: Vec<&str> =
                SHORT_PREFIXES.into_iter().filter(|prefix| !prefix.is_empty()).collect();
            format!(
                "the units are {}, each with a prefix {} or without one",
                suggest::list(&symbols),
                suggest::list(&prefixes).replace(" and ", " or ")
            )
        }
    }
}

/// Returns the value of a text in the given unit: the nearest double.
pub(crate) fn quantity(text: &str, wanted: Unit) -> Result<f64, UnfitQuantity> {
    let (number, unit) = split(text).ok_or(UnfitQuantity::Junk)?;
    let number_text = || number.to_owned();
    let shift = match (wanted, unit) {
        (Unit::One, "") => 0,
        (Unit::One, _) => return Err(UnfitQuantity::NeedlessUnit { number: number_text() }),
        (_, "") => return Err(UnfitQuantity::NoUnit { number: number_text() }),
        // Also a symbol that this module does not know.
        (wanted, unit) if unit == wanted.symbol() => 0,
        (wanted, unit) => {
            let unknown = || UnfitQuantity::UnknownUnit { number: number_text(), unit: unit.to_owned() };
            let (dimension, exponent) = known_unit(unit).ok_or_else(unknown)?;
            let (of, wanted_exponent) = known_unit(wanted.symbol()).ok_or_else(unknown)?;
            if dimension != of {
                // `m` for `mV` is a unit of which the end is missing, and not a length.
                if wanted.symbol().starts_with(unit) {
                    return Err(unknown());
                }
                let Dimension { name, article, .. } = dimension;
                return Err(UnfitQuantity::WrongDimension {
                    number: number_text(),
                    unit: unit.to_owned(),
                    name,
                    article,
                });
            }
            exponent - wanted_exponent
        }
    };
    shifted(number, shift).ok_or(UnfitQuantity::OutOfRange)
}

impl UnfitQuantity {
    /// Returns message and help for a value of the parameter `path`; `example` is a valid value.
    pub(crate) fn describe(&self, path: &str, text: &str, wanted: Unit, example: &str) -> (String, String) {
        let symbol = wanted.symbol();
        let like_example = match self {
            UnfitQuantity::Junk if text.contains(',') => "write the decimal point as `.`".to_owned(),
            _ => format!("write it like `{example}`"),
        };
        let text = quote(text);
        match self {
            UnfitQuantity::Junk if wanted == Unit::One => {
                (format!("`{path}` must be a number, not {text}"), like_example)
            }
            UnfitQuantity::Junk => {
                (format!("`{path}` must be a number with a unit, not {text}"), like_example)
            }
            UnfitQuantity::NoUnit { number } => {
                (format!("`{path}` needs a unit"), format!("write `{number} {symbol}`"))
            }
            UnfitQuantity::NeedlessUnit { number } => {
                (format!("`{path}` is a bare number, but {text} has a unit"), format!("write `{number}`"))
            }
            UnfitQuantity::UnknownUnit { number, unit } => {
                let help = match nearest_unit(unit, wanted) {
                    Some(unit) => format!("did you mean `{number} {unit}`?"),
                    None => format!("write it in {symbol}"),
                };
                (format!("unknown unit {}", quote(unit)), help)
            }
            UnfitQuantity::WrongDimension { number, unit, name, article } => {
                let own = known_unit(symbol).map(|(dimension, _)| dimension);
                let help = match own.and_then(|own| same_letters(unit, wanted, own)) {
                    Some(unit) => format!("did you mean `{number} {unit}`?"),
                    None => format!("write it in {symbol}"),
                };
                let own = own.map_or_else(|| "in".to_owned(), |of| format!("{} {}", of.article, of.name));
                (format!("`{path}` is {own} ({symbol}), but {text} is {article} {name}"), help)
            }
            UnfitQuantity::OutOfRange => (format!("{text} is too large or too small a number"), like_example),
        }
    }
}

/// Returns a regular expression, of ECMA 262, of the texts that are quantities in this unit.
pub(crate) fn pattern(unit: Unit) -> String {
    let number = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?";
    match known_unit(unit.symbol()) {
        Some((dimension, _)) => {
            let prefixes: Vec<&str> =
                PREFIXES.iter().map(|(prefix, _)| *prefix).filter(|prefix| !prefix.is_empty()).collect();
            let symbol = match dimension.symbols {
                [symbol] => (*symbol).to_owned(),
                symbols => format!("({})", symbols.join("|")),
            };
            format!("^{number} *({})?{symbol}$", prefixes.join("|"))
        }
        None => format!("^{number}$"),
    }
}

/// Splits a text into number and unit, without the space between them. Returns `None` for any other text.
pub(crate) fn split(text: &str) -> Option<(&str, &str)> {
    let bytes = text.as_bytes();
    let digits = |from: usize| bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    let mut end = usize::from(matches!(bytes.first(), Some(b'+' | b'-')));
    let whole = digits(end);
    end += whole;
    let mut fraction = 0;
    if bytes.get(end) == Some(&b'.') {
        fraction = digits(end + 1);
        end += 1 + fraction;
    }
    if whole + fraction == 0 {
        return None;
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        match digits(end + 1 + sign) {
            0 => return None,
            exponent => end += 1 + sign + exponent,
        }
    }
    let unit = text[end..].trim_start_matches(' ');
    let is_word = unit.chars().all(char::is_alphabetic);
    (is_word && end <= MOST_BYTES && unit.len() <= MOST_BYTES).then_some((&text[..end], unit))
}

/// Multiplies a number by a power of ten, rounded once. Returns `None` if the result becomes infinite, or a number that
/// is not zero becomes zero.
fn shifted(number: &str, shift: i64) -> Option<f64> {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    // An exponent that does not fit is far outside the range of doubles, and only its sign matters.
    let out_of_range = if exponent.starts_with('-') { -1_000_000 } else { 1_000_000 };
    let exponent = exponent.parse::<i64>().unwrap_or(out_of_range).clamp(-1_000_000, 1_000_000);
    let value: f64 = format!("{mantissa}e{}", exponent + shift).parse().ok()?;
    let is_zero = mantissa.bytes().all(|b| matches!(b, b'0' | b'.' | b'+' | b'-'));
    match (is_zero, value) {
        // All zeros are 0 without a sign, because a sign would change content hashes but not the model.
        (true, _) => Some(0.0),
        (false, value) => (value.is_finite() && value != 0.0).then_some(value),
    }
}

/// Returns the dimension and the power of ten of a unit.
fn known_unit(unit: &str) -> Option<(Dimension, i64)> {
    DIMENSIONS.iter().find_map(|dimension| {
        dimension.symbols.iter().find_map(|symbol| {
            let prefix = unit.strip_suffix(symbol)?;
            let &(_, exponent) = PREFIXES.iter().find(|(known, _)| *known == prefix)?;
            Some((*dimension, exponent))
        })
    })
}

/// Returns the unit of the wanted dimension that is closest to a mistyped unit.
fn nearest_unit(unit: &str, wanted: Unit) -> Option<String> {
    let (dimension, _) = known_unit(wanted.symbol())?;
    if let Some(same) = same_letters(unit, wanted, dimension) {
        return Some(same);
    }
    let units = units_of(dimension);
    // The model's own unit is first: of equally near units, the first is returned.
    let own = std::iter::once(wanted.symbol());
    suggest::nearest(unit, own.chain(units.iter().map(String::as_str))).map(str::to_owned)
}

/// Returns the unit of a dimension that differs only in upper and lower case. The parameter's own unit is preferred.
/// The case of the prefix of a long symbol is probably right: `Mhz` is `MHz`, and not `mHz`.
fn same_letters(unit: &str, wanted: Unit, dimension: Dimension) -> Option<String> {
    let is_same = |known: &&String| known.to_lowercase() == unit.to_lowercase();
    let own = [wanted.symbol().to_owned()];
    let units = units_of(dimension);
    let is_long = dimension.symbols[0].len() > 1;
    let keeps_prefix = |known: &&String| is_long && known.chars().next() == unit.chars().next();
    let found = own.iter().find(is_same);
    let found = found.or_else(|| units.iter().find(|known| is_same(known) && keeps_prefix(known)));
    found.or_else(|| units.iter().find(is_same)).cloned()
}

fn units_of(dimension: Dimension) -> Vec<String> {
    let symbol = dimension.symbols[0];
    PREFIXES.iter().map(|(prefix, _)| format!("{prefix}{symbol}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_spelling_is_the_nearest_double() {
        let check = |texts: &[&str], unit: Unit, value: f64| {
            for text in texts {
                assert_eq!(quantity(text, unit).map(f64::to_bits), Ok(value.to_bits()), "{text}");
            }
        };
        use Unit::{Millisecond, Millivolt, Nanosiemens, One, Picofarad};
        check(&["170 pS", "0.17 nS", "1.7e-10 S", "170pS", "170   pS", "+.17nS"], Nanosiemens, 0.17);
        check(&["0.00017 uS", "0.00017 \u{b5}S", "0.00017 \u{3bc}S", "170000 fS"], Nanosiemens, 0.17);
        check(&["-55 mV", "-0.055 V", "-55. mV", "-5.5E1 mV", "-55e-3 V", "-.055V"], Millivolt, -55.0);
        check(&["1.01 s", "1010 ms", "1010000 us", "0.00101 ks"], Millisecond, 1010.0);
        check(&["3.1 pF", "3100 fF", "0.0000031 uF", "3.1e-18 MF", "3.1e-21 GF"], Picofarad, 3.1);
        check(&["0.1", "1e-1", ".1"], One, 0.1);
        check(&["0", "-0", "0e99", "-0.0"], One, 0.0);
        check(&["0 mV", "-0 V", "0e-99999999999999999999 V"], Millivolt, 0.0);
        check(&["0.3 s", "300 ms"], Millisecond, 300.0);
    }

    #[test]
    fn nothing_else_is_a_quantity() {
        let check = |text: &str, unit: Unit, error: UnfitQuantity| {
            assert_eq!(quantity(text, unit), Err(error), "{text}");
        };
        for text in [
            "",
            " ",
            "mV",
            "-",
            "+",
            ".",
            "e5",
            "nan mV",
            ".nan",
            "inf",
            ".inf",
            "-.inf",
            "0x1f mV",
            "1_000 mV",
            "1,5 mV",
            "1 000 mV",
            "--5 mV",
            "5 mV mV",
            "5 mV/s",
            "1e mV",
            "1e+ mV",
            " 5 mV",
            "5 mV ",
            "5\tmV",
            "\u{2212}5 mV",
            "５ mV",
            "1:30",
            "5 mV\n",
            "5 m\u{0}V",
        ] {
            check(text, Unit::Millivolt, UnfitQuantity::Junk);
        }
        check(&format!("{} mV", "1".repeat(201)), Unit::Millivolt, UnfitQuantity::Junk);
        check("1e400 mV", Unit::Millivolt, UnfitQuantity::OutOfRange);
        check(
            "1e305 V",
            Unit::Picofarad,
            UnfitQuantity::WrongDimension {
                number: "1e305".into(),
                unit: "V".into(),
                name: "voltage",
                article: "a",
            },
        );
        check("1e308 V", Unit::Millivolt, UnfitQuantity::OutOfRange);
        check("1e-400 mV", Unit::Millivolt, UnfitQuantity::OutOfRange);
        check("1e99999999999999999999", Unit::One, UnfitQuantity::OutOfRange);
        check("1e-99999999999999999999", Unit::One, UnfitQuantity::OutOfRange);
    }

    #[test]
    fn messages_say_what_to_write() {
        let check = |text: &str, unit: Unit, message: &str, help: &str| {
            let unfit = quantity(text, unit).unwrap_err();
            let described = unfit.describe("x.y", text, unit, "-51 mV");
            assert_eq!(described, (message.to_owned(), help.to_owned()), "{text}");
        };
        use Unit::{Millisecond, Millivolt, Nanosiemens, One};
        check("-53", Millivolt, "`x.y` needs a unit", "write `-53 mV`");
        check("0.4 mV", One, "`x.y` is a bare number, but `0.4 mV` has a unit", "write `0.4`");
        check("2 ms", Millivolt, "`x.y` is a voltage (mV), but `2 ms` is a time", "write it in mV");
        check(
            "2 mS",
            Millisecond,
            "`x.y` is a time (ms), but `2 mS` is a conductance",
            "did you mean `2 ms`?",
        );
        check(
            "2 ns",
            Nanosiemens,
            "`x.y` is a conductance (nS), but `2 ns` is a time",
            "did you mean `2 nS`?",
        );
        check("2 mv", Millivolt, "unknown unit `mv`", "did you mean `2 mV`?");
        check(
            "2 nV V",
            Millivolt,
            "`x.y` must be a number with a unit, not `2 nV V`",
            "write it like `-51 mV`",
        );
        check("2 mVV", Millivolt, "unknown unit `mVV`", "did you mean `2 mV`?");
        check("2 m", Millivolt, "unknown unit `m`", "did you mean `2 mV`?");
        check("2 volts", Millivolt, "unknown unit `volts`", "write it in mV");
        check("x", Millivolt, "`x.y` must be a number with a unit, not `x`", "write it like `-51 mV`");
        check(
            "1,5 mV",
            Millivolt,
            "`x.y` must be a number with a unit, not `1,5 mV`",
            "write the decimal point as `.`",
        );
        check("x", One, "`x.y` must be a number, not `x`", "write it like `-51 mV`");
        check(
            "1e999 mV",
            Millivolt,
            "`1e999 mV` is too large or too small a number",
            "write it like `-51 mV`",
        );
    }

    #[test]
    fn every_dimension_has_every_prefix() {
        for dimension in DIMENSIONS {
            let Dimension { symbols, prefixed, .. } = dimension;
            for (symbol, prefix) in prefixed.iter().zip(SHORT_PREFIXES) {
                assert_eq!(*symbol, format!("{prefix}{}", symbols[0]));
                assert_eq!(unit_of(symbol).map(Unit::symbol), Some(*symbol));
                assert_eq!(known_unit(symbol).map(|(of, _)| of), Some(dimension), "{symbol}");
            }
        }
        let check = |symbol: &str, unit: Option<Unit>| assert_eq!(unit_of(symbol), unit, "{symbol}");
        check("", Some(Unit::One));
        check("ms", Some(Unit::Millisecond));
        check("s", Some(Unit::Other("s")));
        for micro in ["uA", "\u{b5}A", "\u{3bc}A"] {
            check(micro, Some(Unit::Other("uA")));
        }
        for ohm in ["MOhm", "M\u{3a9}", "M\u{2126}"] {
            check(ohm, Some(Unit::Other("MOhm")));
        }
        check("mm", Some(Unit::Other("mm")));
        check("mM", Some(Unit::Other("mM")));
        check("M", Some(Unit::Other("M")));
        for other in ["k", "Oh", "mv", "hz", "ohm", "kg", "m m", " ", "5"] {
            check(other, None);
        }
    }

    #[test]
    fn other_units_are_converted_exactly() {
        let check = |texts: &[&str], symbol: &'static str, value: f64| {
            for text in texts {
                assert_eq!(quantity(text, Unit::Other(symbol)), Ok(value), "{text}");
            }
        };
        check(&["0.3 uA", "300 nA", "0.3 \u{b5}A", "3e-7 A"], "uA", 0.3);
        check(&["12.5 Hz", "0.0125 kHz", "12500mHz"], "Hz", 12.5);
        check(&["170 MOhm", "0.17 GOhm", "170 M\u{3a9}", "170e6 \u{2126}"], "MOhm", 170.0);
        check(&["0.05 mm", "50 um", "5e-5 m"], "um", 50.0);
        check(&["1.2 mM", "1200 uM", "0.0012 M"], "mM", 1.2);
        check(&["0.3 s", "300 ms"], "s", 0.3);
        check(&["5 spikes"], "spikes", 5.0);
        for (text, symbol) in [("5 ms", "spikes"), ("5", "spikes"), ("5 Hz", "s"), ("5 spikes", "s")] {
            let unfit = quantity(text, Unit::Other(symbol)).expect_err(text);
            assert!(!unfit.describe("x.y", text, Unit::Other(symbol), "1").1.is_empty());
        }
    }

    #[test]
    fn messages_name_other_dimensions() {
        let check = |text: &str, wanted: &'static str, message: &str, help: &str| {
            let wanted = unit_of(wanted).expect("a unit");
            let unfit = quantity(text, wanted).expect_err(text);
            let described = unfit.describe("x.y", text, wanted, "5 uA");
            assert_eq!(described, (message.to_owned(), help.to_owned()), "{text}");
        };
        check("2 pA", "mV", "`x.y` is a voltage (mV), but `2 pA` is a current", "write it in mV");
        check("2 ms", "Hz", "`x.y` is a frequency (Hz), but `2 ms` is a time", "write it in Hz");
        check("2 mm", "mM", "`x.y` is a concentration (mM), but `2 mm` is a length", "did you mean `2 mM`?");
        check("2 Mhz", "Hz", "unknown unit `Mhz`", "did you mean `2 MHz`?");
        check("2 mohm", "MOhm", "unknown unit `mohm`", "did you mean `2 MOhm`?");
        check("2 Mohm", "kOhm", "unknown unit `Mohm`", "did you mean `2 MOhm`?");
        check("2 kOhms", "kOhm", "unknown unit `kOhms`", "did you mean `2 kOhm`?");
        check("2", "nA", "`x.y` needs a unit", "write `2 nA`");
    }

    proptest! {
        #[test]
        fn any_text_is_a_quantity_or_not(text in "\\PC{0,40}") {
            for unit in [Unit::One, Unit::Millivolt, Unit::Other("MOhm"), Unit::Other("?")] {
                match quantity(&text, unit) {
                    Ok(value) => prop_assert!(value.is_finite()),
                    Err(unfit) => prop_assert!(!unfit.describe("x", &text, unit, "1").0.is_empty()),
                }
            }
        }

        #[test]
        fn a_printed_number_reads_back(value in proptest::num::f64::NORMAL, space in " {0,3}") {
            prop_assert_eq!(quantity(&format!("{value:e}{space}mV"), Unit::Millivolt), Ok(value));
            prop_assert_eq!(quantity(&format!("{value:e}"), Unit::One), Ok(value));
        }

        /// A decimal of many digits written with each prefix is one double: that of the plain unit.
        #[test]
        fn prefixes_do_not_round(digits in 1u64..=u64::MAX, places in 0usize..18) {
            let digits = digits.to_string();
            let at = digits.len().saturating_sub(places);
            let number = format!("{}.{}", &digits[..at], &digits[at..]);
            // Shifts the point by hand, in the digits.
            let mut shifted_up = format!("{}{}", digits, "000");
            shifted_up.insert(at + 3, '.');
            let in_volts: f64 = quantity(&format!("{number} V"), Unit::Millivolt).unwrap();
            prop_assert_eq!(Ok(in_volts), quantity(&format!("{shifted_up} mV"), Unit::Millivolt));
            prop_assert_eq!(in_volts, shifted_up.parse::<f64>().unwrap());
        }
    }
}
