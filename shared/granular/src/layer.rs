//! [`Layer`]: parameters checked as a whole, and the numbers that a simulation derives from them.

use granule_engine::space::{CellFactor, in_short};

use crate::Method;
use crate::clock::{Clock, half_to_even, is_decimal};
use crate::parameters::{Cell, MossyProjection, Parameters, Platform};
use granule_engine::elementary::ln;

/// The reason why parameters, each in range, contradict each other.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum LayerInconsistent {
    /// No whole number of steps makes a millisecond.
    #[error("`time.step` is {step_ms} ms, but a whole number of steps must make 1 ms")]
    Step {
        /// The requested step.
        step_ms: f64,
    },
    /// The trial is not a whole number of milliseconds long.
    #[error("`time.duration` is {duration_ms} ms, but must be a whole number of ms")]
    Duration {
        /// The requested duration.
        duration_ms: f64,
    },
    /// A stimulus falls outside the trial, or in the step after its last one.
    #[error(
        "`stimulus.times` has {time_ms} ms{}, but the trial ends at {duration_ms} ms",
        if time_ms < duration_ms { ", which is in the step after the last one" } else { "" }
    )]
    StimulusOutside {
        /// The stimulus.
        time_ms: f64,
        /// End of the trial.
        duration_ms: f64,
    },
    /// Two stimuli fall in one step.
    #[error("`stimulus.times` has two spikes within one step of {step_ms} ms, near {time_ms} ms")]
    StimuliCoincide {
        /// The later of the two.
        time_ms: f64,
        /// The integration step.
        step_ms: f64,
    },
    /// The integration would diverge.
    #[error(
        "`time.step` of {step_ms} ms is too long for `{path}` of {tau_ms} ms: forward Euler needs a step below it"
    )]
    Unstable {
        /// The time constant's path.
        path: &'static str,
        /// The time constant.
        tau_ms: f64,
        /// The integration step.
        step_ms: f64,
    },
    /// The membrane potential would diverge.
    #[error(
        "`time.step` of {step_ms} ms is too long for {}: with a time constant of {tau_ms:.3} ms at rest, \
         forward Euler needs a step below it",
        listed(paths)
    )]
    UnstableMembrane {
        /// The paths that determine the time constant.
        paths: &'static [&'static str],
        /// Capacitance divided by resting conductance.
        tau_ms: f64,
        /// The integration step.
        step_ms: f64,
    },
    /// The membrane potential of granule cells would diverge because of their factors on tonic inhibition.
    #[error(
        "`time.step` of {step_ms} ms is too long for `granule.tonic_factor`: {} makes tonic inhibition \
         {} nS and the time constant at rest {tau_ms:.3} ms, and forward Euler needs a step below it",
        if *is_drawn {
            format!("a largest expected factor of {}", rounded(*factor))
        } else {
            format!("a factor of {}", rounded(*factor))
        },
        rounded(*tonic_nsiemens)
    )]
    UnstableTonic {
        /// The largest factor.
        factor: f64,
        /// Whether the factor is the largest draw to expect. Otherwise it is a constant.
        is_drawn: bool,
        /// The smallest factor that is too large.
        limit: f64,
        /// Tonic conductance with the factor.
        tonic_nsiemens: f64,
        /// Capacitance divided by resting conductance.
        tau_ms: f64,
        /// The integration step.
        step_ms: f64,
    },
    /// One synapse would move the membrane potential past its reversal potential, and further away from it.
    #[error(
        "{}: {} nS at one synapse, but with `{capacitance}` and a `time.step` of {step_ms} ms forward \
         Euler needs less than {} nS",
        listed(paths),
        rounded(*conductance_nsiemens),
        rounded(*limit_nsiemens)
    )]
    StrongSynapse {
        /// The paths that determine the weight.
        paths: &'static [&'static str],
        /// Path of the capacitance of the postsynaptic cells.
        capacitance: &'static str,
        /// Weight with its factor; for random weights, their mean.
        conductance_nsiemens: f64,
        /// Twice the capacitance divided by the step.
        limit_nsiemens: f64,
        /// The integration step.
        step_ms: f64,
    },
    /// A gamma distribution is so skewed that its draws vanish.
    #[error(
        "{}: the standard deviation {sd} is more than {MOST_SKEWED:.0} times the mean {mean}",
        listed(paths)
    )]
    TooSkewed {
        /// The paths that determine the distribution.
        paths: &'static [&'static str],
        /// The mean.
        mean: f64,
        /// The standard deviation.
        sd: f64,
    },
    /// A gamma distribution is so narrow that its shape exceeds the range of numbers.
    #[error("{}: the standard deviation {sd} is less than a millionth of the mean {mean}", listed(paths))]
    TooNarrow {
        /// The paths that determine the distribution.
        paths: &'static [&'static str],
        /// The mean.
        mean: f64,
        /// The standard deviation.
        sd: f64,
    },
    /// A trial would take hours.
    #[error("{cells} cells × {steps} steps of `time.duration` are more than one trial can have")]
    TooLong {
        /// Cells that draw noise.
        cells: u64,
        /// Steps of a trial.
        steps: u32,
    },
    /// Only the exact engine makes the files of another platform.
    #[error("`platform` is `{}`, but engine `{}` makes the same files for every platform", platform.name(), Method::Pcg.engine().name())]
    Platform {
        /// The requested platform.
        platform: Platform,
    },
    /// An output file would be too large to use.
    #[error(
        "`network.granule_cells` × `time.duration` makes output files with {values} values; the limit is \
         {MOST_VALUES}"
    )]
    TooLarge {
        /// Granule cells × milliseconds.
        values: u64,
    },
    /// A projection would not fit in memory.
    #[error("`{path}` makes about {synapses:.0} synapses, more than {MOST_SYNAPSES:.0}")]
    TooManySynapses {
        /// The convergence's path.
        path: &'static str,
        /// Expected number of synapses.
        synapses: f64,
    },
}

