//! Scales: places of numbers on an axis, and round numbers for its ticks.

/// Place of zero on a logarithmic axis, and beginning of the positive numbers, as fractions of the axis.
const ZERO_AT: f64 = 0.07;
const REST_FROM: f64 = 0.17;

/// Numbers with a larger magnitude are clamped to this one, so that no difference overflows.
const LARGEST: f64 = 1e150;

/// Maps numbers to places on an axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scale {
    /// Linear from low to high.
    Linear {
        /// Number at the beginning of the axis.
        low: f64,
        /// Number at the end of the axis.
        high: f64,
    },
    /// Logarithmic.
    Log {
        /// Number at the beginning of the axis or, with a place for zero, of the part after the break.
        low: f64,
        /// Number at the end of the axis.
        high: f64,
        /// Whether the axis begins with a place for zero and a break.
        zero: bool,
    },
}

/// A tick of an axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Tick {
    /// Number at the tick.
    pub value: f64,
    /// Label of the tick. On a vertical axis, `\n` begins another line.
    pub label: String,
}

impl Scale {
    /// Creates a linear scale. Bounds that are equal, reversed or not finite are changed to a valid range.
    pub fn linear(low: f64, high: f64) -> Scale {
        let [low, high] =
            [low, high].map(|bound| if bound.is_nan() { 0.0 } else { bound.clamp(-LARGEST, LARGEST) });
        let (low, high) = (low.min(high), low.max(high));
        if high - low > 1e-9 * low.abs().max(high.abs()) {
            return Scale::Linear { low, high };
        }
        let around = if low == 0.0 { 1.0 } else { 0.1 * low.abs() };
        Scale::Linear { low: low - around, high: high + around }
    }

    /// Creates a logarithmic scale of positive numbers. Bounds that are no valid range are changed to one.
    pub fn log(low: f64, high: f64) -> Scale {
        let fits = |bound: f64| bound.is_finite() && bound > 0.0;
        let (low, high) = match (fits(low), fits(high)) {
            (true, true) => (low.min(high), low.max(high)),
            (true, false) => (low, low),
            (false, true) => (high, high),
            (false, false) => (1.0, 1.0),
        };
        let [low, high] = [low, high].map(|bound| bound.clamp(1.0 / LARGEST, LARGEST));
        let (low, high) = if high / low > 1.0 + 1e-9 { (low, high) } else { (low / 2.0, high * 2.0) };
        Scale::Log { low, high, zero: false }
    }

    /// Creates a logarithmic scale of positive numbers, with a place for zero.
    pub fn log_with_zero(low: f64, high: f64) -> Scale {
        match Scale::log(low, high) {
            Scale::Log { low, high, .. } => Scale::Log { low, high, zero: true },
            linear @ Scale::Linear { .. } => linear,
        }
    }

    /// Creates a linear scale for all finite values, extended on both sides by `room` times their range.
    pub fn around(values: impl IntoIterator<Item = f64>, room: f64) -> Scale {
        let (low, high) = range(values.into_iter().filter(|value| value.is_finite()));
        match Scale::linear(low, high) {
            Scale::Linear { low, high } => {
                let room = room * (high - low);
                Scale::Linear { low: low - room, high: high + room }
            }
            log @ Scale::Log { .. } => log,
        }
    }

    /// Creates a linear scale from zero to the largest finite value, extended by `room` times that value.
    pub fn from_zero(values: impl IntoIterator<Item = f64>, room: f64) -> Scale {
        let (_, high) = range(values.into_iter().filter(|value| value.is_finite()));
        if high > 0.0 { Scale::linear(0.0, high * (1.0 + room)) } else { Scale::linear(0.0, 1.0) }
    }

    /// Returns the number at this distance from another, in fractions of the axis.
    pub fn shifted(self, value: f64, by: f64) -> f64 {
        match self {
            Scale::Linear { low, high } => value + by * (high - low),
            Scale::Log { low, high, .. } => value * (high / low).powf(by),
        }
    }

