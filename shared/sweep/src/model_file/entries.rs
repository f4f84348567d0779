//! The entries of a model file that are texts, lists of texts, or limits.

use std::time::Duration;

use bigdecimal::BigDecimal;
use granule_engine::decimal::decimal;
use granule_engine::space::Unit;

use crate::diagnostics::{Problem, Problems};
use crate::naming::{UnfitName, unfit_model};
use crate::suggest;
use crate::text::{Span, quote};
use crate::units;
use crate::value::{self, ValueEntry};
use crate::vocabulary::KEYS_OF_LIMITS;
use crate::yaml::{self, Node};

const MOST_ABOUT: usize = 200;
const MOST_ARGUMENTS: usize = 100;
const MOST_PATTERNS: usize = 1000;
const MOST_TEXT: usize = 500;

/// Reads a text: not empty, without control characters, at most so many characters. `what` names it in messages, which
/// point at `place`.
pub(super) fn text<'n>(
    what: &str,
    most: usize,
    example: &str,
    node: &'n Node,
    place: Span,
    problems: &mut Problems,
) -> Option<&'n str> {
    let like = || format!("write it like `{example}`");
    let (message, help) = match &node.value {
        yaml::Content::Scalar { text, .. } if text.trim().is_empty() => {
            (format!("{what} must not be empty"), like())
        }
        yaml::Content::Scalar { text, .. } if inner(text).contains(['\n', '\r']) => {
            (format!("{what} must be one line"), "write it without line breaks".to_owned())
        }
        yaml::Content::Scalar { text, .. } if inner(text).chars().any(char::is_control) => {
            (format!("{what} contains a control character"), "remove it".to_owned())
        }
        yaml::Content::Scalar { text, .. } if text.chars().count() > most => {
            let found = text.chars().count();
            (format!("{what} can have at most {most} characters, not {found}"), "shorten it".to_owned())
        }
        yaml::Content::Scalar { text, .. } => return Some(inner(text)),
        _ => (format!("{what} must be a text, not {}", node.kind()), like()),
    };
    problems.add(|| Problem::at(place, message).help(help));
    None
}

/// Returns a text without the line feed at the end of a block.
fn inner(text: &str) -> &str {
    text.trim_end_matches(['\n', '\r'])
}

/// Reads the name of the model.
pub(super) fn name(node: &Node, problems: &mut Problems) -> Option<String> {
    const EXAMPLE: &str = "name: my-model";
    let yaml::Content::Scalar { text, .. } = &node.value else {
        problems.add(|| {
            Problem::at(node.span, format!("`name` must be a word, not {}", node.kind()))
                .help(format!("write it like `{EXAMPLE}`"))
        });
        return None;
    };
    match unfit_model(text) {
        None => Some(text.clone()),
        Some(UnfitName { what, fitting, .. }) => {
            problems.add(|| {
                Problem::at(node.span, format!("a model's name {what}")).help(format!("write `{fitting}`"))
            });
            None
        }
    }
}

/// Reads a description; `path` is the path of its key. Messages point at the key: a description may contain any
/// character, also those that are slips elsewhere.
pub(super) fn about(path: &str, key: Span, node: &Node, problems: &mut Problems) -> Option<String> {
    let what = format!("`{path}`");
    text(&what, MOST_ABOUT, "about: mean rate of all cells", node, key, problems).map(str::to_owned)
}

/// Reads the command of the program.
pub(super) fn program(node: &Node, problems: &mut Problems) -> Option<Vec<String>> {
    const EXAMPLE: &str = "program: [python, model.py]";
    let items = list("program", EXAMPLE, MOST_ARGUMENTS, node, problems)?;
    let read: Vec<Option<String>> = items
        .iter()
        .map(|item| {
            text("an entry of `program`", MOST_TEXT, EXAMPLE, item, item.span, problems).map(str::to_owned)
        })
        .collect();
    read.into_iter().collect()
}

/// Returns the items of a list that is not empty.
fn list<'n>(
    key: &str,
    example: &str,
    most: usize,
    node: &'n Node,
    problems: &mut Problems,
) -> Option<&'n [Node]> {
    let problem = match &node.value {
        yaml::Content::List(items) if items.is_empty() => {
            Problem::at(node.span, format!("`{key}` is empty")).help(format!("write it like `{example}`"))
        }
        yaml::Content::List(items) if items.len() > most => {
            let message = format!("`{key}` has {} entries; at most {most} are possible", items.len());
            Problem::at(node.span, message).help(match key {
                "files" => "use patterns such as `'data/*.npy'`",
                _ => "use fewer",
            })
        }
        yaml::Content::List(items) => return Some(items),
        yaml::Content::Scalar { text, quoted: false } if !text.contains([',', ':', '#']) => {
            let words: Vec<&str> = text.split_whitespace().collect();
            Problem::at(node.span, format!("`{key}` must be a list, not {}", node.shown()))
                .help(format!("write `[{}]`", words.join(", ")))
        }
        _ => Problem::at(node.span, format!("`{key}` must be a list, not {}", node.shown()))
            .help(format!("write it like `{example}`")),
    };
    problems.add(|| problem);
    None
}

