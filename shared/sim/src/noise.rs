//! The noise stream: normals of numpy's legacy polar method, in the order numpy draws them.
//!
//! One stream runs through all trials of a seed. Every attempt of the polar method eats exactly
//! four words of MT19937, so attempts lie at fixed places of its output and only how many of them
//! are accepted has to be found out. [`count_accepted`] does that for a span of attempts, spans can
//! be counted anywhere in any order, and [`NoiseIndex`] adds the counts up to say where a given
//! normal lies. A trial then starts from a [`NoiseStart`] without anything before it being drawn.
//!
//! The accept test has the bits of the original. The normals themselves need not: no spike depends
//! on their last bits. They must only be the same on every machine, so the logarithm here is our
//! own, in operations that IEEE 754 defines to the last bit.

use crate::isa::{Isa, vectorised};
use crate::random::jump;
use crate::random::mt19937::{BLOCK, Mt19937};

/// Words an attempt eats: two doubles.
const ATTEMPT: usize = 4;
/// Attempts in a block of the generator. 624 is a multiple of 4, and so is every place at which
/// noise starts; an attempt never straddles two blocks.
const ATTEMPTS: usize = BLOCK / ATTEMPT;

/// Attempts in one entry of a [`NoiseIndex`]; about 20 MB of raw output.
pub const SPAN_ATTEMPTS: u64 = 5_000_000;

/// Where the noise of a seed begins: its generator and the words that wiring took from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoiseOrigin {
    /// Seed of the generator.
    pub seed: u32,
    /// Words drawn before the first attempt; a multiple of 4.
    pub words: u64,
}

impl NoiseOrigin {
    fn generator_at(self, attempt: u64) -> Mt19937 {
        debug_assert_eq!(self.words % ATTEMPT as u64, 0);
        jump::seeded_at(self.seed, self.words + attempt * ATTEMPT as u64)
    }
}

/// A place in a noise stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoiseStart {
    /// The attempt to begin at.
    pub attempt: u64,
    /// Normals from there to drop.
    pub skip: u64,
}

/// How many attempts of each span are accepted, from the first span on; grows as spans are counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NoiseIndex {
    /// Normals that lie before each span, and behind the last.
    normals_before: Vec<u64>,
}

impl NoiseIndex {
    /// An index of nothing.
    pub fn new() -> NoiseIndex {
        NoiseIndex { normals_before: vec![0] }
    }

    /// Spans counted so far.
    pub fn spans(&self) -> u32 {
        (self.normals_before.len() - 1) as u32
    }

    /// Normals that lie in the counted spans.
    pub fn normals(&self) -> u64 {
        self.normals_before.last().copied().unwrap_or(0)
    }

    /// Adds the count of the next span.
    pub fn push(&mut self, accepted: u32) {
        self.normals_before.push(self.normals() + 2 * u64::from(accepted));
    }

    /// Where the normal of this number lies, if its span has been counted.
    ///
    /// The very first needs no count.
    pub fn locate(&self, normal: u64) -> Option<NoiseStart> {
        if normal == 0 {
            return Some(NoiseStart::default());
        }
        if normal >= self.normals() {
            return None;
        }
        let span = self.normals_before.partition_point(|&before| before <= normal) - 1;
        Some(NoiseStart { attempt: span as u64 * SPAN_ATTEMPTS, skip: normal - self.normals_before[span] })
    }
}

/// Spans that surely reach past this many normals, to plan how many to count.
pub fn spans_to_reach(normals: u64) -> u32 {
    // An attempt gives 2·π/4 normals. A thousandth on top is beyond any fluctuation of a span.
    let normals_per_span = SPAN_ATTEMPTS as f64 * std::f64::consts::FRAC_PI_2 / 1.001;
    (normals as f64 / normals_per_span).ceil() as u32 + 1
}

/// Accepted attempts of each of `count` spans from `first` on.
pub fn count_accepted(isa: Isa, origin: NoiseOrigin, first: u32, count: u32) -> Vec<u32> {
    let mut words = origin.generator_at(u64::from(first) * SPAN_ATTEMPTS);
    (0..count).map(|_| accepted_of(isa, &mut words, SPAN_ATTEMPTS)).collect()
}

/// A running stream of normals.
#[derive(Clone, Debug)]
pub struct NormalStream {
    isa: Isa,
    words: Mt19937,
    ready: [f64; 2 * ATTEMPTS],
    from: usize,
    to: usize,
}

