"""Runs a sweep as the manifests describe, in pods without a cluster. Meanwhile workers and coordinator are replaced.

    unshare --mount --net --propagation=private python tests/kubernetes/try.py target/release/granule DIRECTORY

Needs root on Linux, an empty directory that all users can enter, and kubectl, which contacts no cluster.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

from manifests import ADDRESS, GRANULE, Manifests, after_failure, copy_to
from pods import STARTED, Pod, expect, wait_until

# About ten seconds of computing.
SWEEP = """
name: tried
seeds: 1..40
trials: 10
network: { mossy_fibers: 78, granule_cells: 512, golgi_cells: 7 }
conditions: [Control, ACh]
"""
COORDINATOR, WORKERS = "granule-coordinator", "granule-workers"
# The address of the coordinator's pod. Not a loopback address: connections to those are not encrypted.
POD_IP = "10.96.0.10"
PLACE = Path(sys.argv[2])
HOSTS = "127.0.0.1 localhost\n"


def start_coordinator(manifests: Manifests) -> Pod:
    """Starts a coordinator, and waits until workers can find it."""
    pod = Pod(manifests, COORDINATOR, PLACE)
    for kind in ("startup", "readiness"):
        wait_until(f"the {kind} probe succeeds", lambda: pod.probe(kind, POD_IP) or not pod.is_running())
    expect(pod.is_running() and pod.probe("liveness", POD_IP), "a coordinator starts, is ready and alive")
    (PLACE / "hosts").write_text(f"{HOSTS}{POD_IP} {ADDRESS.split(':')[0]}\n")
    return pod


def stored(coordinator: Pod) -> int:
    status = coordinator.exec(["granule", "status", "--access", "/identity/access.json", "--json"])
    return json.loads(status.stdout)["trials"]["stored"] if status.returncode == 0 else 0


def run_sweep(manifests: Manifests):
    def action(job: str, pod: Pod) -> str:
        """Returns the job's action after the pod has ended."""
        return after_failure(manifests.of("Job")[job], pod.exit_code(within=60))

    workers = [Pod(manifests, WORKERS, PLACE)]
    wait_until("a worker looks for a coordinator", lambda: "not connected" in workers[0].log.read_text())
    expect(not workers[0].probe("readiness", POD_IP), "a worker without a coordinator is not ready")
    coordinator = start_coordinator(manifests)
    workers.append(Pod(manifests, WORKERS, PLACE))
    tried = workers[0].exec(["bash", "-c", "id -u; id -G; touch /new /access/new; cat /access/access.json >/dev/null"])
    user, groups = tried.stdout.splitlines()
    expect(user != "0" and "0" not in groups.split(), f"pods are user {user}, groups {groups}")
    is_confined = tried.returncode == 0 and tried.stderr.count("Read-only") == 2
    expect(is_confined, "they read their secrets and write nothing")
    wait_until("trials are stored", lambda: stored(coordinator) >= 20)
    expect(workers[0].probe("readiness", POD_IP), "a worker that came too early finds the coordinator, and is ready")

    workers[0].process.terminate()
    is_ignored = action(WORKERS, workers[0]) == "Ignore"
    expect(is_ignored, "a worker that is told to leave is replaced, and counts as no failure")
    workers[0] = Pod(manifests, WORKERS, PLACE)

    coordinator.process.kill()
    is_counted = action(COORDINATOR, coordinator) == "Count"
    expect(is_counted, "a coordinator that is killed is replaced, and counts as a failure")
    coordinator = start_coordinator(manifests)
    before = stored(coordinator)
    expect(before >= 20, "the next coordinator resumes from the store")
    wait_until("its workers are back", lambda: stored(coordinator) > before)

    coordinator.process.terminate()
    is_ignored = action(COORDINATOR, coordinator) == "Ignore"
    expect(is_ignored, "a coordinator that is told to end is replaced, and counts as no failure")
    expect(all(it.is_running() for it in workers), "its workers wait for the next one")
    coordinator = start_coordinator(manifests)

    probes = []
    while coordinator.is_running():
        probes.append(coordinator.probe("liveness", POD_IP) or not coordinator.is_running())
        time.sleep(0.2)
    # The coordinator can end during the last probe.
    expect(len(probes) > 5 and probes.count(False) <= 1, "it is alive as long as it has something to do")
    expect(coordinator.exit_code(0) == 0, "the sweep is complete")
    expect([it.exit_code(within=20) for it in workers] == [0, 0], "its workers end, too")
    again = Pod(manifests, COORDINATOR, PLACE)
    is_over = again.exit_code(within=30) == 0 and "already complete" in again.log.read_text()
    expect(is_over, "a coordinator of a complete sweep ends at once")


def compare_outputs():
    plain, out = PLACE / "plain", PLACE / "claims/granule-data/out/tried"
    (sweep := PLACE / "tried.yaml").write_text(SWEEP)
    subprocess.run([GRANULE, "run", sweep, "--out", plain], check=True, capture_output=True)
    files = sorted(path.relative_to(plain) for path in plain.rglob("*.npy"))
    expect(len(files) >= 80, f"there are {len(files)} files")
    expect(all((plain / it).read_bytes() == (out / it).read_bytes() for it in files), "they are those of `granule run`")
    subprocess.run([GRANULE, "verify", out], check=True, capture_output=True)
    left = {path.name for path in out.iterdir()}
    expect(not left & {"access.json", "coordinator.pem"}, "no secret is left on the volume")


def main():
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    subprocess.run(["ip", "address", "add", f"{POD_IP}/32", "dev", "lo"], check=True)
    (PLACE / "hosts").write_text(HOSTS)
    folder = copy_to(PLACE / "kubernetes")
    (folder / "sweep.yaml").write_text(SWEEP)
    manifests = Manifests(folder)
    try:
        run_sweep(manifests)
        compare_outputs()
    finally:
        for pod in STARTED:
            pod.process.kill()
            pod.process.wait()


main()
