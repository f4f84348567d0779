//! The draws of Python's `random` module, as in CPython 3.7.

use std::collections::HashSet;

use super::mt19937::Mt19937;

/// A generator like `random.Random`.
#[derive(Clone, Debug)]
pub struct Random {
    words: Mt19937,
}

impl Random {
    /// Seeds like `random.seed(seed)`, for an integer of one word.
    pub fn new(seed: u32) -> Random {
        Random { words: Mt19937::from_key(&[seed]) }
    }

    /// Draws like `_randbelow(n)`: as many bits as n has, until they are below n.
    fn below(&mut self, n: u32) -> u32 {
        let bits = u32::BITS - n.leading_zeros();
        loop {
            let draw = self.words.next_word() >> (u32::BITS - bits);
            if draw < n {
                return draw;
            }
        }
    }

    /// Draws like `random.sample(range(n), k)`: k different numbers below n, in order of drawing.
    ///
    /// # Panics
    /// If k is above n.
    pub fn sample(&mut self, n: u32, k: u32) -> Vec<u32> {
        assert!(k <= n, "a sample cannot be larger than what it is taken from");
        // CPython compares the memory of a pool with that of a set of the chosen numbers.
        let mut set_size = 21_u64;
        if k > 5 {
            let mut power = 1_u64;
            while power < 3 * u64::from(k) {
                power *= 4;
            }
            set_size += power;
        }
        if u64::from(n) <= set_size {
            let mut pool: Vec<u32> = (0..n).collect();
            (0..k)
                .map(|i| {
                    let j = self.below(n - i) as usize;
                    let chosen = pool[j];
                    pool[j] = pool[(n - i - 1) as usize];
                    chosen
                })
                .collect()
        } else {
            let mut chosen = HashSet::new();
            (0..k)
                .map(|_| {
                    loop {
                        let j = self.below(n);
                        if chosen.insert(j) {
                            return j;
                        }
                    }
                })
                .collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Results of CPython's `random.seed(seed); random.sample(range(n), k)`.
    #[test]
    fn samples_of_cpython() {
        let check = |seed, n, k, expected: &[u32]| {
            assert_eq!(Random::new(seed).sample(n, k), expected, "{seed} {n} {k}");
        };
        check(451, 78, 8, &[5, 75, 16, 61, 46, 77, 12, 15]);
        check(
            451,
            315,
            32,
            &[
                20, 303, 65, 244, 185, 22, 48, 62, 175, 152, 87, 169, 251, 26, 220, 111, 76, 193, 248, 109,
                117, 266, 89, 206, 108, 221, 277, 311, 289, 184, 247, 313,
            ],
        );
        check(0, 10, 1, &[6]);
        check(u32::MAX, 10, 10, &[9, 3, 8, 4, 6, 2, 5, 1, 7, 0]);
        check(1, 1000, 4, &[137, 582, 867, 821]);
        check(2, 50, 5, &[3, 5, 23, 10, 47]);
        check(
            3,
            4096,
            30,
            &[
                1949, 1068, 3030, 3883, 536, 107, 3843, 2124, 1919, 1570, 3852, 3902, 3253, 1233, 1899, 1242,
                3194, 124, 524, 1305, 350, 2467, 254, 2207, 3872, 3175, 3497, 3235, 3642, 1098,
            ],
        );
    }

    #[test]
    fn nothing_can_be_sampled() {
        assert!(Random::new(1).sample(5, 0).is_empty());
        assert!(Random::new(1).sample(0, 0).is_empty());
    }
}
