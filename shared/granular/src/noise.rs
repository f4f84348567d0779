//! The noise stream: normals of numpy's legacy polar method, in the order in which numpy draws them.
//!
//! One stream serves all trials of a seed. Every attempt of the polar method reads exactly four words of MT19937.
//! Attempts therefore lie at fixed positions of its output, and only the number of accepted attempts must be counted.
//! [`count_accepted`] counts them in a span of attempts. Spans can be counted on any machine and in any order. An
//! [`Index`](granule_engine::stream::Index) adds up the counts and locates a given normal. A trial then starts from a
//! [`Start`], without drawing the normals before it.
//!
//! The accept test has the bits of the original. The normals may differ from it in their last bits, because no spike
//! depends on these. Normals must only be the same on every machine. Therefore the logarithm is implemented here, in
//! operations that IEEE 754 defines to the last bit.

pub mod keyed;

use granule_engine::stream::{Parts, Start};

use crate::isa::{Isa, Portable, Simd, vectorised};
use crate::network::{NoiseOrigin, Wiring};
use crate::parameters::Parameters;
use crate::random::jump;
use crate::random::mt19937::{BLOCK, Mt19937, temper, vectors, words};

/// Number of words that an attempt reads: two doubles.
const ATTEMPT: usize = 4;
/// Attempts in a block of the generator. 624 is a multiple of 4, and so is every position at which noise starts. An
/// attempt therefore never straddles two blocks.
const ATTEMPTS: usize = BLOCK / ATTEMPT;

/// Room for the normals of a block, and for a whole vector stored where the last of them end.
const ROOM: usize = 2 * ATTEMPTS + 8;
type Normals = [f64; ROOM];

/// Attempts in a span, the part of a stream that is surveyed at once; 20 million words (80 MB) of raw output.
pub const SPAN_ATTEMPTS: u64 = 5_000_000;

impl NoiseOrigin {
    fn generator_at(self, attempt: u64) -> Mt19937 {
        debug_assert_eq!(self.words % ATTEMPT as u64, 0);
        jump::seeded_at(self.seed, self.words + attempt * ATTEMPT as u64)
    }
}

/// Returns the numbers of accepted attempts in the first spans that the program includes. These exist only for the
/// paper's own seed and network, as far as its hundred trials reach.
///
/// Counting them takes a few seconds; a test counts them.
pub fn shipped_counts(wiring: Wiring, seed: u32) -> Vec<u32> {
    static SHIPPED: &[u8] = include_bytes!("noise/paper.counts");
    if seed != SHIPPED_SEED || wiring != Wiring::of_parameters(&Parameters::default()) {
        return Vec::new();
    }
    SHIPPED.as_chunks().0.iter().map(|count| u32::from_le_bytes(*count)).collect()
}

const SHIPPED_SEED: u32 = 451;

/// Returns how the stream is cut into parts. An attempt is accepted with a probability of π/4, and then gives two
/// normals.
pub fn parts() -> Parts {
    let (attempts, chance) = (SPAN_ATTEMPTS as f64, std::f64::consts::FRAC_PI_4);
    let sd = (attempts * chance * (1.0 - chance)).sqrt();
    Parts { items_per_finding: 2, mean: attempts * chance, sd }
}

/// Counts the accepted attempts of each of `count` spans, starting with span `first`.
pub fn count_accepted(isa: Isa, origin: NoiseOrigin, first: u32, count: u32) -> Vec<u32> {
    let mut words = origin.generator_at(u64::from(first) * SPAN_ATTEMPTS);
    (0..count).map(|_| accepted_of(isa, &mut words, SPAN_ATTEMPTS)).collect()
}

/// A running stream of normals.
#[derive(Clone, Debug)]
pub struct NormalStream {
    isa: Isa,
    words: Mt19937,
    /// Normals of the current block. Those from `from` to `to` have not been returned.
    ready: Normals,
    from: usize,
    to: usize,
}

