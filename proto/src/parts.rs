//! Results that are too large for one message: splits them into parts and assembles them.
//!
//! The receiver holds at most one unfinished result, and never more bytes than its announcement stated. If a
//! part is lost, the result is not completed, and the sender sends it again later. Repeated parts, and parts
//! of an abandoned result, have no effect.

use granule_engine::spikes::{Digest, Digesting, LARGEST_ENCODED};

use crate::convert::{TrialName, TrialResult, WireError, hash};
use crate::wire;

/// Bytes of spikes in a part. A result of at most this size is sent in one message. On a slow connection
/// other messages wait for a few parts at most.
pub const PART: usize = 256 << 10;

impl TrialResult {
    /// Returns the message that announces the result; its spikes follow in parts.
    pub fn announcement(&self, lease: u64) -> wire::TrialResult {
        wire::TrialResult {
            lease,
            fingerprint: self.name.fingerprint.0.to_vec(),
            seed: self.name.seed,
            trial: self.name.trial,
            spikes: Vec::new(),
            digest: self.digest.0.to_vec(),
            length: self.spikes.len() as u64,
        }
    }

    /// Returns the part of at most `size` bytes at this offset, and the offset of the next part. Returns
    /// `None` at the end of the result.
    pub fn part(&self, offset: usize, size: usize) -> Option<(wire::Part, usize)> {
        let rest = self.spikes.get(offset..).filter(|rest| !rest.is_empty())?;
        let spikes = rest[..rest.len().min(size)].to_vec();
        let next = offset + spikes.len();
        Some((wire::Part { digest: self.digest.0.to_vec(), offset: offset as u64, spikes }, next))
    }
}

/// The effect of a message on an [`Assembly`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Assembled {
    /// The message was accepted; the result of this lease is not complete yet.
    Further {
        /// The lease in the result's announcement.
        lease: u64,
    },
    /// The result is complete, and its digest matches.
    Whole {
        /// The lease in the result's announcement.
        lease: u64,
        /// The assembled result.
        result: TrialResult,
    },
    /// The message belongs to no unfinished result.
    Stray,
}

/// The result of a connection that has begun to arrive and is not complete. There is at most one.
#[derive(Debug, Default)]
pub struct Assembly(Option<Unfinished>);

#[derive(Debug)]
struct Unfinished {
    lease: u64,
    name: TrialName,
    digest: Digest,
    length: usize,
    spikes: Vec<u8>,
    digesting: Digesting,
}

impl Assembly {
    /// Returns how many bytes this message would make the assembly reserve in addition to those that it has.
    pub fn wants(&self, message: &wire::FromWorker) -> u64 {
        match &message.message {
            Some(wire::from_worker::Message::Trial(result)) if !self.is_at(result) => result.length,
            _ => 0,
        }
    }

    /// Whether a result has begun to arrive and is not complete.
    pub fn is_unfinished(&self) -> bool {
        self.0.is_some()
    }

    /// Whether this announces the result that is already arriving.
    fn is_at(&self, result: &wire::TrialResult) -> bool {
        self.0.as_ref().is_some_and(|at| {
            at.length as u64 == result.length
                && at.digest.0[..] == result.digest[..]
                && at.name.fingerprint.0[..] == result.fingerprint[..]
                && (at.name.seed, at.name.trial) == (result.seed, result.trial)
        })
    }

    /// Takes in the announcement of a result. Abandons an unfinished result, unless the announcement repeats
    /// it.
    ///
    /// # Errors
    /// If the announcement has spikes, states too many bytes, or has a hash that is not 32 bytes long.
    pub fn begin(&mut self, result: &wire::TrialResult) -> Result<Assembled, WireError> {
        let lease = result.lease;
        if self.is_at(result) {
            return Ok(Assembled::Further { lease });
        }
        self.0 = None;
        if result.length > LARGEST_ENCODED || !result.spikes.is_empty() {
            return Err(WireError::Length(result.length));
        }
        let name = TrialName::new(&result.fingerprint, result.seed, result.trial)?;
        let digest = Digest(hash(&result.digest)?);
        let length = usize::try_from(result.length).map_err(|_| WireError::Length(result.length))?;
        let mut spikes = Vec::new();
        // Reserved memory takes no physical memory until it is written. If the reservation fails, all parts
        // are stray.
        if spikes.try_reserve_exact(length).is_err() {
            return Ok(Assembled::Stray);
        }
        self.0 = Some(Unfinished { lease, name, digest, length, spikes, digesting: Digesting::default() });
        Ok(Assembled::Further { lease })
    }

