//! The hosts that are reached by `ssh`: which are in use, and when the others are tried again.

use std::time::{Duration, Instant};

use super::ending::Ending;
use super::hosts::Host;

/// Time until a lost host is tried again: at first, and at most. It doubles with each failure.
const LOST: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// The same for a host that was never reached. Servers block clients that they refuse too often.
const UNREACHED: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(600));

/// The hosts, by their index in the user's list.
#[derive(Debug)]
pub struct Roster {
    entries: Vec<RosterEntry>,
}

#[derive(Debug)]
struct RosterEntry {
    host: Host,
    state: RosterState,
    /// Whether a worker on it ever joined.
    was_there: bool,
    /// When the present worker joined.
    since: Option<Instant>,
    /// Number of failures in a row. Workers that end soon after joining count.
    failures: u32,
    /// The last message about it.
    said: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RosterState {
    /// A worker is connected, or is being started.
    InUse,
    /// It is tried again at this time.
    Waits(Instant),
    /// It is not tried again.
    Dropped,
}

/// The consequence of a worker's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Time until the host is tried again, if it is.
    pub again: Option<Duration>,
    /// Whether the message differs from the last one.
    pub is_news: bool,
}

impl Roster {
    pub fn new(hosts: &[Host], now: Instant) -> Roster {
        let entry = |host: &Host| RosterEntry {
            host: host.clone(),
            state: RosterState::Waits(now),
            was_there: false,
            since: None,
            failures: 0,
            said: None,
        };
        Roster { entries: hosts.iter().map(entry).collect() }
    }

    pub fn host(&self, at: usize) -> &Host {
        &self.entries[at].host
    }

    /// Returns the hosts on which a worker is to be started now, and marks them as in use.
    pub fn due(&mut self, now: Instant) -> Vec<usize> {
        let is_due = |entry: &RosterEntry| matches!(entry.state, RosterState::Waits(until) if until <= now);
        let due: Vec<usize> = (0..self.entries.len()).filter(|at| is_due(&self.entries[*at])).collect();
        due.iter().for_each(|at| self.entries[*at].state = RosterState::InUse);
        due
    }

    /// Notes that a worker has joined.
    pub fn joined(&mut self, at: usize, now: Instant) {
        let entry = &mut self.entries[at];
        if !std::mem::replace(&mut entry.was_there, true) {
            entry.failures = 0;
        }
        (entry.since, entry.said) = (Some(now), None);
    }

    /// Notes that a worker has ended or could not be started, and returns the consequence.
    pub fn ended(&mut self, at: usize, ending: Ending, description: &str, now: Instant) -> Verdict {
        let entry = &mut self.entries[at];
        let is_over = match ending {
            Ending::Left | Ending::Unfit => true,
            Ending::Unknown | Ending::Starved => false,
            // A host on which no worker ever joined is not expected to work later.
            Ending::Failed => !entry.was_there,
        };
        let is_news = entry.said.as_deref() != Some(description);
        entry.said = Some(description.to_owned());
        if is_over {
            entry.state = RosterState::Dropped;
            return Verdict { again: None, is_news };
        }
        let (least, most) = if entry.was_there { LOST } else { UNREACHED };
        // A worker that died of its work may do so again. So only a worker that ran for long ends a row of failures.
        if entry.since.take().is_some_and(|since| now.duration_since(since) >= most) {
            entry.failures = 0;
        }
        let again = (least * 2_u32.saturating_pow(entry.failures.min(16))).min(most);
        entry.failures += 1;
        entry.state = RosterState::Waits(now + again);
        Verdict { again: Some(again), is_news }
    }

    /// Whether no worker can be expected: each host is dropped, or was tried and never reached.
    pub fn is_hopeless(&self) -> bool {
        let is_out = |entry: &RosterEntry| match entry.state {
            RosterState::InUse => false,
            RosterState::Waits(_) => !entry.was_there && entry.failures > 0,
            RosterState::Dropped => true,
        };
        self.entries.iter().all(is_out)
    }

