//! Derivation of the output arrays from spikes, weights and wiring.
//!
//! A trial stores spikes only. The conductances that the original program recorded follow from the weights and the
//! Golgi cells' spikes. They are replayed here bit for bit: in SI units, with the roundings of the original's compiled
//! code. Their means over trials are computed in the order of additions of numpy's pairwise summation.

use crate::clock::Clock;
use crate::isa::{Isa, Simd, vectorised};
use crate::layer::{Layer, Step};
use crate::network::{Network, Projection, Wiring, active_fibers};
use crate::weights::{RandomWeights, cell_factors};
use granule_engine::spikes::Spike;

/// Siemens in a nanosiemens.
const NANO: f64 = 1e-9;
/// Number of partial sums of numpy's pairwise summation.
const LANES: usize = 8;
/// Number of trials that are replayed together.
const WIDTH: usize = 4 * LANES;
/// One sample of each of these trials.
type Samples = [f64; WIDTH];

/// The network of a condition and a seed, and the other values that are known without a simulation.
#[derive(Clone, Debug)]
pub struct Structure {
    seed: u32,
    model: Layer,
    network: Network,
    active: Vec<u32>,
    driven: Vec<u32>,
}

impl Structure {
    /// Builds the structure of a condition and a seed.
    pub fn new(model: &Layer, seed: u32) -> Structure {
        let network = Network::new(model.method(), Wiring::of(model), seed);
        let active = active_fibers(model, seed);
        let mut driven: Vec<u32> =
            active.iter().flat_map(|&fiber| network.mossy_to_granule.targets_of(fiber)).copied().collect();
        driven.sort_unstable();
        driven.dedup();
        Structure { seed, model: model.clone(), network, active, driven }
    }

    /// Returns the condition.
    pub fn layer(&self) -> &Layer {
        &self.model
    }

    /// Returns the active mossy fibres, ascending.
    pub fn active_fibers(&self) -> &[u32] {
        &self.active
    }

    /// Returns the driven cells (granule cells with at least one synapse from an active mossy fibre), ascending.
    pub fn driven_cells(&self) -> &[u32] {
        &self.driven
    }

    /// Returns (mossy fibre, granule cell) of every synapse from an active fibre, ascending.
    pub fn active_connections(&self) -> Vec<[i32; 2]> {
        // These casts are exact: the table of parameters limits populations to far below 2^31.
        let pairs = |fiber: u32| {
            let targets = self.network.mossy_to_granule.targets_of(fiber);
            targets.iter().map(move |&cell| [fiber as i32, cell as i32])
        };
        self.active.iter().flat_map(|&fiber| pairs(fiber)).collect()
    }

    /// Returns the tonic factor of each driven cell.
    pub fn tonic_factors(&self) -> Vec<f64> {
        let factor = &self.model.parameters().tonic.factor;
        let factors = cell_factors(self.model.method(), factor, self.seed, self.network.size.granule_cells);
        self.driven.iter().map(|&cell| factors[cell as usize]).collect()
    }

    fn random_weights(&self, trials: u32) -> Option<RandomWeights> {
        RandomWeights::new(self.model.method(), self.model.parameters(), self.seed, &self.active, trials)
    }

    /// Returns the weights of each active fibre in nS, one for each of the first `trials` trials; `None` if weights are
    /// fixed. Like the original, this function converts them to siemens and back, which can change the last bit.
    pub fn weights(&self, trials: u32) -> Option<Vec<Vec<f64>>> {
        let random = self.random_weights(trials)?;
        let mut of_fibers = vec![Vec::with_capacity(trials as usize); self.active.len()];
        for trial in 0..trials {
            for (list, weight) in of_fibers.iter_mut().zip(random.of_trial(trial)) {
                list.push((weight * NANO) / NANO);
            }
        }
        Some(of_fibers)
    }
}

/// Number of trials in which each granule cell spiked in each millisecond.
#[derive(Clone, Debug)]
pub struct SpikeCounts {
    clock: Clock,
    bins: usize,
    trials: u32,
    counts: Vec<u32>,
    /// For each cell, the last bin counted in the current trial. A second spike in a bin is not counted again.
    last: Vec<Option<u32>>,
}

impl SpikeCounts {
    /// Makes counts without trials.
    pub fn new(model: &Layer) -> SpikeCounts {
        let bins = model.bins();
        let cells = model.parameters().network.granule_cells as usize;
        SpikeCounts {
            clock: model.clock(),
            bins,
            trials: 0,
            counts: vec![0; bins * cells],
            last: vec![None; cells],
        }
    }

