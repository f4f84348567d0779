//! The conditions of a sweep: presets by name, and variations on presets or earlier conditions.

use std::collections::HashMap;

use granule_sim::parameters::{FIELDS, PRESETS, Preset, field, preset};
use granule_sim::{Model, Parameters};

use crate::diagnostics::{Problem, Problems, Span, line_number, quote};
use crate::environment::Overrides;
use crate::suggest;
use crate::value::{self, Entry, entries};
use crate::yaml::{self, Node};

/// Most conditions of a sweep.
const MOST_CONDITIONS: usize = 10_000;

/// Longest name: it starts the names of the condition's output files.
const MOST_NAME_CHARS: usize = 80;

/// What a condition starts from that does not say.
const DEFAULT_BASE: &str = "Control";

/// What output files of random weights start with, before the condition's prefix.
const RANDOMIZED: &str = "randomized_";

const FORM: &str = "write a preset's name, or `{ name: …, base: Control, set: { … } }`";

/// One condition of a sweep, ready to simulate.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// Its name in the sweep file, unique in the sweep.
    pub name: String,
    /// What the names of its output files start with; unique in the sweep, also on file systems that
    /// do not tell upper from lower case. The preset's prefix for a preset used as such, else the name.
    pub prefix: String,
    /// Its parameters, checked.
    pub model: Model,
    /// The preset's name, for a preset used as such.
    pub preset: Option<&'static str>,
}

/// Reads the list of conditions. Each starts from the parameters `base`, to which a preset and `set`
/// are applied.
pub(crate) fn conditions(
    node: &Node,
    base: &Parameters,
    overrides: &Overrides,
    problems: &mut Problems,
) -> Vec<Condition> {
    let items = match &node.value {
        yaml::Value::List(items) if !items.is_empty() => items,
        yaml::Value::List(_) => {
            problems.add(|| Problem::at(node.span, "`conditions` is empty").help(yaml::smallest_example()));
            return Vec::new();
        }
        _ => {
            problems.add(|| {
                Problem::at(node.span, format!("`conditions` must be a list, not {}", node.shown()))
                    .help(yaml::smallest_example())
            });
            return Vec::new();
        }
    };
    if items.len() > MOST_CONDITIONS {
        problems.add(|| {
            let message =
                format!("{} conditions are listed; at most {MOST_CONDITIONS} are possible", items.len());
            Problem::at(node.span, message)
        });
        return Vec::new();
    }
    let later = items.iter().filter_map(name_of).collect();
    let mut reader =
        Reader { base, overrides, later, earlier: HashMap::new(), prefixes: HashMap::new(), problems };
    let read: Vec<Option<Condition>> = items.iter().map(|item| reader.condition(item)).collect();
    read.into_iter().flatten().collect()
}

struct Reader<'a, 'p, 't> {
    base: &'a Parameters,
    overrides: &'a Overrides,
    /// Names of spelled-out conditions, in the whole list, to explain a `base` that comes too late.
    later: Vec<&'a str>,
    /// Parameters of the spelled-out conditions read so far; `None` of those that are wrong, so that
    /// what starts from one is not reported for the same reason again.
    earlier: HashMap<&'a str, Option<Parameters>>,
    /// Prefixes so far in lower case, with the condition's name and place.
    prefixes: HashMap<String, (String, Span)>,
    problems: &'p mut Problems<'t>,
}

impl<'a> Reader<'a, '_, '_> {
    fn condition(&mut self, item: &'a Node) -> Option<Condition> {
        match &item.value {
            yaml::Value::Scalar { text, .. } => self.preset(text, item.span),
            yaml::Value::Map(map) => self.spelled_out(item, map),
            _ => {
                self.problems.add(|| {
                    Problem::at(item.span, format!("a condition cannot be {}", item.kind()))
                        .help(FORM.to_owned())
                });
                None
            }
        }
    }

    fn preset(&mut self, name: &'a str, span: Span) -> Option<Condition> {
        let Some(preset) = preset(name) else {
            self.problems.add(|| {
                let names: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
                Problem::at(span, format!("unknown condition {}", quote(name))).help(suggest::help(
                    name,
                    "the presets are",
                    &names,
                ))
            });
            return None;
        };
        let free = self.claim_prefix(preset.prefix, name, span);
        let parameters = self.with_preset(preset, span)?;
        let model = self.model(parameters, span, &[])?;
        free.then(|| Condition {
            name: name.to_owned(),
            prefix: preset.prefix.to_owned(),
            model,
            preset: Some(preset.name),
        })
    }

