"""`synthesize.py` as people start it: its own process, its output, exit status and files.

What needs no process of its own is in `test_commands_synthesize.py`.
"""

from __future__ import annotations

import dataclasses
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import save_file
from signals import speech_like
from test_files import everything
from tiny import HOP, speech_mel

from diffwave.mel import MelSpectrogram, preset

ROOT = Path(__file__).parent.parent
SCRIPT = str(ROOT / "synthesize.py")
TIMEOUT = 300  # seconds; far more than a busy machine needs
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
        command, **{"capture_output": True, "timeout": TIMEOUT, "env": ENVIRONMENT, **settings}
    )


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.path,)


def holed(value: float) -> np.ndarray:
    mel = MEL.copy()
    mel[3, 5] = value
    return mel


ARRAYS: dict[str, tuple[np.ndarray, str]] = {
    "rank1": (MEL[0], r"shape .*\[80, frames\].*\[172\]"),
    "rank4": (MEL[None, None], r"shape .*\[1, 1, 80, 172\]"),
    "scalar": (np.float32(1), "shape"),  # type: ignore[dict-item]
    "bands100": (np.concatenate([MEL, MEL[:20]]), "100 mel bands.*has 80"),
    "transposed": (MEL.T, r"transposed.*80 mel bands are on axis 1.*belong on axis 0.*mel\.T"),
    "transposed3": (MEL.T[None], "transposed.*on axis 2.*belong on axis 1.*swapaxes"),
    "nan": (holed(np.nan), "NaN or infinity"),
    "infinity": (holed(-np.inf), "NaN or infinity"),
    "integer": (MEL.astype(np.int64), "floating point.*int64"),
    "boolean": (MEL > -5, "floating point.*bool"),
    "complex": (MEL + 1j, "array of numbers"),
    "text": (np.array(["x"]), "array of numbers"),
    "empty": (MEL[:, :0], r"\[80, 0\] is empty"),
    "oneframe": (MEL[:, :1], "single frame.*at least 2"),
    "batch2": (np.stack([MEL, MEL]), "holds 2 mel-spectrograms"),
    "log10": (speech_mel(2.0, "espnet").numpy(), "do not fit the 'hifigan'.*look like.*espnet"),
    "lmnt": (speech_mel(2.0, "lmnt").numpy(), "do not fit the 'hifigan'.*look like.*lmnt"),
    "decibels": (
        MelSpectrogram(dataclasses.replace(preset("hifigan"), log="db"))(
            torch.from_numpy(speech_like(2.0))
        ).numpy(),
        "do not fit the 'hifigan'.*look like.*decibels",
    ),
}
CUT = "Cannot read.*(truncated|cut short)"
PICKLED = "objects, which are not loaded"
OTHERS = {
    **dict.fromkeys(["nothing.npy", "cut.npy", "cut.npz", "cut.pt", "cut.safetensors"], CUT),
    **dict.fromkeys(["cutwav.wav", "cutflac.flac"], CUT),
    **dict.fromkeys(["pickle.npy", "picklez.npz", "picklept.pt", "pickleold.pt"], PICKLED),
    "garbage.npy": "Cannot read.*not a .npy file",
    "rawpickle.npy": "not a .npy file",
    "garbagewav.wav": "Cannot read.*not a sound file",
    "nothingwav.wav": "Cannot read.*empty",
    "shortwav.wav": "100 samples is too short",
    "nanwav.wav": "Cannot read.*not finite",
    "two.npz": "holds a, b.*'mel'",
    "list.pt": "array of numbers",
}
"""Files that are no mel or recording, and what has to be said of them."""


def write_bad_files(folder: Path, bomb: Bomb) -> dict[str, str]:
    """All of `ARRAYS` and `OTHERS`; returns what has to be said of each."""
    for name, (array, _) in ARRAYS.items():
        np.save(folder / f"{name}.npy", array)
    mel, wave = torch.from_numpy(MEL), speech_like(2.0)
    np.savez(folder / "two.npz", a=MEL, b=MEL)
    torch.save([mel], folder / "list.pt")
    np.save(folder / "pickle.npy", np.array([bomb], dtype=object))
    np.savez(folder / "picklez.npz", mel=np.array([bomb], dtype=object))
    torch.save({"mel": mel, "more": bomb}, folder / "picklept.pt")
    torch.save(bomb, folder / "pickleold.pt", _use_new_zipfile_serialization=False)
    (folder / "rawpickle.npy").write_bytes(pickle.dumps(bomb))
    np.save(folder / "cut.npy", MEL)
    np.savez(folder / "cut.npz", mel=MEL)
    torch.save(mel, folder / "cut.pt")
    save_file({"mel": mel}, folder / "cut.safetensors")
    soundfile.write(folder / "cutwav.wav", wave, 22050)
    soundfile.write(folder / "cutflac.flac", wave, 22050)
    for path in folder.glob("cut*"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    soundfile.write(folder / "shortwav.wav", wave[:100], 22050)
    soundfile.write(folder / "nanwav.wav", np.full(9999, np.nan), 22050, subtype="FLOAT")
    for name in ("nothing.npy", "nothingwav.wav"):
        (folder / name).touch()
    for name in ("garbage.npy", "garbagewav.wav"):
        (folder / name).write_bytes(bytes(range(256)) * 9)
    return {**{f"{name}.npy": words for name, (_, words) in ARRAYS.items()}, **OTHERS}


def test_of_a_folder_of_bad_files_each_gets_one_sentence_and_the_rest_is_used(
    tmp_path: Path, tiny_checkpoint: Path
) -> None:
    source, target, marker = (tmp_path / name for name in ("in", "out", "executed"))
    source.mkdir()
    target.mkdir()
    said = write_bad_files(source, Bomb(marker))
    assert set(everything(source)) == set(said)
    for name in said:  # mels of one stem would become one output
        (source / name).rename(source / f"{name.replace('.', '-')}.{name.rpartition('.')[2]}")
    np.save(source / "good.npy", MEL)
    (target / "nan-npy.wav").write_bytes(OLD)
    result = run(source, target, "--checkpoint", tiny_checkpoint, "--steps", 1, text=True)
    *lines, last = result.stderr.splitlines()
    assert result.returncode == 2
    assert last == f"synthesize.py: {len(said)} of {len(said) + 1} files could not be used."
    found = dict(re.findall(rf"^{source}/(.+?)\..+?: (.+\.)$", "\n".join(lines), re.MULTILINE))
    assert len(lines) == len(found) == len(said)  # and nothing else: no warning, no traceback
    for name, words in said.items():
        assert re.search(words, found[name.replace(".", "-")]), name
    results = everything(target)
    assert results.pop("good.wav")[:4] == b"RIFF"
    assert results == {"nan-npy.wav": OLD}
    assert result.stdout.startswith("1 files in ")
    assert not marker.exists()
    pickle.loads(pickle.dumps(Bomb(marker)))  # the bombs are live
    assert marker.exists()


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
        deadline = time.monotonic() + TIMEOUT
        while len(everything(tmp_path)) == len(before) and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(number)
        _, error = process.communicate(timeout=TIMEOUT)
    finally:
        process.kill()
    assert process.returncode == status
    assert "Traceback" not in error
    assert error.endswith("\nsynthesize.py: stopped.\n") or number != signal.SIGINT
    assert everything(tmp_path) == before
