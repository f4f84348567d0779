//! All constants of the model, in one table.
//!
//! [`Parameters`] holds the values. [`FIELDS`] lists each value by its dotted path, with unit, range and meaning. Sweep
//! files, content hashes, the wire format and the manifest all use that table, so that a constant is described in one
//! place. [`PRESETS`] are the paper's conditions, written as overrides of the defaults.
//!
//! Source of the values: Fore, Taylor, Brunel, Hull (2020), J. Neurosci., doi:10.1523/JNEUROSCI.2148-19.2020, and its
//! published program (chatmodel v1.1.0).

use std::fmt;
use std::sync::LazyLock;

use granule_engine::space::{
    CellFactor, Kind, Parameter, Range, Rejected, Reserved, Sharing, Space, Target, Unit, Value, Values,
    Variable, Words,
};

/// One of the two simulated populations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LayerPopulation {
    /// Golgi cells.
    Golgi,
    /// Granule cells.
    Granule,
}

impl LayerPopulation {
    /// The names used in sweep files.
    const NAMES: &[&str] = &["granule", "golgi"];

    /// Returns the name used in sweep files.
    pub fn name(self) -> &'static str {
        match self {
            LayerPopulation::Golgi => "golgi",
            LayerPopulation::Granule => "granule",
        }
    }
}

/// A platform of the original program. Its compiled code rounds conductances in another way, so their last bits differ; and
/// on Windows, numpy's default integer has 32 bits. Spikes are the same on all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Platform {
    /// Linux, x86-64, gcc.
    #[default]
    Linux64,
    /// macOS, x86-64, clang, without fused multiply-add.
    Osx64,
    /// Windows, x86-64, Visual C++.
    Win64,
}

impl Platform {
    /// All platforms.
    pub const ALL: [Platform; 3] = [Platform::Linux64, Platform::Osx64, Platform::Win64];

    /// The names used in sweep files: those of conda.
    const NAMES: &[&str] = &["linux-64", "osx-64", "win-64"];

    /// Returns the name used in sweep files.
    pub fn name(self) -> &'static str {
        Platform::NAMES[self as usize]
    }
}

/// Sizes of the populations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NetworkSize {
    /// Mossy fibres.
    pub mossy_fibers: u32,
    /// Granule cells.
    pub granule_cells: u32,
    /// Golgi cells.
    pub golgi_cells: u32,
}

impl NetworkSize {
    /// Returns the number of cells that draw noise: granule and Golgi cells.
    pub fn noisy_cells(self) -> u64 {
        u64::from(self.granule_cells) + u64::from(self.golgi_cells)
    }
}

/// The time grid.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TimeGrid {
    /// Integration step.
    pub step_ms: f64,
    /// Length of a trial.
    pub duration_ms: f64,
}

/// The stimulus: the activity of the mossy fibres.
#[derive(Clone, Debug, PartialEq)]
pub struct Stimulus {
    /// Spike times of every active mossy fibre.
    pub times_ms: Vec<f64>,
    /// Fraction of the mossy fibres that are active; their number is rounded half to even.
    pub active_fraction: f64,
}

/// Random weights of the active mossy fibres.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weights {
    /// Whether weights are drawn: a mean per fibre, and a factor per trial that all fibres share. Otherwise each
    /// projection uses its fixed weight.
    pub random: bool,
    /// Seed of the fibres' mean weights.
    pub seed: u32,
    /// Seed of the trials' factors.
    pub trial_seed: u32,
    /// Mean of the gamma distribution of the fibres' mean weights.
    pub mean_nsiemens: f64,
    /// Its standard deviation.
    pub sd_nsiemens: f64,
}

/// A synaptic conductance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Receptor {
    /// Reversal potential.
    pub reversal_mvolt: f64,
    /// Time constant of decay.
    pub tau_ms: f64,
}

/// The noise conductance of every cell, an Ornstein–Uhlenbeck process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Noise {
    /// Time constant.
    pub tau_ms: f64,
    /// The population that reads the noise stream first in each step (engine `brian2-2.2.1`).
    pub first: LayerPopulation,
    /// Number of the noise among the noises of a seed (engine `pcg`).
    pub stream: u32,
}

