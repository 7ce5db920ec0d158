"""What a space is: linear coordinates of a signal in which the chain runs.

The forward chain adds isotropic Gaussian noise, so it may run in any linear coordinates in which
white noise is easy to draw. For a mel-spectrogram a space also knows where the chain ends, its
`Prior` N(mean, deviation^2):

    x_t = mean + sqrt(alpha_bar) (x_0 - mean) + sqrt(1 - alpha_bar) deviation z.

Everything above (the denoiser, the losses, the samplers) sees the state (x - mean) / deviation,
whose chain ends in unit noise (PriorGrad, Lee et al. 2022, arXiv 2106.06406); :meth:`Space.encode`
and :meth:`Space.decode` are the only places that know of the change.

All speak of a signal of `T` mel frames. Waves and white noise carry the whole context of their
frames, `context(T)` samples, `pad_left` of them before the first sample of frame 0; what is
decoded has exactly `T * hop_length` samples. Nothing depends on the absolute position in time, so
pieces of a signal can be treated apart.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import ClassVar, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from diffwave.base.errors import InputError
from diffwave.base.schema import check_fields
from diffwave.mel import MelConfig, MelSpectrogram
from diffwave.spaces.source import Excitation


class Prior(NamedTuple):
    """The end of the chain for a mel, in the space's own coordinates; all broadcast."""

    mean: Tensor
    deviation: Tensor
    envelope: Tensor
    """Deviation that mean and noise have together: what a signal is expected to have."""


class SpaceConfig(ABC):
    """Geometry of a space; a frozen dataclass, whose sizes are derived from the mel's."""

    kind: ClassVar[str]
    hop_length: int
    pad_left: int = 0
    """Samples of frame 0 that lie before the first sample of the signal."""
    source_bands: tuple[float, ...] = ()
    """Hz, limits of the bands of a source's voiced share; none: the prior has no source."""

    def __post_init__(self) -> None:
        check_fields(self, "The space's ")

    @abstractmethod
    def of(self, mel: MelConfig) -> Self:
        """This with the sizes of a mel's frames."""

    @abstractmethod
    def context(self, frames: int) -> int:
        """Number of samples that `frames` frames span."""

    @abstractmethod
    def check(self, mel: MelConfig, n_iter: int) -> None:
        """Raise InputError unless so many mel-consistency iterations are possible."""


class Space(nn.Module, ABC):
    """Coordinates of a signal; see the module."""

    needs_fit: ClassVar[bool] = False
    """Whether :meth:`fit` is to be given a corpus before the space is used."""
    of_samples: ClassVar[bool] = False
    """Whether the coordinates are the samples, so that a bound of the chain counts their bits."""
    config: SpaceConfig

    def __init__(self, config: SpaceConfig, frontend: MelSpectrogram) -> None:
        """`frontend` makes the mels that the space is asked about."""
        super().__init__()
        self.config, self.frontend = config, frontend
        self.hop_length, self.pad_left = config.hop_length, config.pad_left

    def context(self, frames: int) -> int:
        """Number of samples that `frames` frames span."""
        return self.config.context(frames)

    @abstractmethod
    def analyse(self, wave: Tensor) -> Tensor:
        """Coordinates of samples [B, context(T)]; unit white noise has unit variance in them."""

    @abstractmethod
    def synthesise(self, coordinates: Tensor, mel: Tensor, n_iter: int) -> Tensor:
        """Samples [B, T * hop_length] of coordinates, after mel-consistency iterations."""

    @abstractmethod
    def prior(self, mel: Tensor, excitation: Excitation | None = None) -> Prior:
        """Where the chain ends for a mel [B, n_mels, T], and its source, of spaces that take one.

        Raises:
            InputError: for an excitation that the space does not take, or without one that it
                needs.
        """

    def encode(self, wave: Tensor, mel: Tensor, prior: Prior | None = None) -> Tensor:
        """State of samples [B, context(T)] and their mel [B, n_mels, T], of a prior if known."""
        prior = self.prior(mel) if prior is None else prior
        return (self.analyse(wave) - prior.mean) / prior.deviation

    def decode(
        self, state: Tensor, mel: Tensor, n_iter: int = 0, prior: Prior | None = None
    ) -> Tensor:
        """Samples [B, T * hop_length] of a state and its mel, after mel-consistency iterations."""
        prior = self.prior(mel) if prior is None else prior
        return self.synthesise(state * prior.deviation + prior.mean, mel, n_iter)

    def noise(self, white: Tensor) -> Tensor:
        """State of the chain's end, from unit white noise [B, context(T)]."""
        return self.analyse(white)

    @abstractmethod
    def mel_of_crop(self, wave: Tensor) -> Tensor:
        """Mel [B, n_mels, T] of crops of `context(T)` samples."""

    @abstractmethod
    def reach(self, receptive_field: int, steps: int, n_iter: int) -> int:
        """Frames on each side of a frame that its samples depend on.

        Args:
            receptive_field: of the network, in its own units (frames, or samples).
            steps: network calls.
            n_iter: mel-consistency iterations after them.
        """

    @abstractmethod
    def loss_weights(self, curve: Sequence[tuple[float, float]]) -> Tensor:
        """Weights of the coordinates for a curve of (Hz, weight), of mean 1."""

    @abstractmethod
    def mean_error(self, error: Tensor, weights: Tensor, edge_frames: int) -> Tensor:
        """Mean [B] of squared errors of a state, weighted, without the frames at either end."""

    def fit(self, examples: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Learn from pairs of samples [B, context(T)] and their mel; of spaces that need it.

        Raises:
            InputError: when there is no example, or nothing to learn.
        """
        raise InputError("This space has nothing to learn from a corpus.")


def curve_at(hz: NDArray[np.floating], curve: Sequence[tuple[float, float]]) -> Tensor:
    """A curve of (Hz, weight), interpolated at frequencies [K], scaled to mean 1, [K]."""
    at, weight = zip(*curve, strict=True)
    weights = torch.from_numpy(np.interp(hz, at, weight)).float()
    return weights / weights.mean()
