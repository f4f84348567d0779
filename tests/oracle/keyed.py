#!/usr/bin/env python3
"""Reference implementation of engine `pcg`, from its definition alone.

docs/engines.md defines the engine; docs/engines.json holds test vectors from granule.
This script computes every vector again.  It uses only that page, the table of
parameters (docs/parameters.md) and the encoding of spikes for their hash
(shared/engine/src/spikes.rs).  It checks that the page suffices, so every rule is
written as plainly as numpy allows.

    python keyed.py [engines.json]

prints a line for every comparison, and exits with status 1 at the first
difference.  Units are ms, mV, nS and pF; logarithms are the C library's.
"""
import json
import math
import struct
import sys
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
from blake3 import blake3

CONTEXT = "granule engine pcg, revision 1"
MASK_128 = (1 << 128) - 1
PCG64_MULTIPLIER = 0x2360ED051FC65DA44385DF649FCCF645
PCG32_MULTIPLIER = 6364136223846793005

N_STEPS = 20_000                        # 2000 ms of 0.1 ms
ACTIVE_FRACTION = Fraction(1, 10)
WEIGHT_SEED, TRIAL_WEIGHT_SEED, NOISE_STREAM = 35, 43, 0
WEIGHT_MEAN = WEIGHT_SD = 0.1
E_EXC, E_INH = 0.0, -75.0
TAU_E, TAU_I, TAU_NOISE = 12.0, 20.0, 20.0
CONVERGENCE = {"mossy to granule": 4.0, "mossy to golgi": 10.0, "golgi to granule": 4.0}
TONIC = 1.0
GOC_WEIGHT = 0.17


class CellType(NamedTuple):
    capacitance: float
    g_leak: float
    threshold: float
    reset: float                        # also the initial potential
    noise_sigma: float
    noise: str                          # purpose of the noise's streams


GRC = CellType(3.1, 0.2, -55.0, -75.0, 0.05, "noise of granule cells")
GOC = CellType(60.0, 3.0, -50.0, -55.0, 0.1, "noise of golgi cells")
E_LEAK_GRC = -75.0


class Condition(NamedTuple):
    mf_grc_scale: float = 1.0
    mf_goc_scale: float = 1.0
    e_leak_goc: float = -51.0
    goc_weight: float = GOC_WEIGHT
    tonic_factor: float | tuple = 1.0   # or (mean, sd, seed) of a gamma law
    tonic: float = TONIC


CONDITIONS = {
    "Control": Condition(),
    "GABAzine": Condition(goc_weight=0.0, tonic_factor=0.0),
    "ACh": Condition(0.4521, 0.4578, -55.0, tonic_factor=(0.4, 0.07, 1)),
}
# In this condition all parameters affect spikes: both populations respond, and Golgi cells inhibit.
RESPONSIVE = Condition(2.0, 1.5, -50.0, tonic_factor=(0.1, 0.07, 1))


# ------------------------------------------------------------ times and counts

def steps_per_ms(dt):
    return round(1 / dt)


def floor_steps(time, dt):
    """The step of a stimulus, and the steps of a refractory period."""
    return math.floor(decimal(time) * steps_per_ms(dt) + Fraction(1, 1000))


def delay_steps(time, dt):
    """The nearest number of steps, half up."""
    return math.floor(decimal(time) * steps_per_ms(dt) + Fraction(1, 2))


def active_count(fraction, n_mossy):
    """How many fibres are active; Python rounds fractions half to even."""
    return round(decimal(fraction) * n_mossy)


def decimal(x):
    """Returns the shortest decimal that reads back as this double, which is what Python prints."""
    return Fraction(repr(x))


class Times(NamedTuple):
    dt: float = 0.1
    duration: float = 2000.0
    stimulus: tuple = (1010.0, 1020.0, 1030.0)
    delay: float = 2.0
    granule_refractory: float = 2.0
    golgi_refractory: float = 10.0


# --------------------------------------------------------------------- streams

def stream_hash(purpose, *numbers):
    """Returns the 32 bytes that seed a stream's generator."""
    material = purpose.encode() + b"\0" + struct.pack(f"<{len(numbers)}I", *numbers)
    return blake3(material, derive_key_context=CONTEXT).digest()


