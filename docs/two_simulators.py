"""Makes the tables of docs/two-simulators.md from docs/two-simulators.csv.

    granule run sweeps/own-model/granular-builtin.yaml
    granule run sweeps/own-model/granular-brian2.yaml
    python docs/two_simulators.py --read out/granular-builtin out/granular-brian2    write docs/two-simulators.csv
    python docs/two_simulators.py                     write the tables
    python docs/two_simulators.py --check             fail if the tables differ from the data
    python docs/two_simulators.py --test              test the statistics with synthetic data

It needs numpy. `--read` needs the Python package of granule for output directories. It also reads tables of `granule
export`: csv or npz.
"""

import argparse
import csv
import functools
import math
import sys
from pathlib import Path

import numpy as np

from validation import NORMAL, bisect, digits, signed, t_below, t_quantile

DOCS = Path(__file__).resolve().parent
SIMULATORS = ["granule", "Brian2"]
# As in the sweep files.
CELLS, TRIALS, SEEDS, DURATION = {"granule": 1024, "golgi": 27}, 3, range(1, 71), 400.0
SETTLED, STIMULUS, END = 100.0, 310.0, 360.0  # ms
BIN = 5.0  # ms
RESPONSE, PEAK, TIME = "fraction of granule cells that respond", "peak rate of granule cells (Hz)", "mean time of response (ms)"
BASELINE, GOLGI = "baseline rate of granule cells (Hz)", "rate of Golgi cells (Hz)"
# Margins, as fractions of the mean, or in ms for times. They come from the SDs of a pilot study with seeds 1001 to 1020:
# with 70 seeds, each measure has a power of about 0.99.
MARGINS = {
    ("Control", RESPONSE): 0.12,
    ("Control", PEAK): 0.15,
    ("Control", TIME): 0.2,
    ("Control", GOLGI): 0.08,
    ("GABAzine", RESPONSE): 0.04,
    ("GABAzine", PEAK): 0.05,
    ("GABAzine", TIME): 0.1,
    ("GABAzine", BASELINE): 0.07,
    ("ACh", RESPONSE): 0.15,
    ("ACh", PEAK): 0.15,
    ("ACh", TIME): 0.3,
    ("ACh", GOLGI): 0.25,
}


# ------------------------------------------------------------------ measures

def read_spikes(path):
    """Returns the columns of an output directory, or of a table of `granule export`."""
    if path.is_dir():
        import granule

        return granule.open(path).spikes("numpy")
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as columns:
            return {name: columns[name] for name in columns.files}
    names, types = zip(("condition", "U80"), ("seed", int), ("trial", int), ("population", "U80"), ("cell", int),
                       ("time_ms", float))
    table = np.genfromtxt(path, delimiter=",", names=True, dtype=list(types), encoding="utf-8")
    if table.dtype.names != names:
        sys.exit(f"{path} has the columns {', '.join(table.dtype.names)}; expected {', '.join(names)}")
    return {name: table[name] for name in names}


def measure(spikes, seeds=SEEDS):
    """{(condition, measure): the value of each seed}"""
    at, cell, trial, seed = spikes["time_ms"], spikes["cell"].astype(int), spikes["trial"].astype(int), spikes["seed"].astype(int)
    if not (np.isin(seed, list(seeds)).all() and trial.max() < TRIALS and at.max() < DURATION):
        sys.exit("the spikes have other seeds, trials or times than the sweeps of this page")
    of = {name: spikes["population"] == name for name in CELLS}
    for name, size in CELLS.items():
        if cell[of[name]].max() >= size:
            sys.exit(f"the spikes have other {name} cells than the sweeps of this page")
    row = np.searchsorted(list(seeds), seed)
    n = len(seeds)
    # A step that begins at 310 ms may be 309.99999 or 310.00001 in another program.
    at = np.rint(at * 1000) / 1000
    evoked = of["granule"] & (at >= STIMULUS) & (at < END)
    before = of["granule"] & (at >= SETTLED) & (at < STIMULUS)
    settled = of["golgi"] & (at >= SETTLED)
    values = {}
    for condition in dict.fromkeys(condition for condition, _ in MARGINS):
        inside = spikes["condition"] == condition

        def count(which):
            return np.bincount(row[inside & which], minlength=n)

        responded = np.zeros((n, TRIALS, CELLS["granule"]), bool)
        here = inside & evoked
        responded[row[here], trial[here], cell[here]] = True
        bins = ((at[here] - STIMULUS) / BIN).astype(int)
        per_bin = np.zeros((n, round((END - STIMULUS) / BIN)))
        np.add.at(per_bin, (row[here], bins), 1)
        per_cell = TRIALS * CELLS["granule"]
        total = np.bincount(row[here], at[here] - STIMULUS, n)
        found = {
            RESPONSE: responded.mean(axis=(1, 2)),
            PEAK: 1000 * per_bin.max(axis=1) / per_cell / BIN,
            TIME: total / np.maximum(count(evoked), 1),
            BASELINE: 1000 * count(before) / per_cell / (STIMULUS - SETTLED),
            GOLGI: 1000 * count(settled) / TRIALS / CELLS["golgi"] / (DURATION - SETTLED),
        }
        values |= {(condition, name): x for name, x in found.items() if (condition, name) in MARGINS}
    return values


