"""Measures of phase: do the harmonics of a pulse start together, within a band and across bands?

Speech is a train of sharp pulses through a filter. A vocoder that gets the magnitudes right and the
phases wrong spreads each pulse over its period, which sounds metallic and which measures of
magnitudes (PESQ, spectral distances) hardly show.

As in `diffwave.eval.metrics`: each function takes two float32 arrays [L] of equal length and their
sample rate in Hz, and returns a number, or NaN where it is not defined.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from diffwave.eval.waves import Wave, at_rate

RATE = 16000
FRAME, HOP = 640, 320  # 40 ms every 20 ms: a few pitch periods
LOUD_DB = 30.0  # frames count down to this far below the reference's loudest
LPC_ORDER = 18
BAND_EDGES_HZ, BAND_ERB = (800.0, 7800.0), 2.0  # bands' range; distance of their centres
MODULATION_HZ = 50.0  # envelopes slower than any voice's pitch are syllables, not pulses

Frames = NDArray[np.float64]


def pulse_sharpness(reference: Wave, generated: Wave, sample_rate: int) -> float:
    """Mean over loud frames of log2 of the residual's kurtosis, generated over reference.

    The residual of linear prediction is the excitation: a pulse train has a kurtosis E e^4 /
    (E e^2)^2 far above the 3 of noise, and reverberation or wrong phases lower it. 0 is as sharp as
    the recording, -1 half as sharp. Prediction is of order 18 by the autocorrelation method, on
    Hann frames of 40 ms every 20 ms at 16 kHz; the residual is that of the frame without window.

    Source: Gillespie, Malvar and Florencio 2001, "Speech dereverberation via maximum-kurtosis
    subband adaptive filtering", for kurtosis as a measure of smearing.
    """
    waves = at_rate(RATE, sample_rate, reference, generated)
    frames, copies = (_frames(wave.astype(np.float64)) for wave in waves)
    counted = _loud(frames) & np.any(copies, axis=1)
    if not counted.any():
        return math.nan
    original, copy = (_kurtosis(residual(some[counted])) for some in (frames, copies))
    return float(np.mean(np.log2(copy / original)))


def envelope_correlation(reference: Wave, generated: Wave, sample_rate: int) -> float:
    """How much better the pulses of different bands coincide than in the reference.

    Above 800 Hz the ear does not resolve harmonics: in each auditory band the pulses are a fast
    envelope. The measure is the correlation, within frames of 40 ms, of those envelopes between
    every two bands that do not overlap, averaged over pairs of bands and loud frames; generated
    minus reference. It is taken between bands of one wave and not between the waves, because a
    generator may place its pulses a little elsewhere, but not at another time in each band. 0 is
    the coherence of the recording; minus the recording's own (0.13 to 0.24 in LJSpeech) that of
    random phases.
    """
    waves = at_rate(RATE, sample_rate, reference, generated)
    original, copy = (wave.astype(np.float64) for wave in waves)
    frames = _frames(original)
    counted = _loud(frames) & np.any(_frames(copy), axis=1)
    if not counted.any():
        return math.nan
    return float(np.mean(_coherence(copy)[counted] - _coherence(original)[counted]))


def _frames(wave: Frames) -> Frames:
    """[..., L] -> [..., frames, FRAME]."""
    if wave.shape[-1] < FRAME:
        return np.empty((*wave.shape[:-1], 0, FRAME))
    return np.lib.stride_tricks.sliding_window_view(wave, FRAME, axis=-1)[..., ::HOP, :]


def _loud(frames: Frames) -> NDArray[np.bool_]:
    """Which of [frames, FRAME] are within `LOUD_DB` of the loudest, and not silent."""
    power = np.mean(frames**2, axis=1)
    return (power > 0) & (power >= 10 ** (-LOUD_DB / 10) * power.max(initial=0))


def residual(frames: Frames) -> Frames:
    """What linear prediction of order 18 leaves of [frames, L], [frames, L - 18].

    By the autocorrelation method on the Hann-windowed frame; no frame may be silent.
    """
    length = frames.shape[1]
    spectrum = np.fft.rfft(frames * np.hanning(length + 2)[1:-1], 2 * length)
    lags = np.fft.irfft(np.abs(spectrum) ** 2)[:, : LPC_ORDER + 1]
    lags[:, 0] *= 1 + 1e-9  # a pure tone would make the equations singular
    order = np.arange(LPC_ORDER)
    toeplitz = lags[:, np.abs(order[:, None] - order)]
    predictor = np.linalg.solve(toeplitz, lags[:, 1:, None])[..., 0]
    past = np.lib.stride_tricks.sliding_window_view(frames, LPC_ORDER, axis=1)[:, :-1, ::-1]
    return frames[:, LPC_ORDER:] - np.einsum("ftk,fk->ft", past, predictor)


def _kurtosis(wave: Frames) -> NDArray[np.float64]:
    return np.mean(wave**4, axis=1) / np.mean(wave**2, axis=1) ** 2


def _coherence(wave: Frames) -> NDArray[np.float64]:
    """Mean correlation of the fast envelopes of disjoint bands, [frames]."""
    frames = _frames(_fast_envelopes(wave))
    frames = frames - frames.mean(axis=-1, keepdims=True)
    frames = frames / (np.linalg.norm(frames, axis=-1, keepdims=True) + 1e-12)
    correlations = np.einsum("aft,bft->fab", frames, frames)
    first, second = np.triu_indices(len(frames), 2)  # neighbours overlap
    return correlations[:, first, second].mean(axis=1)


def _fast_envelopes(wave: Frames) -> Frames:
    """[L] -> [bands, L]: magnitudes of analytic signals in bands of raised-cosine shape.

    Centres are equally spaced on the ERB-number scale (Glasberg and Moore 1990); each band falls to
    zero at its neighbours' centres.
    """
    frequency = np.fft.rfftfreq(len(wave), 1 / RATE)
    first, last = _erb_number(np.array(BAND_EDGES_HZ)).tolist()
    centres = np.arange(first + BAND_ERB, last - BAND_ERB, BAND_ERB)
    distance = (_erb_number(frequency) - centres[:, None]) / BAND_ERB
    gains = np.where(np.abs(distance) < 1, 0.5 + 0.5 * np.cos(np.pi * distance), 0)
    one_sided = np.zeros((len(centres), len(wave)), dtype=np.complex128)
    one_sided[:, : len(frequency)] = 2 * gains * np.fft.rfft(wave)
    envelopes = np.fft.rfft(np.abs(np.fft.ifft(one_sided)))
    envelopes[:, frequency < MODULATION_HZ] = 0
    return np.fft.irfft(envelopes, len(wave))


def _erb_number(frequency: NDArray[np.floating]) -> NDArray[np.float64]:
    """Hz -> ERB-number, 21.4 log10(1 + 0.00437 f)."""
    return 21.4 * np.log10(1 + 0.00437 * frequency)
