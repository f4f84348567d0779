"""Makes the tables and the figure of docs/validation.md from docs/validation.csv and docs/validation-steps.csv.

    GRANULE_VALIDATION=paper cargo test --release -p granule --test alone validation:: -- --nocapture
    cp target/tmp/validation.csv docs/                copy all values, which the test writes
    python docs/validation.py --steps target/steps    run the sweep of the step study there and write its data
    python docs/validation.py                         write the tables and docs/validation.png
    python docs/validation.py --check                 fail if the tables differ from the data
    python docs/validation.py --picture FILE          draw the figure only

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
BRIAN, PCG = "brian2-2.2.1", "pcg"
WRONG = ["pcg, sigma × 1.05", "pcg, tau × 1.1"]
SMALLER, DEFAULT = "pcg, weights × 0.962", "brian2-2.2.1, default weights"
EVOKED = "{}: evoked spikes per driven cell and trial"
TIME = "GABAzine: mean time of evoked spikes (ms)"
# Pairing does not help these measures: they depend on the noise and hardly on the circuit.
OF_NOISE = ["Control: coefficient of variation of Golgi intervals", "GABAzine: background rate of granule cells (Hz)",
            "GABAzine: Fano factor of background spikes in 10 ms"]
NORMAL = statistics.NormalDist()
RESAMPLES = 20_000

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
# Golgi cells follow the same law in both conditions, with noise of their own. So the mean of both is more precise.
STEP_MEASURES = [
    ("granule cells, GABAzine, 0 to 1000 ms (Hz)", ["GABAzine"], "granule", "before"),
    ("granule cells, GABAzine, 1000 to 1060 ms (Hz)", ["GABAzine"], "granule", "evoked"),
    ("granule cells, Control, 1000 to 1060 ms (Hz)", ["Control"], "granule", "evoked"),
    ("Golgi cells, Control and GABAzine, 0 to 1000 ms (Hz)", ["Control", "GABAzine"], "golgi", "before"),
    ("Golgi cells, Control and GABAzine, 1000 to 1060 ms (Hz)", ["Control", "GABAzine"], "golgi", "evoked"),
]


def t_below(t, df):
    """Probability that Student's t is below t > 0, by Simpson's rule."""
    log_scale = math.lgamma((df + 1) / 2) - math.lgamma(df / 2) - math.log(df * math.pi) / 2
    x = np.linspace(0, t, 2001)
    y = np.exp(log_scale - (df + 1) / 2 * np.log1p(x * x / df))
    return 0.5 + (y[0] + 4 * y[1::2].sum() + 2 * y[2:-1:2].sum() + y[-1]) * (x[1] - x[0]) / 3


def bisect(f, low, high):
    """The root of f, which ascends, between low and high."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if f(middle) < 0 else (low, middle)
    return low


def t_quantile(p, df):
    return bisect(lambda t: t_below(t, df) - p, 0.0, 20.0)


def upper_ratio(df):
    """The upper 95 % limit of an SD over the observed SD: √(df / quantile 0.05 of χ²)."""
    x = np.linspace(1e-6, 10 * df, 200_001)
    density = np.exp((df / 2 - 1) * np.log(x / df) - (x - df) / 2)
    below = np.cumsum(density) / density.sum()
    return math.sqrt(df / x[np.searchsorted(below, 0.05)])


def resampled_size(differences, bound):
    """How often resampled seeds pass two one-sided tests at 5 %, if the true difference equals the bound."""
    n = len(differences)
    rows = differences[np.random.RandomState(1).randint(0, n, (RESAMPLES, n))] - differences.mean()
    room = t_quantile(0.95, n - 1) * rows.std(axis=1, ddof=1) / math.sqrt(n)
    return max(np.mean(np.abs(rows.mean(axis=1) + at) + room < bound) for at in (bound, -bound))


