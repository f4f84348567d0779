"""The examples in docstrings and in docs/python.md print the results that they show."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import numpy as np
import pytest

import granule
import granule.model
import granule.sweeps
from conftest import run

ROOT = Path(__file__).parents[2]


def check(examples: list[doctest.DocTest], names: dict[str, object]) -> int:
    runner = doctest.DocTestRunner()
    for example in examples:
        example.globs = names
        runner.run(example, clear_globs=False)
    assert runner.failures == 0
    return runner.tries


def test_docstrings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run(["run", str(ROOT / "sweeps/quick.yaml")], tmp_path)
    names = {"granule": granule, "np": np, "sweep": granule.open("out/quick")}
    found = [
        example
        for module in (granule, granule.sweeps, granule.model)
        for example in doctest.DocTestFinder().find(module)
        if example.examples
    ]
    assert check(found, names) >= 10


def test_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs the commands and examples of the page, one after the other in one directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweeps").symlink_to(ROOT / "sweeps")
    page = (ROOT / "docs/python.md").read_text(encoding="utf-8")
    names: dict[str, object] = {}
    tries = 0
    for language, block in re.findall(r"^```(\w+)\n(.*?)^```$", page, re.S | re.M):
        if language == "console":
            for command in re.findall(r"^\$ granule (.*)$", block, re.M):
                run(command.split(" #")[0].split(), tmp_path)
        if language == "python":
            example = doctest.DocTestParser().get_doctest(block, names, "docs/python.md", None, 0)
            tries += check([example], names)
    assert tries >= 5
