//! Kernel densities.

use std::f64::consts::PI;

/// How far a curve extends beyond the outermost values, in bandwidths. The kernel is below 0.04 % of its peak
/// there.
const REACH: f64 = 4.0;
/// Points of a curve: per bandwidth, and at most.
const POINTS_PER_BANDWIDTH: f64 = 20.0;
const MOST_POINTS: f64 = 4000.0;

/// A density estimated with Gaussian kernels:
/// f(x) = 1 / (n h √(2π)) · Σ exp(−(x − xᵢ)² / (2 h²)), with n values xᵢ and the bandwidth h.
#[derive(Clone, Debug)]
pub struct Density {
    values: Vec<f64>,
    bandwidth: f64,
}

impl Density {
    /// Creates the density of a sample. Returns `None` if the sample is empty or not finite, or if the
    /// bandwidth is not positive.
    pub fn new(values: Vec<f64>, bandwidth: f64) -> Option<Density> {
        let fits = !values.is_empty() && values.iter().all(|value| value.is_finite());
        (fits && bandwidth.is_finite() && bandwidth > 0.0).then_some(Density { values, bandwidth })
    }

    /// Returns the density at `x`.
    pub fn at(&self, x: f64) -> f64 {
        let kernels = self.values.iter().map(|value| {
            let distance = (x - value) / self.bandwidth;
            (-0.5 * distance * distance).exp()
        });
        kernels.sum::<f64>() / (self.values.len() as f64 * self.bandwidth * (2.0 * PI).sqrt())
    }

    /// Returns evenly spaced points (x, density) over the range where the density is not nearly 0.
    pub fn curve(&self) -> Vec<(f64, f64)> {
        let smallest = self.values.iter().copied().fold(f64::INFINITY, f64::min);
        let largest = self.values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let begin = smallest - REACH * self.bandwidth;
        let span = largest + REACH * self.bandwidth - begin;
        let steps = (span / self.bandwidth * POINTS_PER_BANDWIDTH).ceil().min(MOST_POINTS);
        let point = |step: usize| {
            let x = begin + span * (step as f64 / steps);
            (x, self.at(x))
        };
        (0..=steps as usize).map(point).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_gives_the_normal_density() {
        let density = Density::new(vec![3.0], 0.5).expect("a value");
        for x in [1.0, 2.5, 3.0, 4.25] {
            let z: f64 = (x - 3.0) / 0.5;
            let normal = (-z * z / 2.0).exp() / (0.5 * (2.0 * PI).sqrt());
            assert!((density.at(x) - normal).abs() <= 1e-15 * normal, "{x}");
        }
    }

    #[test]
    fn a_density_is_the_mean_of_those_of_its_values() {
        let values = [0.1, 0.7, 0.75, -2.0];
        let all = Density::new(values.to_vec(), 0.2).expect("values");
        let each: Vec<Density> =
            values.iter().map(|value| Density::new(vec![*value], 0.2).expect("a value")).collect();
        for x in [-2.1, 0.0, 0.5, 0.9] {
            let mean = each.iter().map(|density| density.at(x)).sum::<f64>() / 4.0;
            assert!((all.at(x) - mean).abs() < 1e-15, "{x}");
        }
    }

    #[test]
    fn a_curve_holds_all_of_the_density() {
        let density = Density::new(vec![0.2, 0.4, 0.45, 1.9], 0.1).expect("values");
        let curve = density.curve();
        let area: f64 =
            curve.windows(2).map(|pair| (pair[1].0 - pair[0].0) * (pair[0].1 + pair[1].1) / 2.0).sum();
        assert!((area - 1.0).abs() < 1e-4, "{area}");
    }

    #[test]
    fn a_curve_has_its_peak() {
        // A value may lie anywhere between two points; one of them is still close enough to the peak.
        for offset in [0.0, 0.003, 0.0041, 0.007] {
            let values = vec![0.0, 1.0 + offset, 1.0 + offset];
            let density = Density::new(values, 0.01).expect("values");
            let highest = density.curve().into_iter().map(|point| point.1).fold(0.0, f64::max);
            assert!(highest > 0.9995 * density.at(1.0 + offset), "{offset}");
        }
    }

    #[test]
    fn there_is_no_density_of_nothing() {
        assert!(Density::new(vec![], 0.1).is_none());
        assert!(Density::new(vec![f64::NAN], 0.1).is_none());
        assert!(Density::new(vec![1.0], 0.0).is_none());
        // Values that are far apart do not increase the number of points beyond the limit.
        let curve = Density::new(vec![0.0, 1e12], 0.1).expect("values").curve();
        assert_eq!(curve.len(), MOST_POINTS as usize + 1);
    }
}
