//! `granule figures`: pictures of a finished sweep, and the numbers behind them.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use granule_figures::Figure;
use serde::Serialize;

use crate::archive::{Archive, keep_still};
use crate::cli::{self, Picture, exit};
use crate::failure::{Failure, plural};
use crate::gallery::{Choice, Gallery, Of};
use crate::outputs::{AtomicFile, OutputError, sync_directory};
use crate::selection::{Selection, conditions_of, seeds_of};
use crate::view::log::line;
use crate::view::{say, say_json};

/// Number of the schema of the report and of the numbers beside figures.
const SCHEMA: u32 = 1;

#[derive(Debug, Serialize)]
struct Report {
    schema: u32,
    #[serde(rename = "type")]
    kind: &'static str,
    sweep: String,
    directory: String,
    figures: Vec<Drawn>,
    /// Measures of all conditions and seeds, from the directory on.
    tables: Vec<String>,
    /// What is not drawn, and why.
    notes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Drawn {
    name: String,
    /// None of a figure of the whole sweep.
    seed: Option<u32>,
    title: String,
    /// Pictures and numbers, from the directory on.
    files: Vec<String>,
}

/// The numbers behind a figure.
#[derive(Serialize)]
struct Numbers<'a> {
    schema: u32,
    #[serde(rename = "type")]
    kind: &'static str,
    sweep: &'a str,
    seed: Option<u32>,
    figure: &'a str,
    title: &'a str,
    description: &'a str,
    tables: &'a [granule_figures::Table],
}

pub(crate) fn run(arguments: &cli::Figures) -> Result<(), Failure> {
    let out = &arguments.resting.out;
    let directory = arguments.to.clone().unwrap_or_else(|| out.join("figures"));
    let report = with_gallery(&arguments.resting, &arguments.chosen, |gallery| {
        let sweep = gallery.sweep().name.clone();
        let mut figures = Vec::new();
        gallery.draw(&mut |of, figure| {
            figures.push(write(&directory, of, &figure, &sweep, arguments)?);
            Ok(())
        })?;
        let mut tables = Vec::new();
        for table in &gallery.tables {
            let file = format!("{}.csv", table.name);
            put(&directory.join(&file), table.csv().as_bytes()).map_err(|error| failed(&error))?;
            tables.push(file);
        }
        sync_directory(&directory).map_err(|error| failed(&error))?;
        Ok(Report {
            schema: SCHEMA,
            kind: "figures",
            sweep,
            directory: directory.display().to_string(),
            figures,
            tables,
            notes: gallery.notes.clone(),
        })
    })?;
    if arguments.resting.json {
        say_json(&report);
        return Ok(());
    }
    report.notes.iter().for_each(|note| line(&format!("note: {note}")));
    for Drawn { title, seed, files, .. } in &report.figures {
        let of = seed.map_or(String::new(), |seed| format!(", seed {seed}"));
        let first = files.first().map_or("", |file| file);
        say(&format!("  {title}{of}: {first}\n"));
    }
    let count = plural(report.figures.len() as u64, "figure");
    say(&format!("{}: {count} in {}, each with its numbers beside it\n", report.sweep, report.directory));
    Ok(())
}

/// Finds what was chosen of a finished sweep, and keeps runs away while it is drawn.
pub(crate) fn with_gallery<T>(
    resting: &cli::Resting,
    chosen: &cli::Chosen,
    draw: impl FnOnce(&mut Gallery<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let cli::Resting { out, store, .. } = resting;
    let _still = keep_still(out)?;
    let archive = Archive::find(out, store.as_deref())?;
    archive.finished()?;
    let (sweep, plan) = archive.restore()?;
    let conditions = conditions_of(&sweep, &chosen.conditions)?;
    let seeds = seeds_of(&sweep, &chosen.seeds)?;
    let store = archive.store()?;
    let selection = Selection::new(&archive, (&sweep, &plan), &store, &conditions, &seeds)?;
    let choice = Choice { window: chosen.window.clone(), trial: chosen.trial };
    draw(&mut Gallery::new(&archive, &selection, choice))
}

fn failed(error: &dyn std::error::Error) -> Failure {
    Failure::caused_by(exit::FAILED, error, Some("choose another place with --to, or make room"))
}

/// Writes pictures and numbers of a figure, each file whole or not at all.
fn write(
    directory: &Path,
    of: Of,
    figure: &Figure,
    sweep: &str,
    arguments: &cli::Figures,
) -> Result<Drawn, Failure> {
    let (seed, below) = match of {
        Of::Sweep => (None, PathBuf::new()),
        Of::Seed(seed) => (Some(seed), PathBuf::from(format!("seed-{seed}"))),
    };
    let place = directory.join(&below);
    fs::create_dir_all(&place)
        .map_err(|source| failed(&OutputError::Io { path: place.clone(), doing: "create", source }))?;
    let Figure { name, title, description, tables, .. } = figure;
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    for format in &arguments.format {
        let (ending, bytes) = match format {
            Picture::Pdf => ("pdf", figure.pdf().map_err(|error| failed(&error))?),
            Picture::Svg => ("svg", figure.svg().into_bytes()),
            Picture::Png => ("png", figure.png(arguments.dpi as f32).map_err(|error| failed(&error))?),
        };
        files.push((format!("{name}.{ending}"), bytes));
    }
    let numbers =
        Numbers { schema: SCHEMA, kind: "figure", sweep, seed, figure: name, title, description, tables };
    let json = serde_json::to_vec(&numbers).expect("text and numbers can be written");
    files.push((format!("{name}.json"), json));
    for table in tables {
        files.push((format!("{name}-{}.csv", table.name), table.csv().into_bytes()));
    }
    let mut written = Vec::with_capacity(files.len());
    for (file, bytes) in files {
        let target = place.join(&file);
        put(&target, &bytes).map_err(|error| failed(&error))?;
        written.push(below.join(&file).display().to_string());
    }
    sync_directory(&place).map_err(|error| failed(&error))?;
    Ok(Drawn { name: name.clone(), seed, title: title.clone(), files: written })
}

/// Writes a file whole, or not at all.
pub(crate) fn put(target: &Path, bytes: &[u8]) -> Result<(), OutputError> {
    let mut file = AtomicFile::create(target)?;
    let wrong = |source| OutputError::Io { path: target.to_owned(), doing: "write", source };
    file.write_all(bytes).map_err(wrong)?;
    file.commit().map(drop)
}
