"""Whole processes: their time, their memory, their failures."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tiny import HOP, speech_mel

from diffwave.bench.process import command, run_process
from diffwave.errors import InputError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="os.wait4 is not there")


def python(program: str) -> list[str]:
    return [sys.executable, "-S", "-c", program]


def test_memory_is_that_of_the_process_alone() -> None:
    # This process holds PyTorch: a child that inherited its mark would be far above 60 MiB.
    small = run_process(python("pass"))
    large = run_process(python("x = bytearray(200 << 20)"))
    assert 1 < small.peak_mib < 60
    assert 150 < large.peak_mib - small.peak_mib < 250


def test_time_is_that_of_the_process() -> None:
    assert run_process(python("import time; time.sleep(0.2)")).seconds >= 0.2


def test_what_a_process_prints_does_not_matter() -> None:
    assert run_process(python("print('[9, 9, 9]')")).seconds < 9


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("raise ValueError('no such luck')", "ValueError: no such luck"),
        ("raise SystemExit(3)", "exit status 3"),
        ("import os; os.kill(os.getpid(), 9)", "exit status -9"),
    ],
)
def test_a_process_that_fails(program: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        run_process(python(program))


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(InputError, match="/no/such/program"):
        run_process(["/no/such/program"])


def test_our_own_command_makes_a_wav(tiny_checkpoint: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "mel.npy", speech_mel(0.3)[:, :12].numpy())
    arguments = command(
        "diffwave@3", 3, str(tiny_checkpoint), tmp_path / "mel.npy", tmp_path / "out.wav"
    )
    assert run_process(arguments).peak_mib > 60
    assert soundfile.info(tmp_path / "out.wav").frames == 12 * HOP


@pytest.mark.slow
def test_the_others_make_a_wav_too(tmp_path: Path) -> None:
    np.save(tmp_path / "mel.npy", speech_mel(0.3)[:, :3].numpy())
    arguments = command(
        "diffwave-base@6", None, "unused", tmp_path / "mel.npy", tmp_path / "out.wav"
    )
    run_process(arguments)
    assert soundfile.info(tmp_path / "out.wav").frames == 3 * HOP
