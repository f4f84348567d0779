//! Between wire and domain types.

use granule_engine::space::{CellFactor, Kind, Rejected};
use granule_engine::spikes::LARGEST_ENCODED;
use granule_engine::{Digest, Engine, Engines, Fingerprint, Inconsistent, Model, Start, Value, engine_of};

use crate::wire;

/// Work that a lease gives a right to.
#[derive(Clone, Debug, PartialEq)]
pub enum Work {
    /// Simulate trials.
    Trials(Trials),
    /// Find out what parts of a stream hold.
    Survey(Survey),
}

/// Contiguous trials of one seed, for conditions that are computed together.
#[derive(Clone, Debug, PartialEq)]
pub struct Trials {
    /// The engine.
    pub engine: &'static dyn Engine,
    /// The seed.
    pub seed: u32,
    /// The first trial.
    pub first: u32,
    /// How many.
    pub count: u32,
    /// Where the first starts.
    pub start: Start,
    /// The conditions.
    pub models: Vec<Model>,
}

/// Parts of a stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Survey {
    /// The engine.
    pub engine: &'static dyn Engine,
    /// The seed.
    pub seed: u32,
    /// A condition whose trials read the stream.
    pub model: Box<Model>,
    /// The first part.
    pub first: u32,
    /// How many.
    pub count: u32,
}

/// Which trial, as it travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrialName {
    /// The condition.
    pub fingerprint: Fingerprint,
    /// The seed.
    pub seed: u32,
    /// The index.
    pub trial: u32,
}

/// Encoded spikes of a trial; the bytes have been held against their digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrialResult {
    /// Which trial.
    pub name: TrialName,
    /// Its encoded spikes.
    pub spikes: Vec<u8>,
    /// Digest of those.
    pub digest: Digest,
}

/// Why a message makes no sense.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum WireError {
    /// A part is missing.
    #[error("the message has no {0}")]
    Missing(&'static str),
    /// The engine is unknown, or of another revision.
    #[error(
        "engine {} revision {revision} is not one of this program's; both ends must run the same version of granule",
        .name.escape_debug()
    )]
    Engine {
        /// Name asked for.
        name: String,
        /// Revision asked for.
        revision: u32,
    },
    /// The engine has other parameters at the other end.
    #[error(
        "engine {} has other parameters at the other end; both ends must run the same version of granule",
        .name.escape_debug()
    )]
    Space {
        /// Name of the engine.
        name: String,
    },
    /// A parameter is unknown.
    #[error("`{}` is no parameter", .0.escape_debug())]
    Parameter(String),
    /// A parameter is missing or given twice.
    #[error("the parameters are not those of the table: {found} instead of {expected}")]
    Incomplete {
        /// How many were sent.
        found: usize,
        /// How many there are.
        expected: usize,
    },
    /// A parameter's value is not one.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// The parameters do not fit together.
    #[error(transparent)]
    Inconsistent(#[from] Inconsistent),
    /// A hash is not 32 bytes long.
    #[error("a hash is {0} bytes long instead of 32")]
    HashLength(usize),
    /// The spikes are not those that were sent.
    #[error("the spikes do not have the digest that came with them")]
    Digest,
    /// A result has more bytes than a trial can have, or both spikes and parts.
    #[error("a result in parts of {0} bytes, of which there are at most {LARGEST_ENCODED}")]
    Length(u64),
    /// A part goes on behind the end of its result.
    #[error("a part that goes on behind the end of its result")]
    Part,
}

/// The engine as sent.
pub fn engine_to_wire(engine: &dyn Engine) -> wire::Engine {
    let space = engine.space().key().0.to_vec();
    wire::Engine { name: engine.name().to_owned(), revision: engine.revision(), space }
}

/// The engine meant.
///
/// # Errors
/// When this program does not have it in that revision and with those parameters.
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

/// The values of a condition as sent: all parameters, in their order.
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

