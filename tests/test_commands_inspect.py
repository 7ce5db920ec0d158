"""`diffwave inspect`."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from signals import speech_like
from told import ROOT, Refuses, process

from diffwave import cli
from diffwave.mel.conventions import CONVENTIONS

REAL = ROOT / "egs" / "mel.npy"


def findings(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, object]:
    assert cli.main(["inspect", *map(str, arguments), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


def test_as_a_process(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.load(REAL))
    done = process("inspect", "a.npy", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = dict(line.split("  ", 1) for line in done.stdout.splitlines() if "  " in line)
    assert rows["convention"].strip().startswith("hifigan")
    assert rows["fits"].strip() == "yes"
    assert done.stdout.splitlines()[-1].startswith("Synthesize it as it is.")
    assert sorted(os.listdir(tmp_path)) == ["a.npy"]


def test_a_fitting_mel(capsys: pytest.CaptureFixture[str]) -> None:
    found = findings(capsys, REAL)
    assert found["convention"] == "hifigan" and found["fits"] and found["sure"]
    assert found["frames"] == np.load(REAL).shape[1] and not found["transposed"]
    assert -35 < float(str(found["rms_db"])) < -10


def test_a_smoothed_mel_is_told_from_a_recording(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    mel = torch.from_numpy(np.load(REAL))
    blurred = torch.nn.functional.avg_pool2d(mel[None], 5, 1, 2, count_include_pad=False)[0]
    np.save(tmp_path / "a.npy", blurred)
    told = ["--from", "hifigan"]
    assert findings(capsys, tmp_path / "a.npy", *told)["smoothed"] > 0.8  # type: ignore[operator]
    assert findings(capsys, REAL, *told)["smoothed"] < 0.6  # type: ignore[operator]


def test_another_layout_and_convention(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    convention = CONVENTIONS["vocos"]
    mel = convention.analyse(torch.from_numpy(speech_like(4.0, 24000)))
    np.save("a.npy", mel.T)
    found = findings(capsys, "a.npy")
    assert found["convention"] == "vocos" and found["transposed"] and not found["fits"]
    assert "diffwave synthesize a.npy out.wav --from vocos" in str(found["advice"])
    assert abs(float(str(found["rms_db"])) + 23) < 2
    np.save("b.npy", np.load(REAL).T)
    assert "--from hifigan" in str(findings(capsys, "b.npy")["advice"])


def test_decibels_are_not_advised_as_what_they_are_not(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save("a.npy", (20 / np.log(10) * np.load(REAL)).astype(np.float32))
    found = findings(capsys, "a.npy")
    assert not found["fits"] and "they look like decibels." in str(found["advice"])
    assert "synthesize" not in str(found["advice"])


def test_clipped_and_silent(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    mel = np.load(REAL)
    np.save(tmp_path / "a.npy", np.minimum(mel, np.quantile(mel, 0.9)))
    assert "was clipped" in str(findings(capsys, tmp_path / "a.npy", "--from=hifigan")["advice"])
    np.save(tmp_path / "b.npy", np.full((80, 200), -11.5129, dtype=np.float32))
    advice = str(findings(capsys, tmp_path / "b.npy", "--from=hifigan")["advice"])
    assert "very soft" in advice and "on the floor" in advice


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing.npy"], "missing.npy"),
        (["a.wav"], "a.wav is no mel file"),
        (["a.npy"], "none of its axes"),
        (["b.npy", "--from", "x"], "Unknown mel convention 'x'"),
        (["b.npy", "--checkpoint", "x"], "'x'"),
    ],
)
def test_one_sentence(arguments: list[str], words: str, refuses: Refuses) -> None:
    Path("a.wav").write_bytes(b"RIFF")
    np.save("a.npy", np.zeros((3, 4), dtype=np.float32))
    np.save("b.npy", np.load(REAL))
    refuses(["inspect", *arguments], words)
