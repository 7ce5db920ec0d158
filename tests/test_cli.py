"""The command line in this process; `test_synthesize.py` starts it as people do."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from told import one_line

import diffwave
from diffwave import cli
from diffwave.commands import info
from diffwave.commands.options import COMMANDS
from diffwave.errors import InputError

ROOT = Path(__file__).parent.parent
TIMEOUT = 300  # seconds; far more than a busy machine needs


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for command in COMMANDS:
        assert f"    {command}" in text


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"diffwave {diffwave.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "COMMAND"),
        (["sing"], "'sing'"),
        (["synthesize"], "input, output"),
        (["synthesize", "a.npy"], "output"),
        (["synthesize", "a.npy", "b.wav", "c"], "c"),
        (["synthesize", "a.npy", "b.wav", "--nonsense"], "--nonsense"),
        (["evaluate"], "reference"),
        (["evaluate", "a", "--steps", "0"], "at least 1, not '0'"),
    ],
)
def test_wrong_arguments_are_one_line_and_status_2(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2
    one_line(capsys, "diffwave", words, "--help")


def raiser(error: BaseException) -> Callable[[Any], int]:
    def run(options: Any) -> int:
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (InputError("Wrong."), 2, "Wrong."),
        (MemoryError(), 2, "not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory\nand"), 2, "not enough memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate"), 2, "not enough memory"),
        (KeyboardInterrupt(), 130, "stopped"),
        (OSError(5, "Input/output error", "a.npy"), 2, "a.npy: Input/output error."),
    ],
)
def test_errors_become_one_line(
    error: BaseException,
    status: int,
    words: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(info, "run", raiser(error))
    assert cli.main(["info"]) == status
    one_line(capsys, "diffwave: ", words)


@pytest.mark.parametrize("error", [RuntimeError("shape"), TypeError("x"), ZeroDivisionError()])
def test_our_own_mistakes_are_not_hidden(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(info, "run", raiser(error))
    with pytest.raises(type(error)):
        cli.main(["info"])


def test_a_command_fixed_beforehand(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli.main(["missing.npy", "a.wav"], command="synthesize") == 2
    one_line(capsys, "synthesize.py: ", "missing.npy")
    monkeypatch.setattr(sys, "argv", ["synthesize.py", "missing.npy", "a.wav"])
    with pytest.raises(SystemExit) as stop:
        cli.synthesize_main()
    assert stop.value.code == 2
    one_line(capsys, "synthesize.py: ", "missing.npy")
    monkeypatch.setattr(sys, "argv", ["diffwave", "synthesize", "missing.npy", "a.wav"])
    with pytest.raises(SystemExit) as stop:
        cli.console_main()
    assert stop.value.code == 2
    one_line(capsys, "diffwave: ", "missing.npy")


def test_a_reader_that_leaves_is_no_error() -> None:
    """`diffwave info | true`: no traceback, here or while Python exits."""
    process = subprocess.Popen(
        [sys.executable, "-m", "diffwave.cli", "info"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    error = process.stderr.read()
    assert process.wait(TIMEOUT) == 0
    assert error == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's")
def test_output_that_cannot_be_printed() -> None:
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [sys.executable, "-m", "diffwave.cli", "info"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            timeout=TIMEOUT,
        )
    assert result.returncode == 2
    assert result.stderr == "diffwave: Output: No space left on device.\n"


@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
def test_interrupted_while_pytorch_loads() -> None:
    """The longest wait of a short command."""
    code = (
        "import os, signal, sys, diffwave.cli as cli\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'torch': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        "sys.exit(cli.main(['info']))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=TIMEOUT
    )
    assert result.returncode == 130
    assert result.stderr == "diffwave: stopped.\n"
