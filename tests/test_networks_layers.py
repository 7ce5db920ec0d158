"""Taps side by side are a dilated convolution."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from diffwave.networks.layers import three_taps


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 3),
    st.integers(1, 12),
    st.integers(1, 4),
    st.integers(1, 9),
    st.integers(0, 2**31),
)
def test_a_product_with_taps_is_a_dilated_convolution(
    batch: int, frames: int, channels: int, dilation: int, seed: int
) -> None:
    """Also of a dilation beyond the ends, where there is nothing but the middle tap."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, frames, channels, generator=generator)
    weight = torch.randn(5, channels, 3, generator=generator)
    taps = three_taps(x, dilation)
    assert taps.shape == (batch, frames, 3 * channels)
    found = F.linear(taps, weight.transpose(1, 2).reshape(5, -1))
    expected = F.conv1d(x.transpose(1, 2), weight, padding=dilation, dilation=dilation)
    torch.testing.assert_close(found, expected.transpose(1, 2), rtol=1e-4, atol=1e-4)


def test_the_middle_of_the_taps_is_the_input() -> None:
    x = torch.arange(1.0, 7.0).view(1, 6, 1)
    expected = torch.tensor([[0, 1, 3], [0, 2, 4], [1, 3, 5], [2, 4, 6], [3, 5, 0], [4, 6, 0.0]])
    assert torch.equal(three_taps(x, 2)[0], expected)
