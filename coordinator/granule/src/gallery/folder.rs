//! Reads the output files of one seed.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use granule_figures::{DrivenConductances, RecordedWeights, Recording, Responses};
use granule_outputs::archive::Archive;
use granule_outputs::manifest::FileRecord;
use granule_outputs::read_weights;
use granule_system::files;
use granule_system::hex;
use ndarray::{Array, Array1, Array2, ArrayView, Dimension};
use ndarray_npy::{ViewElement, ViewNpyExt};
use sha2::{Digest as _, Sha256};

/// A folder with the files of a seed.
pub(super) struct Folder {
    path: PathBuf,
    /// Names of the files that count, with their record in the manifest, if there is one.
    names: BTreeMap<String, Option<FileRecord>>,
}

/// Longest file that is read of a folder without a manifest, in bytes: a hundred times the paper's largest.
const LONGEST: u64 = 8 << 30;

/// A file that exists and cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub(super) struct Unreadable {
    path: PathBuf,
    source: Box<dyn Error + Send + Sync>,
}

/// Excitatory and inhibitory conductance.
type Both = (Array2<f64>, Array2<f64>);

/// Data of one condition for the paper's analysis.
pub(super) struct Recorded {
    pub(super) probability: Array2<f64>,
    pub(super) connections: Option<Array2<i32>>,
    pub(super) weights: Option<RecordedWeights>,
    pub(super) conductances: Option<Both>,
    pub(super) tonic_factors: Option<Array1<f64>>,
}

impl Folder {
    /// Returns the folder of a seed of a sweep, with the files that the manifest lists.
    pub(super) fn of_seed(archive: &Archive, seed: u32) -> Folder {
        let name = format!("seed-{seed}");
        let files = archive.manifest().into_iter().flat_map(|manifest| &manifest.files);
        let of_seed = files.filter_map(|file| {
            Some((file.path.strip_prefix(&name)?.strip_prefix('/')?.to_owned(), Some(file.clone())))
        });
        Folder { names: of_seed.collect(), path: archive.out.join(name) }
    }

    /// Returns any folder, with the files in it. If it does not exist, it has no files.
    pub(super) fn find(path: &Path) -> io::Result<Folder> {
        let mut names = BTreeMap::new();
        match fs::read_dir(path) {
            Ok(entries) => {
                for entry in entries {
                    names.extend(entry?.file_name().into_string().map(|name| (name, None)));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(Folder { path: path.to_owned(), names })
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    fn read<T: ViewElement + Clone, D: Dimension>(
        &self,
        name: &str,
    ) -> Result<Option<Array<T, D>>, Unreadable> {
        if !self.has(name) {
            return Ok(None);
        }
        // The size is that of the bytes in the file. The header alone may claim any size.
        let read = |bytes: &[u8]| Ok(ArrayView::<T, D>::view_npy(bytes)?.to_owned());
        self.bytes(name)
            .and_then(|bytes| read(&bytes))
            .map(Some)
            .map_err(|source| self.unreadable(name, source))
    }

    /// Returns the bytes of a file. If there is a manifest, they must be those that it records.
    fn bytes(&self, name: &str) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>> {
        let file = files::open(&self.path.join(name))?;
        let length = file.metadata()?.len();
        let Some(Some(record)) = self.names.get(name) else {
            return Ok(files::read_open(file, length.min(LONGEST))?);
        };
        if length != record.bytes {
            return Err(format!("it has {length} bytes instead of {}", record.bytes).into());
        }
        let bytes = files::read_open(file, length)?;
        if hex(&Sha256::digest(&bytes)) != record.sha256 {
            return Err("its SHA-256 is not that of the manifest".into());
        }
        Ok(bytes)
    }

    fn unreadable(&self, name: &str, source: Box<dyn Error + Send + Sync>) -> Unreadable {
        Unreadable { path: self.path.join(name), source }
    }

    /// Treats weights that cannot be read as missing. Returns the errors.
    pub(super) fn leave_out_unreadable_weights(&mut self, prefixes: &[&str]) -> Vec<Unreadable> {
        let mut left_out = Vec::new();
        for prefix in prefixes {
            if let Err(error) = self.weights(prefix) {
                self.names.remove(&weights(prefix));
                left_out.push(error);
            }
        }
        left_out
    }

    fn weights(&self, prefix: &str) -> Result<Option<RecordedWeights>, Unreadable> {
        let name = weights(prefix);
        if !self.has(&name) {
            return Ok(None);
        }
        let read = self.bytes(&name).and_then(|file| Ok(read_weights(&file)?));
        let read = read.map_err(|source| self.unreadable(&name, source))?;
        Ok(Some(read.into_iter().collect()))
    }

    /// Returns the conductances of the condition with this prefix, if they are recorded.
    pub(super) fn conductances(&self, prefix: &str) -> Result<Option<Both>, Unreadable> {
        let excitation = self.read(&format!("{prefix}CondE.npy"))?;
        let inhibition = self.read(&format!("{prefix}CondI.npy"))?;
        Ok(excitation.zip(inhibition))
    }

    /// Returns the data of the condition with this prefix. None without spike probabilities.
    pub(super) fn recorded(
        &self,
        has_random_weights: bool,
        prefix: &str,
    ) -> Result<Option<Recorded>, Unreadable> {
        let Some(probability) = self.read(&probability(has_random_weights, prefix))? else {
            return Ok(None);
        };
        Ok(Some(Recorded {
            probability,
            connections: self.read(&connections(prefix))?,
            weights: self.weights(prefix)?,
            conductances: self.conductances(prefix)?,
            tonic_factors: self.read("tonicReduction.npy")?,
        }))
    }
}

/// Returns the name of the file of spike probabilities.
pub(super) fn probability(has_random_weights: bool, prefix: &str) -> String {
    let random = if has_random_weights { "randomized_" } else { "" };
    format!("{random}{prefix}SpikeProb.npy")
}

/// Returns the name of the file of weights.
fn weights(prefix: &str) -> String {
    format!("{prefix}Weights.npy")
}

/// Returns the name of the file of connections.
pub(super) fn connections(prefix: &str) -> String {
    format!("{prefix}Connections.npy")
}

impl Recorded {
    /// Returns the recording of Control, GABAzine and ACh.
    pub(super) fn recording(of: &[Recorded]) -> Recording<'_> {
        fn responses(of: &Recorded) -> Responses<'_> {
            Responses {
                probability: of.probability.view(),
                connections: of.connections.as_ref().map(|connections| connections.view()),
                weights: of.weights.as_ref(),
            }
        }
        let conductances = of[0].conductances.as_ref().map(|(excitation, inhibition)| DrivenConductances {
            excitation: excitation.view(),
            inhibition: inhibition.view(),
        });
        Recording {
            control: responses(&of[0]),
            gabazine: responses(&of[1]),
            ach: responses(&of[2]),
            conductances,
            tonic_factors: of[2].tonic_factors.as_ref().map(|factors| factors.view()),
        }
    }
}