    fn spelled_out(&mut self, item: &'a Node, map: &'a [(Node, Node)]) -> Option<Condition> {
        let before = self.problems.count();
        let (mut name, mut base, mut set) = (None, None, None);
        for entry in entries(map, self.problems) {
            match entry.key {
                "name" => name = Some(entry),
                "base" => base = Some(entry),
                "set" => set = Some(entry),
                key => self.unknown_key(key, entry.key_span),
            }
        }
        let all_known = self.problems.count() == before;
        let name = match name {
            Some(entry) => self.name(entry.value).map(|name| (name, entry.value.span)),
            None => {
                // An unknown key may well be the name, mistyped.
                if all_known {
                    self.problems.add(|| {
                        Problem::at(item.span, "the condition has no `name`").help("add `name: …`".to_owned())
                    });
                }
                None
            }
        };
        let span = name.map_or(item.span, |(_, span)| span);
        let free = name.is_none_or(|(name, span)| self.claim_prefix(name, name, span));

        let start = match base {
            Some(entry) => self.based_on(entry.value, name.map(|(name, _)| name)),
            None => preset(DEFAULT_BASE).and_then(|preset| self.with_preset(preset, span)),
        };
        let has_base = start.is_some();
        // Wrong entries of `set` are worth reporting also where the base is wrong.
        let mut parameters = start.unwrap_or_else(|| self.base.clone());
        let places = set.map_or_else(Vec::new, |entry| self.set(entry.value, &mut parameters));
        let unharmed = has_base && self.problems.count() == before;
        // The environment wins over the file, over a condition's own settings, too.
        let parameters = self.overrides.apply(parameters);
        let model = if unharmed { self.model(parameters, span, &places) } else { None };
        if let Some(name) = name_of(item) {
            self.earlier
                .entry(name)
                .or_insert_with(|| model.as_ref().map(|model| model.parameters().clone()));
        }
        let name = name.filter(|_| free)?.0.to_owned();
        Some(Condition { prefix: name.clone(), name, model: model?, preset: None })
    }

    fn unknown_key(&mut self, key: &str, span: Span) {
        self.problems.add(|| {
            if matches!(key, "grid" | "zip") {
                return Problem::at(span, format!("{} is not supported by this version yet", quote(key)))
                    .help("list the conditions one by one".to_owned());
            }
            let help = match (preset(key), field(key)) {
                (Some(_), _) => FORM.to_owned(),
                (_, Some(_)) => format!("parameters go into `set: {{ {key}: … }}`"),
                _ => suggest::help(key, "the keys are", &["name", "base", "set"]),
            };
            Problem::at(span, format!("unknown key {} in a condition", quote(key))).help(help)
        });
    }