impl NormalStream {
    /// Makes the stream of this origin, starting at this position.
    pub fn new(isa: Isa, origin: NoiseOrigin, start: Start) -> NormalStream {
        let words = origin.generator_at(u64::from(start.part) * SPAN_ATTEMPTS);
        let mut stream = NormalStream { isa, words, ready: [0.0; ROOM], from: 0, to: 0 };
        let mut skip = start.skip;
        while skip >= 2 * ATTEMPTS as u64 {
            skip -= 2 * u64::from(accepted_of(isa, &mut stream.words, ATTEMPTS as u64));
        }
        while skip > 0 {
            skip -= stream.next(skip as usize).len() as u64;
        }
        stream
    }

    /// Returns the next normals, at least one and at most `most`. `most` must not be 0.
    pub(crate) fn next(&mut self, most: usize) -> &[f64] {
        while self.from == self.to {
            self.from = 0;
            self.to = polar(self.isa, &mut self.words, &mut self.ready);
        }
        let from = self.from;
        self.from = self.to.min(from + most);
        &self.ready[from..self.from]
    }

    /// Fills the slice with the next normals.
    pub fn fill(&mut self, mut out: &mut [f64]) {
        while !out.is_empty() {
            let next = self.next(out.len());
            let (now, later) = out.split_at_mut(next.len());
            now.copy_from_slice(next);
            out = later;
        }
    }
}

/// 2^52. Coordinates are multiplied by it, so that they are whole numbers.
const SCALE: f64 = 4_503_599_627_370_496.0;
/// The square of the scale, the bound of an accepted squared radius.
const SCALE_SQUARED: f64 = SCALE * SCALE;

/// Computes (2U − 1)·2^52 without rounding, for the double U that numpy makes of each pair of words.
#[inline(always)]
fn coordinates<S: Simd>(simd: S, words: S::Bits) -> S::F64 {
    // U·2^53 = a·2^26 + b with the upper 27 bits a of the first word and the upper 26 bits b of the second. As
    // mantissas of 2^73 and 2^46, the words have units of 2^21 and 2^-6. Only the bits below a and b must be cleared.
    const A: f64 = 9_444_732_965_739_290_427_392.0;
    const B: f64 = 70_368_744_177_664.0;
    let a = words & simd.bits(0xffff_ffff << 5 & 0xffff_ffff) | simd.bits(A.to_bits());
    let b = simd.shr::<32>(words) & simd.bits(0xffff_ffff << 6 & 0xffff_ffff) | simd.bits(B.to_bits());
    (simd.as_numbers(a) - simd.f64(A + (B + SCALE))) + simd.as_numbers(b)
}

/// Computes the squared radius of each attempt, times 2^104, in both lanes of its pair, and whether the attempt is
/// accepted. The scale changes no rounding.
#[inline(always)]
fn radii<S: Simd>(simd: S, x: S::F64) -> (S::F64, S::Mask) {
    let square = x * x;
    let r2 = square + simd.swap_pairs(square);
    (r2, simd.less(r2, simd.f64(SCALE_SQUARED)) & simd.less(simd.f64(0.0), r2))
}

/// Counts the accepted attempts among the next `attempts` attempts.
fn accepted_of(isa: Isa, words: &mut Mt19937, attempts: u64) -> u32 {
    let mut left = attempts * ATTEMPT as u64;
    let mut accepted = 0;
    while left > 0 {
        let counted = count(isa, words, left.min(BLOCK as u64) as usize);
        left -= counted.words;
        accepted += counted.accepted;
    }
    accepted
}

/// Number of accepted attempts among so many words.
struct CountedAttempts {
    words: u64,
    accepted: u32,
}