def excluding_zero(differences):
    """How many 90 % CIs exclude 0, and the probabilities of at most and of at least as many if the sign of each
    seed's differences is arbitrary: over all signs of whole seeds. A row for each measure."""
    n = differences.shape[1]
    limit = t_quantile(0.95, n - 1)
    squares = (differences**2).sum(axis=1)
    # The opposite of all signs gives the same number. So the sign of the last seed is fixed.
    signs = 1 - 2 * ((np.arange(2 ** (n - 1))[:, None] >> np.arange(n)) & 1)
    counts = np.zeros(len(signs), int)
    for row, square in zip(differences, squares):
        mean = signs @ row / n
        counts += np.abs(mean) > limit * np.sqrt((square - n * mean**2) / (n - 1) / n)
    return counts[0], np.mean(counts <= counts[0]), np.mean(counts >= counts[0])


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
    """{measure: {run: values by seed}} and {measure: bound}."""
    values, bounds = {}, {}
    for row in csv.DictReader(open(DOCS / "validation.csv", encoding="utf-8")):
        bounds[row["measure"]] = float(row["bound"])
        values.setdefault(row["measure"], {}).setdefault(row["run"], []).append(float(row["value"]))
    return {m: {run: np.array(x) for run, x in of.items()} for m, of in values.items()}, bounds


def paired(a, b):
    """Mean and standard error of the differences within the seeds that are in both."""
    n = min(len(a), len(b))
    difference = a[:n] - b[:n]
    return difference.mean(), difference.std(ddof=1) / math.sqrt(n)


def digits(x, of):
    """Formats x with as many decimals as two digits of `of` need."""
    return f"{x:.{max(0, 1 - math.floor(math.log10(of)))}f}"


def signed(x, of):
    text = digits(abs(x), of)
    return ("+" if x > 0 else "−") + text if float(text) else text


def percent(x):
    """Formats a percentage with at least two digits and without an exponent."""
    return digits(100 * x, 100 * x) if x < 0.1 else f"{100 * x:.0f}"


def equivalence():
    values, bounds = read_values()
    lines = [
        "| measure | `brian2-2.2.1` noise, mean ± SD of seeds | `pcg` noise − `brian2-2.2.1` noise, 90 % CI "
        "| bound | bound / mean | bound / SD | limit / mean |",
        "|---|---|---|---|---|---|---|",
    ]
    differences, power, at_limit, p_values, sizes, failed, paired_by = [], [], [], [], [], [], {}
    for measure, of in values.items():
        brian, n = of[BRIAN], len(of[BRIAN])
        mean, sd = brian.mean(), brian.std(ddof=1)
        difference, error = paired(of[PCG], brian)
        half, bound = t_quantile(0.95, n - 1) * error, bounds[measure]
        differences.append(of[PCG] - brian)
        power.append(tost_power(bound, error * math.sqrt(n), n))
        at_limit.append(tost_power(bound, upper_ratio(n - 1) * error * math.sqrt(n), n))
        p_values.append((1 - t_below((bound - abs(difference)) / error, n - 1), measure))
        sizes.append(resampled_size(differences[-1], bound))
        paired_by[measure] = math.hypot(sd, of[PCG].std(ddof=1)) / (error * math.sqrt(n))
        if abs(difference) + half >= bound:
            failed.append(measure)
        of_mean = [f"{percent(x / mean)} %" if measure != TIME else "–" for x in (bound, abs(difference) + half)]
        lines.append(
            f"| {measure} | {digits(mean, sd)} ± {digits(sd, sd)} "
            f"| {signed(difference, half)} ± {digits(half, half)} | {bound} "
            f"| {of_mean[0]} | {bound / sd:.2f} | {of_mean[1]} |"
        )
    count, fewer, more = excluding_zero(np.array(differences))
    tail, chance = ("fewer", fewer) if count < len(values) / 10 else ("more", more)
    outcome = f"{count} or {tail} CIs exclude 0" if count else "no CI excludes 0"
    largest, of_largest = max(p_values)
    response = [x for measure, x in paired_by.items() if "evoked" in measure and measure != TIME]
    of_noise = [paired_by[measure] for measure in OF_NOISE]
    over = sum(size > 0.06 for size in sizes)
    lines += [
        "",
        f"- {len(values) - len(failed)} of {len(values)} measures are equivalent" + "".join(f"; not: {m}" for m in failed)
        + f". The largest of the p-values is {largest:.2g} ({of_largest}).",
        f"- {count} of {len(values)} CIs exclude 0. If all true differences were 0, {len(values) / 10:.1f} CIs would exclude 0 on average. "
        f"The probability that {outcome} would then be {chance:.2g}. (For this, the signs of the differences of whole seeds "
        "are flipped in all possible ways.) Equivalent does not mean equal.",
        f"- Power: if the true differences are 0, all measures pass with a probability of about {1 - sum(1 - x for x in power):.3f} "
        f"with the observed SDs. The probability is at least {math.floor(100 * (1 - sum(1 - x for x in at_limit))) / 100:.2f} if every SD is at its "
        f"upper 95 % limit. The error rate of 5 % assumes normal differences. Without this assumption, seeds are resampled, with differences "
        f"shifted so that their mean is the bound. Then the rate is above 6 % for {over} measures, and at most {100 * max(sizes):.0f} %.",
        f"- Pairing by seed divides the SD of the difference by {min(response):.0f} to {max(response):.0f} for evoked spikes. For the background "
        f"rate, the Fano factor and the coefficient of variation, the factors are {min(of_noise):.1f} to {max(of_noise):.1f}.",
    ]
    return lines


