"""Reference numbers of the paper's analysis, by numpy, pandas and scikit-learn.

Written from the definitions in docs/figures.md, not from granule's code. Reads the folder of one seed and
prints JSON in which every float has all its digits:

    python make.py out/ci-10trials/seed-451 > ci-10trials.json
    python make.py out/paper/seed-451 > paper.json

tests/plain/figures.rs compares granule's analysis with both.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.neighbors import KernelDensity

START, STOP = 1000, 1060  # ms of the recording
QUANTITIES = {"excitation_ns": 0.1, "inhibition_ns": 0.1, "net_ns": 0.1, "tonic_reduction": 0.01}
GRID = 60  # points at which densities are compared


def analyse(folder: Path) -> dict:
    def load(name):
        return np.load(folder / name, allow_pickle=True)

    # Cells with active inputs, and the number of these inputs.
    synapses = pd.DataFrame(load("controlConnections.npy"), columns=["fibre", "cell"])
    inputs = synapses.groupby("cell").fibre.count().sort_index()
    driven = inputs.index.to_numpy()
    spikes = {name: load(f"randomized_{name}SpikeProb.npy") for name in ("control", "gaba", "ach")}

    # One row per driven cell; conductance files and tonic factors have the same rows.
    spacing = np.linspace(0, STOP - START, STOP - START)
    table = pd.DataFrame(
        {
            "active_inputs": inputs.to_numpy(),
            "responsive": (spikes["control"][driven] != 0).any(axis=1),
            "second": spikes["control"][driven, START + 18 : START + 22].max(axis=1),
            "third": spikes["control"][driven, START + 28 : START + 32].max(axis=1),
            "control_peak": spikes["control"][driven, START:STOP].max(axis=1),
            "gaba_peak": spikes["gaba"][driven, START:STOP].max(axis=1),
            "ach_peak": spikes["ach"][driven, START:STOP].max(axis=1),
            "excitation_ns": np.trapezoid(load("controlCondE.npy")[:, START:STOP], spacing, axis=1) / (STOP - START),
            "inhibition_ns": np.trapezoid(load("controlCondI.npy")[:, START:STOP], spacing, axis=1) / (STOP - START),
            "tonic_reduction": 1 - load("tonicReduction.npy"),
        },
        index=driven,
    )
    table["net_ns"] = table.excitation_ns - table.inhibition_ns
    fulfils = table.responsive & (table.second <= 0.6) & (table.third <= table.second)
    selected = table[fulfils & (table.control_peak > 0)].copy()
    selected["relative_peak"] = selected.ach_peak / selected.control_peak
    change = np.sign(selected.relative_peak - 1).map({1.0: "increase", -1.0: "decrease", 0.0: "equal"})

    result = {
        "counts": {
            "granule_cells": len(spikes["control"]),
            "driven": len(table),
            "responsive": int(table.responsive.sum()),
            "selected": len(selected),
            "without_peak": int((fulfils & (table.control_peak == 0)).sum()),
            **{name: int((change == name).sum()) for name in ("increase", "decrease", "equal")},
            "silenced": int((selected.ach_peak == 0).sum()),
        },
        "cells": {"cell": selected.index.tolist(), "change": change.tolist()},
    }
    columns = ["active_inputs", "control_peak", "gaba_peak", "ach_peak", "relative_peak", *QUANTITIES]
    result["cells"] |= {name: selected[name].tolist() for name in columns}

    # Mean time courses relative to each cell's own Control peak.
    result["time_course"] = {}
    for of_class in ("increase", "decrease"):
        cells = selected[change == of_class]
        result["time_course"][of_class] = {
            name: (array[cells.index, START:STOP] / cells.control_peak.to_numpy()[:, None]).mean(axis=0).tolist()
            for name, array in spikes.items()
        }

    for section in ("summary", "density", "histogram"):
        result[section] = {}
    for name, width in QUANTITIES.items():
        values = {of_class: selected[name][change == of_class] for of_class in ("increase", "decrease")}
        # pandas' standard error has n - 1 degrees of freedom.
        result["summary"][name] = {
            of_class: {"n": len(x), "mean": float(x.mean()), "sem": float(x.sem())} for of_class, x in values.items()
        }
        result["density"][name] = {}
        result["histogram"][name] = {}
        for of_class, x in values.items():
            sample = x.to_numpy()
            grid = np.linspace(sample.min() - 3 * width, sample.max() + 3 * width, GRID)
            kernels = KernelDensity(kernel="gaussian", bandwidth=width).fit(sample[:, None])
            density = np.exp(kernels.score_samples(grid[:, None]))
            result["density"][name][of_class] = {"x": grid.tolist(), "density": density.tolist()}
            # Bins [k w, (k + 1) w) from the first to the last with a value.
            edges = np.arange(np.floor(sample.min() / width) - 1, np.floor(sample.max() / width) + 3) * width
            count, _ = np.histogram(sample, bins=edges)
            density, _ = np.histogram(sample, bins=edges, density=True)
            first, last = np.flatnonzero(count)[[0, -1]]
            result["histogram"][name][of_class] = {
                "first_edge": float(edges[first]),
                "counts": count[first : last + 1].tolist(),
                "densities": density[first : last + 1].tolist(),
            }
    return result


if __name__ == "__main__":
    json.dump(analyse(Path(sys.argv[1])), sys.stdout, indent=None)
    print()
