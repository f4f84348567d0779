"""Checks the manifests against Kubernetes' schemas, each other and the program. Plants mistakes, which it must find.

    python tests/kubernetes/check.py target/release/granule

Needs kubectl (which contacts no cluster), and kubernetes-validate from PyPI, which has the schemas of each release.
Each `of_...` yields pairs: whether a rule holds, and the problem if it does not.
"""

import itertools
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import kubernetes_validate

from broken import BROKEN
from manifests import GRANULE, Manifests, after_failure, copy_to

# From the first release with all fields that the jobs use to the last one that has schemas.
RELEASES = [f"1.{minor}" for minor in range(31, 38)]
CONFINED = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}


def problems(folder: Path, releases: list[str]) -> list[str]:
    manifests = Manifests(folder)
    found = list(of_schemas(manifests, releases))
    # The other checks rely on types and required fields.
    if not found:
        found += [*of_service(manifests), *of_secrets(manifests)]
        found += [refusal("plan", folder / "sweep.yaml")]
        for name, pod in manifests.pods.items():
            found += [(holds, f"{name}: {problem}") for holds, problem in of_pod(manifests, pod["spec"])]
        for name, job in manifests.of("Job").items():
            found += [(holds, f"{name}: {problem}") for holds, problem in of_job(job)]
    return [problem for holds, problem in found if not holds]


