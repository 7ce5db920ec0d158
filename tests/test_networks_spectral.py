"""The filter-predicting network: size, reach, symmetries, and the filter it applies."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from diffwave.errors import InputError
from diffwave.networks.spectral import (
    SpectralNet,
    SpectralNetConfig,
    phase_invariant_features,
    source_features,
)
from diffwave.spaces import Prior, SpectralConfig

SMALL = SpectralNetConfig(
    n_mels=3, bins=6, channels=8, layers=3, dilations=(1, 2), level_width=8
)  # reaches 1 + 2 + 1 frames through its blocks, and one more through its inputs
FRAMES = 15


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def make_net(config: SpectralNetConfig = SMALL) -> SpectralNet:
    """A network without zeros anywhere, so that every input can reach the output."""
    torch.manual_seed(0)
    net = SpectralNet(config)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return net


def make_inputs(batch: int = 2, frames: int = FRAMES) -> tuple[Tensor, Tensor, Tensor]:
    x_t = randn(batch, frames, 2, SMALL.bins)
    t = torch.linspace(0.2, 0.9, batch)
    return x_t, t, -5 + 2.5 * randn(batch, SMALL.n_mels, frames, seed=1)


def as_complex(x: Tensor) -> Tensor:
    return torch.complex(x[:, :, 0], x[:, :, 1])


def as_state(x: Tensor) -> Tensor:
    return torch.stack((x.real, x.imag), dim=2)


# --- size and initialisation ---


def test_parameter_count_of_the_default() -> None:
    with torch.device("meta"):
        net = SpectralNet(SpectralNetConfig())
    c, layers, bins, level, mel = 192, 8, 512, 64, 3 * 80
    linear = [
        (level, level),
        (level, level),
        (5 * bins, c),
        (mel, c + 2 * c * layers),
        (level, 2 * c),
        (c, 7 * 2 * bins),
        *[(level, 3 * c), (3 * c, 2 * c), (2 * c, c)] * layers,
    ]
    count = sum(p.numel() for p in net.parameters())
    assert count == sum((inputs + 1) * outputs for inputs, outputs in linear) == 5_358_464
    assert net.receptive_field == 2 * (1 + 2 + 4) + 1 + 2 + 1


def test_output_is_zero_at_first_but_can_be_learnt() -> None:
    torch.manual_seed(0)
    net = SpectralNet(SMALL)
    x_t, t, mel = make_inputs()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    first = net(x_t, t, mel)
    assert torch.equal(first, torch.zeros_like(x_t))
    for _ in range(2):  # the filter leaves zero first, then everything before it hears of the loss
        optimizer.zero_grad()
        loss = (net(x_t, t, mel) - x_t).square().mean()
        loss.backward()
        optimizer.step()
    assert all(p.grad is not None and bool(p.grad.any()) for p in net.parameters())
    with torch.no_grad():
        assert float((net(x_t, t, mel) - x_t).square().mean()) < float(x_t.square().mean())


def test_only_weights_are_stored() -> None:
    net = SpectralNet(SMALL)
    assert set(net.state_dict()) == {name for name, _ in net.named_parameters()}


# --- what the output depends on ---


@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        dataclasses.replace(SMALL, layers=1, dilations=(3,)),
        dataclasses.replace(SMALL, layers=1, dilations=(1,), time_reach=4),
        dataclasses.replace(SMALL, layers=2, dilations=(2, 1), time_reach=0, bin_reach=0),
    ],
)
@pytest.mark.parametrize("what", ["state", "mel"])
def test_receptive_field(config: SpectralNetConfig, what: str) -> None:
    """A disturbed frame is heard exactly as far as the reach says, and no further."""
    net = make_net(config)
    blocks = sum(config.dilations[i % len(config.dilations)] for i in range(config.layers))
    x_t, t, mel = make_inputs(1, frames=2 * net.receptive_field + 7)
    middle = x_t.shape[1] // 2
    before = net(x_t, t, mel)
    if what == "state":
        x_t = x_t.clone()
        x_t[:, middle] = -3 * x_t[:, middle] + 1
        # the previous frame's phase is an input, the next one's is not
        backward, forward = max(blocks, config.time_reach), max(blocks + 1, config.time_reach)
    else:
        mel = mel.clone()
        mel[..., middle] += 3
        backward = forward = blocks + 1
    changed = (net(x_t, t, mel) != before).any(-1).any(-1)[0].nonzero().flatten()
    assert (int(changed[0]), int(changed[-1])) == (middle - backward, middle + forward)
    assert max(backward, forward) <= net.receptive_field
    if what == "state":
        assert forward == net.receptive_field


def test_every_bin_can_hear_every_bin() -> None:
    net = make_net()
    x_t, t, mel = make_inputs(1)
    before = net(x_t, t, mel)
    x_t[:, 7, :, 2] += 1
    assert bool((net(x_t, t, mel) != before)[0, 7].any(0).all())


def test_the_noise_level_matters_and_is_each_examples_own() -> None:
    net = make_net()
    x_t, _, mel = make_inputs(1)
    levels = torch.tensor([0.1, 0.11, 1.0])
    found = net(x_t.expand(3, -1, -1, -1), levels, mel.expand(3, -1, -1))
    assert bool(((found[0] - found[1]).abs() > 1e-3).any())
    for i in range(3):
        torch.testing.assert_close(found[i : i + 1], net(x_t, levels[i : i + 1], mel))


def test_examples_of_a_batch_do_not_mix() -> None:
    net = make_net()
    x_t, t, mel = make_inputs(3)
    together = net(x_t, t, mel)
    for i in range(3):
        one = slice(i, i + 1)
        torch.testing.assert_close(
            together[one], net(x_t[one], t[one], mel[one]), atol=1e-4, rtol=1e-5
        )


def test_projections_of_the_mel_can_be_kept() -> None:
    net = make_net()
    x_t, t, mel = make_inputs()
    cond = net.condition(mel)
    assert cond.shape == (2, FRAMES, 8 + 2 * 8 * 3)
    assert torch.equal(net(x_t, t, cond=cond), net(x_t, t, mel))


# --- symmetries ---


@settings(max_examples=20, deadline=None)
@given(phase=st.floats(-math.pi, math.pi))
def test_global_phase_passes_through(phase: float) -> None:
    """Multiplying the state by exp(i phase) does the same to the prediction."""
    net = make_net().double()
    x_t, t, mel = (x.double() for x in make_inputs())
    turn = torch.polar(torch.ones((), dtype=torch.float64), torch.tensor(phase).double())
    turned = net(as_state(as_complex(x_t) * turn), t, mel)
    expected = as_state(as_complex(net(x_t, t, mel)) * turn)
    torch.testing.assert_close(turned, expected, rtol=1e-5, atol=1e-5)


def test_time_shift_passes_through() -> None:
    net = make_net()
    frames, shift, reach = 30, 4, net.receptive_field
    x_t, t, mel = make_inputs(2, frames)
    whole = net(x_t, t, mel)
    later = net(x_t[:, shift:], t, mel[..., shift:])
    torch.testing.assert_close(later[:, reach:], whole[:, shift + reach :])
    earlier = net(x_t[:, :-shift], t, mel[..., :-shift])
    torch.testing.assert_close(earlier[:, :-reach], whole[:, : frames - shift - reach])


def test_features_say_what_they_are_documented_to() -> None:
    x = randn(2, 4, 2, 6)
    z = as_complex(x)
    log_power, advance_re, advance_im, delay_re, delay_im = phase_invariant_features(x).chunk(
        5, dim=-1
    )
    power = z.abs().square() + 1e-4
    torch.testing.assert_close(log_power, 0.5 * power.log())
    unit = z / power.sqrt()
    advance = torch.zeros_like(unit)
    advance[:, 1:] = unit[:, 1:] * unit[:, :-1].conj()
    delay = torch.zeros_like(unit)
    delay[..., 1:] = unit[..., 1:] * unit[..., :-1].conj()
    torch.testing.assert_close(torch.complex(advance_re, advance_im), advance)
    torch.testing.assert_close(torch.complex(delay_re, delay_im), delay)


def test_silence_has_finite_features_and_gradients() -> None:
    x = torch.zeros(1, 3, 2, 6, requires_grad=True)
    features = phase_invariant_features(x)
    assert bool(features.isfinite().all())
    features.sum().backward()
    assert x.grad is not None
    assert bool(x.grad.isfinite().all())


# --- the filter ---


def naive_filter(taps: Tensor, x: Tensor, config: SpectralNetConfig) -> Tensor:
    """taps [B, T, n, K] complex, over frames t - reach .. t + reach, then over the other bins."""
    _, frames, bins = x.shape
    result = torch.zeros_like(x)
    offsets = [(i, 0) for i in range(-config.time_reach, config.time_reach + 1)]
    offsets += [(0, k) for k in range(-config.bin_reach, config.bin_reach + 1) if k != 0]
    for n, (dt, dk) in enumerate(offsets):
        for t in range(frames):
            for k in range(bins):
                if 0 <= t + dt < frames and 0 <= k + dk < bins:
                    result[:, t, k] += taps[:, t, n, k] * x[:, t + dt, k + dk]
    return result


@pytest.mark.parametrize(("time_reach", "bin_reach"), [(2, 1), (0, 0), (1, 2), (0, 1), (3, 0)])
def test_filter_is_the_sum_over_neighbours(time_reach: int, bin_reach: int) -> None:
    config = dataclasses.replace(SMALL, time_reach=time_reach, bin_reach=bin_reach)
    assert config.taps == 2 * time_reach + 1 + 2 * bin_reach
    x = randn(2, 5, 2, 6)
    taps = randn(2, 5, config.taps, 2, 6, seed=1)
    found = SpectralNet(config).apply_filter(taps.flatten(2), [(x, (time_reach, bin_reach))])
    as_taps = torch.complex(taps[:, :, :, 0], taps[:, :, :, 1])
    torch.testing.assert_close(found, as_state(naive_filter(as_taps, as_complex(x), config)))


# --- a source ---

SOURCE = dataclasses.replace(SMALL, source=True)


def make_prior(batch: int = 2, frames: int = FRAMES) -> Prior:
    """Of a share that differs from bin to bin."""
    mean = randn(batch, frames, 2, SMALL.bins, seed=2)
    envelope = 0.5 + randn(batch, frames, 1, SMALL.bins, seed=3).abs()
    return Prior(mean, 0.4 * envelope, envelope)


def test_without_filter_weights_nothing_is_predicted_from_a_source() -> None:
    torch.manual_seed(0)
    x_t, t, mel = make_inputs()
    net = SpectralNet(SOURCE)
    assert torch.equal(net(x_t, t, mel, make_prior()), torch.zeros_like(x_t))
    assert net.filter.out_features == 2 * SMALL.bins * (SMALL.taps + 5)


@pytest.mark.parametrize("changes", [{}, {"layers": 1, "dilations": (1,), "source_time_reach": 4}])
@pytest.mark.parametrize("what", ["state", "mean", "deviation"])
def test_receptive_field_of_a_source(changes: dict[str, object], what: str) -> None:
    config = dataclasses.replace(SOURCE, **changes)  # type: ignore[arg-type]
    net = make_net(config)
    x_t, t, mel = make_inputs(1, 2 * net.receptive_field + 7)
    prior = make_prior(1, x_t.shape[1])
    middle = x_t.shape[1] // 2
    before = net(x_t, t, mel, prior)
    changed = {"state": x_t, **prior._asdict()}
    changed[what] = changed[what].clone()
    changed[what][:, middle] *= 2
    after = net(changed.pop("state"), t, mel, Prior(**changed))
    differ = (after != before).any(-1).any(-1)[0].nonzero().flatten()
    assert middle - int(differ[0]) <= net.receptive_field
    assert int(differ[-1]) - middle <= net.receptive_field
    # only the mean goes through the longer filter on the source
    short = what != "mean" and bool(changes)
    assert int(differ[-1]) - middle == (2 if short else net.receptive_field)


def test_taps_are_those_of_the_state_and_then_of_the_source() -> None:
    """One tap alone: the state in the units of the envelope, or the source, over the noise."""
    x_t, t, mel = make_inputs()
    prior = make_prior()
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


def test_features_of_a_source_turn_with_the_phase_between_it_and_the_state() -> None:
    x, source = randn(1, 4, 2, 6), randn(1, 4, 2, 6, seed=1)
    turn = torch.polar(torch.tensor(1.0), torch.tensor(0.7))
    together = source_features(as_state(turn * as_complex(x)), as_state(turn * as_complex(source)))
    found = source_features(x, source)
    torch.testing.assert_close(together, found)
    power, cosine, sine = source_features(as_state(turn * as_complex(x)), source).chunk(3, dim=-1)
    torch.testing.assert_close(power, found[..., :6])
    before = torch.complex(found[..., 6:12], found[..., 12:])
    torch.testing.assert_close(torch.complex(cosine, sine), turn * before)


def test_a_network_and_its_space_have_a_source_both_or_neither() -> None:
    space = SpectralConfig(12, 3, 0, 3)
    SMALL.check(space)
    SOURCE.check(dataclasses.replace(space, source_bands=(0.0, 4000.0)))
    with pytest.raises(InputError, match="both, or neither"):
        SOURCE.check(space)
    x_t, t, mel = make_inputs()
    with pytest.raises(InputError, match="needs a prior with a source"):
        SpectralNet(SOURCE)(x_t, t, mel)


# --- use ---


def test_bfloat16_autocast_is_close_enough() -> None:
    torch.manual_seed(0)
    net = SpectralNet(SMALL)
    torch.nn.init.normal_(net.filter.weight, std=0.2)
    x_t, t, mel = make_inputs()
    exact = net(x_t, t, mel)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = net(x_t, t, mel)
    assert rough.shape == x_t.shape
    assert rough.dtype == torch.float32
    assert bool(rough.isfinite().all())
    assert not torch.equal(rough, exact)
    assert bool((rough - exact).norm() < 0.05 * exact.norm())


@pytest.mark.parametrize("frames", [1, 2])
def test_very_short_states(frames: int) -> None:
    x_t, t, mel = make_inputs(2, frames)
    found = make_net()(x_t, t, mel)
    assert found.shape == x_t.shape
    assert bool(found.isfinite().all())


def test_a_condition_is_needed() -> None:
    x_t, t, _ = make_inputs()
    with pytest.raises(InputError, match="needs a mel-spectrogram"):
        SpectralNet(SMALL)(x_t, t)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"channels": 0}, "channels must be an integer of at least 1"),
        ({"channels": 10**18}, "channels must be an integer of at most"),
        ({"layers": 10**12}, "layers must be an integer of at most"),
        ({"n_mels": 0}, "n_mels"),
        ({"dilations": ()}, "dilations"),
        ({"dilations": (10**18, 2)}, "dilation"),
        ({"bin_reach": -1}, "bin_reach"),
        ({"time_reach": 10**30}, "time_reach"),
    ],
)
def test_impossible_sizes_are_refused(change: dict[str, int], words: str) -> None:
    with pytest.raises(InputError, match=words):
        dataclasses.replace(SMALL, **change)  # type: ignore[arg-type]
