//! Surveys an output directory: its files, the sweep that it belongs to, and what a run may change there.
//!
//! A directory belongs to one sweep. Two resolved sweeps are the same one, extended or changed, if they have the same
//! name and a trial in common. Then computed trials are used again. Otherwise they are two sweeps, even with the same
//! name, because neither can use the other's trials.
//!
//! A run replaces or removes a file only if granule wrote it. It did so if a recorded sweep makes a file of this name,
//! and the records show that the file was written. Lists alone prove nothing, and no link is followed. All commands use
//! this module.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use granule_engine::output::Size;
use granule_engine::{Engines, TrialKey};
use granule_sweep::{Plan, Record, Sweep};
use granule_system::files::{self, Directory, kind_of_stat};
use granule_system::hex;
use granule_system::threads::side_by_side;
use rayon::prelude::*;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use crate::errors::{OutputError, failed};
use crate::file_record::{FileRecord, KeptFile};
use crate::manifest::{self, FORMAT, Journal, Manifest, Pending, STORE, UnderWay};
use crate::planned::{PlannedFile, PlannedFiles, directory_of_seed};
pub use crate::refusal::Refusal;
use crate::resolved::ResolvedSweep;
use crate::stamps::{self, Seal, Seen, Stamp, Stamps, SweepId, sealed};

/// Limit on the bytes of granule's own files. The manifest of the largest sweep has about a gigabyte.
pub(crate) const LONGEST: u64 = 2 << 30;

/// A record in an output directory that cannot be used.
#[derive(Clone, Debug)]
pub enum Trouble {
    /// It is a record of granule, and damaged.
    Damaged { path: PathBuf, what: String },
    /// It is no record of granule.
    Taken { path: PathBuf, what: String },
    /// It was written by a later version.
    Later { path: PathBuf },
}

impl Trouble {
    pub fn path(&self) -> &Path {
        match self {
            Trouble::Damaged { path, .. } | Trouble::Taken { path, .. } | Trouble::Later { path } => path,
        }
    }

    pub fn what(&self) -> &str {
        match self {
            Trouble::Damaged { what, .. } | Trouble::Taken { what, .. } => what,
            Trouble::Later { .. } => "was written by a later version of granule",
        }
    }

    /// Returns the remedy.
    pub fn help(&self) -> &'static str {
        match self {
            Trouble::Damaged { .. } => {
                "run the sweep again, with --replace if that is refused: it writes new records"
            }
            Trouble::Taken { .. } => "move it away, and run the sweep again",
            Trouble::Later { .. } => "use that version",
        }
    }
}

/// The records of granule in an output directory.
#[derive(Debug, Default)]
pub struct DirectorySurvey {
    engines: Engines,
    out: PathBuf,
    /// `None` if the directory does not exist.
    directory: Option<Directory>,
    /// The manifest in place. If the sweep in `under_way` was finished before, it may be of this sweep.
    pub manifest: Option<Manifest>,
    /// The sweep that was begun and is not finished, if any.
    pub under_way: Option<UnderWay>,
    pending: Pending,
    /// Stamps of the files and of the store. `holds` is whether they hold for the manifest.
    stamps: Option<Stamps>,
    holds: bool,
    pub troubles: Vec<Trouble>,
    /// Paths of the files that the recorded sweeps make; see [`Self::can_be_listed`].
    made: OnceLock<Made>,
}

/// Paths of the files that some sweeps make.
#[derive(Debug, Default)]
struct Made {
    paths: BTreeSet<String>,
    /// Whether this program can resolve all of the sweeps.
    is_whole: bool,
}

impl DirectorySurvey {
    /// Surveys a directory, which need not exist.
    ///
    /// # Errors
    /// If the system reports an error.
    pub fn new(engines: Engines, out: &Path) -> Result<DirectorySurvey, OutputError> {
        match Directory::open(out) {
            Ok(directory) => DirectorySurvey::of(engines, &directory),
            Err(error) if is_absent(&error) => {
                Ok(DirectorySurvey { engines, out: out.to_owned(), ..DirectorySurvey::default() })
            }
            Err(error) => Err(failed("read", out)(error)),
        }
    }

    pub fn engines(&self) -> Engines {
        self.engines
    }

