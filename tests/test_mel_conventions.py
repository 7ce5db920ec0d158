"""Conventions beyond the presets: against the libraries that they are of, and by name."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from signals import speech_like

from diffwave.base.errors import InputError
from diffwave.mel import PRESETS, MelSpectrogram
from diffwave.mel.conventions import ALIASES, CONVENTIONS, convention_of


def wave_of(rate: int, seconds: float = 1.0) -> torch.Tensor:
    return torch.from_numpy(speech_like(seconds, rate))


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_analysed_as_by_the_frontend(name: str) -> None:
    config = PRESETS[name]
    wave = wave_of(config.sample_rate)
    torch.testing.assert_close(
        CONVENTIONS[name].analyse(wave), MelSpectrogram(config)(wave), rtol=0, atol=1e-3
    )


@pytest.mark.parametrize("name", CONVENTIONS)
@pytest.mark.parametrize("gain", [0.1, 1.0])
def test_bands_undo_values(name: str, gain: float) -> None:
    convention = CONVENTIONS[name]
    mel = convention.analyse(gain * wave_of(convention.mel.sample_rate))
    again = convention.values(convention.bands(mel))
    torch.testing.assert_close(again, mel, rtol=1e-5, atol=1e-4)


def test_whisper_is_that_of_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    for name, size in (("whisper", 80), ("whisper-v3", 128)):
        extractor = transformers.WhisperFeatureExtractor(feature_size=size)
        wave = wave_of(16000, 2.0)
        expected = extractor(wave.numpy(), sampling_rate=16000, padding=False).input_features[0]
        mel = CONVENTIONS[name].analyse(wave)
        np.testing.assert_allclose(mel[:, : expected.shape[1]], expected, atol=2e-3)


def test_torchaudio_and_styletts2_are_those_of_torchaudio() -> None:
    torchaudio = pytest.importorskip("torchaudio")
    wave = wave_of(16000)
    power = torchaudio.transforms.MelSpectrogram()(wave)
    torch.testing.assert_close(CONVENTIONS["torchaudio"].analyse(wave), power, rtol=1e-3, atol=1e-5)
    decibels = torchaudio.transforms.AmplitudeToDB("power")(power)
    torch.testing.assert_close(
        CONVENTIONS["torchaudio-db"].analyse(wave), decibels, rtol=0, atol=2e-2
    )
    wave = wave_of(24000)
    power = torchaudio.transforms.MelSpectrogram(
        n_mels=80, n_fft=2048, win_length=1200, hop_length=300
    )(wave)
    expected = (torch.log(1e-5 + power) + 4) / 4
    torch.testing.assert_close(CONVENTIONS["styletts2"].analyse(wave), expected, rtol=0, atol=1e-3)


def test_librosa_is_that_of_librosa() -> None:
    librosa = pytest.importorskip("librosa")
    wave = wave_of(22050)
    power = librosa.feature.melspectrogram(y=wave.numpy(), sr=22050, pad_mode="reflect")
    mel = CONVENTIONS["librosa-db"].analyse(wave)
    np.testing.assert_allclose(mel, librosa.power_to_db(power), atol=2e-2)


def test_names_aliases_and_changes() -> None:
    assert convention_of("HiFiGAN") is CONVENTIONS["hifigan"]
    for alias, name in ALIASES.items():
        assert convention_of(alias) is CONVENTIONS[name]
    changed = convention_of("whisper,hop_length=200,fmin=20.5,power=1,depth=none")
    assert (changed.mel.hop_length, changed.mel.fmin) == (200, 20.5)
    assert (changed.power, changed.depth) == (1, None)
    assert convention_of("matcha,n_mels=100").mel.mean is None
    assert convention_of("hifigan,centered=true").mel.centered


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("melgan", "Unknown mel convention 'melgan'; known are hifigan,"),
        ("", "Unknown mel convention ''"),
        ("hifigan,hop", "KEY=VALUE, not 'hop'"),
        ("hifigan,hop=200", "Unknown setting 'hop'"),
        ("hifigan,hop_length=4096", "must not exceed"),
        ("hifigan,hop_length=x", "must be an integer"),
        ("hifigan,power=3", "power must be an integer of at most 2"),
        ("hifigan,linear=x", "linear must be true or false"),
        ("hifigan,depth=-1", "depth must be a number above 0"),
        ("hifigan,added=inf", "added must be a number below"),
        ("hifigan,filter_rate=0", "filter_rate must be an integer of at least 1"),
    ],
)
def test_wrong_words_are_told(word: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        convention_of(word)


def test_statistics_must_fit_the_bands() -> None:
    convention = CONVENTIONS["vocos"].with_statistics(torch.tensor([1.0]), torch.full((100,), 2.0))
    mel = CONVENTIONS["vocos"].analyse(wave_of(24000))
    torch.testing.assert_close(convention.values(CONVENTIONS["vocos"].bands(mel)), (mel - 1) / 2)
    with pytest.raises(
        InputError, match="of 80 bands, but a mel of the 'vocos' convention has 100"
    ):
        CONVENTIONS["vocos"].with_statistics(torch.zeros(80), torch.ones(80))


def test_values_are_finite_whatever_the_file_holds() -> None:
    for convention in CONVENTIONS.values():
        mel = torch.full((convention.mel.n_mels, 4), 1e30)
        for values in (mel, -mel, 0 * mel):
            assert all(map(math.isfinite, convention.bands(values).flatten().tolist()))
