//! `granule figures`: draws figures of a sweep, and writes the numbers behind them.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::TryLockError;
use std::io::{self, Write as _};
use std::path::Path;

use granule_figures::{Figure, Table};
use granule_outputs::archive::{Archive, ArchiveError, keep_still};
use granule_outputs::drawn::{self, INDEX, Preliminary};
use granule_outputs::manifest::{FileRecord, Manifest};
use granule_outputs::selection::{self, Selection, check_trial, conditions_of, seeds_of};
use granule_outputs::survey::sha256;
use granule_outputs::{OutputError, PlannedFile, PlannedFiles, directory_of_seed};
use granule_server::view::log::line;
use granule_system::files::{self, Directory, kind_of_stat};
use granule_system::hex;
use granule_text::plural;
use nix::sys::stat::Mode;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::cli::{self, PictureFormat, exit};
use crate::engines::ENGINES;
use crate::failure::Failure;
use crate::gallery::{Choice, Gallery, Of, bare};
use crate::stdout::{ReportHead, say, say_json};

#[derive(Debug, Serialize)]
struct FiguresReport {
    #[serde(flatten)]
    head: ReportHead,
    sweep: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    directory: Option<String>,
    /// Fingerprint of the manifest that was drawn. None for files without a manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    manifest: Option<String>,
    /// Progress of the sweep. None if it is complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    preliminary: Option<Preliminary>,
    figures: Vec<Drawn>,
    /// Tables with measures of all conditions and seeds, relative to the directory.
    tables: Vec<String>,
    /// Notes on what is not drawn, and why.
    notes: Vec<String>,
    /// SHA-256 of every file, by its path relative to the directory.
    sha256: BTreeMap<String, String>,
}

#[derive(Debug, Serialize)]
struct Drawn {
    name: String,
    /// None for a figure of the whole sweep.
    seed: Option<u32>,
    title: String,
    /// Pictures and numbers, relative to the directory.
    files: Vec<String>,
}

/// The numbers behind a figure.
#[derive(Serialize)]
struct Numbers<'a> {
    #[serde(flatten)]
    head: ReportHead,
    sweep: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    manifest: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    preliminary: Option<Preliminary>,
    seed: Option<u32>,
    figure: &'a str,
    title: &'a str,
    description: &'a str,
    tables: &'a [granule_figures::Table],
}

/// The index of an earlier drawing, with paths relative to the directory.
#[derive(Default, Deserialize)]
struct Earlier {
    schema: u32,
    #[serde(rename = "type")]
    kind: String,
    sweep: String,
    figures: Vec<Listed>,
    tables: Vec<String>,
    /// Empty in an index of version 0.1.0.
    #[serde(default)]
    sha256: BTreeMap<String, String>,
}

impl Earlier {
    fn is_index(&self) -> bool {
        self.schema == ReportHead::SCHEMA && self.kind == "figures"
    }

    fn lists(&self, path: &str) -> bool {
        self.figures.iter().flat_map(|figure| &figure.files).chain(&self.tables).any(|file| file == path)
    }
}

#[derive(Deserialize)]
struct Listed {
    files: Vec<String>,
}

