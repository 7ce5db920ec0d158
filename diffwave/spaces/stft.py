"""The short-time Fourier transform of a space, as a module whose windows move with it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diffwave.dsp.stft import ShortTimeFourier, hann_windows


class STFT(nn.Module, ShortTimeFourier):
    """[B, context(T)] samples -> complex [B, T, K + 1], each frame from its own first sample.

    Under a periodic Hann window, and scaled so that unit white noise has E|X|^2 = 1.
    """

    def __init__(self, n_fft: int, hop_length: int) -> None:
        super().__init__()
        self.n_fft, self.hop_length = n_fft, hop_length
        for name, window in zip(("window", "synthesis_window"), hann_windows(n_fft), strict=True):
            self.register_buffer(name, torch.from_numpy(window).float(), persistent=False)

    def forward(self, wave: Tensor) -> Tensor:
        return self.analyse(wave)  # type: ignore[no-any-return]
