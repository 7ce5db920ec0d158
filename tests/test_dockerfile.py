"""The Dockerfile: what it copies is there, what it starts is a command, its health check works."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from patience import PATIENCE
from serving import served

from diffwave.commands.options import Serve
from diffwave.commands.parser import Parser, add_options

ROOT = Path(__file__).parents[1]
LINES = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text()).splitlines()


def instructions(name: str) -> list[str]:
    """What follows an instruction, wherever it stands."""
    return [line.partition(" ")[2] for line in LINES if line.startswith(name + " ")]


def test_what_is_copied_is_there_and_not_ignored() -> None:
    copied = [words.split()[:-1] for words in instructions("COPY") if not words.startswith("--")]
    names = [name for sources in copied for name in sources]
    kept = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    assert names and set(names) == kept
    assert all((ROOT / name).exists() for name in names)
    # What a wheel is made of: the rest of the checkout is not needed.
    project = (ROOT / "pyproject.toml").read_text()
    assert 'packages = ["diffwave"]' in project and '= "diffwave/pretrained/' in project


def test_what_is_started_is_a_command_for_anybody_but_root() -> None:
    entry, command = (json.loads(instructions(name)[0]) for name in ("ENTRYPOINT", "CMD"))
    assert entry == ["diffwave", "serve"]
    parser = Parser()
    add_options(parser, Serve)
    options = Serve(**vars(parser.parse_args(command)))
    assert options.host == "0.0.0.0" and instructions("EXPOSE") == [str(options.port)]
    assert instructions("USER")[-1] not in ("root", "0")


def test_the_health_check_sees_whether_the_service_answers(tiny_checkpoint: Path) -> None:
    pytest.importorskip("fastapi")
    pytest.importorskip("prometheus_client")
    words = instructions("HEALTHCHECK")[0].partition("CMD ")[2]
    _, *arguments = json.loads(words)

    def check(port: int) -> int:
        code = arguments[-1]
        changed = code.replace(":8000", f":{port}").replace("timeout=4", f"timeout={PATIENCE}")
        assert changed != code
        found = [*arguments[:-1], changed]
        return subprocess.run([sys.executable, *found], capture_output=True, check=False).returncode

    with served(tiny_checkpoint) as service:
        assert check(service.port) == 0
    with socket.socket() as nobody:  # holds a port at which nothing listens
        nobody.bind(("127.0.0.1", 0))
        assert check(nobody.getsockname()[1]) != 0


def test_hadolint_has_nothing_to_say() -> None:
    hadolint = shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed")
    found = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr
