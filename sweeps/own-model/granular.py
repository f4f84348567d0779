"""The granular layer of the cerebellum (Fore, Taylor, Brunel, Hull 2020) in Brian2.

Mossy fibres excite granule and Golgi cells, and Golgi cells inhibit granule cells. docs/model.md has the equations.
"""

import numpy as np
from brian2 import (
    Network,
    NeuronGroup,
    SpikeGeneratorGroup,
    SpikeMonitor,
    Synapses,
    defaultclock,
    ms,
    mV,
    nS,
    pF,
    prefs,
)

import granule.model

# Results without compiled code do not depend on the compiler of the machine.
prefs.codegen.target = "numpy"

GRANULE_CELLS = """
dv/dt = (g_l*(E_l - v) + (g_e + g_n)*(E_e - v) + (g_i + g_t)*(E_i - v))/C_m : volt (unless refractory)
dg_n/dt = -g_n/tau_n + sigma/sqrt(tau_n)*xi : siemens
dg_e/dt = -g_e/tau_e : siemens
dg_i/dt = -g_i/tau_i : siemens
g_t : siemens (constant)
"""
GOLGI_CELLS = """
dv/dt = (g_l*(E_l - v) + (g_e + g_n)*(E_e - v))/C_m : volt (unless refractory)
dg_n/dt = -g_n/tau_n + sigma/sqrt(tau_n)*xi : siemens
dg_e/dt = -g_e/tau_e : siemens
"""
COMMON = {"E_e": 0 * mV, "E_i": -75 * mV, "tau_e": 12 * ms, "tau_i": 20 * ms, "tau_n": 20 * ms}
OF_GRANULE_CELLS = {"C_m": 3.1 * pF, "g_l": 0.2 * nS, "E_l": -75 * mV, "V_t": -55 * mV, "V_r": -75 * mV}
OF_GOLGI_CELLS = {"C_m": 60 * pF, "g_l": 3 * nS, "V_t": -50 * mV, "V_r": -55 * mV}
TONIC = 1 * nS
DELAY = 2 * ms
# Mean number of synapses onto a cell.
MOSSY_TO_GRANULE, MOSSY_TO_GOLGI, GOLGI_TO_GRANULE = 4, 10, 4


def gamma(random, mean, sd, size):
    """Draws from a gamma distribution with this mean and standard deviation."""
    return random.gamma((mean / sd) ** 2, sd**2 / mean, size) if sd > 0 and mean > 0 else np.full(size, mean)


class Granular:
    def prepare(self, parameters, seed):
        self.parameters, self.seed = parameters, seed
        fibres, sizes = parameters["network.mossy_fibers"], parameters.populations
        # Drawn once for a seed, in an order that no other parameter changes: conditions share wiring and weights.
        random = granule.model.generator(seed)
        mossy_to_granule = random.random((fibres, sizes["granule"])) < MOSSY_TO_GRANULE / fibres
        mossy_to_golgi = random.random((fibres, sizes["golgi"])) < MOSSY_TO_GOLGI / fibres
        golgi_to_granule = random.random((sizes["golgi"], sizes["granule"])) < GOLGI_TO_GRANULE / sizes["golgi"]
        active = np.sort(random.permutation(fibres)[: round(parameters["stimulus.active_fraction"] * fibres)])
        self.means = gamma(random, parameters["weights.mean"], parameters["weights.sd"], fibres)
        factors = gamma(random, parameters["tonic.mean"], parameters["tonic.sd"], sizes["granule"])

        defaultclock.dt = parameters.resolution_ms * ms
        golgi = NeuronGroup(
            sizes["golgi"],
            GOLGI_CELLS,
            threshold="v > V_t",
            reset="v = V_r",
            refractory=10 * ms,
            method="euler",
            namespace=COMMON
            | OF_GOLGI_CELLS
            | {"E_l": parameters["goc.leak_reversal"] * mV, "sigma": parameters["goc.noise_sigma"] * nS},
        )
        golgi.v = -55 * mV
        granules = NeuronGroup(
            sizes["granule"],
            GRANULE_CELLS,
            threshold="v > V_t",
            reset="v = V_r",
            refractory=2 * ms,
            method="euler",
            namespace=COMMON | OF_GRANULE_CELLS | {"sigma": parameters["grc.noise_sigma"] * nS},
        )
        granules.v = -75 * mV
        granules.g_t = factors * TONIC
        times = np.array(parameters["stimulus.times"])
        mossy = SpikeGeneratorGroup(fibres, np.tile(active, len(times)), np.repeat(times, len(active)) * ms)

        parts = [mossy, golgi, granules]
        self.mossy_synapses = {}
        for path, target, wiring in (
            ("mossy_to_grc", granules, mossy_to_granule),
            ("mossy_to_goc", golgi, mossy_to_golgi),
        ):
            wiring[np.setdiff1d(np.arange(fibres), active)] = False  # Inactive fibres have no effect.
            pre, post = np.nonzero(wiring)
            if len(pre):
                synapses = Synapses(mossy, target, "w : siemens", on_pre="g_e_post += w")
                synapses.connect(i=pre, j=post)
                self.mossy_synapses[path] = synapses, pre
                parts.append(synapses)
        pre, post = np.nonzero(golgi_to_granule)
        weight = parameters["golgi_to_grc.weight"] * nS
        if len(pre) and weight > 0 * nS:
            synapses = Synapses(golgi, granules, on_pre="g_i_post += weight", namespace={"weight": weight}, delay=DELAY)
            synapses.connect(i=pre, j=post)
            parts.append(synapses)
        self.monitors = {"granule": SpikeMonitor(granules), "golgi": SpikeMonitor(golgi)}
        self.network = Network(*parts, *self.monitors.values())
        self.network.store()

    def trial(self, trial):
        self.network.restore()
        parameters = self.parameters
        # All fibres of a trial share one factor.
        factor = granule.model.generator(self.seed, trial).exponential()
        for path, (synapses, pre) in self.mossy_synapses.items():
            if parameters["weights.random"]:
                weights = factor * self.means[pre]
            else:
                weights = np.full(len(pre), parameters[path + ".weight"])
            synapses.w = weights * parameters[path + ".scale"] * nS
        granule.model.seed_brian2(self.seed, trial)
        self.network.run(parameters.duration_ms * ms)
        return {name: (monitor.i, monitor.t) for name, monitor in self.monitors.items()}


granule.model.serve(Granular)