    fn name(&mut self, node: &'a Node) -> Option<&'a str> {
        let yaml::Value::Scalar { text: name, .. } = &node.value else {
            self.problems
                .add(|| Problem::at(node.span, format!("`name` must be a word, not {}", node.kind())));
            return None;
        };
        if let Some((what, fitting)) = value::unfit_name(name, MOST_NAME_CHARS, "half-tonic") {
            self.problems.add(|| {
                Problem::at(node.span, format!("a condition's name {what}"))
                    .help(format!("write `{fitting}`"))
            });
            return None;
        }
        if preset(name).is_some() {
            self.problems.add(|| {
                Problem::at(node.span, format!("{} is the name of a preset", quote(name)))
                    .help("name this condition otherwise".to_owned())
            });
            return None;
        }
        if name.to_ascii_lowercase().starts_with(RANDOMIZED) {
            self.problems.add(|| {
                Problem::at(node.span, format!("a condition's name cannot start with `{RANDOMIZED}`"))
                    .help("output files of random weights start so; name this condition otherwise".to_owned())
            });
            return None;
        }
        Some(name)
    }

    /// Whether no condition before writes files of the same names.
    fn claim_prefix(&mut self, prefix: &str, name: &str, span: Span) -> bool {
        let lower = prefix.to_ascii_lowercase();
        let Some((other, place)) = self.prefixes.get(&lower) else {
            self.prefixes.insert(lower, (name.to_owned(), span));
            return true;
        };
        let text = self.problems.text();
        self.problems.add(|| {
            let line = line_number(text, place.start);
            if other == name {
                return Problem::at(span, format!("duplicate condition {}", quote(name)))
                    .help(format!("it is already on line {line}"));
            }
            let message = format!(
                "conditions {} and {} would write to the same files, `{}…`",
                quote(other),
                quote(name),
                prefix
            );
            Problem::at(span, message).help(format!("rename one of them; the other is on line {line}"))
        });
        false
    }

    fn with_preset(&mut self, preset: &Preset, span: Span) -> Option<Parameters> {
        match self.base.clone().with(preset.overrides) {
            Ok(parameters) => Some(parameters),
            Err(rejected) => {
                self.problems.add(|| Problem::at(span, rejected.to_string()));
                None
            }
        }
    }

    /// The parameters of a base; `None` also where the base is known but wrong itself.
    fn based_on(&mut self, node: &'a Node, own_name: Option<&str>) -> Option<Parameters> {
        let yaml::Value::Scalar { text: base, .. } = &node.value else {
            self.problems.add(|| {
                Problem::at(node.span, format!("`base` must be a condition's name, not {}", node.kind()))
            });
            return None;
        };
        if let Some(preset) = preset(base) {
            return self.with_preset(preset, node.span);
        }
        if let Some(parameters) = self.earlier.get(base.as_str()) {
            return parameters.clone();
        }
        self.problems.add(|| {
            let problem = Problem::at(node.span, format!("unknown base {}", quote(base)));
            if own_name == Some(base) {
                return problem.help("a condition cannot start from itself".to_owned());
            }
            if self.later.contains(&base.as_str()) {
                return problem
                    .help("a base comes before the conditions that start from it; move it up".to_owned());
            }
            let mut names: Vec<&str> = self.earlier.keys().copied().collect();
            names.sort_unstable();
            let presets = PRESETS.iter().map(|preset| preset.name);
            problem.help(match suggest::nearest(base, presets.clone().chain(names)) {
                Some(name) => format!("did you mean `{name}`?"),
                None => {
                    let presets: Vec<&str> = presets.collect();
                    format!(
                        "a base is an earlier condition or one of the presets {}",
                        suggest::list(&presets)
                    )
                }
            })
        });
        None
    }

    /// Applies `set` and returns what it set, and where.
    fn set(&mut self, node: &'a Node, parameters: &mut Parameters) -> Vec<(&'static str, Span)> {
        let yaml::Value::Map(map) = &node.value else {
            self.problems.add(|| {
                Problem::at(node.span, format!("`set` must be a mapping, not {}", node.shown()))
                    .help("write it like `set: { granule.tonic_factor: 0.5 }`".to_owned())
            });
            return Vec::new();
        };
        let mut places = Vec::new();
        for Entry { key, key_span, value: node } in entries(map, self.problems) {
            match field(key) {
                Some(field) => {
                    if value::set(field, node, parameters, self.problems) {
                        places.push((field.path, node.span));
                    }
                }
                None => self.problems.add(|| unknown_parameter(key, key_span)),
            }
        }
        places
    }

    /// Checks parameters as a whole, and points at the entry of `set` that does not fit, if it was one.
    fn model(&mut self, parameters: Parameters, span: Span, set: &[(&'static str, Span)]) -> Option<Model> {
        match Model::new(parameters) {
            Ok(model) => Some(model),
            Err(inconsistent) => {
                self.problems.add(|| {
                    let message = inconsistent.to_string();
                    let named = |path: &str| message.contains(&format!("`{path}`"));
                    let span = set.iter().find(|(path, _)| named(path)).map_or(span, |&(_, span)| span);
                    let variables = self.overrides.parameter_variables();
                    let help = (!variables.is_empty())
                        .then(|| format!("the environment has a part in it: {}", variables.join(", ")));
                    Problem::at(span, message).help(help)
                });
                None
            }
        }
    }
}

/// The name a spelled-out condition has, right or wrong.
fn name_of(item: &Node) -> Option<&str> {
    let yaml::Value::Map(map) = &item.value else { return None };
    map.iter().find_map(|(key, value)| match (&key.value, &value.value) {
        (yaml::Value::Scalar { text: key, .. }, yaml::Value::Scalar { text, .. }) if key == "name" => {
            Some(text.as_str())
        }
        _ => None,
    })
}

fn unknown_parameter(path: &str, span: Span) -> Problem {
    let paths = || FIELDS.iter().map(|field| field.path);
    let in_group = |known: &&str| known.split_once('.').is_some_and(|(group, _)| group == path);
    let help = match (paths().find(in_group), suggest::nearest_path(path, paths())) {
        (Some(first), _) => format!("write dotted paths, such as `{first}: …`"),
        (None, Some(nearest)) => format!("did you mean `{nearest}`?"),
        (None, None) => {
            let mut groups: Vec<&str> =
                paths().filter_map(|path| path.split_once('.')).map(|(g, _)| g).collect();
            groups.dedup();
            format!("parameters are in the groups {}", suggest::list(&groups))
        }
    };
    Problem::at(span, format!("unknown parameter {}", quote(path))).help(help)
}
