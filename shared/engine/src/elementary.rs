//! Natural logarithm and power whose results have the same bits on every platform.
//!
//! `f64::ln` and `f64::powf` call the C library of the target, and the last bit differs between libraries. A sampler
//! that reproduces the deviates of numpy's legacy generator needs the bits that numpy got. Those were results of C
//! `log` and `pow` on Linux. [`ln`] and [`pow`] give the results of glibc since 2.28 on an x86-64 processor with AVX2
//! and FMA. They use IEEE 754 binary64 arithmetic only.
//!
//! # Source
//!
//! The algorithms and constants are those of ARM optimized-routines, `math/log.c` and `math/pow.c` (copyright 2018 Arm
//! Limited, `MIT OR Apache-2.0 WITH LLVM-exception`). glibc adopted them in 2.28 as `sysdeps/ieee754/dbl-64/e_log.c`
//! and `e_pow.c`. On x86-64, glibc also compiles them with `-mfma -mavx2` and selects that variant at run time. In that
//! variant GCC fuses products into sums that the C source rounds twice. Which operations GCC fuses affects the results.
//! It is taken here from the machine code of Debian's glibc 2.36-9+deb12u14 (`libm.so.6` with build id
//! `d6e6f9e3af1243eed9bf5efd366dd015a9f22c13`). Debian's 2.31-13+deb11u11 and 2.41-12+deb13u5 gave the same bits in all
//! comparisons.
//!
//! **Every call of `fma` below is one fused instruction there, and every plain `*`, `+` and `-` is a separate one.
//! Never replace one by the other, and never reorder a sum.**
//!
//! # Accuracy
//!
//! With FMA the authors state worst errors of 0.519 ulp for the logarithm and 0.54 ulp for the power; neither is
//! correctly rounded. The functions assume rounding to nearest, as all Rust code does. The sign and payload of a NaN
//! are unspecified, and quiet and signalling NaNs are treated alike. No floating-point exception flag is promised.

#![expect(clippy::float_cmp, reason = "only values that are exact are compared for equality")]

mod tables;

use tables::{
    EXP_POLY, EXP_TABLE, INV_LN2_N, LN2_HI, LN2_LO, LOG_NEAR_ONE_POLY, LOG_POLY, LOG_TABLE, NEG_LN2_N_HI,
    NEG_LN2_N_LO, POW_LOG_POLY, POW_LOG_TABLE, ROUND_SHIFT,
};

/// Computes the natural logarithm of `x`, with the bits of glibc's `log`.
///
/// Subnormals keep their value. `ln(±0)` is -∞, `ln(+∞)` is +∞, and a negative number or a NaN gives a NaN.
#[must_use]
pub fn ln(x: f64) -> f64 {
    if LN_NEAR_ONE.contains(&x) {
        return ln_near_one(x - 1.0);
    }
    if x > 0.0 && x < f64::INFINITY {
        return ln_by_table(exponent_unbounded(x));
    }
    if x == 0.0 {
        f64::NEG_INFINITY
    } else if x > 0.0 {
        x
    } else {
        f64::NAN
    }
}

/// Computes `base` to the power `exponent`, with the bits of glibc's `pow`.
///
/// The special cases are those of C and IEEE 754. In particular, `x^0` and `1^y` are 1 even for a NaN, and `0^y` is 0
/// for y > 0 and +∞ for y < 0. A negative finite base gives a NaN unless the exponent is an integer or infinite. A
/// result too large is ∞; a result too small is rounded once, to a subnormal or zero.
#[must_use]
pub fn pow(base: f64, exponent: f64) -> f64 {
    if exponent == 0.0 || base == 1.0 {
        return 1.0;
    }
    if base.is_nan() || exponent.is_nan() {
        return f64::NAN;
    }
    let magnitude = pow_of_magnitude(base.abs(), exponent);
    if base.is_sign_positive() {
        return magnitude;
    }
    if (exponent % 2.0).abs() == 1.0 {
        return -magnitude;
    }
    let even = exponent.trunc() == exponent; // true for an infinite exponent, too
    if even || base == 0.0 || base.is_infinite() { magnitude } else { f64::NAN }
}

/// Interval in which [`ln`] needs no table: from 1 - 2^-4 up to 1 + 0x1.09p-4.
const LN_NEAR_ONE: std::ops::Range<f64> = 0.937_5..1.064_697_265_625;

/// Bits of 0.6875, the start of the interval that [`LOG_TABLE`] divides. It ends at twice its start.
const LOG_ORIGIN: u64 = 0x3fe6_0000_0000_0000;

