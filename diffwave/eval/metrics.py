"""Measures of a (reference, generated) pair of waves.

Every function takes two float32 arrays [L] of equal length and their sample rate in Hz, and returns
a number, or NaN where the measure is not defined (a silent wave, no voiced frame in common, too
short). `waves.align` makes the lengths equal. Nothing here changes the loudness of a wave: a
vocoder that gets it wrong is to be seen (PESQ and DistillMOS level their inputs themselves, by
definition). Those of pitch, periodicity and envelope are in `source_filter`, those of phase in
`phase`.

Other people's measures are computed by their libraries, imported when first needed.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from diffwave.base.errors import InputError
from diffwave.base.libraries import import_library
from diffwave.eval.phase import envelope_correlation, pulse_sharpness
from diffwave.eval.source_filter import (
    MEL_CEPSTRUM,
    f0_cents,
    mel_cepstral_distortion,
    periodicity_rmse,
    voicing_f1,
)
from diffwave.eval.waves import Wave, as_tensor, at_rate
from diffwave.mel import MelSpectrogram, preset

FRAME, HOP = 0.025, 0.010  # s, of the level measurements
PAUSE_DB = -35.0  # a pause is this far below the 95th percentile of the reference's frame levels
FLOOR_DB = -100.0  # level of digital silence


@dataclass(frozen=True)
class Metric:
    """A measure and what a reader must know to repeat it."""

    function: Callable[[Wave, Wave, int], float]
    unit: str
    better: Literal["higher", "lower", "zero"]  # "zero": signed, best near 0
    library: str  # distribution and module; "diffwave" if it is our own
    settings: str
    title: str = ""  # in readable words, for a page
    about: str = ""  # what it tells, for a reader who does not know it


def pesq(reference: Wave, generated: Wave, sample_rate: int) -> float:
    """Wide-band PESQ (ITU-T P.862.2), MOS-LQO 1.04 to 4.64, at 16 kHz."""
    import pesq as library

    if not np.any(reference) or not np.any(generated):
        return math.nan
    waves = at_rate(16000, sample_rate, reference, generated)
    try:
        return float(library.pesq(16000, *waves, "wb"))
    except (library.NoUtterancesError, library.BufferTooShortError):
        return math.nan


def stoi(reference: Wave, generated: Wave, sample_rate: int) -> float:
    """Short-time objective intelligibility (Taal et al. 2011), about 0 to 1."""
    from pystoi import stoi as library

    if len(reference) < 0.4 * sample_rate or not np.any(reference):  # 30 frames of 12.8 ms
        return math.nan
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        value = float(library(reference, generated, sample_rate, extended=False))
    # Of a wave that is too short it warns, and returns a made-up value.
    return math.nan if any("Not enough" in str(w.message) for w in caught) else value


def mr_stft(reference: Wave, generated: Wave, sample_rate: int) -> float:
    """Multi-resolution STFT distance: spectral convergence plus L1 of log magnitudes, averaged."""
    if len(reference) < 2048 or not np.any(reference):
        return math.nan
    with torch.inference_mode():
        loss = _mr_stft_loss()(as_tensor(generated)[None, None], as_tensor(reference)[None, None])
    return float(loss)


def mel_l1(reference: Wave, generated: Wave, sample_rate: int) -> float:
    """Mean absolute difference of the natural-log mels (preset "hifigan") at 22.05 kHz."""
    waves = at_rate(22050, sample_rate, reference, generated)
    if len(waves[0]) < 1024:
        return math.nan
    with torch.inference_mode():
        mels = [_mel()(as_tensor(wave)[None]) for wave in waves]
    return float((mels[0] - mels[1]).abs().mean())


def pause_level_db(reference: Wave, generated: Wave, sample_rate: int) -> float:
    """How much louder the generated wave is in the reference's pauses: hiss shows here."""
    original, copy = _levels(reference, sample_rate), _levels(generated, sample_rate)
    if not len(original):
        return math.nan
    pauses = original < np.percentile(original, 95) + PAUSE_DB
    return float(np.mean(copy[pauses] - original[pauses])) if pauses.any() else math.nan


def loudness_db(reference: Wave, generated: Wave, sample_rate: int) -> float:
    """Loudness of the generated wave minus the reference's (ITU-R BS.1770-4, in LU = dB)."""
    if len(reference) < 0.4 * sample_rate or not np.any(reference):  # one gating block
        return math.nan
    meter = import_library("pyloudnorm").Meter(sample_rate)
    levels = [meter.integrated_loudness(w.astype(np.float64)) for w in (reference, generated)]
    return float(levels[1]) - float(levels[0]) if np.isfinite(levels).all() else math.nan


def distillmos(reference: Wave, generated: Wave, sample_rate: int) -> float:
    """DistillMOS (Stahl and Gamper 2025): mean opinion score, 1 to 5, predicted by a network.

    It does not look at the reference.
    """
    if not np.any(generated):
        return math.nan
    (wave,) = at_rate(16000, sample_rate, generated)
    with torch.inference_mode():
        return float(_distillmos_model()(as_tensor(wave)[None]))


