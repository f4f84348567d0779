"""Pods without a cluster: applies a pod's specification as a kubelet does, as far as the container's process can see.

A pod has a read-only root directory. Its secrets and configuration are behind symbolic links, and belong to root and
the pod's group; the group can write to its claims. The security context sets user, groups and privileges. Pods share
the network of their caller, which is root in namespaces of mounts and network of its own.
"""

import os
import ssl
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from manifests import GRANULE, Manifests

# A kubelet does not check certificates, and uses no proxy.
HTTPS = urllib.request.HTTPSHandler(context=ssl._create_unverified_context())
KUBELET = urllib.request.build_opener(urllib.request.ProxyHandler({}), HTTPS)

STARTED: list["Pod"] = []


class Pod:
    """A pod whose only container is started. All pods share the `hosts` file and the `claims` in `place`."""

    def __init__(self, manifests: Manifests, name: str, place: Path):
        specification = manifests.pods[name]["spec"]
        (self.container,) = specification["containers"]
        self.security = specification["securityContext"]
        self.folder = place / f"pod-{len(STARTED)}"
        self.root, self.log = self.folder / "root", self.folder / "log"
        # The container gets this machine's system, and from the image only the program.
        mounts = [("/usr", "usr", "ro"), ("/dev", "dev", "ro"), ("/proc", "proc", "ro")]
        mounts += [(GRANULE.parent, "usr/local/bin", "ro"), (place / "hosts", "etc/hosts", "ro")]
        volumes = {volume["name"]: volume for volume in specification["volumes"]}
        for mount in self.container["volumeMounts"]:
            source = self.volume(volumes[mount["name"]], manifests, place / "claims")
            mounts.append((source, mount["mountPath"].strip("/"), "ro" if mount.get("readOnly") else "rw"))
            (self.root / mount["mountPath"].strip("/")).mkdir(parents=True)
        for directory in ("usr", "dev", "proc", "etc"):
            (self.root / directory).mkdir()
        (self.root / "etc/hosts").touch()
        for link in ("bin", "lib", "lib64"):
            (self.root / link).symlink_to(f"usr/{link}")
        is_fixed = self.container["securityContext"]["readOnlyRootFilesystem"]
        for source, target, mode in [(self.root, "", "ro" if is_fixed else "rw"), *mounts]:
            subprocess.run(["mount", "--bind", "--options", mode, source, self.root / target], check=True)
        command = self.command(self.container["command"])
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        STARTED.append(self)

    def volume(self, volume: dict, manifests: Manifests, claims: Path) -> Path:
        group = self.security["fsGroup"]
        if "persistentVolumeClaim" in volume:
            claim = claims / volume["persistentVolumeClaim"]["claimName"]
            claim.mkdir(parents=True, exist_ok=True)
            os.chown(claim, 0, group)
            claim.chmod(0o2770)
            return claim
        directory = self.folder / volume["name"]
        version = directory / "..2026_11_28"
        version.mkdir(parents=True)
        (directory / "..data").symlink_to(version.name)
        for name, content in manifests.files(volume).items():
            (version / name).write_bytes(content)
            os.chown(version / name, 0, group)
            # The group may read, even if the mode does not permit it.
            mode = volume.get("secret", volume.get("configMap")).get("defaultMode", 0o644)
            (version / name).chmod(mode | 0o440)
            (directory / name).symlink_to(f"..data/{name}")
        return directory

    def command(self, words: list[str]) -> list[str | Path]:
        """Returns the command that runs this in the container."""
        user, group, of_volumes = (self.security[it] for it in ("runAsUser", "runAsGroup", "fsGroup"))
        chroot = ["chroot", f"--userspec={user}:{group}", f"--groups={of_volumes}", self.root]
        env = ["/usr/bin/env", "-i", "-C", self.container.get("workingDir", "/"), "PATH=/usr/local/bin:/usr/bin"]
        return ["setpriv", "--no-new-privs", *chroot, *env, *words]

    def exec(self, words: list[str]) -> subprocess.CompletedProcess:
        return subprocess.run(self.command(words), capture_output=True, text=True, timeout=30)

    def probe(self, kind: str, address: str) -> bool:
        """Whether a probe succeeds: `startup`, `liveness` or `readiness`."""
        probe = self.container[f"{kind}Probe"]
        if "exec" in probe:
            return self.exec(probe["exec"]["command"]).returncode == 0
        get, ports = probe["httpGet"], {it["name"]: it["containerPort"] for it in self.container["ports"]}
        url = f"{get['scheme'].lower()}://{address}:{ports[get['port']]}{get['path']}"
        try:
            return KUBELET.open(url, timeout=probe["timeoutSeconds"]).status < 400
        except OSError:
            return False

    def is_running(self) -> bool:
        return self.process.poll() is None

    def exit_code(self, within: float) -> int:
        """Returns its exit code, as a shell reports it."""
        code = self.process.wait(timeout=within)
        return code if code >= 0 else 128 - code


def expect(holds: bool, what: str):
    if not holds:
        logs = [f"{pod.log}:\n{pod.log.read_text(errors='replace')}" for pod in STARTED]
        sys.exit("\n".join([*logs, f"it does not hold that {what}"]))
    print(f"- {what}", flush=True)


def wait_until(what: str, look, seconds: float = 60):
    end = time.monotonic() + seconds
    while not look():
        if time.monotonic() > end:
            expect(False, f"{what} within {seconds} s")
        time.sleep(0.1)
