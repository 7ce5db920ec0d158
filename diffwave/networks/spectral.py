"""The frame-rate network of the `spectral` space: dilated convolutions that predict a filter.

At every mel frame the network looks at the noisy state through features that do not change with
the absolute phase, runs them through residual blocks of dilated convolutions, and predicts for
every bin a short complex filter. The filter, applied to the noisy state itself, is the prediction:
the optimal denoiser of a locally stationary signal is such a filter, so the network never has to
learn absolute phase (compare "deep filtering", Mack and Habets 2019, arXiv 1904.08369).
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffwave.base.schema import derived
from diffwave.mel import MelConfig
from diffwave.mel.normalise import frame_triples
from diffwave.networks.base import Network, NetworkConfig
from diffwave.networks.layers import Blocks, Dilations, Layers, Reach, Width
from diffwave.spaces import Prior, SpaceConfig


@dataclass(frozen=True)
class SpectralNetConfig(NetworkConfig):
    """Sizes of :class:`SpectralNet`."""

    kind: ClassVar[str] = "spectral"
    space: ClassVar[str] = "spectral"

    n_mels: Width = derived(80)
    """Mel bands of the condition."""
    bins: Width = derived(512)
    """Complex bins of the state."""
    channels: Width = 192
    """Width of the trunk; blocks are twice as wide inside."""
    layers: Layers = 8
    """Residual blocks."""
    dilations: Dilations = (1, 2, 4)
    """Dilations in frames, repeated over the blocks."""
    time_reach: Reach = 2
    """The filter covers the frames t - time_reach .. t + time_reach of its own bin."""
    bin_reach: Reach = 1
    """The filter covers the bins k - bin_reach .. k + bin_reach of its own frame."""
    level_width: Width = 64
    """Width of the embedding of the noise level."""
    source: bool = derived(False)
    """Whether the prior's mean, a pulse source, is an input, and is filtered as well."""
    source_time_reach: Reach = 1
    """As time_reach, of the filter on the source."""
    source_bin_reach: Reach = 1
    """As bin_reach, of the filter on the source."""

    def of(self, mel: MelConfig, space: SpaceConfig) -> SpectralNetConfig:
        bins, source = mel.n_fft // 2, bool(space.source_bands)
        return dataclasses.replace(self, n_mels=mel.n_mels, bins=bins, source=source)

    @property
    def taps(self) -> int:
        """Complex filter taps per bin, those on the source included."""
        taps = 2 * (self.time_reach + self.bin_reach) + 1
        return taps + self.source * (2 * (self.source_time_reach + self.source_bin_reach) + 1)


