//! The integrator: leaky integrate-and-fire cells, forward Euler.
//!
//! ```text
//! dv/dt   = (g_l (E_l − v) + (g_e + g_n)(E_e − v) + (g_i + g_t)(E_i − v)) / C     frozen while refractory
//! dg_n/dt = (−g_n + σ √τ_n ξ) / τ_n        dg_e/dt = −g_e/τ_e        dg_i/dt = −g_i/τ_i
//! ```
//!
//! Here in mV, nS, pF and ms. All right-hand sides use the values before the step; g_n is an
//! Ornstein–Uhlenbeck process by Euler–Maruyama. Cells are held in blocks small enough for the
//! innermost cache, and a block runs through many steps before the next one is touched.

use crate::isa::{Isa, vectorised};
use crate::parameters::{Cell, Noise, Parameters, Receptor};
use crate::spikes::Spike;

/// Cells in a block.
pub(crate) const BLOCK: usize = 64;

/// What the cells of a population have in common, per step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Membrane {
    /// dt·g_l/C.
    leak: f64,
    /// dt/C, per nS.
    per_nsiemens: f64,
    leak_reversal: f64,
    excitatory_reversal: f64,
    inhibitory_reversal: f64,
    threshold: f64,
    reset: f64,
    initial: f64,
    refractory_steps: u32,
    excitatory_decay: f64,
    inhibitory_decay: f64,
    noise_decay: f64,
    noise_gain: f64,
}

impl Membrane {
    pub(crate) fn new(
        cell: &Cell,
        parameters: &Parameters,
        refractory_steps: u32,
        excitatory_decay: f64,
        inhibitory_decay: f64,
    ) -> Membrane {
        let dt = parameters.time.step_ms;
        let per_nsiemens = dt / cell.capacitance_pfarad;
        let Noise { tau_ms, .. } = parameters.noise;
        let Receptor { reversal_mvolt: excitatory_reversal, .. } = parameters.excitatory;
        let Receptor { reversal_mvolt: inhibitory_reversal, .. } = parameters.inhibitory;
        Membrane {
            leak: per_nsiemens * cell.leak_conductance_nsiemens,
            per_nsiemens,
            leak_reversal: cell.leak_reversal_mvolt,
            excitatory_reversal,
            inhibitory_reversal,
            threshold: cell.threshold_mvolt,
            reset: cell.reset_mvolt,
            initial: cell.initial_mvolt,
            refractory_steps,
            excitatory_decay,
            inhibitory_decay,
            noise_decay: 1.0 - dt / tau_ms,
            noise_gain: cell.noise_sigma_nsiemens * (dt / tau_ms).sqrt(),
        }
    }
}

/// The state of [`BLOCK`] cells; conductances in nS, potentials in mV.
#[derive(Clone, Debug)]
struct Block {
    v: [f64; BLOCK],
    noise: [f64; BLOCK],
    excitation: [f64; BLOCK],
    inhibition: [f64; BLOCK],
    tonic: [f64; BLOCK],
    /// The first step after the refractory period.
    free_from: [f64; BLOCK],
}

/// Something that changes the conductances of cells in a step.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Input<'a> {
    /// Excitatory synapses, ascending by cell: (cell, weight in nS before `scale`).
    Excitation { synapses: &'a [(u32, f64)], scale: f64 },
    /// Inhibitory synapses of one weight in nS onto these cells, ascending.
    Inhibition { cells: &'a [u32], weight: f64 },
}

/// An [`Input`] and when it arrives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival<'a> {
    pub(crate) step: u32,
    pub(crate) input: Input<'a>,
}

/// Where a population finds its normals: step s of the chunk, cell c at `s·stride + offset + c`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoiseRows<'a> {
    pub(crate) normals: &'a [f64],
    pub(crate) stride: usize,
    pub(crate) offset: usize,
}

/// The cells of one population during a trial.
#[derive(Clone, Debug)]
pub(crate) struct Cells {
    isa: Isa,
    membrane: Membrane,
    count: usize,
    blocks: Vec<Block>,
    padded: Vec<f64>,
}

impl Cells {
    /// The cells at the start of a trial, one for each tonic conductance (nS).
    pub(crate) fn new(isa: Isa, membrane: Membrane, tonic: &[f64]) -> Cells {
        let blocks = tonic
            .chunks(BLOCK)
            .map(|of_cells| {
                let mut tonic = [0.0; BLOCK];
                tonic[..of_cells.len()].copy_from_slice(of_cells);
                Block {
                    v: [membrane.initial; BLOCK],
                    noise: [0.0; BLOCK],
                    excitation: [0.0; BLOCK],
                    inhibition: [0.0; BLOCK],
                    tonic,
                    free_from: [0.0; BLOCK],
                }
            })
            .collect();
        Cells { isa, membrane, count: tonic.len(), blocks, padded: Vec::new() }
    }

