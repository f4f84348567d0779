//! The worker's half of the protocol: a pure state machine.
//!
//! What happens is handed to a [`Session`] with the time at which it happened, and it answers with
//! what is to be done, in order. There is no clock, no IO and no async in here: simulations run it
//! under faults, by the thousand.
//!
//! Results that are too large for one message are sent in parts, which whoever sends them asks for one by one
//! ([`Session::next_part`]). So heartbeats and small results never wait for them. What must not overtake them,
//! as it says that a lease is finished, waits in the same line.
//!
//! It keeps every result until a coordinator has acknowledged it, through any number of connections,
//! and offers it again on each. What it computes goes on while there is none.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use granule_engine::Engines;
use granule_proto::convert::{TrialName, TrialResult, WireError, Work, engine_to_wire};
use granule_proto::parts::PART;
use granule_proto::{PROTOCOL, wire};
use granule_text::from_outside;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

/// Time since the worker started.
pub type Time = Duration;

/// Something to be done.
#[derive(Debug, PartialEq)]
pub enum Instruction {
    /// Open a connection, and say this first.
    Connect {
        /// Who we are.
        hello: wire::Hello,
    },
    /// Close the connection.
    Disconnect,
    /// Send this to the coordinator.
    Send(wire::from_worker::Message),
    /// Compute this.
    Compute {
        /// Names this piece of work to the pool; never used twice.
        ticket: u64,
        /// What is to be computed.
        work: Work,
    },
    /// Compute no more of this than what has been begun.
    Cancel {
        /// The piece of work.
        ticket: u64,
    },
    /// There is nothing more to do.
    Stop(End),
}

/// How a worker ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The coordinator said goodbye.
    Goodbye {
        /// Why.
        reason: String,
    },
    /// The coordinator does not want it.
    Refused {
        /// Why.
        reason: String,
    },
    /// It has left of its own accord, with everything delivered.
    Drained {
        /// Why.
        reason: String,
    },
    /// There was no coordinator for too long.
    GaveUp {
        /// For how long.
        after: Duration,
        /// Results that nobody has taken.
        undelivered: usize,
    },
}

/// What a pool of threads hands out.
#[derive(Debug)]
pub enum Output {
    /// A trial is done.
    Trial {
        /// The piece of work it belongs to.
        ticket: u64,
        /// Its spikes.
        result: TrialResult,
    },
    /// A trial has more spikes than can be stored.
    TooLarge {
        /// The piece of work it belongs to.
        ticket: u64,
        /// Which trial.
        name: TrialName,
    },
    /// A survey is done.
    Survey {
        /// The piece of work it belongs to.
        ticket: u64,
        /// What each part holds.
        findings: Vec<u32>,
    },
    /// Everything of a piece of work has been handed out.
    Finished {
        /// The piece of work.
        ticket: u64,
    },
    /// A piece of work was cancelled; what had been begun has been handed out.
    HandedBack {
        /// The piece of work.
        ticket: u64,
    },
    /// A piece of work cannot be computed, or not to its end.
    Failed {
        /// The piece of work.
        ticket: u64,
        /// Why.
        reason: String,
    },
}

/// What a worker says of itself.
#[derive(Clone, Debug)]
pub struct Introduction {
    /// Version of the program.
    pub version: String,
    /// Engines that it can run.
    pub engines: Engines,
    /// Leases computed side by side.
    pub threads: u32,
    /// Name of the machine.
    pub host: String,
    /// Process id.
    pub process_id: u32,
    /// Tells this process from all others, whatever connection it uses.
    pub name: [u8; 16],
}

/// When a worker ends by itself.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// So long without a coordinator.
    pub give_up_after: Duration,
    /// So long without anything to do.
    pub idle_timeout: Option<Duration>,
    /// So long after it started.
    pub time_limit: Option<Duration>,
}

