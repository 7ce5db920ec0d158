"""Measures of a (reference, generated) pair of waves.

Every function takes two float32 arrays [L] of equal length and their sample rate in Hz, and returns
a number, or NaN where the measure is not defined (a silent wave, no voiced frame in common, too
short). `align` makes the lengths equal. Nothing here changes the loudness of a wave: a vocoder that
gets it wrong is to be seen (PESQ and DistillMOS level their inputs themselves, by definition).

Other people's measures are computed by their libraries, imported when first needed.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.metadata
import math
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from diffwave.audio import resample
from diffwave.errors import InputError
from diffwave.mel import MelSpectrogram, preset

Wave = NDArray[np.float32]

MAX_LAG = 0.05  # s
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


def align(reference: Wave, generated: Wave, sample_rate: int) -> tuple[Wave, Wave, float]:
    """Undo a constant delay of up to +-50 ms, then cut both waves to their common length.

    The delay is where the cross-correlation of the magnitude spectrograms is greatest (1 ms steps)
    and, within 1.5 ms of there, that of the waves. The waves alone would not do: a generator is
    free to choose its phases, and their correlation then peaks at any multiple of the pitch period.
    Polarity, which nobody hears, does not count.

    Returns:
        Both waves, equally long, and the delay of `generated` in seconds (positive: it was late).
    """
    lag = 0
    step = round(sample_rate / 1000)
    if np.any(reference) and np.any(generated) and min(len(reference), len(generated)) > step:
        original, copy = (_spectrogram(wave, sample_rate, step) for wave in (reference, generated))
        lag = step * _best_lag(original, copy, 0, round(1000 * MAX_LAG))
        lag = _best_lag(_tensor(reference)[None], _tensor(generated)[None], lag, 3 * step // 2)
    reference, generated = reference[max(-lag, 0) :], generated[max(lag, 0) :]
    length = min(len(reference), len(generated))
    return reference[:length], generated[:length], lag / sample_rate


def pesq(reference: Wave, generated: Wave, sample_rate: int) -> float:
    """Wide-band PESQ (ITU-T P.862.2), MOS-LQO 1.04 to 4.64, at 16 kHz."""
    import pesq as library

    if not np.any(reference) or not np.any(generated):
        return float("nan")
    waves = _at(16000, sample_rate, reference, generated)
    try:
        return float(library.pesq(16000, *waves, "wb"))
    except (library.NoUtterancesError, library.BufferTooShortError):
        return float("nan")


def stoi(reference: Wave, generated: Wave, sample_rate: int) -> float:
    """Short-time objective intelligibility (Taal et al. 2011), about 0 to 1."""
    from pystoi import stoi as library

    if len(reference) < 0.4 * sample_rate or not np.any(reference):  # 30 frames of 12.8 ms
        return float("nan")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        value = float(library(reference, generated, sample_rate, extended=False))
    # Too short is told by a warning and a made-up value.
    return float("nan") if any("Not enough" in str(w.message) for w in caught) else value


def mr_stft(reference: Wave, generated: Wave, sample_rate: int) -> float:
    """Multi-resolution STFT distance: spectral convergence plus L1 of log magnitudes, averaged."""
    if len(reference) < 2048 or not np.any(reference):
        return float("nan")
    with torch.inference_mode():
        loss = _mr_stft_loss()(_tensor(generated)[None, None], _tensor(reference)[None, None])
    return float(loss)


def mel_l1(reference: Wave, generated: Wave, sample_rate: int) -> float:
    """Mean absolute difference of the natural-log mels (preset "hifigan") at 22.05 kHz."""
    waves = _at(22050, sample_rate, reference, generated)
    if len(waves[0]) < 1024:
        return float("nan")
    with torch.inference_mode():
        mels = [_mel()(_tensor(wave)[None]) for wave in waves]
    return float((mels[0] - mels[1]).abs().mean())


def voicing_f1(reference: Wave, generated: Wave, sample_rate: int) -> float:
    """F1 score of the generated wave's voiced frames, the reference's being the truth."""
    truth, claim = (_f0(wave.tobytes(), sample_rate) > 0 for wave in (reference, generated))
    if not truth.any() and not claim.any():
        return float("nan")
    return float(2 * (truth & claim).sum() / (truth.sum() + claim.sum()))


def f0_cents(reference: Wave, generated: Wave, sample_rate: int) -> float:
    """Mean absolute error of F0 over the frames in which both waves are voiced, in cents."""
    truth, claim = (_f0(wave.tobytes(), sample_rate) for wave in (reference, generated))
    both = (truth > 0) & (claim > 0)
    if not both.any():
        return float("nan")
    return float(np.mean(np.abs(1200 * np.log2(claim[both] / truth[both]))))


def pause_level_db(reference: Wave, generated: Wave, sample_rate: int) -> float:
    """How much louder the generated wave is in the reference's pauses: hiss shows here."""
    original, copy = _levels(reference, sample_rate), _levels(generated, sample_rate)
    if not len(original):
        return float("nan")
    pauses = original < np.percentile(original, 95) + PAUSE_DB
    if not pauses.any():
        return float("nan")
    return float(np.mean(copy[pauses] - original[pauses]))


