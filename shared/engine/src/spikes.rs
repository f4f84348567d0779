//! The result of a trial, and its one encoding, which the wire, the store and the hashes use.

/// A spike of a cell in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Spike {
    /// The integration step, from 0.
    pub step: u32,
    /// The cell, from 0.
    pub cell: u32,
}

/// The result of one trial: a spike train for each population, and what else the model returns.
#[derive(Clone, Debug, Default)]
pub struct TrialSpikes {
    /// One train for each population, in the order of the model's populations; ascending by step, then cell.
    pub trains: Vec<Vec<Spike>>,
    /// The elements of each returned number or array, in the order of the engine's `returns`; arrays in C order. An
    /// element is finite or NaN.
    pub values: Vec<Vec<f64>>,
}

impl PartialEq for TrialSpikes {
    /// Whether both have the same encoding. NaN is therefore equal to NaN.
    fn eq(&self, other: &TrialSpikes) -> bool {
        self.trains == other.trains && self.bits().eq(other.bits())
    }
}

impl Eq for TrialSpikes {}

/// The shape of a trial's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrialShape<'a> {
    /// Size of each population.
    pub sizes: &'a [u32],
    /// Number of steps.
    pub steps: u32,
    /// For each returned number or array, the lengths of its axes; none for a number.
    pub returns: &'a [Vec<u32>],
}

/// Largest number of elements that a trial returns besides its spikes.
pub const MOST_VALUES: u64 = 10_000_000;

/// Largest number of spikes of a trial, all cells together. Each process that computes, sends, stores or writes a trial
/// holds its spikes in memory: these are 800 MB.
pub const MOST_SPIKES: u64 = 100_000_000;

/// Upper bound of the encoded length of a trial with [`MOST_SPIKES`] spikes and [`MOST_VALUES`] values, in bytes. A cell takes at most three
/// bytes. A time takes one byte, except for the few spikes that are 128 or more steps after the spike before.
pub const LARGEST_ENCODED: u64 = 5 * MOST_SPIKES + 8 * MOST_VALUES;

/// The bits that stand for NaN.
const NAN: u64 = 0x7ff8_0000_0000_0000;

/// A content hash of a trial's encoded spikes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Computes the digest of encoded spikes.
    pub fn of(encoded: &[u8]) -> Digest {
        Digest(*blake3::hash(encoded).as_bytes())
    }
}

/// Computes the [`Digest`] of spikes that arrive in pieces.
#[derive(Clone, Debug, Default)]
pub struct Digesting(blake3::Hasher);

impl Digesting {
    /// Adds the next piece.
    pub fn update(&mut self, encoded: &[u8]) {
        self.0.update(encoded);
    }

    /// Returns the digest of all pieces so far.
    pub fn finish(&self) -> Digest {
        Digest(*self.0.finalize().as_bytes())
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// The reason why bytes are not the spikes of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The bytes end within a spike train, or continue after the last train.
    #[error("the encoding has the wrong length")]
    Length,
    /// A number is not written in its shortest form, or is above 32 bits.
    #[error("the encoding has a malformed number")]
    Number,
    /// A spike has a cell or step that the model does not have, or is out of order.
    #[error("the encoding has a spike of a cell or step that does not exist")]
    Range,
    /// A returned value is infinite, or a NaN with other bits than the encoding's.
    #[error("the encoding has a value that is not a number")]
    Value,
}

impl TrialSpikes {
    /// Makes the result of a trial of which only spikes are returned.
    pub fn of(trains: Vec<Vec<Spike>>) -> TrialSpikes {
        TrialSpikes { trains, values: Vec::new() }
    }

    /// Encodes the result as bytes.
    ///
    /// The trains follow each other. Each starts with the number of its spikes. For each spike follow the steps since
    /// the spike before, and the cell. Within a step, the cell is the difference to the cell before. All numbers are
    /// LEB128 in their shortest form, so that equal spikes have equal bytes. The elements of the values come last, each
    /// with 8 bytes, little-endian.
    pub fn encode(&self) -> Vec<u8> {
        let values: usize = self.values.iter().map(Vec::len).sum();
        let mut bytes = Vec::with_capacity(3 * self.len() as usize + 4 * self.trains.len() + 8 * values);
        for train in &self.trains {
            put(&mut bytes, train.len() as u32);
            let mut before = Spike { step: 0, cell: 0 };
            for &spike in train {
                put(&mut bytes, spike.step - before.step);
                put(
                    &mut bytes,
                    if spike.step == before.step { spike.cell - before.cell } else { spike.cell },
                );
                before = spike;
            }
        }
        self.bits().for_each(|bits| bytes.extend_from_slice(&bits.to_le_bytes()));
        bytes
    }

