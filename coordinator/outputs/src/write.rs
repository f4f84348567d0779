//! Makes output files from the trials in the store, and puts them in place.

use std::ffi::OsStr;
use std::io::{self, Write};

use granule_engine::TrialSpikes;
use granule_engine::output::{Array, Derive};
use granule_store::Store;
use granule_sweep::{Plan, Sweep};
use granule_system::files::{self, Directory};
use granule_system::hex;
use granule_system::limits;
use granule_system::stamp::sealed;
use granule_system::threads::side_by_side;
use rayon::prelude::*;
use sha2::{Digest as _, Sha256};

use crate::errors::{EncodeError, OutputError, failed};
use crate::file_record::{FileRecord, KeptFile};
use crate::hashed::HashedFile;
use crate::manifest::Journal;
use crate::planned::{PlannedFile, PlannedFiles, directory_of_seed};
use crate::rows::write_rows;
use crate::survey::FileChanges;
use crate::{npy, pickle, survey};

/// The inputs of output files.
pub struct OutputSource<'a> {
    pub sweep: &'a Sweep,
    pub plan: &'a Plan,
    pub store: &'a Store,
    /// Called between pieces of work. The work stops if it returns `true`.
    pub is_interrupted: &'a (dyn Fn() -> bool + Sync),
    /// Called after each written file.
    pub on_file: &'a (dyn Fn() + Sync),
}

/// Limits on the number of files that wait to be made durable together, and on their bytes. Syncing them together costs
/// less than one after the other.
const MOST_WAITING: usize = 32;
const MOST_WAITING_BYTES: u64 = 8 << 20;

/// Writes the files below `out` that are to be written. Each file is recorded in the journal before it is put in place. On
/// return all of this is durable.
pub fn write(
    out: &Directory,
    planned: &PlannedFiles,
    changes: &FileChanges<'_>,
    source: &OutputSource<'_>,
    journal: &mut Journal,
) -> Result<Vec<KeptFile>, OutputError> {
    side_by_side(|| write_seeds(out, planned, changes, source, journal))
}

fn write_seeds(
    out: &Directory,
    planned: &PlannedFiles,
    changes: &FileChanges<'_>,
    source: &OutputSource<'_>,
    journal: &mut Journal,
) -> Result<Vec<KeptFile>, OutputError> {
    let files = changes.to_write();
    let replaces = |file: &PlannedFile| changes.replaces(file.index);
    let mut written = Vec::new();
    for files in files.chunk_by(|a, b| planned.seed_at(*a) == planned.seed_at(*b)) {
        let name = directory_of_seed(source.sweep.seeds[planned.seed_at(files[0])]);
        let path = out.path().join(&name);
        let directory = out.create_below(OsStr::new(&name)).map_err(failed("create", &path))?;
        directory.remove_leftovers().map_err(failed("remove unfinished files in", &path))?;
        write_seed(&directory, planned.pairs(files), source, journal, &replaces, &mut written)?;
        directory.sync().map_err(failed("write", &path))?;
    }
    if !files.is_empty() {
        out.sync().map_err(failed("write", out.path()))?;
    }
    Ok(written)
}

/// Writes files of one seed into its directory, and makes them durable except for their names.
fn write_seed(
    directory: &Directory,
    pairs: impl Iterator<Item = Vec<PlannedFile>>,
    source: &OutputSource<'_>,
    journal: &mut Journal,
    replaces: &(dyn Fn(&PlannedFile) -> bool + Sync),
    written: &mut Vec<KeptFile>,
) -> Result<(), OutputError> {
    // Each waiting file is an open file. Other files must be opened meanwhile, so half of the limit remains.
    let most = MOST_WAITING.min(limits::files_left() / 2).max(1);
    let mut waiting: Vec<(PlannedFile, HashedFile)> = Vec::new();
    for files in pairs {
        let derived = Derived::load(&files, source)?;
        for files in files.chunks(most) {
            if waiting.len() + files.len() > most {
                put_in_place(&mut waiting, source, journal, replaces, written)?;
            }
            // Made in parallel, because hashing a file is as much work as deriving it.
            let is_interrupted = source.is_interrupted;
            let made = files
                .par_iter()
                .map(|file| Ok((file.clone(), derived.make(directory, file, is_interrupted)?)));
            waiting.extend(made.collect::<Result<Vec<_>, OutputError>>()?);
            if waiting.iter().map(|(_, file)| file.bytes).sum::<u64>() >= MOST_WAITING_BYTES {
                put_in_place(&mut waiting, source, journal, replaces, written)?;
            }
        }
    }
    put_in_place(&mut waiting, source, journal, replaces, written)
}

/// Makes the waiting files durable, then puts them in place one after the other.
fn put_in_place(
    waiting: &mut Vec<(PlannedFile, HashedFile)>,
    source: &OutputSource<'_>,
    journal: &mut Journal,
    replaces: &(dyn Fn(&PlannedFile) -> bool + Sync),
    written: &mut Vec<KeptFile>,
) -> Result<(), OutputError> {
    if waiting.is_empty() {
        return Ok(());
    }
    waiting.par_iter_mut().try_for_each(|(_, file)| file.sync())?;
    let record = |file: &PlannedFile, writer: &HashedFile| {
        let (bytes, sha256) = writer.written();
        FileRecord { path: file.path.clone(), bytes, sha256, identity: file.identity.clone() }
    };
    let records: Vec<FileRecord> = waiting.iter().map(|(file, writer)| record(file, writer)).collect();
    // The journal must list the files as granule's before they are in place.
    journal.add(&records)?;
    for ((file, writer), record) in waiting.drain(..).zip(records) {
        let seal = writer.put_in_place(replaces(&file))?;
        written.push((record, Some(seal)));
        (source.on_file)();
    }
    Ok(())
}

