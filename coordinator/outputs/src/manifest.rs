//! `manifest.json`: the sweep, the program, the place and the time of the run, and the hash of every file.
//!
//! If it exists, all files that it lists were written completely. A run removes it before it changes any of them, and
//! writes it when all are in place. Meanwhile, `sweep.json` records the sweep that the run computes.
//! `outputs.pending.json` records the sweeps that may have files.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

use granule_sweep::Sweep;
use granule_system::files::Directory;
use granule_system::hex;
use nix::sys::stat::Mode;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::errors::{OutputError, failed};
pub use crate::file_record::FileRecord;
use crate::hashed::HashedFile;
pub use crate::resolved::{Foreign, ResolvedCondition, ResolvedModel, ResolvedSweep, ResolvedUntil};
use crate::stamps::{self, Seen, Stamp, Stamps, SweepId};

/// Name of the manifest in the output directory.
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
    /// How the number of trials was decided, in order: the last decision has this number. Empty if the sweep file gives
    /// it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub decisions: Vec<Decision>,
    pub run: CompletedRun,
    /// Trials that could not be computed. The files of their conditions and seeds do not exist.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set_aside: Vec<SetAside>,
    /// Every output file, ordered by path.
    pub files: Vec<FileRecord>,
}

/// The precision of a measure after a number of trials ([`granule_sweep::Until`]).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// Trials of each condition and seed.
    pub trials: u32,
    /// The condition with the widest interval.
    pub condition: String,
    /// Half the width of its interval, in the unit of the measure. None if it has no interval, because a seed has fewer than
    /// two trials with a value.
    pub half_width: Option<f64>,
}

/// The run that completed the sweep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CompletedRun {
    /// Commit of the program. None if its build has none, and in manifests of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    pub host: String,
    pub operating_system: String,
    pub architecture: String,
    pub workers: u32,
    /// The place of the store with its trials.
    #[serde(flatten)]
    pub store: StoreName,
    /// When it began, RFC 3339 in UTC.
    pub started: String,
    pub wall_seconds: f64,
    /// CPU time of all its processes on this machine.
    pub cpu_seconds: f64,
    /// Number of trials, each of one condition and seed.
    pub trials_computed: u64,
    pub trials_reused: u64,
    /// Number of output files that were already as planned.
    pub files_reused: u64,
    /// Number of trials that another worker computed once more, with the same result.
    #[serde(default)]
    pub trials_audited: u64,
    /// Versions that the user's program reports, by package.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub versions: BTreeMap<String, String>,
    /// Text of the sweep file. Manifests of earlier versions have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sweep_file: Option<String>,
    /// Environment variables that override the sweep file, with their values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub overrides: BTreeMap<String, String>,
    /// The tables of conditions that the sweep file names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<TableRecord>,
    /// Workers that were quarantined, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workers_shut_out: Vec<String>,
    /// Results that differed from the stored ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disagreements: Vec<String>,
}

/// A table of conditions that a sweep file names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableRecord {
    /// The path, as the sweep file has it.
    pub path: String,
    pub bytes: u64,
    pub sha256: String,
    /// The content, if it is a CSV file of at most [`TableRecord::MOST_BYTES`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

impl TableRecord {
    /// Most bytes of a table whose content is recorded.
    pub const MOST_BYTES: usize = 1 << 16;

    /// Records a table with this content.
    pub fn of(path: &str, content: &[u8]) -> TableRecord {
        let text = str::from_utf8(content).ok().filter(|text| text.len() <= TableRecord::MOST_BYTES);
        TableRecord {
            path: path.to_owned(),
            bytes: content.len() as u64,
            sha256: hex(&Sha256::digest(content)),
            text: text.map(str::to_owned),
        }
    }
}

/// The default name of a store in the output directory.
pub const STORE: &str = "store.granule";

fn default_store() -> String {
    STORE.to_owned()
}

/// The place of an output directory's store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreName {
    /// A path from the output directory if the store is below it, else from the root.
    #[serde(default = "default_store")]
    pub store: String,
    /// A path from the output directory to a store that is not below it. The store is there if both were moved or
    /// copied together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_beside: Option<String>,
}

impl Default for StoreName {
    fn default() -> StoreName {
        StoreName { store: default_store(), store_beside: None }
    }
}

/// A sweep whose run is in progress, or was ended before the sweep was complete.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnderWay {
    /// Version of this format.
    pub format: u32,
    pub sweep: ResolvedSweep,
    #[serde(flatten)]
    pub store: StoreName,
    /// When its last run began, RFC 3339 in UTC.
    pub started: String,
    /// Versions that the user's program reports, by package, as far as known.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub versions: BTreeMap<String, String>,
}

/// Removes the records that exist only until the manifest is written.
pub fn forget_under_way(out: &Directory) -> Result<(), OutputError> {
    remove(out, PENDING)?;
    remove(out, UNDER_WAY).map(drop)
}

impl UnderWay {
    pub fn new(sweep: &Sweep, store: StoreName, started: String) -> UnderWay {
        let sweep = ResolvedSweep::of(sweep);
        UnderWay { format: FORMAT, sweep, store, started, versions: BTreeMap::new() }
    }

    /// Writes it into the output directory. The manifest replaces it later.
    pub fn write(&self, out: &Directory) -> Result<(), OutputError> {
        write_json(out, UNDER_WAY, self)?;
        out.sync().map_err(failed("write", out.path()))
    }
}

/// `outputs.pending.json`: the record while there is no manifest. The first line has the sweeps that may have files.
/// Each further line has one file that may exist. A file is recorded with its hash before it is put in its place. So a
/// file that differs from its record is known not to be granule's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pending {
    pub sweeps: Vec<ResolvedSweep>,
    pub records: Vec<FileRecord>,
    /// Version 0.1.0 listed paths only.
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

    /// Parses the record. Returns `None` if it is of a later format.
    ///
    /// # Errors
    /// If it is something else.
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
        // The last line may be unfinished, if the run was killed while writing it.
        let records = lines.map_while(|line| serde_json::from_slice(line).ok()).collect();
        Ok(Some(Pending { sweeps: head.sweeps, records, listed: BTreeSet::new() }))
    }
}

/// A [`Pending`] that is being written.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
}

impl Journal {
    /// Writes the records so far into the output directory, then removes the manifest.
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

    /// Records these files. On return this is durable.
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
        decisions: Vec<Decision>,
        run: CompletedRun,
        set_aside: Vec<SetAside>,
        mut files: Vec<FileRecord>,
    ) -> Manifest {
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Manifest {
            manifest: FORMAT,
            granule: env!("CARGO_PKG_VERSION").to_owned(),
            sweep,
            decisions,
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
        // From here on the sweep is complete, even if older records remain.
        synced()?;
        // The stamps are a cache: if they cannot be written, files are hashed again.
        let _ = write_stamps(out, &Stamps::new(SweepId::of(&self.sweep), sha256, files, store));
        forget_under_way(out)?;
        synced()
    }

    /// Returns a hash of the result: the sweep, its files, and the missing trials. It stays the same if another run of
    /// the sweep gives the same result. Figures and reports record it, to show what they were drawn from.
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

/// Removes the stamps, so that the next run checks every file again.
pub fn forget_stamps(out: &Directory) -> Result<(), OutputError> {
    remove(out, stamps::NAME).map(drop)
}

/// Writes a JSON file for programs and people. Returns its SHA-256.
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
