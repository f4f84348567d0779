//! Conversion of times to steps, and of steps to milliseconds.
//!
//! A parameter is a double. It stands for the shortest decimal that reads back as that double. Up to 15 digits, this is
//! the decimal that the user wrote. With engine `pcg`, whole numbers are computed from these decimals, exactly. With
//! engine `brian2-2.2.1`, they are computed as Brian2 2.2.1 does: in seconds, in double precision.

use bigdecimal::{BigDecimal, RoundingMode, ToPrimitive};
use granule_engine::decimal::decimal;

use crate::Method;
use crate::parameters::TimeGrid;

/// Largest deviation from 1 ms of a whole number of steps. A step of 1/3 ms can only be written as a rounded decimal.
const TOLERANCE: f64 = 1e-9;

/// Computes floor(x·n + shift) of exact decimals; saturates at `u32::MAX`.
fn floor(x: f64, n: u32, shift: f64) -> u32 {
    let about = x * f64::from(n) + shift;
    if is_far_from_whole(about) {
        return about as u32;
    }
    whole(&(decimal(x) * n + decimal(shift)), RoundingMode::Floor)
}

/// Computes the whole number nearest to x·n, half to even, from exact decimals.
pub(crate) fn half_to_even(x: f64, n: u32) -> u32 {
    let about = x * f64::from(n);
    if is_far_from_whole(about + 0.5) {
        return (about + 0.5) as u32;
    }
    whole(&(decimal(x) * n), RoundingMode::HalfEven)
}

/// Returns whether 1 divided by this number is a finite decimal, for numbers up to a thousand.
pub(crate) fn is_decimal(divisor: u32) -> bool {
    10_u32.pow(9).is_multiple_of(divisor)
}

/// Returns whether the floor of a number is certain despite the rounding errors of a few operations. For long lists of
/// numbers, this check saves the time of decimal arithmetic.
fn is_far_from_whole(about: f64) -> bool {
    about < 1e9 && (about - about.round()).abs() > 1e-6
}

/// Rounds a decimal that is not negative to a whole number; saturates at `u32::MAX`.
fn whole(x: &BigDecimal, mode: RoundingMode) -> u32 {
    x.with_scale_round(0, mode).to_u32().unwrap_or(u32::MAX)
}

/// The time grid of a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clock {
    engine: Method,
    step_ms: f64,
    steps_per_ms: u32,
}

impl Clock {
    /// Makes the grid with this step; returns `None` if no whole number of steps makes a millisecond.
    pub(crate) fn new(engine: Method, time: TimeGrid) -> Option<Clock> {
        let steps_per_ms = (1.0 / time.step_ms).round();
        let fits = (steps_per_ms * time.step_ms - 1.0).abs() <= TOLERANCE;
        fits.then_some(Clock { engine, step_ms: time.step_ms, steps_per_ms: steps_per_ms as u32 })
    }

    /// Returns the engine whose rules the grid follows.
    pub(crate) fn method(self) -> Method {
        self.engine
    }

    /// Returns the number of steps in a millisecond.
    pub fn steps_per_ms(self) -> u32 {
        self.steps_per_ms
    }

    /// Returns the step, s.
    pub fn step_s(self) -> f64 {
        self.step_ms * 1e-3
    }

    /// Returns the step in which a stimulus falls, or the number of steps of a refractory period. A time that lies up
    /// to a thousandth of a step before a step counts as that step.
    ///
    /// Brian2: `timestep()` in `core/functions.py`. The spike generator of version 2.2.1 compares such times with the
    /// ends of steps instead. The result differs only for times that lie exactly a thousandth of a step before a step.
    pub(crate) fn step_of(self, time_ms: f64) -> u32 {
        match self.engine {
            Method::Pcg => floor(time_ms, self.steps_per_ms, 1e-3),
            Method::Brian2_2_2_1 => {
                let step_s = self.step_s();
                ((time_ms * 1e-3 + 1e-3 * step_s) / step_s) as u32
            }
        }
    }

    /// Returns the number of steps from a spike to its effect.
    ///
    /// Brian2 2.2.1: `CSpikeQueue::prepare` in `synapses/cspikequeue.cpp`.
    pub(crate) fn delay(self, span_ms: f64) -> u32 {
        match self.engine {
            Method::Pcg => floor(span_ms, self.steps_per_ms, 0.5),
            Method::Brian2_2_2_1 => (span_ms * 1e-3 / self.step_s() + 0.5) as u32,
        }
    }