vectorised! {
    /// Counts in the words that are left of the block, but at most in `most` words.
    fn count<S>(simd, generator: &mut Mt19937, most: usize) -> CountedAttempts {
        let mut lanes = 0;
        if generator.is_at_block() && most >= BLOCK {
            lanes = estimated_lanes(simd, generator).unwrap_or_else(|| {
                vectors(simd).map(|at| accepted_lanes(simd, generator.last_words(simd, at))).sum()
            });
            return CountedAttempts { words: BLOCK as u64, accepted: lanes / 2 };
        }
        let words = generator.take(most);
        for words in words.chunks_exact(ATTEMPT) {
            lanes += accepted_lanes(Portable, Portable.load_words(words));
        }
        CountedAttempts { words: words.len() as u64, accepted: lanes / 2 }
    }
}

/// Draws a block and counts the lanes of its accepted attempts, two for each. Uses only the first word of each
/// coordinate, in single precision. Returns `None` if this leaves an attempt in doubt, as it does for a millionth of
/// the attempts.
#[inline(always)]
fn estimated_lanes<S: Simd>(simd: S, generator: &mut Mt19937) -> Option<u32> {
    // Bound of the squared radius, with coordinates in units of 2^-31.
    const BOUND: f32 = (1_u64 << 62) as f32;
    // The second word's part of a coordinate and the rounding to 24 bits are below 2^-24 of the largest coordinate.
    // With its three roundings, the squared radius therefore has an error of less than 2^-21. If r²·(1 − r²) is
    // positive, 0 < r² < 1. It is small only if r² is near 0 or near 1. There its error is at most that of r².
    const DOUBT: f32 = BOUND * BOUND / (1 << 20) as f32;
    let (mut surely, mut perhaps) = (0, 0);
    let step = 2 * S::LANES;
    let mut at = 0;
    while at + 2 * step <= BLOCK {
        let a = generator.next_untempered(simd, at) & simd.bits(0xffff_ffff);
        let b = generator.next_untempered(simd, at + step);
        let first = temper(simd, a | simd.shl::<32>(b));
        // 2^32·U as an unsigned integer, minus 2^31, is a signed integer with the same bits except the first.
        let x = simd.words_as_f32(first ^ words(simd, 1 << 31));
        let square = x * x;
        let r2 = square + simd.swap_pairs_f32(square);
        let margin = r2 * (simd.f32(BOUND) - r2);
        surely += simd.count_less_f32(simd.f32(DOUBT), margin);
        perhaps += simd.count_less_f32(simd.f32(-DOUBT), margin);
        at += 2 * step;
    }
    if at < BLOCK {
        let lanes = accepted_lanes(simd, generator.next_words(simd, at));
        surely += lanes;
        perhaps += lanes;
    }
    (surely == perhaps).then_some(surely)
}

#[inline(always)]
fn accepted_lanes<S: Simd>(simd: S, words: S::Bits) -> u32 {
    let (_, accepted) = radii(simd, coordinates(simd, words));
    simd.mask_bits(accepted).count_ones()
}

vectorised! {
    /// Computes the normals of the words that are left of the block, in numpy's order; returns their number.
    fn polar<S>(simd, generator: &mut Mt19937, normals: &mut Normals) -> usize {
        // The coordinates of accepted attempts, one pair after the other.
        let mut count = 0;
        if generator.is_at_block() {
            for at in vectors(simd) {
                let words = generator.next_words(simd, at);
                count += keep_accepted(simd, words, &mut normals[count..]);
            }
        } else {
            for words in generator.take(BLOCK).chunks_exact(ATTEMPT) {
                count += keep_accepted(Portable, Portable.load_words(words), &mut normals[count..]);
            }
        }
        // The results in the lanes after the last pair are not used.
        for pairs in normals.chunks_exact_mut(2 * S::LANES).take(count.div_ceil(2 * S::LANES)) {
            to_normals(simd, pairs);
        }
        count
    }
}

#[inline(always)]
fn keep_accepted<S: Simd>(simd: S, words: S::Bits, to: &mut [f64]) -> usize {
    let x = coordinates(simd, words);
    let (_, accepted) = radii(simd, x);
    simd.store_pairs(accepted, x, to)
}

