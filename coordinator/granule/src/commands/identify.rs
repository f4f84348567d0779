//! `granule identify`: finds out where output files of the original program or of granule come from, by their content.
//!
//! The files of sweeps that many users have are known by their hashes. For any other sweep, the user runs it, and the
//! command derives its files for each platform of the original.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use granule_engine::output::KeyType;
use granule_engine::space::Kind;
use granule_engine::{Inconsistent, Value};
use granule_outputs::archive::{Archive, ArchiveError, keep_still};
use granule_outputs::survey::sha256;
use granule_outputs::{OutputSource, PlannedFile, PlannedFiles, failed, read_weights_and_type, rederive};
use granule_server::view::log::line;
use granule_sweep::Sweep;
use granule_system::files;
use granule_text::{one_line, plural};
use indicatif::DecimalBytes;
use serde::Serialize;

use crate::cli::{self, exit};
use crate::engines::ENGINES;
use crate::failure::{Failure, shell_path, shown};
use crate::stdout::{ReportHead, both, say, say_json};

/// Hashes of the files of sweeps that come with granule, with comments.
const KNOWN: &str = include_str!("identify/known.txt");

/// The seed and the engine of the known sweeps.
const SEED: u32 = 451;
const ENGINE: &str = "brian2-2.2.1";

/// The parameter that is the platform of the original.
const PLATFORM: &str = "platform";

/// Largest file of weights that is read to describe it.
const LARGEST_READ: u64 = 1 << 26;

/// Deepest folders that are searched.
const DEEPEST: usize = 16;

/// Most files that are looked at.
const MOST_FILES: usize = 100_000;

/// Bytes from which on a message reports that reading takes a while.
const MANY_BYTES: u64 = 1 << 30;

/// The files of a folder, and where they come from.
#[derive(Debug, Serialize)]
struct Identification {
    #[serde(flatten)]
    head: ReportHead,
    folder: String,
    files: Vec<Identified>,
    /// The other entries of the folder, which are not read.
    left_out: LeftOut,
    /// Platforms from which all identified files can come; empty if there is none.
    platforms: Vec<String>,
    /// Sweeps from which all identified files can come; empty if there is none.
    sweeps: Vec<String>,
}

/// Numbers of entries of a folder that are not read.
#[derive(Debug, Default, Serialize)]
struct LeftOut {
    /// Files without the ending `.npy`.
    other_files: u64,
    /// Symbolic links, pipes and devices.
    special_files: u64,
    /// Folders that cannot be read, or are too deep.
    folders: u64,
}

/// A file, and where it comes from.
#[derive(Debug, Serialize)]
struct Identified {
    /// Path below the folder.
    path: String,
    bytes: u64,
    /// Empty if the file cannot be read.
    sha256: String,
    /// All files that have this content. Empty if the file is not identified.
    origins: Vec<Origin>,
    /// The content of an unidentified file.
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
}

/// A file that a sweep makes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Origin {
    sweep: String,
    engine: String,
    seed: u32,
    /// Name in the directory of the seed.
    file: String,
    /// Platforms of the original on which the file has this content. Empty if the engine has no platforms.
    platforms: Vec<String>,
}

/// Origins by SHA-256.
type Origins = HashMap<String, Vec<Origin>>;

pub(crate) fn run(arguments: &cli::Identify) -> Result<(), Failure> {
    let cli::Identify { folder, of, store, json } = arguments;
    let mut origins = known();
    if let Some(out) = of {
        for (sha256, more) in derived(out, store.as_deref())? {
            let all = origins.entry(sha256).or_default();
            all.extend(more);
            all.sort();
            all.dedup();
        }
    }
    let mut paths = Vec::new();
    let mut left_out = LeftOut::default();
    if folder.is_file() {
        paths.push(folder.clone());
    } else {
        arrays_in(folder, DEEPEST, &mut paths, &mut left_out)?;
    }
    if paths.is_empty() {
        let rest = left_out.to_text().map_or(String::new(), |text| format!(" ({text})"));
        let message = format!(
            "error: {} has no .npy files{rest}\n  help: name the folder with the files that a run of the original \
                wrote",
            folder.display()
        );
        return Err(Failure::new(exit::USAGE, message));
    }
    let size = |path: &PathBuf| fs::metadata(path).map_or(0, |found| found.len());
    let bytes: u64 = paths.iter().map(size).sum();
    if bytes >= MANY_BYTES {
        line(&format!("reading {} in {}", DecimalBytes(bytes), plural(paths.len() as u64, "file")));
    }
    let files: Vec<Identified> = paths.iter().map(|path| identified(folder, path, &origins)).collect();
    let report = Identification {
        head: ReportHead::of("identified"),
        folder: folder.display().to_string(),
        platforms: common(&files, |origin| origin.platforms.iter().collect()),
        sweeps: common(&files, |origin| vec![&origin.sweep]),
        files,
        left_out,
    };
    let said = if *json { say_json(&report) } else { say(&report.to_text()) };
    both(report.verdict(of.is_some()), said.map(crate::stdout::StdoutReader::done))
}

