"""Checks estimates and differences of a sweep: recomputes them from its spikes with numpy, scipy and statsmodels.

usage: python tests/paired.py OUT FIGURES    (OUT: a directory of `granule run`; FIGURES: of `granule figures`)

The sweep has the engine pcg and the paper's stimulus times, so that the response window is 1000 to 1060 ms.
"""

import csv
import sys

import granule
import numpy as np
from scipy import stats
from statsmodels.stats.weightstats import DescrStatsW

WINDOW = (1000.0, 1060.0)
STIMULUS = 1010.0
CLOSE = {"rtol": 1e-10, "atol": 1e-10}


def measured(sweep, condition, seed):
    """Returns measures of a condition and seed, and for each trial the spikes of driven cells in the window."""
    trials = sweep.manifest.sweep.trials
    spikes = sweep.spikes("numpy", conditions=[condition], seeds=[seed])
    driven = np.unique(sweep.array("connections", condition, seed)[:, 1])
    is_in = (spikes["time_ms"] >= WINDOW[0]) & (spikes["time_ms"] < WINDOW[1])
    is_driven = (spikes["population"] == "granule") & np.isin(spikes["cell"], driven)
    trial, cell, time = (spikes[name][is_in & is_driven] for name in ("trial", "cell", "time_ms"))
    place = np.searchsorted(driven, cell)
    counts = np.zeros((trials, len(driven)))
    np.add.at(counts, (trial, place), 1)
    first = np.full((trials, len(driven)), np.inf)
    np.minimum.at(first, (trial, place), time - STIMULUS)
    first[np.isinf(first)] = np.nan
    of_ms = np.bincount((time - WINDOW[0]).astype(int), minlength=60)
    golgi = spikes["population"] == "golgi"
    has_spiked = ~np.isnan(first)
    of_cells = [first[has, at] for at, has in enumerate(has_spiked.T) if has.sum() > 1]
    differences = [(of_cell[:, None] - of_cell)[np.triu_indices(len(of_cell), 1)] for of_cell in of_cells]
    golgi_cells = int(sweep.manifest.sweep.conditions[0].parameters["network.golgi_cells"])
    return {
        "response_probability": (counts > 0).mean(),
        "spikes_per_driven_cell": counts.mean(),
        "peak_spikes_per_ms": of_ms.max() / trials / len(driven),
        "reliable_fraction": (2 * (counts > 0).sum(axis=0) >= trials).mean(),
        "first_spike_latency_ms": first[has_spiked].mean() if has_spiked.any() else np.nan,
        "first_spike_jitter_ms": np.sqrt(np.mean(np.concatenate(differences) ** 2) / 2) if of_cells else np.nan,
        "fano_factor": counts.var(axis=0, ddof=1).mean() / counts.mean() if counts.any() else np.nan,
        "golgi_during_hz": (golgi & is_in).sum() / trials / golgi_cells / 0.06,
    }, counts.sum(axis=1)


def read(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def number(text):
    return float(text) if text else np.nan


def main(out, figures):
    sweep = granule.open(out)
    of = {(name, seed): measured(sweep, name, seed) for name in sweep.conditions for seed in sweep.seeds}
    checked = 0
    for row in read(f"{figures}/measures.csv"):
        expected, _ = of[row["condition"], int(row["seed"])]
        for name, value in expected.items():
            np.testing.assert_allclose(number(row[name]), value, err_msg=f"{name} of {row}", **CLOSE)
            checked += 1
    for row in read(f"{figures}/estimates.csv"):
        values = [of[row["condition"], seed][0].get(row["measure"]) for seed in sweep.seeds]
        if None in values:
            continue
        # Seeds without the measure do not count.
        values = [value for value in values if not np.isnan(value)]
        assert int(row["seeds"]) == len(values), row
        if len(values) < 2:
            continue
        described = DescrStatsW(values)
        low, high = described.tconfint_mean()
        found = [number(row[name]) for name in ("mean", "sd", "sem", "low_95", "high_95")]
        expected = [described.mean, np.std(values, ddof=1), stats.sem(values), low, high]
        np.testing.assert_allclose(found, expected, err_msg=str(row), **CLOSE)
        checked += 1
    for row in read(f"{figures}/differences.csv"):
        pairs = [(of[row["condition"], seed], of[row["reference"], seed]) for seed in sweep.seeds]
        if row["measure"] == "d_prime":
            spread = [np.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2) for (_, a), (_, b) in pairs]
            differences = [
                (a.mean() - b.mean()) / s if s > 0 else np.nan for ((_, a), (_, b)), s in zip(pairs, spread, strict=True)
            ]
        elif row["measure"] in pairs[0][0][0]:
            differences = [a[row["measure"]] - b[row["measure"]] for (a, _), (b, _) in pairs]
        else:
            continue
        differences = [difference for difference in differences if not np.isnan(difference)]
        assert int(row["seeds"]) == len(differences), row
        if len(differences) < 2:
            continue
        low, high = DescrStatsW(differences).tconfint_mean()
        found = [number(row[name]) for name in ("difference", "low_95", "high_95")]
        np.testing.assert_allclose(found, [np.mean(differences), low, high], err_msg=str(row), **CLOSE)
        if np.std(differences, ddof=1) > 0:
            p = stats.ttest_1samp(differences, 0).pvalue
            effect = np.mean(differences) / np.std(differences, ddof=1)
            found = [number(row["effect_size_dz"]), number(row["p"])]
            np.testing.assert_allclose(found, [effect, p], err_msg=str(row), **CLOSE)
        checked += 1
    assert checked > 100, checked
    print(f"{checked} numbers agree with numpy, scipy and statsmodels")


if __name__ == "__main__":
    main(*sys.argv[1:])