class Scalars:
    """The scalars of a stream, from PCG64 (XSL-RR 128/64)."""

    def __init__(self, purpose, *numbers):
        seed = stream_hash(purpose, *numbers)
        state, stream = (int.from_bytes(seed[i:i + 16], "little") for i in (0, 16))
        self.increment = (stream << 1 | 1) & MASK_128
        self.state = (state + self.increment) & MASK_128
        self.step()

    def step(self):
        self.state = (self.state * PCG64_MULTIPLIER + self.increment) & MASK_128

    def word(self):
        self.step()
        folded = (self.state >> 64 ^ self.state) & (1 << 64) - 1
        by = self.state >> 122
        return (folded >> by | folded << (64 - by)) & (1 << 64) - 1

    def uniform(self):                  # in (0, 1]
        return ((self.word() >> 11) + 1) / 2**53

    def exponential(self):
        return -math.log(self.uniform())

    def normal(self):                   # Marsaglia's polar method
        while True:
            x = 2 * self.uniform() - 1
            y = 2 * self.uniform() - 1
            r = x * x + y * y
            if 0 < r < 1:
                return x * math.sqrt(-2 * math.log(r) / r)

    def gamma(self, mean, sd):
        q = mean / sd
        shape, scale = q * q, sd / q
        if shape >= 1:
            return scale * self.standard_gamma(shape)
        b = math.pow(self.uniform(), 1 / shape)
        return scale * (self.standard_gamma(shape + 1) * b)

    def standard_gamma(self, shape):    # Marsaglia and Tsang 2000, shape >= 1
        d = shape - 1 / 3
        c = 1 / math.sqrt(9 * d)
        while True:
            v = 0.0
            while v <= 0:
                x = self.normal()
                v = 1 + c * x
            v = v * v * v
            if math.log(self.uniform()) < 0.5 * x * x + d * (1 - v + math.log(v)):
                return d * v


# ---------------------------------------------------------- normals of the noise

def pcg32_words(hashes, count):
    """The first words of each hash's PCG32 (XSH-RR 64/32), [word, cell]."""
    seeds = np.array([np.frombuffer(h[:16], "<u8") for h in hashes], dtype=np.uint64)
    u = np.uint64
    increment = seeds[:, 1] << u(1) | u(1)
    multiplier = u(PCG32_MULTIPLIER)
    state = (seeds[:, 0] + increment) * multiplier + increment
    words = np.empty((count, len(hashes)), dtype=np.uint32)
    for row in words:
        folded = ((state >> u(18) ^ state) >> u(27)).astype(np.uint32)
        by = (state >> u(59)).astype(np.uint32)
        row[:] = folded >> by | folded << ((np.uint32(32) - by) & np.uint32(31))
        state = state * multiplier + increment
    return words


def box_muller(w0, w1):
    """Two normals of each pair of words; every operation in single precision."""
    f32 = np.float32
    t = w0.view(np.int32).astype(f32) + f32(0.5)
    bits = t.view(np.uint32)
    exponent = (bits >> np.uint32(23) & np.uint32(0xFF)).astype(np.int32) - np.int32(158)
    mantissa = (bits & np.uint32(0x007FFFFF) | np.uint32(126 << 23)).view(f32)
    lower = w0 < 2**31
    k = np.where(lower, exponent.astype(f32), f32(0))
    f = np.where(lower, mantissa - f32(1), t * f32(2**-32))
    q = np.full_like(f, -2.8822143)
    for c in (-3.391621, -2.5153372, -0.40707693, -0.5392253,
              0.4856102, -0.66740125, 0.9999857, -2):
        q = q * f + f32(c)
    r = np.sqrt(k * f32(-1.3862944) + f * q)

    x = (w1 << np.uint32(2)).view(np.int32).astype(f32) * (f32(0.7853982) * f32(2**-31))
    z = x * x
    sine = x * (((f32(-1.9501822e-4) * z + f32(8.332017e-3)) * z - f32(0.16666651)) * z + f32(1))
    cosine = ((f32(-1.3579404e-3) * z + f32(4.165442e-2)) * z - f32(0.49999842)) * z + f32(1)
    cosine = np.where(w1 >> np.uint32(30) & np.uint32(1), -cosine, cosine)
    swapped = w1 >> np.uint32(31) != 0
    pair = np.where(swapped, r * sine, r * cosine), np.where(swapped, r * cosine, r * sine)
    assert all(half.dtype == f32 for half in pair)
    return pair


