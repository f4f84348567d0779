"""Opens finished sweeps. `granule` exports the names of this module."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sysconfig
import tempfile
import warnings
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

import numpy as np
import numpy.typing as npt

from . import files
from .arrays import KINDS, FileKind, Kind, file_name, read_array, read_weights
from .errors import (
    DamagedError,
    GranuleError,
    NewerFormatError,
    NotASweepError,
    NotThereError,
    ProgramError,
    UnfinishedError,
    shell_path,
    text,
)
from .manifest import Condition, FileRecord, Manifest, ResolvedSweep, Run, SetAside
from .manifest import read as _read_manifest

if TYPE_CHECKING:
    import pandas
    import polars

T = TypeVar("T")

__all__ = [
    "Condition",
    "DamagedError",
    "FileRecord",
    "GranuleError",
    "Kind",
    "Manifest",
    "NewerFormatError",
    "NotASweepError",
    "NotThereError",
    "ProgramError",
    "ResolvedSweep",
    "Run",
    "SetAside",
    "Sweep",
    "UnfinishedError",
    "open",
    "program",
]


def open(out: str | os.PathLike[str]) -> Sweep:
    """Opens the finished sweep in the directory that `granule run` wrote to.

    If trials were set aside, the sweep lacks their files. Raises `NotASweepError`,
    `UnfinishedError`, `NewerFormatError` or, for a damaged manifest, `DamagedError`.

    >>> granule.open("out")
    Traceback (most recent call last):
        ...
    granule.errors.NotASweepError: no manifest.json in out
      help: give the directory that `granule run` wrote to
    """
    return Sweep(Path(out))


class Sweep:
    """A finished sweep. Each access reads its file, and compares it with the SHA-256 in the manifest."""

    #: The output directory.
    out: Path
    manifest: Manifest
    #: Names of the conditions, as in the sweep file.
    conditions: tuple[str, ...]
    seeds: tuple[int, ...]

    def __init__(self, out: Path) -> None:
        self.out = out
        self.manifest = _read_manifest(out)
        self.seeds = self.manifest.sweep.seeds
        self._conditions = {condition.name: condition for condition in self.manifest.sweep.conditions}
        self.conditions = tuple(self._conditions)
        self._files = {file.path: file for file in self.manifest.files}

    def __repr__(self) -> str:
        return f"<granule.Sweep {self.manifest.sweep.name} in {self.out}>"

    def array(self, kind: Kind, condition: str, seed: int) -> npt.NDArray[Any]:
        """Returns an output array. Raises `DamagedError` if its file is not that of the manifest, or if
        dtype or shape are not those of the table.

        | kind | dtype, shape | |
        |---|---|---|
        | `spike_probability` | float64 (granule cells, ms) | fraction of trials with a spike |
        | `connections` | int32 (synapses, 2) | mossy fibre and granule cell of each active synapse |
        | `excitation`, `inhibition` | float64 (driven cells, ms) | mean summed conductance, nS |
        | `tonic_factors` | float64 (driven cells) | factor on tonic inhibition |

        *Driven cells* are the granule cells in `connections`, ascending. Raises `NotThereError` if
        the sweep does not have the array: by default, only presets have spike probabilities and
        conductances; `record` in the sweep file decides.

        >>> connections = sweep.array("connections", "Control", 451)
        >>> driven = np.unique(connections[:, 1])
        >>> sweep.array("inhibition", "Control", 451).shape == (len(driven), 2000)
        True
        """
        _known("kind of array", [kind], KINDS)
        return self._read(kind, condition, seed, lambda data: read_array(data, kind, self._conditions[condition]))

    def arrays(self, seed: int) -> dict[str, dict[Kind, npt.NDArray[Any]]]:
        """Returns all arrays of a seed that the sweep has, by condition and kind.

        >>> list(sweep.arrays(451)["Control"])
        ['spike_probability', 'connections', 'excitation', 'inhibition']
        """
        _known("seed", [seed], self.seeds)
        return {
            name: {kind: self.array(kind, name, seed) for kind in KINDS if self._path(kind, name, seed) in self._files}
            for name in self.conditions
        }

    def weights(self, condition: str, seed: int) -> dict[int, npt.NDArray[np.float64]]:
        """Returns the weights of each active mossy fibre in nS: float64 (trials).

        >>> weights = sweep.weights("Control", 451)
        >>> len(weights), {of_trials.shape for of_trials in weights.values()}
        (8, {(5,)})
        """
        return self._read("weights", condition, seed, self._weights)

    def verify(self) -> None:
        """Compares every file with its SHA-256 in the manifest. Raises `DamagedError` with all that differ.

        `granule verify` also compares the files with the stored spikes.

        >>> sweep.verify()
        """
        wrong = {}
        for path in self._files:
            try:
                self._bytes(path)
            except DamagedError as error:
                wrong.update(error.files)
        if wrong:
            raise DamagedError(self.out, wrong)

    @overload
    def spikes(
        self,
        backend: Literal["pandas"] = ...,
        conditions: Collection[str] | None = ...,
        seeds: Collection[int] | None = ...,
    ) -> pandas.DataFrame: ...
    @overload
    def spikes(
        self,
        backend: Literal["polars"],
        conditions: Collection[str] | None = ...,
        seeds: Collection[int] | None = ...,
    ) -> polars.DataFrame: ...
    @overload
    def spikes(
        self,
        backend: Literal["numpy"],
        conditions: Collection[str] | None = ...,
        seeds: Collection[int] | None = ...,
    ) -> dict[str, npt.NDArray[Any]]: ...
    def spikes(
        self,
        backend: Literal["pandas", "polars", "numpy"] = "pandas",
        conditions: Collection[str] | None = None,
        seeds: Collection[int] | None = None,
    ) -> Any:
        """Returns every spike of these conditions and seeds (default: all): a row each, in the order of the columns.

        | column | type | |
        |---|---|---|
        | `condition` | text | |
        | `seed`, `trial`, `cell` | uint32 | trials and, within a population, cells count from 0 |
        | `population` | text | `granule` or `golgi` |
        | `time_ms` | float64 | the step's time, ms |

        Leaves out trials that were set aside, with a warning. Raises `NotThereError`, and
        `ProgramError` if `granule export` fails.

        >>> spikes = sweep.spikes("numpy", conditions=["Control"], seeds=[451])
        >>> list(spikes)
        ['condition', 'seed', 'trial', 'population', 'cell', 'time_ms']
        >>> spikes["cell"].dtype, spikes["time_ms"].dtype, np.unique(spikes["seed"]).tolist()
        (dtype('uint32'), dtype('float64'), [451])
        """
        return self._table("to", backend, conditions, seeds)

    @overload
    def measures(
        self,
        backend: Literal["pandas"] = ...,
        conditions: Collection[str] | None = ...,
        seeds: Collection[int] | None = ...,
        *,
        of_trials: bool = ...,
        window: tuple[int, int] | None = ...,
    ) -> pandas.DataFrame: ...
    @overload
    def measures(
        self,
        backend: Literal["polars"],
        conditions: Collection[str] | None = ...,
        seeds: Collection[int] | None = ...,
        *,
        of_trials: bool = ...,
        window: tuple[int, int] | None = ...,
    ) -> polars.DataFrame: ...
    @overload
    def measures(
        self,
        backend: Literal["numpy"],
        conditions: Collection[str] | None = ...,
        seeds: Collection[int] | None = ...,
        *,
        of_trials: bool = ...,
        window: tuple[int, int] | None = ...,
    ) -> dict[str, npt.NDArray[Any]]: ...
    def measures(
        self,
        backend: Literal["pandas", "polars", "numpy"] = "pandas",
        conditions: Collection[str] | None = None,
        seeds: Collection[int] | None = None,
        *,
        of_trials: bool = False,
        window: tuple[int, int] | None = None,
    ) -> Any:
        """Returns the measures of these conditions and seeds (default: all): a row for each condition and seed.

        Columns are `condition`, each parameter that differs between the conditions, with its unit in the
        name, `seed`, `trials`, the window (`window_from_ms`, `window_to_ms`) and the measures, as in `measures.csv` of
        `granule figures`. A value that cannot be measured is NaN or null.

        With `of_trials`, a row for each trial: `trial` instead of `trials`, the number of spikes of each
        population, and the measures that a single trial has.

        `window` has the first and the last ms (excluded) in which responses are counted. Default: from 10 ms before
        the first stimulus to 30 ms after the last.

        Raises as `spikes` does.

        >>> measures = sweep.measures("numpy")
        >>> measures["response_probability"].shape  # conditions × seeds
        (6,)
        >>> sweep.measures("numpy", seeds=[451], of_trials=True)["trial"].tolist()
        [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4]
        """
        options = [] if window is None else [f"--window={window[0]}..{window[1]}"]
        return self._table("trials" if of_trials else "measures", backend, conditions, seeds, options)

    def _table(
        self,
        which: str,
        backend: str,
        conditions: Collection[str] | None,
        seeds: Collection[int] | None,
        options: Sequence[str] = (),
    ) -> Any:
        """Returns the table that `granule export` writes with the option `which`."""
        if backend not in ("pandas", "polars", "numpy"):
            raise ValueError(f"backend is pandas, polars or numpy, not {backend!r}")
        options = list(options)
        if conditions is not None:
            _known("condition", conditions, self.conditions)
            options.append(f"--conditions={','.join(conditions)}")
        if seeds is not None:
            _known("seed", seeds, self.seeds)
            options.append(f"--seeds={','.join(map(str, seeds))}")
        with tempfile.TemporaryDirectory(prefix="granule-") as directory:
            table = os.path.join(directory, "table.npz" if backend == "numpy" else "table.parquet")
            _export(self.out, which, table, options)
            try:
                return _load(table, backend)
            except ImportError:
                raise
            except Exception as error:  # A damaged table can raise nearly any.
                what = f"cannot read the table that `granule export` wrote: {error}"
                raise ProgramError(what, f"run `{program()} --version` to check that it is granule") from error

    def _path(self, kind: FileKind, condition: str, seed: int) -> str:
        return f"seed-{seed}/{file_name(kind, self._conditions[condition])}"

    def _weights(self, data: memoryview) -> dict[int, npt.NDArray[np.float64]]:
        weights = read_weights(data)
        trials = self.manifest.sweep.trials
        for fiber, of_trials in weights.items():
            if len(of_trials) != trials:
                raise ValueError(f"mossy fibre {fiber} has {len(of_trials)} weights instead of {trials}, one a trial")
        return weights

    def _read(self, kind: FileKind, condition: str, seed: int, read: Callable[[memoryview], T]) -> T:
        _known("condition", [condition], self.conditions)
        _known("seed", [seed], self.seeds)
        path = self._path(kind, condition, seed)
        if path not in self._files:
            help = (
                "the condition has no such file, or its `record` leaves it out; "
                "to write every file, set `record: all` in the sweep file and run it again"
            )
            for trial in self.manifest.set_aside:
                if (trial.condition, trial.seed) == (condition, seed):
                    help = f"granule did not write it, because trial {trial.trial} was set aside: {text(trial.reason)}"
            raise NotThereError(f"no {kind} of condition {condition}, seed {seed}, in {self.out}", help)
        data = self._bytes(path)
        try:
            return read(data)
        except ValueError as error:
            raise DamagedError(self.out, {path: str(error)}) from None

    def _bytes(self, path: str) -> memoryview:
        """Returns the bytes of a file. Raises `DamagedError` if length or SHA-256 are not those of the manifest."""
        record = self._files[path]
        try:
            data = files.read_below(self.out, path, record.bytes)
        except OSError as error:
            raise DamagedError(self.out, {path: error.strerror or str(error)}) from None
        if len(data) != record.bytes:
            raise DamagedError(self.out, {path: f"{len(data)} bytes instead of {record.bytes}"})
        if hashlib.sha256(data).hexdigest() != record.sha256:
            raise DamagedError(self.out, {path: "its SHA-256 differs from that in the manifest"})
        return data


def _known(what: str, asked: Collection[object], known: Collection[object]) -> None:
    """Raises `NotThereError` if the sweep does not have a requested value, or if none is requested."""
    for one in asked:
        if one not in known:
            raise NotThereError(f"no {what} {one!r} in the sweep", f"choose from: {', '.join(map(str, known))}")
    if not asked:
        raise NotThereError(f"the list of {what}s is empty", f"omit the argument to select all {what}s")


def _load(table: str, backend: str) -> Any:
    if backend == "numpy":
        with np.load(table, allow_pickle=False) as columns:
            return {name: columns[name] for name in columns.files}
    if backend == "polars":
        import polars

        return polars.read_parquet(table)
    import pandas

    return pandas.read_parquet(table)


def program() -> Path:
    """Returns the path of the program `granule`: the environment variable GRANULE, else the program that was
    installed with this package, else the first in PATH.

    >>> granule.program().is_file()
    True
    """
    given = os.environ.get("GRANULE")
    if given:
        return Path(given)
    scripts = (sysconfig.get_path("scripts"), sysconfig.get_path("scripts", sysconfig.get_preferred_scheme("user")))
    found = shutil.which("granule", path=os.pathsep.join(scripts)) or shutil.which("granule")
    if found is None:
        help = "install the wheel again, or set the environment variable GRANULE to its path"
        raise ProgramError("no program `granule`", help)
    return Path(found)


def _export(out: Path, which: str, table: str, options: list[str]) -> None:
    # The path is absolute, so that the program takes no path for an option.
    command = [str(program()), "export", os.path.abspath(out), f"--{which}", table, *options]
    try:
        ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    except OSError as error:
        help = "set the environment variable GRANULE to the path of granule"
        raise ProgramError(f"cannot run {command[0]}: {error.strerror}", help) from None
    told = ended.stderr.strip()
    if ended.returncode != 0:
        what = f"`granule export` ended with status {ended.returncode}: {told}"
        raise ProgramError(what, f"run `granule verify {shell_path(out)}` to find the problem")
    if told:
        warnings.warn(told, stacklevel=4)
