"""The trunk that all frame-rate networks share.

Everything is `nn.Linear` on (batch, time, channel): a dilated convolution is a product with shifted
copies side by side, which is what processors do fastest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import torch
from msgspec import Meta
from torch import Tensor, nn
from torch.nn import functional as F

from diffwave.mel.normalise import frame_triples

Width = Annotated[int, Meta(ge=1, le=1 << 16)]
Layers = Annotated[int, Meta(ge=1, le=256)]
LayersOrNone = Annotated[int, Meta(ge=0, le=256)]
Reach = Annotated[int, Meta(ge=0, le=1 << 12)]
Dilation = Annotated[int, Meta(ge=1, le=1 << 12)]
Dilations = Annotated[tuple[Dilation, ...], Meta(min_length=1, max_length=256)]


def three_taps(x: Tensor, dilation: int) -> Tensor:
    """Frames t - dilation, t and t + dilation of every frame: [B, T, C] -> [B, T, 3 C].

    Beyond the ends there are zeros.
    """
    frames = x.shape[1]
    padded = F.pad(x, (0, 0, dilation, dilation))
    return torch.cat((padded[:, :frames], x, padded[:, 2 * dilation :]), dim=-1)


class Block(nn.Module):
    """Pre-norm residual block: three dilated taps to twice the width, GELU, back.

    With a `level_width` it takes scale, shift and gate from an embedding of the noise level.
    """

    def __init__(self, channels: int, dilation: int, std: float, level_width: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.modulate = nn.Linear(level_width, 3 * channels) if level_width else None
        self.taps = nn.Linear(3 * channels, 2 * channels)
        self.out = nn.Linear(2 * channels, channels)
        nn.init.normal_(self.out.weight, std=std)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, mel: Tensor | None = None, level: Tensor | None = None) -> Tensor:
        """x [B, T, C], mel [B, T, 2C], level [B, 1, level_width] -> [B, T, C]."""
        h, gate = F.layer_norm(x, x.shape[-1:]), None
        if self.modulate is not None:
            scale, shift, gate = self.modulate(level).chunk(3, dim=-1)
            h = torch.addcmul(shift, h, 1 + scale)
        h = self.taps(three_taps(h, self.dilation))
        h = self.out(F.gelu(h if mel is None else h + mel))
        return x + h if gate is None else torch.addcmul(x, 1 + gate, h)


class Blocks(nn.ModuleList):
    """The residual blocks of a trunk, whose dilations repeat.

    std: of the weights that lead back into the residual stream, at first.
    """

    def __init__(
        self,
        channels: int,
        layers: int,
        dilations: Sequence[int],
        std: float = 0.02,
        level_width: int = 0,
    ) -> None:
        cycle = [dilations[i % len(dilations)] for i in range(layers)]
        super().__init__(Block(channels, dilation, std, level_width) for dilation in cycle)
        self.reach = sum(cycle)  # frames on each side of a frame that its output depends on


class MelNet(nn.Module):
    """A trunk that sees nothing but a normalised log-mel; `config` has its sizes."""

    def __init__(self, config: Any, outputs: int) -> None:
        super().__init__()
        self.config = config
        self.input = nn.Linear(3 * config.n_mels, config.channels)
        self.blocks = Blocks(config.channels, config.layers, config.dilations)
        self.output = nn.Linear(config.channels, outputs)
        self.receptive_field = 1 + self.blocks.reach
        """Frames on each side of a frame that what is made of it depends on."""

    def outputs(self, mel: Tensor) -> Tensor:
        """[B, n_mels, T] -> [B, T, outputs]."""
        h = self.input(frame_triples(mel))
        for block in self.blocks:
            h = block(h)
        return self.output(F.layer_norm(h, h.shape[-1:]))  # type: ignore[no-any-return]
