"""Commands as a process or called, and what they say of bad input."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from patience import PATIENCE

from diffwave.base.errors import InputError

ROOT = Path(__file__).parents[1]
EGS = ROOT / "egs"
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    "OMP_NUM_THREADS": "1",
}
Refuses = Callable[..., None]
"""`refuses(arguments, *words)`, a fixture."""
Watch = Callable[..., None]
"""`watch(owner, name, look)`, a fixture."""


def one_line(capsys: pytest.CaptureFixture[str], *words: str) -> None:
    """Standard error holds one line, with these words in it."""
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert captured.err.endswith("\n")
    for word in words:
        assert word in captured.err


@contextmanager
def refused(*words: str) -> Iterator[None]:
    """The block ends in an InputError of one sentence with these words in it."""
    with pytest.raises(InputError) as error:
        yield
    message = str(error.value)
    assert message.endswith(".") and "\n" not in message
    for word in words:
        assert word in message


def process(*arguments: object, **settings: Any) -> subprocess.CompletedProcess[str]:
    """`diffwave ...` in a process of its own."""
    return script("-m", "diffwave.cli", *arguments, **settings)


def script(
    *arguments: object, environment: Mapping[str, str] | None = None, **settings: Any
) -> subprocess.CompletedProcess[str]:
    """`python ...` with this package to import; nothing is on standard input unless it is given."""
    settings = {"input": ""} | settings
    return subprocess.run(
        [sys.executable, *map(str, arguments)], capture_output=True, text=True,
        timeout=PATIENCE, env={**ENVIRONMENT, **(environment or {})}, **settings,
    )  # fmt: skip


def everything(folder: Path) -> dict[str, bytes]:
    """What the files below a folder hold."""
    return {
        str(entry.relative_to(folder)): entry.read_bytes()
        for entry in folder.rglob("*")
        if entry.is_file()
    }
