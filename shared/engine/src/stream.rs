//! A stream of random numbers that the trials of a seed read one after the other.
//!
//! A trial can start only where its place in the stream is known. If the stream has to be read to find that place, it
//! is cut into parts. A survey finds out what each part holds, any part in any order, and an [`Index`] adds the
//! findings up. The scheduler passes on a [`Start`] without knowing what it means.

use std::fmt;

/// Where a trial starts in its stream. Only the engine knows what the numbers mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// The part to begin at.
    pub part: u32,
    /// Items of that part to drop.
    pub skip: u64,
}

/// How a stream is cut into parts. A finding of `f` means that a part holds `items_per_finding * f` items.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parts {
    /// Items for each count of a finding.
    pub items_per_finding: u64,
    /// Expected finding of a part.
    pub mean: f64,
    /// Standard deviation of the findings.
    pub sd: f64,
}

impl Parts {
    /// Whether a part can have this finding: it lies within ten standard deviations of the mean.
    pub fn is_plausible(&self, finding: u32) -> bool {
        (f64::from(finding) - self.mean).abs() < 10.0 * self.sd
    }

    /// Parts that certainly hold more than this many items.
    pub fn to_reach(&self, items: u64) -> u32 {
        // A thousandth on top is beyond any fluctuation of a part.
        let items_per_part = self.items_per_finding as f64 * self.mean / 1.001;
        (items as f64 / items_per_part).ceil() as u32 + 1
    }
}

/// What is known of a stream: the findings of its first parts.
#[derive(Clone, PartialEq)]
pub struct Index {
    /// `None` where every trial can start at once.
    parts: Option<Parts>,
    /// Items before each part that is known, and behind the last.
    items_before: Vec<u64>,
}

impl Index {
    /// The index of a stream of which nothing is known. Without parts, every trial can start at once.
    pub fn new(parts: Option<Parts>) -> Index {
        Index { parts, items_before: vec![0] }
    }

    /// Whether a part can have this finding.
    pub fn is_plausible(&self, finding: u32) -> bool {
        self.parts.is_none_or(|parts| parts.is_plausible(finding))
    }

    /// Parts that certainly hold more than this many items.
    pub fn parts_to_reach(&self, items: u64) -> u32 {
        self.parts.map_or(0, |parts| parts.to_reach(items))
    }

    /// Parts that are known.
    pub fn parts(&self) -> u32 {
        (self.items_before.len() - 1) as u32
    }

    /// Items in the known parts.
    pub fn items(&self) -> u64 {
        self.items_before.last().copied().unwrap_or(0)
    }

    /// Adds the finding of the next part.
    pub fn push(&mut self, finding: u32) {
        let per_finding = self.parts.map_or(0, |parts| parts.items_per_finding);
        self.items_before.push(self.items() + per_finding * u64::from(finding));
    }

    /// The place of this item, if its part is known. The place of the first item is always known.
    pub fn locate(&self, item: u64) -> Option<Start> {
        if item == 0 || self.parts.is_none() {
            return Some(Start::default());
        }
        if item >= self.items() {
            return None;
        }
        let part = self.items_before.partition_point(|&before| before <= item) - 1;
        Some(Start { part: part as u32, skip: item - self.items_before[part] })
    }
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index").field("parts", &self.parts()).field("items", &self.items()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTS: Parts = Parts { items_per_finding: 2, mean: 50.0, sd: 3.0 };

    #[test]
    fn items_are_found_in_known_parts() {
        let mut index = Index::new(Some(PARTS));
        assert_eq!((index.locate(0), index.locate(1)), (Some(Start::default()), None));
        [50, 52].into_iter().for_each(|finding| index.push(finding));
        assert_eq!((index.parts(), index.items()), (2, 204));
        assert_eq!(index.locate(99), Some(Start { part: 0, skip: 99 }));
        assert_eq!(index.locate(100), Some(Start { part: 1, skip: 0 }));
        assert_eq!(index.locate(204), None);
        assert_eq!(Index::new(None).locate(u64::MAX), Some(Start::default()));
    }

    #[test]
    fn findings_are_plausible_around_their_mean_and_reach_far_enough() {
        assert_eq!([19, 21, 79, 81].map(|finding| PARTS.is_plausible(finding)), [false, true, true, false]);
        assert_eq!([0, 100, 1000].map(|items| PARTS.to_reach(items)), [1, 3, 12]);
    }
}
