"""Types for `manifest.json`: parameters, versions, host and times of the run, and the hash of every file."""

from __future__ import annotations

import functools
import json
import math
import os
import re
import types
import typing
from collections import ChainMap
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from . import files
from .errors import DamagedError, NewerFormatError, NotASweepError, UnfinishedError, shell_path, shown, text

#: The version of the format that this package reads.
FORMAT = 1

#: The largest size of a manifest in bytes. A sweep has at most 2 000 000 files, whose records take about 330 bytes each, and
#: at most 1 000 000 conditions.
MOST_BYTES = 1 << 31

#: The largest size of an output file in bytes. Arrays have at most 10⁹ values.
MOST_FILE_BYTES = 1 << 36

#: The largest number of characters in the name of a condition, and of a sweep.
MOST_CONDITION_CHARS, MOST_SWEEP_CHARS = 80, 100

#: The prefixes of the presets' file names. The prefix of any other condition is its name.
PRESETS = {"Control": "control", "GABAzine": "gaba", "ACh": "ach"}

#: Names that pandas reads as missing values in a table of text.
MISSING_VALUES = frozenset({"NA", "NULL", "null", "NaN", "-NaN", "nan", "-nan", "None"})

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
_PATH = re.compile(r"seed-(?:0|[1-9][0-9]{0,9})/[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")


@dataclass(frozen=True)
class Condition:
    """A condition with all its parameters."""

    name: str
    #: The prefix of its file names.
    prefix: str
    #: Content hash of the parameters and the engine.
    fingerprint: str
    #: Values by path such as `golgi.leak_reversal`: text with a unit, such as `-51 mV`.
    parameters: Mapping[str, str]
    #: Keys of `record` that are switched off.
    not_recorded: tuple[str, ...] = ()


@dataclass(frozen=True)
class Until:
    """A rule for the number of trials: trials are computed until a measure is precise in every condition."""

    measure: str
    #: Half the width of the 95 % interval that is precise enough, in the unit of the measure.
    half_width: float
    at_least: int
    at_most: int


@dataclass(frozen=True)
class ResolvedSweep:
    """The sweep with every default filled in."""

    name: str
    engine: str
    engine_revision: int
    seeds: tuple[int, ...]
    #: The number of trials of each condition and seed.
    trials: int
    conditions: tuple[Condition, ...]
    #: Noise `common` to the conditions, or `independent`.
    noise: str = "common"
    #: The rule that decided the number of trials, if there was one.
    until: Until | None = None
    #: In a sweep of more than 10 000 conditions, the parameters that a condition has if it has no value of its own.
    common: Mapping[str, str] = field(default_factory=lambda: types.MappingProxyType({}))


@dataclass(frozen=True)
class Decision:
    """A decision on the number of trials."""

    #: The number of trials of each condition and seed from which it was made.
    trials: int
    #: The condition in which the measure was least precise.
    condition: str
    #: Half the width of its 95 % interval, in the unit of the measure; `None` if there was no interval.
    half_width: float | None


@dataclass(frozen=True)
class Table:
    """A table of conditions that the sweep file names."""

    #: The path, as the sweep file has it.
    path: str
    bytes: int
    sha256: str
    #: The content, if it is a small CSV file.
    text: str | None = None


@dataclass(frozen=True)
class Run:
    """The run that completed the sweep."""

    host: str
    operating_system: str
    architecture: str
    workers: int
    #: Start time, RFC 3339 in UTC.
    started: str
    wall_seconds: float
    #: CPU time of all its processes on the coordinator's machine.
    cpu_seconds: float
    trials_computed: int
    trials_reused: int
    #: The number of output files that were already correct.
    files_reused: int
    #: The path of the store, absolute or relative to the output directory.
    store: str = "store.granule"
    #: The number of trials that another worker computed again with the same result.
    trials_audited: int = 0
    #: The quarantined workers, each with the reason.
    workers_shut_out: tuple[str, ...] = ()
    #: The results that differ from the stored results.
    disagreements: tuple[str, ...] = ()
    #: The text of the sweep file.
    sweep_file: str | None = None
    #: The commit of the program, if its build recorded one.
    commit: str | None = None
    #: The environment variables that override the sweep file, with their values.
    overrides: Mapping[str, str] = field(default_factory=lambda: types.MappingProxyType({}))
    #: The tables of conditions that the sweep file names.
    tables: tuple[Table, ...] = ()


