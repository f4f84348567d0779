//! Vectors for any processor: a pair of lanes, in the baseline's own vectors if it has some (SSE2, NEON).

use std::ops::{Add, BitAnd, BitOr, BitXor, Div, Mul, Sub};

use bytemuck::cast;
use wide::{f32x4, f64x2, i32x4, u32x4, u64x2};

use super::simd::Simd;

/// Token of the instructions that the build target guarantees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Portable;

const LANES: usize = 2;

macro_rules! vector {
    ($(#[$meta:meta])* $name:ident($inner:ty): $($trait:ident $method:ident),+) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug)]
        pub(crate) struct $name($inner);

        $(impl $trait for $name {
            type Output = $name;
            #[inline(always)]
            fn $method(self, other: $name) -> $name {
                $name(self.0.$method(other.0))
            }
        })+
    };
}

vector! {
    /// Two doubles.
    F64x2(f64x2): Add add, Sub sub, Mul mul, Div div
}
vector! {
    /// Four numbers of single precision.
    F32x4(f32x4): Add add, Sub sub, Mul mul
}
vector! {
    /// Two lanes of 64 bits.
    Bits2(u64x2): BitAnd bitand, BitOr bitor, BitXor bitxor
}
vector! {
    /// Two booleans, each as all bits of a lane.
    Mask2(f64x2): BitAnd bitand, BitOr bitor
}

impl Simd for Portable {
    type F64 = F64x2;
    type F32 = F32x4;
    type Bits = Bits2;
    type Mask = Mask2;

    const LANES: usize = LANES;

    #[inline(always)]
    fn f64(self, x: f64) -> F64x2 {
        F64x2(f64x2::splat(x))
    }

    #[inline(always)]
    fn bits(self, x: u64) -> Bits2 {
        Bits2(u64x2::splat(x))
    }

    #[inline(always)]
    fn f32(self, x: f32) -> F32x4 {
        F32x4(f32x4::splat(x))
    }

    #[inline(always)]
    fn load(self, from: &[f64]) -> F64x2 {
        F64x2(f64x2::new([from[0], from[1]]))
    }

    #[inline(always)]
    fn store(self, x: F64x2, to: &mut [f64]) {
        to[..LANES].copy_from_slice(&x.0.to_array());
    }

    #[inline(always)]
    fn load_words(self, from: &[u32]) -> Bits2 {
        let from = &from[..2 * LANES];
        Bits2(cast(u32x4::new([from[0], from[1], from[2], from[3]])))
    }

    #[inline(always)]
    fn store_words(self, x: Bits2, to: &mut [u32]) {
        to[..2 * LANES].copy_from_slice(&cast::<u64x2, u32x4>(x.0).to_array());
    }

    #[inline(always)]
    fn sqrt(self, x: F64x2) -> F64x2 {
        F64x2(x.0.sqrt())
    }

    #[inline(always)]
    fn as_bits(self, x: F64x2) -> Bits2 {
        Bits2(cast(x.0))
    }

    #[inline(always)]
    fn as_numbers(self, x: Bits2) -> F64x2 {
        F64x2(cast(x.0))
    }

    #[inline(always)]
    fn add(self, a: Bits2, b: Bits2) -> Bits2 {
        Bits2(a.0 + b.0)
    }

    #[inline(always)]
    fn sub_words(self, a: Bits2, b: Bits2) -> Bits2 {
        Bits2(cast(cast::<u64x2, u32x4>(a.0) - cast::<u64x2, u32x4>(b.0)))
    }

    #[inline(always)]
    fn shr<const N: u32>(self, x: Bits2) -> Bits2 {
        Bits2(x.0 >> N)
    }

    #[inline(always)]
    fn shl<const N: u32>(self, x: Bits2) -> Bits2 {
        Bits2(x.0 << N)
    }

    #[inline(always)]
    fn shr_words<const N: u32>(self, x: Bits2) -> Bits2 {
        Bits2(cast(cast::<u64x2, u32x4>(x.0) >> N))
    }

    #[inline(always)]
    fn shl_words<const N: u32>(self, x: Bits2) -> Bits2 {
        Bits2(cast(cast::<u64x2, u32x4>(x.0) << N))
    }

    #[inline(always)]
    fn mul(self, a: Bits2, b: Bits2) -> Bits2 {
        Bits2(a.0 * b.0)
    }

    #[inline(always)]
    fn shr_each(self, x: Bits2, counts: Bits2) -> Bits2 {
        let ([a, b], [by_a, by_b]) = (x.0.to_array(), counts.0.to_array());
        Bits2(u64x2::new([a >> (by_a & 63), b >> (by_b & 63)]))
    }

    #[inline(always)]
    fn signs(self, x: Bits2) -> Bits2 {
        Bits2(cast(cast::<u64x2, i32x4>(x.0) >> 31))
    }

    #[inline(always)]
    fn as_bits_f32(self, x: F32x4) -> Bits2 {
        Bits2(cast(x.0))
    }

    #[inline(always)]
    fn as_numbers_f32(self, x: Bits2) -> F32x4 {
        F32x4(cast(x.0))
    }

    #[inline(always)]
    fn sqrt_f32(self, x: F32x4) -> F32x4 {
        F32x4(x.0.sqrt())
    }

    #[inline(always)]
    fn widen(self, x: F32x4) -> (F64x2, F64x2) {
        let [a, b, c, d] = x.0.to_array().map(f64::from);
        (F64x2(f64x2::new([a, c])), F64x2(f64x2::new([b, d])))
    }

    #[inline(always)]
    fn words_as_f32(self, x: Bits2) -> F32x4 {
        F32x4(f32x4::from_i32x4(cast::<u64x2, i32x4>(x.0)))
    }

    #[inline(always)]
    fn swap_pairs_f32(self, x: F32x4) -> F32x4 {
        let [a, b] = cast::<f32x4, u64x2>(x.0).to_array();
        F32x4(cast(u64x2::new([b, a])))
    }

    #[inline(always)]
    fn count_less_f32(self, a: F32x4, b: F32x4) -> u32 {
        a.0.simd_lt(b.0).to_bitmask().count_ones()
    }

    #[inline(always)]
    fn less(self, a: F64x2, b: F64x2) -> Mask2 {
        Mask2(a.0.simd_lt(b.0))
    }

    #[inline(always)]
    fn mask(self, bits: u32) -> Mask2 {
        let lane = |bit: u32| u64::from(bits >> bit & 1).wrapping_neg();
        Mask2(cast(u64x2::new([lane(0), lane(1)])))
    }

    #[inline(always)]
    fn mask_bits(self, mask: Mask2) -> u32 {
        mask.0.to_bitmask()
    }

    #[inline(always)]
    fn select(self, mask: Mask2, a: F64x2, b: F64x2) -> F64x2 {
        F64x2(mask.0.bitselect(a.0, b.0))
    }

    #[inline(always)]
    fn swap_pairs(self, x: F64x2) -> F64x2 {
        let [a, b] = x.0.to_array();
        F64x2(f64x2::new([b, a]))
    }

    #[inline(always)]
    fn unzip(self, a: F64x2, b: F64x2) -> (F64x2, F64x2) {
        let [first, second] = f64x2::transpose([a.0, b.0]);
        (F64x2(first), F64x2(second))
    }

    #[inline(always)]
    fn store_pairs(self, keep: Mask2, x: F64x2, to: &mut [f64]) -> usize {
        self.store(x, to);
        (self.mask_bits(keep) & 2) as usize
    }
}