/// A leaky integrate-and-fire cell type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cell {
    /// Membrane capacitance.
    pub capacitance_pfarad: f64,
    /// Leak conductance.
    pub leak_conductance_nsiemens: f64,
    /// Leak reversal potential.
    pub leak_reversal_mvolt: f64,
    /// Spike threshold.
    pub threshold_mvolt: f64,
    /// Potential after a spike.
    pub reset_mvolt: f64,
    /// Potential at the start of a trial.
    pub initial_mvolt: f64,
    /// Time after a spike during which the potential is frozen and no spike occurs.
    pub refractory_ms: f64,
    /// σ of the noise conductance, whose standard deviation is σ/√2.
    pub noise_sigma_nsiemens: f64,
}

/// Tonic inhibition of the granule cells.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tonic {
    /// Conductance before the factor.
    pub conductance_nsiemens: f64,
    /// Factor of each granule cell.
    pub factor: CellFactor,
}

/// Mossy-fibre synapses onto one population.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MossyProjection {
    /// Mean number of synapses onto a cell.
    pub convergence: f64,
    /// Weight if weights are fixed.
    pub weight_nsiemens: f64,
    /// Factor on the weight, random or fixed.
    pub scale: f64,
}

/// Golgi-cell synapses onto granule cells.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GolgiProjection {
    /// Mean number of synapses onto a cell.
    pub convergence: f64,
    /// Weight; at 0 the projection is silent and its conductance stays 0.
    pub weight_nsiemens: f64,
    /// Conduction delay.
    pub delay_ms: f64,
}

/// All parameters of one condition. The default is the paper's Control.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters {
    /// Sizes of the populations.
    pub network: NetworkSize,
    /// The time grid.
    pub time: TimeGrid,
    /// The stimulus.
    pub stimulus: Stimulus,
    /// Random weights.
    pub weights: Weights,
    /// Excitatory conductance.
    pub excitatory: Receptor,
    /// Inhibitory conductance, tonic inhibition included.
    pub inhibitory: Receptor,
    /// Noise conductance.
    pub noise: Noise,
    /// Granule cells.
    pub granule: Cell,
    /// Tonic inhibition of granule cells.
    pub tonic: Tonic,
    /// Golgi cells.
    pub golgi: Cell,
    /// Mossy fibres onto granule cells.
    pub mossy_to_granule: MossyProjection,
    /// Mossy fibres onto Golgi cells.
    pub mossy_to_golgi: MossyProjection,
    /// Golgi cells onto granule cells.
    pub golgi_to_granule: GolgiProjection,
    /// The platform of the original program whose output files are made.
    pub platform: Platform,
}

impl Default for Parameters {
    fn default() -> Self {
        Parameters {
            network: NetworkSize { mossy_fibers: 315, granule_cells: 4096, golgi_cells: 27 },
            time: TimeGrid { step_ms: 0.1, duration_ms: 2000.0 },
            stimulus: Stimulus { times_ms: vec![1010.0, 1020.0, 1030.0], active_fraction: 0.1 },
            weights: Weights { random: true, seed: 35, trial_seed: 43, mean_nsiemens: 0.1, sd_nsiemens: 0.1 },
            excitatory: Receptor { reversal_mvolt: 0.0, tau_ms: 12.0 },
            inhibitory: Receptor { reversal_mvolt: -75.0, tau_ms: 20.0 },
            noise: Noise { tau_ms: 20.0, first: LayerPopulation::Golgi, stream: 0 },
            granule: Cell {
                capacitance_pfarad: 3.1,
                leak_conductance_nsiemens: 0.2,
                leak_reversal_mvolt: -75.0,
                threshold_mvolt: -55.0,
                reset_mvolt: -75.0,
                initial_mvolt: -75.0,
                refractory_ms: 2.0,
                noise_sigma_nsiemens: 0.05,
            },
            tonic: Tonic { conductance_nsiemens: 1.0, factor: CellFactor::Constant(1.0) },
            golgi: Cell {
                capacitance_pfarad: 60.0,
                leak_conductance_nsiemens: 3.0,
                leak_reversal_mvolt: -51.0,
                threshold_mvolt: -50.0,
                reset_mvolt: -55.0,
                initial_mvolt: -55.0,
                refractory_ms: 10.0,
                noise_sigma_nsiemens: 0.1,
            },
            mossy_to_granule: MossyProjection { convergence: 4.0, weight_nsiemens: 0.25, scale: 1.0 },
            mossy_to_golgi: MossyProjection { convergence: 10.0, weight_nsiemens: 0.65, scale: 1.0 },
            golgi_to_granule: GolgiProjection { convergence: 4.0, weight_nsiemens: 0.17, delay_ms: 2.0 },
            platform: Platform::default(),
        }
    }
}

