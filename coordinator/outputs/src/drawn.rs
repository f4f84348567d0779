//! Figures and reports in an output directory, and what they were drawn from.
//!
//! The index of a directory of figures and the head of a report have the fingerprint of the manifest that they were
//! drawn from. If the directory has another manifest by now, they show an earlier state. Drawings of a sweep that was not
//! complete say instead how far it was; they show an earlier state as soon as it is farther.

use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use granule_system::files;
use serde::{Deserialize, Serialize};

use crate::manifest::Manifest;

/// Directory of figures, in an output directory.
pub const FIGURES: &str = "figures";

/// What is in a directory of figures.
pub const INDEX: &str = "figures.json";

/// The report, in an output directory.
pub const REPORT: &str = "report.html";

/// The name of the element of a report that has the fingerprint.
pub const META: &str = "granule-manifest";

/// Longest index, in bytes.
pub const LONGEST_INDEX: u64 = 1 << 26;

/// The name of the element of a report that says how far the sweep was.
pub const PRELIMINARY: &str = "granule-preliminary";

/// How far a sweep was when it was drawn before it was complete. Of different trials: conditions with equal parameters
/// share theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preliminary {
    /// Trials of the conditions and seeds that were chosen: those that were stored, and all.
    pub drawn: u64,
    pub chosen: u64,
    /// Trials of the sweep: those that were stored, and all.
    pub stored: u64,
    pub total: u64,
}

impl fmt::Display for Preliminary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Preliminary { drawn, chosen, stored, total } = self;
        if drawn == chosen && chosen < total {
            return write!(
                f,
                "preliminary: all {drawn} trials of this part; {stored} of {total} trials of the sweep"
            );
        }
        if drawn == total {
            return write!(
                f,
                "preliminary: all {drawn} trials are stored, but the output files are not written"
            );
        }
        write!(f, "preliminary: {drawn} of {chosen} trials")
    }
}

impl Preliminary {
    /// For the head of a report.
    pub fn to_meta(self) -> String {
        let Preliminary { drawn, chosen, stored, total } = self;
        format!("{drawn}/{chosen} {stored}/{total}")
    }

    fn from_meta(text: &str) -> Option<Preliminary> {
        let numbers: Vec<u64> = text.split(['/', ' ']).map_while(|number| number.parse().ok()).collect();
        let [drawn, chosen, stored, total] = numbers[..] else { return None };
        Some(Preliminary { drawn, chosen, stored, total })
    }
}

/// What a drawing says of what it was drawn from.
enum Source {
    /// There is no drawing.
    None,
    /// Those of version 0.1.0 say nothing.
    Unknown,
    Manifest(String),
    Preliminary(Preliminary),
}

/// What a sweep is at, as far as drawings can show it.
#[derive(Clone, Copy, Debug)]
pub enum State<'a> {
    /// It is complete. Has the manifest just been written, `is_new`, then drawings that do not say what they were
    /// drawn from show an earlier state.
    Complete { manifest: &'a Manifest, is_new: bool },
    /// It is not, and has so many trials stored of so many.
    Under { stored: u64, total: u64 },
}

/// Drawings that show an earlier state than this.
pub fn stale(out: &Path, state: State<'_>) -> Vec<PathBuf> {
    let found = [(FIGURES, of_figures(&out.join(FIGURES))), (REPORT, of_report(&out.join(REPORT)))];
    if found.iter().all(|(_, source)| matches!(source, Source::None)) {
        return Vec::new();
    }
    let fingerprint = match state {
        State::Complete { manifest, .. } => Some(manifest.fingerprint()),
        State::Under { .. } => None,
    };
    let is_stale = |source: &Source| match (source, state) {
        (Source::None, _) => false,
        (Source::Unknown, State::Complete { is_new, .. }) => is_new,
        (Source::Unknown, State::Under { .. }) => true,
        (Source::Manifest(of), _) => Some(of) != fingerprint.as_ref(),
        (Source::Preliminary(_), State::Complete { .. }) => true,
        (Source::Preliminary(of), State::Under { stored, total }) => (of.stored, of.total) != (stored, total),
    };
    found.iter().filter(|(_, source)| is_stale(source)).map(|(name, _)| out.join(name)).collect()
}

/// What the index of a directory of figures says.
fn of_figures(directory: &Path) -> Source {
    #[derive(Deserialize)]
    struct Index {
        #[serde(rename = "type")]
        kind: String,
        manifest: Option<String>,
        preliminary: Option<Preliminary>,
    }
    let index = files::read(&directory.join(INDEX), LONGEST_INDEX).ok();
    let index = index.and_then(|bytes| serde_json::from_slice::<Index>(&bytes).ok());
    match index.filter(|index| index.kind == "figures") {
        None => Source::None,
        Some(Index { preliminary: Some(of), .. }) => Source::Preliminary(of),
        Some(Index { manifest: Some(of), .. }) => Source::Manifest(of),
        Some(Index { .. }) => Source::Unknown,
    }
}

/// What the head of a report says.
fn of_report(path: &Path) -> Source {
    let mut head = Vec::new();
    let read = files::open(path).and_then(|file| file.take(1 << 14).read_to_end(&mut head));
    let head = String::from_utf8_lossy(&head);
    if read.is_err() || !head.contains("<meta name=\"generator\" content=\"granule ") {
        return Source::None;
    }
    let content = |name: &str| {
        let (_, rest) = head.split_once(&format!("<meta name=\"{name}\" content=\""))?;
        Some(rest.split_once('"')?.0)
    };
    match (content(PRELIMINARY).and_then(Preliminary::from_meta), content(META)) {
        (Some(of), _) => Source::Preliminary(of),
        (None, Some(of)) => Source::Manifest(of.to_owned()),
        (None, None) => Source::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preliminary_drawings_say_how_much_there_was() {
        let of = |drawn, chosen| Preliminary { drawn, chosen, stored: 34, total: 50 };
        assert_eq!(of(34, 50).to_string(), "preliminary: 34 of 50 trials");
        assert_eq!(of(4, 10).to_string(), "preliminary: 4 of 10 trials");
        assert_eq!(
            of(10, 10).to_string(),
            "preliminary: all 10 trials of this part; 34 of 50 trials of the sweep"
        );
        assert_eq!(Preliminary::from_meta(&of(4, 10).to_meta()), Some(of(4, 10)));
        assert_eq!(Preliminary::from_meta("4/10 34"), None);
    }
}
