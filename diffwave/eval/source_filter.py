"""Measures of the voice's source (pitch, voicing, periodicity) and filter (spectral envelope).

As in `diffwave.eval.metrics`: each takes two float32 arrays [L] of equal length and their
sample rate in Hz, and returns a number, or NaN where it is not defined.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from numpy.typing import NDArray

from diffwave.base.libraries import import_library
from diffwave.eval.waves import Wave, as_tensor, at_rate

CREPE = "full"  # the size of the network that is reported in the literature; "tiny" is for tests
CREPE_RATE, CREPE_HOP, CREPE_WINDOW = 16000, 160, 1024
CREPE_BATCH = 128  # frames; bounds memory to about 0.3 GB
MEL_CEPSTRUM = 24  # order
SPEECH_DB = -35.0  # a frame is speech down to this far below the 95th percentile of frame levels


def voicing_f1(reference: Wave, generated: Wave, sample_rate: int) -> float:
    """F1 score of the generated wave's voiced frames, the reference's being the truth."""
    truth, claim = (_f0(wave.tobytes(), sample_rate) > 0 for wave in (reference, generated))
    if not truth.any() and not claim.any():
        return math.nan
    return float(2 * (truth & claim).sum() / (truth.sum() + claim.sum()))


def f0_cents(reference: Wave, generated: Wave, sample_rate: int) -> float:
    """Mean absolute error of F0 over the frames in which both waves are voiced, in cents."""
    truth, claim = (_f0(wave.tobytes(), sample_rate) for wave in (reference, generated))
    both = (truth > 0) & (claim > 0)
    if not both.any():
        return math.nan
    return float(np.mean(np.abs(1200 * np.log2(claim[both] / truth[both]))))


def periodicity_rmse(reference: Wave, generated: Wave, sample_rate: int) -> float:
    """Root mean square error of the periodicity that CREPE gives each 10 ms frame, 0 to 1.

    As in CARGAN (Morrison et al. 2022) and Vocos (Siuzdak 2024): the network's confidence in the
    pitch on the Viterbi path, 0 in frames whose A-weighted level is below -60 dB.
    """
    waves = at_rate(CREPE_RATE, sample_rate, reference, generated)
    if len(waves[0]) < CREPE_WINDOW:
        return math.nan
    truth, claim = (_periodicity(wave.tobytes()) for wave in waves)
    return float(torch.sqrt(torch.mean((truth - claim) ** 2)))


def mel_cepstral_distortion(reference: Wave, generated: Wave, sample_rate: int) -> float:
    """Mean over speech frames of 10 / ln 10 * sqrt(2 * sum over 1..24 of (c_m - c'_m)^2), in dB.

    c is the mel-cepstrum of WORLD's spectral envelope: ln amplitude = c_0 + sum of c_m cos(m u),
    u going from 0 to pi along the mel axis from 40 Hz to half the sample rate. c_0, the level, is
    left out. No time warping: the waves are aligned. Frames are every 5 ms; those in which the
    reference pauses (35 dB below its 95th percentile) are left out, `pause_level_db` measures them.

    Source: Kubichek 1993, "Mel-cepstral distance measure for objective speech quality assessment".
    """
    if len(reference) < 0.05 * sample_rate or not np.any(reference):  # one analysis window
        return math.nan
    original, copy = (_envelope(wave, sample_rate) for wave in (reference, generated))
    level = 10 * np.log10(original.mean(axis=1))
    speech = level >= np.percentile(level, 95) + SPEECH_DB
    library = import_library("pyworld")
    coded = [
        library.code_spectral_envelope(envelope[speech], sample_rate, MEL_CEPSTRUM + 1)
        for envelope in (original, copy)
    ]
    # pyworld's coefficients are those of an orthonormal cosine transform of ln power: sqrt(2) c_m.
    squares = np.sum((coded[0] - coded[1])[:, 1:] ** 2, axis=1)
    return float(10 / math.log(10) * np.mean(np.sqrt(squares)))


@functools.lru_cache(maxsize=4)  # several measures want the same two tracks
def _f0(wave: bytes, sample_rate: int) -> NDArray[np.float64]:
    """F0 in Hz every 5 ms, 0 where unvoiced, [frames].

    Not Harvest: it bridges unvoiced gaps, so its decisions say little about voicing.
    """
    library = import_library("pyworld")
    samples = np.frombuffer(wave, dtype=np.float32).astype(np.float64)
    rough, times = library.dio(samples, sample_rate)
    return library.stonemask(samples, rough, times, sample_rate)


def _envelope(wave: Wave, sample_rate: int) -> NDArray[np.float64]:
    """Power of the spectral envelope by CheapTrick, every 5 ms, [frames, bins]."""
    f0 = _f0(wave.tobytes(), sample_rate)
    library, times = import_library("pyworld"), 0.005 * np.arange(len(f0))
    return library.cheaptrick(wave.astype(np.float64), f0, times, sample_rate)


@functools.lru_cache(maxsize=32)  # the network is slow, and systems share their reference
def _periodicity(wave: bytes) -> torch.Tensor:
    """Periodicity of a wave at 16 kHz every 10 ms, [frames]."""
    library = import_library("torchcrepe")
    samples = as_tensor(np.frombuffer(wave, dtype=np.float32).copy())[None]
    _, periodicity = library.predict(
        samples, CREPE_RATE, CREPE_HOP, fmin=50.0, fmax=550.0, model=CREPE, pad=False,
        return_periodicity=True, batch_size=CREPE_BATCH,
    )  # fmt: skip
    audible = library.threshold.Silence(-60)
    return audible(periodicity, samples, CREPE_RATE, CREPE_HOP, pad=False)[0]
