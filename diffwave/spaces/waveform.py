"""The space of DiffWave: samples themselves; the prior may follow the energy of the mel."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from msgspec import Meta
from torch import Tensor

from diffwave.base.errors import InputError
from diffwave.base.schema import check_fields, derived
from diffwave.mel import MelConfig
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

    floor: Annotated[float, Meta(ge=1e-6, le=1)] = 1.0
    """Smallest standard deviation; 1 is unit noise everywhere, DiffWave's own prior."""
    peak: Annotated[float, Meta(ge=1e-6, le=1e6)] = 0.22
    """Level from which on the deviation is 1: the energy of 4 that the paper's authors divide by,
    for the `hifigan` convention."""

    def __post_init__(self) -> None:
        check_fields(self, "An energy prior's ")


@dataclass(frozen=True)
class WaveformConfig(SpaceConfig):
    """Samples, a frame of the mel every `hop_length` of them."""

    kind: ClassVar[str] = "waveform"

    hop_length: Annotated[int, Meta(ge=1, le=1 << 20)] = derived(256)
    """Samples from frame to frame of the mel."""
    prior: EnergyPrior = EnergyPrior()

    def of(self, mel: MelConfig) -> WaveformConfig:
        return dataclasses.replace(self, hop_length=mel.hop_length)

    def context(self, frames: int) -> int:
        return frames * self.hop_length

    def check(self, mel: MelConfig, n_iter: int) -> None:
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

    def analyse(self, wave: Tensor) -> Tensor:
        return wave

    def synthesise(self, coordinates: Tensor, mel: Tensor, n_iter: int) -> Tensor:
        return coordinates

    def prior(self, mel: Tensor, excitation: Excitation | None = None) -> Prior:
        """Zero mean; a deviation [B, T * hop_length] that steps from frame to frame, or 1."""
        if excitation is not None:
            raise InputError("A chain on samples takes no source.")
        zero, energy = torch.zeros((), device=mel.device), self.config.prior
        if energy.floor == 1:
            return Prior(zero, torch.ones_like(zero), torch.ones_like(zero))
        white = self.frontend.unit_filterbank.sum(1, keepdim=True)
        level = (self.frontend.amplitude(mel) / white).mean(1)
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
        return torch.ones(())  # a sample has no frequency

    def mean_error(self, error: Tensor, weights: Tensor, edge_frames: int) -> Tensor:
        return error.flatten(1).mean(1)
