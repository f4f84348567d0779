//! The [`Engine`] trait and the types of its methods.

use std::fmt;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use crate::facts::{Facts, Identity, Inconsistent};
use crate::hash::Hash;
use crate::key::{CohortKey, Fingerprint, StreamKey};
use crate::output::{Derive, File, FileKind};
use crate::space::{Space, Values};
use crate::spikes::{TrialShape, TrialSpikes};
use crate::stream::{Parts, Start};
use crate::time::TimeAxis;

/// A population of cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Population {
    /// Name in tables and arrays.
    pub name: &'static str,
    /// Singular noun for its cells, used in messages.
    pub cell: &'static str,
    /// Plural noun for its cells, used in messages.
    pub cells: &'static str,
}

/// A condition that its engine has checked: an engine, the values of all parameters, and the facts that follow from
/// them.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    engine: &'static dyn Engine,
    values: Values,
    identity: Identity,
    facts: Arc<Facts>,
}

/// Trials of one seed, for conditions with equal [`crate::CohortKey`]s.
#[derive(Clone, Debug)]
pub struct Shard<'a> {
    /// The conditions.
    pub models: &'a [Model],
    /// The seed.
    pub seed: u32,
    /// The trials.
    pub trials: Range<u32>,
    /// Position in the stream at which the first trial starts.
    pub start: Start,
    /// Largest number of spikes of a trial. The engine abandons a trial with more.
    pub most_spikes: u64,
}

/// Receives the results of a trial: its index and, for each condition, its result.
pub type Take<'a> = dyn FnMut(u32, Vec<Result<TrialSpikes, NoResult>>) -> ControlFlow<()> + 'a;

/// Why a trial has no result. The other trials of its shard may have one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoResult {
    /// It has more spikes than [`Shard::most_spikes`].
    #[error("it has too many spikes")]
    TooLarge,
    /// The user's program failed at it.
    #[error("{0}")]
    Failed(String),
}

/// A number or an array that a trial returns besides its spikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Returned {
    /// Name in tables and files.
    pub name: &'static str,
    /// Unit of the elements; empty for bare numbers.
    pub unit: &'static str,
    /// Meaning, in one line; may be empty.
    pub about: &'static str,
}

/// The source of an engine that is a user's program, as far as it determines results.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// Text of the model file.
    pub text: String,
    /// Path from the model file's directory, and content hash, of each file that the model file lists.
    pub files: Vec<(String, String)>,
}

/// The error of an engine that cannot compute a shard.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unable(pub String);

/// A note on a valid condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Subject of the note. If several conditions have notes with one subject, only the first is printed.
    pub subject: &'static str,
    /// Text of the note, printed after the name of the condition.
    pub text: String,
}

/// A parameter from which version 0.1.0 computed other whole numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recounted {
    /// Path of the parameter.
    pub path: &'static str,
    /// Unit that the numbers count.
    pub unit: &'static str,
    /// The numbers that version 0.1.0 computed from it.
    pub before: Vec<u32>,
    /// The numbers that this version computes from it.
    pub now: Vec<u32>,
}

/// Memory for computing trials and for deriving output files, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Memory to compute trials of these conditions together.
    pub compute: u64,
    /// Memory to derive the output files of one of these conditions and a seed.
    pub derive: u64,
}

/// A program that computes trials of a model.
///
/// All methods are pure. Results must not depend on the processor, the number of threads or the other conditions of a
/// shard. For equal arguments, results are equal bit by bit on every machine.
pub trait Engine: Send + Sync {
    /// Returns its name in sweep files, on the wire and in manifests.
    fn name(&self) -> &'static str;

    /// Returns its revision, which counts the changes of its spikes. The revision is part of every key, so that a
    /// result of an older revision is never used as a result of this one.
    fn revision(&self) -> u32;

    /// Returns the parameters of its model.
    fn space(&self) -> &'static Space;

    /// Returns the populations that spike, in the order of [`TrialSpikes::trains`].
    fn populations(&self) -> &'static [Population];