/// Formats a number for messages, to a thousandth.
fn rounded(x: f64) -> String {
    in_short(if x.abs() < 1e9 { (x * 1e3).round() / 1e3 } else { x })
}

/// Formats paths for messages.
fn listed(paths: &[&str]) -> String {
    let quoted: Vec<String> = paths.iter().map(|path| format!("`{path}`")).collect();
    match quoted.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} and {last}", others.join(", ")),
        _ => quoted.concat(),
    }
}

impl LayerInconsistent {
    /// Returns the parameters involved.
    pub fn paths(&self) -> Vec<&'static str> {
        match self {
            LayerInconsistent::Step { .. } => vec!["time.step"],
            LayerInconsistent::Duration { .. } => vec!["time.duration"],
            LayerInconsistent::StimulusOutside { .. } | LayerInconsistent::StimuliCoincide { .. } => {
                vec!["stimulus.times"]
            }
            LayerInconsistent::Unstable { path, .. } => vec!["time.step", path],
            LayerInconsistent::UnstableMembrane { paths, .. } => [&["time.step"], *paths].concat(),
            LayerInconsistent::UnstableTonic { .. } => vec!["time.step", "granule.tonic_factor"],
            LayerInconsistent::StrongSynapse { paths, capacitance, .. } => {
                [*paths, &[*capacitance, "time.step"]].concat()
            }
            LayerInconsistent::TooSkewed { paths, .. } | LayerInconsistent::TooNarrow { paths, .. } => {
                paths.to_vec()
            }
            LayerInconsistent::TooLong { .. } => vec!["time.duration"],
            LayerInconsistent::Platform { .. } => vec!["platform"],
            LayerInconsistent::TooLarge { .. } => vec!["network.granule_cells", "time.duration"],
            LayerInconsistent::TooManySynapses { path, .. } => vec![path],
        }
    }

    /// Returns a remedy, in one line.
    pub fn remedy(&self) -> String {
        match self {
            LayerInconsistent::Step { step_ms } => {
                let [shorter, longer] = near_steps(*step_ms);
                let count = (1.0 / step_ms).round();
                let is_fraction = count <= 1000.0 && (count * step_ms - 1.0).abs() < 0.01;
                match is_fraction && !is_decimal(count as u32) {
                    true => format!(
                        "use `{shorter} ms` or `{longer} ms`; 1/{count} ms is `{:.12} ms`",
                        1.0 / count
                    ),
                    false => format!("use `{shorter} ms` or `{longer} ms`"),
                }
            }
            LayerInconsistent::Platform { .. } => {
                format!("write `engine: {}`, or leave `platform` out", Method::Brian2_2_2_1.engine().name())
            }
            LayerInconsistent::Duration { duration_ms } => {
                format!("write `{} ms`", duration_ms.round().max(1.0))
            }
            LayerInconsistent::StimulusOutside { .. } => {
                "make the trial longer, or use different `stimulus.times`".to_owned()
            }
            LayerInconsistent::StimuliCoincide { .. } => "keep one of them, or use a shorter step".to_owned(),
            LayerInconsistent::Unstable { .. } => "use a longer time constant, or a shorter step".to_owned(),
            LayerInconsistent::UnstableMembrane { .. } => {
                "use less conductance, more capacitance or a shorter step".to_owned()
            }
            LayerInconsistent::UnstableTonic { limit, is_drawn: false, .. } => {
                format!("use a factor below {}, or a shorter step", rounded(*limit))
            }
            LayerInconsistent::UnstableTonic { limit, is_drawn: true, .. } => {
                format!(
                    "use a smaller mean or standard deviation, so that factors stay below {}, or a shorter \
                     step",
                    rounded(*limit)
                )
            }
            LayerInconsistent::StrongSynapse { limit_nsiemens, .. } => {
                format!(
                    "use less than {} nS, or a shorter step; is the prefix of the unit right?",
                    rounded(*limit_nsiemens)
                )
            }
            LayerInconsistent::TooSkewed { .. } => "use a smaller standard deviation".to_owned(),
            LayerInconsistent::TooNarrow { .. } => {
                "use a larger standard deviation, or no distribution: a number as the factor, or \
                    `weights.random: false`"
                    .to_owned()
            }
            LayerInconsistent::TooLong { .. } => {
                "make the trial shorter, its step longer or the network smaller".to_owned()
            }
            LayerInconsistent::TooLarge { .. } => "make the trial shorter or the network smaller".to_owned(),
            LayerInconsistent::TooManySynapses { .. } => {
                "use a smaller convergence, or a smaller network".to_owned()
            }
        }
    }
}

