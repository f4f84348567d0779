"""If granule did not write a file, the module raises its own error, at once and without much memory."""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import resource
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import granule
from conftest import change_manifest, run
from granule.arrays import read_weights

#: A file of the sweep, and the expression that reads it.
FILE = "seed-3/achCondE.npy"
ASK = "sweep.array('excitation', 'ACh', 3)"
TERABYTE = 1 << 40

PROBE = """
import sys, granule
try:
    sweep = granule.open(sys.argv[1])
    {ask}
    print("no error")
except granule.GranuleError as error:
    print(type(error).__name__, error)
"""


def outcome(out: Path, ask: str = "") -> str:
    """Returns the error of opening the sweep and then of `ask`, in a process with 60 s and 4 GiB of address space."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))

    command = [sys.executable, "-c", PROBE.format(ask=ask), str(out)]
    ended = subprocess.run(command, check=False, preexec_fn=limit, timeout=60, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_directory(path: Path) -> None:
    path.mkdir()


def make_link_to_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def make_socket(path: Path) -> None:
    # The path of a socket must be short.
    before = Path.cwd()
    os.chdir(path.parent)
    with socket.socket(socket.AF_UNIX) as of_unix:
        of_unix.bind(path.name)
    os.chdir(before)


def make_endless(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(TERABYTE)


IRREGULAR = [
    (make_pipe, "is a pipe; expected a regular file"),
    (make_directory, "is a directory; expected a regular file"),
    (make_link_to_device, "is a device; expected a regular file"),
    (make_socket, "No such device or address"),
    (make_endless, f"{TERABYTE} bytes instead of at most {1 << 31}"),
]


@pytest.mark.parametrize(("make", "message"), IRREGULAR)
def test_a_manifest_that_is_no_regular_file(copy: Path, make: Callable[[Path], None], message: str) -> None:
    (copy / "manifest.json").unlink()
    make(copy / "manifest.json")
    found = outcome(copy)
    assert found.startswith("DamagedError")
    assert f"\n  manifest.json: {message}" in found


@pytest.mark.parametrize(("make", "message"), IRREGULAR)
def test_an_output_file_that_is_no_regular_file(copy: Path, make: Callable[[Path], None], message: str) -> None:
    length = (copy / FILE).stat().st_size
    (copy / FILE).unlink()
    make(copy / FILE)
    if make is make_link_to_device:
        message = "achCondE.npy is a symbolic link; replace it with the file or directory that it points to"
    if make is make_endless:
        message = f"{TERABYTE} bytes instead of at most {length}"
    for ask in (ASK, "sweep.arrays(3)", "sweep.verify()"):
        found = outcome(copy, ask)
        assert found.startswith("DamagedError"), ask
        assert f"\n  {FILE}: {message}" in found, ask


def test_output_files_behind_links(copy: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (copy / "seed-3").rename(outside)
    (copy / "seed-3").symlink_to(outside)
    with pytest.raises(granule.DamagedError, match=f"{FILE}: seed-3 is a symbolic link; replace it"):
        granule.open(copy).array("excitation", "ACh", 3)
    # The output directory and the manifest may be links.
    (copy / "seed-3").unlink()
    outside.rename(copy / "seed-3")
    (copy / "manifest.json").rename(tmp_path / "moved.json")
    (copy / "manifest.json").symlink_to(tmp_path / "moved.json")
    (tmp_path / "link").symlink_to(copy)
    granule.open(tmp_path / "link").verify()


@pytest.fixture
def is_nobody() -> Iterator[bool]:
    """Runs the test as the user nobody if root runs it, because permissions do not restrict root."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    yield is_root
    if is_root:
        os.seteuid(0)


