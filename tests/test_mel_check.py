"""What check_mel takes, what it refuses, and which other convention it names."""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np
import pytest
import torch
from signals import speech_like
from torch import Tensor

from diffwave.base.errors import InputError
from diffwave.mel import MelSpectrogram
from diffwave.mel.check import check_mel
from diffwave.mel.config import PRESETS

HIFIGAN = PRESETS["hifigan"]
EIGHTY = [name for name, config in PRESETS.items() if config.n_mels == 80]
NORMALISED = dataclasses.replace(
    PRESETS["espnet"], name="normalised", mean=(-2.5,) * 80, scale=(0.8,) * 80
)


@functools.cache
def mel_of(name: str, seconds: float = 2.0, gain: float = 1.0) -> Tensor:
    config = PRESETS[name]
    wave = torch.from_numpy(speech_like(seconds, config.sample_rate))
    return MelSpectrogram(config)(gain * wave)


def test_check_mel_returns_a_float32_batch() -> None:
    mel = mel_of("hifigan")
    for form in (mel, mel[None], mel.double(), mel.numpy(), mel.numpy().astype(">f8")):
        checked = check_mel(form, HIFIGAN)
        assert checked.shape == (1, *mel.shape) and checked.dtype == torch.float32
        torch.testing.assert_close(checked[0], mel)
    assert check_mel(mel.half(), HIFIGAN).dtype == torch.float32
    assert check_mel(torch.stack([mel, mel]), HIFIGAN).shape == (2, *mel.shape)
    assert check_mel(mel.T.numpy().T, HIFIGAN).shape == (1, *mel.shape)
    assert check_mel(mel.clone().requires_grad_(), HIFIGAN).requires_grad


@pytest.mark.parametrize(
    ("mel", "message"),
    [
        (torch.zeros(80), r"shape \[80, frames\] or \[batch, 80, frames\], not \[80\]"),
        (torch.zeros(5, 80), "looks transposed: the 80 mel bands are on axis 1 .* pass mel.T"),
        (np.zeros((2, 5, 80)), r"axis 2 but belong on axis 1; pass mel.swapaxes\(1, 2\)"),
        (torch.zeros(100, 5), "has 100 mel bands on axis 0, but the 'hifigan' convention has 80"),
        (torch.zeros(80, 0), "is empty"),
        (torch.zeros(80, 1), "single frame"),
        (torch.full((80, 5), math.nan), "NaN or infinity"),
        (np.full((80, 5), 1e300), "NaN or infinity"),
        (torch.zeros(80, 5, dtype=torch.int64), "floating point, not torch.int64"),
        (np.zeros((80, 5), dtype=np.int16), "floating point, not int16"),
        (np.full((80, 5), None), "floating point, not object"),
        ("mel.npy", "floating point, not str"),
        (None, "floating point, not NoneType"),
        ([[0.0, 0.0], [0.0]], "must be an array"),
    ],
)
def test_check_mel_refuses_what_is_no_mel(mel: Tensor, message: str) -> None:
    with (
        np.errstate(over="ignore"),
        pytest.raises(InputError, match=message),
    ):
        check_mel(mel, HIFIGAN)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("gain", [0.25, 1.0, 4.0])
def test_check_mel_accepts_speech_of_its_own_convention(name: str, gain: float) -> None:
    mel = mel_of(name, 3.0, gain)
    assert check_mel(mel, PRESETS[name]).shape == (1, *mel.shape)
    for start in range(0, mel.shape[1] - 2, 17):
        check_mel(mel[:, start : start + 2], PRESETS[name])
    blurred = torch.nn.functional.avg_pool2d(mel[None], 3, 1, 1, count_include_pad=False)
    check_mel(blurred, PRESETS[name])
    check_mel(mel + 0.01 * (mel - mel.mean()), PRESETS[name])  # a predicted mel overshoots


@pytest.mark.parametrize("name", PRESETS)
def test_check_mel_accepts_silence_noise_and_tones(name: str) -> None:
    config = PRESETS[name]
    noise = torch.randn(40_000, generator=torch.Generator().manual_seed(0))
    tone = torch.sin(torch.arange(40_000) * 0.1)
    noisy = torch.from_numpy(speech_like(40_000 / config.sample_rate, config.sample_rate))
    waves = [0 * noise, tone, noisy + 0.05 * noise, noisy + 0.015 * noise]
    for wave in waves + [level * noise for level in (0.003, 0.03, 0.3)]:
        check_mel(MelSpectrogram(config)(wave), config)


def test_check_mel_accepts_a_batch_padded_with_zeros() -> None:
    mel = mel_of("hifigan")
    check_mel(
        torch.stack([mel, torch.nn.functional.pad(mel[:, :50], (0, mel.shape[1] - 50))]), HIFIGAN
    )


@pytest.mark.parametrize("name", EIGHTY)
@pytest.mark.parametrize("other", EIGHTY)
def test_check_mel_names_the_other_convention(name: str, other: str) -> None:
    config = PRESETS[name]
    mel = mel_of(other, 3.0)
    if name == other or {name, other} == {"espnet", "speecht5"}:  # those differ in their rate
        check_mel(mel, config)
        return
    with pytest.raises(InputError, match=f"do not fit the '{name}' .*look like .*'{other}'"):
        check_mel(mel, config)


def test_check_mel_recognises_other_scalings() -> None:
    mel = mel_of("hifigan", 3.0)
    decibels = 20 / math.log(10) * mel
    normalised = (mel - mel.mean(1, keepdim=True)) / mel.std(1, keepdim=True)
    for values, name in [
        (decibels, "decibels"),
        (decibels - decibels.max(), "decibels"),
        (mel + math.log(32768), "samples in -32768..32767"),
        (mel.exp(), "amplitudes without a logarithm"),
        (normalised, "zero mean and unit variance"),
    ]:
        with pytest.raises(InputError, match=rf"\(-11.5 to about 2.41\); they look like .*{name}"):
            check_mel(values, HIFIGAN)
    with pytest.raises(InputError, match="do not fit"):
        check_mel(100 * mel, HIFIGAN)


def test_check_mel_undoes_the_statistics() -> None:
    normalised = (mel_of("espnet", 3.0) + 2.5) / 0.8
    check_mel(normalised, NORMALISED)
    with pytest.raises(InputError, match="'hifigan'"):
        check_mel(mel_of("hifigan", 3.0), NORMALISED)
