"""The one unit in which networks see a mel, and the frames beside a frame.

Networks are given log-mels of about zero mean and unit deviation, whatever the convention.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from msgspec import Meta
from torch import Tensor
from torch.nn import functional as F

from diffwave.base.schema import check_fields
from diffwave.mel.config import MelConfig


@dataclass(frozen=True)
class NormaliseConfig:
    """(mel - mean) / scale, in the units of the model's mel convention."""

    mean: Annotated[float, Meta(ge=-1e6, le=1e6)] = -5.0
    scale: Annotated[float, Meta(ge=1e-6, le=1e6)] = 2.5

    def __post_init__(self) -> None:
        check_fields(self, "The mel's ")

    def of(self, mel: MelConfig) -> NormaliseConfig:
        """This, taken to be of natural logarithms, in the units of a convention."""
        return NormaliseConfig(mel.log_factor * self.mean + mel.offset, mel.log_factor * self.scale)

    def __call__(self, mel: Tensor) -> Tensor:
        """Log-mels of the convention, normalised; any shape."""
        return (mel - self.mean) / self.scale


def log_amplitude(mel: Tensor, config: MelConfig) -> Tensor:
    """Natural logarithms of the mel amplitudes of values [..., n_mels, T] of a convention."""
    if config.mean is not None and config.scale is not None:
        mel = mel * mel.new_tensor(config.scale)[:, None] + mel.new_tensor(config.mean)[:, None]
    return (mel - config.offset) / config.log_factor


def scaled_log(amplitude: Tensor, config: MelConfig) -> Tensor:
    """The inverse: values of a convention of mel amplitudes [..., n_mels, T]."""
    mel = config.log_factor * amplitude.clamp(min=config.floor).log() + config.offset
    if config.limits is not None:
        mel = mel.clamp(*config.limits)
    if config.mean is not None and config.scale is not None:
        mel = (mel - mel.new_tensor(config.mean)[:, None]) / mel.new_tensor(config.scale)[:, None]
    return mel


def frame_triples(mel: Tensor) -> Tensor:
    """Frames t-1, t, t+1 side by side, the ends repeated: [B, n_mels, T] -> [B, T, 3 * n_mels]."""
    padded = F.pad(mel, (1, 1), mode="replicate").transpose(1, 2)
    return torch.cat((padded[:, :-2], padded[:, 1:-1], padded[:, 2:]), dim=-1)