def test_permission_is_denied(tiny: Path, tmp_path: Path, is_nobody: bool) -> None:
    if is_nobody:  # Only root may search the directories of pytest.
        with pytest.raises(granule.DamagedError, match="manifest.json: permission denied; make its directory readable"):
            granule.open(tiny)
        return
    out = shutil.copytree(tiny, tmp_path / "out")
    (out / FILE).chmod(0)
    with pytest.raises(granule.DamagedError, match=r"chmod u\+r` \(its mode is 0000\)"):
        granule.open(out).array("excitation", "ACh", 3)
    (out / "manifest.json").chmod(0)
    with pytest.raises(granule.DamagedError, match=r"chmod u\+r` \(its mode is 0000\)"):
        granule.open(out)


def test_permission_to_open_is_denied(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    sweep = granule.open(copy)
    (copy / "manifest.json").chmod(0o040)
    monkeypatch.setattr(os, "open", deny)
    with pytest.raises(granule.DamagedError, match=r"manifest.json: permission denied; make it .*mode is 0040"):
        granule.open(copy)
    with pytest.raises(granule.DamagedError, match=f"{FILE}: permission denied"):
        sweep.array("excitation", "ACh", 3)


@pytest.mark.parametrize("change", [b"more", b""])
def test_files_that_change_while_they_are_read(copy: Path, monkeypatch: pytest.MonkeyPatch, change: bytes) -> None:
    fstat = os.fstat
    sweep = granule.open(copy)

    def fstat_and_change(descriptor: int) -> os.stat_result:
        status = fstat(descriptor)
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if path.startswith(str(copy)):
            with open(path, "ab" if change else "wb") as file:
                file.write(change)
        return status

    monkeypatch.setattr(os, "fstat", fstat_and_change)
    for ask in (lambda: sweep.array("excitation", "ACh", 3), lambda: granule.open(copy)):
        with pytest.raises(granule.DamagedError, match="changed while it was read"):
            ask()


def test_directories_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for name in ("\0", "x" * 300, "loop", "loop/out"):
        with pytest.raises(granule.NotASweepError, match="no directory"):
            granule.open(tmp_path / name)
    (tmp_path / "manifest.json").symlink_to("nowhere")
    with pytest.raises(granule.DamagedError, match="manifest.json: No such file or directory"):
        granule.open(tmp_path)


DEEP = 200_000


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"[" * DEEP + b"]" * DEEP, "lists or objects are nested too deeply"),
        (b'{"a":' * DEEP + b"1" + b"}" * DEEP, "lists or objects are nested too deeply"),
        (b'{"manifest": 1' + b"0" * 1_000_000 + b"}", "cannot be parsed as JSON: an integer with 1000001 digits"),
        (b'{"manifest": NaN}', "cannot be parsed as JSON: JSON has no NaN"),
        (b'{"manifest": -Infinity}', "cannot be parsed as JSON: JSON has no -Infinity"),
        (b'{"manifest": "\xff"}', "cannot be parsed as JSON: .*utf-8"),
        ('{"manifest": 1}'.encode("utf-16"), "cannot be parsed as JSON: .*utf-8"),
        (b'{"manifest": 1}'[:-1], "cannot be parsed as JSON"),
        (b'{"manifest": true}', "manifest.manifest has an unexpected type or value: True"),
        (b"\0" * 1000, "cannot be parsed as JSON"),
    ],
)
def test_manifests_that_are_not_json(copy: Path, data: bytes, message: str) -> None:
    (copy / "manifest.json").write_bytes(data)
    with pytest.raises(granule.DamagedError, match=f"manifest.json: .*{message}"):
        granule.open(copy)


def test_nesting_just_below_what_json_takes(copy: Path) -> None:
    for depth in range(0, 6000, 150):
        nested: Any = b"[" * depth + b"]" * depth
        manifest = json.dumps(json.loads((copy / "manifest.json").read_text()) | {"files": "here"}).encode()
        (copy / "nested").mkdir(exist_ok=True)
        (copy / "nested/manifest.json").write_bytes(manifest.replace(b'"here"', nested or b"1"))
        with pytest.raises(granule.DamagedError, match="manifest.json: "):
            granule.open(copy / "nested")


