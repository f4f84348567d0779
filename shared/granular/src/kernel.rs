//! The integrator: leaky integrate-and-fire cells, by the forward Euler method.
//!
//! ```text
//! dv/dt   = (g_l (E_l − v) + (g_e + g_n)(E_e − v) + (g_i + g_t)(E_i − v)) / C     frozen while refractory
//! dg_n/dt = (−g_n + σ √τ_n ξ) / τ_n        dg_e/dt = −g_e/τ_e        dg_i/dt = −g_i/τ_i
//! ```
//!
//! Units here are mV, nS, pF and ms. All right-hand sides use the values before the step. g_n is an Ornstein–Uhlenbeck
//! process, integrated by the Euler–Maruyama method.
//!
//! g_n is linear in the noise. Its process is therefore advanced once for all conditions ([`NoiseProcess`]) and scaled
//! for each condition. All other state is advanced in tiles. A tile has so many cells that their state stays in the
//! processor's registers for all steps without an event. Within a population, cells do not depend on each other, so
//! that each tile stops for its own events only.

use crate::isa::{Isa, Simd, vectorised};
use crate::noise::keyed::KeyedNoise;
use crate::parameters::{Cell, Noise, Parameters, Receptor};
use crate::random::keyed::Streams;
use granule_engine::spikes::Spike;

/// Vectors in a tile: four for each of the state's three arrays. This leaves a quarter of AVX2's sixteen registers, and
/// more of AVX-512's.
const VECTORS: usize = 4;
/// Cells of the largest tile, that of AVX-512.
const LARGEST_TILE: usize = VECTORS * 8;

/// The constants that the cells of a population share.
///
/// Potentials are relative to the excitatory reversal potential. Conductances are in units of C/dt: the change of the
/// potential in a step, per mV of driving force.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Membrane {
    /// dt/C, per nS.
    unit: f64,
    leak: f64,
    leak_reversal: f64,
    inhibitory_reversal: f64,
    threshold: f64,
    reset: f64,
    initial: f64,
    refractory_steps: u32,
    excitatory_decay: f64,
    inhibitory_decay: f64,
    /// Factor by which the noise process is multiplied.
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
        let unit = dt / cell.capacitance_pfarad;
        let Noise { tau_ms, .. } = parameters.noise;
        let Receptor { reversal_mvolt: excitatory_reversal, .. } = parameters.excitatory;
        let Receptor { reversal_mvolt: inhibitory_reversal, .. } = parameters.inhibitory;
        Membrane {
            unit,
            leak: unit * cell.leak_conductance_nsiemens,
            leak_reversal: cell.leak_reversal_mvolt - excitatory_reversal,
            inhibitory_reversal: inhibitory_reversal - excitatory_reversal,
            threshold: cell.threshold_mvolt - excitatory_reversal,
            reset: cell.reset_mvolt - excitatory_reversal,
            initial: cell.initial_mvolt - excitatory_reversal,
            refractory_steps,
            excitatory_decay,
            inhibitory_decay,
            noise_gain: unit * cell.noise_sigma_nsiemens * (dt / tau_ms).sqrt(),
        }
    }
}

/// Computes the factor of the noise process per step: 1 − dt/τ_n.
pub(crate) fn noise_decay(noise: &Noise, step_ms: f64) -> f64 {
    1.0 - step_ms / noise.tau_ms
}

/// The noise process of every cell of a network: x ← (1 − dt/τ_n)·x + N(0, 1), from x = 0.
///
/// g_n is σ·√(dt/τ_n)·x.
#[derive(Clone, Debug)]
pub(crate) struct NoiseProcess {
    isa: Isa,
    decay: f64,
    now: Vec<f64>,
    /// The cell of the next normal.
    next: usize,
    rows: Vec<f64>,
}

impl NoiseProcess {
    /// Makes the process of so many cells with this [`noise_decay`]. It has room for so many steps at a time.
    pub(crate) fn new(isa: Isa, decay: f64, cells: usize, steps: usize) -> NoiseProcess {
        NoiseProcess {
            isa,
            decay,
            now: vec![0.0; cells],
            next: 0,
            rows: Vec::with_capacity(cells * steps + LARGEST_TILE),
        }
    }

