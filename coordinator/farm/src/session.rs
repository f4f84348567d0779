//! The worker's half of the protocol: a pure state machine.
//!
//! The caller passes each event to a [`Session`] with the time at which it happened. The session returns instructions,
//! in order. It has no clock, no IO and no async code, so simulations run thousands of histories with faults.
//!
//! Results that are too large for one message are sent in parts. The sender asks for each of them
//! ([`Session::next_part`]), so heartbeats and small results never wait for parts. Messages that end a lease must not
//! overtake its results, so they wait in the same queue.
//!
//! A session keeps each result until a coordinator has acknowledged it, through any number of connections, and offers
//! it again on each. Computing continues while there is no connection.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use granule_engine::{Engines, NoResult};
use granule_proto::convert::{TrialName, TrialResult, WireError, WireWork, engine_to_wire};
use granule_proto::parts::PART;
use granule_proto::{PROTOCOL, wire};
use granule_text::from_outside;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

/// Time since the worker started.
pub type WorkerTime = Duration;

/// An instruction to the caller.
#[derive(Debug, PartialEq)]
pub enum Instruction {
    /// Open a connection, and send this hello first.
    Connect {
        hello: wire::Hello,
    },
    Disconnect,
    Send(wire::from_worker::Message),
    Compute {
        /// Identifies this piece of work to the pool; never used twice.
        ticket: u64,
        work: WireWork,
    },
    /// Compute no more of this piece of work than has been started.
    Cancel {
        ticket: u64,
    },
    /// End the worker: it has nothing more to do.
    Stop(SessionEnd),
}

/// Why a worker ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionEnd {
    /// The coordinator sent a goodbye.
    Goodbye {
        /// The coordinator's reason.
        reason: String,
    },
    /// The coordinator refused the worker.
    Refused {
        /// The coordinator's reason.
        reason: String,
    },
    /// The worker drained: it has delivered everything.
    Drained {
        /// The worker's own reason.
        reason: String,
    },
    /// No coordinator could be reached for too long.
    GaveUp {
        /// How long the worker tried.
        after: Duration,
        /// Number of results that no coordinator has acknowledged.
        undelivered: usize,
    },
}

/// An output of the worker's pool of threads.
#[derive(Debug)]
pub enum PoolOutput {
    /// The result of a trial.
    Trial {
        /// The ticket of its [`Instruction::Compute`].
        ticket: u64,
        result: TrialResult,
    },
    /// A trial has no result.
    NoResult {
        /// The ticket of its [`Instruction::Compute`].
        ticket: u64,
        name: TrialName,
        why: NoResult,
    },
    /// The findings of a survey.
    Survey {
        /// The ticket of its [`Instruction::Compute`].
        ticket: u64,
        /// One finding for each part.
        findings: Vec<u32>,
    },
    /// All results of a piece of work have been output.
    Finished {
        /// The ticket of its [`Instruction::Compute`].
        ticket: u64,
    },
    /// A piece of work was cancelled. The results of everything that had been started have been output.
    HandedBack {
        /// The ticket of its [`Instruction::Compute`].
        ticket: u64,
    },
    /// A piece of work cannot be computed, or not to its end.
    Failed {
        /// The ticket of its [`Instruction::Compute`].
        ticket: u64,
        reason: String,
    },
}

/// The worker's description of itself.
#[derive(Clone, Debug)]
pub struct Introduction {
    pub version: String,
    pub engines: Engines,
    /// Number of leases that it computes in parallel.
    pub threads: u32,
    pub host: String,
    pub process_id: u32,
    /// Distinguishes this process from all others, on any connection.
    pub name: [u8; 16],
    /// Versions that the user's program reports, by package.
    pub packages: BTreeMap<String, String>,
}

/// When a worker ends by itself.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// After this time without a coordinator.
    pub give_up_after: Duration,
    /// After this time without work.
    pub idle_timeout: Option<Duration>,
    /// At this time after its start.
    pub time_limit: Option<Duration>,
}

/// The first wait before the next attempt to connect, and the longest. Each wait is about twice the one before.
const SHORTEST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Limit on the time until a connection is open and the welcome has arrived.
const WELCOME_WITHIN: Duration = Duration::from_secs(60);

/// How long a worker that leaves tries to reach a coordinator to deliver to.
const LEAVE_WITHIN: Duration = Duration::from_secs(5);

/// Heartbeats after which an unacknowledged result is sent again. The number doubles each time, because repeats do not
/// help a coordinator that stores slowly.
const RESEND_AFTER: u32 = 20;
const MOST_DOUBLINGS: u32 = 5;

/// Bytes of unacknowledged results at which no more work is computed.
const MOST_UNACKNOWLEDGED: usize = 64 << 20;

