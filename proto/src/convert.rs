//! Conversion between wire types and domain types.

use granule_engine::space::{CellFactor, Kind, Rejected};
use granule_engine::spikes::LARGEST_ENCODED;
use granule_engine::{
    Digest, Engine, Engines, Fingerprint, Inconsistent, Model, NoResult, Start, Value, engine_of,
};

use crate::wire;

/// The work of a lease.
#[derive(Clone, Debug, PartialEq)]
pub enum WireWork {
    /// Simulate trials.
    Trials(WireTrials),
    /// Survey parts of a stream.
    Survey(WireSurvey),
}

/// Contiguous trials of one seed, for conditions that are computed together.
#[derive(Clone, Debug, PartialEq)]
pub struct WireTrials {
    /// The engine that simulates the trials.
    pub engine: &'static dyn Engine,
    /// Seed of all trials.
    pub seed: u32,
    /// Index of the first trial.
    pub first: u32,
    /// Number of trials.
    pub count: u32,
    /// Position of the first trial in the engine's stream.
    pub start: Start,
    /// Parameters of each condition.
    pub models: Vec<Model>,
}

/// Parts of a stream, to be surveyed.
#[derive(Clone, Debug, PartialEq)]
pub struct WireSurvey {
    /// The engine whose stream it is.
    pub engine: &'static dyn Engine,
    /// Seed of the stream.
    pub seed: u32,
    /// A condition whose trials read the stream.
    pub model: Box<Model>,
    /// Index of the first part.
    pub first: u32,
    /// Number of parts.
    pub count: u32,
}

/// Identifies a trial of a condition, in the form that messages use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrialName {
    /// Fingerprint of the condition.
    pub fingerprint: Fingerprint,
    /// Seed of the trial.
    pub seed: u32,
    /// Index of the trial, from 0.
    pub trial: u32,
}

/// Encoded spikes of a trial. The digest of the bytes has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrialResult {
    /// The trial of these spikes.
    pub name: TrialName,
    /// The encoded spikes of the trial.
    pub spikes: Vec<u8>,
    /// Digest of `spikes`.
    pub digest: Digest,
}

/// An error in a received message.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum WireError {
    /// A required part of the message is missing.
    #[error("the message has no {0}")]
    Missing(&'static str),
    /// This program does not have the engine, or not in this revision.
    #[error(
        "engine {} revision {revision} is not one of this program's; both ends must run the same version of granule",
        .name.escape_debug()
    )]
    Engine {
        /// Name of the requested engine.
        name: String,
        /// Revision of the requested engine.
        revision: u32,
    },
    /// The other end's engine of this name has other parameters.
    #[error(
        "engine {} has different parameters at the other end; both ends must run the same version of granule",
        .name.escape_debug()
    )]
    Space {
        /// Name of the engine.
        name: String,
    },
    /// The engine has no parameter of this path.
    #[error("`{}` is not a parameter", .0.escape_debug())]
    Parameter(String),
    /// A parameter is missing, or given twice, or out of order.
    #[error("the parameters are not those of the table: {found} instead of {expected}")]
    Incomplete {
        /// Number of parameters in the message.
        found: usize,
        /// Number of parameters of the engine.
        expected: usize,
    },
    /// The parameter does not accept the value.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// The values of the parameters are inconsistent.
    #[error(transparent)]
    Inconsistent(#[from] Inconsistent),
    /// A hash is not 32 bytes long.
    #[error("a hash is {0} bytes long instead of 32")]
    HashLength(usize),
    /// The digest of the received spikes differs from the digest in the message.
    #[error("the spikes do not match their digest")]
    Digest,
    /// A result has more bytes than a trial can have, or has both spikes and parts.
    #[error("a result of {0} bytes in parts; the most is {LARGEST_ENCODED}")]
    Length(u64),
    /// A part extends beyond the end of its result.
    #[error("a part that exceeds its result")]
    Part,
}

