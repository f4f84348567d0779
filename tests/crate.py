"""Checks research objects with public programs: `granule export --crate`, and CITATION.cff.

    python tests/crate.py PROGRAM DIRECTORY

Runs a small sweep of the built-in model and one of a Python model with the granule program PROGRAM, in DIRECTORY. Makes
a research object of each. Validates them with rocrate-validator: RO-Crate 1.1 and the profiles to which they conform,
all that is REQUIRED. Loads them with the package rocrate. Validates CITATION.cff with cffconvert. None of this uses the
network: the context of RO-Crate 1.1 is that of the package rocrate 0.13, which is for this version.
"""

import importlib.resources
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import requests
from rocrate.rocrate import ROCrate
from rocrate_validator import services
from rocrate_validator.models import Severity, ValidationSettings
from rocrate_validator.utils.http import HttpRequester

PROFILES = ["ro-crate-1.1", "process-run-crate", "workflow-ro-crate", "workflow-run-crate"]

CONTEXT = "https://w3id.org/ro/crate/1.1/context"

SWEEP = """\
network: { mossy_fibers: 40, granule_cells: 64, golgi_cells: 5 }
trials: 2
conditions: [Control, { name: mine, base: ACh, set: { golgi.leak_reversal: -53 mV } }]
"""


def get(_requester, url, **_options):
    """Answers a request of the validator."""
    if url != CONTEXT:
        raise OSError(f"{url} is not available here")
    response = requests.Response()
    response.status_code = 200
    response.headers["Content-Type"] = "application/ld+json"
    response._content = importlib.resources.files("rocrate").joinpath("data/ro-crate.jsonld").read_bytes()
    return response


def main():
    granule, directory = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
    root = Path(__file__).resolve().parent.parent
    HttpRequester.get = get
    directory.mkdir(parents=True, exist_ok=True)
    os.chdir(directory)
    # The model's program runs with this Python, and the module from the repository.
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    os.environ["PYTHONPATH"] = str(root / "python" / "src")
    Path("small.yaml").write_text(SWEEP, encoding="utf-8")
    if not Path("mine.yaml").exists():
        subprocess.run([granule, "init", "--model", "python", "mine.model.yaml"], check=True)
    for name in ["small", "mine"]:
        file = f"{name}.zip"
        subprocess.run([granule, "run", f"{name}.yaml"], check=True)
        subprocess.run([granule, "export", f"out/{name}", "--crate", file], check=True)
        for profile in PROFILES:
            validate(file, profile)
        load(file)
    cffconvert = Path(sys.executable).with_name("cffconvert")
    subprocess.run([cffconvert, "--validate", "-i", root / "CITATION.cff"], check=True)


def validate(file, profile):
    settings = ValidationSettings(
        rocrate_uri=file, profile_identifier=profile, requirement_severity=Severity.REQUIRED, no_cache=True
    )
    result = services.validate(settings)
    for issue in result.get_issues():
        print(f"{file}, {profile}: {issue.check.identifier}: {issue.message}", file=sys.stderr)
    if not result.passed():
        sys.exit(f"{file} does not conform to {profile}")
    print(f"{file} conforms to {profile}")


def load(file):
    crate = ROCrate(file)
    with zipfile.ZipFile(file) as archive:
        files = set(archive.namelist()) - {"ro-crate-metadata.json"}
    assert {entity.id for entity in crate.data_entities} == files, files
    run = crate.get("#run")
    results = files - {"sweep.yaml", "sweep-as-written.yaml"}
    assert run["instrument"] == crate.mainEntity and {entity.id for entity in run["result"]} == results
    print(f"{file} has {len(files)} files, {run['startTime']} to {run['endTime']}")


if __name__ == "__main__":
    main()
