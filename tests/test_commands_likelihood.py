"""`diffwave likelihood`: as a process, what it writes, and what it refuses."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from patience import PATIENCE
from signals import speech_like
from told import one_line

from diffwave import cli
from diffwave.analysis.likelihood import Bound
from diffwave.mel import MelSpectrogram, preset
from diffwave.vocoder import Vocoder

ROOT = Path(__file__).parent.parent
CORPUS = os.environ.get("LJSPEECH_WAVS", "")
"""Folder of LJSpeech's recordings, for the test on real speech."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings of two speakers, and the mels of one set as somebody else made them."""
    folder = tmp_path_factory.mktemp("recordings")
    for name, cents in (("low", 0.0), ("high", 500.0)):
        (folder / name).mkdir()
        for i in range(2):
            wave = speech_like(0.5, seed=i, cents=cents)
            soundfile.write(folder / name / f"{i}.wav", wave, 22050, "PCM_16")
    (folder / "mels").mkdir()
    frontend = MelSpectrogram(preset("hifigan"))
    for i in range(2):
        mel = frontend(torch.from_numpy(speech_like(0.5, seed=i + 5)))
        np.save(folder / "mels" / f"{i}.npy", mel.numpy())
    return folder


def test_a_process_on_samples(
    tmp_path: Path, folders: Path, tiny_waveform_checkpoint: Path
) -> None:
    command = [sys.executable, "-m", "diffwave.cli", "likelihood", "low", "other=high"]
    options = ["--checkpoint", tiny_waveform_checkpoint, "--steps", 6, "--device", "cpu"]
    outputs = [
        *("--json", tmp_path / "a.json"),
        *("--per-frame", tmp_path / "a.csv"),
        *("--plot", tmp_path / "a.png"),
    ]
    done = subprocess.run(
        [*command, *map(str, [*options, *outputs])],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        cwd=folders,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "bits per sample, a chain of 6 steps, noise drawn 2x"
    names = [line.split("  ")[0] for line in lines[3:]]
    assert [name for name in names if name.startswith("step")] == [
        f"step {t}" for t in range(6, 1, -1)
    ]
    assert "log-deviation" not in names and "16-bit PCM" in lines[-1]
    document = json.loads((tmp_path / "a.json").read_text())
    low = document["sets"]["low"]
    terms = {name: value["value"] for name, value in low["terms"].items()}
    assert terms["total"] == pytest.approx(terms["prior"] + terms["steps"] + terms["decoder"])
    assert terms["steps"] == pytest.approx(sum(one["value"] for one in low["each_step"]))
    assert low["terms"]["total"]["noise_error"] > 0 and low["terms"]["total"]["error"] > 0
    assert len(document["alpha_bar"]) == 6
    assert 0 <= document["detection"]["other"]["by_frame"]["value"] <= 1
    with (tmp_path / "a.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 * (11025 // 256)
    of_low = [float(row["total"]) for row in rows if row["set"] == "low"]
    assert np.mean(of_low) == pytest.approx(terms["total"], rel=1e-4)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    # The same by the library
    samples, _ = soundfile.read(folders / "low" / "0.wav", dtype="int16")
    model = Vocoder.from_pretrained(tiny_waveform_checkpoint, "cpu").model
    again = Bound(model, 6).of("0", samples)
    assert again.frames.mean() == pytest.approx(low["recordings"][0]["total"])


def test_coefficients_and_mels(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], tiny_checkpoint: Path
) -> None:
    """Of a spectral space: another unit, with its reason; other mels are told from their own."""
    low = str(folders / "low")
    report = tmp_path / "a.json"
    arguments = ["likelihood", f"own={low}", f"wrong={low}", "--mels", f"wrong={folders / 'mels'}"]
    options = ["--checkpoint", str(tiny_checkpoint), "--steps", "3", "--draws", "1"]
    assert cli.main([*arguments, *options, "--json", str(report), "--only", "*.wav"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("nats per coefficient") and "No bits per sample" in told
    assert "log-deviation" in told
    document = json.loads(report.read_text())
    totals = {name: one["terms"]["total"]["value"] for name, one in document["sets"].items()}
    assert totals["wrong"] > totals["own"]
    assert document["detection"]["wrong"]["by_frame"]["value"] > 0.5
    assert document["sets"]["own"]["terms"]["total"]["noise_error"] is None


def test_a_part_of_each_at_another_rate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tiny_checkpoint: Path
) -> None:
    soundfile.write(tmp_path / "a.wav", speech_like(1.0, 16000), 16000, "FLOAT")
    arguments = [str(tmp_path / "a.wav"), "--seconds", "0.3", "--steps", "2"]
    frames = tmp_path / "a.csv"
    options = ["--checkpoint", str(tiny_checkpoint), "--per-frame", str(frames)]
    assert cli.main(["likelihood", *arguments, *options]) == 0
    told = capsys.readouterr().out
    assert "1 of the recordings were resampled to 22050 Hz." in told and "rounded" in told
    assert len(frames.read_text().splitlines()) == 1 + round(0.3 * 22050) // 256


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Give a recording"),
        (["missing"], "no file or folder missing"),
        (["low", "low"], "'low'"),
        (["low", "--only", "x*"], "'x*'"),
        (["low", "--plot", "a.txt"], "a plot ends in"),
        (["low", "--json", "no/a.json"], "no folder"),
        (["low", "--mels", "missing"], "no folder missing"),
        (["low", "--mels", "x=mels"], "no set 'x'"),
        (["low", "high", "--mels", "mels"], "--mels NAME=mels"),
        (["low", "--mels", "empty"], "no mel of 0"),
        (["short.wav"], "short.wav: "),
        (["low", "--checkpoint", "nobody"], "'nobody'"),
    ],
)
def test_refuses(
    arguments: list[str],
    words: str,
    folders: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tiny_checkpoint: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("low", "high", "mels"):
        (tmp_path / name).symlink_to(folders / name)
    (tmp_path / "empty").mkdir()
    soundfile.write("short.wav", speech_like(0.01), 22050)
    before = sorted(os.listdir())
    chosen = [] if "--checkpoint" in arguments else ["--checkpoint", str(tiny_checkpoint)]
    assert cli.main(["likelihood", *arguments, *chosen, "--steps", "1"]) == 2
    one_line(capsys, words)
    assert sorted(os.listdir()) == before


@pytest.mark.skipif(not CORPUS, reason="needs LJSPEECH_WAVS, a folder of LJSpeech's recordings")
def test_noise_in_real_speech_is_found(tmp_path: Path) -> None:
    """By the bundled voice, 20 dB below the speech, in most frames of three seconds of each."""
    names = [f"LJ001-000{i}" for i in (2, 4, 8)]
    rng = np.random.default_rng(0)
    for kind in ("clean", "noisy"):
        (tmp_path / kind).mkdir()
    for name in names:
        (path,) = Path(CORPUS).glob(f"{name}.*")
        wave = soundfile.read(path)[0][: 3 * 22050]
        noise = 0.1 * np.sqrt(np.mean(wave**2)) * rng.standard_normal(len(wave))
        soundfile.write(tmp_path / "clean" / f"{name}.wav", wave, 22050)
        soundfile.write(tmp_path / "noisy" / f"{name}.wav", np.clip(wave + noise, -1, 1), 22050)
    report = tmp_path / "a.json"
    places = [str(tmp_path / "clean"), str(tmp_path / "noisy")]
    assert cli.main(["likelihood", *places, "--steps", "12", "--json", str(report)]) == 0
    found = json.loads(report.read_text())["detection"]["noisy"]
    assert found["by_recording"]["value"] == 1
    assert found["by_frame"]["value"] > 0.6
