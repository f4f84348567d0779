//! Every constant of the model, in one table.
//!
//! [`Parameters`] holds the values; [`FIELDS`] names each of them by its dotted path, with unit,
//! range and meaning. Sweep files, content hashes, the wire format and the manifest all go through
//! that table, so a constant is described in one place only. [`PRESETS`] are the paper's conditions,
//! written as overrides on the defaults.
//!
//! Source of the values: Fore, Taylor, Brunel, Hull (2020), J. Neurosci.,
//! doi:10.1523/JNEUROSCI.2148-19.2020, and its published program (chatmodel v1.1.0).

use std::fmt;

/// The unit a quantity is held in. Sweep files may use any prefix of the same dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A bare number.
    One,
    /// Milliseconds.
    Millisecond,
    /// Millivolts.
    Millivolt,
    /// Nanosiemens.
    Nanosiemens,
    /// Picofarads.
    Picofarad,
}

impl Unit {
    /// The symbol as written in sweep files; empty for a bare number.
    pub fn symbol(self) -> &'static str {
        match self {
            Unit::One => "",
            Unit::Millisecond => "ms",
            Unit::Millivolt => "mV",
            Unit::Nanosiemens => "nS",
            Unit::Picofarad => "pF",
        }
    }
}

/// A factor that each cell has its own value of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CellFactor {
    /// The same for every cell.
    Constant(f64),
    /// One draw per cell, in order of the cells, from a gamma distribution.
    Gamma {
        /// Mean of the distribution.
        mean: f64,
        /// Standard deviation of the distribution.
        sd: f64,
        /// Seed of the generator that these draws alone come from.
        seed: u32,
    },
}

/// One of the two simulated populations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Population {
    /// Golgi cells.
    Golgi,
    /// Granule cells.
    Granule,
}

impl Population {
    /// The name used in sweep files.
    pub fn name(self) -> &'static str {
        match self {
            Population::Golgi => "golgi",
            Population::Granule => "granule",
        }
    }
}

/// A value of any field of [`Parameters`], in the unit its [`Kind`] states.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A quantity, in the field's unit.
    Number(f64),
    /// A whole number.
    Count(u32),
    /// Yes or no.
    Flag(bool),
    /// Several quantities, in the field's unit.
    Numbers(Vec<f64>),
    /// A factor per cell.
    Factor(CellFactor),
    /// A population.
    Population(Population),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Number(x) => write!(f, "{x}"),
            Value::Count(n) => write!(f, "{n}"),
            Value::Flag(b) => write!(f, "{b}"),
            Value::Numbers(list) => {
                let list: Vec<String> = list.iter().map(f64::to_string).collect();
                write!(f, "[{}]", list.join(", "))
            }
            Value::Factor(CellFactor::Constant(x)) => write!(f, "{x}"),
            Value::Factor(CellFactor::Gamma { mean, sd, seed }) => {
                write!(f, "gamma(mean: {mean}, sd: {sd}, seed: {seed})")
            }
            Value::Population(p) => f.write_str(p.name()),
        }
    }
}

/// What kind of [`Value`] a field takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// [`Value::Number`] in this unit.
    Quantity(Unit),
    /// [`Value::Count`].
    Count,
    /// [`Value::Flag`].
    Flag,
    /// [`Value::Numbers`] in this unit.
    Quantities(Unit),
    /// [`Value::Factor`].
    Factor,
    /// [`Value::Population`].
    Population,
}

/// The values a quantity or a count may take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Range {
    /// Any finite number.
    Finite,
    /// Finite and above zero.
    Positive,
    /// Finite and not below zero.
    NonNegative,
    /// Between these two, both included.
    Between(f64, f64),
}

impl Range {
    /// Whether a number is in it.
    pub fn contains(self, x: f64) -> bool {
        x.is_finite()
            && match self {
                Range::Finite => true,
                Range::Positive => x > 0.0,
                Range::NonNegative => x >= 0.0,
                Range::Between(low, high) => (low..=high).contains(&x),
            }
    }
}

