"""What a chain has to know of recordings, and recordings as 16-bit samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from signals import speech_like
from tiny import random_model, source_config, spectral_config, waveform_config

from diffwave.analysis.recordings import Recordings
from diffwave.analysis.states import WINDOW, States, data_of
from diffwave.base.errors import InputError
from diffwave.data.crops import Clip


def test_white_noise_has_a_flat_spectrum_and_its_mean() -> None:
    rng = np.random.default_rng(0)
    noise = [np.round(1000 + 2000 * rng.standard_normal(1 << 17)).astype(np.int16) for _ in "ab"]
    data = data_of(noise)
    assert data.mean == pytest.approx(1000 / 32768, rel=0.02)
    assert data.variance == pytest.approx((2000 / 32768) ** 2, rel=0.02)
    assert len(data.variances) == WINDOW
    assert float(data.variances.std()) < 0.15 * data.variance


def test_a_tone_has_its_power_in_its_bin() -> None:
    tone = np.round(16384 * np.sin(2 * np.pi * 64 / WINDOW * np.arange(1 << 14))).astype(np.int16)
    data = data_of([tone])
    assert data.variance == pytest.approx(0.125, rel=0.01)
    assert int(data.variances[: WINDOW // 2].argmax()) == 64
    assert float(data.variances[300]) == pytest.approx(2.0**-30 / 12, rel=3)  # only rounding


def test_silence_is_as_loud_as_its_rounding() -> None:
    data = data_of([np.zeros(4096, np.int16)])
    assert data.mean == 0 and 0 < data.variance < 1e-9
    with pytest.raises(InputError, match="1024 samples"):
        data_of([np.zeros(1000, np.int16)])


@pytest.mark.parametrize("config", [waveform_config(), spectral_config(), source_config()])
def test_states_are_those_that_training_sees(config: object) -> None:
    model = random_model(config)  # type: ignore[arg-type]
    samples = (speech_like(0.5) * 32767).astype(np.int16)
    states = States(model)
    clip = states.excited(Clip("", samples))
    assert (clip.source is None) == (not getattr(model.space.config, "source_bands", ()))
    mel = states.mel(clip)
    encoded = states.of(clip, mel, 0)
    state = encoded.x_0[0]
    expected = model.space.encode(encoded.wave, mel, encoded.prior)
    torch.testing.assert_close(encoded.x_0, expected)
    assert encoded.start == -model.space.pad_left
    data = data_of([samples], model)
    if model.space.of_samples:
        assert data.variance == pytest.approx(float(state.var()), rel=0.1)
    else:
        assert data.variance == pytest.approx(float(state.double().var(correction=0)), rel=1e-6)
        assert len(data.variances) == 512


def test_samples_are_read_exactly(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).integers(-32768, 32768, 5000).astype(np.int16)
    soundfile.write(tmp_path / "a.flac", samples, 22050)
    reader = Recordings()
    np.testing.assert_array_equal(reader.read(tmp_path / "a.flac"), samples)
    assert not reader.notes and not reader.cut


def test_what_is_done_to_recordings_is_noted(tmp_path: Path) -> None:
    wave = speech_like(0.5, 16000)
    soundfile.write(tmp_path / "a.wav", wave, 16000, "PCM_24")
    reader = Recordings(22050, 0.25)
    assert len(reader.read(tmp_path / "a.wav")) == round(0.25 * 22050)
    assert reader.cut and len(reader.notes) == 2
    plain = Recordings(16000)
    np.testing.assert_allclose(plain.read(tmp_path / "a.wav"), wave * 32768, atol=0.51)
    assert plain.notes == ["1 of the recordings were rounded to 16 bits."]
