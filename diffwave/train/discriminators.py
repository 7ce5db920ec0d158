"""Discriminators of waves: which of two is a recording, and by what features.

Period discriminators see the samples of a wave folded at a period, so that a pulse that is smeared
over the period is another picture (HiFi-GAN, Kong et al. 2020, arXiv 2010.05646). Spectrogram
discriminators see complex spectra, whose phase tells whether the bins of a frame start together
(EnCodec, Defossez et al. 2022, arXiv 2210.13438; magnitudes at several resolutions: UnivNet, Jang
et al. 2021, arXiv 2106.07889). Both are small: a short finish leaves a large one no time to learn.

No weight normalisation: with it, at learning rates that are safe, they learnt nothing for thousands
of steps. Layers start by Kaiming's rule for leaky ReLU (He et al. 2015, arXiv 1502.01852), which
keeps the size of what passes through them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SLOPE = 0.1
"""Of the leaky ReLU below 0."""
COMPRESSION = 0.3
"""Power of the magnitudes that a spectrogram discriminator sees; their phases stay."""
LEAST_RMS = 1e-3
"""Waves are divided by at least this, so that pauses are not made as loud as speech."""


class Judgement(NamedTuple):
    """What a discriminator says of waves [B, L]."""

    scores: Tensor
    """1: a recording; 0: generated. Of every place, [B, places]."""
    features: list[Tensor]
    """Of every layer, [B, channels, ..]."""


class Discriminator(nn.Module):
    """Convolutions of a picture of a wave; a subclass says which picture."""

    last: nn.Conv2d

    def __init__(self, layers: Sequence[nn.Conv2d], last: nn.Conv2d) -> None:
        super().__init__()
        self.layers, self.last = nn.ModuleList(layers), last
        for layer in layers:
            nn.init.kaiming_normal_(layer.weight, a=SLOPE, nonlinearity="leaky_relu")
            nn.init.zeros_(cast(Tensor, layer.bias))
        # Undecided at first: half-way between recordings and what is generated.
        nn.init.normal_(last.weight, std=0.01)
        nn.init.constant_(cast(Tensor, last.bias), 0.5)

    def picture(self, wave: Tensor) -> Tensor:
        """What is looked at, [B, channels, height, width], of waves [B, L] of RMS about 1."""
        raise NotImplementedError

    def forward(self, wave: Tensor) -> Judgement:
        """Judgement of waves [B, L] of RMS about 1."""
        x, features = self.picture(wave), []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), SLOPE)
            features.append(x)
        return Judgement(self.last(x).flatten(1), features)


class PeriodDiscriminator(Discriminator):
    """Samples folded at a period; every layer looks along one column, at one phase of it."""

    def __init__(self, period: int, channels: Sequence[int]) -> None:
        """`channels` of the layers, each of which keeps every third step."""
        self.period = period
        layers = [
            nn.Conv2d(before, after, (5, 1), (3, 1), (2, 0))
            for before, after in zip((1, *channels), channels, strict=False)
        ]
        layers.append(nn.Conv2d(channels[-1], channels[-1], (5, 1), 1, (2, 0)))
        super().__init__(layers, nn.Conv2d(channels[-1], 1, (3, 1), 1, (1, 0)))

    def picture(self, wave: Tensor) -> Tensor:
        whole = wave.shape[1] // self.period * self.period
        return wave[:, :whole].view(len(wave), 1, -1, self.period)


class SpectrogramDiscriminator(Discriminator):
    """Complex STFT of compressed magnitude, real and imaginary, frames by bins."""

    window: Tensor

    def __init__(self, n_fft: int, channels: int) -> None:
        """Hop a quarter of `n_fft`; all layers have `channels`."""
        layers = [nn.Conv2d(2, channels, (3, 9), (1, 2), (1, 4))]
        layers += [
            nn.Conv2d(channels, channels, (3, 9), (1, 2), (reach, 4), (reach, 1))
            for reach in (1, 2, 4)
        ]
        layers.append(nn.Conv2d(channels, channels, 3, padding=1))
        super().__init__(layers, nn.Conv2d(channels, 1, 3, padding=1))
        window = torch.hann_window(n_fft)
        window = window / window.square().sum().sqrt()
        self.register_buffer("window", window, persistent=False)

    def picture(self, wave: Tensor) -> Tensor:
        size = len(self.window)
        with torch.autocast(wave.device.type, enabled=False):
            spectrum = torch.fft.rfft(wave.float().unfold(-1, size, size // 4) * self.window)
            power = spectrum.real.square() + spectrum.imag.square() + 1e-8
            spectrum = spectrum * power.pow(0.5 * (COMPRESSION - 1))
            return torch.stack((spectrum.real, spectrum.imag), dim=1)


def of_equal_level(real: Tensor, *generated: Tensor) -> tuple[Tensor, ...]:
    """Waves [B, L], each divided by the RMS of the recording that it is made from.

    At the level of speech, an RMS below 0.1, period discriminators learn nothing for long.
    """
    rms = real.square().mean(1, keepdim=True).clamp_min(LEAST_RMS**2).sqrt()
    return tuple(wave / rms for wave in (real, *generated))
