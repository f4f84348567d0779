//! The declarations of a model file.

use std::time::Duration;

use granule_engine::Parameter;

use crate::arithmetic::Arithmetic;

/// A model file: a model's parameters and results, and the program that computes its trials.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelFile {
    /// Name: letters, digits, `.`, `_` and `-`, at most 60, not starting with a dot.
    pub name: String,
    /// Description, in one line.
    pub about: Option<String>,
    /// The command that starts the program: its name and its arguments, none of them empty.
    pub program: Vec<String>,
    /// Patterns of the model's files, at least one, each once. They are relative to the folder of the model file, with
    /// `/` between their parts and without `.` and `..`. `*` and `?` stand for any characters and any one character
    /// within a part, and the part `**` stands for any number of parts.
    pub files: Vec<String>,
    /// At most 200 parameters with unique paths, in order of the file. Each path is a group and a key.
    pub parameters: Vec<Parameter>,
    /// At most 16 populations: unique names, and numbers of cells, which are whole numbers from 1 at the defaults.
    pub populations: Vec<(String, Arithmetic)>,
    /// Length of a trial, ms. There is one if there are populations.
    pub duration: Option<Arithmetic>,
    /// Steps of spike times that make a millisecond: 1 to 1000.
    pub steps_per_ms: u32,
    /// At most 64 other results of a trial. No name is the name of a population.
    pub returns: Vec<ReturnDeclared>,
    /// Threads that a process of the program uses: 1 to 1024.
    pub threads: u32,
    /// Longest time of a trial.
    pub time_limit: Option<Duration>,
    /// Largest memory of a process, in bytes.
    pub memory_limit: Option<u64>,
    /// Whether workers may compute trials if their programs report other versions.
    pub versions_may_differ: bool,
}

/// A result of a trial other than spikes: a number or an array of numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct ReturnDeclared {
    /// Name, unique among results and populations.
    pub name: String,
    /// Symbol of its unit, any text; empty if it has none.
    pub unit: String,
    /// Length of each axis of an array, at most 3 axes; empty for a number. Each is a whole number from 1 at the
    /// defaults.
    pub shape: Vec<Arithmetic>,
    /// Description, in one line; may be empty.
    pub about: String,
}
