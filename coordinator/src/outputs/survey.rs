//! What lies in an output directory, whose it is, and what a run may do there.
//!
//! A directory belongs to one sweep. Two resolved sweeps are the same one, extended or changed, if they have the same
//! name and a trial in common: then what was computed is used again. Otherwise they are two sweeps, also if they have
//! the same name, because nothing of the one serves the other.
//!
//! A run replaces or removes a file only if granule wrote that file: one of the sweeps that are recorded in the
//! directory makes a file of this name, and the records say that it was written. Lists alone prove nothing, and no link
//! is followed. All commands ask here.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use granule_sweep::key::{Fingerprint, TrialKey};
use granule_sweep::{Plan, Record, Sweep};
use granule_worker::files::{self, Directory, kind_of};
use rayon::prelude::*;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use super::manifest::{self, FORMAT, FileRecord, Manifest, Pending, ResolvedSweep, STORE, UnderWay};
use super::space::Size;
use super::stamps::{self, Stamp, Stamps, stamped};
use super::{OutputError, Planned, failed, hex};

/// Longest of granule's own files: a manifest of the largest sweep has some hundred megabytes.
const LONGEST: u64 = 1 << 30;

/// Why a run does not write to an output directory.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// A name that granule needs is taken.
    #[error("{} {what}", path.display())]
    Taken { path: PathBuf, what: String },
    /// One of its records was written by a later version.
    #[error("{} was written by a later version of granule", path.display())]
    Later { path: PathBuf },
    /// Another sweep's.
    #[error("{} holds another sweep, {held}: {why}", out.display())]
    AnotherSweep { out: PathBuf, held: String, why: &'static str },
    /// There are files at the places of its outputs that it did not write.
    #[error(
        "{} has {} where this sweep writes outputs, and no record says that granule wrote {}, such as {first}",
        out.display(),
        if *count == 1 { "a file".to_owned() } else { format!("{count} files") },
        if *count == 1 { "it" } else { "them" }
    )]
    Unlisted { out: PathBuf, count: usize, first: String },
}

impl Refusal {
    /// What to do about it.
    pub(crate) fn help(&self) -> &'static str {
        match self {
            Refusal::Taken { .. } => "move it away, or choose another directory with --out DIR",
            Refusal::Later { .. } => "use that version, or choose another directory with --out DIR",
            Refusal::AnotherSweep { .. } => {
                "choose another directory with --out DIR; --replace removes the files of the sweep that is there and \
                 writes this sweep's (stored trials stay stored; `granule plan --replace` lists the files)"
            }
            Refusal::Unlisted { .. } => {
                "choose another directory with --out DIR, or move them away; --replace overwrites them (`granule plan \
                 --replace` lists them)"
            }
        }
    }
}

/// A record in an output directory that cannot be used.
#[derive(Clone, Debug)]
pub(crate) enum Trouble {
    /// It is one of granule's, and damaged.
    Damaged { path: PathBuf, what: String },
    /// It is something else.
    Taken { path: PathBuf, what: String },
    /// It was written by a later version.
    Later { path: PathBuf },
}

impl Trouble {
    pub(crate) fn path(&self) -> &Path {
        match self {
            Trouble::Damaged { path, .. } | Trouble::Taken { path, .. } | Trouble::Later { path } => path,
        }
    }

    pub(crate) fn what(&self) -> &str {
        match self {
            Trouble::Damaged { what, .. } | Trouble::Taken { what, .. } => what,
            Trouble::Later { .. } => "was written by a later version of granule",
        }
    }

    /// What to do about it.
    pub(crate) fn help(&self) -> &'static str {
        match self {
            Trouble::Damaged { .. } => "run the sweep again: it writes its records anew",
            Trouble::Taken { .. } => "move it away, and run the sweep again",
            Trouble::Later { .. } => "use that version",
        }
    }
}

/// What granule's records in an output directory say.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    out: PathBuf,
    /// The manifest in place: of the sweep in `under_way` if there is one and it was finished before.
    pub(crate) manifest: Option<Manifest>,
    /// A sweep that was begun and is not finished.
    pub(crate) under_way: Option<UnderWay>,
    pending: Option<Pending>,
    /// Stamps of the files and of the store, and whether they hold for the manifest.
    stamps: Option<Stamps>,
    holds: bool,
    pub(crate) troubles: Vec<Trouble>,
    /// See [`Self::made`].
    made: OnceLock<Option<BTreeSet<String>>>,
    /// Paths of the files that were being written when a run ended early.
    begun: BTreeSet<String>,
}

