//! Means with their uncertainty, and differences between conditions.

use crate::{StudentT, mean, squares};

/// The mean of a sample and its uncertainty, in the unit of the values.
///
/// A number that is undefined is `None`: the mean without values, and the others with fewer than two values. All are
/// undefined if a value or a sum is not finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Number of values.
    pub n: usize,
    /// Mean of the values.
    pub mean: Option<f64>,
    /// Standard deviation of the sample, with n − 1 in the denominator.
    pub sd: Option<f64>,
    /// Standard error of the mean: `sd` / √n.
    pub sem: Option<f64>,
    /// Lower end of the 95 % confidence interval of the mean: `mean` − t · `sem`. t is the 0.975 quantile of Student's t
    /// distribution with n − 1 degrees of freedom. Source: Student (1908), Biometrika 6, 1–25.
    pub low: Option<f64>,
    /// Upper end of the interval: `mean` + t · `sem`.
    pub high: Option<f64>,
}

impl Estimate {
    /// Computes the estimate of a sample. Sums are in the order of the values.
    pub fn of(values: &[f64]) -> Estimate {
        let n = values.len();
        let size = n as f64;
        let mean = finite(mean(values));
        // A single value gives 0 / 0.
        let sd = mean.and_then(|mean| finite((squares(values, mean) / (size - 1.0)).sqrt()));
        let sem = sd.map(|sd| sd / size.sqrt());
        let student = StudentT::new(n.saturating_sub(1));
        let half = sem.zip(student).map(|(sem, student)| sem * student.quantile(0.975));
        let end = |sign: f64| mean.zip(half).map(|(mean, half)| mean + sign * half);
        Estimate { n, mean, sd, sem, low: end(-1.0), high: end(1.0) }
    }
}

/// Differences between a condition and its reference, which have a value each for the same seeds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Paired {
    /// Estimate of the differences, value of the condition minus value of the reference.
    pub difference: Estimate,
    /// Effect size d_z: the mean of the differences divided by their standard deviation. `None` if the standard deviation
    /// is 0 or undefined. Source: Cohen (1988), Statistical power analysis, section 2.3.5.
    pub d_z: Option<f64>,
    /// Two-sided p value of the paired t test of no difference. `None` if `d_z` is.
    pub p: Option<f64>,
}

/// Samples that should be pairs, but differ in length.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("the condition has {values} values, and its reference has {reference}; pairs need the same number")]
pub struct UnequalLengths {
    /// Number of values of the condition.
    pub values: usize,
    /// Number of values of the reference.
    pub reference: usize,
}

impl Paired {
    /// Compares a condition with its reference. Values at the same place must be of the same seed.
    ///
    /// # Errors
    /// If the slices differ in length.
    pub fn of(values: &[f64], reference: &[f64]) -> Result<Paired, UnequalLengths> {
        if values.len() != reference.len() {
            return Err(UnequalLengths { values: values.len(), reference: reference.len() });
        }
        let differences: Vec<f64> =
            values.iter().zip(reference).map(|(value, other)| value - other).collect();
        let difference = Estimate::of(&differences);
        let d_z = difference.mean.zip(difference.sd).and_then(|(mean, sd)| finite(mean / sd));
        let t = d_z.map(|d_z| d_z * (difference.n as f64).sqrt());
        let student = StudentT::new(difference.n.saturating_sub(1));
        let p = t.zip(student).map(|(t, student)| student.two_sided(t));
        Ok(Paired { difference, d_z, p })
    }
}

/// Returns half the width of the 95 % interval of a mean over given seeds, in the unit of the values. Only differences
/// between trials count, because more trials cannot reduce the differences between seeds.
///
/// The half-width is t · √(Σ v_s / n_s) / S. `seeds` has the values of the trials of each of the S seeds. v_s is the
/// sample variance of the n_s values of a seed. t is the 0.975 quantile of Student's t distribution with Σ (n_s − 1)
/// degrees of freedom.
///
/// `None` without seeds, if a seed has fewer than two values, or if a value or a sum is not finite.
///
/// With equal numbers of values, the interval is exact if all seeds have the same variance and values are normal.
pub fn half_width_by_trials(seeds: &[Vec<f64>]) -> Option<f64> {
    let sems = seeds.iter().map(|values| Estimate::of(values).sem);
    let variance: f64 = sems.map(|sem| sem.map(|sem| sem * sem)).sum::<Option<f64>>()?;
    let student = StudentT::new(seeds.iter().map(|values| values.len() - 1).sum())?;
    finite(student.quantile(0.975) * variance.sqrt() / seeds.len() as f64)
}

fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: Option<f64>, expected: f64) {
        assert!(found.is_some_and(|found| (found - expected).abs() < 1e-12), "{found:?} != {expected}");
    }

    #[test]
    fn two_values_have_the_interval_of_one_degree_of_freedom() {
        let estimate = Estimate::of(&[1.0, 3.0]);
        assert_eq!((estimate.n, estimate.mean), (2, Some(2.0)));
        close(estimate.sd, 2.0_f64.sqrt());
        close(estimate.sem, 1.0);
        // The quantile is tan(0.475 π).
        close(estimate.high, 2.0 + (0.475 * std::f64::consts::PI).tan());
        close(estimate.low, 2.0 - (0.475 * std::f64::consts::PI).tan());
    }

    #[test]
    fn small_and_infinite_samples_have_less() {
        let nothing = Estimate { n: 0, mean: None, sd: None, sem: None, low: None, high: None };
        assert_eq!(Estimate::of(&[]), nothing);
        assert_eq!(Estimate::of(&[7.0]), Estimate { n: 1, mean: Some(7.0), ..nothing });
        assert_eq!(Estimate::of(&[7.0, f64::NAN]), Estimate { n: 2, ..nothing });
        assert_eq!(Estimate::of(&[f64::MAX, f64::MAX]), Estimate { n: 2, ..nothing });
        let same = Estimate::of(&[7.0, 7.0]);
        assert_eq!((same.sd, same.low, same.high), (Some(0.0), Some(7.0), Some(7.0)));
    }

    #[test]
    fn pairs_are_compared_by_their_differences() {
        // Differences 1, 2, 3: mean 2 and standard deviation 1. With two degrees of freedom and t = √12, the two-sided
        // p value is 1 − t / √(2 + t²).
        let paired = Paired::of(&[11.0, 22.0, 33.0], &[10.0, 20.0, 30.0]).expect("pairs");
        assert_eq!(paired.difference, Estimate::of(&[1.0, 2.0, 3.0]));
        close(paired.d_z, 2.0);
        close(paired.p, 1.0 - (12.0_f64 / 14.0).sqrt());

        let constant = Paired::of(&[2.0, 3.0], &[1.0, 2.0]).expect("pairs");
        assert_eq!((constant.difference.mean, constant.d_z, constant.p), (Some(1.0), None, None));
        let error = Paired::of(&[1.0], &[]).expect_err("no pairs");
        assert_eq!(error, UnequalLengths { values: 1, reference: 0 });
    }

    #[test]
    fn trials_give_an_interval_only_if_every_seed_has_two() {
        // One seed: half of the interval of its mean. Differences between seeds do not count.
        let of_one = Estimate::of(&[1.0, 3.0, 4.0]);
        let half = of_one.high.zip(of_one.mean).map(|(high, mean)| high - mean).expect("an interval");
        close(half_width_by_trials(&[vec![1.0, 3.0, 4.0]]), half);
        let near = half_width_by_trials(&[vec![1.0, 3.0], vec![2.0, 4.0]]);
        assert_eq!(near, half_width_by_trials(&[vec![1.0, 3.0], vec![102.0, 104.0]]));
        assert_eq!(half_width_by_trials(&[vec![7.0; 5], vec![8.0; 5]]), Some(0.0));
        let infinite = vec![1.0, f64::INFINITY];
        for seeds in [&[][..], &[vec![]], &[vec![1.0, 2.0], vec![1.0]], &[vec![1.0, 2.0], infinite]] {
            assert_eq!(half_width_by_trials(seeds), None, "{seeds:?}");
        }
    }
}
