"""A recording, as it is trained on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffwave.data.source import Track


@dataclass
class Clip:
    """One recording."""

    name: str
    samples: NDArray[np.int16]
    """[L], in memory or a read-only view of a mapped file."""
    mel: NDArray[np.float32] | None = None
    """[n_mels, T] of the L = T * hop_length samples, of whoever made it; None: the recording's
    own is meant."""
    source: Track | None = None
    """What excites it, where a source is trained."""
    polarity: int = 1
    """-1: its pulses point down."""

    def wave(self) -> Tensor:
        """Samples in -1 .. 1, float32, [L]."""
        return torch.from_numpy(self.samples.astype(np.float32) / 32768)
