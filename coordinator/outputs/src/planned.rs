//! The files of a sweep, and what identifies the content of each.

use granule_engine::Fingerprint;
use granule_engine::output::{File, Size};
use granule_sweep::{Plan, Sweep};

use crate::file_record::FileRecord;

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
    pub(crate) file: File,
    /// Condition and seed, by their index in the sweep.
    pub(crate) condition: usize,
    pub(crate) seed: usize,
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

/// Name of the directory with the files of a seed.
pub fn directory_of_seed(seed: u32) -> String {
    format!("seed-{seed}")
}
