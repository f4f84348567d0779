"""The worker's side of the protocol of own models, without granule: starts a program and asks it for trials."""

from __future__ import annotations

import fcntl
import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

import granule.model

# Moves two pipes to descriptors 3 and 4, closes all others, and becomes the program.
_START = """
import os, sys
requests, answers = map(int, sys.argv[1:3])
os.dup2(requests, 3)
os.dup2(answers, 4)
os.closerange(5, 64)
os.execvp(sys.argv[3], sys.argv[3:])
"""
#: Programs import the same granule as the tests.
SOURCE = Path(granule.model.__file__).parents[1]


class FailedTrial(Exception):
    """The program answered with an error, which is the message."""


class Worker:
    """A running program. `hello` has its first answer, and `trial` computes a trial."""

    def __init__(
        self,
        command: Sequence[str | os.PathLike[str]],
        directory: Path,
        populations: Mapping[str, int] | None = None,
        duration_ms: float | None = 500.0,
        resolution_ms: float = 0.1,
    ) -> None:
        self.populations = dict(populations or {})
        self.times = {"duration_ms": duration_ms, "resolution_ms": resolution_ms} if self.populations else {}
        self.asked = 0
        requests, self._requests = _pipe()
        self._answers, answers = _pipe()
        environment = os.environ | {"GRANULE_REQUESTS": "3", "GRANULE_ANSWERS": "4", "PYTHONHASHSEED": "0"}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(SOURCE), os.environ.get("PYTHONPATH")]))
        for threads in ("OMP", "OPENBLAS", "MKL", "NUMBA", "NUMEXPR"):
            environment.setdefault(f"{threads}_NUM_THREADS", "1")
        self.process = subprocess.Popen(
            [sys.executable, "-S", "-E", "-c", _START, str(requests), str(answers), *command],
            cwd=directory,
            env=environment,
            pass_fds=(requests, answers),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        os.close(requests)
        os.close(answers)
        self._reader = open(self._answers, "rb")

    def __enter__(self) -> Worker:
        self.hello = self.ask({"granule": 1, "model": "test"})
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.process.poll() is None and kind is not None:
            self.process.kill()
        self.close()

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Sends a request and returns the answer. Bytes behind its line are in the key `block`."""
        os.write(self._requests, json.dumps(request).encode() + b"\n")
        line = self._reader.readline()
        if not line.endswith(b"\n"):
            raise AssertionError(f"the program ended: {self.close()}")
        answer: dict[str, Any] = json.loads(line)
        answer["block"] = self._reader.read(answer.get("bytes", 0))
        assert len(answer["block"]) == answer.get("bytes", 0)
        return answer

    def answer(
        self, parameters: Mapping[str, Any] | None = None, seed: int = 451, trial: int = 0, condition: str = "0" * 32
    ) -> dict[str, Any]:
        self.asked += 1
        request = {
            "id": self.asked,
            "condition": condition,
            "parameters": dict(parameters or {}),
            "seed": seed,
            "trial": trial,
            "populations": self.populations,
            "key_of_a_later_version": [1, {"a": None}],
            **self.times,
        }
        answer = self.ask(request)
        assert answer["id"] == self.asked
        return answer

    def trial(self, *arguments: Any, **named: Any) -> dict[str, Any]:
        """Returns what a trial returned: (cells, times) of each population, and each value as number or array."""
        answer = self.answer(*arguments, **named)
        if "error" in answer:
            raise FailedTrial(answer["error"])
        assert answer.keys() <= {"id", "bytes", "block", "spikes", "values"}
        assert answer["spikes"].keys() == self.populations.keys()
        result: dict[str, Any] = {}
        for name, spikes in answer["spikes"].items():
            cells, times = (array_of(spikes[part], answer["block"]) for part in ("cells", "times"))
            check_spikes(cells, times, self.populations[name], self.times)
            result[name] = cells.astype(np.int64), times.astype(np.float64)
        for name, value in answer["values"].items():
            result[name] = array_of(value, answer["block"]) if isinstance(value, (list, dict)) else value
        return result

    def close(self) -> tuple[int, str, str]:
        """Ends the program. Returns its exit code, standard output and standard error."""
        if self._requests >= 0:
            os.close(self._requests)
            self._requests = -1
        out, err = self.process.communicate(timeout=30)
        self._reader.close()
        self.ended = self.process.returncode, out.decode(), err.decode()
        return self.ended


def _pipe() -> tuple[int, int]:
    """A pipe whose descriptors are 10 and above, so that 3 and 4 are free in the program."""
    ends = []
    for end in os.pipe():
        ends.append(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10))
        os.close(end)
    return ends[0], ends[1]


def array_of(described: Any, block: bytes) -> npt.NDArray[Any]:
    """Returns an array of an answer: nested lists, or a part of the block."""
    if isinstance(described, list):
        return np.array(described)
    assert described.keys() - {"shape"} == {"raw", "at", "count"}
    assert described["raw"] in ("<f4", "<f8", "<i4", "<i8", "<u4", "<u8")
    return np.frombuffer(block, described["raw"], described["count"], described["at"])


def check_spikes(cells: npt.NDArray[Any], times: npt.NDArray[Any], size: int, limits: Mapping[str, Any]) -> None:
    """Fails if the spikes are not as the protocol requires."""
    assert cells.shape == times.shape and cells.ndim == 1
    if not cells.size:
        return
    assert cells.dtype.kind in "iu" and cells.min() >= 0 and cells.max() < size
    assert times[0] >= 0 and (times[1:] >= times[:-1]).all()
    steps = np.rint(times / limits["resolution_ms"]).astype(int)
    assert steps[-1] < math.floor(limits["duration_ms"] / limits["resolution_ms"] + 0.5)
    assert len(set(zip(cells.tolist(), steps.tolist()))) == len(cells), "a cell spiked twice in a step"
