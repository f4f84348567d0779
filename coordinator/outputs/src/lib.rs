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

use granule_sim::derive::{Conductances, SpikeCounts, Structure};
use granule_sim::isa::Isa;
use granule_sim::parameters::CellFactor;
use granule_sim::spikes::{Spike, TrialSpikes};
use granule_store::{Store, StoreError};
use granule_sweep::key::{Fingerprint, TrialKey, has_other_bins};
use granule_sweep::{Condition, Plan, Record, Sweep};
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Below the output directory, with `/`.
    pub path: String,
    /// Hash of everything that decides its bytes.
    pub identity: String,
    /// The identity that version 0.1.0 gave it, where it made other bytes of it.
    identity_before: Option<String>,
    content: Content,
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
        self.content == Content::SpikeProbability
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    SpikeProbability,
    Connections,
    Weights,
    Excitation,
    Inhibition,
    TonicFactors,
}

impl Content {
    fn is_wanted(self, record: Record) -> bool {
        match self {
            Content::SpikeProbability => record.probabilities,
            Content::Connections => record.connections,
            Content::Weights => record.weights,
            Content::Excitation | Content::Inhibition => record.conductances,
            Content::TonicFactors => record.tonic_factors,
        }
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
    let before = |condition: &Condition| {
        (has_other_bins(&condition.model), Fingerprint::in_version_0_1_0(&condition.model))
    };
    let before: Vec<(bool, Fingerprint)> = sweep.conditions.iter().map(before).collect();
    let mut files = Vec::new();
    for (seed_at, &seed) in sweep.seeds.iter().enumerate() {
        for (at, condition) in sweep.conditions.iter().enumerate() {
            let (cohort, variant) = plan.place(at, seed_at);
            let fingerprint = plan.cohorts[cohort].variants[variant].fingerprint;
            let parameters = condition.model.parameters();
            let prefix = &condition.prefix;
            let mut file = |name: String, content: Content| {
                if !content.is_wanted(condition.record) {
                    return;
                }
                let (has_other_bins, fingerprint_before) = before[at];
                let has_other_bins = has_other_bins && content == Content::SpikeProbability;
                let identity = |fingerprint: Fingerprint, has_other_bins: bool| {
                    let rule = if has_other_bins { " bins of whole steps" } else { "" };
                    let recipe =
                        format!("{REVISION} {content:?} {fingerprint} {seed} {}{rule}", sweep.trials);
                    blake3::hash(recipe.as_bytes()).to_hex().to_string()
                };
                let is_changed = has_other_bins || fingerprint != fingerprint_before;
                files.push(Planned {
                    path: format!("{}/{name}", directory_of_seed(seed)),
                    identity: identity(fingerprint, has_other_bins),
                    identity_before: is_changed.then(|| identity(fingerprint_before, false)),
                    content,
                    condition: at,
                    seed: seed_at,
                });
            };
            if !parameters.weights.random {
                file(format!("{prefix}SpikeProb.npy"), Content::SpikeProbability);
                continue;
            }
            file(format!("randomized_{prefix}SpikeProb.npy"), Content::SpikeProbability);
            file(format!("{prefix}Connections.npy"), Content::Connections);
            file(format!("{prefix}Weights.npy"), Content::Weights);
            file(format!("{prefix}CondE.npy"), Content::Excitation);
            file(format!("{prefix}CondI.npy"), Content::Inhibition);
            if condition.preset == Some("ACh") {
                file("tonicReduction.npy".to_owned(), Content::TonicFactors);
            } else if matches!(parameters.tonic.factor, CellFactor::Gamma { .. }) {
                file(format!("{prefix}TonicReduction.npy"), Content::TonicFactors);
            }
        }
    }
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
            match derived.encode(&mut hashed, file.content, source.is_interrupted) {
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

/// The spikes of a condition and seed, and its structure.
struct Derived {
    structure: Structure,
    counts: SpikeCounts,
    golgi: Vec<Vec<Spike>>,
}

impl Derived {
    fn load(file: &Planned, source: &Source<'_>) -> Result<Derived, OutputError> {
        let Source { sweep, plan, store, .. } = source;
        let model = &sweep.conditions[file.condition].model;
        let (cohort, variant) = file.place(plan);
        let mut counts = SpikeCounts::new(model);
        let mut golgi = Vec::with_capacity(sweep.trials as usize);
        for trial in 0..sweep.trials {
            if (source.is_interrupted)() {
                return Err(OutputError::Interrupted);
            }
            let key = plan.key(cohort, variant, trial);
            let bytes = store.get(key)?.ok_or(OutputError::Missing { key })?;
            let spikes = TrialSpikes::decode(&bytes, model.parameters().network, model.steps())
                .map_err(|_| OutputError::Missing { key })?;
            counts.add(&spikes.granule);
            golgi.push(spikes.golgi);
        }
        Ok(Derived { structure: Structure::new(model, sweep.seeds[file.seed]), counts, golgi })
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
        match self.encode(&mut writer, file.content, is_interrupted) {
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
        content: Content,
        is_interrupted: &(dyn Fn() -> bool + Sync),
    ) -> Result<bool, EncodeError> {
        let structure = &self.structure;
        let model = structure.model();
        let trials = self.golgi.len() as u32;
        match content {
            Content::SpikeProbability => {
                let cells: Vec<u32> = (0..model.parameters().network.granule_cells).collect();
                return write_rows(
                    writer,
                    &cells,
                    model.bins(),
                    |cell| self.counts.probability(cell),
                    is_interrupted,
                );
            }
            Content::Connections => npy::write_i32_pairs_fortran(writer, &structure.active_connections())?,
            Content::Weights => {
                let weights = structure.weights(trials).unwrap_or_default();
                let fibers: Vec<(i64, &[f64])> = structure
                    .active_fibers()
                    .iter()
                    .zip(&weights)
                    .map(|(&fiber, weights)| (i64::from(fiber), &weights[..]))
                    .collect();
                npy::write_object_header(&mut *writer)?;
                pickle::write_weights(writer, &fibers)?;
            }
            Content::Excitation | Content::Inhibition => {
                let conductances = Conductances::new(Isa::best(), structure, &self.golgi)
                    .expect("these files are planned for random weights only");
                let row = |cell| match content {
                    Content::Excitation => conductances.excitation(cell),
                    _ => conductances.inhibition(cell),
                };
                return write_rows(writer, structure.driven_cells(), model.bins(), row, is_interrupted);
            }
            Content::TonicFactors => npy::write_f64_vector(writer, &structure.tonic_factors())?,
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
