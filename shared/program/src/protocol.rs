//! The messages between a worker and a program: version 1. docs/programs.md specifies them.
//!
//! Requests and answers are JSON objects, one a line. An answer may be followed by a block of raw bytes.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use granule_engine::spikes::{MOST_SPIKES, size_of};
use granule_engine::{Model, NoResult, Spike, TrialSpikes, Value};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::json;

/// Version of the protocol.
pub const VERSION: u32 = 1;

/// The descriptors of the program: requests come in by the first, and answers go out by the second.
pub const REQUESTS: u32 = 3;
/// See [`REQUESTS`].
pub const ANSWERS: u32 = 4;

/// Largest length of an answer's line, in bytes.
pub const LONGEST_LINE: usize = 1 << 28;

/// Largest length of an answer's block, in bytes: a cell and a time of 8 bytes each for the largest number of spikes.
pub const LARGEST_BLOCK: u64 = 16 * MOST_SPIKES + (1 << 30);

/// Limits on the versions that a program reports, and on the characters of each.
const MOST_VERSIONS: usize = 64;
const LONGEST_VERSION: usize = 200;

/// Limit on the characters of a failure that is passed on.
const LONGEST_FAILURE: usize = 8 << 10;

/// Returns the first request, to the program of the model of this name.
pub fn greeting(model: &str) -> String {
    format!("{}\n", json!({ "granule": VERSION, "model": model }))
}

/// Returns the request for a trial, with the number `id`.
pub fn request(id: u64, model: &Model, seed: u32, trial: u32) -> String {
    let value = |value: &Value| match value {
        Value::Number(x) => json!(x),
        Value::Count(n) => json!(n),
        Value::Flag(flag) => json!(flag),
        Value::Numbers(list) => json!(list),
        Value::Choice(name) => json!(name),
        Value::Factor(_) => unreachable!("a user's model has no factors by cell"),
    };
    let parameters: serde_json::Map<_, _> =
        model.values().iter().map(|(parameter, of)| (parameter.path.to_owned(), value(of))).collect();
    let names = model.engine().populations().iter().map(|population| population.name.to_owned());
    let populations: serde_json::Map<_, _> =
        names.zip(model.sizes().iter().map(|&cells| json!(cells))).collect();
    let time = model.time();
    let mut request = json!({
        "id": id,
        "condition": &model.fingerprint().to_string()[..32],
        "parameters": parameters,
        "seed": seed,
        "trial": trial,
        "network_seed": network_seed(seed),
        "trial_seed": trial_seed(seed, trial),
        "populations": populations,
    });
    // A model that returns no spikes may have no duration. It then has a single step.
    if !model.sizes().is_empty() || time.steps > 1 {
        request["duration_ms"] = json!(time.duration_ms());
        request["resolution_ms"] = json!(time.step_ms);
    }
    format!("{request}\n")
}

/// Returns the number to seed what all trials of a seed share, such as the network.
pub fn network_seed(seed: u32) -> u32 {
    mix(seed ^ 0x6e65_7477)
}

/// Returns the number to seed a trial. It differs between the trials of a seed.
pub fn trial_seed(seed: u32, trial: u32) -> u32 {
    mix(mix(seed).wrapping_add(trial))
}

/// Mixes the bits of a number. Different numbers stay different. Source: the finaliser of MurmurHash3 by A. Appleby,
/// 32 bits.
fn mix(mut x: u32) -> u32 {
    x ^= x >> 16;
    x = x.wrapping_mul(0x85eb_ca6b);
    x ^= x >> 13;
    x = x.wrapping_mul(0xc2b2_ae35);
    x ^ x >> 16
}

/// The line of an answer.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    granule: Option<u32>,
    #[serde(default)]
    versions: BTreeMap<String, String>,
    id: Option<u64>,
    #[serde(default)]
    bytes: u64,
    error: Option<String>,
    #[serde(default)]
    spikes: BTreeMap<String, Train>,
    #[serde(default)]
    values: BTreeMap<String, Elements>,
}

