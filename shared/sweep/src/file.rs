//! A sweep file as a whole.

use std::collections::HashMap;

use granule_sim::parameters::{FIELDS, field};
use granule_sim::{Engine, Parameters};

use crate::condition::{Condition, conditions};
use crate::diagnostics::{Diagnostics, Problem, Problems, Span, line_number, only, quote};
use crate::environment::Overrides;
use crate::suggest;
use crate::value::{self, Entry, count, entries};
use crate::yaml::{self, Node};

/// The one version of the format.
const FORMAT: u32 = 1;

const DEFAULT_SEED: u32 = 451;
const DEFAULT_TRIALS: u32 = 100;

/// Most trials of a condition and seed.
pub(crate) const MOST_TRIALS: u32 = 1_000_000;

/// Most seeds of a sweep.
const MOST_SEEDS: usize = 100_000;

/// Longest name of a sweep.
const MOST_NAME_CHARS: usize = 100;

const EXAMPLE_NAME: &str = "my-sweep";

const KEYS: [&str; 8] = ["granule", "name", "engine", "network", "weights", "seeds", "trials", "conditions"];

/// What a user asked for: every condition with every seed, a number of trials each.
#[derive(Clone, Debug, PartialEq)]
pub struct Sweep {
    /// Its name: letters, digits, `.`, `_` and `-`, at most 100, not starting with a dot.
    pub name: String,
    /// How trials are computed.
    pub engine: Engine,
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
        (None, None) => Err(only(Problem::of_file("the sweep cannot be read"), source_name, text)),
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
        if KEYS.contains(&key) {
            found.insert(key, value);
        } else {
            problems.add(|| unknown_key(key, key_span));
        }
    }
    let all_known = problems.count() == before;
    if let Some(node) = found.get("granule") {
        format_version(node, problems);
    }
    let name = name(found.get("name").copied(), default_name, problems);
    let engine = match found.get("engine") {
        Some(node) => engine(node, problems),
        None => Engine::ALL.first().copied(),
    };
    let mut base = Parameters::default();
    for group in ["network", "weights"] {
        if let Some(node) = found.get(group) {
            section(group, node, &mut base, problems);
        }
    }
    let base = overrides.apply(base);
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
    let conditions = match found.get("conditions") {
        Some(node) => conditions(node, &base, overrides, problems),
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
    Some(Sweep { name: name?, engine: engine?, seeds, trials: overrides.trials.or(trials)?, conditions })
}

fn unknown_key(key: &str, span: Span) -> Problem {
    if matches!(key, "grid" | "zip") {
        return Problem::at(span, format!("{} is not supported by this version yet", quote(key)))
            .help("list the conditions one by one".to_owned());
    }
    let help = match field(key) {
        Some(_) => format!("parameters go into a condition: `{{ name: …, set: {{ {key}: … }} }}`"),
        None => suggest::help(key, "the keys are", &KEYS),
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
        return match value::unfit_name(default_name, MOST_NAME_CHARS, EXAMPLE_NAME) {
            None => Some(default_name.to_owned()),
            Some((what, fitting)) => {
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
        problems.add(|| Problem::at(node.span, format!("`name` must be a word, not {}", node.kind())));
        return None;
    };
    match value::unfit_name(text, MOST_NAME_CHARS, EXAMPLE_NAME) {
        None => Some(text.clone()),
        Some((what, fitting)) => {
            problems.add(|| {
                Problem::at(node.span, format!("a sweep's name {what}")).help(format!("write `{fitting}`"))
            });
            None
        }
    }
}

fn engine(node: &Node, problems: &mut Problems) -> Option<Engine> {
    let names: Vec<&str> = Engine::ALL.iter().map(|engine| engine.name()).collect();
    let chosen = value::choice("engine", &names, node, problems)?;
    Engine::ALL.get(chosen).copied()
}

/// Sets all parameters of a group at the top of the file.
fn section(group: &str, node: &Node, base: &mut Parameters, problems: &mut Problems) {
    let yaml::Value::Map(map) = &node.value else {
        problems.add(|| Problem::at(node.span, format!("`{group}` must be a mapping, not {}", node.shown())));
        return;
    };
    for Entry { key, key_span, value } in entries(map, problems) {
        match field(&format!("{group}.{key}")) {
            Some(field) => {
                value::set(field, value, base, problems);
            }
            None => {
                problems.add(|| {
                    let keys: Vec<&str> = FIELDS
                        .iter()
                        .filter_map(|field| field.path.split_once('.'))
                        .filter(|(of, _)| *of == group)
                        .map(|(_, key)| key)
                        .collect();
                    Problem::at(key_span, format!("unknown key {} in `{group}`", quote(key)))
                        .help(suggest::help(key, "the keys are", &keys))
                })
            }
        }
    }
}

fn seeds(node: &Node, problems: &mut Problems) -> Vec<u32> {
    let items = match &node.value {
        yaml::Value::List(items) if !items.is_empty() => items,
        yaml::Value::List(_) => {
            problems
                .add(|| Problem::at(node.span, "`seeds` is empty").help(format!("write `[{DEFAULT_SEED}]`")));
            return Vec::new();
        }
        yaml::Value::Scalar { text, .. } => {
            problems.add(|| {
                Problem::at(node.span, format!("`seeds` must be a list, not {}", node.shown()))
                    .help(text.parse::<u32>().ok().map(|seed| format!("write `[{seed}]`")))
            });
            return Vec::new();
        }
        _ => {
            problems.add(|| Problem::at(node.span, format!("`seeds` must be a list, not {}", node.kind())));
            return Vec::new();
        }
    };
    if items.len() > MOST_SEEDS {
        problems.add(|| {
            Problem::at(
                node.span,
                format!("{} seeds are listed; at most {MOST_SEEDS} are possible", items.len()),
            )
        });
        return Vec::new();
    }
    let mut seeds = Vec::with_capacity(items.len());
    let mut first: HashMap<u32, Span> = HashMap::new();
    for item in items {
        let Some(seed) = count("seeds", 0, u32::MAX, item, problems) else { continue };
        match first.get(&seed) {
            Some(place) => {
                let text = problems.text();
                problems.add(|| {
                    let line = line_number(text, place.start);
                    Problem::at(item.span, format!("duplicate seed `{seed}`"))
                        .help(format!("it is already on line {line}; the same seed gives the same trials"))
                });
            }
            None => {
                first.insert(seed, item.span);
                seeds.push(seed);
            }
        }
    }
    seeds
}
