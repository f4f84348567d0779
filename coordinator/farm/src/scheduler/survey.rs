//! Which parts of a stream are counted, being counted, or wanted.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use granule_engine::stream::{Index, Start};

/// Parts per lease: some tenths of a second.
const PARTS_PER_LEASE: u32 = 32;

/// A stream under survey.
#[derive(Debug)]
pub(super) struct Stream {
    index: Index,
    /// The last item that some trial starts at.
    wanted: u64,
    /// Parts from here on have not been handed out.
    untouched: u32,
    /// Parts that were handed out and came back uncounted.
    returned: BTreeSet<u32>,
    /// Findings behind a gap, by part.
    early: BTreeMap<u32, u32>,
}

impl Stream {
    pub(super) fn new(index: Index) -> Stream {
        let untouched = index.parts();
        Stream { index, wanted: 0, untouched, returned: BTreeSet::new(), early: BTreeMap::new() }
    }

    /// Notes that the place of this item will be needed.
    pub(super) fn want(&mut self, item: u64) {
        self.wanted = self.wanted.max(item);
    }

    pub(super) fn locate(&self, item: u64) -> Option<Start> {
        self.index.locate(item)
    }

    /// Whether this can have been found of a part.
    pub(super) fn is_plausible(&self, finding: u32) -> bool {
        self.index.is_plausible(finding)
    }

    /// Parts that are counted, and those that have to be before all trials can begin.
    pub(super) fn progress(&self) -> (u64, u64) {
        let counted = self.index.parts() + self.early.len() as u32;
        let is_enough = self.index.locate(self.wanted).is_some();
        let total = if is_enough { counted } else { self.index.parts_to_reach(self.wanted).max(counted + 1) };
        (counted.into(), total.into())
    }

    /// Parts to be counted next, if any are wanted that nobody is counting.
    pub(super) fn next_parts(&self) -> Option<Range<u32>> {
        if self.index.locate(self.wanted).is_some() {
            return None;
        }
        if let Some(&first) = self.returned.first() {
            let end = (first..first + PARTS_PER_LEASE).find(|part| !self.returned.contains(part));
            return Some(first..end.unwrap_or(first + PARTS_PER_LEASE));
        }
        // Should the estimate ever fall short, more is surveyed as soon as that shows.
        let all_counted = self.index.parts() == self.untouched;
        let needed =
            self.index.parts_to_reach(self.wanted).max(if all_counted { self.untouched + 1 } else { 0 });
        let end = needed.min(self.untouched + PARTS_PER_LEASE);
        (self.untouched < end).then_some(self.untouched..end)
    }

    /// Hands parts out.
    pub(super) fn take(&mut self, parts: Range<u32>) {
        self.untouched = self.untouched.max(parts.end);
        parts.for_each(|part| {
            self.returned.remove(&part);
        });
    }

    /// Takes parts back, unless they have been counted.
    pub(super) fn give_back(&mut self, parts: Range<u32>) {
        for part in parts {
            if part >= self.index.parts() && !self.early.contains_key(&part) {
                self.returned.insert(part);
            }
        }
    }

    /// Takes in the findings of the parts from `first` on. Returns those that are now known without
    /// a gap before them and were not before, and the first of their parts.
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
