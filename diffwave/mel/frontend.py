"""The mel frontend: waveform to mel-spectrogram, exactly as a `MelConfig` says.

The filterbank is computed here from its formulae, so that inference needs neither librosa nor
torchaudio.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffwave.base.errors import InputError
from diffwave.mel.config import MelConfig
from diffwave.mel.normalise import log_amplitude, scaled_log


def hz_to_mel(hz: Tensor, scale: str) -> Tensor:
    """Hz to mel on the scale "slaney" or "htk".

    slaney (Auditory Toolbox): 3 mel per 200 Hz up to 1 kHz, then 27 mel per factor of 6.4.
    htk (O'Shaughnessy): 2595 log10(1 + hz / 700).
    """
    if scale == "htk":
        return 2595 * torch.log10(1 + hz / 700)
    logarithmic = 15 + 27 * torch.log(hz.clamp(min=1000) / 1000) / math.log(6.4)
    return torch.where(hz < 1000, hz * 3 / 200, logarithmic)


def mel_to_hz(mel: Tensor, scale: str) -> Tensor:
    """The inverse of `hz_to_mel`."""
    if scale == "htk":
        return 700 * (10 ** (mel / 2595) - 1)
    return torch.where(mel < 15, mel * 200 / 3, 1000 * 6.4 ** ((mel - 15) / 27))


def mel_filterbank(config: MelConfig) -> Tensor:
    """Triangles [n_mels, n_fft // 2 + 1], float64, their corners equally spaced in mel."""
    bins = torch.arange(config.n_fft // 2 + 1, dtype=torch.float64)
    bins = bins * config.sample_rate / config.n_fft
    ends = torch.tensor([config.fmin, config.fmax], dtype=torch.float64)
    low, high = hz_to_mel(ends, config.mel_scale).tolist()
    corners = torch.linspace(low, high, config.n_mels + 2, dtype=torch.float64)
    corners = mel_to_hz(corners, config.mel_scale)
    left, peak, right = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    filters = torch.minimum((bins - left) / (peak - left), (right - bins) / (right - peak))
    filters = filters.clamp(min=0)
    return filters * 2 / (right - left) if config.mel_norm == "slaney" else filters


def power_spectrum(wave: Tensor, config: MelConfig, window: Tensor) -> Tensor:
    """|STFT|^2 [B, n_fft // 2 + 1, T] of waves [B, L] that hold the context of every frame."""
    stft = torch.stft(
        wave, config.n_fft, config.hop_length, config.win_length, window,
        center=False, return_complex=True,
    )  # fmt: skip
    return stft.real.square() + stft.imag.square()


class MelSpectrogram(nn.Module):
    """Waveform to mel-spectrogram, exactly as `config` says.

    `forward(wave, pad=True)` takes a floating-point wave [B, L] or [L] at config.sample_rate,
    nominally within -1..1, and returns float32 [B, n_mels, T] or [n_mels, T].
    pad=True reflects the ends as the convention does: T = config.frames(L).
    pad=False takes the wave as already holding the whole context of every frame (config.pad_left
    samples before the first): T = 1 + (L - n_fft) // hop_length.

    Raises `InputError` for a wave of another rank or type, or too short to reflect or to analyse.
    """

    window: Tensor
    filterbank: Tensor

    def __init__(self, config: MelConfig) -> None:
        super().__init__()
        self.config = config
        window = torch.hann_window(config.win_length, dtype=torch.float64)
        self.window_norm = float(window.square().sum().sqrt())
        # Not persistent: they follow from the config, and a checkpoint should not hold two truths.
        self.register_buffer("window", window.float(), persistent=False)
        self.register_buffer("filterbank", mel_filterbank(config).float(), persistent=False)

    def forward(self, wave: Tensor, pad: bool = True) -> Tensor:
        config = self.config
        if wave.dim() not in (1, 2) or not wave.is_floating_point():
            raise InputError(
                f"A wave must be floating point of the shape [samples] or [batch, samples], "
                f"not {wave.dtype} of the shape {list(wave.shape)}."
            )
        least = config.n_fft
        if pad:  # reflection needs more samples than it adds
            least = max(config.pad_right + 1, 1 if config.centered else config.hop_length)
        if wave.shape[-1] < least:
            raise InputError(
                f"A wave of {wave.shape[-1]} samples is too short: a mel-spectrogram needs at "
                f"least {least}."
            )
        batch = (wave if wave.dim() == 2 else wave[None]).float()
        if pad:
            batch = F.pad(batch, (config.pad_left, config.pad_right), mode="reflect")
        power = power_spectrum(batch, config, self.window)
        # Half precision would spoil the logarithm. 1e-20 is below every floor, and keeps the
        # gradient of the root finite.
        with torch.autocast(power.device.type, enabled=False):
            magnitude = torch.sqrt((power.float() + config.magnitude_eps).clamp_min(1e-20))
            if config.normalized:
                magnitude = magnitude / self.window_norm
            mel = scaled_log(self.filterbank @ magnitude, config)
        return mel[0] if wave.dim() == 1 else mel

    @property
    def unit_filterbank(self) -> Tensor:
        """From magnitudes in which unit white noise has an rms of 1, [n_mels, bins]."""
        return self.filterbank * (1.0 if self.config.normalized else self.window_norm)

    @property
    def slope(self) -> Tensor:
        """Change of a value per neper of amplitude, [n_mels, 1] or [] if all bands are alike."""
        slope = self.filterbank.new_tensor(self.config.log_factor)
        scale = self.config.scale
        return slope if scale is None else slope / slope.new_tensor(scale)[:, None]

    def amplitude(self, mel: Tensor) -> Tensor:
        """Mel amplitudes [..., n_mels, T] of values of the convention."""
        return torch.exp(log_amplitude(mel, self.config))