/// Computes the multiplier per step of a decaying conductance, as the original's generated code does.
///
/// In Brian2 2.2.1, sympy evaluates `-1/tau` to 15 significant digits. Brian2 emits
/// `g = g + g·((−0.0833333333333333·dt)/ms)`, which its compiler contracts to one multiplication by `1 + k`. The
/// samples of conductance files depend on the last bit of this factor.
pub fn decay_factor(tau_ms: f64, step_s: f64) -> f64 {
    1.0 + decay_rate(tau_ms, step_s) / 1e-3
}

/// Computes the decay rate of a conductance times the step, in s/ms: the term `−0.0833333333333333·dt` of
/// [`decay_factor`].
fn decay_rate(tau_ms: f64, step_s: f64) -> f64 {
    -fifteen_digits(1.0 / tau_ms) * step_s
}

/// One step of a decaying conductance `g`. The original's generated code is `g = (((c·dt)/ms)·g) + g`, with the rate c in
/// 1/ms. Its compilers round it in different ways. An event adds `scale·weight`; only gcc fuses both operations into one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Step {
    /// `g ← (1 + k)·g`, with k = (c·dt)/ms. gcc with `-ffast-math` does this.
    Factor(f64),
    /// `g ← k·g + g`, rounded twice. Visual C++ keeps the order of the code.
    Sum(f64),
    /// `g ← ((c·dt)·g)·(1/ms) + g`, rounded three times. clang with `-ffast-math` does this, without fused multiply-add.
    RateFirst(f64),
}

/// Rounds `x` to a decimal of 15 significant digits, as sympy prints a float.
fn fifteen_digits(x: f64) -> f64 {
    format!("{x:.14e}").parse().expect("a float printed by Rust parses")
}

/// Returns the next shorter and the next longer step that are finite decimals and of which a whole number makes 1 ms.
fn near_steps(step_ms: f64) -> [f64; 2] {
    let of_a_ms = (1..=1000_u32).filter(|count| is_decimal(*count));
    let steps: Vec<f64> = of_a_ms.map(|count| 1.0 / f64::from(count)).collect();
    // Index of the first step that is not longer than `step_ms`.
    let at = steps.partition_point(|step| *step > step_ms).clamp(1, steps.len() - 1);
    [steps[at], steps[at - 1]]
}