#[inline(always)]
fn to_normals<S: Simd>(simd: S, pairs: &mut [f64]) {
    let (first, second) = pairs.split_at_mut(S::LANES);
    let (x1, x2) = simd.unzip(simd.load(first), simd.load(second));
    let r2 = x1 * x1 + x2 * x2;
    let factor = simd.sqrt(simd.f64(-2.0) * ln_scaled(simd, r2) / r2);
    let (a, b) = simd.unzip(factor * x2, factor * x1);
    simd.store(a, first);
    simd.store(b, second);
}

/// Computes the natural logarithm of x/2^104 for a normal number x in (0, 2^104), without branches. The error is below
/// 1 ulp.
///
/// The reduction and the minimax polynomial are those of fdlibm's e_log.c (Sun Microsystems, 1993): `x = 2^k·(1+f)`
/// with `1+f` in `[√½, √2)`, `s = f/(2+f)`, `ln(1+f) = f − (f²/2 − s·(f²/2 + R(s²)))`.
#[inline(always)]
#[allow(clippy::excessive_precision, reason = "as published")]
fn ln_scaled<S: Simd>(simd: S, x: S::F64) -> S::F64 {
    const LN2_HIGH: f64 = 6.931_471_803_691_238e-1;
    const LN2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    // Bits of √½. Relative to these, the exponent field is 1023 + 104 + k, and the other bits are the excess of the
    // reduced argument over √½.
    const SQRT_HALF: u64 = 0x3fe6_a09e_667f_3bcd;
    const MANTISSA: u64 = (1 << 52) - 1;
    let number = |x: f64| simd.f64(x);
    let shifted = simd.add(simd.as_bits(x), simd.bits((1023 << 52) - SQRT_HALF));
    let one_plus_f = simd.add(shifted & simd.bits(MANTISSA), simd.bits(SQRT_HALF));
    // An integer below 2^52 becomes a float as the mantissa of 2^52.
    let exponent = simd.shr::<52>(shifted) | simd.bits(SCALE.to_bits());
    let k = simd.as_numbers(exponent) - number(SCALE + 1023.0 + 104.0);
    let f = simd.as_numbers(one_plus_f) - number(1.0);
    let s = f / (number(2.0) + f);
    let z = s * s;
    let w = z * z;
    let odd = w
        * (number(3.999_999_999_940_941_9e-1)
            + w * (number(2.222_219_843_214_978_4e-1) + w * number(1.531_383_769_920_937_3e-1)));
    let even = z
        * (number(6.666_666_666_666_735e-1)
            + w * (number(2.857_142_874_366_239e-1)
                + w * (number(1.818_357_216_161_805e-1) + w * number(1.479_819_860_511_658_6e-1))));
    let half_square = number(0.5) * f * f;
    let low = s * (half_square + odd + even) + k * number(LN2_LOW);
    k * number(LN2_HIGH) - ((half_square - low) - f)
}

#[cfg(test)]
mod tests {
    use granule_engine::stream::Index;

    use super::*;
    use crate::Method;
    use crate::random::numpy::RandomState;

    const ORIGIN: NoiseOrigin = NoiseOrigin { seed: 451, words: 0 };

    fn normals(isa: Isa, start: Start, count: usize) -> Vec<f64> {
        let mut out = vec![0.0; count];
        NormalStream::new(isa, ORIGIN, start).fill(&mut out);
        out
    }

    fn ulps(a: f64, b: f64) -> u64 {
        a.to_bits().abs_diff(b.to_bits())
    }

    fn ln_below_one(x: f64) -> f64 {
        let mut found = [0.0; 2];
        Portable.store(ln_scaled(Portable, Portable.f64(x * SCALE_SQUARED)), &mut found);
        found[0]
    }

    #[test]
    fn the_logarithm_is_good_to_an_ulp() {
        let mut state = RandomState::new(1);
        let mut worst = 0;
        let mut check = |x: f64| worst = worst.max(ulps(ln_below_one(x), granule_engine::elementary::ln(x)));
        for _ in 0..1_000_000 {
            let u = state.double();
            check(u);
            check(u * 2.0_f64.powi(-100));
            check(1.0 - u * 2.0_f64.powi(-20));
        }
        check(f64::MIN_POSITIVE);
        check(1.0_f64.next_down());
        check(std::f64::consts::FRAC_1_SQRT_2);
        assert!(worst <= 1, "{worst} ulp");
    }

