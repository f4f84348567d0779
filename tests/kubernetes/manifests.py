"""The manifests as a cluster would be given them: rendered by kubectl, with an identity that granule makes."""

import re
import shutil
import subprocess
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
ADDRESS = "granule:7000"


class Manifests:
    """Resources by (kind, name). Names of what kustomize generates come without their hash."""

    def __init__(self, granule: Path, directory: Path, sweep: str | None = None):
        """Renders `kubernetes/` in a directory of its own, with another sweep file if one is given."""
        folder = directory / "kubernetes"
        shutil.copytree(ROOT / "kubernetes", folder, ignore=shutil.ignore_patterns("identity"))
        if sweep is not None:
            (folder / "sweep.yaml").write_text(sweep)
        self.identity = folder / "identity"
        subprocess.run(
            [granule, "identity", self.identity, "--advertise", ADDRESS], check=True, stdout=subprocess.DEVNULL
        )
        rendered = subprocess.run(
            ["kubectl", "kustomize", folder], check=True, stdout=subprocess.PIPE, text=True
        ).stdout
        generated = [
            resource["metadata"]["name"]
            for resource in yaml.safe_load_all(rendered)
            if resource["kind"] in ("Secret", "ConfigMap")
        ]
        for name in generated:
            rendered = rendered.replace(name, re.sub(r"-[a-z0-9]{10}$", "", name))
        self.resources = list(yaml.safe_load_all(rendered))
        self.files = yaml.safe_load((folder / "files.yaml").read_text())
        self.user = re.search(r"^USER (\d+):\d+$", (folder / "Dockerfile").read_text(), re.M).group(1)

    def get(self, kind: str, name: str) -> dict | None:
        found = [it for it in self.resources if (it["kind"], it["metadata"]["name"]) == (kind, name)]
        return found[0] if found else None

    def pods(self) -> dict[str, dict]:
        """The specification of every pod that the resources stand for, by the name of its resource."""
        jobs = [it for it in self.resources if it["kind"] == "Job"]
        return {it["metadata"]["name"]: it["spec"]["template"]["spec"] for it in jobs} | {
            self.files["metadata"]["name"]: self.files["spec"]
        }


def content(manifests: Manifests, volume: dict) -> dict[str, bytes | str] | None:
    """Names of the files that a volume of a secret or a configuration has; None of any other volume."""
    if "secret" in volume:
        resource = manifests.get("Secret", volume["secret"]["secretName"])
    elif "configMap" in volume:
        resource = manifests.get("ConfigMap", volume["configMap"]["name"])
    else:
        return None
    return (resource or {}).get("data", {})


def after_failure(job: dict, code: int) -> str:
    """What the job's controller does about a pod whose container ended with this code, as the rules of its
    podFailurePolicy say: the first that fits decides. `Count` is what happens when none does."""
    for rule in job["spec"]["podFailurePolicy"]["rules"]:
        codes = rule.get("onExitCodes")
        if codes and (code in codes["values"]) == (codes["operator"] == "In"):
            return rule["action"]
    return "Count"


def option(command: list[str], name: str) -> str | None:
    """The value of `--name=value` in a command."""
    values = [word.removeprefix(f"--{name}=") for word in command if word.startswith(f"--{name}=")]
    return values[0] if values else None
