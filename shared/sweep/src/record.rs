//! The choice of output files that are written for a condition.

use std::fmt;

use granule_engine::output::FileKind;

use crate::diagnostics::{Problem, Problems};
use crate::suggest;
use crate::text::quote;
use crate::value::{ValueEntry, entries, flag};
use crate::yaml::{self, Node};

/// A set of an engine's kinds of files: bit i is the kind with index i.
type Places = u64;

/// The output files that are written for a condition, by their kinds. The choice does not affect the computation: a
/// file that is switched on later is written from the stored spikes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Record {
    kinds: &'static [FileKind],
    on: Places,
}

impl Record {
    /// Returns all files.
    #[must_use]
    pub fn all(kinds: &'static [FileKind]) -> Record {
        Record::of(kinds, |_| true)
    }

    /// Returns the files that are written for a condition if the sweep file sets nothing. A preset used as such has all
    /// files. Other conditions leave out the large ones, which are nearly all of the output.
    #[must_use]
    pub fn by_default(kinds: &'static [FileKind], is_preset: bool) -> Record {
        Record::of(kinds, |kind| is_preset || !kind.is_large)
    }

    /// Returns all files except those of these keys; `None` if a key is unknown.
    pub fn without<'a>(
        kinds: &'static [FileKind],
        keys: impl IntoIterator<Item = &'a str>,
    ) -> Option<Record> {
        let mut record = Record::all(kinds);
        for key in keys {
            record.on &= !bit(place(kinds, key)?);
        }
        Some(record)
    }

    fn of(kinds: &'static [FileKind], is_on: impl Fn(&FileKind) -> bool) -> Record {
        let places = kinds.iter().enumerate().filter(|(_, kind)| is_on(kind));
        Record { kinds, on: places.fold(0, |on, (place, _)| on | bit(place)) }
    }

    /// Returns the files of both records.
    ///
    /// # Panics
    /// If the records are of different engines' kinds.
    #[must_use]
    pub fn or(self, other: Record) -> Record {
        assert_eq!(self.kinds, other.kinds, "records of different engines");
        Record { on: self.on | other.on, ..self }
    }

    /// Returns whether the files of the kind with this index are written.
    #[must_use]
    pub fn has(self, place: usize) -> bool {
        place < self.kinds.len() && self.on & bit(place) != 0
    }

    /// Returns whether the files of this key are written; false for an unknown key.
    #[must_use]
    pub fn has_key(self, key: &str) -> bool {
        place(self.kinds, key).is_some_and(|place| self.has(place))
    }

    /// Returns the keys that are switched off.
    #[must_use]
    pub fn left_out(self) -> Vec<&'static str> {
        let kinds = self.kinds.iter().enumerate();
        kinds.filter(|(place, _)| !self.has(*place)).map(|(_, kind)| kind.key).collect()
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        ExplicitRecord::from(*self).fmt(f)
    }
}

/// The kinds of files that a sweep file sets for a condition, in the condition or at the top. Other kinds have their
/// default.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ExplicitRecord {
    kinds: &'static [FileKind],
    set: Places,
    /// The kinds in `set` that are switched on.
    on: Places,
}

impl From<Record> for ExplicitRecord {
    /// Sets every kind.
    fn from(record: Record) -> ExplicitRecord {
        ExplicitRecord { kinds: record.kinds, set: Record::all(record.kinds).on, on: record.on }
    }
}

impl ExplicitRecord {
    /// Sets no kind.
    #[must_use]
    pub fn none(kinds: &'static [FileKind]) -> ExplicitRecord {
        ExplicitRecord { kinds, set: 0, on: 0 }
    }

    /// Returns the setting of the files of this key; `None` if they are not set or the key is unknown.
    #[must_use]
    pub fn get(self, key: &str) -> Option<bool> {
        let bit = bit(place(self.kinds, key)?);
        (self.set & bit != 0).then_some(self.on & bit != 0)
    }

    /// Returns the files that are written: the kinds that are set, and `default` for the others.
    ///
    /// # Panics
    /// If `default` is of another engine's kinds.
    #[must_use]
    pub fn or(self, default: Record) -> Record {
        assert_eq!(self.kinds, default.kinds, "records of different engines");
        Record { on: self.on | default.on & !self.set, ..default }
    }

