"""Random parameter sets for harness.py: sweep files, and the parameters of their conditions.

Set N of a seed depends on the seed and N alone.  All numbers are kept as the
decimal text that the sweep file has, so that the rules of both engines can be
applied to the exact decimals or to floating point, as each engine defines.

Potentials, weights and time constants have random digits, so no potential comes
within rounding error of a threshold by construction.  Times do fall on the
boundaries of steps on purpose.
"""
import random
import re
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

TABLE = Path(__file__).resolve().parents[2] / "docs/parameters.md"


def table_of_parameters():
    """The default and the unit of every parameter, from the table in docs/parameters.md."""
    rows = re.findall(r"^\| `(\w+\.\w+)` \| ([^|]+) \|", TABLE.read_text(encoding="utf-8"), re.M)
    for path, default in rows:
        if default.startswith("["):     # a list of times
            numbers, unit = default[1:].split("]")
            yield path, (tuple(numbers.split(", ")), unit.strip())
        else:
            value, _, unit = default.partition(" ")
            yield path, (value, unit)


PARAMETERS = dict(table_of_parameters())
# A drawn tonic factor is the tuple (mean, sd, seed) of its gamma law.
PRESETS = {
    "Control": {},
    "GABAzine": {"granule.tonic_factor": "0", "golgi_to_granule.weight": "0", "noise.first": "granule"},
    "ACh": {"granule.tonic_factor": ("0.4", "0.07", "1"), "mossy_to_granule.scale": "0.4521",
            "mossy_to_golgi.scale": "0.4578", "golgi.leak_reversal": "-55"},
}
PREFIXES = {"Control": "control", "GABAzine": "gaba", "ACh": "ach"}
STEPS = "0.1 0.05 0.025 0.02 0.008 0.2 0.25 0.5 0.04 0.125 1 0.0125 0.01".split()      # ms
MAX_STEPS = 3000                        # of a trial; rounding errors of conductances grow with it
HUGE_SEEDS = (0, 1, 2**31, 2**32 - 1)


class Condition(NamedTuple):
    name: str
    base: str | None                    # None: the condition is the preset of this name
    changes: dict                       # entries of its `set`
    parameters: dict                    # all, by path

    @property
    def prefix(self):
        return PREFIXES.get(self.name, self.name)


class ParameterSet(NamedTuple):
    number: int
    seeds: list
    trials: int
    common: dict                        # entries of `set` at the top
    conditions: list

    def sweep(self, engine):
        """The sweep file for an engine."""
        lines = [f"name: set-{self.number}", f"engine: {engine}", f"seeds: {self.seeds}",
                 f"trials: {self.trials}", "record: all", "set:", *yaml_entries(self.common, 2), "conditions:"]
        for c in self.conditions:
            if c.base is None:
                lines.append(f"  - {c.name}")
            else:
                lines += [f"  - name: {c.name}", f"    base: {c.base}", "    set:"]
                lines += yaml_entries(c.changes, 6)
        return "\n".join(lines) + "\n"


def yaml_entries(values, indent):
    for path, value in values.items():
        unit = PARAMETERS[path][1]
        if path == "stimulus.times":
            text = "[" + ", ".join(f"{time} {unit}" for time in value) + "]"
        elif isinstance(value, tuple):
            text = "{{ gamma: {{ mean: {}, sd: {}, seed: {} }} }}".format(*value)
        else:
            text = f"{value} {unit}".strip()
        yield f"{' ' * indent}{path}: {text}"


def is_drive(path):
    """Whether a parameter affects the excitation in a set: these parameters are drawn together."""
    return path.startswith(("weights.", "mossy_to_")) or path == "stimulus.active_fraction"


def text(number, digits=4):
    """A number as decimal text without an exponent."""
    number = number if isinstance(number, Decimal) else round(Decimal(number), digits)
    return f"{number.normalize():f}"


