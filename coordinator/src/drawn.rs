//! Figures and reports in an output directory, and what they were drawn from.
//!
//! The index of a directory of figures and the head of a report have the fingerprint of the manifest that they were
//! drawn from. If the directory has another manifest by now, they show an earlier state.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use granule_worker::files;
use serde::Deserialize;

use crate::outputs::manifest::Manifest;

/// Directory of figures, in an output directory.
pub(crate) const FIGURES: &str = "figures";

/// What is in a directory of figures.
pub(crate) const INDEX: &str = "figures.json";

/// The report, in an output directory.
pub(crate) const REPORT: &str = "report.html";

/// The name of the element of a report that has the fingerprint.
pub(crate) const META: &str = "granule-manifest";

/// Longest index, in bytes.
pub(crate) const LONGEST_INDEX: u64 = 1 << 26;

/// What a drawing says of the manifest that it was drawn from.
enum Source {
    /// There is no drawing.
    None,
    /// Those of version 0.1.0 say nothing.
    Unknown,
    Manifest(String),
}

/// Drawings that show something else than this manifest. Has the manifest just been written, `is_new`, then drawings that do
/// not say what they were drawn from are among them.
pub(crate) fn stale(out: &Path, manifest: &Manifest, is_new: bool) -> Vec<PathBuf> {
    let found = [(FIGURES, of_figures(&out.join(FIGURES))), (REPORT, of_report(&out.join(REPORT)))];
    if found.iter().all(|(_, source)| matches!(source, Source::None)) {
        return Vec::new();
    }
    let fingerprint = manifest.fingerprint();
    let is_stale = |source: &Source| match source {
        Source::None => false,
        Source::Unknown => is_new,
        Source::Manifest(of) => *of != fingerprint,
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
    }
    let index = files::read(&directory.join(INDEX), LONGEST_INDEX).ok();
    let index = index.and_then(|bytes| serde_json::from_slice::<Index>(&bytes).ok());
    match index.filter(|index| index.kind == "figures") {
        None => Source::None,
        Some(Index { manifest: None, .. }) => Source::Unknown,
        Some(Index { manifest: Some(of), .. }) => Source::Manifest(of),
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
    let of = head
        .split_once(&format!("<meta name=\"{META}\" content=\""))
        .and_then(|(_, rest)| rest.split_once('"'));
    of.map_or(Source::Unknown, |(of, _)| Source::Manifest(of.to_owned()))
}