def test_values_that_no_manifest_has(copy: Path) -> None:
    good = (copy / "manifest.json").read_text()

    def check(place: list[str | int], value: str, message: str) -> None:
        manifest = json.loads(good)
        holder = manifest
        for key in place[:-1]:
            holder = holder[key]
        assert place[-1] in holder or isinstance(place[-1], int)
        holder[place[-1]] = "here"
        (copy / "manifest.json").write_text(json.dumps(manifest).replace('"here"', value))
        with pytest.raises(granule.DamagedError, match=re.escape(message)) as caught:
            granule.open(copy)
        lines = str(caught.value).splitlines()
        assert len(lines) == 3 and all(line.isprintable() and len(line) < 500 for line in lines)

    check(["manifest"], "0", "manifest.manifest is 0; expected 1")
    check(["run", "wall_seconds"], "1e999", "manifest.run.wall_seconds has an unexpected type or value: inf")
    check(["run", "workers"], "-1", "manifest.run.workers has an unexpected type or value: -1")
    check(["run", "workers"], str(1 << 64), "run.workers has an unexpected type or value: 18446744073709551616")
    check(["run", "host"], '["' + "x" * 10_000 + '"]', "manifest.run.host has an unexpected type or value: ['xxx")
    check(["sweep", "seeds", 0], "-3", "manifest.sweep.seeds[0] has an unexpected type or value: -3")
    check(["sweep", "seeds", 0], "5", "seed 5 is listed twice")
    check(["sweep", "conditions"], "{}", "manifest.sweep.conditions has an unexpected type or value: {}")
    check(["sweep", "conditions", 0, "parameters"], r'{"a\u001b\nb": 1}', r"parameters.'a\x1b\nb' has an unexpected")
    for path, value in [
        ("network.granule_cells", "4096x"),
        ("network.granule_cells", "-1"),
        ("network.granule_cells", "9" * 50),
        ("network.granule_cells", "٣"),
        ("time.duration", "1100"),
        ("time.duration", "0.5 ms"),
        ("time.duration", "inf ms"),
    ]:
        unit = " in ms" if path == "time.duration" else ""
        place: list[str | int] = ["sweep", "conditions", 1, "parameters", path]
        what = f"parameter {path} of condition ACh is not a positive integer{unit}: '{value[:10]}"
        check(place, json.dumps(value), what)
    check(["files", 0, "bytes"], str(1 << 60), "manifest.files[0].bytes is more than an output file can have")
    check(["files", 0, "sha256"], "null", "manifest.files[0].sha256 has an unexpected type or value: None")


def test_paths_that_no_output_file_has(copy: Path) -> None:
    files = json.loads((copy / "manifest.json").read_text())["files"]
    (copy.parent / "secret.npy").write_bytes(b"secret")
    for path in [
        "",
        ".",
        "/etc/passwd",
        "../secret.npy",
        "seed-3/../../secret.npy",
        "seed-3/..",
        "seed-3/.hidden",
        "seed-3//controlCondE.npy",
        "seed-3/controlCondE.npy/",
        "seed-3/a/b.npy",
        "seed-03/controlCondE.npy",
        "seed--3/controlCondE.npy",
        "seed-3\\controlCondE.npy",
        "seed-3/a\nb.npy",
        "seed-3/a\0b.npy",
        "seed-3/controlCondE.npy\n",
        "seed-3/\u202e.npy",
        "seed-٣/controlCondE.npy",
        "seed-3/" + "x" * 1000,
        "manifest.json",
        "store.granule",
    ]:
        change_manifest(copy, files=[files[0] | {"path": path}])
        with pytest.raises(granule.DamagedError, match=r"manifest.files\[0\].path is not that of an output file: '"):
            granule.open(copy)
    change_manifest(copy, files=[files[0], files[1], files[0]])
    with pytest.raises(granule.DamagedError, match=f"file {files[0]['path']} is listed twice"):
        granule.open(copy)


