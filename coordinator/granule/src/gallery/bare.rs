//! The paper's figures of a folder that has the files of a seed, but no record of the sweep. It is a copy, or output of
//! the original program.

use std::ops::Range;
use std::path::Path;

use granule_figures::{Analysis, AnalysisError, Criteria, PaperCondition, paper};
use granule_outputs::archive::ArchiveError;
use granule_system::exit;

use super::folder::{Folder, Recorded, Unreadable, connections, probability};
use super::{Of, TakeFigure, check_window};
use crate::failure::Failure;

/// Draws them by the paper's criteria. `window` moves where responses are looked for. Returns notes for people.
pub(crate) fn draw(
    path: &Path,
    window: Option<Range<usize>>,
    take: &mut TakeFigure<'_>,
) -> Result<Vec<String>, Failure> {
    let unusable = |error: &(dyn std::error::Error + 'static)| Failure::caused_by(exit::FAILED, error, None);
    let mut folder = Folder::find(path).map_err(|error| unusable(&error))?;
    let prefixes = PaperCondition::ALL.map(PaperCondition::prefix);
    // Files of the original's fixed weights may be beside those of its random weights.
    let count = |random| prefixes.iter().filter(|prefix| folder.has(&probability(random, prefix))).count();
    let is_random = count(true) >= count(false);
    // Weights only show whether the conditions have the same network, and other programs write them differently.
    let left_out = folder.leave_out_unreadable_weights(&prefixes);
    let notes = left_out.iter().map(|error| format!("weights are not compared: {error}")).collect();
    let recorded = prefixes.iter().map(|prefix| folder.recorded(is_random, prefix));
    let recorded = recorded.collect::<Result<Option<Vec<Recorded>>, Unreadable>>();
    let recorded = recorded.map_err(|error| unusable(&error))?;
    let Some(recorded) = recorded.filter(|recorded| recorded[0].connections.is_some()) else {
        let mut needed: Vec<String> = prefixes.map(|prefix| probability(is_random, prefix)).into();
        needed.push(connections(prefixes[0]));
        needed.retain(|name| !folder.has(name));
        return Err(lacking(path, &needed));
    };
    let mut criteria = Criteria::default();
    if let Some(window) = window {
        check_window(&window, recorded[0].probability.ncols(), &probability(is_random, prefixes[0]))?;
        criteria.window_ms = window;
    }
    let analysis =
        Analysis::new(&Recorded::recording(&recorded), &criteria).map_err(|error| match error {
            AnalysisError::Criteria => {
                Failure::caused_by(exit::USAGE, &error, Some("choose another window with --window"))
            }
            error => unusable(&error),
        })?;
    paper::all(&analysis).into_iter().try_for_each(|figure| take(Of::Sweep, figure))?;
    Ok(notes)
}

/// Returns the failure for a path with neither a sweep nor the files of a seed.
fn lacking(path: &Path, needed: &[String]) -> Failure {
    let error = ArchiveError::NoSweep { out: path.to_owned() };
    let message = format!(
        "error: {error}\n  because: it also lacks the files of one seed that the paper's figures need: {}\n  \
         help: name the output directory of a run, such as out/NAME, or a folder like seed-451 in it",
        needed.join(", ")
    );
    Failure::new(exit::USAGE, message)
}
