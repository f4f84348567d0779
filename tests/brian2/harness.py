#!/usr/bin/env python3
"""Compares both engines of granule with Brian2 on random parameter sets.

    python harness.py [--granule PATH] [--sets 40] [--noisy 10] [--seed 2020] [--only N] [--keep DIR]

granule is used through its command line and its output files alone.  For each
set and engine, the harness runs a sweep file and exports the spikes.  It then
requires:

* spikes of granule and Golgi cells in every trial: the same steps and cells;
* SpikeProb files: what follows from Brian2's spikes, exactly;
* CondE and CondI files: Brian2's summed conductances, to 1e-12 relative;
* Connections, Weights and TonicReduction files: what tests/oracle draws.

Sets 0, 1, ... have no noise.  Sets 1000, 1001, ... have the engine's own noise.
`--seed S --only N` replays one set.  README.md beside this file says more.
"""
import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

import model
import sets

FIRST_NOISY = 1000
TOLERANCE = 1e-12
FLOOR = 1e-30                           # nS


def run_granule(granule, sweep, directory):
    """Runs a sweep.  Returns its output directory, and its spikes by (condition, seed, trial, population)."""
    directory.mkdir(parents=True, exist_ok=True)
    file, out, table = directory / "sweep.yaml", directory / "out", directory / "spikes.npz"
    file.write_text(sweep)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("CHAT_")}
    for arguments in (["run", file, "--out", out, "--workers", "1"], ["export", out, "--to", table]):
        done = subprocess.run([granule, *arguments], capture_output=True, text=True, env=environment)
        if done.returncode != 0:
            raise RuntimeError(f"granule {arguments[0]} exited with status {done.returncode}:\n{done.stderr}")
    spikes = {}
    columns = np.load(table)
    names = ("condition", "seed", "trial", "population", "cell", "time_ms")
    for *key, cell, at in zip(*(columns[name].tolist() for name in names)):
        spikes.setdefault(tuple(key), []).append((at, cell))
    return out, spikes


# ------------------------------------------------------------------ comparisons

def first_difference(what, ours, theirs, unit):
    """Yields a line about the first difference of two ascending lists, if they differ."""
    for k, (a, b) in enumerate(zip(ours + [None], theirs + [None])):
        if a != b:
            yield (f"{what} differ: {len(theirs)} in granule, {len(ours)} in Brian2; the first difference "
                   f"is spike {k}, {b or 'missing'} in granule and {a or 'missing'} in Brian2 ({unit})")
            return


def array_difference(what, ours, theirs, tolerance=0.0):
    """Yields a line about the first difference of two arrays, if they differ."""
    if ours.shape != theirs.shape:
        yield f"{what}: the shape is {theirs.shape} in granule and should be {ours.shape}"
        return
    wrong = np.argwhere(~(np.abs(ours - theirs) <= tolerance * np.abs(ours) + (FLOOR if tolerance else 0)))
    if len(wrong):
        at = tuple(wrong[np.lexsort(wrong.T)[0]].tolist())      # earliest along the last axis
        yield (f"{what}: {len(wrong)} of {ours.size} numbers differ; the first, at {at}, is "
               f"{theirs[at].item()!r} in granule and should be {ours[at].item()!r}")


