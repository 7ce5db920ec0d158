"""A mel enhancer: a small network that gives back to a smoothed mel the detail that it lost.

A model that predicts mels with a squared or absolute error predicts their mean or median: harmonics
run into each other and onsets into what follows. A vocoder that was trained on recordings' mels
takes such valleys for noise between the harmonics, and is right. So the mel is enhanced before
anything is made of it: by a median estimate of the recording's mel, trained on mels that were
smoothed at random (:mod:`diffwave.train.mel_losses`). A gate says frame by frame whether
anything is to be changed; the mel of a recording passes as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from diffwave.bounds import integer
from diffwave.mel.normalise import NormaliseConfig, frame_triples
from diffwave.networks.layers import (
    MOST_CHANNELS,
    MOST_LAYERS,
    check_dilations,
    check_weights,
    three_taps,
)


@dataclass(frozen=True)
class MelEnhancerConfig:
    """Sizes of :class:`MelEnhancer`."""

    n_mels: int = 80
    """Mel bands."""
    channels: int = 144
    """Width; blocks are twice as wide inside."""
    layers: int = 4
    """Residual blocks; a training configuration with 0 means no enhancer."""
    dilations: tuple[int, ...] = (1, 2, 4)
    """Dilations in frames, repeated over the blocks."""
    normalise: NormaliseConfig | None = None
    """Of its mel, where that is not the network's, as in some early checkpoints."""

    def __post_init__(self) -> None:
        integer("The mel enhancer's n_mels", self.n_mels, 1, MOST_CHANNELS)
        integer("The mel enhancer's channels", self.channels, 1, MOST_CHANNELS)
        integer("The mel enhancer's layers", self.layers, 0, MOST_LAYERS)
        check_dilations("mel enhancer", self.dilations)
        inner = 4 * self.n_mels + 8 * self.channels * self.layers
        check_weights("mel enhancer", self.channels * inner)


class MelEnhancer(nn.Module):
    """``forward(mel) -> change, gate`` of a normalised log-mel [B, n_mels, T]."""

    def __init__(self, config: MelEnhancerConfig) -> None:
        super().__init__()
        self.config = config
        c = config.channels
        self.input = nn.Linear(3 * config.n_mels, c)
        self.blocks = nn.ModuleList(
            EnhancerBlock(c, config.dilations[i % len(config.dilations)])
            for i in range(config.layers)
        )
        self.output = nn.Linear(c, config.n_mels + 1)
        nn.init.normal_(self.output.weight, std=0.01)
        nn.init.zeros_(self.output.bias)

    @property
    def receptive_field(self) -> int:
        """Frames on each side of a frame that what is made of it depends on."""
        return 1 + sum(block.dilation for block in self.blocks)  # type: ignore[misc]

    def forward(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        """A change of a normalised mel, and a gate for it.

        Args:
            mel: normalised log-mel [B, n_mels, T].

        Returns:
            what is to be added where the gate is open, [B, n_mels, T], and the logit of every
            frame's gate, [B, T]: how surely it was smoothed.
        """
        h = self.input(frame_triples(mel))
        for block in self.blocks:
            h = block(h)
        change, gate = self.output(F.layer_norm(h, h.shape[-1:])).split(
            (self.config.n_mels, 1), dim=-1
        )
        return change.transpose(1, 2), gate[..., 0]


class EnhancerBlock(nn.Module):
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
