//! An output directory while no run is in progress: its sweep, its manifest and its store.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use granule_engine::{Engines, TrialKey};
use granule_store::{Store, StoreError};
use granule_sweep::{Plan, Sweep};
use granule_system::exit;
use granule_system::files::Directory;

use crate::OutputError;
use crate::complaint::Complaint;
use crate::manifest::{Foreign, Manifest, ResolvedSweep, STORE, StoreName, UnderWay};
use crate::survey::{DirectorySurvey, Refusal, Trouble};

/// An output directory with its records.
#[derive(Debug)]
pub struct Archive {
    engines: Engines,
    pub out: PathBuf,
    pub survey: DirectorySurvey,
    /// Path of the store with its trials.
    pub store_path: PathBuf,
}

/// Why an output directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The directory has no record of a sweep.
    #[error("{} is not an output directory of granule: it has neither manifest.json nor sweep.json", out.display())]
    NoSweep { out: PathBuf },
    /// The path is not a directory.
    #[error("{} is a file, not an output directory", out.display())]
    NoDirectory { out: PathBuf },
    /// A run is in progress.
    #[error("the output directory {} is in use by another granule process", out.display())]
    InUse { out: PathBuf },
    /// This program cannot compute its sweep.
    #[error("cannot use the sweep in {}", out.display())]
    Foreign { out: PathBuf, source: Foreign },
    /// Its sweep has no manifest.
    #[error("the sweep in {} is not complete", out.display())]
    Incomplete { out: PathBuf },
    /// Its store is not at the recorded path.
    #[error("the store {} does not exist", path.display())]
    NoStore { path: PathBuf },
    /// Its store is not at the recorded path, and a run would compute all trials again.
    #[error("the trials of the sweep in {} are stored in {}, which does not exist", out.display(), path.display())]
    LostStore { out: PathBuf, path: PathBuf },
    /// One of its records cannot be used.
    #[error("{} {}", .0.path().display(), .0.what())]
    Record(Trouble),
    /// A run must not write there.
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Output(#[from] OutputError),
}

impl Archive {
    /// Reads the records of an output directory. `store` is the path of the store, if it is not at the recorded path.
    pub fn find(engines: Engines, out: &Path, store: Option<&Path>) -> Result<Archive, ArchiveError> {
        check_directory(out)?;
        let survey = DirectorySurvey::new(engines, out)?;
        if let Some(trouble) = survey.troubles.first() {
            return Err(ArchiveError::Record(trouble.clone()));
        }
        if survey.sweep().is_none() {
            return Err(ArchiveError::NoSweep { out: out.to_owned() });
        }
        let noted = store_name(&survey);
        let found = |noted: StoreName| noted.find(engines, out, survey.sweep()).unwrap_or_else(|path| path);
        let store_path = store.map_or_else(|| found(noted), Path::to_owned);
        Ok(Archive { engines, out: out.to_owned(), survey, store_path })
    }

    /// The manifest in place. It is of this sweep, unless another was begun since.
    pub fn manifest(&self) -> Option<&Manifest> {
        self.survey.manifest.as_ref()
    }

    /// The sweep that was begun and is not finished, if any.
    pub fn under_way(&self) -> Option<&UnderWay> {
        self.survey.under_way.as_ref()
    }

    /// The sweep, with every default filled in.
    pub fn resolved(&self) -> &ResolvedSweep {
        self.survey.sweep().expect("an archive has a sweep")
    }

    /// When the last run of the sweep began, RFC 3339 in UTC.
    pub fn begun(&self) -> &str {
        let under_way = self.under_way().map(|under_way| under_way.started.as_str());
        under_way.or(self.manifest().map(|manifest| manifest.run.started.as_str())).unwrap_or_default()
    }

    /// Returns the manifest of the finished sweep.
    ///
    /// # Errors
    /// If the sweep has none.
    pub fn finished(&self) -> Result<&Manifest, ArchiveError> {
        match (self.under_way(), self.manifest()) {
            (None, Some(manifest)) => Ok(manifest),
            _ => Err(ArchiveError::Incomplete { out: self.out.clone() }),
        }
    }

    /// Returns the sweep and its plan.
    ///
    /// # Errors
    /// If this program cannot compute such trials.
    pub fn restore(&self) -> Result<(Sweep, Plan), ArchiveError> {
        let foreign = |source| ArchiveError::Foreign { out: self.out.clone(), source };
        let sweep = self.resolved().restore(self.engines).map_err(foreign)?;
        let plan = Plan::new(&sweep);
        Ok((sweep, plan))
    }

    /// Opens the store for reading.
    ///
    /// # Errors
    /// If it does not exist, or a run is in progress.
    pub fn store(&self) -> Result<Store, ArchiveError> {
        Store::read(&self.store_path).map_err(|error| no_store(error, &self.store_path))
    }