class Generator:
    """The random choices of one set."""

    def __init__(self, seed, number, noisy):
        self.rng, self.number, self.noisy = random.Random(f"{seed}/{number}"), number, noisy
        self.step = Decimal(STEPS[number % len(STEPS)])

    def chance(self, p):
        return self.rng.random() < p

    def between(self, low, high, digits=4):
        return text(self.rng.uniform(low, high), digits)

    def time(self, low, high):
        """A time of about `low` to `high` ms: at a step, halfway between two, at the
        last point that still counts as the next step, or anywhere."""
        steps = self.rng.randrange(int(Decimal(low) / self.step), int(Decimal(high) / self.step) + 1)
        offset = self.rng.choice(("0", "0", "0.5", "-0.001", "-0.0009", "0.3", "any"))
        if offset == "any":
            offset = self.between(-0.4, 0.4, 3)
        return text(max(Decimal(0), (steps + Decimal(offset)) * self.step))

    def delay(self, duration):
        kind = self.rng.choice(("zero", "half", "half", "half", "any", "any", "short", "long"))
        if kind == "zero":
            return "0"
        if kind == "half":
            return text((self.rng.randrange(0, int(6 / self.step)) + Decimal("0.5")) * self.step)
        if kind == "short":             # rounds to zero or one step
            return text(self.step * Decimal(self.rng.choice(("0.49", "0.51", "0.01", "1.49"))))
        return self.time(duration, duration + 20) if kind == "long" else self.time(0, 8)

    def stimulus(self, duration):
        """One to five times, some out of order, each two steps or more from the others."""
        times = [self.time(0, duration * 0.6) for _ in range(self.rng.randint(1, 5))]
        if self.chance(0.2):
            times.append("0")
        kept = []
        for time in map(Decimal, times):
            if all(abs(time - other) >= 2 * self.step for other in kept):
                kept.append(time)
        return tuple(map(text, kept))

    def convergence(self, n_pre):
        kind = self.rng.choice(("few", "few", "few", "some", "some", "all", "above", "none"))
        if kind == "none" and self.chance(0.7):
            kind = "few"
        return {"few": lambda: self.between(0.05 * n_pre, 0.24 * n_pre, 2), "none": lambda: "0",
                "some": lambda: self.between(0.25 * n_pre, 0.9 * n_pre, 2), "all": lambda: str(n_pre),
                "above": lambda: self.between(n_pre * 1.01, n_pre * 2, 1)}[kind]()

    def fraction(self, n_fibres):
        if self.chance(0.05):
            return "0"
        if n_fibres in (10, 20, 25, 40, 50) and self.chance(0.8):   # halfway between two numbers of fibres
            return text((self.rng.randrange(1, n_fibres) + Decimal("0.5")) / n_fibres, 9)
        return self.between(0.1, 1, 3)

    def tonic_factor(self):
        if self.chance(0.4):
            mean = self.between(0.2, 0.7, 3)
            return mean, self.between(0.05, min(0.4, float(mean)), 3), str(self.seed())
        return self.rng.choice(("0", "1", self.between(0.1, 1.5, 3)))

    def seed(self):
        return self.rng.choice(HUGE_SEEDS) if self.chance(0.1) else self.rng.randrange(10_000)

    def cells(self, kind, threshold, leak):
        """Parameters that the two kinds of cells have in common."""
        threshold = self.rng.uniform(*threshold)
        reset = threshold + (self.rng.uniform(1, 4) if self.chance(0.05) else -self.rng.uniform(2, 20))
        initial = reset
        if self.chance(0.4):            # above the threshold: spikes in step 0
            initial = threshold + self.rng.uniform(*((0.5, 9) if self.chance(0.4) else (-20, -0.5)))
        values = {
            "leak_reversal": self.between(threshold + leak[0], threshold + leak[1]),
            "threshold": text(threshold), "reset": text(reset), "initial": text(initial),
            "refractory": "0" if self.chance(0.1) else self.time(0, 9),
            "noise_sigma": self.between(0.05, 0.3) if self.noisy else "0",
        }
        return {f"{kind}.{name}": value for name, value in values.items()}

    def dynamics(self, n_mossy, n_golgi, duration):
        """Everything but the network's size and the times of a trial."""
        r, fraction = self.rng, self.fraction(n_mossy)
        values = {
            "stimulus.times": self.stimulus(duration), "stimulus.active_fraction": fraction,
            "weights.random": "true" if self.chance(0.75) else "false",
            "weights.seed": str(self.seed()), "weights.trial_seed": str(self.seed()),
            "excitatory.reversal": r.choice(("0", self.between(-9, 9))),
            "excitatory.tau": self.between(2.5, 25, 3),
            "inhibitory.reversal": r.choice(("-75", self.between(-95, -56))),
            "inhibitory.tau": self.between(2.5, 40, 3), "noise.tau": self.between(3, 30, 3),
            "noise.first": r.choice(("golgi", "granule")), "noise.stream": str(self.seed()),
            **self.cells("granule", (-60, -45), (-25, 1 if self.chance(0.2) else -5)),
            **self.cells("golgi", (-55, -45), (-3, 6)),
            # A step can follow conductances up to C/dt, which is 12 nS or more here.
            "granule.capacitance": text(max(r.uniform(2, 7), 12.3 * float(self.step))),
            "granule.leak_conductance": self.between(0.05, 0.5),
            "granule.tonic_conductance": self.between(0, 1.3),
            "granule.tonic_factor": self.tonic_factor(),
            "golgi.capacitance": text(max(r.uniform(8, 60), 14.7 * float(self.step))),
            "golgi.leak_conductance": self.between(0.5, 4),
            "mossy_to_granule.convergence": self.convergence(n_mossy),
            "mossy_to_golgi.convergence": self.convergence(n_mossy),
            "golgi_to_granule.convergence": self.convergence(n_golgi),
            "golgi_to_granule.weight": "0" if self.chance(0.08) else self.between(0.02, 0.6),
            "golgi_to_granule.delay": self.delay(duration),
        }
        # Total excitation per stimulus, in nS: enough for spikes in most sets.
        mean = r.uniform(0.1, 0.6)
        values["weights.mean"] = text(mean)
        values["weights.sd"] = text(mean * r.choice((1, r.uniform(0.3, 2))))
        for kind, low, high in ("granule", 0.8, 4), ("golgi", 0.3, 3):
            path = f"mossy_to_{kind}."
            inputs = max(1, float(fraction) * min(n_mossy, float(values[path + "convergence"])))
            scale = r.choice((1, r.uniform(0.4, 2)))
            if values["weights.random"] == "true":
                scale = r.uniform(low, high) / inputs / mean
            values[path + "scale"] = "0" if self.chance(0.04) else text(scale)
            weight = 0 if self.chance(0.04) else r.uniform(low, high) / inputs / scale
            values[path + "weight"] = text(weight)
        return values


