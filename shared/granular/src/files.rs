//! The output files of a condition: those of the original program, with the same names.

use granule_engine::output::{Array, Derive, File, FileKind, KeyType, Size};
use granule_engine::space::CellFactor;
use granule_engine::{Spike, TrialSpikes};

use crate::derive::{Conductances, SpikeCounts, Structure};
use crate::isa::Isa;
use crate::parameters::{Parameters, Platform};
use crate::version_0_1_0::has_other_bins;
use crate::{GOLGI, GRANULE, Layer};

/// The kinds of files, in the order of `record` in sweep files.
pub(crate) const KINDS: &[FileKind] = &[
    FileKind { key: "probabilities", about: "spike probabilities (SpikeProb)", is_large: true },
    FileKind { key: "connections", about: "synapses from active fibres (Connections)", is_large: false },
    FileKind {
        key: "weights",
        about: "weights of the active fibres in each trial (Weights)",
        is_large: false,
    },
    FileKind { key: "conductances", about: "mean conductances (CondE, CondI)", is_large: true },
    FileKind {
        key: "tonic_factors",
        about: "drawn factors on tonic inhibition (TonicReduction)",
        is_large: false,
    },
];

const PROBABILITIES: &str = "SpikeProbability";
const CONNECTIONS: &str = "Connections";
/// Arrays that differ between platforms, in the order of [`Platform::ALL`].
const WEIGHTS: [&str; 3] = ["Weights", "Weights", "Weights win-64"];
const EXCITATION: [&str; 3] = ["Excitation", "Excitation osx-64", "Excitation win-64"];
const INHIBITION: [&str; 3] = ["Inhibition", "Inhibition osx-64", "Inhibition win-64"];
const TONIC_FACTORS: &str = "TonicFactors";

/// The original's file name for the tonic factors of its condition ACh.
const OF_ACH: &str = "tonicReduction.npy";

/// Returns the files of a condition, in the order in which they are written.
pub(crate) fn files(layer: &Layer, prefix: &str, preset: Option<&str>, trials: u32) -> Vec<File> {
    let parameters = layer.parameters();
    let platform = parameters.platform as usize;
    let bins = layer.bins() as f64;
    let cells = f64::from(parameters.network.granule_cells);
    let active = f64::from(layer.active_fibers());
    let driven = driven(parameters, layer.active_fibers());
    let file = |name: String, kind, array| File {
        name,
        kind,
        array,
        rule: "",
        dtype: "<f8",
        axes: &[],
        unit: "",
        size: Size::default(),
        is_of_spikes: false,
    };
    let probabilities = |name: String| File {
        rule: if has_other_bins(layer) { " bins of whole steps" } else { "" },
        axes: &["granule cell", "ms"],
        size: Size::exactly(8.0 * cells * bins),
        is_of_spikes: true,
        ..file(name, 0, PROBABILITIES)
    };
    if !parameters.weights.random {
        return vec![probabilities(format!("{prefix}SpikeProb.npy"))];
    }
    let synapses =
        active * cells * parameters.mossy_to_granule.convergence / f64::from(parameters.network.mossy_fibers);
    let conductance = |name: String, array| File {
        axes: &["driven granule cell", "ms"],
        unit: "nS",
        size: driven.times(8.0 * bins),
        ..file(name, 3, array)
    };
    let mut files = vec![
        probabilities(format!("randomized_{prefix}SpikeProb.npy")),
        File {
            dtype: "<i4",
            axes: &["synapse", "mossy fibre, granule cell"],
            size: Size { least: 0.0, expected: 8.0 * synapses },
            ..file(format!("{prefix}Connections.npy"), 1, CONNECTIONS)
        },
        File {
            dtype: "|O",
            axes: &["active mossy fibre", "trial"],
            unit: "nS",
            size: Size { least: 0.0, expected: 9.0 * active * f64::from(trials) },
            ..file(format!("{prefix}Weights.npy"), 2, WEIGHTS[platform])
        },
        conductance(format!("{prefix}CondE.npy"), EXCITATION[platform]),
        conductance(format!("{prefix}CondI.npy"), INHIBITION[platform]),
    ];
    let is_drawn = matches!(parameters.tonic.factor, CellFactor::Gamma { .. });
    let tonic = match preset {
        Some("ACh") => Some(OF_ACH.to_owned()),
        _ => is_drawn.then(|| format!("{prefix}TonicReduction.npy")),
    };
    files.extend(tonic.map(|name| File {
        axes: &["driven granule cell"],
        size: driven.times(8.0),
        ..file(name, 4, TONIC_FACTORS)
    }));
    files
}

