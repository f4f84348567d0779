//! Sets of variants.

/// Some variants of a cohort.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Variants(u16);

impl Variants {
    /// How many a cohort can have.
    pub const MOST: u32 = u16::BITS;

    /// The first `count`.
    pub(super) fn first(count: u32) -> Variants {
        assert!((1..=Variants::MOST).contains(&count), "{count} variants in a cohort");
        Variants(u16::MAX >> (Variants::MOST - count))
    }

    /// Adds one; false if it was there.
    pub(super) fn insert(&mut self, variant: u32) -> bool {
        let before = *self;
        self.0 |= 1 << variant;
        *self != before
    }

    /// Takes one out; false if it was not there.
    pub(super) fn remove(&mut self, variant: u32) -> bool {
        let before = *self;
        self.0 &= !(1 << variant);
        *self != before
    }

    pub(super) fn contains(self, variant: u32) -> bool {
        self.0 & 1 << variant != 0
    }

    /// Those that are not among the others.
    pub(super) fn without(self, others: Variants) -> Variants {
        Variants(self.0 & !others.0)
    }

    pub fn len(self) -> u32 {
        self.0.count_ones()
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// In ascending order.
    pub fn iter(self) -> impl Iterator<Item = u32> + Clone {
        (0..Variants::MOST).filter(move |variant| self.contains(*variant))
    }
}