/// How long to wait before the first attempt to connect again, and at most. Each wait is about twice
/// the one before.
const SHORTEST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// How long a connection and its welcome may take.
const WELCOME_WITHIN: Duration = Duration::from_secs(60);

/// How long a worker that is about to leave looks for a coordinator to deliver to.
const LEAVE_WITHIN: Duration = Duration::from_secs(5);

/// Heartbeats after which a result that was not acknowledged is sent again; each time twice as many as
/// the time before, as who is slow to store it is not helped by more of the same.
const RESEND_AFTER: u32 = 20;
const MOST_DOUBLINGS: u32 = 5;

/// Bytes of results that may wait for an acknowledgement before nothing more is computed.
const MOST_UNACKNOWLEDGED: usize = 64 << 20;

/// A conversation with a coordinator, over any number of connections.
#[derive(Debug)]
pub struct Session {
    introduction: Introduction,
    patience: Patience,
    /// Of waits.
    jitter: Pcg64Mcg,
    line: Line,
    /// The life of the coordinator that granted the leases.
    epoch: u64,
    /// The last lease that has arrived in this epoch.
    last_lease: u64,
    last_ticket: u64,
    /// What the pool is at, and the lease of each; none for what is void.
    tickets: BTreeMap<u64, Option<u64>>,
    unacknowledged: BTreeMap<TrialName, Offer>,
    unacknowledged_bytes: usize,
    /// Bytes of spikes in a part.
    part: usize,
    /// Results in parts that are to be sent on this connection, and what must not overtake them.
    queue: VecDeque<Queued>,
    /// Of the first of them, how much has been sent; none if it is not begun.
    sent_of_first: Option<usize>,
    /// Since when there has been nothing to do.
    idle_since: Option<Time>,
    /// Why we leave, and since when.
    draining: Option<(String, Time)>,
}

/// The state of the connection.
#[derive(Clone, Copy, Debug)]
enum Line {
    /// There is none.
    Down {
        /// Since when no coordinator has welcomed us.
        since: Time,
        attempts: u32,
        next: Time,
    },
    /// One is being opened, and we are saying hello.
    Greeting { since: Time, attempts: u32, begun: Time },
    /// We are welcome.
    Up { heartbeat: Duration, next: Time },
}

/// What is sent when there is nothing else to send.
#[derive(Debug)]
enum Queued {
    /// A result in parts.
    Result(TrialName),
    Message(wire::from_worker::Message),
}

/// What came of a trial.
#[derive(Debug)]
enum Outcome {
    Result(TrialResult),
    TooLarge,
}

/// What came of a trial and has not been acknowledged.
#[derive(Debug)]
struct Offer {
    lease: u64,
    outcome: Outcome,
    /// When it was sent last on this connection, to its last part.
    sent: Option<Time>,
    /// How often it was sent again on this connection.
    repeats: u32,
}

impl Session {
    /// A session that has not begun: the first thing it wants is a connection. The seed decides how
    /// long it waits between attempts.
    pub fn new(introduction: Introduction, patience: Patience, seed: u64) -> Session {
        Session {
            introduction,
            patience,
            jitter: Pcg64Mcg::seed_from_u64(seed),
            line: Line::Down { since: Time::ZERO, attempts: 0, next: Time::ZERO },
            epoch: 0,
            last_lease: 0,
            last_ticket: 0,
            tickets: BTreeMap::new(),
            unacknowledged: BTreeMap::new(),
            unacknowledged_bytes: 0,
            part: PART,
            queue: VecDeque::new(),
            sent_of_first: None,
            idle_since: Some(Time::ZERO),
            draining: None,
        }
    }

    /// Sends results of more bytes than this in parts of so many. For tests: these have no large results.
    #[must_use]
    pub fn with_parts_of(mut self, bytes: usize) -> Session {
        self.part = bytes;
        self
    }

    /// Whether [`Session::next_part`] has something.
    pub fn has_parts(&self) -> bool {
        !self.queue.is_empty()
    }