/// A checked model: parameters, and the values that follow from them with an engine.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    parameters: Parameters,
    clock: Clock,
    steps: u32,
    stimulus_steps: Vec<u32>,
    active_fibers: u32,
}

impl Layer {
    /// Checks the parameters against each other.
    ///
    /// # Errors
    /// The first contradiction found.
    pub fn new(engine: Method, parameters: Parameters) -> Result<Layer, LayerInconsistent> {
        let time = parameters.time;
        let step_ms = time.step_ms;
        let platform = parameters.platform;
        if engine == Method::Pcg && platform != Platform::default() {
            return Err(LayerInconsistent::Platform { platform });
        }
        let clock = Clock::new(engine, time).ok_or(LayerInconsistent::Step { step_ms })?;
        if time.duration_ms.fract() != 0.0 {
            return Err(LayerInconsistent::Duration { duration_ms: time.duration_ms });
        }
        let steps_per_ms = clock.steps_per_ms();
        let steps = time.duration_ms as u32 * steps_per_ms;
        for (path, tau_ms) in [
            ("excitatory.tau", parameters.excitatory.tau_ms),
            ("inhibitory.tau", parameters.inhibitory.tau_ms),
            ("noise.tau", parameters.noise.tau_ms),
        ] {
            if tau_ms <= step_ms {
                return Err(LayerInconsistent::Unstable { path, tau_ms, step_ms });
            }
        }
        let weights = &parameters.weights;
        let factor = match parameters.tonic.factor {
            CellFactor::Gamma { mean, sd, .. } => Some((&["granule.tonic_factor"][..], mean, sd)),
            CellFactor::Constant(_) => None,
        };
        let weights = weights.random.then_some((
            &["weights.sd", "weights.mean"][..],
            weights.mean_nsiemens,
            weights.sd_nsiemens,
        ));
        for (paths, mean, sd) in weights.into_iter().chain(factor) {
            if sd > MOST_SKEWED * mean {
                return Err(LayerInconsistent::TooSkewed { paths, mean, sd });
            }
            if sd < LEAST_WIDE * mean {
                return Err(LayerInconsistent::TooNarrow { paths, mean, sd });
            }
        }
        membranes(&parameters)?;
        synapses(&parameters)?;
        let mut times_ms = parameters.stimulus.times_ms.clone();
        times_ms.sort_by(f64::total_cmp);
        if let Some(&time_ms) = times_ms.last()
            && time_ms >= time.duration_ms
        {
            return Err(LayerInconsistent::StimulusOutside { time_ms, duration_ms: time.duration_ms });
        }
        let stimulus_steps: Vec<u32> = times_ms.iter().map(|&t| clock.step_of(t)).collect();
        if let Some(late) = stimulus_steps.iter().position(|&step| step >= steps) {
            let time_ms = times_ms[late];
            return Err(LayerInconsistent::StimulusOutside { time_ms, duration_ms: time.duration_ms });
        }
        if let Some(i) = stimulus_steps.windows(2).position(|pair| pair[0] == pair[1]) {
            return Err(LayerInconsistent::StimuliCoincide { time_ms: times_ms[i + 1], step_ms });
        }
        let cells = parameters.network.noisy_cells();
        if cells.saturating_mul(u64::from(steps)) > MOST_CELL_STEPS {
            return Err(LayerInconsistent::TooLong { cells, steps });
        }
        let size = parameters.network;
        let values = u64::from(size.granule_cells) * u64::from(steps / steps_per_ms);
        if values > MOST_VALUES {
            return Err(LayerInconsistent::TooLarge { values });
        }
        for (path, convergence, from, onto) in [
            (
                "mossy_to_granule.convergence",
                parameters.mossy_to_granule.convergence,
                size.mossy_fibers,
                size.granule_cells,
            ),
            (
                "mossy_to_golgi.convergence",
                parameters.mossy_to_golgi.convergence,
                size.mossy_fibers,
                size.golgi_cells,
            ),
            (
                "golgi_to_granule.convergence",
                parameters.golgi_to_granule.convergence,
                size.golgi_cells,
                size.granule_cells,
            ),
        ] {
            let synapses = convergence.min(from.into()) * f64::from(onto);
            if synapses > MOST_SYNAPSES {
                return Err(LayerInconsistent::TooManySynapses { path, synapses });
            }
        }
        // Half to even, as Python rounds the n/10 of the original.
        let active_fibers = half_to_even(parameters.stimulus.active_fraction, size.mossy_fibers);
        Ok(Layer { parameters, clock, steps, stimulus_steps, active_fibers })
    }