/// The spikes of a population.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Train {
    cells: Elements,
    times: Elements,
}

/// A number or an array.
#[derive(Debug)]
enum Elements {
    Raw(Raw),
    /// `null` stands for NaN.
    Number(f64),
    /// A list of numbers.
    Numbers(Vec<f64>),
    /// A list of lists.
    Lists(Vec<Elements>),
}

impl<'de> Deserialize<'de> for Elements {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Elements, D::Error> {
        deserializer.deserialize_any(ElementsVisitor)
    }
}

/// Reads numbers into vectors as they come, because an answer may have millions.
struct ElementsVisitor;

impl<'de> Visitor<'de> for ElementsVisitor {
    type Value = Elements;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, a list of numbers, or a raw array")
    }

    fn visit_f64<E>(self, x: f64) -> Result<Elements, E> {
        Ok(Elements::Number(x))
    }

    fn visit_i64<E>(self, x: i64) -> Result<Elements, E> {
        Ok(Elements::Number(x as f64))
    }

    fn visit_u64<E>(self, x: u64) -> Result<Elements, E> {
        Ok(Elements::Number(x as f64))
    }

    fn visit_unit<E>(self) -> Result<Elements, E> {
        Ok(Elements::Number(f64::NAN))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Elements, A::Error> {
        let (mut numbers, mut lists) = (Vec::new(), Vec::new());
        while let Some(item) = list.next_element()? {
            match item {
                Elements::Number(x) if lists.is_empty() => numbers.push(x),
                Elements::Numbers(_) | Elements::Lists(_) if numbers.is_empty() => lists.push(item),
                Elements::Raw(_) => return Err(A::Error::custom("a raw array inside a list")),
                _ => return Err(A::Error::custom("a list of numbers and lists")),
            }
        }
        Ok(if lists.is_empty() { Elements::Numbers(numbers) } else { Elements::Lists(lists) })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Elements, A::Error> {
        Raw::deserialize(MapAccessDeserializer::new(map)).map(Elements::Raw)
    }
}

/// An array in the block.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    raw: String,
    at: u64,
    count: u64,
    /// Lengths of the axes, if the program states them.
    shape: Option<Vec<u32>>,
}

impl Answer {
    /// Parses the line of an answer, without the line feed.
    ///
    /// # Errors
    /// The mistake in the line.
    pub fn parse(line: &[u8]) -> Result<Answer, String> {
        let shown = || String::from_utf8_lossy(&line[..line.len().min(80)]).escape_debug().to_string();
        let answer: Answer = serde_json::from_slice(line).map_err(|error| {
            // An error may quote a text of any length.
            let error: String = error.to_string().chars().take(300).collect();
            format!("the answer is not one of the protocol: {error}; it begins `{}`", shown())
        })?;
        if answer.bytes > LARGEST_BLOCK {
            return Err(format!(
                "the answer has a block of {} bytes; at most {LARGEST_BLOCK} are possible",
                answer.bytes
            ));
        }
        Ok(answer)
    }

    /// Checks that this is the answer to the request with this number.
    ///
    /// # Errors
    /// If it is not. The program is then out of step, and its further answers cannot be trusted.
    pub fn check_id(&self, id: u64) -> Result<(), String> {
        match self.id {
            Some(found) if found == id => Ok(()),
            Some(found) => Err(format!("the answer has `id` {found}, but the request had {id}")),
            None => Err(format!("the answer has no `id`, but the request had {id}")),
        }
    }

    /// Whether the program reports that it failed.
    pub fn is_error(&self) -> bool {
        self.error.is_some()
    }

