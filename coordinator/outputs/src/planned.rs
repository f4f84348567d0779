//! The files of a sweep, and what determines the content of each.

use granule_engine::Fingerprint;
use granule_engine::output::{File, Size};
use granule_sweep::{Plan, Sweep};

use crate::file_record::FileRecord;

/// Version of the content of output files, as far as the keys of trials do not determine it.
const REVISION: u32 = 1;

/// An output file that a sweep makes.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedFile {
    /// Path below the output directory, with `/`.
    pub path: String,
    /// Hash of everything that determines its bytes.
    pub identity: String,
    /// Its identity in version 0.1.0, if that version wrote other bytes.
    identity_before: Option<String>,
    pub(crate) file: File,
    /// Indices of the condition and the seed in the sweep.
    pub(crate) condition: usize,
    pub(crate) seed: usize,
}

impl PlannedFile {
    /// Returns the cohort and the variant that it is made of.
    pub fn place(&self, plan: &Plan) -> (usize, usize) {
        plan.place(self.condition, self.seed)
    }

    /// Returns the indices of its condition and its seed in the sweep.
    pub fn pair(&self) -> (usize, usize) {
        (self.condition, self.seed)
    }

    /// Returns its name in the directory of its seed.
    pub fn name(&self) -> &str {
        self.path.rsplit_once('/').map_or(&self.path, |(_, name)| name)
    }

    /// Whether a record is of the file as version 0.1.0 made it, and this version would make other bytes.
    pub fn is_outdated(&self, record: &FileRecord) -> bool {
        self.identity_before.as_ref() == Some(&record.identity)
    }

    /// Whether it is made of spikes only.
    pub fn is_of_spikes(&self) -> bool {
        self.file.is_of_spikes
    }

    /// Returns the engine's description of the file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Returns the number of bytes that it will have.
    pub fn size(&self) -> Size {
        /// Bytes of an array's header.
        const HEADER: f64 = 128.0;
        Size::exactly(HEADER) + self.file.size
    }
}

/// Returns the files of a sweep, ordered by seed, then by condition.
pub fn plan(sweep: &Sweep, plan: &Plan) -> Vec<PlannedFile> {
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
                files.push(PlannedFile {
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

/// Returns the name of the directory with the files of a seed.
pub fn directory_of_seed(seed: u32) -> String {
    format!("seed-{seed}")
}
