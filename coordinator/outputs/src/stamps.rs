//! Stamps of files that were found unchanged, so that they need not be hashed again.
//!
//! A stamp identifies a file and its last change: device, inode, size and times. A file is unchanged if it has the
//! stamp that it had when it was written or hashed. A copied, moved, restored or changed file has another stamp, and is
//! hashed. The stamps of an output directory are beside its manifest, and hold for this manifest only. They are a
//! cache: without them every file is hashed, and nothing else changes.
//!
//! A write through a memory map leaves the times of a file as they are, if the same map had changed the page before.
//! `granule verify` finds it.

use std::collections::BTreeMap;

use granule_engine::Model;
use granule_sweep::Sweep;
pub use granule_system::stamp::{Seal, Stamp, sealed};
use serde::{Deserialize, Serialize};

use crate::file_record::KeptFile;
use crate::resolved::ResolvedSweep;

/// Name of the file with the stamps in an output directory.
pub const NAME: &str = ".outputs.stamps.json";

/// Version of the format.
const FORMAT: u32 = 1;

/// A file that was written or hashed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// `None` if the file could change without a change of its stamp.
    pub stamp: Option<Stamp>,
    pub sha256: String,
}

impl Seen {
    /// Returns files in place, by path.
    pub fn of<'a>(kept: impl Iterator<Item = &'a KeptFile>) -> BTreeMap<String, Seen> {
        let seen = kept.map(|(record, seal)| {
            let stamp = seal.and_then(Seal::lasting);
            (record.path.clone(), Seen { stamp, sha256: record.sha256.clone() })
        });
        seen.collect()
    }
}

/// Whether these bytes are stamps of any format, complete or not.
pub fn is_replaceable(bytes: &[u8]) -> bool {
    const BEGINNING: &[u8] = b"{\"format\":";
    bytes.starts_with(BEGINNING) || BEGINNING.starts_with(bytes)
}

/// Identifies a sweep.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweepId {
    pub name: String,
    pub seeds: Vec<u32>,
    /// One fingerprint for each condition.
    pub fingerprints: Vec<String>,
}

impl SweepId {
    pub fn of(sweep: &ResolvedSweep) -> SweepId {
        let fingerprints = sweep.conditions.iter().map(|of| of.fingerprint.clone()).collect();
        SweepId { name: sweep.name.clone(), seeds: sweep.seeds.clone(), fingerprints }
    }

    /// Returns the same of a sweep that is not recorded, with the fingerprints that version 0.1.0 gave to its conditions.
    pub fn of_sweep(sweep: &Sweep) -> SweepId {
        let models = || sweep.conditions.iter().map(|condition| &condition.model);
        let before = models().filter(|model| model.fingerprint() != model.fingerprint_0_1_0());
        let fingerprints = models().map(Model::fingerprint).chain(before.map(Model::fingerprint_0_1_0));
        SweepId {
            name: sweep.name.clone(),
            seeds: sweep.seeds.clone(),
            fingerprints: fingerprints.map(|of| of.to_string()).collect(),
        }
    }
}

/// The stamps of an output directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamps {
    format: u32,
    /// The sweep of these files, in case the manifest is lost.
    pub sweep: SweepId,
    /// SHA-256 of the manifest for which the stamps hold.
    manifest: String,
    /// The files, by path.
    files: BTreeMap<String, Seen>,
    /// Stamp of the store when all trials of the sweep were last found undamaged in it.
    store: Option<Stamp>,
}

impl Stamps {
    /// Makes the stamps of these files, for the manifest with this SHA-256.
    pub fn new(
        sweep: SweepId,
        manifest: String,
        files: BTreeMap<String, Seen>,
        store: Option<Stamp>,
    ) -> Stamps {
        Stamps { format: FORMAT, sweep, manifest, files, store }
    }

    /// Parses stamps. Returns `None` if they have another format or cannot be parsed.
    pub fn parse(bytes: &[u8]) -> Option<Stamps> {
        serde_json::from_slice::<Stamps>(bytes).ok().filter(|stamps| stamps.format == FORMAT)
    }

    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("text and numbers can be written")
    }

    /// Whether the stamps hold for the manifest with this SHA-256.
    pub fn are_of(&self, manifest: &str) -> bool {
        self.manifest == manifest
    }

    /// Returns the stamp and hash of a file, if granule has written or hashed it here.
    pub fn seen(&self, path: &str) -> Option<&Seen> {
        self.files.get(path)
    }

    /// Whether a store with this stamp has all trials of the sweep, undamaged.
    pub fn trust_store(&self, stamp: Option<Stamp>) -> bool {
        stamp.is_some() && self.store == stamp
    }
}
