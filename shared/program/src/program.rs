//! The engine.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use granule_engine::key::Hash;
use granule_engine::output::{Derive, File, FileKind};
use granule_engine::space::Words;
use granule_engine::spikes::MOST_VALUES;
use granule_engine::stream::Parts;
use granule_engine::{
    CohortKey, Engine, Facts, Fingerprint, Identity, Inconsistent, Memory, Model, Note, Parameter,
    Population, Recounted, Returned, Shard, Source, Space, StreamKey, Take, TimeAxis, Unable, Value, Values,
};
use granule_sweep::{Arithmetic, Diagnostics, ModelFile, Sizes, parse_model};

use crate::files::{self, Arrays};

/// Largest size of a population.
const MOST_CELLS: u32 = 100_000_000;

/// Version of the rules by which a program's answers become results. It is the revision of the engine.
const REVISION: u32 = 1;

/// A user's own model.
pub struct Program {
    name: &'static str,
    source: &'static Source,
    file: ModelFile,
    space: &'static Space,
    populations: &'static [Population],
    returns: &'static [Returned],
    kinds: &'static [FileKind],
    runner: OnceLock<Arc<dyn Runner>>,
}

/// Runs the processes of a program.
pub trait Runner: Send + Sync {
    /// Computes trials in order, and passes the results of each to `take` until `take` breaks off.
    ///
    /// # Errors
    /// When the program cannot be used.
    fn compute(&self, shard: &Shard<'_>, take: &mut Take<'_>) -> Result<(), Unable>;
}

/// All programs of this process.
static KNOWN: Mutex<BTreeMap<Source, &'static Program>> = Mutex::new(BTreeMap::new());

impl Program {
    /// Returns the program of a model file. Diagnostics call the file `source_name`.
    ///
    /// The program lives as long as the process. Equal sources give the same program.
    ///
    /// # Errors
    /// All problems of the model file.
    pub fn of(source_name: &str, source: Source) -> Result<&'static Program, Diagnostics> {
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(program) = known.get(&source) {
            return Ok(program);
        }
        let file = parse_model(source_name, source.text.as_bytes())?;
        let program = &*Box::leak(Box::new(Program::new(file, source.clone())));
        known.insert(source, program);
        Ok(program)
    }

    fn new(file: ModelFile, source: Source) -> Program {
        // The caller keeps the program as long as the process.
        let leaked = |text: &str| -> &'static str { String::leak(text.to_owned()) };
        let words = Words {
            model: leaked(&format!("model {}", file.name)),
            seed: "the random numbers of its trials",
            comparison: comparison(&file).map_or("", |example| leaked(&example)),
            ..Words::default()
        };
        let population = |(name, _): &(String, Arithmetic)| Population {
            name: leaked(name),
            cell: leaked(&cell_of(name)),
            cells: leaked(&format!("{}s", cell_of(name))),
        };
        let returned = |of: &granule_sweep::ReturnDeclared| Returned {
            name: leaked(&of.name),
            unit: leaked(&of.unit),
            about: leaked(&of.about),
        };
        let name = format!("{}@{}", file.name, identity(&file, &source));
        Program {
            name: leaked(&name),
            space: Box::leak(Box::new(Space::new(file.parameters.clone()).with_words(words))),
            populations: file.populations.iter().map(population).collect::<Vec<_>>().leak(),
            returns: file.returns.iter().map(returned).collect::<Vec<_>>().leak(),
            kinds: files::kinds(&file).leak(),
            runner: OnceLock::new(),
            source: Box::leak(Box::new(source)),
            file,
        }
    }

    /// Returns the content of the model file.
    pub fn file(&self) -> &ModelFile {
        &self.file
    }

    /// Sets the runner of this program in this process. It also runs the programs whose model files differ in comments and
    /// other texts that decide no result. A second call changes nothing.
    pub fn attach(&self, runner: &Arc<dyn Runner>) {
        let known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        for program in known.values().filter(|program| program.name == self.name) {
            let _ = program.runner.set(Arc::clone(runner));
        }
    }

    /// Returns it as an engine.
    pub fn engine(&'static self) -> &'static dyn Engine {
        self
    }
}

