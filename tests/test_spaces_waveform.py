"""The space of samples and its energy prior."""

from __future__ import annotations

import dataclasses
import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from signals import speech_like
from tiny import randn

from diffwave.mel import PRESETS, MelConfig, MelSpectrogram
from diffwave.spaces import EnergyPrior, WaveformConfig, WaveformSpace


def with_prior(
    floor: float = 0.1, config: MelConfig = PRESETS["hifigan"], peak: float = EnergyPrior.peak
) -> WaveformSpace:
    space = WaveformConfig(prior=EnergyPrior(floor, peak)).of(config)
    return WaveformSpace(space, MelSpectrogram(config))


@settings(max_examples=40)
@given(
    floor=st.floats(0.01, 0.99),
    peak=st.floats(0.01, 10),
    level=st.floats(-12, 5),
    louder=st.floats(0.01, 5),
    seed=st.integers(0, 99),
)
def test_deviation_is_bounded_and_grows_with_the_mel(
    floor: float, peak: float, level: float, louder: float, seed: int
) -> None:
    space = with_prior(floor, peak=peak)
    mel = level + 2 * randn(2, 80, 7, seed=seed)
    sigma, more = space.prior(mel).deviation, space.prior(mel + louder).deviation
    assert sigma.shape == (2, 7 * 256)
    assert floor * (1 - 1e-6) <= float(sigma.min()) <= float(sigma.max()) <= 1
    assert torch.equal(sigma.unflatten(1, (7, 256)).amax(2), sigma[:, ::256])  # a frame is one step
    assert bool((more >= sigma).all())
    # Amplitudes enter under a root: twice as loud is sqrt(2) as wide.
    inside = (sigma > floor) & (more < 1)
    expected = sigma[inside] * math.exp(louder / 2)
    torch.testing.assert_close(more[inside], expected, rtol=1e-4, atol=1e-6)


@settings(max_examples=20)
@given(st.floats(0.01, 0.99) | st.just(1.0), st.integers(0, 99))
def test_whitening_by_the_prior_is_undone(floor: float, seed: int) -> None:
    space = with_prior(floor)
    mel, wave = randn(2, 80, 4, seed=seed) - 4, randn(2, 4 * 256, seed=seed + 1)
    state = space.encode(wave, mel)
    torch.testing.assert_close(space.decode(state, mel), wave)
    if floor == 1:  # samples are their own state
        assert torch.equal(state, wave)
    # The end of the chain, unit noise, is noise of the prior's deviation.
    white = randn(2, 4 * 256, seed=seed + 2)
    sample = space.decode(space.noise(white), mel)
    torch.testing.assert_close(sample, white * space.prior(mel).deviation)


def test_the_deviation_is_the_papers_for_hifigan_mels() -> None:
    """min(1, sqrt(sum of exp(mel)) / 4), at least 0.1."""
    mel = MelSpectrogram(PRESETS["hifigan"])(torch.from_numpy(speech_like(2.0)))[None]
    published = (mel.exp().sum(1).sqrt() / 4).clamp(0.1, 1)
    ours = with_prior().prior(mel).deviation[:, ::256]
    assert 0.1 < float(published.mean()) < 0.9
    torch.testing.assert_close(ours, published, rtol=0.02, atol=0)


def test_a_prior_means_the_same_in_every_convention() -> None:
    """Of one hop and rate; exactly the same with statistics and without."""
    espnet = PRESETS["espnet"]
    normalised = dataclasses.replace(espnet, mean=(-2.5,) * 80, scale=(0.8,) * 80)
    wave = torch.from_numpy(speech_like(1.0))
    found = [
        with_prior(config=config).prior(MelSpectrogram(config)(wave)[None, :, :80]).deviation
        for config in (
            *(PRESETS[name] for name in ("hifigan", "lmnt", "coqui")),
            espnet,
            normalised,
        )
    ]
    means = [float(deviation.mean()) for deviation in found]
    assert max(means) / min(means) < 1.15
    torch.testing.assert_close(found[-1], found[-2])
