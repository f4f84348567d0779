//! A sweep file as a whole.

use std::collections::HashMap;

use granule_sim::parameters::{FIELDS, field};
use granule_sim::{Engine, Model, Parameters};

use crate::condition::{Common, Condition, conditions, settings};
use crate::diagnostics::{Diagnostics, Problem, Problems, line_number, only};
use crate::environment::Overrides;
use crate::key::Fingerprint;
use crate::limits::{MOST_PAIRS, MOST_TRIALS};
use crate::naming::{Unfit, check_sweep_name, unfit_sweep};
use crate::record::{ExplicitRecord, record};
use crate::seeds::{DEFAULT_SEED, seeds};
use crate::suggest;
use crate::text::{Span, quote};
use crate::value::{self, Entry, count, entries};
use crate::vocabulary::{KEYS, groups, is_key};
use crate::yaml::{self, Node};

/// The one version of the format.
const FORMAT: u32 = 1;

const DEFAULT_TRIALS: u32 = 100;

const EXAMPLE_NAME: &str = "my-sweep";

/// The group of noise has a key more: whether conditions share the noise.
const NOISE: &str = "noise";
const SHARING: &str = "sharing";

/// Whether the conditions of a seed are under the same noise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum NoiseSharing {
    /// All conditions of a seed have the same noise, trial by trial.
    #[default]
    Common,
    /// Each condition has noise of its own.
    Independent,
}

impl NoiseSharing {
    /// All, the default first.
    pub const ALL: [NoiseSharing; 2] = [NoiseSharing::Common, NoiseSharing::Independent];

    /// The name in sweep files.
    pub fn name(self) -> &'static str {
        match self {
            NoiseSharing::Common => "common",
            NoiseSharing::Independent => "independent",
        }
    }
}

/// What a user asked for: every condition with every seed, a number of trials each.
#[derive(Clone, Debug, PartialEq)]
pub struct Sweep {
    /// Its name: letters, digits, `.`, `_` and `-`, at most 100, not starting with a dot.
    pub name: String,
    /// How trials are computed.
    pub engine: Engine,
    /// Whether conditions are under the same noise.
    pub noise: NoiseSharing,
    /// At least one, each once, in order of the file. A seed is one network and its noise.
    pub seeds: Vec<u32>,
    /// Trials of each condition and seed, at least one.
    pub trials: u32,
    /// At least one, with unique names and unique prefixes, in order of the file.
    pub conditions: Vec<Condition>,
}

/// Reads a sweep file.
///
/// `source_name` is what diagnostics call the file, `default_name` names the sweep if the file does
/// not, and `overrides` replace what the file says.
///
/// # Errors
/// Everything found wrong, as far as one problem does not hide another.
pub fn parse(
    source_name: &str,
    bytes: &[u8],
    default_name: &str,
    overrides: &Overrides,
) -> Result<Sweep, Diagnostics> {
    let text = match yaml::decode(bytes) {
        Ok(text) => text,
        Err((problem, text)) => return Err(only(problem, source_name, &text)),
    };
    let root = yaml::load(text).map_err(|problem| only(problem, source_name, text))?;
    let mut problems = Problems::of(text);
    let sweep = sweep(&root, default_name, overrides, &mut problems);
    match (problems.finish(source_name), sweep) {
        (Some(diagnostics), _) => Err(diagnostics),
        (None, Some(sweep)) => Ok(sweep),
        // Not reached: what could not be read has been reported.
        (None, None) => {
            let problem = Problem::of_file("the sweep cannot be read").help(yaml::smallest_example());
            Err(only(problem, source_name, text))
        }
    }
}