def stable(p):
    """Whether no conductance is expected above 2C/dt.  Above it, Euler's method amplifies
    rounding errors, and spikes would depend on the order of operations."""
    step, n_golgi = float(p["time.step"]), int(p["network.golgi_cells"])
    factor = p["granule.tonic_factor"]
    factor = float(factor[0]) + 4 * float(factor[1]) if isinstance(factor, tuple) else float(factor)
    pause = max(step, float(p["golgi.refractory"])) + (float(p["golgi.reset"]) < float(p["golgi.threshold"]))
    inhibition = (min(n_golgi, float(p["golgi_to_granule.convergence"])) * float(p["golgi_to_granule.weight"])
                  * (1 + float(p["inhibitory.tau"]) / pause))
    constant = {"granule": float(p["granule.tonic_conductance"]) * factor + inhibition, "golgi": 0.0}
    for kind in ("granule", "golgi"):
        to = f"mossy_to_{kind}."
        weight = float(p["weights.mean"] if p["weights.random"] == "true" else p[to + "weight"])
        inputs = float(p["stimulus.active_fraction"]) * min(float(p["network.mossy_fibers"]),
                                                            float(p[to + "convergence"]))
        total = (constant[kind] + float(p[kind + ".leak_conductance"])
                 + 2 * len(p["stimulus.times"]) * inputs * weight * float(p[to + "scale"]))
        if total > 2 * float(p[kind + ".capacitance"]) / step:
            return False
    return True


def parameter_set(seed, number, noisy):
    """Set `number` of a seed."""
    generator = Generator(seed, number, noisy)
    while True:
        drawn = draw_set(generator)
        if all(stable(condition.parameters) for condition in drawn.conditions):
            return drawn


def draw_set(g):
    r = g.rng
    n_mossy = r.choice((10, 20, 25, 40, 50, r.randint(10, 60)))
    n_golgi = r.choice((1, 4, r.randint(2, 8)))
    duration = r.randint(20, max(20, min(120, int(MAX_STEPS * g.step))))
    common = {
        "network.mossy_fibers": str(n_mossy), "network.golgi_cells": str(n_golgi),
        "network.granule_cells": "1" if g.chance(0.1) else str(r.randint(5, 40)),
        "time.step": text(g.step), "time.duration": str(duration), **g.dynamics(n_mossy, n_golgi, duration),
    }
    conditions = []
    for k in range(r.randint(1, 3)):
        name, base, changes = f"c{k}", r.choice(("Control", "Control", "GABAzine", "ACh")), {}
        if base not in [c.name for c in conditions] and g.chance(0.25):
            name, base = base, None
        else:                           # another draw of all, or of a few, parameters
            drawn = g.dynamics(n_mossy, n_golgi, duration)
            few = r.sample(sorted(drawn), r.randint(1, 5))
            if any(path in few for path in drawn if is_drive(path)):
                few += [path for path in drawn if is_drive(path) and path not in few]
            changes = drawn if g.chance(0.5) else {path: drawn[path] for path in few}
        values = {path: default for path, (default, _) in PARAMETERS.items()}
        values |= common | PRESETS[base or name] | changes
        conditions.append(Condition(name, base, changes, values))
    seeds = [g.seed()]
    if g.chance(0.15):
        seeds.append(max(seeds) % (2**32 - 1) + 1)
    return ParameterSet(g.number, seeds, r.randint(1, 3), common, conditions)