    /// What to send next when nothing else is to be sent.
    pub fn next_part(&mut self, now: Time) -> Option<wire::from_worker::Message> {
        use wire::from_worker::Message;
        loop {
            let name = match self.queue.pop_front()? {
                Queued::Message(message) => return Some(message),
                Queued::Result(name) => name,
            };
            let at = self.sent_of_first.take();
            // It may have been acknowledged meanwhile, as another worker has sent it.
            let Some(offer) = self.unacknowledged.get_mut(&name) else { continue };
            let Outcome::Result(result) = &offer.outcome else { continue };
            let Some(at) = at else {
                self.sent_of_first = Some(0);
                self.queue.push_front(Queued::Result(name));
                return Some(Message::Trial(result.announcement(offer.lease)));
            };
            let Some((part, next)) = result.part(at, self.part) else {
                // Another took its place, and is shorter. It is sent again after a while.
                offer.sent = Some(now);
                continue;
            };
            if next < result.spikes.len() {
                self.sent_of_first = Some(next);
                self.queue.push_front(Queued::Result(name));
            } else {
                offer.sent = Some(now);
            }
            return Some(Message::Part(part));
        }
    }

    /// Sends this once all parts before it are sent.
    fn queue(&mut self, message: wire::from_worker::Message) -> Option<Instruction> {
        if self.queue.is_empty() {
            return Some(Instruction::Send(message));
        }
        self.queue.push_back(Queued::Message(message));
        None
    }

    /// Results that have not been acknowledged.
    pub fn unacknowledged(&self) -> usize {
        self.unacknowledged.len()
    }

    /// Whether so much is unacknowledged that no more outputs should be taken from the pool.
    pub fn is_full(&self) -> bool {
        self.unacknowledged_bytes >= MOST_UNACKNOWLEDGED
    }

    /// Why we are about to leave, if we are.
    pub fn leaves(&self) -> Option<&str> {
        self.draining.as_ref().map(|(reason, _)| reason.as_str())
    }

    /// Whether a coordinator has welcomed us on this connection.
    pub fn is_up(&self) -> bool {
        matches!(self.line, Line::Up { .. })
    }

    /// When [`Session::on_time`] is due, if nothing happens before.
    pub fn wake_up(&self) -> Option<Time> {
        let of_line = match self.line {
            Line::Down { since, next, .. } => Some(next.min(since + self.patience.give_up_after)),
            Line::Greeting { begun, .. } => Some(begun + WELCOME_WITHIN),
            Line::Up { next, .. } => Some(next),
        };
        let limit = self.patience.time_limit.filter(|_| self.draining.is_none());
        let leave = match (&self.draining, self.is_up()) {
            (Some((_, since)), false) => Some(*since + LEAVE_WITHIN),
            _ => None,
        };
        [of_line, limit, self.idle_until(), leave].into_iter().flatten().min()
    }

    fn idle_until(&self) -> Option<Time> {
        let may_leave = self.draining.is_none() && self.is_up();
        Some(self.idle_since? + self.patience.idle_timeout.filter(|_| may_leave)?)
    }

    fn hello(&self) -> wire::Hello {
        let Introduction { version, engines, threads, host, process_id, name } = self.introduction.clone();
        wire::Hello {
            protocol: PROTOCOL,
            version,
            engines: engines.iter().map(|engine| engine_to_wire(*engine)).collect(),
            threads,
            host,
            process_id,
            name: name.to_vec(),
            epoch: self.epoch,
            held: self.held(),
        }
    }

    /// The connection has ended, or could not be opened. Another is tried after a while.
    pub fn on_disconnected(&mut self, now: Time) -> Vec<Instruction> {
        let (since, attempts) = match self.line {
            Line::Up { .. } => (now, 0),
            Line::Down { since, attempts, .. } | Line::Greeting { since, attempts, .. } => (since, attempts),
        };
        self.unacknowledged.values_mut().for_each(|offer| (offer.sent, offer.repeats) = (None, 0));
        self.queue.clear();
        self.sent_of_first = None;
        let wait = LONGEST_WAIT.min(SHORTEST_WAIT * 2_u32.saturating_pow(attempts.min(16)));
        let wait = wait.mul_f64(self.jitter.random_range(0.5..1.0));
        self.line = Line::Down { since, attempts: attempts + 1, next: now + wait };
        self.settle(now).into_iter().collect()
    }

