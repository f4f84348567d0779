//! A sweep file as a whole.

use std::collections::HashMap;
use std::sync::Arc;

use granule_engine::{Engine, Engines, Space, Value, engine_of};

use crate::axis::{DrawnAxis, MOST_AXES, saltelli};
use crate::condition::{Condition, ConditionBase, conditions, settings};
use crate::design::Design;
use crate::diagnostics::{Diagnostics, Problem, Problems, line_number, only};
use crate::environment::Overrides;
use crate::examples;
use crate::limits::MOST_PAIRS;
use crate::names::Template;
use crate::naming::{UnfitName, check_sweep_name, unfit_sweep};
use crate::randomness::{Randomness, SHARING, make_independent, randomness};
use crate::record::{ExplicitRecord, record};
use crate::seeds::{DEFAULT_SEED, seeds};
use crate::suggest;
use crate::table::{TableFiles, Tables};
use crate::text::{Span, quote};
use crate::until::{Until, trials};
use crate::value::{self, ValueEntry, entries};
use crate::vocabulary::{self, FORMAT_OF_MODEL, KEYS, Language, MODEL, TABLE, is_key};
use crate::yaml::{self, Node};

/// The only version of the format.
const FORMAT: u32 = 1;

const DEFAULT_TRIALS: u32 = 100;

const EXAMPLE_NAME: &str = "my-sweep";

/// The sweep that a file describes: every condition with every seed, and a number of trials for each.
#[derive(Clone, Debug, PartialEq)]
pub struct Sweep {
    /// Name: letters, digits, `.`, `_` and `-`, at most 100, not starting with a dot.
    pub name: String,
    /// The path of the model file, as the sweep file writes it, if the engine is a program of the user's. `None` also if
    /// the path is unknown.
    pub model: Option<String>,
    /// The engine that computes the trials.
    pub engine: &'static dyn Engine,
    /// Whether the conditions of a seed share their random numbers.
    pub randomness: Randomness,
    /// At least one seed, each once, in order of the file.
    pub seeds: Vec<u32>,
    /// Trials of each condition and seed, at least one. If `until` decides the number and has not yet, its limit.
    pub trials: u32,
    /// The rule that decides the number of trials; `None` if the file gives the number.
    pub until: Option<Until>,
    /// At least one condition, with unique names and unique prefixes, in order of the file.
    pub conditions: Arc<Vec<Condition>>,
    /// The designs among the conditions, in order, without overlap.
    pub designs: Vec<Design>,
}

impl Sweep {
    /// Returns the rule that is still to decide the number of trials.
    pub fn undecided(&self) -> Option<&Until> {
        self.until.as_ref().filter(|until| !until.is_decided)
    }

    /// Sets the number of trials that the rule has decided.
    pub fn decide(&mut self, trials: u32) {
        self.trials = trials;
        self.until.iter_mut().for_each(|until| until.is_decided = true);
    }

    /// Returns whether the sweep has all conditions of a design: with its names and its values of the axes. The values of
    /// all other parameters must be equal, except the parameter that follows from the others.
    #[must_use]
    pub fn has_design(&self, design: &Design) -> bool {
        let space = self.engine.space();
        let Design { name, first, base_points, axes } = design;
        let mut unseen = Problems::of(space, "");
        let nowhere = Span { start: 0, end: 0 };
        let drawn: Option<Vec<DrawnAxis>> = axes
            .iter()
            .map(|&(path, distribution)| Some(DrawnAxis::new(space.parameter(path)?, distribution, nowhere)))
            .collect();
        let is_possible = (1..=MOST_AXES).contains(&axes.len()) && base_points.is_power_of_two();
        let (Some(drawn), Some(found), true) = (drawn, self.conditions.get(design.conditions()), is_possible)
        else {
            return false;
        };
        let Some(made) = saltelli(&drawn, *base_points, &mut unseen) else { return false };
        let Some(template) = Template::read(name, nowhere, &made, false, &mut unseen) else { return false };
        let sharing = space.sharing().filter(|_| self.randomness == Randomness::Independent);
        let may_differ = |path: &str| {
            sharing.is_some_and(|sharing| sharing.stream == path)
                || axes.iter().any(|(axis, _)| *axis == path)
        };
        let start = &self.conditions[*first];
        found.iter().enumerate().all(|(row, condition)| {
            let values: Vec<&Value> = made.iter().map(|axis| &axis.values[row].0).collect();
            let mut of_axes = made.iter().zip(&values);
            let mut of_all = condition.model.values().iter().zip(start.model.values().iter());
            condition.name == template.name(row, &values, "")
                && (condition.preset, condition.record) == (None, start.record)
                && of_axes.all(|(axis, value)| condition.model.values().of(axis.parameter) == *value)
                && of_all.all(|((of, value), (_, first))| value == first || may_differ(of.path))
        })
    }
}