impl Parameters {
    /// Returns the parameters with these values.
    ///
    /// # Panics
    /// If the values are of another space than [`space`].
    pub fn of(values: &Values) -> Parameters {
        let mut parameters = Parameters::default();
        for ((parameter, value), field) in values.iter().zip(FIELDS) {
            assert_eq!(parameter.path, field.path, "values of another space");
            (field.put)(&mut parameters, value);
        }
        parameters
    }

    /// Returns the values of these parameters.
    ///
    /// # Errors
    /// The first value that its parameter cannot take.
    pub fn values(&self) -> Result<Values, Rejected> {
        let mut values = space().defaults();
        for (parameter, field) in space().parameters().iter().zip(FIELDS) {
            values.set(parameter, field.get(self))?;
        }
        Ok(values)
    }

    /// Applies overrides in order.
    ///
    /// # Errors
    /// The first override whose value the field cannot take.
    ///
    /// # Panics
    /// If a path is not in [`FIELDS`]. A test checks the overrides in this crate.
    pub fn with(mut self, overrides: &[Override]) -> Result<Self, Rejected> {
        for (path, value) in overrides {
            let field = field(path).unwrap_or_else(|| panic!("no parameter `{path}`"));
            field.set(&mut self, value)?;
        }
        Ok(self)
    }
}

/// An entry of [`FIELDS`]: a parameter, and its place in [`Parameters`].
pub struct Field {
    /// Dotted path, the field's one name everywhere.
    pub path: &'static str,
    kind: Kind,
    range: Range,
    meaning: &'static str,
    /// The value that applied before the field existed, if the field was added after the first version.
    before: Option<Value>,
    get: fn(&Parameters) -> Value,
    put: fn(&mut Parameters, &Value) -> bool,
}

impl Field {
    /// Returns the field's value.
    pub fn get(&self, parameters: &Parameters) -> Value {
        (self.get)(parameters)
    }

    /// Sets the field.
    ///
    /// # Errors
    /// When the value is of the wrong kind or out of range. The parameters are then unchanged.
    pub fn set(&self, parameters: &mut Parameters, value: &Value) -> Result<(), Rejected> {
        self.parameter(&Parameters::default()).check(value)?;
        let is_taken = (self.put)(parameters, value);
        debug_assert!(is_taken, "{} has another kind than its table says", self.path);
        Ok(())
    }

    fn parameter(&self, defaults: &Parameters) -> Parameter {
        let parameter = Parameter::new(self.path, self.kind, self.range, self.get(defaults), self.meaning);
        self.before.iter().cloned().fold(parameter, Parameter::added_with)
    }
}

impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Field").field("path", &self.path).field("kind", &self.kind).finish()
    }
}

/// Returns all parameters, presets and environment variables of the granular layer, for both engines.
pub fn space() -> &'static Space {
    static SPACE: LazyLock<Space> = LazyLock::new(|| {
        let defaults = Parameters::default();
        let presets = PRESETS.iter().map(|preset| granule_engine::Preset {
            name: preset.name,
            prefix: preset.prefix,
            overrides: preset.overrides.to_vec(),
        });
        let variable = |&(name, target)| Variable { name, target, remark: ANY_VALUE };
        Space::new(FIELDS.iter().map(|field| field.parameter(&defaults)).collect())
            .with_presets(presets.collect())
            .with_variables(VARIABLES.iter().map(variable).collect())
            .with_sharing(Sharing { group: "noise", stream: "noise.stream" })
            .with_reserved(Reserved { start: "randomized_", of: "output files of random weights" })
            .with_words(Words {
                model: "the granular-layer model",
                seed: "one network and its noise",
                preset: "a condition of the paper",
                name: "tonic",
                comparison: "golgi.leak_reversal<-52 mV",
            })
    });
    &SPACE
}

/// Environment variables of the original program. They override the sweep file.
const VARIABLES: [(&str, Target); 7] = [
    ("CHAT_NUM_MF", Target::Count("network.mossy_fibers")),
    ("CHAT_NUM_GRC", Target::Count("network.granule_cells")),
    ("CHAT_NUM_GOC", Target::Count("network.golgi_cells")),
    ("CHAT_SEED_WEIGHT_MEANS", Target::Count("weights.seed")),
    ("CHAT_NUM_TRIAL", Target::Trials),
    ("CHAT_SEED_TRIAL", Target::Seed),
    ("CHAT_RANDOM_WEIGHTS", Target::Flag("weights.random")),
];