    #[test]
    fn normals_are_those_of_numpy() {
        let mut state = RandomState::new(451);
        for (i, x) in normals(Isa::best(), Start::default(), 100_000).into_iter().enumerate() {
            let expected = state.standard_normal();
            assert!(ulps(x, expected) <= 2, "{i}: {x} not {expected}");
        }
    }

    #[test]
    fn every_instruction_set_gives_the_same_bits() {
        let expected = normals(Isa::available()[0], Start::default(), 1_000_000);
        for isa in Isa::available() {
            let found = normals(isa, Start::default(), 1_000_000);
            assert!(found.iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits()), "{}", isa.name());
            assert_eq!(count_accepted(isa, ORIGIN, 1, 1), count_accepted(Isa::available()[0], ORIGIN, 1, 1));
        }
    }

    #[test]
    fn a_stream_can_be_entered_anywhere() {
        let isa = Isa::best();
        let mut index = Index::new(Some(parts()));
        // Counted separately, as by different workers.
        for first in 0..3 {
            index.push(count_accepted(isa, ORIGIN, first, 1)[0]);
        }
        let all = normals(isa, Start::default(), index.items() as usize);
        let span = 2 * count_accepted(isa, ORIGIN, 0, 1)[0] as usize;
        for normal in [0, 1, 2, 311, 312, 313, span - 1, span, span + 1, 2 * span + 12_345, all.len() - 1] {
            let start = index.locate(normal as u64).unwrap();
            let count = 1000.min(all.len() - normal);
            assert_eq!(normals(isa, start, count), all[normal..normal + count], "{normal}");
        }
        assert_eq!(index.locate(all.len() as u64), None);
    }

    #[test]
    fn shipped_counts_are_what_counting_gives() {
        let model = crate::Layer::new(crate::Method::Brian2_2_2_1, Parameters::default()).unwrap();
        let wiring = Wiring::of(&model);
        let shipped = shipped_counts(wiring, SHIPPED_SEED);
        let mut index = Index::new(Some(parts()));
        shipped.iter().for_each(|&accepted| index.push(accepted));
        let last_trial = 99 * crate::trial::normals_per_trial(&model);
        assert!(index.locate(last_trial).is_some(), "the paper's trials are all located");

        let origin =
            crate::network::Network::new(Method::Brian2_2_2_1, wiring, SHIPPED_SEED).noise_origin.unwrap();
        let spans: Vec<u32> = (0..shipped.len() as u32).collect();
        let counted = std::thread::scope(|scope| {
            let threads = std::thread::available_parallelism().map_or(1, usize::from);
            let count = |spans: &[u32]| count_accepted(Isa::best(), origin, spans[0], spans.len() as u32);
            let parts: Vec<_> = spans
                .chunks(spans.len().div_ceil(threads))
                .map(|spans| scope.spawn(move || count(spans)))
                .collect();
            parts.into_iter().flat_map(|part| part.join().unwrap()).collect::<Vec<u32>>()
        });
        assert!(counted == shipped, "the table is not that of this seed and network");

        assert!(shipped_counts(wiring, SHIPPED_SEED + 1).is_empty());
        let other = Wiring { golgi_to_granule: wiring.golgi_to_granule + 1.0, ..wiring };
        assert!(shipped_counts(other, SHIPPED_SEED).is_empty());
    }

    #[test]
    fn enough_spans_are_planned() {
        let mut index = Index::new(Some(parts()));
        for accepted in count_accepted(Isa::best(), ORIGIN, 0, 8) {
            index.push(accepted);
        }
        assert!(parts().to_reach(index.items()) >= 8);
        assert!(parts().to_reach(index.items()) <= 10);
    }
}