/// A worker's exchange with a coordinator, over any number of connections.
#[derive(Debug)]
pub struct Session {
    introduction: Introduction,
    patience: Patience,
    /// Randomizes the waits between attempts to connect.
    jitter: Pcg64Mcg,
    line: ConnectionState,
    /// Identifies the coordinator process that granted the leases.
    epoch: u64,
    /// The highest number of a lease that has arrived in this epoch.
    last_lease: u64,
    last_ticket: u64,
    /// The work that the pool has, with the lease of each piece; `None` if the lease is void.
    tickets: BTreeMap<u64, Option<u64>>,
    unacknowledged: BTreeMap<TrialName, Offer>,
    unacknowledged_bytes: usize,
    /// Most bytes of spikes in a message.
    part: usize,
    /// Results that are to be sent in parts on this connection, and messages that must not overtake them.
    queue: VecDeque<Queued>,
    /// How many bytes of the first of them have been sent; `None` before its announcement.
    sent_of_first: Option<usize>,
    /// Since when the worker has had no work.
    idle_since: Option<WorkerTime>,
    /// Why the worker leaves, and since when.
    draining: Option<(String, WorkerTime)>,
}

#[derive(Clone, Copy, Debug)]
enum ConnectionState {
    /// No connection is open.
    Down {
        /// Since when no coordinator has welcomed the worker.
        since: WorkerTime,
        attempts: u32,
        next: WorkerTime,
    },
    /// A connection is being opened, or has no welcome yet.
    Greeting { since: WorkerTime, attempts: u32, begun: WorkerTime },
    /// The coordinator has welcomed the worker.
    Up { heartbeat: Duration, next: WorkerTime },
}

/// A message that is sent when no other message waits.
#[derive(Debug)]
enum Queued {
    /// A result in parts.
    Result(TrialName),
    Message(wire::from_worker::Message),
}

#[derive(Debug)]
enum TrialOutcome {
    Result(TrialResult),
    None(NoResult),
}

/// An outcome of a trial that has not been acknowledged.
#[derive(Debug)]
struct Offer {
    lease: u64,
    outcome: TrialOutcome,
    /// When it was last sent on this connection, to its last part.
    sent: Option<WorkerTime>,
    /// How often it was sent again on this connection.
    repeats: u32,
}

impl Session {
    /// Makes a session that first asks for a connection. The seed determines the waits between attempts.
    pub fn new(introduction: Introduction, patience: Patience, seed: u64) -> Session {
        Session {
            introduction,
            patience,
            jitter: Pcg64Mcg::seed_from_u64(seed),
            line: ConnectionState::Down { since: WorkerTime::ZERO, attempts: 0, next: WorkerTime::ZERO },
            epoch: 0,
            last_lease: 0,
            last_ticket: 0,
            tickets: BTreeMap::new(),
            unacknowledged: BTreeMap::new(),
            unacknowledged_bytes: 0,
            part: PART,
            queue: VecDeque::new(),
            sent_of_first: None,
            idle_since: Some(WorkerTime::ZERO),
            draining: None,
        }
    }

    /// Sends results of more than `bytes` bytes in parts of this size. For tests, because their results are small.
    #[must_use]
    pub fn with_parts_of(mut self, bytes: usize) -> Session {
        self.part = bytes;
        self
    }