/// Text printed for `CHAT_RANDOM_WEIGHTS=False`.
const ANY_VALUE: &str =
    "the original program takes any non-empty value as true; use an empty value to turn random weights off";

/// Returns the field of this path.
pub fn field(path: &str) -> Option<&'static Field> {
    FIELDS.iter().find(|field| field.path == path)
}

/// A path of [`FIELDS`] and a value for it.
pub type Override = (&'static str, Value);

/// A condition of the paper.
#[derive(Debug)]
pub struct PaperPreset {
    /// Name in sweep files.
    pub name: &'static str,
    /// Start of the names of the original's output files of this condition.
    pub prefix: &'static str,
    /// Its changes to the defaults.
    pub overrides: &'static [Override],
}

/// The paper's three conditions.
pub static PRESETS: &[PaperPreset] = &[
    PaperPreset { name: "Control", prefix: "control", overrides: &[] },
    PaperPreset {
        name: "GABAzine",
        prefix: "gaba",
        overrides: &[
            ("granule.tonic_factor", Value::Factor(CellFactor::Constant(0.0))),
            ("golgi_to_granule.weight", Value::Number(0.0)),
            // An accident of object naming in the original, kept here: the same stream is read in another order.
            ("noise.first", Value::Choice("granule")),
        ],
    },
    PaperPreset {
        name: "ACh",
        prefix: "ach",
        overrides: &[
            ("granule.tonic_factor", Value::Factor(CellFactor::Gamma { mean: 0.4, sd: 0.07, seed: 1 })),
            ("mossy_to_granule.scale", Value::Number(0.4521)),
            ("mossy_to_golgi.scale", Value::Number(0.4578)),
            ("golgi.leak_reversal", Value::Number(-55.0)),
        ],
    },
];

/// Returns the preset of this name.
pub fn preset(name: &str) -> Option<&'static PaperPreset> {
    PRESETS.iter().find(|preset| preset.name == name)
}

/// Largest population that the engines accept. A larger network could not be wired in memory.
const MOST_CELLS: f64 = 1_000_000.0;

/// Range of potentials, in mV. No membrane exceeds a volt; a larger value has a wrong prefix.
const POTENTIAL: Range = Range::Between(-1000.0, 1000.0);

/// Conversion between a type in [`Parameters`] and [`Value`].
trait HasValue: Sized {
    fn to_value(&self) -> Value;
    fn of_value(value: &Value) -> Option<Self>;
}

macro_rules! held {
    ($($kind:ident $type:ty;)*) => {$(
        impl HasValue for $type {
            fn to_value(&self) -> Value {
                Value::$kind(self.clone())
            }

            fn of_value(value: &Value) -> Option<$type> {
                match value {
                    Value::$kind(held) => Some(held.clone()),
                    _ => None,
                }
            }
        }
    )*};
}

held! {
    Number f64;
    Count u32;
    Flag bool;
    Numbers Vec<f64>;
    Factor CellFactor;
}

impl HasValue for Platform {
    fn to_value(&self) -> Value {
        Value::Choice(self.name())
    }

    fn of_value(value: &Value) -> Option<Platform> {
        Platform::ALL.into_iter().find(|platform| platform.to_value() == *value)
    }
}

impl HasValue for LayerPopulation {
    fn to_value(&self) -> Value {
        Value::Choice(self.name())
    }

    fn of_value(value: &Value) -> Option<LayerPopulation> {
        let populations = [LayerPopulation::Golgi, LayerPopulation::Granule];
        populations.into_iter().find(|population| *value == population.to_value())
    }
}

macro_rules! table {
    (@before) => { None };
    (@before $before:expr) => { Some($before) };
    ($($path:literal $kind:expr, $range:expr, $($place:ident).+ $(= $before:expr)?, $meaning:literal;)*) => {
        /// Every parameter, in the order that content hashes and the wire use.
        pub static FIELDS: &[Field] = &[$(
            Field {
                path: $path,
                kind: $kind,
                range: $range,
                meaning: $meaning,
                before: table!(@before $($before)?),
                get: |parameters| parameters.$($place).+.to_value(),
                put: |parameters, value| {
                    let held = HasValue::of_value(value);
                    let is_taken = held.is_some();
                    held.into_iter().for_each(|held| parameters.$($place).+ = held);
                    is_taken
                },
            },
        )*];
    };
}

