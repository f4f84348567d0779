//! Statistics of sweeps: numbers in, numbers out. No IO.
//!
//! [`estimate`] has means, differences and effect sizes with their uncertainty. [`sensitivity`] ranks the parameters of
//! a sweep by their effect. [`sequence`] has the designs that a sensitivity analysis needs.
//!
//! Every result has the same bits on all platforms. Sums follow the order of the values, the mathematical functions are
//! those of `libm` in Rust, and the algorithm PCG64 defines the random numbers.

pub mod estimate;
mod regression;
mod resampling;
pub mod sensitivity;
pub mod sequence;
mod student;

pub use resampling::Resampling;
pub use student::StudentT;

/// The quantile of the standard normal distribution that bounds 95 % on two sides, at 0.975.
const NORMAL_975: f64 = 1.959_963_984_540_054;

/// Returns the mean of values, summed in their order; NaN without values.
fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Returns the sum of squared deviations from `mean`, in the order of the values.
fn squares(values: &[f64], mean: f64) -> f64 {
    values.iter().map(|value| (value - mean) * (value - mean)).sum()
}
