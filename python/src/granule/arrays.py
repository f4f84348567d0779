"""Output files as numpy arrays. Runs no code from a file, and takes no allocation size from a header."""

from __future__ import annotations

import math
import re
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from .errors import shown
from .manifest import Condition, number

Kind = Literal["spike_probability", "connections", "excitation", "inhibition", "tonic_factors"]
KINDS: tuple[Kind, ...] = get_args(Kind)
FileKind = Literal[Kind, "weights"]


def file_name(kind: FileKind, condition: Condition) -> str:
    """Returns the name of a condition's file of this kind, below the folder of a seed. The original's names."""
    prefix = condition.prefix
    if kind == "spike_probability":
        is_random = condition.parameters.get("weights.random") == "true"
        return f"{'randomized_' if is_random else ''}{prefix}SpikeProb.npy"
    if kind == "tonic_factors":
        # Only the paper's condition, not another condition named ACh with other parameters.
        is_of_paper = (condition.name, prefix) == ("ACh", "ach")
        return "tonicReduction.npy" if is_of_paper else f"{prefix}TonicReduction.npy"
    suffixes = {"connections": "Connections", "weights": "Weights", "excitation": "CondE", "inhibition": "CondI"}
    return f"{prefix}{suffixes[kind]}.npy"


#: The header as numpy and granule write it. Only this form is accepted: numpy evaluates a header as a Python literal.
_HEADER = re.compile(
    rb"\{'descr': '([^']{1,20})', 'fortran_order': (True|False), "
    rb"'shape': \((|[0-9]{1,18},|[0-9]{1,18}(?:, [0-9]{1,18}){1,31})\), \} *\n"
)


def read_array(data: bytes | memoryview, kind: Kind, condition: Condition) -> npt.NDArray[Any]:
    """Returns the array of a `.npy` file, without a copy of `data`. It has the file's order, C or Fortran.

    Raises `ValueError` if this is not such a file, or if dtype or shape are not those of the kind.
    """
    dtype, dimensions = _layout(kind, condition)
    raw = np.frombuffer(data, np.uint8)
    if raw[:8].tobytes() != b"\x93NUMPY\x01\x00":
        raise ValueError(f"not a .npy file of version 1.0: it begins with {raw[:8].tobytes()!r}")
    start = 10 + int.from_bytes(raw[8:10].tobytes(), "little")
    header = _HEADER.fullmatch(raw[10:start].tobytes())
    if header is None:
        raise ValueError(f"not the header of an array: {shown(raw[10:start].tobytes())}")
    found = header[1].decode("latin-1")
    if found != dtype:
        raise ValueError(f"dtype {shown(found)} instead of {dtype!r}")
    shape = tuple(int(size) for size in re.findall(rb"[0-9]+", header[3]))
    if len(shape) != len(dimensions) or any(size not in fits for size, fits in zip(shape, dimensions)):
        raise ValueError(f"shape {shape} instead of ({', '.join(map(_sizes, dimensions))})")
    length = np.dtype(dtype).itemsize * math.prod(shape)
    if len(raw) - start != length:
        raise ValueError(f"{len(raw) - start} bytes of elements; the header's shape {shape} needs {length}")
    return raw[start:].view(dtype).reshape(shape, order="F" if header[2] == b"True" else "C")


#: The range of a dimension whose size the manifest does not determine.
_ANY = range(10**18)


def _layout(kind: Kind, condition: Condition) -> tuple[str, tuple[range, ...]]:
    """Returns the dtype of a kind of array, and the sizes that each of its dimensions can have."""

    def exactly(size: int | None) -> range:
        return _ANY if size is None else range(size, size + 1)

    cells = number(condition, "network.granule_cells")
    of_each = exactly(number(condition, "time.duration", " ms"))  # There is a value for each millisecond.
    driven = _ANY if cells is None else range(cells + 1)
    return {
        "spike_probability": ("<f8", (exactly(cells), of_each)),
        "connections": ("<i4", (_ANY, exactly(2))),
        "excitation": ("<f8", (driven, of_each)),
        "inhibition": ("<f8", (driven, of_each)),
        "tonic_factors": ("<f8", (driven,)),
    }[kind]


def _sizes(sizes: range) -> str:
    if sizes == _ANY:
        return "any"
    return str(sizes[0]) if len(sizes) == 1 else f"at most {sizes[-1]}"


