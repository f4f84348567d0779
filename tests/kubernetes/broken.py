"""Manifests that a check has to refuse: what is broken, how, and words of the complaint."""

import base64
import json

from manifests import ADDRESS


def job(name):
    return lambda manifests: manifests.get("Job", name)["spec"]


def container(name):
    return lambda manifests: manifests.pods()[name]["containers"][0]


def change(where, alter):
    return lambda manifests: alter(where(manifests))


def swap(old, new):
    """A word of a command for another."""

    def alter(container):
        container["command"] = [word.replace(old, new) for word in container["command"]]

    return alter


coordinator, workers = container("granule-coordinator"), container("granule-workers")

BROKEN = [
    ("a field that is not there", change(job("granule-workers"), lambda it: it.update(paralelism=4)), "paralelism"),
    ("a number as text", change(job("granule-workers"), lambda it: it.update(parallelism="4")), "parallelism"),
    (
        "no restart policy for failures",
        change(job("granule-coordinator"), lambda it: it["template"]["spec"].update(restartPolicy="OnFailure")),
        "restartPolicy Never",
    ),
    ("no index", change(job("granule-workers"), lambda it: it.pop("completionMode")), "completionMode Indexed"),
    (
        "a rule for nobody",
        change(
            job("granule-workers"),
            lambda it: it["podFailurePolicy"]["rules"][0]["onExitCodes"].update(containerName="x"),
        ),
        "container x",
    ),
    (
        "codes out of order",
        change(
            job("granule-coordinator"),
            lambda it: it["podFailurePolicy"]["rules"][0]["onExitCodes"].update(values=[3, 2, 4]),
        ),
        "ascending",
    ),
    (
        "preemption counts",
        change(job("granule-workers"), lambda it: it["podFailurePolicy"]["rules"].pop()),
        "preempted",
    ),
    (
        "leaving counts",
        change(job("granule-workers"), lambda it: it["podFailurePolicy"]["rules"].pop(0)),
        "told to end",
    ),
    ("leaving passes for success", change(workers, swap("--leave-with=143", "--leave-with=0")), "pass for"),
    (
        "little time to end",
        change(job("granule-coordinator"), lambda it: it["template"]["spec"].update(terminationGracePeriodSeconds=10)),
        "15 s",
    ),
    (
        "hopeless repetition",
        change(job("granule-coordinator"), lambda it: it["podFailurePolicy"]["rules"].pop(0)),
        "tried again",
    ),
    (
        "a mount without volume",
        change(workers, lambda it: it["volumeMounts"].append({"name": "x", "mountPath": "/x"})),
        "volume x",
    ),
    ("a volume without mount", change(coordinator, lambda it: it["volumeMounts"].pop(0)), "volume data is not mounted"),
    (
        "a mount elsewhere",
        change(workers, lambda it: it["volumeMounts"][0].update(mountPath="/elsewhere")),
        "/access/access.json",
    ),
    ("a file that is not in the volume", change(workers, swap("access.json", "acces.json")), "/access/acces.json"),
    (
        "no such claim",
        change(
            lambda it: it.pods()["granule-coordinator"],
            lambda it: it["volumes"][0]["persistentVolumeClaim"].update(claimName="x"),
        ),
        "PersistentVolumeClaim x",
    ),
    (
        "a secret for all",
        change(
            lambda it: it.pods()["granule-workers"], lambda it: it["volumes"][0]["secret"].update(defaultMode=0o444)
        ),
        "mode 0444",
    ),
    (
        "a secret without group",
        change(lambda it: it.pods()["granule-workers"], lambda it: it["securityContext"].pop("fsGroup")),
        "lets its group read",
    ),
    (
        "root",
        change(lambda it: it.pods()["granule-coordinator"], lambda it: it["securityContext"].update(runAsUser=0)),
        "user of the image",
    ),
    ("capabilities", change(coordinator, lambda it: it["securityContext"].pop("capabilities")), "more than it needs"),
    (
        "a root that is written to",
        change(workers, lambda it: it["securityContext"].update(readOnlyRootFilesystem=False)),
        "more than it needs",
    ),
    (
        "a token",
        change(lambda it: it.pods()["granule-workers"], lambda it: it.pop("automountServiceAccountToken")),
        "token",
    ),
    (
        "an environment",
        change(workers, lambda it: it.update(env=[{"name": "CHAT_NUM_TRIAL", "value": "1"}])),
        "environment",
    ),
    ("no requests", change(workers, lambda it: it["resources"]["requests"].pop("memory")), "what it needs"),
    ("more threads than CPU", change(workers, swap("--threads=2", "--threads=8")), "8 threads"),
    ("no version", change(coordinator, lambda it: it.update(image="granule:latest")), "no version"),
    ("an option that granule has not", change(workers, swap("--leave-with", "--leaf-with")), "--leaf-with"),
    ("a value that granule does not take", change(workers, swap("=1h", "=1y")), "granule does not take"),
    ("another port to listen on", change(coordinator, swap("[::]:7000", "[::]:7007")), "none of its ports"),
    ("another dashboard", change(coordinator, swap("127.0.0.1:7001", "127.0.0.1:7002")), "does not ask the dashboard"),
    ("a probe of no port", change(coordinator, lambda it: it["readinessProbe"]["httpGet"].update(port="x")), "port x"),
    (
        "another label",
        change(
            job("granule-coordinator"),
            lambda it: it["template"]["metadata"]["labels"].pop("app.kubernetes.io/component"),
        ),
        "leads to",
    ),
    (
        "a selector for all",
        change(
            lambda it: it.get("Service", "granule")["spec"],
            lambda it: it["selector"].pop("app.kubernetes.io/component"),
        ),
        "leads to",
    ),
    (
        "another port of the service",
        change(lambda it: it.get("Service", "granule")["spec"], lambda it: it["ports"][0].update(port=7007)),
        "leads nowhere",
    ),
    (
        "another name of the service",
        change(lambda it: it.get("Service", "granule")["metadata"], lambda it: it.update(name="coordinator")),
        ADDRESS,
    ),
    (
        "the key for workers",
        change(
            lambda it: it,
            lambda it: it.get("Secret", "granule-access")["data"].update(it.get("Secret", "granule-identity")["data"]),
        ),
        "workers are given",
    ),
    (
        "the secret in an argument",
        change(
            lambda it: it,
            lambda it: workers(it)["command"].append(
                json.loads(base64.b64decode(it.get("Secret", "granule-access")["data"]["access.json"]))["secret"]
            ),
        ),
        "has a secret in it",
    ),
    (
        "a wrong sweep",
        change(
            lambda it: it.get("ConfigMap", "granule-sweep")["data"],
            lambda it: it.update({"sweep.yaml": "conditions: [X]"}),
        ),
        "sweep.yaml",
    ),
]
