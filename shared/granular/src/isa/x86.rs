//! x86-64 with AVX2, and with AVX-512 (F, DQ, BW, VL).
//!
//! Every method here is one or a few intrinsics, which the processor must have. Safety depends on the tokens: their
//! field is private, and only [`Avx2::detect`] and [`Avx512::detect`] make them, after detection. Vectors and masks are
//! made only by methods of a token.

use std::arch::x86_64::*;
use std::ops::{Add, BitAnd, BitOr, BitXor, Div, Mul, Sub};

use super::simd::Simd;

/// The right to use AVX2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Avx2(());

/// The right to use AVX-512 F, DQ, BW and VL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Avx512(());

impl Avx2 {
    /// Returns the token if the processor has the instructions.
    pub(crate) fn detect() -> Option<Avx2> {
        let has_all = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("popcnt");
        has_all.then_some(Avx2(()))
    }
}

impl Avx512 {
    /// Returns the token if the processor has the instructions.
    pub(crate) fn detect() -> Option<Avx512> {
        let has_all = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("popcnt");
        has_all.then_some(Avx512(()))
    }
}

macro_rules! vector {
    ($(#[$meta:meta])* $name:ident($inner:ty): $($trait:ident $method:ident $intrinsic:ident),+) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug)]
        pub(crate) struct $name($inner);

        $(impl $trait for $name {
            type Output = $name;
            #[inline(always)]
            fn $method(self, other: $name) -> $name {
                // SAFETY: a vector exists only if a token exists (see the head of this file).
                $name(unsafe { $intrinsic(self.0, other.0) })
            }
        })+
    };
}

vector! {
    /// Four doubles.
    F64x4(__m256d):
        Add add _mm256_add_pd, Sub sub _mm256_sub_pd, Mul mul _mm256_mul_pd, Div div _mm256_div_pd
}
vector! {
    /// Eight numbers of single precision.
    F32x8(__m256): Add add _mm256_add_ps, Sub sub _mm256_sub_ps, Mul mul _mm256_mul_ps
}
vector! {
    /// Four lanes of 64 bits.
    Bits4(__m256i):
        BitAnd bitand _mm256_and_si256, BitOr bitor _mm256_or_si256, BitXor bitxor _mm256_xor_si256
}
vector! {
    /// Four booleans, each as all bits of a lane.
    Mask4(__m256d): BitAnd bitand _mm256_and_pd, BitOr bitor _mm256_or_pd
}
vector! {
    /// Eight doubles.
    F64x8(__m512d):
        Add add _mm512_add_pd, Sub sub _mm512_sub_pd, Mul mul _mm512_mul_pd, Div div _mm512_div_pd
}
vector! {
    /// Sixteen numbers of single precision.
    F32x16(__m512): Add add _mm512_add_ps, Sub sub _mm512_sub_ps, Mul mul _mm512_mul_ps
}
vector! {
    /// Eight lanes of 64 bits.
    Bits8(__m512i):
        BitAnd bitand _mm512_and_si512, BitOr bitor _mm512_or_si512, BitXor bitxor _mm512_xor_si512
}
vector! {
    /// Eight booleans, one bit each.
    Mask8(__mmask8): BitAnd bitand _kand_mask8, BitOr bitor _kor_mask8
}

/// Defines the methods that consist of intrinsics only. The compiler turns shifts by a vector of equal counts into
/// shifts by a constant.
macro_rules! plain_methods {
    ($F64:ident, $F32:ident, $Bits:ident, $splat_pd:ident, $splat_ps:ident, $splat_epi64:ident, $splat_epi32:ident, $loadu_pd:ident,
     $storeu_pd:ident, $vector:ident, $loadu_si:ident, $storeu_si:ident, $sqrt:ident, $pd_si:ident,
     $si_pd:ident, $add_epi64:ident, $sub_epi32:ident, $srlv_epi64:ident, $srlv_epi32:ident,
     $sllv_epi64:ident, $sllv_epi32:ident, $cvtepi32_ps:ident, $unpacklo:ident, $unpackhi:ident) => {
        type F64 = $F64;
        type F32 = $F32;
        type Bits = $Bits;

        #[inline(always)]
        fn f64(self, x: f64) -> $F64 {
            // SAFETY: `self` proves that the processor has the instruction. The same holds in the methods below.
            $F64(unsafe { $splat_pd(x) })
        }

        #[inline(always)]
        fn bits(self, x: u64) -> $Bits {
            // SAFETY: `self`.
            $Bits(unsafe { $splat_epi64(x as i64) })
        }

        #[inline(always)]
        fn f32(self, x: f32) -> $F32 {
            // SAFETY: `self`.
            $F32(unsafe { $splat_ps(x) })
        }

        #[inline(always)]
        fn load(self, from: &[f64]) -> $F64 {
            let from = &from[..Self::LANES];
            // SAFETY: `self`; the slice has a vector's lanes, and alignment is not required.
            $F64(unsafe { $loadu_pd(from.as_ptr()) })
        }

        #[inline(always)]
        fn store(self, x: $F64, to: &mut [f64]) {
            let to = &mut to[..Self::LANES];
            // SAFETY: as for `load`.
            unsafe { $storeu_pd(to.as_mut_ptr(), x.0) }
        }

        #[inline(always)]
        fn load_words(self, from: &[u32]) -> $Bits {
            let from = &from[..2 * Self::LANES];
            // SAFETY: as for `load`.
            $Bits(unsafe { $loadu_si(from.as_ptr().cast::<$vector>()) })
        }

        #[inline(always)]
        fn store_words(self, x: $Bits, to: &mut [u32]) {
            let to = &mut to[..2 * Self::LANES];
            // SAFETY: as for `load`.
            unsafe { $storeu_si(to.as_mut_ptr().cast::<$vector>(), x.0) }
        }

        #[inline(always)]
        fn sqrt(self, x: $F64) -> $F64 {
            // SAFETY: `self`.
            $F64(unsafe { $sqrt(x.0) })
        }

        #[inline(always)]
        fn as_bits(self, x: $F64) -> $Bits {
            // SAFETY: `self`.
            $Bits(unsafe { $pd_si(x.0) })
        }

        #[inline(always)]
        fn as_numbers(self, x: $Bits) -> $F64 {
            // SAFETY: `self`.
            $F64(unsafe { $si_pd(x.0) })
        }

        #[inline(always)]
        fn add(self, a: $Bits, b: $Bits) -> $Bits {
            // SAFETY: `self`.
            $Bits(unsafe { $add_epi64(a.0, b.0) })
        }

        #[inline(always)]
        fn sub_words(self, a: $Bits, b: $Bits) -> $Bits {
            // SAFETY: `self`.
            $Bits(unsafe { $sub_epi32(a.0, b.0) })
        }

        #[inline(always)]
        fn shr<const N: u32>(self, x: $Bits) -> $Bits {
            // SAFETY: `self`.
            $Bits(unsafe { $srlv_epi64(x.0, $splat_epi64(N.into())) })
        }

        #[inline(always)]
        fn shl<const N: u32>(self, x: $Bits) -> $Bits {
            // SAFETY: `self`.
            $Bits(unsafe { $sllv_epi64(x.0, $splat_epi64(N.into())) })
        }

        #[inline(always)]
        fn words_as_f32(self, x: $Bits) -> $F32 {
            // SAFETY: `self`.
            $F32(unsafe { $cvtepi32_ps(x.0) })
        }

        #[inline(always)]
        fn shr_words<const N: u32>(self, x: $Bits) -> $Bits {
            // SAFETY: `self`.
            $Bits(unsafe { $srlv_epi32(x.0, $splat_epi32(N as i32)) })
        }

        #[inline(always)]
        fn shl_words<const N: u32>(self, x: $Bits) -> $Bits {
            // SAFETY: `self`.
            $Bits(unsafe { $sllv_epi32(x.0, $splat_epi32(N as i32)) })
        }

        #[inline(always)]
        fn unzip(self, a: $F64, b: $F64) -> ($F64, $F64) {
            // SAFETY: `self`.
            unsafe { ($F64($unpacklo(a.0, b.0)), $F64($unpackhi(a.0, b.0))) }
        }
    };
}

impl Simd for Avx2 {
    type Mask = Mask4;

    const LANES: usize = 4;

    plain_methods!(
        F64x4,
        F32x8,
        Bits4,
        _mm256_set1_pd,
        _mm256_set1_ps,
        _mm256_set1_epi64x,
        _mm256_set1_epi32,
        _mm256_loadu_pd,
        _mm256_storeu_pd,
        __m256i,
        _mm256_loadu_si256,
        _mm256_storeu_si256,
        _mm256_sqrt_pd,
        _mm256_castpd_si256,
        _mm256_castsi256_pd,
        _mm256_add_epi64,
        _mm256_sub_epi32,
        _mm256_srlv_epi64,
        _mm256_srlv_epi32,
        _mm256_sllv_epi64,
        _mm256_sllv_epi32,
        _mm256_cvtepi32_ps,
        _mm256_unpacklo_pd,
        _mm256_unpackhi_pd
    );

    #[inline(always)]
    fn mul(self, a: Bits4, b: Bits4) -> Bits4 {
        // SAFETY: `self`.
        unsafe {
            let low = _mm256_mul_epu32(a.0, b.0);
            let [a_high, b_high] = [a.0, b.0].map(|x| _mm256_srli_epi64::<32>(x));
            let crossed = _mm256_add_epi64(_mm256_mul_epu32(a_high, b.0), _mm256_mul_epu32(a.0, b_high));
            Bits4(_mm256_add_epi64(low, _mm256_slli_epi64::<32>(crossed)))
        }
    }

    #[inline(always)]
    fn shr_each(self, x: Bits4, counts: Bits4) -> Bits4 {
        // SAFETY: `self`.
        Bits4(unsafe { _mm256_srlv_epi64(x.0, counts.0) })
    }

    #[inline(always)]
    fn signs(self, x: Bits4) -> Bits4 {
        // SAFETY: `self`.
        Bits4(unsafe { _mm256_srai_epi32::<31>(x.0) })
    }

    #[inline(always)]
    fn as_bits_f32(self, x: F32x8) -> Bits4 {
        // SAFETY: `self`.
        Bits4(unsafe { _mm256_castps_si256(x.0) })
    }

    #[inline(always)]
    fn as_numbers_f32(self, x: Bits4) -> F32x8 {
        // SAFETY: `self`.
        F32x8(unsafe { _mm256_castsi256_ps(x.0) })
    }

    #[inline(always)]
    fn sqrt_f32(self, x: F32x8) -> F32x8 {
        // SAFETY: `self`.
        F32x8(unsafe { _mm256_sqrt_ps(x.0) })
    }

    #[inline(always)]
    fn widen(self, x: F32x8) -> (F64x4, F64x4) {
        // SAFETY: `self`.
        unsafe {
            let apart = _mm256_permutevar8x32_ps(x.0, _mm256_set_epi32(7, 5, 3, 1, 6, 4, 2, 0));
            let lower = _mm256_cvtps_pd(_mm256_castps256_ps128(apart));
            (F64x4(lower), F64x4(_mm256_cvtps_pd(_mm256_extractf128_ps::<1>(apart))))
        }
    }

    #[inline(always)]
    fn swap_pairs_f32(self, x: F32x8) -> F32x8 {
        // SAFETY: `self`.
        F32x8(unsafe { _mm256_permute_ps::<0b01_00_11_10>(x.0) })
    }

    #[inline(always)]
    fn count_less_f32(self, a: F32x8, b: F32x8) -> u32 {
        // SAFETY: `self`.
        unsafe { _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_LT_OQ>(a.0, b.0)).count_ones() }
    }

    #[inline(always)]
    fn less(self, a: F64x4, b: F64x4) -> Mask4 {
        // SAFETY: `self`.
        Mask4(unsafe { _mm256_cmp_pd::<_CMP_LT_OQ>(a.0, b.0) })
    }

    #[inline(always)]
    fn mask(self, bits: u32) -> Mask4 {
        // SAFETY: `self`.
        unsafe {
            let lane = _mm256_set_epi64x(8, 4, 2, 1);
            let own = _mm256_and_si256(_mm256_set1_epi64x(bits.into()), lane);
            Mask4(_mm256_castsi256_pd(_mm256_cmpeq_epi64(own, lane)))
        }
    }

    #[inline(always)]
    fn mask_bits(self, mask: Mask4) -> u32 {
        // SAFETY: `self`.
        unsafe { _mm256_movemask_pd(mask.0) as u32 }
    }

    #[inline(always)]
    fn select(self, mask: Mask4, a: F64x4, b: F64x4) -> F64x4 {
        // SAFETY: `self`.
        F64x4(unsafe { _mm256_blendv_pd(b.0, a.0, mask.0) })
    }

    #[inline(always)]
    fn swap_pairs(self, x: F64x4) -> F64x4 {
        // SAFETY: `self`.
        F64x4(unsafe { _mm256_permute_pd::<0b0101>(x.0) })
    }

    #[inline(always)]
    fn store_pairs(self, keep: Mask4, x: F64x4, to: &mut [f64]) -> usize {
        let to = &mut to[..Self::LANES];
        let keep = self.mask_bits(keep);
        let first = (keep & 2) as usize;
        let second = (keep >> 2 & 2) as usize;
        // SAFETY: `self`; the slice has four lanes, and the second store writes two lanes from lane `first`, which is 0
        // or 2.
        unsafe {
            _mm_storeu_pd(to.as_mut_ptr(), _mm256_castpd256_pd128(x.0));
            _mm_storeu_pd(to.as_mut_ptr().add(first), _mm256_extractf128_pd::<1>(x.0));
        }
        first + second
    }
}

