"""Races granule against Brian2 and NEST on the model of Fore et al. 2020.

    cargo build --release
    python3 -m venv target/race-venv
    target/race-venv/bin/pip install -r benches/race/requirements.txt
    target/race-venv/bin/python benches/race/race.py --out target/race

Needs Linux and a C++ compiler (Brian2 compiles its code). With --quick it takes some minutes
and leaves NEST out; the full race takes half an hour on two cores. All racers get the same
wiring and weights and draw their own noise. Whole processes are measured, from start to files
written: wall time, CPU time, and memory summed over the process tree without compilers. Runs
of three lengths separate the cost of a trial (slope) from the fixed cost (intercept). granule
runs the *whole job*, all trials of the paper. The time of the others is extrapolated as
compiling + fixed + trials x slope, and labelled so, unless --whole is given. Compiled code is
kept between runs, as Brian2 can. Runs of no trials come first and measure the time to compile.

Writes results.json, race.md, race.png and race.svg to --out. Exits with code 1 if a racer's
spike counts are not those of the model, so that its times mean nothing.
"""

import argparse
import concurrent.futures
import dataclasses
import datetime
import importlib.metadata
import importlib.util
import json
import math
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib import ticker

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
# The project's reference implementation draws the network, so that all racers share it.
sys.path.insert(0, str(ROOT / "tests" / "oracle"))
import oracle  # noqa: E402

PREFIXES = {"Control": "control", "GABAzine": "gaba", "ACh": "ach"}
N_MOSSY, N_GRANULE, N_GOLGI, N_STEPS = 315, 4096, 27, 20_000
SEED, WEIGHT_SEED, TONIC_SEED = 451, 35, 1
PAPER_TRIALS = 100
PAPER_GRANULE_SPIKES = {"Control": 28_038, "GABAzine": 504_448, "ACh": 18_801}
PAPER_GOLGI_SPIKES = {"Control": 20_095, "GABAzine": 20_092, "ACh": 62}
# Compilers run before the model does. Their memory is not the simulator's.
COMPILERS = {"make", "g++", "gcc", "c++", "cc", "cc1plus", "cc1", "as", "ld", "collect2"}
SAMPLE_S = 0.05


# ------------------------------------------------------------------------- measuring


@dataclass
class Usage:
    """The cost of processes that ran side by side."""

    trials: int
    cells: int
    cores: int
    wall_s: float
    cpu_s: float
    peak_mb: float


def tree_rss(pid: int) -> int:
    """Returns the resident bytes of a process and its descendants, without compilers.

    Reads /proc directly, because walking all processes would disturb the measurement.
    """
    try:
        proc = Path(f"/proc/{pid}")
        comm = (proc / "comm").read_text().strip()
        pages = 0 if comm in COMPILERS else int((proc / "statm").read_text().split()[1])
        total = pages * os.sysconf("SC_PAGE_SIZE")
        for task in (proc / "task").iterdir():
            total += sum(tree_rss(int(child)) for child in (task / "children").read_text().split())
        return total
    except (FileNotFoundError, ProcessLookupError):
        return 0  # it ended meanwhile


