//! Sets of variants.

/// A set of variants of a cohort.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Variants(u16);

impl Variants {
    /// Limit on the variants of a cohort.
    pub const MOST: u32 = u16::BITS;

    /// Returns the set of the first `count` variants.
    pub(super) fn first(count: u32) -> Variants {
        assert!((1..=Variants::MOST).contains(&count), "{count} variants in a cohort");
        Variants(u16::MAX >> (Variants::MOST - count))
    }

    /// Adds a variant. Returns `false` if the set had it.
    pub(super) fn insert(&mut self, variant: u32) -> bool {
        let before = *self;
        self.0 |= 1 << variant;
        *self != before
    }

    /// Removes a variant. Returns `false` if the set did not have it.
    pub(super) fn remove(&mut self, variant: u32) -> bool {
        let before = *self;
        self.0 &= !(1 << variant);
        *self != before
    }

    pub(super) fn contains(self, variant: u32) -> bool {
        self.0 & 1 << variant != 0
    }

    /// Returns the variants that are not in the other set.
    pub(super) fn without(self, others: Variants) -> Variants {
        Variants(self.0 & !others.0)
    }

    pub fn len(self) -> u32 {
        self.0.count_ones()
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Iterates in ascending order.
    pub fn iter(self) -> impl Iterator<Item = u32> + Clone {
        (0..Variants::MOST).filter(move |variant| self.contains(*variant))
    }
}
