"""Runs the commands and scripts of docs/launchers.md, each with a coordinator of its own, and checks the output files.

    python3 tests/launchers.py GRANULE

needs mpirun (Open MPI), distributed and ray. GRANULE is the program.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tempfile
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
