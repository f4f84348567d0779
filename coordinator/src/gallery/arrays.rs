//! Output files of one condition and seed, read again.

use std::fs;
use std::path::PathBuf;

use granule_figures::{Conductances, Recording, Responses, Weights};
use granule_sim::derive::Structure;
use granule_sweep::Sweep;
use ndarray::{Array1, Array2};
use ndarray_npy::{ReadNpyError, ReadableElement, read_npy};

use crate::archive::Archive;
use crate::cli::exit;
use crate::failure::Failure;
use crate::outputs::read_weights;

/// Where they are.
pub(super) struct Arrays<'a> {
    archive: &'a Archive,
    sweep: &'a Sweep,
    condition: usize,
    seed: usize,
}

/// Excitatory and inhibitory conductance.
type Both = (Array2<f64>, Array2<f64>);

/// What the paper's analysis needs of one condition.
pub(super) struct Recorded {
    probability: Array2<f64>,
    connections: Array2<i32>,
    weights: Option<Weights>,
    conductances: Option<Both>,
    tonic_factors: Option<Array1<f64>>,
}

impl<'a> Arrays<'a> {
    pub(super) fn of(archive: &'a Archive, sweep: &'a Sweep, condition: usize, seed: usize) -> Arrays<'a> {
        Arrays { archive, sweep, condition, seed }
    }

    /// A file, if the sweep has it.
    fn path(&self, name: &str) -> Option<PathBuf> {
        let path = format!("seed-{}/{name}", self.sweep.seeds[self.seed]);
        let mut files = self.archive.manifest.iter().flat_map(|manifest| &manifest.files);
        files.any(|file| file.path == path).then(|| self.archive.out.join(path))
    }

    fn read<T: ReadableElement, D: ndarray::Dimension>(
        &self,
        name: &str,
    ) -> Result<Option<ndarray::Array<T, D>>, Failure> {
        let Some(path) = self.path(name) else { return Ok(None) };
        let unreadable = |error: ReadNpyError| unreadable(&path, &error);
        read_npy(&path).map(Some).map_err(unreadable)
    }

    fn prefix(&self) -> &str {
        &self.sweep.conditions[self.condition].prefix
    }

    /// Conductances, if they are recorded.
    pub(super) fn conductances(&self) -> Result<Option<Both>, Failure> {
        let excitation = self.read(&format!("{}CondE.npy", self.prefix()))?;
        let inhibition = self.read(&format!("{}CondI.npy", self.prefix()))?;
        Ok(excitation.zip(inhibition))
    }

    /// What there is; none without spike probabilities.
    pub(super) fn recorded(&self) -> Result<Option<Recorded>, Failure> {
        let Sweep { engine, conditions, seeds, .. } = self.sweep;
        let model = &conditions[self.condition].model;
        let random = if model.parameters().weights.random { "randomized_" } else { "" };
        let prefix = self.prefix();
        let Some(probability) = self.read(&format!("{random}{prefix}SpikeProb.npy"))? else {
            return Ok(None);
        };
        let connections = match self.read(&format!("{prefix}Connections.npy"))? {
            Some(connections) => connections,
            None => {
                let pairs = Structure::new(*engine, model, seeds[self.seed]).active_connections();
                Array2::from(pairs)
            }
        };
        let weights = match self.path(&format!("{prefix}Weights.npy")) {
            None => None,
            Some(path) => {
                let file = fs::read(&path).map_err(|error| unreadable(&path, &error))?;
                let weights = read_weights(&file).map_err(|error| unreadable(&path, &error))?;
                Some(weights.into_iter().collect())
            }
        };
        Ok(Some(Recorded {
            probability,
            connections,
            weights,
            conductances: self.conductances()?,
            tonic_factors: self.read("tonicReduction.npy")?,
        }))
    }
}

impl Recorded {
    /// Of Control, GABAzine and ACh.
    pub(super) fn recording(of: &[Recorded]) -> Recording<'_> {
        fn responses(of: &Recorded) -> Responses<'_> {
            Responses {
                probability: of.probability.view(),
                connections: Some(of.connections.view()),
                weights: of.weights.as_ref(),
            }
        }
        let conductances = of[0].conductances.as_ref().map(|(excitation, inhibition)| Conductances {
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

fn unreadable(path: &std::path::Path, error: &dyn std::error::Error) -> Failure {
    let help = "`granule verify` says which files are not as they were; a run of the sweep writes them again";
    let failure = Failure::caused_by(exit::FAILED, error, Some(help));
    let message = failure.message.replacen("error: ", &format!("error: {}: ", path.display()), 1);
    Failure::new(failure.code, message)
}
