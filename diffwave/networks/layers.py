"""The taps of a dilated convolution, as copies side by side."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def three_taps(x: Tensor, dilation: int) -> Tensor:
    """Frames t - dilation, t and t + dilation of every frame: [B, T, C] -> [B, T, 3 C].

    `nn.Linear` of this is a dilated convolution of three taps, as the product that processors do
    fastest. Beyond the ends there are zeros.
    """
    frames = x.shape[1]
    padded = F.pad(x, (0, 0, dilation, dilation))
    return torch.cat((padded[:, :frames], x, padded[:, 2 * dilation :]), dim=-1)