/// Hashes all that determines results, besides the values of parameters.
fn identity(file: &ModelFile, source: &Source) -> String {
    let mut hash = Hash::plain("granule program");
    let list = |hash: &mut Hash, texts: &mut dyn ExactSizeIterator<Item = &String>| {
        hash.number(texts.len() as u32);
        texts.for_each(|text| hash.text(text));
    };
    hash.text(&file.name);
    list(&mut hash, &mut file.program.iter());
    hash.number(source.files.len() as u32);
    for (path, content) in &source.files {
        hash.text(path);
        hash.text(content);
    }
    hash.number(file.populations.len() as u32);
    for (name, size) in &file.populations {
        hash.text(name);
        hash.text(&size.to_string());
    }
    hash.text(&file.duration.as_ref().map_or(String::new(), Arithmetic::to_string));
    hash.number(file.steps_per_ms);
    hash.number(file.returns.len() as u32);
    for returned in &file.returns {
        hash.text(&returned.name);
        hash.text(&returned.unit);
        let shape: Vec<String> = returned.shape.iter().map(Arithmetic::to_string).collect();
        list(&mut hash, &mut shape.iter());
    }
    hash.finish()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Checks that a trial's result can be held in memory.
fn check_size(file: &ModelFile, values: &Values, sizes: &Sizes) -> Result<(), Inconsistent> {
    let paths = |of: &mut dyn Iterator<Item = &Arithmetic>| -> Vec<&'static str> {
        let paths = of.flat_map(Arithmetic::paths);
        paths.filter_map(|path| values.space().parameter(path)).map(|parameter| parameter.path).collect()
    };
    if let Some(((name, of), cells)) =
        file.populations.iter().zip(&sizes.populations).find(|(_, cells)| **cells > MOST_CELLS)
    {
        return Err(Inconsistent {
            message: format!("population `{name}` has {cells} cells; at most {MOST_CELLS} are possible"),
            paths: paths(&mut std::iter::once(of)),
            remedy: "use fewer cells".to_owned(),
        });
    }
    let elements: u64 = sizes
        .shapes
        .iter()
        .map(|axes| axes.iter().fold(1_u64, |all, &of| all.saturating_mul(of.into())))
        .fold(0, u64::saturating_add);
    if elements > MOST_VALUES {
        return Err(Inconsistent {
            message: format!("a trial returns {elements} values; at most {MOST_VALUES} are possible"),
            paths: paths(&mut file.returns.iter().flat_map(|returned| &returned.shape)),
            remedy: "return fewer samples, or means".to_owned(),
        });
    }
    Ok(())
}

/// Returns an example of a comparison between a parameter and its default, for command lines.
fn comparison(file: &ModelFile) -> Option<String> {
    let number = |parameter: &Parameter| match &parameter.default {
        Value::Number(x) => {
            Some(format!("{} > {x} {}", parameter.path, parameter.unit()).trim_end().to_owned())
        }
        Value::Count(n) => Some(format!("{} > {n}", parameter.path)),
        _ => None,
    };
    file.parameters.iter().find_map(number)
}