def of_schemas(manifests: Manifests, releases: list[str]):
    for resource, release in itertools.product(manifests.resources, releases):
        try:
            kubernetes_validate.validate(resource, release, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield False, f"{resource['metadata']['name']}, {release}: {error.json_path}: {error.message}"


def of_pod(manifests: Manifests, pod: dict):
    security, volumes = pod["securityContext"], {volume["name"]: volume for volume in pod["volumes"]}
    yield security.get("runAsNonRoot") is True, "it may run as root"
    user = f"{security.get('runAsUser')}:{security.get('runAsGroup')}"
    yield user == manifests.user, f"it runs as {user}, and not as the user of the image, {manifests.user}"
    yield security.get("seccompProfile") == {"type": "RuntimeDefault"}, "it has no seccomp profile"
    yield pod.get("automountServiceAccountToken") is False, "it is given a token of the cluster, and needs none"
    mounted = {mount["name"] for container in pod["containers"] for mount in container["volumeMounts"]}
    yield mounted == volumes.keys(), f"it has volumes {sorted(volumes)}, and mounts {sorted(mounted)}"
    for volume in volumes.values():
        yield manifests.files(volume) is not None, f"there is no resource for {volume}"
        mode = volume["secret"].get("defaultMode", 0o644) if "secret" in volume else 0o440
        yield mode & 0o337 == 0, f"a secret has mode {mode:04o}: granule refuses what others than its group may read"
        yield "secret" not in volume or "fsGroup" in security, "granule cannot read a secret without fsGroup"
    for container in pod["containers"]:
        yield from of_container(manifests, container, volumes)


def of_container(manifests: Manifests, container: dict, volumes: dict):
    yield container["securityContext"] == CONFINED, "its container may do more than it needs to"
    # CHAT_* would change the sweep, and secrets do not belong in the environment.
    yield not container.keys() & {"env", "envFrom"}, "its container has an environment"
    version = subprocess.run([GRANULE, "-V"], check=True, capture_output=True, text=True).stdout.split()[1]
    yield container["image"].endswith(f":{version}"), f"image {container['image']} is not of version {version}"
    requests, limits = container["resources"]["requests"], container["resources"]["limits"]
    yield {"cpu", "memory"} <= requests.keys() and "memory" in limits, "its container does not say what it needs"
    threads, listen, dashboard = map(options(container).get, ("--threads", "--listen", "--dashboard"))
    yield threads in (None, requests["cpu"]), f"it has {threads} threads and requests {requests['cpu']} of CPU"
    ports = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
    yield not listen or int(listen.rpartition(":")[2]) in ports.values(), f"{listen} is none of its ports"

    paths = set()
    for mount in container["volumeMounts"]:
        files = (mount["name"] in volumes and manifests.files(volumes[mount["name"]])) or {}
        yield not files or mount.get("readOnly"), f"{mount['mountPath']} is not mounted for reading only"
        paths |= {f"{mount['mountPath']}/{name}" for name in files}
        # An option may also name a directory with an identity.
        paths |= {mount["mountPath"]} if {"coordinator.pem", "access.json"} <= files.keys() else set()
    probes = [container[key] for key in container if key.endswith("Probe")]
    for words in [container["command"], *(probe["exec"]["command"] for probe in probes if "exec" in probe)]:
        for path in (word.rpartition("=")[2] for word in words):
            yield not path.startswith("/") or path in paths, f"nothing is mounted at {path}"
        if words[0] == "granule":
            yield refusal(*words[1:], "--help")
    for probe in probes:
        if "httpGet" in probe:
            yield probe["httpGet"]["port"] in ports, f"a probe asks port {probe['httpGet']['port']}, which is not there"
        elif "/dev/tcp/" in (script := probe["exec"]["command"][-1]):
            asks = [f"/dev/tcp/{str(dashboard).replace(':', '/')}\n", f"Host: {dashboard}\\r"]
            yield all(it in script for it in asks), f"a probe does not ask the dashboard, {dashboard}"


def options(container: dict) -> dict[str, str]:
    return dict(word.split("=", 1) for word in container["command"] if "=" in word)


def refusal(*words: str | Path) -> tuple[bool, str]:
    """Returns whether granule accepts these arguments. With `--help`, it parses all of them and runs nothing."""
    tried = subprocess.run([GRANULE, *words], capture_output=True, text=True, cwd="/")
    return tried.returncode == 0, f"granule does not take {words}: {tried.stderr.strip()}"


def of_job(job: dict):
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    rules, is_indexed = spec["podFailurePolicy"]["rules"], spec.get("completionMode") == "Indexed"
    # Rules of the API server that are in no schema.
    yield pod["restartPolicy"] == "Never", "podFailurePolicy and backoffLimitPerIndex need restartPolicy Never"
    is_allowed = is_indexed or not spec.keys() & {"successPolicy", "backoffLimitPerIndex"}
    yield is_allowed, "successPolicy and backoffLimitPerIndex need completionMode Indexed"
    for codes in (rule["onExitCodes"] for rule in rules if "onExitCodes" in rule):
        is_there = codes["containerName"] in [container["name"] for container in pod["containers"]]
        yield is_there, f"a rule is about container {codes['containerName']}, which is not there"
        yield codes["values"] == sorted(set(codes["values"]) - {0}), "exit codes of a rule are ascending, and without 0"

    yield pod["terminationGracePeriodSeconds"] >= 30, "a coordinator ends within 15 s, a worker after its trials"
    disruption = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    yield disruption in rules, "pods that are preempted count as failures"
    yield after_failure(job, 143) == "Ignore", "pods that were told to end count as failures"
    if is_indexed:
        yield spec["completions"] == spec["parallelism"], "not all workers run side by side"
        yield spec["successPolicy"] == {"rules": [{"succeededCount": 1}]}, "late workers keep the job from its end"
        is_told_apart = options(pod["containers"][0]).get("--leave-with") == "143"
        yield is_told_apart, "a worker that is told to leave passes for one whose sweep is complete"
    else:
        actions = [after_failure(job, code) for code in (2, 3, 4)]
        yield actions == ["FailJob"] * 3, "errors that no new attempt mends are tried again"


def of_service(manifests: Manifests):
    addresses = []
    for name, service in manifests.of("Service").items():
        spec, pods = service["spec"], manifests.pods.values()
        pods = [pod for pod in pods if spec["selector"].items() <= pod["metadata"]["labels"].items()]
        chosen = [container for pod in pods for container in pod["spec"]["containers"]]
        names = [container["name"] for container in chosen]
        yield names == ["coordinator"], f"service {name} leads to {names}, not to the coordinator"
        ports = {port["name"]: port["containerPort"] for container in chosen for port in container.get("ports", [])}
        for port in spec["ports"]:
            # Without an address of its own, a service does not translate ports.
            leads = spec.get("clusterIP") == "None" and ports.get(port["targetPort"]) == port["port"]
            yield leads, f"port {port['port']} of service {name} leads nowhere"
            addresses.append(f"{name}:{port['port']}")
    for secret in manifests.of("Secret"):
        sought = json.loads(manifests.files({"secret": {"secretName": secret}})["access.json"])["addresses"]
        yield sought == addresses, f"workers look for {sought}, the services are {addresses}"


def of_secrets(manifests: Manifests):
    secrets = [manifests.files({"secret": {"secretName": name}}) for name in manifests.of("Secret")]
    values = {value.decode() for files in secrets for value in files.values()}
    values |= {json.loads(value)["secret"] for value in values if value.startswith("{")}
    for resource in (it for it in manifests.resources if it["kind"] != "Secret"):
        leaks = any(value in json.dumps(resource) for value in values)
        yield not leaks, f"{resource['metadata']['name']} has a secret in it"
    volumes = manifests.pods["granule-workers"]["spec"]["volumes"]
    files = [name for volume in volumes for name in manifests.files(volume) or {}]
    yield files == ["access.json"], f"workers are given {files}"


def main():
    with tempfile.TemporaryDirectory() as directory:
        folder = copy_to(Path(directory) / "kubernetes")
        found = problems(folder, RELEASES)
        secret = json.loads((folder / "identity/access.json").read_text())["secret"]
        for file, right, wrong, words in BROKEN:
            text = (folder / file).read_text()
            assert text.count(right) == 1, f"{file} has to have once: {right}"
            (folder / file).write_text(text.replace(right, wrong.replace("SECRET", secret)))
            complaints = problems(folder, RELEASES[-1:])
            if not any(words in complaint for complaint in complaints):
                found.append(f"a planted mistake is not found: {file}: {wrong}: {complaints}")
            (folder / file).write_text(text)
    if found:
        sys.exit("\n".join(found))
    print(f"The manifests are right for {RELEASES[0]} to {RELEASES[-1]}; {len(BROKEN)} planted mistakes are found.")


main()
