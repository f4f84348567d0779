//! A trial, from noise to spikes, for all conditions that share its noise.

use granule_engine::{Spike, Start, TrialSpikes};

use crate::Method;
use crate::isa::Isa;
use crate::kernel::{
    Arrival, Cells, KeyedProcess, Membrane, NoiseProcess, NoiseRows, SynapticInput, noise_decay,
};
use crate::layer::Layer;
use crate::network::{Network, Wiring, active_fibers};
use crate::noise::NormalStream;
use crate::parameters::{LayerPopulation, NetworkSize, Noise, Parameters};
use crate::random::keyed::Streams;

use crate::weights::{RandomWeights, cell_factors};

/// Returns whether trials of these models, with the same seed, read the same noise and can be computed together.
pub fn share_noise(a: &Layer, b: &Layer) -> bool {
    let stream = |model: &Layer| match model.method() {
        Method::Pcg => model.parameters().noise.stream,
        Method::Brian2_2_2_1 => 0,
    };
    a.method() == b.method()
        && Wiring::of(a) == Wiring::of(b)
        && a.steps() == b.steps()
        && stream(a) == stream(b)
}

/// Conditions of one seed that share wiring and noise, prepared for trials.
#[derive(Debug)]
pub struct ReadyCohort {
    isa: Isa,
    seed: u32,
    network: Network,
    steps: u32,
    circuits: Vec<Circuit>,
    /// The different noise processes of the circuits, each with its step in ms.
    noises: Vec<(Noise, f64)>,
}

/// A condition of a cohort: its model, and the values that follow from it for every trial.
#[derive(Debug)]
struct Circuit {
    granule: Membrane,
    golgi: Membrane,
    /// Tonic conductance of each granule cell, nS.
    tonic: Vec<f64>,
    /// Synapses of active fibres: (cell, index of the fibre among the active fibres), ascending.
    onto_granule: Vec<(u32, usize)>,
    onto_golgi: Vec<(u32, usize)>,
    weights: Option<RandomWeights>,
    /// Index of its noise process in [`ReadyCohort::noises`].
    noise: usize,
    model: Layer,
}

/// The error of conditions that cannot be computed together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the conditions of a cohort must have the same engine, wiring, noise and number of steps")]
pub struct NoSharedNoise;

impl ReadyCohort {
    /// Prepares these conditions for trials below `trials`.
    ///
    /// # Errors
    /// When they do not all [share their noise](share_noise).
    pub fn new(isa: Isa, models: &[Layer], seed: u32, trials: u32) -> Result<ReadyCohort, NoSharedNoise> {
        let first = models.first().ok_or(NoSharedNoise)?;
        if models.iter().any(|model| !share_noise(first, model)) {
            return Err(NoSharedNoise);
        }
        let network = Network::new(first.method(), Wiring::of(first), seed);
        let mut noises: Vec<(Noise, f64)> = Vec::new();
        let mut circuits = Vec::with_capacity(models.len());
        for model in models {
            let Parameters { noise, time, .. } = model.parameters();
            let is_same =
                |(known, step_ms): &(Noise, f64)| (known.tau_ms, *step_ms) == (noise.tau_ms, time.step_ms);
            let at = noises.iter().position(is_same).unwrap_or_else(|| {
                noises.push((*noise, time.step_ms));
                noises.len() - 1
            });
            circuits.push(Circuit::new(model, &network, seed, trials, at));
        }
        Ok(ReadyCohort { isa, seed, network, steps: first.steps(), circuits, noises })
    }

    /// Keeps the network, weights and factors, and keys the noise by cell, as engine `pcg` does. For tests: the noise
    /// is then the only difference between the engines.
    #[must_use]
    pub fn with_keyed_noise(mut self) -> ReadyCohort {
        self.network.noise_origin = None;
        self
    }

    /// Returns the network that all conditions share.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Returns the number of normals that a trial takes from the stream.
    pub fn normals_per_trial(&self) -> u64 {
        normals_per_trial(&self.circuits[0].model)
    }

    /// Starts a sequence of trials. With engine `brian2-2.2.1`, the noise of the first trial begins at `start`, and
    /// each later trial continues where the trial before ended. With engine `pcg`, trials may be in any order.
    pub fn trials(&self, start: Start) -> CohortRun<'_> {
        let stream = self.network.noise_origin.map(|origin| NormalStream::new(self.isa, origin, start));
        CohortRun { cohort: self, stream }
    }
}

/// Trials of a cohort and the noise that they read.
#[derive(Clone, Debug)]
pub struct CohortRun<'a> {
    cohort: &'a ReadyCohort,
    /// `None` if noise is keyed by cell.
    stream: Option<NormalStream>,
}

