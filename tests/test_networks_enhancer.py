"""The mel enhancer: what its gate passes, how far it sees, and which sizes it takes."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from diffwave.errors import InputError
from diffwave.networks.enhancer import MelEnhancer, MelEnhancerConfig

SMALL = MelEnhancerConfig(n_mels=3, channels=6, layers=3, dilations=(1, 2))
"""Reaches 1 + 2 + 1 frames through its blocks, and one more through its input."""


def make_net(config: MelEnhancerConfig = SMALL) -> MelEnhancer:
    """Without zeros anywhere, so that every input can reach the output; the gate half open."""
    torch.manual_seed(0)
    net = MelEnhancer(config)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return net.requires_grad_(False)


def make_mel(batch: int = 2, frames: int = 15, n_mels: int = 3, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, n_mels, frames, generator=generator)


def test_a_new_one_changes_little() -> None:
    torch.manual_seed(0)
    change, _ = MelEnhancer(MelEnhancerConfig())(make_mel(n_mels=80))
    assert 0 < float(change.detach().abs().mean()) < 0.3


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
    change, gate = net(mel)
    (change[0, :, middle].sum() + gate[0, middle]).backward()
    assert mel.grad is not None
    heard = mel.grad[0].abs().sum(0) > 0
    expected = [abs(frame - middle) <= reach for frame in range(mel.shape[-1])]
    assert heard.tolist() == expected


def test_a_change_beyond_the_receptive_field_changes_nothing() -> None:
    net = make_net()
    mel = make_mel(1, 30)
    before = net(mel)[0][..., 12]
    for frame, heard in ((12 - 6, False), (12 + 6, False), (12 - 5, True), (12 + 5, True)):
        other = mel.clone()
        other[..., frame] += 3
        same = torch.allclose(net(other)[0][..., 12], before, rtol=0, atol=1e-6)
        assert same is not heard, frame


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 4), st.integers(1, 30), st.integers(0, 2**31))
def test_in_a_batch_as_alone_at_any_length(batch: int, frames: int, seed: int) -> None:
    net, mel = make_net(), make_mel(batch, frames, seed=seed)
    change, gate = net(mel)
    assert change.shape == mel.shape and gate.shape == (batch, frames)
    for i, alone in enumerate(mel):
        torch.testing.assert_close(change[i], net(alone[None])[0][0], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(gate[i], net(alone[None])[1][0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "changes",
    [
        {"n_mels": 0},
        {"channels": 0},
        {"layers": -1},
        {"dilations": ()},
        {"dilations": (1, 0)},
        {"layers": 10**12},
        {"dilations": (10**18,)},
    ],
)
def test_sizes_that_make_no_sense(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="mel enhancer") as caught:
        dataclasses.replace(SMALL, **changes)
    assert "\n" not in str(caught.value)
