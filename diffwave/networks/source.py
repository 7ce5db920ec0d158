"""What excites a voice, predicted from its mel: F0, voicing, and the share of pulses by band."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diffwave.base.schema import check_fields, derived
from diffwave.dsp.source import HIGHEST_F0, LOWEST_F0, Source
from diffwave.networks.layers import Dilations, LayersOrNone, MelNet, Width

CENTS = 20  # width of a class of F0
CLASSES = 216  # classes of F0 from :data:`LOWEST_F0` up, 4,320 cents: to 606 Hz
NEAR = 3  # classes on each side of the likeliest that its exact value is the mean of


@dataclass(frozen=True)
class SourcePredictorConfig:
    """Sizes of :class:`SourcePredictor`."""

    n_mels: Width = derived(80)
    """Mel bands."""
    bands: Width = derived(9)
    """Bands of the voiced share; their limits are the space's."""
    channels: Width = 128
    """Width; blocks are twice as wide inside."""
    layers: LayersOrNone = 5
    """Residual blocks; a training configuration with 0 means no source."""
    dilations: Dilations = (1, 2, 4)
    """Dilations in frames, repeated over the blocks."""

    def __post_init__(self) -> None:
        check_fields(self, "The source predictor's ")


class SourcePredictor(MelNet):
    """``forward(mel) -> F0 classes, voicing, shares`` of a normalised log-mel, as logits.

    F0 is a classification in steps of 20 cents, as in CREPE (Kim et al. 2018, arXiv 1802.06182), so
    that doubt between two octaves does not become a pitch between them.
    """

    def __init__(self, config: SourcePredictorConfig) -> None:
        super().__init__(config, CLASSES + 1 + config.bands)

    def forward(self, mel: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[B, n_mels, T] -> [B, T, CLASSES], [B, T] and [B, T, bands]."""
        f0, voiced, share = self.outputs(mel).split((CLASSES, 1, self.config.bands), dim=-1)
        return f0, voiced[..., 0], share

    def predict(self, mel: Tensor) -> Source:
        """The likeliest source of a normalised mel [B, n_mels, T]."""
        classes, voiced, share = self(mel)
        pulses = voiced > 0
        return Source(f0_of_classes(classes), pulses, share.sigmoid() * pulses[..., None])


def f0_of_classes(logits: Tensor) -> Tensor:
    """Hz [...] of the likeliest class and its neighbours, from logits [..., CLASSES]."""
    chances = logits.softmax(-1)
    number = torch.arange(CLASSES, device=logits.device)
    near = (number - chances.argmax(-1, keepdim=True)).abs() <= NEAR
    weights = chances * near
    cents = CENTS * (weights * number).sum(-1) / weights.sum(-1)
    return (LOWEST_F0 * 2 ** (cents / 1200)).clamp(LOWEST_F0, HIGHEST_F0)


def classes_of_f0(f0: Tensor, deviation: float = 1.5) -> Tensor:
    """What a prediction of F0 [...] in Hz should be: a Gaussian over classes, [..., CLASSES].

    deviation: in classes.
    """
    place = 1200 / CENTS * torch.log2(f0.clamp(LOWEST_F0, HIGHEST_F0) / LOWEST_F0)
    number = torch.arange(CLASSES, device=f0.device)
    weights = torch.exp(-0.5 * ((number - place[..., None]) / deviation).square())
    return weights / weights.sum(-1, keepdim=True)
