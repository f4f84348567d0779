//! Figures and reports in an output directory, and what they were drawn from.
//!
//! The index of a directory of figures and the head of a report have the fingerprint of the manifest that they were
//! drawn from. If the directory has another manifest now, they show an earlier state. Drawings of an incomplete sweep
//! record its numbers of trials instead. They show an earlier state as soon as more trials are stored.

use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use granule_system::files;
use serde::{Deserialize, Serialize};

use crate::manifest::Manifest;

/// Name of the directory of figures in an output directory.
pub const FIGURES: &str = "figures";

/// Name of the index in a directory of figures.
pub const INDEX: &str = "figures.json";

/// Name of the report in an output directory.
pub const REPORT: &str = "report.html";

/// Name of the element of a report that has the fingerprint.
pub const META: &str = "granule-manifest";

/// Limit on the bytes of an index.
pub const LONGEST_INDEX: u64 = 1 << 26;

/// Name of the element of a report that has the numbers of trials of an incomplete sweep.
pub const PRELIMINARY: &str = "granule-preliminary";

/// The numbers of trials of an incomplete sweep when it was drawn. They count different trials: conditions with equal
/// parameters share theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preliminary {
    /// Trials of the chosen conditions and seeds: those that were stored, and all.
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
                "preliminary: all {drawn} chosen trials; {stored} of {total} trials of the sweep are stored"
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
    /// Formats the numbers for the head of a report.
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

/// The source that a drawing records.
enum DrawnSource {
    /// There is no drawing.
    None,
    /// Drawings of version 0.1.0 record no source.
    Unknown,
    Manifest(String),
    Preliminary(Preliminary),
}

/// The state of a sweep, as far as drawings can show it.
#[derive(Clone, Copy, Debug)]
pub enum SweepState<'a> {
    /// The sweep is complete. `is_new` if the manifest is newly written: then drawings that record no source show an
    /// earlier state.
    Complete { manifest: &'a Manifest, is_new: bool },
    /// The sweep is incomplete; this many of all trials are stored.
    Under { stored: u64, total: u64 },
}

/// Returns the drawings that show an earlier state than this.
pub fn stale(out: &Path, state: SweepState<'_>) -> Vec<PathBuf> {
    let found = [(FIGURES, of_figures(&out.join(FIGURES))), (REPORT, of_report(&out.join(REPORT)))];
    if found.iter().all(|(_, source)| matches!(source, DrawnSource::None)) {
        return Vec::new();
    }
    let fingerprint = match state {
        SweepState::Complete { manifest, .. } => Some(manifest.fingerprint()),
        SweepState::Under { .. } => None,
    };
    let is_stale = |source: &DrawnSource| match (source, state) {
        (DrawnSource::None, _) => false,
        (DrawnSource::Unknown, SweepState::Complete { is_new, .. }) => is_new,
        (DrawnSource::Unknown, SweepState::Under { .. }) => true,
        (DrawnSource::Manifest(of), _) => Some(of) != fingerprint.as_ref(),
        (DrawnSource::Preliminary(_), SweepState::Complete { .. }) => true,
        (DrawnSource::Preliminary(of), SweepState::Under { stored, total }) => {
            (of.stored, of.total) != (stored, total)
        }
    };
    found.iter().filter(|(_, source)| is_stale(source)).map(|(name, _)| out.join(name)).collect()
}

/// Reads the source of figures from the index of their directory.
fn of_figures(directory: &Path) -> DrawnSource {
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
        None => DrawnSource::None,
        Some(Index { preliminary: Some(of), .. }) => DrawnSource::Preliminary(of),
        Some(Index { manifest: Some(of), .. }) => DrawnSource::Manifest(of),
        Some(Index { .. }) => DrawnSource::Unknown,
    }
}

/// Reads the source of a report from its head.
fn of_report(path: &Path) -> DrawnSource {
    let mut head = Vec::new();
    let read = files::open(path).and_then(|file| file.take(1 << 14).read_to_end(&mut head));
    let head = String::from_utf8_lossy(&head);
    if read.is_err() || !head.contains("<meta name=\"generator\" content=\"granule ") {
        return DrawnSource::None;
    }
    let content = |name: &str| {
        let (_, rest) = head.split_once(&format!("<meta name=\"{name}\" content=\""))?;
        Some(rest.split_once('"')?.0)
    };
    match (content(PRELIMINARY).and_then(Preliminary::from_meta), content(META)) {
        (Some(of), _) => DrawnSource::Preliminary(of),
        (None, Some(of)) => DrawnSource::Manifest(of.to_owned()),
        (None, None) => DrawnSource::Unknown,
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
            "preliminary: all 10 chosen trials; 34 of 50 trials of the sweep are stored"
        );
        assert_eq!(Preliminary::from_meta(&of(4, 10).to_meta()), Some(of(4, 10)));
        assert_eq!(Preliminary::from_meta("4/10 34"), None);
    }
}
