"""Imports go down from floor to floor, as the picture in docs/architecture.md says."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "architecture.md"


def floors() -> dict[str, int]:
    """The floor of each room, 0 at the top, as drawn."""
    drawn = re.findall(r"subgraph \w+ \[.*?\]\n(.*?)\n\s*end\n", PICTURE.read_text(), re.DOTALL)
    return {room: i for i, floor in enumerate(drawn) for room in re.findall(r"\w+", floor)}


def modules() -> dict[str, Path]:
    """Files of the package by the name of their module; its __init__ only gathers the rest."""
    package = ROOT / "diffwave"
    paths = [path for path in package.rglob("*.py") if path != package / "__init__.py"]
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in paths
    }


def imports(path: Path, known: dict[str, Path]) -> Iterator[str]:
    """Modules of the package that a file imports, at its top or later."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [
                name if (name := f"{node.module}.{alias.name}") in known else str(node.module)
                for alias in node.names
            ]
        else:
            continue
        yield from (name for name in names if name in known)


def room(module: str) -> str:
    return module.split(".")[1]


def imported() -> dict[str, set[str]]:
    known = modules()
    return {name: set(imports(path, known)) - {name} for name, path in known.items()}


def test_every_room_is_drawn_and_every_drawn_room_is_there() -> None:
    assert set(floors()) == {room(name) for name in modules()}


def test_no_import_goes_up() -> None:
    floor = floors()
    upwards = [
        f"{name} imports {other}"
        for name, others in imported().items()
        for other in others
        if floor[room(other)] < floor[room(name)]
    ]
    assert not upwards, "\n".join(sorted(upwards))


def test_there_is_no_circle_of_rooms() -> None:
    graph: dict[str, set[str]] = {}
    for name, others in imported().items():
        graph.setdefault(room(name), set()).update({room(other) for other in others} - {room(name)})
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))