impl Range {
    /// The range for people, with the symbol of its unit.
    pub fn in_words(self, unit: &str) -> String {
        let unit = if unit.is_empty() { String::new() } else { format!(" {unit}") };
        match self {
            Range::Finite => "a finite number".to_owned(),
            Range::Positive => format!("above 0{unit}"),
            Range::NonNegative => format!("0{unit} or above"),
            Range::Between(low, high) => format!("between {low} and {high}{unit}"),
        }
    }
}

/// Why a value was not taken by a field.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Rejected {
    /// The value is of another kind than the field.
    #[error("`{path}` cannot take this kind of value")]
    WrongKind {
        /// The field's path.
        path: &'static str,
    },
    /// The value lies outside the field's range.
    #[error("`{path}` must be {}, not {}", range.in_words(unit), in_short(*found))]
    OutOfRange {
        /// The field's path.
        path: &'static str,
        /// What it may be.
        range: Range,
        /// Symbol of the field's unit.
        unit: &'static str,
        /// What it was given.
        found: f64,
    },
}

/// A number for people: with an exponent where it would be a row of zeros.
pub(crate) fn in_short(x: f64) -> String {
    if x.abs() < 1e15 { x.to_string() } else { format!("{x:e}") }
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
    /// Cells that draw noise: granule and Golgi cells.
    pub fn noisy_cells(self) -> u64 {
        u64::from(self.granule_cells) + u64::from(self.golgi_cells)
    }
}

/// The grid of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Time {
    /// Integration step.
    pub step_ms: f64,
    /// Length of a trial.
    pub duration_ms: f64,
}

/// What the mossy fibres do.
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
    /// Drawn: a mean per fibre, and a factor per trial that all fibres share. Else the fixed weight of each projection is
    /// used.
    pub random: bool,
    /// Seed of the fibres' mean weights.
    pub seed: u32,
    /// Seed of the factors of the trials.
    pub trial_seed: u32,
    /// Mean of the gamma distribution that the fibres' mean weights come from.
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
    /// Which population reads the noise stream first in each step (engine `brian2-2.2.1`).
    pub first: Population,
    /// Which of its noises a seed has (engine `pcg`).
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
    /// Weight where weights are not random.
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
    /// The grid of time.
    pub time: Time,
    /// What the mossy fibres do.
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
}

impl Default for Parameters {
    fn default() -> Self {
        Parameters {
            network: NetworkSize { mossy_fibers: 315, granule_cells: 4096, golgi_cells: 27 },
            time: Time { step_ms: 0.1, duration_ms: 2000.0 },
            stimulus: Stimulus { times_ms: vec![1010.0, 1020.0, 1030.0], active_fraction: 0.1 },
            weights: Weights { random: true, seed: 35, trial_seed: 43, mean_nsiemens: 0.1, sd_nsiemens: 0.1 },
            excitatory: Receptor { reversal_mvolt: 0.0, tau_ms: 12.0 },
            inhibitory: Receptor { reversal_mvolt: -75.0, tau_ms: 20.0 },
            noise: Noise { tau_ms: 20.0, first: Population::Golgi, stream: 0 },
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
        }
    }
}

impl Parameters {
    /// Applies overrides in order.
    ///
    /// # Errors
    /// The first override whose value the field does not take.
    ///
    /// # Panics
    /// If a path is not in [`FIELDS`]; overrides written in this crate are tested against that.
    pub fn with(mut self, overrides: &[Override]) -> Result<Self, Rejected> {
        for (path, value) in overrides {
            let field = field(path).unwrap_or_else(|| panic!("no parameter `{path}`"));
            field.set(&mut self, value.clone())?;
        }
        Ok(self)
    }
}

/// One entry of [`FIELDS`].
pub struct Field {
    /// Dotted path, the field's one name everywhere.
    pub path: &'static str,
    /// What kind of value it takes.
    pub kind: Kind,
    /// The values it may take.
    pub range: Range,
    /// What it is, in a line.
    pub meaning: &'static str,
    get: fn(&Parameters) -> Value,
    put: fn(&mut Parameters, Value) -> bool,
}

impl Field {
    /// The field's value.
    pub fn get(&self, parameters: &Parameters) -> Value {
        (self.get)(parameters)
    }