    /// Surveys an open directory.
    ///
    /// # Errors
    /// If the system reports an error.
    pub fn of(engines: Engines, directory: &Directory) -> Result<DirectorySurvey, OutputError> {
        let out = directory.path().to_owned();
        let mut survey = DirectorySurvey {
            engines,
            out,
            directory: Some(directory.clone()),
            ..DirectorySurvey::default()
        };
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
                Ok(Some(pending)) => survey.pending = pending,
                Ok(None) => survey.troubles.push(Trouble::Later { path }),
                Err(error) => {
                    survey.troubles.push(trouble(path, &text, Pending::KEYS, Pending::FORMAT, &error));
                }
            }
        }
        if let Some(text) = survey.read(stamps::NAME)? {
            // The stamps are a cache, so damaged ones are ignored.
            survey.stamps = Stamps::parse(&text);
            if survey.stamps.is_none() && !stamps::is_replaceable(&text) {
                let path = survey.out.join(stamps::NAME);
                survey
                    .troubles
                    .push(Trouble::Taken { path, what: "exists and is not a file of granule".to_owned() });
            }
        }
        let sha256 = text.map(|text| hex(&Sha256::digest(&text)));
        survey.holds =
            survey.stamps.as_ref().zip(sha256).is_some_and(|(stamps, sha256)| stamps.are_of(&sha256));
        Ok(survey)
    }

    /// Reads one of granule's records, if it exists.
    fn read(&mut self, name: &str) -> Result<Option<Vec<u8>>, OutputError> {
        let path = self.out.join(name);
        let Some(directory) = &self.directory else { return Ok(None) };
        match directory.open_file(OsStr::new(name)).and_then(|file| files::read_open(file, LONGEST)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
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

    /// Parses a record that has a format and these keys.
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
    pub fn sweep(&self) -> Option<&ResolvedSweep> {
        let under_way = self.under_way.as_ref().map(|under_way| &under_way.sweep);
        under_way.or(self.manifest.as_ref().map(|manifest| &manifest.sweep))
    }

    /// Returns all sweeps that are recorded.
    fn sweeps(&self) -> impl Iterator<Item = &ResolvedSweep> {
        let manifest = self.manifest.iter().map(|manifest| &manifest.sweep);
        self.under_way.iter().map(|under_way| &under_way.sweep).chain(manifest).chain(&self.pending.sweeps)
    }

    /// Returns the identities of the recorded sweeps. If no other record can be read, it is that of the stamps.
    fn ids(&self) -> Vec<SweepId> {
        let mut ids: Vec<SweepId> = self.sweeps().map(SweepId::of).collect();
        if ids.is_empty() {
            ids.extend(self.stamps.as_ref().map(|stamps| stamps.sweep.clone()));
        }
        ids
    }

    /// Whether the directory certainly belongs to granule, so that a damaged record in it was a record.
    fn is_granules(&self) -> bool {
        let is_store = || {
            let mut magic = [0; 14];
            let read = files::open(&self.out.join(STORE)).and_then(|mut file| file.read_exact(&mut magic));
            read.is_ok() && magic == *b"granule store\r"
        };
        !self.ids().is_empty() || is_store()
    }

    /// Checks that the directory belongs to no sweep, or to this one. With `replaces`, it may belong to another sweep.
    pub fn check(&self, sweep: &Sweep, replaces: bool) -> Result<(), Refusal> {
        let ids = self.ids();
        for trouble in &self.troubles {
            match trouble.clone() {
                // A damaged record is written again, if it is known which sweep the directory belongs to.
                Trouble::Damaged { .. } if !ids.is_empty() || (replaces && self.is_granules()) => {}
                Trouble::Damaged { path, .. } if self.is_granules() => {
                    return Err(Refusal::Damaged { path });
                }
                Trouble::Damaged { path, what } | Trouble::Taken { path, what } => {
                    return Err(Refusal::Taken { path, what });
                }
                Trouble::Later { path } => return Err(Refusal::Later { path }),
            }
        }
        if ids.is_empty() {
            return Ok(());
        }
        let id = SweepId::of_sweep(sweep);
        let differences: Option<Vec<&str>> = ids.iter().map(|held| difference(held, &id)).collect();
        match differences.and_then(|all| all.first().copied()) {
            Some(why) if !replaces => {
                let is_changed = self.sweep().is_some_and(|held| {
                    held.model.is_some()
                        && sweep.engine.source().is_some()
                        && held.engine != sweep.engine.name()
                });
                if is_changed && self.has_nothing() {
                    return Ok(());
                }
                let why = if is_changed && why == OTHER_PARAMETERS { OTHER_MODEL } else { why };
                Err(Refusal::AnotherSweep { out: self.out.clone(), held: self.describe(), why })
            }
            _ => Ok(()),
        }
    }

    /// Whether a sweep was begun here that has neither outputs nor stored trials. A user's program may have failed at all
    /// trials.
    fn has_nothing(&self) -> bool {
        let is_empty = |store: fs::Metadata| store.len() <= granule_store::EMPTY;
        self.manifest.is_none()
            && self.stamps.is_none()
            && self.pending.sweeps.is_empty()
            && fs::metadata(self.out.join(STORE)).is_ok_and(is_empty)
    }

    /// Whether this sweep is a recorded one, extended or changed.
    pub fn is_of(&self, sweep: &Sweep) -> bool {
        let ids = self.ids();
        if ids.is_empty() {
            return false;
        }
        let id = SweepId::of_sweep(sweep);
        ids.iter().any(|held| difference(held, &id).is_none())
    }

    /// Returns the manifest of this sweep, if it records how the number of trials was decided. This number follows from
    /// the sweep, unless trials were set aside.
    pub fn decided(&self, sweep: &Sweep) -> Option<&Manifest> {
        sweep.until.as_ref()?;
        let manifest = self.manifest.as_ref().filter(|manifest| manifest.set_aside.is_empty())?;
        manifest.sweep.is_same_but_for_the_decision(&ResolvedSweep::of(sweep)).then_some(manifest)
    }

    /// Makes a sweep keep the outputs that were recorded here for its conditions, if its file does not mention them.
    /// Which outputs are recorded by default has changed since version 0.1.0.
    pub fn inherit(&self, sweep: &mut Sweep) {
        if !self.is_of(sweep) {
            return;
        }
        let mut recorded: BTreeMap<(&str, &str), Record> = BTreeMap::new();
        for held in self.sweeps().filter(|held| held.name == sweep.name).flat_map(|held| &held.conditions) {
            let record = Record::without(sweep.engine.kinds(), held.not_recorded.iter().map(String::as_str));
            if let Some(record) = record {
                let all = recorded.entry((&held.name, &held.fingerprint)).or_insert(record);
                *all = all.or(record);
            }
        }
        if recorded.is_empty() {
            return;
        }
        for condition in Arc::make_mut(&mut sweep.conditions) {
            let model = &condition.model;
            let fingerprints = [model.fingerprint(), model.fingerprint_0_1_0()];
            let known = fingerprints
                .map(|of| recorded.get(&(condition.name.as_str(), of.to_string().as_str())).copied());
            if let Some(record) = known.into_iter().flatten().next() {
                condition.inherit_record(record);
            }
        }
    }

    /// Describes the recorded sweep for the user.
    fn describe(&self) -> String {
        let Some(held) = self.sweep().or(self.pending.sweeps.first()) else {
            let name = self.stamps.as_ref().map_or("", |stamps| &stamps.sweep.name);
            return format!("`{name}`");
        };
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
            "`{}` (conditions: {conditions}; seeds: {seeds}; trials of each: {}; {files})",
            held.name, held.trials
        )
    }

    /// Returns what a run that makes these files changes in the directory. Hashes files for which no stamp holds.
    ///
    /// # Errors
    /// If the system reports an error; [`OutputError::Interrupted`].
    pub fn changes<'a>(
        &self,
        planned: &'a PlannedFiles,
        is_interrupted: &(dyn Fn() -> bool + Sync),
    ) -> Result<FileChanges<'a>, OutputError> {
        self.look(planned, Some(is_interrupted))
    }

    /// Returns the same without hashing: recorded files are assumed to be unchanged. Obstacles to the outputs are
    /// certain.
    ///
    /// # Errors
    /// If the system reports an error.
    pub fn assumed_changes<'a>(&self, planned: &'a PlannedFiles) -> Result<FileChanges<'a>, OutputError> {
        self.look(planned, None)
    }

    fn look<'a>(
        &self,
        planned: &'a PlannedFiles,
        hashes: Option<&(dyn Fn() -> bool + Sync)>,
    ) -> Result<FileChanges<'a>, OutputError> {
        let mut changes = FileChanges::none(planned);
        let Some(out) = &self.directory else {
            planned.iter().for_each(|file| changes.add(Change::Written, &file));
            return Ok(changes);
        };
        let mut records: BTreeMap<&str, Vec<&FileRecord>> = BTreeMap::new();
        for record in self.manifest.iter().flat_map(|of| &of.files).chain(&self.pending.records) {
            records.entry(&record.path).or_default().push(record);
        }
        let no_records = Vec::new();
        let of_path = |path: &str| records.get(path).unwrap_or(&no_records);
        let mut seeds = SeedDirectories::new(out);
        // A file at a planned path is in place, granule's own and to be replaced, or in the way.
        let listed: BTreeSet<&str> =
            self.manifest.iter().flat_map(|of| &of.files).map(|file| file.path.as_str()).collect();
        let mut recorded: Vec<(PlannedFile, Stamp)> = Vec::new();
        let mut unplanned: BTreeSet<&str> =
            records.keys().copied().chain(self.pending.listed.iter().map(String::as_str)).collect();
        for file in planned.iter() {
            unplanned.remove(file.path.as_str());
            let there = match seeds.stat(&file.path)? {
                There::Nothing => {
                    changes.add(Change::Written, &file);
                    continue;
                }
                There::Other(path, kind) => {
                    changes
                        .taken
                        .entry(path)
                        .or_insert_with(|| format!("is {kind}, but granule writes outputs at this path"));
                    continue;
                }
                There::File(stamp) => stamp,
            };
            let records = of_path(&file.path);
            // Files that the manifest lists are written again, changed or not. A file that only the journal lists may
            // not have been put in place yet. So a file at its path is granule's only if it matches the record.
            let is_listed = listed.contains(file.path.as_str());
            let is_same = records.iter().any(|record| record.identity == file.identity);
            if is_same || (!records.is_empty() && !is_listed) {
                recorded.push((file, there));
                continue;
            }
            changes.given_back += there.bytes();
            let is_granules = (is_listed && self.can_be_listed(&file.path))
                || self.is_listed_by_first_format(&file.path)
                || self.has_seen(out, &file.path, there, hashes.is_some())?;
            changes.add(if is_granules { Change::Replaced } else { Change::Unlisted }, &file);
        }
        let vouch = |path: &str, identity: Option<&str>, there: Stamp| {
            let records = of_path(path);
            match hashes {
                None => {
                    let is_it = |record: &&&FileRecord| Some(record.identity.as_str()) == identity;
                    let record = records.iter().find(is_it).or(records.first());
                    Ok(record.map(|record| ((*record).clone(), None)))
                }
                Some(is_interrupted) if is_interrupted() => Err(OutputError::Interrupted),
                Some(_) => self.vouch(out, path, records, identity, there),
            }
        };
        let vouched = side_by_side(|| {
            let vouched =
                recorded.par_iter().map(|(file, there)| vouch(&file.path, Some(&file.identity), *there));
            vouched.collect::<Result<Vec<_>, OutputError>>()
        })?;
        for ((file, there), vouched) in recorded.into_iter().zip(vouched) {
            match vouched {
                Some((record, seal)) if record.identity == file.identity => {
                    changes.in_place.push((record, seal));
                    continue;
                }
                Some(_) => changes.add(Change::Replaced, &file),
                None if listed.contains(file.path.as_str())
                    || self.has_seen(out, &file.path, there, hashes.is_some())? =>
                {
                    changes.add(Change::Replaced, &file);
                }
                None => changes.add(Change::Unlisted, &file),
            }
            changes.given_back += there.bytes();
        }
        changes.to_write.sort_unstable_by_key(|(index, _)| *index);
        // Files are read through links, but neither written nor removed.
        for seed in changes.seeds.clone() {
            if let Some(path) = seeds.link(&directory_of_seed(seed))? {
                changes
                    .taken
                    .entry(path)
                    .or_insert("is a symbolic link, but granule writes outputs at this path".to_owned());
            }
        }
        for path in unplanned {
            let is_listed = records.contains_key(path) && self.can_be_listed(path);
            if !is_listed && !self.is_listed_by_first_format(path) {
                continue;
            }
            let There::File(there) = seeds.stat(path)? else { continue };
            // A list of version 0.1.0 has no hashes. A file that it lists may be the user's, and stays.
            let is_intact = is_listed && vouch(path, None, there)?.is_some();
            if is_intact && seeds.link(path)?.is_none() {
                changes.given_back += there.bytes();
                changes.removed.insert(path.to_owned());
            } else {
                changes.left.insert(path.to_owned());
            }
        }
        Ok(changes)
    }

    /// Whether the stamps show that a file is granule's, by its stamp or by its hash.
    fn has_seen(&self, out: &Directory, path: &str, there: Stamp, hashes: bool) -> Result<bool, OutputError> {
        let Some(seen) = self.stamps.as_ref().and_then(|stamps| stamps.seen(path)) else { return Ok(false) };
        if !hashes || seen.stamp == Some(there) {
            return Ok(true);
        }
        let hashed = open_file(out, path).and_then(|file| sha256(&file, there.bytes()));
        Ok(hashed.map_err(failed("read", &self.out.join(path)))?.as_ref() == Some(&seen.sha256))
    }

    /// Whether a recorded sweep makes a file of this path.
    fn can_be_listed(&self, path: &str) -> bool {
        let made = || {
            let mut made = Made { is_whole: true, ..Made::default() };
            let mut seen: Vec<&ResolvedSweep> = Vec::new();
            for sweep in self.sweeps() {
                if seen.contains(&sweep) {
                    continue;
                }
                seen.push(sweep);
                match paths(self.engines, sweep) {
                    Some(paths) => made.paths.extend(paths),
                    None => made.is_whole = false,
                }
            }
            made
        };
        let made = || self.made.get_or_init(made);
        has_form(self.engines, path) && (made().paths.contains(path) || !made().is_whole)
    }

    /// Whether a run of version 0.1.0 ended early while it was writing files here.
    pub fn has_first_format(&self) -> bool {
        !self.pending.listed.is_empty()
    }

    /// Whether a run of version 0.1.0 ended early while it was writing a file of this path. It listed the file, and its
    /// sweep makes it.
    fn is_listed_by_first_format(&self, path: &str) -> bool {
        self.pending.listed.contains(path) && self.under_way.is_some() && self.can_be_listed(path)
    }

    /// Returns the record that matches a file's content, and the file's seal. If several records match, one of this
    /// identity is preferred.
    fn vouch(
        &self,
        out: &Directory,
        path: &str,
        records: &[&FileRecord],
        identity: Option<&str>,
        there: Stamp,
    ) -> Result<Option<KeptFile>, OutputError> {
        let of_hash = |sha256: &str| {
            let mut of_hash = records.iter().filter(|record| record.sha256 == sha256);
            let first = of_hash.clone().next();
            of_hash.find(|record| Some(record.identity.as_str()) == identity).or(first)
        };
        if let Some(seen) = self.stamps.as_ref().filter(|_| self.holds).and_then(|stamps| stamps.seen(path))
            && seen.stamp == Some(there)
        {
            return Ok(of_hash(&seen.sha256).map(|record| ((*record).clone(), Some(Seal::certain(there)))));
        }
        let file = match open_file(out, path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(None),
            Err(error) => return Err(failed("read", &self.out.join(path))(error)),
        };
        let Some(bytes) = records.iter().map(|record| record.bytes).find(|bytes| *bytes == there.bytes())
        else {
            return Ok(None);
        };
        let hashed = sealed(&file, |file| sha256(file, bytes));
        let (sha256, seal) = hashed.map_err(failed("read", &self.out.join(path)))?;
        let record = sha256.as_deref().and_then(of_hash);
        Ok(record.zip(seal).map(|(record, seal)| ((*record).clone(), Some(seal))))
    }

    /// Whether the stamps show that a store with this stamp has all trials of this sweep, undamaged.
    pub fn trusts_store(&self, sweep: &ResolvedSweep, stamp: Option<Stamp>) -> bool {
        let is_it = self.manifest.as_ref().is_some_and(|manifest| manifest.sweep == *sweep);
        is_it && self.holds && self.stamps.as_ref().is_some_and(|stamps| stamps.trust_store(stamp))
    }

    /// Returns stamps that hold for the manifest, if they differ from the present ones.
    pub fn renewed(&self, files: BTreeMap<String, Seen>, store: Option<Stamp>) -> Option<Stamps> {
        let file = self.directory.as_ref()?.open_file(OsStr::new(manifest::NAME)).ok()?;
        let text = files::read_open(file, LONGEST).ok()?;
        let sweep = SweepId::of(&self.manifest.as_ref()?.sweep);
        let stamps = Stamps::new(sweep, hex(&Sha256::digest(&text)), files, store);
        (self.stamps.as_ref() != Some(&stamps)).then_some(stamps)
    }

    /// Begins the journal of the files that are to be written. Removes the manifest, then the files that are to be
    /// removed. Returns the number of removed files.
    ///
    /// # Errors
    /// If the system reports an error.
    pub fn retire(
        &self,
        sweep: &ResolvedSweep,
        changes: &FileChanges<'_>,
    ) -> Result<(Journal, usize), OutputError> {
        let out = self.directory.as_ref().expect("a run has its directory");
        let mut pending = Pending { sweeps: vec![sweep.clone()], ..Pending::default() };
        let finished = self.manifest.iter().map(|manifest| &manifest.sweep);
        for held in finished.chain(&self.pending.sweeps) {
            if !pending.sweeps.contains(held) {
                pending.sweeps.push(held.clone());
            }
        }
        // Files that are left as they are belong to the user from now on, so the journal omits them.
        let records = self.manifest.iter().flat_map(|of| &of.files).chain(&self.pending.records);
        let mut seen: BTreeSet<(&str, &str)> = BTreeSet::new();
        let records = records.filter(|record| {
            !changes.left.contains(&record.path) && seen.insert((&record.path, &record.sha256))
        });
        pending.records = records.cloned().collect();
        let journal = Journal::begin(out, &pending)?;
        let mut removed = 0;
        let mut seeds = SeedDirectories::new(out);
        for path in &changes.removed {
            removed += usize::from(seeds.remove(path)?);
        }
        let wanted: BTreeSet<u32> = sweep.seeds.iter().copied().collect();
        let earlier: BTreeSet<u32> = self.sweeps().flat_map(|held| held.seeds.iter().copied()).collect();
        // A killed run may have left unfinished files in any directory.
        let was_killed = self.pending != Pending::default();
        for seed in earlier.union(&wanted).filter(|seed| was_killed || !wanted.contains(seed)) {
            let name = directory_of_seed(*seed);
            if let (Seed::Directory(directory), _) = seeds.seed(&name)? {
                let place = out.path().join(&name);
                directory.remove_leftovers().map_err(failed("remove unfinished files in", &place))?;
                // Only an empty directory is removed.
                out.remove_if_empty(OsStr::new(&name));
            }
        }
        Ok((journal, removed))
    }

    /// Returns how many trials of a plan the manifest's sweep had computed, among those for which `is_counted` is true.
    pub fn computed_before(&self, plan: &Plan, is_counted: impl Fn(TrialKey) -> bool) -> u64 {
        let Some(Manifest { sweep, set_aside, .. }) = &self.manifest else { return 0 };
        let known: BTreeMap<&str, &str> =
            sweep.conditions.iter().map(|of| (of.fingerprint.as_str(), of.name.as_str())).collect();
        let seeds: BTreeSet<u32> = sweep.seeds.iter().copied().collect();
        let aside: BTreeSet<(u32, u32, &str)> =
            set_aside.iter().map(|aside| (aside.seed, aside.trial, aside.condition.as_str())).collect();
        let mut count = 0;
        for cohort in plan.cohorts.iter().filter(|cohort| seeds.contains(&cohort.seed)) {
            for variant in cohort.variants.iter() {
                let Some(&name) = known.get(variant.fingerprint.to_string().as_str()) else { continue };
                let trials = 0..plan.trials.min(sweep.trials);
                let trials = trials.filter(|trial| !aside.contains(&(cohort.seed, *trial, name)));
                count +=
                    trials.filter(|trial| is_counted(variant.fingerprint.trial(cohort.seed, *trial))).count();
            }
        }
        count as u64
    }
}

