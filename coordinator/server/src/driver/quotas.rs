//! Limits on the number of notices printed.

use std::collections::BTreeMap;
use std::time::Instant;

/// Most notices of one kind that are printed at once. After that, one a second is printed.
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
    /// Takes one notice from its quota. Returns how many were left out before it, or none if it must not be printed.
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