impl Engine for Program {
    fn name(&self) -> &'static str {
        self.name
    }

    fn revision(&self) -> u32 {
        REVISION
    }

    fn space(&self) -> &'static Space {
        self.space
    }

    fn populations(&self) -> &'static [Population] {
        self.populations
    }

    fn returns(&self) -> &'static [Returned] {
        self.returns
    }

    fn source(&self) -> Option<&'static Source> {
        Some(self.source)
    }

    fn threads(&self) -> u32 {
        self.file.threads
    }

    fn needs_equal_versions(&self) -> bool {
        !self.file.versions_may_differ
    }

    fn check(&self, values: &Values) -> Result<(Identity, Facts), Inconsistent> {
        let sizes = self.file.sizes(values)?;
        check_size(&self.file, values, &sizes)?;
        let Sizes { populations, steps, shapes, .. } = sizes;
        let steps_per_ms = self.file.steps_per_ms;
        // A model without populations may have no duration.
        let time = TimeAxis { step_ms: 1.0 / f64::from(steps_per_ms), steps_per_ms, steps: steps.max(1) };
        let mut hash = Hash::new("granule condition", self);
        for (parameter, value) in values.iter() {
            hash.text(parameter.path);
            // The program gets the number in this unit.
            hash.text(parameter.unit());
            match value {
                // A program gets a list as it is written, so its order counts.
                Value::Numbers(list) => {
                    hash.number(list.len() as u32);
                    list.iter().for_each(|x| hash.float(*x));
                }
                value => hash.value(value),
            }
        }
        hash.number(time.steps);
        populations.iter().for_each(|cells| hash.number(*cells));
        for axes in &shapes {
            hash.number(axes.len() as u32);
            axes.iter().for_each(|length| hash.number(*length));
        }
        let fingerprint = Fingerprint(hash.finish());
        let cells: u64 = populations.iter().map(|&cells| u64::from(cells)).sum();
        // A program computes one condition at a time.
        let cohort = CohortKey(fingerprint.0);
        let identity = Identity { fingerprint, fingerprint_0_1_0: fingerprint, cohort };
        let facts = Facts {
            sizes: populations,
            returns: shapes,
            time,
            items_per_trial: 0,
            cost_per_trial: 1.0,
            most_spikes: cells.saturating_mul(time.steps.into()),
            stimuli_ms: Vec::new(),
            stimulus_steps: Vec::new(),
        };
        Ok((identity, facts))
    }

    fn is_idle(&self, _: &str, _: &Values) -> bool {
        false
    }

    fn notes(&self, _: &Model) -> Vec<Note> {
        Vec::new()
    }

    fn to_spike_less(&self, _: Option<&Model>) -> String {
        format!("make the cells of model {} fire less, or its trials shorter", self.file.name)
    }

    fn recounted(&self, _: &Model) -> Vec<Recounted> {
        Vec::new()
    }

    fn parts(&self) -> Option<Parts> {
        None
    }

    fn stream(&self, _: &Model, seed: u32) -> StreamKey {
        let mut hash = Hash::new("granule stream", self);
        hash.number(seed);
        StreamKey(hash.finish())
    }

    fn shipped(&self, _: &Model, _: u32) -> Vec<u32> {
        Vec::new()
    }

    fn survey(&self, _: &Model, _: u32, _: Range<u32>) -> Result<Vec<u32>, Unable> {
        Err(Unable(format!("model {} has no stream to survey", self.file.name)))
    }

    fn compute(&self, shard: &Shard<'_>, take: &mut Take<'_>) -> Result<(), Unable> {
        match self.runner.get() {
            Some(runner) => runner.compute(shard, take),
            None => Err(Unable(format!("the program of model {} was not started here", self.file.name))),
        }
    }

    fn kinds(&self) -> &'static [FileKind] {
        self.kinds
    }

    fn files(&self, model: &Model, prefix: &str, _: Option<&str>, trials: u32) -> Vec<File> {
        files::files(model, prefix, trials)
    }

    fn can_name(&self, name: &str) -> bool {
        files::can_name(name)
    }

    fn derive(&self, model: &Model, _: u32, trials: u32, arrays: &[&str]) -> Box<dyn Derive> {
        Box::new(Arrays::new(model, trials, arrays))
    }

    fn memory(&self, models: &[&Model], trials: u32) -> Memory {
        let derive = models.iter().map(|model| files::bytes_to_derive(model, trials)).max().unwrap_or(0);
        // The program has processes of its own.
        Memory { compute: 0, derive }
    }

    fn shortened(&self, _: &Model, _: u64) -> Option<Model> {
        None
    }

    fn template(&self) -> String {
        String::new()
    }
}