    /// Reads the present content of the store, even while a run writes to it.
    ///
    /// # Errors
    /// If it does not exist.
    pub fn glance(&self) -> Result<Store, ArchiveError> {
        Store::glance(&self.store_path).map_err(|error| no_store(error, &self.store_path))
    }
}

/// Surveys an output directory, which need not exist. Makes the sweep keep the outputs that are recorded there,
/// and the number of trials that was decided there.
///
/// # Errors
/// If the path is not a directory, or the system reports an error.
pub fn survey(engines: Engines, out: &Path, sweep: &mut Sweep) -> Result<DirectorySurvey, ArchiveError> {
    check_directory(out)?;
    let survey = DirectorySurvey::new(engines, out)?;
    survey.inherit(sweep);
    if let Some(manifest) = survey.decided(sweep) {
        sweep.decide(manifest.sweep.trials);
    }
    Ok(survey)
}

/// Checks that the path is not a file, such as a sweep file. It need not exist.
///
/// # Errors
/// If it is a file.
pub fn check_directory(out: &Path) -> Result<(), ArchiveError> {
    match fs::metadata(out) {
        Ok(found) if !found.is_dir() => Err(ArchiveError::NoDirectory { out: out.to_owned() }),
        _ => Ok(()),
    }
}

/// Converts the error to [`ArchiveError::NoStore`] if the store does not exist.
pub fn no_store(error: StoreError, path: &Path) -> ArchiveError {
    match error {
        StoreError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            ArchiveError::NoStore { path: path.to_owned() }
        }
        error => ArchiveError::Store(error),
    }
}

/// Checks that the path of a store is not a directory.
pub fn check_no_directory(path: &Path) -> Result<(), Complaint> {
    if !path.is_dir() {
        return Ok(());
    }
    let own = path.join(STORE);
    let help = if own.is_file() {
        format!("did you mean {}?", own.display())
    } else {
        format!("name a file; the store of a sweep is {STORE} in its output directory")
    };
    Err(Complaint::new(
        exit::USAGE,
        format!("error: {} is a directory; expected a store\n  help: {help}", path.display()),
    ))
}

/// The lock of an output directory, released when it is dropped.
#[derive(Debug)]
pub struct Lock(Directory);

impl Drop for Lock {
    fn drop(&mut self) {
        // As with a store, closing is not enough while a process is being started.
        let _ = self.0.handle().unlock();
    }
}

/// Locks an output directory for a run. Returns `None` if the file system cannot lock directories; then only the store
/// is locked.
///
/// # Errors
/// If another process writes or reads there.
pub fn hold(out: &Directory) -> Result<Option<Lock>, ArchiveError> {
    // A process that checks for a run locks the directory for a moment.
    for _ in 0..50 {
        match lock(out.clone(), File::try_lock) {
            Err(ArchiveError::InUse { .. }) => std::thread::sleep(Duration::from_millis(10)),
            held => return held,
        }
    }
    lock(out.clone(), File::try_lock)
}

/// Locks an output directory against runs, while it is read.
///
/// # Errors
/// If a run is in progress there.
pub fn keep_still(out: &Path) -> Result<Option<Lock>, ArchiveError> {
    Directory::open(out).map_or(Ok(None), |directory| lock(directory, File::try_lock_shared))
}

fn lock(
    out: Directory,
    lock: impl Fn(&File) -> Result<(), TryLockError>,
) -> Result<Option<Lock>, ArchiveError> {
    match lock(out.handle()) {
        Ok(()) => Ok(Some(Lock(out))),
        Err(TryLockError::WouldBlock) => Err(ArchiveError::InUse { out: out.path().to_owned() }),
        Err(TryLockError::Error(_)) => Ok(None),
    }
}

/// Returns the place of the store that the records of a directory name.
fn store_name(survey: &DirectorySurvey) -> StoreName {
    let under_way = survey.under_way.as_ref().map(|under_way| &under_way.store);
    let noted = under_way.or(survey.manifest.as_ref().map(|manifest| &manifest.run.store));
    noted.cloned().unwrap_or_default()
}