    /// Returns the method that computes it.
    pub fn method(&self) -> Method {
        self.clock.method()
    }

    /// Returns the parameters.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Returns the number of steps of a trial.
    pub fn steps(&self) -> u32 {
        self.steps
    }

    /// Returns the time grid.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Returns the number of steps in a millisecond.
    pub fn steps_per_ms(&self) -> u32 {
        self.clock.steps_per_ms()
    }

    /// Returns the number of samples and bins of a trial, one per millisecond.
    pub fn bins(&self) -> usize {
        (self.steps / self.steps_per_ms()) as usize
    }

    /// Returns the steps in which every active mossy fibre spikes, ascending.
    pub fn stimulus_steps(&self) -> &[u32] {
        &self.stimulus_steps
    }

    /// Returns the number of active mossy fibres.
    pub fn active_fibers(&self) -> u32 {
        self.active_fibers
    }

    /// Returns the integration step, s.
    pub fn step_s(&self) -> f64 {
        self.clock.step_s()
    }

    /// Returns the multiplier of an excitatory conductance per step.
    pub fn excitatory_decay(&self) -> f64 {
        decay_factor(self.parameters.excitatory.tau_ms, self.step_s())
    }

    /// Returns the multiplier of an inhibitory conductance per step.
    pub fn inhibitory_decay(&self) -> f64 {
        decay_factor(self.parameters.inhibitory.tau_ms, self.step_s())
    }

    /// Returns the step of an excitatory conductance in the arithmetic of the platform.
    pub(crate) fn excitatory_step(&self) -> Step {
        self.conductance_step(self.parameters.excitatory.tau_ms)
    }

    /// Returns the step of an inhibitory conductance in the arithmetic of the platform.
    pub(crate) fn inhibitory_step(&self) -> Step {
        self.conductance_step(self.parameters.inhibitory.tau_ms)
    }

    fn conductance_step(&self, tau_ms: f64) -> Step {
        let rate = decay_rate(tau_ms, self.step_s());
        match self.parameters.platform {
            Platform::Linux64 => Step::Factor(1.0 + rate / 1e-3),
            Platform::Osx64 => Step::RateFirst(rate),
            Platform::Win64 => Step::Sum(rate / 1e-3),
        }
    }

    /// Returns the largest possible number of spikes of a trial: every cell fires as soon as it is not refractory.
    pub fn most_spikes(&self) -> u64 {
        let size = self.parameters.network;
        let of = |cells: u32, refractory: u32| {
            u64::from(cells) * u64::from(self.steps.div_ceil(refractory.max(1)))
        };
        of(size.granule_cells, self.granule_refractory_steps())
            + of(size.golgi_cells, self.golgi_refractory_steps())
    }

    /// Returns the refractory period of a granule cell in steps. A cell is refractory while fewer steps have passed
    /// since its spike.
    pub fn granule_refractory_steps(&self) -> u32 {
        self.clock.step_of(self.parameters.granule.refractory_ms)
    }

    /// Returns the refractory period of a Golgi cell in steps.
    pub fn golgi_refractory_steps(&self) -> u32 {
        self.clock.step_of(self.parameters.golgi.refractory_ms)
    }

    /// Returns the number of steps from a Golgi cell's spike to its effect on granule cells, rounded to the nearest.
    pub fn golgi_delay_steps(&self) -> u32 {
        self.clock.delay(self.parameters.golgi_to_granule.delay_ms)
    }
}

