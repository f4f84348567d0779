"""Output files as numpy arrays, without anything in them being run."""

from __future__ import annotations

import io
import pickle
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from .manifest import Condition

Kind = Literal["spike_probability", "connections", "excitation", "inhibition", "tonic_factors"]
KINDS: tuple[Kind, ...] = get_args(Kind)
FileKind = Literal[Kind, "weights"]


def file_name(kind: FileKind, condition: Condition) -> str:
    """The file of a condition that has this, in the folder of a seed: as the original names it."""
    prefix = condition.prefix
    if kind == "spike_probability":
        is_random = condition.parameters.get("weights.random") == "true"
        return f"{'randomized_' if is_random else ''}{prefix}SpikeProb.npy"
    if kind == "tonic_factors":
        # The paper's condition, and none of that name but with other parameters.
        is_of_paper = (condition.name, prefix) == ("ACh", "ach")
        return "tonicReduction.npy" if is_of_paper else f"{prefix}TonicReduction.npy"
    suffixes = {"connections": "Connections", "weights": "Weights", "excitation": "CondE", "inhibition": "CondI"}
    return f"{prefix}{suffixes[kind]}.npy"


def read_array(data: bytes) -> npt.NDArray[Any]:
    """The array of a `.npy` file. Raises `ValueError` for what is none, or has objects in it."""
    array: npt.NDArray[Any] = np.load(io.BytesIO(data), allow_pickle=False)
    return array


def read_weights(data: bytes) -> dict[int, npt.NDArray[np.float64]]:
    """The weights of a `.npy` file that holds a pickled dict: mossy fibre → nS in each trial.

    Raises `ValueError` for anything else.
    """
    stream = io.BytesIO(data)
    try:
        if np.lib.format.read_magic(stream) != (1, 0):
            raise ValueError("another version of .npy")
        np.lib.format.read_array_header_1_0(stream)
        array = _WeightsUnpickler(stream).load()
        (weights,) = array.state[4]
        return {int(fiber): np.array(of_trials, dtype=np.float64) for fiber, of_trials in weights.items()}
    except ValueError:
        raise
    except Exception as error:  # A damaged pickle can raise nearly any.
        raise ValueError(f"no weights: {error!r}") from None


class _Plain:
    """Stands for an array or a dtype in the pickle: keeps what it is made of, and does nothing."""

    def __init__(self, *made_of: object) -> None:
        self.made_of = made_of

    def __setstate__(self, state: Any) -> None:
        self.state = state


def _scalar(dtype: _Plain, data: bytes) -> int:
    if dtype.made_of[0] != "i8" or len(data) != 8:
        raise ValueError("a key that is no 64-bit integer")
    return int.from_bytes(data, "little", signed=True)


class _WeightsUnpickler(pickle.Unpickler):
    """Knows the four names that a file of weights has, none of which it imports. A pickle with any
    other is refused; that is why no file has to be trusted."""

    def find_class(self, module: str, name: str) -> Any:
        known = {
            "numpy.core.multiarray._reconstruct": lambda *_: _Plain(),
            "numpy.core.multiarray.scalar": _scalar,
            "numpy.ndarray": _Plain,
            "numpy.dtype": _Plain,
        }
        found = known.get(f"{module}.{name}")
        if found is None:
            raise ValueError(f"not in a file of weights: {module}.{name}")
        return found
