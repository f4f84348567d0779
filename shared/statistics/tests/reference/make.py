"""Reference numbers of granule-statistics, by scipy, mpmath, statsmodels and SALib.

Written from the definitions in the crate's documentation, not from its code. Prints JSON in which every float has
all its digits:

    pip install numpy scipy mpmath statsmodels "SALib==1.5.2"
    python make.py > values.json

reference.rs compares the crate with it.
"""

import hashlib
import json
import warnings
from importlib.metadata import version

import numpy as np
import statsmodels.api as sm
from mpmath import betainc, findroot, mp, mpf
from SALib.analyze import sobol as salib_analysis
from SALib.sample import sobol as salib_design
from scipy import stats
from scipy.stats import qmc

mp.dps = 40
rng = np.random.default_rng(451)


def exact_tail(t, degrees):
    """The probability of values above t > 0, with 40 digits."""
    return betainc(mpf(degrees) / 2, mpf(1) / 2, 0, degrees / (degrees + mpf(t) ** 2), regularized=True) / 2


def exact_quantile(p, degrees):
    """The quantile with 40 digits. That of scipy 1.17 has absolute errors up to 1e-10 near p = 1/2."""
    tail = min(mpf(p), 1 - mpf(p))
    nearly = abs(stats.t.ppf(p, degrees))
    return (-1 if p < 0.5 else 1) * findroot(lambda t: exact_tail(t, degrees) / tail - 1, nearly)


def student() -> dict:
    some = [1, 2, 3, 4, 5, 9, 10, 29, 30, 99, 100, 199, 200, 201, 500, 999, 1000]
    ts = [-40.0, -8.0, -1.7, -1e-3, 1e-7, 0.4, 1.0, 1.73, 1.74, 2.0, 5.0, 12.0, 300.0]
    ps = [1e-12, 1e-6, 0.005, 0.3, 0.4999, 0.500001, 0.6, 0.9, 0.975, 0.995, 0.999999]
    exact = []
    for degrees in some:
        tails = [exact_tail(abs(t), degrees) for t in ts]
        row = {
            "degrees": degrees,
            "t": ts,
            "cdf": [tail if t < 0 else 1 - tail for t, tail in zip(ts, tails)],
            "two_sided": [2 * tail for tail in tails],
            "p": ps,
            "quantile": [exact_quantile(p, degrees) for p in ps],
        }
        for found, expected, atol in (
            (stats.t.cdf(ts, degrees), row["cdf"], 0),
            (stats.t.ppf(ps, degrees), row["quantile"], 1e-9),
        ):
            assert np.allclose(found, np.array(expected, dtype=float), rtol=1e-10, atol=atol)
        exact.append(row)

    degrees = np.arange(1, 1001)
    every = {
        "cdf": {str(t): list(stats.t.cdf(t, degrees)) for t in (-2.5, 1.3)},
        "quantile": {str(p): list(stats.t.ppf(p, degrees)) for p in (0.025, 0.9)},
    }
    return {"exact": exact, "every": every}


def estimate(values) -> dict:
    low, high = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))
    return {
        "values": list(values),
        "mean": np.mean(values),
        "sd": np.std(values, ddof=1),
        "sem": stats.sem(values),
        "low": low,
        "high": high,
    }


def trials(seeds) -> dict:
    """The interval of the mean over given seeds, from the variance of the trials of each seed alone."""
    variance = sum(stats.sem(values) ** 2 for values in seeds) / len(seeds) ** 2
    degrees = sum(len(values) - 1 for values in seeds)
    low, high = stats.t.interval(0.95, degrees, loc=0, scale=np.sqrt(variance))
    return {"seeds": [list(values) for values in seeds], "half_width": (high - low) / 2}


def paired(values, reference) -> dict:
    test = stats.ttest_rel(values, reference)
    interval = test.confidence_interval(0.95)
    return {
        "values": list(values),
        "reference": list(reference),
        "low": interval.low,
        "high": interval.high,
        "p": test.pvalue,
        "d_z": test.statistic / np.sqrt(len(values)),
    }