def errors():
    """How wrong noise changes the measures that it changes most, with the same normals."""
    values, bounds = read_values()
    lines = [
        "| error of the noise of `pcg` | measure | change ± SE | change / bound | error at which change = bound |",
        "|---|---|---|---|---|",
    ]
    others = []
    for run in WRONG:
        rows = []
        for measure, of in values.items():
            change, error = paired(of[run], of[PCG])
            rows.append((abs(change) / bounds[measure], change, error, measure))
        rows.sort(reverse=True)
        name = run.removeprefix("pcg, ")
        factor = float(name.split()[-1])
        for ratio, change, error, measure in rows[:2]:
            mean = values[measure][PCG][: len(values[measure][run])].mean()
            power = math.log(1 + change / mean) / math.log(factor)
            at_bound = math.exp(math.log(1 + math.copysign(bounds[measure], change) / mean) / power) - 1
            lines.append(
                f"| {name} | {measure} | {signed(change, error)} ± {digits(error, error)} | {ratio:.1f} | {100 * at_bound:.1g} % |"
            )
        others.append((rows[2][0], name))
    lines += ["", "The other measures change by at most " + " and ".join(f"{ratio:.1f} bounds ({name})" for ratio, name in others) + "."]
    return lines


def weights():
    """Evoked spikes with smaller weights, and in a sweep of brian2-2.2.1."""
    values, _ = read_values()
    lines = [
        "| evoked spikes per driven cell and trial | change with weights × 0.962, ± SE | weights of each seed: mean, SD / mean "
        "| default weights: mean, SD / mean |",
        "|---|---|---|---|",
    ]
    for condition in ["Control", "GABAzine", "ACh"]:
        of = values[EVOKED.format(condition)]
        n = len(of[SMALLER])
        change, error = (100 * x / of[PCG][:n].mean() for x in paired(of[SMALLER], of[PCG]))
        row = f"| {condition} | {signed(change, error)} ± {digits(error, error)} % |"
        for run in (BRIAN, DEFAULT):
            mean, sd = of[run].mean(), of[run].std(ddof=1)
            row += f" {mean:.3g}, {100 * sd / mean:.0f} % |"
        lines.append(row)
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


def powers(coarse, middle, finest):
    """The powers k, from 0 to 4, for which an error proportional to step^k is within the 95 % CI of the differences
    from the finest step. They have the ratio (4^k − 1) / (2^k − 1) = 2^k + 1."""
    n = len(finest)
    limit = t_quantile(0.975, n - 1)
    fit = []
    for k in np.linspace(0, 4, 401):
        mean, error = paired(coarse - finest, (2**k + 1) * (middle - finest))
        if abs(mean) < limit * error:
            fit.append(k)
    if not fit:
        return "none"
    low, high = fit[0], fit[-1]
    if high == 4:
        return "any" if low == 0 else f"above {low:.1f}"
    return f"{low:.1f} to {high:.1f}" if low > 0 else f"below {high:.1f}"


