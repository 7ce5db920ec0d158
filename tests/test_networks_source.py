"""The source predictor: its classes of F0, how far it sees, and which sizes it takes."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from diffwave.errors import InputError
from diffwave.networks.source import (
    CLASSES,
    SourcePredictor,
    SourcePredictorConfig,
    classes_of_f0,
    f0_of_classes,
)
from diffwave.spaces.source import HIGHEST_F0, LOWEST_F0

SMALL = SourcePredictorConfig(n_mels=3, bands=2, channels=6, layers=3, dilations=(1, 2))


def make_net(config: SourcePredictorConfig = SMALL) -> SourcePredictor:
    """Without zeros anywhere, so that every input can reach the output."""
    torch.manual_seed(0)
    net = SourcePredictor(config)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return net.requires_grad_(False)


def make_mel(batch: int = 2, frames: int = 15) -> Tensor:
    return torch.randn(batch, 3, frames, generator=torch.Generator().manual_seed(0))


@given(st.floats(LOWEST_F0, HIGHEST_F0))
def test_classes_and_f0_are_inverse(f0: float) -> None:
    classes = classes_of_f0(torch.tensor([f0, f0]))
    assert classes.shape == (2, CLASSES)
    torch.testing.assert_close(classes.sum(-1), torch.ones(2))
    found = f0_of_classes(classes.log())
    assert found[0] == found[1]
    # The mean over few classes is not exact, least at the ends, where one side is cut off.
    cents = 1200 * abs(float(torch.log2(found[0] / f0)))
    inner = LOWEST_F0 * 1.1 < f0 < HIGHEST_F0 / 1.1
    assert cents < (3 if inner else 30)


def test_doubt_between_octaves_gives_the_likelier_one() -> None:
    one, other = classes_of_f0(torch.tensor([110.0, 220.0]))
    found = f0_of_classes((0.6 * one + 0.4 * other).log())
    assert float(found) == pytest.approx(110, rel=2e-3)


def test_what_is_predicted() -> None:
    net, mel = make_net(), make_mel(2, 40)
    classes, voiced, share = net(mel)
    assert (classes.shape, voiced.shape, share.shape) == ((2, 40, CLASSES), (2, 40), (2, 40, 2))
    source = net.predict(mel)
    assert bool(((source.f0 >= LOWEST_F0) & (source.f0 <= HIGHEST_F0)).all())
    assert 0 < int(source.voiced.sum()) < 80
    torch.testing.assert_close(source.share[source.voiced], share.sigmoid()[voiced > 0])
    assert not source.share[~source.voiced].any()


@pytest.mark.parametrize(
    ("changes", "reach"),
    [({}, 5), ({"layers": 1}, 2), ({"dilations": (3,)}, 10)],
)
def test_the_receptive_field_is_exact(changes: dict[str, Any], reach: int) -> None:
    net = make_net(dataclasses.replace(SMALL, **changes))
    assert net.receptive_field == reach
    mel = make_mel(1, 2 * reach + 7)
    middle = reach + 3
    before = net(mel)
    mel[..., middle] += 3
    for outputs, same in zip(net(mel), before, strict=True):
        differ = (outputs != same).reshape(mel.shape[-1], -1).any(-1).nonzero().flatten()
        assert (int(differ[0]), int(differ[-1])) == (middle - reach, middle + reach)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"n_mels": 0}, "n_mels must be an integer of at least 1"),
        ({"bands": 0}, "bands must be an integer of at least 1"),
        ({"channels": 10**18}, "channels must be an integer of at most"),
        ({"layers": 10**12}, "layers must be an integer of at most"),
        ({"dilations": ()}, "dilations"),
        ({"channels": 2**16, "layers": 256}, "weights"),
    ],
)
def test_impossible_sizes_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        dataclasses.replace(SMALL, **change)