def rename(copy: Path, name: str, prefix: str | None = None) -> None:
    """Gives the third condition this name."""
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["sweep"]["conditions"][2] |= {"name": name, "prefix": name if prefix is None else prefix}
    change_manifest(copy, sweep=manifest["sweep"])


def test_names_that_no_condition_has(copy: Path) -> None:
    rule = (
        "is not a name of up to 80 ASCII letters, digits, `.`, `_` and `-`, with no leading `.`"
    )
    for name in [
        "",
        " ",
        "=HYPERLINK(0)",
        "+1",
        "@x",
        "../../x",
        "a/b",
        "a,b",
        "a b",
        "a\tb",
        "a\nb",
        "x\n",
        "\x1b[31mred",
        "x\0",
        "é",
        "٣",
        "\u202ex",
        "\ud800",
        ".hidden",
        "x" * 81,
        "N/A",
        "#N/A",
        "<NA>",
    ]:
        rename(copy, name)
        with pytest.raises(granule.DamagedError, match=re.escape(f"manifest.sweep.conditions[2].name {rule}: '")) as of:
            granule.open(copy)
        assert all(line.isprintable() for line in str(of.value).splitlines())
    for name in ["_", "0", "-53", "x" * 80, "half-tonic_0.5", "1e-7", "na", "Nan"]:
        rename(copy, name)
        assert granule.open(copy).conditions[2] == name
    for prefix in ["../../x", "", "other", "control", "=1", "x\n"]:
        rename(copy, "x", prefix)
        with pytest.raises(granule.DamagedError, match=r"conditions\[2\].prefix is not that of condition x: '"):
            granule.open(copy)
    rename(copy, "Randomized_ach")
    with pytest.raises(granule.DamagedError, match="name starts like the files of random weights: Randomized_ach"):
        granule.open(copy)
    rename(copy, "GABAzine", "gaba")
    assert granule.open(copy).conditions[2] == "GABAzine"
    rename(copy, "ACh", "ACh")
    with pytest.raises(granule.DamagedError, match="condition ACh is listed twice"):
        granule.open(copy)
    rename(copy, "FIXED")
    with pytest.raises(granule.DamagedError, match="prefix fixed is listed twice"):
        granule.open(copy)
    change_manifest(copy, sweep=json.loads((copy / "manifest.json").read_text())["sweep"] | {"name": "\x1b[2J"})
    with pytest.raises(granule.DamagedError, match=r"manifest.sweep.name is not a name of up to 100"):
        granule.open(copy)


def test_names_that_pandas_takes_for_missing_values(copy: Path) -> None:
    import pandas as pd

    for name in ["NA", "NULL", "null", "NaN", "-NaN", "nan", "-nan", "None"]:
        assert pd.read_csv(io.StringIO(f"condition,x\n{name},1\n"))["condition"].isna().all()
        rename(copy, name)
        with pytest.raises(granule.DamagedError, match=f"name is {name}, which pandas reads as a missing value"):
            granule.open(copy)


def test_what_later_versions_may_add(copy: Path) -> None:
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["run"]["stamps"] = {"x": [1.5]}
    manifest["sweep"]["conditions"][0]["colour"] = None
    manifest["sweep"]["conditions"][0]["parameters"]["golgi.new"] = "1 nS"
    manifest["files"][0]["mode"] = "0644"
    change_manifest(copy, **manifest, weather="fine")
    (copy / "outputs.stamps.json").write_text("{}")
    os.mkfifo(copy / "other")
    granule.open(copy).verify()