/// Checks that the potential of every cell approaches its resting value: C/g must be above a step.
fn membranes(parameters: &Parameters) -> Result<(), LayerInconsistent> {
    let step_ms = parameters.time.step_ms;
    let Parameters { granule, golgi, tonic, .. } = parameters;
    let tau_ms = |cell: &Cell, tonic: f64| cell.capacitance_pfarad / (cell.leak_conductance_nsiemens + tonic);
    let factor = largest_factor(&tonic.factor, parameters.network.granule_cells);
    let tonic_nsiemens = tonic.conductance_nsiemens * factor;
    let of_granule = tau_ms(granule, tonic_nsiemens);
    if of_granule <= step_ms {
        // A factor of 1 would be valid, so the error names the factor.
        if factor > 1.0 && tau_ms(granule, tonic.conductance_nsiemens) > step_ms {
            let most = granule.capacitance_pfarad / step_ms - granule.leak_conductance_nsiemens;
            return Err(LayerInconsistent::UnstableTonic {
                factor,
                is_drawn: matches!(tonic.factor, CellFactor::Gamma { .. }),
                limit: most / tonic.conductance_nsiemens,
                tonic_nsiemens,
                tau_ms: of_granule,
                step_ms,
            });
        }
        let paths = &["granule.capacitance", "granule.leak_conductance", "granule.tonic_conductance"];
        return Err(LayerInconsistent::UnstableMembrane { paths, tau_ms: of_granule, step_ms });
    }
    let of_golgi = tau_ms(golgi, 0.0);
    if of_golgi <= step_ms {
        let paths = &["golgi.capacitance", "golgi.leak_conductance"];
        return Err(LayerInconsistent::UnstableMembrane { paths, tau_ms: of_golgi, step_ms });
    }
    Ok(())
}

/// Returns the largest factor to expect among so many cells.
///
/// With a gamma distribution, at most one network in a thousand has a cell above it. The value follows from a bound on
/// the tails of gamma distributions: a fraction of less than e^−t lies above `mean + sd·√(2t) + t·sd²/mean`. Source:
/// Boucheron, Lugosi & Massart 2013, Concentration Inequalities, section 2.4. It is not a draw of an engine and a seed,
/// because a model is the same for all of them.
fn largest_factor(factor: &CellFactor, cells: u32) -> f64 {
    match *factor {
        CellFactor::Constant(x) => x,
        CellFactor::Gamma { mean, sd, .. } => {
            let t = ln(1000.0 * f64::from(cells));
            mean + sd * (2.0 * t).sqrt() + t * sd * (sd / mean)
        }
    }
}

/// Checks that no synapse alone moves a potential by more than twice its driving force in a step. Above this limit,
/// forward Euler moves away from the value that it should approach. The check uses the mean of random weights, because
/// they have no largest value.
fn synapses(parameters: &Parameters) -> Result<(), LayerInconsistent> {
    let step_ms = parameters.time.step_ms;
    let Parameters { granule, golgi, weights, mossy_to_granule, mossy_to_golgi, golgi_to_granule, .. } =
        parameters;
    type Paths = &'static [&'static str];
    let mossy = |projection: &MossyProjection, fixed: Paths, random: Paths| {
        let (weight, paths) = match weights.random {
            true => (weights.mean_nsiemens, random),
            false => (projection.weight_nsiemens, fixed),
        };
        // Without synapses, no synapse is too strong.
        (paths, if projection.convergence > 0.0 { weight * projection.scale } else { 0.0 })
    };
    let inhibition = match golgi_to_granule.convergence > 0.0 {
        true => golgi_to_granule.weight_nsiemens,
        false => 0.0,
    };
    for ((paths, conductance_nsiemens), capacitance, cell) in [
        ((&["golgi_to_granule.weight"][..], inhibition), "granule.capacitance", granule),
        (
            mossy(
                mossy_to_granule,
                &["mossy_to_granule.weight", "mossy_to_granule.scale"],
                &["weights.mean", "mossy_to_granule.scale"],
            ),
            "granule.capacitance",
            granule,
        ),
        (
            mossy(
                mossy_to_golgi,
                &["mossy_to_golgi.weight", "mossy_to_golgi.scale"],
                &["weights.mean", "mossy_to_golgi.scale"],
            ),
            "golgi.capacitance",
            golgi,
        ),
    ] {
        let limit_nsiemens = 2.0 * cell.capacitance_pfarad / step_ms;
        if conductance_nsiemens >= limit_nsiemens {
            return Err(LayerInconsistent::StrongSynapse {
                paths,
                capacitance,
                conductance_nsiemens,
                limit_nsiemens,
                step_ms,
            });
        }
    }
    Ok(())
}

