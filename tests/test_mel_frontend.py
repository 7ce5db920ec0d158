"""The mel frontend against librosa and torchaudio."""

from __future__ import annotations

import dataclasses
import functools
import math

import librosa
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from signals import speech_like
from torch import Tensor

from diffwave.base.errors import InputError
from diffwave.mel import PRESETS, MelConfig, MelSpectrogram
from diffwave.mel.normalise import scaled_log

HIFIGAN = PRESETS["hifigan"]
NORMALISED = dataclasses.replace(
    PRESETS["espnet"], name="normalised", mean=(-2.5,) * 80, scale=(0.8,) * 80
)


@functools.cache
def speech(config: MelConfig, seconds: float = 2.0, seed: int = 0) -> Tensor:
    """[L] at the config's rate."""
    return torch.from_numpy(speech_like(seconds, config.sample_rate, seed))


def breathy(config: MelConfig) -> Tensor:
    """Speech in noise: so no bin is 100 dB below its neighbours, where float32 counts for 1e-4."""
    wave = speech(config)
    return wave + 3e-3 * torch.randn(wave.shape, generator=torch.Generator().manual_seed(0))


def mel_of(name: str, seconds: float = 2.0, gain: float = 1.0) -> Tensor:
    return MelSpectrogram(PRESETS[name])(gain * speech(PRESETS[name], seconds))