impl CohortRun<'_> {
    /// Runs a trial of every condition, in their order.
    pub fn simulate(&mut self, trial: u32) -> Vec<TrialSpikes> {
        let of_any_size = self.simulate_within(trial, u64::MAX);
        of_any_size.into_iter().map(|spikes| spikes.expect("no trial has more")).collect()
    }

    /// Runs a trial of every condition, in their order. Returns `None` for a condition with more than `most` spikes.
    /// The computation of such a condition ends there.
    pub fn simulate_within(&mut self, trial: u32, most: u64) -> Vec<Option<TrialSpikes>> {
        let cohort = self.cohort;
        let noisy = cohort.network.size.noisy_cells() as usize;
        // The noise of a chunk must fit in a core's second-level cache. A chunk must have enough steps to make up for
        // loading the state of a tile. Keyed noise needs an even number of steps.
        const CHUNK_NORMALS: usize = 1 << 16;
        let chunk = (CHUNK_NORMALS / noisy).clamp(16, 256) as u32 & !1;
        let mut running: Vec<RunningCondition<'_>> = cohort
            .circuits
            .iter()
            .map(|circuit| RunningCondition::new(cohort.isa, circuit, &cohort.network, trial, most))
            .collect();
        let chunks =
            (0..cohort.steps).step_by(chunk as usize).map(|first| (first, cohort.steps.min(first + chunk)));
        match &mut self.stream {
            Some(stream) => cohort.run(stream, chunk, chunks, &mut running),
            None => cohort.run_keyed(trial, chunk, chunks, &mut running),
        }
        running.into_iter().map(|condition| condition.spikes).collect()
    }
}

impl ReadyCohort {
    /// Runs the chunks of a trial with the next normals of the stream.
    fn run(
        &self,
        stream: &mut NormalStream,
        chunk: u32,
        chunks: impl Iterator<Item = (u32, u32)>,
        running: &mut [RunningCondition<'_>],
    ) {
        let NetworkSize { granule_cells, golgi_cells, .. } = self.network.size;
        let noisy = self.network.size.noisy_cells() as usize;
        // One noise process for each time constant among the conditions.
        let mut processes: Vec<NoiseProcess> = self
            .noises
            .iter()
            .map(|(noise, step_ms)| {
                let decay = noise_decay(noise, *step_ms);
                NoiseProcess::new(self.isa, decay, noisy, chunk as usize)
            })
            .collect();
        for (first, end) in chunks {
            processes.iter_mut().for_each(NoiseProcess::begin);
            let mut left = noisy * (end - first) as usize;
            while left > 0 {
                let normals = stream.next(left);
                processes.iter_mut().for_each(|process| process.take(normals));
                left -= normals.len();
            }
            let rows: Vec<&[f64]> = processes.iter_mut().map(NoiseProcess::rows).collect();
            for condition in &mut *running {
                let Circuit { noise, model, .. } = condition.circuit;
                let (golgi, granule) = match model.parameters().noise.first {
                    LayerPopulation::Golgi => (0, golgi_cells as usize),
                    LayerPopulation::Granule => (granule_cells as usize, 0),
                };
                let rows = |offset| NoiseRows::of_steps(self.isa, rows[*noise], noisy, offset);
                condition.advance(first, end, rows(golgi), rows(granule));
            }
        }
    }

    /// Runs the chunks of a trial with the keyed noise of this trial's cells.
    fn run_keyed(
        &self,
        trial: u32,
        chunk: u32,
        chunks: impl Iterator<Item = (u32, u32)>,
        running: &mut [RunningCondition<'_>],
    ) {
        // All conditions have the same stream.
        let stream = self.circuits[0].model.parameters().noise.stream;
        let process = |purpose, cells| {
            let streams = Streams::new(purpose, &[self.seed, stream, trial]);
            let decays = self.noises.iter().map(|(noise, step_ms)| noise_decay(noise, *step_ms));
            KeyedProcess::new(self.isa, &streams, cells, chunk as usize, decays)
        };
        let mut golgi = process("noise of golgi cells", self.network.size.golgi_cells);
        let mut granule = process("noise of granule cells", self.network.size.granule_cells);
        for (first, end) in chunks {
            let steps = (end - first) as usize;
            golgi.advance(steps);
            granule.advance(steps);
            for condition in &mut *running {
                let noise = condition.circuit.noise;
                condition.advance(first, end, golgi.rows(noise, steps), granule.rows(noise, steps));
            }
        }
    }
}

/// Returns the number of normals that one trial of this model takes.
pub fn normals_per_trial(model: &Layer) -> u64 {
    model.parameters().network.noisy_cells() * u64::from(model.steps())
}

impl Circuit {
    fn new(model: &Layer, network: &Network, seed: u32, trials: u32, noise: usize) -> Circuit {
        let (engine, parameters) = (model.method(), model.parameters());
        let active = active_fibers(model, seed);
        let synapses = |targets_of: &dyn Fn(u32) -> Vec<u32>| {
            let mut list: Vec<(u32, usize)> = active
                .iter()
                .enumerate()
                .flat_map(|(k, &fiber)| targets_of(fiber).into_iter().map(move |cell| (cell, k)))
                .collect();
            list.sort_unstable();
            list
        };
        let membrane = |cell, refractory_steps| {
            Membrane::new(
                cell,
                parameters,
                refractory_steps,
                model.excitatory_decay(),
                model.inhibitory_decay(),
            )
        };
        Circuit {
            granule: membrane(&parameters.granule, model.granule_refractory_steps()),
            golgi: membrane(&parameters.golgi, model.golgi_refractory_steps()),
            tonic: cell_factors(engine, &parameters.tonic.factor, seed, network.size.granule_cells)
                .into_iter()
                .map(|factor| factor * parameters.tonic.conductance_nsiemens)
                .collect(),
            onto_granule: synapses(&|fiber| network.mossy_to_granule.targets_of(fiber).to_vec()),
            onto_golgi: synapses(&|fiber| network.mossy_to_golgi.targets_of(fiber).to_vec()),
            weights: RandomWeights::new(engine, parameters, seed, &active, trials),
            noise,
            model: model.clone(),
        }
    }
}

/// A condition during a trial.
struct RunningCondition<'a> {
    network: &'a Network,
    circuit: &'a Circuit,
    onto_granule: Vec<(u32, f64)>,
    onto_golgi: Vec<(u32, f64)>,
    granule: Cells,
    golgi: Cells,
    /// Number of Golgi spikes whose effect on granule cells has been delivered.
    delivered: usize,
    /// `None` after the trial exceeded `most` spikes.
    spikes: Option<TrialSpikes>,
    most: u64,
}

impl<'a> RunningCondition<'a> {
    fn new(
        isa: Isa,
        circuit: &'a Circuit,
        network: &'a Network,
        trial: u32,
        most: u64,
    ) -> RunningCondition<'a> {
        let parameters = circuit.model.parameters();
        let random = circuit.weights.as_ref().map(|weights| weights.of_trial(trial));
        let weighted = |synapses: &[(u32, usize)], fixed: f64| -> Vec<(u32, f64)> {
            let weight = |k: usize| random.as_ref().map_or(fixed, |weights| weights[k]);
            synapses.iter().map(|&(cell, k)| (cell, weight(k))).collect()
        };
        RunningCondition {
            network,
            circuit,
            onto_granule: weighted(&circuit.onto_granule, parameters.mossy_to_granule.weight_nsiemens),
            onto_golgi: weighted(&circuit.onto_golgi, parameters.mossy_to_golgi.weight_nsiemens),
            granule: Cells::new(
                isa,
                circuit.granule,
                &circuit.tonic,
                parameters.golgi_to_granule.weight_nsiemens != 0.0,
            ),
            golgi: Cells::new(isa, circuit.golgi, &vec![0.0; network.size.golgi_cells as usize], false),
            delivered: 0,
            spikes: Some(TrialSpikes::of(vec![Vec::new(); 2])),
            most,
        }
    }

