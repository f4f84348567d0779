"""Pods without a cluster: what a kubelet makes of a pod's specification, as far as a process can tell.

A root directory that is read-only; secrets and configuration behind symbolic links, of root and the pod's group;
a volume that the group can write; the user, groups and privileges of the security context. Pods share the network
of their caller, who is root in namespaces of mounts and network of its own.
"""

import base64
import http.client
import os
import shutil
import ssl
import subprocess
import time
from pathlib import Path

from manifests import Manifests, content

# What of the image is this machine's.
SYSTEM = ["usr/bin", "usr/lib", "usr/lib64", "dev", "proc"]
LINKS = {"bin": "usr/bin", "lib": "usr/lib", "lib64": "usr/lib64"}


class Pod:
    """One pod, whose only container runs from the beginning."""

    def __init__(self, manifests: Manifests, name: str, place: Path, granule: Path, claims: Path, hosts: Path):
        """`claims` has a directory for each claim, `hosts` is what `/etc/hosts` of all pods shows."""
        self.specification = manifests.pods()[name]
        (self.container,) = self.specification["containers"]
        self.security = self.specification["securityContext"]
        self.place, self.root = place, place / "root"
        self.root.mkdir(parents=True)
        self.mount(self.root, self.root)
        for directory in SYSTEM:
            if (source := Path("/") / directory).is_dir():
                (self.root / directory).mkdir(parents=True, exist_ok=True)
                self.mount(source, self.root / directory, "ro")
        for link, target in LINKS.items():
            (self.root / link).symlink_to(target)
        (self.root / "usr/local/bin").mkdir(parents=True)
        shutil.copy(granule, self.root / "usr/local/bin/granule")
        (self.root / "etc").mkdir()
        (self.root / "etc/hosts").touch()
        self.mount(hosts, self.root / "etc/hosts", "ro")
        volumes = {volume["name"]: volume for volume in self.specification["volumes"]}
        for mount in self.container["volumeMounts"]:
            source = self.volume(manifests, volumes[mount["name"]], claims)
            target = self.root / mount["mountPath"].lstrip("/")
            target.mkdir(parents=True)
            self.mount(source, target, "ro" if mount.get("readOnly") else "rw")
        if self.container["securityContext"]["readOnlyRootFilesystem"]:
            subprocess.run(["mount", "-o", "remount,bind,ro", self.root], check=True)
        self.log = place / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                self.command(self.container["command"]), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def volume(self, manifests: Manifests, volume: dict, claims: Path) -> Path:
        group = self.security["fsGroup"]
        files = content(manifests, volume)
        if files is None:
            claim = claims / volume["persistentVolumeClaim"]["claimName"]
            if not claim.exists():
                claim.mkdir(parents=True)
                os.chown(claim, 0, group)
                claim.chmod(0o2770)
            return claim
        directory = self.place / "volumes" / volume["name"]
        version = directory / "..2026_11_28"
        version.mkdir(parents=True)
        (directory / "..data").symlink_to(version.name)
        for name, value in files.items():
            is_secret = "secret" in volume
            path = version / name
            path.write_bytes(base64.b64decode(value) if is_secret else value.encode())
            os.chown(path, 0, group)
            # With a group for its volumes, it may read whatever the mode says.
            path.chmod(volume["secret" if is_secret else "configMap"].get("defaultMode", 0o644) | 0o440)
            (directory / name).symlink_to(f"..data/{name}")
        return directory

    def mount(self, source: Path, target: Path, how: str = "rw"):
        subprocess.run(["mount", "--bind", source, target], check=True)
        if how == "ro":
            subprocess.run(["mount", "-o", "remount,bind,ro", target], check=True)

    def command(self, words: list[str]) -> list[str]:
        """How to run this in the container."""
        user, group, of_volumes = (self.security[it] for it in ("runAsUser", "runAsGroup", "fsGroup"))
        inside = ["env", "-i", "-C", self.container.get("workingDir", "/"), "PATH=/usr/local/bin:/usr/bin", *words]
        outside = ["setpriv", "--no-new-privs", "chroot", f"--userspec={user}:{group}", f"--groups={of_volumes}"]
        return [*outside, str(self.root), "/usr/bin/" + inside[0], *inside[1:]]

    def exec(self, words: list[str]) -> subprocess.CompletedProcess:
        return subprocess.run(self.command(words), capture_output=True, text=True, timeout=30)

    def probe(self, kind: str, address: str) -> bool:
        """What a probe of this kind finds: `startup`, `liveness` or `readiness`."""
        probe = self.container[f"{kind}Probe"]
        if "exec" in probe:
            return self.exec(probe["exec"]["command"]).returncode == 0
        get = probe["httpGet"]
        assert get["scheme"] == "HTTPS"
        (port,) = [it["containerPort"] for it in self.container["ports"] if it["name"] == get["port"]]
        # A kubelet does not look at certificates.
        connection = http.client.HTTPSConnection(
            address, port, timeout=probe["timeoutSeconds"], context=ssl._create_unverified_context()
        )
        try:
            connection.request("GET", get["path"])
            return 200 <= connection.getresponse().status < 400
        except OSError:
            return False
        finally:
            connection.close()

    def ended(self, within: float) -> int:
        """Its exit code, as a shell would have it."""
        code = self.process.wait(timeout=within)
        return code if code >= 0 else 128 - code

    def said(self) -> str:
        return self.log.read_text(errors="replace")


def until(what: str, look, *pods: Pod, seconds: float = 60):
    """What `look` gives, once that is something; otherwise says what these pods have said."""
    end = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > end:
            raise SystemExit("\n".join([f"waited in vain: {what}", *(pod.said() for pod in pods)]))
        time.sleep(0.1)
    return found
