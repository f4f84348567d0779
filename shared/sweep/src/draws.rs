//! Random values: the same on every platform, and independent of all other entries of the file.
//!
//! Each axis has its own generator, keyed by its seed and the path of its parameter. Another axis, or another place in
//! the file, therefore changes no value.

use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng, SeedableRng};

use granule_engine::elementary::{ln, pow};

/// A distribution from which values are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Distribution {
    /// Uniform between two numbers.
    Uniform {
        /// The least value.
        low: f64,
        /// The greatest value.
        high: f64,
    },
    /// Uniform in the logarithm between two numbers above 0.
    LogUniform {
        /// The least value.
        low: f64,
        /// The greatest value.
        high: f64,
    },
    /// Normal.
    Normal {
        /// The mean.
        mean: f64,
        /// The standard deviation.
        sd: f64,
    },
}

impl Distribution {
    /// Returns the distribution that a sweep file writes as `name: [first, second]`; `None` if there is no such
    /// distribution.
    #[must_use]
    pub fn new(name: &str, [first, second]: [f64; 2]) -> Option<Distribution> {
        let is_range = first <= second && (second - first).is_finite();
        match name {
            "uniform" if is_range => Some(Distribution::Uniform { low: first, high: second }),
            "loguniform" if is_range && first > 0.0 && (second / first).is_finite() => {
                Some(Distribution::LogUniform { low: first, high: second })
            }
            "normal" if first.is_finite() && second.is_finite() && second > 0.0 => {
                Some(Distribution::Normal { mean: first, sd: second })
            }
            _ => None,
        }
    }

    /// Returns the name and the two numbers of the distribution.
    #[must_use]
    pub fn parts(self) -> (&'static str, [f64; 2]) {
        match self {
            Distribution::Uniform { low, high } => ("uniform", [low, high]),
            Distribution::LogUniform { low, high } => ("loguniform", [low, high]),
            Distribution::Normal { mean, sd } => ("normal", [mean, sd]),
        }
    }

    /// Returns the value below which the fraction `u` of all values lies; `u` is above 0 and below 1.
    pub(crate) fn quantile(self, u: f64) -> f64 {
        match self {
            Distribution::Uniform { low, high } => (low + (high - low) * u).clamp(low, high),
            Distribution::LogUniform { low, high } => (low * pow(high / low, u)).clamp(low, high),
            Distribution::Normal { mean, sd } => mean + sd * normal_quantile(u),
        }
    }
}

/// Makes the generator of a purpose, such as the path of a parameter.
pub(crate) fn generator(purpose: &str, seed: u32) -> Pcg64Mcg {
    let mut hash = blake3::Hasher::new();
    hash.update(b"granule draws\0");
    hash.update(&seed.to_le_bytes());
    hash.update(purpose.as_bytes());
    let mut key = [0; 16];
    key.copy_from_slice(&hash.finalize().as_bytes()[..16]);
    Pcg64Mcg::from_seed(key)
}

/// Draws fractions above 0 and below 1, on a grid of 2^52 equal steps. The first fractions are the same for any count.
pub(crate) fn independent(path: &str, seed: u32, count: usize) -> Vec<f64> {
    let mut generator = generator(path, seed);
    (0..count).map(|_| fraction(&mut generator)).collect()
}

/// Draws fractions, one in each of `count` equal parts from 0 to 1, in random order.
pub(crate) fn stratified(path: &str, seed: u32, count: usize) -> Vec<f64> {
    let mut generator = generator(path, seed);
    let mut parts: Vec<usize> = (0..count).collect();
    for last in (1..count).rev() {
        parts.swap(last, below(&mut generator, last as u64 + 1) as usize);
    }
    // Rounding may give 1 itself.
    let most = 1.0 - f64::EPSILON / 2.0;
    parts
        .into_iter()
        .map(|part| ((part as f64 + fraction(&mut generator)) / count as f64).min(most))
        .collect()
}

/// Draws whole numbers below 2^32, all different. The first numbers are the same for any count.
pub(crate) fn distinct(purpose: &str, seed: u32, count: usize) -> Vec<u32> {
    let mut generator = generator(purpose, seed);
    let mut seen = std::collections::HashSet::with_capacity(count);
    let mut numbers = Vec::with_capacity(count);
    while numbers.len() < count {
        let number = (generator.next_u64() >> 32) as u32;
        if seen.insert(number) {
            numbers.push(number);
        }
    }
    numbers
}

fn fraction(generator: &mut impl Rng) -> f64 {
    const STEPS: f64 = (1_u64 << 52) as f64;
    ((generator.next_u64() >> 12) as f64 + 0.5) / STEPS
}

/// Draws a whole number below `bound`. For bounds as small as these, each is equally likely.
fn below(generator: &mut impl Rng, bound: u64) -> u64 {
    ((u128::from(generator.next_u64()) * u128::from(bound)) >> 64) as u64
}

/// Computes the standard normal quantile, to about 16 digits. Source: M. J. Wichura (1988), Algorithm AS 241, Applied
/// Statistics 37, 477–484, routine PPND16. Its logarithm is the platform-independent one.
fn normal_quantile(u: f64) -> f64 {
    let q = u - 0.5;
    if q.abs() <= 0.425 {
        let r = 0.180625 - q * q;
        return q * ratio(&CENTRE, r);
    }
    let r = (-ln(if q < 0.0 { u } else { 1.0 - u })).sqrt();
    let tail = if r <= 5.0 { ratio(&TAIL, r - 1.6) } else { ratio(&FAR_TAIL, r - 5.0) };
    if q < 0.0 { -tail } else { tail }
}

