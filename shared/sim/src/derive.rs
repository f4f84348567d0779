//! Every output array, derived from spikes, weights and wiring alone.
//!
//! Spikes are what a trial leaves behind. The conductances that the original recorded follow from
//! the weights and the Golgi cells' spikes, and are replayed here bit for bit: in SI units, with
//! the roundings of the original's compiled code, averaged over trials in the order of additions
//! that numpy's pairwise summation takes.

use crate::model::Model;
use crate::network::{Network, Projection, Wiring, active_fibers};
use crate::spikes::{Spike, TrialSpikes};
use crate::weights::{RandomWeights, cell_factors};

/// Siemens in a nanosiemens.
const NANO: f64 = 1e-9;
/// numpy's pairwise summation keeps eight partial sums; eight trials are replayed side by side.
const LANES: usize = 8;

/// What the network and the parameters of a condition say without any simulation.
#[derive(Clone, Debug)]
pub struct Structure {
    model: Model,
    network: Network,
    active: Vec<u32>,
    driven: Vec<u32>,
}

impl Structure {
    /// The structure of a condition of this seed.
    pub fn new(model: &Model, seed: u32) -> Structure {
        let network = Network::new(Wiring::of(model), seed);
        let active = active_fibers(model, seed);
        let mut driven: Vec<u32> =
            active.iter().flat_map(|&fiber| network.mossy_to_granule.targets_of(fiber)).copied().collect();
        driven.sort_unstable();
        driven.dedup();
        Structure { model: model.clone(), network, active, driven }
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The active mossy fibres, ascending.
    pub fn active_fibers(&self) -> &[u32] {
        &self.active
    }

    /// Granule cells with at least one synapse from an active mossy fibre, ascending.
    pub fn driven_cells(&self) -> &[u32] {
        &self.driven
    }

    /// (mossy fibre, granule cell) of every synapse from an active fibre, ascending.
    pub fn active_connections(&self) -> Vec<[i32; 2]> {
        // Populations are far below 2^31 (the table of parameters says so).
        let pairs = |fiber: u32| {
            let targets = self.network.mossy_to_granule.targets_of(fiber);
            targets.iter().map(move |&cell| [fiber as i32, cell as i32])
        };
        self.active.iter().flat_map(|&fiber| pairs(fiber)).collect()
    }

    /// Tonic factor of each driven cell.
    pub fn tonic_factors(&self) -> Vec<f64> {
        let factors = cell_factors(&self.model.parameters().tonic.factor, self.network.size.granule_cells);
        self.driven.iter().map(|&cell| factors[cell as usize]).collect()
    }

    /// Weights in nS, per active fibre one for each of the first `trials` trials; none where weights
    /// are fixed. As the original stores them: to siemens and back, which can cost the last bit.
    pub fn weights(&self, trials: u32) -> Option<Vec<Vec<f64>>> {
        let random = RandomWeights::new(self.model.parameters(), self.active.len(), trials)?;
        let mut of_fibers = vec![Vec::with_capacity(trials as usize); self.active.len()];
        for trial in 0..trials {
            for (list, weight) in of_fibers.iter_mut().zip(random.of_trial(trial)) {
                list.push((weight * NANO) / NANO);
            }
        }
        Some(of_fibers)
    }
}

/// In how many trials each granule cell spiked in each millisecond.
#[derive(Clone, Debug)]
pub struct SpikeCounts {
    bins: usize,
    step_s: f64,
    trials: u32,
    counts: Vec<u32>,
    /// The last trial (from 1) that was counted in a bin, so that none counts twice.
    seen: Vec<u32>,
}

impl SpikeCounts {
    /// No trials yet.
    pub fn new(model: &Model) -> SpikeCounts {
        let bins = model.bins();
        let cells = model.parameters().network.granule_cells as usize;
        SpikeCounts {
            bins,
            step_s: model.step_s(),
            trials: 0,
            counts: vec![0; bins * cells],
            seen: vec![0; bins * cells],
        }
    }

    /// Adds the granule spikes of one trial of the model.
    ///
    /// # Panics
    /// If a spike is of a cell that the model does not have.
    pub fn add(&mut self, granule: &[Spike]) {
        self.trials += 1;
        // The original finds spikes as non-zero times: one in step 0 is lost.
        for spike in granule.iter().filter(|spike| spike.step > 0) {
            let bin = ((f64::from(spike.step) * self.step_s) / 1e-3) as usize;
            if bin < self.bins {
                let at = spike.cell as usize * self.bins + bin;
                if self.seen[at] != self.trials {
                    self.seen[at] = self.trials;
                    self.counts[at] += 1;
                }
            }
        }
    }