def regression(inputs, output) -> dict:
    """Standardised coefficients by ordinary least squares, and partial correlations of ranks from residuals."""
    standardised = stats.zscore(inputs, ddof=1)
    model = sm.OLS(stats.zscore(output, ddof=1), sm.add_constant(standardised)).fit()
    interval = model.conf_int(0.05)[1:]

    ranks = stats.rankdata(inputs, axis=0)
    ranks_of_output = stats.rankdata(output)
    n, k = inputs.shape
    partial = []
    for input in range(k):
        others = sm.add_constant(np.delete(ranks, input, axis=1))
        residuals = [sm.OLS(target, others).fit().resid for target in (ranks[:, input], ranks_of_output)]
        partial.append(np.corrcoef(*residuals)[0, 1])
    half = stats.norm.ppf(0.975) / np.sqrt(n - 3 - (k - 1))
    z = np.arctanh(partial)
    return {
        "inputs": inputs.tolist(),
        "output": list(output),
        "r_squared": model.rsquared,
        "src": {"value": list(model.params[1:]), "low": list(interval[:, 0]), "high": list(interval[:, 1])},
        "prcc": {"value": partial, "low": list(np.tanh(z - half)), "high": list(np.tanh(z + half))},
    }


def sobol(base_points, inputs, function) -> dict:
    problem = {"num_vars": inputs, "names": [f"x{i}" for i in range(inputs)], "bounds": [[0, 1]] * inputs}
    points = salib_design.sample(problem, base_points, calc_second_order=False, scramble=False)
    output = function(points)
    indices = salib_analysis.analyze(problem, output, calc_second_order=False, num_resamples=10_000, seed=451)
    return {
        "base_points": base_points,
        "inputs": inputs,
        "output": list(output),
        "first": list(indices["S1"]),
        "total": list(indices["ST"]),
        # Half the width of the intervals, which depends on the random numbers.
        "first_half": list(indices["S1_conf"]),
        "total_half": list(indices["ST_conf"]),
    }


def digest(points) -> str:
    """SHA-256 of the points as little-endian doubles, row by row."""
    return hashlib.sha256(points.astype("<f8").tobytes()).hexdigest()


def design(base_points, inputs) -> dict:
    problem = {"num_vars": inputs, "names": [f"x{i}" for i in range(inputs)], "bounds": [[0, 1]] * inputs}
    points = salib_design.sample(problem, base_points, calc_second_order=False, scramble=False, seed=None)
    return {"base_points": base_points, "inputs": inputs, "sha256": digest(points)}


def sequence(points, dimensions) -> dict:
    drawn = qmc.Sobol(dimensions, scramble=False).random(points)
    return {"points": points, "dimensions": dimensions, "last": list(drawn[-1]), "sha256": digest(drawn)}


def main() -> None:
    # Base points that are no power of two are intended here.
    warnings.simplefilter("ignore", UserWarning)
    base = rng.normal(20, 4, 12)
    skewed = np.exp(rng.normal(0, 1.5, 30))
    uniform = rng.uniform(size=(60, 4))
    correlated = np.column_stack([uniform, uniform[:, 0] + 0.2 * uniform[:, 1] + 0.1 * rng.normal(size=60)])
    levels = np.round(3 * uniform)

    def smooth(x):
        return np.exp(2 * x[:, 0]) - 3 * x[:, 1] + x[:, 2] * x[:, 3]

    def ishigami(x):
        x = np.pi * (2 * x - 1)
        return np.sin(x[:, 0]) + 7 * np.sin(x[:, 1]) ** 2 + 0.1 * x[:, 2] ** 4 * np.sin(x[:, 0])

    values = {
        "versions": {name: version(name) for name in ("numpy", "scipy", "mpmath", "statsmodels", "SALib")},
        "student": student(),
        "estimates": [estimate(values) for values in ([1.0, 1.5], base, skewed, 1e6 + base)],
        "paired": [
            paired(base + rng.normal(0.8, 1, 12), base),
            paired(base + rng.normal(8, 0.3, 12), base),
            paired(skewed, 1.3 * rng.permutation(skewed)),
        ],
        "regressions": [
            regression(uniform, smooth(uniform) + 0.5 * rng.normal(size=60)),
            regression(correlated, smooth(correlated) + 0.1 * rng.normal(size=60)),
            regression(levels, np.round(smooth(levels / 3) + rng.normal(size=60))),
        ],
        "sobol": [sobol(256, 3, ishigami), sobol(100, 5, lambda x: 1000 + smooth(x)), sobol(64, 2, lambda x: 1.0 * (x.sum(axis=1) > 0.6))],
        "sequences": [sequence(4096, 80), sequence(1000, 100), sequence(70_000, 2)],
        "designs": [design(64, 40), design(100, 7), design(8, 50), design(1, 1)],
        "trials": [
            trials([[1.0, 1.5]]),
            trials([base, 20 + base]),
            trials([skewed, skewed[:4], [3.0, 3.0]]),
        ],
    }
    print(json.dumps(values, default=float, separators=(",", ":")))


if __name__ == "__main__":
    main()