/// A change to the file at a planned path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// There is nothing yet at the path.
    Written,
    /// The file replaces granule's own.
    Replaced,
    /// The file would replace a file that no record lists.
    Unlisted,
}

/// The changes that a run makes to the files in an output directory.
#[derive(Debug)]
pub struct FileChanges<'a> {
    planned: &'a PlannedFiles,
    /// Files that are already as planned.
    pub in_place: Vec<KeptFile>,
    /// Indices of the files that are to be written, ascending, each with its change.
    to_write: Vec<(u32, Change)>,
    /// Seeds of the files that are to be written.
    seeds: BTreeSet<u32>,
    size: Size,
    /// Paths of granule's own files that the sweep does not have.
    pub removed: BTreeSet<String>,
    /// Paths of such files that are not as granule wrote them. They stay.
    pub left: BTreeSet<String>,
    /// Obstacles at the paths of outputs, by path, with a description.
    taken: BTreeMap<PathBuf, String>,
    given_back: u64,
}

impl<'a> FileChanges<'a> {
    /// Returns no changes of these files.
    pub fn none(planned: &'a PlannedFiles) -> FileChanges<'a> {
        FileChanges {
            planned,
            in_place: Vec::new(),
            to_write: Vec::new(),
            seeds: BTreeSet::new(),
            size: Size::default(),
            removed: BTreeSet::new(),
            left: BTreeSet::new(),
            taken: BTreeMap::new(),
            given_back: 0,
        }
    }

    fn add(&mut self, change: Change, file: &PlannedFile) {
        self.to_write.push((file.index, change));
        self.seeds.insert(self.planned.seed_of(file));
        self.size = self.size + file.size();
    }

    /// Checks that nothing in the way belongs to others. With `replaces`, files may be in the way.
    pub fn check(&self, out: &Path, replaces: bool) -> Result<(), Refusal> {
        if let Some((path, what)) = self.taken.first_key_value() {
            return Err(Refusal::Taken { path: path.clone(), what: what.clone() });
        }
        match self.paths(Change::Unlisted).next() {
            Some(first) if !replaces => {
                let count = self.count(Change::Unlisted);
                Err(Refusal::Unlisted { out: out.to_owned(), count, first })
            }
            _ => Ok(()),
        }
    }

    /// Bytes of the files that are to be written.
    pub fn size(&self) -> Size {
        self.size
    }

    /// Returns the indices of the files that are to be written, ascending.
    pub fn to_write(&self) -> Vec<u32> {
        self.to_write.iter().map(|(index, _)| *index).collect()
    }

    /// Whether a file is to be written at a path at which there is another.
    pub fn replaces(&self, index: u32) -> bool {
        let at = self.to_write.binary_search_by_key(&index, |(index, _)| *index);
        at.is_ok_and(|at| self.to_write[at].1 != Change::Written)
    }

    /// Returns how many files are to be written with this change.
    pub fn count(&self, change: Change) -> usize {
        self.to_write.iter().filter(|(_, of)| *of == change).count()
    }

    /// Iterates over the paths of the files that are to be written with this change.
    pub fn paths(&self, change: Change) -> impl Iterator<Item = String> {
        let of_change = self.to_write.iter().filter(move |(_, of)| *of == change);
        of_change.map(|(index, _)| self.planned.path_at(*index))
    }

    /// Bytes of the files that are to be replaced or removed.
    pub fn given_back(&self) -> u64 {
        self.given_back
    }

    /// Whether all planned files are in place, and no other files of granule's exist.
    pub fn are_none(&self) -> bool {
        self.to_write.is_empty() && self.removed.is_empty()
    }
}

/// Opens the directories of seeds, one after the other.
pub(super) struct SeedDirectories<'a> {
    out: &'a Directory,
    /// The last one that was opened.
    last: Option<(String, Seed)>,
}