def test_texts_from_the_manifest_in_messages(copy: Path) -> None:
    manifest = json.loads((copy / "manifest.json").read_text())
    of_pair = re.compile("seed-5/.*(ach|tonicReduction)")
    trial = {"condition": "ACh", "seed": 5, "trial": 2, "reason": "died\n\x1b[2J"}
    files = [file for file in manifest["files"] if not of_pair.match(file["path"])]
    change_manifest(copy, files=files, set_aside=[trial])
    with pytest.raises(granule.NotThereError, match=re.escape(r"was set aside: 'died\n\x1b[2J'")):
        granule.open(copy).array("excitation", "ACh", 5)
    change_manifest(copy, manifest=2, granule="9\x1b")
    with pytest.raises(granule.NewerFormatError, match=re.escape(r"by granule '9\x1b'; this package reads format 1")):
        granule.open(copy)
    change_manifest(copy, manifest=2, granule=["9"])
    with pytest.raises(granule.NewerFormatError, match="written by granule unknown; this package reads format 1"):
        granule.open(copy)


def sign(out: Path, path: str, data: bytes) -> granule.Sweep:
    """Writes an output file, and its length and SHA-256 to the manifest."""
    (out / path).write_bytes(data)
    manifest = json.loads((out / "manifest.json").read_text())
    (record,) = [record for record in manifest["files"] if record["path"] == path]
    record |= {"bytes": len(data), "sha256": sha256(data).hexdigest()}
    change_manifest(out, files=manifest["files"])
    return granule.open(out)


def npy(array: npt.NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def header(text: str, version: bytes = b"\x01\x00") -> bytes:
    return b"\x93NUMPY" + version + struct.pack("<H", len(text) + 1) + text.encode() + b"\n"


def npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, a=np.zeros((32, 1100)))
    return file.getvalue()


ELEMENTS = bytes(8 * 32 * 1100)
SHAPE = "{'descr': '<f8', 'fortran_order': False, 'shape': SHAPE, }"


@pytest.mark.parametrize(
    ("kind", "data", "message"),
    [
        ("spike_probability", npy(np.zeros((32, 1100), np.float32)), "dtype '<f4' instead of '<f8'"),
        ("spike_probability", npy(np.zeros((32, 1100), ">f8")), "dtype '>f8' instead of '<f8'"),
        ("spike_probability", npy(np.zeros((32, 1100), np.int64)), "dtype '<i8' instead of '<f8'"),
        ("spike_probability", npy(np.array([None, {}])), "dtype '|O' instead of '<f8'"),
        ("spike_probability", npy(np.zeros(3, [("a", "<f8")])), "not the header of an array: "),
        ("spike_probability", npy(np.zeros((1100, 32))), "shape (1100, 32) instead of (32, 1100)"),
        ("spike_probability", npy(np.zeros(32 * 1100)), "shape (35200,) instead of (32, 1100)"),
        ("spike_probability", npy(np.zeros((1, 32, 1100))), "shape (1, 32, 1100) instead of (32, 1100)"),
        ("spike_probability", npy(np.zeros(())), "shape () instead of (32, 1100)"),
        ("excitation", npy(np.zeros((33, 1100))), "shape (33, 1100) instead of (at most 32, 1100)"),
        ("inhibition", npy(np.zeros((3, 1099))), "shape (3, 1099) instead of (at most 32, 1100)"),
        ("tonic_factors", npy(np.zeros((3, 1))), "shape (3, 1) instead of (at most 32)"),
        ("connections", npy(np.zeros((3, 3), np.int32)), "shape (3, 3) instead of (any, 2)"),
        ("connections", npy(np.zeros((3, 2), np.int64)), "dtype '<i8' instead of '<i4'"),
        ("spike_probability", npz(), "not a .npy file of version 1.0: it begins with b'PK"),
        ("spike_probability", b"", "not a .npy file of version 1.0: it begins with b''"),
        ("spike_probability", b"\x93NUMPY\x01\x00", "not the header of an array: b''"),
        ("spike_probability", header(SHAPE, b"\x02\x00"), "not a .npy file of version 1.0"),
        ("spike_probability", header("(" * 60_000), "not the header of an array: b'((("),
        ("spike_probability", header("1e9**9" + "9" * 30_000), "not the header of an array: "),
        ("spike_probability", header(SHAPE.replace("SHAPE", "(32, 1100)")), "0 bytes of elements; the header's shape"),
        ("spike_probability", npy(np.zeros((32, 1100))) + b"x", "281601 bytes of elements; the header's shape"),
        ("spike_probability", npy(np.zeros((32, 1100)))[:-1], "281599 bytes of elements; the header's shape"),
        ("connections", header(SHAPE.replace("f8", "i4").replace("SHAPE", "(99999999999999999, 2)")), "0 bytes of ele"),
        ("connections", header(SHAPE.replace("f8", "i4").replace("SHAPE", f"({'9' * 99}, 2)")), "not the header of"),
        ("connections", header(SHAPE.replace("f8", "i4").replace("SHAPE", "(-1, 2)")), "not the header of an array"),
        ("excitation", header(SHAPE.replace("SHAPE", f"({1 << 40}, 1100)")), "shape (1099511627776, 1100) instead of"),
    ],
)
def test_arrays_that_are_not_as_documented(copy: Path, kind: granule.Kind, data: bytes, message: str) -> None:
    names = {
        "spike_probability": "randomized_achSpikeProb.npy",
        "connections": "achConnections.npy",
        "excitation": "achCondE.npy",
        "inhibition": "achCondI.npy",
        "tonic_factors": "tonicReduction.npy",
    }
    path = f"seed-3/{names[kind]}"
    sweep = sign(copy, path, data)
    sweep.verify()
    with pytest.raises(granule.DamagedError, match=re.escape(f"\n  {path}: {message}")):
        sweep.array(kind, "ACh", 3)


