"""The filter-predicting network: size, reach, symmetries, and the filter it applies."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import randn
from torch import Tensor

from diffwave.networks.spectral import (
    SpectralNet,
    SpectralNetConfig,
    apply_filter,
    neighbours,
    phase_invariant_features,
    source_features,
)
from diffwave.spaces import Prior

# Reaches 1 + 2 + 1 frames through its blocks, and one more through its inputs.
SMALL = SpectralNetConfig(n_mels=3, bins=6, channels=8, layers=3, dilations=(1, 2), level_width=8)
SOURCE = dataclasses.replace(SMALL, source=True)
FRAMES = 15
both = pytest.mark.parametrize("config", [SMALL, SOURCE], ids=["plain", "source"])


def make_net(config: SpectralNetConfig = SMALL) -> SpectralNet:
    """A network without zeros anywhere, so that every input can reach the output."""
    torch.manual_seed(0)
    net = SpectralNet(config)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return net


def make_inputs(batch: int = 2, frames: int = FRAMES) -> tuple[Tensor, Tensor, Tensor, Prior]:
    """State, levels, mel and a prior with a share that differs from bin to bin."""
    x_t = randn(batch, frames, 2, SMALL.bins)
    mel = -5 + 2.5 * randn(batch, SMALL.n_mels, frames, seed=1)
    envelope = 0.5 + randn(batch, frames, 1, SMALL.bins, seed=3).abs()
    prior = Prior(randn(*x_t.shape, seed=2), 0.4 * envelope, envelope)
    return x_t, torch.linspace(0.2, 0.9, batch), mel, prior


def as_complex(x: Tensor) -> Tensor:
    return torch.complex(*x.unbind(2))


def as_state(x: Tensor) -> Tensor:
    return torch.stack((x.real, x.imag), dim=2)


# --- size and initialisation ---


def test_parameter_count_of_the_default() -> None:
    with torch.device("meta"):
        net = SpectralNet(SpectralNetConfig())
    assert sum(p.numel() for p in net.parameters()) == 5_358_464
    assert net.receptive_field == 2 * (1 + 2 + 4) + 1 + 2 + 1


@both
def test_output_is_zero_at_first_but_can_be_learnt(config: SpectralNetConfig) -> None:
    torch.manual_seed(0)
    net = SpectralNet(config)
    assert set(net.state_dict()) == {name for name, _ in net.named_parameters()}
    x_t, t, mel, prior = make_inputs()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    assert torch.equal(net(x_t, t, mel, prior), torch.zeros_like(x_t))
    for _ in range(2):  # the filter leaves zero first, then all before it is given gradients
        optimizer.zero_grad()
        (net(x_t, t, mel, prior) - x_t).square().mean().backward()
        optimizer.step()
    assert all(p.grad is not None and bool(p.grad.any()) for p in net.parameters())


# --- what the output depends on ---


@pytest.mark.parametrize(
    ("changes", "what", "backward", "forward"),
    [
        # the previous frame's phase is an input, the next one's is not
        ({}, "x_t", 4, 5),
        ({}, "mel", 5, 5),
        ({"layers": 1, "dilations": (3,)}, "x_t", 3, 4),
        ({"layers": 1, "dilations": (1,), "time_reach": 4}, "x_t", 4, 4),
        ({"layers": 2, "dilations": (2, 1), "time_reach": 0, "bin_reach": 0}, "x_t", 3, 4),
        ({"source": True}, "x_t", 4, 5),
        ({"source": True}, "mean", 4, 5),
        ({"source": True}, "deviation", 4, 5),
        # only the mean goes through the longer filter on the source
        ({"source": True, "layers": 1, "dilations": (1,), "source_time_reach": 4}, "mean", 4, 4),
        ({"source": True, "layers": 1, "dilations": (1,), "source_time_reach": 4}, "x_t", 2, 2),
    ],
)
def test_a_disturbed_frame_reaches_exactly_as_far_as_the_receptive_field(
    changes: dict[str, Any], what: str, backward: int, forward: int
) -> None:
    net = make_net(dataclasses.replace(SMALL, **changes))
    x_t, t, mel, prior = make_inputs(1, frames=2 * net.receptive_field + 7)
    middle = x_t.shape[1] // 2
    before = net(x_t, t, mel, prior)
    for disturbed in {"x_t": x_t, "mel": mel.mT, **prior._asdict()}[what][:, middle]:
        disturbed.mul_(-3).add_(1)
    if what == "deviation":
        prior.deviation.abs_()
    changed = (net(x_t, t, mel, prior) != before).any(-1).any(-1)[0].nonzero().flatten()
    assert (int(changed[0]), int(changed[-1])) == (middle - backward, middle + forward)
    longest = what != "x_t" or "source_time_reach" not in changes
    assert not longest or forward == net.receptive_field


@both
def test_examples_of_a_batch_and_their_levels_do_not_mix(config: SpectralNetConfig) -> None:
    net = make_net(config)
    x_t, t, mel, prior = make_inputs(3)
    together = net(x_t, t, mel, prior)
    cond = net.condition(mel)
    assert cond.shape == (3, FRAMES, 8 + 2 * 8 * 3)
    assert torch.equal(net(x_t, t, prior=prior, cond=cond), together)
    for i in range(3):
        one = slice(i, i + 1)
        alone = net(x_t[one], t[one], mel[one], Prior(*(x[one] for x in prior)))
        torch.testing.assert_close(together[one], alone, atol=1e-3, rtol=1e-4)
    assert bool(((net(x_t, t + 0.01, mel, prior) - together).abs() > 1e-3).any())


# --- symmetries ---


@settings(max_examples=20)
@given(phase=st.floats(-math.pi, math.pi))
def test_global_phase_passes_through(phase: float) -> None:
    """Multiplying the state by exp(i phase) does the same to the prediction."""
    net = make_net().double()
    x_t, t, mel = (x.double() for x in make_inputs()[:3])
    turn = torch.polar(torch.ones((), dtype=torch.float64), torch.tensor(phase).double())
    turned = net(as_state(as_complex(x_t) * turn), t, mel)
    expected = as_state(as_complex(net(x_t, t, mel)) * turn)
    torch.testing.assert_close(turned, expected, rtol=1e-5, atol=1e-5)


def test_features_say_what_they_are_documented_to() -> None:
    x, source = randn(2, 4, 2, 6), randn(2, 4, 2, 6, seed=1)

    def unit(x: Tensor, floor: float) -> tuple[Tensor, Tensor]:
        power = as_complex(x).abs().square() + floor
        return as_complex(x) / power.sqrt(), 0.5 * power.log()

    z, log_power = unit(x, 1e-4)
    advance, delay = torch.zeros_like(z), torch.zeros_like(z)
    advance[:, 1:] = z[:, 1:] * z[:, :-1].conj()
    delay[..., 1:] = z[..., 1:] * z[..., :-1].conj()
    expected = (log_power, advance.real, advance.imag, delay.real, delay.imag)
    torch.testing.assert_close(phase_invariant_features(x), torch.cat(expected, dim=-1))
    z_source, log_power = unit(source, 1e-2)
    between = z * z_source.conj()
    expected = (log_power, between.real, between.imag)
    torch.testing.assert_close(source_features(x, source), torch.cat(expected, dim=-1))


def test_silence_has_finite_features_and_gradients() -> None:
    x = torch.zeros(1, 3, 2, 6, requires_grad=True)
    features = torch.cat((phase_invariant_features(x), source_features(x, x)), dim=-1)
    features.sum().backward()
    assert x.grad is not None and bool(features.isfinite().all() and x.grad.isfinite().all())


# --- the filter ---


def naive_filter(taps: Tensor, x: Tensor, time_reach: int, bin_reach: int) -> Tensor:
    """taps [B, T, n, K] complex, over frames t - reach .. t + reach, then over the other bins."""
    _, frames, bins = x.shape
    result = torch.zeros_like(x)
    offsets = [(i, 0) for i in range(-time_reach, time_reach + 1)]
    offsets += [(0, k) for k in range(-bin_reach, bin_reach + 1) if k != 0]
    for n, (dt, dk) in enumerate(offsets):
        for t in range(frames):
            for k in range(bins):
                if 0 <= t + dt < frames and 0 <= k + dk < bins:
                    result[:, t, k] += taps[:, t, n, k] * x[:, t + dt, k + dk]
    return result


@pytest.mark.parametrize("reach", [(2, 1), (0, 0), (1, 2), (0, 1), (3, 0)])
def test_filter_is_the_sum_over_neighbours(reach: tuple[int, int]) -> None:
    count = dataclasses.replace(SMALL, time_reach=reach[0], bin_reach=reach[1]).taps
    x, taps = randn(2, 5, 2, 6), randn(2, 5, count, 2, 6, seed=1)
    found = apply_filter(taps.flatten(2), neighbours(x, *reach))
    expected = naive_filter(torch.complex(*taps.unbind(3)), as_complex(x), *reach)
    torch.testing.assert_close(found, as_state(expected))


def test_taps_are_those_of_the_state_and_then_of_the_source() -> None:
    """One tap alone: the state in the units of the envelope, or the source, over the noise."""
    x_t, t, mel, prior = make_inputs()
    net = SpectralNet(SOURCE).requires_grad_(False)
    source, noise = prior.mean / prior.envelope, prior.deviation / prior.envelope
    bias = net.filter.bias.view(SOURCE.taps, 2, SMALL.bins)
    for tap, expected in (
        (SMALL.time_reach, x_t + source / noise),
        (SMALL.taps + SOURCE.source_time_reach, source / noise),
    ):
        bias.zero_()
        bias[tap, 0] = 1
        torch.testing.assert_close(net(x_t, t, mel, prior), expected)


# --- use ---


@both
@pytest.mark.parametrize("frames", [1, 2])
def test_very_short_states(config: SpectralNetConfig, frames: int) -> None:
    found = make_net(config)(*make_inputs(2, frames))
    assert found.shape == (2, frames, 2, 6) and bool(found.isfinite().all())