impl Simd for Avx512 {
    type Mask = Mask8;

    const LANES: usize = 8;

    plain_methods!(
        F64x8,
        F32x16,
        Bits8,
        _mm512_set1_pd,
        _mm512_set1_ps,
        _mm512_set1_epi64,
        _mm512_set1_epi32,
        _mm512_loadu_pd,
        _mm512_storeu_pd,
        __m512i,
        _mm512_loadu_si512,
        _mm512_storeu_si512,
        _mm512_sqrt_pd,
        _mm512_castpd_si512,
        _mm512_castsi512_pd,
        _mm512_add_epi64,
        _mm512_sub_epi32,
        _mm512_srlv_epi64,
        _mm512_srlv_epi32,
        _mm512_sllv_epi64,
        _mm512_sllv_epi32,
        _mm512_cvtepi32_ps,
        _mm512_unpacklo_pd,
        _mm512_unpackhi_pd
    );

    #[inline(always)]
    fn mul(self, a: Bits8, b: Bits8) -> Bits8 {
        // SAFETY: `self`.
        Bits8(unsafe { _mm512_mullo_epi64(a.0, b.0) })
    }

    #[inline(always)]
    fn shr_each(self, x: Bits8, counts: Bits8) -> Bits8 {
        // SAFETY: `self`.
        Bits8(unsafe { _mm512_srlv_epi64(x.0, counts.0) })
    }