impl NormalStream {
    /// The stream of this origin from this place on.
    pub fn new(isa: Isa, origin: NoiseOrigin, start: NoiseStart) -> NormalStream {
        let words = origin.generator_at(start.attempt);
        let mut stream = NormalStream { isa, words, ready: [0.0; 2 * ATTEMPTS], from: 0, to: 0 };
        let mut skip = start.skip;
        while skip >= 2 * ATTEMPTS as u64 {
            skip -= 2 * u64::from(accepted_of(isa, &mut stream.words, ATTEMPTS as u64));
        }
        let mut dropped = [0.0; 2 * ATTEMPTS];
        stream.fill(&mut dropped[..skip as usize]);
        stream
    }

    /// The next normals.
    pub fn fill(&mut self, mut out: &mut [f64]) {
        while !out.is_empty() {
            if self.from == self.to {
                self.from = 0;
                self.to = polar(self.isa, self.words.take(BLOCK), &mut self.ready);
            }
            let count = out.len().min(self.to - self.from);
            let (now, later) = out.split_at_mut(count);
            now.copy_from_slice(&self.ready[self.from..self.from + count]);
            self.from += count;
            out = later;
        }
    }
}

/// Two of the four words of an attempt as 2U − 1, without rounding.
#[inline(always)]
fn coordinate(high: u32, low: u32) -> f64 {
    // Both are below 2^27: as signed integers they convert in one instruction.
    let high = f64::from((high >> 5) as i32);
    let low = f64::from((low >> 6) as i32);
    (high * 67_108_864.0 + low) * (1.0 / 4_503_599_627_370_496.0) - 1.0
}

#[inline(always)]
fn is_accepted(r2: f64) -> bool {
    (r2 < 1.0) & (r2 != 0.0)
}

/// Accepted ones among the next `attempts` attempts.
fn accepted_of(isa: Isa, words: &mut Mt19937, attempts: u64) -> u32 {
    let mut left = attempts * ATTEMPT as u64;
    let mut accepted = 0;
    while left > 0 {
        let taken = words.take(left.min(BLOCK as u64) as usize);
        left -= taken.len() as u64;
        accepted += count(isa, taken);
    }
    accepted
}

vectorised! {
    fn count(words: &[u32]) -> u32 {
        let mut accepted = 0;
        for w in words.as_chunks::<ATTEMPT>().0 {
            let x1 = coordinate(w[0], w[1]);
            let x2 = coordinate(w[2], w[3]);
            accepted += u32::from(is_accepted(x1 * x1 + x2 * x2));
        }
        accepted
    }
}

vectorised! {
    /// The normals of these words, in numpy's order; returns how many.
    fn polar(words: &[u32], normals: &mut [f64; 2 * ATTEMPTS]) -> usize {
        let (attempts, _) = words.as_chunks::<ATTEMPT>();
        let mut x1 = [0.0; ATTEMPTS];
        let mut x2 = [0.0; ATTEMPTS];
        let mut r2 = [0.0; ATTEMPTS];
        for (i, w) in attempts.iter().take(ATTEMPTS).enumerate() {
            x1[i] = coordinate(w[0], w[1]);
            x2[i] = coordinate(w[2], w[3]);
            r2[i] = x1[i] * x1[i] + x2[i] * x2[i];
        }
        // Move the accepted ones together, without a branch that nothing could predict.
        let mut accepted = 0;
        for i in 0..attempts.len().min(ATTEMPTS) {
            let (a, b, c) = (x1[i], x2[i], r2[i]);
            x1[accepted] = a;
            x2[accepted] = b;
            r2[accepted] = c;
            accepted += usize::from(is_accepted(c));
        }
        for i in 0..accepted {
            let f = (-2.0 * ln_below_one(r2[i]) / r2[i]).sqrt();
            normals[2 * i] = f * x2[i];
            normals[2 * i + 1] = f * x1[i];
        }
        2 * accepted
    }
}

