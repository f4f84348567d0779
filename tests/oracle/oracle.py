#!/usr/bin/env python3
"""Reference implementation of the cerebellar granule-layer model in numpy.

The network is feed-forward: mossy fibres (MF) excite granule cells (GrC) and
Golgi cells (GoC), and GoC inhibit GrC.  It is simulated under the conditions
Control, GABAzine and ACh (muscarine); see Fore, Taylor, Brunel & Hull (2020),
J. Neurosci., doi:10.1523/JNEUROSCI.2148-19.2020, and the authors' program
github.com/trfore/chatmodel, whose output files this script rebuilds byte for
byte.  It exists to be compared with a faster implementation, so every rule is
written out as plainly as numpy allows, independently of that implementation.

    python oracle.py --mossy 78 --granule 1024 --golgi 7 --trials 10 \\
        --seed 451 --weight-seed 35 --out DIR

writes the .npy files to DIR and prints their SHA-256 sums.  All quantities are
in SI units inside the simulation.  Arrays are indexed [trial, cell] unless said
otherwise; trials that fit in memory together are advanced together.
"""
import argparse
import hashlib
import math
import pickle
import random
import struct
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.random import RandomState

MS, MV, NS, PF = 1e-3, 1e-3, 1e-9, 1e-12
DT = 1e-4                               # s
N_STEPS = 20_000                        # 2000 ms
STEPS_PER_SAMPLE = 10                   # conductances are sampled every ms
N_SAMPLES = N_STEPS // STEPS_PER_SAMPLE
STIMULUS_STEPS = (10_100, 10_200, 10_300)
BLOCK = 20_000                          # random numbers are drawn in blocks of this size
NOISE_BYTES = 1 << 30                   # bound on the noise held in memory

E_EXC, E_INH = 0.0, -75 * MV
# The decay rates are the decimal literals of the code the original generates.
DECAY_E = 1 + (-0.0833333333333333 * DT) / MS
DECAY_I = 1 + (-0.05 * DT) / MS
TAU_NOISE = 20 * MS
GOC_DELAY_STEPS = 20
GOC_WEIGHT = 0.17 * NS
TONIC = 1.0 * NS
TRIAL_SEEDS_SEED, TONIC_SEED = 43, 1
ACTIVE_FRACTION = Fraction(1, 10)


class CellType(NamedTuple):
    g_leak: float
    capacitance: float
    threshold: float
    reset: float            # also the initial potential
    refractory_steps: int
    noise_sigma: float
    fixed_weight_ns: float


GRC = CellType(0.2 * NS, 3.1 * PF, -55 * MV, -75 * MV, 20, 0.05 * NS, 0.25)
GOC = CellType(3.0 * NS, 60 * PF, -50 * MV, -55 * MV, 100, 0.1 * NS, 0.65)
E_LEAK_GRC = -75 * MV


class Condition(NamedTuple):
    prefix: str
    mf_grc_scale: float
    mf_goc_scale: float
    e_leak_goc: float
    inhibition: bool        # False blocks GABA-A receptors: no phasic, no tonic inhibition
    random_tonic: bool      # tonic inhibition differs from cell to cell
    granule_noise_first: bool


CONDITIONS = {
    "Control": Condition("control", 1.0, 1.0, -51 * MV, True, False, False),
    "GABAzine": Condition("gaba", 1.0, 1.0, -51 * MV, False, False, True),
    "ACh": Condition("ach", 0.4521, 0.4578, -55 * MV, True, True, False),
}


# ---------------------------------------------------------------- random draws

def gamma_shape_scale(mean, sd):
    """Shape and scale of a gamma law.  The rounding order decides whether the shape of
    an exponential-like law is 1 or its neighbour, and so which sampler numpy uses.
    The square is C's pow, which sometimes differs from the rounded product."""
    scale = math.pow(sd, 2.0) / mean
    return mean / scale, scale


def gamma(rng, mean, sd, size=None):
    return rng.gamma(*gamma_shape_scale(mean, sd), size)


def active_mossy_fibres(n_mossy, seed, fraction=ACTIVE_FRACTION):
    """The fibres that fire, ascending: a fraction of all (round half to even)."""
    return sorted(random.Random(seed).sample(range(n_mossy), round(fraction * n_mossy)))


def mossy_weights_ns(n_active, n_trials, mean, sd, weight_seed, trial_seeds_seed=TRIAL_SEEDS_SEED):
    """Weight in nS of each active fibre in each trial, [fibre, trial].

    All fibres restart the generator of a trial from the same seed, so within a
    trial their weights are (nearly always) multiples of one draw.
    """
    means = gamma(RandomState(weight_seed), mean, sd, n_active)
    seeds = RandomState(trial_seeds_seed).randint(1, 1000, n_trials)
    return np.array([[gamma(RandomState(s), mu, mu) for s in seeds] for mu in means])


