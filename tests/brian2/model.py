"""The values that the engines draw for a parameter set, and its simulation by Brian2.

The draws (wiring, active fibres, weights, tonic factors, normals of the noise)
come from the two independent implementations in tests/oracle.  Brian2 gets them
as explicit synapses, parameters and normals, and does everything else.

One Brian2 network simulates all trials, conditions, seeds and both engines of a
set: each is a block of cells of its own, and no synapse joins two blocks.
"""
import math
import sys
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple
from unittest import mock

import brian2 as b2
import numpy as np
from numpy.random import RandomState

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "oracle"))
import keyed                            # noqa: E402
import oracle                           # noqa: E402

try:
    import brian2.synapses.cythonspikequeue                 # noqa: F401
    COMPILED_QUEUE = True
except ImportError:                     # Brian2 falls back to its queue in Python
    COMPILED_QUEUE = False

b2.prefs.codegen.target = "numpy"
sys.excepthook = sys.__excepthook__     # Brian2's asks for a report to its authors

EQUATIONS = """
dv/dt = (g_l*(E_l - v) + (g_e + g_n)*(E_e - v){inhibition})/C_m : volt (unless refractory)
dg_n/dt = (-g_n + sigma*sqrt(tau_n)*xi)/tau_n : siemens
dg_e/dt = -g_e/tau_e : siemens
"""
INHIBITION = " + (g_i + g_t)*(E_i - v)"
EQUATIONS_OF_GRANULE_CELLS = """
dg_i/dt = -g_i/tau_i : siemens
g_t : siemens (constant)
total_e : siemens
total_i : siemens
"""
PROJECTIONS = "mossy_to_granule", "mossy_to_golgi", "golgi_to_granule"
KINDS = "golgi", "granule"              # in the order in which Brian2 updates them
# Constants of a cell in the equations: parameter, its unit, dimension.
CONSTANTS = {
    "C_m": ("{kind}.capacitance", b2.pF, "farad"), "g_l": ("{kind}.leak_conductance", b2.nS, "siemens"),
    "E_l": ("{kind}.leak_reversal", b2.mV, "volt"), "V_t": ("{kind}.threshold", b2.mV, "volt"),
    "V_r": ("{kind}.reset", b2.mV, "volt"), "sigma": ("{kind}.noise_sigma", b2.nS, "siemens"),
    "E_e": ("excitatory.reversal", b2.mV, "volt"), "tau_e": ("excitatory.tau", b2.ms, "second"),
    "E_i": ("inhibitory.reversal", b2.mV, "volt"), "tau_i": ("inhibitory.tau", b2.ms, "second"),
    "tau_n": ("noise.tau", b2.ms, "second"),
}


# ------------------------------------------------------- times in steps, fibres

def active_fraction(p):
    """Returns the fraction exactly, so that the number of fibres is rounded half to even without error."""
    return Fraction(p["stimulus.active_fraction"])


def timestep(time, step):
    """A refractory period or stimulus time of engine `pcg` in steps."""
    return math.floor(Fraction(time) / Fraction(step) + Fraction(1, 1000))


def delay_steps(time, step):
    """A delay of engine `pcg` in steps: the nearest, half up."""
    return math.floor(Fraction(time) / Fraction(step) + Fraction(1, 2))


def compiled_queue_steps(delay, dt):
    """A delay in steps by the rule of Brian2's compiled spike queue, from seconds."""
    return int(delay / dt + 0.5)


def seconds_of(engine, time, step, in_steps):
    """Returns a time for Brian2: unchanged for `brian2-2.2.1`, because Brian2 rounds it; whole steps for `pcg`."""
    ms = float(b2.ms)
    return float(time) * ms if engine == "brian2-2.2.1" else in_steps(time, step) * (float(step) * ms)


def seconds(block, path, in_steps):
    p = block.condition.parameters
    return seconds_of(block.engine, p[path], p["time.step"], in_steps)


# ------------------------------------------------------------------------ draws

class Block(NamedTuple):
    """One trial of a condition and seed by the rules of one engine."""
    engine: str
    condition: object
    seed: int
    trial: int
    active: list            # firing mossy fibres, ascending
    mf_grc: list            # for every mossy fibre, its granule cells
    mf_goc: list
    goc_grc: list
    weights: np.ndarray     # random weights of the active fibres, nS; None if fixed
    factors: np.ndarray     # on tonic inhibition, per granule cell
    normals: dict           # of "granule" and "golgi", [step, cell]; None without noise

    @property
    def driven(self):
        """Granule cells with an active input, ascending."""
        return sorted({cell for fibre in self.active for cell in self.mf_grc[fibre]})


def sizes(p):
    return [int(p["network." + cells]) for cells in ("mossy_fibers", "granule_cells", "golgi_cells")]


def n_steps(p):
    return int(Fraction(p["time.duration"]) / Fraction(p["time.step"]))


def has_noise(p):
    return any(float(p[kind + ".noise_sigma"]) for kind in KINDS)


