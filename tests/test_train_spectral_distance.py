"""The distance of spectrograms: a norm of features, blind to nothing but phase."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from signals import speech_like
from torch import Tensor

from diffwave.train.config import LossConfig
from diffwave.train.spectral_distance import FFT_SIZES, SpectralDistance

LENGTH = 3000
FLAT = [(0.0, 1.0)]
distance = SpectralDistance(22050, FLAT)


def noise(seed: int, batch: int = 1, gain: float = 0.1) -> Tensor:
    return gain * torch.randn(batch, LENGTH, generator=torch.Generator().manual_seed(seed))


def between(a: Tensor, b: Tensor, scale_by: Tensor | None = None) -> Tensor:
    return distance([(a, b)], noise(99, len(a)) if scale_by is None else scale_by)[0]


def tone(hz: float, phase: float = 0.0) -> Tensor:
    return 0.1 * torch.sin(2 * torch.pi * hz * torch.arange(LENGTH) / 22050 + phase)[None]


@settings(max_examples=10, deadline=None)
@given(st.tuples(*[st.integers(0, 10**6)] * 3), st.tuples(*[st.floats(0, 1)] * 3))
def test_it_is_a_distance(seeds: tuple[int, ...], gains: tuple[float, ...]) -> None:
    """Zero for equals, symmetric, and no detour is shorter: what an L1 norm of features is."""
    a, b, c = (noise(seed, gain=gain) for seed, gain in zip(seeds, gains, strict=True))
    ab, bc, ac = float(between(a, b)), float(between(b, c)), float(between(a, c))
    assert float(between(a, a.clone())) == 0
    assert float(between(b, a)) == ab
    assert ab >= 0
    assert ac <= (ab + bc) * (1 + 1e-5) + 1e-6


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.0, 0.3), st.integers(2, 4))
def test_energy_distance_is_never_negative(seed: int, gain: float, size: int) -> None:
    """2 E d(x, y) - E d(x, x') - E d(y, y') >= 0 over all pairs of two finite sets."""
    x = list(noise(seed, size).split(1))
    y = list(noise(seed + 1, size, gain).split(1))

    def mean(left: list[Tensor], right: list[Tensor]) -> float:
        pairs = [(a, b) for a in left for b in right]
        return float(torch.stack(distance(pairs, x[0])).mean())

    assert 2 * mean(x, y) - mean(x, x) - mean(y, y) >= -1e-5


def test_pairs_and_batch_items_do_not_mix() -> None:
    a, b, c = noise(0, 2), noise(1, 2), noise(2, 2)
    together = distance([(a, b), (b, c), (a, c)], a)
    for found, pair in zip(together, [(a, b), (b, c), (a, c)], strict=True):
        assert found.shape == (2,)
        assert torch.equal(found, distance([pair], a)[0])
        for i in range(2):
            alone = distance([(pair[0][i : i + 1], pair[1][i : i + 1])], a[i : i + 1])[0]
            torch.testing.assert_close(found[i : i + 1], alone)


def test_it_hears_pitch_but_hardly_phase() -> None:
    same, shifted, higher = tone(440.0), tone(440.0, 2.0), tone(880.0)
    assert float(between(same, shifted)) < 0.1 * float(between(same, higher))
    assert torch.allclose(between(same, -same), torch.zeros(1), atol=1e-6)


def test_loudness_of_everything_hardly_matters() -> None:
    """The magnitude term is relative and logarithms only shift, as far as their floors allow."""
    a, b = noise(0, gain=10.0), noise(1, gain=10.0)
    once, tenfold = between(a, b, a), between(10 * a, 10 * b, 10 * a)
    torch.testing.assert_close(once, tenfold, rtol=1e-3, atol=0)


def test_a_gain_is_a_logarithm_and_a_share() -> None:
    """d(x, c x) = log c + (c - 1): the weights' mean is 1, and so is the relative magnitude's."""
    a = noise(0, gain=100.0)
    c = 1.5
    expected = torch.tensor(c).log() + (c - 1)
    assert float(between(a, c * a, a)) == pytest.approx(float(expected), rel=2e-3)


def test_it_hears_whether_bins_go_together() -> None:
    """Bursts of two tones, at once or by turns: each bin alone has the same distribution.

    The energy distance between the two kinds is what a sum of absolute differences over bins, which
    is a sum of energy distances of single bins, could not see.
    """
    low, high = tone(1000.0), tone(3000.0)
    silence = 0.01 * noise(0)
    together = [silence + low + high, silence]
    by_turns = [silence + low, silence + high]

    def mean(a: list[torch.Tensor], b: list[torch.Tensor]) -> float:
        return float(torch.stack([between(x, y, low) for x in a for y in b]).mean())

    apart = mean(together, by_turns)
    within = (mean(together, together) + mean(by_turns, by_turns)) / 2
    assert apart > 1.02 * within


def test_weights_choose_the_frequencies() -> None:
    """A distance that weighs only what lies above 4 kHz hears no difference below."""
    deaf = SpectralDistance(22050, [(4000.0, 0.0), (4500.0, 1.0)])
    floor = noise(0, gain=0.1)
    hum = floor + 10 * tone(440.0)
    ordinary = SpectralDistance(22050, LossConfig().bin_weights)
    low = deaf([(floor, hum)], floor)[0]
    assert float(low) < 0.05 * float(ordinary([(floor, hum)], floor)[0])


@pytest.mark.parametrize("silent", ["generated", "real", "both"])
def test_gradient_in_silence_is_finite(silent: str) -> None:
    real = torch.zeros(1, LENGTH) if silent != "generated" else noise(0)
    generated = torch.zeros(1, LENGTH) if silent != "real" else noise(1)
    generated.requires_grad_()
    value = between(real, generated, real)
    value.sum().backward()
    assert bool(torch.isfinite(value).all())
    assert generated.grad is not None
    assert bool(torch.isfinite(generated.grad).all())


def test_gradient_leads_to_the_recording() -> None:
    real = torch.from_numpy(speech_like(LENGTH / 22050))[None]
    generated = (0.5 * real + noise(0, gain=0.02)).requires_grad_()
    before = between(real, generated, real)
    before.sum().backward()
    assert generated.grad is not None
    step = 1e-3 * generated.grad / generated.grad.abs().max()
    assert float(between(real, generated.detach() - step, real)) < float(before.detach())


def test_sizes_share_a_scale() -> None:
    """White noise of variance 1 has magnitudes of rms 1 at every resolution."""
    wave = noise(0, 8, gain=1.0)
    for size in FFT_SIZES:
        rms = distance.magnitudes(wave, size).square().mean().sqrt()
        assert float(rms) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(
    ("rate", "longest"), [(16000, 2048), (22050, 2048), (24000, 2048), (44100, 4096), (48000, 4096)]
)
def test_windows_last_as_long_at_every_rate(rate: int, longest: int) -> None:
    made = SpectralDistance(rate, FLAT)
    assert made.fft_sizes[0] == longest
    wave = noise(0).repeat(1, 3)
    near, far = made([(wave, 1.1 * wave), (wave, 2 * wave)], wave)
    assert 0 < float(near) < float(far)


def test_it_is_no_part_of_a_model() -> None:
    assert not list(distance.parameters())
    assert not distance.state_dict()
