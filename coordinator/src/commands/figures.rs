//! `granule figures`: pictures of a finished sweep, and the numbers behind them.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use granule_figures::{Figure, Table};
use serde::{Deserialize, Serialize};

use crate::archive::{Archive, ArchiveError, keep_still};
use crate::cli::{self, Picture, exit};
use crate::failure::{Failure, plural};
use crate::gallery::{Choice, Gallery, Of, bare};
use crate::outputs::{AtomicFile, OutputError, sync_directory};
use crate::selection::{Selection, conditions_of, seeds_of};
use crate::view::log::line;
use crate::view::{say, say_json};

/// Number of the schema of the report and of the numbers beside figures.
const SCHEMA: u32 = 1;

/// What is in a directory of figures: the report, but for where it is.
const INDEX: &str = "figures.json";

#[derive(Debug, Serialize)]
struct Report {
    schema: u32,
    #[serde(rename = "type")]
    kind: &'static str,
    sweep: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    directory: Option<String>,
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

/// What was there after an earlier drawing: paths from the directory on.
#[derive(Deserialize)]
struct Earlier {
    schema: u32,
    #[serde(rename = "type")]
    kind: String,
    sweep: String,
    figures: Vec<Listed>,
    tables: Vec<String>,
}

#[derive(Deserialize)]
struct Listed {
    files: Vec<String>,
}

pub(crate) fn run(arguments: &cli::Figures) -> Result<(), Failure> {
    let out = &arguments.resting.out;
    let directory = arguments.to.clone().unwrap_or_else(|| out.join("figures"));
    let mut album =
        Album { directory: directory.clone(), arguments, sweep: String::new(), figures: Vec::new() };
    let report = if matches!(Archive::find(out, None), Err(ArchiveError::NoSweep { .. })) {
        check_bare(arguments)?;
        let path = out.canonicalize().unwrap_or_else(|_| out.clone());
        let _still = keep_still(out)?;
        // It may be the folder of a seed in an output directory, which runs hold as a whole.
        let around = path.parent().filter(|around| Archive::find(around, None).is_ok());
        let _around = around.map(keep_still).transpose()?;
        album.sweep = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let window = arguments.chosen.window.clone();
        let notes = bare::draw(out, window, &mut |of, figure| album.take(of, &figure))?;
        album.finish(&[], notes)?
    } else {
        with_gallery(&arguments.resting, &arguments.chosen, |gallery| {
            album.sweep = gallery.sweep().name.clone();
            gallery.draw(&mut |of, figure| album.take(of, &figure))?;
            album.finish(&gallery.tables, gallery.notes.clone())
        })?
    };
    if arguments.resting.json {
        say_json(&Report { directory: Some(directory.display().to_string()), ..report });
        return Ok(());
    }
    report.notes.iter().for_each(|note| line(&format!("note: {note}")));
    for Drawn { title, seed, files, .. } in &report.figures {
        let of = seed.map_or(String::new(), |seed| format!(", seed {seed}"));
        let first = files.first().map_or("", |file| file);
        say(&format!("  {title}{of}: {first}\n"));
    }
    let count = plural(report.figures.len() as u64, "figure");
    say(&format!("{}: {count} in {}, each with its numbers beside it\n", report.sweep, directory.display()));
    Ok(())
}

/// Options that choose of a sweep have no meaning for the files of a seed alone.
fn check_bare(arguments: &cli::Figures) -> Result<(), Failure> {
    let cli::Figures { resting, chosen, .. } = arguments;
    let given = [
        ("--conditions", !chosen.conditions.is_empty()),
        ("--seeds", !chosen.seeds.is_empty()),
        ("--trial", chosen.trial.is_some()),
        ("--store", resting.store.is_some()),
    ];
    let Some((option, _)) = given.into_iter().find(|(_, is_given)| *is_given) else { return Ok(()) };
    let error = ArchiveError::NoSweep { out: resting.out.clone() };
    let message = format!(
        "error: {option} chooses of a sweep, but {error}\n  help: without it, the paper's figures are drawn if the \
         files of a seed are there"
    );
    Err(Failure::new(exit::USAGE, message))
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
    let stored = match archive.store() {
        // Whoever says where it is wants it.
        Err(ArchiveError::NoStore { .. }) if store.is_none() => None,
        found => Some(found?),
    };
    let selection = match &stored {
        Some(stored) => Some(Selection::new(&archive, (&sweep, &plan), stored, &conditions, &seeds)?),
        None => None,
    };
    let choice = Choice { window: chosen.window.clone(), trial: chosen.trial.unwrap_or(0) };
    draw(&mut Gallery::new(&archive, &sweep, (&conditions, &seeds), selection.as_ref(), choice))
}

fn failed(error: &dyn std::error::Error) -> Failure {
    Failure::caused_by(exit::FAILED, error, Some("choose another place with --to, or make room"))
}

/// A directory that figures are written to.
struct Album<'a> {
    directory: PathBuf,
    arguments: &'a cli::Figures,
    /// The name of the sweep.
    sweep: String,
    figures: Vec<Drawn>,
}

