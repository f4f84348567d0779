//! Resampling with replacement, seeded.

use rand_pcg::Pcg64;
use rand_pcg::rand_core::Rng;

/// How a bootstrap draws its resamples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Resampling {
    /// Number of resamples. Intervals need about a thousand or more: Efron and Tibshirani (1993), An introduction to the
    /// bootstrap, section 19.3.
    pub resamples: usize,
    /// Seed of the random numbers. The same seed gives the same bits on every platform.
    pub seed: u64,
}

impl Resampling {
    pub(crate) fn draws(self) -> Draws {
        Draws(Pcg64::new(u128::from(self.seed), STREAM))
    }
}

/// An arbitrary constant, so that other generators with the same seed draw other numbers.
const STREAM: u128 = 0x6772_616e_756c_6520_626f_6f74_7374_7261;

/// Random indices from PCG64 (XSL-RR 128/64), which O'Neill (2014) defines bit by bit, HMC-CS-2014-0905.
pub(crate) struct Draws(Pcg64);

impl Draws {
    /// Draws an index below `bound`, which must not be 0; each is equally likely.
    /// Source: Lemire (2019), ACM Transactions on Modeling and Computer Simulation 29, 3.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let bound = bound as u64;
        loop {
            let product = u128::from(self.0.next_u64()) * u128::from(bound);
            if product as u64 >= bound.wrapping_neg() % bound {
                return (product >> 64) as usize;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_are_pinned_and_equally_likely() {
        let mut draws = Resampling { resamples: 0, seed: 7 }.draws();
        let first: Vec<usize> = (0..8).map(|_| draws.below(100)).collect();
        assert_eq!(first, [18, 90, 0, 28, 46, 11, 11, 70]);
        let mut counts = [0; 3];
        (0..30_000).for_each(|_| counts[draws.below(3)] += 1);
        // Five standard deviations of a count.
        assert!(counts.iter().all(|count: &i32| (count - 10_000).abs() < 410), "{counts:?}");
    }
}
