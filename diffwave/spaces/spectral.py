"""The space of the spectral network: an STFT, whitened by an envelope that the mel predicts."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, ClassVar

import numpy as np
import torch
from msgspec import Meta
from torch import Tensor
from torch.nn import functional as F

from diffwave.base.device import in_float32
from diffwave.base.errors import InputError
from diffwave.base.schema import derived, shown
from diffwave.dsp.consistency import match_bands
from diffwave.dsp.source import band_weights, shaped_source
from diffwave.dsp.stft import reach
from diffwave.mel import MelConfig, MelSpectrogram
from diffwave.mel.normalise import frame_triples
from diffwave.spaces.base import Prior, Space, SpaceConfig, curve_at
from diffwave.spaces.source import Excitation
from diffwave.spaces.stft import STFT

Samples = Annotated[int, Meta(ge=1, le=1 << 16)]
RIDGE = 0.3
"""Ridge penalty on the weights of the envelope (measured choice; its bias is not penalised)."""
POWER_FLOOR = 1e-9  # added to |X|^2 before the logarithm, so that digital silence has one


@dataclass(frozen=True)
class SpectralConfig(SpaceConfig):
    """Geometry of the whitened STFT; frames are those of the mel-spectrogram."""

    kind: ClassVar[str] = "spectral"

    n_fft: Samples = derived(1024)
    """Transform and window length in samples; the window is a periodic Hann."""
    hop_length: Samples = derived(256)
    """Samples from frame to frame."""
    pad_left: int = derived(384)
    """Samples of frame 0 that lie before the first sample of the signal (the mel's own framing)."""
    n_mels: Samples = derived(80)
    """Mel bands that the envelope is computed from."""
    floor: Annotated[float, Meta(ge=1e-12, le=1)] = 1e-4
    """Smallest envelope amplitude, in units where white noise of variance 1 has E|X|^2 = 1."""
    clamp: Annotated[float, Meta(ge=1e-3, le=1e6)] = 8.0
    """Largest magnitude of a component of the encoded state; rarer values are clipped."""
    source_bands: Annotated[
        tuple[Annotated[float, Meta(ge=0, le=1e6)], ...], Meta(max_length=256)
    ] = ()
    """Hz, limits of the bands of a source's voiced share; none: the prior has no source."""
    least_noise: Annotated[float, Meta(ge=1e-6, le=1)] = 0.1
    """Smallest share of the power of a bin that is noise, where there is a source."""
    momentum: Annotated[float, Meta(ge=0, le=1)] = 0.9
    """How far a mel-consistency iteration is extrapolated, in units of the last change: with much
    of it they converge sooner, and blunt the pulses of a source."""

    def __post_init__(self) -> None:
        super().__post_init__()
        bands = self.source_bands
        if len(bands) == 1 or any(low >= high for low, high in pairwise(bands)):
            raise InputError(
                f"The limits of source bands are rising frequencies, not {shown(bands)}."
            )
        if self.n_fft < 2 * self.hop_length or self.n_fft % 2:
            raise InputError(
                f"n_fft {self.n_fft} must be even and at least twice hop_length {self.hop_length}, "
                "or the signal cannot be put together again from its frames."
            )

    def of(self, mel: MelConfig) -> SpectralConfig:
        sizes = ("n_fft", "hop_length", "pad_left", "n_mels")
        return dataclasses.replace(self, **{name: getattr(mel, name) for name in sizes})

    def context(self, frames: int) -> int:
        return (frames - 1) * self.hop_length + self.n_fft

    def check(self, mel: MelConfig, n_iter: int) -> None:
        if n_iter and mel.win_length != mel.n_fft:
            raise InputError(
                f"Mel-consistency iterations need a mel whose window is as long as its transform, "
                f"but win_length is {mel.win_length} and n_fft {mel.n_fft}."
            )

    @property
    def bins(self) -> int:
        """Complex bins kept: DC up to, but not including, Nyquist."""
        return self.n_fft // 2


class SpectralSpace(Space):
    """Coordinates = STFT scaled so that unit white noise has E|X|^2 = 1, [B, T, 2, K] (re, im).

    The prior's deviation is an envelope: the exponential of half a log-variance, a linear map of
    the log-mel frames t-1, t, t+1 fitted to a corpus such that the state Y = X / sigma has
    E|Y|^2 = 1 in every bin. The chain then ends in noise of the right spectrum: the data-dependent
    prior of PriorGrad (arXiv 2106.06406) and SpecGrad (arXiv 2203.16749), made diagonal. Noise is
    as correlated from frame to frame as a signal is. With a source (:mod:`diffwave.spaces.source`)
    the chain ends in pulses and noise of that spectrum.
    """

    needs_fit = True
    config: SpectralConfig
    envelope_weight: Tensor
    envelope_bias: Tensor
    share_weights: Tensor

    def __init__(self, config: SpectralConfig, frontend: MelSpectrogram) -> None:
        super().__init__(config, frontend)
        self.stft = STFT(config.n_fft, config.hop_length)
        self.hz = np.arange(config.bins) * frontend.config.sample_rate / config.n_fft
        self.register_buffer("envelope_weight", torch.zeros(config.bins, 3 * config.n_mels))
        self.register_buffer("envelope_bias", torch.zeros(config.bins))
        if config.source_bands:
            weights = torch.from_numpy(band_weights(config.source_bands, self.hz))
            self.register_buffer("share_weights", weights, persistent=False)

    def analyse(self, wave: Tensor) -> Tensor:
        spectrum = self.stft(wave)[..., :-1]
        return torch.stack((spectrum.real, spectrum.imag), dim=-2)

    def synthesise(self, coordinates: Tensor, mel: Tensor, n_iter: int) -> Tensor:
        signal = self.stft.inverse(self.match_mel(spectrum_of(coordinates), mel, n_iter))
        last = self.pad_left + coordinates.shape[1] * self.hop_length
        return F.pad(signal, (0, max(0, last - signal.shape[-1])))[:, self.pad_left : last]

    @in_float32
    def match_mel(
        self, spectrum: Tensor, mel: Tensor, n_iter: int, past: Tensor | None = None
    ) -> Tensor:
        """`n_iter` mel-consistency iterations (:mod:`diffwave.dsp.consistency`), differentiable.

        Args:
            spectrum: complex, [B, T, K + 1].
            mel: [B, n_mels, T].
            n_iter: iterations.
            past: samples [B, P] at the start that are known and stay as they are.
        """
        if n_iter == 0:
            return spectrum
        ends, filters = self.frontend.config.amplitude_range, self.frontend.unit_filterbank
        wanted, momentum = self.band_levels(mel), self.config.momentum
        in_place = not torch.is_grad_enabled()
        return match_bands(  # type: ignore[no-any-return]
            spectrum, wanted, ends, filters, self.stft, n_iter, momentum, past, in_place
        )

    def band_levels(self, mel: Tensor) -> Tensor:
        """Logarithms [B, T, n_mels] of the amplitudes of a mel [B, n_mels, T], within its range.

        What lies beyond the ends of the convention all has the same value: it asks for no change.
        """
        ends = self.frontend.config.amplitude_range
        return self.frontend.amplitude(mel).clamp(*ends).log().transpose(1, 2)

    @in_float32
    def log_variance(self, mel: Tensor) -> Tensor:
        """Log of E|X|^2 that the mel [B, n_mels, T] predicts, [B, T, K], not below the floor."""
        log_variance = F.linear(frame_triples(mel), self.envelope_weight, self.envelope_bias)
        return log_variance.clamp_min(2 * math.log(self.config.floor))

    @in_float32
    def prior(self, mel: Tensor, excitation: Excitation | None = None) -> Prior:
        """The envelope as deviation [B, T, 1, K], and a mean of 0 without a source.

        With one the mean [B, T, 2, K] is its pulses in the envelope, with the envelope's minimum
        phase, by their share of the power; the deviation is what is left for noise.
        """
        if (excitation is None) != (not self.config.source_bands):
            raise InputError(
                "This space has no source." if excitation else "This space needs a source."
            )
        half = 0.5 * self.log_variance(mel)
        envelope = half.exp()[:, :, None]
        if excitation is None:
            return Prior(envelope.new_zeros(()), envelope, envelope)
        share = excitation.share @ self.share_weights
        pulses = self.stft(excitation.pulses)
        mean, deviation = shaped_source(pulses, share, half, self.config.least_noise)
        return Prior(mean, deviation, envelope)

    def encode(self, wave: Tensor, mel: Tensor, prior: Prior | None = None) -> Tensor:
        """Whitened state [B, T, 2, K]; components beyond the clamp, which are rare, are clipped."""
        return super().encode(wave, mel, prior).clamp(-self.config.clamp, self.config.clamp)

    def mel_of_crop(self, wave: Tensor) -> Tensor:
        return self.frontend(wave, pad=False).contiguous()

    def reach(self, receptive_field: int, steps: int, n_iter: int) -> int:
        """As :func:`diffwave.dsp.stft.reach`."""
        return reach(receptive_field, steps, n_iter, self.config.n_fft, self.hop_length)

    def loss_weights(self, curve: Sequence[tuple[float, float]]) -> Tensor:
        return curve_at(self.hz, curve)

    def mean_error(self, error: Tensor, weights: Tensor, edge_frames: int) -> Tensor:
        inner = slice(edge_frames, error.shape[1] - edge_frames)
        return (error.sum(2)[:, inner] * weights.to(error.device)).mean((1, 2))

    @torch.no_grad()
    def fit(self, examples: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Set the envelope by ridge regression, then calibrate its bias.

        The regression maps three log-mel frames to log(|X|^2), whose conditional mean lies below
        the log of the conditional mean of |X|^2; the second pass lifts every bin's bias until the
        whitened state has E|Y|^2 = 1.
        """
        examples = list(examples)
        if not examples:
            raise InputError("There is no audio to fit the envelope to.")
        n_features = 3 * self.config.n_mels + 1
        penalty = torch.full((n_features,), RIDGE, dtype=torch.float64)
        penalty[-1] = 0
        gram = torch.zeros(n_features, n_features, dtype=torch.float64)
        moment = torch.zeros(n_features, self.config.bins, dtype=torch.float64)
        for wave, mel in examples:
            features = F.pad(frame_triples(mel), (0, 1), value=1).flatten(0, -2).double()
            log_power = (self._power(wave) + POWER_FLOOR).log().flatten(0, -2).double()
            gram += features.T @ features
            moment += features.T @ log_power
        # Not lstsq, whose last bits depend on where the memory lies.
        factor = torch.linalg.cholesky(gram + penalty.diag())
        weights = torch.cholesky_solve(moment, factor)
        self.envelope_weight.copy_(weights[:-1].T)
        self.envelope_bias.copy_(weights[-1])
        total, count = torch.zeros(self.config.bins, dtype=torch.float64), 0
        for wave, mel in examples:
            ratio = (self._power(wave) / self.log_variance(mel).exp()).flatten(0, -2)
            total += ratio.double().sum(0)
            count += len(ratio)
        self.envelope_bias += (total / count).clamp_min(1e-3).log()

    def _power(self, wave: Tensor) -> Tensor:
        """|X|^2, [B, T, K]."""
        return self.analyse(wave).square().sum(dim=-2)


def spectrum_of(coordinates: Tensor) -> Tensor:
    """Coordinates [B, T, 2, K] as complex bins, with Nyquist's, which is 0: [B, T, K + 1]."""
    return torch.complex(*(F.pad(part, (0, 1)) for part in coordinates.unbind(2)))