def loudness_db(reference: Wave, generated: Wave, sample_rate: int) -> float:
    """Loudness of the generated wave minus the reference's (ITU-R BS.1770-4, in LU = dB)."""
    from torchaudio.functional import loudness

    if len(reference) < 0.4 * sample_rate:  # one gating block
        return float("nan")
    values = [float(loudness(_tensor(wave)[None], sample_rate)) for wave in (reference, generated)]
    difference = values[1] - values[0]
    return difference if np.isfinite(difference) else float("nan")


def distillmos(reference: Wave, generated: Wave, sample_rate: int) -> float:
    """DistillMOS (Stahl and Gamper 2025): mean opinion score, 1 to 5, predicted by a network.

    It does not look at the reference.
    """
    if not np.any(generated):
        return float("nan")
    (wave,) = _at(16000, sample_rate, generated)
    with torch.inference_mode():
        return float(_distillmos_model()(_tensor(wave)[None]))


_F0 = "DIO + StoneMask, 5 ms frames, 71 to 800 Hz"
METRICS: dict[str, Metric] = {
    "pesq": Metric(pesq, "MOS-LQO", "higher", "pesq", "wide band, at 16 kHz"),
    "stoi": Metric(stoi, "", "higher", "pystoi", "not extended; resamples to 10 kHz itself"),
    "mr_stft": Metric(
        mr_stft, "", "lower", "auraloss",
        "FFT 1024/2048/512, hop 120/240/50, window 600/1200/240, at the reference's rate",
    ),
    "mel_l1": Metric(mel_l1, "ln", "lower", "diffwave", "mel preset hifigan, at 22.05 kHz"),
    "voicing_f1": Metric(voicing_f1, "", "higher", "pyworld", _F0),
    "f0_cents": Metric(
        f0_cents, "cents", "lower", "pyworld", _F0 + "; mean absolute error where both are voiced"
    ),
    "pause_level_db": Metric(
        pause_level_db, "dB", "zero", "diffwave",
        "generated minus reference, mean over the 25 ms frames where the reference is 35 dB below "
        "its 95th percentile",
    ),
    "loudness_db": Metric(
        loudness_db, "dB", "zero", "torchaudio", "BS.1770-4, generated minus reference"
    ),
    "distillmos": Metric(
        distillmos, "MOS", "higher", "distillmos", "variant 7, at 16 kHz, generated wave alone"
    ),
}  # fmt: skip


def choose_metrics(
    names: Sequence[str] | None = None,
) -> tuple[dict[str, Metric], dict[str, str]]:
    """The metrics of these names (default: all) that can be computed here.

    Returns:
        {name: metric} of those whose library is installed; {name: reason} of the others.

    Raises:
        InputError: a name is unknown.
    """
    found: dict[str, Metric] = {}
    missing: dict[str, str] = {}
    for name in METRICS if names is None else names:
        if name not in METRICS:
            raise InputError(f"There is no metric {name!r}; there are {', '.join(METRICS)}.")
        try:
            _import(METRICS[name].library)
        except (ImportError, OSError) as error:  # OSError: a shared library that does not load
            missing[name] = f"{METRICS[name].library} cannot be imported ({error})"
        else:
            found[name] = METRICS[name]
    return found, missing


def library_version(metric: Metric) -> str:
    """For example "pesq 0.0.4"."""
    try:
        return f"{metric.library} {importlib.metadata.version(metric.library)}"
    except importlib.metadata.PackageNotFoundError:  # our own, used without being installed
        return metric.library


def _import(library: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # pyworld's about pkg_resources is nothing a reader can act on
        return importlib.import_module(library)


def _tensor(wave: Wave) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(wave))


def _at(rate: int, sample_rate: int, *waves: Wave) -> list[Wave]:
    return [resample(_tensor(wave), sample_rate, rate).numpy() for wave in waves]


def _spectrogram(wave: Wave, sample_rate: int, hop: int) -> torch.Tensor:
    """Compressed magnitudes with their mean over time removed, in 65 bands, [65, frames]."""
    n_fft = 1 << round(math.log2(0.02 * sample_rate))
    padded = torch.nn.functional.pad(_tensor(wave), (n_fft // 2, n_fft // 2))
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


def _levels(wave: Wave, sample_rate: int) -> NDArray[np.float64]:
    """Level of each 25 ms frame, in dB relative to full scale, [frames]."""
    length, hop = round(FRAME * sample_rate), round(HOP * sample_rate)
    if len(wave) < length:
        return np.empty(0)
    frames = np.lib.stride_tricks.sliding_window_view(wave.astype(np.float64), length)[::hop]
    levels: NDArray[np.float64] = 10 * np.log10(np.mean(frames**2, axis=1) + 10 ** (FLOOR_DB / 10))
    return levels


@functools.lru_cache(maxsize=4)  # two metrics want the same two tracks
def _f0(wave: bytes, sample_rate: int) -> NDArray[np.float64]:
    """F0 in Hz every 5 ms, 0 where unvoiced, [frames].

    Not Harvest: it bridges unvoiced gaps, so its decisions say little about voicing.
    """
    library = _import("pyworld")
    samples = np.frombuffer(wave, dtype=np.float32).astype(np.float64)
    rough, times = library.dio(samples, sample_rate)
    track: NDArray[np.float64] = library.stonemask(samples, rough, times, sample_rate)
    return track


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
