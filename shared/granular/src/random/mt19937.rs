//! MT19937, the Mersenne Twister.
//!
//! Source: Matsumoto & Nishimura (1998), "Mersenne Twister: a 623-dimensionally equidistributed
//! uniform pseudo-random number generator", ACM TOMACS 8(1), and its 2002 initialisation.

use std::convert::Infallible;

use crate::isa::{Portable, Simd};

/// Number of words of state, and of one block of output.
pub const BLOCK: usize = 624;
pub(super) const MIDDLE: usize = 397;
const MATRIX: u32 = 0x9908_b0df;

/// Number of the state's first words that are repeated after its end, as many as the widest vector has. No vector of
/// words therefore wraps round.
const MIRROR: usize = 16;

/// The generator. It computes its output in blocks of [`BLOCK`] words.
#[derive(Clone)]
pub struct Mt19937 {
    state: [u32; BLOCK + MIRROR],
    /// The current block, if it was drawn to be read word by word.
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
        let mut state = *Mt19937::from_seed_u32(19_650_218).state();
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

    /// Makes a generator whose next output is the first word of the block that follows this state.
    pub(super) fn before_block(state: [u32; BLOCK]) -> Mt19937 {
        let mut generator = Mt19937 { state: [0; BLOCK + MIRROR], output: [0; BLOCK], next: BLOCK };
        generator.state[..BLOCK].copy_from_slice(&state);
        generator
    }

    /// Returns the state from which the current block of output was computed.
    pub(super) fn state(&self) -> &[u32; BLOCK] {
        self.state.first_chunk().expect("the state is longer than a block")
    }

    /// Returns the next word.
    #[inline]
    pub fn next_word(&mut self) -> u32 {
        self.fill_if_empty();
        self.next += 1;
        self.output[self.next - 1]
    }

    /// Returns the next words: as many as are left of the current block, but at most `most`. If no word is left,
    /// returns words of the next block.
    pub(crate) fn take(&mut self, most: usize) -> &[u32] {
        self.fill_if_empty();
        let from = self.next;
        self.next = BLOCK.min(from + most);
        &self.output[from..self.next]
    }

    /// Returns whether the next word is the first of a block.
    pub(crate) fn is_at_block(&self) -> bool {
        self.next == BLOCK
    }

    /// Drops `count` words.
    pub fn skip(&mut self, mut count: u64) {
        while count > 0 {
            if self.next == BLOCK && count >= BLOCK as u64 {
                for at in vectors(Portable) {
                    self.next_words(Portable, at);
                }
                count -= BLOCK as u64;
                continue;
            }
            self.fill_if_empty();
            let here = count.min((BLOCK - self.next) as u64);
            self.next += here as usize;
            count -= here;
        }
    }

    #[inline]
    fn fill_if_empty(&mut self) {
        if self.next == BLOCK {
            for at in vectors(Portable) {
                let words = self.next_words(Portable, at);
                Portable.store_words(words, &mut self.output[at..]);
            }
            self.next = 0;
        }
    }

    /// Returns the words of the next block from its word `at`, as many as a vector has. If [`Self::is_at_block`], calls
    /// for all `at` in [`vectors`], in order, draw a block.
    #[inline(always)]
    pub(crate) fn next_words<S: Simd>(&mut self, simd: S, at: usize) -> S::Bits {
        temper(simd, self.next_untempered(simd, at))
    }

    /// Returns the words like [`Self::next_words`], but before [`temper`].
    #[inline(always)]
    pub(crate) fn next_untempered<S: Simd>(&mut self, simd: S, at: usize) -> S::Bits {
        debug_assert!(self.is_at_block());
        // Word i is computed from words i, i + 1 and i + 397 (mod 624). The last vector that reads words i + 397 before
        // the end of the state begins below 240. Its end lies in the mirror.
        const WRAP: usize = 240;
        let middle = if at < WRAP { at + MIDDLE } else { at + MIDDLE - BLOCK };
        let state = &mut self.state;
        let this = simd.load_words(&state[at..]);
        let following = simd.load_words(&state[at + 1..]);
        let y = this & words(simd, 0x8000_0000) | following & words(simd, 0x7fff_ffff);
        let odd = simd.sub_words(simd.bits(0), y & words(simd, 1));
        let new = simd.load_words(&state[middle..]) ^ simd.shr_words::<1>(y) ^ (odd & words(simd, MATRIX));
        simd.store_words(new, &mut state[at..]);
        if at < MIRROR {
            simd.store_words(new, &mut state[BLOCK + at..]);
        }
        new
    }

    /// Returns words of the last block that was drawn in vectors, from its word `at`.
    #[inline(always)]
    pub(crate) fn last_words<S: Simd>(&self, simd: S, at: usize) -> S::Bits {
        temper(simd, simd.load_words(&self.state[at..]))
    }
}

/// Returns the indices at which the vectors of a block begin.
#[inline(always)]
pub(crate) fn vectors<S: Simd>(_: S) -> impl Iterator<Item = usize> {
    (0..BLOCK).step_by(2 * S::LANES)
}

/// Returns the word in both halves of all lanes.
#[inline(always)]
pub(crate) fn words<S: Simd>(simd: S, word: u32) -> S::Bits {
    simd.bits(u64::from(word) << 32 | u64::from(word))
}

/// Computes words of output from words of the state. This is a bijection.
#[inline(always)]
pub(crate) fn temper<S: Simd>(simd: S, mut y: S::Bits) -> S::Bits {
    y = y ^ simd.shr_words::<11>(y);
    y = y ^ (simd.shl_words::<7>(y) & words(simd, 0x9d2c_5680));
    y = y ^ (simd.shl_words::<15>(y) & words(simd, 0xefc6_0000));
    y ^ simd.shr_words::<18>(y)
}

/// Computes the word of the state that is 624 words after `this`.
pub(super) fn recur(this: u32, following: u32, middle: u32) -> u32 {
    let y = (this & 0x8000_0000) | (following & 0x7fff_ffff);
    middle ^ (y >> 1) ^ ((y & 1).wrapping_neg() & MATRIX)
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