/// Converts an engine to its wire type.
pub fn engine_to_wire(engine: &dyn Engine) -> wire::Engine {
    let space = engine.space().key().0.to_vec();
    wire::Engine { name: engine.name().to_owned(), revision: engine.revision(), space }
}

/// Returns this program's engine for a wire type.
///
/// # Errors
/// If this program lacks the engine, or has it in another revision or with other parameters.
pub fn engine_from_wire(
    engines: &[&'static dyn Engine],
    engine: Option<wire::Engine>,
) -> Result<&'static dyn Engine, WireError> {
    let wire::Engine { name, revision, space } = engine.ok_or(WireError::Missing("engine"))?;
    match engine_of(engines, &name).filter(|engine| engine.revision() == revision) {
        None => Err(WireError::Engine { name, revision }),
        Some(engine) if engine.space().key().0[..] != space => Err(WireError::Space { name }),
        Some(engine) => Ok(engine),
    }
}

/// Converts the values of a condition to the wire type: all parameters, in the engine's order.
pub fn condition_to_wire(model: &Model) -> wire::Condition {
    use wire::setting::Value as Wire;
    let setting = |(parameter, value): (&granule_engine::Parameter, &Value)| {
        let value = match value {
            Value::Number(x) => Wire::Number(*x),
            Value::Count(n) => Wire::Count(*n),
            Value::Flag(flag) => Wire::Flag(*flag),
            Value::Numbers(numbers) => Wire::Numbers(wire::Numbers { numbers: numbers.clone() }),
            Value::Factor(CellFactor::Constant(x)) => Wire::ConstantFactor(*x),
            Value::Factor(CellFactor::Gamma { mean, sd, seed }) => {
                Wire::Gamma(wire::Gamma { mean: *mean, sd: *sd, seed: *seed })
            }
            Value::Choice(name) => Wire::Choice((*name).to_owned()),
        };
        wire::Setting { path: parameter.path.to_owned(), value: Some(value) }
    };
    wire::Condition { settings: model.values().iter().map(setting).collect() }
}

/// Converts a condition from the wire type, for this engine.
///
/// # Errors
/// If a parameter is unknown, missing or invalid, or if the values are inconsistent.
pub fn condition_from_wire(
    engine: &'static dyn Engine,
    condition: wire::Condition,
) -> Result<Model, WireError> {
    use wire::setting::Value as Wire;
    let space = engine.space();
    let (found, expected) = (condition.settings.len(), space.parameters().len());
    if let Some(unknown) = condition.settings.iter().find(|setting| space.parameter(&setting.path).is_none())
    {
        return Err(WireError::Parameter(unknown.path.clone()));
    }
    let pairs = || condition.settings.iter().zip(space.parameters());
    if found != expected || pairs().any(|(setting, parameter)| setting.path != parameter.path) {
        return Err(WireError::Incomplete { found, expected });
    }
    let mut values = space.defaults();
    for (setting, parameter) in condition.settings.into_iter().zip(space.parameters()) {
        let value = match setting.value.ok_or(WireError::Missing("value"))? {
            Wire::Number(x) => Value::Number(x),
            Wire::Count(n) => Value::Count(n),
            Wire::Flag(flag) => Value::Flag(flag),
            Wire::Numbers(list) => Value::Numbers(list.numbers),
            Wire::Gamma(wire::Gamma { mean, sd, seed }) => {
                Value::Factor(CellFactor::Gamma { mean, sd, seed })
            }
            Wire::ConstantFactor(x) => Value::Factor(CellFactor::Constant(x)),
            Wire::Choice(name) => {
                let names = match parameter.kind {
                    Kind::Choice(names) => names,
                    _ => &[],
                };
                let known = names.iter().find(|known| **known == name);
                Value::Choice(known.copied().ok_or(Rejected::WrongKind { path: parameter.path })?)
            }
        };
        values.set(parameter, value)?;
    }
    Ok(Model::new(engine, values)?)
}

