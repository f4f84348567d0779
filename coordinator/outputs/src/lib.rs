//! The output files: the original's arrays, derived from the store.
//!
//! [`plan`] lists the files of a sweep and what identifies the content of each. [`survey`] looks at an output
//! directory and decides which files a run may write, replace and remove there. [`write()`] makes the files that
//! are not in place: each is written beside its place, synced, and renamed, so that it is there whole or not at
//! all. The manifest is removed first and written last.
//!
//! [`archive`] is an output directory at rest, with its store; [`selection`] has some of its trials, [`histogram`] counts
//! spikes, and [`drawn`] says what figures and reports were drawn from. This crate must not know the protocol, the scheduler
//! or the command line.

#![allow(missing_docs, reason = "read by this workspace alone")]

pub mod archive;
pub mod complaint;
pub mod drawn;
pub mod histogram;
pub mod manifest;
mod npy;
mod pickle;
pub mod selection;
pub mod space;
pub mod stamps;
pub mod survey;
pub mod table;

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use granule_engine::output::{Array, Derive, File, Size};
use granule_engine::{Fingerprint, TrialKey, TrialSpikes};
use granule_store::{Store, StoreError};
use granule_sweep::{Plan, Sweep};
use granule_system::files::{self, Directory, Whole};
use granule_system::hex;
use granule_system::limits;
use granule_system::threads::side_by_side;
use ndarray::{Array2, ArrayView1, Axis};
use rayon::prelude::*;
use sha2::{Digest as _, Sha256};

use manifest::{FileRecord, Journal};
use nix::sys::stat::Mode;
use npy::{F64MatrixWriter, MatrixShape, NpyError};
pub use pickle::{ReadWeightsError, read_weights};
use stamps::{Seal, sealed};

/// Counts the changes of what output files hold, beyond what the trials' keys say.
const REVISION: u32 = 1;

/// A file of a sweep.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// Below the output directory, with `/`.
    pub path: String,
    /// Hash of everything that decides its bytes.
    pub identity: String,
    /// The identity that version 0.1.0 gave it, where it made other bytes of it.
    identity_before: Option<String>,
    file: File,
    /// Condition and seed, by their index in the sweep.
    condition: usize,
    seed: usize,
}

impl Planned {
    /// Cohort and variant that it is made of.
    pub fn place(&self, plan: &Plan) -> (usize, usize) {
        plan.place(self.condition, self.seed)
    }

    /// Condition and seed that it is of, by their index in the sweep.
    pub fn pair(&self) -> (usize, usize) {
        (self.condition, self.seed)
    }

    /// Its name in the directory of its seed.
    pub fn name(&self) -> &str {
        self.path.rsplit_once('/').map_or(&self.path, |(_, name)| name)
    }

    /// Whether what is recorded is the file as version 0.1.0 made it, and other bytes would be made of it now.
    pub fn is_outdated(&self, record: &FileRecord) -> bool {
        self.identity_before.as_ref() == Some(&record.identity)
    }

    /// Whether spikes are all that it is made of.
    pub fn is_of_spikes(&self) -> bool {
        self.file.is_of_spikes
    }

    /// What it holds.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The bytes that it will have.
    pub fn size(&self) -> Size {
        /// Bytes of an array's header.
        const HEADER: f64 = 128.0;
        Size::exactly(HEADER) + self.file.size
    }
}

