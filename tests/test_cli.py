"""The command line in this process; `test_synthesize.py` starts it as people do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from patience import PATIENCE
from told import Refuses, one_line

import diffwave
from diffwave import cli
from diffwave.base.errors import InputError
from diffwave.commands import info
from diffwave.commands.options import COMMANDS

ROOT = Path(__file__).parent.parent


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--help"])
    text = capsys.readouterr().out
    assert all(f"    {command}" in text for command in COMMANDS)
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"diffwave {diffwave.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "COMMAND"),
        (["sing"], "'sing'"),
        (["synthesize", "a.npy"], "output"),
        (["synthesize", "a.npy", "b.wav", "c"], "c"),
        (["evaluate", "a", "--steps", "0"], "at least 1, not '0'"),
    ],
)
def test_wrong_arguments_are_one_line_and_status_2(
    arguments: list[str], words: str, refuses: Refuses
) -> None:
    refuses(arguments, "diffwave", words, "--help")


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (InputError("Wrong."), 2, "Wrong."),
        (MemoryError(), 2, "not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory\nand"), 2, "not enough memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate"), 2, "not enough memory"),
        (KeyboardInterrupt(), 130, "stopped"),
        (OSError(5, "Input/output error", "a.npy"), 2, "a.npy: Input/output error."),
        (RuntimeError("shape"), None, ""),  # our own mistakes are not hidden
        (TypeError("x"), None, ""),
    ],
)
def test_errors_become_one_line(
    error: BaseException,
    status: int | None,
    words: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run(options: Any) -> int:
        raise error

    monkeypatch.setattr(info, "run", run)
    if status is None:
        with pytest.raises(type(error)):
            cli.main(["info"])
        return
    assert cli.main(["info"]) == status
    one_line(capsys, "diffwave: ", words)


def test_a_command_fixed_beforehand(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli.main(["missing.npy", "a.wav"], command="synthesize") == 2
    one_line(capsys, "synthesize.py: ", "missing.npy")
    monkeypatch.setattr(sys, "argv", ["diffwave", "synthesize", "missing.npy", "a.wav"])
    with pytest.raises(SystemExit, match="2"):
        cli.console_main()
    one_line(capsys, "diffwave: ", "missing.npy")


STOPPED_WHILE_PYTORCH_LOADS = """
import os, sys, diffwave.cli as cli
class Stop:
    def find_spec(self, name, *_):
        if name == 'torch': os.kill(os.getpid(), {})
sys.meta_path.insert(0, Stop())
sys.exit(cli.main(['info']))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="POSIX signals, /dev/full")
@pytest.mark.parametrize(
    ("shell", "code", "status", "error"),
    [
        ('{ "$@"; echo $? >&2; } | true', "", 0, "0\n"),  # a reader that leaves is no error
        ('"$@" > /dev/full', "", 2, "diffwave: Output: No space left on device.\n"),
        ('"$@"', STOPPED_WHILE_PYTORCH_LOADS.format(2), 130, "diffwave: stopped.\n"),
        ('"$@"', STOPPED_WHILE_PYTORCH_LOADS.format(15), 143, ""),
        ('"$@"', STOPPED_WHILE_PYTORCH_LOADS.format(1), 129, ""),
    ],
)
def test_output_and_signals_of_a_process(shell: str, code: str, status: int, error: str) -> None:
    words = ["-c", code] if code else ["-m", "diffwave.cli", "info"]
    result = subprocess.run(
        ["sh", "-c", shell, "sh", sys.executable, *words],
        capture_output=True, text=True, cwd=ROOT, timeout=PATIENCE,
    )  # fmt: skip
    assert (result.returncode, result.stderr) == (status, error)
