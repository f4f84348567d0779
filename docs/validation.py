"""Tables and figure of docs/validation.md, from docs/validation.csv and docs/validation-steps.csv.

    python docs/validation.py                         write the tables and docs/validation.png
    python docs/validation.py --check                 fail if the tables differ from the data
    python docs/validation.py --picture FILE          draw the figure only
    python docs/validation.py --steps DIR             run the sweep of the step study in DIR and write its data

It needs numpy, and matplotlib for the figure. `--steps` needs `cargo build --release`, or --granule PROGRAM.
"""

import argparse
import csv
import math
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np

DOCS = Path(__file__).resolve().parent
EXACT, PCG = "brian2-2.2.1", "pcg"
NORMAL = statistics.NormalDist()

STEPS = ["0.1", "0.05", "0.025"]
SWEEP = """name: steps
seeds: 1..300
trials: 10
network: { mossy_fibers: 78, granule_cells: 1024, golgi_cells: 27 }
noise: independent
conditions:
  - { name: "Control-{time.step}", base: Control, grid: { time.step: [0.1 ms, 0.05 ms, 0.025 ms] } }
  - { name: "GABAzine-{time.step}", base: GABAzine, grid: { time.step: [0.1 ms, 0.05 ms, 0.025 ms] } }
"""
TRIALS, CELLS, SECONDS = 10, {"granule": 1024, "golgi": 27}, {"before": 1.0, "evoked": 0.06}
# Golgi cells have the same law in both conditions, and noise of their own: the mean of both is more precise.
STEP_MEASURES = [
    ("granule cells, GABAzine, 0 to 1000 ms (Hz)", ["GABAzine"], "granule", "before"),
    ("granule cells, GABAzine, 1000 to 1060 ms (Hz)", ["GABAzine"], "granule", "evoked"),
    ("granule cells, Control, 1000 to 1060 ms (Hz)", ["Control"], "granule", "evoked"),
    ("Golgi cells, both, 0 to 1000 ms (Hz)", ["Control", "GABAzine"], "golgi", "before"),
    ("Golgi cells, both, 1000 to 1060 ms (Hz)", ["Control", "GABAzine"], "golgi", "evoked"),
]


def t_quantile(p, df):
    """Quantile p > 0.5 of Student's t: bisection of its distribution, which Simpson's rule sums."""
    log_scale = math.lgamma((df + 1) / 2) - math.lgamma(df / 2) - math.log(df * math.pi) / 2

    def cdf(t):
        x = np.linspace(0, t, 2001)
        y = np.exp(log_scale - (df + 1) / 2 * np.log1p(x * x / df))
        return 0.5 + (y[0] + 4 * y[1::2].sum() + 2 * y[2:-1:2].sum() + y[-1]) * (x[1] - x[0]) / 3

    low, high = 0.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if cdf(middle) < p else (low, middle)
    return low


def tost_power(bound, sd, n):
    """Probability that two one-sided tests at 5 % find equivalence, if the true difference is 0."""
    df, error = n - 1, sd / math.sqrt(n)
    # Over the distribution of s/sd, where df·(s/sd)² is χ².
    ratio = np.linspace(1e-3, 3, 3000)
    weight = np.exp((df - 1) * np.log(ratio) - df * (ratio**2 - 1) / 2)
    room = (bound - t_quantile(0.95, df) * ratio * error) / error
    found = [2 * NORMAL.cdf(x) - 1 if x > 0 else 0.0 for x in room]
    return float(np.sum(weight * found) / np.sum(weight))


def read_values():
    """{measure: {noise: values by seed}} and {measure: bound}."""
    values, bounds = {}, {}
    for row in csv.DictReader(open(DOCS / "validation.csv", encoding="utf-8")):
        bounds[row["measure"]] = float(row["bound"])
        values.setdefault(row["measure"], {}).setdefault(row["noise"], []).append(float(row["value"]))
    return {m: {noise: np.array(x) for noise, x in of.items()} for m, of in values.items()}, bounds


def paired(a, b):
    """Mean and standard error of the differences within the seeds that both have."""
    n = min(len(a), len(b))
    difference = a[:n] - b[:n]
    return difference.mean(), difference.std(ddof=1) / math.sqrt(n)


def digits(x, of):
    """x with the decimals that two digits of `of` need."""
    return f"{x:.{max(0, 1 - math.floor(math.log10(of)))}f}"


def signed(x, of):
    text = digits(abs(x), of)
    return ("+" if x > 0 else "−") + text if float(text) else text


def percent(x):
    """At least two digits, without an exponent."""
    return digits(100 * x, 100 * x) if x < 0.1 else f"{100 * x:.0f}"


def equivalence():
    values, bounds = read_values()
    lines = [
        "| measure | exact, mean ± SD of seeds | `pcg` − exact, 90 % CI | bound | bound / mean | bound / SD | limit / mean |",
        "|---|---|---|---|---|---|---|",
    ]
    power = []
    for measure, of in values.items():
        exact, n = of[EXACT], len(of[EXACT])
        mean, sd = exact.mean(), exact.std(ddof=1)
        difference, error = paired(of[PCG], exact)
        half, bound = t_quantile(0.95, n - 1) * error, bounds[measure]
        power.append(tost_power(bound, error * math.sqrt(n), n))
        assert abs(difference) + half < bound, f"{measure} is not equivalent"
        lines.append(
            f"| {measure} | {digits(mean, sd)} ± {digits(sd, sd)} "
            f"| {signed(difference, half)} ± {digits(half, half)} | {bound} "
            f"| {percent(bound / mean)} % | {bound / sd:.2f} | {percent((abs(difference) + half) / mean)} % |"
        )
    all_found = math.floor(1000 * (1 - sum(1 - p for p in power))) / 1000
    lines += ["", f"Power: if the true differences are 0 and the SDs are those observed, all {len(power)} measures pass with a "
              f"probability of at least {all_found:.3f}."]
    return lines


def errors():
    """What wrong noise does to the measures that it changes most, with the same normals."""
    values, bounds = read_values()
    lines = [
        "| error of the noise of `pcg` | measure | change ± SE | change / bound | error at which change = bound |",
        "|---|---|---|---|---|",
    ]
    noises = [noise for noise in next(iter(values.values())) if noise not in (EXACT, PCG)]
    for noise in noises:
        rows = []
        for measure, of in values.items():
            change, error = paired(of[noise], of[PCG])
            rows.append((abs(change) / bounds[measure], change, error, measure))
        rows.sort(reverse=True)
        error_of_noise = noise.removeprefix("pcg, ")
        size = float(error_of_noise.split()[-1]) - 1
        for ratio, change, error, measure in rows[:2]:
            lines.append(
                f"| {error_of_noise} | {measure} | {signed(change, error)} ± {digits(error, error)} "
                f"| {ratio:.1f} | {percent(size / ratio)} % |"
            )
    return lines


def read_steps():
    """{(condition, step, population, window): spikes by seed}"""
    spikes = {}
    for row in csv.DictReader(open(DOCS / "validation-steps.csv", encoding="utf-8")):
        for population in CELLS:
            for window in SECONDS:
                key = row["condition"], row["step_ms"], population, window
                spikes.setdefault(key, []).append(int(row[f"{population}_{window}"]))
    return {key: np.array(x) for key, x in spikes.items()}


def step_rates():
    """For each measure, the rate of every seed with each step."""
    spikes = read_steps()
    for measure, conditions, population, window in STEP_MEASURES:
        scale = TRIALS * CELLS[population] * SECONDS[window]
        yield measure, [np.mean([spikes[c, step, population, window] for c in conditions], 0) / scale for step in STEPS]


def steps():
    lines = [
        "| rate | at 0.025 ms, mean ± SE | 0.1 ms − 0.025 ms, 95 % CI | of the rate | 0.05 ms − 0.025 ms, 95 % CI | of the rate | first − 3 × second, 95 % CI |",
        "|---|---|---|---|---|---|---|",
    ]
    for measure, rates in step_rates():
        finest, n = rates[-1], len(rates[-1])
        mean, error = finest.mean(), finest.std(ddof=1) / math.sqrt(n)
        row = f"| {measure} | {digits(mean, error)} ± {digits(error, error)} |"
        for rate in rates[:2]:
            difference, error = paired(rate, finest)
            half = t_quantile(0.975, n - 1) * error
            relative, of = 100 * difference / mean, 100 * half / mean
            row += f" {signed(difference, half)} ± {digits(half, half)} | {signed(relative, of)} ± {digits(of, of)} % |"
        # 0 if the error is proportional to the step.
        order, error = paired(rates[0] - finest, 3 * (rates[1] - finest))
        half = t_quantile(0.975, n - 1) * error
        row += f" {signed(order, half)} ± {digits(half, half)} |"
        lines.append(row)
    return lines


