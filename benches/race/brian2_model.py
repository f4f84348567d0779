"""The granular-layer model as a Brian2 program, written to be fast.

`race.py` starts it; by hand:

    python brian2_model.py --network network.npz --target standalone --trials 2 --out DIR

`network.npz` (made by `race.py`) holds wiring, weights and tonic factors, so that every
racer simulates the same network and only the noise differs. One network is built per
process and serves all conditions and trials. They differ only in values of state variables,
which are set before each run. Conductances are sampled once a millisecond from the driven
granule cells only and summed trial by trial, so memory does not grow with the number of
trials.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import brian2
import numpy as np
from brian2 import (
    Network,
    NeuronGroup,
    SpikeGeneratorGroup,
    SpikeMonitor,
    StateMonitor,
    Synapses,
    device,
    mV,
    ms,
    nS,
    pF,
    prefs,
    second,
    set_device,
)

DURATION_MS = 2000
STIMULI_MS = (1010, 1020, 1030)

CONSTANTS = {
    "E_exc": 0 * mV, "E_inh": -75 * mV,
    "tau_e": 12 * ms, "tau_i": 20 * ms, "tau_n": 20 * ms,
}  # fmt: skip

GRANULE = """
dv/dt = (0.2*nS*(-75*mV - v) + (g_e + g_n)*(E_exc - v) + (g_i + g_t)*(E_inh - v))
        / (3.1*pF) : volt (unless refractory)
dg_n/dt = (-g_n + 0.05*nS*sqrt(tau_n)*xi)/tau_n : siemens
dg_e/dt = -g_e/tau_e : siemens
dg_i/dt = -g_i/tau_i : siemens
g_t : siemens (constant)
"""

GOLGI = """
dv/dt = (3*nS*(E_leak - v) + (g_e + g_n)*(E_exc - v)) / (60*pF) : volt (unless refractory)
dg_n/dt = (-g_n + 0.1*nS*sqrt(tau_n)*xi)/tau_n : siemens
dg_e/dt = -g_e/tau_e : siemens
E_leak : volt (constant, shared)
"""


class Condition(NamedTuple):
    """The values in which the conditions differ."""

    prefix: str
    granule_scale: float = 1.0
    golgi_scale: float = 1.0
    golgi_leak_mv: float = -51.0
    inhibition_ns: float = 0.17
    tonic: str = "ones"  # the array of network.npz with the cells' factors


CONDITIONS = {
    "Control": Condition("control"),
    "GABAzine": Condition("gaba", inhibition_ns=0.0, tonic="zeros"),
    "ACh": Condition("ach", 0.4521, 0.4578, golgi_leak_mv=-55.0, tonic="tonic_ach"),
}


class Model:
    """The network with its monitors, before any run."""

    def __init__(self, wiring: dict[str, np.ndarray]) -> None:
        self.wiring = wiring
        active = wiring["active"]
        self.granule = NeuronGroup(
            int(wiring["n_granule"]), GRANULE, threshold="v > -55*mV", reset="v = -75*mV",
            refractory=2 * ms, method="euler", namespace=CONSTANTS, name="granule",
        )  # fmt: skip
        self.golgi = NeuronGroup(
            int(wiring["n_golgi"]), GOLGI, threshold="v > -50*mV", reset="v = -55*mV",
            refractory=10 * ms, method="euler", namespace=CONSTANTS, name="golgi",
        )  # fmt: skip
        self.granule.v = -75 * mV
        self.golgi.v = -55 * mV
        self.mossy = SpikeGeneratorGroup(
            int(wiring["n_mossy"]),
            np.tile(active, len(STIMULI_MS)),
            np.repeat(STIMULI_MS, len(active)) * ms,
            name="mossy",
        )
        self.to_granule = self._project(self.mossy, self.granule, "g_e", "mf_grc")
        self.to_golgi = self._project(self.mossy, self.golgi, "g_e", "mf_goc")
        self.inhibition = self._project(self.golgi, self.granule, "g_i", "goc_grc", 2 * ms)
        self.driven = np.unique(self._driven_pairs()[:, 1])
        # A cell's summed conductance is its conductance times its number of synapses. So it is
        # enough to record one variable per cell; `save` applies the factor.
        self.conductances = StateMonitor(
            self.granule, ["g_e", "g_i"], record=self.driven, dt=1 * ms, name="conductances"
        )
        self.granule_spikes = SpikeMonitor(self.granule, name="granule_spikes")
        self.golgi_spikes = SpikeMonitor(self.golgi, name="golgi_spikes")
        self.network = Network(
            self.granule, self.golgi, self.mossy, self.to_granule, self.to_golgi,
            self.inhibition, self.conductances, self.granule_spikes, self.golgi_spikes,
        )  # fmt: skip

    def _project(
        self, source: Any, target: Any, conductance: str, name: str, delay: Any = None
    ) -> Synapses:
        synapses = Synapses(
            source, target, "w : siemens (constant)", on_pre=f"{conductance}_post += w",
            delay=delay, name=name,
        )  # fmt: skip
        pre, post = self.wiring[name].T
        synapses.connect(i=pre, j=post)
        return synapses

    def _driven_pairs(self) -> np.ndarray:
        """(fibre, granule cell) of the synapses from active fibres."""
        pairs = self.wiring["mf_grc"]
        return pairs[np.isin(pairs[:, 0], self.wiring["active"])]

    def values(self, condition: Condition, trial: int) -> dict[Any, Any]:
        """The state variables to set before a trial."""
        weight_ns = np.zeros(int(self.wiring["n_mossy"]))
        weight_ns[self.wiring["active"]] = self.wiring["weights_ns"][:, trial]
        onto_granule = weight_ns[self.wiring["mf_grc"][:, 0]]
        onto_golgi = weight_ns[self.wiring["mf_goc"][:, 0]]
        return {
            self.granule.g_t: self.wiring[condition.tonic] * nS,
            self.golgi.E_leak: condition.golgi_leak_mv * mV,
            self.to_granule.w: condition.granule_scale * onto_granule * nS,
            self.to_golgi.w: condition.golgi_scale * onto_golgi * nS,
            self.inhibition.w: condition.inhibition_ns * nS,
        }


class Recording:
    """Running sums over the trials of a condition."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.hits = np.zeros((len(model.granule), DURATION_MS))
        self.g_e = np.zeros((len(model.driven), DURATION_MS))
        self.g_i = np.zeros_like(self.g_e)
        self.granule_spikes: list[int] = []
        self.golgi_spikes: list[int] = []

    def add_trial(self) -> None:
        model = self.model
        bins = np.floor(model.granule_spikes.t / ms + 1e-6).astype(int)
        occupied = np.unique(np.asarray(model.granule_spikes.i) * DURATION_MS + bins)
        self.hits.ravel()[occupied] += 1
        self.g_e += model.conductances.g_e_
        self.g_i += model.conductances.g_i_
        self.granule_spikes.append(len(bins))
        self.golgi_spikes.append(len(model.golgi_spikes.i))

    def save(self, folder: Path, condition: Condition, trials: range) -> None:
        """Writes the arrays that the paper's figures are made from."""
        model, prefix, n = self.model, condition.prefix, len(trials)
        siemens_to_ns = 1e9
        for name, total, pairs in (("E", self.g_e, "mf_grc"), ("I", self.g_i, "goc_grc")):
            synapses = np.bincount(model.wiring[pairs][:, 1], minlength=len(model.granule))
            factor = synapses[model.driven, None] * (siemens_to_ns / n)
            np.save(folder / f"{prefix}Cond{name}.npy", total * factor)
        np.save(folder / f"randomized_{prefix}SpikeProb.npy", self.hits / n)
        np.save(folder / f"{prefix}Connections.npy", np.asfortranarray(model._driven_pairs()))
        rows = model.wiring["weights_ns"][:, trials.start : trials.stop].tolist()
        weights = dict(zip(model.wiring["active"].tolist(), rows, strict=True))
        np.save(folder / f"{prefix}Weights.npy", np.array(weights, dtype=object))
        if condition.tonic == "tonic_ach":
            np.save(folder / "tonicReduction.npy", model.wiring[condition.tonic][model.driven])


