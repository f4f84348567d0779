"""Mistakes that the check must find: a file, the correct text, the wrong text in its place, and words of the message.

`SECRET` stands for the secret in the access file.
"""

LINE = "\n            "
ENVIRONMENT = "env: [{ name: CHAT_NUM_TRIAL, value: '1' }]\n          command:\n"
COORDINATOR_LABEL = "component: coordinator }\n    spec:"
ACCESS = "name: granule-access\n    files: ["

BROKEN = [
    # Manifests that no cluster accepts.
    ("workers.yaml", "  parallelism: 4", "  paralelism: 4", "paralelism"),
    ("workers.yaml", "  parallelism: 4", "  parallelism: '4'", "parallelism"),
    ("coordinator.yaml", "restartPolicy: Never", "restartPolicy: OnFailure", "restartPolicy Never"),
    ("workers.yaml", "  completionMode: Indexed\n", "", "completionMode Indexed"),
    ("workers.yaml", "containerName: worker", "containerName: x", "container x"),
    ("coordinator.yaml", "values: [2, 3, 4]", "values: [3, 2, 4]", "ascending"),
    # Failure rules and retries.
    ("workers.yaml", "Ignore\n        onPodConditions", "Count\n        onPodConditions", "preempted"),
    ("workers.yaml", "values: [143]", "values: [144]", "told to end"),
    ("workers.yaml", "--leave-with=143", "--leave-with=0", "passes for"),
    ("workers.yaml", "  completions: 4", "  completions: 5", "side by side"),
    ("coordinator.yaml", "PeriodSeconds: 60", "PeriodSeconds: 10", "15 s"),
    ("coordinator.yaml", "values: [2, 3, 4]", "values: [2, 3]", "tried again"),
    # Volumes.
    ("workers.yaml", "volumeMounts:", f"volumeMounts:{LINE}- {{ name: x, mountPath: /x }}", "'x'"),
    ("coordinator.yaml", f"{LINE}- {{ name: data, mountPath: /data }}", "", "mounts ['identity', 'sweep']"),
    ("coordinator.yaml", "mountPath: /sweep, readOnly: true", "mountPath: /sweep", "for reading only"),
    ("workers.yaml", "mountPath: /access", "mountPath: /elsewhere", "/access/access.json"),
    ("workers.yaml", "- --access=/access/access.json", "- --access=/access/acces.json", "/access/acces.json"),
    ("coordinator.yaml", "claimName: granule-data", "claimName: x", "no resource"),
    ("workers.yaml", "defaultMode: 0440", "defaultMode: 0444", "mode 0444"),
    ("workers.yaml", "fsGroup: 65532", "", "without fsGroup"),
    # Permissions and resources of a pod.
    ("coordinator.yaml", "runAsUser: 65532", "runAsUser: 0", "user of the image"),
    ("files.yaml", "runAsNonRoot: true", "runAsNonRoot: false", "may run as root"),
    ("files.yaml", "seccompProfile: { type: RuntimeDefault }", "", "seccomp"),
    ("coordinator.yaml", "capabilities: { drop: [ALL] }", "", "more than it needs"),
    ("workers.yaml", "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "more than it needs"),
    ("workers.yaml", "automountServiceAccountToken: false", "", "token"),
    ("workers.yaml", "command:\n", ENVIRONMENT, "environment"),
    ("workers.yaml", ", memory: 256Mi", "", "what it needs"),
    ("workers.yaml", "--threads=2", "--threads=8", "8 threads"),
    ("kustomization.yaml", "newTag: 0.2.0", "newTag: latest", "not of version"),
    # The program and its ports.
    ("workers.yaml", "--leave-with=143", "--leaf-with=143", "--leaf-with"),
    ("workers.yaml", "after=1h", "after=1y", "granule does not take"),
    ("sweep.yaml", "  - Control", "  - X", "sweep.yaml:"),
    ("coordinator.yaml", "[::]:7000", "[::]:7007", "none of its ports"),
    ("coordinator.yaml", "dashboard=127.0.0.1:7001", "dashboard=127.0.0.1:7002", "does not ask the dashboard"),
    ("coordinator.yaml", "port: workers", "port: x", "port x"),
    ("coordinator.yaml", COORDINATOR_LABEL, COORDINATOR_LABEL.replace("coordinator", "x"), "leads to"),
    ("service.yaml", ", app.kubernetes.io/component: coordinator", "", "leads to"),
    ("service.yaml", "port: 7000", "port: 7007", "leads nowhere"),
    ("service.yaml", "  name: granule\n", "  name: coordinator\n", "workers look for"),
    # Secrets.
    ("kustomization.yaml", ACCESS, f"{ACCESS}identity/coordinator.pem, ", "workers are given"),
    ("workers.yaml", "secretName: granule-access", "secretName: granule-identity", "workers are given"),
    ("workers.yaml", "--leave-with=143", f"--leave-with=143{LINE}- SECRET", "has a secret in it"),
]