def noise(purpose, seed, stream, trial, n_cells, n_steps):
    """The normals of cells in a trial, [step, cell]; a step has one of each."""
    hashes = [stream_hash(purpose, seed, stream, trial, cell) for cell in range(n_cells)]
    words = pcg32_words(hashes, n_steps + n_steps % 2)
    normals = np.empty(words.shape, dtype=np.float32)
    normals[0::2], normals[1::2] = box_muller(words[0::2].copy(), words[1::2].copy())
    return normals[:n_steps]


# ---------------------------------------------------------------- what is drawn

def connect(purpose, seed, n_pre, n_post, convergence=None):
    """Random connectivity, for each presynaptic cell the cells it has a synapse onto."""
    p = (CONVERGENCE[purpose] if convergence is None else convergence) / n_pre
    targets = []
    for pre in range(n_pre):
        draws = Scalars(purpose, seed, pre)
        if p == 1:
            targets.append(list(range(n_post)))
        elif p >= 0.25:
            targets.append([j for j in range(n_post) if draws.uniform() < p])
        elif 1 - p == 1:
            targets.append([])
        else:
            inverse_log, own, j = 1 / math.log(1 - p), [], 0
            while True:
                j += math.floor(math.log(draws.uniform()) * inverse_log)
                if j >= n_post:
                    break
                own.append(j)
                j += 1
            targets.append(own)
    return targets


def active_fibres(seed, n_mossy, fraction=ACTIVE_FRACTION):
    """The fibres with the smallest words, ascending (round half to even)."""
    words = [Scalars("active fibers", seed, fibre).word() for fibre in range(n_mossy)]
    by_word = sorted(range(n_mossy), key=words.__getitem__)
    return sorted(by_word[:round(fraction * n_mossy)])


def weights_of_trial(seed, fibres, trial, mean=WEIGHT_MEAN, sd=WEIGHT_SD, weight_seed=WEIGHT_SEED,
                     trial_seed=TRIAL_WEIGHT_SEED):
    """Weights in nS of fibres in a trial: all share the trial's one exponential draw."""
    factor = Scalars("weight of a trial", seed, trial_seed, trial).exponential()
    means = [Scalars("mean weight", seed, weight_seed, f).gamma(mean, sd) for f in fibres]
    return [mean * factor for mean in means]


def tonic_factors(seed, law, n_granule):
    if not isinstance(law, tuple):
        return [law] * n_granule
    mean, sd, own_seed = law
    return [Scalars("factor of a cell", seed, own_seed, c).gamma(mean, sd) for c in range(n_granule)]


# ------------------------------------------------------------------- the model

class Population:
    """Cells of one type in one trial; arrays are indexed [cell]."""

    def __init__(self, kind, dt, refractory_steps, e_leak, g_tonic, normals):
        n = normals.shape[1]
        self.kind, self.dt, self.refractory_steps = kind, dt, refractory_steps
        self.e_leak, self.g_tonic, self.normals = e_leak, g_tonic, normals
        self.v = np.full(n, kind.reset)
        self.x, self.g_e, self.g_i = np.zeros(n), np.zeros(n), np.zeros(n)
        self.refractory_until = np.zeros(n, dtype=int)      # first step that is not
        self.spikes = []                # (step, cell), ascending

    def advance(self, step):
        """Advances one step up to the spikes and returns them. The caller adds the arrivals."""
        k, v, dt = self.kind, self.v, self.dt
        g_n = k.noise_sigma * math.sqrt(dt / TAU_NOISE) * self.x
        current = (k.g_leak * (self.e_leak - v) + (self.g_e + g_n) * (E_EXC - v)
                   + (self.g_i + self.g_tonic) * (E_INH - v))
        free = step >= self.refractory_until
        self.v = np.where(free, v + dt / k.capacitance * current, v)
        self.x = self.x * (1 - dt / TAU_NOISE) + self.normals[step]
        self.g_e = self.g_e * (1 - dt / TAU_E)
        self.g_i = self.g_i * (1 - dt / TAU_I)
        fired = np.flatnonzero(free & (self.v > k.threshold))
        self.v[fired] = k.reset
        self.refractory_until[fired] = step + self.refractory_steps
        self.spikes += [(step, int(cell)) for cell in fired]
        return fired


def arrivals(sources, targets, weights, n_post):
    """Returns the total that one spike of each source adds to each postsynaptic cell."""
    total = np.zeros(n_post)
    for source, weight in zip(sources, weights):
        total[targets[source]] += weight
    return total