    /// Takes in a message of the coordinator.
    ///
    /// # Errors
    /// When it makes no sense.
    pub fn on_message(&mut self, now: Time, message: wire::ToWorker) -> Result<Vec<Instruction>, WireError> {
        use wire::to_worker::Message;
        let mut instructions = Vec::new();
        match message.message.ok_or(WireError::Missing("message"))? {
            Message::Welcome(welcome) => self.on_welcome(now, &welcome, &mut instructions),
            Message::Lease(wire::Lease { id, work }) => self.on_lease(id, work, &mut instructions),
            Message::Acknowledged(acknowledged) => {
                let name = TrialName::from_wire(acknowledged)?;
                if let Some(offer) = self.unacknowledged.remove(&name) {
                    self.unacknowledged_bytes -= offer.bytes();
                }
            }
            Message::Revoked(wire::Revoked { lease }) => {
                let of_lease = self.tickets.iter().filter(|(_, of)| **of == Some(lease));
                instructions.extend(of_lease.map(|(&ticket, _)| Instruction::Cancel { ticket }));
            }
            Message::Goodbye(wire::Goodbye { reason, refused }) => {
                let reason = from_outside(&reason);
                let end = if refused { End::Refused { reason } } else { End::Goodbye { reason } };
                instructions.push(Instruction::Stop(end));
            }
        }
        instructions.extend(self.settle(now));
        Ok(instructions)
    }

    fn on_welcome(&mut self, now: Time, welcome: &wire::Welcome, instructions: &mut Vec<Instruction>) {
        if !matches!(self.line, Line::Greeting { .. }) {
            return;
        }
        let heartbeat = Duration::from_millis(welcome.heartbeat_ms.max(1).into());
        self.line = Line::Up { heartbeat, next: now + heartbeat };
        let is_same_life = welcome.epoch == self.epoch;
        if !is_same_life {
            (self.epoch, self.last_lease) = (welcome.epoch, 0);
        }
        for (&ticket, lease) in &mut self.tickets {
            if lease.is_some_and(|lease| !is_same_life || !welcome.kept.contains(&lease)) {
                *lease = None;
                instructions.push(Instruction::Cancel { ticket });
            }
        }
        for (name, offer) in &mut self.unacknowledged {
            if !is_same_life {
                offer.lease = 0;
            }
            match offer.message(*name, self.part) {
                Some(message) => {
                    offer.sent = Some(now);
                    instructions.push(Instruction::Send(message));
                }
                None => self.queue.push_back(Queued::Result(*name)),
            }
        }
        instructions.extend(self.queue(wire::from_worker::Message::Offered(wire::Offered {})));
        if let Some((reason, _)) = &self.draining {
            instructions.push(Instruction::Send(draining(reason)));
        }
    }

    fn on_lease(&mut self, id: u64, work: Option<wire::lease::Work>, instructions: &mut Vec<Instruction>) {
        self.last_lease = self.last_lease.max(id);
        // Before the welcome nothing is said but hello, and the welcome would not know of it.
        if !self.is_up() || self.held().contains(&id) {
            return;
        }
        if self.draining.is_some() {
            return instructions.push(Instruction::Send(handed_back(id)));
        }
        match Work::from_wire(self.introduction.engines, work) {
            Ok(work) => {
                self.last_ticket += 1;
                let ticket = self.last_ticket;
                self.tickets.insert(ticket, Some(id));
                self.idle_since = None;
                instructions.push(Instruction::Compute { ticket, work });
            }
            Err(error) => instructions.push(Instruction::Send(failed(id, error.to_string()))),
        }
    }

