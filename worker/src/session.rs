//! The worker's half of the protocol: a pure state machine.
//!
//! What arrives, from the coordinator or from the pool, is handed to a [`Session`], which answers
//! with what to send, compute or end. It keeps every result until it is acknowledged.

use std::collections::BTreeMap;

use granule_proto::convert::{TrialName, TrialResult, WireError, Work, engine_to_wire};
use granule_proto::{PROTOCOL, wire};
use granule_sim::Engine;

use crate::pool::Output;

/// Something to be done.
#[derive(Debug, PartialEq)]
pub enum Instruction {
    /// Send this to the coordinator.
    Send(wire::from_worker::Message),
    /// Compute this.
    Compute {
        /// The lease it is computed under.
        lease: u64,
        /// What is to be computed.
        work: Work,
    },
    /// Send heartbeats this often.
    HeartbeatEvery {
        /// Milliseconds between two.
        milliseconds: u32,
    },
    /// The coordinator needs nothing more.
    Stop {
        /// What the coordinator said.
        reason: String,
    },
}

/// What a worker says of itself.
#[derive(Clone, Debug)]
pub struct Introduction {
    /// Version of the program.
    pub version: String,
    /// Leases computed side by side.
    pub threads: u32,
    /// Name of the machine.
    pub host: String,
    /// Process id.
    pub process_id: u32,
}

/// A conversation with a coordinator.
#[derive(Debug)]
pub struct Session {
    introduction: Introduction,
    unacknowledged: BTreeMap<TrialName, (u64, TrialResult)>,
}

impl Session {
    /// A session that has not begun.
    pub fn new(introduction: Introduction) -> Session {
        Session { introduction, unacknowledged: BTreeMap::new() }
    }

    /// What to send on a new connection: who we are, then every result that no coordinator has
    /// acknowledged.
    pub fn on_connected(&self) -> Vec<Instruction> {
        let Introduction { version, threads, host, process_id } = self.introduction.clone();
        let hello = wire::Hello {
            protocol: PROTOCOL,
            version,
            engines: Engine::ALL.iter().copied().map(engine_to_wire).collect(),
            threads,
            host,
            process_id,
        };
        let results = self.unacknowledged.values().map(|(lease, result)| {
            Instruction::Send(wire::from_worker::Message::Trial(result.to_wire(*lease)))
        });
        std::iter::once(Instruction::Send(wire::from_worker::Message::Hello(hello))).chain(results).collect()
    }

    /// Takes in a message of the coordinator.
    ///
    /// # Errors
    /// When it makes no sense.
    pub fn on_message(&mut self, message: wire::ToWorker) -> Result<Option<Instruction>, WireError> {
        use wire::to_worker::Message;
        Ok(match message.message.ok_or(WireError::Missing("message"))? {
            Message::Welcome(wire::Welcome { heartbeat_ms }) => {
                Some(Instruction::HeartbeatEvery { milliseconds: heartbeat_ms.max(1) })
            }
            Message::Lease(wire::Lease { id, work }) => Some(match Work::from_wire(work) {
                Ok(work) => Instruction::Compute { lease: id, work },
                Err(error) => failed(id, error.to_string()),
            }),
            Message::Acknowledged(acknowledged) => {
                self.unacknowledged.remove(&TrialName::from_wire(acknowledged)?);
                None
            }
            Message::Goodbye(wire::Goodbye { reason }) => Some(Instruction::Stop { reason }),
        })
    }

    /// Takes in what the pool has computed.
    pub fn on_output(&mut self, output: Output) -> Instruction {
        use wire::from_worker::Message;
        match output {
            Output::Trial { lease, result } => {
                let message = Message::Trial(result.to_wire(lease));
                self.unacknowledged.insert(result.name, (lease, result));
                Instruction::Send(message)
            }
            Output::Survey { lease, accepted } => {
                Instruction::Send(Message::Survey(wire::SurveyResult { lease, accepted }))
            }
            Output::Finished { lease } => Instruction::Send(Message::Finished(wire::Finished { lease })),
            Output::Failed { lease, reason } => failed(lease, reason),
        }
    }

    /// Results that have not been acknowledged.
    pub fn unacknowledged(&self) -> usize {
        self.unacknowledged.len()
    }
}

fn failed(lease: u64, reason: String) -> Instruction {
    Instruction::Send(wire::from_worker::Message::Failed(wire::Failed { lease, reason }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use granule_sweep::key::Fingerprint;

    fn session() -> Session {
        Session::new(Introduction { version: "1".into(), threads: 2, host: "here".into(), process_id: 7 })
    }

    fn to_worker(message: wire::to_worker::Message) -> wire::ToWorker {
        wire::ToWorker { message: Some(message) }
    }

    #[test]
    fn a_result_is_kept_until_it_is_acknowledged() {
        let mut session = session();
        let name = TrialName { fingerprint: Fingerprint([1; 32]), seed: 2, trial: 3 };
        let result = TrialResult::new(name, vec![0, 0]);
        let sent = session.on_output(Output::Trial { lease: 4, result });
        assert_eq!(session.unacknowledged(), 1);
        // On a new connection it is offered again, after hello.
        let again = session.on_connected();
        assert!(
            matches!(&again[0], Instruction::Send(wire::from_worker::Message::Hello(hello)) if hello.threads == 2)
        );
        assert_eq!(again[1..], [sent]);
        let acknowledged = to_worker(wire::to_worker::Message::Acknowledged(name.to_wire()));
        assert_eq!(session.on_message(acknowledged.clone()), Ok(None));
        assert_eq!(session.unacknowledged(), 0);
        assert_eq!(session.on_message(acknowledged), Ok(None));
        assert_eq!(session.on_connected().len(), 1);
    }

    #[test]
    fn a_lease_that_makes_no_sense_is_refused_under_its_number() {
        let lease = wire::Lease { id: 9, work: None };
        let Ok(Some(Instruction::Send(wire::from_worker::Message::Failed(failed)))) =
            session().on_message(to_worker(wire::to_worker::Message::Lease(lease)))
        else {
            panic!("not refused")
        };
        assert_eq!((failed.lease, failed.reason.as_str()), (9, "the message has no work"));
    }

    #[test]
    fn an_empty_message_is_an_error() {
        assert_eq!(
            session().on_message(wire::ToWorker { message: None }),
            Err(WireError::Missing("message"))
        );
    }
}