    /// Clears the rows of the steps taken so far, and keeps the present state.
    pub(crate) fn begin(&mut self) {
        self.rows.clear();
    }

    /// Takes the next normals, in the order of steps, then cells.
    pub(crate) fn take(&mut self, mut normals: &[f64]) {
        while !normals.is_empty() {
            let count = normals.len().min(self.now.len() - self.next);
            let (these, later) = normals.split_at(count);
            let from = self.rows.len();
            self.rows.resize(from + count, 0.0);
            let now = &mut self.now[self.next..self.next + count];
            relax(self.isa, now, these, &mut self.rows[from..], self.decay);
            self.next = (self.next + count) % self.now.len();
            normals = later;
        }
    }

    /// Returns the process at the beginning of each step taken since [`Self::begin`]. The value of step s and cell c is
    /// at index s·cells + c.
    pub(crate) fn rows(&mut self) -> &[f64] {
        // Padding: the last tile of a population reads beyond its last cell.
        let end = self.rows.len();
        self.rows.resize(end + LARGEST_TILE, 0.0);
        &self.rows
    }
}

vectorised! {
    /// Advances the process of some cells by one step. `before` receives their values before the step.
    fn relax<S>(_simd, now: &mut [f64], normals: &[f64], before: &mut [f64], decay: f64) {
        for ((x, normal), before) in now.iter_mut().zip(normals).zip(before) {
            *before = *x;
            *x = *x * decay + normal;
        }
    }
}

/// An input that changes the conductances of cells in a step.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SynapticInput<'a> {
    /// Excitatory synapses, ascending by cell: (cell, weight in nS before `scale`).
    Excitation { synapses: &'a [(u32, f64)], scale: f64 },
    /// Inhibitory synapses of one weight in nS onto these cells, ascending.
    Inhibition { cells: &'a [u32], weight: f64 },
}

/// A [`SynapticInput`] and the step in which it arrives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival<'a> {
    pub(crate) step: u32,
    pub(crate) input: SynapticInput<'a>,
}

/// The noise of a population. The value of step s of the chunk and cell c of tile t is at
/// `s·stride + t·tile_stride + c`. Values from the last cell to the end of its tile must exist, and are not used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoiseRows<'a> {
    process: &'a [f64],
    stride: usize,
    tile_stride: usize,
}

impl<'a> NoiseRows<'a> {
    /// Makes rows of `stride` cells, one row per step. The population's cells begin at `offset` in each row.
    pub(crate) fn of_steps(isa: Isa, process: &'a [f64], stride: usize, offset: usize) -> NoiseRows<'a> {
        NoiseRows { process: &process[offset..], stride, tile_stride: tile_size(isa) }
    }
}

/// The noise process of a population whose normals are [`KeyedNoise`], stored tile by tile. For each time constant, the
/// process is x ← (1 − dt/τ_n)·x + N(0, 1), with the same normals.
#[derive(Clone, Debug)]
pub(crate) struct KeyedProcess {
    isa: Isa,
    noise: KeyedNoise,
    cells: usize,
    /// Normals of one tile.
    normals: Vec<f64>,
    processes: Vec<Keyed>,
}

/// The process of one time constant.
#[derive(Clone, Debug)]
struct Keyed {
    decay: f64,
    now: Vec<f64>,
    rows: Vec<f64>,
}

impl KeyedProcess {
    /// Makes the processes of the cells below `cells`, one for each of these decays per step. They have room for
    /// `steps` steps at a time.
    pub(crate) fn new(
        isa: Isa,
        streams: &Streams,
        cells: u32,
        steps: usize,
        decays: impl Iterator<Item = f64>,
    ) -> KeyedProcess {
        let tile = tile_size(isa);
        let padded = (cells as usize).next_multiple_of(tile);
        let process = |decay| Keyed { decay, now: vec![0.0; padded], rows: vec![0.0; padded * steps] };
        KeyedProcess {
            isa,
            noise: KeyedNoise::new(isa, streams, cells, tile),
            cells: padded,
            normals: vec![0.0; tile * steps.next_multiple_of(2)],
            processes: decays.map(process).collect(),
        }
    }