/// The condition of these values, with this engine.
///
/// # Errors
/// When a parameter is unknown, missing or wrong, or they do not fit together.
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

impl Work {
    /// As sent.
    pub fn to_wire(&self) -> wire::lease::Work {
        match self {
            Work::Trials(work) => wire::lease::Work::Trials(wire::Trials {
                engine: Some(engine_to_wire(work.engine)),
                seed: work.seed,
                first: work.first,
                count: work.count,
                start: Some(wire::Start { part: work.start.part, skip: work.start.skip }),
                conditions: work.models.iter().map(condition_to_wire).collect(),
            }),
            Work::Survey(work) => wire::lease::Work::Survey(wire::Survey {
                engine: Some(engine_to_wire(work.engine)),
                seed: work.seed,
                condition: Some(condition_to_wire(&work.model)),
                first: work.first,
                count: work.count,
            }),
        }
    }

    /// What a lease asks for.
    ///
    /// # Errors
    /// When it cannot be understood.
    pub fn from_wire(engines: Engines, work: Option<wire::lease::Work>) -> Result<Work, WireError> {
        match work.ok_or(WireError::Missing("work"))? {
            wire::lease::Work::Trials(work) => {
                let wire::Start { part, skip } = work.start.ok_or(WireError::Missing("start"))?;
                let engine = engine_from_wire(engines, work.engine)?;
                let model = |condition| condition_from_wire(engine, condition);
                Ok(Work::Trials(Trials {
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
                Ok(Work::Survey(Survey {
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
    /// An acknowledgement as sent.
    pub fn to_wire(self) -> wire::Acknowledged {
        wire::Acknowledged { fingerprint: self.fingerprint.0.to_vec(), seed: self.seed, trial: self.trial }
    }

    /// The trial acknowledged.
    ///
    /// # Errors
    /// When the fingerprint is none.
    pub fn from_wire(acknowledged: wire::Acknowledged) -> Result<TrialName, WireError> {
        let wire::Acknowledged { fingerprint, seed, trial } = acknowledged;
        TrialName::new(&fingerprint, seed, trial)
    }

    /// Of parts as sent.
    ///
    /// # Errors
    /// When the fingerprint is none.
    pub fn new(fingerprint: &[u8], seed: u32, trial: u32) -> Result<TrialName, WireError> {
        Ok(TrialName { fingerprint: Fingerprint(hash(fingerprint)?), seed, trial })
    }

    /// That the trial has too many spikes, as sent under this lease.
    pub fn too_large(self, lease: u64) -> wire::TooLarge {
        let TrialName { fingerprint, seed, trial } = self;
        wire::TooLarge { lease, fingerprint: fingerprint.0.to_vec(), seed, trial }
    }
}

impl TrialResult {
    /// A result of these spikes.
    pub fn new(name: TrialName, spikes: Vec<u8>) -> TrialResult {
        let digest = Digest::of(&spikes);
        TrialResult { name, spikes, digest }
    }

    /// As sent in one message, under this lease.
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

    /// The result received in one message.
    ///
    /// # Errors
    /// When a hash is none or the spikes do not have the digest.
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
        let trials = Work::Trials(Trials {
            engine: exact(),
            seed: 451,
            first: 3,
            count: 4,
            start: Start { part: 5, skip: 6 },
            models: models(),
        });
        assert_eq!(Work::from_wire(ENGINES, Some(trials.to_wire())), Ok(trials));
        let survey = Work::Survey(Survey {
            engine: exact(),
            seed: 1,
            model: Box::new(models().remove(2)),
            first: 7,
            count: 8,
        });
        assert_eq!(Work::from_wire(ENGINES, Some(survey.to_wire())), Ok(survey));
        assert_eq!(Work::from_wire(ENGINES, None), Err(WireError::Missing("work")));
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
        check(&|c| c.settings[3].path = "time.stp".into(), "`time.stp` is no parameter");
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
        assert!(error.contains("has other parameters at the other end"), "{error}");
    }
}
