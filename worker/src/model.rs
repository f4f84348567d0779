//! Reads a model file and the files that it lists.
//!
//! A worker runs only a model that its own user named. The contents of the files are part of the model's identity. So a
//! worker with other contents has another engine than the coordinator, and is refused.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use granule_engine::Source;
use granule_program::Program;
use granule_sweep::{Diagnostics, parse_model};
use granule_system::files;

/// Bytes of a model file that are read. The parser has its own, lower limit.
const LARGEST_MODEL: u64 = 4 << 20;

/// Most files that a model can list, after its patterns are resolved.
const MOST_FILES: usize = 10_000;

/// A model on this machine.
#[derive(Clone, Debug)]
pub struct LocalModel {
    /// Path of the model file.
    pub path: PathBuf,
    /// Directory of the model file, in which its program runs.
    pub directory: PathBuf,
    /// Its files, with their stamps when they were hashed.
    files: Vec<(PathBuf, Stamp)>,
}

/// The stamp of a file. It changes with the content of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    /// Last changes of content and of attributes: seconds and nanoseconds.
    changed: [(i64, i64); 2],
}

impl Stamp {
    fn of(path: &Path) -> io::Result<Stamp> {
        let of = path.metadata()?;
        let changed = [(of.mtime(), of.mtime_nsec()), (of.ctime(), of.ctime_nsec())];
        Ok(Stamp { device: of.dev(), inode: of.ino(), bytes: of.len(), changed })
    }
}

/// Why a model cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The model file cannot be read.
    #[error("cannot read model file {}", path.display())]
    Read {
        /// Path of the model file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The model file has problems.
    #[error("{0}")]
    Diagnostics(Diagnostics),
    /// A file that the model file lists cannot be read.
    #[error("cannot read {}, which model file {} lists under `files`", file.display(), path.display())]
    File {
        /// Path of the model file.
        path: PathBuf,
        /// The file.
        file: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// A pattern of the model file fits no file.
    #[error("model file {}: `{pattern}` under `files` fits no file in {}", path.display(), directory.display())]
    NoFile {
        /// Path of the model file.
        path: PathBuf,
        /// The pattern.
        pattern: String,
        /// Directory of the model file.
        directory: PathBuf,
    },
    /// The command names a file that `files` does not list.
    #[error("model file {}: `program` names {file}, and `files` does not list it", path.display())]
    Unlisted {
        /// Path of the model file.
        path: PathBuf,
        /// The file, as a path from the directory of the model file.
        file: String,
    },
    /// The patterns fit too many files.
    #[error("model file {}: `files` fits more than {MOST_FILES} files", path.display())]
    TooMany {
        /// Path of the model file.
        path: PathBuf,
    },
}

impl LocalModel {
    /// Reads a model file and hashes the files that it lists. Returns the model, and its engine.
    ///
    /// # Errors
    /// When a file cannot be read, or the model file has problems.
    pub fn read(path: &Path) -> Result<(LocalModel, &'static Program), ModelError> {
        let cannot_read = |source| ModelError::Read { path: path.to_owned(), source };
        let bytes = files::open(path)
            .and_then(|file| {
                let mut bytes = Vec::new();
                io::Read::read_to_end(&mut io::Read::take(file, LARGEST_MODEL), &mut bytes)?;
                Ok(bytes)
            })
            .map_err(cannot_read)?;
        let name = path.display().to_string();
        let parsed = parse_model(&name, &bytes).map_err(ModelError::Diagnostics)?;
        let absolute = std::path::absolute(path).map_err(cannot_read)?;
        let directory = absolute.parent().unwrap_or(Path::new("/")).to_owned();
        let mut listed: BTreeSet<String> = BTreeSet::new();
        for pattern in &parsed.files {
            let found = matches(&directory, pattern).map_err(|(file, source)| ModelError::File {
                path: path.to_owned(),
                file,
                source,
            })?;
            if found.is_empty() {
                let (path, pattern) = (path.to_owned(), pattern.clone());
                return Err(ModelError::NoFile { path, pattern, directory });
            }
            listed.extend(found);
            if listed.len() > MOST_FILES {
                return Err(ModelError::TooMany { path: path.to_owned() });
            }
        }
        if let Some(file) = unlisted(&directory, &parsed.program, &listed) {
            return Err(ModelError::Unlisted { path: path.to_owned(), file });
        }
        let (mut hashes, mut files) = (Vec::new(), Vec::new());
        for name in listed {
            let file = directory.join(&name);
            let hashed = Stamp::of(&file).and_then(|stamp| Ok((stamp, hash(&file)?)));
            let (stamp, hash) = hashed.map_err(|source| ModelError::File {
                path: path.to_owned(),
                file: file.clone(),
                source,
            })?;
            files.push((file, stamp));
            hashes.push((name, hash));
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let program = Program::of(&name, Source { text, files: hashes }).map_err(ModelError::Diagnostics)?;
        Ok((LocalModel { path: absolute, directory, files }, program))
    }

    /// Returns the number of files that the model file lists.
    pub fn files(&self) -> usize {
        self.files.len()
    }

    /// Returns a file that may have changed since the model was read.
    pub fn changed(&self) -> Option<&Path> {
        let is_changed = |(path, stamp): &&(PathBuf, Stamp)| Stamp::of(path).ok() != Some(*stamp);
        self.files.iter().find(is_changed).map(|(path, _)| path.as_path())
    }
}

impl ModelError {
    /// Returns a remedy, if the message does not state it.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            ModelError::Diagnostics(_) => None,
            ModelError::Read { .. } => {
                Some("name the model file; `granule init --model python FILE` writes one to start from")
            }
            ModelError::File { .. } | ModelError::NoFile { .. } => {
                Some("paths and patterns are relative to the folder of the model file; correct `files`")
            }
            ModelError::Unlisted { .. } => {
                Some("add it to `files`, so that granule computes the trials again if it changes")
            }
            ModelError::TooMany { .. } => Some("list the files that decide results, and no others"),
        }
    }
}