/// Returns whether a file of some condition can have this name.
pub(crate) fn can_name(name: &str) -> bool {
    if name == OF_ACH {
        return true;
    }
    let ends =
        ["SpikeProb.npy", "Connections.npy", "Weights.npy", "CondE.npy", "CondI.npy", "TonicReduction.npy"];
    let name = name.strip_prefix("randomized_").unwrap_or(name);
    let mut prefixes = ends.iter().filter_map(|end| name.strip_suffix(end));
    prefixes.any(|prefix| {
        !prefix.is_empty() && prefix.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    })
}

/// Estimates the number of driven cells over all networks: the mean, and a number that all but one of 10⁹ networks
/// exceed.
fn driven(parameters: &Parameters, active: u32) -> Size {
    let fibers = f64::from(parameters.network.mossy_fibers);
    let probability = (parameters.mossy_to_granule.convergence / fibers).clamp(0.0, 1.0);
    let share = 1.0 - (1.0 - probability).powi(active as i32);
    let cells = f64::from(parameters.network.granule_cells);
    let expected = cells * share;
    let deviation = (expected * (1.0 - share)).sqrt();
    Size { least: (expected - 6.0 * deviation).max(0.0), expected }
}

/// Derives the arrays of a condition and a seed.
#[derive(Debug)]
pub(crate) struct Arrays {
    structure: Structure,
    counts: SpikeCounts,
    /// Golgi spikes of each trial, from which conductances are replayed.
    golgi: Vec<Vec<Spike>>,
}

impl Arrays {
    pub(crate) fn new(layer: &Layer, seed: u32, trials: u32) -> Arrays {
        Arrays {
            structure: Structure::new(layer, seed),
            counts: SpikeCounts::new(layer),
            golgi: Vec::with_capacity(trials as usize),
        }
    }
}

impl Derive for Arrays {
    fn add(&mut self, mut spikes: TrialSpikes) {
        self.counts.add(&spikes.trains[GRANULE]);
        self.golgi.push(spikes.trains.swap_remove(GOLGI));
    }

    fn array(&self, name: &str) -> Array<'_> {
        let structure = &self.structure;
        let layer = structure.layer();
        let columns = layer.bins();
        let conductances = || {
            Conductances::new(Isa::best(), structure, &self.golgi)
                .expect("these files are of conditions with random weights only")
        };
        let driven = || structure.driven_cells().to_vec();
        match name {
            PROBABILITIES => Array::Rows {
                cells: (0..layer.parameters().network.granule_cells).collect(),
                columns,
                row: Box::new(|cell| self.counts.probability(cell)),
            },
            CONNECTIONS => Array::Pairs(structure.active_connections()),
            name if WEIGHTS.contains(&name) => {
                let weights = structure.weights(self.golgi.len() as u32).unwrap_or_default();
                let fibers = structure.active_fibers().iter().map(|&fiber| i64::from(fiber));
                let keys = match layer.parameters().platform {
                    Platform::Linux64 | Platform::Osx64 => KeyType::Int64,
                    Platform::Win64 => KeyType::Int32,
                };
                Array::Dictionary(keys, fibers.zip(weights).collect())
            }
            name if EXCITATION.contains(&name) => {
                let of = conductances();
                Array::Rows { cells: driven(), columns, row: Box::new(move |cell| of.excitation(cell)) }
            }
            name if INHIBITION.contains(&name) => {
                let of = conductances();
                Array::Rows { cells: driven(), columns, row: Box::new(move |cell| of.inhibition(cell)) }
            }
            TONIC_FACTORS => Array::Vector(structure.tonic_factors()),
            _ => panic!("no array {name}"),
        }
    }
}
