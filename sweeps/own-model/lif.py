"""Integrate-and-fire cells that are not connected, with noise that is partly shared between the cells."""

import numpy as np

import granule.model


def trial(parameters, seed, trial):
    cells = parameters["network.cells"]
    dt = parameters.resolution_ms
    steps = round(parameters.duration_ms / dt)
    leak = dt / parameters["cell.tau"]
    refractory = round(parameters["cell.refractory"] / dt)

    # Drawn once for a seed: the mean input of each cell.
    mean = granule.model.generator(seed).normal(parameters["input.mean"], parameters["input.mean_sd"], cells)
    # Drawn for each trial: the noise. All conditions of a seed and trial have the same normals.
    random = granule.model.generator(seed, trial)
    shared = parameters["input.shared"]
    together, alone = random.standard_normal((steps, 1)), random.standard_normal((steps, cells))
    noise = parameters["input.sd"] * np.sqrt(2 * leak) * (np.sqrt(shared) * together + np.sqrt(1 - shared) * alone)

    v = np.zeros(cells)
    ready = np.zeros(cells, int)
    spiked, times = [], []
    for step in range(steps):
        v += leak * (mean - v) + noise[step]
        v[ready > step] = 0
        now = np.flatnonzero(v > parameters["cell.threshold"])
        v[now] = 0
        ready[now] = step + 1 + refractory
        spiked.append(now)
        times.append(np.full(len(now), step * dt))
    spiked, times = np.concatenate(spiked), np.concatenate(times)

    counts = np.bincount((times / 5).astype(int), minlength=int(parameters.duration_ms / 5))
    return {
        "cells": (spiked, times),
        "rate": 1000 * len(spiked) / cells / parameters.duration_ms,
        "synchrony": counts.var() / max(counts.mean(), 1e-9),
    }


granule.model.serve(trial)