@dataclass(frozen=True)
class SetAside:
    """A trial that was set aside, because it could not be computed."""

    condition: str
    seed: int
    trial: int
    reason: str


@dataclass(frozen=True)
class FileRecord:
    """An output file."""

    #: The path below the output directory, with `/`.
    path: str
    bytes: int
    sha256: str
    #: Hash of everything that determines its bytes.
    identity: str


@dataclass(frozen=True)
class Manifest:
    """The manifest of a finished sweep."""

    #: Version of the format.
    manifest: int
    #: Version of granule.
    granule: str
    sweep: ResolvedSweep
    run: Run
    files: tuple[FileRecord, ...]
    #: Trials without results. The sweep lacks the files of their conditions and seeds.
    set_aside: tuple[SetAside, ...] = ()
    #: The decisions on the number of trials, if a rule decided it.
    decisions: tuple[Decision, ...] = ()


def read(out: Path) -> Manifest:
    """Reads the manifest in an output directory.

    Raises `NotASweepError`, `UnfinishedError`, `NewerFormatError`, or `DamagedError` if it
    cannot be read or parsed.
    """
    path = out / "manifest.json"
    try:
        data = files.read(path, MOST_BYTES)
    except OSError as error:
        # Without permission to search the directory, it is unknown whether it has a manifest.
        if not isinstance(error, PermissionError) and not os.path.lexists(path):
            raise _without_manifest(out) from None
        raise DamagedError(out, {path.name: error.strerror or str(error)}) from None
    try:
        return _parse(path, data)
    except ValueError as error:
        what = str(error)
    except RecursionError:
        what = "lists or objects are nested too deeply"
    except MemoryError:
        what = f"{len(data)} bytes, more than there is memory for"
    raise DamagedError(out, {path.name: what})


def _parse(path: Path, data: memoryview) -> Manifest:
    try:
        found = json.loads(str(data, "utf-8"), parse_int=_integer, parse_constant=_constant)
    except ValueError as error:
        raise ValueError(f"cannot be parsed as JSON: {error}") from None
    version = found.get("manifest") if isinstance(found, dict) else None
    if type(version) is int and version > FORMAT:
        granule = found.get("granule")
        granule = text(granule) if isinstance(granule, str) else "unknown"
        what = f"{path} has format {version}, written by granule {granule}; this package reads format {FORMAT}"
        raise NewerFormatError(what, "install a granule at least as new as the one that ran the sweep")
    manifest = typing.cast(Manifest, _typed(Manifest, found, "manifest"))
    if common := manifest.sweep.common:
        conditions = tuple(_with_common(condition, common) for condition in manifest.sweep.conditions)
        manifest = replace(manifest, sweep=replace(manifest.sweep, conditions=conditions))
    _check(manifest)
    return manifest


def _with_common(condition: Condition, common: Mapping[str, str]) -> Condition:
    """Returns the condition with all its parameters. Conditions share the memory of common ones."""
    own_first = ChainMap[str, str]()
    own_first.maps = [typing.cast(dict[str, str], parameters) for parameters in (condition.parameters, common)]
    return replace(condition, parameters=types.MappingProxyType(own_first))


def number(condition: Condition, path: str, unit: str = "") -> int | None:
    """Returns a parameter that is a positive integer, or `None` if the manifest does not have it.

    Raises `ValueError` for any other value.
    """
    value = condition.parameters.get(path)
    if value is None:
        return None
    digits = value.removesuffix(unit) if value.endswith(unit) else ""
    if not re.fullmatch("[1-9][0-9]{0,9}", digits):
        wanted = f"a positive integer in {unit.strip()}" if unit else "a positive integer"
        raise ValueError(f"parameter {path} of condition {condition.name} is not {wanted}: {shown(value)}")
    return int(digits)


def _without_manifest(out: Path) -> NotASweepError | UnfinishedError:
    if not os.path.isdir(out):
        return NotASweepError(f"no directory {out}", "give the directory that `granule run` wrote to")
    # A run writes `sweep.json` at its beginning, and `outputs.pending.json` when it begins to write outputs. Both exist
    # until it writes the manifest.
    if any(os.path.lexists(out / name) for name in ("sweep.json", "outputs.pending.json")):
        status = f"granule status {shell_path(out)}"
        help = f"run it again with the same --out to resume it; `{status}` prints its progress"
        return UnfinishedError(f"the sweep in {out} is not finished", help)
    return NotASweepError(f"no manifest.json in {out}", "give the directory that `granule run` wrote to")