    #[inline(always)]
    fn signs(self, x: Bits8) -> Bits8 {
        // SAFETY: `self`.
        Bits8(unsafe { _mm512_srai_epi32::<31>(x.0) })
    }

    #[inline(always)]
    fn as_bits_f32(self, x: F32x16) -> Bits8 {
        // SAFETY: `self`.
        Bits8(unsafe { _mm512_castps_si512(x.0) })
    }

    #[inline(always)]
    fn as_numbers_f32(self, x: Bits8) -> F32x16 {
        // SAFETY: `self`.
        F32x16(unsafe { _mm512_castsi512_ps(x.0) })
    }

    #[inline(always)]
    fn sqrt_f32(self, x: F32x16) -> F32x16 {
        // SAFETY: `self`.
        F32x16(unsafe { _mm512_sqrt_ps(x.0) })
    }

    #[inline(always)]
    fn widen(self, x: F32x16) -> (F64x8, F64x8) {
        // SAFETY: `self`.
        unsafe {
            let bits = _mm512_castps_si512(x.0);
            let number = |bits| F64x8(_mm512_cvtps_pd(_mm256_castsi256_ps(_mm512_cvtepi64_epi32(bits))));
            (number(bits), number(_mm512_srli_epi64::<32>(bits)))
        }
    }

