//! `manifest.json`: what was run, with what, where and when, and the hash of every file.
//!
//! Its presence says that all files it lists were written whole. A run removes it before it touches any of them, and
//! writes it when all are in place. Meanwhile `sweep.json` says which sweep the run computes, and
//! `outputs.pending.json` of which sweeps there may be files.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

use granule_sweep::Sweep;
use granule_system::files::Directory;
use nix::sys::stat::Mode;
use serde::{Deserialize, Serialize};

use crate::errors::{OutputError, failed};
pub use crate::file_record::FileRecord;
use crate::hashed::HashedFile;
pub use crate::resolved::{Foreign, ResolvedCondition, ResolvedSweep};
use crate::stamps::{self, Seen, Stamp, Stamps, SweepId};

/// Its name in the output directory.
pub const NAME: &str = "manifest.json";
/// Name of [`Pending`].
pub const PENDING: &str = "outputs.pending.json";
/// Name of [`UnderWay`].
pub const UNDER_WAY: &str = "sweep.json";
/// Version of the formats of the manifest and of [`UnderWay`].
pub const FORMAT: u32 = 1;

/// The manifest of a finished sweep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this format.
    pub manifest: u32,
    /// Version of granule.
    pub granule: String,
    pub sweep: ResolvedSweep,
    pub run: Run,
    /// Trials that could not be computed. The files of their conditions and seeds are not there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set_aside: Vec<SetAside>,
    /// Every output file, by path.
    pub files: Vec<FileRecord>,
}

/// The run that completed the sweep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    pub host: String,
    pub operating_system: String,
    pub architecture: String,
    pub workers: u32,
    /// Where its trials are stored.
    #[serde(flatten)]
    pub store: StoreName,
    /// When it began, RFC 3339 in UTC.
    pub started: String,
    pub wall_seconds: f64,
    /// Of all its processes on this machine.
    pub cpu_seconds: f64,
    /// Trials, each of one condition and seed.
    pub trials_computed: u64,
    pub trials_reused: u64,
    /// Output files that were already as they should be.
    pub files_reused: u64,
    /// Trials that were computed once more by another worker, with the same result.
    #[serde(default)]
    pub trials_audited: u64,
    /// Workers that nothing was taken from any more, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workers_shut_out: Vec<String>,
    /// Results that differed from those stored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disagreements: Vec<String>,
}

/// Where a run stores its trials unless it is told otherwise.
pub const STORE: &str = "store.granule";

fn default_store() -> String {
    STORE.to_owned()
}

/// Where the trials of an output directory are stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreName {
    /// A path from the output directory if the store lies below it, else from the root.
    #[serde(default = "default_store")]
    pub store: String,
    /// A path from the output directory to a store that does not lie below it: where the store is when both were
    /// moved or copied together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_beside: Option<String>,
}

impl Default for StoreName {
    fn default() -> StoreName {
        StoreName { store: default_store(), store_beside: None }
    }
}

/// A sweep that is being computed, or was until something ended the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnderWay {
    /// Version of this format.
    pub format: u32,
    pub sweep: ResolvedSweep,
    #[serde(flatten)]
    pub store: StoreName,
    /// When the last run of it began, RFC 3339 in UTC.
    pub started: String,
}

/// Removes what a run leaves until its manifest is there.
pub fn forget_under_way(out: &Directory) -> Result<(), OutputError> {
    remove(out, PENDING)?;
    remove(out, UNDER_WAY).map(drop)
}

impl UnderWay {
    pub fn new(sweep: &Sweep, store: StoreName, started: String) -> UnderWay {
        UnderWay { format: FORMAT, sweep: ResolvedSweep::of(sweep), store, started }
    }

    /// Writes it into the output directory; the manifest takes its place.
    pub fn write(&self, out: &Directory) -> Result<(), OutputError> {
        write_json(out, UNDER_WAY, self)?;
        out.sync().map_err(failed("write", out.path()))
    }
}

/// What is on record while there is no manifest: `outputs.pending.json`. A line has the sweeps of which there may be
/// files; each further line has a file that there may be. A file is on record before it is put in its place, with its
/// hash, so that a file that is not as recorded is known not to be granule's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pending {
    pub sweeps: Vec<ResolvedSweep>,
    pub records: Vec<FileRecord>,
    /// Version 0.1.0 listed paths, and nothing else.
    pub listed: BTreeSet<String>,
}

/// The first line of [`Pending`].
#[derive(Serialize, Deserialize)]
struct PendingHead {
    format: u32,
    sweeps: Vec<ResolvedSweep>,
}

impl Pending {
    /// Version of this format. The first one was a list of paths.
    pub const FORMAT: u32 = 2;
    pub const KEYS: &[&str] = &["format", "sweeps"];