def write_values(of_simulators):
    with open(DOCS / "two-simulators.csv", "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["condition", "measure", "simulator", "seed", "value"])
        for (condition, name) in MARGINS:
            for simulator, values in of_simulators.items():
                for seed, value in zip(SEEDS, values[condition, name]):
                    table.writerow([condition, name, simulator, seed, f"{value:.6g}"])


def read_values():
    """{simulator: {(condition, measure): the value of each seed}}"""
    values = {simulator: {} for simulator in SIMULATORS}
    with open(DOCS / "two-simulators.csv", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            values[row["simulator"]].setdefault((row["condition"], row["measure"]), []).append(float(row["value"]))
    return {simulator: {key: np.array(x) for key, x in of.items()} for simulator, of in values.items()}


# ---------------------------------------------------------------- statistics

def welch(a, b):
    """Difference of the means b - a, its standard error, and the degrees of freedom (Welch)."""
    u, v = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    return b.mean() - a.mean(), math.sqrt(u + v), (u + v) ** 2 / (u**2 / (len(a) - 1) + v**2 / (len(b) - 1))


def t_above(t, df):
    """Probability that Student's t is above t."""
    return 1 - t_below(t, df) if t > 0 else t_below(-t, df) if t < 0 else 0.5


def tost(difference, error, df, margin):
    """The larger p-value of the two one-sided tests."""
    return t_above((margin - abs(difference)) / error, df)


def over_errors(chance, df):
    """The mean of chance(s/σ) over the distribution of s/σ, where df·(s/σ)² is χ² with df degrees of freedom."""
    ratio = np.linspace(1e-3, 3, 1500)
    weight = np.exp((df - 1) * np.log(ratio) - df * (ratio**2 - 1) / 2)
    return float(sum(w * chance(r) for r, w in zip(ratio, weight)) / weight.sum())


def equivalent_chance(margin, error, df):
    """Power: probability of p < 0.05 in both one-sided tests if the true difference is 0 and its standard error this."""
    limit = t_quantile(0.95, df)

    def chance(ratio):
        room = margin / error - limit * ratio
        return 2 * NORMAL.cdf(room) - 1 if room > 0 else 0.0

    return over_errors(chance, df)


def difference_chance(difference, error, df):
    """Probability that the 95 % interval excludes 0 if this is the true difference."""
    limit = t_quantile(0.975, df)
    return over_errors(lambda ratio: NORMAL.cdf(difference / error - limit * ratio)
                       + NORMAL.cdf(-difference / error - limit * ratio), df)


def found_difference(error, df):
    """The true difference whose interval excludes 0 with a probability of 0.9."""
    return bisect(lambda x: difference_chance(x, error, df) - 0.9, 0.0, 20 * error)


# -------------------------------------------------------------------- tables

def equivalence():
    values = read_values()
    lines = [
        "| condition | measure | `pcg`, mean ± SD of seeds | Brian2, mean ± SD of seeds | Brian2 − `pcg`, 95 % CI "
        "| margin | TOST p | power | difference found |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    failed, powers, excluded = [], [], 0
    for (condition, name), relative in MARGINS.items():
        a, b = (values[simulator][condition, name] for simulator in SIMULATORS)
        difference, error, df = welch(a, b)
        half = t_quantile(0.975, df) * error
        mean = a.mean()
        margin = relative if name == TIME else relative * mean
        p, power = tost(difference, error, df, margin), equivalent_chance(margin, error, df)
        found = found_difference(error, df)
        powers.append(power)
        excluded += abs(difference) > half
        if p >= 0.05:
            failed.append(f"{condition}, {name}")
        cells = [condition, name]
        cells += [f"{digits(x.mean(), x.std(ddof=1))} ± {digits(x.std(ddof=1), x.std(ddof=1))}" for x in (a, b)]
        cells.append(f"{signed(difference, half)} ± {digits(half, half)}")
        if name == TIME:
            cells += [f"{margin:g} ms", f"{p:.2g}", f"{power:.3f}", f"{digits(found, found)} ms"]
        else:
            cells[-1] += f" ({signed(100 * difference / mean, 100 * half / mean)} %)"
            percent = 100 * found / mean
            cells += [f"{100 * relative:g} %", f"{p:.2g}", f"{power:.3f}", f"{digits(percent, percent)} %"]
        lines.append("| " + " | ".join(cells) + " |")
    all_pass = 1 - sum(1 - power for power in powers)
    lines += [
        "",
        f"- {len(MARGINS) - len(failed)} of {len(MARGINS)} measures are equivalent"
        + (f"; not: {'; '.join(failed)}" if failed else "") + ".",
        f"- {excluded} of {len(MARGINS)} CIs exclude 0. If all true differences were 0, {0.05 * len(MARGINS):.1f} would exclude 0 on average.",
        f"- Power: if all true differences are 0, all measures are equivalent with a probability of at least {max(0.0, all_pass):.2f}.",
    ]
    return lines


def with_tables(text):
    """Returns the page with new tables."""
    start, end = "<!-- equivalence: made by two_simulators.py -->\n", "<!-- end -->"
    before, rest = text.split(start)
    _, after = rest.split(end, 1)
    return before + start + "\n".join(equivalence()) + "\n" + end + after


# ---------------------------------------------------------------------- test

def test():
    """Compares the statistics with known numbers and with simulated experiments."""
    random = np.random.default_rng(1)
    # Quantiles of Student's t from tables.
    assert abs(t_quantile(0.975, 10) - 2.2281) < 1e-3 and abs(t_above(-1.8125, 10) - 0.95) < 1e-4
    # Welch's test of two short samples, computed by hand.
    difference, error, df = welch(np.array([1.0, 2, 3]), np.array([2.0, 4, 6, 8]))
    assert abs(difference - 3) < 1e-12 and abs(error - math.sqrt(1 / 3 + 20 / 12)) < 1e-12
    assert abs(df - 2**2 / ((1 / 3) ** 2 / 2 + (20 / 12) ** 2 / 3)) < 1e-12
    quantile = functools.cache(t_quantile)
    n, sds, repeats = 20, (1.0, 1.5), 4000
    true_error = math.hypot(*sds) / math.sqrt(n)
    true_df = (sds[0] ** 2 + sds[1] ** 2) ** 2 / ((sds[0] ** 4 + sds[1] ** 4) / (n - 1))
    margin = 1.4
    found = found_difference(true_error, true_df)
    for true, which, expected in [
        (0.0, "equivalent", equivalent_chance(margin, true_error, true_df)),
        (margin, "equivalent", 0.05),
        (0.0, "different", 0.05),
        (found, "different", 0.9),
    ]:
        hits = 0
        for _ in range(repeats):
            a, b = random.normal(0, sds[0], n), random.normal(true, sds[1], n)
            difference, error, df = welch(a, b)
            if which == "equivalent":
                hits += abs(difference) + quantile(0.95, round(df, 1)) * error < margin
            else:
                hits += abs(difference) > quantile(0.975, round(df, 1)) * error
        rate, spread = hits / repeats, math.sqrt(expected * (1 - expected) / repeats)
        print(f"{which} if the true difference is {true:.2f}: {rate:.3f} of {repeats} experiments, expected {expected:.3f}")
        # The degrees of freedom of Welch are an approximation.
        assert abs(rate - expected) < 4 * spread + 0.005
    test_measures(random)
    print("all tests pass")


def test_measures(random):
    """The measures of synthetic spikes with known rates."""
    seeds, columns = range(1, 6), {name: [] for name in ("condition", "seed", "trial", "population", "cell", "time_ms")}
    rates = {"Control": 2.0, "GABAzine": 8.0, "ACh": 1.0}
    for condition, rate in rates.items():
        for seed in seeds:
            for trial in range(TRIALS):
                for population, size in CELLS.items():
                    count = random.poisson(rate * size * DURATION / 1000)
                    columns["condition"] += [condition] * count
                    columns["seed"] += [seed] * count
                    columns["trial"] += [trial] * count
                    columns["population"] += [population] * count
                    columns["cell"] += random.integers(0, size, count).tolist()
                    columns["time_ms"] += (random.integers(0, DURATION * 10, count) / 10).tolist()
    values = measure({name: np.array(column) for name, column in columns.items()}, seeds)
    assert values.keys() == MARGINS.keys()
    for (condition, name), of_seeds in values.items():
        rate = rates[condition]
        window = END - STIMULUS
        expected = {
            RESPONSE: 1 - math.exp(-rate * window / 1000),
            PEAK: None,
            TIME: window / 2 - 0.05,
            BASELINE: rate,
            GOLGI: rate,
        }[name]
        if expected is None:
            # The largest of the bins: above the rate, by at most 4 standard deviations of a bin.
            spread = math.sqrt(rate * 1000 / BIN / TRIALS / CELLS["granule"])
            assert rate < of_seeds.mean() < rate + 4 * spread, name
        else:
            assert abs(of_seeds.mean() - expected) < 5 * of_seeds.std(ddof=1) / math.sqrt(len(seeds)) + 1e-9, (condition, name)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--test", action="store_true")
    parser.add_argument("--read", nargs=2, type=Path, metavar=("BUILTIN", "BRIAN2"))
    options = parser.parse_args()
    if options.test:
        test()
        return
    if options.read:
        write_values({simulator: measure(read_spikes(path)) for simulator, path in zip(SIMULATORS, options.read)})
        return
    page = DOCS / "two-simulators.md"
    text = page.read_text(encoding="utf-8")
    made = with_tables(text)
    if options.check:
        if made != text:
            sys.exit("docs/two-simulators.md: tables differ from the data; run python docs/two_simulators.py")
        return
    page.write_text(made, encoding="utf-8")


if __name__ == "__main__":
    main()
