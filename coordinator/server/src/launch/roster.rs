//! Which of the machines that are reached by `ssh` are in use, and when the others are tried again.

use std::time::{Duration, Instant};

use super::ending::Ending;
use super::hosts::Host;

/// Time until a machine that was lost is tried again: this at first, twice as long each time, and then that.
const LOST: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// The same of one that was never reached: servers shut out who is refused too often.
const UNREACHED: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(600));

/// The machines, by their place in the list that was given.
#[derive(Debug)]
pub struct Roster {
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    host: Host,
    state: State,
    /// Whether a worker was ever there.
    was_there: bool,
    /// Since when one is.
    since: Option<Instant>,
    /// How often it came to nothing, or to little.
    failures: u32,
    /// What was last said of it.
    said: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A worker is there, or on its way.
    InUse,
    /// It is tried again then.
    Waits(Instant),
    /// It is not.
    Dropped,
}

/// What comes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// When the machine is tried again, if it is.
    pub again: Option<Duration>,
    /// Whether this is news.
    pub is_news: bool,
}

impl Roster {
    pub fn new(hosts: &[Host], now: Instant) -> Roster {
        let entry = |host: &Host| Entry {
            host: host.clone(),
            state: State::Waits(now),
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

    /// Machines on which a worker is to be started now; they are taken to be in use.
    pub fn due(&mut self, now: Instant) -> Vec<usize> {
        let is_due = |entry: &Entry| matches!(entry.state, State::Waits(until) if until <= now);
        let due: Vec<usize> = (0..self.entries.len()).filter(|at| is_due(&self.entries[*at])).collect();
        due.iter().for_each(|at| self.entries[*at].state = State::InUse);
        due
    }

    /// A worker is there.
    pub fn joined(&mut self, at: usize, now: Instant) {
        let entry = &mut self.entries[at];
        if !std::mem::replace(&mut entry.was_there, true) {
            entry.failures = 0;
        }
        (entry.since, entry.said) = (Some(now), None);
    }

    /// A worker has ended, or none could be started.
    pub fn ended(&mut self, at: usize, ending: Ending, description: &str, now: Instant) -> Verdict {
        let entry = &mut self.entries[at];
        let is_over = match ending {
            Ending::Left | Ending::Unfit => true,
            Ending::Unknown | Ending::Starved => false,
            // What never worked will not.
            Ending::Failed => !entry.was_there,
        };
        let is_news = entry.said.as_deref() != Some(description);
        entry.said = Some(description.to_owned());
        if is_over {
            entry.state = State::Dropped;
            return Verdict { again: None, is_news };
        }
        let (least, most) = if entry.was_there { LOST } else { UNREACHED };
        // One that has died of what it was given will do so again.
        if entry.since.take().is_some_and(|since| now.duration_since(since) >= most) {
            entry.failures = 0;
        }
        let again = (least * 2_u32.saturating_pow(entry.failures.min(16))).min(most);
        entry.failures += 1;
        entry.state = State::Waits(now + again);
        Verdict { again: Some(again), is_news }
    }

    /// Whether nothing can be expected any more: each is out of use, or was never reached.
    pub fn is_hopeless(&self) -> bool {
        let is_out = |entry: &Entry| match entry.state {
            State::InUse => false,
            State::Waits(_) => !entry.was_there && entry.failures > 0,
            State::Dropped => true,
        };
        self.entries.iter().all(is_out)
    }

    /// What was last said of each machine that something is to be said of.
    pub fn complaints(&self) -> Vec<String> {
        let said = |entry: &Entry| entry.said.as_ref().map(|said| format!("{} {said}", entry.host.name));
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

    /// Pauses after so many failures in a row.
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
        // That it comes does not say that it stays.
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
        assert_eq!(roster.ended(2, Ending::Left, "has left", now).again, None);
        assert!(roster.is_hopeless());
    }
}