/// Reads the patterns of the model's files.
pub(super) fn files(node: &Node, problems: &mut Problems) -> Option<Vec<String>> {
    let items = list("files", "files: [model.py, 'data/*.npy']", MOST_PATTERNS, node, problems)?;
    let mut patterns: Vec<String> = Vec::new();
    let mut are_right = true;
    for item in items {
        let read = text("an entry of `files`", MOST_TEXT, "model.py", item, item.span, problems);
        let Some(pattern) = read.map(without_dots) else {
            are_right = false;
            continue;
        };
        let fault = match unfit_pattern(&pattern) {
            None if patterns.contains(&pattern) => {
                Some((format!("`files` has {} twice", quote(&pattern)), "remove one of them".to_owned()))
            }
            fault => fault,
        };
        match fault {
            None => patterns.push(pattern),
            Some((message, help)) => {
                are_right = false;
                problems.add(|| Problem::at(item.span, message).help(help));
            }
        }
    }
    are_right.then_some(patterns)
}

/// Removes the parts `.` of a path.
fn without_dots(pattern: &str) -> String {
    let parts: Vec<&str> = pattern.split('/').filter(|part| *part != ".").collect();
    parts.join("/")
}

/// Returns message and help if a pattern is not valid.
fn unfit_pattern(pattern: &str) -> Option<(String, String)> {
    const WITHIN: &str = "move the file into the folder of the model file, and write its path from there";
    let shown = quote(pattern);
    let has = |part: &str| pattern.split('/').any(|of| of == part);
    let is_drive =
        pattern.as_bytes().get(1) == Some(&b':') && pattern.starts_with(|c: char| c.is_alphabetic());
    if pattern.contains('\\') {
        let plain = pattern.replace('\\', "/");
        return Some((format!("{shown} contains a backslash"), format!("write `{plain}`")));
    }
    if pattern.starts_with('/') || pattern.starts_with("~/") || is_drive {
        return Some((format!("{shown} is an absolute path"), WITHIN.to_owned()));
    }
    if has("..") {
        return Some((format!("{shown} leaves the folder of the model file"), WITHIN.to_owned()));
    }
    if pattern.is_empty() {
        let message = "`.` names the folder of the model file, not its files".to_owned();
        return Some((message, "write `'**'` for all files in it".to_owned()));
    }
    if let Some(folder) = pattern.strip_suffix('/') {
        let help = format!("write `'{folder}/**'` for all files in it");
        return Some((format!("{shown} is a folder"), help));
    }
    if has("") {
        let plain: Vec<&str> = pattern.split('/').filter(|part| !part.is_empty()).collect();
        return Some((format!("{shown} has two slashes in a row"), format!("write `{}`", plain.join("/"))));
    }
    if pattern.contains(['[', ']', '{', '}']) {
        let message = format!("{shown} contains a bracket, which patterns do not have");
        return Some((message, "use `*` and `?`; `?` stands for any one character".to_owned()));
    }
    if pattern.split('/').any(|part| part.contains("**") && part != "**") {
        let message = format!("{shown} has `**` within a name");
        return Some((message, "make `**` a part of its own, as in `data/**/*.npy`, or use `*`".to_owned()));
    }
    None
}

/// Reads the resolution of spike times; returns the number of steps that make a millisecond.
pub(super) fn resolution(node: &Node, problems: &mut Problems) -> Option<u32> {
    const MOST: u32 = 1000;
    let ms = value::number("resolution", Unit::Millisecond, "0.1 ms", node, problems)?;
    let of = decimal(ms);
    let one = BigDecimal::from(1);
    if let Some(steps) = (1..=MOST).find(|steps| &of * BigDecimal::from(*steps) == one) {
        return Some(steps);
    }
    problems.add(|| {
        let message =
            format!("`resolution` must be 1 ms divided by a whole number up to {MOST}, not {}", node.shown());
        // Only these quotients have few digits.
        let steps = (1..=MOST).filter(|steps| MOST.pow(3).is_multiple_of(*steps));
        let distance = |steps: &u32| (ms * f64::from(*steps)).ln().abs();
        let nearest = steps.min_by(|a, b| distance(a).total_cmp(&distance(b)));
        let nearest = 1.0 / f64::from(nearest.filter(|_| ms > 0.0).unwrap_or(10));
        Problem::at(node.span, message).help(format!("write `{nearest} ms`"))
    });
    None
}

