"""Are the manifests what a cluster takes, and do they fit each other and the program? And is what does not refused?

    python tests/kubernetes/check.py target/release/granule

Needs kubectl (which asks no cluster), and from PyPI kubernetes-validate, which has the schemas of each release.
"""

import base64
import copy
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import kubernetes_validate

from broken import BROKEN
from manifests import Manifests, after_failure, content, option

# The first release with all that the jobs ask for, and the last one that there are schemas of.
RELEASES = [f"1.{minor}" for minor in range(31, 38)]

GRANULE = Path(sys.argv[1]).resolve()


def problems(manifests: Manifests, releases: list[str]):
    yield from by_schema(manifests, releases)
    yield from of_names(manifests)
    for name, pod in manifests.pods().items():
        yield from (f"{name}: {problem}" for problem in of_pod(manifests, pod))
    for job in (it for it in manifests.resources if it["kind"] == "Job"):
        yield from (f"{job['metadata']['name']}: {problem}" for problem in of_job(job))
    yield from of_service(manifests)
    yield from of_secrets(manifests)
    yield from of_program(manifests)


def by_schema(manifests: Manifests, releases: list[str]):
    for resource in [*manifests.resources, manifests.files]:
        for release in releases:
            try:
                kubernetes_validate.validate(resource, release, strict=True)
            except kubernetes_validate.ValidationError as error:
                where = ".".join(str(part) for part in error.path)
                yield f"{resource['kind']} {resource['metadata']['name']}, {release}: {where}: {error.message}"


def of_names(manifests: Manifests):
    names = [(it["kind"], it["metadata"]["name"]) for it in manifests.resources]
    yield from (f"{name} is there twice" for name in set(names) if names.count(name) > 1)


def of_pod(manifests: Manifests, pod: dict):
    volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
    mounted = {mount["name"] for container in pod["containers"] for mount in container.get("volumeMounts", [])}
    yield from (f"volume {name} is not mounted" for name in volumes.keys() - mounted)
    for volume in volumes.values():
        kind, name = {
            "secret": lambda it: ("Secret", it["secretName"]),
            "configMap": lambda it: ("ConfigMap", it["name"]),
            "persistentVolumeClaim": lambda it: ("PersistentVolumeClaim", it["claimName"]),
        }[(source := next(key for key in volume if key != "name"))](volume[source])
        if manifests.get(kind, name) is None:
            yield f"there is no {kind} {name}"
        if source == "secret":
            mode = volume["secret"].get("defaultMode", 0o644)
            if mode & 0o337 or "fsGroup" not in pod["securityContext"]:
                yield f"secret {name} has mode {mode:04o}: granule takes what root lets its group read, and no more"
    security = pod["securityContext"]
    if not security.get("runAsNonRoot") or str(security.get("runAsUser")) != manifests.user:
        yield f"it does not run as the user of the image, {manifests.user}"
    if security.get("seccompProfile") != {"type": "RuntimeDefault"}:
        yield "it has no seccomp profile"
    if pod.get("automountServiceAccountToken") is not False:
        yield "it is given a token of the cluster, and needs none"
    for container in pod["containers"]:
        yield from of_container(manifests, container, volumes)


def of_container(manifests: Manifests, container: dict, volumes: dict):
    if container["securityContext"] != {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }:
        yield "its container may do more than it needs to"
    if container.get("env") or container.get("envFrom"):
        yield "its container has an environment: CHAT_* would change the sweep, and secrets do not belong there"
    if ":" not in container["image"] or container["image"].endswith(":latest"):
        yield f"image {container['image']} has no version"
    resources = container["resources"]
    if not {"cpu", "memory"} <= resources["requests"].keys() or "memory" not in resources["limits"]:
        yield "its container does not say what it needs"
    threads = option(container["command"], "threads")
    if threads and threads != resources["requests"]["cpu"]:
        yield f"it computes with {threads} threads and requests {resources['requests']['cpu']} of CPU"
    mounts = {mount["mountPath"]: mount for mount in container.get("volumeMounts", [])}
    for mount in mounts.values():
        if mount["name"] not in volumes:
            yield f"volume {mount['name']} is mounted and not there"
        elif content(manifests, volumes[mount["name"]]) is not None and not mount.get("readOnly"):
            yield f"{mount['mountPath']} is not mounted for reading only"
    for word in container["command"]:
        path = word.split("=", 1)[-1]
        if not path.startswith("/"):
            continue
        mount = next((it for it in mounts if path == it or path.startswith(f"{it}/")), None)
        files = content(manifests, volumes.get(mounts[mount]["name"], {})) if mount else None
        wanted = (
            ["coordinator.pem", "access.json"] if word.startswith("--identity=") else [path[len(mount or "") + 1 :]]
        )
        if mount is None or not files or any(name not in files for name in wanted):
            yield f"nothing is mounted that has {path}"
    ports = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
    commands = [probe for kind in ("startup", "liveness", "readiness") if (probe := container.get(f"{kind}Probe"))]
    for probe in commands:
        if "httpGet" in probe and probe["httpGet"]["port"] not in ports:
            yield f"a probe asks port {probe['httpGet']['port']}, which is not there"
        if "exec" in probe and "/dev/tcp/" in (script := probe["exec"]["command"][-1]):
            dashboard = option(container["command"], "dashboard")
            if (
                dashboard is None
                or f"/dev/tcp/{dashboard.replace(':', '/')}\n" not in script
                or f"Host: {dashboard}\\r" not in script
            ):
                yield f"a probe does not ask the dashboard, {dashboard}"
    listen = option(container["command"], "listen")
    if listen and int(listen.rsplit(":", 1)[1]) not in ports.values():
        yield f"it listens on {listen}, which is none of its ports"


