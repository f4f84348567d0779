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

/// Drawings that show something else than this manifest. Those of version 0.1.0 do not say what they show, and are not
/// among them.
pub(crate) fn stale(out: &Path, manifest: &Manifest) -> Vec<PathBuf> {
    let found = [(FIGURES, of_figures(&out.join(FIGURES))), (REPORT, of_report(&out.join(REPORT)))];
    if found.iter().all(|(_, of)| of.is_none()) {
        return Vec::new();
    }
    let fingerprint = manifest.fingerprint();
    let other = found.into_iter().filter(|(_, of)| of.as_ref().is_some_and(|of| *of != fingerprint));
    other.map(|(name, _)| out.join(name)).collect()
}

/// Fingerprint of the manifest that a directory of figures was drawn from.
fn of_figures(directory: &Path) -> Option<String> {
    #[derive(Deserialize)]
    struct Index {
        #[serde(rename = "type")]
        kind: String,
        manifest: Option<String>,
    }
    let bytes = files::read(&directory.join(INDEX), LONGEST_INDEX).ok()?;
    let index: Index = serde_json::from_slice(&bytes).ok()?;
    index.manifest.filter(|_| index.kind == "figures")
}

/// Fingerprint of the manifest that a report was made from.
fn of_report(path: &Path) -> Option<String> {
    let mut head = Vec::new();
    files::open(path).ok()?.take(1 << 14).read_to_end(&mut head).ok()?;
    let head = String::from_utf8_lossy(&head);
    let (_, rest) = head.split_once(&format!("<meta name=\"{META}\" content=\""))?;
    Some(rest.split_once('"')?.0.to_owned())
}