/// Returns the known files.
fn known() -> Origins {
    let mut origins = Origins::new();
    for line in KNOWN.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split(' ').map(str::to_owned);
        let mut word = || words.next().expect("a line has four words");
        let (sha256, sweep, platforms, file) = (word(), word(), word(), word());
        let platforms = platforms.split(',').map(str::to_owned).collect();
        let origin = Origin { sweep, engine: ENGINE.to_owned(), seed: SEED, file, platforms };
        origins.entry(sha256).or_default().push(origin);
    }
    origins
}

/// Derives all files of a sweep from its store, for each platform.
fn derived(out: &Path, store: Option<&Path>) -> Result<Origins, Failure> {
    let _still = keep_still(out)?;
    let archive = Archive::find(ENGINES, out, store)?;
    archive.finished()?;
    let (sweep, plan) = archive.restore()?;
    let store = archive.store()?;
    let mut origins = Origins::new();
    let mut made: HashMap<String, String> = HashMap::new();
    for platform in platforms(&sweep) {
        let sweep = match platform {
            Some(platform) => on_platform(&sweep, platform)
                .map_err(|error| Failure::caused_by(exit::FAILED, &error, None))?,
            None => sweep.clone(),
        };
        let planned = PlannedFiles::new(&sweep);
        let new: Vec<PlannedFile> =
            planned.iter().filter(|file| !made.contains_key(&file.identity)).collect();
        let indices: Vec<u32> = new.iter().map(|file| file.index).collect();
        let source = OutputSource {
            sweep: &sweep,
            plan: &plan,
            store: &store,
            is_interrupted: &|| false,
            on_file: &|| {},
        };
        let hashes = rederive(&planned, &indices, &source).map_err(ArchiveError::from)?;
        made.extend(new.into_iter().zip(hashes).map(|(file, (_, sha256))| (file.identity, sha256)));
        for file in planned.iter() {
            let all = origins.entry(made[&file.identity].clone()).or_default();
            let seed = sweep.seeds[file.pair().1];
            let own = platform.map(str::to_owned);
            match all.iter_mut().find(|origin| (origin.seed, origin.file.as_str()) == (seed, file.name())) {
                Some(origin) => origin.platforms.extend(own),
                None => all.push(Origin {
                    sweep: sweep.name.clone(),
                    engine: sweep.engine.name().to_owned(),
                    seed,
                    file: file.name().to_owned(),
                    platforms: own.into_iter().collect(),
                }),
            }
        }
    }
    Ok(origins)
}

/// Returns the platforms whose files an engine makes; `None` alone if it makes the same everywhere.
fn platforms(sweep: &Sweep) -> Vec<Option<&'static str>> {
    let parameter = sweep.engine.space().parameter(PLATFORM);
    match parameter.map(|parameter| parameter.kind) {
        Some(Kind::Choice(names)) if on_platform(sweep, names[names.len() - 1]).is_ok() => {
            names.iter().map(|name| Some(*name)).collect()
        }
        _ => vec![None],
    }
}

/// Returns a sweep with the files of this platform.
fn on_platform(sweep: &Sweep, platform: &'static str) -> Result<Sweep, Inconsistent> {
    let mut sweep = sweep.clone();
    for condition in Arc::make_mut(&mut sweep.conditions) {
        let mut values = condition.model.values().clone();
        let parameter = values.space().parameter(PLATFORM).expect("the engine has platforms");
        values.set(parameter, Value::Choice(platform)).expect("it takes each of its names");
        condition.model = condition.model.with_values(values)?;
    }
    Ok(sweep)
}