impl Survey {
    /// Looks at a directory, which need not be there.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn new(out: &Path) -> Result<Survey, OutputError> {
        let mut survey = Survey { out: out.to_owned(), ..Survey::default() };
        let text = survey.read(manifest::NAME)?;
        survey.manifest = text.as_deref().and_then(|text| {
            survey.parse(manifest::NAME, text, &["manifest", "sweep"], |of: &Manifest| of.manifest)
        });
        if let Some(text) = survey.read(manifest::UNDER_WAY)? {
            survey.under_way =
                survey.parse(manifest::UNDER_WAY, &text, &["format", "sweep"], |of: &UnderWay| of.format);
        }
        if let Some(text) = survey.read(manifest::PENDING)? {
            let path = survey.out.join(manifest::PENDING);
            match Pending::parse(&text) {
                Ok(Some(pending)) => survey.pending = Some(pending),
                Ok(None) => survey.troubles.push(Trouble::Later { path }),
                Err(error) => {
                    survey.troubles.push(trouble(path, &text, Pending::KEYS, Pending::FORMAT, &error))
                }
            }
        }
        // A cache: what cannot be understood is none.
        let stamps = files::read(&out.join(stamps::NAME), LONGEST).ok();
        survey.stamps = stamps.and_then(|bytes| Stamps::parse(&bytes));
        let sha256 = text.map(|text| hex(&Sha256::digest(&text)));
        survey.holds =
            survey.stamps.as_ref().zip(sha256).is_some_and(|(stamps, sha256)| stamps.are_of(&sha256));
        if let Some(pending) = &survey.pending {
            let listed = pending.files.iter().filter(|path| has_form(path)).cloned();
            survey.begun = pending.sweeps.iter().filter_map(paths).flatten().chain(listed).collect();
        }
        Ok(survey)
    }

    /// One of granule's records, if it is there.
    fn read(&mut self, name: &str) -> Result<Option<Vec<u8>>, OutputError> {
        let path = self.out.join(name);
        match files::read(&path, LONGEST) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Ok(None)
            }
            Err(error)
                if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::FileTooLarge) =>
            {
                let what = format!("is not a record of granule: {error}");
                self.troubles.push(Trouble::Taken { path, what });
                Ok(None)
            }
            Err(error) => Err(failed("read", &path)(error)),
        }
    }

    /// Understands a record, which has a format and these keys.
    fn parse<T: DeserializeOwned>(
        &mut self,
        name: &str,
        text: &[u8],
        keys: &[&str],
        format: impl Fn(&T) -> u32,
    ) -> Option<T> {
        let path = self.out.join(name);
        match serde_json::from_slice::<T>(text) {
            Ok(record) if format(&record) == FORMAT => return Some(record),
            Ok(_) => self.troubles.push(Trouble::Later { path }),
            Err(error) => self.troubles.push(trouble(path, text, keys, FORMAT, &error)),
        }
        None
    }

    /// The sweep that the directory belongs to, if any.
    pub(crate) fn sweep(&self) -> Option<&ResolvedSweep> {
        let under_way = self.under_way.as_ref().map(|under_way| &under_way.sweep);
        under_way.or(self.manifest.as_ref().map(|manifest| &manifest.sweep))
    }

    /// All sweeps that are recorded.
    fn sweeps(&self) -> impl Iterator<Item = &ResolvedSweep> {
        let pending = self.pending.iter().flat_map(|pending| &pending.sweeps);
        let manifest = self.manifest.iter().map(|manifest| &manifest.sweep);
        self.under_way.iter().map(|under_way| &under_way.sweep).chain(manifest).chain(pending)
    }

    /// Whether the directory is one of granule's beyond doubt, so that a damaged record in it was a record.
    fn is_granules(&self) -> bool {
        let is_store = || {
            let mut magic = [0; 14];
            let read = files::open(&self.out.join(STORE)).and_then(|mut file| file.read_exact(&mut magic));
            read.is_ok() && magic == *b"granule store\r"
        };
        self.stamps.is_some() || self.sweeps().next().is_some() || self.pending.is_some() || is_store()
    }

    /// Expects the directory to be free, or that of this sweep; with `replaces`, it may be another sweep's.
    pub(crate) fn check(&self, sweep: &ResolvedSweep, replaces: bool) -> Result<(), Refusal> {
        for trouble in &self.troubles {
            match trouble.clone() {
                Trouble::Damaged { .. } if self.is_granules() => {}
                Trouble::Damaged { path, what } | Trouble::Taken { path, what } => {
                    return Err(Refusal::Taken { path, what });
                }
                Trouble::Later { path } => return Err(Refusal::Later { path }),
            }
        }
        if replaces || self.sweep().is_none() || self.is_of(sweep) {
            return Ok(());
        }
        let held = self.sweep().expect("a sweep is recorded");
        Err(Refusal::AnotherSweep {
            out: self.out.clone(),
            held: self.describe(held),
            why: difference(held, sweep).unwrap_or_default(),
        })
    }

    /// Whether this sweep is one that is recorded, extended or changed.
    pub(crate) fn is_of(&self, sweep: &ResolvedSweep) -> bool {
        self.sweeps().any(|held| difference(held, sweep).is_none())
    }

    /// Has a sweep keep the files that were recorded here for its conditions and of which its file says nothing: what
    /// is recorded by default has changed since version 0.1.0.
    pub(crate) fn inherit(&self, sweep: &mut Sweep) {
        let mut recorded: BTreeMap<(&str, &str), Record> = BTreeMap::new();
        for held in self.sweeps().filter(|held| held.name == sweep.name).flat_map(|held| &held.conditions) {
            let record = Record::without(held.not_recorded.iter().map(String::as_str));
            if let Some(record) = record {
                let all = recorded.entry((&held.name, &held.fingerprint)).or_insert(record);
                *all = all.or(record);
            }
        }
        if recorded.is_empty() {
            return;
        }
        for condition in &mut sweep.conditions {
            let fingerprint = Fingerprint::new(sweep.engine, condition.model.parameters()).to_string();
            if let Some(record) = recorded.get(&(condition.name.as_str(), fingerprint.as_str())) {
                condition.inherit_record(*record);
            }
        }
    }

    /// A recorded sweep, for people.
    fn describe(&self, held: &ResolvedSweep) -> String {
        let some = |names: &mut dyn Iterator<Item = String>, count: usize| {
            let shown = names.take(4).collect::<Vec<_>>().join(", ");
            if count > 4 { format!("{shown}, … ({count})") } else { shown }
        };
        let conditions = some(&mut held.conditions.iter().map(|of| of.name.clone()), held.conditions.len());
        let seeds = some(&mut held.seeds.iter().map(u32::to_string), held.seeds.len());
        let files = match &self.manifest {
            Some(manifest) if self.under_way.is_none() => format!(
                "{} files, {}",
                manifest.files.len(),
                indicatif::DecimalBytes(manifest.files.iter().map(|file| file.bytes).sum())
            ),
            _ => "not finished".to_owned(),
        };
        format!(
            "`{}` (conditions {conditions}; seeds {seeds}; {} trials each; {files})",
            held.name, held.trials
        )
    }

    /// What a run that is to have these files there does to the directory. Hashes files whose stamps do not vouch
    /// for them.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn changes<'a>(&self, planned: &'a [Planned]) -> Result<Changes<'a>, OutputError> {
        let mut changes = Changes::default();
        let out = match Directory::open(&self.out) {
            Ok(out) => out,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                changes.written = planned.iter().collect();
                return Ok(changes);
            }
            Err(error) => return Err(failed("read", &self.out)(error)),
        };
        self.changes_in(&out, planned)
    }

    /// The same without hashing: what is in the way, and nothing else of it, is certain.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn obstacles<'a>(&self, planned: &'a [Planned]) -> Result<Changes<'a>, OutputError> {
        match Directory::open(&self.out) {
            Ok(out) => self.look(&out, planned, false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Changes::default()),
            Err(error) => Err(failed("read", &self.out)(error)),
        }
    }

    /// As [`Self::changes`], of the open directory.
    pub(crate) fn changes_in<'a>(
        &self,
        out: &Directory,
        planned: &'a [Planned],
    ) -> Result<Changes<'a>, OutputError> {
        self.look(out, planned, true)
    }

    fn look<'a>(
        &self,
        out: &Directory,
        planned: &'a [Planned],
        hashes: bool,
    ) -> Result<Changes<'a>, OutputError> {
        let records: BTreeMap<&str, &FileRecord> =
            self.manifest.iter().flat_map(|of| &of.files).map(|file| (file.path.as_str(), file)).collect();
        let seeds = Seeds::open(out, planned.iter().map(|file| file.path.as_str()).chain(self.candidates()))?;
        let mut changes = Changes::default();
        // Whatever is at a planned path is in place, granule's to be replaced, or an obstacle.
        let mut of_records: Vec<(&Planned, &FileRecord, Stamp)> = Vec::new();
        for file in planned {
            let there = match seeds.stat(&file.path)? {
                There::Nothing => {
                    changes.written.push(file);
                    continue;
                }
                There::Other(path, kind) => {
                    let what = format!("is {kind}, where granule writes outputs");
                    changes.taken.entry(path).or_insert(what);
                    continue;
                }
                There::File(stamp) => stamp,
            };
            let record = records.get(file.path.as_str()).copied();
            match record.filter(|record| record.identity == file.identity) {
                Some(record) => of_records.push((file, record, there)),
                None => {
                    changes.given_back += there.bytes();
                    let is_granules = self.has_written(&file.path, record, there);
                    let list = if is_granules { &mut changes.replaced } else { &mut changes.unlisted };
                    list.push(file);
                }
            }
        }
        if !hashes {
            return Ok(changes);
        }
        let vouched: Vec<Vouched> = of_records
            .par_iter()
            .map(|(file, record, there)| self.vouch(&seeds, &file.path, record, *there))
            .collect::<Result<_, OutputError>>()?;
        for ((file, record, there), vouched) in of_records.into_iter().zip(vouched) {
            match vouched {
                Vouched::Intact(stamp) => changes.in_place.push((file, record.clone(), stamp)),
                Vouched::Changed => {
                    changes.given_back += there.bytes();
                    changes.replaced.push(file);
                }
            }
        }
        let wanted: BTreeSet<&str> = planned.iter().map(|file| file.path.as_str()).collect();
        for path in self.candidates().filter(|path| !wanted.contains(path)) {
            let There::File(there) = seeds.stat(path)? else { continue };
            let is_intact = match records.get(path) {
                // In a run that ended early, files of several sweeps were being written.
                _ if self.begun.contains(path) => true,
                Some(_) if !self.can_be_listed(path) => continue,
                Some(record) => matches!(self.vouch(&seeds, path, record, there)?, Vouched::Intact(_)),
                None => continue,
            };
            if is_intact {
                changes.given_back += there.bytes();
                changes.removed.insert(path.to_owned());
            } else {
                changes.left.insert(path.to_owned());
            }
        }
        Ok(changes)
    }

    /// Paths that the records list. That they are granule's is to be shown.
    fn candidates(&self) -> impl Iterator<Item = &str> {
        let listed = self.manifest.iter().flat_map(|manifest| &manifest.files).map(|file| file.path.as_str());
        let paths: BTreeSet<&str> = listed.chain(self.begun.iter().map(String::as_str)).collect();
        paths.into_iter()
    }

    /// Whether a file of this path that the manifest lists can have been written for the manifest's sweep.
    fn can_be_listed(&self, path: &str) -> bool {
        let made =
            self.made.get_or_init(|| self.manifest.as_ref().and_then(|manifest| paths(&manifest.sweep)));
        match made {
            Some(made) => made.contains(path),
            // Of a sweep that this program cannot resolve.
            None => has_form(path),
        }
    }

    /// Whether granule has written the file of this stamp at this path.
    fn has_written(&self, path: &str, record: Option<&FileRecord>, there: Stamp) -> bool {
        let is_seen = || self.stamps.as_ref().is_some_and(|stamps| stamps.file(path) == Some(there));
        (record.is_some() && self.can_be_listed(path)) || self.begun.contains(path) || is_seen()
    }

    /// Whether a file is still the one that was written.
    fn vouch(
        &self,
        seeds: &Seeds,
        path: &str,
        record: &FileRecord,
        there: Stamp,
    ) -> Result<Vouched, OutputError> {
        if self.holds && self.stamps.as_ref().and_then(|stamps| stamps.file(path)) == Some(there) {
            return Ok(Vouched::Intact(Some(there)));
        }
        let file = match seeds.open_file(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(Vouched::Changed),
            Err(error) => return Err(failed("read", &self.out.join(path))(error)),
        };
        let hashed = stamped(&file, |file| sha256(file, record.bytes));
        let (sha256, stamp) = hashed.map_err(failed("read", &self.out.join(path)))?;
        Ok(if sha256.as_ref() == Some(&record.sha256) { Vouched::Intact(stamp) } else { Vouched::Changed })
    }

    /// Whether the stamps say that a store with this stamp has all trials of the finished sweep, whole.
    pub(crate) fn trusts_store(&self, stamp: Option<Stamp>) -> bool {
        self.holds && self.stamps.as_ref().is_some_and(|stamps| stamps.trust_store(stamp))
    }

    /// The stamps that hold for the manifest, with these in their place.
    pub(crate) fn renewed(&self, files: BTreeMap<String, Stamp>, store: Option<Stamp>) -> Option<Stamps> {
        let text = files::read(&self.out.join(manifest::NAME), LONGEST).ok()?;
        let stamps = Stamps::new(hex(&Sha256::digest(&text)), files, store);
        (self.stamps.as_ref() != Some(&stamps)).then_some(stamps)
    }

    /// Records of which sweeps there may be files from now on, removes the manifest, then the files that are to be
    /// removed. Gives how many it removed.
    ///
    /// # Errors
    /// When the system refuses; [`OutputError::Refused`] when something came in the way of the outputs.
    pub(crate) fn retire(
        &mut self,
        out: &Directory,
        sweep: &ResolvedSweep,
        changes: &Changes<'_>,
    ) -> Result<usize, OutputError> {
        let mut sweeps = vec![sweep.clone()];
        let finished = self.manifest.iter().map(|manifest| &manifest.sweep);
        for held in finished.chain(self.pending.iter().flat_map(|pending| &pending.sweeps)) {
            if !sweeps.contains(held) {
                sweeps.push(held.clone());
            }
        }
        let mut files = self.pending.as_ref().map_or_else(Vec::new, |pending| pending.files.clone());
        if self.manifest.as_ref().is_some_and(|manifest| manifest.sweep.restore().is_err()) {
            files.extend(self.manifest.iter().flat_map(|of| &of.files).map(|file| file.path.clone()));
        }
        Pending::new(sweeps, files).write(out)?;
        let mut removed = 0;
        let seeds = Seeds::open(out, changes.removed.iter().map(String::as_str))?;
        for path in &changes.removed {
            removed += usize::from(seeds.remove(path)?);
        }
        seeds.remove_empty(out);
        // From here on these are this run's, should it have to write them once more.
        let own = changes.written.iter().chain(&changes.replaced).chain(&changes.unlisted);
        self.begun.extend(own.map(|file| file.path.clone()));
        Ok(removed)
    }

    /// Keeps the stamps of the files that were hashed.
    pub(crate) fn remember(&mut self, changes: &Changes<'_>) {
        let files =
            changes.in_place.iter().filter_map(|(file, _, stamp)| Some((file.path.clone(), (*stamp)?)));
        let files: BTreeMap<String, Stamp> = files.collect();
        let store = self.stamps.as_ref().filter(|_| self.holds).and_then(Stamps::store);
        self.stamps = Some(Stamps::new(String::new(), files, store));
        self.holds = self.manifest.is_some();
    }

    /// Trials of a plan that the sweep of the manifest had computed, and of which this is true.
    pub(crate) fn computed_before(&self, plan: &Plan, is_counted: impl Fn(TrialKey) -> bool) -> u64 {
        let Some(Manifest { sweep, set_aside, .. }) = &self.manifest else { return 0 };
        let known: BTreeMap<&str, &str> =
            sweep.conditions.iter().map(|of| (of.fingerprint.as_str(), of.name.as_str())).collect();
        let seeds: BTreeSet<u32> = sweep.seeds.iter().copied().collect();
        let mut count = 0;
        for cohort in plan.cohorts.iter().filter(|cohort| seeds.contains(&cohort.seed)) {
            for variant in &cohort.variants {
                let Some(&name) = known.get(variant.fingerprint.to_string().as_str()) else { continue };
                let is_aside = |trial: u32| {
                    let is_it = |aside: &manifest::SetAside| {
                        (aside.seed, aside.trial, aside.condition.as_str()) == (cohort.seed, trial, name)
                    };
                    set_aside.iter().any(is_it)
                };
                let trials = (0..plan.trials.min(sweep.trials)).filter(|trial| !is_aside(*trial));
                count +=
                    trials.filter(|trial| is_counted(variant.fingerprint.trial(cohort.seed, *trial))).count();
            }
        }
        count as u64
    }
}

