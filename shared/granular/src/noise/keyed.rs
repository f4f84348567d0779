//! Noise by identity: each cell of each trial has its own stream of normals.
//!
//! Every cell has a PCG32 (XSH-RR 64/32) generator, which [`Streams`] seeds. Two of its words, w₀ and w₁, make the
//! normals of two steps by the method of Box and Muller (1958). Its radius is r = √(−2 ln u) with u from w₀, and its
//! angle is from w₁. All operations are in single precision, on 16 cells at a time with AVX-512. The operations and
//! their order are the definition (docs/engines.md). Each is one of IEEE 754, so that all instruction sets give the
//! same bits. No normal is further from 0 than 6.8, because u is at least 2⁻³³.

use crate::isa::{Isa, Simd, vectorised};
use crate::random::keyed::Streams;

/// The multiplier of PCG's 64-bit generators.
const MULTIPLIER: u64 = 6_364_136_223_846_793_005;

/// Number of vectors of 64-bit lanes that are advanced together. Their words fill one single-precision vector.
const TOGETHER: usize = 2;

/// The generators of some cells, in the order of the cells.
#[derive(Clone, Debug)]
pub struct KeyedNoise {
    isa: Isa,
    /// States and increments of the generators, the lower half of each first.
    states: Vec<u32>,
    increments: Vec<u32>,
}

impl KeyedNoise {
    /// Makes the streams of the cells below `cells`, padded to a multiple of `multiple`. This must be a multiple of
    /// `TOGETHER` times the lanes of the instruction set. The normals of the padding are not used.
    pub fn new(isa: Isa, streams: &Streams, cells: u32, multiple: usize) -> KeyedNoise {
        let padded = (cells as usize).next_multiple_of(multiple);
        let (mut states, mut increments) = (vec![0; 2 * padded], vec![0; 2 * padded]);
        let halves = |x: u64| [x as u32, (x >> 32) as u32];
        for (cell, (state, increment)) in
            (0..cells).zip(states.as_chunks_mut().0.iter_mut().zip(increments.as_chunks_mut().0))
        {
            let (initial, sequence) = streams.pcg32(cell);
            let odd = sequence << 1 | 1;
            *state = halves(initial.wrapping_add(odd).wrapping_mul(MULTIPLIER).wrapping_add(odd));
            *increment = halves(odd);
        }
        KeyedNoise { isa, states, increments }
    }

    /// Draws the normals of an even number of steps for all cells. The normal of step s and cell c is at index
    /// s·cells + c.
    ///
    /// # Panics
    /// If the slice does not hold an even number of steps.
    pub fn fill(&mut self, to: &mut [f64]) {
        let cells = self.states.len() / 2;
        assert!(to.len().is_multiple_of(2 * cells), "steps come in pairs, of {cells} cells");
        self.draw(0, cells, to);
    }

    /// Draws the normals of an even number of steps for `count` cells, from cell `first`. The normal of step s and cell
    /// first + c is at index s·count + c. `count` must be a multiple of [`TOGETHER`] times the lanes of the instruction
    /// set.
    pub(crate) fn draw(&mut self, first: usize, count: usize, to: &mut [f64]) {
        let cells = 2 * first..2 * (first + count);
        draw(self.isa, &mut self.states[cells.clone()], &self.increments[cells], to);
    }
}

vectorised! {
    fn draw<S>(simd, states: &mut [u32], increments: &[u32], to: &mut [f64]) {
        let cells = states.len() / 2;
        let group = TOGETHER * S::LANES;
        let half = 2 * S::LANES;
        for at in (0..cells).step_by(group) {
            let own = &mut states[2 * at..2 * (at + group)];
            let increments = &increments[2 * at..2 * (at + group)];
            let (mut a, mut b) = (simd.load_words(own), simd.load_words(&own[half..]));
            let (a_by, b_by) = (simd.load_words(increments), simd.load_words(&increments[half..]));
            for rows in to.chunks_exact_mut(2 * cells) {
                let first = word(simd, &mut a, a_by) | simd.shl::<32>(word(simd, &mut b, b_by));
                let second = word(simd, &mut a, a_by) | simd.shl::<32>(word(simd, &mut b, b_by));
                let (x, y) = normals(simd, first, second);
                for (row, x) in [x, y].into_iter().enumerate() {
                    let (of_a, of_b) = simd.widen(x);
                    let row = &mut rows[row * cells + at..];
                    simd.store(of_a, row);
                    simd.store(of_b, &mut row[S::LANES..]);
                }
            }
            simd.store_words(a, own);
            simd.store_words(b, &mut own[half..]);
        }
    }
}