    /// Returns the last message about each host, if there is one.
    pub fn complaints(&self) -> Vec<String> {
        let said =
            |entry: &RosterEntry| entry.said.as_ref().map(|said| format!("{} {said}", entry.host.name));
        self.entries.iter().filter_map(said).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roster(names: &[&str]) -> (Roster, Instant) {
        let hosts: Vec<Host> = names.iter().map(|name| name.parse().expect("a host")).collect();
        let now = Instant::now();
        (Roster::new(&hosts, now), now)
    }

    /// Returns the pauses after so many failures in a row.
    fn pauses(roster: &mut Roster, now: &mut Instant, count: usize) -> Vec<u64> {
        let mut pause = || {
            let again = roster.ended(0, Ending::Unknown, "is lost", *now).again.expect("it is tried again");
            assert!(roster.due(*now + again - Duration::from_millis(1)).is_empty());
            *now += again;
            assert_eq!(roster.due(*now), [0]);
            again.as_secs()
        };
        (0..count).map(|_| pause()).collect()
    }

    #[test]
    fn a_machine_that_is_lost_is_tried_again_ever_less_often() {
        let (mut roster, mut now) = roster(&["a"]);
        assert_eq!(roster.due(now), [0]);
        assert!(roster.due(now).is_empty());
        roster.joined(0, now);
        assert_eq!(pauses(&mut roster, &mut now, 8), [1, 2, 4, 8, 16, 32, 60, 60]);
        // A worker that joins may still be lost soon.
        roster.joined(0, now);
        assert_eq!(pauses(&mut roster, &mut now, 1), [60]);
        roster.joined(0, now);
        now += LOST.1;
        assert_eq!(roster.ended(0, Ending::Failed, "died", now).again, Some(LOST.0));
        assert!(!roster.is_hopeless());
    }

    #[test]
    fn a_machine_that_was_never_reached_is_not_asked_often() {
        let (mut roster, mut now) = roster(&["a"]);
        roster.due(now);
        assert_eq!(pauses(&mut roster, &mut now, 6), [60, 120, 240, 480, 600, 600]);
        roster.joined(0, now);
        assert_eq!(pauses(&mut roster, &mut now, 2), [1, 2]);
    }

    #[test]
    fn the_same_is_said_once() {
        let (mut roster, now) = roster(&["a"]);
        assert!(roster.ended(0, Ending::Unknown, "is lost", now).is_news);
        assert!(!roster.ended(0, Ending::Unknown, "is lost", now).is_news);
        assert!(roster.ended(0, Ending::Unknown, "is not known", now).is_news);
        roster.joined(0, now);
        assert!(roster.ended(0, Ending::Unknown, "is not known", now).is_news);
        assert_eq!(roster.complaints(), ["a is not known"]);
    }

    #[test]
    fn what_cannot_work_is_dropped_and_all_of_it_is_hopeless() {
        let (mut roster, now) = roster(&["a", "b", "c"]);
        roster.due(now);
        assert_eq!(roster.ended(0, Ending::Unfit, "has none", now).again, None);
        assert_eq!(roster.ended(1, Ending::Failed, "fails", now).again, None);
        assert!(!roster.is_hopeless(), "c may come yet");
        assert!(roster.ended(2, Ending::Unknown, "is not known", now).again.is_some());
        assert!(roster.is_hopeless(), "none was ever there");
        assert_eq!(roster.due(now + UNREACHED.0), [2]);
        assert!(!roster.is_hopeless(), "it may come now");
        roster.joined(2, now);
        assert!(!roster.is_hopeless());
        assert!(roster.ended(2, Ending::Unknown, "is lost", now).again.is_some());
        assert!(!roster.is_hopeless(), "it was there, and may come back");
        assert_eq!(roster.ended(2, Ending::Left, "ended without an error", now).again, None);
        assert!(roster.is_hopeless());
    }
}
