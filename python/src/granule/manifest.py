"""`manifest.json` in types: what was run, with what, where and when, and the hash of every file."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from .errors import DamagedError, NewerFormatError, NotASweepError, UnfinishedError, shell_path

#: The version of the format that is read here.
FORMAT = 1


@dataclass(frozen=True)
class Condition:
    """A condition with all its parameters."""

    name: str
    #: What the names of its files begin with.
    prefix: str
    #: Content hash of its parameters and the engine.
    fingerprint: str
    #: By path such as `golgi.leak_reversal`: texts with units, such as `-51 mV`.
    parameters: Mapping[str, str]
    #: Keys of `record` that are switched off.
    not_recorded: tuple[str, ...] = ()


@dataclass(frozen=True)
class ResolvedSweep:
    """The sweep with every default filled in."""

    name: str
    engine: str
    engine_revision: int
    seeds: tuple[int, ...]
    #: Of each condition and seed.
    trials: int
    conditions: tuple[Condition, ...]
    #: `common` or `independent` to the conditions.
    noise: str = "common"


@dataclass(frozen=True)
class Run:
    """The run that completed the sweep."""

    host: str
    operating_system: str
    architecture: str
    workers: int
    #: When it began, RFC 3339 in UTC.
    started: str
    wall_seconds: float
    #: Of all its processes on the coordinator's machine.
    cpu_seconds: float
    trials_computed: int
    trials_reused: int
    #: Output files that were already as they should be.
    files_reused: int
    #: Where the spikes are: a path from the output directory, or from the root.
    store: str = "store.granule"
    #: Trials that were computed once more by another worker, with the same result.
    trials_audited: int = 0
    #: Workers that nothing was taken from any more, and why.
    workers_shut_out: tuple[str, ...] = ()
    #: Results that differed from those stored.
    disagreements: tuple[str, ...] = ()


@dataclass(frozen=True)
class SetAside:
    """A trial that could not be computed."""

    condition: str
    seed: int
    trial: int
    reason: str


@dataclass(frozen=True)
class FileRecord:
    """An output file."""

    #: Below the output directory, with `/`.
    path: str
    bytes: int
    sha256: str
    #: Hash of everything that decides its bytes.
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
    #: The files of their conditions and seeds are not there.
    set_aside: tuple[SetAside, ...] = ()


def read(out: Path) -> Manifest:
    """The manifest in an output directory.

    Raises `NotASweepError`, `UnfinishedError`, `NewerFormatError`, or `DamagedError` for one that
    cannot be understood.
    """
    path = out / "manifest.json"
    try:
        found = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise _without_manifest(out) from None
    except ValueError as error:
        raise DamagedError(out, {path.name: f"no JSON: {error}"}) from None
    version = found.get("manifest") if isinstance(found, dict) else None
    if isinstance(version, int) and version > FORMAT:
        what = f"{path} has format {version}, of granule {found.get('granule', 'unknown')}; known is {FORMAT}"
        raise NewerFormatError(what, "install a granule at least as new as the one that ran the sweep")
    try:
        return typing.cast(Manifest, _typed(Manifest, found, "manifest"))
    except TypeError as error:
        raise DamagedError(out, {path.name: str(error)}) from None


def _without_manifest(out: Path) -> NotASweepError | UnfinishedError:
    if not out.is_dir():
        return NotASweepError(f"no directory {out}", "give the directory that `granule run` wrote to")
    # Either is there from the beginning of a run, or of its writing, until the manifest is.
    if any((out / name).exists() for name in ("sweep.json", "outputs.pending.json")):
        status = f"granule status {shell_path(out)}"
        help = f"run it again with the same --out, which goes on where it was; `{status}` says how far"
        return UnfinishedError(f"the sweep in {out} is not finished", help)
    return NotASweepError(f"no manifest.json in {out}", "give the directory that `granule run` wrote to")


def _typed(wanted: Any, value: object, where: str) -> Any:
    """`value` of JSON as this type. What is not known is left out: it may come with later versions."""
    of = typing.get_args(wanted)
    if is_dataclass(wanted) and isinstance(value, dict):
        hints = typing.get_type_hints(wanted)
        given = {}
        for field in fields(wanted):
            if field.name in value:
                given[field.name] = _typed(hints[field.name], value[field.name], f"{where}.{field.name}")
            elif field.default is MISSING:
                raise TypeError(f"{where} has no `{field.name}`")
        return typing.cast(Any, wanted)(**given)
    if typing.get_origin(wanted) is tuple and isinstance(value, list):
        return tuple(_typed(of[0], item, f"{where}[{at}]") for at, item in enumerate(value))
    if typing.get_origin(wanted) is Mapping and isinstance(value, dict):
        return types.MappingProxyType({key: _typed(of[1], item, f"{where}.{key}") for key, item in value.items()})
    if wanted is float and type(value) in (int, float):
        return float(typing.cast(float, value))
    if type(value) is wanted:
        return value
    raise TypeError(f"{where} is not as it should be: {value!r:.60}")