use Kind::{Choice, Count, Factor, Flag, Quantities, Quantity};
use Range::{Between, Finite, NonNegative, Positive};
use Unit::{Millisecond, Millivolt, Nanosiemens, One, Picofarad};

table! {
    "network.mossy_fibers" Count, Between(1.0, MOST_CELLS), network.mossy_fibers, "number of mossy fibres";
    "network.granule_cells" Count, Between(1.0, MOST_CELLS), network.granule_cells, "number of granule cells";
    "network.golgi_cells" Count, Between(1.0, MOST_CELLS), network.golgi_cells, "number of Golgi cells";
    "time.step" Quantity(Millisecond), Between(0.001, 1.0), time.step_ms, "integration step dt; a whole number of steps makes 1 ms";
    "time.duration" Quantity(Millisecond), Between(1.0, 1_000_000.0), time.duration_ms, "length of a trial; a whole number of ms";
    "stimulus.times" Quantities(Millisecond), NonNegative, stimulus.times_ms, "spike times of the active mossy fibres: before the end of the trial, at most one in a step";
    "stimulus.active_fraction" Quantity(One), Between(0.0, 1.0), stimulus.active_fraction, "fraction of mossy fibres that are active; their number is rounded half to even";
    "weights.random" Flag, Finite, weights.random, "draw the weights of mossy fibres: a mean for each fibre, times one factor for all fibres of a trial";
    "weights.seed" Count, NonNegative, weights.seed, "seed of the fibres' mean weights";
    "weights.trial_seed" Count, NonNegative, weights.trial_seed, "seed of the factors of the trials";
    "weights.mean" Quantity(Nanosiemens), Positive, weights.mean_nsiemens, "mean of the fibres' mean weights";
    "weights.sd" Quantity(Nanosiemens), Positive, weights.sd_nsiemens, "standard deviation of the fibres' mean weights, at most 3 times their mean";
    "excitatory.reversal" Quantity(Millivolt), POTENTIAL, excitatory.reversal_mvolt, "excitatory reversal potential";
    "excitatory.tau" Quantity(Millisecond), Positive, excitatory.tau_ms, "decay time constant of the excitatory conductance";
    "inhibitory.reversal" Quantity(Millivolt), POTENTIAL, inhibitory.reversal_mvolt, "inhibitory reversal potential";
    "inhibitory.tau" Quantity(Millisecond), Positive, inhibitory.tau_ms, "decay time constant of the inhibitory conductance";
    "noise.tau" Quantity(Millisecond), Positive, noise.tau_ms, "time constant of the noise conductance";
    "noise.first" Choice(LayerPopulation::NAMES), Finite, noise.first, "population that reads the noise stream first in a step; no effect with engine `pcg`";
    "noise.stream" Count, NonNegative, noise.stream, "conditions with the same number share noise; no effect with engine `brian2-2.2.1`";
    "granule.capacitance" Quantity(Picofarad), Positive, granule.capacitance_pfarad, "granule cell membrane capacitance";
    "granule.leak_conductance" Quantity(Nanosiemens), NonNegative, granule.leak_conductance_nsiemens, "granule cell leak conductance";
    "granule.leak_reversal" Quantity(Millivolt), POTENTIAL, granule.leak_reversal_mvolt, "granule cell leak reversal potential";
    "granule.threshold" Quantity(Millivolt), POTENTIAL, granule.threshold_mvolt, "granule cell spike threshold";
    "granule.reset" Quantity(Millivolt), POTENTIAL, granule.reset_mvolt, "granule cell potential after a spike";
    "granule.initial" Quantity(Millivolt), POTENTIAL, granule.initial_mvolt, "granule cell potential at the start of a trial";
    "granule.refractory" Quantity(Millisecond), NonNegative, granule.refractory_ms, "granule cell refractory period";
    "granule.noise_sigma" Quantity(Nanosiemens), NonNegative, granule.noise_sigma_nsiemens, "σ of the granule cells' noise; the standard deviation of the noise is σ/√2";
    "granule.tonic_conductance" Quantity(Nanosiemens), NonNegative, tonic.conductance_nsiemens, "tonic conductance before `granule.tonic_factor`";
    "granule.tonic_factor" Factor, NonNegative, tonic.factor, "factor on tonic inhibition; a distribution gives each granule cell its own";
    "golgi.capacitance" Quantity(Picofarad), Positive, golgi.capacitance_pfarad, "Golgi cell membrane capacitance";
    "golgi.leak_conductance" Quantity(Nanosiemens), NonNegative, golgi.leak_conductance_nsiemens, "Golgi cell leak conductance";
    "golgi.leak_reversal" Quantity(Millivolt), POTENTIAL, golgi.leak_reversal_mvolt, "Golgi cell leak reversal potential";
    "golgi.threshold" Quantity(Millivolt), POTENTIAL, golgi.threshold_mvolt, "Golgi cell spike threshold";
    "golgi.reset" Quantity(Millivolt), POTENTIAL, golgi.reset_mvolt, "Golgi cell potential after a spike";
    "golgi.initial" Quantity(Millivolt), POTENTIAL, golgi.initial_mvolt, "Golgi cell potential at the start of a trial";
    "golgi.refractory" Quantity(Millisecond), NonNegative, golgi.refractory_ms, "Golgi cell refractory period";
    "golgi.noise_sigma" Quantity(Nanosiemens), NonNegative, golgi.noise_sigma_nsiemens, "σ of the Golgi cells' noise; the standard deviation of the noise is σ/√2";
    "mossy_to_granule.convergence" Quantity(One), NonNegative, mossy_to_granule.convergence, "mean number of mossy-fibre synapses onto a granule cell, at most one from each fibre";
    "mossy_to_granule.weight" Quantity(Nanosiemens), NonNegative, mossy_to_granule.weight_nsiemens, "weight if `weights.random` is false";
    "mossy_to_granule.scale" Quantity(One), NonNegative, mossy_to_granule.scale, "factor on the weight, random or fixed";
    "mossy_to_golgi.convergence" Quantity(One), NonNegative, mossy_to_golgi.convergence, "mean number of mossy-fibre synapses onto a Golgi cell, at most one from each fibre";
    "mossy_to_golgi.weight" Quantity(Nanosiemens), NonNegative, mossy_to_golgi.weight_nsiemens, "weight if `weights.random` is false";
    "mossy_to_golgi.scale" Quantity(One), NonNegative, mossy_to_golgi.scale, "factor on the weight, random or fixed";
    "golgi_to_granule.convergence" Quantity(One), NonNegative, golgi_to_granule.convergence, "mean number of Golgi-cell synapses onto a granule cell, at most one from each Golgi cell";
    "golgi_to_granule.weight" Quantity(Nanosiemens), NonNegative, golgi_to_granule.weight_nsiemens, "weight of a Golgi-cell synapse";
    "golgi_to_granule.delay" Quantity(Millisecond), NonNegative, golgi_to_granule.delay_ms, "conduction delay from Golgi to granule cells";
    "platform" Choice(Platform::NAMES), Finite, platform = Value::Choice("linux-64"), "platform of the original program whose files are made, with its last bits; only with engine `brian2-2.2.1`";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_names_existing_fields_and_valid_values() {
        for preset in PRESETS {
            Parameters::default().with(preset.overrides).unwrap();
        }
    }

    #[test]
    fn paths_are_unique_and_values_are_kept() {
        let defaults = Parameters::default();
        for (i, field) in FIELDS.iter().enumerate() {
            assert!(FIELDS[..i].iter().all(|other| other.path != field.path), "{}", field.path);
        }
        let mut values = space().defaults();
        assert_eq!(Parameters::of(&values), defaults);
        assert_eq!(defaults.values().unwrap(), values);
        for preset in space().presets() {
            values = values.with(preset);
            let parameters = Parameters::of(&values);
            assert_eq!(parameters.values().unwrap(), values);
        }
        assert_eq!(values.get("noise.first"), Some(&Value::Choice("granule")));
    }

    #[test]
    fn potentials_lie_within_a_volt() {
        let field = field("golgi.reset").unwrap();
        let range = "`golgi.reset` must be between -1000 and 1000 mV, not";
        for (potential, shown) in [(-1000.1, "-1000.1"), (1e33, "1e33")] {
            let mut parameters = Parameters::default();
            let error = field.set(&mut parameters, &Value::Number(potential)).unwrap_err();
            assert_eq!((error.to_string(), parameters), (format!("{range} {shown}"), Parameters::default()));
        }
    }
}