/// What a run does to the files in an output directory.
#[derive(Debug, Default)]
pub(crate) struct Changes<'a> {
    /// Files that are as they are to be.
    pub(crate) in_place: Vec<(&'a Planned, FileRecord, Option<Stamp>)>,
    /// Files where there is nothing yet.
    pub(crate) written: Vec<&'a Planned>,
    /// Files that take the place of granule's own.
    pub(crate) replaced: Vec<&'a Planned>,
    /// Files that would take the place of files that no record lists.
    pub(crate) unlisted: Vec<&'a Planned>,
    /// Granule's own files that the sweep does not have.
    pub(crate) removed: BTreeSet<String>,
    /// The same, but they are not as granule wrote them, and stay.
    pub(crate) left: BTreeSet<String>,
    /// What is in the way, and what it is.
    taken: BTreeMap<PathBuf, String>,
    given_back: u64,
}

impl Changes<'_> {
    /// Expects that nothing of another is in the way; with `replaces`, files may be.
    pub(crate) fn check(&self, out: &Path, replaces: bool) -> Result<(), Refusal> {
        if let Some((path, what)) = self.taken.first_key_value() {
            return Err(Refusal::Taken { path: path.clone(), what: what.clone() });
        }
        match self.unlisted.first() {
            Some(first) if !replaces => Err(Refusal::Unlisted {
                out: out.to_owned(),
                count: self.unlisted.len(),
                first: first.path.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// Bytes of the files that are to be written.
    pub(crate) fn size(&self, sweep: &Sweep) -> Size {
        self.to_write().map(|file| file.size(sweep)).sum()
    }

    /// Files that are to be written.
    pub(crate) fn to_write(&self) -> impl Iterator<Item = &'_ Planned> {
        self.written.iter().chain(&self.replaced).chain(&self.unlisted).copied()
    }

    /// Bytes of the files that are to be replaced or removed.
    pub(crate) fn given_back(&self) -> u64 {
        self.given_back
    }

    /// Whether the planned files are there, all of them and no others of granule's.
    pub(crate) fn are_none(&self) -> bool {
        self.written.is_empty()
            && self.replaced.is_empty()
            && self.unlisted.is_empty()
            && self.removed.is_empty()
    }
}

/// Whether a file is still the one that was written; and its stamp, if that is certain to change with it.
enum Vouched {
    Intact(Option<Stamp>),
    Changed,
}

/// The directories of seeds, each opened once.
struct Seeds {
    out: PathBuf,
    /// By name; those that are not there have none, and what is no directory says what it is.
    directories: BTreeMap<String, Result<Option<Directory>, String>>,
}

/// What is at a path.
enum There {
    Nothing,
    File(Stamp),
    /// Something else, and where; also something that is in the place of the directory.
    Other(PathBuf, String),
}

impl Seeds {
    fn open<'a>(out: &Directory, paths: impl Iterator<Item = &'a str>) -> Result<Seeds, OutputError> {
        let mut seeds = Seeds { out: out.path().to_owned(), directories: BTreeMap::new() };
        for (seed, _) in paths.filter_map(|path| path.split_once('/')) {
            if seeds.directories.contains_key(seed) {
                continue;
            }
            let opened = match out.below(OsStr::new(seed)) {
                Ok(directory) => Ok(Some(directory)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                    let stat = out.stat(OsStr::new(seed)).ok().flatten();
                    Err(stat.map_or("something else", |stat| kind_of(stat.st_mode)).to_owned())
                }
                Err(error) => return Err(failed("read", &out.path().join(seed))(error)),
            };
            seeds.directories.insert(seed.to_owned(), opened);
        }
        Ok(seeds)
    }

    /// The directory and the name of a file.
    fn place<'a>(&self, path: &'a str) -> Option<(&Directory, &'a OsStr)> {
        let (seed, name) = path.split_once('/')?;
        let directory = self.directories.get(seed)?.as_ref().ok()?.as_ref()?;
        Some((directory, OsStr::new(name)))
    }

    fn stat(&self, path: &str) -> Result<There, OutputError> {
        let seed = path.split_once('/').map_or(path, |(seed, _)| seed);
        if let Some(Err(kind)) = self.directories.get(seed) {
            return Ok(There::Other(self.out.join(seed), kind.clone()));
        }
        let Some((directory, name)) = self.place(path) else { return Ok(There::Nothing) };
        let stat = directory.stat(name).map_err(failed("look at", &self.out.join(path)))?;
        Ok(match stat {
            None => There::Nothing,
            Some(stat) => match kind_of(stat.st_mode) {
                "a file" => There::File(Stamp::of_stat(&stat)),
                kind => There::Other(self.out.join(path), kind.to_owned()),
            },
        })
    }

    fn open_file(&self, path: &str) -> io::Result<File> {
        let (directory, name) = self.place(path).ok_or(io::ErrorKind::NotFound)?;
        directory.open_file(name)
    }

    fn remove(&self, path: &str) -> Result<bool, OutputError> {
        let Some((directory, name)) = self.place(path) else { return Ok(false) };
        directory.remove(name).map_err(failed("remove", &self.out.join(path)))
    }

    /// Removes the directories in which nothing is left.
    fn remove_empty(&self, out: &Directory) {
        for (seed, directory) in &self.directories {
            if let Ok(Some(_)) = directory {
                out.remove_if_empty(OsStr::new(seed));
            }
        }
    }
}