    /// Returns the place of a number: 0 at the beginning of the axis, 1 at its end, NaN if it has none.
    pub fn fraction(self, value: f64) -> f64 {
        match self {
            Scale::Linear { low, high } => (value - low) / (high - low),
            Scale::Log { zero: true, .. } if value == 0.0 => ZERO_AT,
            Scale::Log { low, high, zero } => {
                let fraction = (value / low).ln() / (high / low).ln();
                if zero { REST_FROM + (1.0 - REST_FROM) * fraction } else { fraction }
            }
        }
    }

    /// Returns the place of the axis's break, if it has one.
    pub fn break_at(self) -> Option<f64> {
        matches!(self, Scale::Log { zero: true, .. }).then_some((ZERO_AT + REST_FROM) / 2.0)
    }

    /// Returns at most `most` ticks at round numbers, and a tick at zero if the scale has a place for zero.
    pub fn ticks(self, most: usize) -> Vec<Tick> {
        match self {
            Scale::Linear { low, high } => linear_ticks(low, high, most.max(2)),
            Scale::Log { low, high, zero } => {
                let mut ticks = log_ticks(low, high, most.max(2));
                if zero {
                    ticks.insert(0, Tick { value: 0.0, label: "0".to_owned() });
                }
                ticks
            }
        }
    }
}

/// Returns the smallest and the largest value; (0, 0) without values.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let found = values.fold(None, |found: Option<(f64, f64)>, value| {
        let (low, high) = found.unwrap_or((value, value));
        Some((low.min(value), high.max(value)))
    });
    found.unwrap_or((0.0, 0.0))
}

/// Returns the multiples of a step of 1, 2 or 5 times a power of ten. The step is the smallest that gives at
/// most `most`.
fn linear_ticks(low: f64, high: f64, most: usize) -> Vec<Tick> {
    let least = (high - low) / most as f64;
    let begin = least.log10().floor() as i32 - 1;
    let steps = (begin..begin + 4).flat_map(|power| [1, 2, 5].map(|digit| (digit, power)));
    // The bounds are rounded, so ticks slightly beyond them are accepted.
    let tolerance = 1e-9 * (high - low);
    for (digit, power) in steps {
        let step = f64::from(digit) * 10.0_f64.powi(power);
        let first = ((low - tolerance) / step).ceil();
        let last = ((high + tolerance) / step).floor();
        if last - first + 1.0 <= most as f64 {
            let count = (last - first + 1.0).max(0.0) as usize;
            let value = |i: usize| {
                let multiple = (first + i as f64) * f64::from(digit);
                // The division rounds once. A multiplication by a fraction would round twice.
                if power < 0 { multiple / 10.0_f64.powi(-power) } else { multiple * 10.0_f64.powi(power) }
            };
            let largest = low.abs().max(high.abs());
            return (0..count)
                .map(|i| Tick { value: value(i), label: label(value(i), power, largest) })
                .collect();
        }
    }
    Vec::new()
}

/// Returns powers of ten, and 2 and 5 times or 3 times them if there is room.
fn log_ticks(low: f64, high: f64, most: usize) -> Vec<Tick> {
    let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    let inside = |value: &f64| *value >= low * (1.0 - 1e-9) && *value <= high * (1.0 + 1e-9);
    let ticks = |digits: &[i32], every: usize| -> Vec<Tick> {
        let powers = (first..=last).filter(|power| power.rem_euclid(every as i32) == 0);
        let numbers = powers.flat_map(|power| digits.iter().map(move |&digit| (digit, power)));
        let value = |(digit, power): (i32, i32)| {
            if power < 0 {
                f64::from(digit) / 10.0_f64.powi(-power)
            } else {
                f64::from(digit) * 10.0_f64.powi(power)
            }
        };
        let label = |at: (i32, i32)| Tick { value: value(at), label: label(value(at), at.1, value(at)) };
        numbers.filter(|&at| inside(&value(at))).map(label).collect()
    };
    let decades = (last - first) as usize;
    let dense: [&[i32]; 3] = [&[1, 2, 5], &[1, 3], &[1]];
    let sparse = (2..=decades.max(2)).map(|every| ticks(&[1], every));
    let all = dense.iter().map(|digits| ticks(digits, 1)).chain(sparse);
    let mut fitting = all.filter(|ticks| ticks.len() <= most);
    match fitting.next() {
        Some(ticks) if ticks.len() > 1 || high / low > 10.0 => ticks,
        // The range is smaller than a step of these, so the ticks are those of a linear axis.
        _ => linear_ticks(low, high, most).into_iter().filter(|tick| inside(&tick.value)).collect(),
    }
}

