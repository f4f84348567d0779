//! Keeps track of the parts of a stream: counted, being counted, or wanted.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use granule_engine::stream::{Index, Start};

/// Parts per lease. Counting them takes some tenths of a second.
const PARTS_PER_LEASE: u32 = 32;

/// A stream under survey.
#[derive(Debug)]
pub(super) struct SurveyedStream {
    index: Index,
    /// The last item at which some trial starts.
    wanted: u64,
    /// Parts from this one on have never been leased.
    untouched: u32,
    /// Parts that were leased and came back uncounted.
    returned: BTreeSet<u32>,
    /// Findings behind a gap, by part: some earlier part is not counted.
    early: BTreeMap<u32, u32>,
}

impl SurveyedStream {
    pub(super) fn new(index: Index) -> SurveyedStream {
        let untouched = index.parts();
        SurveyedStream { index, wanted: 0, untouched, returned: BTreeSet::new(), early: BTreeMap::new() }
    }

    /// Notes that some trial starts at this item.
    pub(super) fn want(&mut self, item: u64) {
        self.wanted = self.wanted.max(item);
    }

    pub(super) fn locate(&self, item: u64) -> Option<Start> {
        self.index.locate(item)
    }

    /// Whether a part can have this finding.
    pub(super) fn is_plausible(&self, finding: u32) -> bool {
        self.index.is_plausible(finding)
    }

    /// Returns the number of counted parts, and of those that must be counted before all trials can start.
    pub(super) fn progress(&self) -> (u64, u64) {
        let counted = self.index.parts() + self.early.len() as u32;
        let is_enough = self.index.locate(self.wanted).is_some();
        let total = if is_enough { counted } else { self.index.parts_to_reach(self.wanted).max(counted + 1) };
        (counted.into(), total.into())
    }

    /// Returns the next parts to count, if any are wanted that no worker is counting.
    pub(super) fn next_parts(&self) -> Option<Range<u32>> {
        if self.index.locate(self.wanted).is_some() {
            return None;
        }
        if let Some(&first) = self.returned.first() {
            let end = (first..first + PARTS_PER_LEASE).find(|part| !self.returned.contains(part));
            return Some(first..end.unwrap_or(first + PARTS_PER_LEASE));
        }
        // If the estimate proves too low, one part more is surveyed after all others are counted.
        let all_counted = self.index.parts() == self.untouched;
        let needed =
            self.index.parts_to_reach(self.wanted).max(if all_counted { self.untouched + 1 } else { 0 });
        let end = needed.min(self.untouched + PARTS_PER_LEASE);
        (self.untouched < end).then_some(self.untouched..end)
    }

    /// Marks parts as leased.
    pub(super) fn take(&mut self, parts: Range<u32>) {
        self.untouched = self.untouched.max(parts.end);
        parts.for_each(|part| {
            self.returned.remove(&part);
        });
    }

    /// Takes parts back that have not been counted.
    pub(super) fn give_back(&mut self, parts: Range<u32>) {
        for part in parts {
            if part >= self.index.parts() && !self.early.contains_key(&part) {
                self.returned.insert(part);
            }
        }
    }

    /// Adds the findings of the parts from `first` on. Returns the findings that now follow without a gap and did not
    /// before, and the first of their parts.
    pub(super) fn counted(&mut self, first: u32, findings: Vec<u32>) -> Option<(u32, Vec<u32>)> {
        for (part, finding) in (first..).zip(findings) {
            self.returned.remove(&part);
            if part >= self.index.parts() {
                self.early.insert(part, finding);
            }
        }
        let begin = self.index.parts();
        let mut known = Vec::new();
        while let Some(finding) = self.early.remove(&self.index.parts()) {
            self.index.push(finding);
            known.push(finding);
        }
        (!known.is_empty()).then_some((begin, known))
    }
}