# The constant parts of a file of weights. CPython 3.7 and numpy 1.21 wrote the original's files; granule writes the
# same bytes. A pickle is a program, which can do anything or run forever. This module does not run it: `_WeightsReader`
# compares its bytes with these parts, and takes keys and floats from between them. coordinator/outputs/src/pickle.rs
# explains them.
_OBJECT_HEADER = (
    b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '|O', 'fortran_order': False, 'shape': (), }".ljust(117) + b"\n"
)
_ARRAY_OF_DICT = (
    b"\x80\x03cnumpy.core.multiarray\n_reconstruct\nq\x00cnumpy\nndarray\nq\x01K\x00\x85q\x02C\x01bq\x03\x87q\x04Rq\x05"
    b"(K\x01)cnumpy\ndtype\nq\x06X\x02\x00\x00\x00O8q\x07\x89\x88\x87q\x08Rq\x09"
    b"(K\x03X\x01\x00\x00\x00|q\x0aNNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x3ftq\x0bb\x89]q\x0c}q\x0d"
)
_FIRST_KEY = (
    b"cnumpy.core.multiarray\nscalar\nq\x0eh\x06X\x02\x00\x00\x00i8q\x0f\x89\x88\x87q\x10Rq\x11"
    b"(K\x03X\x01\x00\x00\x00<q\x12NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\x13b"
)
#: The same with keys of 32 bits, which numpy has on Windows.
_FIRST_KEY_OF_32_BITS = _FIRST_KEY.replace(b"i8q", b"i4q")
_LATER_KEY = b"h\x0eh\x11"
#: The number of objects in these parts. Objects are numbered from 0.
_NUMBERED_IN_ARRAY, _NUMBERED_IN_FIRST_KEY = 14, 6
#: The largest number of list items in a batch.
_BATCH = 1000
_FLOAT = np.dtype([("code", "S1"), ("value", ">f8")])


def read_weights(data: bytes | memoryview) -> dict[int, npt.NDArray[np.float64]]:
    """Returns the weights in a `.npy` file that holds a pickled dict: mossy fibre → nS in each trial.

    Raises `ValueError` for any file that is not exactly as granule writes it.
    """
    reader = _WeightsReader(data)
    reader.expect(_OBJECT_HEADER)
    reader.expect(_ARRAY_OF_DICT)
    if reader.has(_FIRST_KEY[:1]):  # A single item has no batch.
        reader.item()
        reader.expect(b"s")
    while reader.takes(b"("):
        while not reader.takes(b"u"):
            reader.item()
    reader.expect(b"at")
    reader.expect_number()
    reader.expect(b"b.")
    if reader.at != len(reader.data):
        raise reader.error()
    return reader.weights


class _WeightsReader:
    """Reads a file of weights once, part by part."""

    def __init__(self, data: bytes | memoryview) -> None:
        self.data = memoryview(data)
        self.at = 0
        #: The next number of an object. A pickle numbers its objects.
        self.number = _NUMBERED_IN_ARRAY
        #: The size of a key in bytes.
        self.key_size = 8
        self.weights: dict[int, npt.NDArray[np.float64]] = {}

    def error(self) -> ValueError:
        return ValueError(f"not a file of weights as granule writes it: unexpected bytes at byte {self.at}")

    def has(self, part: bytes) -> bool:
        return self.data[self.at : self.at + len(part)] == part

    def takes(self, part: bytes) -> bool:
        if not self.has(part):
            return False
        self.at += len(part)
        return True

    def expect(self, part: bytes) -> None:
        if not self.takes(part):
            raise self.error()

    def expect_number(self) -> None:
        is_short = self.number < 256
        self.expect(b"q" + bytes([self.number]) if is_short else b"r" + self.number.to_bytes(4, "little"))
        self.number += 1

    def item(self) -> None:
        """Reads a mossy fibre and the list of its weights."""
        if self.weights:
            self.expect(_LATER_KEY)
        else:
            if self.takes(_FIRST_KEY_OF_32_BITS):
                self.key_size = 4
            else:
                self.expect(_FIRST_KEY)
            self.number += _NUMBERED_IN_FIRST_KEY
        self.expect(b"C" + bytes([self.key_size]))
        fiber = int.from_bytes(self.data[self.at : self.at + self.key_size], "little", signed=True)
        if fiber in self.weights:
            raise ValueError(f"mossy fibre {fiber} has two lists of weights")
        self.at += self.key_size
        for code in (b"", b"\x86", b"R", b"]"):
            self.expect(code)
            self.expect_number()
        batches = [np.empty(0)]
        if self.has(b"G"):  # A single float has no batch.
            batches.append(self.floats(1))
            self.expect(b"a")
        while self.takes(b"("):
            batches.append(self.floats(_BATCH))
            self.expect(b"e")
        self.weights[fiber] = np.concatenate(batches)

    def floats(self, most: int) -> npt.NDArray[np.float64]:
        """Reads the next floats, at most `most`."""
        count = min(most, (len(self.data) - self.at) // _FLOAT.itemsize)
        floats = np.frombuffer(self.data[self.at : self.at + count * _FLOAT.itemsize], _FLOAT)
        others = np.flatnonzero(floats["code"] != b"G")
        values = floats["value"][: others[0] if others.size else count]
        self.at += len(values) * _FLOAT.itemsize
        return values.astype(np.float64)