/// The object at the path of a seed's directory.
#[derive(Clone)]
enum Seed {
    Nothing,
    Directory(Directory),
    /// A link to a directory.
    Linked(Directory),
    /// Another kind of object.
    Other(&'static str),
}

/// The object at a path.
pub(super) enum There {
    Nothing,
    File(Stamp),
    /// Another kind of object, and its path. It may also be in the place of the seed's directory.
    Other(PathBuf, &'static str),
}

impl SeedDirectories<'_> {
    pub(super) fn new(out: &Directory) -> SeedDirectories<'_> {
        SeedDirectories { out, last: None }
    }

    /// Returns the directory of the seed that a path begins with, and the name of the file in it.
    fn seed<'p>(&mut self, path: &'p str) -> Result<(Seed, &'p OsStr), OutputError> {
        let (name, file) = path.split_once('/').unwrap_or((path, ""));
        if let Some((last, seed)) = &self.last
            && last == name
        {
            return Ok((seed.clone(), OsStr::new(file)));
        }
        let place = self.out.path().join(name);
        let wrong = failed("read", &place);
        let seed = match self.out.below(OsStr::new(name)) {
            Ok(directory) => Seed::Directory(directory),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Seed::Nothing,
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                let stat = self.out.stat(OsStr::new(name)).map_err(wrong)?;
                match stat.map_or("something else", |stat| kind_of_stat(&stat)) {
                    "a symbolic link" => match self.out.below_linked(OsStr::new(name)) {
                        Ok(directory) => Seed::Linked(directory),
                        Err(_) => Seed::Other("a symbolic link"),
                    },
                    kind => Seed::Other(kind),
                }
            }
            Err(error) => return Err(wrong(error)),
        };
        self.last = Some((name.to_owned(), seed.clone()));
        Ok((seed, OsStr::new(file)))
    }

    pub(super) fn stat(&mut self, path: &str) -> Result<There, OutputError> {
        let (seed, name) = self.seed(path)?;
        let directory = match seed {
            Seed::Nothing => return Ok(There::Nothing),
            Seed::Other(kind) => {
                let seed = path.split_once('/').map_or(path, |(seed, _)| seed);
                return Ok(There::Other(self.out.path().join(seed), kind));
            }
            Seed::Directory(directory) | Seed::Linked(directory) => directory,
        };
        let stat = directory.stat(name).map_err(failed("look at", &self.out.path().join(path)))?;
        Ok(match stat {
            None => There::Nothing,
            Some(stat) => match kind_of_stat(&stat) {
                "a file" => There::File(Stamp::of_stat(&stat)),
                kind => There::Other(self.out.path().join(path), kind),
            },
        })
    }

    /// Returns the link in the place of this path's directory, if there is one.
    fn link(&mut self, path: &str) -> Result<Option<PathBuf>, OutputError> {
        let seed = path.split_once('/').map_or(path, |(seed, _)| seed);
        Ok(matches!(self.seed(path)?.0, Seed::Linked(_)).then(|| self.out.path().join(seed)))
    }

    fn remove(&mut self, path: &str) -> Result<bool, OutputError> {
        let (Seed::Directory(directory), name) = self.seed(path)? else { return Ok(false) };
        directory.remove(name).map_err(failed("remove", &self.out.path().join(path)))
    }
}