/// `None` only if a problem was found; there may be problems with a sweep, too.
fn sweep(root: &Node, default_name: &str, overrides: &Overrides, problems: &mut Problems) -> Option<Sweep> {
    let map = match &root.value {
        yaml::Value::Map(map) => map,
        yaml::Value::Null => {
            problems.add(|| Problem::of_file("the sweep is empty").help(yaml::smallest_example()));
            return None;
        }
        _ => {
            problems.add(|| {
                Problem::at(root.span, format!("a sweep is a mapping of keys to values, not {}", root.kind()))
                    .help(yaml::smallest_example())
            });
            return None;
        }
    };
    let before = problems.count();
    let mut found: HashMap<&str, &Node> = HashMap::new();
    for Entry { key, key_span, value } in entries(map, problems) {
        if is_key(key) {
            found.insert(key, value);
        } else {
            problems.add(|| unknown_key(key, key_span));
        }
    }
    let all_known = problems.count() == before;
    // As a mapping it is the group of granule cells.
    if let Some(node) = found.get("granule").filter(|node| !matches!(node.value, yaml::Value::Map(_))) {
        format_version(node, problems);
        found.remove("granule");
    }
    let name = name(found.get("name").copied(), default_name, problems);
    let engine = match found.get("engine") {
        Some(node) => engine(node, problems),
        None => Engine::ALL.first().copied(),
    };
    let mut common = Common {
        // An unknown one has been reported.
        engine: engine.unwrap_or(Engine::ALL[0]),
        base: Parameters::default(),
        places: Vec::new(),
        record: ExplicitRecord::default(),
        overrides,
    };
    let sharing = found.get(NOISE).and_then(|node| noise_sharing(node, engine, problems)).unwrap_or_default();
    for group in groups() {
        if let Some(node) = found.get(group) {
            section(group, node, &mut common, problems);
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
        Some(node) => count("trials", 1, MOST_TRIALS, node, problems),
        None => Some(DEFAULT_TRIALS),
    };
    let mut conditions = match found.get("conditions") {
        Some(node) => conditions(node, &common, problems),
        None => {
            // An unknown key may well be this one, mistyped.
            if all_known {
                problems.add(|| {
                    Problem::at(root.span, "the sweep has no `conditions`").help(yaml::smallest_example())
                });
            }
            Vec::new()
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
            Problem::at(span, message).help("take fewer of one, or several sweeps")
        });
    }
    let engine = engine?;
    if sharing == NoiseSharing::Independent {
        let span = found.get(NOISE).map_or(root.span, |node| node.span);
        give_own_noise(engine, &mut conditions, span, problems);
    }
    Some(Sweep {
        name: name?,
        engine,
        noise: sharing,
        seeds,
        trials: overrides.trials.or(trials)?,
        conditions,
    })
}

/// Gives each condition a noise whose number follows from its parameters, so that it keeps it whatever
/// other conditions there are. Equal conditions have equal noise.
fn give_own_noise(engine: Engine, conditions: &mut [Condition], span: Span, problems: &mut Problems) {
    let mut owners: HashMap<u32, (usize, Fingerprint)> = HashMap::new();
    for at in 0..conditions.len() {
        let Condition { name, model, .. } = &conditions[at];
        let mut parameters = model.parameters().clone();
        if parameters.noise.stream != Parameters::default().noise.stream {
            let stream = parameters.noise.stream;
            problems.add(|| {
                let message = format!(
                    "`noise: independent` gives each condition its own noise, but `{name}` sets `noise.stream` \
                     to {stream}"
                );
                Problem::at(span, message).help("leave one of the two out")
            });
            continue;
        }
        // The number of its noise stays that of version 0.1.0.
        let fingerprint = Fingerprint::in_version_0_1_0(model);
        let [first, ..] = *fingerprint.0.as_chunks().0 else { unreachable!("32 bytes are eight times four") };
        parameters.noise.stream = u32::from_le_bytes(first);
        match owners.get(&parameters.noise.stream) {
            None => drop(owners.insert(parameters.noise.stream, (at, fingerprint))),
            Some((_, other)) if *other == fingerprint => {}
            Some((other, _)) => {
                let other = &conditions[*other].name;
                problems.add(|| {
                    let message = format!(
                        "`{other}` and `{name}` have the same number of their noise, which happens to two \
                         conditions once in 2^32"
                    );
                    Problem::at(span, message)
                        .help("leave `noise: independent` out, and set `noise.stream` in each")
                });
            }
        }
        conditions[at].model =
            Model::new(engine, parameters).expect("it was consistent, and the noise has no part in that");
    }
}

fn unknown_key(key: &str, span: Span) -> Problem {
    let help = match field(key).and_then(|field| field.path.split_once('.')) {
        Some((group, end)) => format!("write `{group}: {{ {end}: … }}`, or `set: {{ {key}: … }}`"),
        None if matches!(key, "grid" | "zip" | "latin_hypercube" | "base") => {
            format!("it goes into a condition: `{{ name: …, {key}: … }}`")
        }
        None => {
            let groups = groups();
            let all: Vec<&str> = KEYS.iter().chain(&groups).copied().collect();
            match suggest::nearest(key, all) {
                Some(near) => format!("did you mean `{near}`?"),
                None => {
                    let groups: Vec<&str> =
                        groups.into_iter().filter(|group| !KEYS.contains(group)).collect();
                    format!(
                        "the keys are {}, and the groups of parameters {}",
                        suggest::list(&KEYS),
                        suggest::list(&groups)
                    )
                }
            }
        }
    };
    Problem::at(span, format!("unknown key {}", quote(key))).help(help)
}

