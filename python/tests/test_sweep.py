"""The module returns what a sweep's files and `granule export` contain."""

from __future__ import annotations

import csv
import dataclasses
import functools
import hashlib
import json
import os
import pickle
import re
import shutil
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

import granule
from conftest import TINY, change_manifest, run
from granule.arrays import read_weights
from granule.errors import shell_path

FILES: dict[granule.Kind, str] = {
    "spike_probability": "randomized_{}SpikeProb.npy",
    "connections": "{}Connections.npy",
    "excitation": "{}CondE.npy",
    "inhibition": "{}CondI.npy",
}


def test_the_manifest(tiny: Path) -> None:
    found = json.loads((tiny / "manifest.json").read_text())
    sweep = granule.open(tiny)
    manifest = sweep.manifest
    assert sweep.conditions == ("Control", "ACh", "drawn", "fixed")
    assert sweep.seeds == manifest.sweep.seeds == (3, 5)
    assert (manifest.sweep.name, manifest.sweep.engine, manifest.sweep.trials) == ("tiny", "pcg", 4)
    assert manifest.sweep.conditions[2].not_recorded == ("conductances",)
    assert manifest.sweep.conditions[0].parameters["golgi.leak_reversal"] == "-51 mV"
    assert manifest.run.trials_computed == 4 * 2 * 4
    assert manifest.set_aside == ()

    def plain(value: Any) -> Any:
        """Converts to JSON values, and leaves out defaults."""
        if dataclasses.is_dataclass(value):
            items = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
            return {name: plain(item) for name, item in items.items() if item not in ((), None, {})}
        if isinstance(value, tuple):
            return [plain(item) for item in value]
        return dict(value) if hasattr(value, "items") else value

    # The manifest is read completely.
    assert plain(manifest) == found
    with pytest.raises(dataclasses.FrozenInstanceError):
        manifest.granule = "2"  # type: ignore[misc]
    with pytest.raises(TypeError):
        manifest.sweep.conditions[0].parameters["time.step"] = "1 ms"  # type: ignore[index]


def test_parameters_that_conditions_have_in_common(copy: Path) -> None:
    before = granule.Sweep(copy).manifest.sweep.conditions
    sweep = json.loads((copy / "manifest.json").read_text())["sweep"]
    common = sweep["conditions"][0]["parameters"]
    for condition in sweep["conditions"]:
        own = condition["parameters"].items() - common.items()
        condition["parameters"] = dict(own)
    change_manifest(copy, sweep=sweep | {"common": common})
    after = granule.Sweep(copy).manifest.sweep.conditions
    assert [dict(condition.parameters) for condition in after] == [dict(condition.parameters) for condition in before]
    assert len(sweep["conditions"][1]["parameters"]) < len(before[1].parameters)


def test_arrays_are_those_of_the_files(tiny: Path) -> None:
    sweep = granule.open(tiny)
    read = set()

    def check(array: np.ndarray[Any, Any], file: str) -> None:
        expected = np.load(tiny / file)
        assert array.dtype == expected.dtype, file
        assert array.shape == expected.shape, file
        np.testing.assert_array_equal(array, expected, err_msg=file)
        assert array.flags.f_contiguous == expected.flags.f_contiguous, file
        read.add(file)

    for seed in sweep.seeds:
        for name, prefix in [("Control", "control"), ("ACh", "ach"), ("drawn", "drawn")]:
            for kind, file in FILES.items():
                if name != "drawn" or kind in ("spike_probability", "connections"):
                    check(sweep.array(kind, name, seed), f"seed-{seed}/{file.format(prefix)}")
            file = f"seed-{seed}/{prefix}Weights.npy"
            expected = np.load(tiny / file, allow_pickle=True).item()
            weights = sweep.weights(name, seed)
            assert {fiber: list(of_trials) for fiber, of_trials in weights.items()} == expected
            assert all(type(fiber) is int and value.shape == (4,) for fiber, value in weights.items())
            read.add(file)
        check(sweep.array("tonic_factors", "ACh", seed), f"seed-{seed}/tonicReduction.npy")
        check(sweep.array("tonic_factors", "drawn", seed), f"seed-{seed}/drawnTonicReduction.npy")
        check(sweep.array("spike_probability", "fixed", seed), f"seed-{seed}/fixedSpikeProb.npy")
    assert read == {file.path for file in sweep.manifest.files}
    sweep.verify()


