"""Mel-consistency iterations: what they reach, and what they must leave alone."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from signals import speech_like
from tiny import randn, random_model, spectral_config, speech_mel, waveform_config
from torch import Tensor

from diffwave.base.errors import InputError
from diffwave.chain.sampling import Sampling, SamplingConfig
from diffwave.dsp.consistency import MAX_GAIN
from diffwave.mel import PRESETS, MelConfig, MelSpectrogram
from diffwave.spaces import SpectralConfig, SpectralSpace
from diffwave.vocoder import Vocoder

HIFIGAN = PRESETS["hifigan"]
NORMALISED = dataclasses.replace(
    PRESETS["espnet"], name="normalised", mean=(-2.5,) * 80, scale=(0.8,) * 80
)
conventions = pytest.mark.parametrize(
    "config", [*PRESETS.values(), NORMALISED], ids=lambda c: c.name
)


class Consistency(SpectralSpace):
    """Iterations under a convention: match(spectrum, mel, n_iter)."""

    forward = SpectralSpace.match_mel

    def __init__(self, config: MelConfig) -> None:
        super().__init__(SpectralConfig().of(config), MelSpectrogram(config))

    def mel(self, wave: Tensor) -> Tensor:
        return self.frontend(wave, pad=False)

    def noise(self, frames: int, level: float = 1.0, seed: int = 0) -> Tensor:
        """[1, context(frames)]."""
        return level * randn(1, self.context(frames), seed=seed)

    def recording(self, frames: int = 60) -> Tensor:
        length, rate = self.context(frames), self.frontend.config.sample_rate
        return torch.from_numpy(speech_like(length / rate + 0.1, rate))[None, :length]

    def projected(self, spectrum: Tensor) -> Tensor:
        return self.stft(self.stft.inverse(spectrum))


@conventions
def test_iterations_bring_the_mel_nearer(config: MelConfig) -> None:
    match = Consistency(config)
    mel = match.mel(match.recording())
    spectrum = match.stft(match.noise(60, 0.05))
    errors = []
    for n_iter in (0, 2, 8):
        found = match.mel(match.stft.inverse(match(spectrum, mel, n_iter)))
        nepers = (found - mel) / match.frontend.slope
        errors.append(float(nepers[..., 6:-6].abs().mean()))
    assert errors[1] < 0.6 * errors[0]
    assert errors[2] < errors[1]
    assert match(spectrum, mel, 0) is spectrum


@conventions
def test_a_spectrum_that_agrees_stays(config: MelConfig) -> None:
    match = Consistency(config)
    wave = match.recording()
    after = match.stft.inverse(match(match.stft(wave), match.mel(wave), 3))
    middle = slice(2 * config.n_fft, -2 * config.n_fft)
    torch.testing.assert_close(after[:, middle], wave[:, middle], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", ["lmnt", "coqui"])
@pytest.mark.parametrize("factor", [1e4, 1e-9])
def test_what_is_beyond_the_limits_stays_there(name: str, factor: float) -> None:
    """The mel says that a band is at least that loud, or at most that soft, and no more."""
    match = Consistency(PRESETS[name])
    wave = match.noise(30, factor)
    spectrum, mel = match.stft(wave), match.mel(wave)
    assert bool((mel == PRESETS[name].limits[factor > 1]).all())
    for asked in (mel, mel + (0.1 if factor > 1 else -0.1)):  # predicted ones lie beyond, too
        after = match(spectrum, asked, 2)[:, 6:-6]  # at the ends no other frame overlaps
        torch.testing.assert_close(after, spectrum[:, 6:-6], rtol=1e-3, atol=1e-3 * factor)


@given(st.floats(-40, 40), st.integers(0, 2**31))
@settings(max_examples=15)
def test_one_iteration_never_exceeds_its_largest_gain(level: float, seed: int) -> None:
    """Even if the mel asks for the impossible: the step after a projection only scales bins."""
    match = Consistency(HIFIGAN)
    spectrum = match.stft(match.noise(12, seed=seed))
    after = match(spectrum, torch.full((1, 80, 12), level), 1)
    ratio = after.abs() / match.projected(spectrum).abs().clamp_min(1e-12)
    assert ratio.max() <= math.exp(MAX_GAIN) * 1.001
    assert ratio.min() >= math.exp(-MAX_GAIN) * 0.999
    assert after.isfinite().all()


def test_bins_above_the_last_band_are_left_alone() -> None:
    match = Consistency(HIFIGAN)
    wave = match.recording()
    spectrum = match.stft(wave)
    after, projected = match(spectrum, match.mel(wave) + 1, 1), match.projected(spectrum)
    above = math.ceil(8000 / 22050 * 1024) + 1
    torch.testing.assert_close(after[..., above:], projected[..., above:])
    assert (after[..., 5:300].abs() > 1.5 * projected[..., 5:300].abs()).all()


@pytest.mark.parametrize("level", [1e-3, 0.0])
def test_gradients_reach_the_spectrum_even_in_silence(level: float) -> None:
    match = Consistency(PRESETS["espnet"])  # no epsilon under its root
    spectrum = torch.full((1, 30, 513), level * (1 + 1j), requires_grad=True)
    after = match(spectrum * 1, match.mel(match.recording(30)), 2)
    match.stft.inverse(after).square().sum().backward()
    assert spectrum.grad is not None and spectrum.grad.isfinite().all()
    assert not level or spectrum.grad.any()


def test_a_number_of_steps_has_its_own_iterations() -> None:
    sampling = SamplingConfig(2, n_iter=1, presets=(Sampling(2, n_iter=3), Sampling(4)))
    config = dataclasses.replace(spectral_config(), sampling=sampling)
    vocoder, mel = Vocoder(random_model(config), "cpu"), speech_mel(0.5)
    for steps, n_iter in (1, 1), (2, 3), (4, 0):
        assert vocoder(mel, steps=steps).equal(vocoder(mel, steps=steps, n_iter=n_iter))
    assert not vocoder(mel).equal(vocoder(mel, n_iter=1))


def test_iterations_need_the_spectral_space_and_its_own_window() -> None:
    iterating = SamplingConfig(presets=(Sampling(2, n_iter=2),))
    with pytest.raises(InputError, match="need a spectral space"):
        dataclasses.replace(waveform_config(), sampling=iterating)
    short = dataclasses.replace(spectral_config(), mel=dataclasses.replace(HIFIGAN, win_length=800))
    with pytest.raises(InputError, match="win_length"):
        dataclasses.replace(short, sampling=iterating)