/// Opens an output file for reading.
pub(super) fn open_file(out: &Directory, path: &str) -> io::Result<File> {
    let (seed, name) = path.split_once('/').ok_or(io::ErrorKind::NotFound)?;
    let seed = OsStr::new(seed);
    out.below(seed).or_else(|_| out.below_linked(seed))?.open_file(OsStr::new(name))
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

const OTHER_PARAMETERS: &str = "this one has the same name, but no condition with the same parameters";
const OTHER_MODEL: &str = "the model has changed since; `granule explain` says how";

/// Returns why two sweeps are not the same one; `None` if they are.
fn difference(held: &SweepId, sweep: &SweepId) -> Option<&'static str> {
    if held.name != sweep.name {
        return Some("this one has another name");
    }
    let fingerprints: BTreeSet<&String> = held.fingerprints.iter().collect();
    let seeds: BTreeSet<u32> = held.seeds.iter().copied().collect();
    if !sweep.fingerprints.iter().any(|fingerprint| fingerprints.contains(fingerprint)) {
        return Some(OTHER_PARAMETERS);
    }
    let has_seed = sweep.seeds.iter().any(|seed| seeds.contains(seed));
    (!has_seed).then_some("this one has the same name, but no seed in common")
}

/// Returns the paths of the files that a recorded sweep makes; `None` if this program cannot resolve it.
fn paths(engines: Engines, sweep: &ResolvedSweep) -> Option<BTreeSet<String>> {
    let sweep = sweep.restore(engines).ok()?;
    Some(PlannedFiles::new(&sweep).iter().map(|file| file.path).collect())
}

/// Whether a file of this path can be an output.
fn has_form(engines: Engines, path: &str) -> bool {
    let Some((seed, name)) = path.split_once('/') else { return false };
    let Some(number) = seed.strip_prefix("seed-") else { return false };
    if number.parse::<u32>().map(|seed| seed.to_string()).as_deref() != Ok(number) {
        return false;
    }
    engines.iter().any(|engine| engine.can_name(name))
}

/// Classifies a record that cannot be parsed.
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

/// Returns the SHA-256 of an open file, in hexadecimal; `None` if it does not have this many bytes.
pub fn sha256(mut file: &File, bytes: u64) -> io::Result<Option<String>> {
    if file.metadata()?.len() != bytes {
        return Ok(None);
    }
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    let mut read = 0;
    // The limit ends the loop even if the file grows.
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
