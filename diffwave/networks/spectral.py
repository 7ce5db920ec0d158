"""The frame-rate network of the `spectral` space: dilated convolutions that predict a filter.

At every mel frame the network looks at the noisy state through features that do not change with
the absolute phase, runs them through residual blocks of dilated convolutions, and predicts for
every bin a short complex filter. The filter, applied to the noisy state itself, is the prediction:
the optimal denoiser of a locally stationary signal is such a filter, so the network never has to
learn absolute phase (compare "deep filtering", Mack and Habets 2019, arXiv 1904.08369).

Everything is `nn.Linear` on (batch, time, channel): a dilated convolution is a product with shifted
copies side by side, which is what processors do fastest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffwave.errors import InputError
from diffwave.mel.normalise import frame_triples
from diffwave.networks.base import Network, NetworkConfig
from diffwave.networks.layers import Dilations, Layers, Reach, Width, check_weights, three_taps
from diffwave.schema import check_fields
from diffwave.spaces import Prior, SpaceConfig


@dataclass(frozen=True)
class SpectralNetConfig(NetworkConfig):
    """Sizes of :class:`SpectralNet`."""

    kind: ClassVar[str] = "spectral"
    space: ClassVar[str] = "spectral"

    n_mels: Width = 80
    """Mel bands of the condition."""
    bins: Width = 512
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
    source: bool = False
    """Whether the prior's mean, a pulse source, is an input, and is filtered as well."""
    source_time_reach: Reach = 1
    """As time_reach, of the filter on the source."""
    source_bin_reach: Reach = 1
    """As bin_reach, of the filter on the source."""

    def __post_init__(self) -> None:
        check_fields(self, "The spectral network's ")
        ends = (8 if self.source else 5) * self.bins + 3 * self.n_mels + 2 * self.taps * self.bins
        block = 8 * self.channels + 6 * self.n_mels + 3 * self.level_width
        check_weights("spectral network", self.channels * (ends + self.layers * block))

    def check(self, space: SpaceConfig) -> None:
        """Raise InputError for a space of another number of bins, or with another source."""
        bins = getattr(space, "bins", None)
        if self.source != bool(getattr(space, "source_bands", ())):
            raise InputError("A network and its space have a source both, or neither.")
        if self.bins != bins:
            raise InputError(f"The network has {self.bins} bins, the space {bins}.")

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
        c = config.channels
        turns = torch.linspace(0.5, 16, config.level_width // 2)
        if not config.source:  # networks without one were trained with octaves
            turns = 2.0 ** torch.linspace(-1, 7, config.level_width // 2)
        self.register_buffer("frequencies", turns * math.pi, persistent=False)
        self.level = nn.Sequential(
            nn.Linear(config.level_width // 2 * 2, config.level_width),
            nn.SiLU(),
            nn.Linear(config.level_width, config.level_width),
            nn.SiLU(),
        )
        self.input = nn.Linear((8 if config.source else 5) * config.bins, c)
        self.mel = nn.Linear(3 * config.n_mels, c + 2 * c * config.layers)
        self.blocks = nn.ModuleList(
            Block(c, config.level_width, config.dilations[i % len(config.dilations)])
            for i in range(config.layers)
        )
        self.modulate = nn.Linear(config.level_width, 2 * c)
        self.filter = nn.Linear(c, 2 * config.taps * config.bins)
        nn.init.zeros_(self.filter.weight)
        nn.init.zeros_(self.filter.bias)

    @property
    def receptive_field(self) -> int:
        """Frames on each side of a frame that its prediction depends on, state and mel alike."""
        dilations = self.config.dilations
        blocks = sum(dilations[i % len(dilations)] for i in range(self.config.layers))
        return max(self.config.time_reach, self.config.source_time_reach, blocks + 1)

    def condition(self, mel: Tensor | None, prior: Prior | None = None) -> Tensor:
        """Projections of the normalised mel [B, n_mels, T], [B, T, channels * (2 layers + 1)]."""
        if mel is None:
            raise InputError("The spectral network needs a mel-spectrogram or its projections.")
        return self.mel(frame_triples(mel))

    def forward(
        self,
        x_t: Tensor,
        t: Tensor,
        mel: Tensor | None = None,
        prior: Prior | None = None,
        cond: Tensor | None = None,
    ) -> Tensor:
        """Prediction for the noisy state.

        Args:
            x_t: noisy whitened state [B, T, 2, bins].
            t: noise level as an angle in units of a quarter turn, [B]: x_t = cos(pi t / 2) x_0 +
                sin(pi t / 2) eps.
            mel: normalised log-mel [B, n_mels, T]; or
            cond: what :meth:`condition` made of it.
            prior: of a network with a source: its mean is that source.

        Returns:
            v = cos(pi t / 2) eps - sin(pi t / 2) x_0, [B, T, 2, bins].
        """
        if cond is None:
            cond = self.condition(mel)
        if not self.config.source:
            return self._filtered(t, cond, phase_invariant_features(x_t), [(x_t, self._reach)])
        if prior is None:
            raise InputError("This spectral network needs a prior with a source.")
        # The signal and its source in one unit, that of the envelope, in which pulses stay pulses.
        source, noise = prior.mean / prior.envelope, prior.deviation / prior.envelope
        x = source + noise * x_t
        features = torch.cat((phase_invariant_features(x), source_features(x, source)), dim=-1)
        filtered = self._filtered(
            t, cond, features, [(x, self._reach), (source, self._source_reach)]
        )
        return filtered / noise

    @property
    def _reach(self) -> tuple[int, int]:
        return self.config.time_reach, self.config.bin_reach

    @property
    def _source_reach(self) -> tuple[int, int]:
        return self.config.source_time_reach, self.config.source_bin_reach

    def _filtered(
        self,
        t: Tensor,
        cond: Tensor,
        features: Tensor,
        inputs: list[tuple[Tensor, tuple[int, int]]],
    ) -> Tensor:
        """Run the trunk on features [B, T, ..], and its filters over (input, reaches)."""
        angles = t[:, None] * self.frequencies
        level = self.level(torch.cat((angles.sin(), angles.cos()), dim=-1))[:, None]
        c = self.config.channels
        h = self.input(features) + cond[..., :c]
        for i, block in enumerate(self.blocks):
            h = block(h, cond[..., (2 * i + 1) * c : (2 * i + 3) * c], level)
        scale, shift = self.modulate(level).chunk(2, dim=-1)
        h = torch.addcmul(shift, F.layer_norm(h, (c,)), 1 + scale)
        return self.apply_filter(self.filter(h), inputs)

    def apply_filter(self, taps: Tensor, inputs: list[tuple[Tensor, tuple[int, int]]]) -> Tensor:
        """Sum of complex taps times the neighbours of every bin.

        Args:
            taps: [B, T, taps * 2 * bins], in the order of the neighbours.
            inputs: [B, T, 2, bins] each, with its reach in frames and in bins.
        """
        x = inputs[0][0]
        batch, frames, _, bins = x.shape
        taps = taps.view(batch, frames, self.config.taps, 2, bins).float()
        neighbours: list[Tensor] = []
        for y, (reach_t, reach_k) in inputs:
            in_time = F.pad(y, (0, 0, 0, 0, reach_t, reach_t))
            in_bins = F.pad(y, (reach_k, reach_k))
            neighbours += [in_time[:, i : i + frames] for i in range(2 * reach_t + 1)]
            neighbours += [
                in_bins[..., i : i + bins] for i in range(2 * reach_k + 1) if i != reach_k
            ]
        real = torch.zeros_like(x[:, :, 0])
        imag = torch.zeros_like(real)
        for i, y in enumerate(neighbours):
            a, b = taps[:, :, i, 0], taps[:, :, i, 1]
            real = torch.addcmul(torch.addcmul(real, a, y[:, :, 0]), b, y[:, :, 1], value=-1)
            imag = torch.addcmul(torch.addcmul(imag, a, y[:, :, 1]), b, y[:, :, 0])
        return torch.stack((real, imag), dim=2)


class Block(nn.Module):
    """Pre-norm residual block: three dilated taps to twice the width, GELU, back."""

    def __init__(self, channels: int, level_width: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.modulate = nn.Linear(level_width, 3 * channels)
        self.taps = nn.Linear(3 * channels, 2 * channels)
        self.out = nn.Linear(2 * channels, channels)
        nn.init.zeros_(self.out.bias)
        nn.init.normal_(self.out.weight, std=0.02 / math.sqrt(channels / 256))

    def forward(self, x: Tensor, mel: Tensor, level: Tensor) -> Tensor:
        """x [B, T, C], mel [B, T, 2C], level [B, 1, level_width] -> [B, T, C]."""
        scale, shift, gate = self.modulate(level).chunk(3, dim=-1)
        h = torch.addcmul(shift, F.layer_norm(x, x.shape[-1:]), 1 + scale)
        h = self.taps(three_taps(h, self.dilation))
        return torch.addcmul(x, 1 + gate, self.out(F.gelu(h + mel)))


def phase_invariant_features(x: Tensor) -> Tensor:
    """What a bin says without its absolute phase: [B, T, 2, K] -> [B, T, 5K].

    Its log-power; the product with the previous frame's conjugate (how far the phase advanced: the
    instantaneous frequency) and with the lower neighbour's (where in the frame the energy lies: the
    group delay), both divided by their magnitudes.
    """
    re, im, power = _direction(x, 1e-4)
    before_re, before_im = F.pad(re, (0, 0, 1, 0))[:, :-1], F.pad(im, (0, 0, 1, 0))[:, :-1]
    below_re, below_im = F.pad(re, (1, 0))[..., :-1], F.pad(im, (1, 0))[..., :-1]
    return torch.cat(
        (
            0.5 * power.log(),
            re * before_re + im * before_im,
            im * before_re - re * before_im,
            re * below_re + im * below_im,
            im * below_re - re * below_im,
        ),
        dim=-1,
    )


def source_features(x: Tensor, source: Tensor) -> Tensor:
    """What a bin says of its source: [B, T, 2, K] twice -> [B, T, 3K].

    The source's log-power, and the state's phase relative to the source's, as cosine and sine.
    """
    re, im = _direction(x, 1e-4)[:2]
    source_re, source_im, power = _direction(source, 1e-2)
    return torch.cat(
        (0.5 * power.log(), re * source_re + im * source_im, im * source_re - re * source_im),
        dim=-1,
    )


def _direction(x: Tensor, floor: float) -> tuple[Tensor, Tensor, Tensor]:
    """Real and imaginary part over the magnitude, and the power, floor added, of [B, T, 2, K]."""
    re, im = x[:, :, 0], x[:, :, 1]
    power = re.square() + im.square() + floor
    magnitude = power.sqrt()
    return re / magnitude, im / magnitude, power