/// Reads a sweep file that names no tables.
///
/// The file chooses one of the engines, by default the first, and sets parameters of that engine. If the file names a
/// model file, the caller gets its path from [`model_of`], and passes the program of that model as the only engine.
/// Diagnostics call the file `source_name`. `default_name` names the sweep if the file does not. `overrides`
/// replace settings of the file.
///
/// # Errors
/// All problems found, except those that another problem hides.
///
/// # Panics
/// If there are no engines.
pub fn parse(
    engines: Engines,
    source_name: &str,
    bytes: &[u8],
    default_name: &str,
    overrides: &Overrides,
) -> Result<Sweep, Diagnostics> {
    parse_with_tables(engines, source_name, bytes, default_name, overrides, &Tables::new())
}

/// Reads a sweep file like [`parse`], with the tables that the file names. The caller gets their paths from
/// [`tables_of`]; they are relative to the folder of the sweep file.
///
/// # Errors
/// All problems found, except those that another problem hides.
///
/// # Panics
/// If there are no engines.
pub fn parse_with_tables(
    engines: Engines,
    source_name: &str,
    bytes: &[u8],
    default_name: &str,
    overrides: &Overrides,
    tables: &Tables,
) -> Result<Sweep, Diagnostics> {
    let tables = TableFiles { tables, sweep_file: source_name };
    let space = engines[0].space();
    let text = match yaml::decode(space.into(), bytes) {
        Ok(text) => text,
        Err((problem, text)) => return Err(only(space, problem, source_name, &text)),
    };
    let root = yaml::load(space.into(), text).map_err(|problem| only(space, problem, source_name, text))?;
    let chosen = chosen_engine(engines, &root);
    let space = chosen.space();
    let mut problems = Problems::of(space, text);
    let sweep = sweep(engines, chosen, &root, default_name, (overrides, tables), &mut problems);
    match (problems.finish(source_name), sweep) {
        (Some(diagnostics), _) => Err(diagnostics),
        (None, Some(sweep)) => Ok(sweep),
        // Not reached: every part that could not be read has been reported.
        (None, None) => {
            let problem = Problem::of_file("the sweep cannot be read").help(examples::smallest_sweep(space));
            Err(only(space, problem, source_name, text))
        }
    }
}

/// Returns the path of the model file that a sweep file names with the key `model`, as the file writes it. Returns `None`
/// if the file has no such key, the value is not a text, or the file cannot be read. [`parse`] reports these problems.
///
/// ```
/// let text = b"model: ei.model.yaml\nconditions: [{ name: a }]";
/// assert_eq!(granule_sweep::model_of(text).as_deref(), Some("ei.model.yaml"));
/// assert_eq!(granule_sweep::model_of(b"conditions: [Control]"), None);
/// ```
pub fn model_of(bytes: &[u8]) -> Option<String> {
    // The parameters of a sweep file affect messages only.
    let text = yaml::decode(Language::Model, bytes).ok()?;
    let root = yaml::load(Language::Model, text).ok()?;
    match &root.get(MODEL)?.value {
        yaml::Content::Scalar { text, .. } if !text.is_empty() => Some(text.clone()),
        _ => None,
    }
}

/// Returns the paths of the tables that a sweep file names with the key `table`, as the file writes them, each once. Returns
/// none if the file cannot be read. [`parse_with_tables`] reports this problem.
///
/// ```
/// let text = b"conditions: [Control, { table: points.csv, base: ACh }]";
/// assert_eq!(granule_sweep::tables_of(text), ["points.csv"]);
/// ```
pub fn tables_of(bytes: &[u8]) -> Vec<String> {
    let text = yaml::decode(Language::Model, bytes).ok();
    let Some(root) = text.and_then(|text| yaml::load(Language::Model, text).ok()) else { return Vec::new() };
    let items = match root.get("conditions") {
        Some(Node { value: yaml::Content::List(items), .. }) => items.as_slice(),
        Some(table) => std::slice::from_ref(table),
        None => &[],
    };
    let mut paths = Vec::new();
    for item in items {
        if let Some(Node { value: yaml::Content::Scalar { text, .. }, .. }) = item.get(TABLE)
            && !paths.contains(text)
        {
            paths.push(text.clone());
        }
    }
    paths
}