impl WireWork {
    /// Converts the work to the wire type.
    pub fn to_wire(&self) -> wire::lease::Work {
        match self {
            WireWork::Trials(work) => wire::lease::Work::Trials(wire::Trials {
                engine: Some(engine_to_wire(work.engine)),
                seed: work.seed,
                first: work.first,
                count: work.count,
                start: Some(wire::Start { part: work.start.part, skip: work.start.skip }),
                conditions: work.models.iter().map(condition_to_wire).collect(),
            }),
            WireWork::Survey(work) => wire::lease::Work::Survey(wire::Survey {
                engine: Some(engine_to_wire(work.engine)),
                seed: work.seed,
                condition: Some(condition_to_wire(&work.model)),
                first: work.first,
                count: work.count,
            }),
        }
    }

    /// Converts the work of a lease from the wire type.
    ///
    /// # Errors
    /// If a field is missing, or the engine or a condition is invalid.
    pub fn from_wire(engines: Engines, work: Option<wire::lease::Work>) -> Result<WireWork, WireError> {
        match work.ok_or(WireError::Missing("work"))? {
            wire::lease::Work::Trials(work) => {
                let wire::Start { part, skip } = work.start.ok_or(WireError::Missing("start"))?;
                let engine = engine_from_wire(engines, work.engine)?;
                let model = |condition| condition_from_wire(engine, condition);
                Ok(WireWork::Trials(WireTrials {
                    engine,
                    seed: work.seed,
                    first: work.first,
                    count: work.count,
                    start: Start { part, skip },
                    models: work.conditions.into_iter().map(model).collect::<Result<_, _>>()?,
                }))
            }
            wire::lease::Work::Survey(work) => {
                let engine = engine_from_wire(engines, work.engine)?;
                let condition = work.condition.ok_or(WireError::Missing("condition"))?;
                Ok(WireWork::Survey(WireSurvey {
                    engine,
                    seed: work.seed,
                    model: Box::new(condition_from_wire(engine, condition)?),
                    first: work.first,
                    count: work.count,
                }))
            }
        }
    }
}

impl TrialName {
    /// Returns the acknowledgement of this trial.
    pub fn to_wire(self) -> wire::Acknowledged {
        wire::Acknowledged { fingerprint: self.fingerprint.0.to_vec(), seed: self.seed, trial: self.trial }
    }

    /// Returns the trial that an acknowledgement names.
    ///
    /// # Errors
    /// If the fingerprint is not 32 bytes long.
    pub fn from_wire(acknowledged: wire::Acknowledged) -> Result<TrialName, WireError> {
        let wire::Acknowledged { fingerprint, seed, trial } = acknowledged;
        TrialName::new(&fingerprint, seed, trial)
    }

    /// Returns the name of a trial from the fields of a message.
    ///
    /// # Errors
    /// If the fingerprint is not 32 bytes long.
    pub fn new(fingerprint: &[u8], seed: u32, trial: u32) -> Result<TrialName, WireError> {
        Ok(TrialName { fingerprint: Fingerprint(hash(fingerprint)?), seed, trial })
    }

    /// Returns the message that the trial has no result, under this lease.
    pub fn no_result(self, lease: u64, why: &NoResult) -> wire::NoResult {
        let TrialName { fingerprint, seed, trial } = self;
        let failure = match why {
            NoResult::TooLarge => String::new(),
            NoResult::Failed(how) => how.clone(),
        };
        wire::NoResult { lease, fingerprint: fingerprint.0.to_vec(), seed, trial, failure }
    }
}

impl TrialResult {
    /// Computes the digest of encoded spikes and returns them as a result.
    pub fn new(name: TrialName, spikes: Vec<u8>) -> TrialResult {
        let digest = Digest::of(&spikes);
        TrialResult { name, spikes, digest }
    }

    /// Converts the result to a single message, under this lease.
    pub fn to_wire(&self, lease: u64) -> wire::TrialResult {
        wire::TrialResult {
            length: 0,
            lease,
            fingerprint: self.name.fingerprint.0.to_vec(),
            seed: self.name.seed,
            trial: self.name.trial,
            spikes: self.spikes.clone(),
            digest: self.digest.0.to_vec(),
        }
    }

