//! The operations that vectorised functions consist of.

use std::ops::{Add, BitAnd, BitOr, BitXor, Div, Mul, Sub};

/// The instructions of an instruction set. A value of this type is the right to use them.
///
/// A vector has [`Self::LANES`] lanes of 64 bits, an even number. Lanes 2i and 2i + 1 are a pair. A slice to load from
/// or store to must have at least the length of a vector. Elements beyond that length are not accessed.
pub(crate) trait Simd: Copy {
    /// Double-precision numbers, one in each lane.
    type F64: Copy
        + Add<Output = Self::F64>
        + Sub<Output = Self::F64>
        + Mul<Output = Self::F64>
        + Div<Output = Self::F64>;
    /// Bits, 64 in each lane.
    type Bits: Copy + BitAnd<Output = Self::Bits> + BitOr<Output = Self::Bits> + BitXor<Output = Self::Bits>;
    /// Single-precision numbers, two in each lane.
    type F32: Copy + Add<Output = Self::F32> + Sub<Output = Self::F32> + Mul<Output = Self::F32>;
    /// Booleans, one for each lane.
    type Mask: Copy + BitAnd<Output = Self::Mask> + BitOr<Output = Self::Mask>;

    /// Number of lanes of a vector.
    const LANES: usize;

    /// Returns the number in all lanes.
    fn f64(self, x: f64) -> Self::F64;
    /// Returns the bits in all lanes.
    fn bits(self, x: u64) -> Self::Bits;
    /// Returns the number in both halves of all lanes.
    fn f32(self, x: f32) -> Self::F32;
    /// Loads the numbers at the beginning of the slice.
    fn load(self, from: &[f64]) -> Self::F64;
    /// Stores the numbers to the beginning of the slice.
    fn store(self, x: Self::F64, to: &mut [f64]);
    /// Loads the words at the beginning of the slice, two into each lane, the first into the lower half.
    fn load_words(self, from: &[u32]) -> Self::Bits;
    /// Stores words as [`Self::load_words`] loads them.
    fn store_words(self, x: Self::Bits, to: &mut [u32]);

    /// Computes √x.
    fn sqrt(self, x: Self::F64) -> Self::F64;
    /// Returns the bits of numbers.
    fn as_bits(self, x: Self::F64) -> Self::Bits;
    /// Returns the numbers with these bits.
    fn as_numbers(self, x: Self::Bits) -> Self::F64;
    /// Computes a + b of whole lanes as integers, modulo 2^64.
    fn add(self, a: Self::Bits, b: Self::Bits) -> Self::Bits;
    /// Computes a − b of half lanes as integers, modulo 2^32.
    fn sub_words(self, a: Self::Bits, b: Self::Bits) -> Self::Bits;
    /// Shifts whole lanes right.
    fn shr<const N: u32>(self, x: Self::Bits) -> Self::Bits;
    /// Shifts whole lanes left.
    fn shl<const N: u32>(self, x: Self::Bits) -> Self::Bits;
    /// Shifts half lanes right.
    fn shr_words<const N: u32>(self, x: Self::Bits) -> Self::Bits;
    /// Shifts half lanes left.
    fn shl_words<const N: u32>(self, x: Self::Bits) -> Self::Bits;

    /// Computes a · b of whole lanes as integers, modulo 2^64.
    fn mul(self, a: Self::Bits, b: Self::Bits) -> Self::Bits;
    /// Shifts each whole lane right by its own count, below 64.
    fn shr_each(self, x: Self::Bits, counts: Self::Bits) -> Self::Bits;
    /// Sets all bits of half lanes whose highest bit is set, and clears the others.
    fn signs(self, x: Self::Bits) -> Self::Bits;

    /// Returns the bits of single-precision numbers.
    fn as_bits_f32(self, x: Self::F32) -> Self::Bits;
    /// Returns the single-precision numbers with these bits.
    fn as_numbers_f32(self, x: Self::Bits) -> Self::F32;
    /// Computes √x.
    fn sqrt_f32(self, x: Self::F32) -> Self::F32;
    /// Returns the lower and the upper number of each lane, in double precision.
    fn widen(self, x: Self::F32) -> (Self::F64, Self::F64);
    /// Converts half lanes, as signed integers, to the nearest numbers.
    fn words_as_f32(self, x: Self::Bits) -> Self::F32;
    /// Exchanges the lanes of each pair.
    fn swap_pairs_f32(self, x: Self::F32) -> Self::F32;
    /// Counts the half lanes with a < b.
    fn count_less_f32(self, a: Self::F32, b: Self::F32) -> u32;

    /// Returns whether a < b.
    fn less(self, a: Self::F64, b: Self::F64) -> Self::Mask;
    /// Sets lane i of the mask if bit i is set.
    fn mask(self, bits: u32) -> Self::Mask;
    /// Sets bit i if lane i of the mask is set.
    fn mask_bits(self, mask: Self::Mask) -> u32;
    /// Selects a where the mask is set, and b elsewhere.
    fn select(self, mask: Self::Mask, a: Self::F64, b: Self::F64) -> Self::F64;

    /// Exchanges the lanes of each pair.
    fn swap_pairs(self, x: Self::F64) -> Self::F64;
    /// Turns the pairs (a₀ a₁) … (b₀ b₁) … into (a₀ b₀) … (a₁ b₁) …. The order of the pairs is unspecified. A second
    /// `unzip` of the results returns a and b.
    fn unzip(self, a: Self::F64, b: Self::F64) -> (Self::F64, Self::F64);
    /// Stores the pairs whose lanes are both set in the mask, one after the other, and returns the number of these
    /// lanes. May overwrite lanes of the slice after them.
    fn store_pairs(self, keep: Self::Mask, x: Self::F64, to: &mut [f64]) -> usize;
}