def test_arrays_in_either_order(copy: Path) -> None:
    path = "seed-3/randomized_achSpikeProb.npy"
    expected = granule.open(copy).array("spike_probability", "ACh", 3)
    in_fortran = npy(np.asfortranarray(expected))
    assert b"'fortran_order': True" in in_fortran[:128]
    found = sign(copy, path, in_fortran).array("spike_probability", "ACh", 3)
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_array_equal(found, expected)
    # The caller may change both arrays.
    for array in (found, expected):
        assert array.flags.writeable and array.flags.aligned
        array[:] = 0


def test_a_manifest_that_does_not_tell_shapes(copy: Path) -> None:
    sweep = json.loads((copy / "manifest.json").read_text())["sweep"]
    for condition in sweep["conditions"]:
        for path in ("network.granule_cells", "time.duration"):
            del condition["parameters"][path]
    change_manifest(copy, sweep=sweep)
    assert granule.open(copy).array("spike_probability", "ACh", 3).shape == (32, 1100)


WEIGHTS = """
name: weights
network: { mossy_fibers: 40, granule_cells: 6, golgi_cells: 2 }
time: { duration: 10 ms }
stimulus: { times: [5 ms] }
seeds: [3]
trials: TRIALS
conditions:
  - Control
  - { name: nothing, set: { stimulus.active_fraction: 0 } }
  - { name: one, set: { stimulus.active_fraction: 0.025 } }
  - { name: thousand, set: { network.mossy_fibers: 1000, stimulus.active_fraction: 1 } }
"""


@pytest.mark.parametrize("trials", [1, 2, 1000, 1001])
def test_weights_of_all_sizes(tmp_path: Path, trials: int) -> None:
    """A pickle has its items in batches of 1000, and a single item without a batch."""
    (tmp_path / "weights.yaml").write_text(WEIGHTS.replace("TRIALS", str(trials)))
    run(["run", "weights.yaml", "--out", "out"], tmp_path)
    sweep = granule.open(tmp_path / "out")
    fibers = {}
    for name in sweep.conditions:
        prefix = "control" if name == "Control" else name
        expected = np.load(tmp_path / f"out/seed-3/{prefix}Weights.npy", allow_pickle=True).item()
        weights = sweep.weights(name, 3)
        assert {fiber: of_trials.tolist() for fiber, of_trials in weights.items()} == expected
        assert all(of_trials.shape == (trials,) for of_trials in weights.values())
        fibers[name] = len(weights)
        sweep.arrays(3)
    assert fibers == {"Control": 4, "nothing": 0, "one": 1, "thousand": 1000}