def run(commands: list[list[str]], cores: list[int], log: Path) -> tuple[float, float, float]:
    """Runs commands side by side on some cores; returns wall s, CPU s, peak MB."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(len(cores))}
    with log.open("ab") as sink:
        started = time.perf_counter()
        children = [
            subprocess.Popen(
                command, stdout=sink, stderr=sink, env=environment,
                preexec_fn=lambda: os.sched_setaffinity(0, cores),
            )
            for command in commands
        ]  # fmt: skip
        with concurrent.futures.ThreadPoolExecutor(len(children)) as pool:
            # Only wait4 returns the CPU time of a child together with that of its descendants.
            waits = [pool.submit(os.wait4, child.pid, 0) for child in children]
            peak = 0
            while concurrent.futures.wait(waits, timeout=SAMPLE_S).not_done:
                peak = max(peak, sum(tree_rss(child.pid) for child in children))
        wall = time.perf_counter() - started
    cpu = 0.0
    for child, command, wait in zip(children, commands, waits, strict=True):
        _, status, usage = wait.result()
        child.returncode = os.waitstatus_to_exitcode(status)  # Popen cannot wait any more
        if child.returncode:
            tail = log.read_text(errors="replace")[-2000:]
            sys.exit(f"{shlex.join(command)} failed ({child.returncode}):\n{tail}")
        cpu += usage.ru_utime + usage.ru_stime
    return wall, cpu, peak / 1e6


# ---------------------------------------------------------------------------- racers


@dataclass
class Race:
    """Settings that all measurements share."""

    temp: Path
    cores: list[int]
    granule: Path
    trials: list[int]  # the three lengths
    repeats: int  # of granule, the best of which counts
    large: int  # factor of the larger network; 1: none

    def network(self, cells: int) -> Path:
        """Draws wiring, weights and tonic factors of a network size, once.

        A larger network has more granule cells, but as many mossy fibres and Golgi cells as
        before. So every granule cell keeps its four and four synapses.
        """
        path = self.temp / f"network-{cells}.npz"
        if not path.exists():
            size = SimpleNamespace(seed=SEED, mossy=N_MOSSY, granule=cells, golgi=N_GOLGI)
            net = oracle.build_network(size, np.random.RandomState(SEED))
            tonic = oracle.gamma(np.random.RandomState(TONIC_SEED), 0.4, 0.07, cells)
            np.savez(
                path,
                n_mossy=N_MOSSY, n_granule=cells, n_golgi=N_GOLGI, active=net.active,
                mf_grc=np.argwhere(net.mf_grc).astype(np.int32),
                mf_goc=np.argwhere(net.mf_goc).astype(np.int32),
                goc_grc=np.argwhere(net.goc_grc).astype(np.int32),
                weights_ns=oracle.mossy_weights_ns(len(net.active), PAPER_TRIALS, WEIGHT_SEED),
                ones=np.ones(cells), zeros=np.zeros(cells), tonic_ach=tonic,
            )  # fmt: skip
        return path

    def sweep(self, trials: int, cells: int) -> Path:
        path = self.temp / f"race-{trials}-{cells}.yaml"
        path.write_text(
            "granule: 1\nname: race\nengine: brian2-2.2.1\n"
            f"network: {{ mossy_fibers: {N_MOSSY}, granule_cells: {cells},"
            f" golgi_cells: {N_GOLGI} }}\n"
            f"weights: {{ random: true, seed: {WEIGHT_SEED} }}\n"
            f"seeds: [{SEED}]\ntrials: {trials}\nconditions: [{', '.join(PREFIXES)}]\n"
        )
        return path


@dataclass
class Racer:
    """A program that can run the job."""

    key: str
    label: str
    colour: str
    script: str | None = None  # of this folder; None: granule itself
    options: tuple[str, ...] = ()
    # How a racer uses more cores: "workers" (granule), "threads" of one process, or "processes"
    # that share the trials.
    scaling: str = "workers"
    compiles: bool = False  # and keeps compiled code in a --cache
    tolerance: float = 0.1  # of spike counts, beside five standard errors
    slow: bool = False  # gets two short runs and no larger network

    def lengths(self, race: Race) -> list[int]:
        """Trials of the runs, shortest first."""
        if self.slow:
            return [1, 2]
        # granule's trials are so short that in runs as long as the others' noise would dominate.
        return [4 * t for t in race.trials] if self.script is None else race.trials

    def measure(self, race: Race, trials: int, cells: int, cores: int) -> Usage:
        """Runs the job once; the results are in `out(race)` afterwards."""
        shutil.rmtree(self.out(race), ignore_errors=True)
        commands, parts = self._commands(race, trials, cells, cores)
        where = f"{self.label}: {trials} trials, {cells} cells, {cores} core(s)"
        print(where, end=" ", file=sys.stderr, flush=True)
        wall, cpu, peak = run(commands, race.cores[-cores:], race.temp / f"{self.key}.log")
        if trials and len(parts) > 1:
            started = time.perf_counter()
            merge(parts, self.out(race))
            wall += time.perf_counter() - started
        print(f"{wall:.1f} s", file=sys.stderr)
        return Usage(trials, cells, cores, wall, cpu, peak)

    def out(self, race: Race) -> Path:
        return race.temp / f"out-{self.key}"

    def _commands(
        self, race: Race, trials: int, cells: int, cores: int
    ) -> tuple[list[list[str]], list[Path]]:
        out = self.out(race)
        if self.script is None:
            sweep = str(race.sweep(trials, cells))
            return [
                [str(race.granule), "run", sweep, "--out", str(out), "--workers", str(cores)]
            ], [out]
        base = [
            sys.executable, str(HERE / self.script), "--network", str(race.network(cells)),
            *self.options,
        ]  # fmt: skip
        if self.scaling == "threads":
            base += ["--threads", str(cores)]
        # A run without trials measures the compilation, which every share needs.
        shares = min(cores, trials or cores) if self.scaling == "processes" else 1
        bounds = [trials * k // shares for k in range(shares + 1)]
        parts = [out] if shares == 1 else [out / f"part-{k}" for k in range(shares)]
        commands = [
            [*base, "--first-trial", str(a), "--trials", str(b - a), "--out", str(part)]
            for a, b, part in zip(bounds, bounds[1:], parts, strict=False)
        ]
        if self.compiles:
            # Two processes cannot build one binary at the same time, and its sizes are fixed.
            # Cython's modules serve all processes.
            for k, command in enumerate(commands):
                name = self.key if self.key == "cython" else f"{self.key}-{cells}-{cores}-{k}"
                command += ["--cache", str(race.temp / name)]
        return commands, parts

    def spikes(self, race: Race, trials: int) -> dict[str, dict[str, int | None]]:
        """Granule and Golgi spikes per condition of the last run."""
        counts: dict[str, dict[str, int | None]] = {}
        if self.script is None:
            for name, prefix in PREFIXES.items():
                file = self.out(race) / f"seed-{SEED}" / f"randomized_{prefix}SpikeProb.npy"
                # No cell can spike twice in a millisecond, so probabilities count spikes.
                counts[name] = {"granule": round(np.load(file).sum() * trials), "golgi": None}
            return counts
        for name in PREFIXES:
            counts[name] = {"granule": 0, "golgi": 0}
            for file in self.out(race).rglob("report.json"):
                found = json.loads(file.read_text())["conditions"][name]
                counts[name]["granule"] += sum(found["granule_spikes"])
                counts[name]["golgi"] += sum(found["golgi_spikes"])
        return counts


def merge(parts: list[Path], out: Path) -> None:
    """Computes the means over all trials from the means of the parts, weighted by their trials."""
    reports = [json.loads((part / "report.json").read_text()) for part in parts]
    counts = [len(r["conditions"]["Control"]["granule_spikes"]) for r in reports]
    for file in parts[0].glob("*.npy"):
        if file.name.endswith(("SpikeProb.npy", "CondE.npy", "CondI.npy")):
            total = sum(
                n * np.load(part / file.name) for n, part in zip(counts, parts, strict=True)
            )
            np.save(out / file.name, total / sum(counts))
        elif file.name.endswith("Weights.npy"):
            tables = [np.load(part / file.name, allow_pickle=True).item() for part in parts]
            joined = {fibre: sum((t[fibre] for t in tables), []) for fibre in tables[0]}
            np.save(out / file.name, np.array(joined, dtype=object))
        else:
            shutil.copy(file, out)


def racers(with_nest: bool) -> list[Racer]:
    """All racers. The colours are those of Okabe and Ito, which colour-blind people can distinguish."""
    found = [
        Racer("granule", "granule", "#D55E00"),
        Racer(
            "cython", "Brian2, Cython", "#0072B2", "brian2_model.py",
            ("--target", "cython"), "processes", compiles=True,
        ),
        Racer(
            "standalone", "Brian2, C++", "#56B4E9", "brian2_model.py",
            ("--target", "standalone"), "processes", compiles=True,
        ),
        Racer(
            "openmp", "Brian2, C++ with OpenMP", "#009E73", "brian2_model.py",
            ("--target", "standalone"), "threads", compiles=True,
        ),
    ]  # fmt: skip
    if with_nest:
        found.append(
            Racer(
                "nest", "NEST, nearest match", "#CC79A7", "nest_model.py", (), "threads",
                tolerance=0.2, slow=True,
            )
        )  # fmt: skip
    return found


# -------------------------------------------------------------------------- analysis


@dataclass
class Line:
    """Wall time as a straight line in the number of trials."""

    fixed_s: float
    trial_s: float
    compile_s: float = 0.0  # on top in the first run, after which compiled code is kept

    def at(self, trials: int) -> float:
        return self.compile_s + self.fixed_s + trials * self.trial_s


@dataclass
class Result:
    """All results of a racer."""

    key: str
    label: str
    colour: str
    usages: list[Usage] = dataclasses.field(default_factory=list)
    one_core: Line | None = None  # None: not run on one core
    all_cores: Line | None = None
    large: Line | None = None
    ns: float | None = None  # per cell, step and condition on one core
    ns_all_cores: float | None = None
    whole: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    spikes: dict[str, dict[str, int | None]] = dataclasses.field(default_factory=dict)


def fit(usages: list[Usage], compiling: Usage | None) -> Line:
    slope, intercept = np.polyfit([u.trials for u in usages], [u.wall_s for u in usages], 1)
    if slope <= 0:
        print("warning: time does not grow with trials; is the machine busy?", file=sys.stderr)
        slope = math.nan
    fixed = max(float(intercept), 0.0)
    return Line(fixed, float(slope), max(compiling.wall_s - fixed, 0.0) if compiling else 0.0)


def nanoseconds(line: Line, cells: int) -> float:
    return line.trial_s * 1e9 / (len(PREFIXES) * (cells + N_GOLGI) * N_STEPS)


def compete(racer: Racer, race: Race, whole_trials: int, really: bool) -> Result:
    """Makes all measurements of a racer."""
    result = Result(racer.key, racer.label, racer.colour)
    is_granule = racer.script is None
    lengths = racer.lengths(race)
    n = len(race.cores)
    core_counts = [1] if n == 1 else [1, n]
    if racer.key == "openmp":
        core_counts = [c for c in core_counts if c > 1]  # one thread is another racer's

    def measure(trials: int, cells: int, cores: int) -> Usage:
        tries = race.repeats if is_granule else 1
        usages = [racer.measure(race, trials, cells, cores) for _ in range(tries)]
        best = min(usages, key=lambda u: u.wall_s)
        result.usages.append(best)
        return best

    def line(lengths: list[int], cells: int, cores: int) -> Line:
        compiling = measure(0, cells, cores) if racer.compiles else None
        return fit([measure(t, cells, cores) for t in lengths], compiling)

    for cores in core_counts:
        found = line(lengths, N_GRANULE, cores)
        if racer.key == "cython" and result.one_core is not None:
            found.compile_s = result.one_core.compile_s  # the run on one core compiled before
        if cores == 1:
            result.one_core = found
            result.ns = nanoseconds(found, N_GRANULE)
        if cores == n:
            result.all_cores = found
            result.ns_all_cores = nanoseconds(found, N_GRANULE)
    result.spikes = racer.spikes(race, lengths[-1])

    if race.large > 1 and result.one_core is not None and not racer.slow:
        cells = race.large * N_GRANULE
        result.large = line(lengths[:2], cells, 1)
    for cores in core_counts:
        found = result.one_core if cores == 1 else result.all_cores
        assert found is not None
        name = "one core" if cores == 1 else "all cores"
        if is_granule or really:
            usage = measure(whole_trials, N_GRANULE, cores)
            result.whole[name] = {
                "trials": whole_trials, "extrapolated": False, "wall_s": usage.wall_s,
                "cpu_s": usage.cpu_s, "peak_mb": usage.peak_mb,
                "spikes": racer.spikes(race, whole_trials),
            }  # fmt: skip
        else:
            peak = max(
                u.peak_mb for u in result.usages if u.cores == cores and u.cells == N_GRANULE
            )
            wall = found.at(whole_trials)
            result.whole[name] = {
                "trials": whole_trials, "extrapolated": True, "wall_s": wall, "peak_mb": peak
            }  # fmt: skip
    shutil.rmtree(racer.out(race), ignore_errors=True)
    return result


def check(results: list[Result], all_racers: list[Racer], race: Race) -> tuple[str, bool]:
    """Returns a table of spikes per trial, and whether all counts are the model's.

    Trials differ a lot, because all weights of a trial share a factor. So granule cells are
    compared with granule's in the same trials, where only the noise differs. granule does not
    report Golgi cells, so these are compared with the paper's mean. They fire by themselves in
    Control and GABAzine, and next to never under ACh.
    """
    passed = True

    def cell(found: int, expected: float, share: float, trials: int, width: int) -> str:
        nonlocal passed
        allowed = max(5 * math.sqrt(found + expected), share * expected)
        good = abs(found - expected) <= allowed
        passed &= good
        return f"{found / trials:>{width}.1f}{' ' if good else '!'}"

    conditions = "".join(f"{c:>12}" for c in PREFIXES) + "  "
    conditions += "".join(f"{c:>10}" for c in PREFIXES)
    lines = [
        "Spikes per trial",
        f"{'':32}{'granule cells':>36}  {'Golgi cells':>30}",
        f"{'':25}{'trials':>7}{conditions}",
    ]
    for result, racer in zip(results[1:], all_racers[1:], strict=True):
        trials = racer.lengths(race)[-1]
        all_racers[0].measure(race, trials, N_GRANULE, len(race.cores))
        reference = all_racers[0].spikes(race, trials)
        row, own = f"{result.label:25}{trials:>7}", f"{'  granule, the same trials':25}{trials:>6}"
        for name in PREFIXES:
            found, expected = result.spikes[name]["granule"], reference[name]["granule"]
            assert found is not None and expected is not None
            row += cell(found, expected, racer.tolerance, trials, 11)
            own += f"{expected / trials:>11.1f} "
        row += "  "
        for name in PREFIXES:
            golgi = result.spikes[name]["golgi"]
            assert golgi is not None
            expected = PAPER_GOLGI_SPIKES[name] * trials / PAPER_TRIALS
            row += cell(golgi, expected, 0.25, trials, 9)
        lines += [row, own]
    paper = f"{'paper':25}{PAPER_TRIALS:>7}"
    paper += "".join(f"{PAPER_GRANULE_SPIKES[c] / 100:>11.1f} " for c in PREFIXES)
    paper += "  " + "".join(f"{PAPER_GOLGI_SPIKES[c] / 100:>9.1f} " for c in PREFIXES)
    lines.append(paper)
    for name, whole in results[0].whole.items():
        counts = {c: whole["spikes"][c]["granule"] for c in PREFIXES}
        if whole["trials"] == PAPER_TRIALS and counts != PAPER_GRANULE_SPIKES:
            lines.append(f"! granule, whole job on {name}: {counts}, not the paper's")
            passed = False
    return "\n".join(lines), passed


# --------------------------------------------------------------------------- reports


def about(args: argparse.Namespace, race: Race, with_nest: bool) -> dict[str, Any]:
    cpu = platform.processor()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.split(":", 1)[1].strip()
            break
    packages = ["brian2", "cython", "numpy", *(["nest-simulator"] if with_nest else [])]

    def first_line(*command: str) -> str:
        return subprocess.run(command, capture_output=True, text=True).stdout.split("\n")[0]

    return {
        "date_utc": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": shlex.join([Path(sys.executable).name, *sys.argv]),
        "cpu": cpu,
        "cores": len(race.cores),
        "os": platform.platform(),
        "versions": {
            "granule": first_line(str(race.granule), "--version"),
            "python": platform.python_version(),
            "compiler": first_line(os.environ.get("CXX", "g++"), "--version"),
            **{p: importlib.metadata.version(p) for p in packages},
        },
        "network": {"mossy": N_MOSSY, "granule": N_GRANULE, "golgi": N_GOLGI, "steps": N_STEPS},
        "trials": race.trials,
    }


def duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def number(value: float | None, form: str = ".3g", unit: str = "") -> str:
    return "–" if value is None else f"{value:{form}}{unit}"


def markdown(results: list[Result], facts: dict[str, Any], whole_trials: int) -> str:
    """Formats the race as a table; `~` marks extrapolated values."""
    cores = facts["cores"]
    g = results[0]
    head = [
        "", "ns per cell, step and condition, one core", "granule's advantage",
        "fixed cost, one core", f"whole job, {whole_trials} trials × 3, one core",
        f"whole job, {cores} cores", "granule's advantage", "memory",
    ]  # fmt: skip
    rows = []
    for r in results:
        fixed = None if r.one_core is None else r.one_core.at(0)
        whole = {
            name: ("~" if w["extrapolated"] else "") + duration(w["wall_s"])
            for name, w in r.whole.items()
        }
        last = r.whole.get("all cores", r.whole.get("one core"))
        own = g.whole.get("all cores", g.whole["one core"])
        peak = max(w["peak_mb"] for w in r.whole.values()) if r.whole else None
        rows.append([
            r.label, number(r.ns),
            number(r.ns and r.ns / g.ns, ".1f", "×"), number(fixed, ".1f", " s"),
            whole.get("one core", "–"), whole.get("all cores", "–"),
            number(last and last["wall_s"] / own["wall_s"], ".1f", "×"),
            number(peak, ".0f", " MB"),
        ])  # fmt: skip
    table = [head, ["---"] * len(head), *rows]
    text = "\n".join("| " + " | ".join(row) + " |" for row in table)
    own = g.whole.get("all cores", g.whole["one core"])["wall_s"]
    one_process = "; ".join(
        f"{r.label} {r.whole['one core']['wall_s'] / own:.0f}×"
        for r in results[1:]
        if "one core" in r.whole
    )
    versions = ", ".join(f"{k} {v}" for k, v in facts["versions"].items() if k != "granule")
    return (
        f"{text}\n\nThe whole job in one process, as it is usually run, against granule on all"
        f" cores: {one_process}.\nOn all cores Brian2 runs one process per core but with OpenMP. NEST's neuron is not quite the"
        f" model's (see `nest_model.py`).\n~ extrapolated: fixed cost (compiling included) + {whole_trials} × cost of a trial."
        f" {facts['cpu']}, {cores} cores; {facts['versions']['granule']}; {versions};"
        f" {facts['date_utc']}; `{facts['command']}`\n"
    )


def plot(results: list[Result], race: Race, out: Path) -> None:
    """Plots the cost on one core as bars, and how time grows with the job and the machine."""
    plt.rcParams.update({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False})
    figure = plt.figure(figsize=(7.5, 6.2), layout="constrained")
    grid = figure.add_gridspec(2, 3, height_ratios=[1, 1.25])

    bars = figure.add_subplot(grid[0, :])
    one_core = [r for r in results if r.ns is not None and math.isfinite(r.ns)][::-1]
    drawn = bars.barh(
        [r.label for r in one_core], [r.ns for r in one_core], color=[r.colour for r in one_core]
    )
    slowest = max(r.ns for r in one_core)
    bars.bar_label(drawn, [f"{r.ns:.3g} ns" for r in one_core], padding=4)
    bars.set_xscale("log")
    bars.set_xlim(min(1.0, min(r.ns for r in one_core) / 2), slowest * 2.5)
    title = "Time per cell, step and condition on one core (ns, log scale)"
    bars.set_title(title, loc="left", fontsize=10)

    n = len(race.cores)
    trials, cells, cores = (figure.add_subplot(grid[1, k]) for k in range(3))
    for r in results:
        style = {"color": r.colour, "marker": "o", "markersize": 4, "label": r.label}
        runs = sorted(
            (u.trials, u.wall_s)
            for u in r.usages
            if u.cells == N_GRANULE and u.cores == 1 and u.trials
        )
        if runs:
            trials.plot(*zip(*runs, strict=True), **style)
        if r.one_core and r.large:
            times = [r.one_core.trial_s, r.large.trial_s]
            cells.plot([N_GRANULE, race.large * N_GRANULE], times, **style)
        if n > 1:
            lines = [(c, x.trial_s) for c, x in ((1, r.one_core), (n, r.all_cores)) if x]
            cores.plot([c for c, _ in lines], [s for _, s in lines], **style)
    trials.set(xlabel="trials", ylabel="time of a run, one core (s)")
    cells.set(xlabel="granule cells", ylabel="time per trial, one core (s)")
    cores.set(xlabel="cores", ylabel="time per trial (s)")
    for axes in (trials, cells, cores):
        if not axes.lines:  # nothing was measured, as with --quick
            axes.set_visible(False)
            continue
        axes.set(xscale="log", yscale="log")
        places = sorted({float(x) for line in axes.lines for x in line.get_xdata()})
        # Ticks are at the measured values, if there is room for all.
        if len(places) <= 4:
            axes.set_xticks(places)
            axes.margins(x=0.2)
        axes.xaxis.set_minor_locator(ticker.NullLocator())
        axes.yaxis.set_minor_locator(ticker.NullLocator())
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
    named = {}  # in a panel or two each
    for axes in (trials, cores):
        handles, labels = axes.get_legend_handles_labels()
        named |= dict(zip(labels, handles, strict=True))
    figure.legend(
        named.values(), named.keys(), loc="outside lower center", ncols=3, frameon=False
    )  # fmt: skip
    figure.savefig(out / "race.png", dpi=160)
    figure.savefig(out / "race.svg")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "target" / "race")
    parser.add_argument("--granule", type=Path, default=ROOT / "target" / "release" / "granule")
    parser.add_argument("--quick", action="store_true", help="few short runs, no larger network")
    parser.add_argument("--whole", action="store_true", help="really run the whole job everywhere")
    parser.add_argument("--trials", type=int, help="of the shortest run (2; quick: 1)")
    parser.add_argument("--cores", type=int, help="number of cores to use (all there are)")
    parser.add_argument("--only", nargs="+", help="racers to run beside granule, by key")
    parser.add_argument("--temp", type=Path, help="where the racers' files go (a temporary folder)")
    args = parser.parse_args()
    if not args.granule.exists():
        parser.error(f"{args.granule} is missing; run `cargo build --release` first")

    with_nest = importlib.util.find_spec("nest") is not None
    all_racers = racers(with_nest)
    if args.quick and not args.only:
        all_racers = [r for r in all_racers if not r.slow]
    if args.only:
        all_racers = [r for r in all_racers if r.script is None or r.key in args.only]
    whole_trials = 10 if args.quick else PAPER_TRIALS
    args.out.mkdir(parents=True, exist_ok=True)
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="race-", dir=args.temp) as temp:
        shortest = args.trials or (1 if args.quick else 2)
        race = Race(
            Path(temp), cores[-args.cores :] if args.cores else cores, args.granule.resolve(),
            [shortest, 2 * shortest, 4 * shortest], 1 if args.quick else 3,
            1 if args.quick else 4,
        )  # fmt: skip
        if len(race.cores) == 1:
            all_racers = [r for r in all_racers if r.key != "openmp"]
        facts = about(args, race, with_nest)
        results = [compete(racer, race, whole_trials, args.whole) for racer in all_racers]
        table, passed = check(results, all_racers, race)

    report = markdown(results, facts, whole_trials)
    print(table, report, sep="\n\n")
    everything = {
        **facts,
        "counts_are_the_models": passed,
        "racers": [dataclasses.asdict(result) for result in results],
    }
    (args.out / "results.json").write_text(json.dumps(everything, indent=1, ensure_ascii=False))
    (args.out / "race.md").write_text(report)
    plot(results, race, args.out)
    if not passed:
        print("error: counts marked ! are not the model's", file=sys.stderr)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
