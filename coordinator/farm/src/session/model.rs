//! Tests a session with any sequence of events, sensible or not.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use wire::from_worker::Message;
use wire::to_worker::Message as Told;

use super::tests::{lease, name, output, session_with, to_worker, welcome};
use super::*;

/// An event for a session.
#[derive(Clone, Debug)]
enum Input {
    /// This many milliseconds pass.
    Later(u64),
    /// Time passes until the session's next wake-up.
    Due,
    Disconnected,
    /// In one of a few epochs. The bits of `kept` are the numbers of the leases that the session keeps.
    Welcome {
        epoch: u64,
        kept: u16,
    },
    Lease(u64),
    /// A lease without any work.
    Nonsense(u64),
    Acknowledged(u32),
    Revoked(u64),
    Empty,
    Trial {
        ticket: u64,
        trial: u32,
    },
    Survey(u64),
    Finished(u64),
    HandedBack(u64),
    Failed(u64),
    Drain,
}

fn inputs() -> impl Strategy<Value = Input> {
    let (id, ticket, trial) = (0..12_u64, 0..12_u64, 0..6_u32);
    prop_oneof![
        4 => (0..90_000_u64).prop_map(Input::Later),
        10 => Just(Input::Due),
        3 => Just(Input::Disconnected),
        8 => (1..4_u64, any::<u16>()).prop_map(|(epoch, kept)| Input::Welcome { epoch, kept }),
        8 => id.clone().prop_map(Input::Lease),
        1 => id.clone().prop_map(Input::Nonsense),
        6 => trial.clone().prop_map(Input::Acknowledged),
        2 => id.prop_map(Input::Revoked),
        1 => Just(Input::Empty),
        8 => (ticket.clone(), trial).prop_map(|(ticket, trial)| Input::Trial { ticket, trial }),
        2 => ticket.clone().prop_map(Input::Survey),
        4 => ticket.clone().prop_map(Input::Finished),
        2 => ticket.clone().prop_map(Input::HandedBack),
        2 => ticket.prop_map(Input::Failed),
        1 => Just(Input::Drain),
    ]
}

fn patiences() -> impl Strategy<Value = Patience> {
    let limit = || prop_oneof![Just(None), (1..200_u64).prop_map(|s| Some(Duration::from_secs(s)))];
    (select(vec![5, 600_u64]), limit(), limit()).prop_map(|(give_up_after, idle_timeout, time_limit)| {
        Patience { give_up_after: Duration::from_secs(give_up_after), idle_timeout, time_limit }
    })
}

/// A session, and records of its behaviour.
struct Seen {
    session: Session,
    now: WorkerTime,
    /// It has asked for a connection. It may not be welcome yet.
    is_connected: bool,
    is_welcome: bool,
    epoch: u64,
    /// The work that the pool was given: the lease and epoch of each ticket.
    tickets: BTreeMap<u64, (u64, u64)>,
    unacknowledged: BTreeSet<u32>,
    has_stopped: bool,
}

impl Seen {
    fn happen(&mut self, input: Input) {
        let now = self.now;
        let told = match input {
            Input::Later(milliseconds) => {
                self.now += Duration::from_millis(milliseconds);
                return self.pass_time();
            }
            Input::Due => {
                self.now = self.session.wake_up().map_or(now, |due| due.max(now));
                return self.pass_time();
            }
            Input::Disconnected => {
                (self.is_connected, self.is_welcome) = (false, false);
                self.session.on_disconnected(now)
            }
            Input::Welcome { epoch, kept } => {
                if self.is_connected && !self.is_welcome {
                    (self.is_welcome, self.epoch) = (true, epoch);
                }
                let kept: Vec<u64> = (0..16).filter(|id| kept >> id & 1 == 1).collect();
                self.hear(welcome(epoch, &kept))
            }
            Input::Lease(id) => self.hear(lease(id)),
            Input::Nonsense(id) => self.hear(to_worker(Told::Lease(wire::Lease { id, work: None }))),
            Input::Acknowledged(trial) => {
                self.unacknowledged.remove(&trial);
                self.hear(to_worker(Told::Acknowledged(name(trial).to_wire())))
            }
            Input::Revoked(lease) => self.hear(to_worker(Told::Revoked(wire::Revoked { lease }))),
            Input::Empty => {
                let empty = self.session.on_message(now, wire::ToWorker { message: None });
                return assert_eq!(empty, Err(WireError::Missing("message")));
            }
            Input::Trial { ticket, trial } => {
                self.unacknowledged.insert(trial);
                self.session.on_output(now, output(ticket, trial))
            }
            Input::Survey(ticket) => {
                self.session.on_output(now, PoolOutput::Survey { ticket, findings: vec![1] })
            }
            Input::Finished(ticket) => self.session.on_output(now, PoolOutput::Finished { ticket }),
            Input::HandedBack(ticket) => self.session.on_output(now, PoolOutput::HandedBack { ticket }),
            Input::Failed(ticket) => {
                self.session.on_output(now, PoolOutput::Failed { ticket, reason: "it cannot".into() })
            }
            Input::Drain => self.session.drain(now, "it was told to"),
        };
        self.follow(told);
    }