/// Largest standard deviation of a gamma distribution, divided by its mean. A draw is a uniform number to the power of
/// the square of this ratio. Far above the limit, such draws, and the weights computed from them, leave the range of
/// numbers.
const MOST_SKEWED: f64 = 3.0;

/// Smallest standard deviation of a gamma distribution, divided by its mean.
const LEAST_WIDE: f64 = 1e-6;

/// Largest number of cell updates in a trial; more would take hours.
const MOST_CELL_STEPS: u64 = 1_000_000_000_000;

/// Largest number of values in an output file: 8 GB.
const MOST_VALUES: u64 = 1_000_000_000;

/// Largest number of synapses of a projection: a few GB of memory.
const MOST_SYNAPSES: f64 = 200_000_000.0;

#[cfg(test)]
mod tests {
    use granule_engine::Value;

    use super::*;
    use crate::parameters::{Tonic, field};
    use crate::weights::cell_factors;

    fn with(path: &str, value: Value) -> Result<Layer, LayerInconsistent> {
        let mut parameters = Parameters::default();
        field(path).unwrap().set(&mut parameters, &value).unwrap();
        Layer::new(Method::Pcg, parameters)
    }

    #[test]
    fn the_papers_grid() {
        let model = Layer::new(Method::Pcg, Parameters::default()).unwrap();
        assert_eq!(model.steps(), 20_000);
        assert_eq!(model.bins(), 2000);
        assert_eq!(model.stimulus_steps(), [10_100, 10_200, 10_300]);
        assert_eq!(model.golgi_delay_steps(), 20);
        assert_eq!(model.granule_refractory_steps(), 20);
        assert_eq!(model.golgi_refractory_steps(), 100);
        assert_eq!(model.step_s(), 1e-4);
    }

    #[test]
    fn decay_factors_have_the_bits_of_the_original() {
        assert_eq!(decay_factor(12.0, 1e-4), 1.0 + (-0.083_333_333_333_333_3 * 1e-4) / 1e-3);
        assert_eq!(decay_factor(20.0, 1e-4), 1.0 + (-0.05 * 1e-4) / 1e-3);
        // 15 digits, not the 16 of the nearest double.
        assert_ne!(fifteen_digits(1.0 / 12.0), 1.0 / 12.0);
    }

    #[test]
    fn active_fibres_round_half_to_even() {
        for (fibers, active) in [(4, 0), (5, 0), (15, 2), (25, 2), (35, 4), (45, 4), (78, 8), (315, 32)] {
            let model = with("network.mossy_fibers", Value::Count(fibers)).unwrap();
            assert_eq!(model.active_fibers(), active, "{fibers}");
        }
    }

    /// 3.1 pF / 0.1 ms are 31 nS, 0.2 nS of which are leak.
    #[test]
    fn the_membrane_sees_tonic_conductance_times_its_factor() {
        let model = |conductance: f64, factor: CellFactor| {
            let tonic = Tonic { conductance_nsiemens: conductance, factor };
            let parameters = Parameters { tonic, ..Parameters::default() };
            Layer::new(Method::Pcg, parameters).map_err(|error| error.to_string())
        };
        let constant = CellFactor::Constant;
        for (conductance, factor) in [(1.0, 30.79), (30.79, 1.0), (61.58, 0.5), (1e6, 0.0), (0.0, 1e6)] {
            assert!(model(conductance, constant(factor)).is_ok(), "{conductance} × {factor}");
        }
        for (conductance, factor) in [(1.0, 30.81), (0.5, 61.62), (1.0, 65.0)] {
            let error = model(conductance, constant(factor)).unwrap_err();
            assert!(error.contains("too long for `granule.tonic_factor`"), "{error}");
        }
        for (conductance, factor) in [(30.81, 1.0), (61.62, 0.5), (40.0, 2.0)] {
            let error = model(conductance, constant(factor)).unwrap_err();
            assert!(error.contains("and `granule.tonic_conductance`"), "{error}");
        }
        let drawn = |mean, sd| model(1.0, CellFactor::Gamma { mean, sd, seed: 1 });
        assert!(drawn(1.0, 1.0).is_ok());
        let error = drawn(1.0, 2.0).unwrap_err();
        assert!(error.contains("`granule.tonic_factor`: a largest expected factor of 72.939"), "{error}");
        assert!(drawn(30.0, 0.01).is_ok());
        assert!(drawn(30.0, 1.0).is_err());
    }

