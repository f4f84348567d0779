#!/usr/bin/env python3
"""Checks the output directory of a finished sweep with numpy, as a user would load it.

    python numpy_check.py out/paper [--expect expected/paper.sha256]

Every file of every condition (`record: all`, the default of presets) must exist with the hash of the manifest, and
load with the dtype, shape and order of the original's files. Active fibres, their weights and tonic factors follow
from the parameters in the manifest and numpy's own random streams. They are drawn again here and must be equal to
the last bit. Mean conductances must follow from the weights. The legacy streams of numpy and those of Python never
change, so any numpy from 1.21 on will do.

Prints each failure, and exits with status 1 if there is one; --expect compares with `sha256sum` lines.
"""
import argparse
import hashlib
import json
import math
import random
import re
import sys
from pathlib import Path

import numpy as np
from numpy.random import RandomState

FIXED_WEIGHTS = ["SpikeProb"]
RANDOM_WEIGHTS = ["SpikeProb", "Connections", "Weights", "CondE", "CondI"]

failures = []


def check(holds, where, what):
    """Records a failure unless `holds`."""
    if not holds:
        failures.append("%s: %s" % (where, what))
    return bool(holds)


class Parameters:
    """Values of a condition in the manifest: texts such as `0.1 ms` or `[1010, 1020] ms`."""

    def __init__(self, texts):
        self.texts = texts

    def number(self, name, unit=""):
        return float(self._without_unit(name, unit))

    def count(self, name):
        return int(self.texts[name])

    def numbers(self, name, unit):
        inner = self._without_unit(name, unit).strip("[]")
        return [float(text) for text in inner.split(",") if text.strip()]

    def flag(self, name):
        return {"true": True, "false": False}[self.texts[name]]

    def gamma(self, name):
        """(mean, sd, seed) of a distribution, None for a plain number."""
        found = re.match(r"gamma\(mean: (\S+), sd: (\S+), seed: (\d+)\)$", self.texts[name])
        return found and (float(found.group(1)), float(found.group(2)), int(found.group(3)))

    def _without_unit(self, name, unit):
        text = self.texts[name]
        if not text.endswith(unit):
            raise ValueError("`%s` is `%s`, without the unit %s" % (name, text, unit))
        return text[: len(text) - len(unit)].strip()


def gamma(stream, mean, sd, size=None):
    """Draws as the original does. The order of roundings decides which branch numpy takes."""
    scale = (sd * sd) / mean
    return stream.gamma(mean / scale, scale, size)


