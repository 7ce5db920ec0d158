"""The short-time Fourier transform of a space, and the signal whose transform is nearest to one."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class STFT(nn.Module):
    """[B, context(T)] samples -> complex [B, T, K + 1], each frame from its own first sample.

    Under a periodic Hann window, and scaled so that unit white noise has E|X|^2 = 1.
    """

    window: Tensor
    synthesis_window: Tensor

    def __init__(self, n_fft: int, hop_length: int) -> None:
        super().__init__()
        self.n_fft, self.hop_length = n_fft, hop_length
        hann = torch.hann_window(n_fft, dtype=torch.float64)
        scale = hann.square().sum().sqrt()
        self.register_buffer("window", (hann / scale).float(), persistent=False)
        self.register_buffer("synthesis_window", (hann * scale).float(), persistent=False)

    def forward(self, wave: Tensor) -> Tensor:
        return torch.fft.rfft(wave.unfold(-1, self.n_fft, self.hop_length) * self.window)

    def inverse(self, spectrum: Tensor, norm: Tensor | None = None) -> Tensor:
        """Samples [B, context(T)] whose STFT is nearest to [B, T, K + 1] (least squares).

        norm is what :meth:`norm` gives for T, for those who ask often.
        """
        frames = torch.fft.irfft(spectrum, n=self.n_fft).mul_(self.synthesis_window)
        return self._overlap_add(frames).mul_(self.norm(len(frames[0])) if norm is None else norm)

    def norm(self, frames: int) -> Tensor:
        """One over the sum of the squared windows that overlap in every sample, [context(T)]."""
        weight = (self.window * self.synthesis_window).expand(1, frames, -1)
        return 1 / self._overlap_add(weight)[0].clamp_min(1e-3)

    def _overlap_add(self, frames: Tensor) -> Tensor:
        """[B, T, n_fft] -> [B, context(T)]. A frame is a few blocks of a hop; they are added."""
        batch, count, n_fft = frames.shape
        blocks = frames.split(self.hop_length, dim=-1)
        total = frames.new_zeros(batch, count + len(blocks) - 1, self.hop_length)
        for i, block in enumerate(blocks):
            total[:, i : i + count, : block.shape[-1]] += block
        return total.flatten(1)[:, : (count - 1) * self.hop_length + n_fft]
