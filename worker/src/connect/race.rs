//! The order in which the addresses of a coordinator are tried, and when: RFC 8305 ("Happy Eyeballs" version
//! 2).
//!
//! Attempts run in parallel. The next one begins a short time after the previous one, or at once if no
//! running attempt is left. So an address that never answers delays the others by that time at most. The
//! caller provides the time.

use std::net::SocketAddr;
use std::time::Duration;

/// Time between the beginnings of two attempts (RFC 8305, section 5, "Connection Attempt Delay").
pub(super) const DELAY: Duration = Duration::from_millis(250);

/// Time that a server has to answer once an attempt has reached it, before the next attempt begins. If
/// another attempt then succeeds, the server notices that this one is given up.
pub(super) const ANSWER: Duration = Duration::from_secs(2);

/// Returns the different addresses of one name in the order in which to try them. The two families alternate,
/// each in the system's order (RFC 8305, section 4).
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

/// A socket address to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Index of the coordinator's name or address to which it belongs. Lower indices are tried first.
    pub(super) of: usize,
    pub(super) address: SocketAddr,
}

/// Attempts to reach one coordinator at several places.
#[derive(Debug, Default)]
pub(super) struct Race {
    /// The place that last succeeded. It is tried before all others.
    favourite: Option<SocketAddr>,
    /// Places that are not tried yet, in order.
    waiting: Vec<Candidate>,
    running: Vec<RunningAttempt>,
    last_begun: Option<Duration>,
}

#[derive(Debug)]
struct RunningAttempt {
    candidate: Candidate,
    /// When the attempt reached a server, if it has.
    reached: Option<Duration>,
}

impl Race {
    /// Creates a race. `favourite` is the place that last succeeded, if any.
    pub(super) fn new(favourite: Option<SocketAddr>) -> Race {
        Race { favourite, ..Race::default() }
    }

    /// Adds the places of a name or address, in their order.
    pub(super) fn add(&mut self, of: usize, addresses: impl IntoIterator<Item = SocketAddr>) {
        let new = addresses.into_iter().map(|address| Candidate { of, address });
        self.waiting.extend(new);
        let favourite = self.favourite;
        // The sort is stable, so the order within a name is kept.
        self.waiting.sort_by_key(|candidate| (Some(candidate.address) != favourite, candidate.of));
    }

    /// Returns when the next attempt is to begin; `None` if no place is left to try.
    pub(super) fn due(&self) -> Option<Duration> {
        self.waiting.first()?;
        if self.running.is_empty() {
            return Some(Duration::ZERO);
        }
        let promising = self.running.iter().filter_map(|running| running.reached).max();
        Some(self.last_begun.map(|at| at + DELAY).max(promising.map(|at| at + ANSWER)).unwrap_or_default())
    }

    /// Begins the next attempt. Returns its place.
    pub(super) fn begin(&mut self, now: Duration) -> Option<Candidate> {
        if self.waiting.is_empty() {
            return None;
        }
        let candidate = self.waiting.remove(0);
        self.running.push(RunningAttempt { candidate, reached: None });
        self.last_begun = Some(now);
        Some(candidate)
    }

    /// Records that an attempt has reached a server that has not answered yet.
    pub(super) fn reached(&mut self, candidate: Candidate, now: Duration) {
        if let Some(running) = self.running.iter_mut().find(|running| running.candidate == candidate) {
            running.reached = Some(now);
        }
    }

    /// Records that an attempt has failed.
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

    /// A place, and when its attempt began or won.
    type Mark = (SocketAddr, Duration);

    /// Runs a race to its end. `of` returns how long an attempt at a place takes, and whether it succeeds.
    /// Returns when each attempt began, and the winner with its time.
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
        // Names may be resolved in any order.
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
