"""Mel-consistency iterations: what they reach, and what they must leave alone."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from signals import speech_like
from tiny import random_model, spectral_config, waveform_config
from torch import Tensor

from diffwave.chain.sampling import Sampling, SamplingConfig
from diffwave.errors import InputError
from diffwave.mel import PRESETS, MelConfig, MelSpectrogram
from diffwave.spaces.consistency import MAX_GAIN, match_mel
from diffwave.spaces.spectral import SpectralConfig, SpectralSpace
from diffwave.vocoder import Vocoder

NORMALISED = dataclasses.replace(
    PRESETS["espnet"], name="normalised", mean=(-2.5,) * 80, scale=(0.8,) * 80
)
CONVENTIONS = [*PRESETS.values(), NORMALISED]


def parts(config: MelConfig) -> tuple[MelSpectrogram, SpectralSpace]:
    frontend = MelSpectrogram(config)
    return frontend, SpectralSpace(SpectralConfig.of(config), frontend)


def recording(space: SpectralSpace, config: MelConfig, frames: int = 60) -> Tensor:
    """[1, context(frames)]."""
    length = space.context(frames)
    return torch.from_numpy(speech_like(length / config.sample_rate + 0.1, config.sample_rate))[
        None, :length
    ]


def error(frontend: MelSpectrogram, space: SpectralSpace, x: Tensor, mel: Tensor) -> float:
    """Mean distance in nepers of the mel of the nearest signal's inner frames."""
    difference = (frontend(space.signal(x), pad=False) - mel) / frontend.slope
    return float(difference[..., 6:-6].abs().mean())


@pytest.mark.parametrize("config", CONVENTIONS, ids=lambda c: c.name)
def test_iterations_bring_the_mel_nearer(config: MelConfig) -> None:
    frontend, space = parts(config)
    wave = recording(space, config)
    mel = frontend(wave, pad=False)
    torch.manual_seed(0)
    spectrum = space.spectrum(0.05 * torch.randn_like(wave))
    errors = [
        error(frontend, space, match_mel(spectrum, mel, frontend, space, n), mel) for n in (0, 2, 8)
    ]
    assert errors[1] < 0.6 * errors[0]
    assert errors[2] < errors[1]


