//! Which files were seen to be whole, so that they need not be hashed again.
//!
//! A stamp says which file a file is and when it last changed: device, inode, size and times. A file with the stamp
//! that it had when it was written, or hashed, is still what it was. A copied, moved, restored or changed file has
//! another stamp, and is hashed. The stamps of an output directory lie beside its manifest and hold for that very
//! manifest only. They are a cache: without them everything is hashed, and nothing else changes.
//!
//! One kind of change leaves no trace in the times of a file: a write through a memory map to a page that the same map had
//! changed before. `granule verify` finds it.

use std::collections::BTreeMap;

use granule_engine::Engines;
pub use granule_system::stamp::{Seal, Stamp, sealed};
use serde::{Deserialize, Serialize};

use crate::file_record::Kept;
use crate::resolved::ResolvedSweep;

/// Their name in the output directory.
pub const NAME: &str = ".outputs.stamps.json";

/// Version of the format.
const FORMAT: u32 = 1;

/// A file that was written or hashed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// None if it is not certain that the stamp changes with the file.
    pub stamp: Option<Stamp>,
    pub sha256: String,
}

impl Seen {
    /// Of files that are in place, by path.
    pub fn of<'a>(kept: impl Iterator<Item = &'a Kept>) -> BTreeMap<String, Seen> {
        let seen = kept.map(|(record, seal)| {
            let stamp = seal.and_then(Seal::lasting);
            (record.path.clone(), Seen { stamp, sha256: record.sha256.clone() })
        });
        seen.collect()
    }
}

/// Whether these bytes are stamps, of any format, or what is left of some.
pub fn is_replaceable(bytes: &[u8]) -> bool {
    const BEGINNING: &[u8] = b"{\"format\":";
    bytes.starts_with(BEGINNING) || BEGINNING.starts_with(bytes)
}

/// By what a sweep is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweepId {
    pub name: String,
    pub seeds: Vec<u32>,
    /// Of each condition.
    pub fingerprints: Vec<String>,
}

impl SweepId {
    pub fn of(sweep: &ResolvedSweep) -> SweepId {
        let fingerprints = sweep.conditions.iter().map(|of| of.fingerprint.clone()).collect();
        SweepId { name: sweep.name.clone(), seeds: sweep.seeds.clone(), fingerprints }
    }

    /// With the fingerprints that version 0.1.0 gave to its conditions, too.
    pub fn with_version_0_1_0(mut self, engines: Engines, sweep: &ResolvedSweep) -> SweepId {
        let conditions = sweep.restore(engines).map(|sweep| sweep.conditions).unwrap_or_default();
        let fingerprints = conditions.iter().map(|of| of.model.facts().fingerprint_0_1_0.to_string());
        self.fingerprints.extend(fingerprints);
        self
    }
}

/// What is known of the files of an output directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamps {
    format: u32,
    /// The sweep whose files they are, should the manifest be lost.
    pub sweep: SweepId,
    /// SHA-256 of the manifest for whose files they hold.
    manifest: String,
    /// By path.
    files: BTreeMap<String, Seen>,
    /// Of the store, when all trials of the sweep were last seen to be whole in it.
    store: Option<Stamp>,
}

impl Stamps {
    /// Of these files, for the manifest with this SHA-256.
    pub fn new(
        sweep: SweepId,
        manifest: String,
        files: BTreeMap<String, Seen>,
        store: Option<Stamp>,
    ) -> Stamps {
        Stamps { format: FORMAT, sweep, manifest, files, store }
    }

    /// Reads them; none if they are of another format or cannot be understood.
    pub fn parse(bytes: &[u8]) -> Option<Stamps> {
        serde_json::from_slice::<Stamps>(bytes).ok().filter(|stamps| stamps.format == FORMAT)
    }

    /// As they are written.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("text and numbers can be written")
    }

    /// Whether they hold for the manifest with this SHA-256.
    pub fn are_of(&self, manifest: &str) -> bool {
        self.manifest == manifest
    }

    /// What is known of a file that granule has written or hashed here.
    pub fn seen(&self, path: &str) -> Option<&Seen> {
        self.files.get(path)
    }

    /// Whether a store with this stamp has all trials of the sweep, whole.
    pub fn trust_store(&self, stamp: Option<Stamp>) -> bool {
        stamp.is_some() && self.store == stamp
    }
}