def convergences(p):
    return [float(p[f"{ends}.convergence"]) for ends in PROJECTIONS]


def weights_law(p):
    """Mean and deviation of the fibres' means; seeds of the means and of the trials.  None if fixed."""
    if p["weights.random"] == "true":
        return (*(float(p["weights." + name]) for name in ("mean", "sd")),
                *(int(p["weights." + name]) for name in ("seed", "trial_seed")))
    return None


def tonic_law(p):
    """(mean, sd, seed) of a gamma law, or a number."""
    law = p["granule.tonic_factor"]
    return (float(law[0]), float(law[1]), int(law[2])) if isinstance(law, tuple) else float(law)


def blocks_of_brian2(condition, seed, trials):
    p = condition.parameters
    n_mf, n_grc, n_goc = sizes(p)
    rng = RandomState(seed)
    size = SimpleNamespace(mossy=n_mf, granule=n_grc, golgi=n_goc, seed=seed)
    net = oracle.build_network(size, rng, convergences(p), active_fraction(p))
    targets = [[np.flatnonzero(row).tolist() for row in m] for m in (net.mf_grc, net.mf_goc, net.goc_grc)]
    weights, law = [None] * trials, weights_law(p)
    if law:
        weights = oracle.mossy_weights_ns(len(net.active), trials, *law).reshape(-1, trials).T
    law = tonic_law(p)
    if isinstance(law, tuple):
        factors = oracle.gamma(RandomState(law[2]), law[0], law[1], n_grc)
    else:
        factors = np.full(n_grc, law)
    for trial in range(trials):
        normals = None
        if has_noise(p):                # one stream that runs on from trial to trial
            order = sorted(zip(KINDS, (n_goc, n_grc)), key=lambda kind: kind[0] != p["noise.first"])
            drawn = rng.standard_normal((n_steps(p), n_grc + n_goc))
            normals = dict(zip((kind for kind, _ in order), np.split(drawn, [order[0][1]], axis=1)))
        yield Block("brian2-2.2.1", condition, seed, trial, net.active, *targets, weights[trial], factors,
                    normals)


def blocks_of_pcg(condition, seed, trials):
    p = condition.parameters
    n_mf, n_grc, n_goc = sizes(p)
    ends = (n_mf, n_grc), (n_mf, n_goc), (n_goc, n_grc)
    targets = [keyed.connect(name.replace("_", " "), seed, *cells, convergence)
               for name, cells, convergence in zip(PROJECTIONS, ends, convergences(p))]
    active = keyed.active_fibres(seed, n_mf, active_fraction(p))
    factors, law = np.array(keyed.tonic_factors(seed, tonic_law(p), n_grc)), weights_law(p)
    for trial in range(trials):
        weights = law and np.array(keyed.weights_of_trial(seed, active, trial, *law))
        normals = has_noise(p) and {
            kind: keyed.noise(f"noise of {kind} cells", seed, int(p["noise.stream"]), trial, n, n_steps(p))
            for kind, n in zip(KINDS, (n_goc, n_grc))}
        yield Block("pcg", condition, seed, trial, active, *targets, weights, factors, normals or None)


ENGINES = {"brian2-2.2.1": blocks_of_brian2, "pcg": blocks_of_pcg}


# ----------------------------------------------------------------------- Brian2

class Result(NamedTuple):
    """The results of Brian2 for a block."""
    granule: list           # (step, cell) of every spike, ascending
    golgi: list
    granule_ms: list        # times of the granule cells' spikes in units of Brian2's ms
    total_e: np.ndarray     # summed conductances in nS, [cell, ms]
    total_i: np.ndarray