/// Bits of about 0.7057, the start of the interval that [`POW_LOG_TABLE`] divides. It ends at twice its start.
const POW_LOG_ORIGIN: u64 = 0x3fe6_9555_0000_0000;

/// All tables divide their interval into 2^7 parts.
const TABLE_BITS: u32 = 7;
const TABLE_SIZE: u64 = 1 << TABLE_BITS;
const MANTISSA_BITS: u32 = f64::MANTISSA_DIGITS - 1;

/// Returns 2^n, for n within the exponents of normal numbers.
const fn two_to(n: i64) -> f64 {
    f64::from_bits((1023 + n).cast_unsigned() << MANTISSA_BITS)
}

/// Returns the bits of a positive finite number. For a subnormal number, the exponent continues below the range of its
/// field, and so into the sign bit.
fn exponent_unbounded(x: f64) -> u64 {
    if x < f64::MIN_POSITIVE {
        (x * two_to(52)).to_bits().wrapping_sub(52 << MANTISSA_BITS)
    } else {
        x.to_bits()
    }
}

/// A positive number as `z * 2^exponent`: z lies in the interval that a table divides, in part `slot`.
struct Reduced {
    exponent: f64,
    slot: usize,
    z: f64,
}

impl Reduced {
    /// Reduces the number with these [`exponent_unbounded`] bits.
    #[expect(clippy::cast_precision_loss, reason = "an exponent has at most 12 bits")]
    fn to_interval_from<const ORIGIN: u64>(bits: u64) -> Self {
        let distance = bits.wrapping_sub(ORIGIN);
        let exponent = distance.cast_signed() >> MANTISSA_BITS;
        Self {
            exponent: exponent as f64,
            slot: ((distance >> (MANTISSA_BITS - TABLE_BITS)) % TABLE_SIZE) as usize,
            z: f64::from_bits(bits.wrapping_sub((exponent << MANTISSA_BITS).cast_unsigned())),
        }
    }
}

/// Computes ln(1 + r) for r so small that the rounding of the table's ln c would cost accuracy. The result is
/// `r - r^2/2`, a correction for the rounding error of its leading part, and a polynomial for the rest.
fn ln_near_one(r: f64) -> f64 {
    let [b0, b1, b2, b3, b4, b5, b6, b7, b8, b9, b10] = LOG_NEAR_ONE_POLY;
    let r2 = r * r;
    let r3 = r * r2;
    let low = fma(r2, b3, fma(b2, r, b1));
    let middle = fma(r2, b6, fma(b5, r, b4));
    let high = fma(r3, b10, fma(r2, b9, fma(b8, r, b7)));
    let cubic = fma(fma(high, r3, middle), r3, low);

    // r cut to its leading 26 bits; its square is exact.
    let cut = fma(-two_to(27), r, fma(r, two_to(27), r));
    let rest = r - cut;
    let cut2 = cut * cut;
    let sum = fma(cut2, b0, r);
    let lost = fma(b0 * rest, r + cut, fma(cut2, b0, r - sum));
    sum + fma(cubic, r3, lost)
}

/// Computes ln of the number with these [`exponent_unbounded`] bits. The result is `ln z + k ln 2`, with
/// `ln z = ln c + ln(1 + r)` for the c of z's slot and `r = z/c - 1`.
fn ln_by_table(bits: u64) -> f64 {
    let [a0, a1, a2, a3, a4] = LOG_POLY;
    let Reduced { exponent, slot, z } = Reduced::to_interval_from::<LOG_ORIGIN>(bits);
    let [inverse, ln_c] = LOG_TABLE[slot].map(f64::from_bits);
    let r = fma(z, inverse, -1.0);
    let coarse = fma(exponent, LN2_HI, ln_c);
    let sum = coarse + r;
    let lost = fma(exponent, LN2_LO, coarse - sum + r);
    let r2 = r * r;
    let cubic = fma(fma(r, a4, a3), r2, fma(a2, r, a1));
    fma(r * r2, cubic, fma(r2, a0, lost)) + sum
}