    /// Returns the number of bytes in the block that follows the line.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the versions in the answer to the greeting, by package.
    ///
    /// # Errors
    /// If it is not such an answer.
    pub fn versions(self) -> Result<BTreeMap<String, String>, String> {
        match (self.granule, self.error) {
            (_, Some(error)) => Err(format!("the program reports an error: {}", shortened(&error))),
            (Some(VERSION), None) => {
                let limited = self.versions.into_iter().take(MOST_VERSIONS).map(|(package, version)| {
                    (
                        package.chars().take(LONGEST_VERSION).collect(),
                        version.chars().take(LONGEST_VERSION).collect(),
                    )
                });
                Ok(limited.collect())
            }
            (Some(other), None) => Err(format!(
                "the program speaks version {other} of the protocol, and this granule version {VERSION}"
            )),
            (None, None) => Err(format!("the first answer must be `{{\"granule\": {VERSION}}}`")),
        }
    }

    /// Returns the result of a trial, from an answer to its request and the block.
    ///
    /// # Errors
    /// The program's own error, or the mistake in the answer.
    pub fn result(self, model: &Model, block: &[u8]) -> Result<TrialSpikes, NoResult> {
        if let Some(error) = self.error {
            return Err(NoResult::Failed(shortened(&error)));
        }
        let engine = model.engine();
        let populations: Vec<&str> = engine.populations().iter().map(|population| population.name).collect();
        let returns: Vec<&str> = engine.returns().iter().map(|returned| returned.name).collect();
        let block = Block(block);
        let check = || {
            same_names("spikes", "population", &populations, self.spikes.keys())?;
            same_names("values", "value", &returns, self.values.keys())
        };
        check().map_err(NoResult::Failed)?;
        let mut left = MOST_SPIKES;
        let mut trains = Vec::with_capacity(populations.len());
        for (&name, &cells) in populations.iter().zip(model.sizes()) {
            let train = train(name, &self.spikes[name], &block, cells, model, &mut left);
            trains.push(train?);
        }
        let mut values = Vec::with_capacity(returns.len());
        for (&name, axes) in returns.iter().zip(&model.facts().returns) {
            values.push(self.values[name].shaped(name, axes, &block).map_err(NoResult::Failed)?);
        }
        Ok(TrialSpikes { trains, values })
    }
}

/// Returns a text with its end only, if it is long: the end of a traceback names the exception.
pub fn shortened(text: &str) -> String {
    let text = text.trim_end();
    match text.char_indices().rev().nth(LONGEST_FAILURE) {
        None if text.is_empty() => "the program reports an error without a text".to_owned(),
        None => text.to_owned(),
        Some((at, _)) => format!("…{}", &text[at..]),
    }
}

/// Checks that an answer has exactly these names.
fn same_names<'a>(
    key: &str,
    what: &str,
    expected: &[&str],
    found: impl Iterator<Item = &'a String> + Clone,
) -> Result<(), String> {
    let listed = |names: &[&str]| match names {
        [] => "none".to_owned(),
        names => names.join(", "),
    };
    if let Some(unknown) = found.clone().find(|name| !expected.contains(&name.as_str())) {
        let unknown: String = unknown.chars().take(60).collect();
        return Err(format!(
            "`{key}` has `{}`, which is not a {what} of the model file; it has {}",
            unknown.escape_debug(),
            listed(expected)
        ));
    }
    let is_missing = |name: &&&str| !found.clone().any(|found| found == **name);
    match expected.iter().find(is_missing) {
        Some(missing) => Err(format!("`{key}` lacks {what} `{missing}`")),
        None => Ok(()),
    }
}

