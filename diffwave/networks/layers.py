"""The taps of a dilated convolution, as copies side by side, and how large layers may be."""

from __future__ import annotations

from typing import Annotated

import torch
from msgspec import Meta
from torch import Tensor
from torch.nn import functional as F

from diffwave.errors import InputError

Width = Annotated[int, Meta(ge=1, le=1 << 16)]
Layers = Annotated[int, Meta(ge=1, le=256)]
LayersOrNone = Annotated[int, Meta(ge=0, le=256)]
Reach = Annotated[int, Meta(ge=0, le=1 << 12)]
Dilation = Annotated[int, Meta(ge=1, le=1 << 12)]
Dilations = Annotated[tuple[Dilation, ...], Meta(min_length=1, max_length=256)]
MOST_WEIGHTS = 1_000_000_000
"""What sizes and how many weights a network may have: a damaged configuration shall not build for
ever. No vocoder has a tenth of so many weights."""


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
