//! The files of a sweep, and what determines the content of each.

use std::collections::BTreeSet;
use std::sync::Arc;

use granule_engine::Fingerprint;
use granule_engine::output::{File, Size};
use granule_sweep::{Condition, Plan, Sweep};

use crate::file_record::FileRecord;

/// Version of the content of output files, as far as the keys of trials do not determine it.
const REVISION: u32 = 1;

/// The files of a sweep, ordered by seed, then by condition. A sweep can have millions, so each is made when it is needed.
/// Until then, it is an index.
#[derive(Clone, Debug)]
pub struct PlannedFiles {
    conditions: Arc<Vec<Condition>>,
    seeds: Vec<u32>,
    trials: u32,
    /// For each condition, the number of files of the conditions before it; then the number of files of a seed.
    firsts: Vec<u32>,
    /// Bytes of all files.
    size: Size,
    /// Pairs of a condition and a seed whose files are not written.
    withheld: BTreeSet<(usize, usize)>,
}

/// An output file that a sweep makes.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedFile {
    /// Index among the files of the sweep.
    pub index: u32,
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
        size_of(&self.file)
    }
}

/// Returns the number of bytes that a file will have.
fn size_of(file: &File) -> Size {
    /// Bytes of an array's header.
    const HEADER: f64 = 128.0;
    Size::exactly(HEADER) + file.size
}

impl PlannedFiles {
    /// Plans the files of a sweep.
    ///
    /// # Panics
    /// If they are more than 2^32: see [`granule_sweep::check_files`].
    pub fn new(sweep: &Sweep) -> PlannedFiles {
        let mut planned = PlannedFiles {
            conditions: Arc::clone(&sweep.conditions),
            seeds: sweep.seeds.clone(),
            trials: sweep.trials,
            firsts: Vec::with_capacity(sweep.conditions.len() + 1),
            size: Size::default(),
            withheld: BTreeSet::new(),
        };
        let mut first = 0;
        for condition in sweep.conditions.iter() {
            planned.firsts.push(first);
            for file in condition.files(sweep.trials) {
                first += 1;
                planned.size = planned.size + size_of(&file);
            }
        }
        planned.firsts.push(first);
        planned.size = planned.size.times(planned.seeds.len() as f64);
        let all = u32::try_from(u64::from(first) * planned.seeds.len() as u64);
        all.expect("a sweep has fewer than 2^32 files");
        planned
    }

    /// Returns the same files without those of these pairs of a condition and a seed.
    #[must_use]
    pub fn without(&self, withheld: BTreeSet<(usize, usize)>) -> PlannedFiles {
        PlannedFiles { withheld, ..self.clone() }
    }

    /// Returns the number of all files, withheld ones included.
    pub fn len(&self) -> usize {
        self.of_seed() as usize * self.seeds.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the bytes of all files, withheld ones included.
    pub fn size(&self) -> Size {
        self.size
    }

    /// Iterates over the files in order, except for withheld ones.
    pub fn iter(&self) -> impl Iterator<Item = PlannedFile> {
        let conditions = 0..self.conditions.len();
        let pairs = (0..self.seeds.len()).flat_map(move |seed| conditions.clone().map(move |at| (at, seed)));
        pairs
            .filter(|pair| !self.withheld.contains(pair))
            .flat_map(|(condition, seed)| self.of_pair(condition, seed))
    }

    /// Returns the seed of a file.
    pub(crate) fn seed_of(&self, file: &PlannedFile) -> u32 {
        self.seeds[file.seed]
    }

    /// Returns the seed of a file, as an index in the sweep, from the index of the file.
    pub(crate) fn seed_at(&self, index: u32) -> usize {
        (index / self.of_seed()) as usize
    }

    /// Returns the condition of a file, as an index in the sweep, from the index of the file.
    fn condition_at(&self, index: u32) -> usize {
        let index = index % self.of_seed();
        // Conditions without files have the same first index as the next condition.
        self.firsts.partition_point(|first| *first <= index) - 1
    }

    /// Returns the path of a file from its index.
    pub(crate) fn path_at(&self, index: u32) -> String {
        let (condition, seed) = (self.condition_at(index), self.seed_at(index));
        let name = |file: &File| format!("{}/{}", directory_of_seed(self.seeds[seed]), file.name);
        let before = seed as u32 * self.of_seed() + self.firsts[condition];
        let file = self.conditions[condition].files(self.trials).nth((index - before) as usize);
        file.as_ref().map(name).expect("an index of these files")
    }

    /// Iterates over the files of these indices, which ascend. The files of a condition and a seed are together.
    pub(crate) fn pairs<'a>(&'a self, indices: &'a [u32]) -> impl Iterator<Item = Vec<PlannedFile>> + 'a {
        let pair_at = |index: &u32| (self.condition_at(*index), self.seed_at(*index));
        indices.chunk_by(move |a, b| pair_at(a) == pair_at(b)).map(move |indices| {
            let (condition, seed) = pair_at(&indices[0]);
            let mut files = self.of_pair(condition, seed);
            files.retain(|file| indices.binary_search(&file.index).is_ok());
            files
        })
    }

    /// Returns the files of a condition and a seed, which are indices in the sweep.
    pub fn of_pair(&self, condition: usize, seed: usize) -> Vec<PlannedFile> {
        let of = &self.conditions[condition];
        let (fingerprint, before) = (of.model.fingerprint(), of.model.fingerprint_0_1_0());
        let number = self.seeds[seed];
        let directory = directory_of_seed(number);
        let first = seed as u32 * self.of_seed() + self.firsts[condition];
        let planned = |(file, index): (File, u32)| {
            let identity = |fingerprint: Fingerprint, rule: &str| {
                let recipe =
                    format!("{REVISION} {} {fingerprint} {number} {}{rule}", file.array, self.trials);
                blake3::hash(recipe.as_bytes()).to_hex().to_string()
            };
            let is_changed = !file.rule.is_empty() || fingerprint != before;
            PlannedFile {
                index,
                path: format!("{directory}/{}", file.name),
                identity: identity(fingerprint, file.rule),
                identity_before: is_changed.then(|| identity(before, "")),
                condition,
                seed,
                file,
            }
        };
        of.files(self.trials).zip(first..).map(planned).collect()
    }

    /// Returns the number of files of a seed.
    fn of_seed(&self) -> u32 {
        self.firsts.last().copied().unwrap_or(0)
    }
}

/// Returns the name of the directory with the files of a seed.
pub fn directory_of_seed(seed: u32) -> String {
    format!("seed-{seed}")
}