/// Computes |base|^exponent for a nonzero exponent. Neither argument may be a NaN.
fn pow_of_magnitude(base: f64, exponent: f64) -> f64 {
    if base == 1.0 {
        return 1.0;
    }
    // If |exponent| is 2^63 or more, the power of every base other than 1 overflows or underflows.
    if base == 0.0 || base.is_infinite() || exponent.abs() >= two_to(63) {
        let grows = (base > 1.0) == (exponent > 0.0);
        return if grows { f64::INFINITY } else { 0.0 };
    }
    if exponent.abs() < two_to(-65) {
        return 1.0;
    }
    let (ln, ln_rest) = ln_extended(exponent_unbounded(base));
    let product = exponent * ln;
    let product_rest = fma(exponent, ln_rest, fma(ln, exponent, -product));
    exp_of_sum(product, product_rest)
}

/// Computes ln of the number with these [`exponent_unbounded`] bits, as a rounded value and its rounding error. Their
/// sum is accurate to about 68 bits.
fn ln_extended(bits: u64) -> (f64, f64) {
    let [a0, a1, a2, a3, a4, a5, a6] = POW_LOG_POLY;
    let Reduced { exponent, slot, z } = Reduced::to_interval_from::<POW_LOG_ORIGIN>(bits);
    let [inverse, ln_c, ln_c_rest] = POW_LOG_TABLE[slot].map(f64::from_bits);
    let r = fma(z, inverse, -1.0);

    let coarse = fma(exponent, LN2_HI, ln_c);
    let linear = coarse + r;
    let lost_tables = fma(exponent, LN2_LO, ln_c_rest);
    let lost_linear = coarse - linear + r;

    let half = a0 * r;
    let square = r * half; // -r^2/2
    let lost_square = fma(half, r, -square);
    let quadratic = linear + square;
    let lost_quadratic = linear - quadratic + square;

    let poly = fma(fma(r, a6, a5), square, fma(a4, r, a3));
    let poly = fma(square, poly, fma(a2, r, a1));
    let lost = lost_tables + lost_linear + lost_square + lost_quadratic;
    let lost = fma(r * square, poly, lost);
    let rounded = quadratic + lost;
    (rounded, quadratic - rounded + lost)
}

/// Computes exp(x + rest) for a rest far below x: 2^(k/128) exp(r), with k the integer nearest 128 x / ln 2.
fn exp_of_sum(x: f64, rest: f64) -> f64 {
    if x.abs() < two_to(-54) {
        return 1.0 + x;
    }
    if x.abs() >= 1024.0 {
        return if x > 0.0 { f64::INFINITY } else { 0.0 };
    }
    let [c2, c3, c4, c5] = EXP_POLY;
    let shifted = fma(x, INV_LN2_N, ROUND_SHIFT);
    let k_bits = shifted.to_bits();
    let k = shifted - ROUND_SHIFT;
    let r = rest + fma(k, NEG_LN2_N_LO, fma(k, NEG_LN2_N_HI, x));

    let [tail, scale] = EXP_TABLE[(k_bits % TABLE_SIZE) as usize];
    let scale = scale.wrapping_add(k_bits << (MANTISSA_BITS - TABLE_BITS));
    let r2 = r * r;
    let low = fma(fma(c3, r, c2), r2, r + f64::from_bits(tail));
    let excess = fma(fma(r, c5, c4), r2 * r2, low);
    if x.abs() < 512.0 {
        let scale = f64::from_bits(scale);
        fma(excess, scale, scale)
    } else if x > 0.0 {
        scaled_large(scale, excess)
    } else {
        scaled_small(scale, excess)
    }
}

/// Computes scale (1 + excess) where the result may overflow. The exponent in the bits of `scale` may already have
/// overflowed.
fn scaled_large(scale: u64, excess: f64) -> f64 {
    let scale = f64::from_bits(scale.wrapping_sub(1009 << MANTISSA_BITS));
    fma(scale, excess, scale) * two_to(1009)
}

/// Computes scale (1 + excess) where the result may be subnormal or zero. The exponent in the bits of `scale` may lie
/// below the range of its field.
fn scaled_small(scale: u64, excess: f64) -> f64 {
    let scale = f64::from_bits(scale.wrapping_add(1022 << MANTISSA_BITS));
    // GCC does not fuse this product with either sum, because its two uses are in different blocks.
    let product = excess * scale;
    let mut y = scale + product;
    if y < 1.0 {
        // The scaled result is subnormal: round here to the precision that it will have, so that it is rounded once.
        let lost = scale - y + product;
        let above_one = 1.0 + y;
        let lost = 1.0 - above_one + y + lost;
        y = above_one + lost - 1.0;
    }
    y * two_to(-1022)
}