    /// Takes in what the pool has computed.
    pub fn on_output(&mut self, now: Time, output: Output) -> Vec<Instruction> {
        use wire::from_worker::Message;
        let lease_of = |ticket: &u64| self.tickets.get(ticket).copied().flatten();
        // What says that a lease is over must not overtake its results.
        let is_end =
            !matches!(output, Output::Trial { .. } | Output::TooLarge { .. } | Output::Survey { .. });
        let message = match output {
            Output::Trial { ticket, result } => {
                let lease = lease_of(&ticket).unwrap_or(0);
                self.offer(now, lease, result.name, Outcome::Result(result))
            }
            Output::TooLarge { ticket, name } => {
                let lease = lease_of(&ticket).unwrap_or(0);
                self.offer(now, lease, name, Outcome::TooLarge)
            }
            Output::Survey { ticket, findings } => {
                let lease = lease_of(&ticket);
                if !self.is_up() {
                    // Cheaper counted again than kept: the lease is not held any more.
                    self.tickets.entry(ticket).and_modify(|lease| *lease = None);
                }
                lease.map(|lease| Message::Survey(wire::SurveyResult { lease, findings }))
            }
            Output::Finished { ticket } => {
                let lease = self.tickets.remove(&ticket).flatten();
                lease.map(|lease| Message::Finished(wire::Finished { lease }))
            }
            Output::HandedBack { ticket } => self.tickets.remove(&ticket).flatten().map(handed_back),
            Output::Failed { ticket, reason } => {
                self.tickets.remove(&ticket).flatten().map(|lease| failed(lease, reason))
            }
        };
        if self.tickets.is_empty() && self.idle_since.is_none() {
            self.idle_since = Some(now);
        }
        let mut instructions = Vec::new();
        // What is not sent now is offered when we are welcome again, or follows from what we hold.
        if let Some(message) = message.filter(|_| self.is_up()) {
            instructions.extend(if is_end { self.queue(message) } else { Some(Instruction::Send(message)) });
        }
        instructions.extend(self.settle(now));
        instructions
    }

    /// Keeps what came of a trial; the message that says it, if it goes in one.
    fn offer(
        &mut self,
        now: Time,
        lease: u64,
        name: TrialName,
        outcome: Outcome,
    ) -> Option<wire::from_worker::Message> {
        let mut offer = Offer { lease, outcome, sent: None, repeats: 0 };
        let message = offer.message(name, self.part);
        if self.is_up() {
            match message {
                Some(_) => offer.sent = Some(now),
                None => self.queue.push_back(Queued::Result(name)),
            }
        }
        self.unacknowledged_bytes += offer.bytes();
        if let Some(before) = self.unacknowledged.insert(name, offer) {
            self.unacknowledged_bytes -= before.bytes();
        }
        message
    }

    /// Time has passed.
    pub fn on_time(&mut self, now: Time) -> Vec<Instruction> {
        let mut instructions = Vec::new();
        match self.line {
            Line::Down { since, .. } if since + self.patience.give_up_after <= now => {
                let undelivered = self.unacknowledged.len();
                let end = End::GaveUp { after: now.saturating_sub(since), undelivered };
                return vec![Instruction::Stop(end)];
            }
            Line::Down { since, attempts, next } if next <= now => {
                self.line = Line::Greeting { since, attempts, begun: now };
                instructions.push(Instruction::Connect { hello: self.hello() });
            }
            Line::Greeting { begun, .. } if begun + WELCOME_WITHIN <= now => {
                instructions.push(Instruction::Disconnect);
                instructions.extend(self.on_disconnected(now));
            }
            Line::Up { heartbeat, next } if next <= now => {
                self.line = Line::Up { heartbeat, next: now + heartbeat };
                let beat = wire::Heartbeat { held: self.held(), last: self.last_lease };
                instructions.push(Instruction::Send(wire::from_worker::Message::Heartbeat(beat)));
                for (name, offer) in &mut self.unacknowledged {
                    let overdue = heartbeat * (RESEND_AFTER << offer.repeats.min(MOST_DOUBLINGS));
                    if offer.sent.is_none_or(|sent| sent + overdue > now) {
                        continue;
                    }
                    offer.repeats += 1;
                    match offer.message(*name, self.part) {
                        Some(message) => {
                            offer.sent = Some(now);
                            instructions.push(Instruction::Send(message));
                        }
                        None => {
                            offer.sent = None;
                            self.queue.push_back(Queued::Result(*name));
                        }
                    }
                }
            }
            _ => {}
        }
        if self.patience.time_limit.is_some_and(|limit| limit <= now) {
            instructions.extend(self.drain(now, "its time limit is reached"));
        }
        if self.idle_until().is_some_and(|until| until <= now) {
            instructions.extend(self.drain(now, "there was nothing to do for a while"));
        }
        instructions.extend(self.settle(now));
        instructions
    }

