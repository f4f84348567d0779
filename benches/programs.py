"""Measures what it costs to run a user's own program.

    cargo build --release && PYTHONPATH=$PWD/python/src python3 benches/programs.py [--quick]

`python3` and `python` need numpy and brian2 for the last part, which also needs GNU parallel. Parts:

- nothing: a program that does nothing, in one process. The time of a trial is compared with that of the program's own
  loop, driven by this script over two pipes. The CPU time of coordinator and worker is per trial.
- spikes: a program that returns a million spikes a trial, as raw bytes.
- workers: sweeps/own-model/brian2.yaml with one and with two workers, in alternation; then the same trials with GNU
  parallel, which starts a process for each trial.

Prints medians over the runs. Only ratios on one machine mean anything.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GRANULE = ROOT / "target" / "release" / "granule"

NOTHING = """
import os
requests, answers = os.fdopen(3, "rb"), os.fdopen(4, "wb", buffering=0)
requests.readline()
answers.write(b'{"granule":1}\\n')
for line in requests:
    at = line.index(b'"id":') + 5
    end = at
    while line[end] in b"0123456789":
        end += 1
    answers.write(b'{"id":' + line[at:end] + b',"values":{"x":1}}\\n')
"""

SPIKES = """
import json, os, struct
requests, answers = os.fdopen(3, "rb"), os.fdopen(4, "wb", buffering=0)
requests.readline()
answers.write(b'{"granule":1}\\n')
count = 1000000
cells = b"".join(struct.pack("<i", i % 1000) for i in range(count))
times = b"".join(struct.pack("<d", i // 1000 * 0.1) for i in range(count))
block = cells + times
for line in requests:
    head = {"id": json.loads(line)["id"], "bytes": len(block), "spikes": {"cells": {
        "cells": {"raw": "<i4", "at": 0, "count": count}, "times": {"raw": "<f8", "at": len(cells), "count": count}}}}
    answers.write(json.dumps(head).encode() + b"\\n")
    at = 0
    while at < len(block):
        at += answers.write(memoryview(block)[at:])
"""

MODELS = {
    "nothing": (NOTHING, "returns: { x: {} }"),
    "spikes": (SPIKES, "populations: { cells: 1000 }\nduration: 100 ms"),
}

SINGLE = """
import runpy, sys
import numpy
import granule.model
caught = []
granule.model.serve = lambda model, **_: caught.append(model)
runpy.run_path("ei.py")

class Parameters(dict):
    populations = {"excitatory": 320, "inhibitory": 80}
    duration_ms, resolution_ms = 200.0, 0.1

inhibitory, rate, seed, trial = float(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
parameters = Parameters({"network.cells": 400, "network.sparseness": 0.1, "cell.tau": 20.0, "cell.threshold": 20.0,
    "cell.refractory": 2.0, "synapse.excitatory": 0.4, "synapse.inhibitory": inhibitory, "synapse.delay": 1.5,
    "input.cells": 200, "input.rate": rate, "trial.duration": 200.0})
network = caught[0]()
network.prepare(parameters, seed)
result = network.trial(trial)
numpy.savez(sys.argv[5], rate=result["rate"], **{name: numpy.array(result[name][0]) for name in parameters.populations})
"""


def model(place, name, trials):
    program, rest = MODELS[name]
    (place / f"{name}.py").write_text(program)
    (place / f"{name}.model.yaml").write_text(
        f"granule-model: 1\nname: {name}\nprogram: [python3, {name}.py]\nfiles: [{name}.py]\n{rest}\n"
    )
    (place / f"{name}.yaml").write_text(
        f"name: {name}\nmodel: {name}.model.yaml\ntrials: {trials}\nconditions: [{{ name: base }}]\n"
    )


def own_loop(place, trials):
    """Returns the seconds that a trial takes if this script asks the program."""
    to_program, from_program = os.pipe(), os.pipe()
    command = 'exec python3 nothing.py 3<&0 4>&1 0</dev/null 1>&2'
    program = subprocess.Popen(["sh", "-c", command], cwd=place, stdin=to_program[0], stdout=from_program[1])
    os.close(to_program[0])
    os.close(from_program[1])
    requests, answers = os.fdopen(to_program[1], "wb", buffering=0), os.fdopen(from_program[0], "rb")
    requests.write(b'{"granule":1,"model":"nothing"}\n')
    answers.readline()
    begun = time.perf_counter()
    for i in range(trials):
        request = {"id": i, "condition": "0" * 32, "parameters": {}, "seed": 1, "trial": i, "network_seed": 1,
                   "trial_seed": 1, "populations": {}, "duration_ms": 0.1, "resolution_ms": 0.1}
        requests.write(json.dumps(request, separators=(",", ":")).encode() + b"\n")
        json.loads(answers.readline())
    seconds = (time.perf_counter() - begun) / trials
    requests.close()
    program.wait()
    return seconds


def served(place, name):
    """Runs a sweep with a coordinator and one worker. Returns wall seconds, and CPU seconds of each without the program."""
    shutil.rmtree(place / "out", ignore_errors=True)
    quiet = {"cwd": place, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    coordinator = subprocess.Popen([GRANULE, "serve", f"{name}.yaml", "--out", "out", "--listen", "127.0.0.1:0", "--audit", "0"], **quiet)
    while not (place / "out" / "access.json").exists():
        time.sleep(0.005)
    worker = subprocess.Popen(
        [GRANULE, "worker", "--access", "out/access.json", "--model", f"{name}.model.yaml", "--threads", "1"], **quiet
    )
    begun = None
    cpu = {}
    while worker.poll() is None or coordinator.poll() is None:
        if begun is None and (place / "out" / "store.granule").exists() and (place / "out" / "store.granule").stat().st_size > 8192:
            begun = time.perf_counter()
        for what, process in ("coordinator", coordinator), ("worker", worker):
            try:
                fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
                cpu[what] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            except (OSError, IndexError):
                pass
        time.sleep(0.005)
    assert (worker.returncode, coordinator.returncode) == (0, 0), (worker.returncode, coordinator.returncode)
    run = json.loads((place / "out" / "manifest.json").read_text())["run"]
    return run["wall_seconds"], cpu["coordinator"], cpu["worker"]


def run(place, sweep, workers):
    """Runs a sweep anew; returns its wall seconds."""
    shutil.rmtree(place / "out", ignore_errors=True)
    command = [GRANULE, "run", sweep, "--out", "out", "--workers", str(workers), "--audit", "0"]
    begun = time.perf_counter()
    subprocess.run(command, cwd=place, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - begun


def brian2_sweep(place, seeds, trials):
    shutil.copytree(ROOT / "sweeps" / "own-model", place / "models", dirs_exist_ok=True)
    text = (place / "models" / "brian2.yaml").read_text()
    text = re.sub(r"(?m)^seeds: .*", f"seeds: 1..{seeds}", text)
    text = re.sub(r"(?m)^trials: .*", f"trials: {trials}", text)
    text = re.sub(r"(?m)^  - name: default\n", "", text)
    (place / "models" / "bench.yaml").write_text(text)
    return 6 * seeds * trials


def in_parallel(place, seeds, trials):
    """Runs the same trials with GNU parallel, a process for each; returns the wall seconds."""
    results = place / "results"
    shutil.rmtree(results, ignore_errors=True)
    results.mkdir()
    (place / "models" / "single.py").write_text(SINGLE)
    command = ["parallel", "--will-cite", "--jobs", "2", sys.executable, "single.py", "{1}", "{2}", "{3}", "{4}", f"{results}/{{1}}-{{2}}-{{3}}-{{4}}.npz"]
    for values in ["0", "2", "4"], ["12", "18"], map(str, range(1, seeds + 1)), map(str, range(trials)):
        command += [":::", *values]
    begun = time.perf_counter()
    subprocess.run(command, cwd=place / "models", check=True)
    seconds = time.perf_counter() - begun
    assert len(list(results.iterdir())) == 6 * seeds * trials
    return seconds


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--quick", action="store_true", help="fewer trials and runs, to see that everything works")
    arguments.add_argument("parts", nargs="*", help="nothing, spikes, workers (which has GNU parallel too); default all")
    arguments = arguments.parse_args()
    quick = arguments.quick
    runs, trials, large, seeds, each = (1, 2000, 5, 1, 1) if quick else (3, 20000, 60, 2, 15)
    parts = arguments.parts or ["nothing", "spikes", "workers"]
    median = statistics.median
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        if "nothing" in parts:
            model(place, "nothing", trials)
            loop = median(own_loop(place, trials) for _ in range(runs))
            measured = [served(place, "nothing") for _ in range(runs)]
            wall, coordinator, worker = (median(of) / trials * 1e3 for of in zip(*measured))
            print(f"nothing, {trials} trials: {wall:.3f} ms a trial; the program's own loop: {loop * 1e3:.3f} ms; "
                  f"CPU a trial: coordinator {coordinator:.3f} ms, worker {worker:.3f} ms", flush=True)
        if "spikes" in parts:
            model(place, "spikes", large)
            wall = median(run(place, "spikes.yaml", 1) for _ in range(runs))
            print(f"spikes, {large} trials of a million: {wall / large:.3f} s a trial, {12 * large / wall:.0f} MB/s", flush=True)
        if "workers" in parts:
            count = brian2_sweep(place, seeds, each)
            pairs = [(run(place, "models/bench.yaml", 1), run(place, "models/bench.yaml", 2)) for _ in range(runs)]
            one, two = (median(of) for of in zip(*pairs))
            print(f"Brian2, {count} trials: one worker {one:.1f} s, two {two:.1f} s, ratio {one / two:.2f}", flush=True)
            # Once: its time is nearly that of many equal processes.
            parallel = in_parallel(place, seeds, each)
            print(f"GNU parallel, a process for each trial, 2 at a time: {parallel:.1f} s, ratio {parallel / two:.2f}")


main()
