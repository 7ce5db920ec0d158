"""Waves as the measures take them: float32 arrays [L], resampled, and aligned in pairs."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from diffwave.base.audio import resample

Wave = NDArray[np.float32]

MAX_LAG = 0.05  # s


def as_tensor(wave: Wave) -> torch.Tensor:
    """The same samples, [L]; shares memory if it can."""
    return torch.from_numpy(np.ascontiguousarray(wave))


def at_rate(rate: int, sample_rate: int, *waves: Wave) -> list[Wave]:
    """The waves, which are at `sample_rate`, resampled to `rate` Hz."""
    return [resample(as_tensor(wave), sample_rate, rate).numpy() for wave in waves]


def align(reference: Wave, generated: Wave, sample_rate: int) -> tuple[Wave, Wave, float]:
    """Undo a constant delay of up to +-50 ms, then cut both waves to their common length.

    The delay is where the cross-correlation of the magnitude spectrograms is greatest (1 ms steps)
    and, within 1.5 ms of there, that of the waves. The waves alone would not do: a generator is
    free to choose its phases, and their correlation then peaks at any multiple of the pitch period.
    Polarity, which is inaudible, does not count.

    Returns:
        Both waves, equally long, and the delay of `generated` in seconds (positive: it was late).
    """
    lag = 0
    step = round(sample_rate / 1000)
    if np.any(reference) and np.any(generated) and min(len(reference), len(generated)) > step:
        original, copy = (_spectrogram(wave, sample_rate, step) for wave in (reference, generated))
        lag = step * _best_lag(original, copy, 0, round(1000 * MAX_LAG))
        lag = _best_lag(as_tensor(reference)[None], as_tensor(generated)[None], lag, 3 * step // 2)
    reference, generated = reference[max(-lag, 0) :], generated[max(lag, 0) :]
    length = min(len(reference), len(generated))
    return reference[:length], generated[:length], lag / sample_rate


def _spectrogram(wave: Wave, sample_rate: int, hop: int) -> torch.Tensor:
    """Compressed magnitudes with their mean over time removed, in 65 bands, [65, frames]."""
    n_fft = 1 << round(math.log2(0.02 * sample_rate))
    padded = torch.nn.functional.pad(as_tensor(wave), (n_fft // 2, n_fft // 2))
    window = torch.hann_window(n_fft)
    spectrum = torch.stft(padded, n_fft, hop, window=window, center=False, return_complex=True)
    bands = torch.nn.functional.adaptive_avg_pool1d(spectrum.abs().pow(0.3).T, 65).T
    return bands - bands.mean(dim=1, keepdim=True)


def _best_lag(a: torch.Tensor, b: torch.Tensor, centre: int, reach: int) -> int:
    """The lag within `reach` of `centre` for which |sum of a[:, t] b[:, t + lag]| is greatest."""
    best, best_sum = centre, -math.inf
    for lag in sorted(range(centre - reach, centre + reach + 1), key=lambda lag: abs(lag - centre)):
        left, right = a[:, max(-lag, 0) :], b[:, max(lag, 0) :]
        length = min(left.shape[1], right.shape[1])
        total = abs(float((left[:, :length] * right[:, :length]).sum(dtype=torch.float64)))
        if length and total > best_sum:
            best, best_sum = lag, total
    return best
