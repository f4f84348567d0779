use std::collections::BTreeMap;

use granule_engine::{Engine, Fingerprint, Model, NoResult};
use granule_toy::{ENGINES, Toy};
use wire::from_worker::Message;

use super::*;

pub(super) const PATIENCE: Patience =
    Patience { give_up_after: Duration::from_secs(600), idle_timeout: None, time_limit: None };

fn seconds(s: u64) -> WorkerTime {
    Duration::from_secs(s)
}

pub(super) fn session_with(patience: Patience) -> Session {
    let introduction = Introduction {
        packages: BTreeMap::new(),
        version: "1".into(),
        engines: ENGINES,
        threads: 2,
        host: "here".into(),
        process_id: 7,
        name: [3; 16],
    };
    Session::new(introduction, patience, 1)
}

pub(super) fn to_worker(message: wire::to_worker::Message) -> wire::ToWorker {
    wire::ToWorker { message: Some(message) }
}

pub(super) fn welcome(epoch: u64, kept: &[u64]) -> wire::ToWorker {
    let kept = kept.to_vec();
    to_worker(wire::to_worker::Message::Welcome(wire::Welcome { heartbeat_ms: 1000, epoch, kept }))
}

pub(super) fn lease(id: u64) -> wire::ToWorker {
    let survey = granule_proto::convert::WireSurvey {
        engine: &Toy::Stream,
        seed: 1,
        model: Box::new(Model::new(&Toy::Stream, Toy::Stream.space().defaults()).unwrap()),
        first: 0,
        count: 1,
    };
    let work = Some(WireWork::Survey(survey).to_wire());
    to_worker(wire::to_worker::Message::Lease(wire::Lease { id, work }))
}

pub(super) fn name(trial: u32) -> TrialName {
    TrialName { fingerprint: Fingerprint([1; 32]), seed: 2, trial }
}

pub(super) fn output(ticket: u64, trial: u32) -> PoolOutput {
    PoolOutput::Trial { ticket, result: TrialResult::new(name(trial), vec![0, 0]) }
}

/// Makes the session connect. `now` must not be earlier than its next attempt.
fn connect(session: &mut Session, now: WorkerTime) -> wire::Hello {
    match session.on_time(now).pop() {
        Some(Instruction::Connect { hello }) => hello,
        other => panic!("{other:?}"),
    }
}

/// Connects a session and welcomes it in this epoch.
fn up(session: &mut Session, now: WorkerTime, epoch: u64) -> Vec<Instruction> {
    connect(session, now);
    session.on_message(now, welcome(epoch, &[])).unwrap()
}

/// Returns the ticket of the work of a lease.
fn compute(session: &mut Session, now: WorkerTime, id: u64) -> u64 {
    match &session.on_message(now, lease(id)).unwrap()[..] {
        [Instruction::Compute { ticket, .. }] => *ticket,
        other => panic!("{other:?}"),
    }
}

fn sent(instructions: &[Instruction]) -> Vec<&Message> {
    fn message(instruction: &Instruction) -> Option<&Message> {
        match instruction {
            Instruction::Send(message) => Some(message),
            _ => None,
        }
    }
    instructions.iter().filter_map(message).collect()
}