def simulate(c, net, seed, trial, times=Times()):
    """Returns the granule and the Golgi cells of a trial, with their spikes."""
    dt, n_steps = times.dt, round(times.duration * steps_per_ms(times.dt))
    grc, goc = (noise(kind.noise, seed, NOISE_STREAM, trial, n, n_steps)
                for kind, n in ((GRC, net["granule_cells"]), (GOC, net["golgi_cells"])))
    grc = Population(GRC, dt, floor_steps(times.granule_refractory, dt), E_LEAK_GRC, c.tonic * np.array(
        tonic_factors(seed, c.tonic_factor, net["granule_cells"])), grc)
    goc = Population(GOC, dt, floor_steps(times.golgi_refractory, dt), c.e_leak_goc, 0.0, goc)
    stimulus = [floor_steps(time, dt) for time in times.stimulus]
    delay = delay_steps(times.delay, dt)
    weights = np.array(weights_of_trial(seed, net["active"], trial))
    to_grc = arrivals(net["active"], net["mf_grc"], weights * c.mf_grc_scale, len(grc.v))
    to_goc = arrivals(net["active"], net["mf_goc"], weights * c.mf_goc_scale, len(goc.v))
    fired = []                          # Golgi cells that fired, by step
    for step in range(n_steps):
        grc.advance(step)
        fired.append(goc.advance(step))
        if step in stimulus:
            grc.g_e += to_grc
            goc.g_e += to_goc
        if step >= delay:
            for cell in fired[step - delay]:
                grc.g_i[net["goc_grc"][cell]] += c.goc_weight
    return grc, goc


def encode(*trains):
    """Encodes spikes for their hash.  Each train has its number of spikes.  Each spike has the steps since
    the spike before, and the cell (within a step, the difference from the cell before); all LEB128."""
    numbers = []
    for train in trains:
        numbers.append(len(train))
        last_step = last_cell = 0
        for step, cell in train:
            numbers += [step - last_step, cell - last_cell if step == last_step else cell]
            last_step, last_cell = step, cell
    encoded = bytearray()
    for number in numbers:
        while number >= 0x80:
            encoded.append(number & 0x7F | 0x80)
            number >>= 7
        encoded.append(number)
    return bytes(encoded)


# ------------------------------------------------------------------ comparisons

def check(what, ours, theirs):
    if ours != theirs:
        sys.exit(f"DIFFERS: {what}\n  here:         {ours}\n  in the file:  {theirs}")
    print(f"agrees: {what}")


def bits(values):
    """Bit patterns in hexadecimal, of single or of double precision."""
    single = getattr(values, "dtype", None) == np.float32
    return [struct.pack(">f" if single else ">d", value).hex() for value in values]


def check_streams(vectors):
    s = vectors["stream"]

    def four(draw):                     # every list is from the beginning of the stream
        stream = Scalars(s["purpose"], *s["numbers"])
        return [draw(stream) for _ in range(4)]

    check("words of a stream", [f"{w:016x}" for w in four(Scalars.word)], s["words"])
    check("uniforms", bits(four(Scalars.uniform)), s["uniforms"])
    check("exponentials", bits(four(Scalars.exponential)), s["exponentials"])
    check("normals", bits(four(Scalars.normal)), s["normals"])
    for mean, sd in ("2", "3"), ("0.4", "0.07"):
        check(f"gammas of mean {mean}", bits(four(lambda d: d.gamma(float(mean), float(sd)))),
              s[f"gammas_of_mean_{mean}_and_sd_{sd}"])
    n = vectors["noise"]
    normals = noise(n["purpose"], *n["numbers"], 64, N_STEPS)
    for cell, theirs in zip((0, 63), n["blake3_of_20000_of_cells_0_and_63"]):
        check(f"noise of cell {cell}", bits(normals[:6, cell]), n[f"cell_{cell}"])
        ours = blake3(normals[:, cell].astype("<f4").tobytes()).hexdigest()
        check(f"noise of cell {cell}, 20000 steps", ours, theirs)