/// Checks that files are still as they were written or hashed. A file with another stamp is hashed, because removing a
/// hard link also changes the stamp.
///
/// # Errors
/// [`OutputError::Disturbed`] if another program has changed or removed a file.
pub fn check_in_place(out: &Directory, kept: &mut [KeptFile]) -> Result<(), OutputError> {
    let mut seeds = survey::SeedDirectories::new(out);
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

/// Derives the files of these indices again, without writing them. Returns their lengths and SHA-256.
pub fn rederive(
    planned: &PlannedFiles,
    indices: &[u32],
    source: &OutputSource<'_>,
) -> Result<Vec<(u64, String)>, OutputError> {
    side_by_side(|| rederive_all(planned, indices, source))
}

fn rederive_all(
    planned: &PlannedFiles,
    indices: &[u32],
    source: &OutputSource<'_>,
) -> Result<Vec<(u64, String)>, OutputError> {
    let mut found = Vec::with_capacity(indices.len());
    for files in planned.pairs(indices) {
        let derived = Derived::load(&files, source)?;
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

/// A file of which only the hash and the length are kept.
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
    /// Reads what these files of one condition and seed are derived from.
    fn load(files: &[PlannedFile], source: &OutputSource<'_>) -> Result<Derived, OutputError> {
        let OutputSource { sweep, plan, store, .. } = source;
        let file = &files[0];
        let wanted: Vec<&str> = files.iter().map(|file| file.file.array).collect();
        let model = &sweep.conditions[file.condition].model;
        let (cohort, variant) = file.place(plan);
        let mut arrays = sweep.engine.derive(model, sweep.seeds[file.seed], sweep.trials, &wanted);
        for trial in 0..sweep.trials {
            if (source.is_interrupted)() {
                return Err(OutputError::Interrupted);
            }
            let key = plan.key(cohort, variant, trial);
            let bytes = store.get(key)?.ok_or(OutputError::Missing { key })?;
            let spikes =
                TrialSpikes::decode(&bytes, &model.shape()).map_err(|_| OutputError::Missing { key })?;
            arrays.add(spikes);
        }
        Ok(Derived(arrays))
    }

    /// Writes a file, durably if it is large, but does not put it in its place.
    fn make(
        &self,
        directory: &Directory,
        file: &PlannedFile,
        is_interrupted: &(dyn Fn() -> bool + Sync),
    ) -> Result<HashedFile, OutputError> {
        let mut writer = HashedFile::create_in(directory, file.name())?;
        let path = writer.path();
        match self.encode(&mut writer, file.file.array, is_interrupted) {
            Ok(true) => {
                // A file larger than a buffer is synced while others are made. Small files wait for each other.
                if writer.bytes > files::BUFFER as u64 {
                    writer.sync()?;
                }
                Ok(writer)
            }
            Ok(false) => Err(OutputError::Interrupted),
            Err(source) => Err(OutputError::Encode { path, source }),
        }
    }

    /// Encodes an array. Returns `false` if interrupted.
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
            Array::Shaped { shape, elements } => npy::write_f64_array(writer, &shape, &elements)?,
            Array::Dictionary(keys, entries) => {
                let entries: Vec<(i64, &[f64])> =
                    entries.iter().map(|(number, values)| (*number, &values[..])).collect();
                npy::write_object_header(&mut *writer)?;
                pickle::write_weights(writer, keys, &entries)?;
            }
        }
        Ok(!is_interrupted())
    }
}

#[cfg(test)]
mod tests {
    use granule_engine::Model;
    use granule_granular::Method;

    use super::*;

    /// The header of a file is as the engine describes it. If the engine states an exact size, it is the file's size.
    #[test]
    fn files_are_as_their_engine_describes_them() {
        let engine = Method::Pcg.engine();
        let space = engine.space();
        let values = space.defaults().with(space.preset("ACh").expect("a preset"));
        let model = Model::new(engine, values).expect("a preset is consistent");
        let mut arrays = engine.derive(&model, 451, 1, &[]);
        arrays.add(TrialSpikes::of(vec![Vec::new(); 2]));
        let derived = Derived(arrays);
        let files = engine.files(&model, "ach", Some("ACh"), 1);
        assert_eq!(files.len(), 6);
        for file in files {
            let mut bytes = Vec::new();
            assert!(derived.encode(&mut bytes, file.array, &|| false).expect("memory takes anything"));
            let header = String::from_utf8_lossy(&bytes[..128]);
            assert!(header.contains(&format!("'descr': '{}'", file.dtype)), "{}: {header}", file.name);
            if file.size.least == file.size.expected {
                assert_eq!(bytes.len() as f64, 128.0 + file.size.expected, "{}", file.name);
            }
            assert!(bytes.len() as f64 >= file.size.least, "{}", file.name);
        }
    }
}