    /// Advances the processes by so many steps. The number must be even, except in the last call.
    pub(crate) fn advance(&mut self, steps: usize) {
        let tile = tile_size(self.isa);
        let normals = &mut self.normals[..tile * steps.next_multiple_of(2)];
        for first in (0..self.cells).step_by(tile) {
            self.noise.draw(first, tile, normals);
            for process in &mut self.processes {
                let rows = &mut process.rows[first * steps..(first + tile) * steps];
                relax_tile(self.isa, &mut process.now[first..first + tile], normals, rows, process.decay);
            }
        }
    }

    /// Returns the noise of the last `steps` steps, of this process.
    pub(crate) fn rows(&self, process: usize, steps: usize) -> NoiseRows<'_> {
        let tile = tile_size(self.isa);
        NoiseRows { process: &self.processes[process].rows, stride: tile, tile_stride: tile * steps }
    }
}

vectorised! {
    /// Advances the process of a tile. `before` receives its values at the beginning of each step.
    fn relax_tile<S>(simd, now: &mut [f64], normals: &[f64], before: &mut [f64], decay: f64) {
        let size = VECTORS * S::LANES;
        let decay = simd.f64(decay);
        let mut x = [decay; VECTORS];
        for t in 0..VECTORS {
            x[t] = simd.load(&now[t * S::LANES..]);
        }
        for (normals, before) in normals.chunks_exact(size).zip(before.chunks_exact_mut(size)) {
            for t in 0..VECTORS {
                simd.store(x[t], &mut before[t * S::LANES..]);
                x[t] = x[t] * decay + simd.load(&normals[t * S::LANES..]);
            }
        }
        for t in 0..VECTORS {
            simd.store(x[t], &mut now[t * S::LANES..]);
        }
    }
}

/// The cells of one population during a trial.
#[derive(Clone, Debug)]
pub(crate) struct Cells {
    isa: Isa,
    membrane: Membrane,
    potential: Vec<f64>,
    excitation: Vec<f64>,
    inhibition: Vec<f64>,
    /// Whether the cells receive any inhibition.
    is_inhibited: bool,
    /// Conductance that never changes, and the current through it at the excitatory reversal potential.
    resting: Vec<f64>,
    resting_current: Vec<f64>,
    /// The step in which a refractory cell is free again; 0 for other cells.
    free_from: Vec<u32>,
    gates: Vec<TileMask>,
}

/// The cells of a tile whose potential can change.
#[derive(Clone, Copy, Debug)]
struct TileMask {
    /// Bit c is set if cell c exists and is not refractory.
    live: u32,
    /// The first step in which a refractory cell is free again.
    release: u32,
}

impl Cells {
    /// Makes the cells at the start of a trial, one for each tonic conductance (nS).
    pub(crate) fn new(isa: Isa, membrane: Membrane, tonic: &[f64], is_inhibited: bool) -> Cells {
        let tile = tile_size(isa);
        let padded = tonic.len().next_multiple_of(tile);
        let m = &membrane;
        let of_tonic = |f: &dyn Fn(f64) -> f64| {
            let mut of_cells: Vec<f64> = tonic.iter().map(|tonic| f(m.unit * tonic)).collect();
            of_cells.resize(padded, 0.0);
            of_cells
        };
        let gate = |base| {
            let here = tile.min(tonic.len() - base) as u32;
            TileMask { live: u32::MAX >> (u32::BITS - here), release: u32::MAX }
        };
        Cells {
            isa,
            membrane,
            potential: vec![m.initial; padded],
            excitation: vec![0.0; padded],
            inhibition: vec![0.0; padded],
            is_inhibited,
            resting: of_tonic(&|tonic| m.leak + tonic),
            resting_current: of_tonic(&|tonic| m.leak * m.leak_reversal + tonic * m.inhibitory_reversal),
            free_from: vec![0; padded],
            gates: (0..tonic.len()).step_by(tile).map(gate).collect(),
        }
    }