    /// Returns the kinds that can be set.
    pub(crate) fn kinds(self) -> &'static [FileKind] {
        self.kinds
    }

    /// Sets the kind with this index.
    pub(crate) fn set(&mut self, place: usize, is_on: bool) {
        let bit = bit(place);
        self.set |= bit;
        self.on = if is_on { self.on | bit } else { self.on & !bit };
    }
}

impl fmt::Debug for ExplicitRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.kinds.iter().filter_map(|kind| Some((kind.key, self.get(kind.key)?)));
        f.debug_map().entries(entries).finish()
    }
}

fn place(kinds: &[FileKind], key: &str) -> Option<usize> {
    kinds.iter().position(|kind| kind.key == key)
}

fn bit(place: usize) -> Places {
    assert!(place < Places::BITS as usize, "an engine has at most {} kinds of files", Places::BITS);
    1 << place
}

/// The key of the spikes, which no engine's kind has.
pub(crate) const SPIKES: &str = "spikes";

/// Description of `record: { spikes: true }`.
pub(crate) const ABOUT_SPIKES: &str = "the spikes of every trial, in the store; always kept";

/// The word that switches all files on.
pub(crate) const ALL: &str = "all";

/// Reads `record`: all files, or a key for each kind to set. Other kinds stay as in `base`.
pub(crate) fn record(node: &Node, base: ExplicitRecord, problems: &mut Problems) -> ExplicitRecord {
    let mut record = base;
    let map = match &node.value {
        yaml::Content::Scalar { text, .. } if text == ALL => return Record::all(base.kinds()).into(),
        yaml::Content::Map(map) => map,
        _ => {
            problems.add(|| {
                Problem::at(node.span, format!("`record` must be `{ALL}` or a mapping, not {}", node.shown()))
                    .help(instead_of(base.kinds(), node))
            });
            return record;
        }
    };
    for ValueEntry { key, key_span, value } in entries(map, problems) {
        let path = format!("record.{key}");
        match place(base.kinds(), key) {
            Some(place) => {
                flag(&path, value, problems).into_iter().for_each(|is_on| record.set(place, is_on));
            }
            None if key == SPIKES => {
                if flag(&path, value, problems) == Some(false) {
                    problems.add(|| {
                        Problem::at(
                            value.span,
                            "the spikes cannot be left out: all output files follow from them",
                        )
                        .help("remove the key `spikes`; granule always stores the spikes")
                    });
                }
            }
            None => {
                problems.add(|| {
                    let keys: Vec<&str> = base.kinds().iter().map(|kind| kind.key).chain([SPIKES]).collect();
                    let help = match key {
                        ALL => format!("write `record: {ALL}`"),
                        _ => suggest::help(key, "the keys are", &keys),
                    };
                    Problem::at(key_span, format!("unknown key {} in `record`", quote(key))).help(help)
                });
            }
        }
    }
    record
}

/// Returns help for a node that is neither `all` nor a mapping: the text to write instead.
fn instead_of(kinds: &[FileKind], node: &Node) -> String {
    let general = || {
        // Users may want to switch on the large files.
        let example = kinds.iter().rev().find(|kind| kind.is_large).or(kinds.first());
        match example {
            Some(kind) => {
                format!("write `{ALL}`, or name files as in `record: {{ {}: true }}`", kind.key)
            }
            None => format!("write `{ALL}`"),
        }
    };
    let each = |keys: &[&str], is_on: bool| {
        let keys: Vec<String> = keys.iter().map(|key| format!("{key}: {is_on}")).collect();
        format!("write `{{ {} }}`", keys.join(", "))
    };
    let keys: Vec<&str> = kinds.iter().map(|kind| kind.key).collect();
    let key_of = |item: &Node| match &item.value {
        yaml::Content::Scalar { text, .. } => keys.iter().copied().find(|key| key == text),
        _ => None,
    };
    match &node.value {
        yaml::Content::Scalar { text, .. } => match (text.to_ascii_lowercase().as_str(), key_of(node)) {
            (_, Some(key)) => each(&[key], true),
            ("none" | "nothing" | "false" | "no" | "off", _) => each(&keys, false),
            ("true" | "yes" | "on" | "everything", _) => format!("write `{ALL}`"),
            _ => match suggest::nearest(text, [ALL]) {
                Some(near) => format!("did you mean `{near}`?"),
                None => general(),
            },
        },
        yaml::Content::List(items) if !items.is_empty() => {
            let keys: Option<Vec<&str>> = items.iter().map(key_of).collect();
            keys.map_or_else(general, |keys| each(&keys, true))
        }
        _ => general(),
    }
}