def simulate(blocks):
    """Yields a Result for each block.  All must have the same step and duration."""
    b2.start_scope()
    p = blocks[0].condition.parameters
    step = p["time.step"]
    dt = float(step) * b2.ms
    b2.defaultclock.dt = dt
    sizes_of_blocks = np.array([sizes(block.condition.parameters) for block in blocks])
    first = np.vstack([[0, 0, 0], np.cumsum(sizes_of_blocks, axis=0)])      # cell of each block

    def spread(population, value):
        """The value of each block, for each of its cells."""
        return np.repeat([value(block) for block in blocks], sizes_of_blocks[:, population])

    def numbers(population, path):
        return spread(population, lambda block: float(block.condition.parameters[path]))

    def population(kind, k, equations):
        constants = [f"{name} : {dimension} (constant)" for name, (_, _, dimension) in CONSTANTS.items()]
        equations = "\n".join([equations, *constants, "period : second (constant)"])
        group = b2.NeuronGroup(first[-1, k], equations, threshold="v > V_t", reset="v = V_r",
                               refractory="period", method="euler", order=KINDS.index(kind))
        for name, (path, unit, _) in CONSTANTS.items():
            setattr(group, name, numbers(k, path.format(kind=kind)) * unit)
        group.v = numbers(k, kind + ".initial") * b2.mV
        group.period = spread(k, lambda b: seconds(b, kind + ".refractory", timestep)) * b2.second
        return group

    golgi = population("golgi", 2, EQUATIONS.format(inhibition=""))
    granule = population("granule", 1, EQUATIONS.format(inhibition=INHIBITION) + EQUATIONS_OF_GRANULE_CELLS)
    factors = np.concatenate([block.factors for block in blocks])
    granule.g_t = numbers(1, "granule.tonic_conductance") * factors * b2.nS
    fibres, times = [], []
    for block, (start, _, _) in zip(blocks, first):
        for time in block.condition.parameters["stimulus.times"]:
            fibres += [start + fibre for fibre in block.active]
            times += [seconds_of(block.engine, time, step, timestep)] * len(block.active)
    mossy = b2.SpikeGeneratorGroup(first[-1, 0], fibres, np.array(times) * b2.second)

    net = b2.Network(mossy, golgi, granule)

    def project(source, target, pre, post, name, targets_of, weight_of, delay_of):
        """Adds the synapses of a projection; those onto granule cells also sum the conductance."""
        rows = [(first[k, pre] + i, first[k, post] + j, weight_of(block, i, name), delay_of(block))
                for k, block in enumerate(blocks) for i, cells in enumerate(targets_of(block)) for j in cells]
        if not rows:
            return
        g = "i" if source is golgi else "e"
        total = f"total_{g}_post = g_{g}_post : siemens (summed)" if target is granule else ""
        synapses = b2.Synapses(source, target, f"w : siemens\n{total}", on_pre=f"g_{g}_post += w")
        i, j, weights, delays = map(np.array, zip(*rows))
        synapses.connect(i=i, j=j)
        synapses.w, synapses.delay = weights * b2.nS, delays * b2.second
        net.add(synapses)

    def mossy_weight(block, fibre, name):
        p = block.condition.parameters
        if fibre not in block.active:
            return 0.0
        drawn = block.weights is not None
        weight = block.weights[block.active.index(fibre)] if drawn else float(p[name + ".weight"])
        return weight * float(p[name + ".scale"])

    def golgi_delay(block):
        delay = seconds(block, "golgi_to_granule.delay", delay_steps)
        return delay if COMPILED_QUEUE else compiled_queue_steps(delay, float(dt)) * float(dt)

    project(mossy, granule, 0, 1, "mossy_to_granule", lambda b: b.mf_grc, mossy_weight, lambda _: 0.0)
    project(mossy, golgi, 0, 2, "mossy_to_golgi", lambda b: b.mf_goc, mossy_weight, lambda _: 0.0)
    project(golgi, granule, 2, 1, "golgi_to_granule", lambda b: b.goc_grc,
            lambda block, _, name: float(block.condition.parameters[name + ".weight"]), golgi_delay)
    spikes = {1: b2.SpikeMonitor(granule), 2: b2.SpikeMonitor(golgi)}
    samples = b2.StateMonitor(granule, ["total_e", "total_i"], record=True, dt=1 * b2.ms)
    net.add(spikes.values(), samples)

    # `xi` calls randn once for each population in each step; Golgi cells have the lower order.
    normals = [normals_of(blocks, kind, n_steps(p), first[-1, k]) for kind, k in zip(KINDS, (2, 1))]
    rows = (rows[s] for s in range(n_steps(p)) for rows in normals)

    def randn(n):
        row = next(rows)
        assert len(row) == n, "the populations drew normals in another order"
        return row

    with mock.patch.object(np.random, "randn", randn):
        net.run(float(p["time.duration"]) * b2.ms)
    assert next(rows, None) is None, "Brian2 drew fewer normals than there are cells and steps"

    def spikes_of(population, k):
        """(step, cell, time in Brian2's ms) of each spike of a block, ascending."""
        monitor, (start, end) = spikes[population], first[k:k + 2, population]
        inside = (monitor.i >= start) & (monitor.i < end)
        time, cell = np.array(monitor.t[inside]), np.array(monitor.i[inside]) - start
        step = np.rint(time / float(dt)).astype(int)
        return sorted(zip(step.tolist(), cell.tolist(), (time / float(b2.ms)).tolist()))

    for k in range(len(blocks)):
        granule_spikes, golgi_spikes, cells = spikes_of(1, k), spikes_of(2, k), slice(*first[k:k + 2, 1])
        yield Result([spike[:2] for spike in granule_spikes], [spike[:2] for spike in golgi_spikes],
                     [in_ms for _, _, in_ms in granule_spikes],
                     np.array(samples.total_e[cells] / b2.nS), np.array(samples.total_i[cells] / b2.nS))


def normals_of(blocks, kind, steps, n_cells):
    """The normals of a population, [step, cell]; zeros in sets without noise."""
    if all(block.normals is None for block in blocks):
        return np.broadcast_to(0.0, (steps, n_cells))
    return np.concatenate([block.normals[kind] for block in blocks], axis=1).astype(float)