/// Returns the next word of each lane's generator, in the lane's lower half.
#[inline(always)]
fn word<S: Simd>(simd: S, state: &mut S::Bits, increment: S::Bits) -> S::Bits {
    let old = *state;
    *state = simd.add(simd.mul(old, simd.bits(MULTIPLIER)), increment);
    let low = simd.bits(0xffff_ffff);
    let mixed = simd.shr::<27>(simd.shr::<18>(old) ^ old) & low;
    // A lane holds the word twice, so that a shift rotates it.
    simd.shr_each(mixed | simd.shl::<32>(mixed), simd.shr::<59>(old)) & low
}

/// Computes two independent normals in each half lane, from its two words.
#[inline(always)]
#[allow(clippy::excessive_precision, reason = "as computed; they are rounded once, here")]
fn normals<S: Simd>(simd: S, first: S::Bits, second: S::Bits) -> (S::F32, S::F32) {
    let number = |x: f32| simd.f32(x);
    let words = |x: u32| simd.bits(u64::from(x) << 32 | u64::from(x));
    let choose = |mask: S::Bits, yes: S::F32, no: S::F32| {
        let (yes, no) = (simd.as_bits_f32(yes), simd.as_bits_f32(no));
        simd.as_numbers_f32(no ^ ((yes ^ no) & mask))
    };

    // u = (w + ½)/2^32 = 2^k·(1 + f) with f in [−½, 0]. In the upper half of the range, k is 0, and f is computed from
    // the difference between 1 and u. f therefore keeps its digits near 0.
    let upper = simd.signs(first);
    let t = simd.words_as_f32(first) + number(0.5);
    let bits = simd.as_bits_f32(t);
    let mantissa = bits & words(0x007f_ffff) | words(0x3f00_0000);
    let f = choose(upper, t * number(1.0 / 4_294_967_296.0), simd.as_numbers_f32(mantissa) - number(1.0));
    let exponent = simd.sub_words(simd.shr_words::<23>(bits), words(158));
    let k = simd.words_as_f32(exponent ^ (exponent & upper));
    // −2 ln(1 + f)/f, minimax on [−½, 0] with relative error 2·10⁻⁸.
    let mut q = number(-2.882_214_3);
    for coefficient in
        [-3.391_621, -2.515_337_2, -0.407_076_93, -0.539_225_3, 0.485_610_2, -0.667_401_25, 0.999_985_7, -2.0]
    {
        q = q * f + number(coefficient);
    }
    const MINUS_2_LN_2: f32 = -1.386_294_4;
    let r = simd.sqrt_f32(k * number(MINUS_2_LN_2) + f * q);

    // Two bits select one of four quadrants. The other bits select an angle within 45° of the quadrant's middle.
    const QUARTER_PI: f32 = std::f32::consts::FRAC_PI_4;
    let x = simd.words_as_f32(simd.shl_words::<2>(second)) * number(QUARTER_PI / 2_147_483_648.0);
    let z = x * x;
    let mut sine = number(-1.950_182_2e-4);
    for coefficient in [8.332_017e-3, -0.166_666_51, 1.0] {
        sine = sine * z + number(coefficient);
    }
    let sine = x * sine;
    let mut cosine = number(-1.357_940_4e-3);
    for coefficient in [4.165_442e-2, -0.499_998_42, 1.0] {
        cosine = cosine * z + number(coefficient);
    }
    let turned = simd.shl_words::<1>(second) & words(0x8000_0000);
    let cosine = simd.as_numbers_f32(simd.as_bits_f32(cosine) ^ turned);
    let swapped = simd.signs(second);
    (r * choose(swapped, sine, cosine), r * choose(swapped, cosine, sine))
}

#[cfg(test)]
mod tests {
    use rand::Rng;
    use rand_pcg::Pcg32;

    use super::*;

    const MULTIPLE: usize = 32;

    fn streams() -> Streams {
        Streams::new("test", &[451, 0, 7])
    }

