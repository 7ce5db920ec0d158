"""The short-time Fourier transform, and the signal whose transform is nearest to a spectrum."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from diffwave.base.arrays import Array, namespace, windows, zeros


def hann_windows(n_fft: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Periodic Hann windows [n_fft] of analysis and synthesis.

    Scaled so that unit white noise has E|X|^2 = 1; their product is the squared Hann window.
    """
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    scale = np.sqrt(np.square(hann).sum())
    return hann / scale, hann * scale


class ShortTimeFourier:
    """[B, context(T)] samples <-> complex [B, T, K + 1], each frame from its own first sample."""

    window: Array
    synthesis_window: Array

    def __init__(self, n_fft: int, hop_length: int) -> None:
        """Of arrays; :class:`diffwave.spaces.stft.STFT` is that of tensors."""
        self.n_fft, self.hop_length = n_fft, hop_length
        windows = (window.astype(np.float32) for window in hann_windows(n_fft))
        self.window, self.synthesis_window = windows

    def analyse(self, wave: Array) -> Array:
        """The transform [B, T, K + 1] of samples [B, context(T)]."""
        # With norm=None NumPy computes the transform of float32 in float64, at a multiple of the
        # time; the factor is a power of 2 for the usual sizes, and then exact.
        frames = windows(wave, self.n_fft, self.hop_length) * (self.window * self.n_fft)
        return namespace(wave).fft.rfft(frames, norm="forward")

    def inverse(self, spectrum: Array, norm: Array | None = None) -> Array:
        """Samples [B, context(T)] whose transform is nearest to [B, T, K + 1] (least squares).

        norm is what :meth:`norm` gives for T, for those who ask often.
        """
        frames = namespace(spectrum).fft.irfft(spectrum, n=self.n_fft)
        frames *= self.synthesis_window
        signal = self._overlap_add(frames)
        signal *= self.norm(spectrum.shape[1]) if norm is None else norm
        return signal

    def norm(self, frames: int) -> Array:
        """One over the sum of the squared windows that overlap in every sample, [context(T)]."""
        weight = namespace(self.window).broadcast_to(
            self.window * self.synthesis_window, (1, frames, self.n_fft)
        )
        return 1 / self._overlap_add(weight)[0].clip(1e-3)

    def _overlap_add(self, frames: Array) -> Array:
        """[B, T, n_fft] -> [B, context(T)]. A frame is a few blocks of a hop; they are added."""
        (batch, count, n_fft), hop = frames.shape, self.hop_length
        overlapping = -(-n_fft // hop)
        total = zeros((batch, count + overlapping - 1, hop), frames)
        for i in range(overlapping):
            block = frames[..., i * hop : (i + 1) * hop]
            total[:, i : i + count, : block.shape[-1]] += block
        return total.reshape(batch, -1)[:, : (count - 1) * hop + n_fft]


def reach(receptive_field: int, steps: int, n_iter: int, n_fft: int, hop_length: int) -> int:
    """Frames on each side of a frame that its samples depend on.

    The network's once per step, one for the envelope, and those that overlap in every inverse
    STFT, of which each iteration has one.
    """
    return steps * receptive_field + 1 + (n_iter + 1) * -(-n_fft // hop_length)