    /// Returns the millisecond in which a spike counts for spike probabilities; `None` if it does not count.
    ///
    /// The original program divides the time of a spike by a millisecond, in double precision, and then selects the
    /// times that are not zero. Therefore a spike at the beginning of a millisecond can count in the millisecond
    /// before, and a spike in step 0 is lost.
    pub fn bin(self, step: u32) -> Option<usize> {
        match self.engine {
            Method::Pcg => Some((step / self.steps_per_ms) as usize),
            Method::Brian2_2_2_1 => (step > 0).then(|| ((f64::from(step) * self.step_s()) / 1e-3) as usize),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(engine: Method, step_ms: f64) -> Clock {
        Clock::new(engine, TimeGrid { step_ms, duration_ms: 100.0 }).unwrap()
    }

    const PCG: Method = Method::Pcg;
    const BRIAN: Method = Method::Brian2_2_2_1;

    /// Times of half steps as (step in ms, k, k + ½ steps in ms), for all steps that are decimals of three places.
    fn half_steps() -> impl Iterator<Item = (f64, u32, f64)> {
        let per_step = (1..=1000_u32).filter(|microseconds| 1000 % microseconds == 0);
        per_step.flat_map(|microseconds| {
            let of = move |k: u32| {
                let span_ms: f64 = format!("{}e-4", (2 * k + 1) * microseconds * 5).parse().unwrap();
                (f64::from(microseconds) / 1000.0, k, span_ms)
            };
            (0..400).map(of)
        })
    }

    #[test]
    fn half_steps_round_up_in_decimals() {
        for (step_ms, k, span_ms) in half_steps() {
            assert_eq!(clock(PCG, step_ms).delay(span_ms), k + 1, "{span_ms} ms of {step_ms} ms");
            assert_eq!(clock(PCG, step_ms).step_of(span_ms), k, "{span_ms} ms of {step_ms} ms");
        }
    }

    /// The expected numbers are `int(x*ms/(step*ms) + 0.5)` in Python, with `ms` = 0.001.
    #[test]
    fn half_steps_round_in_seconds_with_brian2() {
        let steps = |step_ms: f64, span_ms: f64| clock(BRIAN, step_ms).delay(span_ms);
        assert_eq!(steps(0.1, 0.35), 4);
        assert_eq!(steps(0.1, 0.15), 1);
        assert_eq!(steps(0.1, 2.0), 20);
        let common = [0.5, 0.25, 0.2, 0.1, 0.05, 0.025, 0.02, 0.01];
        let up = half_steps().filter(|(step_ms, ..)| common.contains(step_ms));
        let differ =
            up.filter(|&(step_ms, _, span_ms)| steps(step_ms, span_ms) != (span_ms / step_ms + 0.5) as u32);
        assert_eq!(differ.count(), 586);
    }

    #[test]
    fn a_thousandth_of_a_step_below_a_step_is_that_step() {
        for (span_ms, expected) in
            [(0.0, 0), (0.0998, 0), (0.0999, 1), (0.1, 1), (2.0, 20), (2.0998, 20), (2.0999, 21)]
        {
            assert_eq!(clock(PCG, 0.1).step_of(span_ms), expected, "{span_ms}");
        }
        assert_eq!(clock(PCG, 0.1).step_of(1e300), u32::MAX);
        assert_eq!(clock(PCG, 0.1).delay(1e-300), 0);
    }

    #[test]
    fn brian2_takes_whole_steps_for_what_they_are() {
        for microseconds in (1..=1000_u32).filter(|microseconds| 1000 % microseconds == 0) {
            let step_ms = f64::from(microseconds) / 1000.0;
            let clock = clock(BRIAN, step_ms);
            for step in (0..3000).chain([9_999_999, 99_999_999]) {
                let time_ms = f64::from(step) * f64::from(microseconds) / 1000.0;
                assert_eq!(clock.step_of(time_ms), step, "{time_ms} of {step_ms}");
                // A time within a step falls in that step.
                let within_ms = time_ms + 0.4 * step_ms;
                assert_eq!(clock.step_of(within_ms), step, "{within_ms}");
            }
        }
    }

    #[test]
    fn the_short_way_is_the_exact_one() {
        let exactly =
            |x: f64, n: u32, shift: f64| whole(&(decimal(x) * n + decimal(shift)), RoundingMode::Floor);
        for n in [1, 3, 7, 10, 40, 125, 999, 1000] {
            for k in (0..3000_u32).chain([99_999, 999_999]) {
                // Around multiples of a thousandth of a step.
                let x = f64::from(k) / 1000.0 / f64::from(n);
                for x in [x.next_down().max(0.0), x, x.next_up(), (x * 1e6).round() / 1e6] {
                    for shift in [1e-3, 0.5] {
                        assert_eq!(floor(x, n, shift), exactly(x, n, shift), "{x} × {n} + {shift}");
                    }
                    let even = whole(&(decimal(x) * n), RoundingMode::HalfEven);
                    assert_eq!(half_to_even(x, n), even, "{x} × {n}");
                }
            }
        }
    }

    #[test]
    fn bins_are_whole_milliseconds_or_the_originals() {
        let pcg = clock(PCG, 0.008);
        assert_eq!([0, 124, 125, 875, 999].map(|step| pcg.bin(step)), [0, 0, 1, 7, 7].map(Some));
        let brian = clock(BRIAN, 0.008);
        // In Brian2's arithmetic, 7 ms is 6.999… ms.
        assert_eq!(
            [0, 124, 125, 875, 999].map(|step| brian.bin(step)),
            [None, Some(0), Some(1), Some(6), Some(7)]
        );
        // Both rules agree on every step of the paper's grid.
        let [pcg, brian] = [PCG, BRIAN].map(|engine| clock(engine, 0.1));
        assert!((1..20_000).all(|step| pcg.bin(step) == brian.bin(step)));
    }

    #[test]
    fn steps_that_do_not_end_are_the_fraction_that_they_are_near() {
        let third = clock(PCG, 0.333_333_333_4);
        assert_eq!(third.steps_per_ms(), 3);
        // With a step of exactly 0.3333333334 ms, this time would lie 0.0006 steps before step 2999997.
        assert_eq!(third.step_of(999_999.0), 2_999_997);
        assert_eq!(third.bin(2_999_997), Some(999_999));
        assert_eq!(third.delay(0.5), 2);
        let step_ms = 0.3;
        assert_eq!(Clock::new(PCG, TimeGrid { step_ms, duration_ms: 3.0 }), None);
    }
}