/// Formats a number with so many decimals and with a true minus sign. A number that rounds to zero has no sign.
pub fn fixed(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    match text.strip_prefix('-') {
        Some(size) if size.bytes().all(|byte| matches!(byte, b'0' | b'.')) => size.to_owned(),
        Some(size) => format!("−{size}"),
        None => text,
    }
}

/// Formats a number with the decimals of a step of this power of ten, and with a true minus sign.
fn label(value: f64, power: i32, largest: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let sign = if value < 0.0 { "−" } else { "" };
    let size = value.abs();
    if largest >= 1e5 || (power < -4 && largest < 1e-2) {
        let exponent = size.log10().floor() as i32;
        // As many digits as the step leaves.
        let digits = (exponent - power).clamp(0, 6) as usize;
        let text = format!("{size:.digits$e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let mantissa = if mantissa.contains('.') {
            mantissa.trim_end_matches('0').trim_end_matches('.')
        } else {
            mantissa
        };
        let exponent = exponent.replace('-', "−");
        return match mantissa {
            "1" => format!("{sign}10^{{{exponent}}}"),
            _ => format!("{sign}{mantissa}×10^{{{exponent}}}"),
        };
    }
    let decimals = (-power).max(0) as usize;
    format!("{sign}{size:.decimals$}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels(scale: Scale, most: usize) -> Vec<String> {
        scale.ticks(most).into_iter().map(|tick| tick.label).collect()
    }

    #[test]
    fn numbers_that_round_to_zero_have_no_sign() {
        let found =
            [(-0.04, 1), (-0.0, 0), (-0.05, 2), (-3.0, 0), (0.26, 1)].map(|(value, of)| fixed(value, of));
        assert_eq!(found, ["0.0", "0", "−0.05", "−3", "0.3"]);
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(labels(Scale::linear(0.0, 1.0), 6), ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(labels(Scale::linear(0.0, 1.0), 5), ["0", "0.5", "1.0"]);
        assert_eq!(labels(Scale::linear(-4.7, 2.1), 5), ["−4", "−2", "0", "2"]);
        assert_eq!(labels(Scale::linear(-10.0, 49.0), 7), ["−10", "0", "10", "20", "30", "40"]);
        assert_eq!(labels(Scale::linear(0.0, 123_456.0), 4), ["0", "5×10^{4}", "10^{5}"]);
        assert_eq!(labels(Scale::linear(0.0, 3e-5), 4), ["0", "10^{−5}", "2×10^{−5}", "3×10^{−5}"]);
        assert_eq!(labels(Scale::linear(0.3, 0.7), 3), ["0.4", "0.6"]);
        assert_eq!(
            labels(Scale::linear(2019.0, 2021.0), 5),
            ["2019.0", "2019.5", "2020.0", "2020.5", "2021.0"]
        );
        // The tick's value is exactly the number in its label.
        assert_eq!(Scale::linear(0.0, 0.3).ticks(4)[3].value, 0.3);
    }

    #[test]
    fn logarithmic_ticks_are_round_too() {
        assert_eq!(labels(Scale::log(0.3, 8.5), 8), ["0.5", "1", "2", "5"]);
        assert_eq!(labels(Scale::log(0.009, 110.0), 5), ["0.01", "0.1", "1", "10", "100"]);
        assert_eq!(labels(Scale::log(1e-12, 1e12), 5), ["10^{−10}", "10^{−5}", "1", "10^{5}", "10^{10}"]);
        assert_eq!(labels(Scale::log(3.1, 4.2), 4), ["3.5", "4.0"]);
        assert_eq!(labels(Scale::log_with_zero(0.3, 8.5), 8), ["0", "0.5", "1", "2", "5"]);
    }

    #[test]
    fn numbers_have_their_places() {
        let scale = Scale::linear(-1.0, 3.0);
        assert_eq!((scale.fraction(-1.0), scale.fraction(0.0), scale.fraction(3.0)), (0.0, 0.25, 1.0));
        let scale = Scale::log(0.1, 10.0);
        assert_eq!((scale.fraction(0.1), scale.fraction(10.0)), (0.0, 1.0));
        assert!((scale.fraction(1.0) - 0.5).abs() < 1e-15);
        assert_eq!(scale.break_at(), None);
        let scale = Scale::log_with_zero(0.1, 10.0);
        assert_eq!(
            (scale.fraction(0.0), scale.fraction(0.1), scale.fraction(10.0)),
            (ZERO_AT, REST_FROM, 1.0)
        );
        assert!(scale.break_at().is_some_and(|at| ZERO_AT < at && at < REST_FROM));
        assert!(scale.fraction(-1.0).is_nan());
    }

    #[test]
    fn bounds_that_are_no_range_are_made_one() {
        assert_eq!(Scale::linear(3.0, 1.0), Scale::Linear { low: 1.0, high: 3.0 });
        assert_eq!(Scale::linear(0.0, 0.0), Scale::Linear { low: -1.0, high: 1.0 });
        assert_eq!(Scale::linear(f64::NAN, 0.0), Scale::Linear { low: -1.0, high: 1.0 });
        assert_eq!(Scale::log(0.0, -1.0), Scale::Log { low: 0.5, high: 2.0, zero: false });
        assert_eq!(Scale::log(0.0, 4.0), Scale::Log { low: 2.0, high: 8.0, zero: false });
        assert_eq!(Scale::around([], 0.1), Scale::Linear { low: -1.2, high: 1.2 });
        assert_eq!(Scale::from_zero([f64::NAN, 2.0], 0.5), Scale::Linear { low: 0.0, high: 3.0 });
        assert_eq!(Scale::from_zero([0.0], 0.5), Scale::Linear { low: 0.0, high: 1.0 });
    }

    proptest! {
        /// Checks that ticks of any range are few, inside the range and ascending.
        #[test]
        fn ticks_hold_for_any_range(low in -1e6..1e6_f64, log_span in -8.0..12.0_f64, most in 2..12_usize) {
            let scale = Scale::linear(low, low + 10.0_f64.powf(log_span));
            let Scale::Linear { low, high } = scale else { unreachable!() };
            let ticks = scale.ticks(most);
            prop_assert!(ticks.len() <= most);
            prop_assert!(most < 3 || !ticks.is_empty());
            let slack = 1e-8 * (high - low);
            for pair in ticks.windows(2) {
                prop_assert!(pair[0].value < pair[1].value);
            }
            for tick in &ticks {
                prop_assert!(tick.value >= low - slack && tick.value <= high + slack, "{tick:?}");
            }
        }

        #[test]
        fn logarithmic_ticks_hold_for_any_range(low in -20.0..20.0_f64, span in 0.001..30.0_f64, most in 2..12_usize) {
            let scale = Scale::log(10.0_f64.powf(low), 10.0_f64.powf(low + span));
            let ticks = scale.ticks(most);
            prop_assert!(ticks.len() <= most);
            for tick in &ticks {
                prop_assert!((-1e-6..=1.0 + 1e-6).contains(&scale.fraction(tick.value)), "{tick:?}");
            }
        }
    }
}