class BlockUniforms:
    """Uniforms returned one by one, but drawn BLOCK at a time."""

    def __init__(self, rng):
        self.rng, self.block = rng, iter(())

    def next(self):
        for u in self.block:
            return u
        self.block = iter(self.rng.random_sample(BLOCK).tolist())
        return next(self.block)


def connect(n_pre, n_post, convergence, uniforms):
    """Random connectivity as a boolean matrix [pre, post]."""
    p = convergence / n_pre
    if p == 0:  # nothing is drawn either
        return np.zeros((n_pre, n_post), dtype=bool)
    if p == 1:  # nothing to sample, and nothing is drawn (but p > 1 draws)
        return np.ones((n_pre, n_post), dtype=bool)
    matrix = np.zeros((n_pre, n_post), dtype=bool)
    inverse_log = 1.0 / math.log(1 - p) if p < 0.25 else None
    for pre in range(n_pre):
        j = -1
        while j + 1 < n_post:
            j += 1
            u = uniforms.next()
            if inverse_log is not None:  # geometric jumps over unconnected cells
                j += math.floor(math.log(u) * inverse_log) if u > 0 else n_post
                if j >= n_post:
                    break
            elif u >= p:
                continue
            matrix[pre, j] = True
    return matrix


# ------------------------------------------------------------ exact arithmetic

def fused_multiply_add(a, b, c):
    """a·b + c with a single rounding."""
    return float(Fraction(a) * Fraction(b) + Fraction(c))


def add_times(start, increment, counts):
    """((start + increment) + increment) + …, `counts` times, element by element."""
    total = start
    for k in range(int(counts.max(initial=0))):
        total = np.where(counts > k, total + increment, total)
    return total


def sequential_sum(a):
    """The sum along the first axis, from the first to the last."""
    total = np.zeros(a.shape[1:])
    for row in a:
        total = total + row
    return total


def pairwise_sum(a):
    """numpy's pairwise summation, here along the first axis of `a`."""
    n = len(a)
    if n < 8:
        return sum(a, start=np.zeros(a.shape[1:]))
    if n <= 128:
        r = [a[k] for k in range(8)]
        whole = n - n % 8
        for j in range(8, whole):
            r[j % 8] = r[j % 8] + a[j]
        total = ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]))
        return sum(a[whole:], start=total)
    half = n // 2 - (n // 2) % 8
    return pairwise_sum(a[:half]) + pairwise_sum(a[half:])


# ------------------------------------------------------------------ simulation

class Network(NamedTuple):
    """The values that the seeds fix before the first time step; equal in all conditions."""
    active: list            # firing mossy fibres, ascending
    mf_grc: np.ndarray      # boolean [pre, post]
    mf_goc: np.ndarray
    goc_grc: np.ndarray
    recorded: np.ndarray    # granule cells with an active input, ascending


def build_network(p, rng, convergences=(4, 10, 4), fraction=ACTIVE_FRACTION):
    """Draws the connectivity from `rng`; afterwards `rng` is where the noise starts."""
    active = active_mossy_fibres(p.mossy, p.seed, fraction)
    uniforms = BlockUniforms(rng)
    mf_grc = connect(p.mossy, p.granule, convergences[0], uniforms)
    mf_goc = connect(p.mossy, p.golgi, convergences[1], uniforms)
    goc_grc = connect(p.golgi, p.granule, convergences[2], uniforms)
    recorded = np.flatnonzero(mf_grc[active].any(axis=0))
    return Network(active, mf_grc, mf_goc, goc_grc, recorded)