def amplitudes(config: MelConfig, wave: Tensor) -> NDArray[np.float64]:
    """Mel amplitudes [n_mels, T] by librosa in float64, reflect-padded."""
    samples = wave.double().numpy()
    if not config.centered:
        samples = np.pad(samples, (config.n_fft - config.hop_length) // 2, mode="reflect")
    stft = librosa.stft(
        samples,
        n_fft=config.n_fft,
        hop_length=config.hop_length,
        win_length=config.win_length,
        center=config.centered,
        pad_mode="reflect",
    )
    magnitude = np.abs(stft)
    if config.name in ("hifigan", "bigvgan-44k", "diffwave-48k"):
        magnitude = np.sqrt(stft.real**2 + stft.imag**2 + 1e-9)
    if config.name == "lmnt":
        magnitude = magnitude / np.sqrt(np.sum(librosa.filters.get_window("hann", 1024) ** 2))
    filterbank = librosa.filters.mel(
        sr=config.sample_rate,
        n_fft=config.n_fft,
        n_mels=config.n_mels,
        fmin=config.fmin,
        fmax=config.fmax,
        htk=config.name in ("lmnt", "vocos"),
        norm=None if config.name in ("lmnt", "vocos") else "slaney",
        dtype=np.float64,
    )
    return np.asarray(filterbank @ magnitude)


# Each project's scaling, written as the project does.
SCALINGS = {
    "hifigan": lambda x: np.log(np.maximum(x, 1e-5)),
    "bigvgan-44k": lambda x: np.log(np.maximum(x, 1e-5)),
    "diffwave-48k": lambda x: np.log(np.maximum(x, 1e-5)),
    "vocos": lambda x: np.log(np.maximum(x, 1e-7)),
    "espnet": lambda x: np.log10(np.maximum(x, 1e-10)),
    "speecht5": lambda x: np.log10(np.maximum(x, 1e-10)),
    "lmnt": lambda x: np.clip((20 * np.log10(np.maximum(x, 1e-5)) - 20 + 100) / 100, 0, 1),
    "coqui": lambda x: np.clip(
        8 * ((20 * np.log10(np.maximum(x, 1e-8)) - 20 + 100) / 100) - 4, -4, 4
    ),
}


SHORT = dataclasses.replace(PRESETS["espnet"], win_length=600, hop_length=300)


@pytest.mark.parametrize(
    "config", [*PRESETS.values(), SHORT], ids=lambda c: f"{c.name}{c.win_length}"
)
def test_presets_and_short_windows_agree_with_librosa(config: MelConfig) -> None:
    wave = breathy(config)
    mel = MelSpectrogram(config)(wave)
    expected = SCALINGS[config.name](amplitudes(config, wave))
    assert mel.dtype == torch.float32
    np.testing.assert_allclose(mel.numpy(), expected, rtol=0, atol=1e-4)


def test_statistics_normalise_each_band() -> None:
    mean, scale = torch.linspace(-4, -1, 80), torch.linspace(0.5, 2, 80)
    config = dataclasses.replace(
        PRESETS["espnet"], mean=tuple(mean.tolist()), scale=tuple(scale.tolist())
    )
    expected = (mel_of("espnet") - mean[:, None]) / scale[:, None]
    torch.testing.assert_close(MelSpectrogram(config)(speech(config)), expected)


@pytest.mark.parametrize("name", PRESETS)
def test_amplitudes_are_those_that_gave_the_values(name: str) -> None:
    config = PRESETS[name]
    frontend = MelSpectrogram(config)
    wave = breathy(config)
    mel = frontend(wave)
    # At the limits of a convention the amplitude is lost.
    low, high = config.limits or (float("-inf"), float("inf"))
    inside = ((mel > low) & (mel < high)).numpy()
    assert inside.mean() > 0.5
    ends = torch.tensor([[-1e9, 1e9]]).clamp(low, high)
    if config.limits is not None:
        torch.testing.assert_close(
            frontend.amplitude(ends)[0], torch.tensor(config.amplitude_range)
        )
    else:
        assert config.amplitude_range == (config.floor, math.inf)
    np.testing.assert_allclose(
        frontend.amplitude(mel).numpy()[inside], amplitudes(config, wave)[inside], rtol=2e-3
    )
    torch.testing.assert_close(scaled_log(frontend.amplitude(mel), config), mel)


@pytest.mark.parametrize("name", PRESETS)
def test_white_noise_has_its_amplitude(name: str) -> None:
    """Of rms 1 in every bin; the mean magnitude of noise is sqrt(pi) / 2 of the rms."""
    plain = dataclasses.replace(PRESETS[name], limits=None)
    frontend = MelSpectrogram(plain)
    noise = torch.randn(200_000, generator=torch.Generator().manual_seed(0))
    measured = frontend.amplitude(frontend(noise)).mean(1, keepdim=True)
    expected = frontend.unit_filterbank.sum(1, keepdim=True) * math.sqrt(math.pi) / 2
    torch.testing.assert_close(measured, expected, rtol=0.1, atol=0)


def test_silence_gives_the_floor() -> None:
    for name, lowest in [("hifigan", math.log(1e-5)), ("espnet", -10), ("lmnt", 0), ("coqui", -4)]:
        mel = MelSpectrogram(PRESETS[name])(torch.zeros(4096))
        torch.testing.assert_close(mel, torch.full_like(mel, lowest))


@pytest.mark.parametrize("name", ["hifigan", "vocos"])
def test_a_piece_of_one_of_a_batch_is_that_of_the_whole(name: str) -> None:
    """Without padding the wave is the whole context of its frames."""
    config = PRESETS[name]
    frontend, first, count = MelSpectrogram(config), 20, 30
    wave = speech(config)
    whole = frontend(torch.stack((speech(config, seed=1), wave)))[1]
    torch.testing.assert_close(frontend(wave), whole, rtol=0, atol=1e-5)
    start = first * config.hop_length - config.pad_left
    context = wave[start : start + (count - 1) * config.hop_length + config.n_fft]
    part = frontend(context, pad=False)
    torch.testing.assert_close(part, whole[:, first : first + count], rtol=0, atol=1e-5)


def test_gradient_is_finite_in_silence() -> None:
    for name in ("hifigan", "vocos"):
        wave = torch.zeros(4096, requires_grad=True)
        MelSpectrogram(PRESETS[name])(wave).sum().backward()
        assert wave.grad is not None and torch.isfinite(wave.grad).all()


def test_stays_float32_under_autocast() -> None:
    expected = mel_of("hifigan")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(mel_of("hifigan"), expected)


def test_state_dict_is_empty() -> None:
    assert not MelSpectrogram(NORMALISED).state_dict()


@pytest.mark.parametrize(
    ("wave", "pad", "words"),
    [
        (torch.zeros(HIFIGAN.pad_right), True, "384 samples is too short: .* at least 385"),
        (torch.zeros(1023), False, "1023 samples is too short: .* at least 1024"),
        (torch.zeros(1, 1, 4096), True, "samples"),
        (torch.zeros(4096, dtype=torch.int16), True, "floating point"),
    ],
)
def test_waves_that_cannot_be_analysed_are_refused(wave: Tensor, pad: bool, words: str) -> None:
    with pytest.raises(InputError, match=words):
        MelSpectrogram(HIFIGAN)(wave, pad)
    assert MelSpectrogram(HIFIGAN)(torch.zeros(385)).shape == (80, 1)
    with pytest.raises(InputError, match="at least 1000"):
        MelSpectrogram(dataclasses.replace(HIFIGAN, hop_length=1000))(torch.zeros(999))


@settings(max_examples=40)
@given(st.data())
def test_frame_count(data: st.DataObject) -> None:
    n_fft = 2 * data.draw(st.integers(8, 150))
    hop = data.draw(st.integers(1, n_fft))
    length = data.draw(st.integers(n_fft, 4 * n_fft))
    centered = data.draw(st.booleans())
    config = dataclasses.replace(
        HIFIGAN, n_fft=n_fft, win_length=n_fft, hop_length=hop, n_mels=4, centered=centered
    )
    mel = MelSpectrogram(config)(torch.zeros(length))
    assert mel.shape[1] == config.frames(length) == length // hop + centered
