//! Converts between messages and the scheduler's types. It is pure: simulations use it, too.

use std::collections::{BTreeMap, BTreeSet};

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
    /// A trial has no result: it has too many spikes, or the user's program failed in this way.
    NoResult {
        lease: Option<LeaseId>,
        name: TrialName,
        failure: Option<String>,
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
    /// Versions that the user's program reports there, by package.
    pub packages: BTreeMap<String, String>,
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
    if engine.is_program() && found.is_empty() {
        return Err(other_program(engine, &hello.engines));
    }
    if engine.is_program()
        && let [Err(WireError::Space { .. }), ..] = found[..]
    {
        let reason = "the worker's model file declares other parameters than the coordinator's (units, ranges, \
                      defaults or choices); copy the model file from the coordinator's machine, and start the worker \
                      again";
        return Err(reason.to_owned());
    }
    if let [Err(WireError::Space { .. }), ..] = found[..] {
        return Err(format!(
            "engine {} has different parameters in the worker (granule {theirs}) and in this coordinator \
             (granule {ours}); run the same version on both sides",
            engine.name()
        ));
    }
    if !found.iter().any(Result::is_ok) {
        if let Some(model) = hello.engines.iter().find_map(|engine| model_of(&engine.name)) {
            return Err(format!(
                "this sweep is of engine {}, and the worker was started with model {model}; start it without --model",
                engine.name()
            ));
        }
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
        packages: packages(hello.packages),
    })
}

/// Returns why a worker cannot compute the trials of a user's program: it has no model, or another one.
fn other_program(engine: &dyn Engine, theirs: &[wire::Engine]) -> String {
    let wanted = model_of(engine.name()).unwrap_or_default();
    match theirs.iter().find_map(|engine| model_of(&engine.name)) {
        None => format!(
            "this sweep is of model {wanted}, and the worker was started without a model; start it with \
             `granule worker --model FILE`, where FILE is the model file"
        ),
        Some(theirs) if theirs == wanted => format!(
            "the worker has another version of model {wanted}: its model file, or a file that the model file \
             lists, differs from the coordinator's; copy these files from the coordinator's machine, and start the \
             worker again"
        ),
        Some(theirs) => format!(
            "this sweep is of model {wanted}, and the worker was started with model {theirs}; start it with the \
             model file of {wanted}"
        ),
    }
}

/// Returns the model of an engine that is a program. The name of such an engine is that of the model, `@`, and a hash of
/// all that determines results.
fn model_of(engine: &str) -> Option<String> {
    engine.rsplit_once('@').map(|(model, _)| from_outside(model))
}

/// Limits on the versions that a program reports.
const MOST_PACKAGES: usize = 64;
const LONGEST_VERSION: usize = 200;

fn packages(packages: Vec<wire::Package>) -> BTreeMap<String, String> {
    let short = |text: &str| from_outside(text).chars().take(LONGEST_VERSION).collect();
    packages.iter().take(MOST_PACKAGES).map(|of| (short(&of.name), short(&of.version))).collect()
}

/// Checks that a worker's program reports the versions of the workers before. The first worker's are recorded.
///
/// # Errors
/// If they differ: a text for both sides that states what to do.
pub fn agree(
    engine: &dyn Engine,
    known: &mut Option<BTreeMap<String, String>>,
    theirs: &BTreeMap<String, String>,
) -> Result<(), String> {
    let known = known.get_or_insert_with(|| theirs.clone());
    let packages: BTreeSet<&String> = known.keys().chain(theirs.keys()).collect();
    let version = |of: &BTreeMap<String, String>, package| of.get(package).map_or("none", |of| of).to_owned();
    let different: Vec<String> = packages
        .into_iter()
        .filter(|package| known.get(*package) != theirs.get(*package))
        .map(|package| {
            format!("{package} {} instead of {}", version(theirs, package), version(known, package))
        })
        .collect();
    if different.is_empty() || !engine.needs_equal_versions() {
        return Ok(());
    }
    Err(format!(
        "the worker's program reports other versions than those with which this sweep was begun: {}; install the same \
         versions, or write `versions_may_differ: true` into the model file",
        different.join(", ")
    ))
}

/// Returns the line of a failure that names it best. This is the last line of a traceback. The output of the program and
/// the command that repeats the trial follow it.
pub fn failure_in_short(failure: &str) -> &str {
    let ends = ["\nit printed:", "\nto repeat it:"];
    let end = ends.iter().filter_map(|end| failure.find(end)).min().unwrap_or(failure.len());
    failure[..end].lines().rev().find(|line| !line.trim().is_empty()).unwrap_or(failure)
}

/// Limit on the characters of a report about a failed trial.
const LONGEST_FAILURE: usize = 16 << 10;

/// Returns a text from another machine, safe to print, with its lines.
fn lines_from_outside(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(from_outside).collect();
    lines.join("\n").chars().take(LONGEST_FAILURE).collect()
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
        Message::NoResult(wire::NoResult { lease: id, fingerprint, seed, trial, failure }) => {
            let name = TrialName::new(&fingerprint, seed, trial)?;
            let failure = (!failure.is_empty()).then(|| lines_from_outside(&failure));
            Said::NoResult { lease: lease(id), name, failure }
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
