"""Leaky integrate-and-fire cells with Poisson input. Replace this model by your own.

Check it with `granule try @NAME@.model.yaml`, and run the sweep with `granule run @NAME@.yaml`.
"""

import numpy as np

import granule.model


def trial(parameters, seed, trial):
    """Computes a trial. The result must depend only on the parameters, the seed and the trial."""
    cells = parameters["network.cells"]
    dt = parameters.resolution_ms
    steps = round(parameters.duration_ms / dt)

    # Drawn once for a seed: all its trials and conditions have the same thresholds.
    network = granule.model.generator(seed)
    threshold = network.normal(parameters["cell.threshold"], parameters["cell.threshold_sd"], cells)
    # Drawn for each trial: the number of input spikes of each cell in each step.
    random = granule.model.generator(seed, trial)
    inputs = random.poisson(parameters["input.rate"] * dt / 1000, (steps, cells))

    v = np.zeros(cells)  # mV above rest
    ready = np.zeros(cells, int)  # the step in which the refractory period of a cell ends
    refractory = round(parameters["cell.refractory"] / dt)
    spiked, times = [], []
    for step in range(steps):
        v += parameters["input.weight"] * inputs[step] - v * (dt / parameters["cell.tau"])
        v[ready > step] = 0
        now = np.flatnonzero(v > threshold)
        v[now] = 0
        ready[now] = step + refractory
        spiked.append(now)
        times.append(np.full(len(now), step * dt))

    spiked = np.concatenate(spiked)
    rate = 1000 * len(spiked) / cells / parameters.duration_ms
    return {"cells": (spiked, np.concatenate(times)), "rate": rate}


granule.model.serve(trial)