pub(crate) fn run(arguments: &cli::Figures) -> Result<(), Failure> {
    let out = &arguments.resting.out;
    let directory = arguments.to.clone().unwrap_or_else(|| out.join(drawn::FIGURES));
    if arguments.to.is_none() && directory.is_symlink() {
        let message = format!(
            "error: {} is a symbolic link\n  help: choose a directory with --to",
            directory.display()
        );
        return Err(Failure::new(exit::USAGE, message));
    }
    let report = if matches!(Archive::find(ENGINES, out, None), Err(ArchiveError::NoSweep { .. })) {
        check_bare(arguments)?;
        let path = out.canonicalize().unwrap_or_else(|_| out.clone());
        let _still = keep_still(out)?;
        // It may be the folder of a seed in an output directory. Runs hold such a directory as a whole.
        let around = path.parent().filter(|around| Archive::find(ENGINES, around, None).is_ok());
        let _around = around.map(keep_still).transpose()?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut album = Album::new(&directory, arguments, name, FigureSource::default());
        let window = arguments.chosen.window.clone();
        let notes = bare::draw(out, window, &mut |of, figure| album.take(of, &figure))?;
        album.finish(&[], notes)?
    } else {
        with_gallery(&arguments.resting, &arguments.chosen, |gallery| {
            let source = FigureSource {
                manifest: gallery.manifest().map(Manifest::fingerprint),
                preliminary: gallery.preliminary(),
            };
            let name = gallery.sweep().name.clone();
            let mut album = Album::new(&directory, arguments, name, source);
            gallery.draw(&mut |of, figure| album.take(of, &figure))?;
            album.finish(&gallery.tables, gallery.notes.clone())
        })?
    };
    if arguments.resting.json {
        say_json(&FiguresReport { directory: Some(directory.display().to_string()), ..report })?.done();
        return Ok(());
    }
    report.notes.iter().for_each(|note| line(&format!("note: {note}")));
    for Drawn { title, seed, files, .. } in &report.figures {
        let of = seed.map_or(String::new(), |seed| format!(", seed {seed}"));
        let first = files.first().map_or("", |file| file);
        say(&format!("  {title}{of}: {first}\n"))?.done();
    }
    let count = plural(report.figures.len() as u64, "figure");
    let mark = report.preliminary.map_or(String::new(), |of| format!("; {of}"));
    say(&format!(
        "{}: {count} in {}, each with a .json file of its values{mark}\n",
        report.sweep,
        directory.display()
    ))?
    .done();
    Ok(())
}

/// Refuses options that choose parts of a sweep if there are only the files of a seed.
fn check_bare(arguments: &cli::Figures) -> Result<(), Failure> {
    let cli::Figures { resting, chosen, .. } = arguments;
    let of_sweep = chosen.only.given();
    let of_trial = chosen.trial.is_some().then_some("--trial");
    let of_trial = of_trial.or(chosen.reference.is_some().then_some("--reference"));
    let of_store = resting.store.is_some().then_some("--store");
    let Some(option) = of_sweep.or(of_trial).or(of_store) else { return Ok(()) };
    let error = ArchiveError::NoSweep { out: resting.out.clone() };
    let message = format!(
        "error: {option} needs a sweep, but {error}\n  help: without {option}, granule draws the paper's \
            figures if the directory has the files of a seed"
    );
    Err(Failure::new(exit::USAGE, message))
}

