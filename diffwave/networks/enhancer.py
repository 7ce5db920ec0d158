"""A small network that gives back to a smoothed mel the detail that it lost.

A model that predicts mels with a squared or absolute error predicts their mean or median: harmonics
run into each other and onsets into what follows. A vocoder that was trained on recordings' mels
takes such valleys for noise between the harmonics, and is right. So the mel is restored before
anything is made of it: by a median estimate of the recording's mel, trained on mels that were
smoothed at random (:mod:`diffwave.train.restoration`). A gate says frame by frame whether
anything is to be restored; the mel of a recording passes as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffwave.errors import InputError
from diffwave.networks.layers import three_taps


@dataclass(frozen=True)
class MelRestorerConfig:
    """Sizes of :class:`MelRestorer`."""

    n_mels: int = 80
    """Mel bands."""
    channels: int = 144
    """Width; blocks are twice as wide inside."""
    layers: int = 4
    """Residual blocks; a training configuration with 0 means no restorer."""
    dilations: tuple[int, ...] = (1, 2, 4)
    """Dilations in frames, repeated over the blocks."""
    mel_mean: float = -5.0
    """Subtracted from the log-mel before it enters."""
    mel_scale: float = 2.5
    """The log-mel is divided by this, and what is restored multiplied by it."""

    def __post_init__(self) -> None:
        if min(self.n_mels, self.channels, *self.dilations, self.layers + 1) < 1:
            raise InputError(f"Every size of the mel restorer must be at least 1: {self}.")
        if not self.dilations or self.mel_scale == 0:
            raise InputError(f"A mel restorer needs dilations and a mel_scale: {self}.")


class MelRestorer(nn.Module):
    """``forward(mel) -> mel``, log-mels [B, n_mels, T]; a gate closed is the identity."""

    def __init__(self, config: MelRestorerConfig) -> None:
        super().__init__()
        self.config = config
        c = config.channels
        self.input = nn.Linear(3 * config.n_mels, c)
        self.blocks = nn.ModuleList(
            RestorerBlock(c, config.dilations[i % len(config.dilations)])
            for i in range(config.layers)
        )
        self.output = nn.Linear(c, config.n_mels + 1)
        nn.init.normal_(self.output.weight, std=0.01)
        nn.init.zeros_(self.output.bias)

    @property
    def receptive_field(self) -> int:
        """Frames on each side of a frame that what is made of it depends on."""
        return 1 + sum(block.dilation for block in self.blocks)  # type: ignore[misc]

    def forward(self, mel: Tensor) -> Tensor:
        """The mel with its detail, [B, n_mels, T]."""
        return self.restore(mel)[0]

    def restore(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        """The same, and the logit of every frame's gate, [B, T]: how surely it was smoothed."""
        x = (mel - self.config.mel_mean) / self.config.mel_scale
        x = F.pad(x, (1, 1), mode="replicate").transpose(1, 2)
        h = self.input(three_taps(x, 1)[:, 1:-1])
        for block in self.blocks:
            h = block(h)
        change, gate = self.output(F.layer_norm(h, h.shape[-1:])).split(
            (self.config.n_mels, 1), dim=-1
        )
        change = self.config.mel_scale * torch.sigmoid(gate) * change
        return mel + change.transpose(1, 2), gate[..., 0]


class RestorerBlock(nn.Module):
    """Pre-norm residual block: three dilated taps to twice the width, GELU, back."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.taps = nn.Linear(3 * channels, 2 * channels)
        self.out = nn.Linear(2 * channels, channels)
        nn.init.normal_(self.out.weight, std=0.02)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, C] -> [B, T, C]."""
        h = three_taps(F.layer_norm(x, x.shape[-1:]), self.dilation)
        return x + self.out(F.gelu(self.taps(h)))
