//! Mean and standard error.

use serde::Serialize;

/// Mean of a sample and its standard error.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Number of values.
    pub n: usize,
    /// Mean of the values; `None` without values.
    pub mean: Option<f64>,
    /// Standard error of the mean: the standard deviation of the sample, with n − 1 degrees of freedom,
    /// divided by √n. `None` with fewer than two values.
    pub sem: Option<f64>,
}

impl Summary {
    /// Computes the summary of a sample.
    pub fn of(values: &[f64]) -> Summary {
        let n = values.len();
        let size = n as f64;
        let mean = (n > 0).then(|| values.iter().sum::<f64>() / size);
        let sem = mean.filter(|_| n > 1).map(|mean| {
            let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
            (squares / (size - 1.0)).sqrt() / size.sqrt()
        });
        Summary { n, mean, sem }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_has_mean_and_error() {
        let summary = Summary::of(&[1.0, 2.0, 3.0, 4.0]);
        assert_eq!((summary.n, summary.mean), (4, Some(2.5)));
        // Deviations 1.5, 0.5, 0.5, 1.5: the variance is 5/3, divided by 4 values.
        let sem = summary.sem.expect("four values");
        assert!((sem - (5.0_f64 / 12.0).sqrt()).abs() < 1e-15, "{sem}");
    }

    #[test]
    fn small_samples_have_less() {
        assert_eq!(Summary::of(&[]), Summary { n: 0, mean: None, sem: None });
        assert_eq!(Summary::of(&[7.0]), Summary { n: 1, mean: Some(7.0), sem: None });
        assert_eq!(Summary::of(&[7.0, 7.0]), Summary { n: 2, mean: Some(7.0), sem: Some(0.0) });
    }
}
