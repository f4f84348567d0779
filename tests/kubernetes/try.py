"""Runs a sweep as the manifests say, in pods without a cluster, while workers and coordinator are ended and replaced.

    python tests/kubernetes/try.py target/release/granule

Needs to be root on Linux, and kubectl, which asks no cluster.
"""

import copy
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from manifests import ADDRESS, Manifests, after_failure
from pods import Pod, until

GRANULE = Path(sys.argv[1]).resolve()

# Some ten seconds of computing.
SWEEP = """
name: tried
seeds: 1..40
trials: 10
network: { mossy_fibers: 78, granule_cells: 512, golgi_cells: 7 }
conditions: [Control, ACh]
"""

# The coordinator's pod has it; not a loopback address, as those go without encryption.
POD_IP = "10.96.0.10"
SERVICE = ADDRESS.split(":")[0]


def expect(is_so: bool, what: str, *pods: Pod):
    if not is_so:
        for pod in pods:
            print(pod.said(), file=sys.stderr)
        raise SystemExit(f"it is not so that {what}")
    print(f"- {what}", flush=True)


class Cluster:
    def __init__(self, directory: Path):
        self.directory = directory
        self.manifests = Manifests(GRANULE, directory, SWEEP)
        self.hosts = directory / "hosts"
        self.hosts.write_text("127.0.0.1 localhost\n")
        self.pods: list[Pod] = []

    def start(self, job: str, manifests: Manifests | None = None) -> Pod:
        place = self.directory / f"pod-{len(self.pods)}"
        claims = self.directory / "claims"
        pod = Pod(manifests or self.manifests, job, place, GRANULE, claims, self.hosts)
        self.pods.append(pod)
        return pod

    def coordinator(self) -> Pod:
        """A coordinator that workers find."""
        pod = self.start("granule-coordinator")
        until("it has started", lambda: pod.probe("startup", POD_IP) or pod.process.poll() is not None)
        until("it is ready", lambda: pod.probe("readiness", POD_IP) or pod.process.poll() is not None)
        expect(
            pod.process.poll() is None and pod.probe("liveness", POD_IP),
            "a coordinator starts, is ready and alive",
            pod,
        )
        # Now the service has it. The file stays the same, as it is mounted.
        self.hosts.write_text(f"127.0.0.1 localhost\n{POD_IP} {SERVICE}\n")
        return pod

    def stored(self, pod: Pod) -> int:
        status = pod.exec(["granule", "status", "--access", "/identity/access.json", "--json"])
        return json.loads(status.stdout)["trials"]["stored"] if status.returncode == 0 else 0

    def after(self, job: str, pod: Pod, within: float) -> str:
        """What is done about a pod that ends."""
        code = pod.ended(within)
        return "Complete" if code == 0 else after_failure(self.manifests.get("Job", job), code)


