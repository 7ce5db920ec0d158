"""`diffwave mel`."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from signals import speech_like
from tiny import HOP
from told import one_line

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
        (["{wav}", "a.npz"], "must end in .npy"),
        (["{wav}", "no/a.npy"], "no folder"),
        (["{wav}", "a.npy", "--preset", "melgan"], "'melgan'"),
        (["{short}", "a.npy"], "too short"),
    ],
)
def test_mel_refuses(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    soundfile.write("a.wav", speech_like(0.5), 22050)
    soundfile.write("short.wav", speech_like(0.01), 22050)
    places = {"wav": "a.wav", "short": "short.wav"}
    assert cli.main(["mel", *(word.format(**places) for word in arguments)]) == 2
    one_line(capsys, words)
    assert sorted(os.listdir()) == ["a.wav", "short.wav"]


def test_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in/deep").mkdir(parents=True)
    soundfile.write(tmp_path / "in/a.wav", speech_like(0.5), 22050)
    soundfile.write(tmp_path / "in/deep/b.flac", speech_like(0.5), 22050)
    soundfile.write(tmp_path / "in/short.wav", speech_like(0.01), 22050)
    (tmp_path / "in/._a.wav").write_bytes(b"of macOS")
    assert cli.main(["mel", str(tmp_path / "in"), str(tmp_path / "out")]) == 2
    made = sorted(str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.npy"))
    assert made == ["a.npy", "deep/b.npy"]
    told = capsys.readouterr()
    assert "2 files in " in told.out and "short.wav: " in told.err and "1 of 3 files" in told.err


def test_the_conventions_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["mel", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(PRESETS)
    assert cli.main(["mel"]) == 2
    one_line(capsys, "--list")