/// In what two sweeps are not the same one; none if they are.
fn difference(held: &ResolvedSweep, sweep: &ResolvedSweep) -> Option<&'static str> {
    if held.name != sweep.name {
        return Some("this one has another name");
    }
    let fingerprints: BTreeSet<&str> = held.conditions.iter().map(|of| of.fingerprint.as_str()).collect();
    let seeds: BTreeSet<u32> = held.seeds.iter().copied().collect();
    let has_condition = sweep.conditions.iter().any(|of| fingerprints.contains(of.fingerprint.as_str()));
    let has_seed = sweep.seeds.iter().any(|seed| seeds.contains(seed));
    match (has_condition, has_seed) {
        (true, true) => None,
        (false, _) => Some("this one has the same name, but no condition with the same parameters"),
        (_, false) => Some("this one has the same name, but no seed in common"),
    }
}

/// Paths of the files that a recorded sweep makes; none if this program cannot resolve it.
fn paths(sweep: &ResolvedSweep) -> Option<BTreeSet<String>> {
    let sweep = sweep.restore().ok()?;
    let planned = super::plan(&sweep, &Plan::new(&sweep));
    Some(planned.into_iter().map(|file| file.path).collect())
}

/// Whether a file of this path can be an output.
fn has_form(path: &str) -> bool {
    let Some((seed, name)) = path.split_once('/') else { return false };
    let Some(number) = seed.strip_prefix("seed-") else { return false };
    if number.parse::<u32>().map(|seed| seed.to_string()).as_deref() != Ok(number) {
        return false;
    }
    if name == "tonicReduction.npy" {
        return true;
    }
    let name = name.strip_prefix("randomized_").unwrap_or(name);
    let suffixes = ["SpikeProb", "Connections", "Weights", "CondE", "CondI", "TonicReduction"];
    let prefix = name.strip_suffix(".npy").and_then(|stem| {
        suffixes.iter().find_map(|suffix| stem.strip_suffix(suffix)).filter(|prefix| !prefix.is_empty())
    });
    prefix.is_some_and(|prefix| prefix.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)))
}

/// What is the matter with a record that cannot be understood.
fn trouble(path: PathBuf, text: &[u8], keys: &[&str], format: u32, error: &serde_json::Error) -> Trouble {
    match serde_json::from_slice::<serde_json::Value>(text) {
        Ok(value) if keys.iter().any(|key| value.get(key).is_none()) => {
            Trouble::Taken { path, what: "exists and is not a record of granule".to_owned() }
        }
        Ok(value) if value.get(keys[0]).and_then(serde_json::Value::as_u64) > Some(format.into()) => {
            Trouble::Later { path }
        }
        _ => Trouble::Damaged { path, what: format!("is damaged, or not a record of granule: {error}") },
    }
}

/// Hash of an open file, in hexadecimal; none if it does not have this many bytes.
pub(crate) fn sha256(mut file: &File, bytes: u64) -> io::Result<Option<String>> {
    if file.metadata()?.len() != bytes {
        return Ok(None);
    }
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    let mut read = 0;
    // A file that grows has an end all the same.
    while read <= bytes {
        match file.read(&mut buffer)? {
            0 => break,
            count => {
                hash.update(&buffer[..count]);
                read += count as u64;
            }
        }
    }
    Ok((read == bytes).then(|| hex(&hash.finalize())))
}
