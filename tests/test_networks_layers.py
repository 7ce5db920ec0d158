"""The trunk of the frame-rate networks, and the two that see nothing but a mel."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from diffwave.dsp.source import HIGHEST_F0, LOWEST_F0
from diffwave.networks import (
    MelEnhancer,
    MelEnhancerConfig,
    SourcePredictor,
    SourcePredictorConfig,
)
from diffwave.networks.layers import MelNet, three_taps
from diffwave.networks.source import CLASSES, classes_of_f0, f0_of_classes

# Both reach 1 + 2 + 1 frames through their blocks, and one more through their input.
SIZES: dict[str, Any] = {"n_mels": 3, "channels": 6, "layers": 3, "dilations": (1, 2)}
ENHANCER = MelEnhancerConfig(**SIZES)
SOURCE = SourcePredictorConfig(bands=2, **SIZES)
both = pytest.mark.parametrize("config", [ENHANCER, SOURCE], ids=["enhancer", "source"])


def make_net(config: Any) -> MelNet:
    """Without zeros anywhere, so that every input can reach the output."""
    torch.manual_seed(0)
    net = (MelEnhancer if isinstance(config, MelEnhancerConfig) else SourcePredictor)(config)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return net.requires_grad_(False)


def make_mel(batch: int, frames: int, n_mels: int = 3, seed: int = 0) -> Tensor:
    return torch.randn(batch, n_mels, frames, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=40)
@given(st.integers(1, 12), st.integers(1, 4), st.integers(1, 9), st.integers(0, 2**31))
def test_a_product_with_taps_is_a_dilated_convolution(
    frames: int, channels: int, dilation: int, seed: int
) -> None:
    """Also of a dilation beyond the ends, where there is nothing but the middle tap."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, frames, channels, generator=generator)
    weight = torch.randn(5, channels, 3, generator=generator)
    found = F.linear(three_taps(x, dilation), weight.transpose(1, 2).reshape(5, -1))
    expected = F.conv1d(x.transpose(1, 2), weight, padding=dilation, dilation=dilation)
    torch.testing.assert_close(found, expected.transpose(1, 2), rtol=1e-4, atol=1e-4)


@both
@pytest.mark.parametrize(
    ("changes", "reach"),
    [({}, 5), ({"layers": 0}, 1), ({"layers": 1}, 2), ({"dilations": (3,)}, 10)],
)
def test_the_receptive_field_is_exact(config: Any, changes: dict[str, Any], reach: int) -> None:
    net = make_net(dataclasses.replace(config, **changes))
    assert net.receptive_field == reach
    middle = reach + 3
    mel = make_mel(1, 2 * middle + 1)
    before = net.outputs(mel)
    mel[..., middle] += 3
    differ = (net.outputs(mel) != before)[0].any(-1).nonzero().flatten()
    assert (int(differ[0]), int(differ[-1])) == (middle - reach, middle + reach)


@both
@settings(max_examples=25)
@given(frames=st.integers(1, 30), seed=st.integers(0, 2**31))
def test_in_a_batch_as_alone_at_any_length(config: Any, frames: int, seed: int) -> None:
    net, mel = make_net(config), make_mel(3, frames, seed=seed)
    for together, *alone in zip(net(mel), *(net(one[None]) for one in mel), strict=True):
        torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-4)


def test_a_new_enhancer_changes_little() -> None:
    torch.manual_seed(0)
    mel = make_mel(2, 15, n_mels=80)
    change, gate = MelEnhancer(MelEnhancerConfig())(mel)
    assert change.shape == mel.shape and gate.shape == (2, 15)
    assert 0 < float(change.detach().abs().mean()) < 0.3


def test_what_is_predicted_of_a_source() -> None:
    net, mel = make_net(SOURCE), make_mel(2, 40)
    classes, voiced, share = net(mel)
    assert (classes.shape, voiced.shape, share.shape) == ((2, 40, CLASSES), (2, 40), (2, 40, 2))
    source = net.predict(mel)  # type: ignore[operator]
    assert bool(((source.f0 >= LOWEST_F0) & (source.f0 <= HIGHEST_F0)).all())
    assert 0 < int(source.voiced.sum()) < 80
    torch.testing.assert_close(source.share[source.voiced], share.sigmoid()[voiced > 0])
    assert not source.share[~source.voiced].any()


@given(st.floats(LOWEST_F0, HIGHEST_F0))
def test_classes_and_f0_are_inverse(f0: float) -> None:
    classes = classes_of_f0(torch.tensor([f0]))
    torch.testing.assert_close(classes.sum(-1), torch.ones(1))
    # The mean over few classes is not exact, least at the ends, where one side is cut off.
    cents = 1200 * abs(float(torch.log2(f0_of_classes(classes.log()) / f0)))
    assert cents < (3 if LOWEST_F0 * 1.1 < f0 < HIGHEST_F0 / 1.1 else 30)


def test_doubt_between_octaves_gives_the_likelier_one() -> None:
    one, other = classes_of_f0(torch.tensor([110.0, 220.0]))
    found = f0_of_classes((0.6 * one + 0.4 * other).log())
    assert float(found) == pytest.approx(110, rel=2e-3)
