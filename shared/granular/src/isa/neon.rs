//! aarch64 with NEON: a pair of lanes.
//!
//! Every method here is one or a few intrinsics. NEON is part of the build target, so the token always exists. The
//! methods round as those of `portable`: none of these instructions fuses a multiplication with an addition.

use std::arch::aarch64::*;
use std::ops::{Add, BitAnd, BitOr, BitXor, Div, Mul, Sub};

use super::simd::Simd;

// Every `unsafe` in this file relies on this.
const _: () = assert!(cfg!(target_feature = "neon"), "build for an aarch64 target with NEON");
// The order of half lanes in `load_words` and `widen`.
const _: () = assert!(cfg!(target_endian = "little"), "build with `--cfg granule_portable`");

/// The right to use NEON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Neon;

macro_rules! vector {
    ($(#[$meta:meta])* $name:ident($inner:ty): $($trait:ident $method:ident $intrinsic:ident),+) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug)]
        pub(crate) struct $name($inner);

        $(impl $trait for $name {
            type Output = $name;
            #[inline(always)]
            fn $method(self, other: $name) -> $name {
                // SAFETY: the target has NEON (see the head of this file). The same holds in the methods below.
                $name(unsafe { $intrinsic(self.0, other.0) })
            }
        })+
    };
}

vector! {
    /// Two doubles.
    F64x2(float64x2_t): Add add vaddq_f64, Sub sub vsubq_f64, Mul mul vmulq_f64, Div div vdivq_f64
}
vector! {
    /// Four numbers of single precision.
    F32x4(float32x4_t): Add add vaddq_f32, Sub sub vsubq_f32, Mul mul vmulq_f32
}
vector! {
    /// Two lanes of 64 bits.
    Bits2(uint64x2_t): BitAnd bitand vandq_u64, BitOr bitor vorrq_u64, BitXor bitxor veorq_u64
}
vector! {
    /// Two booleans, each as all bits of a lane.
    Mask2(uint64x2_t): BitAnd bitand vandq_u64, BitOr bitor vorrq_u64
}

impl Bits2 {
    /// Returns the half lanes.
    #[inline(always)]
    fn words(self) -> uint32x4_t {
        // SAFETY: NEON.
        unsafe { vreinterpretq_u32_u64(self.0) }
    }

    #[inline(always)]
    fn of_words(words: uint32x4_t) -> Bits2 {
        // SAFETY: NEON.
        Bits2(unsafe { vreinterpretq_u64_u32(words) })
    }
}

impl Neon {
    /// Returns a vector with bit i set in lane i.
    #[inline(always)]
    fn bit_of_lane(self) -> uint64x2_t {
        // SAFETY: NEON.
        unsafe { vcombine_u64(vcreate_u64(1), vcreate_u64(2)) }
    }
}

/// The compiler turns shifts by a vector of equal counts into shifts by a constant. A negative count shifts right.
impl Simd for Neon {
    type F64 = F64x2;
    type F32 = F32x4;
    type Bits = Bits2;
    type Mask = Mask2;

    const LANES: usize = 2;

    #[inline(always)]
    fn f64(self, x: f64) -> F64x2 {
        // SAFETY: NEON.
        F64x2(unsafe { vdupq_n_f64(x) })
    }

    #[inline(always)]
    fn bits(self, x: u64) -> Bits2 {
        // SAFETY: NEON.
        Bits2(unsafe { vdupq_n_u64(x) })
    }

    #[inline(always)]
    fn f32(self, x: f32) -> F32x4 {
        // SAFETY: NEON.
        F32x4(unsafe { vdupq_n_f32(x) })
    }

    #[inline(always)]
    fn load(self, from: &[f64]) -> F64x2 {
        let from = &from[..Self::LANES];
        // SAFETY: NEON; the slice has a vector's lanes, and alignment is not required.
        F64x2(unsafe { vld1q_f64(from.as_ptr()) })
    }

    #[inline(always)]
    fn store(self, x: F64x2, to: &mut [f64]) {
        let to = &mut to[..Self::LANES];
        // SAFETY: as for `load`.
        unsafe { vst1q_f64(to.as_mut_ptr(), x.0) }
    }

    #[inline(always)]
    fn load_words(self, from: &[u32]) -> Bits2 {
        let from = &from[..2 * Self::LANES];
        // SAFETY: as for `load`.
        Bits2::of_words(unsafe { vld1q_u32(from.as_ptr()) })
    }

    #[inline(always)]
    fn store_words(self, x: Bits2, to: &mut [u32]) {
        let to = &mut to[..2 * Self::LANES];
        // SAFETY: as for `load`.
        unsafe { vst1q_u32(to.as_mut_ptr(), x.words()) }
    }

    #[inline(always)]
    fn sqrt(self, x: F64x2) -> F64x2 {
        // SAFETY: NEON.
        F64x2(unsafe { vsqrtq_f64(x.0) })
    }

    #[inline(always)]
    fn as_bits(self, x: F64x2) -> Bits2 {
        // SAFETY: NEON.
        Bits2(unsafe { vreinterpretq_u64_f64(x.0) })
    }

    #[inline(always)]
    fn as_numbers(self, x: Bits2) -> F64x2 {
        // SAFETY: NEON.
        F64x2(unsafe { vreinterpretq_f64_u64(x.0) })
    }

    #[inline(always)]
    fn add(self, a: Bits2, b: Bits2) -> Bits2 {
        // SAFETY: NEON.
        Bits2(unsafe { vaddq_u64(a.0, b.0) })
    }

    #[inline(always)]
    fn sub_words(self, a: Bits2, b: Bits2) -> Bits2 {
        // SAFETY: NEON.
        Bits2::of_words(unsafe { vsubq_u32(a.words(), b.words()) })
    }

    #[inline(always)]
    fn shr<const N: u32>(self, x: Bits2) -> Bits2 {
        // SAFETY: NEON.
        Bits2(unsafe { vshlq_u64(x.0, vdupq_n_s64(-i64::from(N))) })
    }

    #[inline(always)]
    fn shl<const N: u32>(self, x: Bits2) -> Bits2 {
        // SAFETY: NEON.
        Bits2(unsafe { vshlq_u64(x.0, vdupq_n_s64(N.into())) })
    }

    #[inline(always)]
    fn shr_words<const N: u32>(self, x: Bits2) -> Bits2 {
        // SAFETY: NEON.
        Bits2::of_words(unsafe { vshlq_u32(x.words(), vdupq_n_s32(-(N as i32))) })
    }

    #[inline(always)]
    fn shl_words<const N: u32>(self, x: Bits2) -> Bits2 {
        // SAFETY: NEON.
        Bits2::of_words(unsafe { vshlq_u32(x.words(), vdupq_n_s32(N as i32)) })
    }

    #[inline(always)]
    fn mul(self, a: Bits2, b: Bits2) -> Bits2 {
        // SAFETY: NEON.
        unsafe {
            let crossed = vpaddlq_u32(vmulq_u32(a.words(), vrev64q_u32(b.words())));
            Bits2(vmlal_u32(vshlq_n_u64::<32>(crossed), vmovn_u64(a.0), vmovn_u64(b.0)))
        }
    }

    #[inline(always)]
    fn shr_each(self, x: Bits2, counts: Bits2) -> Bits2 {
        // SAFETY: NEON.
        Bits2(unsafe { vshlq_u64(x.0, vnegq_s64(vreinterpretq_s64_u64(counts.0))) })
    }

    #[inline(always)]
    fn signs(self, x: Bits2) -> Bits2 {
        // SAFETY: NEON.
        unsafe {
            let words = vreinterpretq_s32_u64(x.0);
            Bits2(vreinterpretq_u64_s32(vshrq_n_s32::<31>(words)))
        }
    }

    #[inline(always)]
    fn as_bits_f32(self, x: F32x4) -> Bits2 {
        // SAFETY: NEON.
        Bits2(unsafe { vreinterpretq_u64_f32(x.0) })
    }

    #[inline(always)]
    fn as_numbers_f32(self, x: Bits2) -> F32x4 {
        // SAFETY: NEON.
        F32x4(unsafe { vreinterpretq_f32_u64(x.0) })
    }

    #[inline(always)]
    fn sqrt_f32(self, x: F32x4) -> F32x4 {
        // SAFETY: NEON.
        F32x4(unsafe { vsqrtq_f32(x.0) })
    }

    #[inline(always)]
    fn widen(self, x: F32x4) -> (F64x2, F64x2) {
        // SAFETY: NEON.
        unsafe {
            let number = |half: float32x4_t| F64x2(vcvt_f64_f32(vget_low_f32(half)));
            (number(vuzp1q_f32(x.0, x.0)), number(vuzp2q_f32(x.0, x.0)))
        }
    }

    #[inline(always)]
    fn words_as_f32(self, x: Bits2) -> F32x4 {
        // SAFETY: NEON.
        F32x4(unsafe { vcvtq_f32_s32(vreinterpretq_s32_u64(x.0)) })
    }

    #[inline(always)]
    fn swap_pairs_f32(self, x: F32x4) -> F32x4 {
        // SAFETY: NEON.
        F32x4(unsafe { vextq_f32::<2>(x.0, x.0) })
    }

    #[inline(always)]
    fn count_less_f32(self, a: F32x4, b: F32x4) -> u32 {
        // SAFETY: NEON.
        unsafe { vaddvq_u32(vshrq_n_u32::<31>(vcltq_f32(a.0, b.0))) }
    }

    #[inline(always)]
    fn less(self, a: F64x2, b: F64x2) -> Mask2 {
        // SAFETY: NEON.
        Mask2(unsafe { vcltq_f64(a.0, b.0) })
    }

    #[inline(always)]
    fn mask(self, bits: u32) -> Mask2 {
        // SAFETY: NEON.
        Mask2(unsafe { vtstq_u64(vdupq_n_u64(bits.into()), self.bit_of_lane()) })
    }

    #[inline(always)]
    fn mask_bits(self, mask: Mask2) -> u32 {
        // SAFETY: NEON.
        unsafe { vaddvq_u64(vandq_u64(mask.0, self.bit_of_lane())) as u32 }
    }

    #[inline(always)]
    fn select(self, mask: Mask2, a: F64x2, b: F64x2) -> F64x2 {
        // SAFETY: NEON.
        F64x2(unsafe { vbslq_f64(mask.0, a.0, b.0) })
    }

    #[inline(always)]
    fn swap_pairs(self, x: F64x2) -> F64x2 {
        // SAFETY: NEON.
        F64x2(unsafe { vextq_f64::<1>(x.0, x.0) })
    }

    #[inline(always)]
    fn unzip(self, a: F64x2, b: F64x2) -> (F64x2, F64x2) {
        // SAFETY: NEON.
        unsafe { (F64x2(vzip1q_f64(a.0, b.0)), F64x2(vzip2q_f64(a.0, b.0))) }
    }

    #[inline(always)]
    fn store_pairs(self, keep: Mask2, x: F64x2, to: &mut [f64]) -> usize {
        self.store(x, to);
        (self.mask_bits(keep) & 2) as usize
    }
}