class Population:
    """Leaky integrate-and-fire cells of one type in several trials."""

    def __init__(self, cell, e_leak, n_trials, n_cells, g_tonic):
        self.cell, self.e_leak, self.g_tonic = cell, e_leak, g_tonic
        self.v = np.full((n_trials, n_cells), cell.reset)
        self.g_e, self.g_i, self.g_n = np.zeros((3, n_trials, n_cells))
        self.refractory_until = np.zeros((n_trials, n_cells), dtype=np.int64)
        self.noise_gain = cell.noise_sigma * math.sqrt(TAU_NOISE) / TAU_NOISE * math.sqrt(DT)

    def update(self, s, normals):
        """One Euler step; returns the cells that spike, as a boolean array."""
        c, v = self.cell, self.v
        current = c.g_leak * (self.e_leak - v) + (self.g_e + self.g_n) * (E_EXC - v)
        if self.g_tonic is not None:
            current += (self.g_i + self.g_tonic) * (E_INH - v)
            self.g_i *= DECAY_I
        free = self.refractory_until <= s
        np.add(v, DT / c.capacitance * current, out=v, where=free)
        self.g_e *= DECAY_E
        self.g_n += -DT / TAU_NOISE * self.g_n + self.noise_gain * normals
        spiking = free & (v > c.threshold)
        self.refractory_until[spiking] = s + c.refractory_steps
        return spiking

    def excite(self, targets, weights, scale):
        """One mossy-fibre spike; `weights` holds the fibre's weight in each trial."""
        if scale == 1:
            self.g_e[:, targets] += weights[:, None]
            return
        for row, w in zip(self.g_e, weights.tolist()):
            row[targets] = [fused_multiply_add(scale, w, g) for g in row[targets].tolist()]


def simulate_batch(net, condition, tonic, w_grc, w_goc, noise, on_spikes):
    """Runs some trials at once; `noise` is [trial, step, cell].

    Returns the summed conductances of the recorded cells in nS, each
    [trial, cell, sample].  `on_spikes(s, spiking)` gets the granule spikes.
    """
    n_trials = len(noise)
    n_goc, n_grc = net.goc_grc.shape
    if condition.granule_noise_first:
        noise_grc, noise_goc = noise[:, :, :n_grc], noise[:, :, n_grc:]
    else:
        noise_goc, noise_grc = noise[:, :, :n_goc], noise[:, :, n_goc:]
    grc = Population(GRC, E_LEAK_GRC, n_trials, n_grc, tonic)
    goc = Population(GOC, condition.e_leak_goc, n_trials, n_goc, None)
    inputs_e = net.mf_grc.sum(axis=0)[net.recorded]
    inputs_i = net.goc_grc.sum(axis=0)[net.recorded]
    cond_e, cond_i = np.zeros((2, n_trials, len(net.recorded), N_SAMPLES))
    goc_grc = net.goc_grc.astype(np.int64)
    in_flight = [None] * GOC_DELAY_STEPS    # Golgi spikes on their way, by step modulo delay

    for s in range(N_STEPS):
        # A sample has the sums of the step before it.
        sample, phase = divmod(s + 1, STEPS_PER_SAMPLE)
        if phase == 0 and sample < N_SAMPLES:
            cond_e[:, :, sample] = add_times(0.0, grc.g_e[:, net.recorded], inputs_e) / NS
            cond_i[:, :, sample] = add_times(0.0, grc.g_i[:, net.recorded], inputs_i) / NS

        grc_spiking = grc.update(s, noise_grc[:, s])
        goc_spiking = goc.update(s, noise_goc[:, s])

        if s in STIMULUS_STEPS:
            for k, fibre in enumerate(net.active):  # the order of the rounded additions
                grc.excite(np.flatnonzero(net.mf_grc[fibre]), w_grc[k], condition.mf_grc_scale)
                goc.excite(np.flatnonzero(net.mf_goc[fibre]), w_goc[k], condition.mf_goc_scale)
        arriving = in_flight[s % GOC_DELAY_STEPS]
        if arriving is not None and condition.inhibition:
            grc.g_i = add_times(grc.g_i, GOC_WEIGHT, arriving @ goc_grc)
        in_flight[s % GOC_DELAY_STEPS] = goc_spiking.astype(np.int64) if goc_spiking.any() else None

        goc.v[goc_spiking] = GOC.reset
        if grc_spiking.any():
            grc.v[grc_spiking] = GRC.reset
            on_spikes(s, grc_spiking)
    return cond_e, cond_i


