//! The draws of `numpy.random.RandomState`, which numpy calls legacy and keeps frozen.
//!
//! The algorithms are described in numpy's documentation of stream compatibility (NEP 19) and in the papers that its
//! legacy distributions follow. These are Marsaglia & Bray (1964) for the polar normal, and Johnk and Marsaglia & Tsang
//! (2000) for the gamma distribution.

use super::mt19937::Mt19937;
use granule_engine::elementary::{ln, pow};

/// A `RandomState`: a Mersenne Twister, and a normal that is kept for the next call.
#[derive(Clone, Debug)]
pub struct RandomState {
    words: Mt19937,
    kept: Option<f64>,
}

impl RandomState {
    /// Seeds like `numpy.random.RandomState(seed)`.
    pub fn new(seed: u32) -> RandomState {
        RandomState { words: Mt19937::from_seed_u32(seed), kept: None }
    }

    /// Draws like `random_sample()`: uniform in [0, 1) on a grid of 2^−53.
    pub fn double(&mut self) -> f64 {
        let high = self.words.next_word() >> 5;
        let low = self.words.next_word() >> 6;
        (f64::from(high) * 67_108_864.0 + f64::from(low)) / 9_007_199_254_740_992.0
    }

    /// Draws like `standard_normal()`, by Marsaglia's polar method. Of each accepted pair, the second normal is
    /// returned first, and the first is kept for the next call.
    pub fn standard_normal(&mut self) -> f64 {
        if let Some(kept) = self.kept.take() {
            return kept;
        }
        loop {
            let x1 = 2.0 * self.double() - 1.0;
            let x2 = 2.0 * self.double() - 1.0;
            let r2 = x1 * x1 + x2 * x2;
            if r2 < 1.0 && r2 != 0.0 {
                let f = (-2.0 * ln(r2) / r2).sqrt();
                self.kept = Some(f * x1);
                return f * x2;
            }
        }
    }

    /// Draws like `standard_exponential()`.
    pub fn standard_exponential(&mut self) -> f64 {
        -ln(1.0 - self.double())
    }

    /// Draws like `standard_gamma(shape)`, for a shape of 0 or above.
    #[allow(clippy::neg_cmp_op_on_partial_ord, reason = "see below")]
    pub fn standard_gamma(&mut self, shape: f64) -> f64 {
        if shape == 1.0 {
            self.standard_exponential()
        } else if shape == 0.0 {
            0.0
        } else if shape < 1.0 {
            loop {
                let u = self.double();
                let v = self.standard_exponential();
                if u <= 1.0 - shape {
                    let x = pow(u, 1.0 / shape);
                    if x <= v {
                        return x;
                    }
                } else {
                    let y = -ln((1.0 - u) / shape);
                    let x = pow(1.0 - shape + shape * y, 1.0 / shape);
                    if x <= v + y {
                        return x;
                    }
                }
            }
        } else {
            let b = shape - 1.0 / 3.0;
            let c = 1.0 / (9.0 * b).sqrt();
            loop {
                let (x, v) = loop {
                    let x = self.standard_normal();
                    let v = 1.0 + c * x;
                    // Unlike `v > 0`, this condition ends the loop if the shape is NaN.
                    if !(v <= 0.0) {
                        break (x, v);
                    }
                };
                let v = v * v * v;
                let u = self.double();
                if u < 1.0 - 0.0331 * (x * x) * (x * x) {
                    return b * v;
                }
                if ln(u) < 0.5 * x * x + b * (1.0 - v + ln(v)) {
                    return b * v;
                }
            }
        }
    }

    /// Draws from the gamma distribution of this mean and standard deviation.
    ///
    /// Scale and shape are computed as in the original, in this order of rounding. With equal mean and deviation, the
    /// shape is 1 or differs from 1 by a unit in the last place. Each of these three values takes another branch of
    /// [`Self::standard_gamma`]. The square is Python's `sd**2`, which is C's `pow`. For one number in a thousand, it
    /// differs from the product rounded once.
    pub fn gamma(&mut self, mean: f64, sd: f64) -> f64 {
        let scale = pow(sd, 2.0) / mean;
        let shape = mean / scale;
        scale * self.standard_gamma(shape)
    }

