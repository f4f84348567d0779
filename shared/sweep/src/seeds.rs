//! The seeds of a sweep: a list of numbers and ranges, a range, or a number of random seeds.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use crate::diagnostics::{Problem, Problems, line_number};
use crate::draws;
use crate::limits::MOST_SEEDS;
use crate::suggest;
use crate::text::{Span, quote};
use crate::value::{count, count_of, entries};
use crate::yaml::{self, Node};

pub(crate) const DEFAULT_SEED: u32 = 451;

const FORMS: &str = "write `[451, 452]`, `1..20` (both included) or `{ count: 20, seed: 7 }`";

/// Reads `seeds`. Wrong entries are reported and left out.
pub(crate) fn seeds(node: &Node, problems: &mut Problems) -> Vec<u32> {
    match &node.value {
        yaml::Content::List(items) if !items.is_empty() => listed(node, items, problems),
        yaml::Content::List(_) => {
            problems
                .add(|| Problem::at(node.span, "`seeds` is empty").help(format!("write `[{DEFAULT_SEED}]`")));
            Vec::new()
        }
        yaml::Content::Scalar { text, .. } if text.contains("..") => {
            let mut listed = SeedList::default();
            listed.add(node, problems);
            listed.seeds
        }
        yaml::Content::Map(map) => random(node, map, problems),
        yaml::Content::Scalar { text, .. } => {
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
        yaml::Content::Null => {
            problems.add(|| Problem::at(node.span, "`seeds` must be a list, not an empty value").help(FORMS));
            Vec::new()
        }
    }
}

fn listed(node: &Node, items: &[Node], problems: &mut Problems) -> Vec<u32> {
    if items.len() > MOST_SEEDS {
        problems.add(|| too_many(node.span, items.len() as u64, "are listed"));
        return Vec::new();
    }
    let mut listed = SeedList::default();
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
        .help("use fewer seeds, or several sweeps")
}

/// The seeds read so far.
#[derive(Default)]
struct SeedList {
    seeds: Vec<u32>,
    /// Position at which each seed was written first.
    places: HashMap<u32, Span>,
    is_full: bool,
}

impl SeedList {
    /// Adds a number or a range.
    fn add(&mut self, item: &Node, problems: &mut Problems) {
        let (first, last) = match &item.value {
            yaml::Content::Scalar { text, quoted: false } if text.contains("..") => {
                let Some(ends) = range(text, item.span, problems) else { return };
                ends
            }
            yaml::Content::Scalar { text, quoted: false } if ends(&text.replacen('-', "..", 1)).is_ok() => {
                problems.add(|| {
                    Problem::at(item.span, format!("{} is not a range of seeds", quote(text)))
                        .help(format!("write `{}`", text.replacen('-', "..", 1)))
                });
                return;
            }
            _ => match count_of("an entry of `seeds`", 0, u32::MAX, item, problems) {
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
                    // Report only one seed of a range.
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

/// The reason why a text is not a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UnfitRange {
    Backwards(u32, u32),
    TooLarge,
    Other,
}

/// Reads both ends of a range such as `1..20`.
fn ends(text: &str) -> Result<(u32, u32), UnfitRange> {
    let (first, last) = text.split_once("..").ok_or(UnfitRange::Other)?;
    let seed = |end: &str| {
        let is_number = !end.is_empty() && end.bytes().all(|byte| byte.is_ascii_digit());
        if is_number { end.parse::<u32>().map_err(|_| UnfitRange::TooLarge) } else { Err(UnfitRange::Other) }
    };
    match (seed(first.trim_end()), seed(last.trim_start())) {
        (Ok(first), Ok(last)) if first <= last => Ok((first, last)),
        (Ok(first), Ok(last)) => Err(UnfitRange::Backwards(first, last)),
        (Err(UnfitRange::Other), _) | (_, Err(UnfitRange::Other)) => Err(UnfitRange::Other),
        (Err(unfit), _) | (_, Err(unfit)) => Err(unfit),
    }
}

impl UnfitRange {
    /// Returns the problem and a remedy.
    fn describe(self, text: &str) -> (String, String) {
        let text = quote(text);
        match self {
            UnfitRange::Backwards(first, last) => {
                (format!("the range {text} ends before it begins"), format!("write `{last}..{first}`"))
            }
            UnfitRange::TooLarge => (
                format!("`seeds` must be between 0 and {}, not {text}", u32::MAX),
                format!("write numbers up to `{}`", u32::MAX),
            ),
            UnfitRange::Other => (
                format!("{text} is not a range of seeds"),
                "write it like `1..20`, first and last, both included".to_owned(),
            ),
        }
    }
}

fn range(text: &str, span: Span, problems: &mut Problems) -> Option<(u32, u32)> {
    let ends = ends(text);
    if let Err(unfit) = ends {
        problems.add(|| {
            let (message, help) = unfit.describe(text);
            Problem::at(span, message).help(help)
        });
    }
    ends.ok()
}

/// Reads a seed or a range of seeds of a command line, written like an item of `seeds` in a sweep file. Also accepts
/// `1-20` for `1..20`.
///
/// # Errors
/// The problem and a remedy, in one line.
///
/// ```
/// assert_eq!(granule_sweep::parse_seeds("1..20"), Ok(1..=20));
/// assert_eq!(granule_sweep::parse_seeds("7"), Ok(7..=7));
/// ```
pub fn parse_seeds(text: &str) -> Result<RangeInclusive<u32>, String> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let seed =
            text.parse().map_err(|_| format!("a seed is at most {}, not {}", u32::MAX, quote(text)))?;
        return Ok(seed..=seed);
    }
    let range = text.replacen('-', "..", usize::from(!text.contains("..")));
    match ends(&range) {
        Ok((first, last)) => Ok(first..=last),
        Err(UnfitRange::Other) => Err(format!(
            "{} is neither a seed nor a range of seeds; write it like `7` or `1..20`, both ends included",
            quote(text)
        )),
        Err(unfit) => {
            let (message, help) = unfit.describe(text);
            Err(format!("{message}; {help}"))
        }
    }
}

/// Draws the seeds of a mapping such as `{ count: 20, seed: 7 }`.
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
            // A key with a wrong value has been reported.
            if problems.count() == before {
                problems.add(|| Problem::at(node.span, "random `seeds` need `count` and `seed`").help(FORMS));
            }
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::parse_seeds;

    #[test]
    fn a_command_line_has_seeds_as_a_sweep_file_has_them() {
        for (text, expected) in [("0", 0..=0), ("1..20", 1..=20), ("1 .. 20", 1..=20), ("3..3", 3..=3)] {
            assert_eq!(parse_seeds(text), Ok(expected), "{text}");
        }
        assert_eq!(parse_seeds("1-20"), Ok(1..=20));
        for (text, why) in [
            ("", "is neither a seed nor a range"),
            ("-1", "write it like `7` or `1..20`"),
            ("1..", "write it like `7` or `1..20`"),
            ("1..=20", "write it like `7` or `1..20`"),
            ("a", "`a` is neither a seed nor a range of seeds"),
            ("20..1", "the range `20..1` ends before it begins; write `1..20`"),
            ("4294967296", "a seed is at most 4294967295"),
            ("0..4294967296", "between 0 and 4294967295"),
        ] {
            let error = parse_seeds(text).expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