def test_all_arrays_of_a_seed(tiny: Path) -> None:
    sweep = granule.open(tiny)
    arrays = sweep.arrays(5)
    assert {name: list(kinds) for name, kinds in arrays.items()} == {
        "Control": ["spike_probability", "connections", "excitation", "inhibition"],
        "ACh": ["spike_probability", "connections", "excitation", "inhibition", "tonic_factors"],
        "drawn": ["spike_probability", "connections", "tonic_factors"],
        "fixed": ["spike_probability"],
    }
    np.testing.assert_array_equal(arrays["ACh"]["inhibition"], np.load(tiny / "seed-5/achCondI.npy"))


def test_spikes_are_those_of_the_export(tiny: Path, tmp_path: Path) -> None:
    run(["export", str(tiny), "--to", "spikes.csv"], tmp_path)
    with (tmp_path / "spikes.csv").open() as file:
        rows = [tuple(row.values()) for row in csv.DictReader(file)]
    assert len(rows) > 500
    sweep = granule.open(tiny)
    of_pandas = sweep.spikes()
    assert isinstance(of_pandas, pd.DataFrame)
    of_polars = sweep.spikes("polars")
    assert isinstance(of_polars, pl.DataFrame)
    of_numpy = sweep.spikes("numpy")
    tables = {
        "pandas": of_pandas.itertuples(index=False, name=None),
        "polars": of_polars.iter_rows(),
        "numpy": zip(*of_numpy.values(), strict=True),
    }
    for backend, table in tables.items():
        found = [(*map(str, row[:-1]), float(row[-1])) for row in table]
        assert found == [(*row[:-1], float(row[-1])) for row in rows], backend
    types = [of_numpy[name].dtype.str for name in of_numpy]
    assert types[1:3] + types[4:] == ["<u4", "<u4", "<u4", "<f8"]

    def counts(table: dict[str, np.ndarray[Any, Any]]) -> Counter[tuple[str, int]]:
        return Counter(zip(table["condition"].tolist(), table["seed"].tolist(), strict=True))

    of_all = Counter((row[0], int(row[1])) for row in rows)
    assert counts(of_numpy) == of_all
    assert len(of_all) == 8
    some = sweep.spikes("numpy", conditions=["fixed", "ACh"], seeds=[5])
    assert counts(some) == {pair: of_all[pair] for pair in [("ACh", 5), ("fixed", 5)]}


def test_measures_are_those_of_the_export(tiny: Path, tmp_path: Path) -> None:
    run(["export", str(tiny), "--measures", "measures.csv", "--trials", "trials.csv"], tmp_path)
    sweep = granule.open(tiny)
    for file, of_trials, count in [("measures.csv", False, 8), ("trials.csv", True, 32)]:
        with (tmp_path / file).open() as opened:
            rows = list(csv.DictReader(opened))
        assert len(rows) == count
        backends: list[Any] = ["pandas", "polars", "numpy"]
        for backend in backends:
            columns: Any = sweep.measures(backend, of_trials=of_trials)
            assert list(columns) == list(rows[0]) if backend == "numpy" else list(columns.columns) == list(rows[0])
            for name in ("condition", "seed", "response_probability", "golgi_during_hz"):
                found = [text if isinstance(text, str) else float(text) for text in columns[name]]
                expected = [row[name] if name == "condition" else float(row[name]) for row in rows]
                assert found == expected, (backend, name)
    wide, early = (sweep.measures("numpy", seeds=[5], window=window) for window in [(0, 1100), (0, 1000)])
    assert wide["spikes_per_driven_cell"].sum() > early["spikes_per_driven_cell"].sum()
    spikes = sweep.spikes("numpy", seeds=[5])
    for condition, found in zip(wide["condition"], wide["spikes_per_driven_cell"], strict=True):
        if condition == "fixed":
            continue
        driven = np.unique(sweep.array("connections", condition, 5)[:, 1])
        is_driven = (spikes["condition"] == condition) & (spikes["population"] == "granule")
        count = (is_driven & np.isin(spikes["cell"], driven)).sum()
        assert found == pytest.approx(count / len(driven) / 4, rel=1e-12)


