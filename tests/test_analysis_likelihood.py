"""The bound of whole models: on sources of known entropy, in chunks, with its errors."""

from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from signals import speech_like
from tiny import random_model, source_config, spectral_config, waveform_config
from torch import Tensor, nn

from diffwave.analysis import likelihood
from diffwave.analysis.likelihood import Bound, UtteranceBound, estimate, log_deviation
from diffwave.base.errors import InputError
from diffwave.chain.sampling import Sampling
from diffwave.model import DiffusionModel
from diffwave.spaces import EnergyPrior, WaveformConfig

WHOLE = slice(None)


def pcm(wave: Any) -> NDArray[np.int16]:
    return np.clip(np.round(np.asarray(wave) * 32768), -32768, 32767).astype(np.int16)


class Exact(nn.Module):
    """E[x_0 | x_t] of a Gaussian source in samples, in the place of a denoiser."""

    trained_levels = torch.sigmoid(torch.linspace(14, -5, 600, dtype=torch.float64))

    def __init__(self, covariance: Tensor) -> None:
        super().__init__()
        values, self.vectors = torch.linalg.eigh(covariance)
        self.values = nn.Parameter(values, requires_grad=False)
        self.network = SimpleNamespace(receptive_field=0)

    def levels(self, sampling: Sampling) -> Tensor:
        assert sampling.steps == len(self.trained_levels)
        return self.trained_levels.flip(0)

    def condition(self, mel: Tensor, prior: Any) -> Any:
        return prior.deviation

    def estimate(self, x: Tensor, bar: Tensor, cond: Tensor) -> Tensor:
        x = x.double()
        if self.vectors.shape[0] == 1:  # white: any deviation
            variance = self.values / cond.double().square()
            return bar.sqrt() * variance / (bar * variance + 1 - bar) * x
        gain = bar.sqrt() * self.values / (bar * self.values + 1 - bar)
        return (x @ self.vectors * gain) @ self.vectors.T


def exact_model(covariance: Tensor, prior: EnergyPrior) -> DiffusionModel:
    config = dataclasses.replace(waveform_config(), space=WaveformConfig(prior=prior))
    model = random_model(config)
    model.denoiser = Exact(covariance)  # type: ignore[assignment]
    return model


def test_the_bound_of_an_ar1_source_meets_its_entropy() -> None:
    """To 1 %: 16-bit recordings, the model's own space, and the exact score."""
    length, innovation, memory = 1024, 0.02, 0.9
    lag = (torch.arange(length)[:, None] - torch.arange(length)).abs().double()
    covariance = innovation**2 / (1 - memory**2) * memory**lag
    root = torch.linalg.cholesky(covariance).numpy()
    white = np.random.default_rng(0).standard_normal((4, length))
    bound = Bound(exact_model(covariance, EnergyPrior()), draws=2)
    assert bound.unit == "bits per sample"
    found = estimate([bound.of(str(i), pcm(root @ e)) for i, e in enumerate(white)], WHOLE)
    entropy = 0.5 * math.log2(2 * math.pi * math.e * innovation**2) + 15
    assert found.value == pytest.approx(entropy, rel=0.01)
    assert found.error < 0.05 and found.noise_error < 0.05


@pytest.mark.parametrize("prior", [EnergyPrior(), EnergyPrior(0.02)])
def test_a_priors_deviation_does_not_change_the_unit(prior: EnergyPrior) -> None:
    """White noise, once in samples and once in a state of another scale: the same entropy."""
    model = exact_model(torch.full((1, 1), 0.05**2, dtype=torch.float64), prior)
    samples = pcm(0.05 * np.random.default_rng(1).standard_normal(4096))
    deviation = model.space.prior(model.mel(torch.from_numpy(samples / 32768).float())[None])
    assert (float(deviation.deviation.max()) < 0.9) == (prior.floor < 1)
    found = estimate([Bound(model, draws=1).of("a", samples)], WHOLE).value
    entropy = 0.5 * math.log2(2 * math.pi * math.e * 0.05**2) + 15
    assert found == pytest.approx(entropy, rel=0.01)


