"""A random network of excitatory and inhibitory integrate-and-fire cells, in Brian2.

`prefs.codegen.target = "numpy"`: without compiled code, the results do not depend on the compiler of the machine, and
the first trial does not wait for it. In large networks, "cython" is faster.
"""

from brian2 import (
    Hz,
    Network,
    NeuronGroup,
    PoissonInput,
    SpikeMonitor,
    Synapses,
    defaultclock,
    ms,
    mV,
    prefs,
)

import granule.model

prefs.codegen.target = "numpy"


class EI:
    def prepare(self, parameters, seed):
        """Builds the network. Its wiring and first potentials are those of all trials of the seed."""
        self.seed = seed
        granule.model.seed_brian2(seed)
        defaultclock.dt = parameters.resolution_ms * ms
        self.duration = parameters.duration_ms * ms
        self.excitatory = parameters.populations["excitatory"]
        self.cells = NeuronGroup(
            sum(parameters.populations.values()),
            "dv/dt = -v / tau : volt (unless refractory)",
            threshold="v > threshold",
            reset="v = 0*mV",
            refractory=parameters["cell.refractory"] * ms,
            method="exact",
            namespace={"tau": parameters["cell.tau"] * ms, "threshold": parameters["cell.threshold"] * mV},
        )
        self.cells.v = "rand() * threshold"
        self.monitor = SpikeMonitor(self.cells)
        parts = [self.cells, self.monitor]
        for source, weight in (
            (self.cells[: self.excitatory], parameters["synapse.excitatory"]),
            (self.cells[self.excitatory :], -parameters["synapse.inhibitory"]),
        ):
            synapses = Synapses(source, self.cells, on_pre="v_post += w", namespace={"w": weight * mV})
            synapses.connect(p=parameters["network.sparseness"])
            synapses.delay = parameters["synapse.delay"] * ms
            parts.append(synapses)
        parts.append(
            PoissonInput(
                self.cells,
                "v",
                parameters["input.cells"],
                parameters["input.rate"] * Hz,
                parameters["synapse.excitatory"] * mV,
            )
        )
        self.network = Network(parts)
        self.network.store()

    def trial(self, trial):
        self.network.restore()
        granule.model.seed_brian2(self.seed, trial)
        self.network.run(self.duration)
        cells, times = self.monitor.i[:], self.monitor.t[:]
        is_excitatory = cells < self.excitatory
        return {
            "excitatory": (cells[is_excitatory], times[is_excitatory]),
            "inhibitory": (cells[~is_excitatory] - self.excitatory, times[~is_excitatory]),
            "rate": float(is_excitatory.sum() / self.excitatory / self.duration / Hz),
        }


granule.model.serve(EI)
