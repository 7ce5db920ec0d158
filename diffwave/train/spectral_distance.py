"""How far apart two waves sound: a multi-resolution distance of spectrogram magnitudes."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from diffwave.spaces.base import curve_at

FFT_SIZES = (2048, 1024, 512, 256, 128, 64)
"""At rates around 22,050 Hz; twice as long at twice the rate. The shortest, 3 ms, tells whether the
energy of a period comes at once."""
LOG_FLOOR = 1e-3
"""Added to magnitudes before the logarithm, in units where white noise of variance 1 has
magnitudes about 1; far below speech, it keeps the logarithm calm in pauses."""


class SpectralDistance(nn.Module):
    """Mean distance of log magnitudes and of magnitudes over several STFT resolutions.

    The logarithms of a frame are compared by their Euclidean distance, the magnitudes by their
    absolute one. Both are of negative type: the energy distance between two distributions is never
    negative (Gritsenko et al. 2020, arXiv 2008.01160). The Euclidean one is that of whole frames:
    it is 0 only if bins agree jointly, where a sum of absolute ones sees every bin by itself.
    """

    def __init__(self, sample_rate: int, weights: list[tuple[float, float]]) -> None:
        """Weights over frequency as in `LossConfig.bin_weights`: (Hz, weight), interpolated."""
        super().__init__()
        # A power of 2 stays one.
        octaves = round(math.log2(sample_rate / 22050))
        self.fft_sizes = [math.ceil(size * 2**octaves) for size in FFT_SIZES]
        for size in self.fft_sizes:
            bins = np.arange(size // 2 + 1) * sample_rate / size
            self.register_buffer(f"weight_{size}", curve_at(bins, weights), persistent=False)
            window = torch.hann_window(size)
            self.register_buffer(
                f"window_{size}", window / window.square().sum().sqrt(), persistent=False
            )

    def magnitudes(self, wave: Tensor, size: int) -> Tensor:
        """|STFT| of [B, L] at one resolution, hop a quarter of the size, [B, frames, bins]."""
        frames = wave.unfold(-1, size, size // 4) * self.get_buffer(f"window_{size}")
        spectrum = torch.fft.rfft(frames)
        # Not abs(): its gradient at zero is not a number.
        return torch.sqrt(spectrum.real.square() + spectrum.imag.square() + 1e-12)

    def forward(self, pairs: list[tuple[Tensor, Tensor]], scale_by: Tensor) -> list[Tensor]:
        """Distances [B] of several pairs of waves [B, L]; spectra of a shared wave are made once.

        The magnitude term is relative to the mean magnitude of `scale_by` [B, L].
        """
        totals = [torch.zeros(len(scale_by), device=scale_by.device) for _ in pairs]
        for size in self.fft_sizes:
            weight = self.get_buffer(f"weight_{size}")
            made: dict[int, tuple[Tensor, Tensor]] = {}

            def spectra(
                wave: Tensor, size: int = size, made: dict[int, tuple[Tensor, Tensor]] = made
            ) -> tuple[Tensor, Tensor]:
                if id(wave) not in made:
                    magnitude = self.magnitudes(wave, size)
                    made[id(wave)] = magnitude, torch.log(magnitude + LOG_FLOOR)
                return made[id(wave)]

            scale = spectra(scale_by)[0].detach().mean((1, 2)) + LOG_FLOOR
            for i, (a, b) in enumerate(pairs):
                (a_mag, a_log), (b_mag, b_log) = spectra(a), spectra(b)
                # The constant keeps the gradient of the root finite where frames are equal.
                squares = ((a_log - b_log).square() * weight).mean(2)
                log_term = (torch.sqrt(squares + 1e-6) - 1e-3).mean(1)
                linear_term = ((a_mag - b_mag).abs() * weight).mean((1, 2)) / scale
                totals[i] = totals[i] + (log_term + linear_term) / len(self.fft_sizes)
        return totals