    /// Reads it. None if it is of a later format.
    ///
    /// # Errors
    /// When it is something else.
    pub fn parse(bytes: &[u8]) -> serde_json::Result<Option<Pending>> {
        if bytes.trim_ascii_start().starts_with(b"[") {
            let listed = serde_json::from_slice(bytes)?;
            return Ok(Some(Pending { listed, ..Pending::default() }));
        }
        let mut lines = bytes.split(|byte| *byte == b'\n');
        let head: PendingHead = serde_json::from_slice(lines.next().unwrap_or_default())?;
        if head.format != Pending::FORMAT {
            return Ok(None);
        }
        // A line that was not finished when the run was killed is the last one.
        let records = lines.map_while(|line| serde_json::from_slice(line).ok()).collect();
        Ok(Some(Pending { sweeps: head.sweeps, records, listed: BTreeSet::new() }))
    }
}

/// [`Pending`] in the making.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
}

impl Journal {
    /// Writes what is on record so far into the output directory, then removes the manifest.
    pub fn begin(out: &Directory, pending: &Pending) -> Result<Journal, OutputError> {
        let path = out.path().join(PENDING);
        let begin = || {
            let mut file = out.write(OsStr::new(PENDING), Mode::from_bits_truncate(0o666))?;
            let head = PendingHead { format: Pending::FORMAT, sweeps: pending.sweeps.clone() };
            file.write_all(&line_of(&head))?;
            pending.records.iter().try_for_each(|record| file.write_all(&line_of(record)))?;
            let file = file.commit()?;
            out.sync()?;
            Ok(file)
        };
        let file = begin().map_err(failed("write", &path))?;
        remove(out, NAME)?;
        out.sync().map_err(failed("write", out.path()))?;
        Ok(Journal { file, path })
    }

    /// Records these files; on return that is durable.
    pub fn add(&mut self, records: &[FileRecord]) -> Result<(), OutputError> {
        let lines: Vec<u8> = records.iter().flat_map(line_of).collect();
        let added = self.file.write_all(&lines).and_then(|()| self.file.sync_data());
        added.map_err(failed("write", &self.path))
    }
}

fn line_of(content: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(content).expect("text and numbers can be written");
    line.push(b'\n');
    line
}

/// A trial that could not be computed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetAside {
    pub condition: String,
    pub seed: u32,
    pub trial: u32,
    pub reason: String,
}

impl Manifest {
    pub fn new(
        sweep: ResolvedSweep,
        run: Run,
        set_aside: Vec<SetAside>,
        mut files: Vec<FileRecord>,
    ) -> Manifest {
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Manifest {
            manifest: FORMAT,
            granule: env!("CARGO_PKG_VERSION").to_owned(),
            sweep,
            run,
            set_aside,
            files,
        }
    }

    /// Writes the manifest, after all files that it lists; then the stamps of these files and of the store.
    pub fn write(
        &self,
        out: &Directory,
        files: BTreeMap<String, Seen>,
        store: Option<Stamp>,
    ) -> Result<(), OutputError> {
        let synced = || out.sync().map_err(failed("write", out.path()));
        let sha256 = write_json(out, NAME, self)?;
        // From here on the sweep is complete, whatever else is still there.
        synced()?;
        // A cache: where it cannot be written, files are hashed again.
        let _ = write_stamps(out, &Stamps::new(SweepId::of(&self.sweep), sha256, files, store));
        forget_under_way(out)?;
        synced()
    }

    /// Hash of what was made: the sweep, its files, and the trials that are missing. It stays the same when the sweep
    /// is run again and gives the same. Figures and reports say with it what they were drawn from.
    pub fn fingerprint(&self) -> String {
        let content = serde_json::to_vec(&(&self.sweep, &self.set_aside, &self.files));
        blake3::hash(&content.expect("text and numbers can be written")).to_hex().to_string()
    }
}

/// Writes the stamps of an output directory.
pub fn write_stamps(out: &Directory, stamps: &Stamps) -> Result<(), OutputError> {
    let mut file = HashedFile::create_in(out, stamps::NAME)?;
    file.write_all(&stamps.to_json()).map_err(failed("write", &out.path().join(stamps::NAME)))?;
    file.commit().map(drop)
}

/// Removes them, so that the next run looks at everything again.
pub fn forget_stamps(out: &Directory) -> Result<(), OutputError> {
    remove(out, stamps::NAME).map(drop)
}

/// Writes a file for programs and people; gives its SHA-256.
fn write_json(out: &Directory, name: &str, content: &impl Serialize) -> Result<String, OutputError> {
    let mut file = HashedFile::create_in(out, name)?;
    serde_json::to_writer_pretty(&mut file, content)
        .map_err(io::Error::from)
        .and_then(|()| file.write_all(b"\n"))
        .map_err(failed("write", &out.path().join(name)))?;
    Ok(file.commit()?.1)
}

fn remove(out: &Directory, name: &str) -> Result<bool, OutputError> {
    out.remove(OsStr::new(name)).map_err(failed("remove", &out.path().join(name)))
}
