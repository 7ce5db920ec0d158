"""Networks in bfloat16 and int8: nearly the same wave, and what they refuse."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny import random_model, source_config, speech_mel, waveform_config

from diffwave import cli
from diffwave.base.errors import InputError
from diffwave.precision import in_precision
from diffwave.vocoder import Vocoder

MEL = speech_mel(0.5)


@pytest.mark.parametrize(("precision", "least_db"), [("bfloat16", 30.0), ("int8", 20.0)])
def test_the_wave_is_nearly_that_of_float32(precision: str, least_db: float) -> None:
    exact, rounded = (
        Vocoder(random_model(source_config(), seed=1), "cpu", each)(MEL, steps=2, n_iter=0)
        for each in ("float32", precision)
    )
    error = (rounded - exact).square().mean()
    assert 0 < error < exact.square().mean() * 10 ** (-least_db / 10)


def test_float32_is_the_model_itself() -> None:
    model = random_model(source_config())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert in_precision(model, "float32") is model
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no precision 'float8'; there are float32"):
        Vocoder(random_model(source_config()), "cpu", "float8")
    with pytest.raises(InputError, match="waveform network computes in float32 alone"):
        Vocoder(random_model(waveform_config()), "cpu", "int8")
    vocoder = Vocoder(random_model(source_config()), "cpu", "int8")
    with pytest.raises(InputError, match="load it in float32"):
        vocoder.save_pretrained(tmp_path / "voice")
    assert not (tmp_path / "voice").exists()


def test_on_the_command_line(tiny_checkpoint: Path, tmp_path: Path) -> None:
    mel, out = tmp_path / "mel.pt", tmp_path / "out.wav"
    torch.save(MEL, mel)
    words = ["synthesize", str(mel), str(out), "--checkpoint", str(tiny_checkpoint), "--steps", "2"]
    waves = []
    for precision in ("float32", "bfloat16", "int8"):
        assert cli.main([*words, "--precision", precision]) == 0
        waves.append(out.read_bytes())
    assert len(set(waves)) == 3