/// Returns the engine that a file chooses. If the choice is missing or wrong, returns the first engine.
fn chosen_engine(engines: Engines, root: &Node) -> &'static dyn Engine {
    let chosen = root.get("engine").and_then(|value| match &value.value {
        yaml::Content::Scalar { text, .. } => engine_of(engines, text),
        _ => None,
    });
    chosen.unwrap_or(engines[0])
}

/// Reads the sweep. Returns `None` only if a problem was found. A returned sweep may have problems, too.
fn sweep(
    engines: Engines,
    chosen: &'static dyn Engine,
    root: &Node,
    default_name: &str,
    (overrides, tables): (&Overrides, TableFiles<'_>),
    problems: &mut Problems,
) -> Option<Sweep> {
    let space = chosen.space();
    let map = match &root.value {
        yaml::Content::Map(map) => map,
        yaml::Content::Null => {
            problems.add(|| Problem::of_file("the sweep is empty").help(examples::smallest_sweep(space)));
            return None;
        }
        _ => {
            problems.add(|| {
                Problem::at(root.span, format!("a sweep is a mapping of keys to values, not {}", root.kind()))
                    .help(examples::smallest_sweep(space))
            });
            return None;
        }
    };
    let before = problems.count();
    let all = entries(map, problems);
    if let Some(entry) = all.iter().find(|entry| entry.key == FORMAT_OF_MODEL) {
        problems.add(|| {
            Problem::at(entry.key_span, "this is a model file, not a sweep file")
                .help("write a sweep file that names it, as in `model: my-model.yaml`")
        });
        return None;
    }
    let is_program = engines[0].is_program();
    let model = all.iter().find(|entry| entry.key == MODEL);
    let model_is_read = model.is_none_or(|entry| check_model(entry, is_program, problems));
    if !is_program && !model_is_read {
        // The other keys would be checked for another model.
        return None;
    }
    let mut found: HashMap<&str, &Node> = HashMap::new();
    for &ValueEntry { key, key_span, value } in &all {
        if is_key(space, key) {
            found.insert(key, value);
        } else {
            problems.add(|| unknown_key(space, key, key_span));
        }
    }
    let all_known = problems.count() == before;
    let groups = space.groups();
    // A mapping is a group of parameters, if there is a group of this name.
    let is_group =
        |node: &Node| matches!(node.value, yaml::Content::Map(_)) && groups.contains(&vocabulary::FORMAT);
    if let Some(node) = found.get(vocabulary::FORMAT).filter(|node| !is_group(node)) {
        format_version(node, problems);
        found.remove(vocabulary::FORMAT);
    }
    let name = name(found.get("name").copied(), default_name, problems);
    let engine = match found.get("engine") {
        Some(node) if is_program || model.is_some() => {
            problems.add(|| match model {
                Some(_) => Problem::at(node.span, "a sweep has either `model` or `engine`")
                    .help("remove `engine`; the model file names the program"),
                None => Problem::at(node.span, "a sweep of a model of your own has no `engine`")
                    .help("remove `engine`, or write `model: …` with the path of the model file"),
            });
            None
        }
        Some(node) => engine(engines, node, problems),
        None => Some(chosen),
    };
    let mut common = ConditionBase {
        // An unknown engine has been reported.
        engine: chosen,
        base: space.defaults(),
        places: Vec::new(),
        record: ExplicitRecord::none(chosen.kinds()),
        overrides,
        tables,
    };
    let sharing = space.sharing();
    let group = sharing.and_then(|sharing| Some((sharing, *found.get(sharing.group)?)));
    let randomness = group
        .and_then(|(sharing, node)| randomness(sharing, node, engines, engine, problems))
        .unwrap_or_default();
    for group in groups {
        if let Some(node) = found.get(group) {
            section(group, node, &mut common, problems);
        }
    }
    for parameter in vocabulary::ungrouped(space) {
        if let Some(node) = found.get(parameter.path)
            && value::set(parameter, node, &mut common.base, problems)
        {
            common.places.push((parameter.path, node.span));
        }
    }
    if let Some(node) = found.get("set") {
        let places = settings(node, &mut common.base, problems);
        report_set_twice(&common.places, &places, problems);
        common.places.extend(places);
    }
    common.base = overrides.apply(common.base);
    if let Some(node) = found.get("record") {
        common.record = record(node, common.record, problems);
    }
    let mut seeds = match found.get("seeds") {
        Some(node) => seeds(node, problems),
        None => vec![DEFAULT_SEED],
    };
    if let Some(seed) = overrides.seed {
        seeds = vec![seed];
    }
    let trials = match found.get("trials") {
        Some(node) => trials(node, problems),
        None => Some((DEFAULT_TRIALS, None)),
    };
    let trials = overrides.trials.map(|trials| (trials, None)).or(trials);
    let (mut conditions, designs) = match found.get("conditions") {
        Some(node) => conditions(node, &common, problems),
        None => {
            // An unknown key may be this one, mistyped.
            if all_known {
                problems.add(|| {
                    Problem::at(root.span, "the sweep has no `conditions`")
                        .help(examples::smallest_sweep(space))
                });
            }
            (Vec::new(), Vec::new())
        }
    };
    let pairs = conditions.len().saturating_mul(seeds.len());
    if pairs > MOST_PAIRS {
        let span = found.get("seeds").map_or(root.span, |node| node.span);
        problems.add(|| {
            let (conditions, seeds) = (conditions.len(), seeds.len());
            let message = format!(
                "{conditions} conditions × {seeds} seeds are {pairs} pairs; at most {MOST_PAIRS} are possible"
            );
            Problem::at(span, message).help("use fewer conditions or fewer seeds, or split the sweep")
        });
    }
    let engine = engine?;
    if let (Randomness::Independent, Some((sharing, node))) = (randomness, group) {
        make_independent(sharing, &mut conditions, node.span, problems);
    }
    let model = model.and_then(|entry| match &entry.value.value {
        yaml::Content::Scalar { text, .. } => Some(text.clone()),
        _ => None,
    });
    let (trials, until) = trials?;
    Some(Sweep {
        name: name?,
        model,
        engine,
        randomness,
        seeds,
        trials,
        until,
        conditions: Arc::new(conditions),
        designs,
    })
}

/// Checks the path of the model file. Returns whether its model is that of the engine.
fn check_model(entry: &ValueEntry<'_>, is_program: bool, problems: &mut Problems) -> bool {
    let node = entry.value;
    let (message, help) = match &node.value {
        yaml::Content::Scalar { text, .. } if !text.is_empty() => {
            if is_program {
                return true;
            }
            (
                format!("the model file {} was not read", node.shown()),
                "write the path of a model file".to_owned(),
            )
        }
        _ => (
            format!("`{MODEL}` must be the path of a model file, not {}", node.shown()),
            format!("write it like `{MODEL}: my-model.yaml`"),
        ),
    };
    problems.add(|| Problem::at(node.span, message).help(help));
    false
}

fn unknown_key(space: &Space, key: &str, span: Span) -> Problem {
    let help = match space.parameter(key).and_then(|parameter| parameter.path.split_once('.')) {
        Some((group, end)) => format!("write `{group}: {{ {end}: … }}`, or `set: {{ {key}: … }}`"),
        None if matches!(key, "grid" | "zip" | "latin_hypercube" | "sobol" | TABLE | "base") => {
            format!("it goes into a condition: `{{ name: …, {key}: … }}`")
        }
        None => {
            let groups = space.groups();
            let ungrouped = vocabulary::ungrouped(space).map(|parameter| parameter.path);
            let keys: Vec<&str> = KEYS.into_iter().chain(ungrouped).collect();
            let all: Vec<&str> = keys.iter().chain(&groups).copied().collect();
            match suggest::nearest(key, all) {
                Some(near) => format!("did you mean `{near}`?"),
                None => {
                    let groups: Vec<&str> =
                        groups.into_iter().filter(|group| !KEYS.contains(group)).collect();
                    match groups.is_empty() {
                        true => format!("the keys are {}", suggest::list(&keys)),
                        false => format!(
                            "the keys are {}, and the groups of parameters {}",
                            suggest::list(&keys),
                            suggest::list(&groups)
                        ),
                    }
                }
            }
        }
    };
    Problem::at(span, format!("unknown key {}", quote(key))).help(help)
}

fn format_version(node: &Node, problems: &mut Problems) {
    match &node.value {
        yaml::Content::Scalar { text, .. } if *text == FORMAT.to_string() => {}
        _ => problems.add(|| {
            let message = format!("this version reads format {FORMAT} of sweep files, not {}", node.shown());
            Problem::at(node.span, message)
                .help(format!("write `granule: {FORMAT}`, or use another version of granule"))
        }),
    }
}

fn name(node: Option<&Node>, default_name: &str, problems: &mut Problems) -> Option<String> {
    let Some(node) = node else {
        return match unfit_sweep(default_name) {
            None => Some(default_name.to_owned()),
            Some(UnfitName { what, fitting, .. }) => {
                problems.add(|| {
                    Problem::of_file(format!(
                        "the sweep has no `name`, and the file's name cannot be used as one: a name {what}"
                    ))
                    .help(format!("add `name: {fitting}`"))
                });
                None
            }
        };
    };
    let yaml::Content::Scalar { text, .. } = &node.value else {
        problems.add(|| {
            Problem::at(node.span, format!("`name` must be a word, not {}", node.kind()))
                .help(format!("write it like `name: {EXAMPLE_NAME}`, or leave it out"))
        });
        return None;
    };
    match check_sweep_name(text) {
        Ok(()) => Some(text.clone()),
        Err(problem) => {
            problems.add(|| Problem::at(node.span, problem.to_string()).help(problem.help()));
            None
        }
    }
}

fn engine(engines: Engines, node: &Node, problems: &mut Problems) -> Option<&'static dyn Engine> {
    let names: Vec<&str> = engines.iter().map(|engine| engine.name()).collect();
    let chosen = value::choice("engine", &names, node, problems)?;
    engines.get(chosen).copied()
}

