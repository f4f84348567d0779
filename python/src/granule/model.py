"""Serves your own model to granule: a Python program that computes the trials of a model file.

    import granule.model

    def trial(parameters, seed, trial):
        random = granule.model.generator(seed, trial)
        ...
        return {"excitatory": (cells, times_ms), "rate": 12.5}

    granule.model.serve(trial)

granule starts the program once for each worker thread and sends it one trial after the other. Requests arrive on file
descriptor 3, answers leave on descriptor 4. Standard output and standard error are a log, so `print` is safe.

Neither exec nor fork passes the descriptors on: processes that the program starts, with `subprocess` or with
`multiprocessing`, cannot read requests or write answers.

This module needs only the standard library. `generator` needs numpy, and `seed_brian2` and `seed_nest` need their
simulators.
"""

from __future__ import annotations

import array
import importlib.metadata
import difflib
import importlib
import itertools
import json
import math
import operator
import os
import platform
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "Parameters",
    "StatefulModel",
    "generator",
    "network_seed",
    "seed_brian2",
    "seed_nest",
    "serve",
    "trial_seed",
]

_PROTOCOL = 1
#: Lists with fewer numbers are written as JSON.
_RAW_FROM = 64
#: The largest numbers of versions and of characters in one that granule accepts.
_VERSIONS, _VERSION_LENGTH = 64, 200
_ERROR_LENGTH = 20_000
#: Versions that are reported if their module is imported when `serve` is called.
_REPORTED = ("numpy", "scipy", "brian2", "nest", "neuron", "arbor", "torch", "jax")
_READ = 1 << 16


