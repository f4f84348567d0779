"""Runs the commands and scripts of docs/launchers.md, each with a coordinator of its own, and checks the output files.

    python3 tests/launchers.py GRANULE

needs mpirun (Open MPI), distributed and ray. GRANULE is the program.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/launchers.md").read_text()
EXPECTED = dict(
    reversed(line.split()) for line in (ROOT / "tests/expected/ci-10trials.sha256").read_text().splitlines()
)
#: Seconds that a launcher and the coordinator may take. A launcher that waits for ever fails.
PATIENCE = 300


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def connections(port: int) -> int:
    """Returns the number of connections to a port of this machine."""
    lines = [line for table in ("tcp", "tcp6") for line in Path("/proc/net", table).read_text().splitlines()[1:]]
    ends = [(line.split()[2], line.split()[3]) for line in lines]
    return sum(1 for remote, state in ends if int(remote.rsplit(":", 1)[1], 16) == port and state == "01")


def gather(coordinator: subprocess.Popen[bytes], access: Path, workers: int) -> None:
    """Stops the coordinator until all workers are connected, so that none comes after the end of the sweep."""
    while not access.exists() and coordinator.poll() is None:
        time.sleep(0.01)
    coordinator.send_signal(signal.SIGSTOP)
    port = int(json.loads(access.read_text())["addresses"][0].rsplit(":", 1)[1])
    connected, last = 0, time.monotonic()
    while connected < workers and time.monotonic() < last + PATIENCE / 5:
        before, connected = connected, connections(port)
        last = time.monotonic() if connected > before else last
        time.sleep(0.05)
    coordinator.send_signal(signal.SIGCONT)


def main() -> None:
    program = Path(sys.argv[1]).resolve()
    serve, mpirun = (block.removeprefix("$ ").split() for block in blocks("console"))
    scripts = blocks("python")
    assert [serve[1], mpirun[0], len(scripts)] == ["serve", "mpirun", 2], "the page has other commands"
    launchers = {"mpirun": ["mpirun", "--oversubscribe", "-n", "2", *mpirun[1:]]}
    for script in scripts:
        name = re.search(r"python (\w+\.py) ACCESS", script)
        assert name, script
        launchers[name[1]] = [sys.executable, name[1], mpirun[mpirun.index("--access") + 1]]
    environment = os.environ | {
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        # Open MPI refuses to run as root, as in a container, without these.
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    }
    for name, command in launchers.items():
        with tempfile.TemporaryDirectory() as place:
            (Path(place) / "sweeps").symlink_to(ROOT / "sweeps")
            for script in scripts:
                (Path(place) / re.search(r"python (\w+\.py) ACCESS", script)[1]).write_text(script)
            # A relative path means another directory in a worker of Ray.
            command = [str(Path(place, part)) if part.endswith("access.json") else part for part in command]
            coordinator = subprocess.Popen([str(program), *serve[1:]], cwd=place, env=environment)
            # Ray starts one for each core.
            workers = (os.cpu_count() or 1) if "ray" in name else 2
            access = Path(place, "out/ci-10trials/access.json")
            threading.Thread(target=gather, args=(coordinator, access, workers), daemon=True).start()
            try:
                subprocess.run(command, cwd=place, env=environment, check=True, timeout=PATIENCE)
                assert coordinator.wait(PATIENCE) == 0, f"{name}: the coordinator failed"
            finally:
                coordinator.kill()
            outputs = (Path(place) / "out/ci-10trials/seed-451").iterdir()
            found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in outputs}
            assert found == EXPECTED, f"{name}: other files"
            print(f"{name}: the 16 files have the published hashes")


if __name__ == "__main__":
    main()