    #[inline(always)]
    fn swap_pairs_f32(self, x: F32x16) -> F32x16 {
        // SAFETY: `self`.
        F32x16(unsafe { _mm512_permute_ps::<0b01_00_11_10>(x.0) })
    }

    #[inline(always)]
    fn count_less_f32(self, a: F32x16, b: F32x16) -> u32 {
        // SAFETY: `self`.
        unsafe { _mm512_cmp_ps_mask::<_CMP_LT_OQ>(a.0, b.0).count_ones() }
    }

    #[inline(always)]
    fn less(self, a: F64x8, b: F64x8) -> Mask8 {
        // SAFETY: `self`.
        Mask8(unsafe { _mm512_cmp_pd_mask::<_CMP_LT_OQ>(a.0, b.0) })
    }

    #[inline(always)]
    fn mask(self, bits: u32) -> Mask8 {
        Mask8(bits as u8)
    }

    #[inline(always)]
    fn mask_bits(self, mask: Mask8) -> u32 {
        mask.0.into()
    }

    #[inline(always)]
    fn select(self, mask: Mask8, a: F64x8, b: F64x8) -> F64x8 {
        // SAFETY: `self`.
        F64x8(unsafe { _mm512_mask_blend_pd(mask.0, b.0, a.0) })
    }

    #[inline(always)]
    fn swap_pairs(self, x: F64x8) -> F64x8 {
        // SAFETY: `self`.
        F64x8(unsafe { _mm512_permute_pd::<0b0101_0101>(x.0) })
    }

    #[inline(always)]
    fn store_pairs(self, keep: Mask8, x: F64x8, to: &mut [f64]) -> usize {
        // Pack in a register and store it whole: a store under a mask is many times slower on Zen 4.
        // SAFETY: `self`.
        let packed = F64x8(unsafe { _mm512_maskz_compress_pd(keep.0, x.0) });
        self.store(packed, to);
        keep.0.count_ones() as usize
    }
}
