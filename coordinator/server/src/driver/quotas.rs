//! How many notices are printed.

use std::collections::BTreeMap;
use std::time::Instant;

/// Notices of one kind that may follow each other at once; after that, one a second.
const NOTICES_AT_ONCE: f64 = 1024.0;

/// How many more notices of each kind may be printed now. Strangers can cause any number of them.
#[derive(Debug, Default)]
pub(super) struct Quotas(BTreeMap<&'static str, Quota>);

#[derive(Debug)]
struct Quota {
    left: f64,
    since: Instant,
    left_out: u64,
}

impl Quotas {
    /// Whether another notice of this kind may be printed; then, how many were left out before it.
    pub(super) fn take(&mut self, event: &'static str, now: Instant) -> Option<u64> {
        let fresh = || Quota { left: NOTICES_AT_ONCE, since: now, left_out: 0 };
        let quota = self.0.entry(event).or_insert_with(fresh);
        let gained = now.saturating_duration_since(quota.since).as_secs_f64();
        (quota.left, quota.since) = ((quota.left + gained).min(NOTICES_AT_ONCE), now);
        if quota.left < 1.0 {
            quota.left_out += 1;
            return None;
        }
        quota.left -= 1.0;
        Some(std::mem::take(&mut quota.left_out))
    }
}
