"""Mel-consistency iterations in a window that slides over a signal whose past is fixed.

Spectrogram inversion while the spectrogram comes: the samples that were given away stay as they
are, and the frames that overlap with later ones are iterated on until they are given away in turn
(RTISI-LA: Zhu, Beauregard, Wyse 2007, "Real-time signal estimation from modified short-time Fourier
transform magnitude spectra", IEEE TASLP 15(5)).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from diffwave.spaces.spectral import SpectralSpace, spectrum_of


class SlidingConsistency:
    """The signal of a whitened STFT that becomes known block by block."""

    def __init__(self, space: SpectralSpace, n_iter: int) -> None:
        self.space, self.n_iter, self.frame = space, n_iter, 0
        self.overlap = max(0, space.config.n_fft - space.pad_left - 1) // space.hop_length
        """Frames before a block that reach into its samples."""
        self.least_look_ahead = -(-space.pad_left // space.hop_length)
        """Frames after a block that do."""
        self.fade = torch.linspace(0, 1, space.hop_length // 2 + 2)[1:-1]
        """Weights of a block's first samples; the rest is what the block before went on with."""
        self.spectrum: Tensor | None = None
        self.past: Tensor | None = None
        self.onward: Tensor | None = None

    def push(self, coordinates: Tensor, mel: Tensor, frames: int) -> Tensor:
        """Samples [B, frames * hop_length] of the next frames; they are final.

        Args:
            coordinates: estimates of the next T >= frames frames, [B, T, 2, K].
            mel: [B, n_mels, :]; its last T frames are theirs, and those before them the ones before
                them (:attr:`overlap` of them at least, or all).
            frames: how many of them are to be given away.
        """
        space, before = self.space, min(self.frame, self.overlap)
        spectrum = spectrum_of(coordinates)
        if self.spectrum is not None:
            spectrum = torch.cat((self.spectrum, spectrum), dim=1)
        mel = mel[..., mel.shape[-1] - spectrum.shape[1] :]
        spectrum = space.match_mel(spectrum, mel, self.n_iter, self.past)
        signal = space.stft.inverse(spectrum)
        first = before * space.hop_length + space.pad_left
        last = first + frames * space.hop_length
        fade = self.fade.to(signal)
        signal = F.pad(signal, (0, max(0, last + len(fade) - signal.shape[-1])))
        if self.past is not None and self.onward is not None:
            signal[:, : self.past.shape[-1]] = self.past
            # Without this every block would begin with a click.
            signal[:, first : first + len(fade)].lerp_(self.onward, 1 - fade)
        self.onward = signal[:, last : last + len(fade)].clone()
        signal = signal[:, :last]
        self.frame += frames
        kept = min(self.frame, self.overlap)
        self.spectrum = spectrum[:, before + frames - kept : before + frames].clone()
        self.past = signal[:, last - kept * space.hop_length - space.pad_left :].clone()
        return signal[:, first:]