    /// Adds the granule spikes of one trial of the model, ascending by step.
    ///
    /// # Panics
    /// If a spike is of a cell that the model does not have.
    pub fn add(&mut self, granule: &[Spike]) {
        self.trials += 1;
        self.last.fill(None);
        for spike in granule {
            if let Some(bin) = self.clock.bin(spike.step)
                && bin < self.bins
            {
                let cell = spike.cell as usize;
                if self.last[cell].replace(bin as u32) != Some(bin as u32) {
                    self.counts[cell * self.bins + bin] += 1;
                }
            }
        }
    }

    /// Returns the spike probability of a granule cell: the fraction of trials with a spike, per bin.
    ///
    /// # Panics
    /// If the model has no such cell.
    pub fn probability(&self, cell: u32) -> Vec<f64> {
        let trials = f64::from(self.trials);
        let row = &self.counts[cell as usize * self.bins..(cell as usize + 1) * self.bins];
        row.iter().map(|&count| f64::from(count) / trials).collect()
    }
}

/// Replays the summed conductances of granule cells and averages them over trials.
#[derive(Debug)]
pub struct Conductances<'a> {
    isa: Isa,
    structure: &'a Structure,
    trials: usize,
    /// Weight in S of each active fibre, per trial.
    weights_s: Vec<Vec<f64>>,
    /// For each trial and Golgi cell, the steps in which its spikes reach granule cells.
    arrivals: Vec<Vec<Vec<u32>>>,
    /// Synapses of each granule cell, in three fields: active fibres (by index), number of all fibres, Golgi cells.
    from_active: Vec<Vec<usize>>,
    excitatory_synapses: Vec<u32>,
    from_golgi: Vec<Vec<u32>>,
}

/// A jump of one trial's conductance g: g ← scale·weight + g.
#[derive(Clone, Copy, Debug)]
struct Jump {
    step: u32,
    lane: usize,
    scale: f64,
    weight_s: f64,
}

impl<'a> Conductances<'a> {
    /// Prepares the replay of these trials, given by their Golgi spikes. Returns `None` if weights are fixed, because
    /// the original recorded no conductances then.
    pub fn new(isa: Isa, structure: &'a Structure, golgi: &[Vec<Spike>]) -> Option<Conductances<'a>> {
        let model = &structure.model;
        let network = &structure.network;
        let size = network.size;
        let random = structure.random_weights(golgi.len() as u32)?;
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
            isa,
            structure,
            trials: golgi.len(),
            weights_s,
            arrivals,
            from_active,
            excitatory_synapses: network.mossy_to_granule.synapses_per_target(size.granule_cells),
            from_golgi: sources(&network.golgi_to_granule, size.golgi_cells, size.granule_cells),
        })
    }

    /// Returns the mean summed excitatory conductance of a granule cell in nS, one sample per millisecond.
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
        self.mean(model.excitatory_step(), self.excitatory_synapses[cell as usize], jumps)
    }

    /// Returns the mean summed inhibitory conductance of a granule cell in nS, one sample per millisecond.
    pub fn inhibition(&self, cell: u32) -> Vec<f64> {
        let model = &self.structure.model;
        let weight_s = model.parameters().golgi_to_granule.weight_nsiemens * NANO;
        let from = &self.from_golgi[cell as usize];
        let jumps = |trial: usize, lane: usize, jumps: &mut Vec<Jump>| {
            if weight_s == 0.0 {
                return;
            }
            for &golgi in from {
                let steps = &self.arrivals[trial][golgi as usize];
                jumps.extend(steps.iter().map(|&step| Jump { step, lane, scale: 1.0, weight_s }));
            }
        };
        self.mean(model.inhibitory_step(), from.len() as u32, jumps)
    }

    /// Returns the mean over trials of the samples that result from these jumps.
    fn mean(&self, step: Step, synapses: u32, jumps_of: impl Fn(usize, usize, &mut Vec<Jump>)) -> Vec<f64> {
        let replay_from = |first: usize, trials: usize| {
            let model = &self.structure.model;
            let mut jumps = Vec::new();
            (0..trials).for_each(|lane| jumps_of(first + lane, lane, &mut jumps));
            // The sort is stable: jumps of one lane in one step stay in the order of their synapses.
            jumps.sort_by_key(|jump| jump.step);
            let mut samples = vec![[0.0; WIDTH]; model.bins()];
            replay(self.isa, &jumps, trials, step, synapses, model.steps_per_ms(), &mut samples);
            samples
        };
        let trials = self.trials as f64;
        let mut mean = if self.structure.network.size.granule_cells == 1 {
            // In the original, a recording of a single cell reached numpy in another memory layout.
            one_by_one(&replay_from, self.trials)
        } else {
            pairwise(&replay_from, 0, self.trials)
        };
        mean.iter_mut().for_each(|sum| *sum /= trials);
        mean
    }
}

