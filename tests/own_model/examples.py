"""Runs the examples in sweeps/own-model as users do: undisturbed, killed and resumed, and extended.

    python tests/own_model/examples.py [NAME ...]

`granule` and the `python` of the examples are those of PATH. Of each example:

- the coordinator, a worker and a program are killed with SIGKILL, one after the other, and the sweep is resumed. The
  files must have the bytes of an undisturbed run;
- the sweep is extended by a trial, a seed and a value of its grid. Only the new trials may be computed.
"""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SWEEPS = Path(__file__).resolve().parent.parent.parent / "sweeps" / "own-model"

# For each example: the text that extends its grid, and the number of points before and after.
GRIDS = {
    "lif": None,
    "brian2": ("[12 Hz, 18 Hz]", "[12 Hz, 18 Hz, 20 Hz]"),
    "nest": None,
    "c": ("[0 ms, 2 ms, 4 ms]", "[0 ms, 2 ms, 4 ms, 6 ms]"),
    "rates": None,
}


def main() -> None:
    names = sys.argv[1:] or list(GRIDS)
    for name in names:
        begun = time.monotonic()
        example(name)
        print(f"{name}: killed, resumed and extended in {time.monotonic() - begun:.0f} s", flush=True)
    print(f"{len(names)} passed, 0 failed")


def example(name: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        shutil.copytree(SWEEPS, place / "models", ignore=shutil.ignore_patterns("__pycache__"))
        if name == "c":
            compiler = ["cc", "-std=c99", "-O2", "-ffp-contract=off", "-o", "chain", "chain.c", "-lm"]
            subprocess.run(compiler, cwd=place / "models", check=True)
        sweep = place / "models" / f"{name}.yaml"
        run(place, sweep, "undisturbed")
        expected = files(place / "undisturbed")
        disturb(place, sweep, "disturbed")
        assert files(place / "disturbed") == expected, f"{name}: other bytes after the kills"
        before = trials(place / "undisturbed")
        sweep.write_text(extended(name, sweep.read_text()))
        run(place, sweep, "undisturbed")
        run(place, sweep, "anew")
        after = trials(place / "anew")
        assert after["trials_computed"] > before["trials_computed"]
        found = trials(place / "undisturbed")
        assert found["trials_reused"] == before["trials_computed"], (before, found)
        assert found["trials_computed"] == after["trials_computed"] - before["trials_computed"], (before, found)
        assert files(place / "undisturbed") == files(place / "anew"), f"{name}: other bytes after the extension"


def run(place: Path, sweep: Path, out: str) -> None:
    subprocess.run(["granule", "run", sweep, "--out", out, "--workers", "2"], cwd=place, check=True)


def extended(name: str, text: str) -> str:
    """Returns the sweep with a trial, a seed and a value more."""
    more, count = re.subn(r"^trials: (\d+)", lambda found: f"trials: {int(found[1]) + 1}", text, flags=re.M)
    assert count == 1, text

    def seed(found: re.Match[str]) -> str:
        if found[1]:
            return f"seeds: {found[1]}..{int(found[2]) + 1}"
        return f"seeds: [{found[3]}, 77]"

    more, count = re.subn(r"^seeds: (?:(\d+)\.\.(\d+)|\[([^]]*)\])", seed, more, flags=re.M)
    assert count == 1, text
    grid = GRIDS[name]
    if grid is None:
        # The last list of a grid gets another value: that in the middle between the first two.
        lists = list(re.finditer(r"\[(-?[\d.]+)( \w+)?, (-?[\d.]+)( \w+)?([^]]*)\]", more))
        of_grid = [found for found in lists if more.rfind("grid:", 0, found.start()) >= 0]
        assert of_grid, text
        found = of_grid[-1]
        middle = (float(found[1]) + float(found[3])) / 2
        value = f"{middle:g}{found[2] or ''}"
        return more[: found.start()] + f"[{found[1]}{found[2] or ''}, {value}, {found[3]}{found[4] or ''}{found[5]}]" + more[found.end() :]
    assert more.count(grid[0]) == 1, text
    return more.replace(*grid)


def disturb(place: Path, sweep: Path, out: str) -> None:
    """Runs a sweep; kills a program, a worker and the coordinator while it runs."""
    command = ["granule", "run", sweep, "--out", out, "--workers", "2"]
    running = subprocess.Popen(command, cwd=place, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    for victim in ["program", "worker", "coordinator"]:
        before = size(place / out)
        while size(place / out) <= before and running.poll() is None:
            time.sleep(0.01)
        if running.poll() is not None:
            print(f"the sweep was complete before its {victim} was killed", flush=True)
            assert victim != "program", "nothing was killed"
            break
        processes = {"program": programs(place), "worker": workers(running.pid), "coordinator": [running.pid]}[victim]
        assert processes, f"no {victim} runs"
        os.kill(processes[0], signal.SIGKILL)
    running.wait()
    deadline = time.monotonic() + 20
    while programs(place):
        assert time.monotonic() < deadline, "programs outlive the coordinator"
        time.sleep(0.05)
    run(place, sweep, out)


def size(out: Path) -> int:
    try:
        return (out / "store.granule").stat().st_size
    except FileNotFoundError:
        return 4096


def processes() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


def programs(place: Path) -> list[int]:
    """Processes of the model that are no guard."""
    found = []
    for process in processes():
        try:
            directory = os.readlink(f"/proc/{process}/cwd")
            words = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if directory == str((place / "models").resolve()) and b"guard" not in words:
            found.append(process)
    return found


def workers(coordinator: int) -> list[int]:
    children = Path(f"/proc/{coordinator}/task/{coordinator}/children").read_text().split()
    found = []
    for process in map(int, children):
        if b"worker" in Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0"):
            found.append(process)
    return found


def files(out: Path) -> dict[str, str]:
    return {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.glob("seed-*/*.npy"))
    }


def trials(out: Path) -> dict[str, int]:
    return json.loads((out / "manifest.json").read_text())["run"]


if __name__ == "__main__":
    main()