def run_condition(p, condition):
    """All trials of one condition: network, weights (None if fixed), spike
    probability per ms, mean conductances and tonic factors."""
    rng = RandomState(p.seed)
    net = build_network(p, rng)
    if p.fixed_weights:
        weights = None
        w_grc = np.full((len(net.active), p.trials), GRC.fixed_weight_ns * NS)
        w_goc = np.full((len(net.active), p.trials), GOC.fixed_weight_ns * NS)
    else:
        weights = mossy_weights_ns(len(net.active), p.trials, 0.1, 0.1, p.weight_seed)
        w_grc = w_goc = weights * NS
    factor = np.ones(p.granule) if condition.inhibition else np.zeros(p.granule)
    if condition.random_tonic:
        factor = gamma(RandomState(TONIC_SEED), 0.4, 0.07, p.granule)

    n_cells = p.golgi + p.granule
    batch = max(1, NOISE_BYTES // (8 * n_cells * N_STEPS))
    spike_trials = np.zeros((p.granule, N_SAMPLES), dtype=np.int64)
    all_e, all_i = [], []
    for start in range(0, p.trials, batch):
        part = slice(start, min(start + batch, p.trials))
        noise = rng.standard_normal((part.stop - start, N_STEPS, n_cells))
        spiked = np.zeros((len(noise), p.granule, N_SAMPLES), dtype=bool)

        def on_spikes(s, spiking):
            if s > 0:
                spiked[:, :, int((s * 1e-4) / 1e-3)] |= spiking

        e, i = simulate_batch(net, condition, factor * TONIC, w_grc[:, part], w_goc[:, part],
                              noise, on_spikes)
        spike_trials += spiked.sum(axis=0)
        all_e.append(e)
        all_i.append(i)
    # For a single cell, numpy gets the recording in a layout that it sums one by one.
    add_up = sequential_sum if p.granule == 1 else pairwise_sum
    mean_e = add_up(np.concatenate(all_e)) / p.trials
    mean_i = add_up(np.concatenate(all_i)) / p.trials
    return net, weights, spike_trials / p.trials, mean_e, mean_i, factor[net.recorded]


# ----------------------------------------------------------------- output files

def npy_header(descr, fortran_order, shape):
    """Version 1.0 header as numpy 1.21 pads it (later releases may pad more)."""
    text = f"{{'descr': {descr!r}, 'fortran_order': {fortran_order}, 'shape': {shape!r}, }}"
    pad = 64 - (10 + len(text) + 1) % 64
    text = text + " " * pad + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode("latin1")


def array_bytes(a):
    """The .npy file of a numeric array, in the array's own memory order."""
    fortran = a.flags.f_contiguous and not a.flags.c_contiguous
    return npy_header(a.dtype.str, fortran, a.shape) + a.tobytes("F" if fortran else "C")


def weights_bytes(active, weights):
    """The .npy file of {MF: [weight per trial]} stored as an object scalar.

    The weights are converted to siemens and back, which changes the last bit of some.
    """
    table = {np.int64(fibre): row.tolist() for fibre, row in zip(active, weights * NS / NS)}
    body = pickle.dumps(np.array(table, dtype=object), protocol=3)
    # numpy 2 renamed the module that its scalars are pickled from.
    return npy_header("|O", False, ()) + body.replace(b"cnumpy._core.multiarray\n",
                                                      b"cnumpy.core.multiarray\n")


def connections(net):
    """(MF, GrC) of the active synapses, both ascending, Fortran order."""
    pairs = [(fibre, cell) for fibre in net.active for cell in np.flatnonzero(net.mf_grc[fibre])]
    return np.asfortranarray(np.array(pairs, dtype="<i4").reshape(-1, 2))


def output_files(p, condition):
    """The output files of one condition, as {name: bytes}."""
    net, weights, spike_prob, mean_e, mean_i, factor = run_condition(p, condition)
    prefix = condition.prefix
    if p.fixed_weights:
        return {f"{prefix}SpikeProb.npy": array_bytes(spike_prob)}
    files = {
        f"randomized_{prefix}SpikeProb.npy": array_bytes(spike_prob),
        f"{prefix}Connections.npy": array_bytes(connections(net)),
        f"{prefix}Weights.npy": weights_bytes(net.active, weights),
        f"{prefix}CondE.npy": array_bytes(mean_e),
        f"{prefix}CondI.npy": array_bytes(mean_i),
    }
    if condition.random_tonic:
        files["tonicReduction.npy"] = array_bytes(factor)
    return files


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for option, default in (("mossy", 315), ("granule", 4096), ("golgi", 27),
                            ("trials", 100), ("seed", 451), ("weight-seed", 35)):
        parser.add_argument(f"--{option}", type=int, default=default)
    parser.add_argument("--fixed-weights", action="store_true")
    parser.add_argument("--conditions", default=",".join(CONDITIONS),
                        help="comma-separated subset of %(default)s")
    parser.add_argument("--out", type=Path, required=True)
    p = parser.parse_args()
    if not active_mossy_fibres(p.mossy, p.seed):
        parser.error("no mossy fibre would be active; the original fails there, too")
    p.out.mkdir(parents=True, exist_ok=True)
    sums = {}
    for name in p.conditions.split(","):
        for file, data in output_files(p, CONDITIONS[name]).items():
            (p.out / file).write_bytes(data)
            sums[file] = hashlib.sha256(data).hexdigest()
    for file in sorted(sums):
        print(f"{sums[file]}  {file}")


if __name__ == "__main__":
    main()