def test_pickles_that_are_not_weights(copy: Path) -> None:
    path = "seed-3/achWeights.npy"
    good = (copy / path).read_bytes()
    start = good[:128]
    array_of_dict = good[: good.index(b"}q\x0d") + 3]
    assert read_weights(good)
    bomb: Any = ()
    for _ in range(100):
        bomb = (bomb, bomb)  # Hashing it takes 2¹⁰⁰ steps.
    for pickled in [
        b"\x80\x03" + b"]" * 1_000_000 + b"a" * 999_999 + b".",
        b"\x80\x03" + b"(" * 1_000_000 + b"t" * 1_000_000 + b".",
        b"\x80\x03}" + pickle.dumps(bomb, protocol=3)[2:-1] + b"Ks.",
        b"\x80\x03]r\xff\xff\xff\xff.",  # A table for so many objects takes 64 GiB.
        b"\x80\x03B\xff\xff\xff\x7fx.",
        b"\x80\x04\x8e" + b"\xff" * 8 + b".",
        b"\x80\x03I" + b"9" * 1_000_000 + b"\n.",
        b"\x80\x03j\xff\xff\xff\xff.",
        b"\x80\x03cos\nsystem\nX\x02\x00\x00\x00ls\x85R.",
        b"",
    ]:
        with pytest.raises(ValueError, match="as granule writes it: unexpected bytes at byte 128"):
            read_weights(start + pickled)
    for damaged in [
        good + b"N",
        good[:-1],
        good[:200],
        array_of_dict,
        array_of_dict + b"(" * 1_000_000,
        array_of_dict + b"r\xff\xff\xff\xff",
        good.replace(b"eh\x0eh\x11C\x08", b"h\x0eh\x11C\x08", 1),
        good.replace(b"G", b"F", 1),
        npy(np.zeros(3)),
        npz(),
        b"",
    ]:
        with pytest.raises(ValueError, match="not a file of weights as granule writes it"):
            read_weights(damaged)
        with pytest.raises(granule.DamagedError, match=f"{path}: not a file of weights as granule writes it"):
            sign(copy, path, damaged).weights("ACh", 3)


def test_weights_of_another_shape(copy: Path) -> None:
    path = "seed-3/achWeights.npy"
    good = (copy / path).read_bytes()
    keys = [match.end() for match in re.finditer(rb"C\x08", good)]
    first, second = (good[at : at + 8] for at in keys[:2])
    with pytest.raises(granule.DamagedError, match="has two lists of weights"):
        sign(copy, path, good.replace(b"C\x08" + second, b"C\x08" + first)).weights("ACh", 3)
    one_less = good[: good.index(b"(G") + 1] + good[good.index(b"(G") + 10 :]
    with pytest.raises(granule.DamagedError, match="has 3 weights instead of 4, one a trial"):
        sign(copy, path, one_less).weights("ACh", 3)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("exit 0", "cannot read the table that `granule export` wrote"),
        ('echo nothing > "$4"', "cannot read the table that `granule export` wrote"),
        (r"printf 'caf\351' >&2; exit 1", "`granule export` ended with status 1: caf\ufffd"),
    ],
)
@pytest.mark.parametrize("backend", ["pandas", "polars", "numpy"])
def test_programs_that_are_not_granule(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, message: str, backend: Any
) -> None:
    (tmp_path / "granule").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "granule").chmod(0o755)
    sweep = granule.open(tiny)
    monkeypatch.setenv("GRANULE", str(tmp_path / "granule"))
    with pytest.raises(granule.ProgramError, match=message):
        sweep.spikes(backend)
