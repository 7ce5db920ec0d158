"""The source of speech (:mod:`diffwave.dsp.source`) as tensors."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from diffwave.dsp import source
from diffwave.dsp.source import Pulses


class Excitation(NamedTuple):
    """A source, for the frames of a stretch of the signal."""

    pulses: Tensor  # pulse train [B, context(T)]
    share: Tensor  # as of :class:`diffwave.dsp.source.Source`, [B, T, bands]


def pulse_train(pulses: Pulses, start: int, length: int) -> Tensor:
    """As :func:`diffwave.dsp.source.pulse_train`: samples start .. start + length - 1, [length]."""
    return torch.from_numpy(source.pulse_train(pulses, start, length))