/// Why outputs were not written.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// A file could not be written.
    #[error("cannot {doing} {}", path.display())]
    Io { path: PathBuf, doing: &'static str, source: io::Error },
    /// A file could not be encoded.
    #[error("cannot write {}", path.display())]
    Encode { path: PathBuf, source: EncodeError },
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A trial is not in the store, or is not what its key says.
    #[error("the store does not have trial {key} as it should")]
    Missing { key: TrialKey },
    /// Something of another came in the way of the outputs.
    #[error(transparent)]
    Refused(#[from] survey::Refusal),
    /// Another program has changed a file that was just put in place.
    #[error("{} was changed or removed while the run was writing", path.display())]
    Disturbed { path: PathBuf },
    /// The user asked to stop.
    #[error("interrupted")]
    Interrupted,
}

/// Why an array could not be encoded.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    #[error(transparent)]
    Npy(#[from] NpyError),
    #[error(transparent)]
    Pickle(#[from] pickle::WeightsError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The files of a sweep, seed by seed, condition by condition.
pub fn plan(sweep: &Sweep, plan: &Plan) -> Vec<Planned> {
    let files_of: Vec<Vec<File>> = sweep
        .conditions
        .iter()
        .map(|of| {
            let mut files = sweep.engine.files(&of.model, &of.prefix, of.preset, sweep.trials);
            files.retain(|file| of.record.has(file.kind));
            files
        })
        .collect();
    let mut files = Vec::new();
    for (seed_at, &seed) in sweep.seeds.iter().enumerate() {
        for (at, (condition, files_of)) in sweep.conditions.iter().zip(&files_of).enumerate() {
            let facts = condition.model.facts();
            for file in files_of {
                let identity = |fingerprint: Fingerprint, rule: &str| {
                    let recipe =
                        format!("{REVISION} {} {fingerprint} {seed} {}{rule}", file.array, sweep.trials);
                    blake3::hash(recipe.as_bytes()).to_hex().to_string()
                };
                let before = facts.fingerprint_0_1_0;
                let is_changed = !file.rule.is_empty() || facts.fingerprint != before;
                files.push(Planned {
                    path: format!("{}/{}", directory_of_seed(seed), file.name),
                    identity: identity(facts.fingerprint, file.rule),
                    identity_before: is_changed.then(|| identity(before, "")),
                    file: file.clone(),
                    condition: at,
                    seed: seed_at,
                });
            }
        }
    }
    debug_assert!(files.iter().all(|file| file.place(plan).0 < plan.cohorts.len()));
    files
}

/// What is needed to write outputs.
pub struct Source<'a> {
    pub sweep: &'a Sweep,
    pub plan: &'a Plan,
    pub store: &'a Store,
    /// Asked between pieces of work.
    pub is_interrupted: &'a (dyn Fn() -> bool + Sync),
    /// Told when a file has been written.
    pub on_file: &'a (dyn Fn() + Sync),
}

/// Files that wait to be made durable together, which costs less than one after the other, and their bytes.
const MOST_WAITING: usize = 32;
const MOST_WAITING_BYTES: u64 = 8 << 20;

/// A file that is in place: what the manifest says of it, and its seal if its content was looked at.
pub type Kept = (FileRecord, Option<Seal>);

/// Writes these files below `out`. They must come in the order of [`plan`]. A file is recorded in the journal before it
/// is there; it takes the place of another file only if `replaces` says so. On return all of it is durable.
pub fn write(
    out: &Directory,
    files: &[&Planned],
    source: &Source<'_>,
    journal: &mut Journal,
    replaces: &(dyn Fn(&Planned) -> bool + Sync),
) -> Result<Vec<Kept>, OutputError> {
    side_by_side(|| write_seeds(out, files, source, journal, replaces))
}

fn write_seeds(
    out: &Directory,
    files: &[&Planned],
    source: &Source<'_>,
    journal: &mut Journal,
    replaces: &(dyn Fn(&Planned) -> bool + Sync),
) -> Result<Vec<Kept>, OutputError> {
    let mut written = Vec::new();
    for files in files.chunk_by(|a, b| a.seed == b.seed) {
        let name = directory_of_seed(source.sweep.seeds[files[0].seed]);
        let path = out.path().join(&name);
        let directory = out.create_below(OsStr::new(&name)).map_err(failed("create", &path))?;
        directory.remove_leftovers().map_err(failed("clean up", &path))?;
        write_seed(&directory, files, source, journal, replaces, &mut written)?;
        directory.sync().map_err(failed("write", &path))?;
    }
    if !files.is_empty() {
        out.sync().map_err(failed("write", out.path()))?;
    }
    Ok(written)
}

/// Writes files of one seed into its directory, and makes them durable but for their names.
fn write_seed(
    directory: &Directory,
    files: &[&Planned],
    source: &Source<'_>,
    journal: &mut Journal,
    replaces: &(dyn Fn(&Planned) -> bool + Sync),
    written: &mut Vec<Kept>,
) -> Result<(), OutputError> {
    // Each of them is an open file; some are needed for what else is written.
    let most = MOST_WAITING.min(limits::files_left() / 2).max(1);
    let mut waiting: Vec<(&Planned, HashedFile)> = Vec::new();
    for files in files.chunk_by(|a, b| a.condition == b.condition) {
        let derived = Derived::load(files[0], source)?;
        for files in files.chunks(most) {
            if waiting.len() + files.len() > most {
                put_in_place(&mut waiting, source, journal, replaces, written)?;
            }
            // Made side by side, as hashing a file is as much work as deriving it.
            let is_interrupted = source.is_interrupted;
            let made =
                files.par_iter().map(|file| Ok((*file, derived.make(directory, file, is_interrupted)?)));
            waiting.extend(made.collect::<Result<Vec<_>, OutputError>>()?);
            if waiting.iter().map(|(_, file)| file.bytes).sum::<u64>() >= MOST_WAITING_BYTES {
                put_in_place(&mut waiting, source, journal, replaces, written)?;
            }
        }
    }
    put_in_place(&mut waiting, source, journal, replaces, written)
}

/// Makes files durable that are written, and then puts them in place one after the other.
fn put_in_place(
    waiting: &mut Vec<(&Planned, HashedFile)>,
    source: &Source<'_>,
    journal: &mut Journal,
    replaces: &(dyn Fn(&Planned) -> bool + Sync),
    written: &mut Vec<Kept>,
) -> Result<(), OutputError> {
    if waiting.is_empty() {
        return Ok(());
    }
    waiting.par_iter_mut().try_for_each(|(_, file)| file.sync())?;
    let record = |file: &Planned, writer: &HashedFile| {
        let (bytes, sha256) = writer.written();
        FileRecord { path: file.path.clone(), bytes, sha256, identity: file.identity.clone() }
    };
    let records: Vec<FileRecord> = waiting.iter().map(|(file, writer)| record(file, writer)).collect();
    // First it is on record that these files are granule's.
    journal.add(&records)?;
    for ((file, writer), record) in waiting.drain(..).zip(records) {
        let seal = writer.put_in_place(replaces(file))?;
        written.push((record, Some(seal)));
        (source.on_file)();
    }
    Ok(())
}

/// Whether granule writes something else than a store to this name in an output directory.
pub fn is_reserved(name: &str) -> bool {
    const NAMES: [&str; 10] = [
        manifest::NAME,
        manifest::UNDER_WAY,
        manifest::PENDING,
        stamps::NAME,
        "access.json",
        ".run.json",
        "coordinator.pem",
        "figures",
        "report.html",
        "slurm",
    ];
    NAMES.contains(&name) || name.starts_with("seed-")
}

/// Expects that files are still as they were written or hashed. A file with another stamp is hashed: giving up a hard link
/// changes it, too.
///
/// # Errors
/// [`OutputError::Disturbed`] when another program has changed or removed one.
pub fn check_in_place(out: &Directory, kept: &mut [Kept]) -> Result<(), OutputError> {
    let mut seeds = survey::Seeds::new(out);
    for (record, seal) in kept {
        let disturbed = || OutputError::Disturbed { path: out.path().join(&record.path) };
        let survey::There::File(there) = seeds.stat(&record.path)? else { return Err(disturbed()) };
        if seal.is_some_and(|seal| seal.stamp == there) {
            continue;
        }
        let hashed = survey::open_file(out, &record.path)
            .and_then(|file| sealed(&file, |file| survey::sha256(file, record.bytes)));
        match hashed {
            Ok((Some(sha256), found @ Some(_))) if sha256 == record.sha256 => *seal = found,
            _ => return Err(disturbed()),
        }
    }
    Ok(())
}

/// Name of the directory with the files of a seed.
pub fn directory_of_seed(seed: u32) -> String {
    format!("seed-{seed}")
}

/// Length and SHA-256 of what these files would be if they were written now. They must come in the
/// order of [`plan`].
pub fn rederive(files: &[&Planned], source: &Source<'_>) -> Result<Vec<(u64, String)>, OutputError> {
    side_by_side(|| rederive_all(files, source))
}

fn rederive_all(files: &[&Planned], source: &Source<'_>) -> Result<Vec<(u64, String)>, OutputError> {
    let mut found = Vec::with_capacity(files.len());
    for files in files.chunk_by(|a, b| a.pair() == b.pair()) {
        let derived = Derived::load(files[0], source)?;
        for file in files {
            let mut hashed = Hashed::default();
            match derived.encode(&mut hashed, file.file.array, source.is_interrupted) {
                Ok(true) => found.push((hashed.bytes, hex(&hashed.hash.finalize()))),
                Ok(false) => return Err(OutputError::Interrupted),
                Err(source) => return Err(OutputError::Encode { path: file.path.clone().into(), source }),
            }
            (source.on_file)();
        }
    }
    Ok(found)
}

/// A file of which nothing is kept but its hash.
#[derive(Default)]
struct Hashed {
    hash: Sha256,
    bytes: u64,
}

impl Write for Hashed {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.hash.update(buffer);
        self.bytes += buffer.len() as u64;
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The arrays of a condition and a seed.
struct Derived(Box<dyn Derive>);

impl Derived {
    fn load(file: &Planned, source: &Source<'_>) -> Result<Derived, OutputError> {
        let Source { sweep, plan, store, .. } = source;
        let model = &sweep.conditions[file.condition].model;
        let (cohort, variant) = file.place(plan);
        let mut arrays = sweep.engine.derive(model, sweep.seeds[file.seed], sweep.trials);
        for trial in 0..sweep.trials {
            if (source.is_interrupted)() {
                return Err(OutputError::Interrupted);
            }
            let key = plan.key(cohort, variant, trial);
            let bytes = store.get(key)?.ok_or(OutputError::Missing { key })?;
            let spikes = TrialSpikes::decode(&bytes, model.sizes(), model.time().steps)
                .map_err(|_| OutputError::Missing { key })?;
            arrays.add(spikes);
        }
        Ok(Derived(arrays))
    }

    /// Makes a file, durably if it is large, but does not put it in its place.
    fn make(
        &self,
        directory: &Directory,
        file: &Planned,
        is_interrupted: &(dyn Fn() -> bool + Sync),
    ) -> Result<HashedFile, OutputError> {
        let mut writer = HashedFile::create_in(directory, file.name())?;
        let path = writer.path();
        match self.encode(&mut writer, file.file.array, is_interrupted) {
            Ok(true) => {
                // What is more than a buffer, while others are made; small ones wait for each other.
                if writer.bytes > files::BUFFER as u64 {
                    writer.sync()?;
                }
                Ok(writer)
            }
            Ok(false) => Err(OutputError::Interrupted),
            Err(source) => Err(OutputError::Encode { path, source }),
        }
    }

    /// False when interrupted.
    fn encode<W: Write>(
        &self,
        writer: &mut W,
        array: &str,
        is_interrupted: &(dyn Fn() -> bool + Sync),
    ) -> Result<bool, EncodeError> {
        match self.0.array(array) {
            Array::Rows { cells, columns, row } => {
                return write_rows(writer, &cells, columns, row, is_interrupted);
            }
            Array::Pairs(pairs) => npy::write_i32_pairs_fortran(writer, &pairs)?,
            Array::Vector(values) => npy::write_f64_vector(writer, &values)?,
            Array::Dictionary(entries) => {
                let entries: Vec<(i64, &[f64])> =
                    entries.iter().map(|(number, values)| (*number, &values[..])).collect();
                npy::write_object_header(&mut *writer)?;
                pickle::write_weights(writer, &entries)?;
            }
        }
        Ok(!is_interrupted())
    }
}

/// Writes a matrix with a row for each of these cells, computed side by side; false when interrupted.
pub fn write_rows<W: Write>(
    writer: &mut W,
    cells: &[u32],
    bins: usize,
    row: impl Fn(u32) -> Vec<f64> + Sync,
    is_interrupted: &(dyn Fn() -> bool + Sync),
) -> Result<bool, EncodeError> {
    let mut matrix = F64MatrixWriter::new(writer, MatrixShape { rows: cells.len(), cols: bins })?;
    // A few hundred cells at a time bound the memory, whatever the network's size.
    const AT_ONCE: usize = 256;
    for cells in cells.chunks(AT_ONCE) {
        if is_interrupted() {
            return Ok(false);
        }
        matrix.write_rows(rows(cells, bins, &row).view())?;
    }
    matrix.finish()?;
    Ok(true)
}

/// A matrix with a row for each of these cells, computed in parallel.
pub fn rows(cells: &[u32], bins: usize, row: impl Fn(u32) -> Vec<f64> + Sync) -> Array2<f64> {
    side_by_side(|| {
        let mut rows = Array2::zeros((cells.len(), bins));
        rows.axis_iter_mut(Axis(0))
            .into_par_iter()
            .zip(cells)
            .for_each(|(mut out, &cell)| out.assign(&ArrayView1::from(&row(cell))));
        rows
    })
}

/// A file that is hashed while it is written, and appears under its name when it is whole.
#[derive(Debug)]
pub struct HashedFile {
    file: Whole,
    hash: Sha256,
    bytes: u64,
}

impl HashedFile {
    /// Begins to write the file at this path.
    pub fn create(path: &Path) -> Result<HashedFile, OutputError> {
        let (directory, name) = Directory::of(path).map_err(failed("create", path))?;
        let file = directory.write(&name, Mode::from_bits_truncate(0o666)).map_err(failed("create", path))?;
        Ok(HashedFile::of(file))
    }

    /// Begins to write a file of this name.
    pub fn create_in(directory: &Directory, name: &str) -> Result<HashedFile, OutputError> {
        let file = directory.write(OsStr::new(name), Mode::from_bits_truncate(0o666));
        Ok(HashedFile::of(file.map_err(failed("create", &directory.path().join(name)))?))
    }

    fn of(file: Whole) -> HashedFile {
        HashedFile { file, hash: Sha256::new(), bytes: 0 }
    }

    fn path(&self) -> PathBuf {
        self.file.place()
    }

    /// Makes durable what has been written, unless it is.
    fn sync(&mut self) -> Result<(), OutputError> {
        self.file.sync().map_err(failed("write", &self.path()))
    }

    /// What was written so far, in bytes and hashed.
    fn written(&self) -> (u64, String) {
        (self.bytes, hex(&self.hash.clone().finalize()))
    }

    /// Puts the file in its place, durably but for the directory; takes the place of another file only if `replaces`.
    fn put_in_place(self, replaces: bool) -> Result<Seal, OutputError> {
        let path = self.path();
        let put = if replaces { self.file.commit() } else { self.file.commit_new() };
        let stamp = put.and_then(|file| Ok(Seal::of_written(&file.metadata()?)));
        stamp.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => {
                let what = "exists since this run began, and granule did not write it".to_owned();
                survey::Refusal::Taken { path, what }.into()
            }
            _ => failed("put in place", &path)(error),
        })
    }

    /// Puts the file in its place, durably but for the directory; gives its length and SHA-256.
    pub fn commit(mut self) -> Result<(u64, String), OutputError> {
        self.sync()?;
        let written = self.written();
        self.put_in_place(true)?;
        Ok(written)
    }
}

impl Write for HashedFile {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.file.write(buffer)?;
        self.hash.update(&buffer[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// For `map_err`: what failed, and where.
pub fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OutputError {
    let path = path.to_owned();
    move |source| OutputError::Io { path, doing, source }
}