    #[test]
    fn factors_that_are_drawn_are_below_the_largest_to_be_expected() {
        for engine in Method::ALL.iter().copied() {
            for (mean, sd) in [(0.4, 0.07), (1.0, 1.0), (0.4, 1.2), (20.0, 1.0)] {
                let largest = (1..20)
                    .flat_map(|seed| {
                        let factor = CellFactor::Gamma { mean, sd, seed };
                        cell_factors(engine, &factor, seed, 4096)
                    })
                    .fold(0.0, f64::max);
                let expected = largest_factor(&CellFactor::Gamma { mean, sd, seed: 1 }, 4096);
                assert!(largest < expected, "{mean} ± {sd}: {largest} {expected}");
                // The bound must not be far above the draws, so that valid parameters are not rejected.
                assert!(expected < 3.0 * largest, "{mean} ± {sd}: {largest} {expected}");
            }
        }
    }

    /// Twice 3.1 pF / 0.1 ms are 62 nS, twice 60 pF / 0.1 ms are 1200 nS.
    #[test]
    fn no_synapse_overshoots() {
        let check = |random: bool, path: &str, limit: f64, message: &str| {
            let with = |x: f64| {
                let mut parameters = Parameters::default();
                parameters.weights.random = random;
                parameters.mossy_to_granule.scale = 0.5;
                field(path).unwrap().set(&mut parameters, &Value::Number(x)).unwrap();
                Layer::new(Method::Pcg, parameters)
            };
            assert!(with(0.999 * limit).is_ok(), "{path}");
            let error = with(1.001 * limit).unwrap_err();
            assert!(error.to_string().contains(message), "{error}");
            assert!(error.remedy().contains(" nS, or a shorter step"), "{}", error.remedy());
        };
        check(true, "golgi_to_granule.weight", 62.0, "`golgi_to_granule.weight`: 62.062 nS at one synapse");
        check(
            false,
            "mossy_to_granule.weight",
            124.0,
            "`mossy_to_granule.weight` and `mossy_to_granule.scale`",
        );
        check(true, "mossy_to_granule.scale", 620.0, "`weights.mean` and `mossy_to_granule.scale`");
        check(false, "mossy_to_golgi.weight", 1200.0, "`golgi.capacitance` and a `time.step` of 0.1 ms");
        // Weights that are not used are not checked.
        assert!(with("mossy_to_granule.weight", Value::Number(1e3)).is_ok());
    }

    #[test]
    fn networks_that_do_not_fit_in_memory_are_refused() {
        let mut parameters = Parameters::default();
        parameters.network.mossy_fibers = 1_000_000;
        parameters.mossy_to_granule.convergence = 1e5;
        let error = Layer::new(Method::Pcg, parameters).unwrap_err().to_string();
        assert_eq!(
            error,
            "`mossy_to_granule.convergence` makes about 409600000 synapses, more than 200000000"
        );
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let check = |path: &str, value: Value, message: &str| {
            let error = with(path, value).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        };
        check("time.step", Value::Number(0.3), "a whole number of steps must make 1 ms");
        check("time.duration", Value::Number(10.5), "whole number of ms");
        check("stimulus.times", Value::Numbers(vec![2000.0]), "the trial ends at 2000 ms");
        check("stimulus.times", Value::Numbers(vec![5.0, 5.01]), "two spikes within one step");
        check("time.duration", Value::Number(1e6), "the limit is 1000000000");
        check("weights.sd", Value::Number(0.31), "more than 3 times the mean 0.1");
        check("weights.sd", Value::Number(1e-160), "less than a millionth of the mean 0.1");
        check(
            "granule.tonic_factor",
            Value::Factor(CellFactor::Gamma { mean: 0.1, sd: 1.0, seed: 1 }),
            "`granule.tonic_factor`: the standard deviation 1 is more than 3 times",
        );
        check("golgi.capacitance", Value::Number(0.1), "too long for `golgi.capacitance`");
        check("granule.tonic_conductance", Value::Number(40.0), "time constant of 0.077 ms");
        check("noise.tau", Value::Number(0.05), "too long for `noise.tau`");
    }
}
