//! An output directory while no run is at it: which sweep it is of, what was made of that, and where
//! its trials are stored.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use granule_sweep::{Plan, Sweep};

use crate::cli::exit;
use crate::failure::Failure;
use crate::outputs::OutputError;
use crate::outputs::manifest::{Earlier, Foreign, Manifest, ResolvedSweep, STORE, UnderWay};
use crate::store::{Store, StoreError};

/// What an output directory says of itself.
#[derive(Debug)]
pub(crate) struct Archive {
    pub(crate) out: PathBuf,
    /// The manifest in place: of this sweep, unless another was begun since.
    pub(crate) manifest: Option<Manifest>,
    /// A sweep that was begun and has not come to its manifest.
    pub(crate) under_way: Option<UnderWay>,
    /// Where its trials are stored.
    pub(crate) store_path: PathBuf,
}

/// Why an output directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArchiveError {
    /// No run was ever at it.
    #[error("{} is no output directory of granule: it has neither manifest.json nor sweep.json", out.display())]
    NoSweep { out: PathBuf },
    /// It is none.
    #[error("{} is a file, and an output directory is wanted", out.display())]
    NoDirectory { out: PathBuf },
    /// A run is at it.
    #[error("the output directory {} is in use by another granule", out.display())]
    InUse { out: PathBuf },
    /// Its sweep is not one that this program computes.
    #[error("the sweep in {} cannot be taken up", out.display())]
    Foreign { out: PathBuf, source: Foreign },
    /// There is no manifest of its sweep.
    #[error("the sweep in {} is not complete", out.display())]
    Incomplete { out: PathBuf },
    /// Its store is not where it was.
    #[error("there is no store {}", path.display())]
    NoStore { path: PathBuf },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Output(#[from] OutputError),
}

impl From<ArchiveError> for Failure {
    fn from(error: ArchiveError) -> Failure {
        let (code, help) = match &error {
            ArchiveError::NoSweep { .. } | ArchiveError::NoDirectory { .. } => {
                (exit::USAGE, Some("say the directory that `granule run` has written, such as out/NAME"))
            }
            ArchiveError::InUse { .. } => (exit::FAILED, Some("wait until it ends, or stop it")),
            ArchiveError::Foreign { .. } => {
                (exit::FAILED, Some("use the granule that made it, or run the sweep again with this one"))
            }
            ArchiveError::Incomplete { .. } => {
                (exit::INCOMPLETE, Some("run it to its end; `granule status` says what is missing"))
            }
            ArchiveError::NoStore { .. } => (
                exit::FAILED,
                Some("say where it is with --store FILE, or run the sweep again to make it anew"),
            ),
            ArchiveError::Store(StoreError::Corrupted { .. }) => (
                exit::FAILED,
                Some(
                    "if it is that of the sweep, move it away and run again: all that a store holds can be \
                     computed anew",
                ),
            ),
            ArchiveError::Store(_) | ArchiveError::Output(_) => (exit::FAILED, None),
        };
        Failure::caused_by(code, &error, help)
    }
}

impl Archive {
    /// What this directory says of itself. `store` is where the store is, if not where it was.
    pub(crate) fn find(out: &Path, store: Option<&Path>) -> Result<Archive, ArchiveError> {
        check_directory(out)?;
        let under_way = UnderWay::find(out)?;
        let manifest = Earlier::find(out)?.manifest;
        let noted = match (&under_way, &manifest) {
            (Some(under_way), _) => &under_way.store,
            (None, Some(manifest)) => &manifest.run.store,
            (None, None) => return Err(ArchiveError::NoSweep { out: out.to_owned() }),
        };
        let store_path = store.map_or_else(|| out.join(noted), Path::to_owned);
        Ok(Archive { out: out.to_owned(), manifest, under_way, store_path })
    }

    /// The sweep, with every default filled in.
    pub(crate) fn resolved(&self) -> &ResolvedSweep {
        let under_way = self.under_way.as_ref().map(|under_way| &under_way.sweep);
        let finished = self.manifest.as_ref().map(|manifest| &manifest.sweep);
        under_way.or(finished).expect("an archive has one of them")
    }

    /// The manifest of the sweep.
    ///
    /// # Errors
    /// When there is none of it.
    pub(crate) fn finished(&self) -> Result<&Manifest, ArchiveError> {
        match (&self.under_way, &self.manifest) {
            (None, Some(manifest)) => Ok(manifest),
            _ => Err(ArchiveError::Incomplete { out: self.out.clone() }),
        }
    }

