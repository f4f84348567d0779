//! Converts between messages and the scheduler's types. It is pure: simulations use it, too.

use granule_engine::Engine;
use granule_proto::convert::{TrialName, TrialResult, WireError, engine_from_wire};
use granule_proto::parts::{Assembled, Assembly};
use granule_proto::{PROTOCOL, wire};
use granule_text::from_outside;

use crate::catalogue::Catalogue;
use crate::scheduler::{Command, ConnectionId, LeaseId, WorkerName};

/// A message of a worker after its welcome.
#[derive(Debug)]
pub enum Said {
    Beat {
        held: Vec<LeaseId>,
        last: Option<LeaseId>,
    },
    Offered,
    Draining {
        reason: String,
    },
    Trial {
        lease: Option<LeaseId>,
        result: TrialResult,
    },
    /// A part of a result that is not complete yet.
    Part {
        lease: Option<LeaseId>,
    },
    TooLarge {
        lease: Option<LeaseId>,
        name: TrialName,
    },
    Survey {
        lease: Option<LeaseId>,
        findings: Vec<u32>,
    },
    Finished {
        lease: Option<LeaseId>,
    },
    HandedBack {
        lease: Option<LeaseId>,
    },
    Failed {
        lease: Option<LeaseId>,
        reason: String,
    },
}

impl Said {
    /// Returns the message for further progress with a result of this lease.
    pub fn part(id: u64) -> Said {
        Said::Part { lease: lease(id) }
    }
}

/// The content of a worker's hello.
#[derive(Clone, Debug)]
pub struct WorkerHello {
    pub worker: WorkerName,
    pub threads: u32,
    pub host: String,
    pub process_id: u32,
    /// Leases of this coordinator process that the worker still holds.
    pub held: Vec<LeaseId>,
}

/// Limit on the characters of a host name, as in DNS.
const LONGEST_HOST: usize = 253;

/// Limit on the leases of a worker at a time.
const MOST_THREADS: u32 = 4096;

/// Checks whether a worker can be admitted, and returns its hello.
///
/// # Errors
/// If it cannot: a text for both sides that states what to do.
pub fn introduce(hello: wire::Hello, engine: &'static dyn Engine, epoch: u64) -> Result<WorkerHello, String> {
    let ours = env!("CARGO_PKG_VERSION");
    let theirs = from_outside(&hello.version);
    if hello.protocol != PROTOCOL {
        return Err(format!(
            "this coordinator (granule {ours}) speaks protocol {PROTOCOL}, the worker (granule {theirs}) {}; \
             run the same version on both sides",
            hello.protocol
        ));
    }
    let of_name = hello.engines.iter().filter(|theirs| theirs.name == engine.name());
    let found: Vec<Result<_, WireError>> =
        of_name.map(|theirs| engine_from_wire(&[engine], Some(theirs.clone()))).collect();
    if let [Err(WireError::Space { .. }), ..] = found[..] {
        return Err(format!(
            "engine {} has different parameters in the worker (granule {theirs}) and in this coordinator \
             (granule {ours}); run the same version on both sides",
            engine.name()
        ));
    }
    if !found.iter().any(Result::is_ok) {
        return Err(format!(
            "the worker (granule {theirs}) does not have engine {} revision {} of this coordinator (granule {ours}); \
             run the same version on both sides",
            engine.name(),
            engine.revision()
        ));
    }
    let Ok(name) = hello.name.as_slice().try_into() else {
        return Err(format!("the worker's name has {} bytes instead of 16", hello.name.len()));
    };
    let held = if hello.epoch == epoch { hello.held } else { Vec::new() };
    Ok(WorkerHello {
        worker: WorkerName(name),
        threads: hello.threads.clamp(1, MOST_THREADS),
        host: from_outside(&hello.host).chars().take(LONGEST_HOST).collect(),
        process_id: hello.process_id,
        held: leases(&held),
    })
}

/// Reads a message. Returns `None` for a second hello, and for a part without a result. Results in parts are put
/// together in the connection's assembly.
///
/// # Errors
/// If the message is malformed.
pub fn understand(message: wire::FromWorker, assembly: &mut Assembly) -> Result<Option<Said>, WireError> {
    use wire::from_worker::Message;
    Ok(Some(match message.message.ok_or(WireError::Missing("message"))? {
        Message::Hello(_) => return Ok(None),
        Message::Heartbeat(wire::Heartbeat { held, last }) => {
            Said::Beat { held: leases(&held), last: lease(last) }
        }
        Message::Offered(wire::Offered {}) => Said::Offered,
        Message::Draining(wire::Draining { reason }) => Said::Draining { reason: from_outside(&reason) },
        Message::Trial(result) if result.length > 0 => return Ok(assembled(assembly.begin(&result)?)),
        Message::Part(part) => return Ok(assembled(assembly.add(&part)?)),
        Message::TooLarge(wire::TooLarge { lease: id, fingerprint, seed, trial }) => {
            Said::TooLarge { lease: lease(id), name: TrialName::new(&fingerprint, seed, trial)? }
        }
        Message::Trial(result) => {
            Said::Trial { lease: lease(result.lease), result: TrialResult::from_wire(result)? }
        }
        Message::Survey(wire::SurveyResult { lease: id, findings }) => {
            Said::Survey { lease: lease(id), findings }
        }
        Message::Finished(wire::Finished { lease: id }) => Said::Finished { lease: lease(id) },
        Message::HandedBack(wire::HandedBack { lease: id }) => Said::HandedBack { lease: lease(id) },
        Message::Failed(wire::Failed { lease: id, reason }) => {
            Said::Failed { lease: lease(id), reason: from_outside(&reason) }
        }
    }))
}

fn assembled(assembled: Assembled) -> Option<Said> {
    match assembled {
        Assembled::Further { lease: id } => Some(Said::part(id)),
        Assembled::Whole { lease: id, result } => Some(Said::Trial { lease: lease(id), result }),
        Assembled::Stray => None,
    }
}

/// Returns the message that carries out a command, and its connection; `None` for a command that needs no message.
pub fn message(
    catalogue: &Catalogue<'_>,
    command: &Command,
    epoch: u64,
    heartbeat_ms: u32,
) -> Option<(ConnectionId, wire::ToWorker)> {
    use wire::to_worker::Message;
    let (connection, message) = match command {
        Command::Welcome { connection, kept } => {
            let kept = kept.iter().map(|lease| lease.number().into()).collect();
            (connection, Message::Welcome(wire::Welcome { heartbeat_ms, epoch, kept }))
        }
        Command::Grant { connection, lease, work } => {
            let work = Some(catalogue.work(work).to_wire());
            (connection, Message::Lease(wire::Lease { id: lease.number().into(), work }))
        }
        Command::Revoke { connection, lease } => {
            (connection, Message::Revoked(wire::Revoked { lease: lease.number().into() }))
        }
        Command::Acknowledge { connection, trial } => {
            (connection, Message::Acknowledged(catalogue.name(*trial).to_wire()))
        }
        _ => return None,
    };
    Some((*connection, wire::ToWorker { message: Some(message) }))
}

fn leases(numbers: &[u64]) -> Vec<LeaseId> {
    numbers.iter().take(MOST_THREADS as usize).filter_map(|&number| lease(number)).collect()
}

/// Returns the lease of this number; `None` if no lease can have it.
fn lease(number: u64) -> Option<LeaseId> {
    LeaseId::new(number)
}
