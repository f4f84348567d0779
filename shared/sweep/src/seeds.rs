//! The seeds of a sweep: a list of numbers and ranges, a range, or so many at random.

use std::collections::HashMap;

use crate::diagnostics::{Problem, Problems, Span, line_number, quote};
use crate::draws;
use crate::suggest;
use crate::value::{count, entries};
use crate::yaml::{self, Node};

pub(crate) const DEFAULT_SEED: u32 = 451;

/// Most seeds of a sweep.
pub(crate) const MOST_SEEDS: usize = 100_000;

const FORMS: &str = "write `[451, 452]`, `1..20` (both included) or `{ count: 20, seed: 7 }`";

/// Reads `seeds`; what is wrong is reported and left out.
pub(crate) fn seeds(node: &Node, problems: &mut Problems) -> Vec<u32> {
    match &node.value {
        yaml::Value::List(items) if !items.is_empty() => listed(node, items, problems),
        yaml::Value::List(_) => {
            problems
                .add(|| Problem::at(node.span, "`seeds` is empty").help(format!("write `[{DEFAULT_SEED}]`")));
            Vec::new()
        }
        yaml::Value::Scalar { text, .. } if text.contains("..") => {
            let mut listed = Seeds::default();
            listed.add(node, problems);
            listed.seeds
        }
        yaml::Value::Map(map) => random(node, map, problems),
        yaml::Value::Scalar { text, .. } => {
            problems.add(|| {
                Problem::at(node.span, format!("`seeds` must be a list, not {}", node.shown())).help(
                    match text.parse::<u32>() {
                        Ok(seed) => format!("write `[{seed}]`"),
                        Err(_) => FORMS.to_owned(),
                    },
                )
            });
            Vec::new()
        }
        yaml::Value::Null => {
            problems.add(|| Problem::at(node.span, "`seeds` must be a list, not nothing").help(FORMS));
            Vec::new()
        }
    }
}

fn listed(node: &Node, items: &[Node], problems: &mut Problems) -> Vec<u32> {
    if items.len() > MOST_SEEDS {
        problems.add(|| too_many(node.span, items.len() as u64, "are listed"));
        return Vec::new();
    }
    let mut listed = Seeds::default();
    for item in items {
        listed.add(item, problems);
        if listed.is_full {
            return Vec::new();
        }
    }
    listed.seeds
}

fn too_many(span: Span, found: u64, what: &str) -> Problem {
    Problem::at(span, format!("{found} seeds {what}; at most {MOST_SEEDS} are possible"))
        .help("take fewer seeds, or several sweeps")
}

/// Seeds so far.
#[derive(Default)]
struct Seeds {
    seeds: Vec<u32>,
    /// Where each was written first.
    places: HashMap<u32, Span>,
    is_full: bool,
}

impl Seeds {
    /// Adds a number or a range.
    fn add(&mut self, item: &Node, problems: &mut Problems) {
        let (first, last) = match &item.value {
            yaml::Value::Scalar { text, quoted: false } if text.contains("..") => {
                let Some(ends) = range(text, item.span, problems) else { return };
                ends
            }
            _ => match count("seeds", 0, u32::MAX, item, problems) {
                Some(seed) => (seed, seed),
                None => return,
            },
        };
        let found = self.seeds.len() as u64 + u64::from(last - first) + 1;
        if found > MOST_SEEDS as u64 {
            self.is_full = true;
            problems.add(|| too_many(item.span, found, "are asked for"));
            return;
        }
        for seed in first..=last {
            match self.places.get(&seed) {
                Some(place) => {
                    let text = problems.text();
                    problems.add(|| {
                        let line = line_number(text, place.start);
                        Problem::at(item.span, format!("duplicate seed `{seed}`")).help(format!(
                            "it is already on line {line}; the same seed gives the same trials"
                        ))
                    });
                    // One of a range is enough to be told.
                    return;
                }
                None => {
                    self.places.insert(seed, item.span);
                    self.seeds.push(seed);
                }
            }
        }
    }
}

/// Both ends of `1..20`.
fn range(text: &str, span: Span, problems: &mut Problems) -> Option<(u32, u32)> {
    let ends = text.split_once("..").map(|(first, last)| (first.trim_end(), last.trim_start()));
    let digits =
        |end: &str| (!end.is_empty() && end.bytes().all(|b| b.is_ascii_digit())).then(|| end.parse::<u32>());
    let read = ends.and_then(|(first, last)| Some((digits(first)?, digits(last)?)));
    match read {
        Some((Ok(first), Ok(last))) if first <= last => Some((first, last)),
        Some((Ok(first), Ok(last))) => {
            problems.add(|| {
                Problem::at(span, format!("the range {} ends before it begins", quote(text)))
                    .help(format!("write `{last}..{first}`"))
            });
            None
        }
        Some(_) => {
            problems.add(|| {
                Problem::at(span, format!("`seeds` must be between 0 and {}, not {}", u32::MAX, quote(text)))
                    .help(format!("write numbers up to `{}`", u32::MAX))
            });
            None
        }
        None => {
            problems.add(|| {
                Problem::at(span, format!("{} is no range of seeds", quote(text)))
                    .help("write it like `1..20`, first and last, both included")
            });
            None
        }
    }
}

/// `{ count: 20, seed: 7 }`
fn random(node: &Node, map: &[(Node, Node)], problems: &mut Problems) -> Vec<u32> {
    let before = problems.count();
    let (mut number, mut seed) = (None, None);
    for entry in entries(map, problems) {
        match entry.key {
            "count" => number = count("seeds.count", 1, MOST_SEEDS as u32, entry.value, problems),
            "seed" => seed = count("seeds.seed", 0, u32::MAX, entry.value, problems),
            key => problems.add(|| {
                Problem::at(entry.key_span, format!("unknown key {} in `seeds`", quote(key)))
                    .help(suggest::help(key, "the keys are", &["count", "seed"]))
            }),
        }
    }
    match (number, seed) {
        (Some(number), Some(seed)) if problems.count() == before => {
            draws::distinct("seeds", seed, number as usize)
        }
        _ => {
            // A key that is there but wrong has been reported.
            if problems.count() == before {
                problems.add(|| Problem::at(node.span, "random `seeds` need `count` and `seed`").help(FORMS));
            }
            Vec::new()
        }
    }
}
