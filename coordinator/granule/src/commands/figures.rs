//! `granule figures`: pictures of a sweep, and the numbers behind them.

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
use granule_outputs::{self as outputs, OutputError, Planned, directory_of_seed};
use granule_server::view::log::line;
use granule_system::files::{self, Directory, kind_of};
use granule_system::hex;
use nix::sys::stat::Mode;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::cli::{self, Picture, exit};
use crate::failure::{Failure, plural};
use crate::gallery::{Choice, Gallery, Of, bare};
use crate::stdout::{say, say_json};

/// Number of the schema of the report and of the numbers beside figures.
const SCHEMA: u32 = 1;

#[derive(Debug, Serialize)]
struct Report {
    schema: u32,
    #[serde(rename = "type")]
    kind: &'static str,
    sweep: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    directory: Option<String>,
    /// Fingerprint of the manifest that was drawn; none of files without a manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    manifest: Option<String>,
    /// How far the sweep was; none of a complete one.
    #[serde(skip_serializing_if = "Option::is_none")]
    preliminary: Option<Preliminary>,
    figures: Vec<Drawn>,
    /// Measures of all conditions and seeds, from the directory on.
    tables: Vec<String>,
    /// What is not drawn, and why.
    notes: Vec<String>,
    /// SHA-256 of every file, by its path from the directory on.
    sha256: BTreeMap<String, String>,
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

/// The index of an earlier drawing: paths from the directory on.
#[derive(Default, Deserialize)]
struct Earlier {
    schema: u32,
    #[serde(rename = "type")]
    kind: String,
    sweep: String,
    figures: Vec<Listed>,
    tables: Vec<String>,
    /// Those of version 0.1.0 have none.
    #[serde(default)]
    sha256: BTreeMap<String, String>,
}

impl Earlier {
    fn is_index(&self) -> bool {
        self.schema == SCHEMA && self.kind == "figures"
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
    let report = if matches!(Archive::find(crate::ENGINES, out, None), Err(ArchiveError::NoSweep { .. })) {
        check_bare(arguments)?;
        let path = out.canonicalize().unwrap_or_else(|_| out.clone());
        let _still = keep_still(out)?;
        // It may be the folder of a seed in an output directory, which runs hold as a whole.
        let around = path.parent().filter(|around| Archive::find(crate::ENGINES, around, None).is_ok());
        let _around = around.map(keep_still).transpose()?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut album = Album::new(&directory, arguments, name, Source::default());
        let window = arguments.chosen.window.clone();
        let notes = bare::draw(out, window, &mut |of, figure| album.take(of, &figure))?;
        album.finish(&[], notes)?
    } else {
        with_gallery(&arguments.resting, &arguments.chosen, |gallery| {
            let source = Source {
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
        say_json(&Report { directory: Some(directory.display().to_string()), ..report })?.done();
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
        "{}: {count} in {}, each with its numbers beside it{mark}\n",
        report.sweep,
        directory.display()
    ))?
    .done();
    Ok(())
}

/// Options that choose of a sweep have no meaning for the files of a seed alone.
fn check_bare(arguments: &cli::Figures) -> Result<(), Failure> {
    let cli::Figures { resting, chosen, .. } = arguments;
    let of_sweep = chosen.only.given();
    let of_trial = chosen.trial.is_some().then_some("--trial");
    let of_store = resting.store.is_some().then_some("--store");
    let Some(option) = of_sweep.or(of_trial).or(of_store) else { return Ok(()) };
    let error = ArchiveError::NoSweep { out: resting.out.clone() };
    let message = format!(
        "error: {option} chooses of a sweep, but {error}\n  help: without it, the paper's figures are drawn if the \
         files of a seed are there"
    );
    Err(Failure::new(exit::USAGE, message))
}

/// Finds what was chosen of a sweep, and keeps runs away while a sweep at rest is drawn. A sweep that is not complete,
/// or that a run is computing, is drawn as it is at the moment.
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
    let archive = Archive::find(crate::ENGINES, out, store.as_deref())?;
    let (sweep, plan) = archive.restore()?;
    let conditions = conditions_of(&sweep, &chosen.only.conditions, chosen.only.filters())?;
    let seeds = seeds_of(&sweep, &chosen.only.seeds)?;
    let of = (&conditions[..], &seeds[..]);
    let choice = Choice { window: chosen.window.clone(), trial: chosen.trial };
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
        // Whoever says where it is wants it.
        Err(ArchiveError::NoStore { .. }) if store.is_none() => None,
        found => Some(found?),
    };
    let selection = match &stored {
        Some(stored) => Some(Selection::new(&archive, (&sweep, &plan), stored, of.0, of.1)?),
        None => None,
    };
    let mut gallery = Gallery::new(&archive, &sweep, of, selection.as_ref(), choice);
    let planned = outputs::plan(&sweep, &plan);
    let records: BTreeMap<&str, &FileRecord> =
        manifest.files.iter().map(|file| (file.path.as_str(), file)).collect();
    let is_outdated = |file: &&Planned| {
        let (condition, seed) = file.pair();
        conditions.contains(&condition)
            && seeds.contains(&seed)
            && records.get(file.path.as_str()).is_some_and(|record| file.is_outdated(record))
    };
    match planned.iter().filter(is_outdated).count() as u64 {
        0 => {}
        count => gallery.notes.push(format!(
            "version 0.1.0 made {} of what is drawn, with other steps, bins or counts; run the sweep again",
            plural(count, "file")
        )),
    }
    draw(&mut gallery)
}

fn failed(error: &(dyn std::error::Error + 'static)) -> Failure {
    Failure::caused_by(exit::FAILED, error, Some("choose another place with --to, or make room"))
}

/// What figures are drawn from: a manifest, a sweep that is not complete, or files alone.
#[derive(Default)]
struct Source {
    manifest: Option<String>,
    preliminary: Option<Preliminary>,
}

/// Figures that are written to a directory.
struct Album<'a> {
    path: &'a Path,
    arguments: &'a cli::Figures,
    /// The name of the sweep.
    sweep: String,
    source: Source,
    /// Opened when the first figure is drawn: a command that is refused makes no directory.
    place: Option<Place>,
    figures: Vec<Drawn>,
    /// Of what was written.
    sha256: BTreeMap<String, String>,
}

/// The directory, into which no other process draws, and its index.
struct Place {
    directory: Directory,
    earlier: Earlier,
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.directory.handle().unlock();
    }
}

impl<'a> Album<'a> {
    fn new(path: &'a Path, arguments: &'a cli::Figures, sweep: String, source: Source) -> Album<'a> {
        let (place, figures, sha256) = (None, Vec::new(), BTreeMap::new());
        Album { path, arguments, sweep, source, place, figures, sha256 }
    }