class Condition:
    """One condition and seed: its files, and the content that numpy computes for them."""

    def __init__(self, out, seed, trials, resolved):
        p = Parameters(resolved["parameters"])
        self.parameters = p
        self.name = resolved["name"]
        self.prefix = resolved["prefix"]
        self.directory = out / ("seed-%d" % seed)
        self.trials = trials
        self.fibers = p.count("network.mossy_fibers")
        self.cells = p.count("network.granule_cells")
        self.bins = int(p.number("time.duration", "ms"))
        self.steps_per_ms = round(1 / p.number("time.step", "ms"))
        self.random_weights = p.flag("weights.random")
        self.tonic = p.gamma("granule.tonic_factor")

        fraction = p.number("stimulus.active_fraction")
        active = round(self.fibers / (1 / fraction)) if fraction else 0
        self.active = sorted(random.Random(seed).sample(range(self.fibers), active))

    def names(self):
        """Returns its file names by content."""
        if not self.random_weights:
            return {what: "%s%s.npy" % (self.prefix, what) for what in FIXED_WEIGHTS}
        names = {what: "%s%s.npy" % (self.prefix, what) for what in RANDOM_WEIGHTS}
        names["SpikeProb"] = "randomized_" + names["SpikeProb"]
        if self.name == "ACh":
            names["Tonic"] = "tonicReduction.npy"
        elif self.tonic:
            names["Tonic"] = "%sTonicReduction.npy" % self.prefix
        return names

    def load(self, what, dtype, fortran, pickled=False):
        """Loads an array and checks its header and flags. `fortran` states the expected order for a shape."""
        path = self.directory / self.names()[what]
        with open(str(path), "rb") as file:
            version = np.lib.format.read_magic(file)
            shape, is_fortran, declared = np.lib.format.read_array_header_1_0(file)
            header_ends = file.tell()
        check(version == (1, 0), path, "format %s of .npy" % (version,))
        check(header_ends % 64 == 0, path, "the data begins at byte %d" % header_ends)
        check(declared == np.dtype(dtype), path, "dtype %s, not %s" % (declared, dtype))
        check(is_fortran == fortran(shape), path, "Fortran order is %s, shape %s" % (is_fortran, shape))
        array = np.load(str(path), allow_pickle=pickled)
        check(array.dtype == np.dtype(dtype), path, "loads as %s, not %s" % (array.dtype, dtype))
        check(array.shape == shape, path, "loads with shape %s, not %s" % (array.shape, shape))
        order = array.flags.f_contiguous if is_fortran else array.flags.c_contiguous
        check(order, path, "does not load in the order its header says")
        return array, path

    def check(self):
        self.check_probabilities()
        if self.random_weights:
            driven = self.check_connections()
            weights = self.check_weights()
            self.check_excitation(driven, weights)
            self.check_inhibition(driven)
            if "Tonic" in self.names():
                self.check_tonic(driven)

    def check_probabilities(self):
        p, path = self.load("SpikeProb", "<f8", lambda shape: False)
        if not check(p.shape == (self.cells, self.bins), path, "shape %s" % (p.shape,)):
            return
        trials_with_spike = np.rint(p * self.trials)
        check((p >= 0).all() and (p <= 1).all(), path, "not all in [0, 1]")
        check((trials_with_spike / self.trials == p).all(), path, "not all a multiple of 1/%d" % self.trials)

    def check_connections(self):
        """Returns the granule cells with active input, ascending."""
        pairs, path = self.load("Connections", "<i4", lambda shape: shape[0] > 1)
        if not check(pairs.ndim == 2 and pairs.shape[1] == 2, path, "shape %s" % (pairs.shape,)):
            return np.empty(0, int)
        self.pairs = pairs.astype(np.int64)
        fibers, cells = self.pairs.T
        in_order = np.diff(fibers * self.cells + cells) > 0
        check(in_order.all(), path, "not ascending by fibre, then cell")
        check(np.isin(fibers, self.active).all(), path, "a fibre that is not active")
        check(((cells >= 0) & (cells < self.cells)).all(), path, "a cell that is not in the network")
        return np.unique(cells)

    def check_weights(self):
        """Returns the dict as expected: active fibre to its weight in nS in each trial."""
        p = self.parameters
        means = RandomState(p.count("weights.seed"))
        seeds = RandomState(p.count("weights.trial_seed")).randint(1, 1000, self.trials)
        mean, sd = p.number("weights.mean", "nS"), p.number("weights.sd", "nS")
        expected = {}
        for fiber in self.active:
            of_fiber = gamma(means, mean, sd)
            drawn = [gamma(RandomState(seed), of_fiber, of_fiber) for seed in seeds]
            # The original's weights were converted to siemens and back, which changes the last bit of some.
            expected[fiber] = [(weight * 1e-9) / 1e-9 for weight in drawn]

        array, path = self.load("Weights", object, lambda shape: False, pickled=True)
        check(array.shape == (), path, "shape %s, not ()" % (array.shape,))
        weights = array.item()
        if not check(type(weights) is dict, path, "holds a %s, not a dict" % type(weights)):
            return expected
        check(all(type(key) is np.int64 for key in weights), path, "a key is no numpy.int64")
        lists = list(weights.values())
        check(all(type(value) is list for value in lists), path, "a value is no list")
        check(all(type(w) is float for value in lists for w in value), path, "a weight is no float")
        check(all(len(value) == self.trials for value in lists), path, "not a weight for each trial")
        check(list(weights) == self.active, path, "its fibres are not the active ones, ascending")
        check(weights == expected, path, "weights are not those that numpy draws")
        return expected

    def check_excitation(self, driven, weights):
        """Checks mean conductances: up to the number of synapses onto a cell, they follow from the weights."""
        g, path = self.load("CondE", "<f8", lambda shape: False)
        self.excitation = g
        if not check(g.shape == (len(driven), self.bins), path, "shape %s" % (g.shape,)) or g.size == 0:
            return
        check(np.isfinite(g).all() and (g >= 0).all(), path, "not all finite and 0 or above")

        p = self.parameters
        mean_weight = np.zeros(self.cells)
        np.add.at(mean_weight, self.pairs[:, 1], [np.mean(weights[fiber]) for fiber in self.pairs[:, 0]])
        mean_weight *= p.number("mossy_to_granule.scale")
        # Sample c is the sum of the previous step, before that step's decay.
        decay = 1 - p.number("time.step", "ms") / p.number("excitatory.tau", "ms")
        sample = np.arange(self.bins) * self.steps_per_ms
        course = np.zeros(self.bins)
        for time in p.numbers("stimulus.times", "ms"):
            decays = sample - 2 - math.floor(time * self.steps_per_ms + 1e-3)
            course += np.where(decays >= 0, decay ** np.maximum(decays, 0), 0)

        check((g[:, course == 0] == 0).all(), path, "not 0 before the stimulus")
        peak = int(np.argmax(course))
        if course[peak] == 0 or not mean_weight[driven].all():
            return
        synapses = g[:, peak] / (mean_weight[driven] * course[peak])
        whole = np.rint(synapses)
        active_inputs = np.bincount(self.pairs[:, 1], minlength=self.cells)[driven]
        check(np.allclose(synapses, whole, rtol=1e-9, atol=0), path, "not a whole number of synapses")
        check((whole >= active_inputs).all(), path, "a cell has fewer synapses than active ones")
        model = (whole * mean_weight[driven])[:, None] * course
        check(np.allclose(g, model, rtol=1e-9, atol=0), path, "not the time course of the weights")

    def check_inhibition(self, driven):
        g, path = self.load("CondI", "<f8", lambda shape: False)
        if not check(g.shape == (len(driven), self.bins), path, "shape %s" % (g.shape,)):
            return
        check(np.isfinite(g).all() and (g >= 0).all(), path, "not all finite and 0 or above")
        if self.parameters.number("golgi_to_granule.weight", "nS") == 0:
            check((g == 0).all(), path, "not 0, though the synapses are silent")
        delay = int(self.parameters.number("golgi_to_granule.delay", "ms"))
        check((g[:, : delay + 1] == 0).all(), path, "not 0 before a spike could arrive")

    def check_tonic(self, driven):
        factors, path = self.load("Tonic", "<f8", lambda shape: False)
        if not check(factors.shape == (len(driven),), path, "shape %s" % (factors.shape,)):
            return
        mean, sd, seed = self.tonic
        expected = gamma(RandomState(seed), mean, sd, self.cells)[driven]
        check((factors == expected).all(), path, "factors are not those that numpy draws")