    fn hear(&mut self, message: wire::ToWorker) -> Vec<Instruction> {
        self.session.on_message(self.now, message).expect("it makes sense")
    }

    /// One action may be due directly after another, such as giving up after a failed greeting. But this must end.
    fn pass_time(&mut self) {
        for _ in 0..3 {
            let told = self.session.on_time(self.now);
            self.follow(told);
            let due = self.session.wake_up().expect("it always waits for something");
            if self.has_stopped || due > self.now {
                return;
            }
        }
        panic!("it wakes up again and again");
    }

    fn follow(&mut self, told: Vec<Instruction>) {
        for instruction in told {
            match instruction {
                Instruction::Connect { hello } => {
                    assert!(!self.is_connected && hello.epoch == self.epoch);
                    self.is_connected = true;
                    assert!(hello.held.iter().all(|lease| self.has(*lease)), "{:?}", hello.held);
                }
                Instruction::Disconnect => (self.is_connected, self.is_welcome) = (false, false),
                Instruction::Send(message) => self.sent(&message),
                Instruction::Compute { ticket, .. } => {
                    // The instruction does not name the lease, so the test reads it from the session.
                    let lease = self.session.tickets[&ticket].expect("it is of a lease");
                    assert!(self.tickets.insert(ticket, (lease, self.epoch)).is_none(), "{ticket} again");
                }
                Instruction::Cancel { ticket } => assert!(self.tickets.contains_key(&ticket)),
                Instruction::Stop(end) => {
                    self.has_stopped = true;
                    if let SessionEnd::Drained { .. } = end {
                        assert!(self.unacknowledged.is_empty());
                    }
                }
            }
        }
        assert_eq!(self.session.unacknowledged(), self.unacknowledged.len());
    }

    /// Whether a lease was granted in this epoch.
    fn has(&self, lease: u64) -> bool {
        self.tickets.values().any(|of| *of == (lease, self.epoch))
    }

    fn sent(&mut self, message: &Message) {
        assert!(self.is_welcome, "{message:?} before the welcome");
        match message {
            Message::Hello(_) => panic!("a second hello"),
            Message::Trial(result) => {
                assert!(self.unacknowledged.contains(&result.trial));
                assert!(result.lease == 0 || self.has(result.lease), "{result:?}");
            }
            Message::Finished(wire::Finished { lease })
            | Message::Survey(wire::SurveyResult { lease, .. }) => {
                assert!(self.has(*lease), "{lease} is of another epoch");
            }
            Message::Heartbeat(beat) => assert!(beat.held.iter().all(|lease| self.has(*lease)), "{beat:?}"),
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_a_session_keeps_what_it_owes_and_never_spins(
        patience in patiences(),
        inputs in vec(inputs(), 1..80),
    ) {
        let mut seen = Seen {
            session: session_with(patience),
            now: WorkerTime::ZERO,
            is_connected: false,
            is_welcome: false,
            epoch: 0,
            tickets: BTreeMap::new(),
            unacknowledged: BTreeSet::new(),
            has_stopped: false,
        };
        for input in inputs {
            seen.happen(input);
            if seen.has_stopped {
                break;
            }
        }
        // Without further events, the session ends or sends heartbeats, without an endless series of wake-ups.
        for _ in 0..50 {
            if seen.has_stopped {
                break;
            }
            seen.happen(Input::Due);
        }
    }

    /// Every connection begins with an offer of all unacknowledged results.
    #[test]
    fn what_is_not_acknowledged_is_offered_on_every_connection(trials in vec((0..9_u32, any::<bool>()), 0..20)) {
        let mut session = session_with(super::tests::PATIENCE);
        let mut owed = BTreeSet::new();
        let mut now = WorkerTime::ZERO;
        for (trial, is_acknowledged) in trials {
            session.on_output(now, output(1, trial));
            owed.insert(trial);
            if is_acknowledged {
                session.on_message(now, to_worker(Told::Acknowledged(name(trial).to_wire()))).expect("sense");
                owed.remove(&trial);
            }
            session.on_disconnected(now);
            now = session.wake_up().expect("it wants a connection");
            session.on_time(now);
            let told = session.on_message(now, welcome(1, &[])).expect("sense");
            let offered = told.iter().filter_map(|told| match told {
                Instruction::Send(Message::Trial(result)) => Some(result.trial),
                _ => None,
            });
            prop_assert_eq!(offered.collect::<BTreeSet<u32>>(), owed.clone());
        }
    }
}
