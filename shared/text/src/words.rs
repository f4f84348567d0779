//! Formats times, paces, numbers and names for readers.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use jiff::{SignedDuration, Zoned};

use crate::is_hidden;

/// Returns a count with its noun: `1 trial`, `2 trials`.
pub fn plural(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// Formats a duration: `3.1 s`, `42 s`, `12 min 5 s`, `5 h 12 min`, `3 days 4 h`.
pub fn brief(duration: Duration) -> String {
    if duration < Duration::from_millis(9950) {
        return format!("{:.1} s", duration.as_secs_f64());
    }
    let seconds = duration.as_secs() + u64::from(duration.subsec_millis() >= 500);
    match seconds {
        ..100 => format!("{seconds} s"),
        100..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..172_800 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} days {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// Returns the runs of consecutive numbers: the first and the last number of each.
pub fn runs(numbers: &[u32]) -> Vec<(u32, u32)> {
    let follows = |a: &u32, b: &u32| a.checked_add(1) == Some(*b);
    numbers.chunk_by(follows).map(|run| (run[0], run[run.len() - 1])).collect()
}

/// Formats runs of numbers, as [`runs`] returns them, in the form of seeds in sweep files: `3`, `0..4`,
/// `0..4,7`. If there are more than `most` runs, the text has the first ones and the count of all numbers.
pub fn ranges(runs: &[(u32, u32)], most: usize) -> String {
    let range = |&(first, last): &(u32, u32)| {
        if first == last { first.to_string() } else { format!("{first}..{last}") }
    };
    let mut told: Vec<String> = runs.iter().take(most).map(range).collect();
    if runs.len() > most {
        let count: u64 = runs.iter().map(|&(first, last)| u64::from(last - first) + 1).sum();
        told.push(format!("… ({count} in all)"));
    }
    told.join(",")
}

/// Most runs in a text that also reports other things.
pub const MOST_RUNS: usize = 6;

/// Formats seeds: `seed 3`, `seeds 0..4`.
pub fn seeds(seeds: &[u32]) -> String {
    let word = if seeds.len() == 1 { "seed" } else { "seeds" };
    format!("{word} {}", ranges(&runs(seeds), MOST_RUNS))
}

/// Groups names by kind, in the order in which each kind first occurs.
pub fn grouped<K: Clone + Eq + Hash>(of: impl IntoIterator<Item = (String, K)>) -> Vec<(Vec<String>, K)> {
    let mut places: HashMap<K, usize> = HashMap::new();
    let mut groups: Vec<(Vec<String>, K)> = Vec::new();
    for (name, kind) in of {
        let place = *places.entry(kind.clone()).or_insert_with(|| {
            groups.push((Vec::new(), kind));
            groups.len() - 1
        });
        groups[place].0.push(name);
    }
    groups
}

/// All names of the conditions of a sweep, to describe some of them in few words.
pub struct Names<'a> {
    all: Vec<&'a str>,
    places: HashMap<&'a str, usize>,
}

impl<'a> Names<'a> {
    /// Fewest names that become a pattern or a range.
    const FEWEST: usize = 3;
    /// Most words of a description.
    const MOST_WORDS: usize = 4;

    pub fn new(all: impl IntoIterator<Item = &'a str>) -> Names<'a> {
        let all: Vec<&str> = all.into_iter().collect();
        let places = all.iter().enumerate().map(|(at, name)| (*name, at)).collect();
        Names { all, places }
    }

    /// Describes some of the names, in the order of the sweep: `Control`, `all 24 conditions`, `Control,
    /// leak-* (20 conditions)`. A pattern matches these names and no others, and `--conditions` accepts it.
    pub fn describe(&self, names: &[String]) -> String {
        match names {
            [name] => return name.clone(),
            _ if names.len() == self.all.len() => return format!("all {} conditions", names.len()),
            _ => {}
        }
        // Each word, with the number of names that it stands for.
        let mut words: Vec<(String, usize)> = Vec::new();
        for (of, stem) in grouped(names.iter().map(|name| (name.clone(), stem(name)))) {
            let count = of.len();
            let fits = || self.all.iter().filter(|name| name.starts_with(stem)).count();
            if count >= Self::FEWEST && fits() == count {
                words.push((format!("{stem}* ({count} conditions)"), count));
                continue;
            }
            let place = |name: &String| self.places.get(name.as_str()).copied().unwrap_or(0);
            for run in of.chunk_by(|a, b| place(a) + 1 == place(b)) {
                match run {
                    [first, .., last] if run.len() >= Self::FEWEST => {
                        words.push((format!("{first} to {last} ({} conditions)", run.len()), run.len()));
                    }
                    names => words.extend(names.iter().map(|name| (name.clone(), 1))),
                }
            }
        }
        let rest: usize = words.iter().skip(Self::MOST_WORDS).map(|(_, count)| count).sum();
        let mut told: Vec<String> = words.into_iter().take(Self::MOST_WORDS).map(|(word, _)| word).collect();
        if rest > 0 {
            told.push(format!("and {rest} more"));
        }
        told.join(", ")
    }
}

/// Returns the common beginning of the names of an axis's points: everything before the first digit.
fn stem(name: &str) -> &str {
    name.find(|c: char| c.is_ascii_digit()).map_or(name, |at| &name[..at])
}

/// Formats a pace in the unit that shows most in few digits: `12.3 trials/s`, `12.3 trials/min`, `1.2
/// trials/h`.
pub fn pace(trials_per_second: f64) -> String {
    let (value, unit) = match trials_per_second {
        0.95.. => (trials_per_second, "s"),
        0.0158.. => (60.0 * trials_per_second, "min"),
        _ => (3600.0 * trials_per_second, "h"),
    };
    format!("{value:.1} trials/{unit}")
}

/// Returns JSON on one line, with hidden characters as JSON escapes. Outside its strings, JSON has no hidden
/// characters but white space.
pub fn escaped_json(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '\n' | '\r' | '\t' => escaped.push(' '),
            c if is_hidden(c) => {
                c.encode_utf16(&mut [0; 2])
                    .iter()
                    .for_each(|unit| escaped.push_str(&format!("\\u{unit:04x}")));
            }
            c => escaped.push(c),
        }
    }
    escaped
}

/// Returns the local time at which a duration from now ends; `None` for less than two minutes, or for a year
/// or more.
pub fn clock_in(left: Duration, now: &Zoned) -> Option<String> {
    let then = now.checked_add(SignedDuration::try_from(left).ok()?).ok()?;
    let format = match left.as_secs() {
        ..120 => return None,
        120..43_200 => "%H:%M",
        43_200..518_400 => "%a %H:%M",
        518_400..31_536_000 => "%-d %b",
        _ => return None,
    };
    Some(then.strftime(format).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_that_follow_each_other_are_a_range() {
        assert_eq!(seeds(&[451]), "seed 451");
        assert_eq!(
            seeds(&[1, 2, 3, 451, 5, u32::MAX - 1, u32::MAX, 0]),
            "seeds 1..3,451,5,4294967294..4294967295,0"
        );
        let odd: Vec<u32> = (0..20).map(|i| 2 * i + 1).collect();
        assert_eq!(seeds(&odd), "seeds 1,3,5,7,9,11,… (20 in all)");
        assert_eq!(ranges(&runs(&odd[..7]), usize::MAX), "1,3,5,7,9,11,13");
    }

    #[test]
    fn names_are_described_by_patterns_that_fit_no_others() {
        let leak: Vec<String> = (1..=20).map(|i| format!("leak-{i}")).collect();
        let mut all: Vec<String> = ["Control", "GABAzine", "ACh"].map(str::to_owned).to_vec();
        all.extend(leak.clone());
        all.push("other".to_owned());
        let names = Names::new(all.iter().map(String::as_str));
        let check = |some: &[&str], expected: &str| {
            let some: Vec<String> = some.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(names.describe(&some), expected);
        };
        check(&["ACh"], "ACh");
        check(&["Control", "other"], "Control, other");
        assert_eq!(names.describe(&all), "all 24 conditions");
        assert_eq!(names.describe(&leak), "leak-* (20 conditions)");
        assert_eq!(names.describe(&[&all[..1], &leak[..]].concat()), "Control, leak-* (20 conditions)");
        assert_eq!(
            names.describe(&[&leak[..5], &leak[7..8], &leak[10..]].concat()),
            "leak-1 to leak-5 (5 conditions), leak-8, leak-11 to leak-20 (10 conditions)"
        );
        let odd: Vec<String> = leak.iter().step_by(2).cloned().collect();
        assert_eq!(names.describe(&odd), "leak-1, leak-3, leak-5, leak-7, and 6 more");
        let many: Vec<String> = (0..10_000).map(|i| format!("a{i}")).collect();
        let names = Names::new(many.iter().map(String::as_str));
        assert_eq!(names.describe(&many), "all 10000 conditions");
        assert_eq!(names.describe(&many[..5000]), "a0 to a4999 (5000 conditions)");
    }

    #[test]
    fn times_are_brief() {
        for (seconds, text) in [
            (0.0, "0.0 s"),
            (3.06, "3.1 s"),
            (9.96, "10 s"),
            (99.4, "99 s"),
            (99.6, "1 min 40 s"),
            (725.0, "12 min 5 s"),
            (3599.7, "1 h 0 min"),
            (18_720.0, "5 h 12 min"),
            (273_600.0, "3 days 4 h"),
        ] {
            assert_eq!(brief(Duration::from_secs_f64(seconds)), text);
        }
    }

    #[test]
    fn json_says_the_same_without_hidden_characters() {
        let value = serde_json::json!({ "a\u{202e}": "b\n\u{2028}\u{9b}\u{e0041}\u{200b}ö" });
        let json = serde_json::to_string_pretty(&value).expect("it can be written");
        let escaped = escaped_json(&json);
        assert!(!escaped.chars().any(is_hidden), "{escaped}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&escaped).expect("JSON"), value);
    }

    #[test]
    fn paces_have_the_unit_that_says_most() {
        for (rate, text) in [
            (123.45, "123.5 trials/s"),
            (0.96, "1.0 trials/s"),
            (0.5, "30.0 trials/min"),
            (0.016, "1.0 trials/min"),
            (1.0 / 600.0, "6.0 trials/h"),
            (0.0, "0.0 trials/h"),
        ] {
            assert_eq!(pace(rate), text);
        }
    }

    #[test]
    fn the_end_is_said_by_the_clock() {
        let now: Zoned = "2026-11-28T22:50:00+01:00[+01:00]".parse().expect("a time");
        let clock = |seconds| clock_in(Duration::from_secs(seconds), &now);
        assert_eq!(clock(60), None);
        assert_eq!(clock(7200).as_deref(), Some("00:50"));
        assert_eq!(clock(50_000).as_deref(), Some("Sun 12:43"));
        assert_eq!(clock(864_000).as_deref(), Some("8 Dec"));
        assert_eq!(clock(u64::MAX), None);
    }
}
