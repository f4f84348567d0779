//! The time axis of a trial.

use bigdecimal::{RoundingMode, ToPrimitive};

use crate::decimal::decimal;

/// Largest relative deviation of a span from a whole number of steps if the step is no finite decimal, such as 1/3 ms.
const TOLERANCE: f64 = 1e-9;

/// The time axis of a trial: steps of equal length. A whole number of steps makes a millisecond.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TimeAxis {
    /// Integration step, ms.
    pub step_ms: f64,
    /// Steps that make a millisecond.
    pub steps_per_ms: u32,
    /// Steps of a trial.
    pub steps: u32,
}

impl TimeAxis {
    /// Returns the number of whole milliseconds of a trial, which are the samples and bins of the output files.
    pub fn bins(&self) -> usize {
        (self.steps / self.steps_per_ms) as usize
    }

    /// Returns the length of a trial, ms.
    pub fn duration_ms(&self) -> f64 {
        f64::from(self.steps) / f64::from(self.steps_per_ms)
    }

    /// Returns the number of steps in this span; `None` if it is no whole number.
    pub fn whole_steps(&self, span_ms: f64) -> Option<u32> {
        if !span_ms.is_finite() {
            return None;
        }
        let steps = decimal(span_ms) * self.steps_per_ms;
        let nearest = steps.with_scale_round(0, RoundingMode::HalfUp);
        // If the step is no finite decimal, neither are the spans.
        let is_finite = 10_u32.pow(9).is_multiple_of(self.steps_per_ms);
        let tolerance = if is_finite { decimal(0.0) } else { decimal(TOLERANCE) * &nearest };
        ((&steps - &nearest).abs() <= tolerance).then(|| nearest.to_u32()).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(step_ms: f64, steps_per_ms: u32) -> TimeAxis {
        TimeAxis { step_ms, steps_per_ms, steps: 100 * steps_per_ms }
    }

    #[test]
    fn spans_are_whole_steps_or_none() {
        let tenth = axis(0.1, 10);
        assert_eq!([0.3, 0.3 + 1e-9, 0.0].map(|span| tenth.whole_steps(span)), [Some(3), None, Some(0)]);
        assert_eq!([f64::NAN, f64::INFINITY, 1e300].map(|span| tenth.whole_steps(span)), [None; 3]);
        let third = axis(0.333_333_333_4, 3);
        assert_eq!([0.333_333_333_3, 0.33].map(|span| third.whole_steps(span)), [Some(1), None]);
        assert_eq!((third.bins(), third.duration_ms()), (100, 100.0));
    }
}