_F0 = "DIO + StoneMask, 5 ms frames, 71 to 800 Hz"
_PHASE = "at 16 kHz, 40 ms frames every 20 ms within 30 dB of the reference's loudest"
METRICS: dict[str, Metric] = {
    "pesq": Metric(
        pesq, "MOS-LQO", "higher", "pesq", "wide band, at 16 kHz", "PESQ",
        "Quality beside the recording, 1.04 to 4.64, by a model of hearing made for telephony. It "
        "knows little of phase.",
    ),
    "stoi": Metric(
        stoi, "", "higher", "pystoi", "not extended; resamples to 10 kHz itself", "STOI",
        "Intelligibility: the share of words that would be understood, about 0 to 1.",
    ),
    "mr_stft": Metric(
        mr_stft, "", "lower", "auraloss",
        "FFT 1024/2048/512, hop 120/240/50, window 600/1200/240, at the reference's rate",
        "MR-STFT", "Distance of the magnitude spectrograms at three resolutions.",
    ),
    "mel_l1": Metric(
        mel_l1, "ln", "lower", "diffwave", "mel preset hifigan, at 22.05 kHz", "Mel distance",
        "Mean absolute difference of the log-mel spectrograms.",
    ),
    "mcd": Metric(
        mel_cepstral_distortion, "dB", "lower", "pyworld",
        f"mel-cepstral distortion, orders 1 to {MEL_CEPSTRUM} (not c0) of the CheapTrick envelope "
        "by code_spectral_envelope at the reference's rate, 5 ms frames of speech (from 35 dB "
        "below the reference's 95th percentile), no time warping",
        "Mel-cepstral distortion", "Distance of the spectral envelopes: is the timbre right?",
    ),
    "voicing_f1": Metric(
        voicing_f1, "", "higher", "pyworld", _F0, "Voicing F1",
        "Agreement on which frames are voiced, 0 to 1.",
    ),
    "f0_cents": Metric(
        f0_cents, "cents", "lower", "pyworld", _F0 + "; mean absolute error where both are voiced",
        "Pitch error", "Mean distance of the pitch from the recording's; 100 cents are a semitone.",
    ),
    "periodicity_rmse": Metric(
        periodicity_rmse, "", "lower", "torchcrepe",
        "CREPE full, Viterbi, 50 to 550 Hz, 16 kHz, 10 ms frames, no padding, 0 where the "
        "A-weighted level is below -60 dB; per utterance",
        "Periodicity error", "Is the voice as hoarse or as clear as the recording's? 0 to 1.",
    ),
    "pulse_sharpness": Metric(
        pulse_sharpness, "log2", "zero", "diffwave",
        "kurtosis of the residual of linear prediction of order 18 (Hann), generated over "
        f"reference; {_PHASE}",
        "Pulse sharpness",
        "Are the pulses of the voice as sharp as the recording's? -1: half as sharp, which sounds "
        "phasy and metallic.",
    ),
    "envelope_correlation": Metric(
        envelope_correlation, "", "zero", "diffwave",
        "correlation between disjoint bands (800 to 7800 Hz, 2 ERB apart) of envelopes above "
        f"50 Hz, generated minus reference; {_PHASE}",
        "Band coherence",
        "Do the pulses come at one time in all bands, as in the recording? Below zero they are "
        "smeared.",
    ),
    "pause_level_db": Metric(
        pause_level_db, "dB", "zero", "diffwave",
        "generated minus reference, mean over the 25 ms frames where the reference is 35 dB below "
        "its 95th percentile",
        "Pause level", "How much louder the recording's pauses became: hiss.",
    ),
    "loudness_db": Metric(
        loudness_db, "dB", "zero", "pyloudnorm", "BS.1770-4, generated minus reference",
        "Loudness", "How much louder it is than the recording.",
    ),
    "distillmos": Metric(
        distillmos, "MOS", "higher", "distillmos", "variant 7, at 16 kHz, generated wave alone",
        "DistillMOS",
        "Opinion of listeners, 1 to 5, as a network predicts it without the recording.",
    ),
}  # fmt: skip


def choose_metrics(
    names: Sequence[str] = (),
) -> tuple[dict[str, Metric], dict[str, str]]:
    """{name: metric} of those (default: all) that can be computed here; {name: reason} of others.

    A name after a "-" is left out: ["-pesq"] means all but that. InputError for an unknown name.
    """
    for name in names:
        if name.removeprefix("-") not in METRICS:
            raise InputError(f"There is no metric {name!r}; there are {', '.join(METRICS)}.")
    wanted = [name for name in names if not name.startswith("-")] or list(METRICS)
    found: dict[str, Metric] = {}
    missing: dict[str, str] = {}
    for name in (name for name in wanted if f"-{name}" not in names):
        try:
            import_library(METRICS[name].library)
            found[name] = METRICS[name]
        except ImportError as error:
            missing[name] = str(error)
    return found, missing


def _levels(wave: Wave, sample_rate: int) -> NDArray[np.float64]:
    """Level of each 25 ms frame, in dB relative to full scale, [frames]."""
    length, hop = round(FRAME * sample_rate), round(HOP * sample_rate)
    if len(wave) < length:
        return np.empty(0)
    frames = np.lib.stride_tricks.sliding_window_view(wave.astype(np.float64), length)[::hop]
    return 10 * np.log10(np.mean(frames**2, axis=1) + 10 ** (FLOOR_DB / 10))


@functools.lru_cache(maxsize=1)
def _mr_stft_loss() -> Any:
    from auraloss.freq import MultiResolutionSTFTLoss

    return MultiResolutionSTFTLoss([1024, 2048, 512], [120, 240, 50], [600, 1200, 240])


@functools.lru_cache(maxsize=1)
def _mel() -> MelSpectrogram:
    return MelSpectrogram(preset("hifigan"))


@functools.lru_cache(maxsize=1)
def _distillmos_model() -> Any:
    import distillmos as library

    # It prints where its weights are; standard output belongs to our caller.
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        return library.ConvTransformerSQAModel().eval()