def picture(path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    values, bounds = read_values()
    figure, (forest, of_steps) = plt.subplots(
        1, 2, figsize=(12.5, 5.6), layout="constrained", gridspec_kw={"width_ratios": [1.5, 1]}
    )
    for y, (measure, of) in enumerate(values.items()):
        difference, error = paired(of[PCG], of[EXACT])
        half = t_quantile(0.95, len(of[EXACT]) - 1) * error
        bound = bounds[measure]
        forest.errorbar(difference / bound, y, xerr=half / bound, fmt="o", color="#0072b2", markersize=4, capsize=3)
        text = f"±{bound:g} ({percent(bound / of[EXACT].mean())} %)"
        forest.annotate(text, (1.04, y), xycoords=("axes fraction", "data"), va="center", fontsize=8)
    forest.annotate("bound (of the mean)", (1.04, -1), xycoords=("axes fraction", "data"), va="center", fontsize=8,
                    annotation_clip=False)
    forest.axvline(0, color="0.6", linewidth=0.8)
    for x in (-1, 1):
        forest.axvline(x, color="#d55e00", linestyle="--", linewidth=1)
    forest.set(xlim=(-1.15, 1.15), ylim=(len(values) - 0.5, -0.6), xlabel="pcg − exact, in bounds: mean and 90 % CI",
               yticks=range(len(values)))
    forest.set_yticklabels(list(values), fontsize=8)
    forest.set_title("Same circuits, noise of each engine", fontsize=10)

    colors = ["#0072b2", "#56b4e9", "#009e73", "#d55e00", "#e69f00"]
    for i, (measure, rates) in enumerate(step_rates()):
        mean, n = rates[-1].mean(), len(rates[-1])
        points = [paired(rate, rates[-1]) for rate in rates[:2]]
        y = [100 * difference / mean for difference, _ in points]
        half = [100 * t_quantile(0.975, n - 1) * error / mean for _, error in points]
        x = np.array([float(step) for step in STEPS[:2]]) + 0.0025 * (i - 2)
        of_steps.errorbar(x, y, half, fmt="o", color=colors[i], markersize=4, capsize=3,
                          label=measure.replace(" (Hz)", ""))
    of_steps.axhline(0, color="0.6", linewidth=0.8)
    of_steps.set(xlim=(0.03, 0.12), xticks=[0.05, 0.1], xlabel="step (ms)",
                 ylabel="change from the rate at 0.025 ms (%), 95 % CI")
    bottom, top = of_steps.get_ylim()
    of_steps.set_ylim(bottom, top + 0.45 * (top - bottom))
    of_steps.legend(fontsize=8, loc="upper left", frameon=False)
    of_steps.set_title("Step length", fontsize=10)
    figure.get_layout_engine().set(wspace=0.06)
    figure.savefig(path, dpi=110)


def run_steps(directory, granule):
    directory.mkdir(parents=True, exist_ok=True)
    sweep, out, psth = directory / "steps.yaml", directory / "out", directory / "psth.csv"
    sweep.write_text(SWEEP, encoding="utf-8")
    subprocess.run([granule, "run", sweep, "--out", out], check=True)
    subprocess.run([granule, "export", out, "--psth", psth, "--bin", "20", "--force"], check=True)
    counts = {}
    for row in csv.DictReader(open(psth, encoding="utf-8")):
        time = int(row["time_ms"])
        if time < 1060:
            condition, step = row["condition"].split("-")
            of = counts.setdefault((condition, step, int(row["seed"])), {})
            column = f"{row['population']}_{'before' if time < 1000 else 'evoked'}"
            of[column] = of.get(column, 0) + int(row["spikes"])
    columns = [f"{population}_{window}" for population in CELLS for window in SECONDS]
    with open(DOCS / "validation-steps.csv", "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["condition", "step_ms", "seed", *columns])
        for key in sorted(counts, key=lambda key: (key[0], -float(key[1]), key[2])):
            table.writerow([*key, *(counts[key][column] for column in columns)])


def with_tables(text):
    """The page with its tables made anew."""
    for name, table in {"equivalence": equivalence, "errors": errors, "steps": steps}.items():
        start, end = f"<!-- {name}: made by validation.py -->\n", "<!-- end -->"
        before, rest = text.split(start)
        _, after = rest.split(end, 1)
        text = before + start + "\n".join(table()) + "\n" + end + after
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--steps", type=Path)
    parser.add_argument("--granule", default=DOCS.parent / "target/release/granule")
    options = parser.parse_args()
    page = DOCS / "validation.md"
    if options.picture:
        picture(options.picture)
        return
    if options.steps:
        run_steps(options.steps.resolve(), options.granule)
        return
    text = page.read_text(encoding="utf-8")
    made = with_tables(text)
    if options.check:
        if made != text:
            sys.exit("docs/validation.md: tables differ from the data; run python docs/validation.py")
        return
    page.write_text(made, encoding="utf-8")
    picture(DOCS / "validation.png")


if __name__ == "__main__":
    main()