impl StoreName {
    /// Returns the path of this output directory's store, or the path where it should be as an error. The store may
    /// have been moved or copied together with the directory. If it has trials of the sweep, it is preferred to the one
    /// at the recorded path.
    fn find(&self, engines: Engines, out: &Path, sweep: Option<&ResolvedSweep>) -> Result<PathBuf, PathBuf> {
        if !Path::new(&self.store).is_absolute() {
            // A manifest may come from anywhere, so a relative path must not leave the directory.
            let is_below =
                Path::new(&self.store).components().all(|part| matches!(part, Component::Normal(_)));
            let noted = out.join(if is_below { &self.store } else { STORE });
            return if noted.is_file() { Ok(noted) } else { Err(noted) };
        }
        let noted = PathBuf::from(&self.store);
        let beside = self.store_beside.as_ref().map(|path| out.join(path));
        // Version 0.1.0 did not record the path of a store beside the directory.
        let absolute = std::path::absolute(out).unwrap_or_else(|_| out.to_owned());
        let around = noted
            .file_name()
            .into_iter()
            .flat_map(|name| [absolute.parent().unwrap_or(&absolute).join(name), absolute.join(name)]);
        let all = beside.into_iter().chain([noted.clone()]).chain(around);
        let mut there: Vec<PathBuf> = all.filter(|path| path.is_file()).collect();
        let plan = sweep.and_then(|sweep| sweep.restore(engines).ok()).map(|sweep| Plan::new(&sweep));
        let has_trials = |path: &PathBuf| {
            plan.as_ref().is_some_and(|plan| {
                // Trials may have their present keys, or those of version 0.1.0.
                let before = plan.conditions.iter().map(|of| of.model.fingerprint_0_1_0());
                let mut before = before.flat_map(|of| plan.cohorts.iter().map(move |c| of.trial(c.seed, 0)));
                Store::glance(path).is_ok_and(|store| {
                    store.has_any_of(keys_of(plan)) || before.any(|key| store.contains(key))
                })
            })
        };
        match there.iter().position(has_trials) {
            Some(at) => Ok(there.swap_remove(at)),
            // No trial was stored yet, or this program cannot restore the sweep.
            None if noted.is_file() => Ok(noted),
            None => Err(noted),
        }
    }
}

/// Returns the keys of all trials of a plan.
fn keys_of(plan: &Plan) -> impl Iterator<Item = TrialKey> {
    let variants = plan
        .cohorts
        .iter()
        .flat_map(|cohort| cohort.variants.iter().map(|variant| (cohort.seed, variant.fingerprint)));
    variants.flat_map(|(seed, of)| (0..plan.trials).map(move |trial| of.trial(seed, trial)))
}

/// Whether the recorded name leads to this store.
pub fn leads_to(name: &StoreName, out: &Path, store: &Path) -> bool {
    let identity = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino())).ok();
    let names = [Some(out.join(&name.store)), name.store_beside.as_ref().map(|beside| out.join(beside))];
    let mut names = names.into_iter().flatten();
    names.any(|path| identity(&path).is_some() && identity(&path) == identity(store))
}

/// Returns the path of a run's store: the given one, else the recorded one, else a new one in the directory.
///
/// # Errors
/// If the recorded store is outside the directory and is not found.
pub fn store_of_run(
    out: &Path,
    given: Option<&Path>,
    survey: &DirectorySurvey,
    sweep: &Sweep,
) -> Result<PathBuf, ArchiveError> {
    if let Some(given) = given {
        return Ok(given.to_owned());
    }
    let noted = store_name(survey);
    match noted.find(survey.engines(), out, survey.sweep()) {
        Ok(path) => Ok(path),
        // The store was in the directory and was deleted; or (below) it belonged to a sweep that is replaced.
        Err(path) if !Path::new(&noted.store).is_absolute() => Ok(path),
        Err(_) if !survey.is_of(sweep) => Ok(out.join(STORE)),
        Err(path) => Err(ArchiveError::LostStore { out: out.to_owned(), path }),
    }
}

/// Returns the name of a store, as an output directory records it.
///
/// # Errors
/// If the path is not UTF-8.
pub fn name_of_store(out: &Path, store: &Path) -> Result<StoreName, Complaint> {
    let text = |path: PathBuf| {
        path.into_os_string().into_string().map_err(|name| {
            let message = format!(
                "error: the store's path {} is not UTF-8, so the manifest cannot record it\n  help: put it into \
                    the output directory, or use a path that is UTF-8",
                Path::new(&name).display()
            );
            Complaint::new(exit::USAGE, message)
        })
    };
    let (Ok(out), Ok(store)) = (out.canonicalize(), store.canonicalize()) else {
        return Ok(StoreName { store: text(store.to_owned())?, store_beside: None });
    };
    if let Ok(below) = store.strip_prefix(&out) {
        return Ok(StoreName { store: text(below.to_owned())?, store_beside: None });
    }
    let common = out.components().zip(store.components()).take_while(|(a, b)| a == b).count();
    let up = out.components().skip(common).map(|_| Component::ParentDir);
    let beside: PathBuf = up.chain(store.components().skip(common)).collect();
    // Two paths that share only the root are unlikely to be moved together.
    let beside = (common > 1).then(|| text(beside)).transpose()?;
    Ok(StoreName { store: text(store)?, store_beside: beside })
}
