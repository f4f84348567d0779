"""The manifests as a cluster receives them: rendered by kubectl, with an identity that granule makes."""

import base64
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

GRANULE = Path(sys.argv[1]).resolve()
ADDRESS = "granule:7000"
NAME_KEYS = {"secret": "secretName", "configMap": "name", "persistentVolumeClaim": "claimName"}


def copy_to(folder: Path) -> Path:
    """Copies `kubernetes/`, and adds an identity. Generated resources keep their names, without a hash."""
    kubernetes = Path(__file__).resolve().parents[2] / "kubernetes"
    shutil.copytree(kubernetes, folder, ignore=shutil.ignore_patterns("identity"))
    kustomization = folder / "kustomization.yaml"
    options = "generatorOptions:\n"
    kustomization.write_text(kustomization.read_text().replace(options, f"{options}  disableNameSuffixHash: true\n"))
    command = [GRANULE, "identity", folder / "identity", "--advertise", ADDRESS]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return folder


class Manifests:
    def __init__(self, folder: Path):
        kustomize = ["kubectl", "kustomize", folder]
        rendered = subprocess.run(kustomize, check=True, stdout=subprocess.PIPE, text=True).stdout
        self.resources = [*yaml.safe_load_all(rendered), yaml.safe_load((folder / "files.yaml").read_text())]
        self.user = (folder / "Dockerfile").read_text().rpartition("USER ")[2].split()[0]
        # Metadata and specification of each kind of pod, by the name of its resource.
        with_pods = self.of("Job") | self.of("Pod")
        self.pods = {name: it["spec"].get("template", it) for name, it in with_pods.items()}

    def of(self, kind: str) -> dict[str, dict]:
        return {it["metadata"]["name"]: it for it in self.resources if it["kind"] == kind}

    def files(self, volume: dict) -> dict[str, bytes] | None:
        """Returns the files of a volume: none for a claim, `None` if its resource does not exist."""
        ((source, reference),) = ((key, value) for key, value in volume.items() if key != "name")
        resource = self.of(source[0].upper() + source[1:]).get(reference[NAME_KEYS[source]])
        decode = base64.b64decode if source == "secret" else str.encode
        return resource and {name: decode(text) for name, text in resource.get("data", {}).items()}


def after_failure(job: dict, code: int) -> str:
    """The action of the first rule for this exit code, or `Count`, the default: the failure counts."""
    for rule in job["spec"]["podFailurePolicy"]["rules"]:
        codes = rule.get("onExitCodes")
        if codes and (code in codes["values"]) == (codes["operator"] == "In"):
            return rule["action"]
    return "Count"
