"""Results of `granule run` in numpy, pandas or polars.

>>> import granule
>>> sweep = granule.open("out/quick")
>>> sweep.conditions, sweep.seeds
(('Control', 'ACh', 'half-tonic'), (452, 451))
>>> sweep.array("spike_probability", "ACh", 451).shape  # granule cells × ms
(512, 2000)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .arrays import Kind as Kind
    from .errors import DamagedError as DamagedError
    from .errors import GranuleError as GranuleError
    from .errors import NewerFormatError as NewerFormatError
    from .errors import NotASweepError as NotASweepError
    from .errors import NotThereError as NotThereError
    from .errors import ProgramError as ProgramError
    from .errors import UnfinishedError as UnfinishedError
    from .manifest import Condition as Condition
    from .manifest import FileRecord as FileRecord
    from .manifest import Manifest as Manifest
    from .manifest import ResolvedSweep as ResolvedSweep
    from .manifest import Run as Run
    from .manifest import SetAside as SetAside
    from .sweeps import Sweep as Sweep
    from .sweeps import open as open
    from .sweeps import program as program

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


def __getattr__(name: str) -> Any:
    # Imports numpy at the first use of a result. `granule.model` works without numpy.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(".sweeps", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