    /// Takes in a part.
    ///
    /// # Errors
    /// If the part extends beyond the end of the result, or if the digest of the complete result differs.
    pub fn add(&mut self, part: &wire::Part) -> Result<Assembled, WireError> {
        let Some(at) = self.0.as_mut().filter(|at| at.digest.0[..] == part.digest[..]) else {
            return Ok(Assembled::Stray);
        };
        let lease = at.lease;
        let here = at.spikes.len() as u64;
        if part.offset > here {
            // An earlier part was lost.
            self.0 = None;
            return Ok(Assembled::Stray);
        }
        if part.offset < here {
            return Ok(Assembled::Further { lease });
        }
        if part.spikes.len() > at.length - at.spikes.len() {
            return Err(WireError::Part);
        }
        at.spikes.extend_from_slice(&part.spikes);
        at.digesting.update(&part.spikes);
        if at.spikes.len() < at.length {
            return Ok(Assembled::Further { lease });
        }
        let Some(Unfinished { name, digest, spikes, digesting, .. }) = self.0.take() else {
            return Ok(Assembled::Stray);
        };
        if digesting.finish() != digest {
            return Err(WireError::Digest);
        }
        Ok(Assembled::Whole { lease, result: TrialResult { name, spikes, digest } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use granule_engine::key::Fingerprint;

    fn result(trial: u32, length: usize) -> TrialResult {
        let name = TrialName { fingerprint: Fingerprint([7; 32]), seed: 1, trial };
        TrialResult::new(name, (0..length).map(|i| (i * 31 + trial as usize) as u8).collect())
    }

    fn parts(result: &TrialResult, size: usize) -> Vec<wire::Part> {
        let mut parts = Vec::new();
        let mut at = 0;
        while let Some((part, next)) = result.part(at, size) {
            parts.push(part);
            at = next;
        }
        parts
    }

    #[test]
    fn a_result_survives_being_taken_apart() {
        for (length, size) in [(1, 1), (10, 3), (12, 3), (12, 100)] {
            let whole = result(4, length);
            let parts = parts(&whole, size);
            assert_eq!(parts.len(), length.div_ceil(size));
            let mut assembly = Assembly::default();
            assert_eq!(assembly.begin(&whole.announcement(9)), Ok(Assembled::Further { lease: 9 }));
            let (last, others) = parts.split_last().unwrap();
            for part in others {
                assert_eq!(assembly.add(part), Ok(Assembled::Further { lease: 9 }));
            }
            let expected = Assembled::Whole { lease: 9, result: whole.clone() };
            assert_eq!(assembly.add(last), Ok(expected));
            assert!(!assembly.is_unfinished());
            assert_eq!(assembly.add(last), Ok(Assembled::Stray));
        }
    }

    #[test]
    fn parts_may_come_twice_and_a_lost_one_gives_the_result_up() {
        let whole = result(4, 10);
        let parts = parts(&whole, 4);
        let mut assembly = Assembly::default();
        assert_eq!(assembly.add(&parts[0]), Ok(Assembled::Stray));
        for _ in 0..2 {
            assembly.begin(&whole.announcement(9)).unwrap();
            assert_eq!(assembly.add(&parts[0]), Ok(Assembled::Further { lease: 9 }));
        }
        assert_eq!(assembly.add(&parts[2]), Ok(Assembled::Stray));
        assert_eq!(assembly.add(&parts[1]), Ok(Assembled::Stray));
        assembly.begin(&whole.announcement(9)).unwrap();
        assembly.add(&parts[0]).unwrap();
        assembly.add(&parts[1]).unwrap();
        // Another result replaces it; only parts of the new result count.
        let other = result(5, 3);
        assembly.begin(&other.announcement(10)).unwrap();
        assert!(assembly.is_unfinished());
        assert_eq!(assembly.add(&parts[2]), Ok(Assembled::Stray));
        let part = other.part(0, 4).unwrap().0;
        assert_eq!(assembly.add(&part), Ok(Assembled::Whole { lease: 10, result: other }));
    }

    #[test]
    fn no_more_is_held_than_was_announced_and_that_is_bounded() {
        let whole = result(4, 10);
        let message = |result| wire::FromWorker { message: Some(wire::from_worker::Message::Trial(result)) };
        let mut assembly = Assembly::default();
        assert_eq!(assembly.wants(&message(whole.announcement(1))), 10);
        assert_eq!(assembly.wants(&message(whole.to_wire(1))), 0);
        assembly.begin(&whole.announcement(1)).unwrap();
        assert_eq!(assembly.wants(&message(whole.announcement(1))), 0);
        let (mut long, _) = whole.part(0, 10).unwrap();
        long.spikes.push(0);
        assert_eq!(assembly.add(&long), Err(WireError::Part));
        let mut wrong = whole.part(0, 10).unwrap().0;
        wrong.spikes[9] ^= 1;
        assert_eq!(assembly.add(&wrong), Err(WireError::Digest));
        let gigantic = wire::TrialResult { length: LARGEST_ENCODED + 1, ..whole.announcement(1) };
        assert_eq!(assembly.begin(&gigantic), Err(WireError::Length(LARGEST_ENCODED + 1)));
        let both = wire::TrialResult { spikes: vec![1], ..whole.announcement(1) };
        assert_eq!(assembly.begin(&both), Err(WireError::Length(10)));
        let short = wire::TrialResult { digest: vec![1], ..whole.announcement(1) };
        assert_eq!(assembly.begin(&short), Err(WireError::HashLength(1)));
    }
}
