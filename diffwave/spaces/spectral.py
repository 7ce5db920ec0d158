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
from diffwave.mel import MelSpectrogram


@dataclass(frozen=True)
class EnergyPrior:
    """Standard deviation of PriorGrad's prior, sigma = sqrt(level / peak) within floor .. 1.

    Source: Lee et al. 2022, arXiv 2106.06406, section 4: the root of the sum of a frame's mel
    amplitudes, normalised to at most 1, and at least 0.1. The level here is the mean over bands of
    the amplitude, in units of what white noise of variance 1 has there, so that it does not depend
    on the mel convention.
    """

    floor: float = 1.0
    """Smallest standard deviation; 1 is unit noise everywhere, DiffWave's own prior."""
    peak: float = 0.22
    """Level from which on the deviation is 1: the energy of 4 that the paper's authors divide by,
    for the `hifigan` convention."""

    def __post_init__(self) -> None:
        if not 0 < self.floor <= 1 or not 0 < self.peak < float("inf"):
            raise InputError(
                f"An energy prior's floor must lie above 0 and not above 1, and its peak above 0, "
                f"not {self.floor} and {self.peak}."
            )


class WaveformRepresentation(nn.Module):
    """State = samples over the prior's deviation, [B, T * hop_length].

    Without a prior the deviation is 1: the samples are the state, as in the paper. With one, the
    chain of the state ends in unit noise where that of the samples ends in N(0, sigma^2), and the
    squared error of the state is PriorGrad's (its Mahalanobis norm) of the samples.
    """

    def __init__(
        self,
        hop_length: int,
        prior: EnergyPrior | None = None,
        frontend: MelSpectrogram | None = None,
    ) -> None:
        """`frontend` made the mels that a prior reads its levels from."""
        super().__init__()
        self.hop_length = hop_length
        self.pad_left = 0
        self.prior, self.frontend = prior, frontend

    def deviation(self, mel: Tensor) -> Tensor:
        """Standard deviation of the prior at every sample of [B, n_mels, T], [B, T * hop_length].

        It steps from frame to frame: a sample's is that of the frame it belongs to.
        """
        if self.prior is None or self.frontend is None:
            return torch.ones((), device=mel.device)
        level = (self.frontend.amplitude(mel) / self.frontend.white_amplitude).mean(1)
        sigma = (level / self.prior.peak).sqrt().clamp(self.prior.floor, 1)
        return sigma.repeat_interleave(self.hop_length, dim=-1)

    def context(self, frames: int) -> int:
        """Number of samples that ``frames`` frames need."""
        return frames * self.hop_length

    def encode(self, wave: Tensor, mel: Tensor) -> Tensor:
        """State of samples [B, T * hop_length] and their mel [B, n_mels, T]."""
        return wave / self.deviation(mel)

    def decode(self, state: Tensor, mel: Tensor) -> Tensor:
        """Samples [B, T * hop_length] of a state."""
        return state * self.deviation(mel)

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
    data (:mod:`diffwave.data.envelope`) such that the whitened Y = X / sigma has E|Y|^2 = 1 in
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
        spectrum = self.spectrum(wave)[..., : self.config.bins]
        return torch.stack((spectrum.real, spectrum.imag), dim=-2)

    def istft(self, state: Tensor) -> Tensor:
        """[B, T, 2, K] -> [B, T * hop_length] samples by weighted overlap-add (least squares)."""
        return self.trimmed(self.signal(self.as_spectrum(state)))

    def spectrum(self, wave: Tensor) -> Tensor:
        """The same as complex numbers with the Nyquist bin, [B, T, K + 1]."""
        frames = wave.unfold(-1, self.config.n_fft, self.hop_length)
        return torch.fft.rfft(frames * self.window)

    def as_spectrum(self, state: Tensor) -> Tensor:
        """[B, T, 2, K] -> complex [B, T, K + 1]; the Nyquist bin is 0."""
        return torch.complex(*(F.pad(part, (0, 1)) for part in state.unbind(2)))

    def signal(self, spectrum: Tensor, norm: Tensor | None = None) -> Tensor:
        """Samples [B, context(T)] whose STFT is nearest to [B, T, K + 1] (least squares).

        norm is what :meth:`overlap_norm` gives for T, for those who ask often.
        """
        frames = torch.fft.irfft(spectrum, n=self.config.n_fft).mul_(self.synthesis_window)
        norm = self.overlap_norm(frames.shape[1]) if norm is None else norm
        return self._overlap_add(frames).mul_(norm)

    def overlap_norm(self, frames: int) -> Tensor:
        """One over the sum of the squared windows that overlap in every sample, [context(T)]."""
        weight = (self.window * self.synthesis_window).expand(1, frames, -1)
        return 1 / self._overlap_add(weight)[0].clamp_min(1e-3)

    def trimmed(self, signal: Tensor) -> Tensor:
        """The samples [B, T * hop_length] that belong to the frames, of [B, context(T)]."""
        frames = (signal.shape[-1] - self.config.n_fft) // self.hop_length + 1
        last = self.pad_left + frames * self.hop_length
        return F.pad(signal, (0, max(0, last - signal.shape[-1])))[:, self.pad_left : last]

    def _overlap_add(self, frames: Tensor) -> Tensor:
        """[B, T, n_fft] -> [B, context(T)]. A frame is a few blocks of a hop; they are added."""
        batch, count, n_fft = frames.shape
        hop = self.hop_length
        blocks = -(-n_fft // hop)
        missing = blocks * hop - n_fft
        pieces = F.pad(frames, (0, missing)) if missing else frames  # padding copies
        pieces = pieces.view(batch, count, blocks, hop)
        total = frames.new_zeros(batch, count + blocks - 1, hop)
        for i in range(blocks):
            total[:, i : i + count] += pieces[:, :, i]
        return total.view(batch, -1)[:, : self.context(count)]

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

    def coloured(self, state: Tensor, mel: Tensor) -> Tensor:
        """Spectrum [B, T, K + 1] of a whitened state [B, T, 2, K]."""
        return self.as_spectrum(state * torch.exp(0.5 * self.log_variance(mel)).unsqueeze(2))

    def decode(self, state: Tensor, mel: Tensor) -> Tensor:
        """Samples [B, T * hop_length] of a whitened state [B, T, 2, K]."""
        return self.trimmed(self.signal(self.coloured(state, mel)))

    def noise(self, white: Tensor) -> Tensor:
        """State of unit white noise [B, context(T)]: correlated from frame to frame as signals are.

        It is not whitened by the envelope: the prior is white in whitened coordinates.
        """
        return self.stft(white)


def envelope_features(mel: Tensor) -> Tensor:
    """Log-mel frames t-1, t, t+1 side by side: [B, n_mels, T] -> [B, T, 3 * n_mels]."""
    padded = F.pad(mel, (1, 1), mode="replicate").transpose(1, 2)
    return torch.cat((padded[:, :-2], padded[:, 1:-1], padded[:, 2:]), dim=-1)