/// Computes a ratio of polynomials; the coefficients begin with the constant term.
fn ratio([above, below]: &[[f64; 8]; 2], x: f64) -> f64 {
    let value = |of: &[f64; 8]| of.iter().rev().fold(0.0, |sum, coefficient| sum * x + coefficient);
    value(above) / value(below)
}

const CENTRE: [[f64; 8]; 2] = [
    [
        3.387_132_872_796_366_5,
        133.141_667_891_784_38,
        1_971.590_950_306_551_3,
        13_731.693_765_509_46,
        45_921.953_931_549_87,
        67_265.770_927_008_7,
        33_430.575_583_588_13,
        2_509.080_928_730_122_7,
    ],
    [
        1.0,
        42.313_330_701_600_91,
        687.187_007_492_057_9,
        5_394.196_021_424_751,
        21_213.794_301_586_597,
        39_307.895_800_092_71,
        28_729.085_735_721_943,
        5_226.495_278_852_545,
    ],
];

const TAIL: [[f64; 8]; 2] = [
    [
        1.423_437_110_749_683_5,
        4.630_337_846_156_546,
        5.769_497_221_460_691,
        3.647_848_324_763_204_5,
        1.270_458_252_452_368_4,
        0.241_780_725_177_450_6,
        0.022_723_844_989_269_184,
        7.745_450_142_783_414e-4,
    ],
    [
        1.0,
        2.053_191_626_637_759,
        1.676_384_830_183_803_8,
        0.689_767_334_985_1,
        0.148_103_976_427_480_08,
        0.015_198_666_563_616_457,
        5.475_938_084_995_345e-4,
        1.050_750_071_644_416_9e-9,
    ],
];

const FAR_TAIL: [[f64; 8]; 2] = [
    [
        6.657_904_643_501_103,
        5.463_784_911_164_114,
        1.784_826_539_917_291_3,
        0.296_560_571_828_504_87,
        0.026_532_189_526_576_124,
        0.001_242_660_947_388_078_4,
        2.711_555_568_743_487_6e-5,
        2.010_334_399_292_288_1e-7,
    ],
    [
        1.0,
        0.599_832_206_555_888,
        0.136_929_880_922_735_8,
        0.014_875_361_290_850_615,
        7.868_691_311_456_133e-4,
        1.846_318_317_510_054_8e-5,
        1.421_511_758_316_446e-7,
        2.044_263_103_389_939_8e-15,
    ],
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Quantiles from tables of the normal distribution.
    #[test]
    fn normal_quantiles_are_the_published_ones() {
        let known = [
            (0.5, 0.0),
            (0.25, -0.674_489_750_196_081_7),
            (0.001, -3.090_232_306_167_813),
            (1e-20, -9.262_340_089_798_408),
            (0.975, 1.959_963_984_540_054),
            (0.841_344_746_068_542_9, 1.0),
            (1e-12, -7.034_483_825_301_131),
        ];
        for (u, quantile) in known {
            assert!((normal_quantile(u) - quantile).abs() <= 1e-14 * quantile.abs().max(1.0), "{u}");
        }
    }

    #[test]
    fn quantiles_rise_and_are_symmetric() {
        let u: Vec<f64> = (1..20_000).map(|i| f64::from(i) / 20_000.0).collect();
        let quantiles: Vec<f64> = u.iter().map(|&u| normal_quantile(u)).collect();
        assert!(quantiles.is_sorted());
        for (low, high) in quantiles.iter().zip(quantiles.iter().rev()) {
            assert!((low + high).abs() < 1e-11, "{low} {high}");
        }
    }

    /// If these bits change, the conditions of existing sweep files change.
    #[test]
    fn draws_stay_as_they_are() {
        let bits = |fractions: Vec<f64>| fractions.into_iter().map(f64::to_bits).collect::<Vec<_>>();
        assert_eq!(bits(independent("granule.tonic_factor", 1, 2)), INDEPENDENT);
        assert_eq!(bits(stratified("granule.tonic_factor", 1, 2)), STRATIFIED);
        assert_eq!(distinct("seeds", 7, 3), DISTINCT);
    }

    const INDEPENDENT: [u64; 2] = [4604503184460261171, 4602812742508913649];
    const STRATIFIED: [u64; 2] = [4598309142881543153, 4604173297976807192];
    const DISTINCT: [u32; 3] = [3089828431, 3231997732, 2434346469];

    #[test]
    fn more_draws_keep_the_earlier_ones() {
        assert_eq!(independent("a", 1, 50)[..20], independent("a", 1, 20));
        assert_eq!(distinct("a", 1, 50)[..20], distinct("a", 1, 20));
        assert_ne!(independent("a", 1, 1), independent("a", 2, 1));
        assert_ne!(independent("a", 1, 1), independent("b", 1, 1));
    }

    #[test]
    fn each_stratum_is_met_once() {
        for count in [1, 2, 7, 1000] {
            let mut parts: Vec<usize> =
                stratified("a", 3, count).into_iter().map(|u| (u * count as f64) as usize).collect();
            assert!(count <= 2 || !parts.is_sorted(), "in random order");
            parts.sort_unstable();
            assert_eq!(parts, (0..count).collect::<Vec<_>>());
        }
    }

    #[test]
    fn draws_have_their_distribution() {
        let fractions = independent("a", 1, 10_000);
        let mean = |of: Distribution| fractions.iter().map(|&u| of.quantile(u)).sum::<f64>() / 1e4;
        assert!((mean(Distribution::Uniform { low: -2.0, high: 4.0 }) - 1.0).abs() < 0.06);
        assert!((mean(Distribution::Normal { mean: 5.0, sd: 2.0 }) - 5.0).abs() < 0.08);
        // (high − low) / ln(high / low)
        let expected = 99.0 / 100_f64.ln();
        assert!((mean(Distribution::LogUniform { low: 1.0, high: 100.0 }) - expected).abs() < 0.8);
    }
}
