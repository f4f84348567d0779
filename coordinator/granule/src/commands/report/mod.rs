//! `granule report`: writes one page about a sweep, with everything in it.

mod font;
mod link;
mod methods;
mod page;
mod tables;
mod written;

use std::path::Path;

use granule_figures::Figure;
use granule_outputs::OutputError;
use granule_outputs::drawn::Preliminary;
use granule_server::view::log::line;
use granule_sweep::to_yaml;
use granule_system::files::put;
use granule_text::plural;
use indicatif::DecimalBytes;
use serde::Serialize;

use self::page::{ReportPage, ResponseWindow};
use crate::cli::{self, exit};
use crate::commands::figures::with_gallery;
use crate::commands::target;
use crate::failure::Failure;
use crate::gallery::Of;
use crate::stdout::{ReportHead, say, say_json};

/// Most seeds whose figures of the paper are in the page.
const MOST_SEEDS: usize = 3;

#[derive(Debug, Serialize)]
struct ReportWritten {
    #[serde(flatten)]
    head: ReportHead,
    sweep: String,
    file: String,
    bytes: u64,
    figures: usize,
    /// Progress of the sweep. None if it is complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    preliminary: Option<Preliminary>,
    /// Notes on what is not in it, and why.
    notes: Vec<String>,
}

pub(crate) fn run(arguments: &cli::ReportArgs) -> Result<(), Failure> {
    let target = arguments.to.clone().unwrap_or_else(|| arguments.resting.out.join("report.html"));
    check_target(&target, arguments.force)?;
    let report = with_gallery(&arguments.resting, &arguments.chosen, |gallery| {
        let mut figures: Vec<(Of, Figure)> = Vec::new();
        let mut seeds: Vec<u32> = Vec::new();
        gallery.draw(&mut |of, figure| {
            if let Of::Seed(seed) = of
                && !seeds.contains(&seed)
            {
                seeds.push(seed);
            }
            if seeds.len() <= MOST_SEEDS {
                figures.push((of, figure));
            }
            Ok(())
        })?;
        let mut notes = gallery.notes.clone();
        if seeds.len() > MOST_SEEDS {
            notes.push(format!(
                "the report shows the paper's figures for the first {MOST_SEEDS} of {} seeds; choose others \
                    with --seeds",
                seeds.len()
            ));
        }
        let sweep = gallery.sweep();
        let windows: Vec<ResponseWindow> = gallery
            .windows()
            .into_iter()
            .map(|(ms, conditions)| ResponseWindow { ms, words: gallery.describe(&conditions), conditions })
            .collect();
        let page = ReportPage {
            sweep,
            yaml: &to_yaml(sweep),
            manifest: gallery.manifest(),
            preliminary: gallery.preliminary(),
            resolved: gallery.archive().resolved(),
            begun: gallery.archive().begun(),
            figures: &figures,
            tables: &gallery.tables,
            sensitivity: gallery.sensitivity.as_ref(),
            reached: &gallery.reached()?,
            reference: gallery.reference.as_deref(),
            windows: &windows,
            notes: &notes,
        };
        let html = page.html();
        put(&target, html.as_bytes()).map_err(|source| {
            let error = OutputError::Io { path: target.clone(), doing: "write", source };
            Failure::caused_by(
                exit::FAILED,
                &error,
                Some("choose another directory with --to, or free some space"),
            )
        })?;
        Ok(ReportWritten {
            head: ReportHead::of("report"),
            sweep: sweep.name.clone(),
            file: target.display().to_string(),
            bytes: html.len() as u64,
            figures: figures.len(),
            preliminary: gallery.preliminary(),
            notes,
        })
    })?;
    if arguments.resting.json {
        say_json(&report)?.done();
        return Ok(());
    }
    report.notes.iter().for_each(|note| line(&format!("note: {note}")));
    let count = plural(report.figures as u64, "figure");
    let mark = report.preliminary.map_or(String::new(), |of| format!("; {of}"));
    say(&format!("{}: {count} in {}, {}{mark}\n", report.sweep, report.file, DecimalBytes(report.bytes)))?
        .done();
    Ok(())
}

/// Checks that a page may be written here.
fn check_target(target: &Path, forces: bool) -> Result<(), Failure> {
    if target.extension().is_some_and(|ending| ending == "html" || ending == "htm") {
        return target::check(target, target::TargetKind::Report, forces);
    }
    let message =
        format!("error: {} does not end in .html\n  help: name a file that ends in .html", target.display());
    Err(Failure::new(exit::USAGE, message))
}