def a_sweep(cluster: Cluster):
    workers = [cluster.start("granule-workers")]
    until("it looks for a coordinator", lambda: "not connected" in workers[0].said(), *workers)
    expect(not workers[0].probe("readiness", POD_IP), "a worker without a coordinator is not ready", workers[0])
    coordinator = cluster.coordinator()
    workers.append(cluster.start("granule-workers"))
    tried = workers[0].exec(["bash", "-c", "id -u; id -G; touch /new /access/new; cat /access/access.json >/dev/null"])
    user, groups = tried.stdout.split("\n")[:2]
    expect(user != "0" and "0" not in groups.split(), f"pods are user {user}, groups {groups}")
    expect(
        tried.returncode == 0 and tried.stderr.count("Read-only") == 2,
        "they read their secrets and write nothing",
        *workers,
    )
    until("trials are stored", lambda: cluster.stored(coordinator) >= 20)
    expect(workers[0].probe("readiness", POD_IP), "a worker that came too early finds it, and is ready", *workers)

    workers[0].process.terminate()
    decision = cluster.after("granule-workers", workers[0], 60)
    expect(decision == "Ignore", "a worker that is told to leave is replaced, and counts as no failure", workers[0])
    workers[0] = cluster.start("granule-workers")

    coordinator.process.kill()
    decision = cluster.after("granule-coordinator", coordinator, 10)
    expect(decision == "Count", "a coordinator that is killed is replaced, and counts as a failure")
    coordinator = cluster.coordinator()
    before = cluster.stored(coordinator)
    expect(before >= 20, "it goes on from the store")
    until("its workers are back", lambda: cluster.stored(coordinator) > before)

    coordinator.process.terminate()
    decision = cluster.after("granule-coordinator", coordinator, 30)
    expect(decision == "Ignore", "a coordinator that is told to end is replaced, and counts as no failure", coordinator)
    expect(all(it.process.poll() is None for it in workers), "its workers wait for the next one", *workers)
    coordinator = cluster.coordinator()

    probes = []
    while coordinator.process.poll() is None:
        probes.append((coordinator.probe("liveness", POD_IP), coordinator.process.poll() is None))
        time.sleep(0.2)
    missed = [is_alive for is_alive, has_work in probes if has_work and not is_alive]
    # The last one may have come too late.
    expect(len(probes) > 5 and len(missed) <= 1, "it is alive as long as it has something to do", coordinator)
    expect(coordinator.ended(0) == 0, "the sweep is complete", coordinator)
    expect([it.ended(20) for it in workers] == [0, 0], "and its workers know", *workers)
    again = cluster.start("granule-coordinator")
    expect(again.ended(30) == 0 and "complete already" in again.said(), "once more, there is nothing to do", again)


def its_outputs(cluster: Cluster):
    (sweep := cluster.directory / "tried.yaml").write_text(SWEEP)
    plain = cluster.directory / "plain"
    subprocess.run([GRANULE, "run", sweep, "--out", plain], check=True, capture_output=True)
    out = cluster.directory / "claims/granule-data/out/tried"
    files = sorted(path.relative_to(plain) for path in plain.rglob("*.npy"))
    expect(len(files) >= 80, f"there are {len(files)} files")
    expect(all((plain / it).read_bytes() == (out / it).read_bytes() for it in files), "they are those of `granule run`")
    subprocess.run([GRANULE, "verify", out], check=True, capture_output=True)
    left = {path.name for path in out.iterdir() if path.is_file()}
    expect(not left & {"access.json", "coordinator.pem"}, "no secret is left on the volume")


def what_a_pod_may(cluster: Cluster):
    manifests = copy.deepcopy(cluster.manifests)
    manifests.pods()["granule-workers"]["volumes"][0]["secret"]["defaultMode"] = 0o444
    worker = cluster.start("granule-workers", manifests)
    expect(
        worker.ended(20) == 2 and "open to other users" in worker.said(), "a secret for everybody is refused", worker
    )


def inside(directory: Path):
    """The whole of it, in namespaces of its own."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    subprocess.run(["ip", "address", "add", f"{POD_IP}/32", "dev", "lo"], check=True)
    cluster = Cluster(directory)
    try:
        a_sweep(cluster)
        its_outputs(cluster)
        what_a_pod_may(cluster)
    finally:
        for pod in cluster.pods:
            if pod.process.poll() is None:
                pod.process.kill()
                pod.process.wait()


def main():
    if len(sys.argv) > 2:
        return inside(Path(sys.argv[2]))
    # Mounts are inside, and end with it: what is removed here has nothing of this machine in it.
    with tempfile.TemporaryDirectory() as directory:
        # Others than root go through it.
        os.chmod(directory, 0o755)
        namespaces = ["unshare", "--mount", "--net", "--propagation=private"]
        tried = subprocess.run([*namespaces, sys.executable, __file__, GRANULE, directory])
    sys.exit(tried.returncode)


main()
