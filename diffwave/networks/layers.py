"""The taps of a dilated convolution, as copies side by side, and how large layers may be."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from diffwave.bounds import integer
from diffwave.errors import InputError

MOST_CHANNELS, MOST_LAYERS, MOST_FRAMES = 1 << 16, 256, 1 << 12
MOST_WEIGHTS = 1_000_000_000
"""Largest width, number of layers, distance in frames and number of weights of any network here:
a damaged configuration shall not build for ever. No vocoder has a tenth of so many weights."""


def check_weights(name: str, count: int) -> None:
    """Raise InputError if matrices of so many numbers cannot be those of the network."""
    if count > MOST_WEIGHTS:
        raise InputError(f"A {name} of these sizes would have {count:,} weights.")


def three_taps(x: Tensor, dilation: int) -> Tensor:
    """Frames t - dilation, t and t + dilation of every frame: [B, T, C] -> [B, T, 3 C].

    `nn.Linear` of this is a dilated convolution of three taps, as the product that processors do
    fastest. Beyond the ends there are zeros.
    """
    frames = x.shape[1]
    padded = F.pad(x, (0, 0, dilation, dilation))
    return torch.cat((padded[:, :frames], x, padded[:, 2 * dilation :]), dim=-1)


def check_dilations(name: str, dilations: Sequence[int]) -> None:
    """Raise InputError unless these are some dilations of a network of that name."""
    integer(f"The number of dilations of the {name}", len(dilations), 1, MOST_LAYERS)
    for dilation in dilations:
        integer(f"A dilation of the {name}", dilation, 1, MOST_FRAMES)
