//! Student's t distribution.

use std::f64::consts::PI;

/// Student's t distribution with a positive number of degrees of freedom.
///
/// Relative errors are below 10⁻¹² up to 1000 degrees of freedom, and then grow in proportion to their number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StudentT {
    degrees: f64,
}

impl StudentT {
    /// Creates the distribution; `None` without degrees of freedom.
    pub fn new(degrees: usize) -> Option<StudentT> {
        (degrees > 0).then_some(StudentT { degrees: degrees as f64 })
    }

    /// Returns the probability of values up to `t`; NaN if `t` is NaN.
    pub fn cdf(self, t: f64) -> f64 {
        let tail = self.tail(t.abs());
        if t < 0.0 { tail } else { 1.0 - tail }
    }

    /// Returns the probability of values at least as far from 0 as `t`: the two-sided p value of a t test.
    /// Probabilities near 0 keep their relative accuracy.
    pub fn two_sided(self, t: f64) -> f64 {
        2.0 * self.tail(t.abs())
    }

    /// Returns the value whose cumulative probability is `p`, which must be above 0 and below 1; otherwise NaN.
    pub fn quantile(self, p: f64) -> f64 {
        if !(p > 0.0 && p < 1.0) {
            return f64::NAN;
        }
        // Newton's method on the upper half, where the distribution function is concave. So from 0, the steps
        // approach the quantile from below, and end when rounding prevents another one.
        let tail = p.min(1.0 - p);
        let mut t = 0.0;
        loop {
            // Near 0, a difference of tails would lose digits.
            let missing = if self.is_near(t) { (0.5 - tail) - self.centre(t) } else { self.tail(t) - tail };
            let next = t + missing / self.density(t);
            if next.is_nan() || next <= t {
                return if p < 0.5 { -t } else { t };
            }
            t = next;
        }
    }

    /// Whether the continued fraction of `centre` converges faster than that of `tail`.
    fn is_near(self, t: f64) -> bool {
        t * t * (self.degrees + 2.0) < 3.0 * self.degrees
    }

    /// The probability of values above `t`, for `t` from 0. With n degrees of freedom, it is half of the regularized
    /// incomplete beta function I_x(n/2, 1/2) at x = n / (n + t²). Source: Abramowitz and Stegun (1964), Handbook of
    /// mathematical functions, 26.7.1. The factor before its continued fraction is t · density(t) / n.
    fn tail(self, t: f64) -> f64 {
        if self.is_near(t) {
            0.5 - self.centre(t)
        } else if t == f64::INFINITY {
            0.0
        } else {
            let x = 1.0 / (1.0 + t * t / self.degrees);
            t * self.density(t) / self.degrees * continued_fraction(self.degrees / 2.0, 0.5, x)
        }
    }

    /// The probability of values between 0 and `t`, for `t` near 0: half of I_(1−x)(1/2, n/2).
    fn centre(self, t: f64) -> f64 {
        let square = t * t / self.degrees;
        t * self.density(t) * continued_fraction(0.5, self.degrees / 2.0, square / (1.0 + square))
    }

    fn density(self, t: f64) -> f64 {
        let n = self.degrees;
        gamma_ratio(n / 2.0) / (n * PI).sqrt() * libm::exp(-(n + 1.0) / 2.0 * libm::log1p(t * t / n))
    }
}

/// Γ(a + 1/2) / Γ(a). A difference of logarithms of Γ would lose digits for a large `a`.
/// Source: the expansion of Γ(a + 1/2) / Γ(a) in 1/a, as in Graham, Knuth and Patashnik (1994), Concrete mathematics,
/// exercise 9.60. Its error is below 10⁻¹⁵ where it is used.
fn gamma_ratio(a: f64) -> f64 {
    if a < 100.0 {
        return libm::exp(libm::lgamma(a + 0.5) - libm::lgamma(a));
    }
    let terms = [1.0, -1.0 / 8.0, 1.0 / 128.0, 5.0 / 1024.0, -21.0 / 32_768.0, -399.0 / 262_144.0];
    a.sqrt() * terms.iter().rev().fold(0.0, |sum, term| sum / a + term)
}

/// The continued fraction of I_x(a, b), evaluated from its front until a step changes nothing. It converges fast for x
/// below (a + 1) / (a + b + 2).
///
/// Source: 8.17.22 of the NIST Digital Library of Mathematical Functions; Lentz (1976), Applied Optics 15, 668–671.
fn continued_fraction(a: f64, b: f64, x: f64) -> f64 {
    let (mut denominator, mut above, mut below) = (1.0, 1.0, 0.0);
    for step in 1..MOST_STEPS {
        let m = f64::from(step / 2);
        let coefficient = if step % 2 == 0 {
            m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m))
        } else {
            -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0))
        };
        above = 1.0 + coefficient / above;
        below = 1.0 / (1.0 + coefficient * below);
        denominator *= above * below;
        if (above * below - 1.0).abs() <= f64::EPSILON {
            break;
        }
    }
    1.0 / denominator
}

/// More steps than any number of degrees of freedom needs.
const MOST_STEPS: u32 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() <= 1e-13 * expected.abs(), "{found} != {expected}");
    }

    #[test]
    fn few_degrees_of_freedom_have_closed_forms() {
        let [one, two] = [1, 2].map(|degrees| StudentT::new(degrees).expect("degrees"));
        for t in [0.0, 1e-9, 0.3, 1.0, 1.5, 12.0, 1e6] {
            // The tails are 1/2 − atan(t) / π, and 1/2 − t / (2 √(2 + t²)) without its cancellation.
            close(one.two_sided(t), 2.0 / PI * f64::atan2(1.0, t));
            let root = (2.0 + t * t).sqrt();
            close(two.two_sided(-t), 2.0 / (root * (root + t)));
            close(one.cdf(t) + one.cdf(-t), 1.0);
        }
        for p in [1e-12, 0.025, 0.4, 0.5 + 1e-9, 0.975, 0.999] {
            // tan(π (p − 1/2)), from the difference to the nearest of 0, 1/2 and 1, which is exact.
            let expected = match p {
                0.0..0.25 => -1.0 / (PI * p).tan(),
                0.25..0.75 => (PI * (p - 0.5)).tan(),
                _ => 1.0 / (PI * (1.0 - p)).tan(),
            };
            close(one.quantile(p), expected);
            let centre = 2.0 * (p - 0.5);
            close(two.quantile(p), centre / (2.0 * p * (1.0 - p)).sqrt());
        }
    }

    #[test]
    fn many_degrees_of_freedom_approach_the_normal_distribution() {
        // The first terms of the expansion in 1/n: Abramowitz and Stegun, 26.7.5.
        let (n, z) = (1e6, crate::NORMAL_975);
        let expected = z + (z.powi(3) + z) / (4.0 * n);
        let found = StudentT::new(1_000_000).expect("degrees").quantile(0.975);
        assert!((found - expected).abs() < 1e-9, "{found} != {expected}");
    }

    #[test]
    fn limits_are_no_values() {
        assert_eq!(StudentT::new(0), None);
        let student = StudentT::new(7).expect("degrees");
        assert_eq!((student.cdf(f64::INFINITY), student.two_sided(f64::NEG_INFINITY)), (1.0, 0.0));
        assert_eq!(student.quantile(0.5), 0.0);
        for undefined in [student.quantile(0.0), student.quantile(1.0), student.cdf(f64::NAN)] {
            assert!(undefined.is_nan(), "{undefined}");
        }
    }
}