    /// Draws like `randint(low, high)`, high excluded: one masked word per try, rejected above the range.
    ///
    /// # Panics
    /// If the range is empty.
    pub fn integer(&mut self, low: u32, high: u32) -> u32 {
        assert!(low < high, "an integer needs a range to come from");
        let most = high - 1 - low;
        if most == 0 {
            return low;
        }
        let mask = u32::MAX >> most.leading_zeros();
        loop {
            let draw = self.words.next_word() & mask;
            if draw <= most {
                return low + draw;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // All vectors were made with numpy 1.x's RandomState(451) unless another seed is named.

    fn check(what: &str, mut draw: impl FnMut() -> f64, bits: &[u64]) {
        for (i, &bits) in bits.iter().enumerate() {
            let found = draw();
            assert_eq!(found.to_bits(), bits, "{what} {i}: {found:e} not {:e}", f64::from_bits(bits));
        }
    }

    #[test]
    fn doubles_normals_and_exponentials() {
        let mut state = RandomState::new(451);
        check(
            "double",
            || state.double(),
            &[0x3fe8bc52419d07c9, 0x3fe538602c2e3279, 0x3fe143843e7e9c0e, 0x3fd0260e6d4b20a2],
        );
        let mut state = RandomState::new(451);
        check(
            "normal",
            || state.standard_normal(),
            &[
                0x3fe61587b5340075,
                0x3ff27a5f66069c61,
                0xbffa3f8d6b509928,
                0x3fd0bdb0ea5b0d25,
                0xbffc3fa8582bcdf8,
            ],
        );
        let mut state = RandomState::new(451);
        check(
            "exponential",
            || state.standard_exponential(),
            &[0x3ff7b95c9eadb5e0, 0x3ff168b548e83761, 0x3fe8d04726028655],
        );
    }

    #[test]
    fn every_branch_of_the_gamma_distribution() {
        let check_shape = |shape: f64, bits: &[u64]| {
            let mut state = RandomState::new(451);
            check(&format!("gamma({shape})"), || state.standard_gamma(shape), bits);
        };
        check_shape(0.3, &[0x3fdc64d6b1d806bf, 0x3fc05c9280db084e, 0x3faf203cb2a2872e, 0x3fef4b50191977fd]);
        check_shape(
            1.0_f64.next_down(),
            &[0x3ff7b95c9eadb5e1, 0x3fe8d04726028654, 0x3fe214f82a10bdbe, 0x400174361d32fbdd],
        );
        check_shape(1.0, &[0x3ff7b95c9eadb5e0, 0x3ff168b548e83761, 0x3fe8d04726028655, 0x3fd29c3420621724]);
        check_shape(
            1.0_f64.next_up(),
            &[0x3ff6760ed039128f, 0x4000fe17834556f5, 0x3fd20a80d856fb2e, 0x3fe01ac9c5af1194],
        );
        check_shape(
            32.653_061_224_489_79,
            &[0x404233b78034e08a, 0x4043ab80abc66512, 0x4037492628ea3ff7, 0x403cf81ffde93de7],
        );
    }

    /// The eleventh mean weight of weight seed 4294967295. Its product with itself would make the shape an ulp above 1;
    /// `pow` makes it an ulp below. The weights are those that the original program draws in trials with seeds 837, 321
    /// and 256.
    #[test]
    fn the_square_of_the_deviation_is_that_of_pow() {
        let mean = 0.028_380_034_002_673_16;
        assert_ne!(pow(mean, 2.0), mean * mean);
        for (seed, weight) in [(837, 0.0631), (321, 0.0616), (256, 0.001_33)] {
            let drawn = RandomState::new(seed).gamma(mean, mean);
            assert!((drawn / weight - 1.0).abs() < 5e-3, "{drawn} not {weight}");
        }
    }

    #[test]
    fn integers() {
        let mut state = RandomState::new(43);
        let drawn: Vec<u32> = (0..12).map(|_| state.integer(1, 1000)).collect();
        assert_eq!(drawn, [837, 321, 256, 818, 278, 59, 17, 308, 658, 188, 860, 963]);
    }
}
