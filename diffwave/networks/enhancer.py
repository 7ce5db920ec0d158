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

from diffwave.base.schema import check_fields, derived
from diffwave.mel.normalise import NormaliseConfig
from diffwave.networks.layers import Dilations, LayersOrNone, MelNet, Width


@dataclass(frozen=True)
class MelEnhancerConfig:
    """Sizes of :class:`MelEnhancer`."""

    n_mels: Width = derived(80)
    """Mel bands."""
    channels: Width = 144
    """Width; blocks are twice as wide inside."""
    layers: LayersOrNone = 4
    """Residual blocks; a training configuration with 0 means no enhancer."""
    dilations: Dilations = (1, 2, 4)
    """Dilations in frames, repeated over the blocks."""
    normalise: NormaliseConfig | None = None
    """Of its mel, where that is not the network's, as in some early checkpoints."""

    def __post_init__(self) -> None:
        check_fields(self, "The mel enhancer's ")


class MelEnhancer(MelNet):
    """``forward(mel) -> change, gate`` of a normalised log-mel [B, n_mels, T].

    The change [B, n_mels, T] is to be added where the gate is open; the logit of every frame's
    gate, [B, T], says how surely it was smoothed.
    """

    def __init__(self, config: MelEnhancerConfig) -> None:
        super().__init__(config, config.n_mels + 1)
        nn.init.normal_(self.output.weight, std=0.01)
        nn.init.zeros_(self.output.bias)

    def forward(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        change, gate = self.outputs(mel).split((self.config.n_mels, 1), dim=-1)
        return change.transpose(1, 2), gate[..., 0]
