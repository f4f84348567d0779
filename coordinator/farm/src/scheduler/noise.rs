//! Which spans of a noise stream are counted, being counted, or wanted.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use granule_sim::noise::{NoiseIndex, NoiseStart, SPAN_ATTEMPTS, spans_to_reach};

/// Spans per lease: some tenths of a second.
const SPANS_PER_LEASE: u32 = 32;

/// Whether so many attempts of a span can have been accepted: ten standard deviations around the
/// mean, of which each has a chance of π/4.
pub(super) fn is_plausible(accepted: u32) -> bool {
    let chance = std::f64::consts::FRAC_PI_4;
    let attempts = SPAN_ATTEMPTS as f64;
    let deviation = (attempts * chance * (1.0 - chance)).sqrt();
    (f64::from(accepted) - attempts * chance).abs() < 10.0 * deviation
}

/// A noise stream under survey.
#[derive(Debug)]
pub(super) struct Stream {
    index: NoiseIndex,
    /// The last normal that some trial starts at.
    wanted: u64,
    /// Spans from here on have not been handed out.
    untouched: u32,
    /// Spans that were handed out and came back uncounted.
    returned: BTreeSet<u32>,
    /// Counts behind a gap, by span.
    early: BTreeMap<u32, u32>,
}

impl Stream {
    pub(super) fn new(index: NoiseIndex) -> Stream {
        let untouched = index.spans();
        Stream { index, wanted: 0, untouched, returned: BTreeSet::new(), early: BTreeMap::new() }
    }

    /// Notes that the place of this normal will be needed.
    pub(super) fn want(&mut self, normal: u64) {
        self.wanted = self.wanted.max(normal);
    }

    pub(super) fn locate(&self, normal: u64) -> Option<NoiseStart> {
        self.index.locate(normal)
    }

    /// Spans that are counted, and those that have to be before all trials can begin.
    pub(super) fn progress(&self) -> (u64, u64) {
        let counted = self.index.spans() + self.early.len() as u32;
        let is_enough = self.index.locate(self.wanted).is_some();
        let total = if is_enough { counted } else { spans_to_reach(self.wanted).max(counted + 1) };
        (counted.into(), total.into())
    }

    /// Spans to be counted next, if any are wanted that nobody is counting.
    pub(super) fn next_spans(&self) -> Option<Range<u32>> {
        if self.index.locate(self.wanted).is_some() {
            return None;
        }
        if let Some(&first) = self.returned.first() {
            let end = (first..first + SPANS_PER_LEASE).find(|span| !self.returned.contains(span));
            return Some(first..end.unwrap_or(first + SPANS_PER_LEASE));
        }
        // Should the estimate ever fall short, more is surveyed as soon as that shows.
        let all_counted = self.index.spans() == self.untouched;
        let needed = spans_to_reach(self.wanted).max(if all_counted { self.untouched + 1 } else { 0 });
        let end = needed.min(self.untouched + SPANS_PER_LEASE);
        (self.untouched < end).then_some(self.untouched..end)
    }

    /// Hands spans out.
    pub(super) fn take(&mut self, spans: Range<u32>) {
        self.untouched = self.untouched.max(spans.end);
        spans.for_each(|span| {
            self.returned.remove(&span);
        });
    }

    /// Takes spans back, unless they have been counted.
    pub(super) fn give_back(&mut self, spans: Range<u32>) {
        for span in spans {
            if span >= self.index.spans() && !self.early.contains_key(&span) {
                self.returned.insert(span);
            }
        }
    }

    /// Takes in counts of the spans from `first` on. Returns the counts that are now known without
    /// a gap before them and were not before, and the first of their spans.
    pub(super) fn counted(&mut self, first: u32, accepted: Vec<u32>) -> Option<(u32, Vec<u32>)> {
        for (span, count) in (first..).zip(accepted) {
            self.returned.remove(&span);
            if span >= self.index.spans() {
                self.early.insert(span, count);
            }
        }
        let begin = self.index.spans();
        let mut known = Vec::new();
        while let Some(count) = self.early.remove(&self.index.spans()) {
            self.index.push(count);
            known.push(count);
        }
        (!known.is_empty()).then_some((begin, known))
    }
}