@pytest.mark.parametrize("config", [waveform_config(), spectral_config(), source_config()])
def test_chunks_change_nothing(config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = pcm(speech_like(0.5))
    bound = Bound(random_model(config), 6, draws=1)
    whole = bound.of("a", samples)
    monkeypatch.setattr(likelihood, "CHUNK_FRAMES", 9)
    pieces = bound.of("a", samples)
    assert whole.frames.shape == (len(samples) // 256,)
    np.testing.assert_allclose(pieces.frames, whole.frames, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(pieces.log_deviation, whole.log_deviation, rtol=1e-4, atol=1e-3)
    assert np.isfinite(whole.steps).all()


def test_the_chain_is_the_trained_one_or_the_one_that_is_sampled() -> None:
    model = random_model(waveform_config())
    torch.testing.assert_close(Bound(model).levels, model.denoiser.trained_levels.flip(0))
    torch.testing.assert_close(
        Bound(model, 6).levels, model.denoiser.levels(model.sampling(6)), rtol=0, atol=0
    )
    assert len(Bound(random_model(spectral_config())).levels) == likelihood.CONTINUOUS_STEPS


def test_terms_of_a_frame_add_up_and_seeds_differ() -> None:
    samples, model = pcm(speech_like(0.5)), random_model(waveform_config())
    first, again = (Bound(model, 6, draws=2).of("a", samples) for _ in range(2))
    other = Bound(model, 6, draws=2, seed=1).of("a", samples)
    np.testing.assert_array_equal(first.steps, again.steps)
    assert first.steps.shape == (2, 7, len(samples) // 256)
    assert not np.array_equal(first.steps[0], first.steps[1])  # two draws
    assert not np.array_equal(first.steps, other.steps)
    np.testing.assert_array_equal(first.steps[0, -1], first.steps[1, -1])  # no noise in the prior
    parts = [estimate([first], pick) for pick in (slice(0, 1), slice(1, 6), slice(6, None))]
    total = estimate([first], WHOLE)
    assert sum(part.value for part in parts) == pytest.approx(total.value)
    assert total.value == pytest.approx(first.frames.mean())
    # Random weights: about what the prior alone would give, and never below one bit.
    assert 1 < total.value < 1e4


def test_another_recordings_mel_is_a_worse_description(vocoder: Any) -> None:
    """Of the spectral space: the envelope of the wrong mel whitens wrongly."""
    samples = pcm(speech_like(1.0))
    other = vocoder.mel(speech_like(1.0, seed=5))
    bound = Bound(vocoder.model, 4, draws=1)
    assert bound.unit == "nats per coefficient"
    own, wrong = bound.of("a", samples), bound.of("a", samples, other)
    given = bound.of("a", samples, vocoder.mel(samples / np.float32(32768)))
    np.testing.assert_array_equal(own.steps, given.steps)
    assert wrong.frames.mean() > own.frames.mean() + 0.01
    with pytest.raises(InputError, match="86 frames"):
        bound.of("a", samples[:11000], other)
    with pytest.raises(InputError, match="too short"):
        bound.of("a", samples[:100])


def of_sums(sums: list[list[float]], sizes: list[int]) -> list[UtteranceBound]:
    """Recordings whose every draw has a given sum over their frames."""
    return [
        UtteranceBound("", np.array(draws)[:, None, None] / n * np.ones((1, 1, n)), np.ones(n), 1.0)
        for draws, n in zip(sums, sizes, strict=True)
    ]


def test_errors_are_the_spread_of_repeated_experiments() -> None:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(400):
        sizes = rng.integers(20, 60, 12)
        of_recording = sizes * (2 + 0.3 * rng.standard_normal(12))
        draws = of_recording[:, None] + 8 * rng.standard_normal((12, 3))
        found.append(estimate(of_sums(draws.tolist(), sizes.tolist()), WHOLE))
    spread = np.std([one.value for one in found])
    assert np.mean([one.error for one in found]) == pytest.approx(spread, rel=0.12)
    noise = 8 / math.sqrt(3 * 12) / 40
    assert np.mean([one.noise_error for one in found]) == pytest.approx(noise, rel=0.12)
    assert np.mean([one.value for one in found]) == pytest.approx(2, abs=0.02)


def test_what_cannot_be_known_is_not_a_number() -> None:
    one = estimate(of_sums([[3.0]], [2]), WHOLE)
    assert one.value == 1.5 and math.isnan(one.error) and math.isnan(one.noise_error)
    assert log_deviation(of_sums([[3.0], [1.0]], [2, 4])).value == 1.0