    /// Returns the normals of so many cells and steps, drawn in pieces of so many steps.
    fn drawn(isa: Isa, cells: u32, steps: usize, piece: usize) -> Vec<f64> {
        let mut noise = KeyedNoise::new(isa, &streams(), cells, MULTIPLE);
        let padded = (cells as usize).next_multiple_of(MULTIPLE);
        let mut all = vec![0.0; steps * padded];
        for rows in all.chunks_mut(piece * padded) {
            noise.fill(rows);
        }
        all.chunks_exact(padded).flat_map(|row| row[..cells as usize].to_vec()).collect()
    }

    /// Computes the definition, one number at a time.
    fn plain(w0: u32, w1: u32) -> [f32; 2] {
        let t = w0 as i32 as f32 + 0.5;
        let (k, f) = if w0 >= 1 << 31 {
            (0.0, t * 2.0_f32.powi(-32))
        } else {
            let bits = t.to_bits();
            (((bits >> 23) as i32 - 158) as f32, f32::from_bits(bits & 0x7f_ffff | 0x3f00_0000) - 1.0)
        };
        let q = [
            -2.882_214_3_f32,
            -3.391_621,
            -2.515_337_2,
            -0.407_076_93,
            -0.539_225_3,
            0.485_610_2,
            -0.667_401_25,
            0.999_985_7,
            -2.0,
        ];
        let q = q.into_iter().reduce(|q, c| q * f + c).unwrap();
        let r = (k * (-2.0 * std::f32::consts::LN_2) + f * q).sqrt();
        let x = (w1 << 2) as i32 as f32 * (std::f32::consts::FRAC_PI_4 / 2_147_483_648.0);
        let z = x * x;
        let s = [-1.950_182_2e-4_f32, 8.332_017e-3, -0.166_666_51, 1.0];
        let s = x * s.into_iter().reduce(|s, c| s * z + c).unwrap();
        let c = [-1.357_940_4e-3_f32, 4.165_442e-2, -0.499_998_42, 1.0];
        let c = c.into_iter().reduce(|s, c| s * z + c).unwrap();
        let c = if w1 & 1 << 30 == 0 { c } else { -c };
        if w1 >= 1 << 31 { [r * s, r * c] } else { [r * c, r * s] }
    }

    #[test]
    fn normals_are_those_of_the_definition_on_all_instruction_sets() {
        let (cells, steps) = (75_u32, 100_usize);
        let mut expected = vec![0.0; cells as usize * steps];
        for cell in 0..cells {
            let (state, sequence) = streams().pcg32(cell);
            let mut words = Pcg32::new(state, sequence);
            for pair in 0..steps / 2 {
                let normals = plain(words.next_u32(), words.next_u32());
                for (i, x) in normals.into_iter().enumerate() {
                    expected[(2 * pair + i) * cells as usize + cell as usize] = f64::from(x);
                }
            }
        }
        for isa in Isa::available() {
            for piece in [2, 16, 100] {
                assert!(drawn(isa, cells, steps, piece) == expected, "{} {piece}", isa.name());
            }
        }
    }

    #[test]
    fn extreme_words_give_what_box_and_muller_say() {
        let edges = [0, 1, 2, 3, 0xff_ffff, 0x7fff_ffff, 0x8000_0000, 0x8000_0001, 0xffff_fffe, 0xffff_ffff];
        for w0 in edges {
            for w1 in [0, 1, 0x2000_0000, 0x3fff_ffff, 0x4000_0000, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff] {
                let [a, b] = plain(w0, w1).map(f64::from);
                let u = (f64::from(w0) + 0.5) / 4_294_967_296.0;
                let r = (-2.0 * u.ln()).sqrt();
                assert!((a.hypot(b) / r - 1.0).abs() < 1e-6, "{w0:x} {w1:x}: {a} {b}");
                let angle = f64::from((w1 << 2) as i32) / 2_147_483_648.0 * std::f64::consts::FRAC_PI_4;
                let (mut s, mut c) = angle.sin_cos();
                if w1 & 1 << 30 != 0 {
                    c = -c;
                }
                if w1 >= 1 << 31 {
                    (s, c) = (c, s);
                }
                assert!((a - r * c).abs() < 1e-6 * r && (b - r * s).abs() < 1e-6 * r, "{w0:x} {w1:x}");
            }
        }
        let [most, _] = plain(0, 0).map(f64::from);
        assert!(most < 6.8);
    }
}
