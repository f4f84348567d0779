//! The interface of those that compute trials.

use std::fmt;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use crate::facts::{Facts, Inconsistent};
use crate::hash::Hash;
use crate::key::{Fingerprint, StreamKey};
use crate::output::{Derive, File, Kind};
use crate::space::{Space, Values};
use crate::spikes::TrialSpikes;
use crate::stream::{Parts, Start};
use crate::time::TimeAxis;

/// A population of cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Population {
    /// Its name in tables and arrays.
    pub name: &'static str,
    /// One of its cells, for people.
    pub cell: &'static str,
    /// Several of its cells, for people.
    pub cells: &'static str,
}

/// A condition that its engine has checked: an engine, the values of all parameters, and what follows from them.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    engine: &'static dyn Engine,
    values: Values,
    facts: Arc<Facts>,
}

/// Trials of a seed, for conditions with equal [`crate::CohortKey`]s.
#[derive(Clone, Debug)]
pub struct Shard<'a> {
    /// The conditions.
    pub models: &'a [Model],
    /// The seed.
    pub seed: u32,
    /// The trials.
    pub trials: Range<u32>,
    /// Where the first of them starts in its stream.
    pub start: Start,
    /// Most spikes of a trial: a trial with more is abandoned.
    pub most_spikes: u64,
}

/// Takes the results of a trial: of each condition its spikes, or `None` if it has too many.
pub type Take<'a> = dyn FnMut(u32, Vec<Option<TrialSpikes>>) -> ControlFlow<()> + 'a;

/// An engine cannot compute a shard.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unable(pub String);

/// A remark on a valid condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What the remark is about. Of several conditions with remarks about one subject, only the first is printed.
    pub subject: &'static str,
    /// The remark, to be read after the name of the condition.
    pub text: String,
}

/// A parameter from which version 0.1.0 made other whole numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recounted {
    /// Path of the parameter.
    pub path: &'static str,
    /// What the numbers count.
    pub unit: &'static str,
    /// The numbers that version 0.1.0 made of it.
    pub before: Vec<u32>,
    /// The numbers now.
    pub now: Vec<u32>,
}

/// Memory that computing and deriving takes, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// To compute trials of these conditions together.
    pub compute: u64,
    /// To derive the output files of one of them and a seed.
    pub derive: u64,
}

/// A program that computes trials of a model.
///
/// All methods are pure. Results must not depend on the processor, the number of threads or the other conditions of a
/// shard: for equal arguments they are equal, bit by bit, on every machine.
pub trait Engine: Send + Sync {
    /// Its name in sweep files, on the wire and in manifests.
    fn name(&self) -> &'static str;

    /// Counts the changes of its spikes. Part of every key: a result of an older revision is never taken for a result
    /// of this revision.
    fn revision(&self) -> u32;

    /// The parameters of its model.
    fn space(&self) -> &'static Space;

    /// The populations that spike, in the order of a trial's trains.
    fn populations(&self) -> &'static [Population];

    /// Checks values that are each in range against each other.
    ///
    /// # Errors
    /// The first contradiction found.
    fn check(&self, values: &Values) -> Result<Facts, Inconsistent>;

    /// Whether the parameter of this path reaches no result, with these values.
    fn is_idle(&self, path: &str, values: &Values) -> bool;

    /// Why the conditions of a sweep cannot have random numbers of their own; `None` if they can.
    fn shares_always(&self) -> Option<&'static str> {
        None
    }

    /// Remarks on a valid condition.
    fn notes(&self, model: &Model) -> Vec<Note>;

    /// What to change so that trials have fewer spikes, with the present values where a condition is given.
    fn to_spike_less(&self, model: Option<&Model>) -> String;

    /// The parameters from which version 0.1.0 made other numbers, where that reaches a result.
    fn recounted(&self, model: &Model) -> Vec<Recounted>;

    /// How the stream of a seed is cut into parts that have to be surveyed before trials can start; `None` if every
    /// trial can start at once.
    fn parts(&self) -> Option<Parts>;

    /// Identity of the stream that trials of a condition and a seed read.
    fn stream(&self, model: &Model, seed: u32) -> StreamKey;

    /// Findings of the first parts of a stream that come with the program.
    fn shipped(&self, model: &Model, seed: u32) -> Vec<u32>;

    /// Finds out what these parts of the stream of a condition and a seed hold.
    ///
    /// # Errors
    /// When the engine has no streams to survey.
    fn survey(&self, model: &Model, seed: u32, parts: Range<u32>) -> Result<Vec<u32>, Unable>;

    /// Computes trials in order, and hands out the results of each until `take` breaks off.
    ///
    /// # Errors
    /// When these conditions cannot be computed together.
    fn compute(&self, shard: &Shard<'_>, take: &mut Take<'_>) -> Result<(), Unable>;

    /// The kinds of output files, in order.
    fn kinds(&self) -> &'static [Kind];

    /// The output files of a condition for each seed, in order. `prefix` begins their names; `preset` is the preset that
    /// the condition is, if it is one.
    fn files(&self, model: &Model, prefix: &str, preset: Option<&str>, trials: u32) -> Vec<File>;

    /// Whether an output file of some condition can have this name.
    fn can_name(&self, name: &str) -> bool;

    /// Begins to derive the output files of a condition and a seed.
    fn derive(&self, model: &Model, seed: u32, trials: u32) -> Box<dyn Derive>;

    /// Memory for conditions that are computed together, and for deriving files of so many trials of the largest.
    fn memory(&self, models: &[&Model], trials: u32) -> Memory;

    /// The condition with trials that read about so many items of the stream at most, to measure its speed; `None` if
    /// its trials cannot be made so short.
    fn shortened(&self, model: &Model, items: u64) -> Option<Model>;

    /// A sweep file to begin with, in which everything that can be written is explained.
    fn template(&self) -> String;
}

/// The engines that a program has, the default first.
pub type Engines = &'static [&'static dyn Engine];

/// The engine of this name.
pub fn engine_of(engines: &[&'static dyn Engine], name: &str) -> Option<&'static dyn Engine> {
    engines.iter().copied().find(|engine| engine.name() == name)
}

impl PartialEq for dyn Engine {
    fn eq(&self, other: &dyn Engine) -> bool {
        (self.name(), self.revision()) == (other.name(), other.revision())
    }
}

impl Eq for dyn Engine {}

impl fmt::Debug for dyn Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Engine({}, revision {})", self.name(), self.revision())
    }
}

impl Model {
    /// Checks the values against each other.
    ///
    /// # Errors
    /// The first contradiction that the engine finds.
    pub fn new(engine: &'static dyn Engine, values: Values) -> Result<Model, Inconsistent> {
        let facts = Arc::new(engine.check(&values)?);
        Ok(Model { engine, values, facts })
    }

    /// The engine that computes it.
    pub fn engine(&self) -> &'static dyn Engine {
        self.engine
    }

    /// The values of all parameters.
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// What follows from the values.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Identity of the condition.
    pub fn fingerprint(&self) -> Fingerprint {
        self.facts.fingerprint
    }

    /// Time axis of a trial.
    pub fn time(&self) -> &TimeAxis {
        &self.facts.time
    }

    /// Size of each population.
    pub fn sizes(&self) -> &[u32] {
        &self.facts.sizes
    }
}

impl Hash {
    /// A hash for this purpose, of an engine and its revision.
    pub fn new(purpose: &str, engine: &dyn Engine) -> Hash {
        let mut hash = Hash::plain(purpose);
        hash.text(engine.name());
        hash.number(engine.revision());
        hash
    }
}