def runtime_runner(model: Model) -> Callable[[dict[Any, Any]], None]:
    """Runs trials from one stored state. This function compiles the code."""
    model.network.run(0 * ms)
    model.network.store()

    def run(values: dict[Any, Any]) -> None:
        model.network.restore()
        for view, value in values.items():
            view[:] = value
        model.network.run(DURATION_MS * ms)

    return run


def standalone_runner(model: Model, project: Path) -> Callable[[dict[Any, Any]], None]:
    """Runs each trial as one run of a single binary, which serves all trials and conditions.

    If `project` has the binary from an earlier process, make finds nothing to do.
    """
    model.network.run(DURATION_MS * ms)
    device.build(directory=str(project), run=False)
    return lambda values: device.run(run_args=values, with_output=False)


def main() -> None:
    parser = argparse.ArgumentParser(description="The granular-layer model in Brian2.")
    parser.add_argument("--network", type=Path, required=True, help="file made by race.py")
    parser.add_argument("--target", choices=["cython", "standalone"], required=True)
    parser.add_argument("--threads", type=int, default=0, help="OpenMP threads; 0: no OpenMP")
    parser.add_argument("--conditions", nargs="+", choices=CONDITIONS, default=list(CONDITIONS))
    parser.add_argument("--first-trial", type=int, default=0)
    parser.add_argument("--trials", type=int, default=1, help="0: only compile")
    parser.add_argument("--seed", type=int, default=1, help="of the noise (cython only)")
    parser.add_argument("--cache", type=Path, help="where compiled code is kept")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()

    started = time.perf_counter()
    args.out.mkdir(parents=True, exist_ok=True)
    cache = args.cache or args.out / "compiled"
    if args.target == "standalone":
        # The binary chooses a new seed in each run (Brian2's default). A run argument cannot carry
        # a seed, and a fixed seed would give all trials the same noise. Brian2's own compiler flags
        # are used: -O3 -ffast-math -march=native.
        set_device("cpp_standalone", build_on_run=False)
        prefs.devices.cpp_standalone.openmp_threads = args.threads
    else:
        prefs.codegen.target = "cython"
        prefs.codegen.runtime.cython.cache_dir = str(cache)
        brian2.seed(args.seed + args.first_trial)
    brian2.defaultclock.dt = 0.1 * ms

    with np.load(args.network) as file:
        model = Model(dict(file))
    if args.target == "standalone":
        run = standalone_runner(model, cache)
    else:
        run = runtime_runner(model)
    built = time.perf_counter()

    trials = range(args.first_trial, args.first_trial + args.trials)
    report: dict[str, Any] = {"version": brian2.__version__, "build_s": built - started}
    report["conditions"] = {}
    for name in args.conditions if trials else []:
        recording = Recording(model)
        begun = time.perf_counter()
        for trial in trials:
            run(model.values(CONDITIONS[name], trial))
            recording.add_trial()
        simulated = time.perf_counter()
        recording.save(args.out, CONDITIONS[name], trials)
        report["conditions"][name] = {
            "granule_spikes": recording.granule_spikes,
            "golgi_spikes": recording.golgi_spikes,
            "trials_s": simulated - begun,
            "save_s": time.perf_counter() - simulated,
        }
    (args.out / "report.json").write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