/// Returns the regular files that a pattern fits, as paths from the directory, with `/`.
///
/// # Errors
/// If a directory cannot be read, or a name is not UTF-8.
fn matches(directory: &Path, pattern: &str) -> Result<Vec<String>, (PathBuf, io::Error)> {
    if !pattern.contains(['*', '?']) {
        let path = directory.join(pattern);
        return match path.metadata() {
            Ok(of) if of.is_file() => Ok(vec![pattern.to_owned()]),
            Ok(_) => Err((path, io::Error::other("it is not a regular file"))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err((path, error)),
        };
    }
    let whole = format!("{}/{pattern}", glob::Pattern::escape(&directory.to_string_lossy()));
    let options = glob::MatchOptions {
        case_sensitive: true,
        require_literal_separator: true,
        require_literal_leading_dot: true,
    };
    let Ok(found) = glob::glob_with(&whole, options) else { return Ok(Vec::new()) };
    let mut files = Vec::new();
    for path in found {
        let path = path.map_err(|error| (error.path().to_owned(), io::Error::from(error)))?;
        if !path.is_file() {
            continue;
        }
        match path.strip_prefix(directory).ok().and_then(Path::to_str) {
            Some(name) => files.push(name.to_owned()),
            None => return Err((path, io::Error::other("its name is not UTF-8"))),
        }
    }
    Ok(files)
}

/// Returns a file of the directory that the command names and `files` does not list. A first word without `/` is
/// searched in `PATH`.
fn unlisted(directory: &Path, program: &[String], listed: &BTreeSet<String>) -> Option<String> {
    let mut names = program.iter().enumerate().filter(|(at, word)| *at > 0 || word.contains('/'));
    names.find_map(|(_, word)| {
        let name = word.strip_prefix("./").unwrap_or(word);
        let is_within = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
        (is_within && directory.join(name).is_file() && !listed.contains(name)).then(|| name.to_owned())
    })
}

fn hash(path: &Path) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    Ok(hasher.finalize().to_hex().to_string())
}
