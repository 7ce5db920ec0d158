"""`diffwave convert-mel`, and `synthesize --from`."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors import safe_open
from signals import speech_like
from told import ROOT, Refuses, one_line, process

from diffwave import cli
from diffwave.mel.conventions import ALIASES, CONVENTIONS

REAL = ROOT / "egs" / "mel.npy"
"""A recording's mel in HiFi-GAN's convention."""


def mel_of(name: str, seconds: float = 2.0) -> np.ndarray:
    convention = CONVENTIONS[name]
    wave = torch.from_numpy(speech_like(seconds, convention.mel.sample_rate))
    return convention.analyse(wave).numpy()


def test_as_a_process(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", mel_of("espnet"))
    words = "convert-mel a.npy b.npy --from espnet --to hifigan"
    done = process(*words.split(), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "espnet (as told) to hifigan, estimated, as these differ: filterbank" in done.stdout
    assert np.load(tmp_path / "b.npy").shape == mel_of("espnet").shape


def test_an_exact_conversion_there_and_back(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mel = np.load(REAL)
    np.save("a.npy", mel)
    assert cli.main(["convert-mel", "a.npy", "b.npz", "--from", "hifigan", "--to", "matcha"]) == 0
    normalised = np.load("b.npz")
    np.testing.assert_allclose(normalised["mel"], (mel + 5.536622) / 2.116101, atol=1e-4)
    assert normalised["convention"] == "matcha"
    assert cli.main(["convert-mel", "b.npz", "c.safetensors", "--to", "hifigan"]) == 0
    assert "matcha (as the file says) to hifigan, exact" in capsys.readouterr().out
    with safe_open("c.safetensors", "np") as file:
        assert file.metadata() == {"convention": "hifigan"}
        np.testing.assert_allclose(file.get_tensor("mel"), mel, atol=1e-4)
    assert cli.main(["convert-mel", "c.safetensors", "d.npy"]) == 0
    np.testing.assert_allclose(np.load("d.npy"), mel, atol=1e-4)


@pytest.mark.parametrize("stats", ["stats.npy", "-2.5,0.5"])
def test_statistics_and_frames_first(stats: str, here: Path) -> None:
    mel = mel_of("espnet")
    np.save("stats.npy", np.stack([np.full(80, -2.5), np.full(80, 0.5)]))
    np.save("plain.npy", mel)
    np.save("a.npy", ((mel + 2.5) / 0.5).T)
    assert cli.main(["convert-mel", "plain.npy", "b.npy", "--from", "pwg"]) == 0
    assert cli.main(["convert-mel", "a.npy", "c.npy", "--from", "espnet", f"--stats={stats}"]) == 0
    np.testing.assert_allclose(np.load("c.npy"), np.load("b.npy"), atol=1e-3)


def test_auto_says_what_it_found(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save("a.npy", mel_of("vocos", 4.0).T)
    assert cli.main(["convert-mel", "a.npy", "b.npy"]) == 0
    assert "vocos (recognised) to hifigan, estimated" in capsys.readouterr().out
    assert len(np.load("b.npy")) == 80


def test_a_folder(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("in/deep").mkdir(parents=True)
    np.save("in/a.npy", mel_of("vocos"))
    np.savez("in/deep/b.npz", mel=mel_of("vocos"), other=np.zeros(3))
    np.save("in/c.npy", mel_of("hifigan"))
    assert cli.main(["convert-mel", "in", "out", "--from", "vocos"]) == 2
    told = capsys.readouterr()
    assert "2 files in out; vocos (as told) to hifigan" in told.out
    assert "c.npy: " in told.err and "80 mel bands on axis 0, but the 'vocos'" in told.err
    made = sorted(str(path.relative_to("out")) for path in Path("out").rglob("*.npy"))
    assert made == ["a.npy", "deep/b.npy"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing.npy", "b.npy"], "missing.npy"),
        (["a.npy", "b.wav", "--from", "hifigan"], "must end in .npy, .npz, .safetensors"),
        (["a.npy", "b.npy", "--from", "melgan"], "Unknown mel convention 'melgan'"),
        (["a.npy", "b.npy", "--to", "hifigan,hop=2"], "'hop'"),
        (["a.npy", "b.npy", "--from", "vocos"], "80 mel bands on axis 0, but the 'vocos'"),
        (["a.npy", "b.npy", "--from", "hifigan", "--stats", "c.npy"], "c.npy"),
        (["a.npy", "b.npy", "--from", "hifigan", "--stats=1,0"], "above zero"),
        (["nan.npy", "b.npy", "--from", "hifigan"], "NaN"),
        (["odd.npy", "b.npy"], "none of its axes has 80, 100, 128 bands"),
        (["few.npy", "b.npy"], "too few"),
        (["batch.npy", "b.npy", "--from", "hifigan"], "[2, 80, 9]"),
        ([], "--list"),
    ],
)
def test_one_sentence_and_nothing_written(
    arguments: list[str], words: str, refuses: Refuses
) -> None:
    np.save("a.npy", mel_of("hifigan"))
    np.save("nan.npy", np.full((80, 20), math.nan, dtype=np.float32))
    np.save("odd.npy", np.zeros((77, 300), dtype=np.float32))
    np.save("few.npy", np.zeros((80, 5), dtype=np.float32))
    np.save("batch.npy", np.zeros((2, 80, 9), dtype=np.float32))
    refuses(["convert-mel", *arguments], words)


def test_the_conventions_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["convert-mel", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1 : 1 + len(CONVENTIONS)]] == list(CONVENTIONS)
    assert all(alias in lines[-1] for alias in ALIASES)


def test_synthesize_converts(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tiny_checkpoint: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("a.npy", mel_of("vocos").T)
    shared = ["--device", "cpu", "--checkpoint", str(tiny_checkpoint)]
    assert cli.main(["synthesize", "a.npy", "a.wav", "--from", "vocos", *shared]) == 0
    assert abs(soundfile.info("a.wav").duration - 2.0) < 0.03
    assert cli.main(["synthesize", "a.npy", "b.wav", "--from", "auto", *shared]) == 0
    assert "a.npy: vocos (recognised) to hifigan, estimated" in capsys.readouterr().err
    assert Path("a.wav").read_bytes() == Path("b.wav").read_bytes()
    np.save("hifigan.npy", np.load(REAL))
    assert cli.main(["synthesize", "hifigan.npy", "c.wav", *shared]) == 0
    assert cli.main(["synthesize", "hifigan.npy", "d.wav", "--from", "auto", *shared]) == 0
    first, second = (soundfile.read(name)[0] for name in ("c.wav", "d.wav"))
    np.testing.assert_allclose(first, second, atol=2e-3)
    capsys.readouterr()
    assert cli.main(["synthesize", "a.npy", "e.wav", "--stats", "1,2", *shared]) == 2
    one_line(capsys, "--stats goes with --from")
    assert cli.main(["synthesize", "a.npy", "e.wav", "--from", "melgan", *shared]) == 2
    one_line(capsys, "'melgan'")
    assert not Path("e.wav").exists()
