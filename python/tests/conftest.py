"""Sweeps for the tests, run by the program that `granule.program()` finds."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import granule

TINY = """
name: tiny
network: { mossy_fibers: 40, granule_cells: 32, golgi_cells: 5 }
time: { duration: 1100 ms }
seeds: [3, 5]
trials: 4
record: all
conditions:
  - Control
  - ACh
  - name: drawn
    set: { granule.tonic_factor: { gamma: { mean: 0.4, sd: 0.07, seed: 1 } } }
    record: { conductances: false }
  - name: fixed
    set: { weights.random: false }
"""


def run(arguments: list[str], directory: Path) -> None:
    subprocess.run([granule.program(), *arguments], cwd=directory, check=True, capture_output=True)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output directory of a finished sweep, for tests that change nothing in it."""
    directory = tmp_path_factory.mktemp("tiny")
    (directory / "tiny.yaml").write_text(TINY)
    run(["run", "tiny.yaml", "--out", "out"], directory)
    return directory / "out"


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    """A finished sweep that the test may change."""
    return Path(shutil.copytree(tiny, tmp_path / "copy"))


def change_manifest(out: Path, **changes: Any) -> None:
    path = out / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
