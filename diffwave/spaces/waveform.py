"""The space of DiffWave: samples themselves; the prior may follow the energy of the mel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from diffwave.bounds import integer, real
from diffwave.errors import InputError
from diffwave.mel import MelConfig, MelSpectrogram
from diffwave.spaces.base import Prior, Space, SpaceConfig
from diffwave.spaces.source import Excitation


@dataclass(frozen=True)
class EnergyPrior:
    """Standard deviation of PriorGrad's prior, sigma = sqrt(level / peak) within floor .. 1.

    Source: Lee et al. 2022, arXiv 2106.06406, section 4: the root of the sum of a frame's mel
    amplitudes, normalised to at most 1, and at least 0.1. The level here is the mean over bands of
    the amplitude, in units of what white noise of variance 1 has there, so that it does not depend
    on the mel convention.
    """

    floor: float = 1.0
    """Smallest standard deviation; 1 is unit noise everywhere, DiffWave's own prior."""
    peak: float = 0.22
    """Level from which on the deviation is 1: the energy of 4 that the paper's authors divide by,
    for the `hifigan` convention."""

    def __post_init__(self) -> None:
        real("An energy prior's floor", self.floor, 1e-6, 1)
        real("An energy prior's peak", self.peak, 1e-6, 1e6)


@dataclass(frozen=True)
class WaveformConfig(SpaceConfig):
    """Samples, a frame of the mel every `hop_length` of them."""

    kind: ClassVar[str] = "waveform"

    hop_length: int = 256
    """Samples from frame to frame of the mel."""
    prior: EnergyPrior = EnergyPrior()

    def __post_init__(self) -> None:
        integer("The space's hop_length", self.hop_length, 1, 1 << 20)

    @classmethod
    def of(cls, mel: MelConfig, prior: EnergyPrior = EnergyPrior()) -> WaveformConfig:
        """The samples of a mel's frames."""
        return cls(mel.hop_length, prior)

    def context(self, frames: int) -> int:
        """Samples of so many frames: none beside their own."""
        return frames * self.hop_length

    def check(self, mel: MelConfig, n_iter: int) -> None:
        """Raise InputError for another hop_length, or mel-consistency iterations."""
        if self.hop_length != mel.hop_length:
            raise InputError("The space's hop_length is not the mel frontend's.")
        if n_iter:
            raise InputError(
                "Mel-consistency iterations need a spectral space, not a chain on samples."
            )


class WaveformSpace(Space):
    """Coordinates = samples [B, T * hop_length].

    The squared error of the state is PriorGrad's (its Mahalanobis norm) of the samples.
    """

    of_samples = True
    config: WaveformConfig

    def __init__(self, config: WaveformConfig, frontend: MelSpectrogram) -> None:
        super().__init__(config, frontend)

    def analyse(self, wave: Tensor) -> Tensor:
        """Samples are their own coordinates."""
        return wave

    def synthesise(self, coordinates: Tensor, mel: Tensor, n_iter: int) -> Tensor:
        """The same."""
        return coordinates

    def prior(self, mel: Tensor, excitation: Excitation | None = None) -> Prior:
        """Zero mean; a deviation [B, T * hop_length] that steps from frame to frame, or 1.

        Raises:
            InputError: for an excitation: samples have no use for one here.
        """
        if excitation is not None:
            raise InputError("A chain on samples takes no source.")
        zero, energy = torch.zeros((), device=mel.device), self.config.prior
        if energy.floor == 1:
            return Prior(zero, torch.ones_like(zero), torch.ones_like(zero))
        level = (self.frontend.amplitude(mel) / self.frontend.white_amplitude).mean(1)
        sigma = (level / energy.peak).sqrt().clamp(energy.floor, 1)
        sigma = sigma.repeat_interleave(self.hop_length, dim=-1)
        return Prior(zero, sigma, sigma)

    def mel_of_crop(self, wave: Tensor) -> Tensor:
        """Mel of samples that bring no context; a centred one has a frame more than the crop."""
        return self.frontend(wave)[..., : wave.shape[1] // self.hop_length].contiguous()

    def reach(self, receptive_field: int, steps: int, n_iter: int) -> int:
        """The network's samples in whole frames, and two for its upsampling of the mel."""
        return steps * -(-receptive_field // self.hop_length) + 2

    def loss_weights(self, curve: Sequence[tuple[float, float]]) -> Tensor:
        """A sample has no frequency: 1."""
        return torch.ones(())

    def mean_error(self, error: Tensor, weights: Tensor, edge_frames: int) -> Tensor:
        """Mean over all samples, [B]."""
        return error.flatten(1).mean(1)