/// Returns the spikes of a population in the order of the encoding.
fn train(
    name: &str,
    found: &Train,
    block: &Block<'_>,
    cells: u32,
    model: &Model,
    left: &mut u64,
) -> Result<Vec<Spike>, NoResult> {
    let wrong = |what: String| NoResult::Failed(format!("population `{name}`: {what}"));
    let at = |key: &str, error: String| wrong(format!("`{key}`: {error}"));
    let cell_list = found.cells.vector(block).map_err(|error| at("cells", error))?;
    let times = found.times.vector(block).map_err(|error| at("times", error))?;
    if cell_list.len() != times.len() {
        return Err(wrong(format!("{} cells, but {} times", cell_list.len(), times.len())));
    }
    let most = model.facts().most_spikes;
    if times.len() as u64 > most {
        return Err(wrong(format!("{} spikes, but its cells and steps allow {most}", times.len())));
    }
    *left = left.checked_sub(times.len() as u64).ok_or(NoResult::TooLarge)?;
    let time = model.time();
    let mut train = Vec::with_capacity(times.len());
    let mut before = 0.0;
    for (i, (&cell, &ms)) in cell_list.iter().zip(times.iter()).enumerate() {
        if !(cell >= 0.0 && cell < f64::from(cells) && cell.fract() == 0.0) {
            return Err(wrong(format!(
                "spike {i} is of cell {cell}, which does not exist; it has {cells} cells, numbered from 0"
            )));
        }
        if ms.is_nan() || ms < 0.0 {
            return Err(wrong(format!("spike {i} is at {ms} ms; times start at 0 ms")));
        }
        if ms < before {
            return Err(wrong(format!(
                "spike {i} is at {ms} ms, after one at {before} ms; sort spikes by time"
            )));
        }
        before = ms;
        let step = (ms * f64::from(time.steps_per_ms)).round();
        if step >= f64::from(time.steps) {
            return Err(wrong(format!(
                "spike {i} is at {ms} ms, but the trial ends at {} ms (its last step begins at {} ms)",
                time.duration_ms(),
                f64::from(time.steps - 1) / f64::from(time.steps_per_ms)
            )));
        }
        train.push(Spike { step: step as u32, cell: cell as u32 });
    }
    train.sort_unstable();
    if let Some([twice, _]) = train.array_windows().find(|[a, b]| a == b) {
        return Err(wrong(format!(
            "cell {} spikes twice in the step at {} ms; choose a smaller `resolution` in the model file",
            twice.cell,
            f64::from(twice.step) / f64::from(time.steps_per_ms)
        )));
    }
    Ok(train)
}

impl Elements {
    /// Returns a list of numbers.
    fn vector(&self, block: &Block<'_>) -> Result<Cow<'_, [f64]>, String> {
        match self {
            Elements::Raw(raw) => block.read(raw).map(Cow::Owned),
            Elements::Numbers(numbers) => Ok(Cow::Borrowed(numbers)),
            Elements::Lists(_) => Err("a list of lists, but a list of numbers is needed".to_owned()),
            Elements::Number(_) => Err("a number, but a list is needed".to_owned()),
        }
    }

    /// Returns the elements of an array with axes of these lengths, in C order.
    fn shaped(&self, name: &str, axes: &[u32], block: &Block<'_>) -> Result<Vec<f64>, String> {
        let size = size_of(axes);
        let mut elements = Vec::with_capacity(size);
        match self {
            Elements::Raw(Raw { shape: Some(shape), .. }) if shape != axes => {
                let found = if shape.is_empty() { "a number".to_owned() } else { in_words(shape) };
                return Err(format!("value `{name}` is {found}; {} are needed", in_words(axes)));
            }
            Elements::Raw(raw) => {
                elements = block.read(raw).map_err(|error| format!("value `{name}`: {error}"))?
            }
            _ => self.flatten(name, axes, &mut elements)?,
        }
        if elements.len() != size {
            return Err(format!(
                "value `{name}` has {} elements; {} are needed",
                elements.len(),
                in_words(axes)
            ));
        }
        match elements.iter().find(|x| x.is_infinite()) {
            Some(_) => {
                Err(format!("value `{name}` is infinite; a value must be finite, or NaN if there is none"))
            }
            None => Ok(elements),
        }
    }

    fn flatten(&self, name: &str, axes: &[u32], elements: &mut Vec<f64>) -> Result<(), String> {
        let of_length = |length: u32, found: usize| match found == length as usize {
            true => Ok(()),
            false => Err(format!("value `{name}` has an axis of {found} elements; {length} are needed")),
        };
        match (self, axes) {
            (Elements::Number(x), []) => elements.push(*x),
            (Elements::Numbers(numbers), [length]) => {
                of_length(*length, numbers.len())?;
                elements.extend_from_slice(numbers);
            }
            (Elements::Lists(lists), [length, rest @ ..]) if !rest.is_empty() => {
                of_length(*length, lists.len())?;
                lists.iter().try_for_each(|list| list.flatten(name, rest, elements))?;
            }
            (_, []) => return Err(format!("value `{name}` must be a number, not a list")),
            _ => return Err(format!("value `{name}` must be an array of {}", in_words(axes))),
        }
        Ok(())
    }
}

/// Returns the size of an array as words.
fn in_words(axes: &[u32]) -> String {
    match axes {
        [] => "1".to_owned(),
        axes => axes.iter().map(u32::to_string).collect::<Vec<_>>().join(" × "),
    }
}

/// The block of an answer.
struct Block<'a>(&'a [u8]);

