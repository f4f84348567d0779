//! The operations that vectorised functions are written in.

use std::ops::{Add, BitAnd, BitOr, BitXor, Div, Mul, Sub};

/// The instructions of an instruction set; a value of this type is the right to use them.
///
/// A vector has [`Self::LANES`] lanes of 64 bits, an even number. Lanes 2i and 2i + 1 are a pair.
/// Slices that are loaded from or stored to must have at least a vector's lanes; what is beyond is
/// not touched.
pub(crate) trait Simd: Copy {
    /// Numbers.
    type F64: Copy
        + Add<Output = Self::F64>
        + Sub<Output = Self::F64>
        + Mul<Output = Self::F64>
        + Div<Output = Self::F64>;
    /// The bits of numbers.
    type Bits: Copy + BitAnd<Output = Self::Bits> + BitOr<Output = Self::Bits> + BitXor<Output = Self::Bits>;
    /// Single-precision numbers, two in each lane, to estimate with.
    type F32: Copy + Add<Output = Self::F32> + Sub<Output = Self::F32> + Mul<Output = Self::F32>;
    /// A yes or no for each lane.
    type Mask: Copy + BitAnd<Output = Self::Mask> + BitOr<Output = Self::Mask>;

    /// Lanes of a vector.
    const LANES: usize;

    /// The number in all lanes.
    fn f64(self, x: f64) -> Self::F64;
    /// The bits in all lanes.
    fn bits(self, x: u64) -> Self::Bits;
    /// The number in both halves of all lanes.
    fn f32(self, x: f32) -> Self::F32;
    /// The numbers that begin the slice.
    fn load(self, from: &[f64]) -> Self::F64;
    /// Stores the numbers to the beginning of the slice.
    fn store(self, x: Self::F64, to: &mut [f64]);
    /// The words that begin the slice, two in each lane, the first in the lower half.
    fn load_words(self, from: &[u32]) -> Self::Bits;
    /// Stores words as [`Self::load_words`] loads them.
    fn store_words(self, x: Self::Bits, to: &mut [u32]);

    /// √x.
    fn sqrt(self, x: Self::F64) -> Self::F64;
    /// The bits of numbers.
    fn as_bits(self, x: Self::F64) -> Self::Bits;
    /// The numbers of bits.
    fn as_numbers(self, x: Self::Bits) -> Self::F64;
    /// a + b of whole lanes as integers, modulo 2^64.
    fn add(self, a: Self::Bits, b: Self::Bits) -> Self::Bits;
    /// a − b of half lanes as integers, modulo 2^32.
    fn sub_words(self, a: Self::Bits, b: Self::Bits) -> Self::Bits;
    /// Whole lanes shifted right.
    fn shr<const N: u32>(self, x: Self::Bits) -> Self::Bits;
    /// Whole lanes shifted left.
    fn shl<const N: u32>(self, x: Self::Bits) -> Self::Bits;
    /// Half lanes shifted right.
    fn shr_words<const N: u32>(self, x: Self::Bits) -> Self::Bits;
    /// Half lanes shifted left.
    fn shl_words<const N: u32>(self, x: Self::Bits) -> Self::Bits;

    /// a · b of whole lanes as integers, modulo 2^64.
    fn mul(self, a: Self::Bits, b: Self::Bits) -> Self::Bits;
    /// Whole lanes shifted right by each lane's own count, below 64.
    fn shr_each(self, x: Self::Bits, counts: Self::Bits) -> Self::Bits;
    /// All bits of half lanes whose highest bit is set, none of the others.
    fn signs(self, x: Self::Bits) -> Self::Bits;

    /// The bits of numbers of single precision.
    fn as_bits_f32(self, x: Self::F32) -> Self::Bits;
    /// The numbers of single precision of bits.
    fn as_numbers_f32(self, x: Self::Bits) -> Self::F32;
    /// √x.
    fn sqrt_f32(self, x: Self::F32) -> Self::F32;
    /// The lower and the upper number of each lane.
    fn widen(self, x: Self::F32) -> (Self::F64, Self::F64);
    /// Half lanes as signed integers, rounded to numbers.
    fn words_as_f32(self, x: Self::Bits) -> Self::F32;
    /// Each lane has the other one of its pair.
    fn swap_pairs_f32(self, x: Self::F32) -> Self::F32;
    /// In how many half lanes a < b.
    fn count_less_f32(self, a: Self::F32, b: Self::F32) -> u32;

    /// Whether a < b.
    fn less(self, a: Self::F64, b: Self::F64) -> Self::Mask;
    /// Lane i is yes where bit i is set.
    fn mask(self, bits: u32) -> Self::Mask;
    /// Bit i is set where lane i is yes.
    fn mask_bits(self, mask: Self::Mask) -> u32;
    /// a where yes, b where no.
    fn select(self, mask: Self::Mask, a: Self::F64, b: Self::F64) -> Self::F64;

    /// Each lane has the other one of its pair.
    fn swap_pairs(self, x: Self::F64) -> Self::F64;
    /// Pairs (a₀ a₁) … (b₀ b₁) … become (a₀ b₀) … (a₁ b₁) …; in which order of pairs is nobody's
    /// business, but doing it twice gives a and b.
    fn unzip(self, a: Self::F64, b: Self::F64) -> (Self::F64, Self::F64);
    /// Stores the pairs for which both lanes of the mask are yes, one behind the other, and returns
    /// how many lanes these are. Lanes of the slice behind them are overwritten.
    fn store_pairs(self, keep: Self::Mask, x: Self::F64, to: &mut [f64]) -> usize;
}