def steps():
    lines = [
        "| rate | at 0.025 ms, mean ± SE | 0.1 ms − 0.025 ms, 95 % CI | of the rate | 0.05 ms − 0.025 ms, 95 % CI | of the rate | powers of the step, 95 % CI |",
        "|---|---|---|---|---|---|---|",
    ]
    proportional = []
    for measure, rates in step_rates():
        finest, n = rates[-1], len(rates[-1])
        mean, error = finest.mean(), finest.std(ddof=1) / math.sqrt(n)
        row = f"| {measure} | {digits(mean, error)} ± {digits(error, error)} |"
        for rate in rates[:2]:
            difference, error = paired(rate, finest)
            half = t_quantile(0.975, n - 1) * error
            relative, of = 100 * difference / mean, 100 * half / mean
            row += f" {signed(difference, half)} ± {digits(half, half)} | {signed(relative, of)} ± {digits(of, of)} % |"
        lines.append(row + f" {powers(*rates)} |")
        # If the error is proportional to the step, a third of the first difference remains at the finest step.
        left = paired(rates[0], finest)[0] / 3
        if "granule" in measure:
            proportional.append((4 * left / (mean - left), left / (mean - left), measure))
    high = [f"{100 * x:.1f}" for x in (min(proportional)[0], max(proportional)[0])]
    low = [f"{100 * f(x[1] for x in proportional):.1f}" for f in (min, max)]
    lines += ["", f"- If the error is proportional to the step, rates of granule cells are {high[0]} to {high[1]} % too high at 0.1 ms. At 0.025 ms, they are "
              f"{low[0]} to {low[1]} % too high. This is not measured."]
    return lines


def picture(path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    values, bounds = read_values()
    figure, (forest, of_steps) = plt.subplots(
        1, 2, figsize=(12.5, 5.6), layout="constrained", gridspec_kw={"width_ratios": [1.4, 1]}
    )
    beside = {"xycoords": ("axes fraction", "data"), "va": "center", "fontsize": 8, "annotation_clip": False}
    for y, (measure, of) in enumerate(values.items()):
        difference, error = paired(of[PCG], of[BRIAN])
        half = t_quantile(0.95, len(of[BRIAN]) - 1) * error
        bound = bounds[measure]
        forest.errorbar(difference / bound, y, xerr=half / bound, fmt="o", color="#0072b2", markersize=4, capsize=3)
        part = f" ({percent(bound / of[BRIAN].mean())} %)" if measure != TIME else ""
        forest.annotate(f"±{bound:g}{part}", (1.03, y), **beside)
    forest.annotate("bound (% of mean)", (1.03, -1), **beside)
    forest.axvline(0, color="0.6", linewidth=0.8)
    for x in (-1, 1):
        forest.axvline(x, color="#d55e00", linestyle="--", linewidth=1)
    forest.set(xlim=(-1.15, 1.15), ylim=(len(values) - 0.5, -0.6), yticks=range(len(values)),
               xlabel="difference as a fraction of the bound (mean, 90 % CI)")
    forest.set_yticklabels(list(values), fontsize=8)
    forest.set_title("pcg noise − brian2-2.2.1 noise, same circuits", fontsize=10)

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
                 ylabel="difference from the rate at 0.025 ms (%, mean, 95 % CI)")
    bottom, top = of_steps.get_ylim()
    of_steps.set_ylim(bottom, top + 0.45 * (top - bottom))
    of_steps.legend(fontsize=7, loc="upper left", frameon=False)
    of_steps.set_title("rates at longer steps, engine pcg", fontsize=10)
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
    """Returns the page with new tables."""
    for name, table in {"weights": weights, "equivalence": equivalence, "errors": errors, "steps": steps}.items():
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