    /// Converts a result from a single message.
    ///
    /// # Errors
    /// If a hash is not 32 bytes long, or if the digest of the spikes differs.
    pub fn from_wire(result: wire::TrialResult) -> Result<TrialResult, WireError> {
        let digest = Digest(hash(&result.digest)?);
        if Digest::of(&result.spikes) != digest {
            return Err(WireError::Digest);
        }
        let name = TrialName::new(&result.fingerprint, result.seed, result.trial)?;
        Ok(TrialResult { name, spikes: result.spikes, digest })
    }
}

pub(crate) fn hash(bytes: &[u8]) -> Result<[u8; 32], WireError> {
    bytes.try_into().map_err(|_| WireError::HashLength(bytes.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use granule_granular::ENGINES;

    fn exact() -> &'static dyn Engine {
        ENGINES[1]
    }

    fn models() -> Vec<Model> {
        let space = exact().space();
        let values = space.presets().iter().map(|preset| space.defaults().with(preset));
        values.map(|values| Model::new(exact(), values).unwrap()).collect()
    }

    #[test]
    fn work_survives_the_wire() {
        let trials = WireWork::Trials(WireTrials {
            engine: exact(),
            seed: 451,
            first: 3,
            count: 4,
            start: Start { part: 5, skip: 6 },
            models: models(),
        });
        assert_eq!(WireWork::from_wire(ENGINES, Some(trials.to_wire())), Ok(trials));
        let survey = WireWork::Survey(WireSurvey {
            engine: exact(),
            seed: 1,
            model: Box::new(models().remove(2)),
            first: 7,
            count: 8,
        });
        assert_eq!(WireWork::from_wire(ENGINES, Some(survey.to_wire())), Ok(survey));
        assert_eq!(WireWork::from_wire(ENGINES, None), Err(WireError::Missing("work")));
    }

    #[test]
    fn results_survive_the_wire_and_damage_is_seen() {
        let name = TrialName { fingerprint: Fingerprint([7; 32]), seed: 1, trial: 2 };
        let result = TrialResult::new(name, vec![0, 0]);
        assert_eq!(TrialResult::from_wire(result.to_wire(9)), Ok(result.clone()));
        assert_eq!(TrialName::from_wire(name.to_wire()), Ok(name));
        let mut damaged = result.to_wire(9);
        damaged.spikes[0] ^= 1;
        assert_eq!(TrialResult::from_wire(damaged), Err(WireError::Digest));
        let mut short = result.to_wire(9);
        short.fingerprint.pop();
        assert_eq!(TrialResult::from_wire(short), Err(WireError::HashLength(31)));
    }

    #[test]
    fn foreign_conditions_are_refused() {
        let check = |change: &dyn Fn(&mut wire::Condition), expected: &str| {
            let mut condition = condition_to_wire(&models()[0]);
            change(&mut condition);
            let error = condition_from_wire(exact(), condition).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check(&|c| c.settings[3].path = "time.stp".into(), "`time.stp` is not a parameter");
        check(&|c| drop(c.settings.pop()), "instead of");
        check(&|c| c.settings.swap(0, 1), "the parameters are not those of the table");
        check(&|c| c.settings[0].value = None, "no value");
        check(&|c| c.settings[0].value = Some(wire::setting::Value::Flag(true)), "kind of value");
        check(&|c| c.settings[0].value = Some(wire::setting::Value::Count(0)), "between 1 and");
        let mut engine = engine_to_wire(exact());
        engine.revision += 1;
        let error = engine_from_wire(ENGINES, Some(engine)).unwrap_err().to_string();
        assert!(error.contains("revision 2 is not one of this program's"), "{error}");
        let mut engine = engine_to_wire(exact());
        engine.space[0] ^= 1;
        let error = engine_from_wire(ENGINES, Some(engine)).unwrap_err().to_string();
        assert!(error.contains("has different parameters at the other end"), "{error}");
    }
}
