#!/usr/bin/env python3
"""Checks the sensitivity indices of a sweep with a Saltelli design against SALib, numpy and scipy.

    granule figures OUT --to FIGURES
    granule export OUT --measures MEASURES.csv
    python sensitivity.py OUT/manifest.json MEASURES.csv FIGURES/sensitivity.csv

Computes every row of sensitivity.csv again from the measures, by the definitions of docs/figures.md. Values, R² and
intervals of regressions must agree within 1e-10. Intervals of Sobol' indices depend on random numbers: both programs
take 1.96 standard deviations over resamples, so half-widths must agree within a factor of 2: with few base points, rare
resamples decide. shared/statistics/tests/reference.rs compares them within 5 %. Every measure must have all its
rows, or none for a reason that holds. Prints each failure, and exits with status 1 if there is one.
"""
import csv
import json
import sys

import numpy as np
from SALib.analyze import sobol
from scipy import stats

LEAST_POINTS = 8

failures = []


def check(holds, what):
    if not holds:
        failures.append(what)


def close(found, expected, what):
    check(abs(found - expected) <= 1e-10 * max(1.0, abs(expected)), f"{what}: {found}, expected {expected}")


def read(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def points_of(rows, parameters, measure):
    """Returns the parameters and the mean over seeds of each condition, in the order of the sweep; NaN without a value."""
    conditions = {}
    for row in rows:
        x, values = conditions.setdefault(row["condition"], ([float(row[name]) for name in parameters], []))
        # Missing values are NaN in tables of `export`.
        values.append(float(row[measure] or "nan"))
    x = np.array([x for x, _ in conditions.values()])
    has = [np.array(values)[~np.isnan(values)] for _, values in conditions.values()]
    return x, np.array([values.mean() if len(values) else np.nan for values in has])


def least_squares(x, y):
    """Returns coefficients, half-widths of their intervals, and R², of standardised columns."""
    x, y = stats.zscore(x), stats.zscore(y)
    n, k = x.shape
    coefficients, *_ = np.linalg.lstsq(x, y, rcond=None)
    residual = np.sum((y - x @ coefficients) ** 2)
    errors = np.sqrt(residual / (n - k - 1) * np.diag(np.linalg.inv(x.T @ x)))
    return coefficients, stats.t.ppf(0.975, n - k - 1) * errors, 1 - residual / n


def partial(x, y):
    """Returns the partial rank correlation of each column with y, by the residuals of regressions on all others; NaN if
    the others alone determine the ranks of y."""
    x, y = stats.rankdata(x, axis=0), stats.rankdata(y)
    for i in range(x.shape[1]):
        others = np.column_stack([np.ones(len(y)), np.delete(x, i, axis=1)])
        residuals = [of - others @ np.linalg.lstsq(others, of, rcond=None)[0] for of in (x[:, i], y)]
        yield np.corrcoef(*residuals)[0, 1] if np.ptp(residuals[1]) > 1e-9 * len(y) else np.nan


def main():
    manifest, measures, table = sys.argv[1:]
    with open(manifest, encoding="utf-8") as file:
        (design,) = json.load(file)["sweep"]["designs"]
    rows, found = read(measures), read(table)
    columns = list(rows[0])
    # The order of the design's axes, which is that of the rows between A and B.
    prefixes = [axis["parameter"].replace(".", "_") for axis in design["axes"]]
    parameters = [next(name for name in columns if name.startswith(prefix)) for prefix in prefixes]
    k, width = len(parameters), len(parameters) + 2
    problem = {"num_vars": k, "names": parameters, "bounds": [[0, 1]] * k}
    indices = {(row["measure"], row["parameter"], row["index"]): row for row in found}
    check(len(indices) == len(found), "rows are repeated")

    compared = 0
    for measure in columns[columns.index("window_to_ms") + 1 :]:
        x, y = points_of(rows, parameters, measure)
        of = {name: [indices.pop((measure, parameter, name), None) for parameter in parameters]
              for name in ("src", "prcc", "sobol_first", "sobol_total")}

        is_base = np.isin(np.arange(len(y)) % width, [0, width - 1])
        # A point that is a row of two base points counts once, at its first row among A and B.
        base = np.flatnonzero(is_base)
        _, first = np.unique(x[base], axis=0, return_index=True)
        sample = base[np.sort(first)]
        sample = sample[~np.isnan(y[sample])]
        if len(sample) < max(LEAST_POINTS, 2 * (k + 1)) or np.ptp(y[sample]) == 0:
            check(of["src"] == of["prcc"] == [None] * k, f"{measure}: regressions of {len(sample)} points")
        else:
            values, halves, r_squared = least_squares(x[sample], y[sample])
            ranks = list(partial(x[sample], y[sample]))
            half = stats.norm.ppf(0.975) / np.sqrt(len(sample) - k - 2)
            for i, (src, prcc) in enumerate(zip(of["src"], of["prcc"])):
                what = f"{measure}, {parameters[i]}"
                close(float(src["value"]), values[i], f"{what}, src")
                close(float(src["low_95"]), values[i] - halves[i], f"{what}, src, low")
                close(float(src["high_95"]), values[i] + halves[i], f"{what}, src, high")
                close(float(src["r_squared"]), r_squared, f"{what}, R²")
                if np.isnan(ranks[i]):
                    check(prcc["value"] == prcc["low_95"] == prcc["high_95"] == "", f"{what}, prcc: the others suffice")
                else:
                    with np.errstate(divide="ignore"):  # A correlation of 1 has the interval from 1 to 1.
                        z = np.arctanh(np.clip(ranks[i], -1, 1))
                    close(float(prcc["value"]), ranks[i], f"{what}, prcc")
                    close(float(prcc["low_95"]), np.tanh(z - half), f"{what}, prcc, low")
                    close(float(prcc["high_95"]), np.tanh(z + half), f"{what}, prcc, high")
                check(int(src["points"]) == int(prcc["points"]) == len(sample), f"{what}: points")
                compared += 7

        if np.isnan(y).any() or np.ptp(y) == 0:
            check(of["sobol_first"] == of["sobol_total"] == [None] * k, f"{measure}: indices of a design with gaps")
            continue
        expected = sobol.analyze(problem, y, calc_second_order=False, num_resamples=10_000, seed=451)
        for name, of_salib in (("sobol_first", "S1"), ("sobol_total", "ST")):
            for i, row in enumerate(of[name]):
                what = f"{measure}, {parameters[i]}, {name}"
                close(float(row["value"]), expected[of_salib][i], what)
                half = (float(row["high_95"]) - float(row["low_95"])) / 2
                conf = expected[f"{of_salib}_conf"][i]
                check(conf / 2 <= half <= conf * 2, f"{what}, half-width: {half}, expected about {conf}")
                check(int(row["points"]) == len(y), f"{what}: points")
                compared += 2
    check(not indices, f"unexpected rows: {sorted(indices)}")
    check(compared > 100, f"only {compared} numbers were compared")
    for failure in failures:
        print(failure)
    print(f"{compared} numbers of {len(found)} rows compared, {len(failures)} failures")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