def check_network(n):
    seed, n_mf, n_grc, n_goc = (n[k] for k in ("seed", "mossy_fibers", "granule_cells", "golgi_cells"))
    net = {
        "granule_cells": n_grc,
        "golgi_cells": n_goc,
        "mf_grc": connect("mossy to granule", seed, n_mf, n_grc),
        "mf_goc": connect("mossy to golgi", seed, n_mf, n_goc),
        "goc_grc": connect("golgi to granule", seed, n_goc, n_grc),
        "active": active_fibres(seed, n_mf),
    }
    kinds = "mf_grc", "mf_goc", "goc_grc"
    check("numbers of synapses", [sum(map(len, net[k])) for k in kinds], n["synapses"])
    check("granule cells of fibre 0", net["mf_grc"][0], n["granule_cells_of_fiber_0"])
    check("granule cells of Golgi cell 4", net["goc_grc"][4], n["granule_cells_of_golgi_cell_4"])
    check("active fibres", net["active"], n["active_fibers"])
    check("their Golgi cells", [net["mf_goc"][f] for f in net["active"]], n["golgi_cells_of_active_fibers"])
    return net


def check_times(t):
    for what, steps in ("delay", delay_steps), ("refractory", floor_steps), ("stimulus", floor_steps):
        check(f"{what} in steps", [steps(of["time"], of["time.step"]) for of in t[what]],
              [of["steps"] for of in t[what]])
    check("numbers of active fibres", [active_count(of["fraction"], of["fibers"]) for of in t["active_fibers"]],
          [of["active"] for of in t["active_fibers"]])
    check("milliseconds", [of["step"] // steps_per_ms(of["time.step"]) for of in t["bin"]],
          [of["ms"] for of in t["bin"]])


def check_trial(c, net, seed, theirs, times=Times()):
    name = theirs["condition"]
    grc, goc = simulate(c, net, seed, theirs["trial"], times)
    first = theirs["first_granule_spikes"]
    check(f"{name}: number of granule spikes", len(grc.spikes), theirs["granule_spikes"])
    check(f"{name}: first granule spikes", [list(s) for s in grc.spikes[:len(first)]], first)
    check(f"{name}: Golgi spikes", [list(s) for s in goc.spikes], theirs["golgi_spikes"])
    check(f"{name}: BLAKE3 of the spikes", blake3(encode(grc.spikes, goc.spikes)).hexdigest(),
          theirs["blake3_of_spikes"])
    return grc, goc


def check_odd_trial(net, seed, n_mossy, theirs):
    """Compares a trial with its own parameters, which are in the same entry."""
    of = theirs["set"]
    c = Condition(of.pop("mossy_to_granule.scale"), of.pop("mossy_to_golgi.scale"), of.pop("golgi.leak_reversal"),
                  tonic=of.pop("granule.tonic_conductance"))
    active = active_fibres(seed, n_mossy, decimal(of.pop("stimulus.active_fraction")))
    times = Times(of.pop("time.step"), of.pop("time.duration"), (of.pop("stimulus.times"),),
                  of.pop("golgi_to_granule.delay"), of.pop("granule.refractory"), of.pop("golgi.refractory"))
    check("parameters that are not known", of, {})
    grc, _ = check_trial(c, net | {"active": active}, seed, theirs, times)
    theirs = theirs["ms_and_cell_of_the_first_granule_spikes"]
    ours = [[step // steps_per_ms(times.dt), cell] for step, cell in grc.spikes[:len(theirs)]]
    check("their milliseconds", ours, theirs)


def main():
    default = Path(__file__).resolve().parent / "../../docs/engines.json"
    vectors = json.loads(Path(sys.argv[1] if len(sys.argv) > 1 else default).read_text())
    check_streams(vectors)
    net, seed = check_network(vectors["network"]), vectors["network"]["seed"]
    for trial, theirs in enumerate(vectors["weights_of_the_active_fibers_in_trials_0_and_1"]):
        check(f"weights in trial {trial}", bits(weights_of_trial(seed, net["active"], trial)), theirs)
    theirs = vectors["tonic_factors_of_the_first_cells_under_ach"]
    check("tonic factors", bits(tonic_factors(seed, CONDITIONS["ACh"].tonic_factor, len(theirs))), theirs)
    check("conditions of trial 0", [t["condition"] for t in vectors["trial_0"]], list(CONDITIONS))
    for theirs in vectors["trial_0"] + [vectors["trial_47"]]:
        check_trial(CONDITIONS.get(theirs["condition"], RESPONSIVE), net, seed, theirs)
    check_times(vectors["times_and_counts"])
    for theirs in vectors["odd_trials"]:
        check_odd_trial(net, seed, vectors["network"]["mossy_fibers"], theirs)
    print("all agree")


if __name__ == "__main__":
    main()
