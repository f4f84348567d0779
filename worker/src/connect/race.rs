//! The order in which the addresses of a coordinator are tried, and when: RFC 8305 ("Happy Eyeballs" version 2).
//!
//! Attempts run beside each other. The next one begins when the last one has had a short time, or at once when none is
//! left that could succeed; so an address that never answers delays the others by that time, and no more. Time is given
//! by the caller.

use std::net::SocketAddr;
use std::time::Duration;

/// Time between two attempts (RFC 8305, section 5, "Connection Attempt Delay").
pub(super) const DELAY: Duration = Duration::from_millis(250);

/// How long an attempt that has reached a server has to come to terms with it before the next one begins. The server sees
/// one that is given up then.
pub(super) const ANSWER: Duration = Duration::from_secs(2);

/// Addresses of one name in the order in which to try them: the two families by turns, the system's order within each
/// (RFC 8305, section 4).
pub(super) fn interleaved(addresses: impl IntoIterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut addresses = addresses.into_iter().peekable();
    let Some(is_first) = addresses.peek().map(SocketAddr::is_ipv4) else { return Vec::new() };
    let (first, second): (Vec<_>, Vec<_>) = addresses.partition(|address| address.is_ipv4() == is_first);
    let mut by_turns = Vec::with_capacity(first.len() + second.len());
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    loop {
        let (one, other) = (first.next(), second.next());
        if one.is_none() && other.is_none() {
            return by_turns;
        }
        for address in one.into_iter().chain(other) {
            if !by_turns.contains(&address) {
                by_turns.push(address);
            }
        }
    }
}

/// A place to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Which of the coordinator's names or addresses it belongs to; earlier ones come first.
    pub(super) of: usize,
    pub(super) address: SocketAddr,
}

/// Attempts to reach the same coordinator at several places.
#[derive(Debug, Default)]
pub(super) struct Race {
    /// The place that comes before all others: the one that worked last.
    favourite: Option<SocketAddr>,
    /// In the order in which they are tried.
    waiting: Vec<Candidate>,
    running: Vec<Running>,
    last_begun: Option<Duration>,
}

#[derive(Debug)]
struct Running {
    candidate: Candidate,
    /// When it reached a server, if it has.
    reached: Option<Duration>,
}

impl Race {
    /// With the place that worked last, if any did.
    pub(super) fn new(favourite: Option<SocketAddr>) -> Race {
        Race { favourite, ..Race::default() }
    }

    /// Adds the places of a name or address, in their order.
    pub(super) fn add(&mut self, of: usize, addresses: impl IntoIterator<Item = SocketAddr>) {
        let new = addresses.into_iter().map(|address| Candidate { of, address });
        self.waiting.extend(new);
        let favourite = self.favourite;
        // Stable: the order within a name stays.
        self.waiting.sort_by_key(|candidate| (Some(candidate.address) != favourite, candidate.of));
    }

    /// When the next attempt is to begin; none while there is nothing more to try.
    pub(super) fn due(&self) -> Option<Duration> {
        self.waiting.first()?;
        if self.running.is_empty() {
            return Some(Duration::ZERO);
        }
        let promising = self.running.iter().filter_map(|running| running.reached).max();
        Some(self.last_begun.map(|at| at + DELAY).max(promising.map(|at| at + ANSWER)).unwrap_or_default())
    }

    /// Begins the next attempt.
    pub(super) fn begin(&mut self, now: Duration) -> Option<Candidate> {
        if self.waiting.is_empty() {
            return None;
        }
        let candidate = self.waiting.remove(0);
        self.running.push(Running { candidate, reached: None });
        self.last_begun = Some(now);
        Some(candidate)
    }

    /// An attempt has reached a server, which has not answered yet.
    pub(super) fn reached(&mut self, candidate: Candidate, now: Duration) {
        if let Some(running) = self.running.iter_mut().find(|running| running.candidate == candidate) {
            running.reached = Some(now);
        }
    }