fn format_version(node: &Node, problems: &mut Problems) {
    match &node.value {
        yaml::Value::Scalar { text, .. } if *text == FORMAT.to_string() => {}
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
            Some(Unfit { what, fitting, .. }) => {
                problems.add(|| {
                    Problem::of_file(format!(
                        "the sweep has no `name`, and its file's name cannot be it: a name {what}"
                    ))
                    .help(format!("add `name: {fitting}`"))
                });
                None
            }
        };
    };
    let yaml::Value::Scalar { text, .. } = &node.value else {
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

fn engine(node: &Node, problems: &mut Problems) -> Option<Engine> {
    let names: Vec<&str> = Engine::ALL.iter().map(|engine| engine.name()).collect();
    let chosen = value::choice("engine", &names, node, problems)?;
    Engine::ALL.get(chosen).copied()
}

/// `noise: independent`, or `sharing` among the parameters of noise.
fn noise_sharing(node: &Node, engine: Option<Engine>, problems: &mut Problems) -> Option<NoiseSharing> {
    let names = NoiseSharing::ALL.map(NoiseSharing::name);
    let node = match &node.value {
        yaml::Value::Map(map) => map.iter().find_map(|(key, value)| match &key.value {
            yaml::Value::Scalar { text, .. } if text == SHARING => Some(value),
            _ => None,
        })?,
        yaml::Value::Scalar { .. } => node,
        // Reported as a group that is none.
        _ => return None,
    };
    let sharing = NoiseSharing::ALL[value::choice("noise.sharing", &names, node, problems)?];
    if sharing == NoiseSharing::Independent && engine == Some(Engine::Brian2_2_2_1) {
        problems.add(|| {
            let message = format!(
                "`noise: independent` is not for engine `{}`: the exact engine's conditions always share one \
                 noise stream",
                Engine::Brian2_2_2_1.name()
            );
            let others: Vec<&str> = Engine::ALL
                .iter()
                .filter(|engine| **engine != Engine::Brian2_2_2_1)
                .map(|engine| engine.name())
                .collect();
            Problem::at(node.span, message).help(match others.first() {
                Some(other) => format!("write `engine: {other}`, or leave `noise: independent` out"),
                None => "leave it out, or write `common`".to_owned(),
            })
        });
        return None;
    }
    Some(sharing)
}

/// Sets all parameters of a group at the top of the file.
fn section(group: &str, node: &Node, common: &mut Common<'_>, problems: &mut Problems) {
    let yaml::Value::Map(map) = &node.value else {
        // Whether noise is shared can be all that is said of it.
        if group != NOISE || !matches!(node.value, yaml::Value::Scalar { .. }) {
            problems.add(|| {
                let first = FIELDS.iter().find_map(|field| {
                    let (of, key) = field.path.split_once('.')?;
                    (of == group).then(|| format!("{key}: {}", value::whole_example(field)))
                });
                Problem::at(node.span, format!("`{group}` must be a mapping, not {}", node.shown()))
                    .help(format!("write it like `{group}: {{ {} }}`", first.unwrap_or_default()))
            });
        }
        return;
    };
    let is_sharing = |key: &str| group == NOISE && key == SHARING;
    for Entry { key, key_span, value } in entries(map, problems) {
        match field(&format!("{group}.{key}")) {
            Some(field) => {
                if value::set(field, value, &mut common.base, problems) {
                    common.places.push((field.path, value.span));
                }
            }
            None if is_sharing(key) => {}
            None => {
                problems.add(|| {
                    let keys: Vec<&str> = FIELDS
                        .iter()
                        .filter_map(|field| field.path.split_once('.'))
                        .filter(|(of, _)| *of == group)
                        .map(|(_, key)| key)
                        .chain((group == NOISE).then_some(SHARING))
                        .collect();
                    Problem::at(key_span, format!("unknown key {} in `{group}`", quote(key)))
                        .help(suggest::help(key, "the keys are", &keys))
                })
            }
        }
    }
}

/// What a group of parameters and `set` both set.
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