/// Reads the limits of time and memory.
pub(super) fn limits(node: &Node, problems: &mut Problems) -> (Option<Duration>, Option<u64>) {
    let yaml::Content::Map(map) = &node.value else {
        problems.add(|| {
            Problem::at(node.span, format!("`limits` must be a mapping, not {}", node.shown()))
                .help("write it like `limits: { time: 600 s, memory: 4 GiB }`")
        });
        return (None, None);
    };
    let (mut time_limit, mut memory_limit) = (None, None);
    for ValueEntry { key, key_span, value } in value::entries(map, problems) {
        match key {
            "time" => time_limit = time(value, problems),
            "memory" => memory_limit = memory(value, problems),
            _ => {
                problems.add(|| {
                    Problem::at(key_span, format!("unknown key {} in `limits`", quote(key)))
                        .help(suggest::help(key, "the keys are", &KEYS_OF_LIMITS))
                })
            }
        }
    }
    (time_limit, memory_limit)
}

fn time(node: &Node, problems: &mut Problems) -> Option<Duration> {
    const WHAT: &str = "limits.time";
    const LEAST: f64 = 0.001;
    const MOST: f64 = 30.0 * 86400.0;
    let in_seconds = match &node.value {
        yaml::Content::Scalar { text, .. } => {
            units::split(text).and_then(|(number, unit)| Some((unit, units::in_seconds(number, unit)?)))
        }
        _ => None,
    };
    if let Some((unit, seconds)) = in_seconds.filter(|(_, seconds)| (LEAST..=MOST).contains(seconds)) {
        problems.add(|| {
            Problem::at(node.span, format!("`{WHAT}` must be in seconds, not in {}", quote(unit)))
                .help(format!("write `{seconds} s`"))
        });
        return None;
    }
    let seconds = match in_seconds {
        Some((_, seconds)) => seconds,
        None => value::number(WHAT, Unit::Other("s"), "600 s", node, problems)?,
    };
    if (LEAST..=MOST).contains(&seconds) {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    problems.add(|| {
        let message = format!("`{WHAT}` must be between 1 ms and 30 days, not {}", node.shown());
        let help = if seconds < LEAST { "write `1 ms` or more" } else { "write `2592000 s` or less" };
        Problem::at(node.span, message).help(help)
    });
    None
}

fn memory(node: &Node, problems: &mut Problems) -> Option<u64> {
    const WHAT: &str = "limits.memory";
    const UNITS: [(&str, u64); 4] =
        [("MB", 1_000_000), ("GB", 1_000_000_000), ("MiB", 1 << 20), ("GiB", 1 << 30)];
    const LEAST: u64 = 1_000_000;
    const MOST: u64 = 1 << 50;
    let known = UNITS.map(|(unit, _)| unit);
    let split = match &node.value {
        yaml::Content::Scalar { text, .. } => units::split(text),
        _ => None,
    };
    let like = "write it like `4 GiB`".to_owned();
    let (message, help) = match split {
        None => (format!("`{WHAT}` must be a number with a unit, not {}", node.shown()), like),
        Some((number, "")) => {
            (format!("`{WHAT}` needs a unit"), format!("write `{number} GiB` or `{number} MiB`"))
        }
        Some((number, unit)) => match UNITS.iter().find(|(of, _)| *of == unit) {
            None => {
                let near = known.iter().find(|of| of.to_lowercase() == format!("{}b", unit.to_lowercase()));
                let near = near.or_else(|| known.iter().find(|of| of.to_lowercase() == unit.to_lowercase()));
                let help = match near {
                    Some(near) => format!("did you mean `{number} {near}`?"),
                    None => format!("the units are {}", suggest::list(&known)),
                };
                (format!("unknown unit of memory {}", quote(unit)), help)
            }
            Some((_, bytes)) => {
                // Casts of floats saturate.
                let bytes = number.parse().map_or(0.0, |count: f64| count * *bytes as f64) as u64;
                if (LEAST..=MOST).contains(&bytes) {
                    return Some(bytes);
                }
                let limit =
                    if bytes < LEAST { "write `1 MB` or more" } else { "write `1048576 GiB` or less" };
                let message = format!("`{WHAT}` must be between 1 MB and 1048576 GiB, not {}", node.shown());
                (message, limit.to_owned())
            }
        },
    };
    problems.add(|| Problem::at(node.span, message).help(help));
    None
}