class Parameters(Mapping[str, Any]):
    """The parameters of a trial by dotted path, read-only, in the units of the model file.

    `parameters["synapse.weight"]` is 1.6 if the model file declares `synapse.weight` in nS and the sweep sets 1.6 nS.
    A value is a `float`, a whole `int` for a count, a `bool` for a flag, a `str` for a choice, or a `tuple` for a list.
    """

    __slots__ = ("_duration_ms", "_values", "populations", "resolution_ms")

    #: The number of cells of each population.
    populations: Mapping[str, int]
    #: The resolution of spike times.
    resolution_ms: float

    def __init__(
        self,
        values: Mapping[str, Any],
        populations: Mapping[str, int] | None = None,
        duration_ms: float | None = None,
        resolution_ms: float = 0.1,
    ) -> None:
        self._values = {path: tuple(value) if isinstance(value, list) else value for path, value in values.items()}
        self._duration_ms = duration_ms
        self.populations = MappingProxyType(dict(populations or {}))
        self.resolution_ms = resolution_ms

    @property
    def duration_ms(self) -> float:
        """The duration of a trial. Raises `AttributeError` if the model file has no `duration`."""
        if self._duration_ms is None:
            raise AttributeError("parameters have no duration_ms: the model file has no `duration`")
        return self._duration_ms

    def __getitem__(self, path: str) -> Any:
        try:
            return self._values[path]
        except KeyError:
            pass
        close = difflib.get_close_matches(str(path), self._values, 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise KeyError(f"the model file has no parameter {path}{hint}")

    def __contains__(self, path: object) -> bool:
        return path in self._values

    def get(self, path: str, default: Any = None) -> Any:
        return self._values.get(path, default)

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"<granule.model.Parameters {self._values}>"


class StatefulModel(Protocol):
    """A class that `serve` accepts: it keeps a network that it built, and uses it for several trials."""

    def prepare(self, parameters: Parameters, seed: int) -> None:
        """Builds the network. Called before the first trial, and when the condition or the seed changes."""

    def trial(self, trial: int) -> Mapping[str, Any]:
        """Computes a trial. The result must depend only on parameters, seed and trial, not on earlier trials."""


def serve(
    model: Callable[[Parameters, int, int], Mapping[str, Any]] | type[StatefulModel],
    versions: Mapping[str, str] | None = None,
) -> None:
    """Computes trials until granule closes the connection.

    `model` is a function `trial(parameters, seed, trial)`, or a class with the methods `prepare(parameters, seed)` and
    `trial(trial)`. Both return a mapping:

    - for each population a pair `(cells, times)`: numbers of cells from 0, and times in ms from the start of the trial.
      They may be lists or arrays, in any order. `times` may also be a Brian2 quantity, such as `monitor.t`.
    - for each other return of the model file a number, or an array as lists or numpy array.

    granule records the versions of Python and of imported simulators and libraries; `versions` adds others. If a trial
    raises an exception, granule receives its traceback, and the program continues with the next trial.

    Prints a message and exits with code 2 if granule did not start the program.
    """
    requests, answers = _descriptors()
    try:
        _serve(requests, answers, model, versions or {})
    except KeyboardInterrupt:
        _flush()
        raise SystemExit(130) from None
    except BrokenPipeError:  # The worker ended.
        _flush()


def _serve(requests: int, answers: int, model: Any, versions: Mapping[str, str]) -> None:
    run = _Stateful(model) if isinstance(model, type) or hasattr(model, "prepare") else _Stateless(model)
    reported = _versions(versions)
    for line in _lines(requests):
        request = json.loads(line)
        if "id" not in request:
            _write(answers, [_json({"granule": _PROTOCOL, "versions": reported})])
            continue
        try:
            parts = _answer(request, run(request))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # Also SystemExit: a trial cannot end the program.
            parts = [_json({"id": request["id"], "error": _describe(error)})]
            del error
        _flush()
        _write(answers, parts)


# ------------------------------------------------------------------ seeds


def trial_seed(seed: int, trial: int) -> int:
    """Returns the 32-bit seed of a trial. Different trials of a seed have different values.

    The value does not depend on the parameters, so that all conditions have the same random numbers.

    >>> granule.model.trial_seed(451, 0), granule.model.trial_seed(451, 1)
    (1564052462, 2343682635)
    """
    return _mix((_mix(_checked("seed", seed)) + _checked("trial", trial)) & 0xFFFFFFFF)


def network_seed(seed: int) -> int:
    """Returns the 32-bit seed of everything that the trials of a seed share, such as wiring.

    >>> granule.model.network_seed(451)
    3075364197
    """
    return _mix(_checked("seed", seed) ^ 0x6E657477)


def generator(seed: int, trial: int | None = None) -> np.random.Generator:
    """Returns numpy's generator of a trial, or without `trial` that of everything that the trials of a seed share.

    The first is child `trial` of `numpy.random.SeedSequence(seed)`; the second is `numpy.random.default_rng(seed)`.
    """
    import numpy

    # `SeedSequence([seed, 0])` would equal `SeedSequence([seed])`. A spawn key does not have this problem.
    key = () if trial is None else (_checked("trial", trial),)
    return numpy.random.default_rng(numpy.random.SeedSequence(_checked("seed", seed), spawn_key=key))


def seed_brian2(seed: int, trial: int | None = None) -> None:
    """Seeds Brian2 with `trial_seed(seed, trial)`, or without `trial` with `network_seed(seed)`."""
    brian2: Any = importlib.import_module("brian2")
    brian2.seed(network_seed(seed) if trial is None else trial_seed(seed, trial))


def seed_nest(seed: int, trial: int | None = None) -> None:
    """Seeds NEST as `seed_brian2` seeds Brian2. NEST accepts no 0 and gets 1 instead.

    Call it after `nest.ResetKernel()`, which resets the seed.
    """
    nest: Any = importlib.import_module("nest")
    nest.rng_seed = max(1, network_seed(seed) if trial is None else trial_seed(seed, trial))


def _mix(x: int) -> int:
    """The 32-bit finaliser of MurmurHash3."""
    x ^= x >> 16
    x = x * 0x85EBCA6B & 0xFFFFFFFF
    x ^= x >> 13
    x = x * 0xC2B2AE35 & 0xFFFFFFFF
    return x ^ x >> 16


def _checked(what: str, number: int) -> int:
    number = operator.index(number)
    if not 0 <= number < 2**32:
        raise ValueError(f"{what} is {number}; expected a whole number from 0 to 2^32 - 1")
    return number


# ------------------------------------------------------------- the program


class _Stateless:
    def __init__(self, function: Any) -> None:
        if not callable(function):
            raise TypeError(
                f"granule.model.serve expects a function, or a class with prepare and trial; got {_named(function)}"
            )
        self.function = function

    def __call__(self, request: Mapping[str, Any]) -> Any:
        return self.function(_parameters(request), request["seed"], request["trial"])


class _Stateful:
    def __init__(self, model: Any) -> None:
        for method in ("prepare", "trial"):
            if not callable(getattr(model, method, None)):
                name = getattr(model, "__name__", type(model).__name__)
                raise TypeError(f"granule.model.serve expects a class with prepare and trial; {name} has no {method}")
        self.model = model() if isinstance(model, type) else model
        self.prepared: tuple[str, int] | None = None

    def __call__(self, request: Mapping[str, Any]) -> Any:
        key = (request["condition"], request["seed"])
        # After an error, the network may be in any state.
        prepared, self.prepared = self.prepared, None
        if prepared != key:
            self.model.prepare(_parameters(request), request["seed"])
        result = self.model.trial(request["trial"])
        self.prepared = key
        return result


def _parameters(request: Mapping[str, Any]) -> Parameters:
    return Parameters(
        request["parameters"],
        request.get("populations"),
        request.get("duration_ms"),
        request.get("resolution_ms", 0.1),
    )


def _versions(given: Mapping[str, str]) -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in _REPORTED:
        version = getattr(sys.modules.get(name), "__version__", None)
        if isinstance(version, str):
            versions[name] = version
    if "numpy" not in versions:
        # `generator` imports it later.
        try:
            versions["numpy"] = importlib.metadata.version("numpy")
        except importlib.metadata.PackageNotFoundError:
            pass
    versions.update(given)
    if len(versions) > _VERSIONS:
        raise ValueError(f"granule.model.serve has {len(versions)} versions to report; granule accepts {_VERSIONS}")
    for name, version in versions.items():
        if not isinstance(name, str) or not isinstance(version, str):
            raise TypeError(f"granule.model.serve expects names and versions as texts; got {name!r}: {version!r}")
        if max(len(name), len(version)) > _VERSION_LENGTH:
            raise ValueError(
                f"granule.model.serve got a version with more than {_VERSION_LENGTH} characters: {name}: {version}"
            )
    return versions


def _describe(error: BaseException) -> str:
    """Returns the traceback of the user's frames, or the message alone if the model returned something wrong."""
    if isinstance(error, _WrongReturnError):
        return _readable(str(error))
    text = ""
    if isinstance(error, SystemExit):
        text = "the trial called sys.exit or raised SystemExit; a trial must return its result\n\n"
    described = traceback.TracebackException.from_exception(error)
    seen = set()
    todo: list[traceback.TracebackException | None] = [described]
    while todo:
        one = todo.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        one.stack[:] = [frame for frame in one.stack if frame.filename != __file__]
        todo += [one.__cause__, one.__context__, *(getattr(one, "exceptions", None) or ())]
    return _readable(text + "".join(described.format()).rstrip())


def _readable(text: str) -> str:
    """Returns text that UTF-8 can express, without its middle if it is long."""
    if len(text) > _ERROR_LENGTH:
        half = _ERROR_LENGTH // 2
        text = f"{text[:half]}\n[… {len(text) - 2 * half} characters …]\n{text[-half:]}"
    return text.encode("utf-8", "backslashreplace").decode()


# ------------------------------------------------------------- the result


class _WrongReturnError(Exception):
    """The model returned something that is no result. The message is complete without a traceback."""


class _Numbers(NamedTuple):
    """Numbers to send: a numpy array, or an array of the standard library, in C order."""

    data: Any
    #: Element type in answers, as `<f8`.
    type: str
    shape: tuple[int, ...]
    is_numpy: bool


def _answer(request: Mapping[str, Any], result: Any) -> list[Any]:
    """Returns the parts of an answer: a line, and the bytes of the arrays."""
    populations = request.get("populations") or {}
    if not isinstance(result, Mapping):
        example = next((f'{{"{name}": (cells, times_ms)}}' for name in populations), '{"rate": 12.5}')
        raise _WrongReturnError(f"the trial returned {_named(result)}; expected a mapping, such as {example}")
    blocks = _Blocks()
    spikes, values = {}, {}
    for name, value in result.items():
        if not isinstance(name, str):
            raise _WrongReturnError(f"the trial returned a mapping with the key {name!r}; expected names as texts")
        if name in populations:
            spikes[name] = _spikes(name, value, blocks)
        elif isinstance(value, tuple) and len(value) == 2 and all(map(_is_array, value)):
            known = f"its populations are {', '.join(populations)}" if populations else "it has no populations"
            raise _WrongReturnError(
                f"the trial returned spikes of {name}, which is no population of the model; {known}"
            )
        else:
            values[name] = _value(name, value, blocks)
    missing = [name for name in populations if name not in spikes]
    if missing:
        raise _WrongReturnError(
            f"the trial returned no spikes of {', '.join(missing)}; it returned "
            f"{', '.join(result) or 'an empty mapping'}. Each population needs (cells, times_ms), and ([], []) if no "
            "cell spiked"
        )
    answer: dict[str, Any] = {"id": request["id"]}
    if blocks.length:
        answer["bytes"] = blocks.length
    answer["spikes"] = spikes
    answer["values"] = values
    return [_json(answer), *blocks.parts]


class _Blocks:
    """The raw bytes behind the line of an answer."""

    def __init__(self) -> None:
        self.parts: list[Any] = []
        self.length = 0

    def put(self, numbers: _Numbers) -> Any:
        """Returns the JSON of an array: its numbers, or their place among the bytes."""
        count = math.prod(numbers.shape)
        # JSON has no NaN.
        if not numbers.is_numpy and count < _RAW_FROM and all(x == x for x in numbers.data):
            return _nested(numbers.data.tolist(), numbers.shape)
        described: dict[str, Any] = {"raw": numbers.type, "at": self.length, "count": count}
        if len(numbers.shape) != 1:
            described["shape"] = list(numbers.shape)
        if count:
            if sys.byteorder == "big" and not numbers.is_numpy:
                numbers.data.byteswap()
            data = memoryview(numbers.data).cast("B")
            self.parts.append(data)
            self.length += len(data)
            if len(data) % 8:  # Every array starts at a multiple of 8 bytes.
                self.parts.append(bytes(-len(data) % 8))
                self.length += -len(data) % 8
        return described


def _nested(flat: list[Any], shape: tuple[int, ...]) -> list[Any]:
    for size in reversed(shape[1:]):
        flat = [flat[at : at + size] for at in range(0, len(flat), size)] if size else [[] for _ in range(shape[0])]
    return flat


def _spikes(name: str, value: Any, blocks: _Blocks) -> dict[str, Any]:
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        length = f" of length {len(value)}" if isinstance(value, (tuple, list)) else ""
        raise _WrongReturnError(
            f"the trial returned {_named(value)}{length} for population {name}; expected a pair (cells, times_ms)"
        )
    cells = _numbers(f"the cells of population {name}", value[0], whole=True)
    times = _numbers(f"the times of population {name}", value[1], is_time=True)
    for what, numbers in (("cells", cells), ("times", times)):
        if len(numbers.shape) != 1:
            raise _WrongReturnError(
                f"the trial returned {what} of population {name} as an array of {len(numbers.shape)} dimensions; "
                "expected 1 dimension"
            )
    if cells.shape != times.shape:
        raise _WrongReturnError(
            f"the trial returned {_count(cells.shape[0], 'cell')} and {_count(times.shape[0], 'time')} for population "
            f"{name}; expected equal numbers, one of each for every spike"
        )
    cells, times = _ascending(cells, times)
    return {"cells": blocks.put(cells), "times": blocks.put(times)}


def _ascending(cells: _Numbers, times: _Numbers) -> tuple[_Numbers, _Numbers]:
    """Returns the spikes in the order of their times."""
    if times.is_numpy:
        if (times.data[1:] >= times.data[:-1]).all():
            return cells, times
        order = times.data.argsort(kind="stable").tolist()
    else:
        if all(map(operator.le, times.data, itertools.islice(times.data, 1, None))):
            return cells, times
        order = sorted(range(len(times.data)), key=times.data.__getitem__)
    return _picked(cells, order), _picked(times, order)


def _picked(numbers: _Numbers, order: list[int]) -> _Numbers:
    if numbers.is_numpy:
        return numbers._replace(data=numbers.data[order])
    return numbers._replace(data=array.array(numbers.data.typecode, map(numbers.data.__getitem__, order)))


def _value(name: str, value: Any, blocks: _Blocks) -> Any:
    what = f"value {name}"
    if isinstance(value, (list, tuple)) or _is_array(value):
        return blocks.put(_numbers(what, value, may_be_nan=True))
    number = value
    if not isinstance(value, (int, float)):
        if not hasattr(value, "__float__") or isinstance(value, (str, bytes)):
            raise _WrongReturnError(
                f"the trial returned {_named(value)} as {what}; expected a number or an array of numbers, "
                "or for a population a pair (cells, times_ms)"
            )
        _refuse_unit(what, value)
        number = float(value)
    if isinstance(value, bool) or type(value).__name__ in ("bool_", "bool"):
        raise _WrongReturnError(f"the trial returned {value!r} as {what}; expected a number, such as 1 or 0")
    if number != number:
        return None  # NaN, which JSON does not have.
    if not _is_finite(number):
        raise _WrongReturnError(f"the trial returned {number} as {what}; expected a finite number or NaN")
    return number


def _numbers(
    what: str, value: Any, whole: bool = False, is_time: bool = False, may_be_nan: bool = False
) -> _Numbers:
    """Returns the numbers of a list or array."""
    if isinstance(value, (list, tuple)):
        return _of_lists(what, value, whole, may_be_nan)
    if isinstance(value, (array.array, range)):
        return _of_lists(what, list(value), whole, may_be_nan)
    if not hasattr(value, "__array__"):
        raise _WrongReturnError(f"the trial returned {_named(value)} as {what}; expected a list or array of numbers")
    import numpy

    if type(value).__module__.split(".")[0] == "brian2":
        value = _of_brian2(what, value, is_time)
    numbers = numpy.asarray(value)
    kind = numbers.dtype.kind
    if kind not in "iuf":
        if numbers.size == 0:
            numbers = numbers.astype("<f8")
        else:
            raise _WrongReturnError(f"the trial returned {what} as an array of {numbers.dtype}; expected numbers")
    if whole and kind == "f":
        if numbers.size:
            raise _WrongReturnError(
                f"the trial returned {what} as an array of {numbers.dtype}; expected whole numbers, "
                "as those of `.astype(int)`"
            )
        numbers = numbers.astype("<i8")
    if kind == "f" and not (numpy.isfinite(numbers) | (may_be_nan & numpy.isnan(numbers))).all():
        raise _WrongReturnError(_not_finite(what, may_be_nan))
    kept = numbers.dtype.kind + str(numbers.dtype.itemsize)
    if kept not in ("f4", "f8", "i4", "i8", "u4", "u8"):
        # Smaller numbers fit into 4 bytes. Only numbers of extended precision are rounded.
        kept = {"f": "f8" if numbers.dtype.itemsize > 8 else "f4", "i": "i4", "u": "u4"}[numbers.dtype.kind]
    numbers = numpy.ascontiguousarray(numbers, "<" + kept)
    return _Numbers(numbers, "<" + kept, numbers.shape, True)


def _of_lists(what: str, value: Sequence[Any], whole: bool, may_be_nan: bool) -> _Numbers:
    level: list[Any] = list(value)
    # Axis by axis: all items of an axis are lists of one length, or all are numbers.
    shape = [len(level)]
    while level and _is_array(level[0]):
        lengths = {len(item) if _is_array(item) else None for item in level}
        if len(lengths) > 1:
            raise _WrongReturnError(
                f"the trial returned {what} as lists of different lengths; expected equal lengths along each axis"
            )
        shape.append(lengths.pop() or 0)
        level = [number for item in level for number in (item.tolist() if hasattr(item, "tolist") else item)]
    for item in level[:1]:
        _refuse_unit(what, item)
    try:
        data = array.array("q" if whole else "d", level)
    except (TypeError, ValueError):
        wrong = next((item for item in level if not _is_number(item, whole)), None)
        expected = "whole numbers" if whole else "numbers"
        raise _WrongReturnError(f"the trial returned {what} with {_named(wrong)}; expected {expected}") from None
    except OverflowError:
        raise _WrongReturnError(f"the trial returned {what} with a number that is too large") from None
    if not whole and not all(math.isfinite(x) or (may_be_nan and x != x) for x in data):
        raise _WrongReturnError(_not_finite(what, may_be_nan))
    return _Numbers(data, "<i8" if whole else "<f8", tuple(shape), False)


def _of_brian2(what: str, value: Any, is_time: bool) -> Any:
    """Returns the numbers of a Brian2 quantity: times in ms, everything else without a unit."""
    import numpy

    if not hasattr(value, "dim"):  # A view of a group's variable, as `monitor.t`, becomes a quantity.
        value = value[:]
    dimension = getattr(value, "dim", None)
    if dimension is None or dimension.is_dimensionless:
        return numpy.asarray(value)
    if is_time and str(dimension) == "s":
        # Dividing by 0.001 gives the decimal of a multiple of 0.1 ms more often than multiplying by 1000.
        return numpy.asarray(value) / 0.001
    _refuse_unit(what, value)
    return value


def _refuse_unit(what: str, value: Any) -> None:
    dimension = getattr(value, "dim", None)
    if dimension is not None and not getattr(dimension, "is_dimensionless", True):
        raise _WrongReturnError(
            f"the trial returned {what} as a quantity of dimension {dimension}; "
            "expected bare numbers: divide by the unit, as in `rate / Hz`"
        )


def _is_array(value: Any) -> bool:
    return isinstance(value, (list, tuple, array.array, range)) or len(getattr(value, "shape", ())) > 0


def _is_number(value: Any, whole: bool) -> bool:
    return hasattr(value, "__index__") or (not whole and hasattr(value, "__float__") and not isinstance(value, str))


def _not_finite(what: str, may_be_nan: bool) -> str:
    if may_be_nan:
        return f"the trial returned {what} with infinity; expected finite numbers or NaN"
    return f"the trial returned {what} with NaN or infinity; expected finite numbers"


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # A whole number above the largest double.
        return False


def _named(value: Any) -> str:
    """Returns a short text that identifies a value: `None`, or `a list`, or `12.5 (float)`."""
    if value is None:
        return "None"
    name = type(value).__name__
    if isinstance(value, (int, float, str, bytes)):
        text = repr(value)
        return f"{text if len(text) <= 40 else text[:40] + '…'} ({name})"
    if name == "ndarray":
        return "a numpy array"
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


# -------------------------------------------------------- the descriptors


def _descriptors() -> tuple[int, int]:
    """Returns the descriptors of requests and answers, which no child process will hold."""
    try:
        requests, answers = int(os.environ["GRANULE_REQUESTS"]), int(os.environ["GRANULE_ANSWERS"])
        os.fstat(requests)
        os.fstat(answers)
    except (KeyError, ValueError, OSError):
        program = os.path.basename(sys.argv[0]) or "this program"
        print(
            f"{program} computes the trials of a granule model, and granule starts it\n"
            "  help: run `granule try MODEL`, where MODEL is the model file that names this program",
            file=sys.stderr,
        )
        raise SystemExit(2) from None
    # A child that calls `serve` must not find the descriptors either.
    for name in ("GRANULE_REQUESTS", "GRANULE_ANSWERS"):
        del os.environ[name]
    for descriptor in (requests, answers):
        os.set_inheritable(descriptor, False)

    def leave() -> None:
        # Keeps the numbers in use, so that a forked child gets no file with the same number.
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (requests, answers):
            os.dup2(null, descriptor, inheritable=False)
        os.close(null)

    os.register_at_fork(after_in_child=leave)
    return requests, answers


def _lines(descriptor: int) -> Iterator[bytes]:
    """Yields the lines of a pipe until its end."""
    rest = bytearray()
    while read := os.read(descriptor, _READ):
        rest += read
        while (end := rest.find(b"\n")) >= 0:
            yield bytes(rest[:end])
            del rest[: end + 1]


def _write(descriptor: int, parts: Sequence[Any]) -> None:
    for part in parts:
        view = memoryview(part)
        while len(view):
            view = view[os.write(descriptor, view) :]


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):  # The program closed or replaced it.
            pass
