"""`synthesize - - --raw`: samples go out while the frames of a mel come in."""

from __future__ import annotations

import io
import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st
from patience import PATIENCE
from tiny import HOP, speech_mel
from told import Refuses

from diffwave import cli
from diffwave.commands.raw import pcm, raw_frames
from diffwave.vocoder import Vocoder

MEL = speech_mel(0.6)
FRAMES = MEL.shape[-1]
RAW = MEL.mT.contiguous().numpy().astype("<f4").tobytes()
Run = Callable[..., tuple[int, bytes]]


class Trickle(io.RawIOBase):
    """A stream that gives some bytes at a time, as a pipe does."""

    def __init__(self, data: bytes, size: int) -> None:
        self.data, self.size = data, size

    def read(self, size: int = -1) -> bytes:
        size = min(self.size, size if size >= 0 else self.size)
        data, self.data = self.data[:size], self.data[size:]
        return data


@pytest.fixture
def run(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: Any
) -> Callable[..., tuple[int, bytes]]:
    """Status and standard output of the command for the bytes on standard input."""

    def give(data: bytes, *words: str) -> tuple[int, bytes]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        out = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out))
        model = ["--checkpoint", str(tiny_checkpoint), "--device", "cpu", "--steps", "1"]
        status = cli.main(["synthesize", "-", "-", *model, *words])
        return status, out.getvalue()

    return give


@given(st.integers(1, 700), st.integers(0, 6))
def test_frames_come_out_of_bytes_however_they_come(size: int, head: int) -> None:
    stream = Trickle(RAW[head:], size)
    pieces = list(raw_frames(RAW[:head], stream, 80))  # type: ignore[arg-type]
    assert all(piece.shape[1] >= 1 for piece in pieces)
    np.testing.assert_array_equal(np.concatenate(pieces, axis=1), MEL)


@pytest.mark.parametrize("bits", ["16", "24", "float"])
def test_pcm_is_what_a_wav_holds(bits: str, tmp_path: Path) -> None:
    wave = torch.linspace(-1.2, 1.2, 1001)
    subtype = {"16": "PCM_16", "24": "PCM_24", "float": "FLOAT"}[bits]
    expected = wave if bits == "float" else wave.clamp(-1, 1)
    soundfile.write(tmp_path / "a.wav", expected.numpy(), 22050, subtype)
    data = (tmp_path / "a.wav").read_bytes()
    found = pcm(wave, bits)
    assert len(found) == 1001 * {"16": 2, "24": 3, "float": 4}[bits]
    assert found in data
    if bits == "16":
        values = np.frombuffer(found, "<i2")
        assert (values[0], values[500], values[-1]) == (-32767, 0, 32767) or values[0] == -32768


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ((), {}),
        (("--chunk", "9"), {}),
        (("--seed", "3"), {"seed": 3}),
        (("--low-latency",), {"low_latency": True}),
        (("--low-latency", "--n-iter", "2"), {"low_latency": True, "n_iter": 2}),
    ],
)
def test_raw_frames_to_samples(
    words: tuple[str, ...], options: dict[str, Any], run: Run, vocoder: Vocoder
) -> None:
    expected = vocoder(MEL, steps=1, **options)
    status, data = run(RAW, "--raw", "--bits", "float", *words)
    assert status == 0
    found = torch.from_numpy(np.frombuffer(data, "<f4").copy())
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))
    status, data = run(RAW, "--raw", *words)
    assert status == 0 and len(data) == FRAMES * HOP * 2
    rounded = torch.from_numpy(np.frombuffer(data, "<i2") / 32768)
    assert (rounded - expected.clamp(-1, 1)).abs().max() < 1e-3


def test_an_npy_to_samples_and_without_raw_to_a_wav(run: Run) -> None:
    file = io.BytesIO()
    np.save(file, MEL.numpy())
    status, data = run(file.getvalue(), "--raw", "--low-latency")
    assert (status, data) == run(RAW, "--raw", "--low-latency")
    status, data = run(file.getvalue())
    assert status == 0 and data[:4] == b"RIFF"
    assert len(soundfile.read(io.BytesIO(data))[0]) == FRAMES * HOP


