"""`synthesize.py` as people start it: its own process, its output, exit status and files.

What needs no process of its own is in `test_commands_synthesize.py`.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from patience import PATIENCE, until
from tiny import HOP, speech_mel
from told import everything

ROOT = Path(__file__).parent.parent
SCRIPT = str(ROOT / "synthesize.py")
# No device but the CPU, wherever the tests run.
ENVIRONMENT = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
OLD = b"the result of an earlier run"
MEL = speech_mel(2.0).numpy()


def run(*arguments: object, shell: str = '"$@"', **settings: Any) -> subprocess.CompletedProcess:
    """The script with these arguments, as the last words of a shell command where there is one."""
    command = [sys.executable, SCRIPT, *map(str, arguments)]
    if shell != '"$@"':
        command = ["sh", "-c", shell, "sh", *command]
    return subprocess.run(
        command, **{"capture_output": True, "timeout": PATIENCE, "env": ENVIRONMENT, **settings}
    )


MARKER = "executed"


class Bomb:
    """Makes a folder when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (MARKER,)


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "transposed.npy": (lambda p: np.save(p, MEL.T), r"transposed.*on axis 1.*pass mel\.T"),
    "batch.npy": (lambda p: np.save(p, np.stack([MEL, MEL])), "holds 2 mel-spectrograms"),
    "other.npy": (
        lambda p: np.save(p, speech_mel(2.0, "espnet")),
        "do not fit the 'hifigan'.*look like.*espnet",
    ),
    "cut.npy": (lambda p: p.write_bytes(b"\x93NUMPY"), "Cannot read.*truncated"),
    "names.npz": (lambda p: np.savez(p, a=MEL, b=MEL), "holds a, b.*'mel'"),
    "bomb.pt": (
        lambda p: torch.save({"mel": torch.from_numpy(MEL), "more": Bomb()}, p),
        "objects, which are not loaded",
    ),
    "garbage.wav": (lambda p: p.write_bytes(bytes(range(256)) * 9), "Cannot read.*not a sound"),
    "short.wav": (lambda p: soundfile.write(p, MEL[0], 22050), "172 samples is too short"),
}
"""Files that are no mel or recording, one of a kind, and what has to be said of them."""


def test_of_a_folder_of_bad_files_each_gets_one_sentence_and_the_rest_is_used(
    tmp_path: Path, tiny_checkpoint: Path
) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    target.mkdir()
    for name, (write, _) in BAD.items():
        write(source / name)
    np.save(source / "good.npy", MEL)
    (target / "batch.wav").write_bytes(OLD)
    result = run("in", "out", "--checkpoint", tiny_checkpoint, cwd=tmp_path, text=True)
    *lines, last = result.stderr.splitlines()
    assert result.returncode == 2
    assert last == f"synthesize.py: {len(BAD)} of {len(BAD) + 1} files could not be used."
    for line, name in zip(lines, sorted(BAD), strict=True):  # no warning, no traceback
        assert re.fullmatch(rf"in/{name}: .*{BAD[name][1]}.*\.", line)
    results = everything(target)
    assert results.pop("good.wav")[:4] == b"RIFF"
    assert results == {"batch.wav": OLD}
    assert result.stdout.startswith("1 file in out: ")
    assert not (tmp_path / MARKER).exists()


def test_the_bundled_vocoder_from_anywhere(tmp_path: Path) -> None:
    np.save(tmp_path / "mel.npy", MEL[:, :40])
    (tmp_path / "größe.flac").write_bytes(1_000_000 * b"long")
    terminal = {**ENVIRONMENT, "PYTHONIOENCODING": "ascii", "PYTHONPATH": ""}
    result = run("mel.npy", "größe.flac", cwd=tmp_path, env=terminal)
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout.startswith(rb"gr\xf6\xdfe.flac: 0.46 s of speech in ")
    wave, rate = soundfile.read(tmp_path / "größe.flac")
    assert rate == 22050
    assert wave.shape == (40 * HOP,)
    assert 1e-3 < wave.std() < 1


def test_standard_input_and_output(tmp_path: Path, tiny_checkpoint: Path) -> None:
    """What is printed does not get into the wave; streams may be closed."""
    np.save(tmp_path / "a.npy", MEL)
    before, options = everything(tmp_path), ("--checkpoint", tiny_checkpoint)
    with (tmp_path / "a.npy").open("rb") as file:
        result = run("-", "-", *options, stdin=file, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stderr.startswith(b"-: 2.00 s of speech")
    assert everything(tmp_path) == before
    for closed in (">&-", "<&- >&- 2>&-"):
        done = run(tmp_path / "a.npy", tmp_path / "a.wav", *options, shell=f'"$@" {closed}')
        assert (done.returncode, done.stderr) == (0, b"")
        assert (tmp_path / "a.wav").read_bytes() == result.stdout
        (tmp_path / "a.wav").unlink()


def test_standard_input_that_is_no_mel(tmp_path: Path, tiny_checkpoint: Path) -> None:
    """It is called what it is, not by the name of a temporary file."""
    result = run(
        "-", "a.wav", "--checkpoint", tiny_checkpoint, input=b"no mel", cwd=tmp_path, text=False
    )
    assert result.returncode == 2
    assert result.stderr.startswith(b"synthesize.py: Cannot read standard input: ")
    assert result.stderr.count(b"\n") == 1
    assert everything(tmp_path) == {}


@pytest.mark.skipif(os.name != "posix", reason="POSIX limits")
def test_a_full_disk_leaves_what_was_there(tmp_path: Path, tiny_checkpoint: Path) -> None:
    """The shell's limit on the size of files stands in for the disk."""
    np.save(tmp_path / "mel.npy", MEL)
    (tmp_path / "out.wav").write_bytes(OLD)
    before = everything(tmp_path)
    places = (tmp_path / "mel.npy", tmp_path / "out.wav", "--checkpoint", tiny_checkpoint)
    # of 512 or 1024 bytes; the wave has 88 kB
    result = run(*places, shell='ulimit -f 20; exec "$@"', text=True)
    assert result.stderr.count("\n") == 1, result.stderr
    assert f"Cannot write {tmp_path / 'out.wav'}" in result.stderr
    assert result.returncode == 2
    assert everything(tmp_path) == before


@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_what_is_stopped_leaves_what_was_there(
    tmp_path: Path, tiny_checkpoint: Path, number: signal.Signals, status: int
) -> None:
    np.save(tmp_path / "mel.npy", MEL)
    (tmp_path / "out.wav").write_bytes(OLD)
    before = everything(tmp_path)
    # More steps than anybody would wait for.
    words = [tmp_path / "mel.npy", tmp_path / "out.wav", "--steps", 10_000]
    process = subprocess.Popen(
        [sys.executable, SCRIPT, *map(str, words), "--checkpoint", str(tiny_checkpoint)],
        stderr=subprocess.PIPE, text=True, env=ENVIRONMENT,
    )  # fmt: skip
    try:
        until(lambda: len(everything(tmp_path)) > len(before), process)
        process.send_signal(number)
        _, error = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == status
    assert "Traceback" not in error
    assert error.endswith("\nsynthesize.py: stopped.\n") or number != signal.SIGINT
    assert everything(tmp_path) == before
