//! The trials of a cohort, and the state of each.

use std::fmt;

use super::ids::LeaseId;
use super::shape::CohortShape;
use super::variants::Variants;

/// Whether a trial is leased, in all its variants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SlotState {
    /// No worker holds a lease of it. It is pending unless it is done.
    Free,
    /// The last lease that it was part of; that lease was not given back. Copies and checks do not count.
    Leased(LeaseId),
    /// No worker holds a lease of it. The scheduler leases it alone, not in a shard with others.
    Suspect,
    /// No worker holds a lease of it, and the scheduler grants none.
    SetAside,
}

/// A [`SlotState`] in four bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Packed(u32);

impl Packed {
    // No lease has these numbers.
    const FREE: u32 = 0;
    const SUSPECT: u32 = u32::MAX;
    const SET_ASIDE: u32 = u32::MAX - 1;

    fn new(state: SlotState) -> Packed {
        Packed(match state {
            SlotState::Free => Packed::FREE,
            SlotState::Leased(lease) => lease.number(),
            SlotState::Suspect => Packed::SUSPECT,
            SlotState::SetAside => Packed::SET_ASIDE,
        })
    }

    fn state(self) -> SlotState {
        match self.0 {
            Packed::SUSPECT => SlotState::Suspect,
            Packed::SET_ASIDE => SlotState::SetAside,
            number => LeaseId::new(number.into()).map_or(SlotState::Free, SlotState::Leased),
        }
    }
}

impl fmt::Debug for Packed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.state().fmt(f)
    }
}

/// A trial of a cohort in all its variants. A plan can have millions, so a slot is small.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    state: Packed,
    pub(super) stored: Variants,
    /// Variants that the lease asked for and whose results have not arrived.
    pub(super) missing: Variants,
}

impl Slot {
    pub(super) fn new(stored: Variants) -> Slot {
        Slot { state: Packed::new(SlotState::Free), stored, missing: Variants::default() }
    }

    pub(super) fn state(&self) -> SlotState {
        self.state.state()
    }

    pub(super) fn set(&mut self, state: SlotState) {
        self.state = Packed::new(state);
    }

    /// Returns the last lease that it was part of, if that lease was not given back.
    pub(super) fn lease(&self) -> Option<LeaseId> {
        if let SlotState::Leased(lease) = self.state() { Some(lease) } else { None }
    }
}

#[derive(Debug)]
pub(super) struct CohortTrials {
    pub(super) shape: CohortShape,
    /// All variants of the cohort.
    pub(super) variants: Variants,
    pub(super) slots: Vec<Slot>,
    /// No slot below this is pending.
    pub(super) first_pending: u32,
    pub(super) pending: u32,
}

impl CohortTrials {
    pub(super) fn is_done(&self, slot: &Slot) -> bool {
        slot.stored == self.variants
    }

    pub(super) fn is_pending(&self, slot: &Slot) -> bool {
        slot.state() == SlotState::Free && !self.is_done(slot)
    }

    /// Returns the variants of a trial that are not stored.
    pub(super) fn unstored_of(&self, trial: u32) -> Variants {
        self.variants.without(self.slots[trial as usize].stored)
    }
}

#[test]
fn a_slot_is_small_and_says_its_state() {
    assert_eq!(size_of::<Slot>(), 8);
    let lease = |number| SlotState::Leased(LeaseId::new(number).expect("a number of a lease"));
    for state in [SlotState::Free, lease(1), lease(1 << 31), SlotState::Suspect, SlotState::SetAside] {
        let mut slot = Slot::new(Variants::default());
        slot.set(state);
        assert_eq!(slot.state(), state);
    }
}