    /// Returns what a trial returns besides its spikes, in the order of [`TrialSpikes::values`].
    fn returns(&self) -> &'static [Returned] {
        &[]
    }

    /// Returns the source of an engine that is a program of the user's, named by `model` in a sweep file. Returns
    /// `None` for an engine of granule.
    fn source(&self) -> Option<&'static Source> {
        None
    }

    /// Whether the engine is a program of the user's.
    fn is_program(&self) -> bool {
        self.source().is_some()
    }

    /// Returns the number of threads that computing a trial uses.
    fn threads(&self) -> u32 {
        1
    }

    /// Whether all workers must report the same versions of the packages that the program runs on.
    fn needs_equal_versions(&self) -> bool {
        false
    }

    /// Checks that values, each in range, do not contradict each other.
    ///
    /// # Errors
    /// The first contradiction found.
    fn check(&self, values: &Values) -> Result<(Identity, Facts), Inconsistent>;

    /// Returns whether the parameter of this path affects no result, given these values.
    fn is_idle(&self, path: &str, values: &Values) -> bool;

    /// Returns why the conditions of a sweep cannot have independent random numbers; `None` if they can.
    fn shares_always(&self) -> Option<&'static str> {
        None
    }

    /// Returns notes on a valid condition.
    fn notes(&self, model: &Model) -> Vec<Note>;

    /// Returns advice on changing parameters so that trials have fewer spikes. If a condition is given, the advice
    /// includes its present values.
    fn to_spike_less(&self, model: Option<&Model>) -> String;

    /// Returns the parameters from which version 0.1.0 computed other numbers, if the difference affects a result.
    fn recounted(&self, model: &Model) -> Vec<Recounted>;

    /// Returns how the stream of a seed is cut into parts that a survey counts before trials can start. Returns `None`
    /// if every trial can start at once.
    fn parts(&self) -> Option<Parts>;

    /// Returns the identity of the stream that trials of a condition and a seed read.
    fn stream(&self, model: &Model, seed: u32) -> StreamKey;

    /// Returns the findings of the first parts of a stream, if the program includes them.
    fn shipped(&self, model: &Model, seed: u32) -> Vec<u32>;

    /// Surveys these parts of the stream of a condition and a seed; returns a finding for each part.
    ///
    /// # Errors
    /// When the engine has no streams to survey.
    fn survey(&self, model: &Model, seed: u32, parts: Range<u32>) -> Result<Vec<u32>, Unable>;

    /// Computes trials in order, and passes the results of each to `take` until `take` breaks off.
    ///
    /// # Errors
    /// When these conditions cannot be computed together.
    fn compute(&self, shard: &Shard<'_>, take: &mut Take<'_>) -> Result<(), Unable>;

    /// Returns the kinds of output files, in order.
    fn kinds(&self) -> &'static [FileKind];

    /// Returns the output files that a condition has for each seed, in order. Their names begin with `prefix`; `preset`
    /// is the name of the condition's preset, if it is one.
    fn files(&self, model: &Model, prefix: &str, preset: Option<&str>, trials: u32) -> Vec<File>;

    /// Returns whether an output file of some condition can have this name.
    fn can_name(&self, name: &str) -> bool;

    /// Starts to derive output files of a condition and a seed: those of these arrays.
    fn derive(&self, model: &Model, seed: u32, trials: u32, arrays: &[&str]) -> Box<dyn Derive>;

    /// Returns the memory to compute these conditions together, and to derive files of so many trials of the largest
    /// condition.
    fn memory(&self, models: &[&Model], trials: u32) -> Memory;

    /// Returns the condition with trials so short that they read about so many items of the stream at most, to measure
    /// its speed. Returns `None` if its trials cannot be made so short.
    fn shortened(&self, model: &Model, items: u64) -> Option<Model>;

    /// Returns a sweep file to start from, which explains everything that a sweep file can contain.
    fn template(&self) -> String;
}

/// The engines of a program, the default first.
pub type Engines = &'static [&'static dyn Engine];

/// Returns the engine of this name.
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
    /// Checks the values against each other and returns the condition.
    ///
    /// # Errors
    /// The first contradiction that the engine finds.
    pub fn new(engine: &'static dyn Engine, values: Values) -> Result<Model, Inconsistent> {
        let (identity, facts) = engine.check(&values)?;
        Ok(Model { engine, values, identity, facts: Arc::new(facts) })
    }

    /// Checks other values, as [`Model::new`] does. If the facts are the same, both conditions share the memory of these.
    ///
    /// # Errors
    /// The first contradiction that the engine finds.
    pub fn with_values(&self, values: Values) -> Result<Model, Inconsistent> {
        let mut model = Model::new(self.engine, values)?;
        if model.facts == self.facts {
            model.facts = Arc::clone(&self.facts);
        }
        Ok(model)
    }

    /// Returns the engine that computes it.
    pub fn engine(&self) -> &'static dyn Engine {
        self.engine
    }

    /// Returns the values of all parameters.
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// Returns the facts that follow from the values.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Returns the identity of the condition.
    pub fn fingerprint(&self) -> Fingerprint {
        self.identity.fingerprint
    }

    /// Returns the fingerprint that version 0.1.0 computed for the condition.
    pub fn fingerprint_0_1_0(&self) -> Fingerprint {
        self.identity.fingerprint_0_1_0
    }

    /// Returns the key of its cohorts: conditions of a seed with equal keys can be computed together.
    pub fn cohort(&self) -> CohortKey {
        self.identity.cohort
    }

    /// Returns the time axis of a trial.
    pub fn time(&self) -> &TimeAxis {
        &self.facts.time
    }

    /// Returns the size of each population, in the order of [`Engine::populations`].
    pub fn sizes(&self) -> &[u32] {
        &self.facts.sizes
    }

    /// Returns the shape of a trial's result.
    pub fn shape(&self) -> TrialShape<'_> {
        TrialShape { sizes: &self.facts.sizes, steps: self.facts.time.steps, returns: &self.facts.returns }
    }
}

impl Hash {
    /// Starts a hash for this purpose, with an engine and its revision.
    pub fn new(purpose: &str, engine: &dyn Engine) -> Hash {
        let mut hash = Hash::plain(purpose);
        hash.text(engine.name());
        hash.number(engine.revision());
        hash
    }
}