    /// Spike probabilities: per cell one row with the fraction of trials with a spike in each bin.
    pub fn probabilities(&self) -> impl Iterator<Item = Vec<f64>> {
        let trials = f64::from(self.trials);
        self.counts
            .chunks(self.bins)
            .map(move |row| row.iter().map(|&count| f64::from(count) / trials).collect())
    }
}

/// Replays the summed conductances of granule cells and averages them over trials.
#[derive(Debug)]
pub struct Conductances<'a> {
    structure: &'a Structure,
    trials: usize,
    /// Weight in S of each active fibre, per trial.
    weights_s: Vec<Vec<f64>>,
    /// Per trial and Golgi cell, the steps in which its spikes reach granule cells.
    arrivals: Vec<Vec<Vec<u32>>>,
    /// Per granule cell its synapses: active fibres (by index), all fibres, Golgi cells.
    from_active: Vec<Vec<usize>>,
    excitatory_synapses: Vec<u32>,
    from_golgi: Vec<Vec<u32>>,
}

/// A jump of one trial's conductance: g ← scale·weight + g, rounded once.
#[derive(Clone, Copy, Debug)]
struct Jump {
    step: u32,
    lane: usize,
    scale: f64,
    weight_s: f64,
}

impl<'a> Conductances<'a> {
    /// The conductances of these trials, given by their Golgi spikes; none where weights are fixed,
    /// as the original recorded none then.
    pub fn new(structure: &'a Structure, golgi: &[Vec<Spike>]) -> Option<Conductances<'a>> {
        let model = &structure.model;
        let network = &structure.network;
        let size = network.size;
        let random = RandomWeights::new(model.parameters(), structure.active.len(), golgi.len() as u32)?;
        let weights_s = (0..golgi.len() as u32)
            .map(|trial| random.of_trial(trial).into_iter().map(|weight| weight * NANO).collect())
            .collect();
        let delay = model.golgi_delay_steps();
        let arrivals = golgi
            .iter()
            .map(|spikes| {
                let mut of_cells = vec![Vec::new(); size.golgi_cells as usize];
                for spike in spikes {
                    of_cells[spike.cell as usize].push(spike.step.saturating_add(delay));
                }
                of_cells
            })
            .collect();
        let mut from_active = vec![Vec::new(); size.granule_cells as usize];
        for (k, &fiber) in structure.active.iter().enumerate() {
            for &cell in network.mossy_to_granule.targets_of(fiber) {
                from_active[cell as usize].push(k);
            }
        }
        Some(Conductances {
            structure,
            trials: golgi.len(),
            weights_s,
            arrivals,
            from_active,
            excitatory_synapses: network.mossy_to_granule.synapses_per_target(size.granule_cells),
            from_golgi: sources(&network.golgi_to_granule, size.golgi_cells, size.granule_cells),
        })
    }

    /// Mean summed excitatory conductance of a granule cell in nS, one sample a millisecond.
    pub fn excitation(&self, cell: u32) -> Vec<f64> {
        let model = &self.structure.model;
        let scale = model.parameters().mossy_to_granule.scale;
        let jumps = |trial: usize, lane: usize, jumps: &mut Vec<Jump>| {
            for &step in model.stimulus_steps() {
                for &k in &self.from_active[cell as usize] {
                    jumps.push(Jump { step, lane, scale, weight_s: self.weights_s[trial][k] });
                }
            }
        };
        self.mean(model.excitatory_decay(), self.excitatory_synapses[cell as usize], jumps)
    }

    /// Mean summed inhibitory conductance of a granule cell in nS, one sample a millisecond.
    pub fn inhibition(&self, cell: u32) -> Vec<f64> {
        let model = &self.structure.model;
        let weight_s = model.parameters().golgi_to_granule.weight_nsiemens * NANO;
        let from = &self.from_golgi[cell as usize];
        let jumps = |trial: usize, lane: usize, jumps: &mut Vec<Jump>| {
            for &golgi in from {
                let steps = &self.arrivals[trial][golgi as usize];
                jumps.extend(steps.iter().map(|&step| Jump { step, lane, scale: 1.0, weight_s }));
            }
        };
        self.mean(model.inhibitory_decay(), from.len() as u32, jumps)
    }

    /// The mean over trials of the samples that these jumps make.
    fn mean(&self, decay: f64, synapses: u32, jumps_of: impl Fn(usize, usize, &mut Vec<Jump>)) -> Vec<f64> {
        let bins = self.structure.model.bins();
        let steps_per_ms = self.structure.model.steps_per_ms();
        let mut jumps = Vec::new();
        let mut groups: Vec<Vec<[f64; LANES]>> = Vec::with_capacity(self.trials.div_ceil(LANES));
        for first in (0..self.trials).step_by(LANES) {
            jumps.clear();
            for trial in first..self.trials.min(first + LANES) {
                jumps_of(trial, trial - first, &mut jumps);
            }
            // Stable: jumps of one lane in one step stay in the order of their synapses.
            jumps.sort_by_key(|jump| jump.step);
            groups.push(replay(&jumps, decay, synapses, bins, steps_per_ms));
        }
        let trials = self.trials as f64;
        (0..bins).map(|bin| pairwise(&groups, self.trials, bin) / trials).collect()
    }
}

/// Presynaptic cells of each postsynaptic one, ascending.
fn sources(projection: &Projection, presynaptic: u32, postsynaptic: u32) -> Vec<Vec<u32>> {
    let mut sources = vec![Vec::new(); postsynaptic as usize];
    for cell in 0..presynaptic {
        for &target in projection.targets_of(cell) {
            sources[target as usize].push(cell);
        }
    }
    sources
}

/// The samples, in nS, of eight trials side by side.
fn replay(jumps: &[Jump], decay: f64, synapses: u32, bins: usize, steps_per_ms: u32) -> Vec<[f64; LANES]> {
    let mut samples = vec![[0.0; LANES]; bins];
    let Some(first) = jumps.first() else { return samples };
    let mut jumps = jumps;
    let mut g = [0.0; LANES];
    // All conductances are 0 before the first jump.
    let mut step = first.step;
    for (bin, sample) in samples.iter_mut().enumerate().skip(1) {
        // The recorder runs first in a step: it sees the sum that the step before formed, from
        // what the conductances were at that step's beginning.
        let formed = bin as u32 * steps_per_ms - 1;
        while step < formed {
            g = g.map(|g| g * decay);
            while let Some((jump, later)) = jumps.split_first()
                && jump.step == step
            {
                g[jump.lane] = jump.scale.mul_add(jump.weight_s, g[jump.lane]);
                jumps = later;
            }
            step += 1;
        }
        let mut sum = [0.0; LANES];
        for _ in 0..synapses {
            for (sum, g) in sum.iter_mut().zip(g) {
                *sum += g;
            }
        }
        *sample = sum.map(|sum| sum / NANO);
    }
    samples
}

/// numpy's pairwise sum of `trials` numbers: number j is `groups[j / 8][bin][j % 8]`.
fn pairwise(groups: &[Vec<[f64; LANES]>], trials: usize, bin: usize) -> f64 {
    /// Numbers that numpy adds up without splitting.
    const UNSPLIT: usize = 128;
    let numbers = |group: &Vec<[f64; LANES]>| group[bin];
    if trials < LANES {
        let mut sum = 0.0;
        for number in groups.iter().flat_map(numbers).take(trials) {
            sum += number;
        }
        sum
    } else if trials <= UNSPLIT {
        let whole = trials / LANES;
        let mut r = numbers(&groups[0]);
        for group in &groups[1..whole] {
            for (r, number) in r.iter_mut().zip(numbers(group)) {
                *r += number;
            }
        }
        let mut sum = ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]));
        for number in groups[whole..].iter().flat_map(numbers).take(trials % LANES) {
            sum += number;
        }
        sum
    } else {
        let half = trials / 2 / LANES * LANES;
        let (left, right) = groups.split_at(half / LANES);
        pairwise(left, half, bin) + pairwise(right, trials - half, bin)
    }
}

/// Number of spikes of each population, for summaries.
pub fn totals(spikes: &TrialSpikes) -> (u64, u64) {
    (spikes.granule.len() as u64, spikes.golgi.len() as u64)
}
