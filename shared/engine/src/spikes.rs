//! The spikes of a trial, and their one encoding, which the wire, the store and the hashes use.

/// A spike of a cell in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Spike {
    /// The integration step, from 0.
    pub step: u32,
    /// The cell, from 0.
    pub cell: u32,
}

/// All spikes of one trial: a train for each population, ascending by step, then cell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrialSpikes {
    /// One train for each population, in the order of the model's populations.
    pub trains: Vec<Vec<Spike>>,
}

/// Largest number of spikes of a trial, all cells together. Each process that computes, sends, stores or writes a trial
/// holds its spikes in memory: these are 800 MB.
pub const MOST_SPIKES: u64 = 100_000_000;

/// Upper bound of the encoded length of a trial with [`MOST_SPIKES`] spikes, in bytes. A cell takes at most three
/// bytes. A time takes one byte, except for the few spikes that are 128 or more steps after the spike before.
pub const LARGEST_ENCODED: u64 = 5 * MOST_SPIKES;

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
}

impl TrialSpikes {
    /// Encodes the spikes as bytes.
    ///
    /// The trains follow each other. Each starts with the number of its spikes. For each spike follow the steps since
    /// the spike before, and the cell. Within a step, the cell is the difference to the cell before. All numbers are
    /// LEB128 in their shortest form, so that equal spikes have equal bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(3 * self.len() as usize + 4 * self.trains.len());
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
        bytes
    }

    /// Returns the number of all spikes.
    pub fn len(&self) -> u64 {
        self.trains.iter().map(|train| train.len() as u64).sum()
    }

    /// Returns whether the trial has no spike.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Decodes the spikes of a trial of this many steps, with populations of these sizes.
    ///
    /// # Errors
    /// When [`Self::encode`] does not give these bytes for any such trial.
    pub fn decode(bytes: &[u8], sizes: &[u32], steps: u32) -> Result<TrialSpikes, Malformed> {
        let mut rest = bytes;
        let train = |cells: &u32| {
            let count = count(&mut rest)?;
            let mut train = Vec::with_capacity(count);
            each(&mut rest, count, *cells, steps, |spike| train.push(spike))?;
            Ok(train)
        };
        let trains = sizes.iter().map(train).collect::<Result<_, _>>()?;
        if rest.is_empty() { Ok(TrialSpikes { trains }) } else { Err(Malformed::Length) }
    }

    /// Checks that [`Self::decode`] accepts these bytes, without allocating memory for the spikes; returns their
    /// number.
    ///
    /// # Errors
    /// The errors of [`Self::decode`].
    pub fn count(bytes: &[u8], sizes: &[u32], steps: u32) -> Result<u64, Malformed> {
        let mut rest = bytes;
        let mut spikes = 0;
        for &cells in sizes {
            let count = count(&mut rest)?;
            each(&mut rest, count, cells, steps, |_| ())?;
            spikes += count as u64;
        }
        if rest.is_empty() { Ok(spikes) } else { Err(Malformed::Length) }
    }
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

    const SIZE: &[u32] = &[5000, 30];
    const STEPS: u32 = 20_000;

    fn train(cells: u32) -> impl Strategy<Value = Vec<Spike>> {
        proptest::collection::btree_set((0..STEPS, 0..cells), 0..60)
            .prop_map(|set| set.into_iter().map(|(step, cell)| Spike { step, cell }).collect())
    }

    proptest! {
        #[test]
        fn spikes_survive_the_encoding(granule in train(5000), golgi in train(30)) {
            let spikes = TrialSpikes { trains: vec![granule, golgi] };
            prop_assert_eq!(TrialSpikes::count(&spikes.encode(), SIZE, STEPS), Ok(spikes.len()));
            prop_assert_eq!(TrialSpikes::decode(&spikes.encode(), SIZE, STEPS), Ok(spikes));
        }

        #[test]
        fn any_bytes_are_refused_or_are_the_encoding_of_their_spikes(bytes in proptest::collection::vec(0_u8..140, 0..40)) {
            let decoded = TrialSpikes::decode(&bytes, SIZE, STEPS);
            prop_assert_eq!(TrialSpikes::count(&bytes, SIZE, STEPS), decoded.as_ref().map(TrialSpikes::len).map_err(|error| *error));
            if let Ok(spikes) = decoded {
                prop_assert_eq!(spikes.encode(), bytes);
            }
        }
    }

    #[test]
    fn what_no_trial_has_is_refused() {
        let check = |bytes: &[u8], error| {
            assert_eq!(TrialSpikes::decode(bytes, SIZE, STEPS), Err(error), "{bytes:?}");
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