/// Sets the parameters of a group at the top of the file.
fn section(group: &str, node: &Node, common: &mut ConditionBase<'_>, problems: &mut Problems) {
    let space = common.engine.space();
    let can_share = space.sharing().is_some_and(|sharing| sharing.group == group);
    let yaml::Content::Map(map) = &node.value else {
        // A scalar is valid here if it states whether random numbers are shared.
        if !can_share || !matches!(node.value, yaml::Content::Scalar { .. }) {
            problems.add(|| {
                let first = space.parameters().iter().find_map(|parameter| {
                    let (of, key) = parameter.path.split_once('.')?;
                    (of == group).then(|| format!("{key}: {}", examples::whole_example(parameter)))
                });
                Problem::at(node.span, format!("`{group}` must be a mapping, not {}", node.shown()))
                    .help(format!("write it like `{group}: {{ {} }}`", first.unwrap_or_default()))
            });
        }
        return;
    };
    for ValueEntry { key, key_span, value } in entries(map, problems) {
        match space.parameter(&format!("{group}.{key}")) {
            Some(parameter) => {
                if value::set(parameter, value, &mut common.base, problems) {
                    common.places.push((parameter.path, value.span));
                }
            }
            None if can_share && key == SHARING => {}
            None => {
                problems.add(|| {
                    let keys: Vec<&str> = space
                        .parameters()
                        .iter()
                        .filter_map(|parameter| parameter.path.split_once('.'))
                        .filter(|(of, _)| *of == group)
                        .map(|(_, key)| key)
                        .chain(can_share.then_some(SHARING))
                        .collect();
                    Problem::at(key_span, format!("unknown key {} in `{group}`", quote(key)))
                        .help(suggest::help(key, "the keys are", &keys))
                })
            }
        }
    }
}

/// Reports the parameters that both a group and `set` set.
fn report_set_twice(groups: &[(&'static str, Span)], set: &[(&'static str, Span)], problems: &mut Problems) {
    for (path, span) in set {
        if let Some((_, other)) = groups.iter().find(|(of_group, _)| of_group == path) {
            let text = problems.text();
            problems.add(|| {
                let line = line_number(text, other.start);
                Problem::at(*span, format!("`{path}` is set twice"))
                    .help(format!("it is already on line {line}; keep one of them"))
            });
        }
    }
}
