//! MT19937, the Mersenne Twister.
//!
//! Source: Matsumoto & Nishimura (1998), "Mersenne Twister: a 623-dimensionally equidistributed
//! uniform pseudo-random number generator", ACM TOMACS 8(1), and its 2002 initialisation.

use std::convert::Infallible;

/// Words of state, and of one block of output.
pub const BLOCK: usize = 624;
const MIDDLE: usize = 397;
const MATRIX: u32 = 0x9908_b0df;

/// The generator. Its output comes in blocks of [`BLOCK`] words.
#[derive(Clone)]
pub struct Mt19937 {
    state: [u32; BLOCK],
    output: [u32; BLOCK],
    next: usize,
}

impl Mt19937 {
    /// Seeds with one word (`init_genrand`), as `numpy.random.RandomState(seed)` does.
    pub fn from_seed_u32(seed: u32) -> Mt19937 {
        let mut state = [0; BLOCK];
        state[0] = seed;
        for i in 1..BLOCK {
            let last: u32 = state[i - 1];
            state[i] = 1_812_433_253_u32.wrapping_mul(last ^ (last >> 30)).wrapping_add(i as u32);
        }
        Mt19937::before_block(state)
    }

    /// Seeds with a key of words (`init_by_array`), as CPython's `random.seed` does.
    ///
    /// # Panics
    /// If the key is empty.
    pub fn from_key(key: &[u32]) -> Mt19937 {
        assert!(!key.is_empty(), "a key has at least one word");
        let mut state = Mt19937::from_seed_u32(19_650_218).state;
        let mix = |state: &[u32; BLOCK], i: usize, factor: u32| {
            let last = state[i - 1];
            state[i] ^ (last ^ (last >> 30)).wrapping_mul(factor)
        };
        let mut i = 1;
        for k in 0..BLOCK.max(key.len()) {
            let j = k % key.len();
            state[i] = mix(&state, i, 1_664_525).wrapping_add(key[j]).wrapping_add(j as u32);
            i += 1;
            if i == BLOCK {
                state[0] = state[BLOCK - 1];
                i = 1;
            }
        }
        for _ in 1..BLOCK {
            state[i] = mix(&state, i, 1_566_083_941).wrapping_sub(i as u32);
            i += 1;
            if i == BLOCK {
                state[0] = state[BLOCK - 1];
                i = 1;
            }
        }
        state[0] = 0x8000_0000;
        Mt19937::before_block(state)
    }

    /// A generator whose next output is the first of the block that follows this state.
    pub(super) fn before_block(state: [u32; BLOCK]) -> Mt19937 {
        Mt19937 { state, output: [0; BLOCK], next: BLOCK }
    }

    /// The state that the current block of output was made from.
    pub(super) fn state(&self) -> &[u32; BLOCK] {
        &self.state
    }

    /// The next word.
    #[inline]
    pub fn next_word(&mut self) -> u32 {
        if self.next == BLOCK {
            self.next_block();
        }
        self.next += 1;
        self.output[self.next - 1]
    }

    /// The next words, as many as are left of the current block but at most `most`; of the next
    /// block where none is left.
    #[inline]
    pub(crate) fn take(&mut self, most: usize) -> &[u32] {
        if self.next == BLOCK {
            self.next_block();
        }
        let from = self.next;
        self.next = BLOCK.min(from + most);
        &self.output[from..self.next]
    }

    /// Drops `count` words.
    pub fn skip(&mut self, mut count: u64) {
        while count > 0 {
            if self.next == BLOCK {
                if count >= BLOCK as u64 {
                    twist(&mut self.state);
                    count -= BLOCK as u64;
                    continue;
                }
                self.next_block();
            }
            let here = count.min((BLOCK - self.next) as u64);
            self.next += here as usize;
            count -= here;
        }
    }

    #[inline(always)]
    fn next_block(&mut self) {
        twist(&mut self.state);
        for (out, &word) in self.output.iter_mut().zip(&self.state) {
            let mut y = word;
            y ^= y >> 11;
            y ^= (y << 7) & 0x9d2c_5680;
            y ^= (y << 15) & 0xefc6_0000;
            *out = y ^ (y >> 18);
        }
        self.next = 0;
    }
}

/// Advances a state by [`BLOCK`] steps.
#[inline(always)]
pub(super) fn twist(state: &mut [u32; BLOCK]) {
    #[inline(always)]
    fn next(this: u32, following: u32, middle: u32) -> u32 {
        let y = (this & 0x8000_0000) | (following & 0x7fff_ffff);
        middle ^ (y >> 1) ^ ((y & 1).wrapping_neg() & MATRIX)
    }
    // Word i needs words i, i+1 and i+397 (mod 624). Cut where the third wraps round, so that no
    // loop reads what it writes and each can run in vectors.
    const AHEAD: usize = BLOCK - MIDDLE;
    for i in 0..AHEAD {
        state[i] = next(state[i], state[i + 1], state[i + MIDDLE]);
    }
    let (done, rest) = state.split_at_mut(AHEAD);
    for i in 0..AHEAD {
        rest[i] = next(rest[i], rest[i + 1], done[i]);
    }
    let (done, rest) = rest.split_at_mut(AHEAD);
    for i in 0..BLOCK - 2 * AHEAD - 1 {
        rest[i] = next(rest[i], rest[i + 1], done[i]);
    }
    state[BLOCK - 1] = next(state[BLOCK - 1], state[0], state[MIDDLE - 1]);
}

impl rand::rand_core::TryRng for Mt19937 {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.next_word())
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        rand::rand_core::utils::next_u64_via_u32(self)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        rand::rand_core::utils::fill_bytes_via_next_word(bytes, || self.try_next_u32())
    }
}

impl std::fmt::Debug for Mt19937 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mt19937").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(mut generator: Mt19937, skip: u64, count: usize) -> Vec<u32> {
        generator.skip(skip);
        (0..count).map(|_| generator.next_word()).collect()
    }

    /// First and thousandth words of the authors' mt19937ar.out (key 0x123, 0x234, 0x345, 0x456).
    #[test]
    fn published_output_for_a_key() {
        let generator = Mt19937::from_key(&[0x123, 0x234, 0x345, 0x456]);
        assert_eq!(
            words(generator.clone(), 0, 5),
            [1_067_595_299, 955_945_823, 477_289_528, 4_107_218_783, 4_228_976_476]
        );
        assert_eq!(words(generator, 999, 1), [3_460_025_646]);
    }

    /// C++11 [rand.predef]: the 10000th output of mt19937 under its default seed.
    #[test]
    fn ten_thousandth_output_for_a_seed() {
        assert_eq!(words(Mt19937::from_seed_u32(5489), 9999, 1), [4_123_659_995]);
    }

    #[test]
    fn skipping_is_the_same_as_drawing() {
        let drawn = words(Mt19937::from_seed_u32(7), 0, 3000);
        for skip in [0, 1, 623, 624, 625, 1247, 1248, 2000] {
            let mut generator = Mt19937::from_seed_u32(7);
            generator.skip(skip);
            assert_eq!(generator.next_word(), drawn[skip as usize], "{skip}");
            generator.skip(700);
            assert_eq!(generator.next_word(), drawn[skip as usize + 701], "{skip}");
        }
    }
}