impl Album<'_> {
    /// Writes pictures and numbers of a figure, each file whole or not at all.
    fn take(&mut self, of: Of, figure: &Figure) -> Result<(), Failure> {
        let (seed, below) = match of {
            Of::Sweep => (None, PathBuf::new()),
            Of::Seed(seed) => (Some(seed), PathBuf::from(format!("seed-{seed}"))),
        };
        let place = self.directory.join(&below);
        fs::create_dir_all(&place)
            .map_err(|source| failed(&OutputError::Io { path: place.clone(), doing: "create", source }))?;
        let Figure { name, title, description, tables, .. } = figure;
        let mut files: Vec<(String, Vec<u8>)> = Vec::new();
        for format in &self.arguments.format {
            let (ending, bytes) = match format {
                Picture::Pdf => ("pdf", figure.pdf().map_err(|error| failed(&error))?),
                Picture::Svg => ("svg", figure.svg().into_bytes()),
                Picture::Png => {
                    ("png", figure.png(self.arguments.dpi as f32).map_err(|error| failed(&error))?)
                }
            };
            files.push((format!("{name}.{ending}"), bytes));
        }
        let sweep = &self.sweep;
        let numbers =
            Numbers { schema: SCHEMA, kind: "figure", sweep, seed, figure: name, title, description, tables };
        let json = serde_json::to_vec(&numbers).expect("text and numbers can be written");
        files.push((format!("{name}.json"), json));
        for table in tables {
            files.push((format!("{name}-{}.csv", table.name), table.csv().into_bytes()));
        }
        let mut written = Vec::with_capacity(files.len());
        for (file, bytes) in files {
            put(&place.join(&file), &bytes).map_err(|error| failed(&error))?;
            written.push(below.join(&file).display().to_string());
        }
        sync_directory(&place).map_err(|error| failed(&error))?;
        self.figures.push(Drawn { name: name.clone(), seed, title: title.clone(), files: written });
        Ok(())
    }

    /// Writes tables of all that was drawn, takes away what an earlier drawing left, and writes the index.
    fn finish(&mut self, tables: &[Table], notes: Vec<String>) -> Result<Report, Failure> {
        let mut names = Vec::new();
        for table in tables {
            let file = format!("{}.csv", table.name);
            put(&self.directory.join(&file), table.csv().as_bytes()).map_err(|error| failed(&error))?;
            names.push(file);
        }
        let report = Report {
            schema: SCHEMA,
            kind: "figures",
            sweep: self.sweep.clone(),
            directory: None,
            figures: std::mem::take(&mut self.figures),
            tables: names,
            notes,
        };
        let written = report.figures.iter().flat_map(|figure| &figure.files).chain(&report.tables);
        remove_stale(&self.directory, &self.sweep, &written.map(String::as_str).collect())
            .map_err(|error| failed(&error))?;
        let mut index = serde_json::to_vec_pretty(&report).expect("text and numbers can be written");
        index.push(b'\n');
        put(&self.directory.join(INDEX), &index).map_err(|error| failed(&error))?;
        sync_directory(&self.directory).map_err(|error| failed(&error))?;
        Ok(report)
    }
}

/// Removes files that the earlier index of the same sweep lists and that were not written now, and directories of
/// seeds that are empty then. Only what a drawing could have written goes: pictures and numbers in the directory,
/// or in that of a seed below it, no links.
fn remove_stale(directory: &Path, sweep: &str, written: &BTreeSet<&str>) -> Result<(), OutputError> {
    let Ok(bytes) = fs::read(directory.join(INDEX)) else { return Ok(()) };
    let Ok(earlier) = serde_json::from_slice::<Earlier>(&bytes) else { return Ok(()) };
    if earlier.schema != SCHEMA || earlier.kind != "figures" || earlier.sweep != sweep {
        return Ok(());
    }
    let listed = earlier.figures.iter().flat_map(|figure| &figure.files).chain(&earlier.tables);
    for file in listed.filter(|file| !written.contains(file.as_str())) {
        let (seed, name) = file.rsplit_once('/').unwrap_or(("", file));
        let is_of_seed = seed.strip_prefix("seed-").is_some_and(|number| number.parse::<u32>().is_ok());
        let is_ours = [".pdf", ".svg", ".png", ".json", ".csv"].iter().any(|ending| name.ends_with(ending));
        if !(seed.is_empty() || is_of_seed) || !is_ours || name == INDEX {
            continue;
        }
        let below = directory.join(seed);
        let path = below.join(name);
        let is = |path: &Path, kind: fn(&fs::Metadata) -> bool| {
            fs::symlink_metadata(path).is_ok_and(|metadata| kind(&metadata))
        };
        if !is(&below, fs::Metadata::is_dir) || !is(&path, fs::Metadata::is_file) {
            continue;
        }
        match fs::remove_file(&path) {
            Ok(()) => {}
            // Another drawing was faster.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(OutputError::Io { path, doing: "remove", source }),
        }
        if is_of_seed {
            // Only an empty directory goes.
            let _ = fs::remove_dir(&below);
        }
    }
    Ok(())
}

/// Writes a file whole, or not at all.
pub(crate) fn put(target: &Path, bytes: &[u8]) -> Result<(), OutputError> {
    let mut file = AtomicFile::create(target)?;
    let wrong = |source| OutputError::Io { path: target.to_owned(), doing: "write", source };
    file.write_all(bytes).map_err(wrong)?;
    file.commit().map(drop)
}