def test_low_latency_of_a_file(tiny_checkpoint: Path, tmp_path: Path, vocoder: Vocoder) -> None:
    np.save(tmp_path / "a.npy", MEL)
    files = [str(tmp_path / "a.npy"), str(tmp_path / "a.wav")]
    options = ["--checkpoint", str(tiny_checkpoint), "--device", "cpu", "--steps", "1"]
    words = ["synthesize", *files, *options, "--low-latency", "--bits", "float"]
    assert cli.main(words) == 0
    found = soundfile.read(files[1], dtype="float32")[0]
    np.testing.assert_array_equal(found, vocoder(MEL, steps=1, low_latency=True))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "has no frame"),
        (b"abc", "ends within a frame: 3 bytes remain"),
        (RAW[:-1], "ends within a frame: 319 bytes remain"),
        (RAW[:320], "single frame"),
        (RAW + b"\xff" * 320, "NaN"),
        (RAW + np.full(80, 1e9, "<f4").tobytes(), "do not fit"),
        (b"\x93NUMPY nonsense", "no whole .npy"),
    ],
)
@pytest.mark.parametrize("latency", [(), ("--low-latency",)])
def test_what_is_no_mel_is_one_sentence(
    data: bytes,
    words: str,
    latency: tuple[str, ...],
    run: Run,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    status, _ = run(data, "--raw", *latency)
    assert status == 2
    (line,) = capfdbinary.readouterr().err.decode().splitlines()
    assert line.startswith("diffwave: ") and words in line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("a.npy - --raw", "--raw is of standard input and output"),
        ("- a.wav --raw", "--raw is of standard input and output"),
        ("- - --raw --low-latency --chunk 4", "so no --chunk"),
        ("- - --raw --f0 f0.npy", "--f0"),
        ("- - --raw --from auto", "without --from"),
    ],
)
def test_options_that_do_not_go_together(arguments: str, words: str, refuses: Refuses) -> None:
    refuses(["synthesize", *arguments.split()], "diffwave", words)


def reader(stream: IO[bytes]) -> queue.Queue[bytes]:
    """What comes out of a pipe, as it comes; nothing at its end."""
    found: queue.Queue[bytes] = queue.Queue()

    def work() -> None:
        while data := stream.read1(1 << 16):  # type: ignore[attr-defined]
            found.put(data)
        found.put(b"")

    threading.Thread(target=work, daemon=True).start()
    return found


@pytest.mark.parametrize(("words", "frames"), [(["--low-latency"], 7), (["--chunk", "4"], 40)])
def test_audio_is_heard_before_the_mel_ends(
    words: list[str], frames: int, tiny_checkpoint: Path, vocoder: Vocoder
) -> None:
    """A process is given a frame after the other, and no more until it has answered."""
    root = Path(__file__).parents[1]
    command = [sys.executable, str(root / "synthesize.py"), "-", "-", "--raw", *words]
    command += ["--checkpoint", str(tiny_checkpoint), "--steps", "1", "--n-iter", "3"]
    command += ["--device", "cpu"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0)
    assert process.stdin and process.stdout and process.stderr
    try:
        found = reader(io.BufferedReader(process.stdout))  # type: ignore[arg-type]
        for frame in range(frames):
            assert found.empty()
            process.stdin.write(RAW[frame * 320 : (frame + 1) * 320])
        first = found.get(timeout=PATIENCE)  # of the frames so far, while the input stays open
        assert process.poll() is None and len(first) % (2 * HOP) == 0
        process.stdin.write(RAW[frames * 320 :])
        process.stdin.close()
        data = first
        while more := found.get(timeout=PATIENCE):
            data += more
        assert process.wait(60) == 0, process.stderr.read()
    finally:
        process.kill()
        process.stderr.close()
    options: dict[str, Any] = {"low_latency": True} if words[0] == "--low-latency" else {}
    expected = vocoder(MEL, steps=1, n_iter=3, **options).clamp(-1, 1)
    assert len(data) == 2 * len(expected)
    assert (torch.from_numpy(np.frombuffer(data, "<i2") / 32768) - expected).abs().max() < 1e-3
