"""The mel restorer: what its gate passes, how far it sees, and which sizes it takes."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from diffwave.errors import InputError
from diffwave.networks.enhancer import MelRestorer, MelRestorerConfig

SMALL = MelRestorerConfig(n_mels=3, channels=6, layers=3, dilations=(1, 2))
"""Reaches 1 + 2 + 1 frames through its blocks, and one more through its input."""


def make_net(config: MelRestorerConfig = SMALL) -> MelRestorer:
    """Without zeros anywhere, so that every input can reach the output; the gate half open."""
    torch.manual_seed(0)
    net = MelRestorer(config)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return net.requires_grad_(False)


def make_mel(batch: int = 2, frames: int = 15, n_mels: int = 3, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return -5 + 2.5 * torch.randn(batch, n_mels, frames, generator=generator)


def test_a_closed_gate_is_the_identity() -> None:
    net, mel = make_net(), make_mel()
    assert not torch.equal(net(mel), mel)
    net.output.weight[-1] = 0
    net.output.bias[-1] = -200.0
    assert torch.equal(net(mel), mel)


def test_the_gate_scales_what_is_restored() -> None:
    net, mel = make_net(), make_mel()
    net.output.weight[-1] = 0
    net.output.bias[-1] = 200.0
    whole = net(mel) - mel
    net.output.bias[-1] = 0.0
    restored, gate = net.restore(mel)
    assert torch.equal(net(mel), restored)
    assert gate.shape == (2, 15) and not gate.any()
    torch.testing.assert_close(restored - mel, whole / 2)


def test_a_new_one_changes_little() -> None:
    torch.manual_seed(0)
    net = MelRestorer(MelRestorerConfig())
    mel = make_mel(n_mels=80)
    change = (net(mel) - mel).abs().detach()
    assert 0 < float(change.mean()) < 0.3


@pytest.mark.parametrize(
    ("changes", "reach"),
    [({}, 5), ({"layers": 0}, 1), ({"layers": 1}, 2), ({"dilations": (3,)}, 10)],
)
def test_the_receptive_field_is_exact(changes: dict[str, Any], reach: int) -> None:
    net = make_net(dataclasses.replace(SMALL, **changes))
    assert net.receptive_field == reach
    middle = reach + 2
    mel = make_mel(1, 2 * middle + 1)
    mel.requires_grad_()
    restored, gate = net.restore(mel)
    (restored[0, :, middle].sum() + gate[0, middle]).backward()
    assert mel.grad is not None
    heard = mel.grad[0].abs().sum(0) > 0
    expected = [abs(frame - middle) <= reach for frame in range(mel.shape[-1])]
    assert heard.tolist() == expected


def test_a_change_beyond_the_receptive_field_changes_nothing() -> None:
    net = make_net()
    mel = make_mel(1, 30)
    before = net(mel)[..., 12]
    for frame, heard in ((12 - 6, False), (12 + 6, False), (12 - 5, True), (12 + 5, True)):
        other = mel.clone()
        other[..., frame] += 3
        same = torch.allclose(net(other)[..., 12], before, rtol=0, atol=1e-6)
        assert same is not heard, frame


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 4), st.integers(1, 30), st.integers(0, 2**31))
def test_in_a_batch_as_alone_at_any_length(batch: int, frames: int, seed: int) -> None:
    net, mel = make_net(), make_mel(batch, frames, seed=seed)
    restored = net(mel)
    assert restored.shape == mel.shape
    for row, alone in zip(restored, mel, strict=True):
        torch.testing.assert_close(row, net(alone[None])[0], rtol=1e-4, atol=1e-4)


@settings(deadline=None, max_examples=25)
@given(st.floats(0.1, 3), st.floats(-5, 5))
def test_units_of_the_mel_follow_mean_and_scale(factor: float, offset: float) -> None:
    """The same restoration in another convention, value = factor * ours + offset."""
    net, mel = make_net(), make_mel()
    config = dataclasses.replace(
        SMALL, mel_mean=factor * SMALL.mel_mean + offset, mel_scale=factor * SMALL.mel_scale
    )
    other = MelRestorer(config)
    other.load_state_dict(net.state_dict())
    expected = factor * net(mel) + offset
    torch.testing.assert_close(other(factor * mel + offset), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "changes",
    [
        {"n_mels": 0},
        {"channels": 0},
        {"layers": -1},
        {"dilations": ()},
        {"dilations": (1, 0)},
        {"mel_scale": 0.0},
    ],
)
def test_sizes_that_make_no_sense(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="mel restorer") as caught:
        dataclasses.replace(SMALL, **changes)
    assert "\n" not in str(caught.value)