/// Adds the paths of all arrays in a folder, in order.
fn arrays_in(
    folder: &Path,
    depth: usize,
    paths: &mut Vec<PathBuf>,
    left_out: &mut LeftOut,
) -> Result<(), Failure> {
    let wrong = |error: std::io::Error| Failure::from(ArchiveError::from(failed("read", folder)(error)));
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(_) if depth < DEEPEST => {
            left_out.folders += 1;
            return Ok(());
        }
        Err(error) => return Err(wrong(error)),
    };
    let mut found: Vec<PathBuf> =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>().map_err(wrong)?;
    found.sort();
    for path in found {
        // Links are not followed: the tree is finite, and only the user's folder is read.
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        let is_array = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("npy"));
        match (metadata.is_dir(), metadata.is_file()) {
            (true, _) if depth > 0 => arrays_in(&path, depth - 1, paths, left_out)?,
            (true, _) => left_out.folders += 1,
            (_, true) if is_array => paths.push(path),
            (_, true) => left_out.other_files += 1,
            _ => left_out.special_files += 1,
        }
        if paths.len() > MOST_FILES {
            let message = format!("error: {} has more than {MOST_FILES} .npy files", folder.display());
            return Err(Failure::new(exit::USAGE, format!("{message}\n  help: name a folder in it")));
        }
    }
    Ok(())
}

/// Hashes a file and looks up its origins. Those of the same name, and of a seed that is a folder of its path, are first.
fn identified(folder: &Path, path: &Path, origins: &Origins) -> Identified {
    let below = path.strip_prefix(folder).unwrap_or(path);
    let shown = if below.as_os_str().is_empty() { path } else { below }.display().to_string();
    let read = || -> std::io::Result<Identified> {
        let file = files::open(path)?;
        let bytes = file.metadata()?.len();
        let hash = sha256(&file, bytes)?.unwrap_or_default();
        let mut origins = origins.get(&hash).cloned().unwrap_or_default();
        let has = |name: &str| path.components().any(|part| part.as_os_str() == name);
        origins.sort_by_key(|origin| (!has(&origin.file), !has(&format!("seed-{}", origin.seed))));
        let content = if origins.is_empty() { Some(content(path, bytes)?) } else { None };
        Ok(Identified { path: shown.clone(), bytes, sha256: hash, origins, content })
    };
    read().unwrap_or_else(|error| Identified {
        path: shown.clone(),
        bytes: 0,
        sha256: String::new(),
        origins: Vec::new(),
        content: Some(format!("it cannot be read: {error}")),
    })
}

/// Describes the content of an array for people.
fn content(path: &Path, bytes: u64) -> std::io::Result<String> {
    if bytes <= LARGEST_READ
        && let Ok((keys, fibers)) = read_weights_and_type(&files::read(path, LARGEST_READ)?)
    {
        let trials = fibers.first().map_or(0, |(_, weights)| weights.len());
        let of_windows = match keys {
            KeyType::Int64 => "",
            KeyType::Int32 => ", with the integers of Windows",
        };
        return Ok(format!(
            "weights of {} in {}{of_windows}",
            plural(fibers.len() as u64, "mossy fibre"),
            plural(trials as u64, "trial")
        ));
    }
    // The header of an array is its length in two bytes after eight, then a dictionary of Python.
    let mut start = Vec::new();
    File::open(path)?.take(1 << 10).read_to_end(&mut start)?;
    let value = |key: &str, end: char| -> Option<String> {
        let text = String::from_utf8_lossy(start.get(10..)?).into_owned();
        let (_, rest) = text.split_once(&format!("'{key}': "))?;
        rest.split_once(end).map(|(value, _)| value.replace(['\'', '('], ""))
    };
    let is_array = start.starts_with(b"\x93NUMPY");
    let described = value("descr", '}').zip(value("shape", ')')).filter(|_| is_array);
    Ok(match described {
        Some((rest, shape)) => {
            let dtype = rest.split(',').next().unwrap_or_default().to_owned();
            let lengths: Vec<&str> =
                shape.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
            match dtype.as_str() {
                // The original writes its weights so.
                "|O" => "an object of Python, but not complete weights".to_owned(),
                _ if lengths.is_empty() => format!("one number of type {}", one_line(&dtype)),
                _ => format!("an array of {} elements of type {}", lengths.join(" × "), one_line(&dtype)),
            }
        }
        None => "not an array as numpy writes it".to_owned(),
    })
}