#[test]
fn a_result_is_kept_until_it_is_acknowledged_and_offered_on_every_connection() {
    let mut session = session_with(PATIENCE);
    up(&mut session, WorkerTime::ZERO, 5);
    let ticket = compute(&mut session, WorkerTime::ZERO, 4);
    let first = session.on_output(WorkerTime::ZERO, output(ticket, 3));
    assert!(matches!(sent(&first)[..], [Message::Trial(result)] if result.lease == 4));
    assert_eq!(session.unacknowledged(), 1);
    // A restarted coordinator does not know the lease, but still gets the result.
    session.on_disconnected(seconds(1));
    let again = up(&mut session, seconds(2), 6);
    let [
        Instruction::Cancel { .. },
        Instruction::Send(Message::Trial(result)),
        Instruction::Send(Message::Offered(_)),
    ] = &again[..]
    else {
        panic!("{again:?}")
    };
    assert_eq!((result.lease, result.trial), (0, 3));
    let acknowledged = to_worker(wire::to_worker::Message::Acknowledged(name(3).to_wire()));
    assert_eq!(session.on_message(seconds(3), acknowledged.clone()), Ok(vec![]));
    assert_eq!(session.unacknowledged(), 0);
    assert_eq!(session.on_message(seconds(3), acknowledged), Ok(vec![]));
    session.on_disconnected(seconds(4));
    assert_eq!(sent(&up(&mut session, seconds(5), 6)).len(), 1);
}

#[test]
fn leases_outlive_a_connection_but_not_their_coordinator() {
    let mut session = session_with(PATIENCE);
    up(&mut session, WorkerTime::ZERO, 5);
    let [a, b] = [7, 8].map(|id| compute(&mut session, WorkerTime::ZERO, id));
    session.on_disconnected(seconds(1));
    let hello = connect(&mut session, seconds(2));
    assert_eq!((hello.epoch, &hello.held[..]), (5, &[7, 8][..]));
    // Meanwhile, the coordinator has granted one of them to another worker.
    let told = session.on_message(seconds(2), welcome(5, &[8])).unwrap();
    assert_eq!(told[0], Instruction::Cancel { ticket: a });
    assert_eq!(session.held(), [8]);
    // Its result still counts, but under no lease, and its end is not reported.
    let late = session.on_output(seconds(3), output(a, 1));
    assert!(matches!(sent(&late)[..], [Message::Trial(result)] if result.lease == 0));
    assert_eq!(session.on_output(seconds(3), PoolOutput::HandedBack { ticket: a }), []);
    let end = session.on_output(seconds(3), PoolOutput::Finished { ticket: b });
    assert!(matches!(sent(&end)[..], [Message::Finished(wire::Finished { lease: 8 })]));
    // A lease of another coordinator process with an old number is another lease.
    session.on_disconnected(seconds(4));
    up(&mut session, seconds(5), 6);
    assert_eq!(session.held(), [0; 0]);
    compute(&mut session, seconds(5), 7);
}