    /// Sets the field.
    ///
    /// # Errors
    /// When the value is of the wrong kind or out of range; nothing is changed then.
    pub fn set(&self, parameters: &mut Parameters, value: Value) -> Result<(), Rejected> {
        let out_of_range = |found: f64| Rejected::OutOfRange {
            path: self.path,
            range: self.range,
            unit: match self.kind {
                Kind::Quantity(unit) | Kind::Quantities(unit) => unit.symbol(),
                _ => "",
            },
            found,
        };
        let numbers: &[f64] = match &value {
            Value::Number(x) => &[*x],
            Value::Count(n) => &[f64::from(*n)],
            Value::Numbers(list) => list,
            Value::Factor(CellFactor::Constant(x)) => &[*x],
            Value::Factor(CellFactor::Gamma { mean, sd, .. }) => {
                // A gamma distribution has neither a zero mean nor a zero spread.
                if let Some(&found) = [mean, sd].into_iter().find(|x| !Range::Positive.contains(**x)) {
                    return Err(Rejected::OutOfRange {
                        path: self.path,
                        range: Range::Positive,
                        unit: "",
                        found,
                    });
                }
                &[]
            }
            Value::Flag(_) | Value::Population(_) => &[],
        };
        if let Some(&found) = numbers.iter().find(|x| !self.range.contains(**x)) {
            return Err(out_of_range(found));
        }
        if (self.put)(parameters, value) { Ok(()) } else { Err(Rejected::WrongKind { path: self.path }) }
    }
}

impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Field").field("path", &self.path).field("kind", &self.kind).finish()
    }
}

/// The field of this path.
pub fn field(path: &str) -> Option<&'static Field> {
    FIELDS.iter().find(|field| field.path == path)
}