class SpectralNet(Network):
    """Prediction for a whitened STFT state: ``forward(x_t, t, mel) -> v`` of the same shape."""

    config: SpectralNetConfig
    frequencies: Tensor

    def __init__(self, config: SpectralNetConfig) -> None:
        super().__init__()
        self.config = config
        c, width = config.channels, config.level_width
        turns = torch.linspace(0.5, 16, width // 2)
        if not config.source:  # networks without one were trained with octaves
            turns = 2.0 ** torch.linspace(-1, 7, width // 2)
        self.register_buffer("frequencies", turns * math.pi, persistent=False)
        self.level = nn.Sequential(
            nn.Linear(width // 2 * 2, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
        )
        self.input = nn.Linear((8 if config.source else 5) * config.bins, c)
        self.mel = nn.Linear(3 * config.n_mels, c + 2 * c * config.layers)
        std = 0.02 / math.sqrt(c / 256)
        self.blocks = Blocks(c, config.layers, config.dilations, std, width)
        self.modulate = nn.Linear(width, 2 * c)
        self.filter = nn.Linear(c, 2 * config.taps * config.bins)
        nn.init.zeros_(self.filter.weight)
        nn.init.zeros_(self.filter.bias)
        reaches = config.time_reach, config.source_time_reach, self.blocks.reach + 1
        self.receptive_field = max(reaches)  # of state and mel alike

    def condition(self, mel: Tensor | None) -> Tensor:
        """Projections of the normalised mel [B, n_mels, T], [B, T, channels * (2 layers + 1)]."""
        assert mel is not None
        return self.mel(frame_triples(mel))  # type: ignore[no-any-return]

    def forward(
        self,
        x_t: Tensor,
        t: Tensor,
        mel: Tensor | None = None,
        prior: Prior | None = None,
        cond: Tensor | None = None,
    ) -> Tensor:
        """v = cos(pi t / 2) eps - sin(pi t / 2) x_0 for a noisy whitened state [B, T, 2, bins].

        The noise level t [B] is an angle in quarter turns: x_t = cos(pi t / 2) x_0 + sin(pi t / 2)
        eps. A network with a source needs the prior, whose mean is that source.
        """
        config = self.config
        cond = self.condition(mel) if cond is None else cond
        if not config.source:
            near = neighbours(x_t, config.time_reach, config.bin_reach)
            return apply_filter(self._taps(phase_invariant_features(x_t), t, cond), near)
        assert prior is not None
        # The signal and its source in one unit, that of the envelope, in which pulses stay pulses.
        source, noise = prior.mean / prior.envelope, prior.deviation / prior.envelope
        x = source + noise * x_t
        features = torch.cat((phase_invariant_features(x), source_features(x, source)), dim=-1)
        near = neighbours(x, config.time_reach, config.bin_reach)
        near += neighbours(source, config.source_time_reach, config.source_bin_reach)
        return apply_filter(self._taps(features, t, cond), near) / noise

    def _taps(self, features: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        """The trunk: features [B, T, ..] to filter taps [B, T, taps * 2 * bins]."""
        angles = t[:, None] * self.frequencies
        level = self.level(torch.cat((angles.sin(), angles.cos()), dim=-1))[:, None]
        c = self.config.channels
        first, *inside = cond.split([c, *[2 * c] * len(self.blocks)], dim=-1)
        h = self.input(features) + first
        for block, mel in zip(self.blocks, inside, strict=True):
            h = block(h, mel, level)
        scale, shift = self.modulate(level).chunk(2, dim=-1)
        return self.filter(torch.addcmul(shift, F.layer_norm(h, (c,)), 1 + scale))


def neighbours(x: Tensor, time_reach: int, bin_reach: int) -> list[Tensor]:
    """Bins [B, T, 2, K] of the frames t - time_reach .. t + time_reach, then the other bins near.

    Beyond the ends there are zeros.
    """
    frames, bins = x.shape[1], x.shape[3]
    in_time = F.pad(x, (0, 0, 0, 0, time_reach, time_reach))
    in_bins = F.pad(x, (bin_reach, bin_reach))
    return [in_time[:, i : i + frames] for i in range(2 * time_reach + 1)] + [
        in_bins[..., i : i + bins] for i in range(2 * bin_reach + 1) if i != bin_reach
    ]


def apply_filter(taps: Tensor, near: list[Tensor]) -> Tensor:
    """Sum of complex taps [B, T, taps * 2 * K] times the neighbours [B, T, 2, K] of every bin."""
    batch, frames, _, bins = near[0].shape
    taps = taps.view(batch, frames, len(near), 2, bins).float()
    real = imag = torch.zeros_like(near[0][:, :, 0])
    for (a, b), (re, im) in zip(
        (tap.unbind(2) for tap in taps.unbind(2)), (x.unbind(2) for x in near), strict=True
    ):
        real = torch.addcmul(torch.addcmul(real, a, re), b, im, value=-1)
        imag = torch.addcmul(torch.addcmul(imag, a, im), b, re)
    return torch.stack((real, imag), dim=2)


def phase_invariant_features(x: Tensor) -> Tensor:
    """What a bin says without its absolute phase: [B, T, 2, K] -> [B, T, 5K].

    Its log-power; the product with the previous frame's conjugate (how far the phase advanced: the
    instantaneous frequency) and with the lower neighbour's (where in the frame the energy lies: the
    group delay), both divided by their magnitudes.
    """
    unit, log_power = _direction(x, 1e-4)
    previous = F.pad(unit, (0, 0, 0, 0, 1, 0))[:, :-1]
    below = F.pad(unit, (1, 0))[..., :-1]
    return torch.cat((log_power, *_turn(unit, previous), *_turn(unit, below)), dim=-1)


def source_features(x: Tensor, source: Tensor) -> Tensor:
    """What a bin says of its source: [B, T, 2, K] twice -> [B, T, 3K].

    The source's log-power, and the state's phase relative to the source's, as cosine and sine.
    """
    unit, _ = _direction(x, 1e-4)
    source_unit, log_power = _direction(source, 1e-2)
    return torch.cat((log_power, *_turn(unit, source_unit)), dim=-1)


def _direction(x: Tensor, floor: float) -> tuple[Tensor, Tensor]:
    """Bins [B, T, 2, K] over their magnitudes, and the log of these; the floor is of the power."""
    power = x.square().sum(2) + floor
    return x / power.sqrt()[:, :, None], 0.5 * power.log()


def _turn(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Real and imaginary part of x times the conjugate of y, both [B, T, 2, K]."""
    (re, im), (re_y, im_y) = x.unbind(2), y.unbind(2)
    return re * re_y + im * im_y, im * re_y - re * im_y