/// Opens the chosen part of a sweep, and keeps runs away while a sweep at rest is drawn. An incomplete sweep, or one
/// that a run is computing, is drawn as it is at the moment.
pub(crate) fn with_gallery<T>(
    resting: &cli::Resting,
    chosen: &cli::Chosen,
    draw: impl FnOnce(&mut Gallery<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let cli::Resting { out, store, .. } = resting;
    let still = match keep_still(out) {
        Err(ArchiveError::InUse { .. }) => None,
        still => Some(still?),
    };
    let archive = Archive::find(ENGINES, out, store.as_deref())?;
    let (sweep, plan) = archive.restore()?;
    let conditions =
        conditions_of(&sweep, &chosen.only.conditions, chosen.only.filters(sweep.engine.space())?.iter())?;
    let seeds = seeds_of(&sweep, &chosen.only.seeds)?;
    let of = (&conditions[..], &seeds[..]);
    let choice =
        Choice { window: chosen.window.clone(), trial: chosen.trial, reference: chosen.reference.clone() };
    let Ok(manifest) = archive.finished() else {
        let stored = archive.glance()?;
        let selection = Selection::so_far((&sweep, &plan), &stored, of.0, of.1)?;
        if let Some(trial) = chosen.trial {
            check_trial(&sweep, trial)?;
        }
        let preliminary = Preliminary {
            drawn: selection.stored,
            chosen: selection.total,
            stored: selection::stored(&plan, &stored),
            total: plan.len(),
        };
        return draw(&mut Gallery::preliminary_of(&archive, &sweep, of, &selection, preliminary, choice));
    };
    let stored = match if still.is_some() { archive.store() } else { archive.glance() } {
        // If the user named the store, it must exist.
        Err(ArchiveError::NoStore { .. }) if store.is_none() => None,
        found => Some(found?),
    };
    let selection = match &stored {
        Some(stored) => Some(Selection::new(&archive, (&sweep, &plan), stored, of.0, of.1)?),
        None => None,
    };
    let mut gallery = Gallery::new(&archive, &sweep, of, selection.as_ref(), choice);
    let planned = PlannedFiles::new(&sweep);
    let records: BTreeMap<&str, &FileRecord> =
        manifest.files.iter().map(|file| (file.path.as_str(), file)).collect();
    let is_outdated = |file: &PlannedFile| {
        let (condition, seed) = file.pair();
        conditions.contains(&condition)
            && seeds.contains(&seed)
            && records.get(file.path.as_str()).is_some_and(|record| file.is_outdated(record))
    };
    match planned.iter().filter(is_outdated).count() as u64 {
        0 => {}
        count => gallery.notes.push(format!(
            "version 0.1.0 computed {} of these figures with different steps, bins or counts; run the sweep \
                again",
            plural(count, "file")
        )),
    }
    draw(&mut gallery)
}

fn failed(error: &(dyn std::error::Error + 'static)) -> Failure {
    Failure::caused_by(exit::FAILED, error, Some("choose another directory with --to, or free some space"))
}

/// The source of figures: a manifest, an incomplete sweep, or files alone.
#[derive(Default)]
struct FigureSource {
    manifest: Option<String>,
    preliminary: Option<Preliminary>,
}

/// Writes figures to a directory.
struct Album<'a> {
    path: &'a Path,
    arguments: &'a cli::Figures,
    /// The name of the sweep.
    sweep: String,
    source: FigureSource,
    /// Opened when the first figure is drawn, so that a refused command makes no directory.
    place: Option<FigureDirectory>,
    figures: Vec<Drawn>,
    /// Hashes of the written files.
    sha256: BTreeMap<String, String>,
}

/// The directory and its index. No other process draws into it.
struct FigureDirectory {
    directory: Directory,
    earlier: Earlier,
}

impl Drop for FigureDirectory {
    fn drop(&mut self) {
        let _ = self.directory.handle().unlock();
    }
}

impl<'a> Album<'a> {
    fn new(path: &'a Path, arguments: &'a cli::Figures, sweep: String, source: FigureSource) -> Album<'a> {
        let (place, figures, sha256) = (None, Vec::new(), BTreeMap::new());
        Album { path, arguments, sweep, source, place, figures, sha256 }
    }

    /// Returns the directory. The first call opens it, or makes it, and locks it.
    fn opened(&mut self) -> Result<&FigureDirectory, Failure> {
        if self.place.is_none() {
            self.place = Some(self.open()?);
        }
        Ok(self.place.as_ref().expect("it was opened"))
    }

    fn open(&self) -> Result<FigureDirectory, Failure> {
        let (path, arguments) = (self.path, self.arguments);
        let wrong = |doing: &'static str| {
            move |source| failed(&OutputError::Io { path: path.to_owned(), doing, source })
        };
        let directory = Directory::create(path).map_err(wrong("create"))?;
        // The output directory itself is already held for reading.
        let is_held = [Some(arguments.resting.out.as_path()), arguments.resting.out.parent()];
        let is_held = is_held.into_iter().flatten().any(|held| directory.is_at(held));
        if !is_held && matches!(directory.handle().try_lock(), Err(TryLockError::WouldBlock)) {
            let message = format!(
                "error: another granule process is drawing into {}\n  help: wait until it ends",
                path.display()
            );
            return Err(Failure::new(exit::FAILED, message));
        }
        directory.remove_leftovers().map_err(wrong("remove unfinished files in"))?;
        let found = directory.open_file(OsStr::new(INDEX));
        let earlier = match found.and_then(|file| files::read_open(file, drawn::LONGEST_INDEX)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Earlier::default(),
            found => {
                let is_file = !matches!(&found, Err(error) if error.kind() == io::ErrorKind::InvalidInput);
                let index = found.ok().and_then(|bytes| serde_json::from_slice::<Earlier>(&bytes).ok());
                match index.filter(Earlier::is_index) {
                    Some(earlier) => earlier,
                    None if arguments.force && is_file => Earlier::default(),
                    None => return Err(not_ours(&path.join(INDEX), "an index of figures")),
                }
            }
        };
        Ok(FigureDirectory { directory, earlier })
    }

    /// Whether an earlier drawing was of this sweep. The figures in an output directory belong to its sweep.
    fn is_of_it(&self, earlier: &Earlier) -> bool {
        earlier.sweep == self.sweep || self.arguments.to.is_none()
    }

    /// Writes a whole file or nothing. Without --force, replaces only a file that an earlier drawing wrote.
    fn put(&mut self, path: String, bytes: &[u8]) -> Result<(), Failure> {
        let forces = self.arguments.force;
        let at = self.path.join(&path);
        let wrong = |source| failed(&OutputError::Io { path: at.clone(), doing: "write", source });
        self.opened()?;
        let place = self.place.as_ref().expect("it was opened");
        let (directory, name) = place.of(&path).map_err(wrong)?;
        let sha256 = hex(&Sha256::digest(bytes));
        let earlier = &place.earlier;
        if let Some(stat) = directory.stat(&name).map_err(wrong)? {
            let is_file = kind_of_stat(&stat) == "a file";
            let is_ours = || {
                let found = hash_of(&directory, &name);
                // As it was drawn, or as this drawing would write it.
                let is_as_drawn = match earlier.sha256.get(&path) {
                    Some(drawn) => found.as_ref() == Some(drawn),
                    None => earlier.lists(&path) && found.is_some(),
                };
                found.as_ref() == Some(&sha256) || (is_as_drawn && self.is_of_it(earlier))
            };
            if !is_file || !(forces || is_ours()) {
                return Err(not_ours(&at, "a figure of this sweep by granule"));
            }
        }
        let mut file = directory.write(&name, Mode::from_bits_truncate(0o666)).map_err(wrong)?;
        file.write_all(bytes).and_then(|()| file.commit()).map_err(wrong)?;
        self.sha256.insert(path, sha256);
        Ok(())
    }

    /// Writes the pictures and numbers of a figure.
    fn take(&mut self, of: Of, figure: &Figure) -> Result<(), Failure> {
        let (seed, below) = match of {
            Of::Sweep => (None, String::new()),
            Of::Seed(seed) => (Some(seed), format!("{}/", directory_of_seed(seed))),
        };
        let Figure { name, title, description, tables, .. } = figure;
        let mut files: Vec<(String, Vec<u8>)> = Vec::new();
        for format in &self.arguments.format {
            let (ending, bytes) = match format {
                PictureFormat::Pdf => ("pdf", figure.pdf().map_err(|error| failed(&error))?),
                PictureFormat::Svg => ("svg", figure.svg().into_bytes()),
                PictureFormat::Png => {
                    ("png", figure.png(self.arguments.dpi as f32).map_err(|error| failed(&error))?)
                }
            };
            files.push((format!("{below}{name}.{ending}"), bytes));
        }
        let numbers = Numbers {
            head: ReportHead::of("figure"),
            sweep: &self.sweep,
            manifest: self.source.manifest.as_deref(),
            preliminary: self.source.preliminary,
            seed,
            figure: name,
            title,
            description,
            tables,
        };
        let json = serde_json::to_vec(&numbers).expect("text and numbers can be written");
        files.push((format!("{below}{name}.json"), json));
        for table in tables {
            files.push((format!("{below}{name}-{}.csv", table.name), table.csv().into_bytes()));
        }
        let mut written = Vec::with_capacity(files.len());
        for (path, bytes) in files {
            self.put(path.clone(), &bytes)?;
            written.push(path);
        }
        let wrong = |source| failed(&OutputError::Io { path: self.path.to_owned(), doing: "write", source });
        let synced = self.opened()?.of(&written[0]).and_then(|(directory, _)| directory.sync());
        synced.map_err(wrong)?;
        self.figures.push(Drawn { name: name.clone(), seed, title: title.clone(), files: written });
        Ok(())
    }

    /// Writes the tables of all that was drawn, removes what an earlier drawing left, and writes the index.
    fn finish(&mut self, tables: &[Table], notes: Vec<String>) -> Result<FiguresReport, Failure> {
        let mut names = Vec::new();
        for table in tables {
            let file = format!("{}.csv", table.name);
            self.put(file.clone(), table.csv().as_bytes())?;
            names.push(file);
        }
        let wrong = |source| failed(&OutputError::Io { path: self.path.to_owned(), doing: "write", source });
        self.opened()?;
        self.remove_stale().map_err(wrong)?;
        let report = FiguresReport {
            head: ReportHead::of("figures"),
            sweep: self.sweep.clone(),
            directory: None,
            manifest: self.source.manifest.clone(),
            preliminary: self.source.preliminary,
            figures: std::mem::take(&mut self.figures),
            tables: names,
            notes,
            sha256: std::mem::take(&mut self.sha256),
        };
        let mut index = serde_json::to_vec_pretty(&report).expect("text and numbers can be written");
        index.push(b'\n');
        let directory = &self.opened()?.directory;
        let mut file = directory.write(OsStr::new(INDEX), Mode::from_bits_truncate(0o666)).map_err(wrong)?;
        file.write_all(&index).and_then(|()| file.commit()).map_err(wrong)?;
        directory.sync().map_err(wrong)?;
        Ok(report)
    }

    /// Removes files that an earlier drawing of the same sweep wrote and this one did not, and directories of seeds
    /// that are then empty. A file is removed only if the index lists it, it has the form of a drawn file, and it is as
    /// it was drawn.
    fn remove_stale(&self) -> io::Result<()> {
        let Some(FigureDirectory { directory, earlier }) = &self.place else { return Ok(()) };
        if !self.is_of_it(earlier) {
            return Ok(());
        }
        for (path, drawn) in &earlier.sha256 {
            if self.sha256.contains_key(path) || !earlier.lists(path) || !has_form(path) {
                continue;
            }
            let (seed, name) = path.rsplit_once('/').unwrap_or(("", path));
            let below = match seed {
                "" => Ok(directory.clone()),
                seed => directory.below(OsStr::new(seed)),
            };
            // A directory that is missing or a link stays as it is.
            let Ok(below) = below else { continue };
            if hash_of(&below, OsStr::new(name)).as_ref() == Some(drawn) {
                below.remove(OsStr::new(name))?;
                if !seed.is_empty() {
                    directory.remove_if_empty(OsStr::new(seed));
                }
            }
        }
        Ok(())
    }
}