def _integer(digits: str) -> int:
    # An integer of 64 bits has up to 20 digits. Python's conversion takes a time quadratic in the number of digits.
    if len(digits) > 20:
        raise ValueError(f"an integer with {len(digits)} digits")
    return int(digits)


def _constant(name: str) -> float:
    raise ValueError(f"JSON has no {name}")


@functools.cache
def _fields(of: type) -> list[tuple[str, Any, bool]]:
    """Returns name and type of each field of a dataclass, and whether the field is required."""
    hints = typing.get_type_hints(of)
    return [
        (item.name, hints[item.name], item.default is MISSING and item.default_factory is MISSING) for item in fields(of)
    ]


def _typed(wanted: Any, value: object, where: str) -> Any:
    """Converts a JSON `value` to this type. Ignores unknown keys: later versions may add some.

    Raises `ValueError`, which names the place of the first wrong value.
    """
    of = typing.get_args(wanted)
    if type(None) in of:
        return None if value is None else _typed(of[0], value, where)
    if is_dataclass(wanted) and isinstance(value, dict):
        given = {}
        for name, hint, is_required in _fields(typing.cast(type, wanted)):
            if name in value:
                given[name] = _typed(hint, value[name], f"{where}.{name}")
            elif is_required:
                raise ValueError(f"{where} has no `{name}`")
        return typing.cast(Any, wanted)(**given)
    if typing.get_origin(wanted) is tuple and isinstance(value, list):
        return tuple(_typed(of[0], item, f"{where}[{at}]") for at, item in enumerate(value))
    if typing.get_origin(wanted) is Mapping and isinstance(value, dict):
        return types.MappingProxyType({key: _typed(of[1], item, f"{where}.{text(key)}") for key, item in value.items()})
    if wanted is float and isinstance(value, (int, float)) and type(value) is not bool:
        if math.isfinite(value):
            return float(value)
    # Every integer of a manifest is unsigned and has at most 64 bits.
    elif type(value) is wanted and (not isinstance(value, int) or 0 <= value < 1 << 64):
        return value
    raise ValueError(f"{where} has an unexpected type or value: {shown(value)}")


def _check(manifest: Manifest) -> None:
    """Raises `ValueError` for names and paths that `granule run` does not write.

    So every path of a checked manifest is a file in the folder of a seed.
    """
    if manifest.manifest != FORMAT:
        raise ValueError(f"manifest.manifest is {manifest.manifest}; expected {FORMAT}")
    sweep = manifest.sweep
    _check_name("manifest.sweep.name", sweep.name, MOST_SWEEP_CHARS)
    for at, condition in enumerate(sweep.conditions):
        where = f"manifest.sweep.conditions[{at}]"
        _check_name(f"{where}.name", condition.name, MOST_CONDITION_CHARS)
        if condition.name.lower().startswith("randomized_"):
            raise ValueError(f"{where}.name starts like the files of random weights: {condition.name}")
        if condition.name in MISSING_VALUES:
            raise ValueError(f"{where}.name is {condition.name}, which pandas reads as a missing value")
        if condition.prefix not in (condition.name, PRESETS.get(condition.name)):
            raise ValueError(f"{where}.prefix is not that of condition {condition.name}: {shown(condition.prefix)}")
        number(condition, "network.granule_cells")
        number(condition, "time.duration", " ms")
    for at, file in enumerate(manifest.files):
        where = f"manifest.files[{at}]"
        if not _PATH.fullmatch(file.path):
            raise ValueError(f"{where}.path is not that of an output file: {shown(file.path)}")
        if file.bytes > MOST_FILE_BYTES:
            raise ValueError(f"{where}.bytes is more than an output file can have: {file.bytes}")
    _check_once("condition", (condition.name for condition in sweep.conditions))
    # Some file systems do not distinguish upper and lower case.
    _check_once("prefix", (condition.prefix.lower() for condition in sweep.conditions))
    _check_once("seed", sweep.seeds)
    _check_once("file", (file.path for file in manifest.files))


def _check_name(where: str, name: str, most_chars: int) -> None:
    if len(name) > most_chars or not _NAME.fullmatch(name):
        rule = f"up to {most_chars} ASCII letters, digits, `.`, `_` and `-`, with no leading `.`"
        raise ValueError(f"{where} is not a name of {rule}: {shown(name)}")


def _check_once(what: str, items: Iterable[object]) -> None:
    seen = set()
    for item in items:
        if item in seen:
            raise ValueError(f"{what} {item} is listed twice")
        seen.add(item)