#[test]
fn attempts_to_connect_come_later_and_later_until_it_gives_up() {
    let mut session = session_with(PATIENCE);
    let mut waits = Vec::new();
    let mut now = WorkerTime::ZERO;
    let end = loop {
        let due = session.wake_up().unwrap();
        waits.push(due - now);
        now = due;
        match &session.on_time(now)[..] {
            [Instruction::Connect { .. }] => assert_eq!(session.on_disconnected(now), []),
            [Instruction::Stop(end)] => break end.clone(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(end, SessionEnd::GaveUp { after: PATIENCE.give_up_after, undelivered: 0 });
    assert!(waits[1] >= SHORTEST_WAIT / 2 && waits[1] < SHORTEST_WAIT, "{waits:?}");
    assert!(waits.iter().all(|wait| *wait <= LONGEST_WAIT), "{waits:?}");
    assert!(waits.len() > 60 && waits.len() < 140, "{} attempts in 10 minutes", waits.len());
    // Two workers with different seeds wait for different times.
    let other = Session::new(session.introduction.clone(), PATIENCE, 2);
    let wait = |mut session: Session| {
        session.on_disconnected(WorkerTime::ZERO);
        session.wake_up()
    };
    assert_ne!(wait(other), wait(session_with(PATIENCE)));
}

#[test]
fn a_coordinator_that_does_not_welcome_is_hung_up_on() {
    let mut session = session_with(PATIENCE);
    connect(&mut session, WorkerTime::ZERO);
    assert_eq!(session.wake_up(), Some(WELCOME_WITHIN));
    assert_eq!(session.on_time(WELCOME_WITHIN), [Instruction::Disconnect]);
    assert!(session.wake_up().unwrap() > WELCOME_WITHIN);
}

#[test]
fn heartbeats_say_what_is_held_and_results_unheard_of_are_sent_again() {
    let mut session = session_with(PATIENCE);
    up(&mut session, WorkerTime::ZERO, 5);
    let ticket = compute(&mut session, WorkerTime::ZERO, 9);
    session.on_output(WorkerTime::ZERO, output(ticket, 0));
    let mut resent = Vec::new();
    for second in 1..=150 {
        let now = session.wake_up().unwrap();
        assert_eq!(now, seconds(second));
        let instructions = session.on_time(now);
        let [Message::Heartbeat(beat), more @ ..] = &sent(&instructions)[..] else { panic!() };
        assert_eq!((&beat.held[..], beat.last), (&[9][..], 9));
        resent.extend(more.iter().map(|_| second));
    }
    assert_eq!(resent, [20, 60, 140]);
}

#[test]
fn a_worker_that_leaves_hands_back_what_it_has_not_begun_and_delivers_the_rest() {
    let mut session = session_with(PATIENCE);
    up(&mut session, WorkerTime::ZERO, 5);
    let ticket = compute(&mut session, WorkerTime::ZERO, 1);
    let told = session.drain(seconds(1), "it was told to");
    assert!(matches!(&told[..], [Instruction::Send(Message::Draining(_)), Instruction::Cancel { .. }]));
    assert_eq!(session.drain(seconds(1), "again"), []);
    // A lease that was on its way is handed back at once.
    let refused = session.on_message(seconds(1), lease(2)).unwrap();
    assert!(matches!(sent(&refused)[..], [Message::HandedBack(wire::HandedBack { lease: 2 })]));
    session.on_output(seconds(2), output(ticket, 0));
    let end = session.on_output(seconds(2), PoolOutput::HandedBack { ticket });
    assert!(matches!(sent(&end)[..], [Message::HandedBack(wire::HandedBack { lease: 1 })]));
    let acknowledged = to_worker(wire::to_worker::Message::Acknowledged(name(0).to_wire()));
    let stop = session.on_message(seconds(3), acknowledged).unwrap();
    assert_eq!(stop, [Instruction::Stop(SessionEnd::Drained { reason: "it was told to".into() })]);
}

#[test]
fn a_worker_that_leaves_does_not_wait_for_ever_for_a_coordinator() {
    let mut session = session_with(PATIENCE);
    up(&mut session, WorkerTime::ZERO, 5);
    let ticket = compute(&mut session, WorkerTime::ZERO, 1);
    session.on_disconnected(seconds(1));
    session.on_output(seconds(1), output(ticket, 0));
    session.on_output(seconds(1), PoolOutput::Finished { ticket });
    session.drain(seconds(2), "it was told to");
    let (end, now) = loop {
        let now = session.wake_up().unwrap();
        match session.on_time(now).pop() {
            Some(Instruction::Stop(end)) => break (end, now),
            _ => session.on_disconnected(now),
        };
    };
    assert_eq!(end, SessionEnd::GaveUp { after: LEAVE_WITHIN, undelivered: 1 });
    assert_eq!(now, seconds(2) + LEAVE_WITHIN);
}

#[test]
fn limits_of_time_and_idleness_are_kept() {
    let limits = Patience { idle_timeout: Some(seconds(3)), time_limit: Some(seconds(20)), ..PATIENCE };
    let mut session = session_with(limits);
    up(&mut session, WorkerTime::ZERO, 5);
    let ticket = compute(&mut session, seconds(1), 1);
    // A busy worker is not idle.
    assert!(!sent(&session.on_time(seconds(10))).iter().any(|sent| matches!(sent, Message::Draining(_))));
    session.on_output(seconds(10), PoolOutput::Finished { ticket });
    let last = session.on_time(seconds(13)).pop();
    assert!(
        matches!(last, Some(Instruction::Stop(SessionEnd::Drained { reason })) if reason.contains("no work for its idle timeout"))
    );

    let mut session = session_with(limits);
    up(&mut session, WorkerTime::ZERO, 5);
    let ticket = compute(&mut session, seconds(1), 1);
    let told = session.on_time(seconds(20));
    assert!(told.contains(&Instruction::Cancel { ticket }), "{told:?}");
    let last = session.on_output(seconds(21), PoolOutput::HandedBack { ticket }).pop();
    assert!(
        matches!(last, Some(Instruction::Stop(SessionEnd::Drained { reason })) if reason.contains("time limit"))
    );
}

#[test]
fn nothing_is_computed_without_end_while_nobody_acknowledges() {
    let mut session = session_with(PATIENCE);
    up(&mut session, WorkerTime::ZERO, 5);
    let ticket = compute(&mut session, WorkerTime::ZERO, 1);
    for trial in 0..4 {
        assert!(!session.is_full());
        let result = TrialResult::new(name(trial), vec![0; MOST_UNACKNOWLEDGED / 4]);
        session.on_output(WorkerTime::ZERO, PoolOutput::Trial { ticket, result });
    }
    assert!(session.is_full());
    let acknowledged = to_worker(wire::to_worker::Message::Acknowledged(name(2).to_wire()));
    session.on_message(WorkerTime::ZERO, acknowledged).unwrap();
    assert!(!session.is_full());
}

#[test]
fn a_lease_that_makes_no_sense_is_refused_under_its_number() {
    let mut session = session_with(PATIENCE);
    up(&mut session, WorkerTime::ZERO, 5);
    let lease = wire::Lease { id: 9, work: None };
    let told =
        session.on_message(WorkerTime::ZERO, to_worker(wire::to_worker::Message::Lease(lease))).unwrap();
    let [Message::Failed(failed)] = sent(&told)[..] else { panic!("{told:?}") };
    assert_eq!((failed.lease, failed.reason.as_str()), (9, "the message has no work"));
}

#[test]
fn a_lease_before_the_welcome_is_none() {
    let mut session = session_with(PATIENCE);
    connect(&mut session, WorkerTime::ZERO);
    assert_eq!(session.on_message(WorkerTime::ZERO, lease(1)), Ok(vec![]));
    let nonsense = to_worker(wire::to_worker::Message::Lease(wire::Lease { id: 2, work: None }));
    assert_eq!(session.on_message(WorkerTime::ZERO, nonsense), Ok(vec![]));
    assert_eq!(session.held(), [0; 0]);
}

#[test]
fn an_empty_message_is_an_error() {
    let empty = session_with(PATIENCE).on_message(WorkerTime::ZERO, wire::ToWorker { message: None });
    assert_eq!(empty, Err(WireError::Missing("message")));
}

/// Returns all messages that remain to be sent in parts.
fn parts(session: &mut Session, now: WorkerTime) -> Vec<Message> {
    std::iter::from_fn(|| session.next_part(now)).collect()
}

fn large(ticket: u64, trial: u32) -> PoolOutput {
    PoolOutput::Trial { ticket, result: TrialResult::new(name(trial), vec![7; 10]) }
}

#[test]
fn a_large_result_goes_in_parts_which_nothing_but_the_end_of_its_lease_waits_for() {
    let mut session = session_with(PATIENCE).with_parts_of(4);
    up(&mut session, WorkerTime::ZERO, 5);
    let [a, b] = [7, 8].map(|id| compute(&mut session, WorkerTime::ZERO, id));
    assert_eq!(session.on_output(WorkerTime::ZERO, large(a, 1)), []);
    let Some(Message::Trial(announced)) = session.next_part(WorkerTime::ZERO) else {
        panic!("no announcement")
    };
    assert_eq!((announced.lease, announced.length, announced.spikes.len()), (7, 10, 0));
    assert!(matches!(session.next_part(WorkerTime::ZERO), Some(Message::Part(part)) if part.offset == 0));
    // Other messages overtake it.
    assert!(matches!(sent(&session.on_output(WorkerTime::ZERO, output(b, 2)))[..], [Message::Trial(_)]));
    assert_eq!(session.on_output(WorkerTime::ZERO, PoolOutput::Finished { ticket: a }), []);
    let beat = session.on_time(seconds(1));
    assert!(matches!(sent(&beat)[..], [Message::Heartbeat(beat)] if beat.held == [7, 8]), "{beat:?}");
    let rest = parts(&mut session, seconds(1));
    let [Message::Part(second), Message::Part(third), Message::Finished(end)] = &rest[..] else {
        panic!("{rest:?}")
    };
    assert_eq!((second.offset, third.offset, third.spikes.len(), end.lease), (4, 8, 2, 7));
    assert!(matches!(sent(&session.on_time(seconds(2)))[..], [Message::Heartbeat(beat)] if beat.held == [8]));
}

#[test]
fn a_large_result_begins_anew_on_every_connection_and_after_a_while() {
    let mut session = session_with(PATIENCE).with_parts_of(4);
    up(&mut session, WorkerTime::ZERO, 5);
    let ticket = compute(&mut session, WorkerTime::ZERO, 7);
    session.on_output(WorkerTime::ZERO, large(ticket, 1));
    session.on_output(WorkerTime::ZERO, PoolOutput::Finished { ticket });
    session.next_part(WorkerTime::ZERO);
    session.next_part(WorkerTime::ZERO);
    session.on_disconnected(seconds(1));
    assert!(!session.has_parts());
    // The worker holds the lease until the last part is sent.
    assert_eq!(connect(&mut session, seconds(2)).held, [7]);
    let again = session.on_message(seconds(2), welcome(5, &[7])).unwrap();
    assert_eq!(again, []);
    let all = parts(&mut session, seconds(2));
    let [Message::Trial(_), Message::Part(_), Message::Part(_), Message::Part(_), Message::Offered(_)] =
        &all[..]
    else {
        panic!("{all:?}")
    };
    session.on_time(seconds(3));
    assert!(!session.has_parts());
    session.on_time(seconds(2 + u64::from(RESEND_AFTER)));
    assert_eq!(parts(&mut session, seconds(30)).len(), 4);
    // A result that is acknowledged while it is being sent is not sent to its end.
    session.on_disconnected(seconds(31));
    connect(&mut session, seconds(32));
    session.on_message(seconds(32), welcome(5, &[7])).unwrap();
    session.next_part(seconds(32));
    let acknowledged = to_worker(wire::to_worker::Message::Acknowledged(name(1).to_wire()));
    session.on_message(seconds(32), acknowledged).unwrap();
    assert!(matches!(parts(&mut session, seconds(33))[..], [Message::Offered(_)]));
}

#[test]
fn that_a_trial_has_no_result_is_said_until_it_is_acknowledged() {
    let mut session = session_with(PATIENCE);
    up(&mut session, WorkerTime::ZERO, 5);
    let ticket = compute(&mut session, WorkerTime::ZERO, 7);
    let said = session
        .on_output(WorkerTime::ZERO, PoolOutput::NoResult { ticket, name: name(4), why: NoResult::TooLarge });
    assert!(matches!(sent(&said)[..], [Message::NoResult(of)] if (of.lease, of.trial) == (7, 4)));
    session.on_disconnected(seconds(1));
    let again = up(&mut session, seconds(2), 5);
    assert!(matches!(sent(&again)[..], [Message::NoResult(_), Message::Offered(_)]), "{again:?}");
    let acknowledged = to_worker(wire::to_worker::Message::Acknowledged(name(4).to_wire()));
    session.on_message(seconds(3), acknowledged).unwrap();
    assert_eq!(session.unacknowledged(), 0);
}