    /// Runs the steps from `first` to before `end` and appends the spikes, ascending by step, then
    /// cell. `arrivals` are those of these steps, ascending by step.
    pub(crate) fn advance(
        &mut self,
        first: u32,
        end: u32,
        rows: NoiseRows<'_>,
        arrivals: &[Arrival<'_>],
        spikes: &mut Vec<Spike>,
    ) {
        let old = spikes.len();
        for (i, block) in self.blocks.iter_mut().enumerate() {
            let base = i * BLOCK;
            let here = BLOCK.min(self.count - base);
            let (normals, stride) = if here == BLOCK {
                (&rows.normals[rows.offset + base..], rows.stride)
            } else {
                // The last block is not full. The cells that do not exist get no noise, and what
                // they do is not looked at.
                self.padded.clear();
                for row in 0..(end - first) as usize {
                    let from = row * rows.stride + rows.offset + base;
                    self.padded.extend_from_slice(&rows.normals[from..from + here]);
                    self.padded.resize((row + 1) * BLOCK, 0.0);
                }
                (&self.padded[..], BLOCK)
            };
            let mut step = first;
            let mut arrivals = arrivals;
            while step < end {
                let until = arrivals.first().map_or(end, |arrival| arrival.step + 1);
                let offset = (step - first) as usize * stride;
                let ran =
                    run(self.isa, block, &self.membrane, &normals[offset..], stride, step, until - step);
                step += ran.steps;
                if ran.spiked {
                    fire(block, &self.membrane, base, here, step - 1, spikes);
                }
                while let Some((arrival, later)) = arrivals.split_first()
                    && arrival.step < step
                {
                    receive(block, base, arrival.input);
                    arrivals = later;
                }
            }
        }
        spikes[old..].sort_unstable();
    }
}

/// What [`run`] did.
struct Ran {
    steps: u32,
    /// Whether a cell crossed the threshold in the last step run.
    spiked: bool,
}

vectorised! {
    /// Runs a block for at most `steps` steps from `first` on, to the end of the first step in
    /// which a cell crosses its threshold.
    fn run(block: &mut Block, m: &Membrane, normals: &[f64], stride: usize, first: u32, steps: u32) -> Ran {
        let m = *m;
        for i in 0..steps {
            let from = i as usize * stride;
            let xi: &[f64; BLOCK] = normals[from..from + BLOCK].try_into().expect("a row of normals");
            let step = f64::from(first + i);
            let mut crossed = 0_u64;
            for (c, xi) in xi.iter().enumerate() {
                let v = block.v[c];
                let leak = m.leak * (m.leak_reversal - v);
                let excitation = (block.excitation[c] + block.noise[c]) * (m.excitatory_reversal - v);
                let inhibition = (block.inhibition[c] + block.tonic[c]) * (m.inhibitory_reversal - v);
                let moved = v + (leak + m.per_nsiemens * (excitation + inhibition));
                let is_free = block.free_from[c] <= step;
                let v = if is_free { moved } else { v };
                block.v[c] = v;
                block.noise[c] = block.noise[c] * m.noise_decay + m.noise_gain * xi;
                block.excitation[c] *= m.excitatory_decay;
                block.inhibition[c] *= m.inhibitory_decay;
                crossed |= u64::from(is_free & (v > m.threshold));
            }
            if crossed != 0 {
                return Ran { steps: i + 1, spiked: true };
            }
        }
        Ran { steps, spiked: false }
    }
}

/// Records and resets the cells above threshold.
fn fire(block: &mut Block, m: &Membrane, base: usize, here: usize, step: u32, spikes: &mut Vec<Spike>) {
    let now = f64::from(step);
    for c in 0..BLOCK {
        if block.v[c] > m.threshold && block.free_from[c] <= now {
            if c < here {
                spikes.push(Spike { step, cell: (base + c) as u32 });
            }
            block.v[c] = m.reset;
            block.free_from[c] = now + f64::from(m.refractory_steps);
        }
    }
}

/// Adds an input to the cells of a block.
fn receive(block: &mut Block, base: usize, input: Input<'_>) {
    let end = (base + BLOCK) as u32;
    let base = base as u32;
    match input {
        Input::Excitation { synapses, scale } => {
            let from = synapses.partition_point(|&(cell, _)| cell < base);
            for &(cell, weight) in synapses[from..].iter().take_while(|&&(cell, _)| cell < end) {
                let g = &mut block.excitation[(cell - base) as usize];
                *g = scale.mul_add(weight, *g);
            }
        }
        Input::Inhibition { cells, weight } => {
            let from = cells.partition_point(|&cell| cell < base);
            for &cell in cells[from..].iter().take_while(|&&cell| cell < end) {
                block.inhibition[(cell - base) as usize] += weight;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn membrane(refractory_steps: u32) -> Membrane {
        let parameters = Parameters::default();
        Membrane::new(&parameters.granule, &parameters, refractory_steps, 0.99, 0.995)
    }

    /// Normals that no two cells or steps share, strong enough to make cells spike.
    fn normals(count: usize) -> Vec<f64> {
        (0..count).map(|i| ((i * 2_654_435_761) % 1_000_003) as f64 / 1_000_003.0 * 60.0 - 10.0).collect()
    }

    fn run_all(isa: Isa, cells: usize, chunk: u32, refractory_steps: u32) -> Vec<Spike> {
        const STEPS: u32 = 600;
        let synapses: Vec<(u32, f64)> = (0..cells as u32).step_by(3).map(|c| (c, 0.7)).collect();
        let inhibited: Vec<u32> = (0..cells as u32).step_by(2).collect();
        let normals = normals(cells * STEPS as usize);
        let mut population = Cells::new(isa, membrane(refractory_steps), &vec![0.3; cells]);
        let mut spikes = Vec::new();
        for first in (0..STEPS).step_by(chunk as usize) {
            let end = (first + chunk).min(STEPS);
            let rows = NoiseRows { normals: &normals[first as usize * cells..], stride: cells, offset: 0 };
            let arrivals: Vec<Arrival<'_>> = [
                Arrival { step: 100, input: Input::Excitation { synapses: &synapses, scale: 2.0 } },
                Arrival { step: 100, input: Input::Inhibition { cells: &inhibited, weight: 0.1 } },
                Arrival { step: 350, input: Input::Inhibition { cells: &inhibited, weight: 0.4 } },
            ]
            .into_iter()
            .filter(|arrival| (first..end).contains(&arrival.step))
            .collect();
            population.advance(first, end, rows, &arrivals, &mut spikes);
        }
        spikes
    }

    /// The equations once more, cell by cell and step by step.
    fn plain(cells: usize, refractory_steps: u32) -> Vec<Spike> {
        let m = membrane(refractory_steps);
        let normals = normals(cells * 600);
        let mut spikes = Vec::new();
        for c in 0..cells {
            let (mut v, mut gn, mut ge, mut gi) = (m.initial, 0.0, 0.0, 0.0);
            let mut last: Option<u32> = None;
            for s in 0..600 {
                let free = last.is_none_or(|last| s - last >= refractory_steps);
                let dv = m.leak * (m.leak_reversal - v)
                    + m.per_nsiemens
                        * ((ge + gn) * (m.excitatory_reversal - v)
                            + (gi + 0.3) * (m.inhibitory_reversal - v));
                if free {
                    v += dv;
                }
                gn = gn * m.noise_decay + m.noise_gain * normals[s as usize * cells + c];
                ge *= m.excitatory_decay;
                gi *= m.inhibitory_decay;
                if free && v > m.threshold {
                    spikes.push(Spike { step: s, cell: c as u32 });
                    last = Some(s);
                    v = m.reset;
                }
                if s == 100 && c % 3 == 0 {
                    ge = 2.0_f64.mul_add(0.7, ge);
                }
                if s == 100 && c % 2 == 0 {
                    gi += 0.1;
                }
                if s == 350 && c % 2 == 0 {
                    gi += 0.4;
                }
            }
        }
        spikes.sort_unstable();
        spikes
    }

    #[test]
    fn blocks_chunks_and_instruction_sets_change_nothing() {
        for (cells, refractory_steps) in [(1, 20), (63, 0), (64, 1), (65, 20), (200, 20)] {
            let expected = plain(cells, refractory_steps);
            assert!(expected.len() > cells, "the test needs spikes");
            for isa in Isa::available() {
                for chunk in [1, 7, 64, 600] {
                    let found = run_all(isa, cells, chunk, refractory_steps);
                    assert!(found == expected, "{cells} cells, chunk {chunk}, {}", isa.name());
                }
            }
        }
    }
}