    /// Returns the bits of all values. There is one NaN, and no −0.
    fn bits(&self) -> impl Iterator<Item = u64> {
        self.values.iter().flatten().map(|&x| if x.is_nan() { NAN } else { (x + 0.0).to_bits() })
    }

    /// Returns the number of all spikes.
    pub fn len(&self) -> u64 {
        self.trains.iter().map(|train| train.len() as u64).sum()
    }

    /// Returns whether the trial has no spike.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Decodes the result of a trial of this shape.
    ///
    /// # Errors
    /// When [`Self::encode`] does not give these bytes for any such trial.
    pub fn decode(bytes: &[u8], shape: &TrialShape<'_>) -> Result<TrialSpikes, Malformed> {
        let mut rest = bytes;
        let train = |cells: &u32| {
            let count = count(&mut rest)?;
            let mut train = Vec::with_capacity(count);
            each(&mut rest, count, *cells, shape.steps, |spike| train.push(spike))?;
            Ok(train)
        };
        let trains = shape.sizes.iter().map(train).collect::<Result<_, _>>()?;
        let mut elements = elements(rest, shape)?;
        let values = shape.returns.iter().map(|axes| elements.by_ref().take(size_of(axes)).collect());
        Ok(TrialSpikes { trains, values: values.collect() })
    }