    /// The directory; opened, or made, and locked when it is asked for first.
    fn opened(&mut self) -> Result<&Place, Failure> {
        if self.place.is_none() {
            self.place = Some(self.open()?);
        }
        Ok(self.place.as_ref().expect("it was opened"))
    }

    fn open(&self) -> Result<Place, Failure> {
        let (path, arguments) = (self.path, self.arguments);
        let wrong = |doing: &'static str| {
            move |source| failed(&OutputError::Io { path: path.to_owned(), doing, source })
        };
        let directory = Directory::create(path).map_err(wrong("create"))?;
        // The output directory itself is held already, to be read.
        let is_held = [Some(arguments.resting.out.as_path()), arguments.resting.out.parent()];
        let is_held = is_held.into_iter().flatten().any(|held| directory.is_at(held));
        if !is_held && matches!(directory.handle().try_lock(), Err(TryLockError::WouldBlock)) {
            let message =
                format!("error: another granule draws into {}\n  help: wait until it ends", path.display());
            return Err(Failure::new(exit::FAILED, message));
        }
        directory.remove_leftovers().map_err(wrong("clean up"))?;
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
        Ok(Place { directory, earlier })
    }

    /// Whether an earlier drawing was of this sweep. The directory of figures in an output directory is the sweep's own.
    fn is_of_it(&self, earlier: &Earlier) -> bool {
        earlier.sweep == self.sweep || self.arguments.to.is_none()
    }

    /// Writes a file, whole or not at all, in place of one that an earlier drawing wrote.
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
            let is_file = kind_of(stat.st_mode) == "a file";
            let is_ours = || {
                let found = hash_of(&directory, &name);
                // As it was drawn, or as it is going to be.
                let is_as_drawn = match earlier.sha256.get(&path) {
                    Some(drawn) => found.as_ref() == Some(drawn),
                    None => earlier.lists(&path) && found.is_some(),
                };
                found.as_ref() == Some(&sha256) || (is_as_drawn && self.is_of_it(earlier))
            };
            if !is_file || !(forces || is_ours()) {
                return Err(not_ours(&at, "as granule drew it for this sweep, or a drawing was interrupted"));
            }
        }
        let mut file = directory.write(&name, Mode::from_bits_truncate(0o666)).map_err(wrong)?;
        file.write_all(bytes).and_then(|()| file.commit()).map_err(wrong)?;
        self.sha256.insert(path, sha256);
        Ok(())
    }

    /// Writes pictures and numbers of a figure.
    fn take(&mut self, of: Of, figure: &Figure) -> Result<(), Failure> {
        let (seed, below) = match of {
            Of::Sweep => (None, String::new()),
            Of::Seed(seed) => (Some(seed), format!("{}/", directory_of_seed(seed))),
        };
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
            files.push((format!("{below}{name}.{ending}"), bytes));
        }
        let numbers = Numbers {
            schema: SCHEMA,
            kind: "figure",
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

    /// Writes tables of all that was drawn, removes what an earlier drawing left, and writes the index.
    fn finish(&mut self, tables: &[Table], notes: Vec<String>) -> Result<Report, Failure> {
        let mut names = Vec::new();
        for table in tables {
            let file = format!("{}.csv", table.name);
            self.put(file.clone(), table.csv().as_bytes())?;
            names.push(file);
        }
        let wrong = |source| failed(&OutputError::Io { path: self.path.to_owned(), doing: "write", source });
        self.opened()?;
        self.remove_stale().map_err(wrong)?;
        let report = Report {
            schema: SCHEMA,
            kind: "figures",
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
    /// that are empty then. A file goes if the index lists it, it has the form of what is drawn, and it is as it was
    /// drawn.
    fn remove_stale(&self) -> io::Result<()> {
        let Some(Place { directory, earlier }) = &self.place else { return Ok(()) };
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
            // What is not there, or is a link, stays as it is.
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

impl Place {
    /// The directory of a file, which is made if it is not there, and the file's name.
    fn of(&self, path: &str) -> io::Result<(Directory, OsString)> {
        match path.split_once('/') {
            Some((seed, name)) => Ok((self.directory.create_below(OsStr::new(seed))?, name.into())),
            None => Ok((self.directory.clone(), path.into())),
        }
    }
}

/// Whether a drawing can have written a file of this path.
fn has_form(path: &str) -> bool {
    let (seed, name) = path.rsplit_once('/').unwrap_or(("", path));
    let is_of_seed = seed.strip_prefix("seed-").is_some_and(|number| number.parse::<u32>().is_ok());
    let is_picture = [".pdf", ".svg", ".png", ".json", ".csv"].iter().any(|ending| name.ends_with(ending));
    (seed.is_empty() || is_of_seed) && is_picture && name != INDEX
}

/// SHA-256 of a regular file; none of anything else.
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