impl FigureDirectory {
    /// Returns the directory of a file, which is made if it does not exist, and the file's name.
    fn of(&self, path: &str) -> io::Result<(Directory, OsString)> {
        match path.split_once('/') {
            Some((seed, name)) => Ok((self.directory.create_below(OsStr::new(seed))?, name.into())),
            None => Ok((self.directory.clone(), path.into())),
        }
    }
}

/// Whether a drawing can have written a file with this path.
fn has_form(path: &str) -> bool {
    let (seed, name) = path.rsplit_once('/').unwrap_or(("", path));
    let is_of_seed = seed.strip_prefix("seed-").is_some_and(|number| number.parse::<u32>().is_ok());
    let is_picture = [".pdf", ".svg", ".png", ".json", ".csv"].iter().any(|ending| name.ends_with(ending));
    (seed.is_empty() || is_of_seed) && is_picture && name != INDEX
}

/// Returns the SHA-256 of a regular file. None for anything else.
fn hash_of(directory: &Directory, name: &OsStr) -> Option<String> {
    let file = directory.open_file(name).ok()?;
    // No drawing is larger.
    let length = file.metadata().ok()?.len().min(1 << 30);
    sha256(&file, length).ok().flatten()
}

fn not_ours(path: &Path, what: &str) -> Failure {
    let message = format!(
        "error: {} exists and is not {what}\n  help: choose another directory with --to, or replace it with --force",
        path.display()
    );
    Failure::new(exit::USAGE, message)
}