    /// Begins to leave: no more leases; what has been begun is finished and delivered, and the rest is
    /// handed back.
    pub fn drain(&mut self, now: Time, reason: &str) -> Vec<Instruction> {
        if self.draining.is_some() {
            return Vec::new();
        }
        self.draining = Some((reason.to_owned(), now));
        let mut instructions = Vec::new();
        if self.is_up() {
            instructions.push(Instruction::Send(draining(reason)));
        }
        instructions.extend(self.tickets.keys().map(|&ticket| Instruction::Cancel { ticket }));
        instructions.extend(self.settle(now));
        instructions
    }

    /// Ends, if we are leaving and there is nothing left to do.
    fn settle(&mut self, now: Time) -> Option<Instruction> {
        let (reason, since) = self.draining.as_ref()?;
        let undelivered = self.unacknowledged.len();
        if self.tickets.is_empty() && undelivered == 0 {
            return Some(Instruction::Stop(End::Drained { reason: reason.clone() }));
        }
        let after = now.saturating_sub(*since);
        let is_late = !self.is_up() && after >= LEAVE_WITHIN;
        is_late.then_some(Instruction::Stop(End::GaveUp { after, undelivered }))
    }

    /// Leases that the pool is at, or that have results in parts of which the last is not sent.
    fn held(&self) -> Vec<u64> {
        let unsent = |offer: &&Offer| offer.lease != 0 && offer.sent.is_none() && offer.bytes() > self.part;
        let sending = self.unacknowledged.values().filter(unsent).map(|offer| offer.lease);
        let mut held: Vec<u64> = self.tickets.values().copied().flatten().chain(sending).collect();
        held.sort_unstable();
        held.dedup();
        held
    }
}

impl Offer {
    /// Bytes of its spikes.
    fn bytes(&self) -> usize {
        match &self.outcome {
            Outcome::Result(result) => result.spikes.len(),
            Outcome::TooLarge => 0,
        }
    }

    /// The message that says it; none if it takes several, as a message has so many bytes of spikes at most.
    fn message(&self, name: TrialName, most: usize) -> Option<wire::from_worker::Message> {
        use wire::from_worker::Message;
        match &self.outcome {
            Outcome::Result(result) if result.spikes.len() > most => None,
            Outcome::Result(result) => Some(Message::Trial(result.to_wire(self.lease))),
            Outcome::TooLarge => Some(Message::TooLarge(name.too_large(self.lease))),
        }
    }
}

fn failed(lease: u64, reason: String) -> wire::from_worker::Message {
    wire::from_worker::Message::Failed(wire::Failed { lease, reason })
}

fn handed_back(lease: u64) -> wire::from_worker::Message {
    wire::from_worker::Message::HandedBack(wire::HandedBack { lease })
}

fn draining(reason: &str) -> wire::from_worker::Message {
    wire::from_worker::Message::Draining(wire::Draining { reason: reason.to_owned() })
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