/// Whether `f64::mul_add` is known to be a correct fused multiply-add. On targets without such an instruction,
/// `f64::mul_add` calls `fma` of the C library. Two of these were seen to round twice: that of mingw-w64 (its bug 848)
/// and, on processors without the instruction, that of Microsoft.
const MUL_ADD_IS_SOUND: bool =
    cfg!(any(target_feature = "fma", target_arch = "aarch64", target_os = "linux"));

/// Computes `a * b + c`, rounded once.
#[inline]
fn fma(a: f64, b: f64, c: f64) -> f64 {
    if MUL_ADD_IS_SOUND { a.mul_add(b, c) } else { fma_emulated(a, b, c) }
}

/// Computes [`fma`] from sums and products. The result is right unless an intermediate result overflows or falls below
/// the normal range. Nothing in this file comes near either limit.
///
/// Source: S. Boldo and G. Melquiond, "Emulation of a FMA and correctly rounded sums: proved algorithms using rounding
/// to odd", IEEE Transactions on Computers 57(4), 2008.
fn fma_emulated(a: f64, b: f64, c: f64) -> f64 {
    let (product, product_error) = exact_product(a, b);
    let (low, low_error) = exact_sum(c, product_error);
    let (high, high_error) = exact_sum(product, low);
    high + sum_to_odd(low_error, high_error)
}

/// Returns a + b rounded, and its rounding error (Knuth's `TwoSum`).
fn exact_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let b_part = sum - a;
    (sum, (a - (sum - b_part)) + (b - b_part))
}

/// Returns a * b rounded, and its rounding error (Dekker's product, by Veltkamp's splitting).
fn exact_product(a: f64, b: f64) -> (f64, f64) {
    fn split(x: f64) -> (f64, f64) {
        let blown_up = x * (two_to(27) + 1.0);
        let leading = blown_up - (blown_up - x);
        (leading, x - leading)
    }
    let product = a * b;
    let (a_high, a_low) = split(a);
    let (b_high, b_low) = split(b);
    let error = a_high * b_high - product + a_high * b_low + a_low * b_high + a_low * b_low;
    (product, error)
}