    /// Runs the steps from `first` to before `end`. Appends the spikes, ascending by step, then cell. `arrivals` are
    /// those of these steps, ascending by step.
    pub(crate) fn advance(
        &mut self,
        first: u32,
        end: u32,
        rows: NoiseRows<'_>,
        arrivals: &[Arrival<'_>],
        spikes: &mut Vec<Spike>,
    ) {
        let old = spikes.len();
        advance(self.isa, self, first, end, rows, arrivals, spikes);
        spikes[old..].sort_unstable();
    }

    /// Frees the cells of a tile whose refractory period has ended.
    #[cold]
    fn release(&mut self, tile: usize, base: usize, step: u32) {
        let gate = &mut self.gates[tile];
        gate.release = u32::MAX;
        for (c, free_from) in self.free_from[base..].iter_mut().take(tile_size(self.isa)).enumerate() {
            if *free_from == 0 {
                continue;
            }
            if *free_from <= step {
                *free_from = 0;
                gate.live |= 1 << c;
            } else {
                gate.release = gate.release.min(*free_from);
            }
        }
    }

    /// Records and resets the cells of a tile that crossed their threshold.
    #[cold]
    fn fire(&mut self, tile: usize, base: usize, step: u32, mut crossed: u32, spikes: &mut Vec<Spike>) {
        let gate = &mut self.gates[tile];
        let free_from = step.saturating_add(self.membrane.refractory_steps);
        while crossed != 0 {
            let c = crossed.trailing_zeros() as usize;
            crossed &= crossed - 1;
            spikes.push(Spike { step, cell: (base + c) as u32 });
            self.potential[base + c] = self.membrane.reset;
            if free_from > step + 1 {
                self.free_from[base + c] = free_from;
                gate.live &= !(1 << c);
                gate.release = gate.release.min(free_from);
            }
        }
    }

    /// Adds an input to the cells of a tile.
    fn receive(&mut self, base: usize, tile: usize, input: SynapticInput<'_>) {
        let unit = self.membrane.unit;
        let end = (base + tile) as u32;
        let base = base as u32;
        match input {
            SynapticInput::Excitation { synapses, scale } => {
                let from = synapses.partition_point(|&(cell, _)| cell < base);
                for &(cell, weight) in synapses[from..].iter().take_while(|&&(cell, _)| cell < end) {
                    self.excitation[cell as usize] += unit * (scale * weight);
                }
            }
            SynapticInput::Inhibition { cells, weight } => {
                let from = cells.partition_point(|&cell| cell < base);
                for &cell in cells[from..].iter().take_while(|&&cell| cell < end) {
                    self.inhibition[cell as usize] += unit * weight;
                }
            }
        }
    }
}

fn tile_size(isa: Isa) -> usize {
    VECTORS * isa.lanes()
}

vectorised! {
    fn advance<S>(
        simd,
        cells: &mut Cells,
        first: u32,
        end: u32,
        rows: NoiseRows<'_>,
        arrivals: &[Arrival<'_>],
        spikes: &mut Vec<Spike>,
    ) {
        let size = VECTORS * S::LANES;
        for tile in 0..cells.gates.len() {
            let base = tile * size;
            let mut step = first;
            let mut arrivals = arrivals;
            while step < end {
                if cells.gates[tile].release <= step {
                    cells.release(tile, base, step);
                }
                let TileMask { live, release } = cells.gates[tile];
                let until = arrivals.first().map_or(end, |arrival| arrival.step + 1).min(release);
                let from = (step - first) as usize * rows.stride + tile * rows.tile_stride;
                let noise = TileNoise { process: &rows.process[from..], stride: rows.stride };
                let ran = if cells.is_inhibited {
                    run::<S, true>(simd, cells, base, live, noise, until - step)
                } else {
                    run::<S, false>(simd, cells, base, live, noise, until - step)
                };
                step += ran.steps;
                if ran.crossed != 0 {
                    cells.fire(tile, base, step - 1, ran.crossed, spikes);
                }
                while let Some((arrival, later)) = arrivals.split_first()
                    && arrival.step < step
                {
                    cells.receive(base, size, arrival.input);
                    arrivals = later;
                }
            }
        }
    }
}

/// The noise of a tile, from its first cell in the first step.
#[derive(Clone, Copy)]
struct TileNoise<'a> {
    process: &'a [f64],
    stride: usize,
}

/// Result of [`run`].
struct Ran {
    steps: u32,
    /// The cells that crossed their threshold in the last step, as bits.
    crossed: u32,
}

/// Runs a tile for at most `steps` steps. Stops after the first step in which a cell crosses its threshold.
#[inline(always)]
fn run<S: Simd, const INHIBITED: bool>(
    simd: S,
    cells: &mut Cells,
    base: usize,
    live: u32,
    noise: TileNoise<'_>,
    steps: u32,
) -> Ran {
    let m = cells.membrane;
    let size = VECTORS * S::LANES;
    let potential = &mut cells.potential[base..base + size];
    let excitation = &mut cells.excitation[base..base + size];
    let inhibition = &mut cells.inhibition[base..base + size];
    let resting = &cells.resting[base..base + size];
    let resting_current = &cells.resting_current[base..base + size];

    let zeros = [simd.f64(0.0); VECTORS];
    let (mut v, mut g_e, mut g_i) = (zeros, zeros, zeros);
    let (mut g_rest, mut i_rest) = (zeros, zeros);
    let mut is_live = [simd.mask(0); VECTORS];
    for t in 0..VECTORS {
        let at = t * S::LANES;
        v[t] = simd.load(&potential[at..]);
        g_e[t] = simd.load(&excitation[at..]);
        g_i[t] = simd.load(&inhibition[at..]);
        g_rest[t] = simd.load(&resting[at..]);
        i_rest[t] = simd.load(&resting_current[at..]);
        is_live[t] = simd.mask(live >> at);
    }
    let threshold = simd.f64(m.threshold);
    let gain = simd.f64(m.noise_gain);
    let inhibitory_reversal = simd.f64(m.inhibitory_reversal);
    let excitatory_decay = simd.f64(m.excitatory_decay);
    let inhibitory_decay = simd.f64(m.inhibitory_decay);

    let mut ran = Ran { steps: 0, crossed: 0 };
    while ran.steps < steps {
        let row = &noise.process[ran.steps as usize * noise.stride..][..size];
        ran.steps += 1;
        let mut crossed = [simd.mask(0); VECTORS];
        for t in 0..VECTORS {
            let g_n = gain * simd.load(&row[t * S::LANES..]);
            // dv = I − g·v, with all conductances summed in g.
            let mut g = g_rest[t] + (g_e[t] + g_n);
            let mut current = i_rest[t];
            if INHIBITED {
                g = g + g_i[t];
                current = current + g_i[t] * inhibitory_reversal;
                g_i[t] = g_i[t] * inhibitory_decay;
            }
            g_e[t] = g_e[t] * excitatory_decay;
            v[t] = simd.select(is_live[t], v[t] + (current - g * v[t]), v[t]);
            crossed[t] = simd.less(threshold, v[t]) & is_live[t];
        }
        if simd.mask_bits((crossed[0] | crossed[1]) | (crossed[2] | crossed[3])) != 0 {
            for (t, crossed) in crossed.into_iter().enumerate() {
                ran.crossed |= simd.mask_bits(crossed) << (t * S::LANES);
            }
            break;
        }
    }
    for t in 0..VECTORS {
        let at = t * S::LANES;
        simd.store(v[t], &mut potential[at..]);
        simd.store(g_e[t], &mut excitation[at..]);
        if INHIBITED {
            simd.store(g_i[t], &mut inhibition[at..]);
        }
    }
    ran
}

#[cfg(test)]
mod tests {
    use super::*;