    /// Whether [`Session::next_part`] has a message.
    pub fn has_parts(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Returns the next message to send when no other message waits.
    pub fn next_part(&mut self, now: WorkerTime) -> Option<wire::from_worker::Message> {
        use wire::from_worker::Message;
        loop {
            let name = match self.queue.pop_front()? {
                Queued::Message(message) => return Some(message),
                Queued::Result(name) => name,
            };
            let at = self.sent_of_first.take();
            // It may have been acknowledged meanwhile, because another worker has delivered it.
            let Some(offer) = self.unacknowledged.get_mut(&name) else { continue };
            let TrialOutcome::Result(result) = &offer.outcome else { continue };
            let Some(at) = at else {
                self.sent_of_first = Some(0);
                self.queue.push_front(Queued::Result(name));
                return Some(Message::Trial(result.announcement(offer.lease)));
            };
            let Some((part, next)) = result.part(at, self.part) else {
                // A shorter result has taken its place. It is sent again after a while.
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

    /// Returns the message if no parts wait, and queues it behind them otherwise.
    fn queue(&mut self, message: wire::from_worker::Message) -> Option<Instruction> {
        if self.queue.is_empty() {
            return Some(Instruction::Send(message));
        }
        self.queue.push_back(Queued::Message(message));
        None
    }

    /// Returns the number of unacknowledged results.
    pub fn unacknowledged(&self) -> usize {
        self.unacknowledged.len()
    }

    /// Whether too much is unacknowledged to take more outputs from the pool.
    pub fn is_full(&self) -> bool {
        self.unacknowledged_bytes >= MOST_UNACKNOWLEDGED
    }

    /// Returns why the worker leaves, if it does.
    pub fn leaves(&self) -> Option<&str> {
        self.draining.as_ref().map(|(reason, _)| reason.as_str())
    }

    /// Whether a coordinator has welcomed the worker on this connection.
    pub fn is_up(&self) -> bool {
        matches!(self.line, ConnectionState::Up { .. })
    }

    /// Returns the time at which [`Session::on_time`] is due, if no other event comes first.
    pub fn wake_up(&self) -> Option<WorkerTime> {
        let of_line = match self.line {
            ConnectionState::Down { since, next, .. } => Some(next.min(since + self.patience.give_up_after)),
            ConnectionState::Greeting { begun, .. } => Some(begun + WELCOME_WITHIN),
            ConnectionState::Up { next, .. } => Some(next),
        };
        let limit = self.patience.time_limit.filter(|_| self.draining.is_none());
        let leave = match (&self.draining, self.is_up()) {
            (Some((_, since)), false) => Some(*since + LEAVE_WITHIN),
            _ => None,
        };
        [of_line, limit, self.idle_until(), leave].into_iter().flatten().min()
    }

    fn idle_until(&self) -> Option<WorkerTime> {
        let may_leave = self.draining.is_none() && self.is_up();
        Some(self.idle_since? + self.patience.idle_timeout.filter(|_| may_leave)?)
    }

    fn hello(&self) -> wire::Hello {
        let Introduction { version, engines, threads, host, process_id, name, packages } =
            self.introduction.clone();
        let package = |(name, version)| wire::Package { name, version };
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
            packages: packages.into_iter().map(package).collect(),
        }
    }

    /// Handles the end of a connection, or a failed attempt. The next attempt follows after a wait.
    pub fn on_disconnected(&mut self, now: WorkerTime) -> Vec<Instruction> {
        let (since, attempts) = match self.line {
            ConnectionState::Up { .. } => (now, 0),
            ConnectionState::Down { since, attempts, .. }
            | ConnectionState::Greeting { since, attempts, .. } => (since, attempts),
        };
        self.unacknowledged.values_mut().for_each(|offer| (offer.sent, offer.repeats) = (None, 0));
        self.queue.clear();
        self.sent_of_first = None;
        let wait = LONGEST_WAIT.min(SHORTEST_WAIT * 2_u32.saturating_pow(attempts.min(16)));
        let wait = wait.mul_f64(self.jitter.random_range(0.5..1.0));
        self.line = ConnectionState::Down { since, attempts: attempts + 1, next: now + wait };
        self.settle(now).into_iter().collect()
    }

    /// Handles a message of the coordinator.
    ///
    /// # Errors
    /// If it is malformed.
    pub fn on_message(
        &mut self,
        now: WorkerTime,
        message: wire::ToWorker,
    ) -> Result<Vec<Instruction>, WireError> {
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
                let end =
                    if refused { SessionEnd::Refused { reason } } else { SessionEnd::Goodbye { reason } };
                instructions.push(Instruction::Stop(end));
            }
        }
        instructions.extend(self.settle(now));
        Ok(instructions)
    }

    fn on_welcome(&mut self, now: WorkerTime, welcome: &wire::Welcome, instructions: &mut Vec<Instruction>) {
        if !matches!(self.line, ConnectionState::Greeting { .. }) {
            return;
        }
        let heartbeat = Duration::from_millis(welcome.heartbeat_ms.max(1).into());
        self.line = ConnectionState::Up { heartbeat, next: now + heartbeat };
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
        // Before the welcome, the worker may send nothing except its hello, and the welcome does not list this lease.
        if !self.is_up() || self.held().contains(&id) {
            return;
        }
        if self.draining.is_some() {
            return instructions.push(Instruction::Send(handed_back(id)));
        }
        match WireWork::from_wire(self.introduction.engines, work) {
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

    /// Handles an output of the pool.
    pub fn on_output(&mut self, now: WorkerTime, output: PoolOutput) -> Vec<Instruction> {
        use wire::from_worker::Message;
        let lease_of = |ticket: &u64| self.tickets.get(ticket).copied().flatten();
        // A message that ends a lease must not overtake the lease's results.
        let is_end = !matches!(
            output,
            PoolOutput::Trial { .. } | PoolOutput::NoResult { .. } | PoolOutput::Survey { .. }
        );
        let message = match output {
            PoolOutput::Trial { ticket, result } => {
                let lease = lease_of(&ticket).unwrap_or(0);
                self.offer(now, lease, result.name, TrialOutcome::Result(result))
            }
            PoolOutput::NoResult { ticket, name, why } => {
                let lease = lease_of(&ticket).unwrap_or(0);
                self.offer(now, lease, name, TrialOutcome::None(why))
            }
            PoolOutput::Survey { ticket, findings } => {
                let lease = lease_of(&ticket);
                if !self.is_up() {
                    // Counting again is cheaper than keeping the findings, so the lease is not held any more.
                    self.tickets.entry(ticket).and_modify(|lease| *lease = None);
                }
                lease.map(|lease| Message::Survey(wire::SurveyResult { lease, findings }))
            }
            PoolOutput::Finished { ticket } => {
                let lease = self.tickets.remove(&ticket).flatten();
                lease.map(|lease| Message::Finished(wire::Finished { lease }))
            }
            PoolOutput::HandedBack { ticket } => self.tickets.remove(&ticket).flatten().map(handed_back),
            PoolOutput::Failed { ticket, reason } => {
                self.tickets.remove(&ticket).flatten().map(|lease| failed(lease, reason))
            }
        };
        if self.tickets.is_empty() && self.idle_since.is_none() {
            self.idle_since = Some(now);
        }
        let mut instructions = Vec::new();
        // A message that is not sent now is offered after the next welcome, or follows from the leases that are held.
        if let Some(message) = message.filter(|_| self.is_up()) {
            instructions.extend(if is_end { self.queue(message) } else { Some(Instruction::Send(message)) });
        }
        instructions.extend(self.settle(now));
        instructions
    }

    /// Keeps the outcome of a trial. Returns its message, if it fits into one.
    fn offer(
        &mut self,
        now: WorkerTime,
        lease: u64,
        name: TrialName,
        outcome: TrialOutcome,
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

    /// Handles the passing of time.
    pub fn on_time(&mut self, now: WorkerTime) -> Vec<Instruction> {
        let mut instructions = Vec::new();
        match self.line {
            ConnectionState::Down { since, .. } if since + self.patience.give_up_after <= now => {
                let undelivered = self.unacknowledged.len();
                let end = SessionEnd::GaveUp { after: now.saturating_sub(since), undelivered };
                return vec![Instruction::Stop(end)];
            }
            ConnectionState::Down { since, attempts, next } if next <= now => {
                self.line = ConnectionState::Greeting { since, attempts, begun: now };
                instructions.push(Instruction::Connect { hello: self.hello() });
            }
            ConnectionState::Greeting { begun, .. } if begun + WELCOME_WITHIN <= now => {
                instructions.push(Instruction::Disconnect);
                instructions.extend(self.on_disconnected(now));
            }
            ConnectionState::Up { heartbeat, next } if next <= now => {
                self.line = ConnectionState::Up { heartbeat, next: now + heartbeat };
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
            instructions.extend(self.drain(now, "it had no work for its idle timeout"));
        }
        instructions.extend(self.settle(now));
        instructions
    }

    /// Starts to leave. The worker takes no more leases, finishes and delivers what it has started, and hands back the
    /// rest.
    pub fn drain(&mut self, now: WorkerTime, reason: &str) -> Vec<Instruction> {
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

    /// Ends the worker, if it leaves and has nothing left to do, or has found no coordinator in time.
    fn settle(&mut self, now: WorkerTime) -> Option<Instruction> {
        let (reason, since) = self.draining.as_ref()?;
        let undelivered = self.unacknowledged.len();
        if self.tickets.is_empty() && undelivered == 0 {
            return Some(Instruction::Stop(SessionEnd::Drained { reason: reason.clone() }));
        }
        let after = now.saturating_sub(*since);
        let is_late = !self.is_up() && after >= LEAVE_WITHIN;
        is_late.then_some(Instruction::Stop(SessionEnd::GaveUp { after, undelivered }))
    }

    /// Returns the leases that the pool computes, and those with results in parts whose last part has not been sent.
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
            TrialOutcome::Result(result) => result.spikes.len(),
            TrialOutcome::None(_) => 0,
        }
    }

    /// Returns the message of the outcome; `None` if it needs several, because a message has at most `most` bytes of
    /// spikes.
    fn message(&self, name: TrialName, most: usize) -> Option<wire::from_worker::Message> {
        use wire::from_worker::Message;
        match &self.outcome {
            TrialOutcome::Result(result) if result.spikes.len() > most => None,
            TrialOutcome::Result(result) => Some(Message::Trial(result.to_wire(self.lease))),
            TrialOutcome::None(why) => Some(Message::NoResult(name.no_result(self.lease, why))),
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