    /// Checks that [`Self::decode`] accepts these bytes, without allocating memory for the result; returns the number
    /// of spikes.
    ///
    /// # Errors
    /// The errors of [`Self::decode`].
    pub fn count(bytes: &[u8], shape: &TrialShape<'_>) -> Result<u64, Malformed> {
        let mut rest = bytes;
        let mut spikes = 0;
        for &cells in shape.sizes {
            let count = count(&mut rest)?;
            each(&mut rest, count, cells, shape.steps, |_| ())?;
            spikes += count as u64;
        }
        elements(rest, shape).map(drop)?;
        Ok(spikes)
    }
}

/// Returns the number of elements of an array with axes of these lengths.
pub fn size_of(axes: &[u32]) -> usize {
    axes.iter().map(|&length| length as usize).product()
}

/// Checks that bytes are the values of a trial of this shape; returns their elements.
fn elements(bytes: &[u8], shape: &TrialShape<'_>) -> Result<impl Iterator<Item = f64>, Malformed> {
    let (elements, rest) = bytes.as_chunks::<8>();
    let expected: usize = shape.returns.iter().map(|axes| size_of(axes)).sum();
    if !rest.is_empty() || elements.len() != expected {
        return Err(Malformed::Length);
    }
    let bits = elements.iter().map(|bytes| u64::from_le_bytes(*bytes));
    let is_encoded =
        |bits: u64| bits == NAN || f64::from_bits(bits).is_finite() && bits != (-0.0_f64).to_bits();
    if bits.clone().all(is_encoded) { Ok(bits.map(f64::from_bits)) } else { Err(Malformed::Value) }
}

/// Reads the number of spikes of a train.
fn count(rest: &mut &[u8]) -> Result<usize, Malformed> {
    let count = take(rest)? as usize;
    // A spike has at least two bytes. This check limits the memory that a false count can make the caller reserve.
    if count > rest.len() / 2 { Err(Malformed::Length) } else { Ok(count) }
}

/// Reads so many spikes of a train, and passes each to `found`.
fn each(
    rest: &mut &[u8],
    count: usize,
    cells: u32,
    steps: u32,
    mut found: impl FnMut(Spike),
) -> Result<(), Malformed> {
    let mut before = Spike { step: 0, cell: 0 };
    for i in 0..count {
        let later = take(rest)?;
        let cell = take(rest)?;
        let step = before.step.checked_add(later).ok_or(Malformed::Range)?;
        let cell = if later == 0 { before.cell.checked_add(cell).ok_or(Malformed::Range)? } else { cell };
        let spike = Spike { step, cell };
        if step >= steps || cell >= cells || (i > 0 && spike <= before) {
            return Err(Malformed::Range);
        }
        found(spike);
        before = spike;
    }
    Ok(())
}

fn put(bytes: &mut Vec<u8>, mut number: u32) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn take(bytes: &mut &[u8]) -> Result<u32, Malformed> {
    let mut number = 0_u32;
    for shift in (0..u32::BITS).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or(Malformed::Length)?;
        *bytes = rest;
        let part = u32::from(byte & 0x7f);
        if part << shift >> shift != part {
            return Err(Malformed::Number);
        }
        number |= part << shift;
        if byte < 0x80 {
            return if byte == 0 && shift > 0 { Err(Malformed::Number) } else { Ok(number) };
        }
    }
    Err(Malformed::Number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STEPS: u32 = 20_000;
    const SHAPE: TrialShape<'_> = TrialShape { sizes: &[5000, 30], steps: STEPS, returns: &[] };

    fn train(cells: u32) -> impl Strategy<Value = Vec<Spike>> {
        proptest::collection::btree_set((0..STEPS, 0..cells), 0..60)
            .prop_map(|set| set.into_iter().map(|(step, cell)| Spike { step, cell }).collect())
    }

    proptest! {
        #[test]
        fn spikes_survive_the_encoding(granule in train(5000), golgi in train(30)) {
            let spikes = TrialSpikes::of(vec![granule, golgi]);
            prop_assert_eq!(TrialSpikes::count(&spikes.encode(), &SHAPE), Ok(spikes.len()));
            prop_assert_eq!(TrialSpikes::decode(&spikes.encode(), &SHAPE), Ok(spikes));
        }

        #[test]
        fn any_bytes_are_refused_or_are_the_encoding_of_their_spikes(bytes in proptest::collection::vec(0_u8..140, 0..40)) {
            let decoded = TrialSpikes::decode(&bytes, &SHAPE);
            prop_assert_eq!(TrialSpikes::count(&bytes, &SHAPE), decoded.as_ref().map(TrialSpikes::len).map_err(|error| *error));
            if let Ok(spikes) = decoded {
                prop_assert_eq!(spikes.encode(), bytes);
            }
        }
    }

    #[test]
    fn values_follow_the_spikes() {
        let returns = [vec![], vec![2, 3]];
        let shape = TrialShape { sizes: &[10], steps: 10, returns: &returns };
        let spike = Spike { step: 3, cell: 4 };
        let values =
            vec![vec![f64::from_bits(0xfff8_0000_0000_0001)], vec![-0.0, 1.0, 2.5, -1e300, 0.0, 4.0]];
        let result = TrialSpikes { trains: vec![vec![spike]], values };
        let bytes = result.encode();
        assert_eq!(bytes.len(), 3 + 7 * 8);
        assert_eq!(TrialSpikes::count(&bytes, &shape), Ok(1));
        let decoded = TrialSpikes::decode(&bytes, &shape).expect("an encoding");
        assert_eq!((&decoded, decoded.encode()), (&result, bytes.clone()));
        assert!(decoded.values[0][0].is_nan() && decoded.values[1][0].is_sign_positive());
        let check = |bytes: &[u8], error| {
            assert_eq!(TrialSpikes::decode(bytes, &shape), Err(error));
            assert_eq!(TrialSpikes::count(bytes, &shape), Err(error));
        };
        check(&bytes[..bytes.len() - 1], Malformed::Length);
        check(&bytes[..bytes.len() - 8], Malformed::Length);
        for wrong in [f64::INFINITY.to_bits(), (-0.0_f64).to_bits(), 0x7ff8_0000_0000_0001] {
            let mut bytes = bytes.clone();
            bytes[3..11].copy_from_slice(&wrong.to_le_bytes());
            check(&bytes, Malformed::Value);
        }
    }

    #[test]
    fn what_no_trial_has_is_refused() {
        let check = |bytes: &[u8], error| {
            assert_eq!(TrialSpikes::decode(bytes, &SHAPE), Err(error), "{bytes:?}");
        };
        check(&[], Malformed::Length);
        check(&[0], Malformed::Length);
        check(&[0, 0, 0], Malformed::Length);
        check(&[0xff, 0xff, 0xff, 0xff, 0x0f, 0], Malformed::Length);
        check(&[0x80, 0x00, 0], Malformed::Number);
        check(&[0xff, 0xff, 0xff, 0xff, 0x1f, 0], Malformed::Number);
        check(&[0xff, 0xff, 0xff, 0xff, 0xff, 0], Malformed::Number);
        check(&[0, 1, 0, 30], Malformed::Range);
        check(&[0, 2, 1, 4, 0, 0], Malformed::Range);
        check(&[1, 0xa0, 0x9c, 0x01, 0, 0], Malformed::Range);
    }
}
