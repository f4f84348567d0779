"""The balanced network of Brunel (2000) in NEST."""

import nest
import numpy as np

import granule.model

nest.verbosity = nest.VerbosityLevel.ERROR


def trial(parameters, seed, trial):
    # NEST cannot restore an earlier state, so each trial builds the network again. With the seed of the network, it
    # has the same wiring.
    nest.ResetKernel()
    nest.local_num_threads = 1
    nest.resolution = parameters.resolution_ms
    granule.model.seed_nest(seed)

    tau, threshold = parameters["cell.tau"], parameters["cell.threshold"]
    weight, delay = parameters["synapse.excitatory"], parameters["synapse.delay"]
    nest.SetDefaults(
        "iaf_psc_delta",
        {
            "C_m": 1.0,
            "tau_m": tau,
            "t_ref": parameters["cell.refractory"],
            "E_L": 0.0,
            "V_m": 0.0,
            "V_th": threshold,
            "V_reset": parameters["cell.reset"],
        },
    )
    sizes = parameters.populations
    groups = {name: nest.Create("iaf_psc_delta", size) for name, size in sizes.items()}
    cells = groups["excitatory"] + groups["inhibitory"]
    for name, strength in (("excitatory", weight), ("inhibitory", -parameters["synapse.g"] * weight)):
        nest.Connect(
            groups[name],
            cells,
            {"rule": "fixed_indegree", "indegree": round(parameters["network.sparseness"] * sizes[name])},
            {"weight": strength, "delay": delay},
        )

    # This input alone would bring the mean potential to threshold, Hz.
    at_threshold = 1000 * threshold / (weight * tau)
    noise = nest.Create("poisson_generator", params={"rate": parameters["input.relative"] * at_threshold})
    nest.Connect(noise, cells, syn_spec={"weight": weight, "delay": delay})
    recorder = nest.Create("spike_recorder")
    nest.Connect(cells, recorder)

    granule.model.seed_nest(seed, trial)
    nest.Simulate(parameters.duration_ms)

    events = recorder.get("events")
    # NEST gives a spike the time of the end of its step, above 0 and up to the duration. granule counts from the start
    # of the step.
    times = events["times"] - parameters.resolution_ms
    senders = events["senders"]
    result = {}
    for name, group in groups.items():
        first = group[0].global_id
        inside = (senders >= first) & (senders < first + sizes[name])
        result[name] = senders[inside] - first, times[inside]
    return result | {
        "rate": 1000 * len(times) / sum(sizes.values()) / parameters.duration_ms,
        "cv": irregularity(senders, times),
    }


def irregularity(cells, times):
    """Returns the mean coefficient of variation of the intervals; 0 if no cell has 3 spikes."""
    found = []
    for cell in np.unique(cells):
        intervals = np.diff(np.sort(times[cells == cell]))
        if len(intervals) >= 2:
            found.append(intervals.std() / intervals.mean())
    return float(np.mean(found)) if found else 0.0


granule.model.serve(trial)
