"""The mel frontend against librosa and torchaudio, its settings, and what check_mel refuses."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import subprocess
import sys

import librosa
import numpy as np
import pytest
import torch
import torchaudio
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from signals import speech_like
from torch import Tensor

from diffwave.errors import InputError
from diffwave.mel import PRESETS, MelConfig, MelSpectrogram, check_mel, preset

HIFIGAN = PRESETS["hifigan"]
EIGHTY = [name for name, config in PRESETS.items() if config.n_mels == 80]
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
    if config.name in ("hifigan", "bigvgan-44k"):
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
    "vocos": lambda x: np.log(np.maximum(x, 1e-7)),
    "espnet": lambda x: np.log10(np.maximum(x, 1e-10)),
    "speecht5": lambda x: np.log10(np.maximum(x, 1e-10)),
    "lmnt": lambda x: np.clip((20 * np.log10(np.maximum(x, 1e-5)) - 20 + 100) / 100, 0, 1),
    "coqui": lambda x: np.clip(
        8 * ((20 * np.log10(np.maximum(x, 1e-8)) - 20 + 100) / 100) - 4, -4, 4
    ),
}


@pytest.mark.parametrize("name", PRESETS)
def test_presets_agree_with_librosa(name: str) -> None:
    config = PRESETS[name]
    wave = breathy(config)
    mel = MelSpectrogram(config)(wave)
    expected = SCALINGS[name](amplitudes(config, wave))
    assert mel.dtype == torch.float32
    np.testing.assert_allclose(mel.numpy(), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["lmnt", "vocos"])
def test_presets_agree_with_torchaudio(name: str) -> None:
    wave = breathy(PRESETS[name])
    if name == "lmnt":
        reference = torchaudio.transforms.MelSpectrogram(
            22050, 1024, 1024, 256, 20.0, 11025.0, n_mels=80, power=1.0, normalized=True
        )
        decibels = 20 * torch.log10(torch.clamp(reference(wave), min=1e-5)) - 20
        expected = torch.clamp((decibels + 100) / 100, 0, 1)
    else:
        reference = torchaudio.transforms.MelSpectrogram(
            24000, n_fft=1024, hop_length=256, n_mels=100, center=True, power=1
        )
        expected = torch.log(torch.clip(reference(wave), min=1e-7))
    torch.testing.assert_close(MelSpectrogram(PRESETS[name])(wave), expected, rtol=0, atol=1e-4)


def test_short_window_is_centred_in_the_frame() -> None:
    config = dataclasses.replace(PRESETS["espnet"], win_length=600, hop_length=300)
    wave = breathy(config)
    expected = SCALINGS["espnet"](amplitudes(config, wave))
    np.testing.assert_allclose(MelSpectrogram(config)(wave).numpy(), expected, rtol=0, atol=1e-4)


def test_statistics_normalise_each_band() -> None:
    mean, scale = torch.linspace(-4, -1, 80), torch.linspace(0.5, 2, 80)
    config = dataclasses.replace(
        PRESETS["espnet"], mean=tuple(mean.tolist()), scale=tuple(scale.tolist())
    )
    expected = (mel_of("espnet") - mean[:, None]) / scale[:, None]
    torch.testing.assert_close(MelSpectrogram(config)(speech(config)), expected)


def test_silence_gives_the_floor() -> None:
    for name, lowest in [("hifigan", math.log(1e-5)), ("espnet", -10), ("lmnt", 0), ("coqui", -4)]:
        mel = MelSpectrogram(PRESETS[name])(torch.zeros(4096))
        torch.testing.assert_close(mel, torch.full_like(mel, lowest))


def test_batch_equals_single_waves() -> None:
    frontend = MelSpectrogram(HIFIGAN)
    waves = torch.stack([speech(HIFIGAN, 1.0, seed) for seed in range(3)])
    batch = frontend(waves)
    assert batch.shape == (3, 80, 22050 // 256)
    for wave, mel in zip(waves, batch, strict=True):
        torch.testing.assert_close(frontend(wave), mel, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["hifigan", "vocos"])
def test_without_padding_the_wave_is_the_context(name: str) -> None:
    config = PRESETS[name]
    frontend = MelSpectrogram(config)
    wave = speech(config)
    whole = frontend(wave)
    first, count = 20, 30
    start = first * config.hop_length - config.pad_left
    context = wave[start : start + (count - 1) * config.hop_length + config.n_fft]
    part = frontend(context, pad=False)
    assert part.shape[1] == count
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


def test_import_needs_neither_librosa_nor_torchaudio() -> None:
    code = "import sys, diffwave.mel; print({'librosa', 'torchaudio'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_waves_that_cannot_be_analysed_are_refused() -> None:
    frontend = MelSpectrogram(HIFIGAN)
    assert frontend(torch.zeros(HIFIGAN.pad_right + 1)).shape == (80, 1)
    with pytest.raises(InputError, match=r"384 samples is too short: .* at least 385"):
        frontend(torch.zeros(HIFIGAN.pad_right))
    with pytest.raises(InputError, match="shorter than one frame of 1024"):
        frontend(torch.zeros(1023), pad=False)
    with pytest.raises(InputError, match="samples"):
        frontend(torch.zeros(1, 1, 4096))
    with pytest.raises(InputError, match="floating point"):
        frontend(torch.zeros(4096, dtype=torch.int16))
    sparse = MelSpectrogram(dataclasses.replace(HIFIGAN, hop_length=1000))
    with pytest.raises(InputError, match="at least 1000"):
        sparse(torch.zeros(999))


@settings(deadline=None, max_examples=40)
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


@settings(deadline=None, max_examples=20)
@given(st.floats(0.1, 10))
def test_gain_shifts_a_logarithmic_mel(gain: float) -> None:
    frontend = MelSpectrogram(dataclasses.replace(HIFIGAN, magnitude_eps=0.0))
    wave = speech(HIFIGAN, 0.5)
    quiet, loud = frontend(wave), frontend(gain * wave)
    above = (quiet > math.log(1e-5) + 0.1) & (loud > math.log(1e-5) + 0.1)
    assert above.any()
    shift = (loud - quiet)[above]
    torch.testing.assert_close(shift, torch.full_like(shift, math.log(gain)), rtol=0, atol=1e-3)


numbers = st.floats(-100, 100)


@given(
    st.sampled_from(list(PRESETS.values())),
    st.integers(1, 64),
    st.one_of(st.none(), st.tuples(st.floats(-9, -1), st.floats(1, 9))),
    st.booleans(),
    st.data(),
)
@settings(deadline=None, max_examples=50)
def test_dict_roundtrip(
    base: MelConfig,
    n_mels: int,
    limits: tuple[float, float] | None,
    centered: bool,
    data: st.DataObject,
) -> None:
    mean = data.draw(st.none() | st.lists(numbers, min_size=n_mels, max_size=n_mels).map(tuple))
    scale = None if mean is None else (0.5,) * n_mels
    config = dataclasses.replace(
        base, n_mels=n_mels, limits=limits, centered=centered, mean=mean, scale=scale
    )
    assert MelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert hash(config) == hash(MelConfig.from_dict(config.to_dict()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hop": 256}, "Unknown mel setting 'hop'"),
        ({"n_fft": "1024"}, "n_fft must be an integer, not '1024'"),
        ({"n_mels": True}, "n_mels must be an integer"),
        ({"hop_length": 256.0}, "hop_length must be an integer"),
        ({"centered": 1}, "centered must be true or false"),
        ({"name": None}, "name must be a string"),
        ({"fmax": math.nan}, "fmax must be a finite number"),
        ({"fmax": None}, "fmax must be a finite number"),
        ({"limits": 3}, "limits must be a list of numbers"),
        ({"limits": [0, "1"]}, "limits must be a finite number"),
        ({"limits": [1, 0]}, "two rising numbers"),
        ({"limits": [0, 1, 2]}, "two rising numbers"),
        ({"sample_rate": 0}, "sample_rate must be at least 1"),
        ({"hop_length": 2000}, "hop_length .* must not exceed n_fft"),
        ({"win_length": 1025}, "win_length .* must not exceed n_fft"),
        ({"fmax": 12000}, "fmax <= sample_rate / 2"),
        ({"fmin": 8000}, "fmin < fmax"),
        ({"fmin": -1}, "0 <= fmin"),
        ({"log": "log2"}, "log must be one of 'ln', 'log10', 'db', not 'log2'"),
        ({"mel_scale": "bark"}, "mel_scale must be one of"),
        ({"mel_norm": "area"}, "mel_norm must be one of 'slaney', None"),
        ({"floor": 0}, "floor .* must be positive"),
        ({"mean": [0] * 80}, "mean and scale must be given together"),
        ({"mean": [0] * 79, "scale": [1] * 80}, "mean has 79 numbers, but n_mels is 80"),
        ({"mean": [0] * 80, "scale": [0] * 80}, "scale must be positive"),
    ],
)
def test_bad_settings_are_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        MelConfig.from_dict(HIFIGAN.to_dict() | change)


def test_missing_setting_is_named_and_optional_ones_have_defaults() -> None:
    values = HIFIGAN.to_dict()
    del values["hop_length"]
    with pytest.raises(InputError, match="'hop_length' is missing"):
        MelConfig.from_dict(values)
    with pytest.raises(InputError, match="mapping"):
        MelConfig.from_dict([])  # type: ignore[arg-type]
    values = HIFIGAN.to_dict()
    del values["mean"]
    assert MelConfig.from_dict(values) == HIFIGAN


def test_preset_by_name() -> None:
    assert preset("hifigan") is HIFIGAN
    with pytest.raises(InputError, match="Unknown mel preset 'hifi'; known are hifigan, lmnt"):
        preset("hifi")


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
        (torch.zeros(1, 1, 80, 5), "not .1, 1, 80, 5."),
        (torch.zeros(5, 80), "looks transposed: the 80 mel bands are on axis 1 .* pass mel.T"),
        (np.zeros((2, 5, 80)), r"axis 2 but belong on axis 1; pass mel.swapaxes\(1, 2\)"),
        (torch.zeros(100, 5), "has 100 mel bands on axis 0, but the 'hifigan' convention has 80"),
        (torch.zeros(80, 0), "is empty"),
        (torch.zeros(0, 80, 5), "is empty"),
        (torch.zeros(80, 1), "single frame"),
        (torch.full((80, 5), math.nan), "NaN or infinity"),
        (torch.full((80, 5), -math.inf), "NaN or infinity"),
        (np.full((80, 5), 1e300), "NaN or infinity"),
        (torch.zeros(80, 5, dtype=torch.int64), "floating point, not torch.int64"),
        (torch.zeros(80, 5, dtype=torch.complex64), "floating point, not torch.complex64"),
        (np.zeros((80, 5), dtype=np.int16), "floating point, not int16"),
        (np.zeros((80, 5), dtype=complex), "floating point, not complex128"),
        (np.full((80, 5), None), "floating point, not object"),
        ([[0.0, 0.0]] * 80, "numpy array or a torch tensor, not list"),
        ("mel.npy", "numpy array or a torch tensor, not str"),
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
