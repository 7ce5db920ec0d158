"""`diffwave mel`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from signals import speech_like
from tiny import HOP
from told import Refuses, everything

from diffwave import cli
from diffwave.mel import PRESETS


def test_mel_and_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tiny_checkpoint: Path
) -> None:
    recording, mel = tmp_path / "a.flac", tmp_path / "a.npy"
    soundfile.write(recording, speech_like(0.5, 16000), 16000)
    assert cli.main(["mel", str(recording), str(mel)]) == 0
    frames = np.load(mel).shape[1]
    assert np.load(mel).shape == (80, round(0.5 * 22050) // HOP)
    assert "hifigan" in capsys.readouterr().out
    arguments = ["synthesize", str(mel), str(tmp_path / "b.wav"), "--device", "cpu"]
    assert cli.main([*arguments, "--checkpoint", str(tiny_checkpoint)]) == 0
    assert soundfile.info(tmp_path / "b.wav").frames == frames * HOP


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing.wav", "a.npy"], "missing.wav"),
        (["a.wav", "a.npz"], "must end in .npy"),
        (["a.wav", "a.npy", "--preset", "melgan"], "'melgan'"),
        (["short.wav", "a.npy"], "too short"),
        ([], "--list"),
    ],
)
def test_mel_refuses(arguments: list[str], words: str, refuses: Refuses) -> None:
    soundfile.write("a.wav", speech_like(0.5), 22050)
    soundfile.write("short.wav", speech_like(0.01), 22050)
    refuses(["mel", *arguments], words)


def test_a_folder(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("in/deep").mkdir(parents=True)
    for name, seconds in (("a.wav", 0.5), ("deep/b.flac", 0.5), ("short.wav", 0.01)):
        soundfile.write(f"in/{name}", speech_like(seconds), 22050)
    Path("in/._a.wav").write_bytes(b"of macOS")
    assert cli.main(["mel", "in", "out"]) == 2
    assert sorted(everything(Path("out"))) == ["a.npy", "deep/b.npy"]
    told = capsys.readouterr()
    assert "2 files in " in told.out and "short.wav: " in told.err and "1 of 3 files" in told.err


def test_the_conventions_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["mel", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(PRESETS)