def check_manifest(out, manifest, conditions):
    """Checks that the existing files, the listed files and the files of the conditions are the same."""
    listed = {file["path"]: file for file in manifest["files"]}
    there = {path.relative_to(out).as_posix() for path in out.rglob("*.npy")}
    promised = {"%s/%s" % (c.directory.name, name) for c in conditions for name in c.names().values()}
    check(len(listed) == len(manifest["files"]), out, "the manifest lists a file twice")
    check(there == set(listed), out, "there but not listed, or not there: %s" % sorted(there ^ set(listed)))
    check(promised == set(listed), out, "not as the sweep says: %s" % sorted(promised ^ set(listed)))
    hashes = {}
    for name in sorted(there & set(listed)):
        content = (out / name).read_bytes()
        hashes[name] = hashlib.sha256(content).hexdigest()
        check(len(content) == listed[name]["bytes"], out / name, "length is not that of the manifest")
        check(hashes[name] == listed[name]["sha256"], out / name, "SHA-256 is not that of the manifest")
    return hashes


def check_expected(path, hashes):
    """Compares with `hash  name` lines, names without the seed's directory."""
    lines = [line.split(None, 1) for line in path.read_text().splitlines() if line.strip()]
    expected = {name.strip(): value for value, name in lines}
    found = {name.split("/")[-1]: value for name, value in hashes.items()}
    check(len(found) == len(hashes), path, "more than one seed to compare with it")
    for name in sorted(set(expected) | set(found)):
        check(expected.get(name) == found.get(name), path, "%s is not as expected" % name)


def check_presets(of_seed):
    """The paper's conditions share stimulus and weights."""
    control = of_seed.get("Control")
    for name in ["GABAzine", "ACh"]:
        other = of_seed.get(name)
        if not (control and other and control.random_weights):
            continue
        for what in ["Connections", "Weights"]:
            files = [c.directory / c.names()[what] for c in (control, other)]
            check(files[0].read_bytes() == files[1].read_bytes(), files[1], "differs from Control's")
    gabazine = of_seed.get("GABAzine")
    if control and gabazine and control.random_weights:
        same = control.excitation.tobytes() == gabazine.excitation.tobytes()
        check(same, gabazine.directory / gabazine.names()["CondE"], "differs from Control's")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="output directory of a finished sweep")
    parser.add_argument("--expect", type=Path, metavar="LIST", help="file of `sha256sum` lines")
    arguments = parser.parse_args()

    manifest = json.loads((arguments.out / "manifest.json").read_text(encoding="utf-8"))
    sweep = manifest["sweep"]
    conditions = []
    for seed in sweep["seeds"]:
        of_seed = [Condition(arguments.out, seed, sweep["trials"], c) for c in sweep["conditions"]]
        conditions += of_seed
    hashes = check_manifest(arguments.out, manifest, conditions)
    if arguments.expect:
        check_expected(arguments.expect, hashes)
    # Missing or damaged files have been reported, and cannot be loaded.
    if not failures:
        for condition in conditions:
            condition.check()
    if not failures:
        for seed in sweep["seeds"]:
            check_presets({c.name: c for c in conditions if c.directory.name == "seed-%d" % seed})

    for failure in failures:
        print("FAILED %s" % failure, file=sys.stderr)
    print("%d files checked with numpy %s, %d failures" % (len(hashes), np.__version__, len(failures)))
    return 1 if failures or not hashes else 0


if __name__ == "__main__":
    sys.exit(main())