/// Returns the presynaptic cells of each postsynaptic cell, ascending.
fn sources(projection: &Projection, presynaptic: u32, postsynaptic: u32) -> Vec<Vec<u32>> {
    let mut sources = vec![Vec::new(); postsynaptic as usize];
    for cell in 0..presynaptic {
        for &target in projection.targets_of(cell) {
            sources[target as usize].push(cell);
        }
    }
    sources
}

vectorised! {
    /// Replays the first `trials` lanes. The samples must be 0 before; afterwards they are in nS.
    fn replay<S>(
        simd,
        jumps: &[Jump],
        trials: usize,
        step: Step,
        synapses: u32,
        steps_per_ms: u32,
        samples: &mut [Samples],
    ) {
        // Each step of a trial depends on the step before. Four interleaved vectors hide this latency.
        let mut first = 0;
        while trials.saturating_sub(first) > 3 * S::LANES {
            replay_lanes::<S, 4>(simd, jumps, first, step, synapses, steps_per_ms, samples);
            first += 4 * S::LANES;
        }
        while first < trials {
            replay_lanes::<S, 1>(simd, jumps, first, step, synapses, steps_per_ms, samples);
            first += S::LANES;
        }
    }
}

/// Advances conductances by so many steps.
#[inline(always)]
fn steps<V: Copy, const VECTORS: usize>(g: &mut [V; VECTORS], count: u32, one: impl Fn(V) -> V) {
    for _ in 0..count {
        for g in &mut *g {
            *g = one(*g);
        }
    }
}

/// Replays `VECTORS` vectors of lanes, from lane `first`.
#[inline(always)]
fn replay_lanes<S: Simd, const VECTORS: usize>(
    simd: S,
    jumps: &[Jump],
    first: usize,
    decay: Step,
    synapses: u32,
    steps_per_ms: u32,
    samples: &mut [Samples],
) {
    let lanes = first..first + VECTORS * S::LANES;
    let nano = simd.f64(NANO);
    let per_ms = simd.f64(1000.0);
    let (Step::Factor(k) | Step::Sum(k) | Step::RateFirst(k)) = decay;
    let k = simd.f64(k);
    let is_fused = matches!(decay, Step::Factor(_));
    let mut jumps = jumps;
    let mut g = [simd.f64(0.0); VECTORS];
    // All conductances are 0 before the first jump.
    let Some(mut step) = jumps.first().map(|jump| jump.step) else { return };
    for (bin, sample) in samples.iter_mut().enumerate().skip(1) {
        // The recorder runs first in a step. It records the sum that the step before computed from the conductances at
        // that step's beginning.
        let formed = bin as u32 * steps_per_ms - 1;
        while step < formed {
            let next_jump = jumps.first().map_or(u32::MAX, |jump| jump.step);
            let until = formed.min(next_jump.saturating_add(1));
            // The order of products changes no bit.
            match decay {
                Step::Factor(_) => steps(&mut g, until - step, |g| g * k),
                Step::Sum(_) => steps(&mut g, until - step, |g| g * k + g),
                Step::RateFirst(_) => steps(&mut g, until - step, |g| g * k * per_ms + g),
            }
            step = until;
            if next_jump < step {
                let mut all = [0.0; WIDTH];
                for (g, all) in g.iter().zip(all.chunks_exact_mut(S::LANES)) {
                    simd.store(*g, all);
                }
                while let Some((jump, later)) = jumps.split_first()
                    && jump.step < step
                {
                    if lanes.contains(&jump.lane) {
                        let g = &mut all[jump.lane - first];
                        *g = if is_fused {
                            jump.scale.mul_add(jump.weight_s, *g)
                        } else {
                            jump.scale * jump.weight_s + *g
                        };
                    }
                    jumps = later;
                }
                for (g, all) in g.iter_mut().zip(all.chunks_exact(S::LANES)) {
                    *g = simd.load(all);
                }
            }
        }
        let mut sum = [simd.f64(0.0); VECTORS];
        for _ in 0..synapses {
            for (sum, g) in sum.iter_mut().zip(g) {
                *sum = *sum + g;
            }
        }
        for (sum, sample) in sum.into_iter().zip(sample[first..].chunks_exact_mut(S::LANES)) {
            simd.store(sum / nano, sample);
        }
    }
}