/// A path of [`FIELDS`] and the value it takes.
pub type Override = (&'static str, Value);

/// A condition of the paper.
#[derive(Debug)]
pub struct Preset {
    /// Its name in sweep files.
    pub name: &'static str,
    /// What the original's output files of this condition start with.
    pub prefix: &'static str,
    /// What it changes in the defaults.
    pub overrides: &'static [Override],
}

/// The paper's three conditions.
pub static PRESETS: &[Preset] = &[
    Preset { name: "Control", prefix: "control", overrides: &[] },
    Preset {
        name: "GABAzine",
        prefix: "gaba",
        overrides: &[
            ("granule.tonic_factor", Value::Factor(CellFactor::Constant(0.0))),
            ("golgi_to_granule.weight", Value::Number(0.0)),
            // An accident of object naming in the original, kept: the same stream in another order.
            ("noise.first", Value::Population(Population::Granule)),
        ],
    },
    Preset {
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

/// The preset of this name.
pub fn preset(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name)
}

/// Largest population the engine accepts. Beyond it a network could not be wired in memory.
const MOST_CELLS: f64 = 1_000_000.0;

/// Potentials, in mV. Beyond a volt no membrane is, and a prefix has slipped.
const POTENTIAL: Range = Range::Between(-1000.0, 1000.0);

macro_rules! table {
    ($($path:literal $kind:expr, $range:expr, $variant:ident $($place:ident).+, $meaning:literal;)*) => {
        /// Every parameter, in the order that content hashes and the wire use.
        pub static FIELDS: &[Field] = &[$(
            Field {
                path: $path,
                kind: $kind,
                range: $range,
                meaning: $meaning,
                get: |p| Value::$variant(p.$($place).+.clone()),
                put: |p, value| match value {
                    Value::$variant(x) => {
                        p.$($place).+ = x;
                        true
                    }
                    _ => false,
                },
            },
        )*];
    };
}

use Kind::{Count, Factor, Flag, Quantities, Quantity};
use Range::{Between, Finite, NonNegative, Positive};
use Unit::{Millisecond, Millivolt, Nanosiemens, One, Picofarad};

table! {
    "network.mossy_fibers" Count, Between(1.0, MOST_CELLS), Count network.mossy_fibers, "number of mossy fibres";
    "network.granule_cells" Count, Between(1.0, MOST_CELLS), Count network.granule_cells, "number of granule cells";
    "network.golgi_cells" Count, Between(1.0, MOST_CELLS), Count network.golgi_cells, "number of Golgi cells";
    "time.step" Quantity(Millisecond), Between(0.001, 1.0), Number time.step_ms, "integration step dt; a whole number of steps makes 1 ms";
    "time.duration" Quantity(Millisecond), Between(1.0, 1_000_000.0), Number time.duration_ms, "length of a trial; a whole number of ms";
    "stimulus.times" Quantities(Millisecond), NonNegative, Numbers stimulus.times_ms, "spike times of the active mossy fibres: before the end of the trial, at most one in a step";
    "stimulus.active_fraction" Quantity(One), Between(0.0, 1.0), Number stimulus.active_fraction, "fraction of mossy fibres that are active; their number is rounded half to even";
    "weights.random" Flag, Finite, Flag weights.random, "draw the weights of mossy fibres: a mean for each fibre, times one factor for all fibres of a trial";
    "weights.seed" Count, NonNegative, Count weights.seed, "seed of the fibres' mean weights";
    "weights.trial_seed" Count, NonNegative, Count weights.trial_seed, "seed of the factors of the trials";
    "weights.mean" Quantity(Nanosiemens), Positive, Number weights.mean_nsiemens, "mean of the fibres' mean weights";
    "weights.sd" Quantity(Nanosiemens), Positive, Number weights.sd_nsiemens, "standard deviation of the fibres' mean weights, at most 3 times their mean";
    "excitatory.reversal" Quantity(Millivolt), POTENTIAL, Number excitatory.reversal_mvolt, "excitatory reversal potential";
    "excitatory.tau" Quantity(Millisecond), Positive, Number excitatory.tau_ms, "decay of the excitatory conductance";
    "inhibitory.reversal" Quantity(Millivolt), POTENTIAL, Number inhibitory.reversal_mvolt, "inhibitory reversal potential";
    "inhibitory.tau" Quantity(Millisecond), Positive, Number inhibitory.tau_ms, "decay of the inhibitory conductance";
    "noise.tau" Quantity(Millisecond), Positive, Number noise.tau_ms, "time constant of the noise conductance";
    "noise.first" Kind::Population, Finite, Population noise.first, "population that reads the noise stream first in a step; of no effect with engine `pcg`";
    "noise.stream" Count, NonNegative, Count noise.stream, "number of the noise, the same for all conditions that are to share it; of no effect with engine `brian2-2.2.1`";
    "granule.capacitance" Quantity(Picofarad), Positive, Number granule.capacitance_pfarad, "granule cell membrane capacitance";
    "granule.leak_conductance" Quantity(Nanosiemens), NonNegative, Number granule.leak_conductance_nsiemens, "granule cell leak conductance";
    "granule.leak_reversal" Quantity(Millivolt), POTENTIAL, Number granule.leak_reversal_mvolt, "granule cell leak reversal potential";
    "granule.threshold" Quantity(Millivolt), POTENTIAL, Number granule.threshold_mvolt, "granule cell spike threshold";
    "granule.reset" Quantity(Millivolt), POTENTIAL, Number granule.reset_mvolt, "granule cell potential after a spike";
    "granule.initial" Quantity(Millivolt), POTENTIAL, Number granule.initial_mvolt, "granule cell potential at the start of a trial";
    "granule.refractory" Quantity(Millisecond), NonNegative, Number granule.refractory_ms, "granule cell refractory period";
    "granule.noise_sigma" Quantity(Nanosiemens), NonNegative, Number granule.noise_sigma_nsiemens, "σ of the granule cells' noise; the standard deviation of the noise is σ/√2";
    "granule.tonic_conductance" Quantity(Nanosiemens), NonNegative, Number tonic.conductance_nsiemens, "tonic inhibition before its factor";
    "granule.tonic_factor" Factor, NonNegative, Factor tonic.factor, "factor on tonic inhibition; a distribution gives each granule cell its own";
    "golgi.capacitance" Quantity(Picofarad), Positive, Number golgi.capacitance_pfarad, "Golgi cell membrane capacitance";
    "golgi.leak_conductance" Quantity(Nanosiemens), NonNegative, Number golgi.leak_conductance_nsiemens, "Golgi cell leak conductance";
    "golgi.leak_reversal" Quantity(Millivolt), POTENTIAL, Number golgi.leak_reversal_mvolt, "Golgi cell leak reversal potential";
    "golgi.threshold" Quantity(Millivolt), POTENTIAL, Number golgi.threshold_mvolt, "Golgi cell spike threshold";
    "golgi.reset" Quantity(Millivolt), POTENTIAL, Number golgi.reset_mvolt, "Golgi cell potential after a spike";
    "golgi.initial" Quantity(Millivolt), POTENTIAL, Number golgi.initial_mvolt, "Golgi cell potential at the start of a trial";
    "golgi.refractory" Quantity(Millisecond), NonNegative, Number golgi.refractory_ms, "Golgi cell refractory period";
    "golgi.noise_sigma" Quantity(Nanosiemens), NonNegative, Number golgi.noise_sigma_nsiemens, "σ of the Golgi cells' noise; the standard deviation of the noise is σ/√2";
    "mossy_to_granule.convergence" Quantity(One), NonNegative, Number mossy_to_granule.convergence, "mean number of mossy-fibre synapses onto a granule cell, at most one from each fibre";
    "mossy_to_granule.weight" Quantity(Nanosiemens), NonNegative, Number mossy_to_granule.weight_nsiemens, "weight where weights are fixed";
    "mossy_to_granule.scale" Quantity(One), NonNegative, Number mossy_to_granule.scale, "factor on the weight";
    "mossy_to_golgi.convergence" Quantity(One), NonNegative, Number mossy_to_golgi.convergence, "mean number of mossy-fibre synapses onto a Golgi cell, at most one from each fibre";
    "mossy_to_golgi.weight" Quantity(Nanosiemens), NonNegative, Number mossy_to_golgi.weight_nsiemens, "weight where weights are fixed";
    "mossy_to_golgi.scale" Quantity(One), NonNegative, Number mossy_to_golgi.scale, "factor on the weight";
    "golgi_to_granule.convergence" Quantity(One), NonNegative, Number golgi_to_granule.convergence, "mean number of Golgi-cell synapses onto a granule cell, at most one from each Golgi cell";
    "golgi_to_granule.weight" Quantity(Nanosiemens), NonNegative, Number golgi_to_granule.weight_nsiemens, "weight of a Golgi-cell synapse";
    "golgi_to_granule.delay" Quantity(Millisecond), NonNegative, Number golgi_to_granule.delay_ms, "conduction delay from Golgi to granule cells";
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
    fn paths_are_unique_and_every_field_takes_its_own_value() {
        let defaults = Parameters::default();
        for (i, field) in FIELDS.iter().enumerate() {
            assert!(FIELDS[..i].iter().all(|other| other.path != field.path), "{}", field.path);
            let mut copy = defaults.clone();
            field.set(&mut copy, field.get(&defaults)).unwrap();
            assert_eq!(copy, defaults, "{}", field.path);
        }
    }

    #[test]
    fn values_out_of_range_or_of_the_wrong_kind_change_nothing() {
        let check = |path: &str, value: Value, message: &str| {
            let mut parameters = Parameters::default();
            let error = field(path).unwrap().set(&mut parameters, value).unwrap_err();
            assert_eq!(error.to_string(), message);
            assert_eq!(parameters, Parameters::default());
        };
        check("granule.capacitance", Value::Number(0.0), "`granule.capacitance` must be above 0 pF, not 0");
        check(
            "network.golgi_cells",
            Value::Count(0),
            "`network.golgi_cells` must be between 1 and 1000000, not 0",
        );
        check(
            "granule.tonic_factor",
            Value::Factor(CellFactor::Gamma { mean: 0.4, sd: 0.0, seed: 1 }),
            "`granule.tonic_factor` must be above 0, not 0",
        );
        check("weights.random", Value::Count(1), "`weights.random` cannot take this kind of value");
        let range = "must be between -1000 and 1000 mV, not";
        check("golgi.reset", Value::Number(-1000.1), &format!("`golgi.reset` {range} -1000.1"));
        check("golgi.reset", Value::Number(1e33), &format!("`golgi.reset` {range} 1e33"));
    }
}
