//! Jump-ahead: computes the state of MT19937 any number of blocks later, in a few milliseconds.
//!
//! MT19937 is linear over GF(2). Its state J steps later is therefore `x^J mod φ(x)` applied to the present state,
//! where φ is the characteristic polynomial of one step. With `g(x) = x^J mod φ`, this state is an XOR of states: those
//! i steps later, for each term `x^i` of g. These states are windows into 19937 + 624 consecutive words.
//!
//! Sources: Haramoto, Matsumoto, Nishimura, Panneton, L'Ecuyer (2008), "Efficient Jump Ahead for
//! F2-Linear Random Number Generators", INFORMS J. Computing 20(3); φ in closed form from the
//! appendix of Matsumoto & Nishimura (1998).

use std::sync::LazyLock;

use super::mt19937::{BLOCK, MIDDLE, Mt19937, recur};

const DEGREE: usize = 19937;
const WORDS: usize = DEGREE.div_ceil(64);

/// A polynomial over GF(2) of degree below 64·WORDS. Bit i of the array is the term x^i.
type Polynomial = [u64; WORDS];

/// Returns the generator seeded with `seed` (`init_genrand`), `words` words into its output.
pub fn seeded_at(seed: u32, words: u64) -> Mt19937 {
    let mut generator = Mt19937::from_seed_u32(seed);
    let blocks = words / BLOCK as u64;
    // Skipping a block takes well under a microsecond, a jump a few milliseconds.
    const WORTH_A_JUMP: u64 = 10_000;
    if blocks >= WORTH_A_JUMP {
        let polynomial = power_of_x(blocks * BLOCK as u64);
        generator = Mt19937::before_block(apply(&polynomial, generator.state()));
        generator.skip(words % BLOCK as u64);
    } else {
        generator.skip(words);
    }
    generator
}

/// Computes the XOR of the windows of the state's word sequence, one for each term of the polynomial.
fn apply(polynomial: &Polynomial, state: &[u32; BLOCK]) -> [u32; BLOCK] {
    let mut sequence = state.to_vec();
    for i in 0..DEGREE {
        sequence.push(recur(sequence[i], sequence[i + 1], sequence[i + MIDDLE]));
    }
    let mut sum = [0; BLOCK];
    for i in (0..DEGREE).filter(|i| polynomial[i / 64] >> (i % 64) & 1 == 1) {
        for (total, word) in sum.iter_mut().zip(&sequence[i..i + BLOCK]) {
            *total ^= word;
        }
    }
    sum
}

/// Computes x^exponent modulo φ, by squaring.
fn power_of_x(exponent: u64) -> Polynomial {
    let mut power = [0; WORDS];
    power[0] = 1;
    for bit in (0..64 - exponent.leading_zeros()).rev() {
        power = square(&power);
        if exponent >> bit & 1 == 1 {
            power = times_x(&power);
        }
    }
    power
}

/// Exponents of the terms of φ, without the leading term.
static CHARACTERISTIC: LazyLock<Vec<usize>> = LazyLock::new(|| {
    // With n = 624, m = 397, r = 31 and a the bits of the matrix constant from the lowest:
    // `φ = (x^n + x^m)·((x^(n−1) + x^(m−1))^r + Σ_{i<r} a_i (x^(n−1) + x^(m−1))^(r−1−i)) + a_31`.
    const MATRIX: u32 = 0x9908_b0df;
    let times = |terms: &[usize], a: usize, b: usize| {
        let mut product: Vec<usize> = terms.iter().flat_map(|t| [t + a, t + b]).collect();
        product.sort_unstable();
        cancel(product)
    };
    // Horner's scheme over i = 0, 1, …, r−1.
    let mut sum = vec![0];
    for i in 0..31 {
        sum = times(&sum, 623, 396);
        if MATRIX >> i & 1 == 1 {
            sum = add_one(sum);
        }
    }
    let mut terms = times(&sum, 624, 397);
    if MATRIX >> 31 == 1 {
        terms = add_one(terms);
    }
    assert_eq!(terms.pop(), Some(DEGREE));
    terms
});