/// Sums trials from the first to the last; returns one sum per bin.
fn one_by_one(samples: &impl Fn(usize, usize) -> Vec<Samples>, trials: usize) -> Vec<f64> {
    let mut sums = vec![0.0; samples(0, 0).len()];
    for first in (0..trials).step_by(WIDTH) {
        let count = WIDTH.min(trials - first);
        for (sum, numbers) in sums.iter_mut().zip(samples(first, count)) {
            numbers[..count].iter().for_each(|number| *sum += number);
        }
    }
    sums
}

/// Computes numpy's pairwise sums over trials; returns one sum per bin.
///
/// `samples(first, count)` returns up to [`WIDTH`] trials. Memory holds only these trials at a time. numpy adds up to
/// 128 trials without splitting.
fn pairwise(samples: &impl Fn(usize, usize) -> Vec<Samples>, first: usize, trials: usize) -> Vec<f64> {
    const UNSPLIT: usize = 128;
    if trials > UNSPLIT {
        let half = trials / 2 / LANES * LANES;
        let mut sums = pairwise(samples, first, half);
        let right = pairwise(samples, first + half, trials - half);
        sums.iter_mut().zip(right).for_each(|(sum, right)| *sum += right);
        return sums;
    }
    let whole = trials / LANES * LANES;
    let mut partial: Vec<[f64; LANES]> = Vec::new();
    let mut sums: Vec<f64> = Vec::new();
    for batch in (0..trials.max(1)).step_by(WIDTH) {
        let count = WIDTH.min(trials - batch);
        let numbers = samples(first + batch, count);
        let in_eights = count.min(whole.saturating_sub(batch));
        if batch == 0 {
            // The first eight numbers initialize the partial sums. Adding them to 0 is not the same.
            let begin = |numbers: &Samples| *numbers.first_chunk().expect("at least eight lanes");
            partial = numbers.iter().map(begin).collect();
        }
        for (partial, numbers) in partial.iter_mut().zip(&numbers) {
            let eights = numbers[..in_eights].as_chunks::<LANES>().0;
            for eight in eights.iter().skip(usize::from(batch == 0)) {
                partial.iter_mut().zip(eight).for_each(|(partial, number)| *partial += number);
            }
        }
        if batch + count < trials {
            continue;
        }
        // In the last batch, combine the partial sums and add the remaining numbers.
        sums = if whole == 0 {
            // numpy adds fewer than eight numbers one by one, from 0.
            vec![0.0; numbers.len()]
        } else {
            let combine =
                |r: &[f64; LANES]| ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]));
            partial.iter().map(combine).collect()
        };
        for (sum, numbers) in sums.iter_mut().zip(&numbers) {
            numbers[in_eights..count].iter().for_each(|number| *sum += number);
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Method;
    use crate::parameters::{NetworkSize, Parameters};

    fn small(engine: Method) -> Layer {
        let network = NetworkSize { mossy_fibers: 20, granule_cells: 12, golgi_cells: 5 };
        Layer::new(engine, Parameters { network, ..Parameters::default() }).unwrap()
    }

    /// Number of terms and the bits of their sum, computed with numpy.
    const NUMPY_SUMS: [(usize, u64); 24] = [
        (0, 0x0000000000000000),
        (1, 0x3ff0000000000000),
        (7, 0x40b77297c57c57c5),
        (8, 0x40bb5ab7c57c57c5),
        (9, 0x40c1956a1ba1ba1b),
        (15, 0x40cd4da8bbba4748),
        (16, 0x40cd4db0bbba4748),
        (100, 0x40f82bd2ff7f9164),
        (127, 0x40fec356ce2ba551),
        (128, 0x40ff01d6ee2ba550),
        (129, 0x40ff7ed70dec2452),
        (130, 0x40ff7ed72d6e1c72),
        (136, 0x41007aebf2c66b23),
        (137, 0x41009a2c01b95695),
        (255, 0x410f20f0f6a89266),
        (256, 0x410f20f0fea89266),
        (257, 0x410f403106a09a5d),
        (258, 0x410f7eb10e90ba1e),
        (264, 0x41101d189ec76578),
        (300, 0x41124f992172a3e6),
        (511, 0x411f20db421ce912),
        (512, 0x411f307b441ce912),
        (513, 0x411f4fbb461be992),
        (1000, 0x412e7cbef88fa2fa),
    ];

    /// Sums of `1/(1+j) + 1e3·(j mod 3)` as numpy's `add.reduce` computes them, by number of terms.
    #[test]
    fn sums_have_numpys_bits() {
        let numbers: Vec<f64> = (0..1000).map(|j| 1.0 / f64::from(1 + j) + 1e3 * f64::from(j % 3)).collect();
        for (count, bits) in NUMPY_SUMS {
            let samples = |first: usize, count: usize| {
                let mut lanes = [0.0; WIDTH];
                lanes[..count].copy_from_slice(&numbers[first..first + count]);
                vec![lanes]
            };
            let sum = pairwise(&samples, 0, count)[0];
            assert_eq!(sum.to_bits(), bits, "{count} numbers: {sum:?}");
        }
    }

    #[test]
    fn a_bin_counts_once_a_trial_and_step_0_is_lost_with_the_originals_engine() {
        for (engine, first) in [(Method::Pcg, 1.0), (Method::Brian2_2_2_1, 0.5)] {
            let mut counts = SpikeCounts::new(&small(engine));
            let spike = |step| Spike { step, cell: 3 };
            counts.add(&[spike(0), spike(9), spike(25), spike(27)]);
            counts.add(&[spike(0), spike(21)]);
            let row = counts.probability(3);
            assert_eq!(row[..4], [first, 0.0, 1.0, 0.0]);
            assert!(counts.probability(2).iter().all(|p| *p == 0.0));
        }
    }

    /// Replays a conductance step by step, one trial at a time.
    fn plain(jumps: &[Jump], lane: usize, decay: Step, synapses: u32, bins: usize) -> Vec<f64> {
        let mut samples = vec![0.0; bins];
        let (mut g, mut sum) = (0.0_f64, 0.0);
        for step in 0..bins as u32 * 10 {
            if step % 10 == 0 {
                samples[(step / 10) as usize] = sum / NANO;
            }
            sum = 0.0;
            (0..synapses).for_each(|_| sum += g);
            g = match decay {
                Step::Factor(factor) => factor * g,
                Step::Sum(k) => (k * g) + g,
                Step::RateFirst(rate) => ((rate * g) * 1000.0) + g,
            };
            for jump in jumps.iter().filter(|jump| jump.lane == lane && jump.step == step) {
                g = match decay {
                    Step::Factor(_) => jump.scale.mul_add(jump.weight_s, g),
                    _ => (jump.scale * jump.weight_s) + g,
                };
            }
        }
        samples
    }

    #[test]
    fn side_by_side_is_the_same_as_one_by_one() {
        let jump = |step, lane, weight: f64| Jump { step, lane, scale: 0.4521, weight_s: weight * NANO };
        let jumps = [
            jump(0, 2, 0.3),
            jump(9, 0, 0.17),
            jump(10, 0, 0.17),
            jump(10, 0, 0.21),
            jump(11, 7, 0.17),
            jump(12, 25, 0.4),
            jump(13, 31, 0.2),
            jump(119, 0, 0.5),
            jump(5000, 1, 1.0),
        ];
        let rate = -0.083_333_333_333_333_3 * 1e-4;
        let decays = [Step::Factor(1.0 + rate / 1e-3), Step::Sum(rate / 1e-3), Step::RateFirst(rate)];
        for (isa, decay) in Isa::available().into_iter().flat_map(|isa| decays.map(|decay| (isa, decay))) {
            for synapses in [0, 1, 3, 7] {
                for trials in [1, 2, 3, 5, 7, 8, 9, 13, 16, 24, 25, 26, 31, WIDTH] {
                    let mut found = vec![[0.0; WIDTH]; 12];
                    replay(isa, &jumps, trials, decay, synapses, 10, &mut found);
                    for lane in 0..trials {
                        let lane_found: Vec<f64> = found.iter().map(|sample| sample[lane]).collect();
                        let expected = plain(&jumps, lane, decay, synapses, 12);
                        assert_eq!(
                            lane_found,
                            expected,
                            "{}, {decay:?}, lane {lane} of {trials}",
                            isa.name()
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn stored_weights_went_through_siemens() {
        let structure = Structure::new(&small(Method::Brian2_2_2_1), 451);
        let weights = structure.weights(300).unwrap();
        let random = structure.random_weights(300).unwrap();
        let changed = (0..300).any(|trial| {
            let drawn = random.of_trial(trial);
            weights.iter().zip(drawn).any(|(of_fiber, drawn)| of_fiber[trial as usize] != drawn)
        });
        assert!(changed, "the way to siemens and back costs a bit now and then");
    }
}