    /// Runs a chunk of steps: the Golgi cells first, then the granule cells. Between the populations, the only effect
    /// is that of Golgi spikes on granule cells.
    fn advance(&mut self, first: u32, end: u32, of_golgi: NoiseRows<'_>, of_granule: NoiseRows<'_>) {
        let Some(spikes) = &mut self.spikes else { return };
        let [granule, golgi] = &mut spikes.trains[..] else { unreachable!("two populations") };
        let model = &self.circuit.model;
        let parameters = model.parameters();
        let stimuli = || model.stimulus_steps().iter().copied().filter(|step| (first..end).contains(step));

        let excitation = |synapses, scale| {
            stimuli().map(move |step| Arrival { step, input: SynapticInput::Excitation { synapses, scale } })
        };
        let arrivals: Vec<Arrival<'_>> =
            excitation(&self.onto_golgi[..], parameters.mossy_to_golgi.scale).collect();
        self.golgi.advance(first, end, of_golgi, &arrivals, golgi);

        let mut arrivals: Vec<Arrival<'_>> =
            excitation(&self.onto_granule[..], parameters.mossy_to_granule.scale).collect();
        let delay = model.golgi_delay_steps();
        let weight = parameters.golgi_to_granule.weight_nsiemens;
        while let Some(&Spike { step, cell }) = golgi.get(self.delivered)
            && step.saturating_add(delay) < end
        {
            self.delivered += 1;
            if weight != 0.0 {
                let cells = self.network.golgi_to_granule.targets_of(cell);
                let input = SynapticInput::Inhibition { cells, weight };
                arrivals.push(Arrival { step: step + delay, input });
            }
        }
        arrivals.sort_by_key(|arrival| arrival.step);
        self.granule.advance(first, end, of_granule, &arrivals, granule);
        if spikes.len() > self.most {
            self.spikes = None;
        }
    }
}