@pytest.mark.parametrize("config", CONVENTIONS, ids=lambda c: c.name)
def test_a_spectrum_that_agrees_stays(config: MelConfig) -> None:
    frontend, space = parts(config)
    wave = recording(space, config)
    spectrum = space.spectrum(wave)
    mel = frontend(wave, pad=False)
    after = space.trimmed(space.signal(match_mel(spectrum, mel, frontend, space, 3)))
    before = space.trimmed(wave)[:, : after.shape[1]]
    middle = slice(config.n_fft, -config.n_fft)
    torch.testing.assert_close(after[:, middle], before[:, middle], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", ["lmnt", "coqui"])
@pytest.mark.parametrize("factor", [1e4, 1e-9])
def test_what_is_beyond_the_limits_stays_there(name: str, factor: float) -> None:
    """The mel says that a band is at least that loud, or at most that soft, and no more."""
    config = PRESETS[name]
    frontend, space = parts(config)
    generator = torch.Generator().manual_seed(0)
    wave = factor * torch.randn(1, space.context(30), generator=generator)
    spectrum = space.spectrum(wave)
    mel = frontend(wave, pad=False)
    assert config.limits is not None
    assert bool((mel == config.limits[factor > 1]).all())
    for asked in (mel, mel + (0.1 if factor > 1 else -0.1)):  # predicted ones lie beyond, too
        after = match_mel(spectrum, asked, frontend, space, 2)
        inner = slice(6, -6)  # at the ends no other frame overlaps
        torch.testing.assert_close(
            after[:, inner], spectrum[:, inner], rtol=1e-3, atol=1e-3 * factor
        )


def test_no_iterations_change_nothing() -> None:
    frontend, space = parts(PRESETS["hifigan"])
    spectrum = torch.randn(1, 9, 513, dtype=torch.complex64)
    assert match_mel(spectrum, torch.zeros(1, 80, 9), frontend, space, 0) is spectrum


def test_silence_stays_silent() -> None:
    frontend, space = parts(PRESETS["hifigan"])
    mel = frontend(torch.zeros(1, space.context(40)), pad=False)
    torch.manual_seed(0)
    spectrum = space.spectrum(1e-3 * torch.randn(1, space.context(40)))
    spectrum = match_mel(spectrum, mel, frontend, space, 5)
    heard = space.spectrum(space.signal(spectrum))[..., : int(7900 / 22050 * 1024)]
    assert heard.abs().square().mean().sqrt() < 3e-5  # in the first round 1e-3


@given(st.floats(-40, 40), st.integers(0, 2**31))
@settings(deadline=None, max_examples=15)
def test_one_iteration_never_exceeds_its_largest_gain(level: float, seed: int) -> None:
    """Even if the mel asks for the impossible: the step after a projection only scales bins."""
    frontend, space = parts(PRESETS["hifigan"])
    generator = torch.Generator().manual_seed(seed)
    wave = torch.randn(1, space.context(12), generator=generator)
    spectrum = space.spectrum(wave)
    after = match_mel(spectrum, torch.full((1, 80, 12), level), frontend, space, 1)
    ratio = after.abs() / space.spectrum(space.signal(spectrum)).abs().clamp_min(1e-12)
    assert ratio.max() <= math.exp(MAX_GAIN) * 1.001
    assert ratio.min() >= math.exp(-MAX_GAIN) * 0.999
    assert after.isfinite().all()


def test_bins_above_the_last_band_are_left_alone() -> None:
    frontend, space = parts(PRESETS["hifigan"])
    wave = recording(space, PRESETS["hifigan"])
    spectrum = space.spectrum(wave)
    mel = frontend(wave, pad=False) + 1
    after = match_mel(spectrum, mel, frontend, space, 1)
    projected = space.spectrum(space.signal(spectrum))
    above = math.ceil(8000 / 22050 * 1024) + 1
    torch.testing.assert_close(after[..., above:], projected[..., above:])
    assert (after[..., 5:300].abs() > 1.5 * projected[..., 5:300].abs()).all()


def test_gradients_reach_the_spectrum_even_in_silence() -> None:
    frontend, space = parts(PRESETS["espnet"])  # no epsilon under its root
    state = torch.zeros(1, 30, 2, 512, requires_grad=True)
    mel = frontend(recording(space, PRESETS["espnet"], 30), pad=False)
    spectrum = match_mel(space.as_spectrum(state + 1e-3), mel, frontend, space, 2)
    space.signal(spectrum).square().sum().backward()
    assert state.grad is not None and state.grad.isfinite().all() and state.grad.any()
    state.grad = None
    spectrum = match_mel(space.as_spectrum(state * 1), mel, frontend, space, 2)
    space.signal(spectrum).square().sum().backward()
    assert state.grad.isfinite().all()


def with_iterations(n_iter: int) -> Vocoder:
    config = dataclasses.replace(spectral_config(), sampling=SamplingConfig(2, n_iter=n_iter))
    return Vocoder(random_model(config), "cpu")


def test_a_vocoder_that_iterates_obeys_its_mel_better() -> None:
    mel = MelSpectrogram(PRESETS["hifigan"])(torch.from_numpy(speech_like(1.5)))
    plain, agreed = with_iterations(0), with_iterations(6)
    far = [float((v.mel(v(mel)) - mel).abs().mean()) for v in (plain, agreed)]
    assert far[1] < 0.5 * far[0]


def test_a_number_of_steps_has_its_own_iterations() -> None:
    mel = MelSpectrogram(PRESETS["hifigan"])(torch.from_numpy(speech_like(0.5)))
    presets = (Sampling(2, n_iter=3), Sampling(4))
    config = dataclasses.replace(
        spectral_config(), sampling=SamplingConfig(2, n_iter=1, presets=presets)
    )
    vocoder = Vocoder(random_model(config), "cpu")
    for steps, n_iter in (1, 1), (2, 3), (4, 0):
        assert vocoder(mel, steps=steps).equal(vocoder(mel, steps=steps, n_iter=n_iter))
    assert not vocoder(mel).equal(vocoder(mel, n_iter=1))


def test_iterations_need_the_spectral_space_and_its_own_window() -> None:
    iterating = SamplingConfig(presets=(Sampling(2, n_iter=2),))
    with pytest.raises(InputError, match="need a spectral space"):
        dataclasses.replace(waveform_config(), sampling=iterating)
    config = spectral_config()
    short = dataclasses.replace(config.mel, win_length=800)
    with pytest.raises(InputError, match="win_length"):
        dataclasses.replace(config, mel=short, sampling=iterating)
    dataclasses.replace(config, mel=short)