def test_what_a_sweep_does_not_have(tiny: Path) -> None:
    sweep = granule.open(tiny)

    def check(message: str, ask: Any) -> None:
        with pytest.raises(granule.NotThereError, match=re.escape(message)) as caught:
            ask()
        assert isinstance(caught.value, LookupError)

    names = "choose from: Control, ACh, drawn, fixed"
    check(f"no condition 'Ach' in the sweep\n  help: {names}", lambda: sweep.weights("Ach", 3))
    check(f"no condition 'GABAzine' in the sweep\n  help: {names}", lambda: sweep.spikes(conditions=["GABAzine"]))
    check("no seed 4 in the sweep\n  help: choose from: 3, 5", lambda: sweep.array("connections", "ACh", 4))
    check("no seed 4 in the sweep\n  help: choose from: 3, 5", lambda: sweep.arrays(4))
    none = "the list of seeds is empty\n  help: omit the argument to select all seeds"
    check(none, lambda: sweep.spikes("numpy", seeds=[]))
    kinds: Any = ("SpikeProb", "weights")
    for kind in kinds:
        check(f"no kind of array '{kind}'", functools.partial(sweep.array, kind, "ACh", 3))
    check("no excitation of condition drawn, seed 3,", lambda: sweep.array("excitation", "drawn", 3))
    check("no weights of condition fixed, seed 5,", lambda: sweep.weights("fixed", 5))
    backend: Any = "cudf"
    with pytest.raises(ValueError, match="backend is pandas, polars or numpy, not 'cudf'"):
        sweep.spikes(backend)


def test_files_that_are_not_those_of_the_manifest(copy: Path) -> None:
    sweep = granule.open(copy)
    changed, shorter, gone = (copy / "seed-3" / name for name in ("achCondE.npy", "achCondI.npy", "achWeights.npy"))
    data = bytearray(changed.read_bytes())
    data[-1] ^= 1
    changed.write_bytes(data)
    shorter.write_bytes(shorter.read_bytes()[:-8])
    gone.unlink()
    with pytest.raises(granule.DamagedError, match="seed-3/achCondE.npy: its SHA-256 differs from that in the"):
        sweep.array("excitation", "ACh", 3)
    with pytest.raises(granule.DamagedError, match="seed-3/achCondI.npy: .* bytes instead of"):
        sweep.array("inhibition", "ACh", 3)
    with pytest.raises(granule.DamagedError, match="seed-3/achCondE.npy"):
        sweep.arrays(3)
    with pytest.raises(granule.DamagedError, match="run the sweep again") as caught:
        sweep.verify()
    length = len(shorter.read_bytes())
    assert caught.value.files == {
        "seed-3/achCondE.npy": "its SHA-256 differs from that in the manifest",
        "seed-3/achCondI.npy": f"{length} bytes instead of {length + 8}",
        "seed-3/achWeights.npy": "No such file or directory",
    }
    # The help in the message works.
    (copy.parent / "tiny.yaml").write_text(TINY)
    run(["run", "tiny.yaml", "--out", "copy"], copy.parent)
    granule.open(copy).verify()