    /// An attempt has failed.
    pub(super) fn failed(&mut self, candidate: Candidate) {
        self.running.retain(|running| running.candidate != candidate);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn all(addresses: &[&str]) -> Vec<SocketAddr> {
        addresses.iter().map(|address| address.parse().expect("an address")).collect()
    }

    #[test]
    fn families_take_turns() {
        let given = ["[fd00::1]:1", "[fd00::2]:1", "[fd00::3]:1", "10.0.0.1:1", "10.0.0.2:1"];
        let expected = ["[fd00::1]:1", "10.0.0.1:1", "[fd00::2]:1", "10.0.0.2:1", "[fd00::3]:1"];
        assert_eq!(interleaved(all(&given)), all(&expected));
        let given = ["10.0.0.1:1", "10.0.0.1:1", "[fd00::1]:1"];
        assert_eq!(interleaved(all(&given)), all(&["10.0.0.1:1", "[fd00::1]:1"]), "each once");
        assert_eq!(interleaved(all(&[])), all(&[]));
    }

    /// An attempt, and when it began or won.
    type Mark = (SocketAddr, Duration);

    /// Plays a race to its end: how long each place takes, and whether it succeeds then. Gives when each began, and the
    /// winner with its time.
    fn play(race: &mut Race, of: impl Fn(SocketAddr) -> (Duration, bool)) -> (Vec<Mark>, Option<Mark>) {
        let mut now = Duration::ZERO;
        let mut begun = Vec::new();
        let mut ends: Vec<(Duration, Candidate)> = Vec::new();
        loop {
            let due = race.due().map(|due| due.max(now));
            let end = ends.iter().map(|(at, _)| *at).min();
            match (due, end) {
                (None, None) => return (begun, None),
                (Some(due), end) if end.is_none_or(|end| due < end) => {
                    now = due;
                    let candidate = race.begin(now).expect("one is due");
                    begun.push((candidate.address, now));
                    ends.push((now + of(candidate.address).0, candidate));
                }
                (_, Some(end)) => {
                    now = end;
                    let at = ends.iter().position(|(at, _)| *at == end).expect("it is there");
                    let (_, candidate) = ends.remove(at);
                    if of(candidate.address).1 {
                        return (begun, Some((candidate.address, now)));
                    }
                    race.failed(candidate);
                }
                (Some(_), None) => unreachable!("without an end the guard above holds"),
            }
        }
    }

    #[test]
    fn silent_places_delay_others_by_a_quarter_of_a_second_each() {
        let places = all(&["[fd00::1]:1", "10.0.0.1:1", "[fd00::2]:1"]);
        let mut race = Race::new(None);
        race.add(0, places.clone());
        let of = |address| if address == places[2] { (ms(20), true) } else { (ms(10_000), false) };
        let (begun, winner) = play(&mut race, of);
        assert_eq!(begun, [(places[0], ms(0)), (places[1], ms(250)), (places[2], ms(500))]);
        assert_eq!(winner, Some((places[2], ms(520))));
    }

    #[test]
    fn places_that_refuse_delay_nothing() {
        let places = all(&["[fd00::1]:1", "10.0.0.1:1", "[fd00::2]:1"]);
        let mut race = Race::new(None);
        race.add(0, places.clone());
        let (begun, winner) = play(&mut race, |_| (ms(1), false));
        assert_eq!(begun, [(places[0], ms(0)), (places[1], ms(1)), (places[2], ms(2))]);
        assert_eq!(winner, None);
    }

    #[test]
    fn the_first_wins_alone_if_it_is_there() {
        let places = all(&["10.0.0.1:1", "10.0.0.2:1"]);
        let mut race = Race::new(None);
        race.add(0, places.clone());
        let (begun, winner) = play(&mut race, |_| (ms(249), true));
        assert_eq!((begun.len(), winner), (1, Some((places[0], ms(249)))));
    }

    #[test]
    fn what_worked_last_comes_first_and_names_keep_their_order() {
        let (first, second) = (all(&["10.0.0.1:1", "10.0.0.2:1"]), all(&["10.0.0.3:1", "10.0.0.4:1"]));
        let mut race = Race::new(Some(second[1]));
        // A name may be resolved after another.
        race.add(1, second.clone());
        race.add(0, first.clone());
        let begun: Vec<SocketAddr> =
            play(&mut race, |_| (ms(1), false)).0.into_iter().map(|(at, _)| at).collect();
        assert_eq!(begun, [second[1], first[0], first[1], second[0]]);
    }

    #[test]
    fn a_server_that_was_reached_has_time_to_answer() {
        let places = all(&["10.0.0.1:1", "10.0.0.2:1"]);
        let mut race = Race::new(None);
        race.add(0, places);
        let first = race.begin(ms(0)).expect("a place");
        race.reached(first, ms(100));
        assert_eq!(race.due(), Some(ms(100) + ANSWER));
        race.failed(first);
        assert_eq!(race.due(), Some(ms(0)), "at once");
    }
}
