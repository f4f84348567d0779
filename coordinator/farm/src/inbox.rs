//! Translates messages of workers into events of the scheduler. The driver and the fault simulation both use it.

use granule_engine::{Digest, TrialKey};
use granule_proto::convert::TrialResult;
use granule_proto::wire;

use crate::catalogue::{Catalogue, Misplaced};
use crate::dialogue::Said;
use crate::scheduler::{ConnectionId, Event, NO_RESULT, TrialId, WorkerName};

/// A step that follows from a worker's message.
#[derive(Debug)]
pub enum Step {
    /// Pass an event to the scheduler.
    Handle(Event),
    /// Store a result, then pass the event that [`stored`] returns to the scheduler.
    Store { trial: TrialId, key: TrialKey, result: TrialResult },
    /// Send a message to the worker.
    Reply(wire::to_worker::Message),
    /// Record how the user's program failed at a trial.
    Failed { trial: TrialId, how: String },
    /// Record that a worker reports too many spikes of a stored trial.
    Contradicted { trial: TrialId, stored: Digest },
}

/// Returns the steps that follow from a worker's message, in order. `stored` returns the digest of a stored trial.
pub fn steps(
    catalogue: &Catalogue<'_>,
    connection: ConnectionId,
    worker: WorkerName,
    said: Said,
    stored: impl Fn(TrialId) -> Option<Digest>,
) -> Vec<Step> {
    let invalid = |what: &str| vec![Step::Handle(Event::Invalid { connection, what: what.to_owned() })];
    // The result was computed for another sweep or another coordinator. The acknowledgement makes the worker drop it.
    let foreign = |name| {
        vec![
            Step::Reply(wire::to_worker::Message::Acknowledged(name)),
            Step::Handle(Event::Heard { connection }),
        ]
    };
    vec![Step::Handle(match said {
        Said::Trial { lease, result } => match catalogue.place(&result) {
            Ok((trial, key)) => {
                let received = Step::Handle(Event::Received { connection, lease, trial });
                return vec![received, Step::Store { trial, key, result }];
            }
            Err(Misplaced::Foreign) => return foreign(result.name.to_wire()),
            Err(Misplaced::Impossible) => return invalid("spikes outside the model's cells or duration"),
        },
        Said::NoResult { lease, name, failure: Some(how) } => {
            let Some(trial) = catalogue.place_of(name) else { return foreign(name.to_wire()) };
            if !catalogue.engine().is_program() {
                return invalid("a report of a failure that no trial of this engine can have");
            }
            // If the trial is stored, this is a failed audit or a late report. It says nothing about the result.
            let failed = Step::Failed { trial, how };
            return vec![failed, Step::Handle(Event::NoResult { connection, lease, trial })];
        }
        Said::NoResult { lease, name, failure: None } => {
            let Some(trial) = catalogue.place_of(name) else { return foreign(name.to_wire()) };
            if !catalogue.may_be_too_large(trial) {
                return invalid("a report of too many spikes for a model whose cells cannot fire that often");
            }
            match stored(trial) {
                None => Event::NoResult { connection, lease, trial },
                Some(stored) => {
                    return vec![
                        Step::Contradicted { trial, stored },
                        Step::Handle(Event::Received { connection, lease, trial }),
                        Step::Handle(Event::Disagreed { worker, trial, stored, received: NO_RESULT }),
                    ];
                }
            }
        }
        Said::Beat { held, last } => Event::Beat { connection, held, last },
        Said::Offered => Event::Offered { connection },
        Said::Draining { .. } => Event::Draining { connection },
        Said::Part { lease } => Event::Part { connection, lease },
        Said::Survey { lease, findings } => Event::Surveyed { connection, lease, findings },
        Said::Finished { lease } => Event::Finished { connection, lease },
        Said::HandedBack { lease } => Event::HandedBack { connection, lease },
        Said::Failed { lease, reason } => Event::Failed { connection, lease, reason },
    })]
}

/// Returns the event for the scheduler once the store holds a result: this one, or another result of the same trial.
pub fn stored(worker: WorkerName, trial: TrialId, received: Digest, stored: Option<Digest>) -> Event {
    match stored {
        Some(stored) if stored != received => Event::Disagreed { worker, trial, stored, received },
        _ => Event::Stored { worker, trial },
    }
}