    fn membrane(refractory_steps: u32) -> Membrane {
        let parameters = Parameters::default();
        Membrane::new(&parameters.granule, &parameters, refractory_steps, 0.99, 0.995)
    }

    /// Normals that differ between all cells and steps, and are strong enough to make cells spike.
    fn normals(count: usize) -> Vec<f64> {
        (0..count).map(|i| ((i * 2_654_435_761) % 1_000_003) as f64 / 1_000_003.0 * 60.0 - 10.0).collect()
    }

    fn run_all(isa: Isa, cells: usize, chunk: u32, refractory_steps: u32) -> Vec<Spike> {
        const STEPS: u32 = 600;
        // Each row also has cells of another population, before and after.
        const OFFSET: usize = 3;
        const STRIDE_BEYOND: usize = OFFSET + 2;
        let synapses: Vec<(u32, f64)> = (0..cells as u32).step_by(3).map(|c| (c, 0.7)).collect();
        let inhibited: Vec<u32> = (0..cells as u32).step_by(2).collect();
        let own = normals(cells * STEPS as usize);
        let stride = cells + STRIDE_BEYOND;
        let mut all = vec![1e3; stride * STEPS as usize];
        for (row, own) in all.chunks_exact_mut(stride).zip(own.chunks_exact(cells)) {
            row[OFFSET..OFFSET + cells].copy_from_slice(own);
        }
        let parameters = Parameters::default();
        let step_ms = parameters.time.step_ms;
        let mut process =
            NoiseProcess::new(isa, noise_decay(&parameters.noise, step_ms), stride, chunk as usize);
        let mut population = Cells::new(isa, membrane(refractory_steps), &vec![0.3; cells], true);
        let mut spikes = Vec::new();
        for first in (0..STEPS).step_by(chunk as usize) {
            let end = (first + chunk).min(STEPS);
            process.begin();
            // The ends of these pieces do not match the ends of rows.
            let normals = &all[first as usize * stride..end as usize * stride];
            normals.chunks(311).for_each(|piece| process.take(piece));
            let rows = NoiseRows::of_steps(isa, process.rows(), stride, OFFSET);
            let arrivals: Vec<Arrival<'_>> = [
                Arrival { step: 100, input: SynapticInput::Excitation { synapses: &synapses, scale: 2.0 } },
                Arrival { step: 100, input: SynapticInput::Inhibition { cells: &inhibited, weight: 0.1 } },
                Arrival { step: 350, input: SynapticInput::Inhibition { cells: &inhibited, weight: 0.4 } },
            ]
            .into_iter()
            .filter(|arrival| (first..end).contains(&arrival.step))
            .collect();
            population.advance(first, end, rows, &arrivals, &mut spikes);
        }
        spikes
    }

