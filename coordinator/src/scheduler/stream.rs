//! What has to be found out of a stream of items before it can be entered anywhere.
//!
//! A stream is cut into parts. How many items a part holds is known only once somebody has counted them; what was
//! counted, of whatever the items follow from, is the part's *finding*. Findings can be made in any order, and
//! [`Index`] adds them up to say where an item lies.

/// Where in a stream to begin: a token for whoever reads the stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Start {
    /// The part that the item lies in.
    pub(crate) part: u32,
    /// Items of the part before it.
    pub(crate) skip: u64,
}

/// What is known of all parts of a stream.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Parts {
    /// Items of a part for each that was found.
    pub(crate) items_per_finding: u64,
    /// Of the findings.
    pub(crate) mean: f64,
    /// Their standard deviation.
    pub(crate) sd: f64,
}

impl Parts {
    /// Whether this can have been found: it is within ten standard deviations of the mean.
    fn is_plausible(&self, finding: u32) -> bool {
        (f64::from(finding) - self.mean).abs() < 10.0 * self.sd
    }

    /// Parts that surely reach past this many items.
    fn to_reach(self, items: u64) -> u32 {
        // A thousandth on top is beyond any fluctuation of a part.
        let items_per_part = self.items_per_finding as f64 * self.mean / 1.001;
        (items as f64 / items_per_part).ceil() as u32 + 1
    }
}

/// How many items each part of a stream holds, from the first part on; grows with each finding.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Index {
    /// None if there is nothing to find out.
    of: Option<Parts>,
    /// Items that lie before each part, and behind the last.
    items_before: Vec<u64>,
}

impl Index {
    /// An index of a stream of which nothing is known yet.
    pub(crate) fn new(of: Parts) -> Index {
        Index { of: Some(of), items_before: vec![0] }
    }

    /// The index of a stream that can be entered anywhere as it is.
    pub(crate) fn free() -> Index {
        Index { of: None, items_before: vec![0] }
    }

    /// Parts that are known.
    pub(crate) fn parts(&self) -> u32 {
        (self.items_before.len() - 1) as u32
    }

    /// Items that lie in these.
    fn items(&self) -> u64 {
        self.items_before.last().copied().unwrap_or(0)
    }

    /// Adds what was found of the next part.
    pub(crate) fn push(&mut self, finding: u32) {
        let items = self.of.map_or(0, |of| of.items_per_finding * u64::from(finding));
        self.items_before.push(self.items() + items);
    }

    /// Where the item of this number lies, if its part is known. The very first needs no finding.
    pub(crate) fn locate(&self, item: u64) -> Option<Start> {
        if item == 0 || self.of.is_none() {
            return Some(Start::default());
        }
        if item >= self.items() {
            return None;
        }
        let part = self.items_before.partition_point(|&before| before <= item) - 1;
        Some(Start { part: part as u32, skip: item - self.items_before[part] })
    }

    /// Whether this can have been found of a part.
    pub(crate) fn is_plausible(&self, finding: u32) -> bool {
        self.of.is_none_or(|of| of.is_plausible(finding))
    }

    /// Parts that surely reach past this many items, to plan how many to find out about.
    pub(crate) fn parts_to_reach(&self, items: u64) -> u32 {
        self.of.map_or(0, |of| of.to_reach(items))
    }
}

#[test]
fn items_lie_where_findings_say() {
    let of = Parts { items_per_finding: 2, mean: 100.0, sd: 1.5 };
    let mut index = Index::new(of);
    assert_eq!((index.locate(0), index.locate(1)), (Some(Start::default()), None));
    [100, 90].into_iter().for_each(|finding| index.push(finding));
    assert_eq!(index.parts(), 2);
    for (item, start) in
        [(1, Some((0, 1))), (199, Some((0, 199))), (200, Some((1, 0))), (379, Some((1, 179)))]
    {
        assert_eq!(index.locate(item), start.map(|(part, skip)| Start { part, skip }));
    }
    assert_eq!(index.locate(380), None);
    assert_eq!([0, 1, 199, 200, 1000].map(|items| index.parts_to_reach(items)), [1, 2, 2, 3, 7]);
    assert_eq!(
        [84, 85, 86, 114, 115].map(|finding| index.is_plausible(finding)),
        [false, false, true, true, false]
    );
    assert_eq!(Index::free().locate(u64::MAX), Some(Start::default()));
}