impl Block<'_> {
    fn read(&self, raw: &Raw) -> Result<Vec<f64>, String> {
        let Raw { raw: dtype, at, count, .. } = raw;
        macro_rules! read {
            ($number:ty) => {{
                let bytes = self.bytes(*at, *count, size_of::<$number>() as u64)?;
                let chunks = bytes.as_chunks().0.iter();
                Ok(chunks.map(|bytes| <$number>::from_le_bytes(*bytes) as f64).collect())
            }};
        }
        use std::mem::size_of;
        match dtype.as_str() {
            "<f4" => read!(f32),
            "<f8" => read!(f64),
            "<i4" => read!(i32),
            "<u4" => read!(u32),
            "<i8" => read!(i64),
            "<u8" => read!(u64),
            other => Err(format!(
                "unknown type `{}` of a raw array; the types are <f4, <f8, <i4, <u4, <i8 and <u8",
                other.chars().take(20).collect::<String>().escape_debug()
            )),
        }
    }

    fn bytes(&self, at: u64, count: u64, size: u64) -> Result<&[u8], String> {
        let end = count.checked_mul(size).and_then(|bytes| at.checked_add(bytes));
        let range = end.filter(|end| *end <= self.0.len() as u64).map(|end| at as usize..end as usize);
        range.and_then(|range| self.0.get(range)).ok_or_else(|| {
            format!(
                "{count} elements of {size} bytes from byte {at} on exceed the block of {} bytes",
                self.0.len()
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use granule_engine::Source;

    use super::*;
    use crate::Program;

    fn model() -> Model {
        let text = "granule-model: 1\nname: toy\nprogram: [toy]\nfiles: [toy]\n\
                    parameters: { a.weight: { default: 1.5 nS }, a.cells: { default: 4 }, a.times: { default: [2 ms, 1 ms] } }\n\
                    populations: { cells: a.cells }\nduration: 10 ms\nreturns: { rate: { unit: Hz }, course: { shape: [2, 3] } }\n";
        let source = Source { text: text.to_owned(), files: Vec::new() };
        let engine = Program::of("toy.model.yaml", source).expect("a model file").engine();
        Model::new(engine, engine.space().defaults()).expect("its defaults are right")
    }

    fn result(line: &str, block: &[u8]) -> Result<TrialSpikes, NoResult> {
        let answer = Answer::parse(line.as_bytes()).expect("an answer");
        assert_eq!(answer.check_id(7), Ok(()));
        answer.result(&model(), block)
    }

    #[test]
    fn a_request_has_all_that_a_trial_depends_on() {
        let request: serde_json::Value = serde_json::from_str(&request(7, &model(), 451, 1)).expect("JSON");
        assert_eq!(
            request,
            json!({
                "id": 7,
                "condition": &model().fingerprint().to_string()[..32],
                "parameters": { "a.weight": 1.5, "a.cells": 4, "a.times": [2.0, 1.0] },
                "seed": 451,
                "trial": 1,
                "network_seed": network_seed(451),
                "trial_seed": 2_343_682_635_u32,
                "populations": { "cells": 4 },
                "duration_ms": 10.0,
                "resolution_ms": 0.1,
            })
        );
        assert_eq!(greeting("toy"), "{\"granule\":1,\"model\":\"toy\"}\n");
    }

    /// The numbers of docs/programs.md, which other languages compute by the same rule.
    #[test]
    fn seeds_follow_the_documented_rule() {
        assert_eq!([trial_seed(451, 0), trial_seed(451, 1)], [1_564_052_462, 2_343_682_635]);
        let seeds: std::collections::BTreeSet<u32> = (0..100_000).map(|trial| trial_seed(1, trial)).collect();
        assert_eq!(seeds.len(), 100_000);
    }

    #[test]
    fn lists_and_raw_arrays_are_the_same() {
        let lists = result(
            "{\"id\":7,\"spikes\":{\"cells\":{\"cells\":[3,0],\"times\":[0.5,0.54]}},\
             \"values\":{\"rate\":null,\"course\":[[1,2,3],[4,5,6]]}}",
            &[],
        )
        .expect("a result");
        // Both times are nearest to step 5, in which cells are in order.
        assert_eq!(lists.trains, [[Spike { step: 5, cell: 0 }, Spike { step: 5, cell: 3 }]]);
        assert!(lists.values[0][0].is_nan());
        let mut block: Vec<u8> = [3_i32, 0].iter().flat_map(|cell| cell.to_le_bytes()).collect();
        block.extend([0.5_f64, 0.54].iter().flat_map(|ms| ms.to_le_bytes()));
        block.extend([1_u8, 2, 3, 4, 5, 6].iter().flat_map(|x| f32::from(*x).to_le_bytes()));
        let raw = |shape: &str| {
            let line = format!(
                "{{\"id\":7,\"bytes\":48,\"spikes\":{{\"cells\":{{\"cells\":{{\"raw\":\"<i4\",\"at\":0,\"count\":2}},\
                 \"times\":{{\"raw\":\"<f8\",\"at\":8,\"count\":2}}}}}},\"values\":{{\"rate\":null,\"course\":\
                 {{\"raw\":\"<f4\",\"at\":24,\"count\":6{shape}}}}}}}"
            );
            result(&line, &block)
        };
        assert_eq!(raw("").as_ref(), Ok(&lists));
        assert_eq!(raw(",\"shape\":[2,3]"), Ok(lists));
        let transposed = NoResult::Failed("value `course` is 3 × 2; 2 × 3 are needed".to_owned());
        assert_eq!(raw(",\"shape\":[3,2]"), Err(transposed));
    }

    /// A number is the same double in JSON and in a raw array.
    #[test]
    fn numbers_are_read_exactly() {
        let mut bits = 0x3ff0_0000_0000_0001_u64;
        for _ in 0..2000 {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let x = f64::from_bits(bits);
            if !x.is_finite() {
                continue;
            }
            let line = format!("{{\"id\":7,\"values\":{{\"rate\":{x:e}}}}}");
            let answer = Answer::parse(line.as_bytes()).expect("an answer");
            assert!(matches!(answer.values["rate"], Elements::Number(found) if found == x), "{x:e}");
        }
    }

    #[test]
    fn versions_are_limited() {
        let versions = |line: &str| Answer::parse(line.as_bytes()).expect("an answer").versions();
        let found = versions("{\"granule\":1,\"versions\":{\"numpy\":\"2.3\"}}").expect("versions");
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [("numpy".to_owned(), "2.3".to_owned())]);
        assert!(
            versions("{\"granule\":2}").expect_err("another version").contains("version 2 of the protocol")
        );
        assert!(versions("{\"id\":1}").expect_err("no greeting").contains("the first answer must be"));
        let long = format!("{{\"granule\":1,\"versions\":{{\"a\":\"{}\"}}}}", "x".repeat(1000));
        assert_eq!(versions(&long).expect("versions")["a"].len(), LONGEST_VERSION);
    }
}