    /// Compares with [`plain`] for every number of cells, so that the last tile has every length.
    #[test]
    fn every_remainder_of_cells_is_computed() {
        for cells in 1..70 {
            let expected = plain(cells, 20);
            for isa in Isa::available() {
                assert!(run_all(isa, cells, 150, 20) == expected, "{cells} cells, {}", isa.name());
            }
        }
    }

    /// Computes the equations above, cell by cell and step by step.
    fn plain(cells: usize, refractory_steps: u32) -> Vec<Spike> {
        let p = Parameters::default();
        let Parameters { granule, noise, .. } = p;
        let dt = p.time.step_ms;
        let (e_e, e_i) = (p.excitatory.reversal_mvolt, p.inhibitory.reversal_mvolt);
        let normals = normals(cells * 600);
        let mut spikes = Vec::new();
        for c in 0..cells {
            let (mut v, mut gn, mut ge, mut gi) = (granule.initial_mvolt, 0.0, 0.0, 0.0);
            let mut last: Option<u32> = None;
            for s in 0..600 {
                let free = last.is_none_or(|last| s - last >= refractory_steps);
                let current = granule.leak_conductance_nsiemens * (granule.leak_reversal_mvolt - v)
                    + (ge + gn) * (e_e - v)
                    + (gi + 0.3) * (e_i - v);
                if free {
                    v += current / granule.capacitance_pfarad * dt;
                }
                let xi = normals[s as usize * cells + c] / dt.sqrt();
                gn += (-gn + granule.noise_sigma_nsiemens * noise.tau_ms.sqrt() * xi) / noise.tau_ms * dt;
                ge *= 0.99;
                gi *= 0.995;
                if free && v > granule.threshold_mvolt {
                    spikes.push(Spike { step: s, cell: c as u32 });
                    last = Some(s);
                    v = granule.reset_mvolt;
                }
                if s == 100 && c % 3 == 0 {
                    ge += 2.0 * 0.7;
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