/// Removes pairs of equal exponents from a sorted list.
fn cancel(sorted: Vec<usize>) -> Vec<usize> {
    let mut kept: Vec<usize> = Vec::with_capacity(sorted.len());
    for exponent in sorted {
        if kept.last() == Some(&exponent) {
            kept.pop();
        } else {
            kept.push(exponent);
        }
    }
    kept
}

/// Adds the term 1 to a sorted list of exponents.
fn add_one(mut terms: Vec<usize>) -> Vec<usize> {
    if terms.first() == Some(&0) {
        terms.remove(0);
    } else {
        terms.insert(0, 0);
    }
    terms
}

fn times_x(polynomial: &Polynomial) -> Polynomial {
    let mut product = [0; WORDS];
    let mut carry = 0;
    for (out, word) in product.iter_mut().zip(polynomial) {
        *out = word << 1 | carry;
        carry = word >> 63;
    }
    if product[DEGREE / 64] >> (DEGREE % 64) & 1 == 1 {
        product[DEGREE / 64] ^= 1 << (DEGREE % 64);
        for &term in CHARACTERISTIC.iter() {
            product[term / 64] ^= 1 << (term % 64);
        }
    }
    product
}

/// Computes the square modulo φ. Over GF(2), squaring only moves each term from x^i to x^2i.
fn square(polynomial: &Polynomial) -> Polynomial {
    let mut wide = [0_u64; 2 * WORDS];
    for (i, word) in polynomial.iter().enumerate() {
        wide[2 * i] = spread(*word as u32);
        wide[2 * i + 1] = spread((word >> 32) as u32);
    }
    // Reduce from the top, one word of terms at a time, by x^(19937+k) = Σ x^(term+k). The second term of φ lies 227
    // below its first. A folded word therefore never affects itself or a word above.
    for i in (DEGREE / 64 + 1..2 * WORDS).rev() {
        let terms = std::mem::take(&mut wide[i]);
        fold(&mut wide, terms, i * 64 - DEGREE);
    }
    let terms = wide[DEGREE / 64] >> (DEGREE % 64);
    wide[DEGREE / 64] ^= terms << (DEGREE % 64);
    fold(&mut wide, terms, 0);
    let mut remainder = [0; WORDS];
    remainder.copy_from_slice(&wide[..WORDS]);
    remainder
}

/// Adds `terms(x) · x^shift · (φ(x) − x^19937)`.
fn fold(wide: &mut [u64; 2 * WORDS], terms: u64, shift: usize) {
    if terms == 0 {
        return;
    }
    for &term in CHARACTERISTIC.iter() {
        let (word, bit) = ((term + shift) / 64, (term + shift) % 64);
        wide[word] ^= terms << bit;
        if bit != 0 {
            wide[word + 1] ^= terms >> (64 - bit);
        }
    }
}

/// Moves bit i of a half word to bit 2i.
fn spread(half: u32) -> u64 {
    let mut x = u64::from(half);
    x = (x | x << 16) & 0x0000_ffff_0000_ffff;
    x = (x | x << 8) & 0x00ff_00ff_00ff_00ff;
    x = (x | x << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    x = (x | x << 2) & 0x3333_3333_3333_3333;
    (x | x << 1) & 0x5555_5555_5555_5555
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_lands_where_walking_does() {
        let mut walker = Mt19937::from_seed_u32(451);
        let mut at = 0;
        // Positions around the switch from skipping to jumping, and far beyond it.
        for words in [6_239_999, 6_240_000, 6_240_001, 6_240_623, 6_240_624, 50_000_003, 300_000_000] {
            walker.skip(words - at);
            at = words;
            let mut jumped = seeded_at(451, words);
            let mut walked = walker.clone();
            for i in 0..2000 {
                assert_eq!(jumped.next_word(), walked.next_word(), "{words} + {i}");
            }
        }
    }

    #[test]
    fn jumps_add_up() {
        let polynomial = |exponent: u64| power_of_x(exponent);
        let start = *Mt19937::from_seed_u32(5489).state();
        let twice = apply(&polynomial(1 << 40), &apply(&polynomial(1 << 41), &start));
        let once = apply(&polynomial(3 << 40), &start);
        // The low 31 bits of the first word are not part of the state.
        assert_eq!(twice[1..], once[1..]);
        assert_eq!(twice[0] >> 31, once[0] >> 31);
    }
}
