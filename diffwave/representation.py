"""The space in which the chain runs: samples (the DiffWave paper) or a whitened STFT (ours).

The forward chain is isotropic Gaussian noise, so it may run in any linear coordinates in which
white noise is still easy to draw. A representation owns those coordinates:

    encode(wave, mel) -> state       decode(state, mel) -> wave       noise(white) -> state

All three speak of a signal of ``T`` mel frames. ``wave`` and ``white`` of ``encode`` and ``noise``
carry the whole context of their frames, ``context(T)`` samples (``pad_left`` of them before the
first sample that belongs to frame 0); ``decode`` returns exactly ``T * hop_length`` samples.
Nothing here depends on the absolute position in time, so pieces of a signal can be treated apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffwave.errors import InputError


class WaveformRepresentation(nn.Module):
    """State = samples [B, T * hop_length], as in the paper; encode and decode are the identity."""

    def __init__(self, hop_length: int) -> None:
        super().__init__()
        self.hop_length = hop_length
        self.pad_left = 0

    def context(self, frames: int) -> int:
        """Number of samples that ``frames`` frames need."""
        return frames * self.hop_length

    def encode(self, wave: Tensor, mel: Tensor | None = None) -> Tensor:
        """The wave itself, [B, T * hop_length]."""
        return wave

    def decode(self, state: Tensor, mel: Tensor | None = None) -> Tensor:
        """The state itself, [B, T * hop_length]."""
        return state

    def noise(self, white: Tensor) -> Tensor:
        """Unit white noise is its own state."""
        return white


@dataclass(frozen=True)
class SpectralConfig:
    """Geometry of the whitened STFT; frames are those of the mel-spectrogram."""

    n_fft: int = 1024
    """Transform and window length in samples; the window is a periodic Hann."""
    hop_length: int = 256
    """Samples from frame to frame."""
    pad_left: int = 384
    """Samples of frame 0 that lie before the first sample of the signal (the mel's own framing)."""
    n_mels: int = 80
    """Mel bands that the envelope is computed from."""
    floor: float = 1e-4
    """Smallest envelope amplitude, in units where white noise of variance 1 has E|X|^2 = 1."""
    clamp: float = 8.0
    """Largest magnitude of a component of the encoded state; rarer values are clipped."""

    def __post_init__(self) -> None:
        if self.hop_length < 1 or self.n_fft < 2 * self.hop_length or self.n_fft % 2:
            raise InputError(
                f"n_fft {self.n_fft} must be even and at least twice hop_length {self.hop_length}, "
                "or the signal cannot be put together again from its frames."
            )
        if not 0 <= self.pad_left < self.n_fft:
            raise InputError(f"pad_left {self.pad_left} must lie within one frame of {self.n_fft}.")

    @property
    def bins(self) -> int:
        """Complex bins kept: DC up to, but not including, Nyquist."""
        return self.n_fft // 2


class SpectralRepresentation(nn.Module):
    """State = STFT divided by an envelope that the mel predicts, [B, T, 2, K] (real, imaginary).

    The STFT X is scaled so that white noise of variance 1 has E|X|^2 = 1. The envelope is the
    exponential of half a log-variance, a linear map of the log-mel frames t-1, t, t+1 fitted to
    data (:mod:`diffwave.training.envelope`) such that the whitened Y = X / sigma has E|Y|^2 = 1 in
    every bin. The end of the forward chain is then already noise with the right spectrum once it is
    coloured again: the data-dependent prior of PriorGrad (arXiv 2106.06406) and SpecGrad
    (arXiv 2203.16749), made diagonal.
    """

    window: Tensor
    synthesis_window: Tensor
    envelope_weight: Tensor
    envelope_bias: Tensor

    def __init__(self, config: SpectralConfig) -> None:
        super().__init__()
        self.config = config
        self.hop_length = config.hop_length
        self.pad_left = config.pad_left
        hann = torch.hann_window(config.n_fft, periodic=True, dtype=torch.float64)
        scale = hann.square().sum().sqrt()
        self.register_buffer("window", (hann / scale).float(), persistent=False)
        self.register_buffer("synthesis_window", (hann * scale).float(), persistent=False)
        self.register_buffer("envelope_weight", torch.zeros(config.bins, 3 * config.n_mels))
        self.register_buffer("envelope_bias", torch.zeros(config.bins))

    def context(self, frames: int) -> int:
        """Number of samples that ``frames`` frames span."""
        return (frames - 1) * self.hop_length + self.config.n_fft

    def stft(self, wave: Tensor) -> Tensor:
        """Scaled STFT of [B, context(T)] samples -> [B, T, 2, K], each frame from its own start."""
        frames = wave.unfold(-1, self.config.n_fft, self.hop_length) * self.window
        spectrum = torch.fft.rfft(frames)[..., : self.config.bins]
        return torch.stack((spectrum.real, spectrum.imag), dim=-2)

    def istft(self, state: Tensor) -> Tensor:
        """[B, T, 2, K] -> [B, T * hop_length] samples by weighted overlap-add (least squares)."""
        frames = state.shape[1]
        spectrum = F.pad(torch.complex(state[:, :, 0], state[:, :, 1]), (0, 1))
        pieces = torch.fft.irfft(spectrum, n=self.config.n_fft) * self.synthesis_window
        weight = (self.window * self.synthesis_window).expand(1, frames, -1)
        total = self._overlap_add(pieces) / self._overlap_add(weight).clamp_min(1e-3)
        return total[:, self.pad_left : self.pad_left + frames * self.hop_length]

    def _overlap_add(self, pieces: Tensor) -> Tensor:
        """[B, T, n_fft] -> [B, at least pad_left + T * hop_length]."""
        frames, n_fft = pieces.shape[1:]
        length = self.context(frames)
        folded = F.fold(
            pieces.transpose(1, 2), (1, length), kernel_size=(1, n_fft), stride=(1, self.hop_length)
        )
        missing = self.pad_left + frames * self.hop_length - length
        return F.pad(folded.flatten(1), (0, max(0, missing)))

    def log_variance(self, mel: Tensor) -> Tensor:
        """Log of E|X|^2 that the mel [B, n_mels, T] predicts, [B, T, K], not below the floor."""
        features = envelope_features(mel)
        return F.linear(features, self.envelope_weight, self.envelope_bias).clamp_min(
            2 * torch.tensor(self.config.floor).log().item()
        )

    def encode(self, wave: Tensor, mel: Tensor) -> Tensor:
        """Whitened state [B, T, 2, K] of [B, context(T)] samples and their mel [B, n_mels, T]."""
        gain = torch.exp(-0.5 * self.log_variance(mel)).unsqueeze(2)
        return (self.stft(wave) * gain).clamp(-self.config.clamp, self.config.clamp)

    def decode(self, state: Tensor, mel: Tensor) -> Tensor:
        """Samples [B, T * hop_length] of a whitened state [B, T, 2, K]."""
        return self.istft(state * torch.exp(0.5 * self.log_variance(mel)).unsqueeze(2))

    def noise(self, white: Tensor) -> Tensor:
        """State of unit white noise [B, context(T)]: correlated from frame to frame as signals are.

        It is not whitened by the envelope: the prior is white in whitened coordinates.
        """
        return self.stft(white)


def envelope_features(mel: Tensor) -> Tensor:
    """Log-mel frames t-1, t, t+1 side by side: [B, n_mels, T] -> [B, T, 3 * n_mels]."""
    padded = F.pad(mel, (1, 1), mode="replicate").transpose(1, 2)
    return torch.cat((padded[:, :-2], padded[:, 1:-1], padded[:, 2:]), dim=-1)
