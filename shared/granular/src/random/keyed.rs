//! Random numbers by identity: each cell, fibre or trial draws from its own stream. The stream is named by its purpose,
//! not by earlier draws.
//!
//! A stream's name consists of its purpose and some numbers. It is hashed with BLAKE3 (in its key derivation mode), and
//! the hash seeds a generator of the PCG family. Scalars are drawn from [`Scalars`], a PCG64. The noise of cells is
//! drawn from PCG32s that run side by side ([`crate::noise::keyed`]).
//!
//! Sources: M. E. O'Neill (2014), "PCG: A family of simple fast space-efficient statistically good
//! algorithms for random number generation", HMC-CS-2014-0905; the implementation is `rand_pcg`'s.
//! Marsaglia & Tsang (2000), "A simple method for generating gamma variables", ACM TOMS 26(3).

use rand::Rng;
use rand_pcg::Pcg64;

use granule_engine::elementary::{ln, pow};

/// Context with which the names of all streams are hashed. A new definition of the engine would have another context.
const CONTEXT: &str = "granule engine pcg, revision 1";

/// All streams of one purpose and with the same first numbers.
#[derive(Clone, Debug)]
pub struct Streams(blake3::Hasher);

impl Streams {
    /// Makes the streams of this purpose with these first numbers. The purpose must not contain a byte 0.
    pub fn new(purpose: &str, numbers: &[u32]) -> Streams {
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        hasher.update(purpose.as_bytes()).update(&[0]);
        for number in numbers {
            hasher.update(&number.to_le_bytes());
        }
        Streams(hasher)
    }

    /// Hashes the name of the stream with this last number. The 32 bytes seed its generator.
    fn hash(&self, last: u32) -> [u8; 32] {
        *self.0.clone().update(&last.to_le_bytes()).finalize().as_bytes()
    }

    /// Returns the PCG64 of the stream with this last number. The hash is its initial state and its sequence, 128 bits
    /// each, little-endian.
    pub fn scalars(&self, last: u32) -> Scalars {
        let hash = self.hash(last);
        let half =
            |half: usize| u128::from_le_bytes(*hash.as_chunks().0[half..].first().expect("two halves"));
        Scalars(Pcg64::new(half(0), half(1)))
    }

    /// Returns the initial state and the sequence of the PCG32 of the stream with this last number. These are the first
    /// 16 bytes of the hash, 64 bits each, little-endian.
    pub(crate) fn pcg32(&self, last: u32) -> (u64, u64) {
        let hash = self.hash(last);
        let [state, sequence, ..] = *hash.as_chunks().0 else {
            unreachable!("32 bytes are four times eight")
        };
        (u64::from_le_bytes(state), u64::from_le_bytes(sequence))
    }
}

/// A generator that draws numbers one after the other.
#[derive(Clone, Debug)]
pub struct Scalars(Pcg64);

impl Scalars {
    /// Draws a uniform number in (0, 1], on a grid of 2^−53.
    pub fn uniform(&mut self) -> f64 {
        ((self.0.next_u64() >> 11) + 1) as f64 / 9_007_199_254_740_992.0
    }

    /// Draws 64 bits.
    pub fn word(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Draws an exponential number with mean 1: −ln U.
    pub fn exponential(&mut self) -> f64 {
        -ln(self.uniform())
    }

    /// Draws a standard normal, by the polar method. The second normal of each pair is dropped.
    pub fn normal(&mut self) -> f64 {
        loop {
            let x = 2.0 * self.uniform() - 1.0;
            let y = 2.0 * self.uniform() - 1.0;
            let r2 = x * x + y * y;
            if r2 < 1.0 && r2 != 0.0 {
                return x * (-2.0 * ln(r2) / r2).sqrt();
            }
        }
    }

    /// Draws from the gamma distribution of this mean and standard deviation, both above 0.
    ///
    /// The method is that of Marsaglia and Tsang. For a shape below 1, the draw is one of shape + 1 times U^(1/shape).
    pub fn gamma(&mut self, mean: f64, sd: f64) -> f64 {
        let ratio = mean / sd;
        let shape = ratio * ratio;
        let scale = sd / ratio;
        if shape < 1.0 {
            let boost = pow(self.uniform(), 1.0 / shape);
            return scale * (self.standard_gamma(shape + 1.0) * boost);
        }
        scale * self.standard_gamma(shape)
    }

    fn standard_gamma(&mut self, shape: f64) -> f64 {
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let v = 1.0 + c * x;
            if v <= 0.0 {
                continue;
            }
            let v = v * v * v;
            // Only the test with logarithms, without the quick acceptance: gamma draws are rare.
            if ln(self.uniform()) < 0.5 * x * x + d * (1.0 - v + ln(v)) {
                return d * v;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computes the mean, the variance, and the third and fourth standardised moments.
    fn moments(count: u32, mut draw: impl FnMut() -> f64) -> [f64; 4] {
        let draws: Vec<f64> = (0..count).map(|_| draw()).collect();
        let n = f64::from(count);
        let mean = draws.iter().sum::<f64>() / n;
        let central = |power: i32| draws.iter().map(|x| (x - mean).powi(power)).sum::<f64>() / n;
        let variance = central(2);
        [mean, variance, central(3) / variance.powf(1.5), central(4) / (variance * variance)]
    }

    #[test]
    fn streams_are_told_apart_by_all_of_their_name() {
        let words = [
            Streams::new("a", &[1, 2]).scalars(3),
            Streams::new("a", &[1, 2]).scalars(4),
            Streams::new("a", &[1, 3]).scalars(3),
            Streams::new("a", &[1]).scalars(3),
            Streams::new("b", &[1, 2]).scalars(3),
        ]
        .map(|mut scalars| scalars.word());
        let distinct: std::collections::BTreeSet<u64> = words.into_iter().collect();
        assert_eq!(distinct.len(), words.len());
        assert_eq!(Streams::new("a", &[1]).scalars(2).word(), Streams::new("a", &[1]).scalars(2).word());
    }

    #[test]
    fn distributions_have_their_moments() {
        const N: u32 = 400_000;
        let mut s = Streams::new("test", &[]).scalars(1);
        let near = |found: [f64; 4], expected: [f64; 4], within: [f64; 4]| {
            for i in 0..4 {
                assert!((found[i] - expected[i]).abs() < within[i], "{i}: {found:?} not {expected:?}");
            }
        };
        near(moments(N, || s.uniform()), [0.5, 1.0 / 12.0, 0.0, 1.8], [0.003, 0.001, 0.02, 0.02]);
        near(moments(N, || s.exponential()), [1.0, 1.0, 2.0, 9.0], [0.01, 0.02, 0.1, 1.0]);
        near(moments(N, || s.normal()), [0.0, 1.0, 0.0, 3.0], [0.01, 0.01, 0.02, 0.05]);
        for (mean, sd) in [(0.1, 0.1), (0.4, 0.07), (2.0, 3.0), (1.0, 0.5)] {
            // A gamma distribution of shape k has skewness 2/√k and kurtosis 3 + 6/k.
            let k = (mean / sd) * (mean / sd);
            let expected = [mean, sd * sd, 2.0 / f64::sqrt(k), 3.0 + 6.0 / k];
            let within = [0.01 * sd, 0.03 * sd * sd, 0.06 * expected[2], 0.12 * expected[3]];
            near(moments(N, || s.gamma(mean, sd)), expected, within);
        }
    }
}