def test_a_file_whose_content_is_no_array(copy: Path) -> None:
    """A file with a correct hash in the manifest is still not accepted if it holds no array."""
    for name, ask in [("controlCondE.npy", "excitation"), ("controlWeights.npy", "weights")]:
        file = copy / "seed-3" / name
        file.write_bytes(b"\x93NUMPY\x01\x00nothing")
        manifest = json.loads((copy / "manifest.json").read_text())
        (record,) = [record for record in manifest["files"] if record["path"] == f"seed-3/{name}"]
        record["bytes"] = file.stat().st_size
        record["sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
        change_manifest(copy, files=manifest["files"])
        sweep = granule.open(copy)
        kind: Any = ask
        with pytest.raises(granule.DamagedError, match=name):
            sweep.weights("Control", 3) if ask == "weights" else sweep.array(kind, "Control", 3)


class Evil:
    """Creates a file if it is unpickled by `pickle`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def test_weights_of_the_original_on_windows(tmp_path: Path) -> None:
    sweep = TINY.replace("name: tiny", "engine: brian2-2.2.1\nplatform: win-64\nname: tiny")
    (tmp_path / "tiny.yaml").write_text(sweep)
    run(["run", "tiny.yaml", "--out", "out"], tmp_path)
    weights = granule.Sweep(tmp_path / "out").weights("Control", 3)
    (tmp_path / "tiny.yaml").write_text(sweep.replace("win-64", "linux-64"))
    run(["run", "tiny.yaml", "--out", "linux"], tmp_path)
    linux = granule.Sweep(tmp_path / "linux").weights("Control", 3)
    files = [(tmp_path / out / "seed-3/controlWeights.npy").read_bytes() for out in ("out", "linux")]
    assert len(files[0]) < len(files[1])
    assert weights.keys() == linux.keys()
    assert all(np.array_equal(weights[fiber], linux[fiber]) for fiber in weights)


def test_pickles_run_nothing(tiny: Path, tmp_path: Path) -> None:
    good = (tiny / "seed-3/controlWeights.npy").read_bytes()
    header = good[:128]
    assert header.endswith(b"\n")
    assert read_weights(good)
    trap = tmp_path / "trap"
    pickled = pickle.dumps(Evil(trap), protocol=3)
    pickle.loads(pickled)
    assert trap.exists(), "it is a trap"
    trap.unlink()
    with pytest.raises(ValueError, match="unexpected bytes at byte 128"):
        read_weights(header + pickled)
    assert not trap.exists()
    # Arrays that are not weights do not run code either, and neither does a damaged file of weights.
    for other in (np.arange(3), {"a": 1}, [1.0], {1: [0.5]}):
        with pytest.raises(ValueError):
            read_weights(header + pickle.dumps(other, protocol=3))
    for at in range(len(header), len(good), 7):
        try:
            read_weights(good[:at])
        except ValueError:
            continue
        raise AssertionError(at)


def test_directories_without_a_finished_sweep(tmp_path: Path, tiny: Path) -> None:
    with pytest.raises(granule.NotASweepError, match=f"no directory {tmp_path}/nowhere"):
        granule.open(tmp_path / "nowhere")
    with pytest.raises(granule.NotASweepError, match=f"no manifest.json in {tmp_path}"):
        granule.open(tmp_path)
    with pytest.raises(granule.NotASweepError, match="no directory"):
        granule.open(tiny / "manifest.json")


def test_a_sweep_that_was_killed(tmp_path: Path) -> None:
    (tmp_path / "long.yaml").write_text(TINY.replace("trials: 4", "trials: 1000000"))
    command = [str(granule.program()), "run", "long.yaml", "--out", "out"]
    started = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "out/sweep.json").exists():
            assert started.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        started.kill()
        started.wait()
    with pytest.raises(granule.UnfinishedError, match="is not finished\n  help: run it again with the same --out"):
        granule.open(tmp_path / "out")


def test_manifests_that_cannot_be_read(copy: Path) -> None:
    good = json.loads((copy / "manifest.json").read_text())
    # Keys that later versions add are ignored.
    change_manifest(copy, weather="fine")
    assert granule.open(copy).seeds == (3, 5)
    change_manifest(copy, manifest=2, granule="9.0.0")
    with pytest.raises(granule.NewerFormatError, match="by granule 9.0.0; this package reads format 1"):
        granule.open(copy)
    for changes, message in [
        ({"files": None}, "manifest.files has an unexpected type or value: None"),
        ({"sweep": good["sweep"] | {"seeds": [3, "5"]}}, r"sweep.seeds\[1\] has an unexpected type or value: '5'"),
        ({"run": {}}, "manifest.run has no `host`"),
        ({"manifest": "one"}, "manifest.manifest has an unexpected type or value: 'one'"),
    ]:
        (copy / "manifest.json").write_text(json.dumps(good | changes))
        with pytest.raises(granule.DamagedError, match=message):
            granule.open(copy)
    for text in ("", "{", "[]", "3", "\udcff"):
        (copy / "manifest.json").write_bytes(text.encode(errors="surrogateescape"))
        with pytest.raises(granule.DamagedError, match="manifest.json"):
            granule.open(copy)


def test_trials_that_were_set_aside(copy: Path) -> None:
    """A manifest of a sweep in which a trial of ACh, seed 5, could not be computed."""
    files = json.loads((copy / "manifest.json").read_text())["files"]
    of_pair = re.compile("seed-5/.*(ach|tonicReduction)")
    trial = {"condition": "ACh", "seed": 5, "trial": 2, "reason": "2 workers died at it"}
    change_manifest(copy, files=[file for file in files if not of_pair.match(file["path"])], set_aside=[trial])
    sweep = granule.open(copy)
    assert sweep.manifest.set_aside == (granule.SetAside("ACh", 5, 2, "2 workers died at it"),)
    with pytest.raises(granule.NotThereError, match="because trial 2 was set aside: 2 workers died at it"):
        sweep.array("spike_probability", "ACh", 5)
    assert sweep.arrays(5)["ACh"] == {}
    assert sweep.array("spike_probability", "ACh", 3).shape == (32, 1100)


def test_the_program_fails_or_is_not_there(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = granule.open(copy)
    (copy / "store.granule").unlink()
    with pytest.raises(granule.ProgramError, match=r"(?s)`granule export` ended with status \d: .*error: ") as caught:
        sweep.spikes("numpy")
    assert "help: run `granule verify" in str(caught.value)
    monkeypatch.setenv("GRANULE", str(copy / "granule"))
    with pytest.raises(granule.ProgramError, match="cannot run .*: No such file or directory"):
        sweep.spikes("numpy")
    monkeypatch.delenv("GRANULE")
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(granule.ProgramError, match="no program `granule`"):
        granule.program()


def test_advice_is_a_command_that_a_shell_reads_as_it_was_meant(tmp_path: Path) -> None:
    signs = [bytes([first, second]) for first in b"$`'\"\\!~=%-#*;\n\x1b\x80 a" for second in b"(`'\\\nx\xff%"]
    names = [os.fsdecode(name) for name in [b"a$(touch X)", b"`touch X`", b"a\n\n", b"-x", "größe".encode(), *signs]]
    command = "printf '%s\\0' " + " ".join(shell_path(Path(name)) for name in names)
    for shell in ("sh", "bash", "zsh"):
        if shutil.which(shell):
            ended = subprocess.run([shell, "-c", command], cwd=tmp_path, check=True, capture_output=True)
            read = [Path(os.fsdecode(name)) for name in ended.stdout.split(b"\0")[:-1]]
            assert read == [Path(name) for name in names] and ended.stderr == b""
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b" / "sweep.json").touch()
    with pytest.raises(granule.UnfinishedError) as caught:
        granule.open(tmp_path / "a b")
    assert f"`granule status '{tmp_path}/a b'` prints its progress" in str(caught.value)
