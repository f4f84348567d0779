//! A stream of random numbers that the trials of a seed read one after the other.
//!
//! A trial can start only if its position in the stream is known. If this position can be found only by reading the
//! stream, the stream is cut into parts. A survey counts the items of each part; parts can be surveyed in any order. An
//! [`Index`] adds up the findings. The scheduler passes on a [`Start`] without interpreting it.

use std::fmt;

/// Position in the stream at which a trial starts. Only the engine interprets the numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// The part in which the trial starts.
    pub part: u32,
    /// Number of items of that part to skip.
    pub skip: u64,
}

/// Describes how a stream is cut into parts. A finding of `f` means that a part holds `items_per_finding * f` items.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parts {
    /// Items per unit of a finding.
    pub items_per_finding: u64,
    /// Expected finding of a part.
    pub mean: f64,
    /// Standard deviation of the findings.
    pub sd: f64,
}

impl Parts {
    /// Returns whether a part can have this finding: it lies within ten standard deviations of the mean.
    pub fn is_plausible(&self, finding: u32) -> bool {
        (f64::from(finding) - self.mean).abs() < 10.0 * self.sd
    }

    /// Returns a number of parts that certainly hold more than this many items.
    pub fn to_reach(&self, items: u64) -> u32 {
        // A margin of a thousandth exceeds any fluctuation of the findings.
        let items_per_part = self.items_per_finding as f64 * self.mean / 1.001;
        (items as f64 / items_per_part).ceil() as u32 + 1
    }
}

/// Index of a stream: the findings of its first parts.
#[derive(Clone, PartialEq)]
pub struct Index {
    /// `None` if every trial can start at once.
    parts: Option<Parts>,
    /// Items before each surveyed part, and after the last.
    items_before: Vec<u64>,
}

impl Index {
    /// Makes an index without findings. If `parts` is `None`, every trial can start at once.
    pub fn new(parts: Option<Parts>) -> Index {
        Index { parts, items_before: vec![0] }
    }

    /// Returns whether a part can have this finding.
    pub fn is_plausible(&self, finding: u32) -> bool {
        self.parts.is_none_or(|parts| parts.is_plausible(finding))
    }

    /// Returns a number of parts that certainly hold more than this many items.
    pub fn parts_to_reach(&self, items: u64) -> u32 {
        self.parts.map_or(0, |parts| parts.to_reach(items))
    }

    /// Returns the number of parts with findings.
    pub fn parts(&self) -> u32 {
        (self.items_before.len() - 1) as u32
    }

    /// Returns the number of items in the parts with findings.
    pub fn items(&self) -> u64 {
        self.items_before.last().copied().unwrap_or(0)
    }

    /// Adds the finding of the next part.
    pub fn push(&mut self, finding: u32) {
        let per_finding = self.parts.map_or(0, |parts| parts.items_per_finding);
        self.items_before.push(self.items() + per_finding * u64::from(finding));
    }

    /// Returns the position of this item, if its part has a finding. The position of the first item is always known.
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