def spike_probability(engine, p, blocks, results):
    """Fraction of trials with a spike in each millisecond, [cell, ms]."""
    _, n_granule, _ = model.sizes(p)
    per_ms = model.n_steps(p) // int(p["time.duration"])
    counts = np.zeros((n_granule, int(p["time.duration"])))
    for result in results:
        spiked = np.zeros(counts.shape, dtype=bool)
        for (step, cell), in_ms in zip(result.granule, result.granule_ms):
            if engine == "pcg":
                spiked[cell, step // per_ms] = True
            elif step > 0:              # the original loses spikes at t = 0
                spiked[cell, int(in_ms)] = True
        counts += spiked
    return counts / len(blocks)


def expected_files(engine, blocks, results):
    """Content and relative tolerance of the output files of a condition and seed."""
    condition = blocks[0].condition
    p, prefix, block = condition.parameters, condition.prefix, blocks[0]
    probability = spike_probability(engine, p, blocks, results)
    if block.weights is None:
        return {f"{prefix}SpikeProb.npy": (probability, 0.0)}
    driven = np.array(block.driven, dtype=int)
    synapses = [(fibre, cell) for fibre in block.active for cell in block.mf_grc[fibre]]
    # Converted to siemens and back, as in the original: this can change the last bit.
    weights = np.array([b.weights for b in blocks]).reshape(len(blocks), -1) * 1e-9 / 1e-9
    files = {
        f"randomized_{prefix}SpikeProb.npy": (probability, 0.0),
        f"{prefix}Connections.npy": (np.array(synapses, dtype=np.int32).reshape(-1, 2), 0.0),
        f"{prefix}Weights.npy": (dict(zip(block.active, weights.T.tolist())), 0.0),
        f"{prefix}CondE.npy": (np.mean([r.total_e[driven] for r in results], axis=0), TOLERANCE),
        f"{prefix}CondI.npy": (np.mean([r.total_i[driven] for r in results], axis=0), TOLERANCE),
    }
    if isinstance(p["granule.tonic_factor"], tuple):
        name = "tonicReduction.npy" if prefix == "ach" else f"{prefix}TonicReduction.npy"
        files[name] = (block.factors[driven], 0.0)
    return files


def compare_files(engine, folder, blocks, results):
    for name, (ours, tolerance) in expected_files(engine, blocks, results).items():
        if not (folder / name).exists():
            yield f"{name} is missing"
            continue
        theirs = np.load(folder / name, allow_pickle=True)
        if isinstance(ours, dict):
            theirs = {int(fibre): weights for fibre, weights in theirs.item().items()}
            if theirs != ours:
                fibre = min(f for f in ours.keys() | theirs.keys() if ours.get(f) != theirs.get(f))
                yield (f"{name}: fibre {fibre} has {theirs.get(fibre)} in granule "
                       f"and should have {ours.get(fibre)}")
        elif theirs.dtype != ours.dtype:
            yield f"{name}: the type is {theirs.dtype} in granule and should be {ours.dtype}"
        else:
            yield from array_difference(name, ours, theirs, tolerance)


def compare_spikes(p, spikes, block, result):
    for population, ours in (("granule", result.granule), ("golgi", result.golgi)):
        key = (block.condition.name, block.seed, block.trial, population)
        theirs = [(int(np.rint(at / float(p["time.step"]))), cell) for at, cell in spikes.get(key, [])]
        yield from first_difference(f"trial {block.trial}: {population} spikes", ours, theirs, "step, cell")


# --------------------------------------------------------------------- one set

def check_set(granule, parameter_set, directory, counts):
    """Compares a set; yields lines about the differences."""
    blocks = {(engine, condition.name, seed): list(draw(condition, seed, parameter_set.trials))
              for engine, draw in model.ENGINES.items()
              for condition in parameter_set.conditions for seed in parameter_set.seeds}
    results = iter(model.simulate([block for group in blocks.values() for block in group]))
    results = {key: [next(results) for _ in group] for key, group in blocks.items()}
    for engine in model.ENGINES:
        for population in ("granule", "golgi"):
            counts[engine, population] += sum(len(getattr(r, population))
                                              for key, rs in results.items() if key[0] == engine for r in rs)
        counts[engine, "compared"] += len(parameter_set.conditions) * len(parameter_set.seeds)
        try:
            out, spikes = run_granule(granule, parameter_set.sweep(engine), directory / engine)
        except RuntimeError as error:
            yield f"engine {engine}: {error}"
            continue
        for (_, name, seed), group in ((k, g) for k, g in blocks.items() if k[0] == engine):
            p, theirs = group[0].condition.parameters, results[engine, name, seed]
            differences = [line for block, result in zip(group, theirs)
                           for line in compare_spikes(p, spikes, block, result)]
            differences += compare_files(engine, out / f"seed-{seed}", group, theirs)
            counts[engine, "equal"] += not differences
            for line in differences:
                yield f"engine {engine}, condition {name}, seed {seed}: {line}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--granule", default=os.environ.get("GRANULE", "target/release/granule"),
                        help="the program (default: $GRANULE, else %(default)s)")
    parser.add_argument("--sets", type=int, default=40, help="sets without noise (default: %(default)s)")
    parser.add_argument("--noisy", type=int, default=10, help="sets with noise (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=2020, help="seed of the sets (default: %(default)s)")
    parser.add_argument("--only", type=int, metavar="N", help="compare set N alone")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep sweep files and outputs in DIR")
    arguments = parser.parse_args()
    granule = shutil.which(arguments.granule)
    if granule is None:
        parser.error(f"cannot find {arguments.granule}; build granule, or set --granule or $GRANULE")
    granule = str(Path(granule).resolve())
    numbers = [*range(arguments.sets), *range(FIRST_NOISY, FIRST_NOISY + arguments.noisy)]
    if arguments.only is not None:
        numbers = [arguments.only]
    totals, active, failed, begun = Counter(), Counter(), [], time.monotonic()
    for number in numbers:
        parameter_set = sets.parameter_set(arguments.seed, number, number >= FIRST_NOISY)
        counts, start = Counter(), time.monotonic()
        with tempfile.TemporaryDirectory() as temporary:
            directory = Path(temporary) if arguments.keep is None else arguments.keep / f"set-{number}"
            differences = list(check_set(granule, parameter_set, directory, counts))
        totals += counts
        active.update(key for key, count in counts.items() if count)
        c = parameter_set.common
        print(f"set {number}: {c['time.duration']} ms in steps of {c['time.step']} ms, "
              f"{len(parameter_set.conditions)} × {len(parameter_set.seeds)} × {parameter_set.trials}, "
              f"spikes {counts['brian2-2.2.1', 'granule']} + {counts['brian2-2.2.1', 'golgi']} and "
              f"{counts['pcg', 'granule']} + {counts['pcg', 'golgi']}: "
              f"{'DIFFERS' if differences else 'equal'} ({time.monotonic() - start:.1f} s)", flush=True)
        if differences:
            failed.append(number)
            print("  " + "\n  ".join("\n".join(differences).split("\n")))
            print(f"  replay: python {os.path.relpath(__file__)} --seed {arguments.seed} --only {number}")
            engine = next((e for e in model.ENGINES if f"engine {e}" in differences[0]), "pcg")
            print("  sweep file:\n    " + parameter_set.sweep(engine).replace("\n", "\n    "), flush=True)
    quiet = [(engine, population) for engine in model.ENGINES for population in ("granule", "golgi")
             if arguments.only is None and active[engine, population] * 2 < len(numbers)]
    for engine, population in quiet:
        print(f"engine {engine}: only {active[engine, population]} of {len(numbers)} sets have {population} "
              "spikes; the sets must give more activity")
    for engine in model.ENGINES:
        print(f"engine {engine}: {totals[engine, 'equal']} of {totals[engine, 'compared']} "
              f"conditions × seeds equal; {totals[engine, 'granule']} granule spikes in {active[engine, 'granule']} sets, "
              f"{totals[engine, 'golgi']} Golgi spikes in {active[engine, 'golgi']} sets")
    print(f"{len(numbers) - len(failed)} of {len(numbers)} sets equal, {time.monotonic() - begun:.0f} s"
          + (f"; these differ: {failed}" if failed else ""))
    return 1 if failed or quiet or not numbers else 0


if __name__ == "__main__":
    sys.exit(main())