/// Natural logarithm of a normal number in (0, 1), without branches; error below 1 ulp.
///
/// The reduction and the minimax polynomial are those of fdlibm's e_log.c (Sun Microsystems, 1993):
/// x = 2^k·(1+f) with 1+f in [√½, √2), s = f/(2+f), ln(1+f) = f − (f²/2 − s·(f²/2 + R(s²))).
#[inline(always)]
#[allow(clippy::excessive_precision, reason = "as published")]
fn ln_below_one(x: f64) -> f64 {
    const LN2_HIGH: f64 = 6.931_471_803_691_238e-1;
    const LN2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    // Bits of √½. Counted from there, the exponent field is 1023 + k and the rest is what the
    // reduced argument has above √½.
    const SQRT_HALF: u64 = 0x3fe6_a09e_667f_3bcd;
    let shifted = x.to_bits() + ((1023 << 52) - SQRT_HALF);
    let exponent = shifted >> 52;
    let one_plus_f = f64::from_bits((shifted & ((1 << 52) - 1)) + SQRT_HALF);
    // An integer below 2^52 becomes a float through the mantissa of 2^52.
    let k = f64::from_bits(exponent | 0x4330_0000_0000_0000) - 4_503_599_627_370_496.0 - 1023.0;
    let f = one_plus_f - 1.0;
    let s = f / (2.0 + f);
    let z = s * s;
    let w = z * z;
    let odd =
        w * (3.999_999_999_940_941_9e-1 + w * (2.222_219_843_214_978_4e-1 + w * 1.531_383_769_920_937_3e-1));
    let even = z
        * (6.666_666_666_666_735e-1
            + w * (2.857_142_874_366_239e-1
                + w * (1.818_357_216_161_805e-1 + w * 1.479_819_860_511_658_6e-1)));
    let half_square = 0.5 * f * f;
    k * LN2_HIGH - ((half_square - (s * (half_square + odd + even) + k * LN2_LOW)) - f)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::numpy::RandomState;

    const ORIGIN: NoiseOrigin = NoiseOrigin { seed: 451, words: 0 };

    fn normals(isa: Isa, start: NoiseStart, count: usize) -> Vec<f64> {
        let mut out = vec![0.0; count];
        NormalStream::new(isa, ORIGIN, start).fill(&mut out);
        out
    }

    fn ulps(a: f64, b: f64) -> u64 {
        a.to_bits().abs_diff(b.to_bits())
    }

    #[test]
    fn the_logarithm_is_good_to_an_ulp() {
        let mut state = RandomState::new(1);
        let mut worst = 0;
        let mut check = |x: f64| worst = worst.max(ulps(ln_below_one(x), crate::random::elementary::ln(x)));
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
        for (i, x) in normals(Isa::best(), NoiseStart::default(), 100_000).into_iter().enumerate() {
            let expected = state.standard_normal();
            assert!(ulps(x, expected) <= 2, "{i}: {x} not {expected}");
        }
    }

    #[test]
    fn every_instruction_set_gives_the_same_bits() {
        let expected = normals(Isa::available()[0], NoiseStart::default(), 1_000_000);
        for isa in Isa::available() {
            let found = normals(isa, NoiseStart::default(), 1_000_000);
            assert!(found.iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits()), "{}", isa.name());
            assert_eq!(count_accepted(isa, ORIGIN, 1, 1), count_accepted(Isa::available()[0], ORIGIN, 1, 1));
        }
    }

    #[test]
    fn a_stream_can_be_entered_anywhere() {
        let isa = Isa::best();
        let mut index = NoiseIndex::new();
        // Counted apart, as different workers would.
        for first in 0..3 {
            index.push(count_accepted(isa, ORIGIN, first, 1)[0]);
        }
        let all = normals(isa, NoiseStart::default(), index.normals() as usize);
        let span = index.normals_before[1] as usize;
        for normal in [0, 1, 2, 311, 312, 313, span - 1, span, span + 1, 2 * span + 12_345, all.len() - 1] {
            let start = index.locate(normal as u64).unwrap();
            let count = 1000.min(all.len() - normal);
            assert_eq!(normals(isa, start, count), all[normal..normal + count], "{normal}");
        }
        assert_eq!(index.locate(all.len() as u64), None);
    }

    #[test]
    fn enough_spans_are_planned() {
        let mut index = NoiseIndex::new();
        for accepted in count_accepted(Isa::best(), ORIGIN, 0, 8) {
            index.push(accepted);
        }
        assert!(spans_to_reach(index.normals()) >= 8);
        assert!(spans_to_reach(index.normals()) <= 10);
    }
}