/// Returns a + b. If the sum is inexact, returns the neighbour with an odd last bit.
fn sum_to_odd(a: f64, b: f64) -> f64 {
    let (sum, error) = exact_sum(a, b);
    let bits = sum.to_bits();
    if error == 0.0 || bits % 2 == 1 {
        return sum;
    }
    let away_from_zero = (error > 0.0) == (sum > 0.0);
    f64::from_bits(if away_from_zero { bits + 1 } else { bits - 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `[x, ln x]` by glibc 2.36. The rows are round and extreme arguments, edges of the intervals, and arguments whose
    /// result changes if one of the fused operations is not fused.
    #[rustfmt::skip]
    const LN: &[[u64; 2]] = &[
        [0x0000_0000_0000_0001, 0xc087_4385_446d_71c3],
        [0x0000_2e05_5c9a_3f6c, 0xc086_4714_a911_5cd0],
        [0x000f_ffff_ffff_ffff, 0xc086_232b_dd7a_bcd2],
        [0x0010_0000_0000_0000, 0xc086_232b_dd7a_bcd2],
        [0x01a5_6e1f_c2f8_f359, 0xc085_9634_47f8_7fb5],
        [0x3ca0_0000_0000_0000, 0xc042_5e4f_7b27_37fa],
        [0x3ee4_f8b5_88e3_68f1, 0xc027_069e_2aa2_aa5b],
        [0x3fb9_9999_9999_999a, 0xc002_6bb1_bbb5_5515],
        [0x3fd0_0000_0000_0000, 0xbff6_2e42_fefa_39ef],
        [0x3fd3_3333_3333_3333, 0xbff3_4378_fcbd_a721],
        [0x3fe0_0000_0000_0000, 0xbfe6_2e42_fefa_39ef],
        [0x3fe6_0000_0000_0000, 0xbfd7_fafa_3bd8_151c],
        [0x3fec_cccc_cccc_cccd, 0xbfba_f8e8_210a_415c],
        [0x3fee_0000_0000_0000, 0xbfb0_8598_b59e_3a07],
        [0x3fef_f7ce_d916_872b, 0xbf50_6467_0d97_9b73],
        [0x3fef_ffff_ffff_ffff, 0xbca0_0000_0000_0000],
        [0x3ff0_0000_0000_0000, 0x0000_0000_0000_0000],
        [0x3ff0_0000_0000_0001, 0x3caf_ffff_ffff_ffff],
        [0x3ff0_0418_9374_bc6a, 0x3f50_6035_4f8c_3cc4],
        [0x3ff1_08ff_ffff_ffff, 0x3fb0_0c7c_1418_4eb6],
        [0x3ff1_0900_0000_0000, 0x3fb0_0c7c_1418_4ec5],
        [0x3ff6_0000_0000_0000, 0x3fd4_618b_c21c_5ec2],
        [0x3ff8_0000_0000_0000, 0x3fd9_f323_ecbf_984c],
        [0x4000_0000_0000_0000, 0x3fe6_2e42_fefa_39ef],
        [0x4005_bf0a_8b14_5769, 0x3ff0_0000_0000_0000],
        [0x4008_0000_0000_0000, 0x3ff1_93ea_7aad_030b],
        [0x4024_0000_0000_0000, 0x4002_6bb1_bbb5_5516],
        [0x40c8_1cd6_c8b4_3958, 0x4022_d795_5979_1e31],
        [0x54b2_49ad_2594_c37d, 0x406c_c845_b54b_54f2],
        [0x7fef_ffff_ffff_ffff, 0x4086_2e42_fefa_39ef],
        [0x3fee_22ef_2b42_40bf, 0xbfae_b855_6c26_1fe7],
        [0x3fee_2760_152f_3655, 0xbfae_6ce7_8322_b46a],
        [0x3fee_130c_32ae_9f9b, 0xbfaf_c684_00d2_9c6d],
        [0x3ff0_b567_d760_1b87, 0x3fa6_301b_60e2_b696],
        [0x3ff0_c3c1_e9be_1270, 0x3fa7_e727_0a7f_279e],
        [0x3ff0_c7b6_6bcc_93eb, 0x3fa8_5fe3_343d_d56d],
        [0x3ff0_58e3_6807_0fff, 0x3f95_fc00_b4e5_b8cc],
        [0x3ff0_7a08_aaab_f0c2, 0x3f9e_1014_d259_5080],
        [0x3ff1_1ccc_0aca_89b2, 0x3fb1_3550_faf3_ccf9],
        [0x3ff4_6ca7_43ae_1de8, 0x3fcf_4012_e33e_ea80],
        [0x3ff1_3ab7_8c82_119e, 0x3fb2_f364_6973_7991],
        [0x3ff7_0940_67b0_38e7, 0x3fd7_5391_22d6_792e],
        [0x3fe3_6176_7231_933f, 0xbfe0_0bf0_8c67_c2db],
    ];

    /// `[base, exponent, power]` by glibc 2.36, chosen like [`LN`]. Some of these results also change if another
    /// operation is fused.
    #[rustfmt::skip]
    const POW: &[[u64; 3]] = &[
        [0x3fe0_0000_0000_0000, 0x3fe0_0000_0000_0000, 0x3fe6_a09e_667f_3bcd],
        [0x3fb9_9999_9999_999a, 0x4008_0000_0000_0000, 0x3f50_624d_d2f1_a9fd],
        [0x3fd3_3333_3333_3333, 0x3ff0_0000_0000_0001, 0x3fd3_3333_3333_3332],
        [0x3fe6_6666_6666_6666, 0x3fef_ffff_ffff_ffff, 0x3fe6_6666_6666_6666],
        [0x3fef_ffff_ca50_1acb, 0x3fb9_9999_9999_999a, 0x3fef_ffff_faa1_9c43],
        [0x3fbf_9add_3739_635f, 0x400a_aaaa_aaaa_aaab, 0x3f4e_b3b5_9d69_a6b7],
        [0x3fd0_0000_0000_0000, 0x3ff6_db6d_b6db_6db7, 0x3fc1_aa59_c411_5e7d],
        [0x3c67_0ef5_4646_d497, 0x4034_0000_0000_0000, 0x0000_0000_0000_0000],
        [0x3fe3_3333_3333_3333, 0x4024_0000_0000_0000, 0x3f78_c456_8d7e_a3df],
        [0x4000_0000_0000_0000, 0x3fe0_0000_0000_0000, 0x3ff6_a09e_667f_3bcd],
        [0x4000_0000_0000_0000, 0xc090_c800_0000_0000, 0x0000_0000_0000_0001],
        [0x4000_0000_0000_0000, 0xc090_cc00_0000_0000, 0x0000_0000_0000_0000],
        [0x4000_0000_0000_0000, 0x408f_f800_0000_0000, 0x7fe0_0000_0000_0000],
        [0x4024_0000_0000_0000, 0xc014_0000_0000_0000, 0x3ee4_f8b5_88e3_68f1],
        [0x4024_0000_0000_0000, 0x4036_0000_0000_0000, 0x4480_f0cf_064d_d592],
        [0x4024_0000_0000_0000, 0x4073_4000_0000_0000, 0x7fe1_ccf3_85eb_c8a0],
        [0x3ff8_0000_0000_0000, 0xbff8_0000_0000_0000, 0x3fe1_6b28_f55d_72d4],
        [0x0000_1268_8b70_e62b, 0x3fe0_0000_0000_0000, 0x1fc1_2978_72d9_cbae],
        [0x0000_0000_0000_0001, 0x3ff0_0000_0000_0000, 0x0000_0000_0000_0001],
        [0x0000_0000_0000_0001, 0xbfec_cccc_cccc_cccd, 0x7c58_4060_03b2_aecd],
        [0x7fef_ffff_ffff_ffff, 0x3ff0_0000_0000_0000, 0x7fef_ffff_ffff_ffff],
        [0x7fef_ffff_ffff_ffff, 0xbff0_0000_0000_0000, 0x0004_0000_0000_0000],
        [0x4008_0000_0000_0000, 0xc084_5000_0000_0000, 0x0000_0dae_ff89_ff96],
        [0x4008_0000_0000_0000, 0xc084_f400_0000_0000, 0x0000_0000_0000_09bb],
        [0x3ff0_0000_0000_0001, 0x43ab_c16d_674e_c800, 0x53f4_4a12_826f_5073],
        [0x3fef_ffff_ffff_ffff, 0xc3d4_d112_0d7b_1600, 0x7c00_5021_74a9_c0ef],
        [0x3ff0_0000_1ad7_f29b, 0xc1fa_d274_8000_0000, 0x0000_0009_93cb_3171],
        [0x3fd3_3333_3333_3333, 0x3c32_725d_d1d2_43ac, 0x3ff0_0000_0000_0000],
        [0x401c_0000_0000_0000, 0x3bc7_9ca1_0c92_4223, 0x3ff0_0000_0000_0000],
        [0xc004_0000_0000_0000, 0x4008_0000_0000_0000, 0xc02f_4000_0000_0000],
        [0xbfd3_3333_3333_3333, 0xc072_d000_0000_0000, 0xe09c_607a_ea64_9a2e],
        [0x404b_e17d_faca_ec52, 0xc061_4e75_8253_5752, 0x0dbc_1bd8_9926_e2d2],
        [0x3fed_62de_55ce_ef66, 0xc0ba_b419_c040_f459, 0x7474_d70c_3592_d5bc],
        [0x3ff1_f19b_929f_9577, 0x40b0_e358_80c7_a082, 0x6ca1_8b92_11fa_658f],
        [0x4033_0d12_179c_7ce9, 0xc061_3d26_553d_e302, 0x1b48_c4b2_ea79_18b9],
        [0x3fef_ec1e_b925_9152, 0x4102_6952_4d2e_e308, 0x1ee3_c41f_91f3_246a],
        [0x3ff0_10aa_8da3_0a8d, 0x40fc_f531_1107_4552, 0x6b5c_f6f8_b70c_af26],
        [0x3fef_d4c6_7a8e_3f7c, 0xc0fb_6630_edaf_8850, 0x7577_bc9d_aeb9_c2bc],
        [0x3ff0_3480_767c_6f44, 0xc0d7_2435_4f61_8baf, 0x24b7_e1a1_6742_f2e1],
        [0x3fef_e350_b94c_0451, 0xc100_6fd7_3719_b162, 0x6a85_2eea_2c2a_1e71],
        [0x3ff0_0e1c_3755_9f21, 0x4106_5a34_e31d_51e7, 0x78b6_4ce9_dc81_f3ab],
        [0x3fef_fb0a_a2ce_d9bc, 0xc131_5068_b4de_fac9, 0x7de1_d436_ac09_ab54],
        [0x3ff0_1d0f_d537_f7da, 0x40e9_5ab8_104e_5634, 0x6109_02b3_9c74_8859],
        [0x3feb_97fb_e5f1_c0bc, 0xc0ae_5f6e_fc58_15f1, 0x73de_9bda_391a_7984],
        [0x4051_0168_d279_9dcf, 0xc058_0d1c_3454_4f24, 0x1b53_db94_0ff8_5165],
        [0x3ff0_15b9_1162_a38c, 0x40f1_d23e_e6ea_fd16, 0x62c0_6438_7eb1_68e9],
        [0x3ff0_7044_c975_4ac7, 0x40d2_8c2e_3a75_569b, 0x6e3e_6ca1_e95b_1771],
        [0x4049_cea7_25fc_cd9f, 0x4065_1930_dca2_30ba, 0x7bf4_61ef_1bdc_819d],
        [0x3ff0_0e69_3875_d05d, 0xc104_b233_d661_661e, 0x0a3e_a330_fc09_ccdc],
        [0x3fef_e757_ea28_056e, 0x40fc_9290_b09c_2f14, 0x2020_7e55_a3cb_c5c6],
        [0x3ff0_0000_0000_0001, 0xc3c2_b049_496a_0023, 0x0a02_97fa_7f9f_ccb2],
        [0x404e_7e00_8d2f_35f9, 0xc065_88ed_8282_cc9e, 0x0014_00c8_2429_6e5e],
        [0x3fef_ff3e_6448_7297, 0x415d_74e4_2e93_b36d, 0x0000_2cbe_4d03_45fc],
        [0x3ff6_2010_bbbf_9e73, 0xc0a1_16bb_e818_74e2, 0x0008_ce8f_7903_5c8a],
    ];

    fn same(a: f64, b: f64) -> bool {
        a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
    }

    fn check_ln(x: f64, expected: f64) {
        let got = ln(x);
        assert!(same(got, expected), "ln({x:e}) is {got:e}, not {expected:e}");
    }

    fn check_pow(base: f64, exponent: f64, expected: f64) {
        let got = pow(base, exponent);
        assert!(same(got, expected), "{base:e}^{exponent:e} is {got:e}, not {expected:e}");
    }

    /// Uniform 64-bit words (`SplitMix64`).
    struct Words(u64);

    impl Words {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }

        /// Uniform in [1, 2).
        fn mantissa(&mut self) -> f64 {
            f64::from_bits((self.next() >> 12) | 1.0f64.to_bits())
        }

        /// Either sign, uniform mantissa, exponent uniform in `-reach..reach`.
        fn spread(&mut self, reach: u64) -> f64 {
            let exponent = (self.next() % (2 * reach)).cast_signed() - reach.cast_signed();
            let sign = if self.next().is_multiple_of(2) { 1.0 } else { -1.0 };
            sign * self.mantissa() * two_to(exponent)
        }
    }

    #[test]
    fn ln_has_the_bits_of_glibc() {
        for row in LN {
            let [x, expected] = row.map(f64::from_bits);
            check_ln(x, expected);
        }
    }

    #[test]
    fn pow_has_the_bits_of_glibc() {
        for row in POW {
            let [base, exponent, expected] = row.map(f64::from_bits);
            check_pow(base, exponent, expected);
        }
    }

    #[test]
    fn ln_of_special_values() {
        check_ln(1.0, 0.0);
        check_ln(0.0, f64::NEG_INFINITY);
        check_ln(-0.0, f64::NEG_INFINITY);
        check_ln(f64::INFINITY, f64::INFINITY);
        for x in [-1.0, -5e-324, f64::NEG_INFINITY, f64::NAN] {
            check_ln(x, f64::NAN);
        }
    }

    #[test]
    fn pow_of_special_values() {
        const INF: f64 = f64::INFINITY;
        for y in [0.0, -0.0, 0.5, 1e300, -1e300, INF, -INF, f64::NAN] {
            check_pow(1.0, y, 1.0);
        }
        for x in [0.0, -0.0, 5e-324, 0.5, -2.0, INF, -INF, f64::NAN] {
            check_pow(x, 0.0, 1.0);
            check_pow(x, -0.0, 1.0);
            check_pow(x, f64::NAN, f64::NAN);
        }
        for y in [-1.0, 1e-300, 2.0, INF] {
            check_pow(f64::NAN, y, f64::NAN);
        }
        for y in [5e-324, 1e-20, 0.5, 1.0, 2.0, 1e20, INF] {
            check_pow(0.0, y, 0.0);
            check_pow(0.0, -y, INF);
            check_pow(INF, y, INF);
            check_pow(INF, -y, 0.0);
        }
        for (x, y, expected) in [
            (0.5, INF, 0.0),
            (0.5, -INF, INF),
            (1.5, INF, INF),
            (1.5, -INF, 0.0),
            (0.5, 1e19, 0.0),
            (0.5, -1e19, INF),
            (1.5, 1e19, INF),
            (1.5, -1e19, 0.0),
            (0.5, 1e-20, 1.0),
            (1.5, -1e-20, 1.0),
            (2.0, 1024.0, INF),
            (2.0, -1074.0, 5e-324),
            (2.0, -1075.0, 0.0),
        ] {
            check_pow(x, y, expected);
        }
    }

    #[test]
    fn pow_of_negative_bases() {
        const INF: f64 = f64::INFINITY;
        for (x, y, expected) in [
            (-2.0, 3.0, -8.0),
            (-2.0, -2.0, 0.25),
            (-2.0, 0.5, f64::NAN),
            (-2.0, 1e300, INF),
            (-2.0, -1075.0, -0.0),
            (-2.0, 1025.0, -INF),
            (-2.0, INF, INF),
            (-0.5, INF, 0.0),
            (-1.0, INF, 1.0),
            (-1.0, 9_007_199_254_740_991.0, -1.0),
            (-1.0, 9_007_199_254_740_992.0, 1.0),
            (-0.0, 3.0, -0.0),
            (-0.0, 2.0, 0.0),
            (-0.0, 0.5, 0.0),
            (-0.0, -3.0, -INF),
            (-0.0, -0.5, INF),
            (-INF, 3.0, -INF),
            (-INF, -3.0, -0.0),
            (-INF, 0.5, INF),
        ] {
            check_pow(x, y, expected);
        }
    }

    /// The range covers all edges of intervals and slots; the steps are far above the error of either function.
    #[test]
    fn both_are_monotonic() {
        let mut x = 0.2;
        while x < 5.0 {
            let next = x * 1.000_1;
            assert!(ln(x) < ln(next), "at {x}");
            assert!(pow(x, 0.3) < pow(next, 0.3), "at {x}");
            assert!(pow(x, -7.0) > pow(next, -7.0), "at {x}");
            assert!(pow(0.9, x) > pow(0.9, next), "at {x}");
            x = next;
        }
    }

    /// Products with a bit below, at or above the middle of two neighbours.
    #[test]
    fn fma_rounds_once() {
        let tiny = two_to(-52);
        for (a, b, c, expected) in [
            (1.0 + tiny, 1.0 - tiny, -1.0, -two_to(-104)),
            (1.0 + tiny, 1.0 + tiny, -1.0, 2.0 * tiny + two_to(-104)),
            (two_to(-30), two_to(-23), 1.0, 1.0),
            (two_to(-30), two_to(-23) * (1.0 + tiny), 1.0, 1.0 + tiny),
            (two_to(-30), two_to(-23) * (1.0 - tiny), 1.0, 1.0),
            (two_to(-30), two_to(-23), 1.0 + tiny, 1.0 + 2.0 * tiny),
            (3.0, -2.0, 6.0, 0.0),
        ] {
            assert!(same(fma(a, b, c), expected), "{a:e} * {b:e} + {c:e}");
            assert!(same(fma_emulated(a, b, c), expected), "{a:e} * {b:e} + {c:e}, emulated");
        }
    }

    #[test]
    fn fma_emulated_is_fma() {
        if !MUL_ADD_IS_SOUND {
            return;
        }
        let mut words = Words(1);
        for _ in 0..100_000 {
            let (a, b) = (words.spread(60), words.spread(60));
            for c in [words.spread(120), -a * b, a * b * words.spread(56)] {
                let (got, expected) = (fma_emulated(a, b, c), a.mul_add(b, c));
                assert!(same(got, expected), "{a:e} * {b:e} + {c:e}");
            }
        }
    }

    #[cfg(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64"))]
    #[test]
    fn both_have_the_bits_of_this_glibc() {
        // glibc has other variants, with other bits, for processors without these features.
        if !(is_x86_feature_detected!("fma") && is_x86_feature_detected!("avx2")) {
            return;
        }
        let mut words = Words(2);
        for _ in 0..50_000 {
            let uniform = words.mantissa() - 1.0;
            let near_one = 1.0 + words.spread(26) * two_to(-27);
            let any = f64::from_bits(words.next());
            for x in [uniform, near_one, any, any.abs()] {
                check_ln(x, x.ln());
            }
            let few_ulps = f64::from_bits(1.0f64.to_bits() + words.next() % 9 - 4);
            for (x, y) in [
                (uniform, few_ulps),
                (uniform, 10.0 * words.mantissa() - 9.9),
                (uniform, 1.0 / (words.mantissa() - 1.0)),
                (near_one, words.spread(34)),
                (any.abs(), words.spread(4)),
                (any.abs(), -740.0 * words.mantissa() / any.abs().ln()),
                (any, f64::from_bits(words.next())),
            ] {
                check_pow(x, y, x.powf(y));
            }
        }
    }
}