    /// The sweep and its plan.
    ///
    /// # Errors
    /// When this program does not compute such trials.
    pub(crate) fn restore(&self) -> Result<(Sweep, Plan), ArchiveError> {
        let foreign = |source| ArchiveError::Foreign { out: self.out.clone(), source };
        let sweep = self.resolved().restore().map_err(foreign)?;
        let plan = Plan::new(&sweep);
        Ok((sweep, plan))
    }

    /// The store, to be read.
    ///
    /// # Errors
    /// When there is none, or a run is at it.
    pub(crate) fn store(&self) -> Result<Store, ArchiveError> {
        Store::read(&self.store_path).map_err(|error| no_store(error, &self.store_path))
    }
}

/// Tells a file, such as a sweep file, from an output directory, which need not be there.
///
/// # Errors
/// When it is a file.
pub(crate) fn check_directory(out: &Path) -> Result<(), ArchiveError> {
    match fs::metadata(out) {
        Ok(found) if !found.is_dir() => Err(ArchiveError::NoDirectory { out: out.to_owned() }),
        _ => Ok(()),
    }
}

/// As [`ArchiveError::NoStore`], if that is it.
pub(crate) fn no_store(error: StoreError, path: &Path) -> ArchiveError {
    match error {
        StoreError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            ArchiveError::NoStore { path: path.to_owned() }
        }
        error => ArchiveError::Store(error),
    }
}

/// Expects that no directory was given for a store.
pub(crate) fn check_no_directory(path: &Path) -> Result<(), Failure> {
    if !path.is_dir() {
        return Ok(());
    }
    let own = path.join(STORE);
    let help = if own.is_file() {
        format!("did you mean {}?", own.display())
    } else {
        format!("say the file; that of a sweep is {STORE} in its output directory")
    };
    Err(Failure::new(
        exit::USAGE,
        format!("error: {} is a directory, no store\n  help: {help}", path.display()),
    ))
}

/// The right to an output directory; given back when dropped.
#[derive(Debug)]
pub(crate) struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // As of a store, closing would not do while a process is being started.
        let _ = self.0.unlock();
    }
}

/// Holds an output directory for a run. None where the file system cannot lock directories: then only
/// the store is held.
///
/// # Errors
/// When somebody else holds it or reads it.
pub(crate) fn hold(out: &Path) -> Result<Option<Lock>, ArchiveError> {
    // Who asks for the status has it for a moment, to see whether somebody else has.
    for _ in 0..50 {
        match lock(out, File::try_lock) {
            Err(ArchiveError::InUse { .. }) => std::thread::sleep(Duration::from_millis(10)),
            held => return held,
        }
    }
    lock(out, File::try_lock)
}

/// Keeps runs out of an output directory while it is read.
///
/// # Errors
/// When a run is at it.
pub(crate) fn keep_still(out: &Path) -> Result<Option<Lock>, ArchiveError> {
    lock(out, File::try_lock_shared)
}

fn lock(out: &Path, lock: impl Fn(&File) -> Result<(), TryLockError>) -> Result<Option<Lock>, ArchiveError> {
    let Ok(directory) = File::open(out) else { return Ok(None) };
    match lock(&directory) {
        Ok(()) => Ok(Some(Lock(directory))),
        Err(TryLockError::WouldBlock) => Err(ArchiveError::InUse { out: out.to_owned() }),
        Err(TryLockError::Error(_)) => Ok(None),
    }
}

/// How a store is noted down in an output directory: by a path from there if it is below, so that
/// both can be moved, else from the root.
///
/// # Errors
/// When the path cannot be written as text.
pub(crate) fn name_of_store(out: &Path, store: &Path) -> Result<String, Failure> {
    let name = match (out.canonicalize(), store.canonicalize()) {
        (Ok(out), Ok(store)) => store.strip_prefix(&out).map(Path::to_owned).unwrap_or(store),
        _ => store.strip_prefix(out).unwrap_or(Path::new(STORE)).to_owned(),
    };
    name.into_os_string().into_string().map_err(|name| {
        let name = Path::new(&name).display();
        let message = format!(
            "error: the store's path {name} is not UTF-8, and the sweep would not find it again\n  \
             help: put it below the output directory, or under a path that is UTF-8"
        );
        Failure::new(exit::USAGE, message)
    })
}