/// Returns what all identified files have in common.
fn common<'a>(files: &'a [Identified], of: impl Fn(&'a Origin) -> Vec<&'a String>) -> Vec<String> {
    let known = files.iter().filter(|file| !file.origins.is_empty());
    let mut sets = known.map(|file| file.origins.iter().flat_map(&of).cloned().collect::<BTreeSet<String>>());
    let Some(first) = sets.next() else { return Vec::new() };
    sets.fold(first, |all, of| all.intersection(&of).cloned().collect()).into_iter().collect()
}

impl Identification {
    fn to_text(&self) -> String {
        let width = self.files.iter().map(|file| file.path.chars().count()).max().unwrap_or(0).min(60);
        let mut text = String::new();
        for file in &self.files {
            let what = match (file.origins.first(), &file.content) {
                (Some(first), _) => {
                    let others = match file.origins.len() as u64 - 1 {
                        0 => String::new(),
                        others => format!("; the same as {}", plural(others, "other file")),
                    };
                    let has_its_name = file.path.rsplit('/').next() == Some(first.file.as_str());
                    let name = if has_its_name {
                        String::new()
                    } else {
                        format!("{} of ", shown(Path::new(&first.file)))
                    };
                    format!("{name}{}{others}", first.to_text())
                }
                (None, content) => {
                    format!("not identified: {}", content.as_deref().unwrap_or("no content"))
                }
            };
            text.push_str(&format!("  {:width$}  {what}\n", one_line(&file.path)));
        }
        let known = self.files.iter().filter(|file| !file.origins.is_empty()).count() as u64;
        let summary = match (known, self.sweeps.as_slice(), self.platforms.as_slice()) {
            (0, ..) => "none of them is known".to_owned(),
            (_, [], _) => "they come from several sweeps".to_owned(),
            (_, sweeps, []) if self.has_platforms() => {
                format!("they come from sweep {}, but from several platforms", sweeps.join(" or "))
            }
            (_, sweeps, []) => format!("they come from sweep {}", sweeps.join(" or ")),
            (_, sweeps, platforms) => {
                format!("they come from sweep {}, platform {}", sweeps.join(" or "), platforms.join(" or "))
            }
        };
        let count = plural(self.files.len() as u64, "file");
        text.extend(self.left_out.to_text().map(|left_out| format!("  {left_out}\n")));
        format!("{text}{}: {count}, {known} identified: {summary}\n", one_line(&self.folder))
    }

    fn has_platforms(&self) -> bool {
        self.files.iter().flat_map(|file| &file.origins).any(|origin| !origin.platforms.is_empty())
    }

    /// Fails if a file is not identified.
    fn verdict(&self, is_of: bool) -> Result<(), Failure> {
        let unknown = self.files.iter().filter(|file| file.origins.is_empty()).count() as u64;
        if unknown == 0 {
            return Ok(());
        }
        let help = if is_of {
            "the sweep in that directory has other parameters, or another program has written the files"
                .to_owned()
        } else {
            let folder = shell_path(Path::new(&self.folder));
            format!(
                "write a sweep file with the parameters that you think they have, run it, and pass its directory:\n    \
                 granule identify {folder} --of OUT"
            )
        };
        let message = format!("error: {} not identified\n  help: {help}", plural(unknown, "file"));
        Err(Failure::new(exit::INCOMPLETE, message))
    }
}

impl LeftOut {
    /// Returns the numbers for people; `None` if nothing was left out.
    fn to_text(&self) -> Option<String> {
        let parts = [
            (self.other_files, "other file"),
            (self.special_files, "special file"),
            (self.folders, "folder"),
        ];
        let parts: Vec<String> =
            parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| plural(*count, what)).collect();
        (!parts.is_empty()).then(|| format!("not read: {}", parts.join(", ")))
    }
}

impl Origin {
    fn to_text(&self) -> String {
        let Origin { sweep, engine, seed, platforms, .. } = self;
        let platforms = match platforms.len() {
            0 => String::new(),
            3 => ", every platform".to_owned(),
            _ => format!(", {}", platforms.join(" and ")),
        };
        format!("sweep {sweep}, seed {seed}, engine {engine}{platforms}")
    }
}