/// Returns the words for a cell of the population with this name. The name may already be or end with `cell` or `cells`.
fn cell_of(name: &str) -> String {
    let stem = name.strip_suffix("cells").or_else(|| name.strip_suffix("cell")).unwrap_or(name);
    let stem = stem.trim_end_matches(['_', '-', ' ']);
    if stem.is_empty() { "cell".to_owned() } else { format!("{stem} cell") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "granule-model: 1\nname: toy\nabout: a toy\nprogram: [python, toy.py]\nfiles: [toy.py]\n\
        parameters: { a.times: { default: [2 ms, 1 ms] }, a.cells: { default: 4 } }\n\
        populations: { cells: a.cells }\nduration: 10 ms\nlimits: { time: 5 s }\n";

    fn program(text: &str, content: &str) -> &'static Program {
        let files = vec![("toy.py".to_owned(), content.to_owned())];
        Program::of("toy.model.yaml", Source { text: text.to_owned(), files }).expect("a model file")
    }

    fn fingerprint(program: &'static Program, set: &[(&str, Value)]) -> Fingerprint {
        let mut values = program.space().defaults();
        for (path, value) in set {
            let parameter = values.space().parameter(path).expect("a parameter");
            values.set(parameter, value.clone()).expect("in range");
        }
        Model::new(program.engine(), values).expect("consistent").fingerprint()
    }

    #[test]
    fn words_for_cells_do_not_repeat_the_word() {
        let expected = ["cell", "cell", "golgi cell", "golgi cell", "first cell"];
        assert_eq!(["cells", "cell", "golgi_cells", "golgi", "first"].map(cell_of), expected);
    }

    #[test]
    fn keys_have_all_that_decides_a_result_and_nothing_else() {
        let base = fingerprint(program(TEXT, "1"), &[]);
        let same = [
            TEXT.replace("a toy", "another text"),
            TEXT.replace("time: 5 s", "time: 50 s"),
            TEXT.replace("default: 4 }", "default: 4, range: [1, 9], about: cells }"),
            format!("{TEXT}threads: 2\nversions_may_differ: true\n"),
            format!("# a comment\n{TEXT}"),
        ];
        for text in same {
            assert_eq!(fingerprint(program(&text, "1"), &[]), base, "{text}");
        }
        let different = [
            TEXT.replace("name: toy", "name: yot"),
            TEXT.replace("[python, toy.py]", "[python, -O, toy.py]"),
            TEXT.replace("cells: a.cells", "cells: 2 * a.cells"),
            TEXT.replace("cells: a.cells", "others: a.cells"),
            TEXT.replace("10 ms", "20 ms"),
            format!("{TEXT}resolution: 1 ms\n"),
            format!("{TEXT}returns: {{ rate: {{}} }}\n"),
        ];
        for text in different {
            assert_ne!(fingerprint(program(&text, "1"), &[]), base, "{text}");
        }
        assert_ne!(fingerprint(program(TEXT, "2"), &[]), base, "another content of a file");
        let cells = |n| fingerprint(program(TEXT, "1"), &[("a.cells", Value::Count(n))]);
        // The same number and the same arithmetic, in another unit.
        let timed = |unit: &str| {
            let text = TEXT.replace("a.cells:", &format!("a.tau: {{ default: 10 {unit} }}, a.cells:"));
            fingerprint(program(&text.replace("duration: 10 ms", "duration: 3 * a.tau"), "1"), &[])
        };
        assert_ne!(timed("ms"), timed("s"));
        assert_ne!(cells(5), base);
        assert_eq!(cells(4), base);
        // A program gets lists in their order.
        let times =
            |list: [f64; 2]| fingerprint(program(TEXT, "1"), &[("a.times", Value::Numbers(list.to_vec()))]);
        assert_eq!(times([2.0, 1.0]), base);
        assert_ne!(times([1.0, 2.0]), base);
    }

    #[test]
    fn equal_sources_are_one_program() {
        assert!(std::ptr::eq(program(TEXT, "1"), program(TEXT, "1")));
        assert!(!std::ptr::eq(program(TEXT, "1"), program(TEXT, "2")));
    }

    #[test]
    fn results_that_memory_cannot_hold_are_refused() {
        let check = |text: String, message: &str| {
            let program = program(&text, "1");
            let error = program.check(&program.space().defaults()).expect_err(&text);
            assert!(error.message.contains(message), "{error}");
        };
        check(TEXT.replace("cells: a.cells", "cells: 100000001"), "at most 100000000 are possible");
        check(
            format!("{TEXT}returns: {{ course: {{ shape: [10000, 10000] }} }}\n"),
            "a trial returns 100000000 values",
        );
    }
}