def of_job(job: dict):
    spec = job["spec"]
    template = spec["template"]["spec"]
    # What the API server refuses, and no schema says.
    if template["restartPolicy"] != "Never":
        yield "podFailurePolicy and backoffLimitPerIndex need restartPolicy Never"
    if spec.get("completionMode") != "Indexed" and {"successPolicy", "backoffLimitPerIndex"} & spec.keys():
        yield "successPolicy and backoffLimitPerIndex need completionMode Indexed"
    names = [container["name"] for container in template["containers"]]
    for rule in spec["podFailurePolicy"]["rules"]:
        if codes := rule.get("onExitCodes"):
            if codes["containerName"] not in names:
                yield f"a rule is about container {codes['containerName']}, which is not there"
            if codes["values"] != sorted(set(codes["values"])) or 0 in codes["values"]:
                yield "exit codes of a rule are in ascending order, and without 0"
    if template["terminationGracePeriodSeconds"] < 30:
        yield "a coordinator takes up to 15 s to end, and a worker as long as a trial"
    if not any("onPodConditions" in rule and rule["action"] == "Ignore" for rule in spec["podFailurePolicy"]["rules"]):
        yield "pods that are preempted count as failures"
    if after_failure(job, 143) != "Ignore":
        yield "pods that were told to end count as failures"
    if spec.get("completionMode") == "Indexed":
        if spec["completions"] != spec["parallelism"]:
            yield "not all workers run side by side"
        if spec["successPolicy"] != {"rules": [{"succeededCount": 1}]}:
            yield "workers that come too late keep the job from its end"
        if option(template["containers"][0]["command"], "leave-with") != "143":
            yield "a worker that is told to leave would pass for one whose sweep is complete"
    elif [after_failure(job, code) for code in (2, 3, 4)] != ["FailJob"] * 3:
        yield "what trying again does not mend is tried again"


def of_service(manifests: Manifests):
    services = [it for it in manifests.resources if it["kind"] == "Service"]
    for service in services:
        spec = service["spec"]
        templates = [it["spec"]["template"] for it in manifests.resources if it["kind"] == "Job"]
        chosen = [it for it in templates if spec["selector"].items() <= it["metadata"]["labels"].items()]
        if [it["spec"]["containers"][0]["name"] for it in chosen] != ["coordinator"]:
            yield f"service {service['metadata']['name']} leads to {len(chosen)} kinds of pods, not to the coordinator"
            continue
        ports = {port["name"]: port["containerPort"] for port in chosen[0]["spec"]["containers"][0]["ports"]}
        for port in spec["ports"]:
            # Without an address of its own, a service does not translate ports.
            if spec.get("clusterIP") != "None" or ports.get(port["targetPort"]) != port["port"]:
                yield f"port {port['port']} of service {service['metadata']['name']} leads nowhere"
    addresses = [f"{it['metadata']['name']}:{port['port']}" for it in services for port in it["spec"]["ports"]]
    for secret in (it for it in manifests.resources if it["kind"] == "Secret"):
        access = json.loads(base64.b64decode(secret["data"]["access.json"]))
        if access["addresses"] != addresses:
            yield f"workers look for {access['addresses']}, the services are {addresses}"


def of_secrets(manifests: Manifests):
    secrets = [it for it in manifests.resources if it["kind"] == "Secret"]
    values = {base64.b64decode(value).decode() for secret in secrets for value in secret["data"].values()}
    values |= {json.loads(value)["secret"] for value in values if value.startswith("{")}
    for resource in manifests.resources:
        if resource["kind"] != "Secret" and any(value in json.dumps(resource) for value in values):
            yield f"{resource['metadata']['name']} has a secret in it"
    worker = manifests.pods()["granule-workers"]
    files = {name for volume in worker["volumes"] for name in content(manifests, volume) or {}}
    if files != {"access.json"}:
        yield f"workers are given {sorted(files)}"


def of_program(manifests: Manifests):
    for name, pod in manifests.pods().items():
        for container in pod["containers"]:
            probes = [container.get(f"{kind}Probe", {}).get("exec") for kind in ("startup", "liveness", "readiness")]
            commands = [container["command"], *(probe["command"] for probe in probes if probe)]
            for words in (it for it in commands if it[0] == "granule"):
                # The command line is read up to its end before any help is given.
                tried = subprocess.run([GRANULE, *words[1:], "--help"], capture_output=True, text=True)
                if tried.returncode != 0:
                    yield f"{name}: granule does not take {words}: {tried.stderr.strip()}"
    sweep = manifests.get("ConfigMap", "granule-sweep")["data"]["sweep.yaml"]
    with tempfile.TemporaryDirectory() as directory:
        (path := Path(directory) / "sweep.yaml").write_text(sweep)
        tried = subprocess.run([GRANULE, "plan", path], capture_output=True, text=True, cwd=directory)
        if tried.returncode != 0:
            yield f"sweep.yaml: {tried.stderr.strip()}"


def main():
    with tempfile.TemporaryDirectory() as directory:
        manifests = Manifests(GRANULE, Path(directory))
    found = list(problems(manifests, RELEASES))
    for problem in found:
        print(problem, file=sys.stderr)
    for what, broken, words in BROKEN:
        altered = copy.deepcopy(manifests)
        broken(altered)
        complaints = list(problems(altered, RELEASES[-1:]))
        if not any(words in complaint for complaint in complaints):
            found.append(what)
            print(f"not refused: {what}: {complaints}", file=sys.stderr)
    if found:
        sys.exit(1)
    releases = f"{RELEASES[0]} to {RELEASES[-1]}"
    print(f"{len(manifests.resources) + 1} manifests are fine in {releases}; {len(BROKEN)} broken ones are refused")


main()
